"""The R1CS builder: wires, hints and constraints, made as whole arrays.

A hint says how the prover computes new wires; a constraint says what must hold. Nothing a hint
computes is trusted: a tensor carries a bound only once constraints have proven it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from zkai.circuit.polynomial import PublicPolynomial
from zkai.circuit.r1cs import (
    Circuit,
    Csr,
    InputSlot,
    LinkedPolynomial,
    LookupCounts,
    Origin,
    PublicSignal,
    Source,
    Step,
)
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.second_round import fold_signals
from zkai.circuit.tensor import Field, Ints, Rows, Tensor, as_tensor, checked_bound
from zkai.circuit.wide import Wide
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput

MAX_WIRES = 1 << 28

Ids = npt.NDArray[np.uint32]
Row = tuple[Ints, Ints, Ids]
"""Raw rows in CSR form: indptr, wires, coefficient ids."""


CHALLENGES = ("fold", "alpha")
"""The challenges of a circuit with a commitment round: independent hashes of the commitment.

`fold` is where the signals, the products and the tables' entries are evaluated as polynomials;
`alpha` is where the lookups are, and must not follow from it.
"""


class Deferred(Protocol):
    """Checks that a gadget collects while the circuit grows and makes at its end."""

    def close(self) -> None:
        """Add the checks' wires and rows."""


D = TypeVar("D", bound=Deferred)


