"""What became of private objects: their consents and accesses, followed from entry to entry."""

from __future__ import annotations

from typing import Any

from zkai.errors import VerificationError
from zkai.ledger.answer import Entries, Source
from zkai.ledger.consent import chain_signers, keys_before
from zkai.ledger.records import CONSENT, Record


def object_trails(source: Source, fork: str, receipts: Entries) -> dict[str, Entries]:
    """Return every object that was ever published under a fork with its whole trail.

    Raises VerificationError if a trail breaks the rules by which it entered (see
    `zkai.ledger.consent`), or does not end where the map says.
    """
    signers = set[str]().union(*(chain_signers(record) for _, record in receipts))
    found = {}
    for _, published in source.listed("objects", fork):
        name = published.predicate["object"]
        found[name] = source.listed("object", name)
        _check_trail(source, name, fork, signers, found[name])
    return found


def _before(source: Source, keyid: str) -> set[str]:
    return keys_before(lambda name: (r for _, r in source.listed("key", name)), keyid)


def _check_trail(source: Source, name: str, fork: str, signers: set[str], trail: Entries) -> None:
    state: dict[str, Any] | None = None
    granted: set[str] = set()
    for index, record in trail:
        assert isinstance(record, Record)
        said = record.predicate
        if record.type != CONSENT:
            there = state is not None and said["cid"] == state["cid"]
            if not there or (said["outcome"] == "served") != (said["recipient"] in granted):
                raise VerificationError(f"object {name}: entry {index} is no access that may be")
            continue
        state = _consent(source, name, fork, signers, state, index, said)
        if said["action"] == "revoke":
            granted.discard(said["recipient"])
        elif said["recipient"] is not None:
            granted.add(said["recipient"])
    if state != source.value(f"object/{name}"):
        raise VerificationError(f"object {name}: its trail does not end where the map says")


def _consent(
    source: Source,
    name: str,
    fork: str,
    signers: set[str],
    state: dict[str, Any] | None,
    index: int,
    said: Any,
) -> dict[str, Any]:
    """Return an object's state after a consent. Raises VerificationError if it may not follow."""
    keyid = said["signers"][0]["keyid"]
    mine = signers if state is None else {state["owner"]}
    if len(said["signers"]) != 1 or not mine & _before(source, keyid):
        raise VerificationError(f"object {name}: entry {index} is not signed by its owner")
    begins = said["action"] == "publish"
    if begins != (state is None) or said["fork"] != fork or (state and state["cid"] is None):
        raise VerificationError(f"object {name}: entry {index} does not follow the one before")
    owner = keyid if state is None else state["owner"]
    return {"cid": said["cid"], "fork": fork, "index": index, "owner": owner}
