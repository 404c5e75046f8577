"""The C library's status codes, kernels and threads, and the buffers that go to it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai._native import ffi, lib
from zkai.encoding import Limbs
from zkai.errors import InvalidInput, ToolError

Int64s = npt.NDArray[np.int64]

# --- status, kernels, threads ------------------------------------------------------------------

_MEMORY = 1
_STATUS = {
    2: "an argument is outside what the native library accepts",
    3: "a field element is not canonical: it is at or above its modulus",
    4: "a point is not on its curve",
    5: "a G2 point is outside the subgroup of order r",
    6: "a point is the point at infinity, which is not allowed here",
    7: "the equation does not hold",
    8: "the bytes do not follow their file format",
    9: "cancelled",
}


def check(status: int, what: str) -> None:
    """Return None if a C call succeeded.

    Raises MemoryError if it ran out of memory, else InvalidInput naming `what` and the cause.
    """
    if status == 0:
        return
    if status == _MEMORY:
        raise MemoryError(f"{what}: the native library ran out of memory")
    raise InvalidInput(f"{what}: {_STATUS.get(status, f'native error {status}')}")


def kernels() -> dict[str, bool]:
    """Return every arithmetic kernel by name, and whether this CPU can run it."""
    return {
        ffi.string(lib.zk_kernel_name(i)).decode(): bool(lib.zk_kernel_available(i))
        for i in range(lib.zk_kernel_count())
    }


def kernel() -> str:
    """Return the name of the active kernel: the fastest available, unless one was set."""
    return str(ffi.string(lib.zk_kernel_name(lib.zk_kernel_active())).decode())


def set_kernel(name: str) -> None:
    """Force one arithmetic kernel.

    Raises InvalidInput for an unknown name, ToolError for one that this CPU cannot run.
    """
    names = list(kernels())
    if name not in names:
        raise InvalidInput(f"unknown kernel {name!r}: expected one of {', '.join(names)}")
    if lib.zk_set_kernel(names.index(name)) != 0:
        raise ToolError(f"this CPU cannot run the kernel {name!r}")


def threads() -> int:
    """Return the number of threads that parallel loops use."""
    return int(lib.zk_threads())


def set_threads(n: int | None) -> None:
    """Set the number of threads (1..256); None returns to the process's CPU affinity.

    Raises InvalidInput for any other number.
    """
    if n is not None and not 1 <= n <= 256:
        raise InvalidInput(f"the number of threads must be 1..256, got {n}")
    check(lib.zk_set_threads(0 if n is None else n), "set_threads")


def cpu_features() -> dict[str, Any]:
    """Return what decides the speed: kernels, the active one, CPUs in the affinity, threads."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "kernels": kernels(),
        "kernel": kernel(),
        "cpus": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "threads": threads(),
    }


# --- buffers -----------------------------------------------------------------------------------


def as_limbs(array: Any, width: int, what: str, n: int | None = None) -> Limbs:
    """Return `array` if it is a C-contiguous (n, width) uint64 array.

    Raises InvalidInput, naming `what`, for any other type, dtype, shape or layout.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.uint64:
        kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInput(f"{what}: expected a numpy array of uint64, got {kind}")
    if array.ndim != 2 or array.shape[1] != width or (n is not None and array.shape[0] != n):
        expected = f"({'n' if n is None else n}, {width})"
        raise InvalidInput(f"{what}: expected shape {expected}, got {array.shape}")
    return np.ascontiguousarray(array)


def in_u64(array: Limbs) -> Any:
    """Return a C pointer to the data of a checked uint64 array; the array must outlive its use."""
    return ffi.from_buffer("uint64_t[]", array)


def new_limbs(n: int, width: int) -> Limbs:
    """Return a zeroed (n, width) limb array for C to write into."""
    return np.zeros((n, width), dtype=np.uint64)
