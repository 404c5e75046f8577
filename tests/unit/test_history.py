"""Histories of forks with terms: rounds and values against the beacon, skips against the limit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from zkai.beacon import (
    Beacon,
    BeaconFile,
    beacon_element,
    beacon_values,
    verify_order,
    verify_pinned,
)
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.encoding import FIELD_MODULUS, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.history import History
from zkai.proof.keys import Proof


def rounds_json(**changes: Any) -> dict[str, Any]:
    signatures = [bytes([i]) * 48 for i in range(20)]
    rounds = [
        {"round": i, "randomness": hashlib.sha256(s).hexdigest(), "signature": s.hex()}
        for i, s in enumerate(signatures)
    ]
    named = {"format": "zkai.beacon/1", "name": "drand quicknet", "key": "52db9ba7"}
    return named | {"genesis_time": 1000, "period": 3, "rounds": rounds} | changes


BEACON = BeaconFile.from_json(rounds_json(), "rounds.json")
TERMS = ForkTerms(
    1, 20, 3, BEACON.id, first_round=4, rounds_per_step=2, max_skips=2, nonce=9
)  # fmt: skip


def proof(statement: str, **public: Any) -> Proof:
    """A proof with these public signals; histories leave its points to the verifier."""
    values = {n: v if isinstance(v, tuple) else (v,) for n, v in public.items()}
    names = {f.name: None for f in fields(Proof)}
    return Proof(**{**names, "statement": statement, "public": values})  # type: ignore[arg-type]


def genesis(**changes: Any) -> Proof:
    known = {"model": 1, "new_state": 100, "user": 2, "fork": TERMS.fork, "context": 0}
    return proof("genesis/1", **known | changes)


def skip(step: int, **changes: Any) -> Proof:
    known = {"old_state": 100 + step, "new_state": 101 + step, "max_skips": 2, "user": 2}
    return proof("skip_step/1", **known | {"model": 1, "fork": TERMS.fork, "step": step} | changes)


def training(step: int, steps: int = 1, **changes: Any) -> Proof:
    values = beacon_values(BEACON, TERMS, step, steps)
    rounds = [TERMS.round_of(step + i) for i in range(steps)]
    known = {"old_state": 100 + step, "new_state": 100 + step + steps, "user": 2, "model": 1}
    known |= {"beacon": tuple(values), "beacon_round": tuple(rounds), "fork": TERMS.fork}
    return proof("training_step/1", **known | {"step": step} | changes)


def history(*proofs: Proof, terms: ForkTerms | None = TERMS, beacon: Beacon | None = BEACON) -> int:
    chain = History(terms, beacon)
    for item in proofs:
        chain.add(item)
    return chain.skips


def test_an_honest_history() -> None:
    assert history(genesis(), training(0), skip(1), training(2, 2), skip(4), training(5)) == 2
    assert history(genesis(), skip(0), skip(1), terms=None, beacon=None) == 2


def test_too_many_skips() -> None:
    with pytest.raises(VerificationError, match="skip number 3; the terms allow 2"):
        history(genesis(), skip(0), skip(1), skip(2))
    with pytest.raises(VerificationError, match="skip number 1; the terms allow 0"):
        history(genesis(), skip(0, max_skips=0), terms=None, beacon=None)
    with pytest.raises(VerificationError, match="max_skips is not the terms' 2"):
        history(genesis(), skip(0, max_skips=3))


def aggregate(step: int, update: int) -> Proof:
    known = {"old_state": 100 + step, "new_state": 101 + step, "update": update, "user": 2}
    return proof("apply_aggregate/1", **known, model=1, fork=TERMS.fork, step=step)


def test_an_update_of_ones_own_is_no_uncounted_skip() -> None:
    chain = History(TERMS, BEACON, updates=(7,))
    for item in (genesis(), training(0), aggregate(1, 7), training(2)):
        chain.add(item)
    for updates in ((), (7,)):
        chain = History(TERMS, BEACON, updates)
        chain.add(genesis())
        with pytest.raises(VerificationError, match="its update is none that the fork"):
            chain.add(aggregate(0, 8))
    assert history(genesis(), aggregate(0, 8), terms=None, beacon=None) == 0


def test_a_gap_beside_a_skip() -> None:
    with pytest.raises(VerificationError, match="a gap"):
        history(genesis(), training(0), skip(2))


def test_a_skip_of_another_fork() -> None:
    with pytest.raises(VerificationError, match="fork is not that of the proof before"):
        history(genesis(), skip(0, fork=5), terms=None, beacon=None)
    public = {name: value for name, value in skip(0).public.items() if name != "max_skips"}
    with pytest.raises(VerificationError, match="no public signal max_skips"):
        history(genesis(), replace(skip(0), public=public))


def test_a_history_of_other_terms() -> None:
    with pytest.raises(VerificationError, match="not the one with the given terms"):
        history(genesis(), terms=replace(TERMS, max_skips=3))


def test_a_beacons_order_is_never_taken_on_trust() -> None:
    for terms, beacon in ((None, None), (TERMS, None), (None, BEACON)):
        with pytest.raises(VerificationError, match="give the fork's terms and the beacon"):
            history(genesis(), training(0), terms=terms, beacon=beacon)


def test_a_batch_of_its_own_choice_in_a_fork_with_terms() -> None:
    free = proof("training_step/1", **{n: v for n, v in training(0).public.items() if n[0] != "b"})
    with pytest.raises(VerificationError, match="does not say which beacon"):
        history(genesis(), replace(free, public=dict(free.public) | {"batch": (7,)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beacon": 5}, "the beacon's value of round 8 is another"),
        ({"beacon_round": 9}, "step 2 takes round 9, not 8"),
        ({"beacon": (1, 2)}, "does not say which beacon"),
        ({"step": 3}, "step 3 takes round 8, not 10"),
        ({"fork": 3}, "fork is not the one with these terms"),
    ],
)
def test_orders_that_are_not_the_beacons(changes: dict[str, Any], message: str) -> None:
    honest = training(2)
    verify_order(honest, TERMS, BEACON)
    forged = {n: v if isinstance(v, tuple) else (v,) for n, v in changes.items()}
    with pytest.raises(VerificationError, match=message):
        verify_order(replace(honest, public={**honest.public, **forged}), TERMS, BEACON)


def test_the_second_step_takes_its_own_round() -> None:
    honest = training(2, 2)
    verify_order(honest, TERMS, BEACON)
    first = honest.public["beacon"][0]
    again = replace(honest, public=dict(honest.public) | {"beacon": (first, first)})
    with pytest.raises(VerificationError, match="round 10 is another"):
        verify_order(again, TERMS, BEACON)


def test_another_source() -> None:
    other = BeaconFile.from_json(rounds_json(period=30), "rounds.json")
    assert other.id != BEACON.id
    with pytest.raises(VerificationError, match="not the one that the fork's terms name"):
        verify_order(training(2), TERMS, other)
    with pytest.raises(InvalidInput, match="not the one that the fork's terms name"):
        beacon_values(other, TERMS, 2)


def test_a_round_that_nobody_has_seen() -> None:
    with pytest.raises(VerificationError, match="no round 24"):
        beacon_values(BEACON, TERMS, 10)


def test_the_signal_is_its_formula() -> None:
    value = BEACON.value(8)
    encoded = keccak256(b"zkai/beacon/1") + BEACON.id.to_bytes(32, "big")
    encoded += (8).to_bytes(32, "big") + value
    expected = int.from_bytes(keccak256(encoded), "big") % FIELD_MODULUS
    assert beacon_element(BEACON.id, 8, value) == expected
    assert beacon_values(BEACON, TERMS, 2) == [expected]
    with pytest.raises(InvalidInput, match="32 bytes"):
        beacon_element(BEACON.id, 8, value[:31])


def test_terms_are_pinned_before_their_first_round() -> None:
    assert BEACON.time_of(4) == 1009
    verify_pinned(TERMS, BEACON, 1008)
    with pytest.raises(VerificationError, match="could choose among terms"):
        verify_pinned(TERMS, BEACON, 1009)
    with pytest.raises(VerificationError, match="not the one"):
        verify_pinned(replace(TERMS, beacon_source=1), BEACON, 0)


def test_files_of_rounds(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    path.write_text(json.dumps(rounds_json()))
    found = BeaconFile.from_path(path)
    assert found == BEACON
    assert isinstance(found, Beacon)
    assert found.value(3) == hashlib.sha256(bytes([3]) * 48).digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zkai.beacon/2"}, "expected 'zkai.beacon/1'"),
        ({"name": ""}, "name must be"),
        ({"key": "0x12"}, "key: expected lower-case"),
        ({"period": 0}, "period must be"),
        ({"rounds": {}}, "rounds: expected a list"),
        ({"rounds": [{"round": 1}]}, "missing randomness"),
        ({"rounds": [{"round": -1, "randomness": "00" * 32}]}, "round must be"),
        ({"rounds": [{"round": 1, "randomness": "00" * 31}]}, "expected 32 bytes"),
        ({"rounds": [{"round": 1, "randomness": "00" * 32}] * 2}, "round 1 is given twice"),
        (
            {"rounds": [{"round": 1, "randomness": "00" * 32, "signature": "00"}]},
            "not the SHA-256 of the signature",
        ),
    ],
)
def test_unusable_files_of_rounds(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        BeaconFile.from_json(rounds_json(**changes), "rounds.json")
