"""The only door to the C library: typed wrappers that check every buffer before C sees it.

Arrays of field elements are (n, 4) uint64 in standard form, little-endian limbs, canonical; G1
points (n, 8) and G2 points (n, 16) hold x then y (G2: x0, x1, y0, y1), all zeros for infinity.
The underlying calls release the GIL: an array must not be changed while a call runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zkai._native import ffi, lib
from zkai.encoding import Limbs, from_limbs
from zkai.errors import InvalidInput, ToolError

Int64s = npt.NDArray[np.int64]

# --- status, kernels, threads ------------------------------------------------------------------

_MEMORY = 1
_EQUATION = 7
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


# --- field vectors -----------------------------------------------------------------------------

_MUL, _ADD, _SUB, _INV = range(4)


def _binary(function: Any, name: str, a: Limbs, b: Limbs, op: int) -> Limbs:
    a = as_limbs(a, 4, f"{name}: a")
    b = as_limbs(b, 4, f"{name}: b", n=a.shape[0])
    out = new_limbs(a.shape[0], 4)
    check(function(in_u64(out), in_u64(a), in_u64(b), a.shape[0], op), name)
    return out


def fr_mul(a: Limbs, b: Limbs) -> Limbs:
    """Return a * b mod r elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fr_binary, "fr_mul", a, b, _MUL)


def fr_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a + b mod r elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fr_binary, "fr_add", a, b, _ADD)


def fr_sub(a: Limbs, b: Limbs) -> Limbs:
    """Return a - b mod r elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fr_binary, "fr_sub", a, b, _SUB)


def fr_inv(a: Limbs) -> Limbs:
    """Return 1/a mod r elementwise, 0 for 0. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fr_binary, "fr_inv", a, a, _INV)


def fq_mul(a: Limbs, b: Limbs) -> Limbs:
    """Return a * b mod q elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fq_binary, "fq_mul", a, b, _MUL)


def fq_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a + b mod q elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fq_binary, "fq_add", a, b, _ADD)


def fq_sub(a: Limbs, b: Limbs) -> Limbs:
    """Return a - b mod q elementwise for (n, 4) arrays. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fq_binary, "fq_sub", a, b, _SUB)


def fq_inv(a: Limbs) -> Limbs:
    """Return 1/a mod q elementwise, 0 for 0. Raises InvalidInput if not canonical."""
    return _binary(lib.zk_fq_binary, "fq_inv", a, a, _INV)


def fr_from_int64(values: Int64s) -> Limbs:
    """Return int64 values of any shape as an (n, 4) array mod r: -v becomes r - v.

    Raises InvalidInput if `values` is not an int64 array.
    """
    if not isinstance(values, np.ndarray) or values.dtype != np.int64:
        raise InvalidInput("fr_from_int64: expected a numpy array of int64")
    flat = np.ascontiguousarray(values).reshape(-1)
    out = new_limbs(flat.size, 4)
    source = ffi.from_buffer("int64_t[]", flat)
    check(lib.zk_fr_from_int64(in_u64(out), source, flat.size), "fr_from_int64")
    return out


# --- files -------------------------------------------------------------------------------------


def r1cs_scan(
    words: npt.NDArray[np.uint32], n_combinations: int, n_wires: int
) -> tuple[npt.NDArray[np.uint32], int, int]:
    """Return the number of terms of each linear combination in .r1cs words, and the first fault.

    The fault is (combination, kind): 0 none, 1 cut off, 2 unknown wire, 3 wires not ascending,
    4 coefficient zero or not below r, 5 words left over.

    Raises InvalidInput unless `words` is a uint32 vector.
    """
    if words.dtype != np.uint32 or words.ndim != 1:
        raise InvalidInput("r1cs_scan: expected a vector of uint32")
    words = np.require(words, requirements=["C", "A"])
    counts, fault = np.zeros(n_combinations, np.uint32), np.zeros(2, np.uint64)
    status = lib.zk_r1cs_scan(
        ffi.from_buffer("uint32_t[]", counts), n_combinations,
        ffi.from_buffer("uint32_t[]", words), len(words), n_wires, in_u64(fault),
    )  # fmt: skip
    if status != 0 and not fault[1]:
        check(status, "r1cs_scan")
    return counts, int(fault[0]), int(fault[1])


