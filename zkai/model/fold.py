"""Constant factors and offsets folded into the linear layers beside them.

Batch normalisation arrives here as a factor and an offset per channel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from zkai.model.fixed_point import FloatArray
from zkai.model.graph import Add, Conv, Graph, MatMul, Mul, Node, Shape


def fold(graph: Graph) -> Graph:
    """Return the same function with fewer nodes.

    A Mul or Add by per-channel constants goes into the MatMul or Conv before it, or else into the
    one after it, where no other node reads the tensor between. An Add is never folded into a Conv
    with padding behind it, whose padded zeros it would miss.
    """
    draft = _Draft(graph)
    for place in range(len(draft.nodes)):
        draft.fold_back(place)
    for place in reversed(range(len(draft.nodes))):
        draft.fold_forward(place)
    return draft.graph()


class _Draft:
    """A graph while it is being folded: nodes by place, and who writes and reads each tensor."""

    def __init__(self, graph: Graph) -> None:
        self.original = graph
        self.nodes: list[Node | None] = list(graph.nodes)
        self.values: dict[str, FloatArray] = dict(graph.values)
        self.shapes: dict[str, Shape] = dict(graph.shapes)
        self.writers = {node.output: place for place, node in enumerate(graph.nodes)}
        self.readers: dict[str, list[int]] = {}
        for place, node in enumerate(graph.nodes):
            for name in node.inputs:
                self.readers.setdefault(name, []).append(place)

    def graph(self) -> Graph:
        """Return the folded graph, without parameters that nothing reads."""
        nodes = tuple(node for node in self.nodes if node is not None)
        used = {name for node in nodes for name in node.inputs}
        values = {name: value for name, value in self.values.items() if name in used}
        kept = {*values, *self.original.inputs, *(node.output for node in nodes)}
        shapes = {name: shape for name, shape in self.shapes.items() if name in kept}
        return replace(self.original, nodes=nodes, values=values, shapes=shapes)

    def fold_back(self, place: int) -> None:
        """Fold a node into the layer before: W' = W c and b' = b c, or b' = b + c."""
        found = self._constant_operand(place)
        if found is None or not self._private(found[1]):
            return
        node, tensor, constant = found
        before = self.writers.get(tensor)
        if before is None:
            return
        linear = self.nodes[before]
        assert linear is not None
        channels = self._channels(linear, tensor, constant)
        if channels is None:
            return
        names = self._own_parameters(before)
        weights, bias = (self.values[name] for name in names)
        if isinstance(node.op, Mul):
            axes = (-1, 1, 1, 1) if isinstance(linear.op, Conv) else (1, -1)
            weights, bias = weights * channels.reshape(axes), bias * channels
        else:
            bias = bias + channels
        self.values |= dict(zip(names, (weights, bias), strict=True))
        self._merge(before, place, linear.inputs[0], node.output)
        self.writers[node.output] = before

    def fold_forward(self, place: int) -> None:
        """Fold a node into the layer behind: W (x c) = (W c) x, W (x + c) + b = W x + (W c + b)."""
        found = self._constant_operand(place)
        if found is None or not self._private(found[0].output):
            return
        node, tensor, constant = found
        after = self.readers[node.output][0]
        linear = self.nodes[after]
        assert linear is not None
        channels = self._channels(linear, tensor, constant)
        padded = isinstance(linear.op, Conv) and any(linear.op.pads)
        if channels is None or (padded and isinstance(node.op, Add)):
            return
        names = self._own_parameters(after)
        weights, bias = (self.values[name] for name in names)
        scaled = weights * _spread(linear, weights, channels)
        if isinstance(node.op, Mul):
            weights = scaled
        else:
            bias = bias + scaled.sum(axis=(1, 2, 3) if isinstance(linear.op, Conv) else 0)
        self.values |= dict(zip(names, (weights, bias), strict=True))
        self._merge(after, place, tensor, linear.output)
        self.readers[tensor] = [after if p == place else p for p in self.readers[tensor]]

    def _private(self, tensor: str) -> bool:
        return len(self.readers.get(tensor, ())) == 1 and tensor not in self.original.outputs

    def _constant_operand(self, place: int) -> tuple[Node, str, FloatArray] | None:
        """Return a node with its computed operand and constant: of x * c, x + c, x - c or c + x.

        The constant must not spread the operand to a larger shape.
        """
        node = self.nodes[place]
        if node is None or not isinstance(node.op, Mul | Add):
            return None
        a, b = node.inputs
        constant = None
        if b in self.values and a not in self.values:
            sign = node.op.sign if isinstance(node.op, Add) else 1
            constant = self.values[b] * sign
        elif isinstance(node.op, Add) and node.op.sign == 1 and a in self.values:
            a, constant = b, self.values[a]
        if constant is None or self.shapes[a] != self.shapes[node.output]:
            return None
        return node, a, constant

    def _channels(self, linear: Node, tensor: str, constant: FloatArray) -> FloatArray | None:
        """Return the constant as one number for each channel of `tensor`, if it is that."""
        if not isinstance(linear.op, MatMul | Conv) or linear.inputs[1] not in self.values:
            return None
        shape = self.shapes[tensor]
        axis = 1 if isinstance(linear.op, Conv) else len(shape) - 1
        aligned: Shape = (*(1,) * (len(shape) - constant.ndim), *constant.shape)
        if any(size != 1 for place, size in enumerate(aligned) if place != axis):
            return None
        return np.array(np.broadcast_to(constant.ravel(), (shape[axis],)))

    def _own_parameters(self, place: int) -> list[str]:
        """Return a linear node's weights and bias, made so that no other node reads them."""
        linear = self.nodes[place]
        assert linear is not None
        names = []
        for index, stem in ((1, linear.inputs[1]), (2, f"{linear.output}.bias")):
            given = linear.inputs[index] if index < len(linear.inputs) else None
            if given is not None and len(self.readers[given]) == 1:
                names.append(given)
                continue
            name, number = given or stem, 0
            while name in self.shapes:
                number += 1
                name = f"{given or stem}.{number}"
            outputs = self.shapes[linear.inputs[1]][0 if isinstance(linear.op, Conv) else 1]
            self.values[name] = self.values[given] if given else np.zeros(outputs)
            self.shapes[name], self.readers[name] = self.values[name].shape, [place]
            if given is not None:
                self.readers[given].remove(place)
            names.append(name)
        self.nodes[place] = replace(linear, inputs=(linear.inputs[0], *names))
        return names

    def _merge(self, linear_place: int, place: int, tensor: str, output: str) -> None:
        """Drop the node at `place`; let the linear one read `tensor` and write `output`."""
        linear, node = self.nodes[linear_place], self.nodes[place]
        assert linear is not None
        assert node is not None
        self.nodes[place] = None
        source = f"{linear.source} + {node.source}"
        inputs = (tensor, *linear.inputs[1:])
        self.nodes[linear_place] = replace(linear, source=source, inputs=inputs, output=output)
        for name in node.inputs:
            if name in self.values:
                self.readers[name].remove(place)


def _spread(linear: Node, weights: FloatArray, channels: FloatArray) -> FloatArray:
    """Return factors of a layer's input channels in the weights' axes."""
    if not isinstance(linear.op, Conv):
        return channels[:, None]
    # Kernel m of group g reads the channels of that group only.
    groups, size = linear.op.groups, weights.shape[1]
    group = np.repeat(np.arange(groups), len(weights) // groups)
    return np.asarray(channels.reshape(groups, size)[group][:, :, None, None])
