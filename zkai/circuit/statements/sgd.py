"""One SGD step of a head as constraints: the twin of zkai.model.training.trace_step."""

from __future__ import annotations

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.rescale import rescale
from zkai.circuit.gadgets.softmax import logits, softmax
from zkai.circuit.tensor import Tensor, concat
from zkai.model.fixed_point import LOG2_E_NUMERATOR
from zkai.model.training import MOMENTUM_BITS, SoftmaxHead


def sgd_step(
    builder: Builder,
    head: SoftmaxHead,
    weights: Tensor,
    velocity: Tensor | None,
    x: Tensor,
    targets: Tensor,
    rate: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Return the weights and velocity after one step: zkai.model.training.trace_step's twin.

    x (batch, features), targets (batch, classes) one-hot, rate c; every operand range-checked.
    """
    one = 1 << head.input_scale_bits
    with builder.at("logits"):
        acc = matmul(builder, x, weights[:-1]) + weights[-1] * one
        sa, se = head.logit_scale_bits, head.error_scale_bits
        parts = logits(builder, acc * LOG2_E_NUMERATOR, head.logit_shift, sa, "logits", se)
    with builder.at("softmax"):
        error = softmax(builder, parts, sa, se) - targets * (1 << se)
    # Without momentum only c G is needed, and c E has fewer entries than G where a batch is small.
    early = builder.commit and velocity is None and x.shape[0] <= head.features
    with builder.at("gradient"):
        if early:
            error = builder.multiply(rate, error, "rate times error")
        product = matmul(builder, x.transpose(), error)
        bias = error.sum(0).reshape(1, head.classes) * one
        gradient = concat([product, bias])
    if velocity is not None:
        with builder.at("velocity"):
            total = velocity * head.momentum + gradient * (1 << MOMENTUM_BITS)
            width = head.widths(x.shape[0])["v"]
            gradient = velocity = rescale(builder, total, MOMENTUM_BITS, width, "velocity")
    with builder.at("update"):
        scaled = gradient if early else builder.multiply(rate, gradient, "rate times step")
        shift = head.update_shift(head.blocks[0])
        acc = weights * (1 << shift) - scaled
        name = "weights after the step"
        weights = rescale(builder, acc, shift, head.weight_width, name)
    return weights, velocity
