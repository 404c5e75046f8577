"""A whole fork as one portable encrypted file: history, proofs, objects, and what shows them whole.

    answer             the answer to the ledger's query "objects" (`zkai.ledger.queries`): receipts,
                       every consent and access of every object, heads and counts, one checkpoint
    proof/<sha256>     the proof that a receipt names
    card/<object>, sealed/<object>   a live object, its key wrapped to the bundle's recipient

The answer shows that no receipt, no object and nothing that became of one is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from zkai.encoding import load_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import AnyKey
from zkai.ledger.answer import Answer
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.export import proof_digest
from zkai.ledger.queries import ask, verify_answer
from zkai.ledger.records import parse_entry
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import verify_proof_of
from zkai.vault.keys import Recipient, VaultKey
from zkai.vault.parts import open_parts, seal_parts
from zkai.vault.sealed import unseal_bytes
from zkai.vault.store import ObjectStore, make_cid
from zkai.vault.vault import Card, Vault, wrap_context


@dataclass(frozen=True)
class Fork:
    """A verified bundle, as of a checkpoint: receipts in order, objects, what became of them."""

    fork: int
    checkpoint: Checkpoint
    receipts: tuple[Receipt, ...]
    cards: tuple[Card, ...]
    trails: Mapping[str, Any]
    parts: Mapping[str, bytes]


def export_fork(vault: Vault, fork: int, opener: VaultKey, to: Recipient) -> bytes:
    """Return a fork's bundle for a recipient, as of the ledger's latest checkpoint.

    Raises InvalidInput without a checkpoint or such a fork, VerificationError if `opener` cannot
    open an object, or an object changed since the checkpoint.
    """
    answer = ask(vault.ledger, "objects", str(fork))
    if not answer.entries:
        raise InvalidInput(f"bundle: the ledger has no fork {fork} as of its latest checkpoint")
    parts = {"answer": json.dumps(answer.to_json()).encode("ascii")}
    for shown in answer.entries:
        if (digest := proof_digest(parse_entry(shown.entry))) is not None:
            parts[f"proof/{digest.hex()}"] = vault.ledger.store.blob(digest) or b""
    for name, one in answer.result["objects"].items():
        if one["state"]["cid"] is not None:
            _add_object(parts, vault, bytes.fromhex(name[2:]), one["state"]["cid"], opener, to)
    return seal_parts(parts, to)


def _add_object(
    parts: dict[str, bytes], vault: Vault, name: bytes, cid: str, opener: VaultKey, to: Recipient
) -> None:
    card = vault.card(name)
    if card.cid != cid:
        raise VerificationError("bundle: an object changed since the checkpoint; make another")
    wrap = to.wrap(card.key(opener), wrap_context(name, cid))
    parts[f"card/{name.hex()}"] = replace(card, wraps=((to, wrap),)).to_bytes()
    with vault.store.open(cid) as file:
        parts[f"sealed/{name.hex()}"] = file.read()


def verify_bundle(
    data: bytes,
    opener: VaultKey,
    policy: LogPolicy,
    trust: TrustStore,
    keys: Mapping[bytes, AnyKey],
    *,
    at: int,
) -> Fork:
    """Return a bundle's fork once all of it holds: `keys` are verifying keys by their digest.

    Raises VerificationError for anything that is missing, extra, altered or not the fork's, and
    InvalidInput for what is malformed.
    """
    parts = open_parts(data, opener)
    left = dict(parts)
    value = load_json(_take(left, "answer"), "bundle: answer")
    answer = Answer.from_json(value, "bundle: answer")
    found = verify_answer(answer, policy, trust, at=at)
    if found.kind != "objects":
        raise VerificationError("bundle: the answer is to another question")
    shown = sorted(answer.entries, key=lambda item: item.index)
    records = [parse_entry(item.entry) for item in shown]
    receipts = tuple(record for record in records if isinstance(record, Receipt))
    for receipt in receipts:
        _check_proof(left, receipt, keys)
    cards = tuple(
        _object(left, name, one["state"]["cid"], found.name, opener)
        for name, one in found.result["objects"].items()
        if one["state"]["cid"] is not None
    )
    if left:
        raise VerificationError(f"bundle: {min(left)} does not belong here")
    trails = {name: one["trail"] for name, one in found.result["objects"].items()}
    return Fork(int(found.name), found.checkpoint, receipts, cards, trails, parts)


def import_fork(fork: Fork, store: ObjectStore) -> tuple[Card, ...]:
    """Keep a verified fork's objects in a store, and return their cards."""
    for card in fork.cards:
        store.put(BytesIO(fork.parts[f"sealed/{card.object.hex()}"]))
    return fork.cards


def _take(left: dict[str, bytes], name: str) -> bytes:
    if name not in left:
        raise VerificationError(f"bundle: {name} is missing")
    return left.pop(name)


def _check_proof(left: dict[str, bytes], receipt: Receipt, keys: Mapping[bytes, AnyKey]) -> None:
    """Return None if the proof that a receipt names, if it names one, is there and verifies."""
    digest = proof_digest(receipt)
    if digest is None:
        return
    key = keys.get(bytes.fromhex(receipt.predicate["proof"]["vk_digest"][2:]))
    if key is None:
        raise VerificationError("bundle: a proof's verifying key is not one of those given")
    verify_proof_of(receipt, _take(left, f"proof/{digest.hex()}"), key)


def _object(left: dict[str, bytes], name: str, cid: str, fork: str, opener: VaultKey) -> Card:
    """Return the card of a live object, which opens to what its cid names."""
    digits = name.removeprefix("0x")
    card = Card.from_bytes(_take(left, f"card/{digits}"), f"card/{digits}")
    sealed = _take(left, f"sealed/{digits}")
    if card.object.hex() != digits or card.cid != cid or card.fork != fork:
        raise VerificationError(f"bundle: card/{digits} is not what the log says")
    if make_cid(sha256(sealed)) != card.cid:
        raise VerificationError(f"bundle: sealed/{digits} is not what its cid names")
    if [r for r, _ in card.wraps] != [opener.recipient]:
        raise VerificationError(f"bundle: card/{digits} is wrapped to others")
    unseal_bytes(card.key(opener), card.object, sealed)
    return card
