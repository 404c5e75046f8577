"""Bounds of every value of a training step, from its head's declared widths.

Each is an upper bound of magnitudes, carried through the step in exact integers. Nothing is
assumed of data: inputs, weights, hidden activations and hidden errors are checked against their
declared widths, softmax rows against rule 7, and all else follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zkai.errors import InvalidInput
from zkai.model.clipping import LayerBounds
from zkai.model.fixed_point import LOG2_E_NUMERATOR, MAX_WIDTH, softmax_widths

if TYPE_CHECKING:
    from zkai.model.head_layers import Block, Layer
    from zkai.model.heads import Head


@dataclass(frozen=True)
class Outer:
    """Bounds of the two factors of one trained matrix's gradient: its inputs and its errors."""

    block: Block
    left: int
    error: int


class Bounds:
    """The bounds of a step's values: `largest` by name, the widest of those that share one."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._weight = 1 << (head.weight_width - 1)
        self.largest: dict[str, int] = {}
        self._inputs: list[int] = []
        self._lows: dict[int, int] = {}
        self.outers: list[Outer] = []
        self._forward()
        self._backward()

    def _note(self, name: str, value: int) -> int:
        self.largest[name] = max(value, self.largest.get(name, 0))
        return value

    def _forward(self) -> None:
        head, last = self._head, self._head.layers[-1]
        bound = 1 << (head.input_width - 1)
        for layer in head.layers:
            self._inputs.append(bound)
            acc = self._note("acc", self._output(layer, bound))
            if layer is last:
                rounding = 1 << max(head.logit_shift, 0)
                self._note("acc_logit", LOG2_E_NUMERATOR * acc + rounding)
            else:
                shift = layer.common_scale + head.weight_scale_bits - layer.output_scale
                bound = self._note("hidden", _declared(head, "hidden_width", _rounded(acc, shift)))

    def _output(self, layer: Layer, bound: int) -> int:
        """Return the bound of a layer's accumulator at scale l + sw."""
        inputs, weight = layer.weight.inputs, self._weight
        acc = inputs * bound * weight + (weight << layer.scale)
        if layer.down is None or layer.up is None:
            return acc
        head = self._head
        inner = self._note("low_acc", inputs * bound * weight)
        shift = layer.scale + head.weight_scale_bits - layer.up.scale
        low = self._note("low", _declared(head, "hidden_width", _rounded(inner, shift)))
        self._lows[layer.number] = low
        added = layer.up.inputs * low * weight
        return (acc << (layer.common_scale - layer.scale)) + (
            added << (layer.common_scale - layer.up.scale)
        )

    def _backward(self) -> None:
        head, weight = self._head, self._weight
        error = raw = self._note("E", 1 << head.error_scale_bits)
        for layer in reversed(head.layers):
            back = layer.weight.outputs * error * weight
            if layer.trained:
                self.outers.append(Outer(layer.weight, self._inputs[layer.number - 1], error))
            if layer.down is not None and layer.up is not None:
                raw = raw if layer.up.raw else error
                inner = self._note("low_error_acc", layer.weight.outputs * raw * weight)
                shift = layer.up.raw + head.weight_scale_bits
                low = _declared(head, "error_width", _rounded(inner, shift))
                self.outers.append(Outer(layer.up, self._lows[layer.number], raw))
                self.outers.append(Outer(layer.down, self._inputs[layer.number - 1], low))
                back += layer.up.inputs * self._note("low_error", low) * weight
            if layer.number == head.lowest:
                break
            raw = self._note("hidden_error_acc", back)
            rounded = _rounded(back, head.weight_scale_bits)
            error = self._note("hidden_error", _declared(head, "error_width", rounded))

    def updates(self, batch: int) -> None:
        """Add the bounds of gradients, velocities and updates on `batch` rows."""
        head, weight = self._head, self._weight
        gradients = {}
        for outer in self.outers:
            one = 1 << outer.block.scale if outer.block.bias else 0
            error = outer.error << head.clip_bits
            gradients[outer.block] = batch * max(outer.left, one) * error
            self._note("G", gradients[outer.block])
        velocity = max(self._velocity(block, g) for block, g in gradients.items())
        width = self._note("v", velocity).bit_length() + 1
        c = (1 << head.rate_bits) - 1
        for block, gradient in gradients.items():
            step = gradient
            if head.smooths:
                total = (2 * velocity + _rounded(gradient, block.raw)) << head.velocity_shift
                self._note("velocity_sum", total + head.decay_factor(block) * weight)
                step = 1 << (width - 1)
            shift = head.update_shift(block)
            self._note("update", (weight << shift) + c * step + (1 << shift))

    def _velocity(self, block: Block, gradient: int) -> int:
        """Return V such that |v'| <= V for all |v| <= V; without a velocity, the gradient."""
        head = self._head
        if not head.smooths:
            return gradient
        # |v'| <= m |v| / 256 + |G| + lambda |W| / 2**shift + 1/2 maps [-V, V] to itself.
        decay = -(-head.decay_factor(block) * self._weight >> head.velocity_shift)
        total = _rounded(gradient, block.raw) + decay
        return -(-(2 * total + 1) * 128 // (256 - head.momentum))


def layer_bounds(head: Head) -> tuple[LayerBounds, ...]:
    """Return what bounds an example's gradient of each of `head.blocks`, by declared widths."""
    found = {}
    for layer in head.layers:
        width = "input_width" if layer.number == 1 else "hidden_width"
        left = _half(head, width)
        last = layer is head.layers[-1]
        error = 1 << head.error_scale_bits if last else _half(head, "error_width")
        if layer.trained:
            found[layer.weight] = (left, error)
        if layer.down is not None and layer.up is not None:
            found[layer.down] = (left, _half(head, "error_width"))
            found[layer.up] = (_half(head, "hidden_width"), error)
    return tuple(
        LayerBounds(
            activation=block.inputs * found[block][0] ** 2,
            delta=block.outputs * found[block][1] ** 2,
            one=1 << block.scale if block.bias else 0,
            scale_bits=block.scale + head.error_scale_bits + block.raw,
        )
        for block in head.blocks
    )


def _half(head: Head, name: str) -> int:
    return 1 << (int(getattr(head, name)) - 1)


def _rounded(bound: int, shift: int) -> int:
    """Return the bound of R_shift."""
    return bound << -shift if shift <= 0 else (bound + (1 << (shift - 1))) >> shift


def _declared(head: Head, name: str, natural: int) -> int:
    return min(_half(head, name), natural)


def _names(head: Head, batch: int) -> Iterator[tuple[str, int]]:
    bounds = Bounds(head)
    bounds.updates(batch)
    yield "x", head.input_width
    yield "W", head.weight_width
    yield "u", head.logit_scale_bits + 9
    for name, value in bounds.largest.items():
        yield name, value.bit_length() + 1
    yield from softmax_widths(head.classes, head.logit_scale_bits, head.error_scale_bits).items()


def step_widths(head: Head, batch: int) -> dict[str, int]:
    """Return signed widths that provably hold every value of a step on `batch` rows.

    By name, the widest of all layers: acc, the sums of a layer's output; acc_logit = 369 acc;
    u = R(acc_logit); m, d, e, S, rho, e_rho, p of rule 8; E = p - onehot 2**se; G, the gradients
    (the bias row: 2**scale times the sum of the errors); v, the velocity, which a step maps into
    its own width; velocity_sum; update = W 2**K - c v. With hidden layers also hidden,
    hidden_error_acc and hidden_error; with factors low_acc, low, low_error_acc and low_error.

    Raises InvalidInput, naming the value, if one passes MAX_WIDTH, and for batch < 1.
    """
    if batch < 1:
        raise InvalidInput(f"a batch needs at least 1 row, got {batch}")
    widths = dict(_names(head, batch))
    sizes = " x ".join(str(n) for n in head.sizes)
    for name, width in widths.items():
        if width > MAX_WIDTH + 1:
            raise InvalidInput(
                f"head {sizes}, batch {batch}: {name} would need"
                f" {width} bits of {MAX_WIDTH}; use smaller widths, scales, rates or"
                " batches"
            )
    return widths
