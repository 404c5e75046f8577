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
from zkai.circuit.gadgets.poseidon import hash_elements
from zkai.circuit.gadgets.range import check_range, signed_bound
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
from zkai.circuit.statements.fork_terms import TERMS, check_term, fork_gadget, fork_number
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    WeightsCommitment,
    check_weights_commitment,
    describe_weights,
)
from zkai.circuit.tensor import Ints
from zkai.encoding import from_limbs
from zkai.model.heads import Head

VERSION = "skip_step/1"

FIELD_INPUTS = ("model", "context", "secret", "old_salt", "new_salt")


@dataclass(frozen=True)
class SkipStep:
    """Prove that a fork's next state is its state, with the step number one larger.

    For a step that cannot be taken: it would overflow, or its rows cannot be opened. The fork's
    terms say how many there may be; the proof shows that number, and whoever reads the history
    counts. With weights_commitment "kzg" the states are linked polynomials (linked.py): the link is
    carried over, and so is the salt that the polynomial's blinders follow from.
    """

    head: Head
    format: Format = PLAIN
    weights_commitment: WeightsCommitment = POSEIDON
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        check_head(VERSION, self.head)
        # No polynomial is opened here, so that either format can carry its link.
        check_weights_commitment(VERSION, self.weights_commitment, COMMIT)

    @property
    def linked(self) -> bool:
        """Whether the states hold a link in place of packed tensors."""
        return self.weights_commitment == KZG

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.format, self.linked)

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {"statement": VERSION, "head": self.head.describe()}
        description |= describe_weights(self.weights_commitment)
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: weights, with momentum velocity, and frozen where the head has such weights, of
        the state, or, of a linked state, its link and frozen; its step; the fork's terms, each by
        its name; and the field elements model, context, secret, old_salt, new_salt.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        tensors = self._tensors(values)
        inputs: dict[str, Any] = {"packed": self._packed(values, tensors)}
        inputs["step"] = integer(VERSION, "step", values["step"], 0, (1 << STEP_BITS) - 2)
        inputs |= {name: check_term(VERSION, name, values[name]) for name in TERMS}
        return inputs | {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}

    def _tensors(self, values: Mapping[str, Any]) -> dict[str, Ints]:
        head = self.head
        limits = {} if self.linked else {"weights": (head.shape, *signed_bound(head.weight_width))}
        if head.has_velocity and not self.linked:
            limits["velocity"] = (head.shape, *signed_bound(commitments.VELOCITY_BITS))
        if head.frozen_size:
            limits["frozen"] = ((head.frozen_size,), *signed_bound(head.weight_width))
        more = ["link"] if self.linked else []
        check_names(VERSION, values, [*limits, *more, "step", *TERMS, *FIELD_INPUTS])
        return {
            name: int_tensor(VERSION, name, values[name], *limit) for name, limit in limits.items()
        }

    def _packed(self, values: Mapping[str, Any], tensors: Mapping[str, Ints]) -> list[int]:
        """Return what a state's commitment holds of the state."""
        head = self.head
        found = commitments.frozen_elements(head, tensors.get("frozen"))
        if self.linked:
            return [*found, field_element(VERSION, "link", values["link"])]
        found += from_limbs(pack(tensors["weights"], head.weight_width))
        if head.has_velocity:
            found += from_limbs(pack(tensors["velocity"], commitments.VELOCITY_BITS))
        return found

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        user, fork = commitments.user_commitment(given["secret"]), fork_number(given)
        names = {"model": given["model"], "fork": fork, "user": user}
        step = given["step"]
        return {
            "old_state": self._state(given, names, "old", step),
            "new_state": self._state(given, names, "new", step + 1),
            "max_skips": given["max_skips"],
            "user": user,
            "model": given["model"],
            "fork": fork,
            "step": step,
            "context": given["context"],
        }

    def _state(
        self, given: Mapping[str, Any], names: Mapping[str, int], which: str, step: int
    ) -> int:
        """Return a state's commitment: the elements of `commitments.state_commitment`."""
        label = linked.STATE if self.linked else commitments.STATE
        named = [names["model"], names["fork"], step, names["user"], given[f"{which}_salt"]]
        return hash_elements(label, [commitments.architecture(self.head), *named, *given["packed"]])


def packed_size(head: Head, is_linked: bool) -> int:
    """Return how many elements of a state's commitment hold its tensors, or its link."""
    if is_linked:
        return 1 + (head.frozen_size > 0)
    n = prod(head.shape)
    velocity = packed_length(n, commitments.VELOCITY_BITS) if head.has_velocity else 0
    return packed_length(n, head.weight_width) + velocity + (head.frozen_size > 0)


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format, is_linked: bool) -> Circuit:
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
    packed = builder.private_field("packed", packed_size(head, is_linked))
    label = linked.STATE if is_linked else commitments.STATE
    names = {"model": model, "fork": fork, "user": user}
    for node, signal, number in (
        ("old state", old_state, step),
        ("new state", new_state, step + 1),
    ):
        salt = f"{node[:3]}_salt"
        with builder.at(node):
            commitments.bind_state(
                builder, head, signal, packed, step=number, salt=salt, label=label, **names
            )
    return builder.build()
