"""The verifier contracts by proof format: their names and how they lay out a key's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zkai.encoding import keccak256
from zkai.errors import InvalidInput
from zkai.proof.commit.challenges import LINKED_FORMAT
from zkai.proof.commit.keys import CommitVerifyingKey
from zkai.proof.keys import KeyDocument, VerifyingKey

_HEADER = ("domain", "status: 1 for a ceremony's key", "circuit digest", "public inputs")


@dataclass(frozen=True)
class ContractFormat:
    """One proof format's contract. A key's words are its header, alpha, G2 points and ic points."""

    contract: str
    """The name of the shipped contract."""
    family: str
    """What the names of its source's parts start with."""
    proofs: str
    """The format whose hash is a key's first word."""
    in_g2: tuple[str, ...]
    """The points of G2."""
    header: tuple[str, ...]
    """What the words before alpha are."""
    count_at: int
    """The index of the header's word that tells how many ic points there are."""
    count_name: str
    """What the source calls it."""
    fixed_ic: int
    """How many ic points there are besides."""
    free_words: int
    """How many free words the source needs before the key in memory."""

    @property
    def domain(self) -> int:
        """The key's first word."""
        return int.from_bytes(keccak256(self.proofs.encode()), "big")

    @property
    def fixed_words(self) -> int:
        """How many words a key has besides two for each point counted."""
        return len(self.header) + 2 + 4 * len(self.in_g2) + 2 * self.fixed_ic

    def word_names(self, key: Sequence[int]) -> list[str]:
        """Return what each word of a key is."""
        names = [*self.header, "alpha.x", "alpha.y"]
        names += [f"{p}.{part}" for p in self.in_g2 for part in ("x1", "x0", "y1", "y0")]
        points = range(self.fixed_ic + key[self.count_at])
        return names + [f"ic[{i}].{part}" for i in points for part in ("x", "y")]


PLAIN = ContractFormat(
    "Groth16Verifier", "Groth16", VerifyingKey.PROOFS, VerifyingKey.G2_POINTS, _HEADER, 3, "n", 1, 2
)
COMMIT = ContractFormat(
    "Groth16CommitVerifier",
    "Groth16Commit",
    CommitVerifyingKey.PROOFS,
    CommitVerifyingKey.G2_POINTS,
    (*_HEADER, "challenges"),
    4,
    "c",
    2,
    1,
)
LINK = ContractFormat(
    "Groth16LinkVerifier",
    "Groth16Link",
    LINKED_FORMAT,
    (*CommitVerifyingKey.G2_POINTS, "tau"),
    (*_HEADER, "challenges", "linked polynomials"),
    4,
    "c",
    4,
    0,
)
FORMATS = (PLAIN, COMMIT, LINK)

LINKS = 2
"""How many linked polynomials a contract's keys have: a state before and one after."""


def format_of(vk: KeyDocument) -> ContractFormat:
    """Return the contract that verifies proofs under keys like `vk`.

    Raises InvalidInput for a key with another number of linked polynomials than two, or with public
    polynomials: no contract holds what their values are computed from.
    """
    if not isinstance(vk, CommitVerifyingKey):
        return PLAIN
    if vk.polynomials:
        raise InvalidInput(
            f"no contract verifies {vk.statement}: it would have to compute"
            f" {', '.join(p.name for p in vk.polynomials)} from a ciphertext and a seed"
        )
    if vk.links and len(vk.links) != LINKS:
        raise InvalidInput(
            f"the key links {len(vk.links)} polynomials; a contract takes {LINKS}, or none"
        )
    return LINK if vk.links else COMMIT


def format_of_words(key: Sequence[int]) -> ContractFormat:
    """Return the contract for a key's words."""
    return next((form for form in FORMATS if key[0] == form.domain), PLAIN)
