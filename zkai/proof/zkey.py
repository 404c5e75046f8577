"""iden3's .zkey: a Groth16 proving key, mapped for reading, laid out for writing.

Sections: 1 protocol, 2 header (sizes and the verifying key's fixed points), 3 IC, 4 coefficients of
A and B, 5 A in G1, 6 B in G1, 7 B in G2, 8 L, 9 H, 10 phase-2 contributions, and zkai's own mark.
Points are affine in Montgomery form (R = 2**256), infinity all zeros; a coefficient v is stored as
v * R**2 mod r. H holds [L_{2i+1}(tau) / delta] for the roots of unity of twice the domain's order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from zkai.circuit.binfile import SectionFile, SectionWriter, Words
from zkai.encoding import (
    BASE_MODULUS,
    FIELD_MODULUS,
    Limbs,
    canonical_json,
    from_limbs,
    load_json,
    to_limbs,
)
from zkai.errors import InvalidInput
from zkai.proof.points import G1, G2, g1_from_bytes, g1_to_bytes, g2_from_bytes, g2_to_bytes
from zkai.proof.ratio import check_g1, check_g2

MAGIC, VERSION, GROTH16 = b"zkey", 1, 1
PROTOCOL, HEADER, IC, COEFS, A, B1, B2, L, H, CONTRIBUTIONS = range(1, 11)
MARK = 0x7A6B0001
MAX_MARK_BYTES = 1 << 16
MAX_LOG_DOMAIN = 27
"""H lies on the roots of twice the domain's order, and Fr has roots of order 2**28 at most."""

NAMES = {
    PROTOCOL: "protocol", HEADER: "header", IC: "IC", COEFS: "coefficients", A: "A in G1",
    B1: "B in G1", B2: "B in G2", L: "L", H: "H", CONTRIBUTIONS: "contributions", MARK: "zkai mark",
}  # fmt: skip

_SIZES = struct.Struct("<III")
_FIELD = struct.Struct("<I32s")
FIELDS_BYTES = 2 * _FIELD.size
_HEADER_BYTES = FIELDS_BYTES + _SIZES.size + 3 * 64 + 3 * 128
COEF = np.dtype([("matrix", "<u4"), ("row", "<u4"), ("wire", "<u4"), ("value", "<u8", (4,))])


@dataclass(frozen=True)
class ZkeyHeader:
    """Sizes and fixed points; points are affine integers in standard form."""

    n_wires: int
    n_public: int
    domain_size: int
    alpha1: G1
    beta1: G1
    beta2: G2
    gamma2: G2
    delta1: G1
    delta2: G2

    @property
    def log_domain(self) -> int:
        return self.domain_size.bit_length() - 1

    def to_bytes(self) -> bytes:
        """Return section 2."""
        return b"".join(
            (
                fields_bytes(),
                _SIZES.pack(self.n_wires, self.n_public, self.domain_size),
                g1_to_bytes(self.alpha1),
                g1_to_bytes(self.beta1),
                g2_to_bytes(self.beta2),
                g2_to_bytes(self.gamma2),
                g1_to_bytes(self.delta1),
                g2_to_bytes(self.delta2),
            )
        )

    @staticmethod
    def from_bytes(data: bytes, where: str) -> ZkeyHeader:
        """Parse section 2; the points are canonical but not yet checked against their curves.

        Raises InvalidInput, naming `where`, for other fields, impossible sizes or coordinates.
        """
        check_fields(data, where)
        n_wires, n_public, domain = _SIZES.unpack_from(data, FIELDS_BYTES)
        check_sizes(n_wires, n_public, domain, where)
        points = data[FIELDS_BYTES + _SIZES.size :]
        return ZkeyHeader(
            n_wires,
            n_public,
            domain,
            g1_from_bytes(points[0:64], f"{where}: alpha"),
            g1_from_bytes(points[64:128], f"{where}: beta"),
            g2_from_bytes(points[128:256], f"{where}: beta"),
            g2_from_bytes(points[256:384], f"{where}: gamma"),
            g1_from_bytes(points[384:448], f"{where}: delta"),
            g2_from_bytes(points[448:576], f"{where}: delta"),
        )


def fields_bytes() -> bytes:
    """Return the two moduli that a key file's header starts with."""
    return b"".join(
        _FIELD.pack(32, p.to_bytes(32, "little")) for p in (BASE_MODULUS, FIELD_MODULUS)
    )


def check_fields(data: bytes, where: str) -> None:
    """Return None if a header starts with BN254's moduli. Raises InvalidInput if not."""
    for offset, modulus, name in ((0, BASE_MODULUS, "q"), (_FIELD.size, FIELD_MODULUS, "r")):
        size, value = _FIELD.unpack_from(data, offset)
        if size != 32 or int.from_bytes(value, "little") != modulus:
            raise InvalidInput(f"{where}: {name} is not that of BN254")


def check_sizes(n_wires: int, n_public: int, domain: int, where: str) -> None:
    """Return None if a header's sizes can be those of a circuit. Raises InvalidInput if not."""
    if domain < 1 or domain & (domain - 1) or domain > 1 << MAX_LOG_DOMAIN:
        raise InvalidInput(f"{where}: domain size {domain} is no power of two below 2**28")
    if n_public >= n_wires or n_public >= domain:
        raise InvalidInput(
            f"{where}: {n_public} public signals of {n_wires} wires, domain {domain}"
        )


