"""A deployed ForkRecorder over keys with known secrets: any public input can be forged.

What is refused of such a proof is refused by ForkRecorder, not by a verifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from chain_support import make_vectors, proof_from_words
from commit_chain_support import make_commit_vectors, proof_of_words
from link_chain_support import link_proof_of_words, make_link_vectors

from zkai.chain.abi import words
from zkai.chain.chain import Outcome
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder
from zkai.chain.verifier import deploy
from zkai.encoding import FIELD_MODULUS, keccak256
from zkai.errors import VerificationError
from zkai.proof.formats import Proof, VerifyingKey

Key, CommitKey = make_vectors.Key, make_commit_vectors.CommitKey
LinkKey, Secret = make_link_vectors.LinkKey, make_link_vectors.Secret
GENESIS = {
    "groth16": Key("recorder/genesis", 5),
    "groth16-commit": CommitKey("recorder/commit/genesis", 5, 2, "development"),
}
STEP = {
    "groth16": Key("recorder/step", 9),
    "groth16-commit": CommitKey("recorder/commit/step", 9, 2, "development"),
}
SKIP = {
    "groth16": Key("recorder/skip", 8),
    "groth16-commit": CommitKey("recorder/commit/skip", 8, 2, "development"),
}
LINKED = (
    LinkKey("recorder/link/genesis", 7, 2, "development"),
    LinkKey("recorder/link/step", 11, 2, "development"),
    SKIP["groth16-commit"],
)
"""The keys of genesis, step and skip of linked states."""
FORMATS = (("groth16", "groth16"), ("groth16-commit", "groth16-commit"))
MIXED = tuple((first, second) for first, _ in FORMATS for _, second in FORMATS if first != second)
MODEL, USER, FORK, BATCH, RATE = 11, 22, 7, 33, 4
STEPS = 3
MAX_SKIPS = 2
STATES = [1001, 1002, 1003]


def digest(key: Any) -> bytes:
    return keccak256(words(key.words()))


def context(
    chain_id: int,
    ledger: str,
    recipient: str,
    statement: str,
    key: Any,
    step: int,
    fork: int = FORK,
) -> int:
    """H(domain, statement version, chain id, ledger, fork, step, recipient, key digest)."""
    head = keccak256(b"zkai/context/1") + keccak256(statement.encode())
    bound = [chain_id, int(ledger, 16), fork, step, int(recipient, 16)]
    return int.from_bytes(keccak256(head + words(bound) + digest(key)), "big") % FIELD_MODULUS


@cache
def vk_of(key: Any) -> VerifyingKey:
    return VerifyingKey.from_json(key.to_json())


def link_proof(key: Any, values: tuple[int, ...]) -> Proof:
    """A proof of these public inputs, then of the names of its own commitments."""
    secret = Secret.of("recorder/link")
    publics = [*values, *secret.names]
    return link_proof_of_words(vk_of(key), key.prove(publics, secret), publics)


@cache
def proof_of(key: Any, publics: tuple[int, ...]) -> Proof:
    if isinstance(key, LinkKey):
        return link_proof(key, publics)
    words_of_proof = key.prove(publics, "recorder/proof")
    make = proof_of_words if len(words_of_proof) == 10 else proof_from_words
    return make(vk_of(key), words_of_proof, list(publics))


@dataclass
class Recorder:
    """A deployed ForkRecorder, with the keys of its verifiers."""

    chain: EmbeddedChain
    contract: ForkRecorder
    genesis: Any
    step: Any
    skipped: Any = None

    @property
    def address(self) -> str:
        return self.contract.address

    def context(self, statement: str, key: Any, step: int) -> int:
        return context(self.chain.chain_id, self.address, self.chain.account, statement, key, step)

    def open(self, **forged: int) -> Outcome:
        publics = {"model": MODEL, "state": STATES[0], "user": USER, "fork": FORK}
        publics["context"] = self.context("genesis/1", self.genesis, 0)
        values = tuple({**publics, **forged}.values())
        return self.contract.open(proof_of(self.genesis, values), vk_of(self.genesis))

    def record(self, index: int, **forged: int) -> Outcome:
        """Record the step from state `index` to the next."""
        publics = {
            "old": STATES[index],
            "new": STATES[index + 1],
            "batch": BATCH,
            "user": USER,
            "model": MODEL,
            "fork": FORK,
            "step": STEPS * index,
            "rate": RATE,
            "context": self.context("training_step/1", self.step, STEPS * index),
        }
        values = tuple({**publics, **forged}.values())
        return self.contract.record(proof_of(self.step, values), vk_of(self.step))

    def skip(self, old: int, step: int, **forged: int) -> Outcome:
        """Skip step number `step` at state `old`; the new state is old + 100."""
        publics = {
            "old": old,
            "new": old + 100,
            "max_skips": MAX_SKIPS,
            "user": USER,
            "model": MODEL,
            "fork": FORK,
            "step": step,
            "context": self.context("skip_step/1", self.skipped, step),
        }
        values = tuple({**publics, **forged}.values())
        return self.contract.skip(proof_of(self.skipped, values), vk_of(self.skipped))


def deploy_recorder(
    chain: EmbeddedChain, formats: tuple[str, str], ceremony: bool = False
) -> Recorder:
    return deploy_keys(chain, GENESIS[formats[0]], STEP[formats[1]], None, ceremony)


def deploy_keys(
    chain: EmbeddedChain, genesis: Any, step: Any, skipped: Any, ceremony: bool = False
) -> Recorder:
    addresses = [deploy(vk_of(key), chain).address for key in (genesis, step)]
    skip_address = None if skipped is None else deploy(vk_of(skipped), chain).address
    contract = ForkRecorder.deploy(chain, *addresses, STEPS, ceremony, skip_address)
    return Recorder(chain, contract, genesis, step, skipped)


def refused(error: str) -> pytest.RaisesExc[VerificationError]:
    return pytest.raises(VerificationError, match=f"ForkRecorder__{error}")
