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
from typing import Any

from zkai.compute import record as names
from zkai.compute import snapshot
from zkai.compute.kept import KEEP_BYTES, Run, tables, verify_groups
from zkai.compute.record import FIRST, Record, sign_record, thumbprint, verify_chain
from zkai.compute.snapshot import Tensors, torch
from zkai.compute.task import Task
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
        self._trainer = thumbprint(key.keyid)
        self._was_deterministic = torch.are_deterministic_algorithms_enabled()
        if deterministic:
            torch.use_deterministic_algorithms(True)
        self._modules = _modules(model, activations)
        self._run = Run.create(folder, task)
        self._worker = ThreadPoolExecutor(1, "zkai-record")
        self._pending: Future[None] | None = None
        self.step, self._previous = 0, FIRST
        self._found: dict[str, Tensors] = {}
        self._losses: list[float] = []
        self._started = self._observed = False
        try:
            self._resume()
        except BaseException:
            self._run.close()
            raise
        self._handles = [
            model.register_forward_pre_hook(self._on_forward),
            optimizer.register_step_pre_hook(self._on_step),
            optimizer.register_step_post_hook(self._after_step),
            *(m.register_forward_hook(self._on_output(n)) for n, m in self._modules.items()),
        ]

    def observe(self, loss: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> None:
        """Note a step's loss and the data that it was computed from, before the optimizer's step.

        Raises InvalidInput for a second call in one step, or a loss that is no scalar.
        """
        if self._observed:
            raise InvalidInput(f"step {self.step}: observe was called twice in one step")
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise InvalidInput("observe: the loss is a tensor of one value")
        self._observed = True
        self._losses.append(float(loss.detach()))
        if self._due:
            if not batch:
                raise InvalidInput("observe: the batch names at least one tensor")
            self._found[names.BATCH] = snapshot.copies(batch)

    def close(self) -> None:
        """Record the state after the last step, wait until all is durable, and let go.

        Raises what went wrong while the last records were written.
        """
        try:
            self._wait()
            if self.step:
                self._found = {
                    names.WEIGHTS_BEFORE: snapshot.copies(snapshot.weights(self.model)),
                    names.OPTIMIZER_BEFORE: snapshot.optimizer_state(self.model, self.optimizer),
                }
                self._commit()
                self._wait()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the model without recording its last state: the run can be gone on with."""
        for handle in self._handles:
            handle.remove()
        self._worker.shutdown(wait=True)
        self._run.close()
        torch.use_deterministic_algorithms(self._was_deterministic)

    # ------------------------------------------------------------------ during a step

    @property
    def _due(self) -> bool:
        return self.step % self.task.every == 0

    def _on_forward(self, module: Any, inputs: Any) -> None:
        if self._started:
            return
        self._started = True
        torch.default_generator.manual_seed(self.task.seed_of(self.step))
        if self._due:
            self._found[names.RNG] = {"torch": torch.get_rng_state()}
            self._found[names.WEIGHTS_BEFORE] = snapshot.copies(snapshot.weights(self.model))

    def _on_output(self, name: str) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            if self._due and self._started and not self._observed:
                if not isinstance(output, torch.Tensor):
                    raise InvalidInput(f"activations: the output of {name!r} is no tensor")
                taken = self._found.setdefault(names.ACTIVATIONS, {})
                taken[name] = output.detach().clone(memory_format=torch.contiguous_format)

        return keep

    def _on_step(self, optimizer: Any, arguments: Any, keywords: Any) -> None:
        if not (self._started and self._observed):
            missing = "the model was not called" if self._observed else "observe was not called"
            raise InvalidInput(f"step {self.step}: {missing} since the last step")
        if self._due:
            found = snapshot.gradients(self.model)
            self._found[names.OPTIMIZER_BEFORE] = snapshot.optimizer_state(self.model, optimizer)
            self._found[names.GRADIENTS] = snapshot.copies(found)

    def _after_step(self, optimizer: Any, arguments: Any, keywords: Any) -> None:
        if self._due:
            found = self._found
            found[names.WEIGHTS_AFTER] = snapshot.copies(snapshot.weights(self.model))
            found[names.OPTIMIZER_AFTER] = snapshot.optimizer_state(self.model, optimizer)
            self._commit()
        self._forget()
        self.step += 1

    def _forget(self) -> None:
        self._found = {}
        self._started = self._observed = False

    # ---------------------------------------------------------- hashing, signing, writing

    def _commit(self) -> None:
        """Hand the step's copies to the other thread, one step at a time."""
        self._wait()
        found = self._found
        found[names.LOSSES] = {"loss": torch.tensor(self._losses, dtype=torch.float64)}
        self._losses = []
        self._pending = self._worker.submit(self._write, self.step, found, snapshot.environment())

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, step: int, found: dict[str, Tensors], where: Any) -> None:
        if names.GRADIENTS in found:
            complete(found)
        groups = {name: snapshot.sources(tensors, name) for name, tensors in found.items()}
        roots = {n: t.root for n, t in tables(groups, self.task.leaf_bytes).items()}
        record = Record(self.task.digest, self._trainer, step, self._previous, where, roots)
        self._run.append(sign_record(record, self._key, int(time.time())), groups, self._keep_bytes)
        self._previous = record.root

    # ------------------------------------------------------------------------ going on

    def _resume(self) -> None:
        records = self._run.records()
        if not records:
            if initial_root(self.model, self.task.leaf_bytes) != self.task.initial:
                raise InvalidInput("the model does not start from the task's weights")
            return
        verify_chain(records, self.task)
        last = records[-1]
        if last.trainer != self._trainer:
            raise InvalidInput(f"{self._run.folder}: the run of another trainer's key")
        if last.ends:
            raise InvalidInput(f"{self._run.folder}: the run has ended at step {last.step}")
        restore(self._run, last, self.model, self.optimizer)
        self.step, self._previous = last.step + 1, last.root


def complete(found: dict[str, Tensors]) -> None:
    """Add what follows from a step's tensors: changes of weights and statistics of gradients."""
    before, after = found[names.WEIGHTS_BEFORE], found[names.WEIGHTS_AFTER]
    moved = [name for name in after if after[name].is_floating_point()]
    found[names.DELTAS] = {name: after[name] - before[name] for name in moved}
    found[names.STATISTICS] = snapshot.statistics(found[names.GRADIENTS])


def restore(
    run: Run, record: Record, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Give model and optimizer the state after a recorded step, checked against its record."""
    groups = run.groups(record.step)
    verify_groups(record, groups, run.task.leaf_bytes)
    found = {
        part: {name: snapshot.tensor_of(source) for name, source in groups[part].items()}
        for part in (names.WEIGHTS_AFTER, names.OPTIMIZER_AFTER)
    }
    snapshot.put_weights(model, found[names.WEIGHTS_AFTER], names.WEIGHTS_AFTER)
    snapshot.put_optimizer(model, optimizer, found[names.OPTIMIZER_AFTER], names.OPTIMIZER_AFTER)


def _modules(model: torch.nn.Module, wanted: Sequence[str]) -> dict[str, torch.nn.Module]:
    known = dict(model.named_modules())
    for name in wanted:
        if name not in known or not name:
            raise InvalidInput(f"activations: the model has no module {name!r}")
    return {name: known[name] for name in wanted}
