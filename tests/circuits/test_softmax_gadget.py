"""Softmax and sigmoid: the rules at their edges, and every way to bend them."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    forger,
    gadget_circuit,
    values,
)
from hypothesis import given
from hypothesis import strategies as st

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.range import bit_tensor
from zkai.circuit.gadgets.softmax import logits, lookup, sigmoid, softmax
from zkai.circuit.tensor import as_tensor
from zkai.errors import InvalidInput, VerificationError
from zkai.model import fixed_point as fixed

SHIFT = 4
ACC = np.array([[1600, -4800, 7], [0, 2559 << 4, 2560 << 4], [500, 500, 500]])
BOUND = (-(1 << 20), 1 << 20)


def softmax_of(builder, acc):
    return softmax(builder, logits(builder, acc, SHIFT, 8, "u"), 8, 8)


def circuit_for(acc):
    circuit, (p,) = gadget_circuit(softmax_of, {"acc": (acc.shape, *BOUND)})
    return circuit, p


def test_softmax_and_every_wire_of_it():
    circuit, p = circuit_for(ACC)
    witness = circuit.solve({"acc": ACC})
    wanted = fixed.softmax(fixed.rescale(ACC, SHIFT))
    assert (values(circuit, witness, p) == wanted).all()
    assert p.bound == (0, 256)
    assert_every_wire_forced(circuit, witness, inputs=False)
    assert_every_hint_forced(circuit, {"acc": ACC})


def test_rows_of_ten_classes():
    """What a row of ten classes costs."""
    counts = [
        gadget_circuit(
            lambda b, acc: softmax(b, logits(b, acc, 20, 8, "u"), 8, 8),
            {"acc": ((rows, 10), -(1 << 36), 1 << 36)},
        )[0].n_constraints
        for rows in (1, 2)
    ]
    assert counts[1] - counts[0] == 1002


@given(st.lists(st.integers(-(1 << 12), 1 << 12), min_size=2, max_size=6))
def test_softmax_matches_the_reference(row):
    acc = np.array([row])
    circuit, p = circuit_for(acc)
    witness = circuit.solve({"acc": acc})
    circuit.check(witness)
    assert (values(circuit, witness, p) == fixed.softmax(fixed.rescale(acc, SHIFT))).all()


HALF = 1 << 15


@pytest.mark.parametrize(
    "u", [[HALF - 1, 0], [-HALF, -HALF], [-HALF, 1 - 2 * HALF], [HALF - 1, 0, HALF - 1]]
)
def test_logits_at_the_ends_of_their_range(u):
    acc = np.array([u]) << SHIFT
    circuit, p = circuit_for(acc)
    witness = circuit.solve({"acc": acc})
    circuit.check(witness)
    assert (values(circuit, witness, p) == fixed.softmax(np.array([u]))).all()


@pytest.mark.parametrize(
    "u", [[HALF, HALF - 1], [-HALF - 1, -HALF - 1], [HALF - 1, -1], [0, -HALF], [-HALF, -2 * HALF]]
)
def test_logits_beyond_their_range_are_rejected(u):
    acc = np.array([u]) << SHIFT
    circuit, _ = circuit_for(acc)
    with pytest.raises(InvalidInput, match="'u'"):
        circuit.solve({"acc": acc})
    with pytest.raises(VerificationError):
        circuit.check(forger(circuit).solve({"acc": acc}))


# Forged intermediates, each with everything downstream recomputed -------------------------------


def lower(place):
    def forge(out):
        forged = np.array(out).ravel().copy()
        forged[place] -= 1
        return forged

    return forge


def higher(place, by=1):
    def forge(out):
        forged = np.array(out).ravel().copy()
        forged[place] += by
        return forged

    return forge


@pytest.mark.parametrize(
    ("what", "tamper", "rule"),
    [
        ("a maximum above all entries", {"maximum": higher(0)}, "attained"),
        ("the second largest as maximum", {"maximum": lambda m: np.array([-300, 2559, 31])}, ""),
        ("all entries lower by one", {"distance": higher(1)}, "remainder"),
        ("a distance lower by one", {"distance": lower(1)}, "remainder"),
        ("one term of e higher", {"exponential": higher(1)}, "exponential"),
        ("e where it is cut off", {"exponential": higher(3, 1 << 10)}, "exponential"),
        ("another power of two", {"table#6": lambda t: t * 2}, "table"),
        ("f squared", {"fraction squared": higher(1)}, "fraction squared"),
        ("rho one higher", {"quotient": higher(0)}, "remainder range"),
        ("rho one lower", {"quotient": lower(0)}, "remainder below divisor"),
        ("p one higher", {"quotient#2": higher(0)}, "remainder"),
        ("p one lower", {"quotient#2": lower(2)}, "remainder"),
    ],
)
def test_forged_intermediates_are_refused(what, tamper, rule):
    circuit, _ = circuit_for(ACC)
    assert rule in assert_refused(circuit, {"acc": ACC}, tamper)


@pytest.mark.parametrize("shift", [-1, 0, SHIFT])
def test_logits_other_than_the_accumulator_s(shift):
    """Another maximum with distances that fit it: a valid row, but not this one."""
    acc = np.array([[160, -48, 16]])
    circuit, _ = gadget_circuit(
        lambda b, acc: softmax(b, logits(b, acc, shift, 8, "u"), 8, 8), {"acc": ((1, 3), *BOUND)}
    )
    tamper = {"maximum": lambda m: m + 5, "distance": lambda d: np.array([0, 7, 9])}
    circuit.check(circuit.solve({"acc": acc}))
    rule = "remainder range" if shift > 0 else "rescale"
    assert rule in assert_refused(circuit, {"acc": acc}, tamper)


def test_a_sigmoid_of_another_logit():
    for shift in (0, SHIFT):
        circuit, _ = gadget_circuit(
            lambda b, acc, k=shift: sigmoid(b, acc, k, 8, 8, "u"), {"acc": ((1,), *BOUND)}
        )
        inputs = {"acc": np.array([320])}
        circuit.check(circuit.solve(inputs))
        tamper = {"maximum": lambda m: np.array([500]), "distance": lambda d: np.array([0])}
        assert_refused(circuit, inputs, tamper)


def test_scores_cannot_be_exchanged():
    """All of the classes' probabilities permuted: each is bound to its own logit."""
    circuit, _ = circuit_for(ACC)

    def rotate(p):
        return np.roll(np.reshape(p, ACC.shape), 1, axis=1)

    assert_refused(circuit, {"acc": ACC}, {"quotient#2": rotate})


