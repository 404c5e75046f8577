"""Prove and verify: honest proofs pass both verifiers, every forgery is refused by both alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from proof_support import (
    ROWS,
    STATEMENT,
    ceremony_keys,
    circuit,
    folder,
    keys,
    proof,
    section,
    witness,
)
from proof_support import copy as copy_with

from zkai import native
from zkai.circuit.r1cs import PublicSignal
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, hex32, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.groth16 import VERIFIERS, prove, verify
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.points import G1, G1_GENERATOR, G2, G2_GENERATOR, g2_words
from zkai.proof.proving_keys import Keys, ProvingKey
from zkai.proof.randompoint import SeedStream
from zkai.proof.ratio import g1_multiply
from zkai.proof.zkey import HEADER, H

Q, R = BASE_MODULUS, FIELD_MODULUS


def g2_off_subgroup() -> G2:
    """A point of the twist's curve, outside the subgroup: nearly every point is."""
    stream = SeedStream(bytes(32))
    while True:
        point = stream.twist_point()
        if native.g2_check(g2_words(point)) >= 0:
            return point


def minus(point: G1) -> G1:
    assert point is not None
    return point[0], Q - point[1]


def with_value(p: Proof, name: str, index: int, change: Callable[[int], int]) -> Proof:
    values = list(p.public[name])
    values[index] = change(values[index])
    return replace(p, public={**p.public, name: tuple(values)})


def shifted(point: G1, x: int = 0, y: int = 0) -> G1:
    assert point is not None
    return point[0] + x, point[1] + y


def shifted_g2(point: G2) -> G2:
    assert point is not None
    (x0, x1), y = point
    return (x0 + Q, x1), y


FORGERIES: dict[str, tuple[Callable[[Proof], Proof], str]] = {
    "another result": (lambda p: with_value(p, "result", 0, lambda v: (v + 1) % R), "equation"),
    "another unused signal": (lambda p: with_value(p, "spare", 0, lambda v: v + 1), "equation"),
    "x + r": (lambda p: with_value(p, "spare", 0, lambda v: v + R), r"spare\[0\] is not below"),
    "x = r": (lambda p: with_value(p, "spare", 1, lambda _: R), r"spare\[1\] is not below"),
    "swapped signals": (
        lambda p: replace(p, public={**p.public, "spare": p.public["spare"][::-1]}),
        "equation",
    ),
    "a signal missing": (
        lambda p: replace(p, public={"result": p.public["result"]}),
        "public signals",
    ),
    "a value too many": (
        lambda p: replace(p, public={**p.public, "spare": (1, 2, 3)}),
        "spare has 3 values",
    ),
    "a renamed signal": (
        lambda p: replace(p, public={"outcome": (1,), "spare": (1, 2)}),
        "public signals",
    ),
    "A at infinity": (lambda p: replace(p, a=None), "A is the point at infinity"),
    "B at infinity": (lambda p: replace(p, b=None), "B is the point at infinity"),
    "C at infinity": (lambda p: replace(p, c=None), "C is the point at infinity"),
    "A off the curve": (lambda p: replace(p, a=(1, 3)), "A is not on its curve"),
    "B off the curve": (lambda p: replace(p, b=((1, 2), (3, 4))), "B is not on its curve"),
    "C off the curve": (lambda p: replace(p, c=(5, 5)), "C is not on its curve"),
    "B off the subgroup": (lambda p: replace(p, b=g2_off_subgroup()), "B is outside the subgroup"),
    "A.x + q": (lambda p: replace(p, a=shifted(p.a, x=Q)), "A: a coordinate is not below"),
    "C.y + q": (lambda p: replace(p, c=shifted(p.c, y=Q)), "C: a coordinate is not below"),
    "B.x0 + q": (lambda p: replace(p, b=shifted_g2(p.b)), "B: a coordinate is not below"),
    "minus A": (lambda p: replace(p, a=minus(p.a)), "equation"),
    "A and C exchanged": (lambda p: replace(p, a=p.c, c=p.a), "equation"),
    "generators": (lambda p: replace(p, a=G1_GENERATOR, b=G2_GENERATOR), "equation"),
    "another statement": (lambda p: replace(p, statement="power/2"), "another statement"),
    "another circuit": (lambda p: replace(p, circuit_digest=bytes(32)), "another circuit"),
    "another key": (lambda p: replace(p, vk_digest=bytes(32)), "another key"),
    "a raised status": (lambda p: replace(p, key_status="ceremony"), "another key status"),
}


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_an_honest_proof_verifies(verifier: str) -> None:
    verify(proof(), keys().verifying, verifier)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("name", FORGERIES)
