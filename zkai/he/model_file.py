"""Servers' models as .npz bytes: weight0, bias0, weight1, ... and for queries the rows' norm."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from math import prod

import numpy as np

from zkai.errors import InvalidInput
from zkai.he.matmul import Floats
from zkai.he.query import Model

MAX_BYTES = 1 << 30
MAX_ARRAYS = 256
_BROKEN = (
    ValueError, OSError, EOFError, KeyError, RuntimeError, MemoryError, struct.error, zlib.error,
    lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip


def matrices(data: bytes) -> list[Floats]:
    """Return weight0, weight1, ...

    Raises InvalidInput for anything but an archive of real arrays with these names.
    """
    arrays = _arrays(data)
    count = sum(name.startswith("weight") for name in arrays)
    return [_named(arrays, f"weight{number}") for number in range(count)]


def biases(data: bytes) -> list[Floats]:
    """Return bias0, bias1, ... of as many layers as there are weights, zero where not given."""
    arrays = _arrays(data)
    return [
        arrays.get(f"bias{number}", np.zeros(len(matrix)))
        for number, matrix in enumerate(matrices(data))
    ]


def model(data: bytes) -> Model:
    """Return the model of one or two layers that is asked with rows of at most `norm`.

    Raises InvalidInput as `matrices` and `Model.of` do.
    """
    norm = _named(_arrays(data), "norm")
    if norm.size != 1:
        raise InvalidInput("model: norm: expected one number")
    layers = list(zip(matrices(data), biases(data), strict=True))
    return Model.of(layers, float(norm.ravel()[0]))


def _named(arrays: dict[str, Floats], name: str) -> Floats:
    if name not in arrays:
        raise InvalidInput(f"model: has no array {name}")
    return arrays[name]


def _arrays(data: bytes) -> dict[str, Floats]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ARRAYS or sum(e.file_size for e in entries) > MAX_BYTES:
                raise InvalidInput(f"model: unpacks to more than {MAX_BYTES} bytes")
            return {
                entry.filename.removesuffix(".npy"): _array(archive.read(entry), entry.filename)
                for entry in entries
            }
    except _BROKEN as error:
        raise InvalidInput(f"model: not an .npz file of arrays ({error})") from error


def _array(data: bytes, name: str) -> Floats:
    """Return an array that its own bytes fill: numpy would allocate whatever a header says."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise InvalidInput(f"model: {name} is no plain array")
    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "fiu":
        raise InvalidInput(f"model: {name} holds something else than numbers")
    start = file.tell()
    if prod(shape) * dtype.itemsize != len(data) - start or columns_first:
        raise InvalidInput(f"model: {name} has another size than its header says")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(np.float64)
