"""A whole fork as one portable encrypted file: history, proofs, objects, and what shows them whole.

    fork               the fork's number
    checkpoint         a checkpoint of the log, with its cosignatures
    head, objects      what the map says of fork/<fork> and list/objects/<fork>, with proofs
    entry/<i>, inclusion/<i>   the fork's receipts
    proof/<sha256>     the proof that a receipt names
    state/<object>     what the map says of an object, with its proof
    card/<object>, sealed/<object>   a live object, its key wrapped to the bundle's recipient

The map's counts show that no receipt of the chain and no object is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from zkai.encoding import hex32, load_json, parse_decimal, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.admission import CHAIN_KINDS
from zkai.ledger.checkpoint import Checkpoint, InclusionProof, LogPolicy
from zkai.ledger.export import proof_digest
from zkai.ledger.note import Note
from zkai.ledger.records import Record, parse_entry
from zkai.ledger.statusmap import MapProof
from zkai.proof.jsonform import expect_fields
from zkai.proof.keys import KeyDocument, Proof
from zkai.receipt.jcs import decode, encode, from_base64, to_base64
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import verify_proof_of, verify_receipt
from zkai.vault.keys import Recipient, VaultKey
from zkai.vault.parts import open_parts, seal_parts
from zkai.vault.sealed import unseal_bytes
from zkai.vault.store import ObjectStore, make_cid
from zkai.vault.vault import Card, Owner, Vault, wrap_context

_MAX_VALUE = 4096


@dataclass(frozen=True)
class Fork:
    """A verified bundle, as of a checkpoint: the fork's receipts in order, and its objects."""

    fork: int
    checkpoint: Checkpoint
    receipts: tuple[Receipt, ...]
    cards: tuple[Card, ...]
    parts: Mapping[str, bytes]


def export_fork(vault: Vault, fork: int, owner: Owner, to: Recipient) -> bytes:
    """Return a fork's bundle for a recipient, as of the ledger's latest checkpoint.

    Raises InvalidInput without a checkpoint, VerificationError if the owner cannot open an object,
    or an object changed since the checkpoint.
    """
    ledger, name = vault.ledger, str(fork)
    kept = ledger.store.checkpoint()
    if kept is None:
        raise InvalidInput("bundle: there is no checkpoint; make one first")
    parts = {"fork": name.encode(), "checkpoint": kept[2]}
    parts["head"] = _shown(vault, f"fork/{fork}")
    parts["objects"] = _shown(vault, f"list/objects/{fork}")
    for index in ledger.store.members("fork", name, kept[0]):
        entry = ledger.store.entry(index) or b""
        parts[f"entry/{index}"] = entry
        parts[f"inclusion/{index}"] = ledger.log.prove_entry(index).to_bytes()
        if (digest := proof_digest(parse_entry(entry))) is not None:
            parts[f"proof/{digest.hex()}"] = ledger.store.blob(digest) or b""
    for index in ledger.store.members("objects", name, kept[0]):
        record = parse_entry(ledger.store.entry(index) or b"")
        assert isinstance(record, Record)
        _add_object(parts, vault, record.predicate["object"], owner, to)
    return seal_parts(parts, to)


def _shown(vault: Vault, name: str) -> bytes:
    value, proof, _ = vault.ledger.log.prove_name(name)
    text = None if value is None else to_base64(value)
    return encode({"value": text, "proof": proof.to_json()})


def _add_object(
    parts: dict[str, bytes], vault: Vault, name: str, owner: Owner, to: Recipient
) -> None:
    digits = name.removeprefix("0x")
    parts[f"state/{digits}"] = shown = _shown(vault, f"object/{name}")
    state = load_json(from_base64(load_json(shown, name)["value"], name, _MAX_VALUE), name)
    if state["cid"] is None:
        return
    card = vault.card(bytes.fromhex(digits))
    if card.cid != state["cid"]:
        raise VerificationError("bundle: an object changed since the checkpoint; make another")
    wrap = to.wrap(card.key(owner.opener), wrap_context(card.object, card.cid))
    parts[f"card/{digits}"] = replace(card, wraps=((to, wrap),)).to_bytes()
    with vault.store.open(card.cid) as file:
        parts[f"sealed/{digits}"] = file.read()


def verify_bundle(
    data: bytes,
    opener: VaultKey,
    policy: LogPolicy,
    trust: TrustStore,
    keys: Mapping[bytes, KeyDocument],
    *,
    at: int,
) -> Fork:
    """Return a bundle's fork once all of it holds: `keys` are verifying keys by their digest.

    Raises VerificationError for anything that is missing, extra, altered or not the fork's, and
    InvalidInput for what is malformed.
    """
    parts = open_parts(data, opener)
    left = dict(parts)
    note = Note.from_bytes(_take(left, "checkpoint"), "bundle: checkpoint")
    checkpoint, seen = policy.verify(note)
    fork = parse_decimal(_take(left, "fork").decode("ascii", "replace"), "bundle: fork", 1 << 256)
    head = _proven(_take(left, "head"), checkpoint, f"fork/{fork}")
    receipts = _receipts(left, checkpoint, policy)
    proofs: dict[bytes, Proof | None] = {}
    for receipt in receipts:
        verify_receipt(receipt, trust, at=at, logged_at=seen)
        proofs[receipt.id] = _proof(left, receipt, keys)
    _check_chain(fork, head, receipts, proofs)
    counted = _proven(_take(left, "objects"), checkpoint, f"list/objects/{fork}")
    cards = _objects(left, checkpoint, fork, opener)
    names = [n for n in parts if n.startswith("state/")]
    if len(names) != (0 if counted is None else counted["count"]):
        raise VerificationError("bundle: an object of the fork is missing")
    if left:
        raise VerificationError(f"bundle: {min(left)} does not belong here")
    return Fork(fork, checkpoint, tuple(receipts), tuple(cards), parts)


