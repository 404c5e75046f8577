"""LoRA factors trained by their owner around frozen layers that somebody else multiplies by.

    h_l = x_l W_l^T + b_l + (x_l A_l^T) B_l^T,   x_{l+1} = max(h_l, 0)

under the softmax cross-entropy of the last h.

The client holds A_l (rank x inputs), B_l (outputs x rank), activations, labels and the loss; the
frozen W_l is whatever multiplies rows by it: `HybridClient`, or matrices in clear. Biases are the
client's too. The gradients are

    dB = dh^T (x A^T),  dA = (dh B)^T x,  dx = dh W + (dh B) A

(Hu et al., "LoRA", 2021).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.he.hybrid import LayerShape

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class Frozen(Protocol):
    """Frozen layers: products with a matrix and with its transpose."""

    def times(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's transposed matrix."""

    def times_transposed(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's matrix."""


@dataclass(frozen=True)
class InClear:
    """Frozen layers that the client holds itself: what the encrypted ones are compared with."""

    matrices: Sequence[Floats] = field(repr=False)

    def times(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's transposed matrix."""
        return np.asarray(rows @ self.matrices[layer].T)

    def times_transposed(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's matrix."""
        return np.asarray(rows @ self.matrices[layer])


@dataclass
class Adapter:
    """One layer's factors and bias."""

    down: Floats = field(repr=False)
    up: Floats = field(repr=False)
    bias: Floats = field(repr=False)


class LoraNetwork:
    """A network of frozen layers with ReLU between them and an adapter at each."""

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        rank: int,
        biases: Sequence[Floats] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if rank < 1 or not shapes:
            raise InvalidInput("adapter: expected a rank of 1 or more, and a layer")
        if any(a.outputs != b.inputs for a, b in pairwise(shapes)):
            raise InvalidInput("adapter: a layer's outputs are not the next one's inputs")
        given = [np.zeros(shape.outputs) for shape in shapes] if biases is None else biases
        self.adapters = [
            Adapter(
                _uniform((rank, shape.inputs), random_bytes),
                np.zeros((shape.outputs, rank)),
                np.array(bias, np.float64),
            )
            for shape, bias in zip(shapes, given, strict=True)
        ]

    def arrays(self) -> dict[str, Floats]:
        """Return every factor and bias by its name: down0, up0, bias0, down1, ..."""
        return {
            f"{name}{number}": getattr(adapter, name)
            for number, adapter in enumerate(self.adapters)
            for name in ("down", "up", "bias")
        }

    def forward(self, frozen: Frozen, rows: Floats) -> list[Floats]:
        """Return every layer's input, and the logits last."""
        values = [np.asarray(rows, np.float64)]
        for number, adapter in enumerate(self.adapters):
            x = values[-1]
            h = frozen.times(number, x) + adapter.bias + (x @ adapter.down.T) @ adapter.up.T
            last = number == len(self.adapters) - 1
            values.append(h if last else np.maximum(h, 0))
        return values

    def step(self, frozen: Frozen, rows: Floats, labels: Labels, rate: float) -> float:
        """Take one step of gradient descent on all adapters; return the loss before it."""
        values = self.forward(frozen, rows)
        loss, error = softmax_loss(values[-1], labels)
        for number in reversed(range(len(self.adapters))):
            adapter, x = self.adapters[number], values[number]
            lowered = error @ adapter.up
            up, down = error.T @ (x @ adapter.down.T), lowered.T @ x
            bias = error.sum(0)
            if number:
                back = frozen.times_transposed(number, error) + lowered @ adapter.down
                error = np.where(x > 0, back, 0.0)
            adapter.up = adapter.up - rate * up
            adapter.down = adapter.down - rate * down
            adapter.bias = adapter.bias - rate * bias
        return loss


def _uniform(shape: tuple[int, int], random_bytes: Callable[[int], bytes]) -> Floats:
    """Return uniform numbers of variance 1 / columns."""
    words = np.frombuffer(random_bytes(8 * shape[0] * shape[1]), "<u8").reshape(shape)
    return np.asarray((words / 2.0**63 - 1) * np.sqrt(3 / shape[1]))


def softmax_loss(logits: Floats, labels: Labels) -> tuple[float, Floats]:
    """Return the mean cross-entropy, and its gradient by the logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares = powers / powers.sum(1, keepdims=True)
    places = np.arange(len(logits))
    loss = -float(np.log(np.maximum(shares[places, labels], 1e-300)).mean())
    shares[places, labels] -= 1
    return loss, shares / len(logits)
