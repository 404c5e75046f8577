"""One proven SGD step: `python -m bench.training_step --model softmax64x10 --batch 32`.

EZKL proves the same step as an ONNX graph (x, one-hot labels, W, b in; W', b' out), its tensors
bound by its cheapest commitments, polynomial ones, which are unblinded where ours are salted.
snarkjs proves our circuit's witness with our key.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bench import _proving, harness
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.training import SoftmaxHead

FEATURES, CLASSES = 64, 10
RATE_SHIFT = 9
MODELS = ("softmax64x10", "mlp64x32x10", "mlp784x128x10", "lora32r4")
AVAILABLE = MODELS[:1]
FULL_SCALE = 16.0


def case(options: argparse.Namespace) -> _proving.Case:
    """Return a step on digits: learning rate batch * 2**-9, so lr/B is 2**-9."""
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(pixels), options.batch, replace=True)
    x, labels = pixels[rows] / FULL_SCALE, targets[rows].astype(np.int64)
    weights = rng.normal(size=(FEATURES, CLASSES)) * 0.1
    statement = TrainingStep(
        SoftmaxHead(FEATURES, CLASSES),
        batch=options.batch,
        learning_rate=options.batch * 2.0**-RATE_SHIFT,
    )
    inputs = [x, np.eye(CLASSES)[labels], weights, np.zeros(CLASSES)]
    return _proving.Case(
        statement,
        {"x": x, "labels": labels, "weights": weights},
        _proving.onnx_model(step_graph(options.batch)),
        [np.ravel(value).tolist() for value in inputs],
        {
            "input_visibility": "polycommit",
            "output_visibility": "polycommit",
            "param_visibility": "fixed",
            "ignore_range_check_inputs_outputs": True,
        },
    )


def step_graph(batch: int) -> Any:
    """Return the step as ONNX; lr/B is applied to the error, before the large product."""
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("MatMul", ["x", "W"], ["a"]),
        node("Add", ["a", "b"], ["z"]),
        node("Softmax", ["z"], ["p"], axis=1),
        node("Sub", ["p", "y"], ["e"]),
        node("Mul", ["e", "rate"], ["d"]),
        node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        node("MatMul", ["xt", "d"], ["g"]),
        node("Sub", ["W", "g"], ["W_new"]),
        node("ReduceSum", ["d", "axes"], ["gb"], keepdims=0),
        node("Sub", ["b", "gb"], ["b_new"]),
    ]
    shapes = {"x": [batch, FEATURES], "y": [batch, CLASSES], "W": [FEATURES, CLASSES]}
    shapes["b"] = [CLASSES]
    outputs = {"W_new": shapes["W"], "b_new": shapes["b"]}
    constants = [
        numpy_helper.from_array(np.array(2.0**-RATE_SHIFT, np.float32), "rate"),
        numpy_helper.from_array(np.array([0], np.int64), "axes"),
    ]
    return helper.make_graph(
        nodes,
        "step",
        [info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )


def main() -> None:
    """Run the benchmark, or say that the model has no statement yet."""
    parser = harness.arguments("training_step", "One proven step of stochastic gradient descent.")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
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
