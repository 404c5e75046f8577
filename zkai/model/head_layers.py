"""Where a head's matrices lie in its flat weights, and what its layers consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


class Flat(Protocol):
    """A vector that can be cut and reshaped: an array of integers or a circuit's tensor."""

    def __getitem__(self, index: slice, /) -> Any:
        """Return a part."""


V = TypeVar("V", bound=Flat)


@dataclass(frozen=True)
class Block:
    """A matrix (inputs [+ 1 for the bias], outputs) in a flat vector, from place `start` on.

    `scale` is that of the inputs that it multiplies. `raw` counts the fraction bits that the
    errors of its outputs have beyond the error scale: the weights' where they are not rounded.
    """

    name: str
    start: int
    inputs: int
    outputs: int
    bias: bool
    scale: int
    raw: int = 0

    @property
    def rows(self) -> int:
        """The matrix's rows, the bias included."""
        return self.inputs + self.bias

    @property
    def stop(self) -> int:
        """The place behind the matrix."""
        return self.start + self.rows * self.outputs

    def of(self, flat: V) -> V:
        """Return the matrix (rows, outputs) out of a flat vector."""
        part: V = flat[self.start : self.stop].reshape(self.rows, self.outputs)
        return part


@dataclass(frozen=True)
class Layer:
    """A linear layer x W + b, with x A B added where it has trained factors A and B (LoRA).

    `trained` says in which vector W and b lie. `scale` is its input's and `output_scale` that of
    its rounded output, which the last layer does not have.
    """

    number: int
    weight: Block
    trained: bool
    scale: int
    output_scale: int
    down: Block | None = None
    up: Block | None = None

    @property
    def common_scale(self) -> int:
        """The scale l, less the weights', at which the terms of the output are added."""
        return max(self.scale, self.up.scale) if self.up else self.scale
