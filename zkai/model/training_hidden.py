"""Integer SGD steps through one hidden ReLU layer: a small MLP, and LoRA on it (rules 3-5, 7-13).

The reference semantics of backward passes for statements to come; softmax regression, which is
proven today, is in `zkai.model.training`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.fixed_point import (
    ERROR_SCALE_BITS,
    LOG2_E_NUMERATOR,
    LOG2_E_SHIFT,
    LOGIT_SCALE_BITS,
    WEIGHT_SCALE_BITS,
    IntArray,
    check_width,
    relu_mask,
    rescale,
    softmax,
)


@dataclass(frozen=True)
class HiddenProfile:
    """Scales and widths of a step through a hidden layer, and its learning rate's shift.

    lr / batch = c * 2**-rate_shift. Widths are promises: a value outside rejects the step.
    """

    input_scale_bits: int = 4
    weight_scale_bits: int = WEIGHT_SCALE_BITS
    activation_scale_bits: int = LOGIT_SCALE_BITS
    error_scale_bits: int = ERROR_SCALE_BITS
    weight_width: int = 20
    hidden_width: int = 15
    error_width: int = 14
    raw_error_width: int = 30
    rate_shift: int = 16


@dataclass(frozen=True)
class MlpWeights:
    """Weights w1 (n, h), b1 (h,), w2 (h, C), b2 (C,) at the weight scale."""

    w1: IntArray = field(repr=False)
    b1: IntArray = field(repr=False)
    w2: IntArray = field(repr=False)
    b2: IntArray = field(repr=False)


@dataclass(frozen=True)
class LoraFactors:
    """Trained factors a (n, r) and b (r, h) of a layer x W + b0 + (x a) b, at the weight scale."""

    a: IntArray = field(repr=False)
    b: IntArray = field(repr=False)


def hidden_layer(
    profile: HiddenProfile, x: IntArray, weights: IntArray, bias: IntArray
) -> tuple[IntArray, IntArray]:
    """Return z and ReLU's mask of z = R(x W + (b << sx)) at the activation scale (rules 3, 5).

    Raises InvalidInput if z overflows.
    """
    sx = profile.input_scale_bits
    acc = x @ weights + (bias << np.int64(sx))
    z = rescale(acc, sx + profile.weight_scale_bits - profile.activation_scale_bits)
    check_width(z, profile.hidden_width, "hidden layer")
    return z, relu_mask(z)


def output_error(
    profile: HiddenProfile, hidden: IntArray, weights: IntArray, bias: IntArray, labels: IntArray
) -> IntArray:
    """Return E = softmax - onehot 2**se of the layer behind `hidden` (rules 7, 8 and 11).

    Raises InvalidInput if a row of logits is out of rule 7's range.
    """
    sa, se = profile.activation_scale_bits, profile.error_scale_bits
    acc = hidden @ weights + (bias << np.int64(sa))
    u = rescale(LOG2_E_NUMERATOR * acc, profile.weight_scale_bits + LOG2_E_SHIFT)
    error = softmax(u, sa, se)
    error[np.arange(len(labels)), labels] -= np.int64(1) << np.int64(se)
    return error


def hidden_error(
    profile: HiddenProfile, error: IntArray, old_weights: IntArray, mask: IntArray
) -> IntArray:
    """Return D = R_sw(E W2^T) masked, with the weights before the step (rule 11).

    Raises InvalidInput if D overflows.
    """
    result = rescale(error @ old_weights.T, profile.weight_scale_bits) * mask
    check_width(result, profile.error_width, "hidden error")
    return np.asarray(result, dtype=np.int64)


def fused_update(
    profile: HiddenProfile, weights: IntArray, gradient: IntArray, scale_bits: int, rate: int
) -> IntArray:
    """Return W' = R_K(W 2**K - c G), K = (G's scale) + t - sw, for c = `rate` (rule 12).

    Raises InvalidInput if K < 1 or a new weight overflows.
    """
    shift = scale_bits + profile.rate_shift - profile.weight_scale_bits
    if shift < 1:
        raise InvalidInput(f"the update's shift K is {shift}; raise rate_shift until it is 1")
    result = rescale((weights << np.int64(shift)) - rate * gradient, shift)
    check_width(result, profile.weight_width, "weights after the step")
    return result


def mlp_step(
    profile: HiddenProfile, weights: MlpWeights, x: IntArray, labels: IntArray, rate: int
) -> MlpWeights:
    """Return a two-layer softmax classifier's weights after one SGD step.

    x: (batch, n) at the input scale; labels: (batch,).

    Raises InvalidInput, naming the tensor, on an overflow.
    """
    z, mask = hidden_layer(profile, x, weights.w1, weights.b1)
    hidden = z * mask
    error = output_error(profile, hidden, weights.w2, weights.b2, labels)
    back = hidden_error(profile, error, weights.w2, mask)
    se = profile.error_scale_bits
    inner, outer = profile.input_scale_bits + se, profile.activation_scale_bits + se
    return MlpWeights(
        fused_update(profile, weights.w1, x.T @ back, inner, rate),
        fused_update(profile, weights.b1, back.sum(axis=0), se, rate),
        fused_update(profile, weights.w2, hidden.T @ error, outer, rate),
        fused_update(profile, weights.b2, error.sum(axis=0), se, rate),
    )


def lora_layer(
    profile: HiddenProfile, base: MlpWeights, factors: LoraFactors, x: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Return t = R(x A), z and ReLU's mask of z = R(x W0 + (b0 << sx) + t B) (rule 13).

    t has the activations' scale; the two terms of z are added at the larger one of sx and sa.

    Raises InvalidInput if t or z overflows.
    """
    sx, sw, sa = (
        profile.input_scale_bits,
        profile.weight_scale_bits,
        profile.activation_scale_bits,
    )
    low = rescale(x @ factors.a, sx + sw - sa)
    check_width(low, profile.hidden_width, "LoRA t")
    larger = max(sx, sa)
    acc = (x @ base.w1 + (base.b1 << np.int64(sx))) << np.int64(larger - sx)
    acc = acc + ((low @ factors.b) << np.int64(larger - sa))
    z = rescale(acc, larger + sw - sa)
    check_width(z, profile.hidden_width, "hidden layer")
    return low, z, relu_mask(z)


def lora_step(
    profile: HiddenProfile,
    base: MlpWeights,
    factors: LoraFactors,
    x: IntArray,
    labels: IntArray,
    rate: int,
) -> LoraFactors:
    """Return LoRA's factors after one SGD step with everything else frozen (rule 13).

    D = (E W2^T) masked stays raw at scale se + sw; DA = R_{2 sw}(D B^T) is at scale se.

    Raises InvalidInput, naming the tensor, on an overflow.
    """
    low, z, mask = lora_layer(profile, base, factors, x)
    error = output_error(profile, z * mask, base.w2, base.b2, labels)
    raw = (error @ base.w2.T) * mask
    check_width(raw, profile.raw_error_width, "raw hidden error")
    back = rescale(raw @ factors.b.T, 2 * profile.weight_scale_bits)
    check_width(back, profile.error_width, "LoRA error")
    se, raw_scale = profile.error_scale_bits, profile.error_scale_bits + profile.weight_scale_bits
    inner, outer = profile.input_scale_bits + se, profile.activation_scale_bits + raw_scale
    return LoraFactors(
        fused_update(profile, factors.a, x.T @ back, inner, rate),
        fused_update(profile, factors.b, low.T @ raw, outer, rate),
    )
