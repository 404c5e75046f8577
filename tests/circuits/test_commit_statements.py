"""Genesis, updates and inferences with a commitment round: as their plain circuits, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    challenges_of,
    forger,
)
from test_inference import HEAD, STATE, branches, cnn, given, quantised

from zkai.circuit.rounds import lint_rounds
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.quantize import head_graph
from zkai.model.training import SoftmaxHead

COMMIT = "groth16-commit"
TWO_SPELLINGS = ("range top",)
"""Steps that spell a value of an interval that is no power of two: some have two spellings."""


def check_all(statement: Statement, values: dict, inputs_forced: bool = True) -> None:
    circuit, inputs = statement.build(), statement.assign(values)
    assert circuit.challenges
    lint_rounds(circuit)
    witness = circuit.solve(inputs, challenge=challenges_of)
    circuit.check(witness)
    public = statement.public_values(values)
    flat = [x for v in public.values() for x in (v if isinstance(v, list) else [v])]
    assert from_limbs(circuit.signal_values(witness)) == flat
    assert_every_wire_forced(circuit, witness, inputs=inputs_forced)


@pytest.mark.parametrize("build", [cnn, branches])
@pytest.mark.parametrize("weights", ["constant", "committed", "public"])
def test_graphs(build, weights) -> None:
    model, inputs = quantised(build())
    statement = Inference(model, {"weights": weights}, format=COMMIT)
    check_all(statement, given(statement, inputs), inputs_forced=weights != "public")
    plain = Inference(model, {"weights": weights})
    assert statement.build().digest != plain.build().digest
    assert statement.describe() == plain.describe() | {"format": COMMIT}


CHOICES = list(
    itertools.product(["public", "committed"], ["public", "argmax"], ["constant", "state"])
)


@pytest.mark.parametrize(("x", "y", "weights"), CHOICES)
def test_visibility(x, y, weights) -> None:
    graph = head_graph(HEAD, STATE, 2, probabilities=y != "argmax")
    head = HEAD if weights == "state" else None
    statement = Inference(graph, {"input": x, "output": y, "weights": weights}, head, COMMIT)
    features = np.random.default_rng(8).integers(-20, 20, (2, 6))
    check_all(statement, given(statement, {"features": features}))


def test_every_hint_of_a_network_is_forced() -> None:
    model, inputs = quantised(branches())
    statement = Inference(model, {"weights": "committed"}, format=COMMIT)
    values = statement.assign(given(statement, inputs))
    assert_every_hint_forced(statement.build(), values, free=TWO_SPELLINGS)


@pytest.mark.parametrize("kind", [Genesis, ApplyAggregate])
def test_states(kind) -> None:
    head = SoftmaxHead(5, 3, input_width=6, rate_shift=9, rate_bits=4)
    statement = kind(head, COMMIT)
    rng = np.random.default_rng(1)
    slots = statement.build().inputs
    values = {name: 3 + i for i, name in enumerate(slots) if not slots[name].computed}
    for name, slot in slots.items():
        if slot.shape == head.shape:
            values[name] = rng.integers(-500, 500, head.shape)
    if "delta" in values:
        values["update"] = values.pop("delta")
    check_all(statement, values)
    assert from_description(statement.describe()) == statement
    assert kind(head).build().digest != statement.build().digest
    assert kind(head) != statement
    forged = statement.assign(values) | {"weights": values["weights"] + (1 << 30)}
    circuit = forger(statement.build())
    with pytest.raises(VerificationError):
        circuit.check(circuit.solve(forged, challenge=challenges_of))


def test_descriptions_name_the_format() -> None:
    statement = TrainingStep(SoftmaxHead(5, 3), 2, format=COMMIT)
    assert from_description(statement.describe()) == statement
    with pytest.raises(InvalidInput, match="format must be"):
        from_description(statement.describe() | {"format": "plonk"})
