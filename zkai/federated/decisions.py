"""Decisions: what a quorum of key holders signs, and the rules that each of them checks first.

A round has three. `closed` fixes who has committed, before any body is revealed. `set` fixes whose
ciphertexts are summed, and the sum. `active` fixes which holders open it. A decision's payload
names the one before it, the log that it was taken on (size and root), and the digest of its body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import hex32, load_json, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import MAX_LIST, Board
from zkai.federated.messages import (
    ACTIVE,
    CLOSED,
    COMMITMENT,
    DEALING,
    DECISION,
    MAX_MESSAGE,
    REVEAL,
    SET,
    Message,
    base,
    check_place,
    load_schema,
    open_message,
    parse_message,
    payload_of,
)
from zkai.federated.record import View
from zkai.federated.scheme import Inputs
from zkai.federated.session import Session
from zkai.ledger.checkpoint import Checkpoint
from zkai.receipt import schema
from zkai.receipt.jcs import decode, encode

BEFORE = {CLOSED: None, SET: CLOSED, ACTIVE: SET}


@dataclass(frozen=True)
class Decision:
    """A decision's payload and body, of one round; who signed it is another matter."""

    payload: bytes = field(repr=False)
    predicate: Mapping[str, Any]
    body: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> bytes:
        """SHA-256 of the payload."""
        return sha256(self.payload)

    @property
    def phase(self) -> str:
        """Which of a round's decisions it is."""
        return str(self.predicate["phase"])

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The clients in it."""
        found: Sequence[Mapping[str, Any]] = self.body["entries"]
        return found

    @property
    def clients(self) -> tuple[str, ...]:
        """The thumbprints of the clients in it, in canonical order."""
        return tuple(entry["client"] for entry in self.entries)


@dataclass(frozen=True)
class Round:
    """One round of a session, as it stands on a board under one view of the log."""

    session: Session
    number: int
    view: View = field(repr=False)
    inputs: Inputs | None = field(default=None, repr=False)

    @property
    def board(self) -> Board:
        """The board."""
        return self.view.board

    def open_entry(self, index: int, kind: str, keyid: str, size: int | None = None) -> Message:
        """Return a logged message of this round, of a kind, that a party of the session signed.

        Raises VerificationError or InvalidInput otherwise.
        """
        parties: dict[str, Any] = {
            **self.session.clients_by_keyid, **self.session.holders_by_keyid,
        }  # fmt: skip
        if kind == REVEAL:
            key = self.session.aggregator
        elif keyid in parties:
            key = parties[keyid].key
        else:
            raise VerificationError(f"entry {index}: {keyid} is not in the session")
        data = self.view.entry(index, size)
        where = f"entry {index}"
        return open_message(data, kind, key, self.session.id, self.number, where)

    def commitment(self, entry: Mapping[str, Any], size: int | None = None) -> Message:
        """Return the commitment that a decision's entry names. Raises VerificationError."""
        keyid = entry["client"]
        if keyid not in self.session.clients_by_keyid:
            raise VerificationError(f"{keyid}: not a client of the session")
        message = self.open_entry(entry["index"], COMMITMENT, keyid, size)
        if message.predicate["client"] != keyid:
            raise VerificationError(f"entry {entry['index']}: names another client")
        if len(message.predicate["shares"]) != len(self.session.holders):
            raise VerificationError(f"entry {entry['index']}: expected a share for each holder")
        if message.predicate["weight_bound"] != self.session.max_weight:
            raise VerificationError(f"entry {entry['index']}: another bound on weights")
        if (message.predicate["proof"] is None) != (self.session.inputs is None):
            raise VerificationError(f"entry {entry['index']}: a proof is not as the session asks")
        if (message.predicate["coordinates"] is None) == self.session.keeps:
            raise VerificationError(f"entry {entry['index']}: coordinates are not as agreed")
        return message

    def decision(self, phase: str) -> Decision | None:
        """Return the decision that a quorum signed and the log holds, or None if there is none.

        Raises VerificationError if there is one that does not hold.
        """
        if not self.board.has(self.number, f"{phase}.certificate"):
            return None
        data = self.board.read(self.number, f"{phase}.certificate")
        message = parse_message(data, f"{phase}.certificate")
        check_quorum(self.session, message, self.number)
        if message.predicate["phase"] != phase:
            raise VerificationError(f"{phase}.certificate: of another phase")
        self.view.index_of(data, f"{phase}.certificate")
        return self._with_body(message.envelope.payload, message.predicate)

    def proposal(self, phase: str) -> Decision:
        """Return what the aggregator proposes. Raises InvalidInput if it is malformed."""
        payload = self.board.read(self.number, f"{phase}.proposal", MAX_MESSAGE)
        where = f"{phase}.proposal"
        value = load_json(payload, where)
        schema.check(value, load_schema(), where, definition="decision_statement")
        predicate = value["predicate"]
        if payload != payload_of(DECISION, predicate):
            raise InvalidInput(f"{where}: not the one form of a decision")
        place = (predicate["session"], predicate["round"], predicate["phase"])
        if place != (hex32(self.session.id), self.number, phase):
            raise VerificationError(f"{where}: of another session, round or phase")
        return self._with_body(payload, predicate)

    def _with_body(self, payload: bytes, predicate: Mapping[str, Any]) -> Decision:
        phase = predicate["phase"]
        data = self.board.read(self.number, f"{phase}.body", MAX_LIST)
        if sha256(data) != parse_hex32(predicate["body"], "body"):
            raise VerificationError(f"{phase}.body: its bytes are not those of the decision")
        body = decode(data, f"{phase}.body")
        schema.check(body, load_schema(), f"{phase}.body", definition=f"{phase}_body")
        return Decision(payload, predicate, body)

    def require(self, phase: str) -> Decision:
        """Return a decision that is taken and logged. Raises VerificationError if it is not."""
        found = self.decision(phase)
        if found is None:
            raise VerificationError(f"round {self.number}: {phase!r} is not decided yet")
        return found

    def check_common(self, decision: Decision) -> None:
        """Return None if a decision follows the one before and was taken on this log.

        Raises VerificationError otherwise.
        """
        before = BEFORE[decision.phase]
        previous = decision.predicate["previous"]
        if previous != (None if before is None else hex32(self.require(before).id)):
            raise VerificationError(f"{decision.phase}: does not follow the round's {before}")
        root = parse_hex32(decision.predicate["root"], "root")
        self.view.check_extends(decision.predicate["size"], root)

    def check_enough(self, clients: Sequence[str], what: str) -> None:
        """Return None if some clients are distinct, in order, of the session, and enough.

        Raises VerificationError otherwise.
        """
        if list(clients) != sorted(set(clients)):
            raise VerificationError(f"{what}: clients are there twice, or not in order")
        strangers = [keyid for keyid in clients if keyid not in self.session.clients_by_keyid]
        if strangers:
            raise VerificationError(f"{what}: {strangers[0]} is not a client of the session")
        if len(clients) < self.session.least:
            raise VerificationError(
                f"{what}: {len(clients)} clients, and at least {self.session.least} must contribute"
                f" (minimum {self.session.minimum}, {self.session.percent} % of"
                f" {len(self.session.clients)})"
            )

    def check_closed(self, decision: Decision) -> None:
        """Return None if everyone in `closed` has signed and logged a commitment.

        Raises VerificationError otherwise.
        """
        self.check_common(decision)
        self.check_enough(decision.clients, "closed")
        for entry in decision.entries:
            self.commitment(entry, decision.predicate["size"])

    def reveal(self, index: int, closed: Decision) -> Message:
        """Return the logged list of those whose bodies were handed in. Raises VerificationError."""
        message = self.open_entry(index, REVEAL, "")
        if message.digest("closed") != closed.id:
            raise VerificationError("reveal: follows another decision")
        return message

    def revealed(self, message: Message, closed: Decision) -> tuple[str, ...]:
        """Return the clients of `reveal`, in order. Raises VerificationError if it is no subset."""
        data = self.board.body(self.number, message.digest("body"), None, "reveal")
        body = decode(data, "reveal")
        schema.check(body, load_schema(), "reveal", definition="reveal_body")
        clients = tuple(body["clients"])
        if list(clients) != sorted(set(clients)) or not set(clients) <= set(closed.clients):
            raise VerificationError("reveal: not an ordered list of clients that committed")
        return clients

    def dealing(self, index: int, reveal: Message) -> Message:
        """Return a holder's logged dealing check of `reveal`. Raises VerificationError."""
        said = parse_message(self.view.entry(index), f"entry {index}")
        if said.kind != DEALING:
            raise VerificationError(f"entry {index}: a {said.kind}, not a dealing check")
        message = self.open_entry(index, DEALING, said.predicate["holder"])
        if said.predicate["holder"] not in self.session.holders_by_keyid:
            raise VerificationError(f"entry {index}: not of a key holder")
        if message.digest("reveal") != reveal.id:
            raise VerificationError(f"entry {index}: checks another list of clients")
        return message

    def check_active(
        self, decision: Decision, chosen: Decision, dealers: Sequence[Message]
    ) -> None:
        """Return None if all holders that could check every client in the set are to open it.

        More of them than t, since they show whose part is wrong.

        Raises VerificationError otherwise.
        """
        self.check_common(decision)
        holders = decision.body["holders"]
        able = {m.predicate["holder"]: set(m.predicate["complaints"]) for m in dealers}
        if len(set(holders)) != len(holders) or len(holders) != len(able):
            raise VerificationError(f"active: expected {len(able)} distinct holders")
        for keyid in holders:
            if keyid not in able:
                raise VerificationError(f"active: {keyid} took no part in the dealing check")
            if able[keyid] & set(chosen.clients):
                raise VerificationError(f"active: {keyid} has no share of some client in the set")


