"""apply_aggregate/1: a state plus a public update gives the fork's next state.

Specified in circuits/apply_aggregate/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack, packed_length
from zkai.circuit.gadgets.range import check_range, check_signed, signed_bound
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
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    hold_state,
)
from zkai.circuit.tensor import Ints
from zkai.encoding import from_limbs
from zkai.model import training
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "apply_aggregate/1"

LINKS = ("old_link", "new_link")

FIELD_INPUTS = ("model", "fork", "context", "secret", "old_salt", "new_salt")


@dataclass(frozen=True)
class ApplyAggregate:
    """Prove that a fork's next state is its state with a public update added to the weights.

    The velocity is carried over unchanged and the step number grows by one. With weights_commitment
    "kzg" the states are linked polynomials (linked.py); the public update is hashed all the same.
    """

    head: Head
    format: Format = PLAIN
    weights_commitment: WeightsCommitment = POSEIDON
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        linked.check_weights_commitment(VERSION, self.weights_commitment, self.format)
        check_head(VERSION, self.head)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.format, self.links)

    @property
    def links(self) -> tuple[str, ...]:
        """The signals that name linked states."""
        return LINKS if self.weights_commitment == KZG else ()

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {"statement": VERSION, "head": self.head.describe()}
        description |= linked.describe_weights(self.weights_commitment)
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: weights of the head's shape, velocity with momentum and frozen where the head has
        such weights, of the old state; update, of the weights' shape and scale; step, the old
        state's; and the field elements model, fork, context, secret, old_salt, new_salt. With
        linked states also old_link and new_link, the links of `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        state, update = self._tensors(values)
        inputs: dict[str, Any] = {"weights": state.weights, "delta": update}
        if state.velocity is not None:
            packed = from_limbs(pack(state.velocity, commitments.VELOCITY_BITS))
            inputs["velocity"] = state.velocity if self.links else packed
        if state.frozen is not None:
            inputs["frozen"] = commitments.frozen_digest(self.head, state.frozen)
        inputs["step"] = integer(VERSION, "step", values["step"], 0, (1 << STEP_BITS) - 2)
        names = (*FIELD_INPUTS, *self.links)
        check_names(VERSION, values, names, values)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in names}
        for name, linked_state in self.linked_states(values).items():
            inputs[linked.blinders_name(name)] = linked_state.blinders
        return inputs

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return the old and the new state where they are linked; `values` may lack the links."""
        if not self.links:
            return {}
        old, _ = self._tensors(values)
        salts = (field_element(VERSION, name, values[name]) for name in ("old_salt", "new_salt"))
        states = zip((old, self.new_state(values)), salts, strict=True)
        return {n: LinkedState.of(*state) for n, state in zip(LINKS, states, strict=True)}

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
        check_names(VERSION, values, [*limits, "step", *FIELD_INPUTS], self.links)
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
        commit = partial(linked.bound_commitment, self.head, given, names)
        return {
            "old_state": commit(state, "old", step),
            "new_state": commit(self.new_state(values), "new", step + 1),
            "update": commitments.update_digest(self.head, update),
            "user": user,
            "model": given["model"],
            "fork": given["fork"],
            "step": step,
            "context": given["context"],
            **{name: given[name] for name in self.links},
        }


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format, links: tuple[str, ...]) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT, links=len(links))
    old_state, new_state = builder.public_field("old_state"), builder.public_field("new_state")
    update_signal, user_signal = builder.public_field("update"), builder.public_field("user")
    model, fork = builder.public_field("model"), builder.public_field("fork")
    step = builder.public_int("step")
    context, link_signals = builder.public_field("context"), declare_links(builder, links)
    bind_context(builder, context)
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
    # Velocity and frozen weights' digest are only carried over, the velocity without a look at its
    # range: whatever the old state holds, the new one holds.
    frozen = builder.private_field("frozen") if head.frozen_size else None
    velocity, carried = None, []
    if head.has_velocity and links:
        velocity = builder.private_int("velocity", head.shape)
    elif head.has_velocity:
        n = packed_length(weights.size, commitments.VELOCITY_BITS)
        carried.append(builder.private_field("velocity", n))
    names = {"model": model, "fork": fork, "user": user}
    for which, signal, tensor, number in (
        ("old", old_state, weights, step),
        ("new", new_state, new_weights, step + 1),
    ):
        with builder.at(f"{which} state"):
            state = tensor, velocity, frozen
            hold_state(
                builder, head, which, signal, link_signals, state, number, names, lambda: carried
            )
    return builder.build()
