"""The two-round builder: the partition follows from the wires, and the lint proves it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from circuit_forgery import challenges_of

from zkai.circuit.builder import CHALLENGES, Builder
from zkai.circuit.formats import write_r1cs
from zkai.circuit.r1cs import Circuit
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.second_round import define_product, define_quotient
from zkai.encoding import FIELD_MODULUS, from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.setup import setup


def small(n_signals: int = 3) -> Circuit:
    b = Builder("small", commit=True)
    if n_signals:
        b.public_int("x", (n_signals,))
    y = b.private_int("y", (2,))
    product = b.multiply(y[0], y[1])
    alpha = b.challenge("alpha")
    shifted = define_product(b, "shift", alpha + y[0], alpha)
    define_quotient(b, "inverse", product, alpha + shifted)
    return b.build()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_signals_are_folded_into_one_public_wire(n: int) -> None:
    circuit = small(n)
    x = [5, 6, 7][:n]
    inputs = {"y": np.array([3, 4])} | ({"x": np.array(x)} if n else {})
    witness = circuit.solve(inputs, challenge=challenges_of)
    circuit.check(witness)
    values = from_limbs(circuit.public_values(witness))
    assert len(values) == circuit.n_public == 1 + len(CHALLENGES)
    fold = values[1]
    assert values[0] == sum(v * pow(fold, i + 1, FIELD_MODULUS) for i, v in enumerate(x)) % (
        FIELD_MODULUS
    )
    assert from_limbs(circuit.signal_values(witness)) == x
    assert circuit.signal_wires.tolist() == list(range(4, 4 + n))
    assert (circuit.rounds[circuit.signal_wires] == 1).all()
    forged = witness.copy()
    forged[1, 0] ^= 1
    with pytest.raises(VerificationError, match="fold"):
        circuit.check(forged)


def test_round_two_is_empty_after_round_one() -> None:
    circuit = small()
    partial = circuit.begin({"x": np.array([1, 2, 3]), "y": np.array([3, 4])})
    first = circuit.round_one(partial)
    assert not first[circuit.rounds == 2].any()
    one = circuit.finish(partial, [1, 2])
    other = circuit.finish(partial, [5, 6])
    same = circuit.rounds == 1
    assert (one[same] == first[same]).all()
    assert (other[same] == first[same]).all()
    circuit.check(one)
    circuit.check(other)
    with pytest.raises(InvalidInput, match="expected 2 challenges, got 3"):
        circuit.finish(partial, [1, 2, 3])
    with pytest.raises(InvalidInput, match="come from a commitment"):
        circuit.solve({"x": np.array([1, 2, 3]), "y": np.array([3, 4])})


def test_the_lint_refuses_every_misplaced_wire() -> None:
    circuit = small()
    lint_rounds(circuit)
    for wire in range(circuit.n_wires):
        rounds = circuit.rounds.copy()
        rounds[wire] = 3 - rounds[wire]
        with pytest.raises(InvalidInput):
            lint_rounds(dataclasses.replace(circuit, rounds=rounds))


def test_integers_and_bound_values_cannot_follow_from_a_challenge() -> None:
    b = Builder("late", commit=True)
    late = define_product(b, "late", b.challenge("alpha"), b.challenge("fold"))
    with pytest.raises(InvalidInput, match="from a challenge"):
        b.hint("h", lambda x: [x], [late], [()])
    with pytest.raises(InvalidInput, match="must fix it first"):
        b.require_round_one(late)
    with pytest.raises(InvalidInput, match="belongs to round 1"):
        b.private_int("z", round_number=2)
    with pytest.raises(InvalidInput, match="depends on no challenge"):
        define_product(b, "early", b.private_int("p"), b.private_int("q"))


def test_the_digest_covers_challenges_and_partition() -> None:
    circuit = small()
    rounds = circuit.rounds.copy()
    rounds[-1] = 1
    others = [
        dataclasses.replace(circuit, rounds=rounds),
        dataclasses.replace(circuit, challenges=("fold", "other")),
    ]
    assert len({c.digest for c in [circuit, *others]}) == 3


def test_plain_groth16_takes_no_circuit_with_challenges(tmp_path: Path) -> None:
    """There the prover would choose them."""
    with pytest.raises(InvalidInput, match="needs the format groth16-commit"):
        write_r1cs(tmp_path / "small.r1cs", small())
    with pytest.raises(InvalidInput, match="needs the format groth16-commit"):
        setup(small(), "small/1", tmp_path)
