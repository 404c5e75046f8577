"""`zkai setup`, `zkai prove` and `zkai verify` for format halo2."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai import backends
from zkai.assignment import Destination
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.encoding import hex32
from zkai.errors import InvalidInput
from zkai.halo2.formats import AnyKey, AnyProof
from zkai.halo2.keys import Halo2Keys, Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.slices import SlicedInference
from zkai.halo2.statement import VALUES, Halo2Statement
from zkai.halo2.step_proof import OpenedStepProof
from zkai.halo2.step_state import read_state
from zkai.halo2.training import Halo2TrainingStep

_OF_GROTH16: dict[str, Any] = {
    "zkey": None, "ceremony": None, "old_state": None, "dataset": None, "terms": None,
    "beacon": None, "set": None, "samples": None, "sent": None, "logged_at": None, "history": [],
}  # fmt: skip
"""Options without a meaning here, and their values when they are not given."""

_OF_STEPS = ("state", "opening")
_PLACE = ("chain_id", "ledger", "recipient")
OF_INFERENCE = (*_OF_STEPS, *_PLACE)
"""Options that an inference of this format has no use for."""

_SHOWN = 16


def refuse_options(options: argparse.Namespace, more: tuple[str, ...] = ()) -> None:
    """Return None without an option of other formats, or one of `more`.

    Raises InvalidInput naming the first.
    """
    for name, default in (_OF_GROTH16 | dict.fromkeys(more)).items():
        if getattr(options, name, default) != default:
            raise InvalidInput(f"--{name.replace('_', '-')}: format halo2 has no use for it")


def new_keys(
    statement: Halo2Statement | SlicedInference, options: argparse.Namespace, console: Console
) -> Any:
    """Return new keys of a statement, in the folder that options name."""
    refuse_options(options)
    with console.progress() as progress:
        return backends.setup(
            statement,
            options.out,
            ptau=options.ptau,
            tau=options.tau,
            digest=options.ptau_digest,
            progress=progress,
        )


def setup(
    statement: Halo2Statement, options: argparse.Namespace, console: Console
) -> Mapping[str, Any]:
    """Make the keys of a statement."""
    keys: Halo2Keys = new_keys(statement, options, console)
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
    statement: Halo2Statement,
    options: argparse.Namespace,
    console: Console,
    destination: Destination | None,
) -> Mapping[str, Any]:
    """Prove a statement: a training step has salts and a state to keep, an inference nothing."""
    is_step = isinstance(statement, Halo2TrainingStep)
    if options.jobs is not None:
        raise InvalidInput("--jobs: for models in slices (slices or cuts in the statement's file)")
    refuse_options(options, () if is_step else OF_INFERENCE)
    values = read_input(options.input)
    path = options.opening or options.out.with_suffix(".opening.json")
    if isinstance(statement, Halo2TrainingStep):
        check_target(path, new=True)
        if options.state is not None:
            if "state" in values:
                raise InvalidInput("--state: IN.json has one")
            values["state"] = read_state(options.state, statement.layout)
    keys = Halo2Keys.from_path(options.keys)
    check_target(options.out)
    with console.progress() as progress:
        proof = backends.prove(
            statement, keys.proving, values, destination=destination, progress=progress
        )
    opening = _write(proof, path, options.out)
    console.say(f"{options.out}: proof of {proof.statement}, {proof.key_status} key")
    if opening is not None:
        console.say(f"{opening}: its salts and private state; keep it secret, and keep it")
    outputs = {name: a.tolist() for name, a in proof.decoded(keys.verifying).items()}
    for name, value in outputs.items():
        console.say(f"{name}: {value}")
    facts = {"proof": str(options.out), "opening": opening, "outputs": outputs}
    return {**facts, **proof_facts(proof)}


def _write(proof: Halo2Proof, path: Path, target: Path) -> str | None:
    """Write a proof, and before it the opening that it may have; return where that is."""
    if not isinstance(proof, OpenedStepProof):
        proof.write(target)
        return None
    proof.opening.write(path)
    try:
        proof.write(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return str(path)


def proof_facts(proof: AnyProof) -> dict[str, Any]:
    """Return what --json says of a proof."""
    whole = proof.to_json()
    return {
        name: whole[name] for name in ("format", "statement", "vk_digest", "key_status", "public")
    }


def verify(
    proof: AnyProof,
    key: AnyKey,
    options: argparse.Namespace,
    console: Console,
    destination: Destination | None,
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
            destination=destination,
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
    for name in key.labels:
        console.say(f"  {name:<14} {proof.public[name][0]}")
    return {
        "verified": True,
        "verifier": options.verifier,
        "grade": grade,
        **proof_facts(proof),
        "decoded": decoded,
    }
