"""Answers that a stranger can check offline: entries, what the map says of names, one checkpoint.

    {"format": "zkai.ledger-answer/1", "query": {"kind", "name"}, "checkpoint": a signed note,
     "earlier": [{"checkpoint", "proof": [hash, ...]}],
     "entries": [{"index", "entry", "proof": [hash, ...]}],
     "names": [{"name", "value", "proof"}], "result": what follows from all of it}

Whoever asks derives the result again (`zkai.ledger.queries`) from evidence of which each piece is
shown under the checkpoint, and takes an answer only if nothing is missing and nothing is left over.
`earlier` holds older checkpoints, each with its proof that the log went on from there: they show by
when the first entries had been logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zkai.encoding import hex32, load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint, LogPolicy, check_extends
from zkai.ledger.ledger import Ledger
from zkai.ledger.lists import List, list_name, lists_of
from zkai.ledger.merkle import MAX_PROOF, leaf_hash, verify_inclusion
from zkai.ledger.note import Note
from zkai.ledger.records import Record, parse_entry
from zkai.ledger.statusmap import MAX_VALUE, MapProof
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import MAX_ENVELOPE
from zkai.receipt.jcs import from_base64, to_base64
from zkai.receipt.statement import Receipt

FORMAT = "zkai.ledger-answer/1"
MAX_ANSWER = 1 << 28
MAX_ITEMS = 1 << 16
MAX_EARLIER = 256
Entries = list[tuple[int, Receipt | Record]]


class Source(Protocol):
    """Where a query finds what it needs: a ledger, or an answer's evidence."""

    def value(self, name: str) -> dict[str, Any] | None:
        """Return what the map says of a name."""

    def listed(self, kind: str, name: str) -> Entries:
        """Return a list's entries, all of them, in order."""

    def receipt(self, receipt_id: bytes) -> tuple[int, Receipt]:
        """Return a receipt and its index."""


