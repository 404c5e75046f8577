"""Checkpoints (C2SP tlog-checkpoint): what a log commits to, signed by it and seen by witnesses.

    <origin>
    <number of entries>
    <root, base64>
    zkai-map/1 <root of the map, base64>

A verifier's policy names the log's key, its witnesses, and how many of them must have cosigned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zkai.encoding import load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.merkle import MAX_SIZE, leaf_hash, verify_consistency, verify_inclusion
from zkai.ledger.note import (
    Note,
    NoteKey,
    check_name,
    sign_note,
    verify_cosignature,
    verify_note,
)
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import from_base64, to_base64
from zkai.receipt.signer import ML_DSA_65, PrivateKey, PublicKey

POLICY_FORMAT = "zkai.log-policy/1"
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MAX_POLICY = 1 << 20
MAX_WITNESSES = 16
_EXTENSION = "zkai-map/1 "
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """A log's size, its root, and the root of the map after that many entries."""

    origin: str
    size: int
    root: bytes
    map_root: bytes

    def to_text(self) -> str:
        """Return the text that is signed."""
        check_name(self.origin)
        roots = f"{to_base64(self.root)}\n{_EXTENSION}{to_base64(self.map_root)}\n"
        return f"{self.origin}\n{self.size}\n{roots}"

    @staticmethod
    def from_text(text: str, where: str = "checkpoint") -> Checkpoint:
        """Parse `to_text`'s form. Raises InvalidInput for anything else."""
        lines = text.split("\n")
        if len(lines) != 5 or lines[4] or not lines[3].startswith(_EXTENSION):
            raise InvalidInput(f"{where}: expected origin, size, root and the map's root")
        if not _DECIMAL.fullmatch(lines[1]) or int(lines[1]) > MAX_SIZE:
            raise InvalidInput(f"{where}: its size is not a canonical number")
        check_name(lines[0])
        root = _root(lines[2], where)
        return Checkpoint(
            lines[0], int(lines[1]), root, _root(lines[3].removeprefix(_EXTENSION), where)
        )

    def sign(self, keys: Sequence[PrivateKey]) -> Note:
        """Return the checkpoint signed by the log's keys under its origin."""
        return sign_note(self.to_text(), [(self.origin, key) for key in keys])


def _root(text: str, where: str) -> bytes:
    data = from_base64(text, where, 32)
    if len(data) != 32:
        raise InvalidInput(f"{where}: a root has 32 bytes")
    return data


