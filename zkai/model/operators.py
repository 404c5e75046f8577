"""How each supported ONNX operator is lowered (ONNX operator specification, opsets 9 to 25)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from zkai.model import graph as real
from zkai.model.graph import Shape
from zkai.model.lowering import (
    FLOAT_TYPES,
    Constant,
    Lowering,
    Operator,
    SourceNode,
    Tensor,
    Unsupported,
    Value,
    check_elements,
)
from zkai.model.operands import (
    Args,
    broadcast,
    checked_axis,
    computed,
    constant,
    given,
    optional,
    shape_of,
)
from zkai.model.operators_image import average_pool, conv, global_average_pool, reduce_mean


def _identity(low: Lowering, node: SourceNode, args: Args) -> Value:
    return given(args, 1)[0]


def _constant_node(low: Lowering, node: SourceNode, args: Args) -> Value:
    kinds = ("value", "value_float", "value_floats", "value_int", "value_ints")
    for kind in kinds:
        if kind in node.attributes:
            return Constant(low.output, np.asarray(node.attributes[kind]))
    raise Unsupported("holds no dense tensor of numbers")


def _cast(low: Lowering, node: SourceNode, args: Args) -> Value:
    (value,) = given(args, 1)
    target = node.attributes.get("to")
    if isinstance(value, Constant):
        types: dict[Any, Any] = {1: np.float32, 11: np.float64, 6: np.int32, 7: np.int64}
        if target not in types:
            raise Unsupported(f"casts a constant to the ONNX type {target}")
        return Constant(low.output, value.array.astype(types[target]))
    if target not in FLOAT_TYPES:
        raise Unsupported(f"the cast to the ONNX type {target} changes values")
    return value


def _add(low: Lowering, node: SourceNode, args: Args) -> Value:
    a, b = given(args, 2)
    sign = -1 if node.operator == "Sub" else 1
    shape = broadcast(shape_of(a), shape_of(b))
    check_elements(shape, "its output")
    if isinstance(a, Constant) and isinstance(b, Constant):
        return Constant(low.output, a.array + sign * b.array)
    return low.emit(real.Add(sign), (a, b), shape)


def _mul(low: Lowering, node: SourceNode, args: Args) -> Value:
    a, b = given(args, 2)
    shape = broadcast(shape_of(a), shape_of(b))
    check_elements(shape, "its output")
    if isinstance(a, Constant) and isinstance(b, Constant):
        return Constant(low.output, a.array * b.array)
    if isinstance(a, Constant):
        a, b = b, a
    if isinstance(b, Tensor):
        raise Unsupported("multiplies two computed tensors; one factor must be a constant")
    return low.emit(real.Mul(), (a, b), shape)


def _product(low: Lowering, a: Value, b: Value, last: bool) -> Value:
    """Lower a @ b with numpy.matmul's meaning."""
    if isinstance(a, Constant) and isinstance(b, Constant):
        _matmul_shape(a.array.shape, b.array.shape)
        return Constant(low.output, a.array @ b.array)
    shape = _matmul_shape(shape_of(a), shape_of(b))
    if isinstance(b, Constant):
        return _times_constant(low, a, b, shape, last)
    if isinstance(a, Constant):
        return _constant_times(low, a, b, shape, last)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise Unsupported(f"multiplies computed tensors {a.shape} and {b.shape}; both must be 2-D")
    return low.emit(real.MatMul(), (a, b), shape, last)


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b or a[-1] != b[max(len(b) - 2, 0)]:
        raise Unsupported(f"the shapes {a} and {b} do not multiply")
    batch = broadcast(a[:-2], b[:-2])
    check_elements((*batch, *a[-2:-1], *b[-1:]), "its output")
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _times_constant(low: Lowering, a: Value, b: Constant, shape: Shape, last: bool) -> Tensor:
    w = b.array
    if w.ndim > 2 and prod(w.shape[:-2]) != 1:
        raise Unsupported(f"a constant factor with {w.ndim} axes; it must have 1 or 2")
    if w.ndim != 2:
        w = w.reshape(w.shape[-2:] if w.ndim > 2 else (-1, 1))
    flat = (*shape_of(a)[:-1], w.shape[1])
    if flat == shape:
        return low.emit(real.MatMul(), (a, Constant(b.name, w)), shape, last)
    y = low.emit(real.MatMul(), (a, Constant(b.name, w)), flat, last=False)
    return low.reshape(y, shape, last)


