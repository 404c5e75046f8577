"""Threshold additive RLWE: a committee opens the sum of many clients' integers, and nothing else.

    round = Round(RlweParameters.choose(clients, t, n), session, number, values)
    client:     key = ClientKey(round); key.encrypt(values); key.deal(); key.check(digest)
    holders:    check_partial(...); verify_dealings(...)         every client dealt soundly
    aggregator: total = CiphertextSum(round); total.add(...)     and every holder again
    holders:    shares = ShareSum(round, j); shares.add(...); partial(total, shares, minimum)
    anybody:    fuse(total, partials).values                     the exact sums, int64

For the recorded set S, with F = sum over S of f_i, the holders' parts are shares themselves:

    D_m(j) = A_m F(j) + sum over sets H of holders of L_H(j) r_H,m,    L_H(0) = 1, degree t - 1,

r_H being noise that the n - t + 1 holders in H draw from the seeds that the clients dealt them, and
L_H = 0 at all others. So D_m has degree below t, any t parts give all others, and parts that do not
fit are seen (`zkai.he.agreement`). sum over S of c_m + D_m(0) = Delta m + noise.

Who signs what, and when a holder may answer, is zkai.federated's part. docs/aggregation.md and
docs/decisions/0015 describe the scheme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.he.agreement import Shortener, agreeing_holders
from zkai.he.client import ClientKey, Opening, check_mask, check_seed, holder_sets, masks
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
from zkai.he.shamir import HolderSet, check_points, modular_weights, set_weight
from zkai.he.sums import CiphertextSum, fingerprint, verify_fingerprints
from zkai.he.wire import Kind, Stream, derive, frame, open_polynomials, subject_of
from zkai.native import Int64s

__all__ = [
    "RING",
    "CiphertextSum",
    "ClientKey",
    "Dealing",
    "Fused",
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
    "holder_sets",
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
        self._seeds: dict[HolderSet, dict[bytes, bytes]] = {}

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
        for members, seed in opened.seeds.items():
            self._seeds.setdefault(members, {})[key] = seed

    def take(self) -> tuple[Limbs, dict[HolderSet, bytes]]:
        """Return the sum (L, n) and the seed of each set of holders, and forget them.

        A set's seed is SHA-256 of what all clients dealt to it. Raises InvalidInput when the sum
        was taken before.
        """
        if self._total is None:
            raise InvalidInput("sum of shares: it has been used; a holder answers once a round")
        seeds = {
            members: derive("noise", *(part for item in sorted(dealt.items()) for part in item))
            for members, dealt in self._seeds.items()
        }
        total = first(self._total)
        self._total, self._seeds = None, {}
        return total, seeds

    def wipe(self) -> None:
        """Forget the sum."""
        if self._total is not None:
            self._total.fill(0)
        self._total, self._seeds = None, {}


def partial(total: CiphertextSum, shares: ShareSum, minimum: int) -> bytes:
    """Return a holder's part of the decryption of a sum that the holder added up itself: D_m(j).

    It follows from the shares alone, so it is the same bytes whenever it is made, whoever else
    opens the sum, and every t parts give the same. The share sum is used up.

    Raises InvalidInput if the sum and the shares are not of the same keys, and for fewer than
    `minimum` keys.
    """
    round_, holder = total.round, shares.holder
    if shares.round != round_:
        raise InvalidInput("partial: the shares are of another round")
    if total.keys != shares.keys:
        raise InvalidInput("partial: the sum and the shares are not of the same client keys")
    if len(total.keys) < max(minimum, 1):
        raise InvalidInput(f"partial: the sum is of {len(total.keys)} clients, not of {minimum}")
    secret, seeds = shares.take()
    nothing = np.zeros((round_.polynomials, RING.n), dtype=np.int64)
    body = native.mask(RING.tables, secret, (round_.seed, int(Stream.MASK), 0), nothing)
    secret.fill(0)
    bits, holders = round_.parameters.smudge_bits, round_.parameters.holders
    weights = np.concatenate([set_weight(RING, each, holders, holder) for each in seeds])
    native.add_noise(RING.tables, body, list(seeds.values()), weights, int(Stream.SMUDGE), bits)
    return frame(Kind.PARTIAL, round_, opening_identifier(total), RING.pack(body), holder)


@dataclass(frozen=True)
class Fused:
    """An opened sum: its values (values,), whose parts agree on it, and whose do not.

    `checked` says that 2t - 1 parts agree: then at most t - 1 corrupt holders did not shift it.
    """

    values: Int64s = field(repr=False)
    agreed: tuple[int, ...]
    apart: tuple[int, ...]
    checked: bool


def fuse(total: CiphertextSum, partials: Mapping[int, bytes]) -> Fused:
    """Return the sums of the clients' integers, from t or more holders' parts.

    A part that is no part of this sum, or does not fit the others, is set apart and its holder
    named.

    Raises InvalidInput if fewer than t holders have a part of this sum; VerificationError if the
    parts contradict each other, if the noise is larger than honest shares give, or if the sums
    overflow.
    """
    round_, parameters = total.round, total.round.parameters
    check_points(sorted(partials), parameters.holders, "partials")
    agreed = agreeing_holders(RING, _shortened(total, partials), parameters.threshold)
    apart = tuple(sorted(set(partials) - set(agreed)))
    base, opened = agreed[: parameters.threshold], total.residues
    for j, weight in zip(base, modular_weights(RING, base, 0), strict=True):
        part = RING.combine(_read(total, j, partials[j])[:, None], weight[None])
        RING.add(opened, part, out=opened)
    messages, noise = native.round_off(RING.tables, opened, parameters.delta)
    checked = len(agreed) >= parameters.checking
    if max(noise) > parameters.noise_bound:
        why = (
            "the parts are right, so a client encrypted under another key than it dealt"
            if checked
            else "a part is wrong, or a client encrypted under another key than it dealt"
        )
        raise VerificationError(f"fuse: the noise is too large: {why}")
    bits, count = parameters.value_bits, parameters.values_per_coefficient
    return Fused(unpack_values(messages, round_.values, bits, count), agreed, apart, checked)


def _shortened(total: CiphertextSum, partials: Mapping[int, bytes]) -> dict[int, Limbs]:
    """Return what parts that are of this sum are compared by. Raises InvalidInput for fewer than t.

    One part at a time, so memory is one part's.
    """
    shortener = Shortener(RING, total.round.polynomials)
    parts, wrong = dict[int, Limbs](), list[str]()
    for holder, data in sorted(partials.items()):
        try:
            parts[holder] = shortener.shorten(_read(total, holder, data))
        except InvalidInput as error:
            wrong.append(str(error))
    threshold = total.round.parameters.threshold
    if len(parts) < threshold:
        needed = f"{threshold} holders' parts are needed, {len(parts)} are there"
        raise InvalidInput("; ".join([f"fuse: {needed}", *wrong]))
    return parts


def _read(total: CiphertextSum, holder: int, data: bytes) -> Limbs:
    """Return a holder's part (m, L, n). Raises InvalidInput for bytes that are none of this sum."""
    what, count = f"partial of holder {holder}", total.round.polynomials
    found, body = open_polynomials(data, Kind.PARTIAL, total.round, count, what, holder)
    if found != opening_identifier(total):
        raise InvalidInput(f"{what}: of another sum")
    return body


def opening_identifier(total: CiphertextSum) -> bytes:
    """Return the name of the opening of a sum: the subject of its parts."""
    return derive("opening", total.identifier, total.digest)
