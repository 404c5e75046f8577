"""Encrypted rows times a plaintext matrix: diagonals, baby steps and giant steps.

Rows x of `columns` numbers lie in blocks of `block` columns, `run` rows to a ciphertext, at slot
column * run + row, so that a rotation by t * run turns the columns in a circle. For one block of a
matrix W, with n1 * n2 = block,

    y = sum_j rot_{j n1} ( sum_i  d_{j,i} * rot_i(x) ),   d_{j,i}[s] = W[s - j n1, s + i]

(indices modulo the block): n1 + n2 rotations instead of n1 * n2. Baby steps are shared by all
blocks of outputs and giant steps by all blocks of inputs; diagonals of zeros are left out. The
products are not rescaled: that is left to the caller.

Source: Halevi, Shoup, "Algorithms in HElib", 2014; "Faster homomorphic linear transformations in
HElib", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.he.seal_context import SealContext

Floats = npt.NDArray[np.float64]

ROTATION_COST, SEND_COST = 16, 64
"""A rotation, and sending a ciphertext, in products with a plaintext."""
MAX_CACHED_BYTES = 1 << 30
"""Plaintexts of a matrix are kept up to this many bytes; beyond, each is encoded when needed."""


@dataclass(frozen=True)
class MatmulLayout:
    """How up to `rows` rows lie in the slots, for every matrix of a session."""

    rows: int
    slots: int
    block: int
    baby: int

    @staticmethod
    def choose(rows: int, shapes: Sequence[tuple[int, int]], slots: int) -> MatmulLayout:
        """Return the layout with the least work for matrices of these (outputs, inputs)."""
        found = []
        for block in (1 << k for k in range(slots.bit_length())):
            for baby in (1 << k for k in range(block.bit_length())):
                layout = MatmulLayout(rows, slots, block, baby)
                found.append((sum(layout.cost(*shape) for shape in shapes), block, baby, layout))
        return min(found)[3]

    def cost(self, outputs: int, inputs: int) -> int:
        """Return the work of one product, in products with a plaintext."""
        into, out = self.blocks(inputs), self.blocks(outputs)
        rotations = into * (self.baby - 1) + out * (self.block // self.baby - 1)
        other = ROTATION_COST * rotations + SEND_COST * (into + out)
        return self.groups * (other + into * out * self.block)

    @property
    def run(self) -> int:
        """Rows in a ciphertext."""
        return self.slots // self.block

    @property
    def groups(self) -> int:
        """Ciphertexts for all rows, of one block of columns."""
        return -(-self.rows // self.run)

    def blocks(self, columns: int) -> int:
        """Return how many ciphertexts hold so many columns of some rows."""
        return -(-columns // self.block)

    def ciphertexts(self, columns: int) -> int:
        """Return how many ciphertexts hold all rows."""
        return self.groups * self.blocks(columns)

    @property
    def steps(self) -> list[int]:
        """Every rotation."""
        small = [i * self.run for i in range(1, self.baby)]
        return small + [j * self.run for j in range(self.baby, self.block, self.baby)]

    def pack(self, rows: Floats) -> list[Floats]:
        """Return the slots of rows: for each group of rows, each block of columns."""
        count, columns = rows.shape
        full = np.zeros((self.groups * self.run, self.blocks(columns) * self.block))
        full[:count, :columns] = rows
        return [
            np.ascontiguousarray(full[r : r + self.run, c : c + self.block].T)
            for r in range(0, len(full), self.run)
            for c in range(0, full.shape[1], self.block)
        ]

    def unpack(self, slots: Sequence[Floats], rows: int, columns: int) -> Floats:
        """Return the rows of `pack`'s slots."""
        parts = np.stack([part.reshape(self.block, self.run) for part in slots])
        parts = parts.reshape(self.groups, -1, self.block, self.run)
        full = parts.transpose(0, 3, 1, 2).reshape(self.groups * self.run, -1)
        return np.ascontiguousarray(full[:rows, :columns])


