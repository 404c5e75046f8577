"""The one-file verifier, which shares no code with zkai: the same verdicts, byte for byte."""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ledger_support import new_ledger, submissions
from tests.unit.receipt_support import (
    NOW,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
    verifying_keys,
)
from tests.unit.test_receipt import flips, payload
from zkai.encoding import keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import InclusionProof, LogPolicy
from zkai.ledger.note import cosign_note
from zkai.receipt import jcs, standalone
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore, revoke, trust
from zkai.receipt.verify import verify_proof_of, verify_receipt

UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError)
STEP = 1


@functools.cache
def logged() -> tuple[bytes, LogPolicy]:
    """An inclusion proof of the step's receipt under a checkpoint that two witnesses cosigned."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ledger = new_ledger(Path(folder) / "ledger.db")
        ledger.append_all(submissions(), NOW)
        note = ledger.checkpoint([signer("log")])
        witnesses = [("w1", signer("w1")), ("w2", signer("w2", ED25519))]
        known = tuple((name, key.public) for name, key in witnesses)
        policy = replace(ledger.policy, witnesses=known, quorum=2)
        for name, key in witnesses:
            note = cosign_note(note, name, key, NOW + 7)
        ledger.add_cosignatures(note, policy)
        proof = ledger.log.prove_entry(STEP + 1).to_bytes()
        ledger.close()
    return proof, policy


def ours(receipt: bytes, proof: bytes, inclusion: bytes, trusted: TrustStore, now: int) -> None:
    """zkai's verdict."""
    _, seen = InclusionProof.from_bytes(inclusion).verify(receipt, logged()[1])
    parsed = Receipt.from_bytes(receipt)
    verify_receipt(parsed, trusted, at=now, logged_at=seen)
    verify_proof_of(parsed, proof, verifying_keys()["training_step/1"])


def alone(receipt: bytes, proof: bytes, inclusion: bytes, trusted: TrustStore, now: int) -> None:
    """The file's verdict."""
    policy = logged()[1].to_json()
    standalone.verify(receipt, trusted.to_json(), proof, inclusion, policy, now)


def verdict(check: Callable[..., None], *case: Any) -> bool:
    """Whether a verifier accepts; anything but a refusal is a bug."""
    try:
        check(*case)
    except (standalone.Refused, InvalidInput, VerificationError, *UNUSABLE):
        return False
    return True


def good() -> tuple[bytes, bytes, bytes]:
    receipt, proof = fork_receipts()[STEP], fork_proofs()[STEP]
    return receipt.to_bytes(), proof.file_bytes(), logged()[0]


def test_both_accept_what_is_good() -> None:
    for check in (ours, alone):
        check(*good(), store(), NOW)
    statement, shown = standalone.verify(good()[0], store().to_json(), now=NOW)
    assert statement["predicate"]["kind"] == "training_step"
    assert shown == "signed"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_both_refuse_every_flipped_byte(part: int) -> None:
    """Every field's edge and every 64th byte of receipt, proof and inclusion proof."""
    case = good()
    data = case[part]
    places = sorted({*flips(data, fields=part == 0), *(range(300) if part == 2 else ())})
    for at in places:
        changed = list(case)
        changed[part] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        for check in (ours, alone):
            assert not verdict(check, *changed, store(), NOW), at


def test_both_refuse_the_same_forgeries() -> None:
    receipt, proof, inclusion = good()
    envelope = fork_receipts()[STEP].envelope
    statement = payload()
    statement["predicate"]["critical"] = ["note"]
    critical = sign_envelope(jcs.encode(statement), signers()).to_bytes()
    stripped = replace(envelope, signatures=envelope.signatures[:1]).to_bytes()
    swapped = replace(envelope, signatures=envelope.signatures[::-1]).to_bytes()
    other_proof, other_receipt = fork_proofs()[2].file_bytes(), fork_receipts()[0].to_bytes()
    for case in (
        (critical, proof, inclusion), (stripped, proof, inclusion), (swapped, proof, inclusion),
        (receipt, other_proof, inclusion), (other_receipt, proof, inclusion),
        (receipt + b"\n", proof, inclusion), (receipt, proof + b" ", inclusion),
        (receipt, proof, inclusion + b"\n"), (b"", proof, inclusion), (receipt, b"", inclusion),
        (receipt, proof, b""), (b"[]", proof, inclusion), (b"{}", b"{}", b"{}"),
    ):  # fmt: skip
        for check in (ours, alone):
            assert not verdict(check, *case, store(), NOW)


