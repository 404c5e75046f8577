"""Bounds on rounding: every honest computation lies within them, and a cheat does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.compute_support import Toy, toy_task, trainer
from zkai.compute import record as names
from zkai.compute.balls import Unit
from zkai.compute.bounds import SLACK, Tracker
from zkai.compute.kept import Run, tables
from zkai.compute.machine import train
from zkai.compute.record import Record
from zkai.compute.replay import BOUNDED, Outcome, replay_step
from zkai.compute.rules import OPERATORS
from zkai.compute.snapshot import sources, tensors_of
from zkai.errors import InvalidInput, VerificationError

F = nn.functional
FLOAT = Unit.of(torch.float32)
Change = Mapping[str, Mapping[str, torch.Tensor]]


def elsewhere(record: Record) -> Record:
    """The record of a trainer whose CPU has other instructions."""
    return dataclasses.replace(
        record, environment=dataclasses.replace(record.environment, cpu="SVE256")
    )


def replay(
    run: Run, step: int, program: Toy | None = None, change: Change | None = None
) -> Outcome:
    """Replay a step as recorded elsewhere, with some tensors changed and roots that fit."""
    groups = {name: dict(found) for name, found in run.groups(step).items()}
    for group, tensors in (change or {}).items():
        groups[group].update(sources(tensors, group))
    roots = {name: table.root for name, table in tables(groups, run.task.leaf_bytes).items()}
    record = dataclasses.replace(elsewhere(run.signed(step).record), groups=roots)
    return replay_step(program or Toy(), run.task, record, groups)


class Reordered(Toy):
    """The same program on a machine that takes the sums of its matrix products the other way."""

    def model(self) -> nn.Module:
        model = super().model()
        for layer in (model[0], model[3]):
            layer.forward = _backwards(layer)  # type: ignore[method-assign]
        return model


def _backwards(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        terms = [x[:, i : i + 1] * layer.weight[:, i] for i in range(x.shape[1])]
        total = layer.bias
        for term in reversed(terms):
            total = total + term
        return total

    return forward


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "elsewhere"
    train(Reordered(), toy_task(), folder, trainer(), 5, activations=("0", "3"))
    return Run(folder)


def test_honest_steps_in_another_order_are_within_their_bounds(run: Run) -> None:
    with pytest.raises(VerificationError, match="values differ"):
        replay_step(Toy(), run.task, run.signed(3).record, run.groups(3))
    for step in (0, 3):
        outcome = replay(run, step)
        assert outcome.mode == BOUNDED
        assert set(outcome.shares) == {
            "activations", "losses", "gradients", "weights_after", "optimizer_after",
        }  # fmt: skip
        # Neither beyond its bound nor so far below that the bound says nothing.
        assert all(1e-5 < share < 1 for share in outcome.shares.values())


def test_without_deterministic_algorithms_nothing_is_expected_to_the_bit(run: Run) -> None:
    record = run.signed(3).record
    loose = dataclasses.replace(record.environment, deterministic=False)
    outcome = replay_step(
        Toy(), run.task, dataclasses.replace(record, environment=loose), run.groups(3)
    )
    assert outcome.mode == BOUNDED


def test_where_equality_was_agreed_on_bounds_are_not_enough(run: Run) -> None:
    record = elsewhere(run.signed(3).record)
    with pytest.raises(VerificationError, match="step 3: recorded with another cpu than here"):
        replay_step(Toy(), run.task, record, run.groups(3), exact=True)


@pytest.mark.parametrize("group", [names.WEIGHTS_BEFORE, names.WEIGHTS_AFTER])
def test_a_coarser_type_does_not_widen_the_bounds(run: Run, group: str) -> None:
    coarse = {n: t.to(torch.bfloat16) for n, t in tensors_of(run.groups(3)[group]).items()}
    message = f"step 3, {group}: tensor 0.weight: torch.bfloat16"
    with pytest.raises(VerificationError, match=message):
        replay(run, 3, change={group: coarse})


class Slower(Toy):
    rate = 0.0099


def nudged(run: Run, group: str, tensor: str, by: float) -> Change:
    found = tensors_of(run.groups(3)[group])[tensor]
    found.view(-1)[0] += by
    return {group: {tensor: found}}


@pytest.mark.parametrize(
    ("group", "tensor", "by"),
    [
        (names.GRADIENTS, "3.weight", 1e-4),
        (names.ACTIVATIONS, "0", 1e-4),
        (names.LOSSES, "loss", 1e-3),
        (names.WEIGHTS_AFTER, "0.weight", 1e-6),
        (names.OPTIMIZER_AFTER, "state.0.weight.exp_avg", 1e-6),
        (names.OPTIMIZER_AFTER, "state.0.weight.step", 1.0),
        (names.DELTAS, "0.weight", 1e-9),
        (names.STATISTICS, "0.weight.moments", 1e-3),
        (names.STATISTICS, "0.weight.top", 1e-3),
        (names.STATISTICS, "0.weight.top_places", 1),
        (names.BATCH, "x", 1e-7),
        (names.OPTIMIZER_BEFORE, "group.0.lr", 1e-9),
        (names.GRADIENTS, "0.bias", float("nan")),
        (names.WEIGHTS_AFTER, "3.bias", float("inf")),
    ],
)
def test_a_change_beyond_rounding_is_named(run: Run, group: str, tensor: str, by: float) -> None:
    change = nudged(run, group, tensor, by)
    if group == names.LOSSES:
        change = {group: {tensor: tensors_of(run.groups(3)[group])[tensor] + by}}
    with pytest.raises(VerificationError, match=f"step 3, {group}: tensor {tensor[:10]}"):
        replay(run, 3, change=change)


def test_another_program_is_refused(run: Run) -> None:
    with pytest.raises(VerificationError, match=r"optimizer_before: tensor group\.0\.lr"):
        replay(run, 3, Slower())
    old = {names.GRADIENTS: tensors_of(run.groups(0)[names.GRADIENTS])}
    with pytest.raises(VerificationError, match=r"step 3, gradients: tensor 0\.bias"):
        replay(run, 3, change=old)


class Block(nn.Module):
    """A transformer's layer between an embedding and its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, "gelu", batch_first=True)
        self.score = nn.Linear(8, 11)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.score(self.layer(self.embed(tokens)))
        return found


