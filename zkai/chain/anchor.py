"""A log's checkpoints on a chain: contracts/src/Anchor.sol.

An anchored checkpoint shows, by the chain's clock, what was logged by when, and that the log has
not been rewritten since the anchor before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zkai.chain.abi import decode_revert, from_words, selector, words
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain, Outcome
from zkai.encoding import hex32, sha256
from zkai.errors import VerificationError
from zkai.ledger.checkpoint import Checkpoint

CONTRACT = "Anchor"


@dataclass(frozen=True)
class Anchor:
    """A deployed Anchor of one log."""

    chain: Chain
    address: str

    @staticmethod
    def deploy(chain: Chain, origin: str) -> Anchor:
        """Deploy an anchor for the log of this name; the chain's account is its operator."""
        argument = sha256(origin.encode("utf-8"))
        deployment = chain.deploy(load_artifact(CONTRACT).creation_code + argument)
        return Anchor(chain, deployment.address)

    @property
    def size(self) -> int:
        """The number of entries of the last anchored checkpoint, 0 before the first."""
        return self._read("size()", b"", 1)[0]

    def anchor(self, checkpoint: Checkpoint, proof: Sequence[bytes]) -> Outcome:
        """Anchor a checkpoint, with the proof that it extends the last one.

        Raises VerificationError, naming the contract's error, if it is refused.
        """
        numbers = [checkpoint.size, *_integers([checkpoint.root, checkpoint.map_root])]
        data = selector("anchor(uint64,bytes32,bytes32,bytes32[])") + words(numbers)
        return self._run(data + words([128, len(proof), *_integers(proof)]), self.chain.transact)

    def verify_anchored(self, checkpoint: Checkpoint) -> int:
        """Return when, by the chain's clock, a checkpoint was anchored.

        Raises VerificationError if it was not, if the contract is of another log, or none.
        """
        if self._read("origin()", b"", 1)[0].to_bytes(32, "big") != sha256(
            checkpoint.origin.encode("utf-8")
        ):
            raise VerificationError(f"the contract at {self.address} anchors another log")
        root, map_root, at = self._read("checkpoints(uint256)", words([checkpoint.size]), 3)
        if at == 0 or [root, map_root] != _integers([checkpoint.root, checkpoint.map_root]):
            raise VerificationError(
                f"checkpoint {checkpoint.size} of root {hex32(checkpoint.root)} is not anchored"
            )
        return at

    def verify_included(self, leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> int:
        """Return when a checkpoint was anchored that contains a leaf; the contract checks the path.

        Raises VerificationError, naming the contract's error, if it does not.
        """
        data = selector("included(bytes32,uint64,uint64,bytes32[])") + leaf + words([index, size])
        outcome = self._run(data + words([128, len(proof), *_integers(proof)]), self.chain.call)
        return from_words(outcome.output)[0]

    def _read(self, function: str, arguments: bytes, count: int) -> list[int]:
        outcome = self.chain.call(self.address, selector(function) + arguments)
        found = from_words(outcome.output)
        if not outcome.success or len(found) != count:
            raise VerificationError(f"there is no anchor at {self.address}")
        return found

    def _run(self, data: bytes, run: object) -> Outcome:
        assert callable(run)
        outcome: Outcome = run(self.address, data)
        if not outcome.success:
            reason = decode_revert(outcome.output, load_artifact(CONTRACT).abi)
            raise VerificationError(f"the contract at {self.address} refused: {reason}")
        return outcome


def _integers(hashes: Sequence[bytes]) -> list[int]:
    return [int.from_bytes(hash_, "big") for hash_ in hashes]
