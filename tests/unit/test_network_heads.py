"""Heads with hidden layers: their integer step against torch, the written rules, and refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkai.errors import InvalidInput
from zkai.model import fixed_point as fixed
from zkai.model import training
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.training import HeadState

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small matrices: threads only wait for each other

VECTORS = Path(__file__).parents[2] / "circuits" / "vectors" / "13_hidden_layers.json"
MLP = MlpHead(sizes=(6, 5, 3))
LORA = LoraHead(sizes=(6, 5, 3), rank=2)


def numbers(*parts: Any) -> Any:
    return np.concatenate([np.array(part, dtype=np.int64).ravel() for part in parts])


def state_of(head: Head, seed: int = 0, top: int = 30000) -> HeadState:
    rng = np.random.default_rng(seed)
    velocity = rng.integers(-999, 999, head.shape) if head.has_velocity else None
    frozen = rng.integers(-top, top, head.frozen_size) if head.frozen_size else None
    return HeadState(rng.integers(-top, top, head.shape), velocity, frozen)


def batch_of(head: Head, size: int = 4, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.integers(-16, 17, (size, head.features))
    return x, rng.integers(0, head.classes, size)


# The rules --------------------------------------------------------------------------------------


def test_a_network_without_hidden_layers_is_softmax_regression() -> None:
    options: dict[str, Any] = {"momentum": 200, "decay": 3}
    plain, network = SoftmaxHead(6, 3, **options), MlpHead((6, 3), **options)
    x, y = batch_of(plain)
    for seed in range(5):
        state = state_of(plain, seed)
        flat = HeadState(state.weights.ravel(), state.velocity.ravel())  # type: ignore[union-attr]
        one = training.sgd_step(plain, state, x, y, 77)
        other = training.sgd_step(network, flat, x, y, 77)
        assert np.array_equal(one.weights.ravel(), other.weights)
        assert one.velocity is not None
        assert other.velocity is not None
        assert np.array_equal(one.velocity.ravel(), other.velocity)


@given(
    st.sampled_from([(5, 4), (5, 4, 3), (3, 6, 4, 2), (2, 3, 3, 3, 2)]),
    st.integers(0, 255),
    st.integers(0, 4000),
    st.integers(1, 5),
    st.integers(0, 1 << 30),
    st.integers(0, 7),
)
@settings(max_examples=100, deadline=None)
def test_declared_widths_hold(
    sizes: tuple[int, ...], momentum: int, decay: int, size: int, seed: int, adapted: int
) -> None:
    layers = tuple(n for n in range(1, len(sizes)) if adapted >> (n - 1) & 1)
    options: dict[str, Any] = {"momentum": momentum, "decay": decay, "input_width": 6}
    head: Head = MlpHead(sizes, **options)
    if layers:
        head = LoraHead(sizes, 2, layers, weight_width=18, **options)
    widths, rng = head.widths(size), np.random.default_rng(seed)
    state = state_of(head, seed)
    if state.velocity is not None:
        edge = 1 << (widths["v"] - 1)
        extremes = rng.choice(np.array([-edge, edge - 1]), size=head.shape)
        state = replace(state, velocity=extremes)
    x = rng.choice(np.array([-32, -1, 0, 31]), size=(size, head.features))
    y = rng.integers(0, head.classes, size)
    try:
        trace = training.trace_step(head, state, x, y, int(rng.integers(1, 1 << 12)))
    except InvalidInput:
        return
    seen = {"G": trace.gradient, "u": trace.logits, "W": trace.state.weights, "E": trace.error}
    if trace.state.velocity is not None:
        seen["v"] = trace.state.velocity
    for name, value in seen.items():
        fixed.check_width(value, widths[name], name)


# Real numbers -----------------------------------------------------------------------------------


class Lora(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A frozen network with factors on some of its layers."""

    def __init__(self, base: Any, adapted: tuple[int, ...], factors: Any) -> None:
        super().__init__()
        self.base, self.adapted = base, adapted
        flat = [
            torch.nn.Parameter(torch.tensor(m, dtype=torch.float64)) for p in factors for m in p
        ]
        self.factors = torch.nn.ParameterList(flat)

    def forward(self, x: Any) -> Any:
        for number, (weight, bias) in enumerate(self.base, 1):
            y = x @ torch.tensor(weight).T + torch.tensor(bias)
            if number in self.adapted:
                place = 2 * self.adapted.index(number)
                y = y + x @ self.factors[place].T @ self.factors[place + 1].T
            x = torch.relu(y) if number < len(self.base) else y
        return x


