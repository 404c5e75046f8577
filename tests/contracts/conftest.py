"""The chains that the contract tests run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_support import node_program

from zkai.chain.embedded import EmbeddedChain


@pytest.fixture
def chain() -> EmbeddedChain:
    """A fresh embedded chain."""
    return EmbeddedChain()


@pytest.fixture(scope="module")
def anvil(node_modules: Path) -> Iterator[Any]:
    """A local node on a free port, stopped when the module's tests end."""
    with node_program.running_anvil() as node:
        yield node
