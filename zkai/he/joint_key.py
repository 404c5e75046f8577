"""A joint public key, and what one of its holders keeps.

The key is (b, a), b = -(a s + e); holder j keeps f(j) with f(0) = s, and a symmetric key with each
other holder, for shares of zero. `zkai.he.committee` makes them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput
from zkai.he.ring import Ring
from zkai.he.seal_file import Chain, read_public_key, write_public_key
from zkai.he.shamir import modular_weights

_DOMAIN = b"zkai/he/joint-key/1/"
_KEY_HEAD = struct.Struct("<32s32sHHH")


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
    """What one holder keeps: its share of the key, and a key with each other holder."""

    key_id: bytes
    committee: bytes
    """Digest of the terms under which the share was dealt."""
    place: int
    threshold: int
    share: Limbs = field(repr=False)
    pairs: Mapping[int, bytes] = field(repr=False)

    @property
    def secret(self) -> bytes:
        """A digest of all that only this holder knows: a seed for its noise."""
        return sha256(_DOMAIN + b"noise" + self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the key for the holder's own, encrypted file."""
        count = len(self.pairs)
        head = _KEY_HEAD.pack(self.key_id, self.committee, self.place, self.threshold, count)
        keys = b"".join(struct.pack("<H", k) + self.pairs[k] for k in sorted(self.pairs))
        return head + keys + np.ascontiguousarray(self.share, "<u8").tobytes()

    @staticmethod
    def from_bytes(chain: Chain, data: bytes, where: str = "holder's key") -> HolderKey:
        """Parse `to_bytes`'s form. Raises InvalidInput, naming `where`, for anything else."""
        rows, size = len(chain.primes), 8 * len(chain.primes) * chain.n
        if len(data) < _KEY_HEAD.size:
            raise InvalidInput(f"{where}: cut off")
        key_id, committee, place, threshold, count = _KEY_HEAD.unpack_from(data)
        start = _KEY_HEAD.size
        if len(data) != start + 34 * count + size:
            raise InvalidInput(f"{where}: {len(data)} bytes, expected another size")
        parts = [data[start + 34 * i : start + 34 * (i + 1)] for i in range(count)]
        pairs = {struct.unpack_from("<H", part)[0]: part[2:] for part in parts}
        share = np.frombuffer(data[start + 34 * count :], "<u8").reshape(rows, chain.n)
        ordered = len(pairs) == count and list(pairs) == sorted(pairs)
        if not ordered or (share >= np.array(chain.primes, np.uint64)[:, None]).any():
            raise InvalidInput(f"{where}: not in the form in which it is written")
        return HolderKey(key_id, committee, place, threshold, share.astype(np.uint64), pairs)

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
            seed = sha256(_DOMAIN + b"blind" + self.pairs[other] + sha256(context) + label)
            part = ring.uniform(seed, 0, first, count)
            total = ring.add(total, part) if self.place < other else ring.subtract(total, part)
        return total


def _others(key: HolderKey, active: Sequence[int]) -> list[int]:
    others = sorted(set(active) - {key.place})
    if len(others) + 1 != len(active) or any(place not in key.pairs for place in others):
        raise InvalidInput(f"holder {key.place}: not one of the active holders {list(active)}")
    if len(active) < key.threshold:
        raise InvalidInput(f"{len(active)} holders are active, {key.threshold} are needed")
    return others


def weight(ring: Ring, place: int, active: Sequence[int]) -> Limbs:
    """Return a holder's Lagrange coefficient at 0 among the active holders, (1, L)."""
    points = tuple(sorted(active))
    return modular_weights(ring, points, 0)[[points.index(place)]]
