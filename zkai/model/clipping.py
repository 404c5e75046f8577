"""Per-example gradient clipping in integers (circuits/README.md, rule 17).

An example's gradient is, for each layer, the outer product of its input row a (with the bias's
constant input) and its error row d, so that its squared norm is a sum of products of two sums of
squares. The factor f / 2**8 by which the error rows are multiplied exactly is the largest that
keeps the norm below the threshold, so the bound holds for the integers that enter the update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.fixed_point import IntArray, rescale

CLIP_BITS = 8
"""A clipping factor is the integer f over 2**8, 0 <= f <= 2**8."""

MAX_PRODUCT_BITS = 61
"""(f + 1)**2 N and the threshold stay below 2**61."""

MIN_NORM_SCALE_BITS = 4
"""Squared norms have at least this scale: coarser ones would clip examples that need no clipping.
"""


@dataclass(frozen=True)
class LayerBounds:
    """What bounds one layer's part of an example's gradient a^T d.

    activation, delta: the largest |a|**2 and |d|**2, without the bias; one: the constant input
    2**s of the bias row, 0 for a layer without bias; scale_bits: the gradient's scale.
    """

    activation: int
    delta: int
    one: int
    scale_bits: int

    @property
    def product(self) -> int:
        """The largest (|a|**2 + one**2) |d|**2."""
        return (self.activation + self.one**2) * self.delta


@dataclass(frozen=True)
class NormPlan:
    """The scale of squared norms N = sum_l ceil((|a_l|**2 + one_l**2) |d_l|**2 / 2**k_l).

    `scale_bits` is the largest scale, at most twice that of the finest gradient, at which
    (2**8 + 1)**2 N stays below 2**61; k_l = 2 (the gradient's scale) - scale_bits.

    Raises InvalidInput if a product passes 2**61 or no scale of at least 4 bits fits.
    """

    layers: tuple[LayerBounds, ...]

    def __post_init__(self) -> None:
        for number, layer in enumerate(self.layers):
            # The ceiling of a division adds less than 2**k, which is no more than the product's.
            if layer.product.bit_length() > MAX_PRODUCT_BITS - 1:
                raise InvalidInput(
                    f"clip: the squared norm of layer {number + 1}'s gradient could pass"
                    f" 2**{MAX_PRODUCT_BITS - 1}; use smaller widths or fewer features"
                )
        _ = self.scale_bits

    @property
    def scale_bits(self) -> int:
        """The scale of N."""
        finest = 2 * max(layer.scale_bits for layer in self.layers)
        for scale in range(finest, MIN_NORM_SCALE_BITS - 1, -1):
            if _next_product(self._largest_at(scale)) < 1 << MAX_PRODUCT_BITS:
                return scale
        raise InvalidInput(
            f"clip: squared norms would need a scale below {MIN_NORM_SCALE_BITS} bits; use smaller"
            " widths or fewer features"
        )

    @property
    def shifts(self) -> tuple[int, ...]:
        """k_l of each layer; below 0 it is an exact left shift."""
        return tuple(2 * layer.scale_bits - self.scale_bits for layer in self.layers)

    @property
    def largest(self) -> int:
        """The largest N."""
        return self._largest_at(self.scale_bits)

    def _largest_at(self, scale: int) -> int:
        return sum(
            _shifted_up(layer.product, 2 * layer.scale_bits - scale) for layer in self.layers
        )


def _shifted_up(value: int, shift: int) -> int:
    return -(-value >> shift) if shift > 0 else value << -shift


def _next_product(norm: int) -> int:
    return ((1 << CLIP_BITS) + 1) ** 2 * norm


def ceiling_shift(values: IntArray, shift: int) -> IntArray:
    """Return ceil(values / 2**shift), exactly values * 2**-shift if shift <= 0."""
    return rescale(values + ceiling_offset(shift), shift)


def ceiling_offset(shift: int) -> int:
    """Return what R_shift needs added to round up: 2**(shift-1) - 1."""
    return (1 << (shift - 1)) - 1 if shift > 0 else 0


def squared_norms(plan: NormPlan, parts: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    """Return each example's N (batch,) for the layers' (inputs (batch, n), errors (batch, m))."""
    total = np.zeros(len(parts[0][0]), dtype=np.int64)
    for layer, shift, (inputs, errors) in zip(plan.layers, plan.shifts, parts, strict=True):
        first = (inputs * inputs).sum(axis=1) + layer.one**2
        total += ceiling_shift(first * (errors * errors).sum(axis=1), shift)
    return total


def clip_factors(norms: IntArray, threshold: int) -> IntArray:
    """Return the largest f of 0 to 2**8 with f**2 N <= threshold, for each N >= 0."""
    factors = np.zeros_like(norms)
    for bit in range(CLIP_BITS, -1, -1):
        candidate = factors + (np.int64(1) << np.int64(bit))
        fits = (candidate <= 1 << CLIP_BITS) & (candidate * candidate * norms <= threshold)
        factors = np.where(fits, candidate, factors)
    return factors


def norm_threshold(plan: NormPlan, norm: float) -> int:
    """Return the integer threshold floor(norm**2 2**(16 + N's scale)) of a bound on the norm.

    Raises InvalidInput for a bound that is not finite and positive, or so small or large that the
    threshold is below 1 or reaches 2**61.
    """
    if isinstance(norm, bool) or not isinstance(norm, int | float) or not math.isfinite(norm):
        raise InvalidInput(f"clip: expected a finite norm, got {norm!r}")
    scale = 1 << (2 * CLIP_BITS + plan.scale_bits)
    exact = Fraction(norm) ** 2 * scale
    if norm <= 0 or not 1 <= exact < 1 << MAX_PRODUCT_BITS:
        low, high = scale**-0.5, math.sqrt((1 << MAX_PRODUCT_BITS) / scale)
        raise InvalidInput(f"clip: the norm must be {low:.3g} to {high:.3g}, got {norm!r}")
    return math.floor(exact)
