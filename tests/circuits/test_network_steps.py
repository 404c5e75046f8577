"""training_step/1 of heads with hidden layers: exact, and closed to forgeries in both formats."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    challenges_of,
    forger,
    hinted_labels,
)
from circuit_forgery import values as integers_of
from sklearn.datasets import load_digits

from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Partial
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.statements import commitments
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.network import base2_logits, network_of
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model import training
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.training import HeadState, predict

# Small scales, so that circuits stay small.
SMALL: dict[str, Any] = {
    "input_width": 5, "logit_scale_bits": 3, "error_scale_bits": 3, "weight_scale_bits": 8,
    "weight_width": 10, "rate_shift": 6, "rate_bits": 3,
}  # fmt: skip
NARROW = {**SMALL, "hidden_scale_bits": 3, "hidden_width": 8, "error_width": 8}
MLP = MlpHead((3, 2, 3), **NARROW)
LORA = LoraHead((3, 2, 3), 1, **NARROW)
TINY = NARROW | {"logit_scale_bits": 2, "error_scale_bits": 2, "rate_shift": 7}
WIDE: dict[str, Any] = {"input_width": 6, "rate_bits": 4, "rate_shift": 12, "weight_width": 18}
HEADS: dict[str, Head] = {
    "mlp": MLP,
    "lora": LORA,
    "decay": replace(MLP, decay=9, weight_scale_bits=7, rate_shift=7),
    "momentum": replace(MLP, momentum=230),
    "deep": MlpHead((5, 4, 3, 3), momentum=200, decay=7, **WIDE),
    "lora of the last": LoraHead((5, 4, 3), 2, (2,), **WIDE),
    "lora of all": LoraHead((5, 4, 3, 3), 2, (1, 2, 3), momentum=200, decay=5, **WIDE),
    "lora around a layer": LoraHead((4, 3, 3, 3), 2, (1, 3), **WIDE),
    "softmax with decay": SoftmaxHead(4, 3, momentum=200, decay=9, **WIDE),
}
BOTH = pytest.mark.parametrize("form", [PLAIN, COMMIT])


def example(statement: TrainingStep, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    head, rows = statement.head, statement.batch * statement.steps
    limit = 1 << (head.weight_width - 2)
    values: dict[str, Any] = {
        "weights": rng.integers(-limit, limit, head.shape),
        "x": rng.integers(-8, 9, (rows, head.features)),
        "labels": rng.integers(0, head.classes, rows),
        "learning_rate": int(rng.integers(1, 8)),
    }
    names = ("step", "model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")
    values |= {name: 7 + i for i, name in enumerate(names)}
    if head.has_velocity:
        values["velocity"] = rng.integers(-30, 30, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-limit, limit, head.frozen_size)
    return values


def state_of(values: dict[str, Any]) -> HeadState:
    return HeadState(values["weights"], values.get("velocity"), values.get("frozen"))


def refused(statement: TrainingStep, changes: dict[str, Any]) -> str:
    circuit = statement.build()
    witness = forger(circuit).solve(example(statement) | changes, challenge=challenges_of)
    with pytest.raises(VerificationError) as caught:
        circuit.check(witness)
    return str(caught.value)


# Honest steps -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", HEADS)
def test_the_circuit_is_the_reference(name: str, form: Format) -> None:
    """On random integers: every signal, the new state's commitment among them, is the same."""
    steps = 2 if name in ("momentum", "lora") else 1
    statement = TrainingStep(HEADS[name], 3, steps, format=form)
    circuit, done = statement.build(), 0
    for seed in range(12):
        values = example(statement, seed)
        try:
            expected = statement.public_values(values)
        except InvalidInput:
            with pytest.raises(InvalidInput):
                circuit.solve(statement.assign(values), challenge=challenges_of)
            continue
        witness = circuit.solve(statement.assign(values), challenge=challenges_of)
        circuit.check(witness)
        assert from_limbs(circuit.signal_values(witness)) == list(expected.values())
        done += 1
    assert done >= 3


