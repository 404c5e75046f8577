"""The commitment round: honest and simulated proofs verify; each attack works only once weakened.

A weakened variant switches one rule off. The attack must then succeed, or the test shows nothing;
with the rule back on, both verifiers refuse the same forgery.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commit_support import (
    ALPHA,
    FOLD,
    STATEMENT,
    TOXIC,
    R,
    add,
    begin,
    circuit,
    committed,
    fixed,
    folder,
    keys,
    known_keys,
    late_proof,
    negative,
    proof,
    public_of,
    values_of,
)

from contracts.make_commit_vectors import key_of
from tests.ceremony_record import recorded
from zkai import native
from zkai.circuit.r1cs import Circuit
from zkai.encoding import BASE_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit import argument, setup
from zkai.proof.commit.challenges import challenge_seed, challenges, folded
from zkai.proof.commit.keyfile import K1, partition
from zkai.proof.commit.keys import SLOTS, CommitKeys, CommitProof, CommitVerifyingKey
from zkai.proof.points import G1, G1_GENERATOR, G2, G2_GENERATOR, g1_from_bytes
from zkai.proof.py_ecc_verifier import verify_commit_with_py_ecc
from zkai.proof.randompoint import SeedStream
from zkai.proof.ratio import g1_multiply, g2_multiply
from zkai.proof.scalars import no_progress, random_scalar
from zkai.proof.setup import Toxic, _wire_polynomials, domain_log

VERIFIERS = ("native", "py-ecc")
FALSE = (3, 10)
"""A false statement: no v has x = (v, 2 v)."""


def refuse(forged: CommitProof, key: CommitVerifyingKey, reason: str = "equation") -> None:
    for verifier in VERIFIERS:
        with pytest.raises(VerificationError, match=reason):
            argument.verify(forged, key, verifier)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_an_honest_proof_verifies(verifier: str) -> None:
    argument.verify(proof(), keys().verifying, verifier)
    assert values_of(proof()) == [3, 6]


def test_a_false_statement_cannot_be_proven() -> None:
    with pytest.raises(VerificationError, match="same"):
        argument.prove(circuit(), keys().proving, begin(3, FALSE), STATEMENT)


def test_simulated_proofs_verify() -> None:
    """Perfect zero knowledge: with the secrets and no witness, for true and false statements."""
    tau, alpha, beta, delta1, delta2 = TOXIC
    key = known_keys().verifying
    u, v, w = (
        from_limbs(native.from_montgomery(x))
        for x in _wire_polynomials(circuit(), to_limbs([tau]), domain_log(circuit()))
    )
    for x, verifier in (([3, 6], "native"), (list(FALSE), "native"), (list(FALSE), "py-ecc")):
        a, b, d = (from_limbs(random_scalar())[0] for _ in range(3))
        point = g1_multiply(G1_GENERATOR, d)
        wires = [1, *key.public_wires(x, point)]
        ic = sum(k * (beta * p + alpha * q + s) for k, p, q, s in zip(wires, u, v, w, strict=False))
        c = (a * b - alpha * beta - ic - d * delta1) * pow(delta2, -1, R) % R
        simulated = replace(
            proof(),
            vk_digest=key.digest,
            public={"x": tuple(x)},
            a=g1_multiply(G1_GENERATOR, a),
            b=g2_multiply(G2_GENERATOR, b),
            c=g1_multiply(G1_GENERATOR, c),
            d=point,
        )
        argument.verify(simulated, key, verifier)


def weaken(patch: pytest.MonkeyPatch, derive: Callable[..., list[int]]) -> None:
    """Let every challenge come from `derive`(key, values, d)."""

    def public_wires(
        key: CommitVerifyingKey, values: list[int], d: G1, commitments: Any = ()
    ) -> list[int]:
        found = derive(key, values, d)
        return [folded(values, found[FOLD]), *found]

    patch.setattr(CommitVerifyingKey, "public_wires", public_wires)


def hashed(digest: bytes, values: list[int], d: G1) -> list[int]:
    return challenges(challenge_seed(digest, values, d), len(circuit().challenges))


def test_a_challenge_that_the_prover_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    v, (x1, x2) = 3, FALSE
    root = -(x1 - v + 1) * pow(x2 - 2 * v, -1, R) % R
    x = [x1 + 1, x2]
    with monkeypatch.context() as patch:
        weaken(patch, lambda *_: [5, root])
        forged = argument.prove(circuit(), keys().proving, begin(v, x), STATEMENT)
        argument.verify(forged, keys().verifying)
    refuse(forged, keys().verifying)


def test_public_values_that_the_hash_omits(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        weaken(patch, lambda key, values, d: hashed(key.digest, [], d))
        honest = argument.prove(circuit(), keys().proving, begin(), STATEMENT)
        fold = public_of(honest, keys())[1 + FOLD]
        forged = replace(honest, public={"x": ((3 + fold) % R, 5)})
        argument.verify(forged, keys().verifying)
    refuse(forged, keys().verifying)
    refuse(honest, keys().verifying)


def test_a_commitment_that_the_hash_omits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as D taken from another proof: v is fixed after alpha."""
    with monkeypatch.context() as patch:
        weaken(patch, lambda key, values, d: hashed(key.digest, values, None))
        public = keys().verifying.public_wires(list(FALSE), None)
        forged = late_proof(keys(), FALSE, None, public, mend=False)
        argument.verify(forged, keys().verifying)
    refuse(forged, keys().verifying)


