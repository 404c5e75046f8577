"""What a key holder must never forget: on disk before it says anything.

A folder holds `state.json` and, in `released/`, the exact bytes of everything that it has said.
For each act of a round there is one digest of what was asked; it is written, flushed and fsynced
before the act. Whatever was released is returned again unchanged; anything else is refused. Rounds
only go forward. Never restore this folder from a backup: the holder could then say two things.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, load_json, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import MAX_BODY
from zkai.ledger.merkle import EMPTY_ROOT
from zkai.proof.jsonform import expect_fields

FORMAT = "zkai.he-memory/1"
MAX_STATE = 1 << 16
_FIELDS = ("format", "session", "size", "root", "round", "done")


class Memory:
    """A holder's folder; use it under `locked`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "state.json"
        self._state: dict[str, Any] | None = None

    @contextmanager
    def locked(self) -> Iterator[Memory]:
        """Hold the folder: one process at a time acts as this holder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InvalidInput(f"{self._folder}: cannot be used ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._state = None
            yield self
        finally:
            os.close(lock)

    def join(self, session: bytes) -> None:
        """Belong to a session, for ever. Raises VerificationError for another than the first."""
        state = self._read()
        if state["session"] is None:
            self._write({**state, "session": hex32(session)})
        elif state["session"] != hex32(session):
            raise VerificationError("holder: these keys are of another session; make new ones")

    @property
    def seen(self) -> tuple[int, bytes]:
        """Size and root of the last log that was seen; of an empty one at first."""
        state = self._read()
        return state["size"], parse_hex32(state["root"], "root")

    def see(self, size: int, root: bytes) -> None:
        """Remember a log that extends the last one: that it does is for the caller to check."""
        if self.seen != (size, root):
            self._write({**self._read(), "size": size, "root": hex32(root)})

    @property
    def round(self) -> int:
        """The last round in which this holder did anything."""
        return int(self._read()["round"])

    def enter(self, number: int) -> None:
        """Go on to a round. Raises VerificationError if a later one has begun."""
        state = self._read()
        if number < state["round"]:
            raise VerificationError(f"holder: round {number} is over, round {state['round']} began")
        if number > state["round"]:
            self._write({**state, "round": number, "done": {}})

    def done(self, act: str) -> bytes | None:
        """Return the digest of what was asked when an act of this round was done, or None."""
        found = self._read()["done"].get(act)
        return None if found is None else parse_hex32(found, act)

    def claim(self, act: str, digest: bytes) -> None:
        """Note, durably, what an act of this round is about.

        Raises VerificationError if it was about something else before.
        """
        found = self.done(act)
        if found is not None and found != digest:
            raise VerificationError(
                f"holder: asked for another {act} in the same round; there is one a round"
            )
        if found is None:
            state = self._read()
            self._write({**state, "done": {**state["done"], act: hex32(digest)}})

    def release(self, number: int, name: str, make: Callable[[], bytes]) -> bytes:
        """Return what was released under a name, making and keeping it if nothing was."""
        path = self._folder / "released" / f"{number}-{name}"
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, make(), mode=0o600)
            _sync(path.parent)
        return read_capped(path, MAX_BODY)

    def forget(self, number: int, name: str) -> None:
        """Delete what was released under a name, which the caller never asks for again."""
        path = self._folder / "released" / f"{number}-{name}"
        if path.exists():
            path.unlink()
            _sync(path.parent)

    def released(self, number: int, name: str) -> bytes | None:
        """Return what was released under a name, or None."""
        path = self._folder / "released" / f"{number}-{name}"
        return read_capped(path, MAX_BODY) if path.exists() else None

    def _read(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._load()
        return self._state

    def _load(self) -> dict[str, Any]:
        if not self._path.exists():
            if (self._folder / "released").exists():
                raise InvalidInput(f"{self._path}: is gone; this holder must not act any more")
            root = hex32(EMPTY_ROOT)
            return {"format": FORMAT, "session": None, "size": 0, "root": root, "round": 0,
                    "done": {}}  # fmt: skip
        where = str(self._path)
        value = load_json(read_capped(self._path, MAX_STATE), where)
        expect_fields(value, _FIELDS, where)
        if value["format"] != FORMAT or not isinstance(value["done"], dict):
            raise InvalidInput(f"{where}: expected {FORMAT}")
        state: dict[str, Any] = value
        return state

    def _write(self, state: dict[str, Any]) -> None:
        self._state = None
        write_atomic(self._path, json.dumps(state, indent=1).encode() + b"\n", mode=0o600)
        _sync(self._folder)
        self._state = state


def _sync(folder: Path) -> None:
    """Make a rename in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
