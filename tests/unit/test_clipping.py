"""Clipping's integers: the factor is the largest one, and the norm bound always holds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from zkai.errors import InvalidInput
from zkai.model.clipping import (
    LayerBounds,
    NormPlan,
    ceiling_shift,
    clip_factors,
    norm_threshold,
    squared_norms,
)

WIDE = NormPlan((LayerBounds(64 << 22, 10 << 16, 1 << 8, 16),))
NARROW = NormPlan((LayerBounds(64 << 14, 10 << 16, 1 << 4, 12),))
OUTER = LayerBounds(32 << 28, 10 << 16, 1 << 8, 16)
TWO = NormPlan((LayerBounds(64 << 14, 32 << 26, 1 << 4, 12), OUTER))
BROAD = NormPlan(
    (LayerBounds(512 << 28, 64 << 26, 1 << 8, 16), LayerBounds(4 << 28, 64 << 26, 0, 16))
)


def exact_norm(plan: NormPlan, parts: list[tuple[np.ndarray, np.ndarray]], row: int) -> Fraction:
    """The squared norm of one example's gradient, from the gradient's own entries."""
    total = Fraction(0)
    for layer, (inputs, errors) in zip(plan.layers, parts, strict=True):
        a = [*inputs[row].tolist(), *([layer.one] if layer.one else [])]
        entries = [x * d for x in a for d in errors[row].tolist()]
        total += Fraction(sum(e * e for e in entries), 4**layer.scale_bits)
    return total


def drawn(plan: NormPlan, seed: int, batch: int = 40) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of every size, from zero to the largest that the plan allows."""
    rng = np.random.default_rng(seed)
    parts = []
    for layer in plan.layers:
        pair = []
        for bound, n in ((layer.activation, 8), (layer.delta, 5)):
            top = math.isqrt(bound // n)
            size = np.exp(rng.uniform(0, np.log(top + 1), batch)).astype(np.int64)
            size[:4] = [0, 0, top, top]
            rows = rng.integers(-size[:, None], size[:, None] + 1, (batch, n))
            rows[3] = -top
            pair.append(rows)
        parts.append((pair[0], pair[1]))
    return parts


@pytest.mark.parametrize("plan", [WIDE, NARROW, TWO, BROAD], ids=["wide", "narrow", "two", "broad"])
@pytest.mark.parametrize("norm", [0.01, 0.4, 3.0])
def test_no_example_passes_the_bound_and_none_is_cut_further(plan: NormPlan, norm: float) -> None:
    threshold = norm_threshold(plan, norm)
    parts = drawn(plan, int(norm * 100))
    norms = squared_norms(plan, parts)
    factors = clip_factors(norms, threshold)
    for row, (n, f) in enumerate(zip(norms.tolist(), factors.tolist(), strict=True)):
        real = exact_norm(plan, parts, row)
        assert 0 <= n <= plan.largest
        assert Fraction(n, 2**plan.scale_bits) >= real
        # A unit for each layer, and one of |a|^2, is all that rounding up adds.
        added = sum(
            Fraction(int((errors[row] ** 2).sum()) << layer.input_shift, 4**layer.scale_bits)
            for layer, (_, errors) in zip(plan.layers, parts, strict=True)
            if layer.input_shift
        )
        assert Fraction(n - len(plan.layers), 2**plan.scale_bits) <= real + added
        assert Fraction(f, 4096) ** 2 * real <= Fraction(norm) ** 2
        assert f == max(k for k in range(4097) if k * k * n <= threshold)


def test_small_gradients_stay_whole_and_huge_ones_vanish() -> None:
    norms = np.array([0, 1, 4, 5, 1 << 26, (1 << 26) + 1, (1 << 60) - 1])
    assert clip_factors(norms, 1 << 26).tolist() == [4096, 4096, 4096, 3663, 1, 0, 0]


def test_ceilings() -> None:
    values = np.array([0, 1, 7, 8, 9, 1 << 40])
    assert ceiling_shift(values, 3).tolist() == [0, 1, 1, 1, 2, 1 << 37]
    assert ceiling_shift(values, 0).tolist() == values.tolist()
    assert ceiling_shift(values, -2).tolist() == (values * 4).tolist()


def test_the_scale_of_norms_is_16_where_that_fits() -> None:
    assert WIDE.scale_bits == NARROW.scale_bits == TWO.scale_bits == 16
    assert TWO.shifts == (8, 16)
    assert NormPlan((LayerBounds(10, 10, 1, 3),)).scale_bits == 6
    assert [layer.input_shift for layer in BROAD.layers] == [11, 4]
    broad = NormPlan((LayerBounds(1 << 33, 1 << 26, 0, 4), LayerBounds(1, 1, 0, 9)))
    assert broad.scale_bits == 8
    assert broad.shifts == (-1, 10)
    assert broad.largest == (1 << 59) + 1


@pytest.mark.parametrize("norm", [0, -1.0, math.nan, math.inf, "1", True, 1e-9, 1e9])
def test_bounds_that_cannot_be_met_are_refused(norm: object) -> None:
    with pytest.raises(InvalidInput, match="clip: "):
        norm_threshold(NARROW, norm)  # type: ignore[arg-type]


def test_gradients_too_wide_to_measure_are_refused() -> None:
    for wide in (LayerBounds(1 << 60, 1, 0, 16), LayerBounds(1, 1 << 60, 0, 16)):
        with pytest.raises(InvalidInput, match="gradient 2"):
            NormPlan((NARROW.layers[0], wide))
