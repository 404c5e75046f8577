"""A user's dataset as a Merkle tree, natively and as constraints.

A leaf is `rows_per_leaf` labelled rows of small integers with a salt of their own:

    leaf   = [salt_i, pack(x of its rows), pack(labels of its rows)]
    salt_i = hash_elements("zkai/leaf-salt/1", [salt, i])

Each leaf's inputs and labels are packed apart from other leaves'. A path shows the hashes of seven
neighbours: without the salts, rows of little entropy could be guessed from them. `Schema` says what
the packed integers are; its digest is committed beside the root, and so is the number of rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.draw import draw
from zkai.circuit.gadgets.merkle import (
    MerkleTree,
    membership_gadget,
    merkle_tree,
    path_length,
)
from zkai.circuit.gadgets.packing import integers_per_element, pack, pack_gadget
from zkai.circuit.gadgets.poseidon import hash_many
from zkai.circuit.gadgets.range import signed_bound
from zkai.circuit.statements.base import (
    check_names,
    digest_of,
    field_element,
    int_tensor,
    integer,
)
from zkai.circuit.statements.commitments import LABEL_BITS, new_salt
from zkai.circuit.tensor import Field, Ints, Tensor, as_tensor, concat
from zkai.encoding import (
    FIELD_MODULUS,
    Limbs,
    as_path,
    from_limbs,
    load_json,
    parse_decimal,
    read_capped,
    to_limbs,
    write_atomic,
)
from zkai.errors import InvalidInput
from zkai.model.heads import MAX_CLASSES, Head

FORMAT = "zkai.dataset/1"
MAX_BYTES = 1 << 31

LEAF_SALT = "zkai/leaf-salt/1"

MAX_DEPTH = 24
"""A dataset has at most 2^24 leaves."""

MAX_ROWS_PER_LEAF = 1 << 10
MAX_VALUES = 1 << 31


@dataclass(frozen=True)
class DatasetShape:
    """The static shape of a dataset's tree: up to 2^depth leaves of `rows_per_leaf` rows.

    A batch draws whole leaves: larger leaves make membership cheaper and batches less mixed.

    Raises InvalidInput for sizes out of range.
    """

    depth: int
    rows_per_leaf: int = 1

    def __post_init__(self) -> None:
        integer("dataset", "depth", self.depth, 1, MAX_DEPTH)
        integer("dataset", "rows_per_leaf", self.rows_per_leaf, 1, MAX_ROWS_PER_LEAF)

    @staticmethod
    def for_rows(rows: int, rows_per_leaf: int = 1) -> DatasetShape:
        """Return the smallest shape that holds `rows` rows.

        Raises InvalidInput unless leaves divide them evenly.
        """
        _check_rows(rows, rows_per_leaf)
        return DatasetShape(max((rows // rows_per_leaf - 1).bit_length(), 1), rows_per_leaf)

    @property
    def path_length(self) -> int:
        """The field elements of one leaf's path."""
        return path_length(self.depth)

    def schema(self, head: Head) -> Schema:
        """Return the schema of a dataset of this shape for a head."""
        return Schema(
            head.features, head.classes, head.input_width, head.input_scale_bits,
            self.rows_per_leaf, self.depth,
        )  # fmt: skip

    def leaves(self, where: str, rows: int) -> int:
        """Return how many leaves make up `rows` rows.

        Raises InvalidInput unless they divide them evenly.
        """
        if rows % self.rows_per_leaf:
            raise InvalidInput(
                f"{where}: {rows} rows are no whole number of leaves of {self.rows_per_leaf} rows"
            )
        return rows // self.rows_per_leaf


def check_shape(where: str, shape: object) -> None:
    """Return None for a dataset's shape. Raises InvalidInput naming the type of anything else."""
    if not isinstance(shape, DatasetShape):
        kind = type(shape).__name__
        raise InvalidInput(f"{where}: dataset: expected a DatasetShape, got {kind}")


def _check_rows(rows: int, rows_per_leaf: int) -> None:
    integer("dataset", "rows_per_leaf", rows_per_leaf, 1, MAX_ROWS_PER_LEAF)
    if rows < 1 or rows % rows_per_leaf:
        near = max(rows - rows % rows_per_leaf, rows_per_leaf)
        raise InvalidInput(
            f"dataset: {rows} rows are no whole number of leaves of {rows_per_leaf} rows; leave"
            f" rows out or add some: {near} or {near + rows_per_leaf} would do"
        )


