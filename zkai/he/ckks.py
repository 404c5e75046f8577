"""Scheme `ckks`: sums of SEAL's CKKS ciphertexts under a key that nobody holds.

    client      (c0, c1) = SEAL's encryption under the joint public key
    everybody   c = sum of the ciphertexts, recomputed from their bytes
    holder j    d_j = lambda_j f(j) c1 + smudge_j + z_j,   sum of z_j over the active holders = 0
    anybody     plaintext = c0 + sum of d_j, decoded by SEAL

lambda_j depends on the active set, so the set is fixed before, and smudge_j comes after lambda_j.
The zero shares z_j matter as much: without them, 3-of-5 with 1, 2, 3 active and 4, 5 corrupt,
10 d_3 = c0 + c1 s + 10 smudge_3 up to what the two know, and they read the noise modulo 10 exactly,
however large the smudge. With them nobody sees more than the sum (docs/decisions/0018).

Values are real numbers in SEAL's slots, or with `integers` one in each coefficient: exact sums.

No function takes a c1: `partial` takes the ciphertexts, checks each digest before it parses, and
adds them itself. The caller sees to it that all digests were logged before any body was shown (who
sees the others' bodies first can steer the sum of c1 and read the key), that the set and the active
holders are the recorded ones, and that a holder answers once a round.

Sources: Cheon, Kim, Kim, Song (Asiacrypt 2017); Li, Micciancio (Eurocrypt 2021), for why decrypted
sums of CKKS need smudging; Mouchet, Bertrand, Hubaux (J. Cryptology 2023).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.ckks_values import add_integers, checked_values, integers_of, slot_rows
from zkai.he.joint_key import HolderKey, JointKey, weight
from zkai.he.seal_file import Chain, read_ciphertext, write_ciphertext
from zkai.he.seal_worker import SealWorker
from zkai.he.shamir import check_committee

CHAIN = Chain(8192, (1152921504606683137, 1152921504606748673, 1152921504606830593))
"""SEAL's own primes for [60, 60, 60]: 180 of the 218 bits that n = 8192 allows."""

MAGIC = b"zkaickks"
CIPHERTEXT, PARTIAL = 1, 2
MAX_VALUES = 1 << 28
MAX_CLIENTS = 1 << 20
_HEAD = struct.Struct("<8sII32s32s32s")
_ERROR_VARIANCE = 10.5
_TAIL = 9
"""Standard deviations: a coefficient's noise is beyond them with probability below 2**-60."""
_CHUNK = 16


