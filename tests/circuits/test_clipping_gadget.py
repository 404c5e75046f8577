"""Clipping in constraints: no factor but the largest allowed one, no norm but the true one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    challenges_of,
    gadget_circuit,
    values,
)

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import clipping as gadget
from zkai.circuit.tensor import Tensor
from zkai.errors import InvalidInput
from zkai.model import clipping
from zkai.model.clipping import LayerBounds, NormPlan

# The second layer's scale makes N shift right; the first has a bias, the second none.
# The third's inputs are shifted before the product.
PLAN = NormPlan(
    (
        LayerBounds(3 * 31**2, 2 * 8**2, 4, 5),
        LayerBounds(2 << 30, 2 << 20, 0, 13),
        LayerBounds(2 << 30, 2 << 30, 0, 16),
    )
)
BOUNDS = {
    "x": ((3, 3), -31, 31),
    "e": ((3, 2), -8, 7),
    "h": ((3, 2), 0, (1 << 15) - 1),
    "d": ((3, 2), -(1 << 10), 1 << 10),
    "r": ((3, 2), -(1 << 15), 1 << 15),
}
THRESHOLD = 1 << 38


def norms(builder: Builder, x: Tensor, e: Tensor, h: Tensor, d: Tensor, r: Tensor) -> Tensor:
    return gadget.squared_norms(builder, PLAN, [(x, e), (h, d), (h, r)])


def factors(builder: Builder, **parts: Tensor) -> tuple[Tensor, Tensor]:
    found = norms(builder, **parts)
    return found, gadget.clip_factors(builder, found, THRESHOLD)


def inputs(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = {n: rng.integers(low, high + 1, shape) for n, (shape, low, high) in BOUNDS.items()}
    drawn["e"][0] = drawn["d"][0] = drawn["r"][0] = 0  # no gradient at all
    for name in ("d", "r"):
        drawn[name][1] //= 256
    return drawn


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
def test_the_gadget_is_the_reference_and_forces_every_wire(commit: bool) -> None:
    assert PLAN.shifts[1] > 0 > PLAN.shifts[0]
    assert PLAN.layers[2].input_shift == 4
    circuit, made = gadget_circuit(factors, BOUNDS, commit)
    for seed in range(3):
        given = inputs(seed)
        witness = circuit.solve(given, challenge=challenges_of)
        circuit.check(witness)
        expected = clipping.squared_norms(
            PLAN, [(given[a], given[b]) for a, b in (("x", "e"), ("h", "d"), ("h", "r"))]
        )
        np.testing.assert_array_equal(values(circuit, witness, made[0]), expected)
        found = clipping.clip_factors(expected, THRESHOLD)
        np.testing.assert_array_equal(values(circuit, witness, made[1]), found)
    assert found[0] == 4096
    assert 1 < found[1] < 4095
    assert_every_hint_forced(circuit, given)
    assert_every_wire_forced(circuit, witness, inputs=False)


def test_every_committed_wire_is_forced() -> None:
    def held(builder: Builder, n: Tensor) -> Tensor:
        builder.constrain_equal(builder.materialize(n * 2), n * 2, "held")
        return gadget.clip_factors(builder, n, 1 << 17)

    circuit, _ = gadget_circuit(held, {"n": ((), 0, 1 << 12)}, commit=True)
    for norm in (0, 1, 100, 1 << 12):
        witness = circuit.solve({"n": np.array(norm)}, challenge=challenges_of)
        assert_every_committed_wire_forced(circuit, witness)


FORGERIES: dict[str, Callable[[int], tuple[int, int]]] = {
    "too large": lambda f: (f + 1, 0),
    "too small": lambda f: (f - 1, 0),
    "zero": lambda f: (0, 0),
    "whole": lambda f: (4096, 1),
    "whole, unsaid": lambda f: (4096, 0),
    "said whole": lambda f: (f, 1),
    "above one": lambda f: (4097, 0),
    "far above one": lambda f: (8191, 1),
    "negative": lambda f: (-f, 0),
}


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
@pytest.mark.parametrize("name", FORGERIES)
def test_forged_factors_are_refused(name: str, commit: bool) -> None:
    circuit, made = gadget_circuit(factors, BOUNDS, commit)
    given = inputs(2)
    honest = values(circuit, circuit.solve(given, challenge=challenges_of), made[1])
    row = int(np.flatnonzero((honest > 1) & (honest < 4095))[0])

    def forge(out: np.ndarray) -> np.ndarray:
        changed = np.array(out)
        changed[row], changed[len(honest) + row] = FORGERIES[name](int(honest[row]))
        return changed

    assert_refused(circuit, given, {"clip factors": forge})


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
@pytest.mark.parametrize("forged", [(4095, 0), (0, 0), (4096, 0), (4095, 1)])
def test_a_gradient_within_the_bound_cannot_be_shrunk(
    commit: bool, forged: tuple[int, int]
) -> None:
    """Not even by a unit, and its flag [f = 2**12] is forced too."""
    circuit, made = gadget_circuit(factors, BOUNDS, commit)
    given = inputs(0)
    honest = values(circuit, circuit.solve(given, challenge=challenges_of), made[1])
    assert honest[0] == 4096
    forge = {0: forged[0], len(honest): forged[1]}
    message = assert_refused(circuit, given, {"clip factors": lambda out: _changed(out, forge)})
    assert "factor" in message or "lookups balance" in message


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
@pytest.mark.parametrize("label", ["squares", "squared norm", "quotient"])
def test_forged_norms_are_refused(label: str, commit: bool) -> None:
    """A smaller norm would let a gradient pass the bound, a larger one would shrink it."""
    circuit, _ = gadget_circuit(factors, BOUNDS, commit)
    labels = [s.label for s in circuit.steps if s.label.split("#")[0] == label and len(s.wires)]
    assert labels
    for step in labels:
        for change in (-1, 1, -1000):
            assert_refused(circuit, inputs(1), {step: lambda out, c=change: _shifted(out, c)})


def _changed(out: np.ndarray, places: dict[int, int]) -> np.ndarray:
    changed = np.array(out)
    for place, value in places.items():
        changed[place] = value
    return changed


def _shifted(out: np.ndarray, change: int) -> np.ndarray:
    changed = np.array(out)
    changed[-1] += change
    return changed


def test_operands_outside_the_declared_bounds_are_refused() -> None:
    wide = {**BOUNDS, "x": ((3, 3), -32, 31)}
    with pytest.raises(InvalidInput, match="above the 2883 that the head declares"):
        gadget_circuit(norms, wide)
    for threshold, high in ((0, 10), (1 << 59, 10), (5, 1 << 60), (5, -1)):
        with pytest.raises(InvalidInput, match="clipping needs"):
            gadget_circuit(
                lambda b, n, t=threshold: gadget.clip_factors(b, n, t),
                {"n": ((2,), min(0, high), high)},
            )


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
@pytest.mark.parametrize(
    ("norm", "factor", "whole"), [(100, 5000, 0), (100, 8192, 2), (0, 8192, 2), (100, 4096, 0)]
)
def test_no_gradient_grows(norm: int, factor: int, whole: int, commit: bool) -> None:
    """5000 is the largest f with f**2 100 <= T: only the range of f, and b's, refuse it."""
    circuit, _ = gadget_circuit(
        lambda b, n: gadget.clip_factors(b, n, 5000**2 * 100), {"n": ((), 0, 1 << 12)}, commit
    )
    forge = {0: factor, 1: whole}
    given = {"n": np.array(norm)}
    circuit.check(circuit.solve(given, challenge=challenges_of))
    assert_refused(circuit, given, {"clip factors": lambda out: _changed(out, forge)})
