"""Merkle trees over field elements with Poseidon, natively and as constraints.

A leaf is a fixed number of field elements. Leaf and node hashes have different domain tags, so
neither can pass for the other:

    leaf = hash_elements("zkai/merkle-leaf/1", elements)
    node = hash_elements("zkai/merkle-node/1", [left, right])

Any number of leaves from 1 to 2^depth: absent leaves on the right are the constant 0, which no leaf
hashes to, and an absent subtree is the hash of its absent children. Every path therefore has
exactly `depth` siblings, lowest level first; bit k of the leaf's index says that the path's node at
level k is a right child.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.poseidon import (
    hash_elements,
    hash_many,
    hash_many_gadget,
)
from zkai.circuit.tensor import Field, Ints, Rows, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

LEAF = "zkai/merkle-leaf/1"
NODE = "zkai/merkle-node/1"
MAX_DEPTH = 40


@lru_cache(maxsize=MAX_DEPTH + 1)
def absent(level: int) -> int:
    """Return the root of a subtree of 2^level absent leaves."""
    return 0 if level == 0 else hash_elements(NODE, [absent(level - 1)] * 2)


@dataclass(frozen=True, eq=False)
class MerkleTree:
    """The present nodes of a tree, level by level from the leaves: each (n, 4)."""

    levels: tuple[Limbs, ...]

    @property
    def depth(self) -> int:
        return len(self.levels) - 1

    @property
    def n_leaves(self) -> int:
        return len(self.levels[0])

    @property
    def root(self) -> int:
        return from_limbs(self.levels[-1])[0]

    def path(self, index: int) -> list[int]:
        """Return the siblings of leaf number `index`, lowest level first.

        Raises InvalidInput if the tree has no such leaf.
        """
        if not 0 <= index < self.n_leaves:
            raise InvalidInput(f"leaf {index}: the tree has {self.n_leaves} leaves")
        siblings = []
        for level, nodes in enumerate(self.levels[:-1]):
            neighbour = (index >> level) ^ 1
            present = neighbour < len(nodes)
            siblings.append(from_limbs(nodes[neighbour][None])[0] if present else absent(level))
        return siblings


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
    for level in range(depth):
        nodes = levels[-1]
        if len(nodes) % 2:
            nodes = np.concatenate([nodes, to_limbs([absent(level)])])
        levels.append(hash_many(NODE, nodes.reshape(-1, 2, 4)))
    return MerkleTree(tuple(levels))


def verify_membership(
    root: int, elements: Sequence[int], index: int, siblings: Sequence[int]
) -> None:
    """Return None if `elements` are leaf `index` of the tree of depth len(siblings) under `root`.

    Raises VerificationError if not, also for an index outside the tree or values outside [0, r).
    """
    depth = len(siblings)
    if depth > MAX_DEPTH or not 0 <= index < 1 << depth:
        raise VerificationError(f"Merkle proof: leaf {index} is not in a tree of depth {depth}")
    if not all(0 <= v < FIELD_MODULUS for v in (root, *elements, *siblings)):
        raise VerificationError("Merkle proof: a value is not below r")
    node = hash_elements(LEAF, elements)
    for level, sibling in enumerate(siblings):
        pair = [sibling, node] if index >> level & 1 else [node, sibling]
        node = hash_elements(NODE, pair)
    if node != root:
        raise VerificationError(f"Merkle proof: the path of leaf {index} does not lead to the root")


def membership_gadget(
    builder: Builder, root: Field, elements: Field, siblings: Field, bits: Tensor
) -> Tensor:
    """Prove that each of k leaves lies under `root`; return the k leaves' indices.

    `bits` is (k, depth), lowest level first, and is constrained to be boolean here; `elements`
    lists the k leaves' field elements and `siblings` the k paths, one leaf after the other.

    Raises InvalidInput if the sizes do not agree.
    """
    if len(bits.shape) != 2 or bits.shape[0] < 1 or not 1 <= bits.shape[1] <= MAX_DEPTH:
        raise InvalidInput(f"Merkle path bits must be (leaves, depth), got {bits.shape}")
    k, depth = bits.shape
    if len(root) != 1 or len(siblings) != k * depth:
        raise InvalidInput(
            f"{k} Merkle paths of depth {depth} need 1 root and {k * depth} siblings, "
            f"got {len(root)} and {len(siblings)}"
        )
    builder.constrain(bits, bits, bits, "path bit")
    bits = builder.with_bound(bits, 0, 1)
    node = hash_many_gadget(builder, LEAF, elements, k)
    paths = siblings.wires.reshape(k, depth)
    for level in range(depth):
        pairs = _ordered(builder, bits[:, level], node, Field(paths[:, level]))
        node = hash_many_gadget(builder, NODE, pairs, k)
    builder.constrain_fields_equal(node, Field(np.repeat(root.wires, k)), "Merkle root")
    return bits.matmul_const(np.array([[1 << i] for i in range(depth)], np.int64)).reshape(k)


def _ordered(builder: Builder, bit: Tensor, node: Field, sibling: Field) -> Field:
    """Return (left, right) pairs: (node, sibling) where bit = 0, swapped where bit = 1.

    Rows: bit * (sibling - node) = left - node, and left + right = node + sibling.
    """
    k = len(node)

    def order(bits: Ints, here: Limbs, other: Limbs) -> Limbs:
        step = native.fr_mul(native.fr_from_int64(bits), native.fr_sub(other, here))
        pair = np.stack([native.fr_add(here, step), native.fr_sub(other, step)], axis=1)
        return pair.reshape(-1, 4)

    pairs = builder.field_hint("order", order, [bit, node, sibling], 2 * k)
    left, right = _symbolic(pairs[0::2]), _symbolic(pairs[1::2])
    here, other = _symbolic(node), _symbolic(sibling)
    builder.constrain(bit, other - here, left - here, "left child")
    builder.constrain_equal(left + right, here + other, "right child")
    return pairs


def _symbolic(field: Field) -> Tensor:
    """Return the wires as a tensor for linear combinations; it has no integer values."""
    return Tensor((len(field),), Rows.of_wires(field.wires), None)
