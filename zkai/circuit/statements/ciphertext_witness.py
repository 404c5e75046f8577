"""What a prover knows of its ciphertext: quotients and carries, by arithmetic in the field.

Over Z[X], c + A s - Delta u - e = Q k + (X^N + 1) g. Every coefficient is far below the field's
order, so products, and the exact division by Q, are those of the field.
"""

from __future__ import annotations

import numpy as np

from zkai import native
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.tensor import Ints
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput


def paired(encryption: Encryption, polynomials: Limbs) -> Limbs:
    """Return the coefficients of sum_p X^(2 N p) (f_2p + 2^gap_bits f_(2p+1)).

    `polynomials` is (P N, 4), one after the other.
    """
    first, second = _halves(encryption, polynomials)
    lower = native.fr_add(first, _times(second, encryption.gap))
    n = encryption.degree
    whole = np.zeros((len(lower) // n, 2 * n, 4), np.uint64)
    whole[:, :n] = lower.reshape(-1, n, 4)
    return whole.reshape(-1, 4)


def witness(
    encryption: Encryption,
    values: Ints,
    secret: Ints,
    errors: Ints,
    c: Limbs,
    a: Limbs,
    where: str,
) -> tuple[Limbs, Limbs, Limbs]:
    """Return the error digits, quotient digits and carries of a ciphertext.

    `values` (n,), `secret` (N,), `errors` (P, N), `c` and `a` (P N, 4).

    Raises InvalidInput if the ciphertext is not of these values, or a quotient is too large: once
    in 10^10 ciphertexts, and then another secret does.
    """
    n, count = encryption.degree, len(errors)
    carries, difference = _products(encryption, a, secret, count)
    message = _message(encryption, values, count)
    known = native.fr_add(message, native.fr_from_int64(errors.ravel()))
    left = native.fr_sub(native.fr_add(c, difference), known)
    k = _small(_times(left, pow(encryption.modulus, -1, FIELD_MODULUS)), where)
    half = 1 << (encryption.quotient_bits - 1)
    if k.size and (int(k.min()) < -half or int(k.max()) >= half):
        raise InvalidInput(f"{where}: a quotient is too large; encrypt under another secret")
    low_bits = encryption.low_bits(len(values))
    split = low_bits < encryption.quotient_bits
    low, high = (k & ((1 << low_bits) - 1), k >> low_bits) if split else (k, k[:0])
    digits = native.fr_add(
        native.fr_from_int64(errors.ravel()),
        _times(native.fr_from_int64(low), encryption.modulus),
    )
    upper = paired(encryption, native.fr_from_int64(high)).reshape(-1, 2 * n, 4)[:, :n]
    carried = paired(encryption, carries).reshape(-1, 2 * n, 4)[:, :n]
    return digits, upper.reshape(-1, 4).copy(), carried.reshape(-1, 4).copy()


def _products(encryption: Encryption, a: Limbs, secret: Ints, count: int) -> tuple[Limbs, Limbs]:
    """Return the upper halves of A_m s, and the lower halves less the upper, (P N, 4) each."""
    n = encryption.degree
    padded = np.zeros((2 * n, 4), np.uint64)
    padded[:n] = native.fr_from_int64(secret)
    transformed = native.ntt(padded)
    upper, reduced = [], []
    for part in a.reshape(count, n, 4):
        padded[:n], padded[n:] = part, 0
        product = native.ntt(native.fr_mul(native.ntt(padded), transformed), inverse=True)
        upper.append(product[n:])
        reduced.append(native.fr_sub(product[:n], product[n:]))
    return np.concatenate(upper), np.concatenate(reduced)


def _message(encryption: Encryption, values: Ints, count: int) -> Limbs:
    """Return Delta times the packed values, (P N, 4)."""
    padded = np.append(values, np.int64(0))
    layout = encryption.layout(len(values)).reshape(
        -1, encryption.degree, encryption.values_per_coefficient
    )[:count]
    total = np.zeros((layout.shape[0] * layout.shape[1], 4), np.uint64)
    for digit, factor in enumerate(encryption.message_factors()):
        part = native.fr_from_int64(padded[layout[:, :, digit].ravel()])
        total = native.fr_add(total, _times(part, factor))
    return total


def _halves(encryption: Encryption, polynomials: Limbs) -> tuple[Limbs, Limbs]:
    """Return the polynomials of even and of odd place; an odd one may be missing, for zeros."""
    n = encryption.degree
    count = len(polynomials) // n
    padded = np.zeros((count + count % 2, n, 4), np.uint64)
    padded[:count] = polynomials.reshape(count, n, 4)
    pairs = padded.reshape(-1, 2, n, 4)
    return tuple(np.ascontiguousarray(pairs[:, i]).reshape(-1, 4) for i in (0, 1))  # type: ignore


def _times(values: Limbs, factor: int) -> Limbs:
    return native.fr_mul(values, np.repeat(to_limbs([factor % FIELD_MODULUS]), len(values), axis=0))


def _small(values: Limbs, where: str) -> Ints:
    """Return elements that are small integers, or r less small ones, as int64."""
    negated = native.fr_sub(np.zeros_like(values), values)
    found = np.zeros(len(values), np.int64)
    known = np.zeros(len(values), np.bool_)
    for part, sign in ((values, 1), (negated, -1)):
        is_small = (part[:, 1:] == 0).all(axis=1) & (part[:, 0] < 1 << 32)
        found[is_small] = sign * part[is_small, 0].astype(np.int64)
        known |= is_small
    if not known.all():
        raise InvalidInput(
            f"{where}: the ciphertext does not encrypt this update under this secret and errors"
        )
    return found
