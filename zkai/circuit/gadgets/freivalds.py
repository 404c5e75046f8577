"""Products of private matrices with a commitment round (Freivalds' check).

With x (b, k), w (k, m) and z (b, m) fixed in round 1 and u = (1, r, ..., r^(m-1)) for the challenge
r = `fold`, the rows prove x (w u) = z u. If x w differs from z, some row of x w - z is a polynomial
in r of degree below m that is not zero: at most m - 1 of the challenges pass it. By the bounds of x
and w every sum of x w is below 2^62, far from the field's order: z is the integers' product.

Rows, by Horner's rule: k (m-1) + b k + b (m-1). Two products x w and x^T e that share their left
matrix, as a layer's output and its weights' gradient do, share the b k too: with a = w u, d = e u',

    p_ij = x_ij (a_j + d_i)
    sum_j p_ij = (z u)_i + d_i sum_j x_ij
    sum_i p_ij = (g u')_j + a_j sum_i x_ij

are identities in x, so that the pair costs b k + b + k rows and the four Horner sums.

Source: R. Freivalds, "Probabilistic machines can use less running time", IFIP Congress 1977.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import has_row_sums, row_sums
from zkai.circuit.gadgets.range import require_bound
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Tensor, concat
from zkai.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class _Product:
    node: str
    x: Tensor
    w: Tensor
    z: Tensor

    @property
    def transposed(self) -> _Product:
        """The same claim as z^T = w^T x^T."""
        x, w, z = (t.transpose() for t in (self.x, self.w, self.z))
        return _Product(self.node, w, x, z)

    @property
    def rows(self) -> int:
        (b, k), m = self.x.shape, self.w.shape[1]
        return k * (m - 1) + b * k + b * (m - 1)


PAIR_BITS = 60
"""How far apart two rows of a paired product lie in one field element."""


class Products:
    """All products of private matrices of one circuit; `close` adds their checks."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._products: list[_Product] = []
        self._pairs: list[_Product] = []

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """Return x @ w for x (b, k) and w (k, m), on wires of round 1, with its bound.

        Raises InvalidInput if an operand has no proven bound, depends on a challenge, or where
        the product could reach 2**62.
        """
        builder, n = self._builder, x.shape[1]
        bounds = [require_bound(builder, t, "matmul") for t in (x, w)]
        corners = [a * b for a in bounds[0] for b in bounds[1]]
        (z,) = builder.hint("matmul", lambda a, b: [a @ b], [x, w], [(x.shape[0], w.shape[1])])
        builder.require_round_one(x, w, z)
        self._products.append(_Product(builder.node, x, w, z))
        return builder.with_bound(z, n * min(corners), n * max(corners))

    def paired(self, x: Tensor, w: Tensor, factor: int) -> Tensor:
        """Return x @ w for x (b, k) and w (k, m), **without a bound: the caller must prove one**.

        Two rows of x count as one, x_0 + 2^60 x_1. That halves what the check costs for x, to
        k (m-1) + (b/2) (k + m-1) rows, but it ties only z_0 + 2^60 z_1 to x. So the caller proves
        for every entry z that factor z is an integer of magnitude below 2^58. Then factor (x w - z)
        is below 2^59 for both rows, their combination far below the field's order, and both are 0.

        Raises InvalidInput for fewer than 3 rows, if an operand has no proven bound or depends on a
        challenge, or where factor x w could reach 2^58.
        """
        builder, n = self._builder, x.shape[1]
        if x.shape[0] < 3:
            raise InvalidInput(f"{builder.name}: a paired product takes 3 rows or more")
        bounds = [require_bound(builder, t, "matmul") for t in (x, w)]
        largest = n * factor * max(abs(a * b) for a in bounds[0] for b in bounds[1])
        if largest >= 1 << (PAIR_BITS - 2):
            raise InvalidInput(f"{builder.name}: the sums of a paired product could reach 2^58")
        (z,) = builder.hint("matmul", lambda a, b: [a @ b], [x, w], [(x.shape[0], w.shape[1])])
        builder.require_round_one(x, w, z)
        self._pairs.append(_Product(builder.node, _paired(x), w, _paired(z)))
        return z

    def close(self) -> None:
        """Add the rows of every check."""
        for product in self._pairs:
            self._check(min(product, product.transposed, key=self._rows))
        left = list(self._products)
        while left:
            first = left.pop(0)
            second = next((p for p in left if _same(p.x, first.x.transpose())), None)
            if second is None:
                self._check(min(first, first.transposed, key=self._rows))
            else:
                left.remove(second)
                self._check_pair(first, second)

    def _rows(self, product: _Product) -> int:
        """Return the rows of a check, less those that are made already."""
        (k, m) = product.w.shape
        return product.rows - (k * (m - 1) if has_row_sums(self._builder, product.w) else 0)

    def _check(self, product: _Product) -> None:
        """Prove x (w u) = z u; the last term of each sum needs no wire of its own."""
        builder, x = self._builder, product.x
        with builder.at(product.node):
            weighted, result = self.row_sums(product.w), self.row_sums(product.z)
            across = weighted.reshape(1, x.shape[1])
            if x.shape[1] > 1:
                terms = define_product(builder, "freivalds", x[:, :-1], across[:, :-1])
                result = result - terms.sum(1)
            builder.constrain(x[:, -1], weighted[-1], result, "freivalds")

    def _check_pair(self, first: _Product, second: _Product) -> None:
        """Prove x w = z and x^T e = g with one product for each entry of x."""
        builder, x = self._builder, first.x
        with builder.at(first.node):
            a, z = self.row_sums(first.w), self.row_sums(first.z)
        with builder.at(second.node):
            d, g = self.row_sums(second.w), self.row_sums(second.z)
        with builder.at(f"{first.node} and {second.node}"):
            both = a.reshape(1, len(a.rows)) + d.reshape(len(d.rows), 1)
            p = define_product(builder, "freivalds", x, both)
            builder.constrain(d, x.sum(1), p.sum(1) - z, "freivalds")
            builder.constrain(a, x.sum(0), p.sum(0) - g, "freivalds")

    def row_sums(self, matrix: Tensor) -> Tensor:
        """Return matrix @ (1, r, r^2, ...), made once for each matrix.

        One row for each element but the last column's. Call it while the circuit is closed.
        """
        return row_sums(self._builder, matrix)


def _paired(rows: Tensor) -> Tensor:
    """Return row 2i + 2^60 row 2i+1, without a bound; a last row may stand alone."""
    unproven = Tensor(rows.shape, rows.rows, None)
    odd = unproven[1::2] * (1 << PAIR_BITS)
    whole = unproven[::2]
    if len(odd.rows) == len(whole.rows):
        return whole + odd
    pairs = odd.shape[0]
    return concat([whole[:pairs] + odd, whole[pairs:]])


def products(builder: Builder) -> Products:
    """Return the circuit's one collector of matrix products."""
    return builder.deferred(Products, lambda: Products(builder))


def _same(left: Tensor, right: Tensor) -> bool:
    a, b = left.rows, right.rows
    return left.shape == right.shape and all(
        np.array_equal(getattr(a, part), getattr(b, part)) for part in ("indptr", "wires", "coefs")
    )
