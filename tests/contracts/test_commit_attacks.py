"""Each check of the contract is needed: with it taken out, a forgery that it refuses passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
from chain_support import compile_each
from commit_chain_support import (
    commit_vectors,
    make_commit_vectors,
    refusal,
    refusal_of,
    rendered_creation_codes,
)

from zkai.chain.abi import verify_calldata
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.formats import COMMIT
from zkai.chain.render import render_words
from zkai.chain.verifier import key_words
from zkai.errors import VerificationError

pytestmark = pytest.mark.node
SHAPE = (2, 3)
QUICK = {"viaIR": False}
"""The code is run a few times only."""


@dataclass(frozen=True)
class Weakening:
    """A change of the source, and the cases that it lets through."""

    old: str
    new: str
    accepted: tuple[str, ...]


PREIMAGE = "seed := keccak256(data, add(128, inputs))"
WEAKENINGS = {
    "inputs of any size": Weakening(
        "if (!inRange) {\n            uint256 index = publics.length - 1;",
        "if (false) {\n            uint256 index = publics.length - 1;",
        ("input 0 plus r in a proof made so", "input 1 plus r in a proof made so"),
    ),
    "infinity for a point": Weakening(
        "if (infinity != 0) revert",
        "if (infinity == 99) revert",
        ("D is infinity in a proof made so",),
    ),
    "a hash without D": Weakening(
        PREIMAGE,
        "seed := keccak256(data, add(64, inputs))",
        ("challenges hashed without D",),
    ),
    "a hash without D.y": Weakening(
        PREIMAGE,
        "seed := keccak256(data, add(96, inputs))",
        ("challenges hashed without D.y",),
    ),
    "a hash without the public inputs": Weakening(
        PREIMAGE,
        "calldatacopy(add(data, 96), add(proof, 256), 64) seed := keccak256(data, 160)",
        ("challenges hashed without the public inputs",),
    ),
    "a hash without the domain": Weakening(
        PREIMAGE,
        "seed := keccak256(add(data, 32), add(96, inputs))",
        ("challenges hashed without the domain",),
    ),
    "a hash without the key": Weakening(
        PREIMAGE,
        "mstore(add(data, 32), mload(data)) seed := keccak256(add(data, 32), add(96, inputs))",
        ("challenges hashed without the key",),
    ),
    "challenges that are powers of one": Weakening(
        "scalar := mod(keccak256(hashed, 64), R)",
        "mstore(add(hashed, 32), 1) scalar := 1 for { let i := 0 } lt(i, j) { i := add(i, 1) } "
        "{ scalar := mulmod(scalar, mod(keccak256(hashed, 64), R), R) }",
        ("powers of the first challenge",),
    ),
    "one challenge for all": Weakening(
        "mstore(add(hashed, 32), j)",
        "mstore(add(hashed, 32), 1)",
        ("the first challenge repeated",),
    ),
    "inputs folded from power 0": Weakening(
        "mstore(add(point, 64), folded)",
        "folded := 0 for { let input := calldatasize() } gt(input, INPUTS) {} { "
        "input := sub(input, 32) "
        "folded := addmod(mulmod(folded, scalar, R), calldataload(input), R) } "
        "mstore(add(point, 64), folded)",
        ("inputs folded from power 0",),
    ),
}  # fmt: skip


@cache
def weakened() -> dict[str, bytes]:
    """The creation code of each weakened contract, rendered for the vectors' key."""
    source = render_words(key_words(commit_vectors(SHAPE).vk))
    files = {}
    for name, weakening in WEAKENINGS.items():
        assert source.count(weakening.old) == 1, name
        files[name] = source.replace(weakening.old, weakening.new)
    compiled = compile_each(files, COMMIT.contract, **QUICK)
    return {name: bytes.fromhex(evm["bytecode"]["object"]) for name, evm in compiled.items()}


@pytest.fixture(scope="module")
def shared() -> EmbeddedChain:
    return EmbeddedChain()


@pytest.mark.parametrize("name", WEAKENINGS)
def test_a_check_taken_out_lets_its_forgery_through(shared: EmbeddedChain, name: str) -> None:
    v = commit_vectors(SHAPE)
    whole = shared.deploy(rendered_creation_codes()[SHAPE]).address
    weak = shared.deploy(weakened()[name]).address
    for case_name in WEAKENINGS[name].accepted:
        case = v.case(case_name)
        assert refusal_of(shared, whole, case) == case.error is not None
        assert refusal_of(shared, weak, case) is None


def test_nothing_but_the_check_of_the_key_refuses_equal_deltas(shared: EmbeddedChain) -> None:
    """Under such a key the prover moves what D should fix to C, after the challenges are known.

    Proofs verify under it as under any other, so that it must not be deployed.
    """
    key = make_commit_vectors.CommitKey("equal deltas", *SHAPE, "development")
    key.delta2 = key.delta1
    publics = list(range(1, SHAPE[0] + 1))
    proof = key.prove(publics, "equal deltas")
    source = render_words(key.words())
    check = "ok := and(ok, iszero(and(eq(x1, other1), eq(x0, other0))))"
    assert source.count(check) == 1
    compiled = compile_each(
        {"whole": source, "weak": source.replace(check, "")}, COMMIT.contract, **QUICK
    )
    codes = {name: bytes.fromhex(evm["bytecode"]["object"]) for name, evm in compiled.items()}
    with pytest.raises(VerificationError, match="Groth16CommitVerifier__InvalidKey"):
        shared.deploy(codes["whole"])
    weak = shared.deploy(codes["weak"]).address
    assert refusal(shared, weak, verify_calldata(proof, publics)) is None
