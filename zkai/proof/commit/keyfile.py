"""The proving key's file, `.zkck`: iden3's container with the sections of two deltas.

Sections: 2 header, 3 IC, 5 A in G1, 6 B in G1, 7 B in G2, 8 K of round 2 divided by delta2,
9 H divided by delta2, 10 contributions, 11 K of round 1 divided by delta1, and zkai's own mark; for
a circuit with linked polynomials also 12 [tau^i] in G1 and 13 their number and [tau] in G2.
Numbers, points and H are those of a .zkey (`zkai.proof.zkey`); there are no coefficients, because
the circuit has them. No other section is allowed: what a key publishes is part of its soundness.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zkai.circuit.binfile import SectionWriter
from zkai.circuit.r1cs import Circuit
from zkai.encoding import canonical_json
from zkai.errors import InvalidInput
from zkai.native import Int64s
from zkai.proof.commit.link import MAX_LINKS
from zkai.proof.points import G1, G2, g1_from_bytes, g1_to_bytes, g2_from_bytes, g2_to_bytes
from zkai.proof.ratio import check_g1, check_g2
from zkai.proof.setup import domain_log
from zkai.proof.zkey import (
    B1,
    B2,
    CONTRIBUTIONS,
    FIELDS_BYTES,
    HEADER,
    IC,
    MARK,
    MAX_LOG_DOMAIN,
    A,
    H,
    KeyFile,
    L,
    check_fields,
    check_sizes,
    fields_bytes,
)

MAGIC, VERSION = b"zkck", 1
K2, K1, POWERS, LINK = L, 11, 12, 13
MARK_FORMAT = "zkai.zkck/1"
NAMES = {
    HEADER: "header", IC: "IC", A: "A in G1", B1: "B in G1", B2: "B in G2",
    K2: "K of round 2", H: "H", CONTRIBUTIONS: "contributions", K1: "K of round 1",
    POWERS: "powers of tau", LINK: "link", MARK: "zkai mark",
}  # fmt: skip
_SIZES = struct.Struct("<IIII")
_LINK = struct.Struct("<II128s")
_G1_FIELDS = ("alpha_g1", "beta_g1", "delta1_g1", "delta2_g1")
_G2_FIELDS = ("beta_g2", "delta1_g2", "delta2_g2")
_HEADER_BYTES = FIELDS_BYTES + _SIZES.size + 64 * len(_G1_FIELDS) + 128 * len(_G2_FIELDS)


@dataclass(frozen=True)
class Sizes:
    """The numbers of wires, IC wires without the one, wires in K1, and points in H."""

    n_wires: int
    n_public: int
    n_round1: int
    domain_size: int
    n_links: int = 0
    n_powers: int = 0

    @staticmethod
    def of(circuit: Circuit) -> Sizes:
        """Return a circuit's sizes. Raises InvalidInput if it has no valid partition."""
        first, _ = partition(circuit)
        lengths = [len(link.coefficients.rows) for link in circuit.links]
        return Sizes(
            circuit.n_wires,
            circuit.n_public,
            len(first),
            1 << domain_log(circuit),
            len(lengths),
            max(lengths, default=0),
        )

    def points(self) -> dict[int, int]:
        """Return the bytes of each section of points."""
        linked = {POWERS: 64 * self.n_powers} if self.n_links else {}
        return linked | {
            IC: 64 * (self.n_public + 1),
            A: 64 * self.n_wires,
            B1: 64 * self.n_wires,
            B2: 128 * self.n_wires,
            K2: 64 * (self.n_wires - self.n_public - 1 - self.n_round1),
            H: 64 * self.domain_size,
            K1: 64 * self.n_round1,
        }


