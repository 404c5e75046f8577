"""range, rescale, division, matmul, relu, compare: right results, and nothing else provable."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    assert_wire_refused,
    forger,
    gadget_circuit,
    values,
)
from hypothesis import given
from hypothesis import strategies as st

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_at_least, maximum, one_hot, require_zero_among
from zkai.circuit.gadgets.division import divide, divide_by_constants
from zkai.circuit.gadgets.matmul import dot, im2col, matmul
from zkai.circuit.gadgets.range import (
    bit_tensor,
    check_range,
    digit_weights,
    digits,
    new_windowed,
)
from zkai.circuit.gadgets.relu import relu, relu_of_sign
from zkai.circuit.gadgets.rescale import rescale, rescale_product, rescale_with_sign
from zkai.circuit.tensor import as_tensor
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, VerificationError
from zkai.model import fixed_point as fixed

WIDE = (-(1 << 40), 1 << 40)


def exercise(build, bounds, inputs, wanted, unique=True):
    """Check a gadget's result and bound, then forge each hint and each wire."""
    circuit, made = gadget_circuit(build, bounds)
    witness = circuit.solve(inputs)
    circuit.check(witness)
    result = values(circuit, witness, made[0])
    assert (result == wanted).all()
    assert made[0].bound is not None
    assert made[0].bound[0] <= result.min()
    assert result.max() <= made[0].bound[1]
    if unique:
        assert_every_wire_forced(circuit, witness, inputs=False)
        assert_every_hint_forced(circuit, inputs)
    return circuit, witness


# Range ----------------------------------------------------------------------------------------


@given(st.integers(1, (1 << 62) - 1))
def test_digit_weights_reach_the_span_and_no_further(span):
    weights = digit_weights(span)
    assert len(weights) == span.bit_length()
    assert sum(weights) == span
    # Sorted, each weight exceeds the sum of the smaller ones by at most 1: no gap below the span.
    total = 0
    for weight in sorted(weights):
        assert 0 < weight <= total + 1
        total += weight


