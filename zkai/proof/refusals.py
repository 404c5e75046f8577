"""Why a proof is refused: the words that every verifier uses."""

from __future__ import annotations

EQUATION = "the proof does not verify: the pairing equation does not hold"

LINK = "the proof's commitments are not those that its last public signals name"

LINKED_OR_NOT = "the proof opens commitments and the key does not, or the other way round"


def out_of_range(signal: str) -> str:
    """Return the refusal of a public value that is not below r (x + r would alias x)."""
    return f"public signal {signal} is not below the scalar field modulus"


def not_canonical(point: str) -> str:
    """Return the refusal of a coordinate that is not below q."""
    return f"proof point {point}: a coordinate is not below the base field modulus"


def infinity(point: str) -> str:
    """Return the refusal of the point at infinity."""
    return f"proof point {point} is the point at infinity"


def off_curve(point: str) -> str:
    """Return the refusal of a point off its curve."""
    return f"proof point {point} is not on its curve"


def off_subgroup(point: str) -> str:
    """Return the refusal of a G2 point outside the subgroup of order r."""
    return f"proof point {point} is outside the subgroup of order r"
