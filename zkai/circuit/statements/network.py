"""A head's forward pass as constraints: the twin of zkai.model.training.forward."""

from __future__ import annotations

from dataclasses import dataclass

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.range import require_bound, signed_width
from zkai.circuit.gadgets.relu import rescale_relu
from zkai.circuit.gadgets.rescale import rescale, rescale_bound
from zkai.circuit.tensor import Tensor, concat
from zkai.model.fixed_point import LOG2_E_NUMERATOR
from zkai.model.head_layers import Layer
from zkai.model.heads import Head


@dataclass(frozen=True, eq=False)
class Network:
    """A head's flat weights, trained and frozen, every one range-checked, and its hidden widths."""

    builder: Builder
    head: Head
    weights: Tensor
    frozen: Tensor | None

    def matrix(self, layer: Layer) -> Tensor:
        """Return a layer's own matrix, (inputs + 1, outputs)."""
        source = self.weights if layer.trained else self.frozen
        assert source is not None
        return layer.weight.of(source)

    def width(self, name: str) -> int:
        """Return a declared width that only heads with hidden layers have."""
        return int(getattr(self.head, name))


@dataclass(frozen=True, eq=False)
class Activations:
    """What the forward pass leaves: layer inputs, ReLU masks, low-rank activations, 369 acc."""

    inputs: list[Tensor]
    masks: list[Tensor]
    lows: dict[int, Tensor]
    scaled: Tensor


def network_of(
    builder: Builder, head: Head, weights: Tensor, frozen: Tensor | None = None
) -> Network:
    """Return a head's network, from weights in its shape and (frozen_size,), range-checked."""
    return Network(builder, head, weights.reshape(weights.size), frozen)


def forward(network: Network, x: Tensor) -> Activations:
    """Return what a backward pass needs, and the last layer's sums before rule 7's rounding.

    x: (batch, features), range-checked.
    """
    builder, head = network.builder, network.head
    inputs, masks, lows = [x], list[Tensor](), dict[int, Tensor]()
    for layer in head.layers[:-1]:
        with builder.at(layer.weight.name):
            acc = _accumulate(network, layer, inputs[-1], lows)
            shift = layer.common_scale + head.weight_scale_bits - layer.output_scale
            name = f"hidden layer {layer.number}"
            hidden = rescale_relu(builder, acc, shift, network.width("hidden_width"), name)
            inputs.append(hidden.value)
            masks.append(hidden.mask)
    with builder.at("logits"):
        acc = _accumulate(network, head.layers[-1], inputs[-1], lows)
        return Activations(inputs, masks, lows, acc * LOG2_E_NUMERATOR)


def base2_logits(network: Network, x: Tensor) -> Tensor:
    """Return u = R(369 acc), (batch, classes), whatever its size: zkai.model.training.logits."""
    builder, head = network.builder, network.head
    scaled = forward(network, x).scaled
    with builder.at("logits"):
        bound = require_bound(builder, scaled, "logits")
        shift = head.logit_shift
        if shift <= 0:
            return scaled * (1 << -shift)
        width = signed_width(rescale_bound(bound, shift))
        return rescale(builder, scaled, shift, width, "logits")


def _accumulate(network: Network, layer: Layer, x: Tensor, lows: dict[int, Tensor]) -> Tensor:
    """Return a layer's exact sums at scale l + sw, and note its low-rank activation t."""
    builder, head, matrix = network.builder, network.head, network.matrix(layer)
    one = 1 << layer.scale
    if layer.down is None or layer.up is None:
        return matmul(builder, x, matrix[:-1]) + matrix[-1] * one
    n, scale, common = layer.weight.outputs, layer.up.scale, layer.common_scale
    both = concat([matrix[:-1], layer.down.of(network.weights)], axis=1)
    product = matmul(builder, x, both)
    with builder.at("factors"):
        shift = layer.scale + head.weight_scale_bits - scale
        name = f"{layer.down.name} t"
        low = rescale(builder, product[:, n:], shift, network.width("hidden_width"), name)
        added = matmul(builder, low, layer.up.of(network.weights))
    lows[layer.number] = low
    acc = product[:, :n] + matrix[-1] * one
    return acc * (1 << (common - layer.scale)) + added * (1 << (common - scale))
