"""The Solidity verifier with a commitment round, prebuilt and rendered, against every vector."""

from __future__ import annotations

from pathlib import Path

import pytest
from commit_chain_support import (
    SHAPES,
    Shape,
    commit_vectors,
    make_commit_vectors,
    proof_of,
    refusal,
    refusal_of,
    rendered_creation_codes,
)

from zkai.chain.abi import selector, verify_calldata, words
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import (
    creation_code,
    deploy,
    proof_words,
    read_circuit_digest,
    read_key_status,
    read_n_challenges,
    read_n_public,
    read_vk_digest,
    verify_on_chain,
)
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS
from zkai.errors import VerificationError

FORMS = ("prebuilt", pytest.param("rendered", marks=pytest.mark.node))
GAS_OF_A_STEP = 270_000
"""A whole transaction, calldata included, with the 10 public inputs that a training step has."""
GAS_OF_A_CHALLENGE = 6_700
GAS_OF_AN_INPUT = 640
MAX_CODE_BYTES = 24_576
"""EIP-170."""


@pytest.fixture(scope="module")
def shared() -> EmbeddedChain:
    return EmbeddedChain()


_deployed: dict[tuple[int, str, Shape], str] = {}


def deployed(chain: EmbeddedChain, form: str, shape: Shape) -> str:
    """The address of the verifier of the vectors' key, deployed once a chain."""
    place = (id(chain), form, shape)
    if place not in _deployed:
        prebuilt = form == "prebuilt"
        vk = commit_vectors(shape).vk
        code = creation_code(vk) if prebuilt else rendered_creation_codes()[shape]
        _deployed[place] = chain.deploy(code).address
    return _deployed[place]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_vector(shared: EmbeddedChain, form: str, shape: Shape) -> None:
    address = deployed(shared, form, shape)
    cases = commit_vectors(shape).cases
    assert sum(case.error is None for case in cases) >= 3
    assert sum(case.error is not None for case in cases) >= 15
    answers = {case.name: refusal_of(shared, address, case) for case in cases}
    assert answers == {case.name: case.error for case in cases}


def test_the_vectors_are_what_their_program_makes(repo: Path) -> None:
    text = (repo / "contracts" / "vectors" / "commit_1_2.json").read_text()
    made = make_commit_vectors.json.dumps(make_commit_vectors.vectors(1, 2), indent=1)
    assert text == made + "\n"


@pytest.mark.parametrize("form", FORMS)
def test_answers_for_its_key(shared: EmbeddedChain, form: str) -> None:
    for shape in SHAPES:
        address, v = deployed(shared, form, shape), commit_vectors(shape)
        assert read_vk_digest(shared, address) == v.vk.digest
        assert read_key_status(shared, address) == v.vk.key_status
        assert read_circuit_digest(shared, address) == v.vk.circuit_digest
        assert read_n_public(shared, address) == shape[0]
        assert read_n_challenges(shared, address) == shape[1]
    statuses = {commit_vectors(shape).vk.key_status for shape in SHAPES}
    assert statuses == {"development", "ceremony"}


@pytest.mark.parametrize("form", FORMS)
def test_gas_and_size(shared: EmbeddedChain, form: str) -> None:
    gas = {}
    for shape in SHAPES:
        address, case = deployed(shared, form, shape), commit_vectors(shape).valid
        outcome = shared.transact(address, verify_calldata(case.proof, case.publics))
        assert outcome.success
        gas[shape] = outcome.gas_used
        assert len(shared.code(address)) <= MAX_CODE_BYTES
    assert gas[2, 3] - gas[1, 2] <= GAS_OF_A_CHALLENGE + GAS_OF_AN_INPUT
    assert (gas[64, 2] - gas[9, 2]) / 55 <= GAS_OF_AN_INPUT
    full_size = [FIELD_MODULUS - 1 - i for i in range(10)]  # no zero byte, which would be cheaper
    proof = make_commit_vectors.key_of(10, 2).prove(full_size, "full size")
    outcome = shared.transact(deployed(shared, form, (10, 2)), verify_calldata(proof, full_size))
    assert outcome.success
    assert outcome.gas_used <= GAS_OF_A_STEP


