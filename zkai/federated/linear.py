"""A random linear check that a sum is the sum of its ciphertexts.

For secret random r, drawn after everything is fixed: sum over clients of <r, c_i> = <r, total>
modulo each prime. Random weights of 10 bits, eight times over: a wrong total passes with
probability at most 2^-80 for each prime. It reads each ciphertext once and keeps eight numbers a
prime, so that what one reader found can be added to what others found.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput, VerificationError
from zkai.federated.decisions import Decision, Round
from zkai.federated.scheme import Scheme

REPEATS, WEIGHT_BITS, PRIME_BITS = 8, 10, 54
_CHUNK = 1 << 9
Uint64 = npt.NDArray[np.uint64]


def linear_check(rnd: Round, scheme: Scheme, chosen: Decision, total: bytes) -> None:
    """Return None if `total` is the sum of the set's ciphertexts, but for a chance of 2^-80.

    Raises VerificationError otherwise.
    """
    size = scheme.ciphertext_bytes
    bodies = (
        rnd.board.body(rnd.number, bytes.fromhex(e["ciphertext"][2:]), size, "ciphertext")
        for e in chosen.entries
    )
    check_linear(scheme, bodies, total)


def check_linear(scheme: Scheme, ciphertexts: Iterable[bytes], total: bytes) -> None:
    """Return None if `total` is the sum of some ciphertexts; see `linear_check`."""
    if max(scheme.primes).bit_length() > PRIME_BITS:
        raise InvalidInput(f"linear check: primes have at most {PRIME_BITS} bits")
    primes = np.array(scheme.primes, dtype=np.uint64)
    wanted = scheme.residues(total)
    weights = draw_weights(wanted.shape[0], wanted.shape[2])
    found = np.zeros((REPEATS, primes.size), dtype=np.uint64)
    for data in ciphertexts:
        found = (found + products(scheme.residues(data), weights, primes)) % primes
    if not np.array_equal(found, products(wanted, weights, primes)):
        raise VerificationError("set: the sum fails the random linear check of its ciphertexts")


def draw_weights(polynomials: int, degree: int) -> Uint64:
    """Return random weights of 10 bits, of shape (8, polynomials, degree)."""
    count = REPEATS * polynomials * degree
    data = np.frombuffer(secrets.token_bytes(2 * count), dtype="<u2")
    weights = data.astype(np.uint64) & np.uint64((1 << WEIGHT_BITS) - 1)
    return weights.reshape(REPEATS, polynomials, degree)


def products(residues: Uint64, weights: Uint64, primes: Uint64) -> Uint64:
    """Return <r, c> modulo each prime, of shape (8, primes), for residues below 2^54.

    Products have at most 64 bits; sums of 512 of them, once reduced, at most 63.
    """
    found = np.empty((REPEATS, primes.size), dtype=np.uint64)
    for k, prime in enumerate(primes):
        values = np.ascontiguousarray(residues[:, k, :]).ravel()
        for i in range(REPEATS):
            terms = values * weights[i].ravel() % prime
            parts = np.add.reduceat(terms, np.arange(0, terms.size, _CHUNK)) % prime
            total = 0
            for part in parts.tolist():
                total += part
            found[i, k] = total % int(prime)
    return found
