"""A graph whose last linear layer is a head out of a training state's commitment.

The inference then speaks about *that* state: the same commitment that a training step ends with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from zkai.errors import InvalidInput
from zkai.model import quantize
from zkai.model.fixed_point import LOG2_E_NUMERATOR, IntArray
from zkai.model.quant_graph import MatMul, QuantGraph, QuantNode, QuantTensor
from zkai.model.training import HeadState, SoftmaxHead


@dataclass(frozen=True)
class BoundHead:
    """The parameters of the graph that are the head's weights and bias."""

    weight: str
    bias: str

    def parameters(self, weights: IntArray) -> dict[str, IntArray]:
        """Return the graph's parameters for a head's weights (features + 1, classes)."""
        return {self.weight: weights[:-1], self.bias: weights[-1]}

    def weights(self, values: Mapping[str, IntArray]) -> IntArray:
        """Return the head's weights (features + 1, classes) for the graph's parameters."""
        return np.concatenate([values[self.weight], values[self.bias][None, :]])


def find_head(graph: QuantGraph, head: SoftmaxHead, names: Collection[str]) -> BoundHead:
    """Return the linear layer that the parameters `names` make, if it is the head bit by bit.

    Its input has the head's scale and fits its width, its weights the head's scale and width, its
    bias is shifted as the head's, and it gives the head's base-2 logits.

    Raises InvalidInput naming what differs.
    """
    nodes = [n for n in graph.nodes if isinstance(n.op, MatMul) and set(names) <= set(n.inputs[1:])]
    if len(names) != 2 or len(nodes) != 1:
        raise InvalidInput(
            "visibility 'state' takes exactly the weight and the bias of one linear layer, got"
            f" {', '.join(sorted(names))}"
        )
    node = nodes[0]
    bound = BoundHead(*node.inputs[1:])
    readers = [n.name for n in graph.nodes if n is not node and set(names) & set(n.inputs)]
    if readers:
        raise InvalidInput(f"node {readers[0]!r} reads the head's parameters too")
    for what, (got, wanted) in _facts(graph, head, node, bound).items():
        if got != wanted:
            raise InvalidInput(
                f"node {node.name!r} is not the head: its {what} is {got}, the head's {wanted}"
            )
    x = graph.tensors[node.inputs[0]]
    if x.width > head.input_width:
        raise InvalidInput(
            f"node {node.name!r}: its input {x.name!r} has {x.width} bits, the head takes"
            f" {head.input_width}"
        )
    return bound


def _facts(
    graph: QuantGraph, head: SoftmaxHead, node: QuantNode, bound: BoundHead
) -> dict[str, tuple[object, object]]:
    op = node.op
    assert isinstance(op, MatMul)
    weight, bias = graph.tensors[bound.weight], graph.tensors[bound.bias]
    x = graph.tensors[node.inputs[0]]
    scale, width = head.weight_scale_bits, head.weight_width
    return {
        "weight's shape": (weight.shape, (head.features, head.classes)),
        "bias's shape": (bias.shape, (head.classes,)),
        "weight's scale and width": ((weight.scale_bits, weight.width), (scale, width)),
        "bias's scale and width": ((bias.scale_bits, bias.width), (scale, width)),
        "input's scale": (x.scale_bits, head.input_scale_bits),
        "bias shift": (op.bias_shift, head.input_scale_bits),
        "multiplier": (op.multiplier, LOG2_E_NUMERATOR),
        "output's scale": (graph.tensors[node.output].scale_bits, head.logit_scale_bits),
        "shift": (op.shift, head.logit_shift),
    }


def attach_head(
    backbone: QuantGraph, head: SoftmaxHead, state: HeadState, probabilities: bool = True
) -> QuantGraph:
    """Return the backbone followed by a trained head, bit-exact with training on its features.

    The output is "probabilities", or "logits"; the head's parameters are "head.weight" and
    "head.bias".

    Raises InvalidInput unless the backbone has one output, (rows, features) at the head's input
    scale and within its input width.
    """
    features = _features(backbone, head)
    tail = quantize.head_graph(head, state, features.shape[0], probabilities)
    names = {"features": features.name, "weight": "head.weight", "bias": "head.bias"}
    names |= {name: name for name in tail.tensors if name not in names}
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


def _features(backbone: QuantGraph, head: SoftmaxHead) -> QuantTensor:
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
