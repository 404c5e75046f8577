"""Decisions of large models in two proofs: a body by EZKL, a head by Groth16, of one activation.

model = wrap("model.onnx", at="features", calibration=samples)
body_keys, head_keys = setup(model.body, ...), zkai.setup(model.head)
decision = prove(model, body_keys.proving, head_keys.proving, {"x": x})
verify(decision, body_keys.verifying, head_keys.verifying, head=model.head)

The body's proof shows the hash of its last tensor, the activation followed by blinders. The head's
circuit opens the same hash. A chain that verifies the head's proof knows that somebody knows a
tensor with this hash on which the head gives this output. That the tensor is the body's shows in
the body's proof alone, which is verified off chain: a receipt that names both is its signer's word
that this was done.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import pipeline
from zkai.assignment import Destination
from zkai.calibrated import Inference
from zkai.circuit.statements.base import PLAIN, Format
from zkai.circuit.statements.hashed_input import HASHED, blinders_name
from zkai.circuit.statements.visibility import signal_name
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import proof as halo2
from zkai.halo2.keys import Halo2ProvingKey, Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.settings import Halo2Config
from zkai.halo2.statement import HASH, Halo2Inference, Halo2Statement, Signal
from zkai.model.calibrate import QuantConfig
from zkai.model.cutting import BLINDERS, blinded, cut
from zkai.model.export import load, parse_onnx
from zkai.model.fixed_point import IntArray
from zkai.model.onnx_file import OnnxModel, load_onnx, sample_arrays
from zkai.proof.formats import Proof, ProvingKey, VerifyingKey
from zkai.proof.scalars import Progress

OUTPUT, INPUT = "output", "input"
"""The signals of the body and of the head that show the hash."""

N_BLINDERS, BLINDER_BITS = 8, 16
"""128 random bits follow the activation, in numbers of an activation's size."""


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A model cut in two: what EZKL proves, and what Groth16 proves of its result."""

    body: Halo2Statement
    head: Inference
    head_model: OnnxModel | None = None
    """The head's ONNX file, where `wrap` cut it off."""


@dataclass(frozen=True)
class Decision:
    """Both proofs of one decision."""

    body: Halo2Proof
    head: Proof


def wrap(
    model: OnnxModel | bytes | str,
    at: str,
    calibration: Any,
    *,
    output: str = "argmax",
    weights: str = "constant",
    config: Halo2Config | None = None,
    precision: QuantConfig | None = None,
    format: Format = PLAIN,
    blinders: int = N_BLINDERS,
) -> Wrapped:
    """Return the statements of a model that is cut after the node that makes the tensor `at`.

    `output` and `weights` are the head's visibilities; the body's input stays private. The head's
    input has the body's scale, and `blinders` private numbers end the tensor that both hash.

    Raises InvalidInput if anything but one tensor crosses the cut, or as the two statements do.
    """
    whole = model if isinstance(model, OnnxModel) else load_onnx(model)
    parts = cut(parse_onnx("model", whole.data), [at], "model")
    crossing = [value.name for value in parts[1].graph.input]
    if crossing != [at] or len(parts[0].graph.output) != 1:
        raise InvalidInput(f"model: more than {at!r} crosses the cut: {', '.join(crossing)}")
    chosen = config or Halo2Config()
    samples = sample_arrays(calibration, whole.inputs)
    plain = load_onnx(parts[0].SerializeToString())
    count = len(next(iter(samples.values())))
    features = np.stack(
        [plain.run({n: a[i] for n, a in samples.items()})[at] for i in range(count)]
    )
    given: dict[str, npt.NDArray[np.float64]] = dict(samples)
    made = plain
    if blinders:
        made = load_onnx(blinded(parts[0], blinders, "model").SerializeToString())
        rows = [_draw(blinders) for _ in range(count)]
        given[BLINDERS] = np.array(rows, np.float64)[:, None] / 2.0**chosen.scale
    body = Halo2Inference(made, given, {"input": "private", "output": "committed"}, chosen)
    last = load_onnx(parts[1].SerializeToString())
    precise = precision or QuantConfig()
    head = Inference(
        load(last.data),
        calibration={at: features},
        visibility={"input": HASHED, "output": output, "weights": weights},
        config=_at_scale(precise, at, chosen.scale),
        format=format,
        blinders=blinders,
    )
    return Wrapped(body, head, last)


def _at_scale(precision: QuantConfig, tensor: str, scale: int) -> QuantConfig:
    known = {name: getattr(precision, name) for name in precision.__dataclass_fields__}
    return QuantConfig(**known | {"scale_bits": {**precision.scale_bits, tensor: scale}})


def _draw(count: int) -> list[int]:
    return [secrets.randbits(BLINDER_BITS) for _ in range(count)]


