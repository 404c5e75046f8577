"""The demo's story, top to bottom: train in private, prove, check here and on a chain, forge."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.chain.recorder import ForkRecorder
from zkai.chain.verifier import deploy
from zkai.circuit.statements.base import COMMIT, Statement
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.commitments import new_salt
from zkai.circuit.statements.dataset import Dataset, DatasetShape
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo import aggregation, assurance, encrypted, forgeries, report
from zkai.demo.comparison import compare
from zkai.demo.digits import (
    BATCH,
    EXAM_ROWS,
    EXAM_SAMPLES,
    LEARNING_RATE,
    ROWS_PER_LEAF,
    SAMPLES,
    STEPS,
    Setting,
    User,
    load_setting,
)
from zkai.demo.examination import Exam, examine, prepare
from zkai.demo.forged_aggregates import on_aggregates
from zkai.demo.forged_exams import on_exams
from zkai.demo.forged_forks import on_chain, on_histories
from zkai.demo.forged_proofs import on_proofs
from zkai.demo.forged_witnesses import on_witness
from zkai.demo.logbook import write_logbook
from zkai.demo.proving import prove_and_check
from zkai.demo.rounds import BEACON, EXAM_ROUND, FIRST_ROUND, TRAINING_ROUNDS, draw
from zkai.demo.stage import History, Stage, step_values
from zkai.encoding import hex32, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.model.quantize import quantize_inputs
from zkai.model.training import accuracy
from zkai.pipeline import OpenedProof, setup
from zkai.proof.scalars import Progress, no_progress


def run(out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run the demo, write everything to `out`, and return summary.json's content.

    Raises InvalidInput if `out` cannot be written, ToolError if an optional package is missing.
    """
    started = time.perf_counter()
    report_progress = progress or no_progress
    _make_folders(out)
    report_progress("train the public backbone", 0.0)
    setting = load_setting()
    report_progress("train the public backbone", 1.0)
    stage = Stage(out, setting, _statements(setting), BEACON, report_progress)
    stage.seconds["backbone"] = time.perf_counter() - started
    _make_keys(stage)
    _deploy(stage)
    histories = _train(stage)
    inferences = [_infer(stage, history) for history in histories]
    _check_histories(stage, histories)
    certificates = [examine(stage, history) for history in histories]
    logbook = write_logbook(stage, histories)
    compared = compare(stage, step_values(stage, histories[0]))
    trained = encrypted.fine_tune(stage)
    summed = aggregation.aggregate(stage, histories)
    sampled = assurance.catch(stage)
    tried = _try_forgeries(forgeries.Cheat(stage, histories, inferences), summed)
    summary = _summary(stage, histories, tried)
    summary["aggregate"] = summed.summary
    summary["accuracy"]["aggregated"] = round(summed.accuracy, 4)
    summary |= {"certificates": certificates, "comparison": compared, **logbook}
    summary["encrypted_training"] = trained
    summary["assurance"] = sampled
    summary["seconds"] = {"total": round(time.perf_counter() - started, 3), **_rounded(stage)}
    write_atomic(out / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    report.write(out / "report.html", summary)
    return summary


def _make_folders(out: Path) -> None:
    for folder in (out / name for name in ("proofs", "keys", "forks", "exams")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{folder}: cannot be made ({error.strerror})") from error


def _statements(setting: Setting) -> dict[str, Statement]:
    personal = attach_head(setting.backbone, setting.head, setting.base)
    seen = {
        "input": "committed",
        "output": "argmax",
        "head.weight": "state",
        "head.bias": "state",
    }
    statements: tuple[Statement, ...] = (
        Genesis(setting.head, format=COMMIT),
        TrainingStep(
            setting.head,
            BATCH,
            learning_rate=LEARNING_RATE,
            format=COMMIT,
            dataset=DatasetShape.for_rows(SAMPLES, ROWS_PER_LEAF),
        ),
        Inference(personal, seen, setting.head, format=COMMIT),
        Evaluation(
            setting.head,
            EXAM_SAMPLES,
            DatasetShape.for_rows(EXAM_ROWS, ROWS_PER_LEAF),
            format=COMMIT,
        ),
    )
    return {statement.version: statement for statement in statements}


def _make_keys(stage: Stage) -> None:
    started = time.perf_counter()
    for done, (version, statement) in enumerate(stage.statements.items()):
        stage.report("make development keys", done / len(stage.statements))
        stage.keys[version] = setup(statement)
        name = version.split("/")[0]
        stage.verifying(version).write(stage.out / "keys" / f"{name}.json")
    stage.report("make development keys", 1.0)
    stage.seconds["setup"] = time.perf_counter() - started


def _deploy(stage: Stage) -> None:
    for version in stage.statements:
        stage.verifiers[version] = deploy(stage.verifying(version), stage.chain).address
    stage.recorder = ForkRecorder.deploy(
        stage.chain, stage.verifiers[Genesis.version], stage.verifiers[TrainingStep.version]
    )


def _open_fork(stage: Stage, user: User, exam: Exam) -> History:
    """Commit to the user's samples, fix the fork's terms and open it from the base model.

    The fork's number names samples and beacon: from here on nobody, the user included, can choose
    which samples a step takes.
    """
    step = stage.statements[TrainingStep.version]
    assert isinstance(step, TrainingStep)
    assert step.dataset is not None
    schema = step.dataset.schema(stage.setting.head)
    dataset = Dataset(schema, user.features, user.labels, new_salt())
    terms = ForkTerms(dataset.root, dataset.size, schema.digest, stage.beacon.id, FIRST_ROUND)
    terms.write(stage.out / "forks" / f"{user.name}.json")
    history = History(user, dataset, terms, exam)
    values = {"weights_integers": stage.setting.base.weights, "terms": terms}
    _add(stage, history, Genesis.version, values, "genesis")
    return history


def _train(stage: Stage) -> list[History]:
    """Open every user's fork, then draw the beacon's rounds and move the forks on.

    The examiner commits to what the users will be examined on before any of it.
    """
    examiner = new_salt()
    histories = []
    for user in stage.setting.users:
        exam = prepare(stage, user, examiner)
        histories.append(_open_fork(stage, user, exam))
    stage.beacon = draw(stage.beacon, TRAINING_ROUNDS, stage.out / "beacon.json")
    for history in histories:
        _fine_tune(stage, history)
    stage.beacon = draw(stage.beacon, [EXAM_ROUND], stage.out / "beacon.json")
    return histories


def _fine_tune(stage: Stage, history: History) -> None:
    """Move the user's fork on, one proven step after another, on the samples that are drawn."""
    label = f"{history.user.name}: prove every step"
    for step in range(STEPS):
        stage.report(label, step / STEPS)
        values = step_values(stage, history)
        _add(stage, history, TrainingStep.version, values, f"step-{step + 1}")
    stage.report(label, 1.0)


def _add(
    stage: Stage, history: History, version: str, values: Mapping[str, Any], name: str
) -> None:
    """Prove, verify here, let the contract move the fork on, and note what it took."""
    proof = prove_and_check(stage, history.user.name, version, values, name)
    recorder, key = stage.followed_by, stage.verifying(version)
    move = recorder.open if version == Genesis.version else recorder.record
    stage.proofs[-1]["record_gas"] = move(proof, key).gas_used
    history.proofs.append(proof)
    user, head = history.user, stage.setting.head
    state = history.state.values
    history.accuracies.append(accuracy(head, state, user.held_out, user.held_out_labels))


def _infer(stage: Stage, history: History) -> OpenedProof:
    """Prove what the personalised model says of a sample that nobody else sees."""
    user, backbone = history.user, stage.setting.backbone
    place = stage.setting.users.index(user)
    stage.report("prove inferences", place / len(stage.setting.users))
    pixels = quantize_inputs(backbone, user.held_out_pixels[:1, None, :])["pixels"][0]
    values = {"input_integers": pixels, "state": history.state}
    proof = prove_and_check(stage, user.name, Inference.version, values, "inference")
    stage.report("prove inferences", (place + 1) / len(stage.setting.users))
    return proof


def _check_histories(stage: Stage, histories: list[History]) -> None:
    """Check each fork once more as a stranger would: from its proofs and the public keys alone."""
    for history in histories:
        stage.check_history(history.proofs, history.terms)
        head = stage.followed_by.head(history.terms.fork)
        if (head.state, head.step) != (history.proofs[-1].public["new_state"][0], STEPS):
            raise VerificationError(f"{history.user.name}: the contract is not at the last state")


def _try_forgeries(
    cheat: forgeries.Cheat, summed: aggregation.Aggregated
) -> list[forgeries.Outcome]:
    """Try every forgery and its honest twin."""
    stage, everything = cheat.stage, [
        *on_proofs(cheat), *on_histories(cheat), *on_exams(cheat), *on_chain(cheat),
        *on_witness(cheat), *on_aggregates(summed),
    ]  # fmt: skip
    outcomes = []
    for number, forgery in enumerate(everything):
        stage.report("try forgeries", number / len(everything))
        outcomes.append(forgeries.attempt(forgery))
    stage.report("try forgeries", 1.0)
    return outcomes


def _summary(
    stage: Stage, histories: list[History], tried: list[forgeries.Outcome]
) -> dict[str, Any]:
    base = [history.accuracies[0] for history in histories]
    personalised = [history.accuracies[-1] for history in histories]
    return {
        "users": len(histories),
        "rounds": STEPS,
        "proofs": stage.proofs,
        "aggregate": None,
        "accuracy": {
            "base": round(sum(base) / len(base), 4),
            "personalised": round(sum(personalised) / len(personalised), 4),
            "aggregated": None,
        },
        "tampered": {
            "tried": len(tried),
            "rejected": sum(outcome.refused for outcome in tried),
            "forgeries": [outcome.to_json() for outcome in tried],
        },
        "forks": [_fork(history) for history in histories],
        "key_status": "development",
        "chain": {
            "id": stage.chain.chain_id,
            "recorder": stage.followed_by.address,
            "verifiers": {k.split("/")[0]: v for k, v in stage.verifiers.items()},
        },
    }


def _fork(history: History) -> dict[str, Any]:
    user = history.user
    return {
        "user": user.name,
        "fork": hex32(history.terms.fork),
        "terms": f"forks/{user.name}.json",
        "samples": history.dataset.size,
        "digits": list(user.digits),
        "held_out": len(user.held_out),
        "accuracies": [round(value, 4) for value in history.accuracies],
        "states": [hex32(proof.public["new_state"][0]) for proof in history.proofs],
    }


def _rounded(stage: Stage) -> dict[str, float]:
    seconds = {name: round(value, 3) for name, value in stage.seconds.items()}
    for key in ("prove_s", "verify_s"):
        seconds[key.removesuffix("_s")] = round(sum(p[key] for p in stage.proofs), 3)
    return seconds