def layers_of(sizes: tuple[int, ...], rng: Any) -> list[tuple[Any, Any]]:
    pairs = pairwise(sizes)
    return [(rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=m) * 0.1) for n, m in pairs]


@pytest.mark.parametrize("momentum", [0, 230])
@pytest.mark.parametrize("decay", [0.0, 2.0**-6])
@pytest.mark.parametrize("kind", ["softmax", "mlp", "deep", "lora", "lora of two layers"])
def test_training_follows_torch_sgd(kind: str, momentum: int, decay: float) -> None:
    rng = np.random.default_rng(3)
    rows, rate, steps = 16, 2.0**-5, 40
    sizes = {"softmax": (12, 4), "deep": (12, 10, 8, 4)}.get(kind, (12, 10, 4))
    options: dict[str, Any] = {"momentum": momentum, "rate_bits": 8, "rate_shift": 14}
    layers = layers_of(sizes, rng)
    adapted = {"lora": (1,), "lora of two layers": (1, 2)}.get(kind, ())
    head: Head
    if adapted:
        head = LoraHead(sizes, 3, adapted, **options)
        factors = [
            (rng.normal(size=(3, sizes[n - 1])) / 3, np.zeros((sizes[n], 3))) for n in adapted
        ]
        module: Any = Lora(layers, adapted, factors)
    else:
        head = MlpHead(sizes, **options) if kind != "softmax" else SoftmaxHead(*sizes, **options)
        stack: list[Any] = []
        for weight, bias in layers:
            linear = torch.nn.Linear(*weight.shape[::-1]).double()
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(weight))
                linear.bias.copy_(torch.tensor(bias))
            stack += [linear, torch.nn.ReLU()]
        module = torch.nn.Sequential(*stack[:-1])
    head = replace(head, decay=training.weight_decay(head, decay, rows))
    if kind == "softmax":
        state = training.initial_state(head, layers[0][0].T, layers[0][1])
    elif adapted:
        state = training.initial_state(head, factors, base=layers)
    else:
        state = training.initial_state(head, layers)
    optimiser = torch.optim.SGD(
        module.parameters(), lr=rate, momentum=momentum / 256, weight_decay=decay
    )
    c = training.learning_rate(head, rate, rows)
    for _ in range(steps):
        x, y = rng.integers(0, 17, (rows, 12)), rng.integers(0, 4, rows)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(
            module(torch.tensor(x / 16.0)), torch.tensor(y)
        ).backward()
        optimiser.step()
        state = training.sgd_step(head, state, x, y, c)
    floats = training.head_floats(head, state)
    if kind == "softmax":
        floats = [(floats[0].T, floats[1])]
    ours = np.concatenate([np.ravel(m) for pair in floats for m in pair])
    theirs = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    start = (
        training.head_floats(head, training.initial_state(head, factors, base=layers))
        if adapted
        else layers
    )
    moved = np.abs(theirs - np.concatenate([np.ravel(m) for pair in start for m in pair])).max()
    assert np.abs(ours - theirs).max() <= 0.08 * max(moved, 0.1)


def test_heads_go_to_integers_and_back() -> None:
    rng = np.random.default_rng(0)
    base = layers_of((6, 5, 3), rng)
    state = training.initial_state(MLP, base)
    for pair, back in zip(base, training.head_floats(MLP, state), strict=True):
        for real, ours in zip(pair, back, strict=True):
            assert real.shape == ours.shape
            assert np.abs(real - ours).max() <= 2**-17
    factors = [(rng.normal(size=(2, 6)), rng.normal(size=(5, 2)))]
    lora = training.initial_state(LORA, factors, base=base)
    assert lora.frozen is not None
    assert np.array_equal(lora.frozen, state.weights)
    for real, ours in zip(factors[0], training.head_floats(LORA, lora)[0], strict=True):
        assert np.abs(real - ours).max() <= 2**-17


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "change", "tensor"),
    [
        (MLP, {"hidden_width": 4}, "hidden layer 1"),
        (MLP, {"error_width": 2}, "hidden error 1"),
        (MLP, {"weight_width": 16, "rate_shift": 8}, "weights after the step"),
        (LORA, {"hidden_width": 4}, "layer 1 A t"),
        (LORA, {"error_width": 2}, "layer 1 A error"),
    ],
)
def test_overflows_reject_the_step_and_name_the_tensor(
    head: Head, change: dict[str, int], tensor: str
) -> None:
    x, y = batch_of(head)
    training.sgd_step(head, state_of(head), x, y, 64)
    with pytest.raises(InvalidInput, match=f"'{tensor}'"):
        training.sgd_step(replace(head, **change), state_of(head), x, y, 64)


