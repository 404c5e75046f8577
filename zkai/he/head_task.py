"""A linear head trained with polynomial sigmoids: the task, the fit, and training in clear.

One output is a logistic regression, several are trained one against the rest, each with

    p(z) = 1/2 + a1 z + a3 z^3          the least-squares fit of 1/(1 + exp(-z)) on [-range, range]

and used together by their argmax. A polynomial softmax would need the exponential and a division
under encryption, about six levels more and a ring four times as large.

Rows are (x, 1), the last one for the bias. For a batch of b rows with targets t in {0, 1}

    g = sum_rows (p(x.w) - t) x / b + weight_decay * w
    v = momentum * v + g;  w = w - learning_rate * v;  w = w * min(1, range / (norm |w|))

for each output's column w. As |x| <= norm, the last line keeps |x.w| <= range: no value ever leaves
the polynomial's range, where a cubic turns around and training would run away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Function = Literal["polynomial", "sigmoid", "softmax"]


@dataclass(frozen=True)
class Cubic:
    """The cubic for the sigmoid on [-range, range], and how far it is from it there."""

    a1: float
    a3: float
    range: float
    max_error: float

    @staticmethod
    def fit(limit: float) -> Cubic:
        """Return the odd cubic with the least mean square error on [-limit, limit]."""
        z = np.linspace(0, limit, 4001)
        basis = np.stack([z, z**3], 1)
        exact = 1 / (1 + np.exp(-z)) - 0.5
        a1, a3 = np.linalg.lstsq(basis, exact, rcond=None)[0]
        error = float(np.abs(basis @ (a1, a3) - exact).max())
        return Cubic(float(a1), float(a3), limit, error)

    def __call__(self, z: Floats) -> Floats:
        return 0.5 + self.a1 * z + self.a3 * z**3


@dataclass(frozen=True)
class HeadTask:
    """What is trained and how; `norm` bounds |(x, 1)| of every row, in the features' own unit.

    Raises InvalidInput, naming the part, for values out of range.
    """

    features: int
    outputs: int
    batch: int
    learning_rate: float
    norm: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    range: float = 8.0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "features": (1, 1 << 14),
            "outputs": (1, 1 << 10),
            "batch": (1, 1 << 17),
            "learning_rate": (1e-9, 1e6),
            "norm": (1e-6, 1e6),
            "momentum": (0, 0.999),
            "weight_decay": (0, 1e3),
            "range": (2, 32),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(f"head: {name} is {value}, expected {low} to {high}")
        for name in ("features", "outputs", "batch"):
            if type(getattr(self, name)) is not int:
                raise InvalidInput(f"head: {name}: expected an integer")

    @property
    def columns(self) -> int:
        """Features and one for the bias."""
        return self.features + 1

    @cached_property
    def cubic(self) -> Cubic:
        """The polynomial in the sigmoid's place."""
        return Cubic.fit(self.range)

    def rows(self, features: Floats) -> Floats:
        """Return the rows (x, 1).

        Raises InvalidInput for another shape, for what is not finite and for a row longer than
        `norm`.
        """
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or x.shape[1] != self.features or len(x) == 0:
            raise InvalidInput(
                f"features: expected rows of {self.features} numbers, got shape {x.shape}"
            )
        if not np.isfinite(x).all():
            raise InvalidInput("features: hold a number that is not finite")
        rows = np.concatenate([x, np.ones((len(x), 1))], 1)
        longest = np.sqrt((rows**2).sum(1))
        if longest.max() > self.norm * (1 + 1e-9):
            raise InvalidInput(
                f"features: row {int(longest.argmax())} with its 1 has the norm"
                f" {longest.max():.4g}, over the head's {self.norm:.4g}: scale the features,"
                " or declare a larger norm"
            )
        return rows

    def targets(self, labels: Labels, count: int) -> Floats:
        """Return the targets, shape (rows, outputs). Raises InvalidInput for unusable labels."""
        y, classes = np.asarray(labels), max(2, self.outputs)
        if y.shape != (count,) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes:
            raise InvalidInput(f"labels: expected {count} integers from 0 to {classes - 1}")
        if self.outputs == 1:
            return y[:, None].astype(np.float64)
        return np.eye(self.outputs)[y]

    def start(self, weights: Floats | None = None) -> Floats:
        """Return the first weights, shape (features + 1, outputs): zeros, or those given."""
        if weights is None:
            return np.zeros((self.columns, self.outputs))
        given = np.array(weights, np.float64)
        if given.shape != (self.columns, self.outputs) or not np.isfinite(given).all():
            raise InvalidInput(f"weights: expected finite ({self.columns}, {self.outputs})")
        return self.in_range(given)

    def in_range(self, weights: Floats) -> Floats:
        """Return the weights, columns shortened so that no row's logit can leave the range."""
        lengths = self.norm * np.sqrt((weights**2).sum(0))
        shortened = np.minimum(1.0, self.range / np.maximum(lengths, 1e-300))
        return np.asarray(weights * shortened)


