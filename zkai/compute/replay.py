"""Replay: a verifier computes a recorded step itself, from what the record commits to.

On the software and settings that the record names (`Environment`) an honest step comes out bit for
bit. Elsewhere each tensor must lie within a bound on its rounding errors (zkai.compute.bounds). A
record says nothing of the steps between it and the next: `replay_interval` computes those, on equal
software only, since errors of a hundred steps have no useful bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zkai.compute import bounds, snapshot
from zkai.compute import record as names
from zkai.compute.capture import Found, complete
from zkai.compute.kept import Groups, verify_groups
from zkai.compute.machine import Machine, Program, State
from zkai.compute.record import Record, verify_next
from zkai.compute.snapshot import Tensors, torch
from zkai.compute.task import Task
from zkai.errors import InvalidInput, VerificationError

BITWISE, BOUNDED = "bitwise", "bounded"
ORDER = (
    names.BATCH, names.RNG, names.WEIGHTS_BEFORE, names.OPTIMIZER_BEFORE, names.ACTIVATIONS,
    names.LOSSES, names.GRADIENTS, names.STATISTICS, names.WEIGHTS_AFTER, names.OPTIMIZER_AFTER,
    names.DELTAS,
)  # fmt: skip
"""The groups in the order in which a step makes them: the first that differs is named."""


_PRECISION = {"default_dtype", "flush_denormal", "matmul_precision"}
"""Settings that a replay takes from a record, and that a lax trainer would choose."""


@dataclass(frozen=True)
class Outcome:
    """How a replay agreed: to the bit, or for each tensor the share of its bound that it used."""

    mode: str
    shares: Mapping[str, float] = field(default_factory=dict)


def replay_step(
    program: Program, task: Task, record: Record, groups: Groups, *, exact: bool = False
) -> Outcome:
    """Compute a recorded step again from its tensors, and compare every one.

    `groups` are all tensors of the step, as the trainer answers; data, settings and seed are the
    program's own. With `exact` a record of another environment than this machine's is refused: the
    environment is the trainer's word, and one that nobody has would leave only bounds.

    Raises VerificationError naming step, group and tensor of the first that differs.
    """
    verify_groups(record, groups, task.leaf_bytes)
    where = f"step {record.step}"
    if record.task != task.digest:
        raise VerificationError(f"{where}: the record is of another task")
    if record.ends:
        raise InvalidInput(f"{where}: the end of the run, and no step")
    if record.step == 0 and record.groups[names.WEIGHTS_BEFORE] != task.initial:
        raise VerificationError(f"{where}, weights_before: does not start from the task's weights")
    own = _own_weights(program)
    _verify_types(own, groups, where)
    lax = record.environment.differences(snapshot.environment()).keys() & _PRECISION
    with snapshot.settings_of(record.environment):
        claimed = {name: snapshot.tensors_of(tensors) for name, tensors in groups.items()}
        # Earlier losses are of the steps since the last record: replay_interval looks at those.
        losses = claimed[names.LOSSES].get("loss", torch.empty(0)).reshape(-1)
        claimed[names.LOSSES]["loss"] = losses[-1:] if record.step else losses
        odd = sorted(record.environment.differences(snapshot.environment()))
        odd += sorted(lax) if exact else []
        odd += [] if record.environment.deterministic else ["determinism"]
        if odd and exact:
            raise VerificationError(f"{where}: recorded with another {', '.join(odd)} than here")
        if odd:
            return Outcome(BOUNDED, _replay_bounded(program, task, record, groups, claimed, own))
        machine = Machine(program, task, tuple(groups.get(names.ACTIVATIONS, ())))
        machine.put(State.before(record, groups), where)
        found = machine.run(record.step)
        complete(found)
        for group in ORDER:
            if group in claimed:
                verify_equal(claimed[group], found[group], f"{where}, {group}")
    return Outcome(BITWISE)


def _own_weights(program: Program) -> Tensors:
    """Return the weights that the program makes here: their types are its, not a record's."""
    with torch.random.fork_rng(devices=()):
        return snapshot.weights(program.model())


def _verify_types(own: Tensors, groups: Groups, where: str) -> None:
    """Refuse another type than the program's: a coarser one is less work, with wider bounds."""
    for group in (*bounds.SOURCES, names.DELTAS):
        for name, source in groups.get(group, {}).items():
            dtype = str(own[name].dtype) if name in own else None
            if dtype not in (None, f"torch.{source.head.dtype}"):
                raise VerificationError(
                    f"{where}, {group}: tensor {name}: torch.{source.head.dtype}, the program's"
                    f" is {dtype}"
                )


