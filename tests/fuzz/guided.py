"""Targets under atheris: libFuzzer keeps the inputs that reach new branches of zkai.

`tests.fuzz.run` calls `run`. Inputs that reached something new stay in build/fuzz/corpus/NAME and
are where the next run begins.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tests.fuzz.mutate import MAX_BYTES, mutate_bytes, mutate_json

if TYPE_CHECKING:
    from tests.fuzz.harness import Target

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path("build/fuzz")
MEMORY_MB = 4096
HANG_SECONDS = 20


class _Sources(MetaPathFinder):
    """Finds zkai's sources in this checkout, with the loader that atheris knows how to count.

    An editable installation brings a loader of its own, for which atheris counts nothing.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] != "zkai":
            return None
        at = ROOT / fullname.replace(".", "/")
        if (at / "__init__.py").is_file():
            places = [str(at)]
            at = at / "__init__.py"
            return spec_from_file_location(fullname, at, submodule_search_locations=places)
        file = at.with_suffix(".py")
        return spec_from_file_location(fullname, file) if file.is_file() else None


def mutator(atheris: Any, json: bool, seeds: tuple[bytes, ...]) -> Callable[[bytes, int, int], Any]:
    """Return libFuzzer's mutations by turns with ours, which know JSON, words and moduli."""
    corpus = list(seeds)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return (mutate_json if json else mutate_bytes)(rng, data, corpus)[:most]

    return change


def load_instrumented() -> list[str]:
    """Load zkai so that atheris counts its branches, and nothing else's; return the targets."""
    import atheris

    sys.meta_path.insert(0, _Sources())
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["zkai"]):
        from tests.fuzz.targets import TARGETS
    return list(TARGETS)


def run(names: Sequence[str], seconds: float, seed: int) -> int:
    """Fuzz each target for its share of the time, and return how many failed.

    Each has a process of its own, forked from this one, which has loaded everything.
    """
    import atheris

    from tests.fuzz.targets import load_target

    share = seconds / len(names)
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="zkai-fuzz-") as scratch:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                try:
                    _redirect(OUT / f"{name}.log")
                    fuzz(atheris, load_target(name, Path(scratch)), Path(scratch), share, seed)
                except BaseException:  # noqa: BLE001 - a target that cannot be made is a failure
                    traceback.print_exc()
                finally:
                    os._exit(1)
            _, status = os.waitpid(child, 0)
        failed += _report(name, os.waitstatus_to_exitcode(status))
    return failed


def _redirect(log: Path) -> None:
    """Send what this process says to a file."""
    with log.open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def _report(name: str, status: int) -> int:
    """Say in a line how a target did, and return 1 if it failed."""
    log = (OUT / f"{name}.log").read_text(errors="replace")
    if status:
        print(f"{name}: FAILED\n{log[-4000:]}", file=sys.stderr, flush=True)
        return 1
    found = dict(re.findall(r"stat::(\w+):\s+(\d+)", log))
    units, new = found.get("number_of_executed_units"), found.get("new_units_added")
    print(f"{name:24} {units:>9} inputs, {new:>5} reached something new", flush=True)
    return 0


def fuzz(atheris: Any, target: Target, scratch: Path, seconds: float, seed: int) -> None:
    """Fuzz one target until the time is up; libFuzzer ends the process."""
    from zkai.errors import InvalidInput, VerificationError  # as instrumented, not before

    for data in target.seeds:
        target.call(scratch, data)  # a seed that is refused is a broken target

    def one(data: bytes) -> None:
        try:
            target.call(scratch, data)
        except (InvalidInput, VerificationError):
            return
        except BaseException:
            kept = OUT / f"{target.name}.finding"
            kept.write_bytes(data)
            print(f"input kept in {kept}")
            raise

    found, given = OUT / "corpus" / target.name, scratch / "seeds"
    for folder in (found, given):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds):
        (given / str(number)).write_bytes(data)
    most = max(2 * max(map(len, target.seeds)), 4096)
    flags = [
        f"-max_total_time={math.ceil(seconds)}", f"-seed={seed % 2**32}",
        f"-max_len={min(most, MAX_BYTES)}", f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}", "-verbosity=0", "-print_final_stats=1",
        f"-artifact_prefix={OUT}/{target.name}.",
    ]  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *flags, str(found), str(given)],
        one,
        custom_mutator=mutator(atheris, target.json, target.seeds),
    )
    atheris.Fuzz()
