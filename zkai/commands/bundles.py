"""`zkai vault export` and `import`: a whole fork as one encrypted file."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, add_command
from zkai.commands.passphrases import PASSPHRASE_HELP, add_passphrase, passphrase
from zkai.commands.vault_files import opened, recipient_of
from zkai.encoding import hex32, new_folder, read_capped, write_atomic
from zkai.halo2.formats import read_key as read_verifying_key
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.export import proof_digest
from zkai.receipt.statement import write_time
from zkai.receipt.trust import TrustStore
from zkai.vault.bundle import Fork, export_fork, import_fork, verify_bundle
from zkai.vault.keys import read_vault_key
from zkai.vault.parts import MAX_BUNDLE
from zkai.vault.store import ObjectStore

_EXPORT_HELP = f"""
Writes a fork's receipts, proofs, live objects, and what became of every object,
as of the ledger's latest checkpoint, sealed for one recipient.
{PASSPHRASE_HELP}"""

_IMPORT_HELP = f"""
Believes nothing of the file but your policy, trust store and verifying keys:
every receipt, proof, consent and object is checked, and that none is missing.
Objects go into --store, all else into FOLDER. {PASSPHRASE_HELP}"""


def add_bundle_commands(actions: Commands) -> None:
    """Add `vault export` and `vault import`."""
    out = add_command(actions, "export", run_export, "a fork as one encrypted file", _EXPORT_HELP)
    out.add_argument("vault", metavar="VAULT", type=Path)
    out.add_argument("--fork", metavar="N", type=int, required=True)
    out.add_argument("--to", metavar="KEY.json", type=Path, required=True, help="the recipient's")
    out.add_argument("--opener", metavar="KEY.json", type=Path, required=True)
    out.add_argument("-o", "--out", metavar="BUNDLE", type=Path, required=True)
    add_passphrase(out)
    come = add_command(actions, "import", run_import, "check a bundle and unpack it", _IMPORT_HELP)
    come.add_argument("bundle", metavar="BUNDLE", type=Path)
    come.add_argument("--opener", metavar="KEY.json", type=Path, required=True)
    come.add_argument("--policy", metavar="POLICY.json", type=Path, required=True)
    come.add_argument("--trust", metavar="TRUST.json", type=Path, required=True)
    come.add_argument(
        "--key", metavar="FILE", type=Path, action="append", default=[], dest="keys",
        help="a verifying.json that you trust; may be repeated",
    )  # fmt: skip
    come.add_argument("--store", metavar="URL", required=True)
    come.add_argument("-o", "--out", metavar="FOLDER/", type=Path, required=True)
    add_passphrase(come)


def run_export(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a fork's bundle."""
    check_target(options.out)
    to = recipient_of(options.to)
    opener = read_vault_key(options.opener, passphrase(options))
    with opened(options.vault) as vault:
        data = export_fork(vault, options.fork, opener, to)
    write_atomic(options.out, data, 0o600)
    console.say(f"{options.out}: fork {options.fork} for {to.keyid}, {len(data)} bytes")
    return {"bundle": str(options.out), "fork": options.fork, "to": to.keyid, "bytes": len(data)}


def run_import(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check a bundle; then write its parts, and its objects into a store."""
    keys = {key.digest: key for key in map(read_verifying_key, options.keys)}
    fork = verify_bundle(
        read_capped(options.bundle, MAX_BUNDLE),
        read_vault_key(options.opener, passphrase(options)),
        LogPolicy.from_path(options.policy),
        TrustStore.from_path(options.trust),
        keys,
        at=int(time.time()),
    )
    store = ObjectStore(options.store)
    with new_folder(options.out) as folder:
        _write_parts(fork, folder)
    import_fork(fork, store)  # after: the store may be a folder in there
    console.say(
        f"{options.bundle}: fork {fork.fork} whole as of {fork.checkpoint.size} entries;"
        f" {len(fork.receipts)} receipts, {len(fork.cards)} objects"
    )
    return {
        "fork": fork.fork,
        "entries": fork.checkpoint.size,
        "receipts": [hex32(receipt.id) for receipt in fork.receipts],
        "objects": [hex32(card.object) for card in fork.cards],
        "trails": fork.trails,
        "folder": str(options.out),
    }


def _write_parts(fork: Fork, folder: Path) -> None:
    for name in ("receipts", "proofs", "cards"):
        (folder / name).mkdir()
    for number, receipt in enumerate(fork.receipts):
        write_atomic(folder / f"receipts/{number}.receipt", receipt.to_bytes())
        if (digest := proof_digest(receipt)) is not None:
            write_atomic(folder / f"proofs/{number}.json", fork.parts[f"proof/{digest.hex()}"])
    for card in fork.cards:
        write_atomic(folder / f"cards/{card.object.hex()}.json", card.to_bytes(), 0o600)
    write_atomic(folder / "answer.json", fork.parts["answer"])
    about = {"fork": str(fork.fork), "entries": fork.checkpoint.size,
             "imported": write_time(int(time.time()))}  # fmt: skip
    write_atomic(folder / "bundle.json", json.dumps(about).encode() + b"\n")
