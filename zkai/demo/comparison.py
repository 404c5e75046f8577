"""One training step proven in both formats, side by side: what the commitment round saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from zkai.chain.verifier import deploy, verify_on_chain
from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.proving import PROOF_BYTES
from zkai.demo.stage import Stage
from zkai.pipeline import prove, setup, verify

RUNS = 3
FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "constraints": ("constraints", "{:,.0f}".format),
    "proving_key_bytes": ("proving key", lambda v: f"{v / 1e6:.1f} MB"),
    "setup_s": ("make the keys", "{:.2f} s".format),
    "prove_s": ("prove", "{:.2f} s".format),
    "verify_s": ("verify", lambda v: f"{1000 * v:.1f} ms"),
    "proof_bytes": ("proof", "{:.0f} B".format),
    "gas": ("gas", "{:,.0f}".format),
}
"""What is compared: its name for people, and how they read it. Less is better."""


def rows(comparison: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the comparison as rows of text: what, plain, with a commitment round, the ratio."""
    return [
        (
            name,
            show(comparison[PLAIN][figure]),
            show(comparison[COMMIT][figure]),
            f"{comparison['ratios'][figure]:.1f} x",
        )
        for figure, (name, show) in FIGURES.items()
    ]


def compare(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """Prove the same step in both formats, in turn, and return what each takes, and the ratios.

    A ratio is plain Groth16's figure divided by the other's: above 1, the commitment round is
    better. Times are medians.
    """
    statement = stage.statements[TrainingStep.version]
    assert isinstance(statement, TrainingStep)
    sides: dict[str, _Side] = {}
    formats: tuple[Format, ...] = (PLAIN, COMMIT)
    for done, name in enumerate(formats):
        stage.report("compare both formats", done / 3)
        sides[name] = _Side(stage, replace(statement, format=name), values)
    for _ in range(RUNS):
        for side in sides.values():
            side.run()
    stage.report("compare both formats", 1.0)
    figures = {name: side.figures() for name, side in sides.items()}
    ratios = {name: round(figures[PLAIN][name] / figures[COMMIT][name], 3) for name in FIGURES}
    return {"statement": "training_step", "runs": RUNS, **figures, "ratios": ratios}


class _Side:
    """One format's keys, contract and times."""

    def __init__(self, stage: Stage, statement: TrainingStep, values: Mapping[str, Any]) -> None:
        self.stage, self.statement, self.values = stage, statement, values
        self.constraints = statement.build().n_constraints
        started = time.perf_counter()
        self.keys = setup(statement)
        self.setup_s = time.perf_counter() - started
        self.verifier = deploy(self.keys.verifying, stage.chain).address
        self.prove_s: list[float] = []
        self.verify_s: list[float] = []
        self.gas = 0

    def run(self) -> None:
        """Prove and verify once, here and on the chain."""
        clock = [time.perf_counter()]
        where = self.stage.destination
        proof = prove(self.statement, self.keys.proving, self.values, destination=where)
        clock.append(time.perf_counter())
        verify(proof, self.keys.verifying, destination=where)
        clock.append(time.perf_counter())
        self.prove_s.append(clock[1] - clock[0])
        self.verify_s.append(clock[2] - clock[1])
        self.gas = verify_on_chain(self.stage.chain, self.verifier, proof, self.keys.verifying)

    def figures(self) -> dict[str, float]:
        """Return the figures for summary.json."""
        return {
            "constraints": self.constraints,
            "proving_key_bytes": Path(self.keys.proving.path).stat().st_size,
            "setup_s": round(self.setup_s, 4),
            "prove_s": round(median(self.prove_s), 4),
            "verify_s": round(median(self.verify_s), 5),
            "proof_bytes": PROOF_BYTES[self.statement.format],
            "gas": self.gas,
        }