@pytest.mark.parametrize("kind", ["mlp", "lora"])
def test_steps_on_digits_are_the_reference(kind: str) -> None:
    data, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    sizes = (64, 12, 10)
    layers = [(rng.normal(size=(m, n)) / np.sqrt(n), np.zeros(m)) for n, m in pairwise(sizes)]
    head: Head = MlpHead(sizes, input_width=6, momentum=200)
    state = training.initial_state(head, layers)
    if kind == "lora":
        head = LoraHead(sizes, 3, input_width=6)
        factors = [(rng.normal(size=(3, 64)) / 8, np.zeros((12, 3)))]
        state = training.initial_state(head, factors, base=layers)
    statement = TrainingStep(head, 16, format=COMMIT)
    circuit = statement.build()
    before = training.accuracy(head, state, data[:500].astype(np.int64), labels[:500])
    for step in range(60):
        rows = rng.choice(len(data), 16, replace=False)
        values = example(statement) | {
            "weights": state.weights, "x": data[rows].astype(np.int64), "labels": labels[rows],
            "learning_rate": 1000 if head.frozen_size else 300,
        }  # fmt: skip
        values |= {} if state.velocity is None else {"velocity": state.velocity}
        values |= {} if state.frozen is None else {"frozen": state.frozen}
        if step % 20 == 0:
            witness = circuit.solve(statement.assign(values), challenge=challenges_of)
            circuit.check(witness)
            expected = statement.public_values(values)
            assert from_limbs(circuit.signal_values(witness)) == list(expected.values())
        state = statement.new_state(values)
    after = training.accuracy(head, state, data[:500].astype(np.int64), labels[:500])
    assert after > before + 0.1


# Forged wires and hints -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "lora", "decay", "lora of all"])
def test_every_wire_is_forced(name: str) -> None:
    statement = TrainingStep(HEADS[name], 2)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement, 3)))
    assert_every_wire_forced(circuit, witness)


@pytest.mark.parametrize("head", [MlpHead((2, 2, 2), **TINY), LoraHead((2, 2, 2), 1, **TINY)])
def test_every_wire_of_both_rounds_is_forced(head: Head) -> None:
    statement = TrainingStep(head, 2, format=COMMIT)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement, 3)), challenge=challenges_of)
    assert_every_wire_forced(circuit, witness)
    assert_every_committed_wire_forced(circuit, witness)


@pytest.mark.parametrize(
    ("name", "form"),
    [("mlp", COMMIT), ("lora", PLAIN), ("decay", PLAIN)],
)
def test_every_hint_is_forced(name: str, form: Format) -> None:
    statement = TrainingStep(HEADS[name], 2, format=form)
    assert_every_hint_forced(statement.build(), statement.assign(example(statement, 3)))


@pytest.mark.parametrize("name", ["mlp", "lora"])
def test_pairs_of_wires_are_forced(name: str) -> None:
    """Two wires of round 1, changed together, with an honest round 2 on top."""
    statement = TrainingStep(HEADS[name], 2, format=COMMIT)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement, 3)), challenge=challenges_of)
    first = np.flatnonzero(circuit.rounds == 1)[1:]
    witness[circuit.rounds == 2] = 0
    rng = np.random.default_rng(1)
    for _ in range(60):
        wires = rng.choice(first, 2, replace=False)
        changed, change = witness.copy(), int(rng.choice([1, 2, 8, 256]))
        signs = rng.choice([-1, 1], 2).tolist()
        old = from_limbs(changed[wires])
        changed[wires] = to_limbs(
            [(v + s * change) % FIELD_MODULUS for v, s in zip(old, signs, strict=True)]
        )
        with pytest.raises(VerificationError):
            circuit.check(circuit.finish(Partial(changed), challenges_of(changed)))


@pytest.mark.parametrize("name", ["mlp", "lora"])
def test_the_lint_refuses_every_misplaced_wire(name: str) -> None:
    circuit = TrainingStep(HEADS[name], 2, format=COMMIT).build()
    lint_rounds(circuit)
    for wire in range(0, circuit.n_wires, 7):
        rounds = circuit.rounds.copy()
        rounds[wire] = 3 - rounds[wire]
        with pytest.raises(InvalidInput):
            lint_rounds(replace(circuit, rounds=rounds))


