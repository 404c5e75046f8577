"""Receipts of kind `aggregation`: who summed what, signed and loggable like every other receipt.

The statement about the sum is the first subject; its fields are extensions, `aggregate.NAME`.
There is no proof in it: what it says is shown by recomputation (`zkai.federated.opening`), and the
grade stays "signed only".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zkai.encoding import sha256
from zkai.errors import VerificationError
from zkai.federated.opening import Opened
from zkai.receipt.jcs import decode
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import Facts, Receipt, issue

KIND, SUBJECT, RESULT = "aggregation", "aggregate", "sum"
_FIELDS = ("session", "round", "scheme", "clients", "clients_root", "set", "checked", "bound")


def aggregate_receipt(
    opened: Opened,
    keys: Sequence[PrivateKey],
    *,
    metering: Mapping[str, int] | None = None,
    signed: int | None = None,
) -> Receipt:
    """Return a receipt of an opened sum, signed by each of `keys`. Raises InvalidInput."""
    statement = opened.statement
    facts = Facts(
        metering={**(metering or {}), "clients": statement["clients"]},
        privacy=privacy_part(statement["privacy"]),
        extensions={f"aggregate.{name}": statement[name] for name in _FIELDS},
    )
    artifacts = {SUBJECT: sha256(opened.to_bytes()), RESULT: bytes.fromhex(statement["result"][2:])}
    return issue(None, keys, kind=KIND, facts=facts, artifacts=artifacts, signed=signed)


def privacy_part(privacy: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return what a receipt says of a session's privacy: its mechanism and what was spent."""
    if privacy is None:
        return None
    names = ("mechanism", "epsilon", "delta", "spent_epsilon")
    return {name: str(privacy[name]) for name in names if name in privacy}


def check_aggregate_receipt(receipt: Receipt, statement: bytes) -> None:
    """Return None if a receipt is of this statement; its signatures are another check.

    Raises VerificationError naming the difference.
    """
    subjects = {s["name"]: s["digest"]["sha256"] for s in receipt.statement["subject"]}
    if receipt.predicate["kind"] != KIND or receipt.predicate["proof"] is not None:
        raise VerificationError("the receipt is not of an aggregation")
    if subjects.get(SUBJECT) != sha256(statement).hex():
        raise VerificationError("the receipt names a different aggregate")
    said = decode(statement, "aggregate")
    if not isinstance(said, dict) or not {*_FIELDS, "result", "privacy"} <= set(said):
        raise VerificationError("the receipt's aggregate is no statement about a sum")
    if said["privacy"] is not None and not isinstance(said["privacy"], dict):
        raise VerificationError("the receipt's aggregate is no statement about a sum")
    if subjects.get(RESULT) != str(said["result"])[2:]:
        raise VerificationError("the receipt names a different sum")
    extensions = receipt.predicate["extensions"]
    for name in _FIELDS:
        if extensions.get(f"aggregate.{name}") != said[name]:
            raise VerificationError(f"the receipt's {name} is not the aggregate's")
    if receipt.predicate["privacy"] != privacy_part(said["privacy"]):
        raise VerificationError("the receipt's privacy is not the aggregate's")
