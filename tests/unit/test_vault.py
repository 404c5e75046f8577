"""A custodian's vault: consents and accesses in the ledger, grants, revocations."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.queries_support import Forest, take_their_word
from tests.unit.receipt_support import NOW, signer
from zkai.encoding import hex32, load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger import admission
from zkai.ledger.answer import LedgerSource
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.queries import ask, derive, verify_answer
from zkai.ledger.records import ACCESS, CONSENT, KEY_STATUS, Record, sign_record
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import ED25519, ML_DSA_65, PrivateKey
from zkai.receipt.statement import issue
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


def published(vault: Vault, fork: int | None = None) -> Card:
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


@pytest.mark.parametrize("action", ["revoke", "erase"])
def test_a_crash_after_the_entry_leaves_no_old_bytes(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    card = granted(vault)
    append = vault.ledger.append

    def crash(submission: Submission, at: int) -> int:
        append(submission, at)
        raise KeyboardInterrupt

    recipient = [BOB.recipient.keyid] if action == "revoke" else []
    with monkeypatch.context() as patch:
        patch.setattr(vault.ledger, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            getattr(vault, action)(card.object, ALICE, *recipient, purpose="", at=NOW)
    if action == "revoke":
        assert serve(vault, card.object, ALICE.opener) == DATA
    else:
        vault.erase(card.object, ALICE, purpose="", at=NOW)
        assert not list(vault.cards.iterdir())
        with pytest.raises(VerificationError, match="erased"):
            vault.erase(card.object, ALICE, purpose="", at=NOW)
    with pytest.raises(InvalidInput, match="cannot be read"):
        card.read(BOB, vault.store)


def test_an_object_that_nobody_could_open_is_not_made(vault: Vault) -> None:
    """Its bytes would be deleted for ever under the word "revoke"."""
    card = published(vault)
    with pytest.raises(InvalidInput, match="erase it instead"):
        vault.revoke(card.object, ALICE, ALICE.opener.recipient.keyid, purpose="", at=NOW)
    assert serve(vault, card.object, ALICE.opener) == DATA


def test_a_crash_before_the_entry_grants_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = published(vault)

    def crash(submission: Submission, at: int) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vault.ledger, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            vault.grant(card.object, ALICE, BOB.recipient, purpose="", at=NOW)
    assert vault._path(card.object).with_suffix(".next").exists()
    assert vault.card(card.object) == card
    assert not vault._path(card.object).with_suffix(".next").exists()


def test_a_refused_grant_leaves_no_wrap(vault: Vault) -> None:
    """Whoever opens the object but may not speak for it cannot slip a reader into the card."""
    card = published(vault)
    thief = Owner(MALLORY.signer, ALICE.opener)
    with pytest.raises(VerificationError, match="signed by the object's owner"):
        vault.grant(card.object, thief, BOB.recipient, purpose="", at=NOW)
    assert not vault._path(card.object).with_suffix(".next").exists()
    assert vault.card(card.object) == card


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


@pytest.fixture
def wood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forest]:
    """Fork 1 whose receipts Alice signs, fork 2 without her; Mallory is trusted too."""
    take_their_word(monkeypatch)
    made = Forest(tmp_path / "w.db", [ALICE.signer, MALLORY.signer])
    made.add("genesis", 1, 7, by=[ALICE.signer])
    made.add("genesis", 2, 8)
    yield made
    made.ledger.close()


def in_wood(wood: Forest, tmp_path: Path) -> Vault:
    (tmp_path / "wood").mkdir()
    return Vault(tmp_path / "wood", ObjectStore(tmp_path / "trees"), wood.ledger)


def test_only_a_fork_s_own_signers_publish_under_it(wood: Forest, tmp_path: Path) -> None:
    vault = in_wood(wood, tmp_path)
    card = vault.publish(DATA, ALICE, kind="model_state", fork=1, at=NOW)
    assert card.fork == "1"
    for owner, fork in ((MALLORY, 1), (ALICE, 2), (ALICE, 3), (MALLORY, 3)):
        with pytest.raises(VerificationError, match=f"under fork {fork} signed its receipts"):
            vault.publish(DATA, owner, kind="model_state", fork=fork, at=NOW)
    listed = json.loads(wood.ledger.store.map_value("list/objects/1", wood.ledger.log.size) or b"")
    assert listed["count"] == 1


def test_a_receipt_beside_the_chain_lets_nobody_publish(wood: Forest, tmp_path: Path) -> None:
    """A record that merely names the fork, such as a query's, is not of its chain."""
    vault = in_wood(wood, tmp_path)
    query = issue(
        None, [signer(), MALLORY.signer], kind="query", artifacts={"answer": bytes(32)}, signed=NOW
    )
    statement = json.loads(json.dumps(query.statement))
    statement["predicate"]["fork"] = "1"
    envelope = sign_envelope(encode(statement), [signer(), MALLORY.signer])
    wood.ledger.append(Submission(envelope.to_bytes()), NOW)
    assert len(wood.ledger.store.members("fork", "1", 99)) == 2
    with pytest.raises(VerificationError, match="under fork 1 signed its receipts"):
        vault.publish(DATA, MALLORY, kind="model_state", fork=1, at=NOW)


