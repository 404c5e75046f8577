"""Where a training step's numbers lie in the few vectors that its circuit commits to.

    state      every weight, every velocity, every weight that is not trained, salt
    batch      x in row-major order, labels, salt
    new_salt   the salt of the state after the step
    tag        the digest of what the proof is for (labels.py)

Each is a vector of integers: numbers times 2**scale, a salt's and the tag's limbs of 16 bits as
they are. One commitment to a state covers all of it, and its salt keeps a guess from being tested.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.halo2.settings import HASHED, POLYCOMMIT
from zkai.model.fixed_point import IntArray
from zkai.model.graph import Shape

LIMB_BITS = 16
TAG_LIMBS = 256 // LIMB_BITS
PROOFS_OF_A_STATE = 2
"""How many proofs may start from one state before they show something of it."""

SALT_LIMBS = {HASHED: 128 // LIMB_BITS, POLYCOMMIT: 1600 // LIMB_BITS}
"""A hash hides behind 128 random bits. Of a vector that a polynomial commits to, a proof shows the
commitment and the polynomial's value at a public point, 254 bits each and linear in the vector: of
a state's salt, both for the new state and for the salt alone, and a value more for each proof that
starts from the state. 1600 bits are 76 more than that, so what shows is all but uniform."""

EXACT = 1 << 24
"""EZKL reads float32, which holds the integers below this exactly."""

STATE, BATCH, NEW_SALT, TAG, NEW_STATE = "state", "batch", "new_salt", "tag", "new_state"

NAMES = {
    f"input.{STATE}": "old_state",
    f"input.{BATCH}": "batch",
    f"input.{NEW_SALT}": "new_salt",
    f"input.{TAG}": "tag",
    "output": "new_state",
}
"""What public signals call the circuit's vectors."""


@dataclass(frozen=True)
class Layout:
    """The tensors of a state in order, the batch's shape, and the salts' length.

    `weights` are trained, `frozen` carried along unchanged; with `momentum` each trained tensor has
    a velocity of its shape.
    """

    weights: tuple[tuple[str, Shape], ...]
    frozen: tuple[tuple[str, Shape], ...]
    momentum: bool
    x: Shape
    salt_limbs: int
    scale: int

    @property
    def tensors(self) -> tuple[tuple[str, Shape], ...]:
        """A state's tensors in order; a velocity is called NAME.velocity."""
        moved = [(velocity_name(name), shape) for name, shape in self.weights]
        return (*self.weights, *(moved if self.momentum else []), *self.frozen)

    @property
    def numbers(self) -> int:
        """How many numbers a state has without its salt."""
        return sum(prod(shape) for _, shape in self.tensors)

    @property
    def rows(self) -> int:
        """The batch's rows."""
        return self.x[0]

    @property
    def inputs(self) -> dict[str, Shape]:
        """The lengths of the circuit's vectors."""
        return {
            STATE: (self.numbers + self.salt_limbs,),
            BATCH: (prod(self.x) + self.rows + self.salt_limbs,),
            NEW_SALT: (self.salt_limbs,),
            TAG: (TAG_LIMBS,),
        }

    def salt(self) -> IntArray:
        """Return fresh salt from the operating system."""
        limbs = [secrets.randbits(LIMB_BITS) for _ in range(self.salt_limbs)]
        return np.array(limbs, np.int64)

    def check_vector(self, name: str, vector: IntArray, length: int) -> None:
        """Return None for `length` integers that EZKL reads exactly. Raises InvalidInput."""
        if vector.dtype != np.int64 or vector.shape != (length,):
            raise InvalidInput(f"{name}: expected {length} integers")
        if np.any(np.abs(vector) >= EXACT):
            raise InvalidInput(f"{name}: holds a number of 2**24 or more")

    def pack_state(self, tensors: Mapping[str, npt.ArrayLike], salt: IntArray) -> IntArray:
        """Return a state's vector from tensors of real numbers.

        Raises InvalidInput, naming the tensor, for a missing, unknown, misshapen or too large one.
        """
        if set(tensors) != {name for name, _ in self.tensors}:
            names = ", ".join(name for name, _ in self.tensors)
            raise InvalidInput(f"state: expected the tensors {names}")
        parts = [self.fixed(name, tensors[name], shape) for name, shape in self.tensors]
        return np.concatenate([*parts, salt])

    def unpack_state(self, vector: IntArray) -> dict[str, npt.NDArray[np.float64]]:
        """Return the tensors of a state's vector as real numbers."""
        found, place = {}, 0
        for name, shape in self.tensors:
            size = prod(shape)
            found[name] = vector[place : place + size].reshape(shape) / 2.0**self.scale
            place += size
        return found

    def pack_batch(self, x: npt.ArrayLike, labels: npt.ArrayLike, salt: IntArray) -> IntArray:
        """Return a batch's vector. Raises InvalidInput naming x or labels."""
        rows = self.fixed("labels", labels, (self.rows,))
        if np.any(rows % (1 << self.scale)):
            raise InvalidInput("labels: expected integers")
        return np.concatenate([self.fixed("x", x, self.x), rows, salt])

    def fixed(self, name: str, value: npt.ArrayLike, shape: Shape) -> IntArray:
        """Return real numbers as a vector of integers at the layout's scale.

        Raises InvalidInput, naming the tensor, for another shape, NaN, or 2**24 and above.
        """
        try:
            array = np.asarray(value, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidInput(f"{name}: expected numbers ({error})") from error
        if array.shape != shape:
            raise InvalidInput(f"{name}: expected shape {shape}, got {array.shape}")
        scaled = np.round(array * 2.0**self.scale)
        if not np.isfinite(array).all() or np.any(np.abs(scaled) >= EXACT):
            limit = EXACT >> self.scale
            raise InvalidInput(f"{name}: holds NaN, an infinity, or a number of {limit} or more")
        return np.asarray(scaled, np.int64).ravel()


def velocity_name(name: str) -> str:
    """Return what a trained tensor's velocity, times the learning rate, is called."""
    return f"{name}.velocity"
