"""A ledger of several forks, users and a merge, whose proofs are taken on their receipts' word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.receipt_support import NOW, signer
from zkai.encoding import hex32
from zkai.ledger import admission
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import NODE, sign_record
from zkai.proof.keys import Proof
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import Facts, Receipt, issue
from zkai.receipt.trust import TrustStore, trust

ORIGIN = "example.org/forest"


def said_proof(said: dict[str, Any]) -> Proof:
    """A proof whose public signals are what we say."""
    public = {n: (v,) for n, v in said.items() if n not in ("kind", "old_state") or v is not None}
    del public["kind"]
    return Proof(f"{said['kind']}/1", bytes(32), bytes(32), "development", public, None, None, None)


def take_their_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let receipts enter whose proofs nobody made: what is tested is what is said of them."""

    def parse_only(receipt: Receipt, data: bytes, key: Any) -> Proof:
        return said_proof(json.loads(data))

    monkeypatch.setattr(admission, "verify_proof_of", parse_only)


class Forest:
    """A ledger with a receipt for whatever is said to have been proven."""

    def __init__(self, path: Path, users: Sequence[PrivateKey] = ()) -> None:
        keys = [("issuer", signer().public), *((f"u{i}", u.public) for i, u in enumerate(users))]
        known = trust(keys)
        store = TrustStore(known.keys, (frozenset({signer().public.keyid}),))
        self.trust = store
        self.ledger = Ledger.create(path, ORIGIN, signer("log"), store, [], at=NOW)
        self.ledger.admission.keys[bytes(32)] = None  # type: ignore[assignment]
        self.heads: dict[int, tuple[Receipt, int]] = {}

    def add(
        self, kind: str, fork: int, user: int, model: int = 1, by: Sequence[PrivateKey] = ()
    ) -> Receipt:
        """Move a fork on, or with a "genesis" open it."""
        step = 0 if kind == "genesis" else self.heads[fork][1]
        state = 1000 * fork + self.ledger.log.size
        said = {"kind": kind, "model": model, "fork": fork, "user": user, "step": step,
                "old_state": None, "new_state": state}  # fmt: skip
        parent = None
        if kind != "genesis":
            last = self.heads[fork][0]
            parent = last.id
            said["old_state"] = int(last.predicate["proof"]["public"]["new_state"])
        keys = [signer(), *by]
        receipt = issue(said_proof(said), keys, facts=Facts(parent=parent), signed=NOW)
        self.ledger.append(Submission(receipt.to_bytes(), json.dumps(said).encode()), NOW)
        self.heads[fork] = (receipt, step + 1)
        return receipt

    def node(self, receipt: Receipt, parents: Sequence[Receipt], height: int) -> None:
        """Give a receipt its place in the tree of models."""
        body = {
            "receipt": hex32(receipt.id), "parents": [hex32(p.id) for p in parents],
            "height": height, "generation": 1,
            "fitness": [{"metric": "accuracy", "value": "0.9", "receipt": None}],
            "priors": [{"name": "prior", "digest": hex32(bytes(32))}],
            "constraints": [{"name": "safety", "text": "no faces"}],
        }  # fmt: skip
        record = sign_record(NODE, body, [signer("log")], NOW)
        self.ledger.append(Submission(record.envelope.to_bytes()), NOW)

    def merge(self, parents: Sequence[Receipt], name: int = 1) -> Receipt:
        """A merged model and its node."""
        artifacts = {"model": bytes([name]) * 32}
        receipt = issue(None, [signer()], kind="merge", artifacts=artifacts, signed=NOW)
        self.ledger.append(Submission(receipt.to_bytes()), NOW)
        self.node(receipt, parents, 4)
        return receipt


def forest(path: Path) -> Forest:
    """Forks 1 and 2 of user 7, 3 of user 8 that comes from 1; 1 and 3 merged; another model's 4."""
    made = Forest(path)
    made.add("genesis", 1, 7)
    made.add("genesis", 2, 7)
    made.add("genesis", 4, 9, model=2)
    made.add("training_step", 1, 7)
    child = made.add("genesis", 3, 8)
    made.node(child, [made.heads[1][0]], 2)
    made.add("training_step", 3, 8)
    made.add("training_step", 1, 7)
    made.merge([made.heads[1][0], made.heads[3][0]])
    made.ledger.checkpoint([signer("log")])
    return made
