"""Many changed witnesses of one circuit at once: which of them does no row refuse?

A try changes a few wires of a witness that satisfies the circuit. Only the rows that hold one of
them can notice, so each try costs those rows alone. With a commitment round, a try that changes
wires of round 1 may let round 2 follow, as a prover must: the definitions that hold a changed wire
are solved anew, level by level. The challenges stay those of the witness. They are random and no
try depends on them, so that one set of them tells as much as fresh ones for each try.

`accepted` works on all tries together; nothing here loops over wires or tries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zkai import native
from zkai.circuit.r1cs import Circuit, Csr, Witness
from zkai.circuit.tensor import Ints
from zkai.encoding import Limbs


@dataclass(frozen=True)
class _Touches:
    """The entries of changed wires: which try, which row, what counts there."""

    tries: Ints
    rows: Ints
    sides: Ints
    coefs: Ints
    changes: Ints
    """Indices into the list of all changes."""

    def __getitem__(self, kept: Ints) -> _Touches:
        return _Touches(*(part[kept] for part in vars(self).values()))

    def join(self, other: _Touches) -> _Touches:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Touches(*(np.concatenate(pair) for pair in pairs))


class Perturber:
    """A circuit and a witness that satisfies it."""

    def __init__(self, circuit: Circuit, witness: Witness) -> None:
        circuit.check(witness)
        self.circuit = circuit
        self._sides = [
            native.from_montgomery(side)
            for side in native.r1cs_evaluate(
                (circuit.a, circuit.b, circuit.c), circuit.coefs, witness, circuit.n_constraints
            )
        ]

    # The circuit's entries by wire ------------------------------------------------------------

    @cached_property
    def _entries(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Every entry as (start by wire, row, side, coefficient id), sorted by wire."""
        matrices = (self.circuit.a, self.circuit.b, self.circuit.c)
        rows = [np.repeat(np.arange(len(m)), np.diff(m.indptr)) for m in matrices]
        sides = np.repeat(np.arange(3), [len(r) for r in rows])
        wires = np.concatenate([m.wires for m in matrices])
        order = np.argsort(wires, kind="stable")
        start = np.searchsorted(wires[order], np.arange(self.circuit.n_wires + 1))
        coefs = np.concatenate([m.coefs for m in matrices])
        return start, np.concatenate(rows)[order], sides[order], coefs[order].astype(np.int64)

    @cached_property
    def _definitions(self) -> tuple[Ints, Ints, Ints, Ints]:
        """By row: the wire of round 2 that it defines or -1, its level, its side, its coefficient.

        Public ones are no such wires: the verifier has the folded signals and the evaluations.
        """
        circuit = self.circuit
        defined = np.full(circuit.n_constraints, -1)
        level = np.zeros(circuit.n_constraints, np.int64)
        side, coef = level.copy(), level.copy()
        wire_level = np.zeros(circuit.n_wires, np.int64)
        matrices = (circuit.a, circuit.b, circuit.c)
        for wire, row in circuit.definitions.tolist():
            if wire <= circuit.n_public:
                continue
            defined[row] = wire
            for i, m in enumerate(matrices):
                found = m.wires[m.indptr[row] : m.indptr[row + 1]]
                level[row] = max(level[row], 1 + wire_level[found].max(initial=0))
                if (place := np.flatnonzero(found == wire)).size:
                    side[row], coef[row] = i, m.coefs[m.indptr[row] + place[0]]
            wire_level[wire] = level[row]
        return defined, level, side, coef

    def _touch(self, tries: Ints, wires: Ints, first: int) -> _Touches:
        """The entries of changed wires; change number `first` is that of the first wire."""
        start, rows, sides, coefs = self._entries
        counts = start[wires + 1] - start[wires]
        ends = np.cumsum(counts)
        which = np.repeat(np.arange(len(wires)), counts)
        at = np.repeat(start[wires] - ends + counts, counts) + np.arange(len(which))
        return _Touches(tries[which], rows[at], sides[at], coefs[at], first + which)

    # Tries ------------------------------------------------------------------------------------

    def accepted(self, wires: Ints, changes: Limbs, follow: bool = False) -> Ints:
        """Return which tries every row accepts: those of (n, k) wires and (n * k, 4) changes.

        The wires of a try are distinct. With `follow` they are of round 1, and round 2 follows.
        """
        tries = np.repeat(np.arange(len(wires)), wires.shape[1])
        touches = self._touch(tries, wires.ravel(), 0)
        if follow:
            touches, changes = self._follow(touches, changes)
        tries_of_rows, rows, values = self._evaluate(touches, changes)
        if follow:
            checked = self._definitions[0][rows] < 0
            tries_of_rows, values = tries_of_rows[checked], [v[checked] for v in values]
        left = native.fr_sub(native.fr_mul(values[0], values[1]), values[2])
        refused = np.zeros(len(wires), np.bool_)
        refused[tries_of_rows[left.any(axis=1)]] = True
        return ~refused

    def _follow(self, touches: _Touches, changes: Limbs) -> tuple[_Touches, Limbs]:
        defined, levels, sides, coefs = self._definitions
        inverses = native.fr_inv(self.circuit.coefs)
        for level in range(1, int(levels.max(initial=0)) + 1):
            due = levels[touches.rows] == level
            if not due.any():
                continue
            tries, rows, values = self._evaluate(touches[due], changes)
            a, b, c = values
            side = sides[rows]
            # a wire in C takes what A B says; one in A or B what is left to be divided
            quotient = native.fr_mul(c, native.fr_inv(np.where((side == 0)[:, None], b, a)))
            target = np.where((side == 2)[:, None], native.fr_mul(a, b), quotient)
            now = np.choose(side[:, None], [a, b, c])
            made = native.fr_mul(native.fr_sub(target, now), inverses[coefs[rows]])
            moved = made.any(axis=1)
            wires = defined[rows][moved]
            touches = touches[~due].join(self._touch(tries[moved], wires, len(changes)))
            # a definition holds its own wire, which satisfies it now
            changes = np.concatenate([changes, made[moved]])
            touches = touches[levels[touches.rows] != level]
        return touches, changes

    def _evaluate(self, touches: _Touches, changes: Limbs) -> tuple[Ints, Ints, list[Limbs]]:
        """Return the touched (try, row) pairs and the three sides' values there."""
        keys = touches.tries * self.circuit.n_constraints + touches.rows
        pairs, where = np.unique(keys, return_inverse=True)
        tries, rows = np.divmod(pairs, self.circuit.n_constraints)
        values = []
        for side, base in enumerate(self._sides):
            mine = np.flatnonzero(touches.sides == side)
            mine = mine[np.argsort(where[mine], kind="stable")]
            indptr = np.searchsorted(where[mine], np.arange(len(pairs) + 1)).astype(np.int64)
            matrix = Csr(
                indptr,
                touches.changes[mine].astype(np.uint32),
                touches.coefs[mine].astype(np.uint32),
            )
            (moved,) = native.r1cs_evaluate((matrix,), self.circuit.coefs, changes, len(pairs))
            values.append(native.fr_add(base[rows], native.from_montgomery(moved)))
        return tries, rows, values


