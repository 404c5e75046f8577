"""The Solidity verifier, prebuilt and rendered, against every vector."""

from __future__ import annotations

import pytest
from chain_support import (
    COUNTS,
    Case,
    refusal,
    refusal_of,
    rendered_creation_codes,
    vectors,
)

from zkai.chain.abi import selector, verify_calldata, words
from zkai.chain.chain import Chain
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.verifier import (
    creation_code,
    read_circuit_digest,
    read_key_status,
    read_n_public,
    read_vk_digest,
)
from zkai.encoding import FIELD_MODULUS

FORMS = ("prebuilt", pytest.param("rendered", marks=pytest.mark.node))
GAS_OF_ONE_INPUT = 217_000
GAS_OF_A_FURTHER_INPUT = 7_200
MAX_CODE_BYTES = 24_576
"""EIP-170."""


@pytest.fixture(scope="module")
def shared() -> EmbeddedChain:
    return EmbeddedChain()


_deployed: dict[tuple[int, str, int], str] = {}


def deployed(chain: EmbeddedChain, form: str, n: int) -> str:
    """The address of the verifier of the vectors' key, deployed once a chain."""
    place = (id(chain), form, n)
    if place not in _deployed:
        prebuilt = form == "prebuilt"
        code = creation_code(vectors(n).vk) if prebuilt else rendered_creation_codes()[n]
        _deployed[place] = chain.deploy(code).address
    return _deployed[place]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", COUNTS)
def test_every_vector(shared: EmbeddedChain, form: str, n: int) -> None:
    address = deployed(shared, form, n)
    cases = vectors(n).cases
    assert sum(case.error is None for case in cases) >= 2
    assert sum(case.error is not None for case in cases) >= 3
    answers = {case.name: refusal_of(shared, address, case) for case in cases}
    assert answers == {case.name: case.error for case in cases}


@pytest.mark.parametrize("form", FORMS)
def test_answers_for_its_key(shared: EmbeddedChain, form: str) -> None:
    for n in COUNTS:
        address, vk = deployed(shared, form, n), vectors(n).vk
        assert read_vk_digest(shared, address) == vk.digest
        assert read_key_status(shared, address) == vk.key_status
        assert read_circuit_digest(shared, address) == vk.circuit_digest
        assert read_n_public(shared, address) == n
    assert {vectors(n).vk.key_status for n in COUNTS} == {"development", "ceremony"}


@pytest.mark.parametrize("form", FORMS)
def test_gas_and_size(shared: EmbeddedChain, form: str) -> None:
    gas = {}
    for n in COUNTS:
        address, case = deployed(shared, form, n), vectors(n).valid
        outcome = shared.transact(address, verify_calldata(case.proof, case.publics))
        assert outcome.success
        gas[n] = outcome.gas_used
        assert len(shared.code(address)) <= MAX_CODE_BYTES
    assert gas[1] <= GAS_OF_ONE_INPUT
    for n in (2, 9, 64):
        assert gas[n] <= GAS_OF_ONE_INPUT + (n - 1) * GAS_OF_A_FURTHER_INPUT
        assert (gas[n] - gas[1]) / (n - 1) <= GAS_OF_A_FURTHER_INPUT


def malformed_calldata(case: Case) -> dict[str, bytes]:
    good = verify_calldata(case.proof, case.publics)
    head, offset, array = good[:260], good[260:292], good[292:]
    return {
        "one byte more": good + b"\0",
        "one word more": good + bytes(32),
        "another offset": head + words([320, 0]) + array,
        "another offset, of the right size": head + words([320, 3]) + array,
        "inputs counted from the proof": head + words([0]) + array,
        "an offset above 2**64": head + words([1 << 70]) + array,
        "a length above 2**64": head + offset + words([1 << 70]) + array[32:],
        "a length that wraps to the right size": head
        + offset
        + words([(1 << 251) + 2])
        + array[32:],
        "one byte less": good[:-1],
        "no inputs' array": head,
        "half a proof": good[:132],
        "the selector alone": good[:4],
        "no selector": b"",
        "another selector": bytes(4) + good[4:],
    }


@pytest.mark.parametrize("form", FORMS)
def test_only_the_canonical_calldata_is_taken(shared: EmbeddedChain, form: str) -> None:
    address = deployed(shared, form, 2)
    case = vectors(2).valid
    assert refusal_of(shared, address, case) is None
    for name, data in malformed_calldata(case).items():
        assert refusal(shared, address, data) is not None, name
    good = verify_calldata(case.proof, case.publics)
    named = "Groth16Verifier__InvalidCalldata()"
    assert refusal(shared, address, good + b"\0") == named
    assert refusal(shared, address, malformed_calldata(case)["one word more"]) == named


@pytest.mark.parametrize("form", FORMS)
def test_has_no_fallback(shared: EmbeddedChain, form: str) -> None:
    address = deployed(shared, form, 1)
    assert refusal(shared, address, selector("owner()")) is not None


def test_a_call_with_too_little_gas_reverts(shared: EmbeddedChain) -> None:
    """A verifier that returned false would let a transaction without enough gas succeed."""
    address = deployed(shared, "prebuilt", 1)
    case = vectors(1).valid
    data = verify_calldata(case.proof, case.publics)
    needed = shared.call(address, data).gas_used
    assert shared.call(address, data, gas=needed + 5_000).success
    for gas in (needed - 5_000, 120_000, 40_000):
        assert not shared.call(address, data, gas=gas).success


def test_inputs_are_reduced_nowhere(chain: Chain) -> None:
    """x + r is x to the precompiles: only the range check tells them apart."""
    v = vectors(9)
    address = chain.deploy(creation_code(v.vk)).address
    for index, x in enumerate(v.valid.publics):
        publics = list(v.valid.publics)
        publics[index] = x + FIELD_MODULUS
        answer = refusal(chain, address, verify_calldata(v.valid.proof, publics))
        assert answer == f"Groth16Verifier__PublicInputOutOfRange({index})"
