"""What a ledger keeps: its rows, in SQLite or PostgreSQL, every transaction durable when it ends.

All SQL of the ledger is here. Rows are only ever added, but for `head` (a fork's current end),
`meta` and a checkpoint's cosignatures. Hashes of full subtrees are kept in tiles of 256 leaves with
all levels in between, so that a proof reads a few rows however long the log is. The map's nodes are
kept in the order in which they came, and link to each other by number: an append writes at the end
of the table, not all over it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zkai.encoding import as_path
from zkai.errors import InvalidInput, ToolError
from zkai.ledger.database import Database
from zkai.ledger.postgres import Postgres, is_url
from zkai.ledger.sqlite import Sqlite
from zkai.ledger.statusmap import Node

VERSION = b"2"
CACHED_TILES = 64
CACHED_NODES = 1 << 14
READ_AHEAD = 256
"""How many entries are in memory at once while a range is read."""

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE entry (idx INTEGER PRIMARY KEY, hash BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE record (id BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tile (level INTEGER, idx INTEGER, root BLOB NOT NULL, nodes BLOB NOT NULL,"
    " PRIMARY KEY (level, idx))",
    "CREATE TABLE map_node (id INTEGER PRIMARY KEY, leaf INTEGER NOT NULL, a BLOB NOT NULL,"
    " b BLOB NOT NULL)",
    "CREATE TABLE map_value (name TEXT, idx INTEGER, value BLOB NOT NULL, PRIMARY KEY (name, idx))"
    " WITHOUT ROWID",
    "CREATE TABLE head (fork TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, map_root BLOB NOT NULL,"
    " note BLOB NOT NULL)",
    "CREATE TABLE blob (digest BLOB PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE member (kind TEXT, name TEXT, idx INTEGER, PRIMARY KEY (kind, name, idx))"
    " WITHOUT ROWID",
)
"""`member` lists the entries of a fork, a user, a model: (kind, name) to their indices."""
_PUT_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value=excluded.value"


def open_database(where: Path | str, *, create: bool = False) -> Database:
    """Open the database at a path or a PostgreSQL URL; see `Sqlite` and `Postgres`."""
    if is_url(where):
        return Postgres(str(where), create=create)
    return Sqlite(as_path(where), create=create)


class _Cache(OrderedDict[Any, Any]):
    """What was read or written last, up to a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: Any, value: Any) -> Any:
        self.pop(key, None)
        self[key] = value
        if len(self) > self._limit:
            self.popitem(last=False)
        return value


