"""A local Ethereum node (anvil, from npm) for as long as a block runs."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
CHAIN_ID = 313370


@dataclass(frozen=True)
class Anvil:
    """A running node: its URL, the private key of its one funded account, its number."""

    url: str
    secret: str
    chain_id: int


@contextmanager
def running_anvil() -> Iterator[Anvil]:
    """Start a node on a free port and stop it afterwards."""
    options = ["--port", "0", "--accounts", "1", "--chain-id", str(CHAIN_ID)]
    # Without the cap anvil mines transactions that no real chain takes (EIP-7825). It writes to a
    # file, because a pipe that nobody reads would fill and stop it.
    with tempfile.NamedTemporaryFile(prefix="anvil-", suffix=".log") as log:
        process = subprocess.Popen(
            [BINARY, *options, "--enable-tx-gas-limit"], stdout=log, stderr=log
        )
        try:
            banner = _wait_for(Path(log.name), r"Listening on (\S+)\n", process, timeout_s=30)
            secret = re.search(r"\(0\) (0x[0-9a-f]{64})", banner)
            listening = re.search(r"Listening on (\S+)", banner)
            if secret is None or listening is None:
                raise RuntimeError(f"anvil did not print its account and address: {banner}")
            yield Anvil(f"http://{listening[1]}", secret[1], CHAIN_ID)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait_for(log: Path, mark: str, process: subprocess.Popen[bytes], timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while not re.search(mark, text := log.read_text(encoding="utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"anvil did not start: {text}")
        time.sleep(0.02)
    return text
