"""Linked polynomials of a proof: their commitments, evaluations and the one opening of all.

For f with coefficients f_0 .. f_{n-1} the commitment is [f(tau)]. F = sum v^(i-1) f_i is opened at
the challenge `fold` by pi = [(F(tau) - F(fold)) / (tau - fold)]; docs/decisions/0008-kzg-link.md
holds the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zkai import native, native_keys
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, keccak256, parse_decimal, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import refusals
from zkai.proof.jsonform import WORD, expect_fields, g1_from_json, g1_to_json
from zkai.proof.points import G1, g1_uncompressed
from zkai.proof.ratio import g1_from_words

MAX_LINKS = 8
_BLOCK = 512


@dataclass(frozen=True)
class Link:
    """What a proof says of its linked polynomials; well formed, not yet verified."""

    commitments: tuple[G1, ...]
    evaluations: tuple[int, ...]
    opening: G1

    def to_json(self) -> dict[str, Any]:
        """Return the link as JSON values."""
        return {
            "commitments": [g1_to_json(point) for point in self.commitments],
            "evaluations": [str(value) for value in self.evaluations],
            "opening": g1_to_json(self.opening),
        }

    @staticmethod
    def from_json(value: Any, where: str) -> Link:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        expect_fields(value, ("commitments", "evaluations", "opening"), where)
        lists = [value["commitments"], value["evaluations"]]
        if any(not isinstance(x, list) or not 1 <= len(x) <= MAX_LINKS for x in lists):
            raise InvalidInput(f"{where}: expected 1 to {MAX_LINKS} commitments and evaluations")
        return Link(
            tuple(g1_from_json(x, f"{where}.commitments[{i}]") for i, x in enumerate(lists[0])),
            tuple(
                parse_decimal(x, f"{where}.evaluations[{i}]", WORD) for i, x in enumerate(lists[1])
            ),
            g1_from_json(value["opening"], f"{where}.opening"),
        )


def link_value(commitment: G1) -> int:
    """Return the public signal that names a commitment: keccak256(x || y) >> 8."""
    return int.from_bytes(keccak256(g1_uncompressed(commitment))[:31], "big")


def check_links(link: Link, values: Sequence[int], n_links: int) -> None:
    """Return None if a link has the key's number of polynomials and the last signals name them.

    Evaluations must be below r. Raises VerificationError naming what differs.
    """
    if not len(link.commitments) == len(link.evaluations) == n_links:
        raise VerificationError(f"the proof links {len(link.commitments)} states, not {n_links}")
    for i, value in enumerate(link.evaluations):
        if not 0 <= value < FIELD_MODULUS:
            raise VerificationError(refusals.out_of_range(f"evaluations[{i}]"))
    if list(values[-n_links:]) != [link_value(point) for point in link.commitments]:
        raise VerificationError(refusals.LINK)


def commit(powers: Limbs, coefficients: Limbs) -> G1:
    """Return [f(tau)] for the powers (n, 8) in Montgomery form and at most n coefficients.

    Raises InvalidInput if the powers do not reach.
    """
    if len(coefficients) > len(powers):
        raise InvalidInput(
            f"a polynomial of {len(coefficients)} coefficients, the key has {len(powers)} powers"
        )
    row = native_keys.points_msm("g1", powers[: len(coefficients)], coefficients)
    return g1_from_words(native_keys.points_store("g1", row))


def joined(polynomials: Sequence[Limbs], v: int) -> Limbs:
    """Return F = sum v^(i-1) f_i."""
    total = np.zeros((max(len(p) for p in polynomials), 4), np.uint64)
    for i, polynomial in enumerate(polynomials):
        n = len(polynomial)
        scaled = native.fr_mul(polynomial, _repeat(pow(v, i, FIELD_MODULUS), n))
        total[:n] = native.fr_add(total[:n], scaled)
    return total


def quotient(polynomial: Limbs, point: int) -> Limbs:
    """Return the coefficients of (F(X) - F(point)) / (X - point), one fewer than F's.

    Coefficient k is S_{k+1} with S_k = F_k + point S_{k+1}, by blocks: the sums inside each block
    for all blocks at once, then what the blocks above add.
    """
    n = len(polynomial)
    n_blocks = -(-n // _BLOCK)
    padded = np.zeros((n_blocks * _BLOCK, 4), np.uint64)
    padded[:n] = polynomial
    blocks = padded.reshape(n_blocks, _BLOCK, 4)
    step = _repeat(point, n_blocks)
    total = np.zeros((n_blocks, 4), np.uint64)
    for i in range(_BLOCK - 1, -1, -1):
        column = np.ascontiguousarray(blocks[:, i])
        total = native.fr_add(column, native.fr_mul(total, step))
        blocks[:, i] = total
    # What the blocks above add to the first entry of each block, from its end: S of the next one.
    above, jump = [0] * n_blocks, pow(point, _BLOCK, FIELD_MODULUS)
    firsts = from_limbs(np.ascontiguousarray(blocks[:, 0]))
    for b in range(n_blocks - 2, -1, -1):
        above[b] = (firsts[b + 1] + jump * above[b + 1]) % FIELD_MODULUS
    weights = native_keys.fr_powers(to_limbs([point]), to_limbs([point]), _BLOCK)[::-1]
    carried = native.fr_mul(
        np.repeat(to_limbs(above), _BLOCK, axis=0), np.tile(weights, (n_blocks, 1))
    )
    sums = native.fr_add(padded, carried)
    return np.ascontiguousarray(sums[1:n])


def _repeat(value: int, n: int) -> Limbs:
    return np.repeat(to_limbs([value]), n, axis=0)
