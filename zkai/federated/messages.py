"""Signed messages: in-toto Statements in DSSE envelopes, each of one round of one session.

    urn:zkai:he-session/v1     the aggregator: this log is of this session; entry 0
    urn:zkai:he-commitment/v1  a client: digests of ciphertext, check polynomial and sealed shares
    urn:zkai:he-reveal/v1      the aggregator: whose bodies it has; key holders check their dealing
    urn:zkai:he-dealing/v1     a key holder: its part of the dealing check, and complaints
    urn:zkai:he-decision/v1    a quorum of key holders: who committed, the set, who opens it
    urn:zkai:he-partial/v1     a key holder: its part of the decryption
    urn:zkai:he-abort/v1       the aggregator: the round is over
    urn:zkai:he-key-act/v1     a party of a key ceremony: its part of a phase
    urn:zkai:he-key-decision/v1  a quorum of its holders: a phase is over, and what came of it

What they speak of are bodies: separate files, known by their SHA-256.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from zkai.encoding import hex32, load_json, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.log import MAX_ENTRY
from zkai.receipt import schema
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey, PublicKey
from zkai.receipt.statement import STATEMENT_TYPE

SESSION, COMMITMENT, REVEAL = "session", "commitment", "reveal"
DEALING, DECISION, PARTIAL, ABORT = "dealing", "decision", "partial", "abort"
KEY_ACT, KEY_DECISION = "key-act", "key-decision"
KINDS = (
    SESSION, COMMITMENT, REVEAL, DEALING, DECISION, PARTIAL, ABORT, KEY_ACT, KEY_DECISION,
)  # fmt: skip
CLOSED, SET, ACTIVE = "closed", "set", "active"
PHASES = (CLOSED, SET, ACTIVE)
"""The three decisions of a round, in order."""
MAX_MESSAGE = MAX_ENTRY
SCHEMA = "messages.schema.json"


@dataclass(frozen=True)
class Message:
    """A well-formed message; `open_message` and certificates check its signatures."""

    envelope: Envelope
    kind: str
    predicate: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> bytes:
        """SHA-256 of the signed payload."""
        return self.envelope.id

    @property
    def session(self) -> bytes:
        """The session's id."""
        return self.digest("session")

    @property
    def round(self) -> int:
        """The round's number; 0 for a message of the whole session."""
        return int(self.predicate["round"])

    def digest(self, name: str) -> bytes:
        """Return a field that is a digest."""
        return parse_hex32(self.predicate[name], name)

    def to_bytes(self) -> bytes:
        """Return the message's one byte form."""
        return self.envelope.to_bytes()


@functools.cache
def load_schema() -> schema.Schema:
    """Return the schema of all messages and bodies."""
    found: schema.Schema = json.loads(files("zkai.federated").joinpath(SCHEMA).read_bytes())
    return found


def parse_message(data: bytes, where: str = "message") -> Message:
    """Return a message whose signatures nobody has checked. Raises InvalidInput."""
    if len(data) > MAX_MESSAGE:
        raise InvalidInput(f"{where}: larger than {MAX_MESSAGE} bytes")
    envelope = Envelope.from_bytes(data, where)
    value = load_json(envelope.payload, f"{where}.payload")
    kind = value.get("predicateType") if isinstance(value, dict) else None
    name = str(kind).removeprefix("urn:zkai:he-").removesuffix("/v1")
    if name not in KINDS or kind != f"urn:zkai:he-{name}/v1":
        raise InvalidInput(f"{where}.payload.predicateType: {str(kind)[:80]!r} is unknown")
    definition = f"{name.replace('-', '_')}_statement"
    schema.check(value, load_schema(), where, definition=definition)
    predicate = value["predicate"]
    if envelope.payload != payload_of(name, predicate):
        raise InvalidInput(f"{where}: not the one form of this message")
    return Message(envelope, name, predicate)


def payload_of(kind: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the payload that says `predicate`: the same bytes whoever signs."""
    return encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": "session", "digest": {"sha256": str(predicate["session"])[2:]}},
            ],
            "predicateType": f"urn:zkai:he-{kind}/v1",
            "predicate": dict(predicate),
        }
    )


def sign_message(kind: str, predicate: Mapping[str, Any], key: PrivateKey) -> Message:
    """Return a message that `key` alone signs. Raises InvalidInput if it does not fit."""
    envelope = sign_envelope(payload_of(kind, predicate), [key])
    return parse_message(envelope.to_bytes(), kind)


def open_message(
    data: bytes, kind: str, key: PublicKey, session: bytes, number: int, where: str
) -> Message:
    """Return a message of a kind, session and round that `key`, and nobody else, signed.

    Raises InvalidInput for malformed bytes, VerificationError for another signer, kind, session
    or round.
    """
    message = parse_message(data, where)
    check_place(message, kind, session, number, where)
    if [keyid for keyid, _ in message.envelope.signatures] != [key.keyid]:
        raise VerificationError(f"{where}: not signed by {key.keyid} alone")
    key.verify(message.envelope.signatures[0][1], message.envelope.signed_bytes)
    return message


def check_place(message: Message, kind: str, session: bytes, number: int, where: str) -> None:
    """Return None if a message is of a kind, a session and a round. Raises VerificationError."""
    if message.kind != kind:
        raise VerificationError(f"{where}: a {message.kind}, not a {kind}")
    if message.session != session:
        raise VerificationError(f"{where}: of another session")
    if message.round != number:
        raise VerificationError(f"{where}: of round {message.round}, not of round {number}")


def combine(messages: Sequence[Message]) -> Message:
    """Return one message with the signatures of all, by key. Raises InvalidInput if they differ."""
    if len({message.envelope.payload for message in messages}) != 1:
        raise InvalidInput("certificate: the signatures are of different decisions")
    found = dict(pair for message in messages for pair in message.envelope.signatures)
    signatures = tuple(sorted(found.items()))
    envelope = Envelope(messages[0].envelope.payload, signatures)
    return parse_message(envelope.to_bytes(), "certificate")


def base(session: bytes, number: int) -> dict[str, Any]:
    """Return the fields that every message has."""
    return {"session": hex32(session), "round": number}


def dealing_digest(shares: Sequence[str]) -> bytes:
    """Return what names a dealing: SHA-256 over the digests of the sealed shares, in order."""
    return sha256(encode(["zkai/he-dealing/1", *shares]))
