"""The demo's private states and questions: a state sealed, granted, opened, revoked; histories."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from zkai.demo.stage import History, Stage
from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.answer import Answer
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.queries import ask, verify_answer
from zkai.ledger.records import NODE, sign_record
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore
from zkai.vault.keys import generate
from zkai.vault.store import ObjectStore
from zkai.vault.vault import Owner, Vault


def plant(
    stage: Stage,
    ledger: Ledger,
    histories: Sequence[History],
    chains: Mapping[str, Sequence[Receipt]],
    operator: PrivateKey,
) -> None:
    """Log each fork's place in the tree of models: its base, its fitness, what it must keep to.

    `chains` are the users' receipts of their forks' steps, from genesis on.
    """
    now = int(time.time())
    prior = hex32(sha256(repr(stage.setting.base.weights.tolist()).encode()))
    for history in histories:
        chain = chains[history.user.name]
        measured = ((chain[0], history.accuracies[0]), (chain[-1], history.accuracies[-1]))
        fitness = [
            {"metric": "accuracy", "value": f"{value:.4f}", "receipt": hex32(receipt.id)}
            for receipt, value in measured
        ]
        limit = f"only samples of the dataset that fork {hex32(history.terms.fork)[:14]} names"
        body = {
            "receipt": hex32(chain[0].id), "parents": [], "height": 0, "generation": 0,
            "fitness": fitness, "priors": [{"name": "base", "digest": prior}],
            "constraints": [{"name": "samples", "text": limit}],
        }  # fmt: skip
        record = sign_record(NODE, body, [operator], now)
        ledger.append(Submission(record.envelope.to_bytes()), now)


def keep_state(
    stage: Stage, ledger: Ledger, history: History, owner: Owner, operator: PrivateKey
) -> dict[str, Any]:
    """Seal a user's last state, let an auditor open it, and revoke that; return what happened.

    Raises VerificationError if somebody opens what is not granted, or the auditor cannot.
    """
    folder, now, auditor = stage.out / "vault", int(time.time()), generate()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cards").mkdir(parents=True)
    vault = Vault(folder / "cards", ObjectStore(folder / "objects"), ledger)
    data = json.dumps(history.state.to_json()).encode("ascii")
    sealed = vault.publish(data, owner, kind="model_state", fork=history.terms.fork, at=now)
    vault.grant(sealed.object, owner, auditor.recipient, purpose="audit", at=now)
    served = vault.access(sealed.object, auditor.recipient, operator, purpose="audit", at=now)
    if served.read(auditor, vault.store) != data:
        raise VerificationError("vault: the auditor read something else")
    keyid = auditor.recipient.keyid
    again = vault.revoke(sealed.object, owner, keyid, purpose="audit is over", at=now)
    opener = auditor.recipient
    refused = [
        _refusal(lambda: vault.access(sealed.object, opener, operator, purpose="again", at=now)),
        _refusal(lambda: again.read(auditor, vault.store)),
        _refusal(lambda: served.read(auditor, vault.store)),
    ]
    if again.read(owner.opener, vault.store) != data:
        raise VerificationError("vault: the owner's state is lost")
    return {
        "user": history.user.name,
        "object": hex32(sealed.object),
        "cid": again.cid,
        "bytes": len(data),
        "sealed_bytes": (folder / "objects" / again.cid).stat().st_size,
        "after_revocation": refused,
    }


def _refusal(action: Any) -> str:
    """Return why an action was refused. Raises VerificationError if it was not."""
    try:
        action()
    except (VerificationError, InvalidInput) as error:
        return str(error)
    raise VerificationError("vault: a revoked key still opens the state")


def answer_questions(
    stage: Stage,
    ledger: Ledger,
    policy: LogPolicy,
    store: TrustStore,
    histories: Sequence[History],
) -> dict[str, Any]:
    """Ask for every user's history, the tree of forks and the first user's objects.

    Each answer is written to answers/ and verified from there, by policy and trust store alone.
    """
    folder = stage.out / "answers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    first = histories[0]
    questions = {f"{h.user.name}-history": ("user", str(h.state.user)) for h in histories}
    questions["tree"] = ("tree", "all")
    questions[f"{first.user.name}-objects"] = ("objects", str(first.terms.fork))
    found = {}
    for name, (kind, asked) in questions.items():
        path = folder / f"{name}.json"
        ask(ledger, kind, asked).write(path)
        found[name] = verify_answer(Answer.from_path(path), policy, store, least=ledger.log.size)
    return {
        "histories": {
            h.user.name: found[f"{h.user.name}-history"].result["receipts"] for h in histories
        },
        "tree": found["tree"].result,
        "objects": found[f"{first.user.name}-objects"].result["objects"],
    }
