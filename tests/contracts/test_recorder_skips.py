"""ForkRecorder counts a fork's skipped steps, and follows forks whose states are linked.

As in test_fork_recorder.py every proof holds for the inputs that it names; test_recorder_history.py
has the circuits' own.
"""

from __future__ import annotations

import pytest
from link_chain_support import link_proof_of_words
from recorder_support import (
    BATCH,
    FORK,
    FORMATS,
    GENESIS,
    LINKED,
    MAX_SKIPS,
    MODEL,
    RATE,
    SKIP,
    STATES,
    STEP,
    STEPS,
    USER,
    CommitKey,
    LinkKey,
    Recorder,
    Secret,
    context,
    deploy_keys,
    deploy_recorder,
    link_proof,
    proof_of,
    refused,
    vk_of,
)

from zkai.chain.abi import verify_calldata, words
from zkai.chain.artifact import load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder, Head
from zkai.chain.verifier import deploy, proof_words, send_proof
from zkai.encoding import keccak256
from zkai.errors import VerificationError

KEYS = {
    "groth16": (GENESIS["groth16"], STEP["groth16"], SKIP["groth16"]),
    "groth16-commit": (GENESIS["groth16-commit"], STEP["groth16-commit"], SKIP["groth16-commit"]),
    "linked": LINKED,
}


@pytest.fixture(params=KEYS)
def recorder(chain: EmbeddedChain, request: pytest.FixtureRequest) -> Recorder:
    """A recorder whose fork is open."""
    made = deploy_keys(chain, *KEYS[request.param])
    made.open()
    return made


@pytest.fixture
def hashed(chain: EmbeddedChain) -> Recorder:
    made = deploy_keys(chain, *KEYS["groth16-commit"])
    made.open()
    return made


@pytest.fixture
def linked(chain: EmbeddedChain) -> Recorder:
    made = deploy_keys(chain, *LINKED)
    made.open()
    return made


def test_skips_and_steps_make_one_history(recorder: Recorder) -> None:
    skipped = recorder.skip(STATES[0], 0)
    event = keccak256(b"StepSkipped(uint256,uint256,uint256,uint256,address)")
    assert skipped.logs[0].topics == (event, words([FORK]), words([1]))
    assert skipped.logs[0].data[:64] == words([STATES[0] + 100, 1])
    assert recorder.contract.head(FORK) == Head(STATES[0] + 100, USER, MODEL, 1, 1)
    bound = recorder.context("training_step/1", recorder.step, 1)
    recorder.record(0, old=STATES[0] + 100, step=1, context=bound)
    assert recorder.contract.head(FORK) == Head(STATES[1], USER, MODEL, 1 + STEPS, 1)
    recorder.skip(STATES[1], 1 + STEPS)
    assert recorder.contract.head(FORK) == Head(STATES[1] + 100, USER, MODEL, 2 + STEPS, 2)


def test_no_more_skips_than_the_terms_allow(recorder: Recorder) -> None:
    recorder.skip(STATES[0], 0)
    recorder.skip(STATES[0] + 100, 1)
    with refused(rf"TooManySkips\({MAX_SKIPS}\)"):
        recorder.skip(STATES[0] + 200, 2)
    assert recorder.contract.head(FORK) == Head(STATES[0] + 200, USER, MODEL, 2, 2)
    bound = recorder.context("training_step/1", recorder.step, 2)
    recorder.record(0, old=STATES[0] + 200, step=2, context=bound)


def test_a_fork_whose_terms_allow_none(hashed: Recorder) -> None:
    with refused(r"TooManySkips\(0\)"):
        hashed.skip(STATES[0], 0, max_skips=0)
    assert hashed.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0, 0)


def test_a_skip_counts_once_and_for_its_fork(hashed: Recorder) -> None:
    hashed.skip(STATES[0], 0)
    with refused(r"WrongStep\(1, 0\)"):
        hashed.skip(STATES[0], 0)
    with refused(r"WrongStep\(1, 2\)"):
        hashed.skip(STATES[0] + 100, 2)
    with refused(r"WrongState\(1101, 1001\)"):
        hashed.skip(STATES[0], 1)
    for forged, error in (
        ({"fork": 8}, r"NotOpen\(8\)"),
        ({"user": 23}, r"WrongUser\(22, 23\)"),
        ({"model": 12}, r"WrongModel\(11, 12\)"),
    ):
        with refused(error):
            hashed.skip(STATES[0] + 100, 1, **forged)
    hashed.skip(STATES[0] + 100, 1)


