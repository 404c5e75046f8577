"""Threshold additive RLWE: every t holders open the exact sum, fewer or other ones nothing."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import rlwe_reference as reference
from tests.unit.rlwe_support import (
    HOLDERS,
    PARAMETERS,
    ROUND,
    Client,
    flipped,
    partials,
    shares_of,
    summed,
)
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he import shamir
from zkai.he.client import check_mask, masks, share_from_seed
from zkai.he.packing import pack_values, unpack_values
from zkai.he.ring import Ring, first
from zkai.he.rlwe import (
    RING,
    CiphertextSum,
    ClientKey,
    RlweParameters,
    Round,
    ShareSum,
    fingerprint,
    fuse,
    holder_sets,
    open_share,
    partial,
    subject_of,
    verify_fingerprints,
)
from zkai.he.wire import Kind, Stream, open_polynomials
from zkai.native import Int64s


@pytest.fixture(scope="module")
def clients() -> list[Client]:
    return [Client(seed) for seed in range(3)]


def expected(clients: list[Client]) -> Int64s:
    return np.sum([client.values for client in clients], axis=0)


# --- opening -------------------------------------------------------------------------------------


def test_every_set_of_t_holders_opens_the_exact_sum(clients: list[Client]) -> None:
    total, parts = summed(clients), partials(clients)
    for count in (3, 4, 5):
        for holders in combinations(HOLDERS, count):
            found = fuse(total, {j: parts[j] for j in holders})
            assert np.array_equal(found.values, expected(clients))
            assert (found.agreed, found.apart, found.checked) == (holders, (), count == 5)


@pytest.mark.parametrize(
    ("threshold", "holders"), [(2, 2), (2, 3), (2, 10), (4, 7), (5, 5), (5, 10), (6, 10)]
)
def test_other_committees(threshold: int, holders: int) -> None:
    round_ = Round(RlweParameters.choose(2, threshold, holders, 30, 2), bytes(32), 9, 10)
    two = [Client(seed, round_) for seed in range(2)]
    parts = partials(two, range(1, holders + 1), round_)
    assert len(two[0].shares[0]) == round_.parameters.share_bytes(1)
    for some in (range(1, threshold + 1), range(holders - threshold + 1, holders + 1), parts):
        opened = fuse(summed(two, round_), {j: parts[j] for j in some})
        assert np.array_equal(opened.values, expected(two))
        assert opened.checked == (len(some) >= 2 * threshold - 1)


def test_fewer_than_t_holders_open_nothing(clients: list[Client]) -> None:
    """Two holders who act as a committee of two of five: noise, whichever they are."""
    lower = Round(RlweParameters.choose(4, 2, 5), ROUND.session, ROUND.number, ROUND.values)
    parts = partials(clients)
    for active in combinations(HOLDERS, 2):
        opened = summed(clients).residues
        for j in active:
            share, _ = shares_of(clients, j).take()
            weights = shamir.modular_weights(RING, active, 0)[active.index(j)][None]
            product = RING.multiply(masks(ROUND, 0, 2), RING.combine(share[None], weights))
            RING.add(opened, RING.coefficients(product), out=opened)
        assert RING.largest(opened) > RING.modulus // 4
        with pytest.raises(InvalidInput, match=r"3 holders' parts are needed, 2 are there"):
            fuse(summed(clients), {j: parts[j] for j in active})
    assert lower.seed != ROUND.seed  # and a committee of two is another round


def test_t_minus_one_shares_fit_every_secret(clients: list[Client]) -> None:
    """Shares of t - 1 holders and any other secret lie on a polynomial of degree t - 1."""
    client = clients[0]
    known = [open_share(ROUND, j, client.name, client.shares[j - 1]).polynomial for j in (4, 5)]
    other = first(RING.uniform(os.urandom(32), 0))
    points = (0, 4, 5)
    inputs = np.stack([other, *known])
    rest = {j: RING.combine(inputs, shamir.modular_weights(RING, points, j)) for j in (1, 2, 3)}
    everyone = [rest[1], rest[2], rest[3], *known]
    for chosen in combinations(HOLDERS, 3):
        found = RING.combine(
            np.stack([everyone[j - 1] for j in chosen]), shamir.modular_weights(RING, chosen, 0)
        )
        assert np.array_equal(found, other)


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_bound_do_not_overflow(sign: int) -> None:
    values = np.full(ROUND.values, sign * PARAMETERS.bound)
    four = [Client(0, values=values) for _ in range(4)]
    assert np.array_equal(fuse(summed(four), partials(four, (2, 3, 5))).values, 4 * values)


def test_a_single_client_is_opened_only_where_the_minimum_allows(clients: list[Client]) -> None:
    total = summed(clients[:1])
    with pytest.raises(InvalidInput, match="1 clients, not of 2"):
        partial(total, shares_of(clients[:1], 1), 2)


def test_the_documentations_example_runs(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repo / "docs" / "aggregation.md").read_text(encoding="utf-8")
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "[6 6 6] (1, 2, 3, 4, 5) True\n"


# --- parts of the decryption ---------------------------------------------------------------------


def body_of(data: bytes, holder: int, round_: Round = ROUND) -> Limbs:
    return open_polynomials(data, Kind.PARTIAL, round_, round_.polynomials, "p", holder)[1]


def noise_of(seed: bytes) -> Int64s:
    """What a set of holders adds at 0."""
    return RING.smudge(seed, Stream.SMUDGE, ROUND.polynomials, PARAMETERS.smudge_bits)


def opened_at_zero(clients: list[Client], holders: tuple[int, ...] = (1, 2, 3)) -> Limbs:
    parts = partials(clients, holders)
    rows = np.stack([body_of(parts[j], j) for j in holders], axis=1)
    return RING.combine(rows, shamir.modular_weights(RING, holders, 0))


def key_at_zero(clients: list[Client]) -> Limbs:
    """The product of the masks and the sum of the keys, coefficients."""
    three = np.stack([shares_of(clients, j).take()[0] for j in (1, 2, 3)])
    key = RING.combine(three, shamir.modular_weights(RING, (1, 2, 3), 0))
    return RING.coefficients(RING.multiply(masks(ROUND, 0, 2), key))


def test_parts_are_shares_of_the_sum_and_its_noise(clients: list[Client]) -> None:
    """At 0: A times the sum of the keys, and the noise of all ten sets, each in [-2^b, 2^b)."""
    seeds = dict[tuple[int, ...], bytes]()
    for j in HOLDERS:
        seeds |= shares_of(clients, j).take()[1]
    noises = [noise_of(seed) for seed in seeds.values()]
    assert len(noises) == 10
    for noise in noises:
        half = 2.0**PARAMETERS.smudge_bits
        assert 0.99 * half < abs(noise).max() <= half
        assert abs(noise.mean()) < half / 10
        assert abs((noise / half).var() - 1 / 3) < 0.05
    total = RING.add(key_at_zero(clients), RING.small(np.sum(noises, axis=0)))
    for holders in ((1, 2, 3), (1, 4, 5), (2, 3, 5)):
        assert np.array_equal(opened_at_zero(clients, holders), total)


def test_a_part_is_the_same_bytes_whoever_else_opens(clients: list[Client]) -> None:
    """So a retry, or another set of holders, tells nothing new: there is no second noise."""
    assert partials(clients) == partials(clients, range(5, 0, -1))
    assert partials(clients[::-1]) == partials(clients)


@pytest.mark.parametrize("corrupt", list(combinations(HOLDERS, 2)))
def test_t_minus_one_holders_learn_the_value_at_zero_only(
    clients: list[Client], corrupt: tuple[int, int]
) -> None:
    """All parts follow from theirs and D(0), so D(0) is all that parts tell. And the noise of the
    set of all others is none that they know: it hides the errors behind D(0)."""
    parts = partials(clients)
    zero = opened_at_zero(clients)
    rows = np.stack([zero, *(body_of(parts[j], j) for j in corrupt)], axis=1)
    for j in HOLDERS:
        weights = shamir.modular_weights(RING, (0, *corrupt), j)
        assert np.array_equal(RING.combine(rows, weights), body_of(parts[j], j))
    others = tuple(j for j in HOLDERS if j not in corrupt)
    known = dict[tuple[int, ...], bytes]()
    for j in corrupt:
        known |= shares_of(clients, j).take()[1]
    unknown = shares_of(clients, others[0]).take()[1][others]
    assert len(known) == 9
    assert others not in known
    seen = zero
    for seed in known.values():
        seen = RING.subtract(seen, RING.small(noise_of(seed)))
    left = RING.subtract(seen, key_at_zero(clients))
    assert np.array_equal(left, RING.small(noise_of(unknown)))


def test_denominators_tell_nothing_about_the_errors(clients: list[Client]) -> None:
    """Holders 4 and 5 against {1, 2, 3}: share_3 = s / 10 + what they know. With noise that each
    holder adds for itself, 10 d_3 would tell the sum modulo 10, errors included, however large the
    noise; with noise that is shared like the key, 10 D(3) tells it with the noise of all."""
    parts = partials(clients)
    known = [shares_of(clients, j).take()[0] for j in (4, 5)]
    weights = shamir.weights((0, 4, 5), 3)
    assert weights[0].denominator == 10
    product = RING.combine(np.stack(known), RING.residues([int(10 * w) for w in weights[1:]]))
    product = RING.coefficients(RING.multiply(masks(ROUND, 0, 2), product))
    truth = centred(RING.add(key_at_zero(clients), summed(clients).residues))

    def attack(part: Limbs) -> float:
        """How often 10 part - known + c is the truth modulo 10 (times 10 L_0(3) = 1)."""
        ten = RING.combine(part[:, None], RING.residues([10]))
        seen = RING.add(RING.subtract(ten, product), summed(clients).residues)
        return float(((centred(seen) - truth) % 10 == 0).mean())

    share = shares_of(clients, 3).take()[0]
    exact = RING.coefficients(RING.multiply(masks(ROUND, 0, 2), share))
    own = RING.smudge(os.urandom(32), 0, ROUND.polynomials, PARAMETERS.smudge_bits)
    assert attack(RING.add(exact, RING.small(own))) == 1.0
    assert attack(body_of(parts[3], 3)) < 0.15
    # Nor without the noise of the sets that 4 and 5 are in: that of {1, 2, 3} is not theirs.
    bare = body_of(parts[3], 3)
    for members, seed in shares_of(clients, 3).take()[1].items():
        if {4, 5} & set(members):
            weight = shamir.set_weight(RING, members, 5, 3)
            bare = RING.subtract(bare, RING.combine(RING.small(noise_of(seed))[:, None], weight))
    assert attack(bare) < 0.15


def centred(residues: Limbs) -> Any:
    """Centred coefficients as Python integers."""
    words = RING.lift(residues)
    return words[..., 0].astype(object) + (words[..., 1].view(np.int64).astype(object) << 64)


def test_a_set_of_holders_has_one_seed(clients: list[Client]) -> None:
    taken = {j: shares_of(clients, j).take()[1] for j in HOLDERS}
    assert sorted({members for seeds in taken.values() for members in seeds}) == holder_sets(ROUND)
    for members in holder_sets(ROUND):
        assert len({taken[j][members] for j in members}) == 1
        assert all(members not in taken[j] for j in HOLDERS if j not in members)
    assert len({seed for seeds in taken.values() for seed in seeds.values()}) == 10
    fewer = shares_of(clients[:2], 1).take()[1]
    assert not set(fewer.values()) & set(taken[1].values())
    assert shares_of(clients[::-1], 1).take()[1] == taken[1]


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (3, 5), (5, 5), (4, 7)])
def test_whoever_is_corrupt_one_set_is_of_all_others(threshold: int, holders: int) -> None:
    round_ = Round(RlweParameters.choose(2, threshold, holders, 30, 2), bytes(32), 9, 10)
    sets, everyone = holder_sets(round_), range(1, holders + 1)
    for corrupt in combinations(everyone, threshold - 1):
        assert [s for s in sets if not set(s) & set(corrupt)] == [
            tuple(j for j in everyone if j not in corrupt)
        ]
    for members in sets:  # 1 at 0, 0 at every holder outside, of degree below t
        outside = [j for j in everyone if j not in members]
        assert all(not shamir.set_weight(RING, members, holders, j).any() for j in outside)
        points = tuple(list(members)[:1] + outside)
        rows = np.stack([shamir.set_weight(RING, members, holders, j) for j in points])
        at_zero = shamir.modular_weights(RING, points, 0)
        for l, q in enumerate(RING.primes):  # noqa: E741 - the prime's number
            found = sum(int(w[l]) * int(r[0, l]) for w, r in zip(at_zero, rows, strict=True)) % q
            assert found == 1


def test_a_holder_answers_once(clients: list[Client]) -> None:
    total, shares = summed(clients), shares_of(clients, 1)
    partial(total, shares, 3)
    with pytest.raises(InvalidInput, match="answers once a round"):
        partial(total, shares, 3)
    with pytest.raises(InvalidInput, match="has been used"):
        shares.add(bytes(32), b"")


def test_a_partial_is_for_the_sum_of_the_same_keys(clients: list[Client]) -> None:
    """Sets that differ by one client: the shares of one do not serve the sum of the other."""
    for total, kept in ((clients, clients[:2]), (clients[:2], clients), (clients[:2], clients[1:])):
        with pytest.raises(InvalidInput, match="not of the same client keys"):
            partial(summed(total), shares_of(kept, 1), 1)
    later = Round(PARAMETERS, ROUND.session, 2, ROUND.values)
    with pytest.raises(InvalidInput, match="of another round"):
        partial(CiphertextSum(later), shares_of(clients, 1), 1)


# --- wrong parts ---------------------------------------------------------------------------------


def shifted(data: bytes, holder: int, by: Int64s | Limbs) -> bytes:
    """A part with integers (2, n), or residues, added."""
    added = RING.small(by) if by.dtype == np.int64 else by
    body = RING.add(body_of(data, holder), added)
    return data[:80] + RING.pack(body)


def at(coefficient: int, value: int) -> Int64s:
    found = np.zeros((2, RING.n), dtype=np.int64)
    found[coefficient // RING.n, coefficient % RING.n] = value
    return found


SHIFTS = {
    "one unit of the sum": at(5000, PARAMETERS.delta),
    "the least that there is": at(0, 1),
    "within the noise": at(8191, -(1 << 40)),
    "everywhere": np.full((2, RING.n), PARAMETERS.delta << 3),
}


@pytest.mark.parametrize("how", [*SHIFTS, "random", "zero", "another's"])
@pytest.mark.parametrize("holder", [1, 4])
def test_one_wrong_part_is_seen_and_its_holder_named(
    clients: list[Client], how: str, holder: int
) -> None:
    total, parts = summed(clients), partials(clients)
    if how in SHIFTS:
        wrong = shifted(parts[holder], holder, SHIFTS[how])
    elif how == "random":
        wrong = shifted(parts[holder], holder, RING.uniform(os.urandom(32), 0, 0, 2))
    else:
        body = bytes(len(parts[1]) - 80) if how == "zero" else parts[3][80:]
        wrong = parts[holder][:80] + body
    found = fuse(total, {**parts, holder: wrong})
    assert found.apart == (holder,)
    assert np.array_equal(found.values, expected(clients))
    assert not found.checked  # 4 agree: two corrupt ones of them could name an honest fifth
    others = {j: parts[j] for j in HOLDERS if j not in (holder, 5)}
    with pytest.raises(VerificationError, match="contradict each other"):
        fuse(total, {**others, holder: wrong})


def test_what_the_opening_of_t_parts_alone_would_take(clients: list[Client]) -> None:
    """Why t parts are not enough: one of three shifts the sum by one, and nothing shows it."""
    total, parts = summed(clients), partials(clients)
    weight = shamir.modular_weights(RING, (1, 2, 3), 0)[:1]
    inverse = np.array([[pow(int(w), -1, q) for w, q in zip(weight[0], RING.primes, strict=True)]])
    delta = RING.combine(RING.small(at(0, PARAMETERS.delta))[:, None], inverse.astype(np.uint64))
    found = fuse(total, {**{j: parts[j] for j in (2, 3)}, 1: shifted(parts[1], 1, delta)})
    assert found.values[0] == expected(clients)[0] + 1
    assert np.array_equal(found.values[1:], expected(clients)[1:])
    assert not found.checked
    whole = fuse(total, {**parts, 1: shifted(parts[1], 1, delta)})
    assert (whole.apart, whole.values[0]) == ((1,), expected(clients)[0])


def off(clients: list[Client], roots: tuple[int, ...], liars: tuple[int, ...]) -> dict[int, bytes]:
    """Parts of liars off by Delta times a polynomial that is 0 at the roots and 1 at 0."""
    parts = partials(clients)
    for j in liars:
        weight = shamir.modular_weights(RING, (0, *roots), j)[:1]
        by = RING.combine(RING.small(at(0, PARAMETERS.delta))[:, None], weight)
        parts[j] = shifted(parts[j], j, by)
    return parts


def test_t_minus_one_liars_together_are_never_checked(clients: list[Client]) -> None:
    """4 and 5 fit their parts to those of 1 and 2: then 3, which is honest, stands apart. Four of
    five agree on a shifted sum; that is why five must."""
    parts = off(clients, (1, 2), (4, 5))
    found = fuse(summed(clients), parts)
    assert found.values[0] == expected(clients)[0] + 1
    assert (found.agreed, found.apart, found.checked) == ((1, 2, 4, 5), (3,), False)


def test_only_t_liars_shift_a_checked_sum(clients: list[Client]) -> None:
    """The bound is the committee's own: t corrupt holders could open everything anyway."""
    parts = off(clients, (1, 2), (3, 4, 5))
    found = fuse(summed(clients), parts)
    assert found.checked
    assert found.values[0] == expected(clients)[0] + 1


