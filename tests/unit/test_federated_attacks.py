"""What a cheating aggregator, client or key holder tries in a round, and how each is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from federated_support import World, fast_folder

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.decisions import Decision, check_quorum, propose
from zkai.federated.messages import (
    ACTIVE,
    CLOSED,
    COMMITMENT,
    DEALING,
    DECISION,
    PARTIAL,
    REVEAL,
    SET,
    combine,
    parse_message,
    sign_message,
)
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.record import Record, View
from zkai.federated.schemes import load_scheme
from zkai.receipt.signer import generate

HOLDERS, THRESHOLD = 5, 3


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, World]]:
    """A round of 4 clients, 3-of-5 holders, copied where each thing is about to be done."""
    root = fast_folder()
    world = World(root / "world", 4, HOLDERS, THRESHOLD, percent=75)
    found = {"empty": world.copy(root / "empty")}
    world.commit()
    world.advance()
    found[CLOSED] = world.copy(root / CLOSED)
    world.serve()
    world.advance()
    found[REVEAL] = world.copy(root / REVEAL)
    world.reveal()
    world.advance()
    for phase in (DEALING, SET, ACTIVE, PARTIAL):
        found[phase] = world.copy(root / phase)
        world.serve()
        world.advance()
    found["opened"] = world
    yield found
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def at(stages: dict[str, World]) -> Iterator[Callable[[str], World]]:
    """Return a copy of the round at a stage."""
    folder = fast_folder()
    yield lambda stage: stages[stage].copy(folder / stage)
    shutil.rmtree(folder, ignore_errors=True)


def again(
    world: World, phase: str, change: Callable[[dict[str, Any]], object], **predicate: Any
) -> Decision:
    """Propose a phase once more, with another body: as only a cheating aggregator would."""
    rnd = world.round()
    old = rnd.proposal(phase)
    body = {**old.body}
    change(body)
    previous = {CLOSED: None, SET: CLOSED, ACTIVE: SET}[phase]
    before = None if previous is None else rnd.require(previous)
    payload, data = propose(world.session, 1, phase, before, rnd.view.checkpoint, body)
    if predicate:
        changed = {**parse_payload(payload), **predicate}
        payload = sign_message(DECISION, changed, world.operator).envelope.payload
    world.board.put(1, f"{phase}.body", data)
    world.board.put(1, f"{phase}.proposal", payload)
    return Decision(payload, parse_payload(payload), body)


def parse_payload(payload: bytes) -> dict[str, Any]:
    from zkai.encoding import load_json

    found: dict[str, Any] = load_json(payload, "payload")["predicate"]
    return found


def refused(world: World, phase: str, reason: str, j: int = 0) -> None:
    """Check that a holder refuses a proposal for a reason, says nothing, and stays free."""
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        world.holders[j].cosign(world.board, 1, phase)
    assert world.holders[j].key.keyid not in world.board.listed(1, f"{phase}-signed")
    with world.holders[j].memory.locked() as memory:
        assert memory.round == 0 or memory.done(phase) is None


def drop(count: int) -> Callable[[dict[str, Any]], None]:
    """Leave out the first clients of a set, and name them."""

    def change(body: dict[str, Any]) -> None:
        out = body["entries"][:count]
        body["entries"] = body["entries"][count:]
        if "excluded" in body:
            body["excluded"] = [{"client": e["client"], "reason": "dropped"} for e in out]

    return change


# who committed


def test_closed_takes_only_enough_distinct_logged_commitments(
    at: Callable[[str], World],
) -> None:
    world = at(CLOSED)
    session = world.session

    def twice(body: dict[str, Any]) -> None:
        body["entries"] = [body["entries"][0], *body["entries"]]

    def stranger(body: dict[str, Any]) -> None:
        entry = {"client": generate().keyid, "index": 1}
        body["entries"] = sorted([*body["entries"], entry], key=lambda e: e["client"])

    def swapped(body: dict[str, Any]) -> None:
        first, second, *rest = body["entries"]
        body["entries"] = [{**first, "index": second["index"]}, second, *rest]

    def unlogged(body: dict[str, Any]) -> None:
        body["entries"] = [{**e, "index": e["index"] + 1000} for e in body["entries"]]

    def backwards(body: dict[str, Any]) -> None:
        body["entries"] = body["entries"][::-1]

    cases: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (drop(2), "2 clients, and at least 3 must contribute"),
        (drop(3), "1 clients"),
        (twice, "clients are there twice"),
        (backwards, "not in order"),
        (stranger, "is not a client of the session"),
        (swapped, "not signed by"),
        (unlogged, "is not logged here"),
    ]
    good = world.board.read(1, "closed.body"), world.board.read(1, "closed.proposal")
    for change, reason in cases:
        again(world, CLOSED, change)
        refused(world, CLOSED, reason)
        world.board.put(1, "closed.body", good[0])
        world.board.put(1, "closed.proposal", good[1])
    world.holders[0].cosign(world.board, 1, CLOSED)
    assert session.least == 3


def test_commitments_are_of_this_session_and_round_and_signed(at: Callable[[str], World]) -> None:
    world = at("empty")
    world.commit()
    keyid = world.keyid(0)
    data = world.board.read(1, f"commitments/{keyid}")
    said = dict(parse_message(data).predicate)
    bad = {
        "another key": sign_message(COMMITMENT, said, generate()),
        "another round": sign_message(COMMITMENT, {**said, "round": 2}, world.keys[0]),
        "another session": sign_message(COMMITMENT, {**said, "session": hex32(7)}, world.keys[0]),
        "another client": sign_message(
            COMMITMENT, {**said, "client": world.keyid(1)}, world.keys[0]
        ),
        "too few shares": sign_message(
            COMMITMENT, {**said, "shares": said["shares"][1:]}, world.keys[0]
        ),
        "another weight": sign_message(COMMITMENT, {**said, "weight_bound": 5}, world.keys[0]),
        "a proof nobody asked for": sign_message(
            COMMITMENT, {**said, "proof": hex32(1)}, world.keys[0]
        ),
    }
    for name, message in bad.items():
        log = Record(world.root / f"{name}.db", world.session, world.operator)
        log.append([message])
        others = [world.board.read(1, f"commitments/{world.keyid(i)}") for i in (1, 2, 3)]
        log.append([parse_message(other) for other in others])
        log.publish(world.board)
        log.close()
        rnd = world.round()
        with pytest.raises(VerificationError):
            rnd.commitment({"client": keyid, "index": 1})
        assert rnd.commitment({"client": world.keyid(1), "index": 2}).id
    world.board.put(1, f"commitments/{keyid}", data[:-1])
    world.advance()
    assert "c0" in world.aggregator.refused


def test_a_forked_shrunk_or_foreign_log_is_refused(at: Callable[[str], World]) -> None:
    world = at(CLOSED)
    holder = world.holders[0]
    holder.cosign(world.board, 1, CLOSED)
    kept = {
        name: (world.board.root / "record" / name).read_bytes() for name in ("checkpoint", "leaves")
    }
    other = Record(world.root / "fork.db", world.session, world.operator)
    order = (3, 2, 1, 0)
    found = [world.board.read(1, f"commitments/{world.keyid(i)}") for i in order]
    other.append([parse_message(data) for data in found])
    other.publish(world.board)
    with pytest.raises(VerificationError, match="history was rewritten or forked"):
        holder.cosign(world.board, 1, CLOSED)
    short = Record(world.root / "short.db", world.session, world.operator)
    short.publish(world.board)
    with pytest.raises(VerificationError, match="the log shrank to 1 entries"):
        holder.cosign(world.board, 1, CLOSED)
    world.board.put_record(kept["checkpoint"], kept["leaves"][:-32])
    with pytest.raises(InvalidInput, match="bytes of hashes"):
        holder.cosign(world.board, 1, CLOSED)
    world.board.put_record(kept["checkpoint"], kept["leaves"][:-1] + b"\0")
    with pytest.raises(VerificationError, match="do not lead to the signed root"):
        holder.cosign(world.board, 1, CLOSED)
    world.board.put_record(kept["checkpoint"].replace(b"/test", b"/tesu"), kept["leaves"])
    with pytest.raises(VerificationError, match="not signed"):
        holder.cosign(world.board, 1, CLOSED)
    world.board.put_record(kept["checkpoint"], kept["leaves"])
    assert holder.cosign(world.board, 1, CLOSED)


def test_a_holder_signs_one_decision_of_each_kind(at: Callable[[str], World]) -> None:
    for phase in (CLOSED, SET):
        world = at(phase)
        holder = world.holders[0]
        holder.cosign(world.board, 1, phase)
        again(world, phase, drop(1))
        with pytest.raises(VerificationError, match=f"asked for another {phase}"):
            holder.cosign(world.board, 1, phase)
        with pytest.raises(VerificationError, match=f"asked for another {phase}"):
            world.open_holder(0).cosign(world.board, 1, phase)


# clients show nothing early


def test_a_client_shows_its_ciphertext_only_after_a_quorum_closed(
    at: Callable[[str], World],
) -> None:
    world = at(CLOSED)
    client = world.clients[0]
    with pytest.raises(VerificationError, match="'closed' is not decided yet"):
        client.reveal(world.session, world.board, 1)
    signed = [world.holders[j].cosign(world.board, 1, CLOSED) for j in range(3)]
    few = combine(signed).to_bytes()
    world.board.put(1, "closed.certificate", few)
    with pytest.raises(VerificationError, match="3 key holders signed, 4 must"):
        client.reveal(world.session, world.board, 1)
    signed.append(world.holders[3].cosign(world.board, 1, CLOSED))
    world.board.put(1, "closed.certificate", combine(signed).to_bytes())
    with pytest.raises(VerificationError, match="not in the record"):
        client.reveal(world.session, world.board, 1)
    assert not world.board.listed(1, "bodies")
    world.advance()
    assert client.reveal(world.session, world.board, 1)


def test_a_client_left_out_of_closed_shows_nothing(at: Callable[[str], World]) -> None:
    world = at("empty")
    world.commit([0, 1, 2])
    world.advance()
    world.commit([3])
    world.serve()
    world.advance()
    with pytest.raises(VerificationError, match="its commitment is not in the list"):
        world.clients[3].reveal(world.session, world.board, 1)
    world.aggregator.abort(1, "over")
    with pytest.raises(VerificationError, match="was aborted; show nothing"):
        world.clients[0].reveal(world.session, world.board, 1)


def test_another_weight_makes_no_other_update(tmp_path: Path) -> None:
    """Whoever has u + R and 2 u + R has u."""
    world = World(tmp_path / "w", 3, 3, 2, max_weight=9)
    client, update = world.clients[0], world.update(0)
    client.encrypt(world.session, world.scheme, world.board, 1, update, 2)
    client.encrypt(world.session, world.scheme, world.board, 1, update, 2)
    with pytest.raises(InvalidInput, match="another update or weight was encrypted for round 1"):
        client.encrypt(world.session, world.scheme, world.board, 1, update, 1)
    with pytest.raises(InvalidInput, match="this update went into round 1"):
        client.encrypt(world.session, world.scheme, world.board, 2, update, 1)
    plain = world.altered(max_weight=1)
    with pytest.raises(InvalidInput, match="this update went into round 1"):
        client.encrypt(plain, load_scheme(plain), world.board, 1, update)


def test_a_client_never_encrypts_an_update_twice(at: Callable[[str], World]) -> None:
    world = at(REVEAL)
    world.aggregator.abort(1, "over")
    client, update = world.clients[0], world.update(0)
    before = world.board.read(1, f"commitments/{world.keyid(0)}")
    client.encrypt(world.session, world.scheme, world.board, 1, update)
    assert world.board.read(1, f"commitments/{world.keyid(0)}") == before
    with pytest.raises(InvalidInput, match="this update went into round 1"):
        client.encrypt(world.session, world.scheme, world.board, 2, update)
    other = world.altered(nonce=bytes(32))
    with pytest.raises(InvalidInput, match="this update went into round 1"):
        client.encrypt(other, world.scheme, world.board, 1, update)
    with pytest.raises(InvalidInput, match="there is one a round"):
        client.encrypt(world.session, world.scheme, world.board, 1, world.update(0, 2))
    client.encrypt(world.session, world.scheme, world.board, 2, world.update(0, 2))
    (client.folder / "notes.json").unlink()
    with pytest.raises(InvalidInput, match="must not encrypt any more"):
        client.encrypt(world.session, world.scheme, world.board, 2, world.update(0, 3))


# the set


def test_a_set_is_of_enough_clients_and_their_logged_ciphertexts(
    at: Callable[[str], World],
) -> None:
    world = at(SET)

    def field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda body: body.update({name: value})

    def entry(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda body: body.update(
            entries=[{**body["entries"][0], name: value}, *body["entries"][1:]]
        )

    def twice(body: dict[str, Any]) -> None:
        body["entries"] = [body["entries"][0], *body["entries"]]

    def silent(body: dict[str, Any]) -> None:
        drop(1)(body)
        body["excluded"] = []

    cases: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (drop(3), "1 clients, and at least 3 must contribute"),
        (drop(2), "2 clients, and at least 3"),
        (twice, "clients are there twice"),
        (silent, "not everybody who is left out is named"),
        (drop(1), "the sum is not that of the logged ciphertexts"),
        (field("sum", hex32(3)), "the sum is not that of the logged ciphertexts"),
        (field("clusters", [{"name": "x", "sum": hex32(3)}]), "the cluster sums are not those"),
        (field("bound", True), "`bound` does not say"),
        (field("privacy", {"epsilon": "1"}), "`privacy` is not what"),
        (field("dealings", []), "expected 1 to 10 entries"),
        (lambda body: body.update(dealings=body["dealings"][:2]), "2 holders checked the dealings"),
        (
            lambda body: body.update(dealings=[body["dealings"][0], *body["dealings"]]),
            "a holder's dealing check is there twice",
        ),
        (field("reveal", 1), "a commitment, not a reveal"),
        (entry("ciphertext", hex32(3)), "ciphertext is not the one that was logged"),
        (entry("key", hex32(3)), "key is not the one that was logged"),
        (entry("index", 0), "committed nothing at entry 0"),
        (entry("weight_bound", 2), "weight_bound is not the one that was logged"),
    ]
    good = world.board.read(1, "set.body"), world.board.read(1, "set.proposal")
    for change, reason in cases:
        again(world, SET, change)
        refused(world, SET, reason)
        world.board.put(1, "set.body", good[0])
        world.board.put(1, "set.proposal", good[1])
    again(world, SET, lambda body: None, previous=hex32(1))
    refused(world, SET, "does not follow the round's closed")
    again(world, SET, lambda body: None, root=hex32(1))
    refused(world, SET, "history was rewritten")
    again(world, SET, lambda body: None, size=10**6)
    refused(world, SET, "the log shrank")
    world.board.put(1, "set.body", good[0])
    world.board.put(1, "set.proposal", good[1])
    world.holders[0].cosign(world.board, 1, SET)


def test_bodies_are_exactly_what_was_committed_to(at: Callable[[str], World]) -> None:
    world = at(SET)
    said = world.round().commitment(world.round().require(CLOSED).entries[0])
    name = f"bodies/{said.digest('ciphertext').hex()}"
    data = world.board.read(1, name, 1 << 20)
    for changed, reason in [
        (data[:-1], "expected .* bytes, got"),
        (data + b"\0", "larger than"),
        (data[:-1] + bytes([data[-1] ^ 1]), "not those of its digest"),
    ]:
        world.board.put(1, name, changed)
        refused(world, SET, reason)
    world.board.round_path(1, name).unlink()
    refused(world, SET, "cannot be read")
    world.board.put(1, name, data)
    world.holders[0].cosign(world.board, 1, SET)


def test_a_clusters_sum_is_never_opened(tmp_path: Path) -> None:
    folder = fast_folder()
    world = World(folder / "w", 4, 3, 2, percent=75, clusters=["a", "a", "b", "b"])
    world.close()
    world.until(SET)
    cluster = world.session.clients_by_keyid

    def only(body: dict[str, Any]) -> None:
        kept = [e for e in body["entries"] if cluster[e["client"]].cluster == "a"]
        body["excluded"] = [
            {"client": e["client"], "reason": "b"} for e in body["entries"] if e not in kept
        ]
        total = next(c["sum"] for c in body["clusters"] if c["name"] == "a")
        body.update(entries=kept, sum=total, clusters=[{"name": "a", "sum": total}])

    again(world, SET, only)
    refused(world, SET, "2 clients, and at least 3 must contribute")
    shutil.rmtree(folder)


# two sets, two committees, two answers


def test_differencing_sets_never_have_a_quorum_each(at: Callable[[str], World]) -> None:
    """Holder 2 is corrupt: {0, 1, 2} sign everyone, {2, 3, 4} everyone but the victim."""
    world = at(SET)
    both = [world.round().proposal(SET)]
    honest = [[world.holders[j].cosign(world.board, 1, SET) for j in (0, 1)]]
    rnd = world.round()
    entries = both[0].entries
    total = world.scheme.total(1)
    for e in entries[1:]:
        digest = bytes.fromhex(e["ciphertext"][2:])
        total.add(world.board.body(1, digest, world.scheme.ciphertext_bytes, "c"))

    def without_victim(body: dict[str, Any]) -> None:
        drop(1)(body)
        body["sum"] = hex32(sha256(total.to_bytes()))

    both.append(again(world, SET, without_victim))
    honest.append([world.holders[j].cosign(world.board, 1, SET) for j in (3, 4)])
    for decision, signed in zip(both, honest, strict=True):
        corrupt = sign_message(DECISION, decision.predicate, world.holder_keys[2])
        certificate = combine([*signed, corrupt])
        with pytest.raises(VerificationError, match="3 key holders signed, 4 must"):
            check_quorum(world.session, certificate, 1)
    assert len(rnd.require(CLOSED).entries) == 4


def test_certificates_are_of_distinct_holders_and_each_signature_counts(
    at: Callable[[str], World],
) -> None:
    world = at(SET)
    signed = [world.holders[j].cosign(world.board, 1, SET) for j in range(4)]
    check_quorum(world.session, combine(signed), 1)
    decision = world.round().proposal(SET)
    stranger = sign_message(DECISION, decision.predicate, world.keys[0])
    with pytest.raises(VerificationError, match="is no key holder"):
        check_quorum(world.session, combine([*signed, stranger]), 1)
    with pytest.raises(VerificationError, match="3 key holders signed"):
        check_quorum(world.session, combine([*signed[:3], signed[0]]), 1)
    envelope = combine(signed).envelope
    pairs = [*envelope.signatures]
    pairs[1] = (pairs[1][0], pairs[0][1])
    from zkai.receipt.envelope import Envelope

    forged = parse_message(Envelope(envelope.payload, tuple(pairs)).to_bytes())
    with pytest.raises(VerificationError, match="does not verify"):
        check_quorum(world.session, forged, 1)
    double = parse_message(
        Envelope(envelope.payload, (*envelope.signatures, envelope.signatures[0])).to_bytes()
    )
    with pytest.raises(VerificationError, match="a holder signed twice"):
        check_quorum(world.session, double, 1)
    with pytest.raises(VerificationError, match="not of round 2"):
        check_quorum(world.session, combine(signed), 2)


def test_the_opening_is_decided_once_and_is_for_all_who_can(at: Callable[[str], World]) -> None:
    """An aggregator that let only t holders open would leave nobody to see a wrong part."""
    world = at(ACTIVE)
    first = world.round().proposal(ACTIVE).body["holders"]
    assert sorted(first) == sorted(world.session.holder_keyids)
    for j in range(2):
        world.holders[j].cosign(world.board, 1, ACTIVE)
    again(world, ACTIVE, lambda body: body.update(holders=first[::-1]))
    with pytest.raises(VerificationError, match="asked for another active"):
        world.holders[0].cosign(world.board, 1, ACTIVE)
    for holders, reason in [
        (first[:3], "expected 5 distinct holders"),
        ([*first[:4], first[0]], "expected 5 distinct holders"),
        ([*first[:4], generate().keyid], "took no part in the dealing check"),
    ]:
        again(world, ACTIVE, lambda body, found=holders: body.update(holders=found))
        refused(world, ACTIVE, reason, j=3)


def test_one_part_a_round(at: Callable[[str], World]) -> None:
    world = at(PARTIAL)
    active = world.round().require(ACTIVE).body["holders"]
    inside = world.session.holder_keyids.index(active[0])
    holder = world.holders[inside]
    said = holder.partial(world.board, 1)
    body = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    for name in (f"partials/{active[0]}", f"bodies/{said.digest('body').hex()}"):
        world.board.round_path(1, name).unlink()
    assert world.open_holder(inside).partial(world.board, 1).to_bytes() == said.to_bytes()
    assert world.board.body(1, said.digest("body"), len(body), "part") == body
    with pytest.raises(VerificationError, match="the key of round 1 was deleted"):
        holder.keys.read(1)
    # A second certified opening cannot be, but this holder would not answer it either.
    with holder.memory.locked() as memory, pytest.raises(VerificationError, match="another part"):
        memory.claim(PARTIAL, bytes(32))


def test_a_part_needs_every_decision_in_the_record(at: Callable[[str], World]) -> None:
    world = at(ACTIVE)
    signed = [world.holders[j].cosign(world.board, 1, ACTIVE) for j in range(4)]
    with pytest.raises(VerificationError, match="'active' is not decided yet"):
        world.holders[0].partial(world.board, 1)
    world.board.put(1, "active.certificate", combine(signed[:3]).to_bytes())
    with pytest.raises(VerificationError, match="3 key holders signed, 4 must"):
        world.holders[0].partial(world.board, 1)
    world.board.put(1, "active.certificate", combine(signed).to_bytes())
    with pytest.raises(VerificationError, match="not in the record"):
        world.holders[0].partial(world.board, 1)
    world.board.put(1, "active.certificate", world.board.read(1, "set.certificate"))
    with pytest.raises(VerificationError, match="of another phase"):
        world.holders[0].partial(world.board, 1)
    assert not world.board.listed(1, "partials")


def test_nothing_is_opened_after_an_abort(at: Callable[[str], World]) -> None:
    world = at(PARTIAL)
    active = world.round().require(ACTIVE).body["holders"]
    j = world.session.holder_keyids.index(active[0])
    world.aggregator.abort(1, "changed our minds")
    with pytest.raises(VerificationError, match="aborted"):
        world.holders[j].partial(world.board, 1)
    world.board.round_path(1, "abort").unlink()
    with pytest.raises(VerificationError, match="aborted"):
        world.open_holder(j).partial(world.board, 1)
    with pytest.raises(VerificationError, match="key of round 1 was deleted"):
        world.holders[j].keys.read(1)


def test_a_crash_between_note_and_word_changes_nothing(
    at: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = at(SET)
    holder = world.holders[0]
    from zkai.federated.memory import Memory

    def crash(*args: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Memory, "release", crash)
    with pytest.raises(KeyboardInterrupt):
        holder.cosign(world.board, 1, SET)
    monkeypatch.undo()
    good = world.board.read(1, "set.body"), world.board.read(1, "set.proposal")
    again(world, SET, drop(1))
    with pytest.raises(VerificationError, match="asked for another set"):
        world.open_holder(0).cosign(world.board, 1, SET)
    world.board.put(1, "set.body", good[0])
    world.board.put(1, "set.proposal", good[1])
    said = world.open_holder(0).cosign(world.board, 1, SET)
    assert said.id == world.round().proposal(SET).id
    (holder.memory._path).unlink()
    with pytest.raises(InvalidInput, match="must not act any more"):
        world.open_holder(0).cosign(world.board, 1, SET)


def test_a_holder_serves_one_session(at: Callable[[str], World]) -> None:
    world, other = at(CLOSED), at("empty")
    world.holders[0].cosign(world.board, 1, CLOSED)
    folder = world.root / "other"
    session = other.altered(nonce=bytes(32))
    board = Board(folder)
    board.put_session(session)
    Record(world.root / "other.db", session, world.operator).publish(board)
    from dataclasses import replace

    moved = replace(world.holders[0], session=session)
    with pytest.raises(VerificationError, match="these keys are of another session"):
        moved.cosign(board, 1, CLOSED)
    assert View.read(board, session).checkpoint.size == 1


# the opened sum


def test_a_wrong_part_is_noticed_and_a_statement_binds_everything(
    at: Callable[[str], World],
) -> None:
    world = at("opened")
    opened = open_sum(world.round(), world.scheme)
    assert opened.values.tolist() == world.expected(range(4))
    statement = opened.to_bytes()
    verify_aggregate(world.round(), world.scheme, statement, opened.values)
    wrong = opened.values.copy()
    wrong[0] += 1
    with pytest.raises(VerificationError, match="not the opened sum"):
        verify_aggregate(world.round(), world.scheme, statement, wrong)
    from zkai.receipt.jcs import decode, encode

    for name, value in {
        "clients": 5, "clients_root": hex32(1), "sum": hex32(1), "set": hex32(1), "bound": True,
        "result": hex32(1), "seed": hex32(1), "round": 2, "privacy": {"epsilon": "1"},
        "checked": False,
    }.items():  # fmt: skip
        changed = encode({**decode(statement, "s"), name: value})
        with pytest.raises(VerificationError, match=f"{name} is not what the record shows"):
            verify_aggregate(world.round(), world.scheme, changed, opened.values)
    view = world.round().view
    early = {"size": view.checkpoint.size - 1, "root": hex32(view.root(view.checkpoint.size - 1))}
    changed = encode({**decode(statement, "s"), **early})
    with pytest.raises(VerificationError, match="a log without the parts of the sum"):
        verify_aggregate(world.round(), world.scheme, changed, opened.values)
    active = world.round().require(ACTIVE).body["holders"]
    message = parse_message(world.board.read(1, f"partials/{active[0]}"))
    name = f"bodies/{message.digest('body').hex()}"
    data = world.board.read(1, name, 1 << 20)
    world.board.put(1, name, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VerificationError, match="not those of its digest"):
        open_sum(world.round(), world.scheme)
