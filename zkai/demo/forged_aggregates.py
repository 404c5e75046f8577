"""Forgeries against the aggregation: second sets, single users, swapped ciphertexts, other sums."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zkai.demo.aggregation import Aggregated
from zkai.demo.forgeries import Forgery
from zkai.encoding import parse_hex32
from zkai.federated.board import Board
from zkai.federated.decisions import Round, propose
from zkai.federated.holder import KeyHolder
from zkai.federated.memory import Memory
from zkai.federated.messages import (
    ACTIVE,
    CLOSED,
    DECISION,
    PARTIAL,
    SET,
    dealing_digest,
    parse_message,
    sign_message,
)
from zkai.federated.opening import verify_aggregate
from zkai.federated.parties import read_party_key
from zkai.federated.record import View
from zkai.federated.sealing import RoundKeys
from zkai.he.rlwe import RING, RlweParameters

HOLDER = "holder-1"


def on_aggregates(found: Aggregated) -> list[Forgery]:
    """Return forgeries of the round; each works on a copy of its files."""
    return [
        Forgery(
            "have a second set opened without one user",
            lambda: _cosign(found, _without_one),
            "asked for another set",
            lambda: _cosign(found, None),
        ),
        Forgery(
            "have the sum opened by other key holders",
            lambda: _open_by_others(found),
            "certificate: 1 key holders signed",
            lambda: _open(found),
        ),
        Forgery(
            "encrypt another update than the proven one",
            lambda: _check_input(found, 0, 1),
            "the proof is about another ciphertext",
            lambda: _check_input(found, 0, 0),
        ),
        Forgery(
            "shift the sum by one with a wrong part of the decryption",
            lambda: _fuse(found, shift=1),
            "contradict each other",
            lambda: _fuse(found, shift=0),
        ),
        Forgery(
            "swap a logged ciphertext",
            lambda: _verify(found, swap=True),
            "not those of its digest",
            lambda: _verify(found),
        ),
        Forgery(
            "state another sum",
            lambda: _verify(found, change=1),
            "not the opened sum",
            lambda: _verify(found),
        ),
    ]


def _copy(found: Aggregated) -> Path:
    copy = found.folder.with_name("aggregation-forged")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(found.folder, copy)
    return copy


def _board(folder: Path) -> Board:
    return Board(folder / "board")


def _round(found: Aggregated, board: Board) -> Round:
    return Round(found.session, 1, View.read(board, found.session), found.rule)


def _holder(found: Aggregated, folder: Path) -> KeyHolder:
    """Return the first of the holders that opened the sum."""
    active = _round(found, _board(folder)).require(ACTIVE).body["holders"]
    name = found.session.holders_by_keyid[active[0]].name
    key = read_party_key(folder / name, found.passphrase)
    keys, memory = RoundKeys(folder / name / "round-keys", key), Memory(folder / name / "memory")
    return KeyHolder(found.session, found.scheme, key, keys, memory, found.rule)


def _cosign(found: Aggregated, change: Callable[[dict[str, Any]], None] | None) -> None:
    folder = _copy(found)
    board = _board(folder)
    if change is not None:
        rnd = _round(found, board)
        body = {**rnd.proposal(SET).body}
        change(body)
        before, view = rnd.require(CLOSED), rnd.view.checkpoint
        payload, data = propose(found.session, 1, SET, before, view, body)
        board.put(1, f"{SET}.body", data)
        board.put(1, f"{SET}.proposal", payload)
    try:
        _holder_without_set(found, folder).cosign(board, 1, SET)
    finally:
        shutil.rmtree(folder)


def _holder_without_set(found: Aggregated, folder: Path) -> KeyHolder:
    """Return a holder by name: the board's decisions are not consulted."""
    key = read_party_key(folder / HOLDER, found.passphrase)
    memory = Memory(folder / HOLDER / "memory")
    keys = RoundKeys(folder / HOLDER / "round-keys", key)
    return KeyHolder(found.session, found.scheme, key, keys, memory, found.rule)


