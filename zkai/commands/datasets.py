"""`zkai dataset`: commit to rows, fix a fork's terms, offer an evaluation set, open its samples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai import statement_file
from zkai.beacon import BeaconFile, beacon_element
from zkai.circuit.statements.dataset import Dataset, DatasetShape
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.encoding import FIELD_MODULUS, parse_decimal
from zkai.errors import InvalidInput
from zkai.model.fixed_point import check_width, to_fixed
from zkai.statement_table import read_samples

_COMMIT_HELP = """
DATA.npz holds the arrays x (rows x features, real numbers or integers of the
head's scale under x_integers) and labels. The statement, a training_step or an
evaluation with a [dataset], says how rows are quantised and grouped in leaves.
The file that this writes holds rows and salt: only its owner can read it, and
without it nothing can be proven. The commitment is what it prints.
"""

_TERMS_HELP = """
Log the fork's number before the first round exists: whoever knows a round's
value can look for terms whose batches it likes.
"""

_SAMPLES_HELP = """
For the owner of an evaluation set: the rows that a round draws, with what opens
them, for somebody whose state was logged before that round. Hand over nothing
more.
"""


def add_commands(commands: Commands) -> None:
    """Add `dataset` and what it does."""
    parser = commands.add_parser(
        "dataset",
        help="commit to rows, fix a fork's terms, draw an evaluation's samples",
        description="Commit to rows, fix a fork's terms, draw an evaluation's samples.",
        formatter_class=HelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    commit = add_command(actions, "commit", run_commit, "commit to labelled rows", _COMMIT_HELP)
    commit.add_argument("data", metavar="DATA.npz", type=Path)
    commit.add_argument("--statement", metavar="STATEMENT.toml", type=Path, required=True)
    _add_out(commit, "ROWS.json")
    terms = add_command(actions, "terms", run_terms, "fix a fork's terms", _TERMS_HELP)
    terms.add_argument("rows", metavar="ROWS.json", type=Path)
    terms.add_argument("--beacon", metavar="FILE", type=Path, required=True, help="its description")
    terms.add_argument("--first-round", metavar="N", type=int, required=True)
    terms.add_argument("--rounds-per-step", metavar="N", type=int, default=1, help="default: 1")
    terms.add_argument("--max-skips", metavar="N", type=int, default=0, help="default: 0")
    _add_out(terms, "TERMS.json")
    chosen = add_command(actions, "set", run_set, "offer rows as an evaluation set")
    chosen.add_argument("rows", metavar="ROWS.json", type=Path)
    chosen.add_argument(
        "--owner", metavar="NAME", required=True, help="the owner's public name, a decimal number"
    )
    _add_out(chosen, "SET.json")
    samples = add_command(
        actions, "samples", run_samples, "open the samples of a round", _SAMPLES_HELP
    )
    samples.add_argument("rows", metavar="ROWS.json", type=Path)
    samples.add_argument("--set", metavar="SET.json", type=Path, required=True)
    samples.add_argument("--statement", metavar="STATEMENT.toml", type=Path, required=True)
    samples.add_argument("--beacon", metavar="FILE", type=Path, required=True, help="its rounds")
    samples.add_argument("--round", metavar="N", type=int, required=True)
    _add_out(samples, "SAMPLES.json")


def _add_out(parser: argparse.ArgumentParser, metavar: str) -> None:
    parser.add_argument(
        "-o", "--out", metavar=metavar, type=Path, required=True, help="what to write"
    )


def run_commit(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Quantise rows, salt them, and write them with their salt."""
    statement = statement_file.load(options.statement)
    shape = getattr(statement, "dataset", None)
    head = getattr(statement, "head", None)
    if not isinstance(shape, DatasetShape) or head is None:
        raise InvalidInput(f"{options.statement}: has no [dataset]")
    check_target(options.out, new=True)
    arrays = read_samples(options.data)
    if "labels" not in arrays or ("x" in arrays) == ("x_integers" in arrays):
        raise InvalidInput(f"{options.data}: expected the arrays labels, and x or x_integers")
    x = arrays.get("x_integers")
    if x is None:
        x = to_fixed(arrays["x"], head.input_scale_bits, "x")
        check_width(x, head.input_width, "x")
    dataset = Dataset(shape.schema(head), x, arrays["labels"])
    dataset.write(options.out)
    console.say(
        f"{options.out}: {dataset.size} rows and their salt; keep it secret, and keep it\n"
        f"commitment {dataset.root}"
    )
    return {
        "rows": str(options.out),
        "root": str(dataset.root),
        "size": dataset.size,
        "schema": str(dataset.schema.digest),
    }


def run_terms(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a new fork's terms."""
    dataset, beacon = Dataset.from_path(options.rows), BeaconFile.from_path(options.beacon)
    check_target(options.out)
    terms = ForkTerms(
        dataset.root,
        dataset.size,
        dataset.schema.digest,
        beacon.id,
        options.first_round,
        options.rounds_per_step,
        options.max_skips,
    )
    terms.write(options.out)
    time = beacon.time_of(terms.first_round)
    console.say(
        f"{options.out}: fork {terms.fork}\n"
        f"log it before round {terms.first_round}, at {time} seconds since 1970"
    )
    return {"terms": str(options.out), "fork": str(terms.fork), "first_round_time": time}


def run_set(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write an evaluation set's public description."""
    dataset = Dataset.from_path(options.rows)
    chosen = EvaluationSet.of(dataset, parse_decimal(options.owner, "--owner", FIELD_MODULUS))
    check_target(options.out)
    chosen.write(options.out)
    console.say(f"{options.out}: evaluation set {chosen.commitment}")
    return {"set": str(options.out), "commitment": str(chosen.commitment)}


def run_samples(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write the rows that a round draws."""
    statement = statement_file.load(options.statement)
    if not isinstance(statement, Evaluation):
        raise InvalidInput(f"{options.statement}: is no evaluation")
    dataset, chosen = Dataset.from_path(options.rows), EvaluationSet.from_path(options.set)
    beacon, number = BeaconFile.from_path(options.beacon), options.round
    check_target(options.out)
    value = beacon_element(beacon.id, number, beacon.value(number))
    samples = Samples.drawn(dataset, chosen, value, number, statement.samples)
    samples.write(options.out)
    console.say(f"{options.out}: {statement.samples} samples of round {number}")
    return {"samples": str(options.out), "round": number, "rows": statement.samples}
