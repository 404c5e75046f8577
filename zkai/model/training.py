"""Integer training steps of heads: the SGD step over layers (rules 3, 5, 7, 8, 11 to 13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.clipping import clip_factors, squared_norms
from zkai.model.fixed_point import (
    LOG2_E_NUMERATOR,
    IntArray,
    check_width,
    relu_mask,
    rescale,
    softmax,
)
from zkai.model.head_floats import float_step, head_floats, initial_state
from zkai.model.head_layers import Block, Layer
from zkai.model.head_state import HeadState, check_batch, check_integers, check_state
from zkai.model.heads import (
    DECAY_SCALE_BITS,
    MOMENTUM_BITS,
    Head,
    LoraHead,
    MlpHead,
    SoftmaxHead,
)

__all__ = [
    "MOMENTUM_BITS",
    "Gradient",
    "Head",
    "HeadState",
    "LoraHead",
    "MlpHead",
    "SoftmaxHead",
    "StepTrace",
    "accuracy",
    "apply_update",
    "check_batch",
    "check_state",
    "float_step",
    "head_floats",
    "initial_state",
    "learning_rate",
    "logits",
    "predict",
    "sgd_step",
    "trace_step",
    "weight_decay",
]


@dataclass(frozen=True)
class Gradient:
    """The gradient of a trained matrix before it is multiplied out: left^T error.

    left (batch, inputs) at the block's scale; error (batch, outputs) at se + block.raw, and 12 bits
    more once it is clipped.
    """

    block: Block
    left: IntArray = field(repr=False)
    error: IntArray = field(repr=False)

    @property
    def product(self) -> IntArray:
        """The gradient, (inputs [+ 1], outputs): the bias is the weight of an input 2**scale."""
        weight = self.left.T @ self.error
        if not self.block.bias:
            return weight
        bias = self.error.sum(axis=0) << np.int64(self.block.scale)
        return np.concatenate([weight, bias[None, :]])


@dataclass(frozen=True)
class Activations:
    """What the forward pass leaves: layer inputs, ReLU masks, low-rank activations t, and u."""

    inputs: tuple[IntArray, ...]
    masks: tuple[IntArray, ...]
    lows: dict[int, IntArray]
    logits: IntArray


@dataclass(frozen=True)
class StepTrace:
    """Every tensor of one SGD step, in the rules' names: u, p, E, G, and the new state.

    `gradient` has the weights' shape; `gradients` are its factors, block by block.
    """

    logits: IntArray = field(repr=False)
    probabilities: IntArray = field(repr=False)
    error: IntArray = field(repr=False)
    gradients: tuple[Gradient, ...] = field(repr=False)
    gradient: IntArray = field(repr=False)
    state: HeadState = field(repr=False)


# Forward --------------------------------------------------------------------------------------


def forward(
    head: Head, weights: IntArray, x: IntArray, frozen: IntArray | None = None
) -> Activations:
    """Return every layer's input and the base-2 logits u.

    acc = x W + (b << s), with t = R(x A) and t B added for factors (rule 13); z = R(acc), the next
    input z [z >= 1] (rule 5); u = R(369 acc) (rule 7).

    Raises InvalidInput, naming the tensor, on an overflow.
    """
    inputs, masks, lows = [x], [], dict[int, IntArray]()
    for layer in head.layers:
        x = inputs[-1]
        acc = _accumulate(head, layer, weights, frozen, x, lows)
        if layer is head.layers[-1]:
            break
        z = rescale(acc, layer.common_scale + head.weight_scale_bits - layer.output_scale)
        # ReLU reads the sign of z - 1, so that is what has a width.
        check_width(z - 1, _width(head, "hidden_width"), f"hidden layer {layer.number}")
        masks.append(relu_mask(z))
        inputs.append(z * masks[-1])
    u = rescale(LOG2_E_NUMERATOR * acc, head.logit_shift)
    return Activations(tuple(inputs), tuple(masks), lows, u)


def _accumulate(
    head: Head,
    layer: Layer,
    weights: IntArray,
    frozen: IntArray | None,
    x: IntArray,
    lows: dict[int, IntArray],
) -> IntArray:
    """Return a layer's exact sums at scale l + sw, and note its low-rank activation."""
    matrix = layer_weights(layer, weights, frozen)
    acc = x @ matrix[:-1] + (matrix[-1] << np.int64(layer.scale))
    if layer.down is None or layer.up is None:
        return np.asarray(acc, np.int64)
    scale = layer.up.scale
    low = rescale(x @ layer.down.of(_flat(weights)), layer.scale + head.weight_scale_bits - scale)
    check_width(low, _width(head, "hidden_width"), f"{layer.down.name} t")
    lows[layer.number] = low
    added = low @ layer.up.of(_flat(weights))
    common = layer.common_scale
    total = (acc << np.int64(common - layer.scale)) + (added << np.int64(common - scale))
    return np.asarray(total, np.int64)