@dataclass(frozen=True)
class Schema:
    """What a dataset's leaves hold: inputs (features) in `input_width` signed bits at scale
    2^input_scale_bits, labels in [0, classes), and the tree's shape.
    """

    features: int
    classes: int
    input_width: int
    input_scale_bits: int
    rows_per_leaf: int
    depth: int

    @property
    def shape(self) -> DatasetShape:
        """The tree's shape."""
        return DatasetShape(self.depth, self.rows_per_leaf)

    @property
    def digest(self) -> int:
        """The schema as one field element."""
        return digest_of({"name": "zkai.dataset/1", **asdict(self)})

    def describe(self) -> dict[str, Any]:
        """Return every number, for JSON."""
        return asdict(self)

    def leaf_elements(self, x: Ints, labels: Ints, salts: Limbs) -> Limbs:
        """Return k leaves' elements (k, m, 4) for x (k rows_per_leaf, features) and labels."""
        k = len(salts)
        parts = [
            _packed(x.reshape(k, -1), self.input_width),
            _packed(labels.reshape(k, -1), LABEL_BITS),
        ]
        return np.concatenate([salts.reshape(k, 1, 4), *parts], axis=1)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled rows with the secret salt of their commitment: its owner alone has this.

    x: (rows, features); labels: (rows,). The salt comes from the operating system by default.

    Raises InvalidInput, naming the tensor, for a wrong shape, a value out of range, or rows that do
    not fill the leaves.
    """

    schema: Schema
    x: Ints = field(repr=False)
    labels: Ints = field(repr=False)
    salt: int = field(default_factory=new_salt, repr=False)

    def __post_init__(self) -> None:
        schema, where = self.schema, "dataset"
        for name, (low, high) in _SCHEMA_RANGES.items():
            integer(where, name, getattr(schema, name), low, high)
        x, labels = _array(where, "x", self.x), _array(where, "labels", self.labels)
        if x.size > MAX_VALUES:
            raise InvalidInput(f"{where}: more than {MAX_VALUES} values")
        rows = labels.shape[0] if labels.ndim == 1 else 0
        _check_rows(rows, schema.rows_per_leaf)
        if rows // schema.rows_per_leaf > 1 << schema.depth:
            raise InvalidInput(f"{where}: {rows} rows do not fit a tree of depth {schema.depth}")
        bound, top = signed_bound(schema.input_width), schema.classes - 1
        x = int_tensor(where, "x", x, (rows, schema.features), *bound)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "labels", int_tensor(where, "labels", labels, (rows,), 0, top))
        field_element(where, "salt", self.salt)

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.labels)

    @property
    def n_leaves(self) -> int:
        """The number of leaves."""
        return self.size // self.schema.rows_per_leaf

    @property
    def root(self) -> int:
        """The commitment: the tree's root."""
        return self.tree.root

    @cached_property
    def tree(self) -> MerkleTree:
        """The tree over all leaves."""
        salts = self._salts(np.arange(self.n_leaves))
        leaves = self.schema.leaf_elements(self.x, self.labels, salts)
        return merkle_tree(leaves, self.schema.depth)

    def draw(self, seed: Sequence[int], rows: int) -> Ints:
        """Return the indices of the leaves that make up the `rows` rows drawn for a seed."""
        return draw(seed, self.schema.shape.leaves("dataset", rows), self.n_leaves)

    def open(self, leaves: Ints) -> dict[str, Any]:
        """Return what proves the membership of leaves, in order: x, labels, leaf_salts, paths.

        Raises InvalidInput if there is no such leaf.
        """
        if leaves.min() < 0 or leaves.max() >= self.n_leaves:
            raise InvalidInput(f"dataset: it has {self.n_leaves} leaves, asked for {leaves.max()}")
        per = self.schema.rows_per_leaf
        rows = (leaves[:, None] * per + np.arange(per)).ravel()
        return {
            "x": self.x[rows],
            "labels": self.labels[rows],
            "leaf_salts": from_limbs(self._salts(leaves)),
            "paths": [v for i in leaves.tolist() for v in self.tree.path(i)],
        }

    def to_json(self) -> dict[str, Any]:
        """Return the dataset with its salt as JSON values: its owner's secret."""
        return {
            "format": FORMAT,
            "schema": self.schema.describe(),
            "salt": str(self.salt),
            "x": self.x.tolist(),
            "labels": self.labels.tolist(),
        }

    def write(self, path: Path | str) -> None:
        """Write the dataset where nothing is yet, readable by its owner alone.

        Raises InvalidInput if `path` exists, since it may hold another commitment's only opening.
        """
        if os.path.lexists(as_path(path)):
            raise InvalidInput(f"{path}: exists, and may hold the only copy of a dataset's salt")
        write_atomic(path, json.dumps(self.to_json()).encode("ascii") + b"\n", mode=0o600)

    @staticmethod
    def from_json(value: Any, where: str) -> Dataset:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field, for anything else."""
        check_names(where, value, ["format", "schema", "salt", "x", "labels"])
        if value["format"] != FORMAT:
            raise InvalidInput(f"{where}: format {value['format']!r}, expected {FORMAT!r}")
        check_names(f"{where}: schema", value["schema"], tuple(_SCHEMA_RANGES))
        salt = parse_decimal(value["salt"], f"{where}: salt", FIELD_MODULUS)
        schema = Schema(**value["schema"])
        try:
            return Dataset(schema, value["x"], value["labels"], salt)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error

    @staticmethod
    def from_path(path: Path | str) -> Dataset:
        """Read a dataset's file. Raises InvalidInput, naming file and field."""
        return Dataset.from_json(load_json(read_capped(path, MAX_BYTES), str(path)), str(path))

    def _salts(self, leaves: Ints) -> Limbs:
        places = np.zeros((len(leaves), 4), np.uint64)
        places[:, 0] = leaves
        salts = np.repeat(to_limbs([self.salt]), len(leaves), axis=0)
        return hash_many(LEAF_SALT, np.stack([salts, places], axis=1))


