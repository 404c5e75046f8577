"""How large a statement's circuit is: built where that takes seconds, else from smaller ones.

A training step's rows grow linearly in its batch, its steps and its features, so a few small
circuits tell the size of any; looked-up ranges grow by a bit where such a number doubles, and the
tables are chosen for what results. An inference that is too large to be built is counted by
operator; there the result is within a factor of two.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

from zkai.circuit.builder import CHALLENGES
from zkai.circuit.gadgets import halo2_hash
from zkai.circuit.gadgets.logup import choose_widths, range_rows
from zkai.circuit.statements.base import PLAIN, Statement
from zkai.circuit.statements.hashed_input import HASHED
from zkai.circuit.statements.inference import STATE_SIGNALS, Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.heads import Head
from zkai.model.quant_graph import Conv, MatMul, QuantNode, Relu, Sigmoid, Softmax
from zkai.proof.estimate import TensorFacts
from zkai.proof.sizes import Sizes, sizes_of
from zkai.proof.speed import Scalars

EXACT_LIMIT = 6_000_000
"""Statements of about this many rows or a few times as many entries are built for an estimate."""

COMMIT_EXACT_LIMIT = 2_500_000
"""The same with a commitment round: what is built in a few seconds."""

HASH_ROWS_PER_ELEMENT = 612 / 16
"""Rows of a Poseidon permutation over the elements that it takes."""

_SAMPLE_ROWS, _SAMPLE_FEATURES, _SAMPLE_LIMIT = 8, 64, 400_000
_ROWS_PER_SOFTMAX_ENTRY, _ROWS_PER_COMMITTED_BIT = 110, 1.2
_ROWS_PER_WEIGHT, _ROWS_PER_UNIT, _BITS_PER_LOOKUP = 20, 6, 9


def estimated_sizes(statement: Statement) -> Sizes:
    """Return a statement's sizes: exact if it can well be built, else extrapolated or counted."""
    return rough_sizes(statement) or sizes_of(statement.build())


