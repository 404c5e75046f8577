"""inference/1 with the state of a network: the trained MLP answers, and no other weights do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from circuit_forgery import assert_every_hint_forced, challenges_of, forger

from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.commitments import user_commitment
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model import training
from zkai.model.heads import LoraHead, MlpHead
from zkai.model.quant_graph import QuantGraph, QuantNode, QuantTensor, Relu
from zkai.model.quantize import head_graph
from zkai.model.training import HeadState

HEAD = MlpHead((5, 4, 3, 4), input_width=6, weight_width=18, momentum=200)
BOTH = pytest.mark.parametrize("form", [PLAIN, COMMIT])


def state_of(head: MlpHead, seed: int = 0) -> HeadState:
    rng = np.random.default_rng(seed)
    velocity = rng.integers(-99, 99, head.shape) if head.has_velocity else None
    return HeadState(rng.integers(-40000, 40000, head.shape), velocity)


def trained() -> tuple[TrainingStep, dict[str, Any]]:
    rng, state = np.random.default_rng(4), state_of(HEAD)
    names = ("step", "model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")
    values: dict[str, Any] = {name: 7 + i for i, name in enumerate(names)}
    values |= {"weights": state.weights, "velocity": state.velocity, "learning_rate": 9}
    values |= {"x": rng.integers(-16, 17, (3, 5)), "labels": rng.integers(0, 4, 3)}
    return TrainingStep(HEAD, 3), values


def statement(state: HeadState, form: Format = PLAIN, classes: bool = True) -> Inference:
    graph = head_graph(HEAD, state, 2, probabilities=not classes)
    visibility = {"weights": "state", "output": "argmax" if classes else "public"}
    return Inference(graph, visibility, HEAD, form)


def asked(state: HeadState, form: Format, classes: bool) -> tuple[Inference, dict[str, Any]]:
    x = np.random.default_rng(8).integers(-16, 17, (2, 5))
    values = {"input": x, "input_salt": 1, "state_salt": 13, "context": 2, "model": 8, "fork": 9}
    values |= {"user": user_commitment(11), "step": 8, "velocity": state.velocity}
    return statement(state, form, classes), values


@BOTH
@pytest.mark.parametrize("classes", [True, False])
def test_the_trained_network_answers(classes: bool, form: Format) -> None:
    """With the commitment that the training step ended with, and training's own arithmetic."""
    step, given = trained()
    new = step.new_state(given)
    question, values = asked(new, form, classes)
    public = question.public_values(values)
    assert public["state"] == step.public_values(given)["new_state"]
    if classes:
        assert public["output"] == training.predict(HEAD, new, values["input"]).tolist()
    else:
        u = training.logits(HEAD, new.weights, values["input"])
        p = training.softmax(u, HEAD.logit_scale_bits, HEAD.error_scale_bits)
        assert public["output"] == p.ravel().tolist()
    circuit = question.build()
    witness = circuit.solve(question.assign(values), challenge=challenges_of)
    circuit.check(witness)
    flat = [v for value in public.values() for v in (value if isinstance(value, list) else [value])]
    assert from_limbs(circuit.signal_values(witness)) == flat
    # The keys serve every state: the weights are no part of the circuit.
    other = statement(state_of(HEAD, 5), form, classes)
    assert other.build().digest == circuit.digest
    assert other.public_values(values | {"weights": new.weights}) == public


def test_every_hint_is_forced() -> None:
    question, values = asked(state_of(HEAD), PLAIN, classes=True)
    assert_every_hint_forced(question.build(), question.assign(values))


