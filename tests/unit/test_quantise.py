"""Clipping, stochastic rounding, overflow, compression."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zkai.errors import InvalidInput
from zkai.he.compression import compress, shared_coordinates, spread
from zkai.he.quantise import Quantiser, clip, fit_levels, rounded_norm, squared_norm


def fixed(value: int):  # type: ignore[no-untyped-def]
    return lambda n: np.full(n // 8, value, np.uint64).tobytes()


def test_rounding_goes_up_by_the_fraction() -> None:
    quantiser = Quantiser(1.0, 4)
    values = np.array([-1.0, -0.3, 0.0, 0.25, 0.3, 1.0])
    assert quantiser.quantise(values, fixed(0)).tolist() == [-4, -1, 0, 1, 2, 4]
    assert quantiser.quantise(values, fixed(2**64 - 1)).tolist() == [-4, -2, 0, 1, 1, 4]


def test_rounding_is_unbiased() -> None:
    quantiser = Quantiser(1.0, 10)
    rounded = quantiser.quantise(np.full(200_000, 0.123))
    assert set(np.unique(rounded).tolist()) == {1, 2}
    # 1.23 within six standard errors; rounding to nearest would give 1.
    assert abs(rounded.mean() - 1.23) < 6 * math.sqrt(0.23 * 0.77 / 200_000)


def test_shapes_are_kept_and_undone() -> None:
    values = np.linspace(-2, 2, 24).reshape(2, 3, 4)
    quantiser = Quantiser(2.0, 1000)
    rounded = quantiser.quantise(values)
    assert rounded.shape == values.shape
    assert np.abs(quantiser.dequantise(rounded * 5, 5) - values).max() <= 1 / quantiser.scale
    assert Quantiser(2.0, 3).quantise(np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.0001])
def test_values_out_of_range_are_refused_by_place(value: float) -> None:
    values = np.zeros(5)
    values[3] = value
    with pytest.raises(InvalidInput, match="value 3 of the update"):
        Quantiser(1.0, 7).quantise(values)


def test_levels_leave_room_for_every_sum() -> None:
    levels = fit_levels(20, 10, max_weight=3, noise_bound=100)
    assert 10 * (3 * levels + 100) < 2**19 <= 10 * (3 * (levels + 1) + 100) + 10
    with pytest.raises(InvalidInput, match="take more bits a value"):
        fit_levels(8, 128)
    assert fit_levels(8, 127) == 1


def test_clipping_keeps_direction_and_bound() -> None:
    values = np.array([[3.0, -4.0]])
    assert clip(values, 5.0) is values
    clipped = clip(values, 1.0)
    assert np.linalg.norm(clipped) <= 1.0
    assert np.allclose(clipped, values / 5)
    huge = clip(np.array([1e300, 1e300]), 1.0)
    assert np.linalg.norm(huge) <= 1.0
    assert not clip(np.zeros(3), 1.0).any()
    with pytest.raises(InvalidInput, match="positive"):
        clip(values, 0.0)


def test_norms_are_exact() -> None:
    values = np.array([2**51, -(2**51) + 1, 3] + [2**26 - 1] * 3000, np.int64)
    assert squared_norm(values) == sum(int(v) ** 2 for v in values)


def test_roundings_keep_the_norm_that_the_noise_is_made_for() -> None:
    values = clip(np.sin(np.arange(500.0)), 1.0)
    quantiser = Quantiser(1.0, 30)
    norm = rounded_norm(30, 500)
    for _ in range(20):
        assert squared_norm(quantiser.quantise_within(values, norm)) <= norm
    with pytest.raises(InvalidInput, match="no rounding"):
        quantiser.quantise_within(values, 600)
    assert rounded_norm(10, 1) <= 11**2


def test_error_feedback_loses_nothing() -> None:
    rng = np.random.default_rng(5)
    quantiser = Quantiser(4.0, 127)
    residual, sent = np.zeros(40), np.zeros(40)
    updates = rng.normal(size=(12, 40))
    for turn, update in enumerate(updates):
        coordinates = shared_coordinates(40, 10, turn)
        done = compress(update, residual, coordinates, quantiser)
        residual = done.residual
        sent += spread(quantiser.dequantise(done.integers), coordinates, 40)
        assert np.abs(done.integers).max() <= 127
    assert np.allclose(sent + residual, updates.sum(0))


def test_feedback_is_clipped_with_the_update() -> None:
    quantiser = Quantiser(1.0, 1000)
    everything = np.arange(4)
    done = compress(np.ones(4), 5 * np.ones(4), everything, quantiser, norm=1.0)
    assert np.linalg.norm(quantiser.dequantise(done.integers)) <= 1.01


def test_coordinates_are_shared_and_come_round() -> None:
    previous = np.array([0.0, 9.0, -8.0, 1.0, 0.5, 0.1, 7.0, 0.2])
    chosen = [shared_coordinates(8, 4, turn, previous) for turn in range(5)]
    assert all({1, 2, 6} <= set(c.tolist()) and c.size == 4 for c in chosen)
    assert set(np.concatenate(chosen).tolist()) == set(range(8))
    assert shared_coordinates(8, 8, 3, previous).tolist() == list(range(8))
    seen = np.concatenate([shared_coordinates(7, 3, turn) for turn in range(3)])
    assert set(seen.tolist()) == set(range(7))
    for keep, turn in ((0, 0), (9, 0), (1, -1)):
        with pytest.raises(InvalidInput):
            shared_coordinates(8, keep, turn)


def test_bad_shapes_and_coordinates_are_refused() -> None:
    quantiser = Quantiser(1.0, 3)
    with pytest.raises(InvalidInput, match="residual has shape"):
        compress(np.ones(4), np.ones(3), np.arange(4), quantiser)
    with pytest.raises(InvalidInput, match="lie outside"):
        compress(np.ones(4), np.ones(4), np.array([4]), quantiser)
    with pytest.raises(InvalidInput, match="last aggregate has 3"):
        shared_coordinates(4, 2, 0, np.ones(3))
