"""Fewer and smaller values: coordinates that all clients share, and error feedback.

A sum of encrypted vectors needs the same coordinates of everyone, and coordinates that a client
chose by its own data would tell about that data. So all send those where the last, public
aggregate was largest, and a public share of the others in turn. What is not sent, or lost to
rounding, waits in the client's residual. Eight bits a value are `Quantiser(bound, levels=127)`.

Source: Karimireddy et al., "Error Feedback Fixes SignSGD" (2019).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from zkai.errors import InvalidInput
from zkai.he.noise import Int64, Random
from zkai.he.quantise import Float64, Quantiser, check_values, clip


def shared_coordinates(
    count: int, keep: int, turn: int, previous: Float64 | None = None, explore: float = 0.25
) -> Int64:
    """Return the `keep` coordinates of a round, ascending, as everyone computes them.

    The largest of |previous| (the last aggregate; lowest index on ties), then, for a share
    `explore` of `keep` or all of it without `previous`, the remaining ones in turn: round
    `turn` goes on where round turn - 1 stopped.

    Raises InvalidInput unless 1 <= keep <= count, turn >= 0, 0 <= explore <= 1.
    """
    if not (1 <= keep <= count and turn >= 0 and 0 <= explore <= 1):
        raise InvalidInput(
            f"expected 1 <= keep <= {count}, turn >= 0 and explore between 0 and 1, "
            f"got {keep}, {turn} and {explore}"
        )
    largest = 0 if previous is None else keep - math.ceil(explore * keep)
    chosen = np.zeros(count, bool)
    if largest and previous is not None:
        flat = np.ascontiguousarray(previous, np.float64).ravel()
        if flat.size != count:
            raise InvalidInput(f"the last aggregate has {flat.size} values, expected {count}")
        check_values(flat, math.inf)
        chosen[np.argsort(-np.abs(flat), kind="stable")[:largest]] = True
    rest = np.flatnonzero(~chosen)
    share = keep - largest
    chosen[rest[(turn * share + np.arange(share)) % rest.size]] = True
    return np.flatnonzero(chosen).astype(np.int64)


@dataclass(frozen=True)
class Compressed:
    """The integers to encrypt, and the residual to keep for the next round."""

    integers: Int64
    residual: Float64


def compress(
    update: Float64,
    residual: Float64,
    coordinates: Int64,
    quantiser: Quantiser,
    *,
    norm: float | None = None,
    within: int | None = None,
    random: Random = os.urandom,
) -> Compressed:
    """Return the integers of (update + residual) at `coordinates`, and what they leave.

    With `norm` the corrected update is clipped: after the feedback, since a residual that is
    added to a clipped update would exceed what the noise was made for. Values beyond the
    quantiser's bound are cut to it, and wait in the residual.

    With `within` the integers' squared norm is at most that: `Quantiser.quantise_within`.

    Raises InvalidInput for shapes that differ or values that are not finite.
    """
    if np.shape(update) != np.shape(residual):
        raise InvalidInput(
            f"the residual has shape {np.shape(residual)}, expected {np.shape(update)}"
        )
    corrected = np.asarray(update, np.float64) + residual
    if norm is not None:
        corrected = clip(corrected, norm)
    flat = corrected.ravel()
    if coordinates.size and not 0 <= int(coordinates.min()) <= int(coordinates.max()) < flat.size:
        raise InvalidInput(f"coordinates lie outside the update's {flat.size} values")
    check_values(flat, math.inf)
    chosen = np.clip(flat[coordinates], -quantiser.bound, quantiser.bound)
    if within is None:
        integers = quantiser.quantise(chosen, random)
    else:
        integers = quantiser.quantise_within(chosen, within, random)
    left = flat.copy()
    left[coordinates] -= quantiser.dequantise(integers)
    return Compressed(integers, left.reshape(np.shape(update)))


def spread(values: Float64, coordinates: Int64, count: int) -> Float64:
    """Return a vector of `count` values that has `values` at `coordinates` and 0 elsewhere."""
    dense = np.zeros(count, np.float64)
    dense[coordinates] = values
    return dense