@given(st.integers(1, (1 << 62) - 1), st.data())
def test_digits_of_values_in_the_span(span, data):
    v = np.array([0, span, data.draw(st.integers(0, span))], np.int64)
    d = digits(v, span)
    assert set(np.unique(d)) <= {0, 1}
    assert (d @ np.array(digit_weights(span), np.int64) == v).all()


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127), (0, 1), (-3, 3), (5, 5), (0, 9)])
def test_range_accepts_its_ends_and_nothing_beside(low, high):
    def build(builder, v):
        return check_range(builder, v, low, high, "v")

    circuit, _ = gadget_circuit(build, {"v": ((1,), *WIDE)})
    assert circuit.n_constraints == max((high - low).bit_length(), 1)
    for v in {low, high, (low + high) // 2}:
        circuit.check(circuit.solve({"v": np.array([v])}))
    for v in (low - 1, high + 1, low - (1 << 39), high + (1 << 39)):
        with pytest.raises(InvalidInput, match="'v'"):
            circuit.solve({"v": np.array([v])})
        with pytest.raises(VerificationError, match="range"):
            circuit.check(forger(circuit).solve({"v": np.array([v])}))


def test_range_digits_must_be_booleans():
    circuit, (bits,) = gadget_circuit(
        lambda builder, v: bit_tensor(builder, v, 8), {"v": ((1,), *WIDE)}
    )
    witness = circuit.solve({"v": np.array([0b10110101])})
    assert values(circuit, witness, bits).tolist() == [[1, 0, 1, 0, 1, 1, 0, 1]]
    assert_every_wire_forced(circuit, witness)
    first = 2  # wire 1 is v, then come digits 1 to 7
    # 4 + 16 as 2 * 8 + 4, as -1 bits, and with a digit of r - 1: the same sums, no booleans.
    assert_wire_refused(circuit, witness, {first + 1: 1, first + 2: 2, first + 3: 0})
    assert_wire_refused(circuit, witness, {first + 1: -1, first + 2: 1, first + 3: 1})
    assert_wire_refused(circuit, witness, {first: FIELD_MODULUS - 1, first + 1: 2})
    # A negative number is r - 1, far from 8 bits.
    with pytest.raises(VerificationError):
        circuit.check(forger(circuit).solve({"v": np.array([-1])}))


def test_range_needs_no_row_where_the_bound_is_proven():
    builder = Builder("t")
    v = check_range(builder, builder.private_int("v", (4,)), 0, 15)
    before = builder.n_constraints
    assert check_range(builder, v, -1, 15) is v
    assert builder.n_constraints == before
    assert check_range(builder, v, 0, 14).bound == (0, 14)
    assert builder.n_constraints == before + 16


def test_windows_reach_out_from_one_end_only():
    def build(anchor):
        def inner(builder, v):
            return new_windowed(builder, "w", lambda x: x, [v], (1,), (3, 9), anchor)

        return gadget_circuit(inner, {"v": ((1,), *WIDE)})

    (up, (tensor,)), (down, _) = build(False), build(True)
    assert tensor.bound == (3, 10)
    for circuit, good, bad in ((up, (3, 10), (2, 11)), (down, (2, 9), (1, 10))):
        for v in good:
            circuit.check(circuit.solve({"v": np.array([v])}))
        for v in bad:
            with pytest.raises(VerificationError):
                circuit.check(circuit.solve({"v": np.array([v])}))


def test_bad_ranges_are_refused():
    builder = Builder("t")
    v = builder.private_int("v")
    with pytest.raises(InvalidInput, match="empty"):
        check_range(builder, v, 1, 0)
    with pytest.raises(InvalidInput, match="1 to 62 bits"):
        bit_tensor(builder, v, 63)
    with pytest.raises(InvalidInput, match="1 to 62 bits"):
        check_range(builder, v, 0, 1 << 62)


@pytest.mark.parametrize(
    "gadget",
    [
        lambda b, v: rescale(b, v, 2, 8, "v"),
        lambda b, v: rescale_with_sign(b, v, 2, 8, "v"),
        lambda b, v: rescale_product(b, v, v, 2, 8, "v"),
        lambda b, v: divide(b, v, as_tensor(np.array([3])), "v"),
        lambda b, v: divide(b, as_tensor(np.array([3])), v, "v"),
        lambda b, v: divide_by_constants(b, v, 3, "v"),
        lambda b, v: relu(b, v),
        lambda b, v: is_at_least(b, v, 0),
        lambda b, v: maximum(b, v),
        lambda b, v: dot(b, v, v, "dot"),
        lambda b, v: matmul(b, v.reshape(1, 1), v.reshape(1, 1)),
    ],
)
def test_gadgets_refuse_operands_without_a_proven_range(gadget):
    builder = Builder("t")
    v = builder.private_int("v", (1,))
    with pytest.raises(InvalidInput, match="proven range"):
        gadget(builder, v)


# Rescale --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-2, 0, 1, 3, 10])
def test_rescale(shift):
    half = 1 << max(shift - 1, 0)
    a = np.array([0, 1, -1, half, half - 1, -half, -half - 1, 3 * half, -3 * half, 4095, -4096])
    exercise(
        lambda b, a: rescale(b, a, shift, 15, "q"),
        {"a": (a.shape, -4096, 4095)},
        {"a": a},
        fixed.rescale(a, shift),
    )
    exercise(
        lambda b, a: rescale_with_sign(b, a, shift, 15, "q"),
        {"a": (a.shape, -4096, 4095)},
        {"a": a},
        fixed.rescale(a, shift),
    )


def test_rescale_with_sign_gives_the_sign():
    a = np.array([-9, -8, -5, -4, -1, 0, 3, 4, 100])
    circuit, (_, sign) = gadget_circuit(
        lambda b, a: rescale_with_sign(b, a, 3, 8, "q"), {"a": (a.shape, *WIDE)}
    )
    witness = circuit.solve({"a": a})
    circuit.check(witness)
    assert (values(circuit, witness, sign) == (fixed.rescale(a, 3) >= 0)).all()
    assert_every_wire_forced(circuit, witness, inputs=False)


@pytest.mark.parametrize("gadget", [rescale, lambda *args: rescale_with_sign(*args)[0]])
@pytest.mark.parametrize("shift", [-1, 0, 4])
def test_rescale_rejects_an_overflow_by_name_and_by_constraint(gadget, shift):
    circuit, _ = gadget_circuit(lambda b, a: gadget(b, a, shift, 8, "z"), {"a": ((1,), *WIDE)})
    low, high = -128, 127
    edges = [(v << shift) if shift > 0 else v >> -shift for v in (low, high)]
    for a in edges:
        circuit.check(circuit.solve({"a": np.array([a])}))
    over = [edges[1] + (1 << max(shift - 1, 0)), edges[0] - (1 << max(shift - 1, 0)) - 1]
    for a in over:
        with pytest.raises(InvalidInput, match="'z'"):
            circuit.solve({"a": np.array([a])})
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve({"a": np.array([a])}))


