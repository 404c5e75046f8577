"""Values in plaintexts of scheme `ckks`: real numbers in slots, or integers in coefficients.

SEAL's encoder takes doubles, so what it encodes is off by the rounding of its transforms: about
2**-40 of the largest value, and a function of all values. For integers that is not good enough:
sums should be exact, and what is opened beside them must not depend on what a client encrypted,
which is what noise for differential privacy rests on. So integers stand in the coefficients,

    m(X) = 2**scale_bits sum of x_i X^i,

exactly, n of them in a ciphertext, and an opened sum is off by smudge and encryption noise alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.encoding import Limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.he.ring import Ring
from zkai.native import Int64s
from zkai.native_rlwe import round_off

Doubles = npt.NDArray[np.float64]


def checked_values(values: npt.NDArray[Any], count: int, bound: int, kinds: str) -> Any:
    """Return `count` numbers of at most `bound` in size, flat. Raises InvalidInput for others.

    `kinds` are numpy's letters for the types that are taken.
    """
    flat = np.asarray(values).ravel()
    if flat.dtype.kind not in kinds or flat.size != count:
        what = "real numbers" if "f" in kinds else "integers"
        raise InvalidInput(f"ckks: expected {count} {what}, got {flat.size} of {flat.dtype}")
    if not np.isfinite(flat).all() or flat.max() > bound or flat.min() < -bound:
        raise InvalidInput(f"ckks: values must be finite and at most {bound} in size")
    return flat


def slot_rows(values: npt.NDArray[Any], rows: int, slots: int) -> Doubles:
    """Return numbers as (rows, slots) for SEAL's encoder, the last row filled with zeros."""
    found = np.zeros((rows, slots))
    found.ravel()[: values.size] = values.astype(np.float64)
    return found


def add_integers(ring: Ring, ciphertexts: Limbs, values: npt.NDArray[Any], scale_bits: int) -> None:
    """Add integers times 2**scale_bits, n to a ciphertext, to encryptions of zero (M, 2, L, n)."""
    padded = np.zeros((len(ciphertexts), ring.n), np.int64)
    padded.ravel()[: values.size] = values
    scaled = ring.combine(ring.small(padded)[:, None], ring.residues([1 << scale_bits]))
    first = np.ascontiguousarray(ciphertexts[:, 0])
    ciphertexts[:, 0] = ring.add(first, ring.ntt(scaled))


def integers_of(
    ring: Ring, coefficients: Limbs, values: int, scale_bits: int, noise: int
) -> Int64s:
    """Return the integers in opened coefficients (rows, L, n), which are off by less than `noise`.

    Raises VerificationError if one is off by more, or anything stands after the last value.
    """
    found, distances = round_off(ring.tables, coefficients, 1 << scale_bits)
    flat = found.ravel()
    if max(distances, default=0) >= noise or flat[values:].any():
        raise VerificationError(
            "ckks: what was opened is no sum of integers: a wrong share or part"
        )
    return flat[:values].copy()
