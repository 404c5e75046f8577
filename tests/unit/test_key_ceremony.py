"""Key ceremonies through files: whoever cheats is named, and nobody says two things."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federated_support import fast_folder
from key_support import Hall, flipped

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated import key_member
from zkai.federated.board import Board
from zkai.federated.key_ceremony import KeyCeremony, Renewal, read_ceremony
from zkai.federated.key_files import KeyShares, open_seeds, seal_message, unseal_message
from zkai.federated.key_member import HANDED_ON, KEPT, LEFT_OUT
from zkai.federated.key_transcript import ROUND, parse_complaints, verify_ceremony
from zkai.federated.messages import (
    KEY_ACT,
    KEY_DECISION,
    base,
    combine,
    parse_message,
    payload_of,
    sign_message,
)
from zkai.he.ckks import CHAIN
from zkai.he.committee import start, start_resharing
from zkai.he.joint_key import HolderKey
from zkai.he.key_dealing import Dealing, Opening, Share, Terms
from zkai.he.projection import largest
from zkai.he.shamir import modular_weights
from zkai.receipt.envelope import Envelope
from zkai.receipt.signer import generate
from zkai.vault.keys import VaultKey

NAMES = ("h0", "h1", "h2", "h3")
PHASES = ("join", "commit", "open", "complain", "respond")


class Stages:
    """One honest ceremony, stopped at the beginning of each phase: tests go on with copies."""

    def __init__(self, root: Path) -> None:
        self.root, self._made = root, dict[str, Path]()
        self._hall = Hall(root / "hall")
        self._copies = 0
        for phase in PHASES:
            self._hall.until(phase, NAMES)
            self._made[phase] = root / f"at-{phase}"
            self._hall.copy(self._made[phase])
        self._hall.conclude()

    def at(self, phase: str) -> Hall:
        self._copies += 1
        base_hall = self._hall
        source = Hall.__new__(Hall)
        source.__dict__ = {**base_hall.__dict__, "root": self._made[phase]}
        source.folders = {name: source.root / name for name in base_hall.keys}
        return source.copy(self.root / f"copy-{self._copies}")

    @property
    def done(self) -> Hall:
        return self._hall


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    root = fast_folder()
    yield Stages(root)
    shutil.rmtree(root, ignore_errors=True)


def act_bytes(hall: Hall, name: str, said: bytes, **changes: Any) -> bytes:
    """Return a party's message of the phase that is due, signed by it, with changes."""
    now, key = hall.transcript(), hall.keys[name]
    predicate = {
        **base(hall.terms.id, ROUND), "act": now.phase, "party": key.keyid,
        "after": None if now.last is None else hex32(now.last), "body": hex32(sha256(said)),
    }  # fmt: skip
    return sign_message(KEY_ACT, predicate | changes, key).to_bytes()


def say(hall: Hall, name: str, body: bytes, **changes: Any) -> None:
    """Hand in a party's message of the phase that is due."""
    now = hall.transcript()
    hall.board.put_body(ROUND, body)
    path = f"{now.name(now.phase)}/{hall.keys[name].keyid}"
    hall.board.put(ROUND, path, act_bytes(hall, name, body, **changes))


def others(name: str) -> list[str]:
    return [each for each in NAMES if each != name]


def body_of(hall: Hall, name: str) -> bytes:
    """Return the body of what a party handed in for the phase that is due."""
    now = hall.transcript()
    data = hall.board.read(ROUND, f"{now.name(now.phase)}/{hall.keys[name].keyid}")
    return hall.board.body(ROUND, parse_message(data).digest("body"), None, "body")


def seeds_of(hall: Hall, name: str) -> dict[int, VaultKey]:
    member = hall.member(name)
    with member.memory.locked() as memory:
        data = memory.released(ROUND, "seeds")
    assert data is not None
    return open_seeds(hall.keys[name], hall.terms.id, [1, 2, 3, 4], data)


# --- an honest ceremony ---------------------------------------------------------------------------


def test_any_two_of_four_hold_the_key_that_the_board_shows(stages: Stages) -> None:
    hall = stages.done
    found = verify_ceremony(read_ceremony(hall.board, hall.terms.id), hall.board)
    assert found.joint is not None
    assert found.ceremony.excluded == {}
    shares = {}
    for name in NAMES:
        share = hall.member(name).shares.read(hall.terms.terms.digest)
        assert share is not None
        assert share.key_id == found.joint.id
        shares[share.place] = share.share
    ring = CHAIN.ring
    secrets = [
        ring.combine(np.stack([shares[j] for j in places]), modular_weights(ring, places, 0))
        for places in ((1, 2), (3, 4))
    ]
    assert np.array_equal(secrets[0], secrets[1])
    b, a = found.joint.key
    error = ring.coefficients(ring.add(b, ring.multiply(a, secrets[0])))
    assert 0 < largest(ring, error) < 100