class Builder:
    """Collects the wires and constraints of one circuit; `build` freezes them.

    With `commit`, the circuit has a commitment round. A wire's round is never chosen: it is 2 if
    the step that fills it reads a wire of round 2, and the challenges are of round 2. `links` is
    the number of polynomials, named by the last signals, whose commitments the proof opens
    (gadgets/link.py), and `polynomials` are those that every verifier knows (polynomial.py).
    """

    def __init__(
        self,
        name: str,
        commit: bool = False,
        links: int = 0,
        polynomials: Sequence[PublicPolynomial] = (),
    ) -> None:
        self.name = name
        self.commit = commit
        if (links or polynomials) and not commit:
            raise InvalidInput(f"circuit {name}: its polynomials need a commitment round")
        self._n_wires = 1
        self._n_rows = 0
        self._public: list[PublicSignal] = []
        self._private_started = False
        self._inputs: dict[str, InputSlot] = {}
        self._steps: list[Step] = []
        self._labels: set[str] = set()
        self._origins: list[Origin] = []
        self._path: list[str] = []
        self._rounds: list[tuple[int, int]] = [(1, 1)]
        self._field_spans: list[tuple[int, int]] = []
        self._matrices: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
        self._coef_ids: dict[int, int] = {}
        self._second: list[tuple[int, int]] = []
        self._committed: list[Ints] = []
        self._definitions: list[tuple[Ints, Ints]] = []
        self._deferred: dict[type[Deferred], Deferred] = {}
        self.lookup_counts = LookupCounts()
        self.coef_ids([1])
        self._challenges: dict[str, Field] = {}
        if commit:
            names = ("folded signals", *CHALLENGES)
            wires = self._new_wires(len(names), 2, is_field=True, private=False)
            self._challenges = {n: Field(wires[i : i + 1]) for i, n in enumerate(names)}
        self.evaluations = self._new_wires(links, 2, is_field=True, private=False)
        self.linked: list[LinkedPolynomial] = []
        self._polynomials = tuple(polynomials)
        self._values = self._new_wires(len(polynomials), 2, is_field=True, private=False)

    # Where we are -----------------------------------------------------------------------------

    @contextmanager
    def at(self, node: str) -> Iterator[None]:
        """Name the place in the model to which the constraints made inside belong."""
        self._path.append(node)
        try:
            yield
        finally:
            self._path.pop()

    @property
    def node(self) -> str:
        return "/".join(filter(None, self._path))

    @property
    def n_constraints(self) -> int:
        return self._n_rows

    @property
    def n_wires(self) -> int:
        return self._n_wires

    # The commitment round ---------------------------------------------------------------------

    def challenge(self, name: str) -> Tensor:
        """Return a challenge of the commitment round as a linear combination.

        Raises InvalidInput in a circuit without one.
        """
        if name not in CHALLENGES or not self.commit:
            raise InvalidInput(f"circuit {self.name} has no challenge {name!r}")
        return Tensor((), Rows.of_wires(self._challenges[name].wires), None)

    def polynomial_value(self, name: str) -> Tensor:
        """Return a public polynomial's value at `fold`, which every verifier computes itself."""
        place = [p.name for p in self._polynomials].index(name)
        return Tensor((), Rows.of_wires(self._values[place : place + 1]), None)

    def round_of(self, *sources: Source) -> int:
        """Return 2 if a source reads a wire of round 2, else 1."""
        if not self._second:
            return 1
        starts, stops = np.array(self._second, np.int64).T
        for source in sources:
            wires = source.wires if isinstance(source, Field | Wide) else source.rows.wires
            span = np.searchsorted(starts, wires, "right") - 1
            if ((span >= 0) & (wires < stops[span])).any():
                return 2
        return 1

    def require_round_one(self, *sources: Source) -> None:
        """Record that the commitment must fix these before the challenges are known.

        Raises InvalidInput if one of them depends on a challenge.
        """
        if self.round_of(*sources) != 1:
            raise InvalidInput(
                f"{self.name}: a value at {self.node or 'the top'} depends on a challenge that is"
                " to check it: the commitment must fix it first"
            )
        for source in sources:
            wires = source.wires if isinstance(source, Field | Wide) else source.rows.wires
            self._committed.append(np.unique(wires))

    def deferred(self, kind: type[D], make: Callable[[], D]) -> D:
        """Return the circuit's one collector of this kind; `build` closes it."""
        if kind not in self._deferred:
            self._deferred[kind] = make()
        found = self._deferred[kind]
        assert isinstance(found, kind)
        return found

    def define(self, wires: Ints) -> None:
        """Record that the next rows define these wires of round 2, one each."""
        self._definitions.append((wires, self._n_rows + np.arange(len(wires))))

    # Wires ------------------------------------------------------------------------------------

    def public_int(self, name: str, shape: tuple[int, ...] = ()) -> Tensor:
        """Declare public integers: one signal an element, bound unknown."""
        wires = self._input(name, shape, public=True, is_field=False, round_number=1)
        return Tensor(shape, Rows.of_wires(wires), None)

    def private_int(self, name: str, shape: tuple[int, ...] = (), round_number: int = 1) -> Tensor:
        """Declare private integer inputs, bound unknown."""
        wires = self._input(name, shape, False, False, round_number)
        return Tensor(shape, Rows.of_wires(wires), None)

    def public_field(self, name: str, n: int = 1) -> Field:
        """Declare n public field elements."""
        return Field(self._input(name, (n,), True, True, 1))

    def private_field(self, name: str, n: int = 1, round_number: int = 1) -> Field:
        """Declare n private field elements."""
        return Field(self._input(name, (n,), False, True, round_number))

    def _input(
        self, name: str, shape: tuple[int, ...], public: bool, is_field: bool, round_number: int
    ) -> Ints:
        if name in self._inputs:
            raise InvalidInput(f"circuit {self.name}: input {name!r} is declared twice")
        if public and self._private_started:
            raise InvalidInput(f"circuit {self.name}: public {name!r} comes after private wires")
        if self.commit and round_number != 1:
            raise InvalidInput(f"circuit {self.name}: input {name!r} belongs to round 1")
        size = int(np.prod(shape, dtype=np.int64))
        self._private_started = self._private_started or not public
        wires = self._new_wires(size, round_number, is_field, private=not public)
        self._inputs[name] = InputSlot(name, shape, wires, is_field, public)
        if public:
            self._public.append(PublicSignal(name, size))
        return wires

    def _new_wires(
        self, n: int, round_number: int, is_field: bool = False, private: bool = True
    ) -> Ints:
        self._private_started = self._private_started or private
        start, self._n_wires = self._n_wires, self._n_wires + n
        if self._n_wires > MAX_WIRES:
            raise InvalidInput(f"circuit {self.name} needs more than {MAX_WIRES} wires")
        self._rounds.append((n, round_number))
        if round_number == 2 and n:
            if self._second and self._second[-1][1] == start:
                self._second[-1] = (self._second[-1][0], start + n)
            else:
                self._second.append((start, start + n))
        if is_field:
            self._field_spans.append((start, start + n))
        return np.arange(start, start + n, dtype=np.int64)

    def hint(
        self,
        label: str,
        compute: Callable[..., Sequence[Ints]],
        inputs: Sequence[Tensor | Field],
        shapes: Sequence[tuple[int, ...]],
    ) -> list[Tensor]:
        """Make wires that the prover fills with compute(*arrays); nothing is proven of them.

        Raises InvalidInput if an input depends on a challenge: integers belong to round 1.
        """
        sizes = [int(np.prod(s, dtype=np.int64)) for s in shapes]
        if self.round_of(*inputs) != 1:
            raise InvalidInput(f"{self.name}: hint {label} computes integers from a challenge")

        def run(*arrays: Ints) -> Ints:
            parts = compute(*arrays)
            if [np.size(p) for p in parts] != sizes:
                raise InvalidInput(f"hint {label} returned other shapes than it declared")
            return np.concatenate([np.asarray(p, np.int64).ravel() for p in parts])

        wires = self.new_step(label, run, tuple(inputs), sum(sizes), is_field=False)
        parts = np.split(wires, np.cumsum(sizes)[:-1])
        return [Tensor(s, Rows.of_wires(p), None) for s, p in zip(shapes, parts, strict=True)]

    def field_hint(
        self,
        label: str,
        compute: Callable[..., Limbs],
        inputs: Sequence[Tensor | Field],
        n: int,
    ) -> Field:
        """Make n field wires filled with compute(*int64 arrays or limbs); nothing is proven.

        Raises InvalidInput if an input depends on a challenge: such wires need a definition.
        """
        if self.round_of(*inputs) != 1:
            raise InvalidInput(
                f"{self.name}: hint {label} depends on a challenge; use define_product or"
                " define_quotient"
            )
        return Field(self.new_step(label, compute, tuple(inputs), n, is_field=True))

    def new_step(
        self,
        label: str,
        compute: Callable[..., Any],
        inputs: tuple[Source, ...],
        n: int,
        is_field: bool,
        into: Ints | None = None,
    ) -> Ints:
        """Return n new wires, or those of `into`, that a step of the witness program fills."""
        round_number = self.round_of(*inputs)
        wires = self._new_wires(n, round_number, is_field) if into is None else into
        label = self._label(label)
        self._steps.append(Step(label, compute, inputs, wires, is_field, round_number))
        return wires

    def _label(self, label: str) -> str:
        full = "/".join(filter(None, [*self._path, label]))
        unique, count = full, 2
        while unique in self._labels:
            unique, count = f"{full}#{count}", count + 1
        self._labels.add(unique)
        return unique

    # Constraints ------------------------------------------------------------------------------

    def coef_ids(self, values: Sequence[int] | Ints) -> Ids:
        """Return the ids of coefficients in the circuit's table (integers, reduced modulo r)."""
        if isinstance(values, np.ndarray):
            unique, inverse = np.unique(values, return_inverse=True)
            return self.coef_ids(unique.tolist())[inverse.ravel()]
        table = self._coef_ids
        ids = [table.setdefault(int(v) % FIELD_MODULUS, len(table)) for v in values]
        return np.array(ids, np.uint32)

    def rows(self, rule: str, a: Row, b: Row, c: Row) -> None:
        """Append raw rows; each row lists its wires ascending, each once."""
        n = len(a[0]) - 1
        if not len(b[0]) - 1 == len(c[0]) - 1 == n:
            raise InvalidInput(f"{rule}: the three sides have different numbers of rows")
        for matrix, row in zip(self._matrices, (a, b, c), strict=True):
            matrix.append((row[0], row[1], row[2]))
        self._origins.append(Origin(self._n_rows, self.node, rule))
        self._n_rows += n

    def constrain(
        self, a: Tensor | int | Ints, b: Tensor | int | Ints, c: Tensor | int | Ints, rule: str
    ) -> None:
        """Require a * b = c, element by element (broadcasting)."""
        sides = [as_tensor(side) for side in (a, b, c)]
        shape = np.broadcast_shapes(*(s.shape for s in sides))
        raw = [self._raw(s.broadcast_to(shape).rows) for s in sides]
        self.rows(rule, raw[0], raw[1], raw[2])

    def constrain_wide(
        self, a: Tensor | Wide, b: Tensor | Wide, c: Tensor | Wide, rule: str
    ) -> None:
        """Require a * b = c, row by row, for sides of one length with any coefficients."""
        raw = [
            (x.indptr, x.wires, self.coef_ids(x.table)[x.ids])
            if isinstance(x, Wide)
            else self._raw(x.rows)
            for x in (a, b, c)
        ]
        self.rows(rule, raw[0], raw[1], raw[2])

    def constrain_zero(self, value: Tensor, rule: str) -> None:
        """Require value = 0, element by element."""
        self.constrain(value, 1, 0, rule)

    def constrain_equal(self, left: Tensor | int | Ints, right: Tensor, rule: str) -> None:
        """Require left = right, element by element."""
        self.constrain_zero(as_tensor(left) - right, rule)

    def _raw(self, rows: Rows) -> Row:
        clean = rows.merged()
        if (clean.coefs == 1).all():
            return clean.indptr, clean.wires, np.zeros(len(clean.coefs), np.uint32)
        return clean.indptr, clean.wires, self.coef_ids(clean.coefs)

    def multiply(self, a: Tensor, b: Tensor, rule: str = "product") -> Tensor:
        """Return new wires that are constrained to a * b; proven bounds multiply."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.broadcast_to(shape), b.broadcast_to(shape)
        (product,) = self.hint(rule, lambda x, y: [x * y], [a, b], [shape])
        self.constrain(a, b, product, rule)
        if a.bound is None or b.bound is None:
            return product
        corners = [x * y for x in a.bound for y in b.bound]
        return self.with_bound(product, min(corners), max(corners))

    def with_bound(self, tensor: Tensor, low: int, high: int) -> Tensor:
        """Record a bound that the caller's constraints have just proven."""
        return Tensor(tensor.shape, tensor.rows, checked_bound((low, high)))

    def materialize(self, tensor: Tensor, rule: str = "materialize") -> Tensor:
        """Return the tensor on single wires: new ones, and one linear row each, where needed."""
        if tensor.rows.single_wires() is not None:
            return tensor
        (wires,) = self.hint(rule, lambda x: [x], [tensor], [tensor.shape])
        self.constrain_equal(tensor, wires, rule)
        return Tensor(tensor.shape, wires.rows, tensor.bound)

    def to_field(self, tensor: Tensor) -> Field:
        """Return the tensor's elements as field wires, in row-major order."""
        wires = self.materialize(tensor).rows.single_wires()
        assert wires is not None
        return Field(wires)

    def constant_field(self, values: Sequence[int]) -> Field:
        """Return wires fixed to field constants: one linear row each."""
        limbs = to_limbs([v % FIELD_MODULUS for v in values])
        field = self.field_hint("constant", lambda: limbs, [], len(values))
        n = len(values)
        one = (np.arange(n + 1), np.zeros(n, np.int64), np.zeros(n, np.uint32))
        self.rows(
            "constant",
            (np.arange(n + 1), field.wires, np.zeros(n, np.uint32)),
            one,
            (np.arange(n + 1), np.zeros(n, np.int64), self.coef_ids(list(values))),
        )
        return field

    def constrain_fields_equal(self, left: Field, right: Field, rule: str) -> None:
        """Require left = right, wire by wire."""
        n = len(left)
        if len(right) != n:
            raise InvalidInput(f"{rule}: comparing {n} field elements with {len(right)}")
        indptr, ones = np.arange(n + 1), np.zeros(n, np.uint32)
        one = (indptr, np.zeros(n, np.int64), ones)
        self.rows(rule, (indptr, left.wires, ones), one, (indptr, right.wires, ones))

    def bind_public(self, public: Tensor | Field, value: Tensor | Field) -> None:
        """Constrain a public signal to `value`, and fill it from there when solving."""
        if isinstance(public, Tensor) and isinstance(value, Tensor):
            self.constrain_equal(value, public, "public")
            target, is_field = public.rows.single_wires(), False
            assert target is not None
        elif isinstance(public, Field) and isinstance(value, Field):
            self.constrain_fields_equal(value, public, "public")
            target, is_field = public.wires, True
        else:
            raise InvalidInput("a public signal and its value are of different kinds")
        self.require_round_one(value)
        slot = next(s for s in self._inputs.values() if s.wires.size and s.wires[0] == target[0])
        self._inputs[slot.name] = InputSlot(slot.name, slot.shape, slot.wires, is_field, True, True)
        self._steps.append(Step(self._label("public"), lambda x: x, (value,), target, is_field))

    def build(self) -> Circuit:
        """Freeze the circuit, with the checks that gadgets have deferred.

        Raises InvalidInput unless every wire of round 2 follows from round 1 and the challenges.
        """
        for collector in list(self._deferred.values()):
            collector.close()
        if self.commit:
            first = 2 + len(CHALLENGES) + len(self.evaluations) + len(self._values)
            signals = np.arange(first, first + sum(p.size for p in self._public), dtype=np.int64)
            self.require_round_one(Field(signals))
            fold_signals(self, signals, self._challenges["folded signals"].wires)
        rounds = np.repeat(
            np.array([r for _, r in self._rounds], np.uint8), [n for n, _ in self._rounds]
        )
        is_field = np.zeros(self._n_wires, np.bool_)
        for start, stop in self._field_spans:
            is_field[start:stop] = True
        a, b, c = (_join(m) for m in self._matrices)
        none = np.zeros(0, np.int64)
        circuit = Circuit(
            name=self.name,
            public=tuple(self._public),
            inputs=dict(self._inputs),
            steps=tuple(self._steps),
            a=a,
            b=b,
            c=c,
            coefs=to_limbs(self._coef_ids),
            rounds=rounds,
            is_field=is_field,
            origins=tuple(self._origins),
            challenges=CHALLENGES if self.commit else (),
            links=tuple(self.linked),
            committed=np.unique(np.concatenate([none, *self._committed])),
            definitions=np.concatenate(
                [none.reshape(0, 2), *(np.stack(d, axis=1) for d in self._definitions)]
            ),
            lookups=self.lookup_counts,
            polynomials=self._polynomials,
        )
        if self.commit:
            lint_rounds(circuit)
        return circuit


def _join(parts: list[Row]) -> Csr:
    if not parts:
        return Csr(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32))
    offsets = np.cumsum([0] + [len(p[1]) for p in parts])
    indptr = [p[0][:-1] + o for p, o in zip(parts, offsets, strict=False)]
    return Csr(
        np.concatenate([*indptr, offsets[-1:]]).astype(np.int64),
        np.concatenate([p[1] for p in parts]).astype(np.uint32),
        np.concatenate([p[2] for p in parts]).astype(np.uint32),
    )
