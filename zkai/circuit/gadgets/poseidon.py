"""Poseidon hashes of field elements, natively and as constraints.

`poseidon` is circom's function. `hash_elements` is a sponge in overwrite mode with one capacity
element: it starts at a tag that names what is hashed and how many elements, each permutation of
width t overwrites the other t - 1 elements with the next block (the last one padded with zeros),
and the digest is element 1 of the last state. Up to 16 elements take one permutation of width
n + 1; longer inputs blocks of 16. Each function has its twin over circuit wires.

Security: the capacity is one element of 254 bits, hence 127 bits against collisions. The length is
part of the tag, so padding is unambiguous and no digest can be extended.

Source: ePrint 2019/458 (Poseidon), circom's parameters (alpha 5, 8 full rounds); the sponge follows
ePrint 2011/499 (overwrite mode).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from zkai import native_poseidon
from zkai.circuit.builder import Builder, Row
from zkai.circuit.gadgets.poseidon_template import Ints, Shape, Side, Template, template
from zkai.circuit.tensor import Field
from zkai.encoding import FIELD_MODULUS, Limbs, field_tag, from_limbs, to_limbs
from zkai.errors import InvalidInput

FULL_ROUNDS = 8
PARTIAL_ROUNDS = (56, 57, 56, 60, 60, 63, 64, 63, 60, 66, 60, 65, 70, 60, 64, 68)
"""circom's partial rounds for t = 2..17."""

MAX_RATE = 16
"""The most elements that one permutation absorbs."""


def shape(t: int) -> Shape:
    """Return circom's Poseidon of width t. Raises InvalidInput unless 2 <= t <= 17."""
    if not 2 <= t <= MAX_RATE + 1:
        raise InvalidInput(f"Poseidon is defined for 2 <= t <= 17, got {t}")
    return Shape(t, FULL_ROUNDS, PARTIAL_ROUNDS[t - 2])


@lru_cache(maxsize=1024)
def hash_tag(label: str, n: int) -> int:
    """Return the capacity element that starts the hash of n elements of kind `label`."""
    return field_tag(f"{label}/{n}")


