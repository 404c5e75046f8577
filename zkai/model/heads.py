"""The kinds of trainable heads: softmax regression, multilayer perceptrons and LoRA factors.

A head is a stack of linear layers with ReLU between them and a softmax at the end. Its trained
numbers are one integer array, the *weights*; what is not trained lies in another, `frozen`. A
`Block` says where in one of the two a layer's matrix lies, and `Layer` what a layer consists of.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from zkai.errors import InvalidInput
from zkai.model import head_widths
from zkai.model.clipping import CLIP_BITS, MAX_THRESHOLD_BITS, NormPlan, norm_threshold
from zkai.model.fixed_point import (
    ERROR_SCALE_BITS,
    LOG2_E_SHIFT,
    LOGIT_SCALE_BITS,
    MAX_SCALE_BITS,
    WEIGHT_SCALE_BITS,
)
from zkai.model.head_layers import Block, Layer

MOMENTUM_BITS = 8
"""Momentum is the integer m over 2**8 (rule 12)."""

DECAY_BITS = 12
"""Extra fraction bits of a velocity's sum where weights decay (rule 12)."""

DECAY_SCALE_BITS = 16
"""Weight decay times the batch is the integer `decay` over 2**16 (rule 12)."""

UNSAID = ("decay", "clip")
"""Fields that a description leaves out where they are 0."""

MAX_CLASSES = 256
"""Labels are bytes in [0, classes)."""

MAX_PARAMETERS = 1 << 24
MAX_LAYERS = 16


