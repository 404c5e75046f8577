"""Public beacons: where the values come from that order batches and draw samples.

A beacon publishes 32 bytes of randomness at every round, which nobody knows before. A proof's
public signal is its value as a field element:

    beacon = keccak256(abi.encode(
        bytes32 keccak256("zkai/beacon/1"), uint256 source, uint256 round, bytes32 value)) mod r

`source` is the beacon's id, which a fork's terms name: the digest of its description, schedule and
key included. Whether a value really is the beacon's is up to whoever brings a `Beacon`: this module
reads files of rounds as drand publishes them. It checks that a round's randomness is the SHA-256 of
its signature where the file has one, and does not check the signature itself.

What a beacon is good for depends on when: terms are to be public **before their first round**.
`verify_pinned` compares the two, given the time at which the genesis proof was logged or anchored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from zkai.circuit.statements.base import check_names, digest_of, integer
from zkai.circuit.statements.fork_terms import ROUND_BITS, ForkTerms
from zkai.encoding import FIELD_MODULUS, keccak256, load_json, read_capped, sha256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.keys import Proof

DOMAIN = "zkai/beacon/1"
FORMAT = "zkai.beacon/1"
MAX_BYTES = 1 << 28
MAX_ROUND = (1 << 52) - 1

_HEX = re.compile(r"(?:[0-9a-f]{2}){1,256}")


@runtime_checkable
class Beacon(Protocol):
    """A source of rounds."""

    @property
    def id(self) -> int:
        """The source's id, as a fork's terms name it."""

    def value(self, round_number: int) -> bytes:
        """Return a round's 32 bytes. Raises VerificationError if the source does not have them."""


def beacon_element(source: int, round_number: int, value: bytes) -> int:
    """Return the public signal that a round's value makes (see the module).

    Raises InvalidInput unless the value has 32 bytes.
    """
    if not isinstance(value, bytes) or len(value) != 32:
        raise InvalidInput("beacon: a round's value has 32 bytes")
    integer("beacon", "round", round_number, 0, MAX_ROUND)
    encoded = keccak256(DOMAIN.encode()) + word(source) + word(round_number) + value
    return int.from_bytes(keccak256(encoded), "big") % FIELD_MODULUS


