"""Deploying: which keys a verifier refuses, and what passes for the verifier of a key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chain_support import compile_each, compile_one, make_vectors, vectors

from zkai.chain.abi import verify_calldata, words
from zkai.chain.artifact import NAMES, load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.render import render, render_words
from zkai.chain.verifier import (
    MAX_PUBLIC,
    check_deployment,
    creation_code,
    deploy,
    key_words,
    read_key_status,
    read_vk_digest,
    runtime_code,
)
from zkai.encoding import BASE_MODULUS, hex32, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.points import G1_GENERATOR

ALPHA, BETA, GAMMA, DELTA, IC = 4, 6, 10, 14, 18


def changed(key: list[int], **words_at: int) -> list[int]:
    return [words_at.get(f"w{i}", value) for i, value in enumerate(key)]


def malformed_keys() -> dict[str, list[int]]:
    key = key_words(vectors(2).vk)
    outside = make_vectors.outside_subgroup()
    bad = {
        "another domain": changed(key, w0=key[0] ^ 1),
        "an unknown status": changed(key, w1=2),
        "n too small": changed(key, w3=1),
        "n too large": changed(key, w3=3),
        "n that wraps": changed(key, w3=(1 << 250) + 2),
        "a word missing": key[:-1],
        "a point missing": key[:-2],
        "a word more": [*key, 1],
        "the header alone": key[:4],
        "nothing": [],
        "alpha off the curve": changed(key, w5=key[5] ^ 1),
        "alpha at infinity": [*key[:ALPHA], 0, 0, *key[BETA:]],
        "ic[0] off the curve": changed(key, w18=key[18] ^ 1),
        "the last ic off the curve": [*key[:-1], key[-1] ^ 1],
        "ic[1] at infinity": [*key[: IC + 2], 0, 0, *key[IC + 4 :]],
        "a coordinate plus q": changed(key, w18=key[18] + BASE_MODULUS),
        "gamma is delta": key[:GAMMA] + key[DELTA:IC] + key[DELTA:],
        "gamma is minus delta": [
            *key[:GAMMA],
            *key[DELTA : DELTA + 2],
            *(BASE_MODULUS - y for y in key[DELTA + 2 : IC]),
            *key[DELTA:],
        ],
    }
    for name, at in (("beta", BETA), ("gamma", GAMMA), ("delta", DELTA)):
        bad[f"{name} at infinity"] = key[:at] + [0] * 4 + key[at + 4 :]
        bad[f"{name} off the curve"] = changed(key, **{f"w{at + 2}": key[at + 2] ^ 1})
        bad[f"{name} outside the subgroup"] = key[:at] + outside + key[at + 4 :]
    return bad


def test_a_malformed_key_is_not_deployed(chain: EmbeddedChain) -> None:
    creation = load_artifact("Groth16Verifier").creation_code
    key = key_words(vectors(2).vk)
    chain.deploy(creation + words([32, len(key), *key]))
    for name, bad in malformed_keys().items():
        with pytest.raises(VerificationError, match="InvalidKey"):
            _ = name, chain.deploy(creation + words([32, len(bad), *bad]))


@pytest.mark.node
def test_a_rendered_malformed_key_is_not_deployed(chain: EmbeddedChain) -> None:
    keys = malformed_keys()
    names = [
        "gamma is minus delta",
        "ic[1] at infinity",
        "an unknown status",
        "alpha off the curve",
    ]
    compiled = compile_each({name: render_words(keys[name]) for name in names}, "Groth16Verifier")
    for name in names:
        code = bytes.fromhex(compiled[name]["bytecode"]["object"])
        with pytest.raises(VerificationError, match="InvalidKey"):
            chain.deploy(code)


def test_deploy_checks_what_it_deployed(chain: EmbeddedChain) -> None:
    vk = vectors(1).vk
    deployment = deploy(vk, chain)
    assert chain.code(deployment.address) == runtime_code(vk)
    assert deployment.gas_used > 200 * len(runtime_code(vk))
    check_deployment(chain, deployment.address, vk)


def test_another_contract_is_not_the_verifier_of_a_key(chain: EmbeddedChain) -> None:
    vk = vectors(1).vk
    other = deploy(vectors(0).vk, chain).address
    with pytest.raises(VerificationError, match="not the shipped verifier with this key"):
        check_deployment(chain, other, vk)
    with pytest.raises(VerificationError, match="no contract"):
        check_deployment(chain, "0x" + "12" * 20, vk)
    with pytest.raises(InvalidInput, match="expected an address"):
        check_deployment(chain, "0x12", vk)


LIAR = """// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19;
contract Liar {{
    function vkDigest() external pure returns (bytes32) {{ return {digest}; }}
    function keyStatus() external pure returns (string memory) {{ return "{status}"; }}
    function verify(uint256[8] calldata, uint256[] calldata) external pure {{}}
}}
"""


@pytest.mark.node
def test_a_contract_that_claims_a_key_is_found_out(chain: EmbeddedChain) -> None:
    vk = vectors(1).vk
    evm = compile_one(LIAR.format(digest=hex32(vk.digest), status=vk.key_status), "Liar")
    liar = chain.deploy(bytes.fromhex(evm["bytecode"]["object"])).address
    assert read_vk_digest(chain, liar) == vk.digest
    assert read_key_status(chain, liar) == vk.key_status
    assert chain.call(liar, verify_calldata(vectors(1).valid.proof, [5])).success
    with pytest.raises(VerificationError, match="not the shipped verifier"):
        check_deployment(chain, liar, vk)


@pytest.mark.node
def test_a_rendered_verifier_is_checked_against_its_compiled_code(chain: EmbeddedChain) -> None:
    vk = vectors(1).vk
    evm = compile_one(render(vk, "StepVerifier"), "StepVerifier", evmVersion="cancun")
    address = chain.deploy(bytes.fromhex(evm["bytecode"]["object"])).address
    code = bytes.fromhex(evm["deployedBytecode"]["object"])
    check_deployment(chain, address, vk, expected_code=code)
    with pytest.raises(VerificationError, match="does not have the expected code"):
        check_deployment(chain, address, vk, expected_code=code + b"\0")
    with pytest.raises(VerificationError, match="has another key"):
        check_deployment(chain, address, vectors(0).vk, expected_code=code)
    with pytest.raises(VerificationError, match="not the shipped verifier"):
        check_deployment(chain, address, vk)


def test_a_ceremony_that_is_only_claimed_is_not_deployed(chain: EmbeddedChain) -> None:
    recorded = vectors(2).vk
    assert recorded.key_status == "ceremony"
    deploy(recorded, chain)
    vk = replace(recorded, ceremony=None)
    for attempt in (lambda: deploy(vk, chain), lambda: render(vk)):
        with pytest.raises(VerificationError, match="records none"):
            attempt()
    deploy(replace(vk, key_status="development"), chain)


def test_the_words_are_what_the_digest_covers() -> None:
    for n in (0, 2, 64):
        vk = vectors(n).vk
        assert len(key_words(vk)) == 20 + 2 * n
        assert keccak256(words(key_words(vk))) == vk.digest


def test_the_largest_key_fits_a_contract() -> None:
    vk = vectors(0).vk
    largest = replace(vk, ic=(G1_GENERATOR,) * (MAX_PUBLIC + 1))
    assert len(runtime_code(largest)) <= 24_576
    with pytest.raises(InvalidInput, match="public inputs"):
        creation_code(replace(largest, ic=(*largest.ic, G1_GENERATOR)))


@pytest.mark.parametrize("name", ["", "verifier", "A b", "A;", "Groth16Base", "A" * 65])
def test_render_refuses_names_that_are_not(name: str) -> None:
    with pytest.raises(InvalidInput, match="contract name"):
        render(vectors(0).vk, name)


def test_only_shipped_artifacts_load() -> None:
    assert {load_artifact(name).contract for name in NAMES} == set(NAMES)
    for name in ("", "Groth16Base", "../encoding", "Groth16Verifier.json"):
        with pytest.raises(InvalidInput, match="ships"):
            load_artifact(name)
