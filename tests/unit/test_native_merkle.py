"""keccak256 and Merkle trees in C, against pycryptodome and a tree written from the definition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from Crypto.Hash import keccak as pycryptodome
from hypothesis import given, settings
from hypothesis import strategies as st

from zkai import native
from zkai.errors import InvalidInput, ToolError
from zkai.native_merkle import (
    count_leaves,
    fold,
    keccak256_many,
    keccak_kernel,
    keccak_kernels,
    levels,
    multiproof,
    set_keccak_kernel,
    subtrees,
)

KERNELS = [name for name, available in keccak_kernels().items() if available]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keccak_kernel()
    set_keccak_kernel(request.param)
    yield request.param
    set_keccak_kernel(before)


def keccak256(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


def pattern(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def reference_root(hashes: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, with keccak256: split at the largest power of two."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return keccak256(b"zkainode" + reference_root(hashes[:split]) + reference_root(hashes[split:]))


def leaf_hashes(data: bytes, leaf: int) -> list[bytes]:
    return [keccak256(b"zkaileaf" + data[i : i + leaf]) for i in range(0, len(data) or 1, leaf)]


def test_known_answers(kernel: str) -> None:
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"").hex() == empty
    assert keccak256_many(b"abc", 3)[0].tobytes().hex() == (
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    )


@pytest.mark.parametrize("prefix", [b"", b"zkaileaf"])
def test_every_kernel_hashes_as_pycryptodome_does(kernel: str, prefix: bytes) -> None:
    """Lengths around every word and block, counts around every number of lanes."""
    lengths = [
        *range(1, 20),
        63,
        64,
        65,
        71,
        72,
        73,
        *range(119, 146),
        255,
        256,
        263,
        264,
        265,
        272,
    ]
    for length in [*lengths, 399, 400, 4096]:
        for count in (1, 3, 4, 5, 8, 9, 12, 17):
            data = pattern(length * count)
            expected = [
                keccak256(prefix + data[i : i + length]) for i in range(0, len(data), length)
            ]
            hashes = keccak256_many(data, length, prefix=prefix)
            assert [row.tobytes() for row in hashes] == expected, (length, count)


def test_messages_may_overlap_or_stand_apart(kernel: str) -> None:
    data = pattern(500)
    for stride in (1, 7, 60):
        hashes = keccak256_many(data, 40, stride=stride)
        assert len(hashes) == (500 - 40) // stride + 1
        assert hashes[-1].tobytes() == keccak256(
            data[(len(hashes) - 1) * stride : (len(hashes) - 1) * stride + 40]
        )
    assert keccak256_many(b"short", 6).shape == (0, 32)


def test_trees_have_the_shape_of_rfc_9162(kernel: str) -> None:
    for leaf in (1, 5, 64, 256):
        for leaves in [*range(1, 18), 31, 33, 64, 65, 100]:
            for short in {0, leaf // 2} if leaves > 1 else {0}:
                data = pattern(leaf * leaves - short)
                expected = reference_root(leaf_hashes(data, leaf))
                for height in (0, 1, 3, 12):
                    assert levels(subtrees(data, leaf, height))[-1].tobytes() == expected


def test_nothing_is_one_empty_leaf(kernel: str) -> None:
    assert subtrees(b"", 64, 0)[0].tobytes() == keccak256(b"zkaileaf")
    assert levels(subtrees(b"", 64, 3))[-1].tobytes() == keccak256(b"zkaileaf")


def test_a_stream_gives_the_same_level() -> None:
    data = pattern(64 * 37 + 11)
    whole = subtrees(data, 64, 2)
    parts = [subtrees(data[i : i + 64 * 12], 64, 2) for i in range(0, len(data), 64 * 12)]
    assert (np.concatenate(parts) == whole).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_do_not_change_roots(threads: int) -> None:
    data = pattern(256 * 30_001)
    native.set_threads(threads)
    try:
        root = levels(subtrees(data, 256, 0))[-1].tobytes()
        assert levels(subtrees(data, 256, 7))[-1].tobytes() == root
    finally:
        native.set_threads(None)
    assert root == reference_root(
        [row.tobytes() for row in keccak256_many(data, 256, prefix=b"zkaileaf")]
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.data())
def test_multiproofs_lead_to_the_root(leaves: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, leaves - 1), min_size=1))
    indices = np.array(sorted(chosen), np.uint64)
    nodes = levels(subtrees(pattern(8 * leaves), 8, 0))
    root, hashes = nodes[-1].tobytes(), nodes[indices.astype(np.int64)]
    proof = multiproof(nodes, leaves, indices)
    assert fold(leaves, indices, hashes, proof) == root
    # Nothing in it is superfluous, and nothing in it is free.
    for i in range(len(proof)):
        changed = proof.copy()
        changed[i, 5] ^= 1
        assert fold(leaves, indices, hashes, changed) != root
        with pytest.raises(InvalidInput):
            fold(leaves, indices, hashes, np.delete(proof, i, 0))
    with pytest.raises(InvalidInput):
        fold(
            leaves,
            indices,
            hashes,
            np.concatenate([proof, proof[:1] if len(proof) else hashes[:1]]),
        )
    for i in range(len(indices)):
        changed = hashes.copy()
        changed[i, 31] ^= 128
        assert fold(leaves, indices, changed, proof) != root


def test_a_single_proof_is_the_path_of_rfc_9162() -> None:
    """The inclusion path of leaf 4 of 7, written out."""
    hashes = leaf_hashes(pattern(7 * 8), 8)
    nodes = levels(subtrees(pattern(7 * 8), 8, 0))
    path = [hashes[5], hashes[6], reference_root(hashes[:4])]
    proof = multiproof(nodes, 7, np.array([4], np.uint64))
    assert [row.tobytes() for row in proof] == path


def test_wrong_arguments_are_refused() -> None:
    nodes = levels(subtrees(pattern(80), 8, 0))
    one = np.array([0], np.uint64)
    for wrong in ([], [3, 3], [4, 2], [10]):
        with pytest.raises(InvalidInput):
            multiproof(nodes, 10, np.array(wrong, np.uint64))
        with pytest.raises(InvalidInput):
            fold(10, np.array(wrong, np.uint64), nodes[: len(wrong)], nodes[:3])
    for call in (
        lambda: multiproof(nodes, 11, one),
        lambda: multiproof(nodes[:-1], 10, one),
        lambda: fold(10, one, nodes[:2], nodes[:4]),
        lambda: fold(0, one, nodes[:1], nodes[:4]),
        lambda: fold(1 << 60, one, nodes[:1], nodes[:4]),
        lambda: levels(nodes[:0]),
        lambda: levels(nodes[:, :31]),
        lambda: subtrees(b"x", 0, 0),
        lambda: subtrees(b"x", 1, 13),
        lambda: subtrees(b"x", 1 << 31, 0),
        lambda: count_leaves(1 << 60, 1),
        lambda: count_leaves(-1, 1),
        lambda: keccak256_many(b"abc", 0),
        lambda: keccak256_many(b"abc", 1, stride=0),
        lambda: keccak256_many(b"abc", 1, prefix=b"seven77"),
        lambda: keccak256_many(np.zeros((4, 4))[:, 1], 1),
        lambda: keccak256_many("abc", 1),
        lambda: set_keccak_kernel("sse"),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_a_kernel_that_the_cpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, available in keccak_kernels().items():
        if not available:
            with pytest.raises(ToolError):
                set_keccak_kernel(name)
