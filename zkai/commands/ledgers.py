"""`zkai ledger`: begin a log, append to it, prove and check what it holds."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.ledger_keys import add_identity_commands
from zkai.commands.ledger_queries import (
    accept_checkpoint,
    add_freshness,
    add_questions,
    check_answer,
    prove_answer,
    question,
)
from zkai.commands.options import Commands, HelpFormatter, add_command, ledger_place
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.commands.receipts import place_of, read_receipt
from zkai.encoding import hex32, load_json, new_folder, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import read_key as read_verifying_key
from zkai.ledger.answer import FORMAT as ANSWER_FORMAT
from zkai.ledger.answer import MAX_ANSWER
from zkai.ledger.audit import Auditor, FromExport, FromLedger
from zkai.ledger.checkpoint import Checkpoint, InclusionProof, LogPolicy
from zkai.ledger.export import export, proof_digest, verify_export
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.note import MAX_NOTE, Note
from zkai.ledger.postgres import parse_url
from zkai.ledger.queries import KINDS
from zkai.ledger.records import parse_entry
from zkai.ledger.statusmap import MapProof
from zkai.ledger.witness import Witness
from zkai.proof.jsonform import expect_fields
from zkai.proof.keys import MAX_PROOF_BYTES
from zkai.receipt.envelope import MAX_ENVELOPE
from zkai.receipt.jcs import from_base64, to_base64
from zkai.receipt.keyfile import read_key, read_public
from zkai.receipt.statement import Receipt, write_time
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import verify_receipt

MAP_FORMAT = "zkai.map-proof/1"
_MAX_MAP_PROOF = 1 << 20

_INIT_HELP = """
LEDGER is one SQLite file, or a schema of a PostgreSQL server:
postgresql://user@host/database?schema=zkai. Its entry 0 states the rules, signed by the operator:
whose receipts may enter (--trust), proofs under which verifying keys (--key),
and, with --chain-id or --ledger, for which place. LEDGER.policy.json is for
whoever verifies: the log's name and key. Add witnesses to it with --witness.
"""

_APPEND_HELP = """
A receipt enters only if it verifies, its parent is its fork's head, its
commitments chain from there, its proof (--proof) verifies and its statement is
new. All of them enter or none. With --operator a checkpoint is signed as well.
"""

_AUDIT_HELP = """
A witness that checks the map too: admits every entry since its last checkpoint
anew into its own copy (--memory), all of them the first time, and cosigns only
if both roots are those that the entries give. Of a ledger that it can open, it
keeps the cosignature there; of an export, write it with -o. An auditor's key
must cosign nothing else: not `zkai ledger cosign`, which sees no entries.
"""

_PROVE_HELP = """
Proves that a receipt is logged, or with --name what the map says of a name:
key/KEYID, fork/FORK or nullifier/HEX. Or answers one question with everything
that a stranger needs to check that the answer is whole. All of it is as of the
latest checkpoint.
"""

_VERIFY_HELP = """
TARGET is a receipt, with --inclusion; or a name's proof; or an answer; or the
folder of an export, of which every entry is checked and admitted anew. With
--trust, receipts' signatures are checked as well, as of when they had been
logged by the word of the policy's quorum of witnesses.
"""


def add_commands(commands: Commands) -> None:
    """Add `ledger init`, `append`, `checkpoint`, `cosign`, `prove`, `verify`, `export`, `show`."""
    summary = "an append-only log of receipts"
    ledger = commands.add_parser(
        "ledger", help=summary, description="An append-only log of receipts.",
        formatter_class=HelpFormatter,
    )  # fmt: skip
    actions = ledger.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True, parser_class=type(ledger)
    )
    init = _add(actions, "init", run_init, "begin a ledger", _INIT_HELP)
    init.add_argument("--origin", metavar="NAME", required=True, help="the log's unique name")
    init.add_argument("--operator", metavar="KEY.json", type=Path, required=True)
    init.add_argument("--trust", metavar="TRUST.json", type=Path, required=True)
    init.add_argument(
        "--key", metavar="FILE", type=Path, action="append", default=[], dest="keys",
        help="a verifying.json whose proofs may enter; may be repeated",
    )  # fmt: skip
    init.add_argument(
        "--witness", metavar="NAME=KEY.json", action="append", default=[], dest="witnesses",
        help="a witness that the policy requires; may be repeated",
    )  # fmt: skip
    init.add_argument("--chain-id", metavar="N", type=int, help="chain that proofs must be for")
    init.add_argument("--ledger", metavar="HEX", help="contract or ledger id they must be for")
    init.set_defaults(recipient=None)
    add_passphrase(init)
    append = _add(actions, "append", run_append, "append receipts", _APPEND_HELP)
    append.add_argument("receipts", metavar="RECEIPT", type=Path, nargs="+")
    append.add_argument(
        "--proof", metavar="PROOF.json", type=Path, action="append", default=[], dest="proofs",
        help="a proof that one of them names; may be repeated",
    )  # fmt: skip
    append.add_argument("--operator", metavar="KEY.json", type=Path)
    add_passphrase(append)
    point = _add(actions, "checkpoint", run_checkpoint, "sign a checkpoint of everything")
    point.add_argument("--operator", metavar="KEY.json", type=Path, required=True)
    add_passphrase(point)
    _add_reading(actions)
    add_identity_commands(actions)


def _add(
    actions: Commands, name: str, run: Any, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, summary, text)
    parser.add_argument("ledger_file", metavar="LEDGER", type=ledger_place)
    return parser


def _add_reading(actions: Commands) -> None:
    cosign = _add(actions, "cosign", run_cosign, "cosign the latest checkpoint as a witness")
    cosign.add_argument("--policy", metavar="POLICY.json", type=Path, required=True)
    cosign.add_argument("--name", required=True, help="the witness's name")
    cosign.add_argument("--signer", metavar="KEY.json", type=Path, required=True)
    cosign.add_argument(
        "--memory", metavar="FILE", type=Path, required=True, help="what the witness saw last"
    )
    add_passphrase(cosign)
    audit = add_command(actions, "audit", run_audit, "replay, then cosign", _AUDIT_HELP)
    audit.add_argument("source", metavar="LEDGER|EXPORT/", type=ledger_place)
    audit.add_argument("--policy", metavar="POLICY.json", type=Path, required=True)
    audit.add_argument("--name", required=True, help="the auditor's name")
    audit.add_argument("--signer", metavar="KEY.json", type=Path, required=True)
    audit.add_argument(
        "--memory", metavar="FOLDER/", type=Path, required=True, help="the auditor's own copy"
    )
    audit.add_argument("-o", "--out", metavar="FILE", type=Path, help="the cosigned checkpoint")
    add_passphrase(audit)
    prove = _add(actions, "prove", run_prove, "prove what the ledger holds", _PROVE_HELP)
    prove.add_argument("receipt", metavar="RECEIPT", type=Path, nargs="?")
    prove.add_argument("--name", help="a name in the map")
    add_questions(prove)
    prove.add_argument("-o", "--out", metavar="FILE", type=Path, required=True)
    verify = add_command(actions, "verify", run_verify, "check a proof or an export", _VERIFY_HELP)
    verify.add_argument("target", metavar="TARGET", type=Path)
    verify.add_argument("--policy", metavar="POLICY.json", type=Path, required=True)
    verify.add_argument("--inclusion", metavar="FILE", type=Path, help="of `ledger prove`")
    verify.add_argument("--trust", metavar="TRUST.json", type=Path)
    add_freshness(verify)
    out = _add(actions, "export", run_export, "write static files that anyone can check")
    out.add_argument("-o", "--out", metavar="FOLDER/", type=Path, required=True)
    show = _add(actions, "show", run_show, "show a fork's, user's or model's history")
    show.add_argument("kind", choices=("fork", "user", "model"))
    show.add_argument("name", metavar="NUMBER")


@contextmanager
def _opened(where: Path | str) -> Iterator[Ledger]:
    ledger = Ledger.open(where)
    try:
        yield ledger
    finally:
        ledger.close()


def run_init(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Begin a ledger."""
    policy_path = _policy_path(options.ledger_file)
    check_target(policy_path, new=True)
    place, operator = place_of(options), read_key(options.operator, passphrase(options))
    policy = LogPolicy(options.origin, operator.public)
    witnesses = tuple(_witness(text) for text in options.witnesses)
    policy = replace(policy, witnesses=witnesses, quorum=len(witnesses))
    ledger = Ledger.create(
        options.ledger_file,
        options.origin,
        operator,
        TrustStore.from_path(options.trust),
        [read_verifying_key(path) for path in options.keys],
        place=None if place is None else (place.chain_id, place.ledger),
        at=int(time.time()),
    )
    ledger.checkpoint([operator])
    name = ledger.store.name
    ledger.close()
    policy.write(policy_path)
    console.say(f"{name}: begun; {policy_path} is for whoever verifies")
    return {"ledger": name, "policy": str(policy_path), **_size(1)}