@dataclass(frozen=True)
class Shown:
    """An entry with its path to the checkpoint's root."""

    index: int
    entry: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """An answer as it stands in its file: nothing of it is believed yet."""

    kind: str
    name: str
    note: Note
    entries: tuple[Shown, ...]
    names: Mapping[str, tuple[bytes | None, MapProof]]
    result: Any
    earlier: tuple[tuple[Note, tuple[bytes, ...]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {
            "format": FORMAT,
            "query": {"kind": self.kind, "name": self.name},
            "checkpoint": self.note.to_bytes().decode(),
            "earlier": [
                {"checkpoint": note.to_bytes().decode(), "proof": [to_base64(h) for h in proof]}
                for note, proof in self.earlier
            ],
            "entries": [
                {
                    "index": shown.index,
                    "entry": to_base64(shown.entry),
                    "proof": [to_base64(h) for h in shown.proof],
                }
                for shown in self.entries
            ],
            "names": [
                {
                    "name": name,
                    "value": None if value is None else to_base64(value),
                    "proof": proof.to_json(),
                }
                for name, (value, proof) in sorted(self.names.items())
            ],
            "result": self.result,
        }

    def write(self, path: Path | str) -> None:
        """Write the answer. Raises InvalidInput if that is impossible."""
        data = json.dumps(self.to_json(), indent=1).encode("ascii") + b"\n"
        if len(data) > MAX_ANSWER:
            raise InvalidInput(f"answer: larger than {MAX_ANSWER} bytes; ask for less")
        write_atomic(path, data)

    @staticmethod
    def from_path(path: Path | str) -> Answer:
        """Read an answer. Raises InvalidInput naming file and field."""
        value = load_json(read_capped(path, MAX_ANSWER), str(path))
        return Answer.from_json(value, str(path))

    @staticmethod
    def from_json(value: Any, where: str = "answer") -> Answer:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: format {str(value.get('format'))[:40]!r}")
        fields = ("format", "query", "checkpoint", "earlier", "entries", "names", "result")
        expect_fields(value, fields, where)
        expect_fields(value["query"], ("kind", "name"), f"{where}.query")
        kind, name = value["query"]["kind"], value["query"]["name"]
        if not isinstance(kind, str) or not isinstance(name, str):
            raise InvalidInput(f"{where}.query: expected a kind and a name")
        names: dict[str, tuple[bytes | None, MapProof]] = {}
        for i, item in enumerate(_list(value["names"], f"{where}.names", MAX_ITEMS)):
            key, said, proof = _name(item, f"{where}.names[{i}]")
            if key in names:
                raise InvalidInput(f"{where}.names[{i}]: {key[:80]} is there twice")
            names[key] = (said, proof)
        return Answer(
            kind,
            name,
            _note(value["checkpoint"], f"{where}.checkpoint"),
            tuple(
                _shown(item, f"{where}.entries[{i}]")
                for i, item in enumerate(_list(value["entries"], f"{where}.entries", MAX_ITEMS))
            ),
            names,
            value["result"],
            tuple(
                _earlier(item, f"{where}.earlier[{i}]")
                for i, item in enumerate(_list(value["earlier"], f"{where}.earlier", MAX_EARLIER))
            ),
        )


def _list(value: Any, where: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise InvalidInput(f"{where}: expected a list of at most {most}")
    return value


def _note(text: Any, where: str) -> Note:
    if not isinstance(text, str):
        raise InvalidInput(f"{where}: expected text")
    return Note.from_bytes(text.encode("utf-8", "replace"), where)


def _hashes(value: Any, where: str) -> tuple[bytes, ...]:
    found = tuple(from_base64(h, where, 32) for h in _list(value, where, MAX_PROOF))
    if any(len(h) != 32 for h in found):
        raise InvalidInput(f"{where}: a hash has 32 bytes")
    return found


def _shown(value: Any, where: str) -> Shown:
    expect_fields(value, ("index", "entry", "proof"), where)
    if type(value["index"]) is not int or value["index"] < 0:
        raise InvalidInput(f"{where}.index: expected a number")
    entry = from_base64(value["entry"], f"{where}.entry", MAX_ENVELOPE)
    return Shown(value["index"], entry, _hashes(value["proof"], f"{where}.proof"))


def _name(value: Any, where: str) -> tuple[str, bytes | None, MapProof]:
    expect_fields(value, ("name", "value", "proof"), where)
    if not isinstance(value["name"], str):
        raise InvalidInput(f"{where}.name: expected text")
    said = value["value"]
    data = None if said is None else from_base64(said, f"{where}.value", MAX_VALUE)
    return value["name"], data, MapProof.from_json(value["proof"], f"{where}.proof")


def _earlier(value: Any, where: str) -> tuple[Note, tuple[bytes, ...]]:
    expect_fields(value, ("checkpoint", "proof"), where)
    note = _note(value["checkpoint"], f"{where}.checkpoint")
    return note, _hashes(value["proof"], f"{where}.proof")


def _object(data: bytes, name: str) -> dict[str, Any]:
    value = load_json(data, f"map: {name}")
    if not isinstance(value, dict):
        raise InvalidInput(f"map: {name}: expected an object")
    return value


class LedgerSource:
    """A ledger as of a checkpoint; remembers what was looked at, for `evidence`."""

    def __init__(self, ledger: Ledger, size: int | None = None) -> None:
        """Take the latest checkpoint, or that of a size. Raises InvalidInput without one."""
        kept = ledger.store.checkpoint(size)
        if kept is None:
            raise InvalidInput("ledger: there is no such checkpoint; make one first")
        self._ledger, self.size, self.note = ledger, kept[0], Note.from_bytes(kept[2])
        self._indices: set[int] = set()
        self._names: set[str] = set()

    def value(self, name: str) -> dict[str, Any] | None:
        """Return what the map says of a name."""
        self._names.add(name)
        data = self._ledger.store.map_value(name, self.size)
        return None if data is None else _object(data, name)

    def listed(self, kind: str, name: str) -> Entries:
        """Return a list's entries in order."""
        self._names.add(list_name(kind, name))
        indices = self._ledger.store.members(kind, name, self.size)
        if len(indices) > MAX_ITEMS:
            raise InvalidInput(f"ledger: more than {MAX_ITEMS} entries of {kind} {name}")
        return [(index, self._entry(index)) for index in indices]

    def receipt(self, receipt_id: bytes) -> tuple[int, Receipt]:
        """Return a receipt and its index. Raises InvalidInput if the log has no such receipt."""
        index = self._ledger.store.index_of(receipt_id)
        if index is None or index >= self.size:
            raise InvalidInput(f"ledger: {hex32(receipt_id)} is no receipt of this checkpoint")
        record = self._entry(index)
        if not isinstance(record, Receipt):
            raise InvalidInput(f"ledger: {hex32(receipt_id)} is no receipt")
        return index, record

    def _entry(self, index: int) -> Receipt | Record:
        self._indices.add(index)
        return parse_entry(self._ledger.store.entry(index) or b"", f"entry {index}")

    def answer(self, kind: str, name: str, result: Any) -> Answer:
        """Return the answer with everything that was looked at. Raises InvalidInput if too much."""
        if max(len(self._indices), len(self._names)) > MAX_ITEMS:
            raise InvalidInput(
                f"ledger: the answer has more than {MAX_ITEMS} entries; ask for less"
            )
        log, store = self._ledger.log, self._ledger.store
        entries = tuple(
            Shown(i, store.entry(i) or b"", tuple(log.inclusion(i, self.size)))
            for i in sorted(self._indices)
        )
        names = {}
        for shown in self._names:
            said, proof, _ = log.prove_name(shown, self.size)
            names[shown] = (said, proof)
        return Answer(kind, name, self.note, entries, names, result, self._earlier(entries))

    def _earlier(self, entries: Sequence[Shown]) -> tuple[tuple[Note, tuple[bytes, ...]], ...]:
        """Return the last checkpoint before each change of a key that signed one of the entries."""
        store, changes = self._ledger.store, set[int]()
        changed = {
            key.public.keyid
            for key in self._ledger.trust.keys
            if key.revoked is not None or key.not_after is not None
        }
        for shown in entries:
            for signer in parse_entry(shown.entry).predicate["signers"]:
                if (keyid := signer["keyid"]) in changed:
                    for kind in ("key", "follows"):
                        changes.update(store.members(kind, keyid, self.size))
        sizes = {kept[0]: kept[2] for i in changes if (kept := store.checkpoint_before(i))}
        return tuple(
            (Note.from_bytes(note), tuple(self._ledger.log.consistency(size, self.size)))
            for size, note in sorted(sizes.items())[-MAX_EARLIER:]
        )


@dataclass
class Evidence:
    """An answer's evidence once each piece is shown under the checkpoint: see `open_evidence`."""

    checkpoint: Checkpoint
    seen: int | None
    records: Mapping[int, Receipt | Record]
    names: Mapping[str, dict[str, Any] | None]
    lists: Mapping[List, list[int]] = field(init=False)
    _unused: set[int | str] = field(init=False)

    def __post_init__(self) -> None:
        lists: dict[List, list[int]] = {}
        for index, record in self.records.items():
            for found in lists_of(record):
                lists.setdefault(found, []).append(index)
        self.lists = lists
        self._ids = {record.id: index for index, record in self.records.items()}
        self._unused = {*self.records, *self.names}

    def value(self, name: str) -> dict[str, Any] | None:
        """Return what the map says of a name. Raises VerificationError if that is not shown."""
        if name not in self.names:
            raise VerificationError(f"answer: what the map says of {name} is missing")
        self._unused.discard(name)
        return self.names[name]

    def listed(self, kind: str, name: str) -> Entries:
        """Return a list's entries. Raises VerificationError unless they are all that there are."""
        said, indices = self.value(list_name(kind, name)), self.lists.get((kind, name), [])
        count = 0 if said is None else said.get("count")
        if len(indices) != count:
            raise VerificationError(
                f"answer: {len(indices)} entries of {kind} {name}, but the map counts {count}"
            )
        if said is not None and indices[-1:] != [said.get("index")]:
            raise VerificationError(f"answer: the last entry of {kind} {name} is another")
        self._unused.difference_update(indices)
        return [(index, self.records[index]) for index in indices]

    def receipt(self, receipt_id: bytes) -> tuple[int, Receipt]:
        """Return a receipt and its index. Raises VerificationError if it is not there."""
        index = self._ids.get(receipt_id)
        record = None if index is None else self.records[index]
        if index is None or not isinstance(record, Receipt):
            raise VerificationError(f"answer: the receipt {hex32(receipt_id)} is missing")
        self._unused.discard(index)
        return index, record

    def check_all_used(self) -> None:
        """Return None if everything belongs to the answer. Raises VerificationError otherwise."""
        if self._unused:
            extra = min(self._unused, key=str)
            what = f"entry {extra}" if isinstance(extra, int) else extra
            raise VerificationError(f"answer: {what} does not belong here")


def open_evidence(answer: Answer, policy: LogPolicy) -> tuple[Evidence, Sequence[tuple[int, int]]]:
    """Return the evidence, and by when how many entries were logged: pairs (entries, seconds).

    Raises VerificationError if the checkpoint or a piece of evidence does not hold under `policy`,
    InvalidInput for entries that are malformed or there twice.
    """
    checkpoint, seen = policy.verify(answer.note)
    records: dict[int, Receipt | Record] = {}
    for shown in sorted(answer.entries, key=lambda item: item.index):
        if shown.index in records:
            raise InvalidInput(f"answer: entry {shown.index} is there twice")
        leaf = leaf_hash(shown.entry)
        verify_inclusion(shown.index, checkpoint.size, leaf, shown.proof, checkpoint.root)
        records[shown.index] = parse_entry(shown.entry, f"answer: entry {shown.index}")
    names: dict[str, dict[str, Any] | None] = {}
    for name, (value, proof) in answer.names.items():
        proof.verify(checkpoint.map_root, name, value)
        names[name] = None if value is None else _object(value, name)
    logged = [] if seen is None else [(checkpoint.size, seen)]
    for note, path in answer.earlier:
        old, when = policy.verify(note)
        check_extends(old, checkpoint, path)
        if when is not None:
            logged.append((old.size, when))
    return Evidence(checkpoint, seen, records, names), sorted(logged)
