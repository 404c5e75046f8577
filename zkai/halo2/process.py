"""EZKL at arm's length: every call runs in a limited process of its own, and can be cancelled.

EZKL holds the interpreter, panics, and has crashed. It runs in `zkai.halo2.worker`, in one folder,
with so much memory and time and no more; when it fails, the caller gets one of our errors.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from zkai.child import Child
from zkai.encoding import parse_json
from zkai.errors import InvalidInput, ToolError
from zkai.halo2.worker import LOG
from zkai.proof.scalars import Progress, no_progress

MAX_ANSWER = 64 << 20
POLL_SECONDS = 0.2
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "RAYON_NUM_THREADS")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

COMMAND = (sys.executable, "-P", "-m", "zkai.halo2.worker")

MISSING = "EZKL is not installed; format halo2 needs: pip install 'zkai[ezkl]'"


def default_memory() -> int:
    """Return three quarters of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


@dataclass(frozen=True)
class Limits:
    """What one call of EZKL may use: bytes of address space, and seconds on the clock."""

    memory_bytes: int = field(default_factory=default_memory)
    seconds: float = 3600.0


class Fault(ToolError):  # noqa: N818 - a refusal; callers turn it into their own errors
    """EZKL refused a call. `text` is what it says; `operator` the ONNX operator, where known."""

    def __init__(self, function: str, kind: str, text: str, operator: str | None = None) -> None:
        self.function, self.kind, self.text, self.operator = function, kind, text, operator
        super().__init__(f"EZKL's {function} failed ({kind}): {text}")


class Worker(Child):
    """One process with EZKL that works in `folder`; use it in a `with` block.

    `call` takes EZKL's own names of functions and arguments; files are names in the folder.

    Raises ToolError if the process does not start.
    """

    def __init__(
        self, folder: Path, limits: Limits | None = None, progress: Progress | None = None
    ) -> None:
        self.folder = folder
        self.limits = limits or Limits()
        self.peak_bytes = 0
        self._report = progress or no_progress
        self._cancelled: BaseException | None = None
        seconds = int(self.limits.seconds * (os.cpu_count() or 1)) + 1
        command = [*COMMAND, str(self.limits.memory_bytes), str(seconds)]
        home = str(folder.resolve() / "home")
        variables = {
            "HOME": home,
            "TMPDIR": str(folder.resolve()),
            "EZKL_REPO_PATH": home,
            "EZKL_WORKING_DIR": str(folder.resolve()),
            "RUST_LOG": "error",
            "NO_PROXY": "*",
        }
        super().__init__(
            "EZKL's process",
            command,
            _KEPT,
            self.limits.seconds,
            environment=variables,
            folder=folder,
        )

    def call(self, function: str, *, stage: str = "", **arguments: Any) -> Any:
        """Return what EZKL's `function` returns.

        `progress` hears of it every POLL_SECONDS, and may raise to cancel: the process is killed.

        Raises Fault if EZKL refuses, ToolError if it is missing, crashes, is killed, or needs more
        memory or time than the limits.
        """
        line = json.dumps({"function": function, "arguments": arguments}).encode("ascii") + b"\n"
        start = time.monotonic()

        def exchange(to: IO[bytes], source: IO[bytes]) -> dict[str, Any]:
            to.write(line)
            to.flush()
            while not select.select([source], [], [], POLL_SECONDS)[0]:
                self._poll(stage or function, time.monotonic() - start)
            return _parse(source.readline(MAX_ANSWER))

        try:
            found = self.ask(exchange)
        except ToolError as error:
            if self._cancelled is not None:
                raise self._cancelled from None
            raise ToolError(f"{error}{self._last_words(function)}") from error
        self.peak_bytes = max(self.peak_bytes, int(found.get("peak", 0)))
        if found["ok"]:
            return found["result"]
        raise self._fault(function, found)

    def _poll(self, stage: str, seconds: float) -> None:
        """Tell of a call under way: the fraction creeps towards 1, for EZKL does not say."""
        try:
            self._report(stage, seconds / (seconds + 30.0))
        except BaseException as error:
            self._cancelled = error
            raise

    def _last_words(self, function: str) -> str:
        """Return what a process that ended had said: a crash, or memory that it was refused."""
        try:
            log = (self.folder / LOG).read_bytes()[-4000:].decode("utf-8", "replace")
        except OSError:
            return ""
        if "memory allocation" in log or "allocate memory" in log:
            return (
                f": {function} needs more than the {self.limits.memory_bytes >> 20} MiB that it"
                " may use"
            )
        said = _panic(log)
        return f" in {function}" + (f": {said}" if said else "")

    def _fault(self, function: str, found: dict[str, Any]) -> ToolError:
        kind, text = str(found.get("kind")), str(found.get("text"))
        if kind == "missing":
            return ToolError(MISSING)
        if kind == "memory":
            return ToolError(f"{self.name}: {function} needs more memory than its limit")
        log = str(found.get("log", ""))
        said = _panic(log) if kind == "PanicException" else ""
        text = _plain(said or text)
        reason = _reason(log)
        if reason and reason not in text:
            text = f"{text} ({reason})"
        return Fault(function, kind, text, operator_of(text + log))

    def __enter__(self) -> Self:
        return self


def _parse(line: bytes) -> dict[str, Any]:
    """Return an answer. Raises ValueError or EOFError for none."""
    if not line.endswith(b"\n"):
        raise EOFError
    found = parse_json(line)
    if not isinstance(found, dict) or type(found.get("ok")) is not bool:
        raise ValueError("no answer")
    if found["ok"] and ("result" not in found or type(found.get("peak")) is not int):
        raise ValueError("no answer")
    return found


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _plain(text: str) -> str:
    """Return text on one line, without colours, of a length that fits a message."""
    return " ".join(_COLOURS.sub("", text).split())[:600]


def _panic(log: str) -> str:
    """Return what the last panic in a log says."""
    found = re.findall(r"panicked at [^\n]*\n(.+)", _COLOURS.sub("", log))
    return _plain(found[-1]) if found else ""


def _reason(log: str) -> str:
    """Return the last reason that EZKL logged."""
    found = re.findall(r"reason: ([^\n]+)", _COLOURS.sub("", log))
    return _plain(found[-1]) if found else ""


_OPERATOR = (
    re.compile(
        r"\b(?:Unimplemented|unsupported|unimplemented)\W+(?:op\W+)?([A-Z][A-Za-z0-9]{1,40})\b"
    ),
    re.compile(r'\bnode #[0-9]+ "[^"]*" ([A-Z][A-Za-z0-9]{1,40}?)(?:Inference)?\b'),
    re.compile(r"\b(?:operator|op)\W+([A-Z][A-Za-z0-9]{1,40})\b"),
)


def operator_of(text: str) -> str | None:
    """Return the ONNX operator that a message of EZKL names, None if it names none."""
    for pattern in _OPERATOR:
        if found := pattern.search(_COLOURS.sub("", text)):
            return found.group(1)
    return None


def check_file(name: str) -> str:
    """Return a file's name that stays inside a folder. Raises InvalidInput for another."""
    if not _FILE.fullmatch(name):
        raise InvalidInput(f"{name!r}: expected a file's name without a folder")
    return name
