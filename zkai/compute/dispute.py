"""Disputes: two parties bisect over steps, layers and operators until one operator decides.

Both commit to the states of a whole level before either shows one: the root of a tree over them,
with the first and the last. In turn they then open the state in the middle of what is left, the
claimant first; the same value moves the start of what is left, another one its end. Between two
states that follow one another the next level begins: the layers of that step, the operators of that
layer. At one operator both show the table of the state before it and their own output:

    terms     -> digest D, which every move names; keccak256 of the canonical JSON
    move n    names D, n, and the SHA-256 of the payload before it (D for the first)
    leaf      keccak256("zkaileaf" || a state's root), trees as in docs/commitments.md

A party loses if a signed move in its place contradicts its own commitments or what was agreed, if
the referee signs that it did not move in time, if it signs two moves for one place, or if what
decides shows its value to be wrong. What decides is the operator itself on inputs that are part of
the agreed state; where a program is not made of operators, a zero-knowledge proof of the step, or
its replay. Nothing that another key signed, or that stood elsewhere, is ever held against a party.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.compute.operators import Array, Operator
from zkai.compute.program import MAX_SHOWN, Program, array_from, table_after, tensor_of
from zkai.compute.signed import FORFEIT, MOVE, check_signer, read
from zkai.compute.terms import CHALLENGER, CLAIMANT, ROLES, Subject, Terms
from zkai.encoding import hex32, keccak256, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.commitment import Commitment, Tensor
from zkai.merkle.tensor import Head
from zkai.native_merkle import Bytes, fold, levels, multiproof
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import Envelope
from zkai.receipt.jcs import from_base64

STEPS, LAYERS, OPERATORS = "steps", "layers", "operators"
CLAIM, OPEN, REVEAL, PROVE = "claim", "open", "reveal", "prove"
MAX_ENTRIES = 512
MAX_PATH = 128


class ContradictionError(Exception):
    """A signed move in its place that its party should not have made."""


@dataclass(frozen=True)
class Verdict:
    """Who lost and why; `place` is (step[, layer[, operator]]) as far as the parties came."""

    losers: tuple[str, ...]
    reason: str
    place: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {"losers": list(self.losers), "reason": self.reason, "place": list(self.place)}


@dataclass
class Level:
    """What is left of a level: states `low`, agreed on, to `high`, of which each has its own."""

    name: str
    count: int
    agreed: bytes
    own: dict[str, bytes]
    roots: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, bytes] = field(default_factory=dict)
    low: int = 0

    def __post_init__(self) -> None:
        self.high = self.count - 1
        self.start = self.agreed

    @property
    def middle(self) -> int:
        """The state that both open next."""
        return (self.low + self.high) // 2

    def narrow(self) -> None:
        """Take in what both opened."""
        if self.shown[CLAIMANT] == self.shown[CHALLENGER]:
            self.low, self.agreed = self.middle, self.shown[CLAIMANT]
        else:
            self.high, self.own = self.middle, dict(self.shown)
        self.shown = {}


@dataclass(frozen=True)
class Shown:
    """What a party showed of the operator: the state before it, and its output."""

    table: Commitment
    output: Tensor
    value: Array | None = field(repr=False)


def tree_of(states: Sequence[bytes]) -> Bytes:
    """Return all nodes of the tree over the roots of some states."""
    hashes = b"".join(keccak256(b"zkaileaf" + state) for state in states)
    return levels(np.frombuffer(hashes, np.uint8).reshape(-1, 32))


def path_of(nodes: Bytes, count: int, places: Sequence[int]) -> list[str]:
    """Return the multiproof of states as a move carries it."""
    proof = multiproof(nodes, count, np.array(places, np.uint64))
    return [hex32(row.tobytes()) for row in proof]


class Game:
    """A dispute as far as it has come. `apply` takes the next entry of its record."""

    def __init__(self, terms: Terms) -> None:
        """Start at the first move of the claimant."""
        self.terms = terms
        self.entries: list[Envelope] = []
        self.second: Envelope | None = None
        self.verdict: Verdict | None = None
        self.done: list[Level] = []
        self.shown: dict[str, Shown] = {}
        self.proofs: dict[str, bytes | None] = {}
        own = {CLAIMANT: terms.claimed}
        self.level = Level(STEPS, terms.subject.steps + 1, terms.initial, own)
        self.stage = CLAIM

    @property
    def due(self) -> str:
        """Whose move is next."""
        return ROLES[len(self.entries) % 2]

    @property
    def previous(self) -> bytes:
        """What the next entry names as the one before."""
        return self.entries[-1].id if self.entries else self.terms.digest

    @property
    def place(self) -> tuple[int, ...]:
        """The step, layer and operator that is disputed, as far as they are known."""
        found = [level.low for level in self.done]
        return (*found, self.level.low) if self.level.high == self.level.low + 1 else tuple(found)

    @property
    def settling(self) -> bool:
        """Whether only evidence is missing."""
        return self.verdict is None and self.stage == ""

    def apply(self, entry: Envelope) -> None:
        """Take the next entry: a move of the party that is due, or the referee's word on its delay.

        Raises InvalidInput for a malformed entry; VerificationError for one of another dispute, out
        of its place, not signed by who is due, or after the end. A move that is all of that and
        contradicts what came before ends the dispute: see `verdict`.
        """
        where = f"entry {len(self.entries)}"
        if self.verdict is not None or self.settling or len(self.entries) >= MAX_ENTRIES:
            raise VerificationError(f"{where}: the dispute has ended before it")
        kind, task, said = read(entry, where)
        if task != self.terms.digest:
            raise VerificationError(f"{where}: of another dispute")
        number, before = said.get("number"), said.get("previous")
        if type(number) is not int or (number, before) != (len(self.entries), hex32(self.previous)):
            raise VerificationError(f"{where}: made for another place of the record")
        if kind == FORFEIT:
            self._forfeit(entry, said, where)
            return
        if kind != MOVE:
            raise VerificationError(f"{where}: not a move")
        due = self.due
        check_signer(entry, self.terms.keys[due], where)
        try:
            self._move(due, said, where)
        except (ContradictionError, InvalidInput, VerificationError) as error:
            self.verdict = Verdict((due,), str(error), self.place)
        self.entries.append(entry)
        self._advance()

    def accuse(self, entry: Envelope) -> None:
        """Take a second move for a place of the record: whoever signed both loses.

        Raises InvalidInput for a malformed entry, VerificationError if it is no such move.
        """
        kind, task, said = read(entry, "second move")
        number = said.get("number")
        if kind != MOVE or task != self.terms.digest or type(number) is not int:
            raise VerificationError("second move: not a move of this dispute")
        if not 0 <= number < len(self.entries):
            raise VerificationError("second move: there is no first one in its place")
        first = self.entries[number]
        before = self.entries[number - 1].id if number else self.terms.digest
        role = ROLES[number % 2]
        if said.get("previous") != hex32(before) or first.payload == entry.payload:
            raise VerificationError("second move: not another move for the same place")
        if read(first, "first move")[0] != MOVE:
            raise VerificationError("second move: no move stands in its place")
        check_signer(entry, self.terms.keys[role], "second move")
        self.second = entry
        self.verdict = Verdict((role,), f"signed two moves number {number}", self.place)

    def _forfeit(self, entry: Envelope, said: Mapping[str, Any], where: str) -> None:
        if self.terms.referee is None:
            raise VerificationError(f"{where}: this dispute has no referee")
        check_signer(entry, self.terms.referee, where)
        expect_fields(said, ("number", "previous", "since", "until"), where)
        since, until = said["since"], said["until"]
        if not all(type(t) is int and 0 <= t < 1 << 40 for t in (since, until)):
            raise InvalidInput(f"{where}: since and until are seconds since 1970")
        if until - since < self.terms.limit_s:
            limit = self.terms.limit_s
            raise VerificationError(f"{where}: {until - since} s of {limit} s that a party has")
        self.verdict = Verdict((self.due,), f"did not move within {until - since} s", self.place)
        self.entries.append(entry)

    def _move(self, role: str, said: Mapping[str, Any], where: str) -> None:
        fields = {
            CLAIM: ("root", "first", "last", "proof"),
            OPEN: ("value", "proof"),
            REVEAL: ("table", "output"),
            PROVE: ("proof",),
        }
        expect_fields(said, ("number", "previous", "move", *fields[self.stage]), where)
        if said["move"] != self.stage:
            raise ContradictionError(f"made another move than the {self.stage} that was due")
        {CLAIM: self._claim, OPEN: self._open, REVEAL: self._reveal, PROVE: self._prove}[
            self.stage
        ](role, said)

    def _claim(self, role: str, said: Mapping[str, Any]) -> None:
        level, top = self.level, self.level.count - 1
        root, first, last = (parse_hex32(said[name], name) for name in ("root", "first", "last"))
        _check_path(level.count, root, {0: first, top: last}, said["proof"])
        if first != level.agreed:
            raise ContradictionError(f"{level.name}: does not start from what was agreed")
        if last != level.own.setdefault(role, last):
            raise ContradictionError(f"{level.name}: does not end in what it claimed before")
        if role == CHALLENGER and last == level.own[CLAIMANT]:
            raise ContradictionError("claims what the claimant claims: there is nothing to dispute")
        level.roots[role] = root

    def _open(self, role: str, said: Mapping[str, Any]) -> None:
        level = self.level
        value = parse_hex32(said["value"], "value")
        _check_path(level.count, level.roots[role], {level.middle: value}, said["proof"])
        level.shown[role] = value

    def _reveal(self, role: str, said: Mapping[str, Any]) -> None:
        table = Commitment.from_json(said["table"], "table")
        if table.root != self.level.agreed:
            raise ContradictionError("shows another state than the agreed one")
        shown = Shown(table, *_output(said["output"], self.operator.output))
        after = table_after(table, self.operator, shown.output)
        if after.root != self.level.own[role]:
            raise ContradictionError("its output does not give the state that it claimed")
        if (shown.value is None) != self.operator.exact:
            raise ContradictionError("an output's values are shown where they may differ, only")
        if shown.value is not None and tensor_of(shown.output.name, shown.value) != shown.output:
            raise ContradictionError("shows other values than those it committed to")
        self.shown[role] = shown

    def _prove(self, role: str, said: Mapping[str, Any]) -> None:
        given = said["proof"]
        self.proofs[role] = None if given is None else from_base64(given, "proof", MAX_SHOWN)

    @property
    def operator(self) -> Operator:
        """The operator that is disputed."""
        step, layer, number = self.place
        return self.terms.program.layers(step)[layer].operators[number]

    def _advance(self) -> None:
        """Go on once both parties have made a move of the same kind."""
        if self.verdict is not None or len(self.entries) % 2:
            return
        if self.stage == OPEN:
            self.level.narrow()
        if self.stage in (REVEAL, PROVE):
            self.stage = ""
            return
        self.stage = OPEN
        while self.level.high == self.level.low + 1 and self.stage == OPEN:
            self._descend(self.terms.subject)

    def _descend(self, subject: Subject) -> None:
        if not isinstance(subject, Program):
            self.stage = PROVE if subject.by_proof else ""
            return
        if self.level.name == OPERATORS:
            self.stage = REVEAL
            return
        self.done.append(self.level)
        layers = subject.layers(self.done[0].low)
        if len(self.done) == 1:
            name, count = LAYERS, len(layers)
        else:
            name, count = OPERATORS, len(layers[self.done[1].low].operators)
        self.level = Level(name, count + 1, self.level.agreed, self.level.own)
        # A level of one has no states in between: nothing to commit to.
        self.stage = CLAIM if count > 1 else OPEN


def _check_path(count: int, root: bytes, values: Mapping[int, bytes], proof: Any) -> None:
    if not isinstance(proof, list) or len(proof) > MAX_PATH:
        raise ContradictionError("shows no path to what it committed to")
    rows = b"".join(parse_hex32(row, "proof") for row in proof)
    hashes = b"".join(keccak256(b"zkaileaf" + value) for value in values.values())
    try:
        top = fold(
            count,
            np.array(list(values), np.uint64),
            np.frombuffer(hashes, np.uint8).reshape(-1, 32),
            np.frombuffer(rows, np.uint8).reshape(-1, 32),
        )
    except InvalidInput as error:
        raise ContradictionError("its path has a wrong length") from error
    if top != root:
        raise ContradictionError("shows a state that it did not commit to")


def _output(value: Any, name: str) -> tuple[Tensor, Array | None]:
    expect_fields(value, ("dtype", "shape", "top", "data"), "output")
    if not isinstance(value["dtype"], str) or not isinstance(value["shape"], list):
        raise InvalidInput("output: dtype is text, shape a list")
    head = Head(value["dtype"], tuple(value["shape"]))
    tensor = Tensor(name, head, parse_hex32(value["top"], "output.top"))
    if value["data"] is None:
        return tensor, None
    return tensor, array_from(head, from_base64(value["data"], "output.data", MAX_SHOWN))
