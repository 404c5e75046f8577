"""A party to a dispute: it makes each move from its own run of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.compute.dispute import (
    CLAIM,
    LAYERS,
    OPEN,
    REVEAL,
    STEPS,
    Game,
    path_of,
    tree_of,
)
from zkai.compute.operators import Array
from zkai.compute.program import State, Trace
from zkai.compute.signed import FORFEIT, MOVE, sign
from zkai.compute.terms import CHALLENGER, CLAIMANT, Terms
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.receipt.envelope import Envelope
from zkai.receipt.jcs import to_base64
from zkai.receipt.signer import PrivateKey

Prove = Callable[[int], bytes | None]
"""From a step's number to the file of a proof of it, or None where there is no proof."""


@dataclass
class Player:
    """A party with its key and its run of the program, or where steps are settled otherwise the
    roots of its states, from the first to the last, and what proves a step.
    """

    key: PrivateKey = field(repr=False)
    trace: Trace | None = None
    states: Sequence[bytes] = ()
    prove: Prove | None = field(default=None, repr=False)
    proof: bytes | None = field(default=None, repr=False)

    def move(self, game: Game) -> Envelope:
        """Return this party's signed move, which is due.

        Raises InvalidInput if there is nothing to move, or its run does not begin as was agreed.
        """
        if game.verdict is not None or game.settling:
            raise InvalidInput("the dispute needs no more moves")
        role = game.due
        if game.terms.keys[role].keyid != self.key.keyid:
            raise InvalidInput(f"the {role}'s move is due, and this is another key")
        said = {CLAIM: self._claim, OPEN: self._open, REVEAL: self._reveal}.get(
            game.stage, self._prove
        )(game)
        place = {"number": len(game.entries), "previous": hex32(game.previous)}
        return sign(MOVE, game.terms.digest, {**place, "move": game.stage, **said}, self.key)

    def evidence(self, game: Game) -> dict[str, Array]:
        """Return the disputed operator's inputs."""
        before = self._within(game)[game.level.low].arrays
        return {name: np.ascontiguousarray(before[name]) for name in game.operator.inputs}

    def _roots(self, game: Game) -> list[bytes]:
        if self.trace is None:
            roots = list(self.states)
        elif game.level.name == STEPS:
            roots = [self.trace.state(step).root for step in range(game.level.count)]
        else:
            roots = [state.root for state in self._within(game)]
        if len(roots) != game.level.count:
            raise InvalidInput(f"expected the roots of {game.level.count} states, got {len(roots)}")
        if roots[0] != game.level.start:
            raise InvalidInput("this party's run does not start from the agreed state")
        return roots

    def _within(self, game: Game) -> list[State]:
        if self.trace is None:
            raise InvalidInput("this party has no run of the program")
        if game.level.name == LAYERS:
            return self.trace.within(game.done[0].low)
        return self.trace.between(game.done[0].low, game.done[1].low)

    def _claim(self, game: Game) -> dict[str, Any]:
        roots = self._roots(game)
        nodes = tree_of(roots)
        return {
            "root": hex32(nodes[-1].tobytes()),
            "first": hex32(roots[0]),
            "last": hex32(roots[-1]),
            "proof": path_of(nodes, len(roots), [0, len(roots) - 1]),
        }

    def _open(self, game: Game) -> dict[str, Any]:
        roots, middle = self._roots(game), game.level.middle
        proof = path_of(tree_of(roots), len(roots), [middle])
        return {"value": hex32(roots[middle]), "proof": proof}

    def _reveal(self, game: Game) -> dict[str, Any]:
        states = self._within(game)
        before, after = states[game.level.low], states[game.level.high]
        array, tensor = after.tensors[game.operator.output]
        data = None if game.operator.exact else to_base64(array.tobytes())
        output = {
            "dtype": tensor.head.dtype,
            "shape": list(tensor.head.shape),
            "top": hex32(tensor.top),
            "data": data,
        }
        return {"table": before.table.to_json(), "output": output}

    def _prove(self, game: Game) -> dict[str, Any]:
        if self.proof is None and self.prove is not None:
            self.proof = self.prove(game.place[0])
        return {"proof": None if self.proof is None else to_base64(self.proof)}


def play(terms: Terms, claimant: Player, challenger: Player) -> Game:
    """Return a dispute in which both parties made every move, up to its settlement."""
    game = Game(terms)
    players: Mapping[str, Player] = {CLAIMANT: claimant, CHALLENGER: challenger}
    while game.verdict is None and not game.settling:
        game.apply(players[game.due].move(game))
    return game


def forfeit(game: Game, since: int, until: int, referee: PrivateKey) -> Envelope:
    """Return the referee's word that who is due has not moved between two times, in seconds."""
    said = {
        "number": len(game.entries),
        "previous": hex32(game.previous),
        "since": since,
        "until": until,
    }
    return sign(FORFEIT, game.terms.digest, said, referee)
