"""Sealed objects: a stream of authenticated chunks with a fixed order and a marked end.

    object = "zkaiobj1" || salt (32) || commitment (32) || chunk 0 || chunk 1 || ...
    stream key || commitment = HKDF-SHA256(object key, salt, "zkai/object/1" || context)
    chunk i = ChaCha20-Poly1305(stream key, nonce = i (11 bytes) || last (1 byte), 64 KiB of padded)
    padded = length (8 bytes) || data || zeros, to the Padme length of max(1024, 8 + data)

The nonce holds each chunk's place and whether it is the last, so chunks cannot be dropped, moved
or appended. The commitment lets an object open under one key only, which the AEAD alone does not
promise. Padding hides a length to within 12 percent: of n bytes it shows O(log log n) bits.

Sources: Hoang, Reyhanitabar, Rogaway, Vizar 2015 (STREAM); Nikitin and others 2019 (Padme).
"""

from __future__ import annotations

import hmac
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zkai.errors import InvalidInput, VerificationError
from zkai.vault.keys import KEY_BYTES

MAGIC = b"zkaiobj1"
CHUNK = 1 << 16
TAG = 16
HEADER = len(MAGIC) + 64
MAX_DATA = 1 << 36
_LEAST, _LENGTH = 1024, 8


def padded_length(size: int) -> int:
    """Return how many bytes are sealed for `size` bytes of data (Padme, at least 1,024)."""
    total = max(_LEAST, _LENGTH + size)
    exponent = total.bit_length() - 1
    drop = exponent - exponent.bit_length()
    return -(-total >> drop) << drop if drop > 0 else total


def sealed_length(size: int) -> int:
    """Return the length of a sealed object of `size` bytes of data."""
    padded = padded_length(size)
    return HEADER + padded + TAG * -(-padded // CHUNK)


def seal(key: bytes, context: bytes, source: BinaryIO, size: int, sink: BinaryIO) -> None:
    """Write the sealed form of `size` bytes of `source`.

    `context` says what the object is; it must be given again to open it.

    Raises InvalidInput if the source has another length or more than 64 GiB.
    """
    if not 0 <= size <= MAX_DATA:
        raise InvalidInput(f"object: at most {MAX_DATA} bytes can be sealed")
    salt = os.urandom(32)
    cipher, commitment = _derive(key, salt, context)
    sink.write(MAGIC + salt + commitment)
    padded = padded_length(size)
    left, zeros, count = size, padded - _LENGTH - size, -(-padded // CHUNK)
    for number in range(count):
        chunk = size.to_bytes(_LENGTH, "big") if number == 0 else b""
        data = _read_exactly(source, min(left, CHUNK - len(chunk)))
        left -= len(data)
        chunk += data
        fill = min(zeros, CHUNK - len(chunk))
        zeros -= fill
        sink.write(cipher.encrypt(_nonce(number, number == count - 1), chunk + bytes(fill), None))
    if source.read(1):
        raise InvalidInput(f"object: the source is longer than {size} bytes")


def unseal(
    key: bytes, context: bytes, source: BinaryIO, sink: BinaryIO, most: int = MAX_DATA
) -> int:
    """Write the data of a sealed object, of at most `most` bytes, and return how many they are.

    What was written counts only once this returns: discard it if this raises.

    Raises VerificationError for another key or context and for any change, InvalidInput for
    what is no sealed object or one that is too large.
    """
    header = source.read(HEADER)
    if len(header) != HEADER or not header.startswith(MAGIC):
        raise InvalidInput("object: not a sealed object")
    salt, commitment = header[len(MAGIC) : -32], header[-32:]
    cipher, expected = _derive(key, salt, context)
    if not hmac.compare_digest(commitment, expected):
        raise VerificationError("object: sealed under another key or for another purpose")
    size, left, total = 0, 0, 0
    for number, (chunk, last) in enumerate(_chunks(source)):
        try:
            data = cipher.decrypt(_nonce(number, last), chunk, None)
        except InvalidTag as error:
            raise VerificationError(
                f"object: chunk {number} is altered or not in its place, or the end is missing"
            ) from error
        total += len(data)
        if number == 0:
            if len(data) < _LENGTH:
                raise VerificationError("object: the first chunk has no length")
            size = left = int.from_bytes(data[:_LENGTH], "big")
            data = data[_LENGTH:]
            if size > most:
                raise InvalidInput(f"object: {size} bytes, more than the {most} allowed here")
        sink.write(data[:left])
        if any(data[left:]):
            raise VerificationError("object: the padding is not zeros")
        left -= min(left, len(data))
    if left or total != padded_length(size):
        raise VerificationError("object: the padding is not of the length that it must have")
    return size


def seal_bytes(key: bytes, context: bytes, data: bytes) -> bytes:
    """Return the sealed form of `data`; see `seal`."""
    sink = io.BytesIO()
    seal(key, context, io.BytesIO(data), len(data), sink)
    return sink.getvalue()


def unseal_bytes(key: bytes, context: bytes, sealed: bytes, most: int = MAX_DATA) -> bytes:
    """Return the data of a sealed object; see `unseal`."""
    sink = io.BytesIO()
    unseal(key, context, io.BytesIO(sealed), sink, most)
    return sink.getvalue()


def _derive(key: bytes, salt: bytes, context: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"object: a key has {KEY_BYTES} bytes")
    info = b"zkai/object/1" + context
    both = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(key)
    return ChaCha20Poly1305(both[:32]), both[32:]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _chunks(source: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield each chunk, and whether nothing follows it."""
    chunk = _read_most(source, CHUNK + TAG)
    while True:
        following = _read_most(source, CHUNK + TAG)
        yield chunk, not following
        if not following:
            return
        chunk = following


def _read_most(source: BinaryIO, size: int) -> bytes:
    """Return `size` bytes, or all that are left: a stream may return fewer at a time."""
    parts, left = [], size
    while left and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_exactly(source: BinaryIO, size: int) -> bytes:
    data = _read_most(source, size)
    if len(data) != size:
        raise InvalidInput("object: the source is shorter than was said")
    return data
