"""The Solidity tests (contracts/test): forge fuzzes the verifiers with valid proofs and noise."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest


@pytest.mark.node
def test_the_solidity_tests_pass(repo: Path, node_modules: Path, tmp_path: Path) -> None:
    forge = node_modules / "@foundry-rs" / "forge-linux-amd64" / "bin" / "forge"
    folders = ["--out", str(tmp_path / "out"), "--cache-path", str(tmp_path / "cache")]
    done = subprocess.run(
        [forge, "test", "--json", "--use", "./solc.js", *folders],
        cwd=repo / "contracts",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    suites = json.loads(done.stdout)
    tests = [item for suite in suites.values() for item in suite["test_results"].items()]
    results = [result["status"] for _, result in tests]
    assert len(results) >= 23
    assert set(results) == {"Success"}
