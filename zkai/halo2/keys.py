"""Keys of Halo2 circuits: a self-contained verifying key, and a folder with what proving takes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

from zkai.encoding import (
    as_path,
    canonical_json,
    hex32,
    keccak256,
    parse_hex32,
    sha256,
    word,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.description import check_description
from zkai.halo2.settings import Settings
from zkai.halo2.srs import check_tau
from zkai.halo2.statement import Signal, signals_of
from zkai.proof.jsonform import (
    Document,
    expect_fields,
    expect_text,
    g1_to_json,
    g2_from_json,
    g2_to_json,
    ic_from_json,
)
from zkai.proof.keys import CEREMONY, STATUSES, names_to_json
from zkai.proof.points import G1, G2, g1_uncompressed, g2_uncompressed
from zkai.proof.ratio import check_g1

FORMAT = "zkai.halo2-vk/1"
PROOF_FORMAT = "zkai.halo2/1"
MAX_KEY_BYTES = 64 << 20
MAX_ELEMENTS = 1 << 24
"""Numbers of a tensor."""
VERIFYING_FILE, PROVING_FILE, SRS_FILE = "verifying.json", "proving.ezkl", "kzg.srs"


@dataclass(frozen=True)
class Halo2VerifyingKey(Document):
    """All that verifying takes: EZKL's key and settings, [tau]_2, and what the circuit is of.

    The settings choose the gates and lookups that EZKL's key is read with, so the digest covers
    them to the last character.
    """

    FORMAT: ClassVar[str] = FORMAT
    PROOFS: ClassVar[str] = PROOF_FORMAT
    MAX_BYTES: ClassVar[int] = MAX_KEY_BYTES
    WHAT: ClassVar[str] = "verifying key"

    description: Mapping[str, Any]
    settings: Settings = field(repr=False)
    key: bytes = field(repr=False)
    tau_g2: G2 = field(repr=False)
    key_status: str
    srs_digest: bytes
    points: tuple[G1, ...] = field(default=(), repr=False)
    """What a commitment to the tag is a combination of, where that is a polynomial's."""

    @property
    def statement(self) -> str:
        """The statement's name and version."""
        return str(self.description["statement"])

    @cached_property
    def signals(self) -> tuple[Signal, ...]:
        """The public signals in order."""
        return signals_of(self.description, self.settings)

    @property
    def public(self) -> tuple[Signal, ...]:
        """The public signals in order; each has a name and a size."""
        return self.signals

    @property
    def n_public(self) -> int:
        """The number of public values."""
        return sum(signal.size for signal in self.signals)

    @cached_property
    def circuit_digest(self) -> bytes:
        """keccak256 of the statement's description and EZKL's settings."""
        return keccak256(
            canonical_json({"description": self.description, "settings": self.settings.text})
        )

    @cached_property
    def digest(self) -> bytes:
        """keccak256 over format, status, circuit, EZKL's key and the setup string's [tau]_2."""
        return keccak256(
            keccak256(self.PROOFS.encode())
            + word(int(self.key_status == CEREMONY))
            + self.circuit_digest
            + keccak256(self.key)
            + g2_uncompressed(self.tau_g2)
            + self.srs_digest
            + b"".join(map(g1_uncompressed, self.points))
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The public values that a proof states and binds by the commitment to its tag."""
        return tuple(self.description.get("labels", ()))

    @property
    def transcript_digest(self) -> bytes:
        """SHA-256 of the setup string's file: what a receipt names of a ceremony."""
        return self.srs_digest

    def check(self) -> None:
        """Return None if the key is well formed. Raises InvalidInput naming the field."""
        check_tau(self.tau_g2, "verifying key: tau_g2")
        check_g1(self.points, "verifying key: points")
        names = {signal.name for signal in self.signals}
        if len(names) < len(self.signals) or names & set(self.labels):
            raise InvalidInput("verifying key: two public values have one name")
        check_description(self.description, self.settings)

    def check_production(self) -> None:
        """Return None if the key's setup string is a ceremony's, as its maker says.

        That it is one shows only in the digest: rerun `zkai setup` with the published string.

        Raises VerificationError for development keys.
        """
        if self.key_status != CEREMONY:
            raise VerificationError(
                "this is a development key: whoever made its setup string can forge proofs; run"
                " `zkai setup --ptau FILE` with a ceremony's string"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        return {
            **names_to_json(self, self.digest),
            "public": [
                {"name": s.name, "kind": s.kind, "size": s.size, "scale": s.scale}
                for s in self.signals
            ],
            "description": dict(self.description),
            "settings": self.settings.text,
            "tau_g2": g2_to_json(self.tau_g2),
            "srs_sha256": hex32(self.srs_digest),
            **({"points": [g1_to_json(point) for point in self.points]} if self.points else {}),
            "key": base64.b64encode(self.key).decode("ascii"),
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        more = ("points",) if isinstance(value, dict) and "points" in value else ()
        expect_fields(value, (*_FIELDS, *more), where)
        if not isinstance(value["settings"], str):
            raise InvalidInput(f"{where}.settings: expected text")
        key = cls(
            _description(value["description"], f"{where}.description"),
            Settings(value["settings"]),
            _base64(value["key"], f"{where}.key"),
            g2_from_json(value["tau_g2"], f"{where}.tau_g2"),
            expect_text(value["key_status"], f"{where}.key_status", STATUSES),
            parse_hex32(value["srs_sha256"], f"{where}.srs_sha256"),
            ic_from_json(value["points"], f"{where}.points") if more else (),
        )
        key.check()
        written = key.to_json()
        for name in ("statement", "circuit_digest", "vk_digest", "public"):
            if value[name] != written[name]:
                raise InvalidInput(f"{where}.{name}: not that of this key")
        return key


_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public", "description",
    "settings", "tau_g2", "srs_sha256", "key",
)  # fmt: skip


def _base64(value: Any, where: str) -> bytes:
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"{where}: expected base64") from error
    if base64.b64encode(data).decode("ascii") != value:
        raise InvalidInput(f"{where}: expected canonical base64")
    return data


def _description(value: Any, where: str) -> dict[str, Any]:
    """Return a description whose used parts have their form. Raises InvalidInput."""
    known = ("statement", "model", "weights", "inputs", "outputs", "visibility", "config")
    more = [n for n in ("names", "labels", "step") if isinstance(value, dict) and n in value]
    expect_fields(value, (*known, *more), where)
    expect_text(value["statement"], f"{where}.statement")
    for part in ("inputs", "outputs"):
        listed = value[part]
        if not isinstance(listed, list) or not all(_is_tensor(item) for item in listed):
            raise InvalidInput(f"{where}.{part}: expected a list of names and shapes")
    names, labels = value.get("names", {}), value.get("labels", [])
    if not isinstance(names, dict) or not isinstance(labels, list):
        raise InvalidInput(f"{where}: names must be an object, labels a list")
    if not all(isinstance(name, str) for name in (*names.values(), *labels)):
        raise InvalidInput(f"{where}: names and labels must be text")
    found: dict[str, Any] = value
    canonical_json(found)
    return found


def _is_tensor(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], list)
        and len(item[1]) <= 16
        and all(type(size) is int and size >= 1 for size in item[1])
        and prod(item[1]) <= MAX_ELEMENTS
    )


