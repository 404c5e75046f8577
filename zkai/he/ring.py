"""Rings Z_Q[X]/(X^n + 1), Q a product of primes, within the bounds of 128-bit security.

Arrays of polynomials are uint64 of shape (..., L, n): L rows of residues, one for each prime, in
coefficient form or in NTT form (SEAL's order: entry i is the value at psi^(2 rev(i) + 1), psi the
least primitive 2n-th root of unity).

Source: Homomorphic Encryption Security Standard (Albrecht et al., 2018), table 1, ternary secrets,
128 classical bits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.native import Int64s
from zkai.native_rlwe import Distribution, Tables

MAX_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}
"""The largest bit length of Q, by n, that leaves 128 bits of security."""

ERROR_BOUND = 21
"""No error of the centred binomial distribution is larger; its standard deviation is 3.24."""

_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


@dataclass(frozen=True)
class Ring:
    """Z_Q[X]/(X^n + 1) for Q = product of `primes`, each = 1 (mod 2n).

    Raises InvalidInput for an n outside the standard's table, for a modulus too long for it, and
    for primes that are none, that repeat, or that have no 2n-th root of unity.
    """

    n: int
    primes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.n not in MAX_MODULUS_BITS:
            degrees = ", ".join(map(str, MAX_MODULUS_BITS))
            raise InvalidInput(f"ring: n must be one of {degrees}, not {self.n}")
        if not self.primes or len(set(self.primes)) != len(self.primes):
            raise InvalidInput("ring: the primes must be distinct, and at least one")
        for q in self.primes:
            if not 1 << 19 < q < 1 << 60 or q % (2 * self.n) != 1 or not is_prime(q):
                raise InvalidInput(f"ring: {q} is no prime of 20..60 bits = 1 (mod {2 * self.n})")
        allowed = MAX_MODULUS_BITS[self.n]
        if self.modulus.bit_length() > allowed:
            raise InvalidInput(
                f"ring: a modulus of {self.modulus.bit_length()} bits has less than 128 bits of "
                f"security at n = {self.n}; it may have {allowed}"
            )

    @property
    def modulus(self) -> int:
        """Q, the product of the primes."""
        return prod(self.primes)

    @property
    def shape(self) -> tuple[int, int]:
        """(L, n): the shape of one polynomial."""
        return len(self.primes), self.n

    @property
    def polynomial_bytes(self) -> int:
        """The length of one packed polynomial: n * (bits of all primes) / 8."""
        return native.polynomial_bytes(self.tables)

    @property
    def tables(self) -> Tables:
        """The roots of unity of this ring; computed once."""
        return _tables(self.n, self.primes)

    def zeros(self, *shape: int) -> Limbs:
        """Return zero polynomials (*shape, L, n)."""
        return np.zeros((*shape, *self.shape), dtype=np.uint64)

    def ntt(self, array: Limbs) -> Limbs:
        """Return polynomials (..., L, n) in NTT form, from coefficient form."""
        return native.transform(self.tables, array)

    def coefficients(self, array: Limbs) -> Limbs:
        """Return polynomials (..., L, n) in coefficient form, from NTT form."""
        return native.transform(self.tables, array, inverse=True)

    def uniform(self, seed: bytes, kind: int, first: int = 0, count: int = 1) -> Limbs:
        """Expand a seed to uniform polynomials (count, L, n); see native_rlwe.uniform."""
        return native.uniform(self.tables, seed, kind, first, count)

    def ternary(self, seed: bytes, kind: int, count: int = 1, first: int = 0) -> Int64s:
        """Expand a secret seed to polynomials (count, n) with coefficients -1, 0 and 1."""
        return native.sample(self.n, seed, kind, first, count, Distribution.TERNARY)

    def errors(self, seed: bytes, kind: int, count: int = 1, first: int = 0) -> Int64s:
        """Expand a secret seed to errors (count, n): centred binomial, 21 coins a side."""
        return native.sample(self.n, seed, kind, first, count, Distribution.BINOMIAL)

    def smudge(self, seed: bytes, kind: int, count: int, bits: int, first: int = 0) -> Int64s:
        """Expand a secret seed to (count, n) integers uniform in [-2^bits, 2^bits)."""
        return native.sample(self.n, seed, kind, first, count, Distribution.UNIFORM, bits)

    def small(self, values: Int64s) -> Limbs:
        """Return integers (..., n), at most 2^62 in size, in coefficient form (..., L, n)."""
        return native.small(self.tables, values)

    def add(self, a: Limbs, b: Limbs, out: Limbs | None = None) -> Limbs:
        """Return a + b, in either form; b is shaped as a, or is one polynomial (L, n)."""
        return native.operate(self.tables, "add", a, b, out)

    def subtract(self, a: Limbs, b: Limbs, out: Limbs | None = None) -> Limbs:
        """Return a - b, in either form; b is shaped as a, or is one polynomial (L, n)."""
        return native.operate(self.tables, "subtract", a, b, out)

    def multiply(self, a: Limbs, b: Limbs, out: Limbs | None = None) -> Limbs:
        """Return the products of polynomials in NTT form; b as in `add`."""
        return native.operate(self.tables, "multiply", a, b, out)

    def combine(self, inputs: Limbs, weights: Limbs) -> Limbs:
        """Return sum over k of weights[k] inputs[..., k, :, :] for weights (k, L) below q."""
        return native.combine(self.tables, inputs, weights)

    def residues(self, integers: Sequence[int]) -> Limbs:
        """Return integers of any size as weights (k, L) for `combine`."""
        rows = [[value % q for q in self.primes] for value in integers]
        return np.array(rows, dtype=np.uint64).reshape(len(integers), len(self.primes))

    def lift(self, array: Limbs) -> Limbs:
        """Return centred coefficients (..., n, 2) of (..., L, n), L <= 2: 128-bit, low word first.

        Each is the integer in (-Q/2, Q/2) with these residues, in two's complement.
        """
        return native.lift(self.tables, array)

    def largest(self, array: Limbs) -> int:
        """Return the largest centred coefficient, in size, of polynomials (m, L, n), L <= 2."""
        _, distances = native.round_off(self.tables, array, 1 << 125)
        return max(distances, default=0)

    def pack(self, array: Limbs) -> bytes:
        """Return polynomials (..., L, n) as bytes, each residue in the bits of its prime."""
        return native.pack(self.tables, array)

    def unpack(self, data: bytes | memoryview, count: int, what: str) -> Limbs:
        """Return packed polynomials (count, L, n). Raises InvalidInput, naming `what`."""
        return native.unpack(self.tables, data, count, what)

    def encrypt(self, public_key: Limbs, messages: Limbs) -> Limbs:
        """Encrypt messages (m, L, n) under a public key (b, a) (2, L, n), all in NTT form.

        c0 = b u + e0 + message and c1 = a u + e1 for fresh ternary u and errors: (m, 2, L, n),
        as SEAL's encryption without its special prime.
        """
        seed, count = os.urandom(native.SEED_BYTES), len(messages)
        u = self.ntt(self.small(self.ternary(seed, 0, count)))
        out = np.empty((count, 2, *self.shape), dtype=np.uint64)
        for half in range(2):
            error = self.ntt(self.small(self.errors(seed, 1 + half, count)))
            out[:, half] = self.add(self.multiply(u, public_key[half]), error)
        out[:, 0] = self.add(out[:, 0], messages)
        u.fill(0)
        return out


def first(array: Limbs) -> Limbs:
    """Return the first of polynomials (m, L, n), as a view."""
    polynomial: Limbs = array.reshape(-1, *array.shape[-2:])[0]
    return polynomial


@lru_cache(maxsize=16)
def _tables(n: int, primes: tuple[int, ...]) -> Tables:
    return Tables.make(n, primes)


@lru_cache(maxsize=256)
def is_prime(q: int) -> bool:
    """Tell whether q < 2^64 is prime: Miller and Rabin's test with the bases that decide it."""
    if q < 2 or any(q % p == 0 for p in _WITNESSES):
        return q in _WITNESSES
    odd, twos = q - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _WITNESSES:
        x = pow(base, odd, q)
        if x != 1 and all(pow(x, 1 << k, q) != q - 1 for k in range(twos)):
            return False
    return True
