"""Forgeries of a dishonest prover: witnesses that break a constraint, challenges of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zkai import native
from zkai.assignment import complete
from zkai.circuit.r1cs import Circuit, Partial
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.forgeries import EQUATION, Cheat, Forgery
from zkai.demo.stage import step_values
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.proof.commit import argument
from zkai.proof.commit.keys import CommitProof, CommitProvingKey, CommitVerifyingKey
from zkai.proof.points import G1

PROBABILITIES = "step/softmax/quotient#2"
LOOKUPS = "lookups balance"
"""Every range of the circuit is checked by one sum; a value outside of its range breaks it."""


def on_witness(cheat: Cheat) -> list[Forgery]:
    """Return a dishonest prover's attempts; constraints or challenges must give them away."""
    prover = _Prover(cheat)
    too_fast = 1 << cheat.stage.setting.head.rate_bits

    def honest() -> None:
        cheat.check(prover.prove(prover.circuit.begin(prover.inputs)))

    return [
        Forgery(
            "train on forged probabilities",
            lambda: prover.prove(
                prover.circuit.begin(prover.inputs, {PROBABILITIES: lambda v: v - (v > 0)})
            ),
            LOOKUPS,
            honest,
        ),
        Forgery(
            "swap weights behind one commitment",
            prover.repacked,
            LOOKUPS,
            honest,
        ),
        Forgery(
            "train at a forbidden learning rate",
            lambda: prover.prove(
                prover.circuit.begin({**prover.inputs, "learning_rate": too_fast})
            ),
            "learning rate",
            honest,
        ),
        Forgery(
            "choose the challenges oneself",
            lambda: cheat.check(prover.with_own_challenges()),
            EQUATION,
            honest,
        ),
    ]


class _Prover:
    """Proves one more step of the first user from circuit inputs that can be forged."""

    def __init__(self, cheat: Cheat) -> None:
        stage, version = cheat.stage, TrainingStep.version
        statement, key = stage.statements[version], stage.keys[version].proving
        assert isinstance(key, CommitProvingKey)
        given = complete(
            statement,
            step_values(stage, cheat.first),
            stage.destination,
            cheat.keys[version].digest,
        )
        self.weight_width = stage.setting.head.weight_width
        self.key = key
        self.circuit: Circuit = statement.build()
        self.inputs: dict[str, Any] = statement.assign(given.values)

    def prove(self, partial: Partial, key: CommitProvingKey | None = None) -> CommitProof:
        """Return a proof from values of round 1; a broken row is named in the refusal."""
        return argument.prove(self.circuit, key or self.key, partial, TrainingStep.version)

    def repacked(self) -> None:
        """Use weights that are out of range and pack to the same field element.

        One weight plus 2**width and the next minus 1: their commitment stays the same.
        """
        partial = self.circuit.begin(self.inputs)
        wires = self.circuit.inputs["weights"].wires[:2]
        shift = to_limbs([1 << self.weight_width, FIELD_MODULUS - 1])
        partial.witness[wires] = native.fr_add(partial.witness[wires], shift)
        self.prove(partial)

    def with_own_challenges(self) -> CommitProof:
        """Return a proof whose challenges were there before its commitment."""
        return self.prove(self.circuit.begin(self.inputs), _OwnChallenges(self.key.path))


class _OwnChallenges(CommitProvingKey):
    """A proving key for a prover that hashes nothing."""

    def verifying_key(self, circuit: Circuit) -> CommitVerifyingKey:
        """Return the key's public half, with a hash that gives what the prover wants."""
        return _Unhashed(**vars(super().verifying_key(circuit)))


class _Unhashed(CommitVerifyingKey):
    def seed(self, values: list[int], d: G1, commitments: Sequence[G1] = ()) -> bytes:
        return bytes(32)
