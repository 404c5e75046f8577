"""Verifies receipts: signatures against a trust store, then the proof that they name."""

from __future__ import annotations

import time
from collections.abc import Collection

from zkai.encoding import hex32, sha256
from zkai.errors import VerificationError
from zkai.halo2 import formats
from zkai.halo2.formats import AnyKey, AnyProof, parse_proof
from zkai.proof.keys import CEREMONY
from zkai.receipt.signer import PYCA
from zkai.receipt.statement import (
    Place,
    Receipt,
    check_against_proof,
    transcript_digest,
)
from zkai.receipt.trust import TrustStore, verify_signers


def verify_receipt(
    receipt: Receipt,
    store: TrustStore,
    *,
    at: int | None = None,
    logged_at: int | None = None,
    place: Place | None = None,
    implementation: str = PYCA,
) -> None:
    """Return None if those whom `store` requires signed the receipt, and it is for `place`.

    `at` is the time now, from the clock by default. `logged_at` only from a witnessed or anchored
    checkpoint (`zkai.ledger`), see `verify_signers`.

    Raises VerificationError with the reason.
    """
    verify_signers(
        store,
        receipt.envelope,
        receipt.predicate["signers"],
        signed=receipt.signed_at,
        at=int(time.time()) if at is None else at,
        logged_at=logged_at,
        implementation=implementation,
    )
    if place is not None:
        proof = receipt.predicate["proof"]
        if proof is None or proof["destination"] != place.to_json():
            raise VerificationError("the receipt is for another chain, ledger or recipient")


def check_proof_digest(receipt: Receipt, data: bytes) -> None:
    """Return None if a receipt names exactly these bytes of a proof file.

    Raises VerificationError otherwise.
    """
    if receipt.predicate["proof"] is None:
        raise VerificationError("the receipt names no proof")
    if sha256(data).hex() != receipt.statement["subject"][0]["digest"]["sha256"]:
        raise VerificationError("the receipt names a different proof")


def verify_proof_of(
    receipt: Receipt,
    data: bytes,
    key: AnyKey,
    *,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
) -> AnyProof:
    """Return the proof in `data`, after showing that the receipt is of it and that it holds.

    The digest of the bytes, everything that the receipt says of the proof, its context, the proof
    under `key`, and the key's status and ceremony. The key must come from the verifier, not from
    the receipt.

    Raises VerificationError with the reason, InvalidInput for malformed bytes.
    """
    check_proof_digest(receipt, data)
    proof = parse_proof(data)
    check_against_proof(receipt.statement, proof)
    formats.verify(proof, key, production=production, trusted_digests=trusted_digests)
    said = receipt.predicate["proof"]["key"]
    transcript = hex32(transcript_digest(key)) if key.key_status == CEREMONY else None
    if said != {"status": key.key_status, "transcript": transcript}:
        raise VerificationError("the receipt's key status or transcript is not the key's")
    return proof
