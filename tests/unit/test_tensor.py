"""Tensors of linear combinations compute what numpy computes on the same integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai.circuit.tensor import LIMIT, Rows, Tensor, as_tensor, concat
from zkai.errors import InvalidInput

VALUES = np.concatenate([[1], np.arange(-11, 13)]).astype(np.int64)  # wire 0 is the one


def wires(shape: tuple[int, ...], first: int = 1) -> tuple[Tensor, np.ndarray]:
    index = np.arange(first, first + int(np.prod(shape)))
    tensor = Tensor(shape, Rows.of_wires(index), (-11, 12))
    return tensor, VALUES[index].reshape(shape)


def same(tensor: Tensor, expected: np.ndarray) -> None:
    assert tensor.shape == np.shape(expected)
    values = tensor.evaluate(VALUES)
    np.testing.assert_array_equal(values, expected)
    if tensor.bound is not None and values.size:
        assert tensor.bound[0] <= values.min()
        assert values.max() <= tensor.bound[1]


def test_arithmetic_with_broadcasting() -> None:
    x, a = wires((3, 4))
    y, b = wires((4,), 13)
    same(x + y, a + b)
    same(x - y, a - b)
    same(5 - x, 5 - a)
    same(x * 3, a * 3)
    same(x * np.array([1, 0, -2, 7]), a * np.array([1, 0, -2, 7]))
    same(-x + np.arange(4), -a + np.arange(4))


def test_rearranging() -> None:
    x, a = wires((2, 3, 4))
    same(x.transpose(2, 0, 1), a.transpose(2, 0, 1))
    same(x.transpose(), a.transpose())
    same(x.reshape(6, 4), a.reshape(6, 4))
    same(x.reshape(-1), a.reshape(-1))
    same(x[1, ::2], a[1, ::2])
    same(x[..., None], a[..., None])
    same(x.sum(1), a.sum(1))
    same(x.sum(-1), a.sum(-1))
    same(concat([x, x * 2], axis=1), np.concatenate([a, a * 2], 1))


def test_matrix_product_with_a_constant() -> None:
    x, a = wires((3, 4))
    matrix = np.array([[1, 0], [-2, 3], [0, 0], [5, -7]])
    same(x.matmul_const(matrix), a @ matrix)
    zero = x.matmul_const(np.zeros((4, 2), np.int64))
    same(zero, a @ np.zeros((4, 2), np.int64))
    assert zero.bound == (0, 0)


def test_bounds_follow_interval_arithmetic() -> None:
    x = Tensor((2,), Rows.of_wires(np.array([1, 2])), (-3, 5))
    assert (x * -2).bound == (-10, 6)
    assert (x + 1).bound == (-2, 6)
    assert (x - x).bound == (-8, 8)
    assert x.sum(0).bound == (-6, 10)
    assert x[None].matmul_const(np.array([[1], [-1]])).bound == (-8, 8)


def test_nothing_is_proven_of_a_sum_with_an_unproven_part() -> None:
    proven = Tensor((1,), Rows.of_wires(np.array([1])), (0, 1))
    unproven = Tensor((1,), Rows.of_wires(np.array([2])), None)
    assert (proven + unproven).bound is None
    assert concat([proven, unproven]).bound is None


def test_equal_terms_merge_and_cancel() -> None:
    x, _ = wires((3,))
    assert len((x - x).rows.wires) == 0
    assert (x + x).rows.coefs.tolist() == [2, 2, 2]


def test_a_bound_above_the_limit_is_refused() -> None:
    x = Tensor((1,), Rows.of_wires(np.array([1])), (0, LIMIT - 1))
    with pytest.raises(InvalidInput, match=r"2\*\*62"):
        x + 1


def test_a_coefficient_above_the_limit_is_refused() -> None:
    x = Tensor((1,), Rows.of_wires(np.array([1])), None)
    with pytest.raises(InvalidInput, match="coefficient"):
        x * (1 << 40) * (1 << 40)


def test_constants_must_be_integers() -> None:
    with pytest.raises(InvalidInput, match="float64"):
        as_tensor(np.array([0.5]))


@given(st.data())
def test_random_expressions(data: st.DataObject) -> None:
    x, a = wires((2, 3))
    for _ in range(data.draw(st.integers(1, 6))):
        operation = data.draw(st.sampled_from(["add", "scale", "mix", "self", "constant"]))
        if operation == "add":
            y, b = wires((2, 3), data.draw(st.integers(1, 18)))
            x, a = x + y, a + b
        elif operation == "scale":
            factors = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=3, max_size=3)))
            x, a = x * factors, a * factors
        elif operation == "mix":
            entries = data.draw(st.lists(st.integers(-3, 3), min_size=9, max_size=9))
            matrix = np.array(entries).reshape(3, 3)
            x, a = x.matmul_const(matrix), a @ matrix
        elif operation == "self":
            x, a = x - x[::-1], a - a[::-1]
        else:
            x, a = 7 - x, 7 - a
    same(x, a)