class Language(Toy):
    def model(self) -> nn.Module:
        torch.manual_seed(2)
        return Block()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)

    def batch(self, step: int) -> Mapping[str, torch.Tensor]:
        source = torch.Generator().manual_seed(step)
        return {"x": torch.randint(0, 11, (3, 5), generator=source)}

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        scores = model(batch["x"][:, :-1])
        return F.cross_entropy(scores.reshape(-1, 11), batch["x"][:, 1:].reshape(-1))

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)


def test_a_transformer_is_replayed_both_ways(tmp_path: Path) -> None:
    from zkai.compute.hook import initial_root

    program = Language()
    task = dataclasses.replace(toy_task(), initial=initial_root(program.model(), 64))
    modules = (
        "embed", "layer.dropout1", "layer.norm1", "layer.linear1", "layer.linear2", "layer.norm2",
        "score",
    )  # fmt: skip
    train(program, task, tmp_path / "run", trainer(), 4, activations=modules)
    run = Run(tmp_path / "run")
    assert replay_step(program, task, run.signed(3).record, run.groups(3)).mode == "bitwise"
    shares = replay(run, 3, program).shares
    assert all(0 < share < 1 for share in shares.values())
    honest = tensors_of(run.groups(3)[names.GRADIENTS])["layer.linear1.weight"]
    with pytest.raises(VerificationError, match=r"gradients: tensor layer\.linear1\.weight"):
        replay(run, 3, program, {names.GRADIENTS: {"layer.linear1.weight": 1.1 * honest}})


# --- operators, one by one


def x(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=_SOURCE).float().double()


