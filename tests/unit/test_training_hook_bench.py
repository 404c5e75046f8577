"""The benchmark of the training hook: what it adds to a step, from steps of three kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import training_hook
from bench.training_hook import Subject, measure, overhead


def test_the_overhead_is_that_of_one_record_in_every_steps() -> None:
    figures = {
        "plain": {"step_s": 1.0}, "ordinary": {"step_s": 1.01}, "recorded": {"step_s": 2.0},
    }  # fmt: skip
    # 99 steps a hundredth longer, and one twice as long.
    assert overhead(figures, "step_s", 100) == pytest.approx(1.99)


def test_plain_and_recorded_steps_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("VOCABULARY", 16), ("TOKENS", 4), ("BATCH", 2), ("HEADS", 1)):
        monkeypatch.setattr(training_hook, name, value)
    plain, hooked = Subject(1, 8, 2, None), Subject(1, 8, 2, tmp_path / "run")
    found = measure(plain, hooked, 5, 2)
    assert {name: len(values) for name, values in found.items()} == {
        "plain": 4, "ordinary": 2, "recorded": 2,
    }  # fmt: skip
    assert hooked.hook is not None
    hooked.hook.abandon()
