"""What the benchmarks of proving share: workers for setup, proof and gas, and the peers' turns.

Each action runs in a process of its own, so that a peak of memory is that action's alone. A case
is made again in each from the same seed. The proof's time includes the witness and the prover's
own checks; building the circuit stands beside it as `build_s`. Our plain Groth16 proves the same
statement in turn with the format that has a commitment round.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from bench import _ezkl, harness
from bench._halo2_gas import folder_gas
from zkai import pipeline
from zkai.advice import in_format
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.base import COMMIT, PLAIN, Statement
from zkai.errors import ToolError, VerificationError
from zkai.proof.costs import proof_bytes
from zkai.proof.formats import Keys, Proof
from zkai.proof.sizes import COMMITS, sizes_of

Sample = dict[str, float | int]
EZKL_SCALE = {"input_scale": 13, "param_scale": 13, "decomp_base": 1024, "decomp_legs": 3}
"""Its cheapest settings for small circuits that still train and classify like float."""

PLAIN_BELOW = 1 << 18
"""Rows with a commitment round up to which the plain circuit, ten times as large, is proven too."""


@dataclass(frozen=True)
class Case:
    """One thing to prove: the statement, private values, and the same for EZKL.

    `onnx_inputs` are flat lists of floats in the order of the model's inputs; `ezkl` are EZKL's
    run arguments beside its scales. Without a model EZKL has no turn.
    """

    statement: Statement
    values: Mapping[str, Any]
    model: onnx.ModelProto | None = None
    onnx_inputs: list[list[float]] | None = None
    ezkl: Mapping[str, Any] | None = None


Maker = Callable[[argparse.Namespace], Case]


def onnx_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Return a model that both EZKL and ours read."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a proving benchmark and of its workers."""
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=tuple(_WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--format", default=COMMIT, help=argparse.SUPPRESS)


_PARTS = (
    ("membership", re.compile(r"^batch/(membership|order|terms)|^evaluation set")),
    ("packing", re.compile(r": pack$")),
    ("commitments", COMMITS),
    ("products", re.compile(r": (freivalds|matmul)")),
    ("tables", re.compile(r"^lookup tables: (?!tag|lookups)")),
    ("softmax", re.compile(r"/(softmax|logits): ")),
    ("ranges", re.compile(r"range")),
)


def parts(circuit: Circuit) -> dict[str, int]:
    """Return a circuit's rows by part; the first pattern that fits a place takes its rows."""
    found: Counter[str] = Counter()
    for place, rows in circuit.counts().items():
        found[next((name for name, fits in _PARTS if fits.search(place)), "other")] += rows
    return dict(found)


def _constraints(circuit: Circuit) -> Sample:
    """Return the rows, those of commitments apart, and each part's share."""
    by_part, total = parts(circuit), circuit.n_constraints
    figures: Sample = {
        "constraints": total,
        "constraints_commitments": by_part.get("commitments", 0) + by_part.get("packing", 0),
        "constraints_packing": by_part.get("packing", 0),
    }
    return figures | {f"share_{name}": by_part.get(name, 0) / total for name in (*_NAMES, "other")}


_NAMES = [name for name, _ in _PARTS]


def _setup(case: Case, folder: Path) -> Sample:
    with harness.Stopwatch() as build:
        circuit = case.statement.build()
    with harness.Stopwatch() as setup:
        keys = pipeline.setup(case.statement, folder / "keys")
    return {
        **_constraints(circuit),
        "build_s": build.wall_s,
        "setup_s": setup.wall_s,
        "proving_key_bytes": Path(keys.proving.path).stat().st_size,
        "proof_bytes": proof_bytes(sizes_of(circuit)),
    }


def _prove(case: Case, folder: Path) -> Sample:
    keys = Keys.from_path(folder / "keys")
    case.statement.build()
    with harness.Stopwatch() as prove:
        proof = pipeline.prove(case.statement, keys.proving, case.values)
    peak = harness.peak_rss_bytes()
    with harness.Stopwatch() as verify:
        pipeline.verify(proof, keys.verifying)
    proof.write(folder / "proof.json")
    return {
        "prove_s": prove.wall_s,
        "prove_cpu_s": prove.cpu_s,
        "verify_s": verify.wall_s,
        "peak_rss_bytes": peak,
    }


def _gas(case: Case, folder: Path) -> Sample:
    from zkai.chain.embedded import EmbeddedChain
    from zkai.chain.verifier import deploy, verify_on_chain

    vk, proof = Keys.from_path(folder / "keys").verifying, Proof.from_path(folder / "proof.json")
    try:
        chain = EmbeddedChain()
        return {"gas": verify_on_chain(chain, deploy(vk, chain).address, proof, vk)}
    except (ToolError, VerificationError) as error:
        harness.note(f"no gas: {error}")
        return {}


_WORKERS = {"setup": _setup, "prove": _prove, "gas": _gas}


def _prepare_ezkl(case: Case, folder: Path) -> dict[str, Any] | None:
    """Make EZKL's keys for the same work; None if it is not installed or cannot."""
    if case.model is None:
        return None
    if _ezkl.interpreter() is None:
        harness.note("ezkl is not installed; `make peers` installs bench/requirements-peers.txt")
        return None
    folder.mkdir()
    onnx.save(case.model, str(folder / "model.onnx"))
    (folder / "input.json").write_text(json.dumps({"input_data": case.onnx_inputs}))
    (folder / "config.json").write_text(json.dumps({**EZKL_SCALE, **(case.ezkl or {})}))
    harness.note("ezkl, setup")
    return _ezkl.run("setup", folder)


def run(bench: str, make: Maker, options: argparse.Namespace, parameters: dict[str, Any]) -> None:
    """Run a benchmark, or the one action that its worker was started for."""
    if options.worker:
        case = make(options)
        print(
            json.dumps(_WORKERS[options.worker](_in_format(case, options.format), options.folder))
        )
        return
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as name:
        result = _measure(bench, make(options), Path(name), options, parameters)
    harness.show(result, options.json)


def _in_format(case: Case, chosen: str) -> Case:
    statement = in_format(case.statement, PLAIN if chosen == PLAIN else COMMIT)
    return Case(statement, case.values, case.model, case.onnx_inputs, case.ezkl)


@dataclass(frozen=True)
class _Ours:
    """Our prover in one format: keys in a folder of their own, each action in a new process."""

    bench: str
    options: argparse.Namespace
    folder: Path
    format: str

    def run(self, action: str) -> Sample:
        """Run one action and return its figures."""
        self.folder.mkdir(exist_ok=True)
        words = ["--model", self.options.model, "--format", self.format]
        words += ["--worker", action, "--folder", str(self.folder)]
        for name in ("batch", "weights", "commitment"):
            if hasattr(self.options, name):
                words += [f"--{name}", str(getattr(self.options, name))]
        found: Sample = harness.run_worker(f"bench.{self.bench}", *words)
        return found

    def prove(self) -> Sample:
        """Prove and verify once."""
        return self.run("prove")


def _measure(
    bench: str, case: Case, folder: Path, options: argparse.Namespace, parameters: dict[str, Any]
) -> dict[str, Any]:
    ours, plain = (_Ours(bench, options, folder / f, f) for f in (COMMIT, PLAIN))
    harness.note("ours, setup")
    fixed: dict[str, Sample | None] = {"ours": ours.run("setup"), "plain_groth16": None}
    assert fixed["ours"] is not None
    if fixed["ours"]["constraints"] <= PLAIN_BELOW:
        harness.note("our plain Groth16, setup")
        fixed["plain_groth16"] = plain.run("setup")
    fixed["ezkl"] = None if options.quick else _prepare_ezkl(case, folder / "ezkl")
    if fixed["ezkl"] is not None:
        parameters = {**parameters, "ezkl": {**EZKL_SCALE, **(case.ezkl or {})}}
    provers: dict[str, harness.Run] = {
        "ours": ours.prove,
        "plain_groth16": plain.prove,
        "ezkl": lambda: _ezkl.run("prove", folder / "ezkl") or {},
    }
    found = harness.alternate(
        {name: provers[name] if fixed[name] else None for name in provers}, options.repeats
    )
    figures = {
        name: None if setup is None else {**harness.medians([setup]), **(found[name] or {})}
        for name, setup in fixed.items()
    }
    for name, subject in (("ours", ours), ("plain_groth16", plain)):
        row = figures[name]
        if row is not None and (name == "ours" or not options.quick):
            figures[name] = {**row, "gas": None, **subject.run("gas")}
    if (row := figures["ezkl"]) is not None:
        figures["ezkl"] = {**row, "gas": None, **folder_gas(folder / "ezkl")}
    mine = figures.pop("ours")
    ratios = {
        f"{ratio}_{peer}": harness.ratio(mine, figures[peer], key)
        for peer in figures
        for ratio, key in (("prove", "prove_s"), ("prove_cpu", "prove_cpu_s"))
    }
    return harness.report(bench, parameters, mine, figures, ratios)
