"""One dealer's part of a key: a value shared among holders, in messages of exact size.

    opening   what all may read: digests of the private messages and of the sets' seeds, and in a
              key generation b = -(a s + e). Its SHA-256 is the commitment that is logged first.
    share     what one holder gets: f(j), its share of the dealer's mask, and a seed for each set
              of holders that it belongs to.
    response  what a holder says of each dealer, once P is known:
              [P coef(f(j)), P coef(a f(j))] + mask(j), exact modulo each prime.

`verify_dealing` reads the responses: see zkai.he.projection for why they suffice.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from zkai.encoding import Limbs, canonical_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.projection import ROWS, Projection, interpolate, largest
from zkai.he.ring import Ring
from zkai.he.seal_file import Chain
from zkai.he.shamir import MAX_HOLDERS, HolderSet, holder_sets, set_mask
from zkai.he.shamir import deal as shamir_deal

MAX_NAME = 128
MASK_BITS = 50
"""The mask of a projection is uniform in [-2**50, 2**50)."""
BOUND = 1 << (MASK_BITS + 1)
"""What a projection of an honest dealer stays below: 2**50 and at most 21 N < 2**21."""

_DOMAIN = b"zkai/he/key-dealing/1/"
_SEED = 32
_SHARE_HEAD = struct.Struct("<32sHH")
_OPENING_HEAD = struct.Struct("<32sH32s")
_RESPONSE_HEAD = struct.Struct("<32sHH")


@dataclass(frozen=True)
class Terms:
    """What a ceremony's parties agree on before it begins.

    `holders` are the names of those who shall hold the key, numbered from 1. In a key generation
    they are the dealers too. In a resharing, `renews` is the key's id and `dealers` are `threshold`
    of its old holders by their old numbers.

    Raises InvalidInput for names that repeat, and unless 2 <= t and 2 t - 1 <= n <= 10: with fewer
    holders, t - 1 corrupt ones leave too few honest to tell a good dealing from a bad one.
    """

    chain: Chain
    threshold: int
    holders: tuple[str, ...]
    session: bytes
    renews: bytes = b""
    old_holders: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.holders)
        if not self.threshold >= 2 or not 2 * self.threshold - 1 <= n <= MAX_HOLDERS:
            raise InvalidInput(
                f"terms: {self.threshold} of {n} holders: expected 2 <= t, 2 t - 1 <= n <= 10"
            )
        for names in (self.holders, tuple(name for _, name in self.old_holders)):
            if len(set(names)) != len(names) or any(not _is_name(name) for name in names):
                raise InvalidInput(
                    "terms: names must differ and have 1..128 printable ASCII characters"
                )
        if len(self.session) != 32 or len(self.renews) not in (0, 32):
            raise InvalidInput("terms: a session's and a key's id have 32 bytes")
        if bool(self.renews) != bool(self.old_holders):
            raise InvalidInput("terms: a resharing names the key and its old holders")
        places = [place for place, _ in self.old_holders]
        if places != sorted(set(places)) or any(not 1 <= p <= MAX_HOLDERS for p in places):
            raise InvalidInput("terms: old holders stand in order of their numbers, 1..10")

    @property
    def dealers(self) -> dict[int, str]:
        """Who deals, by number."""
        return dict(self.old_holders or enumerate(self.holders, 1))

    @property
    def places(self) -> range:
        """The holders' numbers: 1..n, the points of the shares."""
        return range(1, len(self.holders) + 1)

    @property
    def sets(self) -> list[HolderSet]:
        """The sets of holders that have a seed of their own, in order: all pairs, which make shares
        of zero, and all sets of n - t + 1, which make noise."""
        pairs = combinations(self.places, 2)
        return sorted({*pairs, *holder_sets(self.threshold, len(self.holders))})

    @property
    def digest(self) -> bytes:
        """SHA-256 over everything above."""
        value = {
            "n": self.chain.n,
            "primes": [str(prime) for prime in self.chain.primes],
            "threshold": self.threshold,
            "holders": list(self.holders),
            "session": self.session.hex(),
            "renews": self.renews.hex(),
            "old_holders": [[place, name] for place, name in self.old_holders],
        }
        return sha256(_DOMAIN + b"terms" + canonical_json(value))

    @property
    def ring(self) -> Ring:
        """The ring of keys: all primes."""
        return self.chain.ring

    def common(self) -> Limbs:
        """Return the common polynomial a, (L, n): nobody chose it."""
        common: Limbs = self.ring.uniform(sha256(_DOMAIN + b"a" + self.digest), 0)[0]
        return common

    @property
    def polynomial_bytes(self) -> int:
        """One polynomial at the keys' level."""
        return 8 * len(self.chain.primes) * self.chain.n

    @property
    def response_words(self) -> tuple[int, int]:
        """Shape of what a holder says of one dealer."""
        return len(self.chain.primes), 2 * ROWS


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        return False
    return name.isascii() and name.isprintable()


