"""Drives EZKL over one ONNX file in processes of its own: it holds the interpreter and can crash.

It is looked for in `.venv-peers` (`make peers`), in $ZKAI_PEERS_PYTHON, and in this interpreter.

`python bench/_ezkl.py setup|prove FOLDER` reads model.onnx, input.json and config.json there, and
prints one JSON object as its last line. The structured reference string is made locally, which is
enough for timing and for nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

PYTHONS = (
    os.environ.get("ZKAI_PEERS_PYTHON", ""),
    str(Path(__file__).resolve().parent.parent / ".venv-peers" / "bin" / "python"),
    sys.executable,
)
"""Interpreters that may have EZKL, which is kept out of our own environment; the first one wins."""

MAX_LOGROWS = 18
"""2**18 rows take about 10 GB; more ends most machines."""


@cache
def interpreter() -> str | None:
    """Return the first interpreter that can import EZKL."""
    for python in PYTHONS:
        command = [python, "-c", "import ezkl"]
        if not python or shutil.which(python) is None:
            continue
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    return None


def run(action: str, folder: Path, timeout_s: float = 900) -> dict[str, Any] | None:
    """Run one action on `folder` in a subprocess; None if it fails or takes too long."""
    python = interpreter()
    if python is None:
        return None
    environment = {**os.environ, "HOME": str(folder), "RUST_LOG": "error"}
    try:
        done = subprocess.run(
            [python, str(Path(__file__).resolve()), action, str(folder)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"  ezkl {action}: not done after {timeout_s:.0f} s", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"  ezkl {action}: status {done.returncode}\n{done.stderr[-800:]}", file=sys.stderr)
        return None
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


def setup() -> dict[str, Any]:
    """Compile the model and make the keys."""
    ezkl = importlib.import_module("ezkl")
    config = json.loads(Path("config.json").read_text())
    arguments = ezkl.PyRunArgs()
    for name, value in config.items():
        setattr(arguments, name, value)
    ezkl.gen_settings("model.onnx", "settings.json", py_run_args=arguments)
    ezkl.calibrate_settings(
        "input.json",
        "model.onnx",
        "settings.json",
        "resources",
        scales=[config["input_scale"]],
        scale_rebase_multiplier=[1],
    )
    settings = json.loads(Path("settings.json").read_text())
    if settings["run_args"]["logrows"] > MAX_LOGROWS:
        raise SystemExit(
            f"ezkl: the circuit needs 2**{settings['run_args']['logrows']} rows, and more memory"
            " than most machines have"
        )
    ezkl.compile_circuit("model.onnx", "model.compiled", "settings.json")
    ezkl.gen_srs("kzg.srs", settings["run_args"]["logrows"])
    start = time.perf_counter()
    ezkl.setup("model.compiled", "vk.key", "pk.key", srs_path="kzg.srs")
    return {
        "setup_s": time.perf_counter() - start,
        "rows": settings["num_rows"],
        "logrows": settings["run_args"]["logrows"],
        "proving_key_bytes": Path("pk.key").stat().st_size,
    }


def prove() -> dict[str, Any]:
    """Make the witness and one proof, and verify it."""
    ezkl = importlib.import_module("ezkl")
    wall, cpu = time.perf_counter(), time.process_time()
    ezkl.gen_witness("input.json", "model.compiled", "witness.json", "vk.key", "kzg.srs")
    ezkl.prove("witness.json", "model.compiled", "pk.key", "proof.json", "kzg.srs")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    start = time.perf_counter()
    assert ezkl.verify("proof.json", "settings.json", "vk.key", srs_path="kzg.srs")
    return {
        "prove_s": wall,
        "prove_cpu_s": cpu,
        "verify_s": time.perf_counter() - start,
        "proof_bytes": len(json.loads(Path("proof.json").read_text())["proof"]),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    print(json.dumps({"setup": setup, "prove": prove}[sys.argv[1]]()))
