"""The one-file verifier, which shares no code with zkai. test_verifiers.py compares verdicts."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.receipt_support import NOW, signer, store
from tests.unit.verifier_support import alone, good, logged
from zkai.encoding import keccak256
from zkai.errors import InvalidInput
from zkai.ledger.checkpoint import InclusionProof
from zkai.receipt import standalone
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import KINDS, Receipt
from zkai.receipt.trust import trust


def test_it_says_what_it_showed() -> None:
    statement, shown = standalone.verify(good().receipt, store().to_json(), now=NOW)
    assert statement["predicate"]["kind"] == "training_step"
    assert shown == "signed"


def test_a_trust_store_without_ml_dsa_is_refused() -> None:
    value = store().to_json()
    value["required"] = [[signer("classic", ED25519).keyid]]
    with pytest.raises(standalone.Refused, match="ML-DSA-65"):
        standalone.verify(good().receipt, value, now=NOW)


def test_too_few_witnesses_are_refused() -> None:
    inclusion, policy = logged()
    proof = InclusionProof.from_bytes(inclusion)
    fewer = replace(proof, note=replace(proof.note, lines=proof.note.lines[:2])).to_bytes()
    assert "too few witnesses" in str(alone(replace(good(), inclusion=fewer)))
    one = replace(policy, quorum=1).to_json()
    standalone.verify(good().receipt, store().to_json(), None, fewer, one, NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "improvement"}, "unknown kind"),
        ({"critical": ["x"]}, "critical"),
        ({"critical": {}}, "critical"),
        ({"step": True}, "step"),
        ({"proof": None}, "the proof comes first"),
        ({"signers": [{"alg": "ML-DSA-65", "keyid": signer().keyid, "role": "x"}]}, "of a signer"),
    ],
)
def test_what_the_schema_refuses_is_refused_though_it_is_signed(
    changes: dict[str, Any], reason: str
) -> None:
    """A signer that everybody trusts may still be of another version, or wrong."""
    statement = json.loads(encode(Receipt.from_bytes(good().receipt).statement))
    statement["predicate"] |= {"signers": [{"alg": "ML-DSA-65", "keyid": signer().keyid}]}
    trusted = trust([("issuer", signer().public)]).to_json()
    fine = sign_envelope(encode(statement), [signer()]).to_bytes()
    standalone.verify(fine, trusted, now=NOW)
    statement["predicate"] |= changes
    data = sign_envelope(encode(statement), [signer()]).to_bytes()
    with pytest.raises(InvalidInput):
        Receipt.from_bytes(data)
    with pytest.raises(standalone.Refused, match=reason):
        standalone.verify(data, trusted, now=NOW)


def test_it_knows_the_kinds_of_receipts() -> None:
    assert standalone.KINDS == KINDS


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
    case = good()
    for name, data in (("r", case.receipt), ("p", case.proof), ("i", case.inclusion)):
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
    done = run("r", *options[:4])
    assert (done.returncode, done.stdout) == (1, "refused: --inclusion needs --policy\n")
    for chain, status in (("7", 0), ("8", 1)):
        place = ["--chain-id", chain, "--ledger", "0x05", "--recipient", "0x09"]
        assert run("r", *options, *place).returncode == status
    (tmp_path / "deep").write_bytes(b"[" * 100_000)
    for name in ("none", "deep"):
        done = run(name, *options[:2])
        assert done.returncode == 2, name
        assert done.stdout.startswith("unusable: ")
