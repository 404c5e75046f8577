"""Proofs of Halo2 circuits: their file format, and how one is made and verified.

A file holds public values and the proof's bytes and nothing else that EZKL keeps in its own: the
instances that are verified are made from those values.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, parse_json, read_capped
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.calibration import COMPILED, SETTINGS, WITNESS, compile_model, witness
from zkai.halo2.keys import (
    PROOF_FORMAT,
    SRS_FILE,
    Halo2ProvingKey,
    Halo2VerifyingKey,
    check_trust,
)
from zkai.halo2.labels import check_tag
from zkai.halo2.process import Fault, Limits, Worker
from zkai.halo2.settings import felt, signed
from zkai.halo2.srs import verifier_string
from zkai.halo2.statement import (
    POINT,
    VALUES,
    Halo2Statement,
    Signal,
    decode,
    encode,
    tensor_names,
)
from zkai.model.fixed_point import IntArray
from zkai.proof.jsonform import (
    Document,
    expect_fields,
    parse_hex,
    values_from_json,
    values_to_json,
)
from zkai.proof.keys import names_from_json, names_to_json
from zkai.proof.scalars import Progress, no_progress

MAX_FILE_BYTES = 64 << 20
MAX_PROOF_BYTES = 1 << 20
VERIFY_LIMITS = Limits(memory_bytes=8 << 30, seconds=300.0)
_KEY, _PROVING, _SRS, _PROOF = "vk.key", "pk.key", "kzg.srs", "proof.json"
_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public", "proof",
)  # fmt: skip


@dataclass(frozen=True)
class Halo2Proof(Document):
    """A proof with the public values it is about; well formed, not yet verified.

    `public` maps each signal's name to its values in order: field elements, or for a polynomial
    commitment the point's two coordinates, which stand at the start of `proof` too. Labels of the
    key, where it has some, stand there too: what the proof is for (labels.py).
    """

    FORMAT: ClassVar[str] = PROOF_FORMAT
    MAX_BYTES: ClassVar[int] = MAX_FILE_BYTES
    WHAT: ClassVar[str] = "proof"

    statement: str
    circuit_digest: bytes
    vk_digest: bytes
    key_status: str
    public: Mapping[str, tuple[int, ...]]
    proof: bytes = field(repr=False)

    def instances(self, key: Halo2VerifyingKey) -> list[int]:
        """Return the public values that are field elements, in the circuit's order.

        Raises VerificationError if names, sizes or ranges are not those of the key, a commitment
        is not the one in the proof, or the tag not that of the labels.
        """
        if set(self.public) != {*(signal.name for signal in key.signals), *key.labels}:
            raise VerificationError("the proof's public signals are not those of the key")
        if key.labels:
            check_tag(self.public, key.points)
        found: list[int] = []
        points = 0
        for signal in key.signals:
            values = self.public[signal.name]
            if len(values) != signal.size:
                raise VerificationError(
                    f"public signal {signal.name} has {len(values)} values, expected {signal.size}"
                )
            limit = BASE_MODULUS if signal.kind == POINT else FIELD_MODULUS
            if any(not 0 <= value < limit for value in values):
                raise VerificationError(f"public signal {signal.name}: a value is not below r")
            if signal.kind == POINT:
                if self.point(points) != values:
                    raise VerificationError(
                        f"public signal {signal.name} is not the commitment in the proof"
                    )
                points += 1
            else:
                found.extend(values)
        return found

    def point(self, place: int) -> tuple[int, int]:
        """Return the coordinates of the proof's commitment `place`.

        Raises VerificationError if the proof is too short.
        """
        data = self.proof[64 * place : 64 * place + 64]
        if len(data) != 64:
            raise VerificationError("the proof is too short for its commitments")
        return int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")

    def decoded(self, key: Halo2VerifyingKey) -> dict[str, npt.NDArray[np.float64]]:
        """Return the public tensors in the model's units, by signal; commitments are left out."""
        return {
            signal.name: decode(signal, self.public[signal.name])
            for signal in key.signals
            if signal.kind == VALUES
        }

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON values; a signal of one value is text, else a list."""
        return {
            **names_to_json(self, self.vk_digest),
            "public": values_to_json(self.public),
            "proof": {"bytes": self.proof.hex()},
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form. Ranges and the proof itself are for `verify` to check.

        Raises InvalidInput, naming the field.
        """
        expect_fields(value, _FIELDS, where)
        expect_fields(value["proof"], ("bytes",), f"{where}.proof")
        return cls(
            *names_from_json(value, where),
            values_from_json(value["public"], f"{where}.public"),
            parse_hex(value["proof"]["bytes"], f"{where}.proof.bytes", 1, MAX_PROOF_BYTES),
        )


