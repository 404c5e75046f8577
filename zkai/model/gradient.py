"""A model's training step as an ONNX graph: reverse-mode differentiation of the graph's operators.

Every operator of `zkai.model.graph` draws its value and, from the gradient of its output, those of
its inputs. A convolution is a product with the patches that its windows gather, and the gradient of
a gather sums what its readers send back, so no operator needs another of its own.

The step is torch.optim.SGD's on the batch's mean cross-entropy. The rate lr / batch multiplies the
error where it arises, before any product: a fixed-point prover's numbers stay small. A velocity is
therefore kept times the learning rate, u = lr v: u' = m u + lr g and w' = w - u'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.graph import (
    Add,
    AveragePool,
    Conv,
    Graph,
    MatMul,
    Mul,
    Node,
    Op,
    Relu,
    Reshape,
    Shape,
    Sigmoid,
    Softmax,
    Transpose,
    conv_indices,
    pool_counts,
    window_indices,
)
from zkai.model.onnx_draft import OnnxDraft, transposed_table

Gradients = Sequence[str | None]
Pull = Callable[[str], Gradients]
"""From the gradient of a node's output to those of its inputs, None where none is wanted."""


@dataclass(frozen=True)
class StepRule:
    """What is trained, and how: `rate` is lr / batch, `momentum` 0 for none.

    `trained` names parameters of the graph, in the order in which a state holds them.
    """

    trained: tuple[str, ...]
    rate: float
    momentum: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """Where a step's results are in its draft: tensors by parameter."""

    weights: Mapping[str, str]
    velocities: Mapping[str, str] = field(default_factory=dict)


def trainable(graph: Graph) -> tuple[str, ...]:
    """Return the weights and biases of a graph's linear layers, and the offsets that it adds."""
    linear = [n for n in graph.nodes if isinstance(n.op, MatMul | Conv | Add)]
    return tuple(dict.fromkeys(i for n in linear for i in n.inputs if i in graph.values))


