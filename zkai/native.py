"""The only door to the C library: typed wrappers that check every buffer before C sees it.

Arrays of field elements are (n, 4) uint64 in standard form, little-endian limbs, canonical; G1
points (n, 8) and G2 points (n, 16) hold x then y (G2: x0, x1, y0, y1), all zeros for infinity.
The underlying calls release the GIL: an array must not be changed while a call runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zkai._native import ffi, lib
from zkai.encoding import Limbs
from zkai.errors import InvalidInput
from zkai.native_curve import (
    VerifyFault,
    g1_add,
    g1_check,
    g1_msm,
    g1_mul,
    g1_mul_many,
    g2_add,
    g2_check,
    g2_msm,
    g2_mul,
    g2_mul_many,
    groth16_verify,
    pairing,
    pairing_product_is_one,
)
from zkai.native_library import (
    Int64s,
    as_limbs,
    check,
    cpu_features,
    in_u64,
    kernel,
    kernels,
    new_limbs,
    set_kernel,
    set_threads,
    threads,
)

__all__ = [
    "Int64s",
    "SparseRows",
    "VerifyFault",
    "as_limbs",
    "check",
    "cpu_features",
    "csr_pointers",
    "first_unequal",
    "fq_add",
    "fq_inv",
    "fq_mul",
    "fq_sub",
    "fr_add",
    "fr_from_int64",
    "fr_inv",
    "fr_mul",
    "fr_sub",
    "from_montgomery",
    "g1_add",
    "g1_check",
    "g1_msm",
    "g1_mul",
    "g1_mul_many",
    "g2_add",
    "g2_check",
    "g2_msm",
    "g2_mul",
    "g2_mul_many",
    "groth16_verify",
    "in_u64",
    "kernel",
    "kernels",
    "log2_exact",
    "new_limbs",
    "ntt",
    "pairing",
    "pairing_product_is_one",
    "r1cs_check",
    "r1cs_columns",
    "r1cs_evaluate",
    "r1cs_rows",
    "r1cs_scan",
    "set_kernel",
    "set_threads",
    "threads",
    "to_montgomery",
]

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