def test_each_fork_has_its_own_count(hashed: Recorder) -> None:
    here = (hashed.chain.chain_id, hashed.address, hashed.chain.account)
    other = context(*here, "genesis/1", hashed.genesis, 0, fork=8)
    hashed.open(fork=8, context=other)
    for i in range(MAX_SKIPS):
        hashed.skip(STATES[0] + 100 * i, i)
    with refused("WrongContext"):
        hashed.skip(STATES[0], 0, fork=8)
    bound = context(*here, "skip_step/1", hashed.skipped, 0, fork=8)
    hashed.skip(STATES[0], 0, fork=8, context=bound)
    assert [hashed.contract.head(fork).skips for fork in (FORK, 8)] == [MAX_SKIPS, 1]


def test_a_skip_counts_for_one_place(hashed: Recorder) -> None:
    """Each of the context's parts, altered alone, is refused."""
    key = hashed.skipped
    here = (hashed.chain.chain_id, hashed.address, hashed.chain.account)
    chain_id, ledger, sender = here
    for forged in (
        context(chain_id + 1, ledger, sender, "skip_step/1", key, 0),
        context(chain_id, sender, sender, "skip_step/1", key, 0),
        context(chain_id, ledger, ledger, "skip_step/1", key, 0),
        context(*here, "training_step/1", key, 0),
        context(*here, "skip_step/1", hashed.step, 0),
        context(*here, "skip_step/1", key, 1),
    ):
        with refused("WrongContext"):
            hashed.skip(STATES[0], 0, context=forged)
    hashed.skip(STATES[0], 0)


def test_a_skip_is_no_step_and_a_step_no_skip(recorder: Recorder) -> None:
    """The proof holds, and its context and statement are those of the other function."""
    skip = [STATES[0], 5, MAX_SKIPS, USER, MODEL, FORK, 0]
    step = [STATES[0], 5, BATCH, USER, MODEL, FORK, 0, RATE]
    for key, publics, function in (
        (recorder.skipped, skip, "record"),
        (recorder.step, step, "skip"),
    ):
        statement = "training_step/1" if function == "record" else "skip_step/1"
        values = (*publics, recorder.context(statement, key, 0))
        move = getattr(recorder.contract, function)
        with pytest.raises(VerificationError, match=r"InvalidLength|revert without data"):
            move(proof_of(key, values), vk_of(key))
    assert recorder.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0, 0)


def test_the_skip_verifier_decides_first(recorder: Recorder) -> None:
    publics = [STATES[0], 5, MAX_SKIPS, USER, MODEL, FORK, 0, 1]
    proof = recorder.skipped.prove(publics, "recorder/other")
    altered = [*publics[:-1], recorder.context("skip_step/1", recorder.skipped, 0)]
    limit = [*publics[:2], MAX_SKIPS + 1, *publics[3:]]
    for inputs, error in (
        (altered, "InvalidProof"),
        (limit, "InvalidProof"),
        (publics[:-1], "InvalidLength"),
    ):
        with pytest.raises(VerificationError, match=f"Groth16(Commit)?Verifier__{error}"):
            send_proof(recorder.chain, recorder.address, "skip", proof, inputs, "ForkRecorder")


@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
def test_without_a_verifier_no_step_is_skipped(
    chain: EmbeddedChain, formats: tuple[str, str]
) -> None:
    recorder = deploy_recorder(chain, formats)
    recorder.open()
    recorder.skipped = SKIP[formats[1]]
    with refused("NoSkips"):
        recorder.skip(STATES[0], 0)


def test_what_a_skip_verifier_must_be(chain: EmbeddedChain) -> None:
    genesis, step, skip = (deploy(vk_of(key), chain).address for key in KEYS["groth16"])
    for other in (genesis, step):
        with refused("WrongVerifier"):
            ForkRecorder.deploy(chain, genesis, step, STEPS, skip_verifier=other)
    with refused("WrongVerifier"):
        ForkRecorder.deploy(chain, genesis, step, 1 << 32, skip_verifier=skip)
    ForkRecorder.deploy(chain, genesis, step, (1 << 32) - 1, skip_verifier=skip)


def test_a_skip_verifier_s_development_key_can_be_refused(chain: EmbeddedChain) -> None:
    code = load_artifact("Groth16CommitVerifier").creation_code

    def verifier(inputs: int, status: str) -> str:
        key = CommitKey(f"recorder/{status}", inputs, 2, status).words()
        return chain.deploy(code + words([32, len(key), *key])).address

    genesis, step = verifier(5, "ceremony"), verifier(9, "ceremony")
    ForkRecorder.deploy(chain, genesis, step, STEPS, True)
    ForkRecorder.deploy(chain, genesis, step, STEPS, True, verifier(8, "ceremony"))
    with refused("DevelopmentKey"):
        ForkRecorder.deploy(chain, genesis, step, STEPS, True, verifier(8, "development"))


