"""Range checks: the gadget that turns a hinted wire into a bounded integer.

To prove low <= v <= high, v - low is written over boolean digits whose weights are 1, 2, 4, ...,
2**(n-2) and high - low + 1 - 2**(n-1): their sums are exactly the integers 0 .. high - low, so any
interval costs n = bit_length(high - low) rows. The lowest digit is no wire of its own but what the
others leave over, which saves the row that would tie the digits to v.

The digits of a value are unique where the interval's length is a power of two. Elsewhere some
values have two spellings, of the same v: gadgets whose other constraints give the exact bound
check the next power of two instead (`new_windowed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.logup import lookups
from zkai.circuit.tensor import LIMIT, Bound, Ints, Rows, Tensor, concat
from zkai.errors import InvalidInput

MAX_RANGE_BITS = 62
"""The widest interval that a check accepts: its digits are evaluated in int64."""

OVERFLOW = "overflow"
"""The label of the steps that reject an honest prover's overflow; they make no wire."""


def digit_weights(span: int) -> list[int]:
    """Return weights whose 0/1 sums are exactly the integers 0 .. span.

    Weights: 2**0 .. 2**(n-2), then span + 1 - 2**(n-1), for n = bit_length(span).
    """
    n = span.bit_length()
    return [1 << i for i in range(n - 1)] + ([span + 1 - (1 << (n - 1))] if n else [])


def digits(values: Ints, span: int) -> Ints:
    """Return the 0/1 digits of values in 0 .. span for `digit_weights`, shape (..., n).

    Values outside give digits too, of another number: constraints then refuse them.
    """
    n = span.bit_length()
    top = (values >= np.int64(1) << np.int64(n - 1)).astype(np.int64)
    rest = values - top * np.int64(span + 1 - (1 << (n - 1)))
    low = (rest[..., None] >> np.arange(n - 1)) & 1
    return np.concatenate([low, top[..., None]], axis=-1)


def guard(builder: Builder, value: Tensor, low: int, high: int, tensor: str) -> None:
    """Make the solver reject inputs for which `value` leaves [low, high], naming `tensor`.

    It adds no constraint: the range check beside it does. An overflow rejects the input and is
    never saturated or wrapped (circuits/README.md, rule 14).
    """

    def check(values: Ints) -> list[Ints]:
        if values.size and (int(values.min()) < low or int(values.max()) > high):
            raise InvalidInput(
                f"{builder.name}: tensor {tensor!r} has a value outside [{low}, {high}]; the input"
                " is rejected because nothing saturates: use smaller inputs or wider tensors"
            )
        return [np.zeros(0, np.int64)]

    builder.hint(OVERFLOW, check, [value], [(0,)])


def bit_tensor(builder: Builder, value: Tensor, n: int, rule: str = "range") -> Tensor:
    """Prove 0 <= value < 2**n and return its bits, least significant first, shape (..., n).

    Costs n rows an element.
    """
    return _digit_tensor(builder, value, (1 << n) - 1, rule)


def check_range(
    builder: Builder,
    value: Tensor,
    low: int,
    high: int,
    tensor: str | None = None,
    rule: str = "range",
    loose: bool = False,
) -> Tensor:
    """Prove low <= value <= high and return the tensor with that bound.

    With a commitment round, ranges are looked up (gadgets/logup.py), and a `loose` one may prove a
    higher end, up to 2**8 times as far: for values whose end the caller's constraints prove, or
    whose end only keeps them below the field's order. The bound is what those prove.

    Otherwise it costs bit_length(high - low) rows an element, none where the bound is proven
    already. With a name in `tensor`, the solver rejects inputs that leave the range (see `guard`).

    Raises InvalidInput for an empty interval or one wider than 2**62.
    """
    if low > high:
        raise InvalidInput(f"{builder.name}: the range [{low}, {high}] is empty")
    if value.bound is not None and low <= value.bound[0] and value.bound[1] <= high:
        return value
    if tensor is not None:
        guard(builder, value, low, high, tensor)
    if low == high:
        builder.constrain_equal(low, value, rule)
    elif builder.commit:
        _look_up_range(builder, value - low, high - low, rule, loose)
    else:
        _digit_tensor(builder, value - low, high - low, rule)
    return builder.with_bound(value, low, high)


