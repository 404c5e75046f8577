"""Steps that clip: the bound holds for every example's own gradient, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkai.encoding import canonical_json
from zkai.errors import InvalidInput
from zkai.model import training
from zkai.model.training import Head, HeadState, LoraHead, MlpHead, SoftmaxHead

HEADS: dict[str, Head] = {
    "softmax": SoftmaxHead(12, 4, input_width=6),
    "momentum": SoftmaxHead(12, 4, input_width=6, momentum=230),
    "mlp": MlpHead(sizes=(12, 8, 6, 4), input_width=6),
    "decay": MlpHead(sizes=(12, 8, 4), input_width=6, momentum=128, decay=1 << 12),
    "lora": LoraHead(sizes=(12, 8, 4), rank=2, input_width=6),
    "lora of two": LoraHead(sizes=(12, 8, 4), rank=2, adapted=(1, 2), input_width=6),
}
BATCH = 6


def state_of(head: Head, seed: int) -> HeadState:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-60000, 60000, head.shape)
    velocity = rng.integers(-9999, 9999, head.shape) if head.has_velocity else None
    frozen = rng.integers(-60000, 60000, head.frozen_size) if head.frozen_size else None
    return HeadState(weights, velocity, frozen)


def batch_of(head: Head, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(-32, 32, (BATCH, head.features))
    x[0], x[1] = 31, 0  # the largest row, and one whose only input is the bias's
    return x, rng.integers(0, head.classes, BATCH)


def example_norms(head: Head, state: HeadState, x: np.ndarray, y: np.ndarray) -> list[Fraction]:
    """The squared norm of each example's gradient, alone in a batch, from all of its entries."""
    norms = []
    for row in range(len(x)):
        trace = training.trace_step(head, state, x[row : row + 1], y[row : row + 1], 1)
        total = Fraction(0)
        for block in head.blocks:
            scale = block.scale + head.error_scale_bits + block.raw + head.clip_bits
            entries = trace.gradient.reshape(-1)[block.start : block.stop].tolist()
            total += Fraction(sum(e * e for e in entries), 4**scale)
        norms.append(total)
    return norms


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("norm", [0.05, 1.0, 30.0])
def test_no_example_moves_the_weights_by_more_than_the_bound(name: str, norm: float) -> None:
    """Whatever the weights, inputs and labels are; and within the bound nothing is cut."""
    head = HEADS[name].clipped(norm)
    whole = replace(head, clip=0)
    for seed in range(4):
        state, (x, y) = state_of(head, seed), batch_of(head, seed)
        limit = Fraction(norm) ** 2
        found = example_norms(head, state, x, y)
        free = example_norms(whole, state, x, y)
        assert max(found) <= limit
        for cut, before in zip(found, free, strict=True):
            if before < limit * Fraction(9, 10) and "lora" not in name:
                assert cut == before
            elif before > limit:
                # f is the largest: a step of 1 / 4096 more would pass the bound.
                assert cut >= limit * Fraction(1, 2) or before > limit * 4096


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_adds_up_its_examples(name: str) -> None:
    head = HEADS[name].clipped(0.5)
    state, (x, y) = state_of(head, 9), batch_of(head, 9)
    alone = [
        training.trace_step(head, state, x[i : i + 1], y[i : i + 1], 1).gradient
        for i in range(BATCH)
    ]
    np.testing.assert_array_equal(
        training.trace_step(head, state, x, y, 1).gradient, np.sum(alone, axis=0)
    )


@pytest.mark.parametrize("name", ["softmax", "momentum", "mlp", "decay"])
def test_a_bound_that_nothing_reaches_changes_no_weight(name: str) -> None:
    """2**12 G at 12 bits more: the same numbers; a velocity has finer steps, so it may differ."""
    head = HEADS[name]
    loose = head.clipped(700.0)
    state, (x, y) = state_of(head, 3), batch_of(head, 3)
    plain = training.trace_step(head, state, x, y, 64)
    same = training.trace_step(loose, state, x, y, 64)
    np.testing.assert_array_equal(same.gradient, plain.gradient << 12)
    if not head.smooths:
        np.testing.assert_array_equal(same.state.weights, plain.state.weights)


