"""What a verifying key records of the ceremony that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields, parse_hex
from zkai.proof.points import G1_GENERATOR, G2, G2_GENERATOR
from zkai.proof.ratio import same_ratio
from zkai.proof.transcript import MAX_CONTRIBUTIONS, Contribution, Transcript, verify_chains


@dataclass(frozen=True)
class CeremonyRecord:
    """What a verifying key tells of its ceremony: phase 1 in short, phase 2 in full."""

    phase1_power: int
    phase1_contributions: int
    phase1_digest: bytes
    transcript: Transcript

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "phase1": {
                "power": self.phase1_power,
                "contributions": self.phase1_contributions,
                "digest": self.phase1_digest.hex(),
            },
            "circuit_hash": self.transcript.circuit_hash.hex(),
            "contributions": [c.to_json() for c in self.transcript.contributions],
        }

    @staticmethod
    def from_json(value: Any, where: str) -> CeremonyRecord:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field."""
        expect_fields(value, ("phase1", "circuit_hash", "contributions"), where)
        phase1 = value["phase1"]
        expect_fields(phase1, ("power", "contributions", "digest"), f"{where}.phase1")
        for name in ("power", "contributions"):
            if type(phase1[name]) is not int or not 0 <= phase1[name] <= MAX_CONTRIBUTIONS:
                raise InvalidInput(f"{where}.phase1.{name}: expected a small integer")
        listed = value["contributions"]
        if not isinstance(listed, list) or len(listed) > MAX_CONTRIBUTIONS:
            raise InvalidInput(
                f"{where}.contributions: expected a list of at most {MAX_CONTRIBUTIONS}"
            )
        contributions = tuple(
            Contribution.from_json(item, f"{where}.contributions[{i}]")
            for i, item in enumerate(listed)
        )
        circuit_hash = parse_hex(value["circuit_hash"], f"{where}.circuit_hash", 64, 64)
        return CeremonyRecord(
            phase1["power"],
            phase1["contributions"],
            parse_hex(phase1["digest"], f"{where}.phase1.digest", 64, 64),
            Transcript(circuit_hash, contributions),
        )


def verify_chain_g2(transcript: Transcript, deltas: Sequence[G2], slots: Sequence[bytes]) -> None:
    """Verify a chain of contributions against the deltas in G2, one of each slot.

    Raises VerificationError naming the contribution or the mismatch.
    """
    ends = [entry.delta_after for entry in transcript.contributions[-len(slots) :]]
    verify_chains(transcript, ends, slots)
    for end, delta in zip(ends, deltas, strict=True):
        if not same_ratio((G1_GENERATOR, end), (G2_GENERATOR, delta)):
            raise VerificationError(
                "the ceremony's last contribution does not lead to the key's delta"
            )
