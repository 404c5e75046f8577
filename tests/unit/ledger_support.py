"""A ledger of the small fork of `receipt_support`, with all of its parts."""

from __future__ import annotations

from pathlib import Path

from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    store,
    verifying_keys,
)
from zkai.ledger.ledger import Ledger, Submission

ORIGIN = "example.org/training"


def submissions() -> list[Submission]:
    """The fork's receipts with their proofs."""
    return [
        Submission(receipt.to_bytes(), proof.file_bytes())
        for receipt, proof in zip(fork_receipts(), fork_proofs(), strict=True)
    ]


def new_ledger(path: Path | str, **options: object) -> Ledger:
    """A ledger of the operator "log", for PLACE, that trusts the issuer's keys."""
    fork_proofs()
    place = (PLACE.chain_id, PLACE.ledger)
    keys = list(verifying_keys().values())
    return Ledger.create(path, ORIGIN, signer("log"), store(), keys, place=place, at=NOW)
