"""The check that a client dealt one polynomial of low degree, and of the key that it encrypts with.

With each share f(j) a holder has a share y(j) of 128 numbers, y(0) uniform in [-2^44, 2^44). P is a
random 128 x n matrix of zeros and ones that follows from the dealing and the check polynomial b,
so nobody knew it before both were fixed. Holder j answers for each client with

    h_j = P coef(A_check f(j)) + y(j)    modulo each prime.

All answers must lie on one polynomial of degree below t, exactly, and at 0, where it is
P coef(A_check s) + y(0), it must come close to -P coef(b): then A_check s + b is small, s is the
key of b, and any t of the holders that answered open alike. Each answer is a share of the value at
0, so that value is all that fewer than t holders learn: P e hidden by y(0).

Each set of n - t + 1 holders has a seed from each client as well, of which the noise is made that
hides a sum's errors when it is opened. Their hashes stand beside b, and a holder's answer names
those of its own seeds.
docs/decisions/0015 has the argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import (
    check_mask,
    holder_sets,
    masks_from_seed,
    seed_tag,
    share_from_seed,
)
from zkai.he.parameters import CHECK_BITS, ID_BYTES, MASKS, RING, Round
from zkai.he.projection import Projection, largest
from zkai.he.ring import first
from zkai.he.shamir import HolderSet, check_points, modular_weights
from zkai.he.wire import Kind, derive, frame, open_frame

_WORDS_BYTES = native.polynomial_bytes(MASKS)


@dataclass(frozen=True)
class Dealing:
    """What everybody sees of one client's dealing: its key, the digest of its sealed shares, b."""

    key: bytes
    digest: bytes
    check: bytes


@dataclass(frozen=True)
class Share:
    """What a client dealt to one holder: secret.

    polynomial (L, n) in NTT form, mask (L, 128), and a seed for each set that the holder is in.
    """

    polynomial: Limbs = field(repr=False)
    mask: Limbs = field(repr=False)
    seeds: Mapping[HolderSet, bytes] = field(repr=False)


def open_share(round_: Round, holder: int, key: bytes, data: bytes) -> Share:
    """Return what a client dealt to a holder.

    Raises InvalidInput for bytes that are no share of that key, in this round, for this holder.
    """
    parameters = round_.parameters
    check_points([holder], parameters.holders, "share")
    seeded = holder < parameters.threshold
    kind, size = Kind.SHARE_SEED if seeded else Kind.SHARE, parameters.share_bytes(holder)
    subject, body = open_frame(data, kind, round_, size - 80, "share", holder)
    if subject != key:
        raise InvalidInput(f"share: of key {subject.hex()[:16]}, not of {key.hex()[:16]}")
    sets = holder_sets(round_, holder)
    at = len(body) - ID_BYTES * len(sets)
    seeds = {each: bytes(body[at + ID_BYTES * i :][:ID_BYTES]) for i, each in enumerate(sets)}
    if seeded:
        seed = bytes(body[:at])
        return Share(share_from_seed(seed), masks_from_seed(seed), seeds)
    middle = RING.polynomial_bytes
    polynomial = first(RING.unpack(body[:middle], 1, "share"))
    return Share(polynomial, first(native.unpack(MASKS, body[middle:at], 1, "share")), seeds)


def open_check(
    round_: Round, data: bytes, what: str
) -> tuple[bytes, Limbs, dict[HolderSet, bytes]]:
    """Return (key, polynomial (1, L, n), hashes of seeds by set) of a check polynomial's bytes.

    Raises InvalidInput, naming `what`, for bytes that are none.
    """
    subject, body = open_frame(data, Kind.CHECK, round_, round_.parameters.check_bytes - 80, what)
    middle, sets = RING.polynomial_bytes, holder_sets(round_)
    tags = {each: bytes(body[middle + ID_BYTES * i :][:ID_BYTES]) for i, each in enumerate(sets)}
    return subject, RING.unpack(body[:middle], 1, what), tags


def check_partial(
    round_: Round, holder: int, dealings: Sequence[Dealing], shares: Sequence[bytes]
) -> bytes:
    """Return a holder's answer to the check of a list of dealings, given its shares of them.

    The caller must have from the client itself, signed and once in a round, what each dealing says:
    two answers from one share for different digests or check polynomials would give away the key.

    Raises InvalidInput for shares that do not belong to the dealings.
    """
    if len(dealings) != len(shares):
        raise InvalidInput("dealing check: expected one share for each dealing")
    group = list_identifier(round_, dealings)
    parts = []
    for dealing, data in zip(dealings, shares, strict=True):
        share = open_share(round_, holder, dealing.key, data)
        product = RING.multiply(check_mask(round_, dealing.key, dealing.digest), share.polynomial)
        words = _projection(round_, dealing).apply(RING, product)
        answer = native.operate(MASKS, "add", words, share.mask)
        tags = [seed_tag(round_, dealing.key, seed) for _, seed in sorted(share.seeds.items())]
        parts.append(native.pack(MASKS, answer) + b"".join(tags))
    return frame(Kind.CHECK_PARTIAL, round_, group, b"".join(parts), holder)


