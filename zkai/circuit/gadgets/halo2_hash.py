"""The hash by which EZKL's visibility `hashed` commits to a tensor, natively and as constraints.

A sponge over Poseidon of width 2: the state starts at (0, 2^64), each element is added to entry 0
and the state permuted, and the digest is entry 0 at the end:

    s_0 = (0, 2^64),  s_i = P(s_(i-1) + (x_i, 0)),  digest = s_n[0].

A tensor's elements come in row-major order, an integer v as v mod r. There is no padding, no
length and no salt: the digest hides nothing that can be guessed, and equal values of another shape
have the same one. Who states it must fix the shape, as a circuit does.

The permutation is circom's of width 2 (8 full and 56 partial rounds, Grain's constants), which
circom uses for one input; the sponge is not circom's.

Security: the capacity is one element, hence 127 bits against collisions, given that the elements
stand for one tensor each: integers within (-r/2, r/2), which a range check shows.

Source: ePrint 2019/458 (Poseidon), with the capacity that its section 4.2 gives inputs of variable
length; ePrint 2011/499 (sponges).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zkai import native_poseidon
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.poseidon import instantiate, shape
from zkai.circuit.gadgets.poseidon_template import template
from zkai.circuit.tensor import Field, Ints
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput

CAPACITY = 1 << 64
"""The entry of the first state that no element reaches."""

_SHAPE = shape(2)
_BOTH = 0b11
"""Every block shows both entries of its final state: the next one starts from them."""
_RATE = 0b01
"""Elements are added to entry 0."""


def n_rows(n: int) -> int:
    """Return how many constraints `halo2_hash_gadget` takes for n elements: 216 each."""
    return n * _SHAPE.n_wires


def halo2_hash(elements: Sequence[int]) -> int:
    """Return EZKL's hash of field elements.

    Raises InvalidInput for no elements, or elements outside [0, r).
    """
    if not all(isinstance(v, int) and 0 <= v < FIELD_MODULUS for v in elements):
        raise InvalidInput("halo2_hash: expected integers in [0, r); take them mod r first")
    limbs = to_limbs(list(elements)).reshape(1, -1, 4)
    return from_limbs(halo2_hash_many(limbs))[0]


def halo2_hash_integers(values: Ints, blinders: Sequence[int] = ()) -> int:
    """Return EZKL's hash of an integer tensor, followed by `blinders`, elements of [0, r)."""
    return halo2_hash([*(int(v) % FIELD_MODULUS for v in values.ravel()), *blinders])


def halo2_hash_many(elements: Limbs) -> Limbs:
    """Return the digests (k, 4) of k vectors of n elements each, (k, n, 4).

    Raises InvalidInput for n = 0, or elements at or above r.
    """
    final, _ = _absorb(elements, trace=False)
    return np.ascontiguousarray(final[:, 0])


def _absorb(elements: Limbs, trace: bool) -> tuple[Limbs, Limbs | None]:
    k, n = elements.shape[:2]
    if n < 1:
        raise InvalidInput("a hash needs at least one element")
    states = np.zeros((k, 2, 4), np.uint64)
    states[:, 1] = to_limbs([CAPACITY])
    inputs = np.ascontiguousarray(elements).reshape(k, n, 1, 4)
    full, partial = _SHAPE.full, _SHAPE.partial
    return native_poseidon.sponge(states, inputs, full, partial, _BOTH, trace, adds=True)


def halo2_hash_gadget(builder: Builder, elements: Field) -> Field:
    """Return a wire constrained to `halo2_hash(elements)`.

    Raises InvalidInput for no elements.
    """
    n, per_block = len(elements), _SHAPE.n_wires

    def trace(values: Limbs) -> Limbs:
        recorded = _absorb(values.reshape(1, n, 4), trace=True)[1]
        assert recorded is not None
        return recorded.reshape(-1, 4)

    if n < 1:
        raise InvalidInput("a hash needs at least one element")
    made = builder.field_hint("halo2 hash", trace, [elements], n * per_block)
    wires = made.wires.reshape(n, per_block)
    finals = wires[:, [-4, -1]]  # the x' of the last two S-boxes
    one = np.zeros((n, 1), np.int64)
    start = np.zeros((n, 2), np.int64)
    start[1:] = finals[:-1]
    start[0, 0] = elements.wires[0]
    slots = np.concatenate([one, start, wires, elements.wires[:, None]], axis=1)
    instantiate(builder, template(_SHAPE, ((1, CAPACITY),), _BOTH), slots[:1, :-1])
    instantiate(builder, template(_SHAPE, (), _BOTH, added=_RATE), slots[1:])
    return Field(finals[-1:, 0].copy())
