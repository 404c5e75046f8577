"""Queries over a ledger, and their answers with proofs.

    user, model, fork   every receipt that names it; the chains of their forks are whole
    object              an object's consents and accesses
    lineage             what a receipt, or a fork's head, came from, through forks and merges
    contributors        whose receipts those are, and who signed them
    objects             a fork's private objects: what became of each, and its receipts
    tree                all forks and merges, or with a model's number that model's forks

The same code derives a result from a ledger and, when the answer is checked, from the answer's
evidence alone. That nothing is left out follows from the map, which counts every list and names
every fork's head; that nothing is slipped in, from each entry being of the list or lineage asked
for. All of it holds as of the answer's checkpoint.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zkai.encoding import hex32, parse_decimal, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.labels import begins_fork, state_id
from zkai.ledger.answer import Answer, Entries, LedgerSource, Source, open_evidence
from zkai.ledger.checkpoint import Checkpoint, LogPolicy, check_audited, check_fresh
from zkai.ledger.ledger import Ledger
from zkai.ledger.lists import ALL
from zkai.ledger.records import ACCESS, BLOCK, CHAIN_KINDS, KEY_STATUS, LEDGER, NODE, Record
from zkai.ledger.trails import object_trails
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore, trust, verify_signers
from zkai.receipt.verify import verify_receipt

HISTORIES = ("user", "model", "fork", "object")
KINDS = (*HISTORIES, "objects", "lineage", "contributors", "tree")
MAX_LINEAGE = 1 << 16


def ask(ledger: Ledger, kind: str, name: str, size: int | None = None) -> Answer:
    """Return the answer to a query as of the latest checkpoint, or that of a size.

    `name` is a decimal number for a user, model or fork; an object's 0x name; for lineage and
    contributors a receipt's 0x id or fork/NUMBER; for a tree "all" or a model's number.

    Raises InvalidInput for other names, without a checkpoint, and for answers that are too large.
    """
    source = LedgerSource(ledger, size)
    result = derive(source, kind, name)
    return source.answer(kind, name, result)


@dataclass(frozen=True)
class Verified:
    """A result that holds as of a checkpoint, seen by the policy's quorum at `seen`."""

    kind: str
    name: str
    result: Any
    checkpoint: Checkpoint
    seen: int | None


def verify_answer(
    answer: Answer,
    policy: LogPolicy,
    trusted: TrustStore | None = None,
    *,
    at: int | None = None,
    least: int = 0,
    max_age: int | None = None,
    auditors: Sequence[str] = (),
) -> Verified:
    """Return what an answer shows, believing `policy` and `trusted` alone.

    With `trusted`, every receipt's and owner's signatures are checked, as of when each was logged;
    without, that the log admitted them is the operator's word. `least` and `max_age` refuse stale
    answers: of fewer entries, or not seen by the quorum within so many seconds before `at`.

    `auditors` names those of the policy's witnesses that check the map (`zkai.ledger.audit`) and
    must all have cosigned; without, that the map is right is the operator's word.

    Raises VerificationError with the first thing that is missing, extra, altered or stale.
    """
    check_audited(answer.note, policy, auditors)
    now = int(time.time()) if at is None else at
    evidence, logged = open_evidence(answer, policy)
    check_fresh(evidence.checkpoint, evidence.seen, at=now, least=least, max_age=max_age)
    for index, record in evidence.records.items():
        _check_signed(record, policy, trusted, now, _logged_at(logged, index))
    result = derive(evidence, answer.kind, answer.name)
    evidence.check_all_used()
    if result != answer.result:
        raise VerificationError("answer: its result is not what its evidence shows")
    return Verified(answer.kind, answer.name, result, evidence.checkpoint, evidence.seen)


def _logged_at(logged: Sequence[tuple[int, int]], index: int) -> int | None:
    times = [when for size, when in logged if size > index]
    return min(times) if times else None


