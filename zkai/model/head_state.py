"""A head's private numbers, and the checks of what a step takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.fixed_point import MAX_WIDTH, IntArray, check_width
from zkai.model.heads import Head


@dataclass(frozen=True)
class HeadState:
    """A head's integer weights, of the head's shape, and what else a state holds.

    `velocity` has the weights' shape, each block at its gradient's scale, or is None if momentum
    is 0. `frozen` are the weights that are not trained, (frozen_size,), None if there are none.
    """

    weights: IntArray = field(repr=False)
    velocity: IntArray | None = field(default=None, repr=False)
    frozen: IntArray | None = field(default=None, repr=False)


def check_state(head: Head, state: HeadState, batch: int | None = None) -> None:
    """Return None if a state has the head's shapes and widths.

    The velocity's width depends on the batch; it is checked if `batch` is given.

    Raises InvalidInput naming the tensor otherwise.
    """
    check_integers(state.weights, head.shape, "weights")
    check_width(state.weights, head.weight_width, "weights")
    if (state.velocity is None) == head.has_velocity:
        raise InvalidInput("velocity: needed exactly if the head's momentum is not 0")
    if state.velocity is not None:
        check_integers(state.velocity, head.shape, "velocity")
        check_width(state.velocity, head.widths(batch)["v"] if batch else MAX_WIDTH, "velocity")
    if (state.frozen is None) == (head.frozen_size > 0):
        raise InvalidInput("frozen: needed exactly if the head has weights that are not trained")
    if state.frozen is not None:
        check_integers(state.frozen, (head.frozen_size,), "frozen")
        check_width(state.frozen, head.weight_width, "frozen")


def check_integers(array: IntArray, shape: tuple[int, ...], tensor: str) -> None:
    """Return None for int64 of the given shape. Raises InvalidInput naming the tensor otherwise."""
    if not isinstance(array, np.ndarray) or array.dtype != np.int64:
        raise InvalidInput(f"{tensor}: expected an int64 array")
    if array.shape != shape:
        raise InvalidInput(f"{tensor}: expected shape {shape}, got {array.shape}")


def check_batch(head: Head, x: IntArray, labels: IntArray) -> None:
    """Return None if x is (batch, features) in its width and labels are (batch,) in [0, classes).

    Raises InvalidInput naming the tensor otherwise.
    """
    rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else 1
    check_integers(x, (max(rows, 1), head.features), "x")
    check_integers(labels, (rows,), "labels")
    check_width(x, head.input_width, "x")
    if np.any(labels < 0) or np.any(labels >= head.classes):
        raise InvalidInput(f"labels: expected integers of 0 to {head.classes - 1}")
