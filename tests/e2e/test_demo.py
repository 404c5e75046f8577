"""The demo: what it writes can be checked again, and it would notice a check that accepts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import zkai
from tests.unit.page_support import page_verify
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.cli import main
from zkai.demo import forgeries
from zkai.demo.forgeries import Forgery
from zkai.demo.rounds import LOGGED_AT
from zkai.encoding import canonical_json
from zkai.errors import VerificationError

SUMMARY_KEYS = {"users", "rounds", "proofs", "receipts", "aggregate", "accuracy", "tampered"}
PROOF_KEYS = {
    "statement", "format", "constraints", "prove_s", "verify_s", "proof_bytes", "gas",
    "verified_onchain",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_bytes())


def test_the_summary_has_the_agreed_keys(summary: dict[str, Any]) -> None:
    assert summary.keys() >= SUMMARY_KEYS | {"ledger"}
    assert all(proof.keys() >= PROOF_KEYS for proof in summary["proofs"])
    receipts, ledger = summary["receipts"], summary["ledger"]
    assert receipts["signed"] == receipts["verified"] == len(summary["proofs"])
    # the rules and a block, a node for each fork, and what became of a private state
    assert ledger["entries"] == receipts["signed"] + 2 + summary["users"] + 5
    assert ledger["anchored"] is True
    assert summary["accuracy"]["personalised"] > summary["accuracy"]["base"]
    steps = [p for p in summary["proofs"] if p["statement"] == "training_step"]
    assert len(steps) == summary["users"] * summary["rounds"] == 24
    assert {proof["format"] for proof in summary["proofs"]} == {"groth16-commit"}


def test_both_formats_are_compared(summary: dict[str, Any]) -> None:
    """Counts and bytes are exact, and the commitment round's are smaller; times are only shown."""
    compared = summary["comparison"]
    plain, commit = compared["groth16"], compared["groth16-commit"]
    steps = [p for p in summary["proofs"] if p["statement"] == "training_step"]
    assert {p["constraints"] for p in steps} == {commit["constraints"]}
    assert plain["constraints"] > 3 * commit["constraints"]
    assert plain["proving_key_bytes"] > 3 * commit["proving_key_bytes"]
    assert (plain["proof_bytes"], commit["proof_bytes"]) == (256, 320)
    assert plain.keys() == commit.keys() == compared["ratios"].keys()
    assert all(figures[name] > 0 for figures in (plain, commit) for name in figures)
    for name, ratio in compared["ratios"].items():
        assert ratio == pytest.approx(plain[name] / commit[name], abs=1e-3)


def test_a_head_is_trained_under_encryption(summary: dict[str, Any]) -> None:
    found = summary["encrypted_training"]
    assert found["steps"] == 8
    assert found["max_abs_error"] < 1e-5
    assert found["accuracy"] == pytest.approx(found["accuracy_in_clear"], abs=0.005)
    assert found["accuracy"] > summary["accuracy"]["base"]
    assert 0 < found["bytes_up_per_step"] < 2e6


def test_the_users_updates_are_summed(out: Path, summary: dict[str, Any]) -> None:
    """Three key holders in processes of their own opened the sum; anyone can check it."""
    found = summary["aggregate"]
    assert (found["clients"], found["max_abs_error"], found["bound"]) == (3, 0.0, True)
    assert found["parameters"] == 330
    assert found["bytes_per_client"] > 0
    assert summary["accuracy"]["aggregated"] > summary["accuracy"]["base"]
    board = str(out / "aggregation" / "board")
    check = ["he", "verify", str(out / "aggregation" / "sum.npz"), "--board", board]
    assert main([*check, "--session", found["session"]]) == 2
    check += ["--inputs", str(out / "aggregation" / "rule")]
    assert main([*check, "--session", found["session"]]) == 0
    assert main([*check, "--session", "0x" + 64 * "0"]) == 1