def test_the_width_of_a_hidden_layer_is_that_of_z_minus_1() -> None:
    head = MlpHead((1, 1, 2), hidden_width=3, weight_scale_bits=4, rate_shift=0, logit_scale_bits=4,
                   input_scale_bits=2, hidden_scale_bits=2)  # fmt: skip
    for bias, accepted in ((4, True), (5, False), (-3, True), (-4, False)):
        # z = R_4(bias 2^2 2^2) is the bias.
        weights = np.array([0, bias << 2, 0, 0, 0, 0])
        x, y = np.zeros((1, 1), np.int64), np.zeros(1, np.int64)
        if accepted:
            training.forward(head, weights, x)
        else:
            with pytest.raises(InvalidInput, match="hidden layer 1"):
                training.sgd_step(head, HeadState(weights), x, y, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": (6,)},
        {"sizes": (6, 1)},
        {"sizes": (6, 0, 3)},
        {"sizes": (6, 5, 257)},
        {"sizes": (6, 5.0, 3)},
        {"sizes": "65"},
        {"sizes": (1 << 23, 4, 3)},
        {"sizes": (2,) * 40},
        {"hidden_width": 40},
        {"error_width": 1},
        {"rate_shift": 2},
        {"decay": -1},
        {"decay": 1, "input_scale_bits": 3},
        {"momentum": 256},
    ],
)
def test_heads_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(MLP, **change)


@pytest.mark.parametrize(
    "change",
    [{"rank": 0}, {"adapted": ()}, {"adapted": (0,)}, {"adapted": (2, 1)}, {"adapted": (3,)}],
)
def test_lora_heads_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(LORA, **change)


def test_states_need_their_frozen_weights() -> None:
    x, y = batch_of(LORA)
    state = state_of(LORA)
    for frozen in (None, state.frozen[:-1], state.frozen << 10):  # type: ignore[index, operator]
        with pytest.raises(InvalidInput, match="frozen"):
            training.sgd_step(LORA, replace(state, frozen=frozen), x, y, 5)
    with pytest.raises(InvalidInput, match="frozen"):
        training.sgd_step(MLP, replace(state_of(MLP), frozen=state.frozen), x, y, 5)


def test_layers_of_another_shape_are_named() -> None:
    base = layers_of((6, 5, 3), np.random.default_rng(0))
    bad: list[Any] = [base[:1], [base[0], (base[1][0].T, base[1][1])], [base[0], (base[1][0],)], 7]
    for layers in bad:
        with pytest.raises(InvalidInput, match="weights"):
            training.initial_state(MLP, layers)
    factors = [(np.zeros((2, 6)), np.zeros((5, 2)))]
    for base_ in (None, base[:1]):
        with pytest.raises(InvalidInput, match="base"):
            training.initial_state(LORA, factors, base=base_)
    with pytest.raises(InvalidInput, match="base"):
        training.initial_state(MLP, base, base=base)


def test_weight_decay_is_exact_or_refused() -> None:
    assert training.weight_decay(MLP, 2**-10, 32) == 2048
    assert training.weight_decay(MLP, 0.0, 32) == 0
    with pytest.raises(InvalidInput, match=r"nearest are 0\.0009\d* or 0\.001"):
        training.weight_decay(MLP, 0.001, 32)
    for bad in (-0.5, float("nan"), True, "0.1"):
        with pytest.raises(InvalidInput, match="weight decay"):
            training.weight_decay(MLP, bad, 32)  # type: ignore[arg-type]
