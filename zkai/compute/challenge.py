"""Challenges to a recorded step: a random sample of one tensor's values, or everything to replay.

A sample is drawn by a beacon's value that is public after the record was. Of `count` tensors of a
group it takes the one that the challenger names, or number floor(u count / 2^64) with u the first
eight bytes of keccak256("zkaiplac" || beacon || step root || keccak256(group)); of that tensor's
leaves it takes a share, drawn as docs/commitments.md says under the root

    keccak256("zkaichal" || step root || keccak256(group) || keccak256(name)).

The answer holds the leaves' bytes, their multiproof to the tensor's root, and the path from there
to the group's, which the signed record holds. What a value should be, the checker computes itself:
by a replay, or by training too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.beacon import MAX_ROUND, BeaconFile
from zkai.compute import record as names
from zkai.compute.kept import Run
from zkai.compute.record import Record
from zkai.compute.task import MAX_STEP, Task
from zkai.encoding import hex32, keccak256, load_json, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle import sample
from zkai.merkle.commitment import MAX_TENSORS, Commitment, Tensor, commit, root_over
from zkai.merkle.tensor import MAX_NAME, Head, Source, check_names, from_array
from zkai.native_merkle import Bytes, Indices, fold, levels, multiproof
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode

FORMAT = "zkai.compute-challenge/1"
ANSWER_FORMAT = "zkai.compute-answer/1"
SAMPLE, REPLAY = "sample", "replay"
MAX_BYTES = 1 << 14
_FIELDS = ("format", "task", "root", "step", "kind", "group", "tensor", "permille", "beacon")
_MAX_ABOUT, _MAX_DEPTH = 1 << 13, 48
_ABOUT = ("name", "dtype", "shape", "place", "count")
_PARTS = ("about", "leaves", "path", "proof")


@dataclass(frozen=True)
class Drawn:
    """A beacon's value; `source` and `round` say where it comes from, None if it is somebody's."""

    value: bytes
    source: int | None = None
    round: int | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for a value that has not 32 bytes, or a round out of range."""
        if len(self.value) != 32:
            raise InvalidInput("challenge: a beacon's value has 32 bytes")
        if (self.source is None) != (self.round is None):
            raise InvalidInput("challenge: beacon: source and round belong together")
        if self.round is not None and not (
            type(self.round) is int and 0 <= self.round <= MAX_ROUND
        ):
            raise InvalidInput("challenge: beacon: round is out of range")

    def verify(self, beacon: BeaconFile, recorded_at: int) -> None:
        """Return None if this is a beacon's value, public only after a record was.

        `recorded_at`: when others saw the record, in seconds since 1970.

        Raises VerificationError otherwise.
        """
        if self.round is None or self.source != beacon.id:
            raise VerificationError("challenge: not drawn by this beacon")
        if beacon.value(self.round) != self.value:
            raise VerificationError(f"challenge: not the beacon's value of round {self.round}")
        if beacon.time_of(self.round) <= recorded_at:
            raise VerificationError(
                f"challenge: round {self.round} was public at {beacon.time_of(self.round)}, before"
                f" the record at {recorded_at}: the trainer could know what would be drawn"
            )


