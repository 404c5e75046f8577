"""Encryption by the schoolbook, in Python's integers: what the proof's arithmetic is held against.

All of it follows from a label by SHA-256, so that any language can make the same ciphertexts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from zkai.circuit.statements.encryption import Encryption
from zkai.encoding import FIELD_MODULUS

TINY = Encryption(16, (18014398509481951, 18014398509481931), error_bound=3)
"""Two numbers of 54 bits: nothing here is secure, and no transform needs their roots of unity."""


def integer(label: str, low: int, high: int) -> int:
    """An integer of [low, high], from 32 bytes of SHA-256."""
    return low + int.from_bytes(hashlib.sha256(label.encode()).digest(), "big") % (high - low + 1)


def centred(value: int, modulus: int) -> int:
    """The representative of a residue that is smallest in magnitude."""
    return (value + modulus // 2) % modulus - modulus // 2


def encrypt(encryption: Encryption, values: Sequence[int], label: str = "") -> dict[str, Any]:
    """A ciphertext of the values: secret_key, errors, c and a, as an `EncryptedUpdate` takes."""
    n, q, count = encryption.degree, encryption.modulus, encryption.polynomials(len(values))
    per, bits = encryption.values_per_coefficient, encryption.value_bits
    secret = [integer(f"{label} s {i}", -1, 1) for i in range(n)]
    bound = encryption.error_bound
    errors, masked, public = [], [], []
    for m in range(count):
        a = [centred(integer(f"{label} a {m} {i}", 0, q - 1), q) for i in range(n)]
        error = [integer(f"{label} e {m} {i}", -bound, bound) for i in range(n)]
        for j in range(n):
            first = ((m - 1) * n + j) * per
            held = values[first : first + per] if m else ()
            message = sum(int(value) << (bits * d) for d, value in enumerate(held))
            turned = [a[j - i] if i <= j else -a[n + j - i] for i in range(n)]
            product = sum(x * y for x, y in zip(turned, secret, strict=True))
            masked.append(centred(encryption.delta * message + error[j] - product, q))
        errors.append(error)
        public += a
    return {
        "secret_key": np.array(secret, np.int64),
        "errors": np.array(errors, np.int64),
        "c": [value % FIELD_MODULUS for value in masked],
        "a": [value % FIELD_MODULUS for value in public],
    }
