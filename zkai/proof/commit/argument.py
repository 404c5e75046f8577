"""Prove and verify with one commitment round (Mirage, USENIX Security 2020, over Groth16).

The prover commits to the wires of round 1, D = sum w_i K1_i + t delta2; challenges are hashed from
the key, the public values and D; the wires of round 2 follow. A and B are Groth16's, over delta2;
C = sum over round 2 of w_i K2_i + sum h_i H_i + s A + r B - r s delta2 - t delta1.
docs/decisions/0007-commitment-round.md argues why this is sound and zero-knowledge, and 0008 what
the commitments to linked polynomials add.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from zkai import native, native_keys
from zkai.circuit.r1cs import Circuit, Partial, Witness, combine
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import refusals
from zkai.proof.commit.challenges import batching_hash, joining_scalar
from zkai.proof.commit.keyfile import K1, K2, POWERS, Sizes, partition
from zkai.proof.commit.keys import CommitProof, CommitProvingKey, CommitVerifyingKey
from zkai.proof.commit.link import Link, check_links, joined, link_value, quotient
from zkai.proof.groth16 import (
    check_names,
    check_policy,
    check_range,
    check_secrets,
    checked_row,
    native_values,
    points_rows,
    products,
    quotient_scalars,
)
from zkai.proof.points import G1, G1_GENERATOR, G2_GENERATOR, g1_from_bytes, g1_words, g2_words
from zkai.proof.py_ecc_verifier import verify_commit_with_py_ecc
from zkai.proof.ratio import g1_from_words, g2_from_words
from zkai.proof.scalars import Progress, ScalarSource, no_progress, random_scalar
from zkai.proof.zkey import H


def prove(
    circuit: Circuit,
    proving_key: CommitProvingKey,
    partial: Partial,
    statement: str,
    progress: Progress | None = None,
    scalars: ScalarSource = random_scalar,
) -> CommitProof:
    """Prove that the circuit holds for round 1 in `partial` (`circuit.begin`) and what follows.

    D is blinded by a fresh t in each call. The constraints are checked before, the proof after.
    `progress` may raise to cancel.

    Raises InvalidInput if the key is of another circuit or statement, or malformed, and
    VerificationError naming the first row that the witness does not satisfy.
    """
    report = progress or no_progress
    verifying = _check_key(circuit, proving_key, statement)
    report("prove: commitment", 0.0)
    first, second = partition(circuit)
    committed = circuit.round_one(partial)
    native.as_limbs(committed, 4, "witness", circuit.n_wires)
    t = scalars()
    d = _commitment(proving_key, committed[first], t)
    values = from_limbs(circuit.signal_values(committed))
    polynomials, commitments = _linked(circuit, proving_key, committed, values)
    seed = verifying.seed(values, d, commitments)
    public = verifying.public_wires(values, d, commitments)
    report("prove: second round", 0.04)
    witness = circuit.finish(partial, public[1:])
    _check_rounds(circuit, committed, witness, public)
    a, b, c = _points(circuit, proving_key, witness, second, t, scalars, report)
    native_keys.wipe(t)
    proof = CommitProof(
        statement,
        circuit.digest,
        verifying.digest,
        proving_key.key_status,
        native_values(circuit, witness),
        a=g1_from_words(a),
        b=g2_from_words(b),
        c=g1_from_words(c),
        d=d,
        link=_open(circuit, proving_key, witness, polynomials, commitments, seed),
    )
    try:
        _verify_under(proof, verifying, _verify_native, partial.polynomials or None)
    except VerificationError as error:
        raise InvalidInput(
            f"{proving_key.path}: the proof made with this key does not verify; "
            "the key file is damaged or belongs to another circuit"
        ) from error
    report("prove", 1.0)
    return proof


def _check_key(circuit: Circuit, key: CommitProvingKey, statement: str) -> CommitVerifyingKey:
    if key.circuit_digest != circuit.digest:
        raise InvalidInput(f"{key.path}: this key is for another circuit than {circuit.name}")
    if key.statement != statement:
        raise InvalidInput(f"{key.path}: this key is for {key.statement}, not {statement}")
    if key.file.header.sizes != Sizes.of(circuit):
        raise InvalidInput(f"{key.path}: its sizes are not those of the circuit")
    # delta = 0 in G1 would leave D unblinded, and the proof would verify all the same.
    check_secrets(key.file, key.file.header.secrets())
    if circuit.links:
        first = key.file.g1(POWERS)[:2].tobytes()
        one, tau = (g1_from_bytes(first[i : i + 64], str(key.path)) for i in (0, 64))
        if one != G1_GENERATOR:
            raise InvalidInput(f"{key.file.file.where(POWERS)}: does not start at the generator")
        check_secrets(key.file, {"tau": (tau, key.file.header.tau_g2)})
    return key.verifying_key(circuit)


def _commitment(key: CommitProvingKey, values: Witness, t: Limbs) -> G1:
    """Return D = sum of values[i] K1_i + t delta2."""
    total = native_keys.points_msm("g1", key.file.g1(K1), values)
    return g1_from_words(
        native_keys.points_store("g1", _add_multiple(total, key.file.header.delta2_g1, t))
    )


def _add_multiple(total: Limbs, point: G1, scalar: Limbs) -> Limbs:
    """Return total + scalar * point; `total` and the result are (1, 8) rows in Montgomery form."""
    points = np.concatenate([total, points_rows("g1", (point,))])
    scalars = np.concatenate([to_limbs([1]), scalar])
    result = native_keys.points_msm("g1", points, scalars)
    native_keys.wipe(scalars)
    return result


def _linked(
    circuit: Circuit, key: CommitProvingKey, committed: Witness, values: list[int]
) -> tuple[list[Limbs], list[G1]]:
    """Return the linked polynomials' coefficients and commitments.

    Raises InvalidInput if the signals of the witness name other commitments.
    """
    polynomials = [combine(link.coefficients.rows, committed) for link in circuit.links]
    commitments = [key.commit(polynomial) for polynomial in polynomials]
    names = values[len(values) - len(commitments) :]
    for link, point, value in zip(circuit.links, commitments, names, strict=True):
        if link_value(point) != value:
            raise InvalidInput(
                f"{circuit.name}: {link.signal} does not name the state's commitment under"
                f" {key.path}; all keys of a chain of proofs must have one tau"
            )
    return polynomials, commitments


def _open(
    circuit: Circuit,
    key: CommitProvingKey,
    witness: Witness,
    polynomials: list[Limbs],
    commitments: list[G1],
    seed: bytes,
) -> Link | None:
    """Return the linked polynomials' evaluations at fold and their opening."""
    if not polynomials:
        return None
    public = from_limbs(circuit.public_values(witness))
    first = 1 + len(circuit.challenges)
    evaluations = public[first : first + len(polynomials)]
    v = int.from_bytes(batching_hash(seed, evaluations), "big") % FIELD_MODULUS
    opening = key.commit(quotient(joined(polynomials, v), public[1]))
    return Link(tuple(commitments), tuple(evaluations), opening)


