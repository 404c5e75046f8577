"""What is to be trained, and where: the task that trainers share, and a trainer's environment.

A task's digest is in every record of a run. It names the program by the SHA-256 of its source, the
first weights by their root (docs/commitments.md) and the seed of all randomness: before each step
torch's generator is seeded with the first eight bytes of keccak256("zkaiseed" || seed || step).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, keccak256, load_json, parse_hex32, read_capped, sha256
from zkai.errors import InvalidInput
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode

FORMAT = "zkai.compute-task/1"
EVERY, LEAF_BYTES = 100, 256
MAX_STEP = (1 << 53) - 1
MAX_BYTES = 1 << 16
_NAME = re.compile(r"[ -~]{1,100}")
_FIELDS = ("format", "name", "program", "initial", "seed", "every", "leaf_bytes")


@dataclass(frozen=True)
class Task:
    """A training that anyone with its program can repeat; steps 0, every, 2 every ... are recorded.

    Raises InvalidInput, naming the field, for anything out of range.
    """

    name: str
    program: bytes
    initial: bytes
    seed: bytes
    every: int = EVERY
    leaf_bytes: int = LEAF_BYTES

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidInput("task: name must be 1 to 100 printable ASCII characters")
        for field in ("program", "initial", "seed"):
            value = getattr(self, field)
            if not isinstance(value, bytes) or len(value) != 32:
                raise InvalidInput(f"task: {field} has 32 bytes")
        if type(self.every) is not int or not 1 <= self.every <= 1 << 30:
            raise InvalidInput("task: every is 1 to 2^30 steps")
        if type(self.leaf_bytes) is not int or not 16 <= self.leaf_bytes <= 1 << 20:
            raise InvalidInput("task: leaf_bytes is 16 to 2^20")
        if self.leaf_bytes % 16:
            raise InvalidInput("task: leaf_bytes is a multiple of 16, so that no value is cut")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the task's one byte form."""
        return sha256(self.to_bytes())

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        return {
            "format": FORMAT,
            "name": self.name,
            "program": hex32(self.program),
            "initial": hex32(self.initial),
            "seed": hex32(self.seed),
            "every": self.every,
            "leaf_bytes": self.leaf_bytes,
        }

    def to_bytes(self) -> bytes:
        """Return the task's one byte form: canonical JSON."""
        return encode(self.to_json())

    @staticmethod
    def from_bytes(data: bytes, where: str = "task") -> Task:
        """Parse `to_bytes`'s form. Raises InvalidInput, naming the field, for anything else."""
        value = load_json(data, where)
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: format {value.get('format')!r}, expected {FORMAT!r}")
        expect_fields(value, _FIELDS, where)
        digests = {
            n: parse_hex32(value[n], f"{where}: {n}") for n in ("program", "initial", "seed")
        }
        task = Task(value["name"], every=value["every"], leaf_bytes=value["leaf_bytes"], **digests)
        if task.to_bytes() != data:
            raise InvalidInput(f"{where}: not the one byte form of a task")
        return task

    @staticmethod
    def from_path(path: Path | str) -> Task:
        """Read a task. Raises InvalidInput naming the file."""
        return Task.from_bytes(read_capped(path, MAX_BYTES), str(path))

    def seed_of(self, step: int) -> int:
        """Return the 64-bit seed of torch's generator before a step."""
        return int.from_bytes(
            keccak256(b"zkaiseed" + self.seed + step.to_bytes(8, "big"))[:8], "big"
        )


def program_digest(path: Path | str) -> bytes:
    """Return the SHA-256 of a program's source. Raises InvalidInput if it cannot be read."""
    return sha256(read_capped(path, 1 << 24))


@dataclass(frozen=True)
class Environment:
    """What the last bits of a step depend on, besides its inputs.

    `cpu` is torch's name of the instructions that its kernels take, `build` the SHA-256 of its
    build configuration, `cbwr` the environment's MKL_CBWR (empty if unset). Equal environments
    give equal bits where `deterministic` is set.
    """

    torch: str
    build: str
    machine: str
    cpu: str
    threads: int
    deterministic: bool
    mkldnn: bool
    flush_denormal: bool
    matmul_precision: str
    default_dtype: str
    cbwr: str

    def __post_init__(self) -> None:
        """Raise InvalidInput, naming the field, for other types or long texts."""
        for field in fields(self):
            value = getattr(self, field.name)
            kind = {"int": int, "bool": bool}.get(str(field.type), str)
            if type(value) is not kind or (isinstance(value, str) and len(value) > 128):
                raise InvalidInput(f"environment: {field.name}: expected a short {kind.__name__}")
        if not 1 <= self.threads <= 1 << 16:
            raise InvalidInput("environment: threads is 1 to 65536")

    def to_json(self) -> dict[str, Any]:
        """Return the environment as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_json(value: Any, where: str = "environment") -> Environment:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        expect_fields(value, [field.name for field in fields(Environment)], where)
        return Environment(**value)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON."""
        return sha256(encode(self.to_json()))

    def differences(self, other: Environment) -> Mapping[str, tuple[Any, Any]]:
        """Return the fields in which two environments differ, with both values."""
        mine, theirs = self.to_json(), other.to_json()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
