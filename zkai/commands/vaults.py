"""`zkai vault`: private objects, sealed, granted, revoked, moved."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.bundles import add_bundle_commands
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import PASSPHRASE_HELP, add_passphrase, passphrase
from zkai.commands.vault_files import FORMAT, opened, recipient_of
from zkai.encoding import as_path, hex32, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.ledger.ledger import Ledger
from zkai.ledger.postgres import is_url
from zkai.ledger.records import Record
from zkai.receipt.keyfile import read_key
from zkai.vault.keys import generate, read_vault_key, write_vault_key
from zkai.vault.store import ObjectStore
from zkai.vault.vault import KINDS, MAX_CARD, Card, Owner

MAX_DATA = 1 << 30
_KEYID = re.compile(r"[A-Za-z0-9_-]{43}")

_INIT_HELP = """
VAULT is the custodian's folder: cards of objects, and which ledger and store
they are of. The store is a folder (VAULT/objects if none is named) or any URL
of fsspec's, such as s3://bucket/prefix.
"""

_OWNER_HELP = f"""
--signer is the key that the ledger knows, --opener the one that opens the
object; both under one passphrase. {PASSPHRASE_HELP}"""

_ACCESS_HELP = """
Logs the access, or the refusal, before anything is handed out. CARD.json holds
the object's key wrapped to one reader: with it and the store they read.
"""

_READ_HELP = f"""
Needs no ledger: the card, the store and the reader's own key. {PASSPHRASE_HELP}"""


def add_commands(commands: Commands) -> None:
    """Add `vault` and its commands."""
    summary = "private objects: sealed, granted, revoked, moved"
    vault = commands.add_parser(
        "vault", help=summary, description=f"{summary.capitalize()}.", formatter_class=HelpFormatter
    )
    actions = vault.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True, parser_class=type(vault)
    )
    keygen = add_command(actions, "keygen", run_keygen, "make an encryption key", PASSPHRASE_HELP)
    keygen.add_argument("-o", "--out", metavar="KEY.json", type=Path, required=True)
    keygen.add_argument(
        "--public", metavar="FILE", type=Path, help="write the public half, to give to others"
    )
    add_passphrase(keygen)
    init = add_command(actions, "init", run_init, "begin a vault over a ledger", _INIT_HELP)
    init.add_argument("vault", metavar="VAULT", type=Path)
    init.add_argument("--ledger", metavar="LEDGER", required=True)
    init.add_argument("--store", metavar="URL", help="where sealed objects are kept")
    publish = add_command(actions, "publish", run_publish, "seal and log a file", _OWNER_HELP)
    publish.add_argument("vault", metavar="VAULT", type=Path)
    publish.add_argument("file", metavar="FILE", type=Path)
    publish.add_argument("--kind", choices=KINDS, default="other", help="what it is (other)")
    publish.add_argument("--fork", metavar="N", type=int, help="a fork that the signer's key signs")
    add_owner(publish)
    _add_consents(actions)
    _add_reading(actions)
    add_bundle_commands(actions)


def _add_consents(actions: Commands) -> None:
    grant = _add(actions, "grant", run_grant, "let somebody open an object", _OWNER_HELP)
    _add_reader(grant)
    revoke = _add(
        actions, "revoke", run_revoke, "seal an object anew without somebody", _OWNER_HELP
    )
    revoke.add_argument(
        "--to", metavar="KEY.json|KEYID", required=True, help="the reader, or their key's id"
    )
    erase = _add(actions, "erase", run_erase, "delete an object and its keys", _OWNER_HELP)
    for parser in (grant, revoke, erase):
        parser.add_argument("--purpose", metavar="TEXT", default="", help="goes into the log")
        add_owner(parser)


def _add_reading(actions: Commands) -> None:
    access = _add(actions, "access", run_access, "hand an object to a reader", _ACCESS_HELP)
    _add_reader(access)
    access.add_argument("--purpose", metavar="TEXT", default="", help="goes into the log")
    access.add_argument("--operator", metavar="KEY.json", type=Path, required=True)
    access.add_argument("-o", "--out", metavar="CARD.json", type=Path, required=True)
    add_passphrase(access)
    read = add_command(actions, "read", run_read, "open an object", _READ_HELP)
    read.add_argument("card", metavar="CARD.json", type=Path)
    read.add_argument("--opener", metavar="KEY.json", type=Path, required=True)
    read.add_argument("--store", metavar="URL", required=True, help="a folder, URL or gateway")
    read.add_argument("-o", "--out", metavar="FILE", type=Path, required=True)
    add_passphrase(read)
    _add(actions, "show", run_show, "show what became of an object")


def _add(
    actions: Commands, name: str, run: Any, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, summary, text)
    parser.add_argument("vault", metavar="VAULT", type=Path)
    parser.add_argument("object", metavar="OBJECT", help="its 0x name")
    return parser


def add_owner(parser: argparse.ArgumentParser) -> None:
    """Add the options that name an owner's two keys."""
    for name in ("signer", "opener"):
        parser.add_argument(f"--{name}", metavar="KEY.json", type=Path, required=True)
    add_passphrase(parser)


def _add_reader(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", metavar="KEY.json", type=Path, required=True, help="the reader's key, public half"
    )


