"""A graph whose last linear layers are a head out of a training state's commitment.

The inference then speaks about *that* state: the same commitment that a training step ends with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zkai.circuit.tensor import Tensor
from zkai.errors import InvalidInput
from zkai.model import quantize
from zkai.model.fixed_point import LOG2_E_NUMERATOR, IntArray
from zkai.model.head_layers import Layer, V
from zkai.model.head_state import HeadState
from zkai.model.heads import Head
from zkai.model.quant_graph import MatMul, QuantGraph, QuantNode, QuantTensor, Relu


@dataclass(frozen=True)
class BoundHead:
    """The parameters of the graph that are the head's: each layer's weight and bias."""

    head: Head
    names: tuple[tuple[str, str], ...]

    def parameters(self, weights: IntArray) -> dict[str, IntArray]:
        """Return the graph's parameters for a head's weights, in the head's shape."""
        return self._cut(weights.reshape(-1))

    def tensors(self, weights: Tensor) -> dict[str, Tensor]:
        """Return `parameters` of a circuit's weights."""
        return self._cut(weights.reshape(weights.size))

    def _cut(self, flat: V) -> dict[str, V]:
        found = dict[str, V]()
        for layer, (weight, bias) in zip(self.head.layers, self.names, strict=True):
            matrix: Any = layer.weight.of(flat)
            found |= {weight: matrix[:-1], bias: matrix[-1]}
        return found

    def weights(self, values: Mapping[str, IntArray]) -> IntArray:
        """Return the head's weights for the graph's parameters."""
        parts = [np.concatenate([values[w], values[b][None, :]]).ravel() for w, b in self.names]
        return np.concatenate(parts).reshape(self.head.shape)


def find_head(graph: QuantGraph, head: Head, names: Collection[str]) -> BoundHead:
    """Return the linear layers that the parameters `names` make, if they are the head bit by bit.

    The first layer's input has the head's scale and fits its width; ReLU stands between two
    layers, and nothing else; every weight and rounding is the head's, and the last layer gives the
    head's base-2 logits.

    Raises InvalidInput naming what differs.
    """
    if head.frozen_size:
        raise InvalidInput(f"{head.kind}: a head with frozen weights cannot stand in a graph")
    wanted = set(names)
    nodes = [n for n in graph.nodes if isinstance(n.op, MatMul) and wanted & set(n.inputs[1:])]
    pairs = [n.inputs[1:] for n in nodes]
    found = [name for pair in pairs for name in pair]
    if sorted(found) != sorted(wanted) or len(nodes) != len(head.layers):
        layers = "one linear layer" if len(head.layers) == 1 else f"{len(head.layers)} layers"
        raise InvalidInput(
            f"visibility 'state' takes exactly the weight and the bias of {layers}, got"
            f" {', '.join(sorted(wanted))}"
        )
    bound = BoundHead(head, tuple((pair[0], pair[1]) for pair in pairs))
    readers = [n.name for n in graph.nodes if n not in nodes and wanted & set(n.inputs)]
    if readers:
        raise InvalidInput(f"node {readers[0]!r} reads the head's parameters too")
    for place, (layer, node) in enumerate(zip(head.layers, nodes, strict=True)):
        _check_layer(graph, head, layer, node)
        if place:
            _check_between(graph, nodes[place - 1], node)
    x = graph.tensors[nodes[0].inputs[0]]
    if x.width > head.input_width:
        raise InvalidInput(
            f"node {nodes[0].name!r}: its input {x.name!r} has {x.width} bits, the head takes"
            f" {head.input_width}"
        )
    return bound


def _check_layer(graph: QuantGraph, head: Head, layer: Layer, node: QuantNode) -> None:
    for what, (got, wanted) in _facts(graph, head, layer, node).items():
        if got != wanted:
            raise InvalidInput(
                f"node {node.name!r} is not the head: its {what} is {got}, the head's {wanted}"
            )


