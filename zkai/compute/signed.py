"""Signed statements about compute: in-toto Statements in DSSE envelopes, one signer each.

    urn:zkai:compute-seal/v1     a trainer: this hash binds me to a result that I shall show later
    urn:zkai:compute-result/v1   a trainer: this is the root of what the task gave
    urn:zkai:compute-move/v1     a party to a dispute: its next move
    urn:zkai:compute-forfeit/v1  a dispute's referee: who is due has not moved in time

The subject is always the task. What a statement may say is for the module that reads it to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkai.encoding import hex32, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import decode, encode
from zkai.receipt.signer import PrivateKey, PublicKey
from zkai.receipt.statement import STATEMENT_TYPE

SEAL, RESULT, MOVE, FORFEIT = "seal", "result", "move", "forfeit"
_KINDS = (SEAL, RESULT, MOVE, FORFEIT)


def payload_of(kind: str, task: bytes, predicate: Mapping[str, Any]) -> bytes:
    """Return the payload that says `predicate` of a task: the same bytes whoever signs."""
    return encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "task", "digest": {"keccak256": hex32(task)[2:]}}],
            "predicateType": f"urn:zkai:compute-{kind}/v1",
            "predicate": dict(predicate),
        }
    )


def sign(kind: str, task: bytes, predicate: Mapping[str, Any], key: PrivateKey) -> Envelope:
    """Return a statement that `key` signs. Raises InvalidInput if it does not fit."""
    return sign_envelope(payload_of(kind, task, predicate), [key])


def read(envelope: Envelope, where: str) -> tuple[str, bytes, dict[str, Any]]:
    """Return an envelope's kind, task and predicate; nobody has checked the signature.

    Raises InvalidInput, naming the field, for anything that `payload_of` would not have written.
    """
    value = decode(envelope.payload, f"{where}.payload")
    expect_fields(value, ("_type", "subject", "predicateType", "predicate"), f"{where}.payload")
    name, subject = value["predicateType"], value["subject"]
    kind = next((k for k in _KINDS if name == f"urn:zkai:compute-{k}/v1"), None)
    if kind is None:
        raise InvalidInput(f"{where}.payload.predicateType: {str(name)[:80]!r} is unknown")
    if not isinstance(value["predicate"], dict):
        raise InvalidInput(f"{where}.payload.predicate: expected a JSON object")
    try:
        task = parse_hex32("0x" + subject[0]["digest"]["keccak256"], f"{where}.payload.subject")
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidInput(f"{where}.payload.subject: expected one task") from error
    if payload_of(kind, task, value["predicate"]) != envelope.payload:
        raise InvalidInput(f"{where}.payload: not the one form of a {kind}")
    return kind, task, value["predicate"]


def check_signer(envelope: Envelope, key: PublicKey, where: str) -> None:
    """Return None if `key`, and nobody else, signed. Raises VerificationError otherwise."""
    if [keyid for keyid, _ in envelope.signatures] != [key.keyid]:
        raise VerificationError(f"{where}: not signed by {key.keyid} alone")
    try:
        key.verify(envelope.signatures[0][1], envelope.signed_bytes)
    except VerificationError as error:
        raise VerificationError(f"{where}: {error}") from error
