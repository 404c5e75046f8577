"""SEAL's serialised objects, without SEAL: exact sizes, exact headers, canonical residues.

A file is a header of 16 bytes, fixed fields that the parameters determine, and the raw 64-bit
coefficients of an RNS polynomial in NTT form, one row of N for each prime:

    A15E | 16 | 4 | 3 | compression | 0 0 | u64 size of the file
    parms_id | (ciphertext: NTT flag, polynomials, N, primes) | scale | (correction 1)
    the same header for the array | u64 coefficients | coefficients
    (a seeded ciphertext has half the coefficients, then: header | 1 | seed of the other half)

parms_id is Blake2b-256 of scheme, N, primes and plain modulus 0, so an object of other parameters
is another file from its first field on. From strangers only this form is read: no compression, no
seeds. What SEAL saved compressed or seeded is brought into it by `zkai.he.seal_worker`. This is the
one place that knows SEAL's files: `zkai.he.seal_context` writes the others that it needs by it,
seeded ciphertexts, keys that switch and secret keys.

Source: SEAL 4 (serialization.h, ciphertext.cpp, plaintext.cpp, kswitchkeys.cpp,
encryptionparams.cpp).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zkai.encoding import Limbs
from zkai.errors import InvalidInput, ToolError
from zkai.he.ring import Ring

MAGIC = 0xA15E
HEADER_BYTES = 16
_VERSION = (4, 3)
_PLAIN, _SEALED = 0, 2
"""Compression modes: none, zstd (SEAL's default)."""
_CKKS = 2
SEED_BYTES = 64
_BLAKE2XB = b"\x01"


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


def _frame(fields: bytes, words: int, tail: int = 0) -> bytes:
    """Everything before the coefficients, after which `tail` bytes follow."""
    inner = HEADER_BYTES + 8 + 8 * words
    total = HEADER_BYTES + len(fields) + inner + tail
    return _header(total) + fields + _header(inner) + struct.pack("<Q", words)


def _ciphertext_frame(
    n: int, primes: tuple[int, ...], scale: float, words: int, tail: int = 0
) -> bytes:
    fields = _CIPHERTEXT_FIELDS.pack(parms_id(n, primes), 1, 2, n, len(primes), scale, 1)
    return _frame(fields, words, tail)


def _whole_frame(chain: Chain, primes: tuple[int, ...], scale: float) -> bytes:
    return _ciphertext_frame(chain.n, primes, scale, 2 * len(primes) * chain.n)


def _plaintext_frame(n: int, primes: tuple[int, ...], scale: float) -> bytes:
    words = len(primes) * n
    return _frame(_PLAINTEXT_FIELDS.pack(parms_id(n, primes), words, scale), words)


COEFFICIENTS_AT = 2 * HEADER_BYTES + _CIPHERTEXT_FIELDS.size + 8
"""Where a ciphertext's coefficients begin in its file."""


def level_ciphertext(
    primes: tuple[int, ...], residues: Limbs, scale: float, seed: bytes | None = None
) -> bytes:
    """Return a ciphertext's file at the level of `primes`, from canonical residues.

    `residues` are (2, L, N), or with the seed of the second half (1, L, N).
    """
    tail = b"" if seed is None else _header(HEADER_BYTES + 1 + SEED_BYTES) + _BLAKE2XB + seed
    n, words = residues.shape[-1], residues.size
    return _ciphertext_frame(n, primes, scale, words, len(tail)) + _raw(residues) + tail


def split_seeded(data: bytes, primes: int, n: int) -> tuple[Limbs, bytes]:
    """Return the (L, N) residues and the seed of a seeded ciphertext's file, which SEAL made.

    Raises ToolError for a file of another size.
    """
    count = primes * n
    if len(data) != COEFFICIENTS_AT + 8 * count + HEADER_BYTES + 1 + SEED_BYTES:
        raise ToolError("this version of SEAL writes files that zkai does not know")
    residues = np.frombuffer(data, "<u8", count, COEFFICIENTS_AT).reshape(primes, n)
    return residues.astype(np.uint64, copy=False), data[-SEED_BYTES:]


def write_secret_key(primes: tuple[int, ...], residues: Limbs) -> bytes:
    """Return a secret key's file from canonical (K, N) residues: a plaintext at the key's level."""
    return _plaintext_frame(residues.shape[-1], primes, 1.0) + _raw(residues)


def write_switch_keys(
    n: int, primes: tuple[int, ...], keys: Mapping[int, Sequence[bytes]], count: int
) -> bytes:
    """Return the file of `count` places with keys that switch: each a list of seeded files."""
    places = (
        struct.pack("<Q", len(keys.get(place, ()))) + b"".join(keys.get(place, ()))
        for place in range(count)
    )
    body = parms_id(n, primes) + struct.pack("<Q", count) + b"".join(places)
    return _header(HEADER_BYTES + len(body)) + body


def split_switch_keys(data: bytes) -> dict[int, list[bytes]]:
    """Return the files of each place's key, from keys that SEAL made and saved uncompressed."""
    position, found = HEADER_BYTES + 40, {}
    (count,) = struct.unpack_from("<Q", data, HEADER_BYTES + 32)
    for place in range(count):
        (digits,) = struct.unpack_from("<Q", data, position)
        position, parts = position + 8, []
        for _ in range(digits):
            (size,) = struct.unpack_from("<Q", data, position + 8)
            parts.append(data[position : position + size])
            position += size
        if parts:
            found[place] = parts
    return found


def uncompressed(data: bytes) -> bytes:
    """Return a file that SEAL saved of an object of ours, uncompressed."""
    if data[5] == _PLAIN:
        return data
    import zstandard

    body = zstandard.ZstdDecompressor().decompressobj().decompress(data[HEADER_BYTES:])
    return _header(HEADER_BYTES + len(body)) + bytes(body)


def write_ciphertext(chain: Chain, polynomials: Limbs, scale: float) -> bytes:
    """Return a ciphertext's file from (2, L, N) coefficients c0, c1 in NTT form, L data primes.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(polynomials, chain, (2, len(chain.data_primes)), "ciphertext")
    return _whole_frame(chain, chain.data_primes, scale) + _raw(polynomials)


def read_ciphertext(
    chain: Chain, data: bytes | memoryview, scale: float, where: str = "ciphertext"
) -> Limbs:
    """Return the (2, L, N) coefficients of a ciphertext's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_ciphertext` would not have made
    with this chain and scale, and for one whose c1 is zero, which hides nothing.
    """
    frame = _whole_frame(chain, chain.data_primes, scale)
    words = _read(chain, data, frame, (2, len(chain.data_primes)), where)
    if not words[1].any():
        raise InvalidInput(f"{where}: its c1 is zero: the message stands there in clear")
    return words


def write_public_key(chain: Chain, key: Limbs) -> bytes:
    """Return a public key's file from (2, K, N): b, a modulo all K primes, in NTT form.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(key, chain, (2, len(chain.primes)), "public key")
    return _whole_frame(chain, chain.primes, 1.0) + _raw(key)


def read_public_key(chain: Chain, data: bytes | memoryview, where: str = "public key") -> Limbs:
    """Return the (2, K, N) coefficients of a public key's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_public_key` would not have made,
    and for a key of zeros, which hides nothing.
    """
    frame = _whole_frame(chain, chain.primes, 1.0)
    words = _read(chain, data, frame, (2, len(chain.primes)), where)
    if not words.any(axis=2).all():
        raise InvalidInput(f"{where}: a polynomial of zeros: it would hide nothing")
    return words


def write_plaintext(chain: Chain, polynomial: Limbs, scale: float) -> bytes:
    """Return a plaintext's file from (L, N) coefficients in NTT form.

    Raises InvalidInput for another shape, or residues that are not canonical.
    """
    _check_words(polynomial, chain, (len(chain.data_primes),), "plaintext")
    return _plaintext_frame(chain.n, chain.data_primes, scale) + _raw(polynomial)


def read_plaintext(
    chain: Chain, data: bytes | memoryview, scale: float, where: str = "plaintext"
) -> Limbs:
    """Return the (L, N) coefficients of a plaintext's file, read-only.

    Raises InvalidInput, naming `where`, for any file that `write_plaintext` would not have made.
    """
    return _read(
        chain,
        data,
        _plaintext_frame(chain.n, chain.data_primes, scale),
        (len(chain.data_primes),),
        where,
    )


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