def layer_weights(layer: Layer, weights: IntArray, frozen: IntArray | None) -> IntArray:
    """Return a layer's matrix (inputs + 1, outputs), trained or frozen."""
    source = weights if layer.trained else frozen
    if source is None:
        raise InvalidInput("frozen: the head has weights that are not trained; give them")
    return layer.weight.of(_flat(source))


def _flat(array: IntArray) -> IntArray:
    return array.reshape(-1)


def _width(head: Head, name: str) -> int:
    return int(getattr(head, name))


def logits(head: Head, weights: IntArray, x: IntArray, frozen: IntArray | None = None) -> IntArray:
    """Return the base-2 logits u of each row at scale sa (rules 3, 5, 7 and 13)."""
    return forward(head, weights, x, frozen).logits


# Backward -------------------------------------------------------------------------------------


def backward(
    head: Head, state: HeadState, made: Activations, error: IntArray
) -> tuple[Gradient, ...]:
    """Return the factors of every trained matrix's gradient, in the order of `head.blocks`.

    From the last layer's E: D = R_sw(E W^T) mask for the layer below, with the weights before the
    step (rule 11). A layer with factors keeps its D raw for B's gradient, and for A's
    DA = R_{sw + raw}(D B^T) (rule 13), which adds DA A^T to the sums of the layer below it.

    Raises InvalidInput, naming the tensor, on an overflow.
    """
    found: dict[Block, Gradient] = {}
    raw, sw = error, head.weight_scale_bits
    for layer in reversed(head.layers):
        x, number = made.inputs[layer.number - 1], layer.number
        if layer.trained:
            found[layer.weight] = Gradient(layer.weight, x, error)
        low_error = None
        if layer.down is not None and layer.up is not None:
            raw = raw if layer.up.raw else error
            up = layer.up.of(_flat(state.weights))
            low_error = rescale(raw @ up.T, sw + layer.up.raw)
            check_width(low_error, _width(head, "error_width"), f"{layer.down.name} error")
            found[layer.up] = Gradient(layer.up, made.lows[number], raw)
            found[layer.down] = Gradient(layer.down, x, low_error)
        if number == head.lowest:
            break
        back = error @ layer_weights(layer, state.weights, state.frozen)[:-1].T
        if layer.down is not None and low_error is not None:
            back = back + low_error @ layer.down.of(_flat(state.weights)).T
        raw = back * made.masks[number - 2]
        if head.rounds_error(number - 1):
            error = rescale(raw, sw)
            check_width(error, _width(head, "error_width"), f"hidden error {number - 1}")
    return tuple(found[block] for block in head.blocks)


def clip_gradients(head: Head, gradients: Sequence[Gradient]) -> tuple[Gradient, ...]:
    """Return the gradients with each example's errors times its factor f (rule 17).

    The sum over blocks of |left_i|^2 |error_i|^2 / 2^24 is then at most the bound behind
    `head.clip`, for every example i, exactly.
    """
    norms = squared_norms(head.norm_plan, [(g.left, g.error) for g in gradients])
    factors = clip_factors(norms, head.clip)
    return tuple(replace(g, error=g.error * factors[:, None]) for g in gradients)


def update(
    head: Head, state: HeadState, gradients: Sequence[Gradient], rate: int
) -> tuple[HeadState, IntArray]:
    """Return the state after a step along the gradients, and the gradient in the weights' shape.

    Without momentum m and decay: W' = R_K(W 2^K - c G). With them the velocity takes G's place:
    v' = R_k((m v + 2^8 R_raw(G)) 2^(k - 8) + lambda W) with k = 8, or 20 with decay (rule 12).

    Raises InvalidInput, naming the tensor, if a new weight overflows.
    """
    old, before = _flat(state.weights), state.velocity
    velocity, new, products = np.zeros_like(old), np.zeros_like(old), np.zeros_like(old)
    for gradient in gradients:
        block = gradient.block
        part = slice(block.start, block.stop)
        products[part] = step = _flat(gradient.product)
        if head.smooths:
            total = rescale(step, block.raw) << np.int64(MOMENTUM_BITS)
            if before is not None:
                total = total + head.momentum * _flat(before)[part]
            total = total << np.int64(head.velocity_shift - MOMENTUM_BITS)
            total = total + head.decay_factor(block) * old[part]
            velocity[part] = step = rescale(total, head.velocity_shift)
        shift = head.update_shift(block)
        new[part] = rescale((old[part] << np.int64(shift)) - rate * step, shift)
    check_width(new, head.weight_width, "weights after the step")
    moved = velocity.reshape(head.shape) if before is not None else None
    return HeadState(new.reshape(head.shape), moved, state.frozen), products.reshape(head.shape)


