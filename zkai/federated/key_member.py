"""A party of a key ceremony: a holder of the key, a dealer of it, or both.

`step` does whatever is due now, as the board's log tells it. What a party says is on disk before it
is said (`memory`), made once, and the same bytes ever after; so a killed process goes on where it
was, and no party says two things. What it keeps secret meanwhile, the one-time keys of the messages
to it, is locked under its signing key and deleted at the end, when its share is kept instead.

A dealer keeps no share that it dealt: only the sealed messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zkai.encoding import hex32, load_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.key_ceremony import KeyCeremony, Member, by_keyid
from zkai.federated.key_files import (
    KeyShares,
    new_seeds,
    open_seeds,
    seal_message,
    unseal_message,
)
from zkai.federated.key_transcript import (
    COMMIT,
    COMPLAIN,
    JOIN,
    OPEN,
    PHASES,
    RESPOND,
    ROUND,
    SHOW,
    Transcript,
    complaints_bytes,
)
from zkai.federated.memory import Memory
from zkai.federated.messages import KEY_ACT, KEY_DECISION, MAX_MESSAGE, base, sign_message
from zkai.federated.record import View
from zkai.he.committee import start, start_resharing
from zkai.he.key_dealing import Dealing, Opening
from zkai.receipt.signer import PrivateKey
from zkai.vault.keys import VaultKey

SEEDS, DEALING, CONCLUDED = "seeds", "dealing", "concluded"
_AGREE = (
    "resharing: this hands a key on, which whoever made it may open sums with: name the ceremony"
    " that you agreed to"
)
KEPT, LEFT_OUT, HANDED_ON = "share kept", "left out", "old share deleted"


@dataclass(frozen=True)
class KeyMember:
    """A party with its folder. `agreed` says that its owner named this very ceremony."""

    terms: KeyCeremony
    key: PrivateKey = field(repr=False)
    folder: Path
    agreed: bool = False

    @property
    def shares(self) -> KeyShares:
        """This party's shares of joint keys."""
        return KeyShares(self.folder / "joint-keys", self.key)

    @property
    def memory(self) -> Memory:
        """What it said in this ceremony."""
        return Memory(self.folder / "ceremonies" / self.terms.id.hex()[:32])

    @property
    def holder(self) -> Member | None:
        """Its number among the holders."""
        return by_keyid(self.terms.holders).get(self.key.keyid)

    def step(self, board: Board) -> list[str]:
        """Do what is due now, and return what was done.

        Raises VerificationError if the log or what is asked for does not hold, and for a resharing
        that this party's owner did not name: its "old" key could be one that somebody knows.
        """
        if self.terms.renews is not None and not self.agreed:
            raise VerificationError(_AGREE)
        if self.holder is None and self.key.keyid not in by_keyid(self.terms.dealers):
            return self._hand_on(board)
        with self.memory.locked() as memory:
            memory.join(self.terms.id)
            proposals = self._proposals(board)
            view = View.read(board, self.terms)
            view.check_extends(*memory.seen)
            memory.see(view.checkpoint.size, view.checkpoint.root)
            memory.enter(ROUND)
            now = Transcript.read(self.terms, view)
            if now.joint is not None:
                return self._finish(now, memory)
            done = self._act(now, memory, board)
            if self.holder is not None and now.step in proposals:
                done += self._sign(now, memory, board, proposals[now.step])
            return done

    def _proposals(self, board: Board) -> Mapping[int, bytes]:
        """Return what is proposed; read before the log, which has all that a proposal is about."""
        names = {i: f"{i}-proposal" for i in range(len(PHASES) + len(self.terms.dealers))}
        return {
            i: board.read(ROUND, name, MAX_MESSAGE)
            for i, name in names.items()
            if board.has(ROUND, name)
        }

    # what a party says

    def _act(self, now: Transcript, memory: Memory, board: Board) -> list[str]:
        member = now.due.get(self.key.keyid)
        if member is None:
            return []
        makers: Mapping[str, Callable[[Transcript, Memory, Member], bytes]] = {
            JOIN: self._join, COMMIT: self._commit, OPEN: self._open,
            COMPLAIN: self._complain, RESPOND: self._respond, SHOW: self._show,
        }  # fmt: skip
        path, name = f"{now.name(now.phase)}/{self.key.keyid}", now.name(now.phase)
        memory.claim(name, now.last or self.terms.id)
        body = memory.release(ROUND, f"{name}-body", lambda: makers[now.phase](now, memory, member))

        def sign() -> bytes:
            predicate = {
                **base(self.terms.id, ROUND),
                "act": now.phase,
                "party": self.key.keyid,
                "after": None if now.last is None else hex32(now.last),
                "body": hex32(sha256(body)),
            }
            return sign_message(KEY_ACT, predicate, self.key).to_bytes()

        said = memory.release(ROUND, name, sign)
        there = board.has(ROUND, path) and board.read(ROUND, path) == said
        board.put_body(ROUND, body)
        board.put(ROUND, path, said)
        return [] if there else [now.phase]

    def _keys(self, memory: Memory) -> dict[int, VaultKey]:
        places = [member.place for member in self.terms.dealers]

        def make() -> bytes:
            return new_seeds(self.key, self.terms.id, len(places))

        data = memory.release(ROUND, SEEDS, make)
        return open_seeds(self.key, self.terms.id, places, data)

    def _join(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        return b"".join(key.recipient.data for key in self._keys(memory).values())

    def _commit(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        data = memory.release(ROUND, DEALING, lambda: self._deal(now, member))
        opening = data[: Opening.bytes_each(self.terms.terms)]
        return Opening.from_bytes(self.terms.terms, opening).commitment(self.terms.terms)

    def _deal(self, now: Transcript, member: Member) -> bytes:
        """Return opening and sealed messages: what this dealer says, and all that it keeps."""
        terms = self.terms.terms
        dealing = self._reshare(member) if self.terms.renews else start(terms, member.place)
        sealed = [
            seal_message(terms, member.place, j, now.recipients[member.place, j], message)
            for j, message in enumerate(dealing.messages, 1)
        ]
        return dealing.opening.to_bytes(terms) + b"".join(sealed)

    def _reshare(self, member: Member) -> Dealing:
        """Return this old holder's part of a resharing.

        Raises VerificationError for a key that is for one round.
        """
        renews = self.terms.renews
        assert renews is not None
        share = self.shares.read(renews.committee)
        if share is None or (share.key_id, share.place) != (renews.key, member.place):
            raise InvalidInput("resharing: this party holds no such share of the key")
        if self.shares.certificate(renews.committee).predicate["once"]:
            raise VerificationError("resharing: this key is for one round, and is not handed on")
        return start_resharing(self.terms.terms, share)

    def _open(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        data = memory.released(ROUND, DEALING)
        if data is None:
            raise InvalidInput(f"{self.folder}: what was committed to is gone")
        return data

    def _received(self, now: Transcript, memory: Memory, place: int) -> dict[int, bytes]:
        """Return the private messages of those whose parts count; empty where one cannot be read.

        This is the plaintext of a holder's shares: it stays in memory.
        """
        terms, keys, found = self.terms.terms, self._keys(memory), {}
        for dealer in now.ceremony.qualified:
            sealed = now.sealed[dealer, place]
            try:
                found[dealer] = unseal_message(terms, dealer, place, keys[dealer], sealed)
            except VerificationError:
                found[dealer] = b""
        return found

    def _complain(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        keys, bad = self._keys(memory), {}
        for dealer, message in self._received(now, memory, member.place).items():
            try:
                now.ceremony.accept(dealer, member.place, message)
            except (VerificationError, InvalidInput):
                bad[dealer] = keys[dealer].seed
        return complaints_bytes(bad)

    def _respond(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        return now.ceremony.answer(member.place, self._received(now, memory, member.place))

    def _show(self, now: Transcript, memory: Memory, member: Member) -> bytes:
        assert now.disputed is not None
        return self._keys(memory)[now.disputed].seed

    # what a holder signs, and how it ends

    def _sign(self, now: Transcript, memory: Memory, board: Board, payload: bytes) -> list[str]:
        """Sign that the phase is over, if that is what its log says."""
        name = now.name("signed")
        path = f"{name}/{self.key.keyid}"
        if board.has(ROUND, path) and memory.done(name) is not None:
            return []
        if self.key.keyid in now.due:
            raise VerificationError(f"holder: the end of {now.phase} leaves out what it said")
        predicate = now.close()
        message = sign_message(KEY_DECISION, predicate, self.key)
        if message.envelope.payload != payload:
            wrong = _difference(load_json(payload, "proposal"), predicate)
            raise VerificationError(f"proposal: {wrong} does not follow from the log")
        memory.claim(name, message.id)
        data = memory.release(ROUND, name, message.to_bytes)
        board.put(ROUND, path, data)
        return [f"{PHASES[min(now.step, len(PHASES) - 1)]} signed"]

    def _finish(self, now: Transcript, memory: Memory) -> list[str]:
        """Keep this holder's share, and delete what the ceremony needed; an old share, too."""
        assert now.certificate is not None
        done = []
        if memory.done(CONCLUDED) is None:
            if self.holder is not None:
                done.append(self._keep(now, memory, self.holder))
            memory.claim(CONCLUDED, now.certificate.id)
        memory.forget(ROUND, SEEDS)
        memory.forget(ROUND, DEALING)
        return done + self._drop(now)

    def _drop(self, now: Transcript) -> list[str]:
        """Delete this party's old share, if a new committee holds the key now."""
        renews = self.terms.renews
        if renews is None or now.joint is None or self.shares.missing(renews.committee):
            return []
        self.shares.delete(renews.committee)
        return [HANDED_ON]

    def _keep(self, now: Transcript, memory: Memory, member: Member) -> str:
        if member.place not in now.ceremony.holders:
            self.shares.leave_out(self.terms.terms.digest)
            return LEFT_OUT
        assert now.certificate is not None
        received = self._received(now, memory, member.place)
        self.shares.write(now.ceremony.holder_key(member.place, received), now.certificate)
        return KEPT

    def _hand_on(self, board: Board) -> list[str]:
        """Delete the share of an old holder that did not deal, once the resharing is concluded.

        Raises InvalidInput for somebody who has no part in it.
        """
        renews = self.terms.renews
        if renews is None or not self.shares.known(renews.committee):
            raise InvalidInput("ceremony: this key is none of its parties'")
        return self._drop(Transcript.read(self.terms, View.read(board, self.terms)))

    def finished(self) -> bool:
        """Whether a ceremony asks nothing more of this party."""
        if self.holder is None and self.key.keyid not in by_keyid(self.terms.dealers):
            return self.terms.renews is None or self.shares.missing(self.terms.renews.committee)
        with self.memory.locked() as memory:
            return memory.done(CONCLUDED) is not None


def _difference(payload: object, predicate: Mapping[str, object]) -> str:
    said = payload.get("predicate") if isinstance(payload, dict) else None
    if not isinstance(said, dict):
        return "it"
    wrong = [name for name in predicate if said.get(name) != predicate[name]]
    return wrong[0] if wrong else "it"
