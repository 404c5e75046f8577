"""A sealed file of named parts for one recipient: what a fork's bundle is made of.

    file = "zkaibdl1" || length (4 bytes) || header || sealed object (`zkai.vault.sealed`)
    header = {"format": "zkai.bundle/1", "jwk", "wrap"}
    sealed data = length (4 bytes) || index || part 0 || part 1 || ...
    index = {"parts": [{"name", "sha256", "size"}]}, by name, each once

The sealed stream is bound to the header; the parts fill the data to its last byte.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from typing import Any

from zkai.encoding import hex32, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import decode, encode, from_base64, to_base64
from zkai.vault.keys import KEY_BYTES, WRAP_BYTES, Recipient, VaultKey
from zkai.vault.sealed import seal_bytes, unseal

MAGIC, FORMAT = b"zkaibdl1", "zkai.bundle/1"
MAX_BUNDLE = 4 << 30
MAX_PARTS = 1 << 16
MAX_INDEX, MAX_HEADER = 32 << 20, 1 << 13
_CONTEXT = b"zkai/bundle/1"
_NAME = re.compile(r"[a-z]+(/[a-z0-9]{1,80})?")


def seal_parts(parts: Mapping[str, bytes], to: Recipient) -> bytes:
    """Return the file of some parts, for one recipient.

    Raises InvalidInput for names of another form and for more than 65,536 parts or 4 GiB.
    """
    names = sorted(parts)
    index = encode(
        {
            "parts": [
                {"name": n, "sha256": hex32(sha256(parts[n])), "size": len(parts[n])} for n in names
            ]
        }
    )
    if len(names) > MAX_PARTS or not all(_NAME.fullmatch(n) for n in names):
        raise InvalidInput(f"bundle: expected at most {MAX_PARTS} parts with short names")
    if sum(map(len, parts.values())) > MAX_BUNDLE or len(index) > MAX_INDEX:
        raise InvalidInput(f"bundle: larger than {MAX_BUNDLE} bytes")
    key = os.urandom(KEY_BYTES)
    wrap = to_base64(to.wrap(key, _CONTEXT))
    header = encode({"format": FORMAT, "jwk": to.jwk, "wrap": wrap})
    data = b"".join([len(index).to_bytes(4, "big"), index, *(parts[n] for n in names)])
    sealed = seal_bytes(key, _CONTEXT + sha256(header), data)
    return MAGIC + len(header).to_bytes(4, "big") + header + sealed


def open_parts(data: bytes, opener: VaultKey) -> dict[str, bytes]:
    """Return the parts of a file by name.

    Raises InvalidInput for another form, VerificationError if it is for another key, or altered.
    """
    start = len(MAGIC) + 4
    size = int.from_bytes(data[len(MAGIC) : start], "big")
    if not data.startswith(MAGIC) or size > MAX_HEADER or len(data) < start + size:
        raise InvalidInput("bundle: not a bundle")
    header = data[start : start + size]
    value = decode(header, "bundle")
    expect_fields(value, ("format", "jwk", "wrap"), "bundle")
    if value["format"] != FORMAT:
        raise InvalidInput(f"bundle: expected {FORMAT}")
    if Recipient.from_jwk(value["jwk"], "bundle.jwk") != opener.recipient:
        raise VerificationError("bundle: made for another key")
    key = opener.unwrap(from_base64(value["wrap"], "bundle.wrap", WRAP_BYTES), _CONTEXT)
    sink = io.BytesIO()
    source = io.BytesIO(data[start + size :])
    unseal(key, _CONTEXT + sha256(header), source, sink, MAX_BUNDLE + MAX_INDEX + 4)
    return _split(sink.getvalue())


def _split(data: bytes) -> dict[str, bytes]:
    size = int.from_bytes(data[:4], "big")
    if size > MAX_INDEX or len(data) < 4 + size:
        raise InvalidInput("bundle: the index is cut short, or too large")
    value = decode(data[4 : 4 + size], "bundle index")
    expect_fields(value, ("parts",), "bundle index")
    listed, at = value["parts"], 4 + size
    if not isinstance(listed, list) or len(listed) > MAX_PARTS:
        raise InvalidInput(f"bundle index: expected at most {MAX_PARTS} parts")
    parts: dict[str, bytes] = {}
    for number, item in enumerate(listed):
        name, length, digest = _entry(item, f"bundle index.parts[{number}]")
        if parts and name <= next(reversed(parts)):
            raise InvalidInput("bundle index: parts are by name, each once")
        parts[name] = data[at : at + length]
        at += length
        if sha256(parts[name]) != digest:
            raise VerificationError(f"bundle: {name} is not what the index says")
    if at != len(data):
        raise VerificationError("bundle: the parts are not the whole of it")
    return parts


def _entry(value: Any, where: str) -> tuple[str, int, bytes]:
    expect_fields(value, ("name", "sha256", "size"), where)
    name, size = value["name"], value["size"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(f"{where}.name: expected a short name")
    if type(size) is not int or not 0 <= size <= MAX_BUNDLE:
        raise InvalidInput(f"{where}.size: expected at most {MAX_BUNDLE}")
    return name, size, parse_hex32(value["sha256"], f"{where}.sha256")
