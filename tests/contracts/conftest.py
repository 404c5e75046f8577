"""The chains that the contract tests run on."""

from __future__ import annotations

import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from zkai.chain.embedded import EmbeddedChain


@pytest.fixture
def chain() -> EmbeddedChain:
    """A fresh embedded chain."""
    return EmbeddedChain()


@dataclass(frozen=True)
class Anvil:
    """A running node: its URL, a funded key and its number."""

    url: str
    secret: str
    chain_id: int


@pytest.fixture(scope="module")
def anvil(node_modules: Path) -> Iterator[Anvil]:
    """A node on a free port, stopped when the module's tests end."""
    binary = node_modules / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    chain_id = 313370
    options = ["--port", "0", "--accounts", "1", "--chain-id", str(chain_id)]
    process = subprocess.Popen(
        [binary, *options, "--enable-tx-gas-limit"], stdout=subprocess.PIPE, text=True
    )
    try:
        banner = _read_until(process, "Listening on ", timeout_s=30)
        secret = re.search(r"\(0\) (0x[0-9a-f]{64})", banner)
        listening = re.search(r"Listening on (\S+)", banner)
        assert secret
        assert listening
        yield Anvil(f"http://{listening[1]}", secret[1], chain_id)
    finally:
        process.terminate()
        process.wait(timeout=10)
        assert process.stdout
        process.stdout.close()


def _read_until(process: subprocess.Popen[str], mark: str, timeout_s: float) -> str:
    assert process.stdout
    deadline = time.monotonic() + timeout_s
    text = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while mark not in text:
            assert selector.select(max(0.0, deadline - time.monotonic())), f"no {mark!r}: {text}"
            line = process.stdout.readline()
            assert line, f"the node ended with status {process.wait()}: {text}"
            text += line
    return text
