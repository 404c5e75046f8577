"""A random sample of a commitment's leaves: drawn by a beacon, answered, checked.

The beacon's value is public after the commitment was. It draws leaf number

    floor(u_i leaves / 2^64), u_i = the first eight bytes of
    keccak256("zkaismpl" || beacon || root || uint64 i), i = 0, 1, ...,

of all leaves of all tensors, in the order of the table, until `count` distinct ones are found. The
answer holds their bytes and one multiproof a tensor, in a .safetensors file: nothing in it says
which leaves they are, since the checker draws them again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zkai.encoding import keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.commitment import Commitment, Tensor, level
from zkai.merkle.tensor import MAX_HEADER, Source, from_array, open_tensors, write_tensors
from zkai.native_merkle import Bytes, Indices, fold, keccak256_many, multiproof

FORMAT = "zkai.sample/1"
MAX_SAMPLES = 1 << 24
_DRAWS = 1 << 8
_TERMS = 1 << 20
_CERTAIN = 40
"""1 - e^-40 is 1 in double precision."""


@dataclass(frozen=True)
class Challenge:
    """Which leaves to show: `count` of them, drawn by 32 bytes of a beacon."""

    beacon: bytes
    count: int

    def __post_init__(self) -> None:
        """Raise InvalidInput for a beacon of another size, or a count out of range."""
        if len(self.beacon) != 32:
            raise InvalidInput(f"the beacon's value has 32 bytes, got {len(self.beacon)}")
        if not 1 <= self.count <= MAX_SAMPLES:
            raise InvalidInput(f"count must be 1 to {MAX_SAMPLES}, got {self.count}")

    def draw(self, root: bytes, leaves: int) -> Indices:
        """Return min(count, leaves) distinct leaf numbers below `leaves`, ascending.

        Raises InvalidInput for 2^32 leaves or more.
        """
        if not 1 <= leaves < 1 << 32:
            raise InvalidInput(f"samples are drawn from fewer than 2^32 leaves, got {leaves}")
        if self.count >= leaves:
            return np.arange(leaves, dtype=np.uint64)
        drawn = np.empty(0, np.uint64)
        while True:
            start = len(drawn)
            fresh = _draws(self.beacon + root, start, max(_DRAWS, self.count), leaves)
            drawn = np.concatenate([drawn, fresh])
            values, first = np.unique(drawn, return_index=True)
            if len(values) >= self.count:
                earliest = np.argsort(first, kind="stable")[: self.count]
                return np.sort(values[earliest])


def _draws(seed: bytes, start: int, count: int, leaves: int) -> Indices:
    messages = np.empty((count, 72), np.uint8)
    messages[:, :64] = np.frombuffer(seed, np.uint8)
    messages[:, 64:] = np.arange(start, start + count).astype(">u8").view(np.uint8).reshape(-1, 8)
    hashes = keccak256_many(messages, 72, prefix=b"zkaismpl")
    words = hashes[:, :8].copy().view(">u8").astype(np.uint64).reshape(-1)
    # The high half of a product of 64 and 32 bits, in two parts.
    n, half = np.uint64(leaves), np.uint64(32)
    low, high = words & np.uint64(0xFFFFFFFF), words >> half
    return (high * n + (low * n >> half)) >> half


def by_tensor(commitment: Commitment, leaves: Indices) -> dict[int, Indices]:
    """Return the drawn leaves of each tensor that has some, by its place in the table."""
    sizes = [tensor.leaves(commitment.leaf_bytes) for tensor in commitment.tensors]
    ends = np.cumsum(np.array(sizes, np.uint64), dtype=np.uint64)
    cuts = np.searchsorted(leaves, ends)
    starts = np.concatenate([[0], cuts[:-1]])
    return {
        place: leaves[start:end] - (ends[place] - np.uint64(sizes[place]))
        for place, (start, end) in enumerate(zip(starts, cuts, strict=True))
        if end > start
    }


@dataclass(frozen=True)
class Answer:
    """The bytes of one tensor's drawn leaves, one after another, and their multiproof (m, 32)."""

    leaves: bytes
    proof: Bytes


def answer(
    commitment: Commitment,
    sources: Mapping[str, Source],
    challenge: Challenge,
    drawn_by: bytes | None = None,
) -> dict[int, Answer]:
    """Return the drawn leaves with their proofs, by the tensor's place in the table.

    `drawn_by` replaces the root in the draw: where several commitments show the same leaves.

    Raises VerificationError if a tensor is not the one that was committed to.
    """
    drawn = by_tensor(commitment, challenge.draw(drawn_by or commitment.root, commitment.leaves))
    answers = {}
    for place, indices in drawn.items():
        tensor = commitment.tensors[place]
        source = sources.get(tensor.name)
        if source is None or source.head != tensor.head:
            raise VerificationError(f"tensor {tensor.name!r} is not the one that was committed to")
        answers[place] = show(tensor, commitment.leaf_bytes, source, indices)
    return answers


def show(tensor: Tensor, leaf_bytes: int, source: Source, indices: Indices) -> Answer:
    """Return the leaves of one tensor at `indices`, strictly ascending, with their multiproof.

    Raises VerificationError if the tensor is not the one that was committed to.
    """
    nodes = level(source, leaf_bytes, 0)
    if nodes[-1].tobytes() != tensor.top:
        raise VerificationError(f"tensor {tensor.name!r} changed since it was committed to")
    leaves = b"".join(
        bytes(source.read(offset, size)) for offset, size in _extents(tensor, leaf_bytes, indices)
    )
    return Answer(leaves, multiproof(nodes, tensor.leaves(leaf_bytes), indices))


