"""A frozen rank-1 constraint system and the program that fills its witness.

Row i of the circuit requires <A_i, w> * <B_i, w> = <C_i, w> over the scalar field of BN254. Wire 0
is the constant one, then come the public signals in their order, then the private wires.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import native
from zkai.circuit.tensor import LIMIT, Field, Ints, Tensor
from zkai.encoding import FIELD_MODULUS, Limbs, canonical_json, to_limbs
from zkai.errors import InvalidInput, VerificationError

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
    inputs: tuple[Tensor | Field, ...]
    wires: Ints
    is_field: bool


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

    @property
    def n_wires(self) -> int:
        return len(self.rounds)

    @property
    def n_constraints(self) -> int:
        return len(self.a)

    @property
    def n_public(self) -> int:
        return sum(signal.size for signal in self.public)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over public signals, the three matrices, their coefficients and the rounds."""
        header = {
            "format": "zkai.circuit/1",
            "public": [[s.name, s.size] for s in self.public],
            "n_wires": self.n_wires,
            "n_constraints": self.n_constraints,
        }
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
        tamper: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> Witness:
        """Return the witness for named inputs; it is not checked (see `check`).

        Integers go to integer inputs, values in [0, r) to field inputs. `tamper` maps a step's
        label to a function of its output: tests forge intermediate values with it, and every later
        step computes on from the forged value.

        Raises InvalidInput for missing, unknown, wrongly shaped or out-of-range inputs.
        """
        ints = np.zeros(self.n_wires, np.int64)
        ints[0] = 1
        fields = np.zeros((self.n_wires, 4), np.uint64)
        self._fill_inputs(inputs, ints, fields)
        unknown = set(tamper or {}) - {step.label for step in self.steps}
        if unknown:
            raise InvalidInput(f"no step of this circuit is called {sorted(unknown)}")
        for step in self.steps:
            arguments = [self._value(x, ints, fields) for x in step.inputs]
            output = step.compute(*arguments)
            if tamper and step.label in tamper:
                output = tamper[step.label](output)
            if step.is_field:
                fields[step.wires] = output
            else:
                ints[step.wires] = np.ravel(output)
        whole = np.flatnonzero(~self.is_field)
        fields[whole] = native.fr_from_int64(ints[whole])
        return fields

    def _value(self, source: Tensor | Field, ints: Ints, fields: Limbs) -> Ints | Limbs:
        if isinstance(source, Tensor):
            return source.evaluate(ints)
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
        """Return the public signals' values, (n_public, 4), in order."""
        return witness[1 : 1 + self.n_public]


def _field_values(name: str, size: int, value: Any) -> Limbs:
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
