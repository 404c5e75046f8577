"""Heads in real numbers: from float layers to integer states and back.

Networks are given as torch keeps them: a layer's weight as (outputs, inputs) beside its bias
(outputs,), as torch.nn.Linear; a layer's factors as A (rank, inputs) beside B (outputs, rank), as
the usual LoRA modules, whose factor alpha / rank is folded into B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model.fixed_point import FloatArray, IntArray, check_width, from_fixed, to_fixed
from zkai.model.head_layers import Block
from zkai.model.head_state import HeadState, check_state
from zkai.model.heads import Head, LoraHead, SoftmaxHead

Pairs = Sequence[tuple[npt.ArrayLike, npt.ArrayLike | None]]
"""A network's layers: (weight, bias), or (A, B)."""


def initial_state(
    head: Head,
    weights: npt.ArrayLike | Pairs,
    bias: npt.ArrayLike | None = None,
    base: Pairs | None = None,
) -> HeadState:
    """Quantise float weights and set the velocity to 0.

    SoftmaxHead: weights (features, classes) and bias (classes,), 0 if there is none; torch's Linear
    keeps its weight as (classes, features): pass its transpose. MlpHead: `weights` is a list of a
    (weight, bias) pair for each layer in torch's layout. LoraHead: `weights` is a list of an (A, B)
    pair for each adapted layer, and `base` the frozen network as such a list.

    Raises InvalidInput for a wrong shape, NaN, an infinity, or a weight that overflows its width.
    """
    frozen = None
    if isinstance(head, SoftmaxHead):
        flat = _softmax_weights(head, weights, bias)
    elif bias is not None:
        raise InvalidInput("bias: a network's biases stand beside its layers' weights")
    elif isinstance(head, LoraHead):
        factors = _pairs(weights, len(head.adapted), "weights")
        flat = _join(head, [m for a, b in factors for m in (a, b)], head.blocks, "weights")
        frozen = _layers(head, base, head.base, "base")
    else:
        flat = _layers(head, weights, head.blocks, "weights")
    if base is not None and frozen is None:
        raise InvalidInput("base: only heads with frozen weights have a base network")
    integers = flat.reshape(head.shape)
    return HeadState(integers, np.zeros_like(integers) if head.has_velocity else None, frozen)


def _softmax_weights(head: SoftmaxHead, weights: Any, bias: Any) -> IntArray:
    matrix = to_fixed(weights, head.weight_scale_bits, "weights")
    row = to_fixed(np.zeros(head.classes) if bias is None else bias, head.weight_scale_bits, "bias")
    if matrix.shape != (head.features, head.classes) or row.shape != (head.classes,):
        raise InvalidInput(
            f"head: expected weights {(head.features, head.classes)} and bias {(head.classes,)},"
            f" got {matrix.shape} and {row.shape}"
        )
    check_width(matrix, head.weight_width, "weights")
    check_width(row, head.weight_width, "bias")
    return np.concatenate([matrix, row[None, :]])


def _pairs(value: Any, count: int, name: str) -> list[tuple[Any, Any]]:
    sequences = (list, tuple, np.ndarray)  # two arrays of one shape may have become one array
    if not isinstance(value, sequences) or len(value) != count:
        raise InvalidInput(
            f"{name}: expected a list of {count} pairs of arrays, one for each layer"
        )
    for number, pair in enumerate(value):
        if not isinstance(pair, sequences) or len(pair) != 2:
            raise InvalidInput(f"{name}[{number}]: expected a pair of arrays")
    return [(first, second) for first, second in value]


def _layers(head: Head, value: Any, blocks: Sequence[Block], name: str) -> IntArray:
    """Return torch's layers, a (weight, bias) pair each, as one vector of integers."""
    matrices = []
    for number, (weight, bias) in enumerate(_pairs(value, len(blocks), name)):
        block = blocks[number]
        array = _floats(weight, (block.outputs, block.inputs), f"{name}[{number}][0]")
        row = np.zeros(block.outputs) if bias is None else bias
        row = _floats(row, (block.outputs,), f"{name}[{number}][1]")
        matrices.append(np.concatenate([array, row[:, None]], axis=1))
    return _join(head, matrices, blocks, name)


def _floats(value: Any, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{name}: expected lists of numbers of equal lengths") from error
    if array.shape != shape:
        raise InvalidInput(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def _join(head: Head, matrices: Sequence[Any], blocks: Sequence[Block], name: str) -> IntArray:
    """Return matrices (outputs, rows), torch's layout, as one vector of (rows, outputs) each."""
    parts = []
    for matrix, block in zip(matrices, blocks, strict=True):
        label = f"{name}: {block.name}"
        array = _floats(matrix, (block.outputs, block.rows), label)
        integers = to_fixed(array, head.weight_scale_bits, label)
        check_width(integers, head.weight_width, label)
        parts.append(integers.T.ravel())
    return np.concatenate(parts)


def head_floats(head: Head, state: HeadState) -> Any:
    """Return the real weights that a state stands for, in `initial_state`'s form.

    SoftmaxHead: weights (features, classes) and bias (classes,). MlpHead: a list of (weight, bias)
    pairs. LoraHead: a list of (A, B) pairs.
    """
    check_state(head, state)
    real = from_fixed(state.weights, head.weight_scale_bits)
    if isinstance(head, SoftmaxHead):
        return real[:-1], real[-1]
    matrices = [block.of(real).T for block in head.blocks]
    if isinstance(head, LoraHead):
        return list(zip(matrices[::2], matrices[1::2], strict=True))
    return [(matrix[:, :-1], matrix[:, -1]) for matrix in matrices]


def float_step(
    weights: FloatArray,
    velocity: FloatArray,
    x: FloatArray,
    labels: IntArray,
    rate: float,
    momentum: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return (weights, velocity) after one SGD step of softmax regression in real numbers.

    weights, velocity: (features + 1, classes), the bias last; x: (batch, features). The loss is
    the batch's mean cross-entropy and the step torch.optim.SGD's: v' = momentum v + g,
    W' = W - rate v'. For comparison with `sgd_step` only.
    """
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    z = rows @ weights
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1.0
    velocity = momentum * velocity + rows.T @ p / len(x)
    return weights - rate * velocity, velocity
