"""Which proof format and which commitment to weights cost least for a statement, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zkai.circuit.statements.base import COMMIT, PLAIN, Format, Statement
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.linked import KZG, POSEIDON, WeightsCommitment
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

KZG_SAVES_A_SHARE_OF = 4
"""A link is worth its gas, and its openings' bookkeeping, if it saves more than 1 / 4 of the rows.
"""


def recommend(statement: Statement) -> Recommendation:
    """Return the format and the kind of commitment that cost least, with the reason in one line.

    The same on every machine: it follows from the circuits, not from measured speeds.

    Raises InvalidInput if the statement's circuit cannot be built or is too large to be proven.
    """
    if isinstance(statement, EncryptedUpdate):
        reason = f"{COMMIT}: {statement.version} has no other"
        return Recommendation(COMMIT, statement.weights_commitment, reason)
    if not hasattr(statement, "format"):
        return Recommendation(PLAIN, POSEIDON, f"{PLAIN}: {statement.version} has no other")
    changed = _changed(statement, COMMIT, POSEIDON)
    commit, plain = estimated_sizes(changed), None
    if commit.constraints <= COUNT_BOTH_BELOW:
        plain = estimated_sizes(in_format(statement, PLAIN))
    return choose(statement, commit, plain)


def choose(statement: Statement, commit: Sizes, plain: Sizes | None) -> Recommendation:
    """Return the recommendation for the sizes in both formats; None where plain's are not known.

    The weights of `commit` are hashed, not linked.
    """
    if plain is not None:
        slower = costs.prove_cpu_s(plain, REFERENCE) / costs.prove_cpu_s(commit, REFERENCE)
        if slower <= PLAIN_WHILE_FASTER_THAN:
            reason = (
                f"{PLAIN}: {plain.constraints:,} rows, proven in {slower:.1f} times the time of"
                f" {COMMIT}, in a form that iden3's tools read"
            )
            return Recommendation(PLAIN, POSEIDON, reason)
        reason = (
            f"{COMMIT}: {commit.constraints:,} rows instead of {plain.constraints:,},"
            f" {slower:.1f} times faster to prove"
        )
    else:
        reason = (
            f"{COMMIT}: {commit.constraints:,} rows; plain Groth16 pays for every product and bit"
        )
    linked = _linked_sizes(statement, commit)
    if linked is not None and commit.constraints - linked.constraints > (
        commit.constraints // KZG_SAVES_A_SHARE_OF
    ):
        reason += (
            f"; {linked.constraints:,} with linked weights (weights_commitment = {KZG!r}),"
            f" for {costs.gas(linked) - costs.gas(commit):,} gas"
        )
        return Recommendation(COMMIT, KZG, reason)
    return Recommendation(COMMIT, POSEIDON, reason)


def in_format(statement: Statement, chosen: Format) -> Statement:
    """Return the statement in another proof format, unchanged where it has no choice.

    Linked weights, which plain Groth16 lacks, become hashed ones there.
    """
    fixed = not hasattr(statement, "format") or isinstance(statement, EncryptedUpdate)
    if fixed or statement_format(statement) == chosen:
        return statement
    return _changed(statement, chosen, POSEIDON if chosen == PLAIN else None)


def _changed(statement: Statement, chosen: Format, weights: WeightsCommitment | None) -> Statement:
    changes: dict[str, Any] = {"format": chosen}
    if weights is not None and hasattr(statement, "weights_commitment"):
        changes["weights_commitment"] = weights
    changed: Any = replace(statement, **changes)  # type: ignore[type-var]
    return changed  # type: ignore[no-any-return]


def statement_format(statement: Statement) -> Format:
    """Return the statement's proof format; plain Groth16 where it has no choice."""
    found: Format = getattr(statement, "format", PLAIN)
    return found


def _linked_sizes(statement: Statement, hashed: Sizes) -> Sizes | None:
    """Return the sizes with linked weights; None if there are none, or hashes are a small share."""
    if not hasattr(statement, "weights_commitment"):
        return None
    if hashed.commitment_rows * KZG_SAVES_A_SHARE_OF <= hashed.constraints:
        return None
    return estimated_sizes(_changed(statement, COMMIT, KZG))
