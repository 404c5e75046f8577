"""Poseidon and packing as constraints: honest, forged input, forged values."""

from __future__ import annotations

import numpy as np
import poseidon_reference as reference
import pytest
from circuit_forgery import assert_every_wire_forced, assert_refused, assert_wire_refused

from zkai import native_poseidon
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack, pack_gadget, packed_length
from zkai.circuit.gadgets.poseidon import (
    PARTIAL_ROUNDS,
    hash_elements,
    hash_elements_gadget,
    hash_many_gadget,
    hash_tag,
    instantiate,
    n_rows,
    poseidon,
    poseidon_gadget,
)
from zkai.circuit.gadgets.poseidon_template import Shape, template
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.r1cs import Circuit, Witness
from zkai.circuit.tensor import Field, Tensor, concat
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

R = FIELD_MODULUS
LABEL = "zkai/test/1"


def elements(n: int, seed: int = 3) -> list[int]:
    return [0, R - 1, 1, *(pow(seed, 99 * i + 7, R) for i in range(n))][:n]


def wire_value(witness: Witness, field: Field) -> list[int]:
    return from_limbs(witness[field.wires])


def assert_rows_are_canonical(circuit: Circuit) -> None:
    """Each row lists its wires in ascending order, each once, without zero coefficients."""
    zero = np.flatnonzero(~circuit.coefs.any(axis=1))
    for matrix in (circuit.a, circuit.b, circuit.c):
        row = np.repeat(np.arange(len(matrix)), np.diff(matrix.indptr))
        assert (np.diff(row << 32 | matrix.wires) > 0).all()
        assert not np.isin(matrix.coefs, zero).any()


# Poseidon -------------------------------------------------------------------------------------


def hash_circuit(n: int) -> tuple[Circuit, Field]:
    builder = Builder("hash")
    xs = builder.private_field("xs", n)
    with builder.at("commitment"):
        digest = hash_elements_gadget(builder, LABEL, xs)
    return builder.build(), digest


@pytest.mark.parametrize("n", [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 50])
def test_hash_elements_equals_its_native_twin(n: int) -> None:
    circuit, digest = hash_circuit(n)
    witness = circuit.solve({"xs": elements(n)})
    circuit.check(witness)
    assert wire_value(witness, digest) == [hash_elements(LABEL, elements(n))]
    assert circuit.n_constraints == n_rows(n)
    assert_rows_are_canonical(circuit)
    assert_wire_refused(circuit, witness, {int(digest.wires[0]): hash_elements(LABEL, [5] * n)})


@pytest.mark.parametrize("n", range(1, 17))
def test_poseidon_equals_its_native_twin_at_every_width(n: int) -> None:
    builder = Builder("poseidon")
    xs = builder.private_field("xs", n)
    digest = poseidon_gadget(builder, xs)
    circuit = builder.build()
    witness = circuit.solve({"xs": elements(n)})
    circuit.check(witness)
    assert wire_value(witness, digest) == [poseidon(elements(n))]
    assert circuit.n_constraints == 3 * (8 * (n + 1) + PARTIAL_ROUNDS[n - 1])
    other = poseidon([v + 1 for v in elements(n, seed=5)[2:]] or [9])
    assert_wire_refused(circuit, witness, {int(digest.wires[0]): other})


@pytest.mark.parametrize("n", [2, 16])
def test_every_wire_of_a_permutation_is_forced(n: int) -> None:
    circuit, _ = hash_circuit(n)
    witness = circuit.solve({"xs": elements(n)})
    assert_every_wire_forced(circuit, witness)


def test_every_wire_between_blocks_is_forced() -> None:
    circuit, _ = hash_circuit(40)
    witness = circuit.solve({"xs": elements(40)})
    assert_every_wire_forced(circuit, witness)


