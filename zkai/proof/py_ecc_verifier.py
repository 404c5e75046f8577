"""A second verifier that shares no arithmetic with the native one: py-ecc, pure Python.

Every check is made again here: ranges, curve, subgroup, infinity, the key's own points, the
equation, and the challenges of a commitment round. It takes about a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from zkai.encoding import keccak256
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.proof import refusals
from zkai.proof.commit.keys import CommitProof, CommitVerifyingKey
from zkai.proof.keys import KeyDocument, Proof, VerifyingKey
from zkai.proof.points import G1, G2


def verify_with_py_ecc(proof: Proof, key: VerifyingKey, values: Sequence[int]) -> None:
    """Return None if the proof holds for the public values, in the key's order.

    Raises VerificationError for a bad proof or value, InvalidInput for a malformed key, ToolError
    if py-ecc is not installed.
    """
    curve = _curve()
    alpha, beta, gamma, delta = _key_points(curve, key, ("beta", "gamma", "delta"))
    if curve.eq(gamma, delta) or curve.eq(gamma, curve.neg(delta)):
        raise InvalidInput("verifying key: gamma and delta are the same point up to sign")
    ic = _key_ic(curve, key, len(values) + 1)
    _check_range(curve, key, values)
    a = _proof_point(curve, _g1, proof.a, "A")
    b = _proof_point(curve, _g2, proof.b, "B")
    c = _proof_point(curve, _g1, proof.c, "C")
    total = _combine(curve, ic, values)
    _check_product(curve, ((b, curve.neg(a)), (beta, alpha), (gamma, total), (delta, c)))


def verify_commit_with_py_ecc(
    proof: CommitProof, key: CommitVerifyingKey, values: Sequence[int]
) -> None:
    """Return None if a proof with a commitment round holds for the public values.

    Raises as `verify_with_py_ecc` does.
    """
    curve = _curve()
    alpha, beta, delta1, delta2 = _key_points(curve, key, ("beta", "delta1", "delta2"))
    ic = _key_ic(curve, key, len(key.challenges) + 2)
    pairs = ((delta1, delta2), (delta1, curve.G2), (delta2, curve.G2))
    if any(curve.eq(x, y) or curve.eq(x, curve.neg(y)) for x, y in pairs):
        raise InvalidInput("verifying key: its deltas are equal, or the generator, up to sign")
    if len(values) != key.n_public:
        raise VerificationError(f"{len(values)} public values, the key has {key.n_public}")
    _check_range(curve, key, values)
    a = _proof_point(curve, _g1, proof.a, "A")
    b = _proof_point(curve, _g2, proof.b, "B")
    c = _proof_point(curve, _g1, proof.c, "C")
    d = _proof_point(curve, _g1, proof.d, "D")
    assert proof.d is not None
    hashed = b"".join(x.to_bytes(32, "big") for x in (len(values), *values, *proof.d))
    seed = keccak256(keccak256(b"zkai.groth16-commit/1") + key.digest + hashed)
    challenges = [
        int.from_bytes(keccak256(seed + (j + 1).to_bytes(32, "big")), "big") % curve.curve_order
        for j in range(len(key.challenges))
    ]
    powers = (pow(challenges[0], i, curve.curve_order) for i in range(1, len(values) + 1))
    y = sum(value * power for value, power in zip(values, powers, strict=True)) % curve.curve_order
    total = _combine(curve, ic, [y, *challenges])
    _check_product(
        curve,
        ((b, curve.neg(a)), (beta, alpha), (curve.G2, total), (delta1, d), (delta2, c)),
    )


def _combine(curve: Any, ic: list[Any], values: Sequence[int]) -> Any:
    total = ic[0]
    for value, point in zip(values, ic[1:], strict=True):
        total = curve.add(total, curve.multiply(point, value))
    return total


def _check_product(curve: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    product = curve.FQ12.one()
    for g2, g1 in pairs:
        product *= curve.pairing(g2, g1, final_exponentiate=False)
    if curve.final_exponentiate(product) != curve.FQ12.one():
        raise VerificationError(refusals.EQUATION)


def _check_range(curve: Any, key: KeyDocument, values: Sequence[int]) -> None:
    names = [(signal.name, index) for signal in key.public for index in range(signal.size)]
    for (name, index), value in zip(names, values, strict=True):
        if not 0 <= value < curve.curve_order:
            raise VerificationError(refusals.out_of_range(f"{name}[{index}]"))


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


def _key_points(curve: Any, key: KeyDocument, in_g2: Sequence[str]) -> list[Any]:
    """Return alpha and the named points of G2."""
    try:
        return [_g1(curve, key.alpha), *(_g2(curve, getattr(key, name)) for name in in_g2)]
    except _BadPoint as error:
        raise InvalidInput(f"verifying key: {error.args[0]('of the key')}") from None


def _key_ic(curve: Any, key: KeyDocument, expected: int) -> list[Any]:
    if len(key.ic) != expected:
        raise VerificationError(f"{expected - 1} public values, the key has {len(key.ic) - 1}")
    try:
        return [_g1(curve, point) for point in key.ic]
    except _BadPoint as error:
        raise InvalidInput(f"verifying key: {error.args[0]('of the key')}") from None
