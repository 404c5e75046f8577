"""Exact matrix products (circuits/README.md, rule 3).

A product with constants is linear and costs nothing. A product of two private matrices takes the
inner-product identity of S. Winograd ("A new algorithm for inner product", IEEE Transactions on
Computers C-17, 1968): with x and w of even length,

    x . w = sum_i (x_2i + w_2i+1)(x_2i+1 + w_2i) - sum_i x_2i x_2i+1 - sum_i w_2i w_2i+1.

The last two sums belong to one row of x and to one column of w, so that a product (b, n) @ (n, m)
takes about b n m / 2 rows instead of b n m. It is an identity of commutative rings: nothing is
approximated and nothing is left to chance. A circuit with a commitment round takes Freivalds' check
instead (gadgets/freivalds.py).
"""

from __future__ import annotations

import math

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.freivalds import products
from zkai.circuit.gadgets.range import require_bound
from zkai.circuit.tensor import LIMIT, Ints, Tensor, as_tensor, concat
from zkai.errors import InvalidInput


def matmul(builder: Builder, x: Tensor, w: Tensor) -> Tensor:
    """Return x @ w for x (..., n) and w (n, m): shape (..., m), exact.

    Raises InvalidInput for shapes that do not match or an operand without a proven bound.
    """
    if len(w.shape) != 2 or not x.shape or x.shape[-1] != w.shape[0]:
        raise InvalidInput(f"{builder.name}: cannot multiply shapes {x.shape} and {w.shape}")
    if (constant := constant_values(w)) is not None:
        return x.matmul_const(constant)
    n, m = w.shape
    shape, batch = x.shape[:-1], x.size // n
    rows = x.reshape(batch, n)
    if (constant := constant_values(rows)) is not None:
        product = w.transpose().matmul_const(constant.T).transpose()
    elif builder.commit and min(batch, n, m) > 1:
        product = products(builder).product(rows, w)
    else:
        product = _private_product(builder, rows, w)
    return product.reshape(*shape, m)


def constant_values(tensor: Tensor) -> Ints | None:
    """Return the integers of a tensor that depends on no wire, else None."""
    if (tensor.rows.wires != 0).any():
        return None
    return tensor.evaluate(np.ones(1, np.int64))


def dot(builder: Builder, a: Tensor, b: Tensor, rule: str) -> Tensor:
    """Return the sum over the last axis of a * b: one row a product and no other.

    Row i is a_i b_i = s_i - s_(i-1), so that the last running sum is the result on one wire.
    """
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = a.broadcast_to(shape), b.broadcast_to(shape)
    bounds = [require_bound(builder, x, "dot product") for x in (a, b)]
    corners = [x * y for x in bounds[0] for y in bounds[1]]
    n = shape[-1]
    (sums,) = builder.hint(rule, lambda x, y: [np.cumsum(x * y, axis=-1)], [a, b], [shape])
    before = np.arange(sums.size).reshape(shape)[..., :-1]
    builder.constrain(a[..., :1], b[..., :1], sums[..., :1], rule)
    builder.constrain(a[..., 1:], b[..., 1:], sums[..., 1:] - sums.gather(before), rule)
    # Every running sum lies in this interval too, so the solver's int64 holds it.
    low, high = n * min(*corners, 0), n * max(*corners, 0)
    return builder.with_bound(sums[..., n - 1], low, high)


def _private_product(builder: Builder, x: Tensor, w: Tensor) -> Tensor:
    (batch, n), m = x.shape, w.shape[1]
    bounds = [require_bound(builder, t, "matmul") for t in (x, w)]
    half = n // 2
    x, w = _compact(builder, x, m), _compact(builder, w, batch)
    columns = w.transpose()  # (m, n)
    saved = batch * m * half - batch * half - m * half
    # The identity squares the wider operand: past int64 only the plain product is left.
    largest = sum(max(-low, high) for low, high in bounds)
    if saved <= 0 or 2 * half * largest * largest >= LIMIT:
        result = dot(builder, x.reshape(batch, 1, n), columns.reshape(1, m, n), "matmul")
    else:
        even, odd = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        left = x[:, even].reshape(batch, 1, half) + columns[:, odd].reshape(1, m, half)
        right = x[:, odd].reshape(batch, 1, half) + columns[:, even].reshape(1, m, half)
        result = dot(builder, left, right, "matmul")
        result = result - dot(builder, x[:, even], x[:, odd], "matmul rows").reshape(batch, 1)
        result = result - dot(builder, columns[:, even], columns[:, odd], "matmul columns")
        if n % 2:
            last = builder.multiply(
                x[:, n - 1].reshape(batch, 1), columns[:, n - 1].reshape(1, m), "matmul"
            )
            result = result + last
    corners = [a * b for a in bounds[0] for b in bounds[1]]
    return builder.with_bound(result, n * min(corners), n * max(corners))


def _compact(builder: Builder, tensor: Tensor, uses: int) -> Tensor:
    """Put long linear combinations that many rows would repeat on wires of their own."""
    terms = len(tensor.rows.wires)
    if (terms - tensor.size) * uses <= 8 * (tensor.size + terms):
        return tensor
    return builder.materialize(tensor, "matmul operand")


def im2col(x: Tensor, patches: Ints, padding: int = 0) -> Tensor:
    """Return x's elements at flat positions `patches`; -1 stands for the constant `padding`."""
    if int(patches.max(initial=0)) >= x.size or int(patches.min(initial=0)) < -1:
        raise InvalidInput("a patch refers to an element that the tensor does not have")
    padded = concat([x.reshape(math.prod(x.shape)), as_tensor(np.array([padding]))])
    return padded.gather(np.where(patches < 0, x.size, patches))
