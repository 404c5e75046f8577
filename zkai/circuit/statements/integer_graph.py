"""A quantised graph as constraints: the twin of zkai.model.quantize.forward.

Constant parameters fold into linear combinations, so linear layers with constant weights cost only
their rescaling.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.division import divide_by_constants
from zkai.circuit.gadgets.matmul import constant_values, im2col, matmul
from zkai.circuit.gadgets.range import require_bound, signed_width
from zkai.circuit.gadgets.relu import relu, relu_of_sign
from zkai.circuit.gadgets.rescale import rescale, rescale_bound, rescale_with_sign
from zkai.circuit.gadgets.softmax import logits, sigmoid, softmax
from zkai.circuit.tensor import Tensor, concat
from zkai.errors import InvalidInput
from zkai.model.quant_graph import (
    Add,
    AveragePool,
    Conv,
    MatMul,
    Mul,
    QuantGraph,
    QuantNode,
    Relu,
    Reshape,
    Scale,
    Sigmoid,
    Softmax,
    Transpose,
)
from zkai.model.quantize import conv_patches, pool_patches


def constrain_graph(
    builder: Builder, graph: QuantGraph, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the graph's outputs for range-checked inputs and parameters, constrained node by node.

    Raises InvalidInput naming the node where an operand's range is not proven or too wide.
    """
    walk = _Walk(builder, graph, tensors)
    for node in graph.nodes:
        with builder.at(node.name):
            walk.apply(node)
    outputs = {}
    for name in graph.outputs:
        with builder.at(name):
            outputs[name] = walk.value(name)
    return outputs


class _Walk:
    """The tensors made so far.

    Base-2 logits wait as (accumulator, shift): the softmax or sigmoid that reads them proves their
    range by rule 7, which is cheaper than a range check first. A tensor that a ReLU reads keeps the
    sign that its range check shows.
    """

    def __init__(self, builder: Builder, graph: QuantGraph, tensors: Mapping[str, Tensor]) -> None:
        self.builder = builder
        self.graph = graph
        self.made = dict(tensors)
        self.waiting: dict[str, tuple[Tensor, int]] = {}
        self.rectified = {n.inputs[0] for n in graph.nodes if isinstance(n.op, Relu)}
        self.signs: dict[str, Tensor] = {}

    def value(self, name: str) -> Tensor:
        """Return a tensor, rescaled in its natural width if nothing else has bounded it."""
        if name not in self.made:
            acc, shift = self.waiting[name]
            bound = rescale_bound(require_bound(self.builder, acc, name), shift)
            self.made[name] = rescale(self.builder, acc, shift, signed_width(bound), name)
        return self.made[name]

    def apply(self, node: QuantNode) -> None:
        op = node.op
        if isinstance(op, Softmax | Sigmoid):
            self.made[node.output] = self._normalised(node, op)
        elif isinstance(op, Relu):
            self.made[node.output] = self._relu(node.inputs[0])
        elif isinstance(op, AveragePool):
            self.made[node.output] = self._average_pool(node, op)
        elif isinstance(op, Reshape):
            shape = self.graph.tensors[node.output].shape
            self.made[node.output] = self.value(node.inputs[0]).reshape(*shape)
        elif isinstance(op, Transpose):
            self.made[node.output] = self.value(node.inputs[0]).transpose(*op.perm)
        else:
            self._rescaled(node, self._accumulate(node, op), op.shift)

    def _accumulate(self, node: QuantNode, op: MatMul | Conv | Add | Mul | Scale) -> Tensor:
        args = [self.value(name) for name in node.inputs]
        if isinstance(op, MatMul):
            acc = matmul(self.builder, args[0], args[1])
            acc = acc.reshape(*self.graph.tensors[node.output].shape)
            if len(args) > 2:
                acc = acc + args[2] * (1 << op.bias_shift)
            return acc * op.multiplier
        if isinstance(op, Conv):
            return self._convolution(node, op, args) * op.multiplier
        if isinstance(op, Add):
            left, right = (x * (1 << s) for x, s in zip(args, op.shifts, strict=True))
            return left + right * op.sign
        if isinstance(op, Mul):
            constants = constant_values(args[1])
            if constants is not None:
                return args[0] * constants
            return self.builder.multiply(args[0], args[1], "product")
        return args[0] * op.multiplier

    def _rescaled(self, node: QuantNode, acc: Tensor, shift: int) -> None:
        tensor = self.graph.tensors[node.output]
        if tensor.checked and tensor.name in self.rectified:
            acc, self.signs[tensor.name] = rescale_with_sign(
                self.builder, acc, shift, tensor.width, tensor.name
            )
        elif tensor.checked:
            acc = rescale(self.builder, acc, shift, tensor.width, tensor.name)
        elif shift > 0:
            self.waiting[tensor.name] = acc, shift
            return
        else:
            acc = acc * (1 << -shift)
        self.made[tensor.name] = acc

    def _relu(self, name: str) -> Tensor:
        z = self.value(name)
        if name in self.signs:
            return relu_of_sign(self.builder, z, self.signs[name])
        return relu(self.builder, z).value

    def _convolution(self, node: QuantNode, op: Conv, args: list[Tensor]) -> Tensor:
        x, kernels = args[:2]
        patches = conv_patches(op, x.shape, kernels.shape)
        groups, _, size = patches.shape
        item, per_group = x.size // x.shape[0], kernels.shape[0] // groups
        first = np.arange(x.shape[0])[:, None, None] * item
        parts = []
        for group in range(groups):
            index = np.where(patches[group] < 0, -1, patches[group] + first)
            weights = kernels[group * per_group : (group + 1) * per_group]
            columns = weights.reshape(per_group, size).transpose()
            parts.append(matmul(self.builder, im2col(x, index), columns))
        acc = concat(parts, axis=-1)  # (N, places, M)
        if len(args) > 2:
            acc = acc + args[2] * (1 << op.bias_shift)
        shape = self.graph.tensors[node.output].shape
        return acc.transpose(0, 2, 1).reshape(*shape)

    def _average_pool(self, node: QuantNode, op: AveragePool) -> Tensor:
        x = self.value(node.inputs[0])
        patches, counts = pool_patches(op, x.shape)
        item = x.size // x.shape[0]
        first = np.arange(x.shape[0]).reshape(-1, 1, 1, 1, 1) * item
        total = im2col(x, np.where(patches < 0, -1, patches + first)).sum(-1)
        divisors = np.broadcast_to(counts, total.shape)
        pooled = divide_by_constants(self.builder, total, divisors, node.output)
        return pooled.reshape(*self.graph.tensors[node.output].shape)

    def _normalised(self, node: QuantNode, op: Softmax | Sigmoid) -> Tensor:
        name = node.inputs[0]
        acc, shift = (self.made[name], 0) if name in self.made else self.waiting[name]
        sa, se = op.logit_scale_bits, op.error_scale_bits
        if self.graph.tensors[name].scale_bits != sa:
            raise InvalidInput(f"node {node.name!r}: its input has another scale than its logits")
        if isinstance(op, Sigmoid):
            return sigmoid(self.builder, acc, shift, sa, se, name)
        parts = logits(self.builder, acc, shift, sa, name, se)
        self.made.setdefault(name, parts.values)
        return softmax(self.builder, parts, sa, se)
