"""Keys and proofs with a commitment round (groth16-commit) as contracts take them: 32-byte words.

The contract is contracts/src/Groth16CommitVerifier.sol; `zkai.chain.verifier` deploys and calls it.
"""

from __future__ import annotations

from typing import Any, Protocol

from zkai.chain.abi import from_words
from zkai.encoding import keccak256, word
from zkai.errors import InvalidInput
from zkai.proof.keys import CEREMONY
from zkai.proof.points import G1, G2, g1_uncompressed, g2_uncompressed

COMMIT_CONTRACT = "Groth16CommitVerifier"
COMMIT_DOMAIN = keccak256(b"zkai.groth16-commit/1")
MAX_CHALLENGES = 255
MAX_PUBLIC = 65_535
N_PUBLIC, N_CHALLENGES, IC = 3, 4, 19
"""Where a key's words hold the number of public inputs, of challenges, and the first ic point."""


class CommitKey(Protocol):
    """A verifying key with a commitment round.

    e(A, B) = e(alpha, beta) e(IC_0 + y IC_1 + sum r_j IC_{j+1}, G2) e(D, delta1) e(C, delta2).
    """

    @property
    def circuit_digest(self) -> bytes: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def key_status(self) -> str: ...
    @property
    def n_public(self) -> int:
        """The number of public inputs (signals), which y folds."""

    @property
    def alpha(self) -> G1: ...
    @property
    def beta(self) -> G2: ...
    @property
    def delta1(self) -> G2: ...
    @property
    def delta2(self) -> G2: ...
    @property
    def ic(self) -> tuple[G1, ...]:
        """The points of the constant one, of y and of each challenge."""

    def check_production(self) -> None:
        """Raise VerificationError unless the key comes from a ceremony whose record verifies."""


class CommitProof(Protocol):
    """A proof with a commitment round: Groth16's three points, and D, the commitment."""

    @property
    def vk_digest(self) -> bytes: ...
    @property
    def a(self) -> G1: ...
    @property
    def b(self) -> G2: ...
    @property
    def c(self) -> G1: ...
    @property
    def d(self) -> G1: ...

    def public_values(self, key: Any, /) -> list[int]:
        """The public inputs in the key's order; raise VerificationError for another key's."""


def commit_key_words(vk: CommitKey) -> list[int]:
    """Return the 23 + 2c words of a key of c challenges, whose keccak256 is its digest.

    Domain, status, circuit digest, n, c, alpha, beta, delta1, delta2, ic[0..c+1], as
    contracts/src/Groth16CommitBase.sol lists them.

    Raises InvalidInput if the key has more public inputs or challenges than a contract takes.
    """
    n_challenges = len(vk.ic) - 2
    if not 1 <= n_challenges <= MAX_CHALLENGES:
        raise InvalidInput(
            f"the key has {n_challenges} challenges; a contract takes 1 to {MAX_CHALLENGES}"
        )
    if vk.n_public > MAX_PUBLIC:
        raise InvalidInput(
            f"the key has {vk.n_public} public inputs; a contract takes {MAX_PUBLIC} at most"
        )
    data = COMMIT_DOMAIN + word(int(vk.key_status == CEREMONY)) + vk.circuit_digest
    data += word(vk.n_public) + word(n_challenges) + g1_uncompressed(vk.alpha)
    data += b"".join(g2_uncompressed(point) for point in (vk.beta, vk.delta1, vk.delta2))
    data += b"".join(g1_uncompressed(point) for point in vk.ic)
    return from_words(data)


def commit_proof_words(proof: CommitProof) -> list[int]:
    """Return a proof's 10 words: A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y, D.x, D.y."""
    points = [g1_uncompressed(proof.a), g2_uncompressed(proof.b)]
    points += [g1_uncompressed(proof.c), g1_uncompressed(proof.d)]
    return from_words(b"".join(points))
