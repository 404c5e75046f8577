"""Rounded division: q = DIV(a, b) = floor((2a + b) / (2b)) for b > 0 (circuits/README.md, rule 2).

Constraint: 2 q b + rem = 2 a + b with rem >= 0 and 2b - 1 - rem >= 0. Either check alone would
leave a second solution: q + 1 with a negative remainder, or q - 1 with one of 2b or more.
"""

from __future__ import annotations

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.range import check_range, new_in_range, new_windowed, require_bound
from zkai.circuit.tensor import LIMIT, Bound, Ints, Tensor, as_tensor
from zkai.errors import InvalidInput


def divide(builder: Builder, numerator: Tensor, denominator: Tensor, tensor: str) -> Tensor:
    """Return DIV(numerator, denominator), elementwise, with its exact interval as bound.

    Costs, an element, the bits of the quotient's interval, twice those of 2b, and one product.

    Raises InvalidInput without proven bounds, for a denominator that may be below 1, or where
    2a + b could reach 2**62.
    """
    top, bottom = _operands(builder, numerator, denominator)
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    num, den = numerator.broadcast_to(shape), denominator.broadcast_to(shape)
    bound = _quotient_bound(top, bottom)
    quotient = _new_quotient(builder, num, den, bound, tensor)
    limit = (1 << (2 * bottom[1] - 1).bit_length()) - 1
    remainder = new_in_range(
        builder,
        "remainder",
        lambda a, b, q: 2 * a + b - 2 * q * b,
        [num, den, quotient],
        shape,
        0,
        limit,
        loose=True,
    )
    rest = den * 2 - 1 - remainder
    unproven = Tensor(shape, rest.rows, None)
    check_range(builder, unproven, 0, limit, rule="remainder below divisor", loose=True)
    builder.constrain(quotient * 2, den, num * 2 + den - remainder, "division")
    return builder.with_bound(quotient, *bound)


def divide_by_constants(
    builder: Builder, numerator: Tensor, divisors: int | Ints, tensor: str
) -> Tensor:
    """Return DIV(numerator, divisors) for fixed positive divisors, broadcast over the tensor.

    Costs, an element, the bits of the quotient's interval plus bit_length(2b - 1).

    Raises InvalidInput without a proven bound or for a divisor below 1.
    """
    top = require_bound(builder, numerator, "division")
    flat = np.broadcast_to(np.asarray(divisors, np.int64), numerator.shape)
    low, high = int(flat.min()), int(flat.max())
    if low < 1:
        raise InvalidInput(f"tensor {tensor!r}: a divisor must be at least 1, got {low}")
    bound = _quotient_bound(top, (low, high))
    quotient = _new_quotient(builder, numerator, as_tensor(flat), bound, tensor)
    remainder = numerator * 2 + flat - quotient * (2 * flat)
    for divisor in np.unique(flat).tolist():
        chosen = remainder.gather(np.flatnonzero(flat.ravel() == divisor))
        unproven = Tensor(chosen.shape, chosen.rows, None)
        check_range(builder, unproven, 0, 2 * divisor - 1, rule="remainder range")
    return builder.with_bound(quotient, *bound)


def _operands(builder: Builder, numerator: Tensor, denominator: Tensor) -> tuple[Bound, Bound]:
    top = require_bound(builder, numerator, "division")
    bottom = require_bound(builder, denominator, "division")
    if bottom[0] < 1:
        raise InvalidInput(f"{builder.name}: a divisor that may be {bottom[0]} is not positive")
    if 2 * max(-top[0], top[1]) + 3 * bottom[1] >= LIMIT:
        raise InvalidInput(f"{builder.name}: a division's operands could reach 2**62")
    return top, bottom


def _quotient_bound(top: Bound, bottom: Bound) -> Bound:
    corners = [(2 * a + b) // (2 * b) for a in top for b in bottom]
    return min(corners), max(corners)


def _new_quotient(builder: Builder, num: Tensor, den: Tensor, bound: Bound, name: str) -> Tensor:
    def compute(a: Ints, b: Ints) -> Ints:
        below = np.maximum(b, 1)  # a forged divisor must not stop the forger's own computation
        return np.asarray((2 * a + below) // (2 * below), np.int64)

    return new_windowed(builder, "quotient", compute, [num, den], num.shape, bound, tensor=name)
