"""Sessions, messages, parties' files and receipts of aggregation: what is refused, and why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federated_support import World, fast_folder

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.messages import COMMITMENT, PARTIAL, open_message, parse_message, sign_message
from zkai.federated.opening import open_sum
from zkai.federated.parties import HOLDER, Party, make_party, members
from zkai.federated.receipts import KIND, SUBJECT, aggregate_receipt, check_aggregate_receipt
from zkai.federated.schemes import choose_parameters, load_scheme
from zkai.federated.session import RLWE, Session, Tensor, recipients_message
from zkai.federated.update import flatten, read_update
from zkai.ledger.ledger import Ledger, Submission
from zkai.receipt.jcs import decode, encode
from zkai.receipt.signer import generate
from zkai.receipt.statement import Facts, Receipt, issue
from zkai.receipt.trust import trust
from zkai.receipt.verify import verify_receipt
from zkai.vault.keys import VaultKey


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A round of 3 clients and 2-of-3 holders that is opened."""
    root = fast_folder()
    made = World(root / "world", 3, 3, 2)
    made.close()
    made.open()
    yield made
    shutil.rmtree(root, ignore_errors=True)


def test_a_session_is_its_bytes(world: World) -> None:
    data = world.session.to_bytes()
    assert Session.from_bytes(data).id == world.session.id
    with pytest.raises(InvalidInput, match="not canonical"):
        Session.from_bytes(data + b"\n")
    with pytest.raises(VerificationError, match="another session"):
        world.board.session(bytes(32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1}, "threshold 1 of 3"),
        ({"threshold": 4}, "threshold 4 of 3"),
        ({"minimum": 1}, "minimum 1 of 3 clients"),
        ({"minimum": 4}, "minimum 4 of 3 clients"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"value_bound": 0}, "positive integers"),
        ({"max_weight": 0}, "positive integers"),
        ({"tensors": ()}, "expected names, each once"),
        ({"tensors": (Tensor("w", (1,)), Tensor("w", (2,)))}, "expected names, each once"),
        ({"tensors": (Tensor("samples", (1,)),), "max_weight": 2}, "the clients' weights"),
        ({"tensors": (Tensor("w", (1 << 20, 1 << 20)),)}, "values in all"),
        ({"origin": "two words"}, "without spaces"),
    ],
)
def test_sessions_that_are_too_weak(world: World, changes: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        world.altered(**changes)


def test_a_party_has_one_key_and_one_part(world: World) -> None:
    session = world.session
    with pytest.raises(InvalidInput, match="a key is there twice"):
        world.altered(aggregator=session.clients[0].key)
    with pytest.raises(InvalidInput, match="a key is there twice"):
        world.altered(clients=(*session.clients, session.clients[0]))
    first = session.holders[0].recipients
    copied = tuple(replace(holder, recipients=first) for holder in session.holders)
    with pytest.raises(InvalidInput, match="an encryption key is there twice"):
        world.altered(holders=copied)


def test_nobody_elses_encryption_keys_stand_in_for_a_holders(world: World) -> None:
    """Shares sealed to keys of the aggregator's would be read as soon as they are shown."""
    holder, *others = world.session.holders
    mine = tuple(VaultKey(os.urandom(32)).recipient for _ in holder.recipients)
    thief = generate()
    turned = tuple(reversed(holder.recipients))
    for changes in (
        {"recipients": mine},
        {"recipients": (holder.recipients[0], *mine[1:])},
        {"recipients": holder.recipients[:1]},
        {"recipients": turned},
        {"recipients": mine, "signature": thief.sign(recipients_message(mine))},
        {"signature": others[0].signature},
        {"signature": b""},
    ):
        forged = replace(holder, **changes)
        with pytest.raises(VerificationError, match="did not sign its encryption keys"):
            world.altered(holders=(forged, *others))
    value = json.loads(world.session.to_bytes())
    value["holders"][0]["recipients"][0] = mine[0].jwk
    with pytest.raises(VerificationError, match="did not sign its encryption keys"):
        Session.from_bytes(encode(value))
    value["holders"][0]["signature"] = "AA"
    with pytest.raises(VerificationError, match="did not sign"):
        Session.from_bytes(encode(value))


def test_holders_with_more_keys_than_a_session_has_rounds(world: World) -> None:
    holder, *others = world.session.holders
    key = world.holder_keys[0]
    more = (*holder.recipients, VaultKey(os.urandom(32)).recipient)
    longer = replace(holder, recipients=more, signature=key.sign(recipients_message(more)))
    assert world.altered(holders=(longer, *others)).rounds == len(more) - 1
    none = replace(holder, recipients=(), signature=key.sign(recipients_message(())))
    with pytest.raises(InvalidInput, match="one encryption key for each round"):
        world.altered(holders=(none, *others))


def test_overflow_is_impossible_by_choice_of_parameters(world: World) -> None:
    for clients, largest in [(3, 1), (10, 52_000), (1000, 500), (2, 1 << 40), (4096, 1 << 30)]:
        found = dict(choose_parameters(RLWE, clients, largest, 3, 5))
        bits, count = found["value_bits"], found["values_per_coefficient"]
        assert clients * largest < 1 << (bits - 1)
        assert bits * count <= 60
    with pytest.raises(InvalidInput, match="take a smaller bound"):
        choose_parameters(RLWE, 1000, 1 << 50, 3, 5)
    with pytest.raises(InvalidInput, match="can overflow"):
        load_scheme(world.altered(value_bound=10_000))
    with pytest.raises(InvalidInput, match="another number of clients"):
        load_scheme(world.altered(threshold=3))
    with pytest.raises(InvalidInput, match="scheme 'xyz'"):
        load_scheme(world.altered(scheme="xyz"))


def test_messages_have_one_form_and_one_signer(world: World) -> None:
    key, session = world.keys[0], world.session.id
    data = world.board.read(1, f"commitments/{world.keyid(0)}")
    open_message(data, COMMITMENT, key.public, session, 1, "message")
    for other, kind, reason in [
        (generate().public, COMMITMENT, "not signed by"),
        (key.public, PARTIAL, "a commitment, not a partial"),
    ]:
        with pytest.raises(VerificationError, match=reason):
            open_message(data, kind, other, session, 1, "message")
    said = dict(parse_message(data).predicate)
    for name, value in [("round", 5000), ("shares", []), ("key", "0x"), ("more", 1)]:
        with pytest.raises(InvalidInput):
            sign_message(COMMITMENT, {**said, name: value}, key)
    with pytest.raises(InvalidInput, match="larger than"):
        parse_message(data + bytes(1 << 16))
    envelope = decode(data, "message")
    envelope["payloadType"] = "text/plain"
    with pytest.raises(InvalidInput, match="payloadType"):
        parse_message(encode(envelope))


def test_updates_are_what_the_session_says(world: World, tmp_path: Path) -> None:
    good = world.update(0)
    assert flatten(world.session, good).tolist() == world.expected([0])
    for bad, reason in [
        ({"w": good["w"]}, "'b' is missing"),
        ({**good, "x": good["b"]}, "'x' is unknown"),
        ({**good, "b": good["b"].astype(float)}, "quantise it"),
        ({**good, "b": good["b"].reshape(2, 1)}, "has the shape"),
        ({**good, "b": good["b"] * 0 + 101}, "at most 100"),
        ({**good, "b": np.array([-(1 << 63), 0])}, "at most 100"),
    ]:
        with pytest.raises(InvalidInput, match=reason):
            flatten(world.session, bad)
    with pytest.raises(InvalidInput, match="weight 2"):
        flatten(world.session, good, 2)
    path = tmp_path / "update.npz"
    for data in (b"", b"PK\3\4 no archive", b"\x93NUMPY\1\0garbage"):
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"not a \.npy or \.npz file"):
            read_update(path)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match=r"not a \.npy or \.npz file"):
        read_update(tmp_path / "objects.npy")