def test_linked_states_move_the_fork(linked: Recorder) -> None:
    assert linked.contract.head(FORK) == Head(STATES[0], USER, MODEL, 0)
    linked.record(0)
    linked.record(1)
    assert linked.contract.head(FORK) == Head(STATES[2], USER, MODEL, 2 * STEPS)


def test_a_linked_step_continues_the_fork_it_names(linked: Recorder) -> None:
    for forged, error in (
        ({"old": 1002}, r"WrongState\(1001, 1002\)"),
        ({"user": 23}, r"WrongUser\(22, 23\)"),
        ({"model": 12}, r"WrongModel\(11, 12\)"),
        ({"fork": 8}, r"NotOpen\(8\)"),
        ({"step": 1}, r"WrongStep\(0, 1\)"),
        ({"context": 1}, "WrongContext"),
    ):
        with refused(error):
            linked.record(0, **forged)
    linked.record(0)
    with refused(rf"WrongStep\({STEPS}, 0\)"):
        linked.record(0)
    with refused(rf"AlreadyOpen\({FORK}\)"):
        linked.open()


def test_linked_steps_may_name_a_beacon_s_rounds(chain: EmbeddedChain) -> None:
    key = LinkKey("recorder/link/beacon", 10 + 2 * STEPS, 2, "development")
    recorder = deploy_keys(chain, LINKED[0], key, None)
    recorder.open()
    bound = recorder.context("training_step/1", key, 0)
    drawn = range(90, 90 + 2 * STEPS)
    publics = (STATES[0], STATES[1], *drawn, USER, MODEL, FORK, 0, RATE, bound)
    recorder.contract.record(proof_of(key, publics), vk_of(key))
    assert recorder.contract.head(FORK) == Head(STATES[1], USER, MODEL, STEPS)
    # As many inputs as longer proofs without links have: refused when a proof comes.
    addresses = [deploy(vk_of(k), chain).address for k in (LINKED[0], key)]
    longer = ForkRecorder.deploy(chain, *addresses, STEPS + 1)
    other = Recorder(chain, longer, LINKED[0], key)
    other.open()
    bound = other.context("training_step/1", key, 0)
    with refused("WrongVerifier"):
        longer.record(proof_of(key, (*publics[:-1], bound)), vk_of(key))


def test_a_link_of_another_proof_is_refused(linked: Recorder) -> None:
    key = LINKED[1]
    bound = linked.context("training_step/1", key, 0)
    values = (STATES[0], STATES[1], BATCH, USER, MODEL, FORK, 0, RATE, bound)
    proof, other = proof_words(link_proof(key, values)), Secret.of("recorder/link/other")
    publics = [*values, *Secret.of("recorder/link").names]
    theirs = key.prove([*values, *other.names], other)
    for forged, inputs, error in (
        (proof[:12] + theirs[12:16] + proof[16:], publics, "InvalidLink"),
        (proof, [*values, *other.names], "InvalidLink"),
        (proof, [*values, *publics[:-3:-1]], "InvalidLink"),
        (proof[:10] + theirs[10:], [*values, *other.names], "InvalidProof"),
        (proof[:16] + theirs[16:], publics, "InvalidProof"),
        (proof, list(values), "InvalidLength"),
    ):
        with pytest.raises(VerificationError, match=f"Groth16LinkVerifier__{error}"):
            send_proof(linked.chain, linked.address, "record", forged, inputs, "ForkRecorder")
    assert linked.contract.head(FORK).state == STATES[0]
    send_proof(linked.chain, linked.address, "record", proof, publics, "ForkRecorder")
    assert linked.contract.head(FORK).state == STATES[1]


def test_linked_proofs_and_others_do_not_mix(linked: Recorder) -> None:
    """Neither verifier has the other's function."""
    key = STEP["groth16-commit"]
    bound = linked.context("training_step/1", LINKED[1], 0)
    values = (STATES[0], STATES[1], BATCH, USER, MODEL, FORK, 0, RATE, bound)
    hashed = deploy_keys(linked.chain, *KEYS["groth16-commit"])
    hashed.open()
    for recorder, words_of_proof, publics in (
        (linked, key.prove(values, "recorder/mixed"), list(values)),
        (hashed, proof_words(link_proof(LINKED[1], values)), [*values, 0, 0]),
    ):
        data = verify_calldata(words_of_proof, publics, "record")
        outcome = linked.chain.call(recorder.address, data)
        assert (outcome.success, outcome.output) == (False, b"")


def test_a_linked_skip_carries_no_polynomial(linked: Recorder) -> None:
    """A skip opens none, so no skip's proof has 18 words."""
    key, secret = LINKED[1], Secret.of("recorder/link")
    publics = [*range(9), *secret.names]
    proof = link_proof_of_words(vk_of(key), key.prove(publics, secret), publics)
    with pytest.raises(VerificationError, match="revert without data"):
        linked.contract.skip(proof, vk_of(key))