def check_extends(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Return None if a checkpoint extends one that the caller saw before.

    Raises VerificationError if history was rewritten, forked or truncated.
    """
    if old.origin != new.origin:
        raise VerificationError(f"checkpoint: of {new.origin}, not of {old.origin}")
    verify_consistency(old.size, new.size, old.root, new.root, proof)
    if old.size == new.size and old.map_root != new.map_root:
        raise VerificationError("checkpoint: another map for the same entries")


@dataclass(frozen=True)
class LogPolicy:
    """Whom a verifier believes about a log: its key, its witnesses, how many must have cosigned.

    Raises InvalidInput if the quorum cannot be reached or the log's key is not of ML-DSA-65.
    """

    origin: str
    key: PublicKey
    witnesses: tuple[tuple[str, PublicKey], ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        check_name(self.origin)
        if self.key.alg != ML_DSA_65:
            raise InvalidInput(f"log policy: the log's key is not of {ML_DSA_65}")
        for name, _ in self.witnesses:
            check_name(name)
        names = {name for name, _ in self.witnesses}
        keyids = {public.keyid for _, public in self.witnesses} | {self.key.keyid}
        if len(names) != len(self.witnesses) or len(keyids) != len(self.witnesses) + 1:
            raise InvalidInput("log policy: names and keys of log and witnesses must differ")
        if not 0 <= self.quorum <= len(self.witnesses) <= MAX_WITNESSES:
            raise InvalidInput(f"log policy: a quorum of {self.quorum} cannot be reached")

    def to_json(self) -> dict[str, Any]:
        """Return the policy as JSON values."""
        return {
            "format": POLICY_FORMAT,
            "origin": self.origin,
            "key": self.key.jwk,
            "witnesses": [{"name": n, "key": public.jwk} for n, public in self.witnesses],
            "quorum": self.quorum,
        }

    def write(self, path: Path | str) -> None:
        """Write the policy. Raises InvalidInput if that is impossible."""
        write_atomic(path, json.dumps(self.to_json(), indent=1).encode() + b"\n")

    @staticmethod
    def from_path(path: Path | str) -> LogPolicy:
        """Read a policy. Raises InvalidInput naming file and field."""
        return LogPolicy.from_json(load_json(read_capped(path, MAX_POLICY), str(path)), str(path))

    @staticmethod
    def from_json(value: Any, where: str = "log policy") -> LogPolicy:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        if isinstance(value, dict) and value.get("format") != POLICY_FORMAT:
            raise InvalidInput(f"{where}: format {value.get('format')!r}")
        expect_fields(value, ("format", "origin", "key", "witnesses", "quorum"), where)
        listed = value["witnesses"]
        if not isinstance(listed, list) or len(listed) > MAX_WITNESSES:
            raise InvalidInput(f"{where}.witnesses: expected at most {MAX_WITNESSES}")
        if type(value["quorum"]) is not int:
            raise InvalidInput(f"{where}.quorum: expected an integer")
        witnesses = []
        for i, item in enumerate(listed):
            expect_fields(item, ("name", "key"), f"{where}.witnesses[{i}]")
            public = PublicKey.from_jwk(item["key"], f"{where}.witnesses[{i}].key")
            witnesses.append((item["name"], public))
        key = PublicKey.from_jwk(value["key"], f"{where}.key")
        return LogPolicy(value["origin"], key, tuple(witnesses), value["quorum"])

    def verify(self, note: Note) -> tuple[Checkpoint, int | None]:
        """Return a note's checkpoint, and when it had been seen by the quorum.

        The time is the earliest by which `quorum` witnesses had cosigned; with a quorum of 0 it is
        None, since the operator's own clock can be set back. Old witness keys of Ed25519 count like
        those of ML-DSA-65: a policy that must outlast quantum computers names the latter only.

        Raises VerificationError if the log did not sign, a known witness's line is forged, or too
        few cosigned; InvalidInput for a note that is no checkpoint.
        """
        verify_note(note, NoteKey(self.origin, self.key))
        checkpoint = Checkpoint.from_text(note.text)
        if checkpoint.origin != self.origin:
            raise VerificationError(f"checkpoint: of {checkpoint.origin}, not of {self.origin}")
        seen = [
            at
            for name, public in self.witnesses
            if (at := verify_cosignature(note, NoteKey(name, public, cosigner=True))) is not None
        ]
        if len(seen) < self.quorum:
            raise VerificationError(
                f"checkpoint: {len(seen)} of the policy's witnesses cosigned, {self.quorum} must"
            )
        return checkpoint, sorted(seen)[self.quorum - 1] if self.quorum else None


def check_audited(note: Note, policy: LogPolicy, auditors: Sequence[str]) -> None:
    """Return None if each of these witnesses of the policy cosigned a note.

    Raises InvalidInput for a name that is not a witness, VerificationError if one did not cosign.
    """
    known = dict(policy.witnesses)
    for name in auditors:
        if name not in known:
            raise InvalidInput(f"auditor {name}: is none of the policy's witnesses")
        if verify_cosignature(note, NoteKey(name, known[name], cosigner=True)) is None:
            raise VerificationError(f"checkpoint: the auditor {name} did not cosign it")


def check_fresh(
    checkpoint: Checkpoint, seen: int | None, *, at: int, least: int = 0, max_age: int | None = None
) -> None:
    """Return None if a checkpoint of at least so many entries was seen within so many seconds.

    Raises VerificationError if it is stale, or if no quorum says when it saw it.
    """
    if checkpoint.size < least:
        raise VerificationError(f"stale, as of {checkpoint.size} entries; {least} were known")
    if max_age is not None and (seen is None or seen < at - max_age):
        raise VerificationError(f"stale, or not cosigned, within {max_age} seconds")


@dataclass(frozen=True)
class InclusionProof:
    """That an entry is in a log: its index, the path, the checkpoint (C2SP tlog-proof)."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note

    def to_bytes(self) -> bytes:
        """Return the proof's text form."""
        lines = [PROOF_HEADER, f"index {self.index}", *(to_base64(h) for h in self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode("ascii") + self.note.to_bytes()

    @staticmethod
    def from_bytes(data: bytes, where: str = "inclusion proof") -> InclusionProof:
        """Parse `to_bytes`'s form. Raises InvalidInput for anything else, extra data included."""
        head, blank, tail = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{where}: not text") from error
        if not blank or lines[0] != PROOF_HEADER or len(lines) < 2 or len(lines) > 80:
            raise InvalidInput(f"{where}: expected {PROOF_HEADER}")
        number = lines[1].removeprefix("index ")
        if not lines[1].startswith("index ") or not _DECIMAL.fullmatch(number):
            raise InvalidInput(f"{where}: expected a canonical index")
        hashes = tuple(_root(line, where) for line in lines[2:])
        return InclusionProof(int(number), hashes, Note.from_bytes(tail, where))

    def verify(self, entry: bytes, policy: LogPolicy) -> tuple[Checkpoint, int | None]:
        """Return the checkpoint that contains `entry`, and when the quorum had seen it.

        Raises VerificationError if the checkpoint or the path does not hold.
        """
        checkpoint, seen = policy.verify(self.note)
        verify_inclusion(
            self.index, checkpoint.size, leaf_hash(entry), self.hashes, checkpoint.root
        )
        return checkpoint, seen
