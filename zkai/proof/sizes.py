"""How large a circuit is, in what keys, proofs and the prover's work depend on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from zkai.circuit.r1cs import Circuit
from zkai.circuit.tensor import Ints
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.proof.speed import Scalars
from zkai.proof.zkey import MAX_LOG_DOMAIN

COMMITS = re.compile(r": (poseidon|pack|link)$|\bstate: freivalds$")
"""The places of rows that commit: hashes, packing, and linked states' polynomials."""


@dataclass(frozen=True)
class Sizes:
    """A circuit's size: rows, wires, public signals, challenges of a commitment round, and the
    lengths of linked polynomials.

    `entries` are the nonzero entries of A, B and C, `key_entries` of A and B. `a`, `b`, `first` and
    `rest` say what the products over the key's points take: those of A and B that are not infinity,
    the private wires of round 1 in a commitment, and the others. `ranges` and `tables` say what is
    looked up (`LookupCounts`). `by_place` counts rows.

    `polynomials` counts the public ones. `circuit_digest` is None where the sizes are extrapolated
    and no circuit was built.
    """

    constraints: int
    wires: int
    public: int
    challenges: int
    links: tuple[int, ...]
    entries: int
    key_entries: int
    a: Scalars
    b: Scalars
    first: Scalars
    rest: Scalars
    ranges: tuple[tuple[str, int, bool, int], ...] = ()
    tables: tuple[int, ...] = ()
    by_place: Mapping[str, int] = field(default_factory=dict)
    circuit_digest: str | None = None
    polynomials: int = 0

    @property
    def key_inputs(self) -> int:
        """The proof's public wires: the signals, or their fold, the challenges and evaluations."""
        if not self.challenges:
            return self.public
        return 1 + self.challenges + len(self.links) + self.polynomials

    @property
    def domain(self) -> int:
        """The rows with those that every public wire adds, rounded up to a power of two.

        Raises InvalidInput if that is more than the field's roots of unity allow.
        """
        log = (self.constraints + self.key_inputs).bit_length()
        if log > MAX_LOG_DOMAIN:
            raise InvalidInput(
                f"about {self.constraints:,} constraints, at most 2**{MAX_LOG_DOMAIN} can be proven"
                " at once; use a smaller batch, fewer steps or a smaller model"
            )
        return 1 << log

    @property
    def commitment_rows(self) -> int:
        """The rows that hash, pack or evaluate what is committed to."""
        return sum(n for place, n in self.by_place.items() if COMMITS.search(place))


def sizes_of(circuit: Circuit) -> Sizes:
    """Return a circuit's exact sizes."""
    ic = np.arange(circuit.n_public + 1)
    private = np.arange(circuit.n_public + 1, circuit.n_wires)
    late = circuit.rounds[private] == (2 if circuit.challenges else 1)
    in_key = len(circuit.a.wires) + len(circuit.b.wires)
    return Sizes(
        constraints=circuit.n_constraints,
        wires=circuit.n_wires,
        public=circuit.n_signals,
        challenges=len(circuit.challenges),
        links=tuple(len(link.coefficients.rows) for link in circuit.links),
        entries=in_key + len(circuit.c.wires),
        key_entries=in_key,
        a=_scalars(circuit, np.union1d(circuit.a.wires, ic)),
        b=_scalars(circuit, np.unique(circuit.b.wires)),
        first=_scalars(circuit, private[~late]),
        rest=_scalars(circuit, private[late]),
        ranges=circuit.lookups.ranges,
        tables=circuit.lookups.tables,
        by_place=circuit.counts(),
        circuit_digest=hex32(circuit.digest),
        polynomials=len(circuit.polynomials),
    )


def _scalars(circuit: Circuit, wires: Ints) -> Scalars:
    full = int(np.count_nonzero(circuit.is_field[wires]))
    return Scalars(full, len(wires) - full)
