"""Forgeries of a certificate of improvement."""

from __future__ import annotations

from dataclasses import replace

from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet
from zkai.demo.forgeries import EQUATION, Cheat, Forgery
from zkai.demo.rounds import EXAM_ROUND, TRAINING_ROUNDS
from zkai.demo.stage import History
from zkai.pipeline import prove
from zkai.proof.formats import Proof


def on_exams(cheat: Cheat) -> list[Forgery]:
    """Return forgeries of the first certificate; none if nobody improved."""
    for history in cheat.histories:
        if (proof := history.examined) is not None and proof.public["improved"] == (1,):
            return _forgeries(cheat, history, proof)
    return []


def _forgeries(cheat: Cheat, history: History, proof: Proof) -> list[Forgery]:
    exam, beacon = history.exam, cheat.stage.beacon
    better = cheat.altered(proof, margin=proof.public["margin"][0] + 1)
    own = EvaluationSet.of(exam.dataset, proof.public["user"][0])

    def honest() -> None:
        cheat.check(proof)
        exam.verify(proof, history, beacon)

    return [
        Forgery("claim a larger improvement", lambda: cheat.check(better), EQUATION, honest),
        Forgery(
            "be examined before training ends",
            lambda: exam.verify(_earlier(cheat, history), history, beacon),
            "first after the state was logged",
            honest,
        ),
        Forgery(
            "examine oneself",
            lambda: replace(exam, public=own).verify(
                _examined(cheat, history, own), history, beacon
            ),
            "the user's own",
            honest,
        ),
    ]


def _earlier(cheat: Cheat, history: History) -> Proof:
    """Return a valid examination on samples that were known while the user still trained."""
    values = history.exam.values(history, cheat.stage.beacon, TRAINING_ROUNDS[-1])
    return _proven(cheat, values)


def _examined(cheat: Cheat, history: History, public: EvaluationSet) -> Proof:
    """Return a valid examination on a set that the user has committed to."""
    exam = replace(history.exam, public=public)
    return _proven(cheat, exam.values(history, cheat.stage.beacon, EXAM_ROUND))


def _proven(cheat: Cheat, values: dict[str, object]) -> Proof:
    stage, version = cheat.stage, Evaluation.version
    proof = prove(
        stage.statements[version], stage.keys[version].proving, values,
        destination=stage.destination,
    )  # fmt: skip
    cheat.check(proof)
    return proof
