"""A frozen rank-1 constraint system and the program that fills its witness.

Row i of the circuit requires <A_i, w> * <B_i, w> = <C_i, w> over the scalar field of BN254. Wire 0
is the constant one, then come the public signals in their order, then the private wires.

A circuit with a commitment round has challenges. Its wires are [1 | y | challenges | signals | the
others]: the prover commits to the wires of round 1, signals included, and only then learns the
challenges; y = sum of signal_i fold^i, from i = 1, stands for the signals in the verification.
With linked polynomials their values at fold come after the challenges, public too, and then those
of public polynomials, whose coefficients every verifier knows (polynomial.py).
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import native
from zkai.circuit.polynomial import PublicPolynomial, checked_elements, value_at
from zkai.circuit.tensor import LIMIT, Field, Ints, Rows, Tensor
from zkai.circuit.wide import Wide
from zkai.encoding import FIELD_MODULUS, Limbs, canonical_json, to_limbs
from zkai.errors import InvalidInput, VerificationError

Tamper = Mapping[str, Callable[[Any], Any]]

Witness = Limbs
"""One field element a wire: (n_wires, 4) little-endian limbs in standard form."""


@dataclass(frozen=True, eq=False)
class Csr:
    """A sparse matrix over the field; `coefs` are ids into the circuit's coefficient table."""

    indptr: Ints
    wires: npt.NDArray[np.uint32]
    coefs: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True)
class PublicSignal:
    """A named public value: `size` consecutive field elements."""

    name: str
    size: int


@dataclass(frozen=True, eq=False)
class Combination:
    """Linear combinations that are evaluated over the field, for wires that hold any element."""

    rows: Rows


@dataclass(frozen=True, eq=False)
class LinkedPolynomial:
    """A polynomial whose commitment a proof carries: the signal that names it, and what it holds.

    `coefficients` are of round 1, the constant term first.
    """

    signal: str
    coefficients: Combination


Source = Tensor | Field | Combination | Wide
"""What a step of the witness program reads."""


@dataclass(frozen=True)
class Origin:
    """The rows from `first_row` on come from `rule` at `node` of the model."""

    first_row: int
    node: str
    rule: str

    def __str__(self) -> str:
        return f"{self.node or 'circuit'}: {self.rule}"


@dataclass(frozen=True, eq=False)
class InputSlot:
    """A named input of the circuit; `computed` ones are filled by a step, not by the caller."""

    name: str
    shape: tuple[int, ...]
    wires: Ints
    is_field: bool
    public: bool
    computed: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """One vectorised step of the witness program: fill `wires` with compute(*inputs)."""

    label: str
    compute: Callable[..., Any]
    inputs: tuple[Source, ...]
    wires: Ints
    is_field: bool
    round_number: int = 1


