"""Who may open which sealed object: the owner's consent records, and the trail of accesses.

Names in the map, and what they say (canonical JSON):

    object/<object>          {"cid", "fork", "index", "owner"}: cid is null once it is erased
    grant/<object>/<keyid>   {"index", "status"}: granted or revoked

Only a key that signed a fork's chain, or one that followed it, publishes under the fork, and only
the key that published an object, or one that followed it, speaks for the object. The operator
records accesses, those that it refused too. A revocation names the CID of the object sealed anew,
so that the revoked key opens nothing that is current. Copies made before cannot be recalled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zkai.encoding import load_json
from zkai.errors import VerificationError
from zkai.ledger.records import CHAIN_KINDS, Record, parse_entry
from zkai.ledger.store import Store
from zkai.receipt.jcs import encode
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore, verify_signers


def object_state(store: Store, name: str, size: int) -> dict[str, Any] | None:
    """Return what the map says of an object within the first `size` entries, None if nothing."""
    value = store.map_value(f"object/{name}", size)
    return None if value is None else dict(load_json(value, "object"))


def is_granted(store: Store, name: str, keyid: str, size: int) -> bool:
    """Return whether an object is there and granted to a key within the first `size` entries."""
    value = store.map_value(f"grant/{name}/{keyid}", size)
    found = object_state(store, name, size)
    if value is None or found is None or found["cid"] is None:
        return False
    return bool(load_json(value, "grant")["status"] == "granted")


def admit_consent(
    store: Store, trust: TrustStore, record: Record, index: int, at: int
) -> dict[str, bytes]:
    """Return what an owner's record changes in the map.

    Raises VerificationError if it may not enter.
    """
    said = record.predicate
    found = object_state(store, said["object"], index)
    _check_owner(store, trust, record, found, index, at)
    action, recipient = said["action"], said["recipient"]
    if (said["cid"] is None, recipient is None) != ((action == "erase"),) * 2:
        raise VerificationError(f"ledger: a consent to {action} names no such cid and recipient")
    names: dict[str, bytes] = {}
    if found is None:
        owner = said["signers"][0]["keyid"]
        _check_fork(store, said["fork"], owner, index)
    else:
        owner = found["owner"]
        _check_follows(store, said, found, index)
    state = {"cid": said["cid"], "fork": said["fork"], "index": index, "owner": owner}
    names[f"object/{said['object']}"] = encode(state)
    if recipient is not None:
        status = "revoked" if action == "revoke" else "granted"
        names[f"grant/{said['object']}/{recipient}"] = encode({"index": index, "status": status})
    return names


def _check_owner(
    store: Store,
    trust: TrustStore,
    record: Record,
    found: Mapping[str, Any] | None,
    index: int,
    at: int,
) -> None:
    """Return None if an object's owner, alone, signed. Raises VerificationError otherwise."""
    signers = record.predicate["signers"]
    keyid = signers[0]["keyid"]
    key = trust.by_keyid.get(keyid)
    if len(signers) != 1 or key is None:
        raise VerificationError("ledger: a consent is signed by one key that the ledger knows")
    if key.revoked is not None:
        raise VerificationError(f"ledger: the revocation of {key.name} is in the log")
    own = keys_before(lambda name: _records(store, "key", name, index), keyid)
    if found is not None and found["owner"] not in own:
        raise VerificationError("ledger: a consent is signed by the object's owner")
    if (found is None) != (record.predicate["action"] == "publish"):
        raise VerificationError("ledger: an object is published once, before anything else")
    one = TrustStore((key,), (frozenset({keyid}),))
    verify_signers(one, record.envelope, signers, signed=record.signed_at, at=at)


def _check_fork(store: Store, fork: str | None, keyid: str, index: int) -> None:
    """Return None if a key, or one that it followed, signed a receipt of a fork's chain."""
    if fork is None:
        return
    own = keys_before(lambda name: _records(store, "key", name, index), keyid)
    for record in _records(store, "fork", fork, index):
        if own & chain_signers(record):
            return
    raise VerificationError(f"ledger: whoever publishes under fork {fork} signed its receipts")


def _records(store: Store, kind: str, name: str, size: int) -> Iterator[Receipt | Record]:
    for index in store.members(kind, name, size):
        yield parse_entry(store.entry(index) or b"")


def chain_signers(record: Receipt | Record) -> set[str]:
    """Return the key ids that signed a receipt which moves its fork, none for any other entry."""
    if not isinstance(record, Receipt) or record.predicate["kind"] not in CHAIN_KINDS:
        return set()
    return {signer["keyid"] for signer in record.predicate["signers"]}


def keys_before(listed: Callable[[str], Iterable[Receipt | Record]], keyid: str) -> set[str]:
    """Return a key's id and those of the keys that it followed; `listed` says what is of a key."""
    waiting, found = [keyid], set[str]()
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        for record in listed(name):
            said = record.predicate
            if said["status"] == "active" and said["follows"] is not None:
                waiting.append(said["follows"])
    return found


def _check_follows(
    store: Store, said: Mapping[str, Any], found: Mapping[str, Any], index: int
) -> None:
    if found["cid"] is None:
        raise VerificationError("ledger: the object was erased")
    if said["fork"] != found["fork"]:
        raise VerificationError("ledger: the object is of another fork")
    if said["action"] == "erase":
        return
    granted = is_granted(store, said["object"], said["recipient"], index)
    if said["action"] == "grant":
        if granted:
            raise VerificationError("ledger: the object is granted to this key already")
        if said["cid"] != found["cid"]:
            raise VerificationError("ledger: a grant is for the object's current cid")
    else:
        if not granted:
            raise VerificationError("ledger: the object is not granted to this key")
        if said["cid"] == found["cid"]:
            raise VerificationError("ledger: a revocation names the object sealed under a new key")


def check_access(store: Store, record: Record, index: int) -> None:
    """Return None for an access that may enter; it changes nothing but the object's trail.

    Raises VerificationError if it says "served" where nothing is granted, "refused" where
    it is, or another cid than the current one.
    """
    said = record.predicate
    found = object_state(store, said["object"], index)
    if found is None or found["cid"] is None:
        raise VerificationError("ledger: an access to an object that is not there")
    if said["cid"] != found["cid"]:
        raise VerificationError("ledger: an access is to the object's current cid")
    granted = is_granted(store, said["object"], said["recipient"], index)
    if granted != (said["outcome"] == "served"):
        raise VerificationError("ledger: what is granted is served, and nothing else")
