"""The C library's rings: typed wrappers, as in zkai.native.

A polynomial of Z_q[X]/(X^n + 1) modulo L primes is L rows of n residues, uint64; arrays of them
have shape (..., L, n). `Tables` hold what C needs to know of n and the primes. Every residue must
be below its prime: InvalidInput otherwise, and for every wrong dtype, shape or length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai._native import ffi, lib
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.native import Int64s, check, in_u64

SEED_BYTES = 32
_HEADER = 8
MAX_INDEX = 1 << 63
_OPERATIONS = {"add": 0, "subtract": 1, "multiply": 2}


class Distribution(IntEnum):
    """What `sample` draws: -1, 0 or 1; centred binomial of 21 coins a side; [-2^bits, 2^bits)."""

    TERNARY = 0
    BINOMIAL = 1
    UNIFORM = 2


@dataclass(frozen=True)
class Tables:
    """The roots of unity and constants of a ring, as C keeps them: opaque words."""

    n: int
    primes: tuple[int, ...]
    words: Limbs

    @classmethod
    def make(cls, n: int, primes: Sequence[int]) -> Tables:
        """Compute the tables of degree n modulo primes = 1 (mod 2n) of 20 to 60 bits."""
        if not 64 <= n <= 1 << 16 or n & (n - 1) or not 1 <= len(primes) <= 16:
            raise InvalidInput("a ring has a power of two of 64..65536 and 1..16 primes")
        moduli = np.array(primes, dtype=np.uint64)
        words = np.zeros(len(primes) * (_HEADER + 4 * n), dtype=np.uint64)
        status = lib.zk_rlwe_tables(in_u64(words), words.size, n, in_u64(moduli), moduli.size)
        check(status, "ring tables")
        words.flags.writeable = False
        return cls(n, tuple(primes), words)

    @property
    def shape(self) -> tuple[int, int]:
        """(L, n): the shape of one polynomial."""
        return len(self.primes), self.n

    def arguments(self) -> tuple[Any, int, int, int]:
        """The arguments that every call of C ends with."""
        return in_u64(self.words), self.words.size, self.n, len(self.primes)

    def polynomials(self, array: Limbs, what: str) -> Limbs:
        """Return `array`, contiguous, if it is (..., L, n) uint64; InvalidInput naming `what`."""
        if not isinstance(array, np.ndarray) or array.dtype != np.uint64:
            raise InvalidInput(f"{what}: expected a numpy array of uint64")
        if array.ndim < 2 or array.shape[-2:] != self.shape:
            raise InvalidInput(f"{what}: expected shape (..., {self.shape[0]}, {self.n})")
        return np.ascontiguousarray(array)

    def integers(self, array: Int64s, what: str) -> Int64s:
        """Return `array`, contiguous, if it is (..., n) int64; InvalidInput naming `what`."""
        if not isinstance(array, np.ndarray) or array.dtype != np.int64:
            raise InvalidInput(f"{what}: expected a numpy array of int64")
        if array.ndim < 1 or array.shape[-1] != self.n:
            raise InvalidInput(f"{what}: expected shape (..., {self.n})")
        return np.ascontiguousarray(array)


def transform(tables: Tables, array: Limbs, inverse: bool = False) -> Limbs:
    """Return the NTT (or its inverse) of polynomials (..., L, n), in SEAL's order."""
    out = tables.polynomials(array, "transform").copy()
    status = lib.zk_rlwe_ntt(in_u64(out), out.size, *tables.arguments(), int(inverse))
    check(status, "transform")
    return out


def uniform(tables: Tables, seed: bytes, kind: int, first: int, count: int) -> Limbs:
    """Expand a seed to `count` uniform polynomials (count, L, n), numbered from `first`.

    Polynomial i takes the words of ChaCha20's stream with nonce (kind, i), cut to the bits of its
    prime and left out where they are not below it: row after row.
    """
    out = np.empty((count, *tables.shape), dtype=np.uint64)
    status = lib.zk_rlwe_uniform(
        in_u64(out), out.size, *_stream(seed, kind, first, count), *tables.arguments()
    )
    check(status, "uniform polynomials")
    return out


def sample(
    n: int, seed: bytes, kind: int, first: int, count: int, what: Distribution, bits: int = 0
) -> Int64s:
    """Expand a secret seed to (count, n) small integers, row i from ChaCha20's nonce (kind, i)."""
    if n < 1 or not 0 <= bits < 62:
        raise InvalidInput("sample: n must be at least 1 and bits 0..61")
    out = np.empty((count, n), dtype=np.int64)
    status = lib.zk_rlwe_sample(
        _in_i64(out), out.size, n, *_stream(seed, kind, first, count), int(what), bits
    )
    check(status, "sample")
    return out


