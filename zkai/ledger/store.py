"""Where a ledger's rows live: SQLite, in one file, every transaction durable when it ends.

All SQL of the ledger is here. Rows are only ever added, but for `head` (a fork's current end) and
`meta`. Hashes of full subtrees are kept in tiles of 256 leaves with all levels in between, so that
a proof reads a few rows however long the log is.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zkai.encoding import as_path
from zkai.errors import InvalidInput, ToolError
from zkai.ledger.statusmap import Node

VERSION = b"1"
CACHED_TILES = 64

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE record (id BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tile (level INTEGER, idx INTEGER, root BLOB NOT NULL, nodes BLOB NOT NULL,
  PRIMARY KEY (level, idx));
CREATE TABLE map_node (hash BLOB PRIMARY KEY, leaf INTEGER NOT NULL, a BLOB NOT NULL,
  b BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE map_value (name TEXT, idx INTEGER, value BLOB NOT NULL, PRIMARY KEY (name, idx))
  WITHOUT ROWID;
CREATE TABLE head (fork TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, map_root BLOB NOT NULL, note BLOB NOT NULL);
CREATE TABLE blob (digest BLOB PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE member (kind TEXT, name TEXT, idx INTEGER, PRIMARY KEY (kind, name, idx))
  WITHOUT ROWID;
"""
"""`member` lists the entries of a fork, a user, a model: (kind, name) to their indices."""