def test_nothing_secret_is_left_and_nothing_lies_open(stages: Stages) -> None:
    for name in NAMES:
        folder = stages.done.folders[name]
        kept = {path.name for path in folder.rglob("*") if path.is_file()}
        assert not any("seeds" in name or "dealing" in name for name in kept)
        for path in folder.rglob("*"):
            assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path
    share = next((stages.done.folders["h0"] / "joint-keys").glob("*.share")).read_bytes()
    stranger = KeyShares(stages.done.folders["h0"] / "joint-keys", generate())
    with pytest.raises(VerificationError, match="of another party"):
        stranger.read(stages.done.terms.terms.digest)
    assert len(share) > 100_000


@pytest.mark.parametrize("phase", PHASES)
def test_a_holder_that_is_killed_says_the_same_when_it_is_back(
    stages: Stages, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its message is on the board, and with the message lost again later."""
    hall = stages.at(phase)
    path = f"{PHASES.index(phase)}-{phase}/{hall.keys['h2'].keyid}"

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Board, "put", die)
        with pytest.raises(KeyboardInterrupt):
            hall.member("h2").step(hall.board)
    assert not hall.board.has(ROUND, path)
    assert hall.member("h2").step(hall.board) == [phase]
    said = hall.board.read(ROUND, path)
    hall.board.round_path(ROUND, path).unlink()
    assert hall.member("h2").step(hall.board) == [phase]
    assert hall.board.read(ROUND, path) == said


def test_a_holder_that_is_killed_while_it_keeps_its_share_keeps_it_next_time(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = stages.at("respond")
    hall.until("concluded")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeyShares, "write", die)
        with pytest.raises(KeyboardInterrupt):
            hall.member("h1").step(hall.board)
    assert hall.member("h1").step(hall.board) == [KEPT]
    assert hall.member("h1").step(hall.board) == []
    assert hall.member("h1").finished()


# --- dealers that cheat ---------------------------------------------------------------------------


def test_a_rogue_key_chosen_after_the_others_openings_is_refused(stages: Stages) -> None:
    hall = stages.at("open")
    hall.step(NAMES)
    terms = hall.terms.terms
    size = Opening.bytes_each(terms)
    mine = body_of(hall, "h3")
    total = terms.ring.zeros()
    for name in ("h0", "h1", "h2"):
        public = Opening.from_bytes(terms, body_of(hall, name)[:size]).public
        assert public is not None
        total = terms.ring.add(total, public)
    target = start(terms, 4).opening.public
    assert target is not None
    rogue = replace(
        Opening.from_bytes(terms, mine[:size]), public=terms.ring.subtract(target, total)
    )
    say(hall, "h3", rogue.to_bytes(terms) + mine[size:])
    found = hall.conclude(NAMES)
    assert "opened something else than it committed to" in found.ceremony.excluded["h3"]
    assert hall.member("h3").shares.read(terms.digest) is None


def cheating(monkeypatch: pytest.MonkeyPatch, place: int, change: Callable[..., Dealing]) -> None:
    """Let one dealer deal otherwise, and commit to it."""

    def dealt(terms: Terms, dealer: int) -> Dealing:
        found = start(terms, dealer)
        return change(terms, found) if dealer == place else found

    monkeypatch.setattr(key_member, "start", dealt)


def test_a_dealer_that_turns_one_bit_of_a_share_is_named_and_left_out(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = stages.at("commit")
    cheating(monkeypatch, 4, flipped)
    found = hall.conclude()
    assert found.ceremony.excluded == {"h3": "dealt shares that are not of one small value"}
    assert found.step == 6
    assert hall.member("h3").step(hall.board) == []
    assert hall.member("h3").shares.read(hall.terms.terms.digest) is None
    assert hall.member("h0").shares.read(hall.terms.terms.digest) is not None


def test_a_dealer_that_seals_rubbish_is_named_by_a_complaint(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what it committed to, and sealed to another key than the one-time key."""
    hall = stages.at("commit")

    def bad(terms: Terms, dealer: int, holder: int, to: Any, message: bytes) -> bytes:
        if (dealer, holder) == (4, 1):
            message = message[:-1] + bytes([message[-1] ^ 1])
        if (dealer, holder) == (3, 2):
            to = VaultKey(bytes(32)).recipient
        return seal_message(terms, dealer, holder, to, message)

    monkeypatch.setattr(key_member, "seal_message", bad)
    found = hall.conclude()
    out = found.ceremony.excluded
    assert set(out) == {"h2", "h3"}
    assert all("not what the dealer committed to" in reason for reason in out.values())
    assert found.ceremony.qualified == [1, 2]


def test_a_message_sealed_for_another_ceremony_dealer_or_holder_is_not_read(
    stages: Stages,
) -> None:
    terms = stages.done.terms.terms
    key, message = VaultKey(bytes(range(32))), b"x" * Share.bytes_each(terms)
    sealed = seal_message(terms, 1, 2, key.recipient, message)
    assert unseal_message(terms, 1, 2, key, sealed) == message
    other = replace(terms, session=bytes(32))
    for given, dealer, holder in ((other, 1, 2), (terms, 3, 2), (terms, 1, 3)):
        with pytest.raises(VerificationError):
            unseal_message(given, dealer, holder, key, sealed)


# --- holders that cheat ---------------------------------------------------------------------------


def test_a_holder_that_complains_about_a_good_share_is_left_out(stages: Stages) -> None:
    hall = stages.at("complain")
    seed = seeds_of(hall, "h1")[3].seed
    hall.step(others("h1"))
    say(hall, "h1", b"\3\0" + seed)
    hall.advance()
    assert hall.transcript().ceremony.excluded == {"h1": "complained about a share that is good"}


def test_a_holder_that_complains_with_another_key_is_left_out(stages: Stages) -> None:
    hall = stages.at("complain")
    hall.step(others("h1"))
    say(hall, "h1", b"\3\0" + bytes(32))
    hall.advance()
    assert hall.transcript().ceremony.excluded == {"h1": "complained without the one-time key"}


def test_complaints_have_one_form(stages: Stages) -> None:
    one, two = b"\1\0" + bytes(32), b"\2\0" + bytes(32)
    assert parse_complaints(one + two) == [(1, bytes(32)), (2, bytes(32))]
    for wrong in (one[:-1], two + one, one + one, one * 11):
        with pytest.raises(InvalidInput, match="no form"):
            parse_complaints(wrong)
    hall = stages.at("complain")
    hall.step(others("h1"))
    say(hall, "h1", two + one)
    hall.advance()
    assert hall.transcript().ceremony.excluded == {"h1": "complained in no form"}


def test_a_holder_that_responds_falsely_is_named_when_all_show_their_shares(
    stages: Stages,
) -> None:
    hall = stages.at("respond")
    hall.step(NAMES)
    said = bytearray(body_of(hall, "h0"))
    said[-1024] ^= 1  # about dealer 4
    say(hall, "h0", bytes(said))
    hall.until("show")
    assert hall.transcript().disputed == 4
    found = hall.conclude()
    assert "responded something else than its share of dealer 4" in found.ceremony.excluded["h0"]
    assert found.ceremony.qualified == [2, 3]


def test_a_holder_that_shows_another_key_or_two_loses_the_dispute(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispute is over when the liar is out, but the shares that were shown stay unused."""
    hall = stages.at("respond")
    hall.step(NAMES)
    said = bytearray(body_of(hall, "h0"))
    said[-1024] ^= 1
    say(hall, "h0", bytes(said))
    hall.until("show")
    again = hall.copy(hall.root.with_name(hall.root.name + "-two"))
    hall.step(others("h0"))
    say(hall, "h0", bytes(32))
    found = hall.conclude()
    assert "did not show the share of dealer 4" in found.ceremony.excluded["h0"]
    say(again, "h0", bytes(32))
    again.advance()
    say(again, "h0", bytes(31) + b"\1")
    found = again.conclude()
    assert found.ceremony.excluded == {"h0": "signed two different messages in one phase"}
    assert found.ceremony.qualified == [2, 3]


# --- messages that do not belong ------------------------------------------------------------------


def test_two_different_messages_of_one_party_are_named_and_the_log_shows_both(
    stages: Stages,
) -> None:
    hall = stages.at("commit")
    hall.member("h3").step(hall.board)
    hall.advance()
    say(hall, "h3", bytes(32))
    assert hall.advance().refused["h3"] == "signed two different messages in one phase"
    found = hall.conclude()
    assert found.ceremony.excluded == {"h3": "signed two different messages in one phase"}
    assert found.ceremony.qualified == [1, 2, 3]
    assert hall.member("h3").step(hall.board) == []


def refused(hall: Hall, name: str) -> str:
    hall.step(others(name))
    return hall.advance().refused.get(name, "")


def test_messages_of_other_ceremonies_phases_histories_and_parties_are_refused(
    stages: Stages,
) -> None:
    hall = stages.at("commit")
    say(hall, "h1", bytes(32), session=hex32(1))
    assert "of another session" in refused(hall, "h1")
    say(hall, "h1", bytes(32), after=hex32(1))
    assert "follows another decision" in refused(hall, "h1")
    say(hall, "h1", bytes(32), act="open")
    assert "is not due" in refused(hall, "h1")
    say(hall, "h1", bytes(32), party=hall.keys["h2"].keyid)
    assert "not signed by" in refused(hall, "h1")
    say(hall, "h1", bytes(33))
    assert "larger than the 32 bytes" in refused(hall, "h1")
    earlier = hall.board.read(ROUND, f"0-join/{hall.keys['h1'].keyid}")
    hall.board.put(ROUND, f"1-commit/{hall.keys['h1'].keyid}", earlier)
    assert "is not due" in refused(hall, "h1")
    stranger = generate().keyid
    hall.board.put(ROUND, f"1-commit/{stranger}", earlier)
    assert hall.advance().refused[stranger] == "not due"
    assert hall.member("h1").step(hall.board) == ["commit"]
    assert hall.until("open").refused == {}


def test_a_log_with_a_message_that_does_not_belong_is_no_log(stages: Stages) -> None:
    """An aggregator that logs what it must refuse."""
    hall = stages.at("commit")
    hall.board.put_body(ROUND, bytes(32))
    for changes, reason in (
        ({"act": "open"}, "is not due"),
        ({"after": hex32(1)}, "follows another decision"),
        ({"party": generate().keyid}, "is not due"),
        ({"body": hex32(1)}, "cannot"),
    ):
        other = hall.copy(hall.root.with_name(f"{hall.root.name}-{changes!r:.9}"))
        message = parse_message(act_bytes(other, "h1", bytes(32), **changes))
        organiser = other.organiser()
        organiser.record.append([message])
        organiser.record.publish(other.board)
        organiser.close()
        with pytest.raises((VerificationError, InvalidInput), match=reason):
            other.member("h0").step(other.board)


def test_nobody_is_framed_by_a_forged_second_message_or_signature(stages: Stages) -> None:
    """An aggregator that signs for a party, to have it left out, and for holders."""
    hall = stages.at("commit")
    hall.step(NAMES)
    hall.advance()
    honest = parse_message(act_bytes(hall, "h1", bytes(32)))
    forged = generate().sign(honest.envelope.signed_bytes)
    keyid = hall.keys["h1"].keyid
    second = Envelope(honest.envelope.payload, ((keyid, forged),))
    predicate = hall.transcript().close()
    said = [sign_message(KEY_DECISION, predicate, hall.keys[name]) for name in NAMES[:3]]
    payload, signatures = said[0].envelope.payload, combine(said).envelope.signatures
    stolen = Envelope(payload, (*signatures[:2], (signatures[2][0], signatures[1][1])))
    for number, envelope in enumerate((second, stolen)):
        other = hall.copy(hall.root.with_name(f"{hall.root.name}-forged{number}"))
        organiser = other.organiser()
        organiser.record.append([parse_message(envelope.to_bytes())])
        organiser.record.publish(other.board)
        organiser.close()
        with pytest.raises(VerificationError, match="signature does not verify"):
            other.transcript()


def test_a_decision_needs_a_quorum_and_follows_from_the_log(stages: Stages) -> None:
    hall = stages.at("commit")
    hall.step(NAMES)
    status = hall.advance()
    assert status.phase == "commit (signatures)"
    now = hall.transcript()
    predicate = now.close()
    for changes, count, reason in (
        ({}, 2, "not signed by 3 of 4"),
        ({"phase": "open"}, 3, "does not follow from the log"),
        ({"size": 3}, 3, "does not follow from the log"),
        ({"key": hex32(1)}, 3, "does not follow from the log"),
    ):
        other = hall.copy(hall.root.with_name(f"{hall.root.name}-{changes!r:.9}{count}"))
        keys = [hall.keys[name] for name in NAMES[:count]]
        said = [sign_message(KEY_DECISION, predicate | changes, key) for key in keys]
        organiser = other.organiser()
        organiser.record.append([combine(said)])
        organiser.record.publish(other.board)
        organiser.close()
        with pytest.raises(VerificationError, match=reason):
            other.transcript()
        if changes:
            payload = payload_of(KEY_DECISION, predicate | changes)
            third = hall.copy(hall.root.with_name(f"{hall.root.name}-p{changes!r:.9}"))
            third.board.put(ROUND, "1-proposal", payload)
            with pytest.raises(VerificationError, match="does not follow from the log"):
                third.member("h0").step(third.board)


def test_a_rewritten_log_and_a_second_decision_are_refused(stages: Stages) -> None:
    hall = stages.at("commit")
    fork = hall.copy(hall.root.with_name(hall.root.name + "-fork"))
    hall.step(NAMES)
    hall.advance()
    hall.step(NAMES)
    fork.step(others("h3"))
    fork.advance(wait=False)
    fork.folders = hall.folders
    with pytest.raises(VerificationError, match=r"history was rewritten|the log shrank"):
        fork.member("h0").step(fork.board)
    member = hall.member("h0")
    with member.memory.locked() as memory, pytest.raises(VerificationError, match="another"):
        memory.claim("1-signed", bytes(32))


def test_a_silent_party_is_left_out_and_signs_no_end_that_leaves_it_out(stages: Stages) -> None:
    hall = stages.at("respond")
    hall.step(others("h2"))
    assert hall.advance().waiting == ("h2",)
    assert hall.advance(wait=False).phase == "respond (signatures)"
    with pytest.raises(VerificationError, match="leaves out what it said"):
        hall.member("h2").step(hall.board)
    hall.step(others("h2"))
    found = hall.conclude(others("h2"))
    assert found.ceremony.excluded == {"h2": "did not respond"}
    committee = hall.terms.terms.digest
    with pytest.raises(InvalidInput, match="finish its ceremony first"):
        hall.member("h2").shares.expected(committee)
    assert hall.member("h2").step(hall.board) == [LEFT_OUT]
    assert hall.member("h2").shares.expected(committee) is None
    assert hall.member("h1").shares.expected(committee) is not None


def test_who_does_not_join_ends_the_ceremony(stages: Stages) -> None:
    hall = stages.at("join")
    hall.step(others("h1"))
    with pytest.raises(VerificationError, match="not joined by h1: begin another"):
        hall.advance(wait=False)
    other = stages.at("join")
    other.step(others("h1"))
    say(other, "h1", bytes(1216 * 4))
    with pytest.raises(VerificationError, match="not joined by h1: begin another"):
        other.advance()
    assert other.transcript().ceremony.excluded == {"h1": "joined with keys that are none"}


def test_too_few_dealers_end_the_ceremony_with_their_names(stages: Stages) -> None:
    hall = stages.at("open")
    hall.step(["h0"])
    with pytest.raises(VerificationError, match="1 dealers and 1 holders are left"):
        hall.advance(wait=False)


def test_a_stranger_and_an_unfinished_ceremony(stages: Stages) -> None:
    hall = stages.at("open")
    stranger = key_member.KeyMember(hall.terms, generate(), hall.root / "stranger")
    with pytest.raises(InvalidInput, match="none of its parties"):
        stranger.step(hall.board)
    with pytest.raises(VerificationError, match="not concluded, but at open"):
        verify_ceremony(hall.terms, hall.board)
    with pytest.raises(VerificationError, match="another ceremony"):
        read_ceremony(hall.board, bytes(32))


# --- terms and resharing --------------------------------------------------------------------------


def test_terms_have_one_form_and_are_not_contradictory(stages: Stages) -> None:
    terms = stages.done.terms
    assert KeyCeremony.from_bytes(terms.to_bytes()).id == terms.id
    with pytest.raises(InvalidInput, match="expected zkai"):
        KeyCeremony.from_bytes(b"{}")
    twice = (terms.holders[0], replace(terms.holders[1], key=terms.holders[0].key))
    renewal = Renewal(bytes(32), bytes(32), terms.holders[:2])
    renamed = (replace(terms.holders[0], name="x"), terms.holders[1])
    for changes, reason in (
        ({"holders": (*twice, *terms.holders[2:])}, "there twice"),
        ({"aggregator": terms.holders[0].key}, "holds no part"),
        ({"threshold": 3}, "2 t - 1 <= n"),
        (
            {"holders": (replace(terms.holders[0], name="h0\nh1: out"), *terms.holders[1:])},
            "printable",
        ),
        ({"once": True, "renews": renewal}, "more than one round"),
        ({"renews": replace(renewal, dealers=renamed)}, "two names"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            replace(terms, **changes)


def test_resharing_moves_the_key_and_old_holders_delete_their_shares(stages: Stages) -> None:
    old = stages.done.copy(stages.root / "old")
    hall = Hall(stages.root / "new", 3, 2, renews=(old, (0, 2)), first="n")
    hall.step(["n0", "n1", "n2"])
    hall.advance()
    hall.step(["n0", "n1", "n2"])
    hall.advance()
    with pytest.raises(VerificationError, match="name the ceremony that you agreed to"):
        hall.member("h0", agreed=False).step(hall.board)
    found = hall.conclude()
    before = old.transcript().joint
    assert found.joint is not None
    assert before is not None
    assert found.joint.id == before.id
    with pytest.raises(VerificationError, match="was handed on"):
        hall.member("h0").shares.read(old.terms.terms.digest)
    assert hall.member("h1").shares.read(old.terms.terms.digest) is not None
    assert hall.member("h1").step(hall.board) == [HANDED_ON]
    assert hall.member("h1").step(hall.board) == []
    assert hall.member("h1").finished()
    ring, committee = CHAIN.ring, hall.terms.terms.digest
    new = [hall.member(name).shares.read(committee) for name in ("n0", "n2")]
    shares = [each.share for each in new if each is not None]
    secret = ring.combine(np.stack(shares), modular_weights(ring, (1, 3), 0))
    b, a = found.joint.key
    error = ring.coefficients(ring.add(b, ring.multiply(a, secret)))
    assert largest(ring, error) < 100


def test_new_holders_take_no_key_that_somebody_hands_them_unasked(stages: Stages) -> None:
    """A key of whoever writes the terms, handed on to honest holders, would be signed by them: a
    session would carry their decision, and the writer read every update."""
    known = stages.done.copy(stages.root / "known")
    hall = Hall(stages.root / "imposed", 3, 2, renews=(known, (0, 2)), first="n")
    for name in ("n0", "n1", "n2"):
        with pytest.raises(VerificationError, match="name the ceremony that you agreed to"):
            hall.member(name, agreed=False).step(hall.board)
    assert hall.advance().phase == "join"
    assert not hall.board.listed(1, "0-join")


def test_a_key_for_one_round_is_not_handed_on(stages: Stages) -> None:
    old = stages.at("respond")
    once = replace(old.terms, once=True)
    shares = stages.done.member("h0").shares
    certificate = shares.certificate(stages.done.terms.terms.digest)
    assert certificate.predicate["once"] is False
    hall = Hall(stages.root / "again", 3, 2, renews=(stages.done, (0, 1)), first="n")
    said = sign_message(KEY_DECISION, {**certificate.predicate, "once": True}, old.keys["h0"])
    folder = stages.root / "once"
    key = shares.read(stages.done.terms.terms.digest)
    assert key is not None
    KeyShares(folder / "joint-keys", old.keys["h0"]).write(key, said)
    hall.folders["h0"] = folder
    hall.until("commit", ["n0", "n1", "n2"])
    with pytest.raises(VerificationError, match="for one round, and is not handed on"):
        hall.member("h0").step(hall.board)
    assert once.id != old.terms.id


def test_an_old_holder_that_shares_another_value_ends_the_resharing_and_nothing_is_deleted(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = stages.done.copy(stages.root / "old-2")
    hall = Hall(stages.root / "other", 3, 2, renews=(old, (0, 2)), first="n")

    def dealt(terms: Terms, key: HolderKey) -> Dealing:
        share = key.share.copy()
        share[0, 0] = (share[0, 0] + np.uint64(1)) % np.uint64(CHAIN.primes[0])
        return start_resharing(terms, replace(key, share=share) if key.place == 3 else key)

    monkeypatch.setattr(key_member, "start_resharing", dealt)
    with pytest.raises(VerificationError, match=r"resharing: the .* is not small"):
        hall.until("concluded")
    for name in ("h0", "h2"):
        assert hall.member(name).shares.read(old.terms.terms.digest) is not None
    again = Hall(stages.root / "third", 3, 2, renews=(old, (0, 2)), first="n")
    again.folders["h0"] = stages.root / "empty"
    again.until("commit", ["n0", "n1", "n2"])
    with pytest.raises(InvalidInput, match="holds no such share"):
        again.member("h0").step(again.board)
