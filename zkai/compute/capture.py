"""What torch's own hooks see of a training step: the trainer's record and a replay take the same.

Before a step's first forward pass torch's generator is seeded with the task's seed for that step.
In a step that is due the tensors of every group of its record are copied as they come to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zkai.compute import record as names
from zkai.compute import snapshot
from zkai.compute.snapshot import Tensors, torch
from zkai.compute.task import Task
from zkai.errors import InvalidInput

Found = dict[str, Tensors]
Sink = Callable[[int, Found], None]


class Capture:
    """Follows a model and its optimizer from step to step; `sink` gets each step that is due.

    `activations` names modules whose outputs are taken. A model whose forward pass is not called
    as a module's, or an optimizer's step without `observe`, is refused.

    Raises InvalidInput if the model lacks one of the modules.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        task: Task,
        sink: Sink,
        *,
        activations: Sequence[str] = (),
        due: Callable[[int], bool] | None = None,
    ) -> None:
        self.model, self.optimizer, self.task, self.step = model, optimizer, task, 0
        self.losses: list[float] = []
        self._sink = sink
        self._is_due = due or (lambda step: step % task.every == 0)
        modules = _modules(model, activations)
        self._found: Found = {}
        self._started = self._observed = False
        self._handles = [
            model.register_forward_pre_hook(self._on_forward),
            optimizer.register_step_pre_hook(self._on_step),
            optimizer.register_step_post_hook(self._after_step),
            *(m.register_forward_hook(self._on_output(name)) for name, m in modules.items()),
        ]

    def release(self) -> None:
        """Let go of model and optimizer."""
        for handle in self._handles:
            handle.remove()

    def observe(self, loss: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> None:
        """Note a step's loss and its data; see TrainingHook.observe."""
        if self._observed:
            raise InvalidInput(f"step {self.step}: observe was called twice in one step")
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise InvalidInput("observe: the loss is a tensor of one value")
        if not batch or not all(isinstance(value, torch.Tensor) for value in batch.values()):
            raise InvalidInput("observe: the batch names at least one tensor, and only tensors")
        self._observed = True
        self.losses.append(float(loss.detach()))
        if self._due:
            self._found[names.BATCH] = snapshot.copies(batch)

    def take_losses(self) -> Tensors:
        """Return the losses since they were last taken, as their group."""
        found, self.losses = self.losses, []
        return {"loss": torch.tensor(found, dtype=torch.float64)}

    @property
    def _due(self) -> bool:
        return self._is_due(self.step)

    def _on_forward(self, module: Any, inputs: Any) -> None:
        if self._started:
            return
        self._started = True
        torch.default_generator.manual_seed(self.task.seed_of(self.step))
        if self._due:
            self._found[names.RNG] = {"torch": torch.get_rng_state()}
            # Buffers change during the forward pass, so this is the moment.
            self._found[names.WEIGHTS_BEFORE] = snapshot.copies(snapshot.weights(self.model))

    def _on_output(self, name: str) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            if self._due and self._started and not self._observed:
                if not isinstance(output, torch.Tensor):
                    raise InvalidInput(f"activations: the output of {name!r} is no tensor")
                taken = self._found.setdefault(names.ACTIVATIONS, {})
                if name in taken:
                    raise InvalidInput(f"activations: {name!r} is called twice in a step")
                taken.update(snapshot.copies({name: output}))

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
            found[names.LOSSES] = self.take_losses()
            self._sink(self.step, found)
        self._found = {}
        self._started = self._observed = False
        self.step += 1


def complete(found: Found) -> None:
    """Add what follows from a step's tensors: changes of weights and statistics of gradients."""
    before, after = found[names.WEIGHTS_BEFORE], found[names.WEIGHTS_AFTER]
    moved = [name for name in after if after[name].is_floating_point()]
    found[names.DELTAS] = {name: after[name] - before[name] for name in moved}
    found[names.STATISTICS] = snapshot.statistics(found[names.GRADIENTS])


def _modules(model: torch.nn.Module, wanted: Sequence[str]) -> dict[str, torch.nn.Module]:
    known = dict(model.named_modules())
    for name in wanted:
        if name not in known or not name:
            raise InvalidInput(f"activations: the model has no module {name!r}")
    return {name: known[name] for name in wanted}