_SCHEMA_RANGES = {
    "features": (1, 1 << 24),
    "classes": (2, MAX_CLASSES),
    "input_width": (2, 32),
    "input_scale_bits": (0, 24),
    "rows_per_leaf": (1, MAX_ROWS_PER_LEAF),
    "depth": (1, MAX_DEPTH),
}


def _array(where: str, name: str, value: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{where}: tensor {name!r} is no array ({error})") from error


def _padding(n: int, bits: int) -> int:
    return -n % integers_per_element(bits)


def _packed(values: Ints, bits: int) -> Limbs:
    """Return k lines of integers, each packed apart: (k, m, 4). A missing integer is a digit 0."""
    k, n = values.shape
    filler = np.full((k, _padding(n, bits)), -(1 << (bits - 1)), np.int64)
    return pack(np.concatenate([values, filler], axis=1), bits).reshape(k, -1, 4)


# In the circuit -------------------------------------------------------------------------------


def leaves_gadget(
    builder: Builder,
    shape: DatasetShape,
    head: Head,
    x: Tensor,
    labels: Tensor,
    root: Field,
    bits: Tensor,
) -> None:
    """Prove that rows are leaves of the dataset under `root`, at the indices of `bits`.

    x (k rows_per_leaf, features) and labels, in proven ranges; bits (k, depth). The salts and paths
    are the private inputs `leaf_salts` and `paths`.
    """
    k = bits.shape[0]
    salts = builder.private_field("leaf_salts", k)
    paths = builder.private_field("paths", k * shape.path_length)
    parts = [
        salts.wires.reshape(k, 1),
        _pack_lines(builder, x.reshape(k, shape.rows_per_leaf * head.features), head.input_width),
        _pack_lines(builder, labels.reshape(k, shape.rows_per_leaf), LABEL_BITS),
    ]
    elements = Field(np.concatenate(parts, axis=1).ravel())
    membership_gadget(builder, root, elements, paths, bits)


def _pack_lines(builder: Builder, values: Tensor, bits: int) -> Ints:
    """Return the wires (k, m) of `_packed`."""
    k, n = values.shape
    filler = as_tensor(np.full((k, _padding(n, bits)), -(1 << (bits - 1)), np.int64))
    whole = concat([values, filler], axis=1) if filler.size else values
    return pack_gadget(builder, whole, bits).wires.reshape(k, -1)