@pytest.mark.parametrize("n", [2, 16])
def test_a_wrong_sbox_output_breaks_its_own_row_alone(n: int) -> None:
    """All later wires follow the forged output: only x4 * x = y can tell."""
    circuit, _ = hash_circuit(n)
    t, partial = n + 1, PARTIAL_ROUNDS[n - 1]
    start = [hash_tag(LABEL, n), *elements(n)]
    n_sboxes = 8 * t + partial
    middle = 4 * t
    for forged in {0, t - 1, t, middle - 1, middle, middle + 1, middle + partial - 1,
                   middle + partial, n_sboxes - t, n_sboxes - 1}:  # fmt: skip
        final, sboxes = reference.permute(
            start, 8, partial, lambda i, y, bad=forged: (y + (i == bad)) % R
        )
        inputs = [x for x, _ in sboxes[t:]]
        last = [y for _, y in sboxes[-t:]]
        last[1] = final[1]
        trace = [
            value
            for (x, _), successor in zip(sboxes, [*inputs, *last], strict=True)
            for value in (x * x % R, pow(x, 4, R), successor)
        ]
        message = assert_refused(
            circuit, {"xs": elements(n)}, {"commitment/poseidon": lambda _, v=trace: to_limbs(v)}
        )
        assert f"constraint {3 * forged + 2} of" in message
        assert "(commitment: poseidon)" in message


def test_another_inputs_trace_is_refused() -> None:
    circuit, _ = hash_circuit(20)
    other = circuit.solve({"xs": elements(20, seed=5)})
    assert_refused(
        circuit, {"xs": elements(20)}, {"commitment/poseidon": lambda _: other[1 + 20 :].copy()}
    )


def test_many_vectors_and_any_wire_as_input() -> None:
    builder = Builder("many")
    small = builder.private_int("small", (3,))
    big = builder.private_field("big", 3)
    pairs = Field(np.stack([builder.to_field(small).wires, big.wires], axis=1).ravel())
    digests = hash_many_gadget(builder, LABEL, pairs, 3)
    circuit = builder.build()
    witness = circuit.solve({"small": np.array([-1, 0, 7]), "big": elements(3)})
    circuit.check(witness)
    expected = [
        hash_elements(LABEL, [s % R, b]) for s, b in zip((-1, 0, 7), elements(3), strict=True)
    ]
    assert wire_value(witness, digests) == expected
    assert circuit.n_constraints == 3 * n_rows(2)
    assert_wire_refused(circuit, witness, {int(digests.wires[1]): expected[0]})


@pytest.mark.parametrize("shape", [Shape(2, 2, 1), Shape(3, 4, 5), Shape(4, 10, 3)])
def test_templates_hold_for_other_round_numbers(shape: Shape) -> None:
    outputs = (1 << shape.t) - 1
    builder = Builder("template")
    state = builder.private_field("state", shape.t)

    def trace(values: Limbs) -> Limbs:
        recorded = native_poseidon.permute(
            values.reshape(1, shape.t, 4), shape.full, shape.partial, outputs, trace=True
        )[1]
        assert recorded is not None
        return recorded.reshape(-1, 4)

    wires = builder.field_hint("trace", trace, [state], shape.n_wires)
    slots = np.concatenate([[0], state.wires, wires.wires])[None]
    instantiate(builder, template(shape, (), outputs), slots)
    circuit = builder.build()
    witness = circuit.solve({"state": elements(shape.t)})
    circuit.check(witness)
    final, _ = reference.permute(elements(shape.t), shape.full, shape.partial)
    assert wire_value(witness, wires)[2::3][-shape.t :] == final
    assert_every_wire_forced(circuit, witness)


def test_sizes_that_make_no_sense_are_refused() -> None:
    builder = Builder("bad")
    xs = builder.private_field("xs", 17)
    with pytest.raises(InvalidInput, match=r"1\.\.16"):
        poseidon_gadget(builder, xs)
    with pytest.raises(InvalidInput, match="3 vectors"):
        hash_many_gadget(builder, LABEL, xs, 3)
    with pytest.raises(InvalidInput, match="0 vectors"):
        hash_many_gadget(builder, LABEL, xs, 0)


# Packing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 8, 16, 20, 37, 62])
def test_pack_is_the_formula(bits: int) -> None:
    half = 1 << (bits - 1)
    ints = [
        half - 1,
        -half,
        0 if bits > 1 else -1,
        *(pow(3, i, 2 * half) - half for i in range(60)),
    ]
    per_element = 253 // bits
    expected = [
        sum((v + half) << (bits * i) for i, v in enumerate(ints[at : at + per_element]))
        for at in range(0, len(ints), per_element)
    ]
    packed = pack(np.array(ints), bits)
    assert from_limbs(packed) == expected
    assert len(packed) == packed_length(len(ints), bits)
    for bad in (half, -half - 1):
        with pytest.raises(InvalidInput, match=f"{bad} at flat index 2"):
            pack(np.array([0 if bits > 1 else -1, -1, bad]), bits)


