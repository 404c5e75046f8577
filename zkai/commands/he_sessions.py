"""`zkai he open`: a session, of the parties' public files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zkai.commands import he_ceremony, he_inputs, he_privacy
from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.encoding import hex32, load_json, read_capped
from zkai.errors import InvalidInput
from zkai.federated.aggregator import Aggregator
from zkai.federated.board import Board
from zkai.federated.compression import Compression
from zkai.federated.parties import Party, members, read_party_key
from zkai.federated.rules import InputRule
from zkai.federated.schemes import SCHEMES, choose_parameters, load_scheme
from zkai.federated.session import CKKS, RLWE, Client, Holder, Session, Tensor, parse_tensors
from zkai.federated.update import read_update
from zkai.he.rlwe import RlweParameters

_OPEN_HELP = """
Makes a session of the parties in PARTIES/*.json (their public.json files), and
BOARD with its log. What is summed is the shape of the arrays in --like, or a
JSON list of {"name", "shape"} in --tensors. Values are integers of at most
--bound; with --max-weight each client multiplies by its weight, and a sum of
the weights comes with the result. With --inputs RULE/ all of this follows from
the statement that clients prove, unless it is given.

With --compress X updates are real numbers of at most X, rounded to --bound
steps either side of 0 (127: eight bits); each client adds what that loses to
its next update. --keep N sends N values a round only: those where the last sum
was largest, and others in turn. Everybody sees which, and they tell of that
sum; a client's own largest would tell of its data, and cannot be asked for.
"""

_LARGE = ("key", "certificate")


def add_action(actions: Commands) -> None:
    """Add `open` to `he`."""
    start = add_command(actions, "open", run_open, "begin a session", _OPEN_HELP)
    start.add_argument("folder", metavar="FOLDER", type=Path, help="the aggregator's")
    start.add_argument("--board", metavar="BOARD", type=Path, required=True)
    start.add_argument("--parties", metavar="PARTIES", type=Path, required=True)
    shape = start.add_mutually_exclusive_group()
    shape.add_argument("--like", metavar="UPDATE", type=Path, help="an update, for its shapes")
    shape.add_argument("--tensors", metavar="FILE.json", type=Path, help="names and shapes")
    start.add_argument("--threshold", type=int, required=True, help="holders that open a sum")
    start.add_argument("--bound", type=int, help="largest absolute value")
    start.add_argument("--max-weight", type=int, help="largest weight (1: none)")
    start.add_argument("--compress", metavar="X", type=float, help="largest real value")
    start.add_argument("--keep", metavar="N", type=int, help="values sent a round, with --compress")
    start.add_argument("--minimum", type=int, default=2, help="clients at least (2)")
    start.add_argument("--percent", type=int, default=80, help="of the clients, at least (80)")
    start.add_argument("--scheme", choices=SCHEMES, default=RLWE, help=f"({RLWE})")
    start.add_argument("--key", metavar="BOARD", type=Path, help="of ckks: a ceremony's board")
    start.add_argument("--origin", default="zkai.example/he", help="the log's name")
    he_inputs.add_rule(start)
    he_privacy.add_options(start)
    add_passphrase(start)


def run_open(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Begin a session."""
    if (options.board / "session.json").exists():
        raise InvalidInput(f"{options.board}: holds a session already; name a new folder")
    if not options.parties.is_dir():
        raise InvalidInput(f"{options.parties}: expected a folder of public.json files")
    parties = [Party.from_path(path) for path in sorted(options.parties.glob("*.json"))]
    aggregator, clients, holders = members(parties)
    rule = he_inputs.read_rule(options)
    tensors, bound, weight = _summed(options, rule)
    compression = _compression(options)
    sent = options.keep or sum(tensor.size for tensor in tensors)
    values = sent + (weight > 1)
    least = max(options.minimum, -(-options.percent * len(clients) // 100))
    rounds = 1 if options.scheme == CKKS else min(len(holder.recipients) for holder in holders)
    noise = he_privacy.chosen_privacy(options, least, values, rounds, console)
    largest = bound * weight + (noise.noise_bound if noise else 0)
    session = Session(
        os.urandom(32), options.origin, aggregator, options.scheme,
        _parameters(options, rule, clients, holders, values, largest), tensors, bound, weight,
        clients, holders, options.threshold, options.minimum, options.percent,
        None if rule is None else rule.digest, None if noise is None else noise.fields,
        None if compression is None else compression.fields,
    )  # fmt: skip
    scheme, key = load_scheme(session), read_party_key(options.folder, passphrase(options))
    begun = Aggregator.open(session, scheme, key, options.folder, Board(options.board), rule)
    begun.begin()
    begun.close()
    console.say(f"session {hex32(session.id)}")
    console.say(
        f"{len(clients)} clients, of whom {session.least} must contribute; {session.threshold} of"
        f" {len(holders)} key holders open a sum, {session.quorum} sign each decision"
    )
    if len(holders) < 2 * session.threshold - 1:
        console.note("no sum of this session can be checked: take 2t - 1 holders or more")
    shown = {name: value for name, value in session.parameters.items() if name not in _LARGE}
    return {"session": hex32(session.id), "board": str(options.board), "clients": len(clients),
            "holders": len(holders), "quorum": session.quorum, "least": session.least,
            "values": session.values, "parameters": shown}  # fmt: skip


def _compression(options: argparse.Namespace) -> Compression | None:
    if options.compress is None:
        if options.keep is not None:
            raise InvalidInput("open: --keep goes with --compress: what is not sent has to wait")
        return None
    return Compression(repr(options.compress), options.keep)


def _summed(
    options: argparse.Namespace, rule: InputRule | None
) -> tuple[tuple[Tensor, ...], int, int]:
    """Return the tensors, the bound on values and that on weights: given, or the rule's."""
    tensors, bound, weight = _tensors(options), options.bound, options.max_weight
    if rule is not None:
        tensors = tensors or (Tensor(he_inputs.TENSOR, tuple(rule.statement.head.shape)),)
        bound = 1 << (rule.statement.update_bits - 1) if bound is None else bound
        weight = rule.statement.max_weight if weight is None else weight
    if not tensors or bound is None:
        raise InvalidInput("open: name --bound and --like or --tensors, or --inputs")
    return tensors, bound, 1 if weight is None else weight


def _parameters(
    options: argparse.Namespace,
    rule: InputRule | None,
    clients: Sequence[Client],
    holders: Sequence[Holder],
    values: int,
    largest: int,
) -> Mapping[str, Any]:
    """Return the scheme's parameters: those of the rule's statement, or such that sums fit."""
    count, threshold = len(clients), options.threshold
    if options.scheme == CKKS:
        return he_ceremony.session_parameters(options, count, values, largest, len(holders))
    if rule is None:
        return choose_parameters(options.scheme, count, largest, threshold, len(holders))
    given = rule.statement.encryption
    bits, packed = given.value_bits, given.values_per_coefficient
    return RlweParameters.choose(count, threshold, len(holders), bits, packed).to_json()


def _tensors(options: argparse.Namespace) -> tuple[Tensor, ...]:
    if options.like is not None:
        update = read_update(options.like)
        return tuple(Tensor(name, tuple(array.shape)) for name, array in update.items())
    if options.tensors is None:
        return ()
    value = load_json(read_capped(options.tensors, 1 << 22), str(options.tensors))
    return parse_tensors(value, str(options.tensors))
