"""Proofs that the prover made, not the vectors' program, verified by a deployed contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import deploy, verify_on_chain
from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Field, Rows, Tensor, as_tensor
from zkai.errors import VerificationError
from zkai.proof.commit.argument import prove
from zkai.proof.commit.setup import setup

STATEMENT = "square/1"


def _wire(field: Field, i: int) -> Tensor:
    return Tensor((), Rows.of_wires(field.wires[i : i + 1]), None)


def circuit() -> Circuit:
    """The signals x0 and x1 are v and v^2: v v = x1, and (v - x0) alpha = 0."""
    builder = Builder("square", commit=True)
    x = builder.public_field("x", 2)
    v = builder.private_field("v")
    builder.require_round_one(x, v)
    builder.constrain(_wire(v, 0), _wire(v, 0), _wire(x, 1), "square")
    difference = _wire(v, 0) - _wire(x, 0)
    second = define_product(builder, "second", difference, builder.challenge("alpha"))
    builder.constrain(second, as_tensor(1), second * 0, "same")
    return builder.build()


def test_a_proof_of_the_prover(chain: EmbeddedChain, tmp_path: Path) -> None:
    built = circuit()
    keys = setup(built, STATEMENT, tmp_path / "keys")
    vk = keys.verifying
    address = deploy(vk, chain).address
    for value in (3, 5):
        begun = built.begin({"v": [value], "x": [value, value * value]})
        proof = prove(built, keys.proving, begun, STATEMENT)
        assert 260_000 < verify_on_chain(chain, address, proof, vk) < 290_000
        other = replace(proof, public={"x": (value, value * value + 1)})
        with pytest.raises(VerificationError, match="Groth16CommitVerifier__InvalidProof"):
            verify_on_chain(chain, address, other, vk)
