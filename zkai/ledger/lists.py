"""Lists of entries that the map counts, so that an answer with all of them can be told from less.

    list/<kind>/<name>   {"count", "index"}: how many entries are in a list, and the last one

What an entry is in follows from the entry alone:

    fork/<F>, user/<U>, model/<M>   receipts that name it
    forks/all, forks/<M>            the geneses of all forks, and of those of a model
    node/<receipt>, nodes/all       nodes bound to a receipt, and all of them
    object/<O>, objects/<F>         an object's consents and accesses; the objects of a fork
    key/<K>, follows/<K>            what is said of a key; the keys that follow it
    block/<N>                       training block N
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.encoding import load_json
from zkai.ledger.records import ACCESS, BLOCK, CONSENT, KEY_STATUS, NODE, Record
from zkai.ledger.store import Store
from zkai.receipt.jcs import encode
from zkai.receipt.statement import Receipt

ALL = "all"
List = tuple[str, str]
"""A list's kind and name."""


def list_name(kind: str, name: str) -> str:
    """Return a list's name in the map."""
    return f"list/{kind}/{name}"


def lists_of(record: Receipt | Record) -> list[List]:
    """Return the lists that an entry is in."""
    said = record.predicate
    if isinstance(record, Receipt):
        found = [(kind, said[kind]) for kind in ("fork", "user", "model") if said[kind] is not None]
        if said["kind"] == "genesis":
            found.append(("forks", ALL))
            if said["model"] is not None:
                found.append(("forks", said["model"]))
        return found
    if record.type == NODE:
        return [("node", said["receipt"]), ("nodes", ALL)]
    if record.type in (CONSENT, ACCESS):
        published = said.get("action") == "publish" and said["fork"] is not None
        return [("object", said["object"]), *([("objects", said["fork"])] if published else [])]
    if record.type == KEY_STATUS:
        follows = said["follows"] if said["status"] == "active" else None
        return [("key", said["keyid"]), *([] if follows is None else [("follows", follows)])]
    return [("block", str(said["number"]))] if record.type == BLOCK else []


def counts(store: Store, lists: Sequence[List], index: int) -> dict[str, bytes]:
    """Return what the map says of lists once entry `index` joins them."""
    found = {}
    for kind, name in lists:
        said = store.map_value(list_name(kind, name), index)
        count = 0 if said is None else load_json(said, "list")["count"]
        found[list_name(kind, name)] = encode({"count": count + 1, "index": index})
    return found
