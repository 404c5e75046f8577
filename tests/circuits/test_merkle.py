"""Merkle membership: trees by hand, honest paths, strangers' leaves, forged choices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from circuit_forgery import assert_every_wire_forced, assert_refused

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import merkle
from zkai.circuit.gadgets.merkle import (
    MerkleTree,
    level_bits,
    membership_gadget,
    merkle_tree,
    path_length,
)
from zkai.circuit.gadgets.poseidon import hash_elements, n_rows
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.r1cs import Circuit
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

R = FIELD_MODULUS


def content(n: int, each: int = 2, start: int = 1000) -> np.ndarray:
    return to_limbs(range(start, start + n * each)).reshape(n, each, 4)


@dataclass
class Membership:
    """A membership circuit over k leaves of two elements, and an honest witness's inputs."""

    circuit: Circuit
    tree: MerkleTree
    inputs: dict[str, object]


def membership(n_leaves: int, depth: int, indices: list[int]) -> Membership:
    builder = Builder("merkle")
    k = len(indices)
    root = builder.public_field("root")
    leaves = builder.private_field("leaves", 2 * k)
    paths = builder.private_field("paths", k * path_length(depth))
    bits = check_range(builder, builder.private_int("bits", (k, depth)), 0, 1)
    with builder.at("dataset"):
        membership_gadget(builder, root, leaves, paths, bits)
    tree = merkle_tree(content(n_leaves), depth)
    inputs: dict[str, object] = {
        "root": tree.root,
        "leaves": [v for i in indices for v in from_limbs(content(n_leaves)[i])],
        "paths": [s for i in indices for s in tree.path(i)],
        "bits": np.array([[i >> level & 1 for level in range(depth)] for i in indices]),
    }
    return Membership(builder.build(), tree, inputs)


@pytest.mark.parametrize(
    ("n_leaves", "depth", "indices"),
    [(1, 1, [0]), (2, 1, [1, 0]), (5, 3, [0, 4, 2]), (8, 3, [7]), (3, 5, [2, 2]), (20, 6, [19])],
)
def test_members_are_proven(n_leaves: int, depth: int, indices: list[int]) -> None:
    made = membership(n_leaves, depth, indices)
    witness = made.circuit.solve(made.inputs)
    made.circuit.check(witness)
    levels = sum(n_rows(1 << b) + (1 << b) - 1 for b in level_bits(depth))
    each = depth + n_rows(2) + levels + 1
    assert made.circuit.n_constraints == len(indices) * each


def test_every_wire_of_a_path_is_forced() -> None:
    made = membership(6, 4, [5])
    assert_every_wire_forced(made.circuit, made.circuit.solve(made.inputs))


def test_levels_cover_the_depth_cheaply() -> None:
    """No other mix of 1, 2, 3 and 4 bits a level costs fewer rows."""
    cost = {b: n_rows(1 << b) + (1 << b) - 1 + b for b in (1, 2, 3, 4)}
    assert cost == {1: 245, 2: 305, 3: 415, 4: 631}
    best = {0: 0}
    for depth in range(1, 41):
        best[depth] = min(best[depth - b] + cost[b] for b in cost if b <= depth)
        levels = level_bits(depth)
        assert sum(levels) == depth
        assert list(levels) == sorted(levels, reverse=True)
        assert sum(cost[b] for b in levels) == best[depth]
    with pytest.raises(InvalidInput, match="depth is 0 to 40"):
        level_bits(41)


def test_trees_by_hand() -> None:
    three = content(3)
    leaf = [hash_elements(merkle.LEAF, from_limbs(c)) for c in three]

    def node(*children: int) -> int:
        return hash_elements(merkle.NODE, list(children))

    tree = merkle_tree(three)
    assert (tree.depth, level_bits(2)) == (2, (2,))
    assert tree.root == node(*leaf, 0)
    assert tree.path(1) == [*leaf, 0]
    deep = merkle_tree(three, 5)
    low = node(*leaf, 0, 0, 0, 0, 0)
    empty = node(*[0] * 8)
    assert deep.root == node(low, empty, empty, empty)
    assert deep.path(2) == [*leaf, 0, 0, 0, 0, 0, low, empty, empty, empty]
    assert merkle_tree(three[:1]).root == leaf[0]
    merkle.verify_membership(leaf[0], from_limbs(three[0]), 0, [], 0)
    for made in (tree, deep):
        for i in range(3):
            leaf_values, path = from_limbs(three[i]), made.path(i)
            merkle.verify_membership(made.root, leaf_values, i, path, made.depth)
            for wrong in {*range(1 << made.depth)} - {i}:
                with pytest.raises(VerificationError, match="is not where its path says"):
                    merkle.verify_membership(made.root, leaf_values, wrong, path, made.depth)


def test_native_membership_refuses_bad_values() -> None:
    tree = merkle_tree(content(2))
    leaf, path = from_limbs(content(2)[1]), tree.path(1)
    merkle.verify_membership(tree.root, leaf, 1, path, 1)
    for root, values, index, given in (
        (tree.root + R, leaf, 1, path),
        (tree.root, [leaf[0] + R, leaf[1]], 1, path),
        (tree.root, leaf, 1, [path[0] + R, path[1]]),
        (tree.root, leaf, 3, path),
        (tree.root, leaf, -1, path),
        (tree.root, leaf[:1], 1, path),
        (tree.root, leaf, 1, [*path, 0]),
        (tree.root, leaf, 1, [0, path[1]]),
    ):
        with pytest.raises(VerificationError, match="Merkle proof"):
            merkle.verify_membership(root, values, index, given, 1)


