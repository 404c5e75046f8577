"""Messages between a client and a server: a canonical JSON header and parts of known lengths.

    "zkaihe1\\n" | u32 length of the header | header | parts, one after the other

The header names the message's kind, the parameters, the key and the session; the receiver computes
from it what length the whole must have before it reads a part.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import canonical_json, load_json, sha256
from zkai.errors import InvalidInput, VerificationError

MAGIC = b"zkaihe1\n"
MAX_HEADER = 1 << 12
MAX_MESSAGE = 1 << 30
KEY_DOMAIN = b"zkai/he/evaluation-keys/1"


@dataclass(frozen=True)
class Message:
    """A parsed message; `body` is what follows the header."""

    kind: str
    header: Mapping[str, Any]
    body: bytes = field(repr=False)

    def integer(self, name: str, low: int, high: int) -> int:
        """Return a header's number. Raises InvalidInput, naming it, unless low <= it <= high."""
        value = self.header.get(name)
        if type(value) is not int or not low <= value <= high:
            raise InvalidInput(f"{self.kind}: {name}: expected an integer from {low} to {high}")
        return value

    def text(self, name: str, length: int) -> str:
        """Return a header's text. Raises InvalidInput, naming it, unless it is that long."""
        value = self.header.get(name)
        if not isinstance(value, str) or len(value) != length:
            raise InvalidInput(f"{self.kind}: {name}: expected {length} characters")
        return value

    def same(self, **expected: object) -> None:
        """Return None if the header says what was agreed. Raises VerificationError otherwise."""
        for name, value in expected.items():
            found = self.header.get(name)
            if found != value:
                raise VerificationError(
                    f"{self.kind}: {name} is {str(found)[:80]!r}, expected {value!r}"
                )

    def parts(self, sizes: Sequence[int]) -> list[bytes]:
        """Return the parts. Raises InvalidInput unless the body has exactly these lengths."""
        if len(self.body) != sum(sizes):
            raise InvalidInput(
                f"{self.kind}: expected {sum(sizes)} bytes of ciphertexts and keys,"
                f" got {len(self.body)}"
            )
        result, start = [], 0
        for size in sizes:
            result.append(self.body[start : start + size])
            start += size
        return result


def write_message(kind: str, header: Mapping[str, Any], parts: Sequence[bytes] = ()) -> bytes:
    """Return a message's bytes."""
    text = canonical_json({"kind": kind, **header})
    return b"".join([MAGIC, struct.pack("<I", len(text)), text, *parts])


def read_message(data: bytes, kinds: Mapping[str, Sequence[str]]) -> Message:
    """Parse a message of one of `kinds`, each with the names that its header has besides `kind`.

    Raises InvalidInput for anything else, and for more than a gigabyte.
    """
    if len(data) > MAX_MESSAGE:
        raise InvalidInput(f"message: larger than {MAX_MESSAGE} bytes")
    start = len(MAGIC) + 4
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise InvalidInput("message: not one of zkai's encrypted exchanges")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    if length > min(MAX_HEADER, len(data) - start):
        raise InvalidInput("message: the header is cut short or too long")
    text = data[start : start + length]
    header = load_json(text, "message")
    if not isinstance(header, dict) or canonical_json(header) != text:
        raise InvalidInput("message: the header is not a canonical JSON object")
    kind = header.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidInput(f"message: of kind {str(kind)[:40]!r}, expected {' or '.join(kinds)}")
    if sorted(header) != sorted(kinds[kind]):
        raise InvalidInput(f"{kind}: expected the header's names {', '.join(sorted(kinds[kind]))}")
    return Message(kind, header, data[start + length :])


def key_id(parameters: str, keys: bytes) -> str:
    """Return the name of evaluation keys, hence of the secret key that made them.

    A wrong CKKS key decrypts to noise without an error, so that every message carries this.
    """
    return sha256(KEY_DOMAIN + parameters.encode("ascii") + b"\0" + sha256(keys)).hex()


def digest(message: bytes) -> str:
    """Return what an answer names its request by."""
    return sha256(message).hex()
