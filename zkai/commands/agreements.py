"""`zkai compute result` and `zkai compute agree`: one task, several trainers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.compute.redundancy import agree_by_digest, sign_result, sign_seal
from zkai.encoding import hex32, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.envelope import MAX_ENVELOPE, Envelope
from zkai.receipt.keyfile import read_key, read_public

_RESULT_HELP = """
ROOT is that of what the task gave (`zkai merkle root`). Sign before you see
another's result. With --seal it writes a hash that binds you to the result and
hides it: hand that in first, and the result once all seals are in.
"""

_AGREE_HELP = """
RESULTS are the signed results; --trainer names everyone who was given the task,
those who did not answer too. Ends with exit status 1 if no root has more than
half of them. An outlier's and the majority's results are the evidence: whoever
runs this on the same files finds the same. With --seal only results count that
their trainers had sealed, so that nobody gains by handing in another's.
"""


def add_commands(actions: Commands) -> None:
    """Add `result` and `agree` to `compute`."""
    result = add_command(actions, "result", run_result, "sign a task's result", _RESULT_HELP)
    result.add_argument("root", metavar="ROOT")
    result.add_argument("--task", metavar="0x...", required=True)
    result.add_argument("--key", metavar="KEY", type=Path, required=True)
    result.add_argument("-o", "--out", metavar="RESULT", type=Path, required=True)
    result.add_argument("--seal", action="store_true", help="hide the result for now")
    add_passphrase(result)
    agree = add_command(actions, "agree", run_agree, "find who agrees on a result", _AGREE_HELP)
    agree.add_argument("results", metavar="RESULT", type=Path, nargs="+")
    agree.add_argument("--task", metavar="0x...", required=True)
    agree.add_argument(
        "--trainer", metavar="KEY", type=Path, action="append", required=True, dest="trainers",
        help="a key file, whose public half is read; its name is the trainer's",
    )  # fmt: skip
    agree.add_argument(
        "--seal", metavar="SEAL", type=Path, action="append", dest="seals",
        help="what a trainer handed in before any result was shown",
    )  # fmt: skip


def run_result(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Sign a result."""
    check_target(options.out)
    task, root = parse_hex32(options.task, "--task"), parse_hex32(options.root, "ROOT")
    key = read_key(options.key, passphrase(options))
    signed = (sign_seal if options.seal else sign_result)(task, root, key)
    write_atomic(options.out, signed.to_bytes())
    what = "a seal" if options.seal else hex32(root)
    console.say(f"{options.out}: {what}, signed by {key.keyid}")
    kind = "seal" if options.seal else "result"
    return {kind: str(options.out), "root": hex32(root), "signer": key.keyid}


def run_agree(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Find the majority and the outliers."""
    trainers = {path.stem: read_public(path) for path in options.trainers}
    if len(trainers) != len(options.trainers):
        raise InvalidInput("--trainer: two key files have one name")
    envelopes = _envelopes(options.results)
    seals = None if options.seals is None else _envelopes(options.seals)
    found = agree_by_digest(parse_hex32(options.task, "--task"), trainers, envelopes, seals)
    for name, group in (("outliers", found.outliers), ("absent", found.absent)):
        if group:
            console.say(f"{name}: {', '.join(group)}")
    if found.root is None:
        raise VerificationError("no result is that of more than half of the trainers")
    console.say(f"root {hex32(found.root)}\nagreed on by {', '.join(found.majority)}")
    return {
        "root": hex32(found.root),
        "majority": list(found.majority),
        "outliers": list(found.outliers),
        "absent": list(found.absent),
        "unanimous": found.unanimous,
    }


def _envelopes(paths: Sequence[Path]) -> list[Envelope]:
    return [Envelope.from_bytes(read_capped(path, MAX_ENVELOPE), str(path)) for path in paths]