def ezkl_json(instances: list[int], proof: bytes) -> str:
    """Return EZKL's own file of a proof: the two parts that it verifies, and empty others."""
    rows = [value.to_bytes(32, "little").hex() for value in instances]
    return json.dumps({"instances": [rows], "proof": list(proof)})


def prove(
    statement: Halo2Statement,
    key: Halo2ProvingKey,
    values: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Halo2Proof:
    """Return a proof of `statement` on private `values`, verified before it is returned.

    Raises InvalidInput, naming the value, for values that the model cannot take or a key of another
    circuit; VerificationError if the proof does not hold; ToolError as `Worker.call` does.
    """
    return prove_opened(statement, key, values, limits=limits, progress=progress)[0]


def prove_opened(
    statement: Halo2Statement,
    key: Halo2ProvingKey,
    values: Mapping[str, Any],
    *,
    labels: Mapping[str, int] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> tuple[Halo2Proof, dict[str, IntArray]]:
    """Return `prove`'s proof, and the private integers of every input and output by signal.

    `labels` are the values of the key's labels.

    Raises as `prove` does.
    """
    verifying = key.verifying
    feeds = _checked(statement, key, values)
    with _workplace(statement, key, limits, progress) as worker:
        made = witness(worker, statement.model, feeds, vk_path=_KEY, srs_path=_SRS)
        try:
            worker.call(
                "prove",
                witness=WITNESS,
                model=COMPILED,
                pk_path=_PROVING,
                proof_path=_PROOF,
                srs_path=_SRS,
            )
        except Fault as fault:
            raise ToolError(f"EZKL cannot prove it: {fault.text}") from fault
        proof = read_proof(worker.folder / _PROOF, verifying, labels or {})
    _check_inputs(proof, verifying.signals, feeds)
    verify(proof, verifying, progress=progress)
    return proof, _tensors(made, verifying.description)


def compute(
    statement: Halo2Statement,
    key: Halo2ProvingKey,
    values: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> dict[str, IntArray]:
    """Return the private integers that `prove_opened` would prove, by signal, without a proof.

    Raises InvalidInput as `prove` does.
    """
    feeds = _checked(statement, key, values)
    with _workplace(statement, key, limits, progress) as worker:
        made = witness(worker, statement.model, feeds, vk_path=_KEY, srs_path=_SRS)
    return _tensors(made, key.verifying.description)


def _checked(
    statement: Halo2Statement, key: Halo2ProvingKey, values: Mapping[str, Any]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the model's inputs. Raises InvalidInput for another circuit's key, or bad values."""
    if dict(key.verifying.description) != statement.describe():
        raise InvalidInput(
            f"{key.path}: a key of {key.statement} for another model or other choices; run `setup`"
            f" again for this {statement.version}"
        )
    feeds = statement.feeds(values)
    key.check_srs()
    return feeds


@contextmanager
def _workplace(
    statement: Halo2Statement,
    key: Halo2ProvingKey,
    limits: Limits | None,
    progress: Progress | None,
) -> Iterator[Worker]:
    """Give a process in a folder of its own, which holds what proving under `key` reads.

    The circuit is compiled of the statement's model: whoever made the key's folder could have put
    another there, which shows what this one hides.
    """
    with tempfile.TemporaryDirectory(prefix="zkai-halo2-") as name:
        folder = Path(name)
        for source, target in ((key.path, _PROVING), (key.folder / SRS_FILE, _SRS)):
            (folder / target).symlink_to(source.resolve())
        (folder / _KEY).write_bytes(key.verifying.key)
        with Worker(folder, limits, progress) as worker:
            compile_model(worker, statement.model, key.verifying.settings)
            yield worker


def _tensors(made: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, IntArray]:
    """Return the integers of a witness's inputs and outputs, in their shapes."""
    found: dict[str, IntArray] = {}
    for part in ("input", "output"):
        listed = description[f"{part}s"]
        names = tensor_names(part, listed, description.get("names", {}))
        for name, (_, shape), texts in zip(names, listed, made[f"{part}s"], strict=True):
            integers = [signed(felt(text)) for text in texts]
            found[name] = np.array(integers, np.int64).reshape(shape)
    return found


def read_proof(path: Path, key: Halo2VerifyingKey, labels: Mapping[str, int]) -> Halo2Proof:
    """Return what EZKL wrote, as a proof of ours with its labels."""
    found = parse_json(read_capped(path, MAX_FILE_BYTES))
    instances = [felt(text) for column in found["instances"] for text in column]
    data = bytes(found["proof"])
    public: dict[str, tuple[int, ...]] = {}
    place = points = 0
    for signal in key.signals:
        if signal.kind == POINT:
            piece = data[64 * points : 64 * points + 64]
            public[signal.name] = (
                int.from_bytes(piece[:32], "big"),
                int.from_bytes(piece[32:], "big"),
            )
            points += 1
        else:
            public[signal.name] = tuple(instances[place : place + signal.size])
            place += signal.size
    if place != len(instances):
        raise ToolError(f"EZKL's proof has {len(instances)} instances, expected {place}")
    public |= {name: (value,) for name, value in labels.items()}
    return Halo2Proof(
        key.statement, key.circuit_digest, key.digest, key.key_status, public, data
    )  # fmt: skip


def _check_inputs(
    proof: Halo2Proof,
    signals: tuple[Signal, ...],
    feeds: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    """Hold the public inputs against the integers of the values that were given."""
    for name, array in feeds.items():
        for signal in signals:
            if signal.name not in ("input", f"input.{name}") or signal.kind != VALUES:
                continue
            if proof.public[signal.name] != encode(signal, array):
                raise VerificationError(
                    f"the proof's public signal {signal.name} is not the input that was given"
                )


def verify(
    proof: Halo2Proof,
    key: Halo2VerifyingKey,
    *,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> None:
    """Return None if `proof` holds under `key`.

    EZKL verifies the public values and the proof's bytes, and must refuse them without the last
    byte: it would take bytes after the proof's end.

    Raises VerificationError with the reason; ToolError as `Worker.call` does.
    """
    check_names(proof, key)
    check_trust(key.digest, (key,), production, trusted_digests)
    instances = proof.instances(key)
    (progress or no_progress)("verify", 0.0)
    with tempfile.TemporaryDirectory(prefix="zkai-halo2-") as name:
        folder = Path(name)
        (folder / SETTINGS).write_text(key.settings.text)
        (folder / _KEY).write_bytes(key.key)
        (folder / _SRS).write_bytes(verifier_string(key.tau_g2))
        with Worker(folder, limits or VERIFY_LIMITS, progress) as worker:
            if (reason := _refused(worker, instances, proof.proof)) is not None:
                raise VerificationError(f"the proof does not hold: {reason}")
            if _refused(worker, instances, proof.proof[:-1]) is None:
                raise VerificationError("the proof has bytes after its end")
    (progress or no_progress)("verify", 1.0)


class _Named(Protocol):
    """What a proof and its key both say of themselves."""

    @property
    def statement(self) -> str: ...
    @property
    def circuit_digest(self) -> bytes: ...
    @property
    def key_status(self) -> str: ...


class _NamedProof(_Named, Protocol):
    @property
    def vk_digest(self) -> bytes: ...


class _NamedKey(_Named, Protocol):
    @property
    def digest(self) -> bytes: ...


def check_names(proof: _NamedProof, key: _NamedKey) -> None:
    """Return None if the proof says that it is of this key. Raises VerificationError."""
    if proof.statement != key.statement:
        raise VerificationError(f"the proof is of {proof.statement}, the key of {key.statement}")
    if proof.circuit_digest != key.circuit_digest:
        raise VerificationError("the proof is of another circuit than the verifying key")
    if proof.vk_digest != key.digest:
        raise VerificationError("the proof names another verifying key")
    if proof.key_status != key.key_status:
        raise VerificationError("the proof's key status is not the key's")


def _refused(worker: Worker, instances: list[int], proof: bytes) -> str | None:
    """Return why EZKL refuses a proof, None if it holds."""
    (worker.folder / _PROOF).write_text(ezkl_json(instances, proof))
    try:
        found = worker.call(
            "verify",
            proof_path=_PROOF,
            settings_path=SETTINGS,
            vk_path=_KEY,
            srs_path=_SRS,
            reduced_srs=True,
        )
    except Fault as fault:
        return fault.text
    return None if found is True else "EZKL says that it does not"
