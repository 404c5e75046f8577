"""Threshold additive RLWE: every t holders open the exact sum, fewer or other ones nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.rlwe import (
    CiphertextSum,
    ClientKey,
    Dealing,
    RlweParameters,
    Round,
    ShareSum,
    check_partial,
    fuse,
    partial,
    verify_dealings,
)
from zkai.native import Int64s

PARAMETERS = RlweParameters.choose(clients=4, threshold=3, holders=5)
ROUND = Round(PARAMETERS, sha256(b"session"), 1, 13_000)  # two polynomials


class Client:
    """A client that did all of its part of a round."""

    def __init__(self, round_: Round, seed: int) -> None:
        bound = round_.parameters.bound
        rng = np.random.default_rng(seed)
        self.values: Int64s = rng.integers(-bound, bound + 1, round_.values)
        self.key = ClientKey(round_)
        self.ciphertext = self.key.encrypt(self.values)
        self.shares = self.key.deal()
        self.digest = sha256(b"".join(self.shares))
        self.check = self.key.check(self.digest)

    @property
    def dealing(self) -> Dealing:
        return Dealing(self.key.identifier, self.digest, self.check)


@pytest.fixture(scope="module")
def clients() -> list[Client]:
    return [Client(ROUND, seed) for seed in range(3)]


def summed(clients: list[Client], round_: Round = ROUND) -> CiphertextSum:
    total = CiphertextSum(round_)
    for client in clients:
        total.add(client.ciphertext, client.key.identifier)
    return total


def shares_of(clients: list[Client], holder: int, round_: Round = ROUND) -> ShareSum:
    shares = ShareSum(round_, holder)
    for client in clients:
        shares.add(client.key.identifier, client.shares[holder - 1])
    return shares


def test_every_set_of_t_holders_opens_the_exact_sum(clients: list[Client]) -> None:
    expected = sum(client.values for client in clients)
    total = summed(clients)
    for active in combinations(range(1, 6), 3):
        parts = {j: partial(total, shares_of(clients, j), active, 3) for j in active}
        assert np.array_equal(fuse(total, parts, active), expected)


def test_one_flipped_bit_of_a_share_is_noticed(clients: list[Client]) -> None:
    total, active = summed(clients), (1, 2, 4)
    parts = {j: partial(total, shares_of(clients, j), active, 3) for j in active}
    flipped = bytearray(clients[0].shares[3])
    flipped[80] ^= 1
    shares = ShareSum(ROUND, 4)
    shares.add(clients[0].key.identifier, bytes(flipped))
    for client in clients[1:]:
        shares.add(client.key.identifier, client.shares[3])
    parts[4] = partial(total, shares, active, 3)
    with pytest.raises(VerificationError, match="noise is too large"):
        fuse(total, parts, active)


def test_dealings_are_checked(clients: list[Client]) -> None:
    dealings = [client.dealing for client in clients]
    answers = {
        j: check_partial(ROUND, j, dealings, [client.shares[j - 1] for client in clients])
        for j in range(1, 6)
    }
    verify_dealings(ROUND, dealings, answers)
    altered = bytearray(answers[2])
    altered[200] ^= 1
    with pytest.raises(VerificationError, match=r"holders \[2\]"):
        verify_dealings(ROUND, dealings, {**answers, 2: bytes(altered)})


def test_a_key_encrypts_once() -> None:
    key = ClientKey(ROUND)
    values = np.zeros(ROUND.values, dtype=np.int64)
    key.encrypt(values)
    with pytest.raises(InvalidInput, match="encrypts once"):
        key.encrypt(values)
