"""A contract that follows forks by proofs: chains are accepted, gaps and replays refused.

The proofs come from keys whose secrets are known (contracts/make_vectors.py), so that each public
input can be forged together with a proof that holds for it: what is refused here is refused by
ForkRecorder, not by the verifier. Every test runs for both proof formats.
"""

from __future__ import annotations

import pytest
from recorder_support import (
    BATCH,
    FORK,
    FORMATS,
    GENESIS,
    MIXED,
    MODEL,
    RATE,
    STATES,
    STEP,
    STEPS,
    USER,
    CommitKey,
    Recorder,
    context,
    deploy_recorder,
    proof_of,
    refused,
    vk_of,
)

from zkai.chain.abi import selector, verify_calldata, words
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder, Head
from zkai.chain.verifier import context_on, deploy, send_proof
from zkai.encoding import keccak256
from zkai.errors import VerificationError


@pytest.fixture(params=FORMATS, ids="/".join)
def recorder(chain: EmbeddedChain, request: pytest.FixtureRequest) -> Recorder:
    return deploy_recorder(chain, request.param)


def test_a_chain_of_proofs_moves_the_fork(recorder: Recorder) -> None:
    assert recorder.contract.head(FORK) == Head(0, 0, 0, 0)
    opened = recorder.open()
    assert opened.logs[0].topics[1] == words([FORK])
    assert recorder.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0)
    for index in range(2):
        recorded = recorder.record(index)
        event = keccak256(b"StepRecorded(uint256,uint256,uint256,address)")
        assert recorded.logs[0].topics == (event, words([FORK]), words([STEPS * (index + 1)]))
        assert recorded.logs[0].data[:32] == words([STATES[index + 1]])
        assert recorder.contract.head(FORK) == Head(
            STATES[index + 1], USER, MODEL, STEPS * (index + 1)
        )


@pytest.mark.parametrize("formats", MIXED, ids="/".join)
def test_the_two_verifiers_may_differ_in_format(
    chain: EmbeddedChain, formats: tuple[str, str]
) -> None:
    recorder = deploy_recorder(chain, formats)
    recorder.open()
    recorder.record(0)
    with refused(rf"WrongStep\({STEPS}, 0\)"):
        recorder.record(0)
    assert recorder.contract.head(FORK).state == STATES[1]


def test_a_step_may_name_a_beacon_s_rounds(chain: EmbeddedChain) -> None:
    """Steps on a fork's dataset have two public inputs a step more, and one for the batch less."""
    inputs = 8 + 2 * STEPS
    genesis, step = (
        GENESIS["groth16-commit"],
        CommitKey("recorder/beacon", inputs, 2, "development"),
    )
    addresses = [deploy(vk_of(key), chain).address for key in (genesis, step)]
    for wrong in (STEPS - 2, STEPS + 1):
        with refused("WrongVerifier"):
            ForkRecorder.deploy(chain, *addresses, wrong)
    # As many inputs as two linked steps have: it shows when a proof comes.
    fewer = Recorder(chain, ForkRecorder.deploy(chain, *addresses, STEPS - 1), genesis, step)
    fewer.open()
    bound = fewer.context("training_step/1", step, 0)
    publics = [STATES[0], STATES[1], *range(2 * STEPS), USER, MODEL, FORK, 0, RATE, bound]
    with refused("WrongVerifier"):
        fewer.contract.record(proof_of(step, tuple(publics)), vk_of(step))
    recorder = Recorder(chain, ForkRecorder.deploy(chain, *addresses, STEPS), genesis, step)
    recorder.open()
    drawn = [90 + i for i in range(2 * STEPS)]
    bound = recorder.context("training_step/1", step, 0)
    publics = [STATES[0], STATES[1], *drawn, USER, MODEL, FORK, 0, RATE, bound]
    for place, value, error in (
        (0, 5, "WrongState"),
        (-6, 5, "WrongUser"),
        (-5, 5, "WrongModel"),
        (-4, 5, "NotOpen"),
        (-3, 5, "WrongStep"),
        (-1, 5, "WrongContext"),
    ):
        forged = list(publics)
        forged[place] = value
        with refused(error):
            recorder.contract.record(proof_of(step, tuple(forged)), vk_of(step))
    recorder.contract.record(proof_of(step, tuple(publics)), vk_of(step))
    assert recorder.contract.head(FORK) == Head(STATES[1], USER, MODEL, STEPS)


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
    assert recorder.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0)
    recorder.record(0)


