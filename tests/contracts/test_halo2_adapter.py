"""Halo2 on chain: what the adapter accepts, and everything that it must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import halo2_chain_support as halo2
import pytest
from halo2_chain_support import OnChain, deployed, key, proof, sources, verifier

from zkai.chain.abi import decode_revert, from_words, selector, words
from zkai.chain.artifact import load_artifact
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.halo2 import (
    CONTRACT,
    DOMAIN,
    check_adapter_size,
    check_deployment,
    deploy,
    halo2_calldata,
    make_verifier,
    read_vka_digest,
    verify_on_chain,
)
from zkai.chain.solidity import MAX_CODE_BYTES, compile_contract
from zkai.encoding import FIELD_MODULUS, keccak256, to_limbs
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2 import evm
from zkai.halo2.process import Worker
from zkai.halo2.settings import Halo2Config
from zkai.halo2.setup import setup
from zkai.halo2.statement import Halo2Inference
from zkai.native_curve import g1_mul

pytestmark = pytest.mark.node
ABI = load_artifact(CONTRACT).abi
CHOICES = ("generated", "reusable")


@pytest.fixture(autouse=True, scope="module")
def _ezkl() -> None:
    halo2.support.require_ezkl()


@pytest.fixture(params=CHOICES)
def place(request: pytest.FixtureRequest) -> OnChain:
    return deployed(request.param)


def refusal(place: OnChain, data: bytes) -> str | None:
    outcome = place.chain.call(place.adapter, data)
    return None if outcome.success else decode_revert(outcome.output, ABI)


def publics() -> list[int]:
    return proof().instances(key())


# What it accepts and refuses --------------------------------------------------------------------


def test_a_proof_is_verified_and_its_gas_told(place: OnChain) -> None:
    gas = verify_on_chain(place.chain, place.adapter, proof(), key())
    assert 400_000 < gas < 1_000_000
    assert refusal(place, halo2_calldata(proof().proof, publics())) is None


def test_flipped_bytes_are_refused(place: OnChain) -> None:
    data = proof().proof
    for at in (0, 31, 200, len(data) // 2, len(data) - 64, len(data) - 1):
        bad = bytearray(data)
        bad[at] ^= 1
        assert refusal(place, halo2_calldata(bytes(bad), publics())) == (
            "Halo2Adapter__InvalidProof()"
        )


def test_other_public_inputs_are_refused(place: OnChain) -> None:
    data, (value,) = proof().proof, publics()
    cases = {
        (value + 1,): "InvalidProof()",
        (0,): "InvalidProof()",
        (value + FIELD_MODULUS,): "PublicInputOutOfRange(0)",
        ((1 << 256) - 1,): "PublicInputOutOfRange(0)",
        (): "InvalidLength(1, 0)",
        (value, 0): "InvalidLength(1, 2)",
    }
    for values, error in cases.items():
        assert refusal(place, halo2_calldata(data, list(values))) == f"Halo2Adapter__{error}"


def test_proofs_of_another_length_are_refused(place: OnChain) -> None:
    data = proof().proof
    for bad in (b"", data[:-1], data[:-32], data + bytes(32), data + b"\0"):
        assert refusal(place, halo2_calldata(bad, publics())) == (
            f"Halo2Adapter__InvalidProofLength({len(data)}, {len(bad)})"
        )


def test_short_calldata_is_refused(place: OnChain) -> None:
    whole = halo2_calldata(proof().proof, publics())
    for size in (4, 68, 200, len(whole) - 32):
        assert refusal(place, whole[:size]) is not None


def test_a_proof_under_another_key_is_refused(place: OnChain) -> None:
    other = proof(1)
    assert len(other.proof) == len(proof().proof)
    data = halo2_calldata(other.proof, other.instances(key(1)))
    assert refusal(place, data) == "Halo2Adapter__InvalidProof()"
    with pytest.raises(VerificationError, match=r"the adapter at .* has"):
        verify_on_chain(place.chain, place.adapter, other, key(1))
    with pytest.raises(VerificationError, match="another circuit"):
        verify_on_chain(place.chain, place.adapter, other, key())


def test_what_the_adapter_says_of_its_key(place: OnChain) -> None:
    def read(function: str) -> bytes:
        return place.chain.call(place.adapter, selector(function)).output

    assert read("vkDigest()") == key().digest
    assert read("circuitDigest()") == key().circuit_digest
    assert from_words(read("nPublic()")) == [1]
    assert b"development" in read("keyStatus()")
    behind, code_hash = from_words(read("verifier()"))
    assert behind == int(place.behind, 16)
    assert code_hash.to_bytes(32, "big") == keccak256(place.chain.code(place.behind))
    vka = place.verifier.vka
    assert read_vka_digest(place.chain, place.adapter) == (
        keccak256(words(vka)) if vka else bytes(32)
    )
    assert bool(vka) == (place.verifier.contract == evm.REUSABLE)


# The layout of calldata -------------------------------------------------------------------------


def two_proofs(equations: bytes, transcript: bytes, values: list[int]) -> bytes:
    """Arguments with one proof where the canonical layout has it and another at the offset."""
    first = 64 + 32 + len(equations)
    second = first + 32 + len(transcript)
    data = words([first, second, len(equations)]) + equations
    return data + words([len(transcript)]) + transcript + words([len(values), *values])


PROBE = """
            if iszero(success) { revert(0, 0) }
            mstore(0x00, mload(PAIRING_LHS_X_MPTR))
            mstore(0x20, mload(PAIRING_LHS_Y_MPTR))
            mstore(0x40, mload(OPENING))
            return(0x00, 0x60)
        }
    }
}
"""


def forged_equations(lie: list[int]) -> bytes:
    """A proof whose equations hold for challenges that another proof's bytes give.

    With W' at infinity the pairing asks for L - s W = 0 alone, where L and s follow from what is
    known before W is chosen; a copy of the contract that returns them instead of pairing tells.
    """
    source = sources().generated
    opening = source.split("ec_mul_tmp(success, sub(R, mload(")[-1].split(")")[0]
    head = source[: source.rindex("// Perform pairing")]
    probe = compile_contract(head + PROBE.replace("OPENING", opening), evm.GENERATED)
    chain = EmbeddedChain()
    address = chain.deploy(probe.creation_code).address
    size = len(proof().proof)
    call = selector("verifyProof(bytes,uint256[])")
    outcome = chain.call(address, call + two_proofs(bytes(size), proof().proof, lie))
    assert outcome.success
    x, y, s = from_words(outcome.output)
    scalar = to_limbs([pow(s, -1, FIELD_MODULUS)])
    w = g1_mul(to_limbs([x, y]).reshape(1, 8), scalar)
    point = b"".join(int.from_bytes(w.tobytes()[i : i + 32], "little").to_bytes(32, "big")
                     for i in (0, 32))  # fmt: skip
    return bytes(size - 128) + point + bytes(64)


def test_two_proofs_in_one_call_fool_ezkls_contract_and_not_the_adapter() -> None:
    place, lie = deployed("generated"), [publics()[0] + 1]
    arguments = two_proofs(forged_equations(lie), proof().proof, lie)
    call = selector("verifyProof(bytes,uint256[])")
    fooled = place.chain.call(place.behind, call + arguments)
    assert fooled.success
    assert from_words(fooled.output) == [1]
    for choice in CHOICES:
        assert refusal(deployed(choice), selector("verify(bytes,uint256[])") + arguments) == (
            "Halo2Adapter__InvalidProof()"
        )


def test_an_unusual_layout_of_the_truth_is_still_the_truth(place: OnChain) -> None:
    arguments = two_proofs(bytes(len(proof().proof)), proof().proof, publics())
    assert refusal(place, selector("verify(bytes,uint256[])") + arguments) is None


# Deployment -------------------------------------------------------------------------------------


def adapter_of(place: OnChain, **changes: int) -> str:
    """Deploy an adapter with changed words before the same contract."""
    names = ("domain", "status", "circuit", "vk", "n", "size", "target", "code_hash", "m")
    known = place.verifier.adapter_words(place.behind)
    for name, value in changes.items():
        known[names.index(name) if name in names else int(name.removeprefix("at"))] = value
    data = load_artifact(CONTRACT).creation_code + words([32, len(known), *known])
    return place.chain.deploy(data).address


def test_a_changed_adapter_is_no_adapter_of_the_key(place: OnChain) -> None:
    check_deployment(place.chain, place.adapter, place.verifier)
    for changes in ({"status": 1}, {"circuit": 5}, {"vk": 5}, {"n": 2}, {"size": 64}):
        address = adapter_of(place, **changes)
        with pytest.raises(VerificationError, match="not the shipped adapter of this key"):
            check_deployment(place.chain, address, place.verifier)


def test_another_key_for_a_reusable_verifier_is_refused() -> None:
    """Anyone may register any key: only the one in the adapter's code counts."""
    place, other = deployed("reusable"), sources(1).vka
    vka = list(place.verifier.vka)
    assert len(other) == len(vka)
    assert other != place.verifier.vka
    changed = {f"at{9 + i}": value for i, value in enumerate(other)}
    address = adapter_of(place, **changed)
    assert read_vka_digest(place.chain, address) == keccak256(words(other))
    with pytest.raises(VerificationError, match="not the shipped adapter of this key"):
        check_deployment(place.chain, address, place.verifier)
    with pytest.raises(VerificationError, match="InvalidProof"):
        verify_on_chain(place.chain, address, proof(), key())
    data = halo2_calldata(proof(1).proof, proof(1).instances(key(1)))
    assert place.chain.call(address, data).success


