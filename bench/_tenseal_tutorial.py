"""Logistic regression as TenSEAL's first tutorial trains it on encrypted data: one vector a sample.

    forward     polyval(x.dot(w) + b), 0.5 + 0.197 z - 0.004 z^3
    backward    dw = dw + x * (out - y),  db = db + (out - y)
    update      w = w - dw / count - 0.05 w,  b = b - db / count

with w and b encrypted, and encrypted again after each epoch (OpenMined/TenSEAL, tutorials, 1). As
published it has a ring of 8192 and the scale 2^21, which is too coarse for 64 features: see the
weights' error. With the scale that zkai uses, 2^40, the method needs a ring of 16384.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SIGMOID = (0.5, 0.197, 0.0, -0.004)


@dataclass(frozen=True)
class Precision:
    """A ring's degree, its primes and the scale."""

    ring: int
    prime_bits: tuple[int, ...]
    scale_bits: int


PUBLISHED = Precision(8192, (40, 21, 21, 21, 21, 21, 21, 40), 21)
FORTY_BITS = Precision(16384, (60, 40, 40, 40, 40, 40, 40, 60), 40)


class Tutorial:
    """A context with its keys, and some samples encrypted."""

    def __init__(self, precision: Precision, rows: Floats, targets: Floats) -> None:
        import tenseal

        self._tenseal = tenseal
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS, precision.ring, -1, list(precision.prime_bits)
        )
        self._context.global_scale = 2**precision.scale_bits
        self._context.generate_galois_keys()
        self._rows = [self._vector(row) for row in rows]
        self._targets = [self._vector(np.array([target])) for target in targets]

    def _vector(self, values: Floats) -> Any:
        return self._tenseal.ckks_vector(self._context, values.tolist())

    def epoch(self, weights: Floats, bias: float) -> tuple[Floats, float, float]:
        """Return the weights after a pass, the pass's CPU seconds, and those of the rest."""
        begun = time.process_time()
        w, b = self._vector(weights), self._vector(np.array([bias]))
        dw: Any = 0
        db: Any = 0
        start = time.process_time()
        for row, target in zip(self._rows, self._targets, strict=True):
            error = (row.dot(w) + b).polyval(list(SIGMOID)) - target
            dw, db = dw + row * error, db + error
        passed, count = time.process_time(), len(self._rows)
        w = w - (dw * (1 / count) + w * 0.05)
        b = b - db * (1 / count)
        found = np.array(w.decrypt())
        return found, passed - start, time.process_time() - passed + start - begun


def in_clear(rows: Floats, targets: Floats, weights: Floats, bias: float) -> Floats:
    """Return the weights that `Tutorial.epoch` is to come to."""
    z = rows @ weights + bias
    error = SIGMOID[0] + SIGMOID[1] * z + SIGMOID[3] * z**3 - targets
    return np.asarray(weights - rows.T @ error / len(rows) - 0.05 * weights)
