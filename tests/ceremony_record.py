"""Records of ceremonies whose secrets a test knows: the vectors' keys claim one and carry none."""

from __future__ import annotations

from collections.abc import Sequence

from zkai.proof.points import G1_GENERATOR
from zkai.proof.randompoint import contribution_key, hash_to_g2
from zkai.proof.ratio import g1_multiply, g2_multiply
from zkai.proof.record import CeremonyRecord
from zkai.proof.transcript import ONE_DELTA, Contribution, Transcript


def recorded(deltas: Sequence[int], slots: Sequence[bytes] = ONE_DELTA) -> CeremonyRecord:
    """The record of a ceremony whose only party multiplied each delta by a known number."""
    _, s, _ = contribution_key(bytes(32))
    transcript = Transcript(bytes(64))
    for delta, slot in zip(deltas, slots, strict=True):
        sx = g1_multiply(s, delta)
        challenge = transcript.challenge(s, sx, slot)
        point = g2_multiply(hash_to_g2(challenge), delta)
        made = Contribution(g1_multiply(G1_GENERATOR, delta), s, sx, point, challenge)
        transcript = transcript.append(made)
    return CeremonyRecord(10, 1, bytes(64), transcript)
