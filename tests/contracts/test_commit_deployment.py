"""Deploying with a commitment round: which keys are refused, what passes for a verifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from chain_support import compile_each, compile_one, make_vectors, vectors
from commit_chain_support import ABI, SHAPES, commit_vectors, proof_of, refusal_of

from zkai.chain.abi import decode_revert, verify_calldata, words
from zkai.chain.account import AccountKey
from zkai.chain.artifact import load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.formats import COMMIT, format_of, format_of_words
from zkai.chain.render import render, render_words
from zkai.chain.rpc import RpcChain
from zkai.chain.verifier import (
    MAX_FOLDED,
    check_deployment,
    creation_code,
    deploy,
    key_words,
    runtime_code,
    verify_on_chain,
)
from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import BASE_MODULUS, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.points import G2_GENERATOR, g2_uncompressed

ALPHA, BETA, DELTA1, DELTA2, IC = 5, 7, 11, 15, 19
GENERATOR = [
    int.from_bytes(g2_uncompressed(G2_GENERATOR)[i : i + 32], "big") for i in (0, 32, 64, 96)
]
SHAPE = (2, 3)


def changed(key: list[int], **words_at: int) -> list[int]:
    return [words_at.get(f"w{i}", value) for i, value in enumerate(key)]


def negative(point: list[int]) -> list[int]:
    return [*point[:2], *(BASE_MODULUS - y for y in point[2:])]


def malformed_keys() -> dict[str, list[int]]:
    key = key_words(commit_vectors(SHAPE).vk)
    outside = make_vectors.outside_subgroup()
    delta1 = key[DELTA1:DELTA2]
    bad = {
        "another domain": changed(key, w0=key[0] ^ 1),
        "the domain without a commitment round": changed(key, w0=key_words(vectors(2).vk)[0]),
        "an unknown status": changed(key, w1=2),
        "too many public inputs": changed(key, w3=65_536),
        "no challenge": [*changed(key, w4=0)[: IC + 4]],
        "no challenge, of another size": changed(key, w4=0),
        "too few challenges": changed(key, w4=2),
        "too many challenges": changed(key, w4=4),
        "challenges that wrap": changed(key, w4=(1 << 250) + 3),
        "256 challenges": changed(key, w4=256) + key[IC : IC + 2] * 253,
        "a word missing": key[:-1],
        "a point missing": key[:-2],
        "a word more": [*key, 1],
        "the header alone": key[:5],
        "nothing": [],
        "a key without a commitment round": key_words(vectors(2).vk),
        "alpha off the curve": changed(key, w6=key[6] ^ 1),
        "alpha at infinity": [*key[:ALPHA], 0, 0, *key[BETA:]],
        "ic[0] off the curve": changed(key, w19=key[19] ^ 1),
        "the last ic off the curve": [*key[:-1], key[-1] ^ 1],
        "the folded value's ic at infinity": [*key[: IC + 2], 0, 0, *key[IC + 4 :]],
        "a challenge's ic at infinity": [*key[:-2], 0, 0],
        "a coordinate plus q": changed(key, w19=key[19] + BASE_MODULUS),
        "equal deltas": key[:DELTA2] + delta1 + key[IC:],
        "deltas equal but for the sign": key[:DELTA2] + negative(delta1) + key[IC:],
        "both deltas gamma": key[:DELTA1] + GENERATOR + GENERATOR + key[IC:],
    }
    for name, at in (("beta", BETA), ("delta1", DELTA1), ("delta2", DELTA2)):
        bad[f"{name} at infinity"] = key[:at] + [0] * 4 + key[at + 4 :]
        bad[f"{name} off the curve"] = changed(key, **{f"w{at + 2}": key[at + 2] ^ 1})
        bad[f"{name} outside the subgroup"] = key[:at] + outside + key[at + 4 :]
        if name != "beta":
            bad[f"{name} is gamma"] = key[:at] + GENERATOR + key[at + 4 :]
            bad[f"{name} is minus gamma"] = key[:at] + negative(GENERATOR) + key[at + 4 :]
    return bad


def test_a_malformed_key_is_not_deployed(chain: EmbeddedChain) -> None:
    creation = load_artifact(COMMIT.contract).creation_code
    key = key_words(commit_vectors(SHAPE).vk)
    chain.deploy(creation + words([32, len(key), *key]))
    for name, bad in malformed_keys().items():
        with pytest.raises(VerificationError, match="Groth16CommitVerifier__InvalidKey"):
            _ = name, chain.deploy(creation + words([32, len(bad), *bad]))


def test_keys_at_the_edges_are_deployed(chain: EmbeddedChain) -> None:
    """A circuit's digest is any word; equal points of G1 and 255 challenges are well formed."""
    creation = load_artifact(COMMIT.contract).creation_code
    key = key_words(commit_vectors(SHAPE).vk)
    many = changed(key, w4=255) + key[IC : IC + 2] * 252
    for good in (changed(key, w2=0), changed(key, w3=65_535), many):
        address = chain.deploy(creation + words([32, len(good), *good])).address
        assert chain.code(address).endswith(words([*good, good[4]]))


