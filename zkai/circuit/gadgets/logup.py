"""Lookups with a commitment round: range checks and two-column tables in one argument.

A circuit's tables hold entries (v0, v1) and have an id each. With challenges alpha and s, an entry
counts as t = v0 + s v1 + s^2 id, and all lookups a_i and all entries t_j together satisfy

    sum_i 1 / (alpha - a_i) = sum_j m_j / (alpha - t_j)

with m_j the number of lookups of entry j. Values and multiplicities are of round 1. For n lookups,
n < r, and T entries, a tuple that is in no table counts as some entry's t for at most 2T of the s.
For every other s the left side has a pole there and the right has none: they are different rational
functions, equal or undefined at 2 (n + T) of the alphas at most. alpha must not follow from s: with
alpha = s the residues depend on v1, and a prover fits multiplicities to a false pair. Without the
id, an entry (x, 0) of a function's table would satisfy a range lookup. s is the challenge `fold`.
Tables of other entries, and what has more columns than two, are in gadgets/tables.py: with c
columns the id's power is s^c, and c T stands for 2 T.

Source: U. Haboeck, "Multivariate lookups based on logarithmic derivatives", ePrint 2022/1530.

A range [0, 2^n) is cut into limbs. The widths of the range tables are chosen per circuit, when all
its ranges are known, to make the number of rows least (`choose_widths`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import power_of_fold, row_sums
from zkai.circuit.gadgets.tables import Elements, Tuples
from zkai.circuit.r1cs import LookupCounts
from zkai.circuit.second_round import define_product, define_quotient
from zkai.circuit.tensor import Field, Ints, Rows, Tensor, as_tensor, concat
from zkai.errors import InvalidInput

WIDTHS = range(2, 17)
"""Range tables have 2^2 to 2^16 entries."""

MAX_TABLES = 4
SLACK = 8
"""A loose range may grow by this many bits if that saves rows, as far as MAX_BITS."""

MAX_BITS = 62
"""The widest range: its limbs' weights are below 2^62."""

Limb = tuple[int, int]
"""A limb's bits, and how it is proven: the table's width, or 1 for a boolean row.

A limb narrower than its table is looked up twice, also shifted to the table's upper end.
"""


_Coin = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Range:
    node: str
    rule: str
    value: Tensor
    bits: int
    loose: bool


@dataclass(frozen=True, eq=False)
class _Lookup:
    node: str
    rule: str
    table: str
    first: Tensor
    second: Tensor | None