@dataclass(frozen=True)
class Opening:
    """A dealer's public message; `public` is b in a key generation."""

    dealer: int
    salt: bytes
    shares: tuple[bytes, ...]
    seeds: tuple[bytes, ...]
    public: Limbs | None

    @staticmethod
    def bytes_each(terms: Terms) -> int:
        """The size of an opening."""
        digests = len(terms.holders) + len(terms.sets)
        return _OPENING_HEAD.size + 32 * digests + (0 if terms.renews else terms.polynomial_bytes)

    def to_bytes(self, terms: Terms) -> bytes:
        """Return the message."""
        head = _OPENING_HEAD.pack(terms.digest, self.dealer, self.salt)
        body = b"" if self.public is None else _raw(self.public)
        return head + b"".join(self.shares) + b"".join(self.seeds) + body

    @staticmethod
    def from_bytes(terms: Terms, data: bytes, where: str = "opening") -> Opening:
        """Parse `to_bytes`'s form. Raises InvalidInput, naming `where`, for anything else."""
        digests = len(terms.holders) + len(terms.sets)
        start = _OPENING_HEAD.size
        _expect_size(data, Opening.bytes_each(terms), where)
        digest, dealer, salt = _OPENING_HEAD.unpack_from(data)
        _expect_terms(terms, digest, dealer, where)
        listed = [data[start + 32 * i : start + 32 * i + 32] for i in range(digests)]
        shape = (len(terms.chain.primes), terms.chain.n)
        rest = data[start + 32 * digests :]
        public = None if terms.renews else _words(terms, rest, shape, where)
        n = len(terms.holders)
        return Opening(dealer, salt, tuple(listed[:n]), tuple(listed[n:]), public)

    def commitment(self, terms: Terms) -> bytes:
        """Return what is logged before anybody opens."""
        return sha256(_DOMAIN + b"commitment" + self.to_bytes(terms))


@dataclass(frozen=True)
class Share:
    """What one dealer gave one holder."""

    dealer: int
    holder: int
    value: Limbs = field(repr=False)
    mask: Limbs = field(repr=False)
    seeds: tuple[bytes, ...] = field(repr=False)

    def to_bytes(self, terms: Terms) -> bytes:
        """Return the private message."""
        head = _SHARE_HEAD.pack(terms.digest, self.dealer, self.holder)
        return head + _raw(self.value) + _raw(self.mask) + b"".join(self.seeds)

    @staticmethod
    def bytes_each(terms: Terms) -> int:
        """The size of a private message."""
        mask = 8 * terms.response_words[0] * terms.response_words[1]
        seeds = _SEED * len(sets_of(terms, 1))
        return _SHARE_HEAD.size + terms.polynomial_bytes + mask + seeds

    @staticmethod
    def from_bytes(terms: Terms, opening: Opening, holder: int, data: bytes) -> Share:
        """Parse a private message and hold it against the dealer's opening.

        Raises VerificationError if it is not what the dealer committed to, InvalidInput if it is
        but has another form: both are faults of the dealer.
        """
        where = f"share of dealer {opening.dealer} for holder {holder}"
        if _share_digest(data) != opening.shares[holder - 1]:
            raise VerificationError(f"{where}: not what the dealer committed to")
        _expect_size(data, Share.bytes_each(terms), where)
        digest, dealer, named = _SHARE_HEAD.unpack_from(data)
        _expect_terms(terms, digest, dealer, where)
        if (dealer, named) != (opening.dealer, holder):
            raise InvalidInput(f"{where}: names other parties")
        start, middle = _SHARE_HEAD.size, _SHARE_HEAD.size + terms.polynomial_bytes
        shape = (len(terms.chain.primes), terms.chain.n)
        value = _words(terms, data[start:middle], shape, where)
        end = middle + 8 * int(np.prod(terms.response_words))
        mask = _words(terms, data[middle:end], terms.response_words, where)
        seeds = tuple(data[i : i + _SEED] for i in range(end, len(data), _SEED))
        told = dict(zip(terms.sets, opening.seeds, strict=True))
        for members, seed in zip(sets_of(terms, holder), seeds, strict=True):
            if _seed_digest(terms, members, seed) != told[members]:
                raise VerificationError(f"{where}: a set's seed is not what all were told of")
        return Share(dealer, holder, value, mask, seeds)


