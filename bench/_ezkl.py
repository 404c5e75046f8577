"""Drives EZKL over one ONNX file in a process of its own: it holds the interpreter and can crash.

`python bench/_ezkl.py FOLDER` reads model.onnx, input.json and config.json there, and prints one
JSON object of timings as its last line. The structured reference string is made locally, which is
enough for timing and for nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VERSION = "23.0.5"
PROVE_REPEATS = 3


def available() -> bool:
    """Return whether EZKL can be imported by this interpreter."""
    check = [sys.executable, "-c", "import ezkl"]
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


def run(folder: Path, timeout_s: float) -> dict[str, Any] | None:
    """Run EZKL on `folder` in a subprocess; None if it is absent, fails or takes too long."""
    if not available():
        return None
    environment = {**os.environ, "HOME": str(folder), "RUST_LOG": "error"}
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(folder)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"ezkl: not done after {timeout_s:.0f} s", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"ezkl: exit status {done.returncode}\n{done.stderr[-500:]}", file=sys.stderr)
        return None
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


def _timed(work: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    value = work()
    return value, time.perf_counter() - wall, time.process_time() - cpu


def _arguments(config: dict[str, Any]) -> Any:
    import ezkl

    arguments = ezkl.PyRunArgs()
    for name, value in config.items():
        setattr(arguments, name, value)
    return arguments


def main(folder: Path) -> None:
    """Do setup, proofs and a verification, and print what they cost."""
    import ezkl

    os.chdir(folder)
    config = json.loads(Path("config.json").read_text())
    ezkl.gen_settings("model.onnx", "settings.json", py_run_args=_arguments(config["arguments"]))
    ezkl.calibrate_settings(
        "input.json",
        "model.onnx",
        "settings.json",
        "resources",
        scales=[config["arguments"]["input_scale"]],
        scale_rebase_multiplier=[1],
    )
    settings = json.loads(Path("settings.json").read_text())
    logrows = settings["run_args"]["logrows"]
    ezkl.compile_circuit("model.onnx", "model.compiled", "settings.json")
    ezkl.gen_srs("kzg.srs", logrows)
    _, setup_s, _ = _timed(
        lambda: ezkl.setup("model.compiled", "vk.key", "pk.key", srs_path="kzg.srs")
    )
    ezkl.gen_witness("input.json", "model.compiled", "witness.json", "vk.key", "kzg.srs")
    walls, cpus = [], []
    for _ in range(config.get("repeats", PROVE_REPEATS)):
        _, wall, cpu = _timed(
            lambda: ezkl.prove("witness.json", "model.compiled", "pk.key", "proof.json", "kzg.srs")
        )
        walls.append(wall)
        cpus.append(cpu)
    ok, verify_s, _ = _timed(
        lambda: ezkl.verify("proof.json", "settings.json", "vk.key", srs_path="kzg.srs")
    )
    assert ok
    proof = json.loads(Path("proof.json").read_text())
    figures = {
        "version": VERSION,
        "rows": settings["num_rows"],
        "logrows": logrows,
        "setup_s": setup_s,
        "prove_s": walls,
        "prove_cpu_s": cpus,
        "verify_s": verify_s,
        "proof_bytes": len(proof["proof"]),
        "proving_key_bytes": Path("pk.key").stat().st_size,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
