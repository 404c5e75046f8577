"""A fork's history: how each proof links to the one before, and what its terms allow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from zkai.beacon import Beacon, verify_order
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import VerificationError
from zkai.proof.keys import Proof

LINKS = {
    Genesis.version: ("user", "model", "fork", "new_state"),
    TrainingStep.version: ("user", "model", "fork", "old_state", "new_state"),
    ApplyAggregate.version: ("user", "model", "fork", "old_state", "new_state", "update"),
    SkipStep.version: ("user", "model", "fork", "old_state", "new_state", "max_skips"),
}
"""The statements that a history consists of, and the public signals that link them."""


@dataclass
class History:
    """The proofs of one fork so far, each verified by the caller.

    With the fork's `terms` and their `beacon`, every training proof must prove its rows' order.
    With terms, an aggregate's update must be one of `updates`, by its digest: an update of the
    user's own making, of zeros for one, would be a skip that nobody counts.
    """

    terms: ForkTerms | None = None
    beacon: Beacon | None = None
    updates: Collection[int] = ()
    last: Proof | None = None
    skips: int = field(default=0)

    def add(self, proof: Proof) -> None:
        """Take the next proof.

        Raises VerificationError, saying why, if it does not follow from the last or breaks the
        terms.
        """
        self._check_link(proof)
        self._check_terms(proof)
        if proof.statement == SkipStep.version:
            self.skips += 1
            (allowed,) = proof.public["max_skips"]
            if self.terms is not None and allowed != self.terms.max_skips:
                raise VerificationError(f"its max_skips is not the terms' {self.terms.max_skips}")
            if self.skips > allowed:
                raise VerificationError(f"skip number {self.skips}; the terms allow {allowed}")
        self.last = proof

    def _check_link(self, proof: Proof) -> None:
        if proof.statement not in LINKS:
            raise VerificationError(f"a history consists of {', '.join(LINKS)}")
        if missing := [name for name in LINKS[proof.statement] if name not in proof.public]:
            raise VerificationError(f"it has no public signal {missing[0]}")
        if self.last is None:
            if proof.statement != Genesis.version:
                raise VerificationError(f"a history starts with {Genesis.version}")
            return
        if proof.statement == Genesis.version:
            raise VerificationError("a second genesis in one history")
        for name in ("user", "model", "fork"):
            if proof.public[name] != self.last.public[name]:
                raise VerificationError(f"{name} is not that of the proof before")
        if proof.public["old_state"] != self.last.public["new_state"]:
            raise VerificationError("old_state is not the new_state of the proof before: a gap")

    def _check_terms(self, proof: Proof) -> None:
        terms, beacon = self.terms, self.beacon
        if terms is not None and proof.public["fork"] != (terms.fork,):
            raise VerificationError("the fork is not the one with the given terms")
        if terms is not None and proof.statement == ApplyAggregate.version:
            (update,) = proof.public["update"]
            if update not in self.updates:
                raise VerificationError(
                    "its update is none that the fork with these terms may take"
                )
        if proof.statement != TrainingStep.version:
            return
        if terms is not None and beacon is not None:
            verify_order(proof, terms, beacon)
        elif terms is not None or "beacon" in proof.public:
            raise VerificationError(
                "its rows are in a beacon's order: give the fork's terms and the beacon's rounds"
            )
