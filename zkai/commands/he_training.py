"""`zkai he compute|finetune|lora`: training with a server that sees nothing in clear."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, add_command
from zkai.encoding import read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.he.adapter import LoraNetwork, softmax_loss
from zkai.he.finetune import HeadClient
from zkai.he.head_task import HeadTask, polynomial_gap, predict
from zkai.he.hybrid import HybridClient, LayerShape
from zkai.he.limits import limit_this_process
from zkai.he.model_file import MAX_BYTES, model
from zkai.he.transport import Remote, serve
from zkai.statement_table import read_samples

FUNCTIONS = ("polynomial", "sigmoid", "softmax")
ROLES = ("finetune", "hybrid", "query")

_COMPUTE_HELP = """
The server's role, on 127.0.0.1 only: for another machine use a tunnel (ssh -L).
Each connection gets a process with limited memory, and no secret key is ever
here. hybrid and query need MODEL.npz with the arrays weight0, bias0, weight1,
...; a query's also has norm, the length that no query exceeds.
"""

_FINETUNE_HELP = """
The owner's role: DATA.npz holds x (rows x features) and labels, and may hold
x_test and labels_test. Rows, labels and weights leave this machine encrypted
only; HEAD.npz gets the trained weights and bias. With --compare the same is
trained here in clear with the polynomial, the sigmoid and the softmax, which
says what the polynomial costs; it is also the quicker way if this machine may
hold rows and head.
"""

_LORA_HELP = """
The adapter's owner: the server's frozen layers have the sizes of --layers, for
example 768:768:10. DATA.npz holds x and labels. Activations leave this machine
encrypted only; ADAPTER.npz gets the factors down0, up0, bias0, ...
"""


def add_actions(actions: Commands) -> None:
    """Add the training commands to `he`."""
    compute = add_command(
        actions, "compute", run_compute, "serve encrypted training or queries", _COMPUTE_HELP
    )
    compute.add_argument("role", choices=ROLES)
    compute.add_argument("--model", metavar="MODEL.npz", type=Path)
    compute.add_argument("--port", type=int, default=0, help="(0: any free one)")
    compute.add_argument("--sessions", type=int, help="end after so many (never)")
    tune = _add_client(actions, "finetune", run_finetune, "train a head encrypted", _FINETUNE_HELP)
    tune.add_argument("--classes", type=int, default=2, help="(2)")
    tune.add_argument("--batch", type=int, help="rows in a mini-batch (all)")
    tune.add_argument("--momentum", type=float, default=0.0, help="(0)")
    tune.add_argument("--weight-decay", type=float, default=0.0, help="(0)")
    tune.add_argument("--range", type=float, default=8.0, help="of the polynomial (8)")
    tune.add_argument("--compare", action="store_true", help="train in clear as well")
    tune.add_argument("-o", "--out", metavar="HEAD.npz", type=Path, required=True)
    lora = _add_client(actions, "lora", run_lora, "train an adapter, layers elsewhere", _LORA_HELP)
    lora.add_argument("--layers", metavar="SIZES", required=True, help="inputs:...:outputs")
    lora.add_argument("--rank", type=int, default=4, help="(4)")
    lora.add_argument("-o", "--out", metavar="ADAPTER.npz", type=Path, required=True)


def _add_client(
    actions: Commands, name: str, run: Any, summary: str, text: str
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, summary, text)
    parser.add_argument("data", metavar="DATA.npz", type=Path)
    parser.add_argument("--server", metavar="HOST:PORT", required=True)
    parser.add_argument("--epochs", type=int, default=5, help="(5)")
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate (0.1)")
    return parser


def run_compute(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Serve one connection after another."""
    given = b""
    if options.role != "finetune":
        if options.model is None:
            raise InvalidInput(f"{options.role}: needs --model MODEL.npz")
        given = read_capped(options.model, MAX_BYTES)
        if options.role == "query":
            model(given)
    served = serve(
        options.role,
        given,
        options.port,
        options.sessions,
        lambda port: console.say(f"listening on 127.0.0.1:{port}"),
    )
    return {"sessions": served}


