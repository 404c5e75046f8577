"""Canonical JSON that is signed: RFC 8785 for the values that receipts may hold, and base64.

Only strings, integers of at most 2**53 - 1, true, false, null, lists and objects with ASCII keys:
for these, sorted JSON without spaces is RFC 8785's form.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from zkai.encoding import load_json
from zkai.errors import InvalidInput

MAX_INTEGER = (1 << 53) - 1
MAX_DEPTH = 32


def encode(value: Any) -> bytes:
    """Return the canonical bytes of `value` (RFC 8785).

    Raises InvalidInput for floats, large integers, keys beyond ASCII, lone surrogates, other types
    and nesting deeper than 32.
    """
    _check(value, 0)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput("canonical JSON: a string holds half a surrogate pair") from error


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"canonical JSON: nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidInput("canonical JSON: an integer is beyond 2**53 - 1; write it as text")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise InvalidInput("canonical JSON: keys must be ASCII text")
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    else:
        raise InvalidInput(f"canonical JSON holds no {type(value).__name__}")


def decode(data: bytes, where: str) -> Any:
    """Return the value of canonical bytes.

    Raises InvalidInput, naming `where`, for anything that `encode` would not have written.
    """
    value = load_json(data, where)
    if encode(value) != data:
        raise InvalidInput(f"{where}: not canonical JSON (RFC 8785)")
    return value


def to_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: object, where: str, most: int) -> bytes:
    """Return the bytes of canonical standard base64.

    Raises InvalidInput for other alphabets, missing padding, stray bits, or more than `most` bytes.
    """
    if not isinstance(text, str) or not text.isascii() or len(text) > (most + 2) // 3 * 4:
        raise InvalidInput(f"{where}: expected base64 of at most {most} bytes")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{where}: not base64 ({error})") from error
    if to_base64(data) != text or len(data) > most:
        raise InvalidInput(f"{where}: not canonical base64, or more than {most} bytes")
    return data


def to_base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: object, where: str, most: int) -> bytes:
    """Return the bytes of canonical base64url without padding. Raises InvalidInput otherwise."""
    if not isinstance(text, str) or not text.isascii() or len(text) > (most * 4 + 2) // 3:
        raise InvalidInput(f"{where}: expected base64url of at most {most} bytes")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{where}: not base64url ({error})") from error
    if to_base64url(data) != text or len(data) > most:
        raise InvalidInput(f"{where}: not canonical base64url")
    return data
