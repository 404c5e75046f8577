"""JSON forms shared by keys and proofs: points in decimal, strict objects, canonical values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zkai.encoding import load_json, parse_decimal, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.proof.points import G1, G2

WORD = 1 << 256
"""Parsers take any 256-bit integer: that a value is below its modulus is for verifiers to check."""


def write_document(path: Path | str, value: Any) -> None:
    """Write JSON values as a file, atomically. Raises InvalidInput if it cannot be written."""
    write_atomic(path, json.dumps(value, indent=1).encode() + b"\n")


def read_document(path: Path | str, most: int) -> Any:
    """Return the JSON values of a file of at most `most` bytes. Raises InvalidInput naming it."""
    return load_json(read_capped(path, most), str(path))


def expect_fields(value: Any, fields: Iterable[str], where: str) -> None:
    """Return None if `value` is an object with exactly these fields.

    Raises InvalidInput naming what is missing or unknown.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected a JSON object")
    expected = set(fields)
    if missing := sorted(expected - set(value)):
        raise InvalidInput(f"{where}: missing field {', '.join(missing)}")
    if unknown := sorted(set(value) - expected):
        raise InvalidInput(f"{where}: unknown field {', '.join(map(repr, unknown[:5]))}")


def expect_list(value: Any, length: int, where: str) -> list[Any]:
    """Return `value` if it is a list of `length` entries. Raises InvalidInput otherwise."""
    if not isinstance(value, list) or len(value) != length:
        raise InvalidInput(f"{where}: expected a list of {length} entries")
    return value


def expect_text(value: Any, where: str, pattern: str = r"[a-z][a-z0-9_]{0,63}/[0-9]{1,6}") -> str:
    """Return `value` if it is text of the pattern; by default a NAME/VERSION identifier.

    Raises InvalidInput otherwise.
    """
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise InvalidInput(f"{where}: expected text of the form {pattern}")
    return value


def parse_hex(value: Any, where: str, least: int, most: int) -> bytes:
    """Return the bytes of lower-case hexadecimal text. Raises InvalidInput otherwise."""
    if not isinstance(value, str) or not re.fullmatch(r"([0-9a-f]{2})*", value):
        raise InvalidInput(f"{where}: expected lower-case hexadecimal digits")
    data = bytes.fromhex(value)
    if not least <= len(data) <= most:
        raise InvalidInput(f"{where}: expected {least} to {most} bytes, got {len(data)}")
    return data


def g1_to_json(point: G1) -> list[str]:
    """Return [x, y] in decimal; infinity is ["0", "0"]."""
    x, y = point or (0, 0)
    return [str(x), str(y)]


def g2_to_json(point: G2) -> list[list[str]]:
    """Return [[x0, x1], [y0, y1]] in decimal; infinity is all "0"."""
    (x0, x1), (y0, y1) = point or ((0, 0), (0, 0))
    return [[str(x0), str(x1)], [str(y0), str(y1)]]


def g1_from_json(value: Any, where: str) -> G1:
    """Return the point of [x, y], not checked against the curve. Raises InvalidInput."""
    x, y = (parse_decimal(v, f"{where}[{i}]", WORD) for i, v in enumerate(_pair(value, where)))
    return (x, y) if x or y else None


def g2_from_json(value: Any, where: str) -> G2:
    """Return the point of [[x0, x1], [y0, y1]], not checked. Raises InvalidInput."""
    rows = [
        [
            parse_decimal(v, f"{where}[{i}][{j}]", WORD)
            for j, v in enumerate(_pair(row, f"{where}[{i}]"))
        ]
        for i, row in enumerate(_pair(value, where))
    ]
    (x0, x1), (y0, y1) = rows
    return ((x0, x1), (y0, y1)) if x0 or x1 or y0 or y1 else None


def _pair(value: Any, where: str) -> list[Any]:
    return expect_list(value, 2, where)
