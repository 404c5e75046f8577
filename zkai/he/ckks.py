"""Scheme `ckks`: sums of SEAL's CKKS ciphertexts under a key that nobody holds.

    client      (c0, c1) = SEAL's encryption under the joint public key
    everybody   c = sum of the ciphertexts, recomputed from their bytes
    holder j    D(j) = f(j) c1 + noise(j), a share of s c1 + noise
    anybody     plaintext = c0 + D(0), decoded by SEAL; parts that do not fit the others are seen

Every set of n - t + 1 holders draws noise of its own, which is shared as the key is
(`HolderKey.add_noise`): so t parts give all others, and say nothing but D(0). Noise that each
holder adds for itself is no way: 3-of-5 with 1, 2, 3 active and 4, 5 corrupt, 10 d_3 = c0 + c1 s +
10 noise_3 up to what the two know, and they read the noise modulo 10 exactly, however large it is
(docs/decisions/0018 and 0026).

Values are real numbers in SEAL's slots, or with `integers` one in each coefficient: exact sums.

No function takes a c1: `partial` takes the ciphertexts, checks each digest before it parses, and
adds them itself. The caller sees to it that all digests were logged before any body was shown (who
sees the others' bodies first can steer the sum of c1 and read the key), that the set is the
recorded one, and that a holder answers once a round.

Sources: Cheon, Kim, Kim, Song (Asiacrypt 2017); Li, Micciancio (Eurocrypt 2021), for why decrypted
sums of CKKS need smudging; Mouchet, Bertrand, Hubaux (J. Cryptology 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.agreement import Shortener, agreeing_holders
from zkai.he.ckks_sum import CHAIN, HEAD, CkksSum
from zkai.he.ckks_values import add_integers, checked_values, integers_of, slot_rows
from zkai.he.joint_key import HolderKey, JointKey
from zkai.he.seal_file import read_ciphertext, write_ciphertext
from zkai.he.seal_worker import SealWorker
from zkai.he.shamir import check_points, modular_weights

MAGIC = b"zkaickks"
CIPHERTEXT, PARTIAL = 1, 2
_CHUNK = 16

__all__ = [
    "CHAIN", "CIPHERTEXT", "MAGIC", "PARTIAL", "Ckks", "CkksFused", "CkksSum", "CkksTotal",
]  # fmt: skip


@dataclass(frozen=True)
class Ckks:
    """The scheme with its parameters and joint key. `seed` names session and round, 32 bytes."""

    parameters: CkksSum
    joint: JointKey

    def __post_init__(self) -> None:
        if self.joint.chain != self.parameters.chain:
            raise InvalidInput("ckks: the joint key is of other parameters")

    def encrypt(self, seed: bytes, values: npt.NDArray[Any], name: bytes = bytes(32)) -> bytes:
        """Return the ciphertext of any array with the parameters' number of values.

        `name` (32 bytes) is what a contribution may be known by; a sum has none.

        Raises InvalidInput for another number, for what is not finite or beyond the bound.
        """
        p = self.parameters
        given = checked_values(values, p.values, p.bound, "iu" if p.integers else "iuf")
        slots = (
            given[:0] if p.integers else given
        )  # SEAL encrypts zeros, to which integers are added
        with SealWorker(p.chain) as worker:
            rows = slot_rows(slots, p.ciphertexts, p.chain.slots)
            found = worker.encrypt(self.joint.key, rows, p.scale)
        if p.integers:
            add_integers(p.chain.data_ring, found, given, p.scale_bits)
        return self._pack(seed, found, 1, name)

    def name_of(self, seed: bytes, ciphertext: bytes) -> bytes:
        """Return a contribution's name. Raises InvalidInput for a sum, or what is neither."""
        self._expect_size(ciphertext, "ciphertext")
        self._expect(ciphertext, CIPHERTEXT, seed, "ciphertext")
        count, name = HEAD.unpack_from(ciphertext)[2], HEAD.unpack_from(ciphertext)[5]
        if count != 1:
            raise InvalidInput("ckks: a sum stands where a client's ciphertext should")
        return bytes(name)

    def clients_of(self, seed: bytes, total: bytes) -> int:
        """Return how many clients a sum is of. Raises InvalidInput for what is none."""
        return self._unpack(seed, total, "sum")[1]

    def add(self, seed: bytes, ciphertexts: Iterable[bytes]) -> bytes:
        """Return the sum of ciphertexts or sums.

        Raises InvalidInput for what is none of this key and round, and for too many clients.
        """
        total, count = self._sum(seed, ciphertexts)
        return self._pack(seed, total, count)

    def partial(
        self,
        seed: bytes,
        key: HolderKey,
        logged: Iterable[tuple[bytes, bytes]],
        minimum: int,
    ) -> bytes:
        """Return a holder's part of the decryption of the sum of logged clients' ciphertexts.

        `logged` has the recorded digest (SHA-256) and the bytes of each client's ciphertext.
        The part follows from the keys and the sum's c1: asked again, and whoever else opens, a
        holder says the same, and nothing can be averaged.

        Raises InvalidInput for a holder's key of another joint key;
        VerificationError for fewer than `minimum` (at least 2) distinct ciphertexts, or bytes that
        have not the digest.
        """
        committee = self.parameters.threshold, self.parameters.holders
        if key.key_id != self.joint.id or (key.threshold, key.holders) != committee:
            raise InvalidInput("ckks: this holder's key is not of this joint key")
        total, count = self._logged_sum(seed, logged, minimum)
        subject = self._subject(seed, self._pack(seed, total, count))
        parts = self._parts(key, np.ascontiguousarray(total[:, 1]))
        head = HEAD.pack(MAGIC, PARTIAL, key.place, self.joint.id, seed, subject)
        return head + b"".join(parts)

    def _logged_sum(
        self, seed: bytes, logged: Iterable[tuple[bytes, bytes]], minimum: int
    ) -> tuple[Limbs, int]:
        """Return the sum of logged ciphertexts, one at a time in memory, and their number."""
        total, digests, count = CkksTotal(self, seed), set[bytes](), 0
        for digest, data in logged:
            if sha256(data) != digest:
                raise VerificationError("ckks: a ciphertext is not the one that was logged")
            self.name_of(seed, data)
            total.add_any(data)
            digests.add(digest)
            count += 1
        if len(digests) != count or count < max(minimum, 2):
            raise VerificationError(
                f"ckks: {len(digests)} distinct ciphertexts of {count}; at least"
                f" {max(minimum, 2)}, all distinct, are due"
            )
        return total.found()

    def _parts(self, key: HolderKey, c1: Limbs) -> Iterable[bytes]:
        ring, bits = self.parameters.chain.data_ring, self.parameters.smudge_bits
        share = np.ascontiguousarray(key.share[: len(ring.primes)])
        subject = sha256(b"zkai/he/ckks/c1/1\0" + c1.astype("<u8", copy=False).tobytes())
        for first in range(0, len(c1), _CHUNK):
            part = ring.multiply(c1[first : first + _CHUNK], share)
            noise = ring.zeros(len(part))
            key.add_noise(ring, noise, subject, first, bits)
            yield ring.add(part, ring.ntt(noise)).astype("<u8", copy=False).tobytes()

    def fuse(self, seed: bytes, total: bytes, parts: Mapping[int, bytes]) -> CkksFused:
        """Return the sum of the values, opened by the parts of t holders or more.

        They are float64, or exact int64 where values are integers. A part that is none of this sum,
        or does not fit the others, is set apart.

        Raises InvalidInput for a malformed sum, or if fewer than t holders have a part of it;
        VerificationError if the parts contradict each other, and if what comes out is noise, not a
        sum of values within the bound: then a share or the key is wrong.
        """
        parameters, ring = self.parameters, self.parameters.chain.data_ring
        found, count = self._unpack(seed, total, "sum")
        subject, threshold = self._subject(seed, total), parameters.threshold
        agreed = agreeing_holders(ring, self._shortened(seed, subject, parts), threshold)
        opened, base = np.ascontiguousarray(found[:, 0]), agreed[:threshold]
        for place, weight in zip(base, modular_weights(ring, base, 0), strict=True):
            part = self._part(seed, subject, place, parts[place])
            ring.add(opened, ring.combine(part[:, None], weight[None]), out=opened)
        checked = len(agreed) >= 2 * threshold - 1
        coefficients = ring.coefficients(opened)
        if ring.largest(coefficients) >= parameters.largest(count):
            why = "a ciphertext or the key is" if checked else "a share, part or key is"
            raise VerificationError(f"ckks: what was opened is noise: {why} wrong")
        apart = tuple(sorted(set(parts) - set(agreed)))
        if parameters.integers:
            bits, spread = parameters.scale_bits, parameters.spread(count)
            exact = integers_of(ring, coefficients, parameters.values, bits, spread)
            return CkksFused(exact, agreed, apart, checked)
        with SealWorker(parameters.chain) as worker:
            values = worker.decode(opened, parameters.scale).ravel()[: parameters.values]
        return CkksFused(values, agreed, apart, checked)

    def _shortened(
        self, seed: bytes, subject: bytes, parts: Mapping[int, bytes]
    ) -> dict[int, Limbs]:
        """Return what parts of this sum are compared by. Raises InvalidInput for fewer than t."""
        shortener = Shortener(self.parameters.chain.data_ring, self.parameters.ciphertexts)
        found, wrong = dict[int, Limbs](), list[str]()
        check_points(sorted(parts), self.parameters.holders, "parts")
        for place, data in sorted(parts.items()):
            try:
                found[place] = shortener.shorten(self._part(seed, subject, place, data))
            except InvalidInput as error:
                wrong.append(str(error))
        if len(found) < self.parameters.threshold:
            needed = f"{self.parameters.threshold} parts open a sum, {len(found)} are there"
            raise InvalidInput("; ".join([f"ckks: {needed}", *wrong]))
        return found

    def _part(self, seed: bytes, subject: bytes, place: int, data: bytes) -> Limbs:
        where, ring = f"part of holder {place}", self.parameters.chain.data_ring
        if len(data) != self.parameters.partial_bytes:
            raise InvalidInput(f"{where}: {len(data)} bytes, not {self.parameters.partial_bytes}")
        self._expect(data, PARTIAL, seed, where)
        if HEAD.unpack_from(data)[2] != place or HEAD.unpack_from(data)[5] != subject:
            raise InvalidInput(f"{where}: of another holder or sum")
        words = np.frombuffer(data, "<u8", offset=HEAD.size).astype(np.uint64, copy=False)
        words = words.reshape(-1, *ring.shape)
        if (words >= np.array(ring.primes, np.uint64)[:, None]).any():
            raise InvalidInput(f"{where}: a residue is not below its prime")
        return words

    def _sum(self, seed: bytes, ciphertexts: Iterable[bytes]) -> tuple[Limbs, int]:
        total = CkksTotal(self, seed)
        for data in ciphertexts:
            total.add_any(data)
        return total.found()

    def _subject(self, seed: bytes, total: bytes) -> bytes:
        return sha256(b"zkai/he/ckks/opened/2\0" + seed + sha256(total))

    def _pack(self, seed: bytes, found: Limbs, count: int, name: bytes = bytes(32)) -> bytes:
        if len(seed) != 32 or len(name) != 32:
            raise InvalidInput("ckks: a round's seed and a name have 32 bytes")
        chain, scale = self.parameters.chain, self.parameters.scale
        head = HEAD.pack(MAGIC, CIPHERTEXT, count, self.joint.id, seed, name)
        return head + b"".join(write_ciphertext(chain, one, scale) for one in found)

    def _unpack(self, seed: bytes, data: bytes, where: str) -> tuple[Limbs, int]:
        """Return (M, 2, L, n) coefficients and the number of clients of a ciphertext or sum."""
        parameters = self.parameters
        self._expect_size(data, where)
        self._expect(data, CIPHERTEXT, seed, where)
        count, name = HEAD.unpack_from(data)[2], HEAD.unpack_from(data)[5]
        if not 1 <= count <= parameters.clients:
            raise InvalidInput(f"{where}: of {count} clients; 1..{parameters.clients} are expected")
        if count > 1 and name != bytes(32):
            raise InvalidInput(f"{where}: a sum of {count} clients has no name")
        chain, size, view = parameters.chain, parameters.chain.ciphertext_bytes, memoryview(data)
        out = np.empty((parameters.ciphertexts, 2, *chain.data_ring.shape), np.uint64)
        for i in range(parameters.ciphertexts):
            start = HEAD.size + i * size
            out[i] = read_ciphertext(chain, view[start : start + size], parameters.scale, where)
        return out, count

    def _expect_size(self, data: bytes, where: str) -> None:
        size = self.parameters.ciphertext_bytes
        if len(data) != size:
            raise InvalidInput(f"{where}: {len(data)} bytes, not {size}")

    def _expect(self, data: bytes, kind: int, seed: bytes, where: str) -> None:
        magic, found, _, key_id, round_seed, _ = HEAD.unpack_from(data)
        if (magic, found) != (MAGIC, kind):
            raise InvalidInput(f"{where}: not such a file of scheme ckks")
        if key_id != self.joint.id:
            raise InvalidInput(f"{where}: under another joint key")
        if round_seed != seed:
            raise InvalidInput(f"{where}: of another round")


