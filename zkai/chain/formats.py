"""The verifier contracts by proof format: their names and how they lay out a key's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zkai.encoding import keccak256
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
    key: type[KeyDocument]
    header: tuple[str, ...]
    """What the words before alpha are."""
    count_name: str
    """What the source calls the header's last word, which tells how many ic points there are."""
    fixed_ic: int
    """How many ic points there are besides."""
    free_words: int
    """How many free words the source needs before the key in memory."""

    @property
    def domain(self) -> int:
        """The key's first word."""
        return int.from_bytes(keccak256(self.key.PROOFS.encode()), "big")

    @property
    def count_at(self) -> int:
        """The index of the word that tells how many ic points there are."""
        return len(self.header) - 1

    @property
    def fixed_words(self) -> int:
        """How many words a key has besides two for each point counted."""
        return len(self.header) + 2 + 4 * len(self.key.G2_POINTS) + 2 * self.fixed_ic

    def word_names(self, key: Sequence[int]) -> list[str]:
        """Return what each word of a key is."""
        names = [*self.header, "alpha.x", "alpha.y"]
        names += [f"{p}.{part}" for p in self.key.G2_POINTS for part in ("x1", "x0", "y1", "y0")]
        points = range(self.fixed_ic + key[self.count_at])
        return names + [f"ic[{i}].{part}" for i in points for part in ("x", "y")]


PLAIN = ContractFormat("Groth16Verifier", "Groth16", VerifyingKey, _HEADER, "n", 1, 2)
COMMIT = ContractFormat(
    "Groth16CommitVerifier",
    "Groth16Commit",
    CommitVerifyingKey,
    (*_HEADER, "challenges"),
    "c",
    2,
    1,
)


def format_of(vk: KeyDocument) -> ContractFormat:
    """Return the contract that verifies proofs under keys like `vk`."""
    return COMMIT if isinstance(vk, CommitVerifyingKey) else PLAIN


def format_of_words(key: Sequence[int]) -> ContractFormat:
    """Return the contract for a key's words."""
    return COMMIT if key[0] == COMMIT.domain else PLAIN
