"""One proven SGD step: `python -m bench.training_step --model softmax64x10 --batch 32`.

Ours is Groth16 with a commitment round; our plain Groth16 proves the same step in turn. EZKL proves
it as the graph that format halo2 makes of the head (zkai.halo2.step_graph): every vector salted and
bound by EZKL's cheapest commitments, polynomial ones, and every input's range checked.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import onnx

from bench import _digits, _proving, harness
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.linked import KZG, POSEIDON
from zkai.circuit.statements.training_step import TrainingStep
from zkai.halo2.settings import POLYCOMMIT
from zkai.halo2.step_layout import TAG_LIMBS
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.head_graph import head_tensors
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead

RATE_SHIFT = 9
HEADS: dict[str, Head] = {
    "softmax64x10": SoftmaxHead(64, 10),
    "mlp64x32x10": MlpHead((64, 32, 10)),
    "mlp784x128x10": MlpHead((784, 128, 10)),
    "lora32r4": LoraHead((64, 32, 10), rank=4),
}
DATASET_ROWS, ROWS_PER_LEAF = 1 << 11, (1, 8)
"""The dataset whose membership rows are counted beside: at one row a leaf, and at eight."""

EZKL = {
    "input_visibility": POLYCOMMIT,
    "output_visibility": POLYCOMMIT,
    "param_visibility": "fixed",
    "ignore_range_check_inputs_outputs": False,
}
EZKL_PRODUCTS = 1 << 19
"""Multiplications of a forward pass up to which EZKL has a turn. It takes about two rows for each
in a whole step; at 2**19 rows it ends 24 GB."""
QUICK_BATCH, QUICK_WEIGHTS = 8, 20_000


def case(options: argparse.Namespace) -> _proving.Case:
    """Return a step on digits: learning rate batch * 2**-9, so lr/B is 2**-9."""
    head, batch, rate = HEADS[options.model], options.batch, 2.0**-RATE_SHIFT
    x, labels = _digits.batch(batch, head.features)
    rng = np.random.default_rng(2)
    weights = [rng.normal(size=pair) * 0.1 for pair in pairwise(head.sizes)]
    layers = [(w.T, np.zeros(w.shape[1])) for w in weights]
    values: dict[str, Any] = {"x": x, "labels": labels, "weights": layers}
    if isinstance(head, SoftmaxHead):
        values["weights"] = weights[0]
    elif isinstance(head, LoraHead):
        factors = ((head.rank, head.features), (head.sizes[1], head.rank))
        values["weights"] = [tuple(rng.normal(size=pair) * 0.1 for pair in factors)]
        values["base"] = layers
    products = batch * sum(k * m for k, m in pairwise(head.sizes))
    model, vectors = (
        _for_ezkl(head, batch, rate, values) if products <= EZKL_PRODUCTS else (None,) * 2
    )
    return _proving.Case(
        TrainingStep(
            head,
            batch=batch,
            learning_rate=batch * rate,
            format=COMMIT,
            weights_commitment=options.commitment,
        ),
        values,
        model,
        vectors,
        EZKL,
    )


def _for_ezkl(
    head: Head, batch: int, rate: float, values: dict[str, Any]
) -> tuple[onnx.ModelProto, list[list[float]]]:
    """Return the step as format halo2 proves it: its graph, and its vectors."""
    samples = {"x": np.stack([values["x"]] * 2)}
    step = Halo2TrainingStep(head, batch, batch * rate, commitments=POLYCOMMIT, calibration=samples)
    layout, given = step.layout, head_tensors(head, values["weights"], base=values.get("base"))
    vectors = {
        "state": layout.pack_state(given, layout.salt()),
        "batch": layout.pack_batch(values["x"], values["labels"], layout.salt()),
        "new_salt": layout.salt(),
        "tag": layout.salt()[:TAG_LIMBS],
    }
    model = onnx.load_model_from_string(step.model.data)
    return model, [(vector / 2.0**layout.scale).tolist() for vector in vectors.values()]


def membership(options: argparse.Namespace) -> dict[str, int]:
    """Return the rows that prove a batch's rows to be those that a beacon draws from a dataset."""
    head, batch, counts = HEADS[options.model], options.batch, dict[str, int]()
    for rows in ROWS_PER_LEAF:
        if batch % rows or (options.quick and prod(head.shape) > QUICK_WEIGHTS):
            continue
        shape = DatasetShape.for_rows(DATASET_ROWS, rows)
        circuit = TrainingStep(head, batch=batch, dataset=shape, format=COMMIT).build()
        found = _proving.parts(circuit)["membership"]
        counts[f"constraints_membership_{rows}_rows_a_leaf"] = found
    return counts


def main() -> None:
    """Run the benchmark."""
    parser = harness.arguments("training_step", "One proven step of stochastic gradient descent.")
    parser.add_argument("--model", choices=tuple(HEADS), default="softmax64x10")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--commitment", choices=(POSEIDON, KZG), default=POSEIDON, help="to the weights"
    )
    _proving.add_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.batch = min(options.batch, QUICK_BATCH)
    parameters = {
        "model": options.model,
        "batch": options.batch,
        "commitment": options.commitment,
        "repeats": options.repeats,
    }
    if not options.worker:
        parameters |= {"dataset_rows": DATASET_ROWS, **membership(options)}
    _proving.run("training_step", case, options, parameters)


if __name__ == "__main__":
    main()
