"""Which proof format and which commitment to weights cost least for a statement, and why."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from zkai.circuit.statements.base import COMMIT, PLAIN, Format, Statement
from zkai.proof import costs
from zkai.proof.estimate import Recommendation
from zkai.proof.sizes import Sizes
from zkai.proof.speed import Speed
from zkai.sizing import estimated_sizes

REFERENCE = Speed(g1_s=60e-9, g2_s=120e-9, butterfly_s=11e-9)
"""A machine of 2023, so that two machines recommend the same."""

COUNT_BOTH_BELOW = 150_000
"""Rows with a commitment round up to which the plain circuit is counted for a recommendation."""

PLAIN_WHILE_FASTER_THAN = 1.25
"""Plain Groth16, which iden3's tools read, wins while proving takes at most so many times as long.
"""

KZG_BLINDERS, KZG_GAS = 64, 85_000
"""A link costs a row for each weight and blinder, and this gas for its openings, at most."""

KZG_SAVES_A_SHARE_OF = 4
"""A link is worth its gas if it saves more than 1 / 4 of the rows."""


def recommend(statement: Statement) -> Recommendation:
    """Return the format and the kind of commitment that cost least, with the reason in one line.

    The same on every machine: it follows from the circuits, not from measured speeds.

    Raises InvalidInput if the statement's circuit cannot be built or is too large to be proven.
    """
    changed = in_format(statement, COMMIT)
    if statement_format(changed) != COMMIT:
        return Recommendation(PLAIN, "poseidon", f"{PLAIN}: {statement.version} has no other")
    commit, plain = estimated_sizes(changed), None
    if commit.constraints <= COUNT_BOTH_BELOW:
        plain = estimated_sizes(in_format(statement, PLAIN))
    return choose(statement, commit, plain)


def choose(statement: Statement, commit: Sizes, plain: Sizes | None) -> Recommendation:
    """Return the recommendation for the sizes in both formats; None where plain's are not known."""
    if plain is not None:
        slower = costs.prove_cpu_s(plain, REFERENCE) / costs.prove_cpu_s(commit, REFERENCE)
        if slower <= PLAIN_WHILE_FASTER_THAN:
            reason = (
                f"{PLAIN}: {plain.constraints:,} rows, proven in {slower:.1f} times the time of"
                f" {COMMIT}, in a form that iden3's tools read"
            )
            return Recommendation(PLAIN, "poseidon", reason)
        reason = (
            f"{COMMIT}: {commit.constraints:,} rows instead of {plain.constraints:,},"
            f" {slower:.1f} times faster to prove"
        )
    else:
        reason = (
            f"{COMMIT}: {commit.constraints:,} rows; plain Groth16 pays for every product and bit"
        )
    hashed, linked = _commitment_rows(statement, commit)
    if (hashed - linked) * KZG_SAVES_A_SHARE_OF > commit.constraints:
        reason += f"; a KZG link takes {linked:,} rows where hashing the weights takes {hashed:,},"
        reason += f" for about {KZG_GAS:,} gas"
        return Recommendation(COMMIT, "kzg", reason)
    return Recommendation(COMMIT, "poseidon", reason)


def in_format(statement: Statement, chosen: Format) -> Statement:
    """Return the statement in another proof format, unchanged where it has no choice."""
    if not hasattr(statement, "format") or statement_format(statement) == chosen:
        return statement
    changed: Any = replace(statement, format=chosen)  # type: ignore[type-var]
    return changed  # type: ignore[no-any-return]


def statement_format(statement: Statement) -> Format:
    """Return the statement's proof format; plain Groth16 where it has no choice."""
    found: Format = getattr(statement, "format", PLAIN)
    return found


def _commitment_rows(statement: Statement, found: Sizes) -> tuple[int, int]:
    """Return the rows that hash and pack states, and those of a link in their place.

    One row a weight checks the new state's polynomial; that of the old state is nearly free.
    """
    head = getattr(statement, "head", None)
    if head is None:
        return 0, 0
    ends = (": poseidon", ": pack")
    hashed = sum(
        rows
        for place, rows in found.by_place.items()
        if "state" in place.partition(":")[0] and place.endswith(ends)
    )
    return hashed, prod(head.shape) + KZG_BLINDERS
