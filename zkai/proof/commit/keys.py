"""Verifying keys, proving keys and proofs of the commitment round: digests, JSON forms, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from zkai.circuit.polynomial import MAX_COEFFICIENTS, MAX_POLYNOMIALS, PublicPolynomial, values_at
from zkai.circuit.r1cs import Circuit
from zkai.encoding import Limbs, keccak256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit.challenges import (
    LINKED_FORMAT,
    POLYNOMIALS_TAG,
    PROOF_FORMAT,
    challenge_seed,
    challenges,
    folded,
)
from zkai.proof.commit.keyfile import POWERS, CommitKeyFile
from zkai.proof.commit.link import MAX_LINKS, Link, commit
from zkai.proof.jsonform import expect_fields, expect_text, g2_from_json, g2_to_json
from zkai.proof.keys import KeyDocument, Proof
from zkai.proof.points import G1, G2
from zkai.proof.proving_keys import VERIFYING_FILE, Keys, MarkedKey, points_ic
from zkai.proof.ratio import check_g2
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

    e(A, B) = e(alpha, beta) e(IC_0 + y IC_1 + sum r_j IC_{j+1}, G2) e(D, delta1) e(C, delta2);
    with `links`, the names of the last signals, the evaluations' IC follow, and the opening's check
    is joined to it by a hashed scalar (docs/decisions/0008-kzg-link.md), over tau in G2. Last come
    the IC of public polynomials' values at r_1 (docs/decisions/0016-encrypted-update.md).
    """

    FORMAT: ClassVar[str] = FORMAT
    PROOFS: ClassVar[str] = PROOF_FORMAT
    G2_POINTS: ClassVar[tuple[str, ...]] = ("beta", "delta1", "delta2")
    EXTRA_FIELDS: ClassVar[tuple[str, ...]] = ("challenges",)
    SLOTS: ClassVar[Mapping[str, bytes]] = dict(zip(("delta1", "delta2"), SLOTS, strict=True))

    delta1: G2
    delta2: G2
    challenges: tuple[str, ...]
    links: tuple[str, ...] = ()
    tau: G2 = None
    polynomials: tuple[PublicPolynomial, ...] = ()

    def digest_tag(self) -> bytes:
        """Return what starts the digest: other tags where polynomials are linked, or public."""
        if self.polynomials:
            return keccak256(POLYNOMIALS_TAG.encode())
        return keccak256(LINKED_FORMAT.encode()) if self.links else super().digest_tag()

    def digest_sizes(self) -> bytes:
        """Return the numbers of signals, of challenges and, if there are, of links as words.

        With public polynomials all three and their number, then each one's name, hashed, and size:
        with two names exchanged a verifier would compute each from what the other is made from.
        """
        if self.polynomials:
            counts = (self.n_public, len(self.challenges), len(self.links), len(self.polynomials))
            named = (keccak256(p.name.encode()) + word(p.size) for p in self.polynomials)
            return b"".join([*(word(n) for n in counts), *named])
        linked = word(len(self.links)) if self.links else b""
        return word(self.n_public) + word(len(self.challenges)) + linked

    def digest_g2(self) -> tuple[str, ...]:
        """Return the fields of G2 that the digest covers: tau too where polynomials are linked."""
        return (*self.G2_POINTS, "tau") if self.links else self.G2_POINTS

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
        if len(self.ic) != len(names) + len(self.links) + len(self.polynomials) + 2:
            raise InvalidInput("verifying key: `challenges` and `ic` disagree on their number")
        if fault := known_deltas((self.delta1, self.delta2)):
            raise InvalidInput(f"verifying key: it ends {fault}")
        self._check_link()
        _check_polynomials(self.polynomials)

    def _check_link(self) -> None:
        if not self.links:
            if self.tau is not None:
                raise InvalidInput("verifying key: it has tau and links nothing")
            return
        names = [name for signal in self.public for name in [signal.name] * signal.size]
        if len(self.links) > MAX_LINKS or list(self.links) != names[-len(self.links) :]:
            raise InvalidInput("verifying key: links: expected the names of the last signals")
        check_g2((self.tau,), "verifying key: tau")
        if known_deltas((self.delta1, self.delta2, self.tau)):
            raise InvalidInput("verifying key: its tau is known, or a delta")

    def seed(self, values: list[int], d: G1, commitments: Sequence[G1] = ()) -> bytes:
        """Return the seed of the challenges for the public values, D and the linked commitments.

        Values and coordinates must have been checked: canonical, no point infinity.
        """
        return challenge_seed(self.digest, values, d, commitments)

    def public_wires(self, values: list[int], d: G1, commitments: Sequence[G1] = ()) -> list[int]:
        """Return y and the challenges that the public values and the commitments give."""
        found = challenges(self.seed(values, d, commitments), len(self.challenges))
        return [folded(values, found[0]), *found]

    def polynomial_values(self, given: Mapping[str, Any] | None, fold: int) -> list[int]:
        """Return the public polynomials' values at fold, from their coefficients by name.

        Raises VerificationError where a key has some and none are given, InvalidInput for one that
        is missing, unknown or of another size.
        """
        if self.polynomials and given is None:
            names = ", ".join(p.name for p in self.polynomials)
            raise VerificationError(
                f"a proof of {self.statement} is about public polynomials ({names}) that whoever"
                " verifies it computes from a ciphertext and a seed: use"
                " zkai.verify_encrypted_update, or zkai.encrypted.verify_encrypted_query"
            )
        return values_at(self.polynomials, given or {}, fold)

    def extra_json(self) -> dict[str, Any]:
        """Return the challenges' names, the links' with tau, and the public polynomials."""
        linked = {"links": list(self.links), "tau": g2_to_json(self.tau)} if self.links else {}
        public = [{"name": p.name, "size": p.size} for p in self.polynomials]
        polynomials = {"polynomials": public} if public else {}
        return {"challenges": list(self.challenges)} | linked | polynomials

    @classmethod
    def extra_from_json(cls, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Parse what `extra_json` returns. Raises InvalidInput naming the field."""
        result: dict[str, Any] = {
            "challenges": _names(value["challenges"], f"{where}.challenges", MAX_CHALLENGES)
        }
        if "links" in value:
            result["links"] = _names(value["links"], f"{where}.links", MAX_LINKS)
            result["tau"] = g2_from_json(value["tau"], f"{where}.tau")
            if not result["links"]:
                raise InvalidInput(f"{where}.links: expected names, or no such field")
        if "polynomials" in value:
            result["polynomials"] = _polynomials(value["polynomials"], f"{where}.polynomials")
        return result

    @classmethod
    def extra_fields(cls, value: Any) -> tuple[str, ...]:
        """Return the fields of this format: a linked key has two more, public polynomials one."""
        found = cls.EXTRA_FIELDS
        if not isinstance(value, dict):
            return found
        found += ("links", "tau") if "links" in value else ()
        return (*found, "polynomials") if "polynomials" in value else found


def _polynomials(value: Any, where: str) -> tuple[PublicPolynomial, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POLYNOMIALS:
        raise InvalidInput(f"{where}: expected 1 to {MAX_POLYNOMIALS} polynomials")
    found = []
    for i, item in enumerate(value):
        expect_fields(item, ("name", "size"), f"{where}[{i}]")
        if type(item["size"]) is not int:
            raise InvalidInput(f"{where}[{i}].size: expected an integer")
        name = expect_text(item["name"], f"{where}[{i}].name", _CHALLENGE)
        found.append(PublicPolynomial(name, item["size"]))
    return tuple(found)


def _check_polynomials(polynomials: Sequence[PublicPolynomial]) -> None:
    if len(polynomials) > MAX_POLYNOMIALS or len({p.name for p in polynomials}) != len(polynomials):
        raise InvalidInput("verifying key: polynomials: too many, or a name appears twice")
    if any(not 1 <= p.size <= MAX_COEFFICIENTS for p in polynomials):
        raise InvalidInput(f"verifying key: polynomials: a size is not in [1, {MAX_COEFFICIENTS}]")


def _names(value: Any, where: str, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise InvalidInput(f"{where}: expected a list of names")
    return tuple(expect_text(n, f"{where}[{i}]", _CHALLENGE) for i, n in enumerate(value))


@dataclass(frozen=True)
class CommitProof(Proof):
    """A proof with its commitment D and the public values; well formed, not yet verified."""

    FORMAT: ClassVar[str] = PROOF_FORMAT
    G1_POINTS: ClassVar[tuple[str, ...]] = ("a", "c", "d")

    d: G1
    link: Link | None = None

    def extra_json(self) -> dict[str, Any]:
        """Return the link, if there is one."""
        return {} if self.link is None else {"link": self.link.to_json()}

    @classmethod
    def extra_from_json(cls, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Parse what `extra_json` returns. Raises InvalidInput naming the field."""
        return {"link": Link.from_json(value["link"], f"{where}.link")} if "link" in value else {}

    @classmethod
    def extra_fields(cls, value: Any) -> tuple[str, ...]:
        """Return the fields of this format besides every proof's."""
        return ("link",) if isinstance(value, dict) and "link" in value else ()


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
            links=tuple(link.signal for link in circuit.links),
            polynomials=circuit.polynomials,
            **self.verifying_points(),
        )
        key.check()
        return key

    def commit(self, coefficients: Limbs) -> G1:
        """Return the commitment to a polynomial, the constant coefficient first.

        Raises InvalidInput if this key links no polynomials, or none as long.
        """
        if not self.file.header.sizes.n_links:
            raise InvalidInput(f"{self.path}: this key links no states: it has no powers of tau")
        return commit(self.file.g1(POWERS), coefficients)

    def verifying_points(self) -> dict[str, Any]:
        """Return the points that a verifying key holds, by their names there."""
        header = self.file.header
        return {
            "alpha": header.alpha_g1,
            "beta": header.beta_g2,
            "ic": points_ic(self.file.file, IC),
            "delta1": header.delta1_g2,
            "delta2": header.delta2_g2,
            "tau": header.tau_g2,
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