def test_every_verifier_refuses_a_forgery_for_the_same_reason(name: str, verifier: str) -> None:
    forge, reason = FORGERIES[name]
    with pytest.raises(VerificationError, match=reason):
        verify(forge(proof()), keys().verifying, verifier)


def test_a_rerandomised_proof_is_another_proof_of_the_same_claim() -> None:
    """Groth16 proofs are malleable by design: nothing may be keyed on their bytes."""
    p = proof()
    twice = replace(p, a=minus(p.a), b=_minus_g2(p.b))
    verify(twice, keys().verifying)
    assert twice != p


def _minus_g2(point: G2) -> G2:
    assert point is not None
    (x, (y0, y1)) = point
    return x, (-y0 % Q, -y1 % Q)


def test_two_proofs_of_one_witness_share_no_point() -> None:
    again = prove(circuit(), keys().proving, witness(), STATEMENT)
    assert len({proof().a, again.a, proof().c, again.c}) == 4
    assert proof().b != again.b


def test_the_blinding_factors_are_what_hides() -> None:
    """Deterministic randomness gives equal proofs: r and s are the only randomness there is."""

    def fixed() -> np.ndarray:
        return to_limbs([12345])

    first, second = (
        prove(circuit(), keys().proving, witness(), STATEMENT, scalars=fixed) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_another_keys_proof_is_refused(verifier: str) -> None:
    other = keys(6).verifying
    with pytest.raises(VerificationError, match="another circuit"):
        verify(proof(), other, verifier)
    relabelled = replace(proof(), circuit_digest=other.circuit_digest, vk_digest=other.digest)
    with pytest.raises(VerificationError, match="equation"):
        verify(relabelled, other, verifier)


def test_an_unknown_verifier_is_named() -> None:
    with pytest.raises(InvalidInput, match="snarkjs"):
        verify(proof(), keys().verifying, "snarkjs")


@pytest.mark.parametrize("wire", [4, 5, -1, 1])
def test_prove_names_the_first_failing_row(wire: int) -> None:
    forged = witness().copy()
    forged[wire] = to_limbs([123])
    with pytest.raises(
        VerificationError, match=r"constraint \d+ of 6 does not hold \(node: square"
    ):
        prove(circuit(), keys().proving, forged, STATEMENT)


def test_prove_refuses_a_witness_that_is_not_canonical() -> None:
    forged = witness().copy()
    forged[2] = to_limbs([FIELD_MODULUS])
    with pytest.raises(InvalidInput, match="element 2"):
        prove(circuit(), keys().proving, forged, STATEMENT)
    with pytest.raises(InvalidInput, match="witness"):
        prove(circuit(), keys().proving, witness()[:-1], STATEMENT)


def test_prove_refuses_the_key_of_another_circuit_or_statement() -> None:
    with pytest.raises(InvalidInput, match="this key is for another circuit"):
        prove(circuit(), keys(6).proving, witness(), STATEMENT)
    with pytest.raises(InvalidInput, match="power/1, not power/2"):
        prove(circuit(), keys().proving, witness(), "power/2")


def test_a_damaged_key_never_yields_a_proof() -> None:
    """A swapped pair of H points is valid point by point: the check of the proof catches it."""
    path = keys().proving.path
    start, _ = section(path, H)
    data = path.read_bytes()
    swapped = {start: data[start + 64 : start + 128], start + 64: data[start : start + 64]}
    damaged = ProvingKey(copy_with(path, folder() / "swapped.zkey", swapped))
    with pytest.raises(InvalidInput, match="does not verify"):
        prove(circuit(), damaged, witness(), STATEMENT)


@pytest.mark.parametrize(("point", "offset"), [("delta", 448), ("beta", 64)])
def test_prove_refuses_a_key_whose_halves_disagree(point: str, offset: int) -> None:
    """With deltas that disagree or vanish, a proof could tell something of the witness."""
    path = keys().proving.path
    start, size = section(path, HEADER)
    points = start + size - 3 * 64 - 3 * 128
    alpha = path.read_bytes()[points : points + 64]
    at = points + {"delta": 64 + 64 + 128 + 128, "beta": 64}[point]
    damaged = ProvingKey(copy_with(path, folder() / f"{point}.zkey", {at: alpha}))
    with pytest.raises(InvalidInput, match=f"{point} differs"):
        prove(circuit(), damaged, witness(), STATEMENT)


def test_prove_can_be_cancelled_and_reports_every_stage() -> None:
    stages: list[str] = []

    class Stop(Exception):
        pass

    def cancel(stage: str, fraction: float) -> None:
        assert 0 <= fraction <= 1
        stages.append(stage)
        if stage == "prove: L":
            raise Stop

    with pytest.raises(Stop):
        prove(circuit(), keys().proving, witness(), STATEMENT, progress=cancel)
    assert stages == [
        "prove: constraints",
        "prove: quotient",
        "prove: A",
        "prove: B in G1",
        "prove: L",
    ]


def test_production_refuses_a_development_key() -> None:
    with pytest.raises(VerificationError, match="development key"):
        verify(proof(), keys().verifying, production=True)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_production_accepts_a_ceremonys_key(verifier: str) -> None:
    made = prove(circuit(), ceremony_keys().proving, witness(), STATEMENT)
    assert made.key_status == "ceremony"
    key = ceremony_keys().verifying
    verify(made, key, verifier, production=True, trusted_digests={key.digest})
    verify(made, key, verifier, production=True, trusted_digests=[bytes(32), hex32(key.digest)])


def test_production_needs_a_digest_that_the_verifier_trusts() -> None:
    """Whoever made a whole ceremony alone records one that verifies, so a record is not enough."""
    made = prove(circuit(), ceremony_keys().proving, witness(), STATEMENT)
    key = ceremony_keys().verifying
    verify(made, key)
    with pytest.raises(InvalidInput, match="--ceremony verify"):
        verify(made, key, production=True)
    for production in (False, True):
        with pytest.raises(VerificationError, match="not one that you trust"):
            verify(made, key, production=production, trusted_digests={keys().verifying.digest})
    with pytest.raises(InvalidInput, match="trusted digest 0"):
        verify(made, key, production=True, trusted_digests=["0x12"])
    verify(proof(), keys().verifying, trusted_digests={keys().verifying.digest})
    with pytest.raises(VerificationError, match="development key"):
        verify(proof(), keys().verifying, production=True, trusted_digests={key.digest})


def test_a_relabelled_development_key_is_refused() -> None:
    """The mark alone is worth nothing: whatever claims a ceremony must record one that holds."""
    relabelled = replace(keys().verifying, key_status="ceremony")
    borrowed = replace(relabelled, ceremony=ceremony_keys().verifying.ceremony)
    claimed = replace(proof(), key_status="ceremony", vk_digest=relabelled.digest)
    for key, reason in ((relabelled, "records none"), (borrowed, "not lead to the key's delta")):
        for verifier in VERIFIERS:
            for _ in range(2):
                with pytest.raises(VerificationError, match=reason):
                    verify(claimed, key, verifier)
        with pytest.raises(VerificationError, match=reason):
            key.check_production()


def test_verify_checks_the_key_too() -> None:
    key = keys().verifying
    for bad in (
        replace(key, delta=key.gamma),
        replace(key, ic=(None, *key.ic[1:])),
        replace(key, ic=((1, 3), *key.ic[1:])),
        replace(key, gamma=None),
        replace(key, delta=g2_off_subgroup()),
        replace(key, alpha=(G1_GENERATOR[0] + Q, 2)),
    ):
        forged = replace(proof(), vk_digest=bad.digest)
        for verifier in VERIFIERS:
            with pytest.raises(InvalidInput, match="verifying key"):
                verify(forged, bad, verifier)


def test_sizes_of_key_and_signals_must_agree() -> None:
    key = replace(keys().verifying, public=(PublicSignal("result", 1),))
    with pytest.raises(InvalidInput, match="disagree"):
        key.check()


def test_every_public_wire_has_a_point() -> None:
    """Even signals that no constraint uses: else x and any other value would both verify."""
    assert None not in keys().verifying.ic
    assert len(keys().verifying.ic) == 4
    assert circuit().n_constraints == ROWS


def test_keys_open_from_their_folder() -> None:
    opened = Keys.from_path(folder() / "keys5")
    assert opened.verifying == keys().verifying
    verify(proof(), VerifyingKey.from_path(folder() / "keys5" / "verifying.json"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        Keys.from_path(folder() / "nowhere")


def test_halves_of_different_keys_are_told_apart(tmp_path: object) -> None:
    import shutil

    keys(6)
    mixed = folder() / "mixed"
    shutil.copytree(folder() / "keys5", mixed)
    shutil.copy(folder() / "keys6" / "verifying.json", mixed / "verifying.json")
    with pytest.raises(InvalidInput, match="different keys"):
        Keys.from_path(mixed)


def test_alpha_times_beta_is_not_a_proof_of_anything() -> None:
    """C chosen from a known relation needs delta's secret: a trivial (alpha, beta, C) fails."""
    key = keys().verifying
    forged = replace(proof(), a=key.alpha, b=key.beta, c=g1_multiply(key.ic[0], R - 1))
    for verifier in VERIFIERS:
        with pytest.raises(VerificationError, match="equation"):
            verify(forged, key, verifier)
