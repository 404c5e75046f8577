"""The builder: wire order, hints, constraints, origins, and what `solve` refuses."""

from __future__ import annotations

import numpy as np
import pytest

from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

MATRIX = np.array([[1, -2, 3], [0, 4, 5], [6, 0, -7], [8, 9, 0]])


def small_circuit() -> Circuit:
    b = Builder("small")
    y = b.public_int("y", (2, 3))
    salt = b.public_field("salt_copy")
    x = b.private_int("x", (2, 4))
    secret = b.private_field("salt")
    with b.at("dense"):
        z = x.matmul_const(MATRIX)
    b.bind_public(y, z)
    b.bind_public(salt, secret)
    with b.at("dense"), b.at("square"):
        b.multiply(z, z, "squares")
    return b.build()


X = np.array([[1, 2, -3, 4], [0, 5, 6, -70]])


def test_public_signals_come_first_and_are_filled_from_their_values() -> None:
    circuit = small_circuit()
    witness = circuit.solve({"x": X, "salt": FIELD_MODULUS - 1})
    circuit.check(witness)
    values = from_limbs(circuit.public_values(witness))
    assert values[:6] == [int(v) % FIELD_MODULUS for v in (X @ MATRIX).ravel()]
    assert values[6] == FIELD_MODULUS - 1
    assert from_limbs(witness[:1]) == [1]
    assert circuit.n_public == 7


def test_every_wire_of_the_witness_is_forced() -> None:
    circuit = small_circuit()
    witness = circuit.solve({"x": X, "salt": 5})
    for wire in range(circuit.n_wires):
        forged = witness.copy()
        forged[wire] = to_limbs([(from_limbs(witness[wire : wire + 1])[0] + 1) % FIELD_MODULUS])[0]
        with pytest.raises(VerificationError):
            circuit.check(forged)


def test_a_failing_row_is_reported_by_its_origin() -> None:
    circuit = small_circuit()
    witness = circuit.solve(
        {"x": X, "salt": 5}, tamper={"dense/square/squares": lambda v: v + np.eye(1, 6)}
    )
    with pytest.raises(VerificationError, match=r"constraint 7 of 13 .*dense/square: squares"):
        circuit.check(witness)


def test_the_digest_covers_coefficients_names_and_rounds() -> None:
    def build(coefficient: int = 3, name: str = "x", round_number: int = 1) -> bytes:
        b = Builder("d")
        b.public_int(name)
        y = b.private_int("y", round_number=round_number)
        b.constrain_zero(y * coefficient, "zero")
        return b.build().digest

    digests = {build(), build(4), build(name="z"), build(round_number=2)}
    assert len(digests) == 4
    assert build() == build()


def test_counts_by_origin() -> None:
    assert small_circuit().counts() == {"circuit: public": 7, "dense/square: squares": 6}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": X}, "missing input salt"),
        ({"x": X, "salt": 1, "extra": 2}, "unknown input extra"),
        ({"x": X, "salt": 1, "y": X}, "unknown input y"),
        ({"x": X[:, :3], "salt": 1}, r"input x: expected shape \(2, 4\)"),
        ({"x": X * 0.5, "salt": 1}, "input x: expected integers, got float64"),
        ({"x": X * (1 << 61), "salt": 1}, "input x: a magnitude"),
        ({"x": X, "salt": FIELD_MODULUS}, r"input salt: expected integers in \[0, r\)"),
        ({"x": X, "salt": -1}, "input salt"),
        ({"x": X, "salt": [1, 2]}, "input salt: expected 1 field elements, got 2"),
    ],
)
def test_solve_refuses_unusable_inputs(inputs: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        small_circuit().solve(inputs)


def test_unknown_tampering_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no step"):
        small_circuit().solve({"x": X, "salt": 1}, tamper={"nowhere": lambda v: v})


def test_public_after_private_is_refused() -> None:
    b = Builder("late")
    b.private_int("x")
    with pytest.raises(InvalidInput, match="comes after private"):
        b.public_int("y")


def test_a_name_is_declared_once() -> None:
    b = Builder("twice")
    b.private_int("x")
    with pytest.raises(InvalidInput, match="declared twice"):
        b.private_field("x")


def test_a_hint_gives_no_bound_until_it_is_proven() -> None:
    b = Builder("h")
    x = b.private_int("x", (2,))
    (y,) = b.hint("copy", lambda v: [v], [x], [(2,)])
    assert y.bound is None
    assert b.multiply(x, y).bound is None
    low = b.with_bound(x, -2, 3)
    assert b.multiply(low, low, "p").bound == (-6, 9)


def test_constants_and_fields() -> None:
    b = Builder("f")
    x = b.private_int("x", (2,))
    constants = b.constant_field([5, -7])
    b.constrain_fields_equal(b.to_field(x * 2 + 1), constants, "same")
    circuit = b.build()
    circuit.check(circuit.solve({"x": np.array([2, -4])}))
    with pytest.raises(VerificationError, match="same"):
        circuit.check(circuit.solve({"x": np.array([2, -3])}))