def _check_between(graph: QuantGraph, below: QuantNode, node: QuantNode) -> None:
    """Require that a layer's input is ReLU of the layer below."""
    makers = {n.output: n for n in graph.nodes}
    maker = makers.get(node.inputs[0])
    if maker is None or not isinstance(maker.op, Relu) or maker.inputs != (below.output,):
        raise InvalidInput(
            f"node {node.name!r} is not the head: its input must be the ReLU of {below.output!r}"
        )


def _facts(
    graph: QuantGraph, head: Head, layer: Layer, node: QuantNode
) -> dict[str, tuple[object, object]]:
    op, last = node.op, layer.number == len(head.layers)
    assert isinstance(op, MatMul)
    weight, bias = (graph.tensors[name] for name in node.inputs[1:])
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    scale, width, block = head.weight_scale_bits, head.weight_width, layer.weight
    hidden_shift = layer.scale + scale - layer.output_scale
    facts: dict[str, tuple[object, object]] = {
        "weight's shape": (weight.shape, (block.inputs, block.outputs)),
        "bias's shape": (bias.shape, (block.outputs,)),
        "weight's scale and width": ((weight.scale_bits, weight.width), (scale, width)),
        "bias's scale and width": ((bias.scale_bits, bias.width), (scale, width)),
        "input's scale": (x.scale_bits, layer.scale),
        "bias shift": (op.bias_shift, layer.scale),
        "multiplier": (op.multiplier, LOG2_E_NUMERATOR if last else 1),
        "output's scale": (out.scale_bits, layer.output_scale),
        "shift": (op.shift, head.logit_shift if last else hidden_shift),
    }
    if not last:
        facts["output's width"] = (out.width, getattr(head, "hidden_width", None))
    return facts


def attach_head(
    backbone: QuantGraph, head: Head, state: HeadState, probabilities: bool = True
) -> QuantGraph:
    """Return the backbone followed by a trained head, bit-exact with training on its features.

    The output is "probabilities", or "logits"; the head's parameters are `head_graph`'s with
    "head." before their names: "head.weight" and "head.bias", or "head.weight1" and so on.

    Raises InvalidInput unless the backbone has one output, (rows, features) at the head's input
    scale and within its input width.
    """
    features = _features(backbone, head)
    tail = quantize.head_graph(head, state, features.shape[0], probabilities)
    kept = {name: name for name in ("logits", "probabilities")} | {"features": features.name}
    names = {name: kept.get(name, f"head.{name}") for name in tail.tensors}
    if clash := sorted(set(backbone.tensors) & (set(names.values()) - {features.name})):
        raise InvalidInput(f"the backbone already has a tensor called {clash[0]!r}")
    tensors = dict(backbone.tensors) | {features.name: replace(features, role="hidden")}
    for name, tensor in tail.tensors.items():
        if name != "features":
            tensors[names[name]] = replace(tensor, name=names[name])
    nodes = [
        replace(node, inputs=tuple(names[n] for n in node.inputs), output=names[node.output])
        for node in tail.nodes
    ]
    values = {names[name]: value for name, value in tail.values.items()}
    return QuantGraph(
        backbone.name,
        backbone.inputs,
        tail.outputs,
        tensors,
        (*backbone.nodes, *nodes),
        {**backbone.values, **values},
    )


def _features(backbone: QuantGraph, head: Head) -> QuantTensor:
    """Return the backbone's output if the head can read it."""
    if len(backbone.outputs) != 1:
        raise InvalidInput("a backbone has one output: the head's features")
    features = backbone.tensors[backbone.outputs[0]]
    if features.shape[1:] != (head.features,) or features.scale_bits != head.input_scale_bits:
        raise InvalidInput(
            f"the backbone's output {features.name!r} has shape {features.shape} and scale"
            f" {features.scale_bits}; the head takes (rows, {head.features}) at scale"
            f" {head.input_scale_bits}"
        )
    if features.width > head.input_width:
        raise InvalidInput(
            f"the backbone's output {features.name!r} has {features.width} bits; the head takes"
            f" {head.input_width}"
        )
    return features
