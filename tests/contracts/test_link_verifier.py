"""The Solidity, native and py-ecc verifiers with two linked states against every vector."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chain_support import Case, compile_one
from commit_chain_support import commit_vectors
from link_chain_support import (
    ABI,
    RENDERED,
    SHAPES,
    Shape,
    link_vectors,
    make_link_vectors,
    proof_of,
    refusal,
    refusal_of,
    rendered_creation_codes,
)

from zkai.chain.abi import decode_revert, selector, verify_calldata, words
from zkai.chain.artifact import load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.formats import LINK, format_of, format_of_words
from zkai.chain.render import render, render_words
from zkai.chain.verifier import (
    check_deployment,
    creation_code,
    deploy,
    key_words,
    proof_words,
    read_circuit_digest,
    read_key_status,
    read_n_challenges,
    read_n_public,
    read_vk_digest,
    runtime_code,
    verify_on_chain,
)
from zkai.encoding import BASE_MODULUS, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit.argument import verify
from zkai.proof.commit.challenges import batching_hash, challenges, joining_scalar
from zkai.proof.commit.link import Link
from zkai.proof.points import G2_GENERATOR, g2_uncompressed

FORMS = ("prebuilt", pytest.param("rendered", marks=pytest.mark.node))
GAS_OF_A_STEP = 362_000
"""A whole transaction with 12 inputs and two challenges, calldata included."""
MAX_CODE_BYTES = 24_576
R = make_link_vectors.R


@pytest.fixture(scope="module")
def shared() -> EmbeddedChain:
    return EmbeddedChain()


_deployed: dict[tuple[int, str, Shape], str] = {}


def deployed(chain: EmbeddedChain, form: str, shape: Shape) -> str:
    """The address of the verifier of the vectors' key, deployed once a chain."""
    place = (id(chain), form, shape)
    if place not in _deployed:
        code = rendered_creation_codes()[shape] if form == "rendered" else None
        vk = link_vectors(shape).vk
        _deployed[place] = chain.deploy(creation_code(vk) if code is None else code).address
    return _deployed[place]


def shapes_of(form: str) -> tuple[Shape, ...]:
    return RENDERED if form == "rendered" else SHAPES


@pytest.mark.parametrize("form", FORMS)
def test_every_vector(shared: EmbeddedChain, form: str) -> None:
    for shape in shapes_of(form):
        address = deployed(shared, form, shape)
        cases = link_vectors(shape).cases
        assert sum(case.error is None for case in cases) >= 6
        assert sum(case.error is not None for case in cases) >= 45
        answers = {case.name: refusal_of(shared, address, case) for case in cases}
        assert answers == {case.name: case.error for case in cases}


MEANINGS = {
    "InvalidProof()": "equation",
    "InvalidLink": "last public signals name",
    "EvaluationOutOfRange": "evaluations.*not below",
    "CoordinateOutOfRange": "coordinate is not below|last public signals",
    "PointAtInfinity": "infinity",
    "InvalidPoint()": "not on its curve|subgroup",
    "PublicInputOutOfRange": "not below the scalar field",
    "InvalidLength": "public",
}


def meaning(error: str) -> str:
    """What the library says where a contract gives this error."""
    name = error.removeprefix("Groth16LinkVerifier__")
    return next(text for start, text in MEANINGS.items() if name.startswith(start))


def must_refuse(case: Case, shape: Shape, verifier: str = "native") -> None:
    v = link_vectors(shape)
    # An alias of a link is refused as a signal out of range before its name is compared.
    assert case.error is not None
    reason = f"{meaning(case.error)}|not below the scalar field" if "link" in case.name else None
    with pytest.raises(VerificationError, match=reason or reason_of(case)):
        verify(proof_of(v.vk, case), v.vk, verifier)


def reason_of(case: Case) -> str:
    assert case.error is not None
    # A commitment's bad coordinates and its name are at fault both: either may be told first.
    both = "|not on its curve" if "InvalidLink" in case.error else ""
    return meaning(case.error) + both


