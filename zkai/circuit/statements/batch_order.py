"""Batches that are drawn: rows of the fork's dataset, in the order that a beacon gives.

    leaves of step s's batch = draw([beacon_s, fork, s], batch / rows_per_leaf, leaves)
    beacon_s                 = the value of round first_round + rounds_per_step * s

`dataset`, `size` and all other terms are those that the fork's number hashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.draw import draw_gadget
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.statements.base import field_element
from zkai.circuit.statements.dataset import Dataset, DatasetShape, leaves_gadget
from zkai.circuit.statements.fork_terms import (
    NUMBERS,
    TERMS,
    ForkTerms,
    check_term,
    fork_gadget,
    fork_number,
)
from zkai.circuit.tensor import Field, Tensor, concat, concat_fields
from zkai.errors import InvalidInput
from zkai.model.heads import Head

GIVEN_TERMS = tuple(name for name in TERMS if name != "schema")
"""The terms that a proof is given; the schema follows from the statement."""

ORDER_INPUTS = (*GIVEN_TERMS, "beacon", "leaf_salts", "paths")


def order_values(
    dataset: Dataset, terms: ForkTerms, beacon: Sequence[int], step: int, batch: int
) -> dict[str, Any]:
    """Return ORDER_INPUTS, x and labels of a training proof whose first step has number `step`.

    `beacon` has the beacon's value for each step of the proof.

    Raises InvalidInput if the terms are of another dataset.
    """
    if (terms.dataset, terms.size) != (dataset.root, dataset.size):
        raise InvalidInput("terms: of another dataset than the one given")
    if terms.schema != dataset.schema.digest:
        raise InvalidInput("terms: their schema is not the dataset's")
    seeds = [[value, terms.fork, step + i] for i, value in enumerate(beacon)]
    leaves = np.concatenate([dataset.draw(seed, batch) for seed in seeds])
    known = {name: getattr(terms, name) for name in GIVEN_TERMS}
    return known | {"beacon": list(beacon)} | dataset.open(leaves)


def assign_order(
    where: str, shape: DatasetShape, steps: int, rows: int, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the circuit's inputs for ORDER_INPUTS.

    Raises InvalidInput, naming the value, for a wrong type, number or range.
    """
    found: dict[str, Any] = {name: check_term(where, name, values[name]) for name in GIVEN_TERMS}
    size = found.pop("size")
    k = shape.leaves(where, rows)
    if shape.leaves(f"{where}: size", size) > 1 << shape.depth:
        raise InvalidInput(f"{where}: size: more rows than a tree of depth {shape.depth} holds")
    found["leaves"] = size // shape.rows_per_leaf
    lengths = {"beacon": steps, "leaf_salts": k, "paths": k * shape.path_length}
    for name, length in lengths.items():
        found[name] = elements(where, name, values[name], length)
    return found


def elements(where: str, name: str, value: Any, length: int) -> list[int]:
    """Return a list of `length` field elements. Raises InvalidInput naming it otherwise."""
    if not isinstance(value, list | tuple) or len(value) != length:
        raise InvalidInput(f"{where}: {name} must be a list of {length} integers in [0, r)")
    return [field_element(where, name, v) for v in value]


def public_order(
    head: Head, shape: DatasetShape, values: Mapping[str, Any], steps: int, step: int
) -> dict[str, Any]:
    """Return the public signals beacon and beacon_round, and the fork's number."""
    terms = {name: values[name] for name in GIVEN_TERMS} | {"schema": shape.schema(head).digest}
    rounds = [values["first_round"] + values["rounds_per_step"] * (step + i) for i in range(steps)]
    beacon = list(values["beacon"])
    return {
        "beacon": beacon[0] if steps == 1 else beacon,
        "beacon_round": rounds[0] if steps == 1 else rounds,
        "fork": fork_number(terms),
    }


def order_gadget(
    builder: Builder,
    head: Head,
    shape: DatasetShape,
    batch: int,
    signals: tuple[Field, Tensor, Field],
    step: Tensor,
    x: Tensor,
    labels: Tensor,
) -> None:
    """Prove that the rows are the batches that the beacon draws of the fork's dataset.

    `signals` are beacon, beacon_round, one of each a step, and fork; `step` is the first step's
    number, x (steps batch, features) and labels are in proven ranges.
    """
    beacon, rounds, fork = signals
    with builder.at("terms"):
        root, leaves, found = _terms(builder, head, shape, step, len(beacon))
        builder.bind_public(fork, found[0])
        builder.bind_public(rounds, found[1])
    drawn = []
    for i in range(len(beacon)):
        with builder.at("order" if len(beacon) == 1 else f"order {i + 1}"):
            seed = concat_fields([beacon[i], fork, builder.to_field(step + i)])
            drawn.append(
                draw_gadget(builder, seed, batch // shape.rows_per_leaf, leaves, shape.depth)
            )
    with builder.at("membership"):
        leaves_gadget(builder, shape, head, x, labels, root, concat(drawn))


def _terms(
    builder: Builder, head: Head, shape: DatasetShape, step: Tensor, steps: int
) -> tuple[Field, Tensor, tuple[Field, Tensor]]:
    """Return the dataset's root, its number of leaves, and (the fork, each step's round)."""
    fields = {n: builder.private_field(n) for n in ("nonce", "dataset", "beacon_source")}
    leaves = check_range(builder, builder.private_int("leaves"), 1, 1 << shape.depth)
    numbers = {
        name: check_range(builder, builder.private_int(name), *NUMBERS[name])
        for name in ("first_round", "rounds_per_step", "max_skips")
    }
    fields["size"] = builder.to_field(leaves * shape.rows_per_leaf)
    fields["schema"] = builder.constant_field([shape.schema(head).digest])
    fields |= {name: builder.to_field(value) for name, value in numbers.items()}
    stride = numbers["rounds_per_step"]
    first = numbers["first_round"] + builder.multiply(stride, step, "rounds before the step")
    rounds = concat([(first + stride * i).reshape(1) for i in range(steps)])
    return fields["dataset"], leaves, (fork_gadget(builder, fields), rounds)