def test_code_that_is_not_the_keys_is_refused(place: OnChain) -> None:
    with pytest.raises(VerificationError, match="WrongVerifier"):
        adapter_of(place, code_hash=7)
    with pytest.raises(VerificationError, match="WrongVerifier"):
        adapter_of(place, target=int(place.chain.account, 16))
    # a contract that says yes to everything, named with its own code hash
    yes = bytes.fromhex("600160005260206000f3")
    liar = place.chain.deploy(bytes.fromhex("600a600c600039600a6000f3") + yes).address
    address = adapter_of(
        place, target=int(liar, 16), code_hash=int.from_bytes(keccak256(yes), "big")
    )
    with pytest.raises(VerificationError, match="not the shipped adapter"):
        check_deployment(place.chain, address, place.verifier)
    other = replace(place.verifier, key=key(1))
    with pytest.raises(VerificationError, match="not the shipped adapter"):
        check_deployment(place.chain, place.adapter, other)


def test_a_contract_that_changes_behind_its_adapter_is_noticed(place: OnChain) -> None:
    class Changed:
        """The chain, once the contract behind the adapter was replaced."""

        def __getattr__(self, name: str) -> Any:
            return getattr(place.chain, name)

        def code(self, address: str) -> bytes:
            return place.chain.code(address) if address == place.adapter else b"\x00"

    with pytest.raises(VerificationError, match="which the adapter calls, is not"):
        check_deployment(Changed(), place.adapter, place.verifier)


