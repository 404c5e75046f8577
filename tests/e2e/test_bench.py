"""The benchmarks of proving print one object of the promised shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bench._proving import onnx_model
from bench._step_graph import step_graph

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


def test_the_peer_s_step_is_the_gradient_step() -> None:
    """The ONNX graph that EZKL proves, run by onnxruntime, against torch's autograd."""
    torch = pytest.importorskip("torch")
    sizes, batch, rate = (5, 4, 3), 6, 0.25
    model = onnx_model(step_graph(sizes, batch, rate))
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(batch, 5)), np.eye(3)[rng.integers(0, 3, batch)]
    state = {
        "W1": rng.normal(size=(5, 4)), "b1": rng.normal(size=4),
        "W2": rng.normal(size=(4, 3)), "b2": rng.normal(size=3),
    }  # fmt: skip
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {k: v.astype(np.float32) for k, v in {"x": x, "y": y, **state}.items()}
    found = session.run(None, feeds)
    parameters = [torch.tensor(v, requires_grad=True) for v in state.values()]
    hidden = torch.relu(torch.tensor(x) @ parameters[0] + parameters[1])
    scores = torch.log_softmax(hidden @ parameters[2] + parameters[3], 1)
    (-(scores * torch.tensor(y)).sum()).backward()
    for after, before in zip(found, parameters, strict=True):
        assert np.allclose(after, (before - rate * before.grad).detach().numpy(), atol=1e-5)


def test_a_model_without_a_statement_is_null_with_a_reason(repo: Path) -> None:
    result = bench(repo, "training_step", "--model", "lora32r4")
    assert result["ours"] is None
    assert "softmax heads only" in result["parameters"]["reason"]
    assert set(result["ratios"].values()) == {None}
