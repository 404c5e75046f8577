"""A trainer that is too lazy for every second step: a sample catches it, a dispute proves it.

This training is in the open: trainer and checker have the samples. Nothing of it is proven.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zkai.compute import detection
from zkai.compute.dispute import Verdict, path_of, tree_of
from zkai.compute.dispute_file import open_record, read_inputs, write_inputs, write_record
from zkai.compute.operators import Array
from zkai.compute.player import Player, play
from zkai.compute.program import HeadProgram, Place, State, Trace, run_step
from zkai.compute.settlement import decide
from zkai.compute.terms import CLAIMANT, Terms
from zkai.demo.digits import BATCH, LEARNING_RATE
from zkai.demo.rounds import EXAM_ROUND, draw
from zkai.demo.stage import Stage
from zkai.encoding import hex32, keccak256, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.sample import Challenge
from zkai.model.training import learning_rate
from zkai.native_merkle import fold
from zkai.receipt.signer import generate

STEPS, SAMPLED = 120, 30
"""Half of the steps are lazy: a sample misses all of them once in 10^11 runs."""
SAMPLE_ROUND = EXAM_ROUND + 1
LABEL = "catch a lazy trainer"
COLUMNS = ("steps", "old gradients", "replayed", "stated", "caught at", "dispute", "loser")
"""`row`'s columns."""


def catch(stage: Stage) -> dict[str, Any]:
    """Let a lazy trainer commit to its states, sample them, and settle what it denies."""
    started = time.perf_counter()
    stage.report(LABEL, 0.0)
    head, user = stage.setting.head, stage.setting.users[0]
    program = HeadProgram(head, BATCH, learning_rate(head, LEARNING_RATE, BATCH), STEPS)
    tensors = {"weights": stage.setting.base.weights, "x": user.features, "labels": user.labels}
    start = State.of(tensors)
    lazy = Trace(program, start, _Lazy(program))
    roots = [lazy.state(step).root for step in range(STEPS + 1)]
    stage.report(LABEL, 0.3)
    # The root is public before the round is drawn.
    root = tree_of(roots)[-1].tobytes()
    stage.beacon = draw(stage.beacon, [SAMPLE_ROUND], stage.out / "beacon.json")
    challenge = Challenge(stage.beacon.value(SAMPLE_ROUND), SAMPLED)
    drawn = [int(step) for step in challenge.draw(root, STEPS)]
    caught = _replay(program, lazy, roots, root, drawn)
    stage.report(LABEL, 0.5)
    dispute = _settle(stage, lazy, Trace(program, start))
    stage.report(LABEL, 1.0)
    stage.seconds["assurance"] = time.perf_counter() - started
    return {
        "steps": STEPS,
        "lazy": STEPS // 2,
        "sampled": SAMPLED,
        "round": SAMPLE_ROUND,
        "root": hex32(root),
        "detection": detection.by_sampling(STEPS, STEPS // 2, SAMPLED),
        "caught": len(caught),
        "first": caught[0] if caught else None,
        "dispute": dispute,
        "seconds": round(stage.seconds["assurance"], 3),
    }


class _Lazy:
    """Replaces the gradient of every second step by that of the step before, one bit changed, so
    that no root is met twice.
    """

    def __init__(self, program: HeadProgram) -> None:
        self._place = next(
            (layer, number)
            for layer, found in enumerate(program.layers(0))
            for number, operator in enumerate(found.operators)
            if operator.kind == "gradient"
        )
        self._old: dict[int, Array] = {}

    def __call__(self, place: Place, output: Array) -> Array:
        if place[1:] != self._place:
            return output
        if place.step % 2:
            output = self._old[place.step - 1].copy()
            output.reshape(-1)[0] ^= 1
        self._old[place.step] = output
        return output


def _replay(
    program: HeadProgram, lazy: Trace, roots: Sequence[bytes], root: bytes, drawn: Sequence[int]
) -> list[int]:
    """Return the drawn steps that do not lead where the trainer's committed states say."""
    nodes, wrong = tree_of(roots), []
    for step in drawn:
        shown = lazy.state(step)
        pair = [shown.root, roots[step + 1]]
        proof = path_of(nodes, len(roots), [step, step + 1])
        hashes = b"".join(keccak256(b"zkaileaf" + state) for state in pair)
        path = b"".join(parse_hex32(row, "path") for row in proof)
        places = np.array([step, step + 1], np.uint64)
        if fold(len(roots), places, _rows(hashes), _rows(path)) != root:
            raise VerificationError("the trainer shows states that it did not commit to")
        # The checker takes the tensors and hashes them itself.
        if run_step(program, State.of(shown.arrays), step).root != pair[1]:
            wrong.append(step)
    return wrong


def _rows(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8).reshape(-1, 32)


def _settle(stage: Stage, lazy: Trace, honest: Trace) -> dict[str, Any]:
    """Let trainer and checker bisect to one operator, and judge from the files alone."""
    folder = stage.out / "assurance"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be made ({error.strerror})") from error
    trainer, checker = generate(), generate()
    terms = Terms(
        honest.program,
        honest.initial.root,
        lazy.state(STEPS).root,
        trainer.public,
        checker.public,
        keccak256(stage.beacon.value(SAMPLE_ROUND)),
    )
    player = Player(checker, honest)
    game = play(terms, Player(trainer, lazy), player)
    write_record(folder / "dispute.json", game)
    write_inputs(folder / "inputs.safetensors", player.evidence(game))
    record = open_record(folder / "dispute.json")
    verdict = decide(record, read_inputs(folder / "inputs.safetensors"))
    return {**_said(game.operator.kind, verdict), "moves": len(record.entries),
            "terms": hex32(terms.digest), "record": "assurance/dispute.json",
            "inputs": "assurance/inputs.safetensors"}  # fmt: skip


def _said(kind: str, verdict: Verdict) -> dict[str, Any]:
    losers = ["trainer" if role == CLAIMANT else "checker" for role in verdict.losers]
    return {**verdict.to_json(), "losers": losers, "operator": kind}


def row(found: Mapping[str, Any]) -> list[str]:
    """Return the line of the demo's table."""
    dispute = found["dispute"]
    return [
        str(found["steps"]),
        str(found["lazy"]),
        str(found["sampled"]),
        f"1 - {1 - found['detection']:.0e}",
        "nowhere" if found["first"] is None else f"step {found['first']}",
        f"step {dispute['place'][0]}, {dispute['operator']}",
        " and ".join(dispute["losers"]) or "nobody",
    ]


def sentence(found: Mapping[str, Any]) -> str:
    """Return what the report says of it."""
    dispute = found["dispute"]
    first = "none of them" if found["first"] is None else f"{found['caught']} of them"
    return (
        f"A trainer of {found['steps']} steps in the open committed to every state and handed in"
        f" an old gradient, slightly changed, at every second step. A new round of the beacon drew"
        f" {found['sampled']} steps, which a checker computed again: {first} did not lead where the"
        f" trainer said. A sample that large misses all of {found['lazy']} such steps with a"
        f" probability of {1 - found['detection']:.0e}. The trainer denied it: in"
        f" {dispute['moves']} signed moves both narrowed it down to operator"
        f" <code>{dispute['operator']}</code> of step {dispute['place'][0]}, and the one that lost"
        f" was the {' and the '.join(dispute['losers']) or 'nobody'}. Check it again:"
        f" <code>zkai compute dispute verify {dispute['record']} --inputs {dispute['inputs']}"
        "</code>. Sampling finds what is often wrong; it proves nothing about the rest."
    )