def verify(
    commitment: Commitment,
    challenge: Challenge,
    answers: Mapping[int, Answer],
    root: bytes,
    drawn_by: bytes | None = None,
) -> None:
    """Return None if `answers` are exactly the leaves that the beacon drew under `root`.

    `drawn_by` is what replaced the root in the draw, if anything.

    Raises VerificationError otherwise.
    """
    if commitment.root != root:
        raise VerificationError("the table of tensors does not have this root")
    drawn = by_tensor(commitment, challenge.draw(drawn_by or root, commitment.leaves))
    if answers.keys() != drawn.keys():
        raise VerificationError("the answer is not about the tensors that the beacon drew from")
    for place, indices in drawn.items():
        tensor = commitment.tensors[place]
        if top_of(tensor, commitment.leaf_bytes, indices, answers[place]) != tensor.top:
            raise VerificationError(
                f"tensor {tensor.name!r}: the drawn leaves are not those committed to"
            )


def top_of(tensor: Tensor, leaf_bytes: int, indices: Indices, given: Answer) -> bytes:
    """Return the root of a tensor's tree to which shown leaves lead; its own is not looked at.

    Raises VerificationError for leaves or proofs of another length.
    """
    sizes = [size for _, size in _extents(tensor, leaf_bytes, indices)]
    if len(given.leaves) != sum(sizes):
        raise VerificationError(
            f"tensor {tensor.name!r}: {len(given.leaves)} bytes for {sum(sizes)} drawn ones"
        )
    whole = len(sizes) if sizes[-1] == leaf_bytes else len(sizes) - 1
    hashes = keccak256_many(given.leaves[: whole * leaf_bytes], leaf_bytes, prefix=b"zkaileaf")
    if whole < len(sizes):
        last = keccak256(b"zkaileaf" + given.leaves[whole * leaf_bytes :])
        hashes = np.concatenate([hashes, np.frombuffer(last, np.uint8).reshape(1, 32)])
    try:
        return fold(tensor.leaves(leaf_bytes), indices, hashes, given.proof)
    except InvalidInput as error:
        raise VerificationError(f"tensor {tensor.name!r}: the proof has a wrong length") from error


def _extents(tensor: Tensor, leaf_bytes: int, indices: Indices) -> list[tuple[int, int]]:
    """Return each leaf's offset and size in bytes."""
    total = tensor.head.total
    return [(at * leaf_bytes, min(leaf_bytes, total - at * leaf_bytes)) for at in map(int, indices)]


def write_answer(path: Path | str, answers: Mapping[int, Answer]) -> None:
    """Write answers as a .safetensors file with `PLACE.leaves` and `PLACE.proof`, bytes all.

    They are a part of weights or data that may be private: nobody but the owner can read the file.
    """
    parts: dict[str, Source] = {}
    for place, given in sorted(answers.items()):
        leaves = np.frombuffer(given.leaves, np.uint8)
        parts[f"{place}.leaves"] = from_array(leaves, f"{place}.leaves")
        parts[f"{place}.proof"] = from_array(given.proof, f"{place}.proof")
    write_tensors(path, parts, {"format": FORMAT}, mode=0o600)


def read_answer(
    path: Path | str, commitment: Commitment, challenge: Challenge
) -> dict[int, Answer]:
    """Read answers, refusing files larger than these could be.

    Raises InvalidInput, naming the file, if it is malformed or too large.
    """
    path = Path(path)
    samples = min(challenge.count, commitment.leaves)
    depth = max(1, (commitment.leaves - 1).bit_length())
    most = MAX_HEADER + samples * (commitment.leaf_bytes + 32 * depth)
    try:
        if path.stat().st_size > most:
            raise InvalidInput(f"{path}: larger than an answer to {samples} samples can be")
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from error
    tensors = open_tensors(path)
    answers = {}
    for place in range(len(commitment.tensors)):
        leaves = tensors.pop(f"{place}.leaves", None)
        proof = tensors.pop(f"{place}.proof", None)
        if leaves is None and proof is None:
            continue
        if leaves is None or proof is None:
            raise InvalidInput(f"{path}: leaves and proof of tensor {place} belong together")
        shape = proof.head.shape
        if proof.head.dtype != "uint8" or len(shape) != 2 or shape[1] != 32:
            raise InvalidInput(f"{path}: {place}.proof must have the shape (n, 32)")
        data = np.frombuffer(bytes(proof.read(0, proof.head.total)), np.uint8)
        answers[place] = Answer(bytes(leaves.read(0, leaves.head.total)), data.reshape(-1, 32))
    if tensors:
        raise InvalidInput(f"{path}: unexpected {next(iter(tensors))!r}")
    return answers


def detection_probability(leaves: int, altered: int, count: int) -> float:
    """Return the probability that `count` distinct samples show one of `altered` leaves.

    1 - C(leaves - altered, count) / C(leaves, count).
    """
    if not (0 <= altered <= leaves and 0 <= count <= leaves):
        raise InvalidInput("expected altered and count between 0 and the number of leaves")
    if altered == 0 or count == 0:
        return 0.0
    if altered + count > leaves:
        return 1.0
    few, many = sorted((altered, count))
    if few * many > _CERTAIN * leaves:  # each term below is at most -many / leaves
        return 1.0
    total = 0.0
    for start in range(0, few, _TERMS):
        places = np.arange(start, min(few, start + _TERMS), dtype=np.float64)
        total += float(np.log1p(-many / (leaves - places)).sum())
    return -math.expm1(total)


def chances(leaves: int, count: int) -> dict[float, float]:
    """Return, by the share of leaves altered, the probability that the check finds it."""
    return {
        share: detection_probability(leaves, math.ceil(share * leaves), count)
        for share in (0.0001, 0.001, 0.01, 0.1, 0.5)
    }
