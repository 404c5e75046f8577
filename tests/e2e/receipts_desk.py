"""A folder with proofs, keys, receipts and a ledger, for the commands of ledgers and vaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Shell
from tests.unit.receipt_support import PLACE, fork_proofs, verifying_keys
from zkai.encoding import hex32
from zkai.receipt import keyfile

WHERE = f"--chain-id {PLACE.chain_id} --ledger {hex32(PLACE.ledger)}"
PLACE_OPTIONS = f"{WHERE} --recipient {hex32(PLACE.recipient)}"
POLICY = "--policy log.db.policy.json"


def make_shell(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shell:
    """A shell in a folder with three proofs and their keys."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZKAI_PASSPHRASE", "secret")
    monkeypatch.setattr(keyfile, "LOG2_N", 14)
    for number, proof in enumerate(fork_proofs()):
        proof.write(f"{number}.json")
        verifying_keys()[proof.statement].write(f"vk{min(number, 1)}.json")
    return Shell(folder, capsys)


def make_ledger(shell: Shell, signers: str = "issuer", options: str = "") -> None:
    """Log the three receipts of fork 11 and sign a checkpoint."""
    for name in {"issuer", "operator", *signers.split()}:
        shell(f"receipt keygen -o {name}.json")
    names = [f"{name}.json" for name in signers.split()]
    shell(f"receipt trust {' '.join(names)} -o trust.json")
    shell(
        "ledger init log.db --origin example.org/log --operator operator.json --trust trust.json"
        f" --key vk0.json --key vk1.json {WHERE} {options}"
    )
    sign = " ".join(f"--signer {name}" for name in names)
    for number in range(3):
        parent = f"--parent {number - 1}.receipt" if number else ""
        shell(f"receipt sign {number}.json {sign} {PLACE_OPTIONS} {parent} -o {number}.receipt")
    receipts = " ".join(f"{number}.receipt" for number in range(3))
    proofs = " ".join(f"--proof {number}.json" for number in range(3))
    shell(f"ledger append log.db {receipts} {proofs} --operator operator.json")
