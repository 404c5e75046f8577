"""A key holder: signs at most one decision of each kind a round, and opens only the sum.

Each act first reads the log and refuses one that does not begin with what was seen before, checks
every rule itself, and notes durably what it is about to say (`memory`). Asked again for the same,
it says the same bytes; asked for anything else in the same round, it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from zkai.encoding import hex32, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.chosen import Chosen, check_set
from zkai.federated.decisions import Decision, Round
from zkai.federated.inputs import check_rule
from zkai.federated.memory import Memory
from zkai.federated.messages import (
    ABORT,
    ACTIVE,
    CLOSED,
    DEALING,
    DECISION,
    PARTIAL,
    PHASES,
    REVEAL,
    SET,
    Message,
    base,
    dealing_digest,
    open_message,
    sign_message,
)
from zkai.federated.moving import rule_at
from zkai.federated.record import View
from zkai.federated.scheme import Inputs, Scheme
from zkai.federated.sealing import RoundKeys, sealed_share_bytes, unseal_share
from zkai.federated.session import Session
from zkai.receipt.signer import PrivateKey


@dataclass(frozen=True)
class KeyHolder:
    """A holder of a session, with its folder's memory and keys."""

    session: Session
    scheme: Scheme = field(repr=False)
    key: PrivateKey = field(repr=False)
    keys: RoundKeys = field(repr=False)
    memory: Memory = field(repr=False)
    inputs: Inputs | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key.keyid not in self.session.holders_by_keyid:
            raise InvalidInput("holder: this key is none of the session's holders")
        check_rule(self.session, self.inputs)

    @property
    def place(self) -> int:
        """Which of the holders it is, from 0."""
        return self.session.holder_keyids.index(self.key.keyid)

    @contextmanager
    def _acting(self, board: Board, number: int) -> Iterator[Round]:
        """Hold the memory, check session, round and log, and refuse what was aborted."""
        self.session.check_round(number)
        with self.memory.locked():
            self.memory.join(self.session.id)
            view = View.read(board, self.session)
            view.check_extends(*self.memory.seen)
            self.memory.see(view.checkpoint.size, view.checkpoint.root)
            rule = rule_at(self.inputs, self.session, self.scheme, view, number)
            rnd = Round(self.session, number, view, rule)
            self._note_abort(rnd)
            if number == self.memory.round and self.memory.done(ABORT) is not None:
                raise VerificationError(f"holder: round {number} was aborted")
            yield rnd

    def _note_abort(self, rnd: Round) -> None:
        """Remember that a round was aborted: then nothing more is done in it, ever."""
        if rnd.board.has(rnd.number, "abort") and rnd.number >= self.memory.round:
            data = rnd.board.read(rnd.number, "abort")
            key = self.session.aggregator
            message = open_message(data, ABORT, key, self.session.id, rnd.number, "abort")
            self.memory.enter(rnd.number)
            if self.memory.done(ABORT) is None:
                self.memory.claim(ABORT, message.id)
            self.keys.delete_below(rnd.number + 1)

    def cosign(self, board: Board, number: int, phase: str) -> Message:
        """Sign what is proposed for a phase, if every rule of it holds, and hand that in.

        Raises VerificationError if a rule does not hold, or another was signed in this round.
        """
        with self._acting(board, number) as rnd:
            decision = rnd.proposal(phase)
            self._check_not_past(number)
            if self._claimed(number, phase) is None:
                self._check(rnd, decision)
            data = self._say(
                number, phase, decision.id,
                lambda: sign_message(DECISION, decision.predicate, self.key).to_bytes(),
            )  # fmt: skip
            board.put(number, f"{phase}-signed/{self.key.keyid}", data)
        return self._own(data, DECISION, number)

    def _check_not_past(self, number: int) -> None:
        if number < self.memory.round:
            raise VerificationError(
                f"holder: round {number} is over, round {self.memory.round} began"
            )

    def _claimed(self, number: int, act: str) -> bytes | None:
        return self.memory.done(act) if number == self.memory.round else None

    def _say(self, number: int, act: str, about: bytes, make: Callable[[], bytes]) -> bytes:
        """Return what is said about `about`: noted first, made once, the same ever after."""
        self.memory.enter(number)
        self.keys.delete_below(number)
        self.memory.claim(act, about)
        return self.memory.release(number, act, make)

    def _own(self, data: bytes, kind: str, number: int) -> Message:
        return open_message(data, kind, self.key.public, self.session.id, number, kind)

    def _check(self, rnd: Round, decision: Decision) -> None:
        if decision.phase == CLOSED:
            rnd.check_closed(decision)
        elif decision.phase == SET:
            check_set(rnd, self.scheme, decision)
        else:
            self._check_active(rnd, decision)

    def _check_active(self, rnd: Round, decision: Decision) -> None:
        chosen = self._recorded_set(rnd)
        rnd.check_active(decision, chosen.decision, chosen.dealings)

    def _recorded_set(self, rnd: Round) -> Chosen:
        """Return the set that the record holds, checked here, and not another than signed here."""
        decision = rnd.require(SET)
        signed = self._claimed(rnd.number, SET)
        if signed is not None and signed != decision.id:
            raise VerificationError("holder: the record's set is not the one signed here")
        return check_set(rnd, self.scheme, decision)

    def deal(self, board: Board, number: int) -> Message:
        """Check the shares of everyone whose bodies are in, and hand in this holder's part.

        Clients whose share cannot be read are named in complaints.

        Raises VerificationError before the round is closed, or if asked for another list.
        """
        with self._acting(board, number) as rnd:
            self._check_not_past(number)
            reveal, members = self._reveal(rnd)
            data = self._say(number, DEALING, reveal.id, lambda: self._deal(rnd, reveal, members))
            return self._hand_in(board, number, DEALING, data)

    def _reveal(self, rnd: Round) -> tuple[Message, tuple[str, ...]]:
        """Return the logged list of those whose bodies are in, under the record's `closed`."""
        closed = rnd.require(CLOSED)
        signed = self._claimed(rnd.number, CLOSED)
        if signed is not None and signed != closed.id:
            raise VerificationError("holder: the record's `closed` is not the one signed here")
        data = rnd.board.read(rnd.number, REVEAL)
        reveal = rnd.reveal(rnd.view.index_of(data, REVEAL), closed)
        return reveal, rnd.revealed(reveal, closed)

    def _deal(self, rnd: Round, reveal: Message, members: tuple[str, ...]) -> bytes:
        """Return message and body of the dealing check."""
        closed = {entry["client"]: entry for entry in rnd.require(CLOSED).entries}
        complaints, parts = [], []
        for keyid in members:
            commitment = rnd.commitment(closed[keyid])
            try:
                share = self._share(rnd, keyid, commitment)
                digest, size = commitment.digest("check"), self.scheme.check_bytes
                check = rnd.board.body(rnd.number, digest, size, "check")
            except (VerificationError, InvalidInput):
                complaints.append(keyid)
            else:
                key = commitment.digest("key")
                dealing = dealing_digest(commitment.predicate["shares"])
                parts.append(self.scheme.deal(rnd.number, self.place, key, dealing, check, share))
        body = b"".join(parts)
        predicate = {
            **base(self.session.id, rnd.number),
            "holder": self.key.keyid,
            "reveal": hex32(reveal.id),
            "body": hex32(sha256(body)),
            "complaints": complaints,
        }
        return _pack(sign_message(DEALING, predicate, self.key), body)

    def _share(self, rnd: Round, keyid: str, commitment: Message) -> bytes:
        """Return a client's share for this holder. Raises VerificationError if there is none."""
        size = self.scheme.share_bytes(self.place)
        if size == 0:  # Nothing is dealt: what a client sealed is of no account.
            self.scheme.check_share(rnd.number, self.place, commitment.digest("key"), b"")
            return b""
        digest = parse_hex32(commitment.predicate["shares"][self.place], "share")
        sealed = rnd.board.body(rnd.number, digest, sealed_share_bytes(size), "share")
        key = self.keys.read(rnd.number)
        share = unseal_share(key, self.session, rnd.number, keyid, self.place, sealed, size)
        self.scheme.check_share(rnd.number, self.place, commitment.digest("key"), share)
        return share

    def partial(self, board: Board, number: int) -> Message:
        """Hand in this holder's part of the decryption of the recorded set's sum: one a round.

        The set is the recorded one, checked again here; the holders that open it are recorded too.
        Afterwards the round's key is deleted.

        Raises VerificationError if this holder is not among them, or anything does not hold.
        """
        with self._acting(board, number) as rnd:
            self._check_not_past(number)
            active = rnd.require(ACTIVE)
            if self._claimed(number, PARTIAL) is None:
                self._check_opening(rnd, active)
            data = self._say(number, PARTIAL, active.id, lambda: self._open(rnd, active))
            self.keys.delete_below(number + 1)
            return self._hand_in(board, number, PARTIAL, data)

    def _check_opening(self, rnd: Round, active: Decision) -> None:
        signed = self._claimed(rnd.number, ACTIVE)
        if signed is not None and signed != active.id:
            raise VerificationError("holder: the record's `active` is not the one signed here")
        if signed is None or self._claimed(rnd.number, SET) is None:
            self._check_active(rnd, active)
        if self.key.keyid not in active.body["holders"]:
            raise VerificationError("holder: others are to open this round's sum")

    def _open(self, rnd: Round, active: Decision) -> bytes:
        """Return message and body of the partial decryption."""
        inputs = self._inputs(rnd, rnd.require(SET))
        body = self.scheme.partial(rnd.number, self.place, inputs, self.session.least)
        predicate = {
            **base(self.session.id, rnd.number),
            "holder": self.key.keyid,
            "active": hex32(active.id),
            "body": hex32(sha256(body)),
        }
        return _pack(sign_message(PARTIAL, predicate, self.key), body)

    def _inputs(self, rnd: Round, chosen: Decision) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield (key, ciphertext, share) of every client in the set, as logged."""
        for entry in chosen.entries:
            commitment = rnd.commitment(entry)
            digest, size = commitment.digest("ciphertext"), self.scheme.ciphertext_bytes
            data = rnd.board.body(rnd.number, digest, size, "ciphertext")
            yield commitment.digest("key"), data, self._share(rnd, entry["client"], commitment)

    def _hand_in(self, board: Board, number: int, kind: str, data: bytes) -> Message:
        said, body = _unpack(data)
        board.put_body(number, body)
        board.put(number, f"{kind}s/{self.key.keyid}", said)
        return self._own(said, kind, number)

    def step(self, board: Board, number: int, *, opening: bool = True) -> list[str]:
        """Do everything that is asked for now, and return what was not on the board yet.

        Without `opening`, all but the part of the decryption.

        Raises VerificationError if something that is asked for is refused.
        """
        done = list[str]()
        if board.has(number, ABORT):
            try:
                with self._acting(board, number):
                    return done
            except VerificationError:
                with self.memory.locked():
                    if number != self.memory.round or self.memory.done(ABORT) is None:
                        raise
                return [ABORT]
        for act, asked, run in self._acts(board, number):
            if act.startswith(PARTIAL) and not opening:
                continue
            if asked and not board.has(number, act) and self._open_to(number):
                run()
                done.append(act.partition("/")[0])
        return done

    def finished(self, board: Board, number: int) -> bool:
        """Whether a round asks nothing more of this holder."""
        if board.has(number, ABORT) or not self._open_to(number):
            return True
        if not board.has(number, f"{ACTIVE}.certificate"):
            return False
        return board.has(number, f"{PARTIAL}s/{self.key.keyid}") or not self._is_active(
            board, number
        )

    def _open_to(self, number: int) -> bool:
        with self.memory.locked():
            return number >= self.memory.round

    def _acts(self, board: Board, number: int) -> Iterator[tuple[str, bool, Callable[[], object]]]:
        """Yield where each act leaves its message, whether it is asked for, and the act."""
        for phase in PHASES:
            asked = board.has(number, f"{phase}.proposal")

            def sign(phase: str = phase) -> object:
                return self.cosign(board, number, phase)

            yield f"{phase}-signed/{self.key.keyid}", asked, sign
            if phase == CLOSED:
                deal = board.has(number, REVEAL)
                yield f"{DEALING}s/{self.key.keyid}", deal, lambda: self.deal(board, number)
        yield (
            f"{PARTIAL}s/{self.key.keyid}",
            self._is_active(board, number),
            lambda: self.partial(board, number),
        )

    def _is_active(self, board: Board, number: int) -> bool:
        """Whether this holder is to open the sum, as far as the board says."""
        if not board.has(number, f"{ACTIVE}.certificate"):
            return False
        rnd = Round(self.session, number, View.read(board, self.session))
        return self.key.keyid in rnd.require(ACTIVE).body["holders"]


def _pack(message: Message, body: bytes) -> bytes:
    """Return a message and its body as one piece, so that both are kept or neither."""
    data = message.to_bytes()
    return len(data).to_bytes(4, "big") + data + body


def _unpack(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return data[4:end], data[end:]
