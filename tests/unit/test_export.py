"""ONNX files: each supported operator against onnxruntime, and every refusal by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, node, random_model

from zkai.errors import InvalidInput, ToolError
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig
from zkai.model.error_bound import error_bounds, quantization_report
from zkai.model.export import load
from zkai.model.quantize import predict, quantize
from zkai.model.torch_export import export

SAMPLES = 6
FLOAT32_NOISE = 2e-5
"""onnxruntime's float32 against float64, relative to the largest value: 2**-24 a term."""


def by_onnxruntime(proto: onnx.ModelProto, samples: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    count = len(next(iter(samples.values())))
    runs = [
        session.run(None, {n: v[i].astype(np.float32) for n, v in samples.items()})
        for i in range(count)
    ]
    return [np.stack(values) for values in zip(*runs, strict=True)]


def agree(proto: onnx.ModelProto, scale: float = 1.0) -> real.Graph:
    """Hold our float and integer forward passes against onnxruntime on random inputs."""
    graph = load(proto.SerializeToString())
    rng = np.random.default_rng(7)
    samples = {
        name: np.float32(rng.normal(size=(SAMPLES, *graph.shapes[name])) * scale)
        for name in graph.inputs
    }
    expected = by_onnxruntime(proto, samples)
    ours = real.forward(graph, samples)
    quant_graph = quantize(graph, samples)
    bounds = error_bounds(graph, quant_graph, samples)
    integers = predict(quant_graph, samples)
    for name, value in zip(graph.outputs, expected, strict=True):
        noise = FLOAT32_NOISE * max(1.0, float(np.abs(value).max()))
        assert ours[name].shape == value.shape
        assert np.abs(ours[name] - value).max() <= noise
        assert np.all(np.abs(integers[name] - value) <= bounds[name] + noise)
        assert np.abs(bounds[name]).max() <= 0.05 * max(1.0, float(np.abs(value).max()))
    return graph


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape) / np.sqrt((shape or (1,))[0])


RELU = node("Relu", ["h"], "y")


@pytest.mark.parametrize(
    ("attributes", "w", "b"),
    [
        ({}, (5, 3), (3,)),
        ({"transB": 1}, (3, 5), (3,)),
        ({"transB": 1, "alpha": 0.5, "beta": 2.0}, (3, 5), (1, 3)),
        ({"alpha": -1.5}, (5, 3), (1,)),
        ({"beta": 0.25}, (5, 3), (4, 3)),
        ({"transA": 1}, (4, 3), (3,)),
        ({}, (5, 3), None),
    ],
)
def test_gemm(attributes: dict[str, Any], w: Any, b: Any) -> None:
    stored = {"w": weights(*w)} | ({"b": weights(*b, seed=1)} if b else {})
    gemm = node("Gemm", ["x", *stored], "y", **attributes)
    agree(model([gemm], {"x": (4, 5)}, ["y"], stored))


def test_gemm_with_a_constant_or_computed_factor() -> None:
    stored = {"a": weights(3, 4), "c": weights(3, 1, seed=2)}
    agree(model([node("Gemm", ["a", "x", "c"], "y")], {"x": (4, 5)}, ["y"], stored))
    turned = node("Gemm", ["x", "z", "x"], "y", transB=1, alpha=0.5, beta=-2.0)
    agree(model([turned], {"x": (3, 3), "z": (3, 3)}, ["y"]))