def test_a_commitment_of_another_proof() -> None:
    other = argument.prove(circuit(), keys().proving, begin(), STATEMENT)
    assert other.d != proof().d
    refuse(replace(proof(), d=other.d), keys().verifying)
    refuse(replace(other, d=proof().d), keys().verifying)


def test_equal_deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """With delta1 = delta2 what D should hold can be added to C after the challenge."""
    d = g1_multiply(G1_GENERATOR, 12345)
    with monkeypatch.context() as patch:
        patch.setattr("zkai.proof.commit.keys.known_deltas", lambda deltas: None)
        equal = known_keys(TOXIC[4])
        public = equal.verifying.public_wires(list(FALSE), d)
        forged = late_proof(equal, FALSE, d, public, mend=True)
        argument.verify(forged, equal.verifying)
    for verifier in VERIFIERS:
        with pytest.raises(InvalidInput, match="deltas"):
            argument.verify(forged, equal.verifying, verifier)
    public = known_keys().verifying.public_wires(list(FALSE), d)
    refuse(late_proof(known_keys(), FALSE, d, public, mend=True), known_keys().verifying)


def shared_bucket_forgery(used: CommitKeys) -> CommitProof:
    """Shift y and the fold inside D; x' = (3, 6) is proven, (3 + 12 w, 6) is claimed."""
    shift = 1_000_003
    claimed = [(3 + 12 * shift) % R, 6]
    ic, first = used.verifying.ic, partition(circuit())[0]
    z = (3 * shift + 6 * shift * shift) % R
    t = random_scalar()
    true_d = argument._commitment(used.proving, circuit().round_one(begin())[first], t)
    d = add(true_d, g1_multiply(ic[1], z), g1_multiply(ic[2], shift))
    public = used.verifying.public_wires(claimed, d)
    inside = [(public[1] + shift) % R, *public[2:]]
    assert (public[0] + z) % R == folded([3, 6], inside[FOLD])
    witness = circuit().finish(begin(), inside)
    circuit().check(witness)
    a, b, c = argument._points(
        circuit(), used.proving, witness, partition(circuit())[1], t, random_scalar, no_progress
    )
    return replace(
        proof(),
        vk_digest=used.verifying.digest,
        public={"x": tuple(claimed)},
        a=argument.g1_from_words(a),
        b=argument.g2_from_words(b),
        c=argument.g1_from_words(c),
        d=d,
    )


def test_a_commitment_in_the_public_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """With delta1 = gamma = 1, D can change y and the fold that the verifier adds."""
    with monkeypatch.context() as patch:
        patch.setattr("zkai.proof.commit.keys.known_deltas", lambda deltas: None)
        shared = known_keys(1)
        forged = shared_bucket_forgery(shared)
        argument.verify(forged, shared.verifying)
    for verifier in VERIFIERS:
        with pytest.raises(InvalidInput, match="delta"):
            argument.verify(forged, shared.verifying, verifier)
    refuse(shared_bucket_forgery(known_keys()), known_keys().verifying)


