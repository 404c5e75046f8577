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
from zkai.model.training import HeadState, SoftmaxHead

VERSION = "genesis/1"

FIELD_INPUTS = ("fork", "context", "secret", "model_salt", "new_salt")


@dataclass(frozen=True)
class Genesis:
    """Prove that a fork's state at step 0 holds the base model's weights and zero velocity.

    The base model is named by its salted commitment, or by its public identity (salt 0).
    """

    head: SoftmaxHead
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

        `values`: weights (features + 1, classes), the base model's; the field elements fork,
        context, secret, model_salt (0 for a public base model) and new_salt.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        check_names(VERSION, values, ["weights", *FIELD_INPUTS])
        limits = signed_bound(self.head.weight_width)
        weights = int_tensor(VERSION, "weights", values["weights"], self.head.shape, *limits)
        fields = {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}
        return {"weights": weights, **fields}

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the fork's first state."""
        weights = self.assign(values)["weights"]
        return HeadState(weights, np.zeros_like(weights) if self.head.momentum else None)

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        user = commitments.user_commitment(given["secret"])
        model = commitments.model_id(self.head, given["weights"], given["model_salt"])
        new_state = commitments.state_commitment(
            self.head,
            self.new_state(values),
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
def _build(head: SoftmaxHead, proof_format: Format) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT)
    model_signal, new_state = builder.public_field("model"), builder.public_field("new_state")
    user_signal, fork = builder.public_field("user"), builder.public_field("fork")
    bind_context(builder, builder.public_field("context"))
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("weights"):
        weights = builder.private_int("weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
        packed = commitments.pack_state(builder, head, weights, None)
    with builder.at("model"):
        salt = builder.private_field("model_salt")
        model = commitments.model_gadget(builder, head, packed, salt)
        builder.bind_public(model_signal, model)
    with builder.at("new state"):
        if head.momentum:
            zero = as_tensor(np.zeros(head.shape, np.int64))
            packed = concat_fields([packed, pack_gadget(builder, zero, commitments.VELOCITY_BITS)])
        names = {"model": model, "fork": fork, "user": user}
        zero_step = builder.constant_field([0])
        commitments.bind_state(
            builder, head, new_state, packed, step=zero_step, salt="new_salt", **names
        )
    return builder.build()
