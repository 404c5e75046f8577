"""BLAKE2b-512 that can stop and go on (RFC 7693): .ptau files store the state of a running hash.

hashlib neither shows nor takes its state. This is for the few last blocks of such a hash, and for
making small development files; anything else uses hashlib.
"""

from __future__ import annotations

import struct

_MASK = (1 << 64) - 1
_BLOCK = 128
_IV = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_LANES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
STATE_BYTES = 216
_STATE = struct.Struct("<128s8QQQ8x")


class Blake2b:
    """A running BLAKE2b-512 hash."""

    def __init__(self, data: bytes = b"") -> None:
        self._h = [_IV[0] ^ 0x01010040, *_IV[1:]]
        self._hashed = 0
        self._buffer = b""
        self.update(data)

    def update(self, data: bytes) -> None:
        """Hash more bytes."""
        self._buffer += data
        # The last block waits: only `digest` knows that it is the last.
        while len(self._buffer) > _BLOCK:
            self._hashed += _BLOCK
            self._h = _compress(self._h, self._buffer[:_BLOCK], self._hashed, last=False)
            self._buffer = self._buffer[_BLOCK:]

    def digest(self) -> bytes:
        """Return the 64 bytes of the hash."""
        block = self._buffer.ljust(_BLOCK, b"\0")
        total = self._hashed + len(self._buffer)
        return struct.pack("<8Q", *_compress(self._h, block, total, last=True))

    def state(self) -> bytes:
        """Return the 216 bytes that a .ptau contribution stores."""
        return _STATE.pack(self._buffer, *self._h, self._hashed, len(self._buffer))

    @staticmethod
    def from_state(state: bytes) -> Blake2b:
        """Return a hash that goes on from stored bytes. A position past the block is cut to it."""
        buffer, *h, hashed, position = _STATE.unpack(state)
        result = Blake2b()
        result._h, result._hashed = h, hashed
        result._buffer = buffer[: min(position, _BLOCK)]
        return result


def _compress(h: list[int], block: bytes, total: int, last: bool) -> list[int]:
    m = struct.unpack("<16Q", block)
    v = [*h, *_IV]
    v[12] ^= total & _MASK
    v[13] ^= total >> 64
    if last:
        v[14] ^= _MASK
    for round_number in range(12):
        order = _SIGMA[round_number % 10]
        for lane, (a, b, c, d) in enumerate(_LANES):
            _mix(v, a, b, c, d, m[order[2 * lane]], m[order[2 * lane + 1]])
    return [x ^ y ^ z for x, y, z in zip(h, v[:8], v[8:], strict=True)]


def _mix(v: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    v[a] = (v[a] + v[b] + x) & _MASK
    v[d] = _rotate(v[d] ^ v[a], 32)
    v[c] = (v[c] + v[d]) & _MASK
    v[b] = _rotate(v[b] ^ v[c], 24)
    v[a] = (v[a] + v[b] + y) & _MASK
    v[d] = _rotate(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & _MASK
    v[b] = _rotate(v[b] ^ v[c], 63)


def _rotate(value: int, bits: int) -> int:
    return (value >> bits | value << (64 - bits)) & _MASK
