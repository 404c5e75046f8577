"""Inference statements from models in real numbers: quantised on samples that stay at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.circuit.statements import inference
from zkai.circuit.statements.base import PLAIN, Format
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.hashed_input import HASHED, SCALE_BITS
from zkai.circuit.statements.linked import POSEIDON, WeightsCommitment
from zkai.circuit.statements.visibility import check_visibility
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput
from zkai.halo2.settings import Halo2Config
from zkai.halo2.slices import SlicedInference
from zkai.halo2.statement import Halo2Inference
from zkai.model.calibrate import QuantConfig
from zkai.model.fixed_point import FloatArray, IntArray
from zkai.model.graph import AveragePool, Graph, Relu, Reshape, Transpose
from zkai.model.head_state import HeadState
from zkai.model.heads import Head
from zkai.model.onnx_file import GROTH16, HALO2, OnnxModel, check_backend
from zkai.model.quant_graph import QuantGraph
from zkai.model.quantize import dequantize, head_parameters, quantize

Samples = npt.ArrayLike | Mapping[str, npt.ArrayLike]


class Inference(inference.Inference):
    """Prove y = f(x) for a model: `zkai.circuit.statements.inference.Inference` after quantising.

    `graph` is a model in real numbers with `calibration` samples (an array, or a mapping by input
    name) that fix scales and widths, or an integer model without any. `visibility`, `head`,
    `format`, `weights_commitment` and `blinders` are that class's; `config` says how precise the
    integers are. An input with visibility `hashed` has scale 13 unless `config.scale_bits` says.

    With backend "halo2" the result is a `zkai.halo2.statement.Halo2Inference`: `graph` is an ONNX
    file of any operators, and `config` a Halo2Config; with `cuts`, tensors to cut after or a number
    of slices, it is a `zkai.halo2.slices.SlicedInference`.

    Raises InvalidInput for unusable samples, an accumulator that does not fit, and whatever that
    class refuses.
    """

    def __new__(  # type: ignore[misc]  # the other backend's statement is another class
        cls, graph: Any = None, *, backend: str = GROTH16, **choices: Any
    ) -> Inference | Halo2Inference | SlicedInference:
        if backend == HALO2:
            if unknown := set(choices) - {"calibration", "visibility", "config", "cuts"}:
                raise InvalidInput(f"backend halo2 takes no {', '.join(sorted(unknown))}")
            seen, config = choices.get("visibility") or {}, choices.get("config") or Halo2Config()
            samples, cuts = choices.get("calibration"), choices.get("cuts")
            if cuts is not None:
                return SlicedInference(graph, samples, cuts, seen, config)
            return Halo2Inference(graph, samples, seen, config)
        check_backend(backend)
        return super().__new__(cls)

    def __init__(
        self,
        graph: Graph | QuantGraph | OnnxModel | Path | str | bytes,
        *,
        calibration: Samples | None = None,
        visibility: Mapping[str, str] | None = None,
        config: QuantConfig | Halo2Config | None = None,
        head: Head | None = None,
        format: Format = PLAIN,
        weights_commitment: WeightsCommitment = POSEIDON,
        blinders: int = 0,
        backend: str = GROTH16,
    ) -> None:
        if config is not None and not isinstance(config, QuantConfig):
            raise InvalidInput(f"config: expected a QuantConfig, got {type(config).__name__}")
        seen = {} if visibility is None else visibility
        if isinstance(graph, QuantGraph):
            if calibration is not None or config is not None:
                raise InvalidInput("calibration: an integer model has its scales already")
            integers, source = graph, None
        elif isinstance(graph, Graph):
            if calibration is None:
                raise InvalidInput("calibration: give samples that look like what will be proven")
            check_visibility(seen)
            precise = _at_hashed_scale(graph, seen, config or QuantConfig())
            integers, source = quantize(graph, calibration, precise), graph
        else:
            raise InvalidInput(f"graph: expected a Graph of zkai.load, got {type(graph).__name__}")
        super().__init__(integers, seen, head, format, weights_commitment, blinders)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "calibration", calibration)

    source: Graph | None
    calibration: Samples | None

    def read_outputs(self, public: Mapping[str, tuple[int, ...]]) -> dict[str, FloatArray]:
        """Return the public outputs of a proof as real numbers, by tensor name.

        A committed output is left out; of an argmax output, the indices are returned.

        Raises InvalidInput, naming the output, if these are not a proof's values of this statement.
        """
        results = {}
        for name in self.graph.outputs:
            choice = self.visibility[name]
            signal = "output" if len(self.graph.outputs) == 1 else f"output.{name}"
            if choice == "committed":
                continue
            shape = self.graph.tensors[name].shape
            size = prod(shape if choice == "public" else shape[:-1])
            integers = _signed(public, signal, size)
            if choice == "public":
                results[name] = dequantize(self.graph, name, integers.reshape(shape))
            else:
                results[name] = integers.astype(np.float64)
        return results


def _at_hashed_scale(
    graph: Graph, visibility: Mapping[str, str], config: QuantConfig
) -> QuantConfig:
    """Return the precision with the scale of hashed inputs, where none is given."""
    chosen = {n: visibility.get(n, visibility.get("input")) for n in graph.inputs}
    hashed = [n for n, word in chosen.items() if isinstance(word, str) and word == HASHED]
    scales = dict.fromkeys(hashed, SCALE_BITS)
    return replace(config, scale_bits={**scales, **config.scale_bits})


def _signed(public: Mapping[str, tuple[int, ...]], signal: str, size: int) -> IntArray:
    """Return a public signal's `size` integers, of which those above r / 2 are negative."""
    values = public.get(signal) if isinstance(public, Mapping) else None
    if not isinstance(values, tuple) or len(values) != size:
        raise InvalidInput(f"{signal}: expected the public values of a proof of this statement")
    signed = [v - FIELD_MODULUS if v > FIELD_MODULUS // 2 else v for v in values]
    try:
        return np.array(signed, dtype=np.int64)
    except OverflowError as error:
        raise InvalidInput(f"{signal}: holds a number that no tensor has") from error


def attached_head(
    backbone: Graph,
    head: Head,
    calibration: Samples,
    visibility: Mapping[str, str],
    config: QuantConfig | None = None,
    format: Format = PLAIN,
    weights_commitment: WeightsCommitment = POSEIDON,
) -> Inference:
    """Return the inference of a backbone, quantised for a head, that the head follows.

    The backbone's one output, (rows, features), gets the head's input scale. The head's weights
    are a training state's, opened from its commitment and given to `prove`; those in the graph are
    zeros. The output is "probabilities", or "logits" where only its largest entry is shown.

    Raises InvalidInput if the backbone has no such output, its values do not fit the head's input
    width, or for whatever Inference refuses.
    """
    chosen = config or QuantConfig()
    scales = {**chosen.scale_bits, _scaled_tensor(backbone): head.input_scale_bits}
    integers = quantize(backbone, calibration, replace(chosen, scale_bits=scales))
    shown = {visibility.get(name) for name in ("output", "logits")}
    zeros = np.zeros(head.shape, np.int64)
    state = HeadState(zeros, zeros if head.has_velocity else None)
    personal = attach_head(integers, head, state, probabilities="argmax" not in shown)
    names = [name for layer in head.layers for name in head_parameters(head, layer)]
    bound = {f"head.{name}": "state" for name in names}
    seen = {**bound, **visibility}
    return Inference(
        personal,
        visibility=seen,
        head=head,
        format=format,
        weights_commitment=weights_commitment,
    )


_KEEP_SCALE = (AveragePool, Relu, Reshape, Transpose)


def _scaled_tensor(graph: Graph) -> str:
    """Return the tensor whose scale is the output's: the one before operators that keep it."""
    makers = {node.output: node for node in graph.nodes}
    name = graph.outputs[0]
    while name in makers and isinstance(makers[name].op, _KEEP_SCALE):
        name = makers[name].inputs[0]
    return name
