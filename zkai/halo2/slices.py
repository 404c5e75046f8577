"""A model too large for one circuit: cut at tensors, proven slice by slice, checked as one.

    model = slice n o ... o slice 1,   each slice a Halo2 circuit of its own

The tensors at a cut are shown as commitments by both sides: by the slice that makes them and by
each that takes them. Equal commitments are what makes the slices one computation, so the check of a
chain is: every proof holds under its slice's key, and every commitment of a tensor is the same
wherever that tensor appears. The commitments have no salt: whoever can guess an activation can
check the guess.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from zkai.encoding import as_path, keccak256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey, check_trust
from zkai.halo2.process import Limits
from zkai.halo2.proof import Halo2Proof, check_names, verify
from zkai.halo2.settings import Halo2Config
from zkai.halo2.statement import INFERENCE, VALUES, Halo2Inference, Signal, tensor_names
from zkai.model.cutting import MAX_SLICES, cut_model
from zkai.model.onnx_file import OnnxModel
from zkai.proof.jsonform import Document, expect_fields
from zkai.proof.keys import CEREMONY, DEVELOPMENT, names_from_json, names_to_json
from zkai.proof.scalars import Progress, no_progress

PROOF_FORMAT, KEY_FORMAT = "zkai.halo2-slices/1", "zkai.halo2-slices-vk/1"
BOUNDARY = "committed"


@dataclass(frozen=True, eq=False)
class Slice(Halo2Inference):
    """One slice; `chained` if what it gives goes into another one."""

    inner: bool = False

    @property
    def chained(self) -> bool:
        """Whether outputs must leave at the inputs' scale: the next slice reads them so."""
        return self.inner


@dataclass(frozen=True, eq=False)
class SlicedInference:
    """Prove an ONNX model's outputs for one input, in slices.

    `cuts` names the tensors after which to cut, or says how many slices of about the same work to
    make. Tensors at the cuts are committed to by EZKL's Poseidon, for polynomial commitments of
    circuits of different sizes cannot be compared. The rest is as in Halo2Inference. If the model's
    input is read by later slices too, or an earlier one makes an output, that must be committed.

    Raises InvalidInput for cuts that the model does not have, and as Halo2Inference does.
    """

    model: OnnxModel
    calibration: Any
    cuts: tuple[str, ...] | int = 2
    visibility: Mapping[str, str] = field(default_factory=dict)
    config: Halo2Config = field(default_factory=Halo2Config)
    version: ClassVar[str] = INFERENCE

    def __post_init__(self) -> None:
        if isinstance(self.config, Halo2Config) and not self.config.check_ranges:
            raise InvalidInput("config: slices need check_ranges: a cut is no place to trust")
        whole = Halo2Inference(self.model, self.calibration, self.visibility, self.config)
        object.__setattr__(self, "model", whole.model)
        object.__setattr__(self, "calibration", whole.samples)
        _ = self.slices

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The statements of the slices, in order."""
        models = cut_model(self.model, self.cuts)
        ways = self._ways(models)
        values: dict[str, npt.NDArray[Any]] = dict(self.calibration)
        found = []
        for model in models:
            samples = {name: values[name] for name in model.inputs}
            seen = {
                "input": _one(ways, model.inputs, "inputs"),
                "output": _one(ways, model.outputs, "outputs"),
                **{k: v for k, v in self.visibility.items() if k == "weights"},
            }
            inner = any(set(model.outputs) & set(other.inputs) for other in models)
            found.append(Slice(model, samples, seen, self.config, inner))
            values |= _run(model, samples)
        return tuple(found)

    def _ways(self, models: Sequence[OnnxModel]) -> dict[str, str]:
        """Return how each tensor that enters or leaves a slice is shown.

        Raises InvalidInput, naming the tensor, if two of its uses want different ways.
        """
        chosen = {"input": "committed", "output": "public", **self.visibility}
        chosen = {part: BOUNDARY if way == "hashed" else way for part, way in chosen.items()}
        made = {name for model in models for name in model.outputs}
        taken = [name for model in models for name in model.inputs]
        wanted: dict[str, set[str]] = {name: set() for name in (*made, *taken)}
        for name, ways in wanted.items():
            if name in self.model.inputs:
                ways.add(chosen["input"])
            if name in self.model.outputs:
                ways.add(chosen["output"])
            if (name in made and name in taken) or taken.count(name) > 1:
                ways.add(BOUNDARY)
            if len(ways) > 1:
                raise InvalidInput(
                    f"visibility: {name!r} crosses a cut, where it is shown as {BOUNDARY}, and"
                    f" is to be {' and '.join(sorted(ways - {BOUNDARY}))}; choose"
                    f" {BOUNDARY!r} for it, or cut elsewhere"
                )
        return {name: ways.pop() for name, ways in wanted.items()}


def _one(ways: Mapping[str, str], names: Collection[str], what: str) -> str:
    """Return the one way in which tensors are shown. Raises InvalidInput if there are two."""
    found = {ways[name] for name in names}
    if len(found) != 1:
        raise InvalidInput(
            f"visibility: the {what} {', '.join(sorted(names))} of one slice can only be shown in"
            f" one way, not {' and '.join(sorted(found))}; cut elsewhere"
        )
    return found.pop()


def _run(model: OnnxModel, samples: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Return a slice's outputs on samples of (n, *shape)."""
    count = len(next(iter(samples.values())))
    rows = [model.run({name: a[place] for name, a in samples.items()}) for place in range(count)]
    return {name: np.stack([row[name] for row in rows]) for name in model.outputs}


