"""Reading a user's named values: real tensors, exact integers, field elements.

A name with the suffix `_integers` takes exact integers instead of real numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zkai.beacon import Beacon, BeaconFile
from zkai.circuit.gadgets.range import signed_bound
from zkai.circuit.statements.base import check_names, field_element, int_tensor
from zkai.circuit.statements.dataset import Dataset
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.linked import WeightsCommitment
from zkai.encoding import FIELD_MODULUS, parse_decimal
from zkai.errors import InvalidInput
from zkai.model.fixed_point import MAX_WIDTH, IntArray, to_fixed
from zkai.model.heads import Head
from zkai.opening import UserState


class Reader:
    """Takes named values one by one, and refuses those that nobody took."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{where}: expected a mapping of names to values")
        self.where = where
        self._values = values
        self._known: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether the user gave a value of this name."""
        return name in self._values

    def take(self, name: str, what: str) -> Any:
        """Return a value. Raises InvalidInput, saying what it is, if it is missing."""
        self._known.append(name)
        if name not in self._values:
            raise InvalidInput(f"{self.where}: missing {name} ({what})")
        return self._values[name]

    def element(self, name: str, default: Callable[[], int]) -> int:
        """Return a field element, given as an integer or a decimal string."""
        self._known.append(name)
        if name not in self._values:
            return default()
        value = self._values[name]
        if isinstance(value, str):
            return parse_decimal(value, f"{self.where}: {name}", FIELD_MODULUS)
        return field_element(self.where, name, value)

    def tensor(self, name: str, scale_bits: int, shape: tuple[int, ...]) -> IntArray:
        """Return a tensor's integers, from real numbers or, exactly, from `name`_integers."""
        exact = f"{name}_integers"
        self._known.append(exact)
        if exact in self._values:
            if name in self._values:
                raise InvalidInput(f"{self.where}: give {name} or {exact}, not both")
            low, high = signed_bound(MAX_WIDTH)
            return int_tensor(self.where, exact, self._values[exact], shape, low, high)
        value = self.take(name, f"real numbers, shape {shape}")
        integers = to_fixed(as_array(f"{self.where}: {name}", value), scale_bits, name)
        if integers.shape != shape:
            raise InvalidInput(
                f"{self.where}: {name}: expected shape {shape}, got {integers.shape}"
            )
        return integers

    def finish(self) -> None:
        """Return None if every value was taken. Raises InvalidInput naming the others."""
        check_names(self.where, self._values, (), self._known)


def as_array(where: str, value: Any) -> npt.NDArray[Any]:
    """Return a value as an array. Raises InvalidInput, naming it, for ragged lists."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{where}: expected lists of numbers of equal lengths") from error


def read_terms(reader: Reader) -> ForkTerms:
    """Return the value `terms`. Raises InvalidInput, naming it, for anything but a fork's terms."""
    value = reader.take("terms", "a fork's terms")
    if isinstance(value, ForkTerms):
        return value
    return ForkTerms.from_json(value, f"{reader.where}: terms")


def read_dataset(reader: Reader) -> Dataset:
    """Return the value `dataset`. Raises InvalidInput, naming it, for anything but a dataset."""
    value = reader.take("dataset", "a dataset with its salt")
    if isinstance(value, Dataset):
        return value
    return Dataset.from_json(value, f"{reader.where}: dataset")


def read_beacon(reader: Reader) -> Beacon:
    """Return the value `beacon`. Raises InvalidInput, naming it, for anything but a beacon."""
    value = reader.take("beacon", "a beacon's rounds")
    if isinstance(value, Mapping):
        return BeaconFile.from_json(value, f"{reader.where}: beacon")
    if not isinstance(value, Beacon):
        raise InvalidInput(f"{reader.where}: beacon: expected a beacon, got {type(value).__name__}")
    return value


class TwoStates(Protocol):
    """A statement about an old and a new state of one fork."""

    @property
    def head(self) -> Head:
        """The head that both states are of."""

    @property
    def links(self) -> tuple[str, ...]:
        """The signals of linked states; none for hashed ones."""

    @property
    def weights_commitment(self) -> WeightsCommitment:
        """How both states commit to their weights."""


def read_two_states(reader: Reader, statement: TwoStates) -> tuple[UserState, dict[str, Any]]:
    """Return the new state, and what a statement takes of `old_state` and `new_state`.

    Raises InvalidInput, naming the value, for anything but states of the statement's head and
    kind of commitment, or for states that are not of one fork.
    """
    states = {side: _read_state(reader, statement, f"{side}_state") for side in ("old", "new")}
    old, new = states["old"], states["new"]
    for name in ("model", "fork", "secret"):
        if getattr(old, name) != getattr(new, name):
            raise InvalidInput(f"{reader.where}: new_state: of another {name} than old_state")
    exact: dict[str, Any] = {"model": new.model, "fork": new.fork, "secret": new.secret}
    exact |= {"old_step": old.step, "step": new.step}
    for side, state in states.items():
        exact |= {f"{side}_weights": state.values.weights, f"{side}_salt": state.salt}
        if state.values.velocity is not None:
            exact[f"{side}_velocity"] = state.values.velocity
    if new.values.frozen is not None:
        exact["frozen"] = new.values.frozen
    return new, exact


def _read_state(reader: Reader, statement: TwoStates, name: str) -> UserState:
    value = reader.take(name, "a state, of a proof's opening")
    if not isinstance(value, UserState):
        value = UserState.from_json(value, statement.head, f"{reader.where}: {name}")
    if value.head != statement.head:
        raise InvalidInput(f"{reader.where}: {name}: of another head than the statement's")
    if (value.link is not None) != bool(statement.links):
        raise InvalidInput(
            f"{reader.where}: {name}: its commitment is of another kind than the statement's"
            f" weights_commitment {statement.weights_commitment!r}"
        )
    return value
