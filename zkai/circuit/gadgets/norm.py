"""A bound on the sum of squares: one row for two values.

For small integers v, w and a power of two B, (v + B w) (v - B w) = v^2 - B^2 w^2. Over all pairs
the products add up to S_v - B^2 S_w, and with 0 <= S_v, S_w < B^2 that has one reading only.
"""

from __future__ import annotations

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.range import check_range, require_bound
from zkai.circuit.tensor import Ints, Rows, Tensor, as_tensor, concat
from zkai.encoding import Limbs
from zkai.errors import InvalidInput

MAX_BITS = 60


def sum_of_squares(builder: Builder, values: Tensor, rule: str = "norm") -> Tensor:
    """Return the sum of the values' squares, an integer with its bound.

    Raises InvalidInput for values without a proven bound, or whose squares could reach 2^60 in all.
    """
    low, high = require_bound(builder, values, "a sum of squares")
    largest = max(abs(low), abs(high))
    count = -(-values.size // 2)
    bits = max((count * largest * largest).bit_length(), 1)
    bits += bits % 2
    if bits > MAX_BITS:
        raise InvalidInput(f"{builder.name}: a sum of squares could reach 2^{MAX_BITS}")
    flat = values.reshape(values.size)
    if values.size % 2:
        flat = concat([flat, as_tensor(np.zeros(1, np.int64))])
    left, right = flat[::2], flat[1::2]
    half = 1 << (bits // 2)
    plus = left + Tensor(right.shape, right.rows, None) * half
    minus = left - Tensor(right.shape, right.rows, None) * half

    def multiply(x: Ints, y: Ints) -> Limbs:
        return native.fr_mul(native.fr_from_int64(x), native.fr_from_int64(y))

    made = builder.field_hint(f"{rule} products", multiply, [plus, minus], count)
    products = Tensor((count,), Rows.of_wires(made.wires), None)
    builder.constrain(plus, minus, products, rule)
    sums = []
    for which in (left, right):
        (total,) = builder.hint(f"{rule} sum", lambda v: [(v * v).sum()], [which], [()])
        sums.append(check_range(builder, total, 0, (1 << bits) - 1, rule=f"{rule} range"))
    unbound = [Tensor((), s.rows, None) for s in sums]
    builder.constrain_equal(products.sum(0), unbound[0] - unbound[1] * (half * half), rule)
    return sums[0] + sums[1]
