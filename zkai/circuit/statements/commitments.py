"""What the statements commit to, outside the circuit and inside: the same bytes of meaning twice.

Every commitment is `hash_elements` (gadgets/poseidon.py) of a domain label over field elements:

    user    "zkai/user/1"    secret
    frozen  "zkai/frozen/1"  architecture, weights that are not trained
    model   "zkai/model/1"   architecture, salt[, frozen], weights
    state   "zkai/state/1"   architecture, model, fork, step, user, salt[, frozen], weights
                             [, velocity]
    batch   "zkai/batch/1"   schema, salt, inputs, labels
    update  "zkai/update/1"  architecture, update              (unsalted: it is public)
    tensor  "zkai/tensor/1"  schema, salt, values

Tensors are packed (gadgets/packing.py) at static widths. `architecture` is the digest of the
head's description and `schema` that of the packed tensors' shapes and widths. A commitment hides
its content by its salt, a uniformly random field element, and binds under Poseidon's collision
resistance *given that the packed integers are in range*: each gadget here takes tensors whose
range is proven.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.packing import pack, pack_gadget
from zkai.circuit.gadgets.poseidon import hash_elements, hash_elements_gadget
from zkai.circuit.statements.base import digest_of
from zkai.circuit.tensor import Field, Ints, Tensor, concat_fields
from zkai.encoding import FIELD_MODULUS, from_limbs
from zkai.errors import InvalidInput
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

USER = "zkai/user/1"
FROZEN = "zkai/frozen/1"
MODEL = "zkai/model/1"
STATE = "zkai/state/1"
BATCH = "zkai/batch/1"
UPDATE = "zkai/update/1"
TENSOR = "zkai/tensor/1"

PUBLIC_SALT = 0
"""The salt of a public base model's identity: nothing to hide, and anyone recomputes it."""

VELOCITY_BITS = 42
"""The velocity's packing width: six an element, for every head and batch."""

LABEL_BITS = 9
"""The packing width of a label, a byte."""


def new_salt() -> int:
    """Return a uniformly random field element from the operating system."""
    return secrets.randbelow(FIELD_MODULUS)


def architecture(head: Head) -> int:
    """Return the head's architecture as a field element: the digest of its description."""
    return digest_of(head.describe())


def schema(tensors: Sequence[tuple[tuple[int, ...], int]]) -> int:
    """Return shapes and packing widths of several tensors as one field element."""
    return digest_of({"tensors": [[list(shape), bits] for shape, bits in tensors]})


def batch_schema(head: Head, rows: int) -> int:
    """Return the schema of `rows` labelled input rows."""
    return schema([((rows, head.features), head.input_width), ((rows,), LABEL_BITS)])


def check_velocity_width(head: Head, batch: int) -> None:
    """Return None if a state commitment can hold the velocity of steps of `batch` rows.

    Raises InvalidInput otherwise.
    """
    if head.has_velocity and (width := head.widths(batch)["v"]) > VELOCITY_BITS:
        raise InvalidInput(
            f"head: the velocity needs {width} bits at batch {batch}, a commitment holds"
            f" {VELOCITY_BITS}; use a smaller batch, input width or momentum"
        )


# Outside the circuit --------------------------------------------------------------------------


def user_commitment(secret: int) -> int:
    """Return the public name of whoever knows `secret`."""
    return hash_elements(USER, [secret])


def frozen_digest(head: Head, frozen: Ints) -> int:
    """Return the digest of a head's frozen weights: an element of its models and states."""
    return hash_elements(FROZEN, [architecture(head), *_packed(frozen, head.weight_width)])


def frozen_elements(head: Head, frozen: Ints | None) -> list[int]:
    """Return the digest of frozen weights as a list, empty for a head without any.

    Raises InvalidInput unless they are given exactly where the head has them.
    """
    if (frozen is None) == (head.frozen_size > 0):
        raise InvalidInput("frozen: needed exactly if the head has weights that are not trained")
    return [] if frozen is None else [frozen_digest(head, frozen)]


def model_id(head: Head, weights: Ints, salt: int = PUBLIC_SALT, frozen: Ints | None = None) -> int:
    """Return the identity of a base model: its architecture and weights, salted if private."""
    elements = [architecture(head), salt, *frozen_elements(head, frozen)]
    return hash_elements(MODEL, elements + _packed(weights, head.weight_width))


def state_commitment(
    head: Head, state: HeadState, *, model: int, fork: int, step: int, user: int, salt: int
) -> int:
    """Return the salted commitment to a fork's state after `step` steps."""
    elements = [
        architecture(head),
        model,
        fork,
        step,
        user,
        salt,
        *frozen_elements(head, state.frozen),
    ]
    elements += _packed(state.weights, head.weight_width)
    if head.has_velocity:
        if state.velocity is None:
            raise InvalidInput("velocity: a head with momentum has one in its state")
        elements += _packed(state.velocity, VELOCITY_BITS)
    return hash_elements(STATE, elements)


