"""Public polynomials in the format: a circuit that knows the coefficients, .ptau to proof."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
from commit_support import folder, write_first_phase

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.evaluate import evaluate
from zkai.circuit.polynomial import PublicPolynomial, value_at
from zkai.circuit.r1cs import Circuit
from zkai.circuit.tensor import Field, Rows, Tensor
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import formats
from zkai.proof.commit import ceremony
from zkai.proof.commit.setup import setup
from zkai.proof.ptau import prepare

STATEMENT = "known_polynomial/1"
SECRET = [5, 0, FIELD_MODULUS - 1, 7]


class Known:
    """Rows that say: the private coefficients are the public polynomial's."""

    def __init__(self, builder: Builder, coefficients: Field) -> None:
        self.builder, self.wires = builder, coefficients.wires

    def close(self) -> None:
        row = Tensor((1, len(self.wires)), Rows.of_wires(self.wires), None)
        found = evaluate(self.builder, row, "known")
        self.builder.constrain(found, 1, self.builder.polynomial_value("c"), "known")


@functools.cache
def circuit() -> Circuit:
    """It has a signal, and four coefficients."""
    builder = Builder("known", commit=True, polynomials=(PublicPolynomial("c", 4),))
    signal = builder.public_field("digest")
    builder.bind_public(signal, builder.private_field("given"))
    coefficients = builder.private_field("coefficients", 4)
    builder.require_round_one(coefficients)
    builder.deferred(Known, lambda: Known(builder, coefficients))
    return builder.build()


def inputs(coefficients: list[int]) -> dict[str, Any]:
    return {"given": 3, "coefficients": coefficients, "c": to_limbs(SECRET)}


@functools.cache
def keys() -> Any:
    """Keys of a ceremony: its verification remakes the IC of the polynomial's value, too."""
    plain, prepared = folder() / "polynomial.ptau", folder() / "polynomial_prepared.ptau"
    write_first_phase(plain, 4, "first")
    prepare(plain, prepared)
    run = ceremony.Ceremony(circuit(), STATEMENT, prepared)
    paths = [folder() / f"polynomial{i}.zkck" for i in range(3)]
    ceremony.init(run, paths[0])
    ceremony.contribute(run, paths[0], paths[1], "first", b"some entropy")
    ceremony.beacon(run, paths[1], paths[2], b"public value", 10, "beacon")
    return ceremony.finalize(run, paths[2], folder() / "polynomial_keys")


@pytest.mark.parametrize("verifier", ["native", "py-ecc"])
def test_a_verifier_with_the_coefficients_accepts(verifier: str) -> None:
    proof = formats.prove(circuit(), keys().proving, inputs(SECRET), STATEMENT)
    digest = [keys().verifying.digest]
    given = {"c": to_limbs(SECRET)}
    formats.verify(proof, keys().verifying, verifier, True, digest, given)
    for place in (0, 3) if verifier == "native" else (1,):
        other = list(SECRET)
        other[place] = (other[place] + 1) % FIELD_MODULUS
        with pytest.raises(VerificationError, match="the pairing equation does not hold"):
            formats.verify(proof, keys().verifying, verifier, polynomials={"c": to_limbs(other)})
    for missing in (None, {}):
        with pytest.raises((VerificationError, InvalidInput), match="public polynomial"):
            formats.verify(proof, keys().verifying, verifier, polynomials=missing)
    above = to_limbs(SECRET)
    above[0] = (1 << 64) - 1
    with pytest.raises(InvalidInput, match="element 0 is at or above the field modulus"):
        formats.verify(proof, keys().verifying, verifier, polynomials={"c": above})


def test_a_prover_without_them_proves_nothing() -> None:
    wrong = [*SECRET[:3], 8]
    with pytest.raises(VerificationError, match="circuit: known"):
        formats.prove(circuit(), keys().proving, inputs(wrong), STATEMENT)


def test_a_wire_of_a_public_polynomial_that_the_key_drops() -> None:
    """Without its IC the value would be the prover's: numbers of IC and names must agree."""
    key = keys().verifying
    for changed in (replace(key, ic=key.ic[:-1]), replace(key, polynomials=())):
        with pytest.raises(InvalidInput, match="disagree on their number"):
            changed.check()
    plain = replace(key, ic=key.ic[:-1], polynomials=())
    assert plain.digest != key.digest
    proof = formats.prove(circuit(), keys().proving, inputs(SECRET), STATEMENT)
    with pytest.raises(VerificationError, match="verifying key"):
        formats.verify(proof, plain)


def test_a_circuits_digest_covers_its_polynomials() -> None:
    found = {circuit().digest}
    for other in (PublicPolynomial("d", 4), PublicPolynomial("c", 5)):
        found.add(replace(circuit(), polynomials=(other,)).digest)
    assert len(found) == 3


def test_a_development_key_of_it() -> None:
    made = setup(circuit(), STATEMENT, folder() / "polynomial_setup")
    proof = formats.prove(circuit(), made.proving, inputs(SECRET), STATEMENT)
    formats.verify(proof, made.verifying, polynomials={"c": to_limbs(SECRET)})
    assert value_at(to_limbs([]), 5) == 0
    assert value_at(to_limbs(SECRET), 2) == 5 - 4 + 56
