"""The key before any phase-2 contribution: delta = 1, every point a sum of a .ptau's.

A_i = sum a_ji L_j(tau) and so on (Groth16, section 3.2) are taken in the group, from the Lagrange
forms of the powers, so that nobody needs tau. The circuit's hash covers every point, as iden3's
tools compute it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import native_keys
from zkai.circuit.binfile import SectionWriter, Words
from zkai.circuit.r1cs import Circuit, Csr
from zkai.encoding import Limbs, to_limbs
from zkai.errors import InvalidInput
from zkai.native import Int64s
from zkai.proof import overread
from zkai.proof.points import (
    G1_GENERATOR,
    G2_GENERATOR,
    g1_uncompressed,
    g2_uncompressed,
)
from zkai.proof.ptau import ALPHA_G1, BETA_G1, BETA_G2, TAU_G1, TAU_G2, Ptau
from zkai.proof.scalars import Progress
from zkai.proof.setup import count_coefs, domain_log, write_coefs
from zkai.proof.transcript import Transcript
from zkai.proof.zkey import B1, B2, CONTRIBUTIONS, IC, A, H, L, ZkeyHeader, zkey_writer

_HASH_CHUNK = 1 << 14


@dataclass(frozen=True)
class Columns:
    """A matrix compressed by wire: entry k of a wire is coefficient coefs[k] at row wires[k]."""

    indptr: Int64s
    wires: npt.NDArray[np.uint32]
    coefs: npt.NDArray[np.uint32]

    def part(self, start: int, stop: int) -> Columns:
        """Return the columns [start, stop)."""
        begin, end = self.indptr[start], self.indptr[stop]
        return Columns(
            self.indptr[start : stop + 1] - begin, self.wires[begin:end], self.coefs[begin:end]
        )


def columns(matrix: Csr, n_wires: int, dummy: tuple[int, int, int] | None = None) -> Columns:
    """Return a matrix by wire; `dummy` = (n, first row, id of 1) adds n rows of single wires."""
    rows = np.repeat(np.arange(len(matrix), dtype=np.uint32), np.diff(matrix.indptr))
    wires, coefs = matrix.wires, matrix.coefs
    if dummy is not None:
        n, first, one = dummy
        extra = np.arange(n, dtype=np.uint32)
        rows = np.concatenate([rows, first + extra]).astype(np.uint32)
        wires = np.concatenate([wires, extra])
        coefs = np.concatenate([coefs, np.full(n, one, np.uint32)])
    order = np.argsort(wires, kind="stable")
    indptr = np.zeros(n_wires + 1, np.int64)
    np.cumsum(np.bincount(wires, minlength=n_wires), out=indptr[1:])
    return Columns(indptr, rows[order], coefs[order])


def write_initial(
    circuit: Circuit,
    ptau: Ptau,
    path: Path | str,
    mark: dict[str, Any] | None,
    report: Progress,
) -> None:
    """Write the circuit's key before any contribution; the .ptau must have been checked.

    Raises InvalidInput if the .ptau is too small or not prepared, or `path` cannot be written.
    """
    circuit.require_plain("a .zkey")
    log = ptau_log(circuit, ptau)
    header = ZkeyHeader(
        circuit.n_wires,
        circuit.n_public,
        1 << log,
        ptau.g1(ALPHA_G1, 0),
        ptau.g1(BETA_G1, 0),
        ptau.g2(BETA_G2, 0),
        G2_GENERATOR,
        G1_GENERATOR,
        G2_GENERATOR,
    )
    placeholder = Transcript(bytes(64)).to_bytes()
    with zkey_writer(path, header, count_coefs(circuit), placeholder, mark) as writer:
        write_coefs(writer, circuit)
        private = writer.words(L, circuit.n_wires - circuit.n_public - 1, 8)
        write_points(writer, private, circuit, ptau, log, report)
        circuit_hash = _circuit_hash(writer, header, ptau)
        writer.write(CONTRIBUTIONS, Transcript(circuit_hash).to_bytes())


def ptau_log(circuit: Circuit, ptau: Ptau) -> int:
    """Return log2 of the circuit's domain. Raises InvalidInput if the .ptau is too small."""
    log = domain_log(circuit)
    if log > ptau.power:
        raise InvalidInput(
            f"{ptau.path}: made for 2**{ptau.power} rows, {circuit.name} needs 2**{log}; "
            "use a larger .ptau"
        )
    return log


