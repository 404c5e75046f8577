"""Groth16 over BN254: prove and verify (Groth, EUROCRYPT 2016, section 3.2).

A proof is (A, B, C) with A = alpha + sum w_i A_i + r delta, B = beta + sum w_i B_i + s delta and
C = sum over private w_i L_i + sum h_i H_i + s A + r B - r s delta.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from zkai import native, native_keys
from zkai.circuit.r1cs import Circuit, Witness
from zkai.circuit.statements.signals import check_signals
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import refusals
from zkai.proof.keys import CEREMONY, KeyDocument, Proof, VerifyingKey
from zkai.proof.points import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    g1_on_curve,
    g1_words,
    g2_on_curve,
    g2_words,
)
from zkai.proof.proving_keys import ProvingKey
from zkai.proof.py_ecc_verifier import verify_with_py_ecc
from zkai.proof.ratio import g1_from_words, g2_from_words, same_ratio
from zkai.proof.scalars import Progress, ScalarSource, no_progress, random_scalar
from zkai.proof.zkey import B1, B2, HEADER, A, H, KeyFile, L

VERIFIERS = ("native", "py-ecc")


def prove(
    circuit: Circuit,
    proving_key: ProvingKey,
    witness: Witness,
    statement: str,
    progress: Progress | None = None,
    scalars: ScalarSource = random_scalar,
) -> Proof:
    """Prove that the circuit holds for `witness`, (n_wires, 4) limbs in standard form.

    The constraints are checked before and the proof after. `progress` may raise to cancel.

    Raises InvalidInput if the key is of another circuit or statement, or malformed, and
    VerificationError naming the first row that the witness does not satisfy.
    """
    report = progress or no_progress
    _check_key(circuit, proving_key, witness, statement)
    verifying = proving_key.verifying_key(circuit)
    report("prove: constraints", 0.0)
    zkey = proving_key.zkey
    quotient = quotient_scalars(circuit, witness, zkey.header.domain_size, report)
    private = witness[circuit.n_public + 1 :]
    sums1, sum2 = products(zkey, witness, {"L": (L, private), "H": (H, quotient)}, report)
    report("prove: proof", 0.95)
    header = zkey.header
    key1 = points_rows("g1", (header.alpha1, header.beta1, header.delta1))
    key2 = points_rows("g2", (header.beta2, header.delta2))
    r, s = scalars(), scalars()
    a, b, c = native_keys.groth16_assemble(key1, key2, sums1, sum2, r, s)
    native_keys.wipe(r, s)
    values = native_values(circuit, witness)
    proof = Proof(
        statement,
        circuit.digest,
        verifying.digest,
        proving_key.key_status,
        values,
        g1_from_words(a),
        g2_from_words(b),
        g1_from_words(c),
    )
    try:
        _verify_under(proof, verifying, _verify_native)
    except VerificationError as error:
        raise InvalidInput(
            f"{proving_key.path}: the proof made with this key does not verify; "
            "the key file is damaged or belongs to another circuit"
        ) from error
    report("prove", 1.0)
    return proof


def _check_key(circuit: Circuit, key: ProvingKey, witness: Witness, statement: str) -> None:
    header = key.zkey.header
    circuit.require_plain("this key")
    if key.circuit_digest != circuit.digest:
        raise InvalidInput(f"{key.path}: this key is for another circuit than {circuit.name}")
    if key.statement != statement:
        raise InvalidInput(f"{key.path}: this key is for {key.statement}, not {statement}")
    if (header.n_wires, header.n_public) != (circuit.n_wires, circuit.n_public):
        raise InvalidInput(f"{key.path}: its sizes are not those of the circuit")
    if header.domain_size < circuit.n_constraints + circuit.n_public + 1:
        raise InvalidInput(f"{key.path}: its domain is too small for the circuit")
    native.as_limbs(witness, 4, "witness", circuit.n_wires)
    check_secrets(
        key.zkey,
        {"delta": (header.delta1, header.delta2), "beta": (header.beta1, header.beta2)},
    )


def check_secrets(key: KeyFile, secrets: dict[str, tuple[G1, G2]]) -> None:
    """Return None if each secret of a key is the same in G1 and G2, and not 0.

    A key whose deltas disagree, or are trivial, would make "zero-knowledge" proofs that leak.
    Raises InvalidInput naming the secret.
    """
    for name, (in_g1, in_g2) in secrets.items():
        if not same_ratio((G1_GENERATOR, in_g1), (G2_GENERATOR, in_g2)):
            where = key.file.where(HEADER)
            raise InvalidInput(f"{where}: {name} differs between G1 and G2")


def quotient_scalars(
    circuit: Circuit, witness: Witness, domain_size: int, report: Progress
) -> Limbs:
    """Return the scalars of the H points; raises VerificationError if a row does not hold."""
    matrices = (circuit.a, circuit.b, circuit.c)
    a, b, c = native.r1cs_evaluate(matrices, circuit.coefs, witness, domain_size)
    if native.first_unequal(a, b, c) >= 0:
        circuit.check(witness)
        raise InvalidInput(f"{circuit.name}: the circuit's own check disagrees with the prover")
    n, first = circuit.n_public + 1, circuit.n_constraints
    a[first : first + n] = native.to_montgomery(witness[:n])
    report("prove: quotient", 0.05)
    native_keys.groth16_quotient(a, b, c)
    return a


def products(
    key: KeyFile, witness: Witness, others: dict[str, tuple[int, Limbs]], report: Progress
) -> tuple[Limbs, Limbs]:
    """Return the products over A, B and `others` in G1, (n, 8), and over B in G2, (1, 16).

    `others` maps a name to a section of points and its scalars.
    """
    sums = []
    parts = {"A": (A, witness), "B in G1": (B1, witness), **others}
    for done, (name, (section, scalars)) in enumerate(parts.items()):
        report(f"prove: {name}", 0.1 + 0.65 * done / len(parts))
        sums.append(native_keys.points_msm("g1", key.g1(section), scalars))
    report("prove: B in G2", 0.75)
    return np.concatenate(sums), native_keys.points_msm("g2", key.g2(B2), witness)


def points_rows(group: str, points: Sequence[G1] | Sequence[G2]) -> Limbs:
    """Return points as rows in Montgomery form."""
    words: Callable[[Any], Limbs] = g1_words if group == "g1" else g2_words
    return native_keys.points_load(group, np.concatenate([words(point) for point in points]))


def native_values(circuit: Circuit, witness: Witness) -> dict[str, tuple[int, ...]]:
    """Return the public signals of a witness by name."""
    data = circuit.signal_values(witness).astype("<u8").tobytes()
    flat = [int.from_bytes(data[i : i + 32], "little") for i in range(0, len(data), 32)]
    values, position = {}, 0
    for signal in circuit.public:
        values[signal.name] = tuple(flat[position : position + signal.size])
        position += signal.size
    return values


UNTRUSTED = (
    "production: name the digest of the key that you trust (--vk-digest, or trusted_digests). "
    "A key file's own record cannot show who made its powers of tau: rerun `zkai setup STATEMENT "
    "--ceremony verify --ptau FILE --zkey FILE`, which prints the digest, or get the digest from "
    "somebody who did"
)


def verify(
    proof: Proof,
    key: VerifyingKey,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
) -> None:
    """Return None if `proof` holds under `key`.

    Checks that proof and key name the same statement, circuit and key; that every public value is
    below r; that A, B, C are canonical, on their curves, in their subgroups and not infinity; and
    e(A, B) = e(alpha, beta) e(IC(x), gamma) e(C, delta). A key that claims a ceremony must record
    one whose chain of contributions verifies. If there are `trusted_digests`, the key's must be one
    of them. `production` refuses development keys and needs trusted digests: a record proves that
    delta has the recorded contributions, not that several parties made the key.

    Raises VerificationError with the reason, InvalidInput for a malformed key, an unknown verifier
    or `production` without a trusted digest.
    """
    check_policy(key, verifier, production, trusted_digests)
    _verify_under(proof, key, verify_with_py_ecc if verifier == "py-ecc" else _verify_native)


def check_policy(
    key: KeyDocument, verifier: str, production: bool, trusted_digests: Collection[bytes | str]
) -> None:
    """Return None if a verifier of that name may use the key: its provenance, who trusts it, and
    that its signals' names are its statement's.

    Raises as `verify` does.
    """
    if verifier not in VERIFIERS:
        raise InvalidInput(f"unknown verifier {verifier!r}: expected {' or '.join(VERIFIERS)}")
    if production or key.key_status == CEREMONY:
        key.check_production()
    if production and not trusted_digests:
        raise InvalidInput(UNTRUSTED)
    if trusted_digests:
        key.check_trusted(trusted_digests)
    check_signals(key.statement, key.public)


def _verify_under(
    proof: Proof,
    key: VerifyingKey,
    check: Callable[[Proof, VerifyingKey, list[int]], None],
) -> None:
    """Verify a proof under a key whose provenance is not the question."""
    check_names(proof, key)
    check(proof, key, proof.public_values(key))


def check_names(proof: Proof, key: KeyDocument) -> None:
    """Return None if proof and key name the same statement, circuit and key.

    Raises VerificationError naming what differs.
    """
    for name, of_proof, of_key in (
        ("statement", proof.statement, key.statement),
        ("circuit", proof.circuit_digest, key.circuit_digest),
        ("key", proof.vk_digest, key.digest),
        ("key status", proof.key_status, key.key_status),
    ):
        if of_proof != of_key:
            raise VerificationError(f"the proof was made for another {name} than the verifying key")


def check_range(key: KeyDocument, values: list[int]) -> None:
    """Return None if every public value is below r. Raises VerificationError naming the signal."""
    names = [(signal.name, i) for signal in key.public for i in range(signal.size)]
    for (name, index), value in zip(names, values, strict=True):
        if not 0 <= value < FIELD_MODULUS:
            raise VerificationError(refusals.out_of_range(f"{name}[{index}]"))


def _verify_native(proof: Proof, key: VerifyingKey, values: list[int]) -> None:
    key.check()
    check_range(key, values)
    a, b, c = (
        checked_row(point, name) for point, name in ((proof.a, "A"), (proof.b, "B"), (proof.c, "C"))
    )
    fault = native.groth16_verify(
        g1_words(key.alpha),
        g2_words(key.beta),
        g2_words(key.gamma),
        g2_words(key.delta),
        np.concatenate([g1_words(point) for point in key.ic]),
        to_limbs(values),
        a,
        b,
        c,
    )
    if fault is not None and fault.where == "proof":
        raise VerificationError(refusals.EQUATION)
    if fault is not None:
        raise VerificationError(f"{fault.where}: {fault.reason}")


def checked_row(point: G1 | G2, name: str) -> Limbs:
    """Return a proof point as a row of words, after every check but the equation."""
    if point is None:
        raise VerificationError(refusals.infinity(name))
    x, y = point
    if isinstance(x, int) and isinstance(y, int):
        if not (0 <= x < BASE_MODULUS and 0 <= y < BASE_MODULUS):
            raise VerificationError(refusals.not_canonical(name))
        if not g1_on_curve((x, y)):
            raise VerificationError(refusals.off_curve(name))
        return g1_words((x, y))
    assert isinstance(x, tuple)
    assert isinstance(y, tuple)
    if not all(0 <= v < BASE_MODULUS for v in (*x, *y)):
        raise VerificationError(refusals.not_canonical(name))
    if not g2_on_curve((x, y)):
        raise VerificationError(refusals.off_curve(name))
    row = g2_words((x, y))
    if native.g2_check(row) >= 0:
        raise VerificationError(refusals.off_subgroup(name))
    return row
