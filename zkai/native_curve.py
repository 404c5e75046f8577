"""Points of G1 and G2, pairings and Groth16's verification: typed wrappers, as in zkai.native.

The forms are those of zkai.native, which offers these names too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zkai._native import ffi, lib
from zkai.encoding import Limbs, from_limbs
from zkai.native_library import as_limbs, check, in_u64, new_limbs

# --- points ------------------------------------------------------------------------------------

_G1, _G2 = 8, 16
_EQUATION = 7


def _msm(function: Any, width: int, name: str, points: Limbs, scalars: Limbs) -> Limbs:
    points = as_limbs(points, width, f"{name}: points")
    scalars = as_limbs(scalars, 4, f"{name}: scalars", n=points.shape[0])
    out = new_limbs(1, width)
    check(function(in_u64(out), in_u64(points), in_u64(scalars), points.shape[0]), name)
    return out


def g1_msm(points: Limbs, scalars: Limbs) -> Limbs:
    """Return sum of scalars[i] * points[i] as (1, 8), for points (n, 8) and scalars (n, 4).

    Raises InvalidInput for a point off the curve or a value that is not canonical.
    """
    return _msm(lib.zk_g1_msm, _G1, "g1_msm", points, scalars)


def g2_msm(points: Limbs, scalars: Limbs) -> Limbs:
    """Return sum of scalars[i] * points[i] as (1, 16), for points (n, 16) and scalars (n, 4).

    The points must lie in the subgroup of order r, which is not checked. Raises InvalidInput for a
    point off the curve or a value that is not canonical.
    """
    return _msm(lib.zk_g2_msm, _G2, "g2_msm", points, scalars)


def _mul_many(function: Any, width: int, name: str, scalars: Limbs, base: Limbs | None) -> Limbs:
    scalars = as_limbs(scalars, 4, f"{name}: scalars")
    pointer = ffi.NULL
    if base is not None:
        base = as_limbs(base, width, f"{name}: base", n=1)
        pointer = in_u64(base)
    out = new_limbs(scalars.shape[0], width)
    check(function(in_u64(out), pointer, in_u64(scalars), scalars.shape[0]), name)
    return out


def g1_mul_many(scalars: Limbs, base: Limbs | None = None) -> Limbs:
    """Return scalars[i] * base as (n, 8); `base` is (1, 8), by default the generator (1, 2).

    Raises InvalidInput for a base at infinity or off the curve and for non-canonical values.
    """
    return _mul_many(lib.zk_g1_mul_many, _G1, "g1_mul_many", scalars, base)


def g2_mul_many(scalars: Limbs, base: Limbs | None = None) -> Limbs:
    """Return scalars[i] * base as (n, 16); `base` is (1, 16), by default EIP-197's generator.

    Raises InvalidInput for a base at infinity or off the curve and for non-canonical values.
    """
    return _mul_many(lib.zk_g2_mul_many, _G2, "g2_mul_many", scalars, base)


def _elementwise(function: Any, name: str, a: Limbs, a_width: int, b: Limbs, b_width: int) -> Limbs:
    a = as_limbs(a, a_width, f"{name}: first operand")
    b = as_limbs(b, b_width, f"{name}: second operand", n=a.shape[0])
    out = new_limbs(a.shape[0], a_width)
    check(function(in_u64(out), in_u64(a), in_u64(b), a.shape[0]), name)
    return out


def g1_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a[i] + b[i] for (n, 8) points. Raises InvalidInput for points off the curve."""
    return _elementwise(lib.zk_g1_add, "g1_add", a, _G1, b, _G1)


