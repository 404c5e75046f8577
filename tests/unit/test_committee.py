"""Making a key together, and handing it on: every party that cheats is named, nothing leaks."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.unit.ckks_support import (
    NAMES,
    SEED,
    SESSION,
    SMALL,
    Messages,
    ciphertexts,
    committee,
    dealt,
    logged,
    opened,
    reshared,
    respond_all,
    scheme,
    terms,
)
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he import key_dealing
from zkai.he.ckks import Ckks, CkksSum
from zkai.he.committee import Ceremony, start, start_resharing
from zkai.he.joint_key import HolderKey, JointKey, weight
from zkai.he.key_dealing import Dealing, Opening, Share, Terms, deal, parse_response
from zkai.he.projection import ROWS, Projection, interpolate, largest
from zkai.he.ring import ERROR_BOUND
from zkai.he.shamir import modular_weights

pytest.importorskip("tenseal.sealapi")

RING = SMALL.ring


@cache
def honest() -> dict[int, Dealing]:
    given = terms()
    return dealt(given, lambda dealer: start(given, dealer))


def begun(changed: dict[int, Dealing] | None = None) -> tuple[Ceremony, Messages]:
    return opened(terms(), honest() | (changed or {}))


def joint_secret(keys: dict[int, HolderKey], places: tuple[int, ...]) -> Limbs:
    """What a test may do and nobody else: put the key together."""
    shares = np.stack([keys[j].share for j in places])
    return RING.combine(shares, modular_weights(RING, places, 0))


def resealed(given: Terms, dealing: Dealing, holder: int, message: bytes) -> Dealing:
    """The dealing with another private message for a holder, committed to as such."""
    messages = tuple(message if h == holder else m for h, m in enumerate(dealing.messages, 1))
    digests = tuple(key_dealing._share_digest(m) for m in messages)
    return Dealing(replace(dealing.opening, shares=digests), messages)


def share_of(dealing: Dealing, holder: int) -> Share:
    return Share.from_bytes(terms(), dealing.opening, holder, dealing.messages[holder - 1])


def with_share(dealing: Dealing, holder: int, value: Limbs) -> Dealing:
    """A dealer who gives one holder another share and commits to it."""
    changed = replace(share_of(dealing, holder), value=value)
    return resealed(terms(), dealing, holder, changed.to_bytes(terms()))


def plus_one(value: Limbs) -> Limbs:
    changed = value.copy()
    changed[0, 0] = (changed[0, 0] + np.uint64(1)) % np.uint64(SMALL.primes[0])
    return changed


# --- an honest ceremony ---------------------------------------------------------------------------


def test_the_key_is_a_sum_of_small_secrets_and_any_three_hold_it() -> None:
    joint, keys = committee()
    secret = joint_secret(keys, (1, 2, 3))
    assert np.array_equal(secret, joint_secret(keys, (2, 4, 5)))
    assert not np.array_equal(secret, joint_secret(keys, (2, 4)))
    b, a = joint.key
    error = RING.coefficients(RING.add(b, RING.multiply(a, secret)))
    assert largest(RING, RING.coefficients(secret)) <= 5
    assert 0 < largest(RING, error) <= 5 * ERROR_BOUND


def test_the_joint_key_is_seals_file_and_its_id_its_digest() -> None:
    joint, keys = committee()
    data = joint.to_seal()
    assert JointKey.from_seal(SMALL, data).id == joint.id == keys[2].key_id
    with pytest.raises(InvalidInput, match="public key"):
        JointKey.from_seal(SMALL, data[:-1])


def test_sets_of_holders_have_keys_that_nobody_else_has() -> None:
    """Each pair, for shares of zero, and each set of n - t + 1, for noise."""
    given, keys = terms(), committee()[1]
    assert [len(s) for s in given.sets].count(2) == [len(s) for s in given.sets].count(3) == 10
    for members in given.sets:
        assert tuple(j for j in keys if members in keys[j].sets) == members
        assert len({keys[j].sets[members] for j in members}) == 1
    assert len({secret for key in keys.values() for secret in key.sets.values()}) == 20
    two_of_three = Terms(SMALL, 2, ("ann", "bob", "cid"), bytes(32))
    assert two_of_three.sets == [(1, 2), (1, 3), (2, 3)]


def test_zero_shares_add_up_to_zero_and_each_is_another_with_every_set() -> None:
    _, keys = committee()
    ring = SMALL.data_ring
    blinds = {j: keys[j].blind(ring, (1, 3, 4), b"sum", 0, 2) for j in (1, 3, 4)}
    total = ring.add(ring.add(blinds[1], blinds[3]), blinds[4])
    assert not total.any()
    for other in (
        keys[1].blind(ring, (1, 3, 5), b"sum", 0, 2),
        keys[1].blind(ring, (1, 3, 4), b"another", 0, 2),
        blinds[3],
    ):
        assert not np.array_equal(blinds[1], other)
    assert np.array_equal(keys[1].blind(ring, (4, 3, 1), b"sum", 1, 1)[0], blinds[1][1])
    with pytest.raises(InvalidInput, match="not one of the active"):
        keys[1].blind(ring, (2, 3, 4), b"sum", 0, 1)
    with pytest.raises(InvalidInput, match="3 are needed"):
        keys[1].blind(ring, (1, 3), b"sum", 0, 1)


def test_messages_have_one_form_each() -> None:
    given, dealing = terms(), honest()[2]
    opening, message = dealing.opening.to_bytes(given), dealing.messages[3]
    assert Opening.from_bytes(given, opening).to_bytes(given) == opening
    share = Share.from_bytes(given, dealing.opening, 4, message)
    assert share.to_bytes(given) == message
    assert len(message) == Share.bytes_each(given)
    key = committee()[1][3]
    assert HolderKey.from_bytes(SMALL, key.to_bytes()).to_bytes() == key.to_bytes()
    for data in (opening[:-1], opening + b"\0", b"", b"\1" + opening[1:]):
        with pytest.raises(InvalidInput, match="opening"):
            Opening.from_bytes(given, data)
    over = opening[:-8] + SMALL.primes[-1].to_bytes(8, "little")
    with pytest.raises(InvalidInput, match="below its prime"):
        Opening.from_bytes(given, over)
    good = key.to_bytes()
    start = len(good) - key.share.nbytes - 34 * len(key.sets)
    first, second = good[start : start + 34], good[start + 34 : start + 68]
    swapped = good[:start] + second + first + good[start + 68 :]
    for data in (good[:-1], b"", good[:-8] + b"\xff" * 8, swapped):
        with pytest.raises(InvalidInput, match="holder's key"):
            HolderKey.from_bytes(SMALL, data)


def test_secrets_do_not_show() -> None:
    _, keys = committee()
    dealing = honest()[1]
    for thing in (keys[1], dealing, share_of(dealing, 2)):
        assert "array" not in repr(thing).replace("public=array", "")
        assert dealing.messages[1][100:120].hex() not in repr(thing)


@pytest.mark.parametrize(
    ("threshold", "names"),
    [(1, NAMES), (4, NAMES), (3, NAMES[:4]), (2, NAMES[:2]), (3, ("ann", *NAMES[:4])), (3, ("",))],
)
def test_terms_that_cannot_be_safe_are_refused(threshold: int, names: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="terms"):
        Terms(SMALL, threshold, names, SESSION)


def test_the_common_polynomial_follows_from_the_terms() -> None:
    assert np.array_equal(terms().common(), terms().common())
    other = terms(session=bytes(32))
    assert not np.array_equal(terms().common(), other.common())


# --- the projections ------------------------------------------------------------------------------


def test_projections_are_exact_and_linear() -> None:
    projection = Projection.from_seed(SEED, SMALL.n)
    x, y = RING.uniform(SEED, 1, 0, 2)
    found = projection.apply(RING, x)
    integers = RING.coefficients(x).astype(object)
    matrix = projection.matrix.astype(np.int64).astype(object)
    primes = np.array(SMALL.primes, dtype=object)[:, None]
    assert np.array_equal(found, ((integers @ matrix.T) % primes).astype(np.uint64))
    both = projection.apply(RING, RING.add(x, y)).astype(object)
    assert np.array_equal(both, (found.astype(object) + projection.apply(RING, y)) % primes)


def test_a_large_coefficient_anywhere_shows_in_about_half_of_the_rows() -> None:
    projection = Projection.from_seed(SEED, SMALL.n)
    for size in (key_dealing.BOUND * 4, SMALL.ring.modulus // 2, SMALL.primes[0] * SMALL.primes[1]):
        x = np.array([[size % q] + [0] * (SMALL.n - 1) for q in SMALL.primes], dtype=np.uint64)
        found = projection.apply(RING, RING.ntt(x))
        seen = [largest(RING, found[:, [row]]) >= 2 * key_dealing.BOUND for row in range(ROWS)]
        assert 32 < sum(seen) < 96


def test_values_off_the_polynomial_are_seen() -> None:
    values = {j: np.full((3, 2), 5 + 7 * j + 11 * j * j, np.uint64) for j in (1, 2, 3, 5)}
    assert np.array_equal(interpolate(RING, values, 3), np.full((3, 2), 5))
    assert interpolate(RING, values | {5: values[5] + np.uint64(1)}, 3) is None
    with pytest.raises(InvalidInput, match="3 are needed"):
        interpolate(RING, {1: values[1], 2: values[2]}, 3)


# --- dealers that cheat ---------------------------------------------------------------------------


def test_a_rogue_key_is_refused_by_the_commitment() -> None:
    """eve waits for the others' b_i, to publish b' - sum of them, whose secret she alone knows."""
    given = terms()
    own = start(given, 5).opening.public
    others = [honest()[d].opening.public for d in (1, 2, 3, 4)]
    rogue = own
    for public in others:
        rogue = RING.subtract(rogue, public)
    total = rogue
    for public in others:
        total = RING.add(total, public)
    assert np.array_equal(total, own)  # without commitments the joint key would be hers alone
    ceremony = Ceremony(given)
    for dealer, dealing in honest().items():
        ceremony.commit(dealer, dealing.opening.commitment(given))
    for dealer in (1, 2, 3, 4):
        ceremony.open(dealer, honest()[dealer].opening.to_bytes(given))
    with pytest.raises(InvalidInput, match="no more commitments"):
        ceremony.commit(5, bytes(32))
    ceremony.open(5, replace(honest()[5].opening, public=rogue).to_bytes(given))
    ceremony.close_openings()
    assert ceremony.excluded == {"eve": "opened something else than it committed to"}
    assert ceremony.qualified == [1, 2, 3, 4]


def test_a_rogue_key_that_was_guessed_is_refused_by_the_shares() -> None:
    """Had she known the others' before she committed, her shares would not be of its secret."""
    rogue = honest()[5].opening.public
    for dealer in (1, 2, 3, 4):
        rogue = RING.subtract(rogue, honest()[dealer].opening.public)
    dealing = Dealing(replace(honest()[5].opening, public=rogue), honest()[5].messages)
    ceremony, messages = begun({5: dealing})
    assert respond_all(ceremony, messages) == [5]
    ceremony.settle(5, {h: messages[h][5] for h in ceremony.holders})
    assert ceremony.excluded == {"eve": "dealt shares that are not of one small value"}


