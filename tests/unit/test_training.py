"""The integer SGD step: against float training, at its edges, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from zkai.encoding import canonical_json
from zkai.errors import InvalidInput
from zkai.model import fixed_point as fixed
from zkai.model import training
from zkai.model.training import HeadState, SoftmaxHead

HEAD = SoftmaxHead(6, 3)


def batch(head: SoftmaxHead = HEAD, size: int = 4, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    half = 1 << (head.input_width - 1)
    x = rng.integers(-half, half, size=(size, head.features))
    return x, rng.integers(0, head.classes, size=size)


def state_of(head: SoftmaxHead = HEAD, seed: int = 0, top: int = 50000) -> HeadState:
    rng = np.random.default_rng(seed)
    velocity = np.zeros(head.shape, dtype=np.int64) if head.momentum else None
    return HeadState(rng.integers(-top, top, size=head.shape), velocity)


def digits() -> tuple[Any, Any, Any, Any]:
    data, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(data))
    x, y = data[order].astype(np.int64), labels[order].astype(np.int64)
    return x[:1400], y[:1400], x[1400:], y[1400:]


@pytest.mark.parametrize("momentum", [0, 230])
def test_digits_train_as_in_real_numbers(momentum: int) -> None:
    x, y, held_x, held_y = digits()
    head = SoftmaxHead(64, 10, input_width=6, momentum=momentum)
    rate = 2**-2 if momentum == 0 else 2**-5
    c = training.learning_rate(head, rate, 32)
    state = training.initial_state(head, np.zeros((64, 10)))
    weights, velocity = np.zeros((65, 10)), np.zeros((65, 10))
    rng = np.random.default_rng(0)
    for _ in range(300):
        rows = rng.choice(len(x), size=32, replace=False)
        state = training.sgd_step(head, state, x[rows], y[rows], c)
        real_x = x[rows] / 16.0
        weights, velocity = training.float_step(
            weights, velocity, real_x, y[rows], rate, momentum / 256
        )
    real = np.mean(np.argmax(held_x / 16.0 @ weights[:-1] + weights[-1], axis=1) == held_y)
    ours = training.accuracy(head, state, held_x, held_y)
    assert real > 0.9
    assert abs(ours - real) <= 0.01
    bound = training.head_floats(head, state)[0] - weights[:-1]
    assert np.abs(bound).max() < 0.02


@given(
    st.integers(1, 8),
    st.integers(2, 6),
    st.integers(1, 5),
    st.sampled_from([0, 1, 128, 255]),
    st.integers(0, 1 << 30),
)
def test_declared_widths_hold(
    features: int, classes: int, size: int, momentum: int, seed: int
) -> None:
    head = SoftmaxHead(features, classes, input_width=6, momentum=momentum, weight_width=19)
    widths = head.widths(size)
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-32, -1, 0, 31]), size=(size, features))
    y = rng.integers(0, classes, size=size)
    edge = 1 << (widths["v"] - 1)
    velocity = rng.choice(np.array([-edge, edge - 1]), size=head.shape) if momentum else None
    state = HeadState(rng.integers(-30000, 30000, size=head.shape), velocity)
    try:
        trace = training.trace_step(head, state, x, y, int(rng.integers(1, 1 << 12)))
    except InvalidInput:
        return
    acc = x @ state.weights[:-1] + (state.weights[-1] << head.input_scale_bits)
    e, total, rho = fixed.softmax_terms(trace.logits)
    seen = {
        "acc": acc,
        "acc_logit": 369 * acc,
        "u": trace.logits,
        "e": e,
        "S": total,
        "rho": rho,
        "e_rho": e * rho,
        "p": trace.probabilities,
        "E": trace.error,
        "G": trace.gradient,
        "W": trace.state.weights,
    }
    if trace.state.velocity is not None:
        seen["v"] = trace.state.velocity
    for name, value in seen.items():
        fixed.check_width(value, widths[name], name)


@given(st.integers(0, 255), st.integers(1, 64), st.integers(2, 12))
def test_the_velocity_keeps_its_width(momentum: int, size: int, input_width: int) -> None:
    head = SoftmaxHead(3, 2, input_width=input_width, momentum=momentum)
    width = head.widths(size)["v"]
    gradient = size * max(1 << (input_width - 1), 16) * 256
    for v in (-(1 << (width - 1)), (1 << (width - 1)) - 1):
        for g in (-gradient, gradient):
            after = fixed.rescale(np.array(momentum * v + 256 * g), 8)
            fixed.check_width(after, width, "v")


def test_momentum_of_zero_is_plain_descent() -> None:
    x, y = batch()
    plain = training.sgd_step(HEAD, state_of(), x, y, 64)
    heavy = replace(HEAD, momentum=128)
    first = training.sgd_step(heavy, state_of(heavy), x, y, 64)
    assert np.array_equal(plain.weights, first.weights)
    assert plain.velocity is None
    assert first.velocity is not None
    second = training.sgd_step(heavy, first, x, y, 64)
    gradient = training.trace_step(heavy, first, x, y, 64).gradient
    assert second.velocity is not None
    assert np.array_equal(second.velocity, fixed.rescale(128 * first.velocity + 256 * gradient, 8))


def test_an_overflow_rejects_the_step_and_names_the_tensor() -> None:
    x, y = batch()
    narrow = replace(HEAD, weight_width=17)
    with pytest.raises(InvalidInput, match="'weights after the step'"):
        training.sgd_step(narrow, HeadState(np.full((7, 3), 65535)), x, y, 4095)
    loud = replace(HEAD, input_width=12)
    with pytest.raises(InvalidInput, match="'logits'"):
        training.sgd_step(loud, state_of(top=1 << 19), x * 16, y, 1)
    with pytest.raises(InvalidInput, match="'x'"):
        training.sgd_step(HEAD, state_of(), x * 2, y, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": np.zeros((4, 5), dtype=np.int64)}, "x: expected shape"),
        ({"x": np.zeros((0, 6), dtype=np.int64), "labels": np.zeros(0, dtype=np.int64)}, "shape"),
        ({"x": np.zeros((4, 6))}, "x: expected an int64 array"),
        ({"x": [[0] * 6] * 4}, "x: expected an int64 array"),
        ({"labels": np.array([0, 1, 2, 3])}, "labels: expected integers of 0 to 2"),
        ({"labels": np.array([0, 1, 2, -1])}, "labels: expected integers of 0 to 2"),
        ({"labels": np.array([0, 1, 2])}, "labels: expected shape"),
        ({"rate": 0}, "learning_rate"),
        ({"rate": 4096}, "learning_rate"),
        ({"state": HeadState(np.zeros((6, 3), dtype=np.int64))}, "weights: expected shape"),
        ({"state": HeadState(np.full((7, 3), 1 << 19))}, "'weights'"),
        ({"state": HeadState(np.zeros((7, 3), np.int64), np.zeros((7, 3), np.int64))}, "velocity"),
    ],
)
def test_steps_refuse_what_does_not_fit(change: dict[str, Any], reason: str) -> None:
    x, labels = batch()
    given_: dict[str, Any] = {"state": state_of(), "x": x, "labels": labels, "rate": 5} | change
    with pytest.raises(InvalidInput, match=reason):
        training.sgd_step(HEAD, **given_)
    training.sgd_step(HEAD, state_of(), x, labels, 5)


def test_a_velocity_wider_than_declared_is_refused() -> None:
    heavy = replace(HEAD, momentum=200)
    x, y = batch()
    edge = 1 << (heavy.widths(4)["v"] - 1)
    for value, refused in ((edge - 1, False), (edge, True), (-edge, False), (-edge - 1, True)):
        state = HeadState(np.zeros((7, 3), dtype=np.int64), np.full((7, 3), value))
        if refused:
            with pytest.raises(InvalidInput, match="'velocity'"):
                training.sgd_step(heavy, state, x, y, 1)
        else:
            training.sgd_step(heavy, state, x, y, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"features": 0},
        {"classes": 1},
        {"classes": 257},
        {"features": True},
        {"features": 6.0},
        {"momentum": 256},
        {"momentum": -1},
        {"rate_shift": 2},
        {"features": 1 << 24},
        {"weight_scale_bits": 25},
        {"input_width": 32, "weight_width": 40},
    ],
)
def test_heads_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(HEAD, **change)


def test_batches_that_int64_cannot_hold_are_refused() -> None:
    head = SoftmaxHead(6, 3, input_width=32, weight_width=20)
    head.widths(1)
    with pytest.raises(InvalidInput, match=r"would need \d+ bits of 62"):
        head.widths(1 << 20)
    with pytest.raises(InvalidInput, match="at least 1 row"):
        head.widths(0)


def test_learning_rates_are_exact_or_refused() -> None:
    head = SoftmaxHead(64, 10)
    assert training.learning_rate(head, 2**-4, 32) == 128
    assert training.learning_rate(head, 0.375, 24) == 1024
    with pytest.raises(InvalidInput, match=r"nearest are 0\.099\d+ or 0\.100\d+"):
        training.learning_rate(head, 0.1, 32)
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1e9, True, "0.1"):
        with pytest.raises(InvalidInput, match="learning rate"):
            training.learning_rate(head, bad, 32)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="at least 1 row"):
        training.learning_rate(head, 0.5, 0)


def test_heads_go_to_integers_and_back() -> None:
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(6, 3)), rng.normal(size=3)
    state = training.initial_state(HEAD, weights, bias)
    back, row = training.head_floats(HEAD, state)
    assert np.abs(back - weights).max() <= 2**-17
    assert np.abs(row - bias).max() <= 2**-17
    again = training.initial_state(HEAD, back, row)
    assert np.array_equal(again.weights, state.weights)
    for bad in (weights.T, np.full((6, 3), np.nan), weights * 1000):
        with pytest.raises(InvalidInput):
            training.initial_state(HEAD, bad, bias)


def test_updates_are_exact_sums() -> None:
    heavy = replace(HEAD, momentum=128)
    state = HeadState(state_of().weights, np.ones((7, 3), dtype=np.int64))
    update = np.full((7, 3), -7)
    after = training.apply_update(heavy, state, update)
    assert np.array_equal(after.weights, state.weights - 7)
    assert after.velocity is state.velocity
    for bad in (
        np.full((7, 3), 1 << 19),
        np.full((7, 3), 1 << 20),
        update[:6],
        update.astype(float),
    ):
        with pytest.raises(InvalidInput):
            training.apply_update(heavy, state, bad)


def test_argmax_ties_take_the_lowest_index() -> None:
    state = HeadState(np.zeros(HEAD.shape, dtype=np.int64))
    assert training.predict(HEAD, state, batch()[0]).tolist() == [0, 0, 0, 0]


def test_states_do_not_print_their_weights() -> None:
    assert repr(state_of()) == "HeadState()"
    canonical_json(HEAD.describe())
