"""Who keeps a key ceremony's log: takes what is due, proposes the end of each phase. Holds nothing.

`advance` moves on as far as what lies on the board allows, and says what it waits for; it may be
run at any time, and again after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from zkai.encoding import read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.aggregator import Status
from zkai.federated.board import Board
from zkai.federated.key_ceremony import FILE, RENEWED, KeyCeremony
from zkai.federated.key_transcript import (
    ROUND,
    Transcript,
    check_signatures,
    read_transcript,
)
from zkai.federated.messages import (
    KEY_ACT,
    KEY_DECISION,
    MAX_MESSAGE,
    Message,
    combine,
    open_message,
    payload_of,
)
from zkai.federated.record import Record
from zkai.he.joint_key import JointKey
from zkai.receipt.signer import PrivateKey

CONCLUDED = "concluded"


@dataclass
class Organiser:
    """The keeper of a ceremony's log."""

    terms: KeyCeremony
    folder: Path
    record: Record
    board: Board
    refused: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def open(terms: KeyCeremony, key: PrivateKey, folder: Path, board: Board) -> Organiser:
        """Return the keeper with its log in its folder. Raises InvalidInput if not its own."""
        place = folder / "ceremonies" / terms.id.hex()[:32]
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InvalidInput(f"{place}: cannot be made ({error.strerror})") from error
        return Organiser(terms, place, Record(place / "record.db", terms, key), board)

    def close(self) -> None:
        """Close the log."""
        self.record.close()

    def begin(self, joint: JointKey | None = None) -> None:
        """Write terms and log to the board, with the key that a resharing hands on."""
        if joint is not None:
            self.board.put_root(RENEWED, joint.to_seal())
        self.board.put_root(FILE, self.terms.to_bytes())
        self.record.publish(self.board)

    def advance(self, *, wait: bool = True) -> Status:
        """Move on as far as possible; without `wait`, without those that are missing.

        Raises VerificationError if too few are left: then another ceremony must begin.
        """
        self.refused = {}
        while True:
            self.record.publish(self.board)
            now = read_transcript(self.terms, self.board)
            self.refused |= now.ceremony.excluded
            if now.joint is not None:
                return Status(CONCLUDED, refused=self.refused)
            status = self._move(now, wait)
            if status is not None:
                self.record.publish(self.board)
                return status

    def _move(self, now: Transcript, wait: bool) -> Status | None:
        path = self.folder / now.name("proposal")
        if not path.exists():
            self._collect(now)
            missing = tuple(sorted(member.name for member in now.due.values()))
            if wait and missing:
                return Status(now.phase, missing, self.refused)
            self.record.publish(self.board)
            write_atomic(path, self._proposal())
        return self._certify(now, read_capped(path, MAX_MESSAGE))

    def _proposal(self) -> bytes:
        """Return the end of the phase, as the whole log has it."""
        now = read_transcript(self.terms, self.board)
        return payload_of(KEY_DECISION, now.close())

    def _collect(self, now: Transcript) -> None:
        """Log what the parties handed in; what does not hold is noted in `refused`."""
        kind, members = now.name(now.phase), now.members
        for keyid in self.board.listed(ROUND, kind):
            if keyid not in members:
                self.refused[keyid[:43]] = "not due"
                continue
            member = members[keyid]
            try:
                data = self.board.read(ROUND, f"{kind}/{keyid}")
                message = open_message(
                    data, KEY_ACT, member.key, self.terms.id, ROUND, f"{now.phase}"
                )
                if keyid in now.acts and now.acts[keyid].id == message.id:
                    continue
                now.take(message, now.phase)
            except (InvalidInput, VerificationError) as error:
                self.refused[member.name] = str(error)
            else:
                self.record.append([message])
        self.refused |= now.ceremony.excluded

    def _certify(self, now: Transcript, payload: bytes) -> Status | None:
        """Collect the holders' signatures of a proposal; with a quorum, log the decision."""
        self.board.put(ROUND, now.name("proposal"), payload)
        keys = {member.keyid: member for member in self.terms.holders}
        signed: dict[str, Message] = {}
        for keyid in self.board.listed(ROUND, now.name("signed")):
            if keyid not in keys:
                continue
            try:
                data = self.board.read(ROUND, f"{now.name('signed')}/{keyid}")
                message = open_message(
                    data, KEY_DECISION, keys[keyid].key, self.terms.id, ROUND, "decision"
                )
                if message.envelope.payload == payload:
                    signed[keyid] = message
            except (InvalidInput, VerificationError) as error:
                self.refused[keys[keyid].name] = str(error)
        if len(signed) < self.terms.quorum:
            missing = sorted(m.name for k, m in keys.items() if k not in signed)
            return Status(f"{now.phase} (signatures)", tuple(missing), self.refused)
        certificate = combine([signed[keyid] for keyid in sorted(signed)[: self.terms.quorum]])
        public = {keyid: member.key for keyid, member in keys.items()}
        check_signatures(certificate, public, self.terms.quorum, "decision")
        self.record.append([certificate])
        return None
