"""`zkai he preflight|budget`: what differential privacy costs, and what a client has spent."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command
from zkai.commands.passphrases import add_passphrase, passphrase
from zkai.errors import InvalidInput
from zkai.federated.client import ClientParty
from zkai.federated.noise import Privacy, plan
from zkai.federated.parties import read_party_key
from zkai.he.privacy import DEFAULT_DELTA, DEFAULT_EPSILON, Preflight, preflight

_PREFLIGHT_HELP = """
Before training: the noise that (epsilon, delta) takes, beside the largest
signal that a mean of clipped updates has. The unit is a client.
"""

_BUDGET_HELP = """
A client's own budget over all sessions and rounds: at first that of its first
session with noise. Once it is spent the client encrypts no more. --epsilon
allows more, or less, in all; what was spent stays spent.
"""


def add_actions(actions: Commands) -> None:
    """Add `preflight` and `budget` to `he`."""
    ask = add_command(actions, "preflight", run_preflight, "what privacy costs", _PREFLIGHT_HELP)
    ask.add_argument("--clients", metavar="N", type=int, required=True, help="in each sum")
    ask.add_argument("--parameters", metavar="N", type=int, required=True)
    ask.add_argument("--rounds", metavar="N", type=int, required=True)
    ask.add_argument("--epsilon", metavar="X", type=float, default=DEFAULT_EPSILON, help="(1)")
    ask.add_argument("--delta", metavar="X", type=float, default=DEFAULT_DELTA, help="(0.00001)")
    ask.add_argument("--honest", metavar="N", type=int, help="whose noise counts (all)")
    budget = add_command(actions, "budget", run_budget, "what a client has spent", _BUDGET_HELP)
    budget.add_argument("folder", metavar="FOLDER", type=Path, help="the client's own")
    budget.add_argument("--epsilon", metavar="X", type=float, help="allow so much in all")
    budget.add_argument("--delta", metavar="X", type=float, default=DEFAULT_DELTA, help="(0.00001)")
    add_passphrase(budget)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `he open` that make a session private."""
    parser.add_argument(
        "--norm", metavar="N", type=int, help="add noise for updates of this L2 norm at most"
    )
    parser.add_argument("--epsilon", metavar="X", type=float, default=DEFAULT_EPSILON, help="(1)")
    parser.add_argument("--delta", metavar="X", type=float, default=DEFAULT_DELTA, help="(0.00001)")
    parser.add_argument("--honest", metavar="N", type=int, help="whose noise counts (all of a sum)")
    parser.add_argument("--sums", metavar="N", type=int, help="rounds to budget for (all)")


def chosen_privacy(
    options: argparse.Namespace, clients: int, values: int, rounds: int, console: Console
) -> Privacy | None:
    """Return the noise of a new session, and say what it costs; None without --norm.

    `clients` are as many as a sum has at least.
    """
    if options.norm is None:
        return None
    if options.norm < 1:
        raise InvalidInput(f"--norm must be at least 1, got {options.norm}")
    honest = clients if options.honest is None else options.honest
    sums = rounds if options.sums is None else options.sums
    if not 1 <= sums <= rounds:
        raise InvalidInput(f"--sums: the session has 1 to {rounds} rounds, got {sums}")
    found, target = plan(
        clients, honest, values, sums, options.epsilon, options.delta, options.norm**2
    )
    say(target, console)
    return found


def say(target: Preflight, console: Console) -> None:
    """Print what a target costs."""
    console.say(
        f"epsilon {target.epsilon:g}, delta {target.delta:g} over {target.rounds} sums of"
        f" {target.clients} clients: each adds noise of {target.per_client:.3g} clipping norms to"
        f" each value; noise of a mean over its largest signal: {target.noise_to_signal:.3g}"
    )
    console.say(target.advice)


def run_preflight(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Say what a target would cost."""
    target = preflight(
        options.clients, options.parameters, options.rounds, options.epsilon, options.delta,
        honest=options.honest,
    )  # fmt: skip
    say(target, console)
    return {
        "noise_multiplier": target.multiplier,
        "noise_per_client": target.per_client,
        "noise_to_signal": target.noise_to_signal,
        "parameters_at_one": target.parameters_at_one,
        "advice": target.advice,
    }


def run_budget(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Show or set a client's budget."""
    client = ClientParty(options.folder, read_party_key(options.folder, passphrase(options)))
    if options.epsilon is not None:
        budget = client.set_budget(options.epsilon, options.delta)
    elif (found := client.budget()) is not None:
        budget = found
    else:
        console.say("nothing spent, and no budget set: the first private session's will be taken")
        return {"epsilon": None, "delta": None, "spent_epsilon": 0.0, "releases": 0}
    spent = budget.spent
    console.say(
        f"epsilon {spent:.4f} of {budget.epsilon:g} spent at delta {budget.delta:g}, in"
        f" {len(budget.releases)} rounds"
    )
    return {
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "spent_epsilon": spent,
        "releases": len(budget.releases),
    }
