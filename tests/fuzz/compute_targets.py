"""The parsers of recorded training steps under fuzzing: tasks, records, challenges, answers."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from tests.fuzz.harness import Target
from tests.unit.compute_support import Toy, record_run
from zkai.compute import record as names
from zkai.compute.challenge import REPLAY, SAMPLE, Challenge, Drawn, answer, verify_sample
from zkai.compute.kept import Run, by_group
from zkai.compute.record import parse_record
from zkai.compute.replay import replay_step
from zkai.compute.task import Task
from zkai.merkle.tensor import open_tensors, write_tensors


@lru_cache
def made_run() -> Run:
    """A short run; its folder lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="zkai-fuzz-"))
    record_run(folder / "run", 4)
    return Run(folder / "run")


def asked(kind: str, tensor: str | None = "0.weight") -> Challenge:
    run = made_run()
    root = run.signed(3).record.root
    if kind == REPLAY:
        return Challenge(run.task.digest, root, 3, REPLAY)
    drawn = Drawn(bytes(32))
    return Challenge(run.task.digest, root, 3, SAMPLE, names.GRADIENTS, tensor, 500, drawn)


def task(folder: Path) -> Target:
    """A task has one byte form."""

    def use(scratch: Path, data: bytes) -> None:
        if Task.from_bytes(data).to_bytes() != data:
            raise AssertionError("a task has two byte forms")

    return Target("compute-task", (made_run().task.to_bytes(),), use)


def record(folder: Path) -> Target:
    """A record has one byte form, and the root that it states."""
    run = made_run()

    def use(scratch: Path, data: bytes) -> None:
        if parse_record(data).to_bytes() != data:
            raise AssertionError("a record has two byte forms")

    seeds = tuple(run.signed(step).to_bytes() for step in run.steps())
    return Target("compute-record", seeds, use, json=True)


def challenge(folder: Path) -> Target:
    """A challenge has one byte form."""

    def use(scratch: Path, data: bytes) -> None:
        if Challenge.from_bytes(data).to_bytes() != data:
            raise AssertionError("a challenge has two byte forms")

    seeds = tuple(c.to_bytes() for c in (asked(SAMPLE), asked(SAMPLE, None), asked(REPLAY)))
    return Target("compute-challenge", seeds, use)


def written(folder: Path, wanted: Challenge) -> bytes:
    path = folder / f"{wanted.kind}.safetensors"
    write_tensors(path, answer(made_run(), wanted), {"format": "fuzz"})
    return path.read_bytes()


def sampled(folder: Path) -> Target:
    """Only the committed values pass for a sample."""
    run, wanted = made_run(), asked(SAMPLE)
    good = run.signed(3).record
    honest = run.groups(3)[names.GRADIENTS]["0.weight"]

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "answer"
        path.write_bytes(data)
        verify_sample(good, run.task, wanted, open_tensors(path)).verify_equal(honest)

    return Target("compute-sample", (written(folder, wanted),), use, slow=True)


def replayed(folder: Path) -> Target:
    """Only the committed tensors are replayed."""
    run = made_run()
    good, program = run.signed(3).record, Toy()

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "answer"
        path.write_bytes(data)
        replay_step(program, run.task, good, by_group(open_tensors(path), "answer"))

    return Target("compute-replay", (written(folder, asked(REPLAY)),), use, slow=True)


COMPUTE_TARGETS = {
    "compute-task": task,
    "compute-record": record,
    "compute-challenge": challenge,
    "compute-sample": sampled,
    "compute-replay": replayed,
}
