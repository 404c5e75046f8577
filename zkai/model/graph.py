"""A model in real numbers: a frozen graph of a few operators, and its reference forward pass.

`zkai.model.export` makes graphs from ONNX files and torch modules; `zkai.model.quantize` turns
them into integer models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model.fixed_point import FloatArray, IntArray

Shape = tuple[int, ...]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]

CHUNK_ELEMENTS = 1 << 24
"""Samples are run in chunks whose largest tensor stays below this many elements."""


@dataclass(frozen=True)
class MatMul:
    """Inputs (x, w) or (x, w, b): x @ w + b.

    x: (..., n); w: (n, m), a parameter or, if x is 2-D, any tensor; b: (m,), a parameter.
    """


@dataclass(frozen=True)
class Conv:
    """Inputs (x, w) or (x, w, b): ONNX's 2-D Conv; pads are (top, left, bottom, right)."""

    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Add:
    """Inputs (a, b): a + sign * b with numpy broadcasting; sign is 1 or -1."""

    sign: int = 1


@dataclass(frozen=True)
class Mul:
    """Inputs (x, c): x * c with numpy broadcasting; c is a parameter."""


@dataclass(frozen=True)
class Relu:
    """Input (x,): max(x, 0)."""


@dataclass(frozen=True)
class Sigmoid:
    """Input (x,): 1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Softmax:
    """Input (x,): softmax over the last axis."""


@dataclass(frozen=True)
class AveragePool:
    """Input (x,): ONNX's 2-D AveragePool; pads are (top, left, bottom, right)."""

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    count_include_pad: bool = False


@dataclass(frozen=True)
class Reshape:
    """Input (x,): the elements in row-major order in the output's shape."""


@dataclass(frozen=True)
class Transpose:
    """Input (x,): numpy.transpose(x, perm)."""

    perm: tuple[int, ...]


Op = MatMul | Conv | Add | Mul | Relu | Sigmoid | Softmax | AveragePool | Reshape | Transpose


@dataclass(frozen=True)
class Node:
    """One operator: reads the tensors `inputs`, writes the tensor `output`.

    `source` names the nodes of the original model that it came from.
    """

    name: str
    source: str
    op: Op
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Graph:
    """A model in real numbers: nodes in topological order over named tensors of static shape.

    `values` holds the parameters as read-only float64 arrays.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    nodes: tuple[Node, ...]
    values: Mapping[str, FloatArray] = field(repr=False)

    def __post_init__(self) -> None:
        frozen = {}
        for name, value in self.values.items():
            array = np.array(value, dtype=np.float64)
            if not np.all(np.isfinite(array)):
                raise InvalidInput(f"parameter {name!r}: holds NaN or an infinity")
            array.flags.writeable = False
            frozen[name] = array
        object.__setattr__(self, "values", MappingProxyType(frozen))
        object.__setattr__(self, "shapes", MappingProxyType(dict(self.shapes)))
        self._check_wiring()

    def _check_wiring(self) -> None:
        known = set(self.inputs) | set(self.values)
        for node in self.nodes:
            if any(name not in known for name in node.inputs) or node.output in known:
                raise InvalidInput(f"node {node.name!r}: reads or writes a tensor out of order")
            known.add(node.output)
        for name in known | set(self.outputs):
            if name not in known or name not in self.shapes:
                raise InvalidInput(f"tensor {name!r}: has no maker or no shape")
        for name, value in self.values.items():
            if value.shape != self.shapes[name]:
                raise InvalidInput(f"parameter {name!r}: is not of its shape {self.shapes[name]}")

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the nodes that read a tensor."""
        return self._consumers.get(tensor, ())

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        readers: dict[str, tuple[Node, ...]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name] = (*readers.get(name, ()), node)
        return readers


def out_size(size: int, kernel: int, stride: int, pads: int, dilation: int) -> int:
    """Return the number of windows along one axis: floor((size + pads - extent) / stride) + 1."""
    return (size + pads - (dilation * (kernel - 1) + 1)) // stride + 1


