"""Constant factors and offsets folded into the linear layers beside them.

Batch normalisation arrives here as a factor and an offset per channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from zkai.model.fixed_point import FloatArray
from zkai.model.graph import Add, Conv, Graph, MatMul, Mul, Node, Shape


@dataclass
class _Linear:
    """A linear node's parameters while they are being changed."""

    weights: FloatArray
    bias: FloatArray


def fold(graph: Graph) -> Graph:
    """Return the same function with fewer nodes.

    A Mul or Add by per-channel constants goes into the MatMul or Conv before it, or else into the
    one after it, where no other node reads the tensor between. An Add is never folded into a Conv
    with padding behind it, whose padded zeros it would miss.
    """
    while True:
        smaller = _fold_once(graph)
        if smaller is None:
            return _without_unused(graph)
        graph = smaller


def _fold_once(graph: Graph) -> Graph | None:
    makers = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        operand = _constant_operand(graph, node)
        if operand is None:
            continue
        tensor, constant = operand
        before = makers.get(tensor)
        if before and _private(graph, tensor) and graph.shapes[node.output] == graph.shapes[tensor]:
            channels = _channels(graph, before, tensor, constant)
            if channels is not None:
                return _fold_back(graph, node, before, channels)
        if not _private(graph, node.output):
            continue
        after = graph.consumers(node.output)[0]
        if after.inputs[0] == node.output and graph.shapes[node.output] == graph.shapes[tensor]:
            channels = _channels(graph, after, tensor, constant)
            if channels is not None and not _padded_offset(node, after):
                return _fold_forward(graph, node, after, tensor, channels)
    return None


def _private(graph: Graph, tensor: str) -> bool:
    return len(graph.consumers(tensor)) == 1 and tensor not in graph.outputs


def _constant_operand(graph: Graph, node: Node) -> tuple[str, FloatArray] | None:
    """Return the computed operand and the constant of x * c, x + c, x - c, c + x."""
    if not isinstance(node.op, Mul | Add):
        return None
    a, b = node.inputs
    if b in graph.values and a not in graph.values:
        sign = node.op.sign if isinstance(node.op, Add) else 1
        return a, graph.values[b] * sign
    if isinstance(node.op, Add) and node.op.sign == 1 and a in graph.values:
        return b, graph.values[a]
    return None


def _channels(graph: Graph, linear: Node, tensor: str, constant: FloatArray) -> FloatArray | None:
    """Return the constant as one number for each channel of `tensor`, if it is that."""
    if not isinstance(linear.op, MatMul | Conv) or linear.inputs[1] not in graph.values:
        return None
    shape = graph.shapes[tensor]
    axis = 1 if isinstance(linear.op, Conv) else len(shape) - 1
    aligned: Shape = (*(1,) * (len(shape) - constant.ndim), *constant.shape)
    if any(size != 1 for place, size in enumerate(aligned) if place != axis):
        return None
    return np.array(np.broadcast_to(constant.ravel(), (shape[axis],)))


def _padded_offset(node: Node, after: Node) -> bool:
    return isinstance(node.op, Add) and isinstance(after.op, Conv) and any(after.op.pads)


def _parameters(graph: Graph, linear: Node) -> _Linear:
    weights = np.array(graph.values[linear.inputs[1]])
    outputs = weights.shape[0] if isinstance(linear.op, Conv) else weights.shape[1]
    bias = np.zeros(outputs)
    if len(linear.inputs) > 2:
        bias = np.array(graph.values[linear.inputs[2]])
    return _Linear(weights, bias)


def _fold_back(graph: Graph, node: Node, linear: Node, channels: FloatArray) -> Graph:
    """Fold into the layer before: W' = W c and b' = b c, or b' = b + c."""
    new = _parameters(graph, linear)
    if isinstance(node.op, Mul):
        axes = (-1, 1, 1, 1) if isinstance(linear.op, Conv) else (1, -1)
        new.weights = new.weights * channels.reshape(axes)
        new.bias = new.bias * channels
    else:
        new.bias = new.bias + channels
    return _replaced(graph, node, linear, new, linear.inputs[0], node.output)


def _fold_forward(
    graph: Graph, node: Node, linear: Node, tensor: str, channels: FloatArray
) -> Graph:
    """Fold into the layer behind: W (x c) = (W c) x, or W (x + c) + b = W x + (W c + b)."""
    new = _parameters(graph, linear)
    spread = channels[:, None]
    if isinstance(linear.op, Conv):
        # Kernel m of group g reads the channels of that group only.
        groups, size = linear.op.groups, new.weights.shape[1]
        group = np.repeat(np.arange(groups), len(new.weights) // groups)
        spread = channels.reshape(groups, size)[group][:, :, None, None]
    scaled = new.weights * spread
    if isinstance(node.op, Mul):
        new.weights = scaled
    else:
        new.bias = new.bias + scaled.sum(axis=(1, 2, 3) if isinstance(linear.op, Conv) else 0)
    return _replaced(graph, node, linear, new, tensor, linear.output)


def _replaced(
    graph: Graph, node: Node, linear: Node, new: _Linear, tensor: str, output: str
) -> Graph:
    """Return the graph without `node`, and with `linear` reading `tensor` and writing `output`."""
    values, shapes = dict(graph.values), dict(graph.shapes)
    names = []
    for index, array in enumerate((new.weights, new.bias), start=1):
        given = linear.inputs[index] if index < len(linear.inputs) else None
        name = given or f"{linear.output}.bias"
        number, reuse = 0, given is not None and len(_readers(graph, name)) == 1
        while name in shapes and not reuse:
            number += 1
            name = f"{given or linear.output + '.bias'}.{number}"
        values[name], shapes[name] = array, array.shape
        names.append(name)
    del shapes[node.output if output != node.output else linear.output]
    source = f"{linear.source} + {node.source}"
    made = replace(linear, source=source, inputs=(tensor, *names), output=output)
    nodes = []
    for item in graph.nodes:
        if item is linear:
            nodes.append(made)
        elif item is not node:
            nodes.append(item)
    return replace(graph, values=values, shapes=shapes, nodes=tuple(nodes))


def _readers(graph: Graph, name: str) -> list[Node]:
    return [node for node in graph.nodes for used in node.inputs if used == name]


def _without_unused(graph: Graph) -> Graph:
    used = {name for node in graph.nodes for name in node.inputs}
    values = {name: value for name, value in graph.values.items() if name in used}
    dropped = set(graph.values) - set(values)
    shapes = {name: shape for name, shape in graph.shapes.items() if name not in dropped}
    return replace(graph, values=values, shapes=shapes)
