"""What a dispute is about: the terms that every move names.

    {"format": "zkai.dispute/1", "program", "initial", "claimed", "claimant", "challenger",
     "referee", "limit_s", "nonce"}

`initial` is the root of the state that both parties start from, `claimed` the root that the
claimant says the program ends in, in a signed record elsewhere. Parties and referee are public
keys. Programs of operators are those of zkai.compute.program; two other kinds of subjects have
steps only:

    {"kind": "proven", "steps", "first_step", "vk_digest", "fork"}   states are commitments of a
        fork, and a step is settled by a zero-knowledge proof
    {"kind": "recorded", "steps", "task"}                            states are roots that a
        training hook recorded, and a step is settled by its replay
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zkai.compute.program import MAX_STEPS, Program, program_from_json
from zkai.encoding import hex32, keccak256, load_json, parse_hex32
from zkai.errors import InvalidInput
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PublicKey

FORMAT = "zkai.dispute/1"
CLAIMANT, CHALLENGER = "claimant", "challenger"
ROLES = (CLAIMANT, CHALLENGER)
MAX_LIMIT_S = 1 << 30
_FIELDS = (
    "format", "program", "initial", "claimed", "claimant", "challenger", "referee", "limit_s",
    "nonce",
)  # fmt: skip


@dataclass(frozen=True)
class ProvenSteps:
    """Steps of a fork from number `first_step` on, each settled by a proof under one key."""

    steps: int
    first_step: int
    vk_digest: bytes
    fork: bytes
    by_proof = True

    def to_json(self) -> dict[str, Any]:
        """Return the subject's description."""
        return {
            "kind": "proven",
            "steps": self.steps,
            "first_step": self.first_step,
            "vk_digest": hex32(self.vk_digest),
            "fork": hex32(self.fork),
        }


@dataclass(frozen=True)
class RecordedSteps:
    """Steps of a recorded training, each settled by replaying it."""

    steps: int
    task: bytes
    by_proof = False

    def to_json(self) -> dict[str, Any]:
        """Return the subject's description."""
        return {"kind": "recorded", "steps": self.steps, "task": hex32(self.task)}


Subject = Program | ProvenSteps | RecordedSteps


def subject_from_json(value: Any, where: str = "program") -> Subject:
    """Return the subject of a description. Raises InvalidInput, naming the field."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in ("proven", "recorded"):
        return program_from_json(value, where)
    names = ("first_step", "vk_digest", "fork") if kind == "proven" else ("task",)
    expect_fields(value, ("kind", "steps", *names), where)
    for name in [n for n in ("steps", "first_step") if n in value]:
        number, least = value[name], int(name == "steps")
        if type(number) is not int or not least <= number <= MAX_STEPS:
            raise InvalidInput(f"{where}.{name}: expected an integer of {least} to {MAX_STEPS}")
    if kind == "recorded":
        return RecordedSteps(value["steps"], parse_hex32(value["task"], f"{where}.task"))
    digests = (parse_hex32(value[name], f"{where}.{name}") for name in ("vk_digest", "fork"))
    return ProvenSteps(value["steps"], value["first_step"], *digests)


@dataclass(frozen=True)
class Terms:
    """The terms of one dispute. Raises InvalidInput, naming the field."""

    subject: Subject
    initial: bytes
    claimed: bytes
    claimant: PublicKey
    challenger: PublicKey
    nonce: bytes
    referee: PublicKey | None = None
    limit_s: int = 3600

    def __post_init__(self) -> None:
        for name in ("initial", "claimed", "nonce"):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != 32:
                raise InvalidInput(f"terms: {name} has 32 bytes")
        keys = [self.claimant, self.challenger, *([self.referee] if self.referee else [])]
        if len({key.keyid for key in keys}) != len(keys):
            raise InvalidInput("terms: claimant, challenger and referee have keys of their own")
        if type(self.limit_s) is not int or not 1 <= self.limit_s <= MAX_LIMIT_S:
            raise InvalidInput(f"terms: limit_s is 1 to {MAX_LIMIT_S}")

    @property
    def program(self) -> Program:
        """The program, where the subject is one of operators."""
        assert isinstance(self.subject, Program)
        return self.subject

    @property
    def keys(self) -> Mapping[str, PublicKey]:
        """The parties' keys by role."""
        return {CLAIMANT: self.claimant, CHALLENGER: self.challenger}

    @cached_property
    def digest(self) -> bytes:
        """keccak256 of the terms' canonical JSON."""
        return keccak256(self.to_bytes())

    def to_json(self) -> dict[str, Any]:
        """Return the terms as JSON values."""
        return {
            "format": FORMAT,
            "program": self.subject.to_json(),
            "initial": hex32(self.initial),
            "claimed": hex32(self.claimed),
            "claimant": self.claimant.jwk,
            "challenger": self.challenger.jwk,
            "referee": None if self.referee is None else self.referee.jwk,
            "limit_s": self.limit_s,
            "nonce": hex32(self.nonce),
        }

    def to_bytes(self) -> bytes:
        """Return the terms' one byte form."""
        return encode(self.to_json())

    @staticmethod
    def from_json(value: Any, where: str = "terms") -> Terms:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        expect_fields(value, _FIELDS, where)
        if value["format"] != FORMAT:
            raise InvalidInput(
                f"{where}: format {str(value['format'])[:80]!r}, expected {FORMAT!r}"
            )
        referee = value["referee"]
        return Terms(
            subject_from_json(value["program"], f"{where}.program"),
            parse_hex32(value["initial"], f"{where}.initial"),
            parse_hex32(value["claimed"], f"{where}.claimed"),
            PublicKey.from_jwk(value["claimant"], f"{where}.claimant"),
            PublicKey.from_jwk(value["challenger"], f"{where}.challenger"),
            parse_hex32(value["nonce"], f"{where}.nonce"),
            None if referee is None else PublicKey.from_jwk(referee, f"{where}.referee"),
            value["limit_s"],
        )

    @staticmethod
    def from_bytes(data: bytes, where: str = "terms") -> Terms:
        """Parse `to_bytes`'s form. Raises InvalidInput naming the field."""
        return Terms.from_json(load_json(data, where), where)