class Store:
    """A ledger's open database. One writes at a time; others read what is committed."""

    def __init__(self, where: Path | str, *, create: bool = False) -> None:
        """Open a ledger's file or URL, or with `create` make a new one there.

        Raises InvalidInput if it exists with `create`, or is no ledger without; ToolError if the
        server is not to be had.
        """
        self._db = open_database(where, create=create)
        self._tiles, self._nodes = _Cache(CACHED_TILES), _Cache(CACHED_NODES)
        try:
            if create:
                self._db.create(_SCHEMA, (_PUT_META, ("version", VERSION)))
            self._check_version()
        except BaseException:
            self.close()
            raise

    def _check_version(self) -> None:
        try:
            version = self.meta("version")
        except ToolError as error:
            raise InvalidInput(f"{self.name}: not a ledger ({error})") from error
        if version != VERSION:
            raise InvalidInput(f"{self.name}: a ledger of another version")

    @property
    def name(self) -> str:
        """The file, or the URL without its password."""
        return self._db.name

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the right to write; on leaving, everything is durable, or with an error undone.

        Raises ToolError if the database fails; what was to be written may then be there or not,
        and appending it again shows.
        """
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._tiles.clear()
            self._nodes.clear()
            raise

    def _one(self, sql: str, *values: Any) -> Any:
        rows = self._db.rows(sql, values)
        return rows[0][0] if rows else None

    # meta, blobs, heads

    def meta(self, name: str) -> bytes | None:
        """Return a setting."""
        value: bytes | None = self._one("SELECT value FROM meta WHERE name = ?", name)
        return value

    def put_meta(self, name: str, value: bytes) -> None:
        """Set a setting."""
        self._db.rows(_PUT_META, (name, value))

    def blob(self, digest: bytes) -> bytes | None:
        """Return the bytes of a digest, such as a proof's."""
        value: bytes | None = self._one("SELECT data FROM blob WHERE digest = ?", digest)
        return value

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep bytes under their digest."""
        self._db.rows("INSERT INTO blob VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, data))

    def head(self, fork: str) -> bytes | None:
        """Return what stands for a fork's end."""
        value: bytes | None = self._one("SELECT value FROM head WHERE fork = ?", fork)
        return value

    def put_head(self, fork: str, value: bytes) -> None:
        """Move a fork's end."""
        sql = "INSERT INTO head VALUES (?, ?) ON CONFLICT (fork) DO UPDATE SET value=excluded.value"
        self._db.rows(sql, (fork, value))

    # entries

    def size(self) -> int:
        """Return the number of entries."""
        last = self._one("SELECT MAX(idx) FROM entry")
        return 0 if last is None else int(last) + 1

    def add_entries(self, rows: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Add (index, leaf hash, bytes)."""
        self._db.run("INSERT INTO entry VALUES (?, ?, ?)", rows)

    def entry(self, index: int) -> bytes | None:
        """Return an entry's bytes."""
        value: bytes | None = self._one("SELECT data FROM entry WHERE idx = ?", index)
        return value

    def entries(self, low: int, high: int) -> Iterator[bytes]:
        """Yield the entries of a range."""
        sql = "SELECT data FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        for start in range(low, min(high, self.size()), READ_AHEAD):
            for row in self._db.rows(sql, (start, min(start + READ_AHEAD, high))):
                yield row[0]

    def add_record(self, record_id: bytes, index: int) -> None:
        """Remember the index of a record, which must be new."""
        self._db.rows("INSERT INTO record VALUES (?, ?)", (record_id, index))

    def index_of(self, record_id: bytes) -> int | None:
        """Return the index of a record."""
        value: int | None = self._one("SELECT idx FROM record WHERE id = ?", record_id)
        return value

    def add_member(self, kind: str, name: str, index: int) -> None:
        """List an entry under a fork, a user or a model."""
        sql = "INSERT INTO member VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self._db.rows(sql, (kind, name, index))

    def members(self, kind: str, name: str, size: int) -> list[int]:
        """Return the listed entries among the first `size`, in order."""
        sql = "SELECT idx FROM member WHERE kind = ? AND name = ? AND idx < ? ORDER BY idx"
        return [row[0] for row in self._db.rows(sql, (kind, name, size))]

    # tiles

    def leaves(self, level: int, low: int, high: int) -> list[bytes]:
        """Return hashes of a tile level: leaf hashes at level 0, roots of full tiles above."""
        if level == 0:
            sql = "SELECT hash FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
            rows = self._db.rows(sql, (low, high))
        else:
            sql = "SELECT root FROM tile WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
            rows = self._db.rows(sql, (level - 1, low, high))
        return [row[0] for row in rows]

    def tile(self, level: int, index: int) -> bytes | None:
        """Return the nodes of a full tile: 256 leaves, the 128 above them, ... the last two."""
        nodes: bytes | None = self._tiles.get((level, index))
        if nodes is None:
            nodes = self._one("SELECT nodes FROM tile WHERE level = ? AND idx = ?", level, index)
        return None if nodes is None else self._tiles.keep((level, index), nodes)

    def add_tile(self, level: int, index: int, root: bytes, nodes: bytes) -> None:
        """Add a full tile."""
        self._db.rows("INSERT INTO tile VALUES (?, ?, ?, ?)", (level, index, root, nodes))

    # the map

    def map_node(self, link: bytes) -> Node:
        """Return a node of a map, old or new. Raises InvalidInput if the ledger has lost it."""
        node: Node | None = self._nodes.get(link)
        if node is None:
            number = int.from_bytes(link[32:], "big")
            rows = self._db.rows("SELECT leaf, a, b FROM map_node WHERE id = ?", (number,))
            if not rows:
                raise InvalidInput(f"{self.name}: damaged: a node of the map is missing")
            node = bool(rows[0][0]), rows[0][1], rows[0][2]
        self._nodes.keep(link, node)
        return node

    def add_map_nodes(self, nodes: Mapping[bytes, Node]) -> dict[bytes, bytes]:
        """Add nodes of a map by their hashes, each after what it links to; return their links."""
        last = int(self._one("SELECT MAX(id) FROM map_node") or 0)
        links: dict[bytes, bytes] = {}
        rows = []
        for number, (hash_, (leaf, a, b)) in enumerate(nodes.items(), last + 1):
            if not leaf:
                a, b = links.get(a, a), links.get(b, b)
            links[hash_] = hash_ + number.to_bytes(8, "big")
            self._nodes.keep(links[hash_], (leaf, a, b))
            rows.append((number, int(leaf), a, b))
        self._db.run("INSERT INTO map_node VALUES (?, ?, ?, ?)", rows)
        return links

    def map_value(self, name: str, size: int) -> bytes | None:
        """Return what a name had after the first `size` entries."""
        sql = "SELECT value FROM map_value WHERE name = ? AND idx < ? ORDER BY idx DESC LIMIT 1"
        value: bytes | None = self._one(sql, name, size)
        return value

    def add_map_values(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Set names to values as of entries."""
        self._db.run("INSERT INTO map_value VALUES (?, ?, ?)", rows)

    # checkpoints

    def add_checkpoint(self, size: int, map_link: bytes, note: bytes) -> None:
        """Keep a checkpoint, with the link to its map's root."""
        self._db.rows("INSERT INTO checkpoint VALUES (?, ?, ?)", (size, map_link, note))

    def replace_note(self, size: int, note: bytes) -> None:
        """Keep a checkpoint with more cosignatures."""
        self._db.rows("UPDATE checkpoint SET note = ? WHERE size = ?", (note, size))

    def checkpoint(self, size: int | None = None) -> tuple[int, bytes, bytes] | None:
        """Return size, link to the map's root, and note of the latest checkpoint, or a size's."""
        if size is None:
            rows = self._db.rows("SELECT * FROM checkpoint ORDER BY size DESC LIMIT 1")
        else:
            rows = self._db.rows("SELECT * FROM checkpoint WHERE size = ?", (size,))
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    def checkpoint_before(self, size: int) -> tuple[int, bytes, bytes] | None:
        """Return the latest checkpoint of at most `size` entries; see `checkpoint`."""
        sql = "SELECT * FROM checkpoint WHERE size <= ? ORDER BY size DESC LIMIT 1"
        rows = self._db.rows(sql, (size,))
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None
