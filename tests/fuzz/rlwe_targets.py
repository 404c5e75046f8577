"""The parsers of threshold RLWE under fuzzing: what strangers send to aggregators and holders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tests.fuzz.harness import Target
from tests.unit.rlwe_support import ROUND, Client, answers, partials, summed
from zkai.encoding import canonical_json, load_json
from zkai.errors import VerificationError
from zkai.he.rlwe import (
    CiphertextSum,
    RlweParameters,
    fingerprint,
    fuse,
    open_share,
    verify_dealings,
)

ACTIVE = (1, 2, 4)


@lru_cache
def client() -> Client:
    return Client(1)


def ciphertext(folder: Path) -> Target:
    """A ciphertext has one byte form."""

    def use(scratch: Path, data: bytes) -> None:
        total = CiphertextSum(ROUND)
        key = total.add(data)
        fingerprint(ROUND, data, bytes(32))
        if total.to_bytes()[80:] != data[80:] or data[48:80] != key:
            raise AssertionError("a ciphertext has two byte forms")

    return Target("rlwe-ciphertext", (client().ciphertext,), use, slow=True)


def total(folder: Path) -> Target:
    """A sum has one byte form, for the keys that it is of."""
    keys = [client().name]

    def use(scratch: Path, data: bytes) -> None:
        if CiphertextSum.from_bytes(ROUND, data, keys).to_bytes() != data:
            raise AssertionError("a sum has two byte forms")

    return Target("rlwe-sum", (summed([client()]).to_bytes(),), use, slow=True)


def seed_share(folder: Path) -> Target:
    """The share of one of the first holders: a seed."""
    return Target(
        "rlwe-seed-share",
        (client().shares[0],),
        lambda scratch, data: open_share(ROUND, 1, client().name, data),
    )


def full_share(folder: Path) -> Target:
    """The share of one of the others: a polynomial."""
    return Target(
        "rlwe-share",
        (client().shares[3],),
        lambda scratch, data: open_share(ROUND, 4, client().name, data),
    )


def check_answer(folder: Path) -> Target:
    """A holder's answer to a dealing check: no change beyond the noise passes."""
    good = answers([client()])

    def use(scratch: Path, data: bytes) -> None:
        verify_dealings(ROUND, [client().dealing], {**good, 2: data})

    return Target("rlwe-check-answer", (good[2],), use, slow=True)


def partial_decryption(folder: Path) -> Target:
    """A part of the decryption opens this sum, or its holder stands apart, or it is refused."""
    good = partials([client()], ACTIVE)

    def use(scratch: Path, data: bytes) -> None:
        found = fuse(summed([client()]), {**good, 2: data}).values
        if found.shape != client().values.shape:
            raise VerificationError("another number of values")

    return Target("rlwe-partial", (good[2],), use, slow=True)


def parameters(folder: Path) -> Target:
    """Parameters as JSON."""
    seed = canonical_json(ROUND.parameters.to_json())

    def use(scratch: Path, data: bytes) -> None:
        RlweParameters.from_json(load_json(data, "parameters"))

    return Target("rlwe-parameters", (seed,), use, json=True)


RLWE_TARGETS = {
    "rlwe-ciphertext": ciphertext,
    "rlwe-sum": total,
    "rlwe-seed-share": seed_share,
    "rlwe-share": full_share,
    "rlwe-check-answer": check_answer,
    "rlwe-partial": partial_decryption,
    "rlwe-parameters": parameters,
}