def g2_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a[i] + b[i] for (n, 16) points. Raises InvalidInput for points off the curve."""
    return _elementwise(lib.zk_g2_add, "g2_add", a, _G2, b, _G2)


def g1_mul(points: Limbs, scalars: Limbs) -> Limbs:
    """Return scalars[i] * points[i] for (n, 8) points and any (n, 4) scalars below 2**256.

    Raises InvalidInput for points off the curve.
    """
    return _elementwise(lib.zk_g1_mul, "g1_mul", points, _G1, scalars, 4)


def g2_mul(points: Limbs, scalars: Limbs) -> Limbs:
    """Return scalars[i] * points[i] for (n, 16) points and any (n, 4) scalars below 2**256.

    Raises InvalidInput for points off the curve.
    """
    return _elementwise(lib.zk_g2_mul, "g2_mul", points, _G2, scalars, 4)


def _first_bad(function: Any, width: int, name: str, points: Limbs, subgroup: bool) -> int:
    points = as_limbs(points, width, f"{name}: points")
    first = ffi.new("size_t *")
    function(first, in_u64(points), points.shape[0], int(subgroup))
    return -1 if first[0] == points.shape[0] else int(first[0])


def g1_check(points: Limbs) -> int:
    """Return the index of the first (n, 8) point that is not canonical or not on the curve, or -1.

    Infinity passes: a caller that must refuse it looks for rows of zeros.
    """
    return _first_bad(lib.zk_g1_check, _G1, "g1_check", points, subgroup=False)


def g2_check(points: Limbs) -> int:
    """Return the index of the first (n, 16) point outside the subgroup of order r, or -1.

    A point that is not canonical or not on the curve counts as outside; infinity passes.
    """
    return _first_bad(lib.zk_g2_check, _G2, "g2_check", points, subgroup=True)


# --- pairings ----------------------------------------------------------------------------------


def pairing(g1: Limbs, g2: Limbs) -> list[int]:
    """Return the product of e(g1[i], g2[i]) for points (n, 8) and (n, 16), n at most 1024.

    The result is its 12 coefficients of w^0..w^11, where w^12 = 18 w^6 - 82. e is the optimal ate
    pairing to the power 2x(6x^2 + 3x + 1), with x the parameter of the curve (Fuentes-Castaneda et
    al., "Faster hashing to G2"). Infinity pairs to 1.

    Raises InvalidInput for a point off its curve or outside its subgroup.
    """
    g1 = as_limbs(g1, _G1, "pairing: g1")
    g2 = as_limbs(g2, _G2, "pairing: g2", n=g1.shape[0])
    out = new_limbs(12, 4)
    check(lib.zk_pairing(in_u64(out), in_u64(g1), in_u64(g2), g1.shape[0]), "pairing")
    return from_limbs(out)


def pairing_product_is_one(g1: Limbs, g2: Limbs) -> bool:
    """Return whether the product of e(g1[i], g2[i]) is 1.

    Raises InvalidInput for a point off its curve or outside its subgroup.
    """
    return pairing(g1, g2) == [1] + [0] * 11


@dataclass(frozen=True)
class VerifyFault:
    """Why a Groth16 proof was refused: `where` names the value, or is "proof" for the equation."""

    where: str
    reason: str


_VERIFY_PARTS = (
    "key: alpha",
    "key: beta",
    "key: gamma",
    "key: delta",
    "proof: a",
    "proof: b",
    "proof: c",
)
_VERIFY_REASONS = {
    3: "a value is not canonical: it is at or above its modulus",
    4: "the point is not on its curve",
    5: "the point is outside the subgroup of order r",
    6: "the point is the point at infinity",
    10: "gamma and delta are the same point up to sign",
}


def groth16_verify(
    alpha: Limbs,
    beta: Limbs,
    gamma: Limbs,
    delta: Limbs,
    ic: Limbs,
    publics: Limbs,
    a: Limbs,
    b: Limbs,
    c: Limbs,
) -> VerifyFault | None:
    """Return None if e(a, b) = e(alpha, beta) e(ic[0] + sum x_i ic[i + 1], gamma) e(c, delta).

    Points in G1 (alpha, a, c) are (1, 8), in G2 (beta, gamma, delta, b) (1, 16), `ic` is (n + 1, 8)
    and `publics` (n, 4). Every public input must be below r; every point canonical, on its curve,
    in its subgroup and not infinity; gamma may not be plus or minus delta. Otherwise returns
    the first fault (Groth, "On the size of pairing-based non-interactive arguments", 2016, section
    3.2).

    Raises InvalidInput for arrays of the wrong type or shape.
    """
    publics = as_limbs(publics, 4, "groth16_verify: public inputs")
    n = publics.shape[0]
    ic = as_limbs(ic, _G1, "groth16_verify: ic", n=n + 1)
    points = [
        as_limbs(value, width, f"groth16_verify: {name}", n=1)
        for value, width, name in (
            (alpha, _G1, "alpha"),
            (beta, _G2, "beta"),
            (gamma, _G2, "gamma"),
            (delta, _G2, "delta"),
            (a, _G1, "a"),
            (b, _G2, "b"),
            (c, _G1, "c"),
        )
    ]
    buffers = [in_u64(point) for point in points]
    where = ffi.new("size_t *")
    status = lib.zk_groth16_verify(
        *buffers[:4], in_u64(ic), in_u64(publics), n, *buffers[4:], where
    )
    if status == 0:
        return None
    if status == _EQUATION:
        return VerifyFault("proof", "the pairing equation does not hold for these public inputs")
    if status not in _VERIFY_REASONS:
        check(status, "groth16_verify")
    return VerifyFault(_verify_part(int(where[0]), n), _VERIFY_REASONS[status])


def _verify_part(index: int, n: int) -> str:
    if index < len(_VERIFY_PARTS):
        return _VERIFY_PARTS[index]
    index -= len(_VERIFY_PARTS)
    return f"key: ic[{index}]" if index <= n else f"public input {index - n - 1}"
