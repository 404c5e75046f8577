"""How the demo proves: each proof is verified here and by a contract, written, and noted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from zkai.chain.verifier import verify_on_chain
from zkai.circuit.statements.base import COMMIT
from zkai.demo.stage import Stage
from zkai.pipeline import OpenedProof, prove, verify

PROOF_BYTES = {"groth16": 256, COMMIT: 320}
"""Bytes of a proof's points as a contract takes them."""


def prove_and_check(
    stage: Stage, user: str, version: str, values: Mapping[str, Any], name: str
) -> OpenedProof:
    """Return a user's proof of a statement for this chain, after both verifiers took it."""
    statement, key = stage.statements[version], stage.verifying(version)
    clock = [time.perf_counter()]
    proof = prove(statement, stage.keys[version].proving, values, destination=stage.destination)
    clock.append(time.perf_counter())
    verify(proof, key, destination=stage.destination)
    clock.append(time.perf_counter())
    gas = verify_on_chain(stage.chain, stage.verifiers[version], proof, key)
    path = stage.out / "proofs" / f"{user}-{name}.json"
    proof.write(path)
    stage.proofs.append(
        {
            "user": user,
            "name": name,
            "file": f"proofs/{path.name}",
            "key": f"keys/{version.split('/')[0]}.json",
            "statement": version.split("/")[0],
            "format": COMMIT,
            "constraints": statement.build().n_constraints,
            "prove_s": round(clock[1] - clock[0], 4),
            "verify_s": round(clock[2] - clock[1], 5),
            "proof_bytes": PROOF_BYTES[COMMIT],
            "gas": gas,
            "verified_onchain": True,
        }
    )
    return proof
