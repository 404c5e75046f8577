"""What lookups are held against: tables of small integers, of field elements, of short tuples.

An entry counts as v0 + s v1 + .. + s^(c-1) v_(c-1) + s^k id, at the challenge s, where k is at
least the number of columns of the circuit's widest table: entries of two tables, or a looked-up
tuple of any values and an entry of another table, are different polynomials in s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import power_of_fold
from zkai.circuit.tensor import Ints, Tensor, as_tensor
from zkai.circuit.wide import Wide
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.errors import InvalidInput

MAX_COLUMNS = 8


@dataclass(frozen=True, eq=False)
class Elements:
    """A table of one column that holds any field elements."""

    entries: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def columns(self) -> int:
        """The number of columns."""
        return 1

    def denominators(self, builder: Builder, alpha: Tensor, tag: Tensor) -> Wide:
        """Return alpha - entry, with the table's tag in each entry."""
        n = (len(self),)
        parts = [(1, alpha.broadcast_to(n)), (-1, tag.broadcast_to(n))]
        return Wide.total(parts, [-entry for entry in self.entries])

    def places(self, values: Any) -> Ints:
        """Return the places of those elements, (n, 4) limbs, that are in the table."""
        keys = _keys(to_limbs([entry % FIELD_MODULUS for entry in self.entries]))
        order = np.argsort(keys)
        wanted = _keys(values)
        found = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        inside = keys[order][found] == wanted
        places: Ints = order[found[inside]].astype(np.int64)
        return places


def _keys(limbs: Any) -> Any:
    return np.ascontiguousarray(limbs).view("S32").ravel()


@dataclass(frozen=True, eq=False)
class Tuples:
    """A table of tuples of small integers: entries (T, c)."""

    entries: Ints

    def __post_init__(self) -> None:
        shape = self.entries.shape
        if len(shape) != 2 or not 1 <= shape[1] <= MAX_COLUMNS or not shape[0]:
            raise InvalidInput(f"a table of tuples has 1 to {MAX_COLUMNS} columns, got {shape}")

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def columns(self) -> int:
        """The number of columns."""
        return int(self.entries.shape[1])

    def denominators(self, builder: Builder, alpha: Tensor, tag: Tensor) -> Tensor:
        """Return alpha - entry, with the table's tag in each entry."""
        total = as_tensor(self.entries[:, 0]) + tag
        for column in range(1, self.columns):
            power = power_of_fold(builder, column).broadcast_to((len(self),))
            total = total + power * self.entries[:, column]
        return alpha - total

    def places(self, values: Any) -> Ints:
        """Return the places of those tuples, (n, c), that are in the table."""
        low, high = int(self.entries.min()), int(self.entries.max())
        weights = (high - low + 1) ** np.arange(self.columns, dtype=np.int64)
        codes = (self.entries - low) @ weights
        order = np.argsort(codes)
        inside = ((values >= low) & (values <= high)).all(axis=1)
        wanted = (values[inside] - low) @ weights
        found = np.minimum(np.searchsorted(codes[order], wanted), len(codes) - 1)
        places: Ints = order[found[codes[order][found] == wanted]].astype(np.int64)
        return places


def products_of(values: Sequence[int], columns: int) -> Ints:
    """Return all tuples of `columns` of the values, (len(values) ** columns, columns)."""
    grid = np.meshgrid(*([np.asarray(values, np.int64)] * columns), indexing="ij")
    return np.stack([part.ravel() for part in grid], axis=1)