@dataclass(frozen=True, kw_only=True)
class Head:
    """What all heads share: scales, widths, the learning rate's form and the step's options.

    Inputs have input_width signed bits at scale 2**input_scale_bits, weights weight_width at
    2**weight_scale_bits. Momentum is momentum / 2**8. Weight decay times the batch's rows is
    decay / 2**16. A step's learning rate is lr / batch = c * 2**-rate_shift, 1 <= c < 2**rate_bits.
    `clip` is the threshold of an example's squared gradient norm (rule 17), 0 to clip nothing.
    """

    input_scale_bits: int = 4
    input_width: int = 8
    weight_scale_bits: int = WEIGHT_SCALE_BITS
    weight_width: int = 20
    logit_scale_bits: int = LOGIT_SCALE_BITS
    error_scale_bits: int = ERROR_SCALE_BITS
    momentum: int = 0
    rate_shift: int = 16
    rate_bits: int = 12
    decay: int = 0
    clip: int = 0

    kind: ClassVar[str]

    if TYPE_CHECKING:

        @property
        def sizes(self) -> tuple[int, ...]:
            """The number of inputs, of each hidden layer's units, and of classes."""

        @property
        def features(self) -> int:
            """The number of inputs."""

        @property
        def classes(self) -> int:
            """The number of classes."""

        @property
        def layers(self) -> tuple[Layer, ...]:
            """The linear layers, in order."""

        @property
        def shape(self) -> tuple[int, ...]:
            """The shape of the weights, and of the velocity."""

    def __post_init__(self) -> None:
        self.check_numbers(_RANGES)
        for block in self.blocks:
            self._check_shifts(block)
        if self.clip:
            _ = self.norm_plan
        self.widths(1)

    def check_numbers(self, ranges: dict[str, tuple[int, int]]) -> None:
        """Raise InvalidInput, naming it, for a field that is no integer in its range."""
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"head: {name} must be an integer, got {value!r}")
            if not low <= value <= high:
                raise InvalidInput(f"head: {name} must be {low} to {high}, got {value}")

    def _check_shifts(self, block: Block) -> None:
        if (shift := self.update_shift(block)) < 1:
            raise InvalidInput(
                f"head: the update's shift K = input_scale_bits + error_scale_bits + rate_shift -"
                f" weight_scale_bits is {shift} for {block.name}, below 1; raise rate_shift"
            )
        if self.decay and self.decay_shift(block) < 0:
            raise InvalidInput(
                f"head: weight decay of {block.name} needs scales of its inputs and errors that"
                " add up to weight_scale_bits - 4 at least; raise them or lower weight_scale_bits"
            )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The trained matrices, in the order in which they fill the weights."""
        return tuple(block for layer in self.layers for block in _trained(layer))

    @property
    def base(self) -> tuple[Block, ...]:
        """The matrices that are not trained, in the order in which they fill `frozen`."""
        return tuple(layer.weight for layer in self.layers if not layer.trained)

    @property
    def frozen_size(self) -> int:
        """The number of weights that are not trained."""
        return self.base[-1].stop if self.base else 0

    @property
    def lowest(self) -> int:
        """The first layer with trained numbers: no error goes below it."""
        return next(layer.number for layer in self.layers if layer.trained or layer.down)

    def rounds_error(self, number: int) -> bool:
        """Whether the error of hidden layer `number` is rounded to the error scale (rule 11)."""
        return self.layers[number - 1].trained or number > self.lowest or self.clip > 0

    @property
    def has_velocity(self) -> bool:
        """Whether a state holds a velocity."""
        return self.momentum > 0

    @property
    def smooths(self) -> bool:
        """Whether a step goes by a velocity, rounded by itself, and not by the gradient."""
        return self.momentum > 0 or self.decay > 0

    @property
    def logit_shift(self) -> int:
        """Rule 7's shift s + sw + 8 - sa of 369 acc, for the last layer's input at scale s."""
        scale = self.layers[-1].common_scale
        return scale + self.weight_scale_bits + LOG2_E_SHIFT - self.logit_scale_bits

    @property
    def gradient_scale_bits(self) -> int:
        """The scale sx + se of the first layer's gradient and velocity, more where it clips."""
        return self.input_scale_bits + self.error_scale_bits + self.clip_bits

    @property
    def clip_bits(self) -> int:
        """The fraction bits that clipping adds to errors and gradients (rule 17)."""
        return CLIP_BITS if self.clip else 0

    @cached_property
    def norm_plan(self) -> NormPlan:
        """How an example's squared gradient norm is computed, `blocks` by `blocks` (rule 17)."""
        return NormPlan(head_widths.layer_bounds(self))

    def clipped(self, norm: float) -> Self:
        """Return the head whose steps cut each example's own gradient to `norm` (rule 17).

        The norm is that of the loss's gradient over all trained weights, in real numbers.

        Raises InvalidInput for a norm out of range, or where the widths leave no room to clip.
        """
        return replace(self, clip=norm_threshold(replace(self, clip=1).norm_plan, norm))

    @property
    def velocity_shift(self) -> int:
        """The shift of the velocity's rounding; clipped gradients are fine enough (rule 12)."""
        return MOMENTUM_BITS + (DECAY_BITS if self.decay and not self.clip else 0)

    def decay_shift(self, block: Block) -> int:
        """The shift of `decay` that gives its integer lambda in a velocity's sum (rule 12)."""
        scale = block.scale + self.error_scale_bits + self.clip_bits - self.weight_scale_bits
        return scale + self.velocity_shift - DECAY_SCALE_BITS

    def decay_factor(self, block: Block) -> int:
        """The integer lambda that a velocity's sum multiplies the weights by (rule 12)."""
        return self.decay << self.decay_shift(block) if self.decay else 0

    def update_shift(self, block: Block) -> int:
        """Rule 12's shift K = (the gradient's or velocity's scale) + t - sw of an update."""
        raw = 0 if self.smooths else block.raw
        scale = block.scale + self.error_scale_bits + raw + self.clip_bits
        return scale + self.rate_shift - self.weight_scale_bits

    def widths(self, batch: int) -> dict[str, int]:
        """Return signed widths that provably hold every value of a step on `batch` rows.

        Raises InvalidInput, naming the value, if one passes 62 bits, and for batch < 1.
        """
        return head_widths.step_widths(self, batch)

    def describe(self) -> dict[str, Any]:
        """Return every static number of the head, for canonical JSON."""
        values = {"name": self.kind} | {
            name: getattr(self, name) for name in field_names(type(self))
        }
        return {n: value for n, value in values.items() if value or n not in UNSAID}


