"""The ledger: a log in which a record enters only if it verifies and fits what is there.

Names in the map, and what they say (canonical JSON):

    key/<keyid>        {"at", "index", "status"}: active or revoked
    fork/<fork>        {"count", "head", "index", "model", "state", "step", "user"}: its current end
    nullifier/<hex>    {"index"}: a statement that is there, whoever proves or signs it again
    block              {"id", "index", "number"}: the last training block
    object/<object>, grant/<object>/<keyid>: see `zkai.ledger.consent`
    list/<kind>/<name>: see `zkai.ledger.lists`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput
from zkai.halo2.formats import AnyKey
from zkai.ledger.admission import Admission, rules_body
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.lists import counts, lists_of
from zkai.ledger.log import Log
from zkai.ledger.note import Note, NoteKey
from zkai.ledger.records import BLOCK, LEDGER, Record, parse_entry, sign_record
from zkai.ledger.store import Store
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore


@dataclass(frozen=True)
class Submission:
    """An entry with the bytes of the proof that it names, if it names one."""

    entry: bytes
    proof: bytes | None = None


class Ledger:
    """An open ledger: its store, its log, and the rules by which entries are admitted."""

    def __init__(self, store: Store) -> None:
        """Read a ledger's rules. Raises InvalidInput if the store has none."""
        self.store = store
        self.admission = Admission(store)
        self.log = Log(store, self.policy.origin)

    @staticmethod
    def open(path: Path | str) -> Ledger:
        """Open a ledger's file. Raises InvalidInput if it is none."""
        return Ledger(Store(path))

    @staticmethod
    def create(
        path: Path | str,
        origin: str,
        operator: PrivateKey,
        trust: TrustStore,
        verifying_keys: Sequence[AnyKey],
        *,
        place: tuple[int, bytes] | None = None,
        at: int,
    ) -> Ledger:
        """Return a new ledger whose entry 0 states its rules, signed by the operator.

        With `place` (chain id, ledger id) only proofs for it may enter.

        Raises InvalidInput if the file exists or the rules do not fit.
        """
        LogPolicy(origin, operator.public)
        rules = make_rules(origin, operator, verifying_keys, place)
        record = sign_record(LEDGER, rules_body(rules, trust), [operator], at)
        return begin(path, rules, trust, record, at)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    @property
    def policy(self) -> LogPolicy:
        """The log's name and key, without witnesses: those are for each verifier to choose."""
        return self.admission.policy

    @property
    def trust(self) -> TrustStore:
        """The keys whose receipts may enter now, after every logged rotation and revocation."""
        return self.admission.trust()

    def append(self, submission: Submission, at: int) -> int:
        """Return the index of an entry that is durably logged when this returns.

        An entry whose payload is there already keeps its index.

        Raises InvalidInput for malformed bytes, VerificationError for what may not enter.
        """
        return self.append_all([submission], at)[0]

    def append_all(self, submissions: Sequence[Submission], at: int) -> list[int]:
        """Append all, in order, or none; see `append`."""
        with self.store.transaction():
            return [self.append_within(submission, at) for submission in submissions]

    def append_within(self, submission: Submission, at: int) -> int:
        """Do what `append` does, within a transaction of the store that the caller holds."""
        record = parse_entry(submission.entry)
        if (known := self.store.index_of(record.id)) is not None:
            return known
        index = self.log.size
        effects = self.admission.admit(record, submission.proof, index, at)
        lists = lists_of(record)
        names = effects.names | counts(self.store, lists, index)
        self.log.extend([submission.entry], [names])
        self.store.add_record(record.id, index)
        for kind, name in lists:
            self.store.add_member(kind, name, index)
        if effects.fork is not None:
            self.store.put_head(*effects.fork)
        if effects.proof is not None:
            self.store.put_blob(sha256(effects.proof), effects.proof)
        if effects.trust is not None:
            self.store.put_meta("trust", encode(effects.trust.to_json()))
        return index

    def seal_block(self, operator: PrivateKey, at: int, update_digest: bytes | None = None) -> int:
        """Append a training block over everything since the last one; return its index.

        Raises VerificationError if there is nothing new, or the operator is another.
        """
        with self.store.transaction():
            body = self.admission.block_body(self.log.size, update_digest)
            record = sign_record(BLOCK, body, [operator], at)
            return self.append_within(Submission(record.envelope.to_bytes()), at)

    def checkpoint(self, keys: Sequence[PrivateKey]) -> Note:
        """Return a checkpoint of everything, signed by the operator's keys, and keep it.

        Raises InvalidInput without the operator's own key, VerificationError if the log no longer
        holds what the last checkpoint says.
        """
        if all(key.public != self.policy.key for key in keys):
            raise InvalidInput("ledger: a checkpoint is signed by the ledger's operator")
        with self.store.transaction():
            return self.log.sign_checkpoint(keys)

    def add_cosignatures(self, note: Note, policy: LogPolicy) -> None:
        """Keep the cosignatures of `policy`'s witnesses, once it accepts the note.

        What others cosigned since the note was taken from here stays, and what nobody checked here
        stays out.

        Raises VerificationError if it does not, or if it is no checkpoint that is kept here.
        """
        checkpoint, _ = policy.verify(note)
        keys = (NoteKey(name, public, cosigner=True) for name, public in policy.witnesses)
        known = {(key.name, key.id) for key in keys}
        lines = [line for line in note.lines if (line.name, line.key_id) in known]
        with self.store.transaction():
            self.log.add_lines(checkpoint, Note(note.text, tuple(lines)))

    def history(self, kind: str, name: str) -> Iterator[tuple[int, Receipt | Record]]:
        """Yield the entries of a list (`zkai.ledger.lists`), such as a user's."""
        for index in self.store.members(kind, name, self.log.size):
            data = self.store.entry(index)
            assert data is not None
            yield index, parse_entry(data)


def make_rules(
    origin: str,
    operator: PrivateKey,
    verifying_keys: Sequence[AnyKey],
    place: tuple[int, bytes] | None,
) -> dict[str, Any]:
    """Return a ledger's rules as JSON values."""
    where = None if place is None else {"chain_id": place[0], "ledger": hex32(place[1])}
    return {
        "origin": origin,
        "operator": operator.public.jwk,
        "verifying_keys": [key.to_json() for key in verifying_keys],
        "place": where,
    }


def begin(
    path: Path | str, rules: dict[str, Any], trust: TrustStore, record: Record, at: int
) -> Ledger:
    """Return a ledger in a new file with its entry 0. Raises VerificationError if that is wrong."""
    store = Store(path, create=True)
    with store.transaction():
        store.put_meta("rules", json.dumps(rules).encode())
        for name in ("trust_0", "trust"):
            store.put_meta(name, encode(trust.to_json()))
        ledger = Ledger(store)
        ledger.append_within(Submission(record.envelope.to_bytes()), at)
    return ledger