@pytest.mark.parametrize(("low", "high"), [(-10, 1 << 20), (-(1 << 20), 10), (-10, 10)])
def test_rescale_checks_the_declared_end_where_only_one_is_nearer(low, high):
    """The operand's own interval proves one end; the check must hold the other exactly."""
    circuit, (q,) = gadget_circuit(
        lambda b, a: rescale(b, a, 4, 8, "z"), {"a": ((1,), low << 4, high << 4)}
    )
    assert q.bound == (max(low, -128), min(high, 127))
    for value in {max(low, -128), 0, min(high, 127)}:
        circuit.check(circuit.solve({"a": np.array([value << 4])}))
    for value in {-129, -300, 128, 245, 300} & set(range(low, high + 1)):
        with pytest.raises(InvalidInput, match="'z'"):
            circuit.solve({"a": np.array([value << 4])})
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve({"a": np.array([value << 4])}))


@pytest.mark.parametrize("change", [1, -1, 1 << 10, -(1 << 10)])
def test_rescale_refuses_a_shifted_quotient_with_its_remainder(change):
    def build(b, a):
        return rescale(b, a, 6, 12, "q")

    circuit, _ = gadget_circuit(build, {"a": ((5,), -(1 << 17), (1 << 17) - 1)})
    a = np.array([-100, 0, 31, 32, 99])
    # The remainder is whatever the forged quotient leaves, so its own range must refuse.
    assert "remainder" in assert_refused(circuit, {"a": a}, {"quotient": lambda q: q + change})


def test_rescale_of_products():
    a, b = np.array([3, -7, 100, -100, 0, 127]), np.array([5, 9, 100, 100, 3, -128])
    circuit, _ = exercise(
        lambda builder, a, b: rescale_product(builder, a, b, 5, 12, "p"),
        {"a": (a.shape, -128, 127), "b": (a.shape, -128, 127)},
        {"a": a, "b": b},
        fixed.rescale(a * b, 5),
    )
    for change in (1, -1):
        assert_refused(circuit, {"a": a, "b": b}, {"quotient": lambda q, c=change: q + c})


# Division -------------------------------------------------------------------------------------

NUMERATORS = np.array([7, -7, -5, 5, 1, -1, 100, -100, 0, 3, -3, 127, -128])
DIVISORS = np.array([2, 2, 10, 10, 3, 3, 1, 9, 7, 2, 2, 12, 12])


def test_division():
    circuit, _ = exercise(
        lambda b, n, d: divide(b, n, d, "q"),
        {"n": (NUMERATORS.shape, -128, 127), "d": (DIVISORS.shape, 1, 12)},
        {"n": NUMERATORS, "d": DIVISORS},
        fixed.divide(NUMERATORS, DIVISORS),
    )
    inputs = {"n": np.full(13, 5), "d": np.full(13, 3)}
    messages = [
        assert_refused(circuit, inputs, {"quotient": lambda q, c=c: q + c}) for c in (1, -1)
    ]
    # One more leaves a negative remainder, one less a remainder of 2b or more.
    assert "remainder range" in messages[0]
    assert "remainder below divisor" in messages[1]


