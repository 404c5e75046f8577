"""The graph in real numbers: its checks, its samples and its index tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model.graph import Graph, Node


def relu_graph(shape: tuple[int, ...] = (1, 3)) -> Graph:
    node = Node("r", "r", real.Relu(), ("x",), "y")
    return Graph("g", ("x",), ("y",), {"x": shape, "y": shape}, (node,), {})


def test_parameters_are_read_only_copies() -> None:
    weights = np.ones((2, 2))
    node = Node("m", "m", real.MatMul(), ("x", "w"), "y")
    shapes = {"x": (1, 2), "w": (2, 2), "y": (1, 2)}
    graph = Graph("g", ("x",), ("y",), shapes, (node,), {"w": weights})
    weights[0, 0] = 5
    assert graph.values["w"][0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        graph.values["w"][0, 0] = 5
    with pytest.raises(TypeError):
        graph.values["w"] = weights  # type: ignore[index]


@pytest.mark.parametrize(
    ("nodes", "outputs", "values"),
    [
        ((Node("r", "r", real.Relu(), ("h",), "y"),), ("y",), {}),
        ((Node("r", "r", real.Relu(), ("x",), "x"),), ("x",), {}),
        ((), ("y",), {}),
        ((), ("x",), {"w": np.ones(3)}),
        ((), ("x",), {"y": np.ones(3)}),
        ((), ("x",), {"y": np.full((1, 3), np.nan)}),
    ],
)
def test_wiring_is_checked(nodes: Any, outputs: Any, values: Any) -> None:
    with pytest.raises(InvalidInput):
        Graph("g", ("x",), outputs, {"x": (1, 3), "y": (1, 3)}, nodes, values)


def test_samples_are_told_apart_by_their_shape() -> None:
    graph = relu_graph((2, 3))
    for shape, count in (((2, 3), 1), ((5, 2, 3), 5), ((8, 3), 4)):
        assert real.forward(graph, np.ones(shape))["y"].shape == (count, 2, 3)
    for shape in ((3, 3), (3,), (2, 4), (0, 2, 3), (2, 2, 2, 3)):
        with pytest.raises(InvalidInput, match="input 'x'"):
            real.forward(graph, np.ones(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_must_be_finite(bad: float) -> None:
    with pytest.raises(InvalidInput, match="NaN or an infinity"):
        real.forward(relu_graph(), np.array([[1.0, bad, 2.0]]))


def test_inputs_must_be_named_numbers() -> None:
    graph = relu_graph()
    with pytest.raises(InvalidInput, match="expected the inputs"):
        real.forward(graph, {"z": np.ones((1, 3))})
    with pytest.raises(InvalidInput, match="real numbers"):
        real.forward(graph, np.array([["a", "b", "c"]]))
    with pytest.raises(InvalidInput, match="real numbers"):
        real.forward(graph, np.ones((1, 3)) * 1j)
    two = Graph("g", ("x", "z"), ("y",), dict.fromkeys("xyz", (3,)), (), {"y": np.ones(3)})
    with pytest.raises(InvalidInput, match="mapping by name"):
        real.forward(two, np.ones(3))
    with pytest.raises(InvalidInput, match="different numbers"):
        real.forward(two, {"x": np.ones((2, 3)), "z": np.ones((3, 3))})


small = st.integers(1, 3)


@given(
    st.tuples(small, st.integers(3, 6), st.integers(3, 6)),
    st.tuples(small, small),
    st.tuples(small, small),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_windows_hold_the_places_that_they_cover(
    shape: tuple[int, int, int], kernel: Any, strides: Any, pads: Any, dilations: Any
) -> None:
    extents = [dilations[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
    if any(shape[a + 1] + pads[a] + pads[a + 2] < extents[a] for a in (0, 1)):
        return
    image = np.arange(1, np.prod(shape) + 1).reshape(shape)
    padded = np.pad(image, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    found = real.window_indices(shape, kernel, strides, pads, dilations)
    flat = np.concatenate([image.ravel(), [0]])
    for i, j in np.ndindex(found.shape[1:3]):
        top, left = i * strides[0], j * strides[1]
        window = padded[
            :,
            top : top + extents[0] : dilations[0],
            left : left + extents[1] : dilations[1],
        ]
        assert np.array_equal(flat[found[:, i, j]], window.reshape(shape[0], -1))
    rest = [
        padded.shape[a + 1] - ((found.shape[a + 1] - 1) * strides[a] + extents[a]) for a in (0, 1)
    ]
    assert all(0 <= left < strides[a] for a, left in enumerate(rest))


def test_chunks_cover_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Node("c", "c", real.Conv(pads=(1, 1, 1, 1)), ("x", "w"), "h"),
        Node("p", "p", real.AveragePool((2, 2)), ("h",), "y"),
    )
    shapes = {"x": (2, 1, 4, 4), "w": (3, 1, 3, 3), "h": (2, 3, 4, 4), "y": (2, 3, 3, 3)}
    graph = Graph("g", ("x",), ("y",), shapes, nodes, {"w": rng.normal(size=(3, 1, 3, 3))})
    samples = rng.normal(size=(7, 2, 1, 4, 4))
    whole = real.forward(graph, samples)["y"]
    monkeypatch.setattr(real, "CHUNK_ELEMENTS", 700)
    assert np.allclose(real.forward(graph, samples)["y"], whole, atol=1e-12)
