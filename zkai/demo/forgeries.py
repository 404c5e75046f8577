"""What a cheat would try, each attempt beside the honest act that it imitates.

A forgery counts as refused only if it fails for the reason that is expected *and* its unaltered
twin is accepted: a check that refuses everything refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zkai import native
from zkai.assignment import complete
from zkai.chain.verifier import proof_words, send_proof
from zkai.circuit.statements.context import address_word
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.digits import STEPS
from zkai.demo.stage import History, Stage
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, canonical_json, load_json, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.pipeline import OpenedProof, prove, setup, verify, verify_chain
from zkai.proof import groth16
from zkai.proof.keys import CEREMONY, Proof, ProvingKey

Act = Callable[[], object]


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


def try_all(stage: Stage, histories: list[History], inferences: list[OpenedProof]) -> list[Outcome]:
    """Try every forgery and its twin."""
    cheat = Cheat(stage, histories, inferences)
    everything = [*cheat.on_proofs(), *cheat.on_histories(), *cheat.on_chain(), *cheat.on_witness()]
    outcomes = []
    for number, forgery in enumerate(everything):
        stage.report("try forgeries", number / len(everything))
        outcomes.append(_try(forgery))
    stage.report("try forgeries", 1.0)
    return outcomes


def _try(forgery: Forgery) -> Outcome:
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
        self.first, self.second, self.third = histories
        self.step = self.first.proofs[1]
        self.inference = inferences[0]
        self.keys = {version: pair.verifying for version, pair in stage.keys.items()}

    def check(self, proof: Proof, **options: Any) -> None:
        """Verify a proof as anyone would."""
        verify(proof, self.keys[proof.statement], destination=self.stage.destination, **options)

    def altered(self, proof: Proof, **signals: int) -> Proof:
        """Return the proof with other public signals."""
        changed = {name: (value,) for name, value in signals.items()}
        return replace(proof, public={**proof.public, **changed})

    def on_proofs(self) -> list[Forgery]:
        """Return forgeries of a single proof, checked in Python."""
        step, check = self.step, self.check
        aliased = self.altered(step, new_state=step.public["new_state"][0] + FIELD_MODULUS)
        claimed = (self.inference.public["output"][0] + 1) % self.stage.setting.head.classes
        other_batch = self.second.proofs[1].public["batch"][0]
        equation = "pairing equation"
        assert step.a is not None
        moved = replace(step, a=(step.a[0], (step.a[1] + 1) % BASE_MODULUS))
        relabelled = replace(self.keys[step.statement], key_status=CEREMONY)
        elsewhere = replace(self.stage.destination, chain_id=1)

        def honest() -> None:
            check(step)

        return [
            Forgery(
                "claim another new state",
                lambda: check(self.altered(step, new_state=step.public["old_state"][0])),
                equation,
                honest,
            ),
            Forgery(
                "claim another training batch",
                lambda: check(self.altered(step, batch=other_batch)),
                equation,
                honest,
            ),
            Forgery(
                "claim another prediction",
                lambda: check(self.altered(self.inference, output=claimed)),
                equation,
                lambda: check(self.inference),
            ),
            Forgery("pass x + r for a public x", lambda: check(aliased), "modulus", honest),
            Forgery("move a proof point off its curve", lambda: check(moved), "curve", honest),
            Forgery(
                "replace a proof point by infinity",
                lambda: check(replace(step, c=None)),
                "infinity",
                honest,
            ),
            Forgery("verify under a swapped key", self._swapped_key, equation, honest),
            Forgery(
                "carry the proof to another chain",
                lambda: verify(step, self.keys[step.statement], destination=elsewhere),
                "another chain",
                honest,
            ),
            Forgery(
                "use a development key in production",
                lambda: check(step, production=True),
                "development key",
                honest,
            ),
            Forgery(
                "relabel a development key as a ceremony's",
                lambda: verify(
                    replace(step, key_status=CEREMONY, vk_digest=relabelled.digest),
                    relabelled,
                ),
                "ceremony",
                honest,
            ),
            Forgery(
                "ask for a weaker proof format",
                lambda: self._reparsed(step, format="zkai.groth16/0"),
                "format",
                lambda: self._reparsed(step),
            ),
        ]

    def _swapped_key(self) -> None:
        """Make another key for the same circuit and pretend that the proof was made under it."""
        other = setup(self.stage.statements[Genesis.version]).verifying
        verify(replace(self.first.proofs[0], vk_digest=other.digest), other)

    def _reparsed(self, proof: Proof, **changes: str) -> None:
        value = load_json(canonical_json(proof.to_json() | changes), "proof.json")
        self.check(Proof.from_json(value, "proof.json"))

    def on_histories(self) -> list[Forgery]:
        """Return forgeries of a fork's history."""
        first, second = self.first.proofs, self.second.proofs

        def history(*proofs: Proof) -> None:
            verify_chain(proofs, self.keys, destination=self.stage.destination)

        def honest() -> None:
            history(*first)

        return [
            Forgery("skip a step", lambda: history(first[0], *first[2:]), "a gap", honest),
            Forgery(
                "pass off another user's step",
                lambda: history(*first[:2], second[2]),
                "user is not",
                honest,
            ),
            Forgery(
                "begin without the base model",
                lambda: history(*first[1:]),
                "starts with genesis",
                honest,
            ),
        ]

    def on_chain(self) -> list[Forgery]:
        """Return forgeries that a contract must refuse."""
        recorder, chain = self.stage.followed_by, self.stage.chain
        last, key = self.first.proofs[-1], self.keys[TrainingStep.version]
        assert last.a is not None
        assert last.b is not None
        (ax, ay), (bx, by) = last.a, last.b
        negated = (BASE_MODULUS - by[0], BASE_MODULUS - by[1])
        rerandomised = replace(last, a=(ax, BASE_MODULUS - ay), b=(bx, negated))
        verifier = self.stage.verifiers[TrainingStep.version]
        words, publics = proof_words(last), last.public_values(key)
        aliased = [*publics[:-1], publics[-1] + FIELD_MODULUS]

        def send(values: list[int]) -> None:
            send_proof(chain, verifier, "verify", words, values)

        def honest() -> None:
            send(publics)

        return [
            Forgery(
                "replay a recorded step",
                lambda: recorder.record(last, key),
                "WrongStep",
                lambda: self.check(last),
            ),
            Forgery(
                "replay it under other proof bytes",
                lambda: recorder.record(rerandomised, key),
                "WrongStep",
                lambda: self.check(rerandomised),
            ),
            Forgery(
                "send a proof made for another recipient",
                lambda: self._open(98, for_me=False),
                "WrongContext",
                lambda: self._open(99, for_me=True),
            ),
            Forgery(
                "send x + r to the contract", lambda: send(aliased), "PublicInputOutOfRange", honest
            ),
            Forgery(
                "leave out a public input", lambda: send(publics[:-1]), "InvalidLength", honest
            ),
        ]

    def _open(self, fork: int, for_me: bool) -> None:
        """Open a fork with a genesis proof whose recipient is the sender, or somebody else."""
        mine = self.stage.destination
        theirs = replace(mine, recipient=address_word("0x" + "11" * 20))
        proof = prove(
            self.stage.statements[Genesis.version],
            self.stage.keys[Genesis.version].proving,
            {"weights_integers": self.stage.setting.base.weights, "fork": fork},
            destination=mine if for_me else theirs,
        )
        self.stage.followed_by.open(proof, self.keys[Genesis.version])

    def on_witness(self) -> list[Forgery]:
        """Return a dishonest prover's witnesses; constraints must refuse to prove them."""
        head = self.stage.setting.head

        def honest() -> None:
            self._prove_step()

        return [
            Forgery(
                "train on forged probabilities",
                lambda: self._prove_step(tamper="step/softmax/quotient"),
                "step/softmax",
                honest,
            ),
            Forgery(
                "swap weights behind one commitment",
                lambda: self._prove_step(repack=True),
                "old weights: range",
                honest,
            ),
            Forgery(
                "train at a forbidden learning rate",
                lambda: self._prove_step(rate=1 << head.rate_bits),
                "learning rate",
                honest,
            ),
        ]

    def _prove_step(
        self, tamper: str | None = None, repack: bool = False, rate: int | None = None
    ) -> None:
        """Prove one more step of the first user from circuit inputs, forged as asked for."""
        version = TrainingStep.version
        statement, proving = self.stage.statements[version], self.stage.keys[version].proving
        x, labels = self.first.user.batch(STEPS - 1)
        values = {"state": self.first.state, "x_integers": x, "labels": labels}
        given = complete(statement, values, self.stage.destination, self.keys[version].digest)
        inputs = statement.assign(given.values)
        if rate is not None:
            inputs["learning_rate"] = rate
        circuit = statement.build()
        witness = circuit.solve(inputs, {tamper: lambda v: v + 1} if tamper else None)
        if repack:
            # One weight plus 2**width and the next minus 1 pack to the same field element.
            wires = circuit.inputs["weights"].wires[:2]
            shift = to_limbs([1 << self.stage.setting.head.weight_width, FIELD_MODULUS - 1])
            witness[wires] = native.fr_add(witness[wires], shift)
        assert isinstance(proving, ProvingKey)
        groth16.prove(circuit, proving, witness, version)