@dataclass(frozen=True)
class LookupCounts:
    """What a circuit looks up in range tables: for estimates, no part of the statement.

    `ranges` has (place, bits, whether it may be wider, number of values), `tables` the bits of the
    tables that were chosen for them.
    """

    ranges: tuple[tuple[str, int, bool, int], ...] = ()
    tables: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Partial:
    """A witness after round 1, the wires of round 2 zero, and public polynomials' coefficients."""

    witness: Witness
    polynomials: Mapping[str, Limbs] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Circuit:
    """A constraint system with its witness program; every row knows where it came from."""

    name: str
    public: tuple[PublicSignal, ...]
    inputs: Mapping[str, InputSlot]
    steps: tuple[Step, ...]
    a: Csr
    b: Csr
    c: Csr
    coefs: Limbs
    rounds: npt.NDArray[np.uint8]
    is_field: npt.NDArray[np.bool_]
    origins: tuple[Origin, ...]
    challenges: tuple[str, ...] = ()
    links: tuple[LinkedPolynomial, ...] = ()
    """Named by the last signals, in their order."""
    committed: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """The wires that an argument of round 2 needs fixed before its challenges."""
    definitions: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(wire, row) for each wire of round 2, in an order in which each follows from the earlier."""
    lookups: LookupCounts = field(default_factory=LookupCounts)
    polynomials: tuple[PublicPolynomial, ...] = ()
    """Known to every verifier; their values at the challenge `fold` are public wires."""

    @property
    def n_wires(self) -> int:
        return len(self.rounds)

    @property
    def n_constraints(self) -> int:
        return len(self.a)

    @property
    def n_signals(self) -> int:
        """The number of public values that a caller sees."""
        return sum(signal.size for signal in self.public)

    def require_plain(self, use: str) -> None:
        """Return None for a circuit without challenges.

        Raises InvalidInput otherwise: in plain Groth16 the prover would choose the challenges.
        """
        if self.challenges:
            raise InvalidInput(
                f"{self.name}: {use} is for plain Groth16; this circuit has a commitment round and"
                " needs the format groth16-commit"
            )

    @property
    def n_public(self) -> int:
        """The public wires of the proof: the signals, or y, the challenges and the evaluations."""
        if not self.challenges:
            return self.n_signals
        return 1 + len(self.challenges) + len(self.links) + len(self.polynomials)

    @property
    def polynomial_wires(self) -> slice:
        """The wires of the public polynomials' values."""
        return slice(1 + self.n_public - len(self.polynomials), 1 + self.n_public)

    @property
    def signal_wires(self) -> Ints:
        """The public signals' wires, in order."""
        first = 1 + self.n_public if self.challenges else 1
        return np.arange(first, first + self.n_signals, dtype=np.int64)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over public signals, the three matrices, their coefficients and the rounds."""
        header: dict[str, Any] = {
            "format": "zkai.circuit/1",
            "public": [[s.name, s.size] for s in self.public],
            "n_wires": self.n_wires,
            "n_constraints": self.n_constraints,
        }
        if self.challenges:
            header |= {"format": "zkai.circuit-commit/1", "challenges": list(self.challenges)}
        if self.links:
            header["links"] = [link.signal for link in self.links]
        if self.polynomials:
            header["polynomials"] = [[p.name, p.size] for p in self.polynomials]
        state = hashlib.sha256(canonical_json(header))
        for matrix in (self.a, self.b, self.c):
            state.update(matrix.indptr.astype("<i8").data)
            state.update(matrix.wires.astype("<u4").data)
            state.update(matrix.coefs.astype("<u4").data)
        state.update(self.coefs.astype("<u8").data)
        state.update(self.rounds.data)
        return state.digest()

    def origin(self, row: int) -> Origin:
        """Return where row number `row` came from."""
        index = bisect.bisect_right(self.origins, row, key=lambda o: o.first_row) - 1
        return self.origins[index]

    def counts(self) -> dict[str, int]:
        """Return the number of rows by "node: rule", largest first."""
        ends = [o.first_row for o in self.origins[1:]] + [self.n_constraints]
        total: Counter[str] = Counter()
        for origin, end in zip(self.origins, ends, strict=True):
            total[str(origin)] += end - origin.first_row
        return dict(total.most_common())

    def solve(
        self,
        inputs: Mapping[str, Any],
        tamper: Tamper | None = None,
        challenge: Callable[[Witness], Sequence[int]] | None = None,
    ) -> Witness:
        """Return the witness for named inputs; it is not checked (see `check`).

        Integers go to integer inputs, values in [0, r) to field inputs. `tamper` maps a step's
        label to a function of its output: tests forge intermediate values with it, and every later
        step computes on from the forged value. A circuit with challenges needs `challenge`, which
        returns them for the witness of round 1.

        Raises InvalidInput for missing, unknown, wrongly shaped or out-of-range inputs.
        """
        partial = self.begin(inputs, tamper)
        if not self.challenges:
            return partial.witness
        if challenge is None:
            raise InvalidInput(f"{self.name}: its challenges come from a commitment to round 1")
        return self.finish(partial, challenge(self.round_one(partial)), tamper)

    def begin(self, inputs: Mapping[str, Any], tamper: Tamper | None = None) -> Partial:
        """Run round 1: the inputs and every step that needs no challenge.

        Raises InvalidInput as `solve` does.
        """
        ints = np.zeros(self.n_wires, np.int64)
        ints[0] = 1
        fields = np.zeros((self.n_wires, 4), np.uint64)
        names = [p.name for p in self.polynomials]
        self._fill_inputs({n: v for n, v in inputs.items() if n not in names}, ints, fields)
        polynomials = {p.name: p.coefficients(inputs.get(p.name)) for p in self.polynomials}
        unknown = set(tamper or {}) - {step.label for step in self.steps}
        if unknown:
            raise InvalidInput(f"no step of this circuit is called {sorted(unknown)}")
        for step in self.steps:
            if step.round_number == 1:
                output = _run(step, [self._value(x, ints, fields) for x in step.inputs], tamper)
                if step.is_field:
                    fields[step.wires] = output
                else:
                    ints[step.wires] = np.ravel(output)
        whole = np.flatnonzero(~self.is_field)
        fields[whole] = native.fr_from_int64(ints[whole])
        return Partial(fields, polynomials)

    def round_one(self, partial: Partial) -> Witness:
        """Return every wire's value after round 1, read-only; those of round 2 are zero."""
        values = partial.witness.view()
        values.flags.writeable = False
        return values

    def finish(
        self, partial: Partial, challenges: Sequence[int], tamper: Tamper | None = None
    ) -> Witness:
        """Return the whole witness for the challenges, in the order of `self.challenges`.

        Raises InvalidInput for another number of challenges or one outside [0, r).
        """
        if len(challenges) != len(self.challenges):
            raise InvalidInput(
                f"{self.name}: expected {len(self.challenges)} challenges, got {len(challenges)}"
            )
        fields = partial.witness.copy()
        fields[2 : 2 + len(challenges)] = _field_values("challenges", len(challenges), challenges)
        if self.polynomials:
            fields[self.polynomial_wires] = to_limbs(
                [value_at(partial.polynomials[p.name], challenges[0]) for p in self.polynomials]
            )
        for step in self.steps:
            if step.round_number == 2:
                values = [_field_value(x, fields) for x in step.inputs]
                fields[step.wires] = _run(step, values, tamper)
        return fields

    def _value(self, source: Source, ints: Ints, fields: Limbs) -> Ints | Limbs:
        if isinstance(source, Tensor):
            return source.evaluate(ints)
        if isinstance(source, Combination | Wide):
            raise InvalidInput(f"{self.name}: a step of round 1 reads a combination over the field")
        values = fields[source.wires]
        whole = ~self.is_field[source.wires]
        if whole.any():
            values[whole] = native.fr_from_int64(ints[source.wires[whole]])
        return values

    def _fill_inputs(self, inputs: Mapping[str, Any], ints: Ints, fields: Limbs) -> None:
        wanted = {name for name, slot in self.inputs.items() if not slot.computed}
        if missing := sorted(wanted - set(inputs)):
            raise InvalidInput(f"{self.name}: missing input {', '.join(missing)}")
        if unknown := sorted(set(inputs) - wanted):
            raise InvalidInput(f"{self.name}: unknown input {', '.join(unknown)}")
        for name in wanted:
            slot = self.inputs[name]
            if slot.is_field:
                fields[slot.wires] = _field_values(name, slot.wires.size, inputs[name])
            else:
                ints[slot.wires] = _int_values(name, slot.shape, inputs[name]).ravel()

    def check(self, witness: Witness) -> None:
        """Return None if the witness satisfies every row.

        Raises VerificationError naming the first failing row, its rule and its node.
        """
        if witness.shape != (self.n_wires, 4):
            raise InvalidInput(f"{self.name}: the witness has the wrong number of wires")
        row = native.r1cs_check(self.a, self.b, self.c, self.coefs, witness)
        if row >= 0:
            raise VerificationError(
                f"{self.name}: constraint {row} of {self.n_constraints} does not hold "
                f"({self.origin(row)})"
            )

    def public_values(self, witness: Witness) -> Limbs:
        """Return the public wires' values, (n_public, 4), in order."""
        return witness[1 : 1 + self.n_public]

    def signal_values(self, witness: Witness) -> Limbs:
        """Return the public signals' values, (n_signals, 4), in order."""
        return witness[self.signal_wires]