@pytest.mark.parametrize("shape", SHAPES)
def test_the_library(shape: Shape) -> None:
    v = link_vectors(shape)
    for case in v.cases:
        proof = proof_of(v.vk, case)
        assert proof_words(proof) == case.proof
        if case.error is None:
            verify(proof, v.vk)
        else:
            must_refuse(case, shape)


def test_py_ecc() -> None:
    """Slow, so one key and few cases; the unit tests have it refuse each attack."""
    v = link_vectors((2, 1))
    told = 0
    for index, case in enumerate(v.cases):
        if index == 0:
            verify(proof_of(v.vk, case), v.vk, verifier="py-ecc")
        elif case.error is not None and (index % 30 == 7 or "without C" in case.name):
            told += 1
            must_refuse(case, (2, 1), "py-ecc")
    assert told > 3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_scalars(shape: Shape) -> None:
    """As py_ecc's side hashed them when the vectors were made."""
    v = link_vectors(shape)
    assert len(v.challenges) >= 6
    for name, expected in v.challenges.items():
        case = v.case(name)
        proof = proof_of(v.vk, case)
        assert proof.link is not None
        seed = v.vk.seed(case.publics, proof.d, proof.link.commitments)
        h = batching_hash(seed, proof.link.evaluations)
        u = joining_scalar(h, proof.a, proof.b, proof.c, proof.link.opening)
        found = [*challenges(seed, shape[1]), int.from_bytes(h, "big") % R, u]
        assert found == expected


def test_the_vectors_are_what_their_program_makes(repo: Path) -> None:
    """The keys and valid proofs; `make vectors` compares all of them."""
    for n, c in SHAPES:
        record = json.loads((repo / "contracts" / "vectors" / f"link_{n}_{c}.json").read_text())
        key = make_link_vectors.key_of(n, c)
        assert key.to_json() == record["key"]
        secret = make_link_vectors.Secret.of(f"link/{n}/{c}")
        publics = link_vectors((n, c)).valid.publics
        assert key.prove(publics, secret) == link_vectors((n, c)).valid.proof


@pytest.mark.parametrize("form", FORMS)
def test_answers_for_its_key(shared: EmbeddedChain, form: str) -> None:
    for shape in shapes_of(form):
        address, v = deployed(shared, form, shape), link_vectors(shape)
        assert read_vk_digest(shared, address) == v.vk.digest
        assert read_key_status(shared, address) == v.vk.key_status
        assert read_circuit_digest(shared, address) == v.vk.circuit_digest
        assert read_n_public(shared, address) == shape[0]
        assert read_n_challenges(shared, address) == shape[1]


@pytest.mark.parametrize("form", FORMS)
def test_gas_and_size(shared: EmbeddedChain, form: str) -> None:
    for shape in shapes_of(form):
        address, case = deployed(shared, form, shape), link_vectors(shape).valid
        outcome = shared.transact(address, verify_calldata(case.proof, case.publics))
        assert outcome.success
        assert outcome.gas_used <= GAS_OF_A_STEP
        assert len(shared.code(address)) <= MAX_CODE_BYTES


@pytest.mark.parametrize("form", FORMS)
def test_only_the_canonical_calldata_is_taken(shared: EmbeddedChain, form: str) -> None:
    address = deployed(shared, form, (3, 2))
    case = link_vectors((3, 2)).valid
    good = verify_calldata(case.proof, case.publics)
    head, offset, array = good[:580], good[580:612], good[612:]
    assert refusal(shared, address, good) is None
    malformed = {
        "one byte more": good + b"\0",
        "one word more": good + bytes(32),
        "another offset": head + words([640, 0]) + array,
        "another offset, of the right size": head + words([640, 3]) + array,
        "an offset above 2**64": head + words([1 << 70]) + array,
        "a length above 2**64": head + offset + words([1 << 70]) + array[32:],
        "a length that wraps": head + offset + words([(1 << 251) + 3]) + array[32:],
        "one byte less": good[:-1],
        "no inputs' array": head,
        "the selector alone": good[:4],
        "no selector": b"",
        "a proof of 10 words": verify_calldata(case.proof[:10], case.publics),
        "another function": selector("owner()"),
    }
    for name, data in malformed.items():
        assert refusal(shared, address, data) is not None, name
    named = "Groth16LinkVerifier__InvalidCalldata()"
    assert refusal(shared, address, malformed["one byte more"]) == named
    assert refusal(shared, address, malformed["one word more"]) == named


