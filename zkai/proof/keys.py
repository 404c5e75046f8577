"""Verifying keys and proofs: digests, JSON forms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self, TypeVar

from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import hex32, keccak256, parse_hex32, word
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import (
    Document,
    expect_fields,
    expect_text,
    g1_from_json,
    g1_to_json,
    g2_from_json,
    g2_to_json,
    ic_from_json,
    public_from_json,
    values_from_json,
    values_to_json,
)
from zkai.proof.points import G1, G2, g1_uncompressed, g2_uncompressed
from zkai.proof.ratio import check_g1, check_g2
from zkai.proof.record import CeremonyRecord, verify_chain_g2
from zkai.proof.transcript import ONE_DELTA

FORMAT = "zkai.groth16-vk/1"
PROOF_FORMAT = "zkai.groth16/1"
DEVELOPMENT, CEREMONY = "development", "ceremony"
STATUSES = f"{DEVELOPMENT}|{CEREMONY}"
MAX_VK_BYTES = 64 << 20
MAX_PROOF_BYTES = 16 << 20
_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public",
    "alpha", "ic", "ceremony",
)  # fmt: skip


class Named(Protocol):
    """What proofs and keys of every format say of themselves."""

    FORMAT: ClassVar[str]

    @property
    def statement(self) -> str:
        """The statement's name and version."""

    @property
    def circuit_digest(self) -> bytes:
        """The digest of the circuit."""

    @property
    def key_status(self) -> str:
        """Whether the key is a ceremony's."""


def names_to_json(document: Named, vk_digest: bytes) -> dict[str, Any]:
    """Return the first fields of a proof's or key's JSON: format, statement, digests, status."""
    return {
        "format": document.FORMAT,
        "statement": document.statement,
        "circuit_digest": hex32(document.circuit_digest),
        "vk_digest": hex32(vk_digest),
        "key_status": document.key_status,
    }


def names_from_json(value: Mapping[str, Any], where: str) -> tuple[str, bytes, bytes, str]:
    """Parse `names_to_json`'s fields but for the format. Raises InvalidInput naming the field."""
    return (
        expect_text(value["statement"], f"{where}.statement"),
        parse_hex32(value["circuit_digest"], f"{where}.circuit_digest"),
        parse_hex32(value["vk_digest"], f"{where}.vk_digest"),
        expect_text(value["key_status"], f"{where}.key_status", STATUSES),
    )


