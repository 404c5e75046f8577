"""Public polynomials: too long to be signals, known to every verifier, fixed before the challenges.

A circuit names them; the one wire that each has is its value at the challenge `fold`, public and of
round 2. The prover does not choose it and the rows do not define it: whoever verifies computes it
from the coefficients. That is sound only if the coefficients were fixed before `fold` was drawn. So
a signal holds their digest, and who verifies compares it with what the coefficients came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zkai import native, native_keys
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput

MAX_COEFFICIENTS = 1 << 26
MAX_POLYNOMIALS = 8


@dataclass(frozen=True)
class PublicPolynomial:
    """A name, and the number of coefficients."""

    name: str
    size: int

    def coefficients(self, value: Any) -> Limbs:
        """Return (size, 4) canonical elements, the constant term first.

        Raises InvalidInput, naming the polynomial, for anything else.
        """
        if value is None:
            raise InvalidInput(f"the public polynomial {self.name} is missing")
        return checked_elements(f"the public polynomial {self.name}", self.size, value)


def checked_elements(what: str, size: int, value: Any) -> Limbs:
    """Return (size, 4) little-endian limbs below r, from limbs or integers.

    Raises InvalidInput naming `what` for another number of them, or one outside [0, r).
    """
    if isinstance(value, list | tuple):
        if not all(type(x) is int and 0 <= x < FIELD_MODULUS for x in value):
            raise InvalidInput(f"{what}: expected integers in [0, r)")
        value = to_limbs(value)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint64 or value.shape != (size, 4):
        raise InvalidInput(f"{what}: expected {size} field elements")
    found = np.ascontiguousarray(value)
    native.to_montgomery(found, what)
    return found


def value_at(coefficients: Limbs, point: int) -> int:
    """Return sum of coefficients[i] * point^i mod r."""
    n = len(coefficients)
    if n == 0:
        return 0
    powers = native_keys.fr_powers(to_limbs([1]), to_limbs([point]), n)
    terms = native.fr_mul(coefficients, powers)
    while len(terms) > 1:
        half = len(terms) // 2
        joined = native.fr_add(terms[:half], terms[half : 2 * half])
        terms = np.concatenate([joined, terms[2 * half :]])
    return from_limbs(terms)[0]


def values_at(
    polynomials: Sequence[PublicPolynomial], given: Mapping[str, Any], point: int
) -> list[int]:
    """Return the values of all, in their order, at a point.

    Raises InvalidInput, naming the polynomial, for one that is missing, unknown or of another size.
    """
    if unknown := sorted(set(given) - {p.name for p in polynomials}):
        raise InvalidInput(f"unknown public polynomial {', '.join(unknown)}")
    return [value_at(p.coefficients(given.get(p.name)), point) for p in polynomials]