def test_a_call_with_too_little_gas_reverts(shared: EmbeddedChain) -> None:
    address = deployed(shared, "prebuilt", (3, 2))
    case = link_vectors((3, 2)).valid
    data = verify_calldata(case.proof, case.publics)
    needed = shared.call(address, data).gas_used
    assert shared.call(address, data, gas=needed + 5_000).success
    for gas in (needed - 5_000, 300_000, 120_000, 40_000):
        assert not shared.call(address, data, gas=gas).success


def test_proofs_are_verified_by_transaction(shared: EmbeddedChain) -> None:
    v = link_vectors((3, 2))
    address = deploy(v.vk, shared).address
    assert shared.code(address) == runtime_code(v.vk)
    check_deployment(shared, address, v.vk)
    proof = proof_of(v.vk, v.valid)
    assert 340_000 < verify_on_chain(shared, address, proof, v.vk) < GAS_OF_A_STEP
    forged = proof_of(v.vk, v.case("commitment 1, named"))
    with pytest.raises(VerificationError, match="Groth16LinkVerifier__InvalidProof"):
        verify_on_chain(shared, address, forged, v.vk)
    other = deployed(shared, "prebuilt", (2, 1))
    with pytest.raises(VerificationError, match="the verifier at"):
        verify_on_chain(shared, other, proof, v.vk)


# Deployment ------------------------------------------------------------------------------------

ALPHA, BETA, DELTA1, DELTA2, TAU, IC = 6, 8, 12, 16, 20, 24
GENERATOR = [
    int.from_bytes(g2_uncompressed(G2_GENERATOR)[i : i + 32], "big") for i in (0, 32, 64, 96)
]


def put(key: list[int], start: int, values: list[int]) -> list[int]:
    return [*key[:start], *values, *key[start + len(values) :]]


def negative(point: list[int]) -> list[int]:
    return [*point[:2], *(BASE_MODULUS - y for y in point[2:])]


def malformed_keys() -> dict[str, list[int]]:
    key = key_words(link_vectors((3, 2)).vk)
    delta1, tau = key[DELTA1:DELTA2], key[TAU:IC]
    outside = make_link_vectors.outside_subgroup()
    bad = {
        "another domain": put(key, 0, [key[0] ^ 1]),
        "the domain without links": put(key, 0, [key_words(commit_vectors((1, 2)).vk)[0]]),
        "an unknown status": put(key, 1, [2]),
        "one public input": put(key, 3, [1]),
        "too many public inputs": put(key, 3, [65_536]),
        "no challenge": put(key, 4, [0])[: IC + 8],
        "too few challenges": put(key, 4, [1]),
        "too many challenges": put(key, 4, [3]),
        "one linked polynomial": put(key, 5, [1]),
        "no linked polynomial": put(key, 5, [0]),
        "a word more": [*key, 0],
        "a word less": key[:-1],
        "empty": [],
        "delta1 is delta2": put(key, DELTA2, delta1),
        "delta1 is -delta2": put(key, DELTA2, negative(delta1)),
        "tau is delta1": put(key, TAU, delta1),
        "tau is -delta2": put(key, TAU, negative(key[DELTA2:TAU])),
        "tau is delta2": put(key, DELTA2, tau),
    }
    for name, start in (("beta", BETA), ("delta1", DELTA1), ("delta2", DELTA2), ("tau", TAU)):
        bad[f"{name} at infinity"] = put(key, start, [0] * 4)
        bad[f"{name} outside the subgroup"] = put(key, start, outside)
        if start != BETA:
            bad[f"{name} is gamma"] = put(key, start, GENERATOR)
            bad[f"{name} is -gamma"] = put(key, start, negative(GENERATOR))
    for name, start in (("alpha", ALPHA), ("the last evaluation's ic", len(key) - 2)):
        bad[f"{name} at infinity"] = put(key, start, [0, 0])
        bad[f"{name} off the curve"] = put(key, start, [1, 1])
        bad[f"{name} plus q"] = put(key, start, [key[start] + BASE_MODULUS])
    return bad