def write_points(
    writer: SectionWriter,
    private: Words,
    circuit: Circuit,
    ptau: Ptau,
    log: int,
    report: Progress,
) -> None:
    """Fill the sections of points, and `private` with beta A_i + alpha B_i + C_i of private wires.

    Raises InvalidInput if the .ptau is not prepared for 2**log rows.
    """
    n, first = circuit.n_wires, circuit.n_public + 1
    table, one = _table_with_one(circuit.coefs)
    a = columns(circuit.a, n, (first, circuit.n_constraints, one))
    b, c = columns(circuit.b, n), columns(circuit.c, n)
    report("init: A", 0.0)
    tau = ptau.lagrange(TAU_G1, log)
    native_keys.points_sparse("g1", a, table, tau, writer.words(A, n, 8), False)
    report("init: B", 0.15)
    native_keys.points_sparse("g1", b, table, tau, writer.words(B1, n, 8), False)
    tau_g2 = ptau.lagrange(TAU_G2, log)
    native_keys.points_sparse("g2", b, table, tau_g2, writer.words(B2, n, 16), False)
    del tau_g2
    report("init: L", 0.5)
    ic = writer.words(IC, first, 8)
    for out, start, stop in ((ic, 0, first), (private, first, n)):
        native_keys.points_sparse("g1", c.part(start, stop), table, tau, out, False)
    del tau
    for matrix, section in ((a, BETA_G1), (b, ALPHA_G1)):
        points = ptau.lagrange(section, log)
        for out, start, stop in ((ic, 0, first), (private, first, n)):
            native_keys.points_sparse("g1", matrix.part(start, stop), table, points, out, True)
    report("init: H", 0.9)
    writer.words(H, 1 << log, 8)[:] = ptau.lagrange(TAU_G1, log + 1)[1::2]


def _table_with_one(coefs: Limbs) -> tuple[Limbs, int]:
    """Return the coefficient table and the id of 1 in it, appended if it is missing."""
    one = to_limbs([1])
    found = np.flatnonzero((coefs == one).all(axis=1))
    if found.size:
        return coefs, int(found[0])
    return np.concatenate([coefs, one]), len(coefs)


def _circuit_hash(writer: SectionWriter, header: ZkeyHeader, ptau: Ptau) -> bytes:
    """Return BLAKE2b-512 over every point of the initial key, counts included."""
    state = hashlib.blake2b(
        g1_uncompressed(header.alpha1)
        + g1_uncompressed(header.beta1)
        + g2_uncompressed(header.beta2)
        + g2_uncompressed(header.gamma2)
        + g1_uncompressed(header.delta1)
        + g2_uncompressed(header.delta2)
    )
    n, first = header.n_wires, header.n_public + 1
    hash_points(state, "g1", writer.words(IC, first, 8))
    _hash_vanishing(state, header.domain_size, ptau)
    hash_points(state, "g1", writer.words(L, n - first, 8))
    hash_points(state, "g1", writer.words(A, n, 8))
    hash_points(state, "g1", writer.words(B1, n, 8))
    hash_points(state, "g2", writer.words(B2, n, 16))
    return state.digest()


def hash_points(state: hashlib.blake2b, group: str, points: Words) -> None:
    """Hash the number of points and their uncompressed forms."""
    state.update(struct.pack(">I", len(points)))
    for start in range(0, len(points), 1 << 16):
        state.update(native_keys.points_encode(group, points[start : start + (1 << 16)]))


def _hash_vanishing(state: hashlib.blake2b, domain_size: int, ptau: Ptau) -> None:
    """Hash [tau^i (tau^n - 1)] for i < n - 1.

    iden3's tools go in steps of 2**14 and take whole steps: a larger domain also hashes i = n - 1,
    or, where the file ends before tau^(2n - 1), what `overread` says.
    """
    state.update(struct.pack(">I", domain_size - 1))
    step = min(domain_size - 1, _HASH_CHUNK)
    for start in range(0, domain_size - 1, step):
        stop = min(start + step, (2 << ptau.power) - 1 - domain_size)
        upper = ptau.range(TAU_G1, start + domain_size, stop + domain_size)
        lower = ptau.range(TAU_G1, start, stop)
        state.update(
            native_keys.points_encode("g1", native_keys.points_subtract("g1", upper, lower))
        )
        if stop < start + step:
            last = bytes(ptau.file.view(TAU_G1)[64 * stop : 64 * stop + 64])
            state.update(overread.hash_input(ptau.file.after(TAU_G1, 64), last))
