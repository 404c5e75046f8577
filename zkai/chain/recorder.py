"""Forks followed by a contract: opened by genesis proofs, moved on by proofs of steps and skips.

The contract is contracts/src/ForkRecorder.sol, an example of an application.
"""

from __future__ import annotations

from dataclasses import dataclass

from zkai.chain.abi import from_words, parse_address, selector, words
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain, Outcome
from zkai.chain.verifier import proof_words, send_proof
from zkai.errors import VerificationError
from zkai.proof.formats import Proof, VerifyingKey, check_format

CONTRACT = "ForkRecorder"


@dataclass(frozen=True)
class Head:
    """Where a fork stands; all zero before it opens."""

    state: int
    user: int
    model: int
    step: int
    skips: int = 0
    """How many of the fork's steps it skipped."""


@dataclass(frozen=True)
class ForkRecorder:
    """A deployed ForkRecorder."""

    chain: Chain
    address: str

    @staticmethod
    def deploy(
        chain: Chain,
        genesis_verifier: str,
        step_verifier: str,
        steps_per_proof: int = 1,
        require_ceremony: bool = False,
        skip_verifier: str | None = None,
    ) -> ForkRecorder:
        """Deploy a recorder over two verifiers, and one of skipped steps if its forks may skip.

        Raises VerificationError, naming the contract's error, if it refuses them: verifiers of
        statements with other public inputs, or, with `require_ceremony`, of development keys.
        """
        verifiers = [
            0 if address is None else int(parse_address(address, "verifier address"), 16)
            for address in (genesis_verifier, step_verifier, skip_verifier)
        ]
        arguments = words([*verifiers, steps_per_proof, int(require_ceremony)])
        deployment = chain.deploy(load_artifact(CONTRACT).creation_code + arguments)
        return ForkRecorder(chain, deployment.address)

    def open(self, proof: Proof, vk: VerifyingKey) -> Outcome:
        """Open the fork that a genesis proof names. Raises VerificationError if it is refused."""
        return self._send("open", proof, vk)

    def record(self, proof: Proof, vk: VerifyingKey) -> Outcome:
        """Move a fork on by a training-step proof. Raises VerificationError if it is refused."""
        return self._send("record", proof, vk)

    def skip(self, proof: Proof, vk: VerifyingKey) -> Outcome:
        """Move a fork over a step that it does not take. Raises VerificationError if refused."""
        return self._send("skip", proof, vk)

    def _send(self, function: str, proof: Proof, vk: VerifyingKey) -> Outcome:
        check_format(proof, vk)
        publics = proof.public_values(vk)
        return send_proof(self.chain, self.address, function, proof_words(proof), publics, CONTRACT)

    def head(self, fork: int) -> Head:
        """Return where a fork stands. Raises VerificationError if the contract is no recorder."""
        outcome = self.chain.call(self.address, selector("heads(uint256)") + words([fork]))
        if not outcome.success or len(outcome.output) != 160:
            raise VerificationError(f"there is no fork recorder at {self.address}")
        return Head(*from_words(outcome.output))
