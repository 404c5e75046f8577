"""The append-only record of a session: a log of the ledger's kind, and how the others see it.

The aggregator keeps it (`Record`). Everybody else reads the checkpoint and all leaf hashes
(`View`), computes the root itself, and refuses a log that does not begin with what it saw before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from zkai.encoding import read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.messages import SESSION, Message, base, parse_message, sign_message
from zkai.ledger.admission import plain_root
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.log import Log
from zkai.ledger.merkle import EMPTY_ROOT, leaf_hash
from zkai.ledger.note import MAX_NOTE, Note
from zkai.ledger.store import Store
from zkai.receipt.signer import PrivateKey, PublicKey

MAX_ENTRIES = 1 << 22


class Agreed(Protocol):
    """What a log is of: a session, or a key ceremony."""

    @property
    def id(self) -> bytes:
        """What every message names."""

    @property
    def origin(self) -> str:
        """The log's name."""

    @property
    def aggregator(self) -> PublicKey:
        """Who keeps the log."""


class Record:
    """The aggregator's log of a session."""

    def __init__(self, path: Path, session: Agreed, key: PrivateKey) -> None:
        """Open the log, or begin it. Raises InvalidInput if it is of another session."""
        if key.public != session.aggregator:
            raise InvalidInput("record: the key is not that of the session's aggregator")
        self._parsed: dict[int, Message] = {}
        self._published = 0
        fresh = not path.exists()
        self._store = Store(path, create=fresh)
        self._log, self._key, self._session = Log(self._store, session.origin), key, session
        if self._log.size == 0:
            self.append([sign_message(SESSION, base(session.id, 0), key)])
        first = self._store.entry(0)
        assert first is not None
        if parse_message(first, str(path)).session != session.id:
            raise InvalidInput(f"{path}: the record of another session")

    def close(self) -> None:
        """Close the log."""
        self._store.close()

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._log.size

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Return the indices of messages that are durably logged when this returns.

        The same payload again keeps its index.
        """
        with self._store.transaction():
            found = []
            for message in messages:
                index = self._store.index_of(message.id)
                if index is None:
                    index = self._log.extend([message.to_bytes()])
                    self._store.add_record(message.id, index)
                    self._store.add_member("round", str(message.round), index)
                found.append(index)
        return found

    def messages(self, number: int) -> list[tuple[int, Message]]:
        """Return a round's entries in order."""
        indices = self._store.members("round", str(number), self._log.size)
        for index in indices:
            if index not in self._parsed:
                data = self._store.entry(index)
                assert data is not None
                self._parsed[index] = parse_message(data, f"entry {index}")
        return [(index, self._parsed[index]) for index in indices]

    def publish(self, board: Board) -> Checkpoint:
        """Sign a checkpoint, and write it with the leaf hashes and the entries.

        Entries that this process wrote before are not written again.
        """
        start = self._published
        with self._store.transaction():
            note = self._log.sign_checkpoint([self._key])
        size = self._log.size
        for index, data in enumerate(self._store.entries(start, size), start):
            board.put_entry(index, data)
        board.put_record(note.to_bytes(), b"".join(self._store.leaves(0, 0, size)))
        self._published = size
        return Checkpoint.from_text(note.text)


@dataclass(frozen=True)
class View:
    """A log as somebody sees it on a board: its checkpoint, and all leaf hashes under it."""

    board: Board
    checkpoint: Checkpoint
    leaves: tuple[bytes, ...] = field(repr=False)

    @staticmethod
    def read(board: Board, session: Agreed) -> View:
        """Return the log on a board, after checking its head.

        Raises VerificationError if the aggregator did not sign it, or the hashes are others.
        """
        where = board.root / "record"
        note = Note.from_bytes(read_capped(where / "checkpoint", MAX_NOTE), "record")
        checkpoint, _ = LogPolicy(session.origin, session.aggregator).verify(note)
        if checkpoint.size > MAX_ENTRIES:
            raise InvalidInput(f"record: more than {MAX_ENTRIES} entries")
        data = read_capped(where / "leaves", 32 * MAX_ENTRIES)
        if len(data) < 32 * checkpoint.size:
            raise InvalidInput(f"record: {len(data)} bytes of hashes of {checkpoint.size} entries")
        leaves = tuple(data[32 * i : 32 * i + 32] for i in range(checkpoint.size))
        view = View(board, checkpoint, leaves)
        if view.root(checkpoint.size) != checkpoint.root:
            raise VerificationError("record: its hashes do not lead to the signed root")
        return view

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries. Raises VerificationError if there are less.

        This is the consistency check: whoever saw a root of fewer entries compares it.
        """
        if not 0 <= size <= len(self.leaves):
            raise VerificationError(f"record: the log shrank to {len(self.leaves)} entries")
        return plain_root(self.leaves[:size]) if size else EMPTY_ROOT

    def check_extends(self, size: int, root: bytes) -> None:
        """Return None if the log starts with a log seen before. Raises VerificationError."""
        if self.root(size) != root:
            raise VerificationError(
                f"record: not the log of {size} entries that was seen before: history was rewritten"
                " or forked"
            )

    def entry(self, index: int, size: int | None = None) -> bytes:
        """Return an entry, of the first `size` or of all. Raises VerificationError otherwise."""
        if not 0 <= index < (len(self.leaves) if size is None else size):
            raise VerificationError(f"record: entry {index} is not logged here")
        data = self.board.entry(index)
        if leaf_hash(data) != self.leaves[index]:
            raise VerificationError(f"record: entry {index} is not what is logged")
        return data

    def index_of(self, data: bytes, what: str) -> int:
        """Return where an entry is logged. Raises VerificationError if it is not."""
        try:
            return self.leaves.index(leaf_hash(data))
        except ValueError as error:
            raise VerificationError(f"{what}: not in the record") from error
