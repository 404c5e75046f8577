"""One SGD step of a head as constraints: the twin of zkai.model.training.trace_step.

Products of private matrices that share a matrix are made together, so that a layer's output and its
gradient, x W and x^T E, cost one product for each entry of x (gadgets/freivalds.py), and a layer's
own weights and its factors' A stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets import clipping
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.range import require_bound, signed_width
from zkai.circuit.gadgets.rescale import rescale, rescale_bound, rescale_product
from zkai.circuit.gadgets.softmax import logits, softmax
from zkai.circuit.statements.network import Activations, Network, forward, network_of
from zkai.circuit.tensor import Tensor, concat
from zkai.model.head_layers import Block, Layer
from zkai.model.heads import MOMENTUM_BITS, Head


@dataclass(frozen=True, eq=False)
class Gradient:
    """A trained matrix's gradient left^T error: left (batch, inputs), error (batch, outputs)."""

    block: Block
    left: Tensor
    error: Tensor


def sgd_step(
    builder: Builder,
    head: Head,
    weights: Tensor,
    velocity: Tensor | None,
    x: Tensor,
    targets: Tensor,
    rate: Tensor,
    frozen: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the weights and velocity after one step, in the head's shape.

    x (batch, features), targets (batch, classes) one-hot, rate c, frozen (frozen_size,) where the
    head has such weights; every operand range-checked.
    """
    network = network_of(builder, head, weights, frozen)
    made, sa, se = forward(network, x), head.logit_scale_bits, head.error_scale_bits
    with builder.at("logits"):
        parts = logits(builder, made.scaled, head.logit_shift, sa, "logits", se)
    with builder.at("softmax"):
        error = softmax(builder, parts, sa, se) - targets * (1 << se)
    gradients = _backward(network, made, error)
    factors = _clip_factors(network, gradients) if head.clip else None
    return _update(network, velocity, gradients, rate, factors)


# Backward -------------------------------------------------------------------------------------


def _backward(network: Network, made: Activations, error: Tensor) -> list[Gradient]:
    """Return each trained matrix's gradient in factors; every error comes from the old weights."""
    head, found, raw = network.head, dict[Block, Gradient](), error
    for layer in reversed(head.layers):
        x, low_error = made.inputs[layer.number - 1], None
        if layer.trained:
            found[layer.weight] = Gradient(layer.weight, x, error)
        if layer.down is not None and layer.up is not None:
            raw = raw if layer.up.raw else error
            low_error = _low_error(network, layer.down, layer.up, raw)
            found[layer.up] = Gradient(layer.up, made.lows[layer.number], raw)
            found[layer.down] = Gradient(layer.down, x, low_error)
        if layer.number == head.lowest:
            break
        mask = made.masks[layer.number - 2]
        with network.builder.at(f"error of layer {layer.number - 1}"):
            raw, error = _error_below(network, layer, error, low_error, mask)
    return [found[block] for block in head.blocks]


def _low_error(network: Network, down: Block, up: Block, raw: Tensor) -> Tensor:
    """Return DA = R_{sw + raw}(D B^T) (rule 13)."""
    builder, head = network.builder, network.head
    with builder.at(f"error of {down.name}"):
        product = matmul(builder, raw, up.of(network.weights).transpose())
        shift = head.weight_scale_bits + up.raw
        width = network.width("error_width")
        return rescale(builder, product, shift, width, f"{down.name} error")


def _error_below(
    network: Network, layer: Layer, error: Tensor, low_error: Tensor | None, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the masked error of the layer below, raw and rounded to the error scale (rule 11)."""
    builder, head, below = network.builder, network.head, layer.number - 1
    matrix = network.matrix(layer)[:-1]
    if layer.down is not None and low_error is not None:
        matrix = concat([matrix, layer.down.of(network.weights)], axis=1)
        error = concat([error, low_error], axis=1)
    back = matmul(builder, error, matrix.transpose())
    sw, name, width = head.weight_scale_bits, f"hidden error {below}", network.width("error_width")
    up = head.layers[below - 1].up
    if up is None or not up.raw:
        rounded = rescale_product(builder, mask, back, sw, width, name)
        return rounded, rounded
    raw = builder.multiply(mask, back, "masked error")
    if not head.rounds_error(below):
        return raw, raw
    return raw, rescale(builder, raw, sw, width, name)


# Clipping -------------------------------------------------------------------------------------


def _clip_factors(network: Network, gradients: Sequence[Gradient]) -> Tensor:
    """Return each example's factor f, (batch,), from its gradient's norm (rule 17)."""
    builder, head = network.builder, network.head
    with builder.at("clipping"):
        parts = [(g.left, g.error) for g in gradients]
        norms = clipping.squared_norms(builder, head.norm_plan, parts)
        return clipping.clip_factors(builder, norms, head.clip)


@dataclass(frozen=True, eq=False)
class Rates:
    """What a step multiplies by: the rate c, factors f and c f of the examples, (batch, 1)."""

    rate: Tensor
    factors: Tensor | None
    both: Tensor


def _rates(network: Network, rate: Tensor, factors: Tensor | None) -> Rates:
    if factors is None:
        return Rates(rate, None, rate)
    column = factors.reshape(factors.size, 1)
    if not network.builder.commit or network.head.smooths:
        return Rates(rate, column, column)
    with network.builder.at("clipping"):
        return Rates(rate, column, network.builder.multiply(rate, column, "rate times factor"))


# Update ---------------------------------------------------------------------------------------


def _update(
    network: Network,
    velocity: Tensor | None,
    gradients: Sequence[Gradient],
    rate: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    head, before = network.head, None if velocity is None else velocity.reshape(velocity.size)
    new, moved, rates = list[Tensor](), list[Tensor](), _rates(network, rate, factors)
    for gradient in gradients:
        with _at(network, gradient.block):
            weights, step = _update_block(network, before, gradient, rates)
            new.append(weights.reshape(weights.size))
            moved.append(step.reshape(step.size))
    joined = concat(new).reshape(*head.shape)
    return joined, None if velocity is None else concat(moved).reshape(*head.shape)


def _at(network: Network, block: Block) -> AbstractContextManager[None]:
    """Name the block's rows where there are several blocks."""
    return network.builder.at(block.name) if len(network.head.blocks) > 1 else nullcontext()


def _update_block(
    network: Network, velocity: Tensor | None, gradient: Gradient, rates: Rates
) -> tuple[Tensor, Tensor]:
    """Return a trained matrix after the step, and what it went by: velocity or gradient."""
    builder, head, block = network.builder, network.head, gradient.block
    weights, error = block.of(network.weights), gradient.error
    # Only c G is needed if no velocity stands between, and c E has fewer entries in small batches.
    early = builder.commit and not head.smooths and error.shape[0] <= block.inputs
    with builder.at("gradient"):
        if early:
            error = builder.multiply(rates.both, error, "rate times error")
        elif rates.factors is not None:
            error = builder.multiply(rates.factors, error, "clipped error")
        step = matmul(builder, gradient.left.transpose(), error)
        if block.bias:
            bias = error.sum(0).reshape(1, block.outputs) * (1 << block.scale)
            step = concat([step, bias])
        if head.smooths and block.raw:
            natural = rescale_bound(require_bound(builder, step, "gradient"), block.raw)
            step = rescale(builder, step, block.raw, signed_width(natural), "gradient")
    if head.smooths:
        with builder.at("velocity"):
            before = None if velocity is None else block.of(velocity)
            step = _velocity(network, block, weights, before, step, error.shape[0])
    with builder.at("update"):
        scaled = step if early else builder.multiply(rates.rate, step, "rate times step")
        shift = head.update_shift(block)
        acc = weights * (1 << shift) - scaled
        name = "weights after the step"
        return rescale(builder, acc, shift, head.weight_width, name), step


def _velocity(
    network: Network,
    block: Block,
    weights: Tensor,
    velocity: Tensor | None,
    gradient: Tensor,
    batch: int,
) -> Tensor:
    """Return v' = R_k((m v + 2^8 G) 2^(k-8) + lambda W) (rule 12)."""
    head = network.head
    total = gradient * (1 << MOMENTUM_BITS)
    if velocity is not None:
        total = velocity * head.momentum + total
    if head.decay:
        total = total * (1 << (head.velocity_shift - MOMENTUM_BITS))
        total = total + weights * head.decay_factor(block)
    width = head.widths(batch)["v"]
    return rescale(network.builder, total, head.velocity_shift, width, "velocity")
