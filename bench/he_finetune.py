"""A head trained under encryption, and a frozen layer's products: seconds, bytes, errors.

    python -m bench.he_finetune [--features 64] [--samples 256] [--epochs 20] [--json] [--quick]

Ours: CPU seconds of an epoch, client and server together; accuracy of the trained head on rows that
were held out, beside the same training in clear. Data: digits below 5 against the others.

Peer: TenSEAL's first tutorial, in the same run, as published and with our scale of 2^40 (see
bench/_tenseal_tutorial.py). Its epochs take minutes: a few samples are measured and the seconds
are scaled to all of them, `samples_measured`. `weight_error` is the distance from a step in clear.

`matmul`: 32 encrypted rows times a plaintext 768 x 768 matrix, client and server together, with the
matrix encoded before (`matmul_prepare_s`).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np

from bench._digits import digits
from bench._tenseal_tutorial import FORTY_BITS, PUBLISHED, Precision, Tutorial, in_clear
from bench.harness import alternate, arguments, ratio, report, show
from zkai.he.finetune import HeadClient, HeadServer
from zkai.he.head_task import Floats, HeadTask, Labels, polynomial_gap, predict, train_in_clear
from zkai.he.hybrid import HybridClient, HybridServer, LayerShape

Figures = dict[str, float | int]
SIDE, ROWS = 768, 32
HELD_OUT = 500


def samples(features: int, count: int) -> tuple[Floats, Labels, Floats, Labels]:
    """Return rows of unit mean length with labels, and held-out ones."""
    pixels, targets = digits()
    order = np.random.default_rng(3).permutation(len(pixels))
    x = np.resize(pixels[order].T, (features, len(order))).T
    x, y = x / np.sqrt((x**2).sum(1).mean()), (targets[order] >= 5).astype(np.int64)
    rows = np.resize(np.arange(len(x) - HELD_OUT), count)
    return x[rows], y[rows], x[-HELD_OUT:], y[-HELD_OUT:]


def task_for(x: Floats) -> HeadTask:
    """Return the task: one batch, momentum and weight decay."""
    norm = float(np.sqrt((x**2).sum(1).max() + 1))
    return HeadTask(x.shape[1], 1, len(x), 4.0, norm, momentum=0.9, weight_decay=1e-3)


def ours(x: Floats, y: Labels, epochs: int, test: tuple[Floats, Labels]) -> Figures:
    """Train under encryption and in clear."""
    task, server = task_for(x), HeadServer()
    start = time.process_time()
    client = HeadClient(task, x, y)
    opening = client.open()
    client.ready(server.answer(opening))
    opened, spent, up, down = time.process_time(), 0.0, 0, 0
    for _ in range(epochs):
        request = client.request()
        begun = time.process_time()
        answer = server.answer(request)
        spent += time.process_time() - begun
        client.update(answer)
        up, down = up + len(request), down + len(answer)
    total = time.process_time() - opened
    clear = train_in_clear(task, x, y, epochs)
    begun = time.process_time()
    gap = polynomial_gap(task, x, y, epochs, test)
    return {
        "cpu_s_per_epoch": total / epochs,
        "server_cpu_s_per_epoch": spent / epochs,
        "in_clear_cpu_s_per_epoch": (time.process_time() - begun) / 3 / epochs,
        "opening_cpu_s": opened - start,
        "opening_bytes": len(opening),
        "bytes_up_per_epoch": up // epochs,
        "bytes_down_per_epoch": down // epochs,
        "weight_error": float(np.abs(client.weights - clear).max()),
        "accuracy": float((predict(task, client.weights, test[0]) == test[1]).mean()),
        "accuracy_plain": float((predict(task, clear, test[0]) == test[1]).mean()),
        "accuracy_sigmoid": gap.sigmoid,
    }


def matmul() -> Figures:
    """Multiply encrypted rows by a frozen matrix."""
    rng = np.random.default_rng(4)
    matrix, x = rng.normal(size=(SIDE, SIDE)) / np.sqrt(SIDE), rng.normal(size=(ROWS, SIDE))
    server = HybridServer([matrix])
    client = HybridClient(server, [LayerShape(SIDE, SIDE)], ROWS)
    start = time.perf_counter()
    server.prepare()
    prepared, sent, received = time.perf_counter(), client.sent, client.received
    product = client.times(0, x)
    error, exact = product - x @ matrix.T, x @ matrix.T
    return {
        "matmul_s": time.perf_counter() - prepared,
        "matmul_prepare_s": prepared - start,
        "matmul_relative_error": float(np.abs(error).max() / exact.std()),
        "matmul_bytes_up": client.sent - sent,
        "matmul_bytes_down": client.received - received,
    }


def tutorial(
    precision: Precision, x: Floats, y: Labels, measured: int, epoch_of: int
) -> Callable[[], Figures]:
    """Return what measures the tutorial on some samples, scaled to all."""
    targets, weights = y[:measured].astype(np.float64), np.full(x.shape[1], 0.1)
    subject = Tutorial(precision, x[:measured], targets)

    def run() -> Figures:
        found, passed, rest = subject.epoch(weights, 0.1)
        return {
            "cpu_s_per_epoch": passed * epoch_of / measured + rest,
            "samples_measured": measured,
            "weight_error": float(
                np.abs(found - in_clear(x[:measured], targets, weights, 0.1)).max()
            ),
        }

    return run


def main() -> int:
    """Run and print."""
    parser = arguments("he_finetune", __doc__ or "")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    x, y, test, labels = samples(options.features, options.samples)
    repeats, measured = (1, 2) if options.quick else (options.repeats, 8)
    peers: dict[str, Callable[[], Figures] | None] = {
        "tenseal_tutorial": None,
        "tenseal_tutorial_published": None,
    }
    if importlib.util.find_spec("tenseal") is not None:
        peers["tenseal_tutorial"] = tutorial(FORTY_BITS, x, y, measured, options.samples)
        peers["tenseal_tutorial_published"] = tutorial(PUBLISHED, x, y, measured, options.samples)

    def own() -> Figures:
        return ours(x, y, options.epochs, (test, labels)) | matmul()

    found = alternate({"ours": own, **peers}, repeats)
    mine, key = found.pop("ours"), "cpu_s_per_epoch"
    parameters = {name: getattr(options, name) for name in ("features", "samples", "epochs")}
    ratios = {
        "epoch_tenseal_tutorial": ratio(mine, found["tenseal_tutorial"], key),
        "epoch_tenseal_tutorial_published": ratio(mine, found["tenseal_tutorial_published"], key),
    }
    show(report("he_finetune", parameters, mine, found, ratios), options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
