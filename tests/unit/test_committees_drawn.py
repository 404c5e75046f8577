"""Committees drawn from a beacon: the definition written out again, and no bias."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from zkai.compute import committee
from zkai.compute.committee import Members, draw_committee, draw_seats
from zkai.encoding import keccak256
from zkai.errors import InvalidInput

BEACON = bytes(range(32))
NAMES = ["bo", "ada", "cy", "dee", "ed"]


def u64(seed: bytes, number: int) -> int:
    return int.from_bytes(keccak256(seed + number.to_bytes(8, "big"))[:8], "big")


def test_a_committee_is_what_the_definition_draws() -> None:
    listed = sorted(NAMES)
    rows = b"".join(keccak256(n.encode()) + (1).to_bytes(8, "big") for n in listed)
    digest = keccak256(b"zkaimmbr" + rows)
    seed = keccak256(b"zkaicmte" + BEACON + keccak256(b"round 7") + digest)
    expected, left = [], list(listed)
    for number in range(3):  # no word of this seed is rejected
        expected.append(left.pop(u64(seed, number) % len(left)))
    assert list(draw_committee(Members.equal(NAMES), 3, BEACON, "round 7")) == expected
    assert draw_committee(Members.equal(NAMES[::-1]), 3, BEACON, "round 7") == tuple(expected)


def test_beacon_purpose_list_and_weights_all_change_the_draw() -> None:
    members = Members.equal([f"m{i}" for i in range(1000)])
    first = draw_committee(members, 20, BEACON, "a")
    assert len(set(first)) == 20
    assert draw_committee(members, 20, BEACON, "b") != first
    assert draw_committee(members, 20, bytes(32), "a") != first
    fewer = Members.equal([f"m{i}" for i in range(1001)])
    assert draw_committee(fewer, 20, BEACON, "a") != first
    heavier = Members({**members.weights, "m0": 2})
    assert draw_committee(heavier, 20, BEACON, "a") != first


def test_everyone_is_drawn_alike() -> None:
    """Chi-squared over 3,000 seeded draws of 2 of 5: 4 degrees of freedom, 60 is out of reach."""
    members = Members.equal(NAMES)
    counts: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for number in range(3000):
        drawn = draw_committee(members, 2, keccak256(number.to_bytes(4, "big")), "x")
        counts.update(drawn)
        places[drawn[0]] += 1
    assert sum((n - 1200) ** 2 / 1200 for n in counts.values()) < 60
    assert sum((n - 600) ** 2 / 600 for n in places.values()) < 60


def test_seats_follow_weights() -> None:
    members = Members({"ada": 1, "bo": 2, "cy": 7})
    counts: Counter[str] = Counter()
    for number in range(100):
        counts.update(draw_seats(members, 50, keccak256(number.to_bytes(4, "big")), "x"))
    expected = {"ada": 500, "bo": 1000, "cy": 3500}
    assert sum((counts[n] - e) ** 2 / e for n, e in expected.items()) < 60


def test_words_that_would_favour_low_numbers_are_rejected() -> None:
    top, bound = 1 << 64, 3 << 62
    assert committee._below(iter([bound, top - 1, bound - 1]), bound) == bound - 1
    assert committee._below(iter([top - 1, 5]), 3) == 2  # the last word below 3 * floor(2^64 / 3)
    with pytest.raises(StopIteration):
        committee._below(iter([top - 1]), bound)
    words = list(islice(committee._words(Members.equal(NAMES), BEACON, "x"), 3))
    assert all(0 <= word < top for word in words)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Members({}),
        lambda: Members({"": 1}),
        lambda: Members({"a": 0}),
        lambda: Members({"a": True}),
        lambda: Members({"a": 1 << 62, "b": 1 << 62}),
        lambda: Members.equal(["a", "a"]),
        lambda: draw_committee(Members.equal(NAMES), 6, BEACON, "x"),
        lambda: draw_committee(Members.equal(NAMES), 0, BEACON, "x"),
        lambda: draw_committee(Members.equal(NAMES), 2, BEACON[:31], "x"),
        lambda: draw_committee(Members.equal(NAMES), 2, BEACON, ""),
        lambda: draw_committee(Members.equal(NAMES), 2, BEACON, "ä"),
        lambda: draw_seats(Members.equal(NAMES), 0, BEACON, "x"),
        lambda: draw_seats(Members.equal(NAMES), 1 << 13, BEACON, "x"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: object) -> None:
    with pytest.raises(InvalidInput):
        call()  # type: ignore[operator]