class Lookups:
    """All lookups of one circuit; `close` makes their single argument."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._ranges: list[_Range] = []
        self._lookups: list[_Lookup] = []
        self._tables: dict[str, tuple[Ints, Ints | None]] = {}
        self._others: dict[str, Elements | Tuples] = {}

    def range(self, value: Tensor, bits: int, rule: str, loose: bool = False) -> None:
        """Prove 0 <= value < 2^bits; if `loose`, some 2^n with bits <= n <= bits + 8.

        Raises InvalidInput if the value depends on a challenge, or for 0 or more than 62 bits.
        """
        if not 1 <= bits <= MAX_BITS:
            raise InvalidInput(f"{self._builder.name}: a range check takes 1 to {MAX_BITS} bits")
        self._builder.require_round_one(value)
        flat = value.reshape(value.size)
        self._ranges.append(_Range(self._builder.node, rule, flat, bits, loose))

    def function(
        self, name: str, entries: Sequence[int] | Ints, argument: Tensor, value: Tensor, rule: str
    ) -> None:
        """Prove 0 <= argument < len(entries) and value = entries[argument], elementwise.

        Costs two rows a lookup, and one an entry for the whole circuit.

        Raises InvalidInput if an operand depends on a challenge, or for another table of that name.
        """
        table = np.asarray(entries, np.int64)
        _, second = self._tables.setdefault(name, (np.arange(len(table)), table))
        if second is None or not np.array_equal(second, table) or argument.shape != value.shape:
            raise InvalidInput(
                f"{self._builder.name}: lookup table {name!r} is used for two things"
            )
        self._builder.require_round_one(argument, value)
        pair = [x.reshape(x.size) for x in (argument, value)]
        self._lookups.append(_Lookup(self._builder.node, rule, name, pair[0], pair[1]))

    def member(self, name: str, table: Elements, value: Field, rule: str) -> None:
        """Prove that each element is in a table of field elements: one row a lookup.

        Raises InvalidInput if a value depends on a challenge, or for another table of that name.
        """
        self._builder.require_round_one(value)
        self._look_up(name, table, Tensor((len(value),), Rows.of_wires(value.wires), None), rule)

    def tuples(self, name: str, table: Tuples, rows: Tensor, rule: str) -> None:
        """Prove that each row of a matrix (n, c) is in a table of c columns.

        One row a lookup, and those of `row_sums`, which an evaluation shares.

        Raises InvalidInput as `member` does.
        """
        self._builder.require_round_one(rows)
        if rows.shape[1:] != table.entries.shape[1:]:
            raise InvalidInput(f"{self._builder.name}: table {name!r} has other columns")
        self._look_up(name, table, rows, rule)

    def _look_up(self, name: str, table: Elements | Tuples, value: Tensor, rule: str) -> None:
        if self._others.setdefault(name, table) is not table:
            raise InvalidInput(
                f"{self._builder.name}: lookup table {name!r} is used for two things"
            )
        self._lookups.append(_Lookup(self._builder.node, rule, name, value, None))

    def close(self) -> None:
        """Cut the ranges into limbs, count the lookups and add the argument's rows."""
        need = Counter[tuple[int, bool]]()
        for request in self._ranges:
            need[request.bits, request.loose] += request.value.size
        widths = choose_widths(need)
        self._builder.lookup_counts = LookupCounts(
            tuple((f"{r.node}: {r.rule}", r.bits, r.loose, r.value.size) for r in self._ranges),
            widths,
        )
        for width in widths:
            self._tables[_range_table(width)] = (np.arange(1 << width), None)
        for request in self._ranges:
            with self._builder.at(request.node):
                self._cut(request, limbs_of(request.bits, request.loose, widths))
        if self._lookups:
            self._argue()

    def _cut(self, request: _Range, limbs: Sequence[Limb]) -> None:
        builder, value = self._builder, request.value
        upper = limbs[1:]
        shifts = np.cumsum([0, *(bits for bits, _ in limbs)])[1:-1]
        lowest, parts = value, []
        if upper:
            (made,) = builder.hint(
                f"{request.rule} limbs",
                partial(_cut_integers, shifts=shifts, sizes=[bits for bits, _ in upper]),
                [value],
                [(value.size, len(upper))],
            )
            weights = (np.int64(1) << shifts)[:, None]
            lowest = value - made.matmul_const(weights).reshape(value.size)
            parts = [made[:, i] for i in range(len(upper))]
        for (bits, width), limb in zip(limbs, [lowest, *parts], strict=True):
            if width == 1:
                builder.constrain(limb, limb - 1, 0, request.rule)
                continue
            names = [limb] if bits == width else [limb, limb * (1 << (width - bits))]
            for part in names:
                builder.require_round_one(part)
                self._lookups.append(
                    _Lookup(request.node, request.rule, _range_table(width), part, None)
                )

    def _argue(self) -> None:
        builder = self._builder
        alpha, s = builder.challenge("alpha"), builder.challenge("fold")
        sizes = {name: len(first) for name, (first, _) in self._tables.items()}
        sizes |= {name: len(table) for name, table in self._others.items()}
        multiplicities = {name: self._count(name, size) for name, size in sizes.items()}
        # Largest first: the widest table needs no term for its id, which is 0.
        order = sorted(sizes, key=lambda name: (-sizes[name], name))
        columns = max((table.columns for table in self._others.values()), default=2)
        with builder.at("lookup tables"):
            if columns > 2:
                tag = power_of_fold(builder, columns)
            else:
                tag = define_product(builder, "tag squared", s, s)
        ids = self._tags(order, tag)
        total: list[Tensor] = []
        for lookup in self._lookups:
            with builder.at(lookup.node):
                looked_up = lookup.first
                if len(looked_up.shape) > 1:
                    looked_up = row_sums(builder, looked_up)
                value = looked_up + ids[lookup.table]
                if lookup.second is not None:
                    value = value + define_product(builder, f"{lookup.rule} pair", lookup.second, s)
                total.append(define_quotient(builder, lookup.rule, 1, alpha - value))
        for name in order:
            if name in self._others:
                with builder.at("lookup tables"):
                    below = self._others[name].denominators(builder, alpha, ids[name])
                    total.append(-define_quotient(builder, name, multiplicities[name], below))
                continue
            first, second = self._tables[name]
            entries = as_tensor(first) + ids[name]
            if second is not None:
                entries = entries + s.broadcast_to(second.shape) * second
            with builder.at("lookup tables"):
                terms = define_quotient(builder, name, multiplicities[name], alpha - entries)
            total.append(-terms)
        with builder.at("lookup tables"):
            joined = concat([t.reshape(t.size) for t in total])
            builder.constrain_zero(joined.sum(0), "lookups balance")

    def _tags(self, order: Sequence[str], power: Tensor) -> dict[str, Tensor]:
        """Return each table's term s^k id."""
        return {name: power * number for number, name in enumerate(order)}

    def _count(self, name: str, size: int) -> Tensor:
        """Return the table's multiplicities, wires of round 1."""
        values: list[Tensor | Field] = [x.first for x in self._lookups if x.table == name]
        other = self._others.get(name)
        if isinstance(other, Elements):
            values = [self._builder.to_field(x) for x in values if isinstance(x, Tensor)]

        def count(*arrays: Ints) -> list[Ints]:
            if other is not None:
                places = np.concatenate([other.places(a) for a in arrays])
                return [np.bincount(places, minlength=size).astype(np.int64)]
            flat = np.concatenate([np.zeros(0, np.int64), *(a.ravel() for a in arrays)])
            inside = flat[(flat >= 0) & (flat < size)]  # constraints refuse the others
            return [np.bincount(inside, minlength=size).astype(np.int64)]

        with self._builder.at("lookup tables"):
            (counted,) = self._builder.hint(f"{name} multiplicities", count, values, [(size,)])
        self._builder.require_round_one(counted)
        return counted