# What to try --------------------------------------------------------------------------------------


def private_wires(circuit: Circuit, committed: bool) -> Ints:
    """The wires that a prover fills, or those of them that it commits to."""
    wires = np.arange(1 + circuit.n_public, circuit.n_wires)
    return wires[circuit.rounds[wires] == 1] if committed else wires


def singles(circuit: Circuit, committed: bool = False) -> tuple[Ints, Limbs]:
    """Each private wire by one, and by an element at random."""
    return by_one_and_at_random(private_wires(circuit, committed))


def by_one_and_at_random(wires: Ints) -> tuple[Ints, Limbs]:
    """Two tries for each of these wires."""
    one = np.zeros((len(wires), 4), np.uint64)
    one[:, 0] = 1
    changes = np.concatenate([one, at_random(np.random.default_rng(1), len(wires))])
    return np.tile(wires, 2)[:, None], changes


def pairs(circuit: Circuit, n: int, committed: bool = False) -> tuple[Ints, Limbs]:
    """3n pairs of private wires: n anywhere, n that share a side of a row, n of these balanced.

    Balanced changes leave the side's sum as it is: k1 (t k2) + k2 (-t k1) = 0. Changes are small
    for every other pair, and else random elements.
    """
    rng = np.random.default_rng(2)
    wires = private_wires(circuit, committed)
    first = rng.integers(0, len(wires), n)
    second = (first + rng.integers(1, len(wires), n)) % len(wires)
    together, factors = _of_one_side(circuit, wires, 2 * n, rng)
    changes = _changes(rng, 4 * n)
    t = np.repeat(_changes(rng, n), 2, axis=0)
    balanced = native.fr_mul(t, factors[2 * n :])
    chosen = np.concatenate([np.stack([wires[first], wires[second]], axis=1), together])
    return chosen, np.concatenate([changes, balanced])


