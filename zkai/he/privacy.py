"""Differential privacy of sums: distributed discrete Gaussian noise, its accounting, a budget.

Each client clips its update to an L2 norm (`norm`, in integers), and adds N_Z(0, variance) to
each value before it encrypts. The sum then carries the noise of all; only that of `honest`
clients counts, since others may have left theirs out. The unit is a client: two cohorts are
neighbours if one client's update is replaced by zeros. Every client of a cohort is known to
take part, so no amplification by sampling is claimed.

The sum of the honest clients' noise is within a factor exp(+-kappa) of what results when a
continuous Gaussian of variance honest * variance - 4 is added and then rounded at random,
independently of the data, so the accounting of the Gaussian mechanism holds, with kappa added:
docs/decisions/0023 has the argument. dp-accounting composes privacy loss distributions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.he.noise import DiscreteGaussian

SMOOTHING = 4
"""Variance of the random rounding, taken off the Gaussian's."""

MIN_VARIANCE = 4
"""A client's least variance: below, the discrete Gaussian is not close enough to its sums."""

MAX_ROUNDS = 1 << 20
MAX_PARAMETERS = 1 << 32

DEFAULT_EPSILON = 1.0
DEFAULT_DELTA = 1e-5


@dataclass(frozen=True)
class Release:
    """`rounds` sums of vectors with `parameters` values, each from at least `honest` clients."""

    norm: int  # of a client's integers, squared
    variance: int  # of a client's noise, per value
    honest: int
    parameters: int
    rounds: int = 1

    def __post_init__(self) -> None:
        """Raise InvalidInput for figures for which the accounting does not hold."""
        for name, value, least, most in (
            ("norm", self.norm, 1, 1 << 120),
            ("variance", self.variance, MIN_VARIANCE, 1 << 32),
            ("honest", self.honest, 1, 1 << 24),
            ("parameters", self.parameters, 1, MAX_PARAMETERS),
            ("rounds", self.rounds, 1, MAX_ROUNDS),
        ):
            if not least <= value <= most:
                raise InvalidInput(f"{name} must be between {least} and {most}, got {value}")
        if self.honest * self.variance <= SMOOTHING:
            raise InvalidInput(f"the sum's noise must have a variance above {SMOOTHING}")

    @property
    def multiplier(self) -> float:
        """The Gaussian's standard deviation over the sensitivity."""
        return math.sqrt((self.honest * self.variance - SMOOTHING) / self.norm)

    @property
    def kappa(self) -> float:
        """The most by which the log probability of one sum differs from the Gaussian's."""
        ties = sum(_gap(self.variance * k / (k + 1)) for k in range(1, min(self.honest, 64))) + max(
            0, self.honest - 64
        ) * _gap(self.variance * 64 / 65)
        return self.parameters * (ties + _gap(SMOOTHING) + _gap(self.honest * self.variance))

    @property
    def distance(self) -> float:
        """The statistical distance of the sampled noise from N_Z, over all clients and rounds."""
        each = DiscreteGaussian(self.variance).distance
        return each * self.honest * self.parameters * self.rounds


def _gap(variance: float) -> float:
    """Bound |log(sum_k rho(k - c) / (sqrt(2 pi) s))| over both signs, for every centre c.

    Poisson summation: the sum is sqrt(2 pi) s (1 + e), |e| <= 2 sum_k exp(-2 pi^2 s^2 k^2).
    """
    error = 2.02 * math.exp(-2 * math.pi**2 * variance)
    return 2 * error / (1 - error)


