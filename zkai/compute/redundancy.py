"""One task given to several trainers: who agrees, who stands apart, and evidence of both.

Every trainer signs the root of its result (`sign_result`) before it sees another's. So that nobody
hands in what another computed, all first sign a seal (`sign_seal`), and show results once every
seal is in:

    seal = keccak256("zkaiseal" || task || root || keccak256(keyid))

It hides a root that nobody can guess, and is of no use to another key. Results agree

    by digest      where software and order of operations are the same: roots are equal;
    by tolerance   elsewhere: a beacon that was unknown when the last result was logged draws leaves
                   of the result, the same ones of all; a trainer agrees whose every sampled value x
                   has |x - m| <= atol + rtol |m|, m the median over the trainers.

A majority is more than half of those that were given the task, whether they answered or not:
nobody gains by keeping others from answering. Without one nobody is an outlier, and a dispute has
to decide (zkai.compute.dispute). Whoever signs two results is an outlier whatever the others say.
The median lies among honest values while most are honest. A colluding majority decides as it
likes: zkai.compute.detection says how likely a draw of trainers is to give one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.compute.signed import RESULT, SEAL, check_signer, read, sign
from zkai.encoding import hex32, keccak256, parse_hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle import sample
from zkai.merkle.commitment import Commitment
from zkai.merkle.tensor import Head
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import Envelope
from zkai.receipt.signer import PrivateKey, PublicKey

MAX_TRAINERS = 1 << 10

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Who gave the majority's result, who another one or two, and who none.

    `majority` is empty if no result has one; `outliers` then are only those who signed twice.
    """

    majority: tuple[str, ...]
    outliers: tuple[str, ...]
    absent: tuple[str, ...]
    root: bytes | None = None

    @property
    def unanimous(self) -> bool:
        """Whether everyone who was given the task agrees."""
        return bool(self.majority) and not self.outliers and not self.absent


@dataclass(frozen=True)
class Submission:
    """A trainer's answer to the draw: the table of its result, and the drawn leaves with proofs."""

    table: Commitment
    answers: Mapping[int, sample.Answer]


@dataclass(frozen=True)
class Tolerance:
    """|x - m| <= atol + rtol |m|. Raises InvalidInput for numbers that are negative or odd."""

    atol: float
    rtol: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(t) and t >= 0 for t in (self.atol, self.rtol)):
            raise InvalidInput("tolerance: atol and rtol are finite numbers of at least 0")


def sign_result(task: bytes, root: bytes, key: PrivateKey) -> Envelope:
    """Return a trainer's signed result: the root of what the task gave."""
    return sign(RESULT, task, {"root": hex32(root)}, key)


def seal_of(task: bytes, root: bytes, keyid: str) -> bytes:
    """Return the seal of a trainer's result."""
    return keccak256(b"zkaiseal" + task + root + keccak256(keyid.encode()))


def sign_seal(task: bytes, root: bytes, key: PrivateKey) -> Envelope:
    """Return what a trainer hands in first: its result's seal, signed."""
    return sign(SEAL, task, {"seal": hex32(seal_of(task, root, key.keyid))}, key)


def open_results(
    task: bytes,
    trainers: Mapping[str, PublicKey],
    envelopes: Sequence[Envelope],
    seals: Sequence[Envelope] | None = None,
) -> dict[str, frozenset[bytes]]:
    """Return the roots that each trainer signed for the task; the same one twice counts once.

    With `seals`, which all were in before the first result was shown, a trainer that sealed
    another result, several or none has given none.

    Raises InvalidInput for a malformed result; VerificationError for another task, a signer who
    was not given it, or a signature that does not verify.
    """
    if (
        not 1 <= len(trainers) <= MAX_TRAINERS
        or max(len(envelopes), len(seals or ())) > 2 * MAX_TRAINERS
    ):
        raise InvalidInput(f"expected 1 to {MAX_TRAINERS} trainers and two results of each at most")
    found = _collect(RESULT, "root", task, trainers, envelopes)
    if seals is None:
        return found
    sealed = _collect(SEAL, "seal", task, trainers, seals)
    return {
        name: roots
        for name, roots in found.items()
        if sealed.get(name)
        == frozenset(seal_of(task, root, trainers[name].keyid) for root in roots)
    }


def _collect(
    kind: str, field: str, task: bytes, trainers: Mapping[str, PublicKey],
    envelopes: Sequence[Envelope],
) -> dict[str, frozenset[bytes]]:  # fmt: skip
    names = {key.keyid: name for name, key in trainers.items()}
    if len(names) != len(trainers):
        raise InvalidInput("two trainers have the same key")
    found: dict[str, frozenset[bytes]] = {}
    for place, envelope in enumerate(envelopes):
        where = f"{kind}s[{place}]"
        given, named, predicate = read(envelope, where)
        if given != kind or named != task:
            raise VerificationError(f"{where}: not a {kind} of this task")
        expect_fields(predicate, (field,), where)
        value = parse_hex32(predicate[field], f"{where}.{field}")
        name = names.get(envelope.signatures[0][0])
        if name is None:
            raise VerificationError(f"{where}: its signer was not given the task")
        check_signer(envelope, trainers[name], where)
        found[name] = found.get(name, frozenset()) | {value}
    return found


