"""The demo's beacon: rounds that are drawn on this machine, each when nothing can depend on it.

In earnest they would be a public beacon's, and everybody could tell when each was published.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from zkai.beacon import FORMAT, BeaconFile
from zkai.demo.digits import STEPS
from zkai.encoding import write_atomic

FIRST_ROUND = 1
TRAINING_ROUNDS = range(FIRST_ROUND, FIRST_ROUND + STEPS + 1)
"""One for each step, and one more for the steps that are compared and forged."""

BEACON = BeaconFile(
    "zkai demo: drawn on this machine, not a public beacon",
    "00",
    genesis_time=0,
    period=1,
    rounds={},
)

LOGGED_AT = BEACON.time_of(TRAINING_ROUNDS[-1])
"""When the last states were on the chain, by the beacon's clock."""

EXAM_ROUND = BEACON.first_after(LOGGED_AT)
"""What draws the samples of every examination."""


def draw(beacon: BeaconFile, numbers: Iterable[int], path: Path) -> BeaconFile:
    """Return the beacon with more rounds, drawn now, and write all of them to `path`."""
    drawn = {number: secrets.token_bytes(32) for number in numbers}
    whole = replace(beacon, rounds={**beacon.rounds, **drawn})
    listed = [{"round": n, "randomness": value.hex()} for n, value in whole.rounds.items()]
    names = ("name", "key", "genesis_time", "period")
    described = {name: getattr(whole, name) for name in names}
    document = {"format": FORMAT, **described, "rounds": listed}
    write_atomic(path, json.dumps(document, indent=1).encode() + b"\n")
    return whole
