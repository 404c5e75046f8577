"""kill -9 at random moments; `python -m tests.kill_ledger` does it 300 times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_no_kill_loses_an_acknowledged_entry(repo: Path) -> None:
    command = [sys.executable, "-m", "tests.kill_ledger", "--count", "30"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "30 kills" in done.stdout
