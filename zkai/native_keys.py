"""The C library's share in Groth16 keys and proofs: typed wrappers, as in zkai.native.

Everything here works on the forms that key files hold: points and vectors in Montgomery form where
a docstring says so, scalars in standard form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zkai._native import ffi, lib
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.native import (
    SparseRows,
    as_limbs,
    check,
    csr_pointers,
    in_u64,
    log2_exact,
    new_limbs,
)

# --- key generation ----------------------------------------------------------------------------


def lagrange_at(tau: Limbs, log_n: int) -> Limbs:
    """Return L_i(tau) for the 2**log_n roots of unity: Montgomery form; tau is (1, 4), standard.

    Raises InvalidInput if tau is not canonical or is itself such a root.
    """
    if not 0 <= log_n <= 28:
        raise InvalidInput(f"lagrange_at: log_n must be 0..28, got {log_n}")
    out = new_limbs(1 << log_n, 4)
    check(lib.zk_lagrange_at(in_u64(out), in_u64(as_limbs(tau, 4, "tau", 1)), log_n), "lagrange_at")
    return out


def setup_combine(a: Limbs, b: Limbs, c: Limbs, alpha: Limbs, beta: Limbs, factor: Limbs) -> Limbs:
    """Return (beta a + alpha b + c) * factor elementwise, standard form, from Montgomery form."""
    n = len(a)
    vectors = [in_u64(as_limbs(x, 4, "setup_combine", n)) for x in (a, b, c)]
    secrets = [in_u64(as_limbs(x, 4, "setup_combine", 1)) for x in (alpha, beta, factor)]
    out = new_limbs(n, 4)
    check(lib.zk_setup_combine(in_u64(out), *vectors, n, *secrets), "setup_combine")
    return out


def fr_powers(first: Limbs, base: Limbs, n: int) -> Limbs:
    """Return first * base**i for i < n: (n, 4), standard form."""
    out = new_limbs(n, 4)
    secrets = [in_u64(as_limbs(x, 4, "fr_powers", 1)) for x in (first, base)]
    check(lib.zk_fr_powers(in_u64(out), *secrets, n), "fr_powers")
    return out


def wipe(*arrays: Limbs) -> None:
    """Overwrite secret arrays with zeros."""
    for array in arrays:
        check(lib.zk_wipe(in_u64(array), array.size), "wipe")


# --- vectors of points in Montgomery form ------------------------------------------------------
# Arrays are (n, 8) for "g1" and (n, 16) for "g2", as key files hold them; infinity is all zeros.

_WIDTH = {"g1": 8, "g2": 16}


def _points(group: str, name: str) -> Any:
    return getattr(lib, f"zk_{group}_points_{name}")


def points_load(group: str, points: Limbs) -> Limbs:
    """Return points in Montgomery form from standard form.

    Raises InvalidInput if a coordinate is at or above q. The curve is not checked.
    """
    points = as_limbs(points, _WIDTH[group], "points_load")
    out = new_limbs(*points.shape)
    check(_points(group, "load")(in_u64(out), in_u64(points), len(points)), "points_load")
    return out


def points_store(group: str, points: Limbs) -> Limbs:
    """Return points in standard form from Montgomery form."""
    points = as_limbs(points, _WIDTH[group], "points_store")
    out = new_limbs(*points.shape)
    check(_points(group, "store")(in_u64(out), in_u64(points), len(points)), "points_store")
    return out


def points_check(group: str, points: Limbs, what: str, allow_infinity: bool) -> None:
    """Return None if every point is canonical, on the curve and in the subgroup of order r.

    Raises InvalidInput naming `what`, the first bad index and its fault.
    """
    points = as_limbs(points, _WIDTH[group], what)
    bad = ffi.new("uint64_t *")
    args = in_u64(points), len(points), int(allow_infinity), bad
    status = _points(group, "check")(*args)
    check(status, f"{what}[{bad[0]}]")


def points_msm(group: str, points: Limbs, scalars: Limbs) -> Limbs:
    """Return sum of scalars[i] * points[i] as one row; scalars in standard form.

    Raises InvalidInput if the lengths differ or a scalar is at or above r.
    """
    points = as_limbs(points, _WIDTH[group], "msm: points")
    scalars = as_limbs(scalars, 4, "msm: scalars", len(points))
    out = new_limbs(1, _WIDTH[group])
    status = _points(group, "msm")(in_u64(out), in_u64(points), in_u64(scalars), len(points))
    check(status, "msm")
    return out


def points_generate(group: str, scalars: Limbs, out: Limbs | None = None) -> Limbs:
    """Return scalars[i] times the group's generator, into `out` if given."""
    scalars = as_limbs(scalars, 4, "points_generate: scalars")
    out = _result(group, len(scalars), out)
    check(_points(group, "generate")(in_u64(out), in_u64(scalars), len(scalars)), "points_generate")
    return out