def batch_commitment(head: Head, x: Ints, labels: Ints, salt: int) -> int:
    """Return the salted commitment to labelled input rows, x (rows, features), labels (rows,)."""
    elements = [batch_schema(head, len(x)), salt, *_packed(x, head.input_width)]
    return hash_elements(BATCH, elements + _packed(labels, LABEL_BITS))


def update_digest(head: Head, update: Ints) -> int:
    """Return the digest of a public update of the head's weights."""
    return hash_elements(UPDATE, [architecture(head), *_packed(update, head.weight_width + 1)])


def tensor_commitment(tensors: Sequence[tuple[Ints, int]], salt: int) -> int:
    """Return the salted commitment to (values, width) tensors, in order."""
    elements = [schema([(values.shape, bits) for values, bits in tensors]), salt]
    for values, bits in tensors:
        elements += _packed(values, bits)
    return hash_elements(TENSOR, elements)


def _packed(values: Ints, bits: int) -> list[int]:
    return from_limbs(pack(values, bits))


# In the circuit -------------------------------------------------------------------------------


def user_gadget(builder: Builder, secret: Field) -> Field:
    """Return a wire constrained to `user_commitment`."""
    with builder.at("user"):
        return hash_elements_gadget(builder, USER, secret)


def frozen_gadget(builder: Builder, head: Head, frozen: Tensor) -> Field:
    """Return a wire constrained to `frozen_digest` of range-checked weights."""
    arch = builder.constant_field([architecture(head)])
    packed = pack_gadget(builder, frozen, head.weight_width)
    return hash_elements_gadget(builder, FROZEN, concat_fields([arch, packed]))


def model_gadget(
    builder: Builder, head: Head, packed: Field, salt: Field, label: str = MODEL
) -> Field:
    """Return a wire constrained to `model_id` of packed weights, or to `linked.model_id`."""
    arch = builder.constant_field([architecture(head)])
    return hash_elements_gadget(builder, label, concat_fields([arch, salt, packed]))


def state_gadget(
    builder: Builder,
    head: Head,
    packed: Field,
    *,
    model: Field,
    fork: Field,
    step: Field,
    user: Field,
    salt: Field,
    label: str = STATE,
) -> Field:
    """Return a wire constrained to `state_commitment`; `packed` is of `pack_state`.

    With the label of linked states it is of `linked.link_state`.
    """
    arch = builder.constant_field([architecture(head)])
    elements = concat_fields([arch, model, fork, step, user, salt, packed])
    return hash_elements_gadget(builder, label, elements)


def bind_state(
    builder: Builder,
    head: Head,
    signal: Field,
    packed: Field,
    *,
    model: Field,
    fork: Field,
    step: Tensor | Field,
    user: Field,
    salt: str,
    label: str = STATE,
) -> None:
    """Constrain a public signal to a state's commitment; `salt` names its private input."""
    number = builder.to_field(step) if isinstance(step, Tensor) else step
    state = state_gadget(
        builder,
        head,
        packed,
        model=model,
        fork=fork,
        step=number,
        user=user,
        salt=builder.private_field(salt),
        label=label,
    )
    builder.bind_public(signal, state)


def pack_state(
    builder: Builder,
    head: Head,
    weights: Tensor,
    velocity: Tensor | None,
    frozen: Field | None = None,
) -> Field:
    """Return a state's tensors, in proven ranges, as packed elements; `frozen` is their digest.

    Raises InvalidInput unless the digest is given exactly for heads with frozen weights.
    """
    if (frozen is None) == (head.frozen_size > 0):
        raise InvalidInput("frozen: needed exactly if the head has weights that are not trained")
    parts = [] if frozen is None else [frozen]
    parts.append(pack_gadget(builder, weights, head.weight_width))
    if velocity is not None:
        parts.append(pack_gadget(builder, velocity, VELOCITY_BITS))
    return concat_fields(parts)


def batch_gadget(builder: Builder, head: Head, x: Tensor, labels: Tensor, salt: Field) -> Field:
    """Return a wire constrained to `batch_commitment`."""
    header = builder.constant_field([batch_schema(head, x.shape[0])])
    packed = [pack_gadget(builder, x, head.input_width), pack_gadget(builder, labels, LABEL_BITS)]
    return hash_elements_gadget(builder, BATCH, concat_fields([header, salt, *packed]))


def update_gadget(builder: Builder, head: Head, update: Tensor) -> Field:
    """Return a wire constrained to `update_digest`."""
    arch = builder.constant_field([architecture(head)])
    packed = pack_gadget(builder, update, head.weight_width + 1)
    return hash_elements_gadget(builder, UPDATE, concat_fields([arch, packed]))


def tensor_gadget(builder: Builder, tensors: Sequence[tuple[Tensor, int]], salt: Field) -> Field:
    """Return a wire constrained to `tensor_commitment`."""
    header = builder.constant_field([schema([(t.shape, bits) for t, bits in tensors])])
    packed = [pack_gadget(builder, t, bits) for t, bits in tensors]
    return hash_elements_gadget(builder, TENSOR, concat_fields([header, salt, *packed]))
