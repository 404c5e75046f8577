"""The C library's share in keys and proofs, by every kernel, against Python integers."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from zkai import native, native_keys
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput

R = FIELD_MODULUS
KERNELS = [name for name, available in native.kernels().items() if available]
WIDTH = {"g1": 8, "g2": 16}
LAMBDA = 0xB3C4D79D41A917585BFC41088D8DAAA78B17EA66B99C90DD
EDGES = [0, 1, 2, R - 1, R - 2, R // 2, R // 2 + 1, LAMBDA, R - LAMBDA, 1 << 64, (1 << 127) - 1]


@pytest.fixture(params=KERNELS, scope="module", autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernel()
    native.set_kernel(request.param)
    yield request.param
    native.set_kernel(before)


@pytest.fixture(params=["g1", "g2"])
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def numbers(n: int, seed: int = 1) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(R) for _ in range(n)]


def root(log_n: int) -> int:
    return pow(5, (R - 1) >> log_n, R)


def evaluate(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % R
    return value


# --- transforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("log_n", range(7))
@pytest.mark.parametrize("coset", [False, True])
def test_a_transform_evaluates_a_polynomial(log_n: int, coset: bool) -> None:
    n, w = 1 << log_n, root(log_n)
    shift = root(log_n + 1) if coset else 1
    coefficients = numbers(n)
    values = native.ntt(to_limbs(coefficients), coset=coset)
    expected = [evaluate(coefficients, shift * pow(w, i, R) % R) for i in range(n)]
    assert from_limbs(values) == expected
    assert from_limbs(native.ntt(values, inverse=True, coset=coset)) == coefficients


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_long_transforms_return_on_any_number_of_threads(threads: int) -> None:
    """Beyond the block size, where layers run over the whole array."""
    values = to_limbs(numbers(1 << 13))
    native.set_threads(threads)
    try:
        forward = native.ntt(values)
        assert (native.ntt(forward, inverse=True) == values).all()
    finally:
        native.set_threads(None)
    assert from_limbs(forward[:1]) == [sum(from_limbs(values)) % R]


@functools.cache
def portable_transforms(log_n: int) -> list[tuple[Limbs, Limbs, Limbs]]:
    """Values, their transform and its inverse on the coset, by the code without vectors.

    Random values, the largest ones, and those between which differences are largest.
    """
    n = 1 << log_n
    extremes = to_limbs([R - 1, 0])
    cases = [
        to_limbs(numbers(n)),
        np.repeat(extremes[:1], n, axis=0),
        np.tile(extremes, (n // 2, 1)),
    ]
    cases.append(np.repeat(extremes, n // 2, axis=0))
    before = native.kernel()
    native.set_kernel("generic")
    try:
        return [(v, native.ntt(v), native.ntt(v, inverse=True, coset=True)) for v in cases]
    finally:
        native.set_kernel(before)


@pytest.mark.parametrize("log_n", [9, 10, 11, 14, 15])
def test_every_kernel_transforms_as_the_portable_one(log_n: int) -> None:
    """From one pass of eight lanes to three."""
    for values, forward, inverse in portable_transforms(log_n):
        assert (native.ntt(values) == forward).all()
        assert (native.ntt(values, inverse=True, coset=True) == inverse).all()


def test_a_long_transform_evaluates_a_polynomial() -> None:
    log_n = 11
    coefficients = numbers(1 << log_n, 7)
    values = from_limbs(native.ntt(to_limbs(coefficients)))
    for i in (0, 1, 2, 8, 129, 1023, 1024, 2047):
        assert values[i] == evaluate(coefficients, pow(root(log_n), i, R))


@pytest.mark.parametrize("n", [0, 3, 12])
def test_a_transform_needs_a_power_of_two(n: int) -> None:
    with pytest.raises(InvalidInput, match="power of two"):
        native.ntt(to_limbs(numbers(n)))


def test_a_transform_needs_canonical_values() -> None:
    with pytest.raises(InvalidInput, match="canonical"):
        native.ntt(to_limbs([1, R]))


@pytest.mark.parametrize("log_n", [0, 1, 4])
def test_the_quotient_vanishes_where_the_rows_hold(log_n: int) -> None:
    """On the odd coset A B - C equals its Lagrange form, for A, B, C from their values."""
    n = 1 << log_n
    a, b = numbers(n, 2), numbers(n, 3)
    c = [x * y % R for x, y in zip(a, b, strict=True)]
    rows = [native.to_montgomery(to_limbs(v)) for v in (a, b, c)]
    native_keys.groth16_quotient(*rows)
    polynomials = [from_limbs(native.ntt(to_limbs(v), inverse=True)) for v in (a, b, c)]
    points = [root(log_n + 1) * pow(root(log_n), i, R) % R for i in range(n)]
    expected = []
    for x in points:
        p, q, s = (evaluate(polynomial, x) for polynomial in polynomials)
        expected.append((p * q - s) % R)
    assert from_limbs(rows[0]) == expected


@pytest.mark.parametrize("log_n", [0, 1, 3, 11])
def test_lagrange_polynomials_at_a_point(log_n: int) -> None:
    n, w, tau = 1 << log_n, root(log_n), numbers(1, 5)[0]
    found = from_limbs(native.from_montgomery(native_keys.lagrange_at(to_limbs([tau]), log_n)))
    vanishing = (pow(tau, n, R) - 1) * pow(n, -1, R)
    for i in range(0, n, max(1, n // 16)):
        x = pow(w, i, R)
        assert found[i] == vanishing * x * pow(tau - x, -1, R) % R
    assert sum(found) % R == 1


def test_lagrange_polynomials_refuse_a_point_of_the_domain() -> None:
    for tau in (1, root(3), R):
        with pytest.raises(InvalidInput):
            native_keys.lagrange_at(to_limbs([tau]), 3)


def test_powers_and_combinations() -> None:
    first, base = numbers(2, 7)
    found = native_keys.fr_powers(to_limbs([first]), to_limbs([base]), 9)
    assert from_limbs(found) == [first * pow(base, i, R) % R for i in range(9)]
    a, b, c = numbers(5, 8), numbers(5, 9), numbers(5, 10)
    alpha, beta, factor = numbers(3, 11)
    vectors = [native.to_montgomery(to_limbs(v)) for v in (a, b, c)]
    secrets = [to_limbs([v]) for v in (alpha, beta, factor)]
    assert from_limbs(native_keys.setup_combine(*vectors, *secrets)) == [
        (beta * x + alpha * y + z) * factor % R for x, y, z in zip(a, b, c, strict=True)
    ]


def test_wipe_clears() -> None:
    secret = to_limbs(numbers(3))
    native_keys.wipe(secret)
    assert not secret.any()


# --- sparse rows ---------------------------------------------------------------------------------


@dataclass
class Rows:
    indptr: np.ndarray
    wires: np.ndarray
    coefs: np.ndarray


COEFS = [1, R - 1, 0, 7, R - 12345, R // 3]


def sparse(n_rows: int, n_wires: int, seed: int) -> tuple[Rows, list[list[tuple[int, int]]]]:
    source = random.Random(seed)
    rows = [
        [(source.randrange(n_wires), source.randrange(len(COEFS))) for _ in range(count)]
        for count in (source.randrange(5) for _ in range(n_rows))
    ]
    flat = [entry for row in rows for entry in row]
    return (
        Rows(
            np.cumsum([0] + [len(row) for row in rows], dtype=np.int64),
            np.array([w for w, _ in flat], np.uint32),
            np.array([c for _, c in flat], np.uint32),
        ),
        rows,
    )


def test_rows_times_a_witness() -> None:
    matrix, rows = sparse(3000, 40, 1)
    witness = numbers(40)
    (found,) = native.r1cs_evaluate([matrix], to_limbs(COEFS), to_limbs(witness), 3005)
    expected = [sum(COEFS[c] * witness[w] for w, c in row) % R for row in rows]
    assert from_limbs(native.from_montgomery(found)) == [*expected, 0, 0, 0, 0, 0]


def test_columns_are_the_transpose() -> None:
    matrix, rows = sparse(200, 30, 2)
    values = numbers(200)
    found = native.r1cs_columns(
        matrix, native.to_montgomery(to_limbs(COEFS)), native.to_montgomery(to_limbs(values)), 30
    )
    expected = [0] * 30
    for row, value in zip(rows, values, strict=True):
        for wire, coef in row:
            expected[wire] = (expected[wire] + COEFS[coef] * value) % R
    assert from_limbs(native.from_montgomery(found)) == expected


def test_the_first_failing_row_is_found() -> None:
    a, b = numbers(50, 3), numbers(50, 4)
    c = [x * y % R for x, y in zip(a, b, strict=True)]

    def first(values: list[int]) -> int:
        rows = [native.to_montgomery(to_limbs(v)) for v in (a, b, values)]
        return native.first_unequal(*rows)

    assert first(c) == -1
    for bad in (0, 17, 49):
        wrong = list(c)
        wrong[49] = (wrong[49] + 1) % R
        wrong[bad] = (wrong[bad] + 1) % R
        assert first(wrong) == bad


@pytest.mark.parametrize("fault", ["wire", "coef", "indptr", "end", "negative"])
def test_indices_are_checked_before_they_are_followed(fault: str) -> None:
    matrix, _ = sparse(10, 8, 5)
    if fault == "wire":
        matrix.wires[3] = 8
    elif fault == "coef":
        matrix.coefs[3] = len(COEFS)
    elif fault == "indptr":
        matrix.indptr[4] = matrix.indptr[5] + 1
    elif fault == "negative":
        matrix.indptr[0] = -1
    else:
        matrix.indptr[-1] += 1
    table, witness = to_limbs(COEFS), to_limbs(numbers(8))
    with pytest.raises(InvalidInput):
        native.r1cs_evaluate([matrix], table, witness, 10)
    with pytest.raises(InvalidInput):
        native.r1cs_columns(matrix, table, to_limbs(numbers(10)), 8)
    with pytest.raises(InvalidInput):
        native_keys.points_sparse(
            "g1",
            matrix,
            table,
            native_keys.points_generate("g1", witness),
            native.new_limbs(10, 8),
            False,
        )


@pytest.mark.parametrize("field", ["wires", "coefs", "indptr"])
def test_matrices_need_their_types(field: str) -> None:
    matrix, _ = sparse(10, 8, 5)
    setattr(matrix, field, getattr(matrix, field).astype(np.int32))
    with pytest.raises(InvalidInput, match=r"indptr|uint32"):
        native.r1cs_evaluate([matrix], to_limbs(COEFS), to_limbs(numbers(8)), 10)


# --- vectors of points ---------------------------------------------------------------------------


def points(group: str, scalars: Sequence[int]) -> Limbs:
    return native_keys.points_generate(group, to_limbs(scalars))


@pytest.mark.parametrize("factor", [*EDGES[1:], *numbers(6, 12)])
def test_scaling_multiplies_every_point(group: str, factor: int) -> None:
    scalars = [*EDGES, *numbers(5, 13)]
    found = native_keys.points_scale(group, points(group, scalars), to_limbs([factor]))
    assert (found == points(group, [s * factor % R for s in scalars])).all()


def test_scaling_by_zero_and_by_what_is_no_scalar(group: str) -> None:
    assert not native_keys.points_scale(group, points(group, [1, 2]), to_limbs([0])).any()
    with pytest.raises(InvalidInput, match="canonical"):
        native_keys.points_scale(group, points(group, [1]), to_limbs([R]))


def test_subtraction(group: str) -> None:
    a, b = [*EDGES, *numbers(300, 14)], [*EDGES[::-1], *numbers(300, 15)]
    a[5] = b[5]
    found = native_keys.points_subtract(group, points(group, a), points(group, b))
    assert (found == points(group, [(x - y) % R for x, y in zip(a, b, strict=True)])).all()


@pytest.mark.parametrize("log_n", [0, 1, 2, 5])
def test_the_lagrange_form_of_powers(group: str, log_n: int) -> None:
    tau = to_limbs(numbers(1, 16))
    powers = native_keys.points_generate(
        group, native_keys.fr_powers(to_limbs([1]), tau, 1 << log_n)
    )
    expected = native.from_montgomery(native_keys.lagrange_at(tau, log_n))
    found = native_keys.points_lagrange(group, powers)
    assert (found == native_keys.points_generate(group, expected)).all()


def test_the_lagrange_form_with_infinity(group: str) -> None:
    """The last power of the largest domain is missing from .ptau files and counts as infinity."""
    found = native_keys.points_lagrange(group, points(group, [3, 0, 0, 0]))
    assert (found == points(group, [3 * pow(4, -1, R) % R] * 4)).all()


def test_sparse_sums(group: str) -> None:
    matrix, rows = sparse(60, 20, 17)
    scalars = [*EDGES[:4], *numbers(16, 18)]
    start = numbers(60, 19)
    sums = [sum(COEFS[c] * scalars[w] for w, c in row) % R for row in rows]
    out = native.new_limbs(60, WIDTH[group])
    native_keys.points_sparse(group, matrix, to_limbs(COEFS), points(group, scalars), out, False)
    assert (out == points(group, sums)).all()
    out = points(group, start)
    native_keys.points_sparse(group, matrix, to_limbs(COEFS), points(group, scalars), out, True)
    assert (out == points(group, [(s + t) % R for s, t in zip(sums, start, strict=True)])).all()


def test_products_of_vectors(group: str) -> None:
    a, b = numbers(100, 20), numbers(100, 21)
    total = sum(x * y for x, y in zip(a, b, strict=True)) % R
    found = native_keys.points_msm(group, points(group, a), to_limbs(b))
    assert (found == points(group, [total])).all()


def test_forms_of_points(group: str) -> None:
    mine = points(group, [0, 1, *numbers(20, 22)])
    standard = native_keys.points_store(group, mine)
    assert (native_keys.points_load(group, standard) == mine).all()
    size, half = WIDTH[group] * 8, WIDTH[group] * 4
    encoded = native_keys.points_encode(group, mine)
    for i, row in enumerate(standard):
        one = encoded[size * i : size * (i + 1)]
        values = from_limbs(row.reshape(-1, 4))
        expected = values if group == "g1" else [values[1], values[0], values[3], values[2]]
        assert [int.from_bytes(one[k : k + 32], "big") for k in range(0, size, 32)] == expected
        assert len(one) == 2 * half
    with pytest.raises(InvalidInput, match="canonical"):
        native_keys.points_load(group, np.full((1, WIDTH[group]), 2**64 - 1, np.uint64))


def test_every_point_is_checked(group: str) -> None:
    good = points(group, numbers(300, 23))
    native_keys.points_check(group, good, "points", False)
    for index, change, fault in (
        (0, np.zeros(WIDTH[group], np.uint64), "infinity"),
        (131, np.full(WIDTH[group], 2**64 - 1, np.uint64), "canonical"),
        (299, np.arange(1, WIDTH[group] + 1, dtype=np.uint64) % 2, "curve"),
    ):
        bad = good.copy()
        bad[index] = change
        with pytest.raises(InvalidInput, match=rf"points\[{index}\].*{fault}"):
            native_keys.points_check(group, bad, "points", False)
    infinite = good.copy()
    infinite[7] = 0
    native_keys.points_check(group, infinite, "points", True)


def test_the_first_of_several_bad_points_is_named() -> None:
    bad = points("g1", numbers(500, 24))
    bad[[499, 250, 33, 34]] = 1
    for _ in range(5):
        with pytest.raises(InvalidInput, match=r"points\[33\]"):
            native_keys.points_check("g1", bad, "points", False)


@pytest.mark.parametrize("shape", [(3, 7), (24,), (3, 4)])
def test_shapes_are_checked(group: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        native_keys.points_encode(group, np.zeros(shape, np.uint64))
    with pytest.raises(InvalidInput, match="shape"):
        native_keys.points_msm(group, points(group, [1, 2]), to_limbs([1]))


def test_results_must_fit(group: str) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        native_keys.points_generate(group, to_limbs([1, 2]), native.new_limbs(3, WIDTH[group]))
