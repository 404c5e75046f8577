"""Rows that prove a ciphertext: what it encrypts, its errors' size and its one secret.

With M = 2^gap_bits and a pair's polynomials 0 and 1, for each pair p at X = fold:

    sum_p X^(2 N p) [ c + A s - V - (X^N + 1) g ] = 0,    V = L_0 + M L_1 + Q 2^low_bits K + U

over c = c_0 + M c_1, A = A_0 + M A_1 and g = g_0 + M g_1. L = e + Q (the low bits of k) and
K = k_0 + M k_1 (their upper parts, where k has one) are looked up; U = Delta (u_0 + M u_1) is the
message. C(fold) and A(fold), sums over all pairs, are values of public polynomials. g needs no
check: its coefficients are what the upper half of A s says, modulo r
(docs/decisions/0016-encrypted-update.md).

Rows for each pair: 2 N or 3 N lookups, N for V, N for g; once N for s and N / 4 that look up four
of its coefficients at a time, which their sum at fold has joined already; and the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import evaluate, joined, power_of_fold, row_sums
from zkai.circuit.gadgets.logup import lookups
from zkai.circuit.gadgets.tables import Elements, Tuples, products_of
from zkai.circuit.polynomial import PublicPolynomial
from zkai.circuit.second_round import define_horner, define_product
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.tensor import Field, Rows, Tensor, as_tensor, concat
from zkai.circuit.wide import Wide

CIPHERTEXT, RANDOMNESS = "c", "a"
"""The public polynomials: the pairs' c and A, centred."""

KEY = "secret_key"
LOW, HIGH, CARRIES = "error_digits", "quotient_digits", "carries"
TERNARY_COLUMNS = 4
CHUNKS = 64
"""Polynomials are cut into so many parts at most, which are summed side by side."""


def public_polynomials(encryption: Encryption, n_values: int) -> tuple[PublicPolynomial, ...]:
    """Return the two polynomials that every verifier computes from ciphertext and seed."""
    size = 2 * encryption.degree * encryption.pairs(n_values)
    return tuple(PublicPolynomial(name, size) for name in (CIPHERTEXT, RANDOMNESS))


@dataclass(frozen=True, eq=False)
class _Claim:
    node: str
    secret: Tensor
    low: Tensor
    high: Tensor | None
    carries: Tensor
    values: Tensor


class Ciphertext:
    """The one ciphertext of a circuit; `close` proves the identity."""

    def __init__(self, builder: Builder, encryption: Encryption) -> None:
        self._builder = builder
        self._encryption = encryption
        self._claims: list[_Claim] = []

    def bind(self, values: Tensor) -> None:
        """Declare the private inputs, and let the ciphertext encrypt the values, in order."""
        builder, shape = self._builder, self._encryption
        pairs, n = shape.pairs(values.size), shape.degree
        secret = builder.private_int(KEY, (n // TERNARY_COLUMNS, TERNARY_COLUMNS))
        low = builder.private_field(LOW, shape.polynomials(values.size) * n)
        low_bits = shape.low_bits(values.size)
        split = low_bits < shape.quotient_bits
        high = builder.private_field(HIGH, pairs * n if split else 0)
        carries = builder.private_field(CARRIES, pairs * n)
        builder.require_round_one(values, carries)
        asked = lookups(builder)
        with builder.at("secret"):
            table = Tuples(products_of((-1, 0, 1), TERNARY_COLUMNS))
            asked.tuples("ternary", table, secret, "ternary")
        with builder.at("errors"):
            asked.member("errors", Elements(shape.low_table(low_bits)), low, "range")
        if split:
            with builder.at("quotients"):
                asked.member("quotients", Elements(shape.high_table(low_bits)), high, "range")
        self._claims.append(
            _Claim(
                builder.node,
                secret,
                _wires(low),
                _wires(high) if split else None,
                _wires(carries),
                values.reshape(values.size),
            )
        )

    def close(self) -> None:
        """Add the rows of the identity."""
        builder, n = self._builder, self._encryption.degree
        (claim,) = self._claims
        with builder.at(claim.node):
            secret = evaluate(builder, claim.secret, "secret")
            left = define_product(
                builder,
                "ciphertext",
                builder.polynomial_value(RANDOMNESS),
                secret,
                plus=builder.polynomial_value(CIPHERTEXT),
            )
            message = self._folded(self._message(claim))
            carried = self._carried(claim)
            ring = power_of_fold(builder, n) + 1
            builder.constrain(ring, carried, left - message, "ciphertext")

    def _message(self, claim: _Claim) -> Wide:
        """Return V's coefficients, (pairs N,)."""
        shape, n = self._encryption, self._encryption.degree
        layout = shape.layout(claim.values.size)
        pairs = len(layout)
        both = _padded(claim.low, 2 * pairs * n).reshape(pairs, 2, n)
        values = _padded(claim.values, claim.values.size + 1)
        parts: list[tuple[int, Tensor | Wide]] = []
        if claim.high is not None:
            parts.append((shape.modulus << shape.low_bits(claim.values.size), claim.high))
        for which, weight in ((0, 1), (1, shape.gap)):
            parts.append((weight, _flat(both[:, which])))
            for digit, factor in enumerate(shape.message_factors()):
                places = layout[:, which, :, digit].ravel()
                if (places < claim.values.size).any():
                    parts.append((weight * factor, values.gather(places)))
        return Wide.total(parts)

    def _folded(self, wide: Wide) -> Tensor:
        """Return the sum over pairs of fold^(2 N p) times its polynomial at fold."""
        builder, n = self._builder, self._encryption.degree
        chunks = min(CHUNKS, n // 2)
        width = n // chunks
        pairs = len(wide) // n
        first = np.arange(pairs * chunks) * width
        total: Tensor | Wide = wide.take(first + width - 1)
        for column in range(width - 2, -1, -1):
            total = define_horner(builder, "message", total, wide.take(first + column))
        assert isinstance(total, Tensor)
        return self._pairs(joined(builder, total.reshape(pairs, chunks), width, "message"))

    def _carried(self, claim: _Claim) -> Tensor:
        builder, n = self._builder, self._encryption.degree
        chunks = min(CHUNKS, n // 2)
        pairs = claim.carries.size // n
        sums = row_sums(builder, claim.carries.reshape(pairs * chunks, n // chunks))
        return self._pairs(joined(builder, sums.reshape(pairs, chunks), n // chunks, "carries"))

    def _pairs(self, values: Tensor) -> Tensor:
        builder, total = self._builder, values[-1]
        for i in range(values.size - 2, -1, -1):
            power = power_of_fold(builder, 2 * self._encryption.degree)
            total = define_product(builder, "pairs", total, power, plus=values[i])
        return total


def _wires(field: Field) -> Tensor:
    return Tensor((len(field),), Rows.of_wires(field.wires), None)


def _flat(part: Tensor) -> Tensor:
    return part.reshape(part.size)


def _padded(values: Tensor, size: int) -> Tensor:
    """Return the values, then zeros."""
    if values.size == size:
        return values
    return concat([values, as_tensor(np.zeros(size - values.size, np.int64))])


def ciphertext(builder: Builder, encryption: Encryption) -> Ciphertext:
    """Return the circuit's one ciphertext."""
    return builder.deferred(Ciphertext, lambda: Ciphertext(builder, encryption))
