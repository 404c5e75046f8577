"""Which holders' parts of a decryption agree: the exact test that a part is right.

Parts are shares: holder j's is D(j) for polynomials D of degree below t, exactly, so t of them
decide all others. A set of w parts that lie on such polynomials is right if t of its holders are
honest, that is, unless more than w - t are corrupt. With w >= 2t - 1 that is beyond the t - 1 that
a committee withstands.

Each part is first shortened to two random combinations of its polynomials, with weights that the
checker draws itself: parts that differ agree in them with probability q^-2, for a prime q of 54
bits (`rlwe`) or 60 (`ckks`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from zkai.encoding import Limbs
from zkai.errors import VerificationError
from zkai.he.ring import Ring
from zkai.he.shamir import modular_weights

_DRAWS = 2


class Shortener:
    """Random combinations of a part's polynomials (m, L, n), the same ones for all parts."""

    def __init__(self, ring: Ring, polynomials: int) -> None:
        rows = -(-polynomials // ring.n)
        drawn = ring.uniform(os.urandom(32), 0, 0, _DRAWS * rows)
        weights = np.moveaxis(drawn.reshape(_DRAWS, rows, *ring.shape), 2, 3)
        self._ring = ring
        self._weights = weights.reshape(_DRAWS, -1, len(ring.primes))[:, :polynomials]

    def shorten(self, part: Limbs) -> Limbs:
        """Return the combinations (2, L, n)."""
        return np.stack([self._ring.combine(part, weights) for weights in self._weights])


def agreeing_holders(ring: Ring, parts: Mapping[int, Limbs], threshold: int) -> tuple[int, ...]:
    """Return the largest set of holders whose (shortened) parts are of one polynomial, at least t.

    Raises VerificationError if there are two such sets that contradict each other, t of more than
    t holders among them: then nothing tells who is right.
    """
    best: list[tuple[int, ...]] = []
    for points in combinations(sorted(parts), threshold):
        if any(set(points) <= set(known) for known in best):
            continue
        agreed = tuple(j for j in sorted(parts) if j in points or _fits(ring, parts, points, j))
        if len(agreed) == len(parts):
            return agreed
        best = [*(known for known in best if len(known) >= len(agreed)), agreed]
        best = [known for known in best if len(known) == len(best[0])]
    if len(best) > 1:
        raise VerificationError(
            f"the parts of holders {sorted(parts)} contradict each other: several sets of"
            f" {len(best[0])} agree among themselves, and no more do"
        )
    return best[0]


def _fits(ring: Ring, parts: Mapping[int, Limbs], points: tuple[int, ...], at: int) -> bool:
    rows = np.stack([parts[j] for j in points], axis=1)
    return np.array_equal(ring.combine(rows, modular_weights(ring, points, at)), parts[at])