@pytest.mark.parametrize(
    ("x", "w"),
    [((4, 5), (5, 3)), ((2, 4, 5), (5, 3)), ((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (1, 5, 3))],
)
def test_matmul_by_a_constant(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    agree(model([node("MatMul", ["x", "w"], "y")], {"x": x}, ["y"], {"w": weights(*w)}))


@pytest.mark.parametrize(("w", "x"), [((3, 5), (5, 4)), ((3, 5), (5,)), ((5,), (5, 4))])
def test_constant_by_matmul(w: tuple[int, ...], x: tuple[int, ...]) -> None:
    agree(model([node("MatMul", ["w", "x"], "y")], {"x": x}, ["y"], {"w": weights(*w)}))


def test_matmul_of_computed_tensors() -> None:
    agree(model([node("MatMul", ["x", "z"], "y")], {"x": (3, 4), "z": (4, 2)}, ["y"]))


@pytest.mark.parametrize("operator", ["Add", "Sub"])
@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((4, 5), (5,)), ((4, 1), (1, 5))])
def test_sums(operator: str, shapes: Any) -> None:
    left, right = shapes
    agree(model([node(operator, ["x", "z"], "y")], {"x": left, "z": right}, ["y"]))
    stored = {"c": weights(*right, seed=3)}
    agree(model([node(operator, ["x", "c"], "y")], {"x": left}, ["y"], stored))
    agree(model([node(operator, ["c", "x"], "y")], {"x": left}, ["y"], stored))


@pytest.mark.parametrize("shape", [(), (5,), (4, 1), (4, 5), (2, 4, 5)])
def test_multiplication_by_a_constant(shape: tuple[int, ...]) -> None:
    stored = {"c": weights(*shape, seed=4) * 3}
    agree(model([node("Mul", ["x", "c"], "y")], {"x": (4, 5)}, ["y"], stored))
    agree(model([node("Mul", ["c", "x"], "y")], {"x": (4, 5)}, ["y"], stored))


def test_relu_and_sigmoid() -> None:
    agree(model([node("Relu", ["x"], "y")], {"x": (3, 4)}, ["y"]))
    agree(model([node("Sigmoid", ["x"], "y")], {"x": (3, 4)}, ["y"]), scale=3.0)
    linear = node("MatMul", ["x", "w"], "h")
    agree(model([linear, node("Sigmoid", ["h"], "y")], {"x": (3, 4)}, ["y"], {"w": weights(4, 2)}))


@pytest.mark.parametrize(("shape", "axis"), [((3, 6), -1), ((3, 6), 0), ((2, 3, 4), 1), ((6,), 0)])
def test_softmax(shape: tuple[int, ...], axis: int) -> None:
    agree(model([node("Softmax", ["x"], "y", axis=axis)], {"x": shape}, ["y"]), scale=2.0)


def test_softmax_of_a_linear_layer_rounds_once() -> None:
    nodes = [node("Gemm", ["x", "w", "b"], "h"), node("Softmax", ["h"], "y")]
    stored = {"w": weights(5, 3), "b": weights(3)}
    graph = agree(model(nodes, {"x": (4, 5)}, ["y"], stored))
    quant_graph = quantize(graph, weights(8, 4, 5))
    assert [n.rule for n in quant_graph.nodes] == ["3, 7", "7, 8"]
    both = agree(model(nodes, {"x": (4, 5)}, ["y", "h"], stored))
    quant_graph = quantize(both, weights(8, 4, 5))
    assert [n.rule for n in quant_graph.nodes] == ["3", "7", "7, 8"]


@pytest.mark.parametrize(
    ("attributes", "w"),
    [
        ({}, (4, 3, 3, 2)),
        ({"strides": [2, 1], "pads": [1, 0, 2, 1]}, (4, 3, 3, 3)),
        ({"dilations": [2, 2]}, (2, 3, 2, 3)),
        ({"group": 3, "pads": [1, 1, 1, 1]}, (6, 1, 3, 3)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (2, 3, 3, 4)),
        ({"auto_pad": "SAME_LOWER", "strides": [3, 2]}, (2, 3, 4, 3)),
        ({"auto_pad": "VALID"}, (2, 3, 3, 3)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv(attributes: dict[str, Any], w: tuple[int, ...], bias: bool) -> None:
    stored = {"w": weights(*w) * 0.4} | ({"b": weights(w[0], seed=5)} if bias else {})
    conv = node("Conv", ["x", *stored], "y", **attributes)
    agree(model([conv], {"x": (2, 3, 7, 8)}, ["y"], stored))


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1, "strides": [2, 3]},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"kernel_shape": [2, 2], "ceil_mode": 1},
    ],
)
def test_average_pool(attributes: dict[str, Any]) -> None:
    pool = node("AveragePool", ["x"], "y", **attributes)
    agree(model([pool], {"x": (2, 3, 6, 7)}, ["y"], opset=18))


