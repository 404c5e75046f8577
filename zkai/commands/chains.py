"""`zkai chain`: verifier contracts, on the embedded EVM or behind an RPC URL."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zkai.chain.abi import parse_address
from zkai.commands import halo2_chains
from zkai.commands.console import Console
from zkai.commands.options import Commands, HelpFormatter, add_command, ledger_place
from zkai.commands.watching import add_watch
from zkai.encoding import hex32, write_atomic
from zkai.errors import InvalidInput
from zkai.halo2.formats import read_key, read_proof
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.proof.formats import VerifyingKey, check_format
from zkai.proof.groth16 import check_names

if TYPE_CHECKING:
    from zkai.chain.account import AccountKey
    from zkai.chain.chain import Chain

KEY_VARIABLE = "ZKAI_CHAIN_KEY"

_RENDER_HELP = """
The file has no dependencies and compiles with any Solidity 0.8 compiler from
0.8.19 on. `zkai chain deploy` needs no compiler. For a key of format halo2 this
is the contract that EZKL generates, which nothing but an adapter may call.
"""

_DEPLOY_HELP = f"""
Deploys the shipped bytecode with the key as its argument, then checks the
deployed code. With --rpc, transactions are signed with the private key in
--key-file, or else in the environment variable {KEY_VARIABLE}. For a key of
format halo2 this compiles EZKL's contract (npm install solc) and deploys it
with the adapter before it, whose address is the one to call.
"""

_VERIFY_HELP = """
Without --rpc: deploys the verifier on the embedded EVM and sends the proof to
it. With --rpc: checks that --contract is the verifier of this key, then calls
it, which costs nothing; --send sends a transaction instead.
"""


_ANCHOR_HELP = """
Stores the ledger's latest checkpoint in an Anchor contract, with the proof that
it extends the last one there; deploys one without --contract. Once it is there,
running this again changes nothing and checks it.
"""


def add_commands(commands: Commands) -> None:
    """Add `chain render`, `deploy`, `verify`, `anchor` and `watch`."""
    summary = "render, deploy and call contracts"
    chain = commands.add_parser(
        "chain", help=summary, description=f"{summary.capitalize()}.", formatter_class=HelpFormatter
    )
    actions = chain.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True, parser_class=type(chain)
    )
    render = add_command(
        actions, "render", run_render, "write a key's verifier as Solidity", _RENDER_HELP
    )
    _add_key(render)
    render.add_argument("-o", "--out", metavar="FILE", type=Path, required=True)
    halo2_chains.add_options(render)
    render.add_argument("--name", help="the contract's name (default: its format's verifier)")
    deploy = add_command(actions, "deploy", run_deploy, "deploy a key's verifier", _DEPLOY_HELP)
    _add_key(deploy)
    halo2_chains.add_options(deploy)
    _add_chain(deploy)
    verify = add_command(
        actions, "verify", run_verify, "have a contract verify a proof", _VERIFY_HELP
    )
    verify.add_argument("proof", metavar="PROOF.json", type=Path)
    _add_key(verify)
    halo2_chains.add_options(verify)
    _add_chain(verify)
    verify.add_argument("--contract", metavar="ADDRESS", help="the deployed verifier")
    verify.add_argument(
        "--send", action="store_true", help="send a transaction, which costs gas, and wait for it"
    )

    anchor = add_command(
        actions, "anchor", run_anchor, "anchor a ledger's checkpoint", _ANCHOR_HELP
    )
    anchor.add_argument("ledger", metavar="LEDGER", type=ledger_place)
    anchor.add_argument("--contract", metavar="ADDRESS", help="an Anchor deployed before")
    _add_chain(anchor)
    add_watch(actions)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help="the keys' verifying.json"
    )


def _add_chain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rpc", metavar="URL", help="a chain's JSON-RPC; else the embedded EVM")
    parser.add_argument("--chain-id", metavar="N", type=int, help="refuse any other chain")
    add_account_key(parser)


def add_account_key(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a file with an account's private key."""
    parser.add_argument(
        "--key-file", metavar="FILE", type=Path, help="file with the private key that signs"
    )


