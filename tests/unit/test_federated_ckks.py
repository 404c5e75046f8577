"""A session's round with scheme `ckks`: the same rules, the same messages, a joint key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.ckks_support import opened as begun
from tests.unit.ckks_support import respond_all
from tests.unit.federated_support import BOUND, World
from zkai.encoding import hex32, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.aggregator import OPENED
from zkai.federated.ckks_scheme import (
    CkksScheme,
    choose_sum,
    ckks_committee,
    ckks_parameters,
    load_ckks,
)
from zkai.federated.holder import KeyHolder
from zkai.federated.messages import (
    ACTIVE,
    KEY_DECISION,
    SET,
    Message,
    base,
    combine,
    parse_message,
    sign_message,
)
from zkai.federated.noise import Privacy, decimal, plan
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.scheme import Int64
from zkai.federated.schemes import load_scheme
from zkai.federated.sealing import sealed_share_bytes
from zkai.federated.session import CKKS, Session
from zkai.he.ckks import CHAIN, Ckks
from zkai.he.committee import start
from zkai.he.joint_key import HolderKey, JointKey
from zkai.he.key_dealing import Terms
from zkai.he.seal_file import read_ciphertext
from zkai.he.seal_worker import SealWorker
from zkai.he.shamir import modular_weights
from zkai.native_rlwe import round_off
from zkai.receipt.signer import PrivateKey, generate

pytest.importorskip("tenseal.sealapi")


@pytest.fixture(scope="module")
def committee() -> tuple[JointKey, dict[int, HolderKey]]:
    terms = Terms(CHAIN, 2, ("h0", "h1", "h2"), sha256(b"session"))
    ceremony, messages = begun(terms, {d: start(terms, d) for d in terms.dealers})
    assert respond_all(ceremony, messages) == []
    return ceremony.conclude(), {h: ceremony.holder_key(h, messages[h]) for h in terms.places}


def certified(
    session: Session,
    signers: Sequence[PrivateKey],
    held: HolderKey,
    **changes: Any,
) -> Message:
    """Return the decision that concludes a ceremony of the session's holders."""
    predicate = {
        **base(bytes(32), 1), "phase": "respond", "previous": hex32(1), "size": 9,
        "root": hex32(2), "committee": hex32(held.committee),
        "holders": list(session.holder_keyids), "threshold": session.threshold, "once": False,
        "renews": None, "disputed": None, "key": hex32(held.key_id),
    }  # fmt: skip
    said = [sign_message(KEY_DECISION, predicate | changes, signer) for signer in signers]
    return combine(said)


class CkksWorld(World):
    """A world whose session sums with scheme `ckks`, under a key of a ceremony in memory."""

    made: tuple[JointKey, dict[int, HolderKey]]
    once = False
    without: int | None = None
    """A holder that the ceremony left out."""

    def _open_all(self) -> None:
        if self.session.scheme != CKKS:
            joint, keys = self.made
            given = self.session
            numbers = choose_sum(
                given.values, len(given.clients), given.largest, given.threshold,
                len(given.holders),
            )  # fmt: skip
            said = certified(given, self.holder_keys, keys[1], once=self.once)
            parameters = ckks_parameters(numbers, joint, said)
            self.session = replace(given, scheme=CKKS, parameters=parameters)
            self.scheme = load_scheme(self.session)
        super()._open_all()

    def open_holder(self, j: int) -> KeyHolder:
        key = None if j == self.without else self.made[1][j + 1]
        return replace(super().open_holder(j), scheme=load_scheme(self.session, key))

    def recertified(self, signers: Sequence[PrivateKey], **changes: Any) -> Session:
        said = certified(self.session, signers, self.made[1][1], **changes)
        once = said.predicate["once"]
        parameters = {
            **self.session.parameters,
            "certificate": said.to_bytes().decode(),
            "once": once,
        }
        return replace(self.session, parameters=parameters)


@pytest.fixture
def world(tmp_path: Path, committee: tuple[JointKey, dict[int, HolderKey]]) -> CkksWorld:
    class Made(CkksWorld):
        made = committee

    return Made(tmp_path / "world")


