"""Scheme ckks: sums that three of five open, and what they refuse to open."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.ckks_support import (
    SEED,
    SMALL,
    ciphertexts,
    committee,
    dealt,
    logged,
    opened,
    respond_all,
    scheme,
    terms,
)
from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he import ckks
from zkai.he.ckks import CHAIN, Ckks, CkksSum
from zkai.he.committee import start
from zkai.he.joint_key import HolderKey, JointKey, weight
from zkai.he.seal_file import read_ciphertext
from zkai.he.shamir import holder_sets, modular_weights, weights

pytest.importorskip("tenseal.sealapi")

SUBSETS = tuple(combinations(range(1, 6), 3))
RING = SMALL.data_ring
HEAD = ckks.HEAD.size


@cache
def total() -> bytes:
    return scheme().add(SEED, ciphertexts()[1])


@cache
def parts(holders: tuple[int, ...] = (1, 3, 4)) -> dict[int, bytes]:
    _, keys = committee()
    found = logged(ciphertexts()[1])
    return {j: scheme().partial(SEED, keys[j], found, 3) for j in holders}


@cache
def another() -> tuple[JointKey, dict[int, HolderKey]]:
    given = terms(session=bytes(32))
    ceremony, messages = opened(given, dealt(given, lambda d: start(given, d)))
    respond_all(ceremony, messages)
    return ceremony.conclude(), {h: ceremony.holder_key(h, messages[h]) for h in given.places}


def polynomials(data: bytes) -> np.ndarray[Any, Any]:
    """(M, 2, L, n) coefficients of a ciphertext's bytes."""
    size = SMALL.ciphertext_bytes
    files = [data[i : i + size] for i in range(HEAD, len(data), size)]
    return np.array([read_ciphertext(SMALL, file, scheme().parameters.scale) for file in files])


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", SUBSETS)
def test_every_three_of_five_open_the_sum(active: tuple[int, ...]) -> None:
    found = scheme().fuse(SEED, total(), parts(active))
    assert np.abs(found.values - ciphertexts()[0].sum(0)).max() < 1e-6
    assert (found.agreed, found.apart, found.checked) == (active, (), False)


@pytest.mark.parametrize("active", [(1, 2), (2, 5)])
def test_two_holders_open_nothing(active: tuple[int, ...]) -> None:
    """Whatever coefficients they take: here those of degree one, and no noise."""
    _, keys = committee()
    found = np.ascontiguousarray(polynomials(total())[:, 0])
    c1 = np.ascontiguousarray(polynomials(total())[:, 1])
    for j, factor in zip(active, modular_weights(RING, active, 0), strict=True):
        share = keys[j].share[: len(RING.primes)]
        found = RING.add(found, RING.multiply(c1, RING.combine(share[None], factor[None])))
    assert RING.largest(RING.coefficients(found)) > RING.modulus // 4
    with pytest.raises(InvalidInput, match="3 parts open a sum, 2 are there"):
        scheme().fuse(SEED, total(), {j: parts()[j] for j in (1, 3)})


def test_at_full_size_the_error_is_below_a_tenth_of_a_millionth() -> None:
    joint, keys = committee(CHAIN)
    parameters = CkksSum(5000, 10, 4, 3, 5)
    full = Ckks(parameters, joint)
    values = np.random.default_rng(3).uniform(-4, 4, (2, 5000))
    sent = tuple(full.encrypt(SEED, row) for row in values)
    assert len(sent[0]) == parameters.ciphertext_bytes
    some = {j: full.partial(SEED, keys[j], logged(sent), 2) for j in (2, 3, 5)}
    found = full.fuse(SEED, full.add(SEED, sent), some).values
    assert np.abs(found - values.sum(0)).max() < 1e-7
    assert len(some[2]) == parameters.partial_bytes


@pytest.mark.parametrize("shape", [(1,), (2048,), (2049,), (7, 11, 3)])
def test_tensors_of_any_shape_and_kind(shape: tuple[int, ...]) -> None:
    _, keys = committee()
    count = int(np.prod(shape))
    some = scheme(values=count)
    values = [np.arange(count).reshape(shape) % 3 - 1, np.full(shape, 0.5, np.float32)]
    sent = tuple(some.encrypt(SEED, each) for each in values)
    opening = {j: some.partial(SEED, keys[j], logged(sent), 2) for j in (1, 2, 3)}
    found = some.fuse(SEED, some.add(SEED, sent), opening).values
    assert np.abs(found - (values[0] + values[1]).ravel()).max() < 4e-7


