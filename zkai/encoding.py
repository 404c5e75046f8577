"""Canonical bytes, digests and field elements: the encodings every other module agrees on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from Crypto.Hash import keccak

from zkai.errors import InvalidInput

FIELD_MODULUS = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""r: the order of BN254's groups and the modulus of the scalar field (EIP-197)."""

BASE_MODULUS = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""q: the modulus of the field over which BN254 is defined (EIP-196)."""

MAX_RECURSION = 5_000
"""How deep Python may recurse while it parses JSON."""

Limbs = npt.NDArray[np.uint64]

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte keccak256 of `data`, as the EVM computes it."""
    return keccak.new(digest_bits=256, data=data).digest()


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 of `data` (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def field_tag(label: str) -> int:
    """Return the domain tag of `label`: the leading 248 bits of its keccak256, always below r."""
    return int.from_bytes(keccak256(label.encode("ascii"))[:31], "big")


def word(value: int) -> bytes:
    """Return `value` as one 32-byte big-endian EVM word.

    Raises InvalidInput unless 0 <= value < 2**256.
    """
    if not 0 <= value < 1 << 256:
        raise InvalidInput("an EVM word must be at least 0 and below 2**256")
    return value.to_bytes(32, "big")


def to_limbs(values: Sequence[int] | Iterable[int]) -> Limbs:
    """Return integers in [0, 2**256) as an (n, 4) array of little-endian 64-bit limbs."""
    data = b"".join(int(v).to_bytes(32, "little") for v in values)
    return np.frombuffer(data, dtype="<u8").reshape(-1, 4).copy()


def from_limbs(limbs: Limbs) -> list[int]:
    """Return the integers of an (n, 4) limb array; the inverse of `to_limbs`."""
    data = np.ascontiguousarray(limbs, dtype="<u8").tobytes()
    return [int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32)]


def hex32(value: int | bytes) -> str:
    """Return a 32-byte value as 0x and 64 lower-case hexadecimal digits."""
    data = word(value) if isinstance(value, int) else value
    return "0x" + data.hex()


def parse_hex32(text: object, where: str) -> bytes:
    """Return the 32 bytes of a 0x-prefixed lower-case digest.

    Raises InvalidInput, naming `where`, for anything else.
    """
    if not isinstance(text, str) or not re.fullmatch(r"0x[0-9a-f]{64}", text):
        raise InvalidInput(f"{where}: expected 0x and 64 lower-case hexadecimal digits")
    return bytes.fromhex(text[2:])


def parse_decimal(text: object, where: str, below: int) -> int:
    """Return the integer of a canonical decimal string (no sign, no leading zero) under `below`.

    Raises InvalidInput, naming `where`, for anything else.
    """
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise InvalidInput(f"{where}: expected a canonical decimal string")
    value = int(text)
    if value >= below:
        raise InvalidInput(f"{where}: the value is not below its modulus")
    return value


def canonical_json(value: Any) -> bytes:
    """Return the canonical JSON bytes of `value`: sorted keys, no spaces, ASCII, no floats.

    Raises InvalidInput for floats and for types that JSON does not have.
    """
    _refuse_floats(value)
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not canonical JSON: {error}") from error
    return text.encode("ascii")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise InvalidInput("canonical JSON holds no floating-point numbers: their text varies")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInput("canonical JSON keys must be strings")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def load_json(data: bytes, where: str) -> Any:
    """Parse JSON bytes, refusing duplicate keys, NaN, infinities and floats.

    Raises InvalidInput naming `where`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise InvalidInput(f"{where}: a JSON object repeats a key")
        return result

    def refuse(text: str) -> Any:
        raise InvalidInput(f"{where}: {text[:20]} is not an integer; numbers here are integers")

    try:
        return parse_json(data, object_pairs_hook=unique, parse_constant=refuse, parse_float=refuse)
    except ValueError as error:
        raise InvalidInput(f"{where}: not valid JSON ({error})") from error


def parse_json(data: bytes, **hooks: Any) -> Any:
    """Parse JSON bytes from a stranger; `hooks` are json.loads's.

    Raises ValueError for what is no JSON, and for nesting that is too deep: some packages raise
    the recursion limit so far that it would crash the interpreter.
    """
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(min(limit, MAX_RECURSION))
        return json.loads(data, **hooks)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    finally:
        sys.setrecursionlimit(limit)


def as_path(value: object, what: str = "path") -> Path:
    """Return a path given as text or as a path object.

    Raises InvalidInput, naming `what`, for anything else: `open` would take an integer for a file
    descriptor, and close it.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidInput(f"{what}: expected a path, got {type(value).__name__}")
    if "\0" in text:
        raise InvalidInput(f"{what}: a path holds no null character")
    return Path(text)


def read_capped(path: Path | str, max_bytes: int) -> bytes:
    """Return a file's bytes.

    Raises InvalidInput, naming the file, if it is missing, unreadable or larger than `max_bytes`.
    """
    path = as_path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > max_bytes:
        raise InvalidInput(f"{path}: larger than the {max_bytes} bytes this kind of file may have")
    return data


def write_atomic(path: Path | str, data: bytes, mode: int = 0o644) -> None:
    """Write `data` so that `path` holds either its old content or all of the new.

    Raises InvalidInput, naming the file, if its folder cannot be written.
    """
    target = as_path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InvalidInput(f"{target}: cannot be written ({error.strerror})") from error


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `target` when the block ends without an exception.

    Raises InvalidInput if `target` holds anything already or cannot be made.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InvalidInput(f"{target}: exists and is not a folder")
    try:
        if target.is_dir() and any(target.iterdir()):
            raise InvalidInput(f"{target}: holds files already; name a new folder, or empty it")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise InvalidInput(f"{target}: cannot be made ({error.strerror})") from error
    try:
        yield partial
        partial.chmod(0o755)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
