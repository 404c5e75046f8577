"""Proof files verified by a deployed contract, and what is said when that cannot be."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from chain_support import proof_from_words, vectors

from zkai.chain.account import AccountKey
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import context_on, creation_code, deploy, verify_on_chain
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.proof.keys import Proof, VerifyingKey


def valid(n: int) -> tuple[Proof, VerifyingKey]:
    v = vectors(n)
    return proof_from_words(v.vk, v.valid.proof, v.valid.publics), v.vk


def test_a_valid_proof_returns_its_gas(chain: EmbeddedChain) -> None:
    for n in (0, 1, 9):
        proof, vk = valid(n)
        address = deploy(vk, chain).address
        assert 200_000 < verify_on_chain(chain, address, proof, vk) < 280_000


def test_public_values_are_sent_in_the_keys_order(chain: EmbeddedChain) -> None:
    """A file may list them in any order."""
    proof, vk = valid(9)
    address = deploy(vk, chain).address
    backwards = dict(reversed(proof.public.items()))
    verify_on_chain(chain, address, replace(proof, public=backwards), vk)
    names = list(proof.public)
    exchanged = {name: proof.public[other] for name, other in zip(names, names[::-1], strict=True)}
    with pytest.raises(VerificationError, match=r"Groth16Verifier__InvalidProof\(\)"):
        verify_on_chain(chain, address, replace(proof, public=exchanged), vk)


def test_forgeries_are_refused_by_name(chain: EmbeddedChain) -> None:
    proof, vk = valid(1)
    assert proof.a
    address = deploy(vk, chain).address
    x = proof.public["x0"][0]
    forgeries = {
        "InvalidProof": {"public": {"x0": ((x + 1) % FIELD_MODULUS,)}},
        "PublicInputOutOfRange": {"public": {"x0": (x + FIELD_MODULUS,)}},
        "CoordinateOutOfRange": {"a": (proof.a[0] + BASE_MODULUS, proof.a[1])},
        "InvalidPoint": {"a": (1, 1)},
        "PointAtInfinity": {"c": None},
    }
    for error, change in forgeries.items():
        with pytest.raises(VerificationError, match=f"Groth16Verifier__{error}"):
            verify_on_chain(chain, address, replace(proof, **change), vk)
    verify_on_chain(chain, address, proof, vk)


def test_proof_key_and_contract_must_belong_together(chain: EmbeddedChain) -> None:
    proof, vk = valid(1)
    other_proof, other_vk = valid(0)
    address, other = (deploy(key, chain).address for key in (vk, other_vk))
    with pytest.raises(VerificationError, match="made for another key"):
        verify_on_chain(chain, address, other_proof, vk)
    with pytest.raises(VerificationError, match=f"the verifier at {other} has"):
        verify_on_chain(chain, other, proof, vk)
    with pytest.raises(VerificationError, match="no zkai verifier"):
        verify_on_chain(chain, "0x" + "12" * 20, proof, vk)
    with pytest.raises(VerificationError, match="public signals"):
        verify_on_chain(chain, address, replace(proof, public={}), vk)
    with pytest.raises(InvalidInput, match="verifier address"):
        verify_on_chain(chain, "somewhere", proof, vk)


def test_the_context_names_the_sender(chain: EmbeddedChain) -> None:
    address = chain.deploy(creation_code(vectors(0).vk)).address
    bound = context_on(chain, address, "training_step/1", 7, 3, bytes(32))
    assert (bound.chain_id, bound.fork, bound.step) == (chain.chain_id, 7, 3)
    assert bound.ledger.hex().endswith(address[2:].lower())
    assert bound.recipient.hex().endswith(chain.account[2:].lower())
    elsewhere = EmbeddedChain(chain_id=chain.chain_id + 1)
    other = context_on(elsewhere, address, "training_step/1", 7, 3, bytes(32))
    assert other.signal() != bound.signal()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyrevm", "eth_account"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolError, match="pip install pyrevm"):
        EmbeddedChain()
    with pytest.raises(ToolError, match="pip install eth-account"):
        AccountKey("11" * 32, "test")


def test_a_chain_id_must_be_one() -> None:
    for chain_id in (0, -1, 1 << 64):
        with pytest.raises(InvalidInput, match="chain id"):
            EmbeddedChain(chain_id)
