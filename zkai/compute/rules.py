"""For each operator of torch: the error of its result, given those of its inputs.

A rule gets the tracker, which knows the errors of tensors, and the operator's arguments before it
runs; it returns bounds, one tensor for each floating result. docs/compute.md lists the operators.
Sums may be taken in any order. Normalisations are bounded as a mean, a mean square about it and a
scaling, softmax as exponentials of differences to the largest, divided by their sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from zkai.compute.balls import FUNCTION, Ball, Tensor
from zkai.compute.snapshot import torch
from zkai.errors import InvalidInput

Rule = Callable[..., list[Tensor]]
OPERATORS: dict[str, Rule] = {}
EXACT = frozenset({
    "_local_scalar_dense", "_reshape_alias", "_unsafe_view", "alias", "arange", "detach", "empty",
    "empty_like", "empty_strided", "eye", "full", "full_like", "is_same_size", "isfinite",
    "lift_fresh", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones",
    "ones_like", "scalar_tensor", "zeros", "zeros_like",
})  # fmt: skip
"""Operators that make or name tensors and round nothing."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators, in place or not."""

    def register(found: Rule) -> Rule:
        OPERATORS.update(dict.fromkeys(operators, found))
        return found

    return register


def _ball(tracker: Any, value: Any) -> Ball:
    if isinstance(value, torch.Tensor):
        found: Ball = tracker.ball(value)
        return found
    # A number that is no power of two may be rounded when it meets a tensor.
    v = torch.tensor(float(value), dtype=torch.float64)
    return Ball(v, tracker.arithmetic.unit.u * v.abs())


@rule("add")
def _add(tracker: Any, a: Any, b: Any, *, alpha: float = 1) -> list[Tensor]:
    return [tracker.arithmetic.add(_ball(tracker, a), _ball(tracker, b), alpha).e]


@rule("sub")
def _sub(tracker: Any, a: Any, b: Any, *, alpha: float = 1) -> list[Tensor]:
    return [tracker.arithmetic.add(_ball(tracker, a), _ball(tracker, b), -alpha).e]


@rule("rsub")
def _rsub(tracker: Any, a: Any, b: Any, alpha: float = 1) -> list[Tensor]:
    return [tracker.arithmetic.add(_ball(tracker, b), _ball(tracker, a), -alpha).e]


@rule("mul")
def _mul(tracker: Any, a: Any, b: Any) -> list[Tensor]:
    return [tracker.arithmetic.mul(_ball(tracker, a), _ball(tracker, b)).e]


@rule("div")
def _div(tracker: Any, a: Any, b: Any) -> list[Tensor]:
    return [tracker.arithmetic.div(_ball(tracker, a), _ball(tracker, b)).e]


@rule("relu")
def _relu(tracker: Any, a: Tensor) -> list[Tensor]:
    found = tracker.ball(a)
    # What is surely negative is surely zero, also for the backward pass.
    return [torch.where(found.v + found.e <= 0, torch.zeros_like(found.e), found.e)]


@rule("neg", "abs", "clone", "contiguous")
def _same(tracker: Any, a: Tensor, **_: Any) -> list[Tensor]:
    return [tracker.ball(a).e]


@rule("sgn", "sign")
def _sign(tracker: Any, a: Tensor) -> list[Tensor]:
    found = tracker.ball(a)
    return [2.0 * ((found.v.abs() <= found.e) & (found.e > 0))]


@rule("_to_copy")
def _to_copy(tracker: Any, a: Tensor, **_: Any) -> list[Tensor]:
    found = tracker.ball(a)
    return [tracker.arithmetic.rounded(found.v, found.e).e] if a.is_floating_point() else []


@rule("copy")
def _copy(tracker: Any, a: Tensor, source: Tensor, *_: Any) -> list[Tensor]:
    return [tracker.ball(source).e.broadcast_to(a.shape)]