def test_a_larger_committee_checks_although_some_lie_or_are_gone() -> None:
    """2 of 7: three agreeing parts are enough; the largest agreeing set is the honest one."""
    round_ = Round(RlweParameters.choose(2, 2, 7, 30, 2), bytes(32), 9, 10)
    two = [Client(seed, round_) for seed in range(2)]
    parts = partials(two, (1, 2, 4, 6), round_)
    junk = RING.pack(RING.uniform(os.urandom(32), 0))
    found = fuse(summed(two, round_), {**parts, 4: parts[4][:80] + junk})
    assert (found.agreed, found.apart, found.checked) == ((1, 2, 6), (4,), True)
    assert np.array_equal(found.values, expected(two))


@pytest.mark.parametrize("at_byte", [3, 12, 20, 60, -1])
def test_a_part_that_is_none_stands_apart(clients: list[Client], at_byte: int) -> None:
    """Malformed bytes of one holder do not keep the others from opening."""
    total, parts = summed(clients), partials(clients)
    for wrong in (flipped(parts[2], at_byte), parts[2][:-1], b"", clients[0].ciphertext):
        found = fuse(total, {**parts, 2: wrong})
        assert found.apart == (2,)
        assert np.array_equal(found.values, expected(clients))
    unreduced = parts[2][:80] + b"\xff" * (len(parts[2]) - 80)
    assert fuse(total, {**parts, 2: unreduced}).apart == (2,)


