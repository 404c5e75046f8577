"""JSON forms shared by keys and proofs: points in decimal, strict objects, canonical values."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import load_json, parse_decimal, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.proof.points import G1, G2

WORD = 1 << 256
"""Parsers take any 256-bit integer: that a value is below its modulus is for verifiers to check."""

MAX_PUBLIC = 1 << 20
_NAME = r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}"


class Document(ABC):
    """What a JSON file of a named format holds."""

    FORMAT: ClassVar[str]
    MAX_BYTES: ClassVar[int]
    WHAT: ClassVar[str]
    """What messages call a document that came from no file."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the document as JSON values."""

    @classmethod
    @abstractmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse the form of this class's own format. Raises InvalidInput naming the field."""

    @classmethod
    def kinds(cls) -> tuple[type[Document], ...]:
        """Return the classes, one for each format, whose documents this class reads."""
        return (cls,)

    @classmethod
    def from_json(cls, value: Any, where: str | None = None) -> Self:
        """Parse `to_json`'s form, of whichever format `value` names among `kinds`.

        Raises InvalidInput, naming the field, for any other format and as `parse` does.
        """
        where = where or cls.WHAT
        kinds: dict[Any, Any] = {kind.FORMAT: kind for kind in cls.kinds()}
        if not isinstance(value, dict):
            raise InvalidInput(f"{where}: expected a JSON object")
        found = value.get("format")
        if not isinstance(found, str) or found not in kinds:
            known = " or ".join(map(repr, kinds))
            raise InvalidInput(f"{where}: format {found!r}, expected {known}")
        document: Self = kinds[found].parse(value, where)
        return document

    def file_bytes(self) -> bytes:
        """Return the bytes of the document's file; receipts name a proof by their digest."""
        return json.dumps(self.to_json(), indent=1).encode() + b"\n"

    def write(self, path: Path | str) -> None:
        """Write the document as JSON, atomically. Raises InvalidInput if that is impossible."""
        write_atomic(path, self.file_bytes())

    @classmethod
    def from_path(cls, path: Path | str) -> Self:
        """Read and check a document. Raises InvalidInput naming file and field."""
        return cls.from_json(load_json(read_capped(path, cls.MAX_BYTES), str(path)), str(path))


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


def public_from_json(value: Any, where: str) -> tuple[PublicSignal, ...]:
    """Return named signals. Raises InvalidInput for odd or repeated names and sizes."""
    if not isinstance(value, list) or len(value) > MAX_PUBLIC:
        raise InvalidInput(f"{where}: expected a list of named signals")
    signals = []
    for index, item in enumerate(value):
        expect_fields(item, ("name", "size"), f"{where}[{index}]")
        size = item["size"]
        if type(size) is not int or not 1 <= size <= MAX_PUBLIC:
            raise InvalidInput(f"{where}[{index}].size: expected an integer in 1..{MAX_PUBLIC}")
        signals.append(
            PublicSignal(expect_text(item["name"], f"{where}[{index}].name", _NAME), size)
        )
    if len({signal.name for signal in signals}) != len(signals):
        raise InvalidInput(f"{where}: a name appears twice")
    return tuple(signals)


def ic_from_json(value: Any, where: str) -> tuple[G1, ...]:
    """Return a list of points, not checked against the curve. Raises InvalidInput."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PUBLIC + 1:
        raise InvalidInput(f"{where}: expected a list of points")
    return tuple(g1_from_json(item, f"{where}[{i}]") for i, item in enumerate(value))


def values_to_json(public: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return public values as JSON: a signal of one value is text, else a list."""
    return {
        name: str(values[0]) if len(values) == 1 else [str(value) for value in values]
        for name, values in public.items()
    }


def values_from_json(value: Any, where: str) -> dict[str, tuple[int, ...]]:
    """Return the values of named signals: text for one, a list for more. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected a JSON object")
    result = {}
    for name, listed in value.items():
        expect_text(name, f"{where}: a name", _NAME)
        items = [listed] if isinstance(listed, str) else listed
        if not isinstance(items, list) or (isinstance(listed, list) and len(items) < 2):
            raise InvalidInput(f"{where}.{name}: expected text, or a list of two or more")
        result[name] = tuple(
            parse_decimal(item, f"{where}.{name}[{i}]", WORD) for i, item in enumerate(items)
        )
    return result
