"""One committed training step: roots over all of its tensors, chained to the step before, signed.

    group = keccak256("zkaigrup" || keccak256(name) || root over the group's tensors)
    root  = keccak256("zkaistep" || task || trainer || previous || uint64 step || environment
                      || uint64 count || top of the tree over the groups, by name)

Roots over tensors and trees are those of docs/commitments.md, `environment` is the SHA-256 of its
canonical JSON, `trainer` the thumbprint of the key that signs. `previous` is the root of the record
before, and zero for the first. docs/compute.md specifies all of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.compute.task import MAX_STEP, Environment, Task
from zkai.encoding import hex32, keccak256, load_json, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.native_merkle import levels
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import encode, from_base64url, to_base64url
from zkai.receipt.signer import ML_DSA_65, PrivateKey
from zkai.receipt.statement import STATEMENT_TYPE, parse_time, write_time
from zkai.receipt.trust import TrustStore, verify_signers

PREDICATE_TYPE = "urn:zkai:training-step/v1"
MAX_RECORDS = 1 << 20
FIRST = bytes(32)
"""What the first record of a run names as the one before."""

BATCH, LOSSES, GRADIENTS, STATISTICS, RNG = "batch", "losses", "gradients", "statistics", "rng"
WEIGHTS_BEFORE, WEIGHTS_AFTER, DELTAS = "weights_before", "weights_after", "deltas"
OPTIMIZER_BEFORE, OPTIMIZER_AFTER = "optimizer_before", "optimizer_after"
ACTIVATIONS = "activations"

STATE = (OPTIMIZER_BEFORE, WEIGHTS_BEFORE)
"""What a step starts from; the record that ends a run has these and the losses alone."""
END = tuple(sorted((*STATE, LOSSES)))
STEP = tuple(
    sorted((
        *END, BATCH, DELTAS, GRADIENTS, OPTIMIZER_AFTER, RNG, STATISTICS, WEIGHTS_AFTER,
    ))
)  # fmt: skip
"""The groups of a step's record; one more where activations are committed to."""
_FIELDS = (
    "task", "step", "previous", "groups", "root", "environment", "signed", "signers",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A step's commitment; `groups` are the roots by name.

    Raises InvalidInput for a step out of range, or other groups than a step or an end has.
    """

    task: bytes
    trainer: bytes
    step: int
    previous: bytes
    environment: Environment
    groups: Mapping[str, bytes] = field(hash=False)

    def __post_init__(self) -> None:
        if type(self.step) is not int or not 0 <= self.step <= MAX_STEP:
            raise InvalidInput("record: step is 0 to 2^53 - 1")
        names = tuple(sorted(self.groups))
        if names not in (END, STEP, tuple(sorted((*STEP, ACTIVATIONS)))):
            raise InvalidInput(f"record: groups {', '.join(names)[:200]}: not those of a step")
        for value in (self.task, self.trainer, self.previous, *self.groups.values()):
            if not isinstance(value, bytes) or len(value) != 32:
                raise InvalidInput("record: digests have 32 bytes")

    @property
    def ends(self) -> bool:
        """Whether this record ends a run: the state after the last step, and no step."""
        return tuple(sorted(self.groups)) == END

    @property
    def root(self) -> bytes:
        """The step's root."""
        hashes = [
            keccak256(b"zkaigrup" + keccak256(name.encode()) + self.groups[name])
            for name in sorted(self.groups)
        ]
        top = levels(np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))[-1].tobytes()
        return keccak256(
            b"zkaistep" + self.task + self.trainer + self.previous
            + self.step.to_bytes(8, "big") + self.environment.digest
            + len(hashes).to_bytes(8, "big") + top
        )  # fmt: skip


@dataclass(frozen=True)
class SignedRecord:
    """A well-formed record in its envelope; `verify_record` checks who signed it."""

    record: Record
    signed: int
    envelope: Envelope

    def to_bytes(self) -> bytes:
        """Return the record's one byte form."""
        return self.envelope.to_bytes()


def thumbprint(keyid: str) -> bytes:
    """Return the 32 bytes of a key's thumbprint. Raises InvalidInput for other text."""
    data = from_base64url(keyid, "keyid", 32)
    if len(data) != 32:
        raise InvalidInput("keyid: expected the thumbprint of a key")
    return data


def sign_record(record: Record, key: PrivateKey, signed: int) -> SignedRecord:
    """Return a record signed by its trainer, at a time in seconds since 1970.

    Raises InvalidInput for another key than the record's trainer, or one that is not ML-DSA-65.
    """
    if key.alg != ML_DSA_65:
        raise InvalidInput(f"record: trainers sign with {ML_DSA_65}")
    if thumbprint(key.keyid) != record.trainer:
        raise InvalidInput("record: the key is not that of the record's trainer")
    payload = _payload(record, write_time(signed))
    return SignedRecord(record, signed, sign_envelope(payload, [key]))