@dataclass(frozen=True)
class SlicedVerifyingKey(Document):
    """The verifying keys of all slices, in order."""

    FORMAT: ClassVar[str] = KEY_FORMAT
    PROOFS: ClassVar[str] = PROOF_FORMAT
    MAX_BYTES: ClassVar[int] = MAX_SLICES * Halo2VerifyingKey.MAX_BYTES
    WHAT: ClassVar[str] = "verifying key"

    keys: tuple[Halo2VerifyingKey, ...]

    @property
    def statement(self) -> str:
        """The statement's name and version."""
        return self.keys[0].statement

    @property
    def key_status(self) -> str:
        """A ceremony's if every slice's key is."""
        return CEREMONY if all(k.key_status == CEREMONY for k in self.keys) else DEVELOPMENT

    @cached_property
    def circuit_digest(self) -> bytes:
        """keccak256 over the slices' circuit digests."""
        return keccak256(_tagged("circuit", [key.circuit_digest for key in self.keys]))

    @cached_property
    def digest(self) -> bytes:
        """keccak256 over the slices' key digests."""
        return keccak256(_tagged("key", [key.digest for key in self.keys]))

    @cached_property
    def shown(self) -> tuple[tuple[Signal, ...], ...]:
        """For each slice, its signals as tensors of the whole model: named by the tensor."""
        return tuple(_renamed(key) for key in self.keys)

    @cached_property
    def inner(self) -> frozenset[str]:
        """The tensors that more than one slice shows."""
        names = [signal.name for signals in self.shown for signal in signals]
        return frozenset(name for name in names if names.count(name) > 1)

    def check(self) -> None:
        """Return None if the slices are one computation. Raises InvalidInput naming the tensor.

        Every slice after the first takes something from one before it, at the scale at which it
        left, and nothing is made twice or shown in the clear at a cut. What two slices know, both
        show: a slice that hid what it takes could take anything.
        """
        if not 1 <= len(self.keys) <= MAX_SLICES:
            raise InvalidInput(f"{self.WHAT}: expected 1 to {MAX_SLICES} slices")
        seen: dict[str, Signal] = {}
        made: set[str] = set()
        for place, (key, signals) in enumerate(zip(self.keys, self.shown, strict=True)):
            inputs = _inputs(key)
            if place and not made.intersection(inputs):
                raise InvalidInput(f"{self.WHAT}: slice {place} takes nothing from one before it")
            if twice := sorted(made.intersection(n for n, _ in key.description["outputs"])):
                raise InvalidInput(f"{self.WHAT}: two slices make {', '.join(twice)}")
            for signal in signals:
                before = seen.setdefault(signal.name, signal)
                if before != signal or (signal.name in self.inner and signal.kind == VALUES):
                    raise InvalidInput(
                        f"{self.WHAT}: slices show the tensor {signal.name!r} in different ways"
                    )
            shown = {signal.name for signal in signals}
            shared = made | {name for other in self.keys[:place] for name in _inputs(other)}
            hidden = [name for name in inputs if name in shared and name not in shown]
            if hidden:
                raise InvalidInput(f"{self.WHAT}: slice {place} hides {', '.join(hidden)}")
            made.update(name for name, _ in key.description["outputs"])

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        return {
            **names_to_json(self, self.digest),
            "slices": [key.to_json() for key in self.keys],
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        named = ("format", "statement", "circuit_digest", "vk_digest", "key_status")
        expect_fields(value, (*named, "slices"), where)
        key = cls(
            tuple(
                Halo2VerifyingKey.from_json(part, f"{where}.slices[{place}]")
                for place, part in enumerate(_parts(value["slices"], where))
            )
        )
        key.check()
        written = key.to_json()
        for name in named[1:]:
            if value[name] != written[name]:
                raise InvalidInput(f"{where}.{name}: not that of these slices")
        return key


def _tagged(what: str, digests: Sequence[bytes]) -> bytes:
    return keccak256(f"{PROOF_FORMAT}/{what}".encode()) + word(len(digests)) + b"".join(digests)


def _parts(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SLICES:
        raise InvalidInput(f"{where}.slices: expected a list of 1 to {MAX_SLICES} slices")
    return value


def _inputs(key: Halo2VerifyingKey) -> list[str]:
    return [name for name, _ in key.description["inputs"]]


def _tensor_of(key: Halo2VerifyingKey) -> dict[str, str]:
    """Return the tensor that each signal of a slice shows; weights have none."""
    found: dict[str, str] = {}
    for part in ("input", "output"):
        listed = key.description[f"{part}s"]
        names = tensor_names(part, listed, key.description.get("names", {}))
        found |= dict(zip(names, (name for name, _ in listed), strict=True))
    return found


def _renamed(key: Halo2VerifyingKey) -> tuple[Signal, ...]:
    tensors = _tensor_of(key)
    return tuple(
        replace(signal, name=tensors[signal.name])
        for signal in key.signals
        if signal.name in tensors
    )


@dataclass(frozen=True)
class SlicedProof(Document):
    """The proofs of all slices, in order; well formed, not yet verified."""

    FORMAT: ClassVar[str] = PROOF_FORMAT
    MAX_BYTES: ClassVar[int] = Halo2Proof.MAX_BYTES
    WHAT: ClassVar[str] = "proof"

    statement: str
    circuit_digest: bytes
    vk_digest: bytes
    key_status: str
    proofs: tuple[Halo2Proof, ...]

    @property
    def public(self) -> dict[str, tuple[int, ...]]:
        """Every public value, as `SLICE.SIGNAL`: slice 0's input is "0.input"."""
        return {
            f"{place}.{name}": values
            for place, proof in enumerate(self.proofs)
            for name, values in proof.public.items()
        }

    def decoded(self, key: SlicedVerifyingKey) -> dict[str, npt.NDArray[np.float64]]:
        """Return the public tensors in the model's units, by their names in the model."""
        return {
            _tensor_of(part).get(name, name): array
            for part, proof in zip(key.keys, self.proofs, strict=True)
            for name, array in proof.decoded(part).items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        return {
            **names_to_json(self, self.vk_digest),
            "slices": [proof.to_json() for proof in self.proofs],
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        expect_fields(
            value,
            ("format", "statement", "circuit_digest", "vk_digest", "key_status", "slices"),
            where,
        )
        return cls(
            *names_from_json(value, where),
            tuple(
                Halo2Proof.from_json(part, f"{where}.slices[{place}]")
                for place, part in enumerate(_parts(value["slices"], where))
            ),
        )


def join(proofs: Sequence[Halo2Proof], key: SlicedVerifyingKey) -> SlicedProof:
    """Return the proofs of the slices as one, in the order of the key.

    Raises VerificationError if they do not fit together; each proof itself is left to `verify`.
    """
    whole = SlicedProof(
        key.statement, key.circuit_digest, key.digest, key.key_status, tuple(proofs)
    )
    _check_links(whole, key)
    return whole


def verify_slices(
    proof: SlicedProof,
    key: SlicedVerifyingKey,
    *,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> None:
    """Return None if every slice's proof holds and the slices are one computation.

    Raises VerificationError naming the slice or the tensor; ToolError as `verify` does.
    """
    report = progress or no_progress
    key.check()
    check_trust(key.digest, key.keys, production, trusted_digests)
    check_names(proof, key)
    _check_links(proof, key)
    for place, (one, part) in enumerate(zip(proof.proofs, key.keys, strict=True)):
        report("verify the slices", place / len(key.keys))
        try:
            verify(one, part, limits=limits)
        except VerificationError as error:
            raise VerificationError(f"slice {place}: {error}") from error
    report("verify the slices", 1.0)


def _check_links(proof: SlicedProof, key: SlicedVerifyingKey) -> None:
    """Hold the commitments of each tensor against each other. Raises VerificationError."""
    if len(proof.proofs) != len(key.keys):
        raise VerificationError(
            f"the proof has {len(proof.proofs)} slices, the verifying key {len(key.keys)}"
        )
    seen: dict[str, tuple[int, tuple[int, ...]]] = {}
    for place, (one, part) in enumerate(zip(proof.proofs, key.keys, strict=True)):
        for signal, tensor in _tensor_of(part).items():
            if tensor not in key.inner:
                continue
            if signal not in one.public:
                raise VerificationError(f"slice {place}: the proof does not show {signal}")
            first, values = seen.setdefault(tensor, (place, one.public[signal]))
            if values != one.public[signal]:
                raise VerificationError(
                    f"slices {first} and {place} show different values of the tensor {tensor!r}"
                )


def is_sliced(path: Path | str) -> bool:
    """Return whether a key's or proof's file says that it is of slices."""
    try:
        with as_path(path).open("rb") as file:
            start = file.read(256)
    except OSError:
        return False
    return any(f'"{name}"'.encode() in start for name in (PROOF_FORMAT, KEY_FORMAT))