def test_global_averages() -> None:
    agree(model([node("GlobalAveragePool", ["x"], "y")], {"x": (2, 3, 4, 5)}, ["y"]))
    axes = {"axes": np.array([2, -1])}
    for keep in (0, 1):
        mean = node("ReduceMean", ["x", "axes"], "y", keepdims=keep)
        agree(model([mean], {"x": (2, 3, 4, 5)}, ["y"], axes))
    agree(
        model([node("ReduceMean", ["x"], "y", axes=[-2, -1])], {"x": (1, 3, 4, 5)}, ["y"], opset=13)
    )


def test_rearrangements() -> None:
    shape = {"s": np.array([0, -1])}
    for flat in (
        node("Flatten", ["x"], "y"),
        node("Flatten", ["x"], "y", axis=-1),
        node("Flatten", ["x"], "y", axis=0),
        node("Transpose", ["x"], "y"),
        node("Transpose", ["x"], "y", perm=[1, 0, 2]),
        node("Identity", ["x"], "y"),
        node("Cast", ["x"], "y", to=TensorProto.FLOAT),
    ):
        agree(model([flat], {"x": (2, 3, 4)}, ["y"]))
    agree(model([node("Reshape", ["x", "s"], "y")], {"x": (2, 3, 4)}, ["y"], shape))


def test_constants_are_computed_beforehand() -> None:
    nodes = [
        node("Constant", [], "c", value=numpy_helper.from_array(np.float32([[1, 2], [3, 4]]))),
        node("Constant", [], "k", value_float=0.5),
        node("Transpose", ["c"], "ct"),
        node("Mul", ["ct", "k"], "half"),
        node("Sub", ["half", "k"], "less"),
        node("MatMul", ["less", "ct"], "square"),
        node("Constant", [], "shape", value_ints=[-1]),
        node("Cast", ["shape"], "same", to=TensorProto.INT64),
        node("Reshape", ["square", "same"], "flat"),
        node("Add", ["x", "flat"], "y"),
    ]
    graph = agree(model(nodes, {"x": (3, 4)}, ["y"]))
    assert len(graph.nodes) == 1


def batch_norm(channels: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "gain": rng.normal(size=channels),
        "shift": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "variance": rng.uniform(0.2, 2, size=channels),
    }