def test_a_flipped_bit_in_a_share_names_its_dealer() -> None:
    """bob deals cid another share, and commits to it: only the projections can show it."""
    bad = with_share(honest()[2], 3, plus_one(share_of(honest()[2], 3).value))
    ceremony, messages = begun({2: bad})
    assert respond_all(ceremony, messages) == [2]
    with pytest.raises(VerificationError, match=r"\[2\] are in dispute"):
        ceremony.conclude()
    ceremony.settle(2, {h: messages[h][2] for h in ceremony.holders})
    assert list(ceremony.excluded) == ["bob"]
    joint = ceremony.conclude()
    keys = {h: ceremony.holder_key(h, messages[h]) for h in ceremony.holders}
    assert sorted(keys) == [1, 3, 4, 5]
    secret = joint_secret(keys, (1, 3, 4))
    assert np.array_equal(secret, joint_secret(keys, (3, 4, 5)))
    error = RING.coefficients(RING.add(joint.key[0], RING.multiply(joint.key[1], secret)))
    assert largest(RING, error) <= 4 * ERROR_BOUND
    assert keys[1].holders == 5  # noise is still shared among all places, bob's too


def test_a_share_whose_error_is_small_under_a_is_seen_too() -> None:
    """share + eta / a for a small eta: a times it is right but for eta, c1 times it is garbage.

    A check that publishes a share + noise, and looks whether the sum with b is small, passes it.
    """
    inverse = RING.ntt(RING.small(RING.ternary(os.urandom(32), 0)[0]))
    common = terms().common()
    for row, q in enumerate(SMALL.primes):
        found = [x * pow(int(y), -1, q) % q for x, y in zip(
            inverse[row].tolist(), common[row].tolist(), strict=True)]  # fmt: skip
        inverse[row] = found
    value = share_of(honest()[2], 3).value
    bad = with_share(honest()[2], 3, RING.add(value, inverse))
    drift = RING.multiply(common, RING.subtract(share_of(bad, 3).value, value))
    assert largest(RING, RING.coefficients(drift)) <= 1
    ceremony, messages = begun({2: bad})
    assert respond_all(ceremony, messages) == [2]


