"""The parsers of sealed objects, cards, bundles and their keys under fuzzing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.harness import Target
from tests.fuzz.receipt_targets import NOW, made, made_ledger
from zkai.encoding import hex32, load_json
from zkai.ledger.answer import Answer
from zkai.ledger.ledger import Ledger
from zkai.ledger.queries import ask, verify_answer
from zkai.vault.keys import Recipient, VaultKey, read_vault_key, write_vault_key
from zkai.vault.parts import _split, open_parts, seal_parts
from zkai.vault.sealed import seal_bytes, unseal_bytes
from zkai.vault.store import make_cid, parse_cid
from zkai.vault.vault import Card, wrap_context

KEY, CONTEXT = bytes(range(32)), b"object"
READER = VaultKey(bytes([7]) * 32)


def sealed(folder: Path) -> Target:
    """A sealed object: no other bytes open to what was sealed, or to anything."""
    good = (seal_bytes(KEY, CONTEXT, b"data"), seal_bytes(KEY, CONTEXT, bytes(70_000)))

    def use(scratch: Path, data: bytes) -> None:
        unseal_bytes(KEY, CONTEXT, data)
        if data not in good:
            raise AssertionError("a changed object opens")

    return Target("sealed-object", good, use)


def cid(folder: Path) -> Target:
    """A CID: one text for each digest."""

    def use(scratch: Path, data: bytes) -> None:
        text = data.decode("latin-1")
        if make_cid(parse_cid(text)) != text:
            raise AssertionError("a CID has two forms")

    return Target("cid", (make_cid(KEY).encode(),), use)


def card(folder: Path) -> Target:
    """A card: one byte form, and no changed wrap opens to another key."""
    name, text = bytes(32), make_cid(bytes(32))
    wrap = READER.recipient.wrap(KEY, wrap_context(name, text))
    good = Card(name, text, "other", "7", ((READER.recipient, wrap),)).to_bytes()

    def use(scratch: Path, data: bytes) -> None:
        if Card.from_bytes(data).to_bytes() != data:
            raise AssertionError("a card has two byte forms")

    return Target("object-card", (good,), use)


def bundle(folder: Path) -> Target:
    """A bundle: no changed one opens."""
    good = seal_parts({"a": b"1", "b/2": b"22"}, READER.recipient)

    def use(scratch: Path, data: bytes) -> None:
        open_parts(data, READER)
        if data != good:
            raise AssertionError("a changed bundle opens")

    return Target("bundle", (good,), use)


def parts(folder: Path) -> Target:
    """What is inside a bundle, from whoever may seal one."""
    parts = open_parts(seal_parts({"a": b"1", "b/2": b"22"}, READER.recipient), READER)
    index = (
        b'{"parts":[{"name":"a","sha256":"0x6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52'
        b'ddb7875b4b","size":1}]}'
    )
    seed = len(index).to_bytes(4, "big") + index + parts["a"]
    return Target("bundle-parts", (seed,), lambda scratch, data: _split(data))


def recipient(folder: Path) -> Target:
    """A public key as JWK, and what is wrapped to it."""

    def use(scratch: Path, data: bytes) -> None:
        Recipient.from_jwk(load_json(data, "input")).wrap(KEY, CONTEXT)

    return Target("recipient", (json.dumps(READER.recipient.jwk).encode(),), use, json=True)


def key_file(folder: Path) -> Target:
    """An encrypted key: no changed file opens to another key."""
    write_vault_key(folder / "vault.json", READER, "p", log2_n=14)
    seed = json.dumps(json.loads((folder / "vault.json").read_bytes())).encode()

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "vault.json"
        path.write_bytes(data)
        path.chmod(0o600)
        if read_vault_key(path, "p") != READER:
            raise AssertionError("a changed key file opens")

    return Target("vault-key", (seed,), use, json=True, slow=True)


def answer(folder: Path) -> Target:
    """An answer to a question: no changed one verifies to another result."""
    ledger = Ledger.open(made_ledger(folder))
    policy, receipt = made(folder)["policy"], made(folder)["receipt"]
    good = ask(ledger, "lineage", hex32(receipt.id))
    ledger.close()

    def use(scratch: Path, data: bytes) -> None:
        read = Answer.from_json(load_json(data, "input"))
        found = verify_answer(read, policy, at=NOW)
        if (found.kind, found.name, found.result) != (good.kind, good.name, good.result):
            raise AssertionError("a changed answer verifies")

    return Target("ledger-answer", (json.dumps(good.to_json()).encode(),), use, json=True)


VAULT_TARGETS = {
    "ledger-answer": answer,
    "sealed-object": sealed,
    "cid": cid,
    "object-card": card,
    "bundle": bundle,
    "bundle-parts": parts,
    "recipient": recipient,
    "vault-key": key_file,
}
