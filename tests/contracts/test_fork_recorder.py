"""A contract that follows forks by proofs: chains are accepted, gaps and replays refused.

The proofs come from keys whose secrets are known (contracts/make_vectors.py), so that each public
input can be forged together with a proof that holds for it: what is refused here is refused by
ForkRecorder, not by the verifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from chain_support import make_vectors

from zkai.chain.abi import selector, words
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Outcome
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import DOMAIN, send_proof
from zkai.encoding import FIELD_MODULUS, keccak256
from zkai.errors import VerificationError

Key = make_vectors.Key
GENESIS = Key("recorder/genesis", 5)
STEP = Key("recorder/step", 9)
MODEL, USER, FORK, BATCH, RATE = 11, 22, 7, 33, 4
STEPS = 3
STATES = [1001, 1002, 1003]


def digest(key: Any) -> bytes:
    return keccak256(words(key.words()))


def context(chain_id: int, ledger: str, recipient: str, statement: str, key: Any, step: int) -> int:
    """H(domain, statement version, chain id, ledger, fork, step, recipient, key digest)."""
    head = keccak256(b"zkai/context/1") + keccak256(statement.encode())
    bound = [chain_id, int(ledger, 16), FORK, step, int(recipient, 16)]
    return int.from_bytes(keccak256(head + words(bound) + digest(key)), "big") % FIELD_MODULUS


@cache
def proof_of(key: Any, publics: tuple[int, ...]) -> list[int]:
    return key.prove(publics, "recorder/proof")  # type: ignore[no-any-return]


@dataclass
class Recorder:
    """A deployed ForkRecorder."""

    chain: EmbeddedChain
    address: str

    def context(self, statement: str, key: Any, step: int) -> int:
        return context(self.chain.chain_id, self.address, self.chain.account, statement, key, step)

    def open(self, **forged: int) -> Outcome:
        publics = {"model": MODEL, "state": STATES[0], "user": USER, "fork": FORK}
        publics["context"] = self.context("genesis/1", GENESIS, 0)
        return self._send("open", GENESIS, list({**publics, **forged}.values()))

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
            "context": self.context("training_step/1", STEP, STEPS * index),
        }
        return self._send("record", STEP, list({**publics, **forged}.values()))

    def _send(self, function: str, key: Any, publics: list[int]) -> Outcome:
        proof = proof_of(key, tuple(publics))
        return send_proof(self.chain, self.address, function, proof, publics, "ForkRecorder")

    def head(self, fork: int) -> list[int]:
        output = self.chain.call(self.address, selector("heads(uint256)") + words([fork])).output
        return [int.from_bytes(output[i : i + 32], "big") for i in range(0, 128, 32)]


def deploy_verifier(chain: EmbeddedChain, key: Any) -> int:
    code = load_artifact("Groth16Verifier").creation_code
    key_words = key.words()
    return int(chain.deploy(code + words([32, len(key_words), *key_words])).address, 16)


def deploy_recorder(chain: EmbeddedChain, ceremony: bool = False) -> Recorder:
    verifiers = [deploy_verifier(chain, GENESIS), deploy_verifier(chain, STEP)]
    code = load_artifact("ForkRecorder").creation_code
    address = chain.deploy(code + words([*verifiers, STEPS, int(ceremony)])).address
    return Recorder(chain, address)


@pytest.fixture
def recorder(chain: EmbeddedChain) -> Recorder:
    return deploy_recorder(chain)


def refused(error: str) -> pytest.RaisesExc[VerificationError]:
    return pytest.raises(VerificationError, match=f"ForkRecorder__{error}")


def test_a_chain_of_proofs_moves_the_fork(recorder: Recorder) -> None:
    assert recorder.head(FORK) == [0, 0, 0, 0]
    opened = recorder.open()
    assert opened.logs[0].topics[1] == words([FORK])
    assert recorder.head(FORK) == [STATES[0], USER, MODEL, 0]
    for index in range(2):
        recorded = recorder.record(index)
        event = keccak256(b"StepRecorded(uint256,uint256,uint256,address)")
        assert recorded.logs[0].topics == (event, words([FORK]), words([STEPS * (index + 1)]))
        assert recorded.logs[0].data[:32] == words([STATES[index + 1]])
        assert recorder.head(FORK) == [STATES[index + 1], USER, MODEL, STEPS * (index + 1)]


def test_a_fork_opens_once(recorder: Recorder) -> None:
    recorder.open()
    with refused(rf"AlreadyOpen\({FORK}\)"):
        recorder.open()
    with refused(rf"AlreadyOpen\({FORK}\)"):
        recorder.open(state=2002)


def test_a_step_counts_once_and_none_is_skipped(recorder: Recorder) -> None:
    with refused(rf"NotOpen\({FORK}\)"):
        recorder.record(0)
    recorder.open()
    with refused(rf"WrongStep\(0, {STEPS}\)"):
        recorder.record(1)
    recorder.record(0)
    with refused(rf"WrongStep\({STEPS}, 0\)"):
        recorder.record(0)
    recorder.record(1)


def test_a_step_continues_the_fork_it_names(recorder: Recorder) -> None:
    recorder.open()
    with refused(r"WrongState\(1001, 1002\)"):
        recorder.record(0, old=1002)
    with refused(r"WrongUser\(22, 23\)"):
        recorder.record(0, user=23)
    with refused(r"WrongModel\(11, 12\)"):
        recorder.record(0, model=12)
    with refused(r"NotOpen\(8\)"):
        recorder.record(0, fork=8)
    assert recorder.head(FORK) == [STATES[0], USER, MODEL, 0]
    recorder.record(0)


def test_a_proof_counts_for_one_place(recorder: Recorder) -> None:
    """Each of the context's parts, altered alone, is refused."""
    here = (recorder.chain.chain_id, recorder.address, recorder.chain.account)
    chain_id, ledger, sender = here
    elsewhere = {
        "chain": context(chain_id + 1, ledger, sender, "training_step/1", STEP, 0),
        "contract": context(chain_id, sender, sender, "training_step/1", STEP, 0),
        "recipient": context(chain_id, ledger, ledger, "training_step/1", STEP, 0),
        "statement": context(*here, "training_step/2", STEP, 0),
        "key": context(*here, "training_step/1", GENESIS, 0),
        "step": context(*here, "training_step/1", STEP, STEPS),
    }
    recorder.open()
    for forged in elsewhere.values():
        with refused("WrongContext"):
            recorder.record(0, context=forged)
    with refused("WrongContext"):
        recorder.open(fork=8)
    recorder.record(0)