def trace_step(head: Head, state: HeadState, x: IntArray, labels: IntArray, rate: int) -> StepTrace:
    """Do one SGD step and return all of its tensors.

    `forward` gives u, rule 8 p, E = p - onehot 2**se (rule 11), `backward` the gradients,
    `clip_gradients` cuts them if the head says so (rule 17), and `update` gives the new state
    (rule 12), with lr / batch = c 2**-rate_shift, c = `rate`.

    x: (batch, features) at the input's scale; labels: (batch,).

    Raises InvalidInput, naming the tensor, for a wrong shape or a value out of its range; an
    overflow rejects the step (rule 14).
    """
    check_batch(head, x, labels)
    check_state(head, state, len(x))
    head.widths(len(x))
    if not 1 <= rate < 1 << head.rate_bits:
        raise InvalidInput(f"learning_rate: expected 1 to {(1 << head.rate_bits) - 1}, got {rate}")
    made = forward(head, state.weights, x, state.frozen)
    p = softmax(made.logits, head.logit_scale_bits, head.error_scale_bits, "logits")
    error = p.copy()
    error[np.arange(len(labels)), labels] -= np.int64(1) << np.int64(head.error_scale_bits)
    gradients = backward(head, state, made, error)
    if head.clip:
        gradients = clip_gradients(head, gradients)
    new, gradient = update(head, state, gradients, rate)
    return StepTrace(made.logits, p, error, gradients, gradient, new)


def sgd_step(head: Head, state: HeadState, x: IntArray, labels: IntArray, rate: int) -> HeadState:
    """Return the state after one integer SGD step: `trace_step`'s result.

    Constrained by zkai.circuit.statements.training_step.
    """
    return trace_step(head, state, x, labels, rate).state


def apply_update(head: Head, state: HeadState, update: IntArray) -> HeadState:
    """Return the state with weights W + U and everything else as it was.

    `update` has the weights' shape and scale.

    Raises InvalidInput, naming the tensor, for a wrong shape or an overflow.
    """
    check_state(head, state)
    check_integers(update, head.shape, "update")
    check_width(update, head.weight_width + 1, "update")
    weights = state.weights + update
    check_width(weights, head.weight_width, "weights after the update")
    return replace(state, weights=weights)


def _is_finite(number: float) -> bool:
    return isinstance(number, int) or math.isfinite(number)


def learning_rate(head: Head, rate: float, batch: int) -> int:
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


def weight_decay(head: Head, decay: float, batch: int) -> int:
    """Return the integer of a head's `decay` field: decay * batch * 2**16, exactly.

    The step is then torch.optim.SGD's with weight_decay=decay on batches of `batch` rows.

    Raises InvalidInput, proposing the nearest exact ones, if there is no such integer in range.
    """
    if isinstance(decay, bool) or not isinstance(decay, int | float) or not _is_finite(decay):
        raise InvalidInput(f"weight decay: expected a finite number, got {decay!r}")
    if batch < 1:
        raise InvalidInput(f"a batch needs at least 1 row, got {batch}")
    exact = Fraction(decay) * batch * (1 << DECAY_SCALE_BITS)
    if exact.denominator != 1 or exact < 0:
        near = {max(int(exact) + k, 0) for k in (0, 1)}
        text = " or ".join(repr(c / (batch << DECAY_SCALE_BITS)) for c in sorted(near))
        raise InvalidInput(
            f"weight decay {decay!r} is no multiple of 2**-{DECAY_SCALE_BITS} / {batch} of at"
            f" least 0; the nearest are {text}"
        )
    replace(head, decay=int(exact)).widths(batch)
    return int(exact)


def predict(head: Head, state: HeadState, x: IntArray) -> IntArray:
    """Return each row's class: the argmax of its base-2 logits, the lowest index on a tie."""
    check_state(head, state)
    check_integers(x, (len(x), head.features), "x")
    check_width(x, head.input_width, "x")
    u = logits(head, state.weights, x, state.frozen)
    return np.asarray(np.argmax(u, axis=1), dtype=np.int64)


def accuracy(head: Head, state: HeadState, x: IntArray, labels: IntArray) -> float:
    """Return the fraction of rows whose predicted class is their label."""
    check_batch(head, x, labels)
    return float(np.mean(predict(head, state, x) == labels))
