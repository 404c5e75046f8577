"""Linked polynomials: values whose KZG commitment a proof carries and opens.

The polynomial f(X) = sum w_i X^i + X^n sum b_j X^j has the values w_i of some tensors, in order,
and random blinders b_j. The rows prove that a public wire of round 2 is f(fold). The coefficients
are of round 1, so a commitment that was fixed with them and opens to f(fold) is f's: two different
polynomials agree at few points (docs/decisions/0008-kzg-link.md).

Rows: one for each coefficient whose row of a matrix has not been summed at fold already by a check
of a product (gadgets/freivalds.py), one for each row of a matrix, and a few for powers of fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import evaluate, power_of_fold
from zkai.circuit.r1cs import Combination, LinkedPolynomial
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Field, Ints, Rows, Tensor, as_tensor, stack_rows
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs, word
from zkai.errors import InvalidInput

BLINDERS = 64
"""Random coefficients of a polynomial: its commitment and 63 openings tell nothing."""


def blinders(salt: int, values: Ints) -> list[int]:
    """Return the blinders of a state: a function of its salt and its integers.

    SHAKE-256 over both, 384 bits an element. The salt makes them unpredictable; the integers make
    them others for another state, should somebody use a salt twice.
    """
    content = hashlib.sha256(np.asarray(values, np.int64).astype("<i8").tobytes()).digest()
    stream = hashlib.shake_256(b"zkai/link-blinders/1" + word(salt) + content).digest(48 * BLINDERS)
    parts = (stream[i : i + 48] for i in range(0, len(stream), 48))
    return [int.from_bytes(part, "big") % FIELD_MODULUS for part in parts]


def state_coefficients(values: Ints, salt: int) -> Limbs:
    """Return the coefficients of a state's polynomial: its integers, row-major, then blinders."""
    flat = np.ascontiguousarray(values, np.int64).ravel()
    return np.concatenate([native.fr_from_int64(flat), to_limbs(blinders(salt, flat))])


@dataclass(frozen=True, eq=False)
class _Link:
    node: str
    parts: tuple[Tensor, ...]


class Links:
    """The linked polynomials of one circuit; `close` proves their evaluations."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._links: list[_Link] = []

    def bind(self, signal: str, parts: Sequence[Tensor], blinders: Field) -> None:
        """Let the signal name the polynomial of the parts' elements, row-major, and the blinders.

        Matrices (k, m) that are operands of products cost k rows; make a bias a part of its own.

        Raises InvalidInput if a coefficient depends on a challenge, or if the circuit was made for
        fewer linked polynomials.
        """
        builder = self._builder
        if len(self._links) >= len(builder.evaluations):
            raise InvalidInput(f"{builder.name}: made for {len(builder.evaluations)} linked states")
        random = Tensor((1, len(blinders)), Rows.of_wires(blinders.wires), None)
        matrices = [p.reshape(p.size // p.shape[-1], p.shape[-1]) for p in parts if p.size]
        builder.require_round_one(*matrices, random)
        rows = stack_rows([p.rows for p in (*matrices, random)])
        builder.linked.append(LinkedPolynomial(signal, Combination(rows)))
        self._links.append(_Link(builder.node, (*matrices, random)))

    def close(self) -> None:
        """Add the rows of every evaluation."""
        builder = self._builder
        if len(self._links) != len(builder.evaluations):
            raise InvalidInput(f"{builder.name}: {len(self._links)} polynomials are linked")
        for link, wire in zip(self._links, builder.evaluations.reshape(-1, 1), strict=True):
            with builder.at(link.node):
                total = as_tensor(0)
                for part in reversed(link.parts):
                    if total.rows.wires.size:
                        total = define_product(
                            builder, "link", total, power_of_fold(builder, part.size)
                        )
                    total = total + evaluate(builder, part, "link")
                self._finish(total, wire)

    def _finish(self, total: Tensor, wire: Ints) -> None:
        builder = self._builder
        source = (Combination(total.rows),)
        builder.new_step("link", lambda x: x, source, 1, is_field=True, into=wire)
        builder.define(wire)
        builder.constrain(total, 1, Tensor((), Rows.of_wires(wire), None), "link")


def links(builder: Builder) -> Links:
    """Return the circuit's one collector of linked polynomials."""
    return builder.deferred(Links, lambda: Links(builder))
