"""Queries under RLWE: exact answers, nothing else of the model, and a proof of the ciphertext."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

import zkai
from zkai import native_rlwe as native
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.registry import from_description
from zkai.encrypted import Sent, encryption_of, verify_encrypted_query
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import ClientKey
from zkai.he.ring import Ring
from zkai.he.rlwe_query import (
    DEALING,
    PARAMETERS,
    RING,
    EncryptedQuery,
    QueryKey,
    answer,
    query_round,
)
from zkai.native import Int64s

X = np.array([3, -4, 0, 12, -100, 99], np.int64)


def model(outputs: int, inputs: int) -> tuple[Int64s, Int64s]:
    rng = np.random.default_rng([outputs, inputs])
    return rng.integers(-99, 100, (outputs, inputs)), rng.integers(-9999, 9999, outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(6, 3), (64, 10), (1000, 9), (4096, 2), (1, 1), (2048, 3)]
)
def test_answers_are_exact(inputs: int, outputs: int) -> None:
    weights, bias = model(outputs, inputs)
    query = np.random.default_rng(1).integers(-128, 128, inputs)
    key = QueryKey(query)
    found = key.open(answer(key.sent, weights, bias), outputs)
    np.testing.assert_array_equal(found, weights @ query + bias)


def test_the_client_sees_nothing_else_of_the_model() -> None:
    """Without masks, a query of one 1 would show every weight in its place."""
    weights, bias = model(3, 6)
    key = QueryKey(np.eye(6, dtype=np.int64)[5])
    seen = []
    for _ in range(2):
        residues = RING.unpack(answer(key.sent, weights, bias), 2, "answer")
        secret = RING.ntt(RING.small(key.opening.secret[None]))[0]
        masked = RING.coefficients(RING.multiply(RING.ntt(residues[1:].copy()), secret))
        opened = RING.add(residues[:1].copy(), masked)
        seen.append(native.round_off(RING.tables, opened, PARAMETERS.delta)[0][0])
    places = np.arange(5, 4096, 6)
    np.testing.assert_array_equal(seen[0][places][:3], weights[:, 5] + bias)
    others = np.setdiff1d(np.arange(4096), places)
    assert (seen[0][others] != seen[1][others]).mean() > 0.99
    assert np.abs(seen[0][others]).mean() > 1 << 36


def test_the_second_half_does_not_give_the_weights_away() -> None:
    """w A alone, with A public, would: w = (w A) / A."""
    weights, bias = model(1, 6)
    key = QueryKey(X)
    halves = [RING.unpack(answer(key.sent, weights, bias), 2, "answer")[1] for _ in range(2)]
    assert (halves[0] != halves[1]).mean() > 0.99


def test_answers_to_another_key_and_damaged_bytes_are_refused() -> None:
    weights, bias = model(3, 6)
    key, other = QueryKey(X), QueryKey(X)
    good = answer(key.sent, weights, bias)
    with pytest.raises(VerificationError, match="noise"):
        other.open(good, 3)
    with pytest.raises(InvalidInput):
        key.open(good[:-1], 3)
    mixed = replace(key.sent, check=other.sent.check)
    with pytest.raises(InvalidInput):
        answer(mixed, weights, bias)
    with pytest.raises(InvalidInput):
        answer(replace(key.sent, ciphertext=key.sent.ciphertext[:-1]), weights, bias)


def test_a_check_polynomial_of_another_key_in_the_same_round_is_refused() -> None:
    """It would be a public key whose secret the server does not know to be the query's."""
    weights, bias = model(3, 6)
    round_ = query_round(bytes(32), 6)
    one, two = ClientKey(round_), ClientKey(round_)
    query = EncryptedQuery(round_, one.encrypt(X), two.check(DEALING))
    with pytest.raises(InvalidInput, match="another key"):
        answer(query, weights, bias)


def test_sizes_that_could_overflow_are_refused() -> None:
    key = QueryKey(X)
    with pytest.raises(InvalidInput, match="below"):
        QueryKey(X * (1 << 19))
    with pytest.raises(InvalidInput, match="2\\^19"):
        answer(key.sent, np.full((1, 6), 1 << 18), np.zeros(1, np.int64))
    with pytest.raises(InvalidInput, match="as many biases"):
        answer(key.sent, np.ones((1, 5), np.int64), np.zeros(1, np.int64))
    with pytest.raises(InvalidInput, match="1 to 4096 inputs"):
        QueryKey(np.zeros(4097, np.int64))
    assert isinstance(RING, Ring)
    assert "secret" not in repr(key)


STATEMENT = Query((1, 6), 8, 0, COMMIT, encryption_of(PARAMETERS))


def sent(key: QueryKey) -> Sent:
    return Sent(key.sent.round, key.sent.ciphertext, key.sent.check, DEALING)


@lru_cache(maxsize=1)
def proven() -> tuple[zkai.Keys, QueryKey, zkai.Proof]:
    keys, key = zkai.setup(STATEMENT), QueryKey(X)
    values = {"sent": sent(key), "opening": key.opening, "norm_bound": 150}
    return keys, key, zkai.prove(STATEMENT, keys.proving, {"input_integers": X[None], **values})


def test_the_proof_binds_the_ciphertext_to_the_committed_query() -> None:
    keys, key, proof = proven()
    verify_encrypted_query(proof, keys.verifying, sent(key), STATEMENT, norm_bound=150)
    with pytest.raises(VerificationError, match="another ciphertext"):
        verify_encrypted_query(proof, keys.verifying, sent(QueryKey(X)), STATEMENT, norm_bound=150)
    with pytest.raises(VerificationError, match="norm of 150"):
        verify_encrypted_query(proof, keys.verifying, sent(key), STATEMENT, norm_bound=149)
    other = sent(QueryKey(X[:5]))
    with pytest.raises(InvalidInput, match="values"):
        verify_encrypted_query(proof, keys.verifying, other, STATEMENT, norm_bound=150)
    with pytest.raises(VerificationError, match="public polynomials"):
        zkai.verify(proof, keys.verifying)


def test_another_query_than_the_encrypted_one_cannot_be_proven() -> None:
    keys, key, _ = proven()
    values = {"sent": sent(key), "opening": key.opening}
    with pytest.raises(InvalidInput, match="does not encrypt"):
        zkai.prove(STATEMENT, keys.proving, {"input_integers": X[None] + 1, **values})


def test_the_description_names_the_encryption() -> None:
    assert from_description(STATEMENT.describe()) == STATEMENT
    with pytest.raises(InvalidInput, match="encryption"):
        Query((1, 6), 8, encryption=encryption_of(PARAMETERS))