def test_sums_of_sums_are_the_same_bytes() -> None:
    one, two, three = ciphertexts()[1]
    some = scheme()
    assert some.add(SEED, [some.add(SEED, [one, two]), three]) == total()
    assert some.add(SEED, [three, some.add(SEED, [two, one])]) == total()


def test_the_sum_of_weighted_values_and_weights_is_a_weighted_average() -> None:
    _, keys = committee()
    some = scheme(values=3, bound=100, scale_bits=58)
    rows = [(0.5, -1.0, 10), (0.1, 0.3, 30)]
    sent = tuple(some.encrypt(SEED, np.array([x * w, y * w, w])) for x, y, w in rows)
    opening = {j: some.partial(SEED, keys[j], logged(sent), 2) for j in (1, 2, 3)}
    *sums, weighed = some.fuse(SEED, some.add(SEED, sent), opening).values
    assert np.allclose(np.array(sums) / weighed, [0.2, -0.025], atol=1e-6)


# --- what is refused before anything is encrypted -------------------------------------------------


def test_a_sum_that_could_overflow_is_refused() -> None:
    for changes in ({"bound": 1 << 9}, {"clients": 2000}, {"scale_bits": 70}):
        with pytest.raises(InvalidInput, match="overflows"):
            scheme(**changes)
    limit = scheme(scale_bits=66).parameters  # 4 clients of 2: 2**69 of 2**71
    assert limit.largest(4) < RING.modulus // 2 < 8 * limit.largest(4)


@pytest.mark.parametrize("value", [2.001, -3.0, np.nan, np.inf])
def test_a_value_beyond_the_bound_is_refused(value: float) -> None:
    values = np.zeros(3000)
    values[17] = value
    with pytest.raises(InvalidInput, match="at most 2"):
        scheme().encrypt(SEED, values)


def test_other_numbers_of_values_and_kinds_are_refused() -> None:
    for values in (np.zeros(2999), np.zeros((2, 3000)), np.zeros(3000, complex)):
        with pytest.raises(InvalidInput, match="3000 real numbers"):
            scheme().encrypt(SEED, values)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": 0}, {"clients": 0}, {"bound": 0}, {"threshold": 1}, {"threshold": 6},
        {"scale_bits": 10}, {"smudge_bits": 10}, {"smudge_bits": 62},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=r"ckks|committee"):
        scheme(**changes)


# --- bytes from strangers -------------------------------------------------------------------------