def _check_rounds(
    circuit: Circuit, committed: Witness, witness: Witness, public: list[int]
) -> None:
    """Raise InvalidInput if round 2 changed a wire of round 1, or filled y or a challenge badly."""
    before = circuit.rounds == 1
    if not np.array_equal(committed[before], witness[before]):
        raise InvalidInput(f"{circuit.name}: its second round changes a wire that D commits to")
    if from_limbs(circuit.public_values(witness))[: len(public)] != public:
        circuit.check(witness)
        raise InvalidInput(f"{circuit.name}: its y or its challenges are not the verifier's")


def _points(
    circuit: Circuit,
    key: CommitProvingKey,
    witness: Witness,
    second: native.Int64s,
    t: Limbs,
    scalars: ScalarSource,
    report: Progress,
) -> tuple[Limbs, Limbs, Limbs]:
    """Return A, B, C as rows in standard form; raises VerificationError if a row does not hold."""
    header = key.file.header
    report("prove: constraints", 0.05)
    quotient = quotient_scalars(circuit, witness, header.sizes.domain_size, report)
    others = {"K of round 2": (K2, witness[second]), "H": (H, quotient)}
    sums1, sum2 = products(key.file, witness, others, report)
    report("prove: proof", 0.95)
    minus_t = native.fr_sub(native.new_limbs(1, 4), t)
    sums1[2:3] = _add_multiple(sums1[2:3], header.delta1_g1, minus_t)
    key1 = points_rows("g1", (header.alpha_g1, header.beta_g1, header.delta2_g1))
    key2 = points_rows("g2", (header.beta_g2, header.delta2_g2))
    r, s = scalars(), scalars()
    result = native_keys.groth16_assemble(key1, key2, sums1, sum2, r, s)
    native_keys.wipe(r, s, minus_t)
    return result


