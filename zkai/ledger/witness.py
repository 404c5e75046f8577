"""A witness: cosigns a log's checkpoints, each only if it extends the last one it cosigned.

What it saw last is on disk before the cosignature exists, so that no crash lets it sign two
histories. It makes no statement about the entries or the map.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zkai.encoding import as_path, load_json, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.ledger.checkpoint import Checkpoint, LogPolicy, check_extends
from zkai.ledger.merkle import EMPTY_ROOT, verify_consistency
from zkai.ledger.note import Note, check_name, cosign_note
from zkai.ledger.statusmap import EMPTY
from zkai.proof.jsonform import expect_fields
from zkai.receipt.signer import PrivateKey

FORMAT = "zkai.witness/1"
MAX_BYTES = 1 << 24


class Witness:
    """A named witness with its memory in a file. The key stays with the caller.

    Raises InvalidInput for a name that no note can hold.
    """

    def __init__(self, name: str, key: PrivateKey, memory: Path | str) -> None:
        check_name(name)
        self.name, self._key, self._path = name, key, as_path(memory)

    def last(self, origin: str) -> Checkpoint:
        """Return the last checkpoint of a log that it cosigned; an empty log's if there is none."""
        return self._read().get(origin, Checkpoint(origin, 0, EMPTY_ROOT, EMPTY))

    def cosign(self, note: Note, policy: LogPolicy, proof: Sequence[bytes], at: int) -> Note:
        """Return the note with this witness's line, at the time `at`.

        `proof` shows consistency from the last checkpoint that this witness cosigned (`last`).

        Raises VerificationError if the log did not sign, or history was rewritten or forked.
        """
        trusted = LogPolicy(policy.origin, policy.key)
        checkpoint, _ = trusted.verify(note)
        with self._locked():
            if (last := self.last(checkpoint.origin)).size:
                check_extends(last, checkpoint, proof)
            else:
                verify_consistency(0, checkpoint.size, EMPTY_ROOT, checkpoint.root, proof)
            self._write({**self._read(), checkpoint.origin: checkpoint})
            return cosign_note(note, self.name, self._key, at)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Checkpoint]:
        if not self._path.exists():
            return {}
        where = str(self._path)
        value = load_json(read_capped(self._path, MAX_BYTES), where)
        expect_fields(value, ("format", "seen"), where)
        if value["format"] != FORMAT or not isinstance(value["seen"], list):
            raise InvalidInput(f"{where}: expected {FORMAT}")
        found = {}
        for text in value["seen"]:
            if not isinstance(text, str):
                raise InvalidInput(f"{where}: expected the texts of checkpoints")
            checkpoint = Checkpoint.from_text(text, where)
            found[checkpoint.origin] = checkpoint
        return found

    def _write(self, memory: dict[str, Checkpoint]) -> None:
        seen = [checkpoint.to_text() for checkpoint in memory.values()]
        data = json.dumps({"format": FORMAT, "seen": seen}, indent=1).encode() + b"\n"
        write_atomic(self._path, data, mode=0o600)
