"""Which rows a classifier gets right: the argmax of base-2 logits against a label, as a bit.

For sums acc with u = R_K(369 acc) (rule 7), the row's maximum m, and the class k that is claimed,

    v_i = 2^K m + 2^(K-1) - 1 - 369 acc_i

says all about u_i: v_i >= 0 exactly if u_i <= m, v_i >= 2^K exactly if u_i < m. So k is the lowest
index that attains the maximum if and only if v_k lies in [0, 2^K) and v_i - 2^K [i < k] >= 0 for
every i. No u is computed. The upper end of v_i is rule 7's m - u_i < 2^(sa+7), or up to 2^8 times
as much: rows beyond are rejected, and more than that is not needed for k.
"""

from __future__ import annotations

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import one_hot
from zkai.circuit.gadgets.range import check_range, guard
from zkai.circuit.gadgets.softmax import INTEGER_BITS
from zkai.circuit.tensor import Ints, Rows, Tensor
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.model import fixed_point

MAX_BITS = 50


def largest_bits(shift: int, sa: int) -> int:
    """Return the bits of v, the upper end's slack included."""
    return shift + sa + INTEGER_BITS + 8


def correct_rows(
    builder: Builder, scaled: Tensor, labels: Tensor, shift: int, sa: int, tensor: str
) -> Tensor:
    """Return [argmax of R_shift(scaled) = label] for each row, 0 or 1; ties take the lowest index.

    scaled = 369 acc, (rows, classes); labels (rows,). It also proves that scaled's entries are
    integers below 2^(shift + sa + 16) in magnitude. Costs, a row of C classes, 2 C + 3 rows, C + 2
    range checks.

    Raises InvalidInput for a shift below 1, or sums too wide for the check. The solver rejects rows
    out of rule 7's range, naming `tensor`.
    """
    rows, classes = scaled.shape
    if shift < 1 or largest_bits(shift, sa) > MAX_BITS:
        raise InvalidInput(f"{builder.name}: logits with the shift {shift} cannot be compared")
    half = 1 << (sa + INTEGER_BITS)

    def logits(a: Ints) -> Ints:
        return fixed_point.rescale(a, shift)

    (top,) = builder.hint("maximum", lambda a: [logits(a).max(-1)], [scaled], [(rows,)])
    top = check_range(builder, top, -half, half - 1, tensor)
    selected = one_hot(
        builder, "selected", lambda a: logits(a).argmax(-1), [scaled], (rows,), classes
    )
    ceiling = top * (1 << shift) + ((1 << (shift - 1)) - 1)
    gap = ceiling.reshape(rows, 1) - Tensor(scaled.shape, scaled.rows, None)
    guard(builder, gap, 0, (half << shift) - 1, tensor)
    # [i < k] is the sum of the selectors after i.
    earlier = selected.matmul_const(np.tril(np.ones((classes, classes), np.int64), -1))
    above = gap - earlier * (1 << shift)
    unproven = Tensor(above.shape, above.rows, None)
    check_range(builder, unproven, 0, (half << shift) - 1, rule="largest", loose=True)
    (least,) = builder.hint("gap", lambda g, s: [(g * s).sum(-1)], [gap, selected], [(rows,)])
    least = check_range(builder, least, 0, (1 << shift) - 1, rule="attained")
    builder.constrain(selected, gap - least.reshape(rows, 1), 0, "attained")
    index = (selected * np.arange(classes)).sum(-1)
    return is_zero(builder, index - labels, "correct")


def is_zero(builder: Builder, value: Tensor, rule: str) -> Tensor:
    """Return [value = 0] for each element, 0 or 1. Costs three rows.

    With the inverse v' (0 for v = 0): v v' = 1 - b, v b = 0 and v' b = 0.
    """
    (flag,) = builder.hint(rule, lambda v: [(v == 0).astype(np.int64)], [value], [value.shape])
    made = builder.field_hint(f"{rule} inverse", _inverse, [value], value.size)
    inverse = Tensor(value.shape, Rows.of_wires(made.wires), None)
    builder.constrain(value, inverse, 1 - flag, rule)
    builder.constrain(value, flag, 0, rule)
    builder.constrain(inverse, flag, 0, rule)
    return builder.with_bound(flag, 0, 1)


def _inverse(values: Ints) -> Limbs:
    return native.fr_inv(native.fr_from_int64(np.ascontiguousarray(values)))
