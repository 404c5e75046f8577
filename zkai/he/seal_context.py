"""Microsoft SEAL's CKKS, by way of `tenseal.sealapi`, and the bytes that leave and enter it.

SEAL's own files never travel. What travels is residues, each in as many whole bytes as its prime
needs, and for what a secret key's holder made the 64-byte seed of the second half: half the size.
Whoever receives them checks their exact length and that each residue is below its prime, and
builds the file that SEAL loads itself: no header, count or compressed stream of a stranger gets as
far as SEAL's loader.

Sources: SEAL 4, native/src/seal/{ciphertext,kswitchkeys,serialization}.cpp;
Cheon, Kim, Kim, Song, "Homomorphic encryption for arithmetic of approximate numbers", 2017.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput, ToolError
from zkai.he.seal_file import (
    COEFFICIENTS_AT,
    SEED_BYTES,
    level_ciphertext,
    split_seeded,
    split_switch_keys,
    uncompressed,
    write_secret_key,
    write_switch_keys,
)

Residues = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.float64]

MAX_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}
"""Most bits of all primes together at 128-bit security, ternary secrets (HomomorphicEncryption.org,
2018, table 1)."""


@dataclass(frozen=True)
class CkksParameters:
    """A ring of degree `ring`, primes of `prime_bits` (the last is the key switch's) and a scale.

    Raises InvalidInput for what has less than 128-bit security.
    """

    name: str
    ring: int
    prime_bits: tuple[int, ...]
    scale_bits: int

    def __post_init__(self) -> None:
        if sum(self.prime_bits) > MAX_BITS.get(self.ring, 0):
            raise InvalidInput(f"{self.name}: below 128-bit security; use fewer or smaller primes")

    @property
    def slots(self) -> int:
        """How many real numbers a ciphertext holds."""
        return self.ring // 2

    @property
    def scale(self) -> float:
        """What fresh values are multiplied with before they are rounded."""
        return 2.0**self.scale_bits

    @property
    def levels(self) -> int:
        """How many primes a fresh ciphertext has."""
        return len(self.prime_bits) - 1

    def residue_bytes(self, primes: int | None = None) -> int:
        """Return the bytes of one polynomial over the first `primes` primes (all: key level)."""
        return self.ring * sum((bits + 7) // 8 for bits in self.prime_bits[:primes])

    def fresh_bytes(self, primes: int | None = None) -> int:
        """Return the bytes of a ciphertext that the secret key's holder made."""
        return self.residue_bytes(self.levels if primes is None else primes) + SEED_BYTES

    def computed_bytes(self, primes: int) -> int:
        """Return the bytes of a ciphertext that came out of a computation."""
        return 2 * self.residue_bytes(primes)

    @property
    def switch_key_bytes(self) -> int:
        """Bytes of one key for relinearisation or for one rotation."""
        return self.levels * (self.residue_bytes() + SEED_BYTES)

    def rotation(self, step: int) -> int:
        """Return the Galois element that moves slot i + step to slot i."""
        return pow(3, step % self.slots, 2 * self.ring)


def sealapi() -> Any:
    """Return the module `tenseal.sealapi`. Raises ToolError if it is not installed."""
    try:
        import tenseal.sealapi as module
    except ImportError as error:
        raise ToolError("encryption with CKKS needs an extra: pip install 'zkai[he]'") from error
    return module


def saved(thing: Any) -> bytes:
    """Return what SEAL saves of an object of ours, uncompressed."""
    with _scratch() as path:
        thing.save(path)
        return uncompressed(Path(path).read_bytes())


@contextmanager
def _scratch() -> Iterator[str]:
    """Yield the path of a file that nobody else can open: SEAL saves and loads by name only."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("zkai-seal", os.MFD_CLOEXEC)
        try:
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    with tempfile.TemporaryDirectory(prefix="zkai-seal-") as folder:
        yield os.path.join(folder, "seal")


def pack(residues: Residues, prime_bits: Sequence[int]) -> bytes:
    """Return residues of shape (..., primes, N), each in the whole bytes that its prime needs."""
    rows = np.ascontiguousarray(residues, "<u8").reshape(-1, len(prime_bits), residues.shape[-1])
    raw = rows.view(np.uint8).reshape(*rows.shape, 8)
    widths = [(bits + 7) // 8 for bits in prime_bits]
    return b"".join(
        raw[i, j, :, :w].tobytes() for i in range(len(raw)) for j, w in enumerate(widths)
    )


def unpack(data: bytes, primes: Sequence[int], ring: int, where: str) -> Residues:
    """Return the residues of one polynomial, shape (primes, N).

    Raises InvalidInput, naming `where`, for another length or a residue that is not below its
    prime.
    """
    widths = [(prime.bit_length() + 7) // 8 for prime in primes]
    if len(data) != ring * sum(widths):
        raise InvalidInput(f"{where}: expected {ring * sum(widths)} bytes, got {len(data)}")
    result = np.zeros((len(primes), ring, 8), np.uint8)
    flat, start = np.frombuffer(data, np.uint8), 0
    for row, width in zip(result, widths, strict=True):
        row[:, :width] = flat[start : start + ring * width].reshape(ring, width)
        start += ring * width
    residues = result.view("<u8")[..., 0].astype(np.uint64, copy=False)
    if (residues >= np.array(primes, np.uint64)[:, None]).any():
        raise InvalidInput(f"{where}: a residue is not below its prime")
    return residues


class SealContext:
    """SEAL's context of some parameters, its encoder and its evaluator."""

    def __init__(self, parameters: CkksParameters) -> None:
        api = self.api = sealapi()
        self.parameters = parameters
        chosen = api.EncryptionParameters(api.SCHEME_TYPE.CKKS)
        chosen.set_poly_modulus_degree(parameters.ring)
        bits = list(parameters.prime_bits)
        chosen.set_coeff_modulus(api.CoeffModulus.Create(parameters.ring, bits))
        self.primes: tuple[int, ...] = tuple(int(m.value()) for m in chosen.coeff_modulus())
        self.seal = api.SEALContext(chosen, True, api.SEC_LEVEL_TYPE.TC128)
        if not self.seal.parameters_set():
            raise InvalidInput(f"{parameters.name}: {self.seal.parameters_error_message()}")
        self.encoder, self.evaluator = api.CKKSEncoder(self.seal), api.Evaluator(self.seal)

    @cached_property
    def parms_ids(self) -> dict[int, list[int]]:
        """SEAL's names of the levels, by their number of primes; the key's level has all."""
        found, data = {len(self.primes): self.seal.key_parms_id()}, self.seal.first_context_data()
        for count in range(self.parameters.levels, 0, -1):
            found[count] = data.parms_id()
            data = data.next_context_data()
        return found

    def encode(self, values: Slots | float, scale: float, primes: int | None = None) -> Any:
        """Return a plaintext of slots (fewer than all: the rest is zero) or of one constant."""
        plain = self.api.Plaintext()
        parms_id = self.parms_ids[self.parameters.levels if primes is None else primes]
        given = values.ravel().tolist() if isinstance(values, np.ndarray) else float(values)
        self.encoder.encode(given, parms_id, scale, plain)
        return plain

    def ciphertext(self, data: bytes, primes: int, scale: float, where: str, seeded: bool) -> Any:
        """Return SEAL's ciphertext of residues that `fresh` or `computed` made.

        Raises InvalidInput, naming `where`, for a wrong length or a residue out of range.
        """
        size = self.parameters.residue_bytes(primes)
        expected = size + SEED_BYTES if seeded else 2 * size
        if len(data) != expected:
            raise InvalidInput(f"{where}: expected {expected} bytes, got {len(data)}")
        halves = [data[:size]] if seeded else [data[:size], data[size:]]
        moduli, ring = self.primes[:primes], self.parameters.ring
        residues = [unpack(half, moduli, ring, where) for half in halves]
        seed = data[size:] if seeded else None
        file = level_ciphertext(moduli, np.stack(residues), scale, seed)
        return self.load(self.api.Ciphertext(), file)

    def switch_keys(self, data: bytes, elements: Sequence[int] | None, where: str) -> Any:
        """Return Galois keys of `elements`, or for None the relinearisation key.

        Raises InvalidInput, naming `where`, for a wrong length or a residue out of range.
        """
        one, digits = self.parameters.switch_key_bytes, self.parameters.levels
        places = [0] if elements is None else [(element - 1) // 2 for element in elements]
        if len(data) != one * len(places):
            raise InvalidInput(f"{where}: expected {one * len(places)} bytes, got {len(data)}")
        made: dict[int, list[bytes]] = {}
        for number, place in enumerate(places):
            made[place] = []
            for digit in range(digits):
                start = number * one + digit * (one // digits)
                part, seed_at = data[start : start + one // digits], one // digits - SEED_BYTES
                half = unpack(part[:seed_at], self.primes, self.parameters.ring, where)
                made[place].append(level_ciphertext(self.primes, half[None], 1.0, part[seed_at:]))
        count = 1 if elements is None else self.parameters.ring
        keys = self.api.RelinKeys() if elements is None else self.api.GaloisKeys()
        return self.load(keys, write_switch_keys(self.parameters.ring, self.primes, made, count))

    def computed(self, ciphertext: Any) -> bytes:
        """Return the bytes of a ciphertext that came out of a computation."""
        file, primes = saved(ciphertext), int(ciphertext.coeff_modulus_size())
        ring, size = self.parameters.ring, int(ciphertext.size())
        residues = np.frombuffer(file, "<u8", size * primes * ring, COEFFICIENTS_AT)
        return pack(residues.reshape(size, primes, ring), self.parameters.prime_bits[:primes])

    def load(self, into: Any, file: bytes) -> Any:
        """Return an object loaded from a file that was written here. Raises InvalidInput."""
        with _scratch() as path:
            Path(path).write_bytes(file)
            try:
                into.load(self.seal, path)
            except (RuntimeError, ValueError) as error:
                raise InvalidInput(f"SEAL refuses a file of residues: {error}") from error
        return into


@lru_cache(maxsize=4)
def context(parameters: CkksParameters) -> SealContext:
    """Return the context of some parameters; making one takes a tenth of a second."""
    return SealContext(parameters)


class SecretKey:
    """A secret key with what needs it. Never shown, and it leaves only by `secret_bytes`."""

    def __init__(self, parameters: CkksParameters, secret: bytes | None = None) -> None:
        self.context = context(parameters)
        api, seal = self.context.api, self.context.seal
        if secret is None:
            self._generator = api.KeyGenerator(seal)
        else:
            self._generator = api.KeyGenerator(seal, self._read(secret))
        key = self._generator.secret_key()
        self._encryptor, self._decryptor = api.Encryptor(seal, key), api.Decryptor(seal, key)

    def _read(self, secret: bytes) -> Any:
        ring, primes = self.context.parameters.ring, self.context.primes
        residues = unpack(secret, primes, ring, "secret key")
        key = self.context.api.SecretKey()
        return self.context.load(key, write_secret_key(primes, residues))

    def secret_bytes(self) -> bytes:
        """Return the key for its owner's own file."""
        parameters = self.context.parameters
        file, count = saved(self._generator.secret_key()), len(parameters.prime_bits)
        residues = np.frombuffer(file[-8 * count * parameters.ring :], "<u8")
        return pack(residues.reshape(count, -1), parameters.prime_bits)

    def fresh(self, values: Slots, scale: float | None = None, primes: int | None = None) -> bytes:
        """Encrypt slots; the bytes are residues and a seed."""
        parameters = self.context.parameters
        chosen = parameters.scale if scale is None else scale
        count = parameters.levels if primes is None else primes
        plain = self.context.encode(values, chosen, count)
        return self._seeded(saved(self._encryptor.encrypt_symmetric(plain)), count)

    def decrypt(self, data: bytes, primes: int, scale: float, where: str) -> Slots:
        """Return the slots of a computed ciphertext.

        Raises InvalidInput, naming `where`, for a wrong length or a residue out of range.
        """
        ciphertext = self.context.ciphertext(data, primes, scale, where, seeded=False)
        plain = self.context.api.Plaintext()
        self._decryptor.decrypt(ciphertext, plain)
        return np.array(self.context.encoder.decode_double(plain))

    def switch_keys(self, elements: Sequence[int] | None) -> bytes:
        """Return the bytes of Galois keys of `elements`, or for None the relinearisation key."""
        if elements is not None and len(elements) == 0:
            return b""
        made = self._generator.create_relin_keys
        keys = made() if elements is None else self._generator.create_galois_keys(list(elements))
        places = [0] if elements is None else [(element - 1) // 2 for element in elements]
        found, primes = split_switch_keys(saved(keys)), len(self.context.primes)
        return b"".join(self._seeded(file, primes) for place in places for file in found[place])

    def _seeded(self, file: bytes, primes: int) -> bytes:
        parameters = self.context.parameters
        residues, seed = split_seeded(file, primes, parameters.ring)
        return pack(residues, parameters.prime_bits[:primes]) + seed


def rotations(parameters: CkksParameters, steps: Iterable[int]) -> list[int]:
    """Return the Galois elements of rotations, each once, in order."""
    return sorted({parameters.rotation(step) for step in steps if step % parameters.slots})
