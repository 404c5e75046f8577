"""Where a model comes from: the receipts before it, through forks and merges, each with a proof."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from zkai.encoding import hex32, parse_hex32
from zkai.errors import InvalidInput
from zkai.ledger.checkpoint import InclusionProof
from zkai.ledger.ledger import Ledger
from zkai.ledger.records import Record, parse_entry
from zkai.receipt.statement import Receipt

MAX_LINEAGE = 1_000_000


@dataclass(frozen=True)
class Ancestor:
    """A receipt of a lineage: its entry, and the ids of those that it came from."""

    index: int
    receipt: Receipt
    parents: tuple[bytes, ...]


def lineage(ledger: Ledger, receipt_id: bytes) -> list[Ancestor]:
    """Return a receipt and everything that it came from, newest first, each once.

    A receipt comes from its parent, and from the parents that nodes (forks, merges) give it.

    Raises InvalidInput if the receipt is not in the log.
    """
    found: dict[bytes, Ancestor] = {}
    waiting = deque([receipt_id])
    while waiting:
        current = waiting.popleft()
        if current in found:
            continue
        if len(found) >= MAX_LINEAGE:
            raise InvalidInput(f"lineage: more than {MAX_LINEAGE} receipts")
        index = ledger.store.index_of(current)
        record = None if index is None else parse_entry(ledger.store.entry(index) or b"")
        if index is None or not isinstance(record, Receipt):
            raise InvalidInput(f"lineage: {hex32(current)} is no receipt of this log")
        parents = _parents(ledger, record)
        found[current] = Ancestor(index, record, parents)
        waiting.extend(parents)
    return sorted(found.values(), key=lambda ancestor: -ancestor.index)


def _parents(ledger: Ledger, receipt: Receipt) -> tuple[bytes, ...]:
    named = [receipt.predicate["parent"]] if receipt.predicate["parent"] is not None else []
    for _, record in ledger.history("node", hex32(receipt.id)):
        assert isinstance(record, Record)
        named += record.predicate["parents"]
    return tuple(parse_hex32(name, "parent") for name in dict.fromkeys(named))


def prove_lineage(
    ledger: Ledger, receipt_id: bytes, size: int | None = None
) -> list[tuple[Receipt, InclusionProof]]:
    """Return the lineage with each receipt's inclusion proof under one checkpoint.

    Raises InvalidInput if there is no such checkpoint, or it is older than the receipt.
    """
    return [
        (ancestor.receipt, ledger.log.prove_entry(ancestor.index, size))
        for ancestor in lineage(ledger, receipt_id)
    ]


def contributors(ledger: Ledger, receipt_id: bytes) -> dict[str, int]:
    """Return the users whose receipts a model came from, with how many are theirs."""
    counts: dict[str, int] = {}
    for ancestor in lineage(ledger, receipt_id):
        user = ancestor.receipt.predicate["user"]
        if user is not None:
            counts[user] = counts.get(user, 0) + 1
    return counts
