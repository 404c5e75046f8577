"""The verifier page: grades, and the status of keys in the log as of a checkpoint."""

from __future__ import annotations

import argparse
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit import proof_support
from tests.unit.ledger_support import ORIGIN, new_ledger, submissions
from tests.unit.page_support import page_call, page_verify
from tests.unit.receipt_support import NOW, fork_receipts, signer, store, verifying_keys
from tests.unit.test_ledger import key_status
from tests.unit.test_receipt import flips
from tests.unit.verifier_support import STEP, good, logged
from zkai.commands.console import Console
from zkai.commands.ledgers import _prove_name, _verify_name
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.ledger import Ledger
from zkai.ledger.note import cosign_note
from zkai.receipt.statement import issue
from zkai.receipt.trust import trust

pytestmark = pytest.mark.node


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_grades() -> None:
    from zkai.proof import groth16

    keys = proof_support.ceremony_keys()
    proof = groth16.prove(
        proof_support.circuit(), keys.proving, proof_support.witness(), proof_support.STATEMENT
    )
    receipt = issue(proof, [signer()], kind="query", verifying_key=keys.verifying, signed=NOW)
    trusted = encoded(trust([("issuer", signer().public)]).to_json())
    signed = {"receipt": receipt.to_bytes(), "trust": trusted}
    named = {**signed, "proof": proof.file_bytes()}
    whole = {**named, "key": keys.verifying.file_bytes()}
    digest, other = "0x" + keys.verifying.digest.hex(), "0x" + "00" * 32
    assert page_verify(signed, NOW)["grade"] == "signed only"
    assert page_verify(named, NOW)["grade"] == "signed only"
    assert page_verify(whole, NOW)["grade"] == "proven (development key)"
    for production in (False, True):
        options = {"trusted": [other, digest], "production": production}
        assert page_verify(whole, NOW, **options)["grade"] == "proven (ceremony key)"
    for options, reason in (
        ({"trusted": [other]}, "not one that you trust"),
        ({"production": True}, "name the digest"),
        ({"trusted": ["0x12"]}, "64 lower-case"),
    ):
        found = page_verify(whole, NOW, **options)
        assert (found["accepted"], found["grade"]) == (False, None)
        assert reason in found["reason"]
    assert "can be under" in page_verify(named, NOW, production=True)["reason"]


def test_development_keys_are_refused_in_production() -> None:
    case, key = good(), verifying_keys()["training_step/1"]
    files = {"receipt": case.receipt, "proof": case.proof, "key": key.file_bytes(),
             "trust": encoded(store().to_json())}  # fmt: skip
    digest = "0x" + key.digest.hex()
    assert page_verify(files, NOW, trusted=[digest])["grade"] == "proven (development key)"
    found = page_verify(files, NOW, trusted=[digest], production=True)
    assert "development key" in found["reason"]


