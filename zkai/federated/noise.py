"""What a session says of differential privacy, and what it costs as rounds go by.

    {"mechanism": "discrete-gaussian", "unit": "client", "norm", "variance", "honest", "epsilon",
     "delta"}

Every client's encrypted integers have a squared L2 norm of at most `norm`, its weight included,
and it adds N_Z(0, `variance`) to each before it encrypts. At least `honest` of those in a sum are
believed to. A round's number says how many sums were opened at most; once they would cost more than
`epsilon` at `delta`, key holders sign no set. zkai.he.privacy has the accounting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from zkai.errors import InvalidInput, VerificationError
from zkai.he.noise import DiscreteGaussian
from zkai.he.privacy import Preflight, Release, epsilon_spent, noise_for, preflight
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import MAX_INTEGER

MECHANISM, UNIT = "discrete-gaussian", "client"
_FIELDS = ("mechanism", "unit", "norm", "variance", "honest", "epsilon", "delta")
_DIGITS = 12


@dataclass(frozen=True)
class Privacy:
    """A session's noise and budget. `norm` is squared; `variance` is one client's, per value."""

    norm: int
    variance: int
    honest: int
    epsilon: str
    delta: str

    def __post_init__(self) -> None:
        """Raise InvalidInput for figures for which the accounting does not hold."""
        if not (type(self.norm) is int and 1 <= self.norm <= MAX_INTEGER):
            raise InvalidInput("privacy: norm: expected a positive integer below 2^53")
        if not 0 < _real(self.epsilon, "epsilon") <= 100:
            raise InvalidInput("privacy: epsilon: expected more than 0 and at most 100")
        if not 0 < _real(self.delta, "delta") < 1:
            raise InvalidInput("privacy: delta: expected a number between 0 and 1")
        self.release(1)

    @property
    def noise_bound(self) -> int:
        """The largest |noise| that a client adds to a value."""
        return DiscreteGaussian(self.variance).bound

    def release(self, values: int, rounds: int = 1) -> Release:
        """Return the accountant's view of `rounds` sums of `values` values."""
        return Release(self.norm, self.variance, self.honest, values, rounds)

    @property
    def fields(self) -> dict[str, Any]:
        """The session's entry."""
        return {"mechanism": MECHANISM, "unit": UNIT, **vars(self)}

    @staticmethod
    def from_fields(value: Any, where: str = "privacy") -> Privacy:
        """Read a session's entry. Raises InvalidInput naming the field."""
        expect_fields(value, _FIELDS, where)
        if (value["mechanism"], value["unit"]) != (MECHANISM, UNIT):
            raise InvalidInput(f"{where}: expected mechanism {MECHANISM}, unit {UNIT}")
        if not all(type(value[name]) is int for name in ("norm", "variance", "honest")):
            raise InvalidInput(f"{where}: norm, variance and honest are integers")
        return Privacy(
            value["norm"], value["variance"], value["honest"], value["epsilon"], value["delta"]
        )


def spent_record(
    fields: Mapping[str, Any] | None, values: int, rounds: int
) -> dict[str, Any] | None:
    """Return what a sum's record says of privacy: the session's entry and what is spent by then.

    `fields` is the session's entry, `values` how many values each sum has, `rounds` how many sums
    there are with this one.

    Raises VerificationError if that is more than the session's budget.
    """
    if fields is None:
        return None
    privacy = Privacy.from_fields(fields)
    epsilon, delta = float(privacy.epsilon), float(privacy.delta)
    spent = epsilon_spent([privacy.release(values, rounds)], delta)
    if spent > epsilon:
        raise VerificationError(
            f"the privacy budget is spent: sum {rounds} would bring epsilon to {spent:.4f} of"
            f" {privacy.epsilon} at delta {privacy.delta}; begin no further round"
        )
    # Rounded up to four places, never above the budget: libraries may differ in the last ones.
    shown = min(Fraction(math.ceil(spent * 10**4 - 1e-3), 10**4), Fraction(privacy.epsilon))
    return {**privacy.fields, "spent_epsilon": decimal(float(shown))}


def plan(
    clients: int,
    honest: int,
    values: int,
    sums: int,
    epsilon: float,
    delta: float,
    norm: int,
) -> tuple[Privacy, Preflight]:
    """Return the noise with which `sums` sums of updates of squared norm `norm` meet a budget.

    Raises InvalidInput for figures out of range, ToolError without dp-accounting.
    """
    target = preflight(clients, values, sums, epsilon, delta, honest=honest)
    release = noise_for(target, norm)
    found = Privacy(norm, release.variance, honest, decimal(epsilon), decimal(delta))
    return found, target


def decimal(value: float) -> str:
    """Return a number as a decimal without an exponent, as receipts have them."""
    text = f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")
    if not value > 0 or text == "0":
        raise InvalidInput(f"expected a number of at least 1e-{_DIGITS}, got {value}")
    return text


def _real(text: Any, name: str) -> float:
    try:
        if isinstance(text, str) and len(text) <= 40 and decimal(float(text)) == text:
            return float(text)
    except (ValueError, OverflowError, InvalidInput):
        pass
    raise InvalidInput(f"privacy: {name}: expected a decimal number in a string")