def small(tables: Tables, values: Int64s) -> Limbs:
    """Return integers (..., n), each at most 2^62 in size, as residues (..., L, n)."""
    values = tables.integers(values, "small")
    out = np.empty((*values.shape[:-1], *tables.shape), dtype=np.uint64)
    status = lib.zk_rlwe_small(
        in_u64(out), out.size, _in_i64(values), values.size, *tables.arguments()
    )
    check(status, "small")
    return out


def operate(tables: Tables, operation: str, a: Limbs, b: Limbs, out: Limbs | None = None) -> Limbs:
    """Return a + b, a - b or a * b ("add", "subtract", "multiply") for residues (..., L, n).

    b has a's shape, or is one polynomial for all of a's. `out` may be a itself.
    """
    a, b = tables.polynomials(a, operation), tables.polynomials(b, operation)
    if b.shape != a.shape and b.size != tables.shape[0] * tables.n:
        raise InvalidInput(f"{operation}: the shapes {a.shape} and {b.shape} do not fit")
    if out is None:
        out = np.empty_like(a)
    elif out.shape != a.shape or out.dtype != np.uint64 or not out.flags.c_contiguous:
        raise InvalidInput(f"{operation}: the result's array does not fit")
    status = lib.zk_rlwe_binary(
        in_u64(out), out.size, in_u64(a), a.size, in_u64(b), b.size,
        *tables.arguments(), _OPERATIONS[operation],
    )  # fmt: skip
    check(status, operation)
    return out


def combine(tables: Tables, inputs: Limbs, weights: Limbs) -> Limbs:
    """Return sum over k of weights[k] inputs[..., k, :, :] for inputs (..., k, L, n), (k, L)."""
    inputs = tables.polynomials(inputs, "combine")
    weights = np.ascontiguousarray(weights)
    if inputs.ndim < 3 or weights.dtype != np.uint64:
        raise InvalidInput("combine: expected polynomials (..., k, L, n) and weights of uint64")
    if weights.shape != inputs.shape[-3:-1]:
        raise InvalidInput(f"combine: expected weights of shape {inputs.shape[-3:-1]}")
    out = np.empty((*inputs.shape[:-3], *tables.shape), dtype=np.uint64)
    status = lib.zk_rlwe_combine(
        in_u64(out), out.size, in_u64(inputs), inputs.size, in_u64(weights), weights.size,
        *tables.arguments(),
    )  # fmt: skip
    check(status, "combine")
    return out


