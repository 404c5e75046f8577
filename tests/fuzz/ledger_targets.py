"""Records of every kind, their admission, witnesses, identities and places under fuzzing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.fuzz.harness import Target
from tests.fuzz.receipt_targets import NOW, keys, made
from zkai.commands.receipts import _facts
from zkai.encoding import canonical_json, hex32, load_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.account import account_text
from zkai.ledger.alias import alias_document, verify_alias
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.identity import did_lux, from_multibase, resolve, to_multibase
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.postgres import parse_url
from zkai.ledger.records import (
    ACCESS,
    ACCOUNT,
    BLOCK,
    CONSENT,
    KEY_STATUS,
    NODE,
    Record,
    parse_entry,
    sign_record,
)
from zkai.ledger.witness import Witness
from zkai.receipt import standalone
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.keyfile import read_public, write_key
from zkai.receipt.signer import ED25519, ML_DSA_65, PrivateKey
from zkai.receipt.statement import issue
from zkai.receipt.trust import trust
from zkai.vault.keys import generate

HASH = "0x" + "ab" * 32
CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@lru_cache
def bodies(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """A body of each type of record, and who signs it."""
    from eth_account import Account
    from eth_account.messages import encode_defunct

    wallet, issuer = Account.from_key(bytes([7]) * 32), keys()["issuer"]
    address = wallet.address.lower()
    text = account_text(1, address, issuer.keyid, "o")
    signature = bytes(wallet.sign_message(encode_defunct(text=text)).signature)
    following = PrivateKey(ML_DSA_65, bytes([9]) * 32).public
    receipt = hex32(made(folder)["receipt"].id)
    return {
        KEY_STATUS: ({
            "keyid": following.keyid, "status": "active", "at": NOW, "reason": "r", "name": "n",
            "jwk": following.jwk, "follows": issuer.keyid,
        }, "issuer"),
        BLOCK: ({
            "number": 0, "previous": None, "first": 0, "end": 6, "operations_root": HASH,
            "update_digest": HASH, "users": 0, "users_root": HASH,
        }, "log"),
        NODE: ({
            "receipt": receipt, "parents": [], "height": 1, "generation": 2,
            "fitness": [{"metric": "m", "value": "0.5", "receipt": receipt}],
            "priors": [{"name": "p", "digest": HASH}],
            "constraints": [{"name": "c", "text": "t"}],
        }, "log"),
        CONSENT: ({
            "action": "publish", "object": HASH, "fork": None, "cid": CID,
            "profile": "raw-sha2-256", "recipient": generate().recipient.keyid, "purpose": "p",
        }, "issuer"),
        ACCESS: ({
            "object": HASH, "cid": CID, "profile": "raw-sha2-256",
            "recipient": generate().recipient.keyid, "outcome": "refused", "purpose": "p",
        }, "log"),
        ACCOUNT: ({
            "chain_id": 1, "address": address, "jwk": issuer.public.jwk,
            "account_key": "0x" + wallet._key_obj.public_key.to_bytes().hex(),
            "signature": "0x" + signature[:64].hex(),
        }, "issuer"),
    }  # fmt: skip


@lru_cache
def records(folder: Path) -> tuple[Record, ...]:
    """A signed record of each type, and a ledger's first."""
    found = [
        sign_record(kind, body, [keys()[by]], NOW) for kind, (body, by) in bodies(folder).items()
    ]
    with _ledger(folder) as ledger:
        first = parse_entry(ledger.store.entry(0) or b"")
    assert isinstance(first, Record)
    return (first, *found)


@contextlib.contextmanager
def _ledger(folder: Path) -> Iterator[Ledger]:
    made(folder)
    ledger = Ledger.open(folder / "l.db")
    try:
        yield ledger
    finally:
        ledger.close()


def record(folder: Path) -> Target:
    """An entry's payload, under signatures that are not looked at here."""
    signatures = records(folder)[0].envelope.signatures

    def use(scratch: Path, data: bytes) -> None:
        parse_entry(Envelope(data, signatures).to_bytes())

    seeds = tuple(record.envelope.payload for record in records(folder))
    return Target("ledger-record", seeds, use, json=True)