NORM = ["gain", "shift", "mean", "variance"]


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("groups", [1, 2])
def test_batch_normalisation_folds_into_its_neighbour(pads: list[int], groups: int) -> None:
    stored = batch_norm(4, 1) | {"w": weights(4, 4 // groups, 3, 3) * 0.3}
    behind = [
        node("Conv", ["x", "w"], "h", pads=pads, group=groups),
        node("BatchNormalization", ["h", *NORM], "y"),
    ]
    graph = agree(model(behind, {"x": (2, 4, 5, 5)}, ["y"], stored))
    assert len(graph.nodes) == 1
    before = [
        node("BatchNormalization", ["x", *NORM], "h", epsilon=0.01),
        node("Conv", ["h", "w"], "y", pads=pads, group=groups),
    ]
    graph = agree(model(before, {"x": (2, 4, 5, 5)}, ["y"], stored))
    # Behind padding, the offset cannot move into the convolution.
    assert len(graph.nodes) == (3 if any(pads) else 1)


def test_batch_normalisation_around_dense_layers() -> None:
    stored = batch_norm(5, 2) | {"w": weights(5, 5), "b": weights(5)}
    nodes = [
        node("BatchNormalization", ["x", *NORM], "n"),
        node("Gemm", ["n", "w", "b"], "h"),
        node("BatchNormalization", ["h", *NORM], "m"),
        node("Relu", ["m"], "r"),
        node("BatchNormalization", ["r", *NORM], "y"),
    ]
    graph = agree(model(nodes, {"x": (4, 5)}, ["y"], stored))
    assert [type(n.op).__name__ for n in graph.nodes] == ["MatMul", "Relu", "Mul", "Add"]


def test_folding_leaves_what_others_read() -> None:
    stored = {"w": weights(5, 5), "c": weights(5), "d": weights(5, seed=9)}
    nodes = [
        node("MatMul", ["x", "w"], "h"),
        node("Mul", ["h", "c"], "m"),
        node("Add", ["m", "h"], "s"),
        node("MatMul", ["s", "w"], "t"),
        node("Add", ["d", "t"], "u"),
        node("Sub", ["u", "c"], "y"),
    ]
    graph = agree(model(nodes, {"x": (4, 5)}, ["y"], stored))
    assert [type(n.op).__name__ for n in graph.nodes] == ["MatMul", "Mul", "Add", "MatMul"]


def test_folding_copies_shared_weights_and_keeps_outputs() -> None:
    stored = {"w": weights(5, 5), "b": weights(5), "c": weights(5, seed=8)}
    shared = [
        node("Gemm", ["x", "w", "b"], "h"),
        node("Mul", ["h", "c"], "m"),
        node("Gemm", ["m", "w", "b"], "y"),
    ]
    assert len(agree(model(shared, {"x": (4, 5)}, ["y"], stored)).nodes) == 2
    # h is an output itself, so the factor moves forward; then m is one too, and it stays.
    for outputs, count in ((["y", "h"], 2), (["y", "h", "m"], 3)):
        assert len(agree(model(shared, {"x": (4, 5)}, outputs, stored)).nodes) == count


def test_a_small_network_stays_close() -> None:
    stored = {
        "k": weights(4, 1, 3, 3) * 0.5,
        "w": weights(36, 10),
        "b": weights(10),
        "s": np.array([1, 36]),
    }
    nodes = [
        node("Conv", ["x", "k"], "c", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], "r"),
        node("AveragePool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p", "s"], "f"),
        node("Gemm", ["f", "w", "b"], "g"),
        node("Softmax", ["g"], "y"),
    ]
    graph = agree(model(nodes, {"x": (1, 1, 6, 6)}, ["y"], stored))
    samples = np.random.default_rng(1).normal(size=(200, 1, 6, 6))
    # Probabilities at 8 bits tie now and then; at 12 they hardly do.
    for bits, error, agreement in ((8, 0.01, 0.95), (12, 0.002, 0.99)):
        config = QuantConfig(error_scale_bits=bits)
        report = quantization_report(graph, quantize(graph, samples, config), samples)
        assert report.rejected == 0
        assert report.outputs[0].max_abs_error < error
        assert (report.outputs[0].argmax_agreement or 0.0) >= agreement


@settings(max_examples=60)
@given(st.integers(0, 1 << 30))
def test_random_chains_of_operators(seed: int) -> None:
    proto = random_model(seed)
    graph = agree(proto)
    linear = sum(n.op_type in ("Gemm", "MatMul") for n in proto.graph.node)
    assert sum(isinstance(n.op, real.MatMul) for n in graph.nodes) == linear


def refusal(proto: onnx.ModelProto, shapes: Any = None) -> str:
    with pytest.raises(InvalidInput) as error:
        load(proto.SerializeToString(), shapes)
    return str(error.value)


