"""What a chain checks of a wrapped decision: the head's proof, and the hash that it is bound to."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import deploy, verify_on_chain
from zkai.errors import VerificationError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import wrap_support


@pytest.fixture(autouse=True, scope="module")
def _ezkl() -> None:
    wrap_support.halo2_support.require_ezkl()


def test_a_chain_verifies_the_head_for_a_third_of_the_bodys_gas() -> None:
    chain, key = EmbeddedChain(), wrap_support.head_keys().verifying
    address = deploy(key, chain).address
    gas = verify_on_chain(chain, address, wrap_support.decision().head, key)
    assert gas < 240_000


def test_a_chain_refuses_the_head_under_another_bodys_hash() -> None:
    chain, key = EmbeddedChain(), wrap_support.head_keys().verifying
    address = deploy(key, chain).address
    made, other = wrap_support.decision(0), wrap_support.decision(1)
    public = {**made.head.public, "input": other.body.public["output"]}
    with pytest.raises(VerificationError, match="InvalidProof"):
        verify_on_chain(chain, address, replace(made.head, public=public), key)