def test_pack_refuses_what_is_no_small_integer() -> None:
    for array in (np.array([1.0]), np.array([1], np.uint64), np.array([True])):
        with pytest.raises(InvalidInput, match="signed integers"):
            pack(array, 8)
    for bits in (0, 63):
        with pytest.raises(InvalidInput, match=r"1\.\.62"):
            pack(np.array([0]), bits)


def pack_circuit(n: int, bits: int, range_checked: bool) -> tuple[Circuit, Tensor, Field]:
    builder = Builder("pack")
    x = builder.private_int("x", (n,))
    half = 1 << (bits - 1)
    if range_checked:
        proven = check_range(builder, x, -half, half - 1, tensor="x")
    else:
        proven = builder.with_bound(x, -half, half - 1)  # a lie, to show what the check is for
    packed = pack_gadget(builder, proven, bits)
    return builder.build(), x, packed


@pytest.mark.parametrize(("n", "bits"), [(1, 8), (12, 20), (13, 20), (100, 16), (40, 8), (5, 61)])
def test_pack_gadget_equals_its_native_twin(n: int, bits: int) -> None:
    circuit, _, packed = pack_circuit(n, bits, range_checked=True)
    half = 1 << (bits - 1)
    ints = np.array([half - 1, -half, *range(n)])[:n]
    witness = circuit.solve({"x": ints})
    circuit.check(witness)
    assert (witness[packed.wires] == pack(ints, bits)).all()
    assert circuit.counts()["circuit: pack"] == packed_length(n, bits)
    assert_every_wire_forced(circuit, witness)


def test_the_packing_trap() -> None:
    """(w0 + 2^20, w1 - 1) packs to the same element: only the range checks can tell."""
    forged = np.array([3 + (1 << 20), 7 - 1, 9])
    honest = np.array([3, 7, 9])
    naive, _, packed = pack_circuit(3, 20, range_checked=False)
    witness = naive.solve({"x": honest})
    aliased = naive.solve({"x": forged})
    naive.check(aliased)
    assert (witness[packed.wires] == aliased[packed.wires]).all()

    checked, x, _ = pack_circuit(3, 20, range_checked=True)
    with pytest.raises(InvalidInput, match="'x' has a value outside"):
        checked.solve({"x": forged})
    witness = checked.solve({"x": honest})
    wires = x.rows.wires
    witness[wires] = to_limbs(forged.tolist())
    with pytest.raises(VerificationError, match="range"):
        checked.check(witness)


def test_packing_refuses_unproven_or_wider_tensors() -> None:
    builder = Builder("pack")
    x = builder.private_int("x", (4,))
    with pytest.raises(InvalidInput, match="the tensor has no bound: range-check it first"):
        pack_gadget(builder, x, 8)
    for low, high in ((-129, 0), (0, 128)):
        with pytest.raises(InvalidInput, match="range-check it first"):
            pack_gadget(builder, builder.with_bound(x, low, high), 8)
    pack_gadget(builder, builder.with_bound(x, -128, 127), 8)


def test_packing_linear_combinations_and_repeated_wires() -> None:
    """One wire in several digits of one element, constants, cancelling terms, empty rows."""
    builder = Builder("pack")
    x = builder.private_int("x", (4,))
    a, b = x[0], x[1]
    parts = [a, a * -3 + 5, b - a, b - b, a * 0 + 4, b + b * 6, a - a]
    stacked = builder.with_bound(_stack(parts), -128, 127)
    tiled = builder.with_bound(_stack([a] * 40), -128, 127)
    packed, again = pack_gadget(builder, stacked, 8), pack_gadget(builder, tiled, 8)
    circuit = builder.build()
    assert_rows_are_canonical(circuit)
    for p, q in ((1, 2), (-9, 7), (0, 0), (40, -16)):
        witness = circuit.solve({"x": np.array([p, q, 0, 0])})
        circuit.check(witness)
        expected = np.array([p, -3 * p + 5, q - p, 0, 4, 7 * q, 0])
        assert (witness[packed.wires] == pack(expected, 8)).all()
        assert (witness[again.wires] == pack(np.full(40, p), 8)).all()
        assert_wire_refused(circuit, witness, {int(packed.wires[0]): 3})
        assert_wire_refused(circuit, witness, {int(again.wires[1]): 3})


def _stack(scalars: list[Tensor]) -> Tensor:
    return concat([s.reshape(1) for s in scalars])
