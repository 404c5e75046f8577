"""One quirk of iden3's tools, kept so that the circuits' hashes agree.

For the largest domain of a .ptau, if it has more than 2**14 rows, they hash one point more than
section 2 has: 64 bytes of what follows it, taken for a point, less tau^(n - 1). Those bytes are no
field elements, so the result depends on how sums and products of 256-bit words reduce: a sum or a
difference is corrected by q once, a Montgomery product too. It adds nothing to what the hash binds.
"""

from __future__ import annotations

from zkai.encoding import BASE_MODULUS
from zkai.proof.points import g1_uncompressed

_Q = BASE_MODULUS
_WORD = 1 << 256
_MINUS_INVERSE = -pow(_Q, -1, _WORD) % _WORD
_R_INVERSE = pow(_WORD, -1, _Q)


def hash_input(data: bytes, minus: bytes) -> bytes:
    """Return the 64 bytes hashed for the words `data` less the point `minus`, both as in files."""
    x1, y1 = _words(data.ljust(64, b"\0"))
    x2, y2 = _words(minus)
    y2 = _sub(0, y2)
    # The sum of two affine points as a Jacobian one (mmadd-2007-bl, Explicit-Formulas Database).
    h, rise = _sub(x2, x1), _sub(y2, y1)
    hh = _mul(h, h)
    i = _double(_double(hh))
    j, r, v = _mul(h, i), _double(rise), _mul(x1, i)
    x3 = _sub(_sub(_mul(r, r), j), _double(v))
    y3 = _sub(_mul(r, _sub(v, x3)), _double(_mul(y1, j)))
    z_inverse = pow(_double(h) * _R_INVERSE, -1, _Q)
    x = x3 * _R_INVERSE * z_inverse**2 % _Q
    y = y3 * _R_INVERSE * z_inverse**3 % _Q
    return g1_uncompressed((x, y))


def _words(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:32], "little"), int.from_bytes(data[32:64], "little")


def _double(a: int) -> int:
    return _once(2 * a)


def _sub(a: int, b: int) -> int:
    return a - b if a >= b else (a - b + _Q) % _WORD


def _mul(a: int, b: int) -> int:
    """Return the Montgomery product, reduced once."""
    m = a * b * _MINUS_INVERSE % _WORD
    return _once((a * b + m * _Q) >> 256)


def _once(value: int) -> int:
    return (value - _Q) % _WORD if value >= _Q else value
