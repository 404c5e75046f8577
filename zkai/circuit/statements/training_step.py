"""training_step/1: one or several SGD steps of a head.

The rows are a committed batch or, with `dataset`, drawn from the fork's dataset by a beacon.

Specified in circuits/training_step/README.md; its arithmetic is zkai.model.training's, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import one_hot
from zkai.circuit.gadgets.range import bit_tensor, check_range, check_signed, signed_bound
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments, linked
from zkai.circuit.statements.base import (
    COMMIT,
    PLAIN,
    STEP_BITS,
    Format,
    PublicValues,
    bind_context,
    check_format,
    check_head,
    check_names,
    describe_format,
    field_element,
    int_tensor,
    integer,
)
from zkai.circuit.statements.batch_order import (
    ORDER_INPUTS,
    assign_order,
    order_gadget,
    public_order,
)
from zkai.circuit.statements.dataset import DatasetShape, check_shape
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    hold_state,
)
from zkai.circuit.statements.sgd import sgd_step
from zkai.circuit.tensor import Field, Tensor
from zkai.errors import InvalidInput
from zkai.model import training
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "training_step/1"
MAX_STEPS = 256
MAX_ROWS = 1 << 20

LINKS = ("old_link", "new_link")

FIELD_INPUTS = ("model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")


@dataclass(frozen=True)
class TrainingStep:
    """Prove `steps` SGD steps of `head` on batches of `batch` rows each.

    The new state of step t is the old state of step t + 1: both are the same commitment. With
    `dataset` the fork has terms (fork_terms.py), and the rows are those that its beacon draws.
    With weights_commitment "kzg" the states are linked polynomials (linked.py).
    `learning_rate` is the default of a proof that names none.

    Raises InvalidInput for sizes out of range or a learning rate that the head cannot express.
    """

    head: Head
    batch: int
    steps: int = 1
    loss: Literal["softmax"] = "softmax"
    learning_rate: float | None = field(default=None, compare=False)
    format: Format = PLAIN
    dataset: DatasetShape | None = None
    weights_commitment: WeightsCommitment = POSEIDON
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_head(VERSION, self.head)
        integer(VERSION, "batch", self.batch, 1, MAX_ROWS)
        integer(VERSION, "steps", self.steps, 1, MAX_STEPS)
        if not isinstance(self.loss, str) or self.loss != "softmax":
            raise InvalidInput(f"{VERSION}: loss must be 'softmax', got {self.loss!r}")
        if self.learning_rate is not None:
            training.learning_rate(self.head, self.learning_rate, self.batch)
        check_format(VERSION, self.format)
        linked.check_weights_commitment(VERSION, self.weights_commitment, self.format)
        if self.dataset is not None:
            check_shape(VERSION, self.dataset)
            self.dataset.leaves(f"{VERSION}: batch", self.batch)
        self.head.widths(self.batch)
        commitments.check_velocity_width(self.head, self.batch)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.batch, self.steps, self.format, self.dataset, self.links)

    @property
    def links(self) -> tuple[str, ...]:
        """The signals that name linked states."""
        return LINKS if self.weights_commitment == KZG else ()

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {
            "statement": VERSION,
            "head": self.head.describe(),
            "batch": self.batch,
            "steps": self.steps,
            "loss": self.loss,
        }
        if self.dataset is not None:
            description["dataset"] = asdict(self.dataset)
        description |= linked.describe_weights(self.weights_commitment)
        return description | describe_format(self.format)

    @property
    def _elements(self) -> tuple[str, ...]:
        """The single field elements among the values; a fork with terms is numbered by them."""
        computed = () if self.dataset is None else ("fork", "batch_salt")
        return tuple(name for name in FIELD_INPUTS if name not in computed)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: weights of the head's shape, velocity with momentum and frozen (frozen_size,)
        where the head has such weights, of the old state; x (steps * batch, features), labels
        (steps * batch,); the integer learning_rate c unless the statement has a default; step, the
        old state's; and the field elements model, fork, context, secret, old_salt, new_salt,
        batch_salt. With a dataset, `order_values` in place of fork and batch_salt. With linked
        states also old_link and new_link, the links of `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        given = self._given(values, self.links)
        if self.links:
            given |= {name: field_element(VERSION, name, values[name]) for name in self.links}
            for name, state in self.linked_states(values).items():
                given[linked.blinders_name(name)] = state.blinders
        return given

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return the old and the new state where they are linked; `values` may lack the links."""
        if not self.links:
            return {}
        given = self._given(values)
        states = (_state(given), given["old_salt"]), (self.new_state(values), given["new_salt"])
        return {n: LinkedState.of(*state) for n, state in zip(LINKS, states, strict=True)}

    def _given(self, values: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
        """Return the circuit's inputs but links and blinders."""
        head = self.head
        tensors = ["weights", "x", "labels", *(["velocity"] if head.has_velocity else [])]
        tensors += ["frozen"] if head.frozen_size else []
        required = [*required, *tensors, "step", *self._elements]
        required += [] if self.dataset is None else ORDER_INPUTS
        check_names(VERSION, values, required, ["learning_rate", *self.links])
        rows = self.steps * self.batch
        limits = {
            "weights": (head.shape, *signed_bound(head.weight_width)),
            "frozen": ((head.frozen_size,), *signed_bound(head.weight_width)),
            "velocity": (head.shape, *signed_bound(head.widths(self.batch)["v"])),
            "x": ((rows, head.features), *signed_bound(head.input_width)),
            "labels": ((rows,), 0, head.classes - 1),
        }
        inputs: dict[str, Any] = {
            name: int_tensor(VERSION, name, values[name], *limits[name]) for name in tensors
        }
        last = (1 << STEP_BITS) - 1 - self.steps
        inputs["step"] = integer(VERSION, "step", values["step"], 0, last)
        inputs["learning_rate"] = self._rate(values)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in self._elements}
        if self.dataset is not None:
            inputs |= assign_order(VERSION, self.dataset, self.steps, rows, values)
        return inputs

    def _rate(self, values: Mapping[str, Any]) -> int:
        if "learning_rate" in values:
            top = (1 << self.head.rate_bits) - 1
            return integer(VERSION, "learning_rate", values["learning_rate"], 1, top)
        if self.learning_rate is None:
            raise InvalidInput(f"{VERSION}: missing learning_rate")
        return training.learning_rate(self.head, self.learning_rate, self.batch)

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the state after the steps, by the integer reference.

        Raises InvalidInput as `assign` does, and naming the tensor if a step overflows.
        """
        given = self._given(values)
        state = _state(given)
        for start in range(0, self.steps * self.batch, self.batch):
            part = slice(start, start + self.batch)
            x, labels = given["x"][part], given["labels"][part]
            state = training.sgd_step(self.head, state, x, labels, given["learning_rate"])
        return state

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        user = commitments.user_commitment(given["secret"])
        first, last = given["step"], given["step"] + self.steps
        data = self._data_signals(values, given)
        fork = data.pop("fork")
        names = {"model": given["model"], "fork": fork, "user": user}
        old, new = ((_state(given), "old", first), (self.new_state(values), "new", last))
        commit = partial(linked.bound_commitment, self.head, given, names)
        return {
            "old_state": commit(*old),
            "new_state": commit(*new),
            **data,
            "user": user,
            "model": given["model"],
            "fork": fork,
            "step": first,
            "learning_rate": given["learning_rate"],
            "context": given["context"],
            **{name: given[name] for name in self.links},
        }

    def _data_signals(self, values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the signals that name the rows, and the fork."""
        if self.dataset is not None:
            return public_order(self.head, self.dataset, values, self.steps, given["step"])
        x, labels, salt = given["x"], given["labels"], given["batch_salt"]
        batch = commitments.batch_commitment(self.head, x, labels, salt)
        return {"batch": batch, "fork": given["fork"]}