# --- sparse rows and transforms ----------------------------------------------------------------


class SparseRows(Protocol):
    """A matrix compressed by row: int64 indptr, uint32 wires and coefficient ids."""

    @property
    def indptr(self) -> Int64s: ...
    @property
    def wires(self) -> npt.NDArray[np.uint32]: ...
    @property
    def coefs(self) -> npt.NDArray[np.uint32]: ...


def csr_pointers(matrix: SparseRows, what: str) -> tuple[Any, int, Any, Any, int]:
    """Return (indptr, n_rows, wires, coefs, nnz) for C; C checks every index it follows."""
    if matrix.indptr.dtype != np.int64 or matrix.indptr.ndim != 1 or not len(matrix.indptr):
        raise InvalidInput(f"{what}: indptr must be a non-empty int64 vector")
    for name, ids in (("wires", matrix.wires), ("coefs", matrix.coefs)):
        if ids.dtype != np.uint32 or ids.ndim != 1 or len(ids) != len(matrix.wires):
            raise InvalidInput(f"{what}: {name} must be a uint32 vector, one entry a coefficient")
    return (
        ffi.from_buffer("int64_t[]", np.ascontiguousarray(matrix.indptr)),
        len(matrix.indptr) - 1,
        ffi.from_buffer("uint32_t[]", np.ascontiguousarray(matrix.wires)),
        ffi.from_buffer("uint32_t[]", np.ascontiguousarray(matrix.coefs)),
        len(matrix.wires),
    )


def to_montgomery(values: Limbs, what: str = "values") -> Limbs:
    """Return an (n, 4) array in Montgomery form.

    Raises InvalidInput, naming `what` and the index, for a value at or above r.
    """
    values = as_limbs(values, 4, what)
    out, bad = new_limbs(len(values), 4), ffi.new("uint64_t *")
    if lib.zk_fr_to_mont(in_u64(out), in_u64(values), len(values), bad):
        raise InvalidInput(f"{what}: element {bad[0]} is at or above the field modulus")
    return out


def from_montgomery(values: Limbs) -> Limbs:
    """Return an (n, 4) array in standard form; the inverse of `to_montgomery`."""
    values = as_limbs(values, 4, "from_montgomery")
    out = new_limbs(len(values), 4)
    check(lib.zk_fr_from_mont(in_u64(out), in_u64(values), len(values)), "from_montgomery")
    return out


def r1cs_rows(matrix: SparseRows, table: Limbs, witness: Limbs, out: Limbs) -> None:
    """Fill out[i] with the sum over row i of table[coef] * witness[wire]; Montgomery form.

    Raises InvalidInput if an index of the matrix is out of range or `out` is too short.
    """
    table, witness = as_limbs(table, 4, "coefficients"), as_limbs(witness, 4, "witness")
    indptr, n_rows, wires, coefs, nnz = csr_pointers(matrix, "r1cs_rows")
    if len(out) < n_rows or not out.flags.c_contiguous:
        raise InvalidInput(f"r1cs_rows: the result needs {n_rows} rows")
    status = lib.zk_r1cs_rows(
        in_u64(out), indptr, n_rows, wires, coefs, nnz,
        in_u64(table), len(table), in_u64(witness), len(witness),
    )  # fmt: skip
    check(status, "r1cs_rows")


def r1cs_evaluate(
    matrices: Sequence[SparseRows], coefs: Limbs, witness: Limbs, size: int
) -> list[Limbs]:
    """Return each matrix times the witness, padded with zeros to `size`: Montgomery form.

    `coefs` and `witness` are in standard form. Raises InvalidInput if they are not canonical or
    an index is out of range.
    """
    table = to_montgomery(coefs, "coefficients")
    values = to_montgomery(witness, "witness")
    results = []
    for matrix in matrices:
        out = new_limbs(size, 4)
        r1cs_rows(matrix, table, values, out)
        results.append(out)
    return results


