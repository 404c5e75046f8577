"""Identities: DIDs whose documents the log gives, as of a number of entries.

    did:key:z<base58btc of a multicodec key>   the key itself; nothing can rotate or revoke it
    did:lux:key:z<the same>                    a key, and in its place those that followed it in the
                                               log; empty once it or its successor is revoked
    did:lux:<chain id>:<address>               the key to which an account's record bound it, and
                                               those that followed; see `zkai.ledger.account`

A did:web that repeats such a document is an alias and never authoritative: `zkai.ledger.alias`.

Multicodec: ml-dsa-65-pub is 0x1211, ed25519-pub 0xed, as unsigned varints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from zkai.encoding import load_json
from zkai.errors import InvalidInput
from zkai.ledger.ledger import Ledger
from zkai.ledger.records import KEY_STATUS, Record, parse_entry
from zkai.receipt.signer import ED25519, ML_DSA_65, PublicKey

_CODECS = {ML_DSA_65: b"\x91\x24", ED25519: b"\xed\x01"}
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_DID = 4096
_ACCOUNT = re.compile(r"did:lux:((?:0|[1-9][0-9]{0,15}):0x[0-9a-f]{40})")
_CONTEXT = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/jwk/v1"]


def to_multibase(key: PublicKey) -> str:
    """Return a key as z and the base58btc of its multicodec form."""
    return "z" + _base58(_CODECS[key.alg] + key.data)


def from_multibase(text: str) -> PublicKey:
    """Return the key of `to_multibase`'s form. Raises InvalidInput for anything else."""
    if not text.startswith("z") or len(text) > MAX_DID:
        raise InvalidInput("did: a key is z and base58btc")
    data = _from_base58(text[1:])
    for alg, codec in _CODECS.items():
        if data.startswith(codec):
            return PublicKey(alg, data[len(codec) :])
    raise InvalidInput(f"did: a key is of {ML_DSA_65} or {ED25519}")


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise InvalidInput("did: a character is not of base58btc")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    data = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if _base58(data) != text:
        raise InvalidInput("did: base58btc is not canonical")
    return data


def did_key(key: PublicKey) -> str:
    """Return the did:key of a key."""
    return f"did:key:{to_multibase(key)}"


def did_lux(key: PublicKey) -> str:
    """Return the did:lux under which the log's rotations and revocations of a key count."""
    return f"did:lux:key:{to_multibase(key)}"


@dataclass(frozen=True)
class Resolution:
    """What a DID stood for: the keys that may sign, and as of how many entries of which log."""

    did: str
    keys: tuple[PublicKey, ...]
    origin: str | None
    entries: int | None

    def document(self) -> dict[str, Any]:
        """Return the DID document (W3C DID Core): without a method once everything is revoked."""
        methods = [
            {
                "id": f"{self.did}#{key.keyid}",
                "type": "JsonWebKey",
                "controller": self.did,
                "publicKeyJwk": key.jwk,
            }
            for key in self.keys
        ]
        names = [method["id"] for method in methods]
        return {
            "@context": _CONTEXT,
            "id": self.did,
            "verificationMethod": methods,
            "authentication": names,
            "assertionMethod": names,
        }


def resolve(did: str, ledger: Ledger | None = None, entries: int | None = None) -> Resolution:
    """Return what a DID stands for; a did:lux as of the ledger's first `entries`, all by default.

    Raises InvalidInput for other methods, malformed names, a did:lux without a ledger, a key that
    the ledger does not know, and more entries than it has.
    """
    if len(did) > MAX_DID:
        raise InvalidInput("did: too long")
    if did.startswith("did:key:"):
        return Resolution(did, (from_multibase(did.removeprefix("did:key:")),), None, None)
    if did.startswith("did:web:"):
        raise InvalidInput("did: did:web is an alias; resolve the did:lux or did:key that it names")
    account = _ACCOUNT.fullmatch(did)
    if account is None and not did.startswith("did:lux:key:"):
        raise InvalidInput("did: expected did:key:z..., did:lux:key:z... or did:lux:CHAIN:0x...")
    if ledger is None:
        raise InvalidInput("did: a did:lux is resolved in a ledger")
    size = ledger.log.size if entries is None else entries
    if not 0 < size <= ledger.log.size:
        raise InvalidInput(f"did: the ledger has {ledger.log.size} entries, not {size}")
    if account is None:
        key = from_multibase(did.removeprefix("did:lux:key:"))
    else:
        key = _bound(ledger, account[1], size)
    current = _current(ledger, key, size)
    keys = () if current is None else (current,)
    return Resolution(did, keys, ledger.policy.origin, size)


def _bound(ledger: Ledger, account: str, size: int) -> PublicKey:
    """Return the key to which an account's record within the first entries bound it."""
    value = ledger.store.map_value(f"account/{account}", size)
    if value is None:
        raise InvalidInput(f"did: the ledger binds the account {account} to no key")
    record = parse_entry(ledger.store.entry(load_json(value, "account")["index"]) or b"")
    assert isinstance(record, Record)
    return PublicKey.from_jwk(record.predicate["jwk"], "account.jwk")


def _current(ledger: Ledger, key: PublicKey, size: int) -> PublicKey | None:
    """Return the last key that followed `key` within the first entries, None if it is revoked."""
    seen: set[str] = set()
    while key.keyid not in seen:
        seen.add(key.keyid)
        value = ledger.store.map_value(f"key/{key.keyid}", size)
        if value is None:
            raise InvalidInput(f"did: the ledger does not know the key {key.keyid}")
        if load_json(value, "key")["status"] == "revoked":
            return None
        following = _successor(ledger, key, size)
        if following is None:
            return key
        key = following
    raise InvalidInput("did: keys follow each other in a circle")


def _successor(ledger: Ledger, key: PublicKey, size: int) -> PublicKey | None:
    found = None
    for index in ledger.store.members("follows", key.keyid, size):
        record = parse_entry(ledger.store.entry(index) or b"")
        assert isinstance(record, Record)
        assert record.type == KEY_STATUS
        found = PublicKey.from_jwk(record.predicate["jwk"], "key status.jwk")
    return found
