"""Servers' models as .npz bytes: weight0, bias0, weight1, ... and for queries the rows' norm."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from zkai.errors import InvalidInput
from zkai.he.matmul import Floats
from zkai.he.query import Model

MAX_BYTES = 1 << 30
_BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError)


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
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise InvalidInput(f"model: unpacks to more than {MAX_BYTES} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _BROKEN as error:
        raise InvalidInput(f"model: not an .npz file of arrays ({error})") from error
    if any(array.dtype.kind not in "fiu" for array in arrays.values()):
        raise InvalidInput("model: an array holds something else than numbers")
    return {name: array.astype(np.float64) for name, array in arrays.items()}