def _constant_times(low: Lowering, a: Constant, b: Tensor, shape: Shape, last: bool) -> Tensor:
    """Lower a @ b as the transpose of b^T @ a^T."""
    if a.array.ndim not in (1, 2):
        raise Unsupported(f"a constant factor with {a.array.ndim} axes; it must have 1 or 2")
    w = Constant(a.name, np.atleast_2d(a.array).T)
    rank = len(b.shape)
    if rank == 1:
        y = low.emit(real.MatMul(), (b, w), (w.array.shape[1],), last=False)
        return low.reshape(y, shape, last)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    turned = low.transpose(b, perm, last=False)
    y = low.emit(real.MatMul(), (turned, w), (*turned.shape[:-1], w.array.shape[1]), last=False)
    if a.array.ndim == 1:
        return low.reshape(y, shape, last)
    return low.transpose(y, perm, last)


def _matmul(low: Lowering, node: SourceNode, args: Args) -> Value:
    a, b = given(args, 2)
    return _product(low, a, b, last=True)


def _gemm(low: Lowering, node: SourceNode, args: Args) -> Value:
    a, b = given(args, 2)
    c = optional(args, 2)
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    a = _turned(low, a, bool(node.attributes.get("transA", 0)))
    b = _turned(low, b, bool(node.attributes.get("transB", 0)))
    rows, columns = _matmul_shape(shape_of(a), shape_of(b))
    if c is not None and broadcast(shape_of(c), (rows, columns)) != (rows, columns):
        raise Unsupported(f"C of shape {shape_of(c)} does not broadcast to {(rows, columns)}")
    if alpha != 1.0 and isinstance(b, Constant):
        b, alpha = Constant(b.name, b.array * alpha), 1.0
    if isinstance(b, Constant) and isinstance(a, Tensor) and isinstance(c, Constant):
        row = (
            np.broadcast_to(c.array, (1, columns))
            if c.array.ndim < 2 or len(c.array) == 1
            else None
        )
        if row is not None:
            bias = Constant(c.name, np.array(row[0]) * beta)
            return low.emit(real.MatMul(), (a, b, bias), (rows, columns))
    plain = alpha == 1.0 and c is None
    y = _product(low, a, b, last=plain)
    if alpha != 1.0:
        y = _scaled(low, y, alpha, last=c is None)
    if c is None:
        return y
    if beta != 1.0:
        c = _scaled(low, c, beta, last=False)
    if isinstance(y, Constant) and isinstance(c, Constant):
        return Constant(low.output, y.array + c.array)
    return low.emit(real.Add(1), (y, c), (rows, columns))


def _turned(low: Lowering, value: Value, turn: bool) -> Value:
    if len(shape_of(value)) != 2:
        raise Unsupported(f"a factor of shape {shape_of(value)}; Gemm takes 2-D ones")
    if not turn:
        return value
    if isinstance(value, Constant):
        return Constant(value.name, value.array.T)
    return low.transpose(value, (1, 0), last=False)


def _scaled(low: Lowering, value: Value, factor: float, last: bool) -> Value:
    if isinstance(value, Constant):
        return Constant(value.name, value.array * factor)
    constant = Constant(f"{low.output}.factor", np.asarray(factor))
    return low.emit(real.Mul(), (value, constant), value.shape, last)


def _relu(low: Lowering, node: SourceNode, args: Args) -> Value:
    x = computed(args)
    return low.emit(real.Relu(), (x,), x.shape)


def _sigmoid(low: Lowering, node: SourceNode, args: Args) -> Value:
    x = computed(args)
    return low.emit(real.Sigmoid(), (x,), x.shape)