def run_render(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Write the verifier's source."""
    from zkai.chain.formats import format_of
    from zkai.chain.render import render

    vk = read_key(options.key)
    if isinstance(vk, Halo2VerifyingKey):
        return halo2_chains.render(vk, options, console)
    halo2_chains.refuse_options(options)
    name = format_of(vk).contract if options.name is None else options.name
    write_atomic(options.out, render(vk, name).encode("ascii"))
    console.say(f"{options.out}: contract {name}, {vk.key_status} key {hex32(vk.digest)}")
    return {"contract": name, "source": str(options.out), **_key_facts(vk)}


def _key_facts(vk: VerifyingKey) -> dict[str, str]:
    """Return what --json says of a contract's key."""
    return {"format": vk.PROOFS, "vk_digest": hex32(vk.digest), "key_status": vk.key_status}


def run_deploy(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Deploy the verifier and check what was deployed."""
    from zkai.chain.verifier import deploy

    vk = read_key(options.key)
    if isinstance(vk, Halo2VerifyingKey):
        return halo2_chains.deploy(vk, options, console, lambda: _chain(options, signing=True))
    halo2_chains.refuse_options(options)
    chain = _chain(options, signing=True)
    deployment = deploy(vk, chain)
    console.say(
        f"{deployment.address} on chain {chain.chain_id}: {vk.key_status} key,"
        f" {deployment.gas_used:,} gas"
    )
    if options.rpc is None:
        console.note("the embedded EVM ends with this command; use --rpc for a chain that stays")
    return {
        "address": deployment.address,
        "chain_id": chain.chain_id,
        "gas": deployment.gas_used,
        **_key_facts(vk),
        "embedded": options.rpc is None,
    }


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Have the contract verify the proof."""
    from zkai.chain.verifier import check_deployment, deploy, verify_on_chain

    vk, proof = read_key(options.key), read_proof(options.proof)
    if options.rpc is not None and options.contract is None:
        raise InvalidInput(
            "with --rpc, name the verifier with --contract; `zkai chain deploy` makes one"
        )
    if options.rpc is None and (options.contract is not None or options.send):
        raise InvalidInput("--contract and --send need --rpc: the embedded EVM starts empty")
    signing = options.send or options.rpc is None
    if isinstance(vk, Halo2VerifyingKey) or isinstance(proof, Halo2Proof):
        return halo2_chains.verify(
            proof, vk, options, console, lambda: _chain(options, signing=signing)
        )
    halo2_chains.refuse_options(options)
    # A contract reads neither name nor status of a proof: hold them against the key's here.
    check_format(proof, vk)
    check_names(proof, vk)
    chain = _chain(options, signing=signing)
    if options.contract is None:
        address = deploy(vk, chain).address
    else:
        address = options.contract
        check_deployment(chain, address, vk)
    gas = verify_on_chain(chain, address, proof, vk)
    console.say(f"{options.proof}: verified by {address} on chain {chain.chain_id}, {gas:,} gas")
    return {
        "verified": True,
        "address": address,
        "chain_id": chain.chain_id,
        "gas": gas,
        **_key_facts(vk),
        "embedded": options.rpc is None,
    }


def run_anchor(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Anchor the latest checkpoint, unless it is anchored already."""
    from zkai.chain.anchor import Anchor
    from zkai.ledger.checkpoint import Checkpoint
    from zkai.ledger.ledger import Ledger
    from zkai.ledger.note import Note

    if options.rpc is None and options.contract is not None:
        raise InvalidInput("--contract needs --rpc: the embedded EVM starts empty")
    ledger = Ledger.open(options.ledger)
    try:
        kept = ledger.store.checkpoint()
        if kept is None:
            raise InvalidInput(f"{ledger.store.name}: has no checkpoint yet")
        checkpoint = Checkpoint.from_text(Note.from_bytes(kept[2]).text)
        chain, gas = _chain(options, signing=True), 0
        if options.contract is None:
            anchor = Anchor.deploy(chain, checkpoint.origin)
        else:
            anchor = Anchor(chain, parse_address(options.contract, "--contract"))
        if (last := anchor.size) != checkpoint.size:
            proof = ledger.log.consistency(min(last, checkpoint.size), checkpoint.size)
            gas = anchor.anchor(checkpoint, proof).gas_used
        at = anchor.verify_anchored(checkpoint)
    finally:
        ledger.close()
    console.say(
        f"{anchor.address} on chain {chain.chain_id}: {checkpoint.size} entries,"
        f" root {hex32(checkpoint.root)}, {gas:,} gas"
    )
    return {
        "address": anchor.address,
        "chain_id": chain.chain_id,
        "entries": checkpoint.size,
        "root": hex32(checkpoint.root),
        "anchored_at": at,
        "gas": gas,
        "embedded": options.rpc is None,
    }


def _chain(options: argparse.Namespace, signing: bool) -> Chain:
    if options.rpc is None:
        from zkai.chain.embedded import CHAIN_ID, EmbeddedChain

        return EmbeddedChain(CHAIN_ID if options.chain_id is None else options.chain_id)
    from zkai.chain.rpc import RpcChain

    key = account_key(options) if signing else None
    return RpcChain(options.rpc, key, options.chain_id)


def account_key(options: argparse.Namespace) -> AccountKey:
    """Return the account's key, of --key-file or the variable. Raises InvalidInput without one."""
    from zkai.chain.account import AccountKey

    if options.key_file is not None:
        return AccountKey.from_file(options.key_file)
    if KEY_VARIABLE not in os.environ:
        raise InvalidInput(
            f"signing needs a private key: give --key-file, or set the variable {KEY_VARIABLE}"
        )
    return AccountKey.from_environment(os.environ, KEY_VARIABLE)
