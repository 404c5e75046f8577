"""One SGD step of a network as an ONNX graph, for peers that prove ONNX.

Inputs: x, one-hot labels y, then each layer's matrix and bias, the last layer's last. Outputs: the
same after the step. The learning rate over the batch is applied to the error, before the large
products, which is what keeps a fixed-point prover's intermediate values small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class _Graph:
    """Collects nodes; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        made = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [made], **attributes))
        return made


def step_graph(sizes: Sequence[int], batch: int, rate: float) -> Any:
    """Return a step of a network of these sizes: ReLU between layers, softmax at the end."""
    graph, layers = _Graph(), range(1, len(sizes))
    outputs, inputs = ["x"], {}
    for i in layers:
        product = graph.add("MatMul", outputs[-1], f"W{i}")
        inputs[i] = graph.add("Add", product, f"b{i}")
        if i < len(sizes) - 1:
            outputs.append(graph.add("Relu", inputs[i]))
    p = graph.add("Softmax", inputs[layers[-1]], axis=1)
    error = graph.add("Mul", graph.add("Sub", p, "y"), "rate")
    for i in reversed(layers):
        transposed = graph.add("Transpose", outputs[i - 1], perm=[1, 0])
        graph.add("Sub", f"W{i}", graph.add("MatMul", transposed, error), name=f"W{i}_new")
        sums = graph.add("ReduceSum", error, "axes", keepdims=0)
        graph.add("Sub", f"b{i}", sums, name=f"b{i}_new")
        if i > 1:
            back = graph.add("MatMul", error, graph.add("Transpose", f"W{i}", perm=[1, 0]))
            active = graph.add("Greater", inputs[i - 1], "zero")
            mask = graph.add("Cast", active, to=TensorProto.FLOAT)
            error = graph.add("Mul", back, mask)
    constants = [
        numpy_helper.from_array(np.array(rate, np.float32), "rate"),
        numpy_helper.from_array(np.array([0], np.int64), "axes"),
    ]
    if len(sizes) > 2:
        constants.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    shapes: dict[str, list[int]] = {}
    for i in layers:
        shapes |= {f"W{i}": [sizes[i - 1], sizes[i]], f"b{i}": [sizes[i]]}
    info = helper.make_tensor_value_info
    return helper.make_graph(
        graph.nodes,
        "step",
        [
            info(name, TensorProto.FLOAT, shape)
            for name, shape in ({"x": [batch, sizes[0]], "y": [batch, sizes[-1]]} | shapes).items()
        ],
        [info(f"{name}_new", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        constants,
    )
