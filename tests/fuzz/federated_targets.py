"""The parsers of aggregation rounds under fuzzing: what lies on a board for everyone to write."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.fuzz.harness import Target
from zkai.encoding import hex32
from zkai.federated.key_ceremony import KeyCeremony, Renewal, numbered
from zkai.federated.key_transcript import complaints_bytes, parse_complaints
from zkai.federated.messages import (
    COMMITMENT,
    DECISION,
    KEY_ACT,
    KEY_DECISION,
    base,
    parse_message,
    sign_message,
)
from zkai.federated.parties import HOLDER, Party
from zkai.federated.schemes import choose_parameters, load_scheme
from zkai.federated.session import RLWE, Client, Holder, Session, Tensor, recipients_message
from zkai.federated.update import flatten, read_update
from zkai.receipt.signer import generate
from zkai.vault.keys import generate as new_vault_key


@lru_cache
def made_session() -> Session:
    clients = tuple(Client(f"c{i}", generate().public) for i in range(2))
    holders = []
    for i in range(2):
        key, recipients = generate(), (new_vault_key().recipient,)
        signature = key.sign(recipients_message(recipients))
        holders.append(Holder(f"h{i}", key.public, recipients, signature))
    parameters = choose_parameters(RLWE, 2, 100, 2, 2)
    return Session(
        bytes(32), "example.org/he", generate().public, RLWE, parameters, (Tensor("w", (3,)),),
        100, 1, clients, tuple(holders), 2, 2, 80,
    )  # fmt: skip


def session(folder: Path) -> Target:
    """A session has one byte form, and is loaded only with parameters that fit it."""

    def use(scratch: Path, data: bytes) -> None:
        found = Session.from_bytes(data)
        if found.to_bytes() != data:
            raise AssertionError("a session has two byte forms")
        load_scheme(found)

    return Target("he-session", (made_session().to_bytes(),), use, slow=True)


def message(folder: Path) -> Target:
    """A signed message has one byte form."""
    key, place = generate(), base(bytes(32), 1)
    digest = hex32(1)
    said = {
        **place, "client": key.keyid, "key": digest, "ciphertext": digest, "check": digest,
        "shares": [digest, digest], "weight_bound": 1, "proof": None,
        "coordinates": None,
    }  # fmt: skip
    decided = {
        **place, "phase": "closed", "previous": None, "size": 3, "root": digest, "body": digest,
    }  # fmt: skip
    act = {**place, "act": "open", "party": key.keyid, "after": digest, "body": digest}
    over = {
        **place, "phase": "respond", "previous": digest, "size": 9, "root": digest,
        "committee": digest, "holders": [key.keyid] * 3, "threshold": 2, "once": False,
        "renews": None, "disputed": 2, "key": None,
    }  # fmt: skip
    seeds = (
        sign_message(COMMITMENT, said, key).to_bytes(),
        sign_message(DECISION, decided, key).to_bytes(),
        sign_message(KEY_ACT, act, key).to_bytes(),
        sign_message(KEY_DECISION, over, key).to_bytes(),
    )

    def use(scratch: Path, data: bytes) -> None:
        if parse_message(data).to_bytes() != data:
            raise AssertionError("a message has two byte forms")

    return Target("he-message", seeds, use, slow=True)


def party(folder: Path) -> Target:
    """What a party publishes of itself."""
    key, recipients = generate(), (new_vault_key().recipient,)
    signature = key.sign(recipients_message(recipients))
    made = Party(HOLDER, "h0", key.public, None, recipients, signature)

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "public.json"
        path.write_bytes(data)
        Party.from_path(path)

    return Target("he-party", (made.to_bytes(),), use, json=True)


def update(folder: Path) -> Target:
    """A client's own arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, w=np.arange(3))

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "update.npz"
        path.write_bytes(data)
        flatten(made_session(), read_update(path))

    return Target("he-update", (buffer.getvalue(),), use)


def key_terms(folder: Path) -> Target:
    """The terms of a key ceremony, and of a resharing: one byte form each."""
    holders = numbered([(f"h{i}", generate().public) for i in range(3)])
    renewal = Renewal(bytes(32), hex32(1).encode()[:32], holders[1:])
    made = KeyCeremony(bytes(32), "example.org/keys", generate().public, 2, holders)
    again = KeyCeremony(bytes(32), "example.org/keys", made.aggregator, 2, holders, False, renewal)

    def use(scratch: Path, data: bytes) -> None:
        if KeyCeremony.from_bytes(data).to_bytes() != data:
            raise AssertionError("terms have two byte forms")

    return Target("key-terms", (made.to_bytes(), again.to_bytes()), use, slow=True)


def complaints(folder: Path) -> Target:
    """A holder's complaints: one byte form."""
    good = complaints_bytes({1: bytes(32), 3: bytes(range(32))})

    def use(scratch: Path, data: bytes) -> None:
        if complaints_bytes(dict(parse_complaints(data))) != data:
            raise AssertionError("complaints have two byte forms")

    return Target("key-complaints", (good,), use)


FEDERATED_TARGETS = {
    "key-terms": key_terms,
    "key-complaints": complaints,
    "he-session": session,
    "he-message": message,
    "he-party": party,
    "he-update": update,
}