def _state(given: Mapping[str, Any]) -> HeadState:
    return HeadState(given["weights"], given.get("velocity"), given.get("frozen"))


@lru_cache(maxsize=4)
def _build(
    head: Head,
    batch: int,
    steps: int,
    proof_format: Format,
    dataset: DatasetShape | None,
    links: tuple[str, ...],
) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT, links=len(links))
    old_state, new_state = builder.public_field("old_state"), builder.public_field("new_state")
    data = _data_signals(builder, dataset, steps)
    user_signal = builder.public_field("user")
    model, fork = builder.public_field("model"), builder.public_field("fork")
    step, rate = builder.public_int("step"), builder.public_int("learning_rate")
    context, link_signals = builder.public_field("context"), declare_links(builder, links)
    bind_context(builder, context)

    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    step, rate = _check_numbers(builder, head, step, rate)
    weights, velocity = _old_state(builder, head, batch)
    frozen, digest = _frozen(builder, head)
    x, labels, targets = _batch(builder, head, batch * steps)
    if dataset is not None:
        assert data[1] is not None
        with builder.at("batch"):
            signals = (data[0], data[1], fork)
            order_gadget(builder, head, dataset, batch, signals, step, x, labels)
    names = {"model": model, "fork": fork, "user": user}
    with builder.at("old state"):
        hold_state(
            builder, head, "old", old_state, link_signals, (weights, velocity, digest), step, names
        )
    if dataset is None:
        with builder.at("batch"):
            salt = builder.private_field("batch_salt")
            made = commitments.batch_gadget(builder, head, x, labels, salt)
            builder.bind_public(data[0], made)
    for number in range(steps):
        part = slice(number * batch, (number + 1) * batch)
        with builder.at("step" if steps == 1 else f"step {number + 1}"):
            weights, velocity = sgd_step(
                builder, head, weights, velocity, x[part], targets[part], rate, frozen
            )
    with builder.at("new state"):
        hold_state(
            builder,
            head,
            "new",
            new_state,
            link_signals,
            (weights, velocity, digest),
            step + steps,
            names,
        )
    return builder.build()


