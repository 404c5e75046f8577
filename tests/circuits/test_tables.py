"""Tables of field elements and of tuples, and the sums of squares beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from circuit_forgery import assert_refused, challenges_of

from zkai.circuit import builder as builder_module
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import logup
from zkai.circuit.gadgets.evaluate import evaluate
from zkai.circuit.gadgets.logup import lookups
from zkai.circuit.gadgets.norm import sum_of_squares
from zkai.circuit.gadgets.tables import Elements, Tuples, products_of
from zkai.circuit.r1cs import Circuit
from zkai.circuit.tensor import Tensor
from zkai.circuit.wide import Wide
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

BIG = [1 << 200, FIELD_MODULUS - 5, 7, 0]
COLUMNS = 4


def tuples_circuit() -> Circuit:
    """Rows of four ternaries, beside a range of 4 values."""
    builder = Builder("tuples", commit=True)
    rows = builder.private_int("rows", (3, COLUMNS))
    lookups(builder).tuples("t", Tuples(products_of((-1, 0, 1), COLUMNS)), rows, "ternary")
    lookups(builder).range(builder.private_int("other", (2,)), 2, "range")
    return builder.build()


def accepted(circuit: Circuit, inputs: dict[str, Any]) -> bool:
    witness = circuit.solve(inputs, challenge=challenges_of)
    try:
        circuit.check(witness)
    except VerificationError:
        return False
    return True


def test_members_of_a_table_of_field_elements() -> None:
    builder = Builder("members", commit=True)
    value = builder.private_field("value", 3)
    lookups(builder).member("big", Elements(tuple(BIG)), value, "member")
    circuit = builder.build()
    assert accepted(circuit, {"value": [7, 1 << 200, FIELD_MODULUS - 5]})
    assert accepted(circuit, {"value": [0, 0, 0]})
    for wrong in (8, FIELD_MODULUS - 7, (1 << 200) + 1, 1 << 201):
        assert not accepted(circuit, {"value": [7, wrong, 0]})
    labels = [step.label for step in circuit.steps if "multiplicities" in step.label]
    moved = {labels[0]: lambda v: np.array(v) + 1}
    assert "balance" in assert_refused(circuit, {"value": [7, 7, 0]}, moved)


def test_tuples_of_small_integers() -> None:
    circuit = tuples_circuit()
    good = np.array([[1, 0, -1, 1], [0, 0, 0, 0], [-1, -1, -1, -1]])
    assert accepted(circuit, {"rows": good, "other": [3, 0]})
    for place in range(good.size):
        for value in (2, -2, 1 << 40):
            wrong = good.copy()
            wrong.flat[place] = value
            assert not accepted(circuit, {"rows": wrong, "other": [3, 0]})
    assert not accepted(circuit, {"rows": good, "other": [4, 0]})


def test_a_tag_at_a_columns_power_would_pass_any_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fold^2 id, (v, 0, id - id', 0) is an entry v of the table id: the range's, here."""
    forged = np.array([[3, 0, 0, 0], [0] * 4, [0] * 4])
    circuit = tuples_circuit()
    ids = {"t": 0, "range 2^2": 1}  # by size, largest first
    forged[0, 2] = ids["range 2^2"] - ids["t"]
    inputs = {"rows": forged, "other": [3, 0]}
    assert not accepted(circuit, inputs)
    power = logup.power_of_fold
    monkeypatch.setattr(logup, "power_of_fold", lambda b, n: power(b, 2 if n == COLUMNS else n))
    weak = tuples_circuit()
    names = [step.label for step in weak.steps if step.label.endswith("multiplicities")]
    tamper = {
        next(n for n in names if "range" in n): lambda v: np.array(v) + (np.arange(4) == 3),
    }
    weak.check(weak.solve(inputs, tamper, challenges_of))
    with pytest.raises(VerificationError):
        circuit.check(circuit.solve(inputs, tamper, challenges_of))


