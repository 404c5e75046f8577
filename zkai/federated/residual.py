"""What a client keeps of real updates: their rounding for a round, and what that left unsent.

One file a round, compressed/SESSION-ROUND.npz, is there before anything of it is noted: the sent
integers, their coordinates, the residual after them, and the digest of the update. Which of them
holds the residual that the next round takes is in the client's notes, and changes with the note of
the round, in one write. A client killed at any moment adds each residual to one round, once.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zkai.encoding import read_capped, sha256, write_atomic
from zkai.errors import InvalidInput
from zkai.federated.scheme import Int64
from zkai.federated.session import MAX_VALUES, Session
from zkai.federated.update import BROKEN
from zkai.he.compression import compress, spread
from zkai.he.quantise import Float64, clip_norm
from zkai.receipt.jcs import encode

_MAX_BYTES = 32 * MAX_VALUES
_PARTS = {"integers": "i8", "coordinates": "i8", "residual": "f8", "update": "u1"}


@dataclass(frozen=True)
class Rounded:
    """A round's rounding of one update."""

    integers: Int64 = field(repr=False)
    coordinates: Int64 = field(repr=False)
    residual: Float64 = field(repr=False)
    update: bytes = field(repr=False)

    def write(self, path: Path) -> None:
        """Write it, for its owner alone. Raises InvalidInput if that is impossible."""
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{path.parent}: cannot be made ({error.strerror})") from error
        buffer = io.BytesIO()
        np.savez(
            buffer, integers=self.integers, coordinates=self.coordinates, residual=self.residual,
            update=np.frombuffer(self.update, np.uint8),
        )  # fmt: skip
        write_atomic(path, buffer.getvalue(), mode=0o600)

    @staticmethod
    def read(path: Path) -> Rounded:
        """Read what `write` wrote. Raises InvalidInput naming the file."""
        data = read_capped(path, _MAX_BYTES)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in _PARTS}
        except BROKEN as error:
            raise InvalidInput(f"{path}: not a round's rounding ({error})") from error
        kinds = {n: a.dtype.str[1:] for n, a in found.items() if isinstance(a, np.ndarray)}
        if kinds != _PARTS or any(array.ndim != 1 for array in found.values()):
            raise InvalidInput(f"{path}: not a round's rounding")
        return Rounded(
            found["integers"], found["coordinates"], found["residual"], found["update"].tobytes()
        )


def manifest(session: Session) -> str:
    """Return what residuals are kept by: a name of the tensors that sessions sum."""
    return sha256(encode([[t.name, list(t.shape)] for t in session.tensors])).hex()


def round_off(
    session: Session, vector: Float64, residual: Float64, coordinates: Int64, weight: int
) -> Rounded:
    """Return a round's rounding of an update and a residual, both (values of all tensors,).

    With noise the two together are clipped, and rounded within what the noise hides. Raises
    InvalidInput for values that are not finite, or a norm that leaves no room for rounding.
    """
    given = session.compression
    assert given is not None
    quantiser = given.quantiser(session.value_bound)
    within = norm = None
    if session.noise is not None:
        within = session.noise.norm
        if session.weighted:
            within = (within - weight**2) // weight**2
        norm = clip_norm(within, coordinates.size) / quantiser.scale
    made = compress(vector, residual, coordinates, quantiser, norm=norm, within=within)
    return Rounded(made.integers, coordinates, made.residual, update_digest(vector))


def unsent(session: Session, found: Rounded) -> Float64:
    """Return the residual before a rounding that no sum will have: what was sent is back in it."""
    assert session.compression is not None
    real = session.compression.quantiser(session.value_bound).dequantise(found.integers)
    return found.residual + spread(real, found.coordinates, found.residual.size)


def update_digest(vector: npt.NDArray[np.float64]) -> bytes:
    """Return SHA-256 over a vector as little-endian doubles."""
    return sha256(np.ascontiguousarray(vector, dtype="<f8").tobytes())
