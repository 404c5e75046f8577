"""`zkai compute policy` and `zkai compute dispute`: what checking is worth, and who lied."""

from __future__ import annotations

import argparse
import math
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zkai.beacon import BeaconFile
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.compute import detection
from zkai.compute.dispute import Game, Verdict
from zkai.compute.dispute_file import (
    open_record,
    read_inputs,
    read_state,
    write_inputs,
    write_record,
)
from zkai.compute.player import Player, forfeit
from zkai.compute.program import Program, Trace, program_from_json
from zkai.compute.settlement import Evidence, ProofRules, decide
from zkai.compute.terms import CHALLENGER, CLAIMANT, Terms
from zkai.encoding import hex32, load_json, parse_hex32, read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.formats import VerifyingKey
from zkai.receipt.keyfile import read_key, read_public

SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
MAX_PROGRAM = 1 << 20

_POLICY_HELP = """
Of --population leaves or steps some are checked, drawn by a beacon that nobody
knew before. Says how likely each share of altered ones is caught, in a round
and in several, how many samples catch it with probability --catch, and the
least stakes at which cheating does not pay, in any one currency: for a lazy
trainer, who saves its share of --cost, and for one who gains --gain whatever
the share. What is lost when caught is the stake and the reward.
"""

_OPEN_HELP = """
PROGRAM.json is {"kind": "head"|"network", ...} as in docs/policies.md, STATE a
.safetensors file with weights, x and labels. Keys are those of `zkai receipt
keygen`; their public halves are read. The referee can do one thing: say that a
party did not move in time.
"""

_MOVE_HELP = """
Runs the program from STATE, makes the move that is due and adds it, signed, to
RECORD. Send RECORD to the other party; it holds no tensor but what float32
operators leave to be compared.
"""

_VERIFY_HELP = """
Checks every move again and says who lost. --terms is the digest that `dispute
open` printed: without it any dispute will do. INPUTS come from either party;
they are checked against the state that both agreed on. Of a fork's proven steps
it takes the key, the fork's terms and the beacon instead.
"""


def add_commands(actions: Commands) -> None:
    """Add `policy` and `dispute` to `compute`."""
    policy = add_command(actions, "policy", run_policy, "say what checking is worth", _POLICY_HELP)
    policy.add_argument("--population", metavar="N", type=int, required=True)
    policy.add_argument("--samples", metavar="K", type=int, help="default: 1 %% of them")
    policy.add_argument("--rounds", metavar="R", type=int, default=10, help="default: 10")
    policy.add_argument("--catch", metavar="P", type=float, default=0.99, help="default: 0.99")
    policy.add_argument("--reward", metavar="X", type=float, default=1.0, help="default: 1")
    policy.add_argument("--cost", metavar="X", type=float, default=1.0, help="default: 1")
    policy.add_argument("--gain", metavar="X", type=float, default=1.0, help="default: 1")
    summary = "find the operator where two runs of a program part"
    dispute = actions.add_parser(
        "dispute", help=summary, description=f"{summary.capitalize()}.",
        formatter_class=HelpFormatter,
    )  # fmt: skip
    _add_dispute(
        dispute.add_subparsers(title="actions", dest="step", metavar="ACTION", required=True)
    )


def _add_dispute(actions: Commands) -> None:
    run = add_command(actions, "claim", run_claim, "run a program and print the root it ends in")
    run.add_argument("program", metavar="PROGRAM.json", type=Path)
    run.add_argument("--state", metavar="STATE", type=Path, required=True)
    start = add_command(actions, "open", run_open, "write the terms of a dispute", _OPEN_HELP)
    start.add_argument("program", metavar="PROGRAM.json", type=Path)
    start.add_argument("--state", metavar="STATE", type=Path, required=True)
    start.add_argument("--claimed", metavar="0x...", required=True, help="the claimant's result")
    for role in (CLAIMANT, CHALLENGER):
        start.add_argument(f"--{role}", metavar="KEY", type=Path, required=True)
    start.add_argument("--referee", metavar="KEY", type=Path)
    start.add_argument(
        "--limit", metavar="SECONDS", type=int, default=3600, help="for a move (default: 3600)"
    )
    start.add_argument("-o", "--out", metavar="RECORD", type=Path, required=True)
    move = add_command(actions, "move", run_move, "make the move that is due", _MOVE_HELP)
    move.add_argument("record", metavar="RECORD", type=Path)
    move.add_argument("--state", metavar="STATE", type=Path, required=True)
    move.add_argument("--key", metavar="KEY", type=Path, required=True)
    move.add_argument("--inputs", metavar="INPUTS", type=Path, help="write what decides, if due")
    add_passphrase(move)
    late = add_command(actions, "forfeit", run_forfeit, "say that a party did not move in time")
    late.add_argument("record", metavar="RECORD", type=Path)
    for name in ("since", "until"):
        late.add_argument(f"--{name}", metavar="SECONDS", type=int, required=True)
    late.add_argument("--key", metavar="KEY", type=Path, required=True, help="the referee's")
    add_passphrase(late)
    check = add_command(actions, "verify", run_verify, "say who lost, and why", _VERIFY_HELP)
    check.add_argument("record", metavar="RECORD", type=Path)
    check.add_argument("--terms", metavar="0x...", help="the digest of the terms")
    check.add_argument("--inputs", metavar="INPUTS", type=Path)
    check.add_argument("--vk", metavar="KEY.json", type=Path, help="verifying key of a step")
    check.add_argument("--fork", metavar="TERMS.json", type=Path, help="the fork's terms")
    check.add_argument("--beacon", metavar="FILE", type=Path)