def _trained(layer: Layer) -> list[Block]:
    blocks = [layer.weight] if layer.trained else []
    return blocks + [block for block in (layer.down, layer.up) if block is not None]


_RANGES = {
    "input_scale_bits": (0, MAX_SCALE_BITS),
    "input_width": (2, 32),
    "weight_scale_bits": (0, MAX_SCALE_BITS),
    "weight_width": (2, 40),
    "logit_scale_bits": (2, 12),
    "error_scale_bits": (2, 12),
    "momentum": (0, (1 << MOMENTUM_BITS) - 1),
    "rate_shift": (0, 40),
    "rate_bits": (1, 32),
    "decay": (0, (1 << 24) - 1),
    "clip": (0, (1 << MAX_THRESHOLD_BITS) - 1),
}


@dataclass(frozen=True)
class SoftmaxHead(Head):
    """The static shape and scales of a softmax-regression head with bias.

    Weights are an integer (features + 1, classes) matrix at scale 2**weight_scale_bits whose last
    row is the bias: an input row x (scale s = input_scale_bits) stands for (x, 2**s).

    Raises InvalidInput for sizes, scales or widths that the rules do not allow.
    """

    features: int
    classes: int
    kind: ClassVar[str] = "zkai.softmax-head/1"

    def __post_init__(self) -> None:
        self.check_numbers({"features": (1, MAX_PARAMETERS), "classes": (2, MAX_CLASSES)})
        if (self.features + 1) * self.classes > MAX_PARAMETERS:
            raise InvalidInput(
                f"head: {self.features} x {self.classes} has more than {MAX_PARAMETERS} parameters"
            )
        super().__post_init__()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of inputs and of classes."""
        return self.features, self.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """The weights' shape, the bias row included."""
        return self.features + 1, self.classes

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The one linear layer."""
        scale = self.input_scale_bits
        block = Block("layer 1", 0, self.features, self.classes, True, scale)
        return (Layer(1, block, True, scale, self.logit_scale_bits),)


@dataclass(frozen=True, kw_only=True)
class _Network(Head):
    """Heads with hidden layers: their activations and errors have declared widths.

    A hidden layer's z at scale 2**hidden_scale_bits has z - 1, whose sign ReLU reads, in
    hidden_width signed bits; the error of a hidden layer has error_width. Values outside reject
    the step.
    """

    hidden_scale_bits: int = LOGIT_SCALE_BITS
    hidden_width: int = 15
    error_width: int = 14

    def check_sizes(self, sizes: tuple[int, ...]) -> None:
        """Raise InvalidInput for sizes that make no network, or too large a one."""
        if not 2 <= len(sizes) <= MAX_LAYERS + 1:
            raise InvalidInput(f"head: sizes must name 2 to {MAX_LAYERS + 1} numbers")
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise InvalidInput(f"head: sizes must be integers of at least 1, got {size!r}")
        if not 2 <= sizes[-1] <= MAX_CLASSES:
            raise InvalidInput(f"head: the last size, the classes, must be 2 to {MAX_CLASSES}")
        total = sum((n + 1) * m for n, m in pairwise(sizes))
        if total > MAX_PARAMETERS:
            raise InvalidInput(f"head: sizes make more than {MAX_PARAMETERS} parameters")
        ranges = {"hidden_scale_bits": (0, MAX_SCALE_BITS)}
        self.check_numbers(ranges | {"hidden_width": (2, 32), "error_width": (2, 32)})

    @property
    def features(self) -> int:
        """The number of inputs."""
        return self.sizes[0]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.sizes[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of trained weights."""
        return (self.blocks[-1].stop,)

    def describe(self) -> dict[str, Any]:
        """Return every static number of the head, for canonical JSON."""
        described = super().describe()
        tuples = {name: list(v) for name, v in described.items() if isinstance(v, tuple)}
        return described | tuples

    def input_scale(self, number: int) -> int:
        """The scale of the input of layer `number`, counted from 1."""
        return self.input_scale_bits if number == 1 else self.hidden_scale_bits

    def output_scale(self, number: int) -> int:
        """The scale of the output of layer `number`."""
        return self.logit_scale_bits if number == len(self.sizes) - 1 else self.hidden_scale_bits