@dataclass(frozen=True)
class Dealing:
    """Everything a dealer made: the opening, and a private message for each holder."""

    opening: Opening
    messages: tuple[bytes, ...] = field(repr=False)


def deal(
    terms: Terms, dealer: int, secret: Limbs, public: Limbs | None, blind: Limbs | None = None
) -> Dealing:
    """Share a (L, n) value in NTT form among the holders, masks and sets' seeds with it.

    `blind` (L, 2 ROWS) is added to the mask; the blinds of all dealers add up to zero.

    Raises InvalidInput for a number that is no dealer's.
    """
    if dealer not in terms.dealers:
        raise InvalidInput(f"deal: {dealer} is no dealer of these terms")
    values = share_out(terms, secret)
    padded = np.zeros_like(secret)
    padded[:, : 2 * ROWS] = _mask(terms, blind)
    masks = share_out(terms, padded)[:, :, : 2 * ROWS]
    seeds = {members: os.urandom(_SEED) for members in terms.sets}
    messages = tuple(
        Share(
            dealer, j, values[j - 1], masks[j - 1], tuple(seeds[s] for s in sets_of(terms, j))
        ).to_bytes(terms)
        for j in terms.places
    )
    digests = tuple(_seed_digest(terms, members, seed) for members, seed in seeds.items())
    shares = tuple(_share_digest(message) for message in messages)
    return Dealing(Opening(dealer, os.urandom(32), shares, digests, public), messages)


def share_out(terms: Terms, secret: Limbs) -> Limbs:
    """Return fresh shares (holders, L, n) of a value (L, n): the first t - 1 are random."""
    ring, count = terms.ring, terms.threshold - 1
    free = ring.uniform(os.urandom(_SEED), 0, 0, count)
    return np.concatenate([free, shamir_deal(ring, secret, free, len(terms.holders))])


def _mask(terms: Terms, blind: Limbs | None) -> Limbs:
    """Return 2 ROWS small random integers modulo each prime, with the blind added."""
    drawn = np.frombuffer(os.urandom(16 * ROWS), "<u8") >> np.uint64(64 - MASK_BITS - 1)
    small = drawn.astype(object) - (1 << MASK_BITS)
    extra: Any = 0 if blind is None else blind.astype(object)
    primes = np.array(terms.chain.primes, dtype=object)[:, None]
    return np.asarray(((small + extra) % primes).astype(np.uint64))


def respond(terms: Terms, projection: Projection, common: Limbs, share: Share) -> Limbs:
    """Return what a holder says of a dealer: (L, 2 ROWS)."""
    ring = terms.ring
    plain = projection.apply(ring, share.value)
    product = projection.apply(ring, ring.multiply(share.value, common))
    primes = np.array(terms.chain.primes, dtype=np.uint64)[:, None]
    return (np.concatenate([plain, product], axis=1) + share.mask) % primes


