"""`zkai chain render`, `deploy` and `verify` for keys and proofs of format halo2."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zkai.commands.console import Console
from zkai.encoding import hex32, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof, check_names

if TYPE_CHECKING:
    from zkai.chain.chain import Chain

FORMS = ("auto", "generated", "reusable")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only keys of format halo2 have."""
    parser.add_argument(
        "--form", choices=FORMS, default="auto",
        help="of EZKL's contract (format halo2): the key's own, or the reusable one where that is"
        " too large",
    )  # fmt: skip
    parser.add_argument(
        "--packages", metavar="DIR/", type=Path,
        help="whose node_modules hold solc (format halo2; the current folder)",
    )  # fmt: skip


def refuse_options(options: argparse.Namespace) -> None:
    """Return None without an option of format halo2. Raises InvalidInput naming the first."""
    for name, default in (("form", "auto"), ("packages", None)):
        if getattr(options, name, default) != default:
            raise InvalidInput(f"--{name}: is for keys of format halo2")


def render(
    key: Halo2VerifyingKey, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Write the contract that EZKL generates."""
    from zkai.halo2.evm import GENERATED, REUSABLE, generate

    if options.name is not None:
        raise InvalidInput("--name: EZKL names its contracts itself")
    with console.progress() as progress:
        sources = generate(key, progress=progress)
    text, contract = sources.generated, GENERATED
    if options.form == "reusable":
        text, contract = sources.reusable, REUSABLE
    write_atomic(options.out, text.encode("ascii"))
    console.say(f"{options.out}: contract {contract}, {key.key_status} key {hex32(key.digest)}")
    console.say(
        "nobody may call it but the adapter that `zkai chain deploy` puts in front: from calldata"
        " that holds two proofs it verifies anything"
    )
    return {"contract": contract, "source": str(options.out), **_key_facts(key)}


def _key_facts(key: Halo2VerifyingKey) -> dict[str, str]:
    return {"format": key.PROOFS, "vk_digest": hex32(key.digest), "key_status": key.key_status}


def deploy(
    key: Halo2VerifyingKey,
    options: argparse.Namespace,
    console: Console,
    connect: Callable[[], Chain],
) -> Mapping[str, Any]:
    """Deploy EZKL's contract and the adapter."""
    from zkai.chain import halo2

    with console.progress() as progress:
        verifier = halo2.make_verifier(
            key, choice=options.form, packages=options.packages, progress=progress
        )
    chain = connect()
    made = halo2.deploy(verifier, chain)
    console.say(
        f"{made.address} on chain {chain.chain_id}: {key.key_status} key, before"
        f" {verifier.contract} at {made.verifier}, {made.gas_used:,} gas"
    )
    if options.rpc is None:
        console.note("the embedded EVM ends with this command; use --rpc for a chain that stays")
    return {
        "address": made.address,
        "verifier": made.verifier,
        "contract": verifier.contract,
        "vka_digest": hex32(halo2.read_vka_digest(chain, made.address)),
        "chain_id": chain.chain_id,
        "gas": made.gas_used,
        **_key_facts(key),
        "embedded": options.rpc is None,
    }


def verify(
    proof: object,
    key: object,
    options: argparse.Namespace,
    console: Console,
    connect: Callable[[], Chain],
) -> Mapping[str, Any]:
    """Have the adapter verify the proof, and show its public values in the model's units."""
    from zkai.chain import halo2

    if not isinstance(proof, Halo2Proof) or not isinstance(key, Halo2VerifyingKey):
        raise VerificationError("the proof and the verifying key are of different formats")
    check_names(proof, key)
    proof.instances(key)
    with console.progress() as progress:
        verifier = halo2.make_verifier(
            key, choice=options.form, packages=options.packages, progress=progress
        )
    chain = connect()
    if options.contract is None:
        address = halo2.deploy(verifier, chain).address
    else:
        address = options.contract
        halo2.check_deployment(chain, address, verifier)
    gas = halo2.verify_on_chain(chain, address, proof, key)
    console.say(f"{options.proof}: verified by {address} on chain {chain.chain_id}, {gas:,} gas")
    decoded = {name: array.tolist() for name, array in proof.decoded(key).items()}
    for name, value in decoded.items():
        console.say(f"  {name}: {value}")
    return {
        "verified": True,
        "address": address,
        "chain_id": chain.chain_id,
        "gas": gas,
        **_key_facts(key),
        "decoded": decoded,
        "embedded": options.rpc is None,
    }
