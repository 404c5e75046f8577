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
    open_share,
    opening_identifier,
    partial,
    subject_of,
    verify_fingerprints,
)
from zkai.he.wire import Kind, Stream, derive, open_polynomials
from zkai.native import Int64s


@pytest.fixture(scope="module")
def clients() -> list[Client]:
    return [Client(seed) for seed in range(3)]


def expected(clients: list[Client]) -> Int64s:
    return np.sum([client.values for client in clients], axis=0)


# --- opening -------------------------------------------------------------------------------------


def test_every_set_of_t_holders_opens_the_exact_sum(clients: list[Client]) -> None:
    total = summed(clients)
    for active in combinations(HOLDERS, 3):
        assert np.array_equal(fuse(total, partials(clients, active), active), expected(clients))


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (2, 3), (4, 7), (5, 5)])
def test_other_committees(threshold: int, holders: int) -> None:
    round_ = Round(RlweParameters.choose(2, threshold, holders, 30, 2), bytes(32), 9, 10)
    two = [Client(seed, round_) for seed in range(2)]
    for active in (range(1, threshold + 1), range(holders - threshold + 1, holders + 1)):
        opened = fuse(summed(two, round_), partials(two, active, round_), active)
        assert np.array_equal(opened, expected(two))


def test_fewer_than_t_holders_open_nothing(clients: list[Client]) -> None:
    """Two holders who act as a committee of two of five: noise, whichever they are."""
    lower = Round(RlweParameters.choose(4, 2, 5), ROUND.session, ROUND.number, ROUND.values)
    for active in combinations(HOLDERS, 2):
        opened = summed(clients).residues
        for j in active:
            share, _ = shares_of(clients, j).take()
            weights = shamir.modular_weights(RING, active, 0)[active.index(j)][None]
            product = RING.multiply(masks(ROUND, 0, 2), RING.combine(share[None], weights))
            RING.add(opened, RING.coefficients(product), out=opened)
        assert RING.largest(opened) > RING.modulus // 4
        with pytest.raises(InvalidInput, match=r"expected 3, got 2"):
            fuse(summed(clients), {}, active)
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
    assert np.array_equal(fuse(summed(four), partials(four, (2, 3, 5)), (2, 3, 5)), 4 * values)


def test_a_single_client_is_opened_only_where_the_minimum_allows(clients: list[Client]) -> None:
    total = summed(clients[:1])
    with pytest.raises(InvalidInput, match="1 clients, not of 2"):
        partial(total, shares_of(clients[:1], 1), (1, 2, 3), 2)


def test_the_documentations_example_runs(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repo / "docs" / "aggregation.md").read_text(encoding="utf-8")
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "[6 6 6]\n"


# --- partial decryptions -------------------------------------------------------------------------


def test_partials_of_two_runs_differ_by_their_smudge(clients: list[Client]) -> None:
    """What is beyond lambda share A and the share of zero is uniform in [-2^b, 2^b), fresh."""
    active = (1, 3, 4)
    weights = shamir.modular_weights(RING, active, 0)[:1]
    secret, pairs = shares_of(clients, 1).take()
    share = RING.combine(secret[None], weights)
    exact = RING.coefficients(RING.multiply(masks(ROUND, 0, 2), share))
    for other in (3, 4):
        RING.add(exact, zero(pairs[other], clients, active), out=exact)
    found = []
    for _ in range(2):
        data = partials(clients, active)[1]
        _, body = open_polynomials(data, Kind.PARTIAL, ROUND, 2, "p", 1)
        noise = RING.lift(RING.subtract(body, exact))[..., 0].view(np.int64)
        half = 2.0**PARAMETERS.smudge_bits
        assert 0.99 * half < abs(noise).max() <= half
        assert abs(noise.mean()) < half / 10
        assert abs((noise / half).var() - 1 / 3) < 0.05
        found.append(noise)
    assert (found[0] != found[1]).mean() > 0.99


def zero(pair: bytes, clients: list[Client], active: tuple[int, ...]) -> Limbs:
    """What two holders add and subtract."""
    seed = derive("zero", pair, opening_identifier(summed(clients), active))
    return RING.uniform(seed, Stream.ZERO, 0, ROUND.polynomials)


