"""Merkle trees over field elements with Poseidon, natively and as constraints.

A leaf is a fixed number of field elements. Leaf and node hashes have different domain tags, and a
node's tag counts its children, so none can pass for another:

    leaf = hash_elements("zkai/merkle-leaf/1", elements)
    node = hash_elements("zkai/merkle-node/1", children)

A tree of depth d holds 1 to 2^d leaves. Its nodes have 8 children each, and at the top one or two
levels have 4, or one has 2, where d is no multiple of 3 (`level_bits`). With the index's bits a
level of 8 costs 415 rows for 3 bits, of 4 costs 305 for 2, of 2 costs 245 for 1; 16 would be 631
for 4.

Absent leaves on the right are the constant 0, which no leaf hashes to, and an absent subtree is the
hash of its absent children. A path lists, lowest level first, all children of each node on it, the
path's own among them; the index's bits, lowest first, say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.poseidon import hash_elements, hash_many, hash_many_gadget
from zkai.circuit.gadgets.range import require_bound
from zkai.circuit.tensor import Field, Ints, Rows, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

LEAF = "zkai/merkle-leaf/1"
NODE = "zkai/merkle-node/1"
MAX_DEPTH = 40


@lru_cache(maxsize=MAX_DEPTH + 1)
def level_bits(depth: int) -> tuple[int, ...]:
    """Return each level's bits of a leaf's index, lowest level first; a node has 2^bits children.

    Raises InvalidInput unless 0 <= depth <= 40.
    """
    if not 0 <= depth <= MAX_DEPTH:
        raise InvalidInput(f"a Merkle tree's depth is 0 to {MAX_DEPTH}, got {depth}")
    fours = 0 if depth == 1 else -depth % 3
    rest = 3 * ((depth - 2 * fours) // 3)
    return (3,) * (rest // 3) + (2,) * fours + (1,) * (depth == 1)


def path_length(depth: int) -> int:
    """Return how many field elements a path has: every child of every node on it."""
    return sum(1 << bits for bits in level_bits(depth))


@lru_cache(maxsize=MAX_DEPTH * 4)
def absent(levels: tuple[int, ...]) -> int:
    """Return the root of a subtree of absent leaves with these levels' bits."""
    return hash_elements(NODE, [absent(levels[:-1])] * (1 << levels[-1])) if levels else 0


@dataclass(frozen=True, eq=False)
class MerkleTree:
    """The present nodes of a tree, level by level from the leaves: each (n, 4)."""

    depth: int
    levels: tuple[Limbs, ...]

    @property
    def n_leaves(self) -> int:
        return len(self.levels[0])

    @property
    def root(self) -> int:
        return from_limbs(self.levels[-1])[0]

    def path(self, index: int) -> list[int]:
        """Return the path of leaf number `index`.

        Raises InvalidInput if the tree has no such leaf.
        """
        if not 0 <= index < self.n_leaves:
            raise InvalidInput(f"leaf {index}: the tree has {self.n_leaves} leaves")
        path: list[int] = []
        levels = level_bits(self.depth)
        for level, bits in enumerate(levels):
            index >>= bits
            children = from_limbs(self.levels[level][index << bits : (index + 1) << bits])
            path += children + [absent(levels[:level])] * ((1 << bits) - len(children))
        return path


def merkle_tree(leaves: Limbs, depth: int | None = None) -> MerkleTree:
    """Return the tree over n leaves of m field elements each, (n, m, 4).

    `depth` defaults to the least that holds them.

    Raises InvalidInput for no leaves, more than 2^depth, or elements at or above r.
    """
    n = len(leaves)
    least = max(n - 1, 0).bit_length()
    depth = least if depth is None else depth
    if leaves.ndim != 3 or n == 0 or not least <= depth <= MAX_DEPTH:
        raise InvalidInput(
            f"a Merkle tree of depth {depth} (at most {MAX_DEPTH}) cannot hold {n} leaves"
        )
    levels = [hash_many(LEAF, leaves)]
    all_bits = level_bits(depth)
    for level, bits in enumerate(all_bits):
        nodes = levels[-1]
        missing = -len(nodes) % (1 << bits)
        if missing:
            filler = np.repeat(to_limbs([absent(all_bits[:level])]), missing, axis=0)
            nodes = np.concatenate([nodes, filler])
        levels.append(hash_many(NODE, nodes.reshape(-1, 1 << bits, 4)))
    return MerkleTree(depth, tuple(levels))


