"""Softmax regression heads and their integer SGD step (rules 7, 8, 11 and 12)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model.fixed_point import (
    ERROR_SCALE_BITS,
    LOG2_E_NUMERATOR,
    LOG2_E_SHIFT,
    LOGIT_SCALE_BITS,
    MAX_SCALE_BITS,
    MAX_WIDTH,
    WEIGHT_SCALE_BITS,
    FloatArray,
    IntArray,
    check_width,
    from_fixed,
    rescale,
    softmax,
    softmax_widths,
    to_fixed,
)

MOMENTUM_BITS = 8
"""Momentum is the integer m over 2**8 (rule 12)."""

MAX_CLASSES = 256
"""Labels are bytes in [0, classes)."""

MAX_PARAMETERS = 1 << 24


@dataclass(frozen=True)
class SoftmaxHead:
    """The static shape and scales of a softmax-regression head with bias.

    Weights are an integer (features + 1, classes) matrix at scale 2**weight_scale_bits whose last
    row is the bias: an input row x (scale s = input_scale_bits) stands for (x, 2**s). Momentum is
    momentum / 2**8. A step's learning rate is lr / batch = c * 2**-rate_shift with
    1 <= c < 2**rate_bits.

    Raises InvalidInput for sizes, scales or widths that the rules do not allow.
    """

    features: int
    classes: int
    input_scale_bits: int = 4
    input_width: int = 8
    weight_scale_bits: int = WEIGHT_SCALE_BITS
    weight_width: int = 20
    logit_scale_bits: int = LOGIT_SCALE_BITS
    error_scale_bits: int = ERROR_SCALE_BITS
    momentum: int = 0
    rate_shift: int = 16
    rate_bits: int = 12

    def __post_init__(self) -> None:
        for name, (low, high) in _HEAD_RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"head: {name} must be an integer, got {value!r}")
            if not low <= value <= high:
                raise InvalidInput(f"head: {name} must be {low} to {high}, got {value}")
        if (self.features + 1) * self.classes > MAX_PARAMETERS:
            raise InvalidInput(
                f"head: {self.features} x {self.classes} has more than {MAX_PARAMETERS} parameters"
            )
        if self.update_shift < 1:
            raise InvalidInput(
                f"head: the update's shift K = input_scale_bits + error_scale_bits + rate_shift -"
                f" weight_scale_bits is {self.update_shift}, below 1; raise rate_shift"
            )
        self.widths(1)

    @property
    def shape(self) -> tuple[int, int]:
        """The weights' shape, the bias row included."""
        return self.features + 1, self.classes

    @property
    def logit_shift(self) -> int:
        """Rule 7's shift sx + sw + 8 - sa of 369 acc."""
        return self.input_scale_bits + self.weight_scale_bits + LOG2_E_SHIFT - self.logit_scale_bits

    @property
    def gradient_scale_bits(self) -> int:
        """The scale sx + se of the gradient and the velocity."""
        return self.input_scale_bits + self.error_scale_bits

    @property
    def update_shift(self) -> int:
        """Rule 12's shift K = sx + se + t - sw of the fused update."""
        return self.gradient_scale_bits + self.rate_shift - self.weight_scale_bits

    def widths(self, batch: int) -> dict[str, int]:
        """Return signed widths that provably hold every value of a step on `batch` rows.

        Follow from input_width and weight_width, rule 7's check and rule 8:
        acc = x W + (b << sx); acc_logit = 369 acc; u = R(acc_logit); m, d, e, S, rho, e_rho, p;
        E = p - onehot 2**se; G = x^T E (the bias row: 2**sx times the sum of E); v = the velocity,
        which a step maps into its own width; update = W 2**K - c v.

        Raises InvalidInput, naming the value, if one passes MAX_WIDTH, and for batch < 1.
        """
        if batch < 1:
            raise InvalidInput(f"a batch needs at least 1 row, got {batch}")
        x, w = 1 << (self.input_width - 1), 1 << (self.weight_width - 1)
        one = 1 << self.input_scale_bits
        acc = self.features * x * w + w * one
        error = 1 << self.error_scale_bits
        gradient = batch * max(x, one) * error
        # |v'| <= m |v| / 256 + |G| + 1/2 maps [-V, V] into itself from this V on.
        velocity = -(-(2 * gradient + 1) * 128 // (256 - self.momentum))
        if not self.momentum:
            velocity = gradient
        v_width = velocity.bit_length() + 1
        c = (1 << self.rate_bits) - 1
        update = (w << self.update_shift) + c * (1 << (v_width - 1)) + (1 << self.update_shift)
        largest = {
            "acc": acc,
            "acc_logit": LOG2_E_NUMERATOR * acc + (1 << max(self.logit_shift, 0)),
            "E": error,
            "G": gradient,
            "v": velocity,
            "velocity_sum": (velocity * 2 + gradient) << MOMENTUM_BITS,
            "update": update,
        }
        widths = {"x": self.input_width, "W": self.weight_width, "u": self.logit_scale_bits + 9}
        widths |= {name: value.bit_length() + 1 for name, value in largest.items()}
        widths |= softmax_widths(self.classes, self.logit_scale_bits, self.error_scale_bits)
        for name, width in widths.items():
            if width > MAX_WIDTH + 1:
                raise InvalidInput(
                    f"head {self.features} x {self.classes}, batch {batch}: {name} would need"
                    f" {width} bits of {MAX_WIDTH}; use smaller widths, scales or batches"
                )
        return widths

    def describe(self) -> dict[str, Any]:
        """Return every static number of the head, for canonical JSON."""
        return {"name": "zkai.softmax-head/1", **asdict(self)}


_HEAD_RANGES = {
    "features": (1, MAX_PARAMETERS),
    "classes": (2, MAX_CLASSES),
    "input_scale_bits": (0, MAX_SCALE_BITS),
    "input_width": (2, 32),
    "weight_scale_bits": (0, MAX_SCALE_BITS),
    "weight_width": (2, 40),
    "logit_scale_bits": (2, 12),
    "error_scale_bits": (2, 12),
    "momentum": (0, (1 << MOMENTUM_BITS) - 1),
    "rate_shift": (0, 40),
    "rate_bits": (1, 32),
}


@dataclass(frozen=True)
class HeadState:
    """A head's integer weights (features + 1, classes) and, with momentum, velocity.

    `velocity` has the weights' shape at the gradient's scale, or is None if momentum is 0.
    """

    weights: IntArray = field(repr=False)
    velocity: IntArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StepTrace:
    """Every tensor of one SGD step, in the rules' names: u, p, E, G, and the new state."""

    logits: IntArray = field(repr=False)
    probabilities: IntArray = field(repr=False)
    error: IntArray = field(repr=False)
    gradient: IntArray = field(repr=False)
    state: HeadState = field(repr=False)


def initial_state(
    head: SoftmaxHead, weights: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> HeadState:
    """Quantise float weights (features, classes) and bias (classes,) and set the velocity to 0.

    torch's Linear keeps its weight as (classes, features): pass its transpose.

    Raises InvalidInput for a wrong shape, NaN, an infinity, or a weight that overflows its width.
    """
    matrix = to_fixed(weights, head.weight_scale_bits, "weights")
    row = to_fixed(np.zeros(head.classes) if bias is None else bias, head.weight_scale_bits, "bias")
    if matrix.shape != (head.features, head.classes) or row.shape != (head.classes,):
        raise InvalidInput(
            f"head: expected weights {(head.features, head.classes)} and bias {(head.classes,)},"
            f" got {matrix.shape} and {row.shape}"
        )
    check_width(matrix, head.weight_width, "weights")
    check_width(row, head.weight_width, "bias")
    velocity = np.zeros(head.shape, dtype=np.int64) if head.momentum else None
    return HeadState(np.concatenate([matrix, row[None, :]]), velocity)


def head_floats(head: SoftmaxHead, state: HeadState) -> tuple[FloatArray, FloatArray]:
    """Return the real weights (features, classes) and bias (classes,) that a state stands for."""
    check_state(head, state)
    real = from_fixed(state.weights, head.weight_scale_bits)
    return real[:-1], real[-1]


def check_state(head: SoftmaxHead, state: HeadState, batch: int | None = None) -> None:
    """Return None if a state has the head's shapes and widths.

    The velocity's width depends on the batch; it is checked if `batch` is given.

    Raises InvalidInput naming the tensor otherwise.
    """
    _check_integers(state.weights, head.shape, "weights")
    check_width(state.weights, head.weight_width, "weights")
    if (state.velocity is None) == bool(head.momentum):
        raise InvalidInput("velocity: needed exactly if the head's momentum is not 0")
    if state.velocity is not None:
        _check_integers(state.velocity, head.shape, "velocity")
        check_width(state.velocity, head.widths(batch)["v"] if batch else MAX_WIDTH, "velocity")


def _check_integers(array: IntArray, shape: tuple[int, ...], tensor: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64:
        raise InvalidInput(f"{tensor}: expected an int64 array")
    if array.shape != shape:
        raise InvalidInput(f"{tensor}: expected shape {shape}, got {array.shape}")


def check_batch(head: SoftmaxHead, x: IntArray, labels: IntArray) -> None:
    """Return None if x is (batch, features) in its width and labels are (batch,) in [0, classes).

    Raises InvalidInput naming the tensor otherwise.
    """
    rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else 1
    _check_integers(x, (max(rows, 1), head.features), "x")
    _check_integers(labels, (rows,), "labels")
    check_width(x, head.input_width, "x")
    if np.any(labels < 0) or np.any(labels >= head.classes):
        raise InvalidInput(f"labels: expected integers of 0 to {head.classes - 1}")


def logits(head: SoftmaxHead, weights: IntArray, x: IntArray) -> IntArray:
    """Return the base-2 logits u = R(369 (x W + (b << sx))) at scale sa (rules 3 and 7)."""
    acc = x @ weights[:-1] + (weights[-1] << np.int64(head.input_scale_bits))
    return rescale(LOG2_E_NUMERATOR * acc, head.logit_shift)


def trace_step(
    head: SoftmaxHead, state: HeadState, x: IntArray, labels: IntArray, rate: int
) -> StepTrace:
    """Do one SGD step and return all of its tensors.

    u by rule 7, p by rule 8, E = p - onehot 2**se (rule 11), G = (x, 2**sx)^T E; with momentum m:
    v' = R_8(m v + 2**8 G), else v' = G; W' = R_K(W 2**K - c v') (rule 12), c = `rate`.

    x: (batch, features) at the input's scale; labels: (batch,).

    Raises InvalidInput, naming the tensor, for a wrong shape or a value out of its range; an
    overflow of the new weights rejects the step (rule 14).
    """
    check_batch(head, x, labels)
    check_state(head, state, len(x))
    head.widths(len(x))
    if not 1 <= rate < 1 << head.rate_bits:
        raise InvalidInput(f"learning_rate: expected 1 to {(1 << head.rate_bits) - 1}, got {rate}")
    u = logits(head, state.weights, x)
    p = softmax(u, head.logit_scale_bits, head.error_scale_bits, "logits")
    error = p.copy()
    error[np.arange(len(labels)), labels] -= np.int64(1) << np.int64(head.error_scale_bits)
    bias_row = error.sum(axis=0) << np.int64(head.input_scale_bits)
    gradient = np.concatenate([x.T @ error, bias_row[None, :]])
    velocity, step = None, gradient
    if state.velocity is not None:
        velocity = rescale(
            head.momentum * state.velocity + (gradient << np.int64(MOMENTUM_BITS)), MOMENTUM_BITS
        )
        step = velocity
    shift = np.int64(head.update_shift)
    weights = rescale((state.weights << shift) - rate * step, head.update_shift)
    check_width(weights, head.weight_width, "weights after the step")
    return StepTrace(u, p, error, gradient, HeadState(weights, velocity))


def sgd_step(
    head: SoftmaxHead, state: HeadState, x: IntArray, labels: IntArray, rate: int
) -> HeadState:
    """Return the state after one integer SGD step: `trace_step`'s result.

    Constrained by zkai.circuit.statements.training_step.
    """
    return trace_step(head, state, x, labels, rate).state


def apply_update(head: SoftmaxHead, state: HeadState, update: IntArray) -> HeadState:
    """Return the state with weights W + U and the same velocity.

    `update` has the weights' shape and scale.

    Raises InvalidInput, naming the tensor, for a wrong shape or an overflow.
    """
    check_state(head, state)
    _check_integers(update, head.shape, "update")
    check_width(update, head.weight_width + 1, "update")
    weights = state.weights + update
    check_width(weights, head.weight_width, "weights after the update")
    return HeadState(weights, state.velocity)


def _is_finite(number: float) -> bool:
    return isinstance(number, int) or math.isfinite(number)


def learning_rate(head: SoftmaxHead, rate: float, batch: int) -> int:
    """Return the integer c with rate / batch = c * 2**-rate_shift exactly.

    Raises InvalidInput, proposing the nearest rates that are exact, if there is none in range.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not _is_finite(rate):
        raise InvalidInput(f"learning rate: expected a finite number, got {rate!r}")
    if batch < 1:
        raise InvalidInput(f"a batch needs at least 1 row, got {batch}")
    exact = Fraction(rate) / batch * (1 << head.rate_shift)
    top = (1 << head.rate_bits) - 1
    if exact.denominator != 1 or not 1 <= exact <= top:
        near = {min(max(int(exact) + k, 1), top) for k in (0, 1)}
        text = " or ".join(repr(c * batch / (1 << head.rate_shift)) for c in sorted(near))
        raise InvalidInput(
            f"learning rate {rate!r} is not c * {batch} / 2**{head.rate_shift} with an integer c"
            f" of 1 to {top}; the nearest are {text}, or choose another rate_shift or rate_bits"
        )
    return int(exact)


def predict(head: SoftmaxHead, state: HeadState, x: IntArray) -> IntArray:
    """Return each row's class: the argmax of its base-2 logits, the lowest index on a tie."""
    check_state(head, state)
    _check_integers(x, (len(x), head.features), "x")
    check_width(x, head.input_width, "x")
    return np.asarray(np.argmax(logits(head, state.weights, x), axis=1), dtype=np.int64)


def accuracy(head: SoftmaxHead, state: HeadState, x: IntArray, labels: IntArray) -> float:
    """Return the fraction of rows whose predicted class is their label."""
    check_batch(head, x, labels)
    return float(np.mean(predict(head, state, x) == labels))


def float_step(
    weights: FloatArray,
    velocity: FloatArray,
    x: FloatArray,
    labels: IntArray,
    rate: float,
    momentum: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return (weights, velocity) after one SGD step of softmax regression in real numbers.

    weights, velocity: (features + 1, classes), the bias last; x: (batch, features). The loss is
    the batch's mean cross-entropy and the step torch.optim.SGD's: v' = momentum v + g,
    W' = W - rate v'. For comparison with `sgd_step` only.
    """
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    z = rows @ weights
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1.0
    velocity = momentum * velocity + rows.T @ p / len(x)
    return weights - rate * velocity, velocity
