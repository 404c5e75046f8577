"""What only a training step's prover keeps: the state's numbers, its salts, the user's secret.

An opening file holds them as JSON that its owner alone can read:

    {"format": "zkai.halo2-opening/1", "statement", "commitments": {signal: [decimal, ...]},
     "salts": {name: [limb, ...]}, "state": {"tensors": [[name, shape], ...], "scale", "model",
     "fork", "step", "secret", "vector": [integer, ...]}}

The vector is the committed one, salt included (step_layout.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.circuit.statements.base import STEP_BITS
from zkai.circuit.statements.commitments import user_commitment
from zkai.encoding import (
    FIELD_MODULUS,
    as_path,
    load_json,
    parse_decimal,
    read_capped,
    write_atomic,
)
from zkai.errors import InvalidInput
from zkai.halo2.step_layout import STATE, Layout
from zkai.model.fixed_point import IntArray
from zkai.proof.jsonform import expect_fields

FORMAT = "zkai.halo2-opening/1"
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class StepState:
    """A fork's private state after `step` steps: the vector that its commitment covers."""

    layout: Layout
    vector: IntArray = field(repr=False)
    model: int
    fork: int
    step: int
    secret: int = field(repr=False)

    @property
    def user(self) -> int:
        """The user's public name: the commitment to the secret."""
        return user_commitment(self.secret)

    @property
    def tensors(self) -> dict[str, npt.NDArray[np.float64]]:
        """Weights, velocities times the learning rate, and what is frozen, as real numbers."""
        return self.layout.unpack_state(self.vector)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "tensors": [[name, list(shape)] for name, shape in self.layout.tensors],
            "scale": self.layout.scale,
            "model": str(self.model),
            "fork": str(self.fork),
            "step": self.step,
            "secret": str(self.secret),
            "vector": self.vector.tolist(),
        }

    @staticmethod
    def from_json(value: Any, layout: Layout, where: str) -> StepState:
        """Parse `to_json`'s form for a layout.

        Raises InvalidInput, naming the field, for anything malformed and for another model's state.
        """
        expect_fields(
            value, ("tensors", "scale", "model", "fork", "step", "secret", "vector"), where
        )
        known = [[name, list(shape)] for name, shape in layout.tensors]
        if value["tensors"] != known or value["scale"] != layout.scale:
            raise InvalidInput(f"{where}: this state is of another model than the statement's")
        numbers = {
            name: parse_decimal(value[name], f"{where}.{name}", FIELD_MODULUS)
            for name in ("model", "fork", "secret")
        }
        step = value["step"]
        if type(step) is not int or not 0 <= step < (1 << STEP_BITS) - 1:
            raise InvalidInput(f"{where}.step: expected an integer of 0 to {(1 << STEP_BITS) - 2}")
        try:
            vector = np.array(value["vector"])
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{where}.vector: expected a list of integers") from error
        (length,) = layout.inputs[STATE]
        layout.check_vector(f"{where}.vector", vector, length)
        return StepState(layout, vector, step=step, **numbers)


@dataclass(frozen=True)
class StepOpening:
    """What opens one step's commitments, and the state that the next step starts from."""

    statement: str
    commitments: Mapping[str, tuple[int, ...]]
    salts: Mapping[str, IntArray] = field(repr=False)
    state: StepState

    @property
    def holds_secrets(self) -> bool:
        """There is always something here that the proof's maker must keep."""
        return True

    def to_json(self) -> dict[str, Any]:
        """Return the opening as JSON values."""
        return {
            "format": FORMAT,
            "statement": self.statement,
            "commitments": {n: [str(v) for v in values] for n, values in self.commitments.items()},
            "salts": {name: salt.tolist() for name, salt in self.salts.items()},
            "state": self.state.to_json(),
        }

    def write(self, path: Path | str) -> None:
        """Write the opening where nothing is yet, readable by its owner alone.

        Raises InvalidInput if `path` exists, since it may hold the only copy of another salt, or
        cannot be written.
        """
        if os.path.lexists(as_path(path)):
            raise InvalidInput(
                f"{path}: exists, and may hold the only copy of a salt or a state; move it, or name"
                " another file"
            )
        write_atomic(path, json.dumps(self.to_json()).encode("ascii") + b"\n", mode=0o600)


def read_state(path: Path | str, layout: Layout) -> StepState:
    """Return the state that an opening file holds.

    Raises InvalidInput, naming the file and the field, for anything malformed and for a state of
    another model.
    """
    value = load_json(read_capped(path, MAX_BYTES), str(path))
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise InvalidInput(f"{path}: format {found!r}, expected {FORMAT!r}")
    expect_fields(value, ("format", "statement", "commitments", "salts", "state"), str(path))
    return StepState.from_json(value["state"], layout, f"{path}: state")
