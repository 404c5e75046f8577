"""The bytes of ciphertexts, shares and partial decryptions: a header of 80 bytes and a body.

    8 magic | 4 kind | 4 holder | 32 seed of the round | 32 subject | body

Numbers are big-endian. The subject is a client key's identifier, or a set's. The body is packed
polynomials, or a seed. One byte string for each value: other lengths, other headers and residues at
or above their prime are refused.
"""

from __future__ import annotations

from enum import IntEnum

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput
from zkai.he.parameters import HEADER_BYTES, ID_BYTES, RING, Round

MAGIC = b"zkairlwe"


class Kind(IntEnum):
    """What a byte string is."""

    CIPHERTEXT = 1
    SUM = 2
    CHECK = 3
    SHARE_SEED = 4
    SHARE = 5
    CHECK_PARTIAL = 6
    PARTIAL = 7


class Stream(IntEnum):
    """What a seed is expanded for: ChaCha20's nonce starts with it, so no two streams meet."""

    MASK = 16
    CHECK = 17
    SHARE = 18
    SECRET = 19
    ERROR = 20
    CHECK_ERROR = 21
    SMUDGE = 22
    PROJECTION = 23
    CHALLENGE = 24
    SHARE_MASK = 25


def derive(label: str, *parts: bytes) -> bytes:
    """Return SHA-256 of a label and parts of 32 bytes each."""
    if any(len(part) != ID_BYTES for part in parts):
        raise InvalidInput(f"{label}: identifiers and digests have {ID_BYTES} bytes")
    return sha256(b"zkai/rlwe/" + label.encode("ascii") + b"/1\0" + b"".join(parts))


def set_identifier(round_: Round, keys: frozenset[bytes]) -> bytes:
    """Return the name of a set of client keys in a round: the order does not matter."""
    return derive("set", round_.seed, *sorted(keys))


def frame(kind: Kind, round_: Round, subject: bytes, body: bytes, holder: int = 0) -> bytes:
    """Return header and body."""
    numbers = int(kind).to_bytes(4, "big") + holder.to_bytes(4, "big")
    return MAGIC + numbers + round_.seed + subject + body


def open_frame(
    data: bytes, kind: Kind, round_: Round, body_bytes: int, what: str, holder: int = 0
) -> tuple[bytes, memoryview]:
    """Return (subject, body) of a byte string from a stranger.

    Raises InvalidInput, naming `what`, for another length, kind, round or holder.
    """
    if len(data) != HEADER_BYTES + body_bytes:
        raise InvalidInput(f"{what}: expected {HEADER_BYTES + body_bytes} bytes, got {len(data)}")
    if data[:8] != MAGIC or int.from_bytes(data[8:12], "big") != kind:
        raise InvalidInput(f"{what}: not the header of a {kind.name.lower().replace('_', ' ')}")
    if int.from_bytes(data[12:16], "big") != holder:
        raise InvalidInput(f"{what}: not of holder {holder}")
    if data[16:48] != round_.seed:
        raise InvalidInput(f"{what}: of another round, or under other parameters")
    return bytes(data[48:80]), memoryview(data)[HEADER_BYTES:]


def subject_of(data: bytes, what: str) -> bytes:
    """Return the subject of a framed byte string, unchecked: the key or set it claims to be of."""
    if len(data) < HEADER_BYTES or data[:8] != MAGIC:
        raise InvalidInput(f"{what}: too short, or without the magic bytes")
    return bytes(data[48:80])


def open_polynomials(
    data: bytes, kind: Kind, round_: Round, count: int, what: str, holder: int = 0
) -> tuple[bytes, Limbs]:
    """Return (subject, polynomials (count, L, n)) of a byte string from a stranger.

    Raises InvalidInput, naming `what`, also for residues that are not canonical.
    """
    body_bytes = count * RING.polynomial_bytes
    subject, body = open_frame(data, kind, round_, body_bytes, what, holder)
    return subject, RING.unpack(body, count, what)
