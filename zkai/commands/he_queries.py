"""`zkai he card|query`: a model asked with encrypted rows."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.commands.options import Commands, add_command
from zkai.encoding import read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.he import concrete
from zkai.he.limits import limit_this_process
from zkai.he.model_file import MAX_BYTES, model
from zkai.he.query import ModelCard, QueryClient
from zkai.he.transport import Remote

_CARD_HELP = """
What a model's owner publishes so that it can be asked: its shapes, and bounds
of rows and answers as powers of two. MODEL.npz holds weight0, bias0 and norm,
and for a quadratic model weight1 and bias1.
"""

_QUERY_HELP = """
IN.json holds input: one row, or several. It leaves this machine encrypted only;
the key is made for this call and forgotten after it.
"""


_CONCRETE_HELP = """
Makes a virtual environment in DIR with Concrete ML and the packages it needs,
all pinned: 2.3 GB, Python 3.11. Concrete ML is under BSD-3-Clause-Clear: free
for research and prototypes; commercial use needs a patent licence from Zama.
"""


def add_actions(actions: Commands) -> None:
    """Add the commands of queries to `he`."""
    card = add_command(actions, "card", run_card, "publish what a query needs", _CARD_HELP)
    card.add_argument("model", metavar="MODEL.npz", type=Path)
    card.add_argument("-o", "--out", metavar="CARD.json", type=Path, required=True)
    query = add_command(actions, "query", run_query, "ask a model, encrypted", _QUERY_HELP)
    query.add_argument("input", metavar="IN.json", type=Path)
    query.add_argument("--card", metavar="CARD.json", type=Path, required=True)
    query.add_argument("--server", metavar="HOST:PORT", required=True)
    concrete = add_command(
        actions, "concrete", run_concrete, "make an environment for Concrete ML", _CONCRETE_HELP
    )
    concrete.add_argument("--install", metavar="DIR", type=Path, required=True)


def run_card(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write a model's card."""
    check_target(options.out)
    card = model(read_capped(options.model, MAX_BYTES)).card
    write_atomic(options.out, card.to_bytes())
    console.say(f"{options.out}: {card.kind}, {card.inputs} inputs, {card.outputs} outputs")
    return {"card": str(options.out), "digest": card.digest, "kind": card.kind}


def run_query(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Ask, and print the answers."""
    card = ModelCard.from_bytes(read_capped(options.card, 1 << 12), str(options.card))
    value = read_input(options.input).get("input")
    if not isinstance(value, np.ndarray) or value.ndim not in (1, 2) or value.size == 0:
        raise InvalidInput(f"{options.input}: input: expected a row of numbers, or several")
    rows = np.atleast_2d(value.astype(np.float64))
    limit_this_process()
    with Remote(options.server) as server:
        client = QueryClient(server, card, len(rows))
        answers = client.ask(rows)
    for answer in answers:
        console.say(" ".join(f"{number:.6g}" for number in answer))
    return {"answers": answers.tolist(), "sent": client.sent, "received": client.received}


def run_concrete(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make Concrete ML's environment."""
    concrete.install(options.install, console.say)
    console.say(f"{options.install} is ready; try it with `make test-concrete`")
    return {"environment": str(options.install), "packages": concrete.requirements()}
