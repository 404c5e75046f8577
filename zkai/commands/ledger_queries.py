"""Questions to `zkai ledger prove`: a history, a lineage, contributors, the tree of forks."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.encoding import hex32
from zkai.ledger.answer import Answer
from zkai.ledger.checkpoint import Checkpoint, LogPolicy, check_audited, check_fresh
from zkai.ledger.ledger import Ledger
from zkai.ledger.lists import ALL
from zkai.ledger.note import Note
from zkai.ledger.queries import HISTORIES, KINDS, Verified, ask, verify_answer
from zkai.receipt.statement import write_time
from zkai.receipt.trust import TrustStore

_COLUMNS = ("entry", "kind", "fork", "user", "step", "grade")


def add_questions(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask a question."""
    for kind, metavar in zip(HISTORIES, ("NUMBER", "NUMBER", "NUMBER", "0x..."), strict=True):
        parser.add_argument(f"--{kind}", metavar=metavar, help=f"the whole history of a {kind}")
    parser.add_argument("--objects", metavar="FORK", help="a fork's private objects and receipts")
    parser.add_argument(
        "--lineage", metavar="ID", help="what a receipt (its id, or fork/NUMBER) came from"
    )
    parser.add_argument("--contributors", metavar="ID", help="whose receipts those are")
    parser.add_argument(
        "--tree", metavar="MODEL", nargs="?", const=ALL, help="all forks and merges, or a model's"
    )


def question(options: argparse.Namespace) -> tuple[str, str] | None:
    """Return the kind and name of the question that is asked, None without one."""
    for kind in KINDS:
        if (name := getattr(options, kind)) is not None:
            return kind, name
    return None


def prove_answer(ledger: Ledger, kind: str, name: str, out: Path) -> dict[str, Any]:
    """Write an answer with its proofs."""
    answer = ask(ledger, kind, name)
    answer.write(out)
    return {"entries": Checkpoint.from_text(answer.note.text).size, "result": answer.result}


def add_freshness(parser: argparse.ArgumentParser) -> None:
    """Add the options that refuse what is stale."""
    parser.add_argument(
        "--at-least", metavar="N", type=int, default=0, help="refuse a checkpoint of fewer entries"
    )
    parser.add_argument(
        "--max-age", metavar="SECONDS", type=int,
        help="refuse a checkpoint that the quorum has not seen since",
    )  # fmt: skip
    parser.add_argument(
        "--auditor", metavar="NAME", action="append", default=[], dest="auditors",
        help="a witness that checks the map and must have cosigned; may be repeated",
    )  # fmt: skip


def accept_checkpoint(
    note: Note, options: argparse.Namespace, policy: LogPolicy
) -> tuple[Checkpoint, int | None]:
    """Return a note's checkpoint and when it was seen, if it is as fresh as the options ask."""
    checkpoint, seen = policy.verify(note)
    check_audited(note, policy, options.auditors)
    check_fresh(
        checkpoint, seen, at=int(time.time()), least=options.at_least, max_age=options.max_age
    )
    return checkpoint, seen


def check_answer(
    options: argparse.Namespace, policy: LogPolicy, console: Console
) -> Mapping[str, Any]:
    """Check an answer, believing the policy and the trust store alone."""
    trusted = None if options.trust is None else TrustStore.from_path(options.trust)
    answer = Answer.from_path(options.target)
    found = verify_answer(
        answer,
        policy,
        trusted,
        least=options.at_least,
        max_age=options.max_age,
        auditors=options.auditors,
    )
    show(found, console)
    if trusted is None:
        console.note("without --trust, who signed the receipts is the log's word")
    if not options.auditors:
        console.note("without --auditor, that the map is right is the operator's word")
    checkpoint = found.checkpoint
    return {
        "query": {"kind": found.kind, "name": found.name},
        "result": found.result,
        "entries": checkpoint.size,
        "root": hex32(checkpoint.root),
        "map_root": hex32(checkpoint.map_root),
        "seen": found.seen,
    }


def show(found: Verified, console: Console) -> None:
    """Print a result for people."""
    title, result = f"{found.kind} {found.name}", found.result
    if found.kind == "contributors":
        rows = [[user, str(count)] for user, count in result["users"].items()]
        console.table(title, ["user", "receipts"], rows)
    elif found.kind == "tree":
        for fork in result["forks"]:
            end = fork["end"]
            console.say(
                f"fork {fork['fork']}: user {fork['user']}, {end['count']} receipts"
                f"{_from(fork['nodes'])}"
            )
        for merge in result["merges"]:
            console.say(f"{merge['kind']} {merge['id']}{_from(merge['nodes'])}")
    elif found.kind == "object":
        rows = [[str(r["entry"]), r.get("action") or r["outcome"], r["signed"]] for r in result]
        console.table(title, ["entry", "what", "when"], rows)
    else:
        for name, one in result["objects"].items() if found.kind == "objects" else ():
            what = "erased" if one["state"]["cid"] is None else one["state"]["cid"]
            console.say(f"object {name}: {what}, {len(one['trail'])} consents and accesses")
        listed = result if found.kind == "lineage" else result["receipts"]
        rows = [[str(row[c]) for c in _COLUMNS] for row in listed]
        console.table(title, list(_COLUMNS), rows)
    seen = "" if found.seen is None else f", seen {write_time(found.seen)}"
    console.say(f"whole and valid as of {found.checkpoint.size} entries{seen}")


def _from(nodes: list[dict[str, Any]]) -> str:
    parents = [p["fork"] or p["receipt"] for node in nodes for p in node["parents"]]
    return f", from {json.dumps(parents)}" if parents else ""
