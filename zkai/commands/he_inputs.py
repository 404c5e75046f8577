"""`zkai he rule`, and a client's proof that its ciphertext holds what it trained."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from zkai import pipeline, statement_file
from zkai.beacon import BeaconFile
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command
from zkai.encoding import FIELD_MODULUS, hex32, parse_decimal
from zkai.encrypted import Sent, norm_bound, update_of
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.client import Keep
from zkai.federated.inputs import check_rule, input_bytes
from zkai.federated.moving import rule_at
from zkai.federated.record import View
from zkai.federated.rules import Base, InputRule
from zkai.federated.scheme import Int64
from zkai.federated.schemes import load_scheme
from zkai.federated.session import Session
from zkai.federated.update import unflatten
from zkai.he.quantise import squared_norm
from zkai.he.rlwe import Opening
from zkai.opening import UserState, read_state
from zkai.proof.formats import Keys, Proof, VerifyingKey
from zkai.sent_files import SentFiles

TENSOR = "weights"
"""The name of a head's weights in a session that names no tensors."""
TRAINING = ("keys", "old_state", "state", "history", "terms")

_RULE_HELP = """
Makes RULE/ for `zkai he open --inputs`: clients then hand in, with each
ciphertext, a proof of STATEMENT.toml (an encrypted_update; its [encryption]
becomes the session's) under --key, of an update of this L2 norm at most, in the
weights' own unit. --history-key names the keys of the proofs of the training
that led to it: genesis, steps, aggregates.

--base PROOF.json, repeated, pins where updates start: the proof of a genesis,
and those of the aggregates applied since, in order. A client that trained
another model is left out. With --follow the base moves on with the session: to
these come the means of its opened sums, each of which `zkai he decrypt --apply`
writes for `zkai prove` of an apply_aggregate. --user NAME=NUMBER pins whose training a client may
send: the signal `user` of its proofs, for every client of the session.
"""


def add_actions(actions: Commands) -> None:
    """Add `rule` to `he`."""
    rule = add_command(actions, "rule", run_rule, "say what clients have to prove", _RULE_HELP)
    rule.add_argument("out", metavar="RULE/", type=Path)
    rule.add_argument("--statement", metavar="STATEMENT.toml", type=Path, required=True)
    rule.add_argument("--key", metavar="FILE", type=Path, required=True, help="verifying.json")
    rule.add_argument("--norm", metavar="X", type=float, required=True, help="of an update")
    rule.add_argument(
        "--history-key", metavar="FILE", type=Path, action="append", default=[],
        help="a verifying.json of the training; repeated",
    )  # fmt: skip
    rule.add_argument(
        "--base", metavar="PROOF.json", type=Path, action="append", default=[], help="repeated"
    )
    rule.add_argument(
        "--follow", action="store_true", help="the base moves with the session's sums"
    )
    rule.add_argument(
        "--user", metavar="NAME=NUMBER", action="append", default=[], help="a client's; repeated"
    )
    rule.add_argument("--beacon", metavar="FILE", type=Path, help="that ordered the rows")


def add_rule(parser: argparse.ArgumentParser) -> None:
    """Add --inputs."""
    parser.add_argument(
        "--inputs", metavar="RULE/", type=Path, help="what proofs the session asks clients for"
    )


def read_rule(options: argparse.Namespace) -> InputRule | None:
    """Return the rule that --inputs names."""
    return None if options.inputs is None else InputRule.from_path(options.inputs)


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what a client proves its update from."""
    add_rule(parser)
    parser.add_argument("--keys", metavar="KEYS/", type=Path, help="of the rule's statement")
    parser.add_argument("--old-state", metavar="FILE", type=Path, help="the base's opening file")
    parser.add_argument("--state", metavar="FILE", type=Path, help="the last step's opening file")
    parser.add_argument(
        "--history", metavar="PROOF.json", type=Path, action="append", default=[],
        help="the fork's proofs from its genesis on, in order; repeated",
    )  # fmt: skip
    parser.add_argument("--terms", metavar="FILE", type=Path, help="the fork's terms")


def run_rule(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make a rule."""
    statement = statement_file.load(options.statement)
    if not isinstance(statement, EncryptedUpdate):
        raise InvalidInput(f"{options.statement}: expected an encrypted_update")
    history = [Proof.from_path(path) for path in options.base]
    beacon = None if options.beacon is None else BeaconFile.from_path(options.beacon)
    rule = InputRule(
        VerifyingKey.from_path(options.key),
        statement,
        norm_bound(statement.head, options.norm),
        tuple(VerifyingKey.from_path(path) for path in options.history_key),
        beacon,
        _base(history, options.follow),
        _users(options.user),
    )
    if rule.key.circuit_digest != statement.build().digest:
        raise InvalidInput(f"{options.key}: the key of another circuit than {options.statement}")
    rule.check_history(history, None)
    rule.write(options.out)
    if options.beacon is not None:
        shutil.copyfile(options.beacon, options.out / "beacon.json")
    console.say(f"{options.out}: rule {hex32(rule.digest)}")
    if rule.base is None:
        console.say("it pins no base: each client may have started from weights of its own")
    if rule.users is None:
        console.say("it pins no users: one person may be several clients")
    return {"rule": str(options.out), "digest": hex32(rule.digest), "norm_bound": rule.norm_bound}


