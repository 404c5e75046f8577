"""`zkai merkle`: commit to tensors, answer a random sample, check the answer."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.encoding import canonical_json, hex32, load_json, parse_hex32, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.merkle import sample
from zkai.merkle.commitment import LEAF_BYTES, Commitment, commit
from zkai.merkle.tensor import open_tensors

MAX_TABLE_BYTES = 1 << 26

_ROOT_HELP = """
FILE is a .safetensors or .npy file of any size: it is read once, a piece at a
time. The table that this writes is public; publish or log its root.
"""

_SAMPLE_HELP = """
The beacon's value must not have been known when the root was published. It
draws the leaves; FILE must still be what was committed to.
"""

_VERIFY_HELP = """
Give the root from where it was published, not from the one who answers. The
check says how likely altered parts of several sizes would have been found.
"""


def add_commands(commands: Commands) -> None:
    """Add `merkle` and what it does."""
    parser = commands.add_parser(
        "merkle",
        help="commit to tensors, answer random samples, check them",
        description="Commit to tensors, answer random samples, check them.",
        formatter_class=HelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    root = add_command(actions, "root", run_root, "commit to the tensors of a file", _ROOT_HELP)
    root.add_argument("file", metavar="FILE", type=Path)
    root.add_argument(
        "--leaf-bytes", metavar="N", type=int, default=LEAF_BYTES, help=f"default: {LEAF_BYTES}"
    )
    root.add_argument("-o", "--out", metavar="TABLE.json", type=Path, help="what to write")
    take = add_command(actions, "sample", run_sample, "answer a random sample", _SAMPLE_HELP)
    take.add_argument("file", metavar="FILE", type=Path)
    _add_challenge(take)
    take.add_argument(
        "-o", "--out", metavar="ANSWER", type=Path, required=True, help="what to write"
    )
    check = add_command(actions, "verify", run_verify, "check an answer", _VERIFY_HELP)
    check.add_argument("answer", metavar="ANSWER", type=Path)
    _add_challenge(check)
    check.add_argument("--root", metavar="0x...", required=True, help="the published root")


def _add_challenge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", metavar="TABLE.json", type=Path, required=True)
    parser.add_argument(
        "--beacon", metavar="0x...", required=True, help="32 bytes drawn after the commitment"
    )
    parser.add_argument("--count", metavar="N", type=int, help="how many leaves")
    parser.add_argument(
        "--fraction", metavar="X", type=float, help="which share of the leaves (default: 0.01)"
    )


def _challenge(options: argparse.Namespace, commitment: Commitment) -> sample.Challenge:
    if options.count is not None and options.fraction is not None:
        raise InvalidInput("give --count or --fraction, not both")
    fraction = 0.01 if options.fraction is None else options.fraction
    if not 0 < fraction <= 1:
        raise InvalidInput(f"--fraction must be above 0 and at most 1, got {fraction}")
    count = options.count or math.ceil(fraction * commitment.leaves)
    return sample.Challenge(parse_hex32(options.beacon, "--beacon"), count)


def _read_table(path: Path) -> Commitment:
    return Commitment.from_json(load_json(read_capped(path, MAX_TABLE_BYTES), str(path)), str(path))


def run_root(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Hash a file's tensors and write their table."""
    if options.out is not None:
        check_target(options.out)
    with console.progress() as progress:
        commitment = commit(open_tensors(options.file), options.leaf_bytes, progress)
    if options.out is not None:
        write_atomic(options.out, canonical_json(commitment.to_json()))
    console.say(
        f"root {hex32(commitment.root)}\n"
        f"{len(commitment.tensors)} tensors, {commitment.total} bytes, {commitment.leaves} leaves"
    )
    return {
        "root": hex32(commitment.root),
        "tensors": len(commitment.tensors),
        "bytes": commitment.total,
        "leaves": commitment.leaves,
        "leaf_bytes": commitment.leaf_bytes,
        "table": None if options.out is None else str(options.out),
    }


def run_sample(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write the leaves that the beacon draws, with their proofs."""
    check_target(options.out)
    commitment = _read_table(options.table)
    challenge = _challenge(options, commitment)
    answers = sample.answer(commitment, open_tensors(options.file), challenge)
    sample.write_answer(options.out, answers)
    count = min(challenge.count, commitment.leaves)
    console.say(f"{options.out}: {count} of {commitment.leaves} leaves")
    return {"answer": str(options.out), "samples": count, "leaves": commitment.leaves}


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check an answer against a published root."""
    root = parse_hex32(options.root, "--root")
    commitment = _read_table(options.table)
    challenge = _challenge(options, commitment)
    answers = sample.read_answer(options.answer, commitment, challenge)
    sample.verify(commitment, challenge, answers, root)
    samples, leaves = min(challenge.count, commitment.leaves), commitment.leaves
    console.say(f"sampled: {samples} of {leaves} leaves are those committed to")
    chances = sample.chances(leaves, samples)
    console.table(
        "Had leaves been altered", ("share", "found with probability"),
        [(f"{share:.2%}", f"{chance:.4f}") for share, chance in chances.items()],
    )  # fmt: skip
    return {
        "root": hex32(commitment.root),
        "leaves": leaves,
        "samples": samples,
        "grade": "sampled",
        "detection": {str(share): round(chance, 6) for share, chance in chances.items()},
    }
