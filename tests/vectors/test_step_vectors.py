"""Tasks, step roots and draws are those of the vectors, which other code computed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vectors import make_step_vectors
from zkai.compute.challenge import SAMPLE, Challenge, Drawn, _draw, _drawn_place
from zkai.compute.record import Record
from zkai.compute.task import Environment, Task
from zkai.encoding import parse_hex32


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make_step_vectors.PATH.read_text())
    assert found == make_step_vectors.build()
    return found


def test_tasks(vectors: dict[str, Any]) -> None:
    task = Task.from_bytes(vectors["task"]["text"].encode())
    assert task.digest == parse_hex32(vectors["task"]["digest"], "digest")
    for step, seed in vectors["task"]["seeds"].items():
        assert str(task.seed_of(int(step))) == seed


def record(vectors: dict[str, Any]) -> Record:
    said = vectors["step"]
    task = Task.from_bytes(vectors["task"]["text"].encode())
    return Record(
        task.digest, parse_hex32(said["trainer"], "t"), said["step"],
        parse_hex32(said["previous"], "p"), Environment.from_json(said["environment"]),
        {name: parse_hex32(root, name) for name, root in said["groups"].items()},
    )  # fmt: skip


def test_steps(vectors: dict[str, Any]) -> None:
    assert record(vectors).root == parse_hex32(vectors["step"]["root"], "root")


def test_draws(vectors: dict[str, Any]) -> None:
    said, step = vectors["draw"], record(vectors)
    asked = Challenge(
        step.task, step.root, step.step, SAMPLE, said["group"], None, said["permille"],
        Drawn(parse_hex32(said["beacon"], "beacon")),
    )  # fmt: skip
    assert _drawn_place(asked, said["tensors"]) == said["place"]
    assert _draw(asked, said["tensor"], said["leaves"]).tolist() == said["drawn"]
