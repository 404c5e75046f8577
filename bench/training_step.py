"""One proven SGD step: `python -m bench.training_step --model softmax64x10 --batch 32`.

Ours is Groth16 with a commitment round; our plain Groth16 proves the same step in turn. EZKL proves
it as an ONNX graph (bench/_step_graph.py), its tensors bound by its cheapest commitments,
polynomial ones, which are unblinded where ours are salted.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import _proving, harness
from bench._step_graph import step_graph
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.training import SoftmaxHead

RATE_SHIFT = 9
SIZES = {
    "softmax64x10": (64, 10),
    "mlp64x32x10": (64, 32, 10),
    "mlp784x128x10": (784, 128, 10),
    "lora32r4": (64, 32, 10),
}
AVAILABLE = ("softmax64x10",)
FULL_SCALE = 16.0
EZKL = {
    "input_visibility": "polycommit",
    "output_visibility": "polycommit",
    "param_visibility": "fixed",
    "ignore_range_check_inputs_outputs": True,
}
QUICK_BATCH = 8


def digits(batch: int, features: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return `batch` images and labels, each image repeated or cut to `features` pixels."""
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    rows = np.random.default_rng(1).choice(len(pixels), batch, replace=True)
    x = np.resize(pixels[rows].T, (features, batch)).T / FULL_SCALE
    return x, targets[rows].astype(np.int64)


def case(options: argparse.Namespace) -> _proving.Case:
    """Return a step on digits: learning rate batch * 2**-9, so lr/B is 2**-9."""
    sizes, batch = SIZES[options.model], options.batch
    x, labels = digits(batch, sizes[0])
    rng = np.random.default_rng(2)
    layers = [rng.normal(size=pair) * 0.1 for pair in pairwise(sizes)]
    biases = [np.zeros(n) for n in sizes[1:]]
    head = SoftmaxHead(*sizes)
    statement = TrainingStep(
        head, batch=batch, learning_rate=batch * 2.0**-RATE_SHIFT, format=COMMIT
    )
    flat: list[Any] = [x, np.eye(sizes[-1])[labels]]
    for weights, bias in zip(layers, biases, strict=True):
        flat += [weights, bias]
    return _proving.Case(
        statement,
        {"x": x, "labels": labels, "weights": layers[0]},
        _proving.onnx_model(step_graph(sizes, batch, 2.0**-RATE_SHIFT)),
        [np.ravel(value).tolist() for value in flat],
        EZKL,
    )


def main() -> None:
    """Run the benchmark, or say that the model has no statement yet."""
    parser = harness.arguments("training_step", "One proven step of stochastic gradient descent.")
    parser.add_argument("--model", choices=tuple(SIZES), default="softmax64x10")
    parser.add_argument("--batch", type=int, default=32)
    _proving.add_options(parser)
    options = parser.parse_args()
    parameters = {"model": options.model, "batch": options.batch, "repeats": options.repeats}
    if options.model not in AVAILABLE:
        reason = "this version has training statements for softmax heads only"
        parameters["reason"] = reason
        ratios = {"prove_ezkl": None, "prove_plain_groth16": None}
        result = harness.report("training_step", parameters, None, {"ezkl": None}, ratios)
        harness.show(result, options.json)
        return
    _proving.run("training_step", case, options, parameters)


if __name__ == "__main__":
    main()
