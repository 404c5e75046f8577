"""The check that a client dealt one polynomial of low degree, and of the key that it encrypts with.

For a group of clients i each holder j answers once with

    P_j = sum over i of r_i share_ij A_check,i + z_j,    z_j uniform in [-2^b, 2^b),

r_i = 1 in a group of one, else 16 signed monomials that follow from the whole group. Then for the
shares f_i(j) of one polynomial each, with integers d and w_j of `whole_weights`,

    d P_k - sum over T of w_j P_j                  is small for every holder k outside T (degree),
    d sum over i of r_i b_i + sum over T of w_j P_j    is small (f_i(0) is the key of b_i).

The weights go on after the noise, and the answer is the same whichever sets T it is used for and
however often it is asked for: there is nothing to average. A_check,i was not known when the shares
were sealed. docs/decisions/0015 has the argument and its bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import check_mask, share_from_seed
from zkai.he.parameters import CHECK_BITS, CHECK_WEIGHT, ID_BYTES, RING, Round
from zkai.he.ring import first
from zkai.he.shamir import check_points, whole_weights
from zkai.he.wire import Kind, Stream, derive, frame, open_frame, open_polynomials


@dataclass(frozen=True)
class Dealing:
    """What everybody sees of one client's dealing: its key, the digest of its sealed shares, b."""

    key: bytes
    digest: bytes
    check: bytes


def open_share(round_: Round, holder: int, key: bytes, data: bytes) -> Limbs:
    """Return the share (L, n), in NTT form, that a client dealt to a holder.

    Raises InvalidInput for bytes that are no share of that key, in this round, for this holder.
    """
    parameters = round_.parameters
    check_points([holder], parameters.holders, "share")
    if holder < parameters.threshold:
        subject, seed = open_frame(data, Kind.SHARE_SEED, round_, ID_BYTES, "share", holder)
        share = share_from_seed(bytes(seed))
    else:
        subject, shares = open_polynomials(data, Kind.SHARE, round_, 1, "share", holder)
        share = shares[0]
    if subject != key:
        raise InvalidInput(f"share: of key {subject.hex()[:16]}, not of {key.hex()[:16]}")
    return share


def check_partial(
    round_: Round, holder: int, dealings: Sequence[Dealing], shares: Sequence[bytes]
) -> bytes:
    """Return a holder's answer P_j to the check of a group of dealings, given its shares of them.

    The noise follows from the shares, so a second answer is the first.

    Raises InvalidInput for shares that do not belong to the dealings.
    """
    if len(dealings) != len(shares):
        raise InvalidInput("dealing check: expected one share for each dealing")
    group = group_identifier(round_, dealings)
    total = RING.zeros(1)
    secret = hashlib.sha256()
    for i, (dealing, data) in enumerate(zip(dealings, shares, strict=True)):
        share = open_share(round_, holder, dealing.key, data)
        secret.update(hashlib.sha256(data).digest())
        product = RING.multiply(check_mask(round_, dealing.key, dealing.digest), share)
        RING.add(total, _weighted(product, group, i, len(dealings))[None], out=total)
    seed = derive("check-smudge", secret.digest(), group, holder.to_bytes(32, "big"))
    bits = round_.parameters.check_smudge_bits
    noise = RING.smudge(seed, Stream.CHECK_SMUDGE, 1, bits)
    answer = RING.add(RING.coefficients(total), RING.small(noise))
    return frame(Kind.CHECK_PARTIAL, round_, group, RING.pack(answer), holder)


def verify_dealings(
    round_: Round, dealings: Sequence[Dealing], answers: Mapping[int, bytes]
) -> None:
    """Check a group of dealings against the answers of holders, by number: t of them or more.

    Afterwards every t of these holders open the sum of these clients' ciphertexts alike, and no
    other holder may take part. Where a group fails, check its clients one by one: who fails is left
    out. A holder that stands apart in many dealings has answered wrongly; in one dealing it may
    have got a bad share.

    Raises VerificationError, naming the holders whose answers stand apart if some do, when the
    dealings are not sound; InvalidInput for unusable bytes.
    """
    group = _Group.read(round_, dealings, answers)
    consistent = group.consistent()
    if len(consistent) == len(answers):
        return
    apart = sorted(set(answers) - consistent)
    names = ", ".join(dealing.key.hex()[:16] for dealing in dealings[:3])
    if consistent:
        raise VerificationError(
            f"dealing of {names}: the shares or answers of holders {apart} do not fit the others'"
        )
    raise VerificationError(f"dealing of {names}: the shares are not of the key that encrypts")


