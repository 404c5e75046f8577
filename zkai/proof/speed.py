"""How fast this machine is at what a prover does most: a few timed calls of the C library."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from zkai import native_keys
from zkai.encoding import Limbs

POINTS, LOG_TRANSFORM = 1 << 13, 13
_RUNS = 3
_SCALAR_BITS, _MAX_WIDTH, _PER_BUCKET, _PER_WINDOW = 254, 16, 2.3, 150
SMALL_BITS = 12
"""What an integer wire's value has on average, about."""


@dataclass(frozen=True)
class Scalars:
    """What a multi-scalar product multiplies its points by: `full`-size values, small integers."""

    full: int = 0
    small: int = 0

    def additions(self) -> float:
        """Return the additions of points that native/msm.c needs at the best window width."""
        bits = _SCALAR_BITS if self.full else SMALL_BITS

        def cost(width: int) -> float:
            windows = (bits + width) // width
            reached = min(windows, 1 + SMALL_BITS // width)
            buckets = windows * (_PER_BUCKET * (1 << (width - 1)) + _PER_WINDOW)
            return windows * self.full + reached * self.small + buckets

        if not (self.full or self.small):
            return 0.0
        return min(cost(width) for width in range(2, _MAX_WIDTH + 1))


@dataclass(frozen=True)
class Speed:
    """CPU seconds of an addition in each group inside a multi-scalar product, and of a butterfly of
    the quotient's six transforms, its other work included."""

    g1_s: float
    g2_s: float
    butterfly_s: float


def butterflies(domain: int) -> int:
    """Return those of the quotient's transforms: three to coefficients and three back."""
    return 6 * (domain // 2) * (domain.bit_length() - 1)


@lru_cache(maxsize=1)
def measured_speed() -> Speed:
    """Return this machine's speed: the least of a few runs, measured once in about 0.2 seconds."""
    scalars = _random_scalars(POINTS)
    additions = Scalars(full=POINTS).additions()
    groups = {}
    for group in ("g1", "g2"):
        # Equal points would meet in buckets, where a doubling costs more than an addition.
        points = native_keys.points_generate(group, _random_scalars(POINTS))
        groups[group] = _least(partial(native_keys.points_msm, group, points, scalars))
    values = [_random_scalars(1 << LOG_TRANSFORM) for _ in range(3)]
    return Speed(
        g1_s=groups["g1"] / additions,
        g2_s=groups["g2"] / additions,
        butterfly_s=_least(lambda: native_keys.groth16_quotient(*values))
        / butterflies(1 << LOG_TRANSFORM),
    )


def _least(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_RUNS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def _random_scalars(n: int) -> Limbs:
    scalars = np.frombuffer(os.urandom(32 * n), dtype="<u8").reshape(n, 4).copy()
    scalars[:, 3] >>= np.uint64(3)  # below 2**253, hence below r
    return scalars
