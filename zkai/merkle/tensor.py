"""A tensor as bytes: where they come from, and the head that its commitment binds.

Bytes are little-endian, in row-major order; the head is the ASCII text `dtype[d0,d1,...]` with the
names that numpy and PyTorch share, such as `float32[64,10]`, `bfloat16[768]` or `bool[]`.
docs/commitments.md specifies this.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zkai.encoding import as_path, parse_json
from zkai.errors import InvalidInput
from zkai.native_merkle import as_bytes

ITEM_BYTES = {
    "bool": 1, "uint8": 1, "int8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "uint16": 2, "int16": 2, "float16": 2, "bfloat16": 2,
    "uint32": 4, "int32": 4, "float32": 4,
    "uint64": 8, "int64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip

_SAFETENSORS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "U16": "uint16", "I16": "int16", "F16": "float16",
    "BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64",
    "I64": "int64", "F64": "float64", "C64": "complex64",
}  # fmt: skip

MAX_DIMENSIONS = 16
MAX_HEADER = 100 << 20
MAX_NAME = 1024
CHUNK = 8 << 20


@dataclass(frozen=True)
class Head:
    """A tensor's type and shape."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise InvalidInput for an unknown type, or a shape that no tensor has."""
        if self.dtype not in ITEM_BYTES:
            raise InvalidInput(
                f"unknown dtype {self.dtype!r}: expected one of {', '.join(ITEM_BYTES)}"
            )
        if len(self.shape) > MAX_DIMENSIONS or not all(
            type(n) is int and 0 <= n < 1 << 48 for n in self.shape
        ):
            raise InvalidInput(f"shape: expected up to {MAX_DIMENSIONS} dimensions below 2^48")
        if math.prod(self.shape) >= 1 << 48:
            raise InvalidInput("a tensor has fewer than 2^48 elements")

    @property
    def text(self) -> str:
        """The head as it is hashed."""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def total(self) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class Source:
    """A tensor's bytes, read in order, and again at any place."""

    def __init__(self, head: Head, where: str) -> None:
        """Remember the head, and what errors call this tensor."""
        self.head = head
        self.where = where

    def read(self, offset: int, size: int) -> Any:
        """Return `size` bytes from `offset` on as a buffer."""
        raise NotImplementedError

    def chunks(self, size: int) -> Iterator[Any]:
        """Yield all bytes in pieces of `size`, the last one shorter; one empty piece for none."""
        for offset in range(0, max(1, self.head.total), size):
            yield self.read(offset, min(size, self.head.total - offset))


class ArraySource(Source):
    """A tensor in memory."""

    def __init__(self, head: Head, data: Any, where: str) -> None:
        """Refer to a contiguous buffer of the head's size."""
        super().__init__(head, where)
        self._bytes = as_bytes(data)
        if self._bytes.size != head.total:
            raise InvalidInput(f"{where}: {self._bytes.size} bytes, expected {head.total}")

    def read(self, offset: int, size: int) -> Any:
        """Return a view."""
        return self._bytes[offset : offset + size]


class FileSource(Source):
    """A tensor in a file, of which one piece at a time is in memory."""

    def __init__(self, head: Head, path: Path, offset: int, where: str) -> None:
        """Refer to a part of a file."""
        super().__init__(head, where)
        self._path, self._offset = path, offset

    def read(self, offset: int, size: int) -> Any:
        """Return bytes read from the file. Raises InvalidInput if it became shorter."""
        with self._path.open("rb") as file:
            file.seek(self._offset + offset)
            return self._piece(file, size)

    def chunks(self, size: int) -> Iterator[Any]:
        """Read the file once, in order."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for offset in range(0, max(1, self.head.total), size):
                yield self._piece(file, min(size, self.head.total - offset))

    def _piece(self, file: BinaryIO, size: int) -> bytes:
        data = file.read(size)
        if len(data) != size:
            raise InvalidInput(f"{self.where}: the file ended early")
        return data


def from_array(array: Any, where: str = "tensor") -> ArraySource:
    """Return a numpy array's or a torch CPU tensor's bytes; copied only if it is not contiguous.

    Raises InvalidInput for other objects, dtypes, or tensors that are not on the CPU.
    """
    if type(array).__module__.split(".")[0] == "torch":
        head, data = _torch_bytes(array, where)
        return ArraySource(head, data, where)
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise InvalidInput(f"{where}: expected a numpy array or a tensor, got {kind}")
    head = Head(array.dtype.name, tuple(map(int, array.shape)))
    if array.dtype.byteorder == ">" or (sys.byteorder == "big" and array.dtype.byteorder == "="):
        array = array.astype(array.dtype.newbyteorder("<"))
    return ArraySource(head, np.ascontiguousarray(array).reshape(-1).view(np.uint8), where)


def _torch_bytes(tensor: Any, where: str) -> tuple[Head, Any]:
    """Return a torch tensor's head and bytes; numpy lacks some of its types, all of them view."""
    if tensor.device.type != "cpu" or str(tensor.layout) != "torch.strided":
        raise InvalidInput(f"{where}: expected a dense tensor on the CPU: call .cpu() first")
    head = Head(str(tensor.dtype).removeprefix("torch."), tuple(map(int, tensor.shape)))
    torch = sys.modules["torch"]  # whoever has a tensor has loaded it
    dense = tensor.detach().contiguous().resolve_conj().resolve_neg()
    return head, dense.reshape(-1).view(torch.uint8).numpy()


