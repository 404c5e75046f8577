"""One SGD step of a network as an ONNX graph, for peers that prove ONNX.

Inputs: x, one-hot labels y, then each trained layer's matrix and bias, or a layer's low-rank
factors A and B, whose base is constant. Outputs: the same after the step. The learning rate over
the batch is applied to the error, before the large products, which is what keeps a fixed-point
prover's intermediate values small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper


class _Graph:
    """Collects nodes; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        made = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [made], **attributes))
        return made


Matrices = Sequence[npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Base:
    """A frozen network: a matrix and a bias for each layer; layer 1 gets factors of this rank."""

    weights: Matrices
    biases: Matrices
    rank: int


def step_graph(sizes: Sequence[int], batch: int, rate: float, base: Base | None = None) -> Any:
    """Return a step of a network of these sizes: ReLU between layers, softmax at the end.

    With a base only the factors of layer 1 are trained.
    """
    graph, last = _Graph(), len(sizes) - 1
    outputs, inputs = ["x"], dict[int, str]()
    for i in range(1, last + 1):
        value = graph.add("Add", graph.add("MatMul", outputs[-1], f"W{i}"), f"b{i}")
        if base is not None and i == 1:
            graph.add("MatMul", "x", "A", name="xA")
            value = graph.add("Add", value, graph.add("MatMul", "xA", "B"))
        inputs[i] = value
        if i < last:
            outputs.append(graph.add("Relu", value))
    p = graph.add("Softmax", inputs[last], axis=1)
    error = graph.add("Mul", graph.add("Sub", p, "y"), "rate")
    for i in range(last, 0, -1):
        if base is None:
            _descend(graph, f"W{i}", outputs[i - 1], error)
            sums = graph.add("ReduceSum", error, "axes", keepdims=0)
            graph.add("Sub", f"b{i}", sums, name=f"b{i}_new")
        if i > 1:
            back = graph.add("MatMul", error, graph.add("Transpose", f"W{i}", perm=[1, 0]))
            active = graph.add("Greater", inputs[i - 1], "zero")
            error = graph.add("Mul", back, graph.add("Cast", active, to=TensorProto.FLOAT))
    shapes: dict[str, list[int]] = {}
    if base is None:
        for i in range(1, last + 1):
            shapes |= {f"W{i}": [sizes[i - 1], sizes[i]], f"b{i}": [sizes[i]]}
    else:
        inner = graph.add("MatMul", error, graph.add("Transpose", "B", perm=[1, 0]))
        _descend(graph, "A", "x", inner)
        _descend(graph, "B", "xA", error)
        shapes = {"A": [sizes[0], base.rank], "B": [base.rank, sizes[1]]}
    data = {"x": [batch, sizes[0]], "y": [batch, sizes[-1]]}
    return helper.make_graph(
        graph.nodes, "step", _infos(data | shapes), _infos(shapes, "_new"),
        _constants(rate, base, deep=last > 1),
    )  # fmt: skip


def _descend(graph: _Graph, name: str, left: str, error: str) -> None:
    """Add name_new = name - left^T error."""
    gradient = graph.add("MatMul", graph.add("Transpose", left, perm=[1, 0]), error)
    graph.add("Sub", name, gradient, name=f"{name}_new")


def _infos(shapes: Mapping[str, list[int]], suffix: str = "") -> list[Any]:
    info = helper.make_tensor_value_info
    return [info(f"{name}{suffix}", TensorProto.FLOAT, shape) for name, shape in shapes.items()]


def _constants(rate: float, base: Base | None, deep: bool) -> list[Any]:
    values: dict[str, Any] = {"rate": np.array(rate, np.float32)}
    if base is None:
        values["axes"] = np.array([0], np.int64)
    else:
        for i, (weights, bias) in enumerate(zip(base.weights, base.biases, strict=True), 1):
            values |= {f"W{i}": weights.astype(np.float32), f"b{i}": bias.astype(np.float32)}
    if deep:
        values["zero"] = np.array(0, np.float32)
    return [numpy_helper.from_array(value, name) for name, value in values.items()]