def answering(place: OnChain, *answer: int, reverts: bool = False) -> str:
    """An adapter before a contract that gives everybody the same words."""
    code = b"".join(
        b"\x7f" + words([value]) + b"\x60" + bytes([32 * i]) + b"\x52"
        for i, value in enumerate(answer)
    )
    code += bytes([0x60, 32 * len(answer), 0x60, 0, 0xFD if reverts else 0xF3])
    start = bytes([0x60, len(code), 0x60, 12, 0x60, 0, 0x39, 0x60, len(code), 0x60, 0, 0xF3])
    address = place.chain.deploy(start + code).address
    code_hash = int.from_bytes(keccak256(code), "big")
    return adapter_of(place, target=int(address, 16), code_hash=code_hash)


def test_only_a_whole_yes_is_taken_for_one() -> None:
    own, shared = deployed("generated"), deployed("reusable")
    digest = int.from_bytes(read_vka_digest(shared.chain, shared.adapter), "big")
    data = halo2_calldata(proof().proof, publics())
    for place, answer, taken in (
        (own, (1,), True), (own, (0,), False), (own, (2,), False), (own, (), False),
        (shared, (1, digest), True), (shared, (1, digest + 1), False), (shared, (1,), False),
        (shared, (0, digest), False), (shared, (), False),
    ):  # fmt: skip
        assert place.chain.call(answering(place, *answer), data).success == taken, answer
    assert not own.chain.call(answering(own, 1, digest, reverts=True), data).success
    with pytest.raises(VerificationError, match="InvalidKey"):  # it must take the key first
        answering(shared, 1, digest, reverts=True)


def test_malformed_words_are_refused_at_deployment(place: OnChain) -> None:
    bad: list[dict[str, int]] = [
        {"domain": DOMAIN + 1}, {"status": 2}, {"n": 1 << 32}, {"size": 1 << 32}, {"size": 33},
        {"target": 1 << 160}, {"m": len(place.verifier.vka) + 1},
    ]  # fmt: skip
    for changes in bad:
        with pytest.raises(VerificationError, match="InvalidKey"):
            adapter_of(place, **changes)
    with pytest.raises(VerificationError, match="InvalidKey"):
        place.chain.deploy(load_artifact(CONTRACT).creation_code + words([32, 2, DOMAIN, 0]))


def test_nothing_there_is_no_adapter(place: OnChain) -> None:
    nobody = "0x" + "11" * 20
    with pytest.raises(VerificationError, match="no contract"):
        check_deployment(place.chain, nobody, place.verifier)
    with pytest.raises(VerificationError, match="no Halo2 adapter"):
        check_deployment(place.chain, place.behind, place.verifier)
    with pytest.raises(VerificationError, match="not answered"):
        verify_on_chain(place.chain, nobody, proof(), key())


def test_a_reusable_verifier_serves_many_adapters() -> None:
    place = deployed("reusable")
    again = deploy(place.verifier, place.chain, existing=place.behind)
    assert again.verifier == place.behind
    assert again.address != place.adapter
    assert again.gas_used < 2_500_000
    verify_on_chain(place.chain, again.address, proof(), key())


# Size -------------------------------------------------------------------------------------------


