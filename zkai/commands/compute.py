"""`zkai compute`: challenge a recorded training step, answer, check, replay."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.beacon import BeaconFile
from zkai.commands import agreements, disputes
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.compute import challenge as challenges
from zkai.compute.challenge import ANSWER_FORMAT, REPLAY, SAMPLE, Challenge, Drawn
from zkai.compute.kept import Run, by_group, verify_groups
from zkai.compute.record import (
    ACTIVATIONS,
    SignedRecord,
    parse_record,
    verify_chain,
    verify_record,
)
from zkai.compute.task import Task
from zkai.encoding import hex32, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.sample import chances
from zkai.merkle.tensor import open_tensors, write_tensors
from zkai.receipt.envelope import MAX_ENVELOPE
from zkai.receipt.trust import TrustStore

_CHALLENGE_HELP = """
RECORD is a step's signed record. A sample shows --percent of one tensor's
values, drawn by a beacon's round that was not public when the record was seen;
without --tensor the beacon draws the tensor too. A replay asks for everything.
"""

_ANSWER_HELP = """
RUN is the folder that the training hook keeps. What this writes shows private
weights, gradients or data to whoever reads it: a sample a part, a replay all.
"""

_CHECK_HELP = """
Checks who signed the record, with --records the whole run's, that the answer is
to this challenge, and that the record commits to what it shows. --own compares
with what you computed yourself: the folder of your own run of the task.
"""

_REPLAY_HELP = """
Computes the step with the program, FILE.py:NAME, whose code is run. On the
record's software an honest step is the same to the bit; elsewhere each tensor
must be within a bound on rounding errors. --next and --next-record take the
answer of the record after: the steps between the two are computed as well.
"""


def add_commands(commands: Commands) -> None:
    """Add `compute` and what it does."""
    summary = "challenge recorded training steps, replay them, settle disputes"
    parser = commands.add_parser(
        "compute",
        help=summary,
        description=f"{summary.capitalize()}.",
        formatter_class=HelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    ask = add_command(
        actions, "challenge", run_challenge, "ask for a part of a step", _CHALLENGE_HELP
    )
    ask.add_argument("record", metavar="RECORD", type=Path)
    ask.add_argument("--kind", choices=(SAMPLE, ACTIVATIONS, REPLAY), default=SAMPLE)
    ask.add_argument("--group", metavar="NAME", help="gradients, weights_after, deltas, ...")
    ask.add_argument("--tensor", metavar="NAME", help="which tensor (default: the beacon's)")
    ask.add_argument("--percent", metavar="X", type=float, help="of the tensor (default: 2)")
    ask.add_argument("--beacon", metavar="FILE", type=Path, help="a beacon's rounds")
    ask.add_argument("--round", metavar="N", type=int, help="which round draws")
    ask.add_argument("--value", metavar="0x...", help="32 bytes drawn otherwise, for --beacon")
    ask.add_argument("-o", "--out", metavar="FILE", type=Path, required=True)
    show = add_command(actions, "answer", run_answer, "answer a challenge", _ANSWER_HELP)
    show.add_argument("run_folder", metavar="RUN", type=Path)
    show.add_argument("challenge", metavar="CHALLENGE", type=Path)
    show.add_argument("-o", "--out", metavar="ANSWER", type=Path, required=True)
    check = add_command(actions, "check", run_check, "check an answer", _CHECK_HELP)
    check.add_argument("answer", metavar="ANSWER", type=Path)
    check.add_argument("--challenge", metavar="FILE", type=Path, required=True)
    _add_record(check)
    check.add_argument("--beacon", metavar="FILE", type=Path, help="the beacon that drew")
    check.add_argument("--own", metavar="RUN", type=Path, help="your own run of the task")
    again = add_command(
        actions, "replay", run_replay, "compute a recorded step again", _REPLAY_HELP
    )
    again.add_argument("answer", metavar="ANSWER", type=Path, help="to a replay's challenge")
    again.add_argument("--program", metavar="FILE.py:NAME", required=True)
    _add_record(again)
    again.add_argument(
        "--bitwise", action="store_true", help="refuse a record of other software than here"
    )
    again.add_argument("--next", metavar="ANSWER", type=Path, help="of the record after")
    again.add_argument("--next-record", metavar="RECORD", type=Path)
    agreements.add_commands(actions)
    disputes.add_commands(actions)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", metavar="RECORD", type=Path, required=True)
    parser.add_argument("--task", metavar="TASK.json", type=Path, required=True)
    parser.add_argument("--trust", metavar="TRUST.json", type=Path, required=True)
    parser.add_argument(
        "--records", metavar="RUN", type=Path,
        help="the run's task.json and records/: check the whole chain up to its end",
    )  # fmt: skip
    parser.add_argument(
        "--logged-at", metavar="SECONDS", type=int,
        help="when others saw the record, in seconds since 1970",
    )  # fmt: skip


def _read_record(path: Path) -> SignedRecord:
    return parse_record(read_capped(path, MAX_ENVELOPE), str(path))


def _verified(options: argparse.Namespace, path: Path) -> tuple[SignedRecord, Task]:
    task, signed = Task.from_path(options.task), _read_record(path)
    store = TrustStore.from_path(options.trust)
    now = int(time.time())
    verify_record(signed, task, store, at=now, logged_at=options.logged_at)
    if options.records is not None:
        run = Run(options.records)
        chain = [run.signed(step) for step in run.steps()]
        verify_chain([other.record for other in chain], task)
        for other in chain:
            verify_record(other, task, store, at=now, logged_at=options.logged_at)
        if signed.record.root not in (other.record.root for other in chain):
            raise VerificationError(f"{path}: not a record of the run in {options.records}")
    return signed, task


def _drawn(options: argparse.Namespace) -> Drawn:
    if options.value is not None:
        if options.beacon is not None or options.round is not None:
            raise InvalidInput("give --beacon with --round, or --value")
        return Drawn(parse_hex32(options.value, "--value"))
    if options.beacon is None or options.round is None:
        raise InvalidInput("a sample is drawn by --beacon with --round, or by --value")
    beacon = BeaconFile.from_path(options.beacon)
    return Drawn(beacon.value(options.round), beacon.id, options.round)


def run_challenge(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a challenge to a record."""
    check_target(options.out)
    record = _read_record(options.record).record
    if options.kind == REPLAY:
        given = (options.group, options.tensor, options.percent, options.beacon, options.value)
        if any(value is not None for value in given):
            raise InvalidInput("a replay asks for everything: no group, tensor, percent or beacon")
        asked = Challenge(record.task, record.root, record.step, REPLAY)
    else:
        group = ACTIVATIONS if options.kind == ACTIVATIONS else options.group
        if group is None or options.group not in (None, group):
            raise InvalidInput("--group: name what is sampled, or --kind activations")
        percent = 2.0 if options.percent is None else options.percent
        if not 0.1 <= percent <= 100:
            raise InvalidInput(f"--percent must be 0.1 to 100, got {percent}")
        asked = Challenge(
            record.task, record.root, record.step, SAMPLE, group, options.tensor,
            round(10 * percent), _drawn(options),
        )  # fmt: skip
    write_atomic(options.out, asked.to_bytes())
    console.say(f"{options.out}: a {asked.kind} of step {asked.step}")
    return {"challenge": str(options.out), "kind": asked.kind, "step": asked.step}