def epsilon_spent(releases: Sequence[Release], delta: float = DEFAULT_DELTA) -> float:
    """Return the epsilon for which all releases together are (epsilon, delta) private.

    Raises InvalidInput for delta outside (0, 1), ToolError without dp-accounting.
    """
    _check_delta(delta)
    if not releases:
        return 0.0
    kappa = sum(release.kappa * release.rounds for release in releases)
    distance = sum(release.distance for release in releases)
    if distance * 4 >= delta:
        raise InvalidInput(f"delta {delta} is too small: the sampler itself takes {distance:.1e}")
    combined = _combined([(release.multiplier, release.rounds) for release in releases])
    # (1 + e^epsilon) distance and the factor e^kappa come off delta; epsilon is at most a guess
    # that is raised until it holds.
    epsilon = _epsilon(combined, delta)
    for _ in range(64):
        left = (delta - (1 + math.exp(min(epsilon, 700.0))) * distance) * math.exp(-kappa)
        if left <= 0:
            raise InvalidInput(f"delta {delta} is too small for this much noise")
        found = _epsilon(combined, left) + 2 * kappa
        if found <= epsilon:
            return epsilon
        epsilon = found + 1e-6
    raise InvalidInput(f"no epsilon was found for delta {delta}")


@dataclass(frozen=True)
class Budget:
    """What may be spent on one group of clients in all, and what was."""

    epsilon: float = DEFAULT_EPSILON
    delta: float = DEFAULT_DELTA
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        """Raise InvalidInput for an epsilon or delta out of range."""
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise InvalidInput(f"epsilon must be a positive number, got {self.epsilon}")
        _check_delta(self.delta)

    @property
    def spent(self) -> float:
        """The epsilon spent so far, at the budget's delta."""
        return epsilon_spent(self.releases, self.delta)

    def spend(self, release: Release) -> Budget:
        """Return the budget after one more release.

        Raises VerificationError if it would be overspent: the release must then not be made.
        """
        after = Budget(self.epsilon, self.delta, (*self.releases, release))
        if (spent := after.spent) > self.epsilon:
            raise VerificationError(
                f"the privacy budget is spent: this release would bring epsilon to {spent:.4f} of "
                f"{self.epsilon} at delta {self.delta}; {self.spent:.4f} are spent so far"
            )
        return after

    def to_json(self) -> dict[str, Any]:
        """Return the budget as JSON values."""
        return {
            "format": "zkai.dp-budget/1",
            "epsilon": str(self.epsilon),
            "delta": str(self.delta),
            "unit": "client",
            "releases": [vars(release).copy() for release in self.releases],
        }

    @staticmethod
    def from_json(document: Any) -> Budget:
        """Read a budget. Raises InvalidInput if it is none."""
        keys = {"format", "epsilon", "delta", "unit", "releases"}
        if not isinstance(document, dict) or document.keys() != keys:
            raise InvalidInput(f"a privacy budget has the fields {sorted(keys)}")
        if (document["format"], document["unit"]) != ("zkai.dp-budget/1", "client"):
            raise InvalidInput("format: expected zkai.dp-budget/1, for the unit client")
        releases = document["releases"]
        if not isinstance(releases, list) or len(releases) > MAX_ROUNDS:
            raise InvalidInput("releases: expected a list")
        return Budget(
            _number(document["epsilon"], "epsilon"),
            _number(document["delta"], "delta"),
            tuple(map(_release, releases)),
        )


def _release(fields: Any) -> Release:
    names = {"norm", "variance", "honest", "parameters", "rounds"}
    if not isinstance(fields, dict) or fields.keys() != names:
        raise InvalidInput(f"a release has the fields {sorted(names)}")
    if not all(type(value) is int for value in fields.values()):
        raise InvalidInput("a release's fields are integers")
    return Release(**fields)


def _number(text: Any, name: str) -> float:
    try:
        value = float(text) if isinstance(text, str) and len(text) <= 40 else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or str(value) != text:
        raise InvalidInput(f"{name}: expected a decimal number in a string")
    return value