def test_an_oversized_verifier_is_seen_before_deployment() -> None:
    config = Halo2Config(scale=7, decomposition=(64, 3), columns=6)
    seen = {"input": "committed", "output": "committed"}
    statement = Halo2Inference(halo2.support.mlp(), halo2.support.points(), seen, config)
    wide = setup(statement, halo2.support.scratch()).verifying
    made = generate_once(wide)
    with pytest.raises(InvalidInput, match=f"a chain takes {MAX_CODE_BYTES}"):
        make_verifier(wide, choice="generated", sources=made)
    chosen = make_verifier(wide, sources=made)
    assert chosen.contract == evm.REUSABLE
    assert chosen.code == verifier("reusable").code
    assert chosen.vka == made.vka


def generate_once(wide: evm.Halo2VerifyingKey) -> evm.EvmSources:
    made = evm.generate(wide)
    assert made.reusable == sources().reusable
    return made


def test_the_smaller_form_is_the_keys_own() -> None:
    assert make_verifier(key(), sources=sources()).contract == evm.GENERATED
    with pytest.raises(InvalidInput, match="expected auto, generated, reusable"):
        make_verifier(key(), choice="other", sources=sources())  # type: ignore[arg-type]


def test_a_key_that_no_adapter_holds_is_refused() -> None:
    check_adapter_size(600)
    with pytest.raises(InvalidInput, match="800 words"):
        check_adapter_size(800)


# What EZKL writes -------------------------------------------------------------------------------


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Stands in for what EZKL writes: text by contract; None leaves the real one."""
    chosen: dict[str, str | None] = {evm.GENERATED: None, evm.REUSABLE: None}
    real = Worker.call

    def call(worker: Worker, function: str, **arguments: object) -> object:
        contract = evm.REUSABLE if arguments.get("reusable") else evm.GENERATED
        if function != "create_evm_verifier" or (text := chosen[contract]) is None:
            return real(worker, function, **arguments)  # type: ignore[arg-type]
        if text:
            (worker.folder / str(arguments["sol_code_path"])).write_text(text)
        return True

    monkeypatch.setattr(Worker, "call", call)
    return chosen


def test_a_file_that_is_not_written_is_noticed(writer: dict[str, str | None]) -> None:
    writer[evm.GENERATED] = ""
    with pytest.raises(ToolError, match="wrote no contract"):
        evm.generate(key())
    # the generated one's file lies there already when the reusable one is asked for
    writer |= {evm.GENERATED: sources().generated, evm.REUSABLE: ""}
    with pytest.raises(ToolError, match="wrote no contract"):
        evm.generate(key())


def test_a_stale_or_broken_file_is_noticed(writer: dict[str, str | None]) -> None:
    good = sources().generated
    for text, message in (
        (sources(1).generated, "not of the same key"),
        (good[: len(good) // 2], "no whole contract"),
        (sources().reusable, "no whole contract"),
        (good.replace("num_instances", "instances"), "does not say the public inputs"),
    ):
        writer[evm.GENERATED] = text
        with pytest.raises(ToolError, match=message):
            evm.generate(key())


def test_another_reusable_verifier_is_refused(writer: dict[str, str | None]) -> None:
    changed = sources().reusable.replace('"VKA not registered"', '"not registered"')
    assert changed != sources().reusable
    writer[evm.REUSABLE] = changed
    with pytest.raises(ToolError, match=r"use ezkl 23\.0\.5"):
        evm.generate(key())


def test_polynomial_commitments_are_read_from_the_proof() -> None:
    seen = {"input": "public", "output": "polycommit"}
    committed, made = halo2.support.keys(**seen).verifying, halo2.support.proof(**seen)
    chain = EmbeddedChain()
    compiled = make_verifier(committed)
    assert compiled.n_public == 4
    address = deploy(compiled, chain).address
    verify_on_chain(chain, address, made, committed)
    assert made.proof[:64] == words(made.public["output"])
    other = bytes(64) + made.proof[64:]
    data = halo2_calldata(other, made.instances(committed))
    outcome = chain.call(address, data)
    assert decode_revert(outcome.output, ABI) == "Halo2Adapter__InvalidProof()"


# The compiler -----------------------------------------------------------------------------------


def test_a_missing_compiler_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ToolError, match="npm install solc"):
        compile_contract("contract A {}", "A", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"Node\.js"):
        compile_contract("contract A {}", "A")


def test_sources_that_do_not_compile_are_refused(repo: Path) -> None:
    with pytest.raises(ToolError, match=r"refuses it: .*ParserError"):
        compile_contract("contract A { function }", "A", repo)
    with pytest.raises(ToolError, match="gave no code"):
        compile_contract("contract A {}", "B", repo)
    with pytest.raises(InvalidInput, match="more than"):
        compile_contract(" " * ((8 << 20) + 1), "A", repo)
