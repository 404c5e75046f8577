"""A ledger as static files that anyone can serve, fetch and check (C2SP tlog-tiles).

    checkpoint                      the latest, with its cosignatures
    tile/<level>/<n>[.p/<width>]    hashes
    tile/entries/<n>[.p/<width>]    entries, each after its length in two bytes
    proof/<sha256>.json             the proofs that receipts name
    ledger.json                     {"format": "zkai.ledger/1", "rules", "trust"}: see entry 0

Only what the checkpoint covers is written. `replay` reads such a folder and believes none of it.

An entry does not say when it was logged, only when its signer says that it signed. What precedes it
bounds the time from below: nobody logs a record that claims to be signed more than `SKEW_S` later,
so whatever follows one was logged no earlier than that. Each entry is admitted as of the earliest
time that its place allows, so that a key which had expired by then signs nothing more, whatever
time it claims. The quorum's time for the checkpoint bounds every entry from above.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zkai.encoding import load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.ledger import Ledger, Submission, begin
from zkai.ledger.log import TILE, TILE_HEIGHT
from zkai.ledger.note import MAX_NOTE, Note
from zkai.ledger.records import Record, parse_entry
from zkai.proof.jsonform import expect_fields
from zkai.proof.keys import MAX_PROOF_BYTES
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import SKEW_S, TrustStore

FORMAT = "zkai.ledger/1"
MAX_RULES = 256 << 20
MAX_KEYS = 256
MAX_BUNDLE = TILE * (2 + 65535)


def tile_name(index: int) -> str:
    """Return a tile's number as path elements of three digits: 1234067 is x001/x234/067."""
    text = f"{index % 1000:03}"
    while index := index // 1000:
        text = f"x{index % 1000:03}/{text}"
    return text


