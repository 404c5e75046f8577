"""The commitment to a model's tensors: one root, and the table of tensors behind it.

    top    = the root of the tree over the tensor's leaves (zkai.native_merkle)
    tensor = keccak256("zkaitnsr" || uint64 leaf_bytes || uint64 total || keccak256(head) || top)
    layer  = keccak256("zkailayr" || keccak256(name) || tensor)
    root   = keccak256("zkaimodl" || uint64 count || tree over the layers, by name)

The tree over layers has nodes like the others. Integers are big-endian. A root thus fixes every
tensor's name, type, shape and size, and so the shape of every tree. docs/commitments.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zkai.encoding import hex32, keccak256, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.tensor import CHUNK, Head, Source, check_names
from zkai.native_merkle import Bytes, count_leaves, levels, subtrees

LEAF_BYTES = 4096
FORMAT = "zkai.commitment/1"
MAX_TENSORS = 1 << 16
_SUBTREE = 6

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Tensor:
    """One tensor's part of a commitment."""

    name: str
    head: Head
    top: bytes

    def digest(self, leaf_bytes: int) -> bytes:
        """Return the tensor's commitment, which its name is no part of."""
        return keccak256(
            b"zkaitnsr"
            + leaf_bytes.to_bytes(8, "big")
            + self.head.total.to_bytes(8, "big")
            + keccak256(self.head.text.encode())
            + self.top
        )

    def layer(self, leaf_bytes: int) -> bytes:
        """Return the hash of the tensor's commitment with its name."""
        return keccak256(b"zkailayr" + keccak256(self.name.encode()) + self.digest(leaf_bytes))

    def leaves(self, leaf_bytes: int) -> int:
        """Return the number of the tree's leaves."""
        return count_leaves(self.head.total, leaf_bytes)


def root_over(count: int, top: bytes) -> bytes:
    """Return the root of a model of `count` tensors with the top of the tree over its layers."""
    return keccak256(b"zkaimodl" + count.to_bytes(8, "big") + top)


@dataclass(frozen=True)
class Commitment:
    """Tensors in the order of their names, and the root over them."""

    leaf_bytes: int
    tensors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Raise InvalidInput for names out of order, or sizes out of range."""
        names = [tensor.name for tensor in self.tensors]
        if len(names) > MAX_TENSORS or check_names(dict.fromkeys(names)) != names:
            raise InvalidInput("tensors must stand once each, in the order of their names")
        for tensor in self.tensors:
            tensor.leaves(self.leaf_bytes)

    @property
    def root(self) -> bytes:
        """The model's root."""
        return root_over(len(self.tensors), levels(self.layers)[-1].tobytes())

    @property
    def layers(self) -> Bytes:
        """The hashes (n, 32) of the tensors with their names: the leaves of the tree over them."""
        hashes = b"".join(tensor.layer(self.leaf_bytes) for tensor in self.tensors)
        return np.frombuffer(hashes, np.uint8).reshape(-1, 32)

    @property
    def leaves(self) -> int:
        """The number of leaves of all tensors."""
        return sum(tensor.leaves(self.leaf_bytes) for tensor in self.tensors)

    @property
    def total(self) -> int:
        """The number of bytes of all tensors."""
        return sum(tensor.head.total for tensor in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "format": FORMAT,
            "root": hex32(self.root),
            "leaf_bytes": self.leaf_bytes,
            "tensors": [
                {
                    "name": tensor.name,
                    "dtype": tensor.head.dtype,
                    "shape": list(tensor.head.shape),
                    "top": hex32(tensor.top),
                }
                for tensor in self.tensors
            ],
        }

    @staticmethod
    def from_json(document: Any, where: str = "commitment") -> Commitment:
        """Read a table and check that its root is the one that it states.

        Raises InvalidInput if it is malformed, VerificationError for another root.
        """
        fields = {"format", "root", "leaf_bytes", "tensors"}
        if not isinstance(document, dict) or document.keys() != fields:
            raise InvalidInput(f"{where}: expected the fields {', '.join(sorted(fields))}")
        if document["format"] != FORMAT:
            raise InvalidInput(f"{where}: expected format {FORMAT}")
        rows, leaf_bytes = document["tensors"], document["leaf_bytes"]
        if type(leaf_bytes) is not int or not isinstance(rows, list) or len(rows) > MAX_TENSORS:
            raise InvalidInput(f"{where}: leaf_bytes is an integer, tensors a list")
        commitment = Commitment(leaf_bytes, tuple(_tensor(row, where) for row in rows))
        if commitment.root != parse_hex32(document["root"], f"{where}: root"):
            raise VerificationError(f"{where}: the tensors do not have the root that it states")
        return commitment


def _tensor(row: Any, where: str) -> Tensor:
    fields = {"name", "dtype", "shape", "top"}
    if not isinstance(row, dict) or row.keys() != fields:
        raise InvalidInput(f"{where}: a tensor has the fields {', '.join(sorted(fields))}")
    name, dtype, shape = row["name"], row["dtype"], row["shape"]
    if not (isinstance(name, str) and isinstance(dtype, str) and isinstance(shape, list)):
        raise InvalidInput(f"{where}: name and dtype are strings, shape is a list")
    return Tensor(name, Head(dtype, tuple(shape)), parse_hex32(row["top"], f"{where}: top"))


def commit(
    sources: Mapping[str, Source],
    leaf_bytes: int = LEAF_BYTES,
    progress: Progress | None = None,
) -> Commitment:
    """Hash all tensors, a piece at a time, on all threads.

    `progress("hash", fraction)` is told of bytes.

    Raises InvalidInput for names or sizes that do not fit, or files that break off.
    """
    names = check_names(sources)
    total = sum(sources[name].head.total for name in names)
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress("hash", done / max(1, total))

    tensors = tuple(
        Tensor(name, sources[name].head, _top(sources[name], leaf_bytes, tell)) for name in names
    )
    return Commitment(leaf_bytes, tensors)


def _top(source: Source, leaf_bytes: int, tell: Callable[[int], None]) -> bytes:
    """Return the root of a tensor's tree, keeping one hash for every 2^6 leaves."""
    root: bytes = level(source, leaf_bytes, _SUBTREE, tell)[-1].tobytes()
    return root


def level(
    source: Source, leaf_bytes: int, height: int, tell: Callable[[int], None] | None = None
) -> Bytes:
    """Return all nodes of a tensor's tree from level `height` on, the root last."""
    count_leaves(source.head.total, leaf_bytes)
    unit = leaf_bytes << height
    parts = []
    for piece in source.chunks(unit * max(1, CHUNK // unit)):
        parts.append(subtrees(piece, leaf_bytes, height))
        if tell:
            tell(len(piece))
    return levels(np.concatenate(parts))
