"""Every wire of every statement, alone and in pairs: no changed witness is accepted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from circuit_forgery import challenges_of, forger
from perturbation import Perturber, at_random, kept_rows, pairs, private_wires, singles
from small_shapes import LINKED, SHAPES, Shape

from zkai import native
from zkai.circuit.r1cs import Circuit, Partial, Witness
from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.registry import STATEMENTS
from zkai.encoding import from_limbs
from zkai.errors import VerificationError

PAIRS = 1200
"""Of each of the three kinds: with three shapes, over 10,000 pairs a statement."""


def solved(make: Shape, form: Format) -> tuple[Circuit, Witness]:
    statement, values = make(form)
    circuit = statement.build()
    challenge = challenges_of if circuit.challenges else None
    return circuit, circuit.solve(statement.assign(values), challenge=challenge)


CASES = [
    pytest.param(make, form, id=f"{name}: {shape} ({form})")
    for form, shapes in ((PLAIN, SHAPES), (COMMIT, SHAPES + LINKED))
    for name, shape, make in shapes
]


def test_three_shapes_of_each_statement_are_tried() -> None:
    names = [name for name, _, _ in SHAPES]
    names += [name for name, _, _ in LINKED if name not in names]
    assert {f"{name}/1" for name in names} == set(STATEMENTS)
    assert all(names.count(name) >= 3 for name in names)
    shapes = SHAPES + LINKED
    assert len({shape[:2] for shape in shapes}) == len(shapes)


@pytest.mark.parametrize(("make", "form"), CASES)
def test_no_perturbed_witness_is_accepted(make: Shape, form: Format) -> None:
    """As it is, and with a round 2 that follows the changes of round 1."""
    circuit, witness = solved(make, form)
    perturber = Perturber(circuit, witness)
    for follow in (False, True) if circuit.challenges else (False,):
        for wires, changes in (singles(circuit, follow), pairs(circuit, PAIRS, follow)):
            assert wires[perturber.accepted(wires, changes, follow)].tolist() == []


# What the harness finds -------------------------------------------------------------------------


def without(circuit: Circuit, dropped: np.ndarray) -> Circuit:
    """The circuit without some rows; definitions stay."""
    dropped = dropped.copy()
    dropped[circuit.definitions[:, 1]] = False
    rows = np.flatnonzero(~dropped)
    place = np.concatenate([[0], np.cumsum(~dropped)])
    definitions = circuit.definitions.copy()
    definitions[:, 1] = place[definitions[:, 1]]
    origins = tuple(replace(o, first_row=int(place[o.first_row])) for o in circuit.origins)
    a, b, c = (kept_rows(m, rows) for m in (circuit.a, circuit.b, circuit.c))
    return replace(circuit, a=a, b=b, c=c, definitions=definitions, origins=origins)


def rules_of(circuit: Circuit) -> np.ndarray:
    """Where each row comes from, as text."""
    starts = [origin.first_row for origin in circuit.origins]
    names = [str(origin) for origin in circuit.origins]
    return np.repeat(names, np.diff([*starts, circuit.n_constraints]))


def accepted_one_by_one(
    circuit: Circuit, witness: Witness, wires: np.ndarray, changes: np.ndarray, follow: bool
) -> list[bool]:
    """What the circuit itself says, try by try."""
    found, k = [], wires.shape[1]
    challenges = from_limbs(witness[2 : 2 + len(circuit.challenges)])
    for i, chosen in enumerate(wires):
        changed = witness.copy()
        changed[chosen] = native.fr_add(changed[chosen], changes[i * k : (i + 1) * k])
        if follow:
            folded = changed[1].copy()
            changed = circuit.finish(Partial(changed), challenges)
            changed[1] = folded
        try:
            circuit.check(changed)
            found.append(True)
        except VerificationError:
            found.append(False)
    return found


@pytest.mark.parametrize("follow", [False, True])
def test_the_harness_says_what_the_circuit_says(follow: bool) -> None:
    """With many rows gone, some tries pass and others do not."""
    whole, witness = solved(SHAPES[1][2], COMMIT if follow else PLAIN)
    rng = np.random.default_rng(0)
    circuit = without(whole, rng.random(whole.n_constraints) < (0.6 if follow else 0.9))
    wires = rng.permutation(private_wires(circuit, follow))[:160].reshape(-1, 2)
    changes = at_random(rng, wires.size)
    found = Perturber(circuit, witness).accepted(wires, changes, follow)
    assert 5 < found.sum() < len(found) - 5
    assert found.tolist() == accepted_one_by_one(circuit, witness, wires, changes, follow)


@pytest.mark.parametrize("form", [PLAIN, COMMIT])
def test_rows_taken_out_let_witnesses_through(form: Format) -> None:
    """Without the range checks, packed weights can be shifted from one to the next."""
    whole, witness = solved(SHAPES[3][2], form)
    follow = form == COMMIT
    checks = np.array(["range" in rule or "balance" in rule for rule in rules_of(whole)])
    circuit = without(whole, checks)
    wires, changes = pairs(circuit, PAIRS, follow)
    found = Perturber(circuit, witness).accepted(wires, changes, follow)
    assert found[2 * PAIRS :].sum() > 10  # the balanced ones
    assert not Perturber(whole, witness).accepted(wires, changes, follow).any()


@pytest.mark.parametrize("form", [PLAIN, COMMIT])
def test_a_label_spread_over_classes_is_refused_by_the_booleans_alone(form: Format) -> None:
    """Class 1 twice more and class 2 once less is the same label."""
    statement, values = SHAPES[0][2](form)
    circuit = statement.build()
    challenge = challenges_of if circuit.challenges else None

    def spread(out: np.ndarray) -> np.ndarray:
        forged = np.array(out).ravel()
        forged[:2] += (2, -1)  # class 0 is what is left
        return forged

    tamper = {"labels/one-hot": spread}
    witness = forger(circuit).solve(statement.assign(values), tamper, challenge)
    with pytest.raises(VerificationError, match="labels: one-hot"):
        circuit.check(witness)
    without(circuit, rules_of(circuit) == "labels: one-hot").check(witness)
