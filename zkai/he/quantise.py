"""Real updates as integers that sums cannot overflow: clipping and stochastic rounding.

    q = floor(x levels / bound + u),  u uniform in [0, 1),  so that E[q] = x levels / bound

to within 2^-32: u has 32 bits.

A weighted update enters a sum as weight * q, and the weight itself as one value more.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.he.noise import Int64, Random

Float64 = npt.NDArray[np.float64]

TRIES = 100
"""Roundings tried before a norm bound is given up: each meets `rounded_norm`'s with probability
of at least 1 - exp(-1/2)."""

_CHUNK = 1 << 15


@dataclass(frozen=True)
class Quantiser:
    """Integers of at most `levels` in magnitude for reals of at most `bound`."""

    bound: float
    levels: int

    def __post_init__(self) -> None:
        """Raise InvalidInput unless bound > 0 and 1 <= levels < 2^52."""
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise InvalidInput(f"bound must be a positive number, got {self.bound}")
        if not 1 <= self.levels < 1 << 52:
            raise InvalidInput(f"levels must be between 1 and 2^52 - 1, got {self.levels}")

    @property
    def scale(self) -> float:
        """Integers a unit."""
        return self.levels / self.bound

    def quantise(self, values: Float64, random: Random = os.urandom) -> Int64:
        """Return stochastically rounded integers, shaped as `values`.

        Raises InvalidInput for values that are not finite or exceed the bound: clip first.
        """
        flat = np.ascontiguousarray(values, np.float64).ravel()
        check_values(flat, self.bound)
        integers = np.empty(flat.size, np.int64)
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK] * self.scale
            floor = np.floor(part)
            up = np.frombuffer(random(4 * part.size), np.uint32) < (part - floor) * 2.0**32
            integers[start : start + part.size] = floor.astype(np.int64) + up
        # A product that rounds up past `levels` would break the bound by one.
        return np.clip(integers, -self.levels, self.levels).reshape(np.shape(values))

    def quantise_within(self, values: Float64, norm: int, random: Random = os.urandom) -> Int64:
        """Return a rounding whose squared L2 norm is at most `norm`, by trying again.

        What is added to it later must hide it whatever the tries did, so that conditioning on
        success costs no privacy (Kairouz, Liu, Steinke 2021, section 4).

        Raises InvalidInput if TRIES roundings all exceed `norm`: see `rounded_norm`.
        """
        for _ in range(TRIES):
            integers = self.quantise(values, random)
            if squared_norm(integers) <= norm:
                return integers
        raise InvalidInput(
            f"no rounding of these {np.size(values)} values has a squared norm of at most {norm}: "
            "clip them further, or allow rounded_norm(...)"
        )

    def dequantise(self, total: Int64, weight: int = 1) -> Float64:
        """Return total / (weight * scale): the weighted mean, if `weight` is the weights' sum."""
        if weight < 1:
            raise InvalidInput(f"the sum of the weights must be at least 1, got {weight}")
        return np.asarray(total, np.float64) / (weight * self.scale)


def fit_levels(value_bits: int, clients: int, *, max_weight: int = 1, noise_bound: int = 0) -> int:
    """Return the most levels with which no sum leaves `value_bits` bits.

    clients * (max_weight * levels + noise_bound) < 2^(value_bits - 1)

    Raises InvalidInput if there is none.
    """
    if clients < 1 or max_weight < 1 or noise_bound < 0:
        raise InvalidInput("clients and max_weight must be at least 1, noise_bound at least 0")
    levels = (((1 << (value_bits - 1)) - 1) // clients - noise_bound) // max_weight
    if levels < 1:
        raise InvalidInput(
            f"{value_bits} bits are too few for sums over {clients} clients with weights up to "
            f"{max_weight} and noise up to {noise_bound}: take more bits a value"
        )
    return levels


def clip(values: Float64, norm: float) -> Float64:
    """Return values scaled down to an L2 norm of at most `norm`: x * min(1, norm / |x|).

    Raises InvalidInput for values that are not finite.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise InvalidInput(f"the norm to clip to must be a positive number, got {norm}")
    flat = np.ascontiguousarray(values, np.float64)
    check_values(flat.ravel(), math.inf)
    largest = float(np.max(np.abs(flat), initial=0.0))
    if largest == 0.0:
        return flat
    # Scaled first, so that squares neither overflow nor vanish.
    length = largest * float(np.linalg.norm(flat / largest))
    return flat if length <= norm else flat * (norm / length * (1 - 2.0**-40))


def rounded_norm(norm: float, count: int, beta: float = math.exp(-0.5)) -> int:
    """Return a squared norm that a stochastic rounding keeps with probability 1 - beta or more.

    For |x| = norm (in integers' units) and `count` values:
    min((norm + sqrt(count))^2, norm^2 + count/4 + sqrt(2 ln(1/beta)) (norm + sqrt(count)/2)).

    Source: Kairouz, Liu, Steinke 2021, equation 2 (proposition 22).
    """
    root = math.sqrt(count)
    likely = norm**2 + count / 4 + math.sqrt(2 * math.log(1 / beta)) * (norm + root / 2)
    return math.ceil(min((norm + root) ** 2, likely))


def clip_norm(within: int, count: int) -> float:
    """Return the longest norm whose `rounded_norm` for `count` values is at most `within`.

    In integers' units, from below. Raises InvalidInput if there is none above 0.
    """
    low, high = 0.0, math.sqrt(max(within, 0))
    for _ in range(60):
        middle = (low + high) / 2
        fits = rounded_norm(middle, count) <= within
        low, high = (middle, high) if fits else (low, middle)
    if low == 0:
        raise InvalidInput(
            f"rounding {count} values takes a squared norm of {rounded_norm(0.0, count)} alone; the"
            f" noise hides {within}: send fewer values, or agree on a larger norm"
        )
    return low


def squared_norm(integers: Int64) -> int:
    """Return the exact squared L2 norm of int64 values below 2^52."""
    flat = integers.ravel()
    if flat.size == 0:
        return 0
    high, low = flat >> 26, flat & ((1 << 26) - 1)
    return (_dot(high, high) << 52) + (_dot(high, low) << 27) + _dot(low, low)


def _dot(left: Int64, right: Int64) -> int:
    """Return sum left * right, both below 2^26: blocks of 1,024 products stay below 2^62."""
    blocks = np.add.reduceat(left * right, np.arange(0, left.size, 1024))
    return sum(blocks.tolist())


def check_values(flat: Float64, bound: float) -> None:
    """Raise InvalidInput unless all values are finite and at most `bound` in magnitude."""
    wrong = ~(np.abs(flat) <= bound) | np.isinf(flat)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InvalidInput(
            f"value {index} of the update is {flat[index]}: expected a finite number"
            + (f" of at most {bound} in magnitude" if math.isfinite(bound) else "")
        )