@dataclass(frozen=True)
class Challenge:
    """What a trainer is to show of a record with this root.

    A sample is of `group`, of the tensor `tensor` or one that the beacon draws, `permille`
    thousandths of its leaves, rounded up. A replay needs none of these.
    """

    task: bytes
    root: bytes
    step: int
    kind: str
    group: str | None = None
    tensor: str | None = None
    permille: int | None = None
    drawn: Drawn | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput, naming the field, for parts that do not fit together."""
        if self.kind not in (SAMPLE, REPLAY):
            raise InvalidInput(f"challenge: kind: expected {SAMPLE} or {REPLAY}")
        if type(self.step) is not int or not 0 <= self.step <= MAX_STEP:
            raise InvalidInput("challenge: step is out of range")
        given = (self.group, self.permille, self.drawn)
        if self.kind == REPLAY:
            if given != (None, None, None) or self.tensor is not None:
                raise InvalidInput("challenge: a replay names no group, tensor, share or beacon")
            return
        if self.group not in (*names.STEP, names.ACTIVATIONS):
            raise InvalidInput("challenge: group: expected one of a record's groups")
        if type(self.permille) is not int or not 1 <= self.permille <= 1000:
            raise InvalidInput("challenge: permille is 1 to 1000")
        if self.drawn is None:
            raise InvalidInput("challenge: a sample needs a beacon")
        if self.tensor is not None and not 1 <= len(self.tensor) <= MAX_NAME:
            raise InvalidInput("challenge: tensor: expected a name")

    def to_json(self) -> dict[str, Any]:
        """Return the challenge as JSON values."""
        drawn = self.drawn
        return {
            "format": FORMAT,
            "task": hex32(self.task),
            "root": hex32(self.root),
            "step": self.step,
            "kind": self.kind,
            "group": self.group,
            "tensor": self.tensor,
            "permille": self.permille,
            "beacon": None
            if drawn is None
            else {
                "source": None if drawn.source is None else hex32(drawn.source),
                "round": drawn.round,
                "value": hex32(drawn.value),
            },
        }

    def to_bytes(self) -> bytes:
        """Return the challenge's one byte form: canonical JSON."""
        return encode(self.to_json())

    @staticmethod
    def from_bytes(data: bytes, where: str = "challenge") -> Challenge:
        """Parse `to_bytes`'s form. Raises InvalidInput, naming the field, for anything else."""
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"{where}: larger than {MAX_BYTES} bytes")
        value = load_json(data, where)
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: format {value.get('format')!r}, expected {FORMAT!r}")
        expect_fields(value, _FIELDS, where)
        for name in ("group", "tensor"):
            if not isinstance(value[name], str | None):
                raise InvalidInput(f"{where}: {name}: expected text or null")
        challenge = Challenge(
            parse_hex32(value["task"], f"{where}: task"),
            parse_hex32(value["root"], f"{where}: root"),
            value["step"],
            value["kind"],
            value["group"],
            value["tensor"],
            value["permille"],
            _drawn(value["beacon"], f"{where}: beacon"),
        )
        if challenge.to_bytes() != data:
            raise InvalidInput(f"{where}: not the one byte form of a challenge")
        return challenge


def _drawn(value: Any, where: str) -> Drawn | None:
    if value is None:
        return None
    expect_fields(value, ("source", "round", "value"), where)
    source = value["source"]
    if source is not None:
        source = int.from_bytes(parse_hex32(source, f"{where}.source"), "big")
    return Drawn(parse_hex32(value["value"], f"{where}.value"), source, value["round"])


