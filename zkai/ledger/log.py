"""The log: appends entries, hashes them into tiles, proves, and signs checkpoints.

Knows nothing of what the entries mean; `zkai.ledger.ledger` decides what may enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint, InclusionProof
from zkai.ledger.merkle import (
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    range_hash,
)
from zkai.ledger.note import Note
from zkai.ledger.statusmap import EMPTY, MapProof, StatusMap
from zkai.ledger.store import Store
from zkai.receipt.signer import PrivateKey

MAX_ENTRY = (1 << 16) - 1
"""C2SP entry bundles hold lengths of 16 bits."""
TILE_HEIGHT = 8
TILE = 1 << TILE_HEIGHT
_OFFSETS = [sum(TILE >> k for k in range(height)) for height in range(TILE_HEIGHT)]
"""Where in a tile's nodes each height starts, in hashes."""


class Log:
    """A Merkle log with a map of names, over a store."""

    def __init__(self, store: Store, origin: str) -> None:
        self.store, self.origin = store, origin
        self._map = StatusMap(store.map_node)

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.store.size()

    @property
    def map_root(self) -> bytes:
        """The root of the map after all entries."""
        return self._map_link[:32]

    @property
    def _map_link(self) -> bytes:
        return self.store.meta("map_root") or EMPTY

    def extend(self, entries: Sequence[bytes], changes: Sequence[Mapping[str, bytes]] = ()) -> int:
        """Append entries, each with the names that it sets, and return the first one's index.

        Call within a transaction of the store.

        Raises InvalidInput for an entry that is empty or larger than 64 KiB less one.
        """
        for entry in entries:
            if not 1 <= len(entry) <= MAX_ENTRY:
                raise InvalidInput(f"log: an entry has 1 to {MAX_ENTRY} bytes, got {len(entry)}")
        first = self.size
        hashes = [leaf_hash(entry) for entry in entries]
        self.store.add_entries(
            zip(range(first, first + len(entries)), hashes, entries, strict=True)
        )
        self._add_tiles(first, first + len(entries))
        if any(changes):
            self._set(first, changes)
        return first

    def _set(self, first: int, changes: Sequence[Mapping[str, bytes]]) -> None:
        last: dict[str, bytes] = {}
        rows = []
        for offset, names in enumerate(changes):
            last.update(names)
            rows += [(name, first + offset, value) for name, value in names.items()]
        root, nodes = self._map.update(self._map_link, last)
        links = self.store.add_map_nodes(nodes)
        self.store.add_map_values(rows)
        self.store.put_meta("map_root", links[root])

    def _add_tiles(self, old: int, new: int) -> None:
        level = 0
        while (old := old >> TILE_HEIGHT) < (new := new >> TILE_HEIGHT):
            for index in range(old, new):
                leaves = self.store.leaves(level, index * TILE, (index + 1) * TILE)
                root, nodes = _fold(leaves)
                self.store.add_tile(level, index, root, nodes)
            level += 1

    def node(self, height: int, index: int) -> bytes:
        """Return the hash of a complete subtree of 2**height entries."""
        level, inner = divmod(height, TILE_HEIGHT)
        if inner == 0:
            return self.store.leaves(level, index, index + 1)[0]
        in_tile = TILE_HEIGHT - inner
        nodes = self.store.tile(level, index >> in_tile)
        if nodes is not None:
            at = (_OFFSETS[inner] + (index & ((1 << in_tile) - 1))) * 32
            return nodes[at : at + 32]
        leaves = self.store.leaves(level, index << inner, (index + 1) << inner)
        return _fold(leaves)[0]

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries. Raises InvalidInput if there are fewer."""
        if not 0 <= size <= self.size:
            raise InvalidInput(f"log: has {self.size} entries, not {size}")
        return range_hash(0, size, self.node)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the path from an entry to the root of the first `size` entries.

        Raises InvalidInput if there are fewer.
        """
        self._check(size)
        return [range_hash(low, high, self.node) for low, high in inclusion_ranges(index, size)]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Return the proof that the first `second` entries start with the first `first`.

        Raises InvalidInput if there are fewer.
        """
        self._check(second)
        return [range_hash(low, high, self.node) for low, high in consistency_ranges(first, second)]

    def _check(self, size: int) -> None:
        if size > self.size:
            raise InvalidInput(f"log: has {self.size} entries, not {size}")

    def sign_checkpoint(self, keys: Sequence[PrivateKey]) -> Note:
        """Return a checkpoint of all entries, signed by the log's keys, and keep it.

        Call within a transaction of the store. The one already there is returned as it is, with
        its cosignatures.

        Raises VerificationError if the last checkpoint is not of this history: a log must never
        sign two.
        """
        size, map_root = self.size, self.map_root
        root = self.root(size)
        last = self.store.checkpoint()
        if last is not None:
            old = Checkpoint.from_text(Note.from_bytes(last[2]).text)
            if old.size > size or self.root(old.size) != old.root or old.origin != self.origin:
                raise VerificationError(
                    "log: the entries are not those of the last checkpoint; restore them, and sign"
                    " nothing"
                )
            if old.size == size:
                if old.map_root != map_root:
                    raise VerificationError("log: the map is not that of the last checkpoint")
                return Note.from_bytes(last[2])
        note = Checkpoint(self.origin, size, root, map_root).sign(keys)
        self.store.add_checkpoint(size, self._map_link, note.to_bytes())
        return note

    def add_lines(self, checkpoint: Checkpoint, note: Note) -> None:
        """Add a note's lines to a checkpoint that is kept here, within a transaction.

        A line takes the place of that of the same key.

        Raises VerificationError if the note's text is not the one kept.
        """
        kept = self.store.checkpoint(checkpoint.size)
        if kept is None or (old := Note.from_bytes(kept[2])).text != note.text:
            raise VerificationError("log: this is no checkpoint of this log")
        lines = {(line.name, line.key_id): line for line in (*old.lines, *note.lines)}
        merged = Note(note.text, tuple(lines.values())).to_bytes()
        self.store.replace_note(checkpoint.size, Note.from_bytes(merged).to_bytes())

    def prove_entry(self, index: int, size: int | None = None) -> InclusionProof:
        """Return an entry's proof under the latest checkpoint, or that of a size.

        Raises InvalidInput if there is no such checkpoint, or the entry came later.
        """
        kept = self.store.checkpoint(size)
        if kept is None:
            raise InvalidInput("log: there is no such checkpoint; make one first")
        hashes = tuple(self.inclusion(index, kept[0]))
        return InclusionProof(index, hashes, Note.from_bytes(kept[2]))

    def prove_name(self, name: str, size: int | None = None) -> tuple[bytes | None, MapProof, Note]:
        """Return a name's value under a checkpoint, the proof of it, and the checkpoint.

        Raises InvalidInput if there is no such checkpoint.
        """
        kept = self.store.checkpoint(size)
        if kept is None:
            raise InvalidInput("log: there is no such checkpoint; make one first")
        size, map_link, note = kept
        value = self.store.map_value(name, size)
        return value, self._map.prove(map_link, name), Note.from_bytes(note)


def _fold(leaves: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the root over a power of two of hashes, and all nodes below it, leaves first."""
    nodes, level = list(leaves), leaves
    while len(level) > 2:
        level = [sha256(b"\1" + level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        nodes += level
    return sha256(b"\1" + level[0] + level[1]), b"".join(nodes)