SMALL_COEFFICIENTS = 256


def combine(rows: Rows, fields: Limbs) -> Limbs:
    """Return each row's value over the field for the wires' values, (n, 4)."""
    single = rows.single_wires()
    if single is not None:
        return fields[single]
    n = len(rows.wires)
    if not n:
        return np.zeros((len(rows), 4), np.uint64)
    # One value an entry: gathering a wire twice costs less than finding out that it occurs twice.
    table, which = _coefficient_table(rows.coefs)
    matrix = Csr(rows.indptr, np.arange(n, dtype=np.uint32), which)
    (values,) = native.r1cs_evaluate((matrix,), table, fields[rows.wires], len(rows))
    return native.from_montgomery(values)


def _coefficient_table(coefs: Ints) -> tuple[Limbs, npt.NDArray[np.uint32]]:
    """Return a table of field elements that holds all coefficients, and each one's place in it."""
    low, high = int(coefs.min()), int(coefs.max())
    if high - low < SMALL_COEFFICIENTS:
        return native.fr_from_int64(np.arange(low, high + 1)), (coefs - low).astype(np.uint32)
    return native.fr_from_int64(coefs), np.arange(len(coefs), dtype=np.uint32)


def _field_value(source: Source, fields: Limbs) -> Limbs:
    if isinstance(source, Wide):
        return source.evaluate(fields)
    return fields[source.wires] if isinstance(source, Field) else combine(source.rows, fields)


def _run(step: Step, values: Sequence[Any], tamper: Tamper | None) -> Any:
    output = step.compute(*values)
    return tamper[step.label](output) if tamper and step.label in tamper else output


def _field_values(name: str, size: int, value: Any) -> Limbs:
    if isinstance(value, np.ndarray) and value.dtype == np.uint64:
        return checked_elements(f"input {name}", size, value)
    values = [value] if isinstance(value, int) else list(value)
    if len(values) != size:
        raise InvalidInput(f"input {name}: expected {size} field elements, got {len(values)}")
    if not all(isinstance(v, int) and 0 <= v < FIELD_MODULUS for v in values):
        raise InvalidInput(f"input {name}: expected integers in [0, r)")
    return to_limbs(values)


def _int_values(name: str, shape: tuple[int, ...], value: Any) -> Ints:
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise InvalidInput(f"input {name}: expected integers, got {array.dtype}")
    if array.shape != shape:
        raise InvalidInput(f"input {name}: expected shape {shape}, got {array.shape}")
    if array.size and (int(array.max()) >= LIMIT or int(array.min()) <= -LIMIT):
        raise InvalidInput(f"input {name}: a magnitude reaches 2**62")
    return array.astype(np.int64)
