"""The rules as functions, and integer models: scales, widths, refusals, proven error bounds."""

from __future__ import annotations

import json
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import model, node, random_model

from zkai.encoding import canonical_json
from zkai.errors import InvalidInput
from zkai.model import error_bound
from zkai.model import fixed_point as fixed
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig
from zkai.model.error_bound import error_bounds, quantization_report
from zkai.model.export import load
from zkai.model.graph import Graph, Node
from zkai.model.quant_graph import MatMul, QuantGraph, QuantNode, QuantTensor
from zkai.model.quantize import (
    exact_product,
    forward,
    head_graph,
    predict,
    quantize,
    quantize_inputs,
)
from zkai.model.training import HeadState, SoftmaxHead, logits, trace_step

big = st.integers(-(1 << 50), 1 << 50)


def one(value: int) -> Any:
    return np.array(value, dtype=np.int64)


@given(big, st.integers(-10, 40))
def test_rescale_is_the_formula(a: int, k: int) -> None:
    expected = floor(Fraction(a) / Fraction(2) ** k + Fraction(1, 2)) if k > 0 else a << -k
    assert int(fixed.rescale(one(a), k)) == expected


@given(big, st.integers(1, 1 << 40))
def test_divide_is_the_formula(a: int, b: int) -> None:
    result = int(fixed.divide(one(a), b))
    assert result == floor(Fraction(a, b) + Fraction(1, 2))
    assert abs(Fraction(a, b) - result) <= Fraction(1, 2)


@given(st.floats(-1e9, 1e9, allow_nan=False), st.integers(0, 20))
def test_to_fixed_is_the_nearest_integer(x: float, scale: int) -> None:
    exact = Fraction(x) * 2**scale
    assert int(fixed.to_fixed(x, scale)) == floor(exact + Fraction(1, 2))


def test_to_fixed_refuses_what_is_no_number() -> None:
    for bad in ("1", [None], 1j, [[1, 2], ["a", "b"]]):
        with pytest.raises(InvalidInput, match="tensor 'x': expected real numbers"):
            fixed.to_fixed(bad, 8, "x")
    with pytest.raises(InvalidInput, match="0 to 24 bits"):
        fixed.to_fixed(1.0, 25, "x")


rows = st.integers(1, 12).flatmap(
    lambda n: st.lists(st.integers(-16384, 16383), min_size=n, max_size=n)
)


@given(rows)
def test_softmax_rows(u: list[int]) -> None:
    row = np.array([u], dtype=np.int64)
    p = fixed.softmax(row)[0]
    assert p.min() >= 0
    assert p.max() <= 256
    # Each of C entries is rounded by at most 1/2 + 1/32 of a unit.
    assert abs(int(p.sum()) - 256) <= len(u) * 17 / 32
    assert np.argmax(p) <= np.argmax(row)
    order = np.argsort(row[0], kind="stable")
    assert np.all(np.diff(p[order]) >= 0)
    widths = fixed.softmax_widths(len(u))
    e, total, rho = fixed.softmax_terms(row)
    for name, value in (("e", e), ("S", total), ("rho", rho), ("e_rho", e * rho), ("p", p)):
        fixed.check_width(value, widths[name], name)


def test_softmax_of_ten_classes_sums_to_253_to_259() -> None:
    rng = np.random.default_rng(0)
    u = rng.integers(-1500, 1500, size=(20000, 10)) // rng.integers(1, 40, size=(20000, 1))
    sums = fixed.softmax(u).sum(axis=1)
    assert sums.min() >= 253
    assert sums.max() <= 259
    assert len(set(sums.tolist())) > 1  # 256 must not be relied on


def test_the_polynomial_keeps_its_stated_error() -> None:
    sa = 12
    d = np.arange(0, 1 << sa, dtype=np.int64)
    ours = fixed.exp2_negative(d, sa, 8) / 2.0 ** fixed.exponent_scale(sa, 8)
    relative = np.abs(ours / np.exp2(-d / 2.0**sa) - 1).max()
    assert 0.99 * error_bound.EXP2_ERROR < relative <= error_bound.EXP2_ERROR


