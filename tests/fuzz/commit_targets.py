"""The parsers of the format with a commitment round under fuzzing."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.ceremony_record import recorded
from tests.fuzz.harness import Target
from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit
from zkai.circuit.second_round import define_product
from zkai.encoding import canonical_json, to_limbs
from zkai.errors import VerificationError
from zkai.proof.commit import argument, ceremony
from zkai.proof.commit.keys import (
    PROVING_FILE,
    SLOTS,
    VERIFYING_FILE,
    CommitKeys,
    CommitProof,
    CommitProvingKey,
    CommitVerifyingKey,
)
from zkai.proof.commit.setup import setup
from zkai.proof.keys import with_ceremony
from zkai.proof.powers import write_development_ptau
from zkai.proof.ptau import prepare

STATEMENT = "inference/1"
INPUTS = {"y": np.array(3), "x": np.array([3, 5])}
SECRETS = (1009, 2003, 3001, 4001, 5003)
"""tau, alpha, beta, delta1, delta2 of the key whose ceremony is made up."""


@lru_cache
def small_circuit() -> Circuit:
    """Four products of round 2 and one public signal."""
    builder = Builder("fuzz", commit=True)
    builder.public_int("y")
    x = builder.private_int("x", (2,))
    alpha = builder.challenge("alpha")
    builder.require_round_one(x)
    define_product(builder, "product", define_product(builder, "first", x, alpha), alpha)
    return builder.build()


@lru_cache
def seeds(folder: Path) -> dict[str, bytes]:
    """A valid file of each kind about the small circuit."""
    circuit, secrets = small_circuit(), iter(SECRETS)
    keys = setup(circuit, STATEMENT, folder / "keys")
    proof = argument.prove(circuit, keys.proving, circuit.begin(INPUTS), STATEMENT)
    known = setup(
        circuit, STATEMENT, folder / "known", scalars=lambda: to_limbs([next(secrets)])
    ).verifying
    claimed = with_ceremony(known, recorded(SECRETS[3:], SLOTS))
    return {
        "zkck": keys.proving.path.read_bytes(),
        "verifying": (folder / "keys" / VERIFYING_FILE).read_bytes(),
        "proof": canonical_json(proof.to_json()),
        "claimed": canonical_json(claimed.to_json()),
    }


def _fresh(path: Path, data: bytes) -> Path:
    """Write a file of its own: a mapped one must not change under an earlier map."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def zkck(folder: Path) -> Target:
    """Prove with a proving key, and check it against its other half."""
    verifying, circuit = seeds(folder)["verifying"], small_circuit()
    partial = circuit.begin(INPUTS)

    def use(scratch: Path, data: bytes) -> None:
        path = _fresh(scratch / "k" / PROVING_FILE, data)
        _fresh(scratch / "k" / VERIFYING_FILE, verifying)
        argument.prove(circuit, CommitProvingKey(path), partial, STATEMENT)
        CommitKeys.from_path(path.parent)

    return Target("zkck", (seeds(folder)["zkck"],), use)


def zkck_ceremony(folder: Path) -> Target:
    """Contribute to a ceremony's key, which is verified as a whole before: none may be changed."""
    write_development_ptau(folder / "c.ptau", 4)
    prepare(folder / "c.ptau", folder / "cp.ptau")
    run = ceremony.Ceremony(small_circuit(), STATEMENT, folder / "cp.ptau")
    paths = [folder / f"{n}.zkck" for n in range(3)]
    ceremony.init(run, paths[0])
    ceremony.contribute(run, paths[0], paths[1], "a")
    ceremony.beacon(run, paths[1], paths[2], b"beacon", name="b")

    def use(scratch: Path, data: bytes) -> None:
        source = _fresh(scratch / "source.zkck", data)
        ceremony.contribute(run, source, scratch / "target.zkck", "x")

    return Target("zkck-ceremony", tuple(path.read_bytes() for path in paths), use, slow=True)


def verifying_key(folder: Path) -> Target:
    """Check a good proof with a verifying key: only the very same key may pass."""
    proof = CommitProof.from_json(json.loads(seeds(folder)["proof"]))
    good = CommitVerifyingKey.from_json(json.loads(seeds(folder)["verifying"]))

    def use(scratch: Path, data: bytes) -> None:
        read = CommitVerifyingKey.from_path(_fresh(scratch / "vk.json", data))
        argument.verify(proof, read)
        if read != good:
            raise AssertionError(f"a proof verifies under a changed key: {read}")

    return Target("commit-verifying-key", (seeds(folder)["verifying"],), use, json=True)


def proof(folder: Path) -> Target:
    """Check a proof with a good key: only the very same statement may pass."""
    key = CommitVerifyingKey.from_json(json.loads(seeds(folder)["verifying"]))
    good = CommitProof.from_json(json.loads(seeds(folder)["proof"]))

    def use(scratch: Path, data: bytes) -> None:
        read = CommitProof.from_path(_fresh(scratch / "proof.json", data))
        argument.verify(read, key)
        if read != good:
            raise AssertionError(f"a changed proof verifies: {read}")

    return Target("commit-proof", (seeds(folder)["proof"],), use, json=True)


def ceremony_record(folder: Path) -> Target:
    """Follow the chains that a verifying key records: they must lead to its deltas."""
    good = CommitVerifyingKey.from_json(json.loads(seeds(folder)["claimed"]))
    assert good.ceremony is not None
    ends = [entry.delta_after for entry in good.ceremony.transcript.contributions]

    def use(scratch: Path, data: bytes) -> None:
        read = CommitVerifyingKey.from_path(_fresh(scratch / "claimed.json", data))
        read.check_production()
        assert read.ceremony is not None
        if [e.delta_after for e in read.ceremony.transcript.contributions[-2:]] != ends:
            raise AssertionError(f"another chain leads to the key's deltas: {read.ceremony}")
        if read.digest != good.digest:
            raise VerificationError("another key, whose record holds")

    return Target("ceremony-record", (seeds(folder)["claimed"],), use, json=True)


COMMIT_TARGETS = {
    "zkck": zkck,
    "zkck-ceremony": zkck_ceremony,
    "commit-verifying-key": verifying_key,
    "commit-proof": proof,
    "ceremony-record": ceremony_record,
}
