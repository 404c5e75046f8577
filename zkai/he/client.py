"""A client's side of a round: one fresh key, one ciphertext, one dealing of the key.

With A_m uniform, expanded from the round's seed, s ternary, e_m small and m the packed values,

    c_m = Delta m + e_m - A_m s            the ciphertext, in coefficient form
    b   = e - A_check s                    the check polynomial, an encryption of zero
    share_j = f(j), f(0) = s               one for each holder, to be sealed to it, with its part
                                           in the dealing check and a seed for each set of holders

A_check comes from the round, the key's identifier and the digest of the sealed shares, so the
shares are fixed before anybody can know it: docs/decisions/0015.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.he import shamir
from zkai.he.packing import pack_values
from zkai.he.parameters import MASK_BITS, MASKS, RING, Round
from zkai.he.ring import first
from zkai.he.shamir import HolderSet, deal
from zkai.he.wire import Kind, Stream, derive, frame
from zkai.native import Int64s
from zkai.native_rlwe import Distribution


@dataclass(frozen=True)
class Opening:
    """What a ciphertext hides, for a proof about it: secret, all of it.

    secret (n,) in -1, 0, 1; errors (polynomials, n) and check_error (n,) at most 21 in size. int64,
    coefficient form.
    """

    secret: Int64s = field(repr=False)
    errors: Int64s = field(repr=False)
    check_error: Int64s = field(repr=False)


class ClientKey:
    """A client's secret key for one round: made from the system's randomness, used once.

    It encrypts once and binds itself to one dealing. It cannot be copied or pickled; `wipe` ends
    it. `identifier` (32 bytes) names it in everything that it makes, and says nothing about it.
    """

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self._seed = bytearray(os.urandom(native.SEED_BYTES))
        self.identifier = derive("key", round_.seed, bytes(self._seed))
        self._messages: Int64s | None = None
        self._dealing: bytes | None = None

    def __repr__(self) -> str:
        return f"ClientKey({self.identifier.hex()[:16]}, round {self.round.number})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client key is never copied or stored")

    def encrypt(self, values: Int64s) -> bytes:
        """Return the ciphertext of this round's `values` integers (values,) int64.

        Raises InvalidInput for another shape or type, for a value above the parameters' bound, and
        when the key has encrypted before.
        """
        parameters = self.round.parameters
        if self._messages is not None:
            raise InvalidInput("client key: it has encrypted in its round; a key encrypts once")
        if not isinstance(values, np.ndarray) or values.dtype != np.int64:
            raise InvalidInput("encrypt: expected a numpy array of int64")
        if values.shape != (self.round.values,):
            raise InvalidInput(f"encrypt: expected shape ({self.round.values},)")
        bound = parameters.bound
        if int(values.max()) > bound or int(values.min()) < -bound:
            raise InvalidInput(
                f"encrypt: values may be at most {bound} in size, so that the sum of "
                f"{parameters.clients} clients fits {parameters.value_bits} bits"
            )
        self._check_alive()
        self._messages = pack_values(
            values, RING.n, parameters.value_bits, parameters.values_per_coefficient
        )
        stream = (self.round.seed, int(Stream.MASK), 0)
        body = native.mask(
            RING.tables, self._negated(), stream, self._errors(), self._messages, parameters.delta
        )
        return frame(Kind.CIPHERTEXT, self.round, self.identifier, RING.pack(body))

    def deal(self) -> tuple[bytes, ...]:
        """Return the shares for holders 1..n, in order: bytes to be sealed to each; secret.

        The first t - 1 are seeds only. The same shares come out of every call.
        """
        self._check_alive()
        threshold, holders = self.round.parameters.threshold, self.round.parameters.holders
        seeds = [self._derived("share", j) for j in range(1, threshold)]
        free = np.stack([share_from_seed(seed) for seed in seeds])
        masks = np.stack([masks_from_seed(seed) for seed in seeds])
        rest = zip(
            deal(RING, self._key(), free, holders),
            deal(MASKS, self._mask(), masks, holders),
            strict=True,
        )
        bodies = [(Kind.SHARE_SEED, seed) for seed in seeds]
        bodies += [(Kind.SHARE, RING.pack(f) + native.pack(MASKS, y)) for f, y in rest]
        return tuple(
            frame(kind, self.round, self.identifier, body + self._seeds(holder), holder)
            for holder, (kind, body) in enumerate(bodies, start=1)
        )

    def check(self, dealing: bytes) -> bytes:
        """Return the check polynomial for the digest (32 bytes) of all sealed shares.

        Behind it stand the hashes of the seeds that sets of holders have.

        Raises InvalidInput when the key has made one for another digest.
        """
        self._check_alive()
        if self._dealing not in (None, dealing):
            raise InvalidInput("client key: its shares are bound to another dealing already")
        mask = check_mask(self.round, self.identifier, dealing)
        self._dealing = dealing
        product = RING.coefficients(RING.multiply(mask, self._negated()))
        body = RING.add(product, first(RING.small(self._check_error())))
        tags = [
            seed_tag(self.round, self.identifier, self._set_seed(members))
            for members in holder_sets(self.round)
        ]
        data = RING.pack(body) + b"".join(tags)
        return frame(Kind.CHECK, self.round, self.identifier, data)

    def opening(self) -> Opening:
        """Return the secrets behind the ciphertext, for a proof. Encrypt first."""
        self._check_alive()
        if self._messages is None:
            raise InvalidInput("client key: nothing is encrypted yet")
        secret = RING.ternary(bytes(self._seed), Stream.SECRET)[0]
        return Opening(secret, self._errors(), self._check_error()[0])

    def wipe(self) -> None:
        """Forget the key; every later use raises InvalidInput."""
        self._seed[:] = bytes(len(self._seed))
        if self._messages is not None:
            self._messages.fill(0)

    def _check_alive(self) -> None:
        if not any(self._seed):
            raise InvalidInput("client key: it was wiped")

    def _derived(self, label: str, number: int) -> bytes:
        return derive(label, bytes(self._seed), number.to_bytes(32, "big"))

    def _seeds(self, holder: int) -> bytes:
        """Return the seeds of the sets that a holder is in, in order."""
        return b"".join(map(self._set_seed, holder_sets(self.round, holder)))

    def _set_seed(self, members: HolderSet) -> bytes:
        return self._derived("set", shamir.set_mask(members))

    def _mask(self) -> Limbs:
        """Return y(0) (L, 128): what hides the projection in the dealing check."""
        words = native.sample(
            MASKS.n, bytes(self._seed), Stream.PROJECTION, 0, 1, Distribution.UNIFORM, MASK_BITS
        )
        return first(native.small(MASKS, words))

    def _key(self) -> Limbs:
        secret = RING.ternary(bytes(self._seed), Stream.SECRET)
        return first(RING.ntt(RING.small(secret)))

    def _negated(self) -> Limbs:
        secret = RING.ternary(bytes(self._seed), Stream.SECRET)
        return first(RING.ntt(RING.small(-secret)))

    def _errors(self) -> Int64s:
        return RING.errors(bytes(self._seed), Stream.ERROR, self.round.polynomials)

    def _check_error(self) -> Int64s:
        return RING.errors(bytes(self._seed), Stream.CHECK_ERROR)


def check_seed(round_: Round, key: bytes, dealing: bytes) -> bytes:
    """Return the seed of a client's A_check: SHA-256 of round, key and digest of sealed shares."""
    return derive("check", round_.seed, key, dealing)


