"""Records of training steps: one form, one chain, one signer, everything in the root."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from Crypto.Hash import keccak as pycryptodome

from tests.unit.compute_support import EVERY, record_run, trainer, trusted
from zkai.compute import record as names
from zkai.compute.kept import Run, verify_groups
from zkai.compute.record import (
    Record,
    parse_record,
    sign_record,
    thumbprint,
    verify_chain,
    verify_record,
)
from zkai.compute.task import Environment, Task
from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.jcs import encode
from zkai.receipt.signer import ED25519, generate
from zkai.receipt.trust import trust

NOW = 1_800_000_000


def keccak256(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    record_run(folder)
    return Run(folder)


def tree(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return keccak256(b"zkainode" + tree(hashes[:split]) + tree(hashes[split:]))


def test_roots_follow_the_specification(run: Run) -> None:
    """docs/compute.md, written again."""
    for record in run.records():
        groups = [
            keccak256(b"zkaigrup" + keccak256(name.encode()) + root)
            for name, root in sorted(record.groups.items())
        ]
        environment = json.dumps(
            dataclasses.asdict(record.environment), sort_keys=True, separators=(",", ":")
        )
        assert record.root == keccak256(
            b"zkaistep" + sha256(run.task.to_bytes()) + record.trainer + record.previous
            + struct.pack(">Q", record.step) + sha256(environment.encode())
            + struct.pack(">Q", len(groups)) + tree(groups)
        )  # fmt: skip


def test_a_run_is_a_chain_of_signed_steps(run: Run) -> None:
    assert run.steps() == [0, 3, 6, 8]
    records = run.records()
    verify_chain(records, run.task)
    assert [record.ends for record in records] == [False, False, False, True]
    assert set(records[0].groups) == {*names.STEP, names.ACTIVATIONS}
    for step in run.steps():
        signed = run.signed(step)
        assert parse_record(signed.to_bytes()) == signed
        verify_record(signed, run.task, trusted(), at=signed.signed)
        verify_groups(signed.record, run.groups(step), run.task.leaf_bytes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[1:], "does not start from"),
        (lambda r: r[:1] + r[2:], "does not follow"),
        (lambda r: [r[0], r[2], r[1], r[3]], "does not follow"),
        (lambda r: [r[0], r[0]], "does not follow"),
        (lambda r: [r[0], dataclasses.replace(r[1], previous=r[0].root, step=6)], "is missing"),
        (lambda r: [r[0], dataclasses.replace(r[1], trainer=bytes(32))], "another trainer"),
        (lambda r: [dataclasses.replace(r[0], task=bytes(32))], "another task"),
        (lambda r: [r[0], dataclasses.replace(r[3], previous=r[0].root)], "cannot end here"),
        (lambda r: [*r, dataclasses.replace(r[2], previous=r[3].root, step=12)], "follows the end"),
        (
            lambda r: [
                dataclasses.replace(r[0], groups={**r[0].groups, "weights_before": bytes(32)})
            ],
            "does not start from",
        ),
    ],
)
def test_other_chains_are_refused(run: Run, change: Any, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        verify_chain(change(run.records()), run.task)


def test_everything_in_a_record_counts(run: Run) -> None:
    record = run.records()[1]
    slower = dataclasses.replace(record.environment, threads=record.environment.threads + 1)
    changed = [
        dataclasses.replace(record, step=EVERY * 2),
        dataclasses.replace(record, task=bytes(32)),
        dataclasses.replace(record, trainer=bytes(32)),
        dataclasses.replace(record, previous=bytes(32)),
        dataclasses.replace(record, environment=slower),
        *(dataclasses.replace(record, groups={**record.groups, n: bytes(32)}) for n in names.STEP),
    ]
    assert len({record.root, *(other.root for other in changed)}) == len(changed) + 1


def test_only_a_trusted_trainer_signs(run: Run) -> None:
    signed = run.signed(3)
    with pytest.raises(VerificationError, match="requires a signature"):
        verify_record(signed, run.task, trust([("other", generate().public)]), at=NOW)
    with pytest.raises(InvalidInput, match="not that of the record's trainer"):
        sign_record(signed.record, generate(), NOW)
    with pytest.raises(InvalidInput, match="sign with ML-DSA-65"):
        sign_record(signed.record, generate(ED25519), NOW)
    with pytest.raises(VerificationError, match="of another task"):
        verify_record(signed, dataclasses.replace(run.task, every=1), trusted(), at=NOW)
    odd = dataclasses.replace(signed.record, step=4)
    with pytest.raises(VerificationError, match="not a step that this task records"):
        verify_record(sign_record(odd, trainer(), NOW), run.task, trusted(), at=NOW)
    # A good signature, over another record.
    forged = sign_record(
        dataclasses.replace(signed.record, previous=bytes(32)), trainer(), signed.signed
    )
    forged = dataclasses.replace(
        forged, envelope=dataclasses.replace(
            forged.envelope, signatures=signed.envelope.signatures
        ),
    )  # fmt: skip
    with pytest.raises(VerificationError, match="does not verify"):
        verify_record(forged, run.task, trusted(), at=NOW)


def payloads(run: Run) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(run.signed(3).envelope.payload)
    return payload


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"root": "0x" + "00" * 32}, VerificationError, "do not have the root"),
        ({"step": 4}, VerificationError, "do not have the root"),
        ({"step": -1}, InvalidInput, "step is"),
        ({"step": True}, InvalidInput, "step is"),
        ({"step": 1 << 60}, InvalidInput, ""),
        ({"groups": {}}, InvalidInput, "not those of a step"),
        ({"groups": []}, InvalidInput, "object of digests"),
        ({"signers": []}, InvalidInput, "the trainer alone"),
        ({"signers": [{"alg": "none", "keyid": "A" * 43}]}, VerificationError, "root"),
        ({"signed": "today"}, InvalidInput, "not a time"),
        ({"signed": 5}, InvalidInput, "expected text"),
        ({"extra": 1}, InvalidInput, "unknown field"),
        ({"environment": {}}, InvalidInput, "missing field"),
    ],
)
def test_malformed_records_are_refused(
    run: Run, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    signed = run.signed(3)
    value = payloads(run)
    value["predicate"].update(change)
    try:
        envelope = dataclasses.replace(signed.envelope, payload=encode(value))
    except InvalidInput:
        assert change == {"step": 1 << 60}
        return
    with pytest.raises(error, match=message):
        parse_record(envelope.to_bytes())


def test_a_record_has_one_form(run: Run) -> None:
    signed = run.signed(3)
    value = payloads(run)
    value["subject"] = []
    envelope = dataclasses.replace(signed.envelope, payload=encode(value))
    with pytest.raises(InvalidInput, match="one form"):
        parse_record(envelope.to_bytes())
    value = payloads(run)
    value["predicateType"] = "urn:zkai:compute-receipt/v1"
    envelope = dataclasses.replace(signed.envelope, payload=encode(value))
    with pytest.raises(InvalidInput, match="predicateType"):
        parse_record(envelope.to_bytes())


def test_tasks_have_one_form(run: Run) -> None:
    data = run.task.to_bytes()
    assert Task.from_bytes(data) == run.task
    for broken in (data + b" ", data.replace(b'"every":3', b'"every":0'), b"[]", b"{}",
                   data.replace(b'"leaf_bytes":64', b'"leaf_bytes":63'),
                   data.replace(b"task/1", b"task/2")):  # fmt: skip
        with pytest.raises(InvalidInput):
            Task.from_bytes(broken)
    assert run.task.seed_of(1) != run.task.seed_of(2)


def test_environments_are_compared_by_field(run: Run) -> None:
    here = run.records()[0].environment
    other = dataclasses.replace(here, threads=here.threads + 1, cbwr="AVX2")
    assert set(here.differences(other)) == {"threads", "cbwr"}
    with pytest.raises(InvalidInput, match="threads"):
        dataclasses.replace(here, threads=True)
    with pytest.raises(InvalidInput, match="cpu"):
        Environment.from_json({**here.to_json(), "cpu": "x" * 200})


def test_a_record_takes_only_the_groups_of_a_step(run: Run) -> None:
    record = run.records()[0]
    groups = dict(record.groups)
    del groups[names.BATCH]
    with pytest.raises(InvalidInput, match="not those of a step"):
        Record(record.task, record.trainer, 0, record.previous, record.environment, groups)
    assert thumbprint(trainer().keyid) == record.trainer


def test_changed_tensors_are_found(run: Run, tmp_path: Path) -> None:
    record = run.records()[1]
    groups = {name: dict(tensors) for name, tensors in run.groups(3).items()}
    groups[names.WEIGHTS_AFTER] = dict(run.groups(0)[names.WEIGHTS_AFTER])
    with pytest.raises(VerificationError, match="step 3: the tensors of weights_after"):
        verify_groups(record, groups, run.task.leaf_bytes)
    del groups[names.DELTAS]
    with pytest.raises(VerificationError, match="step 3: deltas"):
        verify_groups(record, groups, run.task.leaf_bytes)
