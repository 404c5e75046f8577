"""One proven inference: `python -m bench.inference --model mlp64x32x10|cnn8x8`.

Input and output are public; the weights are the prover's and committed to, by salted hashes in
ours, by EZKL's cheapest commitments, which are unblinded, in its. With `--weights constant` they
are part of the circuit in both (EZKL's `fixed`).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from bench import _digits, _proving, harness
from zkai.calibrated import Inference
from zkai.circuit.statements.base import COMMIT
from zkai.model.export import load

MODELS = ("mlp64x32x10", "cnn8x8")
CHANNELS = 16


def case(options: argparse.Namespace) -> _proving.Case:
    """Return an inference of a random model, calibrated on the digits."""
    pixels, _ = _digits.digits()
    graph, shape = (mlp(), (1, 64)) if options.model == MODELS[0] else (cnn(), (1, 1, 8, 8))
    model = _proving.onnx_model(graph)
    samples = pixels[:200].reshape(200, *shape[1:])
    statement = Inference(
        load(model.SerializeToString()),
        calibration=samples,
        visibility={"input": "public", "output": "public", "weights": options.weights},
        format=COMMIT,
    )
    x = pixels[200].reshape(shape)
    return _proving.Case(
        statement,
        {"input": x},
        model,
        [np.ravel(x).tolist()],
        {
            "input_visibility": "public",
            "output_visibility": "public",
            "param_visibility": "fixed" if options.weights == "constant" else "polycommit",
        },
    )


def mlp() -> Any:
    """Return 64-32-10 with a ReLU: 2,410 parameters."""
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "W1", "b1"], ["a"]),
        node("Relu", ["a"], ["h"]),
        node("Gemm", ["h", "W2", "b2"], ["y"]),
    ]
    shapes = {"W1": (64, 32), "b1": (32,), "W2": (32, 10), "b2": (10,)}
    return _graph(nodes, [1, 64], shapes)


def cnn() -> Any:
    """Return a 3x3 convolution, ReLU, pooling and a linear layer on 8x8: 1,610 parameters."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "K", "k"], ["c"], kernel_shape=[3, 3], strides=[1, 1], pads=[0] * 4),
        node("Relu", ["c"], ["r"]),
        node("AveragePool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "W", "b"], ["y"]),
    ]
    shapes = {"K": (CHANNELS, 1, 3, 3), "k": (CHANNELS,), "W": (9 * CHANNELS, 10), "b": (10,)}
    return _graph(nodes, [1, 1, 8, 8], shapes)


def _graph(nodes: list[Any], input_shape: list[int], shapes: dict[str, tuple[int, ...]]) -> Any:
    rng = np.random.default_rng(1)
    info = helper.make_tensor_value_info

    def weights(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        spread = 1 / np.sqrt(shape[0] if len(shape) == 2 else np.prod(shape[1:]))
        values = rng.normal(size=shape) * (spread if len(shape) > 1 else 0.1)
        return np.asarray(values, dtype=np.float32)

    constants = [numpy_helper.from_array(weights(s), name) for name, s in shapes.items()]
    return helper.make_graph(
        nodes,
        "model",
        [info("x", TensorProto.FLOAT, input_shape)],
        [info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )


def main() -> None:
    """Run the benchmark."""
    parser = harness.arguments("inference", "One proven inference of a small model.")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--weights", choices=("committed", "constant"), default="committed")
    _proving.add_options(parser)
    options = parser.parse_args()
    parameters = {
        "model": options.model,
        "weights": options.weights,
        "repeats": options.repeats,
    }
    _proving.run("inference", case, options, parameters)


if __name__ == "__main__":
    main()
