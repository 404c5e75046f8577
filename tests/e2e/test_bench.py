"""The benchmarks of proving print one object of the promised shape."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bench import _digits, training_step
from bench._postgres import postgres_binaries
from bench._proving import onnx_model
from bench._step_graph import Base, step_graph
from zkai.assignment import Destination, complete

OURS = {
    "constraints", "constraints_commitments", "setup_s", "prove_s", "prove_cpu_s", "verify_s",
    "proof_bytes", "proving_key_bytes", "peak_rss_bytes", "gas",
}  # fmt: skip


def bench(repo: Path, name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"bench.{name}", "--json", *options]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["bench"] == name
    return result


@pytest.mark.parametrize(
    ("name", "options"),
    [("inference", ("--model", "cnn8x8")), ("training_step", ("--batch", "2"))],
)
def test_ours_is_measured(repo: Path, name: str, options: tuple[str, ...]) -> None:
    result = bench(repo, name, "--quick", "--repeats", "1", *options)
    assert set(result["ours"]) >= OURS
    assert all(result["ours"][key] is not None for key in OURS)
    assert {f"{key}_spread" for key in ("prove_s", "setup_s")} <= set(result["ours"])
    assert result["peers"]["ezkl"] is None
    assert result["ratios"]["prove_ezkl"] is None
    assert result["ratios"]["prove_plain_groth16"] > 0
    shares = [v for k, v in result["ours"].items() if k.startswith("share_") and "_spread" not in k]
    assert sum(shares) == pytest.approx(1)
    assert result["ours"]["proof_bytes"] == 320


@pytest.mark.parametrize("low_rank", [False, True])
def test_the_peer_s_step_is_the_gradient_step(low_rank: bool) -> None:
    """The ONNX graph that EZKL proves, run by onnxruntime, against torch's autograd."""
    torch = pytest.importorskip("torch")
    sizes, batch, rate = (5, 4, 3), 6, 0.25
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(batch, 5)), np.eye(3)[rng.integers(0, 3, batch)]
    layers = [rng.normal(size=shape) for shape in ((5, 4), 4, (4, 3), 3)]
    factors = [rng.normal(size=shape) for shape in ((5, 2), (2, 4))]
    base = Base(layers[::2], layers[1::2], rank=2) if low_rank else None
    trained = (
        dict(zip(("A", "B"), factors, strict=False))
        if low_rank
        else dict(zip(("W1", "b1", "W2", "b2"), layers, strict=False))
    )
    session = onnxruntime.InferenceSession(
        onnx_model(step_graph(sizes, batch, rate, base)).SerializeToString()
    )
    feeds = {k: v.astype(np.float32) for k, v in {"x": x, "y": y, **trained}.items()}
    found = session.run(None, feeds)
    parameters = {k: torch.tensor(v, requires_grad=True) for k, v in trained.items()}
    w1, b1, w2, b2 = (
        parameters.get(name, torch.tensor(value))
        for name, value in zip(("W1", "b1", "W2", "b2"), layers, strict=False)
    )
    more = torch.tensor(x) @ parameters["A"] @ parameters["B"] if low_rank else 0
    scores = torch.log_softmax(torch.relu(torch.tensor(x) @ w1 + b1 + more) @ w2 + b2, 1)
    (-(scores * torch.tensor(y)).sum()).backward()
    for after, before in zip(found, parameters.values(), strict=True):
        assert np.allclose(after, (before - rate * before.grad).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("model", ["softmax64x10", "mlp64x32x10", "lora32r4"])
def test_every_model_s_step_has_values(model: str) -> None:
    case = training_step.case(argparse.Namespace(model=model, batch=2, commitment="poseidon"))
    values = complete(case.statement, case.values, Destination(), bytes(32)).values
    case.statement.assign(values)
    assert case.model is not None
    assert case.onnx_inputs is not None
    (_, labels), graph = _digits.batch(2, 64), case.model.graph
    assert len(case.onnx_inputs) == len(graph.input)
    assert case.onnx_inputs[1] == np.eye(10)[labels].ravel().tolist()


def test_receipts_and_the_log_are_measured(repo: Path) -> None:
    result = bench(repo, "receipts", "--quick")
    keys = {"sign_per_s", "verify_per_s", "append_per_s", "append_durable_per_s", "inclusion_ms"}
    keys |= {"admit_per_s", "admit_durable_per_s", "fdatasync_per_s"}
    if postgres_binaries() is not None:
        keys |= {f"postgres_{key}" for key in keys if key.startswith(("append", "admit"))}
    assert all(result["ours"][key] > 0 for key in keys)
    assert result["peers"]["pqcrypto"]["sign_per_s"] > 0
    assert result["peers"]["dilithium-py"] is None
    assert result["ratios"]["sign_pqcrypto"] > 0
    assert result["parameters"]["log_entries"] == 100_000
