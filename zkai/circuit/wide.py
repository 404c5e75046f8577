"""Linear combinations whose coefficients are any field elements: what no `Tensor` can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zkai import native
from zkai.circuit.tensor import Ints, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Wide:
    """One combination a row, in CSR form; `ids` are places in `table`, which holds coefficients.

    A row lists its wires ascending, each once.
    """

    indptr: Ints
    wires: Ints
    ids: Ints
    table: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @staticmethod
    def total(
        parts: Sequence[tuple[int, Tensor | Wide]], constants: Sequence[int] | None = None
    ) -> Wide:
        """Return the sum of factor * part, row by row, and of constants.

        Raises InvalidInput if two parts hold one wire in one row, or differ in length.
        """
        rows, wires, ids = [], [], []
        table: list[int] = []
        pieces = [(factor, _entries(part)) for factor, part in parts]
        if constants is not None:
            pieces.append((1, (_constant_entries(len(constants)), [int(c) for c in constants])))
        for factor, ((row, wire, which), values) in pieces:
            rows.append(row)
            wires.append(wire)
            ids.append(which + len(table))
            table += [factor * value % FIELD_MODULUS for value in values]
        lengths = {len(part.rows) if isinstance(part, Tensor) else len(part) for _, part in parts}
        lengths |= set() if constants is None else {len(constants)}
        if len(lengths) != 1:
            raise InvalidInput(f"a sum of combinations of different lengths, {sorted(lengths)}")
        return _sorted(
            lengths.pop(), np.concatenate(rows), np.concatenate(wires), np.concatenate(ids), table
        )

    def take(self, index: Ints) -> Wide:
        """Return the rows at `index`."""
        lengths = np.diff(self.indptr)[index]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.indptr[index] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Wide(indptr, self.wires[source], self.ids[source], self.table)

    def evaluate(self, fields: Limbs) -> Limbs:
        """Return each row's value for the wires' values, (n, 4)."""
        matrix = _Matrix(
            self.indptr, np.arange(len(self.wires), dtype=np.uint32), self.ids.astype(np.uint32)
        )
        if not len(self.wires):
            return np.zeros((len(self), 4), np.uint64)
        (values,) = native.r1cs_evaluate(
            (matrix,), to_limbs(self.table), fields[self.wires], len(self)
        )
        return native.from_montgomery(values)


@dataclass(frozen=True, eq=False)
class _Matrix:
    indptr: Ints
    wires: np.ndarray[tuple[int, ...], np.dtype[np.uint32]]
    coefs: np.ndarray[tuple[int, ...], np.dtype[np.uint32]]


_Entries = tuple[Ints, Ints, Ints]


def _entries(part: Tensor | Wide) -> tuple[_Entries, list[int]]:
    """Return (row, wire, place in the values) of each entry, and the distinct values."""
    if isinstance(part, Wide):
        row = np.repeat(np.arange(len(part)), np.diff(part.indptr))
        return (row, part.wires, part.ids), list(part.table)
    clean = part.rows.merged()
    row = np.repeat(np.arange(len(clean)), np.diff(clean.indptr))
    distinct, which = np.unique(clean.coefs, return_inverse=True)
    return (row, clean.wires, which.ravel().astype(np.int64)), distinct.tolist()


def _constant_entries(n: int) -> _Entries:
    return np.arange(n), np.zeros(n, np.int64), np.arange(n)


def _sorted(n: int, row: Ints, wires: Ints, ids: Ints, table: list[int]) -> Wide:
    key = (row << 32) | wires
    order = np.argsort(key, kind="stable")
    if (np.diff(key[order]) == 0).any():
        raise InvalidInput("a sum of combinations holds a wire twice in one row")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]).astype(np.int64)
    return Wide(indptr, wires[order], ids[order], tuple(table))
