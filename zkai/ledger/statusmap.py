"""A sparse Merkle map from names to values, whose root every checkpoint carries.

A name's place is the path of SHA-256("zkai/map/1" || name), bit by bit from the most significant.

    empty   = 32 zero bytes
    leaf    = SHA-256(0x02 || path || SHA-256(value))
    branch  = SHA-256(0x03 || left || right)

A subtree that holds one name is that name's leaf, at whatever depth, so a map of n names has paths
of about log2(n) branches, and its root depends on the names and values alone. Along a path the
root fixes one answer: this leaf, another leaf or nothing. So a proof shows that a name has a value,
or that it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import from_base64, to_base64

EMPTY = bytes(32)
MAX_DEPTH = 256
MAX_VALUE = 4096
_LEAF, _BRANCH = b"\x02", b"\x03"


def path_of(name: str) -> bytes:
    """Return the 32 bytes whose bits lead to a name."""
    return sha256(b"zkai/map/1" + name.encode("utf-8"))


def leaf(path: bytes, value_hash: bytes) -> bytes:
    """Return the hash of a subtree that holds one name."""
    return sha256(_LEAF + path + value_hash)


def branch(left: bytes, right: bytes) -> bytes:
    """Return the hash of a subtree that holds more than one name."""
    return sha256(_BRANCH + left + right)


def bit(path: bytes, depth: int) -> int:
    """Return a path's bit at a depth, 0 for left."""
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


@dataclass(frozen=True)
class MapProof:
    """What a map says of a name: siblings from the root down, and what stands at their end.

    `end` is None where there is nothing, else the path and value hash of the leaf there.
    """

    siblings: tuple[bytes, ...]
    end: tuple[bytes, bytes] | None

    def verify(self, root: bytes, name: str, value: bytes | None) -> None:
        """Return None if under `root` the name has `value`, or with None has no value.

        Raises VerificationError otherwise.
        """
        path = path_of(name)
        if len(self.siblings) > MAX_DEPTH:
            raise VerificationError("map: a path is at most 256 branches deep")
        if self.end is None:
            found, shown = EMPTY, None
        else:
            other, shown = self.end
            if other != path:
                shown = None
                if any(bit(other, d) != bit(path, d) for d in range(len(self.siblings))):
                    raise VerificationError("map: the proof ends at a leaf beside the name's path")
            found = leaf(*self.end)
        if shown != (None if value is None else sha256(value)):
            raise VerificationError(f"map: the proof does not show this value of {name}")
        for depth in range(len(self.siblings) - 1, -1, -1):
            sibling = self.siblings[depth]
            found = branch(sibling, found) if bit(path, depth) else branch(found, sibling)
        if found != root:
            raise VerificationError("map: the proof leads to another root")

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        return {
            "siblings": [to_base64(s) for s in self.siblings],
            "end": None if self.end is None else [to_base64(part) for part in self.end],
        }

    @staticmethod
    def from_json(value: Any, where: str) -> MapProof:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        expect_fields(value, ("siblings", "end"), where)
        siblings, end = value["siblings"], value["end"]
        if not isinstance(siblings, list) or len(siblings) > MAX_DEPTH:
            raise InvalidInput(f"{where}.siblings: expected at most {MAX_DEPTH} hashes")
        if end is not None and (not isinstance(end, list) or len(end) != 2):
            raise InvalidInput(f"{where}.end: expected null, or a path and a hash")
        return MapProof(
            tuple(_hash(s, f"{where}.siblings[{i}]") for i, s in enumerate(siblings)),
            None if end is None else (_hash(end[0], where), _hash(end[1], where)),
        )


def _hash(text: object, where: str) -> bytes:
    data = from_base64(text, where, 32)
    if len(data) != 32:
        raise InvalidInput(f"{where}: expected 32 bytes")
    return data


Node = tuple[bool, bytes, bytes]
"""Whether it is a leaf; a leaf's path and value hash, or the links to a branch's two sides.

A link is a node's hash, and behind it whatever the store needs to find the node; a new node is
linked by its hash alone.
"""


class StatusMap:
    """A map whose nodes somebody else stores, by their links. Old roots stay readable."""

    def __init__(self, get: Callable[[bytes], Node]) -> None:
        self._get = get
        self._new: dict[bytes, Node] = {}

    def _node(self, link: bytes) -> Node:
        return self._new.get(link[:32]) or self._get(link)

    def update(self, root: bytes, changes: Mapping[str, bytes]) -> tuple[bytes, dict[bytes, Node]]:
        """Return the root's hash after setting names to values, and the nodes that are new.

        They are in order: what a node links to comes before it.
        """
        items = sorted((path_of(name), sha256(value)) for name, value in changes.items())
        try:
            new_root = self._update(root, items, 0)
            return new_root[:32], self._new
        finally:
            self._new = {}

    def _update(self, root: bytes, items: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
        if not items:
            return root
        if root == EMPTY:
            return self._build(items, depth)
        is_leaf, first, second = self._node(root)
        if is_leaf:
            if all(path != first for path, _ in items):
                items = sorted([*items, (first, second)])
            return self._build(items, depth)
        cut = _cut(items, depth)
        return self._put_branch(
            self._update(first, items[:cut], depth + 1),
            self._update(second, items[cut:], depth + 1),
        )

    def _build(self, items: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
        if not items:
            return EMPTY
        if len(items) == 1:
            hash_ = leaf(*items[0])
            self._new[hash_] = (True, *items[0])
            return hash_
        cut = _cut(items, depth)
        return self._put_branch(
            self._build(items[:cut], depth + 1), self._build(items[cut:], depth + 1)
        )

    def _put_branch(self, left: bytes, right: bytes) -> bytes:
        hash_ = branch(left[:32], right[:32])
        self._new[hash_] = (False, left, right)
        return hash_

    def prove(self, root: bytes, name: str) -> MapProof:
        """Return the proof of what the map of `root` says of a name."""
        path, siblings = path_of(name), list[bytes]()
        while root != EMPTY:
            is_leaf, first, second = self._node(root)
            if is_leaf:
                return MapProof(tuple(siblings), (first, second))
            if bit(path, len(siblings)):
                root, sibling = second, first
            else:
                root, sibling = first, second
            siblings.append(sibling[:32])
        return MapProof(tuple(siblings), None)


def _cut(items: Sequence[tuple[bytes, bytes]], depth: int) -> int:
    """Return how many of the sorted items go left at a depth."""
    return sum(1 for path, _ in items if not bit(path, depth))
