"""What tests of Halo2's training steps share: small statements, keys and proofs made once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tests.unit.halo2_support import require_ezkl, scratch
from zkai.halo2.keys import Halo2Keys
from zkai.halo2.settings import Halo2Config
from zkai.halo2.setup import setup
from zkai.halo2.step_proof import OpenedStepProof, prove_step
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.graph import AveragePool, Conv, Graph, MatMul, Node, Relu, Reshape, Shape
from zkai.model.heads import LoraHead, MlpHead, SoftmaxHead

SMALL = Halo2Config(decomposition=(1024, 3), lookup_margin=1)
RATE = 0.25
X = np.array([[0.5, -0.25], [0.125, 0.75]])
LABELS = [1, 0]
WEIGHTS, BIAS = np.array([[0.5, -0.5], [0.25, 0.125]]), np.array([0.0625, -0.125])


def softmax(commitments: str = "polycommit", rate: float = RATE) -> Halo2TrainingStep:
    """Return a step of two inputs, two classes, two rows."""
    samples = np.random.default_rng(0).uniform(-1, 1, (4, 2, 2))
    head = SoftmaxHead(2, 2)
    return Halo2TrainingStep(
        head, 2, rate, commitments=commitments, calibration={"x": samples}, config=SMALL
    )


def cnn(batch: int = 1) -> Graph:
    """Return a convolution, ReLU, an average and a linear layer on (batch, 1, 4, 4)."""
    shapes: dict[str, Shape] = {
        "x": (batch, 1, 4, 4), "k": (1, 1, 2, 2), "kb": (1,), "h": (batch, 1, 3, 3),
        "r": (batch, 1, 3, 3), "p": (batch, 1, 2, 2), "f": (batch, 4), "w": (4, 2), "b": (2,),
        "z": (batch, 2),
    }  # fmt: skip
    nodes = (
        Node("h", "h", Conv(), ("x", "k", "kb"), "h"),
        Node("r", "r", Relu(), ("h",), "r"),
        Node("p", "p", AveragePool((2, 2)), ("r",), "p"),
        Node("f", "f", Reshape(), ("p",), "f"),
        Node("z", "z", MatMul(), ("f", "w", "b"), "z"),
    )
    rng = np.random.default_rng(2)
    values = {name: rng.normal(size=shapes[name]) * 0.5 for name in ("k", "kb", "w", "b")}
    return Graph("cnn", ("x",), ("z",), shapes, nodes, values)


def others() -> dict[str, Halo2TrainingStep]:
    """Return steps of the other kinds of models, with what each can have."""
    images = np.random.default_rng(1).uniform(0, 1, (4, 1, 1, 4, 4))
    rows = {"x": np.random.default_rng(1).uniform(-1, 1, (4, 2, 3))}
    mlp, lora = MlpHead((3, 3, 2), momentum=230), LoraHead((3, 3, 2), 1, momentum=64)
    chosen: dict[str, Any] = {"commitments": "polycommit", "config": SMALL}
    return {
        "mlp": Halo2TrainingStep(mlp, 2, RATE, calibration=rows, **chosen),
        "lora": Halo2TrainingStep(lora, 2, RATE, calibration=rows, **chosen),
        "cnn": Halo2TrainingStep(cnn(), 1, RATE, momentum=0.5, calibration={"x": images}, **chosen),
    }


def keys(commitments: str = "polycommit", rate: float = RATE) -> Halo2Keys:
    """Return the keys of `softmax`, made once."""
    require_ezkl()
    return _keys(commitments, rate)


def steps(
    commitments: str = "polycommit", count: int = 2, rate: float = RATE
) -> tuple[OpenedStepProof, ...]:
    """Return the first proofs of a fork from public weights, made once."""
    require_ezkl()
    return tuple(_step(commitments, number, rate) for number in range(count))


@functools.cache
def _keys(commitments: str, rate: float) -> Halo2Keys:
    return setup(softmax(commitments, rate), scratch())


@functools.cache
def _step(commitments: str, number: int, rate: float) -> OpenedStepProof:
    values: dict[str, Any] = {"x": X, "labels": LABELS}
    if number:
        values["state"] = _step(commitments, number - 1, rate).opening.state
    else:
        values |= {"weights": WEIGHTS, "bias": BIAS, "old_salt": 0, "fork": 7}
    return prove_step(softmax(commitments, rate), _keys(commitments, rate).proving, values)
