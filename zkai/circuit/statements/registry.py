"""The statements by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import PLAIN, Statement, check_names
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.encryption import SCHEME, Encryption
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.linked import POSEIDON
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import parse_decimal
from zkai.errors import InvalidInput
from zkai.model.heads import HEADS, UNSAID, field_names

STATEMENTS: dict[str, type[Statement]] = {
    kind.version: kind
    for kind in (
        TrainingStep,
        SkipStep,
        Genesis,
        ApplyAggregate,
        EncryptedUpdate,
        Inference,
        Evaluation,
        Query,
    )
}


def from_description(description: Mapping[str, Any]) -> Statement:
    """Return the statement that a `describe()` is of: its inverse for statements about heads.

    Raises InvalidInput for unknown statements and keys, and for an inference, whose description
    names its constants by their digest only: make it from its graph.
    """
    version = description.get("statement") if isinstance(description, Mapping) else None
    if version == Inference.version:
        raise InvalidInput(f"{version}: a description lacks the model; make it from its graph")
    if version == Query.version:
        return _query(description)
    keys = {
        TrainingStep.version: ("batch", "steps", "loss"),
        Genesis.version: (),
        ApplyAggregate.version: (),
        SkipStep.version: (),
        Evaluation.version: ("samples", "dataset"),
        EncryptedUpdate.version: ("encryption", "update_bits", "format"),
    }
    if not isinstance(version, str) or version not in keys:
        raise InvalidInput(f"unknown statement {version!r}; known: {', '.join(STATEMENTS)}")
    optional = ["format", *(["dataset"] if version == TrainingStep.version else [])]
    optional.append("weights_commitment")
    optional += ["max_weight"] if version == EncryptedUpdate.version else []
    check_names(version, description, ["statement", "head", *keys[version]], optional)
    head, proof_format = _head(version, description["head"]), description.get("format", PLAIN)
    kind = description.get("weights_commitment", POSEIDON)
    if version == EncryptedUpdate.version:
        if proof_format != EncryptedUpdate.format:
            raise InvalidInput(f"{version}: format must be {EncryptedUpdate.format!r}")
        chosen = _encryption(description["encryption"])
        weight = description.get("max_weight", 1)
        return EncryptedUpdate(head, chosen, description["update_bits"], kind, weight)
    if version == Genesis.version:
        return Genesis(head, proof_format, kind)
    if version == Evaluation.version:
        shape = _dataset(description["dataset"])
        return Evaluation(head, description["samples"], shape, proof_format, kind)
    if version == SkipStep.version:
        return SkipStep(head, proof_format, kind)
    if version == ApplyAggregate.version:
        return ApplyAggregate(head, proof_format, kind)
    batch, steps = description["batch"], description["steps"]
    dataset = _dataset(description["dataset"]) if "dataset" in description else None
    return TrainingStep(
        head,
        batch,
        steps,
        loss=description["loss"],
        format=proof_format,
        dataset=dataset,
        weights_commitment=kind,
    )


def _query(description: Mapping[str, Any]) -> Query:
    names = ["statement", "shape", "width", "scale_bits"]
    check_names(Query.version, description, names, ["format", "encryption"])
    shape = description["shape"]
    if not isinstance(shape, list):
        raise InvalidInput(f"{Query.version}: shape must be a list of lengths")
    chosen = description.get("format", PLAIN)
    given = description.get("encryption")
    encryption = None if given is None else _encryption(given)
    return Query(tuple(shape), description["width"], description["scale_bits"], chosen, encryption)


def _encryption(description: Any) -> Encryption:
    names = ("degree", "primes", "values_per_coefficient", "value_bits", "error_bound")
    check_names("encryption", description, ["scheme", *names])
    if description["scheme"] != SCHEME:
        raise InvalidInput(f"encryption: unknown scheme; known: {SCHEME}")
    primes = description["primes"]
    if not isinstance(primes, list):
        raise InvalidInput("encryption: primes must be a list of decimal strings")
    found = tuple(parse_decimal(p, "encryption: primes", 1 << 64) for p in primes)
    return Encryption(**{n: description[n] for n in names} | {"primes": found})


def _dataset(description: Any) -> DatasetShape:
    check_names("dataset", description, ["depth", "rows_per_leaf"])
    return DatasetShape(description["depth"], description["rows_per_leaf"])


def _head(version: str, description: Any) -> Any:
    where = f"{version}: head"
    if not isinstance(description, Mapping):
        raise InvalidInput(f"{where}: expected a mapping of names to values")
    name = description.get("name")
    if not isinstance(name, str) or name not in HEADS:
        raise InvalidInput(f"{where}: unknown kind {name!r}; known: {', '.join(HEADS)}")
    known = field_names(HEADS[name])
    optional = [n for n in known if n in UNSAID]
    check_names(where, description, ["name", *(n for n in known if n not in UNSAID)], optional)
    return HEADS[name](**{n: description[n] for n in known if n in description})
