"""Base-2 softmax and sigmoid on integers (circuits/README.md, rules 7 to 9).

u = R_k(acc) is never checked on its own: it is written as m - d with the row's maximum m in
[-2**(sa+7), 2**(sa+7)) and the distance d in [0, 2**(sa+7)), which is exactly rule 7's condition,
and some d of the row is zero. With q and f the high and low bits of d:

    e = (64 2**(2 sa) - 43 f 2**sa + 11 f**2) 2**(se+2-q),  or 0 where q >= se + 2
    rho = DIV(2**(E0+se+4), sum e),  p = R_(E0+4)(e rho),  E0 = 2 sa + se + 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import require_zero_among
from zkai.circuit.gadgets.division import divide
from zkai.circuit.gadgets.logup import lookups
from zkai.circuit.gadgets.range import (
    bit_tensor,
    guard,
    new_in_range,
    require_bound,
    weighted_sum,
)
from zkai.circuit.gadgets.rescale import constrain_rescale, rescale_product
from zkai.circuit.tensor import Ints, Tensor, as_tensor, concat
from zkai.errors import InvalidInput
from zkai.model import fixed_point
from zkai.model.fixed_point import ERROR_SCALE_BITS, GUARD_BITS, exponent_scale

INTEGER_BITS = 7
"""d < 2**(sa + 7): its whole part q has 7 bits (rule 7)."""


@dataclass(frozen=True, eq=False)
class Logits:
    """A row's base-2 logits u = m - d, with what proves d's range.

    That is d's bits, least significant first on a last axis, or, with a commitment round, the
    lookups of the exponentials at error scale `se`.
    """

    maximum: Tensor
    distance: Tensor
    distance_bits: Tensor | None
    terms: Tensor | None = None
    se: int = ERROR_SCALE_BITS

    @property
    def values(self) -> Tensor:
        """u, with the bound that m and d prove."""
        return self.maximum.reshape(*self.maximum.shape, 1) - self.distance


def logits(
    builder: Builder,
    acc: Tensor,
    shift: int,
    sa: int,
    tensor: str,
    se: int = ERROR_SCALE_BITS,
) -> Logits:
    """Prove rule 7 for u = R_shift(acc) over the last axis and return u's parts.

    The constraints cannot be met, and the solver raises InvalidInput naming `tensor`, if a row is
    out of rule 7's range. Costs shift + sa + 8 rows a logit and sa + 8 a row.

    Raises InvalidInput if `acc` has no proven bound.
    """
    require_bound(builder, acc, "softmax")
    shape, half = acc.shape[:-1], 1 << (sa + INTEGER_BITS)

    def row_maximum(a: Ints) -> Ints:
        return np.asarray(fixed_point.rescale(a, shift).max(-1))

    def distances(a: Ints, m: Ints) -> list[Ints]:
        return [m[..., None] - fixed_point.rescale(a, shift)]

    top = new_in_range(builder, "maximum", row_maximum, [acc], shape, -half, half - 1, tensor)
    (distance,) = builder.hint("distance", distances, [acc, top], [acc.shape])
    guard(builder, distance, 0, half - 1, tensor)
    result = _with_range(builder, top, distance, sa, se)
    distance = result.distance
    constrain_rescale(builder, acc, shift, result.values)
    require_zero_among(builder, distance, "maximum attained")
    return result


def softmax(builder: Builder, parts: Logits, sa: int, se: int) -> Tensor:
    """Return p = R_(E0+4)(e rho) over the last axis, each in [0, 2**se] (rule 8).

    Raises InvalidInput if the scales and the number of classes do not fit 2**62.
    """
    n = parts.distance.shape[-1]
    fixed_point.softmax_widths(n, sa, se)
    terms = _terms(builder, parts, sa, se)
    return _normalise(builder, terms, terms, se, exponent_scale(sa, se))


def _with_range(builder: Builder, top: Tensor, distance: Tensor, sa: int, se: int) -> Logits:
    """Prove 0 <= d < 2**(sa + 7)."""
    last = (1 << (sa + INTEGER_BITS)) - 1
    if builder.commit:
        terms = exponential_lookup(builder, distance, sa, se)
        return Logits(top, builder.with_bound(distance, 0, last), None, terms, se)
    bits = bit_tensor(builder, distance, sa + INTEGER_BITS, "distance range")
    return Logits(top, builder.with_bound(distance, 0, last), bits, None, se)


def _terms(builder: Builder, parts: Logits, sa: int, se: int) -> Tensor:
    if parts.distance_bits is not None:
        return exponential(builder, parts.distance, parts.distance_bits, sa, se)
    if parts.terms is None or parts.se != se:
        raise InvalidInput(f"{builder.name}: the logits' exponentials have another error scale")
    return parts.terms


def sigmoid(builder: Builder, acc: Tensor, shift: int, sa: int, se: int, tensor: str) -> Tensor:
    """Return the first entry of the softmax of (u, 0), elementwise, for u = R_shift(acc) (rule 9).

    Raises InvalidInput if `acc` has no proven bound.
    """
    require_bound(builder, acc, "sigmoid")
    half = 1 << (sa + INTEGER_BITS)

    def larger(a: Ints) -> list[Ints]:
        return [np.maximum(fixed_point.rescale(a, shift), 0)]

    # The maximum of (u, 0) is also the distance of 0 from it, so that one check bounds both.
    (top,) = builder.hint("maximum", larger, [acc], [acc.shape])
    (below,) = builder.hint(
        "distance", lambda a, m: [m - fixed_point.rescale(a, shift)], [acc, top], [acc.shape]
    )
    pair = [x.reshape(*acc.shape, 1) for x in (below, top)]
    distance = concat(pair, axis=-1)
    guard(builder, distance, 0, half - 1, tensor)
    parts = _with_range(builder, builder.with_bound(top, 0, half - 1), distance, sa, se)
    distance = parts.distance
    constrain_rescale(builder, acc, shift, parts.values[..., 0])
    require_zero_among(builder, distance, "maximum attained")
    terms = _terms(builder, parts, sa, se)
    return _normalise(builder, terms, terms[..., :1], se, exponent_scale(sa, se))[..., 0]


def exponential(
    builder: Builder, distance: Tensor, distance_bits: Tensor, sa: int, se: int
) -> Tensor:
    """Return e for d with the given bits: 2**(-d / 2**sa) at scale 2**E0 (rule 8).

    Costs about 8 rows an element.
    """
    low, high = distance_bits[..., :sa], distance_bits[..., sa:]
    fraction = weighted_sum(low, [1 << i for i in range(sa)])
    square = builder.multiply(fraction, fraction, "fraction squared")
    polynomial = (64 << (2 * sa)) - (43 << sa) * fraction + 11 * square
    # It falls over the whole of 0 <= f < 2**sa, as its slope is 22 f - 43 2**sa < 0.
    fractions = _fraction_table(sa)
    polynomial = builder.with_bound(polynomial, int(fractions[-1]), int(fractions[0]))
    power = lookup(builder, high, _power_table(se).tolist())
    return builder.multiply(power, polynomial, "exponential")


def exponential_lookup(builder: Builder, distance: Tensor, sa: int, se: int) -> Tensor:
    """Return e for d, and prove 0 <= d < 2**(sa + 7): both parts of d are arguments of tables.

    Costs five rows an element, and 2**sa + 2**7 for the circuit.
    """
    fractions, powers = _fraction_table(sa), _power_table(se)
    shape = distance.shape

    def split(d: Ints) -> list[Ints]:
        whole, fraction = d >> sa, d & ((1 << sa) - 1)
        inside = np.clip(whole, 0, len(powers) - 1)  # constraints refuse what lies outside
        return [whole, powers[inside], fractions[fraction]]

    whole, power, polynomial = builder.hint("exponents", split, [distance], [shape] * 3)
    tables, rest = lookups(builder), distance - whole * (1 << sa)
    tables.function(f"powers {se}", powers, whole, power, "power")
    tables.function(f"fractions {sa}", fractions, rest, polynomial, "fraction")
    power = builder.with_bound(power, 0, int(powers[0]))
    polynomial = builder.with_bound(polynomial, int(fractions[-1]), int(fractions[0]))
    return builder.multiply(power, polynomial, "exponential")


def _fraction_table(sa: int) -> Ints:
    """Return 64 2**(2 sa) - 43 f 2**sa + 11 f**2 for 0 <= f < 2**sa."""
    f = np.arange(1 << sa)
    return (64 << (2 * sa)) - (43 << sa) * f + 11 * f * f


def _power_table(se: int) -> Ints:
    """Return 2**(se+2-q), or 0 where q >= se + 2, for 0 <= q < 2**7."""
    limit = se + 2
    table = [1 << (limit - q) if q < limit else 0 for q in range(1 << INTEGER_BITS)]
    return np.array(table, np.int64)


def lookup(builder: Builder, bits: Tensor, table: Sequence[int]) -> Tensor:
    """Return table[sum bits_i 2**i] for a public table of 2**n non-negative integers.

    A table that is a product over its lowest bit or that is zero wherever its highest bit is set
    is split there, at one row; the rest costs 2**(n-1) - n + 1 rows by multilinear extension.
    """
    n = bits.shape[-1]
    values = np.asarray(table, np.int64)
    if n == 0:
        return as_tensor(np.broadcast_to(values[0], bits.shape[:-1]))
    half = len(values) // 2
    if n > 1 and not values[half:].any():
        below = lookup(builder, bits[..., : n - 1], values[:half].tolist())
        chosen = builder.multiply(below, 1 - bits[..., n - 1], "table")
    elif n > 1 and (values[::2] == 2 * values[1::2]).all():
        rest = lookup(builder, bits[..., 1:], values[1::2].tolist())
        chosen = builder.multiply(rest, 2 - bits[..., 0], "table")
    else:
        chosen = _multilinear(builder, bits, values)
    return builder.with_bound(chosen, int(values.min()), int(values.max()))


def _multilinear(builder: Builder, bits: Tensor, values: Ints) -> Tensor:
    n = bits.shape[-1]
    if n == 1:
        return bits[..., 0] * int(values[1] - values[0]) + int(values[0])
    shape = bits.shape[:-1]
    monomials = [as_tensor(np.ones(shape, np.int64))]
    for i in range(n - 1):
        bit = bits[..., i]
        products = [builder.multiply(m, bit, "table") for m in monomials[1:]]
        monomials += [bit, *products]
    coefficients = values.astype(np.int64).copy()
    for i in range(n):  # Moebius transform: values at 0/1 points to coefficients of monomials
        split = coefficients.reshape(-1, 2, 1 << i)
        split[:, 1] -= split[:, 0]
    half = len(values) // 2
    with_last = _combine(monomials, coefficients[half:])
    product = builder.multiply(with_last, bits[..., n - 1], "table")
    return _combine(monomials, coefficients[:half]) + product


def _combine(monomials: Sequence[Tensor], coefficients: Ints) -> Tensor:
    total = monomials[0] * int(coefficients[0])
    for monomial, coefficient in zip(monomials[1:], coefficients[1:], strict=True):
        if coefficient:
            total = total + monomial * int(coefficient)
    return total


def _normalise(builder: Builder, terms: Tensor, wanted: Tensor, se: int, scale: int) -> Tensor:
    """Return R_(E0+4)(e rho) for the `wanted` terms, with rho from the sum of all `terms`."""
    n, shape = terms.shape[-1], terms.shape[:-1]
    # One distance of the row is zero, and its term is 2**E0 exactly.
    total = builder.with_bound(terms.sum(-1), 1 << scale, n << scale)
    numerator = as_tensor(np.full(shape, 1 << (scale + se + GUARD_BITS), np.int64))
    reciprocal = divide(builder, numerator, total, "softmax reciprocal")
    spread = reciprocal.reshape(*shape, 1).broadcast_to(wanted.shape)
    # With e <= S: e rho <= 2**(E0+se+4) + e / 2, so p <= 2**se and R's width never rejects.
    return rescale_product(builder, wanted, spread, scale + GUARD_BITS, se + 2, "probabilities")
