"""Shamir's sharing of polynomials, residue by residue: holder j has f(j), and f(0) is the secret.

f has degree below the threshold t. The first t - 1 shares are free (uniform, so that a seed is
enough to send) and with the secret they decide the others:

    f(x) = L_0(x) secret + sum over j = 1..t-1 of L_j(x) share_j.

Fewer than t shares are uniform whatever the secret is. Source: Shamir, CACM 22 (1979) 612.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import lcm, prod

import numpy as np

from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.he.ring import Ring
from zkai.native_rlwe import Tables, combine

HolderSet = tuple[int, ...]
MAX_HOLDERS = 10
"""So few that every set of t holders can be gone through."""


def check_committee(threshold: int, holders: int) -> None:
    """Raise InvalidInput unless 2 <= threshold <= holders <= 10."""
    if not 2 <= threshold <= holders <= MAX_HOLDERS:
        raise InvalidInput(
            f"committee: expected 2 <= threshold <= holders <= {MAX_HOLDERS}, "
            f"got {threshold} of {holders}"
        )


def check_points(points: Sequence[int], holders: int, what: str) -> tuple[int, ...]:
    """Return holders' numbers as a tuple.

    Raises InvalidInput, naming `what`, unless they are distinct and within 1..holders.
    """
    found = tuple(points)
    if len(set(found)) != len(found) or not all(1 <= j <= holders for j in found):
        raise InvalidInput(f"{what}: holders are distinct numbers of 1..{holders}, got {found}")
    return found


def weights(points: tuple[int, ...], at: int) -> tuple[Fraction, ...]:
    """Return L_j(at) for each point j: f(at) = sum of L_j(at) f(j) if degree f < len(points)."""
    return tuple(
        Fraction(prod(at - k for k in points if k != j), prod(j - k for k in points if k != j))
        for j in points
    )


def holder_sets(threshold: int, holders: int) -> list[HolderSet]:
    """Return all sets of n - t + 1 holders, in order: those that share noise.

    Whatever t - 1 holders are left out, one set is all of the others: they do not know its seed.
    """
    return list(combinations(range(1, holders + 1), holders - threshold + 1))


def set_mask(members: HolderSet) -> int:
    """Return a set of holders as a number: bit j stands for holder j."""
    return sum(1 << j for j in members)


def set_weight(ring: Ring | Tables, members: HolderSet, holders: int, at: int) -> Limbs:
    """Return L_H(at) modulo each prime, (1, L): 1 at 0, and 0 at every holder outside the set H.

    Noise r_H that only a set knows is shared by these weights: its degree is that of keys' shares.
    Source: Cramer, Damgård, Ishai, "Share conversion, pseudorandom secret-sharing and applications
    to secure computation", TCC 2005.
    """
    outside = (j for j in range(1, holders + 1) if j not in members)
    return modular_weights(ring, (0, *outside), at)[:1]


def whole_weights(points: tuple[int, ...], at: int) -> tuple[int, tuple[int, ...]]:
    """Return (d, w), integers with d f(at) = sum of w_j f(j), d > 0 as small as can be."""
    found = weights(points, at)
    d = lcm(*(w.denominator for w in found))
    return d, tuple(int(w * d) for w in found)


def modular_weights(ring: Ring | Tables, points: tuple[int, ...], at: int) -> Limbs:
    """Return L_j(at) for each point j modulo each prime, as weights (k, L) of Ring.combine."""
    rows = [
        [w.numerator * pow(w.denominator, -1, q) % q for q in ring.primes]
        for w in weights(points, at)
    ]
    return np.array(rows, dtype=np.uint64)


def deal(ring: Ring | Tables, secret: Limbs, free: Limbs, holders: int) -> Limbs:
    """Return the shares (..., holders - t + 1, L, n) of holders t..holders, rows being of any kind.

    `secret` is (..., L, n); `free` (..., t - 1, L, n) holds the shares of holders 1..t-1.
    """
    tables = ring.tables if isinstance(ring, Ring) else ring
    threshold = free.shape[-3] + 1
    inputs = np.concatenate([secret[..., None, :, :], free], axis=-3)
    points = tuple(range(threshold))
    shares = [
        combine(tables, inputs, modular_weights(tables, points, j))
        for j in range(threshold, holders + 1)
    ]
    return np.stack(shares, axis=-3)