def export(ledger: Ledger, folder: Path) -> Checkpoint:
    """Write a ledger, up to its latest checkpoint, into a folder that exists.

    Raises InvalidInput if there is no checkpoint, or a file cannot be written.
    """
    kept = ledger.store.checkpoint()
    if kept is None:
        raise InvalidInput("ledger: there is no checkpoint; make one first")
    note = Note.from_bytes(kept[2])
    checkpoint = Checkpoint.from_text(note.text)
    _write_tiles(ledger, folder, checkpoint.size)
    for start in range(0, checkpoint.size, TILE):
        entries = list(ledger.store.entries(start, min(start + TILE, checkpoint.size)))
        data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
        _write(folder / "tile/entries", start // TILE, len(entries), data)
        for entry in entries:
            _write_proof(ledger, folder, entry)
    data = json.dumps(stated_rules(ledger), indent=1).encode()
    write_atomic(folder / "ledger.json", data + b"\n")
    write_atomic(folder / "checkpoint", note.to_bytes())
    return checkpoint


def stated_rules(ledger: Ledger) -> dict[str, Any]:
    """Return what ledger.json holds: the rules whose digests entry 0 states."""
    return {
        "format": FORMAT,
        "rules": ledger.admission.rules,
        "trust": ledger.admission.trust("trust_0").to_json(),
    }


def _write_tiles(ledger: Ledger, folder: Path, size: int) -> None:
    level, count = 0, size
    while count:
        for index in range((count + TILE - 1) // TILE):
            high = min((index + 1) * TILE, count)
            leaves = ledger.store.leaves(level, index * TILE, high)
            _write(folder / f"tile/{level}", index, len(leaves), b"".join(leaves))
        level, count = level + 1, count >> TILE_HEIGHT


def _write(folder: Path, index: int, width: int, data: bytes) -> None:
    path = folder / tile_name(index)
    if width < TILE:
        path = path.with_name(f"{path.name}.p") / str(width)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def _write_proof(ledger: Ledger, folder: Path, entry: bytes) -> None:
    digest = proof_digest(parse_entry(entry))
    if digest is None:
        return
    data = ledger.store.blob(digest)
    if data is None:
        raise InvalidInput(f"ledger: the proof {digest.hex()} is missing")
    (folder / "proof").mkdir(exist_ok=True)
    write_atomic(folder / f"proof/{digest.hex()}.json", data)


def proof_digest(record: Receipt | Record) -> bytes | None:
    """Return the SHA-256 of the proof file that a receipt names, None without one."""
    if not isinstance(record, Receipt) or record.predicate["proof"] is None:
        return None
    return bytes.fromhex(record.statement["subject"][0]["digest"]["sha256"])


def read_entries(folder: Path, size: int) -> Iterator[bytes]:
    """Yield the entries of an export. Raises InvalidInput, naming the file, if one is malformed."""
    for start in range(0, size, TILE):
        width = min(TILE, size - start)
        path = folder / "tile/entries" / tile_name(start // TILE)
        if width < TILE:
            path = path.with_name(f"{path.name}.p") / str(width)
        data, at, count = read_capped(path, MAX_BUNDLE), 0, 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            if at + 2 + length > len(data) or count == width:
                raise InvalidInput(f"{path}: not {width} entries with their lengths")
            yield data[at + 2 : at + 2 + length]
            at, count = at + 2 + length, count + 1
        if count != width:
            raise InvalidInput(f"{path}: holds {count} entries, expected {width}")


def verify_export(folder: Path, policy: LogPolicy) -> Checkpoint:
    """Return the checkpoint of an export after admitting every entry anew.

    Every signature, every proof, every chain of states, the root and the map's root. The rules are
    the export's own: entry 0, which the operator signed, states them, and the caller should look
    at them too.

    Raises VerificationError or InvalidInput with the first thing that does not hold.
    """
    note = Note.from_bytes(read_capped(folder / "checkpoint", MAX_NOTE), str(folder / "checkpoint"))
    checkpoint, seen = policy.verify(note)
    where = str(folder / "ledger.json")
    value = load_json(read_capped(folder / "ledger.json", MAX_RULES), where)
    with tempfile.TemporaryDirectory(prefix="zkai-replay-") as scratch:
        ledger = replay(
            Path(scratch) / "ledger.db",
            value,
            read_entries(folder, checkpoint.size),
            folder / "proof",
            policy,
            seen,
        )
        try:
            if (ledger.log.root(checkpoint.size), ledger.log.map_root) != (
                checkpoint.root,
                checkpoint.map_root,
            ):
                raise VerificationError("ledger: the entries do not give the checkpoint's roots")
        finally:
            ledger.close()
    return checkpoint


def replay(
    path: Path,
    value: dict[str, Any],
    entries: Iterator[bytes],
    proofs: Path,
    policy: LogPolicy,
    seen: int | None = None,
) -> Ledger:
    """Return a new ledger into which every entry was admitted anew, in its place.

    `seen` is when a quorum had seen all of them.

    Raises VerificationError, naming the entry, for one that may not enter.
    """
    ledger = begin_replica(path, value, next(entries, b""), policy)
    replica = Replica(ledger, lambda digest: read_proof(proofs, digest), seen)
    for data in entries:
        with ledger.store.transaction():
            replica.admit(data)
    return ledger


def read_proof(folder: Path, digest: bytes) -> bytes:
    """Return the bytes of a proof of an export. Raises InvalidInput."""
    return read_capped(folder / f"{digest.hex()}.json", MAX_PROOF_BYTES)


def begin_replica(path: Path, value: dict[str, Any], entry: bytes, policy: LogPolicy) -> Ledger:
    """Return a new ledger with the rules of an export's ledger.json and the entry that states them.

    Raises VerificationError if they are another log's than the policy's.
    """
    expect_fields(value, ("format", "rules", "trust"), "ledger.json")
    if value["format"] != FORMAT:
        raise InvalidInput(f"ledger.json: format {str(value['format'])[:40]!r}, not {FORMAT!r}")
    trust = TrustStore.from_json(value["trust"], "ledger.json: trust")
    rules = value["rules"]
    expect_fields(rules, ("origin", "operator", "verifying_keys", "place"), "ledger.json: rules")
    keys = rules["verifying_keys"]
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise InvalidInput(f"ledger.json: rules.verifying_keys: expected at most {MAX_KEYS} keys")
    if (rules["origin"], rules["operator"]) != (policy.origin, policy.key.jwk):
        raise VerificationError("ledger: its rules name another log or operator than the policy")
    first = parse_entry(entry, "entry 0")
    if not isinstance(first, Record):
        raise VerificationError("ledger: entry 0 does not state the rules")
    return begin(path, rules, trust, first, first.signed_at)


class Replica:
    """A ledger into which another's entries are admitted anew, each in its place.

    `proof` returns the bytes of a digest; `seen` is when a quorum had seen all of the entries, and
    `latest` the latest time that one of them claims so far.
    """

    def __init__(
        self,
        ledger: Ledger,
        proof: Callable[[bytes], bytes],
        seen: int | None = None,
        latest: int = 0,
    ) -> None:
        self.ledger, self.latest = ledger, latest
        self._proof, self._seen = proof, seen

    def admit(self, data: bytes) -> None:
        """Append an entry within a transaction of the store.

        Raises VerificationError, naming the entry, if it may not enter.
        """
        index = self.ledger.log.size
        record = parse_entry(data, f"entry {index}")
        self.latest = max(self.latest, record.signed_at)
        digest = proof_digest(record)
        proof = None if digest is None else self._proof(digest)
        try:
            if self._seen is not None and record.signed_at > self._seen + SKEW_S:
                raise VerificationError("it says that it was signed later than the quorum saw it")
            at = max(record.signed_at, self.latest - SKEW_S)
            if self.ledger.append_within(Submission(data, proof), at) != index:
                raise VerificationError("the same record is there twice")
        except VerificationError as error:
            raise VerificationError(f"entry {index}: {error}") from error
