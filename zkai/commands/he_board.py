"""What the commands of sessions share: the options that name a board, and what they read there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zkai.commands.options import Commands, add_command
from zkai.errors import InvalidInput
from zkai.federated.board import Board
from zkai.federated.decisions import Round
from zkai.federated.inputs import check_rule
from zkai.federated.moving import rule_at
from zkai.federated.record import View
from zkai.federated.rules import InputRule
from zkai.federated.schemes import load_scheme
from zkai.federated.session import Session


def add_board(
    actions: Commands, name: str, run: Any, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    """Add a command of a session: with --board, --round and --session."""
    parser = add_command(actions, name, run, summary, text)
    parser.add_argument("--board", metavar="BOARD", type=Path, required=True)
    parser.add_argument("--round", metavar="N", type=int, default=1, help="from 1 (1)")
    parser.add_argument("--session", metavar="HEX", help="id of the session that you trust")
    return parser


def session_of(options: argparse.Namespace, board: Board) -> Session:
    """Return the board's session, which is the trusted one where --session names that."""
    if options.session is None:
        return board.session()
    try:
        return board.session(bytes.fromhex(options.session.removeprefix("0x")))
    except ValueError as error:
        raise InvalidInput("--session: expected 64 hexadecimal digits") from error


def read_round(options: argparse.Namespace, rule: InputRule | None) -> Round:
    """Return the round as its board shows it, with the session's rule as it stands in it."""
    board = Board(options.board)
    session = session_of(options, board)
    session.check_round(options.round)
    if rule is not None:
        check_rule(session, rule)
    view = View.read(board, session)
    used = rule_at(rule, session, load_scheme(session), view, options.round)
    return Round(session, options.round, view, used)
