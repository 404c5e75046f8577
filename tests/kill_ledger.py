"""Kills a process that appends to a ledger, with SIGKILL at random moments, and looks what is left.

    python -m tests.kill_ledger [--count 300] [--seed N] [--database sqlite|postgres]

With PostgreSQL, every tenth time it is the server that is stopped at once, and recovers. Every
entry that the process acknowledged must be there, at its place; tiles, roots and the map must be
those of a replay, and each checkpoint's tree must still be the start of the log. Ends with status 1
at the first finding.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench._postgres import Cluster
from tests.databases import DATABASES, Places
from tests.services import postgres_cluster
from zkai.encoding import hex32
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.ledger import Ledger, Submission, begin
from zkai.ledger.log import TILE
from zkai.ledger.merkle import leaf_hash, verify_consistency
from zkai.ledger.note import Note
from zkai.ledger.records import NODE, Record, parse_entry, sign_record
from zkai.receipt.signer import PrivateKey, generate
from zkai.receipt.statement import Receipt, issue
from zkai.receipt.trust import TrustStore, trust

LINE = 40
SERVER_CRASHES = 10
"""One in so many kills is the server's."""
NOTHING = {
    "parents": [], "height": 0, "generation": 0, "fitness": [], "priors": [], "constraints": [],
}  # fmt: skip


def work(place: Path | str, issuer: PrivateKey, operator: PrivateKey, out: int, seed: int) -> None:
    """Append for ever: one by one, in batches, with checkpoints and blocks in between."""
    rng, ledger = random.Random(seed), Ledger.open(place)
    while True:
        batch: list[Receipt | Record] = []
        now = int(time.time())
        for _ in range(rng.choice((1, 1, 1, 7))):
            artifacts = {"model": rng.randbytes(32)}
            batch.append(issue(None, [issuer], kind="merge", artifacts=artifacts, signed=now))
            if rng.random() < 0.5:
                body = {"receipt": hex32(batch[-1].id), **NOTHING}
                batch.append(sign_record(NODE, body, [operator], now))
        indices = ledger.append_all([Submission(r.envelope.to_bytes()) for r in batch], now)
        for record, index in zip(batch, indices, strict=True):
            os.write(out, record.id + index.to_bytes(LINE - 32, "big"))
        if rng.random() < 0.1:
            ledger.checkpoint([operator])
        if rng.random() < 0.05:
            ledger.seal_block(operator, now)


def one_kill(work: Callable[[int, int], None], rng: random.Random, server: Cluster | None) -> bytes:
    """Run a writer, kill it, or its server, and return what it had acknowledged."""
    read, write = os.pipe()
    seed = rng.getrandbits(32)
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work(write, seed)
        finally:
            os._exit(1)
    os.close(write)
    if server is None:
        time.sleep(rng.uniform(0.002, 0.12))
        os.kill(child, signal.SIGKILL)
    else:
        time.sleep(rng.uniform(0.05, 0.2))
        server.stop("immediate")
        server.start()
    with os.fdopen(read, "rb") as pipe:
        acknowledged = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) == (server is None), "the writer failed by itself"
    return acknowledged[: len(acknowledged) // LINE * LINE]


def check(place: Path | str, acknowledged: bytes, replay: Ledger) -> None:
    """Look at what is left, and bring the replay up to it."""
    ledger = Ledger.open(place)
    store, log = ledger.store, ledger.log
    for at in range(0, len(acknowledged), LINE):
        line = acknowledged[at : at + LINE]
        index = int.from_bytes(line[32:], "big")
        assert store.index_of(line[:32]) == index, "an acknowledged entry is lost or moved"
    size = log.size
    entries = list(store.entries(0, size))
    assert len(entries) == size, "there is a gap"
    assert store.leaves(0, 0, size) == [leaf_hash(entry) for entry in entries]
    records = [parse_entry(entry) for entry in entries[replay.log.size :]]
    replay.append_all([Submission(r.envelope.to_bytes()) for r in records], int(time.time()))
    assert replay.log.root(size) == log.root(size), "the tiles are not those of the entries"
    assert replay.log.map_root == log.map_root, "the map is not that of the entries"
    for tile in range(size // TILE):
        assert store.tile(0, tile) == replay.store.tile(0, tile)
    kept = store.checkpoint()
    if kept is not None:
        old = Checkpoint.from_text(Note.from_bytes(kept[2]).text)
        proof = log.consistency(old.size, size)
        verify_consistency(old.size, size, old.root, log.root(size), proof)
    ledger.checkpoint([_OPERATOR[0]])
    ledger.close()


def again(ledger: Ledger, store: TrustStore, path: Path) -> Ledger:
    """Return a ledger that begins with the same entry 0."""
    record = parse_entry(ledger.store.entry(0) or b"")
    assert isinstance(record, Record)
    return begin(path, ledger.admission.rules, store, record, record.signed_at)


_OPERATOR: list[PrivateKey] = []


def main() -> int:
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    rng, issuer, operator = random.Random(seed), generate(), generate()
    _OPERATOR[:] = [operator]
    total = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkai-kill-")))
        server = None
        if options.database == "postgres":
            server = stack.enter_context(postgres_cluster())
        place = Places(folder, server)("ledger")
        store = trust([("issuer", issuer.public)])
        first = Ledger.create(place, "kill", operator, store, [], at=int(time.time()))
        replay = again(first, store, folder / "replay.db")
        first.close()
        stack.callback(replay.close)
        for number in range(options.count):
            crashed = server if number % SERVER_CRASHES == SERVER_CRASHES - 1 else None
            acknowledged = one_kill(
                lambda out, seed: work(place, issuer, operator, out, seed), rng, crashed
            )
            try:
                check(place, acknowledged, replay)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with what is left
                print(f"seed {seed}, kill {number}: {error!r}", file=sys.stderr)
                return 1
            total += len(acknowledged) // LINE
    print(f"seed {seed}: {options.count} kills, {total} acknowledged entries, all there")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
