"""The step graphs against torch: autograd and torch.optim.SGD, in real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional as nn

from tests.unit.onnx_models import model as onnx_model
from tests.unit.onnx_models import node as onnx_node
from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model.export import load
from zkai.model.fixed_point import FloatArray
from zkai.model.gradient import StepRule, check_rule, draw_step, trainable
from zkai.model.graph import Graph, Node, Op, Shape
from zkai.model.head_graph import head_graph, head_tensors
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.onnx_draft import OnnxDraft, transposed_table

CLASSES = 3
TOLERANCE = 5e-6
"""float32 and the softmax's cut at exp(-12) against float64."""
Module = Callable[[Mapping[str, Any], Any], Any]


def session(graph: Graph, rule: StepRule) -> Any:
    """Return the step as an onnxruntime session: (x, y, weights, velocities) -> new ones."""
    rows = graph.shapes[graph.inputs[0]][0]
    inputs = {"x": graph.shapes[graph.inputs[0]], "labels": (rows, 1)}
    weights = {name: f"old:{name}" for name in rule.trained}
    velocities = {name: f"moved:{name}" for name in rule.trained} if rule.momentum else {}
    for names in (weights, velocities):
        inputs |= {tensor: graph.shapes[name] for name, tensor in names.items()}
    draft = OnnxDraft(inputs)
    targets = draft.one_hot("labels", graph.shapes[graph.outputs[0]][1])
    drawn = draw_step(draft, graph, rule, "x", targets, weights, velocities)
    outputs = {f"new:{name}": tensor for name, tensor in drawn.weights.items()}
    outputs |= {f"newly:{name}": tensor for name, tensor in drawn.velocities.items()}
    return ort.InferenceSession(draft.model(outputs), providers=["CPUExecutionProvider"])


def check_against_torch(
    graph: Graph, rule: StepRule, module: Module, lr: float, seed: int, steps: int = 2
) -> None:
    """Run steps of both and compare every weight; the velocity is kept times the rate."""
    rng = np.random.default_rng(seed)
    shape = graph.shapes[graph.inputs[0]]
    run = session(graph, rule)
    tensors = {
        name: torch.tensor(value, requires_grad=name in rule.trained)
        for name, value in graph.values.items()
    }
    chosen = [tensors[name] for name in rule.trained]
    optimizer = torch.optim.SGD(chosen, lr=lr, momentum=rule.momentum)
    weights = {name: graph.values[name].astype(np.float32) for name in rule.trained}
    velocities = {name: np.zeros_like(value) for name, value in weights.items()}
    for _ in range(steps):
        x = rng.normal(size=shape)
        labels = rng.integers(0, graph.shapes[graph.outputs[0]][1], shape[0])
        given = {"x": x, "labels": labels[:, None]} | {f"old:{n}": w for n, w in weights.items()}
        given |= {f"moved:{n}": v for n, v in velocities.items()} if rule.momentum else {}
        found = run.run(None, {name: np.float32(value) for name, value in given.items()})
        weights = dict(zip(rule.trained, found, strict=False))
        if rule.momentum:
            velocities = dict(zip(rule.trained, found[len(weights) :], strict=True))
        optimizer.zero_grad()
        nn.cross_entropy(module(tensors, torch.tensor(x)), torch.tensor(labels)).backward()
        optimizer.step()
        for name in rule.trained:
            wanted = tensors[name].detach().numpy()
            np.testing.assert_allclose(weights[name], wanted, rtol=0, atol=TOLERANCE, err_msg=name)
            if rule.momentum:
                buffer = optimizer.state[tensors[name]]["momentum_buffer"].numpy()
                np.testing.assert_allclose(velocities[name], lr * buffer, rtol=0, atol=TOLERANCE)


