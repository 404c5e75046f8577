"""Programs of the machine that some tests need: PostgreSQL's server, a browser.

Tests skip where one is missing; with ZKAI_REQUIRE_SERVICES=1, as in CI, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench._postgres import Cluster, postgres_binaries, running_postgres

POSTGRES = "PostgreSQL (apt-get install postgresql)"
MEMORY = Path("/dev/shm")


def require_service(name: str, found: str | Path | None) -> Path:
    """Return where a program was found; without it skip the test, or fail it where CI needs it.

    `name` says what to install, such as "PostgreSQL (apt-get install postgresql)".
    """
    if found is not None:
        return Path(found)
    message = f"needs {name}"
    if os.environ.get("ZKAI_REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """A running server of this test run alone; see `require_service` for where there is none.

    It lies in memory where that is possible: every commit waits for its fsync, as in production.
    """
    binaries = require_service(POSTGRES, postgres_binaries())
    with running_postgres(binaries, MEMORY if fits(MEMORY) else None) as cluster:
        yield cluster


def fits(folder: Path) -> bool:
    """Return whether servers fit below a folder: containers often have 64 MB of such memory."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    return shutil.disk_usage(folder).free > 2 << 30
