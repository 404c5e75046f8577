"""G1, G2, multi-scalar products and the pairing in C, by every kernel, against py-ecc."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from py_ecc import optimized_bn128 as ecc

from zkai import native
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput

KERNELS = [name for name, available in native.kernels().items() if available]
R = FIELD_MODULUS
Q = BASE_MODULUS
CURVE_X = 4965661367192848881
COFACTOR = 2 * Q - R  # of G2's curve

# What differs between the groups: width, wrappers, py-ecc's generator and curve constant.
GROUPS: dict[str, tuple[int, Any, Any, Any, Any, Any, Any, Any]] = {
    "g1": (
        8,
        native.g1_msm,
        native.g1_mul_many,
        native.g1_add,
        native.g1_mul,
        native.g1_check,
        ecc.G1,
        ecc.b,
    ),
    "g2": (
        16,
        native.g2_msm,
        native.g2_mul_many,
        native.g2_add,
        native.g2_mul,
        native.g2_check,
        ecc.G2,
        ecc.b2,
    ),
}


@pytest.fixture(params=KERNELS, scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernel()
    native.set_kernel(request.param)
    yield request.param
    native.set_kernel(before)


@pytest.fixture(params=["g1", "g2"])
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def limbs_of(point: Any) -> Limbs:
    """Return a py-ecc point as one row of limbs."""
    width = 8 if isinstance(point[0], ecc.FQ) else 16
    if ecc.is_inf(point):
        return np.zeros((1, width), dtype=np.uint64)
    coordinates: list[int] = []
    for c in ecc.normalize(point):
        coordinates += [int(c)] if isinstance(c, ecc.FQ) else [int(v) for v in c.coeffs]
    return to_limbs(coordinates).reshape(1, width)


def rows(scalars: list[int]) -> Limbs:
    return to_limbs(scalars).reshape(-1, 4)


def square_root(a: Any) -> Any:
    """Return a root of `a` in Fq2, or None: the complex method for q = 3 mod 4."""
    a0, a1 = (int(v) for v in a.coeffs)
    norm = pow(a0 * a0 + a1 * a1, (Q + 1) // 4, Q)
    for sign in (1, -1):
        x0 = pow((a0 + sign * norm) * pow(2, -1, Q) % Q, (Q + 1) // 4, Q)
        if x0 == 0:
            continue
        root = ecc.FQ2([x0, a1 * pow(2 * x0, -1, Q) % Q])
        if root * root == a:
            return root
    return None


def curve_points_outside_g2(count: int) -> list[Any]:
    points: list[Any] = []
    x = 0
    while len(points) < count:
        x += 1
        candidate = ecc.FQ2([x, 1])
        y = square_root(candidate * candidate * candidate + ecc.b2)
        if y is not None:
            points.append((candidate, y, ecc.FQ2.one()))
    return points


def test_generators_and_multiples_equal_py_ecc(kernel: str, group: str) -> None:
    _, _, mul_many, _, mul, check, generator, _ = GROUPS[group]
    scalars = [1, 2, 3, 0, R - 1, R - 2, (1 << 253) - 1, 0x1234567890ABCDEF << 64]
    expected = np.concatenate([limbs_of(ecc.multiply(generator, s)) for s in scalars])
    points = mul_many(rows(scalars))
    assert (points == expected).all()
    assert check(points) == -1
    base = limbs_of(generator)
    assert (mul(np.repeat(base, len(scalars), axis=0), rows(scalars)) == expected).all()


def test_multiples_of_another_base(kernel: str, group: str) -> None:
    _, _, mul_many, _, mul, _, _, _ = GROUPS[group]
    base = mul_many(rows([77]))
    scalars = [random.Random(5).randrange(R) for _ in range(70)]
    expected = mul_many(rows([77 * s % R for s in scalars]))
    assert (mul_many(rows(scalars), base) == expected).all()
    assert (mul(np.repeat(base, 70, axis=0), rows(scalars)) == expected).all()
    with pytest.raises(InvalidInput, match="infinity"):
        mul_many(rows([1]), np.zeros_like(base))


def test_scalars_from_r_up_wrap_in_mul_alone(kernel: str, group: str) -> None:
    _, _, mul_many, _, mul, _, _, _ = GROUPS[group]
    base = mul_many(rows([1] * 3))
    assert (
        mul(base, rows([R, R + 1, (1 << 256) - 1])) == mul_many(rows([0, 1, ((1 << 256) - 1) % R]))
    ).all()
    with pytest.raises(InvalidInput, match="not canonical"):
        mul_many(rows([R]))


def test_addition_in_every_case(kernel: str, group: str) -> None:
    _, _, mul_many, add, _, _, _, _ = GROUPS[group]
    cases = [(3, 5), (5, 5), (5, R - 5), (0, 5), (5, 0), (0, 0), (R - 1, 1), (R - 1, R - 1)]
    left, right = (mul_many(rows(list(side))) for side in zip(*cases, strict=True))
    expected = mul_many(rows([(a + b) % R for a, b in cases]))
    assert (add(left, right) == expected).all()


def test_addition_equals_py_ecc(kernel: str, group: str) -> None:
    _, _, _, add, _, _, generator, _ = GROUPS[group]
    a, b = ecc.multiply(generator, 987654321), ecc.multiply(generator, 1 << 200)
    assert (add(limbs_of(a), limbs_of(b)) == limbs_of(ecc.add(a, b))).all()
    assert (add(limbs_of(a), limbs_of(a)) == limbs_of(ecc.double(a))).all()
    assert (add(limbs_of(a), limbs_of(ecc.neg(a))) == 0).all()


# --- multi-scalar products ---

SCALARS = {
    "full": lambda rng: rng.randrange(R),
    "zero": lambda rng: 0,
    "one": lambda rng: 1,
    "minus one": lambda rng: R - 1,
    "small": lambda rng: rng.randrange(256),
    "small and negative": lambda rng: rng.randrange(-128, 128) % R,
    "same": lambda rng: R // 3,
    "mixed": lambda rng: rng.choice([0, 1, R - 1, 1 << rng.randrange(253), rng.randrange(R)]),
    "just under a power of two": lambda rng: (1 << rng.randrange(1, 254)) - rng.randrange(1, 5),
    "middle": lambda rng: R // 2 + rng.randrange(-1, 3),
}


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("n", [0, 1, 2, 32, 33, 150, 1100])
def test_msm_equals_the_discrete_logarithm(kernel: str, group: str, kind: str, n: int) -> None:
    _, msm, mul_many, _, _, _, _, _ = GROUPS[group]
    rng = random.Random(f"{kind} {n}")
    logs = [rng.randrange(R) for _ in range(n)]
    scalars = [SCALARS[kind](rng) % R for _ in range(n)]
    points = mul_many(rows(logs))
    total = sum(a * s for a, s in zip(logs, scalars, strict=True)) % R
    assert (msm(points, rows(scalars)) == mul_many(rows([total]))).all()


def test_msm_equals_py_ecc(kernel: str, group: str) -> None:
    _, msm, _, _, _, _, generator, _ = GROUPS[group]
    rng = random.Random(11)
    points = [ecc.multiply(generator, rng.randrange(R)) for _ in range(5)]
    scalars = [rng.randrange(R), 0, 1, R - 1, rng.randrange(1 << 64)]
    expected = ecc.multiply(generator, 0)
    for point, scalar in zip(points, scalars, strict=True):
        expected = ecc.add(expected, ecc.multiply(point, scalar))
    got = msm(np.concatenate([limbs_of(p) for p in points]), rows(scalars))
    assert (got == limbs_of(expected)).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_msm_with_any_number_of_threads(kernel: str, group: str, threads: int) -> None:
    _, msm, mul_many, _, _, _, _, _ = GROUPS[group]
    rng = random.Random(threads)
    n = 3000 if group == "g1" else 600
    logs = [rng.randrange(R) for _ in range(n)]
    # Many small values and few large: the first window is cut into pieces.
    scalars = [rng.randrange(R) if i % 50 == 0 else rng.randrange(16) for i in range(n)]
    points = mul_many(rows(logs))
    total = sum(a * s for a, s in zip(logs, scalars, strict=True)) % R
    native.set_threads(threads)
    try:
        assert (msm(points, rows(scalars)) == mul_many(rows([total]))).all()
    finally:
        native.set_threads(None)


@pytest.mark.parametrize("logs", [[5], [5, R - 5], [5, 0], [0], [5, R - 5, 0, 7], [5, 10, R - 5]])
def test_msm_of_repeated_opposite_and_infinite_points(
    kernel: str, group: str, logs: list[int]
) -> None:
    _, msm, mul_many, _, _, _, _, _ = GROUPS[group]
    n = 300
    repeated = (logs * n)[:n]
    points = mul_many(rows(repeated))
    for scalars in ([7] * n, [R - 7] * n, [1] * n, list(range(n))):
        total = sum(a * s for a, s in zip(repeated, scalars, strict=True)) % R
        assert (msm(points, rows(scalars)) == mul_many(rows([total]))).all()


def test_a_full_block_in_one_bucket(kernel: str) -> None:
    n = 4096 * 2 + 3  # two blocks of the batched additions and a rest
    points = np.repeat(native.g1_mul_many(rows([3])), n, axis=0)
    expected = native.g1_mul_many(rows([3 * 9 * n]))
    assert (native.g1_msm(points, rows([9] * n)) == expected).all()


def test_msm_refuses_what_it_cannot_use(kernel: str, group: str) -> None:
    width, msm, mul_many, _, _, _, _, _ = GROUPS[group]
    points = mul_many(rows([1, 2]))
    msm(points, rows([1, R - 1]))
    with pytest.raises(InvalidInput, match="not canonical"):
        msm(points, rows([1, R]))
    off = points.copy()
    off[1, 0] ^= np.uint64(1)
    with pytest.raises(InvalidInput, match="not on its curve"):
        msm(off, rows([1, 1]))
    with pytest.raises(InvalidInput, match="shape"):
        msm(points, rows([1]))
    with pytest.raises(InvalidInput, match="shape"):
        msm(points[:, : width - 4], rows([1, 2]))


# --- checks of points ---


def test_the_first_bad_point_is_named(kernel: str, group: str) -> None:
    width, _, mul_many, _, _, check, _, _ = GROUPS[group]
    points = mul_many(rows(list(range(700))))
    assert check(points) == -1  # row 0 is infinity, which passes
    for where in (699, 400, 3):
        points[where, 4] ^= np.uint64(2)
        assert check(points) == where
    points = mul_many(rows([1]))
    points[0, :4] = rows([from_limbs(points[:, :4].copy())[0] + Q])[0]
    assert check(points) == 0  # the same point, but x is not canonical
    assert check(np.zeros((0, width), dtype=np.uint64)) == -1


def test_g2_refuses_curve_points_outside_the_subgroup(kernel: str) -> None:
    for point in curve_points_outside_g2(4):
        assert ecc.is_on_curve(point, ecc.b2)
        assert not ecc.is_inf(ecc.multiply(point, R))
        assert native.g2_check(limbs_of(point)) == 0
        inside = ecc.multiply(point, COFACTOR)
        assert ecc.is_inf(ecc.multiply(inside, R))
        assert native.g2_check(limbs_of(inside)) == -1
        # A point of order dividing the cofactor, alone and added to one inside.
        outside = ecc.multiply(point, R)
        assert native.g2_check(limbs_of(outside)) == 0
        assert native.g2_check(limbs_of(ecc.add(outside, inside))) == 0


@pytest.mark.parametrize("factor", [10069, 5864401])
def test_g2_refuses_points_of_small_order(kernel: str, factor: int) -> None:
    assert COFACTOR % factor == 0
    for point in curve_points_outside_g2(2):
        small = ecc.multiply(point, COFACTOR * R // factor)
        assert not ecc.is_inf(small)
        assert ecc.is_inf(ecc.multiply(small, factor))
        assert native.g2_check(limbs_of(small)) == 0


# --- pairing ---


def test_pairing_equals_py_ecc(kernel: str) -> None:
    p, q = ecc.multiply(ecc.G1, 123456789), ecc.multiply(ecc.G2, R - 98765)
    power = 2 * CURVE_X * (6 * CURVE_X**2 + 3 * CURVE_X + 1) % R
    expected = ecc.pairing(q, p) ** power
    assert native.pairing(limbs_of(p), limbs_of(q)) == [int(c) for c in expected.coeffs]


def test_pairing_is_bilinear_and_not_degenerate(kernel: str) -> None:
    a, b = 0xDEADBEEF, R - 12345
    g1, g2 = native.g1_mul_many, native.g2_mul_many
    value = native.pairing(g1(rows([a])), g2(rows([b])))
    assert value != [1] + [0] * 11
    for left, right in ((a * b % R, 1), (1, a * b % R), (b, a)):
        assert native.pairing(g1(rows([left])), g2(rows([right]))) == value
    assert native.pairing(g1(rows([R - a])), g2(rows([b]))) != value


@pytest.mark.parametrize("n", [1, 2, 8, 9])
def test_products_of_pairings(kernel: str, n: int) -> None:
    rng = random.Random(n)
    a = [rng.randrange(R) for _ in range(n)]
    b = [rng.randrange(1, R) for _ in range(n)]
    rest = sum(x * y for x, y in zip(a[:-1], b[:-1], strict=True))
    a[-1] = -rest * pow(b[-1], -1, R) % R
    g1, g2 = native.g1_mul_many(rows(a)), native.g2_mul_many(rows(b))
    assert native.pairing_product_is_one(g1, g2)
    a[0] = (a[0] + 1) % R
    assert not native.pairing_product_is_one(native.g1_mul_many(rows(a)), g2)


def test_infinity_pairs_to_one(kernel: str) -> None:
    g1, g2 = native.g1_mul_many(rows([0, 5])), native.g2_mul_many(rows([5, 0]))
    assert native.pairing_product_is_one(g1, g2)
    empty = to_limbs([])
    assert native.pairing_product_is_one(empty.reshape(0, 8), empty.reshape(0, 16))


def test_pairing_refuses_bad_points(kernel: str) -> None:
    g1, g2 = native.g1_mul_many(rows([2])), native.g2_mul_many(rows([3]))
    outside = limbs_of(curve_points_outside_g2(1)[0])
    with pytest.raises(InvalidInput, match="outside the subgroup"):
        native.pairing(g1, outside)
    g1[0, 0] ^= np.uint64(1)
    with pytest.raises(InvalidInput, match="not on its curve"):
        native.pairing(g1, g2)


# --- Groth16's equation ---

NAMES = ("alpha", "beta", "gamma", "delta", "ic", "publics", "a", "b", "c")


def groth16_case(n: int) -> dict[str, Limbs]:
    """Return a key and a proof that verifies, made from known discrete logarithms."""
    rng = random.Random(n)
    alpha, beta, gamma, delta, a, b = (rng.randrange(1, R) for _ in range(6))
    ic = [rng.randrange(1, R) for _ in range(n + 1)]
    x = [rng.randrange(R) for _ in range(n)]
    inputs = ic[0] + sum(u * v for u, v in zip(ic[1:], x, strict=True))
    c = (a * b - alpha * beta - inputs * gamma) * pow(delta, -1, R) % R
    g1, g2 = native.g1_mul_many, native.g2_mul_many
    values = (
        g1(rows([alpha])),
        g2(rows([beta])),
        g2(rows([gamma])),
        g2(rows([delta])),
        g1(rows(ic)),
        rows(x),
        g1(rows([a])),
        g2(rows([b])),
        g1(rows([c])),
    )
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_verify_accepts_a_valid_proof_and_refuses_altered_ones(kernel: str, n: int) -> None:
    case = groth16_case(n)
    assert native.groth16_verify(**case) is None
    for name in NAMES:
        if name == "publics" and n == 0:
            continue
        altered = dict(case)
        other = groth16_case(n + 1)[name][: case[name].shape[0]]
        altered[name] = np.ascontiguousarray(other)
        fault = native.groth16_verify(**altered)
        assert fault is not None, name
        assert fault.where == "proof", name


def test_verify_refuses_a_public_input_plus_r(kernel: str) -> None:
    case = groth16_case(3)
    x = from_limbs(case["publics"])
    case["publics"] = rows([x[0], x[1] + R, x[2]])
    fault = native.groth16_verify(**case)
    assert fault is not None
    assert fault.where == "public input 1"
    assert "canonical" in fault.reason


@pytest.mark.parametrize("name", ["a", "b", "c", "alpha", "beta", "gamma", "delta"])
def test_verify_names_the_bad_point(kernel: str, name: str) -> None:
    label = ("proof: " if name in "abc" else "key: ") + name
    good = groth16_case(1)

    def fault_of(value: Limbs) -> native.VerifyFault:
        fault = native.groth16_verify(**{**good, name: value})
        assert fault is not None
        assert fault.where == label
        return fault

    assert "infinity" in fault_of(np.zeros_like(good[name])).reason
    off = good[name].copy()
    off[0, -4] ^= np.uint64(1)
    assert "curve" in fault_of(off).reason
    coordinates = from_limbs(good[name].reshape(-1, 4))
    coordinates[0] += Q
    assert "canonical" in fault_of(to_limbs(coordinates).reshape(1, -1)).reason
    if good[name].shape[1] == 16:
        outside = limbs_of(curve_points_outside_g2(1)[0])
        assert "subgroup" in fault_of(outside).reason


def test_verify_refuses_gamma_as_delta_and_infinity_in_ic(kernel: str) -> None:
    case = groth16_case(3)
    fault = native.groth16_verify(**{**case, "delta": case["gamma"]})
    assert fault == native.VerifyFault(
        "key: delta", "gamma and delta are the same point up to sign"
    )
    minus = native.g2_mul(case["gamma"], rows([R - 1]))
    assert native.groth16_verify(**{**case, "delta": minus}) == fault
    case["ic"] = case["ic"].copy()
    case["ic"][2] = 0
    fault = native.groth16_verify(**case)
    assert fault is not None
    assert (fault.where, "infinity" in fault.reason) == ("key: ic[2]", True)


def test_verify_names_the_bad_point_of_ic(kernel: str) -> None:
    case = groth16_case(3)
    case["ic"] = case["ic"].copy()
    case["ic"][2, 0] ^= np.uint64(1)
    fault = native.groth16_verify(**case)
    assert fault is not None
    assert fault.where == "key: ic[2]"


def test_verify_refuses_the_wrong_number_of_inputs(kernel: str) -> None:
    case = groth16_case(3)
    case["publics"] = case["publics"][:2]
    with pytest.raises(InvalidInput, match="ic: expected shape"):
        native.groth16_verify(**case)


def test_two_valid_forms_of_one_proof_both_verify(kernel: str) -> None:
    """Groth16 proofs are malleable: (-a, -b, c) verifies too; proof bytes are no identity."""
    case = groth16_case(2)
    minus = rows([R - 1])
    case["a"] = native.g1_mul(case["a"], minus)
    assert native.groth16_verify(**case) is not None
    case["b"] = native.g2_mul(case["b"], minus)
    assert native.groth16_verify(**case) is None