def prove(
    model: Wrapped,
    body_key: Halo2ProvingKey,
    head_key: ProvingKey,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = None,
    progress: Progress | None = None,
) -> Decision:
    """Return both proofs of what the model makes of `values`, each checked, and that they match.

    Fresh blinders come from the operating system.

    Raises InvalidInput for values that the model cannot take, among them an activation that leaves
    the head's range; VerificationError if the proofs do not go together.
    """
    given = dict(values)
    if blinders := model.head.blinders:
        if BLINDERS in given or f"{BLINDERS}_integers" in given:
            raise InvalidInput(f"{BLINDERS}: are drawn here, and must be fresh for every proof")
        given[f"{BLINDERS}_integers"] = [_draw(blinders)]
    signal = _hashed_output(body_key.verifying)
    check_match(signal, model.head)
    body, tensors = halo2.prove_opened(model.body, body_key, given, progress=progress)
    taken = head_values(model.head, tensors[signal.name])
    head = pipeline.prove(model.head, head_key, taken, destination=destination, progress=progress)
    decision = Decision(body, head)
    _check_same(body, signal, head)
    return decision


def head_values(head: Inference, tensor: IntArray) -> dict[str, Any]:
    """Return what the head takes of the body's last tensor: activation and blinders.

    Raises InvalidInput if the tensor has another size.
    """
    name = _hashed_input(head)
    shape = head.graph.tensors[name].shape
    flat, size = tensor.ravel(), prod(shape)
    if len(flat) != size + head.blinders:
        raise InvalidInput(
            f"the body's tensor has {len(flat)} elements, the head takes {size} and"
            f" {head.blinders} blinders"
        )
    values: dict[str, Any] = {f"{INPUT}_integers": flat[:size].reshape(shape)}
    if head.blinders:
        values[blinders_name(INPUT)] = [int(v) for v in flat[size:]]
    return values


def verify(
    decision: Decision,
    body_key: Halo2VerifyingKey,
    head_key: VerifyingKey,
    *,
    head: Inference | None = None,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    destination: Destination | None = None,
    progress: Progress | None = None,
) -> None:
    """Return None if both proofs hold and are of one activation.

    With the `head`'s statement its key must be of that circuit, and the circuit must read the hash
    as the body's: a hashed input of the same scale and number of elements. Without it that is the
    word of whoever told the head's key to be trusted.

    `production` and `trusted_digests` are of both keys, `destination` of the head's proof.

    Raises VerificationError saying which proof fails, or that they do not match.
    """
    signal = _hashed_output(body_key)
    if head is not None:
        check_match(signal, head)
        if head.build().digest != head_key.circuit_digest:
            raise VerificationError("the head's key is of another circuit than the head")
    _check_same(decision.body, signal, decision.head)
    trusted: Any = {"production": production, "trusted_digests": trusted_digests}
    try:
        halo2.verify(decision.body, body_key, **trusted, progress=progress)
    except VerificationError as error:
        raise VerificationError(f"the body: {error}") from error
    try:
        pipeline.verify(decision.head, head_key, destination=destination, **trusted)
    except VerificationError as error:
        raise VerificationError(f"the head: {error}") from error


def _hashed_output(key: Halo2VerifyingKey) -> Signal:
    """Return the body's one output signal. Raises VerificationError unless it is a hash."""
    found = [s for s in key.signals if s.name == OUTPUT]
    if len(found) != 1 or found[0].kind != HASH:
        raise VerificationError("the body does not show the hash of its one output")
    return found[0]


def _hashed_input(head: Inference) -> str:
    """Return the head's one input. Raises VerificationError unless it is bound by EZKL's hash."""
    graph = head.graph
    if len(graph.inputs) != 1 or signal_name(graph, graph.inputs[0]) != INPUT:
        raise VerificationError("the head has more inputs than the body's tensor")
    if head.visibility[graph.inputs[0]] != HASHED:
        raise VerificationError(f"the head's input is not {HASHED}: it is not the body's tensor")
    return graph.inputs[0]


def check_match(signal: Signal, head: Inference) -> None:
    """Return None if the head reads a hash as the body means it.

    The hash binds the elements and neither their scale nor how many are blinders.

    Raises VerificationError naming the difference.
    """
    tensor = head.graph.tensors[_hashed_input(head)]
    if tensor.scale_bits != signal.scale:
        raise VerificationError(
            f"the body's tensor has {signal.scale} fraction bits, the head reads"
            f" {tensor.scale_bits}"
        )
    if prod(signal.shape) != tensor.size + head.blinders:
        raise VerificationError(
            f"the body's tensor has {prod(signal.shape)} elements, the head reads {tensor.size} and"
            f" {head.blinders} blinders"
        )


def _check_same(body: Halo2Proof, signal: Signal, head: Proof) -> None:
    shown = body.public.get(signal.name)
    if shown is None or len(shown) != 1 or head.public.get(INPUT) != shown:
        raise VerificationError("the head is of another activation than the body")
