"""apply_aggregate/1: a state plus a public update gives the fork's next state.

Specified in circuits/apply_aggregate/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack, packed_length
from zkai.circuit.gadgets.range import check_range, check_signed, signed_bound
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments
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
from zkai.circuit.tensor import Ints, concat_fields
from zkai.encoding import from_limbs
from zkai.model import training
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "apply_aggregate/1"

FIELD_INPUTS = ("model", "fork", "context", "secret", "old_salt", "new_salt")


@dataclass(frozen=True)
class ApplyAggregate:
    """Prove that a fork's next state is its state with a public update added to the weights.

    The velocity is carried over unchanged and the step number grows by one.
    """

    head: Head
    format: Format = PLAIN
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        check_head(VERSION, self.head)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.format)

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {"statement": VERSION, "head": self.head.describe()}
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: weights of the head's shape, velocity with momentum and frozen where the head has
        such weights, of the old state; update, of the weights' shape and scale; step, the old
        state's; and the field elements model, fork, context, secret, old_salt, new_salt.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        state, update = self._tensors(values)
        inputs: dict[str, Any] = {"weights": state.weights, "delta": update}
        if state.velocity is not None:
            inputs["velocity"] = from_limbs(pack(state.velocity, commitments.VELOCITY_BITS))
        if state.frozen is not None:
            inputs["frozen"] = commitments.frozen_digest(self.head, state.frozen)
        inputs["step"] = integer(VERSION, "step", values["step"], 0, (1 << STEP_BITS) - 2)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}
        return inputs

    def _tensors(self, values: Mapping[str, Any]) -> tuple[HeadState, Ints]:
        head = self.head
        limits = {
            "weights": (head.shape, *signed_bound(head.weight_width)),
            "update": (head.shape, *signed_bound(head.weight_width + 1)),
        }
        if head.has_velocity:
            limits["velocity"] = (head.shape, *signed_bound(commitments.VELOCITY_BITS))
        if head.frozen_size:
            limits["frozen"] = ((head.frozen_size,), *signed_bound(head.weight_width))
        check_names(VERSION, values, [*limits, "step", *FIELD_INPUTS])
        tensors = {
            name: int_tensor(VERSION, name, values[name], *limit) for name, limit in limits.items()
        }
        state = HeadState(tensors["weights"], tensors.get("velocity"), tensors.get("frozen"))
        return state, tensors["update"]

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the state after the update, by the integer reference.

        Raises InvalidInput as `assign` does, and naming the tensor if a weight overflows.
        """
        return training.apply_update(self.head, *self._tensors(values))

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        state, update = self._tensors(values)
        user = commitments.user_commitment(given["secret"])
        names = {"model": given["model"], "fork": given["fork"], "user": user}
        step = given["step"]
        return {
            "old_state": commitments.state_commitment(
                self.head, state, step=step, salt=given["old_salt"], **names
            ),
            "new_state": commitments.state_commitment(
                self.head, self.new_state(values), step=step + 1, salt=given["new_salt"], **names
            ),
            "update": commitments.update_digest(self.head, update),
            "user": user,
            "model": given["model"],
            "fork": given["fork"],
            "step": step,
            "context": given["context"],
        }


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT)
    old_state, new_state = builder.public_field("old_state"), builder.public_field("new_state")
    update_signal, user_signal = builder.public_field("update"), builder.public_field("user")
    model, fork = builder.public_field("model"), builder.public_field("fork")
    step = builder.public_int("step")
    bind_context(builder, builder.public_field("context"))
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("step number"):
        step = check_range(builder, step, 0, (1 << STEP_BITS) - 1)
    with builder.at("old weights"):
        weights = builder.private_int("weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
    with builder.at("new weights"):
        update = builder.private_int("delta", head.shape)
        new_weights = check_signed(
            builder, weights + update, head.weight_width, "weights after the update"
        )
        # The difference of two weights in range needs no check of its own.
        update = new_weights - weights
    with builder.at("update"):
        builder.bind_public(update_signal, commitments.update_gadget(builder, head, update))
    # Packed velocity and frozen weights' digest are only carried over: whatever the old state
    # holds, the new one holds.
    frozen = builder.private_field("frozen") if head.frozen_size else None
    n = packed_length(weights.size, commitments.VELOCITY_BITS) if head.has_velocity else 0
    velocity = [builder.private_field("velocity", n)] if n else []
    states = [
        ("old state", old_state, weights, step, "old_salt"),
        ("new state", new_state, new_weights, step + 1, "new_salt"),
    ]
    for node, signal, tensor, number, salt in states:
        with builder.at(node):
            packed = commitments.pack_state(builder, head, tensor, None, frozen)
            packed = concat_fields([packed, *velocity])
            names = {"model": model, "fork": fork, "user": user}
            commitments.bind_state(builder, head, signal, packed, step=number, salt=salt, **names)
    return builder.build()