def entry(folder: Path) -> Target:
    """An entry's bytes: one byte form of what they hold."""
    seeds = (*(r.envelope.to_bytes() for r in records(folder)), made(folder)["receipt"].to_bytes())

    def use(scratch: Path, data: bytes) -> None:
        if parse_entry(data).envelope.to_bytes() != data:
            raise AssertionError("an entry has two byte forms")

    return Target("ledger-entry", seeds, use)


def admission(folder: Path) -> Target:
    """A record signed by whom it names, with the right digest, into a ledger with receipts."""
    seeds = tuple(record.envelope.payload for record in records(folder)[1:])
    place = folder / "admission.db"
    store = trust([("issuer", keys()["issuer"].public)])
    ledger = Ledger.create(place, "o", keys()["log"], store, [], at=NOW)
    ledger.append(Submission(made(folder)["receipt"].to_bytes()), NOW)

    def use(scratch: Path, data: bytes) -> None:
        if data in seeds:
            return  # some of them no ledger lets in, and the rest only once
        value = load_json(data, "input")
        with contextlib.suppress(KeyError, TypeError, IndexError, InvalidInput, AttributeError):
            body = {n: v for n, v in value["predicate"].items() if n not in ("signed", "signers")}
            value["subject"][0]["digest"]["sha256"] = sha256(encode(body)).hex()
        listed = json.dumps(value)
        signing = [key for key in keys().values() if key.keyid in listed and key.alg == ML_DSA_65]
        signed = sign_envelope(encode(value), signing[:1] or [keys()["log"]])
        ledger.append(Submission(signed.to_bytes()), NOW)

    return Target("ledger-admission", seeds, use, json=True, slow=True)


def standalone_inclusion(folder: Path) -> Target:
    """The one-file verifier's reading of an inclusion proof: it says what the library's says."""
    good, entry = made(folder)["inclusion"], made(folder)["receipt"].to_bytes()
    policy: LogPolicy = made(folder)["policy"]
    value = json.loads(json.dumps(policy.to_json()))
    size = Checkpoint.from_text(good.note.text).size

    def use(scratch: Path, data: bytes) -> None:
        try:
            found = standalone.verify_inclusion(data, entry, value)
        except standalone.Refused as refusal:
            raise VerificationError(str(refusal)) from refusal
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidInput(str(error)) from error  # as its command does: "unusable"
        if found != (good.index, size, NOW):
            raise AssertionError("a changed inclusion proof verifies")

    return Target("standalone-inclusion", (good.to_bytes(),), use)


def standalone_statement(folder: Path) -> Target:
    """The one-file verifier's reading of a statement that a trusted key signed."""
    payload = made(folder)["receipt"].envelope.payload
    store = made(folder)["store"].to_json()

    def use(scratch: Path, data: bytes) -> None:
        envelope = sign_envelope(data, [keys()["issuer"]]).to_bytes()
        try:
            standalone.verify(envelope, store, b"{}", now=NOW)
        except standalone.Refused as refusal:
            raise VerificationError(str(refusal)) from refusal
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidInput(str(error)) from error
        if data != payload:
            raise AssertionError("a proof that is none is taken")

    def seeded(scratch: Path, data: bytes) -> None:
        if data != payload:  # which names no proof: the seed is refused too
            use(scratch, data)

    return Target("standalone-statement", (payload,), seeded, json=True, slow=True)


def witness(folder: Path) -> Target:
    """What a witness wrote down: it is read again as it was, or refused."""
    key, path = PrivateKey(ED25519, bytes([3]) * 32), folder / "seen.json"
    seen = Witness("w", key, path)
    note, policy = made(folder)["inclusion"].note, made(folder)["policy"]
    seen.cosign(note, policy, [], NOW)

    def use(scratch: Path, data: bytes) -> None:
        changed = scratch / "changed.json"
        changed.write_bytes(data)
        Witness("w", key, changed).last("o")

    return Target("witness-memory", (path.read_bytes(),), use, json=True, slow=True)


