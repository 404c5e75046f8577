"""What only the prover keeps: salts, the user's secret, and the state that the next step needs.

An opening file holds them as JSON that its owner alone can read:

    {"format": "zkai.opening/1", "statement", "commitments": {signal: decimal},
     "salts": {name: decimal}, "state": null or {"architecture", "model", "fork", "step", "secret",
     "salt", "weights", "velocity"[, "frozen"][, "link"]}}

Whoever loses it cannot open the commitments or go on from the state; whoever reads it can test
guesses of what was committed to.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zkai.circuit.gadgets.link import BLINDERS
from zkai.circuit.statements import linked
from zkai.circuit.statements.base import STEP_BITS
from zkai.circuit.statements.commitments import architecture, state_commitment, user_commitment
from zkai.encoding import (
    FIELD_MODULUS,
    as_path,
    load_json,
    parse_decimal,
    read_capped,
    write_atomic,
)
from zkai.errors import InvalidInput
from zkai.model.fixed_point import IntArray
from zkai.model.head_state import HeadState, check_state
from zkai.model.heads import Head

FORMAT = "zkai.opening/1"
MAX_BYTES = 1 << 30

MAX_OPENINGS = BLINDERS - 1
"""How often a linked state's polynomial may be opened before its openings tell of the weights."""

_opened: Counter[int] = Counter()


@dataclass(frozen=True)
class UserState:
    """A fork's private state after `step` steps: everything that its commitment covers.

    A linked state's commitment holds `link`, the name of a polynomial's commitment, in place of its
    tensors. That one hides them for 63 openings: a proof about the state is one, failed or not.
    """

    head: Head
    values: HeadState = field(repr=False)
    model: int
    fork: int
    step: int
    secret: int = field(repr=False)
    salt: int = field(repr=False)
    link: int | None = None

    @property
    def user(self) -> int:
        """The user's public name: the commitment to the secret."""
        return user_commitment(self.secret)

    @property
    def commitment(self) -> int:
        """The state's public commitment, `new_state` of one proof and `old_state` of the next."""
        names = {"model": self.model, "fork": self.fork, "user": self.user}
        if self.link is None:
            return state_commitment(self.head, self.values, step=self.step, salt=self.salt, **names)
        return linked.state_commitment(
            self.head,
            self.link,
            step=self.step,
            salt=self.salt,
            frozen=self.values.frozen,
            **names,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        velocity = self.values.velocity
        state = {
            "architecture": str(architecture(self.head)),
            "model": str(self.model),
            "fork": str(self.fork),
            "step": self.step,
            "secret": str(self.secret),
            "salt": str(self.salt),
            "weights": self.values.weights.tolist(),
            "velocity": None if velocity is None else velocity.tolist(),
        }
        if self.values.frozen is not None:
            state["frozen"] = self.values.frozen.tolist()
        return state if self.link is None else {**state, "link": str(self.link)}

    @staticmethod
    def from_json(value: Any, head: Head, where: str) -> UserState:
        """Parse `to_json`'s form for a head.

        Raises InvalidInput, naming the field, for anything malformed and for another head's state.
        """
        fields = (*_STATE_FIELDS, "frozen") if head.frozen_size else _STATE_FIELDS
        is_linked = isinstance(value, dict) and "link" in value
        fields = (*fields, "link") if is_linked else fields
        _expect(value, fields, where)
        if value["architecture"] != str(architecture(head)):
            raise InvalidInput(f"{where}: this state is of another head than the statement's")
        numbers = {
            name: parse_decimal(value[name], f"{where}.{name}", FIELD_MODULUS)
            for name in ("model", "fork", "secret", "salt", *(["link"] if is_linked else []))
        }
        step = value["step"]
        if type(step) is not int or not 0 <= step < 1 << STEP_BITS:
            raise InvalidInput(f"{where}.step: expected an integer of 0 to {(1 << STEP_BITS) - 1}")
        velocity = value["velocity"]
        state = HeadState(
            _integers(value["weights"], f"{where}.weights"),
            None if velocity is None else _integers(velocity, f"{where}.velocity"),
            _integers(value["frozen"], f"{where}.frozen") if head.frozen_size else None,
        )
        try:
            check_state(head, state)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error
        return UserState(head, state, step=step, **numbers)


_STATE_FIELDS = (
    "architecture", "model", "fork", "step", "secret", "salt", "weights", "velocity",
)  # fmt: skip
_FIELDS = ("format", "statement", "commitments", "salts", "state")


@dataclass(frozen=True)
class Opening:
    """What opens one proof's commitments.

    `commitments` are the public signals concerned and `salts` what blinds them; `state` is the
    private state after a training statement.
    """

    statement: str
    commitments: Mapping[str, int]
    salts: Mapping[str, int] = field(repr=False)
    state: UserState | None = None

    @property
    def holds_secrets(self) -> bool:
        """Whether there is anything here that the proof's maker must keep."""
        return bool(self.salts) or self.state is not None

    def to_json(self) -> dict[str, Any]:
        """Return the opening as JSON values."""
        return {
            "format": FORMAT,
            "statement": self.statement,
            "commitments": {name: str(value) for name, value in self.commitments.items()},
            "salts": {name: str(value) for name, value in self.salts.items()},
            "state": None if self.state is None else self.state.to_json(),
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


def count_openings(where: str, links: Collection[int]) -> None:
    """Count one more opening of the linked states with these links, in this process.

    A process that ends forgets: whoever proves from one state in several counts them together.

    Raises InvalidInput, counting none, if a state was opened 63 times: the next opening would give
    a linear relation of its weights away (docs/decisions/0008-kzg-link.md).
    """
    if any(_opened[link] >= MAX_OPENINGS for link in links):
        raise InvalidInput(
            f"{where}: this linked state was opened {MAX_OPENINGS} times; another proof about it"
            " would tell something of its weights. Go on from a new state: a step, or an aggregate"
            " with a zero update, makes one"
        )
    _opened.update(links)


def read_state(path: Path | str, head: Head) -> UserState:
    """Return the state that an opening file holds.

    Raises InvalidInput, naming the file and the field, for anything malformed, for an opening
    without a state, and for a state of another head.
    """
    value = load_json(read_capped(path, MAX_BYTES), str(path))
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise InvalidInput(f"{path}: format {found!r}, expected {FORMAT!r}")
    _expect(value, _FIELDS, str(path))
    if value["state"] is None:
        raise InvalidInput(f"{path}: the opening of a {value['statement']!r} proof has no state")
    return UserState.from_json(value["state"], head, f"{path}: state")


def _expect(value: Any, names: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected a JSON object")
    if missing := [name for name in names if name not in value]:
        raise InvalidInput(f"{where}: missing {', '.join(missing)}")
    if unknown := sorted(set(value) - set(names)):
        raise InvalidInput(f"{where}: unknown {', '.join(unknown)}")


def _integers(value: Any, where: str) -> IntArray:
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{where}: expected lists of integers of equal lengths") from error
    if array.dtype != np.int64:
        raise InvalidInput(f"{where}: expected lists of 64-bit integers")
    return array
