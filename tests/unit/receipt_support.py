"""A small fork with its proofs and keys, and signers, shared by the tests of receipts and logs."""

from __future__ import annotations

import functools

import numpy as np

import zkai
from zkai.proof.keys import Proof, VerifyingKey
from zkai.receipt.signer import ED25519, PrivateKey, generate
from zkai.receipt.statement import Facts, Place, Receipt, issue
from zkai.receipt.trust import TrustStore, trust

NOW = 1_790_000_000
PLACE = Place(7, bytes(31) + b"\x05", bytes(31) + b"\x09")
HEAD = zkai.SoftmaxHead(features=2, classes=2)


def signer(
    name: str = "issuer", alg: str = "ML-DSA-65", implementation: str = "pyca"
) -> PrivateKey:
    """A key that lasts as long as the test run."""
    return _signer(name, alg, implementation)


@functools.cache
def _signer(name: str, alg: str, implementation: str) -> PrivateKey:
    return generate(alg, implementation)


@functools.cache
def store() -> TrustStore:
    """A store that requires the issuer's ML-DSA-65 and Ed25519 keys."""
    keys = [("issuer", signer().public), ("classic", signer("classic", ED25519).public)]
    return trust(keys)


def signers() -> list[PrivateKey]:
    """Both keys that the store requires."""
    return [signer(), signer("classic", ED25519)]


@functools.cache
def fork_proofs() -> tuple[Proof, ...]:
    """A genesis and two training steps for PLACE."""
    destination = zkai.Destination(PLACE.chain_id, PLACE.ledger, PLACE.recipient)
    genesis, step = zkai.Genesis(HEAD), zkai.TrainingStep(HEAD, batch=2, learning_rate=2**-4)
    genesis_keys, step_keys = zkai.setup(genesis), zkai.setup(step)
    _keys.update({"genesis/1": genesis_keys.verifying, step.version: step_keys.verifying})
    proof = zkai.prove(
        genesis, genesis_keys.proving, {"weights": np.zeros((2, 2)), "fork": 11},
        destination=destination,
    )  # fmt: skip
    proofs = [proof]
    for _ in range(2):
        values = {"state": proof.opening.state, "x": np.eye(2), "labels": [0, 1]}
        proof = zkai.prove(step, step_keys.proving, values, destination=destination)
        proofs.append(proof)
    return tuple(Proof.from_json(p.to_json()) for p in proofs)


_keys: dict[str, VerifyingKey] = {}


def verifying_keys() -> dict[str, VerifyingKey]:
    """The verifying keys of the fork's proofs, by statement."""
    fork_proofs()
    return _keys


@functools.cache
def fork_receipts() -> tuple[Receipt, ...]:
    """A receipt for each proof, each naming the last one as its parent."""
    receipts: list[Receipt] = []
    for proof in fork_proofs():
        facts = Facts(
            parent=receipts[-1].id if receipts else None,
            hyperparameters={"batch": 2, "learning_rate": "0.0625"},
            environment={"python": "3.11", "device": "cpu"},
            metering={"prove_ms": 12, "proof_bytes": 256},
            privacy={"mechanism": "none", "epsilon": "0", "delta": "0", "spent_epsilon": "0.5"},
            sources=[
                {"source": "https://example.org", "title": "Zürich", "licence": "CC0-1.0",
                 "confidence": "0.9"}
            ],
            tee={"kind": "sgx-dcap", "quote": "AAAA"},
            started=NOW - 10,
            finished=NOW - 5,
            extensions={"note": "free"},
        )  # fmt: skip
        receipts.append(issue(proof, signers(), place=PLACE, facts=facts, signed=NOW))
    return tuple(receipts)
