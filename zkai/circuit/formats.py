"""iden3's .r1cs (version 1) and .wtns (version 2) files.

.r1cs: section 1 is the header (field bytes u32, prime, wires, public outputs, public inputs,
private inputs u32 each, labels u64, constraints u32), section 2 the constraints (A, B and C, each a
count u32 and its terms: wire u32, coefficient 32 bytes), section 3 the label u64 of each wire.
.wtns: section 1 is (field bytes u32, prime, count u32), section 2 the values of 32 bytes. All
little-endian. Our circuits' public signals are public inputs: wires 1 to n_public.

Source: github.com/iden3/r1csfile, doc/r1cs_bin_format.md; wtns as snarkjs reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zkai import native
from zkai.circuit.binfile import SectionFile, SectionWriter
from zkai.circuit.builder import MAX_WIRES
from zkai.circuit.r1cs import Circuit, Csr, Witness
from zkai.encoding import FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput

Words = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]

HEADER, CONSTRAINTS, LABELS, CUSTOM_GATES, CUSTOM_GATE_USES = 1, 2, 3, 4, 5
WTNS_HEADER, WTNS_VALUES = 1, 2

_R1CS_NAMES = {HEADER: "header", CONSTRAINTS: "constraints", LABELS: "labels"}
_WTNS_NAMES = {WTNS_HEADER: "header", WTNS_VALUES: "values"}
_PRIME = FIELD_MODULUS.to_bytes(32, "little")
_R1CS_HEADER = struct.Struct("<I32sIIIIQI")
_WTNS_HEADER = struct.Struct("<I32sI")
_TERM = 9  # words: the wire, eight of the coefficient
_CHUNK = 1 << 16  # constraints written or read at a time
_FAULTS = {
    1: "is cut off by the section's end",
    2: "names a wire that does not exist",
    3: "does not list its wires in ascending order, each once",
    4: "has a coefficient that is zero or not below r",
}


@dataclass(frozen=True, eq=False)
class R1csFile:
    """A constraint system as read from a file: its matrices, without names or witness program."""

    n_wires: int
    n_outputs: int
    n_inputs: int
    n_private_inputs: int
    n_labels: int
    a: Csr
    b: Csr
    c: Csr
    coefs: Limbs
    labels: npt.NDArray[np.uint64]

    @property
    def n_public(self) -> int:
        return self.n_outputs + self.n_inputs

    @property
    def n_constraints(self) -> int:
        return len(self.a)


# .r1cs ----------------------------------------------------------------------------------------


def write_r1cs(path: Path | str, circuit: Circuit) -> None:
    """Write the circuit as an .r1cs file, whole or not at all.

    Raises InvalidInput for a circuit with a commitment round, which the format cannot hold, or,
    naming the file, if it cannot be written.
    """
    circuit.require_plain(".r1cs")
    matrices = (circuit.a, circuit.b, circuit.c)
    n, n_wires = circuit.n_constraints, circuit.n_wires
    n_terms = sum(len(m.wires) for m in matrices)
    private = [s for s in circuit.inputs.values() if not s.public]
    header = _R1CS_HEADER.pack(
        32, _PRIME, n_wires, 0, circuit.n_public, sum(s.wires.size for s in private), n_wires, n
    )
    sections = [
        (HEADER, len(header)),
        (CONSTRAINTS, 4 * (3 * n + _TERM * n_terms)),
        (LABELS, 8 * n_wires),
    ]
    values = np.ascontiguousarray(circuit.coefs, "<u8").view("<u4")
    with SectionWriter(path, b"r1cs", 1, sections) as writer:
        writer.write(HEADER, header)
        out: Words = np.frombuffer(writer.view(CONSTRAINTS), "<u4")
        position = 0
        for start in range(0, n, _CHUNK):
            chunk = _encode(matrices, values, start, min(start + _CHUNK, n))
            out[position : position + len(chunk)] = chunk
            position += len(chunk)
        np.frombuffer(writer.view(LABELS), "<u8")[:] = np.arange(n_wires, dtype=np.uint64)
        del out


def _encode(matrices: tuple[Csr, Csr, Csr], values: Words, start: int, stop: int) -> Words:
    """Return constraints start..stop-1 as the words of section 2."""
    counts = np.stack([np.diff(m.indptr[start : stop + 1]) for m in matrices], axis=1)
    flat = counts.ravel()
    first = (np.cumsum(flat) - flat).reshape(counts.shape)  # each combination's first term
    terms = np.empty((int(flat.sum()), _TERM), np.uint32)
    for m, matrix in enumerate(matrices):
        low, high = matrix.indptr[start], matrix.indptr[stop]
        shift = first[:, m] - (matrix.indptr[start:stop] - low)
        target = np.arange(high - low) + np.repeat(shift, counts[:, m])
        terms[target, 0] = matrix.wires[low:high]
        terms[target, 1:] = values[matrix.coefs[low:high]]
    words = np.empty(len(flat) + terms.size, np.uint32)
    is_count = _count_positions(flat, len(words))
    words[is_count] = flat
    words[~is_count] = terms.ravel()
    return words


def _count_positions(counts: Ints, n_words: int) -> npt.NDArray[np.bool_]:
    """Return which words are counts, where combinations of `counts` terms follow each other."""
    sizes = 1 + _TERM * counts
    mask = np.zeros(n_words, np.bool_)
    mask[np.cumsum(sizes) - sizes] = True
    return mask


def read_r1cs(path: Path | str) -> R1csFile:
    """Return the constraint system in an .r1cs file over BN254's scalar field.

    Raises InvalidInput, naming the file and section, unless it is well-formed: exact sizes,
    existing wires in ascending order, non-zero coefficients below r.
    """
    file = SectionFile(path, b"r1cs", 1, _R1CS_NAMES)
    if CUSTOM_GATES in file or CUSTOM_GATE_USES in file:
        raise InvalidInput(f"{path}: custom gates (sections 4 and 5) are not supported")
    header = _R1CS_HEADER.unpack(file.view(HEADER, _R1CS_HEADER.size))
    width, prime, n_wires, n_outputs, n_inputs, n_private, n_labels, n = header
    where = file.where(HEADER)
    _check_field(width, prime, where)
    if not 1 <= n_wires <= MAX_WIRES:
        raise InvalidInput(f"{where} claims {n_wires} wires, expected 1..{MAX_WIRES}")
    if 1 + n_outputs + n_inputs + n_private > n_wires:
        raise InvalidInput(f"{where} claims more inputs and outputs than wires")
    if 12 * n > file.size(CONSTRAINTS) or file.size(CONSTRAINTS) % 4:
        raise InvalidInput(
            f"{file.where(CONSTRAINTS)} has {file.size(CONSTRAINTS)} bytes, too few or too odd a "
            f"number for {n} constraints"
        )
    labels = np.frombuffer(file.view(LABELS, 8 * n_wires), "<u8").astype(np.uint64)
    if (labels >= max(n_labels, 1)).any():
        raise InvalidInput(f"{file.where(LABELS)} names a label that does not exist")
    a, b, c, coefs = _decode(file, n, n_wires)
    return R1csFile(
        n_wires, n_outputs, n_inputs, n_private, n_labels, a, b, c, coefs, labels
    )  # fmt: skip


def _check_field(width: int, prime: bytes, where: str) -> None:
    if width != 32 or prime != _PRIME:
        raise InvalidInput(f"{where} is not over BN254's scalar field: use -p bn128 with circom")


def _decode(file: SectionFile, n: int, n_wires: int) -> tuple[Csr, Csr, Csr, Limbs]:
    where = file.where(CONSTRAINTS)
    words: Words = np.frombuffer(file.view(CONSTRAINTS), "<u4")
    counts, bad, fault = native.r1cs_scan(words, 3 * n, n_wires)
    if fault in _FAULTS:
        raise InvalidInput(f"{where}: side {'ABC'[bad % 3]} of row {bad // 3} {_FAULTS[fault]}")
    if fault:
        raise InvalidInput(f"{where}: bytes after the last of {n} constraints")
    table = _Table()
    parts: list[tuple[Ints, ...]] = []
    position = 0
    for start in range(0, n, _CHUNK):
        chunk = counts[3 * start : 3 * (start + _CHUNK)].astype(np.int64)
        size = len(chunk) + _TERM * int(chunk.sum())
        piece = words[position : position + size]
        position += size
        terms = piece[~_count_positions(chunk, size)].reshape(-1, _TERM)
        ids = table.ids(np.ascontiguousarray(terms[:, 1:]).view("<u8"))
        side = np.repeat(np.arange(len(chunk)) % 3, chunk)
        for m in range(3):
            parts.append((terms[side == m, 0].astype(np.int64), ids[side == m]))
    sides = [_join(counts[m::3], parts[m::3]) for m in range(3)]
    return sides[0], sides[1], sides[2], table.values()


def _join(counts: Words, parts: list[tuple[Ints, ...]]) -> Csr:
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    wires = np.concatenate([np.zeros(0, np.int64), *(p[0] for p in parts)])
    coefs = np.concatenate([np.zeros(0, np.int64), *(p[1] for p in parts)])
    return Csr(indptr, wires.astype(np.uint32), coefs.astype(np.uint32))


class _Table:
    """Numbers distinct field elements in the order in which they appear; 0 is the number of 1."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {to_limbs([1]).tobytes(): 0}

    def ids(self, values: Limbs) -> Ints:
        rows = np.ascontiguousarray(values).view("V32").ravel()
        unique, inverse = _unique_rows(values)
        ids = [self._ids.setdefault(rows[i].tobytes(), len(self._ids)) for i in unique.tolist()]
        return np.array(ids, np.int64)[inverse]

    def values(self) -> Limbs:
        return np.frombuffer(b"".join(self._ids), "<u8").reshape(-1, 4).astype(np.uint64)


