"""A custodian's vault: consents and accesses in the ledger, grants, revocations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.receipt_support import NOW
from zkai.encoding import hex32, load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import ACCESS, CONSENT, KEY_STATUS, Record, sign_record
from zkai.receipt.jcs import encode
from zkai.receipt.signer import ED25519, ML_DSA_65, PrivateKey
from zkai.receipt.trust import TrustedKey, TrustStore, revoke
from zkai.vault.keys import VaultKey
from zkai.vault.sealed import unseal_bytes
from zkai.vault.store import PROFILE, ObjectStore
from zkai.vault.vault import Card, Owner, Vault

OPERATOR, ISSUER = PrivateKey(ML_DSA_65, bytes([9]) * 32), PrivateKey(ML_DSA_65, bytes([8]) * 32)
ALICE = Owner(PrivateKey(ML_DSA_65, bytes([1]) * 32), VaultKey(bytes([1]) * 32))
MALLORY = Owner(PrivateKey(ML_DSA_65, bytes([2]) * 32), VaultKey(bytes([2]) * 32))
CLASSIC = PrivateKey(ED25519, bytes([3]) * 32)
BOB, CAROL = VaultKey(bytes([4]) * 32), VaultKey(bytes([5]) * 32)
DATA = b"weights" * 100


def users() -> TrustStore:
    named = (("issuer", ISSUER), ("alice", ALICE.signer), ("mallory", MALLORY.signer))
    keys = (*named, ("classic", CLASSIC))
    return TrustStore(
        tuple(TrustedKey(key.public, name) for name, key in keys),
        (frozenset({ISSUER.public.keyid}),),
    )


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    ledger = Ledger.create(tmp_path / "l.db", "example.org/v", OPERATOR, users(), [], at=NOW)
    (tmp_path / "cards").mkdir()
    yield Vault(tmp_path / "cards", ObjectStore(tmp_path / "objects"), ledger)
    ledger.close()


def published(vault: Vault, fork: int | None = 7) -> Card:
    return vault.publish(DATA, ALICE, kind="model_state", fork=fork, at=NOW)


def granted(vault: Vault) -> Card:
    name = published(vault).object
    return vault.grant(name, ALICE, BOB.recipient, purpose="audit", at=NOW)


def serve(vault: Vault, name: bytes, to: VaultKey) -> bytes:
    card = vault.access(name, to.recipient, OPERATOR, purpose="audit", at=NOW)
    assert [r for r, _ in card.wraps] == [to.recipient]
    return card.read(to, vault.store)


def trail(vault: Vault, name: bytes) -> list[str]:
    found = []
    for _, record in vault.ledger.history("object", hex32(name)):
        assert isinstance(record, Record)
        found.append(record.predicate.get("action") or record.predicate["outcome"])
    return found


def test_granted_objects_open_and_every_access_is_in_the_log(vault: Vault) -> None:
    card = granted(vault)
    assert serve(vault, card.object, BOB) == DATA
    assert serve(vault, card.object, ALICE.opener) == DATA
    assert trail(vault, card.object) == ["publish", "grant", "served", "served"]
    stored = (Path(vault.store._root) / card.cid).read_bytes()
    assert b"weights" not in stored
    assert Card.from_bytes(card.to_bytes()) == card


def test_others_get_nothing_and_the_refusal_is_in_the_log(vault: Vault) -> None:
    card = granted(vault)
    with pytest.raises(VerificationError, match="not granted"):
        vault.access(card.object, CAROL.recipient, OPERATOR, purpose="peek", at=NOW)
    assert trail(vault, card.object)[-1] == "refused"
    with pytest.raises(VerificationError, match="not wrapped to this key"):
        card.read(CAROL, vault.store)
    bob_wrap = {r.keyid: w for r, w in card.wraps}[BOB.recipient.keyid]
    swapped = replace(card, wraps=((CAROL.recipient, bob_wrap),))
    with pytest.raises(VerificationError, match="made for another key"):
        swapped.read(CAROL, vault.store)


def test_a_wrap_is_for_one_object(vault: Vault) -> None:
    first, second = granted(vault), granted(vault)
    for mixed in (replace(first, wraps=second.wraps), replace(first, cid=second.cid)):
        with pytest.raises(VerificationError, match="another object"):
            mixed.read(BOB, vault.store)
    with pytest.raises(VerificationError, match="another object"):
        replace(first, object=second.object).read(BOB, vault.store)


def test_a_revoked_key_opens_nothing_current(vault: Vault) -> None:
    old = granted(vault)
    vault.grant(old.object, ALICE, CAROL.recipient, purpose="care", at=NOW)
    new = vault.revoke(old.object, ALICE, BOB.recipient.keyid, purpose="over", at=NOW)
    assert new.cid != old.cid
    assert serve(vault, old.object, CAROL) == DATA
    with pytest.raises(VerificationError, match="not granted"):
        serve(vault, old.object, BOB)
    with pytest.raises(VerificationError, match="not wrapped"):
        new.read(BOB, vault.store)
    with pytest.raises(InvalidInput, match="cannot be read"):
        old.read(BOB, vault.store)
    with vault.store.open(new.cid) as file:
        sealed = file.read()
    with pytest.raises(VerificationError, match="sealed under another key"):
        unseal_bytes(old.key(BOB), old.object, sealed)


def test_who_is_not_granted_in_the_ledger_is_not_sealed_to_again(vault: Vault) -> None:
    """A custodian that slips a recipient into a card gains nothing by the next revocation."""
    card = granted(vault)
    slipped = replace(card, wraps=(*card.wraps, (CAROL.recipient, card.wraps[0][1])))
    vault._path(card.object).write_bytes(slipped.to_bytes())
    new = vault.revoke(card.object, ALICE, BOB.recipient.keyid, purpose="over", at=NOW)
    assert [r for r, _ in new.wraps] == [ALICE.opener.recipient]


def test_status_is_proven_by_the_map(vault: Vault) -> None:
    card = granted(vault)
    vault.revoke(card.object, ALICE, BOB.recipient.keyid, purpose="over", at=NOW)
    vault.ledger.checkpoint([OPERATOR])
    name = f"grant/{hex32(card.object)}/{BOB.recipient.keyid}"
    value, proof, note = vault.ledger.log.prove_name(name)
    root = Checkpoint.from_text(note.text).map_root
    proof.verify(root, name, value)
    assert value is not None
    assert load_json(value, "grant")["status"] == "revoked"
    with pytest.raises(VerificationError):
        proof.verify(root, name, None)
    nobody = f"grant/{hex32(card.object)}/{CAROL.recipient.keyid}"
    absent, shown, _ = vault.ledger.log.prove_name(nobody)
    assert absent is None
    shown.verify(root, nobody, None)


def test_erased_objects_are_gone(vault: Vault) -> None:
    card = granted(vault)
    vault.erase(card.object, ALICE, purpose="leaving", at=NOW)
    with pytest.raises(VerificationError, match="erased"):
        vault.card(card.object)
    with pytest.raises(InvalidInput, match="cannot be read"):
        card.read(ALICE.opener, vault.store)
    consent(vault, card, "grant", reason="erased", recipient=CAROL.recipient.keyid)
    consent(vault, card, "publish", reason="published once")
    access(vault, card, "refused", reason="not there")


def consent(vault: Vault, card: Card, action: str, reason: str, **changes: object) -> None:
    """A consent record that the ledger refuses."""
    signers = changes.pop("signers", [ALICE.signer])
    body = {
        "action": action, "object": hex32(card.object), "fork": card.fork, "cid": card.cid,
        "profile": PROFILE, "recipient": BOB.recipient.keyid, "purpose": "", **changes,
    }  # fmt: skip
    assert isinstance(signers, list)
    record = sign_record(CONSENT, body, signers, NOW)
    size = vault.ledger.log.size
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        vault.ledger.append(Submission(record.envelope.to_bytes()), NOW)
    assert vault.ledger.log.size == size


def access(vault: Vault, card: Card, outcome: str, reason: str, **changes: object) -> None:
    """An access record that the ledger refuses."""
    key = changes.pop("key", OPERATOR)
    body = {
        "object": hex32(card.object), "cid": card.cid, "profile": PROFILE, "purpose": "",
        "recipient": BOB.recipient.keyid, "outcome": outcome, **changes,
    }  # fmt: skip
    assert isinstance(key, PrivateKey)
    record = sign_record(ACCESS, body, [key], NOW)
    with pytest.raises(VerificationError, match=reason):
        vault.ledger.append(Submission(record.envelope.to_bytes()), NOW)


def test_only_the_owner_speaks_for_an_object(vault: Vault) -> None:
    card, carol = published(vault), CAROL.recipient.keyid
    stranger = PrivateKey(ML_DSA_65, bytes([77]) * 32)
    both = [ALICE.signer, MALLORY.signer]
    for signers, reason in (
        ([MALLORY.signer], "signed by the object's owner"),
        ([OPERATOR], "one key that the ledger knows"),
        ([stranger], "one key that the ledger knows"),
        (both, "one key that the ledger knows"),
    ):
        consent(vault, card, "grant", reason, signers=signers, recipient=carol)
    fresh = replace(card, object=bytes(32))
    consent(vault, fresh, "publish", "no group of `required` is of ML-DSA-65", signers=[CLASSIC])
    with pytest.raises(VerificationError, match="not wrapped"):
        vault.grant(card.object, MALLORY, CAROL.recipient, purpose="", at=NOW)


def test_consents_follow_each_other(vault: Vault) -> None:
    card, carol = granted(vault), CAROL.recipient.keyid
    other = vault.publish(b"x", ALICE, kind="other", at=NOW).cid
    consent(vault, card, "publish", "published once")
    consent(vault, replace(card, object=bytes(32)), "grant", "published once")
    consent(vault, card, "grant", "granted to this key already")
    consent(vault, card, "grant", "current cid", recipient=carol, cid=other)
    consent(vault, card, "grant", "another fork", recipient=carol, fork="8")
    consent(vault, card, "grant", "no such cid and recipient", recipient=None)
    consent(vault, card, "revoke", "sealed under a new key")
    consent(vault, card, "revoke", "not granted to this key", recipient=carol, cid=other)
    consent(vault, card, "erase", "no such cid and recipient")
    for changes in ({"action": "lend"}, {"action": "grant", "recipient": carol, "cid": "Qm"}):
        with pytest.raises(InvalidInput, match=r"expected (one of|text of the form)"):
            consent(vault, card, reason="", **changes)


def test_accesses_say_what_the_map_says(vault: Vault) -> None:
    card, carol = granted(vault), CAROL.recipient.keyid
    access(vault, card, "refused", "what is granted is served")
    access(vault, card, "served", "what is granted is served", recipient=carol)
    access(vault, card, "served", "not there", object=hex32(bytes(32)))
    new = vault.revoke(card.object, ALICE, BOB.recipient.keyid, purpose="", at=NOW)
    access(vault, card, "refused", "current cid")
    access(vault, new, "served", "what is granted is served")
    access(vault, new, "refused", "not in the trust store|requires a signature", key=ALICE.signer)


def test_a_revoked_signing_key_consents_to_nothing(vault: Vault) -> None:
    card = published(vault)
    with vault.ledger.store.transaction():
        gone = revoke(users(), ALICE.signer.public.keyid, NOW - 5, "stolen")
        vault.ledger.store.put_meta("trust", encode(gone.to_json()))
    consent(vault, card, "grant", "revocation of alice is in the log")


def test_a_crash_between_entry_and_card(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    card = published(vault)
    append = vault.ledger.append

    def crash(submission: Submission, at: int) -> int:
        append(submission, at)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vault.ledger, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            vault.grant(card.object, ALICE, BOB.recipient, purpose="", at=NOW)
    assert serve(vault, card.object, BOB) == DATA


def test_a_refused_revocation_changes_nothing(vault: Vault) -> None:
    card = granted(vault)
    with pytest.raises(VerificationError, match="not granted"):
        vault.revoke(card.object, ALICE, CAROL.recipient.keyid, purpose="", at=NOW)
    assert vault.card(card.object) == card
    assert serve(vault, card.object, BOB) == DATA
    assert len(list(Path(vault.store._root).iterdir())) == 1


def test_cards_of_other_forms_are_refused(vault: Vault) -> None:
    card = granted(vault)
    value = json.loads(card.to_bytes())
    wraps = value["wraps"]
    for changes in (
        {"format": "zkai.object-card/2"}, {"profile": "unixfs"}, {"kind": "x"}, {"cid": "b"},
        {"wraps": []}, {"wraps": [wraps[0], wraps[0]]}, {"fork": 3}, {"object": "0x"}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            Card.from_bytes(encode({**value, **changes}))
    with pytest.raises(InvalidInput):
        Card.from_bytes(json.dumps(value).encode())
    vault._path(card.object).write_bytes(published(vault).to_bytes())
    with pytest.raises(VerificationError, match="another cid"):
        vault.card(card.object)


def test_a_following_key_speaks_for_the_object(vault: Vault) -> None:
    card = published(vault)
    next_key = PrivateKey(ML_DSA_65, bytes([21]) * 32)
    body = {
        "keyid": next_key.public.keyid, "status": "active", "at": NOW, "reason": "", "name": "next",
        "jwk": next_key.public.jwk, "follows": ALICE.signer.public.keyid,
    }  # fmt: skip
    follows = sign_record(KEY_STATUS, body, [ALICE.signer], NOW)
    vault.ledger.append(Submission(follows.envelope.to_bytes()), NOW)
    now = Owner(next_key, ALICE.opener)
    vault.grant(card.object, now, BOB.recipient, purpose="", at=NOW + 1000)
    assert serve(vault, card.object, BOB) == DATA
    late = NOW + 1000
    with pytest.raises(VerificationError, match="expired"):
        vault.grant(card.object, ALICE, CAROL.recipient, purpose="", at=late)


def test_the_documents_example_runs(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (repo / "docs/ledger.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/ledger.md", "exec"), names)
    names["ledger"].close()
