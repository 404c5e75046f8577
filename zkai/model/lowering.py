"""From the operators of an ONNX file to the few of `zkai.model.graph`.

Works on plain data that `zkai.model.export` has read and checked; imports no ONNX library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model.graph import Graph, Node, Op, Shape

Array = npt.NDArray[Any]

MAX_TENSOR_ELEMENTS = 1 << 24
"""No tensor, and no table of a convolution's or pooling's windows, may have more elements."""

MAX_CONSTANT_ELEMENTS = 1 << 25
"""All constants that are computed while lowering may have this many elements together."""

FLOAT_TYPES = (1, 11)
"""ONNX's numbers for float32 and float64: a Cast to them changes nothing."""


@dataclass(frozen=True)
class SourceNode:
    """A node of an ONNX graph: its place (from 1), name, operator and plain attributes."""

    place: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class SourceModel:
    """An ONNX graph as plain data; input shapes are resolved."""

    where: str
    opset: int
    nodes: tuple[SourceNode, ...]
    constants: Mapping[str, Array] = field(repr=False)
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    infer_shapes: Callable[[], Mapping[str, Shape]] = field(default=dict, repr=False)
    """Best-effort shapes of inner tensors, asked for only to go on past an unsupported node."""


@dataclass(frozen=True)
class Tensor:
    """A computed tensor."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Constant:
    """A value that is known now."""

    name: str
    array: Array = field(repr=False)


Value = Tensor | Constant


class Unsupported(Exception):  # noqa: N818 - collected into one InvalidInput, never raised to callers
    """Why one node cannot be lowered."""


def lower(model: SourceModel, operators: Mapping[str, Operator]) -> Graph:
    """Return the graph of a model; `operators` says how each ONNX operator is lowered.

    Raises one InvalidInput that names every unsupported node, its operator and its place.
    """
    return Lowering(model).run(operators)


class Lowering:
    """The state of one lowering: what every ONNX tensor has become, and the nodes made so far."""

    def __init__(self, model: SourceModel) -> None:
        self.model = model
        self.env: dict[str, Value | None] = {}
        self.nodes: list[Node] = []
        self.values: dict[str, Array] = {}
        self.shapes: dict[str, Shape] = dict(model.inputs)
        self.inferred: dict[str, Shape] | None = None
        self.computed_elements = 0
        self.source = self.output = ""

    def run(self, operators: Mapping[str, Operator]) -> Graph:
        """Lower every node that an output needs."""
        for name, array in self.model.constants.items():
            self.env[name] = Constant(name, array)
        for name, shape in self.model.inputs.items():
            self.env[name] = Tensor(name, shape)
        problems = []
        for node in self._needed():
            reason = self._lower(node, operators)
            if reason:
                problems.append(f"  {describe(node, len(self.model.nodes))}: {reason}")
                self._skip(node)
        if problems:
            raise InvalidInput(_unsupported_message(self.model.where, problems, operators))
        for name in self.model.outputs:
            self._finish(name)
        return Graph(
            self.model.where,
            tuple(self.model.inputs),
            self.model.outputs,
            self.shapes,
            tuple(self.nodes),
            self.values,
        )

    def _needed(self) -> list[SourceNode]:
        wanted, kept = set(self.model.outputs), []
        for node in reversed(self.model.nodes):
            if wanted & set(node.outputs):
                wanted |= set(node.inputs)
                kept.append(node)
        return kept[::-1]

    def _lower(self, node: SourceNode, operators: Mapping[str, Operator]) -> str:
        """Lower one node; return what is wrong with it, if anything."""
        for name in node.outputs:
            self.env.setdefault(name, None)
        if node.operator not in operators:
            return f"the operator {node.operator} is not supported"
        args = []
        for name in node.inputs:
            if name and name not in self.env:
                return f"its input {name!r} is made by no earlier node"
            if name and self.env[name] is None:
                return ""  # an earlier problem; nothing is known about this node
            args.append(self.env[name] if name else None)
        self.output = node.outputs[0]
        self.source = node.name or self.output
        try:
            value = operators[node.operator](self, node, args)
            self._count(value)
            self.env[self.output] = value
        except Unsupported as problem:
            return str(problem)
        return ""

    def _count(self, value: Value) -> None:
        if isinstance(value, Constant):
            self.computed_elements += value.array.size
            if self.computed_elements > MAX_CONSTANT_ELEMENTS:
                raise Unsupported(f"the constants pass {MAX_CONSTANT_ELEMENTS} elements together")

    def _skip(self, node: SourceNode) -> None:
        """Stand in for an unsupported node's outputs, so that the nodes behind it are checked."""
        if self.inferred is None:
            self.inferred = dict(self.model.infer_shapes())
        if any(isinstance(self.env.get(name), Tensor) for name in node.inputs):
            for name in node.outputs:
                if name in self.inferred:
                    self.env[name] = Tensor(name, self.inferred[name])

    def _finish(self, name: str) -> None:
        value = self.env.get(name)
        if not isinstance(value, Tensor):
            raise InvalidInput(
                f"{self.model.where}: the output {name!r} does not depend on an input"
            )
        if value.name != name:
            self.source = self.output = name
            self.emit(real.Reshape(), (value,), value.shape)

    def emit(self, op: Op, inputs: Sequence[Value], shape: Shape, last: bool = True) -> Tensor:
        """Append a node; `last` says that it makes the ONNX node's own output."""
        check_elements(shape, "its output")
        name, number = self.output, 0
        while name in self.shapes or (not last and not number):
            number += 1
            name = f"{self.output}.{number}"
        names = tuple(v.name if isinstance(v, Tensor) else self._parameter(v) for v in inputs)
        self.shapes[name] = shape
        self.nodes.append(Node(name, self.source, op, names, name))
        return Tensor(name, shape)

    def _parameter(self, constant: Constant) -> str:
        array = np.asarray(constant.array, dtype=np.float64)
        name, number = constant.name, 0
        while name in self.shapes or name in self.values:
            if name in self.values and np.array_equal(self.values[name], array):
                return name
            number += 1
            name = f"{constant.name}.{number}"
        self.values[name], self.shapes[name] = array, array.shape
        return name

    def reshape(self, x: Tensor, shape: Shape, last: bool = True) -> Tensor:
        """Emit a Reshape."""
        return self.emit(real.Reshape(), (x,), shape, last)

    def transpose(self, x: Tensor, perm: Sequence[int], last: bool = True) -> Tensor:
        """Emit a Transpose."""
        shape = tuple(x.shape[axis] for axis in perm)
        return self.emit(real.Transpose(tuple(perm)), (x,), shape, last)


