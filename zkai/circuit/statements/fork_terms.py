"""A fork's terms: what its user fixes before training, and the fork's number that follows.

    fork = hash_elements("zkai/fork/1", [nonce, dataset, size, schema, beacon source, first round,
                                         rounds per step, max_skips])

A fork with terms is named by them, and its number is inside every state, from genesis on. So none
of them can change on the way: the dataset (root, rows, schema), which beacon's rounds order its
batches (step s takes round `first round + rounds per step * s`), and how many steps may be skipped.

Terms hide nothing: a dataset's leaves are salted. Publish them with the genesis proof, **before the
first round exists**: whoever knows a beacon's value can look for terms whose batches it likes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.poseidon import hash_elements, hash_elements_gadget
from zkai.circuit.statements.base import STEP_BITS, check_names, field_element, integer
from zkai.circuit.statements.commitments import new_salt
from zkai.circuit.tensor import Field, concat_fields
from zkai.encoding import FIELD_MODULUS, load_json, parse_decimal, read_capped, write_atomic
from zkai.errors import InvalidInput

FORK = "zkai/fork/1"
FORMAT = "zkai.fork-terms/1"
MAX_BYTES = 1 << 16

TERMS = (
    "nonce", "dataset", "size", "schema", "beacon_source", "first_round", "rounds_per_step",
    "max_skips",
)  # fmt: skip
"""What the fork's number hashes, in order."""

ROUND_BITS = 40
"""A first round is below 2^40."""

STRIDE_BITS = 16
"""There are 1 to 2^16 - 1 rounds per step."""

NUMBERS = {
    "size": (1, 1 << 34),
    "first_round": (0, (1 << ROUND_BITS) - 1),
    "rounds_per_step": (1, (1 << STRIDE_BITS) - 1),
    "max_skips": (0, (1 << STEP_BITS) - 1),
}
"""The terms that are integers, and their least and largest values; the others are elements."""


@dataclass(frozen=True)
class ForkTerms:
    """What a fork's user fixes before training (see the module).

    `dataset` is the root over `size` labelled rows of the kind `schema`; `beacon_source` is the
    beacon's id; `nonce` tells two forks with equal terms apart.

    Raises InvalidInput, naming the term, for values out of range.
    """

    dataset: int
    size: int
    schema: int
    beacon_source: int
    first_round: int
    rounds_per_step: int = 1
    max_skips: int = 0
    nonce: int = field(default_factory=new_salt)

    def __post_init__(self) -> None:
        for name in TERMS:
            check_term(FORMAT, name, getattr(self, name))

    @property
    def fork(self) -> int:
        """The fork's number."""
        return fork_number({name: getattr(self, name) for name in TERMS})

    def round_of(self, step: int) -> int:
        """Return the beacon's round that orders the batch of the step from number `step` on."""
        return self.first_round + self.rounds_per_step * step

    def to_json(self) -> dict[str, Any]:
        """Return the terms as JSON values."""
        values = {n: getattr(self, n) for n in TERMS}
        return {"format": FORMAT} | {n: v if n in NUMBERS else str(v) for n, v in values.items()}

    def write(self, path: Path | str) -> None:
        """Write the terms as JSON."""
        write_atomic(path, json.dumps(self.to_json(), indent=1).encode("ascii") + b"\n")

    @staticmethod
    def from_json(value: Any, where: str) -> ForkTerms:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field, for anything else."""
        check_names(where, value, ["format", *TERMS])
        if value["format"] != FORMAT:
            raise InvalidInput(f"{where}: format {value['format']!r}, expected {FORMAT!r}")
        terms = {}
        for f in fields(ForkTerms):
            given = value[f.name]
            if f.name not in NUMBERS:
                given = parse_decimal(given, f"{where}: {f.name}", FIELD_MODULUS)
            terms[f.name] = check_term(where, f.name, given)
        return ForkTerms(**terms)

    @staticmethod
    def from_path(path: Path | str) -> ForkTerms:
        """Read a file of terms. Raises InvalidInput, naming file and field."""
        return ForkTerms.from_json(load_json(read_capped(path, MAX_BYTES), str(path)), str(path))


def check_term(where: str, name: str, value: Any) -> int:
    """Return a term's value. Raises InvalidInput, naming it, if it is out of its range."""
    if name in NUMBERS:
        return integer(where, name, value, *NUMBERS[name])
    return field_element(where, name, value)


def fork_number(terms: Mapping[str, int]) -> int:
    """Return the number of the fork with these terms."""
    return hash_elements(FORK, [terms[name] for name in TERMS])


def fork_gadget(builder: Builder, terms: Mapping[str, Field]) -> Field:
    """Return a wire constrained to `fork_number`."""
    return hash_elements_gadget(builder, FORK, concat_fields([terms[name] for name in TERMS]))
