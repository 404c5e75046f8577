"""An evaluation set: a dataset that its owner commits to, and of which a beacon draws samples.

    evaluation_set = hash_elements("zkai/evaluation-set/1", [root, size, schema, owner])

`owner` is a user's public name. The set is a tree as in dataset.py. The leaves that round R of a
beacon draws of it are

    draw([beacon_R, R, evaluation_set], samples / rows_per_leaf, leaves)

the same for everybody who is measured at that round, so that nobody gains by being measured under
several names. The owner hands over the drawn rows with their salts and paths (`Samples`) once the
round is public, and never more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.draw import draw
from zkai.circuit.gadgets.poseidon import hash_elements, hash_elements_gadget
from zkai.circuit.statements.base import check_names, field_element, integer
from zkai.circuit.statements.dataset import MAX_BYTES, Dataset
from zkai.circuit.statements.fork_terms import NUMBERS
from zkai.circuit.tensor import Field, Ints, concat_fields
from zkai.encoding import FIELD_MODULUS, load_json, parse_decimal, read_capped, write_atomic
from zkai.errors import InvalidInput

SET = "zkai/evaluation-set/1"
FORMAT = "zkai.evaluation-set/1"
SAMPLES_FORMAT = "zkai.samples/1"

PARTS = ("root", "size", "schema", "owner")
"""What the set's commitment hashes, in order."""


@dataclass(frozen=True)
class EvaluationSet:
    """A committed evaluation set: everything about it that is public.

    Raises InvalidInput, naming the part, for values out of range.
    """

    root: int
    size: int
    schema: int
    owner: int

    def __post_init__(self) -> None:
        for name in PARTS:
            check_part(FORMAT, name, getattr(self, name))

    @staticmethod
    def of(dataset: Dataset, owner: int) -> EvaluationSet:
        """Return the set that an owner's dataset makes."""
        return EvaluationSet(dataset.root, dataset.size, dataset.schema.digest, owner)

    @property
    def commitment(self) -> int:
        """The public signal `evaluation_set`."""
        return set_commitment({name: getattr(self, name) for name in PARTS})

    def seed(self, beacon: int, round_number: int) -> list[int]:
        """Return what draws the samples of a round."""
        return [beacon, round_number, self.commitment]

    def to_json(self) -> dict[str, Any]:
        """Return the set as JSON values."""
        values = {name: getattr(self, name) for name in PARTS}
        return {"format": FORMAT} | {n: v if n == "size" else str(v) for n, v in values.items()}

    def write(self, path: Path | str) -> None:
        """Write the set as JSON."""
        write_atomic(path, json.dumps(self.to_json(), indent=1).encode("ascii") + b"\n")

    @staticmethod
    def from_json(value: Any, where: str) -> EvaluationSet:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field, for anything else."""
        check_names(where, value, ["format", *PARTS])
        if value["format"] != FORMAT:
            raise InvalidInput(f"{where}: format {value['format']!r}, expected {FORMAT!r}")
        parts = {
            n: parse_decimal(value[n], f"{where}: {n}", FIELD_MODULUS) for n in PARTS if n != "size"
        }
        return EvaluationSet(**parts, size=check_part(where, "size", value["size"]))

    @staticmethod
    def from_path(path: Path | str) -> EvaluationSet:
        """Read a set's file. Raises InvalidInput, naming file and field."""
        data = load_json(read_capped(path, 1 << 16), str(path))
        return EvaluationSet.from_json(data, str(path))


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows that a round draws, and what opens them: from the set's owner to the prover."""

    x: Ints = field(repr=False)
    labels: Ints = field(repr=False)
    leaf_salts: list[int] = field(repr=False)
    paths: list[int] = field(repr=False)

    @staticmethod
    def drawn(
        dataset: Dataset, evaluation_set: EvaluationSet, beacon: int, round_number: int, rows: int
    ) -> Samples:
        """Return the samples of a round.

        Raises InvalidInput if the set is of another dataset, or leaves do not divide `rows`.
        """
        if EvaluationSet.of(dataset, evaluation_set.owner) != evaluation_set:
            raise InvalidInput("evaluation set: of another dataset than the one given")
        count = dataset.schema.shape.leaves("samples", rows)
        leaves = draw(evaluation_set.seed(beacon, round_number), count, dataset.n_leaves)
        return Samples(**dataset.open(leaves))

    def values(self) -> dict[str, Any]:
        """Return the samples by the names of an evaluation's values."""
        return {
            "x": self.x,
            "labels": self.labels,
            "leaf_salts": self.leaf_salts,
            "paths": self.paths,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the samples as JSON values."""
        return {
            "format": SAMPLES_FORMAT,
            "x": self.x.tolist(),
            "labels": self.labels.tolist(),
            "leaf_salts": [str(v) for v in self.leaf_salts],
            "paths": [str(v) for v in self.paths],
        }

    @staticmethod
    def from_json(value: Any, where: str) -> Samples:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field, for anything else."""
        check_names(where, value, ["format", "x", "labels", "leaf_salts", "paths"])
        if value["format"] != SAMPLES_FORMAT:
            raise InvalidInput(f"{where}: format {value['format']!r}, expected {SAMPLES_FORMAT!r}")
        return Samples(
            _integers(f"{where}: x", value["x"]),
            _integers(f"{where}: labels", value["labels"]),
            _elements(f"{where}: leaf_salts", value["leaf_salts"]),
            _elements(f"{where}: paths", value["paths"]),
        )

    def write(self, path: Path | str) -> None:
        """Write the samples, readable by their owner alone."""
        write_atomic(path, json.dumps(self.to_json()).encode("ascii") + b"\n", mode=0o600)

    @staticmethod
    def from_path(path: Path | str) -> Samples:
        """Read a file of samples. Raises InvalidInput, naming file and field."""
        return Samples.from_json(load_json(read_capped(path, MAX_BYTES), str(path)), str(path))


def _integers(where: str, value: Any) -> Ints:
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{where}: expected lists of integers of equal lengths") from error
    if array.dtype != np.int64:
        raise InvalidInput(f"{where}: expected lists of 64-bit integers")
    return array


def _elements(where: str, value: Any) -> list[int]:
    if not isinstance(value, list):
        raise InvalidInput(f"{where}: expected a list of decimal strings")
    return [parse_decimal(v, where, FIELD_MODULUS) for v in value]


def check_part(where: str, name: str, value: Any) -> int:
    """Return a part's value. Raises InvalidInput, naming it, if it is out of its range."""
    if name == "size":
        return integer(where, name, value, *NUMBERS["size"])
    return field_element(where, name, value)


def set_commitment(parts: Mapping[str, int]) -> int:
    """Return the commitment to a set with these parts."""
    return hash_elements(SET, [parts[name] for name in PARTS])


def set_gadget(builder: Builder, parts: Mapping[str, Field]) -> Field:
    """Return a wire constrained to `set_commitment`."""
    return hash_elements_gadget(builder, SET, concat_fields([parts[name] for name in PARTS]))