def run_policy(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Print what a sample is worth."""
    population, rounds = options.population, options.rounds
    if population < 1:
        raise InvalidInput("--population must be at least 1")
    samples = math.ceil(population / 100) if options.samples is None else options.samples
    rows, found = [], {}
    for share in SHARES:
        altered = math.ceil(share * population)
        chance = detection.by_sampling(population, altered, samples)
        in_rounds = detection.over_rounds(chance, rounds)
        enough = detection.fewest_samples(population, altered, options.catch)
        stakes = [
            detection.minimum_stake(chance, options.reward, saved)
            for saved in (share * options.cost, options.gain)
        ]
        found[str(share)] = {
            "altered": altered,
            "detection": chance,
            "in_rounds": in_rounds,
            "samples": enough,
            "stake_lazy": _finite(stakes[0]),
            "stake_gain": _finite(stakes[1]),
        }
        shown = [f"{stake:,.2f}" if math.isfinite(stake) else "never" for stake in stakes]
        rows.append([f"{share:.2%}", f"{chance:.4f}", f"{in_rounds:.4f}", f"{enough:,}", *shown])
    columns = ["altered", "caught", f"in {rounds} rounds", f"samples for {options.catch:g}"]
    columns += ["stake if lazy", "stake if it gains"]
    console.table(f"{samples:,} of {population:,} checked", columns, rows)
    return {"population": population, "samples": samples, "rounds": rounds, "shares": found}


def _finite(stake: float) -> float | None:
    return stake if math.isfinite(stake) else None


def _read_program(path: Path) -> Program:
    return program_from_json(load_json(read_capped(path, MAX_PROGRAM), str(path)), str(path))


def run_claim(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Run a program and print its roots."""
    program, state = _read_program(options.program), read_state(options.state)
    last = Trace(program, state).state(program.steps).root
    console.say(f"from {hex32(state.root)}\nto   {hex32(last)} after {program.steps} steps")
    return {"initial": hex32(state.root), "claimed": hex32(last), "steps": program.steps}


def run_open(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a record without moves."""
    check_target(options.out)
    terms = Terms(
        _read_program(options.program),
        read_state(options.state).root,
        parse_hex32(options.claimed, "--claimed"),
        read_public(options.claimant),
        read_public(options.challenger),
        secrets.token_bytes(32),
        None if options.referee is None else read_public(options.referee),
        options.limit,
    )
    write_record(options.out, Game(terms))
    console.say(f"{options.out}: terms {hex32(terms.digest)}; the claimant moves first")
    return {"record": str(options.out), "terms": hex32(terms.digest)}


def _status(game: Game) -> dict[str, Any]:
    due = None if game.verdict or game.settling else game.due
    return {"entries": len(game.entries), "due": due, "place": list(game.place)}


def run_move(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Add a move to a record."""
    game, state = open_record(options.record), read_state(options.state)
    if not isinstance(game.terms.subject, Program):
        raise InvalidInput(f"{options.record}: only programs of operators are played here")
    if state.root != game.terms.initial:
        raise InvalidInput(f"{options.state}: not the state that the terms start from")
    trace = Trace(game.terms.program, state)
    player = Player(read_key(options.key, passphrase(options)), trace)
    if not game.settling:
        stage = game.stage
        game.apply(player.move(game))
        write_record(options.record, game)
        console.say(f"{options.record}: move {len(game.entries)}, a {stage}")
    if game.settling:
        console.say(f"the dispute is about operator {'.'.join(map(str, game.place))}")
        if options.inputs is not None:
            write_inputs(options.inputs, player.evidence(game))
            console.say(f"{options.inputs}: its inputs, which decide")
    return {"record": str(options.record), **_status(game)}


def run_forfeit(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Add the referee's word to a record."""
    game = open_record(options.record)
    due, key = game.due, read_key(options.key, passphrase(options))
    game.apply(forfeit(game, options.since, options.until, key))
    write_record(options.record, game)
    console.say(f"{options.record}: the {due} did not move in time")
    return {"record": str(options.record), "loser": due}


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check a record and say who lost."""
    game = open_record(options.record)
    if options.terms is not None and game.terms.digest != parse_hex32(options.terms, "--terms"):
        raise VerificationError(f"{options.record}: the record of another dispute")
    verdict = decide(game, _evidence(options))
    names = " and ".join(verdict.losers) or "nobody"
    console.say(f"{names} lost{_where(game, verdict)}: {verdict.reason}")
    return {"terms": hex32(game.terms.digest), **verdict.to_json()}


def _where(game: Game, verdict: Verdict) -> str:
    if not verdict.place:
        return ""
    step, *within = verdict.place
    if not within:
        return f" at step {step}"
    layer = game.terms.program.layers(step)[within[0]]
    operator = f", operator {within[1]}" if len(within) > 1 else ""
    return f" at step {step}, layer {layer.name}{operator}"


def _evidence(options: argparse.Namespace) -> Evidence:
    given = Evidence() if options.inputs is None else read_inputs(options.inputs)
    wanted = (options.vk, options.fork, options.beacon)
    if all(path is None for path in wanted):
        return given
    if any(path is None for path in wanted):
        raise InvalidInput("--vk, --fork and --beacon belong together")
    rules = ProofRules(
        VerifyingKey.from_path(options.vk),
        ForkTerms.from_path(options.fork),
        BeaconFile.from_path(options.beacon),
    )
    return replace(given, rules=rules)
