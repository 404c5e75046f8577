"""`zkai receipt`: keys, trust stores, signing, verifying, showing."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from zkai.assignment import ZERO, Destination
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import PASSPHRASE_HELP, add_passphrase, passphrase
from zkai.encoding import hex32, load_json, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput
from zkai.halo2.formats import AnyProof, parse_proof
from zkai.halo2.formats import read_key as read_verifying_key
from zkai.proof.keys import MAX_PROOF_BYTES
from zkai.receipt.envelope import MAX_ENVELOPE
from zkai.receipt.exports import to_cose, to_jws
from zkai.receipt.keyfile import read_key, read_public, write_key
from zkai.receipt.signer import ED25519, IMPLEMENTATIONS, ML_DSA_65, PYCA, PrivateKey, generate
from zkai.receipt.statement import Facts, Place, Receipt, issue
from zkai.receipt.trust import TrustStore, revoke, rotate, trust
from zkai.receipt.verify import verify_proof_of, verify_receipt

MAX_FACTS = 1 << 20

_SIGN_HELP = f"""
FACTS.json is an object of what the proof does not show: hyperparameters,
environment, metering, privacy, sources, tee, started, finished, critical,
extensions; docs/receipt.md describes them. A proof under a ceremony's key needs
--key. The destination must be the proof's own. Without a proof a receipt is its
signers' word about the files that --artifact names: a --kind of merge, say.
{PASSPHRASE_HELP}"""

_VERIFY_HELP = """
Checks the signatures against your trust store and, with --proof and --key, that
the receipt is of this proof and that the proof holds. Without them a receipt is
its signers' word. --production refuses development keys, as `zkai verify` does.
"""


_EXPORT_HELP = """
jws is JSON that any JOSE library with ML-DSA verifies; cose is a COSE_Sign1, and
with --issuer and --subject a SCITT signed statement. Each is a new signature
over the same statement. cose needs a receipt with one signer.
"""


_PAGE_HELP = """
One HTML file that verifies receipts in a browser, without a network: open it
from disk. Hand it on by another way than the receipts that it is to check.
"""


def add_commands(commands: Commands) -> None:
    """Add `receipt keygen`, `trust`, `rotate`, `revoke`, `sign`, `verify`, `export` and others."""
    summary = "sign what a proof is about, and check who signed"
    receipt = commands.add_parser(
        "receipt",
        help=summary,
        description=f"{summary.capitalize()}.",
        formatter_class=HelpFormatter,
    )
    actions = receipt.add_subparsers(
        title="commands",
        dest="action",
        metavar="COMMAND",
        required=True,
        parser_class=type(receipt),
    )
    _add_key_commands(actions)
    sign = add_command(actions, "sign", run_sign, "sign a receipt", _SIGN_HELP)
    sign.add_argument("proof", metavar="PROOF.json", type=Path, nargs="?")
    sign.add_argument(
        "--kind", choices=("aggregation", "merge", "query"), help="of a receipt without a proof"
    )
    sign.add_argument(
        "--artifact", metavar="NAME=FILE", action="append", default=[], dest="artifacts",
        help="a file that the receipt is about, by digest; may be repeated",
    )  # fmt: skip
    sign.add_argument(
        "--commitment", metavar="SIGNAL", action="append", default=[], dest="commitments",
        help="a public signal that is a commitment besides the known ones; may be repeated",
    )  # fmt: skip
    sign.add_argument(
        "--signer", metavar="KEY.json", type=Path, action="append", required=True, dest="signers",
        help="a signing key; may be repeated",
    )  # fmt: skip
    sign.add_argument("--key", metavar="FILE", type=Path, help="the proof's verifying.json")
    sign.add_argument("--parent", metavar="RECEIPT", type=Path, help="the fork's last receipt")
    sign.add_argument("--facts", metavar="FACTS.json", type=Path, help="what else to sign")
    sign.add_argument("-o", "--out", metavar="RECEIPT", type=Path, required=True)
    add_passphrase(sign)
    add_place(sign)
    verify = add_command(actions, "verify", run_verify, "verify a receipt", _VERIFY_HELP)
    verify.add_argument("receipt", metavar="RECEIPT", type=Path)
    verify.add_argument("--trust", metavar="TRUST.json", type=Path, required=True)
    verify.add_argument("--proof", metavar="PROOF.json", type=Path, help="the proof's file")
    verify.add_argument("--key", metavar="FILE", type=Path, help="your copy of its verifying.json")
    verify.add_argument(
        "--implementation", choices=IMPLEMENTATIONS, default=PYCA, help=f"of ML-DSA-65 ({PYCA})"
    )
    verify.add_argument(
        "--production", action="store_true", help="refuse development keys; needs --vk-digest"
    )
    verify.add_argument(
        "--vk-digest", metavar="HEX", action="append", default=[],
        help="digest of a key that you trust; may be repeated",
    )  # fmt: skip
    add_place(verify)
    out = add_command(actions, "export", run_export, "sign a receipt in another form", _EXPORT_HELP)
    out.add_argument("receipt", metavar="RECEIPT", type=Path)
    out.add_argument("--format", choices=("jws", "cose"), required=True, dest="form")
    out.add_argument(
        "--signer", metavar="KEY.json", type=Path, action="append", required=True, dest="signers",
        help="the receipt's signers, in their order",
    )  # fmt: skip
    out.add_argument("--issuer", metavar="TEXT", help="of a SCITT statement (cose)")
    out.add_argument("--subject", metavar="TEXT", help="of a SCITT statement (cose)")
    out.add_argument("-o", "--out", metavar="FILE", type=Path, required=True)
    add_passphrase(out)
    show = add_command(actions, "show", run_show, "show a receipt without checking anything")
    show.add_argument("receipt", metavar="RECEIPT", type=Path)
    page = add_command(actions, "page", run_page, "write the browser's verifier page", _PAGE_HELP)
    page.add_argument("-o", "--out", metavar="FILE.html", type=Path, required=True)


def _add_key_commands(actions: Commands) -> None:
    keygen = add_command(actions, "keygen", run_keygen, "make a signing key", PASSPHRASE_HELP)
    keygen.add_argument("-o", "--out", metavar="KEY.json", type=Path, required=True)
    keygen.add_argument(
        "--alg", choices=(ML_DSA_65, ED25519), default=ML_DSA_65, help=f"algorithm ({ML_DSA_65})"
    )
    keygen.add_argument(
        "--implementation", choices=IMPLEMENTATIONS, default=PYCA, help=f"which library ({PYCA})"
    )
    add_passphrase(keygen)
    store = add_command(actions, "trust", run_trust, "make a trust store that requires keys")
    store.add_argument("keys", metavar="KEY.json", type=Path, nargs="+")
    store.add_argument("-o", "--out", metavar="TRUST.json", type=Path, required=True)
    turn = add_command(actions, "rotate", run_rotate, "let a new key follow one in a trust store")
    turn.add_argument("trust", metavar="TRUST.json", type=Path)
    turn.add_argument("old", metavar="KEYID")
    turn.add_argument("new", metavar="KEY.json", type=Path)
    _add_moment(turn)
    void = add_command(actions, "revoke", run_revoke, "revoke a key in a trust store")
    void.add_argument("trust", metavar="TRUST.json", type=Path)
    void.add_argument("old", metavar="KEYID")
    void.add_argument("--reason", required=True)
    _add_moment(void)


def _add_moment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--at", metavar="SECONDS", type=int, help="from when on, in seconds since 1970 (now)"
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a proof's destination."""
    parser.add_argument("--chain-id", metavar="N", type=int, help="chain that the proof is for")
    parser.add_argument("--ledger", metavar="HEX", help="contract address or ledger id")
    parser.add_argument("--recipient", metavar="HEX", help="address that the proof is for")


