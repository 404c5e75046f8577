"""The training hook: every N steps it commits to a step's tensors, signs, and keeps them.

    hook = TrainingHook(model, optimizer, folder, task, key)            # one line
    for step in range(hook.step, steps):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        hook.observe(loss, batch)                                       # and another
        optimizer.step()
    hook.close()

Before each step's forward pass it seeds torch's generator with the task's seed for that step, so
that dropout can be repeated whatever else took random numbers. Tensors are copied in the training
thread and hashed, signed and written in another. A folder that holds records already is gone on
from: model and optimizer get the state after the last recorded step, and `hook.step` is the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from zkai.compute import record as names
from zkai.compute import snapshot
from zkai.compute.capture import Capture, Found, complete
from zkai.compute.kept import KEEP_BYTES, Run, tables, verify_groups
from zkai.compute.record import FIRST, Record, sign_record, thumbprint, verify_chain
from zkai.compute.snapshot import torch
from zkai.compute.task import Environment, Task
from zkai.errors import InvalidInput
from zkai.merkle.commitment import commit
from zkai.receipt.signer import PrivateKey


def initial_root(model: torch.nn.Module, leaf_bytes: int) -> bytes:
    """Return the root over a model's weights, as a task names its first."""
    return commit(snapshot.sources(snapshot.weights(model), "weights"), leaf_bytes).root


class TrainingHook:
    """Records a training run; see the module."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: Path | str,
        task: Task,
        key: PrivateKey,
        *,
        activations: Sequence[str] = (),
        keep_bytes: int = KEEP_BYTES,
        deterministic: bool = True,
    ) -> None:
        """Begin or go on with a run; `activations` names modules whose outputs are committed to.

        `deterministic` turns torch's deterministic algorithms on until the run is closed: without
        them no replay is exact.

        Raises InvalidInput if the model does not start from the task's weights, lacks one of the
        modules, or the folder holds a run of another task or key.
        """
        self.model, self.optimizer, self.task = model, optimizer, task
        self._key, self._keep_bytes = key, keep_bytes
        self._trainer, self._previous = thumbprint(key.keyid), FIRST
        self._pending: Future[None] | None = None
        self._run = Run.create(folder, task)
        try:
            first = self._resume()
            self._capture = Capture(model, optimizer, task, self._commit, activations=activations)
        except BaseException:
            self._run.close()
            raise
        self._capture.step = first
        self._worker = ThreadPoolExecutor(1, "zkai-record")
        self._was_deterministic = torch.are_deterministic_algorithms_enabled()
        if deterministic:
            torch.use_deterministic_algorithms(True)

    @property
    def step(self) -> int:
        """The number of the next step."""
        return self._capture.step

    def observe(self, loss: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> None:
        """Note a step's loss and the data that it was computed from, before the optimizer's step.

        Raises InvalidInput for a second call in one step, or a loss that is no scalar.
        """
        self._capture.observe(loss, batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Record the state after the last step, wait until all is durable, and let go.

        Raises what went wrong while the last records were written.
        """
        try:
            self.flush()
            if self.step:
                found = {
                    names.WEIGHTS_BEFORE: snapshot.copies(snapshot.weights(self.model)),
                    names.OPTIMIZER_BEFORE: snapshot.optimizer_state(self.model, self.optimizer),
                    names.LOSSES: self._capture.take_losses(),
                }
                self._commit(self.step, found)
                self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the model without recording its last state: the run can be gone on with."""
        self._capture.release()
        self._worker.shutdown(wait=True)
        self._run.close()
        torch.use_deterministic_algorithms(self._was_deterministic)

    def _commit(self, step: int, found: Found) -> None:
        """Hand a step's copies to the other thread, one step at a time."""
        self.flush()
        self._pending = self._worker.submit(self._write, step, found, snapshot.environment())

    def flush(self) -> None:
        """Wait until every record so far is durable. Raises what went wrong meanwhile."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, step: int, found: Found, where: Environment) -> None:
        if names.GRADIENTS in found:
            complete(found)
        groups = {name: snapshot.sources(tensors, name) for name, tensors in found.items()}
        roots = {n: t.root for n, t in tables(groups, self.task.leaf_bytes).items()}
        record = Record(self.task.digest, self._trainer, step, self._previous, where, roots)
        self._run.append(sign_record(record, self._key, int(time.time())), groups, self._keep_bytes)
        self._previous = record.root

    def _resume(self) -> int:
        """Return the next step's number, with the state before it in place."""
        records = self._run.records()
        if not records:
            if initial_root(self.model, self.task.leaf_bytes) != self.task.initial:
                raise InvalidInput("the model does not start from the task's weights")
            return 0
        verify_chain(records, self.task)
        last = records[-1]
        if last.trainer != self._trainer:
            raise InvalidInput(f"{self._run.folder}: the run of another trainer's key")
        if last.ends:
            raise InvalidInput(f"{self._run.folder}: the run has ended at step {last.step}")
        restore(self._run, last, self.model, self.optimizer)
        self._previous = last.root
        return last.step + 1


def restore(
    run: Run, record: Record, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Give model and optimizer the state after a recorded step, checked against its record."""
    groups = run.groups(record.step)
    verify_groups(record, groups, run.task.leaf_bytes)
    weights = snapshot.tensors_of(groups[names.WEIGHTS_AFTER])
    state = snapshot.tensors_of(groups[names.OPTIMIZER_AFTER])
    snapshot.put_weights(model, weights, names.WEIGHTS_AFTER)
    snapshot.put_optimizer(model, optimizer, state, names.OPTIMIZER_AFTER)
