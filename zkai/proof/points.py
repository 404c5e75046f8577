"""Single points of BN254 as Python integers, and their encodings in iden3's files.

A G1 point is (x, y); a G2 point is ((x0, x1), (y0, y1)) with x = x0 + x1 u; None is infinity.
"""

from __future__ import annotations

from zkai.circuit.binfile import Words
from zkai.encoding import BASE_MODULUS, to_limbs
from zkai.errors import InvalidInput

G1 = tuple[int, int] | None
G2 = tuple[tuple[int, int], tuple[int, int]] | None

_R = pow(2, 256, BASE_MODULUS)
_R_INVERSE = pow(_R, -1, BASE_MODULUS)

G1_GENERATOR = (1, 2)
G2_GENERATOR = (
    (
        10857046999023057135944570762232829481370756359578518086990519993285655852781,
        11559732032986387107991004021392285783925812861821192530917403151452391805634,
    ),
    (
        8495653923123431417604973247489272438418190587263600148770280649306958101930,
        4082367875863433681332203403145435568316851327593401208105741076214120093531,
    ),
)


def _encode(values: tuple[int, ...]) -> bytes:
    return b"".join((v * _R % BASE_MODULUS).to_bytes(32, "little") for v in values)


def _decode(data: bytes, where: str) -> list[int]:
    values = [int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32)]
    if any(v >= BASE_MODULUS for v in values):
        raise InvalidInput(f"{where}: a coordinate is at or above the field modulus")
    return [v * _R_INVERSE % BASE_MODULUS for v in values]


def g1_to_bytes(point: G1) -> bytes:
    """Return 64 bytes: coordinates in Montgomery form, little-endian; zeros for infinity."""
    return bytes(64) if point is None else _encode(point)


def g2_to_bytes(point: G2) -> bytes:
    """Return 128 bytes: x0, x1, y0, y1 in Montgomery form, little-endian; zeros for infinity."""
    return bytes(128) if point is None else _encode((*point[0], *point[1]))


def g1_from_bytes(data: bytes, where: str) -> G1:
    """Return the point of 64 bytes, not checked against the curve.

    Raises InvalidInput, naming `where`, if a coordinate is not canonical.
    """
    x, y = _decode(data, where)
    return (x, y) if x or y else None


def g2_from_bytes(data: bytes, where: str) -> G2:
    """Return the point of 128 bytes, not checked against the curve.

    Raises InvalidInput, naming `where`, if a coordinate is not canonical.
    """
    x0, x1, y0, y1 = _decode(data, where)
    return ((x0, x1), (y0, y1)) if x0 or x1 or y0 or y1 else None


def g1_uncompressed(point: G1) -> bytes:
    """Return x and y, 32 bytes each, big-endian; zeros for infinity: what transcripts hash."""
    x, y = point or (0, 0)
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def g2_uncompressed(point: G2) -> bytes:
    """Return x1, x0, y1, y0, 32 bytes each, big-endian; zeros for infinity."""
    (x0, x1), (y0, y1) = point or ((0, 0), (0, 0))
    return b"".join(v.to_bytes(32, "big") for v in (x1, x0, y1, y0))


def g1_words(point: G1) -> Words:
    """Return the point as one (1, 8) row of standard-form words."""
    return to_limbs(point or (0, 0)).reshape(1, 8)


def g2_words(point: G2) -> Words:
    """Return the point as one (1, 16) row of standard-form words."""
    (x0, x1), (y0, y1) = point or ((0, 0), (0, 0))
    return to_limbs((x0, x1, y0, y1)).reshape(1, 16)


def g1_on_curve(point: tuple[int, int]) -> bool:
    """Return whether y**2 = x**3 + 3."""
    x, y = point
    return (y * y - x * x * x - 3) % BASE_MODULUS == 0


def g2_on_curve(point: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Return whether (9 + u) (y**2 - x**3) = 3 over Fq[u] / (u**2 + 1)."""
    (x0, x1), (y0, y1) = point
    square = (x0 * x0 - x1 * x1, 2 * x0 * x1)
    cube = (square[0] * x0 - square[1] * x1, square[0] * x1 + square[1] * x0)
    d0, d1 = y0 * y0 - y1 * y1 - cube[0], 2 * y0 * y1 - cube[1]
    return (9 * d0 - d1 - 3) % BASE_MODULUS == 0 and (d0 + 9 * d1) % BASE_MODULUS == 0
