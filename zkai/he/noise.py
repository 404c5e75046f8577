"""Discrete Gaussian noise from the operating system's randomness, by an integer table.

N_Z(0, s^2) gives the integer k the probability exp(-k^2 / 2 s^2) / sum_j exp(-j^2 / 2 s^2).
No floating-point number is near a sample: the cumulative table is computed with integers of
256 bits and rounded to 64, so that no gap of a float's grid can tell what the noise was added
to (Mironov, CCS 2012). The table is searched by value: its lookups are not constant time.

Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020);
Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism" (2021).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput

Int64 = npt.NDArray[np.int64]
Random = Callable[[int], bytes]

MAX_VARIANCE = 1 << 32
"""Beyond this the table would take more than 1.3 million entries."""

TAIL = 10
"""Samples stay within TAIL standard deviations: the rest weighs less than 2^-71."""

_PRECISION = 256
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DiscreteGaussian:
    """N_Z(0, variance) for an integer variance, cut at `bound`."""

    variance: int

    def __post_init__(self) -> None:
        """Raise InvalidInput unless 1 <= variance <= MAX_VARIANCE."""
        if not 1 <= self.variance <= MAX_VARIANCE:
            raise InvalidInput(
                f"the noise's variance must be between 1 and {MAX_VARIANCE}, got {self.variance}"
            )

    @property
    def bound(self) -> int:
        """The largest |sample|."""
        return TAIL * (math.isqrt(self.variance - 1) + 1)

    @property
    def distance(self) -> float:
        """Bound the statistical distance of one sample from the exact distribution."""
        tail = 4 * math.exp(-(TAIL**2) / 2)
        return tail + (2 * self.bound + 1) * 2.0**-64

    def sample(self, count: int, random: Random = os.urandom) -> Int64:
        """Return `count` samples, int64; `random(n)` gives n bytes."""
        table = _cumulative(self.variance)
        samples = np.empty(count, np.int64)
        for start in range(0, count, _CHUNK):
            size = min(_CHUNK, count - start)
            uniform = np.frombuffer(random(8 * size), np.uint64)
            samples[start : start + size] = np.searchsorted(table, uniform, side="right")
        samples -= self.bound
        return samples


@lru_cache(maxsize=8)
def _cumulative(variance: int) -> npt.NDArray[np.uint64]:
    """Return floor(2^64 P[sample <= k]) for k = -bound .. bound - 1.

    exp(-(k+1)^2 / 2v) = exp(-k^2 / 2v) * exp(-1 / 2v)^(2k+1), so that one exponential and
    two products an entry make the table.
    """
    bound = DiscreteGaussian(variance).bound
    one = 1 << _PRECISION
    step = _exp_minus_half_over(variance)
    ratio, square = step, step * step >> _PRECISION
    weights = [one]
    for _ in range(bound):
        weights.append(weights[-1] * ratio >> _PRECISION)
        ratio = ratio * square >> _PRECISION
    total = 2 * sum(weights) - one
    table = np.empty(2 * bound, np.uint64)
    below = 0
    for entry, k in enumerate(range(-bound, bound)):
        below += weights[abs(k)]
        table[entry] = (below << 64) // total
    return table


def _exp_minus_half_over(variance: int) -> int:
    """Return floor(2^256 exp(-1 / (2 variance))), but for a few last places, by its series."""
    term = total = 1 << _PRECISION
    sign = 1
    for k in range(1, 80):
        term //= 2 * variance * k
        sign = -sign
        total += sign * term
    return total
