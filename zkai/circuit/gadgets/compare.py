"""Comparisons: a >= b as a bit, one-hot selection, and a row's maximum with its lowest index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.range import bit_tensor, check_range, require_bound
from zkai.circuit.tensor import Ints, Rows, Tensor, as_tensor, concat
from zkai.encoding import Limbs


def is_at_least(builder: Builder, left: Tensor, right: Tensor | int) -> Tensor:
    """Return [left >= right] as 0 or 1, elementwise: the sign bit of left - right.

    Costs one row for each bit of the difference's interval, none where the bounds decide; with a
    commitment round two rows and a range check.

    Raises InvalidInput if an operand has no proven bound.
    """
    difference = left - right
    low, high = require_bound(builder, difference, "comparison")
    if low >= 0 or high < 0:
        return builder.with_bound(difference * 0 + int(low >= 0), 0, 1)
    half_bits = max(high.bit_length(), (-low - 1).bit_length())
    if builder.commit:
        return is_nonnegative(builder, difference, half_bits, "sign")
    bits = bit_tensor(builder, difference + (1 << half_bits), half_bits + 1, "sign")
    return bits[..., half_bits]


def is_nonnegative(builder: Builder, value: Tensor, bits: int, rule: str) -> Tensor:
    """Prove -2**bits <= value < 2**bits and return [value >= 0], in a commitment-round circuit.

    With b boolean, 2 b v - v + b - 1 is v where b = 1 and -1 - v where b = 0; it lies in
    [0, 2**bits). Costs two rows and the range check.
    """
    (sign,) = builder.hint(rule, lambda v: [(v >= 0).astype(np.int64)], [value], [value.shape])
    builder.constrain(sign, sign, sign, rule)
    sign = builder.with_bound(sign, 0, 1)
    product = builder.multiply(sign, value, f"{rule} times value")
    folded = product * 2 - value + sign - 1
    unproven = Tensor(folded.shape, folded.rows, None)
    check_range(builder, unproven, 0, (1 << bits) - 1, rule=f"{rule} range")
    return sign


def one_hot(
    builder: Builder,
    label: str,
    index: Callable[..., Ints],
    inputs: Sequence[Tensor],
    shape: tuple[int, ...],
    n: int,
) -> Tensor:
    """Return booleans (*shape, n) of which exactly one a vector is 1, at the solver's `index`.

    The first is 1 minus the others and boolean too. Costs n rows a vector.
    """
    ones = as_tensor(np.ones((*shape, 1), np.int64))
    if n == 1:
        return ones
    (others,) = builder.hint(
        label,
        lambda *x: [(index(*x)[..., None] == np.arange(1, n)).astype(np.int64)],
        inputs,
        [(*shape, n - 1)],
    )
    builder.constrain(others, others, others, label)
    first = ones - others.sum(-1).reshape(*shape, 1)
    builder.constrain(first, first - 1, 0, label)
    return builder.with_bound(concat([first, others], axis=-1), 0, 1)


def require_zero_among(builder: Builder, distances: Tensor, rule: str = "attained") -> None:
    """Prove that every vector along the last axis of `distances` holds a zero.

    Its running product ends in 0; a field has no zero divisors. Costs n - 1 rows a vector.
    """
    n, count = distances.shape[-1], distances.size // distances.shape[-1]
    factors = distances.reshape(count, n)
    if n == 1:
        builder.constrain_zero(factors, rule)
        return

    def products(d: Ints) -> Limbs:
        running = [native.fr_from_int64(np.ascontiguousarray(d[:, 0]))]
        for i in range(1, n - 1):
            factor = native.fr_from_int64(np.ascontiguousarray(d[:, i]))
            running.append(native.fr_mul(running[-1], factor))
        return np.stack(running[1:], axis=1).reshape(-1, 4)

    before = factors[:, :1]
    if n > 2:
        made = builder.field_hint(rule, products, [factors], count * (n - 2))
        running = Tensor((count, n - 2), Rows.of_wires(made.wires), None)
        before = concat([before, running], axis=1)
        builder.constrain(before[:, :-1], factors[:, 1:-1], running, rule)
    builder.constrain(before[:, -1], factors[:, -1], 0, rule)


@dataclass(frozen=True, eq=False)
class Maximum:
    """A row's maximum: `value` (...), and `selected` (..., n), 1 at its lowest index, else 0."""

    value: Tensor
    selected: Tensor

    @property
    def index(self) -> Tensor:
        """The lowest index that attains the maximum."""
        return (self.selected * np.arange(self.selected.shape[-1])).sum(-1)


def maximum(builder: Builder, values: Tensor) -> Maximum:
    """Return the maximum m over the last axis and where it stands; ties take the lowest index.

    With s one-hot at k: s_i (m - u_i) = 0, and m - u_i >= [i < k] for every i. Costs, for a row of
    n values, 2n rows and n range checks.

    Raises InvalidInput if `values` has no proven bound.
    """
    low, high = require_bound(builder, values, "maximum")
    n, shape = values.shape[-1], values.shape[:-1]
    (top,) = builder.hint("maximum", lambda u: [u.max(-1)], [values], [shape])
    selected = one_hot(builder, "selected", lambda u: u.argmax(-1), [values], shape, n)
    distance = top.reshape(*shape, 1) - values
    builder.constrain(selected, distance, 0, "attained")
    # [i < k] is the sum of the selectors after i.
    earlier = selected.matmul_const(np.tril(np.ones((n, n), np.int64), -1))
    above = distance - earlier
    bits = (high - low).bit_length()
    check_range(
        builder,
        Tensor(above.shape, above.rows, None),
        0,
        (1 << bits) - 1,
        rule="maximum",
        loose=True,
    )
    return Maximum(builder.with_bound(top, low, high), selected)