def check_mask(round_: Round, key: bytes, dealing: bytes) -> Limbs:
    """Return a client's A_check (L, n) in NTT form: uniform, with 1 for 0, so it is invertible."""
    seed = check_seed(round_, key, dealing)
    return np.maximum(first(RING.uniform(seed, Stream.CHECK)), np.uint64(1))


def masks(round_: Round, start: int, count: int) -> Limbs:
    """Return A_m (count, L, n) in NTT form, for polynomials m = start .. start + count - 1."""
    return RING.uniform(round_.seed, Stream.MASK, start, count)


def holder_sets(round_: Round, holder: int | None = None) -> list[HolderSet]:
    """Return all sets of holders that share noise, in order, or those that a holder is in."""
    sets = shamir.holder_sets(round_.parameters.threshold, round_.parameters.holders)
    return [members for members in sets if holder is None or holder in members]


def seed_tag(round_: Round, key: bytes, seed: bytes) -> bytes:
    """Return the hash by which everybody knows the seed of a set of holders."""
    return derive("seed-tag", round_.seed, key, seed)


def masks_from_seed(seed: bytes) -> Limbs:
    """Return the share (L, 128) of the projection's mask that a seed stands for."""
    return first(native.uniform(MASKS, seed, Stream.SHARE_MASK, 0, 1))


def share_from_seed(seed: bytes) -> Limbs:
    """Return the share (L, n), in NTT form, that a seed stands for."""
    return first(RING.uniform(seed, Stream.SHARE))