def test_one_error_names_every_unsupported_node() -> None:
    nodes = [
        node("Tanh", ["x"], "a"),
        node("Mul", ["a", "x"], "b"),
        node("Softmax", ["b"], "c"),
        node("Conv", ["image", "c"], "d"),
        helper.make_node("MaxPool", ["image"], ["e"], kernel_shape=[2, 2]),
        helper.make_node("Mystery", ["x"], ["f"], name="odd", domain="com.example"),
        node("Add", ["f", "c"], "g"),
        node("LSTM", ["x"], "unused"),
    ]
    message = refusal(model(nodes, {"x": (2, 2), "image": (1, 1, 4, 4)}, ["g", "d", "e"]))
    assert "5 nodes" in message
    for text in (
        "node 1 of 8, 'a_node' (Tanh), reading 'x', writing 'a': the operator Tanh",
        "node 2 of 8, 'b_node' (Mul)",
        "two computed tensors",
        "node 4 of 8, 'd_node' (Conv), reading 'image', 'c', writing 'd': its weights W must be",
        "node 5 of 8, unnamed (MaxPool), reading 'image', writing 'e'",
        "node 6 of 8, 'odd' (com.example.Mystery)",
        "supported are: Add, AveragePool,",
        "Replace each node",
    ):
        assert text in message
    assert "LSTM" not in message  # nothing needs it
    assert "Softmax)" not in message


