"""Witnesses that replay the entries: a wrong map, log or entry gets no cosignature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ledger_support import new_ledger, submissions
from tests.unit.queries_support import Forest, forest, take_their_word
from tests.unit.receipt_support import NOW, signer
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger import ledger as ledgers
from zkai.ledger.admission import Admission, Effects
from zkai.ledger.audit import Auditor, FromExport, FromLedger
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.export import export
from zkai.ledger.ledger import Ledger
from zkai.ledger.note import NoteKey, verify_cosignature
from zkai.ledger.queries import ask, verify_answer
from zkai.ledger.witness import Witness

NAME = "auditor.example"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = new_ledger(tmp_path / "l.db")
    made.append_all(submissions()[:2], NOW)
    made.checkpoint([signer("log")])
    yield made
    made.close()


def auditor(tmp_path: Path) -> Auditor:
    folder = tmp_path / "audit"
    folder.mkdir(exist_ok=True)
    return Auditor(NAME, signer("audit"), folder)


def policy_of(ledger: Ledger) -> LogPolicy:
    return replace(ledger.policy, witnesses=((NAME, signer("audit").public),), quorum=1)


@contextmanager
def lying(ledger: Ledger) -> Iterator[None]:
    """An operator that logs an entry, and leaves it out of the map and of every list."""
    admit = Admission.admit

    def silent(self: Admission, *arguments: Any) -> Effects:
        return replace(admit(self, *arguments), names={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Admission, "admit", silent)
        patch.setattr(ledgers, "counts", lambda *_: {})
        patch.setattr(ledger.store, "add_member", lambda *_: None)
        yield


def test_what_the_entries_give_is_cosigned(ledger: Ledger, tmp_path: Path) -> None:
    policy = policy_of(ledger)
    note = auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    assert policy.verify(note)[1] == NOW
    again = auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW + 1)
    assert policy.verify(again)[1] == NOW + 1
    ledger.append_all(submissions(), NOW)
    ledger.seal_block(signer("log"), NOW)
    ledger.checkpoint([signer("log")])
    note = auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW + 2)
    assert policy.verify(note)[0].size == 5
    ledger.add_cosignatures(note, policy)
    answer = ask(ledger, "fork", "11")
    verify_answer(answer, policy, ledger.trust, at=NOW, auditors=[NAME])


def test_only_new_entries_are_admitted(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, asked = policy_of(ledger), list[tuple[int, int]]()
    entries = FromLedger.entries

    def watched(self: FromLedger, low: int, high: int) -> Iterator[bytes]:
        asked.append((low, high))
        return entries(self, low, high)

    monkeypatch.setattr(FromLedger, "entries", watched)
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    ledger.append_all(submissions(), NOW)
    ledger.checkpoint([signer("log")])
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    assert asked == [(0, 1), (1, 3), (3, 4)]


def test_a_wrong_map_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """A log-only witness takes it, an auditor does not: neither at first nor later."""
    policy = policy_of(ledger)
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    with lying(ledger):
        ledger.append_all(submissions(), NOW)
    note = ledger.checkpoint([signer("log")])
    log_only = Witness("w", signer("witness"), tmp_path / "seen.json")
    cosigned = log_only.cosign(note, policy, [], NOW)
    assert verify_cosignature(cosigned, NoteKey("w", signer("witness").public, cosigner=True))
    for folder in (tmp_path, tmp_path / "fresh"):
        folder.mkdir(exist_ok=True)
        for _ in range(2):
            with pytest.raises(VerificationError, match="do not give the map's root"):
                auditor(folder).cosign(FromLedger(ledger), policy, NOW)


def test_an_answer_under_a_wrong_map_needs_an_auditor_to_be_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the auditor is for: a history cut short whose map says that it is whole."""
    take_their_word(monkeypatch)
    made: Forest = forest(tmp_path / "w.db")
    ledger = made.ledger
    with lying(ledger):
        made.add("training_step", 2, 7)
    ledger.checkpoint([signer("log")])
    answer = ask(ledger, "fork", "2")
    policy = policy_of(ledger)
    shown = verify_answer(answer, ledger.policy, made.trust, at=NOW)
    assert len(shown.result["receipts"]) == 1
    with pytest.raises(VerificationError, match=r"auditor\.example did not cosign"):
        verify_answer(answer, replace(policy, quorum=0), made.trust, at=NOW, auditors=[NAME])
    with pytest.raises(InvalidInput, match="none of the policy's witnesses"):
        verify_answer(answer, policy, made.trust, at=NOW, auditors=["other"])
    ledger.close()


def test_an_auditor_reads_exports(ledger: Ledger, tmp_path: Path) -> None:
    policy = policy_of(ledger)
    for number in range(2):
        at = NOW + number
        folder = tmp_path / f"public{number}"
        folder.mkdir()
        ledger.checkpoint([signer("log")])
        export(ledger, folder)
        note = auditor(tmp_path).cosign(FromExport(folder), policy, at)
        assert policy.verify(note)[1] == at
        ledger.append_all(submissions(), NOW)
    with pytest.raises(VerificationError, match="3 entries, fewer than 4"):
        auditor(tmp_path).cosign(FromExport(tmp_path / "public0"), policy, NOW)


def test_another_history_or_an_entry_that_may_not_enter_is_refused(
    ledger: Ledger, tmp_path: Path
) -> None:
    policy = policy_of(ledger)
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    other = new_ledger(tmp_path / "other.db")
    other.append_all(submissions(), NOW)
    other.checkpoint([signer("log")])
    with pytest.raises(VerificationError, match="do not give the log's root"):
        auditor(tmp_path).cosign(FromLedger(other), policy, NOW)
    other.close()
    with ledger.store.transaction():
        ledger.log.extend([submissions()[2].entry.replace(b"payload", b"payloab")], [])
    ledger.checkpoint([signer("log")])
    with pytest.raises((VerificationError, InvalidInput), match="entry 3"):
        auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    strange = replace(policy, key=signer("x").public)
    with pytest.raises(VerificationError, match="not signed by"):
        auditor(tmp_path).cosign(FromLedger(ledger), strange, NOW)


def test_a_crash_between_copy_and_memory(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(ledger)
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    ledger.append_all(submissions(), NOW)
    ledger.checkpoint([signer("log")])
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Witness, "cosign", crash)
        with pytest.raises(KeyboardInterrupt):
            auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    note = auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
    assert policy.verify(note)[0].size == 4
    (tmp_path / "audit/replica.db").unlink()  # a lost copy is made again
    auditor(tmp_path).cosign(FromLedger(ledger), policy, NOW)
