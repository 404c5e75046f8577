"""A one-party DEVELOPMENT key: whoever runs this could keep the secrets and forge proofs.

Groth16's key (section 3.2 of the paper) as a .zkey, with gamma = 1 and one dummy constraint
x_i * 0 = 0 for wire 0 and every public wire, so that no public wire's IC is the point at infinity.
Real keys come from `zkai.proof.ceremony`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zkai import native, native_keys
from zkai.circuit.binfile import SectionWriter
from zkai.circuit.r1cs import Circuit
from zkai.encoding import Limbs, to_limbs
from zkai.errors import InvalidInput
from zkai.native import Int64s
from zkai.proof.keys import DEVELOPMENT
from zkai.proof.points import G1, G2
from zkai.proof.proving_keys import PROVING_FILE, VERIFYING_FILE, PlainKeys, ProvingKey, key_mark
from zkai.proof.ratio import g1_from_words, g2_from_words
from zkai.proof.scalars import Progress, ScalarSource, no_progress, random_scalar
from zkai.proof.transcript import Transcript
from zkai.proof.zkey import (
    B1,
    B2,
    COEF,
    COEFS,
    IC,
    MAX_LOG_DOMAIN,
    A,
    H,
    L,
    ZkeyHeader,
    montgomery_squared,
    zkey_writer,
)


@dataclass(frozen=True, repr=False)
class Toxic:
    """The secrets of a setup: (1, 4) rows in standard form."""

    tau: Limbs
    alpha: Limbs
    beta: Limbs
    deltas: tuple[Limbs, ...]
    inverses: tuple[Limbs, ...]

    @staticmethod
    def draw(n_deltas: int, scalars: ScalarSource) -> Toxic:
        """Return fresh secrets with `n_deltas` deltas."""
        tau, alpha, beta = scalars(), scalars(), scalars()
        deltas = tuple(scalars() for _ in range(n_deltas))
        return Toxic(tau, alpha, beta, deltas, tuple(native.fr_inv(delta) for delta in deltas))

    def wipe(self) -> None:
        native_keys.wipe(self.tau, self.alpha, self.beta, *self.deltas, *self.inverses)


Bucket = tuple[int, "slice | Int64s", Limbs]
"""A section of [(beta A_i + alpha B_i + C_i) * factor]: its number, its wires, the factor."""


def setup(
    circuit: Circuit,
    statement: str,
    folder: Path | str,
    progress: Progress | None = None,
    scalars: ScalarSource = random_scalar,
) -> PlainKeys:
    """Make a development key for `circuit` in `folder`: proving.zkey and verifying.json.

    Raises InvalidInput if the folder cannot be written or the circuit is too large (2**27 rows).
    """
    report = progress or no_progress
    circuit.require_plain("a .zkey")
    log_domain = domain_log(circuit)
    make_folder(folder)
    path = Path(folder) / PROVING_FILE
    toxic = Toxic.draw(1, scalars)
    try:
        _write_zkey(path, circuit, statement, toxic, log_domain, report)
    finally:
        toxic.wipe()
    proving = ProvingKey(path)
    verifying = proving.verifying_key(circuit)
    verifying.write(Path(folder) / VERIFYING_FILE)
    report("setup", 1.0)
    return PlainKeys(proving, verifying)


def make_folder(folder: Path | str) -> None:
    """Make a folder for keys. Raises InvalidInput if that is impossible."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be made ({error.strerror})") from error


def domain_log(circuit: Circuit) -> int:
    """Return log2 of the smallest domain for the circuit's rows and its dummy rows.

    Raises InvalidInput if the circuit has no row or does not fit the field's roots of unity.
    """
    if circuit.n_constraints < 1:
        raise InvalidInput(f"{circuit.name}: the circuit has no constraint")
    log = (circuit.n_constraints + circuit.n_public).bit_length()
    if log > MAX_LOG_DOMAIN:
        raise InvalidInput(
            f"{circuit.name}: {circuit.n_constraints} constraints, at most 2**{MAX_LOG_DOMAIN}"
        )
    return log


def _write_zkey(
    path: Path,
    circuit: Circuit,
    statement: str,
    toxic: Toxic,
    log_domain: int,
    report: Progress,
) -> None:
    header = _header(circuit, toxic, 1 << log_domain)
    with zkey_writer(
        path,
        header,
        count_coefs(circuit),
        Transcript(bytes(64)).to_bytes(),
        key_mark(statement, circuit.digest, DEVELOPMENT),
    ) as writer:
        write_coefs(writer, circuit)
        first = circuit.n_public + 1
        buckets: list[Bucket] = [
            (IC, slice(None, first), to_limbs([1])),
            (L, slice(first, None), toxic.inverses[0]),
        ]
        write_points(writer, circuit, toxic, buckets, log_domain, report)


def in_g1(scalar: Limbs) -> G1:
    """Return a (1, 4) scalar times the generator."""
    return g1_from_words(native.g1_mul_many(scalar))