def test_a_proof_counts_for_one_place(recorder: Recorder) -> None:
    """Each of the context's parts, altered alone, is refused."""
    step = recorder.step
    here = (recorder.chain.chain_id, recorder.address, recorder.chain.account)
    chain_id, ledger, sender = here
    elsewhere = {
        "chain": context(chain_id + 1, ledger, sender, "training_step/1", step, 0),
        "contract": context(chain_id, sender, sender, "training_step/1", step, 0),
        "recipient": context(chain_id, ledger, ledger, "training_step/1", step, 0),
        "statement": context(*here, "training_step/2", step, 0),
        "key": context(*here, "training_step/1", recorder.genesis, 0),
        "step": context(*here, "training_step/1", step, STEPS),
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
    proof = recorder.step.prove(publics, "recorder/other")
    altered = [*publics[:-1], recorder.context("training_step/1", recorder.step, 0)]
    for inputs, error in ((altered, "InvalidProof"), (publics[:-1], "InvalidLength")):
        with pytest.raises(VerificationError, match=f"Groth16(Commit)?Verifier__{error}"):
            send_proof(recorder.chain, recorder.address, "record", proof, inputs, "ForkRecorder")


def test_a_proof_of_the_other_format_is_refused(recorder: Recorder) -> None:
    """A plain proof to a verifier with a commitment round, and the reverse, whatever they prove."""
    recorder.open()
    other = STEP["groth16" if recorder.step is STEP["groth16-commit"] else "groth16-commit"]
    for key in (recorder.step, other):
        bound = recorder.context("training_step/1", key, 0)
        publics = [STATES[0], STATES[1], BATCH, USER, MODEL, FORK, 0, RATE, bound]
        data = verify_calldata(other.prove(publics, "recorder/format"), publics, "record")
        outcome = recorder.chain.call(recorder.address, data)
        assert (outcome.success, outcome.output) == (False, b"")
    assert recorder.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0)
    recorder.record(0)


def test_a_commitment_of_another_proof_is_refused(chain: EmbeddedChain) -> None:
    recorder = deploy_recorder(chain, ("groth16-commit", "groth16-commit"))
    recorder.open()
    bound = recorder.context("training_step/1", recorder.step, 0)
    publics = [STATES[0], STATES[1], BATCH, USER, MODEL, FORK, 0, RATE, bound]
    proof, other = (recorder.step.prove(publics, f"recorder/{i}") for i in range(2))
    for forged, error in (
        (proof[:8] + other[8:], "InvalidProof"),
        ([*proof[:8], 0, 0], "PointAtInfinity"),
        ([*proof[:9], proof[9] + 1], "InvalidPoint"),
    ):
        with pytest.raises(VerificationError, match=f"Groth16CommitVerifier__{error}"):
            send_proof(chain, recorder.address, "record", forged, publics, "ForkRecorder")
    send_proof(chain, recorder.address, "record", proof, publics, "ForkRecorder")
    assert recorder.contract.head(FORK).state == STATES[1]


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
def test_development_keys_can_be_refused(chain: EmbeddedChain, formats: tuple[str, str]) -> None:
    with refused("DevelopmentKey"):
        deploy_recorder(chain, formats, ceremony=True)


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
def test_verifiers_of_other_statements_are_refused(
    chain: EmbeddedChain, formats: tuple[str, str]
) -> None:
    keys = (GENESIS[formats[0]], STEP[formats[1]])
    genesis, step = (deploy(vk_of(key), chain).address for key in keys)
    for arguments in ((step, genesis, 1), (genesis, genesis, 1), (genesis, step, 0)):
        with refused("WrongVerifier"):
            ForkRecorder.deploy(chain, *arguments)
    with pytest.raises(VerificationError, match="no fork recorder"):
        ForkRecorder(chain, step).head(FORK)


def test_the_library_and_the_contract_make_one_context(recorder: Recorder) -> None:
    bound = context_on(
        recorder.chain,
        recorder.address,
        "training_step/1",
        FORK,
        STEPS,
        vk_of(recorder.step).digest,
    )
    assert bound.signal() == recorder.context("training_step/1", recorder.step, STEPS)
    request = selector("context(bytes32,bytes32,uint256,uint256,address)")
    request += keccak256(b"training_step/1") + vk_of(recorder.step).digest
    request += words([FORK, STEPS, int(recorder.chain.account, 16)])
    assert recorder.chain.call(recorder.address, request).output == words([bound.signal()])