def lookups(builder: Builder) -> Lookups:
    """Return the circuit's one collector of lookups."""
    return builder.deferred(Lookups, lambda: Lookups(builder))


def _range_table(width: int) -> str:
    return f"range 2^{width}"


def _cut_integers(values: Ints, shifts: Ints, sizes: Sequence[int]) -> list[Ints]:
    masks = (np.int64(1) << np.asarray(sizes, np.int64)) - 1
    return [(values[..., None] >> shifts) & masks]


def choose_widths(need: Mapping[tuple[int, bool], int]) -> tuple[int, ...]:
    """Return the widths of the range tables that make tables and lookups fewest together.

    `need` counts the values by (bits, loose).
    """
    best: int | None = None
    found: tuple[int, ...] = ()
    top = max((bits for bits, _ in need), default=0)
    for count in range(1, MAX_TABLES + 1):
        for widths in combinations([w for w in WIDTHS if w <= max(top, 2)], count):
            rows = sum(1 << w for w in widths)
            if best is not None and rows >= best:
                continue
            costs = _costs(widths, top + SLACK)
            rows += sum(n * _cheapest(costs, b, loose)[0] for (b, loose), n in need.items())
            if best is None or rows < best:
                best, found = rows, widths
    return found if need else ()


def range_rows(need: Mapping[tuple[int, bool], int], widths: Sequence[int]) -> int:
    """Return the rows of the ranges' lookups, the tables' own not counted."""
    if not need:
        return 0
    costs = _costs(tuple(widths), max(bits for bits, _ in need) + SLACK)
    return sum(n * _cheapest(costs, bits, loose)[0] for (bits, loose), n in need.items())


def limbs_of(bits: int, loose: bool, widths: Sequence[int]) -> list[Limb]:
    """Return the cheapest limbs that make up `bits` bits, or a few more if `loose`."""
    costs = _costs(tuple(widths), bits + SLACK)
    left, limbs = _cheapest(costs, bits, loose)[1], list[Limb]()
    while left:
        _, size, width = costs[left]
        limbs.append((size, width))
        left -= size
    return sorted(limbs, key=lambda limb: (1 < limb[0] == limb[1], limb[0]), reverse=True)


def _cheapest(costs: Sequence[_Coin], bits: int, loose: bool) -> tuple[int, int]:
    """Return the least number of rows, and the number of bits that takes it."""
    last = min(bits + SLACK, MAX_BITS) if loose else bits
    return min((costs[n][0], n) for n in range(bits, last + 1))


def _costs(widths: tuple[int, ...], top: int) -> list[_Coin]:
    """Return for each number of bits: rows, the size of a last limb, and its table's width."""
    coins = [(1, w, w) for w in widths] + [(1, 1, 1)]
    coins += [(2, size, max(widths)) for size in range(2, max(widths))]
    costs: list[_Coin] = [(0, 0, 0)]
    for n in range(1, top + 1):
        costs.append(min((costs[n - c[1]][0] + c[0], c[1], c[2]) for c in coins if c[1] <= n))
    return costs