def _look_up_range(builder: Builder, value: Tensor, span: int, rule: str, loose: bool) -> None:
    """Prove 0 <= value <= span, with a top digit where span + 1 is no power of two."""
    n = span.bit_length()
    if span >= LIMIT:
        raise InvalidInput(f"{builder.name}: a range check takes 1 to {MAX_RANGE_BITS} bits")
    if span & (span + 1) and not loose:
        (top,) = builder.hint(
            f"{rule} top", lambda v: [digits(v, span)[..., -1]], [value], [value.shape]
        )
        builder.constrain(top, top, top, rule)
        value = value - top * (span + 1 - (1 << (n - 1)))
        n -= 1
    lookups(builder).range(value, n, rule, loose)


def new_in_range(
    builder: Builder,
    label: str,
    compute: Callable[..., Ints],
    inputs: Sequence[Tensor],
    shape: tuple[int, ...],
    low: int,
    high: int,
    tensor: str | None = None,
    loose: bool = False,
) -> Tensor:
    """Return new wires, filled with compute(*inputs) and proven to lie in [low, high]."""
    (value,) = builder.hint(label, lambda *x: [compute(*x)], inputs, [shape])
    return check_range(builder, value, low, high, tensor, f"{label} range", loose)


def new_windowed(
    builder: Builder,
    label: str,
    compute: Callable[..., Ints],
    inputs: Sequence[Tensor],
    shape: tuple[int, ...],
    window: Bound,
    anchor_high: bool = False,
    tensor: str | None = None,
) -> Tensor:
    """Return new wires in the smallest power-of-two interval from one end of `window`.

    For values whose other end the caller's constraints prove. The bound is the wider interval.
    """
    (value,) = builder.hint(label, lambda *x: [compute(*x)], inputs, [shape])
    low, high = window
    if tensor is not None:
        guard(builder, value, low, high, tensor)
    span = (1 << (high - low).bit_length()) - 1
    low, high = (high - span, high) if anchor_high else (low, low + span)
    return check_range(builder, value, low, high, rule=f"{label} range", loose=not anchor_high)


def check_signed(builder: Builder, value: Tensor, width: int, tensor: str) -> Tensor:
    """Prove that value fits `width` signed bits: [-2**(width-1), 2**(width-1))."""
    low, high = signed_bound(width)
    return check_range(builder, value, low, high, tensor)


def signed_bound(width: int) -> Bound:
    """Return the interval of `width` signed bits.

    Raises InvalidInput unless 1 <= width <= 62.
    """
    if not 1 <= width <= MAX_RANGE_BITS:
        raise InvalidInput(f"a width must be 1 to {MAX_RANGE_BITS} signed bits, got {width}")
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def signed_width(bound: Bound) -> int:
    """Return the fewest signed bits that hold every integer of an interval."""
    return max(bound[1].bit_length(), (-bound[0] - 1).bit_length()) + 1


def require_bound(builder: Builder, value: Tensor, gadget: str) -> Bound:
    """Return the proven bound of a gadget's operand.

    Raises InvalidInput where nothing is proven: the gadget would be unsound on it.
    """
    if value.bound is None:
        raise InvalidInput(
            f"{builder.name}: {gadget} at {builder.node or 'the top'} got an operand without a"
            " proven range; range-check it first"
        )
    return value.bound


def _digit_tensor(builder: Builder, value: Tensor, span: int, rule: str) -> Tensor:
    weights = digit_weights(span)
    n = len(weights)
    if not 1 <= n <= MAX_RANGE_BITS or span >= LIMIT:
        raise InvalidInput(f"{builder.name}: a range check takes 1 to {MAX_RANGE_BITS} bits")
    if n == 1:
        upper: list[Tensor] = []
        lowest = value
    else:
        (rest,) = builder.hint(
            f"{rule} digits", lambda v: [digits(v, span)[..., 1:]], [value], [(*value.shape, n - 1)]
        )
        builder.constrain(rest, rest, rest, rule)
        upper = [builder.with_bound(rest, 0, 1)]
        lowest = value - weighted_sum(rest, weights[1:])
    builder.constrain(lowest, lowest - 1, 0, rule)
    lowest = builder.with_bound(lowest.reshape(*value.shape, 1), 0, 1)
    return concat([lowest, *upper], axis=-1)


def weighted_sum(bits: Tensor, weights: Sequence[int]) -> Tensor:
    """Return sum over the last axis of bits[..., i] * weights[i]."""
    n = len(weights)
    if bits.rows.single_wires() is None:
        return bits.matmul_const(np.array(weights, np.int64)[:, None]).reshape(*bits.shape[:-1])
    count = bits.size // n
    rows = Rows(np.arange(count + 1) * n, bits.rows.wires, np.tile(np.array(weights), count))
    bound = None if bits.bound is None else (0, sum(weights))
    return Tensor(bits.shape[:-1], rows, bound)
