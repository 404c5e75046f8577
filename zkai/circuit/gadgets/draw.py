"""Indices drawn by hashes: a batch's order, natively and as constraints.

For a seed of field elements (circuits/README.md, "Drawn rows"):

    h_j = hash_elements("zkai/draw/1", [*seed, j])      for j = 0, 1, ...
    h_j = w_3j + 2^64 w_(3j+1) + 2^128 w_(3j+2) + 2^192 top_j,    0 <= top_j < floor(r / 2^192)
    index_i = floor(w_i n / 2^64)

The bound of the top word makes the three words unique: the integer on the right is below r. A hash
whose top word is floor(r / 2^192) gives none; that happens once in 2^61. Given the bound, the words
of a uniformly random hash are uniform and independent, and an index of n differs from uniform by
at most 2^-64 in each value's probability: a statistical distance below n 2^-64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.poseidon import hash_many, hash_many_gadget
from zkai.circuit.gadgets.range import check_range, new_in_range, require_bound
from zkai.circuit.tensor import Field, Ints, Rows, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput

DRAW = "zkai/draw/1"

WORDS = 3
"""The 64-bit words of one hash."""

TOP = FIELD_MODULUS >> 192
"""The top word is below this, so that the whole is below r."""

MAX_INDEX_BITS = 28

_HALF = 32
_MASK = (1 << _HALF) - 1


def n_hashes(count: int) -> int:
    """Return how many hashes give `count` indices."""
    return -(-count // WORDS)


def draw(seed: Sequence[int], count: int, n: int) -> Ints:
    """Return `count` indices of 0 to n - 1 for a seed of field elements.

    Raises InvalidInput for sizes out of range, elements outside [0, r), and for the one seed in
    about 2^61 whose hash gives no words.
    """
    if count < 1 or not 1 <= n <= 1 << MAX_INDEX_BITS:
        raise InvalidInput(f"a draw takes 1 to 2^{MAX_INDEX_BITS} items, got {count} of {n}")
    if not all(0 <= v < FIELD_MODULUS for v in seed):
        raise InvalidInput("a draw's seed consists of integers in [0, r)")
    inputs = to_limbs([v for j in range(n_hashes(count)) for v in (*seed, j)])
    hashed = hash_many(DRAW, inputs.reshape(n_hashes(count), -1, 4))
    if (hashed[:, 3] >= np.uint64(TOP)).any():
        raise InvalidInput(
            "a hash of this draw has no unique words, which happens once in 2^61: skip this step"
        )
    words = np.ascontiguousarray(hashed[:, :WORDS]).ravel()[:count]
    low, high = words & np.uint64(_MASK), words >> np.uint64(_HALF)
    carry = (low * np.uint64(n)) >> np.uint64(_HALF)
    return ((high * np.uint64(n) + carry) >> np.uint64(_HALF)).astype(np.int64)


def draw_gadget(builder: Builder, seed: Field, count: int, n: Tensor, bits: int) -> Tensor:
    """Return the bits (count, bits) of `draw(seed, count, n)`'s indices, lowest first, booleans.

    `n` is a scalar proven to lie in [1, 2^bits].

    Raises InvalidInput for an n without such a bound.
    """
    low, high = require_bound(builder, n, "draw")
    if low < 1 or high > 1 << bits or not 1 <= bits <= MAX_INDEX_BITS:
        raise InvalidInput(f"{builder.name}: a draw of {bits} bits got a number in [{low}, {high}]")
    hashes = n_hashes(count)
    places = builder.constant_field(list(range(hashes)))
    vectors = [np.tile(seed.wires, (hashes, 1)), places.wires[:, None]]
    elements = Field(np.concatenate(vectors, axis=1).ravel())
    halves = _words(builder, hash_many_gadget(builder, DRAW, elements, hashes))
    lows, highs = (halves[:, i::2].reshape(hashes * WORDS)[:count] for i in (0, 1))
    spread = n.reshape(1).broadcast_to((count,))
    small = builder.multiply(lows, spread, "word times number")
    large = builder.multiply(highs, spread, "word times number")
    last = (1 << bits) - 1
    carry = new_in_range(
        builder, "carry", lambda v: v >> _HALF, [small], (count,), 0, last, loose=True
    )
    _check_rest(builder, small - carry * (1 << _HALF))
    total = large + carry
    shifts = _HALF + np.arange(bits)
    (made,) = builder.hint(
        "index", lambda v: [(v[:, None] >> shifts) & 1], [total], [(count, bits)]
    )
    builder.constrain(made, made, made, "index")
    made = builder.with_bound(made, 0, 1)
    index = made.matmul_const((1 << np.arange(bits))[:, None]).reshape(count)
    _check_rest(builder, total - index * (1 << _HALF))
    return made


def _words(builder: Builder, hashed: Field) -> Tensor:
    """Return the 32-bit halves (hashes, 6) of each hash's words: the only ones there are."""
    m, parts = len(hashed), 2 * WORDS + 1

    def cut(values: Limbs) -> Ints:
        low, high = values & np.uint64(_MASK), values >> np.uint64(_HALF)
        halves = np.stack([low[:, :WORDS], high[:, :WORDS]], axis=2).reshape(m, 2 * WORDS)
        return np.concatenate([halves, values[:, WORDS:]], axis=1).astype(np.int64).ravel()

    wires = builder.new_step("words", cut, (hashed,), m * parts, is_field=False)
    ones = np.zeros(m, np.uint32)
    single, each = np.arange(m + 1), np.arange(m + 1) * parts
    weights = builder.coef_ids([1 << (_HALF * i) for i in range(parts)])
    left, one = (single, hashed.wires, ones), (single, np.zeros(m, np.int64), ones)
    builder.rows("words", left, one, (each, wires, np.tile(weights, m)))
    cells = wires.reshape(m, parts)
    top = Tensor((m,), Rows.of_wires(cells[:, -1]), None)
    check_range(builder, top, 0, TOP - 1, rule="top word")
    halves = Tensor((m, 2 * WORDS), Rows.of_wires(cells[:, :-1].ravel()), None)
    return check_range(builder, halves, 0, _MASK, rule="word")


def _check_rest(builder: Builder, rest: Tensor) -> None:
    """Prove that what a division by 2^32 leaves is its remainder."""
    unproven = Tensor(rest.shape, rest.rows, None)
    check_range(builder, unproven, 0, _MASK, rule="index remainder")