def _unique_rows(values: Limbs) -> tuple[Ints, Ints]:
    """Return the first index of each distinct row, and for each row the number of its value.

    Rows are compared by a 64-bit mix of their limbs first, which sorts fast; if two different rows
    share a mix, by all their bytes.
    """
    factors = np.array([1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    mixed = (values * factors).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    if not (values[first][inverse] == values).all():
        _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), inverse.ravel().astype(np.int64)


# .wtns ----------------------------------------------------------------------------------------


def write_wtns(path: Path | str, witness: Witness) -> None:
    """Write the witness as a .wtns file, whole or not at all; only its owner may read it.

    Raises InvalidInput for a malformed witness, or if the file cannot be written.
    """
    _check_values(witness, "witness")
    header = _WTNS_HEADER.pack(32, _PRIME, len(witness))
    sections = [(WTNS_HEADER, len(header)), (WTNS_VALUES, 32 * len(witness))]
    with SectionWriter(path, b"wtns", 2, sections, mode=0o600) as writer:
        writer.write(WTNS_HEADER, header)
        np.frombuffer(writer.view(WTNS_VALUES), "<u8")[:] = witness.ravel()


def read_wtns(path: Path | str) -> Witness:
    """Return the witness in a .wtns file over BN254's scalar field.

    Raises InvalidInput, naming the file and section, unless it is well-formed, its values are below
    r and wire 0 is one.
    """
    file = SectionFile(path, b"wtns", 2, _WTNS_NAMES)
    width, prime, n = _WTNS_HEADER.unpack(file.view(WTNS_HEADER, _WTNS_HEADER.size))
    _check_field(width, prime, file.where(WTNS_HEADER))
    if not 1 <= n <= MAX_WIRES:
        raise InvalidInput(f"{file.where(WTNS_HEADER)} claims {n} values, expected 1..{MAX_WIRES}")
    data = np.frombuffer(file.view(WTNS_VALUES, 32 * n), "<u8")
    witness = data.reshape(n, 4).astype(np.uint64)
    _check_values(witness, file.where(WTNS_VALUES))
    return witness


def _check_values(witness: Witness, where: str) -> None:
    if witness.dtype != np.uint64 or witness.ndim != 2 or witness.shape[1] != 4:
        raise InvalidInput(f"{where}: expected a uint64 array of shape (n, 4)")
    if len(witness) == 0 or witness[0].tolist() != [1, 0, 0, 0]:
        raise InvalidInput(f"{where}: value 0 must be the constant 1")
    below = np.zeros(len(witness), np.bool_)
    equal = np.ones(len(witness), np.bool_)
    for i, limb in reversed(list(enumerate(to_limbs([FIELD_MODULUS])[0]))):
        below |= equal & (witness[:, i] < limb)
        equal &= witness[:, i] == limb
    if not below.all():
        raise InvalidInput(f"{where}: value {int(np.argmin(below))} is not below r")