@dataclass(frozen=True)
class CommitHeader:
    """Sizes and fixed points; points are affine integers in standard form."""

    sizes: Sizes
    alpha_g1: G1
    beta_g1: G1
    beta_g2: G2
    delta1_g1: G1
    delta1_g2: G2
    delta2_g1: G1
    delta2_g2: G2
    tau_g2: G2 = None
    """Only where polynomials are linked."""

    def secrets(self) -> dict[str, tuple[G1, G2]]:
        """Return the secrets that the key holds in both groups, by name."""
        return {
            "beta": (self.beta_g1, self.beta_g2),
            "delta1": (self.delta1_g1, self.delta1_g2),
            "delta2": (self.delta2_g1, self.delta2_g2),
        }

    def to_bytes(self) -> bytes:
        """Return section 2: moduli, sizes, the points in G1, the points in G2."""
        sizes = [getattr(self.sizes, item.name) for item in fields(Sizes)][:4]
        return b"".join(
            (
                fields_bytes(),
                _SIZES.pack(*sizes),
                *(g1_to_bytes(getattr(self, name)) for name in _G1_FIELDS),
                *(g2_to_bytes(getattr(self, name)) for name in _G2_FIELDS),
            )
        )

    def link_bytes(self) -> bytes:
        """Return section 13: the numbers of polynomials and powers, [tau] in G2."""
        sizes = self.sizes
        return _LINK.pack(sizes.n_links, sizes.n_powers, g2_to_bytes(self.tau_g2))

    def with_link(self, data: bytes, where: str) -> CommitHeader:
        """Return the header with what section 13 holds. Raises InvalidInput for odd numbers."""
        n_links, n_powers, tau = _LINK.unpack(data)
        if not 1 <= n_links <= MAX_LINKS or not 2 <= n_powers <= 1 << MAX_LOG_DOMAIN:
            raise InvalidInput(f"{where}: {n_links} polynomials, {n_powers} powers of tau")
        sizes = replace(self.sizes, n_links=n_links, n_powers=n_powers)
        return replace(self, sizes=sizes, tau_g2=g2_from_bytes(tau, where))

    @staticmethod
    def from_bytes(data: bytes, where: str) -> CommitHeader:
        """Parse section 2; the points are canonical but not yet checked against their curves.

        Raises InvalidInput, naming `where`, for other fields, impossible sizes or coordinates.
        """
        check_fields(data, where)
        sizes = Sizes(*_SIZES.unpack_from(data, FIELDS_BYTES))
        check_sizes(sizes.n_wires, sizes.n_public, sizes.domain_size, where)
        if sizes.n_public < 2 or sizes.n_round1 > sizes.n_wires - sizes.n_public - 1:
            raise InvalidInput(f"{where}: its numbers of wires cannot be those of two rounds")
        position = FIELDS_BYTES + _SIZES.size
        points: dict[str, Any] = {}
        for name in _G1_FIELDS:
            points[name] = g1_from_bytes(data[position : position + 64], f"{where}: {name}")
            position += 64
        for name in _G2_FIELDS:
            points[name] = g2_from_bytes(data[position : position + 128], f"{where}: {name}")
            position += 128
        return CommitHeader(sizes, **points)


class CommitKeyFile(KeyFile):
    """A mapped .zkck whose sections all have the size that its header implies."""

    MARK_FORMAT: ClassVar[str] = MARK_FORMAT

    def __init__(self, path: Path | str) -> None:
        """Map `path` and check its structure; `check_points` looks at the points themselves.

        Raises InvalidInput, naming the file and section.
        """
        super().__init__(path, MAGIC, NAMES)
        if unknown := sorted(self.file.kinds() - set(NAMES)):
            raise InvalidInput(f"{self.path}: a key has no section {unknown[0]}")
        self.header = CommitHeader.from_bytes(
            bytes(self.file.view(HEADER, _HEADER_BYTES)), self.file.where(HEADER)
        )
        if LINK in self.file:
            data = bytes(self.file.view(LINK, _LINK.size))
            self.header = self.header.with_link(data, self.file.where(LINK))
        elif POWERS in self.file:
            raise InvalidInput(f"{self.path}: has powers of tau and no section {LINK}")
        for kind, size in self.header.sizes.points().items():
            self.file.view(kind, size)

    def check_header(self) -> None:
        """Return None if the header's points are in their groups, none infinity.

        Raises InvalidInput naming the point.
        """
        where = self.file.where(HEADER)
        for name in _G1_FIELDS:
            check_g1((getattr(self.header, name),), f"{where}: {name}")
        for name in _G2_FIELDS:
            check_g2((getattr(self.header, name),), f"{where}: {name}")
        if self.header.sizes.n_links:
            check_g2((self.header.tau_g2,), f"{self.file.where(LINK)}: tau")


def commit_key_writer(
    path: Path | str, header: CommitHeader, contributions: bytes, mark: Mapping[str, Any]
) -> SectionWriter:
    """Return a writer with the small sections filled in; the caller fills the points.

    Raises InvalidInput if the file cannot be made.
    """
    small = {
        HEADER: header.to_bytes(),
        MARK: canonical_json({"format": MARK_FORMAT, **mark}),
        CONTRIBUTIONS: contributions,
    }
    if header.sizes.n_links:
        small[LINK] = header.link_bytes()
    points = header.sizes.points()
    sections = [(kind, len(data)) for kind, data in small.items()] + list(points.items())
    writer = SectionWriter(path, MAGIC, VERSION, sections, align=points)
    for kind, data in small.items():
        writer.write(kind, data)
    return writer


def partition(circuit: Circuit) -> tuple[Int64s, Int64s]:
    """Return the wires of K1 and of K2: those of rounds 1 and 2 that IC does not hold.

    Raises InvalidInput if the circuit has no commitment round, or its rounds are not those of one:
    the constant and the signals in round 1, y, challenges and evaluations in round 2.
    """
    first = circuit.n_public + 1
    if not circuit.challenges or circuit.challenges[0] != "fold":
        raise InvalidInput(f"{circuit.name}: the circuit has no commitment round")
    rounds = circuit.rounds
    if not np.isin(rounds, (1, 2)).all() or rounds[0] != 1 or (rounds[1:first] != 2).any():
        raise InvalidInput(
            f"{circuit.name}: a wire is in neither round, or an IC wire is in the other"
        )
    signals = circuit.signal_wires
    if (signals < first).any() or (rounds[signals] != 1).any():
        raise InvalidInput(f"{circuit.name}: a public signal is not committed in round 1")
    wires = np.arange(first, circuit.n_wires, dtype=np.int64)
    return wires[rounds[first:] == 1], wires[rounds[first:] == 2]
