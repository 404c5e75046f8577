"""Identities in a ledger: keys that follow or are revoked, accounts bound to keys, DIDs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.chains import account_key, add_account_key
from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command, ledger_place
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.encoding import read_capped
from zkai.errors import InvalidInput
from zkai.ledger.account import account_text
from zkai.ledger.alias import MAX_DOCUMENT, alias_document, alias_url, verify_alias
from zkai.ledger.identity import resolve
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import ACCOUNT, KEY_STATUS, Record, sign_record
from zkai.receipt.keyfile import read_key, read_public

_BIND_HELP = """
Binds a chain's account to a key of the ledger, once: the account signs a text
that names chain, key and log, and the key signs the record. From then on
did:lux:CHAIN:ADDRESS resolves to the key and to those that follow it.
"""

_ROTATE_HELP = """
NEW.json follows the key OLD. Signed by the old key, or by the operator.
"""

_REVOKE_HELP = """
Nothing more of a key enters once its revocation is logged. Signed by the key
itself, or by the operator.
"""

_RESOLVE_HELP = """
DID is a did:key, a did:lux, or a did:web with the did.json that was fetched
from it. A did:web is an alias: its document counts only if it repeats what the
ledger says of the did:lux that it names.
"""


def add_identity_commands(actions: Commands) -> None:
    """Add `ledger rotate`, `revoke`, `bind-account` and `resolve`."""
    turn = add_command(actions, "rotate", run_rotate, "log that a key follows one", _ROTATE_HELP)
    turn.add_argument("ledger_file", metavar="LEDGER", type=ledger_place)
    turn.add_argument("old", metavar="OLD", help="the old key's id")
    turn.add_argument("new", metavar="NEW.json", type=Path)
    void = add_command(actions, "revoke", run_revoke, "log that a key is revoked", _REVOKE_HELP)
    void.add_argument("ledger_file", metavar="LEDGER", type=ledger_place)
    void.add_argument("old", metavar="KEYID")
    void.add_argument("--reason", metavar="TEXT", required=True)
    void.add_argument("--at", metavar="SECONDS", type=int, help="from when on (now)")
    bind = add_command(actions, "bind-account", run_bind, "bind an account to a key", _BIND_HELP)
    bind.add_argument("ledger_file", metavar="LEDGER", type=ledger_place)
    bind.add_argument("--chain-id", metavar="N", type=int, required=True)
    add_account_key(bind)
    for parser in (turn, void, bind):
        parser.add_argument("--signer", metavar="KEY.json", type=Path, required=True)
        add_passphrase(parser)
    did = add_command(actions, "resolve", run_resolve, "show the document of a DID", _RESOLVE_HELP)
    did.add_argument("ledger_file", metavar="LEDGER", type=ledger_place)
    did.add_argument("did", metavar="DID")
    did.add_argument("--entries", metavar="N", type=int, help="as of the first N entries (all)")
    did.add_argument("--alias", metavar="DID:WEB", help="show the did.json for this website")
    did.add_argument(
        "--fetched", metavar="did.json", type=Path, help="of a did:web: check it against the ledger"
    )


def _log(options: argparse.Namespace, record: Record, at: int) -> dict[str, Any]:
    ledger = Ledger.open(options.ledger_file)
    try:
        index = ledger.append(Submission(record.envelope.to_bytes()), at)
        return {"index": index, "entries": ledger.log.size}
    finally:
        ledger.close()


def run_rotate(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Log that a new key follows an old one."""
    key, now, new = read_key(options.signer, passphrase(options)), int(time.time()), options.new
    public = read_public(new)
    body = {
        "keyid": public.keyid, "status": "active", "at": now, "reason": "", "name": new.stem,
        "jwk": public.jwk, "follows": options.old,
    }  # fmt: skip
    found = _log(options, sign_record(KEY_STATUS, body, [key], now), now)
    console.say(f"{public.keyid} follows {options.old}: entry {found['index']}")
    return {"keyid": public.keyid, "follows": options.old, **found}


def run_revoke(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Log that a key is revoked."""
    key, now = read_key(options.signer, passphrase(options)), int(time.time())
    body = {
        "keyid": options.old, "status": "revoked", "at": now if options.at is None else options.at,
        "reason": options.reason, "name": "revoked", "jwk": None, "follows": None,
    }  # fmt: skip
    found = _log(options, sign_record(KEY_STATUS, body, [key], now), now)
    console.say(f"{options.old} is revoked: entry {found['index']}")
    return {"keyid": options.old, **found}


def run_bind(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Bind an account to a key."""
    key, now = read_key(options.signer, passphrase(options)), int(time.time())
    account = account_key(options)
    if options.chain_id < 0:
        raise InvalidInput("--chain-id: expected a chain's number")
    ledger = Ledger.open(options.ledger_file)
    try:
        address = account.address.lower()
        origin = ledger.policy.origin
        signed = account.sign_text(account_text(options.chain_id, address, key.keyid, origin))
        body = {"chain_id": options.chain_id, "address": address, "jwk": key.public.jwk, **signed}
        record = sign_record(ACCOUNT, body, [key], now)
        index = ledger.append(Submission(record.envelope.to_bytes()), now)
        size = ledger.log.size
    finally:
        ledger.close()
    did = f"did:lux:{options.chain_id}:{address}"
    console.say(f"{did} is bound to {key.keyid}: entry {index}")
    return {"did": did, "keyid": key.keyid, "index": index, "entries": size}


def run_resolve(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show what a DID stands for."""
    ledger = Ledger.open(options.ledger_file)
    try:
        if options.fetched is not None:
            data = read_capped(options.fetched, MAX_DOCUMENT)
            found = verify_alias(data, options.did, ledger, options.entries)
        else:
            found = resolve(options.did, ledger, options.entries)
    finally:
        ledger.close()
    when = "" if found.entries is None else f", as of {found.entries} entries"
    for key in found.keys:
        console.say(f"{key.alg} {key.keyid}")
    console.say(f"{len(found.keys)} keys may sign for it{when}")
    document = found.document()
    if options.alias is not None:
        document = alias_document(found, options.alias)
        console.say(f"the document is for {alias_url(options.alias)}")
    return {"document": document, "entries": found.entries, "origin": found.origin}