class KeyFile:
    """A mapped key file: sections of points in Montgomery form, and zkai's mark."""

    MARK_FORMAT: ClassVar[str]

    def __init__(self, path: Path | str, magic: bytes, names: dict[int, str]) -> None:
        self.file = SectionFile(path, magic, VERSION, names)
        self.path = self.file.path

    def g1(self, kind: int) -> Words:
        """Return a G1 section as (n, 8) words, Montgomery form."""
        return self.file.words(kind, self.file.size(kind) // 64, 8)

    def g2(self, kind: int) -> Words:
        """Return a G2 section as (n, 16) words, Montgomery form."""
        return self.file.words(kind, self.file.size(kind) // 128, 16)

    def mark(self) -> dict[str, Any] | None:
        """Return zkai's own mark, or None if the file has none."""
        if MARK not in self.file:
            return None
        data = self.file.view(MARK)
        if len(data) > MAX_MARK_BYTES:
            raise InvalidInput(f"{self.file.where(MARK)} is larger than {MAX_MARK_BYTES} bytes")
        mark = load_json(bytes(data), self.file.where(MARK))
        if not isinstance(mark, dict) or mark.get("format") != self.MARK_FORMAT:
            raise InvalidInput(f"{self.file.where(MARK)} has an unknown format")
        return mark


class Zkey(KeyFile):
    """A mapped .zkey whose sections all have the size that its header implies."""

    MARK_FORMAT: ClassVar[str] = "zkai.zkey/1"

    def __init__(self, path: Path | str) -> None:
        """Map `path` and check its structure; `check` looks at the points themselves.

        Raises InvalidInput, naming the file and section.
        """
        super().__init__(path, MAGIC, NAMES)
        (protocol,) = struct.unpack("<I", self.file.view(PROTOCOL, 4))
        if protocol != GROTH16:
            raise InvalidInput(f"{self.path}: protocol {protocol}, expected 1 (Groth16)")
        self.header = ZkeyHeader.from_bytes(
            bytes(self.file.view(HEADER, _HEADER_BYTES)), self.file.where(HEADER)
        )
        for kind, size in point_sections(self.header).items():
            self.file.view(kind, size)
        _ = self.coefs

    @property
    def coefs(self) -> npt.NDArray[Any]:
        """The entries of section 4, in place. Raises InvalidInput if its size is not theirs."""
        data = self.file.view(COEFS)
        where = self.file.where(COEFS)
        if len(data) < 4:
            raise InvalidInput(f"{where} is truncated")
        (count,) = struct.unpack_from("<I", data)
        if len(data) != 4 + count * COEF.itemsize:
            raise InvalidInput(f"{where} has {len(data)} bytes for {count} coefficients")
        return np.frombuffer(data, dtype=COEF, offset=4)

    def check_header(self) -> None:
        """Return None if the header's points are in their groups, none infinity.

        Raises InvalidInput naming the point.
        """
        header, where = self.header, self.file.where(HEADER)
        for name in ("alpha1", "beta1", "delta1"):
            check_g1((getattr(header, name),), f"{where}: {name}")
        for name in ("beta2", "gamma2", "delta2"):
            check_g2((getattr(header, name),), f"{where}: {name}")


def point_sections(header: ZkeyHeader) -> dict[int, int]:
    """Return the bytes of each section of points."""
    return {
        IC: 64 * (header.n_public + 1),
        A: 64 * header.n_wires,
        B1: 64 * header.n_wires,
        B2: 128 * header.n_wires,
        L: 64 * (header.n_wires - header.n_public - 1),
        H: 64 * header.domain_size,
    }


def zkey_writer(
    path: Path | str,
    header: ZkeyHeader,
    n_coefs: int,
    contributions: bytes,
    mark: dict[str, Any] | None,
) -> SectionWriter:
    """Return a writer with the small sections filled in; the caller fills the rest.

    Raises InvalidInput if the file cannot be made.
    """
    sizes = point_sections(header)
    sections = [(PROTOCOL, 4), (HEADER, _HEADER_BYTES)]
    mark_bytes = canonical_json({"format": Zkey.MARK_FORMAT, **mark}) if mark is not None else None
    if mark_bytes is not None:
        sections.append((MARK, len(mark_bytes)))
    sections.append((CONTRIBUTIONS, len(contributions)))
    sections += [(IC, sizes.pop(IC)), (COEFS, 4 + COEF.itemsize * n_coefs), *sizes.items()]
    writer = SectionWriter(path, MAGIC, VERSION, sections, align=point_sections(header))
    writer.write(PROTOCOL, struct.pack("<I", GROTH16))
    writer.write(HEADER, header.to_bytes())
    writer.write(CONTRIBUTIONS, contributions)
    if mark_bytes is not None:
        writer.write(MARK, mark_bytes)
    return writer


def montgomery_squared(values: Limbs) -> Limbs:
    """Return v * R**2 mod r for each v: the form of section 4. Few distinct values are expected."""
    factor = pow(2, 512, FIELD_MODULUS)
    return to_limbs(v * factor % FIELD_MODULUS for v in from_limbs(values))
