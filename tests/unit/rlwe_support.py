"""Rounds of threshold additive RLWE for tests: clients that did all of their part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zkai.encoding import sha256
from zkai.he.rlwe import (
    CiphertextSum,
    ClientKey,
    Dealing,
    RlweParameters,
    Round,
    ShareSum,
    check_partial,
    partial,
)
from zkai.native import Int64s

PARAMETERS = RlweParameters.choose(clients=4, threshold=3, holders=5)
ROUND = Round(PARAMETERS, sha256(b"session"), 1, 13_000)  # two polynomials
HOLDERS = range(1, 6)


class Client:
    """A client with its values, ciphertext, shares and check polynomial."""

    def __init__(self, seed: int, round_: Round = ROUND, values: Int64s | None = None) -> None:
        bound = round_.parameters.bound
        if values is None:
            values = np.random.default_rng(seed).integers(-bound, bound + 1, round_.values)
        self.values = values
        self.key = ClientKey(round_)
        self.ciphertext = self.key.encrypt(values)
        self.shares = list(self.key.deal())
        self.digest = sha256(b"".join(self.shares))
        self.check = self.key.check(self.digest)

    @property
    def name(self) -> bytes:
        return self.key.identifier

    @property
    def dealing(self) -> Dealing:
        return Dealing(self.name, self.digest, self.check)


def summed(clients: Sequence[Client], round_: Round = ROUND) -> CiphertextSum:
    total = CiphertextSum(round_)
    for client in clients:
        total.add(client.ciphertext, client.name)
    return total


def shares_of(clients: Sequence[Client], holder: int, round_: Round = ROUND) -> ShareSum:
    shares = ShareSum(round_, holder)
    for client in clients:
        shares.add(client.name, client.shares[holder - 1])
    return shares


def partials(
    clients: Sequence[Client], holders: Sequence[int] = HOLDERS, round_: Round = ROUND
) -> dict[int, bytes]:
    total = summed(clients, round_)
    return {j: partial(total, shares_of(clients, j, round_), 1) for j in holders}


def answers(
    clients: Sequence[Client], holders: Sequence[int] = HOLDERS, round_: Round = ROUND
) -> Mapping[int, bytes]:
    """What the holders say to a check of these clients' dealings as one group."""
    dealings = [client.dealing for client in clients]
    return {
        j: check_partial(round_, j, dealings, [client.shares[j - 1] for client in clients])
        for j in holders
    }


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    """`data` with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)
