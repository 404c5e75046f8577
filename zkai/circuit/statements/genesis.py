"""genesis/1: a fork's first state is the base model's, freshly salted.

Specified in circuits/genesis/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack_gadget
from zkai.circuit.gadgets.range import check_signed, signed_bound
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments
from zkai.circuit.statements.base import (
    COMMIT,
    PLAIN,
    Format,
    PublicValues,
    bind_context,
    check_format,
    check_head,
    check_names,
    describe_format,
    field_element,
    int_tensor,
)
from zkai.circuit.tensor import as_tensor, concat_fields
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "genesis/1"

FIELD_INPUTS = ("fork", "context", "secret", "model_salt", "new_salt")


@dataclass(frozen=True)
class Genesis:
    """Prove that a fork's state at step 0 holds the base model's weights and zero velocity.

    The base model is named by its salted commitment, or by its public identity (salt 0).
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

        `values`: weights of the head's shape, the base model's, and frozen (frozen_size,) where
        the head has such weights; the field elements fork, context, secret, model_salt (0 for a
        public base model) and new_salt.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        state = self.new_state(values)
        inputs: dict[str, Any] = {"weights": state.weights}
        if state.frozen is not None:
            inputs["frozen"] = commitments.frozen_digest(self.head, state.frozen)
        fields = {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}
        return {**inputs, **fields}

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the fork's first state. Raises InvalidInput as `assign` does."""
        head = self.head
        shapes = {"weights": head.shape}
        if head.frozen_size:
            shapes["frozen"] = (head.frozen_size,)
        check_names(VERSION, values, [*shapes, *FIELD_INPUTS])
        limits = signed_bound(head.weight_width)
        tensors = {
            name: int_tensor(VERSION, name, values[name], shape, *limits)
            for name, shape in shapes.items()
        }
        weights = tensors["weights"]
        velocity = np.zeros_like(weights) if head.has_velocity else None
        return HeadState(weights, velocity, tensors.get("frozen"))

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        user = commitments.user_commitment(given["secret"])
        state = self.new_state(values)
        model = commitments.model_id(self.head, state.weights, given["model_salt"], state.frozen)
        new_state = commitments.state_commitment(
            self.head,
            state,
            model=model,
            fork=given["fork"],
            step=0,
            user=user,
            salt=given["new_salt"],
        )
        return {
            "model": model,
            "new_state": new_state,
            "user": user,
            "fork": given["fork"],
            "context": given["context"],
        }


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT)
    model_signal, new_state = builder.public_field("model"), builder.public_field("new_state")
    user_signal, fork = builder.public_field("user"), builder.public_field("fork")
    bind_context(builder, builder.public_field("context"))
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("weights"):
        weights = builder.private_int("weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
        # The digest is only carried over: whatever the model holds, the state holds.
        frozen = builder.private_field("frozen") if head.frozen_size else None
        packed = commitments.pack_state(builder, head, weights, None, frozen)
    with builder.at("model"):
        salt = builder.private_field("model_salt")
        model = commitments.model_gadget(builder, head, packed, salt)
        builder.bind_public(model_signal, model)
    with builder.at("new state"):
        if head.has_velocity:
            zero = as_tensor(np.zeros(head.shape, np.int64))
            packed = concat_fields([packed, pack_gadget(builder, zero, commitments.VELOCITY_BITS)])
        names = {"model": model, "fork": fork, "user": user}
        zero_step = builder.constant_field([0])
        commitments.bind_state(
            builder, head, new_state, packed, step=zero_step, salt="new_salt", **names
        )
    return builder.build()