def _owner(options: argparse.Namespace) -> Owner:
    text = passphrase(options)
    return Owner(read_key(options.signer, text), read_vault_key(options.opener, text))


def _name(options: argparse.Namespace) -> bytes:
    return parse_hex32(options.object, "OBJECT")


def _now() -> int:
    return int(time.time())


def run_keygen(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make a key and write it encrypted."""
    check_target(options.out, new=True)
    if options.public is not None and options.public.resolve() == options.out.resolve():
        raise InvalidInput("vault keygen: --public is another file than the key's")
    key = generate()
    write_vault_key(options.out, key, passphrase(options, new=True))
    if options.public is not None:
        write_atomic(options.public, json.dumps(key.recipient.jwk).encode("ascii") + b"\n")
    keyid = key.recipient.keyid
    console.say(f"{options.out}: key {keyid}, encrypted; without it its objects are lost")
    return {"key": str(options.out), "keyid": keyid, "jwk": key.recipient.jwk}


def run_init(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Begin a vault in a new folder."""
    Ledger.open(options.ledger).close()
    if options.vault.exists():
        raise InvalidInput(f"{options.vault}: exists already")
    store = options.store or str(as_path(options.vault).absolute() / "objects")
    ObjectStore(store)
    ledger = options.ledger
    if not is_url(ledger):
        ledger = str(as_path(ledger).absolute())
    (options.vault / "cards").mkdir(parents=True, mode=0o700)
    value = {"format": FORMAT, "ledger": ledger, "store": store}
    write_atomic(options.vault / "vault.json", json.dumps(value, indent=1).encode() + b"\n", 0o600)
    console.say(f"{options.vault}: begun")
    return {"vault": str(options.vault)}  # URLs may hold passwords


def run_publish(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Seal a file and log the consent."""
    data, owner = read_capped(options.file, MAX_DATA), _owner(options)
    with opened(options.vault) as vault:
        card = vault.publish(data, owner, kind=options.kind, fork=options.fork, at=_now())
    return _say(card, "published", console)


def run_grant(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Wrap an object's key to a reader and log the consent."""
    to, owner = recipient_of(options.to), _owner(options)
    with opened(options.vault) as vault:
        card = vault.grant(_name(options), owner, to, purpose=options.purpose, at=_now())
    return _say(card, f"granted to {to.keyid}", console)


def run_revoke(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Seal an object anew for everyone else and log it."""
    keyid, owner = options.to, _owner(options)
    if not _KEYID.fullmatch(keyid):
        keyid = recipient_of(Path(keyid)).keyid
    with opened(options.vault) as vault:
        card = vault.revoke(_name(options), owner, keyid, purpose=options.purpose, at=_now())
    return _say(card, f"revoked from {keyid}", console)


def run_erase(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Delete an object and log it."""
    owner = _owner(options)
    with opened(options.vault) as vault:
        vault.erase(_name(options), owner, purpose=options.purpose, at=_now())
    console.say(f"{options.object}: erased here; copies elsewhere stay")
    return {"object": hex32(_name(options)), "cid": None}


def run_access(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Log an access and write the card that the reader needs."""
    check_target(options.out)
    to, operator = recipient_of(options.to), read_key(options.operator, passphrase(options))
    with opened(options.vault) as vault:
        card = vault.access(_name(options), to, operator, purpose=options.purpose, at=_now())
    write_atomic(options.out, card.to_bytes(), 0o600)
    return {"card": str(options.out), **_say(card, f"served to {to.keyid}", console)}


def run_read(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Open an object with a card and the reader's key."""
    check_target(options.out)
    card = Card.from_bytes(read_capped(options.card, MAX_CARD), str(options.card))
    opener = read_vault_key(options.opener, passphrase(options))
    data = card.read(opener, ObjectStore(options.store), MAX_DATA)
    write_atomic(options.out, data, 0o600)
    console.say(f"{options.out}: {len(data)} bytes, those that {card.cid} names")
    return {"file": str(options.out), "bytes": len(data), "cid": card.cid}


def run_show(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show an object's consents and accesses."""
    found = []
    with opened(options.vault) as vault:
        for index, record in vault.ledger.history("object", hex32(_name(options))):
            assert isinstance(record, Record)
            said = record.predicate
            what = said.get("action") or said["outcome"]
            found.append({"index": index, "what": what, "cid": said["cid"],
                          "recipient": said["recipient"], "purpose": said["purpose"],
                          "signed": said["signed"]})  # fmt: skip
    if not found:
        raise InvalidInput(f"{options.object}: the ledger knows no such object")
    rows = [[str(r["index"]), r["what"], r["recipient"] or "", r["signed"]] for r in found]
    console.table(options.object, ["entry", "what", "key", "signed"], rows)
    return {"object": hex32(_name(options)), "trail": found}


def _say(card: Card, what: str, console: Console) -> dict[str, Any]:
    console.say(f"{hex32(card.object)}: {what}; {card.cid}")
    return {
        "object": hex32(card.object),
        "cid": card.cid,
        "kind": card.kind,
        "fork": card.fork,
        "readers": [recipient.keyid for recipient, _ in card.wraps],
    }
