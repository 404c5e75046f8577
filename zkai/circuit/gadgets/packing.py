"""Several small integers in one field element, natively and as constraints.

    pack(v_0, v_1, ...) = sum_i (v_i + 2^(bits-1)) * 2^(bits * i)

An element takes floor(253 / bits) integers; the last one may hold fewer.

Packing is injective only for integers inside [-2^(bits-1), 2^(bits-1)): (v_0 + 2^bits, v_1 - 1)
packs to the same element as (v_0, v_1). The gadget therefore refuses a tensor whose range no
constraint has proven.
"""

from __future__ import annotations

import numpy as np

from zkai.circuit.builder import Builder, Ids, Row
from zkai.circuit.tensor import Field, Ints, Rows, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput

CAPACITY_BITS = 253
"""Bits that always fit below r."""


def integers_per_element(bits: int) -> int:
    """Return floor(253 / bits). Raises InvalidInput unless 1 <= bits <= 62."""
    if not 1 <= bits <= 62:
        raise InvalidInput(f"packed integers have 1..62 bits, got {bits}")
    return CAPACITY_BITS // bits


def packed_length(n: int, bits: int) -> int:
    """Return how many field elements n integers of `bits` bits take."""
    return -(-n // integers_per_element(bits))


def pack(values: Ints, bits: int) -> Limbs:
    """Return signed `bits`-bit integers (any shape, row-major) as (m, 4) field elements.

    Raises InvalidInput naming the first value outside [-2^(bits-1), 2^(bits-1)).
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or (array.dtype.kind == "u" and array.dtype.itemsize == 8):
        raise InvalidInput(f"pack takes signed integers of at most 64 bits, got {array.dtype}")
    flat = array.astype(np.int64).ravel()
    outside = _outside(flat, bits)
    if outside.any():
        first = int(np.argmax(outside))
        raise InvalidInput(
            f"value {int(flat[first])} at flat index {first} does not fit {bits} signed bits"
        )
    return _pack_limbs(flat, bits)


def _outside(values: Ints, bits: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    integers_per_element(bits)
    half = 1 << (bits - 1)
    return (values < -half) | (values >= half)


def _pack_limbs(values: Ints, bits: int) -> Limbs:
    per_element = integers_per_element(bits)
    m = packed_length(len(values), bits)
    flat = np.zeros(m * per_element, np.uint64)
    flat[: len(values)] = (values + (1 << (bits - 1))).astype(np.uint64)
    digits = flat.reshape(m, per_element)
    packed = np.zeros((m, 4), np.uint64)
    for i in range(per_element):
        word, shift = divmod(bits * i, 64)
        packed[:, word] |= digits[:, i] << np.uint64(shift)
        if shift + bits > 64:
            packed[:, word + 1] |= digits[:, i] >> np.uint64(64 - shift)
    return packed


def _pack_mod(values: Ints, bits: int) -> Limbs:
    """Return the packing formula's value mod r for any integers, also those out of range."""
    if not _outside(values, bits).any():
        return _pack_limbs(values, bits)
    per_element, half = integers_per_element(bits), 1 << (bits - 1)
    groups = [values[i : i + per_element].tolist() for i in range(0, len(values), per_element)]
    return to_limbs(
        sum((v + half) << (bits * i) for i, v in enumerate(group)) % FIELD_MODULUS
        for group in groups
    )


def pack_gadget(builder: Builder, values: Tensor, bits: int) -> Field:
    """Return wires constrained to `pack(values, bits)`: one linear row an element.

    Raises InvalidInput unless constraints have proven every value within `bits` signed bits.
    """
    integers_per_element(bits)
    half = 1 << (bits - 1)
    if values.bound is None or values.bound[0] < -half or values.bound[1] >= half:
        proven = "no bound" if values.bound is None else f"the bound {values.bound}"
        raise InvalidInput(
            f"{builder.node or builder.name}: packing into {bits} bits needs values proven to lie "
            f"in [{-half}, {half}), but the tensor has {proven}: range-check it first"
        )
    m = packed_length(values.size, bits)
    packed = builder.field_hint("pack", lambda v: _pack_mod(v.ravel(), bits), [values], m)
    single, ones = np.arange(m + 1), np.zeros(m, np.uint32)
    one = (single, np.zeros(m, np.int64), ones)
    builder.rows("pack", (single, packed.wires, ones), one, _sums(builder, values.rows, bits))
    return packed


def _sums(builder: Builder, rows: Rows, bits: int) -> Row:
    """Return one row for each element: the packing formula over the values' wires."""
    per_element = integers_per_element(bits)
    clean = rows.merged()
    index = np.repeat(np.arange(len(clean)), np.diff(clean.indptr))
    constant = clean.wires == 0
    offsets = np.zeros(len(clean), np.int64)
    offsets[index[constant]] = clean.coefs[constant]
    index, wires, coefs = (x[~constant] for x in (index, clean.wires, clean.coefs))
    element, digit = np.divmod(index, per_element)
    key, ids = _merge(builder, (element << 32) | wires, coefs, digit, bits)
    m = packed_length(len(clean), bits)
    constants = _pack_mod(offsets, bits)
    unique, inverse = np.unique(constants, axis=0, return_inverse=True)
    constant_ids = _limb_ids(builder, unique)[inverse.ravel()]
    key = np.concatenate([np.arange(m, dtype=np.int64) << 32, key])
    ids = np.concatenate([constant_ids, ids])
    nonzero = np.concatenate([constants.any(axis=1), np.ones(len(key) - m, np.bool_)])
    key, ids = key[nonzero], ids[nonzero]
    order = np.argsort(key, kind="stable")
    lengths = np.bincount(key >> 32, minlength=m)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, key[order] & 0xFFFFFFFF, ids[order]


def _limb_ids(builder: Builder, limbs: Limbs) -> Ids:
    return builder.coef_ids([int.from_bytes(row.tobytes(), "little") for row in limbs])


def _merge(builder: Builder, key: Ints, coefs: Ints, digit: Ints, bits: int) -> tuple[Ints, Ids]:
    """Return (element, wire) keys, each once, with the ids of sum(coef * 2^(bits * digit))."""
    per_element = integers_per_element(bits)
    distinct, which = np.unique(coefs, return_inverse=True)
    pairs, inverse = np.unique(which.ravel() * per_element + digit, return_inverse=True)
    weights = [
        int(distinct[p // per_element]) << (bits * (p % per_element)) for p in pairs.tolist()
    ]
    order = np.argsort(key, kind="stable")
    key, inverse = key[order], inverse.ravel()[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if len(first) == len(key):
        return key, builder.coef_ids(weights)[inverse]
    # A wire occurs in several integers of one element: add its weights exactly.
    terms = np.array(weights, dtype=object)[inverse]
    sums = [total % FIELD_MODULUS for total in np.add.reduceat(terms, first)]
    present = np.array([total != 0 for total in sums])
    kept = [total for total in sums if total]
    return key[first][present], builder.coef_ids(kept)
