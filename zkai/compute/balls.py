"""Values with bounds on their errors: arithmetic for zkai.compute.bounds.

A ball is a float64 tensor v and a tensor e >= 0: a computation in rounded arithmetic, in any order
of its sums, gives a result within e of v. With u the unit roundoff of the type that is bounded,

    gamma(n) = n u / (1 - n u)

bounds the relative error of n roundings in a row (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., lemma 3.1); a sum of n terms and a dot product of length n have absolute errors
of at most gamma(n) times the sum of the terms' magnitudes, in any order (sections 3.1 and 4.2).
Errors of float64 itself are 2^-29 of these for float32, and within the slack of `bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zkai.compute.snapshot import torch
from zkai.errors import InvalidInput

Tensor = torch.Tensor
FUNCTION = 4
"""Roundings that an elementary function (exp, log, tanh, erf) may cost: libraries say 1 or 2."""


@dataclass(frozen=True)
class Unit:
    """A type's unit roundoff u and its least normal number: results below may flush to zero."""

    u: float
    least: float

    @staticmethod
    def of(dtype: torch.dtype) -> Unit:
        """Return a floating type's."""
        found = torch.finfo(dtype)
        return Unit(found.eps / 2, found.tiny)

    def gamma(self, n: int) -> float:
        """Return gamma(n). Raises InvalidInput if n roundings leave nothing."""
        if n * self.u >= 0.5:
            raise InvalidInput(f"bounds: {n} roundings of {self.u} have no useful bound")
        return n * self.u / (1 - n * self.u)


@dataclass(frozen=True)
class Ball:
    """A value and a bound on its error, of the same shape."""

    v: Tensor
    e: Tensor

    @staticmethod
    def exact(v: Tensor) -> Ball:
        """Return a value without error."""
        return Ball(v, torch.zeros_like(v))

    @property
    def most(self) -> Tensor:
        """The largest magnitude that the rounded value can have."""
        return self.v.abs() + self.e

    def map(self, move: Callable[[Tensor], Tensor]) -> Ball:
        """Return the ball of an operation that only moves values."""
        return Ball(move(self.v), move(self.e))


@dataclass(frozen=True)
class Arithmetic:
    """Operations on balls, rounded in a type."""

    unit: Unit

    def rounded(self, v: Tensor, e: Tensor, roundings: int = 1) -> Ball:
        """Return v with the errors of its inputs and of its own rounding."""
        size = v.abs() + e
        own = self.unit.gamma(roundings) * size + self.unit.least * (size > 0)
        # An exact infinity, as masks are, stays one; an unbounded error stays unbounded by e.
        return Ball(v, e + torch.where(size.isinf(), torch.zeros_like(own), own))

    def add(self, a: Ball, b: Ball, alpha: float = 1.0) -> Ball:
        """a + alpha b."""
        error = a.e + abs(alpha) * b.e
        if abs(alpha) != 1:
            error = error + self.unit.gamma(1) * abs(alpha) * b.most
        return self.rounded(a.v + alpha * b.v, error)

    def mul(self, a: Ball, b: Ball) -> Ball:
        """a b."""
        return self.rounded(a.v * b.v, a.v.abs() * b.e + b.v.abs() * a.e + a.e * b.e)

    def scale(self, a: Ball, factor: float, roundings: int = 2) -> Ball:
        """a times a number, which may itself be rounded."""
        return self.rounded(a.v * factor, a.e * abs(factor), roundings)

    def div(self, a: Ball, b: Ball) -> Ball:
        """a / b: unbounded where b may be zero."""
        room = b.v.abs() - b.e
        v = a.v / b.v
        error = (a.e + v.abs() * b.e) / room.clamp(min=0)
        return self.rounded(v, torch.where(room > 0, error, torch.inf))

    def sum(self, a: Ball, dims: Sequence[int], keep: bool) -> Ball:
        """The sum over dimensions, in any order."""
        dims = list(dims) or list(range(a.v.ndim))
        n = 1
        for dim in dims:
            n *= a.v.shape[dim]
        v = a.v.sum(dims, keepdim=keep)
        error = a.e.sum(dims, keepdim=keep)
        error = error + self.unit.gamma(max(1, n)) * a.most.sum(dims, keepdim=keep)
        return Ball(v, error)

    def mean(self, a: Ball, dims: Sequence[int], keep: bool) -> Ball:
        """The mean over dimensions."""
        total = self.sum(a, dims, keep)
        n = max(1, a.v.numel() // max(1, total.v.numel()))
        return self.scale(total, 1 / n)

    def bilinear(
        self, product: Callable[[Tensor, Tensor], Tensor], a: Ball, b: Ball, n: int
    ) -> Ball:
        """A sum of n products of an entry of a and one of b, such as a matrix product."""
        large, size = a.v.abs(), b.most
        error = product(large, b.e) + product(a.e, size)
        error = error + self.unit.gamma(n + 1) * product(a.most, size)
        return Ball(product(a.v, b.v), error + n * self.unit.least * (error > 0))

    def exp(self, a: Ball) -> Ball:
        """e^a."""
        v = a.v.exp()
        return self.rounded(v, v * torch.expm1(a.e), FUNCTION)

    def log(self, a: Ball) -> Ball:
        """The natural logarithm: unbounded where a may be zero."""
        inside = a.e < a.v
        error = -torch.log1p(-torch.where(inside, a.e / a.v, torch.zeros_like(a.v)))
        return self.rounded(a.v.log(), torch.where(inside, error, torch.inf), FUNCTION)

    def sqrt(self, a: Ball) -> Ball:
        """The square root."""
        low, high = (a.v - a.e).clamp(min=0).sqrt(), (a.v + a.e).sqrt()
        v = a.v.clamp(min=0).sqrt()
        return self.rounded(v, torch.maximum(high - v, v - low))

    def rsqrt(self, a: Ball) -> Ball:
        """One over the square root: unbounded where a may be zero."""
        one = Ball.exact(torch.ones_like(a.v))
        root = self.div(one, self.sqrt(a))
        return Ball(root.v, root.e)

    def lipschitz(
        self, a: Ball, function: Callable[[Tensor], Tensor], constant: float, scale: Tensor
    ) -> Ball:
        """A function with |f(x) - f(y)| <= constant |x - y|, computed within u `scale` of it."""
        v = function(a.v)
        return Ball(v, constant * a.e + self.unit.gamma(FUNCTION) * (scale + constant * a.e))
