"""What a statement costs, before any key is made.

Counts and sizes come from the circuit itself and are exact, or, where it is too large to be built
for an estimate, from smaller ones. Seconds, memory and gas are models (`zkai.proof.costs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.linked import WeightsCommitment
from zkai.proof import costs
from zkai.proof.sizes import Sizes
from zkai.proof.speed import measured_speed


@dataclass(frozen=True)
class TensorFacts:
    """A tensor's fixed point: `width` signed bits, of which `scale_bits` are a fraction."""

    name: str
    shape: tuple[int, ...]
    scale_bits: int
    width: int


@dataclass(frozen=True)
class Recommendation:
    """The proof format and the commitment to a head's weights that cost least, and why."""

    format: Format
    commitment: WeightsCommitment
    reason: str


@dataclass(frozen=True)
class Estimate:
    """What a statement costs: counts, `exact` unless the circuit is too large to be built for an
    estimate, then measured models (see the module).
    """

    statement: str
    format: Format
    exact: bool
    circuit_digest: str | None
    constraints: int
    wires: int
    constraints_commitments: int
    public_inputs: int
    lookup_table_bits: tuple[int, ...]
    domain_size: int
    proof_bytes: int
    proving_key_bytes: int
    verifying_key_bytes: int
    build_s: float
    setup_s: float
    setup_cpu_s: float
    prove_s: float
    prove_cpu_s: float
    verify_s: float
    memory_bytes: int
    gas: int
    constraints_by_place: Mapping[str, int] = field(default_factory=dict)
    tensors: tuple[TensorFacts, ...] = ()
    quantization: Mapping[str, Any] | None = None
    other_format: Estimate | None = None
    recommended: Recommendation | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        beside = [self] if self.other_format is None else [self, self.other_format]
        counted = "exact" if self.exact else "about: too large to be built for an estimate"
        lines = [self.statement, _line("format", [e.format for e in beside], "")]
        for name, show, remark in _LINES:
            note = remark or (counted if name != "proving key" or self.exact else "about")
            lines.append(_line(name, [show(e) for e in beside], note))
        if self.lookup_table_bits:
            tables = ", ".join(f"2^{bits}" for bits in self.lookup_table_bits)
            lines.append(f"  ranges are looked up in tables of {tables} entries")
        if self.recommended is not None:
            lines += ["", f"recommended: {self.recommended.reason}"]
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


def _line(name: str, values: Sequence[str], remark: str) -> str:
    cells = "".join(f" {value:>14}" for value in values)
    return f"  {name:<16}{cells}   {remark}".rstrip()


_LINES: tuple[tuple[str, Callable[[Estimate], str], str], ...] = (
    ("constraints", lambda e: f"{e.constraints:,}", ""),
    ("of commitments", lambda e: f"{e.constraints_commitments:,}", ""),
    ("wires", lambda e: f"{e.wires:,}", ""),
    ("public inputs", lambda e: f"{e.public_inputs:,}", "exact"),
    ("proving key", lambda e: _bytes(e.proving_key_bytes), "within 1 kB"),
    ("proof", lambda e: _bytes(e.proof_bytes), "exact"),
    ("setup", lambda e: f"{e.setup_s:.2f} s", "about, on this machine"),
    ("prove", lambda e: f"{e.prove_s:.2f} s", "about, on this machine"),
    ("verifying key", lambda e: _bytes(e.verifying_key_bytes), "about"),
    ("verify", lambda e: f"{1000 * e.verify_s:.1f} ms", "about, on this machine"),
    ("memory", lambda e: _bytes(e.memory_bytes), "about, to prove"),
    ("gas", lambda e: f"{e.gas:,}" if e.gas else "-", "at most, a whole transaction"),
)


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
    domain, speed = sizes.domain, measured_speed()
    prove_cpu_s, setup_cpu_s = costs.prove_cpu_s(sizes, speed), costs.setup_cpu_s(sizes, speed)
    return Estimate(
        statement=statement,
        format=COMMIT if sizes.challenges else PLAIN,
        exact=sizes.circuit_digest is not None,
        circuit_digest=sizes.circuit_digest,
        constraints=sizes.constraints,
        wires=sizes.wires,
        constraints_commitments=sizes.commitment_rows,
        public_inputs=sizes.public,
        lookup_table_bits=sizes.tables,
        domain_size=domain,
        proof_bytes=costs.proof_bytes(sizes),
        proving_key_bytes=costs.proving_key_bytes(sizes),
        verifying_key_bytes=costs.verifying_key_bytes(sizes),
        build_s=build_s,
        setup_s=costs.wall_s(setup_cpu_s, costs.SETUP_THREADS),
        setup_cpu_s=setup_cpu_s,
        prove_s=costs.wall_s(prove_cpu_s, costs.PROVE_THREADS),
        prove_cpu_s=prove_cpu_s,
        verify_s=costs.verify_cpu_s(sizes, speed),
        memory_bytes=costs.prove_memory_bytes(sizes),
        gas=costs.gas(sizes),
        constraints_by_place=sizes.by_place,
        tensors=tuple(tensors),
        quantization=quantization,
    )


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6)):
        if count < 1000 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e9:,.1f} GB"
