"""Replay: an honest step comes out bit for bit, and whoever cheats is told step and tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit import compute_support
from tests.unit.compute_support import EVERY, STEPS, Toy, toy_task, trainer
from zkai.compute import record as names
from zkai.compute.hook import initial_root
from zkai.compute.kept import Run, tables
from zkai.compute.machine import State, advance, load_program, trace, train
from zkai.compute.record import verify_chain
from zkai.compute.replay import BITWISE, replay_interval, replay_step
from zkai.compute.snapshot import sources, tensors_of
from zkai.compute.task import Task
from zkai.errors import InvalidInput, VerificationError

MODULES = ("0", "3")


def recorded(folder: Path, program: Toy) -> Run:
    train(program, toy_task(), folder, trainer(), STEPS, activations=MODULES)
    return Run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return recorded(tmp_path_factory.mktemp("runs") / "honest", Toy())


def interval(run: Run, first: int, last: int, program: Toy | None = None) -> None:
    one, two = run.signed(first).record, run.signed(last).record
    replay_interval(program or Toy(), run.task, one, run.groups(first), two, run.groups(last))


def test_an_honest_run_is_replayed_bit_for_bit(run: Run) -> None:
    for step in (0, 3, 6):
        record = run.signed(step).record
        # Whatever else this process drew: the task's seed decides.
        torch.rand(step + 1)
        assert replay_step(Toy(), run.task, record, run.groups(step)).mode == BITWISE
    for first, last in ((0, 3), (3, 6), (6, 8)):
        interval(run, first, last)


def test_a_replay_leaves_the_process_as_it_was(run: Run) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    replay_step(Toy(), run.task, run.signed(3).record, run.groups(3))
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()


class OtherData(Toy):
    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        return super().batch(step + 100 if step >= EVERY else step)


class OtherLabel(Toy):
    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        found = dict(super().batch(step))
        if step == EVERY:
            found["y"][0] = (found["y"][0] + 1) % 3
        return found


class Faster(Toy):
    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.02 if step >= EVERY else 0.01


class Lazy(Toy):
    """Takes the gradients of the step before again instead of its own."""

    def __init__(self) -> None:
        self.old: list[torch.Tensor] = []

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        fresh = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        if step == EVERY:
            for parameter, gradient in zip(model.parameters(), self.old, strict=True):
                parameter.grad = gradient
        self.old = fresh


class Tampered(Toy):
    """Changes the optimizer's memory between two records."""

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        self.memory, self.first = super().optimizer(model), next(model.parameters())
        return self.memory

    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        if step == EVERY:
            self.memory.state[self.first]["exp_avg"].mul_(1.5)
        return super().batch(step)


class OtherWeights(Toy):
    """Changes one weight between two records."""

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        if step == EVERY - 1:
            with torch.no_grad():
                next(model.parameters())[0, 0] += 1e-3


class Bent(Toy):
    """Another loss, as a trainer with an aim of its own has."""

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return super().loss(model, batch) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("program", "step", "message"),
    [
        (OtherData(), 3, "step 3, batch: tensor x: 48 of 48"),
        (OtherLabel(), 3, "step 3, batch: tensor y: 1 of 8"),
        (Faster(), 3, "step 3, optimizer_before: tensor group.0.lr: 1 of 1 values differ, the"
         " first at 0: 0.02 instead of 0.01"),
        (Lazy(), 3, "step 3, gradients: tensor 0.bias"),
        (Bent(), 0, "step 0, losses: tensor loss"),
    ],
)  # fmt: skip
def test_a_cheat_in_a_step_is_named(tmp_path: Path, program: Toy, step: int, message: str) -> None:
    run = recorded(tmp_path / "run", program)
    verify_chain(run.records(), run.task)
    with pytest.raises(VerificationError, match=message):
        replay_step(Toy(), run.task, run.signed(step).record, run.groups(step))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (Tampered(), "steps 1 to 3, optimizer_before: tensor state.0.weight.exp_avg:"),
        (OtherWeights(), "steps 1 to 3, weights_before: tensor 0.weight"),
    ],
)
def test_a_cheat_between_records_is_named(tmp_path: Path, program: Toy, message: str) -> None:
    run = recorded(tmp_path / "run", program)
    replay_step(Toy(), run.task, run.signed(0).record, run.groups(0))
    with pytest.raises(VerificationError, match=message):
        interval(run, 0, 3)


