"""The C, Python and py-ecc verifiers against the vectors that the Solidity one is held to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from chain_support import COUNTS, ROOT, Case, Vectors, proof_from_words, vectors

from zkai import native
from zkai.chain.abi import words
from zkai.chain.artifact import load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import proof_words
from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.groth16 import verify
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.points import g1_words, g2_words
from zkai.proof.py_ecc_verifier import verify_with_py_ecc

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


@dataclass(frozen=True)
class KeyCase:
    """A key in words, well formed or not, and a proof of two inputs under it."""

    name: str
    success: bool
    key: list[int]
    proof: list[int]
    publics: list[int]

    def points(self) -> dict[str, Any]:
        """The points by their names in a key."""
        w = self.key
        twists = [
            ((w[i + 1], w[i]), (w[i + 3], w[i + 2])) if any(w[i : i + 4]) else None
            for i in (6, 10, 14)
        ]
        rest = [(w[i], w[i + 1]) if w[i] or w[i + 1] else None for i in (4, 18, 20, 22)]
        named = dict(zip(("beta", "gamma", "delta"), twists, strict=True))
        return {"alpha": rest[0], "ic": tuple(rest[1:]), **named}


def key_cases() -> list[KeyCase]:
    rows = json.loads((ROOT / "contracts" / "vectors" / "malformed_keys.json").read_text())

    def numbers(row: dict[str, Any], name: str) -> list[int]:
        return [int(v, 16) for v in row[name]]

    return [
        KeyCase(r["name"], r["success"], *(numbers(r, n) for n in ("key", "proof", "publics")))
        for r in rows
    ]


KEY_CASES = {case.name: case for case in key_cases()}


@pytest.mark.parametrize("name", KEY_CASES)
def test_every_verifier_refuses_a_malformed_key(name: str, chain: EmbeddedChain) -> None:
    """Each verifier by itself: the library's own check of keys comes before none of the others."""
    case = KEY_CASES[name]
    digest = case.key[2].to_bytes(32, "big")
    signals = tuple(PublicSignal(f"x{i}", 1) for i in range(2))
    key = VerifyingKey("vector/1", digest, "development", signals, **case.points())
    proof = proof_from_words(key, case.proof, case.publics)
    fault = native.groth16_verify(
        g1_words(key.alpha),
        *(g2_words(point) for point in (key.beta, key.gamma, key.delta)),
        np.concatenate([g1_words(point) for point in key.ic]),
        to_limbs(case.publics),
        g1_words(proof.a),
        g2_words(proof.b),
        g1_words(proof.c),
    )
    creation = load_artifact("Groth16Verifier").creation_code
    code = creation + words([32, len(case.key), *case.key])
    if case.success:
        verify(proof, key)
        verify_with_py_ecc(proof, key, case.publics)
        assert fault is None
        chain.deploy(code)
        return
    with pytest.raises(InvalidInput, match="verifying key"):
        verify(proof, key)
    with pytest.raises(InvalidInput, match="verifying key"):
        verify_with_py_ecc(proof, key, case.publics)
    assert fault is not None
    assert fault.where.startswith("key: ")
    with pytest.raises(VerificationError, match="InvalidKey"):
        chain.deploy(code)


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