def rough_sizes(statement: Statement) -> Sizes | None:
    """Return a large statement's approximate sizes, or None if it can well be built."""
    limit = EXACT_LIMIT if _is_plain(statement) else COMMIT_EXACT_LIMIT
    if isinstance(statement, TrainingStep):
        return _extrapolated(statement) if _rough_rows(statement) > limit else None
    if isinstance(statement, Inference):
        sizes = _counted(statement)
        return sizes if max(sizes.constraints, sizes.entries // 4) > limit else None
    return None


def _is_plain(statement: Statement) -> bool:
    return getattr(statement, "format", PLAIN) == PLAIN


# Training steps -------------------------------------------------------------------------------


def _layer_sizes(head: Any) -> tuple[int, ...]:
    return getattr(head, "sizes", None) or (head.features, head.classes)


def _rough_rows(statement: TrainingStep) -> int:
    """Return rows to within a factor of a few; in plain Groth16, those of products and as many."""
    sizes, rows = _layer_sizes(statement.head), statement.batch * statement.steps
    cells = sum((k + 1) * m for k, m in pairwise(sizes))
    if _is_plain(statement):
        return 8 * cells * rows
    return _ROWS_PER_WEIGHT * cells * statement.steps + _ROWS_PER_UNIT * rows * sum(sizes)


@dataclass(frozen=True)
class _Sample:
    """A small circuit's sizes, how often they count in the large one's, and its numbers."""

    weight: float
    sizes: Sizes
    batch: int
    features: int


def _extrapolated(statement: TrainingStep) -> Sizes:
    """Return sizes from circuits of few rows, of twice as many, of two steps; and, for a large
    head, of fewer features and of twice as many."""
    samples = list(_samples(statement))

    def total(values: Iterable[float]) -> float:
        return sum(s.weight * value for s, value in zip(samples, values, strict=True))

    def counted(name: str) -> float:
        return total(getattr(s.sizes, name) for s in samples)

    need = _extrapolated_ranges(statement, samples)
    tables = choose_widths(need)
    apart = total(
        s.sizes.constraints - _lookup_rows(_need(s.sizes), s.sizes.tables) for s in samples
    )
    places = [_by_rule(s.sizes.by_place) for s in samples]
    by_place = {p: total(found.get(p, 0) for found in places) for p in places[0]}
    hashed = _hash_rows(by_place, max(places, key=lambda found: sum(found.values())))
    constraints = apart + _lookup_rows(need, tables)
    constraints += sum(rows - by_place[place] for place, rows in hashed.items())
    more = constraints / counted("constraints")

    def scalars(name: str) -> Scalars:
        found = [getattr(s.sizes, name) for s in samples]
        full, small = total(x.full for x in found), total(x.small for x in found)
        return Scalars(round(more * full), round(more * small))

    first = samples[0].sizes
    return Sizes(
        constraints=round(constraints),
        wires=round(more * counted("wires")),
        public=first.public,
        challenges=first.challenges,
        links=tuple(
            round(total(s.sizes.links[i] for s in samples)) for i in range(len(first.links))
        ),
        entries=round(more * counted("entries")),
        key_entries=round(more * counted("key_entries")),
        a=scalars("a"),
        b=scalars("b"),
        first=scalars("first"),
        rest=scalars("rest"),
        tables=tables,
        by_place={place: round(rows) for place, rows in (by_place | hashed).items()},
    )


def _samples(statement: TrainingStep) -> Iterable[_Sample]:
    """Yield small circuits; a quantity Q of the large one is the sum of weight * Q of theirs.

    With rows = batch * steps, Q = Q(b, 1) + (rows - b) / b (Q(2b, 1) - Q(b, 1))
    + (steps - 1) (Q(b, 2) - Q(2b, 1)), and Q is linear in the features.
    """
    features = _layer_sizes(statement.head)[0]
    # Twice the sample's rows are at most the statement's, for which its widths are known to do.
    batch, few = _half(statement, statement.batch), features

    def rough() -> int:
        return _rough_rows(_shrunk(statement, few, 2 * batch, 1))

    while few > _SAMPLE_FEATURES and rough() > _SAMPLE_LIMIT:
        few //= 2
    # Whether c E or c G is computed depends on which of batch and features is larger.
    while _SAMPLE_ROWS <= _half(statement, batch) < batch and (
        rough() > _SAMPLE_LIMIT or few < 2 * batch <= statement.batch <= features
    ):
        batch = _half(statement, batch)
    by_features = {few: 1.0}
    if few < features:
        slope = (features - few) / few
        by_features = {few: 1 - slope, 2 * few: slope}
    rows, steps = (statement.batch * statement.steps - batch) / batch, statement.steps - 1
    for width, share in by_features.items():
        yield _sample(statement, (1 - rows) * share, width, batch, 1)
        yield _sample(statement, (rows - steps) * share, width, 2 * batch, 1)
        if steps:
            yield _sample(statement, steps * share, width, batch, 2)


def _half(statement: TrainingStep, rows: int) -> int:
    """Return half the rows, of a dataset whole leaves, and at least one."""
    leaf = 1 if statement.dataset is None else statement.dataset.rows_per_leaf
    return max(rows // 2 // leaf, 1) * leaf


def _sample(
    statement: TrainingStep, weight: float, features: int, batch: int, steps: int
) -> _Sample:
    small = _shrunk(statement, features, batch, steps)
    return _Sample(weight, sizes_of(small.build()), batch, features)


def _shrunk(statement: TrainingStep, features: int, batch: int, steps: int) -> TrainingStep:
    head: Any = statement.head
    if "features" in head.__dataclass_fields__:
        head = replace(head, features=features)
    else:
        head = replace(head, sizes=(features, *head.sizes[1:]))
    if (shape := statement.dataset) is not None:
        # Leaves must divide the small batch too; beside a circuit that is too large to be built,
        # what membership then costs more is nothing.
        shape = replace(shape, rows_per_leaf=math.gcd(shape.rows_per_leaf, batch))
    return replace(statement, head=head, batch=batch, steps=steps, dataset=shape)


_STEP = re.compile(r"^(?:step|batch/order) \d+(?=/|:)")


def _any_step(place: str) -> str:
    """Return a place without the number of its step."""
    return _STEP.sub(lambda found: found[0].rsplit(" ", 1)[0], place)


def _by_rule(by_place: Mapping[str, int]) -> dict[str, int]:
    """Return rows by place, those of all steps together."""
    found = Counter[str]()
    for place, n in by_place.items():
        found[_any_step(place)] += n
    return dict(found)


def _hash_rows(by_place: Mapping[str, float], largest: Mapping[str, int]) -> dict[str, float]:
    """Return the rows that hash packed elements, from those of the largest sample.

    A hash takes elements by the sixteen, so that its rows go up in steps: a line through two small
    circuits' rows would magnify a step.
    """
    found = {}
    for place, rows in largest.items():
        node, _, rule = place.rpartition(": ")
        if node.endswith("membership"):
            continue  # as many hashes of one size as there are leaves: those are on a line
        if rule == "poseidon" and (packed := f"{node}: pack") in largest:
            more = by_place[packed] - largest[packed]
            found[place] = rows + HASH_ROWS_PER_ELEMENT * more
    return found


_Key = tuple[str, int, bool]


def _need(sizes: Sizes) -> dict[tuple[int, bool], int]:
    found = Counter[tuple[int, bool]]()
    for _, bits, loose, n in sizes.ranges:
        found[bits, loose] += n
    return dict(found)


def _lookup_rows(need: Mapping[tuple[int, bool], int], tables: Sequence[int]) -> int:
    return range_rows(need, tables) + sum(1 << bits for bits in tables)


def _ranges_by_request(sizes: Sizes) -> dict[_Key, tuple[int, int]]:
    """Return (bits, values) by (place, number among the place's, loose), all steps together."""
    numbers, found = Counter[str](), dict[_Key, tuple[int, int]]()
    for place, bits, loose, n in sizes.ranges:
        key = _any_step(place), numbers[place], loose
        numbers[place] += 1
        found[key] = bits, found.get(key, (0, 0))[1] + n
    return found


def _extrapolated_ranges(
    statement: TrainingStep, samples: Sequence[_Sample]
) -> dict[tuple[int, bool], int]:
    found = [_ranges_by_request(s.sizes) for s in samples]
    first, twice = samples[0], found[1]
    wide = next((i for i, s in enumerate(samples) if s.features > first.features), None)
    doublings = math.log2(statement.batch / first.batch)
    widenings = math.log2(_layer_sizes(statement.head)[0] / first.features)
    need = defaultdict[tuple[int, bool], int](int)
    for key, (bits, _) in found[0].items():
        grown = bits + doublings * (twice.get(key, (bits, 0))[0] - bits)
        if wide is not None:
            grown += widenings * (found[wide].get(key, (bits, 0))[0] - bits)
        n = sum(s.weight * f.get(key, (0, 0))[1] for s, f in zip(samples, found, strict=True))
        need[round(grown), key[2]] += round(n)
    return dict(need)


# Inferences -----------------------------------------------------------------------------------


def _counted(statement: Inference) -> Sizes:
    """Return sizes from the operators: products of committed weights, bits of what is checked."""
    graph, plain = statement.graph, _is_plain(statement)
    rows = float(sum(_node_rows(statement, node) for node in graph.nodes))
    entries = 3 * rows + sum(_products(statement, node) for node in graph.nodes)
    for name in (*graph.inputs, *graph.outputs, *graph.parameters):
        if statement.visibility[name] == HASHED:
            rows += halo2_hash.n_rows(graph.tensors[name].size + statement.blinders)
        if statement.visibility[name] != "constant":
            tensor = graph.tensors[name]
            bits = tensor.size * tensor.width * _ROWS_PER_COMMITTED_BIT
            rows += bits if plain else bits / _BITS_PER_LOOKUP + 0.2 * bits
    full = int(rows / 10 if plain else rows / 2)
    scalars = Scalars(full, int(rows) - full)
    return Sizes(
        constraints=int(rows),
        wires=int(rows),
        public=_public_signals(statement),
        challenges=0 if plain else len(CHALLENGES),
        links=(),
        entries=int(entries + 3 * rows),
        key_entries=int(entries + 2 * rows),
        a=scalars,
        b=scalars,
        first=Scalars() if plain else Scalars(0, scalars.small),
        rest=scalars if plain else Scalars(full, 0),
    )


def _public_signals(statement: Inference) -> int:
    graph, seen = statement.graph, statement.visibility
    count = 1  # the context
    for name in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[name]
        values = {"public": tensor.size, "argmax": tensor.size // tensor.shape[-1]}
        count += values.get(seen[name], 1)
    count += sum(graph.tensors[n].size for n in graph.parameters if seen[n] == "public")
    count += any(seen[name] == "committed" for name in graph.parameters)
    return count + (len(STATE_SIGNALS) if statement.head is not None else 0)


def _products(statement: Inference, node: QuantNode) -> int:
    """Return a linear operator's multiplications."""
    tensors = statement.graph.tensors
    if isinstance(node.op, MatMul):
        return tensors[node.output].size * tensors[node.inputs[1]].shape[0]
    if isinstance(node.op, Conv):
        return tensors[node.output].size * prod(tensors[node.inputs[1]].shape[1:])
    return 0


def _node_rows(statement: Inference, node: QuantNode) -> int:
    graph = statement.graph
    out = graph.tensors[node.output]
    if isinstance(node.op, Softmax | Sigmoid):
        return out.size * _ROWS_PER_SOFTMAX_ENTRY
    rows = 0
    plain = _is_plain(statement)
    if (
        isinstance(node.op, MatMul | Conv)
        and statement.visibility.get(node.inputs[1]) != "constant"
    ):
        rows = _products(statement, node) if plain else _freivalds_rows(statement, node)
    shift = getattr(node.op, "shift", 0)
    bits = shift + out.width if shift > 0 else 0
    bits += out.width if isinstance(node.op, Relu) else 0
    return rows + out.size * (bits if plain else -(-bits // _BITS_PER_LOOKUP) + bool(bits))


def _freivalds_rows(statement: Inference, node: QuantNode) -> int:
    """Return the rows of k (m-1) + b k + b (m-1) for a product (b, k) (k, m)."""
    tensors = statement.graph.tensors
    weight, out = tensors[node.inputs[1]], tensors[node.output]
    m = weight.shape[0] if isinstance(node.op, Conv) else weight.shape[1]
    k, b = weight.size // m, out.size // m
    return k * (m - 1) + b * k + b * (m - 1)


def tensor_facts(statement: Statement) -> list[TensorFacts]:
    """Return the scale and width of each tensor of a statement, for people."""
    if isinstance(statement, Inference):
        tensors = statement.graph.tensors.values()
        return [TensorFacts(t.name, t.shape, t.scale_bits, t.width) for t in tensors]
    head: Head | None = getattr(statement, "head", None)
    if head is None:
        return []
    rows = getattr(statement, "batch", 1)
    widths = head.widths(rows)
    facts = [
        TensorFacts("weights", head.shape, head.weight_scale_bits, head.weight_width),
        TensorFacts("x", (rows, head.features), head.input_scale_bits, head.input_width),
        TensorFacts("logits", (rows, head.classes), head.logit_scale_bits, widths["u"]),
        TensorFacts("error", (rows, head.classes), head.error_scale_bits, widths["E"]),
        TensorFacts("gradient", head.shape, head.gradient_scale_bits, widths["G"]),
    ]
    return facts if isinstance(statement, TrainingStep) else facts[:1]