def _replay_bounded(
    program: Program, task: Task, record: Record, groups: Groups, claimed: Found, own: Tensors
) -> dict[str, float]:
    """Compare with the exact step: what comes from weights, then what comes from gradients.

    What was checked is what the rest is bounded from: modules go on from the claimed activations,
    the optimizer from the claimed gradients. Bounds stay those of a few operators that way; errors
    of gradients near zero would leave Adam's steps without any.
    """
    where = f"step {record.step}"
    unit = bounds.unit_of(own)
    broad = bounds.Wide(program)
    tracker = bounds.Tracker(unit)
    machine = Machine(broad, task, tuple(groups.get(names.ACTIVATIONS, ())))
    before = State.before(record, groups)
    machine.put(State(bounds.wide(before.weights), bounds.wide(before.optimizer)), where)

    for name, module in machine.model.named_modules():
        if (given := claimed.get(names.ACTIVATIONS, {}).get(name)) is not None:
            module.register_forward_hook(_going_on_from(given.double()))

    def take_claimed(*_: Any) -> None:
        for name, parameter in machine.model.named_parameters():
            given = claimed[names.GRADIENTS].get(name)
            parameter.grad = None if given is None else given.double()

    machine.optimizer.register_step_pre_hook(take_claimed)
    batch = program.batch(record.step)
    with tracker:
        found = machine.run(record.step, batch)
    for group in (names.BATCH, names.RNG):
        verify_equal(claimed[group], found[group], f"{where}, {group}")
    settings = bounds.wide(claimed[names.OPTIMIZER_BEFORE])
    verify_equal(settings, found[names.OPTIMIZER_BEFORE], f"{where}, {names.OPTIMIZER_BEFORE}")
    assert broad.last is not None
    shares = bounds.within_bounds(tracker, claimed, found, broad.last.detach(), where)
    # Both follow from claimed tensors: a difference is rounded alike everywhere.
    derived = {part: claimed[part] for part in bounds.SOURCES}
    complete(derived)
    verify_equal(claimed[names.DELTAS], derived[names.DELTAS], f"{where}, {names.DELTAS}")
    bounds.verify_statistics(
        claimed[names.STATISTICS], claimed[names.GRADIENTS], unit, f"{where}, {names.STATISTICS}"
    )
    return shares


def _going_on_from(claimed: torch.Tensor) -> Any:
    """Return a hook that puts a claimed output in the place of the computed one."""

    def put(module: Any, inputs: Any, output: torch.Tensor) -> None:
        if output.shape == claimed.shape:  # if not, the comparison will say so
            output.data.copy_(claimed)

    return put


def replay_interval(
    program: Program, task: Task, first: Record, start: Groups, last: Record, end: Groups
) -> None:
    """Compute the steps between two consecutive records: from the state after one to the other's.

    Raises VerificationError naming the interval and the tensor that differs; InvalidInput if this
    machine's software is not that of the records.
    """
    for record, groups in ((first, start), (last, end)):
        verify_groups(record, groups, task.leaf_bytes)
    verify_next(first, last, task)
    own = _own_weights(program)
    for record, groups in ((first, start), (last, end)):
        _verify_types(own, groups, f"step {record.step}")
    with snapshot.settings_of(first.environment):
        here = snapshot.environment()
        odd = {**first.environment.differences(here), **last.environment.differences(here)}
        if odd:
            raise InvalidInput(
                f"steps {first.step} to {last.step}: recorded with another {', '.join(odd)}; the"
                " steps between records are replayed on equal software only"
            )
        machine = Machine(program, task)
        where = f"steps {first.step + 1} to {last.step}"
        machine.put(State.after(start), where)
        for step in range(first.step + 1, last.step):
            machine.run(step, keep=False)
        reached, losses = machine.state(), machine.take_losses()
    wanted = State.before(last, end)
    claimed = snapshot.tensors_of(end[names.LOSSES])
    given = claimed.get("loss", torch.empty(0)).reshape(-1)
    claimed["loss"] = given if last.ends else given[:-1]
    verify_equal(claimed, {"loss": losses}, f"{where}, losses")
    verify_equal(wanted.weights, reached.weights, f"{where}, {names.WEIGHTS_BEFORE}")
    verify_equal(
        _state_alone(wanted.optimizer), _state_alone(reached.optimizer),
        f"{where}, {names.OPTIMIZER_BEFORE}",
    )  # fmt: skip


def _state_alone(found: Tensors) -> Tensors:
    """Leave out settings: `prepare` makes those of a step, whose own replay compares them."""
    return {name: tensor for name, tensor in found.items() if name.startswith("state.")}


def verify_equal(claimed: Tensors, found: Tensors, where: str) -> None:
    """Return None if two groups have the same tensors to the bit.

    Raises VerificationError naming the first tensor that differs, where and by how much.
    """
    if claimed.keys() != found.keys():
        odd = sorted(claimed.keys() ^ found.keys())[0]
        side = "the replay has none" if odd in claimed else "the record has none"
        raise VerificationError(f"{where}: tensor {odd}: {side}")
    for name in sorted(claimed):
        mine, theirs = found[name], claimed[name]
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            raise VerificationError(f"{where}: tensor {name}: of another shape or type")
        # Compared as bytes: NaNs are equal to themselves, zeros of two signs are not.
        a, b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (mine, theirs))
        if not torch.equal(a, b):
            raise VerificationError(f"{where}: tensor {name}: {_difference(mine, theirs)}")


def _difference(mine: torch.Tensor, theirs: torch.Tensor) -> str:
    odd = (mine != theirs).reshape(-1)
    places = odd.nonzero().reshape(-1)
    if not len(places):
        return "the same values in other bits"
    first = int(places[0])
    given, expected = theirs.reshape(-1)[first].item(), mine.reshape(-1)[first].item()
    return (
        f"{len(places)} of {odd.numel()} values differ, the first at {first}:"
        f" {given} instead of {expected}"
    )