def _check_signed(
    record: Receipt | Record,
    policy: LogPolicy,
    trusted: TrustStore | None,
    now: int,
    logged: int | None,
) -> None:
    """Return None if an entry was signed by who must sign it. Raises VerificationError otherwise.

    The operator for what only operators say; for a key's status the operator or the key; else the
    trust store's, of which nothing can be said without one.
    """
    signers = [signer["keyid"] for signer in record.predicate["signers"]]
    if isinstance(record, Receipt):
        if trusted is not None:
            verify_receipt(record, trusted, at=now, logged_at=logged)
        return
    key_status = record.type == KEY_STATUS
    if record.type in _OPERATOR_S or (key_status and signers == [policy.key.keyid]):
        who = trust([("the operator", policy.key)])
    elif trusted is None:
        return
    else:
        said = record.predicate
        named = said["follows" if said["status"] == "active" else "keyid"] if key_status else None
        key = trusted.by_keyid.get(signers[0])
        if key is None or (key_status and signers != [named]):
            raise VerificationError(f"signer {signers[0]} may not sign this, or is not trusted")
        who = TrustStore((key,), (frozenset({signers[0]}),))
    verify_signers(
        who, record.envelope, record.predicate["signers"],
        signed=record.signed_at, at=now, logged_at=logged,
    )  # fmt: skip


_OPERATOR_S = (LEDGER, NODE, BLOCK, ACCESS)


def derive(source: Source, kind: str, name: str) -> Any:
    """Return a query's result from a ledger or from evidence. Raises as the source does."""
    if kind == "object":
        return [_row(i, r) for i, r in source.listed(kind, hex32(parse_hex32(name, "object")))]
    if kind in HISTORIES:
        return _history(source, kind, _number(name, kind))
    if kind == "objects":
        return _objects(source, _number(name, "fork"))
    if kind == "lineage":
        return [_ancestor(*found) for found in _lineage(source, name)]
    if kind == "contributors":
        return _contributors(receipt for _, receipt, _ in _lineage(source, name))
    if kind == "tree":
        return _tree(source, name if name == ALL else _number(name, "model"))
    raise InvalidInput(f"query: expected one of {', '.join(KINDS)}")


def _number(name: str, where: str) -> str:
    return str(parse_decimal(name, where, 1 << 256))


def _row(index: int, record: Receipt | Record) -> dict[str, Any]:
    said = record.predicate
    row = {"entry": index, "id": hex32(record.id), "signers": _signers(record)}
    if isinstance(record, Receipt):
        shown = {n: said[n] for n in ("kind", "fork", "user", "model", "step", "parent")}
        return row | shown | {"grade": record.grade, "signed": said["times"]["signed"]}
    names = ("action", "outcome", "cid", "recipient", "purpose", "signed")
    return row | {n: said[n] for n in names if n in said}


def _signers(record: Receipt | Record) -> list[str]:
    return [signer["keyid"] for signer in record.predicate["signers"]]


def _history(source: Source, kind: str, name: str) -> dict[str, Any]:
    entries = source.listed(kind, name)
    forks = dict.fromkeys(
        r.predicate["fork"]
        for _, r in entries
        if r.predicate["kind"] in CHAIN_KINDS and r.predicate["fork"] is not None
    )
    if kind == "fork":
        forks.setdefault(name)
    return {
        "forks": {fork: check_chain(source, fork, entries) for fork in forks},
        "receipts": [_row(index, record) for index, record in entries],
    }


_LINKS = ("old_state", "new_state", "model", "step")


def _values(shown: Any) -> tuple[int, ...]:
    """Return the numbers of a public signal as a receipt shows it; none of a long one."""
    listed = [shown] if isinstance(shown, str) else shown
    return tuple(map(int, listed)) if isinstance(listed, list) else ()


def _state(public: Mapping[str, tuple[int, ...]], which: str) -> str | None:
    """Return a state's commitment as the map holds it."""
    values = public[f"{which}_state"]
    return str(state_id(values)) if values else None


def check_chain(source: Source, fork: str, entries: Entries) -> dict[str, Any] | None:
    """Return what the map says of a fork, whose chain is among `entries`, whole up to the head.

    Raises VerificationError for a gap, a step that does not start where the last one ended, and a
    chain of another length or end than the map's.
    """
    head = source.value(f"fork/{fork}")
    chain = [
        r
        for _, r in entries
        if isinstance(r, Receipt)
        and r.predicate["kind"] in CHAIN_KINDS
        and r.predicate["fork"] == fork
    ]
    if len(chain) != (0 if head is None else head.get("count")):
        raise VerificationError(f"fork {fork}: a receipt of its chain is missing, or one too many")
    parent, state = None, None
    for receipt in chain:
        proof = receipt.predicate["proof"] or {"statement": "", "public": {}}
        public = {name: _values(proof["public"].get(name)) for name in _LINKS}
        first = parent is None and begins_fork(proof["statement"], public)
        if receipt.predicate["parent"] != parent or not (first or _state(public, "old") == state):
            raise VerificationError(f"fork {fork}: its chain has a gap")
        parent, state = hex32(receipt.id), _state(public, "new")
    if head is not None and (parent, state) != (head.get("head"), head.get("state")):
        raise VerificationError(f"fork {fork}: its chain does not end at the fork's head")
    return head


