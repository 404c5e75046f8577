"""States that are polynomials: their hash holds the link of a KZG commitment (gadgets/link.py).

    model   "zkai/model-link/1"   architecture, salt[, frozen], link
    state   "zkai/state-link/1"   architecture, model, fork, step, user, salt[, frozen], link

A state's polynomial has its weights, then its velocity, then blinders that follow from the state's
salt; a model's has its weights and blinders. link = keccak256(cm.x || cm.y) >> 8 is a signal that
every verifier compares with the proof's commitment. The labels are not those of packed states:
twelve packed weights are one field element too, and could be chosen to be a link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.link import BLINDERS, blinders, links, state_coefficients
from zkai.circuit.gadgets.poseidon import hash_elements
from zkai.circuit.statements import commitments
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.commitments import architecture, frozen_elements
from zkai.circuit.tensor import Field, Ints, Tensor, concat_fields
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

WeightsCommitment = Literal["poseidon", "kzg"]
"""How a state's commitment binds its weights: by a hash of them, or of a polynomial's link."""

POSEIDON: WeightsCommitment = "poseidon"
KZG: WeightsCommitment = "kzg"

MODEL = "zkai/model-link/1"
STATE = "zkai/state-link/1"


@dataclass(frozen=True, repr=False)
class LinkedState:
    """The integers of a model or state, flat, and the salt that its blinders follow from."""

    values: Ints
    salt: int

    @staticmethod
    def of(state: HeadState, salt: int) -> LinkedState:
        """Return what a state's polynomial holds: weights, then velocity."""
        parts = [state.weights] if state.velocity is None else [state.weights, state.velocity]
        return LinkedState(np.concatenate([part.ravel() for part in parts]), salt)

    @property
    def blinders(self) -> list[int]:
        """The blinders of the polynomial."""
        return blinders(self.salt, self.values)

    @property
    def coefficients(self) -> Limbs:
        """The coefficients of the polynomial, the constant term first."""
        return state_coefficients(self.values, self.salt)


def check_weights_commitment(where: str, value: str, proof_format: str) -> None:
    """Return None for a known kind that the format allows. Raises InvalidInput otherwise."""
    if value not in (POSEIDON, KZG):
        raise InvalidInput(
            f"{where}: weights_commitment must be {POSEIDON!r} or {KZG!r}, got {value!r}"
        )
    if value == KZG and proof_format != COMMIT:
        raise InvalidInput(f"{where}: weights_commitment {KZG!r} needs the format {COMMIT!r}")


def describe_weights(value: WeightsCommitment) -> dict[str, str]:
    """Return what a description says of the weights' commitment: nothing for hashed ones."""
    return {} if value == POSEIDON else {"weights_commitment": value}


def model_id(head: Head, link: int, salt: int, frozen: Ints | None = None) -> int:
    """Return the identity of a base model with a linked polynomial."""
    return hash_elements(MODEL, [architecture(head), salt, *frozen_elements(head, frozen), link])


def state_commitment(
    head: Head,
    link: int,
    *,
    model: int,
    fork: int,
    step: int,
    user: int,
    salt: int,
    frozen: Ints | None = None,
) -> int:
    """Return the commitment to a linked state after `step` steps."""
    elements = [architecture(head), model, fork, step, user, salt]
    return hash_elements(STATE, [*elements, *frozen_elements(head, frozen), link])


def bound_commitment(
    head: Head,
    given: Mapping[str, Any],
    names: Mapping[str, int],
    state: HeadState,
    which: str,
    step: int,
) -> int:
    """Return a statement's "old" or "new" state's commitment, linked if `given` has its link.

    `given` holds its salt too; `names` are model, fork and user.
    """
    link, salt = given.get(f"{which}_link"), given[f"{which}_salt"]
    if link is None:
        return commitments.state_commitment(head, state, step=step, salt=salt, **names)
    return state_commitment(head, link, step=step, salt=salt, frozen=state.frozen, **names)


def declare_links(builder: Builder, names: Sequence[str]) -> dict[str, Field]:
    """Declare the links' signals, the last of the circuit."""
    return {name: builder.public_field(name) for name in names}


def blinders_name(link: str) -> str:
    """Return the name of the private input with the blinders of the polynomial of this name."""
    return link.replace("_link", "_blinders")


State = tuple[Tensor, Tensor | None, Field | None]
"""In a circuit: weights, velocity and the digest of frozen weights, in proven ranges."""


def hold_state(
    builder: Builder,
    head: Head,
    which: str,
    signal: Field,
    link_signals: Mapping[str, Field],
    state: State,
    step: Tensor | Field,
    names: Mapping[str, Field],
    carried: Callable[[], Sequence[Field]] = tuple,
) -> None:
    """Constrain a signal to the commitment to the "old" or "new" state, packed or linked."""
    held, label = held_elements(builder, head, which, link_signals, state, carried)
    salt = f"{which}_salt"
    commitments.bind_state(builder, head, signal, held, step=step, salt=salt, label=label, **names)


def held_elements(
    builder: Builder,
    head: Head,
    which: str,
    link_signals: Mapping[str, Field],
    state: State,
    carried: Callable[[], Sequence[Field]] = tuple,
) -> tuple[Field, str]:
    """Return what a state's hash holds of its tensors, and the hash's label.

    `carried` makes what stands behind packed tensors.
    """
    weights, velocity, digest = state
    link = f"{which}_link"
    if link in link_signals:
        tensors = [weights, *([] if velocity is None else [velocity])]
        return link_state(builder, head, link, link_signals[link], tensors, digest), STATE
    packed = commitments.pack_state(builder, head, weights, velocity, digest)
    return concat_fields([packed, *carried()]), commitments.STATE


def link_state(
    builder: Builder,
    head: Head,
    name: str,
    signal: Field,
    tensors: Sequence[Tensor],
    frozen: Field | None = None,
) -> Field:
    """Let a signal name the polynomial of weights (and velocity); return what the hash holds.

    `tensors` have the head's shape; `frozen` is the digest of the weights that are not trained.

    Raises InvalidInput unless the digest is given exactly for heads with frozen weights.
    """
    if (frozen is None) == (head.frozen_size > 0):
        raise InvalidInput("frozen: needed exactly if the head has weights that are not trained")
    random = builder.private_field(blinders_name(name), BLINDERS)
    parts = [part for tensor in tensors for part in matrices(head, tensor)]
    links(builder).bind(name, parts, random)
    return signal if frozen is None else concat_fields([frozen, signal])


def matrices(head: Head, tensor: Tensor) -> list[Tensor]:
    """Return the trained matrices and bias rows of a tensor of the head's shape, in its order.

    A matrix stands as the products of a step read it, so that its sums are made once.
    """
    flat, parts = tensor.reshape(tensor.size), []
    for block in head.blocks:
        matrix = block.of(flat)
        parts += [matrix[:-1], matrix[-1:]] if block.bias else [matrix]
    return parts