def test_keys_that_followed_a_fork_s_signer_publish(wood: Forest, tmp_path: Path) -> None:
    vault = in_wood(wood, tmp_path)
    key = ALICE.signer
    for number in (31, 32):
        following = PrivateKey(ML_DSA_65, bytes([number]) * 32)
        body = {
            "keyid": following.public.keyid, "status": "active", "at": NOW, "reason": "",
            "name": f"k{number}", "jwk": following.public.jwk, "follows": key.public.keyid,
        }  # fmt: skip
        record = sign_record(KEY_STATUS, body, [key], NOW)
        wood.ledger.append(Submission(record.envelope.to_bytes()), NOW)
        key = following
    vault.publish(DATA, Owner(key, ALICE.opener), kind="model_state", fork=1, at=NOW)
    with pytest.raises(VerificationError, match="under fork 2"):
        vault.publish(DATA, Owner(key, ALICE.opener), kind="model_state", fork=2, at=NOW)
    wood.ledger.checkpoint([signer("log")])
    answer = ask(wood.ledger, "objects", "1")
    assert len(answer.result["objects"]) == 1
    verify_answer(answer, wood.ledger.policy, wood.ledger.trust, at=NOW)
    keys = [e for e in answer.entries if b"key-status" in base64.b64decode(payload_of(e.entry))]
    assert len(keys) == 2
    less = replace(answer, entries=tuple(e for e in answer.entries if e not in keys[:1]))
    with pytest.raises(VerificationError, match=r"of key .*, but the map counts 1"):
        verify_answer(less, wood.ledger.policy, wood.ledger.trust, at=NOW)


def payload_of(entry: bytes) -> str:
    return str(json.loads(entry)["payload"])


def test_a_trail_that_breaks_the_rules_is_refused(
    wood: Forest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a ledger that let anything in: whoever checks the answer still finds it."""
    vault = in_wood(wood, tmp_path)
    good = vault.publish(DATA, ALICE, kind="model_state", fork=1, at=NOW)

    def said(action: str, by: PrivateKey, **changes: object) -> Record:
        body = {
            "action": action, "object": hex32(good.object), "fork": "1", "cid": good.cid,
            "profile": PROFILE, "recipient": BOB.recipient.keyid, "purpose": "", **changes,
        }  # fmt: skip
        return sign_record(CONSENT, body, [by], NOW)

    def served(outcome: str) -> Record:
        body = {
            "object": hex32(good.object), "cid": good.cid, "profile": PROFILE,
            "recipient": CAROL.recipient.keyid, "outcome": outcome, "purpose": "",
        }  # fmt: skip
        return sign_record(ACCESS, body, [signer("log")], NOW)

    fresh = {"object": hex32(bytes(31) + b"\1")}
    gone = {"cid": None, "recipient": None}
    for records, reason in (
        ([said("grant", MALLORY.signer)], "not signed by its owner"),
        ([said("publish", MALLORY.signer, **fresh)], "not signed by its owner"),
        ([said("publish", ALICE.signer)], "does not follow"),
        ([said("grant", ALICE.signer, fork="2")], "does not follow"),
        ([said("erase", ALICE.signer, **gone), said("grant", ALICE.signer)], "does not follow"),
        ([served("served")], "no access that may be"),
        ([said("grant", ALICE.signer)], "does not end where the map says"),
    ):
        copied = tmp_path / f"{reason[:4]}{len(records)}{records[0].id.hex()[:6]}.db"
        with closing(sqlite3.connect(tmp_path / "w.db")) as database:
            database.execute("VACUUM INTO ?", (str(copied),))
        lax = Ledger.open(copied)
        monkeypatch.setattr(admission, "admit_consent", lambda *_: {})
        monkeypatch.setattr(admission, "check_access", lambda *_: None)
        for record in records:
            lax.append(Submission(record.envelope.to_bytes()), NOW)
        lax.checkpoint([signer("log")])
        source = LedgerSource(lax)
        with pytest.raises(VerificationError, match=reason):
            derive(source, "objects", "1")
        lax.close()