Operator = Callable[[Lowering, SourceNode, list[Value | None]], Value]


def describe(node: SourceNode, total: int) -> str:
    """Return a node's name, operator and place in words."""
    reads = ", ".join(repr(name) for name in node.inputs if name) or "nothing"
    writes = ", ".join(repr(name) for name in node.outputs if name)
    name = repr(node.name) if node.name else "unnamed"
    return (
        f"node {node.place} of {total}, {name} ({node.operator}), reading {reads}, writing {writes}"
    )


def _unsupported_message(where: str, problems: list[str], operators: Mapping[str, Operator]) -> str:
    count = f"{len(problems)} node" + ("s" if len(problems) > 1 else "")
    return "\n".join(
        [
            f"{where}: {count} cannot be turned into integers:",
            *problems,
            f"  supported are: {', '.join(sorted(operators))}.",
            "  Replace each node by supported ones (a Relu or Sigmoid for another activation, a"
            " constant for a computed factor), or leave it outside: compute it before the model's"
            " input or after its output, then export again.",
        ]
    )


def check_elements(shape: Sequence[int], what: str) -> None:
    """Return None if a shape is positive and affordable; raise Unsupported otherwise."""
    if any(size < 1 for size in shape):
        raise Unsupported(f"{what} would have the empty shape {tuple(shape)}")
    if prod(shape) > MAX_TENSOR_ELEMENTS:
        raise Unsupported(f"{what} would have more than {MAX_TENSOR_ELEMENTS} elements")
