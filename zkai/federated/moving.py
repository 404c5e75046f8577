"""Bases that move with a session's own sums, and which of its rounds were opened or aborted.

A rule whose base follows the session pins, for round r, the aggregates that the rule names and
then, in order, the mean of each round before r that was opened: the sum over the summed weights (or
clients), each value rounded to the nearest integer, halves up.
"""

from __future__ import annotations

import numpy as np

from zkai.circuit.statements.commitments import update_digest
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.decisions import Round, check_quorum
from zkai.federated.messages import ABORT, ACTIVE, CLOSED, DECISION, open_message, parse_message
from zkai.federated.opening import open_sum
from zkai.federated.record import View
from zkai.federated.rules import InputRule
from zkai.federated.scheme import Inputs, Int64, Scheme
from zkai.federated.session import Session
from zkai.federated.update import rounded_mean
from zkai.ledger.merkle import leaf_hash


def rule_at(
    rule: Inputs | None, session: Session, scheme: Scheme, view: View, number: int
) -> Inputs | None:
    """Return a session's rule as it stands in a round: with the base of that round.

    Raises InvalidInput where a base that moves waits for an earlier round to end.
    """
    if not isinstance(rule, InputRule) or rule.base is None or not rule.base.follows:
        return rule
    found = []
    for earlier in range(1, number):
        if not was_aborted(session, view, earlier, number):
            mean = applied(rule, Round(session, earlier, view, rule), scheme)
            found.append(update_digest(rule.statement.head, mean))
    return rule.moved_by(tuple(found))


def applied(rule: InputRule, rnd: Round, scheme: Scheme) -> Int64:
    """Return what a round's opened sum adds to the base, in the head's shape.

    Raises InvalidInput if the round is not opened.
    """
    try:
        rnd.require(CLOSED)  # fixes which earlier rounds count, so it must not be hidden
        opened = open_sum(rnd, scheme)
    except VerificationError as error:
        raise InvalidInput(
            f"round {rnd.number} is neither opened nor aborted: the base of later rounds is not"
            f" fixed ({error})"
        ) from error
    values = rounded_mean(rnd.session, opened.values, int(opened.statement["clients"]))
    return np.ascontiguousarray(values.reshape(rule.statement.head.shape))


def was_aborted(session: Session, view: View, number: int, before: int | None = None) -> bool:
    """Return whether the aggregator logged that a round was aborted.

    With `before`, a later round, only if it did so before any round from the next one to that one
    was closed: what follows cannot change what they were about.
    """
    board = view.board
    if not board.has(number, ABORT):
        return False
    data = board.read(number, ABORT)
    open_message(data, ABORT, session.aggregator, session.id, number, ABORT)
    end = len(view.leaves)
    for later in range(number + 1, (number if before is None else before) + 1):
        if board.has(later, f"{CLOSED}.certificate"):
            closed = leaf_hash(board.read(later, f"{CLOSED}.certificate"))
            end = min(end, view.leaves.index(closed)) if closed in view.leaves else end
    return leaf_hash(data) in view.leaves[:end]


def may_be_open(session: Session, view: View, number: int) -> bool:
    """Return whether the log says who opens a round's sum: parts may be out since, abort or not."""
    for index in range(1, len(view.leaves)):
        said = parse_message(view.entry(index), f"entry {index}")
        if said.kind == DECISION and said.round == number and said.predicate["phase"] == ACTIVE:
            check_quorum(session, said, number)
            return True
    return False
