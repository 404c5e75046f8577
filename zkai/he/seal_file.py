"""SEAL's serialised objects, without SEAL: exact sizes, exact headers, canonical residues.

A file is a header of 16 bytes, fixed fields that the parameters determine, and the raw 64-bit
coefficients of an RNS polynomial in NTT form, one row of N for each prime:

    A15E | 16 | 4 | 3 | compression | 0 0 | u64 size of the file
    parms_id | (ciphertext: NTT flag, polynomials, N, primes) | scale | (correction 1)
    the same header for the array | u64 coefficients | coefficients

parms_id is Blake2b-256 of scheme, N, primes and plain modulus 0, so an object of other parameters
is another file from its first field on. Only this form is read: no compression, no seeds. What
SEAL saved compressed or seeded is brought into it by `zkai.he.seal_worker`.

Source: SEAL 4 (serialization.h, ciphertext.cpp, plaintext.cpp, encryptionparams.cpp).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.he.ring import Ring

MAGIC = 0xA15E
HEADER_BYTES = 16
_VERSION = (4, 3)
_PLAIN, _SEALED = 0, 2
"""Compression modes: none, zstd (SEAL's default)."""
_CKKS = 2


@dataclass(frozen=True)
class Chain:
    """A ring's n and SEAL's coefficient primes, the special one last if there are several.

    Raises InvalidInput as `Ring` does.
    """

    n: int
    primes: tuple[int, ...]

    def __post_init__(self) -> None:
        Ring(self.n, self.primes)

    @property
    def ring(self) -> Ring:
        """The ring of keys: all primes."""
        return Ring(self.n, self.primes)

    @property
    def data_ring(self) -> Ring:
        """The ring of ciphertexts."""
        return Ring(self.n, self.data_primes)

    @property
    def data_primes(self) -> tuple[int, ...]:
        """The primes of fresh ciphertexts: all but the special one."""
        return self.primes[:-1] or self.primes

    @property
    def slots(self) -> int:
        """Numbers in one ciphertext: N / 2."""
        return self.n // 2

    @property
    def ciphertext_bytes(self) -> int:
        """Size of a ciphertext's file."""
        return self._bytes(_CIPHERTEXT_FIELDS, 2 * len(self.data_primes))

    @property
    def public_key_bytes(self) -> int:
        """Size of a public key's file."""
        return self._bytes(_CIPHERTEXT_FIELDS, 2 * len(self.primes))

    @property
    def plaintext_bytes(self) -> int:
        """Size of a plaintext's file."""
        return self._bytes(_PLAINTEXT_FIELDS, len(self.data_primes))

    def _bytes(self, fields: struct.Struct, rows: int) -> int:
        return 2 * HEADER_BYTES + fields.size + 8 + 8 * rows * self.n


_CIPHERTEXT_FIELDS = struct.Struct("<32sBQQQdQ")
_PLAINTEXT_FIELDS = struct.Struct("<32sQd")
_HEADER = struct.Struct("<HBBBBHQ")


def parms_id(n: int, primes: tuple[int, ...]) -> bytes:
    """Return SEAL's identifier of CKKS parameters: Blake2b-256(scheme, N, primes, 0)."""
    words = (_CKKS, n, *primes, 0)
    return hashlib.blake2b(struct.pack(f"<{len(words)}Q", *words), digest_size=32).digest()


def _header(size: int) -> bytes:
    return _HEADER.pack(MAGIC, HEADER_BYTES, *_VERSION, _PLAIN, 0, size)


def _frame(fields: bytes, words: int) -> bytes:
    """Everything before the coefficients."""
    inner = HEADER_BYTES + 8 + 8 * words
    total = HEADER_BYTES + len(fields) + inner
    return _header(total) + fields + _header(inner) + struct.pack("<Q", words)


def _ciphertext_frame(chain: Chain, primes: tuple[int, ...], scale: float) -> bytes:
    shape = (2, chain.n, len(primes))
    fields = _CIPHERTEXT_FIELDS.pack(parms_id(chain.n, primes), 1, *shape, scale, 1)
    return _frame(fields, 2 * len(primes) * chain.n)


def _plaintext_frame(chain: Chain, scale: float) -> bytes:
    words = len(chain.data_primes) * chain.n
    fields = _PLAINTEXT_FIELDS.pack(parms_id(chain.n, chain.data_primes), words, scale)
    return _frame(fields, words)


def write_ciphertext(chain: Chain, polynomials: Limbs, scale: float) -> bytes:
    """Return a ciphertext's file from (2, L, N) coefficients c0, c1 in NTT form, L data primes.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(polynomials, chain, (2, len(chain.data_primes)), "ciphertext")
    return _ciphertext_frame(chain, chain.data_primes, scale) + _raw(polynomials)


def read_ciphertext(
    chain: Chain, data: bytes | memoryview, scale: float, where: str = "ciphertext"
) -> Limbs:
    """Return the (2, L, N) coefficients of a ciphertext's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_ciphertext` would not have made
    with this chain and scale, and for one whose c1 is zero, which hides nothing.
    """
    frame = _ciphertext_frame(chain, chain.data_primes, scale)
    words = _read(chain, data, frame, (2, len(chain.data_primes)), where)
    if not words[1].any():
        raise InvalidInput(f"{where}: its c1 is zero: the message stands there in clear")
    return words


def write_public_key(chain: Chain, key: Limbs) -> bytes:
    """Return a public key's file from (2, K, N): b, a modulo all K primes, in NTT form.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(key, chain, (2, len(chain.primes)), "public key")
    return _ciphertext_frame(chain, chain.primes, 1.0) + _raw(key)


def read_public_key(chain: Chain, data: bytes | memoryview, where: str = "public key") -> Limbs:
    """Return the (2, K, N) coefficients of a public key's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_public_key` would not have made,
    and for a key of zeros, which hides nothing.
    """
    frame = _ciphertext_frame(chain, chain.primes, 1.0)
    words = _read(chain, data, frame, (2, len(chain.primes)), where)
    if not words.any(axis=2).all():
        raise InvalidInput(f"{where}: a polynomial of zeros: it would hide nothing")
    return words


def write_plaintext(chain: Chain, polynomial: Limbs, scale: float) -> bytes:
    """Return a plaintext's file from (L, N) coefficients in NTT form.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(polynomial, chain, (len(chain.data_primes),), "plaintext")
    return _plaintext_frame(chain, scale) + _raw(polynomial)


def read_plaintext(
    chain: Chain, data: bytes | memoryview, scale: float, where: str = "plaintext"
) -> Limbs:
    """Return the (L, N) coefficients of a plaintext's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_plaintext` would not have made.
    """
    return _read(chain, data, _plaintext_frame(chain, scale), (len(chain.data_primes),), where)


def _raw(words: Limbs) -> bytes:
    return np.ascontiguousarray(words, dtype="<u8").tobytes()


def _check_words(words: Limbs, chain: Chain, rows: tuple[int, ...], where: str) -> None:
    if words.dtype != np.uint64 or words.shape != (*rows, chain.n):
        raise InvalidInput(f"{where}: expected unsigned 64-bit words of {(*rows, chain.n)}")
    primes = np.array(chain.primes[: rows[-1]], dtype=np.uint64)
    if (words >= primes[:, None]).any():
        raise InvalidInput(f"{where}: a residue is not below its prime")


def _read(
    chain: Chain, data: bytes | memoryview, frame: bytes, rows: tuple[int, ...], where: str
) -> Limbs:
    expected = len(frame) + 8 * chain.n * int(np.prod(rows))
    head = bytes(data[: len(frame)])
    if len(data) != expected:
        raise InvalidInput(f"{where}: {_size_fault(head, len(data), expected)}")
    if head != frame:
        at = next(i for i in range(len(frame)) if head[i] != frame[i])
        raise InvalidInput(f"{where}: {_frame_fault(at)}")
    words = np.frombuffer(data, dtype="<u8", offset=len(frame)).astype(np.uint64, copy=False)
    words = words.reshape(*rows, chain.n)
    _check_words(words, chain, rows, where)
    return words


def _size_fault(head: bytes, size: int, expected: int) -> str:
    if head[:2] == _HEADER.pack(MAGIC, 0, 0, 0, 0, 0, 0)[:2] and head[5:6] not in (b"", b"\0"):
        return "compressed; only uncompressed files are read (seal_worker.normalise makes one)"
    return f"{size} bytes; with these parameters it has {expected} (a seeded file has fewer)"


def _frame_fault(at: int) -> str:
    if at < HEADER_BYTES:
        names = ("magic", "magic", "header size", "version", "version", "compression mode")
        return f"not SEAL's header ({names[at] if at < 6 else 'size'})"
    if at < HEADER_BYTES + 32:
        return "made with other parameters (parms_id)"
    return "another shape or scale than these parameters give"
