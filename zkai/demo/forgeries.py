"""What a cheat would try, each attempt beside the honest act that it imitates.

A forgery counts as refused only if it fails for the reason that is expected *and* its unaltered
twin is accepted: a check that refuses everything refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.stage import History, Stage
from zkai.errors import InvalidInput, VerificationError
from zkai.pipeline import OpenedProof, verify
from zkai.proof.commit.keys import CommitProof
from zkai.proof.formats import Proof

Act = Callable[[], object]
EQUATION = "pairing equation"


@dataclass(frozen=True)
class Forgery:
    """An attempt, the words its refusal must contain (a regular expression), and its twin."""

    name: str
    attempt: Act
    reason: str
    twin: Act


@dataclass(frozen=True)
class Outcome:
    """How one forgery ended."""

    name: str
    refused: bool
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the outcome for summary.json."""
        return {"name": self.name, "refused": self.refused, "message": self.message}


def attempt(forgery: Forgery) -> Outcome:
    """Run the honest twin, then the forgery, and say how it ended."""
    try:
        forgery.twin()
    except (VerificationError, InvalidInput) as error:
        return Outcome(forgery.name, False, f"its honest twin was refused too: {error}")
    try:
        forgery.attempt()
    except (VerificationError, InvalidInput) as error:
        message = str(error)
        if re.search(forgery.reason, message):
            return Outcome(forgery.name, True, message)
        return Outcome(forgery.name, False, f"refused for another reason: {message}")
    return Outcome(forgery.name, False, "ACCEPTED")


class Cheat:
    """Somebody with every public artefact, every private one of their own, and no scruples."""

    def __init__(
        self, stage: Stage, histories: list[History], inferences: list[OpenedProof]
    ) -> None:
        self.stage = stage
        self.histories = histories
        self.first, self.second = histories[:2]
        self.inference = inferences[0]
        self.keys = {version: pair.verifying for version, pair in stage.keys.items()}

    @property
    def step(self) -> CommitProof:
        """The first user's first training step."""
        return self.training_step(1)

    def training_step(self, number: int) -> CommitProof:
        """Return a training step of the first user, numbered from 1; negative from the end."""
        proof = self.first.proofs[number]
        assert isinstance(proof, CommitProof)
        assert proof.statement == TrainingStep.version
        return proof

    def check(self, proof: Proof, **options: Any) -> None:
        """Verify a proof as anyone would."""
        verify(proof, self.keys[proof.statement], destination=self.stage.destination, **options)

    def honest(self) -> None:
        """Verify the unaltered step."""
        self.check(self.step)

    def altered(self, proof: Proof, **signals: int) -> Proof:
        """Return the proof with other public signals."""
        changed = {name: (value,) for name, value in signals.items()}
        return replace(proof, public={**proof.public, **changed})
