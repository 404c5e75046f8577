"""Integer models: made from a graph and calibration data, and run exactly as circuits prove them.

`forward` is the reference semantics; circuits/README.md states it in mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model import fixed_point as fixed
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig, choose, largest_values
from zkai.model.fixed_point import FloatArray, IntArray
from zkai.model.head_layers import Layer
from zkai.model.head_state import HeadState, check_state
from zkai.model.heads import Head
from zkai.model.quant_graph import (
    Add,
    AveragePool,
    Conv,
    MatMul,
    Mul,
    QuantGraph,
    QuantNode,
    QuantTensor,
    Relu,
    Reshape,
    Role,
    Scale,
    Shape,
    Sigmoid,
    Softmax,
)

FLOAT_EXACT_WIDTH = 53
"""Products whose every partial sum fits this signed width are exact in float64 arithmetic."""


def quantize(
    graph: real.Graph,
    calibration: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    config: QuantConfig | None = None,
) -> QuantGraph:
    """Return the integer model of `graph` with scales and widths from calibration samples.

    `calibration` holds representative inputs: an array (samples, *input shape) or rows of the
    input's batch axis, or a mapping of such arrays by input name. See QuantConfig for the margin.

    Raises InvalidInput for unusable samples, and for an accumulator that could pass int64.
    """
    ranges = largest_values(real.forward(graph, calibration))
    return choose(graph, ranges, config or QuantConfig())


def quantize_inputs(
    quant_graph: QuantGraph, inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
) -> dict[str, IntArray]:
    """Return real inputs as integers (samples, *shape) at the inputs' scales.

    Raises InvalidInput, naming the input, for a wrong shape, NaN, an infinity or an overflow.
    """
    shapes = {name: tensor.shape for name, tensor in quant_graph.tensors.items()}
    samples = real.named_samples(quant_graph.inputs, shapes, inputs)
    result = {}
    for name, value in samples.items():
        tensor = quant_graph.tensors[name]
        result[name] = fixed.to_fixed(value, tensor.scale_bits, name)
        fixed.check_width(result[name], tensor.width, name)
    return result


def dequantize(quant_graph: QuantGraph, tensor: str, values: IntArray) -> FloatArray:
    """Return the real numbers that a tensor's integers stand for."""
    return fixed.from_fixed(values, quant_graph.tensors[tensor].scale_bits)


def predict(
    quant_graph: QuantGraph, inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
) -> dict[str, FloatArray]:
    """Return the outputs for real inputs, as real numbers (samples, *shape).

    Raises InvalidInput as `quantize_inputs` and `forward` do.
    """
    tensors = forward(quant_graph, quantize_inputs(quant_graph, inputs))
    return {name: dequantize(quant_graph, name, tensors[name]) for name in quant_graph.outputs}