# What a trainer may try -------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("wanted", [0, 1])
def test_a_mask_of_the_trainers_choice(wanted: int, form: Format) -> None:
    """Units switched off or on against their sign."""
    statement = TrainingStep(MLP, 2, format=form)
    label = "step/layer 1/mask" if form == COMMIT else "step/layer 1/quotient range digits"
    circuit = statement.build()
    assert label in hinted_labels(circuit)

    def forge(bits: Any) -> Any:
        if form == COMMIT:
            return np.full_like(np.ravel(bits), wanted)
        forged = np.array(bits).reshape(4, -1)
        forged[:, -1] = wanted
        return forged

    message = assert_refused(circuit, example(statement, 3), {label: forge})
    assert "layer 1" in message or "lookups" in message


@BOTH
def test_hidden_errors_from_the_new_weights(form: Format) -> None:
    """The backward pass takes the weights before the step."""
    statement = TrainingStep(MLP, 2, format=form)
    values = example(statement, 3)
    new = statement.new_state(values)
    trace = training.trace_step(MLP, state_of(values), values["x"], values["labels"],
                                values["learning_rate"])  # fmt: skip
    output = MLP.layers[1].weight
    honest = trace.error @ output.of(values["weights"])[:-1].T
    forged = trace.error @ output.of(new.weights)[:-1].T
    assert not np.array_equal(honest, forged)
    circuit = statement.build()
    if form == COMMIT:
        message = assert_refused(
            circuit, values, {"step/error of layer 1/matmul": lambda _: forged.ravel()}
        )
        assert "freivalds" in message
    mask = training.forward(MLP, values["weights"], values["x"]).masks[0]
    rounded = (forged * mask + (1 << 7)) >> 8
    message = assert_refused(
        circuit, values, {"step/error of layer 1/quotient": lambda _: rounded.ravel()}
    )
    assert "error of layer 1" in message or "lookups" in message


@BOTH
@pytest.mark.parametrize("name", ["mlp", "lora", "decay", "momentum"])
def test_every_rounded_value_and_remainder_is_the_computed_one(name: str, form: Format) -> None:
    """Each quotient of the step, one higher or lower, with everything after it recomputed."""
    statement = TrainingStep(HEADS[name], 2, format=form)
    circuit, values = statement.build(), example(statement, 3)
    labels = [label for label in hinted_labels(circuit) if label.endswith("/quotient")]
    assert len(labels) >= 5
    for label in labels:
        for change in (1, -1):
            for place in (0, -1):

                def forge(out: Any, change: int = change, place: int = place) -> Any:
                    forged = np.array(out).ravel()
                    forged[place] += change
                    return forged

                assert_refused(circuit, values, {label: forge})


@BOTH
def test_frozen_weights_of_another_network(form: Format) -> None:
    """The state binds the network: other frozen weights are of another state and model."""
    statement = TrainingStep(LORA, 2, format=form)
    values = example(statement, 3)
    other = values["frozen"].copy()
    other[4] += 1
    here, there = (
        statement.public_values(values | {"frozen": f}) for f in (values["frozen"], other)
    )
    assert here["old_state"] != there["old_state"]
    assert here["new_state"] != there["new_state"]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values | {"frozen": other}), challenge=challenges_of)
    wire = circuit.signal_wires[0]
    witness[wire] = to_limbs([here["old_state"]])[0]
    with pytest.raises(VerificationError, match="public"):
        circuit.check(witness)


def test_frozen_weights_used_in_one_pass_only() -> None:
    """Honest weights forward and others backward: both products read the same wires."""
    statement = TrainingStep(LORA, 2, format=COMMIT)
    values = example(statement, 3)
    other = np.zeros((2, 2), np.int64)
    message = assert_refused(
        statement.build(), values, {"step/error of layer 1/matmul": lambda _: other.ravel()}
    )
    assert "freivalds" in message


@BOTH
def test_frozen_weights_that_pack_to_the_same_elements(form: Format) -> None:
    statement = TrainingStep(LORA, 2, format=form)
    values = example(statement)
    frozen = values["frozen"].copy()
    frozen[0] += 1 << LORA.weight_width
    frozen[1] -= 1
    assert "frozen weights" in refused(statement, {"frozen": frozen}) or form == COMMIT


