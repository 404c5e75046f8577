"""Per-example gradient clipping in integers (circuits/README.md, rule 17).

An example's gradient is, for each layer, the outer product of its input row a (with the bias's
constant input) and its error row d, so that its squared norm is a sum of products of two sums of
squares. The factor f / 2**12 by which the error rows are multiplied exactly is the largest that
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

CLIP_BITS = 12
"""A clipping factor is the integer f over 2**12, 0 <= f <= 2**12."""

NORM_SCALE_BITS = 16
"""The scale of squared norms, where the gradients' own scales and widths allow it."""

MAX_NORM_BITS = 60
MAX_THRESHOLD_BITS = 59
"""N < 2**60 and T < 2**59: then the f that the rule gives has (f + 1)**2 N < 2**61."""


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
    def inputs(self) -> int:
        """The largest |a|**2 + one**2."""
        return self.activation + self.one**2

    @property
    def input_shift(self) -> int:
        """By how many bits |a|**2 + one**2 is shifted so that the product stays below 2**60."""
        return max(0, self.inputs.bit_length() + self.delta.bit_length() - MAX_NORM_BITS)

    @property
    def product(self) -> int:
        """The largest product ceil((|a|**2 + one**2) / 2**input_shift) |d|**2."""
        return _shifted_up(self.inputs, self.input_shift) * self.delta

    @property
    def product_scale(self) -> int:
        """The product's scale."""
        return 2 * self.scale_bits - self.input_shift


@dataclass(frozen=True)
class NormPlan:
    """How an example's squared norm N is computed, with all scales static.

    N = sum_l ceil(ceil((|a_l|**2 + one_l**2) / 2**p_l) |d_l|**2 / 2**k_l), p_l = `input_shift`, has
    the scale `scale_bits`: 16, or less where twice the finest gradient's scale is less, or where N
    could reach 2**60. k_l, in `shifts`, follows from it.

    Raises InvalidInput if a sum of squares could pass 2**60.
    """

    layers: tuple[LayerBounds, ...]

    def __post_init__(self) -> None:
        for number, layer in enumerate(self.layers):
            if max(layer.inputs, layer.delta) >= 1 << MAX_NORM_BITS:
                raise InvalidInput(
                    f"clip: a sum of squares of gradient {number + 1} could pass"
                    f" 2**{MAX_NORM_BITS}; use smaller widths or fewer features"
                )

    @property
    def scale_bits(self) -> int:
        """The scale of N."""
        scale = min(NORM_SCALE_BITS, 2 * max(layer.scale_bits for layer in self.layers))
        while self._largest_at(scale) >= 1 << MAX_NORM_BITS:
            scale -= 1
        return scale

    @property
    def shifts(self) -> tuple[int, ...]:
        """k_l of each layer; below 0 it is an exact left shift."""
        return tuple(layer.product_scale - self.scale_bits for layer in self.layers)

    @property
    def largest(self) -> int:
        """The largest N."""
        return self._largest_at(self.scale_bits)

    def _largest_at(self, scale: int) -> int:
        return sum(_shifted_up(x.product, x.product_scale - scale) for x in self.layers)


def _shifted_up(value: int, shift: int) -> int:
    return -(-value >> shift) if shift > 0 else value << -shift


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
        first = ceiling_shift((inputs * inputs).sum(axis=1) + layer.one**2, layer.input_shift)
        total += ceiling_shift(first * (errors * errors).sum(axis=1), shift)
    return total


def clip_factors(norms: IntArray, threshold: int) -> IntArray:
    """Return the largest f of 0 to 2**12 with f**2 N <= threshold, for each N >= 0."""
    most = np.where(norms > 0, threshold // np.maximum(norms, 1), np.int64(1) << 2 * CLIP_BITS)
    factors = np.zeros_like(norms)
    for bit in range(CLIP_BITS, -1, -1):
        candidate = factors + (np.int64(1) << np.int64(bit))
        fits = (candidate <= 1 << CLIP_BITS) & (candidate * candidate <= most)
        factors = np.where(fits, candidate, factors)
    return factors


def norm_threshold(plan: NormPlan, norm: float) -> int:
    """Return the integer threshold floor(norm**2 2**(24 + N's scale)) of a bound on the norm.

    Raises InvalidInput for a bound that is not finite and positive, or so small or large that the
    threshold is below 1 or reaches 2**59.
    """
    if isinstance(norm, bool) or not isinstance(norm, int | float) or not math.isfinite(norm):
        raise InvalidInput(f"clip: expected a finite norm, got {norm!r}")
    scale = 2 * CLIP_BITS + plan.scale_bits
    exact = Fraction(norm) ** 2 * Fraction(2) ** scale
    if norm <= 0 or not 1 <= exact < 1 << MAX_THRESHOLD_BITS:
        low, high = 2 ** (-scale / 2), 2 ** ((MAX_THRESHOLD_BITS - scale) / 2)
        raise InvalidInput(f"clip: the norm must be {low:.3g} to {high:.3g}, got {norm!r}")
    return math.floor(exact)