def forward(quant_graph: QuantGraph, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return every input and computed tensor for integer inputs, each as (samples, *shape).

    Integer inputs are (samples, *shape) or one sample of that shape.

    Raises InvalidInput, naming the tensor, for a wrong shape or type and for every value outside
    its tensor's width or, for logits, outside rule 7's range: nothing saturates or wraps.
    """
    shapes = {name: tensor.shape for name, tensor in quant_graph.tensors.items()}
    env: dict[str, IntArray] = {name: v[None] for name, v in quant_graph.values.items()}
    for name, value in real.named_samples(quant_graph.inputs, shapes, inputs).items():
        if value.dtype != np.int64:
            raise InvalidInput(f"input {name!r}: expected int64 integers, got {value.dtype}")
        env[name] = value
        fixed.check_width(value, quant_graph.tensors[name].width, name)
    for node in quant_graph.nodes:
        result = _apply(quant_graph, node, [env[name] for name in node.inputs])
        tensor = quant_graph.tensors[node.output]
        if tensor.checked:
            fixed.check_width(result, tensor.width, tensor.name)
        env[node.output] = result
    return {name: value for name, value in env.items() if name not in quant_graph.values}


def _apply(quant_graph: QuantGraph, node: QuantNode, args: list[IntArray]) -> IntArray:
    op, x = node.op, args[0]
    shape = quant_graph.tensors[node.output].shape
    if isinstance(op, MatMul):
        acc = real.matmul_samples(x, args[1], shape, exact_product(op.acc_width))
        if len(args) > 2:
            acc = acc + (args[2] << np.int64(op.bias_shift))
        return fixed.rescale(op.multiplier * acc, op.shift)
    if isinstance(op, Conv):
        return _conv(quant_graph, node, op, args)
    if isinstance(op, Add):
        a, b = (
            real.align(v, len(shape)) << np.int64(s) for v, s in zip(args, op.shifts, strict=True)
        )
        return fixed.rescale(a + op.sign * b, op.shift)
    if isinstance(op, Mul):
        return fixed.rescale(real.align(x, len(shape)) * real.align(args[1], len(shape)), op.shift)
    if isinstance(op, Scale):
        return fixed.rescale(op.multiplier * x, op.shift)
    if isinstance(op, Relu):
        return fixed.relu(x)
    if isinstance(op, AveragePool):
        return _average_pool(quant_graph, node, op, x)
    if isinstance(op, Softmax):
        return fixed.softmax(x, op.logit_scale_bits, op.error_scale_bits, node.inputs[0])
    if isinstance(op, Sigmoid):
        return fixed.sigmoid(x, op.logit_scale_bits, op.error_scale_bits, node.inputs[0])
    if isinstance(op, Reshape):
        return x.reshape(len(x), *shape)
    return np.ascontiguousarray(x.transpose(0, *(axis + 1 for axis in op.perm)))


def exact_product(
    acc_width: int,
) -> Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]:
    """Return an exact integer matrix product for sums of magnitudes that fit `acc_width` bits.

    Within 53 bits float64 arithmetic is exact in any order of summation, and far faster than
    numpy's integer product.
    """
    if acc_width > FLOAT_EXACT_WIDTH:
        return np.matmul

    def product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)), dtype=np.int64)

    return product


def conv_patches(op: Conv, x_shape: Shape, w_shape: Shape) -> IntArray:
    """Return im2col's indices of a Conv: (groups, OH * OW, C/groups * KH * KW).

    They point into one flattened (C, H, W) item; -1 is a zero. Group g's accumulator of item n is
    x[n].ravel()[patches[g]] @ w[g-th M/groups kernels].reshape(M/groups, -1).T.
    """
    return real.conv_indices(x_shape, w_shape, op.strides, op.pads, op.dilations, op.groups)


def pool_patches(op: AveragePool, x_shape: Shape) -> tuple[IntArray, IntArray]:
    """Return an AveragePool's indices (C, OH, OW, KH * KW) and divisors (C, OH, OW).

    Indices point into one flattened (C, H, W) item; -1 is a zero.
    """
    indices = real.window_indices(x_shape[1:], op.kernel, op.strides, op.pads)
    return indices, real.pool_counts(indices, op.count_include_pad)


def _conv(quant_graph: QuantGraph, node: QuantNode, op: Conv, args: list[IntArray]) -> IntArray:
    x_shape, w_shape = (quant_graph.tensors[name].shape for name in node.inputs[:2])
    shape = quant_graph.tensors[node.output].shape
    indices, product = conv_patches(op, x_shape, w_shape), exact_product(op.acc_width)
    x, parts = args[0], []
    for part in real.chunks(len(x), indices.size * x_shape[0]):
        items = x[part].reshape(-1, *x_shape[1:])
        acc = real.conv_patches_product(items, args[1][0], indices, shape, product)
        if len(args) > 2:
            acc = acc + (args[2].reshape(1, -1, 1, 1) << np.int64(op.bias_shift))
        parts.append(fixed.rescale(op.multiplier * acc, op.shift))
    return np.concatenate(parts).reshape(len(x), *shape)


def _average_pool(
    quant_graph: QuantGraph, node: QuantNode, op: AveragePool, x: IntArray
) -> IntArray:
    x_shape = quant_graph.tensors[node.inputs[0]].shape
    indices, counts = pool_patches(op, x_shape)
    parts = []
    for part in real.chunks(len(x), indices.size * x_shape[0]):
        items = x[part].reshape(-1, prod(x_shape[1:]))
        parts.append(fixed.divide(real.gather_patches(items, indices).sum(axis=-1), counts))
    return np.concatenate(parts).reshape(len(x), *quant_graph.tensors[node.output].shape)


def head_graph(
    head: Head, state: HeadState, rows: int = 1, probabilities: bool = True
) -> QuantGraph:
    """Return the inference of a trained head as an integer model, bit-exact with training's.

    Input "features": (rows, features) at the head's input scale and width; parameters "weight"
    (inputs, outputs) and "bias" (outputs,), of several layers "weight1", "bias1", "weight2" and so
    on, at the head's weight scale and width; output "probabilities" at scale se by rules 7 and 8,
    or "logits", the base-2 logits at scale sa. A hidden layer has its declared width in signed
    bits, so that z = 2**(width - 1), which a training step takes, is refused.

    Raises InvalidInput for a head with frozen weights, a state that is not the head's and for
    rows < 1.
    """
    check_state(head, state)
    if head.frozen_size:
        raise InvalidInput(f"{head.kind}: a head with frozen weights cannot stand in a graph")
    if rows < 1:
        raise InvalidInput(f"rows: expected at least 1, got {rows}")
    sa, se = head.logit_scale_bits, head.error_scale_bits
    role: Role = "hidden" if probabilities else "output"
    tensors = [_tensor("features", (rows, head.features), head, "input")]
    nodes, values, x = list[QuantNode](), dict[str, IntArray](), "features"
    for layer in head.layers:
        names = head_parameters(head, layer)
        block, matrix = layer.weight, layer.weight.of(state.weights.reshape(-1))
        values |= {names[0]: matrix[:-1], names[1]: matrix[-1]}
        tensors.append(_tensor(names[0], (block.inputs, block.outputs), head, "parameter"))
        tensors.append(_tensor(names[1], (block.outputs,), head, "parameter"))
        if layer.number < len(head.layers):
            made, node, x = _hidden(head, layer, rows, (x, *names))
            tensors += made
            nodes += node
            continue
        acc = head.widths(1)["acc"]
        linear = MatMul(head.logit_shift, layer.scale, fixed.LOG2_E_NUMERATOR, acc)
        nodes.append(QuantNode("logits", "head", linear, (x, *names), "logits", "3, 7"))
    tensors.append(QuantTensor("logits", (rows, head.classes), sa, sa + 9, role, not probabilities))
    if probabilities:
        width, shape = head.widths(1)["p"], (rows, head.classes)
        tensors.append(QuantTensor("probabilities", shape, se, width, "output", False))
        softmax = Softmax(sa, se)
        nodes.append(QuantNode("softmax", "head", softmax, ("logits",), "probabilities", "7, 8"))
    by_name = {tensor.name: tensor for tensor in tensors}
    return QuantGraph("head", ("features",), (nodes[-1].output,), by_name, tuple(nodes), values)


def head_parameters(head: Head, layer: Layer) -> tuple[str, str]:
    """Return the names of a layer's weight and bias in `head_graph`."""
    number = "" if len(head.layers) == 1 else layer.number
    return f"weight{number}", f"bias{number}"


def _tensor(name: str, shape: tuple[int, ...], head: Head, role: Role) -> QuantTensor:
    if role == "input":
        return QuantTensor(name, shape, head.input_scale_bits, head.input_width, role, True)
    return QuantTensor(name, shape, head.weight_scale_bits, head.weight_width, role, True)


def _hidden(
    head: Head, layer: Layer, rows: int, inputs: tuple[str, ...]
) -> tuple[list[QuantTensor], list[QuantNode], str]:
    """Return a hidden layer's tensors and nodes, and the name of what it gives."""
    shape, scale = (rows, layer.weight.outputs), layer.output_scale
    width, n = int(getattr(head, "hidden_width")), layer.number  # noqa: B009
    shift = layer.scale + head.weight_scale_bits - scale
    linear = MatMul(shift, layer.scale, 1, head.widths(1)["acc"])
    tensors = [
        QuantTensor(f"z{n}", shape, scale, width, "hidden", True),
        QuantTensor(f"hidden{n}", shape, scale, width, "hidden", False),
    ]
    nodes = [
        QuantNode(f"layer{n}", "head", linear, inputs, f"z{n}", "3"),
        QuantNode(f"relu{n}", "head", Relu(), (f"z{n}",), f"hidden{n}", "5"),
    ]
    return tensors, nodes, f"hidden{n}"
