"""Detection probabilities: against counting and scipy, and what simulated cheats meet."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from zkai.compute import detection, simulation
from zkai.compute.detection import Stakes, minimum_stake
from zkai.errors import InvalidInput, VerificationError

TRIALS = 1000 if os.environ.get("ZKAI_TEST_SLOW") else 24
ROWS = {f"{row.policy}, {row.cheat}": row for row in simulation.rows()}


@pytest.mark.parametrize("n", [1, 10, 10_000, 1 << 18])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5])
@pytest.mark.parametrize("samples", [0, 1, 64, 500])
def test_sampling_is_hypergeometric(n: int, share: float, samples: int) -> None:
    altered, samples = max(1, round(share * n)), min(samples, n)
    exact = 1 - Fraction(math.comb(n - altered, samples), math.comb(n, samples))
    found = detection.by_sampling(n, altered, samples)
    assert found == pytest.approx(float(exact), rel=1e-10)
    scipys = 1 - stats.hypergeom.pmf(0, n, altered, samples)
    assert found == pytest.approx(scipys, rel=1e-5, abs=1e-9)


def test_large_populations_take_no_memory() -> None:
    """Trillions of samples once took an array of as many terms."""
    most = detection.MAX_POPULATION
    assert detection.by_sampling(most, most // 10_000, most // 100) == 1.0
    assert detection.by_sampling(most, 1, most // 100) == pytest.approx(0.01)
    altered, samples = 3_000_000, 2_000_000
    leaves = altered * samples
    missed = np.log1p(-samples / (leaves - np.arange(altered))).sum()  # the other way round
    found = detection.by_sampling(leaves, altered, samples)
    assert found == pytest.approx(-math.expm1(missed), rel=1e-12)
    assert detection.by_sampling(100, 99, 1) == pytest.approx(0.99)


def test_values_anywhere_are_found_sooner_than_values_side_by_side() -> None:
    # 3 leaves of 2 values, 2 of 6 values altered, 1 leaf shown: 15 pairs, 6 outside the leaf.
    assert detection.by_sampling_values(3, 2, 2, 1) == pytest.approx(1 - 6 / 15)
    together = detection.by_sampling(3, detection.fewest_leaves(2, 2), 1)
    assert together == pytest.approx(1 / 3)
    assert detection.fewest_leaves(65, 64) == 2


def test_tolerances_are_the_normal_distributions() -> None:
    outside = 2 * stats.norm.sf(2.5)
    assert detection.by_tolerance(7, 0.4, 1.0) == pytest.approx(1 - (1 - outside) ** 7)
    assert detection.by_tolerance(7, 0.4, 0.0) == 1.0
    assert detection.by_tolerance(7, 0.0, 1.0) == 0.0
    assert detection.by_tolerance(0, 0.4, 1.0) == 0.0


def test_groups_and_committees_are_what_counting_gives() -> None:
    n, c, k = 8, 4, 3
    groups = [set(g) for g in combinations(range(n), k) if 0 in g]
    meets = sum(any(i >= c for i in g) for g in groups) / len(groups)
    outvoted = sum(sum(i >= c for i in g) > k / 2 for g in groups) / len(groups)
    assert detection.by_second_opinion(n, c, k) == pytest.approx(meets)
    assert detection.by_majority(n, c, k) == pytest.approx(outvoted)
    for size in (1, 4, 5):
        chance = stats.hypergeom.sf(size // 2, n, c, size)
        assert detection.corrupt_majority(n, c, size) == pytest.approx(chance)
        by_weight = stats.binom.sf(size // 2, size, 0.3)
        found = detection.corrupt_majority_by_weight(Fraction(3, 10), size)
        assert found == pytest.approx(by_weight)
    assert detection.corrupt_majority(n, 0, 3) == 0.0
    assert detection.corrupt_majority(n, n, 3) == 1.0
    assert detection.by_second_opinion(1, 1, 1) == 0.0


def test_a_majoritys_stake_counts_the_honest_who_are_outvoted() -> None:
    """Whoever is drawn, honest or not: every group of three of nine, four of whom collude."""
    colluders, honest, cheat = {0, 1, 2, 3}, 8, 0
    groups = [set(group) for group in combinations(range(9), 3)]

    def outvoted(who: int, side: set[int]) -> float:
        with_it = [group for group in groups if who in group]
        return sum(len(group & side) >= 2 for group in with_it) / len(with_it)

    alarm = outvoted(honest, colluders)
    assert detection.honest_outvoted(9, 4, 3) == pytest.approx(alarm)
    chance = outvoted(cheat, set(range(9)) - colluders)
    assert detection.by_majority(9, 4, 3) == pytest.approx(chance)
    stake = minimum_stake(chance, 1.0, 3.0, alarm)
    at = Stakes(1.0, 1.0, 3.0, stake, alarm)
    assert at.cheating(chance) == pytest.approx(at.honest())
    # As if nobody honest were ever punished: cheating pays.
    lax = replace(at, stake=minimum_stake(chance, 1.0, 3.0))
    assert lax.cheating(chance) > lax.honest() + 1
    assert detection.honest_outvoted(9, 0, 3) == 0.0
    found = {row.cheat: row.at_risk for row in simulation.rows() if "3 of 100" in row.policy
             and "majority" in row.policy}  # fmt: skip
    assert found["45 % collude"] == pytest.approx(
        1 / (detection.by_majority(100, 45, 3) - detection.honest_outvoted(100, 45, 3))
    )


def test_binomial_tails_are_scipys() -> None:
    for trials, chance, least in ((10, 0.3, 4), (1000, 0.01, 30), (1000, 0.99, 999), (5, 0.5, 0)):
        expected = stats.binom.sf(least - 1, trials, chance)
        assert detection.binomial_tail(trials, chance, least) == pytest.approx(expected, rel=1e-9)
    assert detection.binomial_tail(5, 0.0, 1) == 0.0
    assert detection.binomial_tail(5, 1.0, 5) == 1.0
    assert detection.binomial_tail(5, 1.0, 6) == 0.0


def test_rounds_tries_and_several_checks() -> None:
    assert detection.over_rounds(0.1, 10) == pytest.approx(1 - 0.9**10)
    assert detection.over_rounds(1.0, 1) == 1.0
    assert detection.over_rounds(1.0, 0) == 0.0
    assert detection.with_tries(0.9, 3) == pytest.approx(0.729)
    assert detection.any_of(0.5, 0.2) == pytest.approx(0.6)
    assert detection.any_of(0.5, 1.0) == 1.0
    assert detection.rounds_until(0.25) == 4
    assert detection.rounds_until(0.0) == math.inf


def test_the_least_stake_is_where_cheating_stops_to_pay() -> None:
    for chance, reward, cost, saved, alarm in (
        (0.05, 1.2, 1.0, 1.0, 0.0), (0.6, 0.5, 0.4, 3.0, 0.01), (0.9, 5.0, 1.0, 1.0, 0.0),
    ):  # fmt: skip
        stake = minimum_stake(chance, reward, saved, alarm)
        at = Stakes(reward, cost, saved, stake, alarm)
        if stake:
            assert at.cheating(chance) == pytest.approx(at.honest())
            below = replace(at, stake=0.99 * stake)
            assert below.cheating(chance) > below.honest()
        assert at.cheating(chance) <= at.honest() + 1e-12
        assert at.punishment(chance) == pytest.approx(chance * (reward + stake))
    assert minimum_stake(0.1, 1.0, 1.0, 0.1) == math.inf
    assert minimum_stake(0.0, 1.0, 0.0) == 0.0


def test_the_least_stake_holds_in_play() -> None:
    """Rounds of money: at the least stake neither way earns more, at half of it cheating does."""
    rng = np.random.default_rng(5)
    caught = rng.random(200_000) < 0.2
    stake = minimum_stake(0.2, 1.0, 0.8)
    for held, sign in ((stake, 0), (stake / 2, 1)):
        earned = np.where(caught, -held, 1.0) - 1.0 + 0.8
        honest = Stakes(1.0, 1.0, 0.8, held).honest()
        gap = earned.mean() - honest
        assert abs(gap) < 0.03 if sign == 0 else gap > 0.1


def test_fewest_samples_reach_a_probability_and_one_fewer_does_not() -> None:
    for n, altered, chance in ((10_000, 1, 0.5), (10_000, 100, 0.99), (50, 50, 1.0), (9, 2, 1.0)):
        k = detection.fewest_samples(n, altered, chance)
        assert detection.by_sampling(n, altered, k) >= chance
        assert detection.by_sampling(n, altered, k - 1) < chance
    assert detection.fewest_samples(9, 2, 0.0) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: detection.by_sampling(0, 0, 0),
        lambda: detection.by_sampling(5, 6, 1),
        lambda: detection.by_sampling(5, 1, 6),
        lambda: detection.by_sampling_values(5, 0, 1, 1),
        lambda: detection.by_tolerance(-1, 1.0, 1.0),
        lambda: detection.by_tolerance(1, math.nan, 1.0),
        lambda: detection.by_tolerance(1, math.inf, math.inf),
        lambda: detection.by_second_opinion(5, 0, 2),
        lambda: detection.by_majority(5, 2, 6),
        lambda: detection.honest_outvoted(5, 5, 3),
        lambda: detection.corrupt_majority(1 << 21, 1, 1),
        lambda: detection.corrupt_majority(1 << 20, 1, 1 << 13),
        lambda: detection.corrupt_majority_by_weight(1.1, 3),
        lambda: detection.corrupt_majority_by_weight(0.1, 0),
        lambda: detection.over_rounds(1.1, 1),
        lambda: detection.over_rounds(0.1, -1),
        lambda: detection.with_tries(0.1, 0),
        lambda: detection.fewest_samples(5, 0, 0.5),
        lambda: minimum_stake(math.nan, 1.0, 1.0),
        lambda: Stakes(math.inf, 1.0, 1.0, 1.0),
        lambda: Stakes(1.0, -1.0, 1.0, 1.0),
        lambda: simulation.simulate(simulation.rows()[0], 0),
    ],
)
def test_numbers_that_do_not_fit_are_refused(call: object) -> None:
    with pytest.raises(InvalidInput):
        call()  # type: ignore[operator]


# --- simulated cheats


@pytest.mark.parametrize("name", ROWS)
def test_trials_of_each_policy_are_caught_at_the_stated_rate(name: str) -> None:
    """Seeded: 1,000 trials in `make test-slow`, few here, with an error of 2e-10 a row."""
    simulation.simulate(ROWS[name], TRIALS).verify()


def test_a_rate_that_a_probability_does_not_explain_is_refused() -> None:
    row = next(row for row in ROWS.values() if row.policy.startswith("2 of 100 trainers"))
    found = simulation.simulate(row, 400)
    found.verify()
    for wrong in (row.chance - 0.2, row.chance + 0.08):
        with pytest.raises(VerificationError, match="does not explain"):
            replace(found, row=replace(row, chance=wrong)).verify()
    sure = replace(row, chance=1.0)
    with pytest.raises(VerificationError, match="does not explain"):
        simulation.Rate(sure, 400, 399).verify()
    simulation.Rate(sure, 400, 400).verify()
    with pytest.raises(VerificationError, match="does not explain"):
        simulation.Rate(replace(row, chance=0.0), 400, 1).verify()


def test_rows_reach_from_a_ten_thousandth_to_a_half() -> None:
    for share in ("0.01%", "0.10%", "1.00%", "10.00%", "50.00%"):
        assert any(row.cheat.startswith(share) for row in ROWS.values())
    assert len(ROWS) == len(simulation.rows()) >= 40


def test_the_documents_table_is_the_functions(repo: Path) -> None:
    text = (repo / "docs/policies.md").read_text()
    part = text.split("<!-- table -->\n")[1].split("<!-- end -->")[0]
    assert part == simulation.table()