def test_trees_and_paths_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot hold 3 leaves"):
        merkle_tree(content(3), 1)
    with pytest.raises(InvalidInput, match="cannot hold 0 leaves"):
        merkle_tree(content(3)[:0])
    with pytest.raises(InvalidInput, match="the tree has 3 leaves"):
        merkle_tree(content(3)).path(3)
    builder = Builder("merkle")
    root, xs = builder.public_field("root"), builder.private_field("xs", 6)
    bits = builder.private_int("bits", (2, 3))
    with pytest.raises(InvalidInput, match="16 path elements"):
        membership_gadget(builder, root, xs[:2], xs[:4], bits)
    paths = builder.private_field("paths", 16)
    with pytest.raises(InvalidInput, match="without a proven range"):
        membership_gadget(builder, root, xs[:4], paths, bits)
    with pytest.raises(InvalidInput, match="not proven to be boolean"):
        membership_gadget(builder, root, xs[:4], paths, check_range(builder, bits, 0, 3))


# What a prover may try --------------------------------------------------------------------------


def spoiled(made: Membership, name: str, position: int, value: int) -> dict[str, object]:
    changed = dict(made.inputs)
    if name == "bits":
        bits = np.array(made.inputs["bits"])
        bits.flat[position] = value
        return changed | {"bits": bits}
    listed = list(made.inputs[name])  # type: ignore[call-overload]
    listed[position] = value
    return changed | {name: listed}


@pytest.mark.parametrize(
    ("name", "position", "value", "rule"),
    [
        ("paths", 11, 12345, "Merkle root"),
        ("paths", 3, 12345, "Merkle child"),
        ("paths", 1, 12345, "Merkle child"),
        ("leaves", 0, 12345, "Merkle child"),
        ("bits", 0, 0, "Merkle child"),
        ("bits", 4, 1, "Merkle child"),
        ("bits", 0, 2, "range"),
        ("bits", 1, -1, "range"),
    ],
)
def test_non_members_are_refused(name: str, position: int, value: int, rule: str) -> None:
    made = membership(20, 5, [1])
    made.circuit.check(made.circuit.solve(made.inputs))
    forged = made.circuit.solve(spoiled(made, name, position, value))
    with pytest.raises(VerificationError, match=rule):
        made.circuit.check(forged)


def test_another_root_is_refused() -> None:
    made = membership(5, 3, [1])
    forged = made.circuit.solve(made.inputs | {"root": 5})
    with pytest.raises(VerificationError, match="Merkle root"):
        made.circuit.check(forged)


@pytest.mark.parametrize("step", [0, 1])
def test_a_stranger_chosen_beside_the_true_children(step: int) -> None:
    """The true path meets the root; the forger claims to have chosen the stranger from it."""
    made = membership(5, 3, [2])
    stranger = [77, 78]
    node = hash_elements(merkle.LEAF, stranger)
    label = ["dataset/child", "dataset/child#2"][step]

    def forge(out: np.ndarray) -> np.ndarray:
        return to_limbs([node] * len(out))

    assert "Merkle child" in assert_refused(
        made.circuit, made.inputs | {"leaves": stranger}, {label: forge}
    )


def test_a_bit_that_mixes_two_children() -> None:
    """Any node lies on the line through two children: the bit must be boolean."""
    made = membership(2, 1, [0])
    stranger = [77, 78]
    node = hash_elements(merkle.LEAF, stranger)
    left, right = from_limbs(made.tree.levels[0])
    witness = made.circuit.solve(made.inputs | {"leaves": stranger})
    mixing = (node - left) * pow(right - left, -1, R) % R
    witness[made.circuit.inputs["bits"].wires] = to_limbs([mixing])
    with pytest.raises(VerificationError, match="range"):
        made.circuit.check(witness)


def test_a_node_is_no_leaf() -> None:
    """The children of an inner node, passed off as a leaf of a shallower tree, meet another tag."""
    tree = merkle_tree(content(16))
    children = from_limbs(tree.levels[0][:4])
    path = from_limbs(tree.levels[1])
    with pytest.raises(VerificationError, match="not where its path says"):
        merkle.verify_membership(tree.root, children, 0, path, 2)
    assert hash_elements(merkle.LEAF, children) != path[0] == hash_elements(merkle.NODE, children)


def test_an_absent_leaf_cannot_be_opened() -> None:
    """A place that no leaf fills holds 0, which is no hash that anyone knows."""
    tree = merkle_tree(content(5), 3)
    path = tree.path(4)
    assert path[5:] == [0, 0, 0]
    made = membership(5, 3, [4])
    bits = np.array([[1, 0, 1]])
    witness = made.circuit.solve(made.inputs | {"bits": bits})
    with pytest.raises(VerificationError, match="Merkle child"):
        made.circuit.check(witness)
