"""A fork as one encrypted file: whole, verified on arrival, and nothing else is let in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ledger_support import ORIGIN, submissions
from tests.unit.receipt_support import NOW, PLACE, fork_receipts, signer, signers, verifying_keys
from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.ledger import Ledger
from zkai.proof.keys import KeyDocument
from zkai.receipt.jcs import encode
from zkai.receipt.trust import TrustedKey, TrustStore
from zkai.vault.bundle import Fork, export_fork, import_fork, verify_bundle
from zkai.vault.keys import VaultKey
from zkai.vault.parts import MAGIC, _split, open_parts, seal_parts
from zkai.vault.store import ObjectStore
from zkai.vault.vault import Owner, Vault

FORK = 11
ALICE, THERE, BOB = (VaultKey(bytes([i]) * 32) for i in (1, 2, 3))


def owner() -> Owner:
    return Owner(signer(), ALICE)


def trusted() -> TrustStore:
    named = [*signers(), signer("mallory")]
    keys = tuple(TrustedKey(key.public, f"key {i}") for i, key in enumerate(named))
    return TrustStore(keys, tuple(frozenset({k.public.keyid}) for k in signers()))


def keys() -> dict[bytes, KeyDocument]:
    return {key.digest: key for key in verifying_keys().values()}


@lru_cache
def exported(folder: Path) -> bytes:
    submitted = submissions()
    ledger = Ledger.create(
        folder / "l.db", ORIGIN, signer("log"), trusted(), list(keys().values()),
        place=(PLACE.chain_id, PLACE.ledger), at=NOW,
    )  # fmt: skip
    ledger.append_all(submitted, NOW)
    (folder / "cards").mkdir()
    vault = Vault(folder / "cards", ObjectStore(folder / "objects"), ledger)
    first_card = vault.publish(b"state 9", owner(), kind="model_state", fork=FORK, at=NOW)
    for number in range(2):
        card = vault.publish(b"state %d" % number, owner(), kind="model_state", fork=FORK, at=NOW)
    vault.erase(card.object, owner(), purpose="", at=NOW)
    vault.grant(first_card.object, owner(), BOB.recipient, purpose="audit", at=NOW)
    vault.access(first_card.object, BOB.recipient, signer("log"), purpose="audit", at=NOW)
    vault.revoke(first_card.object, owner(), BOB.recipient.keyid, purpose="over", at=NOW)
    vault.publish(b"elsewhere", owner(), kind="other", at=NOW)
    ledger.checkpoint([signer("log")])
    data = export_fork(vault, FORK, ALICE, THERE.recipient)
    with pytest.raises(InvalidInput, match="no fork 99"):
        export_fork(vault, 99, ALICE, THERE.recipient)
    ledger.close()
    return data


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(tmp_path_factory.mktemp("bundle"))


def arrive(data: bytes, opener: VaultKey = THERE) -> Fork:
    policy = LogPolicy(ORIGIN, signer("log").public)
    return verify_bundle(data, opener, policy, trusted(), keys(), at=NOW)


def test_a_fork_moves(bundle: bytes, tmp_path: Path) -> None:
    fork = arrive(bundle)
    assert [r.id for r in fork.receipts] == [r.id for r in fork_receipts()]
    store = ObjectStore(tmp_path / "there")
    cards = import_fork(fork, store)
    assert sorted(card.read(THERE, store) for card in cards) == [b"state 0", b"state 9"]
    found = sorted([r.get("action") or r["outcome"] for r in t] for t in fork.trails.values())
    assert found == [["publish"], ["publish", "erase"], ["publish", "grant", "served", "revoke"]]
    assert b"state 0" not in bundle
    assert b"training_step" not in bundle


def test_others_open_nothing(bundle: bytes) -> None:
    with pytest.raises(VerificationError, match="for another key"):
        arrive(bundle, ALICE)


def first(parts: dict[str, bytes], start: str) -> str:
    return min(n for n in parts if n.startswith(start))


def drop(start: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts.pop(first(parts, start))

    return change


def drop_object(parts: dict[str, bytes]) -> None:
    digits = first(parts, "sealed/").removeprefix("sealed/")
    for kind in ("card", "sealed"):
        parts.pop(f"{kind}/{digits}")


def in_answer(edit: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        value = json.loads(parts["answer"])
        edit(value)
        parts["answer"] = json.dumps(value).encode()

    return change


def entry_of(value: Any, word: str) -> Any:
    """The first entry whose payload says a word."""

    def payload(item: Any) -> bytes:
        envelope = json.loads(base64.b64decode(item["entry"]))
        return base64.b64decode(envelope["payload"])

    return next(e for e in value["entries"] if f'"{word}"'.encode() in payload(e))


def drop_entry(word: str) -> Callable[[dict[str, bytes]], None]:
    return in_answer(lambda value: value["entries"].remove(entry_of(value, word)))


def drop_name(start: str) -> Callable[[dict[str, bytes]], None]:
    def edit(value: Any) -> None:
        value["names"].remove(next(n for n in value["names"] if n["name"].startswith(start)))

    return in_answer(edit)


def drop_trail(value: Any) -> None:
    """One object less, with everything that is said of it."""
    name = next(iter(value["result"]["objects"]))
    del value["result"]["objects"][name]
    rest = []
    for item in value["entries"]:
        payload = base64.b64decode(json.loads(base64.b64decode(item["entry"]))["payload"])
        if name.encode() not in payload:
            rest.append(item)
    value["entries"] = rest
    value["names"] = [n for n in value["names"] if name not in n["name"]]


def exchange(start: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        one, two = sorted(n for n in parts if n.startswith(start))[:2]
        parts[one], parts[two] = parts[two], parts[one]

    return change


def extra(name: str, data: bytes = b"x") -> Callable[[dict[str, bytes]], None]:
    return lambda parts: parts.update({name: data})


def flip(start: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        name = first(parts, start)
        data = bytearray(parts[name])
        data[-1] ^= 1
        parts[name] = bytes(data)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_object, "card/.* is missing"),
        (drop("sealed/"), "sealed/.* is missing"),
        (drop("card/"), "card/.* is missing"),
        (drop("proof/"), "proof/.* is missing"),
        (drop("answer"), "answer is missing"),
        (drop_entry("genesis"), "of fork 11, but the map counts 3"),
        (drop_entry("grant"), "of object .*, but the map counts 4"),
        (drop_entry("served"), "of object .*, but the map counts 4"),
        (drop_entry("erase"), "of object .*, but the map counts 2"),
        (in_answer(drop_trail), "of objects 11, but the map counts 3"),
        (drop_name("fork/11"), "fork/11 is missing"),
        (drop_name("list/objects"), "list/objects/11 is missing"),
        (drop_name("object/"), "object/.* is missing"),
        (in_answer(lambda v: v.update(result={})), "not what its evidence shows"),
        (in_answer(lambda v: v["query"].update(name="12")), "list/fork/12 is missing"),
        (in_answer(lambda v: v["query"].update(kind="fork")), "does not belong|not what its ev"),
        (extra("sealed/" + "0" * 64), "does not belong here"),
        (extra("other"), "does not belong here"),
        (exchange("sealed/"), "not what its cid names"),
        (exchange("card/"), "not what the log says"),
        (exchange("proof/"), "different proof|verifying key|not one"),
        (flip("sealed/"), "not what its cid names"),
        (flip("proof/"), "different proof"),
        (flip("answer"), "answer"),
    ],
)
def test_what_is_not_the_fork_is_refused(
    bundle: bytes, change: Callable[[dict[str, bytes]], None], reason: str
) -> None:
    """Even by whoever made the bundle, and so can seal it again."""
    parts = open_parts(bundle, THERE)
    change(parts)
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        arrive(seal_parts(parts, THERE.recipient))


def test_changed_files_are_refused(bundle: bytes) -> None:
    step = len(bundle) // 60
    for at in [*range(12), *range(12, len(bundle), step), len(bundle) - 1]:
        changed = bytearray(bundle)
        changed[at] ^= 1
        with pytest.raises((VerificationError, InvalidInput)):
            open_parts(bytes(changed), THERE)
    for cut in (0, 5, 11, 100, 3000, len(bundle) - 1):
        with pytest.raises((VerificationError, InvalidInput)):
            open_parts(bundle[:cut], THERE)
    with pytest.raises(VerificationError):
        open_parts(bundle + b"\0", THERE)


def test_parts_have_one_form() -> None:
    parts = {"a": b"1", "b/2": b"", "c": b"3" * 70_000}
    data = seal_parts(parts, THERE.recipient)
    assert data.startswith(MAGIC)
    assert open_parts(data, THERE) == parts
    with pytest.raises(InvalidInput, match="short names"):
        seal_parts({"../a": b""}, THERE.recipient)


def pack(items: list[dict[str, object]], data: bytes) -> bytes:
    index = encode({"parts": items})
    return len(index).to_bytes(4, "big") + index + data


def test_what_is_inside_has_one_form() -> None:
    """From a maker who may seal anything."""
    one, two = (
        {"name": n, "sha256": hex32(sha256(d)), "size": len(d)}
        for n, d in (("a", b"1"), ("b", b"22"))
    )
    assert _split(pack([one, two], b"122")) == {"a": b"1", "b": b"22"}
    for items, data, reason in (
        ([one, two], b"1223", "not the whole"),
        ([one, two], b"12", "not what the index says"),
        ([one, two], b"132", "not what the index says"),
        ([one], b"122", "not the whole"),
        ([two, one], b"221", "by name, each once"),
        ([one, one], b"11", "by name, each once"),
        ([{**one, "name": "../a"}], b"1", "short name"),
        ([{**one, "size": -1}], b"1", "size"),
        ([{**one, "size": 1 << 40}], b"1", "size"),
        ([{**one, "more": 1}], b"1", "more"),
    ):
        with pytest.raises((VerificationError, InvalidInput), match=reason):
            _split(pack(items, data))
    with pytest.raises(InvalidInput, match="cut short"):
        _split(b"\xff\xff\xff\xff{}")
