"""Fr and Fq in C, by every kernel, against Python's integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai import native
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, ToolError

KERNELS = [name for name, available in native.kernels().items() if available]

FIELDS = {
    "fr": (FIELD_MODULUS, native.fr_mul, native.fr_add, native.fr_sub, native.fr_inv),
    "fq": (BASE_MODULUS, native.fq_mul, native.fq_add, native.fq_sub, native.fq_inv),
}


@pytest.fixture(params=KERNELS, scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernel()
    native.set_kernel(request.param)
    yield request.param
    native.set_kernel(before)


def elements(modulus: int) -> st.SearchStrategy[int]:
    """Values of the field, its ends and powers of two (limb borders) among them."""
    ends = [0, 1, 2, modulus - 1, modulus - 2, modulus // 2, modulus // 2 + 1]
    borders = [(1 << k) + d for k in (63, 64, 127, 128, 191, 192, 253) for d in (-1, 0, 1)]
    return st.one_of(
        st.sampled_from([v for v in ends + borders if v < modulus]),
        st.integers(0, modulus - 1),
        st.integers(0, 255),
    )


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_arithmetic_equals_integers(kernel: str, name: str, data: st.DataObject) -> None:
    modulus, mul, add, sub, inv = FIELDS[name]
    pair = st.tuples(elements(modulus), elements(modulus))
    pairs = data.draw(st.lists(pair, min_size=1, max_size=20))
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    la, lb = to_limbs(a), to_limbs(b)
    assert from_limbs(mul(la, lb)) == [x * y % modulus for x, y in pairs]
    assert from_limbs(add(la, lb)) == [(x + y) % modulus for x, y in pairs]
    assert from_limbs(sub(la, lb)) == [(x - y) % modulus for x, y in pairs]
    assert from_limbs(inv(la)) == [pow(x, -1, modulus) if x else 0 for x in a]


@pytest.mark.parametrize("name", FIELDS)
def test_every_pair_of_edge_values(kernel: str, name: str) -> None:
    modulus, mul, add, sub, _ = FIELDS[name]
    edges = [0, 1, 2, modulus - 1, modulus - 2, modulus // 2, modulus // 2 + 1]
    edges += [v for k in (64, 128, 192, 253) for v in ((1 << k) - 1, 1 << k) if v < modulus]
    a = [x for x in edges for _ in edges]
    b = edges * len(edges)
    for function, expected in (
        (mul, [x * y % modulus for x, y in zip(a, b, strict=True)]),
        (add, [(x + y) % modulus for x, y in zip(a, b, strict=True)]),
        (sub, [(x - y) % modulus for x, y in zip(a, b, strict=True)]),
    ):
        assert from_limbs(function(to_limbs(a), to_limbs(b))) == expected


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("excess", [0, 1, 1 << 64, 1 << 200])
def test_values_at_or_above_the_modulus_are_refused(kernel: str, name: str, excess: int) -> None:
    modulus, mul, add, sub, inv = FIELDS[name]
    good, bad = to_limbs([modulus - 1]), to_limbs([modulus + excess])
    for function in (mul, add, sub):
        function(good, good)
        with pytest.raises(InvalidInput, match="not canonical"):
            function(good, bad)
        with pytest.raises(InvalidInput, match="not canonical"):
            function(bad, good)
    with pytest.raises(InvalidInput, match="not canonical"):
        inv(bad)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=50))
def test_int64_values_become_field_elements(kernel: str, values: list[int]) -> None:
    result = native.fr_from_int64(np.array(values, dtype=np.int64))
    assert from_limbs(result) == [v % FIELD_MODULUS for v in values]


def test_int64_edges(kernel: str) -> None:
    values = np.array([[0, -1], [1, -(1 << 63)], [(1 << 63) - 1, -128]], dtype=np.int64)
    result = native.fr_from_int64(values)
    assert from_limbs(result) == [int(v) % FIELD_MODULUS for v in values.reshape(-1)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda good: good.astype(np.int64), "uint64"),
        (lambda good: good.astype(np.float64), "float64"),
        (lambda good: good.tolist(), "list"),
        (lambda good: None, "NoneType"),
        (lambda good: good.reshape(-1), "shape"),
        (lambda good: good[:, :3], "shape"),
        (lambda good: good[:1], "shape"),
        (lambda good: good.astype(">u8"), "uint64"),
    ],
)
def test_wrong_arrays_are_refused_before_c(bad: Callable[..., object], message: str) -> None:
    good = to_limbs([1, 2])
    with pytest.raises(InvalidInput, match=message):
        native.fr_mul(good, bad(good))  # type: ignore[arg-type]


def test_a_strided_array_is_copied_not_misread(kernel: str) -> None:
    wide = np.concatenate([to_limbs([3, 5, 7]), to_limbs([9, 9, 9])], axis=1)
    assert from_limbs(native.fr_mul(wide[:, :4], to_limbs([2, 2, 2]))) == [6, 10, 14]
    assert from_limbs(native.fr_mul(wide[::2, :4], to_limbs([2, 2]))) == [6, 14]


def test_empty_arrays() -> None:
    empty = to_limbs([])
    assert native.fr_mul(empty, empty).shape == (0, 4)
    assert native.fr_from_int64(np.zeros(0, dtype=np.int64)).shape == (0, 4)


def test_kernels_are_reported_and_forced() -> None:
    before = native.kernel()
    assert native.kernels()["generic"]
    for name in KERNELS:
        native.set_kernel(name)
        assert native.kernel() == name == native.cpu_features()["kernel"]
    native.set_kernel(before)
    with pytest.raises(InvalidInput, match="unknown kernel 'fast'"):
        native.set_kernel("fast")


def test_a_missing_kernel_is_a_tool_error() -> None:
    missing = [name for name, available in native.kernels().items() if not available]
    for name in missing:
        with pytest.raises(ToolError, match=name):
            native.set_kernel(name)


def test_thread_counts() -> None:
    native.set_threads(3)
    assert native.threads() == 3
    for wrong in (0, -1, 257):
        with pytest.raises(InvalidInput, match=r"1\.\.256"):
            native.set_threads(wrong)
    assert native.threads() == 3
    native.set_threads(None)
    assert native.threads() == native.cpu_features()["cpus"]


@pytest.mark.parametrize("name", FIELDS)
def test_long_vectors_are_shared_among_threads(kernel: str, name: str) -> None:
    modulus, mul, add, sub, inv = FIELDS[name]
    n = 3 * (1 << 13) + 5  # several ranges and a rest
    values = [pow(3, i, modulus) * (i % 7 > 0) % modulus for i in range(n)]
    a = to_limbs(values)
    b = np.ascontiguousarray(a[::-1])
    native.set_threads(3)
    try:
        products, inverses = mul(a, b), inv(a)
        sums, differences = add(a, b), sub(a, b)
        bad = a.copy()
        bad[-1] = np.iinfo(np.uint64).max
        for operation in (lambda: mul(bad, b), lambda: inv(bad)):
            with pytest.raises(InvalidInput):
                operation()
    finally:
        native.set_threads(None)
    pairs = list(zip(values, reversed(values), strict=True))
    assert from_limbs(products) == [x * y % modulus for x, y in pairs]
    assert from_limbs(sums) == [(x + y) % modulus for x, y in pairs]
    assert from_limbs(differences) == [(x - y) % modulus for x, y in pairs]
    one = from_limbs(mul(inverses, a))
    assert one == [int(x != 0) for x in values]
    assert not inverses[~a.any(axis=1)].any()