def place_of(options: argparse.Namespace) -> Place | None:
    """Return the destination that the options name, None if they name none."""
    if (options.chain_id, options.ledger, options.recipient) == (None, None, None):
        return None
    found = Destination(options.chain_id or 0, options.ledger or ZERO, options.recipient or ZERO)
    assert isinstance(found.ledger, bytes)
    assert isinstance(found.recipient, bytes)
    return Place(found.chain_id, found.ledger, found.recipient)


def read_receipt(path: Path) -> Receipt:
    """Return the receipt of a file, not verified. Raises InvalidInput."""
    return Receipt.from_bytes(read_capped(path, MAX_ENVELOPE), str(path))


def run_keygen(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make a key and write it encrypted."""
    check_target(options.out, new=True)
    key = generate(options.alg, options.implementation)
    write_key(options.out, key, passphrase(options, new=True))
    console.say(f"{options.out}: {key.alg} key {key.keyid}, encrypted; keep it, and its passphrase")
    return {"key": str(options.out), "alg": key.alg, "keyid": key.keyid, "jwk": key.public.jwk}


def run_trust(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a store in which each of the keys is required."""
    check_target(options.out, new=True)
    store = trust([(path.stem, read_public(path)) for path in options.keys])
    return _write_store(store, options.out, console)


def run_rotate(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Let a new key follow an old one."""
    at = int(time.time()) if options.at is None else options.at
    store = TrustStore.from_path(options.trust)
    new = rotate(store, options.old, read_public(options.new), options.new.stem, at)
    return _write_store(new, options.trust, console)


def run_revoke(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Revoke a key from a moment on."""
    at = int(time.time()) if options.at is None else options.at
    store = revoke(TrustStore.from_path(options.trust), options.old, at, options.reason)
    return _write_store(store, options.trust, console)


def _write_store(store: TrustStore, path: Path, console: Console) -> dict[str, Any]:
    TrustStore.from_json(store.to_json())
    store.write(path)
    for key in store.keys:
        state = "" if key.revoked is None else f", revoked: {key.revoked.reason}"
        console.say(f"{key.name}: {key.public.alg} {key.public.keyid}{state}")
    return {"trust": str(path), **store.to_json()}


def run_sign(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Sign a receipt for a proof, or about files."""
    check_target(options.out)
    artifacts = dict(_artifact(text) for text in options.artifacts)
    if len(artifacts) != len(options.artifacts):
        raise InvalidInput("receipt sign: each --artifact has a name of its own")
    proof = None if options.proof is None else _proof(options.proof)
    if (proof is None) == (options.kind is None) or (proof is None and not artifacts):
        raise InvalidInput("receipt sign: give a proof, or a --kind and each --artifact it is of")
    key = None if options.key is None else read_verifying_key(options.key)
    parent = None if options.parent is None else read_receipt(options.parent).id
    facts = _facts(options.facts, parent)
    keys = signers_of(options)
    receipt = issue(
        proof, keys, kind=options.kind, verifying_key=key, place=place_of(options), facts=facts,
        artifacts=artifacts, commitments=options.commitments,
    )  # fmt: skip
    write_atomic(options.out, receipt.to_bytes())
    console.say(f"{options.out}: receipt {hex32(receipt.id)} of a {receipt.predicate['kind']}")
    return {"receipt": str(options.out), "id": hex32(receipt.id), "statement": receipt.statement}


def _proof(path: Path) -> AnyProof:
    data = read_capped(path, MAX_PROOF_BYTES)
    proof = parse_proof(data, str(path))
    if proof.file_bytes() != data:
        raise InvalidInput(f"{path}: not as zkai writes it; receipts name exact bytes")
    return proof


def _artifact(text: str) -> tuple[str, bytes]:
    name, equals, path = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--artifact {text}: expected NAME=FILE")
    with open(path, "rb") as file:
        return name, hashlib.file_digest(file, "sha256").digest()


def signers_of(options: argparse.Namespace) -> list[PrivateKey]:
    """Return the keys that the options name, opened with their passphrase."""
    text = passphrase(options)
    return [read_key(path, text) for path in options.signers]


def _facts(path: Path | None, parent: bytes | None) -> Facts:
    if path is None:
        return Facts(parent=parent)
    value = load_json(read_capped(path, MAX_FACTS), str(path))
    if not isinstance(value, dict) or not set(value) <= set(_FACTS):
        raise InvalidInput(f"{path}: expected an object of {', '.join(sorted(_FACTS))}")
    for name, item in value.items():
        listed = item if isinstance(item, list) and name == "sources" else []
        if not isinstance(item, _FACTS[name]) or not all(isinstance(s, dict) for s in listed):
            raise InvalidInput(f"{path}: {name}: see docs/receipt.md for what it holds")
    return Facts(parent=parent, **value)


_FACTS: dict[str, tuple[type, ...]] = {
    "hyperparameters": (dict,), "environment": (dict,), "metering": (dict,), "privacy": (dict,),
    "sources": (list,), "tee": (dict,), "started": (int,), "finished": (int,),
    "critical": (list,), "extensions": (dict,),
}  # fmt: skip


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Verify a receipt and, if it is given, the proof."""
    if (options.proof is None) != (options.key is None):
        raise InvalidInput("receipt verify: --proof and --key go together")
    if options.proof is None and (options.production or options.vk_digest):
        raise InvalidInput("receipt verify: --production and --vk-digest need --proof and --key")
    receipt = read_receipt(options.receipt)
    store = TrustStore.from_path(options.trust)
    verify_receipt(receipt, store, place=place_of(options), implementation=options.implementation)
    grade = "signed only"
    if options.proof is not None:
        verify_proof_of(
            receipt,
            read_capped(options.proof, MAX_PROOF_BYTES),
            read_verifying_key(options.key),
            production=options.production,
            trusted_digests=options.vk_digest,
        )
        grade = receipt.grade
    console.say(f"{options.receipt}: verified; {grade}")
    _say(receipt, console)
    return {"id": hex32(receipt.id), "grade": grade, "statement": receipt.statement}


def run_export(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Sign a receipt's statement as a JWS or a COSE_Sign1."""
    check_target(options.out)
    receipt, keys = read_receipt(options.receipt), signers_of(options)
    if options.form == "jws":
        if options.issuer is not None or options.subject is not None:
            raise InvalidInput("receipt export: --issuer and --subject are for cose")
        data = to_jws(receipt, keys)
    elif len(keys) != 1:
        raise InvalidInput("receipt export: cose has one signer")
    else:
        data = to_cose(receipt, keys[0], issuer=options.issuer, subject=options.subject)
    write_atomic(options.out, data)
    console.say(f"{options.out}: {options.form} of {hex32(receipt.id)}")
    return {"export": str(options.out), "format": options.form, "id": hex32(receipt.id)}


def run_show(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show what a receipt says."""
    receipt = read_receipt(options.receipt)
    console.say(f"{options.receipt}: NOT verified; if it and its proof are: {receipt.grade}")
    _say(receipt, console)
    return {"id": hex32(receipt.id), "verified": False, "statement": receipt.statement}


def run_page(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write the page that the package ships."""
    check_target(options.out)
    data = files("zkai.receipt").joinpath("page/verify.html").read_bytes()
    write_atomic(options.out, data)
    console.say(f"{options.out}: open it in a browser")
    return {"page": str(options.out), "sha256": hex32(sha256(data))}


def _say(receipt: Receipt, console: Console) -> None:
    predicate = receipt.predicate
    console.say(f"id: {hex32(receipt.id)}")
    for name in ("kind", "model", "fork", "user", "step", "parent"):
        if predicate[name] is not None:
            console.say(f"{name}: {predicate[name]}")
    if (proof := predicate["proof"]) is not None:
        console.say(f"statement: {proof['statement']}, {proof['key']['status']} key")
    console.say(f"signed: {predicate['times']['signed']}")
    for signer in predicate["signers"]:
        console.say(f"signer: {signer['alg']} {signer['keyid']}")
