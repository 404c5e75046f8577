"""The chains that the contract tests run on."""

from __future__ import annotations

import re
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
def anvil(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """A node on a free port, stopped when the module's tests end."""
    binary = node_modules / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    chain_id = 313370
    options = ["--port", "0", "--accounts", "1", "--chain-id", str(chain_id)]
    # Into a file: a pipe that nobody reads would fill and stop the node.
    log = tmp_path_factory.mktemp("anvil") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, *options, "--enable-tx-gas-limit"], stdout=output, stderr=output
        )
    try:
        banner = _wait_for(log, r"Listening on \S+\n", process, timeout_s=30)
        secret = re.search(r"\(0\) (0x[0-9a-f]{64})", banner)
        listening = re.search(r"Listening on (\S+)", banner)
        assert secret
        assert listening
        yield Anvil(f"http://{listening[1]}", secret[1], chain_id)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(log: Path, mark: str, process: subprocess.Popen[bytes], timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while not re.search(mark, text := log.read_text()):
        assert process.poll() is None, f"the node ended: {text}"
        assert time.monotonic() < deadline, f"the node did not start: {text}"
        time.sleep(0.02)
    return text