FLAWS = {
    "empty": (lambda data: b"", "bytes, not"),
    "cut off": (lambda data: data[:-1], "bytes, not"),
    "too long": (lambda data: data + b"\0", "bytes, not"),
    "another magic number": (lambda data: b"\0" + data[1:], "not such a file"),
    "a partial's kind": (lambda data: data[:8] + b"\2" + data[9:], "not such a file"),
    "no clients": (lambda data: data[:12] + b"\0" + data[13:], "of 0 clients"),
    "many clients": (lambda data: data[:12] + b"\x09" + data[13:], "of 9 clients"),
    "another key": (lambda data: data[:16] + bytes(32) + data[48:], "another joint key"),
    "another round": (lambda data: data[:48] + bytes(32) + data[80:], "another round"),
    "a sum with a name": (
        lambda data: data[:12] + b"\2" + data[13:80] + b"\1" + data[81:],
        "no name",
    ),
    "a broken file": (lambda data: data[:HEAD] + b"\0" + data[HEAD + 1 :], "not SEAL's header"),
    "a residue too large": (lambda data: data[:-8] + b"\xff" * 8, "below its prime"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_ciphertext_with_a_flaw_is_refused(flaw: str) -> None:
    change, reason = FLAWS[flaw]
    with pytest.raises(InvalidInput, match=reason):
        scheme().add(SEED, [ciphertexts()[1][0], change(ciphertexts()[1][1])])


def test_every_bit_of_the_head_counts() -> None:
    one, two, _ = ciphertexts()[1]
    for at in range(HEAD):
        for bit in range(8):
            changed = bytearray(two)
            changed[at] ^= 1 << bit
            if 12 <= at < 16 or at >= 80:  # number of clients, name: claims under the logged digest
                continue
            with pytest.raises(InvalidInput, match="ciphertext 0"):
                scheme().add(SEED, [bytes(changed), one])


def test_a_ciphertext_under_another_key_is_refused_though_it_looks_the_same() -> None:
    joint, _ = another()
    foreign = Ckks(scheme().parameters, joint).encrypt(SEED, ciphertexts()[0][0])
    with pytest.raises(InvalidInput, match="ciphertext 1: under another joint key"):
        scheme().add(SEED, [ciphertexts()[1][0], foreign])
    relabelled = foreign[:16] + ciphertexts()[1][0][16:48] + foreign[48:]
    sent = (ciphertexts()[1][0], relabelled)
    _, keys = committee()
    some = {j: scheme().partial(SEED, keys[j], logged(sent), 2) for j in (1, 2, 3)}
    with pytest.raises(VerificationError, match="noise"):  # and a false label opens nothing
        scheme().fuse(SEED, scheme().add(SEED, sent), some)


def test_a_holder_of_another_key_gives_no_part() -> None:
    _, keys = another()
    with pytest.raises(InvalidInput, match="not of this joint key"):
        scheme().partial(SEED, keys[1], logged(ciphertexts()[1]), 3)


def test_a_share_of_another_ceremony_gives_noise_which_is_seen() -> None:
    _, keys = committee()
    _, others = another()
    wrong = replace(keys[3], share=others[3].share)
    changed = parts() | {3: scheme().partial(SEED, wrong, logged(ciphertexts()[1]), 3)}
    with pytest.raises(VerificationError, match="noise"):
        scheme().fuse(SEED, total(), changed)


# --- what holders refuse --------------------------------------------------------------------------


def test_only_logged_ciphertexts_are_opened_each_checked_before_it_is_parsed() -> None:
    _, keys = committee()
    found = logged(ciphertexts()[1])
    for rubbish in (b"", b"rubbish", ciphertexts()[1][0][:-1]):
        with pytest.raises(VerificationError, match="not the one that was logged"):
            scheme().partial(SEED, keys[1], [(found[0][0], rubbish), *found[1:]], 3)


def test_a_single_clients_sum_and_a_replayed_ciphertext_are_not_opened() -> None:
    _, keys = committee()
    one, two, three = logged(ciphertexts()[1])
    for given, minimum in (([one], 1), ([one, two], 3), ([one, one, two], 3), ([one, one], 2)):
        with pytest.raises(VerificationError, match="distinct"):
            scheme().partial(SEED, keys[1], given, minimum)
    del three


def test_a_sum_does_not_pass_for_a_clients_ciphertext() -> None:
    """Two sums that differ by one client would count as two ciphertexts."""
    _, keys = committee()
    one, two, _ = ciphertexts()[1]
    both = scheme().add(SEED, [one, two])
    with pytest.raises(InvalidInput, match="a sum stands"):
        scheme().partial(SEED, keys[1], logged((one, both)), 2)


def test_there_is_no_way_to_hand_in_a_chosen_c1_and_why() -> None:
    """c1 = 2**45 reads the key through smudging of 2**32, where a function takes a raw c1."""
    _, keys = committee()
    chosen = RING.ntt(RING.small(np.array([[1 << 45] + [0] * (SMALL.n - 1)], np.int64)))
    opened_sum = RING.zeros(1)
    for j in (1, 3, 4):  # what a naive holder would answer
        share = keys[j].share[: len(RING.primes)]
        naive = RING.multiply(chosen, RING.combine(share[None], weight(RING, j, (1, 3, 4))))
        noise = RING.ntt(RING.small(RING.smudge(bytes([j]) * 32, 0, 1, 32)))
        opened_sum = RING.add(opened_sum, RING.add(naive, noise))
    low = RING.lift(RING.coefficients(opened_sum))[0, :, 0].view(np.int64)
    guess = np.round(low / 2.0**45).astype(np.int64)
    secret = RING.combine(
        np.stack([keys[j].share[: len(RING.primes)] for j in (1, 3, 4)]),
        modular_weights(RING, (1, 3, 4), 0),
    )
    assert np.array_equal(RING.ntt(RING.small(guess)), secret)
    body = scheme()._pack(SEED, np.stack([np.zeros_like(chosen), chosen], axis=1), 1)
    small = Ckks(replace(scheme().parameters, values=5), scheme().joint)
    with pytest.raises(VerificationError, match="at least 2, all distinct"):
        small.partial(SEED, keys[1], logged((body,)), 1)


def test_a_steered_sum_is_why_digests_come_first() -> None:
    """Who sees the others' bodies before it commits makes the sum of c1 what it likes."""
    one, two, _ = ciphertexts()[1]
    wanted = np.broadcast_to(polynomials(one)[:, 1][:1], polynomials(one)[:, 1].shape)
    steered = polynomials(one).copy()
    for seen in (one, two):
        wanted = RING.subtract(np.ascontiguousarray(wanted), np.ascontiguousarray(
            polynomials(seen)[:, 1]))  # fmt: skip
    steered[:, 1] = wanted
    rushing = scheme()._pack(SEED, steered, 1)
    found = polynomials(scheme().add(SEED, [one, two, rushing]))[:, 1]
    assert np.array_equal(found[0], polynomials(one)[0, 1])
    recorded = [(sha256(body), body) for body in (one, two, ciphertexts()[1][2])]
    late = [*recorded[:2], (recorded[2][0], rushing)]
    _, keys = committee()
    with pytest.raises(VerificationError, match="not the one that was logged"):
        scheme().partial(SEED, keys[1], late, 3)


# --- why noise is shared --------------------------------------------------------------------------


def own_noise(key: HolderKey, c1: np.ndarray[Any, Any]) -> Any:
    """f(j) c1 and noise that the holder made for itself."""
    share = np.ascontiguousarray(key.share[: len(RING.primes)])
    smudge = RING.ntt(RING.small(RING.smudge(bytes(31) + bytes([key.place]), 0, len(c1), 61)))
    return RING.add(RING.multiply(c1, share), smudge)


def read_modulo_ten(part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What dan and eve make of holder 3's part: c0 + c1 s modulo 10."""
    _, keys = committee()
    c0, c1 = (np.ascontiguousarray(polynomials(total())[:, half]) for half in (0, 1))
    own, lagrange = (0, 4, 5), weights((0, 4, 5), 3)
    assert [str(w) for w in lagrange] == ["1/10", "3/2", "-3/5"]
    found = RING.add(c0, RING.combine(part[:, None], RING.residues([10])))
    for j, w in zip(own[1:], lagrange[1:], strict=True):
        share = keys[j].share[: len(RING.primes)]
        known = RING.combine(share[None], RING.residues([int(10 * w)]))
        found = RING.subtract(found, RING.multiply(c1, known))
    return _modulo_ten(RING.coefficients(found))


def _modulo_ten(coefficients: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    words = RING.lift(coefficients)
    high = words[..., 1].view(np.int64).astype(object)
    return np.asarray((high * (1 << 64) + words[..., 0].astype(object)) % 10)


def opened_modulo_ten() -> np.ndarray[Any, Any]:
    _, keys = committee()
    c0, c1 = (np.ascontiguousarray(polynomials(total())[:, half]) for half in (0, 1))
    stacked = np.stack([keys[j].share[: len(RING.primes)] for j in (1, 2, 3)])
    secret = RING.combine(stacked, modular_weights(RING, (1, 2, 3), 0))
    return _modulo_ten(RING.coefficients(RING.add(c0, RING.multiply(c1, secret))))


def test_through_noise_of_ones_own_corrupt_holders_read_the_errors_whatever_its_size() -> None:
    _, keys = committee()
    c1 = np.ascontiguousarray(polynomials(total())[:, 1])
    assert np.array_equal(read_modulo_ten(own_noise(keys[3], c1)), opened_modulo_ten())


def test_through_noise_that_is_shared_they_read_nothing() -> None:
    agree = read_modulo_ten(words(parts((3,))[3])) == opened_modulo_ten()
    assert 0.05 < agree.mean() < 0.15


# --- parts ----------------------------------------------------------------------------------------

ALL = (1, 2, 3, 4, 5)


def words(part: bytes) -> np.ndarray[Any, Any]:
    found = np.frombuffer(part, "<u8", offset=HEAD).astype(np.uint64)
    return np.asarray(found.reshape(-1, *RING.shape))


def at_zero(holders: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rows = np.stack([words(parts(ALL)[j]) for j in holders], axis=1)
    return RING.combine(rows, modular_weights(RING, holders, 0))


@pytest.mark.parametrize("corrupt", [(4, 5), (1, 2), (2, 5)])
def test_t_minus_one_holders_learn_the_value_at_zero_only(corrupt: tuple[int, int]) -> None:
    """All parts follow from theirs and it; the noise in it has a term that they do not know."""
    _, keys = committee()
    zero = at_zero((1, 2, 3))
    rows = np.stack([zero, *(words(parts(ALL)[j]) for j in corrupt)], axis=1)
    for j in ALL:
        found = RING.combine(rows, modular_weights(RING, (0, *corrupt), j))
        assert np.array_equal(found, words(parts(ALL)[j]))
    others = tuple(j for j in ALL if j not in corrupt)
    for members in holder_sets(3, 5):
        having = [j for j in ALL if members in keys[j].sets]
        assert tuple(having) == members
        assert len({keys[j].sets[members] for j in members}) == 1
    assert all(others not in keys[j].sets for j in corrupt)


def test_the_noise_at_zero_is_of_ten_sets_each_as_large_as_it_should_be() -> None:
    _, keys = committee()
    c1 = np.ascontiguousarray(polynomials(total())[:, 1])
    three = np.stack([keys[j].share[: len(RING.primes)] for j in (1, 2, 3)])
    secret = RING.combine(three, modular_weights(RING, (1, 2, 3), 0))
    left = RING.coefficients(RING.subtract(at_zero((2, 4, 5)), RING.multiply(c1, secret)))
    noise = RING.lift(left)[..., 0].view(np.int64)
    half = 2.0**32
    assert abs(noise).max() <= 10 * half
    assert abs((noise / half).var() / (10 / 3) - 1) < 0.1
    assert abs(noise.mean()) < half / 10


def test_noise_is_of_one_polynomial_of_one_sum() -> None:
    """Long sums take it chunk by chunk: polynomial m has the same whichever chunk it is in."""
    _, keys = committee()

    def noise(first: int, count: int, subject: bytes = b"sum") -> np.ndarray[Any, Any]:
        out = RING.zeros(count)
        keys[2].add_noise(RING, out, subject, first, 32)
        return out

    both = noise(0, 3)
    assert np.array_equal(noise(1, 2), both[1:])
    assert len({polynomial.tobytes() for polynomial in (*both, noise(0, 1, b"another")[0])}) == 4


def test_a_part_is_the_same_whenever_and_for_whomever_it_is_made() -> None:
    _, keys = committee()
    found = logged(ciphertexts()[1])
    assert scheme().partial(SEED, keys[1], found, 3) == parts()[1] == parts(ALL)[1]
    fewer = scheme().partial(SEED, keys[1], found[:2], 2)
    assert not (words(fewer) == words(parts()[1])).any(axis=(1, 2)).all()


@pytest.mark.parametrize("liar", [1, 5])
@pytest.mark.parametrize("what", ["one unit", "noise", "another's", "cut off", "of no sum"])
def test_a_wrong_part_is_set_apart(liar: int, what: str) -> None:
    good = dict(parts(ALL))
    shifted = words(good[liar]).copy()
    if what == "one unit":
        unit = np.zeros((len(shifted), SMALL.n), np.int64)
        unit[0, 0] = 1 << 61
        shifted = RING.add(shifted, RING.ntt(RING.small(unit)))
    elif what == "noise":
        shifted = RING.uniform(bytes(32), 3, 0, len(shifted))
    bad = good[liar][:HEAD] + shifted.astype("<u8").tobytes()
    if what == "another's":
        bad = good[liar][:HEAD] + good[3][HEAD:]
    elif what == "cut off":
        bad = bad[:-1]
    elif what == "of no sum":
        bad = bad[: HEAD - 32] + bytes(32) + bad[HEAD:]
    found = scheme().fuse(SEED, total(), {**good, liar: bad})
    assert (found.apart, found.checked) == ((liar,), False)
    assert np.abs(found.values - ciphertexts()[0].sum(0)).max() < 1e-6
    whole = scheme().fuse(SEED, total(), good)
    assert (whole.agreed, whole.checked) == (ALL, True)
    if what == "one unit":
        three = {j: good[j] for j in (liar, 2, 3)} | {liar: bad}
        assert scheme().fuse(SEED, total(), three).values[0] != pytest.approx(found.values[0])
        with pytest.raises(VerificationError, match="contradict each other"):
            scheme().fuse(SEED, total(), {**three, 4: good[4]})


def test_a_part_is_of_one_sum_and_one_round() -> None:
    with pytest.raises(InvalidInput, match=r"3 parts open a sum, 2 .*part of holder 5: of another"):
        scheme().fuse(SEED, total(), {1: parts()[1], 3: parts()[3], 5: parts()[4]})
    smaller = scheme().add(SEED, ciphertexts()[1][:2])
    with pytest.raises(InvalidInput, match=r"0 are there.*another holder or sum"):
        scheme().fuse(SEED, smaller, parts())
    with pytest.raises(InvalidInput, match="another round"):
        scheme().fuse(bytes(32), total(), parts())
    with pytest.raises(InvalidInput, match="distinct numbers"):
        scheme().fuse(SEED, total(), {**parts(), 6: parts()[1]})


def test_parts_with_flaws_are_refused() -> None:
    good = parts()[4]
    flaws = {"bytes, not": good[:-1], "below its prime": good[:-8] + b"\xff" * 8}
    flaws |= {"not such a file": b"\0" + good[1:]}
    for reason, data in flaws.items():
        with pytest.raises(InvalidInput, match=reason):
            scheme().fuse(SEED, total(), parts() | {4: data})
    noise = bytearray(good)
    noise[HEAD + 9] ^= 1
    with pytest.raises(VerificationError, match="noise: a share, part or key is wrong"):
        scheme().fuse(SEED, total(), parts() | {4: bytes(noise)})


def test_parts_that_agree_put_the_blame_on_the_ciphertexts() -> None:
    """All five agree, and what they open is noise: not by their doing."""
    _, keys = committee()
    flipped = polynomials(ciphertexts()[1][2]).copy()
    flipped[:, 0] = RING.uniform(bytes(32), 9, 0, len(flipped))
    sent = (*ciphertexts()[1][:2], scheme()._pack(SEED, flipped, 1, b"n" * 32))
    found = {j: scheme().partial(SEED, keys[j], logged(sent), 3) for j in ALL}
    with pytest.raises(VerificationError, match="a ciphertext or the key is wrong"):
        scheme().fuse(SEED, scheme().add(SEED, sent), found)


def test_a_holder_without_the_key_of_a_set_gives_no_part() -> None:
    _, keys = committee()
    fewer = {s: key for s, key in keys[1].sets.items() if s != (1, 2, 3)}
    with pytest.raises(InvalidInput, match="key of a set of holders is missing"):
        scheme().partial(SEED, replace(keys[1], sets=fewer), logged(ciphertexts()[1]), 3)
    with pytest.raises(InvalidInput, match="not of this joint key"):
        scheme().partial(SEED, replace(keys[1], holders=6), logged(ciphertexts()[1]), 3)


def test_the_bits_of_smudging_are_what_the_formula_says() -> None:
    parameters = CkksSum(1_000_000, 10, 1, 3, 5)
    assert parameters.statistical_bits() - parameters.statistical_bits(4) == pytest.approx(2)
    assert 28 < parameters.statistical_bits() < 29
    assert CkksSum(1_000_000, 10, 1, 3, 5, smudge_bits=40).statistical_bits() < 8


def test_noise_stays_below_its_bound() -> None:
    """The noise of three fresh ciphertexts, measured with the key that only a test has."""
    _, keys = committee()
    with ckks.SealWorker(SMALL) as worker:
        rows = np.zeros((2, SMALL.slots))
        rows.ravel()[:3000] = ciphertexts()[0].sum(0)
        expected = worker.encode(rows, scheme().parameters.scale)
    stacked = np.stack([keys[j].share[: len(RING.primes)] for j in (1, 2, 3)])
    secret = RING.combine(stacked, modular_weights(RING, (1, 2, 3), 0))
    found = polynomials(total())
    c0, c1 = (np.ascontiguousarray(found[:, half]) for half in (0, 1))
    noise = RING.subtract(RING.add(c0, RING.multiply(c1, secret)), expected)
    assert 20 < RING.largest(RING.coefficients(noise)) < 3 * scheme().parameters.noise + 1000


def test_the_documentations_example_runs(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repo / "docs" / "aggregation.md").read_text(encoding="utf-8")
    code = text.split("## The scheme `ckks`")[1].split("```python\n")[1].split("```")[0]
    exec(code, {})
    assert capsys.readouterr().out == "[41.75 41.75 41.75 41.75 41.75] True\n"
