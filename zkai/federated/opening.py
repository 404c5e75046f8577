"""The opened sum, and the statement of what was aggregated: for anyone to check.

    {"format": "zkai.he-aggregate/1", "session", "round", "scheme", "seed", "clients",
     "clients_root", "sum", "closed", "set", "active", "size", "root", "result", "checked",
     "agreed", "apart", "bound", "privacy"}

`clients_root` is the RFC 9162 root over the canonical JSON of [key id, ciphertext's digest, bound
on its weight, proof's digest or null] of each client in the set, in order of key ids. `size` and
`root` are of the log that holds everything. `bound` says whether every ciphertext came with a proof
that it is of a proven update; without, a client may have encrypted anything.

`agreed` lists the holders whose parts of the decryption fit each other, `apart` those whose parts
do not fit them. `checked` says that 2t - 1 agree: then t - 1 corrupt holders did not shift the sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.encoding import hex32, parse_hex32, sha256
from zkai.errors import VerificationError
from zkai.federated.chosen import check_set
from zkai.federated.decisions import Decision, Round
from zkai.federated.messages import (
    ACTIVE,
    CLOSED,
    PARTIAL,
    SET,
    Message,
    open_message,
    parse_message,
)
from zkai.federated.scheme import Fused, Int64, Scheme
from zkai.ledger.admission import plain_root
from zkai.ledger.merkle import leaf_hash
from zkai.receipt.jcs import decode, encode

FORMAT = "zkai.he-aggregate/1"


@dataclass(frozen=True)
class Opened:
    """A round's sum and the statement about it."""

    values: Int64 = field(repr=False)
    statement: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the statement's bytes."""
        return encode(dict(self.statement))


def clients_root(chosen: Decision) -> bytes:
    """Return the root over who contributed which ciphertext."""
    leaves = [
        leaf_hash(encode([e["client"], e["ciphertext"], e["weight_bound"], e["proof"]]))
        for e in chosen.entries
    ]
    return plain_root(leaves)


def result_digest(values: Int64) -> bytes:
    """Return SHA-256 over the summed vector as little-endian 64-bit integers."""
    return sha256(np.ascontiguousarray(values, dtype="<i8").tobytes())


def open_sum(rnd: Round, scheme: Scheme, only: Collection[str] | None = None) -> Opened:
    """Return the sum from the logged parts of t holders or more, with its statement; with `only`,
    from the parts of these holders. Needs no key.

    Raises VerificationError if a decision is missing or wrong, or the parts do not open the sum.
    """
    active, chosen = rnd.require(ACTIVE), rnd.require(SET)
    order, parts = rnd.session.holder_keyids, {}
    for keyid in active.body["holders"]:
        message = _part(rnd, keyid, active) if only is None or keyid in only else None
        if message is None:
            continue
        parts[order.index(keyid)] = rnd.board.body(
            rnd.number, message.digest("body"), scheme.partial_bytes, "partial decryption"
        )
    if len(parts) < rnd.session.threshold:
        raise VerificationError(
            f"round {rnd.number}: {len(parts)} parts of the decryption are logged,"
            f" {rnd.session.threshold} are needed"
        )
    digest = parse_hex32(chosen.body["sum"], "sum")
    total = rnd.board.body(rnd.number, digest, scheme.ciphertext_bytes, "sum")
    keys = [parse_hex32(entry["key"], "key") for entry in chosen.entries]
    fused = scheme.fuse(rnd.number, total, keys, parts)
    _check_length(rnd, fused, len(keys))
    return Opened(fused.values, _statement(rnd, scheme, fused))


def _check_length(rnd: Round, fused: Fused, clients: int) -> None:
    """Return None unless a sum of proven updates is longer than they can be together.

    Raises VerificationError: then a holder's part is wrong, which nothing else might show.
    """
    if rnd.session.inputs is None or rnd.inputs is None:
        return
    weight, values = clients, fused.values
    if rnd.session.weighted:
        weight, values = int(values[-1]), values[:-1]
        if not clients <= weight <= clients * rnd.session.max_weight:
            raise VerificationError(
                f"the opened sum of weights is {weight}, of {clients} proven ones: a part of the"
                " decryption is wrong"
            )
    most = weight * rnd.inputs.norm_bound
    if float(np.linalg.norm(values.astype(np.float64))) > most * (1 + 1e-9):
        raise VerificationError(
            f"the opened sum is longer than {clients} updates of the proven norm can be: a part of"
            " the decryption is wrong"
        )


def _part(rnd: Round, keyid: str, active: Decision) -> Message | None:
    """Return a holder's part of the decryption, or None if none is logged."""
    holder = rnd.session.holders_by_keyid[keyid]
    if not rnd.board.has(rnd.number, f"{PARTIAL}s/{keyid}"):
        return None
    data = rnd.board.read(rnd.number, f"{PARTIAL}s/{keyid}")
    if leaf_hash(data) not in rnd.view.leaves:
        return None
    message = open_message(data, PARTIAL, holder.key, rnd.session.id, rnd.number, PARTIAL)
    if message.digest("active") != active.id or message.predicate["holder"] != keyid:
        raise VerificationError(f"{holder.name}'s partial decryption is of another decision")
    return message