def test_torch_clips_alike() -> None:
    """The integers' mean gradient is torch's mean of per-example gradients cut to the norm."""
    torch = pytest.importorskip("torch")
    norm, head = 0.7, HEADS["mlp"].clipped(0.7)
    state, (x, y) = state_of(head, 1), batch_of(head, 1)
    pairs = [
        (torch.tensor(np.array(w)), torch.tensor(np.array(b)))
        for w, b in training.head_floats(head, state)
    ]
    parameters = [p.requires_grad_(True) for pair in pairs for p in pair]
    total = [torch.zeros_like(p) for p in parameters]
    for row, label in zip(torch.tensor(x / 16.0), torch.tensor(y), strict=True):
        out = row
        for number, (w, b) in enumerate(pairs):
            out = torch.nn.functional.linear(torch.relu(out) if number else out, w, b)
        loss = torch.nn.functional.cross_entropy(out[None], label[None])
        gradients = torch.autograd.grad(loss, parameters)
        size = torch.sqrt(sum((g**2).sum() for g in gradients))
        for place, g in enumerate(gradients):
            total[place] += g * min(1.0, norm / float(size))
    trace = training.trace_step(head, state, x, y, 1)
    for block, w, b in zip(head.blocks, total[::2], total[1::2], strict=True):
        scale = 2.0 ** (block.scale + head.error_scale_bits + head.clip_bits)
        ours = trace.gradient[block.start : block.stop].reshape(block.rows, block.outputs) / scale
        expected = np.concatenate([w.numpy().T, b.numpy()[None]])
        np.testing.assert_allclose(ours, expected, atol=0.03)


def test_the_threshold_is_part_of_the_architecture() -> None:
    head = HEADS["softmax"]
    assert "clip" not in head.describe()
    one, two = head.clipped(1.0), head.clipped(1.5)
    assert one.describe()["clip"] == 1 << 40
    assert len({canonical_json(h.describe()) for h in (head, one, two)}) == 3


@pytest.mark.parametrize("clip", [-1, 1 << 59, 1.0, True])
def test_thresholds_out_of_range_are_refused(clip: object) -> None:
    with pytest.raises(InvalidInput, match="clip"):
        replace(HEADS["softmax"], clip=clip)


def test_heads_too_wide_to_measure_are_refused() -> None:
    with pytest.raises(InvalidInput, match="sum of squares"):
        SoftmaxHead(12, 4, input_width=30, weight_width=4).clipped(1.0)


@given(
    st.sampled_from([(5, 4), (5, 4, 3), (3, 6, 4, 2)]),
    st.sampled_from([0, 128, 255]),
    st.sampled_from([0, 7, 4000]),
    st.floats(0.01, 600),
    st.integers(0, 7),
    st.integers(0, 1 << 30),
)
@settings(max_examples=60, deadline=None)
def test_declared_widths_hold(
    sizes: tuple[int, ...], momentum: int, decay: int, norm: float, adapted: int, seed: int
) -> None:
    """Clipped gradients, velocities and norms stay in what the head declares."""
    options: dict[str, Any] = {"momentum": momentum, "decay": decay, "input_width": 6}
    layers = tuple(n for n in range(1, len(sizes)) if adapted >> (n - 1) & 1)
    head: Head = MlpHead(sizes, **options)
    if layers:
        head = LoraHead(sizes, 2, layers, weight_width=18, **options)
    head, rng = head.clipped(norm), np.random.default_rng(seed)
    widths, state = head.widths(BATCH), state_of(head, seed)
    state = replace(state, weights=state.weights // 8)
    if state.velocity is not None:
        edge = 1 << (widths["v"] - 1)
        state = replace(state, velocity=rng.choice(np.array([-edge, edge - 1]), size=head.shape))
    x = rng.choice(np.array([-32, -1, 0, 31]), size=(BATCH, head.features))
    y = rng.integers(0, head.classes, BATCH)
    try:
        trace = training.trace_step(head, state, x, y, int(rng.integers(1, 1 << 12)))
    except InvalidInput:
        return
    seen = {"G": trace.gradient, "W": trace.state.weights}
    if trace.state.velocity is not None:
        seen["v"] = trace.state.velocity
    for name, values in seen.items():
        half = 1 << (widths[name] - 1)
        assert -half <= values.min()
        assert values.max() < half
