"""Anchor.sol: every checkpoint extends the last, as RFC 9162's proofs show; nothing else enters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai.chain.abi import selector, words
from zkai.chain.anchor import Anchor
from zkai.chain.embedded import EmbeddedChain
from zkai.encoding import sha256
from zkai.errors import VerificationError
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.merkle import (
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    range_hash,
    verify_consistency,
    verify_inclusion,
)
from zkai.ledger.statusmap import EMPTY

ORIGIN = "example.org/log"
LEAVES = [leaf_hash(b"%d" % i) for i in range(40)]


def node(height: int, index: int) -> bytes:
    level = LEAVES[index << height : (index + 1) << height]
    while len(level) > 1:
        level = [sha256(b"\1" + a + b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, range_hash(0, size, node), EMPTY)


def consistency(first: int, second: int) -> list[bytes]:
    return [range_hash(low, high, node) for low, high in consistency_ranges(first, second)]


def inclusion(index: int, size: int) -> list[bytes]:
    return [range_hash(low, high, node) for low, high in inclusion_ranges(index, size)]


def test_it_follows_a_log_by_every_step() -> None:
    """All pairs of small sizes: the contract takes exactly the proofs that Python takes."""
    for first in range(1, 18):
        anchor = Anchor.deploy(EmbeddedChain(), ORIGIN)
        anchor.anchor(checkpoint(first), [])
        for second in range(first + 1, 19):
            saved = anchor.chain._evm.snapshot()  # type: ignore[attr-defined]
            proof = consistency(first, second)
            verify_consistency(
                first, second, checkpoint(first).root, checkpoint(second).root, proof
            )
            assert anchor.anchor(checkpoint(second), proof).success
            assert anchor.verify_anchored(checkpoint(second)) >= 0
            anchor.chain._evm.revert(saved)  # type: ignore[attr-defined]


def test_rewritten_shrunk_and_unproven_checkpoints_are_refused() -> None:
    anchor = Anchor.deploy(EmbeddedChain(), ORIGIN)
    with pytest.raises(VerificationError, match="Inconsistent"):
        anchor.anchor(checkpoint(7), [bytes(32)])
    anchor.anchor(checkpoint(7), [])
    good = consistency(7, 12)
    last = checkpoint(12)
    forged = [
        (replace(last, root=bytes(32)), good), (last, good[:-1]), (last, [*good, bytes(32)]),
        (last, []), (last, good[::-1]), (last, [bytes(32), *good[1:]]),
    ]  # fmt: skip
    for case, proof in forged:
        with pytest.raises(VerificationError, match="Inconsistent"):
            anchor.anchor(case, proof)
    for size in (0, 6, 7):
        with pytest.raises(VerificationError, match="NotLonger"):
            anchor.anchor(checkpoint(size), [])
    assert anchor.size == 7
    anchor.anchor(last, good)
    assert anchor.size == 12
    for other in (replace(last, root=bytes(32)), replace(last, map_root=bytes(31) + b"\1"),
                  checkpoint(11)):  # fmt: skip
        with pytest.raises(VerificationError, match="is not anchored"):
            anchor.verify_anchored(other)
    with pytest.raises(VerificationError, match="another log"):
        anchor.verify_anchored(replace(last, origin="other"))
    with pytest.raises(VerificationError, match="no anchor"):
        Anchor(anchor.chain, "0x" + "00" * 19 + "99").verify_anchored(last)


@given(st.integers(1, 20), st.integers(2, 20), st.integers(2, 20), st.integers(-1, 6))
def test_it_decides_as_python_does(first: int, second: int, claimed: int, dropped: int) -> None:
    """Whatever sizes are claimed for a proof, and whatever is missing from it.

    A root does not say its tree's size, so a proof may hold for another size as well: that is why
    checkpoints are signed with their sizes, and why both sides must decide alike.
    """
    if not first < min(second, claimed):
        return
    proof, root = consistency(first, second), checkpoint(second).root
    if 0 <= dropped < len(proof):
        del proof[dropped]
    try:
        verify_consistency(first, claimed, checkpoint(first).root, root, proof)
        python = True
    except VerificationError:
        python = False
    anchor = Anchor.deploy(EmbeddedChain(), ORIGIN)
    anchor.anchor(checkpoint(first), [])
    try:
        anchor.anchor(Checkpoint(ORIGIN, claimed, root, EMPTY), proof)
        contract = True
    except VerificationError:
        contract = False
    assert contract == python


def test_it_checks_inclusion_as_python_does() -> None:
    anchor = Anchor.deploy(EmbeddedChain(), ORIGIN)
    for size in (1, 5, 8, 13):
        proof = consistency(anchor.size, size) if anchor.size else []
        anchor.anchor(checkpoint(size), proof)
        for index in range(size):
            path, root = inclusion(index, size), checkpoint(size).root
            verify_inclusion(index, size, LEAVES[index], path, root)
            anchor.verify_included(LEAVES[index], index, size, path)
            for forged in (
                (bytes(32), index, size, path), (LEAVES[index], size, size, path),
                (LEAVES[index], index, size, [*path, bytes(32)]),
                (LEAVES[index], index, size, path[:-1] or [bytes(32)]),
            ):  # fmt: skip
                with pytest.raises(VerificationError, match="NotIncluded"):
                    anchor.verify_included(*forged)
    with pytest.raises(VerificationError, match="NotAnchored"):
        anchor.verify_included(LEAVES[0], 0, 6, inclusion(0, 6))


def test_only_the_operator_anchors() -> None:
    chain = EmbeddedChain()
    anchor = Anchor.deploy(chain, ORIGIN)
    data = selector("anchor(uint64,bytes32,bytes32,bytes32[])") + words([1, 2, 3, 128, 0])
    chain._account = "0x" + "11" * 20
    chain._evm.set_balance(chain._account, 10**24)
    outcome = chain.transact(anchor.address, data)
    assert not outcome.success
    assert outcome.output == selector("Anchor__NotOperator()")
    with pytest.raises(VerificationError, match="NotOperator"):
        anchor.anchor(checkpoint(1), [])
