"""training_step/1 with a commitment round: the same sentence, ten times fewer rows, no new lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_every_wire_forced,
    challenges_of,
    forger,
)

from zkai.circuit.r1cs import Partial
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import SoftmaxHead

# Small scales, so that the tables of the exponential stay small.
SMALL = {"input_width": 5, "logit_scale_bits": 3, "error_scale_bits": 3, "weight_scale_bits": 8}
PLAIN = SoftmaxHead(3, 3, weight_width=10, rate_shift=6, rate_bits=3, **SMALL)
MOMENTUM = dataclasses.replace(PLAIN, momentum=230)
CASES = [(PLAIN, 2, 1), (MOMENTUM, 2, 1), (MOMENTUM, 2, 2)]
STATEMENTS = [TrainingStep(*case, format="groth16-commit") for case in CASES]
IDS = ["plain", "momentum", "two steps"]


def example(statement: TrainingStep, seed: int = 0) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    head, rows = statement.head, statement.batch * statement.steps
    limit = 1 << (head.weight_width - 2)
    values: dict[str, object] = {
        "weights": rng.integers(-limit, limit, head.shape),
        "x": rng.integers(-8, 9, (rows, head.features)),
        "labels": rng.integers(0, head.classes, rows),
        "learning_rate": 3,
    }
    names = ("step", "model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")
    values |= {name: 7 + i for i, name in enumerate(names)}
    if head.momentum:
        values["velocity"] = rng.integers(-30, 30, head.shape)
    return values


@pytest.mark.parametrize("statement", STATEMENTS, ids=IDS)
def test_the_honest_step_says_what_the_plain_one_says(statement: TrainingStep) -> None:
    values, circuit = example(statement), statement.build()
    witness = circuit.solve(statement.assign(values), challenge=challenges_of)
    circuit.check(witness)
    expected = statement.public_values(values)
    assert from_limbs(circuit.signal_values(witness)) == list(expected.values())
    plain = dataclasses.replace(statement, format="groth16")
    assert plain.public_values(values) == expected
    assert [s.name for s in plain.build().public] == [s.name for s in circuit.public]
    assert plain.describe() != statement.describe()
    assert plain.build().digest != circuit.digest


def test_every_wire_of_round_two_is_forced() -> None:
    """Any wire, changed alone after the challenges, breaks a row."""
    statement = STATEMENTS[1]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement)), challenge=challenges_of)
    assert_every_wire_forced(circuit, witness)


def test_every_wire_of_round_one_is_forced() -> None:
    """A wire of round 1, changed alone, is refused after an honest round 2 on top of it."""
    statement = STATEMENTS[0]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement)), challenge=challenges_of)
    assert_every_committed_wire_forced(circuit, witness)


@pytest.mark.parametrize("statement", STATEMENTS[:2], ids=IDS[:2])
def test_every_hint_is_forced(statement: TrainingStep) -> None:
    assert_every_hint_forced(statement.build(), statement.assign(example(statement)))


@pytest.mark.parametrize("name", ["weights", "velocity", "x", "labels"])
def test_inputs_out_of_range_are_refused(name: str) -> None:
    statement = STATEMENTS[1]
    circuit, values = forger(statement.build()), example(statement)
    forged = np.array(values[name])
    forged.flat[0] += 1 << 30
    witness = circuit.solve(values | {name: forged}, challenge=challenges_of)
    with pytest.raises(VerificationError):
        circuit.check(witness)


@pytest.mark.parametrize("rate", [0, 8, -1])
def test_a_learning_rate_out_of_range_is_refused(rate: int) -> None:
    statement = STATEMENTS[0]
    circuit = forger(statement.build())
    witness = circuit.solve(example(statement) | {"learning_rate": rate}, challenge=challenges_of)
    with pytest.raises(VerificationError):
        circuit.check(witness)


def test_signals_are_bound_by_the_fold() -> None:
    """Signals are private wires: y, which the verifier computes from them, refuses others."""
    statement = STATEMENTS[0]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(statement)), challenge=challenges_of)
    for place, wire in enumerate(circuit.signal_wires):
        changed = witness.copy()
        value = from_limbs(changed[wire : wire + 1])[0]
        changed[wire] = to_limbs([value + 1])[0]
        with pytest.raises(VerificationError):
            circuit.check(changed)
        if circuit.public[place].name != "context":
            # With everything after it honest, the commitment's own rows refuse.
            changed[circuit.rounds == 2] = 0
            again = circuit.finish(Partial(changed), challenges_of(changed))
            with pytest.raises(VerificationError):
                circuit.check(again)


def test_the_lint_refuses_every_misplaced_wire() -> None:
    circuit = STATEMENTS[0].build()
    lint_rounds(circuit)
    for wire in range(circuit.n_wires):
        rounds = circuit.rounds.copy()
        rounds[wire] = 3 - rounds[wire]
        with pytest.raises(InvalidInput):
            lint_rounds(dataclasses.replace(circuit, rounds=rounds))


def test_rows_of_a_softmax_regression_step() -> None:
    """64-10 at batch 32: at most 26,000 rows with every commitment, 18,000 without."""
    circuit = TrainingStep(SoftmaxHead(64, 10), 32, format="groth16-commit").build()
    hashed = sum(n for name, n in circuit.counts().items() if "poseidon" in name)
    assert circuit.n_constraints <= 26_000
    assert circuit.n_constraints - hashed <= 18_000


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="format must be 'groth16' or 'groth16-commit'"):
        TrainingStep(PLAIN, 2, format="plonk")  # type: ignore[arg-type]
