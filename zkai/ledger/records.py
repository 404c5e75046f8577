"""What the log holds besides receipts: its own beginning, keys' status, training blocks, nodes.

Each is an in-toto Statement in a DSSE envelope, as receipts are, with a predicate of its own:

    urn:zkai:ledger/v1          the rules: trust store, verifying keys, place; entry 0 of every log
    urn:zkai:key-status/v1      a key is active, follows another, or is revoked
    urn:zkai:training-block/v1  the operations since the last block, under one root
    urn:zkai:model-node/v1      a fork's or a merge's place in the tree of models
    urn:zkai:consent/v1         an owner publishes, grants, revokes or erases a sealed object
    urn:zkai:access/v1          the operator handed a sealed object to somebody, or refused to
    urn:zkai:account/v1         an account of a chain is bound to a key
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import load_json, sha256
from zkai.errors import InvalidInput
from zkai.receipt import schema
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Receipt,
    check_statement,
    parse_time,
    write_time,
)

LEDGER, KEY_STATUS = "urn:zkai:ledger/v1", "urn:zkai:key-status/v1"
BLOCK, NODE = "urn:zkai:training-block/v1", "urn:zkai:model-node/v1"
CONSENT, ACCESS = "urn:zkai:consent/v1", "urn:zkai:access/v1"
ACCOUNT = "urn:zkai:account/v1"
TYPES = {
    LEDGER: "ledger", KEY_STATUS: "key_status", BLOCK: "block", NODE: "node",
    CONSENT: "consent", ACCESS: "access", ACCOUNT: "account",
}  # fmt: skip
SCHEMA = "records.schema.json"
CHAIN_KINDS = ("genesis", "training_step", "skipped_step", "aggregation")
"""The kinds of receipts that move a fork; they need a proof."""


@dataclass(frozen=True)
class Record:
    """A signed record that is well formed; its signatures are not yet verified."""

    envelope: Envelope
    type: str
    predicate: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> bytes:
        """SHA-256 of the signed payload."""
        return self.envelope.id

    @property
    def signed_at(self) -> int:
        """When the signer says that it signed, in seconds since 1970."""
        return parse_time(self.predicate["signed"], "signed")


def parse_entry(data: bytes, where: str = "entry") -> Receipt | Record:
    """Return what an entry's bytes hold. Raises InvalidInput for anything unknown."""
    envelope = Envelope.from_bytes(data, where)
    value = load_json(envelope.payload, f"{where}.payload")
    kind = value.get("predicateType") if isinstance(value, dict) else None
    if kind == PREDICATE_TYPE:
        return Receipt(envelope, check_statement(value, f"{where}.payload"))
    if not isinstance(kind, str) or kind not in TYPES:
        raise InvalidInput(f"{where}.payload.predicateType: {str(kind)[:80]!r} is unknown")
    document = schema.load(SCHEMA)
    schema.check(value, document, where, definition=f"{TYPES[kind]}_statement")
    predicate = value["predicate"]
    parse_time(predicate["signed"], f"{where}.signed")
    if value["subject"][0]["digest"]["sha256"] != sha256(encode(_body(predicate))).hex():
        raise InvalidInput(f"{where}.subject: not the digest of the record's body")
    return Record(envelope, kind, predicate)


def _body(predicate: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in predicate.items() if n not in ("signed", "signers")}


def sign_record(kind: str, body: Mapping[str, Any], keys: Sequence[PrivateKey], at: int) -> Record:
    """Return a record of a type, signed by each key. Raises InvalidInput if it does not fit."""
    predicate = {
        **body,
        "signed": write_time(at),
        "signers": [{"alg": key.alg, "keyid": key.keyid} for key in keys],
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": TYPES[kind], "digest": {"sha256": sha256(encode(body)).hex()}}],
        "predicateType": kind,
        "predicate": predicate,
    }
    record = parse_entry(sign_envelope(encode(statement), keys).to_bytes(), TYPES[kind])
    assert isinstance(record, Record)
    return record