@dataclass(frozen=True)
class KeyDocument(Document):
    """What the verifying keys of both proof formats hold: names, shared points, the ceremony."""

    MAX_BYTES: ClassVar[int] = MAX_VK_BYTES
    WHAT: ClassVar[str] = "verifying key"
    PROOFS: ClassVar[str]
    """The format of the proofs, which starts every digest."""
    G2_POINTS: ClassVar[tuple[str, ...]]
    """The fields that hold points of G2, in the digest's order."""
    SLOTS: ClassVar[Mapping[str, bytes]]
    """The fields of G2 that a ceremony makes, and their names in its transcript."""

    statement: str
    circuit_digest: bytes
    key_status: str
    public: tuple[PublicSignal, ...]
    alpha: G1
    beta: G2
    ic: tuple[G1, ...]
    ceremony: CeremonyRecord | None = field(default=None, kw_only=True)

    @property
    def n_public(self) -> int:
        """The number of public values."""
        return sum(signal.size for signal in self.public)

    def digest_tag(self) -> bytes:
        """Return the hash of the format's name that starts the digest."""
        return keccak256(self.PROOFS.encode())

    def digest_sizes(self) -> bytes:
        """Return the words of the digest that say how long its variable parts are."""
        return word(self.n_public)

    def digest_g2(self) -> tuple[str, ...]:
        """Return the fields of G2 that the digest covers, in its order."""
        return self.G2_POINTS

    @cached_property
    def digest(self) -> bytes:
        """keccak256 over format, status, circuit and every point; contracts and proofs name it."""
        return keccak256(
            self.digest_tag()
            + word(int(self.key_status == CEREMONY))
            + self.circuit_digest
            + self.digest_sizes()
            + g1_uncompressed(self.alpha)
            + b"".join(g2_uncompressed(getattr(self, name)) for name in self.digest_g2())
            + b"".join(g1_uncompressed(point) for point in self.ic)
        )

    def check(self) -> None:
        """Return None if the key is well formed: sizes, curve, subgroup, no point at infinity.

        Raises InvalidInput naming the point.
        """
        if self.key_status not in (DEVELOPMENT, CEREMONY):
            raise InvalidInput(f"verifying key: key_status {self.key_status!r} is unknown")
        check_g1((self.alpha,), "verifying key: alpha")
        names = ", ".join(self.G2_POINTS)
        check_g2([getattr(self, name) for name in self.G2_POINTS], f"verifying key: {names}")
        check_g1(self.ic, "verifying key: ic")

    def check_production(self) -> None:
        """Return None if the key records a ceremony whose chain of contributions verifies.

        This shows that every delta was made by the recorded contributions, and no more: who they
        were, that the key is this circuit's and who made tau, alpha and beta is for the ceremony's
        `verify`, which needs circuit and .ptau. Whoever accepts proofs must know the key's digest
        from there: see `check_trusted`.

        Raises VerificationError for development keys and for a chain that does not hold.
        """
        if self.key_status != CEREMONY:
            raise VerificationError(
                "this is a development key: whoever made it can forge proofs; "
                "run a ceremony (zkai setup --ceremony) and use its key"
            )
        if self.ceremony is None:
            raise VerificationError("the key claims a ceremony but records none")
        if self.ceremony.phase1_contributions < 1:
            raise VerificationError("the ceremony's first phase had no contribution")
        _ = self._chain_holds

    @cached_property
    def _chain_holds(self) -> bool:
        """True; raises VerificationError, again at each use, if the chain does not hold."""
        assert self.ceremony is not None
        deltas = [getattr(self, name) for name in self.SLOTS]
        verify_chain_g2(self.ceremony.transcript, deltas, list(self.SLOTS.values()))
        return True

    def check_trusted(self, digests: Collection[bytes | str]) -> None:
        """Return None if the key's digest is one of `digests`: 32 bytes, or "0x" and 64 digits.

        Raises InvalidInput for what is no digest, VerificationError if the key's is not listed.
        """
        known = [_digest(value, f"trusted digest {i}") for i, value in enumerate(digests)]
        if self.digest not in known:
            raise VerificationError(
                f"the key's digest {hex32(self.digest)} is not one that you trust"
            )

    def extra_json(self) -> dict[str, Any]:
        """Return the fields that only this format has, besides its points."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        return {
            **names_to_json(self, self.digest),
            "public": [{"name": s.name, "size": s.size} for s in self.public],
            **self.extra_json(),
            "alpha": g1_to_json(self.alpha),
            **{name: g2_to_json(getattr(self, name)) for name in self.G2_POINTS},
            "ic": [g1_to_json(point) for point in self.ic],
            "ceremony": None if self.ceremony is None else self.ceremony.to_json(),
        }

    @classmethod
    def extra_from_json(cls, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Parse what `extra_json` returns. Raises InvalidInput naming the field."""
        return {}

    EXTRA_FIELDS: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def kinds(cls) -> tuple[type[Document], ...]:
        """Return the class itself, or for `KeyDocument` those of every format."""
        if cls is not KeyDocument:
            return (cls,)
        from zkai.proof.commit.keys import CommitVerifyingKey

        return VerifyingKey, CommitVerifyingKey

    @classmethod
    def extra_fields(cls, value: Any) -> tuple[str, ...]:
        """Return the names of the fields that `extra_json` makes, for this document."""
        return cls.EXTRA_FIELDS

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form and check every point.

        Raises InvalidInput, naming the field, for unknown formats and statuses, malformed or
        non-canonical values, points off the curve, a vk_digest that is not the key's, a ceremony
        that is claimed without a record or recorded without being claimed.
        """
        expect_fields(value, (*_FIELDS, *cls.extra_fields(value), *cls.G2_POINTS), where)
        key = cls(
            expect_text(value["statement"], f"{where}.statement"),
            parse_hex32(value["circuit_digest"], f"{where}.circuit_digest"),
            expect_text(value["key_status"], f"{where}.key_status", STATUSES),
            public_from_json(value["public"], f"{where}.public"),
            g1_from_json(value["alpha"], f"{where}.alpha"),
            ic=ic_from_json(value["ic"], f"{where}.ic"),
            ceremony=None
            if value["ceremony"] is None
            else CeremonyRecord.from_json(value["ceremony"], f"{where}.ceremony"),
            **{name: g2_from_json(value[name], f"{where}.{name}") for name in cls.G2_POINTS},
            **cls.extra_from_json(value, where),
        )
        key.check()
        if parse_hex32(value["vk_digest"], f"{where}.vk_digest") != key.digest:
            raise InvalidInput(f"{where}.vk_digest: not the digest of this key")
        if key.key_status == CEREMONY and key.ceremony is None:
            raise InvalidInput(f"{where}.ceremony: the key claims a ceremony but records none")
        if key.key_status == DEVELOPMENT and key.ceremony is not None:
            raise InvalidInput(f"{where}.ceremony: a development key has no record of a ceremony")
        return key


def _digest(value: object, where: str) -> bytes:
    """Return a digest given as 32 bytes or as text. Raises InvalidInput otherwise."""
    return value if isinstance(value, bytes) and len(value) == 32 else parse_hex32(value, where)


@dataclass(frozen=True)
class VerifyingKey(KeyDocument):
    """The public half of a key for one circuit.

    e(A, B) = e(alpha, beta) e(IC_0 + sum x_i IC_i, gamma) e(C, delta) (Groth16, section 3.2).
    """

    FORMAT: ClassVar[str] = FORMAT
    PROOFS: ClassVar[str] = PROOF_FORMAT
    G2_POINTS: ClassVar[tuple[str, ...]] = ("beta", "gamma", "delta")
    SLOTS: ClassVar[Mapping[str, bytes]] = {"delta": ONE_DELTA[0]}

    gamma: G2
    delta: G2

    @property
    def n_public(self) -> int:
        """The number of public values."""
        return len(self.ic) - 1

    def check(self) -> None:
        """Return None if the key is well formed: sizes, curve, subgroup, no point at infinity.

        gamma and delta must differ, up to sign: else a C shifted by IC's points, or by their
        inverses, would prove any public values.

        Raises InvalidInput naming the point.
        """
        super().check()
        if super().n_public != self.n_public:
            raise InvalidInput("verifying key: `public` and `ic` disagree on the number of signals")
        assert self.gamma is not None
        assert self.delta is not None
        if self.gamma[0] == self.delta[0]:
            raise InvalidInput(
                "verifying key: gamma and delta are the same point up to sign, so anyone can forge"
                " proofs"
            )


_K = TypeVar("_K", bound=KeyDocument)


def with_ceremony(key: _K, record: CeremonyRecord) -> _K:
    """Return the key marked as a ceremony's. Call only after the whole transcript verified."""
    return replace(key, key_status=CEREMONY, ceremony=record)


