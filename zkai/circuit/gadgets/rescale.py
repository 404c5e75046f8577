"""Rescaling: q = R_k(a) = floor((a + 2**(k-1)) / 2**k) (circuits/README.md, rule 2).

Constraint: a + 2**(k-1) = q 2**k + rem with 0 <= rem < 2**k. Both sides stay far below the field's
modulus, so the equation holds over the integers and q is the only solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_nonnegative
from zkai.circuit.gadgets.range import (
    bit_tensor,
    check_range,
    check_signed,
    guard,
    new_in_range,
    new_windowed,
    require_bound,
    signed_bound,
    signed_width,
)
from zkai.circuit.tensor import Bound, Ints, Tensor, checked_bound
from zkai.errors import InvalidInput
from zkai.model import fixed_point

MAX_SHIFT = 61


def rescale(builder: Builder, acc: Tensor, shift: int, width: int, tensor: str) -> Tensor:
    """Return R_shift(acc) in `width` signed bits; a negative shift multiplies exactly.

    The constraints cannot be met, and the solver raises InvalidInput naming `tensor`, if the
    result does not fit. Costs shift + width rows an element, fewer where `acc`'s bound is tight.

    Raises InvalidInput if `acc` has no proven bound.
    """
    bound = require_bound(builder, acc, "rescale")
    if shift <= 0:
        return check_signed(builder, acc * (1 << -shift), width, tensor)
    _check_shift(shift)
    natural = rescale_bound(bound, shift)

    def compute(a: Ints) -> Ints:
        return fixed_point.rescale(a, shift)

    quotient, proven = _new_quotient(builder, compute, [acc], natural, width, tensor)
    constrain_rescale(builder, acc, shift, quotient)
    return builder.with_bound(quotient, *proven)


def rescale_with_sign(
    builder: Builder, acc: Tensor, shift: int, width: int, tensor: str
) -> tuple[Tensor, Tensor]:
    """Return z = R_shift(acc) in `width` signed bits, and [z >= 0], the range check's top digit.

    Costs as `rescale`: the sign is free.

    Raises InvalidInput if `acc` has no proven bound.
    """
    bound = require_bound(builder, acc, "rescale")
    if shift <= 0:
        exact = acc * (1 << -shift)
        natural, value = require_bound(builder, exact, "rescale"), exact
    else:
        _check_shift(shift)
        natural = rescale_bound(bound, shift)
        (value,) = builder.hint(
            "quotient", lambda a: [fixed_point.rescale(a, shift)], [acc], [acc.shape]
        )
    declared = signed_bound(width)
    guard(builder, value, *declared, tensor)
    n = min(width, signed_width(natural))
    half = 1 << (n - 1)
    if builder.commit:
        sign = is_nonnegative(builder, value, n - 1, "quotient sign")
    else:
        sign = bit_tensor(builder, value + half, n, "quotient range")[..., n - 1]
    low, high = max(natural[0], -half), min(natural[1], half - 1)
    value = builder.with_bound(value, -half, half - 1)
    if shift > 0:
        constrain_rescale(builder, acc, shift, value)
    return builder.with_bound(value, low, high), sign


def constrain_rescale(builder: Builder, acc: Tensor, shift: int, quotient: Tensor) -> None:
    """Prove quotient = R_shift(acc) for a quotient whose range is proven already.

    Costs `shift` rows an element, or one if shift <= 0.
    """
    require_bound(builder, acc, "rescale")
    require_bound(builder, quotient, "rescale")
    if shift <= 0:
        builder.constrain_equal(quotient, acc * (1 << -shift), "rescale")
        return
    _check_shift(shift)
    remainder = acc + (1 << (shift - 1)) - quotient * (1 << shift)
    unproven = Tensor(remainder.shape, remainder.rows, None)
    check_range(builder, unproven, 0, (1 << shift) - 1, rule="remainder range")


def rescale_product(
    builder: Builder, a: Tensor, b: Tensor, shift: int, width: int, tensor: str
) -> Tensor:
    """Return R_shift(a * b) for tensors of one shape, in `width` signed bits.

    The product itself needs no wire: its row is a * b = q 2**k + rem - 2**(k-1).

    Raises InvalidInput without proven bounds, if shift < 1, or if the product could reach 2**62.
    """
    _check_shift(shift)
    bounds = [require_bound(builder, x, "rescale_product") for x in (a, b)]
    corners = [x * y for x in bounds[0] for y in bounds[1]]
    product = checked_bound((min(corners), max(corners)))
    assert product is not None
    natural = rescale_bound(product, shift)
    half = 1 << (shift - 1)

    def remainder_of(x: Ints, y: Ints, q: Ints) -> Ints:
        return x * y + half - (q << shift)

    def compute(x: Ints, y: Ints) -> Ints:
        return fixed_point.rescale(x * y, shift)

    quotient, proven = _new_quotient(builder, compute, [a, b], natural, width, tensor)
    remainder = new_in_range(
        builder, "remainder", remainder_of, [a, b, quotient], a.shape, 0, 2 * half - 1
    )
    builder.constrain(a, b, quotient * (2 * half) + remainder - half, "rescaled product")
    return builder.with_bound(quotient, *proven)


def rescale_bound(bound: Bound, shift: int) -> Bound:
    """Return the smallest interval that holds R_shift of every integer in `bound`."""
    half = 1 << (shift - 1)
    return (bound[0] + half) >> shift, (bound[1] + half) >> shift


def _new_quotient(
    builder: Builder,
    compute: Callable[..., Ints],
    inputs: Sequence[Tensor],
    natural: Bound,
    width: int,
    tensor: str,
) -> tuple[Tensor, Bound]:
    """Return a quotient in its declared width, and the bound that holds once R is constrained.

    R has one solution, which lies in the `natural` interval of the operands' bounds; so only the
    ends at which the declared width is narrower need an exact check.
    """
    declared = signed_bound(width)
    low, high = max(natural[0], declared[0]), min(natural[1], declared[1])
    if low > high:
        raise InvalidInput(f"tensor {tensor!r}: no value can fit its declared width")
    quotient = new_windowed(
        builder,
        "quotient",
        compute,
        inputs,
        inputs[0].shape,
        (low, high),
        anchor_high=high < natural[1],
        tensor=tensor,
    )
    return quotient, (low, high)


def _check_shift(shift: int) -> None:
    if not 1 <= shift <= MAX_SHIFT:
        raise InvalidInput(f"a rescale must drop 1 to {MAX_SHIFT} bits, got {shift}")
