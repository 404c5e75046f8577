"""`zkai setup`, `zkai prove` and `zkai verify` for models in slices, of format halo2."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from zkai import backends
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.commands.halo2 import OF_INFERENCE, new_keys, refuse_options
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.halo2.slice_prover import SlicedKeys
from zkai.halo2.slices import SlicedInference, SlicedProof, SlicedVerifyingKey


def setup(
    statement: SlicedInference, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Make the keys of every slice."""
    keys: SlicedKeys = new_keys(statement, options, console)
    key = keys.verifying
    sizes = ", ".join(f"2^{part.settings.k}" for part in key.keys)
    console.say(
        f"{options.out}: {key.key_status} key {hex32(key.digest)}, {len(key.keys)} slices of"
        f" {sizes} rows"
    )
    return {
        "keys": str(options.out),
        "verifying_key": str(options.out / "verifying.json"),
        "slices": [str(one.proving.folder) for one in keys.slices],
        "k": [part.settings.k for part in key.keys],
        "rows": [part.settings.rows for part in key.keys],
        **_names(key),
    }


def _names(key: SlicedVerifyingKey) -> dict[str, Any]:
    return {
        "statement": key.statement,
        "format": key.PROOFS,
        "circuit_digest": hex32(key.circuit_digest),
        "vk_digest": hex32(key.digest),
        "key_status": key.key_status,
    }


def prove(
    statement: SlicedInference, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Prove the slices, `--jobs` at a time."""
    refuse_options(options, OF_INFERENCE)
    values = read_input(options.input)
    keys = SlicedKeys.from_path(options.keys)
    check_target(options.out)
    with console.progress() as progress:
        proof = backends.prove(statement, keys, values, jobs=options.jobs or 1, progress=progress)
    proof.write(options.out)
    console.say(f"{options.out}: {len(proof.proofs)} slices, {proof.key_status} key")
    return {
        "proof": str(options.out),
        "outputs": _show(proof, keys.verifying, console),
        **_names(keys.verifying),
    }


def _show(proof: SlicedProof, key: SlicedVerifyingKey, console: Console) -> dict[str, Any]:
    """Print the public tensors, in the model's units, and return them."""
    decoded = {name: array.tolist() for name, array in proof.decoded(key).items()}
    for name, value in decoded.items():
        console.say(f"  {name}: {value}")
    return decoded


def verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Verify every slice, and that they are one computation."""
    refuse_options(options, ("chain_id", "ledger", "recipient"))
    if options.verifier != "native":
        raise InvalidInput(f"verifier: format halo2 has one, EZKL's, and no {options.verifier!r}")
    key = SlicedVerifyingKey.from_path(options.key)
    proof = SlicedProof.from_path(options.proof)
    with console.progress() as progress:
        backends.verify(
            proof,
            key,
            production=options.production,
            trusted_digests=options.vk_digest,
            progress=progress,
        )
    grade = f"proven ({key.key_status} key)"
    console.say(f"{options.proof}: {key.statement} in {len(key.keys)} slices verified, {grade}")
    return {
        "verified": True,
        "verifier": options.verifier,
        "grade": grade,
        **_names(key),
        "decoded": _show(proof, key, console),
    }
