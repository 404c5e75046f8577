"""The demo's story, top to bottom: train in private, prove, check here and on a chain, forge."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.chain.recorder import ForkRecorder
from zkai.chain.verifier import deploy, verify_on_chain
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo import forgeries, report
from zkai.demo.digits import BATCH, LEARNING_RATE, STEPS, Setting, User, load_setting
from zkai.demo.stage import History, Stage
from zkai.encoding import hex32, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.model.quantize import quantize_inputs
from zkai.model.training import accuracy
from zkai.pipeline import OpenedProof, prove, setup, verify, verify_chain
from zkai.proof.scalars import Progress, no_progress

EVM_PROOF_BYTES = 256


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
    stage = Stage(out, setting, _statements(setting), report_progress)
    stage.seconds["backbone"] = time.perf_counter() - started
    _make_keys(stage)
    _deploy(stage)
    histories = [_fine_tune(stage, user) for user in setting.users]
    inferences = [_infer(stage, history) for history in histories]
    _check_histories(stage, histories)
    tried = forgeries.try_all(stage, histories, inferences)
    summary = _summary(stage, histories, tried)
    summary["seconds"] = {"total": round(time.perf_counter() - started, 3), **_rounded(stage)}
    write_atomic(out / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    report.write(out / "report.html", summary)
    return summary


def _make_folders(out: Path) -> None:
    for folder in (out / "proofs", out / "keys"):
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
        Genesis(setting.head),
        TrainingStep(setting.head, BATCH, learning_rate=LEARNING_RATE),
        Inference(personal, seen, setting.head),
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


def _fine_tune(stage: Stage, user: User) -> History:
    """Open the user's fork from the base model and move it on, one proven step after another."""
    history = History(user)
    label = f"{user.name}: prove every step"
    values: dict[str, Any] = {"weights_integers": stage.setting.base.weights, "fork": user.fork}
    _add(stage, history, Genesis.version, values, "genesis")
    for step in range(STEPS):
        stage.report(label, step / STEPS)
        x, labels = user.batch(step)
        values = {"state": history.state, "x_integers": x, "labels": labels}
        _add(stage, history, TrainingStep.version, values, f"step-{step + 1}")
    stage.report(label, 1.0)
    return history


def _add(
    stage: Stage, history: History, version: str, values: Mapping[str, Any], name: str
) -> None:
    """Prove, verify here, let the contract move the fork on, and note what it took."""
    proof = _prove(stage, history.user, version, values, name)
    recorder, key = stage.followed_by, stage.verifying(version)
    move = recorder.open if version == Genesis.version else recorder.record
    stage.proofs[-1]["record_gas"] = move(proof, key).gas_used
    history.proofs.append(proof)
    user, head = history.user, stage.setting.head
    state = history.state.values
    history.accuracies.append(accuracy(head, state, user.held_out, user.held_out_labels))


def _prove(
    stage: Stage, user: User, version: str, values: Mapping[str, Any], name: str
) -> OpenedProof:
    statement, key = stage.statements[version], stage.verifying(version)
    clock = [time.perf_counter()]
    proof = prove(statement, stage.keys[version].proving, values, destination=stage.destination)
    clock.append(time.perf_counter())
    verify(proof, key, destination=stage.destination)
    clock.append(time.perf_counter())
    gas = verify_on_chain(stage.chain, stage.verifiers[version], proof, key)
    path = stage.out / "proofs" / f"{user.name}-{name}.json"
    proof.write(path)
    stage.proofs.append(
        {
            "user": user.name,
            "name": name,
            "file": f"proofs/{path.name}",
            "key": f"keys/{version.split('/')[0]}.json",
            "statement": version.split("/")[0],
            "format": "groth16",
            "constraints": statement.build().n_constraints,
            "prove_s": round(clock[1] - clock[0], 4),
            "verify_s": round(clock[2] - clock[1], 5),
            "proof_bytes": EVM_PROOF_BYTES,
            "gas": gas,
            "verified_onchain": True,
        }
    )
    return proof


def _infer(stage: Stage, history: History) -> OpenedProof:
    """Prove what the personalised model says of a sample that nobody else sees."""
    user, backbone = history.user, stage.setting.backbone
    stage.report("prove inferences", (user.fork - 1) / len(stage.setting.users))
    pixels = quantize_inputs(backbone, user.held_out_pixels[:1, None, :])["pixels"][0]
    values = {"input_integers": pixels, "state": history.state}
    proof = _prove(stage, user, Inference.version, values, "inference")
    stage.report("prove inferences", user.fork / len(stage.setting.users))
    return proof


def _check_histories(stage: Stage, histories: list[History]) -> None:
    """Check each fork once more as a stranger would: from its proofs and the public keys alone."""
    keys = {version: pair.verifying for version, pair in stage.keys.items()}
    for history in histories:
        verify_chain(history.proofs, keys, destination=stage.destination)
        head = stage.followed_by.head(history.user.fork)
        if (head.state, head.step) != (history.proofs[-1].public["new_state"][0], STEPS):
            raise VerificationError(f"{history.user.name}: the contract is not at the last state")


def _summary(
    stage: Stage, histories: list[History], tried: list[forgeries.Outcome]
) -> dict[str, Any]:
    base = [history.accuracies[0] for history in histories]
    personalised = [history.accuracies[-1] for history in histories]
    return {
        "users": len(histories),
        "rounds": STEPS,
        "proofs": stage.proofs,
        "receipts": None,
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
        "ledger": None,
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
        "fork": user.fork,
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
