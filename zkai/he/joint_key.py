"""A joint public key, and what one of its holders keeps.

The key is (b, a), b = -(a s + e); holder j keeps f(j) with f(0) = s, and symmetric keys: one with
each other holder, for shares of zero when the key is dealt anew, and one with each set of n - t + 1
holders, for noise when a sum is opened. `zkai.he.committee` makes them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput
from zkai.he.ring import Ring
from zkai.he.seal_file import Chain, read_public_key, write_public_key
from zkai.he.shamir import HolderSet, holder_sets, modular_weights, set_mask, set_weight

_DOMAIN = b"zkai/he/joint-key/1/"
_KEY_HEAD = struct.Struct("<32s32sHHHH")


@dataclass(frozen=True)
class JointKey:
    """The public key (2, L, n): b, a. Its id is the digest of its file and parameters."""

    chain: Chain
    key: Limbs

    @property
    def id(self) -> bytes:
        """SHA-256 of the file: what ciphertexts, shares and partial decryptions name."""
        return sha256(_DOMAIN + b"key" + self.to_seal())

    def to_seal(self) -> bytes:
        """Return the key as SEAL's PublicKey file."""
        return write_public_key(self.chain, self.key)

    @staticmethod
    def from_seal(chain: Chain, data: bytes, where: str = "public key") -> JointKey:
        """Read `to_seal`'s form. Raises InvalidInput naming `where`."""
        return JointKey(chain, read_public_key(chain, data, where).copy())


@dataclass(frozen=True)
class HolderKey:
    """What one of n holders keeps: its share of the key, and the keys of the sets that it is in."""

    key_id: bytes
    committee: bytes
    """Digest of the terms under which the share was dealt."""
    place: int
    threshold: int
    holders: int
    share: Limbs = field(repr=False)
    sets: Mapping[HolderSet, bytes] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the key for the holder's own, encrypted file."""
        numbers = self.place, self.threshold, self.holders, len(self.sets)
        head = _KEY_HEAD.pack(self.key_id, self.committee, *numbers)
        masks = {set_mask(members): key for members, key in self.sets.items()}
        keys = b"".join(struct.pack("<H", mask) + masks[mask] for mask in sorted(masks))
        return head + keys + np.ascontiguousarray(self.share, "<u8").tobytes()

    @staticmethod
    def from_bytes(chain: Chain, data: bytes, where: str = "holder's key") -> HolderKey:
        """Parse `to_bytes`'s form. Raises InvalidInput, naming `where`, for anything else."""
        rows, size = len(chain.primes), 8 * len(chain.primes) * chain.n
        if len(data) < _KEY_HEAD.size:
            raise InvalidInput(f"{where}: cut off")
        key_id, committee, place, threshold, holders, count = _KEY_HEAD.unpack_from(data)
        start = _KEY_HEAD.size
        if len(data) != start + 34 * count + size:
            raise InvalidInput(f"{where}: {len(data)} bytes, expected another size")
        parts = [data[start + 34 * i : start + 34 * (i + 1)] for i in range(count)]
        masks = {struct.unpack_from("<H", part)[0]: part[2:] for part in parts}
        share = np.frombuffer(data[start + 34 * count :], "<u8").reshape(rows, chain.n)
        ordered = len(masks) == count and list(masks) == sorted(masks)
        if not ordered or (share >= np.array(chain.primes, np.uint64)[:, None]).any():
            raise InvalidInput(f"{where}: not in the form in which it is written")
        sets = {tuple(j for j in range(16) if mask >> j & 1): key for mask, key in masks.items()}
        return HolderKey(
            key_id, committee, place, threshold, holders, share.astype(np.uint64), sets
        )

    def blind(
        self, ring: Ring, active: Sequence[int], context: bytes, first: int, count: int
    ) -> Limbs:
        """Return this holder's zero shares, (count, L, N): those of all `active` add up to zero.

        Each alone is uniform to whoever holds not all other keys of its pairs.

        Raises InvalidInput unless this holder is active, and the active are known and distinct.
        """
        others = _others(self, active)
        label = b",".join(str(place).encode() for place in sorted(active))
        total = ring.zeros(count)
        for other in others:
            pair = self.sets[_pair(self.place, other)]
            part = ring.uniform(sha256(_DOMAIN + b"blind" + pair + sha256(context) + label), 0,
                                first, count)  # fmt: skip
            total = ring.add(total, part) if self.place < other else ring.subtract(total, part)
        return total

    def add_noise(self, ring: Ring, out: Limbs, subject: bytes, first: int, bits: int) -> None:
        """Add this holder's share of noise to polynomials (count, L, n) in coefficient form.

        The noise is the sum over all sets H of n - t + 1 holders of r_H in [-2^bits, 2^bits), which
        H draws from its key and the subject; polynomials are numbered from `first`.

        Raises InvalidInput if a set's key is missing.
        """
        sets = [s for s in holder_sets(self.threshold, self.holders) if self.place in s]
        if not set(sets) <= set(self.sets):
            raise InvalidInput(f"holder {self.place}: the key of a set of holders is missing")
        seeds = [sha256(_DOMAIN + b"noise" + self.sets[s] + sha256(subject)) for s in sets]
        weights = np.concatenate([set_weight(ring, s, self.holders, self.place) for s in sets])
        native.add_noise(ring.tables, out, seeds, weights, 0, bits, first)


def _pair(one: int, other: int) -> HolderSet:
    return min(one, other), max(one, other)


def _others(key: HolderKey, active: Sequence[int]) -> list[int]:
    others = sorted(set(active) - {key.place})
    if len(others) + 1 != len(active) or any(_pair(key.place, k) not in key.sets for k in others):
        raise InvalidInput(f"holder {key.place}: not one of the active holders {list(active)}")
    if len(active) < key.threshold:
        raise InvalidInput(f"{len(active)} holders are active, {key.threshold} are needed")
    return others


def weight(ring: Ring, place: int, active: Sequence[int]) -> Limbs:
    """Return a holder's Lagrange coefficient at 0 among the active holders, (1, L)."""
    points = tuple(sorted(active))
    return modular_weights(ring, points, 0)[[points.index(place)]]
