"""The C library's keccak256 and Merkle trees over buffers: typed wrappers, as in zkai.native.

Trees have RFC 9162's shape; docs/commitments.md specifies leaves and nodes. Hashes are (n, 32)
uint8 arrays. A buffer must not change while it is hashed: other Python threads may run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zkai._native import ffi, lib
from zkai.errors import InvalidInput, ToolError
from zkai.native import check

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.uint64]

MAX_LEAVES = 1 << 40
MAX_HEIGHT = 12


def keccak_kernels() -> dict[str, bool]:
    """Return keccak's kernels by name, and whether this CPU can run each."""
    return {
        ffi.string(lib.zk_keccak_kernel_name(i)).decode(): bool(lib.zk_keccak_kernel_available(i))
        for i in range(lib.zk_keccak_kernel_count())
    }


def keccak_kernel() -> str:
    """Return the active kernel: the widest available, unless one was set."""
    return str(ffi.string(lib.zk_keccak_kernel_name(lib.zk_keccak_kernel_active())).decode())


def set_keccak_kernel(name: str) -> None:
    """Force one kernel.

    Raises InvalidInput for an unknown name, ToolError for one that this CPU cannot run.
    """
    names = list(keccak_kernels())
    if name not in names:
        raise InvalidInput(f"unknown kernel {name!r}: expected one of {', '.join(names)}")
    if lib.zk_keccak_set_kernel(names.index(name)) != 0:
        raise ToolError(f"this CPU cannot run the kernel {name!r}")


def keccak256_many(
    data: Any, length: int, *, stride: int | None = None, prefix: bytes = b""
) -> Bytes:
    """Return keccak256(prefix || message) of every message of `length` bytes in `data`, (n, 32).

    Messages start every `stride` bytes (default: `length`); what is left at the end must be
    shorter than one. `prefix` is empty or has eight bytes.

    Raises InvalidInput for other prefixes, or a length or stride that does not fit.
    """
    buffer = as_bytes(data)
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise InvalidInput(f"length and stride must be at least 1, got {length} and {stride}")
    count = 0 if buffer.size < length else (buffer.size - length) // stride + 1
    out = np.empty((count, 32), np.uint8)
    status = lib.zk_keccak256_many(
        _pointer(out), out.size, prefix or ffi.NULL, len(prefix),
        _pointer(buffer), buffer.size, stride, length, count,
    )  # fmt: skip
    check(status, "keccak256: a prefix has eight bytes or none")
    return out


def count_leaves(total: int, leaf_bytes: int) -> int:
    """Return max(1, ceil(total / leaf_bytes)).

    Raises InvalidInput for a leaf size below 1 or a negative total, or too many leaves.
    """
    if not (1 <= leaf_bytes <= 1 << 30 and total >= 0):
        raise InvalidInput(f"leaves have 1 to 2^30 bytes, got {leaf_bytes} for {total} bytes")
    leaves = max(1, -(-total // leaf_bytes))
    if leaves > MAX_LEAVES:
        raise InvalidInput(f"{total} bytes in leaves of {leaf_bytes} are more than 2^40 leaves")
    return leaves


def subtrees(data: Any, leaf_bytes: int, height: int) -> Bytes:
    """Return the tree's level `height`: the root over every 2^height leaves, (ceil(n / 2^h), 32).

    Level 0 are the leaves' hashes. Parts of a stream give consecutive parts of the level if all
    but the last have a multiple of 2^height leaves.

    Raises InvalidInput for a height above 12 or a leaf size that does not fit.
    """
    buffer = as_bytes(data)
    leaves = count_leaves(buffer.size, leaf_bytes)
    if not 0 <= height <= MAX_HEIGHT:
        raise InvalidInput(f"height must be 0 to {MAX_HEIGHT}, got {height}")
    out = np.empty((((leaves - 1) >> height) + 1, 32), np.uint8)
    status = lib.zk_merkle_subtrees(
        _pointer(out), out.size, _pointer(buffer), buffer.size, leaf_bytes, height
    )
    check(status, "Merkle subtrees")
    return out


def levels(first: Bytes) -> Bytes:
    """Return all levels over `first` (n, 32), one after another: the root is the last row."""
    hashes = as_hashes(first, "level")
    if not 1 <= len(hashes) <= MAX_LEAVES:
        raise InvalidInput("a tree has at least one leaf")
    nodes = np.empty((int(lib.zk_merkle_nodes(len(hashes))), 32), np.uint8)
    nodes[: len(hashes)] = hashes
    check(lib.zk_merkle_levels(_pointer(nodes), nodes.size, len(hashes)), "Merkle levels")
    return nodes


def multiproof(nodes: Bytes, leaves: int, indices: Indices) -> Bytes:
    """Return the hashes (m, 32) that lead from the leaves at `indices` to the root.

    `nodes` are all levels (`levels`), `indices` strictly ascending. The order is level by level
    from the leaves up, left to right in each.

    Raises InvalidInput for indices that do not ascend or lie outside, or nodes of another tree.
    """
    table, at = as_hashes(nodes, "nodes"), _indices(indices, leaves)
    depth = max(1, (leaves - 1).bit_length())
    out = np.empty((len(at) * depth, 32), np.uint8)
    used = ffi.new("size_t *")
    status = lib.zk_merkle_multiproof(
        _pointer(out), out.size, used, _pointer(table), table.size, leaves,
        ffi.from_buffer("uint64_t[]", at), len(at),
    )  # fmt: skip
    check(status, "Merkle proof: nodes are not those of the tree, or indices are not its leaves")
    return out[: used[0]].copy()


def fold(leaves: int, indices: Indices, hashes: Bytes, proof: Bytes) -> bytes:
    """Return the root to which leaf hashes at `indices` and a multiproof lead.

    Raises InvalidInput for indices that do not ascend or lie outside, as many hashes as there are
    not, or a proof that is too short or too long.
    """
    at, known, path = (
        _indices(indices, leaves),
        as_hashes(hashes, "hashes"),
        as_hashes(proof, "proof"),
    )
    root = bytearray(32)
    status = lib.zk_merkle_fold(
        ffi.from_buffer("uint8_t[]", root), 32, leaves,
        ffi.from_buffer("uint64_t[]", at), len(at),
        _pointer(known), known.size, _pointer(path), path.size,
    )  # fmt: skip
    check(status, "Merkle proof")
    return bytes(root)


def as_bytes(data: Any) -> Bytes:
    """Return a contiguous buffer as a flat uint8 array, without copying it.

    Raises InvalidInput for anything else.
    """
    try:
        view = memoryview(data)
        return np.frombuffer(view.cast("B") if view.nbytes else b"", np.uint8)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"expected a contiguous buffer, got {type(data).__name__}") from error


def as_hashes(array: Any, what: str) -> Bytes:
    """Return `array` if it is an (n, 32) array of uint8. Raises InvalidInput otherwise."""
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape[1:] != (32,):
        raise InvalidInput(f"{what}: expected an (n, 32) array of uint8")
    return np.ascontiguousarray(array)


def _indices(indices: Any, leaves: int) -> Indices:
    at = np.ascontiguousarray(indices, np.uint64)
    if not 1 <= leaves <= MAX_LEAVES or at.ndim != 1 or not at.size:
        raise InvalidInput("expected at least one index, and at least one leaf")
    if int(at[-1]) >= leaves or bool((at[1:] <= at[:-1]).any()):
        raise InvalidInput(f"indices must ascend strictly and lie below {leaves}")
    return at


def _pointer(array: Bytes) -> Any:
    return ffi.from_buffer("uint8_t[]", array) if array.size else ffi.NULL
