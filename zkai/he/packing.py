"""Integers to coefficients and back: several to a coefficient, as balanced digits.

With `count` values u_i of `bits` bits to a coefficient, m = sum over i of 2^(bits i) u_i. Sums of
coefficients are sums of digits as long as each sum of values stays below 2^(bits - 1) in size.
Coefficient k of polynomial p holds values (n p + k) count .. (n p + k) count + count - 1.
"""

from __future__ import annotations

import numpy as np

from zkai.errors import VerificationError
from zkai.native import Int64s


def pack_values(values: Int64s, n: int, bits: int, count: int) -> Int64s:
    """Return values (k,) as coefficients (ceil(k / (n count)), n); what is left over is 0."""
    rows = -(-values.size // (n * count))
    padded = np.zeros(rows * n * count, dtype=np.int64)
    padded[: values.size] = values
    digits = padded.reshape(rows, n, count)
    packed = digits[:, :, 0].copy()
    for i in range(1, count):
        packed += digits[:, :, i] << np.int64(bits * i)
    return packed


def unpack_values(packed: Int64s, size: int, bits: int, count: int) -> Int64s:
    """Return the `size` values of coefficients (rows, n); the inverse of `pack_values`.

    Raises VerificationError if what is left over, or what lies above the last digit, is not 0.
    """
    half, cut = np.int64(1 << (bits - 1)), np.int64((1 << bits) - 1)
    digits = np.empty((*packed.shape, count), dtype=np.int64)
    rest = packed.copy()
    for i in range(count):
        digits[..., i] = ((rest + half) & cut) - half
        rest = (rest - digits[..., i]) >> np.int64(bits)
    flat = digits.reshape(-1)
    if rest.any() or flat[size:].any():
        raise VerificationError("the sum overflows, or holds more than the values of its round")
    return flat[:size].copy()