@rule("zero", "fill", "bernoulli")
def _set(tracker: Any, a: Tensor, *_: Any, **__: Any) -> list[Tensor]:
    return [torch.zeros(a.shape, dtype=torch.float64)]


@rule("cat")
def _cat(tracker: Any, tensors: Sequence[Tensor], dim: int = 0) -> list[Tensor]:
    return [torch.cat([tracker.ball(t).e for t in tensors], dim)]


@rule("stack")
def _stack(tracker: Any, tensors: Sequence[Tensor], dim: int = 0) -> list[Tensor]:
    return [torch.stack([tracker.ball(t).e for t in tensors], dim)]


@rule("masked_fill")
def _masked_fill(tracker: Any, a: Tensor, mask: Tensor, *_: Any) -> list[Tensor]:
    return [tracker.ball(a).e.masked_fill(mask, 0)]


@rule("where")
def _where(tracker: Any, mask: Tensor, a: Any, b: Any) -> list[Tensor]:
    return [torch.where(mask, _ball(tracker, a).e, _ball(tracker, b).e)]


@rule("embedding")
def _embedding(tracker: Any, weight: Tensor, places: Tensor, *_: Any) -> list[Tensor]:
    return [tracker.ball(weight).e[places]]


@rule("embedding_dense_backward")
def _embedding_back(
    tracker: Any, grad: Tensor, places: Tensor, rows: int, padding: int, scaled: bool
) -> list[Tensor]:
    if scaled:
        raise InvalidInput("bounds: embeddings whose gradients are scaled have no rule")
    found = tracker.ball(grad)
    flat, width = places.reshape(-1), grad.shape[-1]
    n = int(flat.bincount().max())
    each = found.e + tracker.arithmetic.unit.gamma(max(1, n)) * found.most
    errors = torch.zeros(rows, width, dtype=torch.float64)
    errors.index_add_(0, flat, each.reshape(-1, width))
    if padding >= 0:
        errors[padding] = 0
    return [errors]


@rule("select_backward")
def _select_back(
    tracker: Any, grad: Tensor, sizes: Sequence[int], dim: int, index: int
) -> list[Tensor]:
    return [torch.ops.aten.select_backward(tracker.ball(grad).e, sizes, dim, index)]


@rule("slice_backward")
def _slice_back(tracker: Any, grad: Tensor, *where: Any) -> list[Tensor]:
    return [torch.ops.aten.slice_backward(tracker.ball(grad).e, *where)]


@rule("mm", "bmm")
def _mm(tracker: Any, a: Tensor, b: Tensor) -> list[Tensor]:
    left, right = tracker.ball(a), tracker.ball(b)
    return [_product(tracker, left, right).e]


def _product(tracker: Any, a: Ball, b: Ball) -> Ball:
    found: Ball = tracker.arithmetic.bilinear(torch.matmul, _abs(a), _abs(b), a.v.shape[-1])
    return found


def _abs(a: Ball) -> Ball:
    return Ball(a.v.abs(), a.e)


