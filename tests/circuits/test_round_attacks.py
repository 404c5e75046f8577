"""Attacks on circuits with a commitment round: each passes where its guard is taken out.

Others stand beside what they attack: docs/decisions/0007-commitment-round.md lists all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from circuit_forgery import challenges_of
from small_shapes import HEAD, step

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.link import links
from zkai.circuit.gadgets.logup import lookups
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.r1cs import Circuit, Partial
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.second_round import define_product, define_quotient
from zkai.circuit.statements import commitments, training_step
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.tensor import Rows, Tensor
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.errors import InvalidInput, VerificationError


def entries(circuit: Circuit) -> list[list[int]]:
    """The wires of each row, once for each time that they stand there."""
    return [
        [
            int(wire)
            for m in (circuit.a, circuit.b, circuit.c)
            for wire in m.wires[m.indptr[row] : m.indptr[row + 1]]
        ]
        for row in range(circuit.n_constraints)
    ]


def test_a_committed_wire_that_brings_a_definition_is_refused_too() -> None:
    """Each wire of round 1 moved to round 2 with any free row that could define it."""
    statement, _ = step(HEAD, 1)(COMMIT)
    circuit = statement.build()
    taken = set(circuit.definitions[:, 1].tolist())
    rows = entries(circuit)
    checked = set(circuit.committed.tolist()) | set(circuit.signal_wires.tolist())
    tried = 0
    for row, wires in enumerate(rows):
        for wire in {w for w in wires if circuit.rounds[w] == 1 and w and wires.count(w) == 1}:
            if row in taken or wire not in checked:
                continue
            rounds = circuit.rounds.copy()
            rounds[wire] = 2
            definitions = np.concatenate([[[wire, row]], circuit.definitions])
            moved = dataclasses.replace(circuit, rounds=rounds, definitions=definitions)
            with pytest.raises(InvalidInput, match="is checked with a challenge, but"):
                lint_rounds(moved)
            tried += 1
    assert tried > 100


def test_products_that_wrap_pass_where_bounds_are_assumed() -> None:
    """1/2 times 2 is 1 in the field. A proven range leaves no room for 1/2."""

    def multiplied(checked: bool) -> tuple[Circuit, list[int]]:
        builder = Builder("product", commit=True)
        x, w = (
            check_range(builder, t, 0, 15) if checked else builder.with_bound(t, 0, 15)
            for t in (builder.private_int(name, (2, 2)) for name in "xw")
        )
        z = matmul(builder, x, w)
        circuit = builder.build()
        return circuit, [int(t.rows.wires[0]) for t in (x, w, z)]

    def forged(circuit: Circuit, wires: list[int]) -> None:
        """x_00 = 1/2, w_00 = 2, z_00 = 1, and zeros."""
        zeros = np.zeros((2, 2), np.int64)
        fudged = circuit.begin({"x": zeros, "w": zeros}).witness.copy()
        fudged[wires] = to_limbs([pow(2, -1, FIELD_MODULUS), 2, 1])
        circuit.check(circuit.finish(Partial(fudged), challenges_of(fudged)))

    forged(*multiplied(checked=False))
    with pytest.raises(VerificationError, match=r"range|balance"):
        forged(*multiplied(checked=True))


def test_a_step_that_changes_nothing_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state's commitment holds its step: else such a proof follows itself for ever."""
    statement, values = step(dataclasses.replace(HEAD, rate_shift=15), 1)(COMMIT)
    values |= {"old_salt": 5, "new_salt": 5, "learning_rate": 1}
    new = statement.new_state(values)
    np.testing.assert_array_equal(new.weights, values["weights"])
    public = statement.public_values(values)
    assert public["old_state"] != public["new_state"]
    real = commitments.state_commitment
    monkeypatch.setattr(
        training_step.commitments,
        "state_commitment",
        lambda *args, **named: real(*args, **{**named, "step": 0}),
    )
    weak = statement.public_values(values)
    assert weak["old_state"] == weak["new_state"]
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values), challenge=challenges_of)
    circuit.check(witness)
    for name, wire in zip([s.name for s in circuit.public], circuit.signal_wires, strict=True):
        if name in ("old_state", "new_state"):  # the circuit says what the real one does
            assert witness[wire].tolist() == to_limbs([public[name]])[0].tolist()


