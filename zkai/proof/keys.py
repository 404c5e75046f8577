"""Verifying keys, proving keys and proofs: digests, JSON forms, files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import (
    as_path,
    hex32,
    keccak256,
    parse_decimal,
    parse_hex32,
    word,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import (
    WORD,
    expect_fields,
    expect_text,
    g1_from_json,
    g1_to_json,
    g2_from_json,
    g2_to_json,
    read_document,
    write_document,
)
from zkai.proof.points import G1, G2, g1_from_bytes, g1_uncompressed, g2_uncompressed
from zkai.proof.ratio import check_g1, check_g2
from zkai.proof.record import CeremonyRecord, verify_chain_g2
from zkai.proof.zkey import IC, Zkey

FORMAT = "zkai.groth16-vk/1"
PROOF_FORMAT = "zkai.groth16/1"
DEVELOPMENT, CEREMONY = "development", "ceremony"
_STATUSES = f"{DEVELOPMENT}|{CEREMONY}"
MAX_VK_BYTES = 64 << 20
MAX_PROOF_BYTES = 16 << 20
MAX_PUBLIC = 1 << 20
_DIGEST_TAG = keccak256(PROOF_FORMAT.encode())
_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public",
    "alpha", "beta", "gamma", "delta", "ic", "ceremony",
)  # fmt: skip
_NAME = r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}"


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a key for one circuit.

    e(A, B) = e(alpha, beta) e(IC_0 + sum x_i IC_i, gamma) e(C, delta) (Groth16, section 3.2).
    """

    statement: str
    circuit_digest: bytes
    key_status: str
    public: tuple[PublicSignal, ...]
    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    ic: tuple[G1, ...]
    ceremony: CeremonyRecord | None = None

    @property
    def n_public(self) -> int:
        return len(self.ic) - 1

    @cached_property
    def digest(self) -> bytes:
        """keccak256 over format, status, circuit and every point; contracts and proofs name it."""
        return keccak256(
            _DIGEST_TAG
            + word(int(self.key_status == CEREMONY))
            + self.circuit_digest
            + word(self.n_public)
            + g1_uncompressed(self.alpha)
            + g2_uncompressed(self.beta)
            + g2_uncompressed(self.gamma)
            + g2_uncompressed(self.delta)
            + b"".join(g1_uncompressed(point) for point in self.ic)
        )

    def check(self) -> None:
        """Return None if the key is well formed: sizes, curve, subgroup, no point at infinity.

        gamma and delta must differ: a C shifted by IC's points would prove any public values.

        Raises InvalidInput naming the point.
        """
        if self.key_status not in (DEVELOPMENT, CEREMONY):
            raise InvalidInput(f"verifying key: key_status {self.key_status!r} is unknown")
        if sum(signal.size for signal in self.public) != self.n_public:
            raise InvalidInput("verifying key: `public` and `ic` disagree on the number of signals")
        check_g1((self.alpha,), "verifying key: alpha")
        check_g2((self.beta, self.gamma, self.delta), "verifying key: beta, gamma, delta")
        check_g1(self.ic, "verifying key: ic")
        if self.gamma == self.delta:
            raise InvalidInput(
                "verifying key: gamma and delta are the same point, so anyone can forge proofs"
            )

    def check_production(self) -> None:
        """Return None if the key records a ceremony whose chain of contributions verifies.

        This shows that delta was made by the recorded contributions, and no more: who they were,
        that the key is this circuit's and who made tau, alpha and beta is for `ceremony.verify`,
        which needs circuit and .ptau. Whoever accepts proofs must know the key's digest from
        there: see `check_trusted`.

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
        verify_chain_g2(self.ceremony.transcript, self.delta)
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

    def to_json(self) -> dict[str, Any]:
        """Return the key as JSON values."""
        return {
            "format": FORMAT,
            "statement": self.statement,
            "circuit_digest": hex32(self.circuit_digest),
            "vk_digest": hex32(self.digest),
            "key_status": self.key_status,
            "public": [{"name": s.name, "size": s.size} for s in self.public],
            "alpha": g1_to_json(self.alpha),
            "beta": g2_to_json(self.beta),
            "gamma": g2_to_json(self.gamma),
            "delta": g2_to_json(self.delta),
            "ic": [g1_to_json(point) for point in self.ic],
            "ceremony": None if self.ceremony is None else self.ceremony.to_json(),
        }

    def write(self, path: Path | str) -> None:
        """Write the key as JSON, atomically. Raises InvalidInput if it cannot be written."""
        write_document(path, self.to_json())

    @staticmethod
    def from_path(path: Path | str) -> VerifyingKey:
        """Read and check a verifying key. Raises InvalidInput naming file and field."""
        return VerifyingKey.from_json(read_document(path, MAX_VK_BYTES), str(path))

    @staticmethod
    def from_json(value: Any, where: str = "verifying key") -> VerifyingKey:
        """Parse `to_json`'s form and check every point.

        Raises InvalidInput, naming the field, for unknown formats and statuses, malformed or
        non-canonical values, points off the curve, a vk_digest that is not the key's, a ceremony
        that is claimed without a record or recorded without being claimed.
        """
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: format {value.get('format')!r}, expected {FORMAT!r}")
        expect_fields(value, _FIELDS, where)
        key = VerifyingKey(
            expect_text(value["statement"], f"{where}.statement"),
            parse_hex32(value["circuit_digest"], f"{where}.circuit_digest"),
            expect_text(value["key_status"], f"{where}.key_status", _STATUSES),
            _public_from_json(value["public"], f"{where}.public"),
            g1_from_json(value["alpha"], f"{where}.alpha"),
            g2_from_json(value["beta"], f"{where}.beta"),
            g2_from_json(value["gamma"], f"{where}.gamma"),
            g2_from_json(value["delta"], f"{where}.delta"),
            _ic_from_json(value["ic"], f"{where}.ic"),
            None
            if value["ceremony"] is None
            else CeremonyRecord.from_json(value["ceremony"], f"{where}.ceremony"),
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


def _public_from_json(value: Any, where: str) -> tuple[PublicSignal, ...]:
    if not isinstance(value, list) or len(value) > MAX_PUBLIC:
        raise InvalidInput(f"{where}: expected a list of named signals")
    signals = []
    for index, item in enumerate(value):
        expect_fields(item, ("name", "size"), f"{where}[{index}]")
        size = item["size"]
        if type(size) is not int or not 1 <= size <= MAX_PUBLIC:
            raise InvalidInput(f"{where}[{index}].size: expected an integer in 1..{MAX_PUBLIC}")
        signals.append(
            PublicSignal(expect_text(item["name"], f"{where}[{index}].name", _NAME), size)
        )
    if len({signal.name for signal in signals}) != len(signals):
        raise InvalidInput(f"{where}: a name appears twice")
    return tuple(signals)


def _ic_from_json(value: Any, where: str) -> tuple[G1, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PUBLIC + 1:
        raise InvalidInput(f"{where}: expected a list of points")
    return tuple(g1_from_json(item, f"{where}[{i}]") for i, item in enumerate(value))


class ProvingKey:
    """A mapped .zkey with the statement and circuit that its mark names."""

    def __init__(self, path: Path | str) -> None:
        """Map the key. Raises InvalidInput if the file is malformed or has no mark of zkai."""
        self.zkey = Zkey(path)
        self.path = self.zkey.path
        mark = self.zkey.mark()
        if mark is None:
            raise InvalidInput(
                f"{self.path}: names no circuit; bring a foreign .zkey in with `import_zkey`"
            )
        expect_fields(mark, ("format", "statement", "circuit_digest", "key_status"), str(self.path))
        self.statement = expect_text(mark["statement"], f"{self.path}: statement")
        self.circuit_digest = parse_hex32(mark["circuit_digest"], f"{self.path}: circuit_digest")
        self.key_status = expect_text(mark["key_status"], f"{self.path}: key_status", _STATUSES)

    def verifying_key(self, public: Sequence[PublicSignal]) -> VerifyingKey:
        """Return the key's public half, without the record of its ceremony.

        Raises InvalidInput if its points are not valid.
        """
        key = VerifyingKey(
            self.statement,
            self.circuit_digest,
            self.key_status,
            tuple(public),
            *verifying_points(self.zkey),
        )
        key.check()
        return key


def key_mark(statement: str, circuit_digest: bytes, key_status: str) -> dict[str, Any]:
    """Return the mark that a .zkey of ours carries. It informs; it proves nothing."""
    return {
        "statement": expect_text(statement, "statement"),
        "circuit_digest": hex32(circuit_digest),
        "key_status": key_status,
    }


@dataclass(frozen=True)
class Keys:
    """Both halves of a key: `proving.zkey` and `verifying.json` of one folder."""

    proving: ProvingKey
    verifying: VerifyingKey

    @staticmethod
    def from_path(folder: Path | str) -> Keys:
        """Open a folder of keys.

        Raises InvalidInput if a file is missing or malformed, or if the two do not belong together.
        """
        folder = as_path(folder)
        keys = Keys(
            ProvingKey(folder / PROVING_FILE),
            VerifyingKey.from_path(folder / VERIFYING_FILE),
        )
        check_pair(keys.proving.zkey, keys.verifying, str(folder))
        return keys


PROVING_FILE = "proving.zkey"
VERIFYING_FILE = "verifying.json"


def check_pair(zkey: Zkey, verifying: VerifyingKey, where: str) -> None:
    """Return None if a .zkey and a verifying key share their points. Raises InvalidInput if not."""
    if verifying_points(zkey) != (
        verifying.alpha, verifying.beta, verifying.gamma, verifying.delta, verifying.ic
    ):  # fmt: skip
        raise InvalidInput(f"{where}: {PROVING_FILE} and {VERIFYING_FILE} are of different keys")


def verifying_points(zkey: Zkey) -> tuple[G1, G2, G2, G2, tuple[G1, ...]]:
    """Return alpha, beta, gamma, delta and IC of a .zkey."""
    data = bytes(zkey.file.view(IC))
    ic = tuple(
        g1_from_bytes(data[i : i + 64], zkey.file.where(IC)) for i in range(0, len(data), 64)
    )
    header = zkey.header
    return header.alpha1, header.beta2, header.gamma2, header.delta2, ic


def with_ceremony(key: VerifyingKey, record: CeremonyRecord) -> VerifyingKey:
    """Return the key marked as a ceremony's. Call only after the whole transcript verified."""
    return replace(key, key_status=CEREMONY, ceremony=record)