def test_parts_of_another_sum_holder_or_round_open_nothing(clients: list[Client]) -> None:
    total, three = summed(clients), (1, 2, 3)
    good = partials(clients, three)
    for bad, match in (
        (partials(clients[:2], three)[1], "partial of holder 1: of another sum"),
        (good[2], "not of holder 1"),
        (clients[0].ciphertext, "header of a partial"),
    ):
        with pytest.raises(InvalidInput, match=f"needed, 2 are there.*{match}"):
            fuse(total, {**good, 1: bad})
    with pytest.raises(InvalidInput, match="distinct numbers"):
        fuse(total, {**good, 6: good[1]})


def test_a_wrong_seed_of_a_set_is_seen(clients: list[Client]) -> None:
    """What a client dealt one holder otherwise, had the dealing check not found it."""
    total, parts = summed(clients), partials(clients)
    shares = ShareSum(ROUND, 2)
    shares.add(clients[0].name, flipped(clients[0].shares[1], -1))
    for client in clients[1:]:
        shares.add(client.name, client.shares[1])
    found = fuse(total, {**parts, 2: partial(total, shares, 3)})
    assert found.apart == (2,)


def test_one_flipped_bit_of_a_share_is_noticed(clients: list[Client]) -> None:
    total = summed(clients)
    parts = partials(clients, (1, 2, 4))
    shares = ShareSum(ROUND, 4)
    shares.add(clients[0].name, flipped(clients[0].shares[3], 80))
    for client in clients[1:]:
        shares.add(client.name, client.shares[3])
    parts[4] = partial(total, shares, 3)
    with pytest.raises(VerificationError, match="noise is too large: a part is wrong, or a client"):
        fuse(total, parts)
    assert fuse(total, {**partials(clients), 4: parts[4]}).apart == (4,)