@BOTH
def test_overflows_are_rejected_by_name_and_by_constraint(form: Format) -> None:
    for head, change, name in (
        (MLP, {"hidden_width": 3}, "hidden layer 1"),
        (MLP, {"error_width": 2}, "hidden error 1"),
        (LORA, {"hidden_width": 3}, "layer 1 A t"),
        (LORA, {"error_width": 2}, "layer 1 A error"),
    ):
        statement = TrainingStep(replace(head, **change), 3, format=form)
        values = example(statement) | {"x": np.full((3, 3), 15)}
        limit = 1 << (head.weight_width - 1)
        values["weights"] = np.where(np.arange(head.shape[0]) % 2, limit - 1, limit // 2)
        if head.frozen_size:
            values["frozen"] = np.full(head.frozen_size, 20) * np.resize(
                [1, 12, -9], head.frozen_size
            )
        with pytest.raises(InvalidInput, match=f"'{name}'"):
            statement.new_state(values)
        with pytest.raises(InvalidInput, match=f"'{name}'"):
            statement.build().solve(statement.assign(values), challenge=challenges_of)
        refused(statement, values)


# The other statements ---------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["mlp", "lora", "momentum"])
def test_genesis_and_updates_of_networks(name: str, form: Format) -> None:
    head = HEADS[name]
    values = example(TrainingStep(head, 2))
    keys = ("weights", "fork", "context", "secret", "new_salt", "frozen")
    first = {n: values[n] for n in keys if n in values} | {"model_salt": 5}
    step = {
        n: v for n, v in values.items() if n not in ("x", "labels", "learning_rate", "batch_salt")
    }
    step["update"] = np.random.default_rng(0).integers(-9, 9, head.shape)
    for statement, given in ((Genesis(head, form), first), (ApplyAggregate(head, form), step)):
        circuit = statement.build()
        witness = circuit.solve(statement.assign(given), challenge=challenges_of)
        expected = statement.public_values(given)
        assert from_limbs(circuit.signal_values(witness)) == list(expected.values())
        assert_every_wire_forced(circuit, witness)
    state = Genesis(head, form).new_state(first)
    model = commitments.model_id(head, first["weights"], 5, values.get("frozen"))
    public = Genesis(head, form).public_values(first)
    user = commitments.user_commitment(values["secret"])
    assert public["model"] == model
    assert public["new_state"] == commitments.state_commitment(
        head, state, model=model, fork=values["fork"], step=0, user=user, salt=values["new_salt"]
    )


# Sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "most"), [(MlpHead((64, 32, 10)), 70_000), (LoraHead((64, 32, 10), 4), 55_000)]
)
def test_rows_of_a_step(head: Head, most: int) -> None:
    """64-32-10 on 32 rows with every commitment: at most 100,000 rows are allowed."""
    assert TrainingStep(head, 32, format=COMMIT).build().n_constraints <= most


def test_predictions_are_the_argmax_of_the_logits() -> None:
    state = state_of(example(TrainingStep(MLP, 2)))
    x = np.random.default_rng(0).integers(-8, 9, (20, 3))
    u = training.logits(MLP, state.weights, x)
    assert np.array_equal(predict(MLP, state, x), u.argmax(axis=1))


@BOTH
@pytest.mark.parametrize("name", ["mlp", "lora of all", "softmax with decay"])
def test_logits_are_the_reference(name: str, form: Format) -> None:
    """The forward pass alone, as evaluations use it; no other argmax is accepted."""
    head = HEADS[name]
    values = example(TrainingStep(head, 6), 3)
    builder = Builder("logits", commit=form == COMMIT)
    limit = 1 << (head.weight_width - 1)
    weights = builder.private_int("weights", head.shape)
    weights = builder.with_bound(weights, -limit, limit - 1)
    frozen = None
    if head.frozen_size:
        frozen = builder.private_int("frozen", (head.frozen_size,))
        frozen = builder.with_bound(frozen, -limit, limit - 1)
    x = builder.with_bound(builder.private_int("x", values["x"].shape), -16, 15)
    u = base2_logits(network_of(builder, head, weights, frozen), x)
    circuit = builder.build()
    names = ["weights", "x", *(["frozen"] if head.frozen_size else [])]
    inputs = {n: np.clip(values[n], -16, 15) if n == "x" else values[n] for n in names}
    witness = circuit.solve(inputs, challenge=challenges_of)
    circuit.check(witness)
    expected = training.logits(head, values["weights"], inputs["x"], values.get("frozen"))
    assert np.array_equal(integers_of(circuit, witness, u), expected)
    assert_every_hint_forced(circuit, inputs)
