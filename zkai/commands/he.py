"""`zkai he`: sums that nobody can decrypt alone; each command needs one party's files only."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands import (
    he_asking,
    he_ceremony,
    he_inputs,
    he_privacy,
    he_queries,
    he_results,
    he_sessions,
    he_training,
)
from zkai.commands.console import Console
from zkai.commands.he_board import add_board, session_of
from zkai.commands.he_inputs import add_rule, read_rule
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.encoding import hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.aggregator import OPENED, Aggregator, Status
from zkai.federated.board import Board
from zkai.federated.client import ClientParty
from zkai.federated.holder import KeyHolder
from zkai.federated.memory import Memory
from zkai.federated.messages import ABORT
from zkai.federated.parties import HOLDER, ROLES, Party, make_party, read_party_key
from zkai.federated.schemes import load_scheme
from zkai.federated.sealing import RoundKeys
from zkai.federated.update import Update, read_update

_MAX_STATEMENT = 1 << 16
_PAUSE_S = 0.05

_SUMMARY = "sum private updates, train and ask models under encryption"
_DESCRIPTION = """
Clients, an aggregator and key holders pass signed messages through BOARD, a
folder that nobody has to trust. A round: every client runs `encrypt`, then once
all have committed `reveal`; every key holder runs `serve` (or `cosign`, again
and again, and `partial`); the aggregator runs `aggregate`; anybody runs
`decrypt` and `verify`. docs/aggregation.md has the whole protocol.

compute, finetune, lora, card, query, ask, answer, read and concrete need no
board: a server works on ciphertexts of one client. docs/encrypted-training.md
says what each learns.
"""

_KEYGEN_HELP = """
Makes FOLDER/key.json, sealed under a passphrase, and FOLDER/public.json for
everyone. A key holder's folder also has one-time keys, one for each round: it
serves one session, and must never be restored from a backup.
"""

_ENCRYPT_HELP = """
UPDATE is a .npz of integer arrays with the session's names and shapes, or a
.npy. An update is encrypted once: never again after an abort, or in another
session. A session that compresses takes real numbers; what rounding loses, or
is not sent this round, waits in FOLDER and is added to the next update.

Give --session: whoever writes BOARD could name key holders of its own.

A session of proven updates takes no UPDATE: with --inputs, --keys, --old-state,
--state and --history the difference of the two states is encrypted, and proven
to be what the history's training changed. All is checked here first, as every
key holder will check it. --keep DIR/ is for a proof about the ciphertext later
(`zkai prove --sent DIR/`): whoever reads DIR/secrets.json can decrypt it.
"""

_AGGREGATE_HELP = """
Moves the round on as far as what is on BOARD allows, and says what it waits
for; run it again, or with --follow. With --proceed it goes on without clients
and key holders that are missing, if enough are there. --abort ends the round:
then train on, and begin the next.
"""

_COSIGN_HELP = """
Signs whatever the aggregator proposes now, if every rule of it holds, and hands
in this key holder's part of the dealing check. It signs one of each a round.
"""


def add_commands(commands: Commands) -> None:
    """Add `he keygen`, `open`, `encrypt`, `reveal`, `aggregate`, `cosign`, `partial`, ..."""
    he = commands.add_parser(
        "he", help=_SUMMARY, description=f"{_SUMMARY.capitalize()}.\n{_DESCRIPTION.rstrip()}",
        formatter_class=HelpFormatter,
    )  # fmt: skip
    actions = he.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True, parser_class=type(he)
    )
    keygen = add_command(actions, "keygen", run_keygen, "make a party's keys", _KEYGEN_HELP)
    keygen.add_argument("folder", metavar="FOLDER", type=Path)
    keygen.add_argument("--role", choices=ROLES, required=True)
    keygen.add_argument("--name", required=True, help="unique among the parties")
    keygen.add_argument("--cluster", help="of a client: the cluster it is summed in first")
    keygen.add_argument("--rounds", type=int, default=16, help="of a key holder (16)")
    add_passphrase(keygen)
    he_sessions.add_action(actions)
    he_inputs.add_actions(actions)
    encrypt = _add_party(actions, "encrypt", run_encrypt, "encrypt an update", _ENCRYPT_HELP)
    encrypt.add_argument("update", metavar="UPDATE", type=Path, nargs="?")
    encrypt.add_argument("--weight", type=int, default=1, help="this client's sample count (1)")
    encrypt.add_argument("--keep", metavar="DIR/", type=Path, help="what a proof takes")
    he_inputs.add_training(encrypt)
    _add_party(actions, "reveal", run_reveal, "show the ciphertext, once all are committed")
    aggregate = _add_party(
        actions, "aggregate", run_aggregate, "log, propose and add up", _AGGREGATE_HELP
    )
    add_rule(aggregate)
    aggregate.add_argument("--proceed", action="store_true", help="without those who are missing")
    aggregate.add_argument("--abort", metavar="REASON", help="end the round")
    _add_follow(aggregate)
    summary = "a key holder's checks and signatures"
    add_rule(_add_party(actions, "cosign", run_cosign, summary, _COSIGN_HELP))
    add_rule(_add_party(actions, "partial", run_partial, "a key holder's part of the decryption"))
    serve = _add_party(actions, "serve", run_serve, "cosign and partial, as a round goes on")
    _add_follow(serve)
    add_rule(serve)
    he_results.add_actions(actions)
    he_training.add_actions(actions)
    he_queries.add_actions(actions)
    he_asking.add_actions(actions)
    he_privacy.add_actions(actions)
    he_ceremony.add_actions(actions)


def _add_party(
    actions: Commands, name: str, run: Any, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    parser = add_board(actions, name, run, summary, text)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the party's own")
    add_passphrase(parser)
    return parser


def _add_follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--follow", metavar="SECONDS", type=int, default=0, help="go on for so long, or to the end"
    )


def run_keygen(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make a party's folder."""
    if (options.folder / "key.json").exists():
        raise InvalidInput(f"{options.folder}: holds a party's keys already; name a new folder")
    party = make_party(
        options.folder, options.role, options.name, passphrase(options, new=True),
        cluster=options.cluster, rounds=options.rounds,
    )  # fmt: skip
    console.say(f"{options.folder}: {party.role} {party.name}, key {party.key.keyid}")
    public = str(options.folder / "public.json")
    return {"role": party.role, "name": party.name, "keyid": party.key.keyid, "public": public}


