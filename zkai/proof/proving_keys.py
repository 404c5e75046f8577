"""Proving keys, and both halves of a key in one folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from zkai.circuit.binfile import SectionFile
from zkai.circuit.r1cs import Circuit
from zkai.encoding import as_path, hex32, parse_hex32
from zkai.errors import InvalidInput
from zkai.proof.jsonform import expect_fields, expect_text
from zkai.proof.keys import STATUSES, KeyDocument, VerifyingKey
from zkai.proof.points import G1, g1_from_bytes
from zkai.proof.zkey import IC, KeyFile, Zkey

PROVING_FILE, VERIFYING_FILE = "proving.zkey", "verifying.json"


class MarkedKey(ABC):
    """A key file with the statement, circuit and status that its mark names."""

    NAME: ClassVar[str]
    """What the file is called in a folder of keys."""

    def __init__(self, file: KeyFile) -> None:
        self.path = file.path
        mark = file.mark()
        if mark is None:
            raise InvalidInput(
                f"{self.path}: names no circuit; bring a foreign .zkey in with `import_zkey`"
            )
        expect_fields(mark, ("format", "statement", "circuit_digest", "key_status"), str(self.path))
        self.statement = expect_text(mark["statement"], f"{self.path}: statement")
        self.circuit_digest = parse_hex32(mark["circuit_digest"], f"{self.path}: circuit_digest")
        self.key_status = expect_text(mark["key_status"], f"{self.path}: key_status", STATUSES)

    @abstractmethod
    def verifying_key(self, circuit: Circuit) -> KeyDocument:
        """Return the key's public half, without the record of its ceremony.

        Raises InvalidInput if its points are not valid.
        """

    @abstractmethod
    def verifying_points(self) -> dict[str, Any]:
        """Return the points that a verifying key holds, by their names there."""


class ProvingKey(MarkedKey):
    """A mapped .zkey with the statement and circuit that its mark names."""

    NAME: ClassVar[str] = PROVING_FILE

    def __init__(self, path: Path | str) -> None:
        """Map the key. Raises InvalidInput if the file is malformed or has no mark of zkai."""
        self.zkey = Zkey(path)
        super().__init__(self.zkey)

    def verifying_key(self, circuit: Circuit) -> VerifyingKey:
        """Return the key's public half, as `MarkedKey` says."""
        key = VerifyingKey(
            self.statement,
            self.circuit_digest,
            self.key_status,
            circuit.public,
            **self.verifying_points(),
        )
        key.check()
        return key

    def verifying_points(self) -> dict[str, Any]:
        """Return alpha, beta, gamma, delta and ic by their names in a verifying key."""
        header = self.zkey.header
        return {
            "alpha": header.alpha1,
            "beta": header.beta2,
            "ic": points_ic(self.zkey.file, IC),
            "gamma": header.gamma2,
            "delta": header.delta2,
        }


def key_mark(statement: str, circuit_digest: bytes, key_status: str) -> dict[str, Any]:
    """Return the mark that a .zkey of ours carries. It informs; it proves nothing."""
    return {
        "statement": expect_text(statement, "statement"),
        "circuit_digest": hex32(circuit_digest),
        "key_status": key_status,
    }


@dataclass(frozen=True)
class Keys(ABC):
    """Both halves of a key in one folder: the proving key and `verifying.json`."""

    proving: MarkedKey
    verifying: KeyDocument

    @classmethod
    def from_path(cls, folder: Path | str) -> Self:
        """Open a folder of keys; called on `Keys`, of whichever format they are.

        Raises InvalidInput if a file is missing or malformed, or if the two do not belong together.
        """
        folder = as_path(folder)
        kind: Any = _kind_in(folder) if cls is Keys else cls
        keys: Self = kind.open(folder)
        points = keys.proving.verifying_points()
        if points != {name: getattr(keys.verifying, name) for name in points}:
            raise InvalidInput(
                f"{folder}: {keys.proving.NAME} and {VERIFYING_FILE} are of different keys"
            )
        return keys

    @classmethod
    @abstractmethod
    def open(cls, folder: Path) -> Self:
        """Open both files. Raises InvalidInput if one is missing or malformed."""


@dataclass(frozen=True)
class PlainKeys(Keys):
    """Both halves of a key without a commitment round."""

    proving: ProvingKey
    verifying: VerifyingKey

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open both files, as `Keys` says."""
        return cls(
            ProvingKey(folder / ProvingKey.NAME), VerifyingKey.from_path(folder / VERIFYING_FILE)
        )


def _kind_in(folder: Path) -> type[Keys]:
    """Return the class of the keys in a folder; of plain ones if there are none.

    Raises InvalidInput if it holds proving keys of two formats.
    """
    from zkai.proof.commit.keys import CommitKeys, CommitProvingKey

    names = ProvingKey.NAME, CommitProvingKey.NAME
    plain, commit = ((folder / name).exists() for name in names)
    if plain and commit:
        raise InvalidInput(f"{folder}: holds both {' and '.join(names)}: keys of two formats")
    return CommitKeys if commit else PlainKeys


def points_ic(file: SectionFile, section: int) -> tuple[G1, ...]:
    """Return the points of a key file's IC section. Raises InvalidInput if not canonical."""
    data, where = bytes(file.view(section)), file.where(section)
    return tuple(g1_from_bytes(data[i : i + 64], where) for i in range(0, len(data), 64))
