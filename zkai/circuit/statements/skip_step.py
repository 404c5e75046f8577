"""skip_step/1: a step that is not taken: the state stays, its number grows, its fork counts it.

Specified in circuits/skip_step/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, ClassVar

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack, packed_length
from zkai.circuit.gadgets.range import check_range, signed_bound
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
from zkai.circuit.statements.commitments import STATE
from zkai.circuit.statements.fork_terms import TERMS, check_term, fork_gadget, fork_number
from zkai.encoding import from_limbs
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "skip_step/1"

FIELD_INPUTS = ("model", "context", "secret", "old_salt", "new_salt")


@dataclass(frozen=True)
class SkipStep:
    """Prove that a fork's next state is its state, with the step number one larger.

    For a step that cannot be taken: it would overflow, or its rows cannot be opened. The fork's
    terms say how many there may be; the proof shows that number, and whoever reads the history
    counts.
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

        `values`: weights, with momentum velocity, and frozen where the head has such weights, of
        the state; its step; the fork's terms, each by its name; and the field elements model,
        context, secret, old_salt, new_salt.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        state = self.new_state(values)
        inputs: dict[str, Any] = {"packed": packed_elements(self.head, state)}
        inputs["step"] = integer(VERSION, "step", values["step"], 0, (1 << STEP_BITS) - 2)
        inputs |= {name: check_term(VERSION, name, values[name]) for name in TERMS}
        return inputs | {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the state after the skip: the one before.

        Raises InvalidInput, naming the tensor, as `assign` does.
        """
        head = self.head
        limits = {"weights": (head.shape, *signed_bound(head.weight_width))}
        if head.has_velocity:
            limits["velocity"] = (head.shape, *signed_bound(commitments.VELOCITY_BITS))
        if head.frozen_size:
            limits["frozen"] = ((head.frozen_size,), *signed_bound(head.weight_width))
        check_names(VERSION, values, [*limits, "step", *TERMS, *FIELD_INPUTS])
        tensors = {
            name: int_tensor(VERSION, name, values[name], *limit) for name, limit in limits.items()
        }
        return HeadState(tensors["weights"], tensors.get("velocity"), tensors.get("frozen"))

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given, state = self.assign(values), self.new_state(values)
        user, fork = commitments.user_commitment(given["secret"]), fork_number(given)
        names = {"model": given["model"], "fork": fork, "user": user}
        step = given["step"]
        return {
            "old_state": commitments.state_commitment(
                self.head, state, step=step, salt=given["old_salt"], **names
            ),
            "new_state": commitments.state_commitment(
                self.head, state, step=step + 1, salt=given["new_salt"], **names
            ),
            "max_skips": given["max_skips"],
            "user": user,
            "model": given["model"],
            "fork": fork,
            "step": step,
            "context": given["context"],
        }


def packed_size(head: Head) -> int:
    """Return how many elements of a state's commitment hold its tensors."""
    n = prod(head.shape)
    velocity = packed_length(n, commitments.VELOCITY_BITS) if head.has_velocity else 0
    return packed_length(n, head.weight_width) + velocity + (head.frozen_size > 0)


def packed_elements(head: Head, state: HeadState) -> list[int]:
    """Return those elements: the frozen weights' digest, the weights, the velocity."""
    found = []
    if state.frozen is not None:
        found.append(commitments.frozen_digest(head, state.frozen))
    found += from_limbs(pack(state.weights, head.weight_width))
    if state.velocity is not None:
        found += from_limbs(pack(state.velocity, commitments.VELOCITY_BITS))
    return found


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT)
    old_state, new_state = builder.public_field("old_state"), builder.public_field("new_state")
    max_skips, user_signal = builder.public_field("max_skips"), builder.public_field("user")
    model, fork_signal = builder.public_field("model"), builder.public_field("fork")
    step = builder.public_int("step")
    bind_context(builder, builder.public_field("context"))
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("step number"):
        step = check_range(builder, step, 0, (1 << STEP_BITS) - 1)
    with builder.at("terms"):
        terms = {n: builder.private_field(n) for n in TERMS if n != "max_skips"}
        fork = fork_gadget(builder, terms | {"max_skips": max_skips})
        builder.bind_public(fork_signal, fork)
    # The packed tensors are only carried over: whatever the old state holds, the new one holds.
    packed = builder.private_field("packed", packed_size(head))
    names = {"model": model, "fork": fork, "user": user}
    for node, signal, number in (
        ("old state", old_state, step),
        ("new state", new_state, step + 1),
    ):
        salt = f"{node[:3]}_salt"
        with builder.at(node):
            commitments.bind_state(
                builder, head, signal, packed, step=number, salt=salt, label=STATE, **names
            )
    return builder.build()