def _payload(record: Record, signed: str) -> bytes:
    predicate = {
        "task": hex32(record.task),
        "step": record.step,
        "previous": hex32(record.previous),
        "groups": {name: hex32(root) for name, root in record.groups.items()},
        "root": hex32(record.root),
        "environment": record.environment.to_json(),
        "signed": signed,
        "signers": [{"alg": ML_DSA_65, "keyid": to_base64url(record.trainer)}],
    }
    return encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "task", "digest": {"sha256": record.task.hex()}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def parse_record(data: bytes, where: str = "record") -> SignedRecord:
    """Return a record whose signature nobody has checked.

    Raises InvalidInput, naming the field, for malformed bytes; VerificationError if its roots do
    not give the root that it states.
    """
    envelope = Envelope.from_bytes(data, where)
    value = load_json(envelope.payload, f"{where}.payload")
    expect_fields(value, ("_type", "subject", "predicateType", "predicate"), f"{where}.payload")
    if value["predicateType"] != PREDICATE_TYPE:
        raise InvalidInput(f"{where}.payload.predicateType: expected {PREDICATE_TYPE}")
    said, at = value["predicate"], f"{where}.payload.predicate"
    expect_fields(said, _FIELDS, at)
    record = _record(said, at)
    if not isinstance(said["signed"], str):
        raise InvalidInput(f"{at}.signed: expected text")
    signed = parse_time(said["signed"], f"{at}.signed")
    if parse_hex32(said["root"], f"{at}.root") != record.root:
        raise VerificationError(f"{where}: the groups do not have the root that it states")
    if envelope.payload != _payload(record, said["signed"]):
        raise InvalidInput(f"{where}: not the one form of this record")
    return SignedRecord(record, signed, envelope)


def _record(said: Mapping[str, Any], at: str) -> Record:
    groups, signers = said["groups"], said["signers"]
    if not isinstance(groups, dict) or len(groups) > 16:
        raise InvalidInput(f"{at}.groups: expected an object of digests")
    if not isinstance(signers, list) or len(signers) != 1:
        raise InvalidInput(f"{at}.signers: expected the trainer alone")
    expect_fields(signers[0], ("alg", "keyid"), f"{at}.signers[0]")
    return Record(
        parse_hex32(said["task"], f"{at}.task"),
        thumbprint(signers[0]["keyid"]),
        said["step"],
        parse_hex32(said["previous"], f"{at}.previous"),
        Environment.from_json(said["environment"], f"{at}.environment"),
        {name: parse_hex32(root, f"{at}.groups.{name[:40]}") for name, root in groups.items()},
    )


def verify_record(
    signed: SignedRecord, task: Task, store: TrustStore, *, at: int, logged_at: int | None = None
) -> None:
    """Return None if a trusted trainer signed a record of a task.

    `at` is the time now, `logged_at` when a log saw the record, if one did.

    Raises VerificationError otherwise.
    """
    record = signed.record
    if record.task != task.digest:
        raise VerificationError(f"step {record.step}: the record is of another task")
    if record.step % task.every and not record.ends:
        raise VerificationError(f"step {record.step}: not a step that this task records")
    signers = [{"alg": ML_DSA_65, "keyid": to_base64url(record.trainer)}]
    verify_signers(
        store, signed.envelope, signers, signed=signed.signed, at=at, logged_at=logged_at
    )


def verify_chain(records: Sequence[Record], task: Task) -> None:
    """Return None if records are a run of one trainer from its first step on, with no gap.

    The first starts from the task's weights; only the last may end the run.

    Raises VerificationError naming the step. Signatures are for `verify_record`.
    """
    before: Record | None = None
    for record in records:
        verify_next(before, record, task)
        before = record


def verify_next(before: Record | None, record: Record, task: Task) -> None:
    """Return None if a record is the one after `before`, or a run's first without one.

    Raises VerificationError naming the step.
    """
    what = f"step {record.step}"
    if task.digest != record.task or (before is not None and before.task != record.task):
        raise VerificationError(f"{what}: the record is of another task")
    if before is None:
        if record.groups[WEIGHTS_BEFORE] != task.initial:
            raise VerificationError(f"{what}: does not start from the task's weights")
    elif record.trainer != before.trainer:
        raise VerificationError(f"{what}: the record is another trainer's")
    if record.previous != (FIRST if before is None else before.root):
        raise VerificationError(f"{what}: does not follow the record before it")
    if before is not None and before.ends:
        raise VerificationError(f"{what}: follows the end of the run")
    due = 0 if before is None else before.step + task.every
    if record.ends:
        if before is None or not before.step < record.step <= due:
            raise VerificationError(f"{what}: the run cannot end here")
    elif record.step != due:
        raise VerificationError(f"{what}: the record of step {due} is missing")