@pytest.mark.parametrize("what", ["secret", "error"])
def test_a_part_that_would_drown_the_sums_is_refused(what: str) -> None:
    """(Q + 1) / 2 (1 + X + ...) is 1 / (1 - X): large, though (1 - X) times it is 1."""
    given = terms()
    large = np.array([[(RING.modulus + 1) // 2 % q] * SMALL.n for q in SMALL.primes], np.uint64)
    small = RING.small(RING.ternary(os.urandom(32), 0)[0])
    secret, error = (large, small) if what == "secret" else (small, large)
    secret, error = RING.ntt(secret), RING.ntt(error)
    b = RING.subtract(RING.zeros(), RING.add(RING.multiply(given.common(), secret), error))
    ceremony, messages = begun({4: deal(given, 4, secret, b)})
    assert respond_all(ceremony, messages) == [4]
    assert what in str(ceremony._verdict(4))
    ceremony.settle(4, {h: messages[h][4] for h in ceremony.holders})
    assert list(ceremony.excluded) == ["dan"]


def test_who_does_not_open_or_opens_rubbish_is_excluded() -> None:
    given = terms()
    ceremony = Ceremony(given)
    for dealer, dealing in honest().items():
        ceremony.commit(dealer, dealing.opening.commitment(given))
    for dealer in (1, 2, 3):
        ceremony.open(dealer, honest()[dealer].opening.to_bytes(given))
    ceremony.open(4, b"rubbish")
    ceremony.close_openings()
    assert "opened nothing of use" in ceremony.excluded["dan"]
    assert ceremony.excluded["eve"] == "did not open a commitment"
    with pytest.raises(InvalidInput, match="too late"):
        ceremony.open(5, honest()[5].opening.to_bytes(given))


def test_a_message_comes_once_and_in_its_phase() -> None:
    given = terms()
    ceremony = Ceremony(given)
    commitment = honest()[1].opening.commitment(given)
    ceremony.commit(1, commitment)
    for dealer, data in ((1, commitment), (9, commitment), (2, b"short")):
        with pytest.raises(InvalidInput, match="ceremony"):
            ceremony.commit(dealer, data)
    with pytest.raises(InvalidInput, match="not closed"):
        _ = ceremony.projection
    opening = honest()[1].opening.to_bytes(given)
    ceremony.open(1, opening)
    with pytest.raises(InvalidInput, match="again"):
        ceremony.open(1, opening)


def test_another_dealers_opening_is_not_ones_own() -> None:
    given = terms()
    ceremony = Ceremony(given)
    copied = honest()[1].opening
    ceremony.commit(1, copied.commitment(given))
    ceremony.commit(2, copied.commitment(given))
    ceremony.open(1, copied.to_bytes(given))
    ceremony.open(2, copied.to_bytes(given))
    assert list(ceremony.excluded) == ["bob"]


# --- complaints -----------------------------------------------------------------------------------


def test_a_bad_message_is_complained_about_and_its_dealer_excluded() -> None:
    ceremony, messages = begun()
    garbled = bytearray(messages[3][2])
    garbled[-1] ^= 1
    messages[3][2] = bytes(garbled)
    with pytest.raises(VerificationError, match="dealer 2 for holder 3: not what the dealer"):
        ceremony.accept(2, 3, messages[3][2])
    ceremony.complain(2, 3, messages[3][2])
    assert list(ceremony.excluded) == ["bob"]
    assert respond_all(ceremony, messages) == []
    ceremony.conclude()


def test_a_false_complaint_names_the_one_who_complained() -> None:
    ceremony, messages = begun()
    ceremony.complain(2, 3, messages[3][2])
    assert ceremony.excluded == {"cid": "complained about a share that is good"}
    assert ceremony.qualified == ceremony.holders == [1, 2, 4, 5]
    assert respond_all(ceremony, messages) == []
    ceremony.conclude()


def test_a_committed_share_of_a_bad_form_is_the_dealers_fault() -> None:
    dealing = honest()[2]
    wrong = {
        "short": dealing.messages[2][:-1],
        "another holder's": dealing.messages[3],
        "not canonical": dealing.messages[2][:36] + b"\xff" * 8 + dealing.messages[2][44:],
        "another pair's seed": dealing.messages[2][:-32] + bytes(32),
    }
    for message in wrong.values():
        bad = resealed(terms(), dealing, 3, message)
        ceremony, _ = begun({2: bad})
        with pytest.raises((InvalidInput, VerificationError), match="dealer 2"):
            ceremony.accept(2, 3, message)
        ceremony.complain(2, 3, message)
        assert list(ceremony.excluded) == ["bob"]


def test_complaints_end_before_the_responses_begin() -> None:
    ceremony, messages = begun()
    with pytest.raises(InvalidInput, match="complaints are not closed"):
        ceremony.respond(1, b"")
    ceremony.close_complaints()
    with pytest.raises(InvalidInput, match="too late"):
        ceremony.complain(2, 3, messages[3][2])


# --- holders that cheat ---------------------------------------------------------------------------


def lying_response(ceremony: Ceremony, messages: Messages, holder: int, about: int) -> bytes:
    data = ceremony.answer(holder, messages[holder])
    _, said = parse_response(ceremony.terms, ceremony.qualified, data)
    said[about] = plus_one(said[about])
    return key_dealing.response_bytes(ceremony.terms, holder, said)


def test_a_holder_that_responds_wrongly_is_named_and_the_dealer_is_not() -> None:
    ceremony, messages = begun()
    ceremony.close_complaints()
    for holder in (1, 2, 3, 5):
        ceremony.respond(holder, ceremony.answer(holder, messages[holder]))
    ceremony.respond(4, lying_response(ceremony, messages, 4, about=1))
    assert ceremony.close_responses() == [1]
    ceremony.settle(1, {h: messages[h][1] for h in ceremony.holders})
    assert list(ceremony.excluded) == ["dan"]
    assert "responded something else" in ceremony.excluded["dan"]
    assert ceremony.qualified == [2, 3, 5]  # ann's part was shown, so it is not used
    ceremony.conclude()


def test_a_holder_that_shows_nothing_or_something_else_in_a_dispute_is_named() -> None:
    for shown in (b"", honest()[2].messages[0]):
        ceremony, messages = begun()
        ceremony.close_complaints()
        for holder in (1, 2, 3, 5):
            ceremony.respond(holder, ceremony.answer(holder, messages[holder]))
        ceremony.respond(4, lying_response(ceremony, messages, 4, about=1))
        ceremony.close_responses()
        ceremony.settle(1, {h: messages[h][1] for h in (1, 2, 3, 5)} | {4: shown})
        assert "did not show" in ceremony.excluded["dan"]


def test_two_corrupt_holders_cannot_cover_for_a_bad_dealer() -> None:
    """dan and eve adjust what they say so that every sum over sets with them looks right."""
    value = share_of(honest()[5], 1).value
    bad = with_share(honest()[5], 1, plus_one(value))
    ceremony, messages = begun({5: bad})
    assert respond_all(ceremony, messages) == [5]
    good = {h: ceremony.responses[h][5] for h in (1, 2, 3)}
    points = (1, 2, 3)
    for liar in (4, 5):  # put them on the polynomial through the three honest answers
        total = np.zeros_like(good[1]).astype(object)
        for j, weights in zip(points, modular_weights(RING, points, liar), strict=True):
            total = total + good[j].astype(object) * weights.astype(object)[:, None]
        primes = np.array(SMALL.primes, dtype=object)[:, None]
        ceremony.responses[liar][5] = (total % primes).astype(np.uint64)
    ceremony._verdicts.clear()
    assert "not small" in str(ceremony._verdict(5))


def test_who_says_nothing_or_rubbish_is_excluded() -> None:
    ceremony, messages = begun()
    ceremony.close_complaints()
    for holder in (1, 2, 3):
        ceremony.respond(holder, ceremony.answer(holder, messages[holder]))
    ceremony.respond(4, ceremony.answer(4, messages[4])[:-1])
    with pytest.raises(InvalidInput, match="has responded"):
        ceremony.respond(3, ceremony.answer(3, messages[3]))
    assert ceremony.close_responses() == []
    assert "responded nothing of use" in ceremony.excluded["dan"]
    assert ceremony.excluded["eve"] == "did not respond"
    ceremony.conclude()


def test_who_is_excluded_among_the_responses_changes_nothing_for_those_after() -> None:
    """Honest holders answer about the same dealers, whenever they answer."""
    ceremony, messages = begun()
    ceremony.close_complaints()
    ceremony.respond(1, ceremony.answer(1, messages[1]))
    early = ceremony.answer(3, messages[3])
    ceremony.respond(2, b"rubbish")
    ceremony.respond(3, early)
    ceremony.respond(4, ceremony.answer(4, messages[4]))
    ceremony.respond(5, ceremony.answer(5, messages[5]))
    assert list(ceremony.excluded) == ["bob"]
    assert ceremony.close_responses() == []
    assert ceremony.qualified == [1, 3, 4, 5]
    ceremony.conclude()


def test_a_response_is_ones_own() -> None:
    ceremony, messages = begun()
    ceremony.close_complaints()
    ceremony.respond(2, ceremony.answer(1, messages[1]))
    assert ceremony.excluded == {"bob": "responded for another"}


def test_a_dispute_is_settled_where_there_is_one() -> None:
    ceremony, messages = begun()
    respond_all(ceremony, messages)
    with pytest.raises(InvalidInput, match="not in dispute"):
        ceremony.settle(1, {})


def test_too_few_left_make_no_key() -> None:
    ceremony, messages = begun()
    ceremony.complain(2, 3, messages[3][2])
    ceremony.complain(2, 4, messages[4][2])
    ceremony.complain(1, 5, messages[5][1])
    respond_all(ceremony, messages)
    with pytest.raises(VerificationError, match="2 holders left, 3 needed"):
        ceremony.conclude()


# --- new holders ----------------------------------------------------------------------------------

NEW = ("fay", "gus", "hal")


def new_terms(dealers: tuple[int, ...] = (1, 2, 4), threshold: int = 2) -> Terms:
    joint, _ = committee()
    old = tuple((place, NAMES[place - 1]) for place in dealers)
    return Terms(SMALL, threshold, NEW, sha256(b"resharing"), joint.id, old)


@cache
def renewed() -> tuple[JointKey, dict[int, HolderKey]]:
    joint, keys = committee()
    ceremony, messages = reshared(new_terms(), joint, keys)
    assert respond_all(ceremony, messages) == []
    return ceremony.conclude(), {h: ceremony.holder_key(h, messages[h]) for h in (1, 2, 3)}


def test_resharing_keeps_the_key_and_changes_every_share() -> None:
    joint, keys = committee()
    same, new = renewed()
    assert same.id == joint.id
    secret = joint_secret(keys, (1, 2, 3))
    for places in ((1, 2), (1, 3), (2, 3)):
        assert np.array_equal(joint_secret(new, places), secret)
    assert all(not np.array_equal(new[j].share, keys[j].share) for j in new)


def test_the_new_committee_opens_what_the_old_would_have() -> None:
    values, sent = ciphertexts()
    joint, new = renewed()
    parameters = replace(scheme().parameters, threshold=2, holders=3)
    changed = Ckks(parameters, joint)
    parts = {j: changed.partial(SEED, new[j], logged(sent), 3) for j in (1, 3)}
    found = changed.fuse(SEED, changed.add(SEED, sent), parts).values
    assert np.abs(found - values.sum(0)).max() < 1e-6


def test_old_and_new_shares_below_both_thresholds_are_useless_together() -> None:
    _, keys = committee()
    _, new = renewed()
    secret = joint_secret(keys, (1, 2, 3))
    for mixed in ({1: keys[1], 2: new[2]}, {1: keys[1], 2: keys[2], 3: new[3]}):
        assert not np.array_equal(joint_secret(mixed, tuple(mixed)), secret)


def test_mixed_partials_of_old_and_new_shares_open_nothing() -> None:
    _, sent = ciphertexts()
    joint, keys = committee()
    _, new = renewed()
    changed = Ckks(replace(scheme().parameters, threshold=2, holders=3), joint)
    old = replace(keys[1], threshold=2, holders=3)
    parts = {
        1: changed.partial(SEED, old, logged(sent), 3),
        3: changed.partial(SEED, new[3], logged(sent), 3),
    }
    with pytest.raises(VerificationError, match="noise"):
        changed.fuse(SEED, changed.add(SEED, sent), parts)


def test_an_old_holder_that_shares_another_value_is_found_out() -> None:
    joint, keys = committee()
    false = keys | {4: replace(keys[4], share=plus_one(keys[4].share))}
    ceremony, messages = reshared(new_terms(), joint, false)
    assert respond_all(ceremony, messages) == []  # its shares are of one value: of the wrong one
    with pytest.raises(VerificationError, match=r"resharing: .* is not small"):
        ceremony.conclude()
    with pytest.raises(VerificationError, match="resharing"):
        ceremony.holder_key(1, messages[1])


def test_an_old_holder_that_deals_a_bad_share_is_named_and_others_must_deal() -> None:
    joint, keys = committee()
    given = new_terms()
    dealings = dealt(given, lambda d: start_resharing(given, keys[d]))
    share = Share.from_bytes(given, dealings[2].opening, 3, dealings[2].messages[2])
    message = replace(share, value=plus_one(share.value)).to_bytes(given)
    dealings[2] = resealed(given, dealings[2], 3, message)
    ceremony, messages = opened(given, dealings, joint)
    assert respond_all(ceremony, messages) == [2]
    ceremony.settle(2, {h: messages[h][2] for h in ceremony.holders})
    assert list(ceremony.excluded) == ["bob"]
    with pytest.raises(VerificationError, match=r"old holders \[2\] are missing"):
        ceremony.conclude()


def test_resharing_is_of_the_key_that_the_terms_name() -> None:
    joint, keys = committee()
    given = replace(new_terms(), renews=bytes(32))
    with pytest.raises(InvalidInput, match="another key"):
        start_resharing(given, keys[1])
    with pytest.raises(InvalidInput, match="renew another key"):
        Ceremony(given, joint)
    with pytest.raises(InvalidInput, match="has a key already"):
        Ceremony(new_terms())
    with pytest.raises(InvalidInput, match="exactly 3"):
        start_resharing(new_terms((1, 2, 3, 4)), keys[1])
    with pytest.raises(InvalidInput, match="not one of the active"):
        start_resharing(new_terms((1, 2, 4)), keys[3])


def masks_of(ceremony: Ceremony, dealer: int, value: Limbs) -> Limbs:
    """What covers a dealer's projections: only a test knows the value beneath."""
    primes = np.array(SMALL.primes, np.uint64)[:, None]
    bare = [value, RING.multiply(value, ceremony.common)]
    known = np.concatenate([ceremony.projection.apply(RING, each) for each in bare], axis=1)
    found = ceremony._verdict(dealer)
    assert not isinstance(found, str)
    return np.asarray((found + primes - known) % primes)


def test_projections_are_covered_by_small_masks() -> None:
    ceremony, messages = begun()
    respond_all(ceremony, messages)
    shares = np.stack([share_of(honest()[2], j).value for j in (1, 2, 3)])
    secret = RING.combine(shares, modular_weights(RING, (1, 2, 3), 0))
    mask = masks_of(ceremony, 2, secret)
    sizes = [largest(RING, mask[:, [column]]) for column in range(2 * ROWS)]
    assert max(sizes) <= 1 << key_dealing.MASK_BITS
    assert sum(size > 1 << key_dealing.MASK_BITS - 4 for size in sizes) > 200


def test_a_part_of_a_resharing_says_nothing_of_the_dealers_share() -> None:
    """Its projections are covered by shares of zero: only the dealers' sum has small masks."""
    joint, keys = committee()
    ceremony, messages = reshared(new_terms(), joint, keys)
    respond_all(ceremony, messages)
    total = np.zeros(ceremony.terms.response_words, np.uint64)
    for dealer in (1, 2, 4):
        value = RING.combine(keys[dealer].share[None], weight(RING, dealer, (1, 2, 4)))
        mask = masks_of(ceremony, dealer, value)
        assert min(largest(RING, mask[:, [column]]) for column in range(9)) > 1 << 80
        total = (total + mask) % np.array(SMALL.primes, np.uint64)[:, None]
    assert largest(RING, total) <= 3 << key_dealing.MASK_BITS


def test_the_parameters_of_a_sum_name_the_committee() -> None:
    joint, keys = committee()
    other = Ckks(CkksSum(3000, 4, 2, 2, 3, SMALL, 62, 32), joint)
    with pytest.raises(InvalidInput, match="not of this joint key"):
        other.partial(SEED, keys[1], logged(ciphertexts()[1]), 2)
