"""What a Halo2 proof costs, from its settings and a table measured with EZKL 23.0.5.

Rows are exact. A proving key holds each of its c columns as values, as coefficients and on a coset
e times as large, and three more on the coset: 32 * 2**k * (c (e + 2) + 3 e) bytes, where e is 4, or
8 for circuits of a higher degree; c follows from what the circuit looks up. Memory and time follow
the key's bytes, time scaled by this machine's speed: both within a factor of 2 or 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from zkai.errors import InvalidInput
from zkai.halo2.process import default_memory
from zkai.halo2.settings import Settings
from zkai.halo2.srs import file_bytes
from zkai.halo2.statement import FORMAT, Signal
from zkai.proof.speed import measured_speed

_COLUMN = 7
_FIXED_COLUMNS = 6
_FIRST_LOOKUP, _LOOKUP, _RANGE, _SHUFFLE, _HASH, _COMMITTED = 4, 3, 3, 5, 9, 1
_PROOF_BASE, _PROOF_COLUMN = 960, 1056
_PROOF_LOOKUP, _PROOF_RANGE, _PROOF_SHUFFLE, _PROOF_HASH = 560, 544, 960, 768
_PROOF_COMMITTED, _PROOF_WIDE = 128, 640
"""What each adds to the 960 bytes of a proof without columns, as measured."""

_MEMORY_BASE, _MEMORY_PER_KEY_BYTE = 100 << 20, 2.5
_SETUP_S, _PROVE_S, _VERIFY_S = 6e-8, 8e-8, 0.05
"""Seconds for each byte of the proving key on the machine with the reference speed."""
_REFERENCE_G1_S = 6.4e-8


@dataclass(frozen=True)
class Halo2Estimate:
    """What a statement of format halo2 costs; rows, k and public inputs are exact."""

    statement: str
    format: str
    k: int
    constraints: int
    public_inputs: int
    decomposition: tuple[int, int]
    scale: int
    columns: int
    proof_bytes: int
    proving_key_bytes: int
    verifying_key_bytes: int
    srs_bytes: int
    setup_s: float
    prove_s: float
    verify_s: float
    memory_bytes: int
    quantization: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        base, legs = self.decomposition
        lines = [
            self.statement,
            f"  format           {self.format:>14}",
            f"  rows             {self.constraints:>14,}   exact, of 2^{self.k}",
            f"  public inputs    {self.public_inputs:>14,}   exact",
            f"  numbers          {f'2^-{self.scale}':>14}   in {legs} digits of base {base}",
            f"  proving key      {_bytes(self.proving_key_bytes):>14}   about",
            f"  setup string     {_bytes(self.srs_bytes):>14}   exact",
            f"  verifying key    {_bytes(self.verifying_key_bytes):>14}   about",
            f"  proof            {_bytes(self.proof_bytes):>14}   about",
            f"  setup            {self.setup_s:>12.1f} s   about, on this machine",
            f"  prove            {self.prove_s:>12.1f} s   about, on this machine",
            f"  verify           {self.verify_s:>12.2f} s   about",
            f"  memory           {_bytes(self.memory_bytes):>14}   about",
        ]
        for name, error in (self.quantization or {}).get("outputs", {}).items():
            agreement = error["argmax_agreement"]
            lines.append(
                f"  error of {name}: at most {error['max_abs_error']:.3g}, mean"
                f" {error['mean_abs_error']:.3g}, same largest entry in {agreement:.1%}"
                f" (held-out samples)"
            )
        return "\n".join(lines)


def estimate_settings(
    settings: Settings,
    statement: str,
    signals: tuple[Signal, ...],
    quantization: Mapping[str, Any] | None = None,
) -> Halo2Estimate:
    """Return what proving a circuit of these settings costs."""
    counts = _Counts.of(settings)
    key = counts.key_bytes(settings.k)
    slower = max(0.25, measured_speed().g1_s / _REFERENCE_G1_S)
    return Halo2Estimate(
        statement=statement,
        format=FORMAT,
        k=settings.k,
        constraints=settings.rows,
        public_inputs=sum(signal.size for signal in signals),
        decomposition=settings.decomposition,
        scale=settings.input_scales[0],
        columns=counts.columns,
        proof_bytes=counts.proof_bytes,
        proving_key_bytes=key,
        verifying_key_bytes=8_000 + 3 * (1 << settings.k),
        srs_bytes=file_bytes(settings.k),
        setup_s=0.1 + _SETUP_S * key * slower,
        prove_s=0.1 + _PROVE_S * key * slower,
        verify_s=_VERIFY_S * slower,
        memory_bytes=int(_MEMORY_BASE + _MEMORY_PER_KEY_BYTE * key),
        quantization=quantization,
    )


def check_memory(settings: Settings, limit: int | None = None) -> None:
    """Return None if the circuit's keys and proofs fit into `limit` bytes, by default this
    machine's memory as `default_memory` gives it.

    Raises InvalidInput, with what could help, otherwise.
    """
    counts = _Counts.of(settings)
    need = int(_MEMORY_BASE + _MEMORY_PER_KEY_BYTE * counts.key_bytes(settings.k))
    have = default_memory() if limit is None else limit
    if need > have:
        raise InvalidInput(
            f"halo2: a circuit of 2^{settings.k} rows and {counts.columns} columns needs about"
            f" {_bytes(need)} of memory, {_bytes(have)} may be used: lower the scale, hash fewer"
            " numbers, cut the model into slices, or take a larger machine"
        )


@dataclass(frozen=True)
class _Counts:
    """What determines a circuit's columns."""

    inner: int
    lookups: int
    ranges: int
    shuffles: int
    hashed: bool
    committed: int
    wide: bool

    @classmethod
    def of(cls, settings: Settings) -> _Counts:
        content = settings.content
        ranges = content.get("required_range_checks", [])
        rows = (1 << settings.k) - 16
        widest = max((high - low + 1 for low, high in ranges), default=1)
        low, high = content["run_args"]["lookup_range"]
        looked_up = content.get("required_lookups", [])
        return cls(
            inner=int(content["run_args"]["num_inner_cols"]),
            lookups=len(looked_up),
            ranges=len(ranges),
            shuffles=int(content.get("num_shuffles", 0))
            + int(content.get("num_dynamic_lookups", 0)),
            hashed=settings.hashes > 0,
            committed=len(settings.committed_lengths),
            wide=widest > rows or (bool(looked_up) and high - low + 1 > rows),
        )

    @property
    def columns(self) -> int:
        """The number of columns that the proving key holds."""
        lookups = 0 if self.lookups == 0 else _FIRST_LOOKUP + _LOOKUP * (self.lookups - 1)
        return (
            _FIXED_COLUMNS
            + _COLUMN * self.inner
            + lookups
            + _RANGE * max(0, self.ranges - 2)
            + _SHUFFLE * min(1, self.shuffles)
            + _HASH * int(self.hashed)
            + _COMMITTED * self.committed
        )

    def key_bytes(self, k: int) -> int:
        """Return the bytes of a proving key of 2**k rows."""
        high = self.shuffles or self.hashed or self.wide or self.inner > 2
        extension = 8 if high else 4
        return (32 << k) * (self.columns * (extension + 2) + 3 * extension)

    @property
    def proof_bytes(self) -> int:
        """About how long a proof is."""
        return (
            _PROOF_BASE
            + _PROOF_COLUMN * self.inner
            + _PROOF_LOOKUP * self.lookups
            + _PROOF_RANGE * max(0, self.ranges - 2)
            + _PROOF_SHUFFLE * min(1, self.shuffles)
            + _PROOF_HASH * int(self.hashed)
            + _PROOF_COMMITTED * self.committed
            + _PROOF_WIDE * int(self.wide)
        )


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6)):
        if count < 1000 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e9:,.1f} GB"