def verify_dealings(
    round_: Round, dealings: Sequence[Dealing], answers: Mapping[int, bytes]
) -> None:
    """Check a list of dealings against the answers of holders, by number: t of them or more.

    Afterwards every t of these holders open the sum of these clients' ciphertexts alike, and no
    other holder may take part. The client of a dealing that fails is left out. A holder that stands
    apart in many dealings has answered wrongly; in one dealing it may have got a bad share.

    Raises VerificationError, naming the first client whose dealing fails and the holders that stand
    apart in it; InvalidInput for unusable bytes.
    """
    found = consistent_holders(round_, dealings, answers)
    for dealing, consistent in zip(dealings, found, strict=True):
        name = f"dealing of {dealing.key.hex()[:16]}"
        if not consistent:
            raise VerificationError(f"{name}: the shares are not of the key that encrypts")
        apart = sorted(set(answers) - consistent)
        if apart:
            raise VerificationError(
                f"{name}: the shares or answers of holders {apart} do not fit the others'"
            )


def consistent_holders(
    round_: Round, dealings: Sequence[Dealing], answers: Mapping[int, bytes]
) -> tuple[frozenset[int], ...]:
    """Return for each dealing the largest set of t holders or more that answered alike.

    Their answers fit each other and the check polynomial; empty where there is no such set.
    """
    parameters = round_.parameters
    check_points(sorted(answers), parameters.holders, "dealing check")
    if len(answers) < parameters.threshold:
        raise InvalidInput(f"dealing check: expected {parameters.threshold} answers or more")
    name = list_identifier(round_, dealings)
    bodies = {}
    size = parameters.answer_bytes(len(dealings)) - 80
    for holder, data in answers.items():
        what = f"dealing check of holder {holder}"
        subject, body = open_frame(data, Kind.CHECK_PARTIAL, round_, size, what, holder)
        if subject != name:
            raise InvalidInput(f"{what}: of another list of dealings")
        bodies[holder] = body
    each, found = size // len(dealings), []
    for i, dealing in enumerate(dealings):
        parts = {j: body[i * each : (i + 1) * each] for j, body in bodies.items()}
        found.append(_Answers.read(round_, dealing, parts).consistent())
    return tuple(found)


def list_identifier(round_: Round, dealings: Sequence[Dealing]) -> bytes:
    """Return the name of a list: SHA-256 of round, keys, digests and checks, in order."""
    if len({dealing.key for dealing in dealings}) != len(dealings) or not dealings:
        raise InvalidInput("dealing check: expected distinct keys, at least one")
    if len(dealings) > round_.parameters.clients:
        raise InvalidInput("dealing check: more dealings than the round has clients")
    parts = [part for d in dealings for part in (d.key, d.digest, sha256(d.check))]
    return derive("dealings", round_.seed, *parts)


def _projection(round_: Round, dealing: Dealing) -> Projection:
    """Return P: it depends on the check polynomial too, which could be fitted to it otherwise."""
    seed = derive("projection", list_identifier(round_, [dealing]))
    return Projection.from_seed(seed, RING.n)


@dataclass(frozen=True)
class _Answers:
    """P coef(b), and the words (L, 128) of the holders whose seeds are the published ones."""

    threshold: int
    check: Limbs
    words: Mapping[int, Limbs]

    @classmethod
    def read(cls, round_: Round, dealing: Dealing, parts: Mapping[int, memoryview]) -> _Answers:
        what = f"check polynomial of {dealing.key.hex()[:16]}"
        subject, check, tags = open_check(round_, dealing.check, what)
        if subject != dealing.key:
            raise InvalidInput(f"{what}: of key {subject.hex()[:16]}")
        words = {}
        for j, part in parts.items():
            found = first(
                native.unpack(MASKS, part[:_WORDS_BYTES], 1, f"dealing check of holder {j}")
            )
            if part[_WORDS_BYTES:] == b"".join(tag for each, tag in tags.items() if j in each):
                words[j] = found
        projected = _projection(round_, dealing).apply(RING, first(RING.ntt(check)))
        return cls(round_.parameters.threshold, projected, words)

    def consistent(self) -> frozenset[int]:
        """Return the largest consistent set: trying the holders in order settles most cases."""
        best: frozenset[int] = frozenset()
        for points in combinations(sorted(self.words), self.threshold):
            close = native.operate(MASKS, "add", self._at(points, 0), self.check)
            if largest(RING, close) > 1 << CHECK_BITS:
                continue
            others = [k for k in self.words if k not in points]
            found = {k for k in others if np.array_equal(self._at(points, k), self.words[k])}
            agreed = frozenset(found | set(points))
            if len(agreed) == len(self.words):
                return agreed
            best = max(best, agreed, key=len)
        return best

    def _at(self, points: tuple[int, ...], at: int) -> Limbs:
        rows = np.stack([self.words[j] for j in points])
        return native.combine(MASKS, rows, modular_weights(RING, points, at))
