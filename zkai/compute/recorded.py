"""Disputes about recorded trainings: the roots that the parties bisect over, and a step's replay.

    state = keccak256("zkaistat" || root of the weights || root of the optimizer's state)

The first root is that of a record's group `weights_before`; the second is over the tensors
`state...` of its group `optimizer_before`, and zero without any. Settings are left out: the program
makes those of each step (`prepare`). So a signed record, with the table of its optimizer's tensors,
says the state that it starts from. Between records the parties run the program again.
"""

from __future__ import annotations

from collections.abc import Iterator

from zkai.compute import snapshot
from zkai.compute.machine import Program, State, advance
from zkai.compute.record import OPTIMIZER_BEFORE, WEIGHTS_BEFORE, Record
from zkai.compute.settlement import Replay
from zkai.compute.task import Task
from zkai.encoding import keccak256
from zkai.errors import VerificationError
from zkai.merkle.commitment import Commitment, commit


def root_of_record(record: Record, optimizer: Commitment) -> bytes:
    """Return the root of the state that a recorded step starts from, or in which a run ends.

    `optimizer` is the table of its group `optimizer_before`. Raises VerificationError for another.
    """
    if optimizer.root != record.groups[OPTIMIZER_BEFORE]:
        raise VerificationError(
            f"step {record.step}: not the table of the record's {OPTIMIZER_BEFORE}"
        )
    return _root(record.groups[WEIGHTS_BEFORE], optimizer)


def root_of_state(task: Task, state: State) -> bytes:
    """Return the root of a state whose tensors are at hand."""
    weights = commit(snapshot.sources(state.weights, "weights"), task.leaf_bytes).root
    if not state.optimizer:
        return _root(weights, None)
    found = snapshot.sources(state.optimizer, "optimizer")
    return _root(weights, commit(found, task.leaf_bytes))


def roots_of_run(program: Program, task: Task, start: State, first: int, last: int) -> list[bytes]:
    """Return the roots of the states before steps first to last, by running the program."""
    return [root_of_state(task, state) for _, state in advance(program, task, start, first, last)]


def state_at(program: Program, task: Task, start: State, first: int, step: int) -> State:
    """Return the state before a step, from that before `first`: what decides a dispute there."""
    states: Iterator[tuple[int, State]] = advance(program, task, start, first, step)
    for _, state in states:
        found = state
    return found


def replay_from(program: Program, task: Task, state: State, first: int = 0) -> Replay:
    """Return what settles a dispute: one step of the program from the agreed state.

    `state` comes from either party; `first` is the number of the dispute's first step. The software
    must be the one recorded: what is compared are roots.

    Raises VerificationError, when it is called, if the state is not the agreed one.
    """

    def replay(step: int, before: bytes) -> bytes:
        number = first + step
        *_, (_, after) = states = list(advance(program, task, state, number, number + 1))
        if root_of_state(task, states[0][1]) != before:
            raise VerificationError("evidence: not the state that both agreed on")
        return root_of_state(task, after)

    return replay


def _root(weights: bytes, optimizer: Commitment | None) -> bytes:
    kept = [] if optimizer is None else optimizer.tensors
    state = tuple(tensor for tensor in kept if tensor.name.startswith("state."))
    root = Commitment(optimizer.leaf_bytes, state).root if optimizer and state else bytes(32)
    return keccak256(b"zkaistat" + weights + root)
