"""`zkai demo`: the whole way on real data, from private samples to accepted proofs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command
from zkai.errors import VerificationError

_HELP = """
Three users fine-tune private heads on handwritten digits that they committed
to; a beacon draws the samples of each step, and an examiner's at the end. Every
step and examination is proven and verified, here and on an embedded EVM, and
one step also in the other proof format, to compare; a receipt of each proof is
signed and logged; the users' updates are summed under encryption by three key
holders; a lazy trainer is caught by sampling, and what it denies is settled;
then forgeries are tried, and each must be refused. Needs no network, GPU,
server or Node.
"""


def add_commands(commands: Commands) -> None:
    """Add `demo`."""
    demo = add_command(commands, "demo", run_demo, "run the whole way on real data", _HELP)
    demo.add_argument(
        "-o",
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("build/demo"),
        help="where summary.json, report.html and the proofs go (default: build/demo)",
    )


def run_demo(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Run the demo; a forgery that is not refused ends it with exit status 1."""
    from zkai import demo

    with console.progress() as progress:
        summary: Mapping[str, Any] = demo.run(options.out, progress)
    _show(summary, console)
    console.say(f"{options.out}/report.html and {options.out}/summary.json are written")
    forged = summary["tampered"]
    if forged["rejected"] != forged["tried"]:
        names = [entry["name"] for entry in forged["forgeries"] if not entry["refused"]]
        raise VerificationError(f"not refused as expected: {', '.join(names)}")
    return summary


def _show(summary: Mapping[str, Any], console: Console) -> None:
    from zkai.demo import comparison

    proofs: dict[str, list[Mapping[str, Any]]] = {}
    for proof in summary["proofs"]:
        proofs.setdefault(proof["statement"], []).append(proof)
    rows = [
        [
            statement,
            str(len(group)),
            f"{group[0]['constraints']:,}",
            f"{median(p['prove_s'] for p in group):.2f} s",
            f"{1000 * median(p['verify_s'] for p in group):.1f} ms",
            f"{group[0]['proof_bytes']} B",
            f"{median(p['gas'] for p in group):,.0f}",
        ]
        for statement, group in proofs.items()
    ]
    columns = ["statement", "proofs", "constraints", "prove", "verify", "size", "gas"]
    console.table("Proofs, each verified here and by a contract (medians)", columns, rows)
    compared = comparison.rows(summary["comparison"])
    columns = ["", "groth16", "groth16-commit", "ratio"]
    console.table("One training step in both proof formats", columns, compared)
    users = [
        [
            fork["user"],
            " ".join(map(str, fork["digits"])),
            str(summary["rounds"]),
            f"{100 * fork['accuracies'][0]:.1f} %",
            f"{100 * fork['accuracies'][-1]:.1f} %",
            "certified" if certificate["outcome"] == "certified" else "not certified",
        ]
        for fork, certificate in zip(summary["forks"], summary["certificates"], strict=True)
    ]
    columns = ["user", "digits", "proven steps", "before", "after", "no worse than before"]
    console.table("Accuracy on each user's held-out samples", columns, users)
    _show_encrypted(summary["encrypted_training"], console)
    _show_aggregate(summary, console)
    from zkai.demo import assurance

    title = "A trainer that replays old gradients, sampled and disputed"
    console.table(title, assurance.COLUMNS, [assurance.row(summary["assurance"])])
    receipts, ledger = summary["receipts"], summary["ledger"]
    console.say(
        f"{receipts['signed']} receipts signed, logged and verified; the ledger has"
        f" {ledger['entries']} entries, root {ledger['root']}"
    )
    attempts = [
        [entry["name"], "refused" if entry["refused"] else "NOT REFUSED"]
        for entry in summary["tampered"]["forgeries"]
    ]
    console.table("Forgeries, each beside an honest twin that passes", ["attempt", ""], attempts)


def _show_encrypted(found: Mapping[str, Any] | None, console: Console) -> None:
    from zkai.demo import encrypted

    if found is None:
        console.say("no head was trained under encryption: pip install 'zkai[he]' for that")
        return
    title = "A head fine-tuned by a server that sees ciphertexts only"
    console.table(title, encrypted.COLUMNS, [encrypted.row(found)])


def _show_aggregate(summary: Mapping[str, Any], console: Console) -> None:
    found, reached = summary["aggregate"], summary["accuracy"]["aggregated"]
    columns = ["users", "integers each", "sent by each", "key holders", "error", "accuracy"]
    holders = f"{found['threshold']} of {found['holders']}, {found['seconds']:.1f} s"
    row = [
        str(found["clients"]),
        f"{found['parameters']:,}",
        f"{found['bytes_per_client'] / 1e3:.0f} kB",
        holders,
        f"{found['max_abs_error']:g}",
        f"{100 * reached:.1f} %",
    ]
    console.table(
        "The users' updates, summed under encryption; their mean as a head", columns, [row]
    )
