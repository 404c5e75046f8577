"""Integer tensors whose elements are linear combinations of wires.

A `Tensor` is what gadgets compute with: numpy-like, but each element is a row of a sparse matrix
over the circuit's wires. Adding, scaling, multiplying by a constant matrix and rearranging cost no
constraint; only `Builder` makes wires and constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput

Ints = npt.NDArray[np.int64]

LIMIT = 1 << 62
"""Every integer of a circuit stays below this magnitude, so int64 evaluates it exactly."""

Bound = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse integer matrix in CSR form: row i spans indptr[i]:indptr[i+1] of the other two."""

    indptr: Ints
    wires: Ints
    coefs: Ints

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @staticmethod
    def of_wires(wires: Ints) -> Rows:
        """Return one row for each wire, with coefficient 1."""
        n = len(wires)
        return Rows(np.arange(n + 1), np.asarray(wires, np.int64), np.ones(n, np.int64))

    @staticmethod
    def of_constants(values: Ints) -> Rows:
        """Return one row for each value, on wire 0 (the constant one); zero is an empty row."""
        present = values != 0
        indptr = np.concatenate([[0], np.cumsum(present)]).astype(np.int64)
        kept = values[present].astype(np.int64)
        return Rows(indptr, np.zeros(len(kept), np.int64), kept)

    def single_wires(self) -> Ints | None:
        """Return the wires if every row is one wire with coefficient 1, else None."""
        if len(self.wires) != len(self) or not (self.coefs == 1).all():
            return None
        if not (np.diff(self.indptr) == 1).all():
            return None
        return self.wires

    def take(self, index: Ints) -> Rows:
        """Return the rows at `index` (flat, repeats allowed)."""
        starts, lengths = self.indptr[index], np.diff(self.indptr)[index]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Rows(indptr, self.wires[source], self.coefs[source])

    def scale(self, factors: Ints) -> Rows:
        """Return row i times `factors[i]`."""
        _check_coefficients(self.coefs, factors)
        return Rows(self.indptr, self.wires, self.coefs * np.repeat(factors, np.diff(self.indptr)))

    def sum_groups(self, group_indptr: Ints) -> Rows:
        """Return one row for each group of consecutive rows: their sum, duplicates merged."""
        return Rows(self.indptr[group_indptr], self.wires, self.coefs).merged()

    def merged(self) -> Rows:
        """Return the same rows with wires ascending, each once, and no zero coefficient."""
        if len(self.wires) < 2 and (self.coefs != 0).all():
            return self
        lengths = np.diff(self.indptr)
        row = np.repeat(np.arange(len(self)), lengths)
        key = (row << 32) | self.wires
        if (np.diff(key) > 0).all():
            coefs, wires = self.coefs, self.wires
        else:
            order = np.argsort(key, kind="stable")
            key = key[order]
            first = np.flatnonzero(np.concatenate([[True], np.diff(key) > 0]))
            _check_coefficients(self.coefs, np.diff(np.append(first, len(key))))
            coefs = np.add.reduceat(self.coefs[order], first)
            row, wires = key[first] >> 32, key[first] & 0xFFFFFFFF
        present = coefs != 0
        if not present.all():
            row, wires, coefs = row[present], wires[present], coefs[present]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(self)))])
        return Rows(indptr.astype(np.int64), wires, coefs)

    def evaluate(self, values: Ints) -> Ints:
        """Return each row's value for the wires' int64 `values`."""
        single = self.single_wires()
        if single is not None:
            return values[single]
        if len(self.wires) == 0:
            return np.zeros(len(self), np.int64)
        products = self.coefs * values[self.wires]
        filled = np.diff(self.indptr) > 0
        result = np.zeros(len(self), np.int64)
        result[filled] = np.add.reduceat(products, self.indptr[:-1][filled])
        return result


def _check_coefficients(coefs: Ints, factors: Ints) -> None:
    if len(coefs) and len(factors):
        largest = int(np.abs(coefs).max()) * int(np.abs(factors).max())
        if largest >= LIMIT:
            raise InvalidInput(f"a coefficient could reach {largest}, above the limit 2**62")


