"""genesis/1: a fork starts at the base model, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    forger,
)

from zkai.circuit.statements.commitments import model_id, state_commitment, user_commitment
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import HeadState, SoftmaxHead

PLAIN, MOMENTUM = SoftmaxHead(5, 3), SoftmaxHead(5, 3, momentum=230)


def example(head, salt=0):
    weights = np.random.default_rng(3).integers(-60000, 60000, head.shape)
    salts = {"model_salt": salt, "new_salt": 8}
    return {"weights": weights, "fork": 5, "context": 7, "secret": 9, **salts}


@pytest.mark.parametrize("head", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
@pytest.mark.parametrize("salt", [0, 12345])
def test_the_honest_genesis_and_all_of_its_wires(head, salt):
    statement, values = Genesis(head), example(head, salt)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values))
    assert_every_wire_forced(circuit, witness)
    assert_every_hint_forced(circuit, statement.assign(values))
    public = statement.public_values(values)
    assert [s.name for s in circuit.public] == ["model", "new_state", "user", "fork", "context"]
    assert list(public) == [s.name for s in circuit.public]
    assert from_limbs(circuit.public_values(witness)) == list(public.values())


@pytest.mark.parametrize("head", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
def test_the_first_step_starts_where_genesis_ends(head):
    genesis, step = Genesis(head), TrainingStep(head, 2)
    values = example(head)
    public, state = genesis.public_values(values), genesis.new_state(values)
    first = {
        "weights": state.weights,
        "x": np.zeros((2, 5), np.int64),
        "labels": np.zeros(2, np.int64),
        "learning_rate": 1,
        "step": 0,
        "model": public["model"],
        "fork": 5,
        "context": 1,
        "secret": 9,
        "old_salt": 8,
        "new_salt": 10,
        "batch_salt": 11,
    }
    if head.momentum:
        first["velocity"] = state.velocity
        assert not state.velocity.any()
    assert step.public_values(first)["old_state"] == public["new_state"]


def test_a_public_base_model_has_a_recomputable_identity():
    values = example(PLAIN)
    public = Genesis(PLAIN).public_values(values)
    assert public["model"] == model_id(PLAIN, values["weights"])
    assert public["model"] != model_id(PLAIN, values["weights"], salt=1)
    assert public["model"] != model_id(SoftmaxHead(5, 3, momentum=1), values["weights"])


def test_other_weights_that_pack_to_the_same_element():
    """Model and state would both hold: only the range check refuses."""
    statement, values = Genesis(PLAIN), example(PLAIN)
    forged = values["weights"].copy()
    forged[0, 0] += 1 << 20
    forged[0, 1] -= 1
    circuit, public = statement.build(), statement.public_values(values)
    witness = forger(circuit).solve(values | {"weights": forged})
    assert from_limbs(circuit.public_values(witness)) == list(public.values())
    with pytest.raises(VerificationError, match="weights: range"):
        circuit.check(witness)


def test_a_state_with_other_weights_velocity_or_step_than_the_base_model():
    """The state's signal replaced by a commitment to something else."""
    statement, values = Genesis(MOMENTUM), example(MOMENTUM)
    circuit, public = statement.build(), statement.public_values(values)
    names = {"model": public["model"], "fork": 5, "user": user_commitment(9), "salt": 8}
    weights, zero = values["weights"], np.zeros_like(values["weights"])
    honest = HeadState(weights, zero)
    assert public["new_state"] == state_commitment(MOMENTUM, honest, step=0, **names)
    others = [
        state_commitment(MOMENTUM, HeadState(weights + 1, zero), step=0, **names),
        state_commitment(MOMENTUM, HeadState(weights, zero + 1), step=0, **names),
        state_commitment(MOMENTUM, honest, step=1, **names),
        state_commitment(MOMENTUM, honest, step=0, **(names | {"user": user_commitment(10)})),
        state_commitment(MOMENTUM, honest, step=0, **(names | {"fork": 6})),
        state_commitment(MOMENTUM, honest, step=0, **(names | {"model": 1})),
    ]
    for other in others:
        witness = circuit.solve(statement.assign(values))
        witness[2] = to_limbs([other])[0]
        with pytest.raises(VerificationError, match="public"):
            circuit.check(witness)


def test_a_velocity_that_is_not_zero():
    """The packed velocity is constant: forging it, with the hash made to fit, is refused."""
    circuit = Genesis(MOMENTUM).build()
    inputs = Genesis(MOMENTUM).assign(example(MOMENTUM))

    def forge(packed):
        forged = packed.copy()
        forged[0, 0] += np.uint64(1)
        return forged

    assert "pack" in assert_refused(circuit, inputs, {"new state/pack": forge})

    def later(step):
        return step + np.array([[1, 0, 0, 0]], np.uint64)

    labels = [s.label for s in circuit.steps if s.label.startswith("new state/constant")]
    assert len(labels) == 2
    for label in labels:
        assert "constant" in assert_refused(circuit, inputs, {label: later})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.full(PLAIN.shape, 1 << 19)}, "'weights' has a value outside"),
        ({"weights": np.zeros((3, 3), np.int64)}, "'weights' must have shape"),
        ({"model_salt": 0.0}, "model_salt must be an integer"),
        ({"step": 1}, "unknown step"),
    ],
)
def test_unusable_values_are_named(changes, message):
    with pytest.raises(InvalidInput, match=message):
        Genesis(PLAIN).assign(example(PLAIN) | changes)


def test_missing_values_are_named():
    for name in example(PLAIN):
        values = example(PLAIN)
        del values[name]
        with pytest.raises(InvalidInput, match=f"missing {name}"):
            Genesis(PLAIN).assign(values)
