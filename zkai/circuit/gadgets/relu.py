"""ReLU with its mask: y = z [z >= 1], the derivative at 0 being 0 (circuits/README.md, rule 5)."""

from __future__ import annotations

from dataclasses import dataclass

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_at_least
from zkai.circuit.gadgets.range import require_bound
from zkai.circuit.tensor import Tensor


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
