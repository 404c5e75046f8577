"""Kills a process that appends to a ledger, with SIGKILL at random moments, and looks what is left.

    python -m tests.kill_ledger [--count 300] [--seed N]

Every entry that the process acknowledged must be there, at its place; the log's tiles and roots
must be those of its entries, the map that of a replay, and each checkpoint's tree must still be the
start of the log. Ends with status 1 at the first finding.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.log import TILE
from zkai.ledger.merkle import leaf_hash, verify_consistency
from zkai.ledger.note import Note
from zkai.ledger.store import Store
from zkai.receipt.signer import PrivateKey, generate
from zkai.receipt.statement import issue
from zkai.receipt.trust import trust

LINE = 40


def work(path: Path, issuer: PrivateKey, operator: PrivateKey, out: int, seed: int) -> None:
    """Append for ever: one by one, in batches, with checkpoints and blocks in between."""
    rng, ledger = random.Random(seed), Ledger.open(path)
    while True:
        batch = []
        for _ in range(rng.choice((1, 1, 1, 7))):
            artifacts = {"model": rng.randbytes(32)}
            batch.append(issue(None, [issuer], kind="merge", artifacts=artifacts))
        now = int(time.time())
        indices = ledger.append_all([Submission(r.to_bytes()) for r in batch], now)
        for receipt, index in zip(batch, indices, strict=True):
            os.write(out, receipt.id + index.to_bytes(LINE - 32, "big"))
        if rng.random() < 0.1:
            ledger.checkpoint([operator])
        if rng.random() < 0.05:
            ledger.seal_block(operator, now)


def one_kill(path: Path, issuer: PrivateKey, operator: PrivateKey, rng: random.Random) -> bytes:
    """Run a writer, kill it, and return what it had acknowledged."""
    read, write = os.pipe()
    seed = rng.getrandbits(32)
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work(path, issuer, operator, write, seed)
        finally:
            os._exit(1)
    os.close(write)
    time.sleep(rng.uniform(0.002, 0.08))
    os.kill(child, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        acknowledged = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer failed by itself"
    return acknowledged[: len(acknowledged) // LINE * LINE]


def check(path: Path, acknowledged: bytes, replay: Store) -> None:
    """Look at what is left, and bring the replay up to it."""
    ledger = Ledger.open(path)
    store, log = ledger.store, ledger.log
    for at in range(0, len(acknowledged), LINE):
        line = acknowledged[at : at + LINE]
        index = int.from_bytes(line[32:], "big")
        assert store.index_of(line[:32]) == index, "an acknowledged entry is lost or moved"
    size = log.size
    entries = list(store.entries(0, size))
    assert len(entries) == size, "there is a gap"
    assert store.leaves(0, 0, size) == [leaf_hash(entry) for entry in entries]
    again = type(log)(replay, log.origin)
    with replay.transaction():
        again.extend(entries[again.size :])
    assert again.root(size) == log.root(size), "the tiles are not those of the entries"
    for tile in range(size // TILE):
        assert store.tile(0, tile) == replay.tile(0, tile)
    kept = store.checkpoint()
    if kept is not None:
        old = Checkpoint.from_text(Note.from_bytes(kept[2]).text)
        proof = log.consistency(old.size, size)
        verify_consistency(old.size, size, old.root, log.root(size), proof)
    ledger.checkpoint([_OPERATOR[0]])
    ledger.close()


_OPERATOR: list[PrivateKey] = []


def main() -> int:
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    rng, issuer, operator = random.Random(seed), generate(), generate()
    _OPERATOR[:] = [operator]
    total = 0
    with tempfile.TemporaryDirectory(prefix="zkai-kill-") as folder:
        path = Path(folder) / "ledger.db"
        store = trust([("issuer", issuer.public)])
        Ledger.create(path, "kill", operator, store, [], at=int(time.time())).close()
        replay = Store(Path(folder) / "replay.db", create=True)
        for number in range(options.count):
            acknowledged = one_kill(path, issuer, operator, rng)
            try:
                check(path, acknowledged, replay)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with what is left
                print(f"seed {seed}, kill {number}: {error!r}", file=sys.stderr)
                return 1
            total += len(acknowledged) // LINE
    print(f"seed {seed}: {options.count} kills, {total} acknowledged entries, all there")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
