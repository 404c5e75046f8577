"""What a session says of real updates that are sent as few and small integers.

    {"bound": decimal, "keep": null or a number of values}

Clients send real numbers of at most `bound`, rounded to the session's `value_bound` integers either
side of 0 (127: eight bits), and only `keep` of them where that is a number: those at coordinates
that everybody computes. What rounding and leaving out lose waits for the client's next round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zkai.errors import InvalidInput
from zkai.he.quantise import Quantiser
from zkai.proof.jsonform import expect_fields

EXPLORE = 0.25
"""The share of the sent coordinates that goes round all others in turn."""


@dataclass(frozen=True)
class Compression:
    """A session's bound on real values, and how many it sends. Raises InvalidInput."""

    bound: str
    keep: int | None = None

    def __post_init__(self) -> None:
        try:
            usable = isinstance(self.bound, str) and repr(float(self.bound)) == self.bound
        except (ValueError, OverflowError):
            usable = False
        if not usable or not (math.isfinite(float(self.bound)) and float(self.bound) > 0):
            raise InvalidInput("compression: bound: expected a positive number in a string")
        if self.keep is not None and not (type(self.keep) is int and self.keep >= 1):
            raise InvalidInput("compression: keep: expected null or a positive integer")

    def quantiser(self, levels: int) -> Quantiser:
        """Return what rounds to at most `levels` either side of 0."""
        return Quantiser(float(self.bound), levels)

    @property
    def fields(self) -> dict[str, Any]:
        """The session's entry."""
        return {"bound": self.bound, "keep": self.keep}

    @staticmethod
    def from_fields(value: Mapping[str, Any], where: str = "compression") -> Compression:
        """Read a session's entry. Raises InvalidInput naming the field."""
        expect_fields(value, ("bound", "keep"), where)
        return Compression(value["bound"], value["keep"])
