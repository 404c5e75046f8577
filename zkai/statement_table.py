"""What reading statement files takes: a TOML table with named errors, and samples from an .npz."""

from __future__ import annotations

import difflib
import io
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.circuit.statements.hashed_input import HASHED
from zkai.encoding import read_capped
from zkai.errors import InvalidInput

MAX_SAMPLE_BYTES = 1 << 30
MAX_ARRAYS = 256

# What a damaged or encrypted archive, or an array header that lies about its size, may raise.
_BROKEN_ARCHIVE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def read_samples(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an .npz file by name.

    Raises InvalidInput, naming the file and the array, for anything that is not an archive of
    numeric arrays, that needs pickle, or that would unpack to more than MAX_SAMPLE_BYTES.
    """
    data = read_capped(path, MAX_SAMPLE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            _check_members(file, path)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _BROKEN_ARCHIVE as e:
        raise InvalidInput(f"{path}: not an .npz file of numeric arrays ({e})") from e
    if not arrays:
        raise InvalidInput(f"{path}: holds no arrays")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise InvalidInput(f"{path}: array {name!r} has dtype {array.dtype}, not numbers")
    return arrays


def _check_members(file: zipfile.ZipFile, path: Path) -> None:
    """Return None if every member is an array that its own bytes fill: numpy believes headers."""
    entries = file.infolist()
    if len(entries) > MAX_ARRAYS or sum(e.file_size for e in entries) > MAX_SAMPLE_BYTES:
        raise InvalidInput(f"{path}: unpacks to more than {MAX_SAMPLE_BYTES} bytes")
    for entry in entries:
        with file.open(entry) as member:
            if member.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
                raise InvalidInput(f"{path}: {entry.filename!r} is not a saved array")
            if member.read(2) != b"\1\0":
                raise InvalidInput(f"{path}: {entry.filename!r} is no plain numeric array")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > entry.file_size:
                raise InvalidInput(f"{path}: {entry.filename!r} claims more than it holds")


_NPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Table:
    """One TOML table; `where` names it in messages."""

    content: Mapping[str, Any]
    where: str

    def only(self, *known: str) -> None:
        for key in self.content:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
                raise InvalidInput(f"{self.where}: unknown key {key}{hint}")

    def _get(self, key: str, kind: str, default: Any) -> Any:
        if key in self.content:
            return self.content[key]
        if default is _REQUIRED:
            raise InvalidInput(f"{self.where}: missing {key} ({kind})")
        return default

    def _wrong(self, key: str, kind: str, value: Any) -> InvalidInput:
        return InvalidInput(f"{self.where}: {key}: expected {kind}, got {value!r}")

    def text(self, key: str, default: Any = ...) -> str:
        value = self._get(key, "a string", default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def choice(self, key: str, options: tuple[str, ...], default: Any = ...) -> str:
        kind = " or ".join(f'"{o}"' for o in options)
        value = self._get(key, kind, default)
        if value not in options:
            raise self._wrong(key, kind, value)
        return str(value)

    def integer(self, key: str, default: Any = ...) -> Any:
        value = self._get(key, "an integer", default)
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "an integer", value)
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        value = self._get(key, "a list of integers", ...)
        if not isinstance(value, list) or not all(type(v) is int for v in value):
            raise self._wrong(key, "a list of integers", value)
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, "a list of strings", ...)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._wrong(key, "a list of strings", value)
        return tuple(value)

    def number(self, key: str, default: Any = ...) -> float:
        value = self._get(key, "a number", default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self._wrong(key, "a finite number", value)
        return float(value)

    def table(self, key: str) -> Table:
        value = self._get(key, "a table", ...)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table", value)
        return Table(value, f"{self.where}: [{key}]")

    def visibility(self) -> dict[str, str]:
        table = self.table("visibility")
        options = ("public", "committed", "constant", "argmax", "state", HASHED)
        return {name: table.choice(name, options) for name in table.content}


_REQUIRED = ...
