"""Certificates of improvement: an examiner's held-out samples, drawn after training has ended.

The examiner commits to them before anybody trains. Once a user's last state is on the chain, a new
round of the beacon draws the samples; only these are handed to the user, who proves whether the
trained head answers at least as many of them correctly as the base model does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zkai.beacon import BeaconFile, beacon_element
from zkai.certificate import verify_improvement
from zkai.circuit.statements.commitments import new_salt, user_commitment
from zkai.circuit.statements.dataset import Dataset
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.demo.digits import EXAM_ROWS, EXAM_SAMPLES, User
from zkai.demo.proving import prove_and_check
from zkai.demo.rounds import EXAM_ROUND, LOGGED_AT
from zkai.demo.stage import History, Stage
from zkai.errors import VerificationError
from zkai.proof.formats import Proof

MARGIN = 0


@dataclass(frozen=True)
class Exam:
    """What the examiner holds for one user's digits, and what everybody knows of it."""

    dataset: Dataset = field(repr=False)
    public: EvaluationSet

    def values(self, history: History, beacon: BeaconFile, number: int) -> dict[str, Any]:
        """Return what proves the examination of a fork on the samples of a round."""
        value = beacon_element(beacon.id, number, beacon.value(number))
        return {
            "old_state": history.proofs[0].opening.state,
            "new_state": history.state,
            "evaluation_set": self.public,
            "samples": Samples.drawn(self.dataset, self.public, value, number, EXAM_SAMPLES),
            "beacon": beacon,
            "round": number,
            "margin": MARGIN,
        }

    def verify(self, proof: Proof, history: History, beacon: BeaconFile) -> None:
        """Return None if a proof, which has been verified, certifies an improvement of a fork.

        Raises VerificationError otherwise.
        """
        verify_improvement(
            proof, self.public, beacon, history=history.proofs, logged_at=LOGGED_AT, margin=MARGIN
        )


def prepare(stage: Stage, user: User, examiner: int) -> Exam:
    """Commit to held-out samples of a user's digits, under the examiner's secret."""
    statement = stage.statements[Evaluation.version]
    assert isinstance(statement, Evaluation)
    schema = statement.dataset.schema(stage.setting.head)
    rows = slice(EXAM_ROWS)
    dataset = Dataset(schema, user.held_out[rows], user.held_out_labels[rows], new_salt())
    public = EvaluationSet.of(dataset, user_commitment(examiner))
    public.write(stage.out / "exams" / f"{user.name}.json")
    return Exam(dataset, public)


def examine(stage: Stage, history: History) -> dict[str, Any]:
    """Prove one user's examination; return what summary.json says of it."""
    name, exam = history.user.name, history.exam
    values = exam.values(history, stage.beacon, EXAM_ROUND)
    proof = prove_and_check(stage, name, Evaluation.version, values, "evaluation")
    history.examined = proof
    try:
        exam.verify(proof, history, stage.beacon)
    except VerificationError as error:
        outcome = str(error)
    else:
        outcome = "certified"
    return {
        "user": name,
        "proof": stage.proofs[-1]["file"],
        "set": f"exams/{name}.json",
        "samples": EXAM_SAMPLES,
        "margin": MARGIN,
        "improved": bool(proof.public["improved"][0]),
        "outcome": outcome,
    }