def test_blinding_used_twice_tells_a_right_guess() -> None:
    """D(t) - D'(t) is the commitment to the difference; with fresh t it is no such thing."""
    file, first = keys().proving.file, partition(circuit())[0]
    k1 = [g1_from_bytes(row.tobytes(), "K1") for row in file.g1(K1)]
    before, after = (circuit().round_one(begin(v)) for v in (3, 4))
    change = [
        (b - a) % R
        for a, b in zip(from_limbs(before[first]), from_limbs(after[first]), strict=True)
    ]
    guess = add(*(g1_multiply(p, k) for p, k in zip(k1, change, strict=True) if k))

    def difference(t: int, other: int) -> G1:
        return add(committed(keys(), 4, [4, 8], other), negative(committed(keys(), 3, [3, 6], t)))

    assert difference(99, 99) == guess
    assert difference(99, 100) != guess
    proofs = [argument.prove(circuit(), keys().proving, begin(), STATEMENT) for _ in range(2)]
    assert len({p.d for p in [*proofs, proof()]}) == 3


def test_a_key_without_blinding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """delta2 = 0 in G1 makes D deterministic."""
    file = keys().proving.file
    first = partition(circuit())[0]
    values = circuit().round_one(begin())[first]
    for name in ("delta1_g1", "delta2_g1", "delta1_g2", "delta2_g2"):
        with monkeypatch.context() as patch:
            patch.setattr(file, "header", replace(file.header, **{name: None}))
            if name == "delta2_g1":
                leaked = {
                    argument._commitment(keys().proving, values, random_scalar()) for _ in "ab"
                }
                assert len(leaked) == 1
            with pytest.raises(InvalidInput, match="delta"):
                argument.prove(circuit(), keys().proving, begin(), STATEMENT)


@pytest.mark.parametrize(
    "change",
    [
        {"delta1": None},
        {"delta2": None},
        {"delta1": G2_GENERATOR},
        {"delta2": G2_GENERATOR},
        {"delta1": "delta2"},
    ],
)
def test_equal_and_trivial_deltas_in_a_key(change: dict[str, Any]) -> None:
    points = {n: keys().verifying.delta2 if p == "delta2" else p for n, p in change.items()}
    bad = replace(keys().verifying, **points)
    with pytest.raises(InvalidInput, match="delta"):
        bad.check()
    for verifier in VERIFIERS:
        with pytest.raises(InvalidInput, match=r"delta|infinity|key"):
            argument.verify(replace(proof(), vk_digest=bad.digest), bad, verifier)


def minus(point: G2) -> G2:
    assert point is not None
    x, (y0, y1) = point
    return x, (-y0 % BASE_MODULUS, -y1 % BASE_MODULUS)


def test_deltas_equal_up_to_sign() -> None:
    with pytest.raises(InvalidInput, match="up to sign"):
        replace(keys().verifying, delta1=minus(keys().verifying.delta2)).check()


def test_py_ecc_refuses_degenerate_deltas_by_itself() -> None:
    """Equal up to sign, to each other or to gamma, with every other check of the key off."""
    good = keys().verifying
    for delta1 in (good.delta2, minus(good.delta2), G2_GENERATOR, minus(G2_GENERATOR)):
        bad = replace(good, delta1=delta1)
        with pytest.raises(InvalidInput, match="up to sign"):
            verify_commit_with_py_ecc(proof(), bad, values_of(proof()))


def test_a_swapped_key() -> None:
    other = known_keys().verifying
    with pytest.raises(VerificationError, match="another key"):
        argument.verify(proof(), other)
    refuse(replace(proof(), vk_digest=other.digest), other)
    with pytest.raises(VerificationError, match="another key status"):
        argument.verify(replace(proof(), key_status="ceremony"), keys().verifying)