def project(tables: Tables, bits: bytes, data: Limbs) -> Limbs:
    """Return the products (L, rows) of a matrix of bits with coefficients (L, n), modulo q.

    A row of the matrix is n / 8 bytes, the highest bit first.
    """
    data = tables.polynomials(data, "project").reshape(-1)
    rows, rest = divmod(len(bits), tables.n // 8)
    if rest or rows == 0 or data.size != tables.n * len(tables.primes):
        raise InvalidInput("project: expected one polynomial, and rows of n bits")
    out = np.empty((len(tables.primes), rows), dtype=np.uint64)
    status = lib.zk_rlwe_project(
        in_u64(out), out.size, ffi.from_buffer("uint8_t[]", bits), len(bits),
        in_u64(data), data.size, *tables.arguments(),
    )  # fmt: skip
    check(status, "project")
    return out


def mask(
    tables: Tables,
    key: Limbs,
    stream: tuple[bytes, int, int],
    small: Int64s,
    messages: Int64s | None = None,
    scale: int = 0,
) -> Limbs:
    """Return A_i key + small_i + scale * messages_i as residues (m, L, n) in coefficient form.

    A_i is polynomial first + i of `uniform(seed, kind, ...)` for stream = (seed, kind, first), in
    NTT form as the key (L, n) is; small and messages are (m, n), each at most 2^62 in size.
    """
    key = tables.polynomials(key, "mask: key").reshape(-1)
    small = tables.integers(small, "mask: small").reshape(-1, tables.n)
    seed, kind, first = stream
    scales = np.array([scale % q for q in tables.primes], dtype=np.uint64)
    if messages is None:
        numbers = (ffi.NULL, 0)
    else:
        messages = tables.integers(messages, "mask: messages")
        numbers = (_in_i64(messages), messages.size)
    out = np.empty((small.shape[0], *tables.shape), dtype=np.uint64)
    status = lib.zk_rlwe_mask(
        in_u64(out), out.size, in_u64(key), key.size, *_stream(seed, kind, first, len(small)),
        _in_i64(small), small.size, *numbers, in_u64(scales), scales.size, *tables.arguments(),
    )  # fmt: skip
    check(status, "mask")
    return out


def add_noise(
    tables: Tables,
    out: Limbs,
    seeds: Sequence[bytes],
    weights: Limbs,
    kind: int,
    bits: int,
    first: int = 0,
) -> None:
    """Add sum over k of weights[k] v_k to residues (m, L, n), for weights (k, L) below q.

    v_k (m, n) is `sample` of seed k, kind, first and bits, uniform in [-2^bits, 2^bits).
    """
    if tables.polynomials(out, "noise") is not out or out.ndim != 3:
        raise InvalidInput("noise: expected one array (m, L, n), without gaps")
    weights = np.ascontiguousarray(weights)
    if weights.dtype != np.uint64 or weights.shape != (len(seeds), len(tables.primes)):
        raise InvalidInput("noise: expected weights (k, L) of uint64, one for each seed")
    if any(len(seed) != SEED_BYTES for seed in seeds) or not 0 <= bits < 62 or first < 0:
        raise InvalidInput(f"noise: seeds have {SEED_BYTES} bytes, and bits are 0..61")
    data = b"".join(seeds)
    status = lib.zk_rlwe_noise(
        in_u64(out), out.size, ffi.from_buffer("uint8_t[]", data), len(data),
        in_u64(weights), weights.size, kind, first, bits, *tables.arguments(),
    )  # fmt: skip
    check(status, "noise")


def lift(tables: Tables, data: Limbs) -> Limbs:
    """Return the centred coefficients of residues (..., L, n), L <= 2, as (..., n, 2) uint64.

    The two words, low first, are a 128-bit integer in two's complement.
    """
    data = tables.polynomials(data, "lift")
    out = np.empty((*data.shape[:-2], tables.n, 2), dtype=np.uint64)
    status = lib.zk_rlwe_lift(in_u64(out), out.size, in_u64(data), data.size, *tables.arguments())
    check(status, "lift")
    return out


def round_off(tables: Tables, data: Limbs, scale: int) -> tuple[Int64s, list[int]]:
    """Divide the centred coefficients of (m, L, n), L <= 2, by `scale`, to the nearest integers.

    Returns them (m, n), and for each polynomial the largest distance from a multiple of `scale`.
    """
    data = tables.polynomials(data, "round")
    if data.ndim != 3 or not 0 < scale < 1 << 126:
        raise InvalidInput("round: expected residues (m, L, n) and a scale below 2^126")
    out = np.empty((data.shape[0], tables.n), dtype=np.int64)
    noise = np.empty((data.shape[0], 2), dtype=np.uint64)
    words = np.array([scale & ((1 << 64) - 1), scale >> 64], dtype=np.uint64)
    status = lib.zk_rlwe_round(
        _in_i64(out), out.size, in_u64(noise), noise.size, in_u64(data), data.size,
        in_u64(words), words.size, *tables.arguments(),
    )  # fmt: skip
    check(status, "round")
    return out, [int(low) | int(high) << 64 for low, high in noise]


def polynomial_bytes(tables: Tables) -> int:
    """Return the packed length of one polynomial: n * (bits of all primes) / 8."""
    return sum(tables.n * q.bit_length() for q in tables.primes) // 8


def pack(tables: Tables, data: Limbs) -> bytes:
    """Return residues (..., L, n) as bytes: each in its prime's bits, lowest first, no gaps."""
    data = tables.polynomials(data, "pack")
    count = data.size // (tables.shape[0] * tables.n)
    out = np.empty(count * polynomial_bytes(tables), dtype=np.uint8)
    status = lib.zk_rlwe_pack(
        ffi.from_buffer("uint8_t[]", out), out.size, in_u64(data), data.size, *tables.arguments()
    )
    check(status, "pack")
    return out.tobytes()


def unpack(tables: Tables, data: bytes | memoryview, count: int, what: str) -> Limbs:
    """Return the `count` polynomials (count, L, n) of packed bytes; the inverse of `pack`.

    Raises InvalidInput, naming `what`, for another length or a residue at or above its prime.
    """
    if count < 0 or len(data) != count * polynomial_bytes(tables):
        expected = count * polynomial_bytes(tables)
        raise InvalidInput(f"{what}: expected {expected} bytes of polynomials, got {len(data)}")
    out = np.empty((count, *tables.shape), dtype=np.uint64)
    status = lib.zk_rlwe_unpack(
        in_u64(out), out.size, ffi.from_buffer("uint8_t[]", data), len(data), *tables.arguments()
    )
    check(status, what)
    return out


def _stream(seed: bytes, kind: int, first: int, count: int) -> tuple[Any, int, int, int]:
    if len(seed) != SEED_BYTES:
        raise InvalidInput(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    if not 0 <= kind < 1 << 32 or not 0 <= first <= first + count < MAX_INDEX or count < 0:
        raise InvalidInput("a stream's kind or index is out of range")
    return ffi.from_buffer("uint8_t[]", seed), len(seed), kind, first


def _in_i64(array: npt.NDArray[np.int64]) -> Any:
    return ffi.from_buffer("int64_t[]", array)
