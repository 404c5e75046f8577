"""Checks on single points with the native pairing: curve, subgroup, equal ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zkai import native
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput
from zkai.proof.points import G1, G2, g1_words, g2_words


def check_g1(points: Sequence[G1], what: str) -> None:
    """Return None if every point is canonical, on the curve and not infinity.

    Raises InvalidInput naming `what` and the index.
    """
    if not points:
        return
    if None in points:
        raise InvalidInput(f"{what}[{points.index(None)}] is the point at infinity")
    words = np.concatenate([g1_words(point) for point in points])
    if (bad := native.g1_check(words)) >= 0:
        raise InvalidInput(f"{what}[{bad}] is not a point of G1")


def check_g2(points: Sequence[G2], what: str) -> None:
    """Return None if every point is canonical, in the subgroup of order r and not infinity.

    Raises InvalidInput naming `what` and the index.
    """
    if not points:
        return
    if None in points:
        raise InvalidInput(f"{what}[{points.index(None)}] is the point at infinity")
    words = np.concatenate([g2_words(point) for point in points])
    if (bad := native.g2_check(words)) >= 0:
        raise InvalidInput(f"{what}[{bad}] is not a point of G2")


def g1_from_words(words: Limbs) -> G1:
    """Return the point of one (1, 8) row in standard form."""
    x, y = (int.from_bytes(words.tobytes()[i : i + 32], "little") for i in (0, 32))
    return (x, y) if x or y else None


def g2_from_words(words: Limbs) -> G2:
    """Return the point of one (1, 16) row in standard form."""
    data = words.tobytes()
    x0, x1, y0, y1 = (int.from_bytes(data[i : i + 32], "little") for i in range(0, 128, 32))
    return ((x0, x1), (y0, y1)) if x0 or x1 or y0 or y1 else None


def g1_multiply(point: G1, scalar: int) -> G1:
    """Return scalar * point."""
    return g1_from_words(native.g1_mul(g1_words(point), to_limbs([scalar % FIELD_MODULUS])))


def g2_multiply(point: G2, scalar: int) -> G2:
    """Return scalar * point."""
    return g2_from_words(native.g2_mul(g2_words(point), to_limbs([scalar % FIELD_MODULUS])))


def same_ratio(first: tuple[G1, G1], second: tuple[G2, G2]) -> bool:
    """Return whether b/a = B/A for (a, b) in G1 and (A, B) in G2: e(a, B) = e(b, A).

    False if any point is infinity or not in its group.
    """
    (a, b), (c, d) = first, second
    try:
        check_g1((a, b), "G1")
        check_g2((c, d), "G2")
    except InvalidInput:
        return False
    assert b is not None
    minus_b = (b[0], -b[1] % BASE_MODULUS)
    return native.pairing_product_is_one(
        np.concatenate([g1_words(a), g1_words(minus_b)]),
        np.concatenate([g2_words(d), g2_words(c)]),
    )