def _base(history: Sequence[Proof], follows: bool) -> Base | None:
    if history:
        return replace(Base.of(history), follows=follows)
    if follows:
        raise InvalidInput("rule: --follow needs --base: where the first round starts")
    return None


def _users(listed: Sequence[str]) -> dict[str, int] | None:
    found = {}
    for text in listed:
        name, equals, number = text.partition("=")
        if not equals or name in found:
            raise InvalidInput(f"--user {text[:80]}: expected NAME=NUMBER, each name once")
        found[name] = parse_decimal(number, f"--user {name[:80]}", FIELD_MODULUS)
    return found or None


def keeper(folder: Path) -> Keep:
    """Return what keeps a ciphertext and its secrets in a new folder."""
    if os.path.lexists(folder):
        raise InvalidInput(f"{folder}: exists; name a new folder")
    return lambda sent, opening: SentFiles(folder, opening, sent).write()


@dataclass(frozen=True)
class ProvenUpdate:
    """A client's update between two states, and what proves a ciphertext of it."""

    rule: InputRule
    keys: Keys
    states: tuple[UserState, UserState] = field(repr=False)
    history: Sequence[Proof]
    terms: ForkTerms | None
    weight: int
    client: str

    def prove(self, sent: Sent, opening: Opening) -> bytes:
        """Return the body that goes with a ciphertext, checked as every key holder will check it.

        Raises VerificationError, saying what would be refused.
        """
        old, new = self.states
        values = {"old_state": old, "new_state": new, "norm_bound": self.rule.norm_bound}
        values |= {"weight": self.weight} if self.rule.statement.weighted else {}
        given = values | {"sent": sent, "opening": opening}
        proof = pipeline.prove(self.rule.statement, self.keys.proving, given)
        data = input_bytes(proof, self.history, self.terms)
        self.rule.check(sent, data, self.client, "this client's proof")
        return data

    def update(self, session: Session) -> dict[str, Int64]:
        """Return the difference of the states, in the session's tensors."""
        old, new = (state.values.weights.ravel() for state in self.states)
        found = unflatten(session, np.append(new - old, 0) if session.weighted else new - old)
        return {tensor.name: found[tensor.name] for tensor in session.tensors}


def proven_update(
    options: argparse.Namespace, session: Session, board: Board, keyid: str, weight: int
) -> ProvenUpdate:
    """Return what options say of a client's training, checked before anything is encrypted.

    Raises InvalidInput for missing options, another rule, key or state, and for an update that is
    too long; VerificationError for a history that key holders would refuse.
    """
    if missing := [name for name in ("inputs", *TRAINING[:3]) if getattr(options, name) is None]:
        needed = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InvalidInput(f"encrypt: the session takes proven updates only: give {needed}")
    rule = InputRule.from_path(options.inputs)
    check_rule(session, rule)
    if rule.base is not None and rule.base.follows:
        view = View.read(board, session)
        moved = rule_at(rule, session, load_scheme(session), view, options.round)
        assert isinstance(moved, InputRule)
        rule = moved
    if keyid not in session.clients_by_keyid:
        raise InvalidInput("client: this key is none of the session's clients")
    keys, name = Keys.from_path(options.keys), session.clients_by_keyid[keyid].name
    if keys.verifying.digest != rule.key.digest:
        raise InvalidInput(f"{options.keys}: other keys than the rule's")
    head = rule.statement.head
    old, new = read_state(options.old_state, head), read_state(options.state, head)
    history = [Proof.from_path(path) for path in options.history]
    terms = None if options.terms is None else ForkTerms.from_path(options.terms)
    rule.check_user(name, new.user)
    if rule.history:
        rule.check_history(history, terms)
        _check_states(update_of(history), old, new, options)
    found = ProvenUpdate(rule, keys, (old, new), history, terms, weight, name)
    difference = np.asarray(new.values.weights - old.values.weights, np.int64)
    if squared_norm(difference) > rule.norm_bound**2:
        raise InvalidInput(
            f"encrypt: the update is longer than the rule's norm_bound {rule.norm_bound}: clip it"
        )
    return found


def _check_states(
    wanted: Mapping[str, tuple[int, ...]],
    old: UserState,
    new: UserState,
    options: argparse.Namespace,
) -> None:
    for path, state, name, which in (
        (options.old_state, old, "old_state", "base"),
        (options.state, new, "new_state", "last state"),
    ):
        if wanted[name] != (state.commitment,):
            raise VerificationError(f"{path}: not the {which} of the history")
