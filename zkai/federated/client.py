"""A client: encrypts its update once, and shows the ciphertext only after everyone committed.

Its folder keeps `notes.json`, which says, durably and before anything is encrypted, which update
went into which round of which session. The same update never goes into a second round, an aborted
one or another session's included: two sums that differ in the others would show it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from zkai.encoding import hex32, load_json, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.coordinates import coordinates_bytes
from zkai.federated.decisions import Round
from zkai.federated.messages import (
    CLOSED,
    COMMITMENT,
    MAX_MESSAGE,
    Message,
    base,
    dealing_digest,
    open_message,
    sign_message,
)
from zkai.federated.moving import may_be_open, was_aborted
from zkai.federated.noise import Privacy, decimal
from zkai.federated.record import View
from zkai.federated.residual import Rounded, manifest, round_off, unsent, update_digest
from zkai.federated.scheme import Scheme
from zkai.federated.sealing import seal_share
from zkai.federated.session import Session
from zkai.federated.turn import round_coordinates
from zkai.federated.update import Update, check_weight, flatten, flatten_real, weighted
from zkai.he.noise import DiscreteGaussian
from zkai.he.privacy import MIN_VARIANCE, Budget, Release
from zkai.he.quantise import Float64, squared_norm
from zkai.proof.jsonform import expect_fields
from zkai.receipt.signer import PrivateKey

FORMAT = "zkai.he-client/1"
Prove: TypeAlias = Callable[[Any, Any], bytes]
"""From what was sent and the secrets behind it to the body of its proof."""
Keep: TypeAlias = Callable[[Any, Any], None]
"""Takes what was sent and the secrets behind it, to keep them for a later proof."""
MAX_NOTES = 16 << 20
_FIELDS = ("format", "secret", "updates", "residuals", "seen", "budget")


@dataclass(frozen=True)
class ClientParty:
    """A client of sessions, with its folder of notes and of bodies not yet shown."""

    folder: Path
    key: PrivateKey = field(repr=False)

    def encrypt(
        self,
        session: Session,
        scheme: Scheme,
        board: Board,
        number: int,
        update: Update,
        weight: int = 1,
        prove: Prove | None = None,
        keep: Keep | None = None,
    ) -> Message:
        """Encrypt an update for a round and hand in the commitment to it.

        The same update in the same round gives the same commitment again. In a session that
        takes proven updates only, `prove` makes the body of the proof. `keep` gets the secrets of a
        new ciphertext; without it, nobody ever has them again.

        In a session with privacy, noise is added, and this client's own budget pays for it.

        Raises InvalidInput for values, shapes, weights or norms that the session does not take, for
        another update in the same round, and for an update that went into another round;
        VerificationError if the budget is spent.
        """
        session.check_round(number)
        if self.key.keyid not in session.clients_by_keyid:
            raise InvalidInput("client: this key is none of the session's clients")
        if (prove is None) != (session.inputs is None):
            raise InvalidInput("client: a proof is needed exactly if the session asks for one")
        with self._locked() as notes:
            if session.compression is None:
                values, body = flatten(session, update, weight), None
                plain = flatten(session, update)[: session.plain].astype("<i8").tobytes()
            else:
                made = self._rounded(notes, session, scheme, board, number, update, weight)
                plain, values = made.update, weighted(session, made.integers, weight)
                body = coordinates_bytes(made.coordinates) if session.keeps else None
            check_norm(session, values)
            self._note(notes, session, number, plain, weight)
            self._tidy(notes, session)
            if body is not None:
                board.put_body(number, body)
            folder = self._round(session, number)
            if not (folder / COMMITMENT).exists():
                noisy = with_noise(session, values)
                self._make(session, scheme, number, noisy, folder, body, prove, keep)
            elif keep is not None:
                raise InvalidInput("client: this was encrypted before; its secrets are gone")
            data = read_capped(folder / COMMITMENT, MAX_MESSAGE)
        board.put(number, f"commitments/{self.key.keyid}", data)
        return self._own(session, number, data)

    def _own(self, session: Session, number: int, data: bytes) -> Message:
        return open_message(data, COMMITMENT, self.key.public, session.id, number, COMMITMENT)

    def _round(self, session: Session, number: int) -> Path:
        return self.folder / "rounds" / f"{session.id.hex()[:32]}-{number}"

    def _make(
        self,
        session: Session,
        scheme: Scheme,
        number: int,
        values: Any,
        folder: Path,
        coordinates: bytes | None,
        prove: Prove | None,
        keep: Keep | None,
    ) -> None:
        made = scheme.start(number, values)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealed = [
            seal_share(session, number, self.key.keyid, j, share)
            for j, share in enumerate(made.shares)
        ]
        dealing = dealing_digest([hex32(sha256(body)) for body in sealed])
        bodies = [made.ciphertext, made.check(dealing), *sealed]
        if prove is not None or keep is not None:
            sent = scheme.sent(number, bodies[0], bodies[1], dealing)
            if keep is not None:
                keep(sent, made.opening())
            if prove is not None:
                bodies.append(prove(sent, made.opening()))
        made.wipe()
        digests = [hex32(sha256(body)) for body in bodies]
        for body, digest in zip(bodies, digests, strict=True):
            write_atomic(folder / digest[2:], body, mode=0o600)
        predicate = {
            **base(session.id, number),
            "client": self.key.keyid,
            "key": hex32(made.key),
            "ciphertext": digests[0],
            "check": digests[1],
            "shares": digests[2 : 2 + len(sealed)],
            "weight_bound": session.max_weight,
            "proof": None if prove is None else digests[-1],
            "coordinates": None if coordinates is None else hex32(sha256(coordinates)),
        }
        data = sign_message(COMMITMENT, predicate, self.key).to_bytes()
        write_atomic(folder / COMMITMENT, data, mode=0o600)

    def reveal(self, session: Session, board: Board, number: int) -> int:
        """Show this round's bodies, once all commitments are fixed; return how many bytes.

        Raises VerificationError before a quorum of key holders has fixed who committed, if this
        client is not among them, if the log is not the one seen before, or after an abort.
        """
        with self._locked() as notes:
            folder = self._round(session, number)
            if not (folder / COMMITMENT).exists():
                raise InvalidInput(f"client: nothing was encrypted for round {number}")
            data = read_capped(folder / COMMITMENT, MAX_MESSAGE)
            mine = self._own(session, number, data)
            view = View.read(board, session)
            seen = notes["seen"].get(session.id.hex(), {"size": 0, "root": None})
            if seen["root"] is not None:
                view.check_extends(seen["size"], bytes.fromhex(seen["root"]))
            checkpoint = view.checkpoint
            notes["seen"][session.id.hex()] = {
                "size": checkpoint.size, "root": checkpoint.root.hex(),
            }  # fmt: skip
            self._write(notes)
        if board.has(number, "abort"):
            raise VerificationError(f"client: round {number} was aborted; show nothing")
        closed = Round(session, number, view).require(CLOSED)
        index = {entry["client"]: entry["index"] for entry in closed.entries}.get(self.key.keyid)
        if index is None or view.entry(index, closed.predicate["size"]) != data:
            raise VerificationError("client: its commitment is not in the list; show nothing")
        names = [mine.predicate["ciphertext"], mine.predicate["check"], *mine.predicate["shares"]]
        if mine.predicate["proof"] is not None:
            names.append(mine.predicate["proof"])
        total = 0
        for name in names:
            body = (folder / name[2:]).read_bytes()
            board.put_body(number, body)
            total += len(body)
        return total

    def _rounded(
        self,
        notes: dict[str, Any],
        session: Session,
        scheme: Scheme,
        board: Board,
        number: int,
        update: Update,
        weight: int,
    ) -> Rounded:
        """Return the rounding of a real update and of the residual, on disk before it is noted."""
        check_weight(session, weight)
        vector = flatten_real(session, update)
        path = self._rounding(session.id.hex(), number)
        noted = {(note["session"], note["round"]) for note in notes["updates"]}
        if (session.id.hex(), number) in noted:
            # What was noted is sent as it was rounded then; another update is refused by its note.
            if not path.exists():
                raise InvalidInput(f"client: round {number} is over for it; send the next update")
            kept = Rounded.read(path)
            return replace(kept, update=update_digest(vector))
        view = View.read(board, session)
        coordinates = round_coordinates(session, scheme, view, number)
        residual = self._residual(notes, session, view)
        made = round_off(session, vector, residual, coordinates, weight)
        made.write(path)
        return made

    def _rounding(self, session: str, number: int) -> Path:
        return self.folder / "compressed" / f"{session[:32]}-{number}.npz"

    def _residual(self, notes: dict[str, Any], session: Session, view: View) -> Float64:
        """Return what waits of earlier updates of these tensors.

        An aborted round's values come back, unless its sum may be known: then they would be in two.
        """
        last = notes["residuals"].get(manifest(session))
        if last is None:
            return np.zeros(session.plain)
        found = Rounded.read(self._rounding(*last))
        lost = last[0] == session.id.hex() and was_aborted(session, view, last[1])
        lost = lost and not may_be_open(session, view, last[1])
        return unsent(session, found) if lost else found.residual

    def _tidy(self, notes: dict[str, Any], session: Session) -> None:
        """Delete the roundings that nothing needs any more."""
        needed = {self._rounding(*last) for last in notes["residuals"].values()}
        for path in (self.folder / "compressed").glob("*.npz"):
            if path not in needed:
                path.unlink()

    def _note(
        self, notes: dict[str, Any], session: Session, number: int, data: bytes, weight: int
    ) -> None:
        """Note which update goes into a round, by its values before they are weighted.

        Raises InvalidInput if that must not be: another weight makes no other update of it.
        """
        digest = hashlib.blake2b(
            data, key=bytes.fromhex(notes["secret"]), digest_size=32
        ).hexdigest()
        place = {"session": session.id.hex(), "round": number, "weight": weight}
        for note in notes["updates"]:
            same = note["update"] == digest
            there = (note["session"], note["round"]) == (place["session"], number)
            if same and there and note["weight"] == weight:
                return
            if there:
                raise InvalidInput(
                    f"client: another update or weight was encrypted for round {number}; there is"
                    " one a round"
                )
            if same:
                raise InvalidInput(
                    f"client: this update went into round {note['round']} of a session already;"
                    " encrypted twice, the difference of two sums would show it. Train on, and send"
                    " a new one"
                )
        entry = {**place, "update": digest, "release": None}
        if session.noise is not None:
            release = session.noise.release(session.values)
            self._budget(notes, session.noise).spend(release)
            entry["release"] = vars(release).copy()
        notes["updates"].append(entry)
        if session.compression is not None:
            notes["residuals"][manifest(session)] = [session.id.hex(), number]
        self._write(notes)

    @staticmethod
    def _budget(notes: dict[str, Any], noise: Privacy) -> Budget:
        """Return this client's own budget over all sessions: at first, that of its first one."""
        if notes["budget"] is None:
            notes["budget"] = {"epsilon": noise.epsilon, "delta": noise.delta}
        limit = notes["budget"]
        spent = [Release(**note["release"]) for note in notes["updates"] if note["release"]]
        return Budget(float(limit["epsilon"]), float(limit["delta"]), tuple(spent))

    def budget(self) -> Budget | None:
        """Return what this client may spend in all and what it spent; None before any."""
        with self._locked() as notes:
            if notes["budget"] is None:
                return None
            limit = notes["budget"]
            noise = Privacy(1, MIN_VARIANCE, 2, limit["epsilon"], limit["delta"])
            return self._budget(notes, noise)

    def set_budget(self, epsilon: float, delta: float) -> Budget:
        """Set what this client may spend in all, what was spent included.

        Raises InvalidInput for numbers out of range.
        """
        limit = {"epsilon": decimal(epsilon), "delta": decimal(delta)}
        with self._locked() as notes:
            noise = Privacy(1, MIN_VARIANCE, 2, limit["epsilon"], limit["delta"])
            notes["budget"] = limit
            budget = self._budget(notes, noise)
            self._write(notes)
        return budget

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InvalidInput(f"{self.folder}: cannot be used ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Any]:
        path = self.folder / "notes.json"
        if not path.exists():
            if (self.folder / "rounds").exists():
                raise InvalidInput(f"{path}: is gone; this client must not encrypt any more")
            return {
                "format": FORMAT,
                "secret": os.urandom(32).hex(),
                "updates": [],
                "residuals": {},
                "seen": {},
                "budget": None,
            }
        value = load_json(read_capped(path, MAX_NOTES), str(path))
        expect_fields(value, _FIELDS, str(path))
        if value["format"] != FORMAT:
            raise InvalidInput(f"{path}: expected {FORMAT}")
        found: dict[str, Any] = value
        return found

    def _write(self, notes: Mapping[str, Any]) -> None:
        data = json.dumps(notes, indent=1).encode() + b"\n"
        write_atomic(self.folder / "notes.json", data, mode=0o600)


def check_norm(session: Session, values: npt.NDArray[np.int64]) -> None:
    """Return None if the noise hides integers of this norm. Raises InvalidInput otherwise."""
    if session.noise is not None and (found := squared_norm(values)) > session.noise.norm:
        raise InvalidInput(
            f"update: its squared norm is {found}, weight included; the session's noise hides"
            f" {session.noise.norm} at most: clip it, and round within that norm"
        )


def with_noise(session: Session, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the integers with fresh noise, if the session asks for it."""
    if session.noise is None:
        return values
    return values + DiscreteGaussian(session.noise.variance).sample(values.size)
