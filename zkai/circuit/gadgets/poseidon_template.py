"""One Poseidon permutation as rows of a constraint system, computed once per width.

Each S-box is three rows: x * x = x2, x2 * x2 = x4, x4 * x = y. Its input x is a wire, except in the
first round, where x is an input plus a round constant. Its output y = x^5 is no wire: the linear
layers are invertible, so y is written as a linear combination of the *later* S-box inputs. Every
linear layer then appears once, on the right-hand side, and costs no row: full * t + partial
S-boxes give three times as many rows and as many wires. As the layers' inverses are exact, the
rows have one solution for given inputs: the permutation's.

Source: ePrint 2019/458 (Poseidon); the parameters are those of `zkai.native_poseidon.parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zkai import native_poseidon
from zkai.encoding import FIELD_MODULUS, from_limbs

Ints = npt.NDArray[np.int64]
Vector = list[int]
Matrix = list[Vector]
Row = dict[int, int]
"""A linear combination: coefficient by slot."""

ONE = 0
"""Slot 0 is the constant one; 1..t are the initial state; then x2, x4 and x' of each S-box; last
what is added to the initial state, entry by entry of those that have an addend."""


@dataclass(frozen=True)
class Shape:
    """Width and round numbers of a Poseidon permutation."""

    t: int
    full: int
    partial: int

    @property
    def n_sboxes(self) -> int:
        return self.full * self.t + self.partial

    @property
    def n_wires(self) -> int:
        """Wires that a permutation adds: x2, x4 and x' of each S-box."""
        return 3 * self.n_sboxes

    def slot(self, sbox: int, part: int) -> int:
        """Return the slot of x2 (0), x4 (1) or x' (2), the input of S-box `sbox` + t."""
        return 1 + self.t + 3 * sbox + part

    def input_slot(self, sbox: int) -> int:
        """Return the slot of the input of an S-box after the first round."""
        return self.slot(sbox - self.t, 2)


@dataclass(frozen=True, eq=False)
class Side:
    """One side (A, B or C) of the template's rows: lengths, slots and ids into its values."""

    lengths: Ints
    slots: Ints
    values: Ints


@dataclass(frozen=True, eq=False)
class Template:
    """The rows of one permutation over slots, and the distinct coefficients they use."""

    shape: Shape
    sides: tuple[Side, Side, Side]
    values: tuple[int, ...]

    @property
    def n_rows(self) -> int:
        return len(self.sides[0].lengths)


@lru_cache(maxsize=256)
def template(
    shape: Shape, constants: tuple[tuple[int, int], ...], outputs: int, added: int = 0
) -> Template:
    """Return the rows of a permutation, three for each S-box.

    `constants` lists (index, value) of initial entries that are constants, `outputs` is the mask of
    final entries that the last x' slots hold (the others hold x^5 there), and `added` that of the
    initial entries to which a further slot is added.
    """
    fixed = dict(constants)
    addends = [i for i in range(shape.t) if added >> i & 1]
    extra = {i: 1 + shape.t + shape.n_wires + place for place, i in enumerate(addends)}
    first = _constants(shape)[0]
    results = _sbox_outputs(shape, outputs)
    sides: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for i in range(shape.n_sboxes):
        if i >= shape.t:
            x = {shape.input_slot(i): 1}
        elif i in fixed:
            x = {ONE: first[i] + fixed[i]}
        else:
            x = {ONE: first[i], 1 + i: 1}
        if i in extra:
            x[extra[i]] = 1
        x2, x4 = {shape.slot(i, 0): 1}, {shape.slot(i, 1): 1}
        for side, rows in zip(sides, ((x, x2, x4), (x, x2, x), (x2, x4, results[i])), strict=True):
            side.extend(rows)
    values: dict[int, int] = {}
    packed = [_side(rows, values) for rows in sides]
    return Template(shape, (packed[0], packed[1], packed[2]), tuple(values))


def _side(rows: list[Row], values: dict[int, int]) -> Side:
    lengths: list[int] = []
    slots: list[int] = []
    ids: list[int] = []
    for row in rows:
        entries = [(s, v % FIELD_MODULUS) for s, v in sorted(row.items()) if v % FIELD_MODULUS]
        lengths.append(len(entries))
        slots.extend(s for s, _ in entries)
        ids.extend(values.setdefault(v, len(values)) for _, v in entries)
    return Side(np.array(lengths, np.int64), np.array(slots, np.int64), np.array(ids, np.int64))


def _constants(shape: Shape) -> Matrix:
    flat = from_limbs(native_poseidon.parameters(shape.t, shape.full, shape.partial)[0])
    return [flat[i : i + shape.t] for i in range(0, len(flat), shape.t)]


@lru_cache(maxsize=64)
def _matrices(shape: Shape) -> tuple[Matrix, Matrix]:
    """Return the linear layer and its inverse."""
    flat = from_limbs(native_poseidon.parameters(shape.t, shape.full, shape.partial)[1])
    matrix = [flat[i : i + shape.t] for i in range(0, len(flat), shape.t)]
    return matrix, _inverse(matrix)


@lru_cache(maxsize=64)
def _sbox_outputs(shape: Shape, outputs: int) -> list[Row]:
    """Return every S-box's output x^5 as a combination of the slots after it."""
    half = shape.full // 2
    rows: list[Row] = []
    for r in range(half - 1):
        rows += _full_round(shape, r, (r + 1) * shape.t)
    rows += _middle(shape)
    for r in range(half + shape.partial, shape.full + shape.partial - 1):
        rows += _full_round(shape, r, len(rows) + shape.t)
    return rows + _last_round(shape, outputs)