def in_g2(scalar: Limbs) -> G2:
    """Return a (1, 4) scalar times the generator."""
    return g2_from_words(native.g2_mul_many(scalar))


def _header(circuit: Circuit, toxic: Toxic, domain_size: int) -> ZkeyHeader:
    return ZkeyHeader(
        circuit.n_wires,
        circuit.n_public,
        domain_size,
        in_g1(toxic.alpha),
        in_g1(toxic.beta),
        in_g2(toxic.beta),
        in_g2(to_limbs([1])),
        in_g1(toxic.deltas[0]),
        in_g2(toxic.deltas[0]),
    )


def count_coefs(circuit: Circuit) -> int:
    """Return the entries of section 4: A, B and the dummy rows."""
    return len(circuit.a.wires) + len(circuit.b.wires) + circuit.n_public + 1


def circuit_coefs(circuit: Circuit) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return section 4's entries: by row, A before B, then the dummy rows of A."""
    table = montgomery_squared(circuit.coefs)
    parts = []
    for matrix, csr in enumerate((circuit.a, circuit.b)):
        part = np.zeros(len(csr.wires), COEF)
        part["matrix"] = matrix
        part["row"] = np.repeat(np.arange(len(csr), dtype=np.uint32), np.diff(csr.indptr))
        part["wire"] = csr.wires
        part["value"] = table[csr.coefs]
        parts.append(part)
    entries = np.concatenate(parts)
    entries = entries[np.argsort(entries["row"], kind="stable")]
    dummy = np.zeros(circuit.n_public + 1, COEF)
    dummy["wire"] = np.arange(circuit.n_public + 1)
    dummy["row"] = circuit.n_constraints + dummy["wire"]
    dummy["value"] = montgomery_squared(to_limbs([1]))
    return np.concatenate([entries, dummy])


def write_coefs(writer: SectionWriter, circuit: Circuit) -> None:
    """Fill section 4."""
    view = writer.view(COEFS)
    struct.pack_into("<I", view, 0, count_coefs(circuit))
    np.frombuffer(view, COEF, offset=4)[:] = circuit_coefs(circuit)


def write_points(
    writer: SectionWriter,
    circuit: Circuit,
    toxic: Toxic,
    buckets: Sequence[Bucket],
    log_domain: int,
    report: Progress,
) -> None:
    """Fill the sections of points; those of H are divided by the last delta."""
    n_wires = circuit.n_wires
    report("setup: polynomials", 0.0)
    u, v, w = _wire_polynomials(circuit, toxic.tau, log_domain)
    secrets = [u, v, w]
    report("setup: wires", 0.1)
    for section, wires, factor in buckets:
        a, b, c = (np.ascontiguousarray(x[wires]) for x in (u, v, w))
        combined = native_keys.setup_combine(a, b, c, toxic.alpha, toxic.beta, factor)
        native_keys.points_generate("g1", combined, writer.words(section, len(combined), 8))
        secrets += [a, b, c, combined]
    report("setup: A", 0.3)
    scalars = native.from_montgomery(u)
    native_keys.points_generate("g1", scalars, writer.words(A, n_wires, 8))
    report("setup: B", 0.45)
    scalars[:] = native.from_montgomery(v)
    native_keys.points_generate("g1", scalars, writer.words(B1, n_wires, 8))
    native_keys.points_generate("g2", scalars, writer.words(B2, n_wires, 16))
    report("setup: H", 0.8)
    odd = _odd_lagrange(toxic, log_domain)
    native_keys.points_generate("g1", odd, writer.words(H, 1 << log_domain, 8))
    native_keys.wipe(*secrets, scalars, odd)


def _wire_polynomials(circuit: Circuit, tau: Limbs, log_domain: int) -> tuple[Limbs, Limbs, Limbs]:
    """Return A_i(tau), B_i(tau), C_i(tau) for every wire, Montgomery form, dummy rows included."""
    lagrange = native_keys.lagrange_at(tau, log_domain)
    table = native.to_montgomery(circuit.coefs)
    u, v, w = (
        native.r1cs_columns(matrix, table, lagrange, circuit.n_wires)
        for matrix in (circuit.a, circuit.b, circuit.c)
    )
    n = circuit.n_public + 1
    u[:n] = native.fr_add(u[:n], lagrange[circuit.n_constraints : circuit.n_constraints + n])
    native_keys.wipe(lagrange)
    return u, v, w


def _odd_lagrange(toxic: Toxic, log_domain: int) -> Limbs:
    """Return L_{2i+1}(tau) / delta on the roots of twice the order, standard form."""
    both = native_keys.lagrange_at(toxic.tau, log_domain + 1)
    odd = np.ascontiguousarray(both[1::2])
    zero = np.zeros_like(odd)
    result = native_keys.setup_combine(zero, zero, odd, toxic.alpha, toxic.beta, toxic.inverses[-1])
    native_keys.wipe(both, odd)
    return result
