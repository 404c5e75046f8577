"""A program that trainer and verifier both run, and the machine that runs its steps.

A program is Python code; a task names it by its digest. `Machine` runs any step from any state, as
the training hook saw it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zkai.compute import record as names
from zkai.compute import snapshot
from zkai.compute.capture import Capture, Found
from zkai.compute.hook import TrainingHook
from zkai.compute.kept import Groups
from zkai.compute.record import Record
from zkai.compute.snapshot import Tensors, torch
from zkai.compute.task import Task, program_digest
from zkai.encoding import as_path
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.signer import PrivateKey


class Program(Protocol):
    """What trainer and verifier both run.

    `prepare(model, optimizer, step)`, where a program has it, runs between the backward pass and
    the optimizer's step: learning rates that change, clipping. A model is called as a module; its
    randomness is that of torch's generator.
    """

    def model(self) -> torch.nn.Module:
        """Return the model as training starts with it."""

    def optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return its optimizer."""

    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        """Return the data of a step: the same whenever it is asked for."""

    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss, by one forward pass."""


@dataclass(frozen=True)
class State:
    """What a step starts from: the model's tensors and the optimizer's."""

    weights: Tensors = field(repr=False)
    optimizer: Tensors = field(repr=False)

    @staticmethod
    def before(record: Record, groups: Groups) -> State:
        """Return the state before a recorded step; before the first it is the program's own."""
        optimizer = snapshot.tensors_of(groups[names.OPTIMIZER_BEFORE])
        weights = snapshot.tensors_of(groups[names.WEIGHTS_BEFORE])
        return State(weights, optimizer if record.step else {})

    @staticmethod
    def after(groups: Groups) -> State:
        """Return the state after a recorded step."""
        return State(
            snapshot.tensors_of(groups[names.WEIGHTS_AFTER]),
            snapshot.tensors_of(groups[names.OPTIMIZER_AFTER]),
        )


def load_program(path: Path | str, name: str, task: Task | None = None) -> Program:
    """Return an instance of a class in a Python file that the caller trusts: its code is run.

    Raises InvalidInput if there is none, VerificationError if it is not the task's program.
    """
    path = as_path(path)
    if task is not None and program_digest(path) != task.program:
        raise VerificationError(f"{path}: not the program that the task names")
    spec = importlib.util.spec_from_file_location("zkai_program", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InvalidInput(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        program: Program = getattr(module, name)()
    except Exception as error:
        raise InvalidInput(f"{path}:{name}: cannot be loaded ({error})") from error
    for method in ("model", "optimizer", "batch", "loss"):
        if not callable(getattr(program, method, None)):
            raise InvalidInput(f"{path}:{name}: a program has a method {method}")
    return program


class Machine:
    """A program's model and optimizer, ready to run any step from any state."""

    def __init__(self, program: Program, task: Task, activations: Sequence[str] = ()) -> None:
        """Build both. `activations` are the modules whose outputs `run` returns."""
        self.program, self.task = program, task
        self.model = program.model()
        self.optimizer = program.optimizer(self.model)
        self.results: dict[int, Found] = {}
        self._wanted: set[int] = set()
        self._capture = Capture(
            self.model, self.optimizer, task, self.results.__setitem__,
            activations=activations, due=lambda step: step in self._wanted,
        )  # fmt: skip

    def put(self, state: State, where: str) -> None:
        """Start from a record's state; without one of the optimizer it starts with its own.

        Raises VerificationError if it is not this model's.
        """
        try:
            snapshot.put_weights(self.model, state.weights, where)
            if state.optimizer:
                snapshot.put_optimizer(self.model, self.optimizer, state.optimizer, where)
        except InvalidInput as error:
            raise VerificationError(str(error)) from error

    def state(self) -> State:
        """Return the present state, copied."""
        return State(
            snapshot.copies(snapshot.weights(self.model)),
            snapshot.optimizer_state(self.model, self.optimizer),
        )

    def run(
        self, step: int, batch: Mapping[str, torch.Tensor] | None = None, *, keep: bool = True
    ) -> Found:
        """Run a step with the program's data or another batch; return what it captured if `keep`.

        Raises VerificationError if the program cannot go on from the state that was put.
        """
        self._wanted = {step} if keep else set()
        self._capture.step = step
        try:
            one_step(self.program, self.model, self.optimizer, step, batch, self._capture.observe)
        except (
            RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError,
            AssertionError,
        ) as error:  # fmt: skip
            kind = type(error).__name__
            raise VerificationError(
                f"step {step}: the program fails on this state ({kind}: {str(error)[:200]})"
            ) from error
        return self.results.pop(step, {})

    def take_losses(self) -> torch.Tensor:
        """Return the losses of the steps run without `keep` since the last call."""
        return self._capture.take_losses()["loss"]


def one_step(
    program: Program,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    batch: Mapping[str, torch.Tensor] | None,
    observe: Callable[[torch.Tensor, Mapping[str, torch.Tensor]], None],
) -> None:
    """Train one step."""
    found = program.batch(step) if batch is None else batch
    optimizer.zero_grad(set_to_none=True)
    loss = program.loss(model, found)
    loss.backward()  # type: ignore[no-untyped-call]
    observe(loss, found)
    prepare: Any = getattr(program, "prepare", None)
    if prepare is not None:
        prepare(model, optimizer, step)
    optimizer.step()


def train(
    program: Program,
    task: Task,
    folder: Path | str,
    key: PrivateKey,
    steps: int,
    *,
    activations: Sequence[str] = (),
    end: bool = True,
) -> None:
    """Run a program's first steps on record, or go on with a run; `end` records the last state."""
    model = program.model()
    optimizer = program.optimizer(model)
    hook = TrainingHook(model, optimizer, folder, task, key, activations=activations)
    try:
        for step in range(hook.step, steps):
            one_step(program, model, optimizer, step, None, hook.observe)
    except BaseException:
        hook.abandon()
        raise
    if end:
        hook.close()
    else:
        hook.abandon()


def advance(
    program: Program, task: Task, state: State, first: int, last: int
) -> Iterator[tuple[int, State]]:
    """Yield (step, the state before it) for steps first to last, starting from that before first.

    This is what a dispute bisects: the state after step n is the one before step n + 1.
    """
    machine = Machine(program, task)
    machine.put(state, f"step {first}")
    for step in range(first, last):
        yield step, machine.state()
        machine.run(step, keep=False)
    yield last, machine.state()


def trace(program: Program, task: Task, state: State, step: int) -> Tensors:
    """Return every module's output in a step from a state, in the order in which they come."""
    machine = Machine(program, task)
    machine.put(state, f"step {step}")
    found: Tensors = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and name not in found:
                found[name] = output.detach().clone()

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in machine.model.named_modules()
        if name
    ]
    machine.run(step, keep=False)
    for handle in handles:
        handle.remove()
    return found
