"""Robust aggregation: definitions, and training on real data beside published attacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from zkai.errors import InvalidInput
from zkai.federated import robust
from zkai.federated.robust import clipped_mean, krum, median, trimmed_mean, weighted_mean

Array = np.ndarray
Rule = Callable[[Array], Array]
Attack = Callable[[Array, int, np.random.Generator], Array]


def test_means_and_medians_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "_COLUMNS", 7)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 40))
    weights = rng.uniform(size=9)
    assert np.allclose(weighted_mean(x, weights), np.average(x, axis=0, weights=weights))
    assert np.allclose(median(x), np.median(x, axis=0))
    assert np.allclose(trimmed_mean(x, 2), np.sort(x, axis=0)[2:7].mean(axis=0))
    assert np.allclose(trimmed_mean(x, 0), x.mean(axis=0))


def test_krum_is_its_definition() -> None:
    x = np.random.default_rng(2).normal(size=(11, 6)) + 1e6
    distances = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    scores = [sum(sorted(np.delete(distances[i], i))[: 11 - 3 - 2]) for i in range(11)]
    best = np.argsort(scores)
    assert krum(x, 3)[1] == [int(best[0])]
    mean, chosen = krum(x, 3, keep=4)
    assert chosen == sorted(best[:4].tolist())
    assert np.allclose(mean, x[chosen].mean(axis=0))


@pytest.mark.parametrize("size", [1e9, 1e100, 1e160, 1.7e308])
def test_krum_does_not_take_what_overflows(size: float) -> None:
    """Squares of 1e160 are infinite, and a mean that one update moved drowns all others."""
    x = np.random.default_rng(4).normal(size=(9, 5))
    hostile = x.copy()
    hostile[0], hostile[1] = size, size / 3
    update, chosen = krum(hostile, 2, keep=3)
    others = (((x[2:, None] - x[None, 2:]) ** 2).sum(axis=2)).tolist()
    scores = [sum(sorted(row)[1 : 9 - 2 - 2 + 1]) for row in others]
    assert chosen == sorted((np.argsort(scores)[:3] + 2).tolist())
    assert np.allclose(update, x[chosen].mean(axis=0))


def test_weights_of_any_size_are_weights() -> None:
    x = np.random.default_rng(5).normal(size=(3, 4))
    for size in (1e308, 5e-324):
        assert np.allclose(weighted_mean(x, np.full(3, size)), x.mean(axis=0))


def test_clipping_bounds_what_one_update_does() -> None:
    x = np.random.default_rng(3).normal(size=(8, 5))
    hostile = x.copy()
    hostile[0] = 1e12
    assert np.linalg.norm(clipped_mean(hostile, 1.0) - clipped_mean(x, 1.0)) <= 2 / 8
    assert np.allclose(clipped_mean(x, 1e9), x.mean(axis=0))
    assert np.allclose(clipped_mean(x, 1e-9, centre=x[1]), x[1])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: weighted_mean(x, np.zeros(5)),
        lambda x: weighted_mean(x, -np.ones(5)),
        lambda x: weighted_mean(x, np.ones(4)),
        lambda x: trimmed_mean(x, 3),
        lambda x: trimmed_mean(x, -1),
        lambda x: krum(x, 2),
        lambda x: krum(x, 1, keep=5),
        lambda x: krum(x, 1, keep=0),
        lambda x: clipped_mean(x, 0.0),
        lambda x: clipped_mean(x, 1.0, passes=0),
        lambda x: clipped_mean(x, 1.0, centre=np.zeros(2)),
        lambda x: median(x[0]),
        lambda x: median(x[:0]),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[Array], object]) -> None:
    with pytest.raises(InvalidInput):
        call(np.ones((5, 3)))


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    x = np.ones((5, 3))
    x[3, 1] = np.nan
    with pytest.raises(InvalidInput, match="update 3"):
        median(x)


# --- training on handwritten digits with 4 of 20 clients hostile


def sign_flip(honest: Array, f: int, rng: np.random.Generator) -> Array:
    """Ten times the opposite of the honest mean."""
    return np.tile(-10 * honest.mean(axis=0), (f, 1))


def noise(honest: Array, f: int, rng: np.random.Generator) -> Array:
    """Large Gaussian noise (Blanchard et al. 2017)."""
    return rng.normal(scale=5.0, size=(f, honest.shape[1]))


def inner_product(honest: Array, f: int, rng: np.random.Generator) -> Array:
    """A negative multiple of the mean (Xie, Koyejo, Gupta, "Fall of Empires", 2019)."""
    return np.tile(-6.0 * honest.mean(axis=0), (f, 1))


def little_is_enough(honest: Array, f: int, rng: np.random.Generator) -> Array:
    """The mean less a standard deviation: hidden among honest updates (Baruch et al. 2019)."""
    return np.tile(honest.mean(axis=0) - 1.0 * honest.std(axis=0), (f, 1))


CLIENTS, HOSTILE = 20, 4
ATTACKS: dict[str, Attack] = {
    "sign_flip": sign_flip,
    "noise": noise,
    "inner_product": inner_product,
    "little_is_enough": little_is_enough,
}
LABEL_FLIP = "label_flip"
"""Hostile clients train honestly on labels 9 - y, ten times as hard (Tolpegin et al. 2020)."""
RULES: dict[str, Rule] = {
    "mean": lambda x: weighted_mean(x, np.ones(len(x))),
    "median": median,
    "trimmed_mean": lambda x: trimmed_mean(x, HOSTILE),
    "multi_krum": lambda x: krum(x, HOSTILE, keep=CLIENTS - HOSTILE)[0],
    "clipped_mean": lambda x: clipped_mean(x, 0.25),
}
ROBUST = [rule for rule in RULES if rule != "mean"]


@cache
def digits() -> tuple[Array, Array]:
    found = load_digits()
    order = np.random.default_rng(4).permutation(len(found.target))
    x = np.c_[found.data / 16, np.ones(len(order))][order]
    return x, np.eye(10)[found.target[order]]


def gradient(w: Array, x: Array, y: Array) -> Array:
    scores = x @ w
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    return np.asarray((x.T @ (y - scores) / len(x)).ravel())


@cache
def accuracy(rule: str, attack: str | None) -> float:
    """Test accuracy of a softmax regression after 40 rounds of full local gradients."""
    rng = np.random.default_rng(4)
    x, y = digits()
    parts = np.array_split(np.arange(1200), CLIENTS)
    w = np.zeros((65, 10))
    for _ in range(40):
        honest = np.array([gradient(w, x[part], y[part]) for part in parts[HOSTILE:]])
        if attack == LABEL_FLIP:
            flipped = [10 * gradient(w, x[part], y[part][:, ::-1]) for part in parts[:HOSTILE]]
            updates = np.concatenate([flipped, honest])
        elif attack:
            updates = np.concatenate([ATTACKS[attack](honest, HOSTILE, rng), honest])
        else:
            updates = np.array([gradient(w, x[part], y[part]) for part in parts])
        w += 2.0 * RULES[rule](updates).reshape(w.shape)
    return float(((x[1200:] @ w).argmax(axis=1) == y[1200:].argmax(axis=1)).mean())


def test_training_without_attackers_reaches_its_accuracy() -> None:
    assert accuracy("mean", None) > 0.9


@pytest.mark.parametrize("attack", ["sign_flip", "noise", "inner_product", LABEL_FLIP])
def test_a_plain_mean_is_led_astray(attack: str) -> None:
    assert accuracy("mean", attack) < 0.75


@pytest.mark.parametrize("attack", [*ATTACKS, LABEL_FLIP])
@pytest.mark.parametrize("rule", ROBUST)
def test_robust_rules_keep_learning(rule: str, attack: str) -> None:
    assert accuracy(rule, attack) > 0.85


def test_more_hostile_clients_than_a_rule_bears_break_it() -> None:
    """11 of 20 that say the same are the majority: no rule tells them from honest ones."""
    x = np.random.default_rng(6).normal(loc=1.0, size=(20, 8))
    x[:11] = -5.0
    assert (median(x) < 0).all()
    with pytest.raises(InvalidInput):
        trimmed_mean(x, 11)
    with pytest.raises(InvalidInput):
        krum(x, 9)


def test_the_documents_accuracies_are_those_measured(repo: Path) -> None:
    text = (repo / "docs/policies.md").read_text()
    part = text.split("<!-- attacks -->")[1].split("<!-- end attacks -->")[0]
    head, _, *lines = [line.strip("| ").split(" | ") for line in part.strip().splitlines()]
    assert [name.replace(" ", "_") for name in head[1:]] == list(RULES)
    assert len(lines) == len(ATTACKS) + 2
    for name, *cells in lines:
        attack = None if name == "none" else name.replace(" ", "_")
        for rule, cell in zip(RULES, cells, strict=True):
            assert accuracy(rule, attack) == pytest.approx(float(cell), abs=0.02), (rule, attack)