def first_unequal(a: Limbs, b: Limbs, c: Limbs) -> int:
    """Return the first i with a[i] * b[i] != c[i] (Montgomery form), or -1."""
    n, row = len(a), ffi.new("uint64_t *")
    args = [in_u64(as_limbs(x, 4, "first_unequal", n)) for x in (a, b, c)]
    check(lib.zk_r1cs_first_unequal(row, *args, n), "first_unequal")
    return -1 if row[0] == n else int(row[0])


def r1cs_check(a: SparseRows, b: SparseRows, c: SparseRows, coefs: Limbs, witness: Limbs) -> int:
    """Return the first row where <A, w> * <B, w> != <C, w>, or -1 if all hold.

    Raises InvalidInput if values are not canonical or an index is out of range.
    """
    return first_unequal(*r1cs_evaluate((a, b, c), coefs, witness, len(a.indptr) - 1))


def r1cs_columns(matrix: SparseRows, table: Limbs, values: Limbs, n_wires: int) -> Limbs:
    """Return the transposed product: out[wire] = sum of table[coef] * values[row]; Montgomery form.

    Raises InvalidInput if an index of the matrix is out of range.
    """
    indptr, n_rows, wires, coefs, nnz = csr_pointers(matrix, "r1cs_columns")
    if len(values) < n_rows:
        raise InvalidInput(f"r1cs_columns: {n_rows} row values are needed, got {len(values)}")
    out = new_limbs(n_wires, 4)
    status = lib.zk_r1cs_columns(
        in_u64(out), n_wires, indptr, n_rows, wires, coefs, nnz,
        in_u64(as_limbs(table, 4, "coefficients")), len(table),
        in_u64(as_limbs(values, 4, "row values")),
    )  # fmt: skip
    check(status, "r1cs_columns")
    return out


def ntt(values: Limbs, inverse: bool = False, coset: bool = False) -> Limbs:
    """Return the values of a polynomial on the roots of unity, from its coefficients, or back.

    `values` is (2**k, 4) in standard form and natural order; the root of order 2**28 is
    5**((r - 1) / 2**28). `coset` shifts the domain by the root of twice its order.

    Raises InvalidInput if the length is no power of two or a value is not canonical.
    """
    data = as_limbs(values, 4, "ntt").copy()
    log_n = log2_exact(len(data), "ntt")
    check(lib.zk_fr_ntt(in_u64(data), log_n, int(inverse), int(coset)), "ntt")
    return data


def log2_exact(n: int, what: str) -> int:
    """Return log2 of a power of two up to 2**28. Raises InvalidInput for any other length."""
    if n < 1 or n & (n - 1) or n > 1 << 28:
        raise InvalidInput(f"{what}: the length must be a power of two up to 2**28, got {n}")
    return n.bit_length() - 1


# --- points ------------------------------------------------------------------------------------

_G1, _G2 = 8, 16


def _msm(function: Any, width: int, name: str, points: Limbs, scalars: Limbs) -> Limbs:
    points = as_limbs(points, width, f"{name}: points")
    scalars = as_limbs(scalars, 4, f"{name}: scalars", n=points.shape[0])
    out = new_limbs(1, width)
    check(function(in_u64(out), in_u64(points), in_u64(scalars), points.shape[0]), name)
    return out


def g1_msm(points: Limbs, scalars: Limbs) -> Limbs:
    """Return sum of scalars[i] * points[i] as (1, 8), for points (n, 8) and scalars (n, 4).

    Raises InvalidInput for a point off the curve or a value that is not canonical.
    """
    return _msm(lib.zk_g1_msm, _G1, "g1_msm", points, scalars)


def g2_msm(points: Limbs, scalars: Limbs) -> Limbs:
    """Return sum of scalars[i] * points[i] as (1, 16), for points (n, 16) and scalars (n, 4).

    The points must lie in the subgroup of order r, which is not checked. Raises InvalidInput for a
    point off the curve or a value that is not canonical.
    """
    return _msm(lib.zk_g2_msm, _G2, "g2_msm", points, scalars)