def verify(
    proof: CommitProof,
    key: CommitVerifyingKey,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    polynomials: Mapping[str, Any] | None = None,
) -> None:
    """Return None if `proof` holds under `key`.

    `polynomials` are the coefficients of the key's public polynomials, if it has any; that they are
    what the signals name is for the caller to check.

    Checks that proof and key name the same statement, circuit and key; that every public value is
    below r; that A, B, C, D are canonical, on their curves, in their subgroups and not infinity;
    and, with y and the challenges recomputed, the equation of `CommitVerifyingKey`. A key that
    claims a ceremony must record one whose chain of contributions verifies. If there are
    `trusted_digests`, the key's must be one of them. `production` refuses development keys and
    needs trusted digests: a record proves that the deltas have the recorded contributions, not that
    several parties made the key.

    Raises VerificationError with the reason, InvalidInput for a malformed key, an unknown verifier
    or `production` without a trusted digest.
    """
    check_policy(key, verifier, production, trusted_digests)
    check = verify_commit_with_py_ecc if verifier == "py-ecc" else _verify_native
    _verify_under(proof, key, check, polynomials)


_Polynomials = Mapping[str, Any] | None


def _verify_under(
    proof: CommitProof,
    key: CommitVerifyingKey,
    check: Callable[[CommitProof, CommitVerifyingKey, list[int], _Polynomials], None],
    polynomials: _Polynomials,
) -> None:
    """Verify a proof under a key whose provenance is not the question."""
    check_names(proof, key)
    check(proof, key, proof.public_values(key), polynomials)


def _verify_native(
    proof: CommitProof, key: CommitVerifyingKey, values: list[int], polynomials: _Polynomials
) -> None:
    key.check()
    check_range(key, values)
    a, b, c, d = (
        checked_row(point, name)
        for point, name in ((proof.a, "A"), (proof.b, "B"), (proof.c, "C"), (proof.d, "D"))
    )
    commitments = checked_commitments(proof, key, values)
    public = key.public_wires(values, proof.d, commitments)
    computed = key.polynomial_values(polynomials, public[1])
    terms = list(zip(key.ic, [1, *public], strict=False))
    terms += zip(key.ic[len(key.ic) - len(computed) :], computed, strict=True)
    in_g1, in_g2 = [d, c], [g2_words(point) for point in (key.beta, key.delta1, key.delta2)]
    if link := proof.link:
        extra, opening = opening_terms(
            proof, link, key.seed(values, proof.d, commitments), public[1]
        )
        terms += list(zip(key.ic[1 + len(public) :], link.evaluations, strict=False)) + extra
        in_g1.append(opening)
        in_g2.append(g2_words(key.tau))
    points = np.concatenate([g1_words(point) for point, _ in terms])
    total = native.g1_msm(points, to_limbs([scalar for _, scalar in terms]))
    minus_a = np.concatenate([a[:, :4], native.fq_sub(native.new_limbs(1, 4), a[:, 4:])], axis=1)
    if not native.pairing_product_is_one(
        np.concatenate([minus_a, g1_words(key.alpha), *in_g1, total]),
        np.concatenate([b, *in_g2, g2_words(G2_GENERATOR)]),
    ):
        raise VerificationError(refusals.EQUATION)


def checked_commitments(
    proof: CommitProof, key: CommitVerifyingKey, values: list[int]
) -> tuple[G1, ...]:
    """Return the commitments of a proof's link after every check but the equation.

    Raises VerificationError if proof and key disagree on linking, a point is infinity, not
    canonical or off the curve, an evaluation not below r, or the signals name other commitments.
    """
    link = proof.link
    if (link is not None) != bool(key.links):
        raise VerificationError(refusals.LINKED_OR_NOT)
    if link is None:
        return ()
    for i, point in enumerate(link.commitments):
        checked_row(point, f"commitments[{i}]")
    checked_row(link.opening, "opening")
    check_links(link, values, len(key.links))
    return link.commitments


def opening_terms(
    proof: CommitProof, link: Link, seed: bytes, fold: int
) -> tuple[list[tuple[G1, int]], Limbs]:
    """Return the terms of u P, and the row -u pi that is paired with tau."""
    batching = batching_hash(seed, link.evaluations)
    u = joining_scalar(batching, proof.a, proof.b, proof.c, link.opening)
    v = int.from_bytes(batching, "big") % FIELD_MODULUS
    powers = [u * pow(v, i, FIELD_MODULUS) % FIELD_MODULUS for i in range(len(link.commitments))]
    total = sum(p * y for p, y in zip(powers, link.evaluations, strict=True))
    terms = [
        *zip(link.commitments, powers, strict=True),
        (G1_GENERATOR, -total % FIELD_MODULUS),
        (link.opening, u * fold % FIELD_MODULUS),
    ]
    return terms, native.g1_mul(g1_words(link.opening), to_limbs([-u % FIELD_MODULUS]))
