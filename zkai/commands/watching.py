"""`zkai chain watch`: contracts' events held against a ledger, block after block."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command, ledger_place
from zkai.encoding import load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.ledger import Ledger
from zkai.proof.jsonform import expect_fields

if TYPE_CHECKING:
    from zkai.chain.rpc import RpcChain
    from zkai.chain.watch import Watch

FORMAT = "zkai.watch/1"
MAX_MEMORY = 16 << 20
_FIELDS = ("format", "chain_id", "anchor", "recorder", "next", "hash", "forks")

_HELP = """
Holds every checkpoint that an Anchor stores, and every step that a ForkRecorder
takes, against a ledger, and ends with status 1 at the first that the ledger
does not say. --memory remembers how far it came, and the last block's hash: a
chain that was reorganised below it is refused. Blocks count once they have
--confirmations more on top.
"""


def add_watch(actions: Commands) -> None:
    """Add `chain watch`."""
    watch = add_command(actions, "watch", run_watch, "hold contracts against a ledger", _HELP)
    watch.add_argument("ledger", metavar="LEDGER", type=ledger_place)
    watch.add_argument("--rpc", metavar="URL", required=True, help="a chain's JSON-RPC")
    watch.add_argument("--chain-id", metavar="N", type=int, help="refuse any other chain")
    watch.add_argument("--anchor", metavar="ADDRESS", help="an Anchor")
    watch.add_argument("--recorder", metavar="ADDRESS", help="a ForkRecorder")
    watch.add_argument(
        "--policy", metavar="POLICY.json", type=Path, help="that anchored checkpoints must meet"
    )
    watch.add_argument("--memory", metavar="FILE", type=Path, help="where it goes on")
    watch.add_argument("--from-block", metavar="N", type=int, help="where it begins (0)")
    watch.add_argument("--confirmations", metavar="N", type=int, default=0, help="default: 0")
    watch.add_argument("--once", action="store_true", help="end at the latest block")
    watch.add_argument(
        "--every", metavar="SECONDS", type=float, default=5.0, help="between two looks (5)"
    )


def run_watch(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Watch until interrupted, or with --once until the latest block."""
    from zkai.chain.abi import parse_address
    from zkai.chain.rpc import RpcChain
    from zkai.chain.watch import Watch

    if options.anchor is None and options.recorder is None:
        raise InvalidInput("chain watch: name an --anchor, a --recorder or both")
    if options.confirmations < 0 or options.every <= 0 or (options.from_block or 0) < 0:
        raise InvalidInput("chain watch: blocks, confirmations and seconds are not negative")
    anchor = None if options.anchor is None else parse_address(options.anchor, "--anchor")
    recorder = options.recorder
    if recorder is not None:
        recorder = parse_address(recorder, "--recorder")
    policy = None if options.policy is None else LogPolicy.from_path(options.policy)
    chain = RpcChain(options.rpc, None, options.chain_id)
    for address in (a for a in (anchor, recorder) if a is not None):
        if not chain.code(address):
            raise VerificationError(f"there is no contract at {address}")
    ledger = Ledger.open(options.ledger)
    try:
        watch = Watch(ledger, anchor, recorder, policy)
        return _run(options, watch, chain, console)
    finally:
        ledger.close()


def _run(
    options: argparse.Namespace, watch: Watch, chain: RpcChain, console: Console
) -> dict[str, Any]:
    from zkai.chain.watch import follow

    first = begun = _resume(options, watch, chain)
    while True:
        last = chain.block - options.confirmations
        for upto in follow(watch, chain, first, last):
            first = upto
            _remember(options, watch, chain, first)
        if options.once:
            break
        console.note(f"checked below block {first}; {watch.checkpoints} checkpoints")
        time.sleep(options.every)
    console.say(
        f"chain {chain.chain_id}, blocks {begun} to {first - 1}: {watch.checkpoints} checkpoints"
        f" and {watch.steps} steps are the ledger's"
    )
    return {
        "chain_id": chain.chain_id,
        "first": begun,
        "next": first,
        "checkpoints": watch.checkpoints,
        "steps": watch.steps,
    }


def _resume(options: argparse.Namespace, watch: Watch, chain: RpcChain) -> int:
    """Return the first block to look at. Raises VerificationError if the chain was reorganised."""
    path = options.memory
    if path is None or not path.exists():
        return int(options.from_block or 0)
    value = load_json(read_capped(path, MAX_MEMORY), str(path))
    expect_fields(value, _FIELDS, str(path))
    wanted = [FORMAT, chain.chain_id, watch.anchor, watch.recorder]
    if [value[name] for name in _FIELDS[:4]] != wanted:
        raise InvalidInput(f"{path}: is of other contracts or another chain")
    following, forks = value["next"], value["forks"]
    if type(following) is not int or following < 1 or not isinstance(forks, dict):
        raise InvalidInput(f"{path}: expected a block and forks")
    if not all(type(index) is int for index in forks.values()):
        raise InvalidInput(f"{path}: forks: expected entries")
    if options.from_block is not None:
        return int(options.from_block)
    if chain.block_hash(following - 1) != value["hash"]:
        raise VerificationError(
            f"the chain was reorganised below block {following}; look again with --from-block"
        )
    watch.forks.update(forks)
    return following


def _remember(options: argparse.Namespace, watch: Watch, chain: RpcChain, following: int) -> None:
    if options.memory is None:
        return
    value = {
        "format": FORMAT, "chain_id": chain.chain_id, "anchor": watch.anchor,
        "recorder": watch.recorder, "next": following, "hash": chain.block_hash(following - 1),
        "forks": watch.forks,
    }  # fmt: skip
    write_atomic(options.memory, json.dumps(value).encode("ascii") + b"\n")