def chain(x: Shape, layers: list[tuple[Op, Shape, dict[str, Shape]]], seed: int) -> Graph:
    """Return a graph of operators one after the other, with random parameters."""
    rng, shapes, nodes = np.random.default_rng(seed), {"x": x}, []
    values: dict[str, FloatArray] = {}
    current = "x"
    for number, (op, shape, parameters) in enumerate(layers):
        name = f"n{number}"
        nodes.append(Node(name, name, op, (current, *parameters), name))
        shapes |= {name: shape, **parameters}
        values |= {p: rng.normal(size=size) * 0.5 for p, size in parameters.items()}
        current = name
    return Graph("g", ("x",), (current,), shapes, tuple(nodes), values)


# Heads -----------------------------------------------------------------------------------------


def head_module(head: Head) -> Module:
    def forward(tensors: Mapping[str, Any], x: Any) -> Any:
        for layer in head.layers:
            stem = f"layer{layer.number}"
            value = x @ tensors[f"{stem}.weight"] + tensors[f"{stem}.bias"]
            if layer.down is not None:
                value = value + x @ tensors[f"{stem}.A"] @ tensors[f"{stem}.B"]
            x = value if layer is head.layers[-1] else torch.relu(value)
        return x

    return forward


def filled(graph: Graph, seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=value.shape) * 0.6 for name, value in graph.values.items()}
    return Graph(graph.name, graph.inputs, graph.outputs, graph.shapes, graph.nodes, values)


HEADS = {
    "softmax": lambda rng, m: SoftmaxHead(int(rng.integers(1, 9)), CLASSES, momentum=m),
    "mlp": lambda rng, m: MlpHead((*(int(n) for n in rng.integers(2, 7, 3)), CLASSES), momentum=m),
    "lora": lambda rng, m: LoraHead(
        (5, int(rng.integers(2, 7)), 4, CLASSES), 2, (1, 3), momentum=m
    ),
}


@pytest.mark.parametrize("momentum", [0, 128, 230])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", HEADS)
def test_a_heads_step_is_torchs(kind: str, seed: int, momentum: int) -> None:
    rng = np.random.default_rng(seed)
    head, batch = HEADS[kind](rng, momentum), int(rng.integers(1, 7))
    drawn = head_graph(head, batch)
    rule = StepRule(drawn.trained, 2.0**-3 / batch, drawn.momentum)
    check_against_torch(filled(drawn.graph, seed), rule, head_module(head), 2.0**-3, seed)


