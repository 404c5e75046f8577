"""`zkai setup`, `zkai prove` and `zkai verify` for format halo2."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai import backends
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.halo2.formats import AnyKey, AnyProof
from zkai.halo2.keys import Halo2Keys, Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.statement import VALUES, Halo2Statement

_OF_GROTH16: dict[str, Any] = {
    "zkey": None, "ceremony": None, "state": None, "old_state": None, "dataset": None,
    "terms": None, "beacon": None, "set": None, "samples": None, "sent": None, "opening": None,
    "chain_id": None, "ledger": None, "recipient": None, "logged_at": None, "history": [],
}  # fmt: skip
"""Options without a meaning here, and their values when they are not given."""

_SHOWN = 16


def refuse_options(options: argparse.Namespace) -> None:
    """Return None without an option of other formats. Raises InvalidInput naming the first."""
    for name, default in _OF_GROTH16.items():
        if getattr(options, name, default) != default:
            raise InvalidInput(f"--{name.replace('_', '-')}: format halo2 has no use for it")


def setup(
    statement: Halo2Statement, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Make the keys of a statement."""
    refuse_options(options)
    with console.progress() as progress:
        keys = backends.setup(
            statement,
            options.out,
            ptau=options.ptau,
            tau=options.tau,
            digest=options.ptau_digest,
            progress=progress,
        )
    key = keys.verifying
    console.say(f"{options.out}: {key.key_status} key {hex32(key.digest)}, 2^{key.settings.k} rows")
    if key.key_status == "development":
        console.say(
            "whoever made a development setup string can forge proofs; --ptau takes a ceremony's"
        )
    return key_facts(options.out, keys)


def key_facts(folder: Path, keys: Halo2Keys) -> dict[str, Any]:
    """Return what --json says of new keys."""
    return {
        "keys": str(folder),
        "proving_key": str(keys.proving.path),
        "proving_key_bytes": keys.proving.path.stat().st_size,
        "verifying_key": str(folder / "verifying.json"),
        "statement": keys.verifying.statement,
        "format": keys.verifying.PROOFS,
        "circuit_digest": hex32(keys.verifying.circuit_digest),
        "vk_digest": hex32(keys.verifying.digest),
        "key_status": keys.verifying.key_status,
        "k": keys.verifying.settings.k,
        "rows": keys.verifying.settings.rows,
        "srs_sha256": hex32(keys.verifying.srs_digest),
    }


def prove(
    statement: Halo2Statement, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Prove a statement; there are no salts, so nothing to keep besides the proof."""
    refuse_options(options)
    values = read_input(options.input)
    keys = Halo2Keys.from_path(options.keys)
    check_target(options.out)
    with console.progress() as progress:
        proof = backends.prove(statement, keys.proving, values, progress=progress)
    proof.write(options.out)
    console.say(f"{options.out}: proof of {proof.statement}, {proof.key_status} key")
    outputs = {name: a.tolist() for name, a in proof.decoded(keys.verifying).items()}
    for name, value in outputs.items():
        console.say(f"{name}: {value}")
    return {"proof": str(options.out), "opening": None, "outputs": outputs, **proof_facts(proof)}


def proof_facts(proof: AnyProof) -> dict[str, Any]:
    """Return what --json says of a proof."""
    whole = proof.to_json()
    return {
        name: whole[name] for name in ("format", "statement", "vk_digest", "key_status", "public")
    }


def verify(
    proof: AnyProof, key: AnyKey, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Verify a proof, and show what was proven in the model's units."""
    refuse_options(options)
    with console.progress() as progress:
        backends.verify(
            proof,
            key,
            verifier=options.verifier,
            production=options.production,
            trusted_digests=options.vk_digest,
            progress=progress,
        )
    assert isinstance(proof, Halo2Proof)
    assert isinstance(key, Halo2VerifyingKey)
    grade = f"proven ({key.key_status} key)"
    console.say(f"{options.proof}: {proof.statement} verified, {grade}")
    decoded = {name: array.tolist() for name, array in proof.decoded(key).items()}
    for signal in key.signals:
        if signal.kind == VALUES:
            flat = proof.decoded(key)[signal.name].reshape(-1)
            more = f", ... ({len(flat)} values)" if len(flat) > _SHOWN else ""
            shown = ", ".join(f"{value:.6g}" for value in flat[:_SHOWN]) + more
        else:
            shown = ", ".join(map(str, proof.public[signal.name]))
        console.say(f"  {signal.name:<14} {shown}")
    return {
        "verified": True,
        "verifier": options.verifier,
        "grade": grade,
        **proof_facts(proof),
        "decoded": decoded,
    }