@dataclass(frozen=True)
class Sample:
    """Values that a record commits to: leaves `indices` of one tensor, one after another.

    The tensor stands at `place` of `tensors` in its group.
    """

    group: str
    name: str
    head: Head
    leaf_bytes: int
    place: int
    tensors: int
    indices: Indices = field(repr=False)
    leaves: bytes = field(repr=False)

    @property
    def count(self) -> int:
        """The number of leaves of the whole tensor."""
        return Tensor(self.name, self.head, b"").leaves(self.leaf_bytes)

    def own(self, source: Source) -> bytes:
        """Return the bytes of a tensor of one's own at the same places.

        Raises VerificationError if it has another type or shape.
        """
        if source.head != self.head:
            raise VerificationError(
                f"{self.group}: tensor {self.name}: {self.head.text}, not {source.head.text}"
            )
        size, total = self.leaf_bytes, self.head.total
        return b"".join(
            bytes(source.read(at * size, min(size, total - at * size)))
            for at in map(int, self.indices)
        )

    def verify_among(self, own: Mapping[str, Source]) -> None:
        """Return None if the values are those of a group that the checker computed.

        The group must have as many tensors, this one at its place: one that has some of them twice
        shows whichever suits, and others make the beacon miss those that matter.

        Raises VerificationError naming the tensor.
        """
        where, ordered = f"{self.group}: tensor {self.name}", check_names(own)
        if self.name not in own:
            raise VerificationError(f"{where}: your own run has none")
        place = ordered.index(self.name)
        if (self.place, self.tensors) != (place, len(ordered)):
            raise VerificationError(
                f"{where}: number {self.place} of {self.tensors} in the record's group, number"
                f" {place} of {len(ordered)} in your own"
            )
        self.verify_equal(own[self.name])

    def verify_equal(self, source: Source) -> None:
        """Return None if the sampled values are those of a tensor that the checker computed.

        Raises VerificationError naming the tensor and the first leaf that differs.
        """
        mine = np.frombuffer(self.own(source), np.uint8)
        odd = np.flatnonzero(mine != np.frombuffer(self.leaves, np.uint8))
        if len(odd):
            leaf = int(self.indices[int(odd[0]) // self.leaf_bytes])
            raise VerificationError(
                f"{self.group}: tensor {self.name}: leaf {leaf} does not hold the values that were"
                " computed here"
            )


def answer(run: Run, challenge: Challenge) -> dict[str, Source]:
    """Return what a trainer shows, by name: to be written as a .safetensors file.

    Raises VerificationError if the run has another record or the tensors changed, InvalidInput if
    they are not kept any more or there is no such tensor.
    """
    record = run.signed(challenge.step).record
    if run.task.digest != challenge.task or record.root != challenge.root:
        raise VerificationError(f"step {challenge.step}: the challenge is to another record")
    groups = run.groups(challenge.step)
    if challenge.kind == REPLAY:
        return {f"{g}/{n}": source for g, found in groups.items() for n, source in found.items()}
    assert challenge.group is not None
    if challenge.group not in groups:
        raise InvalidInput(f"step {challenge.step}: the record commits to no {challenge.group}")
    return _answer_sample(record, challenge, groups[challenge.group], run.task)


def _answer_sample(
    record: Record, challenge: Challenge, tensors: Mapping[str, Source], task: Task
) -> dict[str, Source]:
    table = commit(tensors, task.leaf_bytes)
    assert challenge.group is not None
    if table.root != record.groups[challenge.group]:
        raise VerificationError(f"step {record.step}: {challenge.group} changed since the record")
    place = _place(challenge, table)
    tensor, count = table.tensors[place], len(table.tensors)
    indices = _draw(challenge, tensor.name, tensor.leaves(task.leaf_bytes))
    shown = sample.show(tensor, task.leaf_bytes, tensors[tensor.name], indices)
    path = multiproof(levels(table.layers), count, np.array([place], np.uint64))
    about = {
        "name": tensor.name,
        "dtype": tensor.head.dtype,
        "shape": list(tensor.head.shape),
        "place": place,
        "count": count,
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    found = {
        "about": text, "leaves": np.frombuffer(shown.leaves, np.uint8), "path": path,
        "proof": shown.proof,
    }  # fmt: skip
    return {name: from_array(array, name) for name, array in found.items()}


def _place(challenge: Challenge, table: Commitment) -> int:
    if challenge.tensor is None:
        return _drawn_place(challenge, len(table.tensors))
    for place, tensor in enumerate(table.tensors):
        if tensor.name == challenge.tensor:
            return place
    raise InvalidInput(f"challenge: {challenge.group} has no tensor {challenge.tensor!r}")


def _drawn_place(challenge: Challenge, count: int) -> int:
    assert challenge.drawn is not None
    assert challenge.group is not None
    group = keccak256(challenge.group.encode())
    hashed = keccak256(b"zkaiplac" + challenge.drawn.value + challenge.root + group)
    return int.from_bytes(hashed[:8], "big") * count >> 64


def _draw(challenge: Challenge, name: str, leaves: int) -> Indices:
    assert challenge.drawn is not None
    assert challenge.group is not None
    group = keccak256(challenge.group.encode())
    root = keccak256(b"zkaichal" + challenge.root + group + keccak256(name.encode()))
    return sample.Challenge(challenge.drawn.value, _count(challenge, leaves)).draw(root, leaves)


def _count(challenge: Challenge, leaves: int) -> int:
    """Return how many of a tensor's leaves are drawn."""
    return -(-(challenge.permille or 0) * leaves // 1000)


def verify_challenge(record: Record, task: Task, challenge: Challenge) -> None:
    """Return None if a challenge is to this record of a task. Raises VerificationError."""
    if record.task != task.digest or challenge.task != record.task:
        raise VerificationError(f"step {record.step}: of another task than the challenge")
    if (record.root, record.step) != (challenge.root, challenge.step):
        raise VerificationError(f"step {record.step}: the challenge is to another record")


def verify_sample(
    record: Record, task: Task, challenge: Challenge, given: Mapping[str, Source]
) -> Sample:
    """Return the values that a challenge drew, after checking that the record commits to them.

    The record's signature is for `verify_record`, the beacon's value for `Drawn.verify`.

    Raises InvalidInput for a malformed answer, VerificationError for one to another challenge or
    with values or hashes that do not lead to the record.
    """
    if challenge.kind != SAMPLE or challenge.group is None:
        raise InvalidInput("challenge: not for a sample")
    verify_challenge(record, task, challenge)
    if challenge.group not in record.groups:
        raise VerificationError(f"step {record.step}: the record commits to no {challenge.group}")
    if tuple(sorted(given)) != _PARTS:
        raise InvalidInput(f"answer: expected {', '.join(_PARTS)}")
    name, head, place, count = _read_about(given["about"])
    where = f"step {record.step}, {challenge.group}: tensor {name}"
    if challenge.tensor is None:
        if place != _drawn_place(challenge, count):
            raise VerificationError(f"{where}: not the tensor that the beacon drew")
    elif name != challenge.tensor:
        raise VerificationError(f"{where}: the challenge names {challenge.tensor}")
    blank = Tensor(name, head, bytes(32))
    drawn = _count(challenge, blank.leaves(task.leaf_bytes))
    if given["leaves"].head.total < (drawn - 1) * task.leaf_bytes:
        raise VerificationError(f"{where}: {given['leaves'].head.total} bytes for {drawn} leaves")
    indices = _draw(challenge, name, blank.leaves(task.leaf_bytes))
    leaves = _read(given["leaves"], task.leaf_bytes * len(indices))
    proof = _hashes(given["proof"], "proof", _MAX_DEPTH * len(indices))
    top = sample.top_of(blank, task.leaf_bytes, indices, sample.Answer(leaves, proof))
    layer = np.frombuffer(Tensor(name, head, top).layer(task.leaf_bytes), np.uint8).reshape(1, 32)
    try:
        path = _hashes(given["path"], "path", _MAX_DEPTH)
        over = fold(count, np.array([place], np.uint64), layer, path)
    except InvalidInput as error:
        raise VerificationError(f"{where}: the path has a wrong length") from error
    if root_over(count, over) != record.groups[challenge.group]:
        raise VerificationError(f"{where}: the values do not lead to the record")
    return Sample(challenge.group, name, head, task.leaf_bytes, place, count, indices, leaves)


def _read_about(source: Source) -> tuple[str, Head, int, int]:
    where = "answer: about"
    if source.head.total > _MAX_ABOUT:
        raise InvalidInput(f"{where}: larger than {_MAX_ABOUT} bytes")
    value = load_json(bytes(source.read(0, source.head.total)), where)
    expect_fields(value, _ABOUT, where)
    name, dtype, shape, place, count = (value[field] for field in _ABOUT)
    if not (isinstance(name, str) and isinstance(dtype, str) and isinstance(shape, list)):
        raise InvalidInput(f"{where}: name and dtype are strings, shape is a list")
    check_names({name: None})
    if type(place) is not int or type(count) is not int or not 0 <= place < count <= MAX_TENSORS:
        raise InvalidInput(f"{where}: place is below count, which is at most {MAX_TENSORS}")
    return name, Head(dtype, tuple(shape)), place, count


def _read(source: Source, most: int) -> bytes:
    if source.head.dtype != "uint8" or source.head.total > most:
        raise InvalidInput(f"{source.where}: expected at most {most} bytes")
    return bytes(source.read(0, source.head.total))


def _hashes(source: Source, what: str, most: int) -> Bytes:
    if source.head.shape[1:] != (32,) or len(source.head.shape) != 2:
        raise InvalidInput(f"answer: {what} must have the shape (n, 32)")
    data = np.frombuffer(_read(source, 32 * most), np.uint8)
    return data.reshape(-1, 32)