def verify_membership(
    root: int, elements: Sequence[int], index: int, path: Sequence[int], depth: int
) -> None:
    """Return None if `elements` are leaf `index` of the tree of this depth under `root`.

    Raises VerificationError if not, also for an index outside the tree or values outside [0, r);
    InvalidInput for a depth that no tree has.
    """
    levels = level_bits(depth)
    if len(path) != path_length(depth) or not 0 <= index < 1 << depth:
        raise VerificationError(
            f"Merkle proof: leaf {index} with a path of {len(path)} elements is not in a tree of"
            f" depth {depth}"
        )
    if not all(0 <= v < FIELD_MODULUS for v in (root, *elements, *path)):
        raise VerificationError("Merkle proof: a value is not below r")
    node, start, rest = hash_elements(LEAF, elements), 0, index
    for bits in levels:
        children = path[start : start + (1 << bits)]
        if children[rest % (1 << bits)] != node:
            raise VerificationError(f"Merkle proof: leaf {index} is not where its path says")
        node, start, rest = hash_elements(NODE, children), start + (1 << bits), rest >> bits
    if node != root:
        raise VerificationError(f"Merkle proof: the path of leaf {index} does not lead to the root")


def membership_gadget(
    builder: Builder, root: Field, elements: Field, paths: Field, bits: Tensor
) -> None:
    """Prove that k leaves lie under `root`, each at the index whose bits are given.

    `bits` is (k, depth), lowest first, proven to be boolean; `elements` lists the k leaves' field
    elements and `paths` the k paths, one leaf after the other. A level of 2^b children costs its
    hash and 2^b - 1 rows, the last of which says that the selected child is the node below.

    Raises InvalidInput if the sizes do not agree, or bits are not proven to be boolean.
    """
    if len(bits.shape) != 2 or bits.shape[0] < 1:
        raise InvalidInput(f"Merkle path bits must be (leaves, depth), got {bits.shape}")
    k, depth = bits.shape
    levels, length = level_bits(depth), path_length(depth)
    if len(root) != 1 or len(paths) != k * length:
        raise InvalidInput(
            f"{k} Merkle paths of depth {depth} need 1 root and {k * length} path elements, "
            f"got {len(root)} and {len(paths)}"
        )
    if require_bound(builder, bits, "Merkle path") not in ((0, 1), (0, 0), (1, 1)):
        raise InvalidInput(f"{builder.name}: a Merkle path's bits are not proven to be boolean")
    node = hash_many_gadget(builder, LEAF, elements, k)
    wires = paths.wires.reshape(k, length)
    start, first = 0, 0
    for b in levels:
        children = wires[:, start : start + (1 << b)]
        _constrain_child(builder, bits[:, first : first + b], children, node)
        node = hash_many_gadget(builder, NODE, Field(children.ravel()), k)
        start, first = start + (1 << b), first + b
    builder.constrain_fields_equal(node, Field(np.repeat(root.wires, k)), "Merkle root")


def _constrain_child(builder: Builder, bits: Tensor, children: Ints, node: Field) -> None:
    """Require the child that `bits` (k, b) select of `children` (k, 2^b) to be `node`.

    Halves the children bit by bit: chosen = left + bit (right - left), one row each.
    """
    here = children
    for j in range(bits.shape[1]):
        bit = bits[:, j : j + 1]
        left, right = _symbolic(here[:, 0::2]), _symbolic(here[:, 1::2])
        if j == bits.shape[1] - 1:
            below = _symbolic(node.wires.reshape(-1, 1))
            builder.constrain(bit, right - left, below - left, "Merkle child")
            return
        k, half = left.shape
        sources: list[Tensor | Field] = [bit.broadcast_to((k, half))]
        sources += [Field(left.rows.wires), Field(right.rows.wires)]
        made = builder.field_hint("child", _chosen, sources, k * half)
        chosen = _symbolic(made.wires.reshape(k, half))
        builder.constrain(bit, right - left, chosen - left, "Merkle child")
        here = made.wires.reshape(k, half)


def _chosen(bits: Ints, left: Limbs, right: Limbs) -> Limbs:
    factor = native.fr_from_int64(np.ascontiguousarray(bits.ravel()))
    return native.fr_add(left, native.fr_mul(factor, native.fr_sub(right, left)))


def _symbolic(wires: Ints) -> Tensor:
    """Return wires as a tensor for linear combinations; it has no integer values."""
    return Tensor(wires.shape, Rows.of_wires(wires.ravel()), None)
