"""What every provable statement offers, and the checks that their inputs share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit
from zkai.circuit.tensor import Field, Ints
from zkai.encoding import FIELD_MODULUS, canonical_json, keccak256
from zkai.errors import InvalidInput
from zkai.model.heads import HEADS

STEP_BITS = 32
"""A fork's step numbers are below 2**32."""

PublicValues = dict[str, int | list[int]]
"""Public signals by name: one integer in [0, r), or a list where a signal has several."""

Format = Literal["groth16", "groth16-commit"]
"""The proof format that a statement's circuit is for: the second has a commitment round."""

PLAIN: Format = "groth16"
COMMIT: Format = "groth16-commit"


def check_format(where: str, value: str) -> None:
    """Return None for a known format. Raises InvalidInput otherwise."""
    if value not in (PLAIN, COMMIT):
        raise InvalidInput(f"{where}: format must be {PLAIN!r} or {COMMIT!r}, got {value!r}")


def describe_format(value: Format) -> dict[str, str]:
    """Return what a description says of the format: nothing for plain Groth16."""
    return {} if value == PLAIN else {"format": value}


@runtime_checkable
class Statement(Protocol):
    """A provable sentence: its circuit, its inputs and its public signals.

    `version` names it ("training_step/1"); a change of meaning changes the number.
    """

    version: ClassVar[str]

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs for the caller's `values`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of the
        wrong shape or type, or out of range.
        """

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""


def digest_of(description: Mapping[str, Any]) -> int:
    """Return a description as a field element: the leading 248 bits of its keccak256."""
    return int.from_bytes(keccak256(canonical_json(description))[:31], "big")


def check_names(
    where: str, values: Mapping[str, Any], required: Collection[str], optional: Collection[str] = ()
) -> None:
    """Return None if `values` has every required name and no unknown one.

    Raises InvalidInput naming the others.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{where}: expected a mapping of names to values")
    if missing := [name for name in required if name not in values]:
        raise InvalidInput(f"{where}: missing {', '.join(missing)}")
    if unknown := [str(name) for name in values if name not in {*required, *optional}]:
        raise InvalidInput(f"{where}: unknown {', '.join(sorted(unknown))}")


def int_tensor(
    where: str, name: str, value: Any, shape: tuple[int, ...], low: int, high: int
) -> Ints:
    """Return `value` as int64 of the given shape with every element in [low, high].

    Raises InvalidInput naming the tensor otherwise; floats are refused, even whole ones.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{where}: tensor {name!r} is no array ({error})") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"{where}: tensor {name!r} holds NaN or an infinity")
    if array.dtype.kind not in "iu":
        raise InvalidInput(
            f"{where}: tensor {name!r} must hold integers, got {array.dtype}; quantise it first"
        )
    if array.shape != shape:
        raise InvalidInput(f"{where}: tensor {name!r} must have shape {shape}, got {array.shape}")
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise InvalidInput(f"{where}: tensor {name!r} has a value outside [{low}, {high}]")
    return array.astype(np.int64)


def integer(where: str, name: str, value: Any, low: int, high: int) -> int:
    """Return an integer in [low, high]. Raises InvalidInput naming it otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{where}: {name} must be an integer, got {type(value).__name__}")
    if not low <= int(value) <= high:
        raise InvalidInput(f"{where}: {name} must be in [{low}, {high}]")
    return int(value)


def field_element(where: str, name: str, value: Any) -> int:
    """Return an integer in [0, r). Raises InvalidInput naming it (never its value) otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{where}: {name} must be an integer, got {type(value).__name__}")
    if not 0 <= int(value) < FIELD_MODULUS:
        raise InvalidInput(f"{where}: {name} must be in [0, r), r the order of BN254's groups")
    return int(value)


def check_head(where: str, head: object) -> None:
    """Return None for a head. Raises InvalidInput naming the type of anything else."""
    if type(head) not in HEADS.values():
        raise InvalidInput(
            f"{where}: head: expected a SoftmaxHead, MlpHead or LoraHead, got {type(head).__name__}"
        )


def bind_context(builder: Builder, context: Field) -> None:
    """Let the proof depend on the context, which no other row uses.

    A signal in no row would have the point at infinity in the verifying key, and one proof would
    verify under every context. One row: context * context = a wire.
    """
    square = builder.field_hint("context squared", lambda x: native.fr_mul(x, x), [context], 1)
    indptr, one = np.arange(2), np.zeros(1, np.uint32)
    side = (indptr, context.wires, one)
    builder.rows("context", side, side, (indptr, square.wires, one))
