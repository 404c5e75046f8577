"""How rows, weights and gradients of a head lie in the slots of ciphertexts.

A ciphertext holds `block` columns of `run` rows for `classes` outputs: slot

    (column * classes + output) * run + row

so that rotations by multiples of classes * run turn the columns in a circle, and adding all of them
leaves each row's inner product in every column's place: no mask, no level lost. Columns, rows and
outputs that do not fit go into further ciphertexts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zkai.errors import InvalidInput
from zkai.he.head_task import Floats
from zkai.he.seal_context import CkksParameters

MAX_GROUPS = 32
"""Ciphertexts of rows that may be added up before the last prime would overflow: each slot is at
most 1.4 and the last prime leaves 2^6."""


@dataclass(frozen=True)
class HeadLayout:
    """The layout for batches of at most `batch` rows of `columns` numbers and `outputs` outputs."""

    columns: int
    outputs: int
    batch: int
    slots: int
    block: int

    @staticmethod
    def choose(columns: int, outputs: int, batch: int, parameters: CkksParameters) -> HeadLayout:
        """Return the layout with the least work: key switches, and 3 for each ciphertext sent.

        Raises InvalidInput for a batch that is too large.
        """
        slots, block, found = parameters.slots, 1, []
        while block <= slots:
            layout = HeadLayout(columns, outputs, batch, slots, block)
            if layout.groups <= MAX_GROUPS:
                found.append(layout)
            block *= 2
        if not found:
            raise InvalidInput(f"head: batches of {batch} rows are too large; use smaller ones")
        return min(found, key=lambda layout: layout.cost)

    @property
    def cost(self) -> int:
        """Key switches of a step, plus 3 for each ciphertext that is sent for it."""
        rows = self.groups * (2 + self.block.bit_length() - 1 + self.blocks)
        return self.class_groups * (rows + 4 * self.blocks)

    @property
    def stride(self) -> int:
        """Slots from one column to the next."""
        return self.slots // self.block

    @cached_property
    def run(self) -> int:
        """Rows in a ciphertext."""
        return min(1 << (self.batch - 1).bit_length(), self.stride)

    @property
    def classes(self) -> int:
        """Outputs in a ciphertext."""
        return self.stride // self.run

    @property
    def blocks(self) -> int:
        """Ciphertexts for all columns."""
        return -(-self.columns // self.block)

    @property
    def groups(self) -> int:
        """Ciphertexts for all rows of a batch, of one block of columns."""
        return -(-self.batch // self.run)

    @property
    def class_groups(self) -> int:
        """Ciphertexts for all outputs, of one block of columns."""
        return -(-self.outputs // self.classes)

    @property
    def steps(self) -> list[int]:
        """The rotations that add up all columns of a ciphertext."""
        return [self.stride << k for k in range(self.block.bit_length() - 1)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, outputs and rows of a ciphertext's slots."""
        return self.block, self.classes, self.run

    def rows(self, rows: Floats) -> list[Floats]:
        """Return the slots of a batch: for each group of rows, each block of columns."""
        full = np.zeros((self.groups * self.run, self.blocks * self.block))
        full[: len(rows), : self.columns] = rows
        return [
            np.broadcast_to(
                full[r : r + self.run, c : c + self.block].T[:, None, :], self.shape
            ).copy()
            for r in range(0, len(full), self.run)
            for c in range(0, full.shape[1], self.block)
        ]

    def weights(self, weights: Floats) -> list[Floats]:
        """Return the slots of weights: for each group of outputs, each block of columns."""
        full = np.zeros((self.blocks * self.block, self.class_groups * self.classes))
        full[: self.columns, : self.outputs] = weights
        return [
            np.broadcast_to(full[c : c + self.block, k : k + self.classes, None], self.shape).copy()
            for k in range(0, full.shape[1], self.classes)
            for c in range(0, len(full), self.block)
        ]

    def products(self, rows: Floats, errors: Floats) -> list[Floats]:
        """Return rows times errors (rows, outputs), groups of rows added up, in weights' order."""
        x = np.zeros((self.groups, self.run, self.blocks * self.block))
        x.reshape(-1, x.shape[2])[: len(rows), : self.columns] = rows
        e = np.zeros((self.groups, self.run, self.class_groups * self.classes))
        e.reshape(-1, e.shape[2])[: len(rows), : self.outputs] = errors
        return [
            np.einsum("grc,grk->ckr", x[:, :, c : c + self.block], e[:, :, k : k + self.classes])
            for k in range(0, e.shape[2], self.classes)
            for c in range(0, x.shape[2], self.block)
        ]

    def gradient(self, slots: list[Floats]) -> Floats:
        """Return the sums over rows of slots in weights' order, shape (columns, outputs)."""
        sums = np.stack([part.reshape(self.shape).sum(2) for part in slots])
        parts = sums.reshape(self.class_groups, self.blocks, self.block, self.classes)
        full = parts.transpose(1, 2, 0, 3).reshape(self.blocks * self.block, -1)
        return np.ascontiguousarray(full[: self.columns, : self.outputs])