@dataclass(frozen=True)
class Proof(Document):
    """A proof with the public values it is about; well formed, not yet verified.

    `public` maps each signal's name to its values in order.
    """

    FORMAT: ClassVar[str] = PROOF_FORMAT
    MAX_BYTES: ClassVar[int] = MAX_PROOF_BYTES
    WHAT: ClassVar[str] = "proof"
    G1_POINTS: ClassVar[tuple[str, ...]] = ("a", "c")

    statement: str
    circuit_digest: bytes
    vk_digest: bytes
    key_status: str
    public: Mapping[str, tuple[int, ...]]
    a: G1
    b: G2
    c: G1

    def public_values(self, key: KeyDocument) -> list[int]:
        """Return the public values in the key's order.

        Raises VerificationError if names or sizes are not those of the key.
        """
        if set(self.public) != {signal.name for signal in key.public}:
            raise VerificationError("the proof's public signals are not those of the key")
        values: list[int] = []
        for signal in key.public:
            listed = self.public[signal.name]
            if len(listed) != signal.size:
                raise VerificationError(
                    f"public signal {signal.name} has {len(listed)} values, expected {signal.size}"
                )
            values.extend(listed)
        return values

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON values; a signal of one value is text, else a list."""
        points: dict[str, Any] = {n: g1_to_json(getattr(self, n)) for n in self.G1_POINTS}
        points["b"] = g2_to_json(self.b)
        return {
            **names_to_json(self, self.vk_digest),
            "public": values_to_json(self.public),
            "proof": dict(sorted(points.items())),
            **self.extra_json(),
        }

    def extra_json(self) -> dict[str, Any]:
        """Return the fields that only this format has, besides its points."""
        return {}

    @classmethod
    def extra_from_json(cls, value: dict[str, Any], where: str) -> dict[str, Any]:
        """Parse what `extra_json` returns. Raises InvalidInput naming the field."""
        return {}

    @classmethod
    def extra_fields(cls, value: Any) -> tuple[str, ...]:
        """Return the names of the fields that `extra_json` makes, for this document."""
        return ()

    @classmethod
    def kinds(cls) -> tuple[type[Document], ...]:
        """Return the class itself, or for `Proof` those of every format."""
        if cls is not Proof:
            return (cls,)
        from zkai.proof.commit.keys import CommitProof

        return Proof, CommitProof

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse `to_json`'s form. Points and ranges are for `verify` to check.

        Raises InvalidInput, naming the field, for unknown formats and non-canonical values.
        """
        expect_fields(value, (*_PROOF_FIELDS, *cls.extra_fields(value)), where)
        points = value["proof"]
        expect_fields(points, ("b", *cls.G1_POINTS), f"{where}.proof")
        statement, circuit_digest, vk_digest, key_status = names_from_json(value, where)
        return cls(
            statement,
            circuit_digest,
            vk_digest,
            key_status,
            values_from_json(value["public"], f"{where}.public"),
            b=g2_from_json(points["b"], f"{where}.proof.b"),
            **cls.extra_from_json(value, where),
            **{name: g1_from_json(points[name], f"{where}.proof.{name}") for name in cls.G1_POINTS},
        )


_PROOF_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public", "proof",
)  # fmt: skip