def test_parties_files(tmp_path: Path) -> None:
    made = make_party(tmp_path / "h", HOLDER, "h", "secret", rounds=2, log2_n=14)
    path = tmp_path / "h" / "public.json"
    assert Party.from_path(path) == made
    with pytest.raises(InvalidInput, match="one aggregator"):
        members([made])
    value = json.loads(path.read_text())
    wrong = {"role": "king", "name": "a b", "recipients": 5, "signature": 5, "format": "x"}
    for name, bad in wrong.items():
        path.write_text(json.dumps({**value, name: bad}))
        with pytest.raises(InvalidInput):
            Party.from_path(path)
    with pytest.raises(InvalidInput, match="short name"):
        make_party(tmp_path / "x", HOLDER, "../x", "secret", log2_n=14)


def test_a_receipt_of_a_sum_enters_a_ledger_and_is_of_one_statement(
    world: World, tmp_path: Path
) -> None:
    opened, issuer, operator = open_sum(world.round(), world.scheme), generate(), generate()
    receipt = aggregate_receipt(opened, [issuer], metering={"bytes_per_client": 7}, signed=50)
    store = trust([("issuer", issuer.public)])
    verify_receipt(receipt, store, at=60)
    received = Receipt.from_bytes(receipt.to_bytes())
    check_aggregate_receipt(received, opened.to_bytes())
    assert received.grade == "signed only"
    said = dict(opened.statement)
    for name, value in [("clients", 9), ("bound", True), ("clients_root", hex32(1))]:
        with pytest.raises(VerificationError, match="a different aggregate"):
            check_aggregate_receipt(received, encode({**said, name: value}))
    for odd in ([], {"result": said["result"]}):
        artifacts = {SUBJECT: sha256(encode(odd))}
        with pytest.raises(VerificationError, match="no statement about a sum"):
            check_aggregate_receipt(
                issue(None, [issuer], kind=KIND, artifacts=artifacts, signed=50), encode(odd)
            )
    ledger = Ledger.create(tmp_path / "l.db", "example.org/l", operator, store, [], at=40)
    assert ledger.append(Submission(receipt.to_bytes()), at=60) == 1
    bare = issue(None, [issuer], kind=KIND, artifacts={"update": bytes(32)}, signed=50)
    with pytest.raises(VerificationError, match="a aggregation names its proof"):
        ledger.append(Submission(bare.to_bytes()), at=60)
    parent = Facts(parent=receipt.id)
    child = issue(
        None, [issuer], kind=KIND, artifacts={"aggregate": bytes(32)}, facts=parent, signed=50
    )
    with pytest.raises(VerificationError, match="a aggregation names its proof"):
        ledger.append(Submission(child.to_bytes()), at=60)
    ledger.close()
