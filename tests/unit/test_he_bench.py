"""What the benchmark of encrypted training measures, on small numbers."""

from __future__ import annotations

import numpy as np
import pytest

from bench import he_finetune
from bench._tenseal_tutorial import in_clear

pytest.importorskip("tenseal")


def test_ours_has_the_promised_keys() -> None:
    x, y, test, labels = he_finetune.samples(8, 40)
    figures = he_finetune.ours(x, y, 2, (test, labels))
    assert {"cpu_s_per_epoch", "accuracy", "accuracy_plain"} <= set(figures)
    assert figures["weight_error"] < 1e-6
    assert abs(figures["accuracy"] - figures["accuracy_plain"]) < 0.005
    assert figures["cpu_s_per_epoch"] > figures["server_cpu_s_per_epoch"] > 0


def test_the_tutorial_s_step_is_gradient_descent() -> None:
    rng = np.random.default_rng(1)
    rows, targets, weights = rng.normal(size=(6, 3)), np.array([0.0, 1] * 3), rng.normal(size=3)

    def loss(w: np.ndarray) -> float:
        # The antiderivative of the tutorial's polynomial, minus the targets' part.
        z = rows @ w + 0.5
        inner = 0.5 * z + 0.197 * z**2 / 2 - 0.004 * z**4 / 4 - targets * z
        return float(inner.mean() + 0.05 * (w**2).sum() / 2)

    moved = weights - in_clear(rows, targets, weights, 0.5)
    for place in range(3):
        step = np.zeros(3)
        step[place] = 1e-5
        slope = (loss(weights + step) - loss(weights - step)) / 2e-5
        assert moved[place] == pytest.approx(slope, abs=1e-8)
