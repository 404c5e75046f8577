"""Identities: a DID's keys as of each height of the log, and names that stand for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ledger_support import ORIGIN, new_ledger
from tests.unit.receipt_support import NOW, signer
from zkai.errors import InvalidInput
from zkai.ledger.identity import did_key, did_lux, from_multibase, resolve, to_multibase
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import KEY_STATUS, sign_record
from zkai.receipt.jcs import from_base64url
from zkai.receipt.signer import ED25519, PublicKey


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = new_ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def status(ledger: Ledger, kind: str, key: PublicKey, by: str, **changes: Any) -> None:
    body = {
        "keyid": key.keyid, "status": kind, "at": NOW + 10, "reason": "test", "name": key.keyid,
        "jwk": None, "follows": None, **changes,
    }  # fmt: skip
    record = sign_record(KEY_STATUS, body, [signer(by)], NOW + 10)
    ledger.append(Submission(record.envelope.to_bytes()), NOW + 10)


def follow(ledger: Ledger, old: PublicKey, new: PublicKey, by: str) -> None:
    status(ledger, "active", new, by, jwk=new.jwk, follows=old.keyid)


def test_a_known_did_key() -> None:
    """The Ed25519 example of the did:key method's document, and RFC 8037's key."""
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    (key,) = resolve(did).keys
    assert did_key(key) == did
    assert key.alg == ED25519
    rfc = PublicKey(ED25519, from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "x", 32))
    assert from_multibase(to_multibase(rfc)) == rfc


def test_ml_dsa_keys_have_dids() -> None:
    key = signer().public
    assert resolve(did_key(key)).keys == (key,)
    document = resolve(did_key(key)).document()
    assert document["id"] == did_key(key)
    assert document["verificationMethod"][0]["publicKeyJwk"] == key.jwk
    assert document["authentication"] == [f"{did_key(key)}#{key.keyid}"]


def test_a_did_lux_is_resolved_at_a_height(ledger: Ledger) -> None:
    """One name: its key, then the successor, then nothing; each height keeps its answer."""
    old, new, last = (signer(n).public for n in ("issuer", "successor", "third"))
    did = did_lux(old)
    follow(ledger, old, new, "issuer")
    follow(ledger, new, last, "successor")
    status(ledger, "revoked", last, "log")
    for entries, keys in ((1, (old,)), (2, (new,)), (3, (last,)), (4, ())):
        found = resolve(did, ledger, entries)
        assert (found.keys, found.origin, found.entries) == (keys, ORIGIN, entries)
        assert len(found.document()["verificationMethod"]) == len(keys)
    assert resolve(did, ledger).keys == ()
    assert resolve(did_lux(new), ledger, 3).keys == (last,)
    assert resolve(did_key(old), ledger).keys == (old,)  # a did:key is its key, for ever


def test_names_that_stand_for_nothing_are_refused(ledger: Ledger) -> None:
    good = did_lux(signer().public)
    for did, reason in (
        (good.replace("did:lux:key:z", "did:lux:key:f"), "base58btc"),
        (good[:-1] + "0", "not of base58btc"), (good.replace(":z", ":z1"), "is of"),
        (good[:-1], "is of|bytes"), ("did:lux:1:0x" + "11" * 20, "to no key"),
        ("did:web:example.org", "alias"), ("did:x:y", "expected did:key"), ("", "expected"),
        (did_lux(signer("stranger").public), "does not know"), ("did:key:z" + "2" * 5000, "long"),
        ("did:key:z", "is of"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=reason):
            resolve(did, ledger)
    for entries in (0, 2, -1):
        with pytest.raises(InvalidInput, match="entries"):
            resolve(good, ledger, entries)
    with pytest.raises(InvalidInput, match="in a ledger"):
        resolve(good)
    follow(ledger, signer().public, signer("successor").public, "issuer")
    with pytest.raises(InvalidInput, match="does not know"):
        resolve(did_lux(signer("successor").public), ledger, 1)