@pytest.mark.node
def test_a_rendered_malformed_key_is_not_deployed(chain: EmbeddedChain) -> None:
    keys = malformed_keys()
    names = [
        "equal deltas",
        "delta2 is gamma",
        "a challenge's ic at infinity",
        "alpha off the curve",
    ]
    sources = {name: render_words(keys[name]) for name in names}
    compiled = compile_each(sources, COMMIT.contract, viaIR=False)
    for name in names:
        code = bytes.fromhex(compiled[name]["bytecode"]["object"])
        with pytest.raises(VerificationError, match="Groth16CommitVerifier__InvalidKey"):
            chain.deploy(code)


def test_deploy_checks_what_it_deployed(chain: EmbeddedChain) -> None:
    vk = commit_vectors((1, 2)).vk
    deployment = deploy(vk, chain)
    assert chain.code(deployment.address) == runtime_code(vk)
    check_deployment(chain, deployment.address, vk)
    other = replace(vk, circuit_digest=bytes(32))
    for address, key in (
        (deployment.address, other),
        (deployment.address, vectors(1).vk),
        (deploy(vectors(1).vk, chain).address, vk),
    ):
        with pytest.raises(VerificationError, match="not the shipped verifier with this key"):
            check_deployment(chain, address, key)


def test_a_key_of_one_format_takes_no_proof_of_the_other(chain: EmbeddedChain) -> None:
    v, plain = commit_vectors((1, 2)), vectors(1)
    address = deploy(v.vk, chain).address
    data = verify_calldata(plain.valid.proof, plain.valid.publics)
    assert not chain.call(address, data).success
    proof = proof_of(v.vk, v.valid)
    with pytest.raises(VerificationError, match="the proof has the format"):
        verify_on_chain(chain, address, proof, plain.vk)


@pytest.mark.node
def test_a_rendered_verifier_is_checked_against_its_compiled_code(chain: EmbeddedChain) -> None:
    """Under its own name, for another EVM version and without the IR pipeline."""
    v = commit_vectors((1, 2))
    settings: dict[str, Any] = {"evmVersion": "cancun", "viaIR": False}
    evm = compile_one(render(v.vk, "StepVerifier"), "StepVerifier", **settings)
    address = chain.deploy(bytes.fromhex(evm["bytecode"]["object"])).address
    code = bytes.fromhex(evm["deployedBytecode"]["object"])
    check_deployment(chain, address, v.vk, expected_code=code)
    assert {c.name: refusal_of(chain, address, c) for c in v.cases} == {
        c.name: c.error for c in v.cases
    }
    with pytest.raises(VerificationError, match="does not have the expected code"):
        check_deployment(chain, address, v.vk, expected_code=code + b"\0")


def test_a_ceremony_that_is_only_claimed_is_not_deployed(chain: EmbeddedChain) -> None:
    claimed = commit_vectors(SHAPE).vk
    assert claimed.key_status == "ceremony"
    deploy(claimed, chain)
    vk = replace(claimed, ceremony=None)
    for attempt in (lambda: deploy(vk, chain), lambda: render(vk)):
        with pytest.raises(VerificationError, match="records none"):
            attempt()
    deploy(replace(vk, key_status="development"), chain)


def test_the_words_are_what_the_digest_covers() -> None:
    for shape in SHAPES:
        vk = commit_vectors(shape).vk
        key = key_words(vk)
        assert len(key) == 23 + 2 * shape[1] == COMMIT.fixed_words + 2 * shape[1]
        assert key[3:5] == list(shape)
        assert keccak256(words(key)) == vk.digest
        assert format_of(vk) is format_of_words(key) is COMMIT
        assert len(COMMIT.word_names(key)) == len(key)


def test_the_number_of_inputs_is_capped() -> None:
    vk = commit_vectors((1, 2)).vk
    largest = replace(vk, public=(PublicSignal("x", MAX_FOLDED),))
    assert len(runtime_code(largest)) == len(runtime_code(vk))
    with pytest.raises(InvalidInput, match="public inputs"):
        creation_code(replace(largest, public=(PublicSignal("x", MAX_FOLDED + 1),)))


@pytest.mark.parametrize("name", ["", "verifier", "A b", "A;", "Groth16CommitBase", "A" * 65])
def test_render_refuses_names_that_are_not(name: str) -> None:
    with pytest.raises(InvalidInput, match="contract name"):
        render(commit_vectors((1, 2)).vk, name)


@pytest.mark.node
def test_on_a_node(anvil: Any) -> None:
    """The gas and the answers of a real node are the embedded EVM's."""
    node = RpcChain(anvil.url, AccountKey(anvil.secret, "anvil"), chain_id=anvil.chain_id)
    embedded = EmbeddedChain()
    v = commit_vectors((9, 2))
    here, there = deploy(v.vk, embedded), deploy(v.vk, node)
    assert here.gas_used == there.gas_used
    proof = proof_of(v.vk, v.valid)
    gas = verify_on_chain(node, there.address, proof, v.vk)
    assert gas == verify_on_chain(embedded, here.address, proof, v.vk) <= 270_000
    answers = {case.name: refusal_of(node, there.address, case) for case in v.cases}
    assert answers == {case.name: case.error for case in v.cases}
    unpaid = decode_revert(node.call(there.address, b"\x12" * 4).output, ABI)
    assert "without data" in unpaid
