"""What tests need of the machine: skipped where it is missing, failed where CI says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench._postgres import Cluster
from tests.services import require_service


def test_a_missing_service_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require_service("anything", "/usr/bin/thing") == Path("/usr/bin/thing")
    monkeypatch.delenv("ZKAI_REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a browser"):
        require_service("a browser", None)
    monkeypatch.setenv("ZKAI_REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="needs a browser"):
        require_service("a browser", None)


def test_a_server_of_our_own_runs(postgres: Cluster) -> None:
    assert postgres.running
    assert list(postgres.folder.glob(".s.PGSQL.*"))
