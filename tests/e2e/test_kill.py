"""kill -9 at random moments; `python -m tests.kill_ledger` does it 300 times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench._postgres import postgres_binaries
from tests.databases import DATABASES
from tests.services import POSTGRES, require_service


@pytest.mark.parametrize("database", DATABASES)
def test_no_kill_loses_an_acknowledged_entry(repo: Path, database: str) -> None:
    if database == "postgres":
        require_service(POSTGRES, postgres_binaries())
    count = "300" if os.environ.get("ZKAI_TEST_SLOW") else "30"
    command = [sys.executable, "-m", "tests.kill_ledger", "--count", count, "--database", database]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{count} kills" in done.stdout