def tally(given: Mapping[str, Hashable], trainers: int) -> tuple[str, ...]:
    """Return who gave the result that more than half of `trainers` gave; empty if none did."""
    if not given:
        return ()
    result, count = Counter(given.values()).most_common(1)[0]
    if 2 * count <= trainers:
        return ()
    return tuple(sorted(name for name, value in given.items() if value == result))


def agree_by_digest(
    task: bytes,
    trainers: Mapping[str, PublicKey],
    envelopes: Sequence[Envelope],
    seals: Sequence[Envelope] | None = None,
) -> Agreement:
    """Return who agrees on a root. Raises as `open_results` does."""
    found = open_results(task, trainers, envelopes, seals)
    single = {name: next(iter(roots)) for name, roots in found.items() if len(roots) == 1}
    majority = tally(single, len(trainers))
    return _agreement(trainers, found, majority, single[majority[0]] if majority else None)


def agree_by_tolerance(
    task: bytes,
    trainers: Mapping[str, PublicKey],
    envelopes: Sequence[Envelope],
    submissions: Mapping[str, Submission],
    challenge: sample.Challenge,
    tolerance: Tolerance,
    seals: Sequence[Envelope] | None = None,
) -> Agreement:
    """Return who agrees on the drawn values.

    The draw is the task's, not a root's, so that all show the same leaves; the beacon must be
    younger than every result. A trainer whose submission is missing, is not under its signed root,
    or has other tensors than most, is an outlier if there is a majority.

    Raises as `open_results` does, and InvalidInput for leaves that cut values in two.
    """
    found = open_results(task, trainers, envelopes, seals)
    shown = {
        name: submissions[name]
        for name, roots in found.items()
        if len(roots) == 1
        and name in submissions
        and _is_answer(submissions[name], challenge, task, next(iter(roots)))
    }
    layouts = {name: _layout(submission.table) for name, submission in shown.items()}
    same = tally(layouts, len(trainers))
    values = {name: _values(shown[name], challenge, task) for name in same}
    finite = {name: row for name, row in values.items() if np.isfinite(row).all()}
    majority = _near_median(finite, tolerance) if 2 * len(finite) > len(trainers) else ()
    if 2 * len(majority) <= len(trainers):
        majority = ()
    return _agreement(trainers, found, majority, None)


def _agreement(
    trainers: Mapping[str, PublicKey],
    found: Mapping[str, frozenset[bytes]],
    majority: tuple[str, ...],
    root: bytes | None,
) -> Agreement:
    outliers = (
        name
        for name, roots in found.items()
        if len(roots) > 1 or (majority and name not in majority)
    )
    absent = (name for name in trainers if name not in found)
    return Agreement(majority, tuple(sorted(outliers)), tuple(sorted(absent)), root)


def _near_median(values: Mapping[str, Float64], tolerance: Tolerance) -> tuple[str, ...]:
    middle = np.median(np.array(list(values.values())), axis=0)
    most = tolerance.atol + tolerance.rtol * np.abs(middle)
    return tuple(
        sorted(name for name, row in values.items() if bool((np.abs(row - middle) <= most).all()))
    )


def _is_answer(
    submission: Submission, challenge: sample.Challenge, task: bytes, root: bytes
) -> bool:
    try:
        sample.verify(submission.table, challenge, submission.answers, root, drawn_by=task)
    except (InvalidInput, VerificationError):  # neither may keep the others from agreeing
        return False
    return True


def _layout(table: Commitment) -> Any:
    return table.leaf_bytes, tuple((t.name, t.head) for t in table.tensors)


def _values(submission: Submission, challenge: sample.Challenge, task: bytes) -> Float64:
    """Return every sampled value of an answer that verifies, tensor by tensor."""
    table = submission.table
    parts = [
        values_of(table.tensors[place].head, given.leaves, table.leaf_bytes)
        for place, given in sorted(submission.answers.items())
    ]
    return np.concatenate(parts)


def values_of(head: Head, data: bytes, leaf_bytes: int) -> Float64:
    """Return the numbers in some of a tensor's leaves.

    Raises InvalidInput for types that are no real numbers, or leaves that cut values in two.
    """
    if head.dtype == "bfloat16":
        if leaf_bytes % 2:
            raise InvalidInput("a leaf cuts values in two")
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).astype(np.float64)
    if head.dtype.startswith(("float8", "complex")):
        raise InvalidInput(f"{head.dtype} values are compared by digest, not by tolerance")
    kind = np.dtype(head.dtype).newbyteorder("<")
    if leaf_bytes % kind.itemsize:
        raise InvalidInput("a leaf cuts values in two")
    with np.errstate(invalid="ignore", over="ignore"):
        return np.frombuffer(data, kind).astype(np.float64)
