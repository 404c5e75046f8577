"""A witness that checks the map: it replays the entries and cosigns only what they give.

    FOLDER/seen.json     the witness's memory (`zkai.ledger.witness`)
    FOLDER/replica.db    its own copy of the log, up to the last checkpoint that it cosigned

Every entry since then is admitted anew: signatures, proofs, chains of states. Then both roots,
the log's and the map's, must be the checkpoint's. An auditor's cosignature looks like any other
witness's; that its key signs nothing else is what it tells those who trust it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from zkai.encoding import load_json, read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.export import (
    MAX_RULES,
    Replica,
    begin_replica,
    read_entries,
    read_proof,
    stated_rules,
)
from zkai.ledger.ledger import Ledger
from zkai.ledger.note import MAX_NOTE, Note
from zkai.ledger.records import parse_entry
from zkai.ledger.witness import Witness
from zkai.receipt.signer import PrivateKey

_LATEST = "audit_latest"


class Published(Protocol):
    """What an auditor is shown: the latest checkpoint, the rules, entries and proofs."""

    def note(self) -> Note:
        """Return the latest checkpoint."""

    def rules(self) -> dict[str, Any]:
        """Return what an export's ledger.json holds."""

    def entries(self, low: int, high: int) -> Iterator[bytes]:
        """Yield the entries of a range."""

    def proof(self, digest: bytes) -> bytes:
        """Return the bytes of a proof."""


class FromLedger:
    """A ledger that the auditor can open."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def note(self) -> Note:
        """Return the latest checkpoint. Raises InvalidInput without one."""
        kept = self._ledger.store.checkpoint()
        if kept is None:
            raise InvalidInput("ledger: there is no checkpoint; make one first")
        return Note.from_bytes(kept[2])

    def rules(self) -> dict[str, Any]:
        """Return what an export's ledger.json holds."""
        return stated_rules(self._ledger)

    def entries(self, low: int, high: int) -> Iterator[bytes]:
        """Yield the entries of a range."""
        return self._ledger.store.entries(low, high)

    def proof(self, digest: bytes) -> bytes:
        """Return the bytes of a proof. Raises InvalidInput if it is lost."""
        data = self._ledger.store.blob(digest)
        if data is None:
            raise InvalidInput(f"ledger: the proof {digest.hex()} is missing")
        return data


class FromExport:
    """The folder of an export."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self) -> Note:
        """Return the export's checkpoint. Raises InvalidInput."""
        path = self._folder / "checkpoint"
        return Note.from_bytes(read_capped(path, MAX_NOTE), str(path))

    def rules(self) -> dict[str, Any]:
        """Return ledger.json. Raises InvalidInput."""
        path = self._folder / "ledger.json"
        return dict(load_json(read_capped(path, MAX_RULES), str(path)))

    def entries(self, low: int, high: int) -> Iterator[bytes]:
        """Yield the entries of a range. Raises InvalidInput if a file is malformed."""
        size = Checkpoint.from_text(self.note().text).size
        return islice(read_entries(self._folder, size), low, high)

    def proof(self, digest: bytes) -> bytes:
        """Return the bytes of a proof. Raises InvalidInput."""
        return read_proof(self._folder / "proof", digest)


class Auditor:
    """A witness with its own copy of the log; the folder must exist."""

    def __init__(self, name: str, key: PrivateKey, folder: Path) -> None:
        self._witness = Witness(name, key, folder / "seen.json")
        self._replica = folder / "replica.db"

    def cosign(self, shown: Published, policy: LogPolicy, at: int) -> Note:
        """Return the latest checkpoint with this auditor's line, at the time `at`.

        Raises VerificationError, and signs nothing, if an entry may not enter, the entries give
        other roots than the checkpoint's, or history was rewritten.
        """
        note = shown.note()
        checkpoint, _ = LogPolicy(policy.origin, policy.key).verify(note)
        last = self._witness.last(policy.origin)
        if last.size == 0:
            self._forget()
        if checkpoint.size < max(last.size, 1):
            raise VerificationError(f"audit: {checkpoint.size} entries, fewer than {last.size}")
        replica = self._open(shown, policy)
        try:
            self._follow(replica, shown, checkpoint)
            proof = replica.log.consistency(last.size, checkpoint.size)
        finally:
            replica.close()
        return self._witness.cosign(note, policy, proof, at)

    def _forget(self) -> None:
        """Remove a copy of which nothing was ever cosigned."""
        for suffix in ("", "-wal", "-shm"):
            self._replica.with_name(self._replica.name + suffix).unlink(missing_ok=True)

    def _open(self, shown: Published, policy: LogPolicy) -> Ledger:
        if self._replica.exists():
            return Ledger.open(self._replica)
        first = next(iter(shown.entries(0, 1)), b"")
        return begin_replica(self._replica, shown.rules(), first, policy)

    def _follow(self, ledger: Ledger, shown: Published, checkpoint: Checkpoint) -> None:
        """Admit what is new, and keep it if both roots are the checkpoint's."""
        first, store = ledger.log.size, ledger.store
        with store.transaction():
            kept = store.meta(_LATEST)
            latest = int.from_bytes(kept, "big") if kept else _begun(ledger)
            replica = Replica(ledger, shown.proof, latest=latest)
            for entry in shown.entries(first, checkpoint.size) if first < checkpoint.size else ():
                replica.admit(entry)
            if ledger.log.size != checkpoint.size:
                raise VerificationError(f"audit: expected {checkpoint.size} entries")
            if ledger.log.root(checkpoint.size) != checkpoint.root:
                raise VerificationError("audit: the entries do not give the log's root")
            if ledger.log.map_root != checkpoint.map_root:
                raise VerificationError("audit: the entries do not give the map's root")
            store.put_meta(_LATEST, replica.latest.to_bytes(8, "big"))


def _begun(ledger: Ledger) -> int:
    return parse_entry(ledger.store.entry(0) or b"", "entry 0").signed_at
