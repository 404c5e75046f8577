"""A small training run on record, shared by the tests of compute."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from zkai.compute.hook import TrainingHook, initial_root
from zkai.compute.task import Task, program_digest
from zkai.receipt.signer import PrivateKey, generate
from zkai.receipt.trust import TrustStore, trust

EVERY, STEPS = 3, 8


class Toy:
    """A perceptron with dropout and AdamW on data drawn from the step's number."""

    rate = 0.01

    def model(self) -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.25), nn.Linear(16, 3))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=self.rate)

    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        source = torch.Generator().manual_seed(1000 + step)
        return {
            "x": torch.randn(8, 6, generator=source),
            "y": torch.randint(0, 3, (8,), generator=source),
        }

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


PROGRAM = Toy


@functools.cache
def trainer(name: str = "trainer") -> PrivateKey:
    """A key that lasts as long as the test run."""
    return generate()


def trusted() -> TrustStore:
    return trust([("trainer", trainer().public)])


def toy_task(program: Toy | None = None) -> Task:
    """The task that the toy program trains."""
    model = (program or Toy()).model()
    seed = hashlib.sha256(b"toy").digest()
    return Task("toy", program_digest(Path(__file__)), initial_root(model, 64), seed, EVERY, 64)


def record_run(
    folder: Path, steps: int = STEPS, program: Toy | None = None, end: bool = True
) -> Task:
    """Train with two lines more than without; the folder holds the run afterwards."""
    program = program or Toy()
    model = program.model()
    optimizer = program.optimizer(model)
    task = toy_task()
    hook = TrainingHook(model, optimizer, folder, task, trainer(), activations=["0", "3"])
    for step in range(hook.step, steps):
        batch = program.batch(step)
        loss = program.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        hook.observe(loss, batch)
        optimizer.step()
    if end:
        hook.close()
    else:
        hook.abandon()
    return task
