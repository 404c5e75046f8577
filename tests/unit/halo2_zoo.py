"""Models that people export, trained on data that comes with scikit-learn, as ONNX files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from zkai.halo2.settings import Halo2Config

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Example:
    """A model's file, samples of one row each, whether it names classes, and how it is proven."""

    onnx: bytes
    samples: Array
    classifies: bool
    config: Halo2Config


def _rows(data: Any, count: int = 40) -> tuple[Array, Array, Array]:
    """Return features, labels and some rows as (n, 1, features), scaled to about 1."""
    x, y = data(return_X_y=True)
    x = x.astype(np.float32)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-3)
    order = np.random.default_rng(0).permutation(len(x))
    return x, y, x[order[:count], None, :]


def _sklearn(make: Callable[[], Any], data: Any, config: Halo2Config) -> Example:
    from skl2onnx import to_onnx

    x, y, rows = _rows(data)
    if data is load_diabetes:
        y = (y - y.mean()) / y.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make().fit(x, y)
        last = fitted[-1] if hasattr(fitted, "steps") else fitted
        options: Any = {}
        if hasattr(fitted, "predict_proba"):
            options = {id(last): {"zipmap": False}}
        elif hasattr(fitted, "classes_"):
            options = {id(last): {"raw_scores": True}}
        versions = {"": 17, "ai.onnx.ml": 3}
        model = to_onnx(fitted, x[:1], options=options, target_opset=versions)
    return Example(model.SerializeToString(), rows, hasattr(fitted, "classes_"), config)


def _digits() -> tuple[Array, Array]:
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def _torch(make: Callable[[Any], Any], shape: tuple[int, ...], config: Halo2Config) -> Example:
    """Train a network on the digits for a moment and export it."""
    import torch

    x, y = _digits()
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    module = make(torch)
    inputs, labels = torch.tensor(x).reshape(-1, *shape), torch.tensor(y)
    adam = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(60):
        chosen = slice(step * 64 % 1728, step * 64 % 1728 + 64)
        loss = torch.nn.functional.cross_entropy(module(inputs[chosen]), labels[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.set_num_threads(threads)
    module.eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (inputs[:1],), file, dynamo=False, opset_version=17)
    return Example(file.getvalue(), inputs[-40:, None].numpy(), True, config)


def _perceptron(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def _convolution(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 10),
    )


def _pooled(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 10)
    )


def _attention(torch: Any) -> Any:
    class Attention(torch.nn.Module):  # type: ignore[misc, name-defined]
        """One head over four tokens of 16 numbers, with a residual, and a layer norm."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(16, 4) for _ in range(3))
            self.o, self.norm = torch.nn.Linear(4, 16), torch.nn.LayerNorm(16)
            self.head = torch.nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 2, -1)
            return self.head(self.norm(x + self.o(weights @ self.v(x))).mean(1))

    return Attention()


def _recurrent(kind: str) -> Callable[[Any], Any]:
    def make(torch: Any) -> Any:
        class Sequence(torch.nn.Module):  # type: ignore[misc, name-defined]
            """The halves of a digit one after the other."""

            def __init__(self) -> None:
                super().__init__()
                self.cell = getattr(torch.nn, kind)(32, 4, batch_first=True)
                self.head = torch.nn.Linear(4, 10)

            def forward(self, x: Any) -> Any:
                return self.head(self.cell(x)[0][:, -1])

        return Sequence()

    return make


PLAIN = Halo2Config(scale=10, decomposition=(256, 5))
LOOKED_UP = Halo2Config(scale=7, decomposition=(256, 4))
"""Nonlinear functions take a table row for each value of their argument: fewer fraction bits."""

COARSE = Halo2Config(scale=6, decomposition=(256, 4))

MODELS: dict[str, Callable[[], Example]] = {
    "logistic regression": lambda: _sklearn(
        lambda: LogisticRegression(max_iter=300, C=0.1), load_iris, COARSE
    ),
    "scaled logistic regression, two classes": lambda: _sklearn(
        lambda: make_pipeline(StandardScaler(), LogisticRegression()), load_breast_cancer, LOOKED_UP
    ),
    "ridge regression": lambda: _sklearn(Ridge, load_diabetes, PLAIN),
    "linear SVC": lambda: _sklearn(LinearSVC, load_iris, PLAIN),
    "decision tree": lambda: _sklearn(
        lambda: DecisionTreeClassifier(max_depth=3, random_state=0), load_iris, PLAIN
    ),
    "random forest": lambda: _sklearn(
        lambda: RandomForestClassifier(4, max_depth=3, random_state=0), load_iris, PLAIN
    ),
    "boosted trees, regression": lambda: _sklearn(
        lambda: GradientBoostingRegressor(n_estimators=4, max_depth=2, random_state=0),
        load_diabetes,
        PLAIN,
    ),
    "boosted trees": lambda: _sklearn(
        lambda: GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0),
        load_iris,
        LOOKED_UP,
    ),
    "perceptron of scikit-learn": lambda: _sklearn(
        lambda: MLPClassifier((5,), max_iter=200, random_state=0), load_iris, LOOKED_UP
    ),
    "perceptron of torch": lambda: _torch(_perceptron, (64,), PLAIN),
    "convolution": lambda: _torch(_convolution, (1, 8, 8), PLAIN),
    "pooled convolution, tanh": lambda: _torch(_pooled, (1, 8, 8), LOOKED_UP),
    "attention block": lambda: _torch(_attention, (4, 16), LOOKED_UP),
    "LSTM": lambda: _torch(_recurrent("LSTM"), (2, 32), LOOKED_UP),
    "GRU": lambda: _torch(_recurrent("GRU"), (2, 32), LOOKED_UP),
    "RNN": lambda: _torch(_recurrent("RNN"), (2, 32), LOOKED_UP),
}


@cache
def example(name: str) -> Example:
    """Return one of MODELS, made once."""
    return MODELS[name]()