def points_scale(group: str, points: Limbs, scalar: Limbs, out: Limbs | None = None) -> Limbs:
    """Return scalar * points[i], into `out` if given; scalar is (1, 4) in standard form."""
    points = as_limbs(points, _WIDTH[group], "points_scale: points")
    out = _result(group, len(points), out)
    factor = in_u64(as_limbs(scalar, 4, "points_scale: scalar", 1))
    check(_points(group, "scale")(in_u64(out), in_u64(points), len(points), factor), "points_scale")
    return out


def points_subtract(group: str, points: Limbs, minus: Limbs) -> Limbs:
    """Return points[i] - minus[i]."""
    points = as_limbs(points, _WIDTH[group], "points_subtract")
    minus = as_limbs(minus, _WIDTH[group], "points_subtract", len(points))
    out = new_limbs(*points.shape)
    check(
        _points(group, "subtract")(in_u64(out), in_u64(points), in_u64(minus), len(points)),
        "points_subtract",
    )
    return out


def points_encode(group: str, points: Limbs) -> bytes:
    """Return uncompressed big-endian coordinates; in G2 the coefficient of u comes first."""
    points = as_limbs(points, _WIDTH[group], "points_encode")
    out = np.empty(points.size, np.uint64)
    check(_points(group, "encode")(in_u64(out), in_u64(points), len(points)), "points_encode")
    return out.tobytes()


def points_lagrange(group: str, powers: Limbs, out: Limbs | None = None) -> Limbs:
    """Return [L_i(tau)] P for the 2**k roots of unity, from [tau**i] P.

    Raises InvalidInput if the length is no power of two.
    """
    powers = as_limbs(powers, _WIDTH[group], "points_lagrange")
    log_n = log2_exact(len(powers), "points_lagrange")
    out = _result(group, len(powers), out)
    check(_points(group, "lagrange")(in_u64(out), in_u64(powers), log_n), "points_lagrange")
    return out


def points_sparse(
    group: str, columns: SparseRows, table: Limbs, points: Limbs, out: Limbs, accumulate: bool
) -> None:
    """Fill (or add to) out[i] the sum over row i of table[coef] * points[wire].

    `columns` is a matrix whose "wires" index `points`; `table` is in standard form.
    Raises InvalidInput if an index is out of range.
    """
    indptr, n, rows, coefs, nnz = csr_pointers(columns, "points_sparse")
    points = as_limbs(points, _WIDTH[group], "points_sparse: points")
    if not out.flags.c_contiguous or out.shape != (n, _WIDTH[group]):
        raise InvalidInput(f"points_sparse: the result must have {n} points")
    status = _points(group, "sparse")(
        in_u64(out), n, indptr, rows, coefs, nnz,
        in_u64(as_limbs(table, 4, "points_sparse: table")), len(table),
        in_u64(points), len(points), int(accumulate),
    )  # fmt: skip
    check(status, "points_sparse")


def _result(group: str, n: int, out: Limbs | None) -> Limbs:
    if out is None:
        return new_limbs(n, _WIDTH[group])
    if out.shape != (n, _WIDTH[group]) or not out.flags.c_contiguous:
        raise InvalidInput(f"the result must have shape ({n}, {_WIDTH[group]})")
    return out


# --- Groth16 -----------------------------------------------------------------------------------


def groth16_quotient(a: Limbs, b: Limbs, c: Limbs) -> None:
    """Replace `a` by the values of A B - C on the odd coset, standard form; b and c are lost.

    The inputs are the values of A, B, C on the domain of 2**k roots of unity, Montgomery form.
    Raises InvalidInput if the length is no power of two.
    """
    log_n = log2_exact(len(a), "groth16_quotient")
    args = [in_u64(as_limbs(x, 4, "groth16_quotient", len(a))) for x in (a, b, c)]
    check(lib.zk_groth16_quotient(*args, log_n), "groth16_quotient")


def groth16_assemble(
    key1: Limbs, key2: Limbs, sums1: Limbs, sum2: Limbs, r: Limbs, s: Limbs
) -> tuple[Limbs, Limbs, Limbs]:
    """Return the proof's points A, B, C as rows in standard form.

    `key1` holds alpha, beta, delta in G1, `key2` beta, delta in G2, `sums1` the products over A, B,
    L, H in G1, `sum2` that over B in G2, all in Montgomery form; r and s are (1, 4), standard form.
    """
    out = new_limbs(1, 8), new_limbs(1, 16), new_limbs(1, 8)
    inputs = (
        as_limbs(key1, 8, "key1", 3), as_limbs(key2, 16, "key2", 2),
        as_limbs(sums1, 8, "sums1", 4), as_limbs(sum2, 16, "sum2", 1),
        as_limbs(r, 4, "r", 1), as_limbs(s, 4, "s", 1),
    )  # fmt: skip
    status = lib.zk_groth16_assemble(*map(in_u64, out), *map(in_u64, inputs))
    check(status, "groth16_assemble")
    return out
