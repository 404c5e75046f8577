"""The files around proven and compressed updates, and around queries, under fuzzing."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.fuzz.harness import Target
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.commands.he_asking import FORMAT, read_answer
from zkai.encoding import canonical_json, hex32, sha256
from zkai.encrypted import Sent, encryption_of
from zkai.federated.residual import Rounded
from zkai.federated.rules import RULE_FORMAT, parse_rule
from zkai.he.rlwe_query import DEALING, PARAMETERS, EncryptedQuery, QueryKey, answer
from zkai.model.heads import SoftmaxHead
from zkai.receipt.jcs import to_base64url
from zkai.sent_files import SentFiles, read_sent, sent_bytes


@lru_cache
def kept(folder: Path) -> SentFiles:
    key = QueryKey(np.arange(5, dtype=np.int64))
    sent = Sent(key.sent.round, key.sent.ciphertext, key.sent.check, DEALING)
    files = SentFiles(folder / "kept", key.opening, sent)
    files.write()
    return files


def rule(folder: Path) -> Target:
    """A rule's own file."""
    statement = EncryptedUpdate(SoftmaxHead(3, 2), encryption_of(PARAMETERS))
    said = {
        "format": RULE_FORMAT, "statement": statement.describe(), "norm_bound": 9,
        "base": {"model": "1", "updates": ["2", "3"], "follows": True}, "users": {"ada": "4"},
    }  # fmt: skip
    return Target(
        "he-rule", (canonical_json(said),), lambda s, data: parse_rule(data, "rule"), json=True
    )


def sent(folder: Path) -> Target:
    """A ciphertext's file has one byte form for what it says."""

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "sent.json"
        path.write_bytes(data)
        found = read_sent(path)
        path.write_bytes(sent_bytes(found))
        if read_sent(path) != found:
            raise AssertionError("what was sent changed when it was written")

    return Target("he-sent", (sent_bytes(kept(folder).sent),), use, json=True, slow=True)


def secrets(folder: Path) -> Target:
    """The secrets beside it."""
    files = kept(folder)

    def use(scratch: Path, data: bytes) -> None:
        (scratch / "sent.json").write_bytes(sent_bytes(files.sent))
        (scratch / "secrets.json").write_bytes(data)
        SentFiles.read(scratch)

    seed = (files.folder / "secrets.json").read_bytes()
    return Target("he-secrets", (seed,), use, json=True, slow=True)


def answered(folder: Path) -> Target:
    """What a server answers."""
    files = kept(folder)
    query = EncryptedQuery(files.sent.round, files.sent.ciphertext, files.sent.check)
    data = answer(query, np.ones((2, 5), np.int64), np.zeros(2, np.int64))
    said = {
        "format": FORMAT, "query": hex32(sha256(sent_bytes(files.sent))), "outputs": 2,
        "answer": to_base64url(data),
    }  # fmt: skip
    return Target(
        "he-answer", (canonical_json(said),), lambda s, d: read_answer(d, files, "answer"),
        json=True, slow=True,
    )  # fmt: skip


def residual(folder: Path) -> Target:
    """A client's own rounding of a round."""
    path = folder / "rounding.npz"
    Rounded(np.arange(3), np.arange(3), np.zeros(5), bytes(32)).write(path)

    def use(scratch: Path, data: bytes) -> None:
        (scratch / "rounding.npz").write_bytes(data)
        Rounded.read(scratch / "rounding.npz")

    return Target("he-residual", (path.read_bytes(),), use, slow=True)


INPUTS_TARGETS = {
    "he-rule": rule,
    "he-sent": sent,
    "he-secrets": secrets,
    "he-answer": answered,
    "he-residual": residual,
}
