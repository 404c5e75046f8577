"""The operators of which disputable steps consist: what each does, and when its output is right.

An integer operator's output is right if it is equal, bit for bit (the rules of circuits/README.md).
A float32 operator's is right if every element lies within a derived bound of the value computed in
float64, whatever order its sums were taken in (Higham, "Accuracy and Stability of Numerical
Algorithms", 2002, section 3.1): |computed - exact| <= g_k sum |terms|, g_k = k u / (1 - k u),
u = 2^-24, k the number of roundings. Powers of e are taken to be right within 4 ulp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model import fixed_point

Array = npt.NDArray[Any]
Numbers = Mapping[str, int]

_U = 2.0**-24
_EXP_ULP = 4
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Operator:
    """One operator: reads tensors by name, writes `output`, then forgets the tensors in `drops`."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    numbers: Numbers = field(default_factory=dict)
    drops: tuple[str, ...] = ()

    def run(self, tensors: Mapping[str, Array]) -> Array:
        """Return the output. Raises InvalidInput for inputs that the operator does not take."""
        output: Array = self._call(_KINDS[self.kind].run, tensors)
        return output

    @property
    def exact(self) -> bool:
        """Whether only an output that is equal bit for bit is right."""
        return _KINDS[self.kind].bound is None

    def admits(self, tensors: Mapping[str, Array], output: Array) -> bool:
        """Return whether `output` is right for these inputs.

        Raises InvalidInput for inputs that the operator does not take.
        """
        right = self.run(tensors)
        if output.dtype != right.dtype or output.shape != right.shape:
            return False
        if output.tobytes() == right.tobytes():
            return True
        bound = _KINDS[self.kind].bound
        if bound is None or not np.isfinite(output).all():
            return False
        with np.errstate(all="ignore"):
            value, most = self._call(bound, tensors)
            # What float32 flushes to zero, or rounds where it is subnormal, is below its least.
            return bool((np.abs(output - value) <= most * (1 + 1e-6) + _TINY).all())

    def _call(self, rule: Callable[..., Any], tensors: Mapping[str, Array]) -> Any:
        if missing := [name for name in self.inputs if name not in tensors]:
            raise InvalidInput(f"operator {self.kind}: tensor {missing[0]!r} is missing")
        try:
            with np.errstate(all="ignore"):
                return rule(*(tensors[name] for name in self.inputs), **self.numbers)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            raise InvalidInput(f"operator {self.kind}: {error}") from error


@dataclass(frozen=True)
class _Kind:
    run: Callable[..., Array]
    bound: Callable[..., tuple[Array, Array]] | None = None


# Of both ---------------------------------------------------------------------------------------


def _rows(data: Array, start: int, count: int) -> Array:
    """Rows start, start + 1, ..., round and round."""
    return data[(start + np.arange(count)) % len(data)]


def _block(weights: Array, start: int, rows: int, columns: int) -> Array:
    flat = weights.reshape(-1)
    return flat[start : start + rows * columns].reshape(rows, columns).copy()


def _join(*blocks: Array, rows: int, columns: int) -> Array:
    """The blocks one after another; rows of 0 say a flat vector."""
    flat = np.concatenate([block.reshape(-1) for block in blocks])
    return flat.reshape(rows, columns) if rows else flat


def _multiply(a: Array, b: Array) -> Array:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise InvalidInput("operator multiply: shapes or types differ")
    return np.asarray(a * b)


# Integers --------------------------------------------------------------------------------------


def _affine(x: Array, matrix: Array, scale: int) -> Array:
    _integers(x, matrix)
    return np.asarray(x @ matrix[:-1] + (matrix[-1] << np.int64(scale)))


def _rescale(x: Array, multiplier: int, shift: int, width: int, less: int) -> Array:
    """R_shift(multiplier x); with a width, z - less must fit it (rule 14)."""
    _integers(x)
    z = fixed_point.rescale(np.multiply(x, multiplier, dtype=np.int64), shift)
    if width:
        fixed_point.check_width(z - less, width, "output")
    return z


def _mask(z: Array) -> Array:
    _integers(z)
    return fixed_point.relu_mask(z)


def _softmax(u: Array, logit_scale_bits: int, error_scale_bits: int) -> Array:
    _integers(u)
    return fixed_point.softmax(u, logit_scale_bits, error_scale_bits)


def _error(p: Array, labels: Array, one: int) -> Array:
    """p less `one` at each row's label."""
    _labels(p, labels)
    out = p.copy()
    out[np.arange(len(labels)), labels] -= p.dtype.type(one)
    return out


def _back(error: Array, matrix: Array) -> Array:
    _integers(error, matrix)
    return np.asarray(error @ matrix[:-1].T)


def _gradient(left: Array, error: Array, scale: int) -> Array:
    _integers(left, error)
    bias = error.sum(axis=0) << np.int64(scale)
    return np.concatenate([left.T @ error, bias[None, :]])


def _update(weights: Array, gradient: Array, rate: int, shift: int, width: int) -> Array:
    """R_shift(W 2^shift - rate G)."""
    _integers(weights, gradient)
    moved: Array = (weights << np.int64(shift)) - np.int64(rate) * gradient
    new = fixed_point.rescale(moved, shift)
    fixed_point.check_width(new, width, "weights after the step")
    return new


