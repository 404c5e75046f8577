"""Groth16 on the chain circuit x_{i+1} = x_i^2 + 5: our prover beside snarkjs's, on equal files.

`python -m bench.groth16 --log2 14|16|18 [--json] [--quick]`. The chain fills a domain of 2**k: its
rows and the dummy rows of public signals. Proving includes the check of the constraints before and
of the proof after; snarkjs's figures are whole processes, as its users run it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench import harness
from bench.chain import chain_circuit, chain_inputs
from zkai import native
from zkai.circuit.formats import write_r1cs, write_wtns
from zkai.proof import groth16
from zkai.proof.foreign import verifying_key_to_snarkjs
from zkai.proof.proving_keys import PlainKeys
from zkai.proof.setup import setup

STATEMENT = "chain/1"
DUMMY_ROWS = 2
QUICK_LOG2 = 14
START = 3**150
VERIFICATIONS = 5


def rows(log2: int) -> int:
    """Return the constraints that fill a domain of 2**log2 with the dummy rows."""
    return (1 << log2) - DUMMY_ROWS


def make_inputs(folder: Path, log2: int) -> None:
    """Write key, constraints and witness to `folder`."""
    circuit = chain_circuit(rows(log2))
    keys = setup(circuit, STATEMENT, folder)
    witness = circuit.solve(chain_inputs(START, rows(log2)))
    write_r1cs(folder / "chain.r1cs", circuit)
    write_wtns(folder / "chain.wtns", witness)
    key = verifying_key_to_snarkjs(keys.verifying)
    (folder / "vk.json").write_text(json.dumps(key), encoding="utf-8")


def worker(folder: Path, log2: int, threads: int) -> dict[str, float]:
    """Prove and verify once in this process."""
    native.set_threads(threads or None)
    circuit = chain_circuit(rows(log2))
    witness = circuit.solve(chain_inputs(START, rows(log2)))
    keys = PlainKeys.from_path(folder)
    with harness.Stopwatch() as proving:
        proof = groth16.prove(circuit, keys.proving, witness, STATEMENT)
    with harness.Stopwatch() as verifying:
        for _ in range(VERIFICATIONS):
            groth16.verify(proof, keys.verifying)
    return {
        "prove_s": proving.wall_s,
        "prove_cpu_s": proving.cpu_s,
        "verify_s": verifying.wall_s / VERIFICATIONS,
        "peak_rss_bytes": harness.peak_rss_bytes(),
    }


def run_ours(folder: Path, log2: int) -> Mapping[str, float]:
    """Prove in two processes: with all threads, and with one."""
    options = ("--worker", str(folder), "--log2", str(log2), "--threads")
    many = harness.run_worker("bench.groth16", *options, "0")
    one = harness.run_worker("bench.groth16", *options, "1")
    return {**many, "prove_s_1thread": one["prove_s"]}


def run_snarkjs(command: list[str], folder: Path) -> Mapping[str, float]:
    """Prove and verify with snarkjs's command line."""
    prove, verify = (
        harness.run_process([*command, "groth16", *arguments], folder)
        for arguments in (
            ("prove", "proving.zkey", "chain.wtns", "proof.json", "public.json"),
            ("verify", "vk.json", "public.json", "proof.json"),
        )
    )
    return {
        "prove_s": prove["wall_s"],
        "prove_cpu_s": prove["cpu_s"],
        "verify_s": verify["wall_s"],
        "peak_rss_bytes": prove["peak_rss_bytes"],
    }


def measure(log2: int, repeats: int, with_snarkjs: bool) -> dict[str, harness.Figures | None]:
    """Return the figures of both provers, measured in turn on the same files."""
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as name:
        folder = Path(name)
        make_inputs(folder, log2)
        command = harness.node_tool("snarkjs", "build/cli.cjs") if with_snarkjs else None
        return harness.alternate(
            {
                "ours": lambda: run_ours(folder, log2),
                "snarkjs": (lambda: run_snarkjs(command, folder)) if command else None,
            },
            repeats,
        )


def main() -> None:
    """Measure and print."""
    parser = harness.arguments("groth16", "prove and verify a chain of 2**k constraints")
    parser.add_argument("--log2", type=int, choices=(14, 16, 18), default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(worker(options.worker, options.log2, options.threads)))
        return
    log2 = QUICK_LOG2 if options.quick else options.log2
    figures = measure(log2, options.repeats, with_snarkjs=not options.quick)
    result = harness.report(
        "groth16",
        {
            "log2": log2,
            "constraints": rows(log2),
            "threads": native.threads(),
            "kernel": native.kernel(),
            "repeats": options.repeats,
        },
        figures["ours"],
        {"snarkjs": figures["snarkjs"]},
        {"prove_cpu_snarkjs": harness.ratio(figures["ours"], figures["snarkjs"], "prove_cpu_s")},
    )
    harness.show(result, options.json)


if __name__ == "__main__":
    os.environ.setdefault("NODE_OPTIONS", "--max-old-space-size=4096")
    main()
