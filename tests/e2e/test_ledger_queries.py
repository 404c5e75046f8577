"""`zkai ledger prove` and `verify` with questions: from the ledger to a stranger's check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.receipts_desk import POLICY, make_ledger, make_shell


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shell:
    shell = make_shell(tmp_path, monkeypatch, capsys)
    make_ledger(shell)
    return shell


def test_questions_are_answered_with_proofs(desk: Shell) -> None:
    user = desk("receipt show 0.receipt")["statement"]["predicate"]["user"]
    last = desk("receipt show 2.receipt")["id"]
    for number, (question, shown) in enumerate(
        (
            (f"--user {user}", "whole and valid as of 4 entries"),
            ("--fork 11", "training_step"),
            (f"--lineage {last}", "genesis"),
            ("--contributors fork/11", "receipts"),
            ("--tree", "fork 11: user"),
        )
    ):
        out = f"answer{number}.json"
        written = desk(f"ledger prove log.db {question} -o {out}")
        found = desk(f"ledger verify {out} {POLICY} --trust trust.json --at-least 4")
        assert (found["entries"], found["result"]) == (4, written["result"])
        assert shown in desk.text(f"ledger verify {out} {POLICY}")
    assert found["result"]["forks"][0]["end"]["count"] == 3
    refused = desk(f"ledger verify answer0.json {POLICY} --at-least 5", 1)
    assert "stale" in refused["message"]
    desk(f"ledger verify answer0.json {POLICY} --max-age 60", 1)


def test_every_kind_of_proof_may_be_too_old(desk: Shell) -> None:
    """A key's status as of long ago says nothing of now."""
    desk("ledger prove log.db --name fork/11 -o name.json")
    desk("ledger prove log.db 0.receipt -o 0.tlog-proof")
    desk("ledger export log.db -o public")
    for target in ("name.json", "0.receipt --inclusion 0.tlog-proof", "public"):
        check = f"ledger verify {target} {POLICY}"
        desk(f"{check} --at-least 4")
        assert "stale" in desk(f"{check} --at-least 5", 1)["message"]
        assert "stale" in desk(f"{check} --max-age 60", 1)["message"]
        assert "none of the policy's" in desk(f"{check} --auditor b", 2)["message"]


def test_an_entry_left_out_is_missed(desk: Shell) -> None:
    desk("ledger prove log.db --fork 11 -o fork.json")
    value = json.loads(Path("fork.json").read_text())
    del value["entries"][1]
    Path("less.json").write_text(json.dumps(value))
    refused = desk(f"ledger verify less.json {POLICY}", 1)
    assert "2 entries of fork 11, but the map counts 3" in refused["message"]


def test_one_question_at_a_time(desk: Shell) -> None:
    for options in ("", "--fork 11 --tree", "0.receipt --fork 11", "--fork x", "--lineage 0x1"):
        desk(f"ledger prove log.db {options} -o x.json", 2)
    assert not Path("x.json").exists()


def test_an_auditor_cosigns_what_the_entries_give(desk: Shell) -> None:
    desk("receipt keygen -o audit.json")
    policy = json.loads(Path("log.db.policy.json").read_text())
    key = json.loads(Path("audit.json").read_text())["jwk"]
    Path("watched.json").write_text(
        json.dumps(policy | {"witnesses": [{"name": "a", "key": key}], "quorum": 1})
    )
    audit = "--policy watched.json --name a --signer audit.json --memory audit"
    assert desk(f"ledger audit log.db {audit}")["entries"] == 4
    desk("ledger prove log.db --fork 11 -o fork.json")
    check = "ledger verify fork.json --policy watched.json --trust trust.json"
    desk(f"{check} --auditor a --max-age 600")
    assert "none of the policy's" in desk(f"{check} --auditor b", 2)["message"]
    desk("ledger prove log.db --name fork/11 -o name.json")
    desk("ledger verify name.json --policy watched.json --auditor a")
    desk("ledger verify name.json --policy watched.json --auditor b", 2)
    desk("ledger export log.db -o public")
    desk(f"ledger audit public {audit} -o cosigned")
    assert Path("cosigned").read_text().count("— a ") == 1
    desk(f"ledger audit public {audit}", 2)
    (proof,) = [p for p in Path("public/proof").iterdir() if "genesis" in p.read_text()]
    proof.unlink()
    fresh = audit.replace("--memory audit", "--memory fresh")
    desk(f"ledger audit public {fresh} -o x", 2)
    assert not Path("x").exists()
