"""What comes true of estimates: `python -m bench.estimate`, steps of 2**12 to 2**20 rows.

Each figure is what `zkai.estimate` predicts, divided by what a proof then took: 1 is right, above 1
too much. Machine speeds are measured in the process that proves, right before it does; the peak of
memory is that of a process that only proves. CPU seconds bear a loaded machine, wall-clock seconds
do not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench._digits import batch
from bench.training_step import RATE_SHIFT
from zkai import pipeline
from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.heads import SoftmaxHead
from zkai.proof.formats import Keys

SHAPES: dict[Format, dict[int, tuple[int, int, int]]] = {
    COMMIT: {
        12: (4, 3, 4), 14: (32, 10, 16), 15: (64, 10, 32), 16: (64, 10, 128),
        18: (256, 16, 64), 19: (784, 16, 32), 20: (784, 64, 32),
    },
    PLAIN: {
        12: (4, 3, 2), 14: (16, 4, 8), 16: (32, 10, 8), 17: (64, 10, 16), 18: (64, 10, 64),
        20: (64, 10, 256),
    },
}  # fmt: skip
"""Features, classes and rows of a step by the log2 of its domain."""

QUICK = (12, 14, 15, 16)
PREDICTED = {
    "constraints": "constraints",
    "prove_cpu_s": "prove_cpu_s",
    "prove_s": "prove_s",
    "setup_s": "setup_s",
    "setup_cpu_s": "setup_cpu_s",
    "verify_s": "verify_s",
    "proving_key_bytes": "proving_key_bytes",
    "peak_rss_bytes": "memory_bytes",
}
"""What is measured, and what an estimate calls it."""


def step(chosen: Format, log2: int) -> tuple[TrainingStep, dict[str, Any]]:
    """Return a step whose circuit fills a domain of 2**log2, and its values."""
    features, classes, rows = SHAPES[chosen][log2]
    head = SoftmaxHead(features, classes)
    x, labels = batch(rows, features)
    weights = np.random.default_rng(2).normal(size=(features, classes)) * 0.1
    statement = TrainingStep(head, batch=rows, learning_rate=rows * 2.0**-RATE_SHIFT, format=chosen)
    return statement, {"x": x, "labels": labels % classes, "weights": weights}


def prepare(chosen: Format, log2: int, folder: Path) -> dict[str, float]:
    """Make the keys; return the measured and the predicted figures of that."""
    statement, _ = step(chosen, log2)
    found = pipeline.estimate(statement)
    with harness.Stopwatch() as watch:
        keys = pipeline.setup(statement, folder / "keys")
    return {
        "setup_s": found.setup_s / watch.wall_s,
        "setup_cpu_s": found.setup_cpu_s / watch.cpu_s,
        "proving_key_bytes": found.proving_key_bytes / Path(keys.proving.path).stat().st_size,
    }


def prove(chosen: Format, log2: int, folder: Path) -> dict[str, float]:
    """Estimate, then prove and verify; return predicted over measured."""
    statement, values = step(chosen, log2)
    found, keys = pipeline.estimate(statement), Keys.from_path(folder / "keys")
    if found.domain_size != 1 << log2:
        raise SystemExit(f"{chosen}: the step of 2**{log2} has a domain of {found.domain_size}")
    with harness.Stopwatch() as watch:
        proof = pipeline.prove(statement, keys.proving, values)
    peak = harness.peak_rss_bytes()
    with harness.Stopwatch() as verifying:
        pipeline.verify(proof, keys.verifying)
    measured = {
        "constraints": statement.build().n_constraints,
        "prove_cpu_s": watch.cpu_s,
        "prove_s": watch.wall_s,
        "verify_s": verifying.wall_s,
        "peak_rss_bytes": peak,
    }
    return {key: getattr(found, PREDICTED[key]) / value for key, value in measured.items()}


def measure(repeats: int, quick: bool) -> dict[str, harness.Figures | None]:
    """Return predicted over measured by format, figure and size."""
    figures: dict[str, harness.Figures] = {PLAIN: {}, COMMIT: {}}
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as name:
        for chosen, shapes in SHAPES.items():
            for log2 in shapes:
                if quick and log2 not in QUICK:
                    continue
                words = (
                    "--format",
                    chosen,
                    "--log2",
                    str(log2),
                    "--folder",
                    f"{name}/{chosen}{log2}",
                )
                harness.note(f"{chosen}, 2**{log2}")
                fixed = harness.run_worker("bench.estimate", *words, "--worker", "prepare")
                runs = [
                    harness.run_worker("bench.estimate", *words, "--worker", "prove")
                    for _ in range(repeats)
                ]
                found = {**harness.medians([fixed]), **harness.medians(runs)}
                figures[chosen] |= {f"{k}_2^{log2}": v for k, v in _renamed(found).items()}
    return dict(figures)


def _renamed(found: harness.Figures) -> harness.Figures:
    return {k: v for k, v in found.items() if not k.endswith("_spread")}


def worst(figures: harness.Figures, key: str) -> float:
    """Return the ratio of a figure that is farthest from 1, over all sizes."""
    values = [float(v) for k, v in figures.items() if v and k.startswith(f"{key}_2^")]
    return max(values, key=lambda v: max(v, 1 / v))


def main() -> None:
    """Measure and print."""
    parser = harness.arguments("estimate", "Estimates against what proofs then take.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=("prepare", "prove"), help=argparse.SUPPRESS)
    parser.add_argument("--format", choices=(PLAIN, COMMIT), help=argparse.SUPPRESS)
    parser.add_argument("--log2", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        action = prepare if options.worker == "prepare" else prove
        print(json.dumps(action(options.format, options.log2, options.folder)))
        return
    figures = measure(1 if options.quick else options.repeats, options.quick)
    ours, plain = figures[COMMIT] or {}, figures[PLAIN] or {}
    ratios = {
        f"worst_{name}_{key}": worst(found, key)
        for name, found in (("commit", ours), ("plain", plain))
        for key in PREDICTED
    }
    parameters = {"repeats": options.repeats, "figures": "predicted / measured"}
    result = harness.report("estimate", parameters, ours, {"plain_groth16": plain}, ratios)
    harness.show(result, options.json)


if __name__ == "__main__":
    main()