def check_trust(
    digest: bytes,
    keys: Collection[Halo2VerifyingKey],
    production: bool,
    trusted: Collection[bytes | str],
) -> None:
    """Return None if the key of this digest, made of `keys`, may be used.

    Raises VerificationError if it is not among the digests in `trusted`, where there are some, or
    in production is a development key; InvalidInput for what is no digest, or for none.
    """
    if production:
        for key in keys:
            key.check_production()
        if not trusted:
            raise InvalidInput("production: name the digests of the keys that you trust")
    if trusted and digest not in parse_digests(trusted):
        raise VerificationError(f"the key's digest {hex32(digest)} is not one that you trust")


def parse_digests(digests: Collection[bytes | str]) -> list[bytes]:
    """Return digests of keys: 32 bytes each, or "0x" and 64 digits. Raises InvalidInput."""
    return [
        value
        if isinstance(value, bytes) and len(value) == 32
        else parse_hex32(value, f"trusted digest {place}")
        for place, value in enumerate(digests)
    ]


class Halo2ProvingKey:
    """EZKL's proving key in its folder, beside the setup string."""

    NAME: ClassVar[str] = PROVING_FILE

    def __init__(self, path: Path | str) -> None:
        """Look at `path` and the files beside it. Raises InvalidInput if one is missing."""
        self.path = as_path(path, "proving key")
        self.folder = self.path.parent
        for name in (self.path.name, SRS_FILE, VERIFYING_FILE):
            if not (self.folder / name).is_file():
                raise InvalidInput(f"{self.folder / name}: missing; keys of format halo2 need it")
        self.verifying = Halo2VerifyingKey.from_path(self.folder / VERIFYING_FILE)

    @property
    def statement(self) -> str:
        """The statement's name and version."""
        return self.verifying.statement

    @property
    def circuit_digest(self) -> bytes:
        """The digest of the circuit."""
        return self.verifying.circuit_digest

    @property
    def key_status(self) -> str:
        """Whether the setup string is a ceremony's."""
        return self.verifying.key_status

    def check_srs(self) -> None:
        """Return None if the setup string beside the key is the one it was made with.

        Raises InvalidInput naming the file.
        """
        path = self.folder / SRS_FILE
        with path.open("rb") as file:
            import hashlib

            found = hashlib.file_digest(file, "sha256").digest()
        if found != self.verifying.srs_digest:
            raise InvalidInput(f"{path}: not the setup string that the keys were made with")


@dataclass(frozen=True)
class Halo2Keys:
    """Both halves of a key in one folder."""

    proving: Halo2ProvingKey
    verifying: Halo2VerifyingKey

    @classmethod
    def from_path(cls, folder: Path | str) -> Self:
        """Open a folder of keys. Raises InvalidInput if a file is missing or malformed."""
        proving = Halo2ProvingKey(as_path(folder) / PROVING_FILE)
        return cls(proving, proving.verifying)


def is_halo2_folder(folder: Path | str) -> bool:
    """Return whether a folder holds keys of this format."""
    return (as_path(folder) / PROVING_FILE).is_file()


def is_halo2_key(data: bytes) -> bool:
    """Return whether a file's bytes look like a verifying key of this format."""
    return FORMAT.encode() in data[:256]


__all__ = [
    "Halo2Keys",
    "Halo2ProvingKey",
    "Halo2VerifyingKey",
    "is_halo2_folder",
    "is_halo2_key",
    "sha256",
]