def test_the_verifier_decides_first(recorder: Recorder) -> None:
    recorder.open()
    publics = [STATES[0], STATES[1], BATCH, USER, MODEL, FORK, 0, RATE, 1]
    proof = STEP.prove(publics, "recorder/other")
    altered = [*publics[:-1], recorder.context("training_step/1", STEP, 0)]
    for inputs, error in ((altered, "InvalidProof"), (publics[:-1], "InvalidLength")):
        with pytest.raises(VerificationError, match=f"Groth16Verifier__{error}"):
            send_proof(recorder.chain, recorder.address, "record", proof, inputs, "ForkRecorder")


def test_development_keys_can_be_refused(chain: EmbeddedChain) -> None:
    with refused("DevelopmentKey"):
        deploy_recorder(chain, ceremony=True)


def test_verifiers_of_other_statements_are_refused(chain: EmbeddedChain) -> None:
    step, genesis = deploy_verifier(chain, STEP), deploy_verifier(chain, GENESIS)
    code = load_artifact("ForkRecorder").creation_code
    for arguments in ([step, genesis, 1, 0], [genesis, genesis, 1, 0], [genesis, step, 0, 0]):
        with refused("WrongVerifier"):
            chain.deploy(code + words(arguments))


def test_the_domain_is_the_one_of_the_vectors() -> None:
    assert int.from_bytes(DOMAIN, "big") == STEP.words()[0]
