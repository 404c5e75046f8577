"""ReLU with its mask: y = z [z >= 1], the derivative at 0 being 0 (circuits/README.md, rule 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_at_least
from zkai.circuit.gadgets.range import (
    bit_tensor,
    check_range,
    guard,
    require_bound,
    signed_bound,
    signed_width,
)
from zkai.circuit.gadgets.rescale import constrain_rescale, rescale_bound
from zkai.circuit.tensor import Tensor
from zkai.model import fixed_point


@dataclass(frozen=True, eq=False)
class Relu:
    """`value` y = z * mask and `mask` = [z >= 1], as 0 or 1."""

    value: Tensor
    mask: Tensor


def relu(builder: Builder, z: Tensor) -> Relu:
    """Return z [z >= 1] and its mask, the sign bit of z - 1.

    Costs the bits of z's interval and one product an element.

    Raises InvalidInput if z has no proven bound.
    """
    low, high = require_bound(builder, z, "relu")
    mask = is_at_least(builder, z, 1)
    if low >= 0:
        return Relu(z, mask)
    if high < 1:
        return Relu(builder.with_bound(z * 0, 0, 0), mask)
    value = builder.multiply(z, mask, "relu")
    return Relu(builder.with_bound(value, 0, high), mask)


def relu_of_sign(builder: Builder, z: Tensor, nonnegative: Tensor) -> Tensor:
    """Return z [z >= 1] where [z >= 0] is proven already (`rescale_with_sign`): one row an element.

    At z = 0 the two masks differ and the product does not.

    Raises InvalidInput if z has no proven bound.
    """
    high = require_bound(builder, z, "relu")[1]
    return builder.with_bound(builder.multiply(z, nonnegative, "relu"), 0, max(high, 0))


def rescale_relu(builder: Builder, acc: Tensor, shift: int, width: int, tensor: str) -> Relu:
    """Return ReLU of z = R_shift(acc), where z - 1 fits `width` signed bits, and [z >= 1].

    The sign of z - 1 is ReLU's mask b, so that one check gives both: 2 y - z - b, with y = b z, is
    z - 1 where b = 1 and -z where b = 0, and lies in [0, 2^(width-1)). The constraints cannot be
    met, and the solver raises InvalidInput naming `tensor`, for any other z. Costs width + shift
    rows an element and one for y; with a commitment round two and the range checks of width - 1
    and shift bits.

    Raises InvalidInput if `acc` has no proven bound.
    """
    bound = require_bound(builder, acc, "relu")
    if shift > 0:
        bound = rescale_bound(bound, shift)
        (z,) = builder.hint(
            "quotient", lambda a: [fixed_point.rescale(a, shift)], [acc], [acc.shape]
        )
    else:
        z = builder.materialize(acc * (1 << -shift), "quotient")
        bound = require_bound(builder, z, "relu")
    n = min(width, signed_width((bound[0] - 1, bound[1] - 1)))
    half = 1 << (n - 1)
    declared = signed_bound(width)
    guard(builder, z, declared[0] + 1, declared[1] + 1, tensor)
    if builder.commit:
        mask, value = _signs(builder, z, half)
    else:
        below = Tensor(z.shape, z.rows, None) - 1 + half
        mask = bit_tensor(builder, below, n, "quotient range")[..., n - 1]
        value = builder.multiply(Tensor(z.shape, z.rows, None), mask, "relu")
    z = builder.with_bound(z, 1 - half, half)
    if shift > 0:
        constrain_rescale(builder, acc, shift, z)
    return Relu(builder.with_bound(value, 0, max(min(bound[1], half), 0)), mask)


def _signs(builder: Builder, z: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Return b = [z >= 1] and b z, and prove that z - 1 lies in [-half, half)."""
    (mask,) = builder.hint("mask", lambda v: [(v >= 1).astype(np.int64)], [z], [z.shape])
    builder.constrain(mask, mask, mask, "mask")
    unproven = Tensor(z.shape, z.rows, None)
    value = builder.multiply(unproven, mask, "relu")
    folded = value * 2 - unproven - mask
    check_range(builder, folded, 0, half - 1, rule="quotient range")
    return builder.with_bound(mask, 0, 1), value