def at_random(rng: np.random.Generator, n: int) -> Limbs:
    """n field elements."""
    words = rng.integers(0, 1 << 63, (n, 4)).astype(np.uint64)
    words[:, 3] >>= np.uint64(3)
    return words


def _changes(rng: np.random.Generator, n: int) -> Limbs:
    """n changes of wires, half of them small."""
    small = native.fr_from_int64(rng.choice([-256, -2, -1, 1, 2, 256], n).astype(np.int64))
    return np.where((rng.random(n) < 0.5)[:, None], small, at_random(rng, n))


def _of_one_side(
    circuit: Circuit, wires: Ints, n: int, rng: np.random.Generator
) -> tuple[Ints, Limbs]:
    """n pairs of wires that stand on one side of a row, and k2, -k1 of their coefficients.

    Every place in the model is as likely as another, however many rows it has.
    """
    usable = np.zeros(circuit.n_wires, np.bool_)
    usable[wires] = True
    places, sides = [], (circuit.a, circuit.b, circuit.c)
    for side, matrix in enumerate(sides):
        row = np.repeat(np.arange(len(matrix)), np.diff(matrix.indptr))
        kept = np.flatnonzero(usable[matrix.wires])
        rows = 3 * row[kept] + side
        places.append((rows, matrix.wires[kept].astype(np.int64), matrix.coefs[kept]))
    rows, wire, coef = (np.concatenate(part) for part in zip(*places, strict=True))
    order = np.argsort(rows, kind="stable")
    rows, wire, coef = rows[order], wire[order], coef[order]
    starts = np.searchsorted(rows, rows, "left")
    counts = np.searchsorted(rows, rows, "right") - starts
    several = np.flatnonzero(counts > 1)
    firsts = np.array([origin.first_row for origin in circuit.origins])
    origin, begin, size = np.unique(
        np.searchsorted(firsts, rows[several] // 3, "right"), return_index=True, return_counts=True
    )
    drawn = rng.integers(0, len(origin), n)
    one = several[begin[drawn] + rng.integers(0, size[drawn])]
    other = starts[one] + (one - starts[one] + rng.integers(1, counts[one])) % counts[one]
    minus = native.fr_sub(np.zeros((n, 4), np.uint64), circuit.coefs[coef[one]])
    factors = np.stack([circuit.coefs[coef[other]], minus], axis=1).reshape(-1, 4)
    return np.stack([wire[one], wire[other]], axis=1), factors


def kept_rows(matrix: Csr, rows: Ints) -> Csr:
    """Some rows of a matrix."""
    lengths = np.diff(matrix.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = np.repeat(matrix.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Csr(indptr, matrix.wires[source], matrix.coefs[source])
