"""Sums of ciphertexts: what the aggregator makes and what every key holder makes again.

One ciphertext at a time, so memory is one sum's. The sum of a cluster is a sum like any other:
clusters merge into the global one, and only that is ever opened.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.parameters import ID_BYTES, RING, Round
from zkai.he.wire import Kind, Stream, derive, frame, open_polynomials, set_identifier

CHALLENGES = 3
"""Random combinations in a fingerprint: two different ciphertexts agree in all with 2^-162."""


class CiphertextSum:
    """The running sum of a round's ciphertexts, with the keys that are in it.

    A key enters once, and no more keys than the parameters allow: InvalidInput otherwise.
    """

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self._keys: set[bytes] = set()
        self._residues = RING.zeros(round_.polynomials)
        self._digest: bytes | None = None

    @property
    def keys(self) -> frozenset[bytes]:
        """The identifiers of the client keys whose ciphertexts are in the sum."""
        return frozenset(self._keys)

    @property
    def identifier(self) -> bytes:
        """The name of the set of keys."""
        return set_identifier(self.round, self.keys)

    @property
    def residues(self) -> Limbs:
        """The sum (polynomials, L, n) in coefficient form; a copy."""
        return self._residues.copy()

    def add(self, ciphertext: bytes, key: bytes | None = None) -> bytes:
        """Add one ciphertext and return its key's identifier, which must be `key` if that is given.

        Raises InvalidInput for bytes that are no canonical ciphertext of this round.
        """
        what = "ciphertext"
        count = self.round.polynomials
        found, residues = open_polynomials(ciphertext, Kind.CIPHERTEXT, self.round, count, what)
        if key is not None and found != key:
            raise InvalidInput(f"{what}: of key {found.hex()[:16]}, not of {key.hex()[:16]}")
        self._enter(frozenset([found]))
        RING.add(self._residues, residues, out=self._residues)
        return found

    def merge(self, other: CiphertextSum) -> None:
        """Add another sum of the same round with other keys."""
        if other.round != self.round:
            raise InvalidInput("sum: of another round")
        self._enter(other.keys)
        RING.add(self._residues, other._residues, out=self._residues)

    def to_bytes(self) -> bytes:
        """Return the sum as bytes; the keys are named by the set's identifier only."""
        return frame(Kind.SUM, self.round, self.identifier, RING.pack(self._residues))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the sum's bytes."""
        if self._digest is None:
            self._digest = sha256(self.to_bytes())
        return self._digest

    @classmethod
    def from_bytes(cls, round_: Round, data: bytes, keys: Iterable[bytes]) -> CiphertextSum:
        """Read a sum that claims to be of these keys.

        Raises InvalidInput for bytes that are no canonical sum, or name another set.
        """
        total = cls(round_)
        listed = list(keys)
        total._enter(frozenset(listed))
        if len(total._keys) != len(listed):
            raise InvalidInput("sum: a key is listed twice")
        name, total._residues = open_polynomials(data, Kind.SUM, round_, round_.polynomials, "sum")
        if name != total.identifier:
            raise InvalidInput("sum: it is not of the keys that are listed")
        return total

    def _enter(self, keys: frozenset[bytes]) -> None:
        if any(len(key) != ID_BYTES for key in keys):
            raise InvalidInput(f"sum: keys are named by {ID_BYTES} bytes")
        twice = self._keys & keys
        if twice:
            raise InvalidInput(f"sum: key {min(twice).hex()[:16]} is in it already")
        if len(self._keys) + len(keys) > self.round.parameters.clients:
            raise InvalidInput(
                f"sum: more than {self.round.parameters.clients} clients could overflow it"
            )
        self._keys |= keys
        self._digest = None


def fingerprint(round_: Round, data: bytes, challenge: bytes) -> tuple[tuple[int, ...], ...]:
    """Return random linear combinations of all residues of a ciphertext or sum: (3, L) integers.

    They are linear: those of a sum are the sums, modulo each prime, of its ciphertexts'. The
    challenge (32 bytes) must be fixed after the ciphertexts, so that nobody could fit them to it.

    Raises InvalidInput for bytes that are no ciphertext or sum of this round.
    """
    kind = Kind.SUM if data[8:12] == int(Kind.SUM).to_bytes(4, "big") else Kind.CIPHERTEXT
    count = round_.polynomials
    _, residues = open_polynomials(data, kind, round_, count, "fingerprint")
    rows = []
    for number in range(CHALLENGES):
        seed = derive("challenge", challenge, number.to_bytes(32, "big"))
        products = RING.multiply(residues, RING.uniform(seed, Stream.CHALLENGE, 0, count))
        low = (products & np.uint64(0xFFFFFFFF)).sum(axis=(0, 2), dtype=np.uint64)
        high = (products >> np.uint64(32)).sum(axis=(0, 2), dtype=np.uint64)
        sums = [int(a) + (int(b) << 32) for a, b in zip(low, high, strict=True)]
        rows.append(tuple(s % q for s, q in zip(sums, RING.primes, strict=True)))
    return tuple(rows)


def verify_fingerprints(
    parts: Iterable[tuple[tuple[int, ...], ...]], total: tuple[tuple[int, ...], ...]
) -> None:
    """Check that a sum's fingerprint is the sum of its ciphertexts'. Raises VerificationError."""
    sums = [[0] * len(RING.primes) for _ in range(CHALLENGES)]
    for part in parts:
        for row, found in zip(sums, part, strict=True):
            for l, value in enumerate(found):  # noqa: E741 - the prime's number
                row[l] = (row[l] + value) % RING.primes[l]
    if tuple(tuple(row) for row in sums) != total:
        raise VerificationError("the sum is not the sum of its ciphertexts")