@dataclass(frozen=True)
class Preflight:
    """What a target would cost, said before training.

    `multiplier`: noise over clipping norm, of the sum; `per_client`: the same for one client's
    noise; `noise_to_signal`: the norm of the mean's noise over the clipping norm, which the
    mean update cannot exceed.
    """

    clients: int
    honest: int
    parameters: int
    rounds: int
    epsilon: float
    delta: float
    multiplier: float

    @property
    def per_client(self) -> float:
        """A client's noise for each value, in clipping norms."""
        return self.multiplier / math.sqrt(self.honest)

    @property
    def noise_to_signal(self) -> float:
        """multiplier * sqrt(clients / honest) * sqrt(parameters) / clients."""
        everyone = self.multiplier * math.sqrt(self.clients / self.honest)
        return everyone * math.sqrt(self.parameters) / self.clients

    @property
    def parameters_at_one(self) -> int:
        """The number of parameters at which noise and signal would be equal."""
        return int(self.parameters / self.noise_to_signal**2)

    @property
    def advice(self) -> str:
        """What this means for training, in a sentence."""
        if self.noise_to_signal <= 0.5:
            return "The signal stands out from the noise."
        if self.noise_to_signal <= 2:
            return "Noise and signal are about equal: expect slow training."
        return (
            f"The noise drowns the signal: train about {self.parameters_at_one} parameters, ask "
            "more clients, or plan fewer rounds."
        )


def preflight(
    clients: int,
    parameters: int,
    rounds: int,
    epsilon: float = DEFAULT_EPSILON,
    delta: float = DEFAULT_DELTA,
    *,
    honest: int | None = None,
) -> Preflight:
    """Return the noise that (epsilon, delta) takes over `rounds` sums of `clients` updates.

    `honest`: how many clients' noise may be counted on (default: all).

    Raises InvalidInput for figures out of range, ToolError without dp-accounting.
    """
    honest = clients if honest is None else honest
    if not (1 <= honest <= clients <= 1 << 24 and 1 <= parameters <= MAX_PARAMETERS):
        raise InvalidInput("expected 1 <= honest <= clients and at least one parameter")
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InvalidInput(f"rounds must be between 1 and {MAX_ROUNDS}, got {rounds}")
    Budget(epsilon, delta)
    if not (2.0**-10 <= epsilon <= 100 and delta >= 1e-30):
        raise InvalidInput("expected an epsilon of 0.001 to 100 and a delta of 1e-30 at least")
    low = high = 1.0
    while _epsilon(high, delta) > epsilon:
        low, high = high, high * 2
    while low > 2.0**-8 and _epsilon(low, delta) <= epsilon:
        low, high = low / 2, low
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if _epsilon(middle, delta) > epsilon:
            low = middle
        else:
            high = middle
    high *= math.sqrt(rounds)
    return Preflight(clients, honest, parameters, rounds, epsilon, delta, high)


def noise_for(target: Preflight, norm: int) -> Release:
    """Return the releases with which clients of squared norm `norm` (integers) meet `target`.

    Raises InvalidInput if no variance within the sampler's range does.
    """
    variance = max(MIN_VARIANCE, math.ceil(target.multiplier**2 * norm / target.honest))
    while True:
        release = Release(norm, variance, target.honest, target.parameters, target.rounds)
        if epsilon_spent([release], target.delta) <= target.epsilon:
            return release
        # Rounding the smoothing, kappa and the sampler's distance cost a little more.
        variance += max(1, variance >> 11)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InvalidInput(f"delta must lie between 0 and 1, got {delta}")


def _combined(mechanisms: Sequence[tuple[float, int]]) -> float:
    """Return the multiplier of one Gaussian mechanism that equals all (multiplier, times).

    The privacy loss of a Gaussian mechanism is normal, and sums of normals are normal:
    1 / m^2 = sum times_i / m_i^2 (Dong, Roth, Su, "Gaussian Differential Privacy", 2019).
    """
    return 1 / math.sqrt(sum(times / multiplier**2 for multiplier, times in mechanisms))


@lru_cache(maxsize=1 << 12)
def _epsilon(multiplier: float, delta: float) -> float:
    """Return the epsilon of one Gaussian mechanism by its privacy loss distribution.

    dp-accounting's bound is pessimistic, never below the true epsilon.
    """
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError as error:
        raise ToolError("accounting needs dp-accounting: pip install 'zkai[privacy]'") from error
    distribution = privacy_loss_distribution.from_gaussian_mechanism(
        multiplier,
        # Large losses take a coarser grid, so that none outgrows memory.
        value_discretization_interval=1e-4 * max(1.0, 1 / multiplier**2),
    )
    return float(distribution.get_epsilon_for_delta(delta))
