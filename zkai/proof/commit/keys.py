"""Verifying keys, proving keys and proofs of the commitment round: digests, JSON forms, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from zkai.circuit.r1cs import Circuit
from zkai.encoding import word
from zkai.errors import InvalidInput
from zkai.proof.commit.challenges import PROOF_FORMAT, challenge_seed, challenges, folded
from zkai.proof.commit.keyfile import CommitKeyFile
from zkai.proof.jsonform import expect_text
from zkai.proof.keys import VERIFYING_FILE, KeyDocument, Keys, MarkedKey, Proof, points_ic
from zkai.proof.points import G1, G2
from zkai.proof.transcript import known_deltas
from zkai.proof.zkey import IC

FORMAT = "zkai.groth16-commit-vk/1"
SLOTS = (b"zkai.groth16-commit/1 delta1", b"zkai.groth16-commit/1 delta2")
"""The deltas' names in transcripts: a proof of knowledge for one is none for the other."""
MAX_CHALLENGES = 255
PROVING_FILE = "proving.zkck"
_CHALLENGE = r"[a-z][a-z0-9_ ]{0,31}"


@dataclass(frozen=True)
class CommitVerifyingKey(KeyDocument):
    """The public half of a key for one circuit with a commitment round.

    e(A, B) = e(alpha, beta) e(IC_0 + y IC_1 + sum r_j IC_{j+1}, G2) e(D, delta1) e(C, delta2).
    """

    FORMAT: ClassVar[str] = FORMAT
    PROOFS: ClassVar[str] = PROOF_FORMAT
    G2_POINTS: ClassVar[tuple[str, ...]] = ("beta", "delta1", "delta2")
    EXTRA_FIELDS: ClassVar[tuple[str, ...]] = ("challenges",)
    SLOTS: ClassVar[Mapping[str, bytes]] = dict(zip(("delta1", "delta2"), SLOTS, strict=True))

    delta1: G2
    delta2: G2
    challenges: tuple[str, ...]

    def digest_sizes(self) -> bytes:
        """Return the numbers of signals and of challenges as words."""
        return word(self.n_public) + word(len(self.challenges))

    def check(self) -> None:
        """Return None if the key is well formed: points, sizes, deltas that nobody knows to relate.

        Raises InvalidInput naming what is wrong.
        """
        super().check()
        names = self.challenges
        if not 1 <= len(names) <= MAX_CHALLENGES or names[0] != "fold":
            raise InvalidInput("verifying key: challenges: expected 1 to 255, `fold` the first")
        if len(set(names)) != len(names):
            raise InvalidInput("verifying key: challenges: a name appears twice")
        if len(self.ic) != len(names) + 2:
            raise InvalidInput("verifying key: `challenges` and `ic` disagree on their number")
        if fault := known_deltas((self.delta1, self.delta2)):
            raise InvalidInput(f"verifying key: it ends {fault}")

    def public_wires(self, values: list[int], d: G1) -> list[int]:
        """Return y and the challenges that the public values and the commitment D give.

        The values and D's coordinates must have been checked: canonical, D not infinity.
        """
        found = challenges(challenge_seed(self.digest, values, d), len(self.challenges))
        return [folded(values, found[0]), *found]

    def extra_json(self) -> dict[str, Any]:
        """Return the challenges' names."""
        return {"challenges": list(self.challenges)}

    @classmethod
    def extra_from_json(cls, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Parse the challenges' names. Raises InvalidInput naming the field."""
        names = value["challenges"]
        if not isinstance(names, list) or len(names) > MAX_CHALLENGES:
            raise InvalidInput(f"{where}.challenges: expected a list of names")
        return {
            "challenges": tuple(
                expect_text(name, f"{where}.challenges[{i}]", _CHALLENGE)
                for i, name in enumerate(names)
            )
        }


@dataclass(frozen=True)
class CommitProof(Proof):
    """A proof with its commitment D and the public values; well formed, not yet verified."""

    FORMAT: ClassVar[str] = PROOF_FORMAT
    G1_POINTS: ClassVar[tuple[str, ...]] = ("a", "c", "d")

    d: G1


class CommitProvingKey(MarkedKey):
    """A mapped .zkck with the statement and circuit that its mark names."""

    NAME: ClassVar[str] = PROVING_FILE

    def __init__(self, path: Path | str) -> None:
        """Map the key. Raises InvalidInput if the file is malformed or has no mark."""
        self.file = CommitKeyFile(path)
        super().__init__(self.file)

    def verifying_key(self, circuit: Circuit) -> CommitVerifyingKey:
        """Return the key's public half, as `MarkedKey` says."""
        key = CommitVerifyingKey(
            self.statement,
            self.circuit_digest,
            self.key_status,
            circuit.public,
            challenges=circuit.challenges,
            **self.verifying_points(),
        )
        key.check()
        return key

    def verifying_points(self) -> dict[str, Any]:
        """Return the points that a verifying key holds, by their names there."""
        header = self.file.header
        return {
            "alpha": header.alpha_g1,
            "beta": header.beta_g2,
            "ic": points_ic(self.file.file, IC),
            "delta1": header.delta1_g2,
            "delta2": header.delta2_g2,
        }


@dataclass(frozen=True)
class CommitKeys(Keys):
    """Both halves of a key with a commitment round."""

    proving: CommitProvingKey
    verifying: CommitVerifyingKey

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open both files, as `Keys` says."""
        return cls(
            CommitProvingKey(folder / CommitProvingKey.NAME),
            CommitVerifyingKey.from_path(folder / VERIFYING_FILE),
        )
