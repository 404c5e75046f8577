"""The scheme whose ciphertexts a proof is about: threshold additive RLWE over Z_Q[X] / (X^N + 1).

    c_m = Delta sum_d 2^(value_bits d) u_(m, d) + e_m - A_m s      mod (Q, X^N + 1)

for m = 0, 1, ...: polynomial 0 encrypts nothing, and is what the dealing of s is checked with. The
values follow in order, `values_per_coefficient` in each coefficient. Delta = floor(Q /
2^(values_per_coefficient value_bits)); s is ternary, |e| <= error_bound.

Over Z[X], with A_m and c_m centred, c_m + A_m s - Delta u_m - e_m = Q k_m + (X^N + 1) g_m. Two
polynomials make a pair, the second times 2^gap_bits: once g is gone, the coefficients of each are
below 2^(gap_bits - 2) in magnitude and a pair's below r / 2. So a pair's identity over the field
holds for both over Z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from zkai.circuit.statements.base import digest_of
from zkai.circuit.tensor import Ints
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput

SCHEME = "zkai.rlwe/1"
MAX_LOG_DEGREE = 15
MAX_PRIME_BITS = 60
SIGMAS = 8
"""k is a sum of many: beyond so many standard deviations once in 10^15."""


@dataclass(frozen=True)
class Encryption:
    """The parameters, all of them constants of a circuit: the degree N, Q's primes, the packing.

    Raises InvalidInput, naming the parameter, where they are out of range or would let an identity
    modulo the field's order hold that does not hold over the integers.
    """

    degree: int
    primes: tuple[int, ...]
    values_per_coefficient: int = 3
    value_bits: int = 20
    error_bound: int = 21

    def __post_init__(self) -> None:
        limits = {
            "degree": (4, 1 << MAX_LOG_DEGREE),
            "values_per_coefficient": (1, 8),
            "value_bits": (2, 60),
            "error_bound": (1, 1 << 10),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidInput(f"encryption: {name} must be an integer in [{low}, {high}]")
        if self.degree & (self.degree - 1):
            raise InvalidInput("encryption: degree must be a power of two")
        primes = self.primes
        if not isinstance(primes, tuple) or not 1 <= len(primes) <= 4:
            raise InvalidInput("encryption: primes must be a tuple of 1 to 4 integers")
        if any(type(p) is not int or not 2 < p < 1 << MAX_PRIME_BITS for p in primes):
            raise InvalidInput(f"encryption: primes must be odd, below 2**{MAX_PRIME_BITS}")
        if len(set(primes)) != len(primes) or any(p % 2 == 0 for p in primes):
            raise InvalidInput("encryption: primes must be odd and different")
        if self.delta < 4 * self.error_bound:
            raise InvalidInput("encryption: the values leave no room for errors below the primes")
        if 2 * self.gap_bits > FIELD_MODULUS.bit_length() - 3:
            raise InvalidInput("encryption: the primes are too large for this proof's field")

    @cached_property
    def modulus(self) -> int:
        """Q, the product of the primes."""
        return math.prod(self.primes)

    @property
    def delta(self) -> int:
        """What a packed message is multiplied by."""
        return self.modulus >> (self.values_per_coefficient * self.value_bits)

    @property
    def per_polynomial(self) -> int:
        """How many values a polynomial holds."""
        return self.degree * self.values_per_coefficient

    def polynomials(self, n_values: int) -> int:
        """Return the number of polynomials of a ciphertext, the one for the dealing included."""
        return 1 + -(-n_values // self.per_polynomial)

    def pairs(self, n_values: int) -> int:
        """Return the number of pairs of polynomials; the last may lack its second."""
        return -(-self.polynomials(n_values) // 2)

    @cached_property
    def quotient_bits(self) -> int:
        """The signed bits of k: 8 standard deviations of A s / Q for uniform A, or all it can be.

        c, errors and message move it by less than 2.
        """
        spread = math.ceil(SIGMAS * math.sqrt(self.degree / 18))
        return (min(self.degree // 2, spread) + 2).bit_length() + 1

    def low_bits(self, n_values: int) -> int:
        """Return how many bits of k share a table with e: what takes fewest rows in all.

        Where it is all of them, k has no upper part; else two upper parts share a table.
        """
        errors, top = 2 * self.error_bound + 1, self.quotient_bits

        def rows(low: int) -> int:
            upper = self.pairs(n_values) * self.degree + (1 << 2 * (top - low))
            return (errors << low) + (upper if low < top else 0)

        return min(range(top + 1), key=rows)

    @property
    def gap_bits(self) -> int:
        """The second polynomial of a pair counts 2^gap_bits times.

        A coefficient of c + A s - Delta u - e - Q k - g, after g is what the upper half says, is
        below Q (1 + N/2 + 2^(quotient_bits - 1)) + Delta 2^(packed bits + 2) + e, and
        Delta 2^(packed bits) <= Q: in all less than Q 2^(gap_bits - 2 - bits of Q).
        """
        terms = 1 + self.degree // 2 + (1 << self.quotient_bits) + 4 + 1
        return self.modulus.bit_length() + terms.bit_length() + 2

    @property
    def gap(self) -> int:
        """2^gap_bits."""
        return 1 << self.gap_bits

    def message_factors(self) -> tuple[int, ...]:
        """Return what each value of a coefficient counts: Delta 2^(value_bits d)."""
        return tuple(
            self.delta << (self.value_bits * d) for d in range(self.values_per_coefficient)
        )

    def low_table(self, low_bits: int) -> tuple[int, ...]:
        """Return e + Q k, modulo r, for every error and every low part of k, or every k."""
        bound, half = self.error_bound, 1 << (self.quotient_bits - 1)
        parts = range(1 << low_bits) if low_bits < self.quotient_bits else range(-half, half)
        errors = range(-bound, bound + 1)
        return tuple((e + self.modulus * k) % FIELD_MODULUS for k in parts for e in errors)

    def high_table(self, low_bits: int) -> tuple[int, ...]:
        """Return k_0 + 2^gap_bits k_1, modulo r, for every two upper parts of k, signed."""
        half = 1 << (self.quotient_bits - low_bits - 1)
        parts = range(-half, half)
        return tuple((k0 + self.gap * k1) % FIELD_MODULUS for k1 in parts for k0 in parts)

    def layout(self, n_values: int) -> Ints:
        """Return the place of each value, (pairs, 2, N, per coefficient); n_values: none is."""
        pairs = self.pairs(n_values)
        places = np.full((2 * pairs, self.degree, self.values_per_coefficient), n_values, np.int64)
        places[1:].reshape(-1)[:n_values] = np.arange(n_values)
        return places.reshape(pairs, 2, self.degree, self.values_per_coefficient)

    def describe(self) -> dict[str, Any]:
        """Return the parameters, for canonical JSON."""
        return {
            "scheme": SCHEME,
            "degree": self.degree,
            "primes": [str(prime) for prime in self.primes],
            "values_per_coefficient": self.values_per_coefficient,
            "value_bits": self.value_bits,
            "error_bound": self.error_bound,
        }

    def digest(self, n_values: int, update_bits: int, max_weight: int = 1) -> int:
        """Return the public signal `encryption`: parameters, the number of values, their bits."""
        agreed = {"values": n_values, "update_bits": update_bits, "max_weight": max_weight}
        return digest_of(self.describe() | agreed)
