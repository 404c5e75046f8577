"""A ledger under appends, forks, merges, crashes and restarts, against a model of plain lists.

No fork, no rollback, no gap, no lost acknowledged entry, whatever the order, on both databases,
with a second writer beside.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bench._postgres import Cluster
from tests.databases import Places
from tests.unit.receipt_support import NOW, signer
from zkai.encoding import hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger import admission
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.merkle import verify_consistency
from zkai.ledger.note import Note
from zkai.ledger.records import NODE, sign_record
from zkai.ledger.statusmap import StatusMap
from zkai.proof.keys import Proof
from zkai.receipt.statement import Facts, Receipt, issue
from zkai.receipt.trust import trust

FORKS = 3


class Crash(BaseException):
    """The process dies here."""


def fake_proof(kind: str, fork: int, old: int, new: int, step: int) -> Proof:
    """A proof whose public signals are what we say; its verification is switched off."""
    public = {"model": (1,), "fork": (fork,), "user": (2,), "new_state": (new,), "step": (step,)}
    if kind != "genesis":
        public["old_state"] = (old,)
    return Proof(f"{kind}/1", bytes(32), bytes(32), "development", public, None, None, None)


@contextmanager
def proofs_not_verified() -> Iterator[None]:
    """Take the receipts' word for their proofs: what is tested here is the ledger's order."""
    kept = admission.verify_proof_of

    def parse_only(receipt: Receipt, data: bytes, key: Any) -> Proof:
        value = json.loads(data)
        return fake_proof(value["kind"], value["fork"], value["old"], value["new"], value["step"])

    admission.verify_proof_of = parse_only
    try:
        yield
    finally:
        admission.verify_proof_of = kept


class LedgerMachine(RuleBasedStateMachine):
    """Honest and dishonest submissions in any order, by one of two writers."""

    cluster: Cluster | None = None

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zkai-machine-"))
        self.place = Places(self.folder, self.cluster)("ledger")
        store = trust([("issuer", signer().public)])
        Ledger.create(self.place, "machine", signer("log"), store, [], at=NOW).close()
        self.writers = [self.opened(), self.opened()]
        self.ledger = self.writers[0]
        self.entries = [self.ledger.store.entry(0)]
        self.heads: dict[int, tuple[bytes, int, int]] = {}  # fork: head, state, step
        self.lists: dict[tuple[str, str], list[int]] = {}
        self.receipts: list[bytes] = []
        self.notes: list[Note] = []

    def opened(self) -> Ledger:
        ledger = Ledger.open(self.place)
        ledger.admission.keys[bytes(32)] = None  # type: ignore[assignment]
        return ledger

    def teardown(self) -> None:
        if hasattr(self, "writers"):
            for ledger in self.writers:
                ledger.close()
            shutil.rmtree(self.folder)

    def submission(
        self, kind: str, fork: int, old: int, new: int, step: int, parent: bytes | None
    ) -> tuple[Submission, Receipt]:
        proof = fake_proof(kind, fork, old, new, step)
        receipt = issue(proof, [signer()], facts=Facts(parent=parent), signed=NOW)
        said = {"kind": kind, "fork": fork, "old": old, "new": new, "step": step}
        return Submission(receipt.to_bytes(), json.dumps(said).encode()), receipt

    def offer(self, submission: Submission, receipt: Receipt, good: bool) -> None:
        """Append; it enters exactly if it should."""
        if self.enters(submission, good):
            self.receipts.append(receipt.id)
            if receipt.predicate["fork"] is not None:
                self.lists.setdefault(("fork", receipt.predicate["fork"]), []).append(
                    len(self.entries) - 1
                )

    def enters(self, submission: Submission, good: bool) -> bool:
        try:
            with proofs_not_verified():
                index = self.ledger.append(submission, NOW)
        except (VerificationError, InvalidInput):
            assert not good
            return False
        assert good
        assert index == len(self.entries)
        self.entries.append(submission.entry)
        return True

    @rule(writer=st.integers(0, 1))
    def other_writer(self, writer: int) -> None:
        """From here on another process writes, which has the ledger open since before."""
        self.ledger = self.writers[writer]

    @rule(
        fork=st.integers(0, FORKS - 1),
        kind=st.sampled_from(["training_step", "skip_step", "apply_aggregate"]),
        steps=st.integers(0, 2),
    )
    def move(self, fork: int, kind: str, steps: int) -> None:
        """An honest receipt: a fork begins, or goes on from its end."""
        new = 100 * len(self.entries)  # a state is salted: never the same twice
        if fork not in self.heads:
            submission, receipt = self.submission("genesis", fork, 0, new, 0, None)
            step = 0
        else:
            parent, old, step = self.heads[fork]
            step += steps
            submission, receipt = self.submission(kind, fork, old, new, step, parent)
        self.offer(submission, receipt, True)
        self.heads[fork] = (receipt.id, new, step)

    @precondition(lambda self: self.heads)
    @rule(wrong=st.sampled_from(["parent", "old", "step", "genesis", "fork"]), data=st.data())
    def forge(self, wrong: str, data: st.DataObject) -> None:
        """A receipt that is right but for one thing; the issuer signed it."""
        fork = data.draw(st.sampled_from(sorted(self.heads)))
        parent: bytes | None
        parent, old, step = self.heads[fork]
        kind = "training_step"
        if wrong == "parent":
            others = [r for r in [*self.receipts, None, bytes(32)] if r != parent]
            parent = data.draw(st.sampled_from(others))
        elif wrong == "old":
            old += data.draw(st.sampled_from([-1, 1]))
        elif wrong == "step":
            if not step:
                return
            step -= 1
        elif wrong == "genesis":
            kind, parent, step = "genesis", None, 0
        else:
            fork = FORKS
        submission, receipt = self.submission(
            kind, fork, old, 100 * len(self.entries), step, parent
        )
        self.offer(submission, receipt, False)

    @precondition(lambda self: self.receipts)
    @rule(known=st.booleans(), data=st.data())
    def merge(self, known: bool, data: st.DataObject) -> None:
        """A merge moves no fork, and its parent must be there."""
        parent = data.draw(st.sampled_from(self.receipts)) if known else bytes(32)
        artifacts = {"model": len(self.entries).to_bytes(32, "big")}
        receipt = issue(
            None, [signer()], kind="merge", artifacts=artifacts, facts=Facts(parent=parent),
            signed=NOW,
        )  # fmt: skip
        self.offer(Submission(receipt.to_bytes()), receipt, known)

    @precondition(lambda self: self.receipts)
    @rule(
        wrong=st.sampled_from([None, "receipt", "parent", "own", "signer"]),
        parents=st.integers(0, 3),
        data=st.data(),
    )
    def grow(self, wrong: str | None, parents: int, data: st.DataObject) -> None:
        """A model is forked off another (one parent) or merged from several: a node of the tree."""
        of = data.draw(st.sampled_from(self.receipts))
        others = [r for r in self.receipts if r != of]
        chosen = others[-parents:] if parents else []
        if wrong == "receipt":
            of = bytes(31) + b"\1"
        elif wrong in ("parent", "own"):
            chosen = [*chosen, of if wrong == "own" else bytes(32)]
        body = {
            "receipt": hex32(of), "parents": [hex32(p) for p in chosen],
            "height": len(self.entries), "generation": len(chosen), "fitness": [], "priors": [],
            "constraints": [],
        }  # fmt: skip
        by = signer() if wrong == "signer" else signer("log")
        record = sign_record(NODE, body, [by], NOW)
        if self.enters(Submission(record.envelope.to_bytes()), wrong is None):
            self.lists.setdefault(("node", hex32(of)), []).append(len(self.entries) - 1)

    @precondition(lambda self: self.receipts)
    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        """An acknowledged entry keeps its place."""
        index = data.draw(st.integers(0, len(self.entries) - 1))
        entry = self.entries[index]
        assert entry is not None
        assert self.ledger.append(Submission(entry), NOW) == index

    @rule(where=st.sampled_from(["extend", "add_record", "put_head", "put_blob", "_set"]))
    def crash(self, where: str) -> None:
        """The process dies in the middle of an append; another opens the ledger."""
        target: Any = self.ledger.log if where in ("extend", "_set") else self.ledger.store
        self.die_in(target, where, self.next_move()[0])

    @rule()
    def crash_after_the_commit(self) -> None:
        """The process dies before it can acknowledge. The entry is there, and keeps its place."""
        submission, fork, head = self.next_move()
        self.die_in(self.ledger.store._db, "_commit", submission)
        self.entries.append(submission.entry)
        self.receipts.append(head[0])
        self.heads[fork] = head
        self.lists.setdefault(("fork", str(fork)), []).append(len(self.entries) - 1)
        assert self.ledger.append(submission, NOW) == len(self.entries) - 1

    def next_move(self) -> tuple[Submission, int, tuple[bytes, int, int]]:
        """What would enter next: a new fork, or the first one's next step."""
        new = 100 * len(self.entries)
        fork = next((f for f in range(FORKS) if f not in self.heads), None)
        if fork is None:
            (parent, old, step), fork = self.heads[0], 0
            submission, receipt = self.submission("training_step", 0, old, new, step, parent)
        else:
            step = 0
            submission, receipt = self.submission("genesis", fork, 0, new, 0, None)
        return submission, fork, (receipt.id, new, step)

    def die_in(self, target: Any, method: str, submission: Submission) -> None:
        """Append, and die when a method has done its work: nothing is rolled back any more."""
        real = getattr(target, method)

        def die(*values: Any) -> None:
            real(*values)
            raise Crash

        setattr(target, method, die)
        self.ledger.store._db._rollback = lambda: None  # type: ignore[method-assign]
        try:
            with proofs_not_verified():
                self.ledger.append(submission, NOW)
        except Crash:
            pass
        else:
            raise AssertionError("it did not crash")
        self.restart()

    @rule()
    def restart(self) -> None:
        at = self.writers.index(self.ledger)
        self.ledger.close()
        self.ledger = self.writers[at] = self.opened()

    @rule()
    def sign(self) -> None:
        self.notes.append(self.ledger.checkpoint([signer("log")]))

    @invariant()
    def nothing_is_lost_or_forked(self) -> None:
        if not hasattr(self, "ledger"):
            return
        log = self.ledger.log
        assert log.size == len(self.entries)
        assert list(self.ledger.store.entries(0, log.size)) == self.entries
        for fork, (head, state, step) in self.heads.items():
            value = json.loads(self.ledger.store.map_value(f"fork/{fork}", log.size) or b"")
            assert (value["head"], value["state"], value["step"]) == (
                hex32(head), str(state), step,
            )  # fmt: skip
            data = self.ledger.store.map_value(f"fork/{fork}", log.size)
            proof = StatusMap(self.ledger.store.map_node).prove(log._map_link, f"fork/{fork}")
            proof.verify(log.map_root, f"fork/{fork}", data)
        for (kind, name), indices in self.lists.items():
            assert self.ledger.store.members(kind, name, log.size) == indices
        for note in self.notes:
            old = Checkpoint.from_text(note.text)
            proof = log.consistency(old.size, log.size)
            verify_consistency(old.size, log.size, old.root, log.root(log.size), proof)


class PostgresMachine(LedgerMachine):
    """The same in PostgreSQL."""


@pytest.fixture
def on_postgres(postgres: Cluster) -> None:
    PostgresMachine.cluster = postgres


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestLedgerOnPostgres = pytest.mark.usefixtures("on_postgres")(PostgresMachine.TestCase)
TestLedgerOnPostgres.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