def test_a_ciphertext_under_another_key_than_was_dealt_is_noticed(clients: list[Client]) -> None:
    """And the holders, whose parts agree, are out of it."""
    stranger = ClientKey(ROUND).encrypt(clients[0].values)
    forged = stranger[:48] + clients[0].name + stranger[80:]
    total = CiphertextSum(ROUND)
    total.add(forged, clients[0].name)
    for client in clients[1:]:
        total.add(client.ciphertext)
    parts = {j: partial(total, shares_of(clients, j), 3) for j in HOLDERS}
    with pytest.raises(VerificationError, match="parts are right, so a client encrypted under"):
        fuse(total, parts)


def test_values_beyond_the_last_are_refused(clients: list[Client]) -> None:
    """A client of a longer round that passes its ciphertext off as one of this round."""
    longer = Round(PARAMETERS, ROUND.session, ROUND.number, 2 * 4096 * 3)
    client = Client(1, longer, np.ones(longer.values, dtype=np.int64))
    opened = fuse(summed([client], longer), partials([client], (1, 2, 3), longer)).values
    assert opened.size == longer.values
    messages = pack_values(opened, RING.n, 20, 3)
    with pytest.raises(VerificationError, match="more than the values"):
        unpack_values(messages, ROUND.values, 20, 3)


