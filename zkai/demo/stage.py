"""What exists while the demo runs: statements, keys, the chain, and each user's history."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zkai.assignment import Destination
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.context import address_word
from zkai.demo.digits import Setting, User
from zkai.opening import UserState
from zkai.pipeline import OpenedProof
from zkai.proof.formats import Keys, VerifyingKey
from zkai.proof.scalars import Progress


@dataclass
class Stage:
    """Everything that exists while the demo runs."""

    out: Path
    setting: Setting
    statements: dict[str, Statement]
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


@dataclass
class History:
    """One user's fork: its proofs so far, its private state and the accuracy after each step."""

    user: User
    proofs: list[OpenedProof] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    @property
    def state(self) -> UserState:
        """The private state after the last proof."""
        state = self.proofs[-1].opening.state
        assert state is not None
        return state
