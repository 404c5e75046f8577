"""The C library's Poseidon: typed wrappers, as in zkai.native.

States and elements are (..., 4) uint64 arrays in standard form. Widths and round numbers are
arguments; the parameters they imply are made once each and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from zkai._native import ffi, lib
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.native import as_limbs, check, in_u64, new_limbs


@lru_cache(maxsize=64)
def parameters(t: int, full_rounds: int, partial_rounds: int) -> tuple[Limbs, Limbs]:
    """Return Poseidon's round constants ((full + partial) * t, 4) and matrix (t * t, 4), by rows.

    Both come from the Grain LFSR of the Poseidon paper (ePrint 2019/458, appendix E) for the
    scalar field and x^5, as circom's do. The arrays are shared: do not write to them.

    Raises InvalidInput unless 2 <= t <= 17, full_rounds is even and 2..64, partial_rounds 1..256.
    """
    shape = _shape(t, full_rounds, partial_rounds)
    constants = new_limbs((full_rounds + partial_rounds) * t, 4)
    mds = new_limbs(t * t, 4)
    status = lib.zk_poseidon_parameters(
        in_u64(constants), constants.size, in_u64(mds), mds.size, *shape
    )
    check(status, "Poseidon parameters")
    constants.flags.writeable = mds.flags.writeable = False
    return constants, mds


def permute(
    states: Limbs,
    full_rounds: int,
    partial_rounds: int,
    outputs: int = 0,
    trace: bool = False,
) -> tuple[Limbs, Limbs | None]:
    """Permute k states (k, t, 4); return them and, if asked for, the trace a circuit needs.

    The trace has shape (k, S-boxes, 3, 4): for S-box i, in the order of evaluation, x^2, x^4 and
    the input of S-box i + t. The last t S-boxes have no such successor; entry j of them holds the
    final state's entry j where bit j of `outputs` is set, else x^5.

    Raises InvalidInput for a wrong dtype or shape, or values at or above r.
    """
    _, t = _lanes(states, "permute: states")
    final = states.copy()
    return final, _sponge(final, None, 1, (t, full_rounds, partial_rounds), outputs, trace)


def sponge(
    states: Limbs,
    inputs: Limbs,
    full_rounds: int,
    partial_rounds: int,
    outputs: int = 0,
    trace: bool = False,
    adds: bool = False,
) -> tuple[Limbs, Limbs | None]:
    """Absorb blocks into k states (k, t, 4): each overwrites entries 1..t-1, then all is permuted.

    With `adds` a block is added to entries 0..t-2 instead. `inputs` is (k, blocks, t - 1, 4).
    Returns the final states and, if asked for, the trace (k, blocks, S-boxes, 3, 4) as in
    `permute`; where blocks overwrite, all but the last have `outputs` = 1.

    Raises InvalidInput for a wrong dtype or shape, or values at or above r.
    """
    k, t = _lanes(states, "sponge: states")
    if inputs.ndim != 4 or inputs.shape[0] != k or inputs.shape[2] != t - 1:
        raise InvalidInput(f"sponge: inputs must be ({k}, blocks, {t - 1}, 4)")
    blocks = inputs.shape[1]
    flat = as_limbs(inputs.reshape(-1, 4), 4, "sponge: inputs")
    final = states.copy()
    shape = (t, full_rounds, partial_rounds)
    recorded = _sponge(final, flat, blocks, shape, outputs, trace, adds)
    if recorded is not None:
        recorded = recorded.reshape(k, blocks, *recorded.shape[1:])
    return final, recorded


def _shape(t: int, full_rounds: int, partial_rounds: int) -> tuple[int, int, int]:
    if not (2 <= t <= 17 and 2 <= full_rounds <= 64 and full_rounds % 2 == 0):
        raise InvalidInput("Poseidon needs 2 <= t <= 17 and an even number of 2..64 full rounds")
    if not 1 <= partial_rounds <= 256:
        raise InvalidInput("Poseidon needs 1..256 partial rounds")
    return t, full_rounds, partial_rounds


def _lanes(states: Limbs, what: str) -> tuple[int, int]:
    if states.dtype != np.uint64 or states.ndim != 3 or states.shape[2] != 4:
        raise InvalidInput(f"{what}: expected a uint64 array of shape (k, t, 4)")
    return states.shape[0], states.shape[1]


@lru_cache(maxsize=64)
def _schedule(t: int, full_rounds: int, partial_rounds: int) -> Limbs:
    """Return the parameters as poseidon.c evaluates them: opaque words."""
    constants, mds = parameters(t, full_rounds, partial_rounds)
    n = full_rounds * t + partial_rounds + 2 * t * t + 2 * partial_rounds * (t - 1)
    schedule = new_limbs(n, 4)
    status = lib.zk_poseidon_schedule(
        in_u64(schedule), schedule.size, in_u64(constants), constants.size, in_u64(mds), mds.size,
        t, full_rounds, partial_rounds,
    )  # fmt: skip
    check(status, "Poseidon schedule")
    return schedule


def _sponge(
    states: Limbs,
    inputs: Limbs | None,
    blocks: int,
    shape: tuple[int, int, int],
    outputs: int,
    trace: bool,
    adds: bool = False,
) -> Limbs | None:
    t, full_rounds, partial_rounds = _shape(*shape)
    if not 0 <= outputs < 1 << t:
        raise InvalidInput(f"Poseidon outputs must be a mask of {t} bits")
    schedule = _schedule(t, full_rounds, partial_rounds)
    lanes = states.shape[0]
    n_sboxes = full_rounds * t + partial_rounds
    recorded = np.empty((lanes * blocks, n_sboxes, 3, 4), np.uint64) if trace else None
    status = lib.zk_poseidon_sponge(
        in_u64(states), states.size, *_optional(inputs), *_optional(recorded),
        lanes, blocks, outputs, int(adds), in_u64(schedule), schedule.size, t, full_rounds,
        partial_rounds,
    )  # fmt: skip
    check(status, "Poseidon")
    return recorded


def _optional(array: Limbs | None) -> tuple[Any, int]:
    return (ffi.NULL, 0) if array is None else (in_u64(array), array.size)