def test_both_agree_on_time() -> None:
    """Logged at NOW + 7: later revocations and expiries change nothing, earlier ones do."""
    keys = store().keys
    for change, expected in (
        ({"not_after": NOW + 8}, True), ({"not_after": NOW + 7}, False),
        ({"not_before": NOW + 1}, False), ({"not_before": NOW}, True),
    ):  # fmt: skip
        trusted = replace(store(), keys=(replace(keys[0], **change), *keys[1:]))  # type: ignore[arg-type]
        for check in (ours, alone):
            assert verdict(check, *good(), trusted, NOW + 999) == expected, change
    for at, expected in ((NOW + 8, True), (NOW + 7, False), (NOW, False)):
        revoked = revoke(store(), signer().keyid, at, "stolen")
        for check in (ours, alone):
            assert verdict(check, *good(), revoked, NOW + 999) == expected
    for trusted in (trust([("other", signer("other").public)]), trust([("i", signer().public)])):
        for check in (ours, alone):
            assert not verdict(check, *good(), trusted, NOW)


def test_a_trust_store_without_ml_dsa_is_refused() -> None:
    value = store().to_json()
    value["required"] = [[signer("classic", ED25519).keyid]]
    with pytest.raises(standalone.Refused, match="ML-DSA-65"):
        standalone.verify(good()[0], value, now=NOW)


def test_too_few_witnesses_are_refused() -> None:
    inclusion, policy = logged()
    proof = InclusionProof.from_bytes(inclusion)
    fewer = replace(proof, note=replace(proof.note, lines=proof.note.lines[:2])).to_bytes()
    assert not verdict(alone, *good()[:2], fewer, store(), NOW)
    one = replace(policy, quorum=1).to_json()
    standalone.verify(good()[0], store().to_json(), None, fewer, one, NOW)


def test_its_keccak_is_keccak() -> None:
    for size in [*range(280), 1000]:
        data = bytes(i * 7 % 256 for i in range(size))
        assert standalone.keccak256(data) == keccak256(data)


def test_it_needs_nothing_but_cryptography() -> None:
    tree = ast.parse(Path(standalone.__file__).read_text())
    names = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"cryptography"}


def test_it_runs_where_zkai_is_not_installed(tmp_path: Path) -> None:
    shutil.copy(standalone.__file__, tmp_path / "verify.py")
    receipt, proof, inclusion = good()
    for name, data in (("r", receipt), ("p", proof), ("i", inclusion)):
        (tmp_path / name).write_bytes(data)
    late = trust([("issuer", signer().public), ("classic", signer("classic", ED25519).public)])
    late.write(tmp_path / "trust.json")
    logged()[1].write(tmp_path / "policy.json")
    program = (
        "import runpy, sys; sys.modules['zkai'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    options = ["--trust", "trust.json", "--inclusion", "i", "--policy", "policy.json"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "verify.py", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("r", *options, "--proof", "p")
    assert (done.returncode, done.stdout) == (
        0, "verified: training_step; signed; entry 2, valid as of checkpoint 4; of this proof\n",
    ), done.stderr  # fmt: skip
    done = run("r", *options, "--proof", "r")
    assert done.returncode == 1
    assert done.stdout.startswith("refused: ")
    done = run("none", *options)
    assert done.returncode == 2
    assert done.stdout.startswith("unusable: ")
