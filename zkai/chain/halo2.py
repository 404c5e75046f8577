"""Halo2 verifiers on a chain: EZKL's contract, and in front of it the adapter that callers use.

contracts/src/Halo2Adapter.sol says why there is an adapter. A key's own verifier is taken where its
code fits a contract, else the reusable one, whose key the adapter holds in its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from zkai.chain.abi import decode_revert, from_words, parse_address, selector, words
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import TRANSACTION_GAS_CAP, Chain, Deployment
from zkai.chain.solidity import MAX_CODE_BYTES, Bytecode, compile_contract
from zkai.chain.verifier import read_key_status, read_vk_digest
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.evm import GENERATED, REUSABLE, EvmSources, generate
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof, check_names
from zkai.proof.keys import CEREMONY
from zkai.proof.scalars import Progress

CONTRACT = "Halo2Adapter"
DOMAIN = int.from_bytes(keccak256(b"zkai.halo2-adapter/1"), "big")
FIXED_WORDS = 9
Choice = Literal["auto", "generated", "reusable"]
CHOICES: tuple[Choice, ...] = ("auto", "generated", "reusable")


@dataclass(frozen=True)
class EvmVerifier:
    """A key's contract, compiled, and what its adapter has to know."""

    key: Halo2VerifyingKey = field(repr=False)
    contract: str
    code: Bytecode = field(repr=False)
    vka: tuple[int, ...] = field(repr=False)
    """The key of a reusable verifier; empty where the contract has its own."""
    n_public: int
    proof_bytes: int

    @property
    def code_hash(self) -> bytes:
        """keccak256 of the contract's code."""
        return keccak256(self.code.runtime_code)

    def adapter_words(self, address: str) -> list[int]:
        """Return the words of the adapter before the contract at `address`."""
        status = int(self.key.key_status == CEREMONY)
        digests = (self.key.circuit_digest, self.key.digest)
        target = int(parse_address(address, "verifier address"), 16)
        return [
            DOMAIN,
            status,
            *(int.from_bytes(digest, "big") for digest in digests),
            self.n_public,
            self.proof_bytes,
            target,
            int.from_bytes(self.code_hash, "big"),
            len(self.vka),
            *self.vka,
        ]

    def adapter_code(self, address: str) -> bytes:
        """Return the code that the adapter before the contract at `address` has."""
        known = self.adapter_words(address)
        return load_artifact(CONTRACT).runtime_code + words([*known, len(self.vka)])


def make_verifier(
    key: Halo2VerifyingKey,
    *,
    choice: Choice = "auto",
    packages: Path | None = None,
    sources: EvmSources | None = None,
    progress: Progress | None = None,
) -> EvmVerifier:
    """Return the contract of a key: its own if that fits, else the reusable one.

    `packages` is the folder whose node_modules hold solc; `sources` are `generate`'s, made here if
    not given.

    Raises InvalidInput for a contract over the size limit that was asked for by name, or a key so
    large that no adapter holds it; ToolError without EZKL, Node or solc.
    """
    if choice not in CHOICES:
        raise InvalidInput(f"verifier: expected {', '.join(CHOICES)}, got {choice!r}")
    found = sources or generate(key, progress=progress)
    facts = (found.n_public, found.proof_bytes)
    if choice != "reusable":
        code = compile_contract(found.generated, GENERATED, packages)
        if (size := len(code.runtime_code)) <= MAX_CODE_BYTES:
            return EvmVerifier(key, GENERATED, code, (), *facts)
        if choice == "generated":
            raise InvalidInput(
                f"the key's verifier has {size} bytes of code, a chain takes {MAX_CODE_BYTES}"
                " (EIP-170): use the reusable one"
            )
    check_adapter_size(len(found.vka))
    code = compile_contract(found.reusable, REUSABLE, packages)
    return EvmVerifier(key, REUSABLE, code, found.vka, *facts)


def check_adapter_size(n_words: int) -> None:
    """Return None if an adapter holds a reusable verifier's key. Raises InvalidInput otherwise."""
    size = len(load_artifact(CONTRACT).runtime_code) + 32 * (FIXED_WORDS + n_words + 1)
    if size > MAX_CODE_BYTES:
        raise InvalidInput(
            f"the key for a reusable verifier has {n_words} words: with it the adapter has {size}"
            f" bytes of code, a chain takes {MAX_CODE_BYTES} (EIP-170); use fewer columns"
        )


@dataclass(frozen=True)
class Deployed:
    """An adapter and the contract behind it."""

    address: str
    verifier: str
    gas_used: int
    """Of both deployments; of the adapter's alone if the contract was there."""


