"""Discrete Gaussian noise, its accounting and the budget."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from zkai.errors import InvalidInput, VerificationError
from zkai.he.noise import DiscreteGaussian, Int64, _cumulative
from zkai.he.privacy import (
    Budget,
    Preflight,
    Release,
    _combined,
    _epsilon,
    _gap,
    epsilon_spent,
    noise_for,
    preflight,
)
from zkai.he.quantise import rounded_norm

pytest.importorskip("dp_accounting")


# --- the sampler


@pytest.mark.parametrize("variance", [1, 4, 7, 100])
def test_the_table_is_the_discrete_gaussians(variance: int) -> None:
    table = [int(entry) for entry in _cumulative(variance)]
    bound = DiscreteGaussian(variance).bound
    weights = [math.exp(-(k**2) / (2 * variance)) for k in range(-bound, bound + 1)]
    below = np.cumsum(weights)[:-1] / math.fsum(weights)
    assert np.allclose(np.array(table, float) / 2**64, below, rtol=0, atol=1e-14)
    # Symmetric to the last place: P[X <= k] + P[X <= -k - 1] = 1.
    assert all(0 <= 2**64 - a - b <= 1 for a, b in zip(table, table[::-1], strict=True))


def test_samples_follow_the_distribution() -> None:
    """Chi-squared at a significance of 1e-9, and its twin: another variance is told apart."""
    samples = DiscreteGaussian(4).sample(200_000)

    def p_value(variance: float) -> float:
        bins = np.arange(-8, 9)
        weights = np.exp(-(np.arange(-60, 61) ** 2) / (2 * variance))
        chance = weights[52:69] / weights.sum()
        seen = np.array([(samples == k).sum() for k in bins])
        rest = samples.size - seen.sum()
        expected = np.append(chance, 1 - chance.sum()) * samples.size
        return float(stats.chisquare(np.append(seen, rest), expected).pvalue)

    assert p_value(4) > 1e-9
    assert p_value(4.2) < 1e-9


def test_samples_use_the_whole_of_each_word() -> None:
    def words(*values: int) -> Int64:
        data = np.array(values, np.uint64).tobytes()
        return DiscreteGaussian(9).sample(len(values), lambda n: data)

    bound = DiscreteGaussian(9).bound
    assert words(0)[0] >= -bound
    assert words(2**64 - 1)[0] <= bound
    half = int(_cumulative(9)[bound])  # P[X <= 0]
    assert words(half - 1, half).tolist() == [0, 1]


@pytest.mark.parametrize("variance", [0, -1, 2**33])
def test_variances_out_of_range_are_refused(variance: int) -> None:
    with pytest.raises(InvalidInput, match="variance must be between"):
        DiscreteGaussian(variance)


# --- accounting


def gaussian_delta(multiplier: float, epsilon: float) -> float:
    """Balle and Wang (2018), theorem 8."""
    normal = stats.norm.cdf
    a, b = 1 / (2 * multiplier), epsilon * multiplier
    return float(normal(a - b) - math.exp(epsilon) * normal(-a - b))


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 3.7, 40.0])
def test_epsilon_agrees_with_the_analytic_gaussian_mechanism(multiplier: float) -> None:
    found = _epsilon(multiplier, 1e-5)
    assert gaussian_delta(multiplier, found) <= 1e-5 * (1 + 1e-6)
    assert gaussian_delta(multiplier, found * 0.99) > 1e-5


def test_rounds_compose_as_dp_accounting_composes_them() -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    one = pld.from_gaussian_mechanism(20.0).self_compose(60)
    other = pld.from_gaussian_mechanism(9.0).self_compose(7)
    theirs = one.compose(other).get_epsilon_for_delta(1e-5)
    assert _epsilon(_combined([(20.0, 60), (9.0, 7)]), 1e-5) == pytest.approx(theirs, rel=2e-3)


def test_the_gap_to_the_gaussian_bounds_every_centre() -> None:
    """Poisson summation against sums of exact fractions, at variances where it is visible."""
    for variance in (0.3, 0.5, 1.0):
        sums = [
            sum(math.exp(-((k - centre) ** 2) / (2 * variance)) for k in range(-40, 41))
            for centre in np.linspace(0, 1, 21)
        ]
        ratios = [total / math.sqrt(2 * math.pi * variance) for total in sums]
        assert max(map(math.log, ratios)) - min(map(math.log, ratios)) <= _gap(variance)
        assert _gap(variance) < 4.2 * math.exp(-2 * math.pi**2 * variance) + 0.02


def test_sums_of_small_noise_cost_more() -> None:
    small = Release(norm=1, variance=4, honest=50, parameters=10**6)
    assert 0 < small.kappa < 1e-6
    assert Release(norm=1, variance=9, honest=50, parameters=10**6).kappa < small.kappa


def test_preflight_gives_the_known_figures() -> None:
    """37.3 noise multipliers for epsilon 1 over 100 rounds; 37 times the signal at 1M values."""
    plan = preflight(1000, 1_000_000, 100)
    assert plan.multiplier == pytest.approx(37.3, abs=0.05)
    assert plan.per_client == pytest.approx(1.18, abs=0.01)
    assert plan.noise_to_signal == pytest.approx(37.3, abs=0.1)
    assert "drowns" in plan.advice
    assert plan.parameters_at_one == pytest.approx(1e6 / 37.3**2, rel=0.01)
    fewer = Preflight(1000, 700, 1_000_000, 100, 1.0, 1e-5, plan.multiplier)
    assert fewer.per_client == pytest.approx(1.41, abs=0.01)
    assert preflight(1000, 100, 1).advice == "The signal stands out from the noise."


def test_noise_meets_its_target() -> None:
    plan = preflight(40, 650, 10, epsilon=2.0, honest=32)
    release = noise_for(plan, rounded_norm(1000, 650))
    assert 1.98 < epsilon_spent([release]) <= 2.0
    less = Release(release.norm, release.variance * 9 // 10, 32, 650, 10)
    assert epsilon_spent([less]) > 2.0


@pytest.mark.parametrize(
    "figures",
    [
        {"norm": 0}, {"variance": 3}, {"honest": 0}, {"parameters": 0}, {"rounds": 0},
        {"honest": 1},
    ],
)  # fmt: skip
def test_releases_out_of_range_are_refused(figures: dict[str, int]) -> None:
    fit = {"norm": 100, "variance": 4, "honest": 2, "parameters": 10, "rounds": 1}
    Release(**fit)
    with pytest.raises(InvalidInput):
        Release(**(fit | figures))


def test_an_unreachable_delta_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the sampler itself takes"):
        epsilon_spent([Release(100, 10_000, 100, 1_000_000)], 1e-12)


# --- an attacker who only looks


def observed_epsilon(first: Int64, second: Int64, delta: float) -> float:
    """A lower bound on epsilon that holds with probability 1 - 1e-9 (Clopper, Pearson)."""
    bounds = []
    thresholds = np.quantile(second, [0.5, 0.8, 0.95, 0.99])
    level = 1e-9 / (2 * len(thresholds))
    for threshold in thresholds:
        hits, others = int((second > threshold).sum()), int((first > threshold).sum())
        least = stats.beta.ppf(level, hits, second.size - hits + 1)
        most = stats.beta.ppf(1 - level, others + 1, first.size - others)
        if least > delta:
            bounds.append(math.log((least - delta) / most))
    return max(bounds)


def noisy_sums(release: Release, value: int, trials: int) -> Int64:
    sampler = DiscreteGaussian(release.variance)
    sums = np.full(trials, value, np.int64)
    for _ in range(release.honest):
        sums += sampler.sample(trials)
    return sums


def test_what_an_attacker_sees_stays_under_the_claim() -> None:
    """One client's value, 0 or the largest: 200,000 sums of each, and half the noise is caught."""
    release = noise_for(preflight(5, 1, 1, epsilon=1.0), 40**2)
    claimed = epsilon_spent([release])
    seen = observed_epsilon(noisy_sums(release, 0, 200_000), noisy_sums(release, 40, 200_000), 1e-5)
    assert 0.1 < seen <= claimed <= 1.0
    broken = Release(release.norm, release.variance // 16, release.honest, 1)
    seen = observed_epsilon(noisy_sums(broken, 0, 200_000), noisy_sums(broken, 40, 200_000), 1e-5)
    assert seen > claimed


# --- the budget


def test_a_spent_budget_refuses() -> None:
    plan = preflight(100, 50, 4)
    step = noise_for(plan, 10**4)
    once = Release(step.norm, step.variance, step.honest, step.parameters)
    budget = Budget()
    for _ in range(4):
        budget = budget.spend(once)
    assert 0.99 < budget.spent <= 1.0
    with pytest.raises(VerificationError, match=r"privacy budget is spent: .* 1\.\d+ of 1"):
        budget.spend(once)
    assert len(budget.releases) == 4


def test_a_budget_survives_its_file() -> None:
    budget = Budget(2.5, 1e-6).spend(Release(100, 4000, 20, 10, 3))
    assert Budget.from_json(budget.to_json()) == budget


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "zkai.dp-budget/2"}, "zkai.dp-budget/1"),
        ({"unit": "example"}, "unit client"),
        ({"epsilon": 1.0}, "decimal number"),
        ({"epsilon": "1e0"}, "decimal number"),
        ({"epsilon": "inf"}, "decimal number"),
        ({"delta": "2.0"}, "delta must lie"),
        ({"releases": {}}, "a list"),
        ({"releases": [{"norm": 1}]}, "has the fields"),
        ({"more": 1}, "has the fields"),
    ],
)
def test_malformed_budgets_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Budget.from_json(Budget().to_json() | change)


def test_releases_in_a_budget_are_integers() -> None:
    document = Budget().spend(Release(100, 40_000, 20, 10)).to_json()
    for value in (True, 1.0, "1", 2**130):
        release = document["releases"][0] | {"norm": value}
        with pytest.raises(InvalidInput):
            Budget.from_json(document | {"releases": [release]})


def test_the_exponential_is_exact_enough() -> None:
    from zkai.he.noise import _exp_minus_half_over

    series = Fraction(1)
    term = Fraction(1)
    for k in range(1, 60):
        term = term * Fraction(-1, 2 * 7 * k)
        series += term
    assert abs(Fraction(_exp_minus_half_over(7), 2**256) - series) < Fraction(1, 2**248)
