"""Secret scalars from the operating system."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs

ScalarSource = Callable[[], Limbs]
"""Returns one secret scalar as a (1, 4) row in standard form; tests pass their own."""

Progress = Callable[[str, float], None]
"""Called with a stage's name and the fraction done, 0 to 1; it may raise to cancel."""


def random_scalar() -> Limbs:
    """Return a uniform scalar in [1, r) from the operating system, by rejection."""
    while True:
        value = secrets.randbits(254)
        if 0 < value < FIELD_MODULUS:
            return to_limbs([value])


def no_progress(stage: str, fraction: float) -> None:
    """Report to nobody."""