def check_rule(graph: Graph, rule: StepRule) -> None:
    """Return None if a graph can be trained by a rule.

    Raises InvalidInput, naming the tensor, for more than one input or output, an output that is no
    (batch, classes), a parameter that is unknown, named twice or without effect.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidInput("a training step needs a model of one input and one output")
    shape = graph.shapes[graph.outputs[0]]
    if len(shape) != 2 or shape[1] < 2 or graph.shapes[graph.inputs[0]][:1] != shape[:1]:
        raise InvalidInput(f"output {graph.outputs[0]!r}: expected (batch, classes), got {shape}")
    if any(isinstance(n.op, Softmax) and n.output == graph.outputs[0] for n in graph.nodes):
        raise InvalidInput(
            f"output {graph.outputs[0]!r}: the loss takes logits, before the softmax"
        )
    if not rule.trained or len(set(rule.trained)) < len(rule.trained):
        raise InvalidInput("trained: expected names of parameters, each once")
    if unknown := [name for name in rule.trained if name not in graph.values]:
        known = ", ".join(trainable(graph))
        raise InvalidInput(f"trained: the model has no parameter {unknown[0]!r}; it has {known}")


def draw_step(
    draft: OnnxDraft,
    graph: Graph,
    rule: StepRule,
    x: str,
    targets: str,
    state: Mapping[str, str],
    velocities: Mapping[str, str],
) -> Drawn:
    """Draw one step and return its results.

    `x` and `targets` (batch, classes), one-hot, are tensors of the draft, and so are the trained
    parameters (`state`) and, with momentum, their velocities times the learning rate.

    Raises InvalidInput as `check_rule` does, and for a parameter that the output does not depend
    on.
    """
    check_rule(graph, rule)
    env = {name: draft.constant(graph.values[name]) for name in graph.values if name not in state}
    env |= {graph.inputs[0]: x, **state}
    live, pulls = set(rule.trained), list[tuple[Node, Pull]]()
    for node in graph.nodes:
        wanted = [name in live for name in node.inputs]
        arguments = [env[name] for name in node.inputs]
        value, pull = _RULES[type(node.op)](draft, graph, node, arguments, wanted)
        env[node.output] = value
        if any(wanted):
            live.add(node.output)
            pulls.append((node, pull))
    error = draft.subtract(draft.softmax(env[graph.outputs[0]]), targets)
    found = {graph.outputs[0]: draft.multiply(error, draft.constant(rule.rate))}
    for node, pull in reversed(pulls):
        if node.output not in found:
            continue
        for name, gradient in zip(node.inputs, pull(found[node.output]), strict=True):
            if gradient is not None:
                before = found.get(name)
                found[name] = gradient if before is None else draft.add(before, gradient)
    if missing := [name for name in rule.trained if name not in found]:
        raise InvalidInput(f"trained: the output does not depend on {missing[0]!r}")
    return _updated(draft, rule, state, velocities, found)


def _updated(
    draft: OnnxDraft,
    rule: StepRule,
    state: Mapping[str, str],
    velocities: Mapping[str, str],
    found: Mapping[str, str],
) -> Drawn:
    weights, moved = dict[str, str](), dict[str, str]()
    for name in rule.trained:
        change = found[name]
        if rule.momentum:
            kept = draft.multiply(velocities[name], draft.constant(rule.momentum))
            change = moved[name] = draft.add(kept, change)
        weights[name] = draft.subtract(state[name], change)
    return Drawn(weights, moved)


# The operators --------------------------------------------------------------------------------


def _matmul(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    x, weights = args[:2]
    *lead, inner = draft.shapes[x]
    rows = draft.reshape(x, (int(np.prod(lead)), inner))
    value = draft.matmul(rows, weights)
    if args[2:]:
        value = draft.add(value, args[2])

    def pull(gradient: str) -> Gradients:
        flat = draft.reshape(gradient, draft.shapes[value])
        made: list[str | None] = [None] * len(args)
        if wanted[0]:
            back = draft.matmul(flat, draft.transpose(weights, (1, 0)))
            made[0] = draft.reshape(back, draft.shapes[x])
        if wanted[1]:
            made[1] = draft.matmul(draft.transpose(rows, (1, 0)), flat)
        if wanted[2:] == [True]:
            made[2] = draft.sum(flat, (0,))
        return made

    return draft.reshape(value, graph.shapes[node.output]), pull


def _conv(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    op = node.op
    assert isinstance(op, Conv)
    if op.groups != 1:
        raise InvalidInput(f"node {node.name!r}: a convolution in {op.groups} groups has no step")
    x, kernels = args[:2]
    shape, outputs = draft.shapes[x], draft.shapes[kernels][0]
    (table,) = conv_indices(shape, draft.shapes[kernels], op.strides, op.pads, op.dilations, 1)
    places, terms = table.shape
    items = draft.reshape(x, (shape[0], int(np.prod(shape[1:]))))
    patches = draft.reshape(draft.gather(items, table), (shape[0] * places, terms))
    matrix = draft.reshape(kernels, (outputs, terms))
    value = draft.matmul(patches, draft.transpose(matrix, (1, 0)))
    if args[2:]:
        value = draft.add(value, args[2])
    value = draft.transpose(draft.reshape(value, (shape[0], places, outputs)), (0, 2, 1))

    def pull(gradient: str) -> Gradients:
        flat = draft.reshape(gradient, (shape[0], outputs, places))
        flat = draft.reshape(draft.transpose(flat, (0, 2, 1)), (shape[0] * places, outputs))
        made: list[str | None] = [None] * len(args)
        if wanted[0]:
            back = draft.reshape(draft.matmul(flat, matrix), (shape[0], places * terms))
            readers = transposed_table(table.reshape(-1, 1), int(np.prod(shape[1:])))
            made[0] = draft.reshape(draft.gathered_sum(back, readers), shape)
        if wanted[1]:
            product = draft.matmul(draft.transpose(flat, (1, 0)), patches)
            made[1] = draft.reshape(product, draft.shapes[kernels])
        if wanted[2:] == [True]:
            made[2] = draft.sum(flat, (0,))
        return made

    return draft.reshape(value, graph.shapes[node.output]), pull


def _average_pool(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    op, (x,) = node.op, args
    assert isinstance(op, AveragePool)
    shape = draft.shapes[x]
    windows = window_indices(shape[1:], op.kernel, op.strides, op.pads)
    shares = draft.constant(1.0 / pool_counts(windows, op.count_include_pad).reshape(1, -1))
    table, size = windows.reshape(-1, windows.shape[-1]), int(np.prod(shape[1:]))
    sums = draft.gathered_sum(draft.reshape(x, (shape[0], size)), table)
    value = draft.multiply(sums, shares)

    def pull(gradient: str) -> Gradients:
        shared = draft.multiply(draft.reshape(gradient, (shape[0], len(table))), shares)
        back = draft.gathered_sum(shared, transposed_table(table, size))
        return [draft.reshape(back, shape)]

    return draft.reshape(value, graph.shapes[node.output]), pull


def _narrowed(draft: OnnxDraft, gradient: str, shape: Shape) -> str:
    """Return a gradient summed over the axes that broadcasting spread."""
    found = draft.shapes[gradient]
    lead = len(found) - len(shape)
    spread = [lead + i for i, n in enumerate(shape) if n == 1 and found[lead + i] > 1]
    axes = [*range(lead), *spread]
    return draft.reshape(draft.sum(gradient, axes), shape) if axes else gradient


def _add(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    op, (a, b) = node.op, args
    assert isinstance(op, Add)

    def pull(gradient: str) -> Gradients:
        left = _narrowed(draft, gradient, draft.shapes[a]) if wanted[0] else None
        right = _narrowed(draft, gradient, draft.shapes[b]) if wanted[1] else None
        return [left, draft.negate(right) if right is not None and op.sign < 0 else right]

    return (draft.subtract if op.sign < 0 else draft.add)(a, b), pull


def _mul(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    def pull(gradient: str) -> Gradients:
        sides = zip(args, reversed(args), wanted, strict=True)
        return [
            _narrowed(draft, draft.multiply(gradient, other), draft.shapes[one]) if want else None
            for one, other, want in sides
        ]

    return draft.multiply(*args), pull


def _relu(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    (x,) = args
    if not wanted[0]:
        return draft.relu(x), lambda gradient: [None]
    mask = draft.positive(x)
    return draft.multiply(x, mask), lambda gradient: [draft.multiply(gradient, mask)]


def _sigmoid(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    value = draft.sigmoid(args[0])

    def pull(gradient: str) -> Gradients:
        slope = draft.multiply(value, draft.subtract(draft.constant(1.0), value))
        return [draft.multiply(gradient, slope)]

    return value, pull


def _softmax(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    value = draft.softmax(args[0])

    def pull(gradient: str) -> Gradients:
        last = len(draft.shapes[value]) - 1
        mean = draft.sum(draft.multiply(gradient, value), (last,), keep=True)
        return [draft.multiply(value, draft.subtract(gradient, mean))]

    return value, pull


def _reshape(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    shape = draft.shapes[args[0]]
    value = draft.reshape(args[0], graph.shapes[node.output])
    return value, lambda gradient: [draft.reshape(gradient, shape)]


def _transpose(
    draft: OnnxDraft, graph: Graph, node: Node, args: list[str], wanted: list[bool]
) -> tuple[str, Pull]:
    assert isinstance(node.op, Transpose)
    back = tuple(int(axis) for axis in np.argsort(node.op.perm))
    value = draft.transpose(args[0], node.op.perm)
    return value, lambda gradient: [draft.transpose(gradient, back)]


Rule = Callable[[OnnxDraft, Graph, Node, list[str], list[bool]], tuple[str, Pull]]

_RULES: dict[type[Op], Rule] = {
    MatMul: _matmul,
    Conv: _conv,
    Add: _add,
    Mul: _mul,
    Relu: _relu,
    Sigmoid: _sigmoid,
    Softmax: _softmax,
    AveragePool: _average_pool,
    Reshape: _reshape,
    Transpose: _transpose,
}
