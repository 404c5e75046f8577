"""How likely each policy is to catch a cheat, exactly, and what that is worth in stakes.

    sampling     k of n leaves, steps or values, drawn without replacement, a of them wrong:
                 1 - C(n - a, k) / C(n, k)
    comparing    s values within a tolerance, where each is outside it with probability q:
                 1 - (1 - q)^s
    redundancy   the chance that everyone who does the same task colludes, or that most do
    rounds       p a round, independently: 1 - (1 - p)^r

A probability here is that of the beacon's draw, which nobody knew when the work was committed to.
Whoever can choose among several commitments afterwards has several tries (`with_tries`).
docs/policies.md has the table; zkai.compute.simulation tries each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from zkai.errors import InvalidInput
from zkai.merkle.sample import detection_probability

MAX_POPULATION = 1 << 48
MAX_MEMBERS = 1 << 20
MAX_DRAWN = 1 << 12


def by_sampling(population: int, altered: int, samples: int) -> float:
    """Return 1 - C(n - a, k) / C(n, k): the chance that k distinct samples hold an altered one.

    `population` are a commitment's leaves, or a run's steps of which `samples` are replayed.

    Raises InvalidInput for numbers that do not fit.
    """
    if not 1 <= population <= MAX_POPULATION:
        raise InvalidInput(f"expected a population of 1 to 2^48, got {population}")
    return detection_probability(population, altered, samples)


def by_sampling_values(leaves: int, per_leaf: int, altered: int, samples: int) -> float:
    """Return the chance that k of n leaves of m values hold one of `altered` at random places.

    1 - C(n m - k m, a) / C(n m, a). An altered value alters its leaf; whoever puts all of them
    side by side alters fewest leaves, ceil(a / m), and is caught as `by_sampling` says.
    """
    if not 1 <= per_leaf <= MAX_POPULATION:
        raise InvalidInput(f"a leaf holds at least one value, got {per_leaf}")
    return by_sampling(leaves * per_leaf, samples * per_leaf, altered)


def fewest_leaves(values: int, per_leaf: int) -> int:
    """Return ceil(values / per_leaf): what altered values side by side touch at best."""
    return -(-values // per_leaf)


def by_tolerance(samples: int, noise: float, tolerance: float) -> float:
    """Return the chance that Gaussian noise of deviation s passes a tolerance t in k samples.

    1 - (1 - erfc(t / (s sqrt 2)))^k: for a freerider who hands in what it was given, plus noise.
    The right values may differ from those that it was given too: then it is caught rather sooner.

    Raises InvalidInput for numbers that are negative or not finite.
    """
    if samples < 0 or not (0 <= noise < math.inf and 0 <= tolerance < math.inf):
        raise InvalidInput("samples, noise and tolerance are finite and not negative")
    if samples == 0 or noise == 0:
        return 0.0
    outside = math.erfc(tolerance / noise / math.sqrt(2))
    return 1.0 if outside == 1.0 else -math.expm1(samples * math.log1p(-outside))


def by_second_opinion(trainers: int, colluders: int, drawn: int) -> float:
    """Return the chance that a cheat meets an honest trainer, where any disagreement is settled.

    Of `trainers`, `drawn` do the cheat's task, the cheat included, and `colluders`, likewise,
    hand in one wrong result: 1 - C(c - 1, k - 1) / C(n - 1, k - 1).
    """
    _check_group(trainers, colluders, drawn, least=1)
    return float(1 - _tail(trainers - 1, colluders - 1, drawn - 1, drawn - 1))


def by_majority(trainers: int, colluders: int, drawn: int) -> float:
    """Return the chance that a cheat is outvoted, where the larger part's result counts.

    As `by_second_opinion`, but an outlier is named only by a majority of more than k / 2.
    """
    _check_group(trainers, colluders, drawn, least=1)
    honest = drawn // 2 + 1
    return float(_tail(trainers - 1, trainers - colluders, drawn - 1, honest))


def honest_outvoted(trainers: int, colluders: int, drawn: int) -> float:
    """Return the chance that an honest trainer is the one outvoted: the false alarm of a majority.

    Of the k - 1 others of its task more than k / 2 collude, and always hand in a wrong result.
    """
    _check_group(trainers, colluders, drawn, least=0)
    if colluders == trainers:
        raise InvalidInput("expected at least one honest trainer")
    return float(_tail(trainers - 1, colluders, drawn - 1, drawn // 2 + 1))


def corrupt_majority(members: int, corrupt: int, size: int) -> float:
    """Return the chance that more than half of a committee, drawn without replacement, is corrupt.

    sum over i > size / 2 of C(c, i) C(n - c, size - i) / C(n, size).
    """
    _check_group(members, corrupt, size, least=0)
    return float(_tail(members, corrupt, size, size // 2 + 1))


def corrupt_majority_by_weight(share: Fraction | float, seats: int) -> float:
    """Return the chance that more than half of the seats, each drawn by weight, are corrupt.

    sum over i > seats / 2 of C(seats, i) w^i (1 - w)^(seats - i), w the corrupt share of weight.

    Raises InvalidInput for a share outside 0 to 1, or a number of seats out of range.
    """
    if not (0 <= share <= 1 and 1 <= seats <= MAX_DRAWN):
        raise InvalidInput(f"expected a share of 0 to 1 and 1 to {MAX_DRAWN} seats")
    return binomial_tail(seats, float(share), seats // 2 + 1)


def binomial_tail(trials: int, chance: float, least: int) -> float:
    """Return the probability of at least `least` hits in `trials` independent ones."""
    if least <= 0:
        return 1.0
    if chance <= 0 or least > trials:
        return 0.0
    if chance >= 1:
        return 1.0
    yes, no, whole = math.log(chance), math.log1p(-chance), math.lgamma(trials + 1)
    terms = (
        math.exp(
            whole
            - math.lgamma(hits + 1)
            - math.lgamma(trials - hits + 1)
            + hits * yes
            + (trials - hits) * no
        )
        for hits in range(least, trials + 1)
    )
    return min(1.0, math.fsum(terms))


def over_rounds(chance: float, rounds: int) -> float:
    """Return 1 - (1 - p)^r: caught at least once, with a fresh draw in every round."""
    _check_chance(chance)
    if rounds < 0:
        raise InvalidInput(f"rounds are not negative, got {rounds}")
    return -math.expm1(rounds * _log_miss(chance)) if rounds else 0.0


def with_tries(chance: float, tries: int) -> float:
    """Return p^t: what is left of a chance if the cheat may pick the best of t draws.

    This is what a beacon known too early is worth, and a beacon whose last contributor may withhold
    (t = 2). Nothing but a commitment made before the draw keeps t at 1.
    """
    _check_chance(chance)
    if tries < 1:
        raise InvalidInput(f"tries are at least 1, got {tries}")
    return float(chance**tries)


def any_of(*chances: float) -> float:
    """Return the chance that at least one of several independent checks catches a cheat."""
    for chance in chances:
        _check_chance(chance)
    return 1.0 if 1 in chances else -math.expm1(math.fsum(map(_log_miss, chances)))


def rounds_until(chance: float) -> float:
    """Return 1 / p, the expected number of rounds until a cheat of every round is caught."""
    _check_chance(chance)
    return math.inf if chance == 0 else 1 / chance


@dataclass(frozen=True)
class Stakes:
    """One round's money: reward R, honest cost c, what a cheat saves of it or gains besides (g),
    the stake S that is lost when caught, and the chance e that an honest party is punished.

    Raises InvalidInput for negative numbers, or ones that are not finite.
    """

    reward: float
    cost: float
    saved: float
    stake: float
    false_alarm: float = 0.0

    def __post_init__(self) -> None:
        for name in ("reward", "cost", "saved", "stake"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInput(f"stakes: {name} is a finite number of at least 0")
        _check_chance(self.false_alarm)

    def honest(self) -> float:
        """Return what an honest round earns: (1 - e) R - e S - c."""
        return (1 - self.false_alarm) * self.reward - self.false_alarm * self.stake - self.cost

    def cheating(self, chance: float) -> float:
        """Return what a round earns that is caught with probability p: (1 - p) R - p S - c + g."""
        _check_chance(chance)
        return (1 - chance) * self.reward - chance * self.stake - self.cost + self.saved

    def punishment(self, chance: float) -> float:
        """Return what being caught costs in expectation: p (R + S)."""
        _check_chance(chance)
        return chance * (self.reward + self.stake)


def minimum_stake(chance: float, reward: float, saved: float, false_alarm: float = 0.0) -> float:
    """Return the stake from which on a cheat earns no more than honest work.

    (p - e) (R + S) >= g, so S = g / (p - e) - R, at least 0; infinite if p <= e. The same stake
    serves any number of rounds, as long as each is drawn and settled by itself.

    Raises InvalidInput for numbers out of range.
    """
    Stakes(reward, 0.0, saved, 0.0, false_alarm)
    _check_chance(chance)
    if saved == 0:
        return 0.0
    if chance <= false_alarm:
        return math.inf
    return max(0.0, saved / (chance - false_alarm) - reward)


def fewest_samples(population: int, altered: int, chance: float) -> int:
    """Return how many samples catch `altered` of a population with at least this probability.

    Raises InvalidInput if none are altered, or for numbers that do not fit.
    """
    _check_chance(chance)
    if not 1 <= altered <= population <= MAX_POPULATION:
        raise InvalidInput("expected at least one altered, and no more than there are")
    low, high = 0, population - altered + 1
    while low < high:
        middle = (low + high) // 2
        if by_sampling(population, altered, middle) >= chance:
            high = middle
        else:
            low = middle + 1
    return low


def _tail(population: int, marked: int, drawn: int, least: int) -> Fraction:
    """Return the exact chance that `drawn` of a population hold at least `least` marked ones."""
    ways = sum(
        math.comb(marked, i) * math.comb(population - marked, drawn - i)
        for i in range(max(0, least), min(marked, drawn) + 1)
    )
    return Fraction(ways, math.comb(population, drawn))


def _check_group(members: int, corrupt: int, drawn: int, least: int) -> None:
    if not 1 <= members <= MAX_MEMBERS or not least <= corrupt <= members:
        raise InvalidInput(f"expected 1 to 2^20 members, {least} to all of them corrupt")
    if not 1 <= drawn <= min(members, MAX_DRAWN):
        raise InvalidInput(f"expected 1 to {min(members, MAX_DRAWN)} drawn, got {drawn}")


def _check_chance(chance: float) -> None:
    if not 0 <= chance <= 1:
        raise InvalidInput(f"a probability is 0 to 1, got {chance}")


def _log_miss(chance: float) -> float:
    return -math.inf if chance == 1 else math.log1p(-chance)
