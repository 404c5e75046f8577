"""Per-example clipping factors: zkai.model.clipping in constraints (circuits/README.md, rule 17).

f is the largest integer of 0 to 2**12 with f**2 N <= T. Both halves of that are proven: T - f**2 N
is not negative, and neither is (f + 1)**2 N - T - 1 unless f = 2**12. A prover can then neither
pass the bound nor shrink an example's gradient further, say to 0, which would drop the example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.matmul import dot
from zkai.circuit.gadgets.range import check_range, require_bound
from zkai.circuit.gadgets.rescale import rescale
from zkai.circuit.tensor import Ints, Tensor
from zkai.errors import InvalidInput
from zkai.model import clipping
from zkai.model.clipping import (
    CLIP_BITS,
    MAX_NORM_BITS,
    MAX_THRESHOLD_BITS,
    NormPlan,
    ceiling_offset,
)
from zkai.model.fixed_point import MAX_WIDTH

LARGEST_FACTOR = 1 << CLIP_BITS


def squared_norms(
    builder: Builder, plan: NormPlan, parts: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Return each example's N (batch,) for the layers' (inputs (batch, n), errors (batch, m)).

    Costs n + m + 1 rows an example and layer, and a rescale for each shift of the plan.

    Raises InvalidInput where the operands' proven bounds pass the plan's.
    """
    total: Tensor | int = 0
    for layer, shift, (inputs, errors) in zip(plan.layers, plan.shifts, parts, strict=True):
        first = _sum_of_squares(builder, inputs, layer.activation) + layer.one**2
        second = _sum_of_squares(builder, errors, layer.delta)
        first = _shifted_up(builder, first, layer.input_shift)
        product = builder.multiply(first, second, "squared norm")
        total = total + _shifted_up(builder, product, shift)
    assert isinstance(total, Tensor)
    return total


def _shifted_up(builder: Builder, value: Tensor, shift: int) -> Tensor:
    """Return ceil(value / 2**shift)."""
    raised = value + ceiling_offset(shift)
    return rescale(builder, raised, shift, MAX_WIDTH, "squared norm") if shift else value


def _sum_of_squares(builder: Builder, rows: Tensor, declared: int) -> Tensor:
    low, high = require_bound(builder, rows, "squared norm")
    largest = rows.shape[-1] * max(-low, high) ** 2
    if largest > declared:
        raise InvalidInput(
            f"{builder.name}: a squared norm at {builder.node} could reach {largest}, above the"
            f" {declared} that the head declares"
        )
    # A square is not negative, which the bound of a product of any two factors cannot know.
    return builder.with_bound(dot(builder, rows, rows, "squares"), 0, largest)


def clip_factors(builder: Builder, norms: Tensor, threshold: int) -> Tensor:
    """Return the largest f of 0 to 2**12 with f**2 N <= threshold, for each N.

    b = [f = 2**12] is forced by 0 <= f - 2**12 b < 2**12 and b (f - 2**12 b) = 0. The products
    with N have no bound of 62 bits, but one of 2**86: far below the field's order, so that their
    range checks are about integers. An honest (f + 1)**2 N is at most 4 T, or N where f = 0.
    Costs four rows and three range checks an element.

    Raises InvalidInput without a proven bound of 0 <= N < 2**60, or for a threshold that is not of
    1 to 2**59 - 1.
    """
    low, high = require_bound(builder, norms, "clipping")
    if low < 0 or high >= 1 << MAX_NORM_BITS or not 1 <= threshold < 1 << MAX_THRESHOLD_BITS:
        raise InvalidInput(
            f"{builder.name}: clipping needs squared norms of 0 to 2**{MAX_NORM_BITS} and a"
            f" threshold of 1 to 2**{MAX_THRESHOLD_BITS}"
        )
    factor, whole = _new_factors(builder, norms, threshold)
    once = builder.multiply(_unproven(factor), norms, "factor times norm")
    twice = builder.multiply(factor, once, "squared factor times norm")
    _check_nonnegative(builder, threshold - twice, threshold, "norm bound")
    above = twice + once * 2 + norms + (whole - 1) * (threshold + 1)
    _check_nonnegative(builder, above, max(4 * threshold, high), "largest factor")
    return factor


def _check_nonnegative(builder: Builder, value: Tensor, highest: int, rule: str) -> None:
    """Prove value >= 0 for a value whose honest maximum is known and whose other end is free."""
    span = (1 << highest.bit_length()) - 1
    check_range(builder, _unproven(value), 0, span, rule=rule, loose=True)


def _new_factors(builder: Builder, norms: Tensor, threshold: int) -> tuple[Tensor, Tensor]:
    """Return wires f in [0, 2**12] and b = [f = 2**12]."""

    def compute(n: Ints) -> list[Ints]:
        found = clipping.clip_factors(np.maximum(n, 0), threshold)
        return [found, (found == LARGEST_FACTOR).astype(np.int64)]

    factor, whole = builder.hint("clip factors", compute, [norms], [norms.shape] * 2)
    builder.constrain(whole, whole, whole, "whole factor")
    whole = builder.with_bound(whole, 0, 1)
    rest = factor - whole * LARGEST_FACTOR
    check_range(builder, _unproven(rest), 0, LARGEST_FACTOR - 1, rule="clip factor")
    builder.constrain(whole, rest, 0, "whole factor")
    return builder.with_bound(factor, 0, LARGEST_FACTOR), whole


def _unproven(value: Tensor) -> Tensor:
    return Tensor(value.shape, value.rows, None)
