"""Wires of round 2: each is made with the one row that defines it.

Nothing of round 2 is left to choose: a wire is a product or a quotient of what round 1 and the
challenges give, evaluated over the field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zkai import native
from zkai.circuit.r1cs import Combination
from zkai.circuit.tensor import Ints, Rows, Tensor, as_tensor
from zkai.circuit.wide import Wide
from zkai.encoding import Limbs
from zkai.errors import InvalidInput

if TYPE_CHECKING:
    from zkai.circuit.builder import Builder


def define_product(
    builder: Builder, rule: str, a: Tensor, b: Tensor, plus: Tensor | int = 0
) -> Tensor:
    """Return new wires of round 2 equal to a * b + plus over the field: one row each.

    Raises InvalidInput if no side depends on a challenge.
    """
    sides = [as_tensor(x) for x in (a, b, plus)]
    shape = np.broadcast_shapes(*(x.shape for x in sides))
    left, right, rest = (x.broadcast_to(shape) for x in sides)

    def compute(x: Limbs, y: Limbs, z: Limbs) -> Limbs:
        return native.fr_add(native.fr_mul(x, y), z)

    wires = _new_wires(builder, rule, [left, right, rest], compute)
    made = Tensor(shape, Rows.of_wires(wires), None)
    builder.define(wires)
    builder.constrain(left, right, made - rest, rule)
    return made


def define_horner(builder: Builder, rule: str, total: Tensor | Wide, plus: Wide) -> Tensor:
    """Return new wires of round 2 equal to total * fold + plus over the field: one row each."""
    n = len(plus)
    fold = builder.challenge("fold").broadcast_to((n,))

    def compute(x: Limbs, y: Limbs, z: Limbs) -> Limbs:
        return native.fr_add(native.fr_mul(x, y), z)

    before = total if isinstance(total, Wide) else Combination(total.rows)
    sources = (before, Combination(fold.rows), plus)
    wires = builder.new_step(rule, compute, sources, n, is_field=True)
    made = Tensor((n,), Rows.of_wires(wires), None)
    builder.define(wires)
    builder.constrain_wide(total, fold, Wide.total([(1, made), (-1, plus)]), rule)
    return made


def define_quotient(
    builder: Builder, rule: str, numerator: Tensor | int, denominator: Tensor | Wide
) -> Tensor:
    """Return new wires of round 2 with wire * denominator = numerator: one row each.

    The rows leave a wire free where its denominator is 0: the caller shows that this happens for
    few challenges only.

    Raises InvalidInput if no side depends on a challenge.
    """

    def compute(x: Limbs, y: Limbs) -> Limbs:
        return native.fr_mul(x, native.fr_inv(y))

    if isinstance(denominator, Wide):
        top = as_tensor(numerator).broadcast_to((len(denominator),))
        wires = builder.new_step(
            rule, compute, (Combination(top.rows), denominator), top.size, is_field=True
        )
        made = Tensor(top.shape, Rows.of_wires(wires), None)
        builder.define(wires)
        builder.constrain_wide(made, denominator, top, rule)
        return made
    top, bottom = as_tensor(numerator), denominator
    shape = np.broadcast_shapes(top.shape, bottom.shape)
    top, bottom = top.broadcast_to(shape), bottom.broadcast_to(shape)
    wires = _new_wires(builder, rule, [top, bottom], compute)
    made = Tensor(shape, Rows.of_wires(wires), None)
    builder.define(wires)
    builder.constrain(made, bottom, top, rule)
    return made


def fold_signals(builder: Builder, signals: Ints, folded: Ints) -> None:
    """Prove folded = sum of signal_i fold^i, i from 1, by Horner's rule from the last signal."""
    fold = builder.challenge("fold")
    terms = [Tensor((), Rows.of_wires(wire), None) for wire in signals.reshape(-1, 1)]
    with builder.at("public signals"):
        total = as_tensor(0)
        for term in terms[:0:-1]:
            total = define_product(builder, "fold", total + term, fold)
        last = total + terms[0] if terms else total
        sources = (Combination(last.rows), Combination(fold.rows))
        builder.new_step("fold", native.fr_mul, sources, 1, is_field=True, into=folded)
        builder.define(folded)
        builder.constrain(last, fold, Tensor((), Rows.of_wires(folded), None), "fold")


def _new_wires(
    builder: Builder, rule: str, inputs: Sequence[Tensor], compute: Callable[..., Limbs]
) -> Ints:
    sources = tuple(Combination(x.rows) for x in inputs)
    if not builder.commit or builder.round_of(*sources) != 2:
        raise InvalidInput(f"{builder.name}: {rule} depends on no challenge")
    return builder.new_step(rule, compute, sources, inputs[0].size, is_field=True)