def window_indices(
    shape: Sequence[int], kernel: Pair, strides: Pair, pads: Pads, dilations: Pair = (1, 1)
) -> IntArray:
    """Return the flat indices of each window of a (C, H, W) array: (C, OH, OW, KH * KW).

    An index of -1 stands for a zero of the padding.
    """
    channels, height, width = shape
    spans = []
    for axis, size in enumerate((height, width)):
        count = out_size(
            size, kernel[axis], strides[axis], pads[axis] + pads[axis + 2], dilations[axis]
        )
        first = np.arange(count, dtype=np.int64)[:, None] * strides[axis] - pads[axis]
        spans.append(first + np.arange(kernel[axis], dtype=np.int64)[None, :] * dilations[axis])
    rows, cols = spans[0][:, None, :, None], spans[1][None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    flat = np.where(inside, rows * width + cols, -1).reshape(len(spans[0]), len(spans[1]), -1)
    base = np.arange(channels, dtype=np.int64)[:, None, None, None] * (height * width)
    return np.where(flat[None] >= 0, flat[None] + base, -1)


def conv_indices(
    x_shape: Shape, w_shape: Shape, strides: Pair, pads: Pads, dilations: Pair, groups: int
) -> IntArray:
    """Return im2col's indices into one flattened (C, H, W) item: (groups, OH * OW, C/g * KH * KW).

    The last axis runs in the order of a kernel w[m].ravel(); -1 stands for a zero.
    """
    windows = window_indices(x_shape[1:], (w_shape[2], w_shape[3]), strides, pads, dilations)
    channels, rows, cols, size = windows.shape
    grouped = windows.reshape(groups, channels // groups, rows * cols, size)
    return grouped.transpose(0, 2, 1, 3).reshape(groups, rows * cols, -1)


def gather_patches(items: npt.NDArray[Any], indices: IntArray) -> npt.NDArray[Any]:
    """Return items[:, indices] for items (n, elements), with zeros where an index is -1."""
    padded = np.concatenate([items, np.zeros((len(items), 1), dtype=items.dtype)], axis=1)
    return padded[:, indices]


def conv_patches_product(
    x: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    indices: IntArray,
    out_shape: Shape,
    product: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]] = np.matmul,
) -> npt.NDArray[Any]:
    """Return the convolution of items x (n, C, H, W) as patches @ kernels: (n, M, OH, OW)."""
    groups = len(indices)
    patches = gather_patches(x.reshape(len(x), -1), indices)
    kernels = weights.reshape(groups, len(weights) // groups, -1).transpose(0, 2, 1)
    result = product(patches, kernels)
    return result.transpose(0, 1, 3, 2).reshape(len(x), *out_shape[1:])


def align(array: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    """Insert axes after the sample axis so that the rest has `rank` axes, as broadcasting wants."""
    return array.reshape(len(array), *(1,) * (rank + 1 - array.ndim), *array.shape[1:])


def as_samples(shape: Shape, array: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return inputs as (samples, *shape).

    Accepts one input of that shape, a stack of them, or, as torch users keep data, rows: an array
    whose first axis is a multiple of the input's.

    Raises InvalidInput, naming the input, for anything else.
    """
    data = np.asarray(array)
    if data.dtype.kind not in "fiub":
        raise InvalidInput(f"input {name!r}: expected real numbers, got dtype {data.dtype}")
    if data.shape == shape:
        return data[None]
    if data.ndim == len(shape) + 1 and data.shape[1:] == shape and len(data):
        return data
    if shape and data.ndim == len(shape) and data.shape[1:] == shape[1:] and len(data):
        if len(data) % shape[0] == 0:
            return data.reshape(-1, *shape)
        raise InvalidInput(
            f"input {name!r}: {len(data)} rows are not a multiple of the model's batch {shape[0]}"
        )
    raise InvalidInput(f"input {name!r}: expected shape {shape}, or a stack, got {data.shape}")


def named_samples(
    inputs: Sequence[str],
    shapes: Mapping[str, Shape],
    given: npt.ArrayLike | Mapping[str, npt.ArrayLike],
) -> dict[str, npt.NDArray[Any]]:
    """Return each input's samples, from a mapping by name or, for a single input, from an array.

    Raises InvalidInput for missing or unknown names and for different numbers of samples.
    """
    if not isinstance(given, Mapping):
        if len(inputs) != 1:
            raise InvalidInput(f"the model has the inputs {list(inputs)}: give a mapping by name")
        given = {inputs[0]: given}
    if set(given) != set(inputs):
        raise InvalidInput(f"expected the inputs {list(inputs)}, got {sorted(map(str, given))}")
    samples = {name: as_samples(shapes[name], given[name], name) for name in inputs}
    if len({len(value) for value in samples.values()}) > 1:
        raise InvalidInput("the inputs have different numbers of samples")
    return samples


def chunks(samples: int, largest_tensor: int) -> Iterator[slice]:
    """Yield slices of the sample axis that keep `largest_tensor` elements a sample affordable."""
    step = max(1, CHUNK_ELEMENTS // max(largest_tensor, 1))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


def forward(
    graph: Graph, inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
) -> dict[str, FloatArray]:
    """Return every computed tensor in float64, each as (samples, *shape).

    `inputs` is an array or a mapping by name, as `named_samples` takes them.

    Raises InvalidInput for inputs of a wrong name or shape, or with NaN or an infinity.
    """
    samples = named_samples(graph.inputs, graph.shapes, inputs)
    env: dict[str, FloatArray] = {name: value[None] for name, value in graph.values.items()}
    for name, value in samples.items():
        env[name] = np.asarray(value, dtype=np.float64)
        if not np.all(np.isfinite(env[name])):
            raise InvalidInput(f"input {name!r}: holds NaN or an infinity")
    for node in graph.nodes:
        env[node.output] = apply(graph, node, [env[name] for name in node.inputs])
    return {name: value for name, value in env.items() if name not in graph.values}


def apply(graph: Graph, node: Node, args: list[FloatArray]) -> FloatArray:
    """Return one node's output for arguments (samples, *shape); parameters have 1 sample."""
    shape, x, op = graph.shapes[node.output], args[0], node.op
    if isinstance(op, MatMul):
        return np.asarray(matmul_samples(x, args[1], shape) + (args[2] if args[2:] else 0.0))
    if isinstance(op, Conv):
        return _conv(graph, node, op, args)
    if isinstance(op, Add):
        return np.asarray(align(x, len(shape)) + op.sign * align(args[1], len(shape)))
    if isinstance(op, Mul):
        return np.asarray(align(x, len(shape)) * align(args[1], len(shape)))
    if isinstance(op, Relu):
        return np.maximum(x, 0.0)
    if isinstance(op, Sigmoid):
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
    if isinstance(op, Softmax):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))
    if isinstance(op, AveragePool):
        return _average_pool(graph, node, op, x)
    if isinstance(op, Reshape):
        return x.reshape(len(x), *shape)
    return x.transpose(0, *(axis + 1 for axis in op.perm))


def matmul_samples(
    x: npt.NDArray[Any],
    w: npt.NDArray[Any],
    shape: Shape,
    product: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]] = np.matmul,
) -> npt.NDArray[Any]:
    """Return x (s, ..., n) @ w (1 or s, n, m) in the output's shape (s, *shape)."""
    result = product(x.reshape(len(x), -1, x.shape[-1]), w)
    return result.reshape(len(x), *shape)