def verify_dealing(
    terms: Terms, projection: Projection, opening: Opening, responses: Mapping[int, Limbs]
) -> Limbs:
    """Return the masked projections of the dealt value, (L, 2 ROWS).

    Raises VerificationError if the responses are not of one polynomial of degree below t, or in a
    key generation if its secret s or error e = -(b + a s) is not small.
    """
    found = interpolate(terms.ring, responses, terms.threshold)
    if found is None:
        raise VerificationError(f"dealer {opening.dealer}: the shares are not of one value")
    if opening.public is not None:
        check_small(terms, projection, opening.public, found, f"dealer {opening.dealer}")
    return found


def check_small(
    terms: Terms, projection: Projection, public: Limbs, found: Limbs, who: str, masks: int = 1
) -> None:
    """Return None if s and e of projections [P s, P a s] are small, for b = -(a s + e).

    `masks` is how many dealers' masks are in them.

    Raises VerificationError, naming `who`.
    """
    primes = np.array(terms.chain.primes, dtype=np.uint64)[:, None]
    error = (found[:, ROWS:] + projection.apply(terms.ring, public)) % primes
    bound = BOUND * masks
    for what, value in (("secret", found[:, :ROWS]), ("error", error)):
        if largest(terms.ring, value) >= bound:
            raise VerificationError(f"{who}: the {what} of its public part is not small")


def response_bytes(terms: Terms, holder: int, said: Mapping[int, Limbs]) -> bytes:
    """Return a holder's response: what it says of each dealer in `said`, in order."""
    head = _RESPONSE_HEAD.pack(terms.digest, holder, len(said))
    return head + b"".join(
        struct.pack("<H", dealer) + _raw(said[dealer]) for dealer in sorted(said)
    )


def response_size(terms: Terms, dealers: int) -> int:
    """Return the length of a holder's response about so many dealers."""
    return _RESPONSE_HEAD.size + dealers * (2 + 8 * int(np.prod(terms.response_words)))


def parse_response(
    terms: Terms, dealers: Sequence[int], data: bytes, where: str = "response"
) -> tuple[int, dict[int, Limbs]]:
    """Return a holder's number and what it says of each of `dealers`.

    Raises InvalidInput, naming `where`, for any other form or another list of dealers.
    """
    each = 2 + 8 * int(np.prod(terms.response_words))
    start = _RESPONSE_HEAD.size
    _expect_size(data, response_size(terms, len(dealers)), where)
    digest, holder, count = _RESPONSE_HEAD.unpack_from(data)
    if digest != terms.digest or holder not in terms.places or count != len(dealers):
        raise InvalidInput(f"{where}: of another ceremony, holder or list of dealers")
    said = {}
    for i, dealer in enumerate(sorted(dealers)):
        part = data[start + i * each : start + (i + 1) * each]
        if struct.unpack_from("<H", part)[0] != dealer:
            raise InvalidInput(f"{where}: dealers out of order")
        said[dealer] = _words(terms, part[2:], terms.response_words, where)
    return holder, said


def sets_of(terms: Terms, holder: int) -> list[HolderSet]:
    """Return the sets with seeds that a holder is in, in order."""
    return [members for members in terms.sets if holder in members]


def _share_digest(message: bytes) -> bytes:
    return sha256(_DOMAIN + b"share" + message)


def _seed_digest(terms: Terms, members: HolderSet, seed: bytes) -> bytes:
    return sha256(_DOMAIN + b"seed" + terms.digest + struct.pack("<H", set_mask(members)) + seed)


def _raw(words: Limbs) -> bytes:
    return np.ascontiguousarray(words, dtype="<u8").tobytes()


def _words(terms: Terms, data: bytes, shape: tuple[int, int], where: str) -> Limbs:
    found = np.frombuffer(data, "<u8").reshape(shape).astype(np.uint64)
    if (found >= np.array(terms.chain.primes, dtype=np.uint64)[:, None]).any():
        raise InvalidInput(f"{where}: a residue is not below its prime")
    return found


def _expect_size(data: bytes, size: int, where: str) -> None:
    if len(data) != size:
        raise InvalidInput(f"{where}: {len(data)} bytes, expected {size}")


def _expect_terms(terms: Terms, digest: bytes, dealer: int, where: str) -> None:
    if digest != terms.digest or dealer not in terms.dealers:
        raise InvalidInput(f"{where}: of another ceremony or dealer")
