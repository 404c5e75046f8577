"""The lint of the commitment round: what a finished circuit must show before a proof is sound.

The argument needs that nothing the prover may still choose depends on a challenge. So every wire
of round 2 must be a function of round 1 and the challenges: it has one defining row, in which it
stands in one matrix and every other wire is of round 1, a challenge, or has an earlier definition.
Where it stands in a factor, the other factor holds a challenge: a prover could make one without a
challenge 0, and the wire would be free.
And what an argument checks with challenges (operands of a product, values and multiplicities of a
lookup, remainders, the public signals, coefficients of a linked polynomial) must be of round 1.
The only public wires of round 2 are y, the challenges, polynomials' evaluations; y and those of
linked polynomials need definitions as private wires do: a free one would be chosen to fit. Those of
public polynomials are no prover's to choose: every verifier computes them (polynomial.py).
"""

from __future__ import annotations

import numpy as np

from zkai.circuit.r1cs import Circuit, Csr
from zkai.circuit.tensor import Ints
from zkai.errors import InvalidInput

FOLDED = 1
"""The wire of the folded signals: public, and defined by a row as the wires of round 2 are."""


def lint_rounds(circuit: Circuit) -> None:
    """Return None if the circuit's partition into two rounds keeps the argument sound.

    Raises InvalidInput naming the first wire that breaks a rule, and where its row comes from.
    """
    n, defined = circuit.n_wires, 2 + len(circuit.challenges)
    linked = defined + len(circuit.links)
    first = linked + len(circuit.polynomials)
    rounds = circuit.rounds
    if not circuit.challenges or circuit.challenges[0] != "fold":
        raise InvalidInput(f"{circuit.name}: a commitment round folds its signals by a challenge")
    if rounds[0] != 1 or (rounds[1:first] != 2).any() or not np.isin(rounds, (1, 2)).all():
        raise InvalidInput(f"{circuit.name}: a wire that IC holds is in the wrong round")
    _check_links(circuit)
    coefficients = [link.coefficients.rows.wires for link in circuit.links]
    committed = np.concatenate([circuit.committed, circuit.signal_wires, *coefficients])
    if (late := committed[rounds[committed] != 1]).size:
        raise InvalidInput(
            f"{circuit.name}: wire {int(late[0])} is checked with a challenge, but it is in round 2"
        )
    wires, rows = circuit.definitions.T
    order = np.full(n, -1, np.int64)  # the place of a wire's definition; -1 is known from the start
    second = np.flatnonzero(rounds == 2)
    second = second[
        (second == FOLDED) | ((second >= defined) & (second < linked)) | (second >= first)
    ]
    if len(np.unique(wires)) != len(wires) or len(np.unique(rows)) != len(rows):
        raise InvalidInput(f"{circuit.name}: a row or a wire of round 2 has two definitions")
    if (free := np.setxor1d(wires, second)).size:
        raise InvalidInput(
            f"{circuit.name}: wire {int(free[0])} is in round {int(rounds[free[0]])} and has "
            f"{'no' if free[0] in second else 'a'} definition from round 1 and the challenges"
        )
    order[wires] = np.arange(len(wires))
    _check_definitions(circuit, wires, rows, order)


def _check_links(circuit: Circuit) -> None:
    n = len(circuit.links)
    names = [name for signal in circuit.public for name in [signal.name] * signal.size]
    if n and [link.signal for link in circuit.links] != names[-n:]:
        raise InvalidInput(f"{circuit.name}: linked polynomials are named by the last signals")


def _check_definitions(circuit: Circuit, wires: Ints, rows: Ints, order: Ints) -> None:
    own = np.zeros(len(wires), np.int64)
    for matrix in (circuit.a, circuit.b, circuit.c):
        place, found = _entries(matrix, rows)
        own += np.bincount(place[found == wires[place]], minlength=len(wires))
        late = (order[found] >= place) & (found != wires[place])
        if late.any():
            row = int(rows[place[late][0]])
            raise InvalidInput(
                f"{circuit.name}: row {row} ({circuit.origin(row)}) defines a wire by wire "
                f"{int(found[late][0])}, which is not known before it"
            )
    if (bad := own != 1).any():
        row = int(rows[bad][0])
        raise InvalidInput(
            f"{circuit.name}: row {row} ({circuit.origin(row)}) does not define its wire "
            f"{int(wires[bad][0])} once"
        )
    for matrix, other in ((circuit.a, circuit.b), (circuit.b, circuit.a)):
        _check_factors(circuit, wires, rows, matrix, other)


def _check_factors(circuit: Circuit, wires: Ints, rows: Ints, matrix: Csr, other: Csr) -> None:
    """Require a challenge in `other` where a wire is defined in `matrix`."""
    place, found = _entries(matrix, rows)
    within = place[found == wires[place]]
    place, found = _entries(other, rows)
    known = (found > FOLDED) & (found < 2 + len(circuit.challenges))
    if (bad := np.setdiff1d(within, place[known])).size:
        row = int(rows[bad[0]])
        raise InvalidInput(
            f"{circuit.name}: row {row} ({circuit.origin(row)}) defines wire"
            f" {int(wires[bad[0]])} by a factor without a challenge: where it is 0, nothing does"
        )


def _entries(matrix: Csr, rows: Ints) -> tuple[Ints, Ints]:
    """Return, for each entry of the rows, its place among them and its wire."""
    lengths = np.diff(matrix.indptr)[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    place = np.repeat(np.arange(len(rows)), lengths)
    source = np.repeat(matrix.indptr[rows] - starts[:-1], lengths) + np.arange(starts[-1])
    return place, matrix.wires[source].astype(np.int64)
