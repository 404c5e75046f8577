"""Small disputable programs, and parties that lie at a chosen place."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from zkai.compute.player import Player, play
from zkai.compute.program import HeadProgram, NetworkProgram, Place, Program, State, Trace
from zkai.compute.settlement import Evidence
from zkai.compute.terms import Terms
from zkai.merkle.tensor import from_array
from zkai.model.heads import MlpHead
from zkai.receipt.signer import ED25519, PrivateKey, generate

STEPS = 6
NONCE = bytes(31) + b"\7"


@functools.cache
def keys() -> dict[str, PrivateKey]:
    return {name: generate(ED25519) for name in ("ada", "bo", "judge")}


def integer_program(steps: int = STEPS) -> HeadProgram:
    return HeadProgram(MlpHead(sizes=(4, 3, 2), momentum=0), 2, 300, steps)


def float_program(steps: int = STEPS) -> NetworkProgram:
    return NetworkProgram((4, 3, 2), 2, 1, 3, steps)


@functools.cache
def initial(kind: str = "integer") -> State:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 7)
    if kind == "integer":
        weights = rng.integers(-4000, 4000, integer_program().head.shape)
        return State.of({"weights": weights, "x": rng.integers(-90, 90, (7, 4)), "labels": labels})
    weights, x = rng.normal(size=23), rng.normal(size=(7, 4))
    return State.of(
        {"weights": weights.astype(np.float32), "x": x.astype(np.float32), "labels": labels}
    )


def lie_at(*places: Place) -> Callable[[Place, np.ndarray], np.ndarray]:
    """Shift an operator's output, differently at different places."""

    def tamper(place: Place, output: np.ndarray) -> np.ndarray:
        if place not in places:
            return output
        if output.ndim == 1 and output.size == 2:
            return 1 - output  # labels
        changed = output.copy()
        size = 150 + abs(output).max() // 2
        changed.reshape(-1)[:] += output.dtype.type(size * (1 + places.index(place)))
        return changed

    return tamper


def honest_trace(program: Program, kind: str = "integer") -> Trace:
    return Trace(program, initial(kind))


def lying_trace(program: Program, *places: Place, kind: str = "integer") -> Trace:
    return Trace(program, initial(kind), lie_at(*places))


def terms_of(program: Program, claimed: Trace, **changes: object) -> Terms:
    given = {
        "subject": program,
        "initial": claimed.initial.root,
        "claimed": claimed.state(program.steps).root,
        "claimant": keys()["ada"].public,
        "challenger": keys()["bo"].public,
        "nonce": NONCE,
        "referee": keys()["judge"].public,
        "limit_s": 60,
    }
    return Terms(**{**given, **changes})  # type: ignore[arg-type]


def played(claimant: Trace, challenger: Trace):  # type: ignore[no-untyped-def]
    """A dispute between two runs, and the evidence of the challenger."""
    program = claimant.program
    players = Player(keys()["ada"], claimant), Player(keys()["bo"], challenger)
    game = play(terms_of(program, claimant), *players)
    evidence = None
    if game.settling:
        arrays = players[1].evidence(game)
        evidence = Evidence({n: from_array(a, n) for n, a in arrays.items()})
    return game, evidence
