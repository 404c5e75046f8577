"""A recorded PyTorch training is disputed: bisected over its steps, settled by replaying one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.unit.compute_support import EVERY, STEPS, Toy, toy_task, trainer
from tests.unit.dispute_support import keys
from zkai.compute.kept import Run
from zkai.compute.machine import Machine, State, train
from zkai.compute.player import Player, play
from zkai.compute.recorded import (
    replay_from,
    root_of_record,
    root_of_state,
    roots_of_run,
    state_at,
)
from zkai.compute.settlement import Evidence, decide
from zkai.compute.terms import CHALLENGER, CLAIMANT, RecordedSteps, Terms
from zkai.errors import VerificationError
from zkai.merkle.commitment import commit

LAZY = 4


class Lazy(Toy):
    """Takes the last batch again at one step."""

    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        return super().batch(step - 1 if step == LAZY else step)


@pytest.fixture(scope="module")
def start() -> State:
    return Machine(Toy(), toy_task()).state()


@pytest.fixture(scope="module")
def runs(start: State) -> dict[str, list[bytes]]:
    task = toy_task()
    made = {"honest": Toy(), "lazy": Lazy()}
    return {name: roots_of_run(p, task, start, 0, STEPS) for name, p in made.items()}


class Decaying(Toy):
    """Its learning rate changes from step to step: a setting, which the program makes."""

    def prepare(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.01 * 0.9**step


class Plain(Toy):
    """Its optimizer has no state at all."""

    def optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=self.rate)


@pytest.mark.parametrize("program", [Toy, Decaying, Plain])
def test_records_say_the_states_that_are_disputed(
    start: State, program: type[Toy], tmp_path: Path
) -> None:
    task = toy_task()
    train(program(), task, tmp_path / "run", trainer(), STEPS)
    run = Run(tmp_path / "run")
    tables = {
        step: commit(run.groups(step)["optimizer_before"], task.leaf_bytes) for step in run.steps()
    }
    recorded = {step: root_of_record(run.signed(step).record, tables[step]) for step in tables}
    assert recorded.keys() == {*range(0, STEPS, EVERY), STEPS}
    first = Machine(program(), task).state()
    roots = roots_of_run(program(), task, first, 0, STEPS)
    assert all(roots[step] == root for step, root in recorded.items())
    # What settles a dispute agrees with both, from a state in the middle too.
    state = state_at(program(), task, first, 0, LAZY)
    assert replay_from(program(), task, state)(LAZY, roots[LAZY]) == roots[LAZY + 1]
    weights = commit(run.groups(EVERY)["weights_before"], task.leaf_bytes)
    with pytest.raises(VerificationError, match="not the table of the record's optimizer_before"):
        root_of_record(run.signed(EVERY).record, weights)


@pytest.mark.parametrize("liar", [CLAIMANT, CHALLENGER])
def test_a_lazy_step_loses_by_its_replay(
    runs: dict[str, list[bytes]], start: State, liar: str
) -> None:
    task = toy_task()
    names = ("lazy", "honest") if liar == CLAIMANT else ("honest", "lazy")
    terms = Terms(
        RecordedSteps(STEPS, task.digest), runs["honest"][0], runs[names[0]][-1],
        keys()["ada"].public, keys()["bo"].public, bytes(32),
    )  # fmt: skip
    players = [
        Player(keys()[party], states=runs[name])
        for party, name in zip(("ada", "bo"), names, strict=True)
    ]
    game = play(terms, *players)
    assert game.place == (LAZY,)
    state = state_at(Toy(), task, start, 0, LAZY)
    verdict = decide(game, Evidence(replay=replay_from(Toy(), task, state)))
    assert verdict.losers == (liar,)
    # The liar's program would find for the liar: the judge runs the task's.
    other = decide(game, Evidence(replay=replay_from(Lazy(), task, state)))
    assert other.losers != verdict.losers
    with pytest.raises(VerificationError, match="not the state that both agreed on"):
        decide(game, Evidence(replay=replay_from(Toy(), task, start)))
    assert root_of_state(task, state) == game.level.agreed