class Store:
    """An open database. One process at a time writes; others read what is committed."""

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        """Open a ledger's file, or with `create` make a new one.

        Raises InvalidInput if it exists with `create`, or is no ledger without.
        """
        self.path = as_path(path)
        if create == self.path.exists():
            word = "exists already" if create else "no such file"
            raise InvalidInput(f"{self.path}: {word}")
        try:
            self._db = sqlite3.connect(
                self.path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            if create:
                self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                self.put_meta("version", VERSION)
            if self.meta("version") != VERSION:
                raise InvalidInput(f"{self.path}: a ledger of another version")
        except sqlite3.OperationalError as error:
            raise InvalidInput(f"{self.path}: not a ledger ({error})") from error
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"{self.path}: not a ledger ({error})") from error
        self._tiles: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the right to write; on leaving, everything is durable, or with an error undone."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise ToolError(f"{self.path}: locked by another process ({error})") from error
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._tiles.clear()
            raise
        self._db.execute("COMMIT")

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else row[0]

    # meta, blobs, heads

    def meta(self, name: str) -> bytes | None:
        """Return a setting."""
        value: bytes | None = self._one("SELECT value FROM meta WHERE name = ?", name)
        return value

    def put_meta(self, name: str, value: bytes) -> None:
        """Set a setting."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def blob(self, digest: bytes) -> bytes | None:
        """Return the bytes of a digest, such as a proof's."""
        value: bytes | None = self._one("SELECT data FROM blob WHERE digest = ?", digest)
        return value

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep bytes under their digest."""
        self._db.execute("INSERT OR IGNORE INTO blob VALUES (?, ?)", (digest, data))

    def head(self, fork: str) -> bytes | None:
        """Return what stands for a fork's end."""
        value: bytes | None = self._one("SELECT value FROM head WHERE fork = ?", fork)
        return value

    def put_head(self, fork: str, value: bytes) -> None:
        """Move a fork's end."""
        self._db.execute("INSERT OR REPLACE INTO head VALUES (?, ?)", (fork, value))

    # entries

    def size(self) -> int:
        """Return the number of entries."""
        last = self._one("SELECT MAX(idx) FROM entry")
        return 0 if last is None else int(last) + 1

    def add_entries(self, rows: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Add (index, leaf hash, bytes)."""
        self._db.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows)

    def entry(self, index: int) -> bytes | None:
        """Return an entry's bytes."""
        value: bytes | None = self._one("SELECT data FROM entry WHERE idx = ?", index)
        return value

    def entries(self, low: int, high: int) -> Iterator[bytes]:
        """Yield the entries of a range."""
        sql = "SELECT data FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        for row in self._db.execute(sql, (low, high)):
            yield row[0]

    def add_record(self, record_id: bytes, index: int) -> None:
        """Remember the index of a record, which must be new."""
        self._db.execute("INSERT INTO record VALUES (?, ?)", (record_id, index))

    def index_of(self, record_id: bytes) -> int | None:
        """Return the index of a record."""
        value: int | None = self._one("SELECT idx FROM record WHERE id = ?", record_id)
        return value

    def add_member(self, kind: str, name: str, index: int) -> None:
        """List an entry under a fork, a user or a model."""
        self._db.execute("INSERT OR IGNORE INTO member VALUES (?, ?, ?)", (kind, name, index))

    def members(self, kind: str, name: str, size: int) -> list[int]:
        """Return the listed entries among the first `size`, in order."""
        sql = "SELECT idx FROM member WHERE kind = ? AND name = ? AND idx < ? ORDER BY idx"
        return [row[0] for row in self._db.execute(sql, (kind, name, size))]

    # tiles

    def leaves(self, level: int, low: int, high: int) -> list[bytes]:
        """Return hashes of a tile level: leaf hashes at level 0, roots of full tiles above."""
        if level == 0:
            sql = "SELECT hash FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
            rows = self._db.execute(sql, (low, high))
        else:
            sql = "SELECT root FROM tile WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
            rows = self._db.execute(sql, (level - 1, low, high))
        return [row[0] for row in rows]

    def tile(self, level: int, index: int) -> bytes | None:
        """Return the nodes of a full tile: 256 leaves, the 128 above them, ... the last two."""
        if (found := self._tiles.get((level, index))) is not None:
            self._tiles.move_to_end((level, index))
            return found
        sql = "SELECT nodes FROM tile WHERE level = ? AND idx = ?"
        nodes: bytes | None = self._one(sql, level, index)
        if nodes is not None:
            self._tiles[level, index] = nodes
            if len(self._tiles) > CACHED_TILES:
                self._tiles.popitem(last=False)
        return nodes

    def add_tile(self, level: int, index: int, root: bytes, nodes: bytes) -> None:
        """Add a full tile."""
        self._db.execute("INSERT INTO tile VALUES (?, ?, ?, ?)", (level, index, root, nodes))

    # the map

    def map_node(self, hash_: bytes) -> Node:
        """Return a node of a map, old or new. Raises InvalidInput if the file has lost it."""
        sql = "SELECT leaf, a, b FROM map_node WHERE hash = ?"
        row = self._db.execute(sql, (hash_,)).fetchone()
        if row is None:
            raise InvalidInput(f"{self.path}: damaged: a node of the map is missing")
        return bool(row[0]), row[1], row[2]

    def add_map_nodes(self, nodes: Iterable[tuple[bytes, Node]]) -> None:
        """Add nodes of a map."""
        self._db.executemany(
            "INSERT OR IGNORE INTO map_node VALUES (?, ?, ?, ?)",
            ((hash_, int(leaf), a, b) for hash_, (leaf, a, b) in nodes),
        )

    def map_value(self, name: str, size: int) -> bytes | None:
        """Return what a name had after the first `size` entries."""
        sql = "SELECT value FROM map_value WHERE name = ? AND idx < ? ORDER BY idx DESC LIMIT 1"
        value: bytes | None = self._one(sql, name, size)
        return value

    def add_map_values(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Set names to values as of entries."""
        self._db.executemany("INSERT OR REPLACE INTO map_value VALUES (?, ?, ?)", rows)

    def map_names(self) -> Iterator[str]:
        """Yield every name that has ever had a value."""
        for row in self._db.execute("SELECT DISTINCT name FROM map_value"):
            yield row[0]

    # checkpoints

    def add_checkpoint(self, size: int, map_root: bytes, note: bytes) -> None:
        """Keep a checkpoint, or the same one with more cosignatures."""
        self._db.execute(
            "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", (size, map_root, note)
        )

    def checkpoint(self, size: int | None = None) -> tuple[int, bytes, bytes] | None:
        """Return size, map root and note of the latest checkpoint, or of that of a size."""
        if size is None:
            sql, values = "SELECT * FROM checkpoint ORDER BY size DESC LIMIT 1", ()
        else:
            sql, values = "SELECT * FROM checkpoint WHERE size = ?", (size,)  # type: ignore[assignment]
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def checkpoint_before(self, size: int) -> tuple[int, bytes, bytes] | None:
        """Return the latest checkpoint of at most `size` entries; see `checkpoint`."""
        sql = "SELECT * FROM checkpoint WHERE size <= ? ORDER BY size DESC LIMIT 1"
        row = self._db.execute(sql, (size,)).fetchone()
        return None if row is None else (row[0], row[1], row[2])