def _without_one(body: dict[str, Any]) -> None:
    out = body["entries"][:1]
    body["entries"] = body["entries"][1:]
    body["excluded"] = [{"client": entry["client"], "reason": "left"} for entry in out]


def _open_by_others(found: Aggregated) -> None:
    """The aggregator and one corrupt holder certify other holders by themselves."""
    folder = _copy(found)
    board = _board(folder)
    holder = _holder(found, folder)
    rnd = _round(found, board)
    names = [*found.session.holder_keyids[::-1]][: found.session.threshold]
    before, view = rnd.require(SET), rnd.view.checkpoint
    payload, data = propose(found.session, 1, ACTIVE, before, view, {"holders": names})
    board.put(1, f"{ACTIVE}.body", data)
    board.put(1, f"{ACTIVE}.proposal", payload)
    corrupt = read_party_key(folder / "holder-3", found.passphrase)
    forged = sign_message(DECISION, rnd.proposal(ACTIVE).predicate, corrupt)
    board.put(1, f"{ACTIVE}.certificate", forged.to_bytes())
    try:
        holder.partial(board, 1)
    finally:
        shutil.rmtree(folder)


def _check_input(found: Aggregated, proven: int, sent: int) -> None:
    """Check one user's proof against a ciphertext, its own or another's."""
    rnd, scheme = found.round(), found.scheme
    entries = rnd.require(CLOSED).entries
    proof, other = (rnd.commitment(entries[i]) for i in (proven, sent))
    sizes = {"ciphertext": scheme.ciphertext_bytes, "check": scheme.check_bytes}
    bodies = [rnd.board.body(1, other.digest(n), size, n) for n, size in sizes.items()]
    what = scheme.sent(1, bodies[0], bodies[1], dealing_digest(other.predicate["shares"]))
    name = rnd.session.clients_by_keyid[entries[proven]["client"]].name
    found.rule.check(what, rnd.board.body(1, proof.digest("proof"), None, "proof"), name, "proof")


def _fuse(found: Aggregated, shift: int) -> None:
    """Open the sum from the logged parts, of which one is off by a multiple of Delta."""
    rnd, scheme, order = found.round(), found.scheme, found.session.holder_keyids
    parts = {}
    for keyid in rnd.require(ACTIVE).body["holders"]:
        said = parse_message(rnd.board.read(1, f"{PARTIAL}s/{keyid}"))
        parts[order.index(keyid)] = rnd.board.body(
            1, said.digest("body"), scheme.partial_bytes, "part"
        )
    delta = RlweParameters.from_json(dict(found.session.parameters)).delta
    added = RING.residues([shift * delta])[0]
    data = parts[0]
    part = RING.unpack(data[80:], (len(data) - 80) // RING.polynomial_bytes, "part")
    part[0, :, 0] = (part[0, :, 0] + added) % np.array(RING.primes, np.uint64)
    parts[0] = data[:80] + RING.pack(part)
    chosen = rnd.require(SET)
    total = rnd.board.body(1, parse_hex32(chosen.body["sum"], "sum"), len(data), "sum")
    keys = [parse_hex32(entry["key"], "key") for entry in chosen.entries]
    scheme.fuse(1, total, keys, parts)


def _open(found: Aggregated) -> None:
    folder = _copy(found)
    _holder(found, folder).partial(_board(folder), 1)
    shutil.rmtree(folder)


def _verify(found: Aggregated, *, swap: bool = False, change: int = 0) -> None:
    folder = _copy(found)
    rnd = _round(found, _board(folder))
    if swap:
        first, second = rnd.require(SET).entries[:2]
        bodies = folder / "board" / "round-1" / "bodies"
        shutil.copy(bodies / second["ciphertext"][2:], bodies / first["ciphertext"][2:])
    values = found.opened.values.copy()
    values[0] += change
    try:
        verify_aggregate(rnd, found.scheme, found.opened.to_bytes(), values)
    finally:
        shutil.rmtree(folder)
