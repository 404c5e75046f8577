"""Verifiers on a chain: deploy one for a key, check whose key one has, verify proofs.

The contracts are contracts/src/Groth16Verifier.sol and, for keys with a commitment round,
Groth16CommitVerifier.sol, or Groth16LinkVerifier.sol where two states are linked. Their code ends
with the key, so deploying one needs no compiler, and comparing its code with the shipped artifact's
shows exactly what it does.
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.chain.abi import (
    decode_revert,
    from_words,
    parse_address,
    selector,
    verify_calldata,
    words,
)
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain, Deployment, Outcome
from zkai.chain.formats import FORMATS, PLAIN, format_of
from zkai.circuit.statements.context import Context, address_word
from zkai.encoding import hex32, keccak256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit.keys import CommitProof, CommitVerifyingKey
from zkai.proof.formats import Proof, VerifyingKey, check_format
from zkai.proof.keys import CEREMONY
from zkai.proof.points import g1_uncompressed, g2_uncompressed

MAX_PUBLIC = 320
"""The most public inputs whose key fits the 24,576 bytes of a contract (EIP-170)."""
MAX_FOLDED = 65_535
"""The most public inputs of a key with a commitment round, whose size does not depend on them."""


def key_words(vk: VerifyingKey) -> list[int]:
    """Return the words of a key, whose keccak256 is its digest.

    contracts/src/Groth16Base.sol lists the 20 + 2n of a key of n public inputs, and
    Groth16CommitBase.sol the 23 + 2c of one of c challenges, Groth16LinkBase.sol the 32 + 2c of one
    that links two polynomials besides.

    Raises InvalidInput if the key is too large for a contract.
    """
    most = MAX_FOLDED if isinstance(vk, CommitVerifyingKey) else MAX_PUBLIC
    if vk.n_public > most:
        raise InvalidInput(
            f"the key has {vk.n_public} public inputs; a contract's code holds {most} at most"
        )
    data = vk.digest_tag() + word(int(vk.key_status == CEREMONY)) + vk.circuit_digest
    data += vk.digest_sizes() + g1_uncompressed(vk.alpha)
    data += b"".join(g2_uncompressed(getattr(vk, name)) for name in vk.digest_g2())
    data += b"".join(g1_uncompressed(point) for point in vk.ic)
    return from_words(data)


def check_claim(vk: VerifyingKey) -> None:
    """Return None unless the key claims a ceremony that its own record does not bear out.

    A contract cannot look into a ceremony, so what it will answer is checked before it exists.
    Raises VerificationError.
    """
    if vk.key_status == CEREMONY:
        vk.check_production()


def creation_code(vk: VerifyingKey) -> bytes:
    """Return the transaction data that creates the verifier of `vk`."""
    key = key_words(vk)
    return load_artifact(format_of(vk).contract).creation_code + words([32, len(key), *key])


def runtime_code(vk: VerifyingKey) -> bytes:
    """Return the code that the verifier of `vk` has once it is deployed."""
    key, form = key_words(vk), format_of(vk)
    # The last word tells the contract where its key starts.
    return load_artifact(form.contract).runtime_code + words([*key, key[form.count_at]])


def deploy(vk: VerifyingKey, chain: Chain) -> Deployment:
    """Deploy the verifier of `vk` and check what was deployed.

    Raises VerificationError if the contract refuses the key, or the key claims a ceremony that its
    record does not bear out; whatever `chain.deploy` raises.
    """
    check_claim(vk)
    deployment = chain.deploy(creation_code(vk))
    check_deployment(chain, deployment.address, vk)
    return deployment


def check_deployment(
    chain: Chain, address: str, vk: VerifyingKey, expected_code: bytes | None = None
) -> None:
    """Return None if the contract at `address` is the verifier of `vk`, and nothing else.

    Compares the whole code with the shipped artifact's and the key; for a rendered verifier,
    `expected_code` is the runtime code that its source compiles to.

    Raises VerificationError if the code differs or the contract names another key.
    """
    target = parse_address(address, "verifier address")
    code = chain.code(target)
    if not code:
        raise VerificationError(f"there is no contract at {target} on chain {chain.chain_id}")
    if code != (runtime_code(vk) if expected_code is None else expected_code):
        raise VerificationError(
            f"the contract at {target} is not the shipped verifier with this key"
            if expected_code is None
            else f"the contract at {target} does not have the expected code"
        )
    if (digest := read_vk_digest(chain, target)) != keccak256(words(key_words(vk))):
        raise VerificationError(f"the contract at {target} has another key, {hex32(digest)}")
    if (status := read_key_status(chain, target)) != vk.key_status:
        raise VerificationError(f"the contract at {target} calls its key {status!r}")


def verify_on_chain(chain: Chain, address: str, proof: Proof, vk: VerifyingKey) -> int:
    """Verify a proof by a transaction, and return the gas that the whole of it used.

    Without an account the proof is verified by a call, and the gas is the node's estimate. Here
    the contract must only claim the key; whether it keeps the claim is `check_deployment`'s to say.

    Raises VerificationError if proof, key and contract do not belong together, or, naming the
    contract's error, if it refuses the proof.
    """
    target = parse_address(address, "verifier address")
    check_format(proof, vk)
    if proof.vk_digest != vk.digest:
        raise VerificationError("the proof was made for another key than the verifying key")
    digest = read_vk_digest(chain, target)
    if digest != vk.digest:
        raise VerificationError(
            f"the proof is for key {hex32(vk.digest)}, the verifier at {target} has {hex32(digest)}"
        )
    words_of_proof, publics = proof_words(proof), proof.public_values(vk)
    return send_proof(chain, target, "verify", words_of_proof, publics).gas_used


def send_proof(
    chain: Chain,
    address: str,
    function: str,
    proof: Sequence[int],
    publics: Sequence[int],
    contract: str = PLAIN.contract,
) -> Outcome:
    """Send a proof to `function(uint256[k],uint256[])` of a contract and return what it did.

    Without an account it is a call. Raises VerificationError, naming the contract's custom error,
    if it reverts.
    """
    data = verify_calldata(proof, publics, function)
    run = chain.call if chain.account is None else chain.transact
    outcome = run(address, data)
    if not outcome.success:
        # A verifier's errors pass through the contract that calls it.
        names = (contract, *(form.contract for form in FORMATS))
        abi = [entry for name in names for entry in load_artifact(name).abi]
        raise VerificationError(
            f"the contract at {address} refused the proof: {decode_revert(outcome.output, abi)}"
        )
    return outcome


def proof_words(proof: Proof) -> list[int]:
    """Return a proof's words in the EVM's order: A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y.

    With a commitment round D.x, D.y follow; with linked polynomials then the opening, the
    commitments and the evaluations.
    """
    points = [g1_uncompressed(proof.a), g2_uncompressed(proof.b), g1_uncompressed(proof.c)]
    if isinstance(proof, CommitProof):
        points.append(g1_uncompressed(proof.d))
        if (link := proof.link) is not None:
            points += [g1_uncompressed(point) for point in (link.opening, *link.commitments)]
            points += [word(value) for value in link.evaluations]
    return from_words(b"".join(points))


def context_on(
    chain: Chain, ledger: str, statement: str, fork: int, step: int, vk_digest: bytes
) -> Context:
    """Return the context of a proof that this chain's account will send to the contract `ledger`.

    Raises InvalidInput if the chain has no account to receive it.
    """
    if chain.account is None:
        raise InvalidInput("the context names who sends the proof: give a key file or variable")
    recipient = address_word(chain.account)
    return Context(
        statement, chain.chain_id, address_word(ledger), fork, step, recipient, vk_digest
    )


def read_vk_digest(chain: Chain, address: str) -> bytes:
    """Return what the contract answers to `vkDigest()`. Raises VerificationError if nothing."""
    return _read(chain, address, "vkDigest()", 32)[:32]


def read_circuit_digest(chain: Chain, address: str) -> bytes:
    """Return what the contract answers to `circuitDigest()`. Raises VerificationError likewise."""
    return _read(chain, address, "circuitDigest()", 32)[:32]


def read_n_public(chain: Chain, address: str) -> int:
    """Return what the contract answers to `nPublic()`. Raises VerificationError likewise."""
    return int.from_bytes(_read(chain, address, "nPublic()", 32)[:32], "big")


def read_n_challenges(chain: Chain, address: str) -> int:
    """Return what a verifier with a commitment round answers to `nChallenges()`, likewise."""
    return int.from_bytes(_read(chain, address, "nChallenges()", 32)[:32], "big")


def read_key_status(chain: Chain, address: str) -> str:
    """Return what the contract answers to `keyStatus()`."""
    output = _read(chain, address, "keyStatus()", 96)
    length = int.from_bytes(output[32:64], "big")
    return output[64 : 64 + min(length, 32)].decode("ascii", "replace")


def _read(chain: Chain, address: str, function: str, size: int) -> bytes:
    target = parse_address(address, "verifier address")
    outcome = chain.call(target, selector(function))
    if not outcome.success or len(outcome.output) < size:
        raise VerificationError(
            f"there is no zkai verifier at {target} on chain {chain.chain_id}: "
            f"{function} is not answered"
        )
    return outcome.output
