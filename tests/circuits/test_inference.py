"""inference/1: the circuit is the integer forward, under every choice of who sees what."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    assert_wire_refused,
    forger,
)

from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.commitments import (
    model_id,
    state_commitment,
    tensor_commitment,
    user_commitment,
)
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, canonical_json, from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig
from zkai.model.quant_graph import QuantGraph
from zkai.model.quantize import forward, head_graph, quantize, quantize_inputs
from zkai.model.training import HeadState, SoftmaxHead, logits, predict

HEAD = SoftmaxHead(6, 4, input_width=7)
STATE = HeadState(np.random.default_rng(5).integers(-60000, 60000, HEAD.shape))


def real_graph(name, shapes, nodes, values, inputs=("x",), outputs=("y",)):
    made = tuple(real.Node(n[0], n[0], n[1], n[2], n[3]) for n in nodes)
    return real.Graph(name, inputs, outputs, shapes, made, values)


def cnn():
    """Conv, ReLU, padded average pool, Conv in groups, sigmoid, dense, softmax."""
    rng = np.random.default_rng(6)
    shapes = {
        "x": (1, 2, 4, 5),
        "w1": (4, 2, 3, 3),
        "b1": (4,),
        "c1": (1, 4, 4, 5),
        "r1": (1, 4, 4, 5),
        "p1": (1, 4, 2, 3),
        "w2": (4, 2, 2, 2),
        "c2": (1, 4, 1, 2),
        "s2": (1, 4, 1, 2),
        "flat": (1, 8),
        "w3": (8, 3),
        "b3": (3,),
        "z": (1, 3),
        "y": (1, 3),
    }
    nodes = [
        ("conv1", real.Conv(pads=(1, 1, 1, 1)), ("x", "w1", "b1"), "c1"),
        ("relu1", real.Relu(), ("c1",), "r1"),
        ("pool1", real.AveragePool((2, 2), (2, 2), (0, 0, 0, 1)), ("r1",), "p1"),
        ("conv2", real.Conv(groups=2), ("p1", "w2"), "c2"),
        ("sigmoid2", real.Sigmoid(), ("c2",), "s2"),
        ("flatten", real.Reshape(), ("s2",), "flat"),
        ("dense3", real.MatMul(), ("flat", "w3", "b3"), "z"),
        ("softmax3", real.Softmax(), ("z",), "y"),
    ]
    values = {n: rng.normal(0, 0.5, shapes[n]) for n in ("w1", "b1", "w2", "w3", "b3")}
    return real_graph("cnn", shapes, nodes, values)


def branches():
    """Two inputs, two outputs, a product of computed tensors, a difference, a constant factor."""
    rng = np.random.default_rng(7)
    shapes = {
        "a": (3, 4),
        "b": (3, 4),
        "w": (4, 4),
        "c": (4,),
        "ab": (3, 3),
        "bt": (4, 3),
        "aw": (3, 4),
        "diff": (3, 4),
        "scaled": (3, 4),
        "y": (3, 4),
    }
    nodes = [
        ("transpose", real.Transpose((1, 0)), ("b",), "bt"),
        ("gram", real.MatMul(), ("a", "bt"), "ab"),
        ("dense", real.MatMul(), ("a", "w"), "aw"),
        ("minus", real.Add(-1), ("aw", "b"), "diff"),
        ("times", real.Mul(), ("diff", "c"), "scaled"),
        ("relu", real.Relu(), ("scaled",), "y"),
    ]
    values = {"w": rng.normal(0, 1, (4, 4)), "c": rng.normal(0, 1, 4)}
    return real_graph("branches", shapes, nodes, values, ("a", "b"), ("ab", "y"))


def quantised(graph, seed=0):
    rng = np.random.default_rng(seed)
    samples = {n: rng.normal(0, 1, (16, *graph.shapes[n])) for n in graph.inputs}
    model = quantize(graph, samples, QuantConfig(activation_bits=8, weight_bits=8))
    inputs = quantize_inputs(model, {n: v[0] for n, v in samples.items()})
    return model, {n: v[0] for n, v in inputs.items()}


def given(statement, inputs):
    names = {n: "input" if len(inputs) == 1 else f"input.{n}" for n in inputs}
    values = {names[n]: v for n, v in inputs.items()} | {"context": 99}
    values |= {name: 1000 + i for i, name in enumerate(statement.salts)}
    if statement.head is not None:
        values |= {"user": user_commitment(3), "model": 4, "fork": 5, "step": 6}
        if statement.head.momentum:
            values["velocity"] = np.arange(statement.head.classes * (statement.head.features + 1))
            values["velocity"] = values["velocity"].reshape(statement.head.shape)
    return values


def check_all(statement, values, hints=True):
    circuit, inputs = statement.build(), statement.assign(values)
    witness = circuit.solve(inputs)
    # A public weight that meets only zeros may be another: the statement is as true with it.
    public_weights = any("weights." in s.name for s in circuit.public)
    assert_every_wire_forced(circuit, witness, inputs=not public_weights)
    if hints:
        assert_every_hint_forced(circuit, inputs)
    public = statement.public_values(values)
    assert list(public) == [s.name for s in circuit.public]
    flat = [x for v in public.values() for x in (v if isinstance(v, list) else [v])]
    assert from_limbs(circuit.public_values(witness)) == flat
    return public


@pytest.mark.parametrize("build", [cnn, branches])
@pytest.mark.parametrize("weights", ["constant", "committed", "public"])
def test_graphs(build, weights):
    model, inputs = quantised(build())
    statement = Inference(model, {"weights": weights})
    public = check_all(statement, given(statement, inputs), hints=weights == "committed")
    expected = forward(model, inputs)
    for name in model.outputs:
        signal = "output" if len(model.outputs) == 1 else f"output.{name}"
        assert public[signal] == [int(v) % FIELD_MODULUS for v in expected[name][0].ravel()]


def test_linear_layers_with_constant_weights_cost_only_their_rounding():
    model, _ = quantised(cnn())
    counts = Inference(model).build().counts()
    assert not [rule for rule in counts if "matmul" in rule]


CHOICES = list(
    itertools.product(
        ["public", "committed"],
        ["public", "committed", "argmax"],
        ["constant", "committed", "state"],
    )
)


@pytest.mark.parametrize(("x", "y", "weights"), CHOICES)
def test_visibility(x, y, weights):
    graph = head_graph(HEAD, STATE, 2, probabilities=y != "argmax")
    head = HEAD if weights == "state" else None
    statement = Inference(graph, {"input": x, "output": y, "weights": weights}, head)
    assert isinstance(statement, Statement)
    features = np.random.default_rng(8).integers(-20, 20, (2, 6))
    values = given(statement, {"features": features})
    public = check_all(statement, values)
    names = ["input", "output"]
    names += {"constant": [], "committed": ["weights"]}.get(
        weights, ["state", "user", "model", "fork", "step"]
    )
    assert list(public) == [*names, "context"]
    if x == "committed":
        pair = [(features, HEAD.input_width)]
        assert public["input"] == tensor_commitment(pair, values["input_salt"])
    if y == "argmax":
        assert public["output"] == predict(HEAD, STATE, features).tolist()


@pytest.mark.parametrize("momentum", [0, 200])
def test_a_trained_head_answers_with_the_state_that_training_committed_to(momentum):
    head = SoftmaxHead(6, 4, input_width=7, momentum=momentum)
    rng = np.random.default_rng(9)
    step = TrainingStep(head, 3)
    training = {
        "weights": STATE.weights,
        "x": rng.integers(-20, 20, (3, 6)),
        "labels": rng.integers(0, 4, 3),
        "learning_rate": 9,
        "step": 5,
        "model": 4,
        "fork": 5,
        "context": 1,
        "secret": 3,
        "old_salt": 6,
        "new_salt": 7,
        "batch_salt": 8,
    }
    if momentum:
        training["velocity"] = rng.integers(-99, 99, head.shape)
    new = step.new_state(training)
    graph = head_graph(head, new, 1, probabilities=False)
    statement = Inference(graph, {"weights": "state", "output": "argmax"}, head)
    x = rng.integers(-20, 20, (1, 6))
    values = {"input": x, "input_salt": 1, "state_salt": 7, "context": 2}
    values |= {"user": user_commitment(3), "model": 4, "fork": 5, "step": 6}
    if momentum:
        values["velocity"] = new.velocity
    public = check_all(statement, values)
    assert public["state"] == step.public_values(training)["new_state"]
    assert public["output"] == int(predict(head, new, x)[0])
    # The keys serve every state: the weights are no part of the circuit.
    unlike = HeadState(STATE.weights, np.zeros_like(STATE.weights) if momentum else None)
    other = Inference(head_graph(head, unlike, 1, False), statement.visibility, head)
    assert other.build().digest == statement.build().digest
    assert other.public_values(values | {"weights": new.weights}) == public


def backbone():
    rng = np.random.default_rng(10)
    shapes = {"x": (2, 5), "w": (5, 6), "b": (6,), "h": (2, 6), "r": (2, 6)}
    nodes = [
        ("dense", real.MatMul(), ("x", "w", "b"), "h"),
        ("relu", real.Relu(), ("h",), "r"),
    ]
    values = {"w": rng.normal(0, 0.3, (5, 6)), "b": rng.normal(0, 0.3, 6)}
    graph = real_graph("backbone", shapes, nodes, values, outputs=("r",))
    samples = rng.normal(0, 0.5, (8, 2, 5))
    config = QuantConfig(activation_bits=6, weight_bits=8, scale_bits={"h": 4})
    model = quantize(graph, samples, config)
    return model, quantize_inputs(model, samples[0])["x"][0]


def test_a_constant_backbone_before_a_private_head():
    features, x = backbone()
    head = replace(HEAD, input_width=features.tensors["r"].width)
    graph = attach_head(features, head, STATE, probabilities=False)
    statement = Inference(
        graph, {"head.weight": "state", "head.bias": "state", "output": "argmax"}, head
    )
    public = check_all(statement, given(statement, {"x": x}))
    inner = forward(features, {"x": x})["r"][0]
    u = logits(head, STATE.weights, inner)
    assert public["output"] == u.argmax(1).tolist()
    names = {"model": 4, "fork": 5, "step": 6, "user": user_commitment(3)}
    salt = given(statement, {"x": x})["state_salt"]
    assert public["state"] == state_commitment(head, STATE, salt=salt, **names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 7}, "takes \\(rows, 7\\)"),
        ({"input_scale_bits": 5}, "at scale 5"),
        ({"input_width": 5}, "the head takes 5"),
    ],
)
def test_heads_that_do_not_fit_a_backbone(changes, message):
    features, _ = backbone()
    head = replace(HEAD, input_width=20, **changes) if "input_width" not in changes else None
    head = head or replace(HEAD, **changes)
    state = HeadState(np.zeros(head.shape, np.int64))
    with pytest.raises(InvalidInput, match=message):
        attach_head(features, head, state)


# Forgeries --------------------------------------------------------------------------------------


def head_statement(**visibility):
    graph = head_graph(HEAD, STATE, 2, probabilities=False)
    head = HEAD if visibility.get("weights") == "state" else None
    statement = Inference(graph, visibility, head)
    x = np.random.default_rng(8).integers(-20, 20, (2, 6))
    return statement, given(statement, {"features": x})


@pytest.mark.parametrize("place", range(8))
def test_another_output(place):
    statement, values = head_statement()
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values))
    outputs = statement.public_values(values)["output"]
    assert_wire_refused(circuit, witness, {2 + place: outputs[place] + 1})


@pytest.mark.parametrize("weights", ["committed", "state"])
@pytest.mark.parametrize("name", ["weights", "input"])
def test_tensors_that_pack_to_the_same_element(name, weights):
    statement, values = head_statement(weights=weights)
    circuit, inputs = statement.build(), statement.assign(values)
    slot = "input_values" if name == "input" else "parameter.weight"
    if name == "weights" and weights == "state":
        slot = "head_weights"
    forged = inputs[slot].copy()
    forged[0, 0] += 1 << (HEAD.input_width if name == "input" else HEAD.weight_width)
    forged[0, 1] -= 1
    honest = circuit.solve(inputs)
    witness = forger(circuit).solve(inputs | {slot: forged})
    signal = {"input": "input", "committed": "weights", "state": "state"}
    index = [s.name for s in circuit.public].index(signal["input" if name == "input" else weights])
    place = 1 + sum(s.size for s in circuit.public[:index])
    assert (witness[place] == honest[place]).all()
    with pytest.raises(VerificationError, match="range"):
        circuit.check(witness)


@pytest.mark.parametrize("signal", ["state", "user", "model", "fork", "step", "input", "context"])
def test_signals_of_another_state_or_input(signal):
    statement, values = head_statement(weights="state")
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values))
    index = [s.name for s in circuit.public].index(signal)
    place = 1 + sum(s.size for s in circuit.public[:index])
    for forged in (0, 12345, FIELD_MODULUS - 1):
        assert_wire_refused(circuit, witness, {place: forged})


@pytest.mark.parametrize("value", [64, -65, 1 << 40])
@pytest.mark.parametrize("x", ["public", "committed"])
def test_inputs_out_of_width(x, value):
    statement, values = head_statement(input=x)
    circuit, inputs = statement.build(), statement.assign(values)
    slot = "input" if x == "public" else "input_values"
    forged = inputs[slot].copy()
    forged[1, 2] = value
    with pytest.raises(InvalidInput, match="'features'"):
        circuit.solve(inputs | {slot: forged})
    with pytest.raises(VerificationError, match="features"):
        circuit.check(forger(circuit).solve(inputs | {slot: forged}))
    with pytest.raises(InvalidInput, match="'input' has a value outside"):
        statement.assign(values | {"input": forged})


def test_a_class_that_is_not_the_argmax():
    statement, values = head_statement(output="argmax")
    circuit, inputs = statement.build(), statement.assign(values)
    label = next(s.label for s in circuit.steps if s.label.endswith("selected"))
    for forged in ([[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1]]):
        honest = statement.public_values(values)["output"]
        rows = np.array(forged)
        index = rows @ np.arange(1, 4)
        if (index == honest).all():
            continue
        assert_refused(circuit, inputs, {label: lambda _, r=rows: r})


def test_a_rectified_value_or_its_sign():
    model, inputs = quantised(cnn())
    statement = Inference(model)
    circuit = statement.build()
    values = statement.assign(given(statement, inputs))
    for label in ("conv1/quotient", "relu1/relu", "pool1/quotient", "softmax3/maximum"):
        for by in (1, -1):
            assert_refused(circuit, values, {label: lambda out, by=by: np.ravel(out) + by})


# Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visibility", "head", "message"),
    [
        ({"inputs": "public"}, None, "unknown tensor 'inputs'"),
        ({"input": "constant"}, None, "input cannot be 'constant'"),
        ({"output": "constant"}, None, "output cannot be"),
        ({"weights": "argmax"}, None, "weights cannot be 'argmax'"),
        ({"weights": "state"}, None, "come together"),
        ({}, HEAD, "come together"),
        ({"weight": "state"}, HEAD, "exactly the weight and the bias"),
        ({"weights": "state"}, SoftmaxHead(6, 4), "is not the head|has 7 bits"),
        ({"weights": "state"}, replace(HEAD, weight_width=21), "scale and width"),
        ({"weights": "state"}, replace(HEAD, input_scale_bits=5), "input's scale"),
        ({"weights": "state"}, replace(HEAD, input_width=6), "has 7 bits"),
        ({"weights": "state"}, replace(HEAD, logit_scale_bits=9), "shift|scale"),
        ({"weights": "state"}, SoftmaxHead(5, 4, input_width=7), "weight's shape"),
    ],
)
def test_unusable_statements(visibility, head, message):
    graph = head_graph(HEAD, STATE, 2)
    if head == SoftmaxHead(6, 4):
        Inference(graph, visibility, head)  # a wider input is fine
        return
    with pytest.raises(InvalidInput, match=message):
        Inference(graph, visibility, head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": np.zeros((2, 5), np.int64)}, "'input' must have shape"),
        ({"input": np.zeros((2, 6))}, "'input' must hold integers"),
        ({"input": np.full((2, 6), np.nan)}, "'input' holds NaN"),
        ({"input": np.full((2, 6), 64)}, "'input' has a value outside"),
        ({"input_salt": FIELD_MODULUS}, "input_salt must be in"),
        ({"output_salt": 1}, "unknown output_salt"),
        ({"step": -1}, "step must be in"),
        ({"weights": STATE.weights[1:]}, "'weights' must have shape"),
        ({"weights": STATE.weights << 10}, "'weights' has a value outside"),
        ({"velocity": STATE.weights}, "unknown velocity"),
    ],
)
def test_unusable_values_are_named(changes, message):
    statement, values = head_statement(weights="state")
    with pytest.raises(InvalidInput, match=message):
        statement.assign(values | changes)


def test_missing_values_are_named():
    statement, values = head_statement(weights="state")
    for name in values:
        with pytest.raises(InvalidInput, match=f"missing {name}"):
            statement.assign({k: v for k, v in values.items() if k != name})


def test_an_overflow_inside_names_its_tensor():
    model, inputs = quantised(branches())
    statement = Inference(model)
    top = {n: (1 << (model.tensors[n].width - 1)) - 1 for n in inputs}
    extreme = {n: np.full_like(v, top[n]) for n, v in inputs.items()}
    extreme["b"] = -extreme["b"]
    circuit, assigned = statement.build(), statement.assign(given(statement, extreme))
    with pytest.raises(InvalidInput, match=r"tensor '(ab|aw|diff|scaled)'"):
        circuit.solve(assigned)
    with pytest.raises(VerificationError):
        circuit.check(forger(circuit).solve(assigned))


def test_a_statement_describes_its_constants_but_nothing_committed():
    def text(weights, state=STATE):
        graph = head_graph(HEAD, state, 2)
        return canonical_json(Inference(graph, {"weights": weights}).describe())

    other = HeadState(STATE.weights + 1)
    assert text("constant") != text("constant", other)
    assert text("committed") == text("committed", other)
    assert text("committed") != text("constant")


def test_model_identity_is_no_graph_matter():
    """`model` is what the state says; the graph's own name changes no digest."""
    graph = head_graph(HEAD, STATE, 2)
    renamed = QuantGraph(
        "other", graph.inputs, graph.outputs, graph.tensors, graph.nodes, graph.values
    )
    assert Inference(graph).build().digest == Inference(renamed).build().digest
    assert model_id(HEAD, STATE.weights) == model_id(HEAD, STATE.weights.copy())
