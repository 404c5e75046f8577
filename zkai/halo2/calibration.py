"""Fits EZKL's settings to samples: the smallest circuit, checked on samples that are held out.

The scale is the caller's, the rebase multiplier 1, so outputs leave at the scale of the inputs.
Numbers are decomposed in `legs` digits of a base: a large base needs a large table, a small one
many rows. The search first finds how many bits the samples' largest intermediate value has, then
takes the base with which that many bits, and RESERVE_BITS more, give the smallest k.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.encoding import parse_json, read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.process import Fault, Worker
from zkai.halo2.settings import (
    MAX_SETTINGS_BYTES,
    Halo2Config,
    Settings,
    Visibility,
    canonical,
    felt,
    signed,
)
from zkai.model.onnx_file import Feeds, OnnxModel

Samples = Mapping[str, npt.NDArray[np.float64]]

MAX_WITNESS_BYTES = 1 << 30
RESERVE_BITS = 2
"""How many bits larger than on the samples an intermediate value may be."""
MAX_BITS = 96
_PROBE_BITS = 4
_BASE_BITS = range(5, 15)
_TRIED = 3
_PROBED = 4
HELD_OUT = 8
"""At most so many samples are held out of the calibration and run through the constraints."""


@dataclass(frozen=True)
class Calibration:
    """Settings with the error of their integers against float on the held-out samples."""

    settings: Settings
    report: Mapping[str, Any]


MODEL, SETTINGS, DATA, COMPILED = "model.onnx", "settings.json", "data.json", "model.ezkl"
WITNESS = "witness.json"


def calibrate(
    worker: Worker,
    model: OnnxModel,
    samples: Samples,
    visibility: Visibility,
    config: Halo2Config,
    *,
    chained: bool = False,
) -> Calibration:
    """Return the settings of a model's circuit, and compile it in the worker's folder.

    With `chained`, every output's scale must be the inputs'.

    Raises InvalidInput, naming the operator where EZKL does, for a model that it cannot take, too
    few samples, or a circuit larger than 2**max_k rows; VerificationError if a held-out sample does
    not satisfy the circuit.
    """
    fitted, held = split(samples)
    (worker.folder / MODEL).write_bytes(model.data)
    arguments = _arguments(visibility, config)
    if config.decomposition is not None:
        tried = [config.decomposition]
    else:
        _generate(worker, arguments, 1 << _PROBE_BITS, MAX_BITS // _PROBE_BITS)
        bits = _needed_bits(worker, arguments, model, fitted, config)
        tried = _decompositions(worker, arguments, bits, config)
    settings = _smallest(worker, arguments, model, fitted, config, tried)
    check_scales(settings, config, chained)
    compile_model(worker, model, settings)
    return Calibration(settings, _held_out(worker, model, held, settings, config.tolerance))


def split(samples: Samples) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the samples to calibrate with, and those that are held out: the last quarter.

    Raises InvalidInput for a single sample.
    """
    count = len(next(iter(samples.values())))
    if count < 2:
        raise InvalidInput("calibration: give at least 2 samples; the last quarter is held out")
    held = min(HELD_OUT, max(1, count // 4))
    return (
        {name: array[: count - held] for name, array in samples.items()},
        {name: array[count - held :] for name, array in samples.items()},
    )


def _arguments(visibility: Visibility, config: Halo2Config) -> dict[str, Any]:
    """Return EZKL's run arguments, but for the decomposition."""
    return {
        "input_scale": config.scale,
        "param_scale": config.scale,
        "scale_rebase_multiplier": 1,
        "num_inner_cols": config.columns,
        "logrows": config.max_k,
        "input_visibility": visibility.input,
        "output_visibility": visibility.output,
        "param_visibility": visibility.weights,
        "ignore_range_check_inputs_outputs": not config.check_ranges,
        "check_mode": "unsafe",
    }


def _generate(worker: Worker, arguments: Mapping[str, Any], base: int, legs: int) -> Settings:
    """Return the settings before calibration. Raises InvalidInput for a model EZKL cannot take."""
    given = {**arguments, "decomp_base": base, "decomp_legs": legs}
    try:
        worker.call("gen_settings", model=MODEL, output=SETTINGS, py_run_args=given)
    except Fault as fault:
        raise refused_model(fault) from fault
    return canonical(read_capped(worker.folder / SETTINGS, MAX_SETTINGS_BYTES))


def refused_model(fault: Fault) -> InvalidInput:
    """Return the error for a model that EZKL cannot take, naming the operator where it is known."""
    named = "" if fault.operator is None else f"the operator {fault.operator}: "
    return InvalidInput(f"model: EZKL cannot take it: {named}{fault.text}")


def _calibrated(
    worker: Worker, arguments: Mapping[str, Any], base: int, legs: int, config: Halo2Config
) -> Settings:
    """Return the settings calibrated on the data file. Raises Fault if they do not fit."""
    _generate(worker, arguments, base, legs)
    worker.call(
        "calibrate_settings",
        stage="calibrate",
        data=DATA,
        model=MODEL,
        settings=SETTINGS,
        target="resources",
        lookup_safety_margin=config.lookup_margin,
        scales=[config.scale],
        scale_rebase_multiplier=[1],
        max_logrows=config.max_k,
    )
    return canonical(read_capped(worker.folder / SETTINGS, MAX_SETTINGS_BYTES))


def _needed_bits(
    worker: Worker,
    arguments: Mapping[str, Any],
    model: OnnxModel,
    samples: Samples,
    config: Halo2Config,
) -> int:
    """Return how many bits the decomposed numbers need on the samples, by bisection.

    Raises InvalidInput if MAX_BITS are not enough.
    """
    write_data(worker, model, {n: a[:_PROBED] for n, a in samples.items()})
    wide = {**arguments, "logrows": 26}
    free = Halo2Config(scale=config.scale, max_k=26, lookup_margin=config.lookup_margin)

    def fault_of(legs: int) -> Fault | None:
        try:
            _calibrated(worker, wide, 1 << _PROBE_BITS, legs, free)
        except Fault as fault:
            return fault
        return None

    low, high = 0, MAX_BITS // _PROBE_BITS
    if (fault := fault_of(high)) is not None:
        raise refused_model(fault)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fault_of(middle) is None else (middle, high)
    return high * _PROBE_BITS + RESERVE_BITS


def _decompositions(
    worker: Worker, arguments: Mapping[str, Any], bits: int, config: Halo2Config
) -> list[tuple[int, int]]:
    """Return the few bases and digits that promise the smallest circuits for a width."""
    found = []
    for base_bits in _BASE_BITS:
        pair = (1 << base_bits, -(-bits // base_bits))
        rows = _generate(worker, arguments, *pair).rows
        found.append((max((rows + 16).bit_length(), base_bits + 1), rows, pair))
    found.sort()
    if (k := found[0][0]) > config.max_k:
        raise InvalidInput(
            f"model: its circuit has about {found[0][1]:,} rows, so 2^{k}, and max_k is"
            f" {config.max_k}: raise it, lower the scale, or cut the model into slices"
        )
    return [pair for _, _, pair in found[:_TRIED]]


def _smallest(
    worker: Worker,
    arguments: Mapping[str, Any],
    model: OnnxModel,
    samples: Samples,
    config: Halo2Config,
    tried: list[tuple[int, int]],
) -> Settings:
    """Return the smallest of the settings calibrated on all samples."""
    write_data(worker, model, samples)
    found, faults = [], []
    for base, legs in tried:
        try:
            found.append(_calibrated(worker, arguments, base, legs, config))
        except Fault as fault:
            faults.append(fault)
    if not found:
        text = faults[-1].text
        raise InvalidInput(
            f"model: no circuit of at most 2**{config.max_k} rows holds it on these samples"
            f" ({text}); raise max_k, lower the scale, or give smaller samples"
        )
    return min(found, key=lambda settings: (settings.k, settings.rows))


def check_scales(settings: Settings, config: Halo2Config, chained: bool) -> None:
    """Return None if the settings have the caller's scale, and outputs the inputs' if `chained`.

    Raises InvalidInput naming the scales.
    """
    arguments = settings.content["run_args"]
    if (arguments["input_scale"], arguments["param_scale"]) != (config.scale, config.scale):
        raise InvalidInput(f"settings: EZKL changed the scale {config.scale}")
    if chained and set(settings.output_scales) != set(settings.input_scales):
        raise InvalidInput(
            f"settings: outputs leave at the scales {settings.output_scales}, inputs enter at"
            f" {settings.input_scales}; steps chain only at equal scales"
        )


def compile_model(worker: Worker, model: OnnxModel, settings: Settings) -> None:
    """Compile a model's circuit into the worker's folder. Raises InvalidInput if EZKL refuses."""
    (worker.folder / MODEL).write_bytes(model.data)
    (worker.folder / SETTINGS).write_text(settings.text)
    try:
        worker.call(
            "compile_circuit",
            stage="compile",
            model=MODEL,
            compiled_circuit=COMPILED,
            settings_path=SETTINGS,
        )
    except Fault as fault:
        raise refused_model(fault) from fault


def write_data(worker: Worker, model: OnnxModel, samples: Samples) -> None:
    """Write samples of (n, *shape) as EZKL reads them."""
    flat = [np.asarray(samples[name], np.float64).reshape(-1).tolist() for name in model.inputs]
    (worker.folder / DATA).write_text(json.dumps({"input_data": flat}))


def witness(worker: Worker, model: OnnxModel, feeds: Feeds, **files: str) -> dict[str, Any]:
    """Return the witness of one input: what EZKL wrote to its file, as JSON.

    Raises InvalidInput if EZKL cannot compute it: a value outside the circuit's ranges.
    """
    write_data(worker, model, {name: np.asarray(feeds[name])[None] for name in model.inputs})
    try:
        worker.call(
            "gen_witness", stage="witness", data=DATA, model=COMPILED, output=WITNESS, **files
        )
    except Fault as fault:
        raise InvalidInput(
            "input: EZKL cannot compute the model on it, as when a value leaves the ranges that the"
            f" calibration samples gave: {fault.text}"
        ) from fault
    found = parse_json(read_capped(worker.folder / WITNESS, MAX_WITNESS_BYTES))
    assert isinstance(found, dict)
    return found


def outputs_of(found: Mapping[str, Any], settings: Settings) -> list[npt.NDArray[np.float64]]:
    """Return a witness's outputs as flat arrays of real numbers."""
    return [
        np.array([signed(felt(text)) / 2.0**scale for text in tensor], np.float64)
        for tensor, scale in zip(found["outputs"], settings.output_scales, strict=True)
    ]


def _held_out(
    worker: Worker, model: OnnxModel, samples: Samples, settings: Settings, tolerance: float
) -> dict[str, Any]:
    """Return the error on samples that calibration did not see, each satisfying the circuit.

    Raises VerificationError for one that does not, InvalidInput if most are far from the model.
    """
    count = len(next(iter(samples.values())))
    errors: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in model.outputs}
    largest = dict.fromkeys(model.outputs, 1.0)
    agreed = dict.fromkeys(model.outputs, 0)
    for place in range(count):
        feeds = {name: array[place] for name, array in samples.items()}
        found = outputs_of(witness(worker, model, feeds), settings)
        try:
            worker.call("mock", stage="check held-out samples", witness=WITNESS, model=COMPILED)
        except Fault as fault:
            raise VerificationError(
                f"calibration: held-out sample {place} does not satisfy the circuit ({fault.text})"
            ) from fault
        floats = model.run(feeds)
        for name, ours in zip(model.outputs, found, strict=True):
            wanted = np.asarray(floats[name], np.float64)
            if ours.size != wanted.size:
                raise InvalidInput(
                    _otherwise(model, name, f"{ours.size} values, not {wanted.size}")
                )
            got = ours.reshape(wanted.shape)
            errors[name].append(np.abs(got - wanted).reshape(-1))
            largest[name] = max(largest[name], float(np.abs(wanted).max()))
            agreed[name] += bool(np.array_equal(*(np.argmax(a, -1) for a in (got, wanted))))
    for name, parts in errors.items():
        usual = float(np.median([e.max() for e in parts]))
        if usual > tolerance * largest[name]:
            raise InvalidInput(_otherwise(model, name, f"values that differ by {usual:.3g}"))
    outputs = {
        name: {
            "max_abs_error": float(max(e.max() for e in parts)),
            "mean_abs_error": float(np.mean([e.mean() for e in parts])),
            "argmax_agreement": agreed[name] / count,
        }
        for name, parts in errors.items()
    }
    return {"samples": count, "outputs": outputs, "rejected": 0}


def _otherwise(model: OnnxModel, name: str, what: str) -> str:
    """Return the message for outputs that are not the model's."""
    operators = ", ".join(sorted(set(model.operators)))
    return (
        f"model: on most held-out samples EZKL gives the output {name!r} {what} from the model's"
        f" own: it computes one of {operators} otherwise than ONNX says, or the scale is too small;"
        " docs/reference/halo2-operators.md says which it does right, `tolerance` how far to go"
    )