def _mul_many(function: Any, width: int, name: str, scalars: Limbs, base: Limbs | None) -> Limbs:
    scalars = as_limbs(scalars, 4, f"{name}: scalars")
    pointer = ffi.NULL
    if base is not None:
        base = as_limbs(base, width, f"{name}: base", n=1)
        pointer = in_u64(base)
    out = new_limbs(scalars.shape[0], width)
    check(function(in_u64(out), pointer, in_u64(scalars), scalars.shape[0]), name)
    return out


def g1_mul_many(scalars: Limbs, base: Limbs | None = None) -> Limbs:
    """Return scalars[i] * base as (n, 8); `base` is (1, 8), by default the generator (1, 2).

    Raises InvalidInput for a base at infinity or off the curve and for non-canonical values.
    """
    return _mul_many(lib.zk_g1_mul_many, _G1, "g1_mul_many", scalars, base)


def g2_mul_many(scalars: Limbs, base: Limbs | None = None) -> Limbs:
    """Return scalars[i] * base as (n, 16); `base` is (1, 16), by default EIP-197's generator.

    Raises InvalidInput for a base at infinity or off the curve and for non-canonical values.
    """
    return _mul_many(lib.zk_g2_mul_many, _G2, "g2_mul_many", scalars, base)


def _elementwise(function: Any, name: str, a: Limbs, a_width: int, b: Limbs, b_width: int) -> Limbs:
    a = as_limbs(a, a_width, f"{name}: first operand")
    b = as_limbs(b, b_width, f"{name}: second operand", n=a.shape[0])
    out = new_limbs(a.shape[0], a_width)
    check(function(in_u64(out), in_u64(a), in_u64(b), a.shape[0]), name)
    return out


