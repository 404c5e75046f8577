"""Exported models of every kind: held against float, proven, verified, and forged in four ways."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.unit.halo2_support import SMALL, onnx_bytes, require_ezkl, scratch
from tests.unit.halo2_zoo import MODELS, example
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import prove, verify
from zkai.halo2.setup import calibration_of, setup
from zkai.halo2.statement import Halo2Inference
from zkai.model.onnx_file import load_onnx

SLOW = {"attention block", "LSTM", "GRU", "scaled logistic regression, two classes"}
"""Circuits of 2**12 rows and more: `make test-slow` proves them."""


@pytest.fixture(autouse=True)
def ezkl() -> None:
    require_ezkl()


def chosen() -> list[Any]:
    skip = pytest.mark.skipif(
        os.environ.get("ZKAI_TEST_SLOW") != "1", reason="slow: make test-slow runs it"
    )
    return [pytest.param(name, marks=skip if name in SLOW else ()) for name in MODELS]


def test_there_are_a_dozen_models_in_every_run() -> None:
    assert len(MODELS) - len(SLOW) >= 12


@pytest.mark.parametrize("name", chosen())
def test_models_are_proven_and_forgeries_refused(name: str) -> None:
    given = example(name)
    # Converters leave the batch axis open.
    plain = load_onnx(given.onnx, dict.fromkeys(_inputs(given.onnx), given.samples.shape[1:]))
    statement = Halo2Inference(plain, given.samples, {"input": "public"}, given.config)
    found = calibration_of(statement).report
    (report,) = found["outputs"].values()
    assert found["samples"] >= 8
    assert report["max_abs_error"] < 0.1
    if given.classifies:
        assert report["argmax_agreement"] >= 7 / 8

    keys = setup(statement, scratch())
    proof = prove(statement, keys.proving, {"input": given.samples[0]})
    verify(proof, keys.verifying)
    (wanted,) = plain.run({next(iter(plain.inputs)): given.samples[0]}).values()
    np.testing.assert_allclose(proof.decoded(keys.verifying)["output"], wanted, atol=0.1)
    for signal in ("input", "output"):
        values = proof.public[signal]
        edited = {**proof.public, signal: (*values[:-1], (values[-1] + 1))}
        with pytest.raises(VerificationError, match="does not hold"):
            verify(replace(proof, public=edited), keys.verifying)
    place = len(proof.proof) // 2
    flipped = bytes([proof.proof[place] ^ 1])
    data = proof.proof[:place] + flipped + proof.proof[place + 1 :]
    with pytest.raises(VerificationError, match="does not hold"):
        verify(replace(proof, proof=data), keys.verifying)
    with pytest.raises(VerificationError):
        verify(proof, tampered(keys.verifying))


def _inputs(data: bytes) -> list[str]:
    import onnx

    return [value.name for value in onnx.load_model_from_string(data).graph.input]


def tampered(key: Halo2VerifyingKey) -> Halo2VerifyingKey:
    """Return the key with one bit of EZKL's part flipped."""
    place = len(key.key) - 40
    data = key.key[:place] + bytes([key.key[place] ^ 1]) + key.key[place + 1 :]
    return replace(key, key=data)


def test_an_operator_that_ezkl_computes_otherwise_is_refused() -> None:
    """Places counted from the end are some: EZKL takes them, and gathers other numbers."""
    places = numpy_helper.from_array(np.array([0, -9, -10]), "places")
    node = helper.make_node("Gather", ["input", "places"], ["output"], axis=0)
    model = onnx_bytes([node], [places], {"input": (10,)}, {"output": (3,)})
    samples = np.random.default_rng(0).normal(size=(8, 10))
    with pytest.raises(InvalidInput, match=r"'output' values that differ.*Gather"):
        calibration_of(Halo2Inference(model, samples, {}, SMALL))


def test_a_scale_too_small_for_the_model_is_refused() -> None:
    weights = [numpy_helper.from_array(np.full((2, 1), 1e-3, np.float32), "w")]
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["small"]),
        helper.make_node("MatMul", ["small", "w2"], ["output"]),
    ]
    weights.append(numpy_helper.from_array(np.full((1, 1), 1e3, np.float32), "w2"))
    model = onnx_bytes(nodes, weights, {"input": (1, 2)}, {"output": (1, 1)})
    samples = np.random.default_rng(0).uniform(0.5, 1, size=(8, 1, 2))
    with pytest.raises(InvalidInput, match="the scale is too small"):
        calibration_of(Halo2Inference(model, samples, {}, SMALL))
    calibration_of(Halo2Inference(model, samples, {}, replace(SMALL, tolerance=10.0)))
