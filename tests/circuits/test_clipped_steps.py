"""training_step/1 of heads that clip: exact, and closed to whoever wants another factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    challenges_of,
    hinted_labels,
)

from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import from_limbs
from zkai.errors import InvalidInput
from zkai.model import training
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead

# Small scales, so that circuits stay small.
SMALL: dict[str, Any] = {
    "input_width": 5, "logit_scale_bits": 3, "error_scale_bits": 3, "weight_scale_bits": 8,
    "weight_width": 10, "rate_shift": 6, "rate_bits": 3,
}  # fmt: skip
NARROW = {**SMALL, "hidden_scale_bits": 3, "hidden_width": 8, "error_width": 8}
WIDE: dict[str, Any] = {"input_width": 6, "rate_bits": 4, "rate_shift": 12, "weight_width": 18}
BOTH = pytest.mark.parametrize("form", [PLAIN, COMMIT])


HEADS: dict[str, Head] = {
    "softmax": SoftmaxHead(3, 3, **SMALL).clipped(0.4),
    "momentum": SoftmaxHead(4, 3, momentum=200, decay=9, **WIDE).clipped(0.7),
    "mlp": MlpHead((3, 2, 3), **NARROW).clipped(0.4),
    "deep": MlpHead((5, 4, 3, 3), momentum=200, decay=7, **WIDE).clipped(1.5),
    "lora": LoraHead((3, 2, 3), 1, **NARROW).clipped(0.2),
    "lora of all": LoraHead((5, 4, 3, 3), 2, (1, 2, 3), **WIDE).clipped(0.5),
    # p > 0: inputs' squares are shifted before the product.
    "broad": MlpHead((3, 2, 3), **WIDE | {"hidden_width": 24, "error_width": 12}).clipped(0.7),
}


def example(statement: TrainingStep, seed: int = 4) -> dict[str, Any]:
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


def factors_of(statement: TrainingStep, values: dict[str, Any]) -> np.ndarray:
    """The honest factors, read off the clipped gradients' errors."""
    head = statement.head
    state = training.HeadState(values["weights"], values.get("velocity"), values.get("frozen"))
    trace = training.trace_step(head, state, values["x"], values["labels"], 1)
    made = training.forward(head, state.weights, values["x"], state.frozen)
    whole = training.backward(head, state, made, trace.error)
    norms = training.squared_norms(head.norm_plan, [(g.left, g.error) for g in whole])
    return training.clip_factors(norms, head.clip)


@BOTH
@pytest.mark.parametrize("name", HEADS)
def test_the_circuit_is_the_reference(name: str, form: Format) -> None:
    statement = TrainingStep(HEADS[name], 3, 2 if name == "momentum" else 1, format=form)
    circuit, seen = statement.build(), []
    for seed in range(6):
        values = example(statement, seed)
        try:
            expected = statement.public_values(values)
        except InvalidInput:
            continue
        witness = circuit.solve(statement.assign(values), challenge=challenges_of)
        circuit.check(witness)
        assert from_limbs(circuit.signal_values(witness)) == list(expected.values())
        seen += [factors_of(statement, values)] if statement.steps == 1 else []
    if statement.steps == 1:
        found = np.concatenate(seen)
        assert ((found > 0) & (found < 4096)).any()


def test_a_clipped_step_is_another_architecture_and_another_step() -> None:
    statement = TrainingStep(HEADS["softmax"], 2)
    plain = replace(statement, head=replace(statement.head, clip=0))
    values = example(statement)
    here, there = statement.public_values(values), plain.public_values(values)
    assert here["old_state"] != there["old_state"]
    assert here["batch"] == there["batch"]
    moved = statement.new_state(values).weights - values["weights"]
    free = plain.new_state(values).weights - values["weights"]
    assert 0 < np.abs(moved).sum() < np.abs(free).sum()


@pytest.mark.parametrize("name", ["softmax", "momentum", "mlp", "lora", "broad"])
def test_every_wire_is_forced(name: str) -> None:
    statement = TrainingStep(HEADS[name], 2)
    circuit = statement.build()
    assert_every_wire_forced(circuit, circuit.solve(statement.assign(example(statement))))


