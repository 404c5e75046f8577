"""What the benchmarks of proving share: workers for setup, proof and gas, and the peers' turns.

Each action runs in a process of its own, so that a peak of memory is that action's alone. A case
is made again in each from the same seed. The proof's time includes the witness and the prover's
own checks; building the circuit stands beside it as `build_s`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from bench import _ezkl, harness
from zkai import pipeline
from zkai.assignment import Destination, complete
from zkai.circuit.formats import write_wtns
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.base import Statement
from zkai.errors import ToolError
from zkai.proof.keys import Keys

Sample = dict[str, float | int]
EZKL_SCALE = {"input_scale": 13, "param_scale": 13, "decomp_base": 1024, "decomp_legs": 3}
"""Its cheapest settings for small circuits that still train and classify like float."""


@dataclass(frozen=True)
class Case:
    """One thing to prove: the statement, private values, and the same for EZKL.

    `onnx_inputs` are flat lists of floats in the order of the model's inputs; `ezkl` are EZKL's
    run arguments beside its scales.
    """

    statement: Statement
    values: Mapping[str, Any]
    model: onnx.ModelProto
    onnx_inputs: list[list[float]]
    ezkl: Mapping[str, Any]


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


def commitment_rows(circuit: Circuit) -> int:
    """Return how many constraints hash or pack what is committed to."""
    rules = (": poseidon", ": pack")
    return sum(n for origin, n in circuit.counts().items() if origin.endswith(rules))


def _setup(case: Case, folder: Path) -> Sample:
    with harness.Stopwatch() as build:
        circuit = case.statement.build()
    with harness.Stopwatch() as setup:
        keys = pipeline.setup(case.statement, folder / "keys")
    assignment = complete(case.statement, case.values, Destination(), keys.verifying.digest)
    write_wtns(folder / "witness.wtns", circuit.solve(case.statement.assign(assignment.values)))
    return {
        "constraints": circuit.n_constraints,
        "constraints_commitments": commitment_rows(circuit),
        "build_s": build.wall_s,
        "setup_s": setup.wall_s,
        "proving_key_bytes": Path(keys.proving.path).stat().st_size,
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
        "proof_bytes": 256,
        "peak_rss_bytes": peak,
    }


def _gas(case: Case, folder: Path) -> Sample:
    from zkai.chain.embedded import EmbeddedChain
    from zkai.chain.verifier import deploy, verify_on_chain
    from zkai.proof.keys import Proof

    vk, proof = Keys.from_path(folder / "keys").verifying, Proof.from_path(folder / "proof.json")
    try:
        chain = EmbeddedChain()
    except ToolError as error:
        harness.note(str(error))
        return {}
    return {"gas": verify_on_chain(chain, deploy(vk, chain).address, proof, vk)}


_WORKERS = {"setup": _setup, "prove": _prove, "gas": _gas}


def _snarkjs(folder: Path) -> harness.Run | None:
    command = harness.node_tool("snarkjs", "build/cli.cjs")
    if command is None:
        return None
    zkey, wtns = str(folder / "keys" / "proving.zkey"), str(folder / "witness.wtns")
    outputs = [str(folder / name) for name in ("snarkjs_proof.json", "snarkjs_public.json")]

    def run() -> Sample:
        with harness.Stopwatch() as watch:
            subprocess.run(
                [*command, "groth16", "prove", zkey, wtns, *outputs],
                check=True,
                capture_output=True,
            )
        return {"prove_s": watch.wall_s, "prove_cpu_s": watch.cpu_s}

    return run


def _prepare_ezkl(case: Case, folder: Path) -> dict[str, Any] | None:
    """Make EZKL's keys for the same work; None if it is not installed or cannot."""
    if not _ezkl.available():
        harness.note("ezkl is not installed; bench/requirements-peers.txt names it")
        return None
    folder.mkdir()
    onnx.save(case.model, str(folder / "model.onnx"))
    (folder / "input.json").write_text(json.dumps({"input_data": case.onnx_inputs}))
    (folder / "config.json").write_text(json.dumps({**EZKL_SCALE, **case.ezkl}))
    harness.note("ezkl, setup")
    return _ezkl.run("setup", folder)


def run(bench: str, make: Maker, options: argparse.Namespace, parameters: dict[str, Any]) -> None:
    """Run a benchmark, or the one action that its worker was started for."""
    case = make(options)
    if options.worker:
        print(json.dumps(_WORKERS[options.worker](case, options.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as name:
        result = _measure(bench, case, Path(name), options, parameters)
    harness.show(result, options.json)


def _measure(
    bench: str, case: Case, folder: Path, options: argparse.Namespace, parameters: dict[str, Any]
) -> dict[str, Any]:
    def worker(action: str) -> Sample:
        words = ["--model", options.model, "--worker", action, "--folder", str(folder)]
        if hasattr(options, "batch"):
            words += ["--batch", str(options.batch)]
        return harness.run_worker(f"bench.{bench}", *words)

    harness.note("ours, setup")
    fixed = worker("setup")
    ezkl_folder = folder / "ezkl"
    ezkl_fixed = None if options.quick else _prepare_ezkl(case, ezkl_folder)

    def prove_with_ezkl() -> Sample:
        return _ezkl.run("prove", ezkl_folder) or {}

    runs: dict[str, harness.Run | None] = {
        "ours": lambda: worker("prove"),
        "ezkl": None if ezkl_fixed is None else prove_with_ezkl,
        "snarkjs": None if options.quick else _snarkjs(folder),
    }
    found = harness.alternate(runs, options.repeats)
    ours = found.pop("ours")
    assert ours is not None
    ours = {**harness.medians([fixed]), **ours, "gas": None, **worker("gas")}
    if ezkl_fixed is not None and found["ezkl"] is not None:
        found["ezkl"] = {**harness.medians([ezkl_fixed]), **found["ezkl"]}
        parameters = {**parameters, "ezkl": {**EZKL_SCALE, **case.ezkl}}
    ratios = {
        "prove_ezkl": harness.ratio(ours, found["ezkl"], "prove_s"),
        "prove_cpu_ezkl": harness.ratio(ours, found["ezkl"], "prove_cpu_s"),
        "prove_cpu_snarkjs": harness.ratio(ours, found["snarkjs"], "prove_cpu_s"),
    }
    if bench == "training_step":
        # Ours is the plain proof so far: there is nothing else to hold against it.
        ratios["prove_plain_groth16"] = None
    return harness.report(bench, parameters, ours, found, ratios)