def test_a_lazy_trainer_is_caught_and_its_denial_settled(
    out: Path, summary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = summary["assurance"]
    assert found["caught"] >= 1
    assert found["detection"] == pytest.approx(1.0)
    assert found["dispute"]["losers"] == ["trainer"]
    assert found["dispute"]["operator"] == "gradient"
    assert found["dispute"]["place"][0] == 1
    record, inputs = (str(out / found["dispute"][name]) for name in ("record", "inputs"))
    words = ["compute", "dispute", "verify", record, "--inputs", inputs]
    assert main([*words, "--terms", found["dispute"]["terms"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["losers"] == ["claimant"]
    assert "Sampled, and disputed" in (out / "report.html").read_text()


def test_every_forgery_is_refused(summary: dict[str, Any]) -> None:
    tampered = summary["tampered"]
    assert tampered["tried"] >= 30
    assert tampered["rejected"] == tampered["tried"] == len(tampered["forgeries"])
    assert len({entry["name"] for entry in tampered["forgeries"]}) == tampered["tried"]


def test_every_proof_can_be_checked_again(out: Path, summary: dict[str, Any]) -> None:
    assert len(summary["proofs"]) == len(list((out / "proofs").iterdir()))
    for proof in summary["proofs"]:
        assert main(["verify", str(out / proof["file"]), "--key", str(out / proof["key"])]) == 0


def test_a_changed_proof_file_is_refused(
    out: Path, summary: dict[str, Any], tmp_path: Path
) -> None:
    step = next(p for p in summary["proofs"] if p["name"] == "step-2")
    value = json.loads((out / step["file"]).read_bytes())
    value["public"]["new_state"] = value["public"]["old_state"]
    (tmp_path / "proof.json").write_bytes(canonical_json(value))
    assert main(["verify", str(tmp_path / "proof.json"), "--key", str(out / step["key"])]) == 1


def test_the_steps_chain(out: Path, summary: dict[str, Any]) -> None:
    for fork in summary["forks"]:
        names = ["genesis", *(f"step-{i + 1}" for i in range(summary["rounds"]))]
        files = [out / "proofs" / f"{fork['user']}-{name}.json" for name in names]
        public = [json.loads(file.read_bytes())["public"] for file in files]
        states = [f"{int(p['new_state']):#066x}" for p in public]
        assert states == fork["states"]
        for before, after in pairwise(public):
            assert before["new_state"] == after["old_state"]


def test_the_steps_take_the_samples_that_the_beacon_draws(
    out: Path, summary: dict[str, Any]
) -> None:
    """A stranger checks a fork from the files: its terms, the beacon's rounds, proofs and keys."""
    beacon = zkai.BeaconFile.from_path(out / "beacon.json")
    keys = [zkai.VerifyingKey.from_path(path) for path in (out / "keys").iterdir()]
    for fork in summary["forks"]:
        terms = ForkTerms.from_path(out / fork["terms"])
        assert fork["fork"] == f"{terms.fork:#066x}"
        assert fork["samples"] == terms.size
        names = ["genesis", *(f"step-{i + 1}" for i in range(summary["rounds"]))]
        files = [out / "proofs" / f"{fork['user']}-{name}.json" for name in names]
        proofs = [zkai.Proof.from_path(file) for file in files]
        zkai.verify_chain(proofs, keys, terms=terms, beacon=beacon)
        others = {**beacon.rounds, terms.first_round: bytes(32)}
        with pytest.raises(VerificationError, match="the beacon's value of round 1 is another"):
            zkai.verify_chain(proofs, keys, terms=terms, beacon=replace(beacon, rounds=others))


def test_the_examinations_certify_what_they_say(out: Path, summary: dict[str, Any]) -> None:
    beacon = zkai.BeaconFile.from_path(out / "beacon.json")
    assert len(summary["certificates"]) == summary["users"]
    for certificate in summary["certificates"]:
        proof = zkai.Proof.from_path(out / certificate["proof"])
        user = certificate["user"]
        names = ["genesis", *(f"step-{i + 1}" for i in range(summary["rounds"]))]
        history = [zkai.Proof.from_path(out / f"proofs/{user}-{name}.json") for name in names]
        last, known = history[-1], {"history": history}
        zkai.verify(proof, zkai.VerifyingKey.from_path(out / "keys" / "evaluation.json"))
        assert proof.public["new_state"] == last.public["new_state"]
        assert proof.public["improved"] == (int(certificate["improved"]),)
        exam = zkai.EvaluationSet.from_path(out / certificate["set"])
        if certificate["improved"]:
            zkai.verify_improvement(proof, exam, beacon, logged_at=LOGGED_AT, **known)
        with pytest.raises(VerificationError, match="first after the state was logged"):
            zkai.verify_improvement(proof, exam, beacon, logged_at=LOGGED_AT + 1, **known)


def test_the_report_is_self_contained(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "development key" in page
    assert "groth16-commit" in page
    assert "<script" not in page
    assert "src=" not in page
    assert 'href="http' not in page


def test_no_secret_is_written(out: Path) -> None:
    written = {path.suffix for path in out.iterdir() if path.is_file()}
    assert written == {".json", ".html", ".py", ".db", ".lock"}
    for path in [*(out / "proofs").iterdir(), *(out / "receipts").iterdir(), out / "ledger.db"]:
        data = path.read_bytes()
        assert b"salt" not in data
        assert b"secret" not in data


def accept() -> None:
    """Do nothing: a check that does not look."""


def refuse() -> None:
    raise VerificationError("no, for a reason of its own")


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (Forgery("accepted", accept, "no", accept), "ACCEPTED"),
        (Forgery("other reason", refuse, "because", accept), "another reason"),
        (Forgery("blind refusal", refuse, "no", refuse), "honest twin"),
    ],
    ids=lambda value: value.name if isinstance(value, Forgery) else "",
)
def test_a_forgery_counts_only_for_the_right_reason(forgery: Forgery, message: str) -> None:
    outcome = forgeries.attempt(forgery)
    assert not outcome.refused
    assert message in outcome.message


def test_a_folder_that_cannot_be_made_is_unusable_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2


def test_every_receipt_can_be_checked_again(out: Path, summary: dict[str, Any]) -> None:
    keys = {proof["file"]: proof["key"] for proof in summary["proofs"]}
    trust, policy = f"--trust={out}/trust.json", f"--policy={out}/policy.json"
    for row in summary["receipts"]["list"][:3]:
        receipt, proof = f"{out}/receipts/{row['name']}.receipt", f"proofs/{row['name']}.json"
        found = ["--proof", str(out / proof), "--key", str(out / keys[proof])]
        assert main(["receipt", "verify", receipt, trust, *found]) == 0
        inclusion = f"--inclusion={out}/receipts/{row['name']}.tlog-proof"
        assert main(["ledger", "verify", receipt, inclusion, policy, trust]) == 0
        command = [sys.executable, "verify_receipt.py", receipt, trust, inclusion, policy]
        subprocess.run([*command, "--proof", proof], cwd=out, check=True, capture_output=True)
    assert main(["ledger", "verify", str(out / "ledger"), policy]) == 0
    assert (out / "verify.html").stat().st_size > 100_000
    parents = {row["id"] for row in summary["receipts"]["list"]} | {None}
    assert all(row["parent"] in parents for row in summary["receipts"]["list"])
    page = (out / "report.html").read_text()
    assert summary["ledger"]["root"] in page
    assert page.count("<details>") == summary["users"]


@pytest.mark.node
def test_the_verifier_page_accepts_the_receipts(out: Path, summary: dict[str, Any]) -> None:
    """The code of the page beside the report, with real proofs."""
    proofs = {proof["file"]: proof["key"] for proof in summary["proofs"]}
    for row in summary["receipts"]["list"][:3]:
        proof = f"proofs/{row['name']}.json"
        names = {"receipt": f"receipts/{row['name']}.receipt", "proof": proof,
                 "inclusion": f"receipts/{row['name']}.tlog-proof", "trust": "trust.json",
                 "policy": "policy.json", "key": proofs[proof]}  # fmt: skip
        files = {name: (out / path).read_bytes() for name, path in names.items()}
        found = page_verify(files, int(time.time()))
        assert found["grade"] == "proven (development key)", found["reason"]
        changed = {**files, "proof": files["proof"] + b" "}
        assert "a different proof" in page_verify(changed, int(time.time()))["reason"]


def test_the_ledger_s_answers_can_be_checked_again(out: Path, summary: dict[str, Any]) -> None:
    trust, policy = f"--trust={out}/trust.json", f"--policy={out}/policy.json"
    paths = sorted((out / "answers").iterdir())
    assert len(paths) == summary["users"] + 2
    for path in paths:
        assert main(["ledger", "verify", str(path), policy, trust]) == 0
    page = (out / "report.html").read_text()
    for rows in summary["answers"]["histories"].values():
        assert len(rows) == summary["rounds"] + 3  # a genesis, an inference, an evaluation
        assert all(row["id"][:18] in page for row in rows)
    forks = summary["answers"]["tree"]["forks"]
    assert len(forks) == summary["users"]
    assert all(fork["end"]["head"][:14] in page for fork in forks)
    value = json.loads(paths[0].read_bytes())
    del value["entries"][-1]
    (out / "less.json").write_text(json.dumps(value))
    assert main(["ledger", "verify", str(out / "less.json"), policy, trust]) == 1


def test_a_private_state_was_granted_opened_and_revoked(out: Path, summary: dict[str, Any]) -> None:
    kept = summary["vault"]
    (trail,) = (one["trail"] for one in summary["answers"]["objects"].values())
    assert [row.get("action") or row["outcome"] for row in trail] == [
        "publish", "grant", "served", "revoke", "refused",
    ]  # fmt: skip
    assert [text.partition(":")[0] for text in kept["after_revocation"]] == [
        "vault", "vault", "store",
    ]  # fmt: skip
    sealed = (out / "vault/objects" / kept["cid"]).read_bytes()
    assert len(sealed) == kept["sealed_bytes"]
    assert b"weights" not in sealed
