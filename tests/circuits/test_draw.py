"""Drawn indices: the formula, the words' uniqueness, and every number on the way forced."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    challenges_of,
    values,
)

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import draw as module
from zkai.circuit.gadgets.draw import DRAW, TOP, draw, draw_gadget, n_hashes
from zkai.circuit.gadgets.poseidon import hash_elements
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.r1cs import Circuit
from zkai.circuit.tensor import Tensor
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput

SEED = [11, 22, 33]


def circuit_of(count: int, bits: int, commit: bool) -> tuple[Circuit, Tensor]:
    builder = Builder("draw", commit)
    seed = builder.public_field("seed", len(SEED))
    n = check_range(builder, builder.private_int("n"), 1, 1 << bits)
    made = draw_gadget(builder, seed, count, n, bits)
    return builder.build(), made


def test_the_formula() -> None:
    for n in (1, 2, 3, 1797, 1 << 28):
        found = draw(SEED, 7, n)
        for i, index in enumerate(found.tolist()):
            hashed = hash_elements(DRAW, [*SEED, i // 3])
            word = hashed >> (64 * (i % 3)) & ((1 << 64) - 1)
            assert index == word * n >> 64
            assert 0 <= index < n
    assert draw(SEED, 3, 1000).tolist() == draw(SEED, 7, 1000)[:3].tolist()


def test_other_seeds_give_other_orders_and_all_indices_occur() -> None:
    """Over 3,000 draws of 10 the chi-squared statistic (9 degrees of freedom) is below 35."""
    assert draw(SEED, 8, 1 << 20).tolist() != draw([11, 22, 34], 8, 1 << 20).tolist()
    counts = np.bincount(draw(SEED, 3000, 10), minlength=10)
    assert ((counts - 300) ** 2 / 300).sum() < 35


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize(("count", "n"), [(1, 1), (4, 5), (5, 8)])
def test_the_gadget_draws_the_same(commit: bool, count: int, n: int) -> None:
    circuit, bits = circuit_of(count, 3, commit)
    challenge = challenges_of if commit else None
    inputs = {"seed": SEED, "n": n}
    witness = circuit.solve(inputs, challenge=challenge)
    circuit.check(witness)
    index = values(circuit, witness, bits) @ (1 << np.arange(3))
    assert index.tolist() == draw(SEED, count, n).tolist()
    assert_every_wire_forced(circuit, witness)


@pytest.mark.parametrize("commit", [False, True])
def test_every_hint_is_forced(commit: bool) -> None:
    circuit, _ = circuit_of(2, 4, commit)
    free = ("range top", "word top") if commit else ()
    assert_every_hint_forced(circuit, {"seed": SEED, "n": 13}, free=free)


@pytest.mark.parametrize("commit", [False, True])
def test_the_second_spelling_of_a_hash_is_refused(commit: bool) -> None:
    """Words of h + r make the same field element: only the top word's bound refuses them."""
    seed = next(
        [11, 22, k] for k in range(99) if hash_elements(DRAW, [11, 22, k, 0]) < (1 << 253) // 2
    )
    circuit, _ = circuit_of(1, 4, commit)
    other = hash_elements(DRAW, [*seed, 0]) + FIELD_MODULUS
    assert other < 1 << 254
    words = [other >> (32 * i) & 0xFFFFFFFF for i in range(6)] + [other >> 192]

    def forge(_: object) -> np.ndarray:
        return np.array(words, np.int64)

    message = assert_refused(circuit, {"seed": seed, "n": 13}, {"words": forge})
    assert "top word" in message or "lookups" in message


def test_every_committed_wire_is_forced() -> None:
    circuit, _ = circuit_of(1, 2, True)
    witness = circuit.solve({"seed": SEED, "n": 3}, challenge=challenges_of)
    assert_every_committed_wire_forced(circuit, witness)


def test_words_that_do_not_make_up_the_hash() -> None:
    circuit, _ = circuit_of(1, 4, False)

    def forge(out: np.ndarray) -> np.ndarray:
        forged = np.array(out)
        forged[0] ^= 1
        return forged

    assert "words" in assert_refused(circuit, {"seed": SEED, "n": 13}, {"words": forge})


@pytest.mark.parametrize("change", [1, -1])
def test_an_index_beside_the_drawn_one(change: int) -> None:
    circuit, _ = circuit_of(1, 4, False)
    index = int(draw(SEED, 1, 13)[0]) + change

    def forge(_: object) -> np.ndarray:
        return (index >> np.arange(4)) & 1

    assert "index remainder" in assert_refused(circuit, {"seed": SEED, "n": 13}, {"index": forge})


def test_bits_that_are_no_booleans() -> None:
    """(2, 0) has the index of (0, 1), and would mix two children of a tree's node."""
    circuit, _ = circuit_of(1, 4, False)
    seed = next([11, 22, k] for k in range(99) if draw([11, 22, k], 1, 13)[0] & 3 == 2)
    bits = (int(draw(seed, 1, 13)[0]) >> np.arange(4)) & 1
    forged = bits + np.array([2, -1, 0, 0])

    def forge(_: object) -> np.ndarray:
        return forged

    message = assert_refused(circuit, {"seed": seed, "n": 13}, {"index": forge})
    assert message.endswith("(circuit: index)")


def test_a_carry_beside_the_right_one() -> None:
    circuit, _ = circuit_of(1, 4, False)
    label = next(s.label for s in circuit.steps if s.label == "carry")
    assert "index remainder" in assert_refused(
        circuit, {"seed": SEED, "n": 13}, {label: lambda v: np.ravel(v) + 1}
    )


def test_unusable_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, n in ((0, 5), (1, 0), (1, (1 << 28) + 1)):
        with pytest.raises(InvalidInput, match="a draw takes"):
            draw(SEED, count, n)
    with pytest.raises(InvalidInput, match="in \\[0, r\\)"):
        draw([FIELD_MODULUS], 1, 5)
    builder = Builder("draw")
    seed = builder.public_field("seed", 1)
    n = builder.private_int("n")
    with pytest.raises(InvalidInput, match="without a proven range"):
        draw_gadget(builder, seed, 1, n, 4)
    with pytest.raises(InvalidInput, match="got a number in"):
        draw_gadget(builder, seed, 1, check_range(builder, n, 0, 15), 4)
    monkeypatch.setattr(module, "TOP", 1)
    with pytest.raises(InvalidInput, match="skip this step"):
        draw(SEED, 3, 5)


def test_the_top_words_bound() -> None:
    """Below it every spelling is canonical, and the share of hashes without words is negligible."""
    assert TOP << 192 < FIELD_MODULUS < (TOP + 1) << 192
    assert TOP > 1 << 61
    assert n_hashes(1) == n_hashes(3) == 1
    assert n_hashes(4) == 2
