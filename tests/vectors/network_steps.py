"""Example steps of heads with hidden layers, and attempts at them, for the statements' vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from canonical_shapes import element, integers

from zkai.circuit.statements.training_step import TrainingStep
from zkai.model import training
from zkai.model.training import HeadState

FIELDS = ("model", "context", "secret", "old_salt", "new_salt", "batch_salt")


def honest_step(statement: TrainingStep) -> dict[str, Any]:
    """Return a step's values."""
    head, label = statement.head, "lora" if statement.head.frozen_size else "mlp"
    values: dict[str, Any] = {
        "weights": integers(f"{label} weights", head.shape, -30000, 30000),
        "x": integers("x", (statement.batch, head.features), -16, 16),
        "labels": integers("labels", (statement.batch,), 0, head.classes - 1),
        "learning_rate": 3,
        "step": 7,
        "fork": 5,
        **{name: element(name) for name in FIELDS},
    }
    if head.has_velocity:
        values["velocity"] = integers(f"{label} velocity", head.shape, -3000, 3000)
    if head.frozen_size:
        values["frozen"] = integers("frozen", (head.frozen_size,), -60000, 60000)
    return values


def step_attempts(statement: TrainingStep, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return attempts: a name each, and what is forged."""
    head, weights = statement.head, values["weights"]
    kept = {"values": {"weights": _changed(weights, 1 << 19)}}
    attempts = [
        {"name": "weight out of width", **kept},
        {"name": "old weights that pack alike", "inputs": {"weights": _moved(weights)}},
        {"name": "a sum of the backward pass", "hint": ("step/error of layer 1/matmul", 0, 1)},
        {"name": "hidden layer one higher", "hint": ("step/layer 1/quotient", 0, 1)},
        {"name": "hidden layer one lower", "hint": ("step/layer 1/quotient", 3, -1)},
        {"name": "rectified value", "hint": ("step/layer 1/relu", 1, 1)},
    ]
    for block in head.blocks:
        for what in ("gradient/matmul", "update/quotient"):
            name = f"{what.split('/')[0]} of {block.name}"
            attempts.append({"name": name, "hint": (f"step/{block.name}/{what}", 0, 1)})
    if head.frozen_size:
        frozen = values["frozen"]
        other = {"inputs": {"frozen": _moved(frozen)}}
        attempts.append({"name": "frozen weights that pack alike", **other})
        attempts.append({"name": "frozen weight out of width",
                         "values": {"frozen": _changed(frozen, -(1 << 19) - 1)}})  # fmt: skip
        place = ("step/layer 1/factors/quotient", 0, 1)
        attempts.append({"name": "low-rank activation", "hint": place})
        place = ("step/error of layer 1 A/quotient", 0, -1)
        attempts.append({"name": "error of a factor", "hint": place})
    else:
        backward = {"hint": _new_weights(statement, values)}
        attempts.append({"name": "backward with the new weights", **backward})
        place = ("step/error of layer 1/quotient", 0, 1)
        attempts.append({"name": "hidden error", "hint": place})
    return attempts


def _new_weights(statement: TrainingStep, values: dict[str, Any]) -> tuple[str, int, int]:
    """Return the first sum of the backward product that the new output weights would change."""
    head = statement.head
    old = HeadState(values["weights"], values.get("velocity"))
    trace = training.trace_step(head, old, values["x"], values["labels"], values["learning_rate"])
    output = head.layers[1].weight
    sums = [trace.error @ output.of(state.weights)[:-1].T for state in (old, trace.state)]
    change = (sums[1] - sums[0]).ravel()
    place = int(np.flatnonzero(change)[0])
    return "step/error of layer 1/matmul", place, int(change[place])


def _changed(tensor: Any, value: int) -> Any:
    result = tensor.copy()
    result[0] = value
    return result


def _moved(tensor: Any) -> Any:
    """Return other integers that pack to the same elements."""
    result = tensor.copy()
    result[0] += 1 << 20
    result[1] -= 1
    return result
