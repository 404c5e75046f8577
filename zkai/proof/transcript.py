"""The record of a phase-2 ceremony: who multiplied delta, and the proofs that bind them.

The format, hashes and challenges are those of iden3's section 10, so that either tool verifies the
other's ceremonies. A contribution by secret d publishes delta' = d delta, a proof of knowledge
(s, d s) in G1 and d S in G2, where S is hashed from everything before it and from (s, d s).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import (
    expect_fields,
    g1_from_json,
    g1_to_json,
    g2_from_json,
    g2_to_json,
    parse_hex,
)
from zkai.proof.points import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    g1_from_bytes,
    g1_to_bytes,
    g1_uncompressed,
    g2_from_bytes,
    g2_to_bytes,
    g2_uncompressed,
)
from zkai.proof.randompoint import beacon_seed, contribution_key, hash_to_g2, slot_seed
from zkai.proof.ratio import same_ratio

PARTY, BEACON = 0, 1
MAX_CONTRIBUTIONS = 1000
MIN_BEACON_LOG, MAX_BEACON_LOG = 10, 20
MAX_BEACON_WORK = 4 << MAX_BEACON_LOG
"""The most hashes that the beacons of one chain may take: a few seconds."""
_BODY = 3 * 64 + 128 + 64
_TAIL = struct.Struct("<II")


@dataclass(frozen=True)
class Contribution:
    """One step of the ceremony."""

    delta_after: G1
    g1_s: G1
    g1_sx: G1
    g2_spx: G2
    transcript: bytes
    kind: int = PARTY
    name: str = ""
    beacon: bytes = b""
    beacon_log_iterations: int = 0

    def public_bytes(self) -> bytes:
        """Return what the next contributions hash of this one."""
        return (
            g1_uncompressed(self.delta_after)
            + g1_uncompressed(self.g1_s)
            + g1_uncompressed(self.g1_sx)
            + g2_uncompressed(self.g2_spx)
            + self.transcript
        )

    @property
    def digest(self) -> bytes:
        """The contribution's 64-byte hash, which its maker publishes."""
        return hashlib.blake2b(self.public_bytes()).digest()

    def label(self) -> tuple[int, str, bytes, int]:
        """Return who or what contributed: the same for every delta of one party's contribution."""
        return self.kind, self.name, self.beacon, self.beacon_log_iterations

    def to_bytes(self) -> bytes:
        """Return the record as section 10 holds it."""
        return (
            g1_to_bytes(self.delta_after)
            + g1_to_bytes(self.g1_s)
            + g1_to_bytes(self.g1_sx)
            + g2_to_bytes(self.g2_spx)
            + self.transcript
            + tail_bytes(self.kind, self.name, self.beacon, self.beacon_log_iterations)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record with decimal coordinates and hexadecimal hashes."""
        return {
            "delta_after": g1_to_json(self.delta_after),
            "g1_s": g1_to_json(self.g1_s),
            "g1_sx": g1_to_json(self.g1_sx),
            "g2_spx": g2_to_json(self.g2_spx),
            "transcript": self.transcript.hex(),
            "kind": ("party", "beacon")[self.kind],
            "name": self.name,
            "beacon": self.beacon.hex(),
            "beacon_log_iterations": self.beacon_log_iterations,
        }

    @staticmethod
    def from_json(value: Any, where: str) -> Contribution:
        """Parse `to_json`'s form. Raises InvalidInput, naming the field."""
        fields = (
            "delta_after", "g1_s", "g1_sx", "g2_spx", "transcript", "kind", "name", "beacon",
            "beacon_log_iterations",
        )  # fmt: skip
        expect_fields(value, fields, where)
        if value["kind"] not in ("party", "beacon"):
            raise InvalidInput(f"{where}.kind: expected party or beacon")
        name, log = value["name"], value["beacon_log_iterations"]
        if not isinstance(name, str) or len(name.encode(errors="replace")) > 255:
            raise InvalidInput(f"{where}.name: expected text of at most 255 bytes")
        if isinstance(log, bool) or not isinstance(log, int) or not 0 <= log <= 63:
            raise InvalidInput(f"{where}.beacon_log_iterations: expected an integer in 0..63")
        return Contribution(
            g1_from_json(value["delta_after"], f"{where}.delta_after"),
            g1_from_json(value["g1_s"], f"{where}.g1_s"),
            g1_from_json(value["g1_sx"], f"{where}.g1_sx"),
            g2_from_json(value["g2_spx"], f"{where}.g2_spx"),
            parse_hex(value["transcript"], f"{where}.transcript", 64, 64),
            BEACON if value["kind"] == "beacon" else PARTY,
            name,
            parse_hex(value["beacon"], f"{where}.beacon", 0, 255),
            log,
        )


@dataclass(frozen=True)
class Transcript:
    """The circuit's hash and every contribution since the initial key."""

    circuit_hash: bytes
    contributions: tuple[Contribution, ...] = ()

    def to_bytes(self) -> bytes:
        """Return section 10."""
        count = struct.pack("<I", len(self.contributions))
        return self.circuit_hash + count + b"".join(c.to_bytes() for c in self.contributions)

    @staticmethod
    def from_bytes(data: bytes | memoryview, where: str) -> Transcript:
        """Parse section 10, all of it.

        Raises InvalidInput, naming `where` and the contribution, if it is malformed.
        """
        data = bytes(data)
        if len(data) < 68:
            raise InvalidInput(f"{where} is truncated")
        (count,) = struct.unpack_from("<I", data, 64)
        if count > MAX_CONTRIBUTIONS:
            raise InvalidInput(f"{where}: {count} contributions, at most {MAX_CONTRIBUTIONS}")
        contributions, position = [], 68
        for index in range(count):
            contribution, position = _parse(data, position, f"{where}: contribution {index + 1}")
            contributions.append(contribution)
        if position != len(data):
            raise InvalidInput(f"{where}: {len(data) - position} bytes after the last contribution")
        return Transcript(data[:64], tuple(contributions))

    def challenge(self, g1_s: G1, g1_sx: G1, slot: bytes = b"") -> bytes:
        """Return the 64 bytes that bind a new contribution's key to everything before it.

        `slot` names the delta where a key has more than one.
        """
        state = hashlib.blake2b(self.circuit_hash)
        for contribution in self.contributions:
            state.update(contribution.public_bytes())
        state.update(slot + g1_uncompressed(g1_s) + g1_uncompressed(g1_sx))
        return state.digest()

    def append(self, contribution: Contribution) -> Transcript:
        """Return the transcript with one more contribution."""
        return Transcript(self.circuit_hash, (*self.contributions, contribution))


def _parse(data: bytes, start: int, where: str) -> tuple[Contribution, int]:
    position = start + _BODY
    if len(data) - position < _TAIL.size:
        raise InvalidInput(f"{where} is truncated")
    kind, length = _TAIL.unpack_from(data, position)
    position += _TAIL.size
    if kind not in (PARTY, BEACON):
        raise InvalidInput(f"{where}: unknown type {kind}")
    if length > len(data) - position:
        raise InvalidInput(f"{where} is truncated")
    parameters = parse_parameters(data[position : position + length], where)
    body = data[start : start + _BODY]
    return Contribution(
        g1_from_bytes(body[0:64], f"{where}: delta"),
        g1_from_bytes(body[64:128], f"{where}: s"),
        g1_from_bytes(body[128:192], f"{where}: s x"),
        g2_from_bytes(body[192:320], f"{where}: S x"),
        body[320:384],
        kind,
        **parameters,
    ), position + length


def tail_bytes(kind: int, name: str, beacon: bytes, beacon_log_iterations: int) -> bytes:
    """Return a contribution's type and its sorted type-length-value parameters."""
    parameters = b""
    if name:
        encoded = name.encode()[:255]
        parameters += bytes((1, len(encoded))) + encoded
    if kind == BEACON:
        parameters += bytes((2, beacon_log_iterations))
        parameters += bytes((3, len(beacon))) + beacon
    return _TAIL.pack(kind, len(parameters)) + parameters


def parse_parameters(data: bytes, where: str) -> dict[str, Any]:
    """Return name, beacon_log_iterations and beacon from their sorted type-length-value list."""
    result: dict[str, Any] = {}
    position, last = 0, 0
    while position < len(data):
        kind = data[position]
        if kind <= last or kind > 3 or position + 2 > len(data):
            raise InvalidInput(f"{where}: its parameters are malformed")
        last = kind
        if kind == 2:
            result["beacon_log_iterations"] = data[position + 1]
            position += 2
            continue
        end = position + 2 + data[position + 1]
        value = data[position + 2 : end]
        if end > len(data):
            raise InvalidInput(f"{where}: its parameters are truncated")
        if kind == 1:
            # Names are shown to people and bound by nothing: odd bytes must not stop a check.
            result["name"] = value.decode(errors="replace")
        else:
            result["beacon"] = value
        position = end
    return result


ONE_DELTA = (b"",)
"""The slots of plain Groth16: iden3's transcripts name none."""


def verify_chain(transcript: Transcript, delta1: G1) -> None:
    """Return None if every contribution is bound to its past and the chain ends at `delta1`.

    Raises VerificationError naming the contribution, or if there is none at all.
    """
    verify_chains(transcript, (delta1,), ONE_DELTA)


def verify_chains(transcript: Transcript, deltas: Sequence[G1], slots: Sequence[bytes]) -> None:
    """Return None if every contribution is bound to its past and the chains end at `deltas`.

    With several slots a party contributes to each in turn, in one go: entries k * len(slots) and
    following are of one party. Their deltas must differ, also up to sign.

    Raises VerificationError naming the contribution, or if there is none at all.
    """
    entries = transcript.contributions
    if not entries:
        raise VerificationError("the ceremony has no contribution: its delta is known to everyone")
    if len(entries) > MAX_CONTRIBUTIONS:
        raise VerificationError(f"the ceremony has more than {MAX_CONTRIBUTIONS} contributions")
    if len(entries) % len(slots):
        raise VerificationError("the ceremony's last contribution does not cover every delta")
    past = hashlib.blake2b(transcript.circuit_hash)
    beacons = Beacons()
    ends: list[G1] = [G1_GENERATOR] * len(slots)
    for index, entry in enumerate(entries):
        number, slot = divmod(index, len(slots))
        where = f"ceremony contribution {number + 1}"
        if entry.label() != entries[number * len(slots)].label():
            raise VerificationError(f"{where}: its parts are of different parties")
        _verify_contribution(entry, past, ends[slot], slots[slot], where)
        if entry.kind == BEACON:
            _verify_beacon(entry, beacons, slots[slot], where)
        past.update(entry.public_bytes())
        ends[slot] = entry.delta_after
    if fault := known_deltas(ends):
        raise VerificationError(f"the ceremony ends {fault}")
    if ends != list(deltas):
        raise VerificationError("the ceremony's last contribution does not lead to the key's delta")


def known_deltas(deltas: Sequence[G1 | G2]) -> str | None:
    """Return what is wrong if a delta is trivial or two are equal, up to sign, else None.

    Where the ratio of two deltas is known, what belongs under one can be moved under the other.
    """
    if any(delta is None or delta[0] in _GENERATORS_X for delta in deltas):
        return "at a delta that everyone knows"
    if len({delta[0] for delta in deltas if delta is not None}) != len(deltas):
        return "at two deltas that are equal, up to sign"
    return None


_GENERATORS_X: tuple[Any, ...] = (G1_GENERATOR[0], G2_GENERATOR[0])


def _verify_contribution(
    c: Contribution, past: hashlib.blake2b, delta: G1, slot: bytes, where: str
) -> None:
    state = past.copy()
    state.update(slot + g1_uncompressed(c.g1_s) + g1_uncompressed(c.g1_sx))
    if state.digest() != c.transcript:
        raise VerificationError(f"{where}: its transcript hash does not follow from what precedes")
    challenge = hash_to_g2(c.transcript)
    if not same_ratio((c.g1_s, c.g1_sx), (challenge, c.g2_spx)):
        raise VerificationError(f"{where}: its proof of knowledge does not hold")
    if not same_ratio((delta, c.delta_after), (challenge, c.g2_spx)):
        raise VerificationError(f"{where}: its delta does not follow from the one before")


def _verify_beacon(c: Contribution, beacons: Beacons, slot: bytes, where: str) -> None:
    seed = beacons.seed(c.beacon, c.beacon_log_iterations, where)
    _, g1_s, g1_sx = contribution_key(slot_seed(seed, slot))
    if (g1_s, g1_sx) != (c.g1_s, c.g1_sx):
        raise VerificationError(f"{where}: its key does not follow from the beacon's value")


class Beacons:
    """Repeats the hashing of a chain's beacons, within bounds: a file must not keep us for hours.

    iden3's tools allow 2**63 iterations; 2**20 a beacon are repeated here.
    """

    def __init__(self) -> None:
        self._spent = 0
        self._seeds: dict[tuple[bytes, int], bytes] = {}

    def seed(self, value: bytes, log_iterations: int, where: str) -> bytes:
        """Return what a beacon's value hashes to.

        Raises VerificationError, naming `where`, for a beacon out of bounds.
        """
        if not MIN_BEACON_LOG <= log_iterations <= MAX_BEACON_LOG or not value:
            raise VerificationError(f"{where}: {BEACON_BOUNDS}, not 2**{log_iterations}")
        if (value, log_iterations) in self._seeds:
            return self._seeds[value, log_iterations]
        self._spent += 1 << log_iterations
        if self._spent > MAX_BEACON_WORK:
            raise VerificationError(
                f"{where}: the beacons of one chain may take {MAX_BEACON_WORK} iterations in all"
            )
        seed = self._seeds[value, log_iterations] = beacon_seed(value, log_iterations)
        return seed


BEACON_BOUNDS = (
    f"a beacon needs a value of 1 to 255 bytes and 2**{MIN_BEACON_LOG} to 2**{MAX_BEACON_LOG} "
    "iterations"
)