@pytest.mark.parametrize(
    ("bad", "shape", "stored", "reason"),
    [
        (node("Cast", ["x"], "y", to=TensorProto.INT32), (2, 2), {}, "changes values"),
        (node("Conv", ["x", "w"], "y"), (1, 1, 4), {"w": weights(1, 1, 2)}, "only 2-D"),
        (node("Conv", ["x", "w"], "y"), (1, 2, 4, 4), {"w": weights(1, 1, 2, 2)}, "do not fit"),
        (node("Conv", ["x", "w"], "y"), (1, 1, 2, 2), {"w": weights(1, 1, 3, 3)}, "empty shape"),
        (
            node("AveragePool", ["x"], "y", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
            (1, 1, 6, 6),
            {},
            "ceil_mode",
        ),
        (
            node("AveragePool", ["x"], "y", kernel_shape=[2, 2], dilations=[2, 2]),
            (1, 1, 6, 6),
            {},
            "dilations",
        ),
        (node("ReduceMean", ["x"], "y"), (1, 1, 6, 6), {}, "over H and W"),
        (node("MatMul", ["x", "x"], "y"), (2, 2, 2), {}, "both must be 2-D"),
        (node("MatMul", ["x", "w"], "y"), (2, 2), {"w": weights(3, 2)}, "do not multiply"),
        (node("Reshape", ["x", "s"], "y"), (2, 2), {"s": np.array([3, -1])}, "cannot give"),
        (node("Reshape", ["x", "x"], "y"), (2, 2), {}, "its shape must be a constant"),
        (node("Add", ["x", "w"], "y"), (2, 2), {"w": weights(3)}, "do not broadcast"),
        (node("Flatten", ["x"], "y", axis=5), (2, 2), {}, "axis 5"),
        (node("Transpose", ["x"], "y", perm=[0, 0]), (2, 2), {}, "perm"),
        (node("Relu", ["w"], "y"), (2, 2), {"w": weights(3)}, "applied to a constant"),
        (node("Relu", [], "y"), (2, 2), {}, "expected at least 1 inputs"),
        (
            node("BatchNormalization", ["x", *NORM], "y", training_mode=1),
            (2, 4),
            batch_norm(4, 0),
            "training mode",
        ),
        (
            node("BatchNormalization", ["x", *NORM], "y"),
            (2, 4),
            batch_norm(4, 0) | {"variance": np.full(4, -1.0)},
            "not positive",
        ),
    ],
)
def test_unsupported_uses_say_why(bad: Any, shape: Any, stored: Any, reason: str) -> None:
    opset = 19 if bad.op_type == "AveragePool" else 13 if bad.op_type == "ReduceMean" else 18
    message = refusal(model([bad], {"x": shape}, ["y"], stored, opset=opset))
    assert "1 node cannot" in message
    assert reason in message


def test_dynamic_shapes_are_resolved_or_refused() -> None:
    proto = model([node("Relu", ["x"], "y")], {"x": ("batch", 3)}, ["y"])
    assert "axis 0 ('batch') open" in refusal(proto)
    assert "has the shape [None, 3], not [2, 4]" in refusal(proto, {"x": (2, 4)})
    assert "at least 1" in refusal(proto, {"x": (0, 3)})
    assert "not inputs" in refusal(proto, {"z": (2, 3)})
    assert load(proto.SerializeToString(), {"x": (2, 3)}).shapes["y"] == (2, 3)


def test_weights_must_be_finite_and_inside_the_file() -> None:
    relu = [node("Add", ["x", "w"], "y")]
    for value in (np.nan, np.inf, -np.inf):
        proto = model(relu, {"x": (2, 2)}, ["y"], {"w": np.array([1.0, value])})
        assert "the weight 'w' holds NaN" in refusal(proto)
    proto = model(relu, {"x": (2, 2)}, ["y"], {"w": np.ones(2)})
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert "'w' is kept in another file" in refusal(proto)


def test_sizes_are_checked_before_anything_is_allocated() -> None:
    proto = model([node("Add", ["x", "w"], "y")], {"x": (2, 2)}, ["y"], {"w": np.ones(2)})
    proto.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    assert "more than" in refusal(proto)
    proto.graph.initializer[0].dims[:] = [3]
    assert "'w' is malformed" in refusal(proto)
    huge = model([node("Relu", ["x"], "y")], {"x": (1 << 20, 1 << 20)}, ["y"])
    assert "at most" in refusal(huge)
    spread = model([node("Add", ["x", "z"], "y")], {"x": (1 << 20, 1), "z": (1, 1 << 20)}, ["y"])
    assert "more than 16777216 elements" in refusal(spread)
    image = {"x": (1, 1, 1024, 1024)}
    pool = model([node("AveragePool", ["x"], "y", kernel_shape=[256, 256])], image, ["y"])
    assert "table of its windows" in refusal(pool)


@pytest.mark.parametrize("cut", [0, 1, 7, 40, -1])
def test_truncated_files(cut: int, tmp_path: Path) -> None:
    data = model([node("Add", ["x", "w"], "y")], {"x": (2, 2)}, ["y"], {"w": weights(2)})
    path = tmp_path / "model.onnx"
    path.write_bytes(data.SerializeToString()[:cut])
    with pytest.raises(InvalidInput, match=r"model\.onnx: not an ONNX file"):
        load(path)


def test_files_that_are_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(InvalidInput, match="not an ONNX file"):
        load(b"PK\x03\x04 a zip file")
    old = model([node("Relu", ["x"], "y")], {"x": (2, 2)}, ["y"], opset=7)
    assert "opset 7" in refusal(old)
    twice = model([node("Relu", ["x"], "y"), node("Relu", ["y"], "y")], {"x": (2, 2)}, ["y"])
    assert "two nodes write" in refusal(twice)
    backwards = model([node("Relu", ["h"], "y"), node("Relu", ["x"], "h")], {"x": (2, 2)}, ["y"])
    assert "made by no earlier node" in refusal(backwards)
    wrong = model([node("Flatten", ["x"], "y", axis=1.5)], {"x": (2, 2)}, ["y"])
    assert "y_node.axis must be of type INT" in refusal(wrong)
    constant = model([node("Relu", ["x"], "h")], {"x": (2, 2)}, ["w"], {"w": weights(2)})
    assert "does not depend on an input" in refusal(constant)


def test_every_byte_of_a_file_may_be_wrong() -> None:
    data = model(
        [node("Gemm", ["x", "w", "b"], "h", transB=1), node("Softmax", ["h"], "y", axis=1)],
        {"x": (2, 3)},
        ["y"],
        {"w": weights(2, 3), "b": weights(2)},
    ).SerializeToString()
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= flip
            try:
                load(bytes(changed))
            except InvalidInput:
                continue


def test_torch_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, zkai.model.torch_export;"
        " assert not {'torch', 'onnxruntime'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ToolError, match=r"torch is not installed.*pip install torch"):
        export(object(), np.ones(3))
