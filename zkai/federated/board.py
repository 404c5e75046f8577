"""The board: a folder through which the parties pass signed messages and bodies.

    session.json                  what was agreed
    record/checkpoint, leaves     the log's signed head, and its leaf hashes
    record/entries/INDEX          the log's entries
    round-R/KIND/KEYID            what a party hands in
    round-R/PHASE.proposal, .body, .certificate
    round-R/bodies/SHA256         bodies by their digest

Nobody trusts it: whatever is read is bounded first, and checked against digests and signatures.
Any way to copy files serves, and each party may have a copy of its own.
"""

from __future__ import annotations

from pathlib import Path

from zkai.encoding import as_path, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.messages import MAX_MESSAGE
from zkai.federated.session import MAX_BYTES, Session

MAX_BODY = 1 << 32
MAX_LIST = 4 << 20
"""What the bodies of decisions may have at most."""


class Board:
    """A board's folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = as_path(root)

    def session(self, expected: bytes | None = None) -> Session:
        """Return the session, with `expected` only if it has that id. Raises InvalidInput."""
        data = read_capped(self.root / "session.json", MAX_BYTES)
        session = Session.from_bytes(data, str(self.root / "session.json"))
        if expected is not None and session.id != expected:
            raise VerificationError(f"{self.root}: holds another session than the one joined")
        return session

    def put_session(self, session: Session) -> None:
        """Write the session."""
        self.put_root("session.json", session.to_bytes())

    def put_root(self, name: str, data: bytes) -> None:
        """Write something that belongs to no round."""
        _put(self.root / name, data)

    def round_path(self, number: int, name: str) -> Path:
        """Return where something of a round lies."""
        return self.root / f"round-{number}" / name

    def has(self, number: int, name: str) -> bool:
        """Whether something of a round is there."""
        return self.round_path(number, name).is_file()

    def read(self, number: int, name: str, most: int = MAX_MESSAGE) -> bytes:
        """Return the bytes of something of a round. Raises InvalidInput naming the file."""
        return read_capped(self.round_path(number, name), most)

    def listed(self, number: int, kind: str) -> list[str]:
        """Return the names in a folder of a round, in order."""
        folder = self.round_path(number, kind)
        return sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []

    def put(self, number: int, name: str, data: bytes) -> None:
        """Write something of a round, if it is not there already with these bytes."""
        _put(self.round_path(number, name), data)

    def put_body(self, number: int, data: bytes) -> bytes:
        """Write a body and return its digest."""
        digest = sha256(data)
        _put(self.round_path(number, f"bodies/{digest.hex()}"), data)
        return digest

    def has_body(self, number: int, digest: bytes) -> bool:
        """Whether a body is there, whatever it holds."""
        return self.has(number, f"bodies/{digest.hex()}")

    def body(self, number: int, digest: bytes, size: int | None, what: str) -> bytes:
        """Return a body of a digest and a length; of at most 4 MiB if the length is None.

        Raises InvalidInput for a missing file or another length, VerificationError for a body of
        another digest.
        """
        path = self.round_path(number, f"bodies/{digest.hex()}")
        data = read_capped(path, min(MAX_LIST if size is None else size, MAX_BODY))
        if size is not None and len(data) != size:
            raise InvalidInput(f"{what}: expected {size} bytes, got {len(data)}")
        if sha256(data) != digest:
            raise VerificationError(f"{what}: its bytes are not those of its digest")
        return data

    def put_record(self, checkpoint: bytes, leaves: bytes) -> None:
        """Write the log's leaf hashes, and then its head."""
        _put(self.root / "record" / "leaves", leaves)
        _put(self.root / "record" / "checkpoint", checkpoint)

    def put_entry(self, index: int, data: bytes) -> None:
        """Write an entry of the log."""
        _put(self.root / "record" / "entries" / str(index), data)

    def entry(self, index: int) -> bytes:
        """Return an entry of the log, for the caller to check. Raises InvalidInput."""
        return read_capped(self.root / "record" / "entries" / str(index), MAX_MESSAGE)


def _put(path: Path, data: bytes) -> None:
    try:
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror})") from error
    write_atomic(path, data)