def test_bits_of_a_distance_plus_the_modulus_are_refused():
    """d and d + 2**15 have the same low bits; the range check has no higher one to hide it in."""
    circuit, _ = circuit_for(ACC)
    assert_refused(circuit, {"acc": ACC}, {"distance": higher(1, 1 << 15)})


# Sigmoid --------------------------------------------------------------------------------------

U = np.array([0, 1, -1, 300, -300, 2559, -2559, 2560, -2560, 32767, -32767])


def sigmoid_circuit(shape):
    return gadget_circuit(lambda b, acc: sigmoid(b, acc, 0, 8, 8, "u"), {"acc": (shape, *BOUND)})


def test_sigmoid_and_every_wire_of_it():
    circuit, (p,) = sigmoid_circuit(U.shape)
    witness = circuit.solve({"acc": U})
    assert (values(circuit, witness, p) == fixed.sigmoid(U)).all()
    assert_every_wire_forced(circuit, witness, inputs=False)
    assert_every_hint_forced(circuit, {"acc": U})


@pytest.mark.parametrize("u", [32768, -32768, 1 << 19, -(1 << 19)])
def test_sigmoid_rejects_what_the_rules_reject(u):
    circuit, _ = sigmoid_circuit((1,))
    with pytest.raises(InvalidInput, match="'u'"):
        circuit.solve({"acc": np.array([u])})
    with pytest.raises(VerificationError):
        circuit.check(forger(circuit).solve({"acc": np.array([u])}))


def test_sigmoid_refuses_another_maximum():
    circuit, _ = sigmoid_circuit((2,))
    inputs = {"acc": np.array([300, -300])}
    for forged in ([0, 0], [301, 0], [300, -300], [300, 1]):
        assert_refused(circuit, inputs, {"maximum": lambda m, f=forged: np.array(f)})


# Lookup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        [5],
        [3, 9],
        [8, 4, 2, 1],
        [7, 0, 3, 12],
        [1 << (10 - q) if q < 10 else 0 for q in range(128)],
        [1 << (9 - q) if q < 9 else 0 for q in range(128)],
        [1 << (14 - q) if q < 14 else 0 for q in range(128)],
        list(range(16)),
        [0, 0, 0, 0, 1, 0, 0, 0],
    ],
)
def test_lookup_is_the_table(table):
    n = len(table).bit_length() - 1
    index = np.arange(len(table))

    def build(builder, v):
        bits = bit_tensor(builder, v, n) if n else v.reshape(len(table), 1)[:, :0]
        return builder.materialize(lookup(builder, bits, table))

    circuit, (made,) = gadget_circuit(build, {"v": (index.shape, 0, max(len(table) - 1, 0))})
    witness = circuit.solve({"v": index})
    circuit.check(witness)
    assert (values(circuit, witness, made) == np.array(table)).all()
    assert_every_wire_forced(circuit, witness, inputs=False)


def test_too_many_classes_for_int64_are_refused():
    builder = Builder("t")
    acc = as_tensor(np.zeros((1, 1 << 12), np.int64))
    parts = logits(builder, acc, 0, 8, "u")
    with pytest.raises(InvalidInput, match="does not fit"):
        softmax(builder, parts, 16, 20)
