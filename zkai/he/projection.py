"""Random projections: a shared polynomial is tested through a few hundred exact numbers.

P is a random 128 x n matrix of zeros and ones that nobody knows before the shares are fixed. The
map coef(x) -> P coef(x) mod q is linear, so projections of Shamir shares are Shamir shares of the
projection. Two facts make the test:

    x != y mod q            then each row differs with probability at least 1/2
    |x_i| > 2 B for some i  then each row of P x + y0 leaves [-B, B] with probability at least 1/2,
                            for every y0 that was fixed before P

In both, flipping the entry of P that belongs to the coefficient moves the row by that coefficient;
the rows are independent, so either fails to be seen with probability at most 2**-128.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.he.ring import Ring
from zkai.he.shamir import modular_weights
from zkai.native_rlwe import project

ROWS = 128


@dataclass(frozen=True)
class Projection:
    """The matrix P of a seed: a row of n / 8 bytes, highest bit first, after another."""

    bits: bytes
    n: int

    @staticmethod
    def from_seed(seed: bytes, n: int) -> Projection:
        """Expand 32 bytes with SHAKE-256, one bit an entry."""
        return Projection(hashlib.shake_256(seed).digest(ROWS * n // 8), n)

    @property
    def matrix(self) -> npt.NDArray[np.uint8]:
        """P (128, n) as zeros and ones."""
        return np.unpackbits(np.frombuffer(self.bits, np.uint8)).reshape(ROWS, self.n)

    def apply(self, ring: Ring, polynomial: Limbs) -> Limbs:
        """Return P coef(x) modulo each prime, (L, ROWS), of a (L, n) polynomial in NTT form."""
        return project(ring.tables, self.bits, ring.coefficients(polynomial))


def interpolate(ring: Ring, values: Mapping[int, Limbs], threshold: int) -> Limbs | None:
    """Return the value at 0 of the polynomial through (L, m) values at points 1, 2, ...

    None if the values do not all lie on one polynomial of degree below `threshold`.

    Raises InvalidInput for fewer points than that.
    """
    points = sorted(values)
    if len(points) < threshold:
        raise InvalidInput(f"interpolation: {len(points)} points, {threshold} are needed")
    base = tuple(points[:threshold])
    for point in points[threshold:]:
        if not np.array_equal(_through(ring, values, base, point), values[point]):
            return None
    return _through(ring, values, base, 0)


def _through(ring: Ring, values: Mapping[int, Limbs], base: tuple[int, ...], at: int) -> Limbs:
    total: Any = 0
    for j, weight in zip(base, modular_weights(ring, base, at), strict=True):
        total = total + values[j].astype(object) * weight.astype(object)[:, None]
    return np.asarray((total % np.array(ring.primes, dtype=object)[:, None]).astype(np.uint64))


def largest(ring: Ring, residues: Limbs) -> int:
    """Return the largest |x| of integers (L, m) given modulo each prime, centred modulo Q."""
    total: Any = 0
    for row, prime in zip(residues, ring.primes, strict=True):
        rest = ring.modulus // prime
        total = total + row.astype(object) * (rest * pow(rest, -1, prime))
    value = total % ring.modulus
    return int(np.minimum(value, ring.modulus - value).max())