@dataclass(frozen=True)
class CkksFused:
    """An opened sum: its values (values,), whose parts agree on it, and whose do not.

    `checked` says that 2t - 1 parts agree: then at most t - 1 corrupt holders did not shift it.
    """

    values: npt.NDArray[Any] = field(repr=False)
    agreed: tuple[int, ...]
    apart: tuple[int, ...]
    checked: bool


class CkksTotal:
    """A running sum of a round's ciphertexts; named contributions enter once."""

    def __init__(self, scheme: Ckks, seed: bytes) -> None:
        self._scheme, self._seed = scheme, seed
        self._residues: Limbs | None = None
        self._clients, self._parts = 0, 0
        self._names: set[bytes] = set()

    def add(self, ciphertext: bytes, key: bytes | None = None) -> bytes:
        """Add a contribution and return its name, which must be `key` if that is given.

        Raises InvalidInput for a sum, another name, one that is in the sum, or malformed bytes.
        """
        name = self._scheme.name_of(self._seed, ciphertext)
        if key is not None and name != key:
            raise InvalidInput(f"ckks: a ciphertext of {name.hex()[:16]}, not {key.hex()[:16]}")
        if name in self._names:
            raise InvalidInput(f"ckks: {name.hex()[:16]} is in the sum already")
        self.add_any(ciphertext)
        self._names.add(name)
        return name

    def add_any(self, data: bytes) -> None:
        """Add a ciphertext or a sum. Raises InvalidInput for malformed bytes."""
        found, clients = self._scheme._unpack(self._seed, data, f"ciphertext {self._parts}")
        self._enter(found, clients)
        self._parts += 1

    def merge(self, other: CkksTotal) -> None:
        """Add a sum of other contributions. Raises InvalidInput if one is in both."""
        if self._names & other._names:
            raise InvalidInput("ckks: a contribution is in both sums")
        residues, clients = other.found()
        self._enter(residues.copy(), clients)
        self._names |= other._names

    def _enter(self, found: Limbs, clients: int) -> None:
        limit = self._scheme.parameters.clients
        if self._clients + clients > limit:
            raise InvalidInput(f"ckks: more than {limit} clients")
        if self._residues is None:
            self._residues = found
        else:
            ring = self._scheme.parameters.chain.data_ring
            ring.add(self._residues, found, out=self._residues)
        self._clients += clients

    def found(self) -> tuple[Limbs, int]:
        """Return the sum (M, 2, L, n) and its number of clients. Raises InvalidInput if empty."""
        if self._residues is None:
            raise InvalidInput("ckks: no ciphertexts to add")
        return self._residues, self._clients

    def to_bytes(self) -> bytes:
        """Return the sum's one byte form."""
        return self._scheme._pack(self._seed, *self.found())