def test_a_looked_up_value_after_the_challenges_would_pass_out_of_its_table() -> None:
    """In x2 or round 2 it could be fitted to any multiplicities, those of another number of values.

    (x, 0) is looked up in f, whose entry 0 is (0, 0): 1 / (alpha - x) = 5 / alpha.
    """
    builder = Builder("f", commit=True)
    x, y = builder.private_int("x"), builder.private_int("y")
    lookups(builder).function("f", np.arange(16), x, y, "f")
    circuit = builder.build()
    partial = circuit.begin({"x": np.array(0), "y": np.array(0)})
    fudged = partial.witness.copy()
    counts = next(s.wires for s in circuit.steps if "multiplicities" in s.label)
    fudged[counts[0]] = to_limbs([5])[0]
    challenges = challenges_of(fudged)
    alpha = challenges[1]
    fudged[x.rows.wires] = to_limbs([(alpha - alpha * pow(5, -1, FIELD_MODULUS)) % FIELD_MODULUS])
    circuit.check(circuit.finish(Partial(fudged), challenges))
    with pytest.raises(VerificationError, match="balance"):
        circuit.check(circuit.finish(Partial(fudged), challenges_of(fudged)))


def test_public_wires_of_round_two_are_no_operands() -> None:
    """x2 holds what the verifier computes after the challenges: nothing may be checked there."""
    builder = Builder("x2", commit=True, links=1)
    builder.public_field("link")
    w, blinders = builder.private_int("w", (1,)), builder.private_field("b", 2)
    links(builder).bind("link", [w], blinders)
    late = Tensor((1,), Rows.of_wires(builder.evaluations), None)
    table = lookups(builder)
    for attempt in (
        lambda: table.range(late, 8, "range"),
        lambda: table.function("f", np.arange(16), late, w, "f"),
        lambda: table.function("f", np.arange(16), w, late, "f"),
        lambda: links(builder).bind("link", [late], blinders),
        lambda: builder.require_round_one(late),
    ):
        with pytest.raises(InvalidInput, match=r"must fix it first|linked states"):
            attempt()
    bounded = builder.with_bound(late.reshape(1, 1), 0, 1)
    small = builder.with_bound(w.reshape(1, 1), 0, 1)
    for left, right in ((bounded, small), (small, bounded)):
        with pytest.raises(InvalidInput, match="from a challenge"):
            matmul(builder, left, right)
    circuit = builder.build()
    for wire in builder.evaluations.tolist():
        for committed in (circuit.committed, circuit.signal_wires):
            checked = dataclasses.replace(circuit, committed=np.append(committed, wire))
            with pytest.raises(InvalidInput, match="is checked with a challenge, but"):
                lint_rounds(checked)


def test_a_quotient_by_what_the_prover_chose_is_no_definition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """q = (fold x) / x is fold, unless x = 0: then q is whatever is wanted."""

    def quotient() -> Circuit:
        builder = Builder("quotient", commit=True)
        x = builder.private_int("x")
        product = define_product(builder, "product", x, builder.challenge("fold"))
        define_quotient(builder, "quotient", product, x)
        return builder.build()

    with monkeypatch.context() as patch:
        patch.setattr("zkai.circuit.rounds._check_factors", lambda *_: None)
        circuit = quotient()
    witness = circuit.solve({"x": np.array(0)}, challenge=challenges_of)
    for wanted in (3, 5):
        witness = witness.copy()
        witness[-1] = to_limbs([wanted])[0]
        circuit.check(witness)
    with pytest.raises(InvalidInput, match=r": quotient\) defines wire \d+ by a factor without"):
        quotient()
