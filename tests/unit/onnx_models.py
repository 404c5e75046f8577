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


def random_model(seed: int) -> ModelProto:
    """A chain of random operators on a (2, 4) tensor, ending in a softmax."""
    rng = np.random.default_rng(seed)
    nodes, stored, x = [], {}, "x"
    for place in range(rng.integers(1, 6)):
        kind = rng.choice(["Gemm", "Add", "Sub", "Mul", "Relu", "Sigmoid", "Same", "Transpose"])
        name = f"t{place}"
        if kind == "Gemm":
            stored |= {f"w{place}": rng.normal(size=(4, 4)) / 2, f"b{place}": rng.normal(size=4)}
            nodes.append(node("Gemm", [x, f"w{place}", f"b{place}"], name))
        elif kind in ("Add", "Sub", "Mul"):
            stored[f"c{place}"] = rng.normal(size=rng.choice([1, 4]))
            nodes.append(node(str(kind), [x, f"c{place}"], name))
        elif kind == "Same":
            nodes.append(node("Sub", [x, "x"], name))
        elif kind == "Transpose":
            nodes.append(node("Transpose", [x], f"{name}t"))
            stored[f"w{place}"] = rng.normal(size=(2, 2))
            nodes.append(node("MatMul", [f"{name}t", f"w{place}"], f"{name}m"))
            nodes.append(node("Transpose", [f"{name}m"], name))
        else:
            nodes.append(node(str(kind), [x], name))
        x = name
    nodes.append(node("Softmax", [x], "y"))
    return model(nodes, {"x": (2, 4)}, ["y", x], stored)
