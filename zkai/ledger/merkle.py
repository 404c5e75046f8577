"""Merkle trees of RFC 9162, section 2.1, with SHA-256: hashes, proofs, their verification.

A proof is a list of hashes of ranges of entries. Which ranges is a function of sizes and index
alone, so whoever stores a tree only has to hash ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError

EMPTY_ROOT = sha256(b"")
MAX_SIZE = 1 << 63
MAX_PROOF = 64
Range = tuple[int, int]


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return sha256(b"\0" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return sha256(b"\1" + left + right)


def split(size: int) -> int:
    """Return the largest power of two below `size`, which must be 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def range_hash(low: int, high: int, node: Callable[[int, int], bytes]) -> bytes:
    """Return MTH(D[low:high]) from complete subtrees.

    `node(height, i)` is the hash of entries i * 2**height up to (i + 1) * 2**height.
    """
    if low == high:
        return EMPTY_ROOT
    size = high - low
    if size & (size - 1) == 0 and low % size == 0:
        height = size.bit_length() - 1
        return node(height, low >> height)
    middle = low + split(size)
    return node_hash(range_hash(low, middle, node), range_hash(middle, high, node))


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose hashes are PATH(index, D[size]). Raises InvalidInput if outside."""
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidInput(f"log: there is no entry {index} in a log of {size} entries")
    low, high, path = 0, size, list[Range]()
    while high - low > 1:
        middle = low + split(high - low)
        if index < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Return the ranges whose hashes are PROOF(first, D[second]).

    Empty if the first tree is empty or they are the same. Raises InvalidInput if first > second.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise InvalidInput(f"log: a log of {second} entries has no earlier size {first}")
    if first in (0, second):
        return []
    low, high, path = 0, second, list[Range]()
    while first != high:
        middle = low + split(high - low)
        if first <= middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    if low:
        path.append((low, high))
    return path[::-1]


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Return None if `proof` shows that `leaf` is entry `index` of the tree of `root`.

    RFC 9162, section 2.1.3.2. Raises VerificationError otherwise.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise VerificationError(f"inclusion: there is no entry {index} in a log of {size} entries")
    _check_hashes([leaf, root, *proof], "inclusion")
    inner, last = index, size - 1
    found = leaf
    for hash_ in proof:
        if last == 0:
            raise VerificationError("inclusion: the proof is too long")
        if inner & 1 or inner == last:
            found = node_hash(hash_, found)
            while not inner & 1 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        inner, last = inner >> 1, last >> 1
    if last:
        raise VerificationError("inclusion: the proof is too short")
    if found != root:
        raise VerificationError("inclusion: the proof leads to another root")


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return None if `proof` shows that the first tree's entries start the second tree.

    RFC 9162, section 2.1.4.2, with its special cases: the same tree, and an empty first one, need
    an empty proof. Raises VerificationError otherwise.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise VerificationError(f"consistency: the log shrank from {first} to {second} entries")
    _check_hashes([first_root, second_root, *proof], "consistency")
    if first in (0, second):
        same = first_root == (second_root if first == second else EMPTY_ROOT)
        if proof or not same:
            raise VerificationError("consistency: another root for the same entries")
        return
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise VerificationError("consistency: the proof is too short")
    inner, last = first - 1, second - 1
    while inner & 1:
        inner, last = inner >> 1, last >> 1
    old = new = path[0]
    for hash_ in path[1:]:
        if last == 0:
            raise VerificationError("consistency: the proof is too long")
        if inner & 1 or inner == last:
            old, new = node_hash(hash_, old), node_hash(hash_, new)
            while not inner & 1 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            new = node_hash(new, hash_)
        inner, last = inner >> 1, last >> 1
    if last:
        raise VerificationError("consistency: the proof is too short")
    if old != first_root or new != second_root:
        raise VerificationError(
            "consistency: history was rewritten, or the proof is of other trees"
        )


def _check_hashes(hashes: Sequence[bytes], what: str) -> None:
    if len(hashes) > MAX_PROOF + 2 or any(len(hash_) != 32 for hash_ in hashes):
        raise VerificationError(f"{what}: a proof is at most {MAX_PROOF} hashes of 32 bytes")