def n_permutations(n: int) -> int:
    """Return how many permutations `hash_elements` takes for n elements."""
    return max(1, -(-n // MAX_RATE))


def n_rows(n: int) -> int:
    """Return how many constraints `hash_elements_gadget` takes for n elements."""
    return n_permutations(n) * shape(_width(n)).n_wires


# Outside the circuit --------------------------------------------------------------------------


def poseidon(inputs: Sequence[int]) -> int:
    """Return circom's Poseidon(n) of 1..16 field elements.

    The state starts as [0, x_1, ..., x_n]; the digest is element 0 of the permuted state.

    Raises InvalidInput for another number of elements, or elements outside [0, r).
    """
    if not 1 <= len(inputs) <= MAX_RATE:
        raise InvalidInput(f"poseidon takes 1..{MAX_RATE} elements, got {len(inputs)}")
    s = shape(len(inputs) + 1)
    states = _checked_limbs([0, *inputs]).reshape(1, s.t, 4)
    final, _ = native_poseidon.permute(states, s.full, s.partial)
    return from_limbs(final[0, :1])[0]


def hash_elements(label: str, elements: Sequence[int]) -> int:
    """Return the digest of field elements under the domain `label` (see the module).

    Raises InvalidInput for no elements, or elements outside [0, r).
    """
    limbs = _checked_limbs(elements)
    return from_limbs(hash_many(label, limbs.reshape(1, -1, 4)))[0]


def hash_many(label: str, elements: Limbs) -> Limbs:
    """Return the digests (k, 4) of k vectors of n field elements each, (k, n, 4).

    Raises InvalidInput for n = 0, or elements at or above r.
    """
    final, _ = _absorb(hash_tag(label, elements.shape[1]), elements, outputs=0, trace=False)
    return np.ascontiguousarray(final[:, 1])


def _absorb(tag: int, elements: Limbs, outputs: int, trace: bool) -> tuple[Limbs, Limbs | None]:
    """Run the sponge over (k, n, 4) elements: the final states, and the trace if asked for."""
    k, n = elements.shape[:2]
    s, blocks = shape(_width(n)), n_permutations(n)
    padded = np.zeros((k, blocks * (s.t - 1), 4), np.uint64)
    padded[:, :n] = elements
    states = np.zeros((k, s.t, 4), np.uint64)
    states[:, 0] = to_limbs([tag])
    inputs = padded.reshape(k, blocks, s.t - 1, 4)
    return native_poseidon.sponge(states, inputs, s.full, s.partial, outputs, trace)


def _width(n: int) -> int:
    if n < 1:
        raise InvalidInput("a hash needs at least one element")
    return min(n, MAX_RATE) + 1


def _checked_limbs(values: Sequence[int]) -> Limbs:
    if not all(isinstance(v, int) and 0 <= v < FIELD_MODULUS for v in values):
        raise InvalidInput("Poseidon hashes integers in [0, r): reduce or pack the values first")
    return to_limbs(values)


# In the circuit -------------------------------------------------------------------------------

_DIGEST, _FIRST = 0b10, 0b01
"""Output masks: element 1 of the last state is the digest, element 0 chains blocks."""


def poseidon_gadget(builder: Builder, inputs: Field) -> Field:
    """Return a wire constrained to circom's Poseidon of 1..16 field wires: `poseidon`'s twin."""
    if not 1 <= len(inputs) <= MAX_RATE:
        raise InvalidInput(f"poseidon takes 1..{MAX_RATE} elements, got {len(inputs)}")
    return _sponge_gadget(builder, 0, inputs.wires.reshape(1, -1), _FIRST)


def hash_elements_gadget(builder: Builder, label: str, elements: Field) -> Field:
    """Return a wire constrained to `hash_elements(label, elements)`."""
    return hash_many_gadget(builder, label, elements, 1)


def hash_many_gadget(builder: Builder, label: str, elements: Field, k: int) -> Field:
    """Return k wires constrained to the digests of k vectors of equal length: `hash_many`'s twin.

    `elements` lists the vectors one after the other.

    Raises InvalidInput if its length is no positive multiple of k.
    """
    if k < 1 or len(elements) == 0 or len(elements) % k:
        raise InvalidInput(f"{len(elements)} elements cannot be {k} vectors of equal length")
    wires = elements.wires.reshape(k, -1)
    return _sponge_gadget(builder, hash_tag(label, wires.shape[1]), wires, _DIGEST)


def _sponge_gadget(builder: Builder, tag: int, elements: Ints, outputs: int) -> Field:
    """Constrain the sponge over (k, n) element wires; return each lane's first output wire."""
    k, n = elements.shape
    s, blocks = shape(_width(n)), n_permutations(n)

    def trace(values: Limbs) -> Limbs:
        recorded = _absorb(tag, values.reshape(k, n, 4), outputs, trace=True)[1]
        assert recorded is not None
        return recorded.reshape(-1, 4)

    made = builder.field_hint("poseidon", trace, [Field(elements.ravel())], k * blocks * s.n_wires)
    wires = made.wires.reshape(k, blocks, s.n_wires)
    finals = wires[:, :, 2::3][:, :, -s.t :]  # the last t S-boxes' x'
    padded = np.zeros((k, blocks * (s.t - 1)), np.int64)
    padded[:, :n] = elements
    rate = padded.reshape(k, blocks, s.t - 1)
    capacity = np.zeros((k, blocks), np.int64)
    capacity[:, 1:] = finals[:, :-1, 0]
    slots = np.concatenate(
        [np.zeros((k, blocks, 1), np.int64), capacity[:, :, None], rate, wires], axis=2
    )
    unused = blocks * (s.t - 1) - n
    for first, last in _alike(blocks):
        constants = [(0, tag)] if first == 0 else []
        if last == blocks:
            constants += [(i, 0) for i in range(s.t - unused, s.t)]
        part = template(s, tuple(constants), outputs if last == blocks else _FIRST)
        instantiate(builder, part, slots[:, first:last].reshape(-1, slots.shape[2]))
    return Field(finals[:, -1, outputs.bit_length() - 1].copy())


def _alike(blocks: int) -> list[tuple[int, int]]:
    """Split a lane's blocks into runs that share a template: the first, the middle, the last."""
    if blocks == 1:
        return [(0, 1)]
    middle = [(1, blocks - 1)] if blocks > 2 else []
    return [(0, 1), *middle, (blocks - 1, blocks)]


def instantiate(builder: Builder, part: Template, slots: Ints) -> None:
    """Append the template's rows once for each line of `slots` (wire by slot)."""
    ids = builder.coef_ids(list(part.values))
    copies = len(slots)

    def tile(side: Side) -> Row:
        indptr = np.zeros(copies * len(side.lengths) + 1, np.int64)
        np.cumsum(np.tile(side.lengths, copies), out=indptr[1:])
        wires = np.take(slots, side.slots, axis=1).ravel()
        return indptr, wires, np.tile(ids[side.values], copies)

    a, b, c = (tile(side) for side in part.sides)
    builder.rows("poseidon", a, b, c)
