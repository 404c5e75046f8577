"""The demo's data and models: scikit-learn's handwritten digits, a public backbone, three users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.errors import ToolError
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig
from zkai.model.fixed_point import FloatArray, IntArray
from zkai.model.quant_graph import QuantGraph
from zkai.model.quantize import forward, quantize, quantize_inputs
from zkai.model.training import HeadState, SoftmaxHead, initial_state

PUBLIC_SAMPLES = 200
FEATURES, CLASSES = 32, 10
SAMPLES, BATCH, STEPS, LEARNING_RATE = 128, 32, 8, 2**-5
ROWS_PER_LEAF = 8
"""A batch is four leaves of a user's dataset: larger leaves make proving membership cheaper."""
EXAM_ROWS, EXAM_SAMPLES = 128, 64
"""An examiner's samples for each user, and how many of them an examination takes."""
USERS = {
    "ada": (0, 1, 2, 3, 8),
    "ben": (3, 4, 5, 6, 9),
    "cho": (1, 5, 7, 8, 9),
}
"""Each user writes these digits only."""


@dataclass(frozen=True)
class User:
    """One user's private samples, as the backbone's integer features, and held-out ones."""

    name: str
    digits: tuple[int, ...]
    features: IntArray = field(repr=False)
    labels: IntArray = field(repr=False)
    held_out: IntArray = field(repr=False)
    held_out_pixels: FloatArray = field(repr=False)
    held_out_labels: IntArray = field(repr=False)


@dataclass(frozen=True)
class Setting:
    """What is public: the backbone, the head's shape and its base weights. And the users."""

    backbone: QuantGraph
    head: SoftmaxHead
    base: HeadState
    users: tuple[User, ...]


def load_setting() -> Setting:
    """Train the backbone and the base head on public samples and split the others by user.

    Raises ToolError if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise ToolError("the demo needs scikit-learn: pip install scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels / 16.0, labels.astype(np.int64)
    public, public_labels = pixels[:PUBLIC_SAMPLES], labels[:PUBLIC_SAMPLES]
    # L-BFGS converges on so few samples, and gives the same weights every time.
    trained = MLPClassifier(
        (FEATURES,), solver="lbfgs", alpha=0.1, max_iter=60, max_fun=10**6, random_state=0
    )
    _fit(trained, public, public_labels)
    (hidden, output), (hidden_bias, output_bias) = trained.coefs_, trained.intercepts_
    backbone = quantize(
        _backbone(hidden, hidden_bias), public, QuantConfig(activation_bits=8, margin_bits=1)
    )
    features = backbone.tensors[backbone.outputs[0]]
    head = SoftmaxHead(
        FEATURES,
        CLASSES,
        input_scale_bits=features.scale_bits,
        input_width=features.width,
        rate_bits=10,
    )
    base = initial_state(head, output, output_bias)
    users = _split(backbone, pixels[PUBLIC_SAMPLES:], labels[PUBLIC_SAMPLES:])
    return Setting(backbone, head, base, users)


def _fit(model: Any, pixels: FloatArray, labels: IntArray) -> None:
    import warnings

    with warnings.catch_warnings():
        # Stopping at max_iter is intended: the base model is meant to be improved on.
        warnings.simplefilter("ignore")
        model.fit(pixels, labels)


def _backbone(weights: FloatArray, bias: FloatArray) -> real.Graph:
    shapes = {
        "pixels": (1, weights.shape[0]),
        "hidden.weight": weights.shape,
        "hidden.bias": bias.shape,
        "hidden": (1, weights.shape[1]),
        "features": (1, weights.shape[1]),
    }
    nodes = (
        real.Node(
            "hidden", "hidden", real.MatMul(), ("pixels", "hidden.weight", "hidden.bias"), "hidden"
        ),
        real.Node("relu", "relu", real.Relu(), ("hidden",), "features"),
    )
    values = {"hidden.weight": weights, "hidden.bias": bias}
    return real.Graph("backbone", ("pixels",), ("features",), shapes, nodes, values)


def _split(backbone: QuantGraph, pixels: FloatArray, labels: IntArray) -> tuple[User, ...]:
    """Deal the samples to the users in turn, each keeping those of their own digits."""
    integers = forward(backbone, quantize_inputs(backbone, pixels[:, None, :]))
    features = integers[backbone.outputs[0]].reshape(len(pixels), FEATURES)
    users = []
    for number, (name, digits) in enumerate(USERS.items()):
        mine = np.flatnonzero(np.isin(labels, digits) & (np.arange(len(labels)) % 3 == number))
        train, rest = mine[:SAMPLES], mine[SAMPLES:]
        users.append(
            User(
                name,
                digits,
                features[train],
                labels[train],
                features[rest],
                pixels[rest],
                labels[rest],
            )
        )
    return tuple(users)