def checkpoint(folder: Path) -> Target:
    """A checkpoint's text: one byte form."""
    seed = made(folder)["inclusion"].note.text.encode()

    def use(scratch: Path, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if Checkpoint.from_text(text).to_text() != text:
            raise AssertionError("a checkpoint has two forms")

    return Target("checkpoint", (seed,), use)


def identity(folder: Path) -> Target:
    """A key in a name, and any name in a ledger."""
    seed = to_multibase(keys()["issuer"].public)

    def use(scratch: Path, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if to_multibase(from_multibase(text)) != text:
            raise AssertionError("a key has two names")

    return Target("multibase-key", (seed.encode(),), use, slow=True)


def did(folder: Path) -> Target:
    made(folder)
    ledger = Ledger.open(folder / "l.db")
    key = to_multibase(keys()["issuer"].public)

    def use(scratch: Path, data: bytes) -> None:
        resolve(data.decode("utf-8", "replace"), ledger)

    seeds = (f"did:key:{key}".encode(), f"did:lux:key:{key}".encode())
    return Target("did", seeds, use, slow=True)


def alias(folder: Path) -> Target:
    """A website's did.json: only what the ledger says passes."""
    made(folder)
    ledger = Ledger.open(folder / "l.db")
    name = "did:web:example.org"
    good = alias_document(resolve(did_lux(keys()["issuer"].public), ledger), name)

    def use(scratch: Path, data: bytes) -> None:
        found = verify_alias(data, name, ledger)
        if alias_document(found, name) != load_json(data, "input"):
            raise AssertionError("a changed did.json is taken")

    return Target("did-web", (json.dumps(good).encode(),), use, json=True)


def url(folder: Path) -> Target:
    """A ledger's place: whatever stands in it, the schema's name cannot break out of its quotes."""

    def use(scratch: Path, data: bytes) -> None:
        _, schema = parse_url(data.decode("utf-8", "replace"))
        if not schema.replace("_", "").isalnum():
            raise AssertionError(f"a schema's name is {schema!r}")

    seeds = (b"postgresql://u:p@h:5432/db?schema=a&sslmode=require", b"postgres:///db?host=/tmp")
    return Target("ledger-url", seeds, use)


def public_key(folder: Path) -> Target:
    """A key file's public half, which needs no passphrase."""
    write_key(folder / "public.json", keys()["issuer"], "p", log2_n=14)

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "public.json"
        path.write_bytes(data)
        read_public(path)

    seed = canonical_json(json.loads((folder / "public.json").read_bytes()))
    return Target("public-key", (seed,), use, json=True, slow=True)


def facts(folder: Path) -> Target:
    """The facts that a command signs into a receipt."""
    seed = (
        b'{"hyperparameters": {"rate": "0.5"}, "environment": {"device": "cpu"}, "metering":'
        b' {"prove_ms": 5}, "started": 1, "finished": 2, "critical": [], "extensions": {"x": 1}}'
    )

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "facts.json"
        path.write_bytes(data)
        given = _facts(path, None)
        artifacts = {"model": bytes(32)}
        issue(None, [keys()["issuer"]], kind="merge", artifacts=artifacts, facts=given, signed=NOW)

    return Target("receipt-facts", (seed,), use, json=True, slow=True)


LEDGER_TARGETS: dict[str, Callable[[Path], Target]] = {
    "ledger-record": record,
    "ledger-entry": entry,
    "ledger-admission": admission,
    "standalone-inclusion": standalone_inclusion,
    "standalone-statement": standalone_statement,
    "witness-memory": witness,
    "checkpoint": checkpoint,
    "multibase-key": identity,
    "did": did,
    "did-web": alias,
    "ledger-url": url,
    "public-key": public_key,
    "receipt-facts": facts,
}