def _policy_path(where: Path | str) -> Path:
    """Return where a new ledger's policy goes: beside its file, or here, named by its schema."""
    if isinstance(where, str):
        return Path(f"{parse_url(where)[1]}.policy.json")
    check_target(where, new=True)
    return where.with_name(where.name + ".policy.json")


def _witness(text: str) -> tuple[str, Any]:
    name, equals, path = text.partition("=")
    if not equals:
        raise InvalidInput(f"--witness {text}: expected NAME=KEY.json")
    return name, read_public(Path(path))


def _size(size: int) -> dict[str, Any]:
    return {"entries": size}


def run_append(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Append receipts."""
    proofs = {}
    for path in options.proofs:
        data = read_capped(path, MAX_PROOF_BYTES)
        proofs[sha256(data)] = data
    submissions = []
    for path in options.receipts:
        entry = read_capped(path, MAX_ENVELOPE)
        digest = proof_digest(parse_entry(entry, str(path)))
        submissions.append(Submission(entry, None if digest is None else proofs.get(digest)))
    operator = None
    if options.operator is not None:
        operator = read_key(options.operator, passphrase(options))
    with _opened(options.ledger_file) as ledger:
        indices = ledger.append_all(submissions, int(time.time()))
        note = None if operator is None else ledger.checkpoint([operator])
        size = ledger.log.size
    for path, index in zip(options.receipts, indices, strict=True):
        console.say(f"{path}: entry {index}")
    return {"indices": indices, **_size(size), "checkpoint": _text(note)}


def _text(note: Note | None) -> str | None:
    return None if note is None else note.text


def run_checkpoint(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Sign a checkpoint."""
    operator = read_key(options.operator, passphrase(options))
    with _opened(options.ledger_file) as ledger:
        note = ledger.checkpoint([operator])
    return _say_checkpoint(Checkpoint.from_text(note.text), None, console)


def run_cosign(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Cosign the latest checkpoint as a witness, if it extends the last."""
    policy = LogPolicy.from_path(options.policy)
    key = read_key(options.signer, passphrase(options))
    witness = Witness(options.name, key, options.memory)
    with _opened(options.ledger_file) as ledger:
        kept = ledger.store.checkpoint()
        if kept is None:
            raise InvalidInput(f"{ledger.store.name}: has no checkpoint yet")
        proof = ledger.log.consistency(min(witness.last(policy.origin).size, kept[0]), kept[0])
        now = int(time.time())
        note = witness.cosign(Note.from_bytes(kept[2]), policy, proof, now)
        alone = LogPolicy(policy.origin, policy.key, ((options.name, key.public),), 1)
        ledger.add_cosignatures(note, alone)
    return _say_checkpoint(Checkpoint.from_text(note.text), now, console)


def run_audit(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Replay what is new and cosign the latest checkpoint if both roots are right."""
    policy = LogPolicy.from_path(options.policy)
    key = read_key(options.signer, passphrase(options))
    options.memory.mkdir(exist_ok=True)
    auditor, now = Auditor(options.name, key, options.memory), int(time.time())
    if isinstance(options.source, Path) and options.source.is_dir():
        if options.out is None:
            raise InvalidInput("ledger audit: an export is audited with -o")
        note = auditor.cosign(FromExport(options.source), policy, now)
    else:
        with _opened(options.source) as ledger:
            note = auditor.cosign(FromLedger(ledger), policy, now)
            alone = LogPolicy(policy.origin, policy.key, ((options.name, key.public),), 1)
            ledger.add_cosignatures(note, alone)
    if options.out is not None:
        write_atomic(options.out, note.to_bytes())
    return _say_checkpoint(Checkpoint.from_text(note.text), now, console)


def _say_checkpoint(found: Checkpoint, seen: int | None, console: Console) -> dict[str, Any]:
    when = "" if seen is None else f", seen {write_time(seen)}"
    console.say(f"{found.origin}: {found.size} entries, root {hex32(found.root)}{when}")
    return {
        "origin": found.origin,
        **_size(found.size),
        "root": hex32(found.root),
        "map_root": hex32(found.map_root),
        "seen": seen,
    }


def run_prove(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write an entry's inclusion proof, what the map says of a name, or an answer."""
    asked = [options.receipt, options.name, *(getattr(options, kind) for kind in KINDS)]
    if sum(one is not None for one in asked) != 1:
        raise InvalidInput("ledger prove: name a receipt, a name in the map, or one question")
    check_target(options.out)
    with _opened(options.ledger_file) as ledger:
        if (found := question(options)) is not None:
            answer = prove_answer(ledger, *found, options.out)
        elif options.name is not None:
            data, answer = _prove_name(ledger, options.name)
            write_atomic(options.out, data)
        else:
            data, answer = _prove_entry(ledger, read_receipt(options.receipt))
            write_atomic(options.out, data)
    console.say(f"{options.out}: written, as of {answer['entries']} entries")
    return {"proof": str(options.out), **answer}


def _prove_entry(ledger: Ledger, receipt: Receipt) -> tuple[bytes, dict[str, Any]]:
    index = ledger.store.index_of(receipt.id)
    if index is None:
        raise InvalidInput("ledger prove: the receipt is not in the log")
    if ledger.store.entry(index) != receipt.to_bytes():
        raise InvalidInput(f"ledger prove: entry {index} is this receipt with other signatures")
    proof = ledger.log.prove_entry(index)
    size = Checkpoint.from_text(proof.note.text).size
    return proof.to_bytes(), {"index": index, **_size(size)}


def _prove_name(ledger: Ledger, name: str) -> tuple[bytes, dict[str, Any]]:
    value, proof, note = ledger.log.prove_name(name)
    document = {
        "format": MAP_FORMAT,
        "name": name,
        "value": None if value is None else to_base64(value),
        "proof": proof.to_json(),
        "checkpoint": note.to_bytes().decode(),
    }
    size = Checkpoint.from_text(note.text).size
    return json.dumps(document, indent=1).encode() + b"\n", _size(size)


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check an inclusion proof, a name's proof, an answer or an export."""
    policy = LogPolicy.from_path(options.policy)
    if options.target.is_dir():
        path = options.target / "checkpoint"
        note = Note.from_bytes(read_capped(path, MAX_NOTE), str(path))
        checkpoint, seen = accept_checkpoint(note, options, policy)
        if verify_export(options.target, policy) != checkpoint:
            raise VerificationError(f"{path}: changed while it was checked")
        return _say_checkpoint(checkpoint, seen, console)
    if options.inclusion is None:
        value = load_json(read_capped(options.target, MAX_ANSWER), str(options.target))
        if isinstance(value, dict) and value.get("format") == ANSWER_FORMAT:
            return check_answer(options, policy, console)
        return _verify_name(options, policy, console)
    data = read_capped(options.target, MAX_ENVELOPE)
    receipt = Receipt.from_bytes(data, str(options.target))
    proof = InclusionProof.from_bytes(
        read_capped(options.inclusion, MAX_NOTE), str(options.inclusion)
    )
    accept_checkpoint(proof.note, options, policy)
    checkpoint, seen = proof.verify(data, policy)
    if options.trust is not None:
        verify_receipt(receipt, TrustStore.from_path(options.trust), logged_at=seen)
    console.say(f"{options.target}: entry {proof.index}, valid as of {checkpoint.size} entries")
    return {"index": proof.index, **_say_checkpoint(checkpoint, seen, console)}


def _verify_name(
    options: argparse.Namespace, policy: LogPolicy, console: Console
) -> dict[str, Any]:
    path = options.target
    value = load_json(read_capped(path, _MAX_MAP_PROOF), str(path))
    if not isinstance(value, dict) or value.get("format") != MAP_FORMAT:
        raise InvalidInput(f"{path}: not a {MAP_FORMAT}; a receipt needs --inclusion")
    expect_fields(value, ("format", "name", "value", "proof", "checkpoint"), str(path))
    for name in ("name", "checkpoint"):
        if not isinstance(value[name], str):
            raise InvalidInput(f"{path}: {name}: expected text")
    proof = MapProof.from_json(value["proof"], f"{path}: proof")
    content = None
    if value["value"] is not None:
        content = from_base64(value["value"], f"{path}: value", 4096)
    note = Note.from_bytes(value["checkpoint"].encode(), str(path))
    checkpoint, seen = accept_checkpoint(note, options, policy)
    proof.verify(checkpoint.map_root, value["name"], content)
    said = None if content is None else load_json(content, f"{path}: value")
    console.say(f"{value['name']}: {'nothing' if said is None else json.dumps(said)}")
    return {"name": value["name"], "value": said, **_say_checkpoint(checkpoint, seen, console)}


def run_export(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a ledger as static files."""
    with _opened(options.ledger_file) as ledger, new_folder(options.out) as folder:
        checkpoint = export(ledger, folder)
    return {"export": str(options.out), **_say_checkpoint(checkpoint, None, console)}


def run_show(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show the entries of a fork, a user or a model."""
    found = []
    with _opened(options.ledger_file) as ledger:
        for index, record in ledger.history(options.kind, options.name):
            assert isinstance(record, Receipt)
            said = record.predicate
            found.append({"index": index, "id": hex32(record.id), "kind": said["kind"],
                          "fork": said["fork"], "step": said["step"],
                          "signed": said["times"]["signed"]})  # fmt: skip
    rows = [[str(row[c]) for c in ("index", "kind", "step", "signed")] for row in found]
    console.table(f"{options.kind} {options.name}", ["entry", "kind", "step", "signed"], rows)
    return {"history": found}