def import_fork(fork: Fork, store: ObjectStore) -> tuple[Card, ...]:
    """Keep a verified fork's objects in a store, and return their cards."""
    for card in fork.cards:
        store.put(BytesIO(fork.parts[f"sealed/{card.object.hex()}"]))
    return fork.cards


def _take(left: dict[str, bytes], name: str) -> bytes:
    if name not in left:
        raise VerificationError(f"bundle: {name} is missing")
    return left.pop(name)


def _proven(data: bytes, checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    value = decode(data, f"bundle: {name}")
    expect_fields(value, ("value", "proof"), f"bundle: {name}")
    shown = value["value"]
    said = None if shown is None else from_base64(shown, f"bundle: {name}", _MAX_VALUE)
    MapProof.from_json(value["proof"], name).verify(checkpoint.map_root, name, said)
    return None if said is None else dict(load_json(said, name))


def _receipts(left: dict[str, bytes], checkpoint: Checkpoint, policy: LogPolicy) -> list[Receipt]:
    """Return the receipts in the log's order, each included under this checkpoint."""
    found: list[tuple[int, Receipt]] = []
    for name in [n for n in left if n.startswith("entry/")]:
        number = name.removeprefix("entry/")
        entry = _take(left, name)
        shown = InclusionProof.from_bytes(_take(left, f"inclusion/{number}"), name)
        if shown.verify(entry, policy)[0] != checkpoint or str(shown.index) != number:
            raise VerificationError(f"bundle: {name} is shown at another place or checkpoint")
        receipt = parse_entry(entry, name)
        if not isinstance(receipt, Receipt):
            raise VerificationError(f"bundle: {name} is no receipt")
        found.append((shown.index, receipt))
    return [receipt for _, receipt in sorted(found, key=lambda pair: pair[0])]


def _proof(
    left: dict[str, bytes], receipt: Receipt, keys: Mapping[bytes, KeyDocument]
) -> Proof | None:
    """Return the proof that a receipt names, verified; None if it names none."""
    digest = proof_digest(receipt)
    if digest is None:
        return None
    key = keys.get(bytes.fromhex(receipt.predicate["proof"]["vk_digest"][2:]))
    if key is None:
        raise VerificationError("bundle: a proof's verifying key is not one of those given")
    return verify_proof_of(receipt, _take(left, f"proof/{digest.hex()}"), key)


def _check_chain(
    fork: int,
    head: Mapping[str, Any] | None,
    receipts: list[Receipt],
    proofs: Mapping[bytes, Proof | None],
) -> None:
    """Return None if the receipts are the fork's, and its chain is whole up to its head."""
    if any(r.predicate["fork"] != str(fork) for r in receipts):
        raise VerificationError("bundle: a receipt is of another fork")
    chain = [r for r in receipts if r.predicate["kind"] in CHAIN_KINDS]
    if len(chain) != (0 if head is None else head["count"]):
        raise VerificationError("bundle: a receipt of the fork's chain is missing")
    if head is not None and hex32(chain[-1].id) != head["head"]:
        raise VerificationError("bundle: the chain does not end at the fork's head")
    parent, state = None, None
    for receipt in chain:
        proof = proofs[receipt.id]
        if proof is None or receipt.predicate["parent"] != parent:
            raise VerificationError("bundle: the chain has a gap, or a step without a proof")
        if state is not None and proof.public.get("old_state") != state:
            raise VerificationError("bundle: a step does not start at the state before it")
        parent, state = hex32(receipt.id), proof.public.get("new_state")


def _objects(
    left: dict[str, bytes], checkpoint: Checkpoint, fork: int, opener: VaultKey
) -> list[Card]:
    """Return the cards of the live objects, each of which opens to what its cid names."""
    cards = []
    for name in [n for n in left if n.startswith("state/")]:
        digits = name.removeprefix("state/")
        state = _proven(_take(left, name), checkpoint, f"object/0x{digits}")
        if state is None or state["fork"] != str(fork):
            raise VerificationError(f"bundle: {name} is of another fork")
        if state["cid"] is None:
            continue
        card = Card.from_bytes(_take(left, f"card/{digits}"), f"card/{digits}")
        sealed = _take(left, f"sealed/{digits}")
        if card.object.hex() != digits or card.cid != state["cid"] or card.fork != str(fork):
            raise VerificationError(f"bundle: card/{digits} is not what the log says")
        if make_cid(sha256(sealed)) != card.cid:
            raise VerificationError(f"bundle: sealed/{digits} is not what its cid names")
        if [r for r, _ in card.wraps] != [opener.recipient]:
            raise VerificationError(f"bundle: card/{digits} is wrapped to others")
        unseal_bytes(card.key(opener), card.object, sealed)
        cards.append(card)
    return cards
