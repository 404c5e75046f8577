"""The parsers of receipts and of the ledger under fuzzing; what verifies is what was signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.fuzz.harness import Target
from zkai.encoding import load_json
from zkai.errors import VerificationError
from zkai.ledger import export as exports
from zkai.ledger.checkpoint import Checkpoint, InclusionProof, LogPolicy
from zkai.ledger.export import read_entries, tile_name
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.note import Note, cosign_note
from zkai.ledger.records import parse_entry
from zkai.ledger.statusmap import MapProof
from zkai.receipt import jcs, standalone
from zkai.receipt.exports import open_cose, open_jws, to_cose, to_jws
from zkai.receipt.keyfile import read_key, write_key
from zkai.receipt.signer import ED25519, ML_DSA_65, PrivateKey
from zkai.receipt.statement import Receipt, issue, parse_statement
from zkai.receipt.trust import TrustStore, trust
from zkai.receipt.verify import verify_receipt

NOW = 1_790_000_000


@lru_cache
def keys() -> dict[str, PrivateKey]:
    """An issuer, a log and a witness."""
    return {
        "issuer": PrivateKey(ML_DSA_65, bytes([1]) * 32),
        "log": PrivateKey(ML_DSA_65, bytes([2]) * 32),
        "witness": PrivateKey(ED25519, bytes([3]) * 32),
    }


@lru_cache
def made(folder: Path) -> dict[str, Any]:
    """A receipt, the ledger that holds it, and what the ledger proves."""
    named = keys()
    store = trust([("issuer", named["issuer"].public)])
    ledger = Ledger.create(folder / "l.db", "o", named["log"], store, [], at=NOW)
    receipts = []
    for number in range(5):
        artifacts = {"model": bytes([number]) * 32}
        receipt = issue(None, [named["issuer"]], kind="merge", artifacts=artifacts, signed=NOW)
        receipts.append(receipt)
        ledger.append(Submission(receipt.to_bytes()), NOW)
    note = ledger.checkpoint([named["log"]])
    note = cosign_note(note, "w", named["witness"], NOW)
    policy = LogPolicy("o", named["log"].public, (("w", named["witness"].public),), 1)
    ledger.add_cosignatures(note, policy)
    value, shown, _ = ledger.log.prove_name(f"key/{named['issuer'].keyid}")
    found = {
        "store": store,
        "policy": policy,
        "receipt": receipts[2],
        "inclusion": ledger.log.prove_entry(3),
        "map": (value, shown),
        "bundle": b"".join(len(e).to_bytes(2, "big") + e for e in ledger.store.entries(0, 6)),
    }
    ledger.close()
    return found


def receipt(folder: Path) -> Target:
    """A receipt, in zkai and in the one-file verifier: only the signed bytes verify."""
    good = made(folder)["receipt"].to_bytes()
    store = made(folder)["store"]

    def use(scratch: Path, data: bytes) -> None:
        try:
            standalone.verify_receipt(data, store.to_json(), NOW)
        except (standalone.Refused, ValueError, KeyError, TypeError, AttributeError, IndexError):
            alone = False
        else:
            alone = True
        if alone and data != good:
            raise AssertionError("the one-file verifier accepts a changed receipt")
        read = Receipt.from_bytes(data)
        verify_receipt(read, store, at=NOW)
        if data != good:
            raise AssertionError("a changed receipt verifies")

    return Target("receipt", (good,), use)


def statement(folder: Path) -> Target:
    """The signed payload, which nobody has to have signed yet."""
    payload = made(folder)["receipt"].envelope.payload
    return Target("receipt-statement", (payload,), _quiet(parse_statement), json=True)


def _quiet(parse: Callable[[bytes, str], object]) -> Callable[[Path, bytes], object]:
    return lambda scratch, data: parse(data, "input")


def inclusion(folder: Path) -> Target:
    """An inclusion proof with its checkpoint: what verifies says the same."""
    good: InclusionProof = made(folder)["inclusion"]
    entry = made(folder)["receipt"].to_bytes()
    policy: LogPolicy = made(folder)["policy"]

    def use(scratch: Path, data: bytes) -> None:
        read = InclusionProof.from_bytes(data)
        checkpoint, seen = read.verify(entry, policy)
        if (read.index, read.hashes, checkpoint, seen) != (
            good.index, good.hashes, Checkpoint.from_text(good.note.text), NOW,
        ):  # fmt: skip
            raise AssertionError("a changed inclusion proof verifies")

    return Target("inclusion-proof", (good.to_bytes(),), use)


def note(folder: Path) -> Target:
    """A signed note: what is read is written again to the same bytes."""

    def use(scratch: Path, data: bytes) -> None:
        if Note.from_bytes(data).to_bytes() != data:
            raise AssertionError("a note has two byte forms")

    return Target("note", (made(folder)["inclusion"].note.to_bytes(),), use)


def map_proof(folder: Path) -> Target:
    """A proof of the map: only the true value of the name is shown."""
    checkpoint = Checkpoint.from_text(made(folder)["inclusion"].note.text)
    name, (value, shown) = f"key/{keys()['issuer'].keyid}", made(folder)["map"]

    def use(scratch: Path, data: bytes) -> None:
        read = MapProof.from_json(load_json(data, "input"), "input")
        read.verify(checkpoint.map_root, name, value)
        for other in (None, b"x"):
            try:
                read.verify(checkpoint.map_root, name, other)
            except VerificationError:
                continue
            raise AssertionError("a name has two values")

    return Target("map-proof", (json.dumps(shown.to_json()).encode(),), use, json=True)


def trust_store(folder: Path) -> Target:
    seed = json.dumps(made(folder)["store"].to_json()).encode()

    def use(scratch: Path, data: bytes) -> None:
        read = TrustStore.from_json(load_json(data, "input"))
        if TrustStore.from_json(read.to_json()) != read:
            raise AssertionError("a trust store changes when it is written")

    return Target("trust-store", (seed,), use, json=True)


def log_policy(folder: Path) -> Target:
    seed = json.dumps(made(folder)["policy"].to_json()).encode()

    def use(scratch: Path, data: bytes) -> None:
        read = LogPolicy.from_json(load_json(data, "input"))
        if LogPolicy.from_json(read.to_json()) != read:
            raise AssertionError("a policy changes when it is written")

    return Target("log-policy", (seed,), use, json=True)


def key_file(folder: Path) -> Target:
    """An encrypted key: no changed file opens to another key."""
    key = keys()["issuer"]
    write_key(folder / "key.json", key, "p", log2_n=14)
    seed = json.dumps(json.loads((folder / "key.json").read_bytes())).encode()

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "key.json"
        path.write_bytes(data)
        path.chmod(0o600)
        if read_key(path, "p").secret != key.secret:
            raise AssertionError("a changed key file opens")

    return Target("key-file", (seed,), use, json=True, slow=True)


def bundle(folder: Path) -> Target:
    """A bundle of entries of an export."""

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "tile/entries" / f"{tile_name(0)}.p/6"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for entry in read_entries(scratch, 6):
            parse_entry(entry)

    return Target("entry-bundle", (made(folder)["bundle"],), use, slow=True)


def export(folder: Path) -> Target:
    """An export's rules: none but the true ones let its entries in."""
    ledger = Ledger.open(made_ledger(folder))
    (folder / "export").mkdir()
    exports.export(ledger, folder / "export")
    ledger.close()
    seed = (folder / "export/ledger.json").read_bytes()
    policy: LogPolicy = made(folder)["policy"]

    def use(scratch: Path, data: bytes) -> None:
        (folder / "export/ledger.json").write_bytes(data)
        exports.verify_export(folder / "export", policy)
        if load_json(data, "input") != load_json(seed, "seed"):
            raise AssertionError("an export verifies under changed rules")

    return Target("ledger-rules", (json.dumps(json.loads(seed)).encode(),), use, True, True)


