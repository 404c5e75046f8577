"""Records of disputes under fuzzing: whoever judges reads what two liars may have written."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tests.fuzz.harness import Target
from tests.unit.dispute_support import (
    float_program,
    honest_trace,
    integer_program,
    keys,
    lying_trace,
    played,
    terms_of,
)
from zkai.compute.dispute import Game
from zkai.compute.dispute_file import read_record, record_bytes
from zkai.compute.program import Place
from zkai.compute.redundancy import agree_by_digest, sign_result
from zkai.compute.settlement import decide
from zkai.compute.signed import MOVE, read, sign
from zkai.compute.terms import Terms
from zkai.errors import InvalidInput
from zkai.receipt.envelope import Envelope


@lru_cache
def made_game() -> tuple[Game, object]:
    program = integer_program()
    return played(lying_trace(program, Place(3, 1, 1)), honest_trace(program))


def record(folder: Path) -> Target:
    """A record has one byte form, and only what is signed in its place counts."""
    game, evidence = made_game()
    float_game, _ = played(
        lying_trace(float_program(), Place(1, 1, 1), kind="float"),
        honest_trace(float_program(), "float"),
    )

    def use(scratch: Path, data: bytes) -> None:
        found = read_record(data)
        if record_bytes(found) != data:
            raise AssertionError("a record has two byte forms")
        if found.verdict is None and not found.settling:
            raise InvalidInput("not over")
        if found.terms.digest == game.terms.digest and decide(found, evidence).losers not in (  # type: ignore[arg-type]
            ("claimant",),
        ):
            raise AssertionError("another verdict")

    return Target("dispute-record", (record_bytes(game), record_bytes(float_game)), use, json=True)


def move(folder: Path) -> Target:
    """Whatever its due party signs ends a dispute or goes on; it never breaks the judge."""
    game, _ = made_game()
    places = {0: 0, 2: 1, len(game.entries) - 2: 2}
    seeds = tuple(
        json.dumps([place, read(game.entries[number], "m")[2]]).encode()
        for number, place in places.items()
    )
    starts = []
    for number in places:
        start = Game(game.terms)
        for entry in game.entries[:number]:
            start.apply(entry)
        starts.append(start)

    def use(scratch: Path, data: bytes) -> None:
        try:
            place, said = json.loads(data)
            start = starts[place]
        except (ValueError, TypeError, IndexError, RecursionError) as error:
            raise InvalidInput("no move") from error
        if not isinstance(said, dict):
            raise InvalidInput("no move")
        again = Game(game.terms)
        for entry in start.entries:
            again.apply(entry)
        again.apply(sign(MOVE, game.terms.digest, said, keys()["ada"]))
        if again.verdict is not None:
            raise InvalidInput(again.verdict.reason)

    return Target("dispute-move", seeds, use, json=True, slow=True)


def terms(folder: Path) -> Target:
    """Terms have one byte form once they are read, and a program within its limits."""
    seeds = tuple(
        terms_of(program, honest_trace(program, kind)).to_bytes()
        for program, kind in ((integer_program(), "integer"), (float_program(), "float"))
    )

    def use(scratch: Path, data: bytes) -> None:
        found = Terms.from_bytes(data)
        if Terms.from_bytes(found.to_bytes()) != found:
            raise AssertionError("terms change when they are written")

    return Target("dispute-terms", seeds, use, json=True)


def result(folder: Path) -> Target:
    """A trainer's signed result."""
    task, key = bytes(32), keys()["ada"]
    seed = sign_result(task, bytes(32), key).to_bytes()

    def use(scratch: Path, data: bytes) -> None:
        agree_by_digest(task, {"ada": key.public}, [Envelope.from_bytes(data)])

    return Target("compute-result", (seed,), use, json=True)


DISPUTE_TARGETS = {
    "dispute-record": record,
    "dispute-move": move,
    "dispute-terms": terms,
    "compute-result": result,
}
