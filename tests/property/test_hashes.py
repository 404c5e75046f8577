"""Packing, Poseidon, Merkle trees and files over random inputs, against Python integers."""

from __future__ import annotations

import numpy as np
import poseidon_reference as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkai import native_poseidon
from zkai.circuit.formats import read_wtns, write_wtns
from zkai.circuit.gadgets.merkle import merkle_tree, path_length, verify_membership
from zkai.circuit.gadgets.packing import integers_per_element, pack
from zkai.circuit.gadgets.poseidon import hash_elements, hash_tag, shape
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs

field_elements = st.integers(0, FIELD_MODULUS - 1)


def unpack(packed: np.ndarray, bits: int, n: int) -> list[int]:
    """The inverse of pack, in Python integers."""
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    values = [
        (element >> (bits * i) & mask) - half
        for element in from_limbs(packed)
        for i in range(integers_per_element(bits))
    ]
    return values[:n]


@given(st.data(), st.integers(1, 62))
def test_unpacking_gives_the_integers_back(data: st.DataObject, bits: int) -> None:
    half = 1 << (bits - 1)
    ints = data.draw(st.lists(st.integers(-half, half - 1), max_size=40))
    packed = pack(np.array(ints, np.int64), bits)
    assert unpack(packed, bits, len(ints)) == ints
    assert all(v < FIELD_MODULUS for v in from_limbs(packed))


@settings(max_examples=25)
@given(st.data(), st.sampled_from([2, 3, 4, 6]))
def test_the_permutation_is_the_papers(data: st.DataObject, t: int) -> None:
    state = data.draw(st.lists(field_elements, min_size=t, max_size=t))
    s = shape(t)
    final, _ = native_poseidon.permute(to_limbs(state).reshape(1, t, 4), s.full, s.partial)
    assert from_limbs(final[0]) == reference.permute(state, s.full, s.partial)[0]


@settings(max_examples=15)
@given(st.lists(field_elements, min_size=1, max_size=40))
def test_the_sponge_is_its_definition(elements: list[int]) -> None:
    n = len(elements)
    s = shape(min(n, 16) + 1)
    rate = s.t - 1
    capacity = hash_tag("zkai/test/1", n)
    state = [capacity]
    for at in range(0, n, rate):
        block = elements[at : at + rate]
        state = [state[0], *block, *[0] * (rate - len(block))]
        state = reference.permute(state, s.full, s.partial)[0]
    assert hash_elements("zkai/test/1", elements) == state[1]


@settings(max_examples=15)
@given(st.lists(field_elements, min_size=1, max_size=9), st.integers(0, 2))
def test_every_leaf_has_a_path(leaves: list[int], deeper: int) -> None:
    least = (len(leaves) - 1).bit_length()
    tree = merkle_tree(to_limbs(leaves).reshape(-1, 1, 4), least + deeper)
    for index, leaf in enumerate(leaves):
        assert len(tree.path(index)) == path_length(least + deeper)
        verify_membership(tree.root, [leaf], index, tree.path(index), least + deeper)


@settings(max_examples=25)
@given(st.lists(field_elements, max_size=20))
def test_witness_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "w.wtns"
    write_wtns(path, to_limbs([1, *values]))
    assert from_limbs(read_wtns(path)) == [1, *values]
