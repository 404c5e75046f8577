"""Challenges to recorded steps: what is drawn, who can answer, and which answers are refused."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Crypto.Hash import keccak as pycryptodome

from tests.unit.compute_support import Toy, record_run
from zkai.beacon import BeaconFile
from zkai.compute import challenge as challenges
from zkai.compute import record as names
from zkai.compute.challenge import (
    ANSWER_FORMAT,
    REPLAY,
    SAMPLE,
    Challenge,
    Drawn,
    answer,
    verify_challenge,
    verify_sample,
)
from zkai.compute.kept import Run, by_group
from zkai.compute.replay import replay_step
from zkai.compute.snapshot import sources, tensors_of
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle import sample
from zkai.merkle.commitment import commit, root_over
from zkai.merkle.tensor import Source, from_array, open_tensors, write_tensors
from zkai.native_merkle import levels, multiproof

VALUE = bytes(range(32))


def keccak256(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    record_run(folder)
    return Run(folder)


def ask(run: Run, **changes: Any) -> Challenge:
    record = run.signed(3).record
    fields = {
        "task": run.task.digest, "root": record.root, "step": 3, "kind": SAMPLE,
        "group": names.GRADIENTS, "tensor": "0.weight", "permille": 400, "drawn": Drawn(VALUE),
    }  # fmt: skip
    return Challenge(**{**fields, **changes})


def other_value(run: Run) -> bytes:
    """A beacon's value that draws other leaves than VALUE: the root, and with it both, are new."""

    def drawn(value: bytes) -> list[int]:
        asked = ask(run, drawn=Drawn(value))
        leaves = run.groups(3)[names.GRADIENTS]["0.weight"].head.total // run.task.leaf_bytes
        found: list[int] = challenges._draw(asked, "0.weight", leaves).tolist()
        return found

    values = (bytes([number]) * 32 for number in range(256))
    return next(value for value in values if drawn(value) != drawn(VALUE))


def through_file(tmp_path: Path, found: dict[str, Source]) -> dict[str, Source]:
    write_tensors(tmp_path / "answer", found, {"format": ANSWER_FORMAT})
    return open_tensors(tmp_path / "answer")