# --- keys, seeds, bytes --------------------------------------------------------------------------


def test_a_key_encrypts_once() -> None:
    key = ClientKey(ROUND)
    values = np.zeros(ROUND.values, dtype=np.int64)
    key.encrypt(values)
    with pytest.raises(InvalidInput, match="encrypts once"):
        key.encrypt(values)


def test_a_key_binds_itself_to_one_dealing() -> None:
    key = ClientKey(ROUND)
    assert key.check(sha256(b"a")) == key.check(sha256(b"a"))
    with pytest.raises(InvalidInput, match="another dealing"):
        key.check(sha256(b"b"))


@pytest.mark.parametrize("make", [lambda: ClientKey(ROUND), lambda: ShareSum(ROUND, 1)])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_secrets_are_not_copied(
    make: Callable[[], object], how: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="never copied"):
        how(make())


def test_texts_show_no_secret() -> None:
    key = ClientKey(ROUND)
    key.encrypt(np.zeros(ROUND.values, dtype=np.int64))
    seed = bytes(key._seed)
    for text in (repr(key), str(key), repr(key.opening()), repr(ShareSum(ROUND, 2))):
        assert seed.hex() not in text
        assert "array" not in text


def test_a_wiped_key_does_nothing_more() -> None:
    key = ClientKey(ROUND)
    key.encrypt(np.zeros(ROUND.values, dtype=np.int64))
    key.wipe()
    for call in (key.deal, key.opening, lambda: key.check(bytes(32))):
        with pytest.raises(InvalidInput, match="wiped"):
            call()
    shares = ShareSum(ROUND, 1)
    shares.wipe()
    with pytest.raises(InvalidInput, match="used"):
        shares.take()


def test_random_polynomials_follow_from_everything_that_names_a_round() -> None:
    """No two rounds share a mask, so one key never meets one mask twice; nobody chooses it."""
    p = PARAMETERS
    rounds = [
        ROUND,
        Round(p, ROUND.session, 2, ROUND.values),
        Round(p, sha256(b"other"), 1, ROUND.values),
        Round(p, ROUND.session, 1, ROUND.values + 1),
        Round(RlweParameters.choose(5, 3, 5), ROUND.session, 1, ROUND.values),
        Round(RlweParameters.choose(4, 2, 5), ROUND.session, 1, ROUND.values),
        Round(RlweParameters.choose(4, 3, 6), ROUND.session, 1, ROUND.values),
        Round(RlweParameters.choose(4, 3, 5, 19), ROUND.session, 1, ROUND.values),
        Round(RlweParameters.choose(4, 3, 5, 20, 2), ROUND.session, 1, ROUND.values),
    ]
    assert len({r.seed for r in rounds}) == len(rounds)
    assert len({masks(r, 0, 1).tobytes() for r in rounds}) == len(rounds)
    two = masks(ROUND, 0, 2)
    assert not np.array_equal(two[0], two[1])
    assert np.array_equal(two[1], masks(ROUND, 1, 1)[0])
    checks = {
        check_mask(ROUND, k, d).tobytes()
        for k in (b"k" * 32, b"l" * 32)
        for d in (bytes(32), b"d" * 32)
    }
    assert len(checks) == 4