def open_tensors(path: Path | str) -> dict[str, Source]:
    """Return the tensors of a .safetensors or .npy file by name; bytes stay in the file.

    A .npy file has one tensor, named `tensor`. Nothing is unpickled.

    Raises InvalidInput, naming the file, for other files or ones that break their format.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = path.stat().st_size
            if start.startswith(b"\x93NUMPY"):
                return {"tensor": _open_npy(path)}
            return _open_safetensors(path, file, start, size)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from error


def _open_npy(path: Path) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInput(f"{path}: not a readable .npy file ({error})") from error
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        # Fortran order, or too small to be mapped: through memory.
        return from_array(np.asarray(array), str(path))
    if array.dtype.byteorder == ">":
        return from_array(np.asarray(array), str(path))
    head = Head(array.dtype.name, tuple(map(int, array.shape)))
    return FileSource(head, path, int(array.offset), str(path))


def _open_safetensors(path: Path, file: BinaryIO, start: bytes, size: int) -> dict[str, Source]:
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise InvalidInput(f"{path}: neither a .safetensors nor a .npy file")
    text = file.read(length)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise InvalidInput(f"{path}: the header repeats a key")
        return found

    try:
        header = parse_json(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: the header is not valid JSON") from error
    if not isinstance(header, dict):
        raise InvalidInput(f"{path}: the header is not a JSON object")
    header.pop("__metadata__", None)
    places = [(name, *_place(path, name, entry)) for name, entry in header.items()]
    end = 0
    for name, head, begin in sorted(places, key=lambda place: (place[2], place[1].total)):
        if begin != end:
            raise InvalidInput(f"{path}: tensor {name!r} overlaps another, or leaves a gap")
        end = begin + head.total
    if 8 + length + end != size:
        raise InvalidInput(f"{path}: tensors end at byte {8 + length + end} of {size}")
    return {
        name: FileSource(head, path, 8 + length + begin, f"{path}: {name}")
        for name, head, begin in places
    }


def _place(path: Path, name: str, entry: Any) -> tuple[Head, int]:
    where = f"{path}: tensor {name!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise InvalidInput(f"{where}: expected dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _SAFETENSORS:
        raise InvalidInput(f"{where}: unknown dtype {json.dumps(kind)[:40]}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise InvalidInput(f"{where}: shape and data_offsets are lists")
    head = Head(_SAFETENSORS[kind], tuple(shape))
    begin, end = offsets
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < 1 << 60:
        raise InvalidInput(f"{where}: data_offsets must be two ascending integers")
    if end - begin != head.total:
        raise InvalidInput(f"{where}: {end - begin} bytes for {head.text}")
    return head, begin


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Source],
    metadata: Mapping[str, str],
    mode: int = 0o644,
) -> None:
    """Write a .safetensors file of any size, a piece at a time, whole and durable or not at all.

    Tensors stand in the mapping's order.

    Raises InvalidInput for a type that such files do not have, or a folder that cannot be written.
    """
    kinds = {dtype: kind for kind, dtype in _SAFETENSORS.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, source in tensors.items():
        if (kind := kinds.get(source.head.dtype)) is None:
            raise InvalidInput(f"{source.where}: .safetensors files have no {source.head.dtype}")
        offsets = [end, end := end + source.head.total]
        header[name] = {"dtype": kind, "shape": list(source.head.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target = as_path(path)
    try:
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                for source in tensors.values():
                    for piece in source.chunks(CHUNK):
                        file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, mode)
            os.replace(partial, target)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise InvalidInput(f"{target}: cannot be written ({error.strerror})") from error


def check_names(tensors: Mapping[str, Any]) -> list[str]:
    """Return the names in the order of their UTF-8 bytes.

    Raises InvalidInput for none, or names that are empty, too long or not valid text.
    """
    if not tensors:
        raise InvalidInput("expected at least one tensor")
    try:
        encoded = sorted(name.encode("utf-8") for name in tensors)
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidInput("a tensor's name is not valid text") from error
    if not encoded[0] or any(len(name) > MAX_NAME for name in encoded):
        raise InvalidInput(f"a tensor's name has 1 to {MAX_NAME} bytes")
    return [name.decode("utf-8") for name in encoded]
