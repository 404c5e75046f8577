"""Keys, proofs and compiled contracts that the tests of Halo2 on chain share, each made once."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

from zkai.chain.embedded import EmbeddedChain
from zkai.chain.halo2 import EvmVerifier, deploy, make_verifier
from zkai.halo2.evm import EvmSources, generate
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import halo2_support as support

SEEN = {"input": "private", "output": "committed"}


@functools.cache
def key(seed: int = 0) -> Halo2VerifyingKey:
    """The key of a small network whose output is hashed."""
    return support.keys(seed, **SEEN).verifying


@functools.cache
def proof(seed: int = 0) -> Halo2Proof:
    """A proof under that key."""
    return support.proof(seed, **SEEN)


@functools.cache
def sources(seed: int = 0) -> EvmSources:
    """What EZKL writes for that key."""
    return generate(key(seed))


@functools.cache
def verifier(choice: str) -> EvmVerifier:
    """The key's contract in one of its forms."""
    return make_verifier(key(), choice=choice, sources=sources())  # type: ignore[arg-type]


@dataclass(frozen=True)
class OnChain:
    """A chain with a verifier and its adapter."""

    chain: EmbeddedChain
    adapter: str
    behind: str
    verifier: EvmVerifier


@functools.cache
def deployed(choice: str) -> OnChain:
    """The contract and its adapter on an embedded chain."""
    chain = EmbeddedChain()
    made = deploy(verifier(choice), chain)
    return OnChain(chain, made.address, made.verifier, verifier(choice))