def test_another_seed_is_found_at_the_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Task, "seed_of", lambda task, step: step)
        run = recorded(tmp_path / "run", Toy())
    record, groups = run.signed(0).record, run.groups(0)
    with pytest.raises(VerificationError, match="step 0, rng: tensor torch"):
        replay_step(Toy(), run.task, record, groups)


Change = Mapping[str, Mapping[str, torch.Tensor]]


def forged(run: Run, step: int, change: Change) -> tuple[Any, Any]:
    """A record, with roots that fit, of tensors of which some were changed."""
    groups = {name: dict(found) for name, found in run.groups(step).items()}
    for group, tensors in change.items():
        groups[group].update(sources(tensors, group))
    roots = {name: table.root for name, table in tables(groups, run.task.leaf_bytes).items()}
    return dataclasses.replace(run.signed(step).record, groups=roots), groups


@pytest.mark.parametrize(
    ("group", "tensor"),
    [
        (names.WEIGHTS_AFTER, "3.bias"),
        (names.DELTAS, "0.weight"),
        (names.STATISTICS, "0.weight.moments"),
        (names.OPTIMIZER_AFTER, "state.0.weight.exp_avg_sq"),
        (names.ACTIVATIONS, "3"),
        (names.GRADIENTS, "3.weight"),
        (names.LOSSES, "loss"),
    ],
)
def test_one_value_changed_in_any_group_is_named(run: Run, group: str, tensor: str) -> None:
    found = tensors_of(run.groups(3)[group])[tensor]
    found.view(-1)[-1] = torch.nextafter(found.view(-1)[-1], torch.tensor(9.0, dtype=found.dtype))
    record, groups = forged(run, 3, {group: {tensor: found}})
    with pytest.raises(VerificationError, match=f"step 3, {group}: tensor {tensor}: 1 of"):
        replay_step(Toy(), run.task, record, groups)


def test_the_first_step_starts_from_the_tasks_weights(run: Run) -> None:
    other = tensors_of(run.groups(3)[names.WEIGHTS_BEFORE])
    record, groups = forged(run, 0, {names.WEIGHTS_BEFORE: other})
    with pytest.raises(VerificationError, match="step 0, weights_before: does not start from"):
        replay_step(Toy(), run.task, record, groups)


def test_optimizers_start_with_nothing(run: Run) -> None:
    state = tensors_of(run.groups(3)[names.OPTIMIZER_BEFORE])
    record, groups = forged(run, 0, {names.OPTIMIZER_BEFORE: state})
    with pytest.raises(VerificationError, match="step 0, optimizer_before: tensor state"):
        replay_step(Toy(), run.task, record, groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({names.WEIGHTS_BEFORE: {"more": torch.ones(1)}}, "more"),
        ({names.WEIGHTS_BEFORE: {"3.bias": torch.ones(4)}}, "3.bias"),
        ({names.OPTIMIZER_BEFORE: {"state.9.weight.exp_avg": torch.ones(1)}}, "no parameter"),
        ({names.OPTIMIZER_BEFORE: {"state.0.bias.exp_avg": torch.ones(2)}}, "another shape"),
        ({names.OPTIMIZER_BEFORE: {"state.0.bias.step": torch.ones(16)}}, "program fails"),
    ],
)
def test_states_of_other_models_are_refused(run: Run, change: Change, message: str) -> None:
    record, groups = forged(run, 3, change)
    with pytest.raises(VerificationError, match=message):
        replay_step(Toy(), run.task, record, groups)


def test_tensors_that_are_not_the_records_are_refused(run: Run) -> None:
    with pytest.raises(VerificationError, match="not those committed to"):
        replay_step(Toy(), run.task, run.signed(3).record, run.groups(6))
    with pytest.raises(InvalidInput, match="no step"):
        replay_step(Toy(), run.task, run.signed(8).record, run.groups(8))
    with pytest.raises(VerificationError, match="does not follow"):
        interval(run, 0, 6)


