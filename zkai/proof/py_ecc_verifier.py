"""A second Groth16 verifier that shares no arithmetic with the native one: py-ecc, pure Python.

Every check is made again here: ranges, curve, subgroup, infinity, the key's own points, the
equation. It takes about a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.proof import refusals
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.points import G1, G2


def verify_with_py_ecc(proof: Proof, key: VerifyingKey, values: Sequence[int]) -> None:
    """Return None if the proof holds for the public values, in the key's order.

    Raises VerificationError for a bad proof or value, InvalidInput for a malformed key, ToolError
    if py-ecc is not installed.
    """
    curve = _curve()
    alpha, beta, gamma, delta, ic = _key_points(curve, key)
    if len(values) != len(ic) - 1:
        raise VerificationError(f"{len(values)} public values, the key has {len(ic) - 1}")
    for (name, index), value in zip(_signals(key), values, strict=True):
        if not 0 <= value < curve.curve_order:
            raise VerificationError(refusals.out_of_range(f"{name}[{index}]"))
    a = _proof_point(curve, _g1, proof.a, "A")
    b = _proof_point(curve, _g2, proof.b, "B")
    c = _proof_point(curve, _g1, proof.c, "C")
    total = ic[0]
    for value, point in zip(values, ic[1:], strict=True):
        total = curve.add(total, curve.multiply(point, value))
    product = curve.FQ12.one()
    for g2, g1 in ((b, curve.neg(a)), (beta, alpha), (gamma, total), (delta, c)):
        product *= curve.pairing(g2, g1, final_exponentiate=False)
    if curve.final_exponentiate(product) != curve.FQ12.one():
        raise VerificationError(refusals.EQUATION)


def _curve() -> Any:
    limit = sys.getrecursionlimit()
    try:
        import py_ecc.optimized_bn128 as curve
    except ImportError as error:
        raise ToolError("the py-ecc verifier needs py-ecc: pip install py-ecc") from error
    finally:
        # The import raises the limit for the whole process, past what the stack can hold.
        sys.setrecursionlimit(limit)
    return curve


def _signals(key: VerifyingKey) -> list[tuple[str, int]]:
    return [(signal.name, index) for signal in key.public for index in range(signal.size)]


class _BadPoint(Exception):  # noqa: N818 - internal, turned into the caller's error
    """A function from a point's name to the refusal."""


def _g1(curve: Any, point: G1) -> Any:
    if point is None:
        raise _BadPoint(refusals.infinity)
    if not all(0 <= v < curve.field_modulus for v in point):
        raise _BadPoint(refusals.not_canonical)
    result = (curve.FQ(point[0]), curve.FQ(point[1]), curve.FQ(1))
    if not curve.is_on_curve(result, curve.b):
        raise _BadPoint(refusals.off_curve)
    return result


def _g2(curve: Any, point: G2) -> Any:
    if point is None:
        raise _BadPoint(refusals.infinity)
    if not all(0 <= v < curve.field_modulus for pair in point for v in pair):
        raise _BadPoint(refusals.not_canonical)
    result = (curve.FQ2(point[0]), curve.FQ2(point[1]), curve.FQ2.one())
    if not curve.is_on_curve(result, curve.b2):
        raise _BadPoint(refusals.off_curve)
    if not curve.is_inf(curve.multiply(result, curve.curve_order)):
        raise _BadPoint(refusals.off_subgroup)
    return result


def _proof_point(curve: Any, load: Any, point: Any, name: str) -> Any:
    try:
        return load(curve, point)
    except _BadPoint as error:
        raise VerificationError(error.args[0](name)) from None


def _key_points(curve: Any, key: VerifyingKey) -> tuple[Any, Any, Any, Any, list[Any]]:
    if key.gamma == key.delta:
        raise InvalidInput("verifying key: gamma and delta are the same point")
    try:
        return (
            _g1(curve, key.alpha),
            _g2(curve, key.beta),
            _g2(curve, key.gamma),
            _g2(curve, key.delta),
            [_g1(curve, point) for point in key.ic],
        )
    except _BadPoint as error:
        raise InvalidInput(f"verifying key: {error.args[0]('of the key')}") from None
