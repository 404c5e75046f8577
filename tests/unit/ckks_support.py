"""Ceremonies and small parameters for the tests of scheme `ckks`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np

from zkai.he.ckks import Ckks, CkksSum
from zkai.he.committee import Ceremony, start, start_resharing
from zkai.he.joint_key import HolderKey, JointKey
from zkai.he.key_dealing import Dealing, Terms
from zkai.he.seal_file import Chain

SMALL = Chain(4096, (68719230977, 68719403009, 137438822401))
"""SEAL's primes for [36, 36, 37] at n = 4096: quick, with 109 bits as allowed."""

NAMES = ("ann", "bob", "cid", "dan", "eve")
SESSION = bytes(range(32))
SEED = sha256(b"round 1").digest()

Messages = dict[int, dict[int, bytes]]


def terms(chain: Chain = SMALL, session: bytes = SESSION) -> Terms:
    return Terms(chain, 3, NAMES, session)


def dealt(given: Terms, make: Callable[[int], Dealing]) -> dict[int, Dealing]:
    return {dealer: make(dealer) for dealer in given.dealers}


def opened(
    given: Terms, dealings: dict[int, Dealing], joint: JointKey | None = None
) -> tuple[Ceremony, Messages]:
    """A ceremony up to the openings, and each holder's private messages."""
    ceremony = Ceremony(given, joint)
    for dealer, dealing in dealings.items():
        ceremony.commit(dealer, dealing.opening.commitment(given))
    for dealer, dealing in dealings.items():
        ceremony.open(dealer, dealing.opening.to_bytes(given))
    ceremony.close_openings()
    messages = {
        h: {d: dealing.messages[h - 1] for d, dealing in dealings.items()} for h in given.places
    }
    return ceremony, messages


def respond_all(ceremony: Ceremony, messages: Messages) -> list[int]:
    if not ceremony.asked:
        ceremony.close_complaints()
    for holder in list(ceremony.holders):
        ceremony.respond(holder, ceremony.answer(holder, messages[holder]))
    return ceremony.close_responses()


@cache
def committee(chain: Chain = SMALL) -> tuple[JointKey, dict[int, HolderKey]]:
    """A joint key of five holders, three of whom open."""
    given = terms(chain)
    ceremony, messages = opened(given, dealt(given, lambda d: start(given, d)))
    assert respond_all(ceremony, messages) == []
    joint = ceremony.conclude()
    return joint, {h: ceremony.holder_key(h, messages[h]) for h in given.places}


def scheme(**changes: Any) -> Ckks:
    joint, _ = committee()
    given: dict[str, Any] = {
        "values": 3000, "clients": 4, "bound": 2, "threshold": 3, "holders": 5,
        "chain": SMALL, "scale_bits": 62, "smudge_bits": 32,
    }  # fmt: skip
    return Ckks(CkksSum(**given | changes), joint)


@cache
def ciphertexts() -> tuple[np.ndarray[Any, Any], tuple[bytes, ...]]:
    """Three clients' values and what they send in round SEED."""
    values = np.random.default_rng(1).uniform(-2, 2, (3, 3000))
    return values, tuple(scheme().encrypt(SEED, row) for row in values)


def logged(found: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    return [(sha256(data).digest(), data) for data in found]


def reshared(
    given: Terms, joint: JointKey, keys: dict[int, HolderKey]
) -> tuple[Ceremony, Messages]:
    dealings = dealt(given, lambda d: start_resharing(given, keys[d]))
    return opened(given, dealings, joint)
