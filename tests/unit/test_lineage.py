"""Where a model comes from: through its fork's steps, and through merges that nodes describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ledger_support import new_ledger, submissions
from tests.unit.receipt_support import NOW, fork_receipts, signer, signers
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.lineage import contributors, lineage, prove_lineage
from zkai.ledger.records import NODE, sign_record
from zkai.receipt.statement import Facts, Receipt, issue


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = new_ledger(tmp_path / "ledger.db")
    made.append_all(submissions(), NOW)
    yield made
    made.close()


def merge(ledger: Ledger, parent: bytes | None, others: list[bytes], name: int) -> Receipt:
    """A merged model, and the node that says what else it came from."""
    artifacts = {"model": bytes([name]) * 32}
    facts = Facts(parent=parent)
    receipt = issue(None, signers(), kind="merge", artifacts=artifacts, facts=facts, signed=NOW)
    body = {
        "receipt": hex32(receipt.id), "parents": [hex32(o) for o in others], "height": 4,
        "generation": 1, "fitness": [], "priors": [], "constraints": [],
    }  # fmt: skip
    node = sign_record(NODE, body, [signer("log")], NOW)
    ledger.append_all([Submission(receipt.to_bytes()), Submission(node.envelope.to_bytes())], NOW)
    return receipt


def test_a_fork_s_lineage_leads_to_its_genesis(ledger: Ledger) -> None:
    genesis, step, last = (r.id for r in fork_receipts())
    assert [a.receipt.id for a in lineage(ledger, last)] == [last, step, genesis]
    assert [a.index for a in lineage(ledger, step)] == [2, 1]
    user = fork_receipts()[0].predicate["user"]
    assert contributors(ledger, last) == {user: 3}


def test_merges_bring_their_parents_lineages(ledger: Ledger) -> None:
    genesis, step, last = (r.id for r in fork_receipts())
    first = merge(ledger, None, [step], 1)
    second = merge(ledger, last, [first.id, step], 2)
    found = lineage(ledger, second.id)
    assert [a.receipt.id for a in found] == [second.id, first.id, last, step, genesis]
    assert found[0].parents == (last, first.id, step)
    assert [a.receipt.id for a in lineage(ledger, first.id)] == [first.id, step, genesis]
    assert sum(contributors(ledger, second.id).values()) == 3


def test_a_lineage_is_proven(ledger: Ledger) -> None:
    last = fork_receipts()[-1].id
    with pytest.raises(InvalidInput, match="checkpoint"):
        prove_lineage(ledger, last)
    ledger.checkpoint([signer("log")])
    proven = prove_lineage(ledger, last)
    assert len(proven) == 3
    for receipt, proof in proven:
        proof.verify(receipt.to_bytes(), ledger.policy)
    young = merge(ledger, last, [], 3)
    with pytest.raises(InvalidInput, match="no entry"):
        prove_lineage(ledger, young.id)


def test_what_is_no_receipt_has_no_lineage(ledger: Ledger) -> None:
    from zkai.ledger.records import parse_entry

    rules = parse_entry(ledger.store.entry(0) or b"").id
    for name in (bytes(32), rules):
        with pytest.raises(InvalidInput, match="is no receipt"):
            lineage(ledger, name)