def test_a_round_opens_the_exact_sum(world: CkksWorld) -> None:
    world.commit()
    world.opens_to(range(4))
    statement = open_sum(world.round(), world.scheme).statement
    assert (statement["checked"], statement["apart"]) == (True, [])
    # With a wrong part of one of the three nothing is opened: two agree, whichever one takes.
    active = world.round().require(ACTIVE).body["holders"]
    order = world.session.holder_keyids
    said = [parse_message(world.board.read(1, f"partials/{k}")) for k in active]
    size = world.scheme.partial_bytes
    parts = {
        order.index(k): world.board.body(1, m.digest("body"), size, "part")
        for k, m in zip(active, said, strict=True)
    }
    parts[1] = parts[1][:-8] + bytes(8)
    chosen = world.round().require(SET)
    total = world.board.body(1, parse_hex32(chosen.body["sum"], "sum"),
                             world.scheme.ciphertext_bytes, "sum")  # fmt: skip
    keys = [parse_hex32(entry["key"], "key") for entry in chosen.entries]
    with pytest.raises(VerificationError, match="contradict each other"):
        world.scheme.fuse(1, total, keys, parts)


def test_a_round_without_one_client_opens_the_sum_of_the_others(world: CkksWorld) -> None:
    world.commit([0, 2, 3])
    world.until(OPENED)
    found = open_sum(world.round(), world.scheme)
    assert found.values.tolist() == world.expected([0, 2, 3])


