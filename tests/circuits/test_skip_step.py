"""skip_step/1: nothing but the number and the salt changes, and the terms' limit is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    challenges_of,
    forger,
)

from zkai.circuit.statements import linked
from zkai.circuit.statements.commitments import state_commitment, user_commitment
from zkai.circuit.statements.fork_terms import TERMS, fork_number
from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.skip_step import SkipStep
from zkai.encoding import from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.head_state import HeadState
from zkai.model.heads import LoraHead, SoftmaxHead

PLAIN = SoftmaxHead(5, 3)
MOMENTUM = replace(PLAIN, momentum=230)
LORA = LoraHead((4, 3, 2), rank=1, input_scale_bits=8, input_width=12)
HEADS = [PLAIN, MOMENTUM, LORA]
IDS = ["plain", "momentum", "lora"]


def example(head: Any) -> dict[str, Any]:
    rng = np.random.default_rng(6)
    values: dict[str, Any] = {"weights": rng.integers(-60000, 60000, head.shape), "step": 3}
    if head.has_velocity:
        values["velocity"] = rng.integers(-(1 << 41), 1 << 41, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-60000, 60000, head.frozen_size)
    names = ("model", "context", "secret", "old_salt", "new_salt", *TERMS)
    return values | {name: 10 + i for i, name in enumerate(names)}


@pytest.mark.parametrize("head", HEADS, ids=IDS)
@pytest.mark.parametrize("form", ["groth16", "groth16-commit"])
def test_the_honest_skip_and_all_of_its_wires(head: Any, form: Any) -> None:
    statement, values = SkipStep(head, form), example(head)
    circuit = statement.build()
    challenge = challenges_of if circuit.challenges else None
    witness = circuit.solve(statement.assign(values), challenge=challenge)
    circuit.check(witness)
    public = statement.public_values(values)
    assert [s.name for s in circuit.public] == list(public)
    assert from_limbs(circuit.signal_values(witness)) == list(public.values())
    assert_every_wire_forced(circuit, witness)
    assert from_description(statement.describe()) == statement


def test_every_hint_is_forced() -> None:
    statement = SkipStep(MOMENTUM)
    assert_every_hint_forced(statement.build(), statement.assign(example(MOMENTUM)))


@pytest.mark.parametrize("head", HEADS, ids=IDS)
def test_signals(head: Any) -> None:
    values = example(head)
    public = SkipStep(head).public_values(values)
    assert list(public) == [
        "old_state", "new_state", "max_skips", "user", "model", "fork", "step", "context",
    ]  # fmt: skip
    fork = fork_number({name: values[name] for name in TERMS})
    assert (public["fork"], public["max_skips"]) == (fork, values["max_skips"])
    state = HeadState(values["weights"], values.get("velocity"), values.get("frozen"))
    names = {"model": values["model"], "fork": fork, "user": user_commitment(values["secret"])}
    for name, step in (("old", 3), ("new", 4)):
        salt = values[f"{name}_salt"]
        expected = state_commitment(head, state, step=step, salt=salt, **names)
        assert public[f"{name}_state"] == expected


@pytest.mark.parametrize("head", [MOMENTUM, LORA], ids=["momentum", "lora"])
@pytest.mark.parametrize("form", ["groth16", "groth16-commit"])
def test_linked_states_carry_their_link(head: Any, form: Any) -> None:
    statement, values = SkipStep(head, form, "kzg"), example(head)
    for name in ("weights", "velocity"):
        values.pop(name, None)
    values["link"] = 99
    circuit = statement.build()
    challenge = challenges_of if circuit.challenges else None
    witness = circuit.solve(statement.assign(values), challenge=challenge)
    circuit.check(witness)
    public = statement.public_values(values)
    assert from_limbs(circuit.signal_values(witness)) == list(public.values())
    assert_every_wire_forced(circuit, witness)
    names = {"model": values["model"], "user": user_commitment(values["secret"])}
    names["fork"] = fork_number({name: values[name] for name in TERMS})
    for name, step in (("old", 3), ("new", 4)):
        expected = linked.state_commitment(
            head, 99, step=step, salt=values[f"{name}_salt"], frozen=values.get("frozen"), **names
        )
        assert public[f"{name}_state"] == expected
    assert from_description(statement.describe()) == statement
    packed = SkipStep(head, form)
    assert packed.build().digest != circuit.digest
    with pytest.raises(InvalidInput, match="missing link"):
        statement.assign({n: v for n, v in values.items() if n != "link"})
    with pytest.raises(InvalidInput, match="weights_commitment must be"):
        SkipStep(head, form, "sha256")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "signal", ["old_state", "new_state", "max_skips", "user", "model", "fork", "step", "context"]
)
def test_no_signal_floats(signal: str) -> None:
    statement = SkipStep(PLAIN)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(PLAIN)))
    place = 1 + [s.name for s in circuit.public].index(signal)
    witness[place] = to_limbs([from_limbs(witness[place : place + 1])[0] + 1])[0]
    with pytest.raises(VerificationError):
        circuit.check(witness)


def test_more_skips_than_the_terms_allow() -> None:
    """A larger limit is another fork's: with the old fork in the signals nothing holds."""
    statement = SkipStep(PLAIN)
    honest = statement.public_values(example(PLAIN))
    forged = statement.public_values(example(PLAIN) | {"max_skips": 1000})
    for name in ("fork", "old_state", "new_state"):
        assert honest[name] != forged[name]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(example(PLAIN) | {"max_skips": 1000}))
    place = 1 + [s.name for s in circuit.public].index("fork")
    witness[place] = to_limbs([honest["fork"]])[0]
    with pytest.raises(VerificationError):
        circuit.check(witness)


@pytest.mark.parametrize("name", ["weights", "velocity"])
def test_a_state_that_changes(name: str) -> None:
    """The new state's tensors are the old one's wires: there is no second copy to change."""
    statement = SkipStep(MOMENTUM)
    other = example(MOMENTUM)
    other[name] = other[name] + 1
    honest = statement.public_values(example(MOMENTUM))
    circuit = statement.build()
    witness = circuit.solve(statement.assign(other))
    place = 1 + [s.name for s in circuit.public].index("old_state")
    witness[place] = to_limbs([honest["old_state"]])[0]
    with pytest.raises(VerificationError, match="old state"):
        circuit.check(witness)


@pytest.mark.parametrize("step", [-1, 1 << 32])
def test_step_numbers_out_of_bounds(step: int) -> None:
    statement = SkipStep(PLAIN)
    circuit = forger(statement.build())
    witness = circuit.solve(statement.assign(example(PLAIN)) | {"step": step})
    with pytest.raises(VerificationError, match="step number"):
        circuit.check(witness)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_skips": -1}, "max_skips must be in"),
        ({"dataset": -1}, "dataset must be in"),
        ({"weights": np.zeros((5, 3), np.int64)}, "'weights' must have shape"),
        ({"weights": np.full((6, 3), 1 << 19)}, "'weights' has a value outside"),
        ({"fork": 4}, "unknown fork"),
        ({"step": (1 << 32) - 1}, "step must be in"),
    ],
)
def test_unusable_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SkipStep(PLAIN).assign(example(PLAIN) | changes)
