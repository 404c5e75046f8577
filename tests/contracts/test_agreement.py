"""The C, Python and py-ecc verifiers against the vectors that the Solidity one is held to."""

from __future__ import annotations

import re

import numpy as np
import pytest
from chain_support import COUNTS, Case, Vectors, proof_from_words, vectors

from zkai import native
from zkai.chain.verifier import proof_words
from zkai.encoding import to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.groth16 import verify
from zkai.proof.keys import Proof
from zkai.proof.points import g1_words, g2_words

# What each of the contract's errors is called by the library and by the C code.
MEANINGS = {
    "InvalidProof()": ("equation does not hold", "equation does not hold"),
    "InvalidPoint()": ("not on its curve|outside the subgroup", "not on its curve|outside the"),
    "PublicInputOutOfRange": ("not below the scalar field modulus", "not canonical"),
    "CoordinateOutOfRange": ("not below the base field modulus", "not canonical"),
    "PointAtInfinity": ("point at infinity", "point at infinity"),
    "InvalidLength": ("signals are not those of the key", None),
}


def meaning(error: str) -> tuple[str, str | None]:
    name = error.partition("__")[2]
    return MEANINGS[name if name in MEANINGS else name.partition("(")[0]]


def proof_of(v: Vectors, case: Case) -> Proof:
    return proof_from_words(v.vk, case.proof, case.publics)


@pytest.mark.parametrize("n", COUNTS)
def test_the_library(n: int) -> None:
    v = vectors(n)
    for case in v.cases:
        proof = proof_of(v, case)
        assert proof_words(proof) == case.proof
        if case.error is None:
            verify(proof, v.vk)
            continue
        with pytest.raises(VerificationError, match=meaning(case.error)[0]):
            verify(proof, v.vk)


def c_refusal(v: Vectors, case: Case) -> str | None:
    """What the C code says of the raw words, without any check of Python's before it."""
    vk, w = v.vk, case.proof
    fault = native.groth16_verify(
        g1_words(vk.alpha),
        g2_words(vk.beta),
        g2_words(vk.gamma),
        g2_words(vk.delta),
        np.concatenate([g1_words(point) for point in vk.ic]),
        to_limbs(case.publics),
        to_limbs(w[:2]).reshape(1, 8),
        to_limbs([w[3], w[2], w[5], w[4]]).reshape(1, 16),
        to_limbs(w[6:]).reshape(1, 8),
    )
    return None if fault is None else f"{fault.where}: {fault.reason}"


@pytest.mark.parametrize("n", COUNTS)
def test_the_c_code(n: int) -> None:
    v = vectors(n)
    for case in v.cases:
        if case.error is None:
            assert c_refusal(v, case) is None, case.name
        elif "InvalidLength" in case.error:
            with pytest.raises(InvalidInput, match="ic"):
                c_refusal(v, case)
        else:
            pattern = meaning(case.error)[1]
            assert pattern
            assert re.search(pattern, c_refusal(v, case) or ""), case.name


def test_py_ecc() -> None:
    """Slow, so one key, and of the cases that differ in a word alone every third."""
    v = vectors(1)
    told = 0
    for index, case in enumerate(v.cases):
        if case.name.startswith("proof word") and index % 3:
            continue
        if case.error is None:
            verify(proof_of(v, case), v.vk, verifier="py-ecc")
            continue
        told += 1
        with pytest.raises(VerificationError, match=meaning(case.error)[0]):
            verify(proof_of(v, case), v.vk, verifier="py-ecc")
    assert told > 20
