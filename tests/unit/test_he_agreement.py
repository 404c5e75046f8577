"""Which parts agree: the largest set on one polynomial, or nothing where two sets contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from zkai.encoding import Limbs
from zkai.errors import VerificationError
from zkai.he.agreement import Shortener, agreeing_holders
from zkai.he.ring import Ring
from zkai.he.shamir import modular_weights

RING = Ring(1024, (132120577,))


def shares(seed: int, threshold: int, holders: Sequence[int]) -> dict[int, Limbs]:
    """Values (2, L, n) at the holders' points of one polynomial of degree threshold - 1."""
    rows = np.stack([RING.uniform(bytes([seed] * 32), j, 0, 2) for j in range(threshold)], axis=1)
    points = tuple(range(threshold))
    return {j: RING.combine(rows, modular_weights(RING, points, j)) for j in holders}


def found(parts: Mapping[int, Limbs], threshold: int) -> tuple[int, ...]:
    return agreeing_holders(RING, parts, threshold)


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_all_shares_of_one_polynomial_agree(threshold: int) -> None:
    for holders in (range(1, threshold + 1), range(1, 11), (2, 4, 6, 8, 10)):
        if len(holders) >= threshold:
            assert found(shares(1, threshold, holders), threshold) == tuple(holders)


def test_the_largest_set_is_found_whoever_is_not_in_it() -> None:
    good, other = shares(1, 3, range(1, 11)), shares(2, 3, range(1, 11))
    for wrong in ((1,), (10,), (1, 2), (3, 7), (1, 2, 3, 4)):
        mixed = {**good, **{j: other[j] for j in wrong}}
        assert found(mixed, 3) == tuple(j for j in good if j not in wrong)
    noise = {j: RING.uniform(bytes([j] * 32), 9, 0, 2) for j in (2, 5)}
    assert found({**good, **noise}, 3) == (1, 3, 4, 6, 7, 8, 9, 10)


def test_one_residue_is_enough_to_stand_apart() -> None:
    parts = shares(1, 3, range(1, 6))
    parts[4] = parts[4].copy()
    parts[4][1, 0, 1023] = (int(parts[4][1, 0, 1023]) + 1) % RING.primes[0]
    assert found(parts, 3) == (1, 2, 3, 5)


def test_sets_of_one_size_that_contradict_each_other_say_nothing() -> None:
    good, other = shares(1, 2, range(1, 7)), shares(2, 2, range(1, 7))
    halves = {**{j: good[j] for j in (1, 2, 3)}, **{j: other[j] for j in (4, 5, 6)}}
    for parts in (halves, {1: good[1], 2: good[2], 3: other[3]}):
        with pytest.raises(VerificationError, match="contradict each other"):
            found(parts, 2)
    assert found({**halves, 4: good[4]}, 2) == (1, 2, 3, 4)


@pytest.mark.parametrize("count", [1, 1024, 1025])
def test_parts_are_shortened_alike_and_no_polynomial_is_left_out(count: int) -> None:
    """Also where there are more polynomials than one drawn polynomial has weights for."""
    shortener = Shortener(RING, count)
    one, two = (RING.uniform(bytes([k] * 32), 0, 0, count) for k in (1, 2))
    short = shortener.shorten(one)
    assert short.shape == (2, *RING.shape)
    assert not np.array_equal(short[0], short[1])
    total = RING.add(short, shortener.shorten(two))
    assert np.array_equal(total, shortener.shorten(RING.add(one, two)))
    for changed in {0, count // 2, count - 1}:
        other = one.copy()
        other[changed, 0, 5] = (int(other[changed, 0, 5]) + 1) % RING.primes[0]
        assert not np.array_equal(shortener.shorten(other), short)
    assert not np.array_equal(Shortener(RING, count).shorten(one), short)
