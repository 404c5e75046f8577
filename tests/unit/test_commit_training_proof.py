"""A training step proven with a commitment round, from statement to both verifiers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import VerificationError
from zkai.model.training import SoftmaxHead
from zkai.proof.commit import argument
from zkai.proof.commit.keys import CommitKeys
from zkai.proof.commit.setup import setup

HEAD = SoftmaxHead(
    3, 3, weight_width=10, rate_shift=6, rate_bits=3, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, weight_scale_bits=8, momentum=230,
)  # fmt: skip
STEP = TrainingStep(HEAD, 2, format="groth16-commit")


def test_a_proof_of_training(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    names = ("step", "model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")
    values = {
        "weights": random.integers(-200, 200, HEAD.shape),
        "velocity": random.integers(-30, 30, HEAD.shape),
        "x": random.integers(-8, 9, (2, HEAD.features)),
        "labels": random.integers(0, HEAD.classes, 2),
        "learning_rate": 3,
        **{name: 7 + i for i, name in enumerate(names)},
    }
    circuit = STEP.build()
    keys = setup(circuit, STEP.version, tmp_path)
    assert CommitKeys.from_path(tmp_path).verifying == keys.verifying
    partial = circuit.begin(STEP.assign(values))
    proof = argument.prove(circuit, keys.proving, partial, STEP.version)
    assert {n: v[0] for n, v in proof.public.items()} == STEP.public_values(values)
    for verifier in ("native", "py-ecc"):
        argument.verify(proof, keys.verifying, verifier)
    for name, value in proof.public.items():
        forged = replace(proof, public={**proof.public, name: (value[0] + 1,)})
        with pytest.raises(VerificationError, match="equation"):
            argument.verify(forged, keys.verifying)
