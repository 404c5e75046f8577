"""What a statement costs, before any key is made.

Counts and sizes come from the circuit itself and are exact, or, where it is too large to be built
for an estimate, from smaller ones. Seconds and memory are models: this
machine's speed, measured by one small multi-scalar product, times the work that the prover's parts
take for such a circuit. Gas is a formula that the chain's tests hold against measurement.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from zkai import native
from zkai.circuit.r1cs import Circuit
from zkai.encoding import Limbs, hex32
from zkai.errors import InvalidInput
from zkai.proof.zkey import COEF, MAX_LOG_DOMAIN

PROOF_BYTES = 256
"""A, B and C as the EVM takes them."""

GAS_BASE, GAS_PER_INPUT = 209_800, 7_200
"""A whole verifying transaction costs at most the first, and the second for each public input."""

CALIBRATION_POINTS = 4096

# Work in multi-scalar products of one full-size point, fitted to measured proofs and setups of
# 2**13 to 2**18 rows; within about a factor of 1.5 on the machines that we tried.
_PROVE_PER_DOMAIN, _PROVE_PER_FIELD_WIRE, _PROVE_PER_INTEGER_WIRE = 0.8, 4.2, 0.15
_SETUP_PER_DOMAIN, _SETUP_PER_WIRE = 1.55, 2.6
_THREAD_EFFICIENCY = 0.85
_FIXED_S, _VERIFY_POINTS = 0.03, 500

# Bytes of headers; bytes that stay resident while proving: the mapped key, vectors of the domain,
# the circuit.
_ZKEY_BYTES, _VK_BYTES, _VK_BYTES_PER_INPUT = 1400, 2600, 220
_BASE_BYTES, _BYTES_PER_DOMAIN, _BYTES_PER_WIRE, _BYTES_PER_ENTRY = 70 << 20, 160, 400, 24


@dataclass(frozen=True)
class TensorFacts:
    """A tensor's fixed point: `width` signed bits, of which `scale_bits` are a fraction."""

    name: str
    shape: tuple[int, ...]
    scale_bits: int
    width: int


@dataclass(frozen=True)
class Sizes:
    """How large a circuit is: rows, wires (`field_wires` hold full-size values), public signals,
    nonzero entries of A, B and C (`key_entries`: of A and B), rows by place.

    `circuit_digest` is None where the sizes are extrapolated and no circuit was built.
    """

    constraints: int
    wires: int
    field_wires: int
    public: int
    entries: int
    key_entries: int
    by_place: Mapping[str, int] = field(default_factory=dict)
    circuit_digest: str | None = None


def sizes_of(circuit: Circuit) -> Sizes:
    """Return a circuit's exact sizes.

    Raises InvalidInput for a circuit with a commitment round, whose proofs cost otherwise.
    """
    circuit.require_plain("an estimate")
    in_key = len(circuit.a.wires) + len(circuit.b.wires)
    return Sizes(
        constraints=circuit.n_constraints,
        wires=circuit.n_wires,
        field_wires=int(np.count_nonzero(circuit.is_field)),
        public=circuit.n_public,
        entries=in_key + len(circuit.c.wires),
        key_entries=in_key,
        by_place=circuit.counts(),
        circuit_digest=hex32(circuit.digest),
    )


@dataclass(frozen=True)
class Estimate:
    """What a statement costs: counts, `exact` unless the circuit is too large to be built for an
    estimate, then measured models (see the module).
    """

    statement: str
    exact: bool
    circuit_digest: str | None
    constraints: int
    wires: int
    public_inputs: int
    domain_size: int
    proof_bytes: int
    proving_key_bytes: int
    verifying_key_bytes: int
    build_s: float
    setup_s: float
    prove_s: float
    verify_s: float
    memory_bytes: int
    gas: int
    constraints_by_place: Mapping[str, int] = field(default_factory=dict)
    tensors: tuple[TensorFacts, ...] = ()
    quantization: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        counted = "exact" if self.exact else "about: too large to be built for an estimate"
        lines = [
            f"{self.statement}",
            f"  constraints      {self.constraints:>14,}   {counted}",
            f"  wires            {self.wires:>14,}   {counted}",
            f"  public inputs    {self.public_inputs:>14,}   exact",
            f"  proving key      {_bytes(self.proving_key_bytes):>14}"
            f"   {'within 1 kB' if self.exact else 'about'}",
            f"  proof            {_bytes(self.proof_bytes):>14}   exact",
            f"  setup            {self.setup_s:>12.2f} s   about, on this machine",
            f"  prove            {self.prove_s:>12.2f} s   about, on this machine",
            f"  verifying key    {_bytes(self.verifying_key_bytes):>14}   about",
            f"  verify           {1000 * self.verify_s:>11.1f} ms   about, on this machine",
            f"  memory           {_bytes(self.memory_bytes):>14}   about, to prove",
            f"  gas              {self.gas:>14,}   at most, a whole transaction",
        ]
        if self.constraints_by_place:
            lines += ["", "most constraints come from"]
        for place, count in list(self.constraints_by_place.items())[:8]:
            lines.append(f"  {count:>10,}   {place}")
        if self.tensors:
            lines += ["", "tensor               shape              fraction bits   signed width"]
            lines += [
                f"  {t.name[:18]:<18} {'x'.join(map(str, t.shape)) or '1':<18}"
                f" {t.scale_bits:>13}   {t.width:>12}"
                for t in self.tensors
            ]
        return "\n".join(lines + _quantization_lines(self.quantization))


