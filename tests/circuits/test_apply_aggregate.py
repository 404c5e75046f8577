"""apply_aggregate/1: exactly the public update reaches the state."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    assert_wire_refused,
    forger,
)

from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.commitments import (
    state_commitment,
    update_digest,
    user_commitment,
)
from zkai.encoding import from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import HeadState, SoftmaxHead

PLAIN, MOMENTUM = SoftmaxHead(5, 3), SoftmaxHead(5, 3, momentum=230)
EDGE = 1 << 19


def example(head):
    rng = np.random.default_rng(4)
    values = {
        "weights": rng.integers(-60000, 60000, head.shape),
        "update": rng.integers(-6000, 6000, head.shape),
        "step": 3,
        "model": 11,
        "fork": 5,
        "context": 7,
        "secret": 9,
        "old_salt": 1,
        "new_salt": 2,
    }
    if head.momentum:
        values["velocity"] = rng.integers(-(1 << 41), 1 << 41, head.shape)
    return values


def raw(head, values):
    """The circuit's inputs without any check."""
    inputs = dict(values)
    inputs["delta"] = inputs.pop("update")
    if head.momentum:
        inputs["velocity"] = ApplyAggregate(head).assign(example(head))["velocity"]
    return inputs


@pytest.mark.parametrize("head", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
def test_the_honest_update_and_all_of_its_wires(head):
    statement, values = ApplyAggregate(head), example(head)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values))
    assert_every_wire_forced(circuit, witness)
    assert_every_hint_forced(circuit, statement.assign(values))
    public = statement.public_values(values)
    assert list(public) == [s.name for s in circuit.public]
    assert list(public) == [
        "old_state",
        "new_state",
        "update",
        "user",
        "model",
        "fork",
        "step",
        "context",
    ]
    assert from_limbs(circuit.public_values(witness)) == list(public.values())
    names = {"model": 11, "fork": 5, "user": user_commitment(9)}
    new = HeadState(values["weights"] + values["update"], values.get("velocity"))
    assert public["new_state"] == state_commitment(head, new, step=4, salt=2, **names)
    assert public["update"] == update_digest(head, values["update"])


def test_the_update_is_unsalted():
    """Anyone who has the aggregate recomputes its digest."""
    one, two = example(PLAIN), example(PLAIN) | {"secret": 1, "old_salt": 5, "new_salt": 6}
    statement = ApplyAggregate(PLAIN)
    assert statement.public_values(one)["update"] == statement.public_values(two)["update"]


@pytest.mark.parametrize("change", [1, -1, 1 << 20, -(1 << 20)])
def test_another_update_than_the_named_one(change):
    statement = ApplyAggregate(PLAIN)
    circuit, values = statement.build(), example(PLAIN)
    witness = circuit.solve(statement.assign(values))
    delta = circuit.inputs["delta"].wires[0]
    assert_wire_refused(circuit, witness, {delta: int(values["update"][0, 0]) + change})
    other = np.clip(values["update"] + change, -(1 << 18), 1 << 18)
    witness = circuit.solve(statement.assign(values | {"update": other}))
    assert_wire_refused(circuit, witness, {3: statement.public_values(values)["update"]})


@pytest.mark.parametrize(
    ("weight", "update"),
    [(EDGE - 1, 1), (-EDGE, -1), (0, EDGE), (EDGE, -1), (-EDGE - 1, 5), (0, 1 << 40)],
)
def test_weights_that_leave_their_width(weight, update):
    values = example(PLAIN)
    values["weights"][2, 1], values["update"][2, 1] = weight, update
    circuit = ApplyAggregate(PLAIN).build()
    with pytest.raises(InvalidInput, match="weights"):
        circuit.solve(raw(PLAIN, values))
    with pytest.raises(VerificationError, match="weights"):
        circuit.check(forger(circuit).solve(raw(PLAIN, values)))


@pytest.mark.parametrize(("weight", "update"), [(EDGE - 1, 1 - 2 * EDGE), (-EDGE, 2 * EDGE - 1)])
def test_the_largest_updates_fit(weight, update):
    statement, values = ApplyAggregate(PLAIN), example(PLAIN)
    values["weights"][2, 1], values["update"][2, 1] = weight, update
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values))
    circuit.check(witness)
    assert from_limbs(circuit.public_values(witness)) == list(
        statement.public_values(values).values()
    )


@pytest.mark.parametrize("name", ["weights", "delta"])
def test_tensors_that_pack_to_the_same_element(name):
    values = raw(PLAIN, example(PLAIN))
    bits = 20 if name == "weights" else 21
    forged = values[name].copy()
    forged[0, 0] += 1 << bits
    forged[0, 1] -= 1
    circuit = ApplyAggregate(PLAIN).build()
    with pytest.raises(VerificationError, match="weights: range"):
        circuit.check(forger(circuit).solve(values | {name: forged}))


def test_the_velocity_is_carried_over():
    """A forged velocity in the new state alone cannot be: both states read the same wires."""
    statement, values = ApplyAggregate(MOMENTUM), example(MOMENTUM)
    circuit, public = statement.build(), statement.public_values(values)
    names = {"model": 11, "fork": 5, "user": user_commitment(9)}
    zeroed = HeadState(values["weights"] + values["update"], np.zeros(MOMENTUM.shape, np.int64))
    forged = state_commitment(MOMENTUM, zeroed, step=4, salt=2, **names)
    assert forged != public["new_state"]
    witness = circuit.solve(statement.assign(values))
    witness[2] = to_limbs([forged])[0]
    with pytest.raises(VerificationError, match="public"):
        circuit.check(witness)


@pytest.mark.parametrize("step", [-1, 1 << 32])
def test_step_numbers_out_of_bounds(step):
    circuit = ApplyAggregate(PLAIN).build()
    with pytest.raises(VerificationError, match="step number"):
        circuit.check(forger(circuit).solve(raw(PLAIN, example(PLAIN)) | {"step": step}))


def test_new_weights_other_than_the_sum():
    """The packed new weights forged, with the state's hash made to fit."""

    def forge(packed):
        forged = packed.copy()
        forged[0, 0] += np.uint64(1)
        return forged

    circuit = ApplyAggregate(PLAIN).build()
    inputs = ApplyAggregate(PLAIN).assign(example(PLAIN))
    for label in ("old state/pack", "new state/pack", "update/pack"):
        assert "pack" in assert_refused(circuit, inputs, {label: forge})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"update": np.full(PLAIN.shape, 1 << 20)}, "'update' has a value outside"),
        ({"update": np.zeros(PLAIN.shape)}, "'update' must hold integers"),
        ({"step": (1 << 32) - 1}, "step must be in"),
        ({"velocity": np.zeros(PLAIN.shape, np.int64)}, "unknown velocity"),
    ],
)
def test_unusable_values_are_named(changes, message):
    with pytest.raises(InvalidInput, match=message):
        ApplyAggregate(PLAIN).assign(example(PLAIN) | changes)


def test_missing_values_are_named():
    for name in example(MOMENTUM):
        values = example(MOMENTUM)
        del values[name]
        with pytest.raises(InvalidInput, match=f"missing {name}"):
            ApplyAggregate(MOMENTUM).assign(values)