class PlainMatrix:
    """A matrix (outputs, inputs) whose owner multiplies encrypted rows by it.

    Products have the scale of the rows times `scale`, and as many primes as the rows.
    """

    def __init__(
        self, context: SealContext, layout: MatmulLayout, matrix: Floats, scale: float, primes: int
    ) -> None:
        self._context, self._layout, self._scale, self._primes = context, layout, scale, primes
        self.outputs, self.inputs = matrix.shape
        block = layout.block
        full = np.zeros((layout.blocks(self.outputs) * block, layout.blocks(self.inputs) * block))
        full[: self.outputs, : self.inputs] = matrix
        self._blocks = full.reshape(
            layout.blocks(self.outputs), block, layout.blocks(self.inputs), block
        ).transpose(0, 2, 1, 3)
        self._plain: dict[tuple[int, int, int, int], Any] = {}
        self._room = MAX_CACHED_BYTES // (8 * primes * context.parameters.ring)

    def prepare(self) -> None:
        """Encode the diagonals, as many as are kept, before the first rows arrive."""
        layout = self._layout
        for out in range(len(self._blocks)):
            for start in range(0, layout.block, layout.baby):
                for into in range(self._blocks.shape[1]):
                    for step in range(layout.baby):
                        if len(self._plain) < self._room:
                            self._diagonal(out, into, start, step)

    def times(self, rows: Sequence[Any], galois: Any) -> list[Any]:
        """Return the products of all rows, both in `MatmulLayout.pack`'s order."""
        per_group = self._layout.blocks(self.inputs)
        result: list[Any] = []
        for start in range(0, len(rows), per_group):
            turned = self._baby_steps(rows[start : start + per_group], galois)
            result += [self._block(out, turned, galois) for out in range(len(self._blocks))]
        return result

    def _baby_steps(self, rows: Sequence[Any], galois: Any) -> list[list[Any]]:
        ev, new, run = self._context.evaluator, self._context.api.Ciphertext, self._layout.run
        result = []
        for row in rows:
            turned = [row]
            for step in range(1, self._layout.baby):
                other = new()
                ev.rotate_vector(row, step * run, galois, other)
                turned.append(other)
            result.append(turned)
        return result

    def _block(self, out: int, turned: list[list[Any]], galois: Any) -> Any:
        ev, layout, total = self._context.evaluator, self._layout, None
        for start in range(0, layout.block, layout.baby):
            part = self._giant_step(out, start, turned)
            if part is None:
                continue
            if start:
                ev.rotate_vector_inplace(part, start * layout.run, galois)
            if total is None:
                total = part
            else:
                ev.add_inplace(total, part)
        return self._zero(turned[0][0]) if total is None else total

    def _giant_step(self, out: int, start: int, turned: list[list[Any]]) -> Any:
        ev, new, part = self._context.evaluator, self._context.api.Ciphertext, None
        for into, steps in enumerate(turned):
            for step, row in enumerate(steps):
                plain = self._diagonal(out, into, start, step)
                if plain is None:
                    continue
                product = new()
                ev.multiply_plain(row, plain, product)
                if part is None:
                    part = product
                else:
                    ev.add_inplace(part, product)
        return part

    def _zero(self, row: Any) -> Any:
        """Return what a block of zeros makes, but for the least amount that the scale knows.

        The product with zero itself would be readable without a key, which SEAL refuses.
        """
        least = self._context.encode(1 / self._scale, self._scale, self._primes)
        product = self._context.api.Ciphertext()
        self._context.evaluator.multiply_plain(row, least, product)
        return product

    def _diagonal(self, out: int, into: int, start: int, step: int) -> Any:
        """Return d_{j,i} of a block encoded, or None if it is all zeros."""
        name = (out, into, start, step)
        if name in self._plain:
            return self._plain[name]
        layout = self._layout
        place = np.arange(layout.block)
        values = self._blocks[out, into][
            (place - start) % layout.block, (place + step) % layout.block
        ]
        plain = None
        if values.any():
            plain = self._context.encode(np.repeat(values, layout.run), self._scale, self._primes)
        if len(self._plain) < self._room:
            self._plain[name] = plain
        return plain
