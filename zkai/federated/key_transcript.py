"""A key ceremony as its log tells it: whoever reads the log computes the same.

The phases, of which each ends with a decision that a quorum of the holders signs:

    join      each holder's one-time encryption keys, one for each dealer
    commit    each dealer's commitment
    open      each dealer's opening, and its private messages, sealed
    complain  each holder's one-time keys for messages that hold no share as committed, if any
    respond   each holder's projections
    show      if a dealing fails: each holder's one-time key for that dealer; again for the next

A decision's payload follows from the log before it, and says what came of the phase: the dealer in
dispute, or the id of the joint key. A party's message names the decision that it follows, so it
fits no other ceremony, phase or history. Two different messages of one party in a phase exclude it
by name. Every other message that does not belong makes the log invalid: its keeper is to blame.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.key_ceremony import KeyCeremony, Member, by_keyid, read_renewed
from zkai.federated.key_files import sealed_message_bytes, unseal_message
from zkai.federated.messages import (
    KEY_ACT,
    KEY_DECISION,
    SESSION,
    Message,
    base,
    check_place,
    open_message,
    parse_message,
)
from zkai.federated.record import View
from zkai.he.committee import Ceremony
from zkai.he.joint_key import JointKey
from zkai.he.key_dealing import Opening, response_size
from zkai.receipt.signer import PublicKey
from zkai.vault.keys import KEY_BYTES, PUBLIC_BYTES, SEED_BYTES, Recipient, VaultKey

JOIN, COMMIT, OPEN, COMPLAIN, RESPOND, SHOW = (
    "join", "commit", "open", "complain", "respond", "show",
)  # fmt: skip
PHASES = (JOIN, COMMIT, OPEN, COMPLAIN, RESPOND, SHOW)
OF_DEALERS = (COMMIT, OPEN)
ROUND = 1
_COMPLAINT = struct.Struct(f"<H{SEED_BYTES}s")
_TWO = "signed two different messages in one phase"


@dataclass
class Transcript:
    """The state of a ceremony after some of its log. `joint` is the key, once it is concluded."""

    terms: KeyCeremony
    board: Board
    ceremony: Ceremony
    size: int = 1
    root: bytes = b""
    step: int = 0
    last: bytes | None = None
    acts: dict[str, Message] = field(default_factory=dict)
    """What was said in this phase, by thumbprint."""
    recipients: dict[tuple[int, int], Recipient] = field(default_factory=dict, repr=False)
    sealed: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)
    shown: dict[int, bytes] = field(default_factory=dict, repr=False)
    disputed: int | None = None
    joint: JointKey | None = None
    certificate: Message | None = None

    @staticmethod
    def read(terms: KeyCeremony, view: View) -> Transcript:
        """Return the ceremony as a log tells it.

        Raises VerificationError or InvalidInput, naming the entry, for a log that is none of it.
        """
        first = view.entry(0)
        open_message(first, SESSION, terms.aggregator, terms.id, 0, "entry 0")
        ceremony = Ceremony(terms.terms, read_renewed(view.board, terms))
        found = Transcript(terms, view.board, ceremony)
        for index in range(1, view.checkpoint.size):
            message = _parse(view.entry(index), f"entry {index}")
            if message.kind == KEY_DECISION:
                found._decide(message, view, index)
            else:
                found.take(message, f"entry {index}")
            found.size = index + 1
        found.root = view.root(found.size)
        return found

    @property
    def phase(self) -> str:
        """The phase that is due."""
        return PHASES[min(self.step, len(PHASES) - 1)]

    @property
    def members(self) -> Mapping[str, Member]:
        """Who may speak in this phase, by thumbprint."""
        dealt = self.phase in OF_DEALERS
        return by_keyid(self.terms.dealers if dealt else self.terms.holders)

    @property
    def due(self) -> Mapping[str, Member]:
        """Who is expected to speak and has not, by thumbprint; nobody that is excluded."""
        out, said = self.ceremony.excluded, self.acts
        found = {k: m for k, m in self.members.items() if k not in said and m.name not in out}
        if self.phase == OPEN:
            return {k: m for k, m in found.items() if m.place in self.ceremony.commitments}
        return found

    def name(self, kind: str) -> str:
        """Return where something of this phase lies on the board."""
        return f"{self.step}-{kind}"

    # messages

    def take(self, message: Message, where: str) -> None:
        """Take a party's message of the phase that is due.

        Raises VerificationError or InvalidInput if it is none.
        """
        check_place(message, KEY_ACT, self.terms.id, ROUND, where)
        said = message.predicate
        member = self.members.get(said["party"])
        if self.joint is not None or said["act"] != self.phase or member is None:
            raise VerificationError(f"{where}: {said['act']} of {said['party']} is not due")
        _check_signer(message, member.key, where)
        if said["after"] != (None if self.last is None else hex32(self.last)):
            raise VerificationError(f"{where}: follows another decision")
        if member.keyid in self.acts:
            if self.acts[member.keyid].id == message.id:
                raise VerificationError(f"{where}: is there twice")
            self.ceremony.exclude(member.name, _TWO)
            return
        size = self._body_size(member)
        body = self.board.body(ROUND, message.digest("body"), size, f"{where}: {member.name}")
        self.acts[member.keyid] = message
        if member.name not in self.ceremony.excluded:
            self._takers[self.phase](member, body)

    def _body_size(self, member: Member) -> int | None:
        terms, holders = self.terms.terms, len(self.terms.holders)
        return {
            JOIN: PUBLIC_BYTES * len(self.terms.dealers),
            COMMIT: 32,
            OPEN: Opening.bytes_each(terms) + holders * sealed_message_bytes(terms),
            COMPLAIN: None,
            RESPOND: response_size(terms, len(self.ceremony.asked)),
            SHOW: SEED_BYTES,
        }[self.phase]

    @property
    def _takers(self) -> Mapping[str, Callable[[Member, bytes], None]]:
        return {
            JOIN: self._join, COMMIT: self._commit, OPEN: self._open,
            COMPLAIN: self._complain, RESPOND: self._respond, SHOW: self._show,
        }  # fmt: skip

    def _join(self, member: Member, body: bytes) -> None:
        for i, dealer in enumerate(self.terms.dealers):
            key = Recipient(body[PUBLIC_BYTES * i : PUBLIC_BYTES * (i + 1)])
            if not _usable(key):
                return self.ceremony.exclude(member.name, "joined with keys that are none")
            self.recipients[dealer.place, member.place] = key
        return None

    def _commit(self, member: Member, body: bytes) -> None:
        self.ceremony.commit(member.place, body)

    def _open(self, member: Member, body: bytes) -> None:
        terms = self.terms.terms
        start, each = Opening.bytes_each(terms), sealed_message_bytes(terms)
        self.ceremony.open(member.place, body[:start])
        for i, holder in enumerate(self.terms.holders):
            part = body[start + i * each : start + (i + 1) * each]
            self.sealed[member.place, holder.place] = part

    def _complain(self, member: Member, body: bytes) -> None:
        try:
            listed = parse_complaints(body)
        except InvalidInput as error:
            return self.ceremony.exclude(member.name, str(error))
        for dealer, seed in listed:
            if dealer in self.ceremony.qualified and member.place in self.ceremony.holders:
                found = self.opened(dealer, member.place, seed)
                if found is None:
                    self.ceremony.exclude(member.name, "complained without the one-time key")
                else:
                    self.ceremony.complain(dealer, member.place, found)
        return None

    def _respond(self, member: Member, body: bytes) -> None:
        self.ceremony.respond(member.place, body)

    def _show(self, member: Member, body: bytes) -> None:
        assert self.disputed is not None
        self.shown[member.place] = self.opened(self.disputed, member.place, body) or b""

    def opened(self, dealer: int, holder: int, seed: bytes) -> bytes | None:
        """Return what a dealer's sealed message says to whoever has the holder's one-time seed.

        Empty if it says nothing; None if the seed is not that of the key that the holder signed.
        """
        key = VaultKey(seed)
        if key.recipient != self.recipients.get((dealer, holder)):
            return None
        try:
            return unseal_message(
                self.terms.terms, dealer, holder, key, self.sealed[dealer, holder]
            )
        except VerificationError:
            return b""

    # decisions

    def close(self) -> dict[str, Any]:
        """End the phase that is due, and return the decision that says so.

        Raises VerificationError if too few parties are left, naming who is out.
        """
        phase = self.phase
        if phase == JOIN:
            self._check_joined()
        elif phase == COMMIT:
            self._check_left(len(set(self.ceremony.commitments) & set(self._dealers_in)))
        elif phase == OPEN:
            self.ceremony.close_openings()
            self._check_left(len(self.ceremony.qualified))
        elif phase == COMPLAIN:
            self._check_left(len(self.ceremony.qualified))
            self.ceremony.close_complaints()
        else:
            self._settle()
        return self._predicate(phase)

    @property
    def _dealers_in(self) -> list[int]:
        return [m.place for m in self.terms.dealers if m.name not in self.ceremony.excluded]

    def _check_joined(self) -> None:
        out = [m.name for m in self.terms.holders if m.keyid not in self.acts]
        out += self.ceremony.excluded
        if out:
            raise VerificationError(
                f"ceremony: not joined by {', '.join(out)}: begin another without them"
            )

    def _check_left(self, dealers: int) -> None:
        """Return None if enough dealers and holders are left. Raises VerificationError."""
        renewed = self.terms.renews is not None
        needed = len(self.terms.dealers) if renewed else self.terms.threshold
        holders = len(self.ceremony.holders)
        if dealers < needed or holders < self.terms.threshold:
            reasons = [f"{name} ({why})" for name, why in self.ceremony.excluded.items()]
            raise VerificationError(
                f"ceremony: {dealers} dealers and {holders} holders are left, {needed} and"
                f" {self.terms.threshold} needed; out: {', '.join(reasons) or 'nobody by fault'};"
                " begin another"
            )

    def _settle(self) -> None:
        """End the responses, or one dispute, and conclude if no other is left."""
        ceremony = self.ceremony
        if self.disputed is None:
            disputes = ceremony.close_responses()
        elif self.disputed in ceremony.disputes():
            disputes = ceremony.settle(self.disputed, self.shown)
        else:  # Somebody was excluded meanwhile. What was shown is lost all the same.
            ceremony.spent.add(self.disputed)
            disputes = ceremony.disputes()
        self._check_left(len(ceremony.qualified))
        self.shown, self.disputed = {}, disputes[0] if disputes else None
        if self.disputed is None:
            self.joint = ceremony.conclude()

    def _predicate(self, phase: str) -> dict[str, Any]:
        terms = self.terms
        return {
            **base(terms.id, ROUND),
            "phase": phase,
            "previous": None if self.last is None else hex32(self.last),
            "size": self.size,
            "root": hex32(self.root),
            "committee": hex32(terms.terms.digest),
            "holders": [member.keyid for member in terms.holders],
            "threshold": terms.threshold,
            "once": terms.once,
            "renews": None if terms.renews is None else hex32(terms.renews.key),
            "disputed": self.disputed,
            "key": None if self.joint is None else hex32(self.joint.id),
        }

    def _decide(self, message: Message, view: View, index: int) -> None:
        """Take a decision: what follows from the log before it, signed by a quorum."""
        where = f"entry {index}"
        if self.joint is not None:
            raise VerificationError(f"{where}: the ceremony is concluded")
        self.root = view.root(index)
        if message.predicate != self.close():
            raise VerificationError(f"{where}: a decision that does not follow from the log")
        keys = {member.keyid: member.key for member in self.terms.holders}
        check_signatures(message, keys, self.terms.quorum, where)
        self.last, self.certificate, self.acts = message.id, message, {}
        self.step += 1


def check_signatures(
    message: Message, keys: Mapping[str, PublicKey], quorum: int, where: str
) -> None:
    """Return None if at least `quorum` of some parties signed. Raises VerificationError."""
    keyids = [keyid for keyid, _ in message.envelope.signatures]
    if len(set(keyids)) != len(keyids) or not set(keyids) <= set(keys) or len(keyids) < quorum:
        raise VerificationError(f"{where}: not signed by {quorum} of {len(keys)} holders")
    for keyid, signature in message.envelope.signatures:
        _verify(keys[keyid], signature, message.envelope.signed_bytes)


def _check_signer(message: Message, key: PublicKey, where: str) -> None:
    if [keyid for keyid, _ in message.envelope.signatures] != [key.keyid]:
        raise VerificationError(f"{where}: not signed by {key.keyid} alone")
    _verify(key, message.envelope.signatures[0][1], message.envelope.signed_bytes)


# Whoever follows a board reads the whole log at each change: what held once is not checked again.
_parse = functools.lru_cache(maxsize=512)(parse_message)


@functools.lru_cache(maxsize=1024)
def _verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    key.verify(signature, message)


@functools.lru_cache(maxsize=128)
def _usable(key: Recipient) -> bool:
    """Whether anything can be sealed to a key."""
    try:
        key.wrap(bytes(KEY_BYTES), b"")
    except InvalidInput:
        return False
    return True


def complaints_bytes(seeds: Mapping[int, bytes]) -> bytes:
    """Return a holder's complaints: its one-time seed for each bad dealer's message."""
    return b"".join(_COMPLAINT.pack(dealer, seeds[dealer]) for dealer in sorted(seeds))


def parse_complaints(data: bytes) -> list[tuple[int, bytes]]:
    """Return (dealer, seed) of each complaint. Raises InvalidInput for any other form."""
    if len(data) % _COMPLAINT.size or len(data) > 10 * _COMPLAINT.size:
        raise InvalidInput("complained in no form")
    listed = list(_COMPLAINT.iter_unpack(data))
    if [dealer for dealer, _ in listed] != sorted({dealer for dealer, _ in listed}):
        raise InvalidInput("complained in no form")
    return listed


def read_transcript(terms: KeyCeremony, board: Board) -> Transcript:
    """Return a ceremony as a board tells it. Raises as `View.read` and `Transcript.read` do."""
    return Transcript.read(terms, View.read(board, terms))


def verify_ceremony(terms: KeyCeremony, board: Board) -> Transcript:
    """Return a concluded ceremony, checked from its board alone: `joint` is the key.

    Raises VerificationError naming what does not hold, or if it is not concluded.
    """
    found = read_transcript(terms, board)
    if found.joint is None:
        raise VerificationError(f"ceremony: not concluded, but at {found.phase}")
    return found
