"""What Halo2 proves: an ONNX graph's outputs for its inputs, each shown, committed or hidden."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from zkai.encoding import FIELD_MODULUS, hex32
from zkai.errors import InvalidInput
from zkai.halo2.settings import (
    FIXED,
    HASHED,
    POLYCOMMIT,
    PRIVATE,
    PUBLIC,
    Halo2Config,
    Settings,
    Visibility,
    signed,
)
from zkai.model.graph import Shape
from zkai.model.onnx_file import OnnxModel, load_onnx, sample_arrays

FORMAT = "halo2"
INFERENCE = "onnx_inference/1"
TRAINING_STEP = "onnx_step/1"

VALUES, HASH, POINT = "values", "hash", "point"
"""What a public signal holds: numbers, Poseidon's hash of a tensor, or a polynomial commitment."""


@dataclass(frozen=True)
class Signal:
    """A public signal: a tensor's numbers with `scale` fraction bits, or a commitment to it."""

    name: str
    kind: str
    shape: Shape
    scale: int

    @property
    def size(self) -> int:
        """How many values the signal has: a point has its two coordinates."""
        return {HASH: 1, POINT: 2}.get(self.kind, prod(self.shape))


class Halo2Statement(ABC):
    """A statement that EZKL proves; subclasses say which graph, samples and names."""

    version: ClassVar[str]
    format: ClassVar[str] = FORMAT
    salts: ClassVar[tuple[str, ...]] = ()

    model: OnnxModel
    """The graph that is proven."""
    config: Halo2Config
    """How numbers become integers."""

    @property
    @abstractmethod
    def ezkl_visibility(self) -> Visibility:
        """Who sees inputs, outputs and weights, in EZKL's words."""

    @property
    @abstractmethod
    def samples(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """What the settings are fitted to and checked on: arrays of (n, *shape)."""

    @property
    def chained(self) -> bool:
        """Whether outputs must leave at the inputs' scale."""
        return False

    @property
    def pinned_points(self) -> int:
        """For how many numbers a verifying key holds the points that commit to them."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON: a key's `description`."""
        seen = self.ezkl_visibility
        constant = seen.weights == FIXED
        return {
            "statement": self.version,
            "model": hex32(self.model.digest(weights=constant)),
            "weights": "constant" if constant else "hidden",
            "inputs": [[name, list(shape)] for name, shape in self.model.inputs.items()],
            "outputs": [[name, list(shape)] for name, shape in self.model.output_shapes.items()],
            "visibility": [seen.input, seen.output, seen.weights],
            "config": self.config.describe(),
        }

    def feeds(self, values: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the model's inputs from the caller's values; a single one may be "input".

        Real numbers under a name, or integers with the scale's fraction bits under NAME_integers.

        Raises InvalidInput, naming the input, for anything missing, unknown or of another shape.
        """
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{self.version}: expected a mapping of names to values")
        given, found = dict(values), {}
        for name, shape in self.model.inputs.items():
            aliases = [name, "input"] if len(self.model.inputs) == 1 else [name]
            where = f"{self.version}: {name!r}"
            for key in (k for alias in aliases for k in (alias, f"{alias}_integers")):
                if key in given:
                    value = given.pop(key)
                    break
            else:
                raise InvalidInput(f"{self.version}: missing {name}")
            array = _numbers(where, value, shape)
            if key.endswith("_integers"):
                if not np.array_equal(array, np.round(array)):
                    raise InvalidInput(f"{where}: {key} must hold integers")
                array = array / 2.0**self.config.scale
            found[name] = array
        if given:
            raise InvalidInput(f"{self.version}: unknown {', '.join(sorted(map(str, given)))}")
        return found

    def read_outputs(self, public: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return what a proof shows of outputs, in the model's units; {} if it shows none."""
        return {}


def _numbers(where: str, value: Any, shape: Shape) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{where}: holds no numbers ({error})") from error
    if array.shape != shape:
        raise InvalidInput(f"{where}: must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{where}: holds NaN or an infinity")
    return array


_INPUT_WORDS = {
    "public": PUBLIC, "committed": HASHED, "hashed": HASHED, "polycommit": POLYCOMMIT,
    "private": PRIVATE,
}  # fmt: skip
_WEIGHT_WORDS = {
    "constant": FIXED, "committed": HASHED, "hashed": HASHED, "polycommit": POLYCOMMIT,
    "private": PRIVATE,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Halo2Inference(Halo2Statement):
    """Prove the outputs of an ONNX model for one input, by EZKL.

    `visibility` says who sees "input", "output" and "weights":

    - input, output: public (the output's default), committed or hashed (the input's: EZKL's
      Poseidon hash of the tensor, unsalted), polycommit (a KZG commitment, unblinded), or private:
      not shown at all;
    - weights: constant (the default: part of the circuit), committed, polycommit, or private.

    Neither commitment hides a tensor that can be guessed, and with polycommit each proof shows a
    linear equation in the tensor's numbers: small tensors, and weights after many proofs, can be
    computed. Hidden weights have no range.

    Raises InvalidInput for an unknown name or choice, unusable samples, or a model that is no ONNX
    file with static shapes.
    """

    model: OnnxModel
    calibration: Any
    visibility: Mapping[str, str] = field(default_factory=dict)
    config: Halo2Config = field(default_factory=Halo2Config)
    version: ClassVar[str] = INFERENCE

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", model_for(self.model, self.calibration))
        _check_config(self.config)
        if self.calibration is None:
            raise InvalidInput("calibration: give samples that look like what will be proven")
        seen = self.ezkl_visibility
        if not self.config.check_ranges and (seen.input, seen.output) != (PUBLIC, PUBLIC):
            raise InvalidInput(
                "config: check_ranges may be False only if input and output are public: a hidden"
                " number without a range may be any field element, such as one half"
            )
        _ = self.samples

    @cached_property
    def samples(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """The calibration samples, (n, *shape) for each input."""
        return sample_arrays(self.calibration, self.model.inputs)

    @cached_property
    def ezkl_visibility(self) -> Visibility:
        """Who sees what, in EZKL's words."""
        given = self.visibility
        if not isinstance(given, Mapping):
            raise InvalidInput("visibility: expected a mapping of names to choices")
        if unknown := set(given) - {"input", "output", "weights"}:
            raise InvalidInput(
                f"visibility: {sorted(map(str, unknown))}: halo2 has one choice each for input,"
                " output and weights"
            )
        chosen = {"input": "committed", "output": "public", "weights": "constant", **given}
        words = []
        for name, choice in chosen.items():
            table = _WEIGHT_WORDS if name == "weights" else _INPUT_WORDS
            if choice not in table:
                raise InvalidInput(
                    f"visibility: {name}: expected {', '.join(table)} in format halo2, got"
                    f" {choice!r}"
                )
            words.append(table[choice])
        return Visibility(*words)

    def read_outputs(self, public: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return the public outputs of a proof as real numbers, by tensor name.

        Raises InvalidInput if these are not a proof's values of this statement.
        """
        if self.ezkl_visibility.output != PUBLIC:
            return {}
        found = {}
        for name, shape in self.model.output_shapes.items():
            signal = "output" if len(self.model.outputs) == 1 else f"output.{name}"
            values = public.get(signal)
            size = prod(shape)
            if not isinstance(values, tuple) or len(values) != size:
                raise InvalidInput(f"{signal}: expected the values of a proof of this statement")
            found[name] = values
        return found


def _check_config(config: object) -> None:
    if not isinstance(config, Halo2Config):
        raise InvalidInput(f"config: expected a Halo2Config, got {type(config).__name__}")


def model_for(source: Any, samples: Any) -> OnnxModel:
    """Return an ONNX file's model; shapes that it leaves open are those of the samples.

    Raises InvalidInput for what is no ONNX file or stays open.
    """
    if isinstance(source, OnnxModel):
        return source
    if isinstance(source, str | Path | bytes):
        try:
            if isinstance(samples, Mapping):
                return load_onnx(source, {name: np.shape(a)[1:] for name, a in samples.items()})
            return load_onnx(source, only=np.shape(samples)[1:] or None)
        except ValueError as error:
            raise InvalidInput(f"calibration: holds no arrays of numbers ({error})") from error
    raise InvalidInput(
        f"graph: format halo2 takes an ONNX file, its bytes, or what zkai.load(..., backend="
        f"'halo2') returns; got {type(source).__name__}"
    )


_INSTANCES = (
    ("input", HASHED, HASH), ("weights", HASHED, HASH), ("input", PUBLIC, VALUES),
    ("output", HASHED, HASH), ("output", PUBLIC, VALUES),
)  # fmt: skip


def signals_of(description: Mapping[str, Any], settings: Settings) -> tuple[Signal, ...]:
    """Return the public signals of a circuit: the instances in order, then polynomial commitments.

    EZKL's instances are the hashes of inputs, the hash of weights, public inputs, and the outputs'
    hashes or values; polynomial commitments stand at the start of the proof: inputs, weights,
    outputs.

    Raises InvalidInput if description and settings disagree on the number of tensors.
    """
    seen, names = settings.visibility, description.get("names", {})
    tensors: dict[str, list[tuple[str, Shape, int]]] = {
        "input": _tensors("input", description["inputs"], settings.input_scales, names),
        "weights": [("weights", (), 0)],
        "output": _tensors("output", description["outputs"], settings.output_scales, names),
    }
    words = {"input": seen.input, "weights": seen.weights, "output": seen.output}
    found = [
        Signal(name, kind, shape, scale)
        for part, word, kind in _INSTANCES
        if words[part] == word
        for name, shape, scale in tensors[part]
    ]
    found += [
        Signal(name, POINT, shape, scale)
        for part in ("input", "weights", "output")
        if words[part] == POLYCOMMIT
        for name, shape, scale in tensors[part]
    ]
    return tuple(found)


def _tensors(
    part: str, listed: list[Any], scales: tuple[int, ...], names: Mapping[str, str]
) -> list[tuple[str, Shape, int]]:
    if len(listed) != len(scales):
        raise InvalidInput(f"settings: {len(scales)} scales for {len(listed)} tensors ({part})")
    return [
        (name, tuple(shape), scale)
        for name, (_, shape), scale in zip(
            tensor_names(part, listed, names), listed, scales, strict=True
        )
    ]


def tensor_names(part: str, listed: list[Any], names: Mapping[str, str]) -> list[str]:
    """Return what public signals and openings call the tensors of a part, input or output.

    A single one is called as the part, several PART.TENSOR, unless `names` has another name.
    """
    plain = [part] if len(listed) == 1 else [f"{part}.{name}" for name, _ in listed]
    return [names.get(name, name) for name in plain]


def decode(signal: Signal, values: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return a signal's numbers in the model's units: signed integers over 2**scale."""
    reals = [signed(value) / 2.0**signal.scale for value in values]
    return np.array(reals, np.float64).reshape(signal.shape)


def encode(signal: Signal, values: npt.ArrayLike) -> tuple[int, ...]:
    """Return the field elements of real numbers at a signal's scale, rounded to the nearest."""
    flat = np.asarray(values, np.float64).reshape(-1) * 2.0**signal.scale
    return tuple(int(v) % FIELD_MODULUS for v in np.round(flat))