@pytest.mark.parametrize("form", FORMS)
def test_only_the_canonical_calldata_is_taken(shared: EmbeddedChain, form: str) -> None:
    address = deployed(shared, form, (2, 3))
    case = commit_vectors((2, 3)).valid
    good = verify_calldata(case.proof, case.publics)
    head, offset, array = good[:324], good[324:356], good[356:]
    assert refusal(shared, address, good) is None
    malformed = {
        "one byte more": good + b"\0",
        "one word more": good + bytes(32),
        "another offset": head + words([384, 0]) + array,
        "another offset, of the right size": head + words([384, 3]) + array,
        "inputs counted from the proof": head + words([0]) + array,
        "an offset above 2**64": head + words([1 << 70]) + array,
        "a length above 2**64": head + offset + words([1 << 70]) + array[32:],
        "a length that wraps": head + offset + words([(1 << 251) + 2]) + array[32:],
        "one byte less": good[:-1],
        "no inputs' array": head,
        "half a proof": good[:164],
        "the selector alone": good[:4],
        "no selector": b"",
        "another selector": bytes(4) + good[4:],
        "a proof of 8 words": verify_calldata(case.proof[:8], case.publics),
    }
    for name, data in malformed.items():
        assert refusal(shared, address, data) is not None, name
    named = "Groth16CommitVerifier__InvalidCalldata()"
    assert refusal(shared, address, malformed["one byte more"]) == named
    assert refusal(shared, address, malformed["one word more"]) == named


@pytest.mark.parametrize("form", FORMS)
def test_has_no_fallback(shared: EmbeddedChain, form: str) -> None:
    address = deployed(shared, form, (1, 2))
    assert refusal(shared, address, selector("owner()")) is not None


def test_a_call_with_too_little_gas_reverts(shared: EmbeddedChain) -> None:
    """A verifier that returned false would let a transaction without enough gas succeed."""
    address = deployed(shared, "prebuilt", (1, 2))
    case = commit_vectors((1, 2)).valid
    data = verify_calldata(case.proof, case.publics)
    needed = shared.call(address, data).gas_used
    assert shared.call(address, data, gas=needed + 5_000).success
    for gas in (needed - 5_000, 240_000, 120_000, 40_000):
        assert not shared.call(address, data, gas=gas).success


def test_values_are_reduced_nowhere(shared: EmbeddedChain) -> None:
    """x + r is x to the folding, and p + q could be p: only the range checks tell them apart."""
    v = commit_vectors((9, 2))
    address = deployed(shared, "prebuilt", (9, 2))
    for index, x in enumerate(v.valid.publics):
        publics = list(v.valid.publics)
        publics[index] = x + FIELD_MODULUS
        answer = refusal(shared, address, verify_calldata(v.valid.proof, publics))
        assert answer == f"Groth16CommitVerifier__PublicInputOutOfRange({index})"
    for index, coordinate in enumerate(v.valid.proof):
        proof = list(v.valid.proof)
        proof[index] = coordinate + BASE_MODULUS
        answer = refusal(shared, address, verify_calldata(proof, v.valid.publics))
        assert answer == f"Groth16CommitVerifier__CoordinateOutOfRange({index})"


def test_proofs_are_verified_by_transaction(shared: EmbeddedChain) -> None:
    for shape in ((0, 1), (9, 2)):
        v = commit_vectors(shape)
        proof = proof_of(v.vk, v.valid)
        assert proof_words(proof) == v.valid.proof
        address = deploy(v.vk, shared).address
        assert 240_000 < verify_on_chain(shared, address, proof, v.vk) < 290_000
        forged = proof_of(v.vk, v.case("D of another proof"))
        with pytest.raises(VerificationError, match="Groth16CommitVerifier__InvalidProof"):
            verify_on_chain(shared, address, forged, v.vk)
        other = deployed(shared, "prebuilt", (1, 2))
        with pytest.raises(VerificationError, match="the verifier at"):
            verify_on_chain(shared, other, proof, v.vk)