_SOURCE = torch.Generator().manual_seed(3)
A, B, C, V = x(4, 6), x(4, 6), x(6, 5), x(6)
T = torch.tensor([0, 3, 5, 1])
Case = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]
CASES: dict[str, Case] = {
    "add": (lambda a, b: a + 3 * b - b + (2 - a), (A, B)),
    "mul": (lambda a, b: a * b * 0.3, (A, B)),
    "div": (lambda a, b: a / (b.abs() + 0.5) / 3, (A, B)),
    "mm": (lambda a, c: a @ c, (A, C)),
    "bmm": (lambda a, b: torch.bmm(a[None], b.t()[None]), (A, B)),
    "linear": (lambda a, c, v: F.linear(a, c.t(), v[:5]), (A, C, V)),
    "sum": (lambda a: a.sum(1) + a.sum() + a.mean(0).sum() + a.mean(), (A,)),
    "exp": (lambda a: a.exp(), (A,)),
    "log": (lambda a: (a.abs() + 0.1).log(), (A,)),
    "sqrt": (lambda a: (a * a + 0.1).sqrt() + (a * a + 0.1).rsqrt(), (A,)),
    "pow": (lambda a: a**2 + a**3, (A,)),
    "tanh": (lambda a: a.tanh() + a.sigmoid().detach(), (A,)),
    "gelu": (lambda a: F.gelu(a) + F.gelu(a, approximate="tanh"), (3 * A,)),
    "relu": (lambda a: a.relu() + (-a).relu().abs(), (A,)),
    "softmax": (lambda a: a.softmax(1) * a.detach(), (5 * A,)),
    "log_softmax": (lambda a: a.log_softmax(1), (5 * A,)),
    "nll": (lambda a: F.cross_entropy(a, T), (A,)),
    "mse": (lambda a, b: F.mse_loss(a, b), (A, B)),
    "layer_norm": (lambda a, v: F.layer_norm(a, (6,), v, v), (A, V)),
    "embedding": (lambda a: F.embedding(torch.tensor([0, 2, 2, 3]), a), (A,)),
    "attention": (
        lambda a, b: F.scaled_dot_product_attention(a[None], b[None], a[None], is_causal=True),
        (A, B),
    ),
    "moves": (
        lambda a, b: (
            torch.cat([a, b]).masked_fill(torch.eye(8, 6) > 0, 0)[1:, 2]
            + torch.stack([a, b])[0, 0, 0]
        ),
        (A, B),
    ),
    "select": (lambda a, b: torch.where(torch.ones(4, 6) > 0, a, b)[0], (A, B)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_each_operator_stays_within_its_bound(name: str) -> None:
    """Forward and backward in float32, against float64; inputs moved within their own bounds."""
    function, inputs = CASES[name]
    generator = torch.Generator().manual_seed(7)
    for room in (0.0, 1e-4):
        tracker = Tracker(FLOAT)
        exact = [tensor.clone().requires_grad_() for tensor in inputs]
        if name == "attention":
            context = nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH)
        else:
            context = torch.no_grad() if False else torch.enable_grad()
        with tracker, context:
            for tensor in exact:
                tracker._put(tensor.detach(), torch.full(tensor.shape, room).double())
            result = function(*exact)
            torch.autograd.backward(result.sum() if name != "nll" else result)
        for _ in range(3):
            moved = [
                (t + room * (2 * torch.rand(t.shape, generator=generator).double() - 1))
                .float()
                .requires_grad_()
                for t in inputs
            ]
            found = function(*moved)
            torch.autograd.backward(found.sum() if name != "nll" else found)
            pairs = [
                (result, found),
                *((e.grad, m.grad) for e, m in zip(exact, moved, strict=True)),
            ]
            for reference, claimed in pairs:
                if reference is None:
                    continue
                ball = tracker.ball(reference.detach())
                distance = (claimed.detach().double() - ball.v).abs()
                assert bool((distance <= SLACK * ball.e + 1e-30).all()), name
                # The bound says something: a few thousand units, or the moves many times over.
                assert float(ball.e.max()) < 4000 * (FLOAT.u + room) * float(ball.v.abs().max() + 1)


def test_gradients_where_a_sign_is_in_doubt_are_bounded_by_themselves() -> None:
    tracker = Tracker(FLOAT)
    near = torch.tensor([1e-5, -1e-5, 1.0, -1.0], dtype=torch.float64).requires_grad_()
    with tracker:
        tracker._put(near.detach(), torch.full((4,), 1e-4).double())
        near.relu().sum().backward()  # type: ignore[no-untyped-call]
    assert near.grad is not None
    assert tracker.ball(near.grad).e.tolist() == [1, 1, 0, 0]


def test_operators_without_a_rule_are_refused() -> None:
    value = A.clone()
    for function, name in (
        (torch.sin, "sin"), (torch.cumsum, "cumsum"), (lambda a: a**0.37, "power"),
        (lambda a: a.argmax(), "argmax"), (lambda a: a > 0, "gt"), (torch.sort, "sort"),
    ):  # fmt: skip
        tracker = Tracker(FLOAT)
        with tracker:
            rounded = value * 0.3
            with pytest.raises(InvalidInput, match=name):
                function(rounded, 0) if name == "cumsum" else function(rounded)


def test_no_bound_is_no_pass(run: Run) -> None:
    """Where a division may be by zero there is no bound: that is said, and nothing passes."""
    tracker = Tracker(FLOAT)
    with tracker:
        zero = A * 0.3 - A * 0.3
        result = A / zero
    from zkai.compute.bounds import verify_within

    with pytest.raises(InvalidInput, match="tensor w: has no bound"):
        verify_within(tracker, {"w": torch.ones(4, 6)}, {"w": result}, "here")
    assert len(OPERATORS) > 40
