"""One logged receipt with all that a verifier takes, and the three verifiers of it."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.unit.ledger_support import new_ledger, submissions
from tests.unit.page_support import page_verify
from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
    verifying_keys,
)
from tests.unit.test_receipt import payload
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import InclusionProof, LogPolicy
from zkai.ledger.note import cosign_note
from zkai.receipt import jcs, standalone
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Place, Receipt
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import check_proof_digest, verify_proof_of, verify_receipt

UNUSABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What the standalone verifier's `main` calls unusable."""
STEP = 1


@functools.cache
def logged() -> tuple[bytes, LogPolicy]:
    """An inclusion proof of the step's receipt under a checkpoint that two witnesses cosigned."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = new_ledger(Path(folder) / "ledger.db")
        ledger.append_all(submissions(), NOW)
        note = ledger.checkpoint([signer("log")])
        witnesses = [("w1", signer("w1")), ("w2", signer("w2", ED25519))]
        known = tuple((name, key.public) for name, key in witnesses)
        policy = replace(ledger.policy, witnesses=known, quorum=2)
        for name, key in witnesses:
            note = cosign_note(note, name, key, NOW + 7)
        ledger.add_cosignatures(note, policy)
        proof = ledger.log.prove_entry(STEP + 1).to_bytes()
        ledger.close()
    return proof, policy


@dataclass(frozen=True)
class Case:
    """What a verifier is given, and when and for which place it looks."""

    receipt: bytes
    proof: bytes
    inclusion: bytes
    trusted: TrustStore
    now: int = NOW
    place: Place | None = PLACE
    policy: LogPolicy | None = None


def good() -> Case:
    """What each verifier accepts."""
    receipt, proof = fork_receipts()[STEP], fork_proofs()[STEP]
    return Case(receipt.to_bytes(), proof.file_bytes(), logged()[0], store())


def library(case: Case) -> str | None:
    """Return why zkai refuses a case, None if it does not."""
    try:
        policy = case.policy or logged()[1]
        _, seen = InclusionProof.from_bytes(case.inclusion).verify(case.receipt, policy)
        parsed = Receipt.from_bytes(case.receipt)
        verify_receipt(parsed, case.trusted, at=case.now, logged_at=seen, place=case.place)
        verify_proof_of(parsed, case.proof, verifying_keys()["training_step/1"])
    except (InvalidInput, VerificationError) as error:
        return str(error)
    return None


def alone(case: Case) -> str | None:
    """Return why the standalone verifier refuses a case, None if it does not."""
    place = {} if case.place is None else case.place.to_json()
    policy, trusted = (case.policy or logged()[1]).to_json(), case.trusted.to_json()
    try:
        standalone.verify(
            case.receipt, trusted, case.proof, case.inclusion, policy, case.now, **place
        )
    except (standalone.Refused, *UNUSABLE) as error:
        return f"{type(error).__name__}: {error}"
    return None


def page(case: Case) -> str | None:
    """Return why the page refuses a case, None if it does not."""
    files = {
        "receipt": case.receipt,
        "proof": case.proof,
        "inclusion": case.inclusion,
        "trust": json.dumps(case.trusted.to_json()).encode(),
        "policy": json.dumps((case.policy or logged()[1]).to_json()).encode(),
        "key": verifying_keys()["training_step/1"].file_bytes(),
    }
    place = None if case.place is None else case.place.to_json()
    answer = page_verify(files, case.now, place=place)
    assert answer["accepted"] == (answer["reason"] is None)
    reason: str | None = answer["reason"]
    return reason


VERIFIERS: dict[str, Callable[[Case], str | None]] = {
    "library": library, "standalone": alone, "page": page,
}  # fmt: skip


def agree(case: Case, expected: str | None) -> None:
    """Require one verdict of all: None, or a refusal in these words."""
    for name, check in VERIFIERS.items():
        found = check(case)
        assert (found is None) == (expected is None), (name, found)
        assert expected is None or re.search(expected, str(found)), (name, found)


def resigned(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A changed statement that the right keys signed: what only an issuer can do."""
    statement = payload()
    change(statement["predicate"])
    return sign_envelope(jcs.encode(statement), signers()).to_bytes()


def library_alone(receipt: bytes) -> str | None:
    """Return why zkai refuses a receipt of the good proof, without the log."""
    try:
        parsed = Receipt.from_bytes(receipt)
        verify_receipt(parsed, store(), at=NOW)
        check_proof_digest(parsed, good().proof)
    except (InvalidInput, VerificationError) as error:
        return str(error)
    return None


def standalone_alone(receipt: bytes) -> str | None:
    """Return why the standalone verifier does."""
    try:
        standalone.verify(receipt, store().to_json(), good().proof, now=NOW)
    except (standalone.Refused, *UNUSABLE) as error:
        return f"{error}"
    return None


def page_alone(receipt: bytes) -> str | None:
    """Return why the page does."""
    trusted = json.dumps(store().to_json()).encode()
    answer = page_verify({"receipt": receipt, "proof": good().proof, "trust": trusted}, NOW)
    reason: str | None = answer["reason"]
    return reason


WITHOUT_LOG = {"library": library_alone, "standalone": standalone_alone, "page": page_alone}