def test_the_same_mask_under_one_key_would_leak_the_difference(clients: list[Client]) -> None:
    """Why a key is for one round and encrypts once: the attack that this rules out."""
    key = ClientKey(ROUND)
    one = key.encrypt(clients[0].values)
    key._messages = None  # force what the class refuses
    two = key.encrypt(clients[1].values)
    (_, a), (_, b) = (open_polynomials(data, Kind.CIPHERTEXT, ROUND, 2, "c") for data in (one, two))
    from zkai.native_rlwe import round_off

    packed, _ = round_off(RING.tables, RING.subtract(a, b), PARAMETERS.delta)
    leaked = unpack_values(packed, ROUND.values, 20, 3)
    assert np.array_equal(leaked, clients[0].values - clients[1].values)


def test_bytes_equal_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ciphertext, check polynomial and shares of a known seed, with Python integers."""
    seed = bytes(range(32))
    monkeypatch.setattr(os, "urandom", lambda n: seed[:n])
    key = ClientKey(ROUND)
    monkeypatch.undo()
    assert key.identifier == sha256(b"zkai/rlwe/key/1\0" + ROUND.seed + seed)
    values = np.random.default_rng(5).integers(
        -PARAMETERS.bound, PARAMETERS.bound + 1, ROUND.values
    )
    n, primes = RING.n, RING.primes
    s = np.array(reference.ternary(seed, Stream.SECRET, 0, n), dtype=object)
    padded = [int(v) for v in values] + [0] * (2 * 3 * n - len(values))
    body = b""
    for m in range(2):
        digits = [padded[3 * (m * n + k) : 3 * (m * n + k) + 3] for k in range(n)]
        message = np.array([a + (b << 20) + (c << 40) for a, b, c in digits], dtype=object)
        error = np.array(reference.binomial(seed, Stream.ERROR, m, n), dtype=object)
        mask = reference.uniform(ROUND.seed, Stream.MASK, m, n, primes)
        rows = [
            (PARAMETERS.delta * message + error - product(a, s, q)) % q
            for a, q in zip(mask, primes, strict=True)
        ]
        body += reference.pack(rows, primes)
    header = b"zkairlwe" + bytes([0, 0, 0, 1]) + bytes(4) + ROUND.seed + key.identifier
    assert key.encrypt(values) == header + body

    digest = sha256(b"sealed")
    a_seed = sha256(b"zkai/rlwe/check/1\0" + ROUND.seed + key.identifier + digest)
    mask = reference.uniform(a_seed, Stream.CHECK, 0, n, primes)
    error = np.array(reference.binomial(seed, Stream.CHECK_ERROR, 0, n), dtype=object)
    rows = [(error - product(a, s, q)) % q for a, q in zip(mask, primes, strict=True)]
    check = key.check(digest)[80:]
    assert check[:55296] == reference.pack(rows, primes)

    shares = key.deal()
    free = [sha256(b"zkai/rlwe/share/1\0" + seed + j.to_bytes(32, "big")) for j in (1, 2)]
    assert [share[80:112] for share in shares[:2]] == free
    known = [reference.uniform(x, Stream.SHARE, 0, n, primes) for x in free]
    for j in (3, 4, 5):
        rows = [
            reference.interpolate((0, 1, 2), [reference.ntt(s, q), one, two], j, q)
            for one, two, q in zip(*known, primes, strict=True)
        ]
        body = shares[j - 1][80:]
        assert body[:55296] == reference.pack(rows, primes)
        masks_ = [reference.uniform(x, Stream.SHARE_MASK, 0, 128, primes) for x in free]
        y = np.array(reference.smudge(seed, Stream.PROJECTION, 0, 128, 44), dtype=object)
        rows = [
            reference.interpolate((0, 1, 2), [y % q, one, two], j, q)
            for one, two, q in zip(*masks_, primes, strict=True)
        ]
        assert body[55296:-192] == reference.pack(rows, primes)
    of_set = sha256(b"zkai/rlwe/set/1\0" + seed + (1 << 1 | 1 << 2 | 1 << 5).to_bytes(32, "big"))
    assert shares[4][-192:-160] == of_set  # of 5's sets, 125 is the first
    assert shares[0][-192:][2 * 32 : 3 * 32] == of_set  # of 1's sets after 123 and 124
    tag = sha256(b"zkai/rlwe/seed-tag/1\0" + ROUND.seed + key.identifier + of_set)
    assert check[55296:][2 * 32 : 3 * 32] == tag


def product(mask: object, s: object, q: int) -> object:
    """A s in coefficient form, A given in NTT form."""
    return reference.inverse_ntt(mask * reference.ntt(s, q) % q, q)  # type: ignore[operator]


# --- refusals ------------------------------------------------------------------------------------


def test_values_above_the_bound_are_refused() -> None:
    for sign in (1, -1):
        values = np.zeros(ROUND.values, dtype=np.int64)
        values[77] = sign * (PARAMETERS.bound + 1)
        with pytest.raises(InvalidInput, match=f"at most {PARAMETERS.bound} in size"):
            ClientKey(ROUND).encrypt(values)
    smallest = np.full(ROUND.values, np.iinfo(np.int64).min)
    with pytest.raises(InvalidInput, match="in size"):
        ClientKey(ROUND).encrypt(smallest)


@pytest.mark.parametrize(
    "values",
    [np.zeros(12_999, np.int64), np.zeros((13_000, 1), np.int64), np.zeros(13_000), [0] * 13_000],
)
def test_values_of_another_shape_or_type_are_refused(values: object) -> None:
    with pytest.raises(InvalidInput, match="encrypt: expected"):
        ClientKey(ROUND).encrypt(values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((1 << 19, 3, 5), "1..65536 clients"),
        ((0, 3, 5), "1..65536 clients"),
        ((100, 3, 5, 7), "overflows 7 bits"),
        ((10, 3, 5, 22, 3), "no room for 39 bits of smudging"),
        ((10, 3, 5, 33, 2), "no room"),
        ((10, 1, 5), "2 <= threshold"),
        ((10, 6, 5), "2 <= threshold"),
        ((10, 5, 11), "holders <= 10"),
        ((10, 3, 5, 1), "bits a value"),
        ((10, 3, 5, 20, 0), "values a coefficient"),
    ],
)
def test_parameters_that_would_decrypt_wrongly_are_refused(
    arguments: tuple[int, ...], match: str
) -> None:
    with pytest.raises(InvalidInput, match=match):
        RlweParameters.choose(*arguments)


@pytest.mark.parametrize("threshold", [2, 3, 5, 9])
@pytest.mark.parametrize("clients", [1, 10, 1000, 30_000])
@pytest.mark.parametrize(("bits", "count"), [(20, 3), (30, 2), (20, 2), (60, 1), (16, 3)])
def test_chosen_parameters_leave_room(threshold: int, clients: int, bits: int, count: int) -> None:
    p = RlweParameters.choose(clients, threshold, 10, bits, count)
    assert 2 * p.noise_bound < p.delta
    assert p.clients * p.bound < 1 << (bits - 1)
    largest = sum(p.clients * p.bound << bits * i for i in range(count))
    assert p.delta * largest + p.noise_bound < RING.modulus // 2
    assert p.smudge_bits == 61 or 2 * (p.noise_bound + (p.sets << p.smudge_bits)) >= p.delta


def test_the_figures_of_the_documentation() -> None:
    p = RlweParameters.choose(10, 3, 5)
    assert (p.smudge_bits, p.bound) == (43, 52_428)
    assert p.client_bytes(10**6) / 4e6 < 1.191
    assert 16.5 < p.statistical_bits(10**6) < 17.5
    assert p.statistical_bits(10**6, 8) == pytest.approx(p.statistical_bits(10**6) - 3)
    wide = RlweParameters.choose(10, 3, 5, values_per_coefficient=2)
    assert wide.smudge_bits == 61
    assert RlweParameters.from_json(p.to_json()) == p


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"clients": "10"}, {"clients": True}, {"holders": None}, {"more": 1}],
)
def test_parameters_from_strangers(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="parameters"):
        RlweParameters.from_json({**PARAMETERS.to_json(), **change})
    with pytest.raises(InvalidInput, match="parameters"):
        RlweParameters.from_json([1])


def test_rings_below_128_bits_of_security_are_refused() -> None:
    with pytest.raises(InvalidInput, match="less than 128 bits"):
        Ring(4096, (*RING.primes, 36028797018652673))
    with pytest.raises(InvalidInput, match="less than 128 bits"):
        Ring(2048, RING.primes)
    with pytest.raises(InvalidInput, match="n must be one of"):
        Ring(512, (12289,))
    with pytest.raises(InvalidInput, match="no prime"):
        Ring(4096, (8192 * 81920000 + 1,))
    with pytest.raises(InvalidInput, match="distinct"):
        Ring(8192, (RING.primes[1], RING.primes[1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[:80],
        lambda data: flipped(data, 0),
        lambda data: flipped(data, 11),
        lambda data: flipped(data, 15),
        lambda data: flipped(data, 20),
        lambda data: flipped(data, 60),
        lambda data: data[:80] + b"\xff" * (len(data) - 80),
    ],
    ids=[
        "short",
        "long",
        "empty",
        "no body",
        "magic",
        "kind",
        "holder",
        "round",
        "key",
        "residues",
    ],
)
def test_bytes_that_are_no_ciphertext_or_share_are_refused(
    clients: list[Client], change: Callable[[bytes], bytes]
) -> None:
    client, total = clients[0], CiphertextSum(ROUND)
    with pytest.raises(InvalidInput, match="ciphertext"):
        total.add(change(client.ciphertext), client.name)
    assert not total.keys
    assert not total.residues.any()
    with pytest.raises(InvalidInput, match="share"):
        open_share(ROUND, 4, client.name, change(client.shares[3]))


def test_a_seed_is_a_share_of_the_first_holders_only(clients: list[Client]) -> None:
    client = clients[0]
    assert [len(share) for share in client.shares] == [304, 304, 57296, 57296, 57296]
    opened = open_share(ROUND, 1, client.name, client.shares[0])
    assert np.array_equal(opened.polynomial, share_from_seed(client.shares[0][80:112]))
    assert "array" not in repr(opened)
    for holder in (2, 3):
        with pytest.raises(InvalidInput, match="share"):
            open_share(ROUND, holder, client.name, client.shares[0])
    with pytest.raises(InvalidInput, match="distinct numbers"):
        open_share(ROUND, 6, client.name, client.shares[0])


# --- sums ----------------------------------------------------------------------------------------


def test_a_key_enters_a_sum_once(clients: list[Client]) -> None:
    total = summed(clients)
    with pytest.raises(InvalidInput, match="in it already"):
        total.add(clients[0].ciphertext)
    with pytest.raises(InvalidInput, match="in it already"):
        total.merge(summed(clients[:1]))
    shares = shares_of(clients, 1)
    with pytest.raises(InvalidInput, match="in it already"):
        shares.add(clients[0].name, clients[0].shares[0])


def test_more_clients_than_the_parameters_allow_are_refused(clients: list[Client]) -> None:
    total = summed(clients)
    total.add(Client(7).ciphertext)
    with pytest.raises(InvalidInput, match="more than 4 clients"):
        total.add(Client(8).ciphertext)


def test_clusters_merge_into_the_global_sum(clients: list[Client]) -> None:
    left, right = summed(clients[:2]), summed(clients[2:])
    read = CiphertextSum.from_bytes(ROUND, right.to_bytes(), right.keys)
    left.merge(read)
    assert left.to_bytes() == summed(clients).to_bytes()
    assert left.digest == summed(list(reversed(clients))).digest
    with pytest.raises(InvalidInput, match="not of the keys"):
        CiphertextSum.from_bytes(ROUND, right.to_bytes(), [clients[0].name])
    with pytest.raises(InvalidInput, match="listed twice"):
        CiphertextSum.from_bytes(ROUND, right.to_bytes(), [clients[2].name] * 2)
    other = Round(PARAMETERS, ROUND.session, 2, ROUND.values)
    with pytest.raises(InvalidInput, match="another round"):
        left.merge(CiphertextSum(other))


def test_the_digest_of_a_sum_follows_it(clients: list[Client]) -> None:
    total = summed(clients[:2])
    before = total.digest
    total.add(clients[2].ciphertext)
    assert total.digest != before
    assert total.digest == sha256(total.to_bytes())


def test_fingerprints_are_linear_and_show_one_flipped_bit(clients: list[Client]) -> None:
    challenge = sha256(b"after all ciphertexts")
    total = summed(clients).to_bytes()
    parts = [fingerprint(ROUND, client.ciphertext, challenge) for client in clients]
    verify_fingerprints(parts, fingerprint(ROUND, total, challenge))
    for at, bit in ((80, 0), (len(total) - 1, 0), (80 + 27648, 3)):
        altered = fingerprint(ROUND, flipped(total, at, bit), challenge)
        with pytest.raises(VerificationError, match="not the sum"):
            verify_fingerprints(parts, altered)
    with pytest.raises(VerificationError, match="not the sum"):
        verify_fingerprints(parts[1:], fingerprint(ROUND, total, challenge))


def test_a_ciphertext_says_whose_it_claims_to_be(clients: list[Client]) -> None:
    assert subject_of(clients[0].ciphertext, "c") == clients[0].name
    with pytest.raises(InvalidInput, match="not of"):
        CiphertextSum(ROUND).add(clients[0].ciphertext, clients[1].name)
    with pytest.raises(InvalidInput, match="too short"):
        subject_of(b"zkairlwe", "c")


# --- packing and shares --------------------------------------------------------------------------


@given(
    st.integers(2, 30),
    st.integers(1, 5),
    st.lists(st.integers(-(1 << 29), (1 << 29) - 1), min_size=1, max_size=30),
)
def test_packing_keeps_sums(bits: int, count: int, numbers: list[int]) -> None:
    if bits * count > 62:
        return
    half = 1 << (bits - 1)
    values = np.array([x % (2 * half) - half for x in numbers], dtype=np.int64)
    packed = pack_values(values, 4, bits, count)
    assert packed.shape == (-(-len(numbers) // (4 * count)), 4)
    assert np.array_equal(unpack_values(packed, len(numbers), bits, count), values)
    parts = values // 3
    both = pack_values(parts, 4, bits, count) + pack_values(values - parts, 4, bits, count)
    assert np.array_equal(unpack_values(both, len(numbers), bits, count), values)


def test_weights_interpolate() -> None:
    def f(x: int) -> int:
        return 5 - 7 * x + 3 * x * x

    for points in combinations(range(7), 3):
        for at in range(7):
            d, w = shamir.whole_weights(points, at)
            assert d * f(at) == sum(a * f(j) for a, j in zip(w, points, strict=True))
