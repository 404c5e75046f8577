"""Rings in C, by every kernel: bit for bit what Python integers and pyca's ChaCha20 give."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest

from tests import rlwe_reference as reference
from zkai import native
from zkai import native_rlwe as rlwe
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.he.ring import is_prime
from zkai.native_rlwe import Distribution, Tables

KERNELS = [name for name, available in native.kernels().items() if available]
SEED = bytes(range(32))
N = 64


def largest_primes(n: int, below: int, count: int = 1) -> list[int]:
    """The largest primes = 1 (mod 2n) below a bound."""
    found: list[int] = []
    q = (below - 1) // (2 * n) * 2 * n + 1
    while len(found) < count:
        if q < below and is_prime(q):
            found.append(q)
        q -= 2 * n
    return found


PRIMES = tuple(q for bits in (20, 40, 54, 58, 60) for q in largest_primes(N, 1 << bits))
TABLES = Tables.make(N, PRIMES)
PAIR = Tables.make(N, tuple(reversed(largest_primes(N, 1 << 54, 2))))


@pytest.fixture(params=KERNELS, scope="module", autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernel()
    native.set_kernel(request.param)
    yield request.param
    native.set_kernel(before)


def rows(array: Limbs) -> list[list[int]]:
    return [[int(x) for x in row] for row in array.reshape(-1, array.shape[-1])]


def edges(tables: Tables) -> Limbs:
    """Polynomials with the residues at which reductions go wrong, and random ones."""
    source = random.Random(1)
    first = [[(0, 1, q - 1, q // 2, q // 2 + 1)[i % 5] for i in range(N)] for q in tables.primes]
    second = [[q - 1] * N for q in tables.primes]
    third = [[source.randrange(q) for _ in range(N)] for q in tables.primes]
    return np.array([first, second, third], dtype=np.uint64)


# --- transforms ----------------------------------------------------------------------------------


def test_the_transform_is_the_references() -> None:
    data = edges(TABLES)
    found = rlwe.transform(TABLES, data)
    for polynomial, values in zip(data, found, strict=True):
        for row, value, q in zip(polynomial, values, PRIMES, strict=True):
            assert list(value) == list(reference.ntt(row.astype(object), q))
    assert np.array_equal(rlwe.transform(TABLES, found, inverse=True), data)


def test_products_of_transforms_are_negacyclic_products() -> None:
    data = edges(TABLES)
    a, b = rlwe.transform(TABLES, data), rlwe.transform(TABLES, data[::-1].copy())
    found = rlwe.transform(TABLES, rlwe.operate(TABLES, "multiply", a, b), inverse=True)
    for x, y, z in zip(data, data[::-1], found, strict=True):
        for row, q in enumerate(PRIMES):
            expected = reference.product(x[row].astype(object), y[row].astype(object), q)
            assert list(z[row]) == list(expected)


def test_the_root_is_the_least() -> None:
    """The linear polynomial X has psi as its first value."""
    x = np.zeros((len(PRIMES), N), dtype=np.uint64)
    x[:, 1] = 1
    for value, q in zip(rlwe.transform(TABLES, x)[:, 0], PRIMES, strict=True):
        assert value == reference.minimal_root(N, q)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_residue_that_is_not_canonical_is_refused(inverse: bool) -> None:
    data = edges(TABLES)[:1]
    data[0, 2, 5] = PRIMES[2]
    with pytest.raises(InvalidInput, match="canonical"):
        rlwe.transform(TABLES, data, inverse)
    for operation in ("add", "subtract", "multiply"):
        with pytest.raises(InvalidInput, match="canonical"):
            rlwe.operate(TABLES, operation, edges(TABLES)[:1], data)


def test_sums_and_differences() -> None:
    data = edges(TABLES)
    other = data[::-1].copy()
    q = np.array(PRIMES, dtype=object)[:, None]
    plus = (data.astype(object) + other.astype(object)) % q
    minus = (data.astype(object) - other.astype(object)) % q
    assert np.array_equal(rlwe.operate(TABLES, "add", data, other).astype(object), plus)
    assert np.array_equal(rlwe.operate(TABLES, "subtract", data, other).astype(object), minus)
    one = rlwe.operate(TABLES, "add", data, other[0])
    assert np.array_equal(one[2], rlwe.operate(TABLES, "add", data[2], other[0]))
    assert rlwe.operate(TABLES, "add", data, other, out=data) is data
    assert np.array_equal(data.astype(object), plus)


def test_combinations() -> None:
    data = np.stack([edges(TABLES), edges(TABLES)[::-1]])
    source = random.Random(2)
    weights = [[source.choice((0, 1, q - 1, source.randrange(q))) for q in PRIMES] for _ in "abc"]
    found = rlwe.combine(TABLES, data, np.array(weights, dtype=np.uint64))
    q = np.array(PRIMES, dtype=object)[:, None]
    scaled = data.astype(object) * np.array(weights, dtype=object)[None, :, :, None]
    assert np.array_equal(found.astype(object), scaled.sum(axis=1) % q)
    weights[1][0] = PRIMES[0]
    with pytest.raises(InvalidInput, match="canonical"):
        rlwe.combine(TABLES, data, np.array(weights, dtype=np.uint64))


def test_projections() -> None:
    data = edges(TABLES)
    bits = b"\xff" * 8 + b"\x80" + bytes(7) + os.urandom(8 * 5)
    matrix = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(7, N).astype(object)
    for polynomial in data:
        found = rlwe.project(TABLES, bits, polynomial)
        q = np.array(PRIMES, dtype=object)[:, None]
        assert np.array_equal(found.astype(object), (matrix @ polynomial.astype(object).T).T % q)
    for wrong, polynomial in ((bits[1:], data[0]), (b"", data[0]), (bits, data)):
        with pytest.raises(InvalidInput, match="project"):
            rlwe.project(TABLES, wrong, polynomial)
    data[0, 0, 0] = PRIMES[0]
    with pytest.raises(InvalidInput, match="canonical"):
        rlwe.project(TABLES, bits, data[0])


# --- streams and samples -------------------------------------------------------------------------


def test_uniform_polynomials_are_the_references() -> None:
    """Primes far below a power of two leave out many words."""
    sparse = Tables.make(N, (largest_primes(N, 3 << 38)[0], PRIMES[2]))
    for tables in (TABLES, sparse):
        found = rlwe.uniform(tables, SEED, 7, (1 << 40) + 5, 3)
        for i, polynomial in enumerate(found):
            expected = reference.uniform(SEED, 7, (1 << 40) + 5 + i, N, tables.primes)
            assert rows(polynomial) == [list(row) for row in expected]


def test_streams_of_other_kinds_seeds_and_indices_differ() -> None:
    base = rlwe.uniform(TABLES, SEED, 1, 0, 2)
    assert not np.array_equal(base[0], base[1])
    assert not np.array_equal(base, rlwe.uniform(TABLES, SEED, 2, 0, 2))
    assert not np.array_equal(base, rlwe.uniform(TABLES, SEED[::-1], 1, 0, 2))
    assert np.array_equal(base[1], rlwe.uniform(TABLES, SEED, 1, 1, 1)[0])


@pytest.mark.parametrize("n", [1, 31, 64, 4096])
def test_samples_are_the_references(n: int) -> None:
    for i in range(2):
        found = rlwe.sample(n, SEED, 3, 9, 2, Distribution.TERNARY)[i]
        assert found.tolist() == reference.ternary(SEED, 3, 9 + i, n)
        found = rlwe.sample(n, SEED, 3, 9, 2, Distribution.BINOMIAL)[i]
        assert found.tolist() == reference.binomial(SEED, 3, 9 + i, n)
        for bits in (0, 1, 45, 61):
            found = rlwe.sample(n, SEED, 3, 9, 2, Distribution.UNIFORM, bits)[i]
            assert found.tolist() == reference.smudge(SEED, 3, 9 + i, n, bits)


@pytest.mark.parametrize("bits", [0, 1, 44, 61])
def test_noise_of_several_seeds_is_the_references(bits: int) -> None:
    seeds = [SEED, SEED[::-1], bytes(32)]
    ones = [1] * len(PRIMES)
    weights = np.array([[q - 1 for q in PRIMES], ones, [q // 3 for q in PRIMES]], np.uint64)
    out = edges(TABLES)
    before = out.astype(object)
    rlwe.add_noise(TABLES, out, seeds, weights, 22, bits)
    for m, polynomial in enumerate(out):
        drawn = [np.array(reference.smudge(s, 22, m, N, bits), dtype=object) for s in seeds]
        for l, q in enumerate(PRIMES):  # noqa: E741 - the prime's number
            added = sum(int(w[l]) * v for w, v in zip(weights, drawn, strict=True))
            assert list(polynomial[l]) == list((before[m, l] + added) % q)


def test_noise_that_does_not_fit_is_refused() -> None:
    out, weights = edges(TABLES), np.ones((1, len(PRIMES)), np.uint64)
    rlwe.add_noise(TABLES, out, [], weights[:0], 1, 5)
    assert np.array_equal(out, edges(TABLES))
    for seeds, numbers, bits in (
        ([SEED], weights[:, :2], 5),
        ([SEED, SEED], weights, 5),
        ([SEED[1:]], weights, 5),
        ([SEED], weights, 62),
        ([SEED], weights, -1),
        ([SEED], weights.astype(np.int64), 5),
    ):
        with pytest.raises(InvalidInput, match="noise"):
            rlwe.add_noise(TABLES, out, seeds, numbers, 1, bits)
    with pytest.raises(InvalidInput, match="noise"):
        rlwe.add_noise(TABLES, out[:, :, ::2], [SEED], weights, 1, 5)
    for array, numbers in (
        (out + np.array(PRIMES, np.uint64)[:, None], weights),
        (out, np.array([PRIMES], np.uint64)),
    ):
        with pytest.raises(InvalidInput, match="canonical"):
            rlwe.add_noise(TABLES, array, [SEED], numbers, 1, 5)


def test_samples_have_their_distributions() -> None:
    """From a fixed seed: thirds; mean 0 and variance 21 / 2; a uniform range."""
    n = 1 << 16
    counts = np.bincount(rlwe.sample(n, SEED, 0, 0, 1, Distribution.TERNARY)[0] + 1)
    assert len(counts) == 3
    assert abs(counts / n - 1 / 3).max() < 0.01
    errors = rlwe.sample(n, SEED, 0, 0, 1, Distribution.BINOMIAL)[0]
    assert abs(errors.mean()) < 0.05
    assert abs(errors.var() - 10.5) < 0.3
    assert abs(errors).max() <= 21
    wide = rlwe.sample(n, SEED, 0, 0, 1, Distribution.UNIFORM, 44)[0]
    assert -(2**44) <= wide.min() < -0.99 * 2**44
    assert 0.99 * 2**44 < wide.max() < 2**44


# --- encryption, decoding, bytes -----------------------------------------------------------------


def test_small_integers_become_residues() -> None:
    values = np.array([[0, 1, -1, 1 << 62, -(1 << 62), 12345, -54321, 7] * 8], dtype=np.int64)
    found = rlwe.small(TABLES, values)[0]
    assert rows(found) == [[int(v) % q for v in values[0]] for q in PRIMES]
    values[0, 3] += 1
    with pytest.raises(InvalidInput):
        rlwe.small(TABLES, values)


@pytest.mark.parametrize("messages", [True, False])
def test_masked_messages_are_the_references(messages: bool) -> None:
    source = random.Random(3)
    s = rlwe.sample(N, SEED, 1, 0, 1, Distribution.TERNARY)
    key = rlwe.transform(PAIR, rlwe.small(PAIR, -s))[0]
    noise = np.array([[source.randrange(-(1 << 62), 1 << 62) for _ in range(N)] for _ in range(2)])
    m = np.array([[source.randrange(-(1 << 60), 1 << 60) for _ in range(N)] for _ in range(2)])
    scale = (PAIR.primes[0] * PAIR.primes[1]) >> 60
    found = rlwe.mask(PAIR, key, (SEED, 5, 11), noise, m if messages else None, scale)
    for i in range(2):
        for row, q in enumerate(PAIR.primes):
            a = reference.inverse_ntt(reference.uniform(SEED, 5, 11 + i, N, PAIR.primes)[row], q)
            masked = reference.product(-s[0].astype(object), a, q)
            plain = noise[i].astype(object) + (scale * m[i].astype(object) if messages else 0)
            assert list(found[i, row]) == list((masked + plain) % q)


@pytest.mark.parametrize("count", [1, 2])
def test_centred_coefficients_and_rounding(count: int) -> None:
    tables = Tables.make(N, PAIR.primes[:count])
    modulus = tables.primes[0] * (tables.primes[1] if count == 2 else 1)
    source = random.Random(4)
    edge = [0, 1, -1, modulus // 2, -(modulus // 2), modulus // 4]
    values = edge + [source.randrange(-(modulus // 2), modulus // 2) for _ in range(N - len(edge))]
    data = np.array([[[v % q for v in values] for q in tables.primes]], dtype=np.uint64)
    assert [reference.centred(column, tables.primes) for column in data[0].T] == values
    low, high = rlwe.lift(tables, data)[0].T
    assert [
        int(a) + (int(b) << 64) for a, b in zip(low, high.view(np.int64), strict=True)
    ] == values
    for scale in (modulus >> 60 or 1, (modulus >> 59) + 1, 1 << 125):
        if modulus // scale >= 1 << 63:
            continue
        quotients, noise = rlwe.round_off(tables, data, scale)
        expected = [reference.nearest(v, scale) for v in values]
        assert quotients[0].tolist() == expected
        assert noise == [max(abs(v - scale * m) for v, m in zip(values, expected, strict=True))]


def test_a_quotient_of_more_than_64_bits_is_refused() -> None:
    data = np.zeros((1, 2, N), dtype=np.uint64)
    data[0, 0, 0] = PAIR.primes[0] // 2
    with pytest.raises(InvalidInput):
        rlwe.round_off(PAIR, data, 1)


def test_bytes_and_back() -> None:
    data = edges(TABLES)
    packed = rlwe.pack(TABLES, data)
    size = rlwe.polynomial_bytes(TABLES)
    assert size == N * (20 + 40 + 54 + 58 + 60) // 8
    for i, polynomial in enumerate(data):
        assert packed[i * size : (i + 1) * size] == reference.pack(polynomial, PRIMES)
    assert np.array_equal(rlwe.unpack(TABLES, packed, 3, "x"), data)


@pytest.mark.parametrize("prime", range(len(PRIMES)))
def test_bytes_of_a_residue_at_its_prime_are_refused(prime: int) -> None:
    data = edges(TABLES)[:1].astype(object)
    for value in (PRIMES[prime], (1 << PRIMES[prime].bit_length()) - 1):
        data[0, prime, N - 1] = value
        with pytest.raises(InvalidInput, match=r"share 3: .*canonical"):
            rlwe.unpack(TABLES, reference.pack(data[0], PRIMES), 1, "share 3")
    data[0, prime, N - 1] = PRIMES[prime] - 1
    assert rlwe.unpack(TABLES, reference.pack(data[0], PRIMES), 1, "x")[0, prime, N - 1]


# --- what the bindings refuse --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "primes"),
    [
        (64, (1 << 60,)),
        (64, (15,)),
        (63, PRIMES[:1]),
        (32, PRIMES[:1]),
        (64, ()),
        (64, (129 * 129,)),
    ],
)
def test_other_rings_have_no_tables(n: int, primes: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        Tables.make(n, primes)


def test_wrong_shapes_types_and_lengths_are_refused() -> None:
    good = edges(TABLES)
    for bad in (good[..., :-1], good[:, :1], good.astype(np.int64), good.tolist()):
        with pytest.raises(InvalidInput, match="expected"):
            rlwe.transform(TABLES, bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="do not fit"):
        rlwe.operate(TABLES, "add", good, good[:2])
    with pytest.raises(InvalidInput, match="does not fit"):
        rlwe.operate(TABLES, "add", good, good, out=good[:2].copy())
    with pytest.raises(InvalidInput, match="weights"):
        rlwe.combine(TABLES, good, np.zeros((2, len(PRIMES)), dtype=np.uint64))
    with pytest.raises(InvalidInput, match="int64"):
        rlwe.small(TABLES, np.zeros((1, N), dtype=np.int32))
    with pytest.raises(InvalidInput, match="32 bytes"):
        rlwe.uniform(TABLES, SEED[1:], 0, 0, 1)
    with pytest.raises(InvalidInput, match="out of range"):
        rlwe.uniform(TABLES, SEED, 0, -1, 1)
    with pytest.raises(InvalidInput, match="bytes of polynomials"):
        rlwe.unpack(TABLES, bytes(10), 1, "x")
    with pytest.raises(InvalidInput):
        rlwe.lift(TABLES, good)  # more than two primes
    key = np.zeros(PAIR.shape, dtype=np.uint64)
    with pytest.raises(InvalidInput):
        rlwe.mask(PAIR, key, (SEED, 0, 0), np.zeros((2, N), np.int64), np.zeros((1, N), np.int64))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    data = rlwe.uniform(PAIR, os.urandom(32), 1, 0, 9)
    expected = rlwe.pack(PAIR, rlwe.transform(PAIR, data))
    native.set_threads(threads)
    try:
        assert rlwe.pack(PAIR, rlwe.transform(PAIR, data)) == expected
    finally:
        native.set_threads(None)