def test_tables_are_of_one_kind_and_looked_up_before_the_challenge() -> None:
    builder = Builder("twice", commit=True)
    value = builder.private_field("value", 1)
    rows = builder.private_int("rows", (1, 2))
    lookups(builder).member("t", Elements((1, 2)), value, "member")
    with pytest.raises(InvalidInput, match="used for two things"):
        lookups(builder).member("t", Elements((1, 3)), value, "member")
    with pytest.raises(InvalidInput, match="has other columns"):
        lookups(builder).tuples("u", Tuples(products_of((0, 1), 3)), rows, "tuples")
    late = builder.challenge("fold").reshape(1, 1)
    with pytest.raises(InvalidInput, match="depends on a challenge"):
        lookups(builder).tuples("v", Tuples(products_of((0, 1), 1)), late, "tuples")
    for shape in ((4,), (0, 2), (3, 9)):
        with pytest.raises(InvalidInput, match="a table of tuples has"):
            Tuples(np.zeros(shape, np.int64))


def test_wide_combinations_are_sums_of_any_size() -> None:
    builder = Builder("wide", commit=True)
    x = builder.private_int("x", (2,))
    y = builder.private_field("y", 2)
    wires = Tensor((2,), y_rows(y), None)
    whole = Wide.total([(1 << 200, x), (-3, wires)], [5, FIELD_MODULUS - 1])
    fields = np.zeros((builder.n_wires, 4), np.uint64)
    fields[x.rows.wires] = to_limbs([2, 3])
    fields[y.wires] = to_limbs([7, 11])
    expected = [(2 << 200) - 21 + 5, (3 << 200) - 33 - 1]
    constants = fields.copy()
    constants[0] = to_limbs([1])[0]
    assert from_limbs(whole.evaluate(constants)) == [v % FIELD_MODULUS for v in expected]
    assert from_limbs(whole.take(np.array([1])).evaluate(constants)) == [expected[1]]
    with pytest.raises(InvalidInput, match="different lengths"):
        Wide.total([(1, x), (1, x[:1])])
    with pytest.raises(InvalidInput, match="a wire twice"):
        Wide.total([(1, x), (2, x)])


def y_rows(field: Any) -> Any:
    return builder_module.Rows.of_wires(field.wires)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_sum_of_squares(n: int) -> None:
    builder = Builder("norm", commit=True)
    values = builder.with_bound(builder.private_int("v", (n,)), -9, 9)
    total = sum_of_squares(builder, values)
    assert total.bound is not None
    shown = builder.multiply(total, total, "shown")
    circuit = builder.build()
    given = np.arange(n) * 3 - 4
    witness = circuit.solve({"v": given}, challenge=challenges_of)
    circuit.check(witness)
    wire = shown.rows.wires[0]
    assert from_limbs(witness[wire : wire + 1]) == [int((given**2).sum()) ** 2]
    sums = [step.label for step in circuit.steps if "norm sum" in step.label]
    for label in sums:
        assert_refused(circuit, {"v": given}, {label: lambda v: np.array(v) + 1})


def test_unusable_sums_of_squares() -> None:
    builder = Builder("norm", commit=True)
    free = builder.private_int("v", (4,))
    with pytest.raises(InvalidInput, match="a sum of squares"):
        sum_of_squares(builder, free)
    with pytest.raises(InvalidInput, match="squares could reach"):
        sum_of_squares(builder, builder.with_bound(free, -(1 << 30), 1 << 30))


def test_evaluations_are_sums_of_powers() -> None:
    """Of matrices whose rows are no power of two."""
    builder = Builder("evaluate", commit=True)
    part = builder.private_int("x", (3, 5))
    made = {}

    class Late:
        def close(self) -> None:
            made["value"] = evaluate(builder, part, "test")
            builder.constrain(made["value"], 1, made["value"], "test")

    builder.deferred(Late, Late)
    circuit = builder.build()
    x = np.arange(15).reshape(3, 5) - 7
    witness = circuit.solve({"x": x}, challenge=challenges_of)
    circuit.check(witness)
    fold = from_limbs(witness[2:3])[0]
    wanted = sum(int(v) * pow(fold, i, FIELD_MODULUS) for i, v in enumerate(x.ravel()))
    rows = made["value"].rows
    found = sum(
        int(c) * from_limbs(witness[w : w + 1])[0]
        for w, c in zip(rows.wires, rows.coefs, strict=True)
    )
    assert found % FIELD_MODULUS == wanted % FIELD_MODULUS
