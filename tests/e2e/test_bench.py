"""The benchmarks of proving print one object of the promised shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    assert "prove_ezkl" in result["ratios"]


def test_a_model_without_a_statement_is_null_with_a_reason(repo: Path) -> None:
    result = bench(repo, "training_step", "--model", "lora32r4")
    assert result["ours"] is None
    assert "softmax heads only" in result["parameters"]["reason"]
    assert set(result["ratios"].values()) == {None}