def _quantization_lines(report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return []
    lines = ["", f"error against float on {report['samples']} calibration samples"]
    for name, error in report["outputs"].items():
        agreement = error["argmax_agreement"]
        lines.append(
            f"  {name}: at most {error['max_abs_error']:.3g}, mean {error['mean_abs_error']:.3g}"
            + ("" if agreement is None else f", same largest entry in {agreement:.1%}")
        )
    if report["rejected"]:
        lines.append(f"  {report['rejected']} samples overflow and would be refused")
    return lines


def estimate(
    sizes: Sizes,
    statement: str,
    *,
    build_s: float = 0.0,
    tensors: Sequence[TensorFacts] = (),
    quantization: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what proving a circuit of the given sizes costs.

    Raises InvalidInput if the circuit is larger than the field's roots of unity allow.
    """
    domain = _domain(sizes)
    work = _PROVE_PER_DOMAIN * domain + _PROVE_PER_FIELD_WIRE * sizes.field_wires
    work += _PROVE_PER_INTEGER_WIRE * (sizes.wires - sizes.field_wires)
    setup_work = _SETUP_PER_DOMAIN * domain + _SETUP_PER_WIRE * sizes.wires
    point_s = seconds_per_point()
    rate = point_s / (1 + _THREAD_EFFICIENCY * (native.threads() - 1))
    return Estimate(
        statement=statement,
        exact=sizes.circuit_digest is not None,
        circuit_digest=sizes.circuit_digest,
        constraints=sizes.constraints,
        wires=sizes.wires,
        public_inputs=sizes.public,
        domain_size=domain,
        proof_bytes=PROOF_BYTES,
        proving_key_bytes=proving_key_bytes(sizes),
        verifying_key_bytes=_VK_BYTES + _VK_BYTES_PER_INPUT * sizes.public,
        build_s=build_s,
        setup_s=_FIXED_S + rate * setup_work,
        prove_s=_FIXED_S + rate * work,
        verify_s=point_s * _VERIFY_POINTS,
        memory_bytes=_BASE_BYTES
        + _BYTES_PER_DOMAIN * domain
        + _BYTES_PER_WIRE * sizes.wires
        + _BYTES_PER_ENTRY * sizes.entries,
        gas=GAS_BASE + GAS_PER_INPUT * sizes.public,
        constraints_by_place=sizes.by_place,
        tensors=tuple(tensors),
        quantization=quantization,
    )


def _domain(sizes: Sizes) -> int:
    log = (sizes.constraints + sizes.public).bit_length()
    if log > MAX_LOG_DOMAIN:
        raise InvalidInput(
            f"about {sizes.constraints:,} constraints, at most 2**{MAX_LOG_DOMAIN} can be proven at"
            " once; use a smaller batch, fewer steps or a smaller model"
        )
    return 1 << log


def proving_key_bytes(sizes: Sizes) -> int:
    """Return the size of a .zkey: points of 64 bytes in G1 and 128 in G2, and coefficients."""
    points = 64 * (3 * sizes.wires) + 128 * sizes.wires + 64 * _domain(sizes)
    return _ZKEY_BYTES + points + COEF.itemsize * (sizes.key_entries + sizes.public + 1)


@lru_cache(maxsize=1)
def seconds_per_point() -> float:
    """Return this machine's CPU seconds for one point of a small multi-scalar product."""
    scalars = _random_scalars(CALIBRATION_POINTS)
    points = np.tile(native.g1_mul_many(_random_scalars(256)), (CALIBRATION_POINTS // 256, 1))
    runs = []
    for _ in range(3):
        start = time.process_time()
        native.g1_msm(points, scalars)
        runs.append((time.process_time() - start) / CALIBRATION_POINTS)
    return min(runs)


def _random_scalars(n: int) -> Limbs:
    scalars = np.frombuffer(os.urandom(32 * n), dtype="<u8").reshape(n, 4).copy()
    scalars[:, 3] >>= np.uint64(3)  # below 2**253, hence below r
    return scalars


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6)):
        if count < 1000 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e9:,.1f} GB"