@given(st.integers(-(1 << 40), 1 << 40), st.integers(1, 1 << 20))
def test_division_matches_the_reference(a, b):
    circuit, (q,) = gadget_circuit(
        lambda builder, a, b: divide(builder, a, b, "q"),
        {"a": ((1,), *WIDE), "b": ((1,), 1, 1 << 20)},
    )
    witness = circuit.solve({"a": np.array([a]), "b": np.array([b])})
    circuit.check(witness)
    assert values(circuit, witness, q).tolist() == [(2 * a + b) // (2 * b)]


def test_division_by_constants():
    exercise(
        lambda b, n: divide_by_constants(b, n, np.array([2, 4, 8, 2, 4]), "q"),
        {"n": ((5,), -128, 127)},
        {"n": NUMERATORS[:5]},
        fixed.divide(NUMERATORS[:5], np.array([2, 4, 8, 2, 4])),
    )
    # 2b is no power of two: the digits are not unique, the quotient is.
    circuit, _ = exercise(
        lambda b, n: divide_by_constants(b, n, 9, "q"),
        {"n": (NUMERATORS.shape, -128, 127)},
        {"n": NUMERATORS},
        fixed.divide(NUMERATORS, 9),
        unique=False,
    )
    for change in (1, -1, 9, -9):
        assert_refused(circuit, {"n": NUMERATORS}, {"quotient": lambda q, c=change: q + c})


@pytest.mark.parametrize("b", [1, 2, 4, 6, 10])
def test_ties_of_divisions_go_up_only(b):
    """At a tie the remainder is 0, and one quotient less would leave exactly 2b."""
    a = np.array([b // 2, -b // 2, b // 2 + b, 5 * b + b // 2]) if b > 1 else np.array([0, 1, -1])
    wanted = fixed.divide(a, b)
    for build, inputs in (
        (lambda builder, a: divide_by_constants(builder, a, b, "q"), {"a": a}),
        (lambda builder, a, d: divide(builder, a, d, "q"), {"a": a, "d": np.full_like(a, b)}),
    ):
        bounds = {"a": (a.shape, -128, 127), "d": (a.shape, 1, b)}
        circuit, (q,) = gadget_circuit(build, {name: bounds[name] for name in inputs})
        assert (values(circuit, circuit.solve(inputs), q) == wanted).all()
        for place in range(len(a)):
            for by in (1, -1):

                def shift(quotient, place=place, by=by):
                    forged = quotient.copy()
                    forged[place] += by
                    return forged

                assert_refused(circuit, inputs, {"quotient": shift})


def test_division_refuses_divisors_that_may_vanish_and_numbers_too_large():
    builder = Builder("t")
    n = builder.with_bound(builder.private_int("n"), 0, 9)
    d = builder.with_bound(builder.private_int("d"), 0, 9)
    with pytest.raises(InvalidInput, match="not positive"):
        divide(builder, n, d, "q")
    with pytest.raises(InvalidInput, match="2\\*\\*62"):
        divide(builder, builder.with_bound(n, 0, 1 << 61), n + 1, "q")


# Matrix products ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 5, 4), (2, 8, 3), (1, 6, 5), (7, 3, 1), (4, 2, 9)]
)
def test_private_matmul(shape):
    batch, n, m = shape
    rng = np.random.default_rng(sum(shape))
    x, w = rng.integers(-8, 8, (batch, n)), rng.integers(-500, 500, (n, m))
    inputs = {"x": x, "w": w}
    circuit, _ = exercise(
        lambda b, x, w: matmul(b, x, w),
        {"x": (x.shape, -8, 7), "w": (w.shape, -500, 500)},
        inputs,
        x @ w,
    )
    winograd = batch * m * (n // 2 + n % 2) + (batch + m) * (n // 2)
    assert circuit.n_constraints == min(winograd, batch * m * n)

    def shift_a_partial_sum(sums):
        forged = sums.copy().reshape(batch, m, -1)
        forged[0, 0, forged.shape[2] // 2 :] += 5
        return forged.ravel()

    assert "matmul" in assert_refused(circuit, inputs, {"matmul": shift_a_partial_sum})


def test_matmul_with_constants_costs_nothing():
    rng = np.random.default_rng(1)
    x, w = rng.integers(-8, 8, (2, 3, 5)), rng.integers(-500, 500, (5, 4))
    for build, wanted in (
        (lambda b, x: matmul(b, x, as_tensor(w)), x @ w),
        (lambda b, x: matmul(b, as_tensor(w.T), x[0].transpose()), w.T @ x[0].T),
    ):
        circuit, (made,) = gadget_circuit(build, {"x": (x.shape, -8, 7)})
        assert circuit.n_constraints == 0
        assert (values(circuit, circuit.solve({"x": x}), made) == wanted).all()
        low, high = made.bound
        assert low <= wanted.min()
        assert wanted.max() <= high


def test_matmul_puts_long_operands_on_wires():
    rng = np.random.default_rng(2)
    x, w = rng.integers(0, 8, (6, 8)), rng.integers(0, 8, (8, 20))
    mix = rng.integers(-3, 4, (8, 8))
    circuit, _ = exercise(
        lambda b, x, w: matmul(b, x.matmul_const(mix), w),
        {"x": (x.shape, 0, 7), "w": (w.shape, 0, 7)},
        {"x": x, "w": w},
        x @ mix @ w,
    )
    assert "circuit: matmul operand" in circuit.counts()


def test_wide_operands_take_the_plain_product():
    """Winograd's identity would square weights of 40 bits."""
    rng = np.random.default_rng(3)
    x, w = rng.integers(-8, 8, (3, 4)), rng.integers(-(1 << 40), 1 << 40, (4, 5))
    circuit, _ = exercise(
        lambda b, x, w: matmul(b, x, w),
        {"x": (x.shape, -8, 7), "w": (w.shape, -(1 << 40), 1 << 40)},
        {"x": x, "w": w},
        x @ w,
    )
    assert circuit.n_constraints == x.size * 5


def test_products_past_int64_are_refused():
    builder = Builder("t")
    x = builder.with_bound(builder.private_int("x", (1, 1)), 0, 1 << 31)
    with pytest.raises(InvalidInput, match="above 2"):
        matmul(builder, x, x)
    with pytest.raises(InvalidInput, match="above 2"):
        rescale_product(builder, x, x, 9, 60, "p")


def test_matmul_refuses_shapes_that_do_not_match():
    builder = Builder("t")
    x = builder.with_bound(builder.private_int("x", (2, 3)), 0, 1)
    with pytest.raises(InvalidInput, match="cannot multiply"):
        matmul(builder, x, x)


def test_im2col_gathers_and_pads():
    x = np.arange(6).reshape(2, 3)
    patches = np.array([[0, -1, 5], [3, 3, -1]])
    circuit, (made,) = gadget_circuit(lambda b, x: im2col(x, patches), {"x": (x.shape, 1, 5)})
    assert values(circuit, circuit.solve({"x": x}), made).tolist() == [[0, 0, 5], [3, 3, 0]]
    assert made.bound == (0, 5)
    with pytest.raises(InvalidInput, match="does not have"):
        im2col(made, np.array([6]))


# ReLU and comparisons -------------------------------------------------------------------------


def test_relu_and_its_mask():
    z = np.array([-128, -2, -1, 0, 1, 2, 127])
    bounds = {"z": (z.shape, -128, 127)}
    circuit, _ = exercise(lambda b, z: relu(b, z).value, bounds, {"z": z}, fixed.relu(z))
    exercise(lambda b, z: relu(b, z).mask, bounds, {"z": z}, fixed.relu_mask(z))
    exercise(
        lambda b, z: relu_of_sign(b, *rescale_with_sign(b, z, 0, 8, "z")),
        {"z": (z.shape, -200, 200)},
        {"z": z},
        fixed.relu(z),
    )
    # Every mask flipped in turn, with the product that follows from it.
    n_digits = 8

    for i in range(len(z)):

        def flip(bits, i=i):
            forged = bits.reshape(len(z), n_digits).copy()
            forged[i, -1] ^= 1
            return forged

        assert "sign" in assert_refused(circuit, {"z": z}, {"sign digits": flip})


def test_relu_of_known_signs_costs_nothing():
    z = np.array([0, 3, 5])
    circuit, (value, mask) = gadget_circuit(
        lambda b, z: (relu(b, z + 1).value, relu(b, z - 9).mask), {"z": (z.shape, 0, 9)}
    )
    assert circuit.n_constraints == 0
    witness = circuit.solve({"z": z})
    assert values(circuit, witness, value).tolist() == [1, 4, 6]
    assert values(circuit, witness, mask).tolist() == [0, 0, 0]


def test_is_at_least():
    a, b = np.array([3, 3, 3, -8, 7]), np.array([2, 3, 4, 7, -8])
    circuit, _ = exercise(
        lambda builder, a, b: is_at_least(builder, a, b),
        {"a": (a.shape, -8, 7), "b": (b.shape, -8, 7)},
        {"a": a, "b": b},
        (a >= b).astype(int),
    )

    def lie(bits):
        forged = bits.reshape(len(a), -1).copy()
        forged[:, -1] ^= 1
        return forged

    assert_refused(circuit, {"a": a, "b": b}, {"sign digits": lie})


ROWS = np.array([[3, 5, 5], [-8, -8, -8], [7, 6, 7], [0, 1, 2], [2, 1, 0]])


def test_maximum_and_its_lowest_index():
    bounds = {"u": (ROWS.shape, -8, 7)}
    exercise(lambda b, u: maximum(b, u).value, bounds, {"u": ROWS}, ROWS.max(1))
    exercise(lambda b, u: maximum(b, u).index, bounds, {"u": ROWS}, ROWS.argmax(1))
    one = ROWS[:, :1]
    exercise(lambda b, u: maximum(b, u).value, {"u": (one.shape, -8, 7)}, {"u": one}, one[:, 0])


@pytest.mark.parametrize("forged_index", [[2, 0, 0, 2, 0], [1, 1, 0, 2, 0], [0, 0, 0, 2, 0]])
def test_another_index_is_refused(forged_index):
    """A later tie, and an entry that is no maximum with m lowered to it."""
    circuit, _ = gadget_circuit(lambda b, u: maximum(b, u).index, {"u": (ROWS.shape, -8, 7)})
    index = np.array(forged_index)
    attained = ROWS[np.arange(len(ROWS)), index]
    others = (index[:, None] == np.arange(1, 3)).astype(np.int64)
    tamper = {"maximum": lambda m: attained, "selected": lambda s: others}
    assert_refused(circuit, {"u": ROWS}, tamper)


def test_a_maximum_that_no_entry_attains_is_refused():
    circuit, _ = gadget_circuit(lambda b, u: maximum(b, u).value, {"u": (ROWS.shape, -8, 7)})
    assert "attained" in assert_refused(circuit, {"u": ROWS}, {"maximum": lambda m: m + 1})


def test_one_hot_is_one_hot():
    index = np.array([0, 1, 2, 0])
    circuit, (made,) = gadget_circuit(
        lambda b, i: one_hot(b, "hot", lambda x: x, [i], (4,), 3), {"i": ((4,), 0, 2)}
    )
    witness = circuit.solve({"i": index})
    circuit.check(witness)
    assert (values(circuit, witness, made) == np.eye(3, dtype=int)[index]).all()
    for forged in ([1, 1, 0, 1, 0, 0, 0, 0], [2, 0, 0, 1, 0, 0, 0, 0], [-1, 1, 0, 1, 0, 0, 0, 0]):
        assert_refused(
            circuit, {"i": index}, {"hot": lambda _, f=forged: np.array(f).reshape(4, 2)}
        )


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_some_entry_is_zero(n):
    def build(b, d):
        require_zero_among(b, d)
        return d

    big = np.full((n, n), (1 << 40) - 1)
    zeros = big - np.diag(np.diag(big))
    circuit, _ = gadget_circuit(build, {"d": ((n, n), 0, 1 << 40)})
    witness = circuit.solve({"d": zeros})
    assert_every_wire_forced(circuit, witness, inputs=False)
    circuit.check(circuit.solve({"d": zeros * 0}))
    for row in range(n):
        forged = zeros.copy()
        forged[row, row] = 1
        with pytest.raises(VerificationError, match="attained"):
            circuit.check(circuit.solve({"d": forged}))