def _integers(*arrays: Array) -> None:
    if any(array.dtype != np.int64 for array in arrays):
        raise InvalidInput("an integer operator takes int64")


def _labels(p: Array, labels: Array) -> None:
    if labels.dtype != np.int64 or p.ndim != 2 or labels.shape != p.shape[:1]:
        raise InvalidInput("labels: expected one int64 a row")
    if labels.size and not (labels.min() >= 0 and labels.max() < p.shape[1]):
        raise InvalidInput("labels: outside the classes")


# Floats ----------------------------------------------------------------------------------------


def _affine32(x: Array, matrix: Array) -> Array:
    _floats(x, matrix)
    return np.asarray(x @ matrix[:-1] + matrix[-1])


def _affine32_bound(x: Array, matrix: Array) -> tuple[Array, Array]:
    x, m = x.astype(np.float64), matrix.astype(np.float64)
    size = np.abs(x) @ np.abs(m[:-1]) + np.abs(m[-1])
    return x @ m[:-1] + m[-1], _gamma(len(m) + 1) * size


def _relu32(z: Array) -> Array:
    _floats(z)
    return np.where(z > 0, z, np.float32(0))  # no negative zero


def _mask32(z: Array) -> Array:
    _floats(z)
    return (z > 0).astype(np.float32)


def _softmax32(z: Array) -> Array:
    _floats(z)
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _softmax32_bound(z: Array) -> tuple[Array, Array]:
    """Each power is off by its argument's rounding and e's; their sum by the largest of them."""
    d = z.astype(np.float64)
    d = d - d.max(axis=-1, keepdims=True)
    powers = np.exp(d)
    p = powers / powers.sum(axis=-1, keepdims=True)
    # Terms far below the largest add nothing to the sum's error that their size does not bound.
    power = np.expm1(np.abs(d) * _U) + 2 * _EXP_ULP * _U
    total = (p * power).sum(axis=-1, keepdims=True) + _gamma(z.shape[-1])
    return p, p * (power + total + 2 * _U) * (1 + 2.0**-10)


def _error32_bound(p: Array, labels: Array, one: int) -> tuple[Array, Array]:
    value = _error(p.astype(np.float64), labels, one)
    return value, _U * np.abs(value)


def _back32(error: Array, matrix: Array) -> Array:
    _floats(error, matrix)
    return np.asarray(error @ matrix[:-1].T)


def _back32_bound(error: Array, matrix: Array) -> tuple[Array, Array]:
    e, m = error.astype(np.float64), matrix[:-1].astype(np.float64).T
    return e @ m, _gamma(len(m) + 1) * (np.abs(e) @ np.abs(m))


def _multiply_bound(a: Array, b: Array) -> tuple[Array, Array]:
    value = a.astype(np.float64) * b
    return value, _U * np.abs(value)


def _gradient32(left: Array, error: Array) -> Array:
    _floats(left, error)
    return np.concatenate([left.T @ error, error.sum(axis=0)[None, :]])


def _gradient32_bound(left: Array, error: Array) -> tuple[Array, Array]:
    x, e = left.astype(np.float64), error.astype(np.float64)
    value = np.concatenate([x.T @ e, e.sum(axis=0)[None, :]])
    size = np.concatenate([np.abs(x).T @ np.abs(e), np.abs(e).sum(axis=0)[None, :]])
    return value, _gamma(len(x) + 1) * size


def _update32(weights: Array, gradient: Array, rate: int, shift: int) -> Array:
    """W - rate 2^-shift G."""
    _floats(weights, gradient)
    return np.asarray(weights - np.float32(rate * 2.0**-shift) * gradient)


def _update32_bound(weights: Array, gradient: Array, rate: int, shift: int) -> tuple[Array, Array]:
    move = float(np.float32(rate * 2.0**-shift)) * gradient.astype(np.float64)
    old = weights.astype(np.float64)
    return old - move, _gamma(2) * (np.abs(old) + np.abs(move))


def _floats(*arrays: Array) -> None:
    if any(array.dtype != np.float32 for array in arrays):
        raise InvalidInput("a float operator takes float32")


def _gamma(roundings: int) -> float:
    return roundings * _U / (1 - roundings * _U)


_KINDS: Mapping[str, _Kind] = {
    "rows": _Kind(_rows),
    "block": _Kind(_block),
    "join": _Kind(_join),
    "multiply": _Kind(_multiply),
    "affine": _Kind(_affine),
    "rescale": _Kind(_rescale),
    "mask": _Kind(_mask),
    "softmax": _Kind(_softmax),
    "error": _Kind(_error),
    "back": _Kind(_back),
    "gradient": _Kind(_gradient),
    "update": _Kind(_update),
    "affine32": _Kind(_affine32, _affine32_bound),
    "relu32": _Kind(_relu32),
    "mask32": _Kind(_mask32),
    "softmax32": _Kind(_softmax32, _softmax32_bound),
    "error32": _Kind(_error, _error32_bound),
    "back32": _Kind(_back32, _back32_bound),
    "multiply32": _Kind(_multiply, _multiply_bound),
    "gradient32": _Kind(_gradient32, _gradient32_bound),
    "update32": _Kind(_update32, _update32_bound),
}
KINDS: Sequence[str] = tuple(_KINDS)
