"""training_step/1: the honest step passes; everything a trainer may try does not."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    forger,
)

from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.commitments import (
    batch_commitment,
    model_id,
    state_commitment,
    user_commitment,
)
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, canonical_json, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import HeadState, SoftmaxHead, sgd_step

PLAIN = SoftmaxHead(5, 3, input_width=6, rate_shift=9, rate_bits=4)
MOMENTUM = SoftmaxHead(4, 3, input_width=6, rate_shift=9, rate_bits=4, momentum=230)
STATEMENTS = [TrainingStep(PLAIN, 4), TrainingStep(MOMENTUM, 2), TrainingStep(MOMENTUM, 2, 3)]


def example(statement, seed=0):
    rng = np.random.default_rng(seed)
    head, rows = statement.head, statement.batch * statement.steps
    values = {
        "weights": rng.integers(-60000, 60000, head.shape),
        "x": rng.integers(-16, 17, (rows, head.features)),
        "labels": rng.integers(0, head.classes, rows),
        "learning_rate": 3,
        "step": 7,
        "model": model_id(head, np.zeros(head.shape, np.int64)),
        "fork": 5,
        "context": 777,
        "secret": 42,
        "old_salt": 1,
        "new_salt": 2,
        "batch_salt": 3,
    }
    if head.momentum:
        values["velocity"] = rng.integers(-3000, 3000, head.shape)
    return values


def solve(statement, values):
    """Solve without `assign`: the circuit alone has to refuse."""
    return forger(statement.build()).solve(values)


def refused(statement, changes, rule=""):
    values = example(statement) | changes
    with pytest.raises(VerificationError) as caught:
        statement.build().check(solve(statement, values))
    assert rule in str(caught.value)


@pytest.mark.parametrize("statement", STATEMENTS, ids=["plain", "momentum", "three steps"])
def test_the_honest_step_and_all_of_its_wires(statement):
    values, circuit = example(statement), statement.build()
    witness = circuit.solve(statement.assign(values))
    circuit.check(witness)
    expected = statement.public_values(values)
    assert [s.name for s in circuit.public] == list(expected)
    assert from_limbs(circuit.public_values(witness)) == list(expected.values())
    assert_every_wire_forced(circuit, witness)


@pytest.mark.parametrize("statement", STATEMENTS, ids=["plain", "momentum", "three steps"])
def test_every_hint_is_forced(statement):
    assert_every_hint_forced(statement.build(), statement.assign(example(statement)))


def test_public_signals_in_order():
    names = [s.name for s in STATEMENTS[0].build().public]
    assert names == [
        "old_state",
        "new_state",
        "batch",
        "user",
        "model",
        "fork",
        "step",
        "learning_rate",
        "context",
    ]


def test_signals_are_the_commitments_of_what_they_name():
    statement, head = STATEMENTS[1], MOMENTUM
    values = example(statement)
    public = statement.public_values(values)
    names = {"model": values["model"], "fork": 5, "user": user_commitment(42)}
    old = HeadState(values["weights"], values["velocity"])
    new = sgd_step(head, old, values["x"], values["labels"], 3)
    assert public["old_state"] == state_commitment(head, old, step=7, salt=1, **names)
    assert public["new_state"] == state_commitment(head, new, step=8, salt=2, **names)
    assert public["batch"] == batch_commitment(head, values["x"], values["labels"], 3)


def test_steps_chain():
    """The new state of one proof is the old state of the next; two in one proof say the same."""
    head, rng = MOMENTUM, np.random.default_rng(9)
    single, double = TrainingStep(head, 2), TrainingStep(head, 2, 2)
    both = example(double)
    first = both | {"x": both["x"][:2], "labels": both["labels"][:2]}
    state = single.new_state(first)
    second = first | {
        "weights": state.weights,
        "velocity": state.velocity,
        "x": both["x"][2:],
        "labels": both["labels"][2:],
        "step": 8,
        "old_salt": 2,
        "new_salt": int(rng.integers(1 << 60)),
    }
    one, two = single.public_values(first), single.public_values(second)
    assert one["new_state"] == two["old_state"]
    together = double.public_values(both | {"new_salt": second["new_salt"]})
    assert together["new_state"] == two["new_state"]
    assert together["old_state"] == one["old_state"]


@pytest.mark.parametrize("name", ["step", "fork", "model", "secret"])
def test_a_state_of_another_step_fork_model_or_user_is_another_state(name):
    """A skipped step or a foreign state cannot continue a chain: its commitment differs."""
    for statement in STATEMENTS[:2]:
        values = example(statement)
        here = statement.public_values(values)
        there = statement.public_values(values | {name: values[name] + 1})
        assert here["old_state"] != there["old_state"]
        assert here["new_state"] != there["new_state"]


# What a trainer may try -------------------------------------------------------------------------


def test_other_weights_that_pack_to_the_same_element():
    """(w0 + 2**20, w1 - 1) packs as (w0, w1): only the range check of the old weights refuses."""
    values = example(STATEMENTS[0])
    weights = values["weights"].copy()
    weights[0, 0] += 1 << 20
    weights[0, 1] -= 1
    honest = STATEMENTS[0].public_values(values)["old_state"]
    witness = solve(STATEMENTS[0], values | {"weights": weights})
    circuit = STATEMENTS[0].build()
    assert from_limbs(circuit.public_values(witness))[0] == honest
    with pytest.raises(VerificationError, match="old weights"):
        circuit.check(witness)


def test_inputs_and_velocity_that_pack_to_the_same_element():
    statement = STATEMENTS[1]
    for name, bits, signal, node in (
        ("x", 6, "batch", "inputs"),
        ("velocity", 42, "old_state", "old velocity"),
    ):
        values = example(statement)
        forged = values[name].copy()
        forged[0, 0] += 1 << bits
        forged[0, 1] -= 1
        honest = statement.public_values(values)[signal]
        circuit = statement.build()
        witness = solve(statement, values | {name: forged})
        place = [s.name for s in circuit.public].index(signal)
        assert from_limbs(circuit.public_values(witness))[place] == honest
        with pytest.raises(VerificationError, match=node):
            circuit.check(witness)


@pytest.mark.parametrize("signal", ["old_state", "new_state", "batch", "user"])
def test_signals_of_another_opening(signal):
    """Another state, batch or user in the public signal than the one that was used."""
    statement = STATEMENTS[1]
    circuit = statement.build()
    other = statement.public_values(example(statement, seed=1) | {"secret": 43})[signal]
    place = [s.name for s in circuit.public].index(signal)
    witness = circuit.solve(statement.assign(example(statement)))
    witness[1 + place] = to_limbs([other])[0]
    with pytest.raises(VerificationError, match="public"):
        circuit.check(witness)


@pytest.mark.parametrize("name", ["model", "fork", "step", "learning_rate", "context"])
def test_free_signals_are_bound(name):
    """Changing a signal alone breaks the proof: nothing public floats."""
    statement = STATEMENTS[1]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement)))
    place = 1 + [s.name for s in circuit.public].index(name)
    witness[place, 0] += np.uint64(1)
    with pytest.raises(VerificationError):
        circuit.check(witness)


@pytest.mark.parametrize("rate", [0, -1, 16, 1 << 40, -(1 << 40)])
def test_learning_rates_out_of_bounds(rate):
    for statement in STATEMENTS[:2]:
        refused(statement, {"learning_rate": rate}, "learning rate")


@pytest.mark.parametrize("step", [-1, 1 << 32, 1 << 60])
def test_step_numbers_out_of_bounds(step):
    refused(STATEMENTS[0], {"step": step}, "step number")


def test_weights_inputs_and_velocity_out_of_width():
    for name, width in (("weights", 20), ("x", 6), ("velocity", MOMENTUM.widths(2)["v"])):
        for value in (1 << (width - 1), -(1 << (width - 1)) - 1, 1 << 60):
            forged = example(STATEMENTS[1])[name].copy()
            forged[1, 1] = value
            refused(STATEMENTS[1], {name: forged}, "range")


@pytest.mark.parametrize("label", [3, -1, 255, 1 << 40])
def test_labels_that_are_no_class(label):
    labels = example(STATEMENTS[0])["labels"]
    labels[2] = label
    refused(STATEMENTS[0], {"labels": labels}, "label")


@pytest.mark.parametrize("row", [[2, -1], [1, 1], [-1, 0], [5, 7]])
def test_one_hot_rows_that_are_no_booleans(row):
    """[0, 2, -1] sums to 1 and has the index 0: booleans are what it lacks."""
    statement = STATEMENTS[0]
    values = example(statement) | {"labels": np.array([0, 1, 2, 0])}

    def forge(hot):
        forged = hot.reshape(4, 2).copy()
        forged[0] = row
        return forged

    message = assert_refused(statement.build(), values, {"labels/one-hot": forge})
    assert "labels" in message


def test_label_of_another_class_than_committed():
    statement = STATEMENTS[0]
    values = example(statement) | {"labels": np.array([0, 1, 2, 0])}

    def forge(hot):
        return hot.reshape(4, 2)[::-1]

    assert "label" in assert_refused(statement.build(), values, {"labels/one-hot": forge})


@pytest.mark.parametrize("change", [1, -1, 1000, -(1 << 18)])
def test_an_update_other_than_the_computed_one(change):
    """New weights that the forger likes better, with their commitment made to fit."""

    def forge(weights):
        forged = np.array(weights).copy()
        forged[3] += change
        return forged

    for statement, node in ((STATEMENTS[0], "step"), (STATEMENTS[2], "step 2")):
        label = f"{node}/update/quotient"
        assert node in assert_refused(statement.build(), example(statement), {label: forge})


def test_a_step_that_changes_nothing():
    """Claiming the old weights as the new ones."""
    values = example(STATEMENTS[0])
    tamper = {"step/update/quotient": lambda _: values["weights"].ravel()}
    assert_refused(STATEMENTS[0].build(), values, tamper)


def test_a_velocity_other_than_the_computed_one():
    def forge(v):
        return np.zeros_like(v)

    message = assert_refused(
        STATEMENTS[1].build(), example(STATEMENTS[1]), {"step/velocity/quotient": forge}
    )
    assert "velocity" in message


def test_an_overflow_is_rejected_by_name_and_by_constraint():
    values = example(STATEMENTS[0])
    extreme = {
        "weights": np.full(PLAIN.shape, (1 << 19) - 1) * np.array([1, -1, -1]),
        "x": np.full((4, 5), 31),
        "labels": np.zeros(4, np.int64) + 1,
        "learning_rate": 15,
    }
    statement = STATEMENTS[0]
    with pytest.raises(InvalidInput, match="tensor 'logits'"):
        statement.build().solve(statement.assign(values | extreme))
    refused(statement, extreme)
    # Here only the new weights overflow.
    weights = np.zeros(PLAIN.shape, np.int64)
    weights[0] = (1 << 19) - 1
    rising = {"weights": weights, "x": np.zeros((4, 5), np.int64) - 32, "labels": np.arange(4) % 3}
    rising["labels"][:] = 1
    rising["learning_rate"] = 15
    with pytest.raises(InvalidInput, match="'weights after the step'"):
        statement.build().solve(statement.assign(values | rising))
    refused(statement, rising, "update")


# What a caller may get wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "weights"),
        ({"weights": np.zeros((5, 3), np.int64)}, "'weights' must have shape"),
        ({"weights": np.zeros((6, 3))}, "'weights' must hold integers"),
        ({"x": np.full((4, 5), np.nan)}, "'x' holds NaN"),
        ({"x": np.full((4, 5), np.inf)}, "'x' holds NaN or an infinity"),
        ({"x": np.full((4, 5), 32)}, "'x' has a value outside"),
        ({"x": [[1, 2], [3]]}, "'x' is no array"),
        ({"x": "text"}, "'x' must hold integers"),
        ({"labels": np.full(4, 3)}, "'labels' has a value outside"),
        ({"labels": np.zeros((4, 1), np.int64)}, "'labels' must have shape"),
        ({"learning_rate": 16}, "learning_rate must be in"),
        ({"learning_rate": 0}, "learning_rate must be in"),
        ({"learning_rate": 0.5}, "learning_rate must be an integer"),
        ({"learning_rate": True}, "learning_rate must be an integer"),
        ({"step": -1}, "step must be in"),
        ({"step": (1 << 32) - 1}, "step must be in"),
        ({"secret": FIELD_MODULUS}, "secret must be in"),
        ({"old_salt": -1}, "old_salt must be in"),
        ({"fork": "5"}, "fork must be an integer"),
        ({"velocity": np.zeros((6, 3), np.int64)}, "unknown velocity"),
        ({"extra": 1}, "unknown extra"),
    ],
)
def test_unusable_values_are_named(changes, message):
    with pytest.raises(InvalidInput, match=message):
        STATEMENTS[0].assign(example(STATEMENTS[0]) | changes)


def test_missing_values_are_named():
    for name in example(STATEMENTS[1]):
        values = example(STATEMENTS[1])
        del values[name]
        with pytest.raises(InvalidInput, match=f"missing {name}"):
            STATEMENTS[1].assign(values)


def test_secrets_stay_out_of_messages():
    secret = FIELD_MODULUS + 123456789
    with pytest.raises(InvalidInput) as caught:
        STATEMENTS[0].assign(example(STATEMENTS[0]) | {"secret": secret})
    assert str(secret) not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch": 0},
        {"batch": 1.5},
        {"batch": 4, "steps": 0},
        {"batch": 4, "steps": 1 << 20},
        {"batch": 4, "loss": "mse"},
        {"batch": 4, "learning_rate": 1 / 3},
    ],
)
def test_unusable_statements(arguments):
    with pytest.raises(InvalidInput):
        TrainingStep(PLAIN, **arguments)


def test_a_velocity_too_wide_for_its_commitment():
    head = SoftmaxHead(4, 3, input_width=32, input_scale_bits=16, momentum=255, rate_bits=1)
    with pytest.raises(InvalidInput, match="a commitment holds 42"):
        TrainingStep(head, 4)


def test_the_default_learning_rate():
    statement = TrainingStep(PLAIN, 4, learning_rate=2**-6)
    values = example(statement)
    del values["learning_rate"]
    assert statement.assign(values)["learning_rate"] == 2  # 2**-6 / 4 = 2 / 2**9
    assert statement == TrainingStep(PLAIN, 4)
    assert statement.build() is TrainingStep(PLAIN, 4).build()


def test_a_statement_describes_its_static_choices():
    assert isinstance(STATEMENTS[0], Statement)
    texts = {canonical_json(s.describe()) for s in STATEMENTS}
    assert len(texts) == len(STATEMENTS)
    assert STATEMENTS[0].describe()["statement"] == TrainingStep.version == "training_step/1"
