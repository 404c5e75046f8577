"""Heads in real numbers as graphs, for whoever differentiates and proves graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.fixed_point import FloatArray
from zkai.model.graph import Add, Graph, MatMul, Node, Op, Relu, Shape
from zkai.model.head_layers import Layer
from zkai.model.heads import MOMENTUM_BITS, Head, LoraHead, SoftmaxHead


@dataclass(frozen=True)
class HeadGraph:
    """A head's graph over (batch, features), and which of its parameters a step trains.

    `frozen` are the others: a state carries them unchanged. All are zeros in the graph.
    """

    graph: Graph
    trained: tuple[str, ...]
    frozen: tuple[str, ...]
    momentum: float


def head_graph(head: Head, batch: int) -> HeadGraph:
    """Return a head's graph: x W + b, plus x A B where a layer has factors, and ReLU between.

    Raises InvalidInput for a head whose steps clip gradients or let weights decay.
    """
    for name in ("clip", "decay"):
        if getattr(head, name):
            raise InvalidInput(f"head: {name}: a step of a graph has none; leave it out")
    drawing = _Drawing(batch, head.features)
    for layer in head.layers:
        drawing.layer(layer, last=layer is head.layers[-1])
    graph = Graph(
        head.kind,
        ("x",),
        (drawing.current,),
        drawing.shapes,
        tuple(drawing.nodes),
        {name: np.zeros(drawing.shapes[name]) for name in (*drawing.trained, *drawing.frozen)},
    )
    momentum = head.momentum / (1 << MOMENTUM_BITS)
    return HeadGraph(graph, tuple(drawing.trained), tuple(drawing.frozen), momentum)


@dataclass
class _Drawing:
    batch: int
    features: int
    nodes: list[Node] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    current: str = "x"
    shapes: dict[str, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes["x"] = (self.batch, self.features)

    def node(self, name: str, op: Op, inputs: tuple[str, ...], width: int) -> str:
        self.nodes.append(Node(name, "head", op, inputs, name))
        self.shapes[name] = (self.batch, width)
        return name

    def layer(self, layer: Layer, last: bool) -> None:
        stem, block = f"layer{layer.number}", layer.weight
        names = [f"{stem}.weight", f"{stem}.bias"]
        self.shapes |= {names[0]: (block.inputs, block.outputs), names[1]: (block.outputs,)}
        (self.trained if layer.trained else self.frozen).extend(names)
        x = self.current
        value = self.node(f"{stem}.linear", MatMul(), (x, *names), block.outputs)
        if layer.down is not None and layer.up is not None:
            down, up = f"{stem}.A", f"{stem}.B"
            self.shapes[down] = (layer.down.inputs, layer.down.outputs)
            self.shapes[up] = (layer.up.inputs, layer.up.outputs)
            self.trained += [down, up]
            low = self.node(f"{stem}.low", MatMul(), (x, down), layer.down.outputs)
            added = self.node(f"{stem}.added", MatMul(), (low, up), block.outputs)
            value = self.node(f"{stem}.sum", Add(), (value, added), block.outputs)
        self.current = value if last else self.node(f"{stem}.relu", Relu(), (value,), block.outputs)


def head_tensors(
    head: Head, weights: Any, bias: Any = None, base: Any = None
) -> dict[str, FloatArray]:
    """Return the parameters of a head's graph by name, from the forms that `initial_state` takes.

    Raises InvalidInput, naming the tensor, for another number of layers or another shape.
    """
    drawn = head_graph(head, 1)
    if isinstance(head, SoftmaxHead):
        given = {"layer1.weight": weights}
        given["layer1.bias"] = np.zeros(head.classes) if bias is None else bias
        return _checked(drawn.graph, given, turned=False)
    if bias is not None:
        raise InvalidInput("bias: a network's biases stand beside its layers' weights")
    if not isinstance(head, LoraHead):
        if base is not None:
            raise InvalidInput("base: only heads with frozen weights have a base network")
        return _checked(drawn.graph, _pairs(weights, drawn.trained, "weights"), turned=True)
    given = _pairs(weights, drawn.trained, "weights") | _pairs(base, drawn.frozen, "base")
    return _checked(drawn.graph, given, turned=True)


def _pairs(value: Any, names: tuple[str, ...], what: str) -> dict[str, Any]:
    count = len(names) // 2
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != count:
        raise InvalidInput(
            f"{what}: expected a list of {count} pairs of arrays, one for each layer"
        )
    flat = list[Any]()
    for number, pair in enumerate(value):
        if not isinstance(pair, list | tuple | np.ndarray) or len(pair) != 2:
            raise InvalidInput(f"{what}[{number}]: expected a pair of arrays")
        flat += pair
    return dict(zip(names, flat, strict=True))


def _checked(graph: Graph, given: Mapping[str, Any], turned: bool) -> dict[str, FloatArray]:
    """Return arrays of the graph's shapes; torch's layouts are turned."""
    found = {}
    for name, value in given.items():
        shape = graph.shapes[name]
        try:
            array = np.zeros(shape) if value is None else np.asarray(value, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidInput(f"{name}: expected lists of numbers of equal lengths") from error
        if turned and array.ndim == 2 and value is not None:
            array = array.T
        if array.shape != shape:
            wanted = shape[::-1] if turned and len(shape) == 2 else shape
            raise InvalidInput(f"{name}: expected shape {wanted}, got {np.shape(value)}")
        if not np.isfinite(array).all():
            raise InvalidInput(f"{name}: holds NaN or an infinity")
        found[name] = array
    return found
