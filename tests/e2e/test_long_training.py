"""200 steps with proofs: every state is the integer reference's, and the whole is one history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zkai import pipeline
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.commitments import state_commitment, user_commitment
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import VerificationError
from zkai.model.heads import Head, MlpHead, SoftmaxHead
from zkai.model.training import HeadState, predict, sgd_step
from zkai.pipeline import OpenedProof
from zkai.proof.proving_keys import Keys

STEPS, BATCH, RATE = 200, 1, 3
# Small scales, so that the tables of the exponential stay small.
TINY: dict[str, Any] = {"input_width": 5, "logit_scale_bits": 3, "error_scale_bits": 3}
HEADS: dict[str, tuple[Head, list[int]]] = {
    "softmax regression with momentum": (
        SoftmaxHead(3, 3, momentum=200, weight_width=13, weight_scale_bits=8, rate_shift=6,
                    rate_bits=3, **TINY),
        [1] * 5 + [15] * 13,
    ),
    "a network with weight decay": (
        MlpHead((3, 3, 3), decay=5, weight_width=12, weight_scale_bits=8, rate_shift=5,
                rate_bits=3, hidden_scale_bits=3, hidden_width=9, error_width=9, **TINY),
        [20] * 10,
    ),
}  # fmt: skip


class Fork:
    """A fork's proofs, and beside them the same training by the reference alone."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.keys: dict[Any, Keys] = {}
        first, second = np.random.default_rng(2).normal(0, 0.5, (2, 3, 3))
        layers = [(first, None), (second, None)]
        weights = layers if isinstance(head, MlpHead) else first
        self.proofs = [self.prove(Genesis(head, COMMIT), {"weights": weights})]
        assert self.last.values is not None
        self.reference: HeadState = self.last.values

    @property
    def last(self) -> Any:
        state = self.proofs[-1].opening.state
        assert state is not None
        return state

    def prove(self, statement: Any, values: dict[str, Any]) -> OpenedProof:
        if statement not in self.keys:
            self.keys[statement] = pipeline.setup(statement)
        return pipeline.prove(statement, self.keys[statement].proving, values)

    def train(self, steps: int, x: np.ndarray, labels: np.ndarray) -> None:
        """One proof of some steps, and the reference's same steps."""
        statement = TrainingStep(self.head, BATCH, steps, format=COMMIT)
        values = {"state": self.last, "x": x / 2**self.head.input_scale_bits, "labels": labels}
        rate = RATE * BATCH / 2**self.head.rate_shift
        self.proofs.append(self.prove(statement, values | {"learning_rate": rate}))
        for place in range(0, len(x), BATCH):
            part = slice(place, place + BATCH)
            self.reference = sgd_step(self.head, self.reference, x[part], labels[part], RATE)


@pytest.mark.parametrize("name", HEADS)
def test_two_hundred_steps_are_the_reference_s(name: str) -> None:
    head, plan = HEADS[name]
    assert sum(plan) == STEPS
    fork, rng, done = Fork(head), np.random.default_rng(2), 0
    for steps in plan:
        labels = rng.integers(0, 3, steps * BATCH)
        x = 8 * np.eye(3, dtype=np.int64)[labels] + rng.integers(-4, 5, (len(labels), 3))
        fork.train(steps, x, labels)
        done += steps
        state, proof = fork.last, fork.proofs[-1]
        np.testing.assert_array_equal(state.values.weights, fork.reference.weights)
        if head.has_velocity:
            np.testing.assert_array_equal(state.values.velocity, fork.reference.velocity)
        said = state_commitment(
            head,
            fork.reference,
            user=user_commitment(state.secret),
            model=state.model,
            fork=state.fork,
            step=done,
            salt=state.salt,
        )
        assert proof.public["new_state"] == (said,)
    keys = [keys.verifying for keys in fork.keys.values()]
    pipeline.verify_chain(fork.proofs, keys)
    with pytest.raises(VerificationError, match=r"proof 4 .*a gap"):
        pipeline.verify_chain(fork.proofs[:4] + fork.proofs[5:], keys)
    labels = np.arange(30) % 3
    found = predict(head, fork.reference, 8 * np.eye(3, dtype=np.int64)[labels])
    assert (found == labels).mean() > 0.6  # chance is a third: it learned something
    assert len({proof.public["new_state"] for proof in fork.proofs}) == 1 + len(plan)