def _data_signals(
    builder: Builder, dataset: DatasetShape | None, steps: int
) -> tuple[Field, Tensor | None]:
    """Declare the signals that name the rows: a batch's, or a beacon's values and rounds."""
    if dataset is None:
        return builder.public_field("batch"), None
    return builder.public_field("beacon", steps), builder.public_int("beacon_round", (steps,))


def _check_numbers(
    builder: Builder, head: Head, step: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    with builder.at("step number"):
        step = check_range(builder, step, 0, (1 << STEP_BITS) - 1)
    with builder.at("learning rate"):
        # 1 <= c < 2**bits, from both sides.
        top = (1 << head.rate_bits) - 1
        check_range(builder, rate - 1, 0, top)
        bit_tensor(builder, rate, head.rate_bits)
        rate = builder.with_bound(rate, 1, top)
    return step, rate


def _old_state(builder: Builder, head: Head, batch: int) -> tuple[Tensor, Tensor | None]:
    """Return the old weights and velocity, range-checked: packing alone does not bind them."""
    with builder.at("old weights"):
        weights = builder.private_int("weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
    if not head.has_velocity:
        return weights, None
    with builder.at("old velocity"):
        velocity = builder.private_int("velocity", head.shape)
        return weights, check_signed(builder, velocity, head.widths(batch)["v"], "velocity")


def _frozen(builder: Builder, head: Head) -> tuple[Tensor | None, Field | None]:
    """Return the weights that are not trained, range-checked, and their digest."""
    if not head.frozen_size:
        return None, None
    with builder.at("frozen weights"):
        frozen = builder.private_int("frozen", (head.frozen_size,))
        frozen = check_signed(builder, frozen, head.weight_width, "frozen")
        return frozen, commitments.frozen_gadget(builder, head, frozen)


def _batch(builder: Builder, head: Head, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inputs, the labels and the labels as one-hot rows, range-checked."""
    with builder.at("inputs"):
        x = builder.private_int("x", (rows, head.features))
        x = check_signed(builder, x, head.input_width, "x")
    with builder.at("labels"):
        labels = builder.private_int("labels", (rows,))
        targets = one_hot(builder, "one-hot", lambda y: y, [labels], (rows,), head.classes)
        builder.constrain_equal(labels, (targets * np.arange(head.classes)).sum(-1), "label")
        return x, builder.with_bound(labels, 0, head.classes - 1), targets
