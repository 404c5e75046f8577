"""The aggregator: logs what it is handed, proposes decisions, adds up. It opens nothing.

`advance` moves a round on as far as what lies on the board allows, and says what it waits for. It
may be run at any time, and again after a crash: the log and the board hold all of its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import MAX_LIST, Board
from zkai.federated.chosen import Dealings
from zkai.federated.decisions import Decision, Round, check_quorum, propose
from zkai.federated.inputs import check_rule
from zkai.federated.judging import propose_set
from zkai.federated.messages import (
    ABORT,
    ACTIVE,
    CLOSED,
    COMMITMENT,
    DEALING,
    DECISION,
    MAX_MESSAGE,
    PARTIAL,
    REVEAL,
    SET,
    Message,
    base,
    combine,
    open_message,
    sign_message,
)
from zkai.federated.moving import rule_at
from zkai.federated.record import Record, View
from zkai.federated.scheme import Inputs, Scheme
from zkai.federated.sealing import sealed_share_bytes
from zkai.federated.session import Session
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey

OPENED = "opened"


@dataclass(frozen=True)
class Status:
    """How far a round is: the phase that is waited for, for whom (names), and who was refused."""

    phase: str
    waiting: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Aggregator:
    """The aggregator of a session, with its log."""

    session: Session
    scheme: Scheme
    key: PrivateKey
    folder: Path
    record: Record
    board: Board
    inputs: Inputs | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def open(
        session: Session,
        scheme: Scheme,
        key: PrivateKey,
        folder: Path,
        board: Board,
        inputs: Inputs | None = None,
    ) -> Aggregator:
        """Return the aggregator with its log in a folder. Raises InvalidInput if not its own."""
        check_rule(session, inputs)
        record = Record(folder / "record.db", session, key)
        return Aggregator(session, scheme, key, folder, record, board, inputs)

    def close(self) -> None:
        """Close the log."""
        self.record.close()

    def begin(self) -> None:
        """Write session and log to the board."""
        self.board.put_session(self.session)
        self.record.publish(self.board)

    def advance(self, number: int, *, wait: bool = True) -> Status:
        """Move a round on as far as possible.

        With `wait`, commitments are taken until every client has committed, and bodies until each
        that committed has shown them; without, with those that are there, if they are enough.

        Raises InvalidInput for a round that cannot begin yet, VerificationError if it was aborted.
        """
        self.session.check_round(number)
        self.refused = {}
        if self._find(number, ABORT):
            raise VerificationError(f"round {number} was aborted; begin the next")
        if number > 1 and not (self._find(number - 1, ABORT) or self._opened(number - 1)):
            raise InvalidInput(f"round {number - 1} is neither opened nor aborted yet")
        steps: tuple[Callable[[int, bool], Status | None], ...] = (
            self._commit, self._reveal, self._deal, self._choose, self._activate, self._collect,
        )  # fmt: skip
        for step in steps:
            status = step(number, wait)
            if status is not None:
                self.record.publish(self.board)
                return status
        return Status(OPENED, refused=self.refused)

    def abort(self, number: int, reason: str) -> Message:
        """End a round for good. Raises InvalidInput if its sum is open already."""
        if self._decided(number, ACTIVE) and not self._find(number, ABORT):
            self._certify(number, ACTIVE)
            self._collect(number, wait=True)  # parts that are out count, logged or not
        if self._opened(number):
            raise InvalidInput(f"round {number} is opened already")
        predicate = {**base(self.session.id, number), "reason": reason}
        for _, found in self._find(number, ABORT):
            message = found
            break
        else:
            message = sign_message(ABORT, predicate, self.key)
        self.record.append([message])
        self.record.publish(self.board)
        self.board.put(number, ABORT, message.to_bytes())
        return message

    # reading

    def _find(self, number: int, kind: str) -> list[tuple[int, Message]]:
        return [(i, m) for i, m in self.record.messages(number) if m.kind == kind]

    def _round(self, number: int) -> Round:
        self.record.publish(self.board)
        view = View.read(self.board, self.session)
        rule = rule_at(self.inputs, self.session, self.scheme, view, number)
        return Round(self.session, number, view, rule)

    def _opened(self, number: int) -> bool:
        """Whether so many holders have handed in their parts that the sum is open."""
        return len(self._find(number, PARTIAL)) >= self.session.threshold

    def _handed_in(
        self, number: int, folder: str, kind: str, keys: dict[str, Any]
    ) -> Iterator[tuple[str, Message]]:
        """Yield well-formed messages of known parties; what is not is noted in `refused`."""
        for keyid in self.board.listed(number, folder):
            if keyid not in keys:
                self.refused[keyid[:43]] = "not in the session"
                continue
            try:
                data = self.board.read(number, f"{folder}/{keyid}")
                key = keys[keyid].key
                yield keyid, open_message(data, kind, key, self.session.id, number, folder)
            except (InvalidInput, VerificationError) as error:
                self.refused[keys[keyid].name] = str(error)

    # a round's steps: each returns what it waits for, or None once it is done

    def _commit(self, number: int, wait: bool) -> Status | None:
        """Log commitments; once all are there (or enough, without waiting) fix who committed."""
        if self._proposed(number, CLOSED):
            return self._certify(number, CLOSED)
        known = {m.predicate["client"]: i for i, m in self._find(number, COMMITMENT)}
        fresh = []
        clients = dict(self.session.clients_by_keyid)
        for keyid, message in self._handed_in(number, "commitments", COMMITMENT, clients):
            if keyid not in known and message.predicate["client"] == keyid:
                fresh.append(message)
        self.record.append(fresh)
        rnd = self._round(number)
        entries = []
        for index, message in self._find(number, COMMITMENT):
            entry = {"client": message.predicate["client"], "index": index}
            try:
                rnd.commitment(entry)
                entries.append(entry)
            except VerificationError as error:
                self.refused[clients[entry["client"]].name] = str(error)
        entries.sort(key=lambda entry: entry["client"])
        missing = sorted(set(clients) - {entry["client"] for entry in entries})
        if (wait and missing) or len(entries) < self.session.least:
            return self._waiting(COMMITMENT, missing)
        self._propose(rnd, CLOSED, None, {"entries": entries})
        return self._certify(number, CLOSED)

    def _waiting(self, phase: str, keyids: Sequence[str]) -> Status:
        parties: dict[str, Any] = {
            **self.session.clients_by_keyid, **self.session.holders_by_keyid,
        }  # fmt: skip
        return Status(phase, tuple(sorted(parties[k].name for k in keyids)), self.refused)

    def _propose(self, rnd: Round, phase: str, previous: Decision | None, body: Any) -> None:
        """Propose a decision, once: a proposal that anyone may have signed never changes."""
        if self._proposed(rnd.number, phase):
            return
        view = rnd.view.checkpoint
        payload, data = propose(self.session, rnd.number, phase, previous, view, body)
        self.folder.joinpath("proposals").mkdir(exist_ok=True)
        write_atomic(self._proposal_path(rnd.number, f"{phase}.body"), data)
        write_atomic(self._proposal_path(rnd.number, f"{phase}.proposal"), payload)

    def _proposal_path(self, number: int, name: str) -> Path:
        return self.folder / "proposals" / f"{number}-{name}"

    def _proposed(self, number: int, phase: str) -> bool:
        return self._proposal_path(number, f"{phase}.proposal").exists()

    def _certify(self, number: int, phase: str) -> Status | None:
        """Collect the holders' signatures of a proposal; with a quorum, log the decision."""
        payload = read_capped(self._proposal_path(number, f"{phase}.proposal"), MAX_MESSAGE)
        data = read_capped(self._proposal_path(number, f"{phase}.body"), MAX_LIST)
        self.board.put(number, f"{phase}.body", data)
        self.board.put(number, f"{phase}.proposal", payload)
        if not self._decided(number, phase):
            holders = dict(self.session.holders_by_keyid)
            signed = {
                keyid: message
                for keyid, message in self._handed_in(number, f"{phase}-signed", DECISION, holders)
                if message.envelope.payload == payload
            }
            if len(signed) < self.session.quorum:
                missing = sorted(set(holders) - set(signed))
                return self._waiting(f"{phase} (signatures)", missing)
            enough = sorted(signed)[: self.session.quorum]
            certificate = combine([signed[keyid] for keyid in enough])
            check_quorum(self.session, certificate, number)
            self.record.append([certificate])
            self.record.publish(self.board)
        [certificate] = self._decided(number, phase)
        self.board.put(number, f"{phase}.certificate", certificate.to_bytes())
        return None

    def _decided(self, number: int, phase: str) -> list[Message]:
        """The logged decision of a phase, if there is one."""
        found = [m for _, m in self._find(number, DECISION)]
        return [m for m in found if m.predicate["phase"] == phase]

    def _reveal(self, number: int, wait: bool) -> Status | None:
        """Wait for the bodies of those who committed, and log whose are there."""
        if self._find(number, REVEAL):
            return None
        rnd = self._round(number)
        closed = rnd.require(CLOSED)
        there, missing = [], []
        for entry in closed.entries:
            name = self.session.clients_by_keyid[entry["client"]].name
            commitment = rnd.commitment(entry)
            try:
                if self.board.has_body(number, commitment.digest("ciphertext")):
                    self._check_bodies(rnd, commitment, name)
                    there.append(entry["client"])
                    continue
            except (InvalidInput, VerificationError) as error:
                self.refused[name] = str(error)
            missing.append(entry["client"])
        if (wait and missing) or len(there) < self.session.least:
            return self._waiting(REVEAL, missing)
        body = encode({"clients": there})
        self.board.put_body(number, body)
        predicate = {
            **base(self.session.id, number),
            "closed": hex32(closed.id),
            "body": hex32(sha256(body)),
        }
        message = sign_message(REVEAL, predicate, self.key)
        self.record.append([message])
        return None

    def _check_bodies(self, rnd: Round, commitment: Message, name: str) -> None:
        """Return None if a client's bodies are there; shares are for the holders to judge."""
        scheme, predicate = self.scheme, commitment.predicate
        digest = commitment.digest("ciphertext")
        total = rnd.board.body(rnd.number, digest, scheme.ciphertext_bytes, name)
        scheme.total(rnd.number).add(total, commitment.digest("key"))
        rnd.board.body(rnd.number, commitment.digest("check"), scheme.check_bytes, name)
        if predicate["proof"] is not None:
            rnd.board.body(rnd.number, commitment.digest("proof"), None, name)
        for j, digest in enumerate(predicate["shares"]):
            size = sealed_share_bytes(scheme.share_bytes(j))
            rnd.board.body(rnd.number, bytes.fromhex(digest[2:]), size, name)

    def _deal(self, number: int, wait: bool) -> Status | None:
        """Publish whose bodies are there; wait for the holders' dealing checks."""
        if self._proposed(number, SET):
            return None
        [(_, reveal)] = self._find(number, REVEAL)
        self.record.publish(self.board)
        self.board.put(number, REVEAL, reveal.to_bytes())
        holders = dict(self.session.holders_by_keyid)
        rnd = self._round(number)
        members = rnd.revealed(reveal, rnd.require(CLOSED))
        there = []
        for keyid, message in self._handed_in(number, f"{DEALING}s", DEALING, holders):
            try:
                if message.predicate["holder"] == keyid and message.digest("reveal") == reveal.id:
                    Dealings.read_one(rnd, self.scheme, message, members)
                    there.append(message)
            except (InvalidInput, VerificationError) as error:
                self.refused[holders[keyid].name] = str(error)
        needed = len(holders) if wait else self.session.quorum
        if len(there) < needed:
            seen = {message.predicate["holder"] for message in there}
            return self._waiting(DEALING, sorted(set(holders) - seen))
        self.record.append(there)
        return None

    def _choose(self, number: int, wait: bool) -> Status | None:
        """Propose the set: everyone whose bodies and shares hold, and the sum of theirs."""
        if not self._proposed(number, SET):
            rnd = self._round(number)
            [(index, reveal)] = self._find(number, REVEAL)
            body, total = propose_set(
                rnd, self.scheme, index, reveal, dict(self._find(number, DEALING)), self.refused
            )
            self.board.put_body(number, total)
            if len(body["entries"]) < self.session.least:
                names = [
                    f"{self.session.clients_by_keyid[e['client']].name} ({e['reason']})"
                    for e in body["excluded"]
                ]
                raise VerificationError(
                    f"round {number}: too few clients are left, without {', '.join(names)}; abort"
                )
            self._propose(rnd, SET, rnd.require(CLOSED), body)
        return self._certify(number, SET)

    def _activate(self, number: int, wait: bool) -> Status | None:
        """Propose who opens the sum: all holders that can read all shares."""
        if not self._proposed(number, ACTIVE):
            rnd = self._round(number)
            chosen = rnd.require(SET)
            [(_, reveal)] = self._find(number, REVEAL)
            dealers = [rnd.dealing(i, reveal) for i in chosen.body["dealings"]]
            able = [
                m.predicate["holder"]
                for m in dealers
                if not set(m.predicate["complaints"]) & set(chosen.clients)
            ]
            if len(able) < self.session.threshold:
                raise VerificationError(
                    f"round {number}: {len(able)} key holders can read every share,"
                    f" {self.session.threshold} must; abort"
                )
            able.sort(key=self.session.holder_keyids.index)
            self._propose(rnd, ACTIVE, chosen, {"holders": able})
        return self._certify(number, ACTIVE)

    def _collect(self, number: int, wait: bool) -> Status | None:
        """Log the parts of the decryption; wait for everyone who is to open it, or for t."""
        rnd = self._round(number)
        active = rnd.require(ACTIVE)
        holders = {k: self.session.holders_by_keyid[k] for k in active.body["holders"]}
        parts = {}
        for keyid, message in self._handed_in(number, f"{PARTIAL}s", PARTIAL, dict(holders)):
            if message.digest("active") != active.id or message.predicate["holder"] != keyid:
                self.refused[holders[keyid].name] = "its part is of another decision"
                continue
            try:
                size = self.scheme.partial_bytes
                rnd.board.body(number, message.digest("body"), size, holders[keyid].name)
                parts[keyid] = message
            except (InvalidInput, VerificationError) as error:
                self.refused[holders[keyid].name] = str(error)
        self.record.append([parts[keyid] for keyid in sorted(parts)])
        if len(parts) < (len(holders) if wait else self.session.threshold):
            return self._waiting(PARTIAL, sorted(set(holders) - set(parts)))
        self.record.publish(self.board)
        return None
