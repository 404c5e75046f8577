"""A custodian's vault: sealed objects, the wraps of their keys, and the ledger that says who may.

The owner seals, grants, revokes and erases, with two keys: one that signs consents, one that opens
objects. The custodian keeps ciphertext and logs each access before it hands anything out; it holds
no key that opens an object. A card is what it keeps about an object:

    {"format": "zkai.object-card/1", "object", "cid", "profile", "kind", "fork",
     "wraps": [{"jwk", "wrap"}]}

The card is believed in nothing: the ledger says which cid is current and to whom it is granted, and
a wrap opens only with its recipient's key and for its own object and cid.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.consent import is_granted, object_state
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import ACCESS, CONSENT, sign_record
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import decode, encode, from_base64, to_base64
from zkai.receipt.signer import PrivateKey
from zkai.vault.keys import KEY_BYTES, WRAP_BYTES, Recipient, VaultKey
from zkai.vault.sealed import MAX_DATA, seal_bytes, sealed_length, unseal
from zkai.vault.store import PROFILE, ObjectStore, parse_cid

CARD = "zkai.object-card/1"
MAX_CARD = 8 << 20
MAX_WRAPS = 1024
KINDS = ("model_state", "interactions", "dataset", "other")
_FIELDS = ("format", "object", "cid", "profile", "kind", "fork", "wraps")


@dataclass(frozen=True)
class Card:
    """What a custodian keeps about an object: who may be able to open which sealed bytes."""

    object: bytes
    cid: str
    kind: str
    fork: str | None
    wraps: tuple[tuple[Recipient, bytes], ...]

    def to_bytes(self) -> bytes:
        """Return the card's one byte form."""
        wraps = [{"jwk": r.jwk, "wrap": to_base64(w)} for r, w in self.wraps]
        return encode(
            {
                "format": CARD, "object": hex32(self.object), "cid": self.cid, "profile": PROFILE,
                "kind": self.kind, "fork": self.fork, "wraps": wraps,
            }
        )  # fmt: skip

    @staticmethod
    def from_bytes(data: bytes, where: str = "card") -> Card:
        """Parse `to_bytes`'s form. Raises InvalidInput naming the field."""
        value = decode(data, where)
        expect_fields(value, _FIELDS, where)
        if value["format"] != CARD or value["profile"] != PROFILE or value["kind"] not in KINDS:
            raise InvalidInput(f"{where}: expected {CARD}, profile {PROFILE} and a known kind")
        parse_cid(value["cid"], f"{where}.cid")
        fork, listed = value["fork"], value["wraps"]
        if fork is not None and (not isinstance(fork, str) or len(fork) > 78):
            raise InvalidInput(f"{where}.fork: expected null or a decimal number")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_WRAPS:
            raise InvalidInput(f"{where}.wraps: expected 1 to {MAX_WRAPS}")
        wraps = tuple(_wrap(item, f"{where}.wraps[{i}]") for i, item in enumerate(listed))
        if len({r.keyid for r, _ in wraps}) != len(wraps):
            raise InvalidInput(f"{where}.wraps: a recipient is there twice")
        name = parse_hex32(value["object"], f"{where}.object")
        return Card(name, value["cid"], value["kind"], fork, wraps)

    def key(self, opener: VaultKey) -> bytes:
        """Return the object's key. Raises VerificationError if it is not wrapped to `opener`."""
        for recipient, wrap in self.wraps:
            if recipient == opener.recipient:
                return opener.unwrap(wrap, wrap_context(self.object, self.cid))
        raise VerificationError("vault: the object's key is not wrapped to this key")

    def read(self, opener: VaultKey, store: ObjectStore, most: int = 1 << 30) -> bytes:
        """Return the object's data, of at most `most` bytes.

        Raises VerificationError for another's object, or one that is not what its cid says.
        """
        key, sink = self.key(opener), io.BytesIO()
        with store.open(self.cid, sealed_length(min(most, MAX_DATA))) as source:
            unseal(key, self.object, source, sink, most)
        return sink.getvalue()