def test_a_receipt_that_misnames_the_transcript_is_refused() -> None:
    from zkai.proof import groth16
    from zkai.receipt import jcs
    from zkai.receipt.envelope import sign_envelope

    keys = proof_support.ceremony_keys()
    proof = groth16.prove(
        proof_support.circuit(), keys.proving, proof_support.witness(), proof_support.STATEMENT
    )
    receipt = issue(proof, [signer()], kind="query", verifying_key=keys.verifying, signed=NOW)
    statement = json.loads(receipt.envelope.payload)
    statement["predicate"]["proof"]["key"]["transcript"] = "0x" + "00" * 32
    forged_receipt = sign_envelope(jcs.encode(statement), [signer()]).to_bytes()
    found = page_verify(
        {"receipt": forged_receipt, "proof": proof.file_bytes(),
         "key": keys.verifying.file_bytes(),
         "trust": encoded(trust([("issuer", signer().public)]).to_json())}, NOW,
    )  # fmt: skip
    assert "transcript" in found["reason"]


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Map proofs of the issuer's key before and after its revocation, with the log's policy."""
    ledger = new_ledger(tmp_path_factory.mktemp("statuses") / "ledger.db")
    witness = signer("w1")
    policy = replace(ledger.policy, witnesses=(("w1", witness.public),), quorum=1)
    found: dict[str, Any] = {"policy": encoded(policy.to_json())}
    name = f"key/{signer().keyid}"

    def checkpoint(at: int) -> None:
        note = cosign_note(ledger.checkpoint([signer("log")]), "w1", witness, at)
        ledger.add_cosignatures(note, policy)

    checkpoint(NOW)
    found["early"] = _prove_name(ledger, name)[0]
    ledger.append_all(submissions(), NOW)
    checkpoint(NOW + 5)
    found["active"] = _prove_name(ledger, name)[0]
    found["inclusion"] = ledger.log.prove_entry(STEP + 1).to_bytes()
    found["stranger"] = _prove_name(ledger, f"key/{signer('stranger').keyid}")[0]
    found["fork"] = _prove_name(ledger, "fork/11")[0]
    revocation = key_status("revoked", signer().keyid, [signer("log")])  # from NOW + 10 on
    ledger.append(revocation, NOW + 10)
    checkpoint(NOW + 12)
    found["revoked"] = _prove_name(ledger, name)[0]
    found["late inclusion"] = ledger.log.prove_entry(STEP + 1).to_bytes()
    ledger.close()
    other = new_ledger(tmp_path_factory.mktemp("other") / "ledger.db")  # other signatures, at least
    other.append_all(submissions(), NOW)
    note = cosign_note(other.checkpoint([signer("log")]), "w1", witness, NOW + 5)
    other.add_cosignatures(note, policy)
    found["other history"] = _prove_name(other, name)[0]
    found["other checkpoint"] = note.to_bytes()
    other.close()
    third = Ledger.create(  # it trusts others, and knows nothing of the issuer
        tmp_path_factory.mktemp("third") / "ledger.db", ORIGIN, signer("log"),
        trust([("other", signer("other").public)]), [], at=NOW,
    )  # fmt: skip
    note = cosign_note(third.checkpoint([signer("log")]), "w1", witness, NOW + 5)
    third.add_cosignatures(note, policy)
    found["unknown"] = _prove_name(third, name)[0]
    third.close()
    return found


def status(statuses: dict[str, Any], *names: str, inclusion: str = "inclusion") -> Any:
    """What the page says of the logged receipt with these map proofs."""
    files: dict[str, Any] = {
        "receipt": fork_receipts()[STEP].to_bytes(), "policy": statuses["policy"],
        "trust": encoded(store().to_json()), "statuses": [statuses[n] for n in names],
    }  # fmt: skip
    if inclusion:
        files["inclusion"] = statuses[inclusion]
    return page_verify(files, NOW + 20)


def test_a_key_s_status_is_as_of_a_checkpoint(statuses: dict[str, Any]) -> None:
    found = status(statuses, "active")
    assert found["accepted"]
    assert "issuer: active, as of checkpoint 4" in found["checks"][-1]["detail"]
    assert status(statuses)["checks"][-1]["state"] == "not checked"


def test_a_revocation_counts_unless_the_receipt_was_logged_before(statuses: dict[str, Any]) -> None:
    found = status(statuses, "revoked")
    assert "issuer: revoked, as of checkpoint 5" in found["checks"][-1]["detail"]
    late = status(statuses, "revoked", inclusion="late inclusion")
    assert "was revoked when this was logged" in late["reason"]
    assert "was revoked now" in status(statuses, "revoked", inclusion="")["reason"]


def test_statuses_that_say_nothing_of_a_signer_are_refused(statuses: dict[str, Any]) -> None:
    assert "older than the receipt" in status(statuses, "early")["reason"]
    assert "not the name of a key" in status(statuses, "fork")["reason"]
    assert "not the name of a key" in status(statuses, "active", "stranger")["reason"]


def test_a_key_that_the_log_does_not_know_is_refused(statuses: dict[str, Any]) -> None:
    found = status(statuses, "unknown", inclusion="")
    assert found["reason"] == "the log knows no key issuer, as of checkpoint 1"


@pytest.mark.parametrize(
    ("drop", "reason"),
    [("receipt", "no receipt"), ("trust", "no trust store"), ("policy", "need the log policy"),
     ("proof", "needs the proof too")],
)  # fmt: skip
def test_what_is_missing_is_named(drop: str, reason: str) -> None:
    case = good()
    files = {"receipt": case.receipt, "proof": case.proof, "inclusion": case.inclusion,
             "trust": encoded(store().to_json()), "policy": encoded(logged()[1].to_json()),
             "key": verifying_keys()["training_step/1"].file_bytes()}  # fmt: skip
    assert page_verify(files, NOW)["accepted"]
    del files[drop]
    assert reason in page_verify(files, NOW)["reason"]


def test_two_histories_of_one_log_are_refused(statuses: dict[str, Any]) -> None:
    """Each is signed and cosigned; together they show that the log forked."""
    words = "the log signed two histories of 4 entries"
    assert status(statuses, "other history")["reason"] == words
    files = {"receipt": fork_receipts()[STEP].to_bytes(), "policy": statuses["policy"],
             "trust": encoded(store().to_json()), "inclusion": statuses["inclusion"]}  # fmt: skip
    assert page_verify(files, NOW + 20)["accepted"]
    files["checkpoint"] = statuses["other checkpoint"]
    assert page_verify(files, NOW + 20)["reason"] == words


def verify_name(path: Path, policy: LogPolicy) -> None:
    """What `zkai ledger verify` does with a map proof."""
    options = argparse.Namespace(target=path, auditors=[], at_least=0, max_age=None)
    _verify_name(options, policy, Console(as_json=True))


def test_a_map_proof_s_flipped_bytes_are_refused(statuses: dict[str, Any], tmp_path: Path) -> None:
    data, policy = statuses["active"], statuses["policy"]
    ours = LogPolicy.from_json(json.loads(policy))
    assert page_call("name", data, policy)["accepted"]
    verify_name(write(tmp_path, data), ours)
    for at in flips(data, fields=False):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert not page_call("name", changed, policy)["accepted"], at
        with pytest.raises((InvalidInput, VerificationError)):
            verify_name(write(tmp_path, changed), ours)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "map.json"
    path.write_bytes(data)
    return path


def test_another_value_of_a_name_is_refused(statuses: dict[str, Any]) -> None:
    """A revoked key's proof that says "active", or that the name has no value."""
    for value in (base64.b64encode(b'{"at":1,"index":0,"status":"active"}').decode(), None):
        document = json.loads(statuses["revoked"]) | {"value": value}
        assert "does not show" in page_call("name", encoded(document), statuses["policy"])["reason"]
