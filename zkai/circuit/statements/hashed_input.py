"""An input that a Halo2 proof shows too: bound by the hash that EZKL's visibility `hashed` makes.

The signal is halo2_hash(x_1 mod r, ..., x_n mod r, b_1, ..., b_m) of the tensor's integers in
row-major order, each proven to fit its width, and of m blinders. The hash has no salt, so whoever
can guess the tensor can tell; blinders, which the other circuit passes through to the end of the
same tensor, hide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import halo2_hash
from zkai.circuit.statements.base import field_element
from zkai.circuit.tensor import Field, Ints, Tensor, concat_fields
from zkai.errors import InvalidInput

HASHED = "hashed"
"""The visibility of such an input."""

SCALE_BITS = 13
"""The scale of such an input where none is given: the scale that EZKL's circuits are made with."""

MAX_BLINDERS = 64


def check_blinders(where: str, blinders: object, choices: Mapping[str, str]) -> None:
    """Return None for a number of blinders that the inputs can take. Raises InvalidInput."""
    if isinstance(blinders, bool) or not isinstance(blinders, int):
        raise InvalidInput(f"{where}: blinders: expected an integer, got {blinders!r}")
    if not 0 <= blinders <= MAX_BLINDERS:
        raise InvalidInput(f"{where}: blinders: expected 0 to {MAX_BLINDERS}, got {blinders}")
    if blinders and HASHED not in choices.values():
        raise InvalidInput(f"{where}: blinders are of inputs with visibility {HASHED!r}")


def blinders_name(signal: str) -> str:
    """Return the private input that holds the blinders of a hashed input."""
    return f"{signal}_blinders"


def read_blinders(where: str, signal: str, value: Any, count: int) -> list[int]:
    """Return `count` field elements. Raises InvalidInput naming the value, never its content."""
    name = blinders_name(signal)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != count:
        raise InvalidInput(f"{where}: {name}: expected a list of {count} field elements")
    return [field_element(where, name, element) for element in value]


def hashed_signal(values: Ints, blinders: Sequence[int]) -> int:
    """Return the signal of a hashed input."""
    return halo2_hash.halo2_hash_integers(values, blinders)


def hashed_gadget(builder: Builder, values: Tensor, signal: str, blinders: int) -> Field:
    """Return a wire constrained to `hashed_signal` of range-checked values."""
    elements = [builder.to_field(values)]
    if blinders:
        elements.append(builder.private_field(blinders_name(signal), blinders))
    return halo2_hash.halo2_hash_gadget(builder, concat_fields(elements))
