"""Receipts and ledgers of Halo2 proofs: the fields of Groth16's, checked where Groth16's are."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.halo2_support import keys, proof, require_ezkl
from zkai import cli
from zkai.encoding import hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.ledger.ledger import Ledger, Submission
from zkai.receipt.signer import ML_DSA_65, PrivateKey, generate
from zkai.receipt.statement import Facts, Receipt, issue
from zkai.receipt.trust import trust
from zkai.receipt.verify import verify_proof_of, verify_receipt


@pytest.fixture(scope="module")
def signer() -> PrivateKey:
    require_ezkl()
    return generate(ML_DSA_65)


@pytest.fixture(scope="module")
def receipt(signer: PrivateKey) -> Receipt:
    made = keys(input="committed")
    return issue(proof(input="committed"), [signer], verifying_key=made.verifying)


def test_a_receipt_says_of_the_proof_what_it_says_of_groth16s(
    receipt: Receipt, signer: PrivateKey
) -> None:
    found, key = proof(input="committed"), keys(input="committed").verifying
    verify_receipt(receipt, trust([("signer", signer.public)]))
    assert verify_proof_of(receipt, found.file_bytes(), key) == found
    said = receipt.predicate
    assert said["kind"] == "inference"
    assert said["proof"]["format"] == "zkai.halo2/1"
    assert said["proof"]["vk_digest"] == hex32(key.digest)
    assert said["proof"]["commitments"] == ["input"]
    assert said["proof"]["public"]["input"] == str(found.public["input"][0])
    assert said["proof"]["key"] == {"status": "development", "transcript": None}
    assert receipt.grade == "proven (development key)"


def test_a_receipt_of_another_proof_or_key_is_refused(receipt: Receipt) -> None:
    found, key = proof(input="committed"), keys(input="committed").verifying
    with pytest.raises(VerificationError, match="names a different proof"):
        verify_proof_of(receipt, proof().file_bytes(), key)
    with pytest.raises(VerificationError, match="another circuit"):
        verify_proof_of(receipt, found.file_bytes(), keys().verifying)


def test_a_signer_cannot_sign_for_a_proof_that_does_not_hold(signer: PrivateKey) -> None:
    """The receipt is of the edited proof and well formed; verifying the proof refuses it."""
    found, key = proof(), keys().verifying
    edited = replace(found, public={**found.public, "output": (1, 2)})
    lying = issue(edited, [signer])
    with pytest.raises(VerificationError, match="does not hold"):
        verify_proof_of(lying, edited.file_bytes(), key)


def test_a_ceremony_is_named_by_its_setup_string(signer: PrivateKey) -> None:
    """Only the mark is forged here: no development string may pass for a ceremony's."""
    key = replace(keys().verifying, key_status="ceremony")
    dressed = replace(proof(), key_status="ceremony", vk_digest=key.digest)
    with pytest.raises(InvalidInput, match="needs that verifying key"):
        issue(dressed, [signer])
    named = issue(dressed, [signer], verifying_key=key)
    said = named.predicate["proof"]["key"]
    assert said == {"status": "ceremony", "transcript": hex32(key.srs_digest)}
    with pytest.raises(VerificationError, match="another"):
        verify_proof_of(named, dressed.file_bytes(), keys().verifying)


def test_a_ledger_takes_a_proof_once(tmp_path: Path, receipt: Receipt, signer: PrivateKey) -> None:
    key = keys(input="committed").verifying
    again = Halo2VerifyingKey.from_json(json.loads(json.dumps(key.to_json())))
    store = trust([("signer", signer.public)])
    ledger = Ledger.create(
        tmp_path / "ledger.db", "example.org/log", signer, store, [again], at=int(time.time())
    )
    data, now = proof(input="committed").file_bytes(), int(time.time())
    assert ledger.append(Submission(receipt.to_bytes(), data), now) == 1
    second = issue(
        proof(input="committed"), [signer], verifying_key=key, facts=Facts(parent=receipt.id)
    )
    with pytest.raises(VerificationError, match="already"):
        ledger.append(Submission(second.to_bytes(), data), now)
    ledger.close()


def test_the_commands_sign_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZKAI_PASSPHRASE", "correct horse")
    made, found = keys(), proof()
    found.write(tmp_path / "proof.json")
    made.verifying.write(tmp_path / "verifying.json")
    where = {name: str(tmp_path / name) for name in ("proof.json", "verifying.json", "r", "k", "t")}
    p, v, r, k, t = where.values()
    assert cli.main(["receipt", "keygen", "-o", k]) == 0
    assert cli.main(["receipt", "trust", k, "-o", t]) == 0
    assert cli.main(["receipt", "sign", p, "--signer", k, "-o", r]) == 0
    verify = ["receipt", "verify", r, "--trust", t, "--proof", p, "--key", v]
    assert cli.main(verify) == 0
    assert cli.main([*verify, "--production", "--vk-digest", hex32(made.verifying.digest)]) == 1
    replace(found, public={**found.public, "output": (1, 2)}).write(tmp_path / "proof.json")
    assert cli.main(verify) == 1