def _wrap(value: Any, where: str) -> tuple[Recipient, bytes]:
    expect_fields(value, ("jwk", "wrap"), where)
    wrap = from_base64(value["wrap"], f"{where}.wrap", WRAP_BYTES)
    return Recipient.from_jwk(value["jwk"], f"{where}.jwk"), wrap


def wrap_context(name: bytes, cid: str) -> bytes:
    """Return what a wrap is bound to: the object, and the very bytes that its key opens."""
    return name + parse_cid(cid)


def _read(path: Path) -> Card:
    return Card.from_bytes(read_capped(path, MAX_CARD), str(path))


@dataclass(frozen=True)
class Owner:
    """A user's two keys: one signs consents, one opens objects."""

    signer: PrivateKey
    opener: VaultKey


class Vault:
    """A custodian's folder of cards over an object store and a ledger."""

    def __init__(self, cards: Path, store: ObjectStore, ledger: Ledger) -> None:
        """Name the parts; the folder of cards must exist."""
        self.cards, self.store, self.ledger = cards, store, ledger

    def card(self, name: bytes) -> Card:
        """Return an object's card.

        Raises InvalidInput without one, VerificationError if the ledger has another current cid.
        """
        cid, following = self._state(name)["cid"], self._path(name).with_suffix(".next")
        if following.exists() and (found := _read(following)).cid == cid:
            # A crash came after this was written: whether before the ledger's entry, it says.
            self._settle(replace(found, wraps=self._granted(found)))
        card = _read(self._path(name))
        if card.object != name or card.cid != cid:
            raise VerificationError("vault: the ledger names another cid for this object")
        return card

    def _granted(self, card: Card) -> tuple[tuple[Recipient, bytes], ...]:
        """Return the wraps of those to whom the ledger grants the object."""
        store, size = self.ledger.store, self.ledger.log.size
        return tuple(
            pair
            for pair in card.wraps
            if is_granted(store, hex32(card.object), pair[0].keyid, size)
        )

    def _settle(self, card: Card) -> None:
        """Let a logged card be the object's, after the bytes that it replaces are deleted."""
        where = self._path(card.object)
        if where.exists() and (old := _read(where)).cid != card.cid:
            self.store.delete(old.cid)
        write_atomic(where, card.to_bytes())
        where.with_suffix(".next").unlink()

    def _path(self, name: bytes) -> Path:
        return self.cards / f"{name.hex()}.json"

    def _state(self, name: bytes) -> dict[str, Any]:
        found = object_state(self.ledger.store, hex32(name), self.ledger.log.size)
        if found is None or found["cid"] is None:
            raise VerificationError("vault: the ledger has no such object, or it was erased")
        return found

    def publish(
        self, data: bytes, owner: Owner, *, kind: str, fork: int | None = None, at: int
    ) -> Card:
        """Seal data under a key of its own, keep it, log the consent, and return its card.

        Raises InvalidInput for an unknown kind, VerificationError if the ledger refuses the owner.
        """
        if kind not in KINDS:
            raise InvalidInput(f"vault: expected a kind of {', '.join(KINDS)}")
        name = os.urandom(32)
        card = self._seal(name, data, [owner.opener.recipient], kind, fork)
        return self._commit(card, owner, "publish", owner.opener.recipient.keyid, "", at)

    def _seal(
        self, name: bytes, data: bytes, to: Sequence[Recipient], kind: str, fork: int | str | None
    ) -> Card:
        key = os.urandom(KEY_BYTES)
        cid = self.store.put(io.BytesIO(seal_bytes(key, name, data)))
        wraps = tuple((r, r.wrap(key, wrap_context(name, cid))) for r in to)
        return Card(name, cid, kind, None if fork is None else str(fork), wraps)

    def _commit(
        self, card: Card, owner: Owner, action: str, keyid: str, purpose: str, at: int
    ) -> Card:
        """Log a consent, then keep the card: if the ledger refuses, the old card stays."""
        body = {
            "action": action, "object": hex32(card.object), "fork": card.fork, "cid": card.cid,
            "profile": PROFILE, "recipient": keyid, "purpose": purpose,
        }  # fmt: skip
        record = sign_record(CONSENT, body, [owner.signer], at)
        following = self._path(card.object).with_suffix(".next")
        write_atomic(following, card.to_bytes())
        try:
            self.ledger.append(Submission(record.envelope.to_bytes()), at)
        except (VerificationError, InvalidInput):
            following.unlink()
            raise
        self._settle(card)
        return card

    def grant(self, name: bytes, owner: Owner, to: Recipient, *, purpose: str, at: int) -> Card:
        """Wrap an object's key to somebody, log the consent, and return the new card.

        Raises VerificationError if the owner cannot open it or the ledger refuses.
        """
        card = self.card(name)
        wrap = to.wrap(card.key(owner.opener), wrap_context(name, card.cid))
        kept = tuple(pair for pair in card.wraps if pair[0] != to)
        return self._commit(
            replace(card, wraps=(*kept, (to, wrap))), owner, "grant", to.keyid, purpose, at
        )

    def revoke(self, name: bytes, owner: Owner, keyid: str, *, purpose: str, at: int) -> Card:
        """Seal an object anew for everyone else to whom the ledger grants it; return the new card.

        The old bytes are deleted here. What the revoked key read or copied before stays read.

        Raises VerificationError if the owner cannot open it or the ledger refuses, InvalidInput if
        it is granted to nobody else.
        """
        card = self.card(name)
        granted = [r for r, _ in self._granted(card) if r.keyid != keyid]
        if not granted:
            raise InvalidInput("vault: nobody could open it any more; erase it instead")
        data = card.read(owner.opener, self.store, MAX_DATA)
        new = self._seal(name, data, granted, card.kind, card.fork)
        try:
            self._commit(new, owner, "revoke", keyid, purpose, at)
        except VerificationError:
            self.store.delete(new.cid)
            raise
        return new

    def erase(self, name: bytes, owner: Owner, *, purpose: str, at: int) -> None:
        """Log that an object is erased, and delete its bytes and every wrap of its key.

        An object that the ledger erased before a crash is deleted now.

        Raises VerificationError if the ledger refuses.
        """
        found = object_state(self.ledger.store, hex32(name), self.ledger.log.size)
        if found is not None and found["cid"] is None and self._path(name).exists():
            self._remove(name, _read(self._path(name)).cid)
            return
        cid = self._state(name)["cid"]
        body = {
            "action": "erase", "object": hex32(name), "fork": self.card(name).fork, "cid": None,
            "profile": PROFILE, "recipient": None, "purpose": purpose,
        }  # fmt: skip
        record = sign_record(CONSENT, body, [owner.signer], at)
        self.ledger.append(Submission(record.envelope.to_bytes()), at)
        self._remove(name, cid)

    def _remove(self, name: bytes, cid: str) -> None:
        self.store.delete(cid)
        self._path(name).with_suffix(".next").unlink(missing_ok=True)
        self._path(name).unlink(missing_ok=True)

    def access(
        self, name: bytes, to: Recipient, operator: PrivateKey, *, purpose: str, at: int
    ) -> Card:
        """Log that somebody is handed an object, and return its card with only their wrap.

        Raises VerificationError, after logging the refusal, if the ledger does not grant it.
        """
        card = self.card(name)
        granted = is_granted(self.ledger.store, hex32(name), to.keyid, self.ledger.log.size)
        body = {
            "object": hex32(name), "cid": card.cid, "profile": PROFILE, "recipient": to.keyid,
            "outcome": "served" if granted else "refused", "purpose": purpose,
        }  # fmt: skip
        record = sign_record(ACCESS, body, [operator], at)
        self.ledger.append(Submission(record.envelope.to_bytes()), at)
        if not granted:
            raise VerificationError("vault: the object is not granted to this key")
        return replace(card, wraps=tuple(pair for pair in card.wraps if pair[0] == to))