@BOTH
@pytest.mark.parametrize("place", [0, 23, 24, 38, 39, 54])
def test_other_weights_than_the_state_s(place: int, form: Format) -> None:
    """One weight or bias of each layer, changed: the commitment is another state's."""
    question, values = asked(state_of(HEAD), form, classes=True)
    honest = question.public_values(values)["state"]
    weights = state_of(HEAD).weights.copy()
    weights[place] += 1
    circuit = forger(question.build())
    inputs = question.assign(values) | {"head_weights": weights}
    witness = circuit.solve(inputs, challenge=challenges_of)
    signal = [s.name for s in circuit.public].index("state")
    place_of = circuit.signal_wires[sum(s.size for s in circuit.public[:signal])]
    assert from_limbs(witness[place_of : place_of + 1]) != [honest]
    witness[place_of] = question.build().solve(question.assign(values), challenge=challenges_of)[
        place_of
    ]
    with pytest.raises(VerificationError):
        circuit.check(witness)


@BOTH
def test_a_network_after_a_backbone(form: Format) -> None:
    """Parameters and hidden tensors get the head's name before theirs."""
    head = replace(HEAD, momentum=0)
    tensors = [
        QuantTensor("x", (2, 5), 4, 6, "input", True),
        QuantTensor("hidden1", (2, 5), 4, 6, "output", False),
    ]
    relu = QuantNode("relu1", "backbone", Relu(), ("x",), "hidden1", "5")
    backbone = QuantGraph("b", ("x",), ("hidden1",), {t.name: t for t in tensors}, (relu,), {})
    state = state_of(head)
    graph = attach_head(backbone, head, state, probabilities=False)
    names = [f"head.{kind}{n}" for n in (1, 2, 3) for kind in ("weight", "bias")]
    visibility = dict.fromkeys(names, "state") | {"output": "argmax"}
    question = Inference(graph, visibility, head, form)
    values = asked(state_of(HEAD), form, True)[1]
    del values["velocity"]
    circuit, public = question.build(), question.public_values(values)
    rectified = np.maximum(values["input"], 0)
    assert public["output"] == training.predict(head, state, rectified).tolist()
    circuit.check(circuit.solve(question.assign(values), challenge=challenges_of))


def without(graph: QuantGraph, name: str, **changes: Any) -> QuantGraph:
    """The graph with a node changed."""
    nodes = tuple(replace(n, **changes) if n.name == name else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_width": 14}, "output's width is 15"),
        ({"hidden_scale_bits": 7}, "output's scale is 8"),
        ({"weight_width": 17}, "weight's scale and width"),
        ({"input_width": 5}, "the head takes 5"),
        ({"sizes": (5, 4, 4)}, "of 2 layers"),
        ({"sizes": (5, 3, 3, 4)}, "weight's shape"),
    ],
)
def test_a_graph_that_is_not_the_head(change: dict[str, Any], message: str) -> None:
    graph = head_graph(HEAD, state_of(HEAD))
    Inference(graph, {"weights": "state"}, HEAD)
    with pytest.raises(InvalidInput, match=message):
        Inference(graph, {"weights": "state"}, replace(HEAD, **change))


def test_a_graph_without_the_head_s_relu() -> None:
    graph = without(head_graph(HEAD, state_of(HEAD)), "layer2", inputs=("z1", "weight2", "bias2"))
    with pytest.raises(InvalidInput, match="must be the ReLU of 'z1'"):
        Inference(graph, {"weights": "state"}, HEAD)


def test_a_part_of_the_network_is_not_its_state() -> None:
    graph = head_graph(HEAD, state_of(HEAD))
    visibility = {"weights": "constant", "weight1": "state", "bias1": "state"}
    with pytest.raises(InvalidInput, match="exactly the weight and the bias of 3 layers"):
        Inference(graph, visibility, HEAD)


def test_frozen_weights_cannot_stand_in_a_graph() -> None:
    lora = LoraHead((5, 4, 3), 2)
    state = HeadState(np.zeros(lora.shape, np.int64), None, np.zeros(lora.frozen_size, np.int64))
    with pytest.raises(InvalidInput, match="frozen weights cannot stand in a graph"):
        head_graph(lora, state)
    with pytest.raises(InvalidInput, match="frozen weights cannot stand in a graph"):
        Inference(head_graph(HEAD, state_of(HEAD)), {"weights": "state"}, lora)