def _softmax(low: Lowering, node: SourceNode, args: Args) -> Value:
    x = computed(args)
    rank = len(x.shape)
    if rank == 0:
        raise Unsupported("applied to a scalar")
    old = low.model.opset < 13
    axis = checked_axis(node.attributes.get("axis", 1 if old else -1), rank)
    if old and prod(x.shape[axis + 1 :]) != 1:
        raise Unsupported(
            "before opset 13 it runs over several axes; export with opset 13 or later"
        )
    if axis == rank - 1:
        return low.emit(real.Softmax(), (x,), x.shape)
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    turned = low.transpose(x, perm, last=False)
    y = low.emit(real.Softmax(), (turned,), turned.shape, last=False)
    return low.transpose(y, perm)


def _batch_norm(low: Lowering, node: SourceNode, args: Args) -> Value:
    x = computed(args)
    if node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        raise Unsupported("in training mode; export the module after module.eval()")
    if len(x.shape) < 2:
        raise Unsupported(f"an input of shape {x.shape}; (N, C, ...) is needed")
    names = ("scale", "B", "input_mean", "input_var")
    given = [optional(args, index + 1) for index in range(4)]
    scale, shift, mean, variance = (
        np.asarray(constant(value, name), dtype=np.float64)
        for value, name in zip(given, names, strict=True)
    )
    if any(array.shape != x.shape[1:2] for array in (scale, shift, mean, variance)):
        raise Unsupported(f"its constants do not have {x.shape[1]} channels")
    spread = variance + node.attributes.get("epsilon", 1e-5)
    if not np.all(spread > 0):
        raise Unsupported("a variance plus epsilon is not positive")
    factor = scale / np.sqrt(spread)
    shape = (x.shape[1], *(1,) * (len(x.shape) - 2))
    name = low.output
    factors = Constant(f"{name}.factor", factor.reshape(shape))
    offsets = Constant(f"{name}.offset", (shift - mean * factor).reshape(shape))
    y = low.emit(real.Mul(), (x, factors), x.shape, last=False)
    return low.emit(real.Add(1), (y, offsets), x.shape)


def _rearranged(low: Lowering, value: Value, shape: Shape) -> Value:
    if prod(shape) != prod(shape_of(value)):
        raise Unsupported(f"cannot give {shape_of(value)} the shape {shape}")
    if isinstance(value, Constant):
        return Constant(low.output, value.array.reshape(shape))
    return low.reshape(value, shape)


def _flatten(low: Lowering, node: SourceNode, args: Args) -> Value:
    (x,) = given(args, 1)
    shape = shape_of(x)
    axis = node.attributes.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise Unsupported(f"axis {axis} does not exist in shape {shape}")
    axis += len(shape) if axis < 0 else 0
    return _rearranged(low, x, (prod(shape[:axis]), prod(shape[axis:])))


def _reshape(low: Lowering, node: SourceNode, args: Args) -> Value:
    x, target = given(args, 2)
    wanted = [int(size) for size in constant(target, "its shape").ravel()]
    old = shape_of(x)
    if not node.attributes.get("allowzero", 0):
        if any(size == 0 and index >= len(old) for index, size in enumerate(wanted)):
            raise Unsupported(f"the shape {wanted} copies an axis that {old} does not have")
        wanted = [old[index] if size == 0 else size for index, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = prod(size for size in wanted if size != -1)
        if rest < 1 or prod(old) % rest:
            raise Unsupported(f"cannot give {old} the shape {wanted}")
        wanted[wanted.index(-1)] = prod(old) // rest
    if any(size < 1 for size in wanted):
        raise Unsupported(f"the shape {wanted}")
    return _rearranged(low, x, tuple(wanted))


def _transpose(low: Lowering, node: SourceNode, args: Args) -> Value:
    (x,) = given(args, 1)
    rank = len(shape_of(x))
    perm = tuple(node.attributes.get("perm", range(rank)[::-1]))
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"perm {perm} does not order {rank} axes")
    if isinstance(x, Constant):
        return Constant(low.output, x.array.transpose(perm))
    return low.transpose(x, perm)


OPERATORS: dict[str, Operator] = {
    "Add": _add,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Constant": _constant_node,
    "Conv": conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _mul,
    "ReduceMean": reduce_mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Sub": _add,
    "Transpose": _transpose,
}