@pytest.mark.parametrize(
    ("group", "tensor"),
    [
        (names.GRADIENTS, "0.weight"),
        (names.WEIGHTS_AFTER, "3.bias"),
        (names.DELTAS, "0.weight"),
        (names.OPTIMIZER_AFTER, "state.0.weight.exp_avg"),
        (names.OPTIMIZER_BEFORE, "group.0.lr"),
        (names.ACTIVATIONS, "0"),
        (names.LOSSES, None),
        (names.BATCH, None),
        (names.GRADIENTS, None),
    ],
)
@pytest.mark.parametrize("permille", [10, 50, 400, 1000])
def test_honest_answers_show_the_values(
    run: Run, tmp_path: Path, group: str, tensor: str | None, permille: int
) -> None:
    asked = ask(run, group=group, tensor=tensor, permille=permille)
    assert Challenge.from_bytes(asked.to_bytes()) == asked
    record = run.signed(3).record
    shown = verify_sample(record, run.task, asked, through_file(tmp_path, answer(run, asked)))
    source = run.groups(3)[group][shown.name]
    assert len(shown.indices) == -(-permille * shown.count // 1000)
    data = bytes(source.read(0, source.head.total))
    leaf = run.task.leaf_bytes
    expected = b"".join(data[i * leaf : (i + 1) * leaf] for i in map(int, shown.indices))
    assert shown.leaves == expected
    shown.verify_equal(source)


def test_the_draw_is_the_beacons_alone(run: Run) -> None:
    """The definition, one draw at a time, with pycryptodome."""
    asked = ask(run, tensor=None)
    record = run.signed(3).record
    shown = verify_sample(record, run.task, asked, answer(run, asked))
    group = keccak256(b"gradients")
    u = int.from_bytes(keccak256(b"zkaiplac" + VALUE + record.root + group)[:8], "big")
    assert shown.name == sorted(run.groups(3)["gradients"])[u * 4 >> 64]
    root = keccak256(b"zkaichal" + record.root + group + keccak256(shown.name.encode()))
    expected: set[int] = set()
    for i in range(1000):
        if len(expected) == len(shown.indices):
            break
        hashed = keccak256(b"zkaismpl" + VALUE + root + struct.pack(">Q", i))
        expected.add(int.from_bytes(hashed[:8], "big") * shown.count >> 64)
    assert shown.indices.tolist() == sorted(expected)
    moved = ask(run, drawn=Drawn(other_value(run)))
    other = verify_sample(record, run.task, moved, answer(run, moved))
    first = verify_sample(record, run.task, named := ask(run), answer(run, named))
    assert other.indices.tolist() != first.indices.tolist()


def replaced(found: dict[str, Source], **changes: Any) -> dict[str, Source]:
    return {**found, **{name: from_array(array, name) for name, array in changes.items()}}


def array(source: Source) -> np.ndarray[Any, Any]:
    data = np.frombuffer(bytes(source.read(0, source.head.total)), np.uint8).copy()
    return data.reshape(source.head.shape)


def flipped(source: Source, place: int = 0) -> np.ndarray[Any, Any]:
    found = array(source)
    found.reshape(-1)[place] ^= 1
    return found


def about(found: dict[str, Source], **changes: Any) -> np.ndarray[Any, Any]:
    value = json.loads(array(found["about"]).tobytes())
    return np.frombuffer(json.dumps({**value, **changes}).encode(), np.uint8)


Forge = Callable[[dict[str, Source]], dict[str, Source]]


@pytest.mark.parametrize(
    ("forge", "error", "message"),
    [
        (lambda a: replaced(a, leaves=flipped(a["leaves"])), VerificationError, "do not lead"),
        (lambda a: replaced(a, proof=flipped(a["proof"])), VerificationError, "do not lead"),
        (lambda a: replaced(a, path=flipped(a["path"])), VerificationError, "do not lead"),
        (lambda a: replaced(a, leaves=array(a["leaves"])[:-1]), VerificationError, "bytes for"),
        (lambda a: replaced(a, leaves=array(a["leaves"])[:1]), VerificationError, "bytes for"),
        (lambda a: replaced(a, proof=array(a["proof"])[:-1]), VerificationError, "length"),
        (lambda a: replaced(a, path=array(a["path"])[:-1]), VerificationError, "length"),
        (lambda a: replaced(a, path=np.repeat(array(a["path"]), 2, 0)), VerificationError, "leng"),
        (lambda a: replaced(a, path=np.zeros((99, 32), np.uint8)), VerificationError, "length"),
        (lambda a: replaced(a, path=array(a["path"]).reshape(-1)), VerificationError, "length"),
        (lambda a: replaced(a, about=about(a, name="0.bias")), VerificationError, "names 0.weight"),
        (lambda a: replaced(a, about=about(a, place=0)), VerificationError, "do not lead"),
        (lambda a: replaced(a, about=about(a, count=3)), VerificationError, "length|lead"),
        (lambda a: replaced(a, about=about(a, shape=[6, 16])), VerificationError, "do not lead"),
        (lambda a: replaced(a, about=about(a, dtype="int32")), VerificationError, "do not lead"),
        (lambda a: replaced(a, about=about(a, shape=[1 << 40])), VerificationError, "bytes for"),
        (lambda a: replaced(a, about=about(a, place=-1)), InvalidInput, "below count"),
        (lambda a: replaced(a, about=about(a, count=1 << 40)), InvalidInput, "below count"),
        (lambda a: replaced(a, about=about(a, name=5)), InvalidInput, "strings"),
        (lambda a: replaced(a, about=about(a, more=5)), InvalidInput, "unknown field"),
        (lambda a: replaced(a, about=np.zeros(10_000, np.uint8)), InvalidInput, "larger"),
        (lambda a: replaced(a, extra=np.zeros(1, np.uint8)), InvalidInput, "expected about"),
        (lambda a: {}, InvalidInput, "expected about"),
    ],
)
def test_other_answers_are_refused(
    run: Run, forge: Forge, error: type[Exception], message: str
) -> None:
    asked = ask(run)
    found = answer(run, asked)
    with pytest.raises(error, match=message):
        verify_sample(run.signed(3).record, run.task, asked, forge(found))


def test_an_answer_is_to_one_challenge(run: Run) -> None:
    asked = ask(run)
    found, record = answer(run, asked), run.signed(3).record
    for other in (
        ask(run, drawn=Drawn(other_value(run))), ask(run, group=names.DELTAS),
        ask(run, group=names.WEIGHTS_BEFORE), ask(run, permille=700),
    ):  # fmt: skip
        with pytest.raises(VerificationError):
            verify_sample(record, run.task, other, found)
    # The trainer cannot show another tensor than the one that the beacon drew.
    drawn = ask(run, tensor=None)
    right = verify_sample(record, run.task, drawn, answer(run, drawn)).name
    for name in set(run.groups(3)["gradients"]) - {right}:
        with pytest.raises(VerificationError, match="not the tensor that the beacon drew"):
            verify_sample(record, run.task, drawn, answer(run, ask(run, tensor=name)))
    with pytest.raises(VerificationError, match="another record"):
        verify_sample(run.signed(6).record, run.task, asked, found)
    with pytest.raises(VerificationError, match="another task"):
        verify_sample(record, dataclasses.replace(run.task, every=9), asked, found)
    with pytest.raises(VerificationError, match="another record"):
        answer(run, ask(run, step=6))
    with pytest.raises(InvalidInput, match="no tensor 'x'"):
        answer(run, ask(run, tensor="x"))


def test_a_lazy_trainer_cannot_answer_with_fresh_values(run: Run) -> None:
    """Whoever committed to other values than the honest ones is found by a comparison."""
    record, asked = run.signed(3).record, ask(run, permille=1000)
    shown = verify_sample(record, run.task, asked, answer(run, asked))
    honest = tensors_of(run.groups(3)["gradients"])["0.weight"]
    other = honest.clone()
    other[1, 2] = torch.nextafter(other[1, 2], torch.tensor(9.0))
    with pytest.raises(VerificationError, match=r"gradients: tensor 0\.weight: leaf 0 does not"):
        shown.verify_equal(sources({"w": other}, "own")["w"])
    with pytest.raises(VerificationError, match=r"float32\[16,6\], not float32\[6,16\]"):
        shown.verify_equal(sources({"w": other.t()}, "own")["w"])


def test_a_group_with_a_tensor_twice_is_not_ones_own(run: Run) -> None:
    """The beacon would draw among copies of a good tensor, and miss the bad one."""
    own = run.groups(3)[names.GRADIENTS]
    table = commit(own, run.task.leaf_bytes)
    copies = [*table.tensors[:1] * 9, *table.tensors[1:]]
    layers = b"".join(tensor.layer(run.task.leaf_bytes) for tensor in copies)
    nodes = levels(np.frombuffer(layers, np.uint8).reshape(-1, 32))
    root = root_over(len(copies), nodes[-1].tobytes())
    record = run.signed(3).record
    record = dataclasses.replace(record, groups={**record.groups, names.GRADIENTS: root})
    good = table.tensors[0].name
    asked = ask(run, root=record.root, tensor=good)
    path = {"path": from_array(multiproof(nodes, len(copies), np.array([5], np.uint64)))}
    honest = answer(run, ask(run, tensor=good))
    leaves = table.tensors[0].leaves(run.task.leaf_bytes)
    drawn = challenges._draw(asked, good, leaves)
    shown = sample.show(table.tensors[0], run.task.leaf_bytes, own[good], drawn)
    path |= {"leaves": from_array(np.frombuffer(shown.leaves, np.uint8))}
    path |= {"proof": from_array(shown.proof)}
    about = json.loads(bytes(honest["about"].read(0, honest["about"].head.total)))
    text = json.dumps({**about, "place": 5, "count": len(copies)}).encode()
    path |= {"about": from_array(np.frombuffer(text, np.uint8))}
    found = verify_sample(record, run.task, asked, path)
    found.verify_equal(own[good])
    with pytest.raises(VerificationError, match="number 5 of 12 in the record's group, number 0"):
        found.verify_among(own)
    fine = verify_sample(run.signed(3).record, run.task, ask(run, tensor=good), honest)
    fine.verify_among(own)
    with pytest.raises(VerificationError, match="own run has none"):
        fine.verify_among({"w": own[good]})


def test_a_replay_is_answered_with_all_tensors(run: Run, tmp_path: Path) -> None:
    asked = Challenge(run.task.digest, run.signed(3).record.root, 3, REPLAY)
    assert Challenge.from_bytes(asked.to_bytes()) == asked
    found = by_group(through_file(tmp_path, answer(run, asked)), "answer")
    verify_challenge(run.signed(3).record, run.task, asked)
    replay_step(Toy(), run.task, run.signed(3).record, found)
    with pytest.raises(InvalidInput, match="not for a sample"):
        verify_sample(run.signed(3).record, run.task, asked, {})


def test_a_value_must_not_be_known_before_the_record() -> None:
    rounds = {n: bytes([n]) * 32 for n in range(1, 9)}
    beacon = BeaconFile("b", "ab", 1000, 10, rounds)
    drawn = Drawn(rounds[5], beacon.id, 5)
    drawn.verify(beacon, 1039)
    with pytest.raises(VerificationError, match="public at 1040, before"):
        drawn.verify(beacon, 1040)
    with pytest.raises(VerificationError, match="not the beacon's value"):
        Drawn(VALUE, beacon.id, 5).verify(beacon, 0)
    with pytest.raises(VerificationError, match="not drawn by this beacon"):
        Drawn(rounds[5]).verify(beacon, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"}, {"step": -1}, {"step": "3"}, {"group": "secrets"}, {"group": 5},
        {"tensor": ""}, {"tensor": 5}, {"permille": 0}, {"permille": 1001}, {"permille": True},
        {"beacon": None}, {"beacon": {}}, {"kind": REPLAY}, {"format": "x"}, {"root": "0x"},
        {"beacon": {"source": None, "round": 5, "value": "0x" + "00" * 32}},
        {"beacon": {"source": "0x" + "00" * 32, "round": -1, "value": "0x" + "00" * 32}},
        {"more": 1},
    ],
)  # fmt: skip
def test_malformed_challenges_are_refused(run: Run, change: dict[str, Any]) -> None:
    value = {**ask(run).to_json(), **change}
    text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InvalidInput):
        Challenge.from_bytes(text)
    with pytest.raises(InvalidInput):
        Challenge.from_bytes(ask(run).to_bytes() + b"\n")
    with pytest.raises(InvalidInput, match="larger"):
        Challenge.from_bytes(b" " * 20_000)