def check_quorum(session: Session, message: Message, number: int) -> None:
    """Return None if a quorum of the session's holders signed a decision of a round.

    Raises VerificationError for too few, for anyone else's signature, and for a forged one.
    """
    check_place(message, DECISION, session.id, number, "certificate")
    keyids = [keyid for keyid, _ in message.envelope.signatures]
    if len(set(keyids)) != len(keyids):
        raise VerificationError("certificate: a holder signed twice")
    if strangers := [keyid for keyid in keyids if keyid not in session.holders_by_keyid]:
        raise VerificationError(f"certificate: {strangers[0]} is no key holder of the session")
    if len(keyids) < session.quorum:
        raise VerificationError(
            f"certificate: {len(keyids)} key holders signed, {session.quorum} must"
        )
    signed = message.envelope.signed_bytes
    for keyid, signature in message.envelope.signatures:
        session.holders_by_keyid[keyid].key.verify(signature, signed)


def propose(
    session: Session,
    number: int,
    phase: str,
    previous: Decision | None,
    checkpoint: Checkpoint,
    body: Mapping[str, Any],
) -> tuple[bytes, bytes]:
    """Return payload and body of a decision to be signed."""
    data = encode(dict(body))
    predicate = {
        **base(session.id, number),
        "phase": phase,
        "previous": None if previous is None else hex32(previous.id),
        "size": checkpoint.size,
        "root": hex32(checkpoint.root),
        "body": hex32(sha256(data)),
    }
    return payload_of(DECISION, predicate), data
