"""`make fuzz`: every parser for its share of the time, each in a limited process of its own.

Guided by coverage where atheris is installed (`tests.fuzz.guided`), else by the reasons for which
inputs are refused (`tests.fuzz.harness`). A crash, a hang, an exception that is not a refusal, or
memory beyond the limit ends with status 1 and leaves the input in build/fuzz/.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

OUT = Path("build/fuzz")
MEMORY_BYTES = 4 << 30
HANG_SECONDS = 20


def worker(name: str, seconds: float, seed: int) -> int:
    """Fuzz one target in this process."""
    from tests.fuzz.harness import Finding, fuzz
    from tests.fuzz.targets import load_target

    with tempfile.TemporaryDirectory() as scratch:
        target = load_target(name, Path(scratch))
        current = OUT / f"{name}.current"
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = in_use + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        def before(data: bytes) -> None:
            signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)  # the default action ends us
            current.write_bytes(data)

        try:
            tally = fuzz(target, Path(scratch), seed=seed, seconds=seconds, before=before)
        except Finding as finding:
            kept = OUT / f"{name}.finding"
            kept.write_bytes(finding.data)
            print(f"{finding}\n  input kept in {kept}", file=sys.stderr)
            return 1
    current.unlink(missing_ok=True)
    print(
        f"{name:16} {tally.runs:8} inputs, {tally.refused} refused for {tally.reasons} reasons, "
        f"{tally.accepted} accepted",
        flush=True,
    )
    return 0


def house(names: Sequence[str], seconds: float, seed: int) -> int:
    """Fuzz each target in a process of its own, without atheris; return how many failed."""
    failed = 0
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.run", "--worker", "--target", name]
        command += ["--seconds", str(seconds / len(names)), "--seed", str(seed)]
        status = subprocess.run(command, check=False, env=os.environ).returncode
        if status < 0:
            what = "hang" if -status == signal.SIGALRM else signal.Signals(-status).name
            print(f"{name}: {what}\n  input kept in {OUT / name}.current", file=sys.stderr)
        failed += status != 0
    return failed


def main() -> int:
    """Fuzz one target, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all of them together")
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    parser.add_argument("--target", help="only this parser")
    parser.add_argument("--house", action="store_true", help="without atheris")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    OUT.mkdir(parents=True, exist_ok=True)
    if options.worker:
        return worker(options.target, options.seconds, seed)
    if not options.house and importlib.util.find_spec("atheris") is not None:
        from tests.fuzz import guided as way  # before anything of zkai is loaded

        load, run = way.load_instrumented, way.run
    else:
        from tests.fuzz.targets import TARGETS

        load, run = (lambda: list(TARGETS)), house
    names = load()
    if options.target is not None:
        if options.target not in names:
            parser.error(f"--target: one of {', '.join(sorted(names))}")
        names = [options.target]
    share = options.seconds / len(names)
    print(f"seed {seed}, {share:.1f} s for each of {len(names)} parsers", flush=True)
    return 1 if run(names, options.seconds, seed) else 0


if __name__ == "__main__":
    sys.exit(main())