@dataclass(frozen=True)
class Proof:
    """A proof with the public values it is about; well formed, not yet verified.

    `public` maps each signal's name to its values in order.
    """

    statement: str
    circuit_digest: bytes
    vk_digest: bytes
    key_status: str
    public: Mapping[str, tuple[int, ...]]
    a: G1
    b: G2
    c: G1

    def public_values(self, key: VerifyingKey) -> list[int]:
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
        return {
            "format": PROOF_FORMAT,
            "statement": self.statement,
            "circuit_digest": hex32(self.circuit_digest),
            "vk_digest": hex32(self.vk_digest),
            "key_status": self.key_status,
            "public": {
                name: str(values[0]) if len(values) == 1 else [str(v) for v in values]
                for name, values in self.public.items()
            },
            "proof": {"a": g1_to_json(self.a), "b": g2_to_json(self.b), "c": g1_to_json(self.c)},
        }

    def write(self, path: Path | str) -> None:
        """Write the proof as JSON, atomically. Raises InvalidInput if it cannot be written."""
        write_document(path, self.to_json())

    @staticmethod
    def from_path(path: Path | str) -> Proof:
        """Read a proof. Raises InvalidInput naming file and field."""
        return Proof.from_json(read_document(path, MAX_PROOF_BYTES), str(path))

    @staticmethod
    def from_json(value: Any, where: str = "proof") -> Proof:
        """Parse `to_json`'s form. Points and ranges are for `verify` to check.

        Raises InvalidInput, naming the field, for unknown formats and non-canonical values.
        """
        if isinstance(value, dict) and value.get("format") != PROOF_FORMAT:
            found = value.get("format")
            raise InvalidInput(f"{where}: format {found!r}, expected {PROOF_FORMAT!r}")
        expect_fields(value, _PROOF_FIELDS, where)
        points = value["proof"]
        expect_fields(points, ("a", "b", "c"), f"{where}.proof")
        return Proof(
            expect_text(value["statement"], f"{where}.statement"),
            parse_hex32(value["circuit_digest"], f"{where}.circuit_digest"),
            parse_hex32(value["vk_digest"], f"{where}.vk_digest"),
            expect_text(value["key_status"], f"{where}.key_status", _STATUSES),
            _values_from_json(value["public"], f"{where}.public"),
            g1_from_json(points["a"], f"{where}.proof.a"),
            g2_from_json(points["b"], f"{where}.proof.b"),
            g1_from_json(points["c"], f"{where}.proof.c"),
        )


_PROOF_FIELDS = (
    "format", "statement", "circuit_digest", "vk_digest", "key_status", "public", "proof",
)  # fmt: skip


def _values_from_json(value: Any, where: str) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected a JSON object")
    result = {}
    for name, listed in value.items():
        expect_text(name, f"{where}: a name", _NAME)
        items = [listed] if isinstance(listed, str) else listed
        if not isinstance(items, list) or (isinstance(listed, list) and len(items) < 2):
            raise InvalidInput(f"{where}.{name}: expected text, or a list of two or more")
        result[name] = tuple(
            parse_decimal(item, f"{where}.{name}[{i}]", WORD) for i, item in enumerate(items)
        )
    return result
