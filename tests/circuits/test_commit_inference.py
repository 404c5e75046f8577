"""Convolutions and dense layers with committed weights in a commitment round, and their forgers."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_forgery import assert_every_hint_forced, assert_refused, challenges_of, forger
from test_inference import cnn, given, quantised

from zkai.circuit.gadgets.freivalds import Products
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.inference import Inference
from zkai.errors import VerificationError

COMMIT = "groth16-commit"
PLACES, PATCH, CHANNELS = 20, 18, 4
"""conv1: 4 x 5 places, patches of 2 x 3 x 3, 4 channels."""


def network(weights: str = "committed", form: str = COMMIT) -> tuple[Circuit, dict]:
    model, inputs = quantised(cnn())
    statement = Inference(model, {"weights": weights}, format=form)  # type: ignore[arg-type]
    return statement.build(), statement.assign(given(statement, inputs))


def test_a_convolution_is_one_check_of_its_patches() -> None:
    rows, plain = (network(form=form)[0].counts() for form in (COMMIT, "groth16"))
    assert rows["conv1: freivalds"] == (
        PATCH * (CHANNELS - 1) + PLACES * PATCH + PLACES * (CHANNELS - 1)
    )
    assert rows["conv1: freivalds"] < plain["conv1: matmul"]
    # Two groups of 2 x 4 patches and 2 channels.
    assert rows["conv2: freivalds"] == 2 * (8 * 1 + 2 * 8 + 2 * 1)
    assert "conv1: matmul" not in rows
    # One sample's dense layer is no matrix product: its terms are cheaper.
    assert rows["dense3: matmul"] == plain["dense3: matmul"] == 8 * 3
    constant = network("constant")[0].counts()
    assert not any("freivalds" in place or "matmul" in place for place in constant)


FORGED = (
    "conv1/matmul", "conv1/quotient", "conv1/quotient sign", "conv1/quotient sign times value",
    "relu1/relu", "pool1/quotient", "conv2/matmul", "conv2/matmul#2", "sigmoid2/quotient",
    "sigmoid2/exponential", "dense3/matmul", "softmax3/maximum", "softmax3/quotient",
)  # fmt: skip


@pytest.mark.parametrize("label", FORGED)
def test_a_forged_value_inside_is_refused(label: str) -> None:
    circuit, inputs = network()
    wires = next(step.wires for step in circuit.steps if step.label == label)
    for place in (0, len(wires) - 1):
        for by in (1, -1, 1 << 20):
            change = np.zeros(len(wires), np.int64)
            change[place] = by
            assert_refused(circuit, inputs, {label: lambda out, c=change: np.ravel(out) + c})


def test_every_hint_of_a_convolution_is_forced() -> None:
    circuit, inputs = network()
    assert_every_hint_forced(circuit, inputs, within="conv")


def test_sums_that_cancel_over_a_row_are_refused() -> None:
    """Two channels of one place: their sum stays, their values do not."""
    circuit, inputs = network()
    change = np.zeros(PLACES * CHANNELS, np.int64)
    change[:2] = 5, -5
    message = assert_refused(circuit, inputs, {"conv1/matmul": lambda out: np.ravel(out) + change})
    assert "conv1: freivalds" in message


def test_without_its_check_a_convolution_proves_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above refuse, a circuit without Freivalds' rows accepts."""
    monkeypatch.setattr(Products, "close", lambda self: None)
    circuit, inputs = network()
    change = np.zeros(PLACES * CHANNELS, np.int64)
    change[3] = 1 << 12
    forged = {"conv1/matmul": lambda out: np.ravel(out) + change}
    circuit.check(forger(circuit).solve(inputs, forged, challenges_of))


def test_weights_of_another_commitment_are_refused() -> None:
    circuit, inputs = network()
    honest = circuit.solve(inputs, challenge=challenges_of)
    circuit.check(honest)
    other = {**inputs, "parameter.w1": inputs["parameter.w1"] + 1}
    witness = forger(circuit).solve(other, challenge=challenges_of)
    circuit.check(witness)
    signal = circuit.signal_wires
    assert not np.array_equal(witness[signal], honest[signal])
    witness[signal] = honest[signal]
    with pytest.raises(VerificationError):
        circuit.check(witness)