def test_shares_of_zero_hide_what_denominators_would_tell(clients: list[Client]) -> None:
    """Holders 4 and 5 against {1, 2, 3}: share_3 = s / 10 + what they know, so without shares of
    zero 10 d_3 gives them Delta m + noise of the sum modulo 10, however large the smudge."""
    total, active = summed(clients), (1, 2, 3)
    parts = partials(clients, active)
    _, body = open_polynomials(parts[3], Kind.PARTIAL, ROUND, 2, "p", 3)
    own, pairs = shares_of(clients, 3).take()
    bare = RING.add(body, zero(pairs[1], clients, active))  # 3 subtracted both
    bare = RING.add(bare, zero(pairs[2], clients, active))
    known = [shares_of(clients, j).take()[0] for j in (4, 5)]
    # L_3 at 0 over (1, 2, 3) is 1; share_3 = L_0(3) s + L_4(3) share_4 + L_5(3) share_5.
    weights = shamir.weights((0, 4, 5), 3)
    assert weights[0].denominator == 10
    product = RING.combine(np.stack(known), RING.residues([int(10 * w) for w in weights[1:]]))
    product = RING.coefficients(RING.multiply(masks(ROUND, 0, 2), product))
    opened = total.residues
    for j in HOLDERS[:3]:
        weight = shamir.modular_weights(RING, active, 0)[active.index(j)][None]
        share = RING.combine(shares_of(clients, j).take()[0][None], weight)
        product_j = RING.coefficients(RING.multiply(masks(ROUND, 0, 2), share))
        RING.add(opened, product_j, out=opened)
    truth = centred(opened)  # Delta m + the sum of the errors

    def attack(partial_3: Limbs) -> float:
        """How often 10 d_3 - known + c is the truth modulo 10 (times 10 L_0(3) = 1)."""
        ten = RING.combine(partial_3[:, None], RING.residues([10]))
        seen = RING.add(RING.subtract(ten, product), total.residues)
        return float(((centred(seen) - truth) % 10 == 0).mean())

    assert own.any()
    assert attack(bare) == 1.0
    assert attack(body) < 0.15


def centred(residues: Limbs) -> Any:
    """Centred coefficients as Python integers."""
    words = RING.lift(residues)
    return words[..., 0].astype(object) + (words[..., 1].view(np.int64).astype(object) << 64)


def test_pairs_of_holders_have_the_same_key(clients: list[Client]) -> None:
    taken = {j: shares_of(clients, j).take()[1] for j in HOLDERS}
    for j, k in combinations(HOLDERS, 2):
        assert taken[j][k] == taken[k][j]
    assert len({taken[j][k] for j, k in combinations(HOLDERS, 2)}) == 10
    fewer = shares_of(clients[:2], 1).take()[1]
    assert fewer[2] != taken[1][2]
    reverse = shares_of(clients[::-1], 1).take()[1]
    assert reverse == taken[1]


def test_a_holder_answers_once(clients: list[Client]) -> None:
    total, shares = summed(clients), shares_of(clients, 1)
    partial(total, shares, (1, 2, 3), 3)
    with pytest.raises(InvalidInput, match="answers once a round"):
        partial(total, shares, (1, 4, 5), 3)
    with pytest.raises(InvalidInput, match="has been used"):
        shares.add(bytes(32), b"")


def test_a_partial_is_for_the_sum_of_the_same_keys(clients: list[Client]) -> None:
    """Sets that differ by one client: the shares of one do not serve the sum of the other."""
    for total, kept in ((clients, clients[:2]), (clients[:2], clients), (clients[:2], clients[1:])):
        with pytest.raises(InvalidInput, match="not of the same client keys"):
            partial(summed(total), shares_of(kept, 1), (1, 2, 3), 1)