def made_ledger(folder: Path) -> Path:
    """The ledger's file of `made`."""
    made(folder)
    return folder / "l.db"


def cose(folder: Path) -> Target:
    """A COSE_Sign1: only the signed bytes verify."""
    good = to_cose(made(folder)["receipt"], keys()["issuer"])
    store = made(folder)["store"]

    def use(scratch: Path, data: bytes) -> None:
        open_cose(data, store, at=NOW)
        if data != good:
            raise AssertionError("a changed COSE_Sign1 verifies")

    return Target("cose", (good,), use)


def jws(folder: Path) -> Target:
    """A JWS: what verifies says what was signed."""
    good = made(folder)["receipt"]
    store = made(folder)["store"]

    def use(scratch: Path, data: bytes) -> None:
        if open_jws(data, store, at=NOW) != good.statement:
            raise AssertionError("a changed JWS verifies")

    return Target("jws", (to_jws(good, [keys()["issuer"]]),), use, json=True)


def canonical(folder: Path) -> Target:
    """Canonical JSON and base64: one byte form each."""

    def use(scratch: Path, data: bytes) -> None:
        if jcs.encode(jcs.decode(data, "input")) != data:
            raise AssertionError("canonical JSON has two forms")

    return Target("canonical-json", (b'{"a":[1,-2,"\xc3\xa9"],"b":{"c":null}}',), use)


RECEIPT_TARGETS = {
    "receipt": receipt,
    "receipt-statement": statement,
    "inclusion-proof": inclusion,
    "note": note,
    "map-proof": map_proof,
    "trust-store": trust_store,
    "log-policy": log_policy,
    "key-file": key_file,
    "entry-bundle": bundle,
    "ledger-rules": export,
    "cose": cose,
    "jws": jws,
    "canonical-json": canonical,
}
