"""What an operator may ask of its inputs; every refusal is `Unsupported` with a reason."""

from __future__ import annotations

import numpy as np

from zkai.model.graph import Shape
from zkai.model.lowering import Array, Constant, Tensor, Unsupported, Value

Args = list[Value | None]


def given(args: Args, count: int) -> list[Value]:
    """Return the first `count` inputs, all of which must be there."""
    values = [value for value in args[:count] if value is not None]
    if len(values) < count:
        raise Unsupported(f"expected at least {count} inputs")
    return values


def optional(args: Args, index: int) -> Value | None:
    """Return an input that may be left out."""
    return args[index] if index < len(args) else None


def computed(args: Args) -> Tensor:
    """Return the first input, which must be computed."""
    (value,) = given(args, 1)
    if isinstance(value, Constant):
        raise Unsupported("it is applied to a constant; fold the model's constants first")
    return value


def constant(value: Value | None, what: str) -> Array:
    """Return the numbers of an input that must be known."""
    if not isinstance(value, Constant):
        raise Unsupported(f"{what} must be a constant of the file")
    return value.array


def checked_axis(axis: int, rank: int) -> int:
    """Return an axis as a number of at least 0."""
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} does not exist in a tensor of {rank} axes")
    return axis % rank if rank else 0


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the shape of two broadcast shapes."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise Unsupported(f"the shapes {a} and {b} do not broadcast") from None


def shape_of(value: Value) -> Shape:
    """Return a value's shape."""
    return value.shape if isinstance(value, Tensor) else value.array.shape