def test_holders_open_with_their_own_key_only(
    world: CkksWorld, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    _, keys = committee
    without = load_ckks(world.session)
    with pytest.raises(InvalidInput, match="its own key"):
        without.partial(1, 0, [], 2)
    with pytest.raises(InvalidInput, match="its own key"):
        load_ckks(world.session, keys[2]).partial(1, 0, [], 2)
    with pytest.raises(InvalidInput, match="joint key"):
        load_ckks(world.session, replace(keys[1], key_id=bytes(32)))


def test_a_holder_opens_contributions_under_their_logged_names(
    world: CkksWorld, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    scheme = load_ckks(world.session, committee[1][1])
    made = [scheme.start(1, world_values(world, i)) for i in range(2)]
    inputs = [(each.key, each.ciphertext, b"") for each in made]
    assert len(scheme.partial(1, 0, inputs, 2)) == scheme.partial_bytes
    exchanged = [(made[1].key, made[0].ciphertext, b""), inputs[1]]
    with pytest.raises(VerificationError, match="another name"):
        scheme.partial(1, 0, exchanged, 2)
    with pytest.raises(VerificationError, match="at least 3"):
        scheme.partial(1, 0, inputs, 3)


def test_parameters_fit_the_session(world: CkksWorld) -> None:
    for changes in ({"values": 9}, {"clients": 5}, {"bound": BOUND - 1}, {"threshold": 3}):
        parameters = {**world.session.parameters, **changes}
        with pytest.raises(InvalidInput, match=r"session\.parameters|committee"):
            load_ckks(replace(world.session, parameters=parameters))
    for changed in ({"format": "x"}, {"key": "AAAA"}, {"more": 1}, {"bound": True}):
        with pytest.raises(InvalidInput):
            load_ckks(replace(world.session, parameters={**world.session.parameters, **changed}))


def test_a_session_that_wants_proofs_is_refused(world: CkksWorld) -> None:
    with pytest.raises(InvalidInput, match="of rlwe only"):
        load_ckks(replace(world.session, inputs=bytes(32)))
    scheme = load_ckks(world.session)
    with pytest.raises(InvalidInput, match="of rlwe only"):
        scheme.sent(1, b"", b"", b"")
    with pytest.raises(InvalidInput, match="of rlwe only"):
        scheme.start(1, world_values(world, 0)).opening()


def test_an_earlier_ciphertext_can_come_back_so_noise_takes_a_key_for_one_round(
    world: CkksWorld,
) -> None:
    """Under a key that lasts, a ciphertext fits a later round with another head."""
    scheme = load_ckks(world.session)
    made = scheme.start(1, world_values(world, 0))
    later = made.ciphertext[:48] + scheme.seed(2) + bytes(32) + made.ciphertext[112:]
    with pytest.raises(InvalidInput, match="of another round"):
        scheme.total(2).add(made.ciphertext)
    scheme.total(2).add(later)
    noise = Privacy(100, 4, 2, "1", "0.00001")
    with pytest.raises(InvalidInput, match="no budget would count"):
        load_ckks(replace(world.session, value_bound=1, privacy=noise.fields))
    once = world.recertified(world.holder_keys, once=True)
    load_ckks(replace(once, value_bound=1, privacy=noise.fields))
    assert (world.session.rounds, once.rounds) == (2, 1)
    with pytest.raises(InvalidInput, match="rounds 1 to 1"):
        once.check_round(2)
    lying = replace(once, parameters={**once.parameters, "once": False})
    with pytest.raises(VerificationError, match="said otherwise"):
        load_ckks(lying)


def test_a_key_that_the_sessions_holders_did_not_make_is_refused(world: CkksWorld) -> None:
    """Whoever writes the session could put a key of its own there, and read every update."""
    signers = world.holder_keys
    for session, reason in (
        (world.recertified(signers, key=hex32(7)), "of another key"),
        (world.recertified(signers, threshold=3), "of other holders"),
        (world.recertified(signers, holders=list(world.session.holder_keyids[::-1])), "of other"),
        (world.recertified(signers[:2]), "not signed by 3 of 3"),
        (world.recertified([*signers[:2], generate()]), "not signed by 3 of 3"),
    ):
        with pytest.raises(VerificationError, match=reason):
            load_ckks(session)
    given = dict(world.session.parameters)
    text = given["certificate"]
    for wrong in (None, "", "{}", text[:-1], text.replace("sig", "sag")):
        with pytest.raises(InvalidInput):
            load_ckks(replace(world.session, parameters={**given, "certificate": wrong}))
    assert ckks_committee(world.session) == world.made[1][1].committee


def test_shares_of_before_a_resharing_open_nothing_in_the_new_committees_session(
    world: CkksWorld,
) -> None:
    keys = world.made[1]
    later = world.recertified(world.holder_keys, committee=hex32(5))
    with pytest.raises(InvalidInput, match="of another committee"):
        load_ckks(later, keys[1])
    load_ckks(later, replace(keys[1], committee=bytes(31) + b"\5"))


def test_a_holder_that_the_ceremony_left_out_is_not_asked_to_open(
    tmp_path: Path, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    class Lame(CkksWorld):
        made, without = committee, 0

    world = Lame(tmp_path / "world")
    world.commit()
    world.opens_to(range(4))
    active = world.round().require("active").body["holders"]
    assert world.holder_keys[0].keyid not in active
    assert len(active) == 2


def test_a_corrupt_holder_cannot_complain_a_client_away_nor_a_client_a_holder(
    world: CkksWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is dealt: a complaint is about whoever complains, and no sealed body is read."""

    def sealed(*_: Any) -> bytes:
        return bytes(sealed_share_bytes(0))

    monkeypatch.setattr("zkai.federated.client.seal_share", sealed)
    world.commit([0])
    monkeypatch.undo()
    world.commit([1, 2, 3])
    world.until("dealing")
    real = CkksScheme.check_share

    def lying(self: CkksScheme, number: int, holder: int, key: bytes, share: bytes) -> None:
        real(self, number, holder, key, share)
        if holder == 1 and key == named:
            raise InvalidInput("a lie")

    commitment = world.board.read(1, f"commitments/{world.keyid(2)}")
    named = parse_message(commitment).digest("key")
    monkeypatch.setattr(CkksScheme, "check_share", lying)
    world.opens_to(range(4))
    body = world.round().require("set").body
    assert body["excluded"] == []
    assert len(body["dealings"]) == 2


def test_sums_of_integers_come_out_exact_up_to_the_largest_that_are_taken(
    committee: tuple[JointKey, dict[int, HolderKey]],
) -> None:
    joint, keys = committee
    largest = 2**51
    parameters = choose_sum(9000, 2, largest, 2, 3)
    assert parameters.ciphertexts == 2
    scheme, seed = Ckks(parameters, joint), bytes(32)
    source = np.random.default_rng(3)
    rows = source.choice([-largest, largest, 1 - largest, 1, 0], (2, 9000)).astype(np.int64)
    sent = [scheme.encrypt(seed, row, bytes([i + 1] * 32)) for i, row in enumerate(rows)]
    logged = [(sha256(data), data) for data in sent]
    parts = {j: scheme.partial(seed, keys[j], logged, 2) for j in (1, 3)}
    total = scheme.add(seed, sent)
    found = scheme.fuse(seed, total, parts).values
    assert found.dtype == np.int64
    assert np.array_equal(found, rows.sum(axis=0))
    wrong = bytearray(parts[1])
    wrong[-8 * CHAIN.n] ^= 1
    with pytest.raises(VerificationError, match="is noise"):
        scheme.fuse(seed, total, {**parts, 1: bytes(wrong)})
    with pytest.raises(InvalidInput, match="expected 9000 integers"):
        scheme.encrypt(seed, rows[0] / 2)
    with pytest.raises(InvalidInput, match="at most 2251799813685248"):
        scheme.encrypt(seed, rows[0] + 1)
    for clients, bound in ((4, 2**51), (2, 2**62), (1 << 12, 2**41)):
        with pytest.raises(InvalidInput, match="do not come out exact"):
            choose_sum(200, clients, bound, 2, 3)


def test_an_opened_sum_that_is_off_by_a_fraction_of_an_integer_or_too_long_is_refused(
    committee: tuple[JointKey, dict[int, HolderKey]],
) -> None:
    """A holder that shifts its part by less than an integer, or writes after the last value."""
    joint, keys = committee
    parameters = choose_sum(5, 2, 9, 2, 3)
    scheme, seed, ring = Ckks(parameters, joint), bytes(32), CHAIN.data_ring
    sent = [scheme.encrypt(seed, np.full(5, i)) for i in (2, 3)]
    logged = [(sha256(data), data) for data in sent]
    parts = {j: scheme.partial(seed, keys[j], logged, 2) for j in (1, 3)}
    total = scheme.add(seed, sent)
    assert scheme.fuse(seed, total, parts).values.tolist() == [5] * 5

    two_thirds = 2 * pow(3, -1, ring.modulus)  # the weights of 1 and 3 at 0 are 3/2 and -1/2

    def shifted(place: int, by: int) -> dict[int, bytes]:
        words = np.frombuffer(parts[1][112:], "<u8").reshape(1, *ring.shape).astype(np.uint64)
        bump = np.zeros((1, ring.n), np.int64)
        bump[0, place] = 1
        scaled = ring.combine(ring.small(bump)[:, None], ring.residues([by * two_thirds]))
        return {**parts, 1: parts[1][:112] + ring.add(words, ring.ntt(scaled)).tobytes()}

    scale = 1 << parameters.scale_bits
    for place, by in ((0, scale // 3), (2, scale // 2), (5, scale), (ring.n - 1, scale)):
        with pytest.raises(VerificationError, match="no sum of integers"):
            scheme.fuse(seed, total, shifted(place, by))
    assert scheme.fuse(seed, total, shifted(1, scale)).values.tolist() == [5, 6, 5, 5, 5]
    whole = {**shifted(1, scale), 2: scheme.partial(seed, keys[2], logged, 2)}
    with pytest.raises(VerificationError, match="contradict each other"):
        scheme.fuse(seed, total, whole)


def test_seal_decrypts_integers_from_the_coefficients(
    committee: tuple[JointKey, dict[int, HolderKey]],
) -> None:
    """What is in SEAL's ciphertext is the polynomial that is claimed, and its file is SEAL's."""
    joint, keys = committee
    parameters = choose_sum(3, 2, 9, 2, 3)
    scheme, ring = Ckks(parameters, joint), CHAIN.data_ring
    data = scheme.encrypt(bytes(32), np.array([7, -8, 9]))
    words = read_ciphertext(CHAIN, data[112:], parameters.scale)
    shares = np.stack([keys[j].share[: len(ring.primes)] for j in (1, 2)])
    secret = ring.combine(shares, modular_weights(ring, (1, 2), 0))
    opened = ring.add(ring.multiply(words[1], secret), np.ascontiguousarray(words[0]))
    found, distances = round_off(ring.tables, ring.coefficients(opened)[None], 1 << 96)
    assert found[0, :4].tolist() == [7, -8, 9, 0]
    assert max(distances) < parameters.noise + 1
    with SealWorker(CHAIN) as worker:
        slots = worker.decode(opened[None], parameters.scale)[0]
    roots = np.exp(1j * np.pi * pow(3, 0, 2 * CHAIN.n) / CHAIN.n) ** np.arange(3)
    assert abs(slots[0] - (roots @ [7, -8, 9]).real) < 1e-6


def test_a_session_whose_scale_is_too_small_for_integers_is_refused(world: CkksWorld) -> None:
    for scale in (60, 62):
        parameters = {**world.session.parameters, "scale_bits": scale}
        with pytest.raises(InvalidInput, match="not exact"):
            load_ckks(replace(world.session, parameters=parameters))


def test_a_private_sum_is_exact_and_its_record_says_what_is_spent(
    tmp_path: Path, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    """Integers with every client's noise, under a key for one round; then the budget is spent."""
    pytest.importorskip("dp_accounting")

    class Private(CkksWorld):
        made, once = committee, True

    noise = plan(3, 2, 8, 1, 1.0, 1e-5, 8 * BOUND**2)[0]
    world = Private(tmp_path / "world", 3, 3, 2, percent=100, noise=noise)
    world.close()
    opened = world.open()
    added = opened.values - np.array(world.expected(range(3)))
    assert 0 < np.abs(added).max() <= 3 * noise.noise_bound
    spent = float(opened.statement["privacy"]["spent_epsilon"])
    assert opened.statement["privacy"] == {**noise.fields, "spent_epsilon": decimal(spent)}
    assert 0.99 < spent <= 1.0
    assert opened.statement["scheme"] == CKKS
    verify_aggregate(world.round(), world.scheme, opened.to_bytes(), opened.values)
    with pytest.raises(VerificationError, match="not the opened sum"):
        verify_aggregate(world.round(), world.scheme, opened.to_bytes(), opened.values + 1)
    with pytest.raises(InvalidInput, match="rounds 1 to 1"):
        world.commit(number=2)
    again = replace(world.session, nonce=bytes(32))
    with pytest.raises(VerificationError, match="privacy budget is spent"):
        world.clients[0].encrypt(again, load_scheme(again), world.board, 1, world.update(0, 2))
    with pytest.raises(VerificationError, match="of another session"):
        replace(world.holders[0], session=again).step(world.board, 1)


def test_what_a_scheme_refuses(world: CkksWorld) -> None:
    scheme = load_ckks(world.session)
    assert isinstance(scheme, CkksScheme)
    with pytest.raises(InvalidInput, match="left this holder out"):
        scheme.check_share(1, 0, bytes(32), b"")
    made = [scheme.start(1, world_values(world, i)) for i in range(2)]
    total = scheme.total(1)
    total.add(made[0].ciphertext, made[0].key)
    with pytest.raises(InvalidInput, match="already"):
        total.add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="not "):
        total.add(made[1].ciphertext, made[0].key)
    other = scheme.total(1)
    other.add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="in both"):
        total.merge(other)
    total.add(made[1].ciphertext, made[1].key)
    data = total.to_bytes()
    scheme.check_linear(1, [each.ciphertext for each in made], data)
    with pytest.raises(VerificationError, match="not that of"):
        scheme.check_linear(1, [made[0].ciphertext, made[0].ciphertext], data)
    with pytest.raises(VerificationError, match="other than 3"):
        scheme.fuse(1, data, [bytes(32)] * 3, {0: b"", 1: b""})
    with pytest.raises(VerificationError, match="bytes, not"):
        scheme.fuse(1, data, [bytes(32)] * 2, {0: b"", 1: b""})
    with pytest.raises(InvalidInput, match="another round"):
        scheme.total(2).add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="a sum stands"):
        scheme.total(1).add(data)
    with pytest.raises(InvalidInput, match="no shares"):
        scheme.check_share(1, 0, made[0].key, b"x")


def world_values(world: CkksWorld, i: int) -> Int64:
    return np.array(world.expected([i]), np.int64)
