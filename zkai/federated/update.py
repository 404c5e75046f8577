"""Updates: named integer tensors, and the one vector that is encrypted.

The vector is all tensors of the session's manifest, one after another, each flattened by rows. In
a weighted session every value is multiplied by the client's weight, and the weight is one value
more, so that a sum divided by the summed weights is the weighted average.
"""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zkai.encoding import read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.session import COUNT, MAX_TENSORS, MAX_VALUES, Session, Tensor

Int64 = npt.NDArray[np.int64]
Update = Mapping[str, npt.NDArray[np.integer]]
MAX_UPDATE = 8 * MAX_VALUES + (1 << 20)
_BROKEN = (
    ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, RuntimeError, MemoryError,
    struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip
"""What a damaged or encrypted archive, or an array header that lies about its size, may raise."""


def flatten(session: Session, update: Update, weight: int = 1) -> Int64:
    """Return the vector of an update; shapes and bounds are the session's.

    Raises InvalidInput naming the tensor: missing, unknown, of another shape or type, or with a
    value beyond the bound; or for a weight outside of 1 to the session's largest.
    """
    if type(weight) is not int or not 1 <= weight <= session.max_weight:
        raise InvalidInput(f"weight {weight}: expected 1 to {session.max_weight}")
    wanted = {tensor.name for tensor in session.tensors}
    if unknown := sorted(set(update) - wanted) or sorted(wanted - set(update)):
        what = "unknown" if unknown[0] in update else "missing"
        raise InvalidInput(f"update: tensor {unknown[0]!r} is {what}")
    parts = [_part(tensor, update[tensor.name], session.value_bound) for tensor in session.tensors]
    vector = np.concatenate(parts) * weight
    return np.append(vector, weight) if session.weighted else vector


def _part(tensor: Tensor, values: npt.NDArray[np.integer], bound: int) -> Int64:
    if values.dtype.kind not in "iu":
        raise InvalidInput(
            f"update: tensor {tensor.name!r} holds {values.dtype}, expected integers: quantise it"
        )
    if values.shape != tensor.shape:
        raise InvalidInput(
            f"update: tensor {tensor.name!r} has the shape {values.shape}, expected {tensor.shape}"
        )
    least, most = int(values.min()), int(values.max())
    if max(-least, most) > bound:
        raise InvalidInput(
            f"update: tensor {tensor.name!r} has values of {least} to {most}; the session allows"
            f" at most {bound}: clip them, or agree on another session"
        )
    return values.astype(np.int64).ravel()


def unflatten(session: Session, vector: Int64) -> dict[str, Int64]:
    """Return the named tensors of a summed vector, and `samples` in a weighted session."""
    found, at = {}, 0
    for tensor in session.tensors:
        found[tensor.name] = vector[at : at + tensor.size].reshape(tensor.shape)
        at += tensor.size
    if session.weighted:
        found[COUNT] = vector[at:].reshape(())
    return found


def mean(
    session: Session, total: Mapping[str, Int64], clients: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return a sum's named tensors over its summed weights, or over its clients without weights.

    Raises VerificationError for weights that no clients of the session have.
    """
    weight = int(total[COUNT]) if session.weighted else clients
    if not clients <= weight <= clients * session.max_weight:
        raise VerificationError(f"the opened sum of weights is {weight}, of {clients} clients")
    return {tensor.name: total[tensor.name] / weight for tensor in session.tensors}


def read_update(path: Path) -> dict[str, npt.NDArray[np.integer]]:
    """Return the arrays of a .npz file, or that of a .npy file under the name `update`.

    Raises InvalidInput naming the file for anything else, for objects and for huge arrays.
    """
    data = read_capped(path, MAX_UPDATE)
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                sizes = [item.file_size for item in archive.infolist()]
            if len(sizes) > MAX_TENSORS or sum(sizes) > MAX_UPDATE:
                raise InvalidInput(f"{path}: more than {MAX_UPDATE} bytes in all")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        else:
            found = {"update": np.load(io.BytesIO(data), allow_pickle=False)}
    except _BROKEN as error:
        raise InvalidInput(f"{path}: not a .npy or .npz file of numbers ({error})") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise InvalidInput(f"{path}: {name[:80]!r} is not a saved array")
    return found
