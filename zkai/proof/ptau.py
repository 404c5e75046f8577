"""iden3's .ptau: the powers of tau that the first phase of a ceremony leaves.

Sections: 1 header, 2 [tau^i]_1 for i < 2**(power+1) - 1, 3 [tau^i]_2, 4 [alpha tau^i]_1 and
5 [beta tau^i]_1 for i < 2**power, 6 [beta]_2, 7 contributions; a prepared file adds 12 to 15, the
Lagrange forms [L_i(tau)] of 2 to 5 for every domain of 2**0, 2**1, ... points, one after another
(2**(power+1) the largest for section 12, 2**power for the others).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from zkai import native, native_keys
from zkai.circuit.binfile import SectionFile, SectionWriter, Words
from zkai.encoding import BASE_MODULUS, Limbs
from zkai.errors import InvalidInput
from zkai.proof.points import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    g1_from_bytes,
    g2_from_bytes,
)
from zkai.proof.ratio import g1_from_words, g2_from_words, same_ratio
from zkai.proof.scalars import Progress, no_progress

MAGIC, VERSION = b"ptau", 1
HEADER, TAU_G1, TAU_G2, ALPHA_G1, BETA_G1, BETA_G2, CONTRIBUTIONS = range(1, 8)
LAGRANGE = {TAU_G1: 12, TAU_G2: 13, ALPHA_G1: 14, BETA_G1: 15}
MAX_POWER = 27
NAMES = {
    HEADER: "header", TAU_G1: "tau in G1", TAU_G2: "tau in G2", ALPHA_G1: "alpha tau in G1",
    BETA_G1: "beta tau in G1", BETA_G2: "beta in G2", CONTRIBUTIONS: "contributions",
    12: "Lagrange tau in G1", 13: "Lagrange tau in G2", 14: "Lagrange alpha tau in G1",
    15: "Lagrange beta tau in G1",
}  # fmt: skip
HEADER_LAYOUT = struct.Struct("<I32sII")
POINT_BYTES = {"g1": 64, "g2": 128}


def group_of(section: int) -> str:
    """Return the group of a section of powers or of its Lagrange form."""
    return "g2" if section in (TAU_G2, BETA_G2, LAGRANGE[TAU_G2]) else "g1"


class Ptau:
    """A mapped .ptau whose sections have exactly the sizes that its header implies."""

    def __init__(self, path: Path | str) -> None:
        """Map `path` and check its structure; `check_powers` looks at the points.

        Raises InvalidInput, naming the file and section.
        """
        self.file = SectionFile(path, MAGIC, VERSION, NAMES)
        self.path = self.file.path
        size, modulus, self.power, self.ceremony_power = HEADER_LAYOUT.unpack(
            self.file.view(HEADER, HEADER_LAYOUT.size)
        )
        if size != 32 or int.from_bytes(modulus, "little") != BASE_MODULUS:
            raise InvalidInput(f"{self.file.where(HEADER)}: the field is not that of BN254")
        if not 1 <= self.power <= MAX_POWER or not self.power <= self.ceremony_power <= 28:
            raise InvalidInput(
                f"{self.file.where(HEADER)}: powers {self.power} and {self.ceremony_power} "
                f"are outside 1..{MAX_POWER} and {self.power}..28"
            )
        for section, n in section_points(self.power).items():
            self.file.view(section, n * POINT_BYTES[group_of(section)])
        found = [section in self.file for section in LAGRANGE.values()]
        if any(found) and not all(found):
            raise InvalidInput(f"{self.path}: some of the sections 12 to 15 are missing")
        self.prepared = all(found)
        if self.prepared:
            for section, lagrange in LAGRANGE.items():
                n = (4 if section == TAU_G1 else 2) * (1 << self.power) - 1
                self.file.view(lagrange, n * POINT_BYTES[group_of(section)])

    def powers(self, section: int, n: int) -> Words:
        """Return the first n points of a section of powers, Montgomery form."""
        return self.range(section, 0, n)

    def range(self, section: int, start: int, stop: int) -> Words:
        """Return points [start, stop) of a section of powers, Montgomery form."""
        size = POINT_BYTES[group_of(section)]
        data = self.file.view(section)[start * size : stop * size]
        return np.frombuffer(data, dtype="<u8").reshape(stop - start, size // 8).copy()

    def lagrange(self, section: int, log_n: int) -> Words:
        """Return [L_i(tau)] on 2**log_n roots for a section of powers, Montgomery form.

        Raises InvalidInput if the file is not prepared for that size.
        """
        if not self.prepared:
            raise InvalidInput(
                f"{self.path}: not prepared for phase 2; run `zkai setup --ceremony prepare`"
            )
        largest = self.power + (section == TAU_G1)
        if log_n > largest:
            raise InvalidInput(
                f"{self.path}: holds domains up to 2**{largest}, 2**{log_n} is needed; "
                "use a larger .ptau"
            )
        size = POINT_BYTES[group_of(section)]
        start = ((1 << log_n) - 1) * size
        data = self.file.view(LAGRANGE[section])[start : start + (size << log_n)]
        return np.frombuffer(data, dtype="<u8").reshape(1 << log_n, size // 8).copy()

    def g1(self, section: int, index: int) -> G1:
        """Return one point of a section in G1."""
        data = bytes(self.file.view(section)[64 * index : 64 * index + 64])
        return g1_from_bytes(data, f"{self.file.where(section)}[{index}]")

    def g2(self, section: int, index: int) -> G2:
        """Return one point of a section in G2."""
        data = bytes(self.file.view(section)[128 * index : 128 * index + 128])
        return g2_from_bytes(data, f"{self.file.where(section)}[{index}]")


def section_points(power: int) -> dict[int, int]:
    """Return the number of points of sections 2 to 6."""
    n = 1 << power
    return {TAU_G1: 2 * n - 1, TAU_G2: n, ALPHA_G1: n, BETA_G1: n, BETA_G2: 1}


def check_powers(ptau: Ptau, log_n: int | None = None, progress: Progress | None = None) -> None:
    """Return None if the points are consecutive powers of one tau, with one alpha and one beta.

    Every point is checked for its curve, subgroup and infinity, and a random linear combination
    (128 bits a coefficient) for e(P_i, [tau]_2) = e(P_{i+1}, G_2). Only what a domain of 2**log_n
    needs is checked, all by default; the Lagrange forms where the file has them.

    Raises InvalidInput naming the section.
    """
    report = progress or no_progress
    log_n = ptau.power if log_n is None else log_n
    if log_n > ptau.power:
        raise InvalidInput(
            f"{ptau.path}: made for 2**{ptau.power} rows, 2**{log_n} are needed; use a larger .ptau"
        )
    for done, (section, n) in enumerate(section_points(log_n).items()):
        report(f"check ptau: {NAMES[section]}", done / 10)
        native_keys.points_check(
            group_of(section), ptau.powers(section, n), ptau.file.where(section), False
        )
    _check_first(ptau)
    for done, (section, n) in enumerate(section_points(log_n).items()):
        report(f"check ptau: {NAMES[section]}", 0.5 + done / 10)
        if section != BETA_G2:
            _check_consecutive(ptau, section, n)
    if ptau.prepared:
        logs = range(log_n + 1) if log_n == ptau.power else (log_n,)
        for section in LAGRANGE:
            for log in (*logs, *((log_n + 1,) if section == TAU_G1 else ())):
                _check_lagrange(ptau, section, log)


def _check_first(ptau: Ptau) -> None:
    if ptau.g1(TAU_G1, 0) != G1_GENERATOR:
        raise InvalidInput(f"{ptau.file.where(TAU_G1)}: does not start at the generator")
    if ptau.g2(TAU_G2, 0) != G2_GENERATOR:
        raise InvalidInput(f"{ptau.file.where(TAU_G2)}: does not start at the generator")
    tau = (G1_GENERATOR, ptau.g1(TAU_G1, 1))
    if not same_ratio(tau, (G2_GENERATOR, ptau.g2(TAU_G2, 1))):
        raise InvalidInput(f"{ptau.file.where(TAU_G2)}: its tau is not that of section 2")
    beta = (G1_GENERATOR, ptau.g1(BETA_G1, 0))
    if not same_ratio(beta, (G2_GENERATOR, ptau.g2(BETA_G2, 0))):
        raise InvalidInput(f"{ptau.file.where(BETA_G2)}: its beta is not that of section 5")


def random_coefficients(n: int) -> Limbs:
    """Return n random 128-bit scalars as (n, 4) rows."""
    rows = np.zeros((n, 4), np.uint64)
    rows[:, :2] = np.frombuffer(os.urandom(16 * n), dtype="<u8").reshape(n, 2)
    return rows


def combine(group: str, points: Words, coefficients: Limbs) -> Words:
    """Return the linear combination as one row in standard form."""
    return native_keys.points_store(group, native_keys.points_msm(group, points, coefficients))


def _check_consecutive(ptau: Ptau, section: int, n: int) -> None:
    """Check P_{i+1} = tau P_i by e(sum c_i P_i, [tau]) = e(sum c_i P_{i+1}, [1])."""
    points = ptau.powers(section, n)
    coefficients = random_coefficients(n - 1)
    group = group_of(section)
    lower = combine(group, points[:-1], coefficients)
    upper = combine(group, points[1:], coefficients)
    if group == "g1":
        pair = same_ratio_g1(lower, upper, ptau.g2(TAU_G2, 1))
    else:
        pair = same_ratio_g2(ptau.g1(TAU_G1, 1), lower, upper)
    if not pair:
        raise InvalidInput(f"{ptau.file.where(section)}: not consecutive powers of tau")


def same_ratio_g1(lower: Words, upper: Words, ratio: G2) -> bool:
    """Return whether upper = x lower in G1, where `ratio` is [x]_2; (1, 8) rows, standard form."""
    return same_ratio((g1_from_words(lower), g1_from_words(upper)), (G2_GENERATOR, ratio))


def same_ratio_g2(ratio: G1, lower: Words, upper: Words) -> bool:
    """Return whether upper = x lower in G2, where `ratio` is [x]_1; (1, 16) rows, standard form."""
    return same_ratio((G1_GENERATOR, ratio), (g2_from_words(lower), g2_from_words(upper)))


def _check_lagrange(ptau: Ptau, section: int, log_n: int) -> None:
    """Check sum c_i [tau^i] = sum (NTT c)_j [L_j(tau)] for random c."""
    group, n = group_of(section), 1 << log_n
    points = ptau.lagrange(section, log_n)
    where = ptau.file.where(LAGRANGE[section])
    native_keys.points_check(group, points, f"{where}, domain 2**{log_n}", False)
    coefficients = random_coefficients(n)
    available = min(n, section_points(ptau.power)[section])
    coefficients[available:] = 0
    powers = ptau.powers(section, available)
    direct = combine(group, powers, coefficients[:available])
    through = combine(group, points, native.ntt(coefficients))
    if not np.array_equal(direct, through):
        raise InvalidInput(f"{where}, domain 2**{log_n}: not the Lagrange form of its powers")


def prepare(source: Path | str, target: Path | str, progress: Progress | None = None) -> None:
    """Write a .ptau prepared for phase 2: with the Lagrange forms of its powers.

    Raises InvalidInput if `source` is malformed or `target` cannot be written.
    """
    report = progress or no_progress
    ptau = Ptau(source)
    n = 1 << ptau.power
    copied = [HEADER, *section_points(ptau.power), CONTRIBUTIONS]
    sections = [(kind, ptau.file.size(kind)) for kind in copied]
    for section, lagrange in LAGRANGE.items():
        count = (4 if section == TAU_G1 else 2) * n - 1
        sections.append((lagrange, count * POINT_BYTES[group_of(section)]))
    with SectionWriter(target, MAGIC, VERSION, sections) as writer:
        for kind in copied:
            writer.view(kind)[:] = ptau.file.view(kind)
        for done, section in enumerate(LAGRANGE):
            _write_lagrange(ptau, writer, section, report, done / len(LAGRANGE))
    report("prepare", 1.0)


def _write_lagrange(
    ptau: Ptau, writer: SectionWriter, section: int, report: Progress, done: float
) -> None:
    group = group_of(section)
    view, position = writer.view(LAGRANGE[section]), 0
    for log in range(ptau.power + 1 + (section == TAU_G1)):
        report(f"prepare: {NAMES[section]}, domain 2**{log}", done)
        count = min(1 << log, section_points(ptau.power)[section])
        powers = np.zeros((1 << log, POINT_BYTES[group] // 8), np.uint64)
        powers[:count] = ptau.powers(section, count)
        data = native_keys.points_lagrange(group, powers).tobytes()
        view[position : position + len(data)] = data
        position += len(data)