def run_encrypt(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Encrypt an update and hand in the commitment."""
    board = Board(options.board)
    session = session_of(options, board)
    client = ClientParty(options.folder, read_party_key(options.folder, passphrase(options)))
    scheme, prove = load_scheme(session), None
    if session.inputs is None:
        if options.update is None or any(getattr(options, name) for name in he_inputs.TRAINING):
            raise InvalidInput("encrypt: the session takes an UPDATE, and no proofs")
        update: Update = read_update(options.update)
    else:
        if options.update is not None:
            raise InvalidInput(
                "encrypt: the update is the difference of the states: name no UPDATE"
            )
        keyid = client.key.keyid
        proven = he_inputs.proven_update(options, session, board, keyid, options.weight)
        update, prove = proven.update(session), proven.prove
    keep = None if options.keep is None else he_inputs.keeper(options.keep)
    message = client.encrypt(
        session, scheme, board, options.round, update, options.weight, prove, keep
    )
    console.say(f"round {options.round}: committed; run `zkai he reveal` once all have")
    return {"commitment": hex32(message.id), "ciphertext": message.predicate["ciphertext"],
            "ciphertext_bytes": scheme.ciphertext_bytes}  # fmt: skip


def run_reveal(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show a round's bodies."""
    board = Board(options.board)
    client = ClientParty(options.folder, read_party_key(options.folder, passphrase(options)))
    size = client.reveal(session_of(options, board), board, options.round)
    console.say(f"round {options.round}: {size:,} bytes shown")
    return {"bytes": size}


def run_aggregate(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Move a round on, or end it."""
    board = Board(options.board)
    session = session_of(options, board)
    key = read_party_key(options.folder, passphrase(options))
    scheme = load_scheme(session)
    aggregator = Aggregator.open(session, scheme, key, options.folder, board, read_rule(options))
    try:
        if options.abort is not None:
            message = aggregator.abort(options.round, options.abort)
            console.say(f"round {options.round}: aborted")
            return {"phase": ABORT, "abort": hex32(message.id)}
        until = time.monotonic() + options.follow
        status = aggregator.advance(options.round, wait=not options.proceed)
        while status.phase != OPENED and time.monotonic() < until:
            time.sleep(_PAUSE_S)
            status = aggregator.advance(options.round, wait=not options.proceed)
    finally:
        aggregator.close()
    return _say_status(options.round, status, console)


def _say_status(number: int, status: Status, console: Console) -> dict[str, Any]:
    for name, reason in status.refused.items():
        console.note(f"{name}: {reason}")
    if status.phase == OPENED:
        console.say(f"round {number}: opened; `zkai he decrypt` reads the sum")
    else:
        names = ", ".join(status.waiting) or "more"
        console.say(f"round {number}: waits at {status.phase} for {names}")
    return {"phase": status.phase, "waiting": list(status.waiting), "refused": status.refused}


def _holder(options: argparse.Namespace) -> tuple[KeyHolder, Board]:
    board = Board(options.board)
    session = session_of(options, board)
    key = read_party_key(options.folder, passphrase(options))
    if Party.from_path(options.folder / "public.json").role != HOLDER:
        raise InvalidInput(f"{options.folder}: not a key holder's folder")
    keys, memory = RoundKeys(options.folder / "round-keys", key), Memory(options.folder / "memory")
    scheme = load_scheme(session, he_ceremony.held_key(session, options.folder, key))
    return KeyHolder(session, scheme, key, keys, memory, read_rule(options)), board


def run_cosign(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Do what a key holder is asked for now, but the opening."""
    holder, board = _holder(options)
    done = holder.step(board, options.round, opening=False)
    console.say(f"round {options.round}: {', '.join(done) or 'nothing new is asked for'}")
    return {"done": done}


def run_partial(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Hand in a key holder's part of the decryption."""
    holder, board = _holder(options)
    message = holder.partial(board, options.round)
    console.say(f"round {options.round}: part of the decryption handed in; its key is deleted")
    return {"partial": hex32(message.id), "body": message.predicate["body"]}


def run_serve(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Do whatever a round asks of a key holder, until it is over or time is up."""
    holder, board = _holder(options)
    until, done, over = time.monotonic() + options.follow, list[str](), False
    while not over:
        try:
            done += holder.step(board, options.round)
            over = holder.finished(board, options.round)
        except (InvalidInput, VerificationError):
            # What is asked for may be ahead of its files, where something copies the board.
            if time.monotonic() >= until:
                raise
        if time.monotonic() >= until:
            break
        time.sleep(_PAUSE_S)
    console.say(f"round {options.round}: {', '.join(done) or 'nothing was asked for'}")
    return {"done": done, "over": over}