def test_every_wire_of_round_two_is_forced() -> None:
    statement = TrainingStep(HEADS["mlp"], 2, format=COMMIT)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement)), challenge=challenges_of)
    assert_every_wire_forced(circuit, witness)


@pytest.mark.parametrize("name", ["softmax", "mlp"])
def test_every_hint_is_forced(name: str) -> None:
    statement = TrainingStep(HEADS[name], 2)
    assert_every_hint_forced(statement.build(), statement.assign(example(statement)))


FORGERIES: dict[str, Callable[[int], tuple[int, int]]] = {
    "too large": lambda f: (f + 1, 0),
    "too small": lambda f: (f - 1, 0),
    "dropped": lambda f: (0, 0),
    "unclipped": lambda f: (4096, 1),
    "doubled": lambda f: (8192, 2),
    "turned": lambda f: (-f, 0),
}


@BOTH
@pytest.mark.parametrize("name", ["softmax", "mlp", "lora"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_factors_of_the_trainers_choice(forgery: str, name: str, form: Format) -> None:
    """With all that follows honest: the clipped errors, the gradients, the new state."""
    statement = TrainingStep(HEADS[name], 3, format=form)
    values = example(statement)
    honest = factors_of(statement, values)
    row = int(np.flatnonzero((honest > 1) & (honest < 4095))[0])

    def forge(out: Any) -> Any:
        forged = np.array(out).ravel()
        forged[row], forged[3 + row] = FORGERIES[forgery](int(honest[row]))
        return forged

    message = assert_refused(statement.build(), values, {"step/clipping/clip factors": forge})
    assert "clipping" in message or "lookups" in message


@BOTH
@pytest.mark.parametrize("name", ["softmax", "mlp", "lora"])
def test_norms_of_the_trainers_choice(name: str, form: Format) -> None:
    """A norm of 0 would leave every gradient whole, a huge one would drop every example."""
    statement = TrainingStep(HEADS[name], 3, format=form)
    circuit, values = statement.build(), example(statement)
    parts = ("squares", "squared norm", "quotient")
    labels = [
        label
        for label in hinted_labels(circuit)
        if label.startswith("step/clipping/") and label.split("/")[2].split("#")[0] in parts
    ]
    assert len(labels) >= 3
    for label in labels:
        for wanted in (lambda v: v * 0, lambda v: v * 2 + 1, lambda v: v - 1):

            def forge(out: Any, wanted: Any = wanted) -> Any:
                return wanted(np.array(out).ravel())

            message = assert_refused(circuit, values, {label: forge})
            assert "clipping" in message or "lookups" in message


@BOTH
@pytest.mark.parametrize("name", ["softmax", "mlp", "lora", "momentum"])
def test_errors_changed_after_clipping(name: str, form: Format) -> None:
    """What enters the update is f times the error that was measured, for each trained matrix."""
    statement = TrainingStep(HEADS[name], 3, format=form)
    circuit, values = statement.build(), example(statement)
    ends = ("clipped error", "rate times error", "rate times factor")
    labels = [label for label in hinted_labels(circuit) if label.endswith(ends)]
    assert len(labels) >= len(statement.head.blocks)
    for label in labels:
        for change in (1, -1, 4096):

            def forge(out: Any, change: int = change) -> Any:
                forged = np.array(out).ravel()
                forged[-1] += change
                return forged

            message = assert_refused(circuit, values, {label: forge})
            assert label.split("/")[-1] in message or "lookups" in message


def test_rows_of_clipping() -> None:
    """64-10 on 32 rows: one row an input and error, and a few dozen an example."""
    head = SoftmaxHead(64, 10)
    plain = TrainingStep(head, 32, format=COMMIT).build().n_constraints
    more = TrainingStep(head.clipped(1.0), 32, format=COMMIT).build().n_constraints - plain
    assert more <= 4500
