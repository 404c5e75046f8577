"""The report's part about the ledger: the tree of forks, users' histories, a private state."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def ledger_part(summary: Mapping[str, Any]) -> str:
    """Return the tree of forks with every user's history, and what became of a private state.

    All of it comes from answers that were verified from their files (`zkai.demo.keeping`).
    """
    tree, histories = summary["answers"]["tree"], summary["answers"]["histories"]
    names = {rows[0]["user"]: name for name, rows in histories.items()}
    branches = "".join(_branch(fork, names[fork["user"]], histories) for fork in tree["forks"])
    first = next(iter(histories))
    return f"""<h3>The tree of forks, and each user's history</h3>
<p>From answers that the ledger gave with proofs that nothing is left out. Check one again:
<code>zkai ledger verify answers/{escape(first)}-history.json --policy policy.json --trust
trust.json</code></p>
<ul><li>base model<ul>{branches}</ul></li></ul>
{_vault(summary)}"""


def _branch(
    fork: Mapping[str, Any], name: str, histories: Mapping[str, list[Mapping[str, Any]]]
) -> str:
    """One fork: where it comes from, its end, its fitness; inside, its user's history."""
    end, (node,) = fork["end"], fork["nodes"]
    fitness = " → ".join(f"{100 * float(f['value']):.0f} %" for f in node["fitness"])
    limits = ", ".join(escape(c["text"]) for c in node["constraints"])
    leaves = "".join(_leaf(row) for row in histories[name])
    return (
        f"<li><details><summary>{escape(name)}: fork <code>{escape(fork['fork'][:12])}…</code>,"
        f" generation {node['generation']}, from height {node['height']}; {end['count']} receipts"
        f" up to step {end['step'] + 1}, head <code>{escape(end['head'][:14])}…</code>;"
        f" accuracy {fitness}</summary><p>Must keep to: {limits}.</p>"
        f"<ol>{leaves}</ol></details></li>"
    )


def _leaf(row: Mapping[str, Any]) -> str:
    step = "" if row["step"] is None else f", from step {row['step']}"
    return (
        f"<li>entry {row['entry']}: {escape(row['kind'].replace('_', ' '))}{step}"
        f" <code>{escape(row['id'][:18])}…</code>, {escape(row['grade'])}</li>"
    )


def _vault(summary: Mapping[str, Any]) -> str:
    """What became of the first user's last state, entry by entry."""
    kept = summary["vault"]
    trail = summary["answers"]["objects"][kept["object"]]["trail"]
    rows = "".join(
        f"<li>entry {row['entry']}: {escape(row.get('action') or row['outcome'])}"
        f"{', ' + escape(row['purpose']) if row['purpose'] else ''}</li>"
        for row in trail
    )
    return f"""<h3>A private state</h3>
<p>{escape(kept["user"].capitalize())}'s last state ({kept["bytes"]} bytes, {kept["sealed_bytes"]}
sealed) is kept as <code>{escape(kept["cid"])}</code>. An auditor to whom it was granted opened it;
after the revocation it is sealed under another key, and the auditor was refused:
{escape("; ".join(kept["after_revocation"]))}.</p><ol>{rows}</ol>"""
