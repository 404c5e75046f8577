"""Updates: named integer tensors, and the one vector that is encrypted.

The vector is all tensors of the session's manifest, one after another, each flattened by rows. In
a weighted session every value is multiplied by the client's weight, and the weight is one value
more, so that a sum divided by the summed weights is the weighted average.
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zkai.encoding import read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.session import COUNT, MAX_TENSORS, MAX_VALUES, Session, Tensor
from zkai.he.compression import spread
from zkai.he.quantise import check_values

Int64 = npt.NDArray[np.int64]
Update = Mapping[str, npt.NDArray[np.integer]]
VALUES, COORDINATES = "values", "coordinates"
"""The names of a sum's arrays where only the values at some coordinates are sent."""
MAX_UPDATE = 8 * MAX_VALUES + (1 << 20)
BROKEN = (
    ValueError, OSError, EOFError, KeyError, TypeError, SyntaxError, RuntimeError, MemoryError,
    struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip
"""What a damaged or encrypted archive, or an array header that lies about its size, may raise."""


def flatten(session: Session, update: Update, weight: int = 1) -> Int64:
    """Return the vector of an update; shapes and bounds are the session's.

    Raises InvalidInput naming the tensor: missing, unknown, of another shape or type, or with a
    value beyond the bound; or for a weight outside of 1 to the session's largest.
    """
    check_weight(session, weight)
    check_tensors(session, update)
    parts = [_part(tensor, update[tensor.name], session.value_bound) for tensor in session.tensors]
    return weighted(session, np.concatenate(parts), weight)


def check_weight(session: Session, weight: int) -> None:
    """Return None for a weight that the session allows. Raises InvalidInput."""
    if type(weight) is not int or not 1 <= weight <= session.max_weight:
        raise InvalidInput(f"weight {weight}: expected 1 to {session.max_weight}")


def weighted(session: Session, vector: Int64, weight: int) -> Int64:
    """Return a vector times a weight, and the weight behind it in a weighted session."""
    return np.append(vector * weight, weight) if session.weighted else vector


def check_tensors(session: Session, update: Update) -> None:
    """Return None if an update has the session's tensors. Raises InvalidInput naming one."""
    wanted = {tensor.name for tensor in session.tensors}
    if unknown := sorted(set(update) - wanted) or sorted(wanted - set(update)):
        what = "unknown" if unknown[0] in update else "missing"
        raise InvalidInput(f"update: tensor {unknown[0]!r} is {what}")


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


def flatten_real(session: Session, update: Update) -> npt.NDArray[np.float64]:
    """Return the vector of an update of real numbers. Raises InvalidInput as `flatten` does."""
    check_tensors(session, update)
    parts = []
    for tensor in session.tensors:
        values = update[tensor.name]
        if values.dtype.kind not in "fiu" or values.shape != tensor.shape:
            raise InvalidInput(
                f"update: tensor {tensor.name!r} holds {values.dtype} of the shape {values.shape},"
                f" expected real numbers, {tensor.shape}"
            )
        parts.append(values.astype(np.float64).ravel())
    vector = np.concatenate(parts)
    check_values(vector, math.inf)
    return vector


def unflatten(session: Session, vector: Int64) -> dict[str, Int64]:
    """Return the named tensors of a summed vector, and `samples` in a weighted session.

    Where only some values are sent they stay one vector, `values`, in their coordinates' order.
    """
    if session.keeps:
        return _named(session, (Tensor(VALUES, (session.sent,)),), vector)
    return _named(session, session.tensors, vector)


def _named(session: Session, tensors: Sequence[Tensor], vector: Int64) -> dict[str, Int64]:
    found, at = {}, 0
    for tensor in tensors:
        found[tensor.name] = vector[at : at + tensor.size].reshape(tensor.shape)
        at += tensor.size
    if session.weighted:
        found[COUNT] = vector[at:].reshape(())
    return found


def rounded_mean(session: Session, vector: Int64, clients: int) -> Int64:
    """Return a sum's values over its weights or clients, to the nearest integer, halves up.

    Raises VerificationError for weights that no clients of the session have.
    """
    weight = int(vector[-1]) if session.weighted else clients
    check_weights(session, weight, clients)
    return (2 * vector[: session.plain] + weight) // (2 * weight)


def check_weights(session: Session, weight: int, clients: int) -> None:
    """Return None if so many clients' weights can add up to this. Raises VerificationError."""
    if not clients <= weight <= clients * session.max_weight:
        raise VerificationError(f"the opened sum of weights is {weight}, of {clients} clients")


def mean(
    session: Session, total: Mapping[str, Int64], clients: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return a sum's named tensors over its summed weights, or over its clients without weights.

    They are real numbers where the session rounds such, and 0 where it sends nothing.

    Raises VerificationError for weights that no clients of the session have.
    """
    weight = int(total[COUNT]) if session.weighted else clients
    check_weights(session, weight, clients)
    if session.compression is None:
        return {tensor.name: total[tensor.name] / weight for tensor in session.tensors}
    quantiser = session.compression.quantiser(session.value_bound)
    if not session.keeps:
        names = [tensor.name for tensor in session.tensors]
        return {name: quantiser.dequantise(total[name], weight) for name in names}
    real = quantiser.dequantise(total[VALUES], weight)
    dense, at, found = spread(real, total[COORDINATES], session.plain), 0, {}
    for tensor in session.tensors:
        found[tensor.name] = dense[at : at + tensor.size].reshape(tensor.shape)
        at += tensor.size
    return found


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
    except BROKEN as error:
        raise InvalidInput(f"{path}: not a .npy or .npz file of numbers ({error})") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise InvalidInput(f"{path}: {name[:80]!r} is not a saved array")
    return found