def stack_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one part after the other."""
    offsets = np.cumsum([0] + [len(p.wires) for p in parts])
    indptr = [p.indptr[:-1] + o for p, o in zip(parts, offsets, strict=False)]
    return Rows(
        np.concatenate([*indptr, offsets[-1:]]).astype(np.int64),
        np.concatenate([p.wires for p in parts]),
        np.concatenate([p.coefs for p in parts]),
    )


@dataclass(frozen=True, eq=False)
class Tensor:
    """An integer tensor in the circuit.

    `bound` is the inclusive interval that constraints have *proven* for every element, or None
    where nothing is proven yet: a hint's output has no bound until a gadget checks its range.
    """

    shape: tuple[int, ...]
    rows: Rows
    bound: Bound | None

    __array_ufunc__ = None  # numpy defers to our operators

    @property
    def size(self) -> int:
        return len(self.rows)

    def __add__(self, other: Tensor | int | Ints) -> Tensor:
        other = as_tensor(other)
        shape = np.broadcast_shapes(self.shape, other.shape)
        left, right = self.broadcast_to(shape), other.broadcast_to(shape)
        n = left.size
        both = stack_rows([left.rows, right.rows])
        interleaved = both.take(np.stack([np.arange(n), np.arange(n) + n], 1).ravel())
        rows = interleaved.sum_groups(np.arange(0, 2 * n + 1, 2))
        bound = None
        if left.bound and right.bound:
            bound = (left.bound[0] + right.bound[0], left.bound[1] + right.bound[1])
        return Tensor(shape, rows, checked_bound(bound))

    __radd__ = __add__

    def __neg__(self) -> Tensor:
        return self * -1

    def __sub__(self, other: Tensor | int | Ints) -> Tensor:
        return self + -as_tensor(other)

    def __rsub__(self, other: int | Ints) -> Tensor:
        return as_tensor(other) - self

    def __mul__(self, factor: int | Ints) -> Tensor:
        """Return the elementwise product with constants."""
        factors = np.asarray(factor, np.int64)
        shape = np.broadcast_shapes(self.shape, factors.shape)
        wide = self.broadcast_to(shape)
        flat = np.broadcast_to(factors, shape).ravel()
        rows = wide.rows.scale(flat)
        if (flat == 0).any():
            rows = rows.merged()
        bound = None
        if self.bound is not None and flat.size:
            low, high = int(flat.min()), int(flat.max())
            corners = [a * b for a in (low, high) for b in self.bound]
            bound = (min(corners), max(corners))
        return Tensor(shape, rows, checked_bound(bound))

    __rmul__ = __mul__

    def matmul_const(self, matrix: Ints) -> Tensor:
        """Return x @ matrix for x (..., k) and a constant integer matrix (k, m): (..., m)."""
        k, m = matrix.shape
        if self.shape[-1] != k:
            raise InvalidInput(f"cannot multiply shape {self.shape} by a constant {matrix.shape}")
        batch = self.size // k
        grid = np.arange(self.size).reshape(batch, 1, k)
        index = np.broadcast_to(grid, (batch, m, k)).ravel()
        factors = np.broadcast_to(matrix.T.astype(np.int64), (batch, m, k)).ravel()
        used = factors != 0
        counts = used.reshape(-1, k).sum(1)
        groups = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = self.rows.take(index[used]).scale(factors[used]).sum_groups(groups)
        return Tensor((*self.shape[:-1], m), rows, checked_bound(self._matmul_bound(matrix)))

    def _matmul_bound(self, matrix: Ints) -> Bound | None:
        if self.bound is None:
            return None
        positive = np.where(matrix > 0, matrix, 0).astype(object).sum(0)
        negative = np.where(matrix < 0, matrix, 0).astype(object).sum(0)
        low, high = self.bound
        return (int(min(positive * low + negative * high)),
                int(max(positive * high + negative * low)))  # fmt: skip

    def sum(self, axis: int) -> Tensor:
        """Return the sum over one axis."""
        moved = np.moveaxis(np.arange(self.size).reshape(self.shape), axis, -1)
        n = moved.shape[-1]
        rows = self.rows.take(moved.ravel()).sum_groups(np.arange(0, self.size + 1, max(n, 1)))
        bound = None if self.bound is None else (n * self.bound[0], n * self.bound[1])
        return Tensor(moved.shape[:-1], rows, checked_bound(bound))

    def gather(self, index: Ints) -> Tensor:
        """Return the elements at flat positions `index`, in `index`'s shape."""
        return Tensor(index.shape, self.rows.take(index.ravel()), self.bound)

    def reshape(self, *shape: int) -> Tensor:
        return Tensor(np.empty(self.shape, np.bool_).reshape(shape).shape, self.rows, self.bound)

    def transpose(self, *axes: int) -> Tensor:
        positions = np.arange(self.size).reshape(self.shape)
        return self.gather(positions.transpose(axes or None))

    def broadcast_to(self, shape: tuple[int, ...]) -> Tensor:
        if shape == self.shape:
            return self
        return self.gather(np.broadcast_to(np.arange(self.size).reshape(self.shape), shape))

    def __getitem__(self, index: Any) -> Tensor:
        return self.gather(np.asarray(np.arange(self.size).reshape(self.shape)[index]))

    def evaluate(self, values: Ints) -> Ints:
        """Return the tensor's int64 values for the wires' `values`."""
        return self.rows.evaluate(values).reshape(self.shape)


def as_tensor(value: Tensor | int | Ints) -> Tensor:
    """Return `value` as a Tensor; integers become constants with their exact bound."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise InvalidInput(f"circuit constants are integers, got {array.dtype}")
    array = array.astype(np.int64)
    bound = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return Tensor(array.shape, Rows.of_constants(array.ravel()), checked_bound(bound))


def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Return tensors joined along an axis; the bound is the smallest that covers them all."""
    offsets = np.cumsum([0] + [t.size for t in tensors])
    index = np.concatenate(
        [np.arange(t.size).reshape(t.shape) + o for t, o in zip(tensors, offsets, strict=False)],
        axis,
    )
    bounds = [t.bound for t in tensors if t.size]
    known = [b for b in bounds if b is not None]
    bound = None
    if known and len(known) == len(bounds):
        bound = (min(b[0] for b in known), max(b[1] for b in known))
    joined = Tensor((int(offsets[-1]),), stack_rows([t.rows for t in tensors]), bound)
    return joined.gather(index)


def checked_bound(bound: Bound | None) -> Bound | None:
    """Return `bound`; raise InvalidInput where int64 could not hold it exactly."""
    if bound is not None and (bound[0] <= -LIMIT or bound[1] >= LIMIT):
        raise InvalidInput(
            f"an intermediate value could reach {max(-bound[0], bound[1])}, above 2**62: "
            "use narrower widths or smaller scales"
        )
    return bound


@dataclass(frozen=True, eq=False)
class Field:
    """A vector of single wires that hold arbitrary elements of the scalar field."""

    wires: Ints

    def __len__(self) -> int:
        return len(self.wires)

    def __getitem__(self, index: slice | int | Ints) -> Field:
        return Field(np.atleast_1d(self.wires[index]))


def concat_fields(parts: Sequence[Field]) -> Field:
    """Return one vector of all parts' wires."""
    return Field(np.concatenate([p.wires for p in parts]).astype(np.int64))
