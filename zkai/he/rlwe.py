"""Threshold additive RLWE: a committee opens the sum of many clients' integers, and nothing else.

    round = Round(RlweParameters.choose(clients, t, n), session, number, values)
    client:     key = ClientKey(round); key.encrypt(values); key.deal(); key.check(digest)
    holders:    check_partial(...); verify_dealings(...)         every client dealt soundly
    aggregator: total = CiphertextSum(round); total.add(...)     and every holder again
    holders:    shares = ShareSum(round, j); shares.add(...); partial(total, shares, active, k)
    anybody:    fuse(total, partials, active)                    the exact sums, int64

The sum over the recorded set S and the active holders T satisfies

    sum over S of c_m + sum over T of (lambda_j share_j A_m + smudge_j + zero_j) = Delta m + noise.

Who signs what, and when a holder may answer, is zkai.federated's part. docs/aggregation.md and
docs/decisions/0015 describe the scheme.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from zkai import native_rlwe as native
from zkai.encoding import Limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import ClientKey, Opening, check_mask, check_seed, masks
from zkai.he.dealing import (
    Dealing,
    Share,
    check_partial,
    consistent_holders,
    open_check,
    open_share,
    verify_dealings,
)
from zkai.he.packing import unpack_values
from zkai.he.parameters import RING, RlweParameters, Round
from zkai.he.ring import first
from zkai.he.shamir import check_points, modular_weights
from zkai.he.sums import CiphertextSum, fingerprint, verify_fingerprints
from zkai.he.wire import Kind, Stream, derive, frame, open_polynomials, subject_of
from zkai.native import Int64s

__all__ = [
    "RING",
    "CiphertextSum",
    "ClientKey",
    "Dealing",
    "Opening",
    "RlweParameters",
    "Round",
    "Share",
    "ShareSum",
    "check_mask",
    "check_partial",
    "check_seed",
    "consistent_holders",
    "fingerprint",
    "fuse",
    "masks",
    "open_check",
    "open_share",
    "opening_identifier",
    "partial",
    "subject_of",
    "verify_dealings",
    "verify_fingerprints",
]


class ShareSum:
    """A holder's sum of the shares that the clients of a set dealt to it: secret, used once.

    A key enters once. `wipe` ends it.
    """

    def __init__(self, round_: Round, holder: int) -> None:
        check_points([holder], round_.parameters.holders, "holder")
        self.round, self.holder = round_, holder
        self._keys: set[bytes] = set()
        self._total: Limbs | None = RING.zeros(1)
        self._pairs: dict[int, dict[bytes, bytes]] = {}

    def __repr__(self) -> str:
        return f"ShareSum(holder {self.holder}, {len(self._keys)} keys)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sum of shares is never copied or stored")

    @property
    def keys(self) -> frozenset[bytes]:
        """The identifiers of the keys whose shares are in the sum."""
        return frozenset(self._keys)

    def add(self, key: bytes, share: bytes) -> None:
        """Add the share that `key` dealt to this holder. Raises InvalidInput as `open_share`."""
        if self._total is None:
            raise InvalidInput("sum of shares: it has been used")
        if key in self._keys:
            raise InvalidInput(f"sum of shares: key {key.hex()[:16]} is in it already")
        opened = open_share(self.round, self.holder, key, share)
        RING.add(self._total, opened.polynomial[None], out=self._total)
        opened.polynomial.fill(0)
        self._keys.add(key)
        for holder, seed in opened.pairs.items():
            self._pairs.setdefault(holder, {})[key] = seed

    def take(self) -> tuple[Limbs, dict[int, bytes]]:
        """Return the sum (L, n) and the keys with each other holder, and forget them.

        The key of a pair is SHA-256 of what all clients dealt to it. Raises InvalidInput when the
        sum was taken before.
        """
        if self._total is None:
            raise InvalidInput("sum of shares: it has been used; a holder answers once a round")
        pairs = {
            holder: derive("pair-key", *(part for item in sorted(seeds.items()) for part in item))
            for holder, seeds in self._pairs.items()
        }
        total = first(self._total)
        self._total, self._pairs = None, {}
        return total, pairs

    def wipe(self) -> None:
        """Forget the sum."""
        if self._total is not None:
            self._total.fill(0)
        self._total, self._pairs = None, {}


def partial(total: CiphertextSum, shares: ShareSum, active: Sequence[int], minimum: int) -> bytes:
    """Return a holder's partial decryption of a sum that the holder added up itself.

    d_m = lambda_j share_j A_m + smudge + zero, lambda_j for the active holders (t of them, this one
    among them), smudge uniform in [-2^b, 2^b) from the system's randomness, and a share of zero: a
    uniform polynomial for each other active holder, added by one and subtracted by the other. So
    the partials say nothing but their sum. The share sum is used up.

    Raises InvalidInput if the sum and the shares are not of the same keys, for fewer than `minimum`
    keys, and for an active set that is none.
    """
    round_ = total.round
    points = _active(round_, active)
    if shares.round != round_ or shares.holder not in points:
        raise InvalidInput("partial: the shares are of another round, or of no active holder")
    if total.keys != shares.keys:
        raise InvalidInput("partial: the sum and the shares are not of the same client keys")
    if len(total.keys) < max(minimum, 1):
        raise InvalidInput(f"partial: the sum is of {len(total.keys)} clients, not of {minimum}")
    secret, pairs = shares.take()
    position = points.index(shares.holder)
    weights = modular_weights(RING, points, 0)[position : position + 1]
    key = RING.combine(secret[None], weights)
    secret.fill(0)
    seed = os.urandom(native.SEED_BYTES)
    noise = RING.smudge(seed, Stream.SMUDGE, round_.polynomials, round_.parameters.smudge_bits)
    body = native.mask(RING.tables, key, (round_.seed, int(Stream.MASK), 0), noise)
    key.fill(0)
    noise.fill(0)
    subject = opening_identifier(total, points)
    for other in points:
        if other != shares.holder:
            seed = derive("zero", pairs[other], subject)
            zero = RING.uniform(seed, Stream.ZERO, 0, round_.polynomials)
            (RING.add if shares.holder < other else RING.subtract)(body, zero, out=body)
    return frame(Kind.PARTIAL, round_, subject, RING.pack(body), shares.holder)


def fuse(total: CiphertextSum, partials: Mapping[int, bytes], active: Sequence[int]) -> Int64s:
    """Return the sums (values,) of the clients' integers, from the active holders' partials.

    Raises InvalidInput for partials of another sum or active set, or unusable bytes;
    VerificationError if the noise is larger than honest shares give, or the sums overflow.
    """
    round_, parameters = total.round, total.round.parameters
    points = _active(round_, active)
    if set(partials) != set(points):
        raise InvalidInput(f"fuse: expected the partials of holders {points}")
    subject = opening_identifier(total, points)
    opened = total.residues
    for holder, data in partials.items():
        what = f"partial of holder {holder}"
        found, body = open_polynomials(data, Kind.PARTIAL, round_, round_.polynomials, what, holder)
        if found != subject:
            raise InvalidInput(f"{what}: of another sum, or for other active holders")
        RING.add(opened, body, out=opened)
    messages, noise = native.round_off(RING.tables, opened, parameters.delta)
    if max(noise) > parameters.noise_bound:
        raise VerificationError("fuse: the partials do not open this sum: the noise is too large")
    bits, count = parameters.value_bits, parameters.values_per_coefficient
    return unpack_values(messages, round_.values, bits, count)


def opening_identifier(total: CiphertextSum, active: Sequence[int]) -> bytes:
    """Return the name of the opening of a sum by these holders: the subject of its partials."""
    points = _active(total.round, active)
    numbers = (j.to_bytes(32, "big") for j in points)
    return derive("opening", total.identifier, total.digest, *numbers)


def _active(round_: Round, active: Sequence[int]) -> tuple[int, ...]:
    parameters = round_.parameters
    points = check_points(sorted(active), parameters.holders, "active holders")
    if len(points) != parameters.threshold:
        raise InvalidInput(f"active holders: expected {parameters.threshold}, got {len(points)}")
    return points