def deploy(verifier: EvmVerifier, chain: Chain, existing: str | None = None) -> Deployed:
    """Deploy a key's contract and its adapter, and check both.

    A reusable verifier serves many keys: `existing` is the address of one that is there already.

    Raises VerificationError if a deployment is refused or what was deployed differs; InvalidInput
    if the contract needs more gas than a transaction may have.
    """
    used = 0
    if existing is None:
        if (least := 200 * len(verifier.code.runtime_code)) > TRANSACTION_GAS_CAP:
            raise InvalidInput(f"the verifier's deployment needs more than {least} gas")
        made = chain.deploy(verifier.code.creation_code)
        existing, used = made.address, made.gas_used
    known = verifier.adapter_words(existing)
    data = load_artifact(CONTRACT).creation_code + words([32, len(known), *known])
    adapter: Deployment = chain.deploy(data)
    check_deployment(chain, adapter.address, verifier)
    return Deployed(
        adapter.address, parse_address(existing, "verifier address"), used + adapter.gas_used
    )


def check_deployment(chain: Chain, address: str, verifier: EvmVerifier) -> None:
    """Return None if `address` is an adapter of this key before this key's contract.

    Compares the adapter's whole code, and the code behind it, with what they must be: a reusable
    verifier takes any key that anybody registers, so the key in the adapter is what counts.

    Raises VerificationError saying what differs.
    """
    target = parse_address(address, "adapter address")
    code = chain.code(target)
    if not code:
        raise VerificationError(f"there is no contract at {target} on chain {chain.chain_id}")
    behind = read_verifier(chain, target)
    if code != verifier.adapter_code(behind):
        raise VerificationError(f"the contract at {target} is not the shipped adapter of this key")
    if chain.code(behind) != verifier.code.runtime_code:
        raise VerificationError(
            f"the contract at {behind}, which the adapter calls, is not {verifier.contract} as the"
            " key's source compiles here"
        )
    if (digest := read_vk_digest(chain, target)) != verifier.key.digest:
        raise VerificationError(f"the adapter at {target} is of another key, {hex32(digest)}")
    if (status := read_key_status(chain, target)) != verifier.key.key_status:
        raise VerificationError(f"the adapter at {target} calls its key {status!r}")


def read_verifier(chain: Chain, address: str) -> str:
    """Return the contract that an adapter calls. Raises VerificationError for no adapter."""
    outcome = chain.call(address, selector("verifier()"))
    found = from_words(outcome.output)
    if not outcome.success or len(found) != 2 or found[0] >= 1 << 160:
        raise VerificationError(f"there is no Halo2 adapter at {address}")
    return parse_address(f"0x{found[0]:040x}", "verifier address")


def read_vka_digest(chain: Chain, address: str) -> bytes:
    """Return the digest of the key that an adapter gives a reusable verifier; zeros for none."""
    outcome = chain.call(address, selector("vkaDigest()"))
    if not outcome.success or len(outcome.output) != 32:
        raise VerificationError(f"there is no Halo2 adapter at {address}")
    return outcome.output


def halo2_calldata(proof: bytes, publics: Sequence[int]) -> bytes:
    """Return the calldata of an adapter's `verify(bytes,uint256[])`, in its canonical layout.

    Raises InvalidInput if a value does not fit a word.
    """
    padding = bytes(-len(proof) % 32)
    second = 96 + len(proof) + len(padding)
    head = selector("verify(bytes,uint256[])") + words([64, second, len(proof)])
    return head + proof + padding + words([len(publics), *publics])


def verify_on_chain(chain: Chain, address: str, proof: Halo2Proof, key: Halo2VerifyingKey) -> int:
    """Verify a proof by a transaction to an adapter, and return the gas that it used.

    Without an account the proof is verified by a call, and the gas is the node's estimate. Here the
    contract must only claim the key; whether it keeps the claim is `check_deployment`'s to say.

    Raises VerificationError if proof, key and contract do not belong together, or, naming the
    contract's error, if it refuses the proof.
    """
    target = parse_address(address, "adapter address")
    check_names(proof, key)
    digest = read_vk_digest(chain, target)
    if digest != key.digest:
        raise VerificationError(
            f"the proof is for key {hex32(key.digest)}, the adapter at {target} has {hex32(digest)}"
        )
    data = halo2_calldata(proof.proof, proof.instances(key))
    run = chain.call if chain.account is None else chain.transact
    outcome = run(target, data)
    if not outcome.success:
        reason = decode_revert(outcome.output, load_artifact(CONTRACT).abi)
        raise VerificationError(f"the contract at {target} refused the proof: {reason}")
    return outcome.gas_used
