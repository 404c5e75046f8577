"""What exists while the demo runs: statements, keys, the chain, a beacon, each user's history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zkai.assignment import Destination
from zkai.beacon import BeaconFile
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.context import address_word
from zkai.circuit.statements.dataset import Dataset
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.demo.digits import Setting, User
from zkai.opening import UserState
from zkai.pipeline import OpenedProof, verify_chain
from zkai.proof.formats import Keys, Proof, VerifyingKey
from zkai.proof.scalars import Progress

if TYPE_CHECKING:
    from zkai.demo.examination import Exam


@dataclass
class Stage:
    """Everything that exists while the demo runs."""

    out: Path
    setting: Setting
    statements: dict[str, Statement]
    beacon: BeaconFile
    report: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    keys: dict[str, Keys] = field(default_factory=dict)
    chain: EmbeddedChain = field(default_factory=EmbeddedChain)
    verifiers: dict[str, str] = field(default_factory=dict)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    recorder: ForkRecorder | None = None

    @property
    def followed_by(self) -> ForkRecorder:
        """The contract that follows the forks."""
        assert self.recorder is not None
        return self.recorder

    @property
    def destination(self) -> Destination:
        """What every proof is for: this chain, its recorder, its account."""
        return Destination(
            self.chain.chain_id,
            address_word(self.followed_by.address),
            address_word(self.chain.account),
        )

    def verifying(self, version: str) -> VerifyingKey:
        """Return the verifying key of a statement."""
        return self.keys[version].verifying

    def check_history(self, proofs: Iterable[Proof], terms: ForkTerms) -> None:
        """Check a fork as a stranger would: from its proofs, its terms and public keys alone."""
        keys = [pair.verifying for pair in self.keys.values()]
        verify_chain(proofs, keys, destination=self.destination, terms=terms, beacon=self.beacon)


@dataclass
class History:
    """One user's fork: dataset, terms, examination, the proofs so far, the accuracy after each."""

    user: User
    dataset: Dataset = field(repr=False)
    terms: ForkTerms
    exam: Exam
    examined: Proof | None = None
    proofs: list[OpenedProof] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    @property
    def state(self) -> UserState:
        """The private state after the last proof."""
        state = self.proofs[-1].opening.state
        assert state is not None
        return state


def step_values(stage: Stage, history: History) -> dict[str, Any]:
    """Return what proves a fork's next step."""
    return {
        "state": history.state,
        "dataset": history.dataset,
        "terms": history.terms,
        "beacon": stage.beacon,
    }