@dataclass(frozen=True)
class MlpHead(_Network):
    """A multilayer perceptron with ReLU between its layers, every weight and bias trained.

    `sizes` are the inputs, the units of each hidden layer and the classes. The weights are one
    vector: for each layer an (inputs + 1, outputs) matrix in row-major order, the bias last.

    Raises InvalidInput for sizes, scales or widths that the rules do not allow.
    """

    sizes: tuple[int, ...]
    kind: ClassVar[str] = "zkai.mlp-head/1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", _integers("sizes", self.sizes))
        self.check_sizes(self.sizes)
        super().__post_init__()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The linear layers, all trained."""
        layers, start = [], 0
        for number, (inputs, outputs) in enumerate(pairwise(self.sizes), 1):
            scale = self.input_scale(number)
            block = Block(f"layer {number}", start, inputs, outputs, True, scale)
            layers.append(Layer(number, block, True, scale, self.output_scale(number)))
            start = block.stop
        return tuple(layers)


@dataclass(frozen=True)
class LoraHead(_Network):
    """Low-rank factors A (inputs, rank), B (rank, outputs) of some layers of a frozen network.

    `sizes` are the network's, as in `MlpHead`; `adapted` numbers the layers that have factors,
    from 1. The weights are one vector: for each adapted layer A, then B, in row-major order. The
    network's own weights never change; a state's commitment binds them.

    Raises InvalidInput for sizes, ranks, scales or widths that the rules do not allow.
    """

    sizes: tuple[int, ...]
    rank: int
    adapted: tuple[int, ...] = (1,)
    kind: ClassVar[str] = "zkai.lora-head/1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", _integers("sizes", self.sizes))
        object.__setattr__(self, "adapted", _integers("adapted", self.adapted))
        self.check_sizes(self.sizes)
        self.check_numbers({"rank": (1, 1 << 12)})
        numbers = range(1, len(self.sizes))
        if not self.adapted or list(self.adapted) != [n for n in numbers if n in self.adapted]:
            raise InvalidInput(
                f"head: adapted must number layers of 1 to {len(self.sizes) - 1}, in ascending"
                f" order, got {self.adapted!r}"
            )
        if self.rank * sum(self.sizes) * 2 > MAX_PARAMETERS:
            raise InvalidInput(f"head: the factors have more than {MAX_PARAMETERS} parameters")
        super().__post_init__()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The linear layers: frozen, and some with trained factors."""
        layers, start, place = [], 0, 0
        for number, (inputs, outputs) in enumerate(pairwise(self.sizes), 1):
            scale, rank = self.input_scale(number), self.rank
            block = Block(f"layer {number}", start, inputs, outputs, True, scale)
            start, down, up = block.stop, None, None
            if number in self.adapted:
                last = number == len(self.sizes) - 1
                # Clipping needs the squares of these errors, which raw would pass 62 bits.
                raw = 0 if last or self.clip else self.weight_scale_bits
                down = Block(f"layer {number} A", place, inputs, rank, False, scale)
                up = Block(
                    f"layer {number} B",
                    down.stop,
                    rank,
                    outputs,
                    False,
                    self.hidden_scale_bits,
                    raw,
                )
                place = up.stop
            out = self.output_scale(number)
            layers.append(Layer(number, block, False, scale, out, down, up))
        return tuple(layers)


def _integers(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput(f"head: {name} must be a sequence of integers, got {value!r}")
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise InvalidInput(f"head: {name} must be integers, got {value!r}")
    return tuple(value)


HEADS: dict[str, type[Head]] = {kind.kind: kind for kind in (SoftmaxHead, MlpHead, LoraHead)}
"""The kinds of heads by the name in their description."""


def field_names(kind: type[Head]) -> list[str]:
    """Return the names of a kind's fields, its own before those of all heads."""
    return [f.name for f in sorted(fields(kind), key=lambda f: bool(f.kw_only))]