@pytest.mark.parametrize(
    ("active", "match"),
    [
        ((1, 2), "expected 3, got 2"),
        ((1, 2, 3, 4), "expected 3, got 4"),
        ((1, 2, 2), "distinct"),
        ((0, 1, 2), "distinct"),
        ((1, 2, 6), "distinct"),
        ((2, 3, 4), "no active holder"),
    ],
)
def test_active_sets_that_are_none(
    clients: list[Client], active: tuple[int, ...], match: str
) -> None:
    with pytest.raises(InvalidInput, match=match):
        partial(summed(clients), shares_of(clients, 1), active, 3)


def test_partials_for_another_set_sum_or_holder_are_refused(clients: list[Client]) -> None:
    total, active = summed(clients), (1, 2, 3)
    good = partials(clients, active)
    other_set = partials(clients, (1, 2, 4))
    other_sum = partials(clients[:2], active)
    for bad in (other_set, other_sum):
        with pytest.raises(InvalidInput, match="another sum, or for other active holders"):
            fuse(total, {**good, 1: bad[1]}, active)
    with pytest.raises(InvalidInput, match="not of holder 1"):
        fuse(total, {**good, 1: good[2]}, active)
    with pytest.raises(InvalidInput, match=r"partials of holders \(1, 2, 3\)"):
        fuse(total, {1: good[1], 2: good[2]}, active)
    with pytest.raises(InvalidInput, match="header of a partial"):
        fuse(total, {**good, 1: clients[0].ciphertext}, active)


def test_one_flipped_bit_of_a_share_is_noticed(clients: list[Client]) -> None:
    total, active = summed(clients), (1, 2, 4)
    parts = partials(clients, active)
    shares = ShareSum(ROUND, 4)
    shares.add(clients[0].name, flipped(clients[0].shares[3], 80))
    for client in clients[1:]:
        shares.add(client.name, client.shares[3])
    parts[4] = partial(total, shares, active, 3)
    with pytest.raises(VerificationError, match="noise is too large"):
        fuse(total, parts, active)


def test_a_ciphertext_under_another_key_than_was_dealt_is_noticed(clients: list[Client]) -> None:
    stranger = ClientKey(ROUND).encrypt(clients[0].values)
    forged = stranger[:48] + clients[0].name + stranger[80:]
    total = CiphertextSum(ROUND)
    total.add(forged, clients[0].name)
    for client in clients[1:]:
        total.add(client.ciphertext)
    active = (1, 2, 3)
    parts = {j: partial(total, shares_of(clients, j), active, 3) for j in active}
    with pytest.raises(VerificationError, match="noise is too large"):
        fuse(total, parts, active)


def test_values_beyond_the_last_are_refused(clients: list[Client]) -> None:
    """A client of a longer round that passes its ciphertext off as one of this round."""
    longer = Round(PARAMETERS, ROUND.session, ROUND.number, 2 * 4096 * 3)
    client = Client(1, longer, np.ones(longer.values, dtype=np.int64))
    opened = fuse(summed([client], longer), partials([client], (1, 2, 3), longer), (1, 2, 3))
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
        assert body[55296:-128] == reference.pack(rows, primes)
    pair = sha256(b"zkai/rlwe/pair/1\0" + seed + (2 << 32 | 5).to_bytes(32, "big"))
    assert shares[1][-32:] == shares[4][-96:-64] == pair
    tag = sha256(b"zkai/rlwe/pair-tag/1\0" + ROUND.seed + key.identifier + pair)
    assert check[55296:][6 * 32 : 7 * 32] == tag  # after 12, 13, 14, 15, 23 and 24


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
        ((10, 3, 5, 22, 3), "no room for 40 bits of smudging"),
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
    assert p.smudge_bits == 61 or 2 * (p.noise_bound + (threshold << p.smudge_bits)) >= p.delta


def test_the_figures_of_the_documentation() -> None:
    p = RlweParameters.choose(10, 3, 5)
    assert (p.smudge_bits, p.bound) == (45, 52_428)
    assert p.client_bytes(10**6) / 4e6 < 1.191
    assert 18.5 < p.statistical_bits(10**6) < 19.5
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
    assert [len(share) for share in client.shares] == [240, 240, 57232, 57232, 57232]
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
