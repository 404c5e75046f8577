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
from zkai.circuit.statements import commitments, linked
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
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    link_state,
)
from zkai.circuit.tensor import as_tensor, concat_fields
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "genesis/1"

LINKS = ("model_link", "new_link")

FIELD_INPUTS = ("fork", "context", "secret", "model_salt", "new_salt")


@dataclass(frozen=True)
class Genesis:
    """Prove that a fork's state at step 0 holds the base model's weights and zero velocity.

    The base model is named by its salted commitment, or by its public identity (salt 0). With
    weights_commitment "kzg" model and state are linked polynomials (linked.py).
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
        """The signals that name linked polynomials: the model's and the state's."""
        return LINKS if self.weights_commitment == KZG else ()

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {"statement": VERSION, "head": self.head.describe()}
        description |= linked.describe_weights(self.weights_commitment)
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: weights of the head's shape, the base model's, and frozen (frozen_size,) where
        the head has such weights; the field elements fork, context, secret, model_salt (0 for a
        public base model) and new_salt. With linked polynomials also model_link and new_link, the
        links of `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        state = self.new_state(values)
        inputs: dict[str, Any] = {"weights": state.weights}
        if state.frozen is not None:
            inputs["frozen"] = commitments.frozen_digest(self.head, state.frozen)
        names = (*FIELD_INPUTS, *self.links)
        check_names(VERSION, values, names, values)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in names}
        for name, polynomial in self.linked_states(values).items():
            inputs[linked.blinders_name(name)] = polynomial.blinders
        return inputs

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return model and new state where they are linked; `values` may lack the links."""
        if not self.links:
            return {}
        state = self.new_state(values)
        model_salt, new_salt = (
            field_element(VERSION, name, values[name]) for name in ("model_salt", "new_salt")
        )
        model = LinkedState.of(HeadState(state.weights), model_salt)
        return dict(zip(LINKS, (model, LinkedState.of(state, new_salt)), strict=True))

    def new_state(self, values: Mapping[str, Any]) -> HeadState:
        """Return the fork's first state. Raises InvalidInput as `assign` does."""
        head = self.head
        shapes = {"weights": head.shape}
        if head.frozen_size:
            shapes["frozen"] = (head.frozen_size,)
        check_names(VERSION, values, [*shapes, *FIELD_INPUTS], self.links)
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
        if self.links:
            link, salt = given["model_link"], given["model_salt"]
            model = linked.model_id(self.head, link, salt, state.frozen)
        else:
            model = commitments.model_id(
                self.head, state.weights, given["model_salt"], state.frozen
            )
        names = {"model": model, "fork": given["fork"], "user": user}
        new_state = linked.bound_commitment(self.head, given, names, state, "new", 0)
        return {
            "model": model,
            "new_state": new_state,
            "user": user,
            "fork": given["fork"],
            "context": given["context"],
            **{name: given[name] for name in self.links},
        }


@lru_cache(maxsize=4)
def _build(head: Head, proof_format: Format, links: tuple[str, ...]) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT, links=len(links))
    model_signal, new_state = builder.public_field("model"), builder.public_field("new_state")
    user_signal, fork = builder.public_field("user"), builder.public_field("fork")
    context, link_signals = builder.public_field("context"), declare_links(builder, links)
    bind_context(builder, context)
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("weights"):
        weights = builder.private_int("weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
        # The digest is only carried over: whatever the model holds, the state holds.
        frozen = builder.private_field("frozen") if head.frozen_size else None
        held = [] if links else [commitments.pack_state(builder, head, weights, None, frozen)]
    label, state_label = commitments.MODEL, commitments.STATE
    if links:
        label, state_label = linked.MODEL, linked.STATE
        with builder.at("model"):
            signal = link_signals["model_link"]
            held.append(link_state(builder, head, "model_link", signal, [weights], frozen))
    with builder.at("model"):
        salt = builder.private_field("model_salt")
        model = commitments.model_gadget(builder, head, held[0], salt, label)
        builder.bind_public(model_signal, model)
    with builder.at("new state"):
        zero = [as_tensor(np.zeros(head.shape, np.int64))] if head.has_velocity else []
        if links:
            signal = link_signals["new_link"]
            held = [link_state(builder, head, "new_link", signal, [weights, *zero], frozen)]
        else:
            held += [pack_gadget(builder, x, commitments.VELOCITY_BITS) for x in zero]
        names = {"model": model, "fork": fork, "user": user}
        commitments.bind_state(
            builder,
            head,
            new_state,
            concat_fields(held),
            step=builder.constant_field([0]),
            salt="new_salt",
            label=state_label,
            **names,
        )
    return builder.build()