@rule("addmm", "baddbmm")
def _addmm(
    tracker: Any, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> list[Tensor]:
    if beta != 1 or alpha != 1:
        raise InvalidInput("bounds: addmm has a rule for factors of 1 only")
    product = _product(tracker, tracker.ball(a), tracker.ball(b))
    return [tracker.arithmetic.add(product, _abs(tracker.ball(bias))).e]


@rule("sum")
def _sum(tracker: Any, a: Tensor, dims: Any = None, keep: bool = False, **_: Any) -> list[Tensor]:
    return [tracker.arithmetic.sum(tracker.ball(a), dims or [], keep).e]


@rule("mean")
def _mean(tracker: Any, a: Tensor, dims: Any = None, keep: bool = False, **_: Any) -> list[Tensor]:
    return [tracker.arithmetic.mean(_abs(tracker.ball(a)), dims or [], keep).e]


@rule("exp")
def _exp(tracker: Any, a: Tensor) -> list[Tensor]:
    return [tracker.arithmetic.exp(tracker.ball(a)).e]


@rule("log")
def _log(tracker: Any, a: Tensor) -> list[Tensor]:
    return [tracker.arithmetic.log(tracker.ball(a)).e]


@rule("sqrt")
def _sqrt(tracker: Any, a: Tensor) -> list[Tensor]:
    return [tracker.arithmetic.sqrt(tracker.ball(a)).e]


@rule("rsqrt")
def _rsqrt(tracker: Any, a: Tensor) -> list[Tensor]:
    return [tracker.arithmetic.rsqrt(tracker.ball(a)).e]


@rule("pow")
def _pow(tracker: Any, a: Tensor, power: Any) -> list[Tensor]:
    if power == 1:
        return [tracker.ball(a).e]
    if power not in (2, 3):
        raise InvalidInput(f"bounds: the power {power} has no rule")
    found = tracker.ball(a)
    result = tracker.arithmetic.mul(found, found)
    return [(tracker.arithmetic.mul(result, found) if power == 3 else result).e]


@rule("tanh")
def _tanh(tracker: Any, a: Tensor) -> list[Tensor]:
    found = tracker.ball(a)
    return [tracker.arithmetic.lipschitz(found, torch.tanh, 1.0, found.v.tanh().abs()).e]


@rule("tanh_backward")
def _tanh_back(tracker: Any, grad: Tensor, out: Tensor) -> list[Tensor]:
    found, math_ = tracker.ball(out), tracker.arithmetic
    one = Ball.exact(torch.ones_like(found.v))
    return [math_.mul(tracker.ball(grad), math_.add(one, _abs(math_.mul(found, found)))).e]


@rule("sigmoid")
def _sigmoid(tracker: Any, a: Tensor) -> list[Tensor]:
    found = tracker.ball(a)
    return [tracker.arithmetic.lipschitz(found, torch.sigmoid, 0.25, found.v.sigmoid()).e]


@rule("gelu")
def _gelu(tracker: Any, a: Tensor, *, approximate: str = "none") -> list[Tensor]:
    found = tracker.ball(a)
    # |gelu'| < 1.13; erf and tanh are exact to a few units of 1, times x / 2.
    return [tracker.arithmetic.lipschitz(found, lambda x: x, 1.13, 2 * found.v.abs()).e]


@rule("gelu_backward")
def _gelu_back(tracker: Any, grad: Tensor, a: Tensor, *, approximate: str = "none") -> list[Tensor]:
    found, given = tracker.ball(a), tracker.ball(grad)
    # |gelu''| < 0.8 (of the tanh form: < 0.83); the slope is a sum of terms below 1.2 each.
    error = 0.83 * found.e + tracker.arithmetic.unit.gamma(4 * FUNCTION) * 2
    return [1.13 * given.e + given.most * error]


@rule("threshold_backward")
def _relu_back(tracker: Any, grad: Tensor, a: Tensor, threshold: float) -> list[Tensor]:
    found, given = tracker.ball(a), tracker.ball(grad)
    # Where the sign itself is in doubt, so is whether the gradient passes.
    doubt = (found.v - threshold).abs() <= found.e
    doubt &= found.e > 0
    passed = torch.where(found.v > threshold, given.e, torch.zeros_like(given.e))
    return [torch.where(doubt, given.most, passed)]


@rule("_softmax", "_safe_softmax")
def _softmax(tracker: Any, a: Tensor, dim: int, *_: Any, **__: Any) -> list[Tensor]:
    found = tracker.ball(a)
    p = found.v.softmax(dim)
    return [p * torch.expm1(_softmax_exponent(tracker, found, dim))]


def _softmax_exponent(tracker: Any, a: Ball, dim: int) -> Tensor:
    """Bound the error of the logarithm of a softmax."""
    spread = a.v - a.v.amax(dim, keepdim=True)
    unit = tracker.arithmetic.unit
    inputs = 2 * a.e.amax(dim, keepdim=True)
    # exp flushes what is below the least number; differences lose a unit of themselves.
    differences = torch.where(spread.isinf(), torch.zeros_like(spread), unit.u * spread.abs())
    worst = differences + (differences * spread.exp()).amax(dim, keepdim=True)
    error: Tensor = inputs + worst + unit.gamma(a.v.shape[dim] + 3 * FUNCTION)
    return error


@rule("_log_softmax")
def _log_softmax(tracker: Any, a: Tensor, dim: int, half: bool) -> list[Tensor]:
    found = tracker.ball(a)
    result = found.v.log_softmax(dim)
    error = _softmax_exponent(tracker, found, dim)
    return [error + tracker.arithmetic.unit.gamma(FUNCTION) * (result.abs() + error)]


@rule("_softmax_backward_data")
def _softmax_back(tracker: Any, grad: Tensor, out: Tensor, dim: int, kind: Any) -> list[Tensor]:
    g, p, math_ = _abs(tracker.ball(grad)), tracker.ball(out), tracker.arithmetic
    inner = math_.sum(math_.mul(g, p), [dim], True)
    return [math_.mul(math_.add(g, inner), p).e]


@rule("_log_softmax_backward_data")
def _log_softmax_back(tracker: Any, grad: Tensor, out: Tensor, dim: int, kind: Any) -> list[Tensor]:
    g, math_ = _abs(tracker.ball(grad)), tracker.arithmetic
    p = math_.exp(tracker.ball(out))
    return [math_.add(g, math_.mul(p, math_.sum(g, [dim], True))).e]


@rule("nll_loss_forward")
def _nll(
    tracker: Any, a: Tensor, target: Tensor, weight: Any, reduction: int, ignore: int
) -> list[Tensor]:
    if weight is not None or reduction not in (1, 2) or bool((target == ignore).any()):
        raise InvalidInput("bounds: nll_loss has a rule without weights and ignored targets only")
    found = tracker.ball(a)
    taken = found.map(lambda x: x.gather(1, target.reshape(-1, 1)))
    total = tracker.arithmetic.sum(_abs(taken), [], False)
    n = target.numel() if reduction == 1 else 1
    return [tracker.arithmetic.scale(total, 1 / n).e, torch.zeros((), dtype=torch.float64)]


@rule("nll_loss_backward")
def _nll_back(
    tracker: Any, grad: Tensor, a: Tensor, target: Tensor, weight: Any, reduction: int, *_: Any
) -> list[Tensor]:
    given = tracker.ball(grad)
    n = target.numel() if reduction == 1 else 1
    each = tracker.arithmetic.scale(_abs(given), 1 / n).e
    errors = torch.zeros(a.shape, dtype=torch.float64)
    return [errors.scatter(1, target.reshape(-1, 1), float(each))]


@rule("mse_loss")
def _mse(tracker: Any, a: Tensor, b: Tensor, reduction: int = 1) -> list[Tensor]:
    math_ = tracker.arithmetic
    wide = Ball((a - b).abs().double(), math_.add(*map(_abs, map(tracker.ball, (a, b)))).e)
    square = math_.mul(wide, wide)
    total = math_.sum(square, [], False) if reduction else square
    return [math_.scale(total, 1 / a.numel() if reduction == 1 else 1).e]


@rule("mse_loss_backward")
def _mse_back(tracker: Any, grad: Tensor, a: Tensor, b: Tensor, reduction: int = 1) -> list[Tensor]:
    math_ = tracker.arithmetic
    wide = Ball((a - b).abs().double(), math_.add(*map(_abs, map(tracker.ball, (a, b)))).e)
    factor = 2 / a.numel() if reduction == 1 else 2
    return [math_.scale(math_.mul(_abs(tracker.ball(grad)), wide), factor).e]


def _normal(tracker: Any, a: Ball, n: int, dims: list[int], epsilon: float) -> tuple[Ball, Ball]:
    """Return (x - mean) and one over the deviation of a layer's normalisation."""
    math_ = tracker.arithmetic
    mean = Ball(a.v.mean(dims, keepdim=True), math_.mean(_abs(a), dims, True).e)
    centred = a.v - mean.v
    moved = math_.add(_abs(a), _abs(mean))
    wide = Ball(centred.abs(), moved.e)
    variance = math_.mean(math_.mul(wide, wide), dims, True)
    shifted = math_.add(variance, Ball.exact(torch.full_like(variance.v, epsilon)))
    return Ball(centred, moved.e), math_.rsqrt(shifted)


@rule("native_layer_norm")
def _layer_norm(
    tracker: Any, a: Tensor, shape: Sequence[int], weight: Any, bias: Any, epsilon: float
) -> list[Tensor]:
    math_, dims = tracker.arithmetic, list(range(-len(shape), 0))
    x = tracker.ball(a)
    centred, inverse = _normal(tracker, x, math.prod(shape), dims, epsilon)
    result = math_.mul(centred, inverse)
    if weight is not None:
        result = math_.mul(result, tracker.ball(weight))
    if bias is not None:
        result = math_.add(_abs(result), _abs(tracker.ball(bias)))
    mean = math_.mean(_abs(x), dims, True).e
    return [result.e, mean, inverse.e]


@rule("native_layer_norm_backward")
def _layer_norm_back(
    tracker: Any, grad: Tensor, a: Tensor, shape: Sequence[int], mean: Tensor, inverse: Tensor,
    weight: Any, bias: Any, wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    math_, dims = tracker.arithmetic, list(range(-len(shape), 0))
    g, x = tracker.ball(grad), tracker.ball(a)
    middle, scale = tracker.ball(mean), tracker.ball(inverse)
    centred = Ball(x.v - middle.v, math_.add(_abs(x), _abs(middle)).e)
    y = math_.mul(centred, scale)
    outer = list(range(a.ndim - len(shape)))
    found = []
    if wanted[0]:
        h = _abs(g if weight is None else math_.mul(g, tracker.ball(weight)))
        along = math_.mean(math_.mul(h, _abs(y)), dims, True)
        parts = math_.add(math_.add(h, math_.mean(h, dims, True)), math_.mul(_abs(y), along))
        # A sum of three in any order: one rounding more than counted so far.
        parts = math_.rounded(parts.v, parts.e, 2)
        found.append(math_.mul(parts, scale).e)
    if wanted[1]:
        found.append(math_.sum(_abs(math_.mul(g, y)), outer, False).e)
    if wanted[2]:
        found.append(math_.sum(_abs(g), outer, False).e)
    return found


@rule("lerp")
def _lerp(tracker: Any, a: Tensor, b: Tensor, weight: Any) -> list[Tensor]:
    math_ = tracker.arithmetic
    left, right = _abs(tracker.ball(a)), _abs(tracker.ball(b))
    step = math_.mul(math_.add(left, right), _abs(_ball(tracker, weight)))
    near = math_.add(left, step)
    # Written a + w (b - a): the errors of a and b count as often as they stand in it.
    return [near.e]


@rule("addcmul")
def _addcmul(tracker: Any, a: Tensor, b: Tensor, c: Tensor, *, value: float = 1) -> list[Tensor]:
    math_ = tracker.arithmetic
    product = math_.scale(math_.mul(tracker.ball(b), tracker.ball(c)), value)
    return [math_.add(_abs(tracker.ball(a)), _abs(product)).e]


@rule("addcdiv")
def _addcdiv(tracker: Any, a: Tensor, b: Tensor, c: Tensor, *, value: float = 1) -> list[Tensor]:
    math_ = tracker.arithmetic
    quotient = math_.scale(math_.div(tracker.ball(b), tracker.ball(c)), value)
    return [math_.add(_abs(tracker.ball(a)), _abs(quotient)).e]