def _read_challenge(path: Path) -> Challenge:
    return Challenge.from_bytes(read_capped(path, challenges.MAX_BYTES), str(path))


def run_answer(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write what a challenge asks for."""
    check_target(options.out)
    asked, run = _read_challenge(options.challenge), Run(options.run_folder)
    found = challenges.answer(run, asked)
    write_tensors(options.out, found, {"format": ANSWER_FORMAT}, mode=0o600)
    size = sum(source.head.total for source in found.values())
    console.say(f"{options.out}: {size} bytes of step {asked.step}")
    return {"answer": str(options.out), "step": asked.step, "bytes": size}


def run_check(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check an answer against a signed record."""
    signed, task = _verified(options, options.record)
    asked, given = _read_challenge(options.challenge), open_tensors(options.answer)
    result = {"step": asked.step, "kind": asked.kind, "root": hex32(asked.root), "grade": "sampled"}
    if asked.kind == REPLAY:
        challenges.verify_challenge(signed.record, task, asked)
        verify_groups(signed.record, by_group(given, str(options.answer)), task.leaf_bytes)
        console.say(f"step {asked.step}: all tensors are those committed to; now replay them")
        return {**result, "grade": "signed only"}
    if options.beacon is not None:
        if options.logged_at is None:
            raise InvalidInput("--beacon needs --logged-at: the round is to be later than that")
        assert asked.drawn is not None
        asked.drawn.verify(BeaconFile.from_path(options.beacon), options.logged_at)
    shown = challenges.verify_sample(signed.record, task, asked, given)
    if options.own is not None:
        _compare(shown, Run(options.own), asked, task)
    drawn = len(shown.indices)
    console.say(
        f"step {asked.step}, {shown.group}, {shown.name}: {drawn} of {shown.count} leaves are those"
        " committed to" + ("" if options.own is None else ", and equal to your own")
    )
    found = chances(shown.count, drawn)
    console.table(
        "Had leaves been altered", ("share", "found with probability"),
        [(f"{share:.2%}", f"{chance:.4f}") for share, chance in found.items()],
    )  # fmt: skip
    return {
        **result,
        "group": shown.group,
        "tensor": shown.name,
        "leaves": shown.count,
        "samples": drawn,
        "beacon_checked": options.beacon is not None,
        "compared": options.own is not None,
        "detection": {str(share): round(chance, 6) for share, chance in found.items()},
    }


def _compare(shown: challenges.Sample, own: Run, asked: Challenge, task: Task) -> None:
    if own.task != task:
        raise InvalidInput(f"{own.folder}: the run of another task")
    if (mine := own.groups(asked.step).get(shown.group)) is None:
        raise VerificationError(f"step {asked.step}: your own run has no {shown.group}")
    shown.verify_among(mine)


def run_replay(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Compute a step again, and the steps to the next record."""
    if (options.next is None) != (options.next_record is None):
        raise InvalidInput("--next and --next-record belong together")
    signed, task = _verified(options, options.record)
    from zkai.compute.machine import load_program
    from zkai.compute.replay import replay_interval, replay_step

    path, colon, name = options.program.rpartition(":")
    if not colon or not path:
        raise InvalidInput("--program: expected FILE.py:NAME")
    program = load_program(path, name, task)
    groups = by_group(open_tensors(options.answer), str(options.answer))
    outcome = replay_step(program, task, signed.record, groups, exact=options.bitwise)
    result = {"step": signed.record.step, "mode": outcome.mode, "bounds": dict(outcome.shares)}
    console.say(f"step {signed.record.step}: computed again, {outcome.mode}")
    if outcome.shares:
        console.table(
            "Share of its bound that each group used", ("group", "share"),
            [(group, f"{share:.3g}") for group, share in outcome.shares.items()],
        )  # fmt: skip
    if options.next is not None:
        later, _ = _verified(options, options.next_record)
        end = by_group(open_tensors(options.next), str(options.next))
        replay_interval(program, task, signed.record, groups, later.record, end)
        console.say(f"steps {signed.record.step + 1} to {later.record.step}: computed again")
        result["next"] = later.record.step
    return result