@dataclass(frozen=True)
class CkksSum:
    """Sums of at most `clients` vectors of `values` numbers x, |x| <= bound, opened by t of n.

    With `integers` they are integers, and sums exact. Raises InvalidInput if a sum could overflow,
    which CKKS would not notice, or integers could be off:

        clients bound 2**scale_bits + t 2**smudge_bits + noise < Q / 2
        t 2**smudge_bits + noise < 2**scale_bits / 2
    """

    values: int
    clients: int
    bound: int
    threshold: int
    holders: int
    chain: Chain = CHAIN
    scale_bits: int = 96
    smudge_bits: int = 61
    integers: bool = False

    def __post_init__(self) -> None:
        check_committee(self.threshold, self.holders)
        if not 1 <= self.values <= MAX_VALUES or not 1 <= self.clients <= MAX_CLIENTS:
            raise InvalidInput(f"ckks: at most {MAX_VALUES} values and {MAX_CLIENTS} clients")
        if len(self.chain.data_primes) > 2:
            raise InvalidInput("ckks: at most two primes and the special one")
        if self.bound < 1 or not 20 <= self.scale_bits <= 110 or not 20 <= self.smudge_bits <= 61:
            raise InvalidInput("ckks: bound >= 1, scale_bits 20..110, smudge_bits 20..61 expected")
        if self.largest(self.clients) >= self.chain.data_ring.modulus // 2:
            raise InvalidInput(
                f"ckks: the sum of {self.clients} values up to {self.bound} overflows at "
                f"2**{self.scale_bits}: take a smaller scale or bound"
            )
        if self.integers and 2 * self.spread(self.clients) >= 1 << self.scale_bits:
            raise InvalidInput(f"ckks: sums of integers are not exact at 2**{self.scale_bits}")

    @property
    def scale(self) -> float:
        """What values are multiplied with."""
        return 2.0**self.scale_bits

    @property
    def ciphertexts(self) -> int:
        """SEAL ciphertexts a vector: n integers each, or n / 2 real numbers."""
        return -(-self.values // (self.chain.n if self.integers else self.chain.slots))

    @property
    def noise(self) -> float:
        """What a coefficient's noise in one fresh ciphertext stays below, but for 2**-60.

        Its variance is 10.5 (1 + 4/3 n h) / P**2 + (1 + 2/3 n h) / 12 with a special prime P and
        h dealers' ternary secrets; without one, the first term with P = 1.
        """
        spread = self.chain.n * self.holders * 2 / 3
        error = _ERROR_VARIANCE * (1 + 2 * spread)
        if len(self.chain.primes) == 1:
            return _TAIL * sqrt(error)
        return _TAIL * sqrt(error / self.chain.primes[-1] ** 2 + (1 + spread) / 12)

    def largest(self, clients: int) -> int:
        """Return what coefficients of an opened sum of so many clients stay below."""
        return clients * (self.bound << self.scale_bits) + self.spread(clients)

    def spread(self, clients: int) -> int:
        """Return what smudge and noise of an opened sum of so many clients stay below."""
        return (self.threshold << self.smudge_bits) + clients * (int(self.noise) + 1)

    def statistical_bits(self, rounds: int = 1) -> float:
        """Return the bits of statistical security of what is opened in so many rounds.

        One holder's smudge counts, since the others may be corrupt:

            smudge_bits + 1 - log2(clients noise) - log2(coefficients) - log2(rounds)
        """
        coefficients = self.ciphertexts * self.chain.n
        hidden = log2(self.clients * self.noise) + log2(coefficients) + log2(rounds)
        return self.smudge_bits + 1 - hidden

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a client's ciphertext, and of a sum."""
        return _HEAD.size + self.ciphertexts * self.chain.ciphertext_bytes

    @property
    def partial_bytes(self) -> int:
        """The length of a holder's part of a decryption."""
        words = self.ciphertexts * len(self.chain.data_primes) * self.chain.n
        return _HEAD.size + 8 * words


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
        count, name = _HEAD.unpack_from(ciphertext)[2], _HEAD.unpack_from(ciphertext)[5]
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
        active: Sequence[int],
        logged: Iterable[tuple[bytes, bytes]],
        minimum: int,
    ) -> bytes:
        """Return a holder's part of the decryption of the sum of logged clients' ciphertexts.

        `logged` has the recorded digest (SHA-256) and the bytes of each client's ciphertext.
        Smudge and shares of zero follow from the holder's key, the sum, the round and the active
        set: asked again for the same, it says the same, and nothing can be averaged.

        Raises InvalidInput for a holder's key of another joint key or an active set without it;
        VerificationError for fewer than `minimum` (at least 2) distinct ciphertexts, or bytes that
        have not the digest.
        """
        if key.key_id != self.joint.id or key.threshold != self.parameters.threshold:
            raise InvalidInput("ckks: this holder's key is not of this joint key")
        if len(active) != self.parameters.threshold:
            raise InvalidInput(f"ckks: {self.parameters.threshold} holders open, not {len(active)}")
        total, count = self._logged_sum(seed, logged, minimum)
        subject = self._subject(seed, self._pack(seed, total, count), active)
        parts = self._parts(key, active, subject, total[:, 1])
        head = _HEAD.pack(MAGIC, PARTIAL, key.place, self.joint.id, seed, subject)
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

    def _parts(
        self, key: HolderKey, active: Sequence[int], subject: bytes, c1: Limbs
    ) -> Iterable[bytes]:
        ring, bits = self.parameters.chain.data_ring, self.parameters.smudge_bits
        share = key.share[: len(ring.primes)]
        scaled = ring.combine(share[None], weight(ring, key.place, active))
        secret = sha256(b"zkai/he/ckks/smudge/1\0" + subject + key.secret)
        for first in range(0, len(c1), _CHUNK):
            part = ring.multiply(np.ascontiguousarray(c1[first : first + _CHUNK]), scaled)
            smudge = ring.smudge(secret, 0, len(part), bits, first)
            part = ring.add(part, ring.ntt(ring.small(smudge)))
            part = ring.add(part, key.blind(ring, active, subject, first, len(part)))
            yield part.astype("<u8", copy=False).tobytes()

    def fuse(self, seed: bytes, total: bytes, parts: Mapping[int, bytes]) -> npt.NDArray[Any]:
        """Return the sum of the values, opened by the parts of the active holders.

        float64, or exact int64 where values are integers.

        Raises InvalidInput for malformed bytes, or a wrong number of parts; VerificationError for
        parts of another sum or active set, and if what comes out is noise, not a sum of values
        within the bound: then a share or the key is wrong.
        """
        parameters, ring = self.parameters, self.parameters.chain.data_ring
        if len(parts) != parameters.threshold:
            raise InvalidInput(f"ckks: {parameters.threshold} parts open a sum, not {len(parts)}")
        found, count = self._unpack(seed, total, "sum")
        subject = self._subject(seed, total, sorted(parts))
        opened = np.ascontiguousarray(found[:, 0])
        for place, data in parts.items():
            ring.add(opened, self._part(seed, subject, place, data), out=opened)
        coefficients = ring.coefficients(opened)
        if ring.largest(coefficients) >= parameters.largest(count):
            raise VerificationError("ckks: what was opened is noise: a wrong share, part or key")
        if parameters.integers:
            bits, spread = parameters.scale_bits, parameters.spread(count)
            return integers_of(ring, coefficients, parameters.values, bits, spread)
        with SealWorker(parameters.chain) as worker:
            return worker.decode(opened, parameters.scale).ravel()[: parameters.values]

    def _part(self, seed: bytes, subject: bytes, place: int, data: bytes) -> Limbs:
        where, ring = f"part of holder {place}", self.parameters.chain.data_ring
        if len(data) != self.parameters.partial_bytes:
            raise InvalidInput(f"{where}: {len(data)} bytes, not {self.parameters.partial_bytes}")
        self._expect(data, PARTIAL, seed, where)
        if _HEAD.unpack_from(data)[2] != place or _HEAD.unpack_from(data)[5] != subject:
            raise VerificationError(f"{where}: of another holder, sum or active set")
        words = np.frombuffer(data, "<u8", offset=_HEAD.size).astype(np.uint64, copy=False)
        words = words.reshape(-1, *ring.shape)
        if (words >= np.array(ring.primes, np.uint64)[:, None]).any():
            raise InvalidInput(f"{where}: a residue is not below its prime")
        return words

    def _sum(self, seed: bytes, ciphertexts: Iterable[bytes]) -> tuple[Limbs, int]:
        total = CkksTotal(self, seed)
        for data in ciphertexts:
            total.add_any(data)
        return total.found()

    def _subject(self, seed: bytes, total: bytes, active: Sequence[int]) -> bytes:
        places = struct.pack(f"<{len(active)}H", *sorted(active))
        return sha256(b"zkai/he/ckks/opened/1\0" + seed + sha256(total) + places)

    def _pack(self, seed: bytes, found: Limbs, count: int, name: bytes = bytes(32)) -> bytes:
        if len(seed) != 32 or len(name) != 32:
            raise InvalidInput("ckks: a round's seed and a name have 32 bytes")
        chain, scale = self.parameters.chain, self.parameters.scale
        head = _HEAD.pack(MAGIC, CIPHERTEXT, count, self.joint.id, seed, name)
        return head + b"".join(write_ciphertext(chain, one, scale) for one in found)

    def _unpack(self, seed: bytes, data: bytes, where: str) -> tuple[Limbs, int]:
        """Return (M, 2, L, n) coefficients and the number of clients of a ciphertext or sum."""
        parameters = self.parameters
        self._expect_size(data, where)
        self._expect(data, CIPHERTEXT, seed, where)
        count, name = _HEAD.unpack_from(data)[2], _HEAD.unpack_from(data)[5]
        if not 1 <= count <= parameters.clients:
            raise InvalidInput(f"{where}: of {count} clients; 1..{parameters.clients} are expected")
        if count > 1 and name != bytes(32):
            raise InvalidInput(f"{where}: a sum of {count} clients has no name")
        chain, size, view = parameters.chain, parameters.chain.ciphertext_bytes, memoryview(data)
        out = np.empty((parameters.ciphertexts, 2, *chain.data_ring.shape), np.uint64)
        for i in range(parameters.ciphertexts):
            start = _HEAD.size + i * size
            out[i] = read_ciphertext(chain, view[start : start + size], parameters.scale, where)
        return out, count

    def _expect_size(self, data: bytes, where: str) -> None:
        size = self.parameters.ciphertext_bytes
        if len(data) != size:
            raise InvalidInput(f"{where}: {len(data)} bytes, not {size}")

    def _expect(self, data: bytes, kind: int, seed: bytes, where: str) -> None:
        magic, found, _, key_id, round_seed, _ = _HEAD.unpack_from(data)
        if (magic, found) != (MAGIC, kind):
            raise InvalidInput(f"{where}: not such a file of scheme ckks")
        if key_id != self.joint.id:
            raise InvalidInput(f"{where}: under another joint key")
        if round_seed != seed:
            raise InvalidInput(f"{where}: of another round")


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
