"""Where a proof's time goes: `python -m bench.profile --model softmax64x10 --batch 32`.

Each phase that the prover reports, with its CPU seconds, its share of all of them, and how many
threads it kept busy (CPU seconds over wall-clock seconds; on a loaded machine, at most).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from bench import harness, training_step
from zkai import advice, native, pipeline
from zkai.circuit.statements.base import COMMIT, PLAIN
from zkai.circuit.statements.linked import KZG, POSEIDON
from zkai.proof.formats import Keys

_NAMES = {"build the circuit": "key_and_reference", "witness": "first_round"}
"""What the pipeline does after it reports that the circuit is built: it checks the key, and the
integer reference computes what the public values must be."""


def setup(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Make the keys."""
    statement = advice.in_format(training_step.case(options).statement, options.format)
    pipeline.setup(statement, folder / "keys")
    return {"constraints": statement.build().n_constraints}


def prove(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Prove once and return each phase's CPU seconds, share and busy threads."""
    case = training_step.case(options)
    statement, keys = (
        advice.in_format(case.statement, options.format),
        Keys.from_path(folder / "keys"),
    )
    marks: list[tuple[str, float, float]] = []

    def progress(phase: str, done: float) -> None:
        marks.append((phase, perf_counter(), process_time()))

    statement.build()
    pipeline.prove(statement, keys.proving, case.values, progress=progress)
    found: dict[str, list[float]] = {}
    for (phase, wall, cpu), (_, next_wall, next_cpu) in pairwise(marks):
        name = _NAMES.get(phase, phase.removeprefix("prove: ").replace(" ", "_"))
        times = found.setdefault(name, [0.0, 0.0])
        times[0] += next_wall - wall
        times[1] += next_cpu - cpu
    total = sum(cpu for _, cpu in found.values())
    figures = {"total_cpu_s": total, "peak_rss_bytes": harness.peak_rss_bytes()}
    for name, (wall, cpu) in found.items():
        figures |= {f"{name}_cpu_s": cpu, f"{name}_share": cpu / total}
        figures[f"{name}_threads"] = cpu / wall if wall else 0.0
    return figures


def main() -> None:
    """Measure and print."""
    parser = harness.arguments("profile", "Where a proof's time goes.")
    parser.add_argument("--model", choices=tuple(training_step.HEADS), default="softmax64x10")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--commitment", choices=(POSEIDON, KZG), default=POSEIDON)
    parser.add_argument("--format", choices=(COMMIT, PLAIN), default=COMMIT)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=("setup", "prove"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        action = setup if options.worker == "setup" else prove
        print(json.dumps(action(options, options.folder)))
        return
    names = ("model", "batch", "commitment", "format")
    words = [word for name in names for word in (f"--{name}", str(getattr(options, name)))]
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as folder:

        def worker(action: str) -> dict[str, Any]:
            return harness.run_worker(
                "bench.profile", *words, "--worker", action, "--folder", folder
            )

        fixed = worker("setup")
        repeats = 1 if options.quick else options.repeats
        found = harness.alternate({"ours": lambda: worker("prove")}, repeats)["ours"]
    parameters = {name: getattr(options, name) for name in names}
    parameters |= {"threads": native.threads(), "kernel": native.kernel(), "repeats": repeats}
    figures = {**harness.medians([fixed]), **(found or {})}
    harness.show(harness.report("profile", parameters, figures, {}, {}), options.json)


if __name__ == "__main__":
    main()