def test_a_key_of_another_partition_breaks_soundness_under_the_same_verifying_key() -> None:
    """K_i / delta2 of a wire of round 1 lets v wait for alpha; only `ceremony.verify` sees it."""
    v = int(circuit().inputs["v"].wires[0])
    moved = circuit().rounds.copy()
    moved[[v, v + 1]] = 2
    other = replace_rounds(circuit(), moved)
    path = folder() / "moved.zkck"
    rows = [to_limbs([value]) for value in TOXIC]
    inverses = tuple(native.fr_inv(row) for row in rows[3:])
    toxic = Toxic(rows[0], rows[1], rows[2], (rows[3], rows[4]), inverses)
    setup.write_key(path, other, STATEMENT, toxic, no_progress)
    moved_key = argument.CommitProvingKey(path)
    genuine = known_keys().verifying
    first, second = partition(other)
    t = random_scalar()
    d = argument._commitment(moved_key, other.round_one(begin(0, FALSE))[first], t)
    public = genuine.public_wires(list(FALSE), d)
    late = (FALSE[0] + FALSE[1] * public[1 + ALPHA]) * pow(1 + 2 * public[1 + ALPHA], -1, R) % R
    witness = other.finish(begin(late, FALSE), public[1:])
    a, b, c = argument._points(other, moved_key, witness, second, t, random_scalar, no_progress)
    forged = replace(
        proof(),
        vk_digest=genuine.digest,
        public={"x": FALSE},
        a=argument.g1_from_words(a),
        b=argument.g2_from_words(b),
        c=argument.g1_from_words(c),
        d=d,
    )
    argument.verify(forged, genuine)  # which is why the whole proving key must be verified
    with pytest.raises(InvalidInput, match="another circuit"):
        argument.prove(circuit(), moved_key, begin(), STATEMENT)
    with pytest.raises(InvalidInput):
        setup.setup(other, STATEMENT, folder() / "never")


def replace_rounds(of: Circuit, rounds: np.ndarray) -> Circuit:
    return replace(of, rounds=rounds)