def g1_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a[i] + b[i] for (n, 8) points. Raises InvalidInput for points off the curve."""
    return _elementwise(lib.zk_g1_add, "g1_add", a, _G1, b, _G1)


def g2_add(a: Limbs, b: Limbs) -> Limbs:
    """Return a[i] + b[i] for (n, 16) points. Raises InvalidInput for points off the curve."""
    return _elementwise(lib.zk_g2_add, "g2_add", a, _G2, b, _G2)


def g1_mul(points: Limbs, scalars: Limbs) -> Limbs:
    """Return scalars[i] * points[i] for (n, 8) points and any (n, 4) scalars below 2**256.

    Raises InvalidInput for points off the curve.
    """
    return _elementwise(lib.zk_g1_mul, "g1_mul", points, _G1, scalars, 4)


def g2_mul(points: Limbs, scalars: Limbs) -> Limbs:
    """Return scalars[i] * points[i] for (n, 16) points and any (n, 4) scalars below 2**256.

    Raises InvalidInput for points off the curve.
    """
    return _elementwise(lib.zk_g2_mul, "g2_mul", points, _G2, scalars, 4)


def _first_bad(function: Any, width: int, name: str, points: Limbs, subgroup: bool) -> int:
    points = as_limbs(points, width, f"{name}: points")
    first = ffi.new("size_t *")
    function(first, in_u64(points), points.shape[0], int(subgroup))
    return -1 if first[0] == points.shape[0] else int(first[0])


def g1_check(points: Limbs) -> int:
    """Return the index of the first (n, 8) point that is not canonical or not on the curve, or -1.

    Infinity passes: a caller that must refuse it looks for rows of zeros.
    """
    return _first_bad(lib.zk_g1_check, _G1, "g1_check", points, subgroup=False)


def g2_check(points: Limbs) -> int:
    """Return the index of the first (n, 16) point outside the subgroup of order r, or -1.

    A point that is not canonical or not on the curve counts as outside; infinity passes.
    """
    return _first_bad(lib.zk_g2_check, _G2, "g2_check", points, subgroup=True)


# --- pairings ----------------------------------------------------------------------------------


def pairing(g1: Limbs, g2: Limbs) -> list[int]:
    """Return the product of e(g1[i], g2[i]) for points (n, 8) and (n, 16), n at most 1024.

    The result is its 12 coefficients of w^0..w^11, where w^12 = 18 w^6 - 82. e is the optimal ate
    pairing to the power 2x(6x^2 + 3x + 1), with x the parameter of the curve (Fuentes-Castaneda et
    al., "Faster hashing to G2"). Infinity pairs to 1.

    Raises InvalidInput for a point off its curve or outside its subgroup.
    """
    g1 = as_limbs(g1, _G1, "pairing: g1")
    g2 = as_limbs(g2, _G2, "pairing: g2", n=g1.shape[0])
    out = new_limbs(12, 4)
    check(lib.zk_pairing(in_u64(out), in_u64(g1), in_u64(g2), g1.shape[0]), "pairing")
    return from_limbs(out)


def pairing_product_is_one(g1: Limbs, g2: Limbs) -> bool:
    """Return whether the product of e(g1[i], g2[i]) is 1.

    Raises InvalidInput for a point off its curve or outside its subgroup.
    """
    return pairing(g1, g2) == [1] + [0] * 11


@dataclass(frozen=True)
class VerifyFault:
    """Why a Groth16 proof was refused: `where` names the value, or is "proof" for the equation."""

    where: str
    reason: str


_VERIFY_PARTS = (
    "key: alpha",
    "key: beta",
    "key: gamma",
    "key: delta",
    "proof: a",
    "proof: b",
    "proof: c",
)
_VERIFY_REASONS = {
    3: "a value is not canonical: it is at or above its modulus",
    4: "the point is not on its curve",
    5: "the point is outside the subgroup of order r",
    6: "the point is the point at infinity",
    10: "gamma and delta are the same point",
}


def groth16_verify(
    alpha: Limbs,
    beta: Limbs,
    gamma: Limbs,
    delta: Limbs,
    ic: Limbs,
    publics: Limbs,
    a: Limbs,
    b: Limbs,
    c: Limbs,
) -> VerifyFault | None:
    """Return None if e(a, b) = e(alpha, beta) e(ic[0] + sum x_i ic[i + 1], gamma) e(c, delta).

    Points in G1 (alpha, a, c) are (1, 8), in G2 (beta, gamma, delta, b) (1, 16), `ic` is (n + 1, 8)
    and `publics` (n, 4). Every public input must be below r; every point canonical, on its curve,
    in its subgroup and not infinity; gamma may not be delta. Otherwise returns the first
    fault (Groth, "On the size of pairing-based non-interactive arguments", 2016, section 3.2).

    Raises InvalidInput for arrays of the wrong type or shape.
    """
    publics = as_limbs(publics, 4, "groth16_verify: public inputs")
    n = publics.shape[0]
    ic = as_limbs(ic, _G1, "groth16_verify: ic", n=n + 1)
    points = [
        as_limbs(value, width, f"groth16_verify: {name}", n=1)
        for value, width, name in (
            (alpha, _G1, "alpha"),
            (beta, _G2, "beta"),
            (gamma, _G2, "gamma"),
            (delta, _G2, "delta"),
            (a, _G1, "a"),
            (b, _G2, "b"),
            (c, _G1, "c"),
        )
    ]
    buffers = [in_u64(point) for point in points]
    where = ffi.new("size_t *")
    status = lib.zk_groth16_verify(
        *buffers[:4], in_u64(ic), in_u64(publics), n, *buffers[4:], where
    )
    if status == 0:
        return None
    if status == _EQUATION:
        return VerifyFault("proof", "the pairing equation does not hold for these public inputs")
    if status not in _VERIFY_REASONS:
        check(status, "groth16_verify")
    return VerifyFault(_verify_part(int(where[0]), n), _VERIFY_REASONS[status])


def _verify_part(index: int, n: int) -> str:
    if index < len(_VERIFY_PARTS):
        return _VERIFY_PARTS[index]
    index -= len(_VERIFY_PARTS)
    return f"key: ic[{index}]" if index <= n else f"public input {index - n - 1}"
