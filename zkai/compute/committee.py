"""Committees drawn from a beacon: anyone with the list of members draws the same one.

    seed  = keccak256("zkaicmte" || beacon || keccak256(purpose) || digest of the list)
    u_i   = the first eight bytes of keccak256(seed || uint64 i), i = 0, 1, ...

A draw below n takes the next u_i that is below floor(2^64 / n) n, modulo n: no number is likelier
than another. Seats without weights go to distinct members: a draw below n, n - 1, ... picks among
those left, in the list's order. Seats by weight are drawn with replacement: a draw below the sum of
weights picks the member on whose stretch it falls, so that a member may have several seats.

The list is to be fixed before the beacon's round: its digest is in the seed, so that another list
is another draw, but whoever may choose the list late has several tries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from zkai.encoding import keccak256
from zkai.errors import InvalidInput
from zkai.merkle.tensor import check_names

MAX_MEMBERS = 1 << 20
MAX_SEATS = 1 << 12
_WORD = 1 << 64


@dataclass(frozen=True)
class Members:
    """Who may be drawn, by name, in the order of the names' UTF-8 bytes, each with its weight.

    Raises InvalidInput for none, too many, odd names or weights that do not fit.
    """

    weights: Mapping[str, int]

    def __post_init__(self) -> None:
        if len(self.weights) > MAX_MEMBERS:
            raise InvalidInput(f"members: at most {MAX_MEMBERS}")
        names = check_names(self.weights)
        if not all(type(w) is int and w >= 1 for w in self.weights.values()):
            raise InvalidInput("members: weights are integers of at least 1")
        if sum(self.weights.values()) >= _WORD >> 1:
            raise InvalidInput("members: weights add up to less than 2^63")
        object.__setattr__(self, "weights", {name: self.weights[name] for name in names})

    @staticmethod
    def equal(names: Sequence[str]) -> Members:
        """Return members of weight 1. Raises InvalidInput for a name given twice."""
        if len(set(names)) != len(names):
            raise InvalidInput("members: a name is given twice")
        return Members(dict.fromkeys(names, 1))

    @property
    def digest(self) -> bytes:
        """keccak256 over each name's digest and its weight, in order."""
        parts = (
            keccak256(name.encode()) + weight.to_bytes(8, "big")
            for name, weight in self.weights.items()
        )
        return keccak256(b"zkaimmbr" + b"".join(parts))


def draw_committee(members: Members, size: int, beacon: bytes, purpose: str) -> tuple[str, ...]:
    """Return `size` distinct members, in the order in which they were drawn, weights aside.

    `beacon` are the 32 bytes of a round that was not known when the members were fixed; `purpose`
    tells draws of the same round apart.

    Raises InvalidInput for a beacon of another size, or more seats than members.
    """
    left = list(members.weights)
    if not 1 <= size <= min(len(left), MAX_SEATS):
        raise InvalidInput(f"a committee has 1 to {min(len(left), MAX_SEATS)} seats, got {size}")
    words = _words(members, beacon, purpose)
    drawn = []
    for _ in range(size):
        drawn.append(left.pop(_below(words, len(left))))
    return tuple(drawn)


def draw_seats(members: Members, seats: int, beacon: bytes, purpose: str) -> tuple[str, ...]:
    """Return who has each of `seats` seats, drawn by weight and with replacement.

    Raises InvalidInput for a beacon of another size, or a number of seats out of range.
    """
    if not 1 <= seats <= MAX_SEATS:
        raise InvalidInput(f"expected 1 to {MAX_SEATS} seats, got {seats}")
    names, ends = list(members.weights), list(accumulate(members.weights.values()))
    words = _words(members, beacon, purpose)
    return tuple(names[bisect_right(ends, _below(words, ends[-1]))] for _ in range(seats))


def _words(members: Members, beacon: bytes, purpose: str) -> Iterator[int]:
    if len(beacon) != 32:
        raise InvalidInput(f"the beacon's value has 32 bytes, got {len(beacon)}")
    if not purpose.isascii() or not 1 <= len(purpose) <= 256:
        raise InvalidInput("a committee's purpose is ASCII text of 1 to 256 characters")
    seed = keccak256(b"zkaicmte" + beacon + keccak256(purpose.encode()) + members.digest)

    def words() -> Iterator[int]:
        number = 0
        while True:
            yield int.from_bytes(keccak256(seed + number.to_bytes(8, "big"))[:8], "big")
            number += 1

    return words()


def _below(words: Iterator[int], bound: int) -> int:
    """Return the next word below the largest multiple of `bound`, modulo `bound`."""
    limit = _WORD // bound * bound
    while (word := next(words)) >= limit:
        pass
    return word % bound
