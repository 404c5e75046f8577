"""Lookups and Freivalds' check: what holds, what is refused, what weakened versions let pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_every_wire_forced,
    challenges_of,
    gadget_circuit,
    values,
)

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_at_least, maximum
from zkai.circuit.gadgets.division import divide, divide_by_constants
from zkai.circuit.gadgets.logup import Lookups, choose_widths, limbs_of, lookups
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.gadgets.relu import relu, relu_of_sign
from zkai.circuit.gadgets.rescale import rescale, rescale_with_sign
from zkai.circuit.gadgets.softmax import logits, sigmoid, softmax
from zkai.circuit.r1cs import Circuit, Partial
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Rows, Tensor
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model import fixed_point

RNG = np.random.default_rng(3)
WIDE = ((4, 3), -5000, 5000)


def reference_relu(a: np.ndarray) -> np.ndarray:
    return a * (a >= 1)


def rescale_then_relu(builder: Builder, a: Tensor) -> Tensor:
    return relu_of_sign(builder, *rescale_with_sign(builder, a, 4, 10, "z"))


CASES: dict[str, tuple[Callable[..., Tensor], dict, Callable[..., np.ndarray]]] = {
    "rescale": (
        lambda b, a: rescale(b, a, 5, 9, "z"),
        {"a": WIDE},
        lambda a: fixed_point.rescale(a, 5),
    ),
    "rescale with relu": (
        rescale_then_relu,
        {"a": WIDE},
        lambda a: reference_relu(fixed_point.rescale(a, 4)),
    ),
    "relu": (lambda b, a: relu(b, a).value, {"a": WIDE}, reference_relu),
    "relu mask": (lambda b, a: relu(b, a).mask, {"a": WIDE}, lambda a: (a >= 1).astype(int)),
    "comparison": (lambda b, a: is_at_least(b, a, 17), {"a": WIDE}, lambda a: (a >= 17) * 1),
    "maximum": (lambda b, a: maximum(b, a).value, {"a": WIDE}, lambda a: a.max(-1)),
    "argmax": (lambda b, a: maximum(b, a).index, {"a": WIDE}, lambda a: a.argmax(-1)),
    "division": (
        lambda b, a, d: divide(b, a, d, "q"),
        {"a": WIDE, "d": ((4, 3), 1, 100)},
        lambda a, d: (2 * a + d) // (2 * d),
    ),
    "division by a constant": (
        lambda b, a: divide_by_constants(b, a, 9, "q"),
        {"a": WIDE},
        lambda a: (2 * a + 9) // 18,
    ),
    "product": (
        matmul,
        {"x": ((3, 4), -50, 50), "w": ((4, 2), -50, 50)},
        lambda x, w: x @ w,
    ),
    "tall product": (
        matmul,
        {"x": ((2, 3), -50, 50), "w": ((3, 7), -50, 50)},
        lambda x, w: x @ w,
    ),
    "vector product": (
        matmul,
        {"x": ((1, 5), -50, 50), "w": ((5, 1), -50, 50)},
        lambda x, w: x @ w,
    ),
    "softmax": (
        lambda b, a: softmax(b, logits(b, a, 2, 3, "u", 3), 3, 3),
        {"a": ((2, 3), -2000, 2000)},
        lambda a: fixed_point.softmax(fixed_point.rescale(a, 2), 3, 3),
    ),
    "sigmoid": (
        lambda b, a: sigmoid(b, a, 2, 3, 3, "u"),
        {"a": ((3,), -2000, 2000)},
        lambda a: fixed_point.sigmoid(fixed_point.rescale(a, 2), 3, 3),
    ),
}


def drawn(bounds: dict) -> dict[str, np.ndarray]:
    draw = {n: RNG.integers(low, high + 1, shape) for n, (shape, low, high) in bounds.items()}
    if "a" in draw:
        draw["a"].flat[0] = 0
    return draw


def solve(circuit: Circuit, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return circuit.solve(inputs, challenge=challenges_of)


@pytest.mark.parametrize("name", CASES)
def test_gadgets_agree_with_the_reference_and_force_every_wire(name: str) -> None:
    build, bounds, expected = CASES[name]
    circuit, (made,) = gadget_circuit(build, bounds, commit=True)
    for _ in range(3):
        inputs = drawn(bounds)
        if "softmax" in name or "sigmoid" in name:
            inputs["a"] //= 4
        witness = solve(circuit, inputs)
        circuit.check(witness)
        np.testing.assert_array_equal(values(circuit, witness, made), expected(**inputs))
    # A value of an interval that is no power of two may have two spellings, as digits do.
    assert_every_hint_forced(circuit, inputs, free=("range top",))
    assert_every_wire_forced(circuit, witness, inputs=False)


@pytest.mark.parametrize("name", ["product", "rescale", "relu", "division", "argmax"])
def test_forged_integers_are_refused_after_an_honest_second_round(name: str) -> None:
    build, bounds, _ = CASES[name]
    pinned = {n: ((), *b[1:]) if n == "a" else b for n, b in bounds.items()}
    pinned = bounds if name in ("product", "argmax") else pinned

    def held(builder: Builder, **tensors: Tensor) -> Tensor:
        # The inputs, held by rows that have nothing to do with the gadget.
        for tensor in tensors.values():
            copy = builder.materialize(tensor * 2)
            builder.constrain_equal(copy, tensor * 2, "held")
        return build(builder, **tensors)

    circuit, _ = gadget_circuit(held, pinned, commit=True)
    assert_every_committed_wire_forced(circuit, solve(circuit, drawn(pinned)))


def ranged(low: int, high: int) -> Circuit:
    builder = Builder("range", commit=True)
    check_range(builder, builder.private_int("v"), low, high)
    return builder.build()


@pytest.mark.parametrize("span", [1, 2, 3, 5, 9, 64, 100, 255, 256, 1000, 65535, 70000])
def test_ranges_are_exact(span: int) -> None:
    circuit = ranged(-7, span - 7)
    for value in (0, 1, span // 2, span - 1, span):
        circuit.check(solve(circuit, {"v": np.array(value - 7)}))
    for value in (-1, span + 1, span + 2, 2 * span + 2, -span, 1 << 40):
        with pytest.raises(VerificationError):
            circuit.check(solve(circuit, {"v": np.array(value - 7)}))


@pytest.mark.parametrize("bits", [40, 61, 62])
@pytest.mark.parametrize("loose", [True, False])
def test_wide_ranges(bits: int, loose: bool) -> None:
    builder = Builder("wide", commit=True)
    v = builder.private_int("v", (40,))
    check_range(builder, v, 0, (1 << bits) - 1, loose=loose)
    circuit = builder.build()
    top = (1 << bits) - 1
    circuit.check(solve(circuit, {"v": RNG.integers(0, top, 40, endpoint=True) & ~(1 << 61)}))
    for wrong in (-1, -(1 << 60)):
        with pytest.raises(VerificationError):
            circuit.check(solve(circuit, {"v": np.full(40, wrong)}))
    with pytest.raises(InvalidInput, match="1 to 62 bits"):
        lookups(Builder("wider", commit=True)).range(v, 63, "r")


@pytest.mark.parametrize("eighths", [1, 3, 9, 63])
def test_a_limb_below_its_table_must_be_an_integer(eighths: int) -> None:
    """v 2^s in a table does not make v an integer: v itself is looked up too."""
    builder = Builder("range", commit=True)
    v = builder.private_field("v")
    wide = builder.private_int("wide", (60,))
    check_range(builder, wide, 0, 63)
    check_range(builder, Tensor((1,), Rows.of_wires(v.wires), None), 0, 7)
    circuit = builder.build()
    assert sum("range 2^6" in name for name in circuit.counts()) == 1

    def witness(value: int) -> np.ndarray:
        return circuit.solve({"v": [value], "wide": np.arange(60)}, challenge=challenges_of)

    with pytest.raises(VerificationError):
        circuit.check(witness(eighths * pow(8, -1, FIELD_MODULUS) % FIELD_MODULUS))


def test_table_widths_minimise_the_rows() -> None:
    need = {(20, False): 1000, (12, False): 600, (36, True): 300}
    widths = choose_widths(need)

    def rows(chosen: tuple[int, ...]) -> int:
        total = sum(1 << w for w in chosen)
        for (bits, loose), n in need.items():
            limbs = limbs_of(bits, loose, chosen)
            total += n * sum(1 if size == width else 2 for size, width in limbs)
            assert sum(size for size, _ in limbs) >= bits
            assert loose or sum(size for size, _ in limbs) == bits
        return total

    best = rows(widths)
    assert all(rows((w,)) >= best for w in range(2, 14))
    assert all(rows((v, w)) >= best for w in range(2, 13) for v in range(2, w))
    assert choose_widths({}) == ()


# What the weakened versions let pass -------------------------------------------------------------


def lookup_circuit() -> Circuit:
    """One range [0, 16) and one function on [0, 64) that is 0 at 50, in one argument."""
    builder = Builder("shared", commit=True)
    table = np.arange(64) * 3 + 1
    table[50] = 0
    v, x, y = (builder.private_int(name) for name in "vxy")
    check_range(builder, v, 0, 15)
    lookups(builder).function("f", table, x, y, "f")
    return builder.build()


def label_of(circuit: Circuit, part: str) -> str:
    return next(s.label for s in circuit.steps if part in s.label)


def test_an_untagged_shared_table_lets_an_entry_pass_for_a_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {"v": np.array(50), "x": np.array(2), "y": np.array(7)}

    def count(multiplicities: np.ndarray) -> np.ndarray:
        multiplicities[50] += 1
        return multiplicities

    def forged(circuit: Circuit) -> None:
        tamper = {label_of(circuit, "f multiplicities"): count}
        circuit.check(circuit.solve(inputs, tamper, challenges_of))

    with pytest.raises(VerificationError, match="balance"):
        forged(lookup_circuit())
    monkeypatch.setattr(
        Lookups, "_tags", lambda self, order, square: dict.fromkeys(order, square * 0)
    )
    forged(lookup_circuit())


@pytest.mark.parametrize(("x", "y"), [(2, 8), (50, 1), (64, 0), (-1, 1)])
def test_a_pair_that_is_not_in_the_table_is_refused(x: int, y: int) -> None:
    circuit = lookup_circuit()
    circuit.check(solve(circuit, {"v": np.array(3), "x": np.array(50), "y": np.array(0)}))
    with pytest.raises(VerificationError, match="balance"):
        circuit.check(solve(circuit, {"v": np.array(3), "x": np.array(x), "y": np.array(y)}))


def test_multiplicities_after_the_challenges_would_pass_anything() -> None:
    """With alpha known, one multiplicity balances a value out of range; committed, it does not."""
    circuit = ranged(0, 15)
    partial = circuit.begin({"v": np.array(99)})
    challenges = challenges_of(circuit.round_one(partial))
    wires = next(s.wires for s in circuit.steps if "multiplicities" in s.label)
    alpha, r = challenges[1], FIELD_MODULUS
    fudged = partial.witness.copy()
    fudged[wires] = 0
    inverses = circuit.finish(Partial(fudged), challenges)
    found = [s.wires for s in circuit.steps if s.round_number == 2 and s.label.startswith("range")]
    total = sum(from_limbs(inverses[np.concatenate(found)]))
    fudged[wires[0]] = to_limbs([total * alpha % r])[0]
    weak = circuit.finish(Partial(fudged), challenges)
    circuit.check(weak)
    with pytest.raises(VerificationError, match="balance"):
        circuit.check(circuit.finish(Partial(fudged), challenges_of(fudged)))


@pytest.mark.parametrize(
    ("power", "size"),
    [(1, 64), (2, 4)],
    ids=["alpha is the fold, in table 0", "alpha is the fold's square, in table 1"],
)
def test_alpha_that_follows_from_the_fold_would_pass_any_pair(power: int, size: int) -> None:
    """(0, v) then has the pole of (0, f(0)), and a fractional multiplicity fits its residue."""
    builder = Builder("pairs", commit=True)
    table = np.arange(size) * 3 + 2
    x, y = (builder.private_int(name) for name in "xy")
    check_range(builder, builder.private_int("v", (40,)), 0, 15)
    lookups(builder).function("f", table, x, y, "f")
    circuit = builder.build()
    partial = circuit.begin({"x": np.array(0), "y": np.array(99), "v": np.arange(40) % 16})
    wires = next(s.wires for s in circuit.steps if "f multiplicities" in s.label)
    fudged = partial.witness.copy()
    # 1 / (s - 0 - s v) for table 0 and 1 / (s^2 - 0 - s v - s^2) for table 1, against v = f(0) = 2
    fraction = (
        (1 - 2) * pow(1 - 99, -1, FIELD_MODULUS) if power == 1 else 2 * pow(99, -1, FIELD_MODULUS)
    )
    fudged[wires] = 0
    fudged[wires[0]] = to_limbs([fraction % FIELD_MODULUS])[0]
    for fold in challenges_of(fudged):
        circuit.check(circuit.finish(Partial(fudged), [fold, pow(fold, power, FIELD_MODULUS)]))
    with pytest.raises(VerificationError, match="balance"):
        circuit.check(circuit.finish(Partial(fudged), challenges_of(fudged)))


def test_a_product_after_the_challenge_would_pass_any_matrix() -> None:
    """z u = x w u is one equation: whoever knows u first finds another z."""
    circuit, (z,) = gadget_circuit(
        matmul, {"x": ((3, 4), -50, 50), "w": ((4, 2), -50, 50)}, commit=True
    )
    inputs = {"x": RNG.integers(-50, 50, (3, 4)), "w": RNG.integers(-50, 50, (4, 2))}
    partial = circuit.begin(inputs)
    challenges = challenges_of(circuit.round_one(partial))
    u = challenges[0]
    fudged = partial.witness.copy()
    first = z.rows.wires.reshape(3, 2)[0]
    old = from_limbs(fudged[first])
    new = [(old[0] - u) % FIELD_MODULUS, (old[1] + 1) % FIELD_MODULUS]
    fudged[first] = to_limbs(new)
    circuit.check(circuit.finish(Partial(fudged), challenges))
    with pytest.raises(VerificationError, match="freivalds"):
        circuit.check(circuit.finish(Partial(fudged), challenges_of(fudged)))


def test_products_that_could_wrap_are_refused() -> None:
    builder = Builder("wide", commit=True)
    x = builder.private_int("x", (2, 8))
    w = builder.private_int("w", (8, 2))
    with pytest.raises(InvalidInput, match="proven range"):
        matmul(builder, x, w)
    x, w = builder.with_bound(x, 0, 1 << 30), builder.with_bound(w, 0, 1 << 30)
    with pytest.raises(InvalidInput, match="above 2"):
        matmul(builder, x, w)


def test_operands_and_values_must_precede_the_challenges() -> None:
    builder = Builder("late", commit=True)
    alpha = builder.challenge("alpha")
    late = define_product(builder, "late", alpha, alpha).reshape(1)
    with pytest.raises(InvalidInput, match="must fix it first"):
        lookups(builder).range(late, 8, "range")
    with pytest.raises(InvalidInput, match="must fix it first"):
        lookups(builder).function("f", [1, 2], late, late, "f")
    with pytest.raises(InvalidInput, match="from a challenge"):
        matmul(builder, builder.with_bound(late.reshape(1, 1), 0, 1), _one(builder))


def _one(builder: Builder) -> Tensor:
    return builder.with_bound(builder.private_int("w", (1, 1)), 0, 1)


def test_two_products_that_share_a_matrix_are_checked_together() -> None:
    builder = Builder("layer", commit=True)
    x = builder.with_bound(builder.private_int("x", (6, 5)), -9, 9)
    w = builder.with_bound(builder.private_int("w", (5, 3)), -9, 9)
    e = builder.with_bound(builder.private_int("e", (6, 4)), -9, 9)
    out, gradient = matmul(builder, x, w), matmul(builder, x.transpose(), e)
    circuit = builder.build()
    checks = sum(n for name, n in circuit.counts().items() if "freivalds" in name)
    assert checks == 5 * 2 + 6 * 2 + 6 * 3 + 5 * 3 + 6 * 5 + 6 + 5
    draw = {n: RNG.integers(-9, 10, s) for n, s in (("x", (6, 5)), ("w", (5, 3)), ("e", (6, 4)))}
    witness = solve(circuit, draw)
    circuit.check(witness)
    np.testing.assert_array_equal(values(circuit, witness, out), draw["x"] @ draw["w"])
    np.testing.assert_array_equal(values(circuit, witness, gradient), draw["x"].T @ draw["e"])
    assert_every_hint_forced(circuit, draw)
    assert_every_committed_wire_forced(circuit, witness, inputs=False)