def _objects(source: Source, fork: str) -> dict[str, Any]:
    trails = object_trails(source, fork, source.listed("fork", fork))
    return _history(source, "fork", fork) | {
        "objects": {
            name: {"state": source.value(f"object/{name}"), "trail": [_row(*e) for e in trail]}
            for name, trail in trails.items()
        }
    }


Ancestry = list[tuple[int, Receipt, list[str]]]


def _lineage(source: Source, name: str) -> Ancestry:
    """Return (index, receipt, parents) of a receipt and all that it came from, newest first."""
    found: dict[str, tuple[int, Receipt, list[str]]] = {}
    waiting = deque([_start(source, name)])
    while waiting:
        current = waiting.popleft()
        if current in found:
            continue
        if len(found) >= MAX_LINEAGE:
            raise InvalidInput(f"lineage: more than {MAX_LINEAGE} receipts")
        index, receipt = source.receipt(parse_hex32(current, "parent"))
        parent = receipt.predicate["parent"]
        parents = [] if parent is None else [parent]
        for _, node in source.listed("node", current):
            parents += node.predicate["parents"]
        found[current] = index, receipt, list(dict.fromkeys(parents))
        waiting.extend(found[current][2])
    return sorted(found.values(), key=lambda item: -item[0])


def _start(source: Source, name: str) -> str:
    if not name.startswith("fork/"):
        return hex32(parse_hex32(name, "receipt"))
    fork = _number(name.removeprefix("fork/"), "fork")
    head = source.value(f"fork/{fork}")
    if head is None:
        raise InvalidInput(f"lineage: the log has no fork {fork}")
    return hex32(parse_hex32(head.get("head"), "head"))


def _ancestor(index: int, receipt: Receipt, parents: list[str]) -> dict[str, Any]:
    return _row(index, receipt) | {"parents": parents}


def _contributors(receipts: Iterable[Receipt]) -> dict[str, dict[str, int]]:
    """Return how many receipts are each user's, and how many each key signed."""
    users: dict[str, int] = {}
    keys: dict[str, int] = {}
    for receipt in receipts:
        for keyid in _signers(receipt):
            keys[keyid] = keys.get(keyid, 0) + 1
        if (user := receipt.predicate["user"]) is not None:
            users[user] = users.get(user, 0) + 1
    return {"users": dict(sorted(users.items())), "signers": dict(sorted(keys.items()))}


def _tree(source: Source, model: str) -> dict[str, Any]:
    """Return forks with their heads and nodes; for all models also the nodes of other receipts."""
    forks, merges, begun = [], [], set[str]()
    nodes: dict[str, list[Record]] = {}
    if model == ALL:
        for _, node in source.listed("nodes", ALL):
            assert isinstance(node, Record)
            nodes.setdefault(node.predicate["receipt"], []).append(node)
    for index, genesis in source.listed("forks", model):
        assert isinstance(genesis, Receipt)
        name, fork = hex32(genesis.id), genesis.predicate["fork"]
        begun.add(name)
        if model != ALL:
            nodes[name] = [n for _, n in source.listed("node", name) if isinstance(n, Record)]
        said = {n: genesis.predicate[n] for n in ("fork", "user", "model")}
        end = source.value(f"fork/{fork}")
        forks.append({"entry": index, "genesis": name, **said, "end": end,
                      "nodes": [_node(source, n) for n in nodes.get(name, [])]})  # fmt: skip
    for name in (name for name in nodes if name not in begun):
        index, receipt = source.receipt(parse_hex32(name, "receipt"))
        merges.append(_row(index, receipt) | {"nodes": [_node(source, n) for n in nodes[name]]})
    return {"forks": forks, "merges": merges}


def _node(source: Source, node: Record) -> dict[str, Any]:
    """Return what a node says, with the fork of each of its parents."""
    said = node.predicate
    parents = []
    for name in said["parents"]:
        _, receipt = source.receipt(parse_hex32(name, "parent"))
        parents.append({"receipt": name, "fork": receipt.predicate["fork"]})
    names = ("height", "generation", "fitness", "priors", "constraints")
    return {"parents": parents, **{n: said[n] for n in names}}