def test_the_losses_between_records_are_checked(run: Run) -> None:
    found = tensors_of(run.groups(3)[names.LOSSES])["loss"]
    found[0] += 1
    record, groups = forged(run, 3, {names.LOSSES: {"loss": found}})
    first = run.signed(0).record
    replay_step(Toy(), run.task, record, groups)
    with pytest.raises(VerificationError, match="steps 1 to 3, losses"):
        replay_interval(Toy(), run.task, first, run.groups(0), record, groups)


def test_states_on_the_way_are_those_of_the_run(run: Run) -> None:
    """What a dispute bisects: from step 4 to step 6."""
    steps = dict(advance(Toy(), run.task, State.after(run.groups(3)), 4, 6))
    assert list(steps) == [4, 5, 6]
    wanted = State.before(run.signed(6).record, run.groups(6))
    reached = steps[6]
    assert all(torch.equal(reached.weights[n], v) for n, v in wanted.weights.items())
    outputs = trace(Toy(), run.task, wanted, 6)
    assert list(outputs) == ["0", "1", "2", "3"]
    claimed = tensors_of(run.groups(6)[names.ACTIVATIONS])
    assert all(torch.equal(outputs[name], claimed[name]) for name in MODULES)


class Normalised(Toy):
    """A model with buffers that its forward pass changes, a frozen layer and a schedule."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def model(self) -> nn.Module:
        torch.manual_seed(4)
        found = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
        found[0].weight.requires_grad_(False)
        return found.to(torch.bfloat16) if self.kind == "bfloat16" else found

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        trained = [p for p in model.parameters() if p.requires_grad]
        kinds: dict[str, Any] = {
            "momentum": lambda: torch.optim.SGD(trained, lr=0.1, momentum=0.9, nesterov=True),
            "plain": lambda: torch.optim.SGD(trained, lr=0.1),
            "bfloat16": lambda: torch.optim.SGD(trained, lr=0.1),
            "adagrad": lambda: torch.optim.Adagrad(trained, lr=0.1),
            "rmsprop": lambda: torch.optim.RMSprop(trained, lr=0.01, centered=True),
            "groups": lambda: torch.optim.Adam(
                [{"params": trained[:2]}, {"params": trained[2:], "lr": 0.5}], amsgrad=True
            ),
        }
        found: torch.optim.Optimizer = kinds[self.kind]()
        return found

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        x = batch["x"].to(next(model.parameters()).dtype)
        return nn.functional.cross_entropy(model(x), batch["y"])

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        for group in optimizer.param_groups[:1]:
            group["lr"] = 0.1 / (1 + step)


@pytest.mark.parametrize("kind", ["momentum", "plain", "bfloat16", "adagrad", "rmsprop", "groups"])
def test_optimizers_buffers_and_types_are_replayed(tmp_path: Path, kind: str) -> None:
    program = Normalised(kind)
    task = dataclasses.replace(toy_task(), initial=initial_root(program.model(), 64), every=2)
    train(program, task, tmp_path / "run", trainer(), 5)
    run = Run(tmp_path / "run")
    for step in (0, 2, 4):
        replay_step(program, task, run.signed(step).record, run.groups(step))
    for first, last in ((0, 2), (2, 4), (4, 5)):
        one, two = run.signed(first).record, run.signed(last).record
        replay_interval(program, task, one, run.groups(first), two, run.groups(last))
    before, after = (tensors_of(run.groups(2)[g]) for g in ("weights_before", "weights_after"))
    assert after["1.num_batches_tracked"] == before["1.num_batches_tracked"] + 1
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert "0.weight" not in run.groups(2)[names.GRADIENTS]


def test_programs_are_loaded_by_name_and_digest(run: Run, tmp_path: Path) -> None:
    path = Path(compute_support.__file__)
    program = load_program(path, "PROGRAM", run.task)
    assert replay_step(program, run.task, run.signed(3).record, run.groups(3)).mode == BITWISE
    other = tmp_path / "other.py"
    other.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(VerificationError, match="not the program"):
        load_program(other, "PROGRAM", run.task)
    other.write_text("class P: pass\nraising = 1 / 0 if 'x' == 'y' else None\n")
    for name, message in (("P", "a method model"), ("Q", "cannot be loaded")):
        with pytest.raises(InvalidInput, match=message):
            load_program(other, name)
    with pytest.raises(InvalidInput, match="not a Python file"):
        load_program(tmp_path / "none.py", "P")
