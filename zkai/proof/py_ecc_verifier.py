"""A second verifier that shares no arithmetic with the native one: py-ecc, pure Python.

Every check is made again here: ranges, curve, subgroup, infinity, the key's own points, the
equation, and the challenges of a commitment round. It takes about a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from zkai.encoding import from_limbs, keccak256
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
    proof: CommitProof,
    key: CommitVerifyingKey,
    values: Sequence[int],
    polynomials: Mapping[str, Any] | None = None,
) -> None:
    """Return None if a proof with a commitment round holds for the public values.

    `polynomials` are the coefficients of the key's public polynomials.

    Raises as `verify_with_py_ecc` does.
    """
    curve = _curve()
    alpha, beta, delta1, delta2 = _key_points(curve, key, ("beta", "delta1", "delta2"))
    size = len(key.challenges) + len(key.links) + len(key.polynomials) + 2
    ic = _key_ic(curve, key, size)
    apart = [delta1, delta2, curve.G2]
    if key.links:
        apart += _key_points(curve, key, ("tau",))[1:]
    if any(curve.eq(x, y) or curve.eq(x, curve.neg(y)) for x, y in combinations(apart, 2)):
        raise InvalidInput(
            "verifying key: its deltas, or tau, are equal, or the generator, up to sign"
        )
    if len(values) != key.n_public:
        raise VerificationError(f"{len(values)} public values, the key has {key.n_public}")
    _check_range(curve, key, values)
    a = _proof_point(curve, _g1, proof.a, "A")
    b = _proof_point(curve, _g2, proof.b, "B")
    c = _proof_point(curve, _g1, proof.c, "C")
    d = _proof_point(curve, _g1, proof.d, "D")
    linked = _linked_points(curve, proof, key, values)
    seed = _seed(proof, key, values)
    challenges = [_scalar(curve, seed + _words(j + 1)) for j in range(len(key.challenges))]
    powers = (pow(challenges[0], i, curve.curve_order) for i in range(1, len(values) + 1))
    y = sum(value * power for value, power in zip(values, powers, strict=True)) % curve.curve_order
    evaluations = () if proof.link is None else proof.link.evaluations
    computed = _values_at(curve, key, polynomials, challenges[0])
    total = _combine(curve, ic, [y, *challenges, *evaluations, *computed])
    pairs = [(b, curve.neg(a)), (beta, alpha), (delta1, d), (delta2, c)]
    if proof.link is not None:
        joined, opening = _joined(curve, proof, linked, seed, challenges[0])
        total = curve.add(total, joined)
        pairs.append((apart[3], opening))
    _check_product(curve, [*pairs, (curve.G2, total)])


def _values_at(
    curve: Any, key: CommitVerifyingKey, given: Mapping[str, Any] | None, fold: int
) -> list[int]:
    """Return the public polynomials' values at fold, by Horner's rule."""
    key.polynomial_values(given, 0)  # refuses what is missing, or no elements
    values = []
    for polynomial in key.polynomials:
        total = 0
        for coefficient in reversed(from_limbs((given or {})[polynomial.name])):
            total = (total * fold + coefficient) % curve.curve_order
        values.append(total)
    return values


def _scalar(curve: Any, data: bytes) -> int:
    """Return keccak256 modulo the groups' order."""
    return int(int.from_bytes(keccak256(data), "big") % curve.curve_order)


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in values)


def _seed(proof: CommitProof, key: CommitVerifyingKey, values: Sequence[int]) -> bytes:
    """Return the seed; points and values have been checked."""
    name, points = b"zkai.groth16-commit/1", [proof.d]
    if proof.link is not None:
        name, points = b"zkai.groth16-commit-link/1", [*proof.link.commitments, proof.d]
    coordinates = [x for point in points for x in point or ()]
    return keccak256(keccak256(name) + key.digest + _words(len(values), *values, *coordinates))


def _joined(
    curve: Any, proof: CommitProof, points: Sequence[Any], seed: bytes, fold: int
) -> tuple[Any, Any]:
    """Return u P, P = sum v^(i-1) (cm_i - [y_i]) + fold pi, and -u pi; pi is the last point."""
    assert proof.link is not None
    evaluations, opening = proof.link.evaluations, points[-1]
    batching = seed + _words(0, *evaluations)
    v = _scalar(curve, batching)
    hashed = [*(proof.a or ()), *((x for pair in proof.b for x in pair[::-1]) if proof.b else ())]
    hashed += [*(proof.c or ()), *(proof.link.opening or ())]
    u = _scalar(curve, keccak256(batching) + _words(*hashed))
    joined = curve.multiply(opening, fold)
    for i, (point, value) in enumerate(zip(points[:-1], evaluations, strict=True)):
        rest = curve.add(point, curve.neg(curve.multiply(curve.G1, value)))
        joined = curve.add(joined, curve.multiply(rest, pow(v, i, curve.curve_order)))
    return curve.multiply(joined, u), curve.neg(curve.multiply(opening, u))


def _linked_points(
    curve: Any, proof: CommitProof, key: CommitVerifyingKey, values: Sequence[int]
) -> list[Any]:
    """Return the commitments and the opening; checked, and so are the signals that name them."""
    link, n = proof.link, len(key.links)
    if (link is None) == (n > 0):
        raise VerificationError(refusals.LINKED_OR_NOT)
    if link is None:
        return []
    points = [
        _proof_point(curve, _g1, point, f"commitments[{i}]")
        for i, point in enumerate(link.commitments)
    ]
    opening = _proof_point(curve, _g1, link.opening, "opening")
    if not len(points) == len(link.evaluations) == n:
        raise VerificationError(f"the proof links {len(points)} states, not {n}")
    for i, value in enumerate(link.evaluations):
        if not 0 <= value < curve.curve_order:
            raise VerificationError(refusals.out_of_range(f"evaluations[{i}]"))
    names = [int.from_bytes(keccak256(_words(*(p or ()))), "big") >> 8 for p in link.commitments]
    if names != list(values[len(values) - n :]):
        raise VerificationError(refusals.LINK)
    return [*points, opening]


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
