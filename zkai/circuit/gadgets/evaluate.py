"""Polynomials at the challenge `fold`: sums of coefficients times its powers, in round 2.

Rows: about one a coefficient, by Horner's rule inside the rows of a matrix, all of them at once,
and by pairs between them; and a few for powers of fold, made once for the circuit.
"""

from __future__ import annotations

from typing import Any

from zkai.circuit.builder import Builder
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Tensor, as_tensor, concat


class _Made:
    """The powers of fold and the sums of matrices' rows that a circuit has made."""

    def __init__(self) -> None:
        self.powers: dict[int, Tensor] = {}
        self.sums: dict[tuple[Any, ...], Tensor] = {}

    def close(self) -> None:
        """Do nothing: they are made where they are asked for."""


def power_of_fold(builder: Builder, n: int) -> Tensor:
    """Return fold^n, n >= 1. Call it while the circuit is closed."""
    if n == 1:
        return builder.challenge("fold")
    known = builder.deferred(_Made, _Made).powers
    if n not in known:
        half = power_of_fold(builder, n // 2)
        with builder.at("powers of fold"):
            power = define_product(builder, "power", half, half)
            if n % 2:
                power = define_product(builder, "power", power, power_of_fold(builder, 1))
        known[n] = power
    return known[n]


def row_sums(builder: Builder, matrix: Tensor) -> Tensor:
    """Return matrix @ (1, r, r^2, ...) for r = `fold`, made once for each matrix.

    One row for each element but the last column's. Call it while the circuit is closed.
    """
    known, key = builder.deferred(_Made, _Made).sums, _key(matrix)
    if key not in known:
        r, n = builder.challenge("fold"), matrix.shape[1]
        total = Tensor(matrix.shape[:1], matrix[:, n - 1].rows, None)
        for column in range(n - 2, -1, -1):
            total = define_product(builder, "freivalds", total, r, plus=matrix[:, column])
        known[key] = total
    return known[key]


def has_row_sums(builder: Builder, matrix: Tensor) -> bool:
    """Return whether `row_sums` of a matrix are made already."""
    return _key(matrix) in builder.deferred(_Made, _Made).sums


def _key(matrix: Tensor) -> tuple[Any, ...]:
    rows = matrix.rows
    return (matrix.shape, *(a.tobytes() for a in (rows.indptr, rows.wires, rows.coefs)))


def evaluate(builder: Builder, part: Tensor, rule: str) -> Tensor:
    """Return the sum of part[i, j] fold^(m i + j) for a matrix (k, m)."""
    if not part.rows.wires.size:
        return as_tensor(0)
    return joined(builder, row_sums(builder, part)[None], part.shape[1], rule).reshape()


def joined(builder: Builder, sums: Tensor, step: int, rule: str) -> Tensor:
    """Return the sum over i of sums[p, i] fold^(step i) for each p, by pairs."""
    while sums.shape[1] > 1:
        even = sums.shape[1] // 2 * 2
        odd = sums[:, even:]
        power = power_of_fold(builder, step)
        pairs = define_product(builder, rule, sums[:, 1:even:2], power, plus=sums[:, 0:even:2])
        sums, step = concat([pairs, odd], axis=1) if odd.size else pairs, 2 * step
    return sums[:, 0]