def _statement(rnd: Round, scheme: Scheme, fused: Fused) -> dict[str, Any]:
    session, chosen, order = rnd.session, rnd.require(SET), rnd.session.holder_keyids
    return {
        "format": FORMAT,
        "session": hex32(session.id),
        "round": rnd.number,
        "scheme": session.scheme,
        "seed": hex32(scheme.seed(rnd.number)),
        "clients": len(chosen.clients),
        "clients_root": hex32(clients_root(chosen)),
        "sum": chosen.body["sum"],
        "closed": hex32(rnd.require(CLOSED).id),
        "set": hex32(chosen.id),
        "active": hex32(rnd.require(ACTIVE).id),
        "size": rnd.view.checkpoint.size,
        "root": hex32(rnd.view.checkpoint.root),
        "result": hex32(result_digest(fused.values)),
        "checked": fused.checked,
        "agreed": [order[j] for j in fused.agreed],
        "apart": [order[j] for j in fused.apart],
        "bound": chosen.body["bound"],
        "privacy": chosen.body["privacy"],
    }


def verify_aggregate(rnd: Round, scheme: Scheme, statement: bytes, values: Int64) -> None:
    """Return None if a statement and a sum are what the board's record shows.

    By recomputation: all decisions and their rules, every ciphertext, the sum, the opening; and
    the sum once more by a random linear check of the logged ciphertexts. Parts that were logged
    after the statement was made must not contradict it; where nothing checks the sum, no holder may
    have two in the log.

    Raises VerificationError naming what does not hold.
    """
    said = decode(statement, "aggregate")
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise VerificationError(f"aggregate: expected {FORMAT}")
    closed, chosen, active = (rnd.require(phase) for phase in (CLOSED, SET, ACTIVE))
    rnd.check_closed(closed)
    checked = check_set(rnd, scheme, chosen)
    rnd.check_active(active, chosen, checked.dealings)
    total = rnd.board.body(
        rnd.number, parse_hex32(chosen.body["sum"], "sum"), scheme.ciphertext_bytes, "sum"
    )
    size = scheme.ciphertext_bytes
    bodies = (
        rnd.board.body(rnd.number, parse_hex32(e["ciphertext"], "ciphertext"), size, "ciphertext")
        for e in chosen.entries
    )
    scheme.check_linear(rnd.number, bodies, total)
    named = _named(said, active)
    opened = open_sum(rnd, scheme, named)
    _check_seen(rnd, said, named)
    wanted = {**opened.statement, "size": said["size"], "root": said["root"]}
    if said != wanted:
        wrong = sorted(k for k in set(said) | set(wanted) if said.get(k) != wanted.get(k))
        raise VerificationError(f"aggregate: {wrong[0]} is not what the record shows")
    if not np.array_equal(opened.values, values):
        raise VerificationError("aggregate: the values are not the opened sum")
    logged = [keyid for keyid in active.body["holders"] if _part(rnd, keyid, active)]
    if set(logged) != set(named) and not np.array_equal(open_sum(rnd, scheme).values, values):
        raise VerificationError("aggregate: with all parts that are logged, another sum is opened")
    if not opened.statement["checked"]:
        _check_single(rnd, active)


def _check_single(rnd: Round, active: Decision) -> None:
    """Check that no holder has two parts in the log: each board could show another of them."""
    data = rnd.board.read(rnd.number, f"{ACTIVE}.certificate")
    found = dict[str, bytes]()
    for index in range(rnd.view.index_of(data, ACTIVE) + 1, len(rnd.view.leaves)):
        said = parse_message(rnd.view.entry(index), f"entry {index}")
        keyid = str(said.predicate.get("holder"))
        if said.kind != PARTIAL or said.round != rnd.number or keyid not in active.body["holders"]:
            continue
        try:
            rnd.open_entry(index, PARTIAL, keyid)
        except VerificationError:
            continue  # forged: whoever keeps the log frames nobody
        if found.setdefault(keyid, said.id) != said.id:
            name = rnd.session.holders_by_keyid[keyid].name
            raise VerificationError(
                f"aggregate: {name} handed in two parts of the decryption, and too few agree to"
                " tell which is right"
            )


def _named(said: Mapping[str, Any], active: Decision) -> Sequence[str]:
    """Return the holders whose parts a statement names. Raises VerificationError."""
    found = [said.get("agreed"), said.get("apart")]
    named = [str(keyid) for part in found if isinstance(part, list) for keyid in part]
    if len(set(named)) != len(named) or not set(named) <= set(active.body["holders"]):
        raise VerificationError("aggregate: agreed and apart do not name holders that open the sum")
    return named


def _check_seen(rnd: Round, said: Mapping[str, Any], named: Sequence[str]) -> None:
    """Check that `size` and `root` are of a log that holds everything up to the last part."""
    if type(said.get("size")) is not int:
        raise VerificationError("aggregate: size is no number")
    rnd.view.check_extends(said["size"], parse_hex32(said.get("root"), "root"))
    for keyid in named:
        data = rnd.board.read(rnd.number, f"{PARTIAL}s/{keyid}")
        if rnd.view.index_of(data, "partial decryption") >= said["size"]:
            raise VerificationError("aggregate: size is of a log without the parts of the sum")
