"""Slices run one after the other are the model that they were cut from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

from tests.unit.onnx_models import model, node
from zkai.errors import InvalidInput
from zkai.model.cutting import MAX_SLICES, cut, suggest


def network(skip: bool = False) -> ModelProto:
    """A convolution, a pool and two dense layers; with `skip`, the input enters again late."""
    rng = np.random.default_rng(5)
    weights: dict[str, Any] = {
        "k": rng.normal(size=(3, 1, 3, 3)),
        "w1": rng.normal(size=(27, 6)),
        "w2": rng.normal(size=(6, 4)),
        "flat": np.array([1, 27]),
    }
    nodes = [
        node("Conv", ["x", "k"], "c", kernel_shape=[3, 3], strides=[1, 1]),
        node("Relu", ["c"], "r"),
        node("AveragePool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p", "flat"], "f"),
        node("MatMul", ["f", "w1"], "h"),
        node("Relu", ["h"], "a"),
        node("MatMul", ["a", "w2"], "y"),
    ]
    if skip:
        weights["back"] = np.array([1, 64])
        weights["w3"] = rng.normal(size=(64, 4))
        nodes += [
            node("Reshape", ["x", "back"], "flat_x"),
            node("MatMul", ["flat_x", "w3"], "again"),
            node("Add", ["y", "again"], "z"),
        ]
    return model(nodes, {"x": (1, 1, 8, 8)}, ["z" if skip else "y"], weights)


def run_slices(slices: list[ModelProto], x: Any) -> dict[str, Any]:
    """Run slices in turn, each on what was made before it."""
    values = {"x": x}
    for part in slices:
        onnx.checker.check_model(part)
        names = [value.name for value in part.graph.output]
        given = {value.name: values[value.name] for value in part.graph.input}
        values |= dict(zip(names, ReferenceEvaluator(part).run(names, given), strict=True))
    return values


@pytest.mark.parametrize("places", [(), ("p",), ("r", "h"), ("c", "r", "p", "f", "h", "a")])
@pytest.mark.parametrize("skip", [False, True])
def test_slices_compute_what_the_model_does(places: tuple[str, ...], skip: bool) -> None:
    whole = network(skip)
    x = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    slices = cut(whole, places, "m")
    assert len(slices) == len(places) + 1
    output = whole.graph.output[0].name
    (wanted,) = ReferenceEvaluator(whole).run(None, {"x": x})
    np.testing.assert_array_equal(run_slices(slices, x)[output], wanted)


def test_a_slice_holds_its_own_weights_alone() -> None:
    first, second = cut(network(), ["p"], "m")
    assert {t.name for t in first.graph.initializer} == {"k"}
    assert {t.name for t in second.graph.initializer} == {"flat", "w1", "w2"}
    assert [v.name for v in first.graph.output] == ["p"] == [v.name for v in second.graph.input]


def test_what_skips_over_a_cut_is_taken_along() -> None:
    _, second = cut(network(skip=True), ["h"], "m")
    assert {value.name for value in second.graph.input} == {"x", "h"}


def test_constant_nodes_are_stored_in_the_slices_that_read_them() -> None:
    whole = network()
    (weight,) = (t for t in whole.graph.initializer if t.name == "w2")
    whole.graph.initializer.remove(weight)
    whole.graph.node.insert(0, helper.make_node("Constant", [], ["w2"], value=weight))
    first, second = cut(whole, ["p"], "m")
    assert "w2" not in {t.name for t in first.graph.initializer}
    assert "w2" in {t.name for t in second.graph.initializer}


def test_suggested_cuts_share_the_work_and_are_narrow() -> None:
    assert suggest(network(), 1, "m") == ()
    # The convolution takes 972 of about 1,350 products: both cuts come after it.
    assert suggest(network(), 3, "m")[0] in ("c", "r")
    cuts = suggest(network(), 7, "m")
    assert cuts == ("c", "r", "p", "f", "h", "a")
    for count in range(1, 8):
        assert len(cut(network(), suggest(network(), count, "m"), "m")) == count


def test_a_graph_without_narrow_places_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"2 slices need 1 tensors .* there are 0: none"):
        suggest(network(skip=True), 2, "m")


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (["nowhere"], "no node makes"),
        (["x"], "no node makes"),
        (["h", "p"], "in order"),
        (["h", "h"], "in order"),
        (["y"], "before the last"),
    ],
)
def test_cuts_that_are_none_are_refused(places: list[str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        cut(network(), places, "m")


def test_too_many_slices_are_refused() -> None:
    for count in (0, MAX_SLICES + 1):
        with pytest.raises(InvalidInput, match="1 to 64"):
            suggest(network(), count, "m")


def test_integers_do_not_cross_a_cut() -> None:
    whole = network()
    whole.graph.node.insert(4, helper.make_node("Shape", ["p"], ["sizes"], name="s"))
    whole.graph.node.append(helper.make_node("Reshape", ["y", "sizes"], ["q"], name="q"))
    with pytest.raises(InvalidInput, match="'sizes' crosses a cut"):
        cut(whole, ["h"], "m")