@dataclass
class Descent:
    """Weights and velocity: what turns a gradient into the next weights."""

    task: HeadTask
    weights: Floats
    velocity: Floats

    @staticmethod
    def of(task: HeadTask, weights: Floats | None = None) -> Descent:
        """Return the start."""
        return Descent(task, task.start(weights), np.zeros((task.columns, task.outputs)))

    def move(self, gradient: Floats, bounded: bool = True) -> None:
        """Take one step along a batch's mean gradient."""
        task = self.task
        decayed = gradient + task.weight_decay * self.weights
        self.velocity = task.momentum * self.velocity + decayed
        moved = self.weights - task.learning_rate * self.velocity
        self.weights = task.in_range(moved) if bounded else moved


def batches(count: int, size: int) -> list[slice]:
    """Return the mini-batches of consecutive rows; the last one may be smaller."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def train_in_clear(
    task: HeadTask,
    features: Floats,
    labels: Labels,
    epochs: int,
    function: Function = "polynomial",
    weights: Floats | None = None,
) -> Floats:
    """Return the weights after training in clear with the polynomial, or with what it stands for.

    With "sigmoid" or "softmax" weights are not kept in range: nothing needs it.
    """
    rows, descent = task.rows(features), Descent.of(task, weights)
    targets = task.targets(labels, len(rows))
    for part in _epochs(len(rows), task.batch, epochs):
        x, logits = rows[part], rows[part] @ descent.weights
        error = _function(task, function, logits) - targets[part]
        descent.move(x.T @ error / len(x), bounded=function == "polynomial")
    return descent.weights


def _epochs(count: int, size: int, epochs: int) -> Iterator[slice]:
    for _ in range(epochs):
        yield from batches(count, size)


def _function(task: HeadTask, function: Function, logits: Floats) -> Floats:
    if function == "polynomial":
        return task.cubic(logits)
    if function == "sigmoid" or task.outputs == 1:
        return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def predict(task: HeadTask, weights: Floats, features: Floats) -> Labels:
    """Return the classes that a head says. Held-out rows may be longer than `norm`."""
    logits = np.asarray(features, np.float64) @ weights[:-1] + weights[-1]
    if task.outputs == 1:
        return np.asarray(logits[:, 0] > 0, np.int64)
    return np.asarray(logits.argmax(1), np.int64)


@dataclass(frozen=True)
class Gap:
    """What the polynomial costs: held-out accuracy of the same training with each function."""

    polynomial: float
    sigmoid: float
    softmax: float
    max_error: float
    range: float


def polynomial_gap(
    task: HeadTask,
    features: Floats,
    labels: Labels,
    epochs: int,
    held_out: tuple[Floats, Labels],
    weights: Floats | None = None,
) -> Gap:
    """Train in clear with polynomial, sigmoid and softmax, and compare them on other rows."""

    def accuracy(function: Function) -> float:
        trained = train_in_clear(task, features, labels, epochs, function, weights)
        return float((predict(task, trained, held_out[0]) == held_out[1]).mean())

    found = accuracy("polynomial"), accuracy("sigmoid"), accuracy("softmax")
    return Gap(*found, task.cubic.max_error, task.range)
