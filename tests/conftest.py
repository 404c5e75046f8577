"""What every test shares: the order of folders, the Node marker, a choice of C library."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from bench._postgres import Cluster
from tests.databases import DATABASES, Places
from tests.services import postgres_cluster

ROOT = Path(__file__).resolve().parent.parent
NODE_MODULES = ROOT / "node_modules"

# Cheap and general first, so that a broken base shows within seconds.
FOLDERS = ("unit", "property", "circuits", "vectors", "contracts", "e2e", "fuzz")

# No deadlines: a loaded machine is not a bug. Derandomised: a red run can be repeated.
settings.register_profile(
    "zkai", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("zkai")


class _OtherNativeLibrary(MetaPathFinder):
    """Loads zkai._native from a given file: the sanitizers' builds (native/sanitize.sh)."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "zkai._native":
            return None
        return importlib.util.spec_from_file_location(fullname, self.file)


if _library := os.environ.get("ZKAI_TEST_NATIVE"):
    os.environ.pop("LD_PRELOAD", None)  # the sanitizer's runtime is for this process alone
    sys.meta_path.insert(0, _OtherNativeLibrary(Path(_library).resolve(strict=True)))
    from zkai import _native

    assert Path(_native.__file__) == Path(_library).resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by folder."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, rather than skip, a Node test on a machine without the tools."""
    if item.get_closest_marker("node") is None:
        return
    if shutil.which("node") is None or not NODE_MODULES.is_dir():
        pytest.fail("needs Node.js and `npm ci`; deselect with -m 'not node'", pytrace=False)


_OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fail a test that limits this process, which later ones would suffer from."""
    if resource.getrlimit(resource.RLIMIT_NOFILE) != _OPEN_FILES:
        pytest.fail(f"{item.nodeid} limited the tests' own process: run that in another one")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the installed Node packages (mark the test with `node`)."""
    return NODE_MODULES


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server for this run; the test skips where none is installed."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(params=DATABASES)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """Where ledgers go: each test that asks runs on both databases."""
    if request.param == "sqlite":
        return Places(tmp_path)
    return Places(tmp_path, request.getfixturevalue("postgres"))
