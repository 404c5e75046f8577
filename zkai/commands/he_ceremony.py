"""`zkai he ceremony`: a joint key for scheme `ckks` that nobody holds, made and handed on."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.encoding import hex32, parse_hex32, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.federated.ckks_scheme import choose_sum, ckks_committee, ckks_parameters
from zkai.federated.key_ceremony import FILE, KeyCeremony, Renewal, numbered, read_ceremony
from zkai.federated.key_files import KeyShares
from zkai.federated.key_member import KeyMember
from zkai.federated.key_organiser import CONCLUDED, Organiser
from zkai.federated.key_transcript import Transcript, verify_ceremony
from zkai.federated.parties import AGGREGATOR, HOLDER, Party, read_party_key
from zkai.federated.session import CKKS, Session
from zkai.he.joint_key import HolderKey, JointKey
from zkai.receipt.signer import PrivateKey

_PAUSE_S = 0.05
_HANDED_IN, _PROPOSED = ("round-1/*-*/*",), ("record/checkpoint", "round-1/*-proposal")

_SUMMARY = "make a joint key for scheme ckks, or hand it to others"
_DESCRIPTION = """
Key holders make a key that none of them has, through a folder that nobody has
to trust. The aggregator runs `open` and then `advance`; every holder runs
`step`; both again and again, or with --follow. Anybody runs `verify`, and the
aggregator `zkai he open --scheme ckks --key BOARD`. docs/aggregation.md says
what each message is for.
"""

_OPEN_HELP = """
Begins a ceremony of the aggregator and the key holders in PARTIES/*.json (their
public.json files). --threshold of them will open a sum; with t, at least 2 t - 1
holders are needed. A key --once is for one round, as sums with noise ask, and
is never handed on.
"""

_RESHARE_HELP = """
Begins the resharing of OLD's key to the holders in PARTIES/*.json: the public
key stays. --dealers names as many old holders as open a sum; each of them, every
other old holder and every new one runs `step` with --ceremony, and old shares
are deleted at the end. New holders need new folders. Verify OLD before you agree.
"""

_STEP_HELP = """
Does what is due of this party now: hands in its part, signs that a phase is
over, keeps its share. --ceremony is the id that you agreed to; in a resharing
nobody takes part without it.
"""

_ADVANCE_HELP = """
Logs what is handed in, and moves on as far as possible; says what it waits for
and who is out for what reason. With --proceed it goes on without those who are
missing, if enough are there.
"""

_VERIFY_HELP = """
Recomputes the ceremony from BOARD alone: signatures, log, phases, every share's
check, complaints, and the key. -o writes the key as SEAL's PublicKey file.
"""


def add_actions(actions: Commands) -> None:
    """Add `ceremony open`, `reshare`, `advance`, `step` and `verify` to `he`."""
    group = actions.add_parser(
        "ceremony", help=_SUMMARY, formatter_class=HelpFormatter,
        description=f"{_SUMMARY.capitalize()}.\n{_DESCRIPTION.rstrip()}",
    )  # fmt: skip
    steps = group.add_subparsers(
        title="commands", dest="step", metavar="COMMAND", required=True, parser_class=type(group)
    )
    begin = _add_begin(steps, "open", run_open, "begin a ceremony", _OPEN_HELP)
    begin.add_argument("--once", action="store_true", help="a key for a single round")
    renew = _add_begin(steps, "reshare", run_reshare, "hand a key to new holders", _RESHARE_HELP)
    renew.add_argument("--from", dest="old", metavar="OLD", type=Path, required=True,
                       help="the board of the key's ceremony")  # fmt: skip
    renew.add_argument("--dealers", metavar="NAMES", required=True, help="for example h0,h2")
    advance = _add_board(steps, "advance", run_advance, "log and propose", _ADVANCE_HELP)
    advance.add_argument("--proceed", action="store_true", help="without those who are missing")
    step = _add_board(steps, "step", run_step, "do a holder's part", _STEP_HELP)
    for parser, whose in ((advance, "the aggregator's"), (step, "the party's own")):
        parser.add_argument("folder", metavar="FOLDER", type=Path, help=whose)
        parser.add_argument("--follow", metavar="SECONDS", type=int, default=0,
                            help="go on for so long, or to the end")  # fmt: skip
        add_passphrase(parser)
    verify = _add_board(steps, "verify", run_verify, "check a ceremony", _VERIFY_HELP)
    verify.add_argument("-o", "--out", metavar="KEY.seal", type=Path)


def _add_board(
    steps: Commands, name: str, run: Any, summary: str, text: str
) -> argparse.ArgumentParser:
    parser = add_command(steps, name, run, summary, text)
    parser.add_argument("--board", metavar="BOARD", type=Path, required=True)
    if run not in (run_open, run_reshare):
        parser.add_argument("--ceremony", metavar="HEX", help="id of the ceremony that you trust")
    return parser


def _add_begin(
    steps: Commands, name: str, run: Any, summary: str, text: str
) -> argparse.ArgumentParser:
    parser = _add_board(steps, name, run, summary, text)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the aggregator's")
    parser.add_argument("--parties", metavar="PARTIES", type=Path, required=True)
    parser.add_argument("--threshold", type=int, required=True, help="holders that open a sum")
    parser.add_argument("--origin", default="zkai.example/he-keys", help="the log's name")
    add_passphrase(parser)
    return parser


def run_open(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Begin a new key's ceremony."""
    return _begin(options, console, None, None)


def run_reshare(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Begin the resharing of a key."""
    old_board = Board(options.old)
    old = read_ceremony(old_board)
    found = verify_ceremony(old, old_board)
    assert found.joint is not None
    known = {member.name: member for member in old.holders}
    names = options.dealers.split(",")
    for name in names:
        if name not in known or known[name].place not in found.ceremony.holders:
            raise InvalidInput(f"--dealers: {name[:80]!r} holds no share of this key")
    if len(set(names)) != len(names) or len(names) != old.threshold:
        raise InvalidInput(f"--dealers: expected {old.threshold} old holders, each once")
    dealers = tuple(sorted((known[name] for name in names), key=lambda member: member.place))
    renewal = Renewal(found.joint.id, old.terms.digest, dealers)
    if old.once:
        raise InvalidInput("reshare: this key is for one round, and is not handed on")
    return _begin(options, console, renewal, found.joint)


def _begin(
    options: argparse.Namespace, console: Console, renews: Renewal | None, joint: JointKey | None
) -> Mapping[str, Any]:
    if (options.board / FILE).exists():
        raise InvalidInput(f"{options.board}: holds a ceremony already; name a new folder")
    if not options.parties.is_dir():
        raise InvalidInput(f"{options.parties}: expected a folder of public.json files")
    parties = [Party.from_path(path) for path in sorted(options.parties.glob("*.json"))]
    aggregators = [party.key for party in parties if party.role == AGGREGATOR]
    if len(aggregators) != 1:
        raise InvalidInput("ceremony: expected one aggregator, and key holders")
    holders = numbered([(party.name, party.key) for party in parties if party.role == HOLDER])
    once = renews is None and options.once
    terms = KeyCeremony(
        os.urandom(32), options.origin, aggregators[0], options.threshold, holders, once, renews
    )
    key = read_party_key(options.folder, passphrase(options))
    organiser = Organiser.open(terms, key, options.folder, Board(options.board))
    organiser.begin(joint)
    organiser.close()
    console.say(f"ceremony {hex32(terms.id)}")
    console.say(
        f"{options.threshold} of {len(holders)} key holders will open a sum; {terms.quorum} sign"
        " the end of each phase"
    )
    return {"ceremony": hex32(terms.id), "board": str(options.board), "holders": len(holders),
            "quorum": terms.quorum, "once": once}  # fmt: skip


def _terms(options: argparse.Namespace) -> tuple[KeyCeremony, Board]:
    board = Board(options.board)
    expected = None
    if options.ceremony is not None:
        text = f"0x{options.ceremony.removeprefix('0x')}"
        expected = parse_hex32(text, "--ceremony")
    return read_ceremony(board, expected), board


def run_advance(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Move a ceremony on."""
    terms, board = _terms(options)
    key = read_party_key(options.folder, passphrase(options))
    organiser = Organiser.open(terms, key, options.folder, board)
    try:
        status = organiser.advance(wait=not options.proceed)

        def again() -> bool:
            nonlocal status
            status = organiser.advance(wait=not options.proceed)
            return status.phase == CONCLUDED

        _follow(options, board, _HANDED_IN, again, status.phase == CONCLUDED)
    finally:
        organiser.close()
    for name, reason in status.refused.items():
        console.note(f"{name}: {reason}")
    if status.phase == CONCLUDED:
        console.say("ceremony: concluded; `zkai he ceremony verify` checks it")
    else:
        console.say(f"ceremony: waits at {status.phase} for {', '.join(status.waiting) or 'more'}")
    return {"phase": status.phase, "waiting": list(status.waiting), "refused": status.refused}


def _follow(
    options: argparse.Namespace,
    board: Board,
    watched: Sequence[str],
    act: Callable[[], bool],
    over: bool,
) -> None:
    """Act whenever watched files of the board change, until it is over or time is up."""
    until, seen = time.monotonic() + options.follow, None
    while not over and time.monotonic() < until:
        marks = _marks(board, watched)
        if marks != seen:
            seen = marks
            try:
                over = act()
                continue
            except (InvalidInput, VerificationError):
                # What is asked for may be ahead of its files, where something copies the board.
                if time.monotonic() + _PAUSE_S >= until:
                    raise
                seen = None
        time.sleep(_PAUSE_S)


def _marks(board: Board, watched: Sequence[str]) -> frozenset[tuple[str, int]]:
    """Return what distinguishes the watched files of a board from those of another moment."""
    found = set()
    for path in (path for pattern in watched for path in board.root.glob(pattern)):
        try:
            found.add((str(path), path.stat().st_mtime_ns))
        except OSError:
            continue
    return frozenset(found)


def run_step(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Do a party's part of a ceremony."""
    terms, board = _terms(options)
    key = read_party_key(options.folder, passphrase(options))
    member = KeyMember(terms, key, options.folder, options.ceremony is not None)
    done = list(member.step(board))

    def again() -> bool:
        done.extend(member.step(board))
        return member.finished()

    _follow(options, board, _PROPOSED, again, member.finished())
    over = member.finished()
    console.say(f"ceremony: {', '.join(done) or 'nothing new is asked for'}")
    return {"done": done, "over": over}


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check a ceremony from its board, and write its key."""
    if options.out is not None:
        check_target(options.out)
    terms, board = _terms(options)
    found = verify_ceremony(terms, board)
    assert found.joint is not None
    if options.out is not None:
        write_atomic(options.out, found.joint.to_seal())
    console.say(f"joint key {hex32(found.joint.id)}")
    names = _holding(found)
    console.say(f"{terms.threshold} of {', '.join(names)} open with it")
    for name, reason in found.ceremony.excluded.items():
        console.say(f"left out: {name}: {reason}")
    return {"key": hex32(found.joint.id), "ceremony": hex32(terms.id), "holders": names,
            "excluded": found.ceremony.excluded, "threshold": terms.threshold,
            "once": terms.once, "committee": hex32(terms.terms.digest)}  # fmt: skip


def session_parameters(
    options: argparse.Namespace, clients: int, values: int, largest: int, holders: int
) -> Mapping[str, Any]:
    """Return the parameters of a session of scheme `ckks` under the key of `--key`.

    Raises InvalidInput without one, or for a key that does not fit.
    """
    if options.key is None:
        raise InvalidInput("--scheme ckks: name the board of a key's ceremony with --key")
    board = Board(options.key)
    found = verify_ceremony(read_ceremony(board), board)
    if (found.terms.threshold, len(found.terms.holders)) != (options.threshold, holders):
        raise InvalidInput(
            f"--key: {found.terms.threshold} of {len(found.terms.holders)} hold this key, and the"
            f" session would have {options.threshold} of {holders}"
        )
    assert found.joint is not None
    assert found.certificate is not None
    chosen = choose_sum(values, clients, largest, options.threshold, holders)
    return ckks_parameters(chosen, found.joint, found.certificate)


def held_key(session: Session, folder: Path, key: PrivateKey) -> HolderKey | None:
    """Return a holder's share for a session: None with scheme `rlwe`, or if it was left out.

    Raises InvalidInput for a holder that did not finish its key's ceremony.
    """
    if session.scheme != CKKS:
        return None
    return KeyShares(folder / "joint-keys", key).expected(ckks_committee(session))


def _holding(found: Transcript) -> list[str]:
    names = [member.name for member in found.terms.holders]
    return [names[place - 1] for place in found.ceremony.holders]