def test_frozen_weights_stay_and_need_no_gradient() -> None:
    drawn = head_graph(LoraHead((4, 3, 2), 1, (2,)), 2)
    assert drawn.trained == ("layer2.A", "layer2.B")
    assert set(drawn.frozen) == {f"layer{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}


def test_head_tensors_take_torchs_layout() -> None:
    rng = np.random.default_rng(3)
    layers = [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in pairwise((4, 3, 2))]
    found = head_tensors(MlpHead((4, 3, 2)), layers)
    assert np.array_equal(found["layer2.weight"], layers[1][0].T)
    factors = [(rng.normal(size=(1, 4)), rng.normal(size=(3, 1)))]
    found = head_tensors(LoraHead((4, 3, 2), 1), factors, base=layers)
    assert np.array_equal(found["layer1.A"], factors[0][0].T)
    assert np.array_equal(found["layer1.weight"], layers[0][0].T)
    with pytest.raises(InvalidInput, match=r"layer1.weight: expected shape \(3, 4\), got \(4, 3\)"):
        head_tensors(MlpHead((4, 3, 2)), [(layers[0][0].T, layers[0][1]), layers[1]])
    with pytest.raises(InvalidInput, match="expected a list of 2 pairs"):
        head_tensors(MlpHead((4, 3, 2)), layers[:1])


@pytest.mark.parametrize("option", ["clip", "decay"])
def test_heads_with_other_steps_are_refused(option: str) -> None:
    head = SoftmaxHead(4, 3, **{option: 1 << 16})
    with pytest.raises(InvalidInput, match=option):
        head_graph(head, 2)


# Operators --------------------------------------------------------------------------------------


def conv_case(seed: int) -> tuple[Graph, Module]:
    """Return a small CNN with random strides, paddings and dilations."""
    rng = np.random.default_rng(seed)
    stride, dilation, channels = (int(n) for n in rng.integers(1, 3, 3))
    pads = tuple(int(n) for n in rng.integers(0, 2, 4))
    size = (1 if seed % 2 else 3, 2)
    x: Shape = (2, channels, 7, 6)

    def out(shape: Shape, outputs: int, kernel: tuple[int, int], conv: real.Conv) -> Shape:
        lengths = [
            real.out_size(shape[2 + a], kernel[a], conv.strides[a], conv.pads[a] + conv.pads[a + 2],
                          conv.dilations[a]) for a in (0, 1)
        ]  # fmt: skip
        return (shape[0], outputs, lengths[0], lengths[1])

    first = real.Conv((stride, 1), (pads[0], pads[1], pads[2], pads[3]), (dilation, 1))
    second = real.Conv((1, stride), (1, 0, 1, 0))
    one = out(x, 2, size, first)
    two = out(one, CLASSES, (2, 2), second)
    pool = real.AveragePool((two[2], two[3]), (1, 1))
    flat: Shape = (2, CLASSES)
    graph = chain(
        x,
        [
            (first, one, {"k1": (2, channels, *size), "b1": (2,)}),
            (real.Relu(), one, {}),
            (second, two, {"k2": (CLASSES, 2, 2, 2), "b2": (CLASSES,)}),
            (pool, (2, CLASSES, 1, 1), {}),
            (real.Reshape(), flat, {}),
        ],
        seed,
    )

    def module(tensors: Mapping[str, Any], x: Any) -> Any:
        x = nn.pad(x, (pads[1], pads[3], pads[0], pads[2]))
        x = nn.conv2d(x, tensors["k1"], tensors["b1"], (stride, 1), dilation=(dilation, 1))
        x = nn.conv2d(
            nn.pad(torch.relu(x), (0, 0, 1, 1)), tensors["k2"], tensors["b2"], (1, stride)
        )
        return x.mean((2, 3))

    return graph, module


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_small_cnns_step_is_torchs(seed: int, momentum: float) -> None:
    graph, module = conv_case(seed)
    rule = StepRule(("k1", "b1", "k2", "b2"), 2.0**-4, momentum)
    check_against_torch(graph, rule, module, 2.0**-3, seed)


@pytest.mark.parametrize("include", [False, True])
def test_average_pools_that_overlap_and_are_padded(include: bool) -> None:
    pool = real.AveragePool((3, 2), (2, 1), (1, 0, 1, 0), include)
    graph = chain(
        (2, 1, 5, 4),
        [
            (real.Mul(), (2, 1, 5, 4), {"scale": (1, 1, 5, 4)}),
            (pool, (2, 1, 3, 3), {}),
            (real.Reshape(), (2, 9), {}),
        ],
        5,
    )

    def module(tensors: Mapping[str, Any], x: Any) -> Any:
        x = nn.avg_pool2d(x * tensors["scale"], (3, 2), (2, 1), (1, 0), count_include_pad=include)
        return x.reshape(2, 9)

    check_against_torch(graph, StepRule(("scale",), 0.25), module, 0.5, 5)


def test_attention_and_what_broadcasts() -> None:
    """Transpose, Softmax, Sigmoid, 3-D products, spread additions, a weight that is used twice."""
    rows, width = 4, 3
    nodes = (
        Node("q", "q", real.MatMul(), ("x", "wq"), "q"),
        Node("k", "k", real.MatMul(), ("x", "wk"), "k"),
        Node("kt", "kt", real.Transpose((1, 0)), ("k",), "kt"),
        Node("s", "s", real.MatMul(), ("q", "kt"), "s"),
        Node("m", "m", real.Mul(), ("s", "half"), "m"),
        Node("p", "p", real.Softmax(), ("m",), "p"),
        Node("v", "v", real.MatMul(), ("p", "x"), "v"),
        Node("g", "g", real.Sigmoid(), ("v",), "g"),
        Node("d", "d", real.Add(-1), ("shift", "g"), "d"),
        Node("cube", "cube", real.Reshape(), ("d",), "cube"),
        Node("h", "h", real.MatMul(), ("cube", "wq", "b"), "h"),
        Node("out", "out", real.Reshape(), ("h",), "out"),
        Node("z", "z", real.Add(), ("out", "q"), "z"),
    )
    square: Shape = (rows, width)
    shapes: dict[str, Shape] = {n.output: square for n in nodes} | {"x": square}
    shapes |= {"kt": (width, rows), "s": (rows, rows), "m": (rows, rows), "p": (rows, rows)}
    shapes |= {"cube": (2, 2, width), "h": (2, 2, width), "half": (), "shift": (1, width)}
    shapes |= {"wq": (width, width), "wk": (width, width), "b": (width,)}
    rng = np.random.default_rng(6)
    values = {n: rng.normal(size=shapes[n]) for n in ("wq", "wk", "b", "shift")}
    values["half"] = np.array(0.5)
    graph = Graph("attention", ("x",), ("z",), shapes, nodes, values)

    def module(t: Mapping[str, Any], x: Any) -> Any:
        q = x @ t["wq"]
        p = torch.softmax(0.5 * q @ (x @ t["wk"]).T, -1)
        d = t["shift"] - torch.sigmoid(p @ x)
        return (d.reshape(2, 2, width) @ t["wq"] + t["b"]).reshape(rows, width) + q

    check_against_torch(graph, StepRule(("wq", "wk", "b", "shift"), 2.0**-5), module, 2.0**-3, 6)


def test_labels_become_one_row_each_whatever_they_are() -> None:
    draft = OnnxDraft({"labels": (9, 1)})
    model = draft.model({"y": draft.one_hot("labels", 4)})
    run = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = np.array([0, 1, 2, 3, -5, 99, 1.3, 0.45, 0.55], np.float32)
    (found,) = run.run(None, {"labels": labels[:, None]})
    assert np.array_equal(found, np.eye(4)[[0, 1, 2, 3, 0, 3, 1, 0, 1]])


def test_transposed_tables_are_adjoint() -> None:
    rng = np.random.default_rng(7)
    table = rng.integers(-1, 6, (4, 3))
    forward = np.zeros((4, 7))
    for place, row in enumerate(table):
        for index in row:
            forward[place, index] += 1
    backward = np.zeros((6, 5))
    for element, readers in enumerate(transposed_table(table, 6)):
        for place in readers:
            backward[element, place] += 1
    assert np.array_equal(forward[:, :6].T, backward[:, :4])


# What is refused --------------------------------------------------------------------------------


def linear() -> Graph:
    return chain((2, 4), [(real.MatMul(), (2, 3), {"w": (4, 3), "b": (3,)})], 8)


def test_rules_that_do_not_fit_are_refused() -> None:
    graph = linear()
    with pytest.raises(InvalidInput, match="no parameter 'v'; it has w, b"):
        check_rule(graph, StepRule(("w", "v"), 0.5))
    for trained in ((), ("w", "w")):
        with pytest.raises(InvalidInput, match="each once"):
            check_rule(graph, StepRule(trained, 0.5))
    cube = chain((2, 4, 1), [(real.Mul(), (2, 4, 1), {"w": (1,)})], 8)
    with pytest.raises(InvalidInput, match=r"expected \(batch, classes\)"):
        check_rule(cube, StepRule(("w",), 0.5))
    soft = chain((2, 4), [(real.MatMul(), (2, 3), {"w": (4, 3)}), (real.Softmax(), (2, 3), {})], 8)
    with pytest.raises(InvalidInput, match="logits"):
        check_rule(soft, StepRule(("w",), 0.5))


def test_a_parameter_without_effect_is_refused() -> None:
    nodes = (
        Node("a", "a", real.MatMul(), ("x", "w"), "a"),
        Node("unused", "unused", real.MatMul(), ("x", "u"), "unused"),
    )
    shapes: dict[str, Shape] = {"x": (2, 2), "a": (2, 2), "unused": (2, 2)}
    shapes |= {"w": (2, 2), "u": (2, 2)}
    graph = Graph("g", ("x",), ("a",), shapes, nodes, {n: np.eye(2) for n in ("w", "u")})
    with pytest.raises(InvalidInput, match="does not depend on 'u'"):
        session(graph, StepRule(("w", "u"), 0.5))


def test_grouped_convolutions_are_refused() -> None:
    op = real.Conv(groups=2)
    layers: list[tuple[Op, Shape, dict[str, Shape]]] = [
        (op, (1, 2, 1, 1), {"k": (2, 1, 2, 2)}),
        (real.Reshape(), (1, 2), {}),
    ]
    with pytest.raises(InvalidInput, match="2 groups"):
        session(chain((1, 2, 2, 2), layers, 9), StepRule(("k",), 0.5))


def test_a_drawn_step_is_a_file_that_others_read() -> None:
    """The rate stands at the error: every product behind it is small."""
    draft = OnnxDraft({"x": (2, 4), "y": (2, 3), "w": (4, 3)})
    graph = chain((2, 4), [(real.MatMul(), (2, 3), {"w": (4, 3)})], 8)
    drawn = draw_step(draft, graph, StepRule(trainable(graph), 0.25), "x", "y", {"w": "w"}, {})
    kinds = [node.op_type for node in onnx_nodes(draft.model({"new": drawn.weights["w"]}))]
    assert kinds.index("Reciprocal") < kinds.index("Transpose") < kinds.index("Identity")
    with pytest.raises(InvalidInput, match="Pow"):
        load(draft.model({"new": drawn.weights["w"]}))


def onnx_nodes(data: bytes) -> Any:
    import onnx

    return onnx.load_from_string(data).graph.node


def test_an_onnx_files_cnn_is_trained_like_torchs() -> None:
    """From the file on: weights by the file's names, a Gemm's in torch's own layout turned."""
    rng = np.random.default_rng(10)
    shapes = {"k": (2, 1, 3, 3), "kb": (2,), "w": (3, 8), "b": (3,)}
    stored = {name: rng.normal(size=shape) * 0.5 for name, shape in shapes.items()}
    nodes = [
        onnx_node("Conv", ["x", "k", "kb"], "c", strides=[2, 2], pads=[1, 1, 0, 0]),
        onnx_node("Relu", ["c"], "r"),
        onnx_node("AveragePool", ["r"], "p", kernel_shape=[2, 2], strides=[1, 1]),
        onnx_node("Flatten", ["p"], "f"),
        onnx_node("Gemm", ["f", "w", "b"], "z", transB=1),
    ]
    graph = load(onnx_model(nodes, {"x": [3, 1, 6, 6]}, ["z"], stored).SerializeToString())
    assert trainable(graph) == ("k", "kb", "w", "b")
    assert graph.shapes["w"] == (8, 3)

    def module(tensors: Mapping[str, Any], x: Any) -> Any:
        x = nn.conv2d(nn.pad(x, (1, 0, 1, 0)), tensors["k"], tensors["kb"], 2)
        return nn.avg_pool2d(torch.relu(x), 2, 1).flatten(1) @ tensors["w"] + tensors["b"]

    check_against_torch(graph, StepRule(trainable(graph), 2.0**-3 / 3, 0.25), module, 2.0**-3, 10)
