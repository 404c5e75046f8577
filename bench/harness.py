"""What every benchmark shares: alternating runs, medians with spreads, one JSON shape, a table.

A figure is the median of its runs and `<key>_spread` is the distance from the least to the most.
Every ratio is the peer's figure divided by ours: above 1 means that we are better.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, float | int | None]
Run = Callable[[], Mapping[str, float | int]]


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    parser.add_argument("--quick", action="store_true", help="end within 60 s; skip slow peers")
    return parser


def alternate(runs: Mapping[str, Run | None], repeats: int) -> dict[str, Figures | None]:
    """Run every subject in turn, `repeats` times, and return each one's medians and spreads.

    A subject that is None was not found and stays None.
    """
    samples: dict[str, list[Mapping[str, float | int]]] = {name: [] for name in runs}
    for round_number in range(repeats):
        for name, run in runs.items():
            if run is not None:
                note(f"{name}, run {round_number + 1} of {repeats}")
                samples[name].append(run())
    return {name: medians(found) if found else None for name, found in samples.items()}


def medians(samples: Sequence[Mapping[str, float | int]]) -> Figures:
    """Return the median of each key over the samples, with its spread beside it."""
    figures: Figures = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        figures[key] = statistics.median(values)
        figures[f"{key}_spread"] = max(values) - min(values)
    return figures


def ratio(ours: Mapping[str, Any] | None, peer: Mapping[str, Any] | None, key: str) -> float | None:
    """Return the peer's figure over ours, or None where either is missing."""
    if not ours or not peer or not ours.get(key) or not peer.get(key):
        return None
    return float(peer[key]) / float(ours[key])


class Stopwatch:
    """Measures a block: wall-clock seconds, and CPU seconds of this process and its children."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_rss_bytes() -> int:
    """Return the most memory this process has had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_worker(module: str, *options: str, timeout_s: float = 3600) -> dict[str, Any]:
    """Run `python -m module options` in a process of its own and return the JSON of its last line.

    A process of its own gives a peak of memory that nothing else has touched.
    """
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_process(command: Sequence[str], folder: Path) -> dict[str, float | int]:
    """Run a program to its end and return its wall_s, cpu_s and peak_rss_bytes.

    Stops the benchmark, with the program's last words, if it fails.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()}")
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def report(
    bench: str,
    parameters: Mapping[str, Any],
    ours: Figures | None,
    peers: Mapping[str, Figures | None],
    ratios: Mapping[str, float | None],
) -> dict[str, Any]:
    """Return a benchmark's result in the shape that every benchmark prints."""
    return {
        "bench": bench,
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cores": _cores(),
        "load": round(os.getloadavg()[0], 2),
        "parameters": dict(parameters),
        "ours": ours,
        "peers": dict(peers),
        "ratios": dict(ratios),
    }


def show(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: one JSON object, or a table."""
    if as_json:
        print(json.dumps(result))
        return
    console = Console()
    where = f"{result['cpu']}, {result['cores']} cores, load {result['load']}"
    parameters = ", ".join(f"{key} {value}" for key, value in result["parameters"].items())
    console.print(
        f"[bold]{result['bench']}[/bold]  {parameters}\n{where}, commit {result['commit']}"
    )
    subjects = {"ours": result["ours"] or {}, **{k: v or {} for k, v in result["peers"].items()}}
    table = Table("", *subjects)
    keys = list(dict.fromkeys(key for figures in subjects.values() for key in figures))
    for key in keys:
        if not key.endswith("_spread"):
            table.add_row(key, *(_cell(figures, key) for figures in subjects.values()))
    console.print(table)
    for name, value in result["ratios"].items():
        console.print(f"{name}: " + ("not measured" if value is None else f"{value:.2f}x"))


def _cell(figures: Mapping[str, Any], key: str) -> str:
    value, spread = figures.get(key), figures.get(f"{key}_spread")
    if value is None:
        return "-"
    text = _number(value)
    return f"{text} ± {_number(spread / 2)}" if spread else text


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or value == int(value) else f"{value:.4g}"


def note(text: str) -> None:
    """Tell the person who waits what is running; never on standard output."""
    print(f"  {text}", file=sys.stderr)


def node_tool(package: str, script: str) -> list[str] | None:
    """Return the command of a Node package's script, or None if it is not installed."""
    path = ROOT / "node_modules" / package / script
    return ["node", str(path)] if path.is_file() else None


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
