"""The rules' basic operations on Python's unbounded integers, from circuits/README.md alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Vector = dict[str, Any]


class Refused(Exception):
    """The rules refuse this vector; the argument is the tensor to name."""


def rescale(a: int, k: int) -> int:
    return a * 2**-k if k <= 0 else math.floor(Fraction(a + 2 ** (k - 1), 2**k))


def divide(a: int, b: int) -> int:
    if b < 1:
        raise Refused("denominator")
    return math.floor(Fraction(2 * a + b, 2 * b))


def fits(value: int, width: int, name: str) -> int:
    if not -(2 ** (width - 1)) <= value < 2 ** (width - 1):
        raise Refused(name)
    return value


def nested(function: Callable[..., int], *arrays: Any) -> Any:
    """Apply a function to equally nested lists."""
    if isinstance(arrays[0], list):
        return [nested(function, *items) for items in zip(*arrays, strict=True)]
    return function(*arrays)


def product(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    return [[sum(x * y for x, y in zip(row, col, strict=True)) for col in turned(b)] for row in a]


def turned(a: list[list[int]]) -> list[list[int]]:
    return [list(column) for column in zip(*a, strict=True)]


def exponential(d: int, sa: int, se: int) -> int:
    q, f = divmod(d, 2**sa)
    if q >= se + 2:
        return 0
    return (64 * 2 ** (2 * sa) - 43 * f * 2**sa + 11 * f * f) * 2 ** (se + 2 - q)


def check_row(u: list[int], half: int, name: str) -> None:
    m = max(u)
    if not -half <= m < half or any(m - v >= half for v in u):
        raise Refused(name)


def softmax_row(u: list[int], sa: int, se: int, name: str = "u") -> dict[str, Any]:
    check_row(u, 2 ** (sa + 7), name)
    e0 = 2 * sa + se + 8
    e = [exponential(max(u) - v, sa, se) for v in u]
    rho = divide(2 ** (e0 + se + 4), sum(e))
    return {"e": e, "S": sum(e), "rho": rho, "p": [rescale(v * rho, e0 + 4) for v in e]}