def _full_round(shape: Shape, round_index: int, next_sbox: int) -> list[Row]:
    """Invert x' = M y + c between full round `round_index` and the next, also full."""
    constants = _constants(shape)[round_index + 1]
    _, inverse = _matrices(shape)
    slots = [shape.input_slot(next_sbox + j) for j in range(shape.t)]
    return [{ONE: -_dot(row, constants), **dict(zip(slots, row, strict=True))} for row in inverse]


def _last_round(shape: Shape, outputs: int) -> list[Row]:
    """Return the last outputs: wires of their own, or solved from the final entries asked for.

    With O the indices in `outputs` and K the rest, final_O = M_OO y_O + M_OK y_K; a square part of
    a Cauchy matrix is invertible.
    """
    matrix, _ = _matrices(shape)
    slots = [shape.slot(shape.n_sboxes - shape.t + j, 2) for j in range(shape.t)]
    asked = [j for j in range(shape.t) if outputs >> j & 1]
    kept = [j for j in range(shape.t) if j not in asked]
    rows: list[Row] = [{slot: 1} for slot in slots]
    inverse = _inverse([[matrix[i][j] for j in asked] for i in asked])
    for i, solve in zip(asked, inverse, strict=True):
        rows[i] = {slots[j]: s for j, s in zip(asked, solve, strict=True)}
        for j in kept:
            rows[i][slots[j]] = -_dot(solve, [matrix[o][j] for o in asked])
    return rows


def _middle(shape: Shape) -> list[Row]:
    """Return the outputs of the last full round before the partial rounds, and of the latter.

    With M^-1 = [[d, e], [a, B]], u_k the S-box inputs of the partial rounds, s_k the other entries
    and U the inputs of the full round after them (s_partial = U[1:], u_partial = U[0]):
      y_k = d u_{k+1} + e s_{k+1},  s_k = a u_{k+1} + B s_{k+1},  less the round constants; hence
      s_k = sum_{j > k} B^(j-k-1) a u_j + B^(partial-k) s_partial + kappa_k.
    """
    t, partial = shape.t, shape.partial
    start = shape.full // 2 * t  # the first partial S-box
    _, inverse = _matrices(shape)
    d, e = inverse[0][0], inverse[0][1:]
    a, b = [row[0] for row in inverse[1:]], [row[1:] for row in inverse[1:]]
    columns = list(zip(*b, strict=True))
    input_slots = [shape.input_slot(start + k) for k in range(partial + t)]
    powers = [a]  # B^j a
    left = [e]  # e B^j
    for _ in range(partial):
        powers.append([_dot(row, powers[-1]) for row in b])
        left.append([_dot(column, left[-1]) for column in columns])
    toeplitz = [_dot(e, p) for p in powers]
    kappa = _carried_constants(shape, a, b)

    bridge = [row[1:] for row in inverse]  # M^-1's part that meets s_0
    far = bridge
    for _ in range(partial):
        far = [[_dot(column, row) for column in columns] for row in far]
    constants = _constants(shape)[shape.full // 2 :]
    rows: list[Row] = []
    for i in range(t):
        row = {input_slots[0]: inverse[i][0]}
        row |= {input_slots[j]: _dot(bridge[i], powers[j - 1]) for j in range(1, partial + 1)}
        row |= dict(zip(input_slots[partial + 1 :], far[i], strict=True))
        row[ONE] = _dot(bridge[i], kappa[0]) - _dot(inverse[i], constants[0])
        rows.append(row)
    for k in range(partial):
        row = {input_slots[k + 1]: d}
        row |= {input_slots[j]: toeplitz[j - k - 2] for j in range(k + 2, partial + 1)}
        row |= dict(zip(input_slots[partial + 1 :], left[partial - k - 1], strict=True))
        row[ONE] = _dot(e, kappa[k + 1]) - _dot(inverse[0], constants[k + 1])
        rows.append(row)
    return rows


def _carried_constants(shape: Shape, a: Vector, b: Matrix) -> Matrix:
    """Return kappa_0..kappa_partial: what the round constants add to each s_k."""
    constants = _constants(shape)[shape.full // 2 :]
    kappa: Matrix = [[0] * (shape.t - 1)]
    for k in range(shape.partial - 1, -1, -1):
        first, *rest = constants[k + 1]
        moved = [x - c for x, c in zip(kappa[-1], rest, strict=True)]
        kappa.append(
            [(_dot(row, moved) - x * first) % FIELD_MODULUS for x, row in zip(a, b, strict=True)]
        )
    return kappa[::-1]


def _dot(left: Vector | tuple[int, ...], right: Vector) -> int:
    return sum(x * y for x, y in zip(left, right, strict=True)) % FIELD_MODULUS


def _inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of an invertible matrix over the scalar field (Gauss-Jordan)."""
    n = len(matrix)
    work = [[*row, *(int(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(i for i in range(column, n) if work[i][column] % FIELD_MODULUS)
        work[column], work[pivot] = work[pivot], work[column]
        scale = pow(work[column][column], -1, FIELD_MODULUS)
        work[column] = [x * scale % FIELD_MODULUS for x in work[column]]
        for i in range(n):
            if i != column and work[i][column]:
                factor = work[i][column]
                work[i] = [
                    (x - factor * y) % FIELD_MODULUS
                    for x, y in zip(work[i], work[column], strict=True)
                ]
    return [row[n:] for row in work]