def word(point: Any, change: Callable[[int], int]) -> Any:
    """Change the last coordinate of a point."""
    return (*point[:-1], change(point[-1])) if isinstance(point[-1], int) else (
        point[0], (point[1][0], change(point[1][1]))
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_points_that_are_no_points(name: str) -> None:
    key, point = keys().verifying, getattr(proof(), name)
    big = name.upper()
    refuse(replace(proof(), **{name: None}), key, f"{big} is the point at infinity")
    plus = replace(proof(), **{name: word(point, lambda y: y + BASE_MODULUS)})
    refuse(plus, key, f"{big}: a coordinate is not below")
    off = replace(proof(), **{name: word(point, lambda y: (y + 1) % BASE_MODULUS)})
    refuse(off, key, f"{big} is not on its curve")


def test_b_outside_the_subgroup() -> None:
    outside = SeedStream(bytes(32)).twist_point()
    refuse(replace(proof(), b=outside), keys().verifying, "outside the subgroup")


def test_public_values_at_and_above_r() -> None:
    for values in ((3 + R, 6), (3, 6 + R), (R, 6)):
        refuse(replace(proof(), public={"x": values}), keys().verifying, "is not below")
    refuse(replace(proof(), public={"x": (6, 3)}), keys().verifying)
    with pytest.raises(VerificationError, match="expected 2"):
        argument.verify(replace(proof(), public={"x": (3,)}), keys().verifying)


def test_every_change_of_a_proof_is_refused() -> None:
    """Multiples of points and exchanged points."""
    p, key = proof(), keys().verifying
    for change in (
        {"a": g1_multiply(p.a, 2)},
        {"b": g2_multiply(p.b, 2)},
        {"c": negative(p.c)},
        {"d": g1_multiply(p.d, 2)},
        {"c": p.d, "d": p.c},
        {"a": key.alpha, "b": key.beta},
    ):
        with pytest.raises(VerificationError, match="equation"):
            argument.verify(replace(p, **change), key)


def test_blinding_moved_between_c_and_d_is_refused() -> None:
    """D + z delta2 and C - z delta1 satisfy the equation but for the hash of D."""
    used = known_keys()
    honest = argument.prove(circuit(), used.proving, begin(), STATEMENT)
    header = used.proving.file.header
    moved = replace(
        honest,
        d=add(honest.d, header.delta2_g1),
        c=add(honest.c, negative(header.delta1_g1)),
    )
    refuse(moved, used.verifying)


def test_a_round_two_that_changes_round_one_is_refused() -> None:
    class Changing(Circuit):
        def finish(self, *args: Any, **named: Any) -> Any:
            witness = super().finish(*args, **named)
            witness[self.signal_wires[0], 0] ^= np.uint64(1)
            return witness

    changing = Changing(**{f: getattr(circuit(), f) for f in Circuit.__dataclass_fields__})
    with pytest.raises(InvalidInput, match="D commits to"):
        argument.prove(changing, keys().proving, begin(), STATEMENT)


def test_known_scalars_give_known_proofs() -> None:
    """The blinding factors are the only randomness: t, r and s in this order."""
    first, second = (
        argument.prove(circuit(), keys().proving, begin(), STATEMENT, scalars=fixed(7, 8, 9))
        for _ in range(2)
    )
    assert first == second
    assert first.d == committed(keys(), 3, [3, 6], 7)


def test_an_unknown_verifier_and_a_development_key() -> None:
    with pytest.raises(InvalidInput, match="unknown verifier"):
        argument.verify(proof(), keys().verifying, "guess")
    with pytest.raises(VerificationError, match="development key"):
        argument.verify(proof(), keys().verifying, production=True)


# The vectors that the contract replays ---------------------------------------------------------

REASONS = {
    "InvalidProof()": "equation",
    "InvalidPoint()": "not on its curve|outside the subgroup",
    "CoordinateOutOfRange": "a coordinate is not below",
    "PointAtInfinity": "point at infinity",
    "PublicInputOutOfRange": "is not below the scalar field",
    "InvalidLength": "values, expected|signals are not those",
}
VECTORS = sorted((Path(__file__).parents[2] / "contracts" / "vectors").glob("commit_*.json"))


def of_words(words: list[int], key: CommitVerifyingKey, publics: list[int]) -> CommitProof:
    ax, ay, bx1, bx0, by1, by0, cx, cy, dx, dy = words
    public, rest = {}, publics
    for signal in key.public:
        public[signal.name], rest = tuple(rest[: signal.size]), rest[signal.size :]
    if rest:
        public["more"] = tuple(rest)
    return CommitProof(
        key.statement,
        key.circuit_digest,
        key.digest,
        key.key_status,
        public,
        (ax, ay) if ax or ay else None,
        ((bx0, bx1), (by0, by1)) if bx0 or bx1 or by0 or by1 else None,
        (cx, cy) if cx or cy else None,
        d=(dx, dy) if dx or dy else None,
    )


def vectors_key(path: Path, document: dict[str, Any]) -> CommitVerifyingKey:
    """The key of a file of vectors; one that claims a ceremony is given the record it lacks."""
    if document["key_status"] == "ceremony":
        made = key_of(*map(int, path.stem.split("_")[1:]))
        record = recorded((made.delta1, made.delta2), SLOTS)
        document = document | {"ceremony": record.to_json()}
    return CommitVerifyingKey.from_json(document)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_contracts_vectors(path: Path) -> None:
    data = json.loads(path.read_text())
    key = vectors_key(path, data["key"])
    assert len(data["cases"]) > 10
    for number, case in enumerate(data["cases"]):
        publics = [int(value, 16) for value in case["publics"]]
        candidate = of_words([int(w, 16) for w in case["proof"]], key, publics)
        both = path.stem == "commit_2_3" and number % 8 == 0  # py-ecc takes a second a case
        for verifier in VERIFIERS if both else ("native",):
            if case["success"]:
                argument.verify(candidate, key, verifier)
                found = key.public_wires(publics, candidate.d)[1:]
                assert found == [int(value, 16) for value in case["challenges"]]
            else:
                name = case["error"].removeprefix("Groth16CommitVerifier__").split("(")[0]
                reason = next(r for e, r in REASONS.items() if e.startswith(name))
                with pytest.raises(VerificationError, match=reason):
                    argument.verify(candidate, key, verifier)