def run_finetune(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Train a head on encrypted rows and write it."""
    check_target(options.out)
    x, labels, held_out = _samples(options.data)
    task = HeadTask(
        x.shape[1],
        1 if options.classes == 2 else options.classes,
        options.batch or len(x),
        options.rate,
        float(np.sqrt((x**2).sum(1).max() + 1)),
        options.momentum,
        options.weight_decay,
        options.range,
    )
    limit_this_process()
    client, sent, received = HeadClient(task, x, labels), 0, 0
    with Remote(options.server) as server, console.progress() as progress:
        opening = client.open()
        client.ready(server.answer(opening))
        steps = _positive("--epochs", options.epochs) * client.steps_per_epoch
        for step in range(steps):
            request = client.request()
            answer = server.answer(request)
            client.update(answer)
            sent, received = sent + len(request), received + len(answer)
            progress("train under encryption", (step + 1) / steps)
    weights, bias = client.weights[:-1], client.weights[-1]
    _write(options.out, {"weights": weights, "bias": bias})
    said: dict[str, float] = {"steps": steps, "opening_bytes": len(opening)}
    said |= {"sent": sent, "received": received}
    if held_out is not None:
        right = predict(task, client.weights, held_out[0]) == held_out[1]
        said["accuracy"] = round(float(right.mean()), 4)
    if options.compare:
        gap = polynomial_gap(task, x, labels, options.epochs, held_out or (x, labels))
        said |= {f"accuracy_{name}": getattr(gap, name) for name in FUNCTIONS}
        said["polynomial_max_error"] = gap.max_error
    console.table("encrypted fine-tuning", ("", ""), [(k, f"{v:,}") for k, v in said.items()])
    return {"head": str(options.out), **said}


def run_lora(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Train an adapter around layers that a server multiplies by."""
    check_target(options.out)
    x, labels, _ = _samples(options.data)
    shapes = _layers(options.layers)
    if x.shape[1] != shapes[0].inputs or labels.max(initial=0) >= shapes[-1].outputs:
        raise InvalidInput(f"{options.data}: rows or labels do not fit --layers {options.layers}")
    limit_this_process()
    network, losses = LoraNetwork(shapes, options.rank), []
    with Remote(options.server) as server, console.progress() as progress:
        client = HybridClient(server, shapes, len(x))
        for epoch in range(_positive("--epochs", options.epochs)):
            losses.append(network.step(client, x, labels, options.rate))
            progress("train the adapter", (epoch + 1) / options.epochs)
        last, _ = softmax_loss(network.forward(client, x)[-1], labels)
    _write(options.out, network.arrays())
    losses = [round(loss, 6) for loss in [*losses, last]]
    console.say(
        f"{options.out}: loss {losses[0]} before, {losses[-1]} after {len(losses) - 1} steps"
    )
    return {
        "adapter": str(options.out),
        "losses": losses,
        "sent": client.sent,
        "received": client.received,
    }


def _samples(path: Path) -> tuple[Any, Any, tuple[Any, Any] | None]:
    arrays = read_samples(path)
    if not {"x", "labels"} <= set(arrays):
        raise InvalidInput(f"{path}: expected the arrays x and labels")
    x, labels = arrays["x"].astype(np.float64), arrays["labels"]
    if x.ndim != 2 or len(x) == 0 or labels.shape != x.shape[:1] or labels.dtype.kind not in "iu":
        raise InvalidInput(f"{path}: expected x (rows, features) and as many integer labels")
    if not {"x_test", "labels_test"} <= set(arrays):
        return x, labels, None
    test, test_labels = arrays["x_test"].astype(np.float64), arrays["labels_test"]
    if test.ndim != 2 or test.shape[1] != x.shape[1] or test_labels.shape != test.shape[:1]:
        raise InvalidInput(f"{path}: expected x_test (rows, features) and as many labels_test")
    return x, labels, (test, test_labels)


def _layers(text: str) -> list[LayerShape]:
    parts = text.split(":")
    if not 2 <= len(parts) <= 33 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidInput("--layers: expected sizes such as 768:768:10")
    sizes = [int(part[:6]) for part in parts]
    return [LayerShape(out, into) for into, out in pairwise(sizes)]


def _positive(name: str, value: int) -> int:
    if not 1 <= value <= 10**6:
        raise InvalidInput(f"{name}: expected 1 or more")
    return value


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomic(path, file.getvalue(), mode=0o600)
