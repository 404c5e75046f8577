"""Cheats that lie in what a record says of itself: types, first weights, software, neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.compute_support import Toy, toy_task, trainer
from tests.unit.test_compute_replay import forged
from zkai.compute import record as names
from zkai.compute.hook import initial_root
from zkai.compute.kept import Run, tables
from zkai.compute.machine import train
from zkai.compute.replay import replay_interval, replay_step
from zkai.compute.snapshot import tensors_of
from zkai.errors import VerificationError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    train(Toy(), toy_task(), folder, trainer(), 5)
    return Run(folder)


def under_another_task(
    folder: Path, program: Toy, step: int, task_digest: bytes | None = None
) -> tuple[Any, Any]:
    """What a cheat trains by its own rules, passed off as the toy's task."""
    task = dataclasses.replace(toy_task(), initial=initial_root(program.model(), 64))
    train(program, task, folder, trainer(), step + 1, end=False)
    found = Run(folder)
    record = dataclasses.replace(found.signed(step).record, task=task_digest or toy_task().digest)
    return record, found.groups(step)


class Halves(Toy):
    """Computes in bfloat16: faster, and with bounds 2^16 times as wide."""

    def model(self) -> nn.Module:
        return super().model().bfloat16()

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch["x"].bfloat16()), batch["y"])


def test_a_narrower_type_does_not_widen_the_bounds(tmp_path: Path) -> None:
    record, groups = under_another_task(tmp_path / "run", Halves(), 3)
    other = dataclasses.replace(record.environment, cpu="unheard of")
    record = dataclasses.replace(record, environment=other)
    with pytest.raises(VerificationError, match=r"weights_before: tensor 0.*bfloat16"):
        replay_step(Toy(), toy_task(), record, groups)


def test_the_recorded_default_type_does_not_choose_the_models(tmp_path: Path) -> None:
    digest = toy_task().digest
    torch.set_default_dtype(torch.bfloat16)
    try:
        record, groups = under_another_task(tmp_path / "run", Toy(), 3, digest)
    finally:
        torch.set_default_dtype(torch.float32)
    assert record.environment.default_dtype == "bfloat16"
    with pytest.raises(VerificationError, match=r"weights_before: tensor 0.*bfloat16"):
        replay_step(Toy(), toy_task(), record, groups)


def test_equality_is_with_the_checkers_own_precision(run: Run) -> None:
    record = run.signed(3).record
    replay_step(Toy(), run.task, record, run.groups(3), exact=True)
    for change in ({"matmul_precision": "medium"}, {"flush_denormal": True}):
        name = next(iter(change))
        lax = dataclasses.replace(record.environment, **change)
        with pytest.raises(VerificationError, match=f"recorded with another {name} than here"):
            replay_step(
                Toy(), run.task, dataclasses.replace(record, environment=lax), run.groups(3),
                exact=True,
            )  # fmt: skip


@pytest.mark.parametrize("steps", [-1.0, -1e30])
def test_steps_that_no_optimizer_counted_are_refused(run: Run, steps: float) -> None:
    """Adam divides by 1 - beta^t: by zero for t = 0, and beta^t overflows for others."""
    change = {names.OPTIMIZER_BEFORE: {"state.0.weight.step": torch.tensor(steps)}}
    record, groups = forged(run, 3, change)
    with pytest.raises(VerificationError, match="program fails on this state"):
        replay_step(Toy(), run.task, record, groups)


def interval(run: Run, first: Any, last: Any, end: Any = None) -> None:
    replay_interval(Toy(), run.task, first, run.groups(0), last, end or run.groups(3))


def test_records_of_two_trainings_are_not_spliced(run: Run) -> None:
    first, last = run.signed(0).record, run.signed(3).record
    interval(run, first, last)
    for change, message in (
        ({"trainer": bytes(32)}, "another trainer's"),
        ({"task": bytes(32)}, "of another task"),
        ({"step": 0}, "step 3 is missing"),
        ({"step": 6}, "step 3 is missing"),
    ):
        with pytest.raises(VerificationError, match=message):
            interval(run, first, dataclasses.replace(last, **change))
    over, end = run.signed(5).record, run.groups(5)
    with pytest.raises(VerificationError, match="follows the end"):
        replay_interval(
            Toy(), run.task, over, end,
            dataclasses.replace(over, previous=over.root, step=6), end,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["other", "flat"])
def test_losses_that_are_no_list_are_refused(run: Run, kind: str) -> None:
    loss = tensors_of(run.groups(3)[names.LOSSES])["loss"]
    record, groups = forged(run, 3, {names.LOSSES: {kind: loss, "loss": loss[0]}})
    with pytest.raises(VerificationError, match="losses"):
        interval(run, run.signed(0).record, record, groups)
    groups[names.LOSSES].pop("loss")
    record, groups = forged_from(run, record, groups)
    with pytest.raises(VerificationError, match="losses"):
        interval(run, run.signed(0).record, record, groups)


def forged_from(run: Run, record: Any, groups: Any) -> tuple[Any, Any]:
    roots = {name: table.root for name, table in tables(groups, run.task.leaf_bytes).items()}
    return dataclasses.replace(record, groups=roots), groups