def _conv(graph: Graph, node: Node, op: Conv, args: list[FloatArray]) -> FloatArray:
    x_shape, w_shape = graph.shapes[node.inputs[0]], graph.shapes[node.inputs[1]]
    shape = graph.shapes[node.output]
    indices = conv_indices(x_shape, w_shape, op.strides, op.pads, op.dilations, op.groups)
    x, parts = args[0], []
    for part in chunks(len(x), indices.size * x_shape[0]):
        items = x[part].reshape(-1, *x_shape[1:])
        parts.append(conv_patches_product(items, args[1][0], indices, shape))
    result = np.concatenate(parts).reshape(len(x), *shape)
    return result + (args[2].reshape(1, 1, -1, 1, 1) if len(args) > 2 else 0.0)


def _average_pool(graph: Graph, node: Node, op: AveragePool, x: FloatArray) -> FloatArray:
    x_shape, shape = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    indices = window_indices(x_shape[1:], op.kernel, op.strides, op.pads)
    counts = pool_counts(indices, op.count_include_pad)
    parts = []
    for part in chunks(len(x), indices.size * x_shape[0]):
        items = x[part].reshape(-1, int(np.prod(x_shape[1:])))
        parts.append(gather_patches(items, indices).sum(axis=-1) / counts)
    return np.concatenate(parts).reshape(len(x), *shape)


def pool_counts(indices: IntArray, count_include_pad: bool) -> IntArray:
    """Return each window's divisor: its size, or the number of its places inside the input."""
    if count_include_pad:
        return np.full(indices.shape[:-1], indices.shape[-1], dtype=np.int64)
    return np.asarray((indices >= 0).sum(axis=-1), dtype=np.int64)