def consistent_holders(
    round_: Round, dealings: Sequence[Dealing], answers: Mapping[int, bytes]
) -> frozenset[int]:
    """Return the largest set of holders, of at least t, whose answers fit each other and b."""
    return _Group.read(round_, dealings, answers).consistent()


def group_identifier(round_: Round, dealings: Sequence[Dealing]) -> bytes:
    """Return the name of a group: SHA-256 of round, keys, digests and checks, in order."""
    if len({dealing.key for dealing in dealings}) != len(dealings) or not dealings:
        raise InvalidInput("dealing check: expected distinct keys, at least one")
    if len(dealings) > round_.parameters.clients:
        raise InvalidInput("dealing check: more dealings than the round has clients")
    parts = [part for d in dealings for part in (d.key, d.digest, sha256(d.check))]
    return derive("group", round_.seed, *parts)


def _weighted(product: Limbs, group: bytes, client: int, size: int) -> Limbs:
    """Return r_i times a polynomial (L, n) in NTT form; r_i follows from the group's name."""
    if size == 1:
        return product
    stream = hashlib.shake_256(derive("weight", group, client.to_bytes(32, "big")))
    draws = np.frombuffer(stream.digest(2 * CHECK_WEIGHT), dtype="<u2").astype(np.int64)
    weight = np.zeros((1, RING.n), dtype=np.int64)
    np.add.at(weight[0], draws % RING.n, 1 - 2 * (draws // RING.n % 2))
    return RING.multiply(product, first(RING.ntt(RING.small(weight))))


@dataclass(frozen=True)
class _Group:
    """The sum of a group's check polynomials (L, n) and the answers, by holder."""

    threshold: int
    check: Limbs
    answers: Mapping[int, Limbs]

    @classmethod
    def read(
        cls, round_: Round, dealings: Sequence[Dealing], answers: Mapping[int, bytes]
    ) -> _Group:
        parameters = round_.parameters
        check_points(sorted(answers), parameters.holders, "dealing check")
        if len(answers) < parameters.threshold:
            raise InvalidInput(f"dealing check: expected {parameters.threshold} answers or more")
        name = group_identifier(round_, dealings)
        total = RING.zeros(1)
        for i, dealing in enumerate(dealings):
            what = f"check polynomial of {dealing.key.hex()[:16]}"
            subject, check = open_polynomials(dealing.check, Kind.CHECK, round_, 1, what)
            if subject != dealing.key:
                raise InvalidInput(f"{what}: of key {subject.hex()[:16]}")
            weighted = _weighted(first(RING.ntt(check)), name, i, len(dealings))
            RING.add(total, weighted[None], out=total)
        opened = {}
        for holder, data in answers.items():
            what = f"dealing check of holder {holder}"
            kind = Kind.CHECK_PARTIAL
            subject, answer = open_polynomials(data, kind, round_, 1, what, holder)
            if subject != name:
                raise InvalidInput(f"{what}: of another group of dealings")
            opened[holder] = first(answer)
        return cls(parameters.threshold, first(RING.coefficients(total)), opened)

    def consistent(self) -> frozenset[int]:
        """Return the largest consistent set: trying the holders in order settles most cases."""
        best: frozenset[int] = frozenset()
        for points in combinations(sorted(self.answers), self.threshold):
            if not self._fits(points, 0):
                continue
            others = [k for k in self.answers if k not in points]
            found = frozenset(points) | {k for k in others if self._fits(points, k)}
            if len(found) == len(self.answers):
                return found
            best = max(best, found, key=len)
        return best

    def _fits(self, points: tuple[int, ...], at: int) -> bool:
        """Tell whether the answers of `points` give that of holder `at`, or -b for at = 0."""
        d, found = whole_weights(points, at)
        rows = [self.answers[j] for j in points] + [self.answers[at] if at else self.check]
        terms = RING.zeros(1, len(rows))
        for k, row in enumerate(rows):
            terms[0, k] = row
        relation = RING.combine(terms, RING.residues([*found, -d if at else d]))
        return RING.largest(relation) <= 1 << CHECK_BITS