def deploy_named(chain: EmbeddedChain, name: str, code: bytes) -> None:
    chain.deploy(code)
    pytest.fail(name)


def test_malformed_keys_are_not_deployed(shared: EmbeddedChain) -> None:
    creation = load_artifact(LINK.contract).creation_code
    for name, key in malformed_keys().items():
        with pytest.raises(VerificationError, match="Groth16LinkVerifier__InvalidKey"):
            deploy_named(shared, name, creation + words([32, len(key), *key]))
    key = key_words(link_vectors((3, 2)).vk)
    good = put(key, 2, [0])
    address = shared.deploy(creation + words([32, len(good), *good])).address
    assert shared.code(address).endswith(words([*good, good[4]]))


@pytest.mark.node
def test_a_rendered_malformed_key_is_not_deployed(shared: EmbeddedChain) -> None:
    key = malformed_keys()["tau is delta1"]
    evm = compile_one(render_words(key), LINK.contract, viaIR=False)
    with pytest.raises(VerificationError, match="Groth16LinkVerifier__InvalidKey"):
        shared.deploy(bytes.fromhex(evm["bytecode"]["object"]))


@pytest.mark.node
def test_a_rendered_verifier_under_its_own_name(shared: EmbeddedChain) -> None:
    """For another EVM version and without the IR pipeline."""
    v = link_vectors((3, 2))
    vk = replace(v.vk, key_status="development", ceremony=None)
    settings: dict[str, Any] = {"evmVersion": "cancun", "viaIR": False}
    evm = compile_one(render(vk, "StepVerifier"), "StepVerifier", **settings)
    address = shared.deploy(bytes.fromhex(evm["bytecode"]["object"])).address
    assert read_vk_digest(shared, address) == vk.digest


def test_the_words_are_what_the_digest_covers() -> None:
    for shape in SHAPES:
        vk = link_vectors(shape).vk
        key = key_words(vk)
        assert len(key) == 32 + 2 * shape[1] == LINK.fixed_words + 2 * shape[1]
        assert key[3:6] == [*shape, 2]
        assert keccak256(words(key)) == vk.digest
        assert format_of(vk) is format_of_words(key) is LINK
        assert len(LINK.word_names(key)) == len(key)


def test_keys_that_no_contract_takes(shared: EmbeddedChain) -> None:
    """One link, or a proof of the other kind."""
    v = link_vectors((3, 2))
    one = replace(v.vk, links=v.vk.links[1:], ic=v.vk.ic[:-1])
    with pytest.raises(InvalidInput, match="links 1 polynomials"):
        format_of(one)
    proof = proof_of(v.vk, v.valid)
    unlinked = verify_calldata(proof_words(replace(proof, link=None)), v.valid.publics)
    outcome = shared.call(deployed(shared, "prebuilt", (3, 2)), unlinked)
    assert not outcome.success
    assert proof.link is not None
    single = Link(proof.link.commitments[1:], proof.link.evaluations[1:], proof.link.opening)
    with pytest.raises(InvalidInput, match="18 words"):
        verify_calldata(proof_words(replace(proof, link=single)), v.valid.publics)
    assert "without data" in decode_revert(outcome.output, ABI)