@dataclass(frozen=True)
class BeaconFile:
    """A beacon's description and rounds that somebody has collected.

    `name` and `key` say whose beacon it is (drand: the chain's hash); round n is published at
    genesis_time + (n - 1) period, in seconds since 1970.

    Raises InvalidInput, naming the field, for anything out of range.
    """

    name: str
    key: str
    genesis_time: int
    period: int
    rounds: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[ -~]{1,100}", self.name):
            raise InvalidInput("beacon: name must be 1 to 100 printable ASCII characters")
        _hexadecimal("beacon: key", self.key)
        integer("beacon", "genesis_time", self.genesis_time, 0, 1 << 40)
        integer("beacon", "period", self.period, 1, 1 << 32)

    @property
    def id(self) -> int:
        """The source's id: the digest of its description."""
        return digest_of(
            {
                "format": FORMAT,
                "name": self.name,
                "key": self.key,
                "genesis_time": self.genesis_time,
                "period": self.period,
            }
        )

    def value(self, round_number: int) -> bytes:
        """Return a round's 32 bytes. Raises VerificationError if the file does not have them."""
        if round_number not in self.rounds:
            raise VerificationError(f"beacon {self.name!r}: no round {round_number} in the file")
        return self.rounds[round_number]

    def time_of(self, round_number: int) -> int:
        """Return when a round is published, in seconds since 1970."""
        return self.genesis_time + (round_number - 1) * self.period

    def first_after(self, time: int) -> int:
        """Return the first round that is published after a time, in seconds since 1970."""
        return max((time - self.genesis_time) // self.period + 2, 1)

    @staticmethod
    def from_json(value: Any, where: str) -> BeaconFile:
        """Parse {"format", "name", "key", "genesis_time", "period", "rounds": [{"round",
        "randomness"[, "signature"][, "previous_signature"]}]}.

        Raises InvalidInput, naming the field, for anything malformed, a round given twice, and
        randomness that is not the SHA-256 of its signature.
        """
        names = ("name", "key", "genesis_time", "period")
        check_names(where, value, ["format", "rounds", *names])
        if value["format"] != FORMAT:
            raise InvalidInput(f"{where}: format {value['format']!r}, expected {FORMAT!r}")
        if not isinstance(value["rounds"], list):
            raise InvalidInput(f"{where}: rounds: expected a list")
        rounds: dict[int, bytes] = {}
        for place, entry in enumerate(value["rounds"]):
            number, randomness = _round(entry, f"{where}: rounds[{place}]")
            if rounds.setdefault(number, randomness) is not randomness:
                raise InvalidInput(f"{where}: round {number} is given twice")
        return BeaconFile(**{name: value[name] for name in names}, rounds=rounds)

    @staticmethod
    def from_path(path: Path | str) -> BeaconFile:
        """Read a file of rounds. Raises InvalidInput as `from_json` does, naming the file."""
        return BeaconFile.from_json(load_json(read_capped(path, MAX_BYTES), str(path)), str(path))


def _round(entry: Any, where: str) -> tuple[int, bytes]:
    check_names(where, entry, ["round", "randomness"], ["signature", "previous_signature"])
    number = integer(where, "round", entry["round"], 0, MAX_ROUND)
    randomness = _hexadecimal(f"{where}: randomness", entry["randomness"])
    if len(randomness) != 32:
        raise InvalidInput(f"{where}: randomness: expected 32 bytes")
    if "signature" in entry:
        signature = _hexadecimal(f"{where}: signature", entry["signature"])
        if sha256(signature) != randomness:
            raise InvalidInput(f"{where}: the randomness is not the SHA-256 of the signature")
    return number, randomness


def _hexadecimal(where: str, text: object) -> bytes:
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise InvalidInput(f"{where}: expected lower-case hexadecimal digits, without 0x")
    return bytes.fromhex(text)


def beacon_values(beacon: Beacon, terms: ForkTerms, step: int, steps: int = 1) -> list[int]:
    """Return the beacon's values for the steps from number `step` on, as field elements.

    Raises InvalidInput for another beacon than the terms'; VerificationError for a round that the
    source does not have.
    """
    if beacon.id != terms.beacon_source:
        raise InvalidInput("beacon: not the one that the fork's terms name")
    rounds = [terms.round_of(step + i) for i in range(steps)]
    return [beacon_element(beacon.id, n, beacon.value(n)) for n in rounds]


def verify_order(proof: Proof, terms: ForkTerms, beacon: Beacon) -> None:
    """Return None if a training proof's rows are in the order that the fork's beacon gives.

    The fork is that of the terms, each step's round is the one that they fix, and its value is the
    beacon's.

    Raises VerificationError otherwise, also for a proof that does not prove its rows' order.
    """
    if proof.public.get("fork") != (terms.fork,):
        raise VerificationError("the proof's fork is not the one with these terms")
    values, rounds = (proof.public.get(name, ()) for name in ("beacon", "beacon_round"))
    step = proof.public.get("step", (0,))[0]
    if not values or len(values) != len(rounds):
        raise VerificationError("the proof does not say which beacon ordered its rows")
    if beacon.id != terms.beacon_source:
        raise VerificationError("the beacon is not the one that the fork's terms name")
    for i, (value, number) in enumerate(zip(values, rounds, strict=True)):
        if number != terms.round_of(step + i):
            wanted = terms.round_of(step + i)
            raise VerificationError(f"step {step + i} takes round {number}, not {wanted}")
        if value != beacon_element(beacon.id, number, beacon.value(number)):
            raise VerificationError(f"the beacon's value of round {number} is another")


def verify_pinned(terms: ForkTerms, beacon: BeaconFile, logged_at: int) -> None:
    """Return None if terms were logged before the beacon's first round that they use.

    `logged_at` is when the log, the chain or a timestamp authority saw the genesis proof, whose
    fork is the terms' digest, in seconds since 1970.

    Raises VerificationError otherwise.
    """
    if beacon.id != terms.beacon_source:
        raise VerificationError("the beacon is not the one that the fork's terms name")
    first = beacon.time_of(terms.first_round)
    if logged_at >= first:
        raise VerificationError(
            f"the terms were logged at {logged_at}, but round {terms.first_round} was public at"
            f" {first}: whoever knew its value could choose among terms"
        )


assert MAX_ROUND >= 1 << ROUND_BITS
