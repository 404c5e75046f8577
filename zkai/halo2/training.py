"""A training step as a statement of Halo2: a head's or a graph's, differentiated and packed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.halo2.labels import LABELS
from zkai.halo2.settings import HASHED, POLYCOMMIT, Halo2Config, Visibility
from zkai.halo2.statement import TRAINING_STEP, Halo2Statement
from zkai.halo2.step_graph import packed_step
from zkai.halo2.step_layout import (
    BATCH,
    EXACT,
    LIMB_BITS,
    NAMES,
    NEW_SALT,
    SALT_LIMBS,
    STATE,
    TAG,
    TAG_LIMBS,
    Layout,
)
from zkai.model.fixed_point import FloatArray, IntArray
from zkai.model.gradient import StepRule, check_rule, trainable
from zkai.model.graph import Graph
from zkai.model.head_graph import head_graph
from zkai.model.heads import HEADS, MOMENTUM_BITS, Head
from zkai.model.onnx_file import OnnxModel, load_onnx

MIN_SCALE, MAX_SCALE, MAX_SHIFT = 13, 16, 24
_SAMPLES = 4

STEP_TOLERANCE = 2.0**-10
"""Held-out samples may be off by this share of the largest number, a limb of salt: 0.008 or less.
A label that is read wrong moves a weight by lr / batch."""


@dataclass(frozen=True, eq=False)
class Halo2TrainingStep(Halo2Statement):
    """Prove one SGD step, torch.optim.SGD's, on a batch with the mean cross-entropy as loss.

    `source` is a head, or a graph of one input (batch, ...) and one output (batch, classes), its
    logits. Of a graph the parameters `trained` change (all weights and biases if None) and the
    others are constants of the circuit; a head's own momentum counts, and what it does not train is
    private, carried by the state unchanged. learning_rate / batch must be a power of two of at
    most 1, momentum a multiple of 1/256.

    `commitments` are "hashed" (EZKL's Poseidon) or "polycommit" (polynomials, cheaper for large
    states). `calibration` maps x to (samples, batch, ...), or to rows, and if wanted weights' names
    to arrays to start from; without it, inputs that fill a head's width, or standard normal ones,
    stand in.

    Raises InvalidInput, naming what is unusable.
    """

    source: Head | Graph
    batch: int
    learning_rate: float
    momentum: float = 0.0
    trained: tuple[str, ...] | None = None
    commitments: str = HASHED
    calibration: Mapping[str, Any] | None = field(default=None, repr=False)
    config: Halo2Config = field(default_factory=Halo2Config)
    version: ClassVar[str] = TRAINING_STEP

    def __post_init__(self) -> None:
        if type(self.batch) is not int or not 1 <= self.batch <= 1 << 20:
            raise InvalidInput("batch: expected an integer of at least 1")
        if self.commitments not in SALT_LIMBS:
            raise InvalidInput(f"commitments: expected {HASHED} or {POLYCOMMIT}")
        if not isinstance(self.config, Halo2Config):
            raise InvalidInput(f"config: expected a Halo2Config, got {type(self.config).__name__}")
        if not MIN_SCALE <= self.config.scale <= MAX_SCALE:
            raise InvalidInput(f"config: a step's scale is {MIN_SCALE} to {MAX_SCALE}")
        if not self.config.check_ranges:
            raise InvalidInput(
                "config: check_ranges: a step whose inputs have no range can be forged"
            )
        strict = min(self.config.tolerance, STEP_TOLERANCE)
        object.__setattr__(self, "config", replace(self.config, tolerance=strict))
        graph = self.graph
        if graph.shapes[graph.inputs[0]][:1] != (self.batch,):
            found = graph.shapes[graph.inputs[0]]
            raise InvalidInput(f"the model's input has the shape {found}, the batch {self.batch}")
        check_rule(graph, self.rule)
        if graph.shapes[graph.outputs[0]][1] << self.config.scale > EXACT:
            raise InvalidInput(f"too many classes for the scale {self.config.scale}")
        _ = self.samples

    @cached_property
    def graph(self) -> Graph:
        """The model over the batch."""
        return self._head.graph if self._head is not None else self._own_graph

    @property
    def _own_graph(self) -> Graph:
        if not isinstance(self.source, Graph):
            raise InvalidInput(f"expected a head or a Graph, got {type(self.source).__name__}")
        return self.source

    @cached_property
    def _head(self) -> Any:
        if type(self.source) not in HEADS.values():
            return None
        if self.momentum or self.trained is not None:
            raise InvalidInput("momentum, trained: a head says itself what its steps are")
        assert not isinstance(self.source, Graph)
        return head_graph(self.source, self.batch)

    @cached_property
    def rule(self) -> StepRule:
        """What is trained, and how."""
        rate = _power_of_two(self.learning_rate, self.batch)
        if self._head is not None:
            return StepRule(self._head.trained, rate, self._head.momentum)
        scaled = self.momentum * (1 << MOMENTUM_BITS)
        if scaled != int(scaled) or not 0 <= self.momentum < 1:
            raise InvalidInput(
                f"momentum: expected a multiple of 1/256 below 1, got {self.momentum}"
            )
        names = trainable(self.graph) if self.trained is None else tuple(self.trained)
        return StepRule(names, rate, self.momentum)

    @cached_property
    def layout(self) -> Layout:
        """Where the numbers lie in the circuit's vectors."""
        shapes = self.graph.shapes
        frozen = () if self._head is None else self._head.frozen
        return Layout(
            tuple((name, shapes[name]) for name in self.rule.trained),
            tuple((name, shapes[name]) for name in frozen),
            self.rule.momentum > 0,
            shapes[self.graph.inputs[0]],
            SALT_LIMBS[self.commitments],
            self.config.scale,
        )

    @cached_property
    def model(self) -> OnnxModel:  # type: ignore[override]
        """The step as an ONNX file over packed vectors."""
        return load_onnx(packed_step(self.graph, self.rule, self.layout))

    @property
    def ezkl_visibility(self) -> Visibility:
        """All vectors are committed to; constants are part of the circuit."""
        return Visibility(self.commitments, self.commitments)

    @property
    def chained(self) -> bool:
        """A new state is the next step's old one, at one scale."""
        return True

    @property
    def pinned_points(self) -> int:
        """Verifiers compute the tag's commitment: of a polynomial, with points of their key."""
        return TAG_LIMBS if self.commitments == POLYCOMMIT else 0

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON: a key's `description`.

        The learning rate over the batch is 2**-rate_shift, momentum the integer over 2**8.
        """
        step = {
            "batch": self.batch,
            "rate_shift": -round(math.log2(self.rule.rate)),
            "momentum": int(self.rule.momentum * (1 << MOMENTUM_BITS)),
            "trained": [[name, list(shape)] for name, shape in self.layout.weights],
            "frozen": [[name, list(shape)] for name, shape in self.layout.frozen],
        }
        return super().describe() | {"names": NAMES, "labels": list(LABELS), "step": step}

    def feeds(self, values: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the circuit's inputs from its packed vectors of integers.

        Raises InvalidInput, naming the vector, for a missing, misshapen or too large one.
        """
        if set(values) != set(self.layout.inputs):
            raise InvalidInput(f"{self.version}: expected {', '.join(self.layout.inputs)}")
        for name, (length,) in self.layout.inputs.items():
            self.layout.check_vector(name, values[name], length)
        return {name: values[name] / 2.0**self.config.scale for name in self.layout.inputs}

    @cached_property
    def samples(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Packed vectors that settings are fitted to: states and batches with full salts."""
        rng = np.random.default_rng(0)  # settings are public; nothing secret or proven is drawn
        given = dict(self.calibration or {})
        batches = self._batches(rng, given.pop("x", None))
        layout, classes = self.layout, self.graph.shapes[self.graph.outputs[0]][1]
        if unknown := set(given) - {name for name, _ in layout.tensors}:
            raise InvalidInput(f"calibration: the state has no {', '.join(map(str, unknown))}")
        weights = [self._weights(rng, given) for _ in batches]
        packed: dict[str, list[IntArray]] = {name: [] for name in layout.inputs}
        for place, (x, tensors) in enumerate(zip(batches, weights, strict=True)):
            labels = (np.arange(layout.rows) + place) % classes
            packed[STATE].append(layout.pack_state(tensors, _limbs(rng, layout.salt_limbs)))
            packed[BATCH].append(layout.pack_batch(x, labels, _limbs(rng, layout.salt_limbs)))
            packed[NEW_SALT].append(_limbs(rng, layout.salt_limbs))
            packed[TAG].append(_limbs(rng, TAG_LIMBS))
        return {name: np.stack(parts) / 2.0**layout.scale for name, parts in packed.items()}

    def _batches(self, rng: np.random.Generator, given: Any) -> FloatArray:
        """Return the calibration's batches, (samples, batch, ...)."""
        shape = self.layout.x
        if given is not None:
            array = np.asarray(given, np.float64)
            if array.ndim == len(shape) and array.shape[1:] == shape[1:]:
                array = array[: len(array) // shape[0] * shape[0]].reshape(-1, *shape)
            if array.shape[1:] != shape or len(array) < 2:
                wanted = f"(samples, {', '.join(map(str, shape))}) with 2 samples or more, or rows"
                raise InvalidInput(f"calibration: x: expected {wanted}, got {array.shape}")
            return array
        if isinstance(self.source, Head):
            limit = 2.0 ** (self.source.input_width - 1 - self.source.input_scale_bits)
            return rng.uniform(-limit, limit, (_SAMPLES, *shape))
        return rng.normal(size=(_SAMPLES, *shape))

    def _weights(self, rng: np.random.Generator, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state's tensors: those given, a graph's own, or small random ones."""
        own = self.graph.values if self._head is None else {}
        found: dict[str, Any] = {}
        for name, shape in self.layout.tensors:
            spread = min(0.5, 1.0 / math.sqrt(math.prod(shape[:-1])))
            found[name] = {**own, **given}.get(name, rng.normal(size=shape) * spread)
        return found


def _limbs(rng: np.random.Generator, count: int) -> IntArray:
    """Return sample limbs, the largest among them: they show the range that a salt needs."""
    limbs = rng.integers(0, 1 << LIMB_BITS, count, dtype=np.int64)
    limbs[0] = (1 << LIMB_BITS) - 1
    return limbs


def _power_of_two(rate: object, batch: int) -> float:
    """Return rate / batch. Raises InvalidInput, naming the nearest, if it is no power of two."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate):
        raise InvalidInput(f"learning_rate: expected a finite number, got {rate!r}")
    share = rate / batch
    if share <= 0:
        raise InvalidInput(f"learning_rate: expected a positive number, got {rate!r}")
    exponent = -round(math.log2(share))
    if share != 2.0**-exponent or not 0 <= exponent <= MAX_SHIFT:
        nearest = batch * 2.0 ** -min(max(exponent, 0), MAX_SHIFT)
        raise InvalidInput(
            f"learning_rate: {rate} / {batch} is no power of two from 1 down to 2**-{MAX_SHIFT};"
            f" the nearest rate is {nearest}"
        )
    return share
