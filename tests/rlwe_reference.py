"""Threshold additive RLWE with Python integers and pyca's ChaCha20: what C must equal bit for bit.

Polynomials are numpy object arrays of Python integers; one row for each prime.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

Row = Any  # an object array (n,)


def words(seed: bytes, kind: int, index: int, count: int) -> list[int]:
    """The first `count` 64-bit words of ChaCha20's stream: block counter 0, nonce (kind, index)."""
    nonce = struct.pack("<IIQ", 0, kind, index)
    stream = Cipher(algorithms.ChaCha20(seed, nonce), None).encryptor().update(bytes(8 * count))
    return list(struct.unpack(f"<{count}Q", stream))


def uniform(seed: bytes, kind: int, index: int, n: int, primes: Sequence[int]) -> list[Row]:
    stream: Iterator[int] = iter(words(seed, kind, index, 4 * n * len(primes) + 64))
    rows = []
    for q in primes:
        cut = (1 << q.bit_length()) - 1
        row: list[int] = []
        while len(row) < n:
            word = next(stream) & cut
            if word < q:
                row.append(word)
        rows.append(np.array(row, dtype=object))
    return rows


def ternary(seed: bytes, kind: int, index: int, n: int) -> list[int]:
    digits = [w >> 2 * i & 3 for w in words(seed, kind, index, n) for i in range(32)]
    return [d - 1 for d in digits if d < 3][:n]


def binomial(seed: bytes, kind: int, index: int, n: int) -> list[int]:
    def one(word: int) -> int:
        return (word & 0x1FFFFF).bit_count() - (word >> 21 & 0x1FFFFF).bit_count()

    return [one(word) for word in words(seed, kind, index, n)]


def smudge(seed: bytes, kind: int, index: int, n: int, bits: int) -> list[int]:
    return [word % (2 << bits) - (1 << bits) for word in words(seed, kind, index, n)]


@cache
def minimal_root(n: int, q: int) -> int:
    """The least x with x^n = -1 mod q."""
    powers = (pow(x, (q - 1) // (2 * n), q) for x in range(2, q))
    root = next(x for x in powers if pow(x, n, q) == q - 1)
    return min(pow(root, k, q) for k in range(1, 2 * n, 2))


def reversal(n: int) -> list[int]:
    """The order of bits reversed."""
    bits = n.bit_length() - 1
    return [int(format(i, f"0{bits}b")[::-1], 2) for i in range(n)]


def ntt(row: Row, q: int) -> Row:
    """Values at psi^(2 rev(i) + 1), by splitting into even and odd coefficients."""
    psi = minimal_root(len(row), q)
    return _evaluate(np.array(row, dtype=object) % q, psi, q)[reversal(len(row))]


def _evaluate(row: Row, psi: int, q: int) -> Row:
    n = len(row)
    if n == 1:
        return row
    even, odd = (_evaluate(row[k::2], psi * psi % q, q) for k in (0, 1))
    x = np.array([pow(psi, 2 * i + 1, q) for i in range(n // 2)], dtype=object)
    return np.concatenate([(even + x * odd) % q, (even - x * odd) % q])


def inverse_ntt(row: Row, q: int) -> Row:
    psi = minimal_root(len(row), q)
    return _interpolate(row[reversal(len(row))], psi, q)


def _interpolate(values: Row, psi: int, q: int) -> Row:
    n = len(values)
    if n == 1:
        return values
    low, high = values[: n // 2], values[n // 2 :]
    half, back = pow(2, -1, q), pow(psi, -1, q)
    x = np.array([pow(back, 2 * i + 1, q) for i in range(n // 2)], dtype=object)
    row = np.empty(n, dtype=object)
    row[0::2] = _interpolate((low + high) * half % q, psi * psi % q, q)
    row[1::2] = _interpolate((low - high) * half % q * x % q, psi * psi % q, q)
    return row


def product(a: Row, b: Row, q: int) -> Row:
    """a b modulo X^n + 1 and q, by the definition."""
    n = len(a)
    out = np.zeros(n, dtype=object)
    for i, x in enumerate(a):
        if x:
            out[i:] += x * b[: n - i]
            out[:i] -= x * b[n - i :]
    return out % q


def pack(rows: Sequence[Row], primes: Sequence[int]) -> bytes:
    value, at = 0, 0
    for row, q in zip(rows, primes, strict=True):
        for x in row:
            value |= int(x) << at
            at += q.bit_length()
    return value.to_bytes(at // 8, "little")


def centred(residues: Sequence[int], primes: Sequence[int]) -> int:
    """The integer in (-Q/2, Q/2) with these residues."""
    modulus = prod(primes)
    value = 0
    for r, q in zip(residues, primes, strict=True):
        rest = modulus // q
        value += int(r) * rest * pow(rest, -1, q)
    value %= modulus
    return value - modulus if value > modulus // 2 else value


def nearest(x: int, scale: int) -> int:
    """x / scale to the nearest integer, ties away from 0."""
    magnitude = (2 * abs(x) + scale) // (2 * scale) if scale % 2 else (abs(x) + scale // 2) // scale
    return magnitude if x >= 0 else -magnitude


def interpolate(points: Sequence[int], values: Sequence[Row], at: int, q: int) -> Row:
    """f(at) for the polynomial of least degree with f(points[k]) = values[k], entry by entry."""
    total: Row = np.zeros(len(values[0]), dtype=object)
    for j, value in zip(points, values, strict=True):
        weight = Fraction(1)
        for k in points:
            if k != j:
                weight *= Fraction(at - k, j - k)
        total = total + value * (weight.numerator * pow(weight.denominator, -1, q))
    return total % q
