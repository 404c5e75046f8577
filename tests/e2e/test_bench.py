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

from bench import training_step
from bench._postgres import postgres_binaries
from zkai.assignment import Destination, complete
from zkai.circuit.statements.training_step import TrainingStep
from zkai.halo2.training import Halo2TrainingStep

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


@pytest.mark.parametrize("model", ["softmax64x10", "mlp64x32x10", "lora32r4"])
def test_the_peer_proves_our_step(model: str) -> None:
    """The graph that EZKL proves, run by onnxruntime, against our circuit's integer reference."""
    case = training_step.case(argparse.Namespace(model=model, batch=2, commitment="poseidon"))
    assert isinstance(case.statement, TrainingStep)
    assert case.model is not None
    assert case.onnx_inputs is not None
    head, rate = case.statement.head, 2.0**-training_step.RATE_SHIFT
    values = complete(case.statement, case.values, Destination(), bytes(32)).values
    before, after = values["weights"], case.statement.new_state(values).weights
    ours = (after - before).reshape(-1) / 2.0**head.weight_scale_bits
    session = onnxruntime.InferenceSession(case.model.SerializeToString())
    feeds = {
        tensor.name: np.float32(numbers)
        for tensor, numbers in zip(case.model.graph.input, case.onnx_inputs, strict=True)
    }
    (found,) = session.run(None, feeds)
    layout = Halo2TrainingStep(head, 2, 2 * rate, commitments="polycommit").layout
    start, stop = (
        layout.unpack_state(np.asarray(vector, np.float64) * 2.0**layout.scale)
        for vector in (case.onnx_inputs[0], found)
    )
    moved = [stop[name] - start[name] for name, _ in layout.weights]
    theirs = np.concatenate([part.reshape(-1) for part in moved])
    assert theirs.shape == ours.shape
    assert np.abs(theirs).max() > 1e-4
    np.testing.assert_allclose(ours, theirs, atol=np.abs(theirs).max() / 50 + 2.0**-13)


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
