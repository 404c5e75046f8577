"""The library's verifiers with a commitment round against the vectors of the Solidity one."""

from __future__ import annotations

import pytest
from commit_chain_support import SHAPES, Shape, commit_vectors, proof_of
from test_agreement import meaning

from zkai.chain.verifier import proof_words
from zkai.errors import VerificationError
from zkai.proof.commit.argument import verify
from zkai.proof.commit.challenges import challenge_seed, challenges


@pytest.mark.parametrize("shape", SHAPES)
def test_the_library(shape: Shape) -> None:
    v = commit_vectors(shape)
    for case in v.cases:
        proof = proof_of(v.vk, case)
        assert proof_words(proof) == case.proof
        if case.error is None:
            verify(proof, v.vk)
            continue
        with pytest.raises(VerificationError, match=meaning(case.error)[0]):
            verify(proof, v.vk)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_challenges(shape: Shape) -> None:
    """As py_ecc's side hashed them when the vectors were made."""
    v = commit_vectors(shape)
    assert len(v.challenges) >= 3
    for name, expected in v.challenges.items():
        case = v.case(name)
        seed = challenge_seed(v.vk.digest, case.publics, proof_of(v.vk, case).d)
        assert challenges(seed, shape[1]) == expected


def test_py_ecc() -> None:
    """Slow, so one key, and every ninth case beside those of its own kind."""
    v = commit_vectors((1, 2))
    told = 0
    for index, case in enumerate(v.cases):
        if index % 9 and case.error is not None and "infinity" not in case.name:
            continue
        if case.error is None:
            verify(proof_of(v.vk, case), v.vk, verifier="py-ecc")
            continue
        told += 1
        with pytest.raises(VerificationError, match=meaning(case.error)[0]):
            verify(proof_of(v.vk, case), v.vk, verifier="py-ecc")
    assert told > 8
