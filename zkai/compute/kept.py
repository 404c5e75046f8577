"""What a trainer keeps of a run: its task, signed records, and the tensors a challenge may ask for.

    task.json                          the task
    records/STEP.json                  a record's envelope, for everyone
    kept/STEP.safetensors              GROUP/NAME: the tensors behind it; private

A step's tensors are on disk before its record is, each file whole or not at all, so what is cut off
leaves no record without them. The oldest tensors go once they take more than `keep_bytes`; records
stay. Weights and data are private: nobody but the owner may read the folder.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from zkai.compute.record import MAX_RECORDS, Record, SignedRecord, parse_record
from zkai.compute.task import Task
from zkai.encoding import as_path, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.commitment import Commitment, commit
from zkai.merkle.tensor import Source, open_tensors, write_tensors
from zkai.receipt.envelope import MAX_ENVELOPE

KEPT_FORMAT = "zkai.kept-step/1"
KEEP_BYTES = 8 << 30
_STEP = re.compile(r"([0-9]{16})\.(?:json|safetensors)")

Groups = Mapping[str, Mapping[str, Source]]
"""A step's tensors by group and name."""


class Run:
    """A run's folder. `writable` holds a lock: one process at a time adds to a run."""

    def __init__(self, folder: Path | str, *, writable: bool = False) -> None:
        """Open a run. Raises InvalidInput if the folder holds none, or another process writes."""
        self.folder = as_path(folder)
        self.task = Task.from_path(self.folder / "task.json")
        self._lock: IO[bytes] | None = _lock(self.folder) if writable else None
        if writable:
            self._sweep()

    @staticmethod
    def create(folder: Path | str, task: Task) -> Run:
        """Begin a run in a folder, or open the one that is there for writing.

        Raises InvalidInput if it holds a run of another task, or anything else.
        """
        root = as_path(folder)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (root / "task.json").exists():
                # A crash may have left these two, and a task half written.
                odd = [e for e in root.iterdir() if e.name not in ("records", "kept")]
                if any(not entry.name.startswith(".task.json.") for entry in odd):
                    raise InvalidInput(f"{root}: holds other files; name a new folder")
                for part in ("records", "kept"):
                    (root / part).mkdir(mode=0o700, exist_ok=True)
                write_atomic(root / "task.json", task.to_bytes(), mode=0o600)
        except OSError as error:
            raise InvalidInput(f"{root}: cannot be made ({error.strerror})") from error
        run = Run(root, writable=True)
        if run.task != task:
            run.close()
            raise InvalidInput(f"{root}: the run of another task")
        return run

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def steps(self) -> list[int]:
        """Return the recorded steps, ascending. Raises InvalidInput for more than 2^20."""
        return _steps(self.folder / "records")

    def kept_steps(self) -> list[int]:
        """Return the steps whose tensors are still here, ascending."""
        return _steps(self.folder / "kept")

    def signed(self, step: int) -> SignedRecord:
        """Return a step's signed record, unverified. Raises InvalidInput if there is none."""
        path = self.folder / "records" / _name(step, "json")
        found = parse_record(read_capped(path, MAX_ENVELOPE), str(path))
        if found.record.step != step:
            raise InvalidInput(f"{path}: the record of step {found.record.step}")
        return found

    def records(self) -> list[Record]:
        """Return all records in order, unverified."""
        return [self.signed(step).record for step in self.steps()]

    def kept_path(self, step: int) -> Path:
        """Return where a step's tensors are."""
        return self.folder / "kept" / _name(step, "safetensors")

    def groups(self, step: int) -> Groups:
        """Return a step's tensors. Raises InvalidInput if they are not kept (any more)."""
        path = self.kept_path(step)
        if not path.exists():
            raise InvalidInput(f"{path}: the tensors of step {step} are not kept")
        return by_group(open_tensors(path), str(path))

    def append(self, signed: SignedRecord, groups: Groups, keep_bytes: int = KEEP_BYTES) -> None:
        """Make a step durable: its tensors, then its record; then let the oldest tensors go.

        Raises InvalidInput if the step alone takes more than `keep_bytes`, or there is one already.
        """
        step = signed.record.step
        flat = {f"{g}/{n}": source for g, named in groups.items() for n, source in named.items()}
        if (size := sum(source.head.total for source in flat.values())) > keep_bytes:
            raise InvalidInput(f"step {step}: {size} bytes to keep, allowed are {keep_bytes}")
        target = self.folder / "records" / _name(step, "json")
        if target.exists():
            raise InvalidInput(f"{target}: exists: a step is recorded once")
        write_tensors(self.kept_path(step), flat, {"format": KEPT_FORMAT}, mode=0o600)
        write_atomic(target, signed.to_bytes(), mode=0o600)
        self._prune(keep_bytes)

    def _prune(self, keep_bytes: int) -> None:
        sizes = {step: self.kept_path(step).stat().st_size for step in self.kept_steps()}
        total = sum(sizes.values())
        for step in sorted(sizes)[:-1]:
            if total <= keep_bytes:
                break
            self.kept_path(step).unlink()
            total -= sizes[step]

    def _sweep(self) -> None:
        """Remove what a crash left: tensors without a record, partial files."""
        recorded = set(self.steps())
        for folder in ("records", "kept"):
            for path in (self.folder / folder).iterdir():
                if path.name.startswith("."):
                    path.unlink()
        for step in self.kept_steps():
            if step not in recorded:
                self.kept_path(step).unlink()


def by_group(tensors: Mapping[str, Source], where: str) -> dict[str, dict[str, Source]]:
    """Return tensors named GROUP/NAME by group. Raises InvalidInput for other names."""
    groups: dict[str, dict[str, Source]] = {}
    for full, source in tensors.items():
        group, slash, name = full.partition("/")
        if not slash or not name:
            raise InvalidInput(f"{where}: {full[:80]!r}: expected GROUP/NAME")
        groups.setdefault(group, {})[name] = source
    return groups


def tables(groups: Groups, leaf_bytes: int) -> dict[str, Commitment]:
    """Return each group's commitment."""
    return {name: commit(tensors, leaf_bytes) for name, tensors in groups.items()}


def verify_groups(record: Record, groups: Groups, leaf_bytes: int) -> dict[str, Commitment]:
    """Return the commitments of tensors that a record commits to, all of them.

    Raises VerificationError naming the group that is missing, superfluous or another.
    """
    if groups.keys() != record.groups.keys():
        odd = ", ".join(sorted(groups.keys() ^ record.groups.keys()))
        raise VerificationError(f"step {record.step}: {odd}: not the groups of the record")
    found = tables(groups, leaf_bytes)
    for name, table in found.items():
        if table.root != record.groups[name]:
            raise VerificationError(
                f"step {record.step}: the tensors of {name} are not those committed to"
            )
    return found


def _steps(folder: Path) -> list[int]:
    try:
        names = [match[1] for p in folder.iterdir() if (match := _STEP.fullmatch(p.name))]
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be read ({error.strerror})") from error
    if len(names) > MAX_RECORDS:
        raise InvalidInput(f"{folder}: more than {MAX_RECORDS} records")
    return sorted(map(int, names))


def _name(step: int, ending: str) -> str:
    return f"{step:016d}.{ending}"


def _lock(folder: Path) -> IO[bytes]:
    file = open(folder / "lock", "ab")  # noqa: SIM115 - held as long as the run is open
    try:
        os.chmod(file.name, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InvalidInput(f"{folder}: another process writes this run") from error
    return file
