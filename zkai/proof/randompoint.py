"""Points and scalars from seeds, as iden3's ceremonies derive them: ChaCha20 and rejection.

The generator is ChaCha20 (RFC 8439's block function, 256-bit key, 64-bit counter, no nonce) read as
32-bit words. A field element is four 64-bit words, the high half of each first, cut to 254 bits and
rejected at or above the modulus; it is read as if in Montgomery form. A point is an x and a sign.
"""

from __future__ import annotations

import functools
import hashlib
import struct

from Crypto.Cipher import ChaCha20

from zkai.encoding import BASE_MODULUS, FIELD_MODULUS
from zkai.errors import InvalidInput
from zkai.proof.points import G1, G2
from zkai.proof.ratio import g1_multiply

_Q = BASE_MODULUS
_MASK = (1 << 254) - 1
_R_INVERSE = {p: pow(1 << 256, -1, p) for p in (FIELD_MODULUS, BASE_MODULUS)}
_G2_COFACTOR = 2 * BASE_MODULUS - FIELD_MODULUS
_Fq2 = tuple[int, int]


class SeedStream:
    """A stream of 32-bit words from a 32-byte seed, read as eight big-endian words."""

    def __init__(self, seed: bytes) -> None:
        key = struct.pack("<8I", *struct.unpack(">8I", seed[:32]))
        self._cipher = ChaCha20.new(key=key, nonce=bytes(8))
        self._words: list[int] = []

    def u32(self) -> int:
        if not self._words:
            block = self._cipher.encrypt(bytes(64))
            self._words = list(struct.unpack("<16I", block))[::-1]
        return self._words.pop()

    def element(self, modulus: int) -> int:
        """Return a field element in standard form."""
        while True:
            value = 0
            for limb in range(4):
                high = self.u32()
                value |= (high << 32 | self.u32()) << (64 * limb)
            value &= _MASK
            if value < modulus:
                return value * _R_INVERSE[modulus] % modulus

    def g1(self) -> G1:
        """Return a point of G1."""
        while True:
            x = self.element(_Q)
            greatest = self.u32() & 1
            y_squared = (x * x * x + 3) % _Q
            y = pow(y_squared, (_Q + 1) // 4, _Q)
            if y * y % _Q == y_squared:
                return (x, -y % _Q if _is_negative(y) != bool(greatest) else y)

    def g2(self) -> G2:
        """Return a point of G2: of its curve, the cofactor cleared."""
        return _clear_cofactor(self.twist_point())

    def twist_point(self) -> tuple[_Fq2, _Fq2]:
        """Return a point of the curve of G2, almost never in the subgroup of order r."""
        while True:
            x = (self.element(_Q), self.element(_Q))
            greatest = self.u32() & 1
            y = _sqrt2(_add2(_mul2(_mul2(x, x), x), _TWIST_B))
            if y is None:
                continue
            negative = _is_negative(y[1]) if y[1] else _is_negative(y[0])
            if negative != bool(greatest):
                y = (-y[0] % _Q, -y[1] % _Q)
            return x, y


def _is_negative(value: int) -> bool:
    return value > _Q // 2


def _add2(a: _Fq2, b: _Fq2) -> _Fq2:
    return (a[0] + b[0]) % _Q, (a[1] + b[1]) % _Q


def _mul2(a: _Fq2, b: _Fq2) -> _Fq2:
    return (a[0] * b[0] - a[1] * b[1]) % _Q, (a[0] * b[1] + a[1] * b[0]) % _Q


def _inverse2(a: _Fq2) -> _Fq2:
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, _Q)
    return a[0] * norm % _Q, -a[1] * norm % _Q


_TWIST_B = _mul2((3, 0), _inverse2((9, 1)))


def _sqrt2(a: _Fq2) -> _Fq2 | None:
    """Return a square root in Fq2 by the norm, or None (q = 3 mod 4)."""
    norm = (a[0] * a[0] + a[1] * a[1]) % _Q
    root = pow(norm, (_Q + 1) // 4, _Q)
    if root * root % _Q != norm:
        return None
    half = (_Q + 1) // 2
    for sign in (1, -1):
        square = (a[0] + sign * root) * half % _Q
        real = pow(square, (_Q + 1) // 4, _Q)
        if real * real % _Q != square:
            continue
        if real == 0:
            imaginary = pow(-a[0] % _Q, (_Q + 1) // 4, _Q)
        else:
            imaginary = a[1] * half * pow(real, -1, _Q) % _Q
        if _mul2((real, imaginary), (real, imaginary)) == (a[0] % _Q, a[1] % _Q):
            return real, imaginary
    return None


def _clear_cofactor(point: tuple[_Fq2, _Fq2]) -> G2:
    result: tuple[_Fq2, _Fq2] | None = None
    for bit in bin(_G2_COFACTOR)[2:]:
        if result is not None:
            result = _add_g2(result, result)
        if bit == "1":
            result = point if result is None else _add_g2(result, point)
    return result


def _add_g2(a: tuple[_Fq2, _Fq2], b: tuple[_Fq2, _Fq2]) -> tuple[_Fq2, _Fq2] | None:
    if a[0] == b[0]:
        if _add2(a[1], b[1]) == (0, 0):
            return None
        square = _mul2(a[0], a[0])
        slope = _mul2((3 * square[0], 3 * square[1]), _inverse2((2 * a[1][0], 2 * a[1][1])))
    else:
        dx = ((b[0][0] - a[0][0]) % _Q, (b[0][1] - a[0][1]) % _Q)
        dy = ((b[1][0] - a[1][0]) % _Q, (b[1][1] - a[1][1]) % _Q)
        slope = _mul2(dy, _inverse2(dx))
    s = _mul2(slope, slope)
    x = ((s[0] - a[0][0] - b[0][0]) % _Q, (s[1] - a[0][1] - b[0][1]) % _Q)
    t = _mul2(slope, ((a[0][0] - x[0]) % _Q, (a[0][1] - x[1]) % _Q))
    return x, ((t[0] - a[1][0]) % _Q, (t[1] - a[1][1]) % _Q)


def hash_to_g2(digest: bytes) -> G2:
    """Return the G2 point that a 64-byte transcript hash selects."""
    return SeedStream(digest[:32]).g2()


@functools.lru_cache(maxsize=2)
def beacon_seed(beacon: bytes, log_iterations: int) -> bytes:
    """Return SHA-256 iterated 2**log_iterations times on the beacon's value.

    Raises InvalidInput outside 0 <= log_iterations <= 32.
    """
    if not 0 <= log_iterations <= 32:
        raise InvalidInput(f"beacon iterations must be 2**0 to 2**32, got 2**{log_iterations}")
    for _ in range(1 << log_iterations):
        beacon = hashlib.sha256(beacon).digest()
    return beacon


def slot_seed(seed: bytes, slot: bytes) -> bytes:
    """Return the seed of one of several secrets; the seed itself where the slot has no name."""
    return hashlib.sha256(slot + seed).digest() if slot else seed


def contribution_key(seed: bytes) -> tuple[int, G1, G1]:
    """Return the scalar d and the points s, d s of a 32-byte seed."""
    stream = SeedStream(seed)
    secret = stream.element(FIELD_MODULUS)
    point = stream.g1()
    return secret, point, g1_multiply(point, secret)