def test_relu_is_zero_at_zero() -> None:
    assert fixed.relu_mask(np.array([-1, 0, 1])).tolist() == [0, 0, 1]


def test_softmax_too_wide_for_int64_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not fit 62 bits"):
        fixed.softmax_widths(1 << 30)
    with pytest.raises(InvalidInput, match="at least 1 class"):
        fixed.softmax_widths(0)
    assert fixed.softmax_widths(256, 12, 12)


@given(st.integers(54, 62), st.integers(0, 1 << 30))
def test_products_are_exact_at_every_width(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = 1 << ((min(width, 53) - 4) // 2)
    a, b = rng.integers(-limit, limit, size=(2, 3, 4)), rng.integers(-limit, limit, size=(4, 2))
    assert np.array_equal(exact_product(min(width, 53))(a, b), a @ b)
    assert np.array_equal(exact_product(width)(a, b), a @ b)


def dense(w: Any, b: Any = None, activation: str | None = None) -> Graph:
    stored = {"w": w} | ({} if b is None else {"b": b})
    nodes = [node("Gemm", ["x", *stored], "h" if activation else "y")]
    if activation:
        nodes.append(node(activation, ["h"], "y"))
    return load(model(nodes, {"x": (1, len(w))}, ["y"], stored).SerializeToString())


def test_scales_and_widths_follow_the_calibration() -> None:
    graph = dense(np.array([[0.5, -3.0]]))
    samples = np.array([[[-1.0]], [[0.25]]])
    quant_graph = quantize(graph, samples, QuantConfig(activation_bits=10, margin_bits=3))
    x, w, y = (quant_graph.tensors[name] for name in ("x", "w", "y"))
    assert (x.scale_bits, x.width) == (10, 11 + 1 + 3)
    # 0.5 and -3 are exact at scale 1.
    assert (w.scale_bits, w.width, w.checked) == (1, 4, True)
    # |y| <= 3 takes 2 bits before the point, and 8 after it.
    assert (y.scale_bits, y.width, y.role) == (8, 10 + 1 + 3, "output")
    assert quant_graph.values["w"].tolist() == [[1, -6]]


def test_margin_decides_what_is_refused() -> None:
    graph, samples = dense(np.array([[1.0]])), np.array([[[1.0]]])
    quant_graph = quantize(graph, samples, QuantConfig(margin_bits=2))
    assert predict(quant_graph, np.array([[3.9]]))["y"].shape == (1, 1, 1)
    with pytest.raises(InvalidInput, match=r"tensor 'x': a value does not fit its \d+ signed bits"):
        predict(quant_graph, np.array([[8.1]]))


def test_an_inner_overflow_names_its_tensor() -> None:
    graph = dense(np.ones((4, 1)) / 3, activation="Relu")
    # The inputs cancel in the calibration data, so that h is small there.
    samples = np.array([[[1.0, -1.0, 1.0, -0.9]]])
    quant_graph = quantize(graph, samples)
    with pytest.raises(InvalidInput, match=r"tensor 'h': .* larger margin"):
        predict(quant_graph, np.ones((1, 4)))
    soft = quantize(dense(np.eye(2) * 200, activation="Softmax"), np.ones((1, 1, 2)))
    with pytest.raises(InvalidInput, match="tensor 'h': a row's largest base-2 logit"):
        predict(soft, np.array([[1.0, -1.0]]))
    bend = quantize(dense(np.eye(2) * 200, activation="Sigmoid"), np.ones((1, 1, 2)) * 0.1)
    with pytest.raises(InvalidInput, match="tensor 'h'"):
        predict(bend, np.array([[0.1, -0.45]]))


def test_accumulators_are_bounded_when_the_model_is_made() -> None:
    graph = dense(np.ones((64, 1)) / 3)
    config = QuantConfig(activation_bits=24, weight_bits=24, margin_bits=8)
    with pytest.raises(InvalidInput, match=r"accumulator could need \d+ bits of 62"):
        quantize(graph, np.ones((1, 1, 64)), config)


def test_fixed_scales() -> None:
    graph = dense(np.array([[0.3]]), activation="Relu")
    samples = np.array([[[1.0]], [[5.0]]])
    quant_graph = quantize(graph, samples, QuantConfig(scale_bits={"x": 0, "h": 3, "w": 20}))
    assert [quant_graph.tensors[n].scale_bits for n in "xwhy"] == [0, 20, 3, 3]
    with pytest.raises(InvalidInput, match=r"\['y'\] are not tensors whose scale"):
        quantize(graph, samples, QuantConfig(scale_bits={"y": 3}))


@pytest.mark.parametrize(
    "bad",
    [
        {"activation_bits": 1},
        {"activation_bits": 25},
        {"weight_bits": 2.0},
        {"margin_bits": -1},
        {"error_scale_bits": True},
        {"scale_bits": {"x": 25}},
    ],
)
def test_configurations_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        QuantConfig(**bad)


def test_calibration_samples_are_checked() -> None:
    graph = dense(np.ones((2, 1)))
    for bad in (
        np.ones((3, 3)),
        np.full((1, 2), np.nan),
        np.ones((0, 1, 2)),
        {"z": np.ones((1, 2))},
    ):
        with pytest.raises(InvalidInput):
            quantize(graph, bad)
    assert quantize(graph, np.zeros((5, 2))).tensors["x"].width > 1


def test_integer_inputs_are_checked() -> None:
    quant_graph = quantize(dense(np.ones((2, 1))), np.ones((1, 2)))
    with pytest.raises(InvalidInput, match="int64"):
        forward(quant_graph, {"x": np.ones((1, 2))})
    with pytest.raises(InvalidInput, match="shape"):
        forward(quant_graph, {"x": np.ones((1, 3), dtype=np.int64)})
    with pytest.raises(InvalidInput, match="tensor 'x'"):
        forward(quant_graph, {"x": np.full((1, 2), 1 << 40, dtype=np.int64)})
    with pytest.raises(InvalidInput, match="NaN"):
        quantize_inputs(quant_graph, np.array([[np.nan, 1.0]]))


def random_graph(seed: int) -> Graph:
    return load(random_model(seed).SerializeToString())


@given(st.integers(0, 1 << 30))
def test_error_bounds_hold_on_random_graphs(seed: int) -> None:
    graph = random_graph(seed)
    samples = np.random.default_rng(seed + 1).normal(size=(4, 2, 4))
    quant_graph = quantize(graph, samples)
    bounds = error_bounds(graph, quant_graph, samples)
    exact, ours = real.forward(graph, samples), predict(quant_graph, samples)
    for name in graph.outputs:
        assert np.all(np.abs(ours[name] - exact[name]) <= bounds[name])
        assert bounds[name].max() < 0.2
    # Every value really fits what was declared, proven widths included.
    tensors = forward(quant_graph, quantize_inputs(quant_graph, samples))
    for name, value in tensors.items():
        fixed.check_width(value, quant_graph.tensors[name].width, name)


@given(st.integers(0, 1 << 30))
def test_proven_widths_hold_for_extreme_inputs(seed: int) -> None:
    graph = random_graph(seed)
    samples = np.random.default_rng(seed).normal(size=(4, 2, 4))
    quant_graph = quantize(graph, samples, QuantConfig(margin_bits=0))
    half = 1 << (quant_graph.tensors["x"].width - 1)
    rng = np.random.default_rng(seed)
    extremes = rng.choice(np.array([-half, -1, 0, 1, half - 1]), size=(8, 2, 4))
    for sample in extremes:
        try:
            tensors = forward(quant_graph, {"x": sample[None]})
        except InvalidInput:
            continue
        for name, value in tensors.items():
            fixed.check_width(value, quant_graph.tensors[name].width, name)


def test_samples_run_alone_or_together() -> None:
    graph = random_graph(5)
    samples = np.random.default_rng(0).normal(size=(6, 2, 4))
    quant_graph = quantize(graph, samples)
    together = predict(quant_graph, samples)["y"]
    alone = [predict(quant_graph, sample)["y"][0] for sample in samples]
    assert np.array_equal(together, np.stack(alone))


def test_report_leaves_out_and_counts_what_is_rejected() -> None:
    graph = dense(np.array([[0.7, -0.3], [0.1, 0.9]]), activation="Relu")
    samples = np.random.default_rng(0).uniform(-1, 1, size=(20, 1, 2))
    quant_graph = quantize(graph, samples)
    loud = np.concatenate([samples, np.full((2, 1, 2), 50.0)])
    report = quantization_report(graph, quant_graph, loud)
    assert (report.samples, report.rejected) == (22, 2)
    assert report.outputs[0].mean_abs_error <= report.outputs[0].max_abs_error < 0.001
    assert report.outputs[0].argmax_agreement == 1.0
    assert report.worst_tensor in quant_graph.tensors
    json.dumps(report.describe())
    with pytest.raises(InvalidInput, match="every sample overflows"):
        quantization_report(graph, quant_graph, np.full((2, 1, 2), 50.0))


def test_architecture_has_a_canonical_form() -> None:
    samples = np.random.default_rng(0).normal(size=(4, 2, 4))
    first, second = (quantize(random_graph(5), samples) for _ in range(2))
    assert canonical_json(first.describe()) == canonical_json(second.describe())
    other = quantize(random_graph(5), samples, QuantConfig(margin_bits=3))
    assert canonical_json(first.describe()) != canonical_json(other.describe())


def test_integer_graphs_are_checked_and_read_only() -> None:
    quant_graph = quantize(dense(np.ones((2, 1))), np.ones((1, 2)))
    with pytest.raises(ValueError, match="read-only"):
        quant_graph.values["w"][0, 0] = 5
    x = QuantTensor("x", (1, 2), 0, 8, "input", True)
    y = QuantTensor("y", (1, 1), 0, 8, "output", True)
    op = MatMul(0, 0, 1, 20)
    for inputs, tensors in ((("x", "w"), {"x": x, "y": y}), (("x", "y"), {"x": x, "y": y})):
        with pytest.raises(InvalidInput):
            QuantGraph(
                "g", ("x",), ("y",), tensors, (QuantNode("m", "m", op, inputs, "y", "3"),), {}
            )
    w = QuantTensor("w", (2, 1), 0, 8, "parameter", True)
    with pytest.raises(InvalidInput, match="parameter 'w'"):
        QuantGraph("g", ("x",), ("x",), {"x": x, "w": w}, (), {})


def test_hand_made_graphs_may_not_multiply_or_add_what_they_should_not() -> None:
    shapes = dict.fromkeys("xzyc", (1, 2))
    product = Graph(
        "g", ("x", "z"), ("y",), shapes, (Node("m", "m", real.Mul(), ("x", "z"), "y"),), {}
    )
    both = {"x": np.ones((1, 2)), "z": np.ones((1, 2))}
    with pytest.raises(InvalidInput, match="two computed tensors"):
        quantize(product, both)
    values = {"z": np.ones((1, 2)), "c": np.ones((1, 2))}
    total = Graph(
        "g", ("x",), ("y",), shapes, (Node("a", "a", real.Add(), ("z", "c"), "y"),), values
    )
    with pytest.raises(InvalidInput, match="two constants"):
        quantize(total, np.ones((1, 2)))


def test_a_trained_head_is_the_same_model_in_training_and_inference() -> None:
    head = SoftmaxHead(6, 3)
    rng = np.random.default_rng(0)
    state = HeadState(rng.integers(-50000, 50000, size=head.shape))
    x = rng.integers(0, 16, size=(4, 6))
    trace = trace_step(head, state, x, np.zeros(4, dtype=np.int64), 1)
    graph = head_graph(head, state, rows=4)
    assert np.array_equal(forward(graph, {"features": x})["probabilities"][0], trace.probabilities)
    graph = head_graph(head, state, rows=4, probabilities=False)
    assert np.array_equal(
        forward(graph, {"features": x})["logits"][0], logits(head, state.weights, x)
    )
    with pytest.raises(InvalidInput, match="rows"):
        head_graph(head, state, rows=0)
