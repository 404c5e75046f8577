"""Small ONNX models for the tests of zkai.model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """Return a node that is named after its output."""
    return helper.make_node(operator, inputs, [output], name=f"{output}_node", **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    weights: dict[str, Any] | None = None,
    opset: int = 18,
) -> ModelProto:
    """Return a model with float32 inputs and outputs; integer weights stay int64."""
    stored = []
    for name, value in (weights or {}).items():
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        stored.append(numpy_helper.from_array(array.astype(kind), name))
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
