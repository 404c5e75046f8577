"""The parsers of the format with a commitment round under fuzzing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from tests.ceremony_record import recorded
from tests.fuzz.harness import Target
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.link import links
from zkai.circuit.r1cs import Circuit, Partial, combine
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
from zkai.proof.commit.link import link_value
from zkai.proof.commit.setup import setup
from zkai.proof.keys import with_ceremony
from zkai.proof.powers import write_development_ptau
from zkai.proof.ptau import prepare

STATEMENT = "toy/1"
INPUTS = {"y": np.array(3), "x": np.array([3, 5])}
SECRETS = (1009, 2003, 3001, 4001, 5003)
"""tau, alpha, beta, delta1, delta2 of the key whose ceremony is made up."""


@lru_cache
def small_circuit(linked: bool = False) -> Circuit:
    """Four products of round 2 and one public signal; perhaps a linked polynomial."""
    builder = Builder("fuzz", commit=True, links=int(linked))
    builder.public_int("y")
    if linked:
        builder.public_field("link")
    x = builder.private_int("x", (2,))
    alpha = builder.challenge("alpha")
    builder.require_round_one(x)
    define_product(builder, "product", define_product(builder, "first", x, alpha), alpha)
    if linked:
        links(builder).bind("link", [x], builder.private_field("blinders", 2))
    return builder.build()


def begin(keys: CommitKeys, circuit: Circuit) -> Partial:
    """Round 1, with the name of the linked polynomial if there is one."""
    if not circuit.links:
        return circuit.begin(INPUTS)
    inputs = INPUTS | {"blinders": [7, 8]}
    first = circuit.begin(inputs | {"link": 0}).witness
    point = keys.proving.commit(combine(circuit.links[0].coefficients.rows, first))
    return circuit.begin(inputs | {"link": link_value(point)})


@lru_cache
def seeds(folder: Path, linked: bool) -> dict[str, bytes]:
    """A valid file of each kind about the small circuit."""
    circuit, secrets = small_circuit(linked), iter(SECRETS)
    keys = setup(circuit, STATEMENT, folder / "keys")
    proof = argument.prove(circuit, keys.proving, begin(keys, circuit), STATEMENT)
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


def zkck(folder: Path, linked: bool) -> Target:
    """Prove with a proving key, and check it against its other half."""
    found, circuit = seeds(folder, linked), small_circuit(linked)
    begun = begin(CommitKeys.from_path(folder / "keys"), circuit)

    def use(scratch: Path, data: bytes) -> None:
        path = _fresh(scratch / "k" / PROVING_FILE, data)
        _fresh(scratch / "k" / VERIFYING_FILE, found["verifying"])
        argument.prove(circuit, CommitProvingKey(path), begun, STATEMENT)
        CommitKeys.from_path(path.parent)

    return Target("zkck", (found["zkck"],), use)


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


def verifying_key(folder: Path, linked: bool) -> Target:
    """Check a good proof with a verifying key: only the very same key may pass."""
    proof = CommitProof.from_json(json.loads(seeds(folder, linked)["proof"]))
    good = CommitVerifyingKey.from_json(json.loads(seeds(folder, linked)["verifying"]))

    def use(scratch: Path, data: bytes) -> None:
        read = CommitVerifyingKey.from_path(_fresh(scratch / "vk.json", data))
        argument.verify(proof, read)
        if read != good:
            raise AssertionError(f"a proof verifies under a changed key: {read}")

    return Target("commit-verifying-key", (seeds(folder, linked)["verifying"],), use, json=True)


def proof(folder: Path, linked: bool) -> Target:
    """Check a proof with a good key: only the very same statement may pass."""
    key = CommitVerifyingKey.from_json(json.loads(seeds(folder, linked)["verifying"]))
    good = CommitProof.from_json(json.loads(seeds(folder, linked)["proof"]))

    def use(scratch: Path, data: bytes) -> None:
        read = CommitProof.from_path(_fresh(scratch / "proof.json", data))
        argument.verify(read, key)
        if read != good:
            raise AssertionError(f"a changed proof verifies: {read}")

    return Target("commit-proof", (seeds(folder, linked)["proof"],), use, json=True)


def ceremony_record(folder: Path) -> Target:
    """Follow the chains that a verifying key records: they must lead to its deltas."""
    good = CommitVerifyingKey.from_json(json.loads(seeds(folder, False)["claimed"]))
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

    return Target("ceremony-record", (seeds(folder, False)["claimed"],), use, json=True)


COMMIT_TARGETS: dict[str, Callable[[Path], Target]] = {
    "zkck-ceremony": zkck_ceremony,
    "ceremony-record": ceremony_record,
    **{
        f"{'linked' if linked else 'commit'}-{name}": partial(make, linked=linked)
        for linked in (False, True)
        for name, make in (("zkck", zkck), ("verifying-key", verifying_key), ("proof", proof))
    },
}
