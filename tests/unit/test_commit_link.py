"""Linked states: honest and simulated proofs verify; each attack works only once weakened."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import link_support as support
import numpy as np
import pytest
from commit_support import TOXIC, R, add, fixed, folder, negative
from link_support import STATEMENT, circuit, coefficients, craft, known_keys, plus, proof, value_at

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.link import BLINDERS, Links, blinders, links, state_coefficients
from zkai.circuit.r1cs import Combination
from zkai.circuit.rounds import lint_rounds
from zkai.encoding import BASE_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit import argument, setup
from zkai.proof.commit.challenges import batching_hash, joining_scalar
from zkai.proof.commit.keyfile import partition
from zkai.proof.commit.keys import CommitKeys, CommitProof, CommitVerifyingKey
from zkai.proof.commit.link import Link, commit, joined, link_value, quotient
from zkai.proof.points import G1_GENERATOR, G2_GENERATOR
from zkai.proof.ratio import g1_multiply, g2_multiply
from zkai.proof.scalars import random_scalar
from zkai.proof.setup import _wire_polynomials, domain_log

VERIFIERS = ("native", "py-ecc")


def refuse(
    forged: CommitProof, reason: str = "equation", key: Any = None, verifiers: Any = VERIFIERS
) -> None:
    for verifier in verifiers:
        with pytest.raises(VerificationError, match=reason):
            argument.verify(forged, key or known_keys().verifying, verifier)


def refuse_natively(forged: CommitProof, reason: str = "equation") -> None:
    """As `refuse`, without py-ecc's seconds."""
    refuse(forged, reason, verifiers=("native",))


def link_of(p: CommitProof) -> Link:
    assert p.link is not None
    return p.link


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_an_honest_proof_verifies(verifier: str) -> None:
    argument.verify(proof(), known_keys().verifying, verifier)
    found = link_of(proof())
    assert proof().public["new_link"] == (link_value(found.commitments[1]),)
    fold = known_keys().verifying.public_wires(values(proof()), proof().d, found.commitments)[1]
    assert list(found.evaluations) == [value_at(p, fold) for p in coefficients(circuit())]


def values(p: CommitProof) -> list[int]:
    return [p.public[name][0] for name in ("step", "old_link", "new_link")]


def test_a_false_step_is_not_proven() -> None:
    keys, wrong = known_keys(), [7, -5, 14]
    names = [link_value(keys.proving.commit(p)) for p in coefficients(circuit(), wrong)]
    begun = circuit().begin(support.inputs(names, wrong))
    with pytest.raises(VerificationError, match="move"):
        argument.prove(circuit(), keys.proving, begun, STATEMENT)
    begun = circuit().begin(support.inputs([names[0], names[0]]))
    with pytest.raises(InvalidInput, match="new_link does not name"):
        argument.prove(circuit(), keys.proving, begun, STATEMENT)


def test_simulated_proofs_verify() -> None:
    """With the secrets and no witness, for links to any points."""
    tau, alpha, beta, delta1, delta2 = TOXIC
    key = known_keys().verifying
    u, v, w = (
        from_limbs(native.from_montgomery(x))
        for x in _wire_polynomials(circuit(), to_limbs([tau]), domain_log(circuit()))
    )
    a, b, d, c1, c2, y1, y2 = (from_limbs(random_scalar())[0] for _ in range(7))
    commitments = (g1_multiply(G1_GENERATOR, c1), g1_multiply(G1_GENERATOR, c2))
    names = [link_value(point) for point in commitments]
    point = g1_multiply(G1_GENERATOR, d)
    x = [9, *names]
    wires = key.public_wires(x, point, commitments)
    batch = int.from_bytes(batching_hash(key.seed(x, point, commitments), (y1, y2)), "big") % R
    opened = (c1 - y1 + batch * (c2 - y2)) * pow(tau - wires[1], -1, R) % R
    terms = zip([1, *wires, y1, y2], u, v, w, strict=False)
    ic = sum(k * (beta * p + alpha * q + s) for k, p, q, s in terms)
    c = (a * b - alpha * beta - ic - d * delta1) * pow(delta2, -1, R) % R
    simulated = replace(
        proof(),
        public=dict(zip(("step", "old_link", "new_link"), ((value,) for value in x), strict=True)),
        a=g1_multiply(G1_GENERATOR, a),
        b=g2_multiply(G2_GENERATOR, b),
        c=g1_multiply(G1_GENERATOR, c),
        d=point,
        link=Link(commitments, (y1, y2), g1_multiply(G1_GENERATOR, opened)),
    )
    argument.verify(simulated, key)


# Attacks ---------------------------------------------------------------------------------------


def other_state(polynomials: list[np.ndarray]) -> list[np.ndarray]:
    """The true old state, and a new one with other weights."""
    return [polynomials[0], plus(polynomials[1], 1000, R - 1)]


def test_a_commitment_to_another_state() -> None:
    """What every weakened variant below lets through."""
    refuse(craft(other_state(coefficients(circuit()))))


def test_a_commitment_that_the_hash_omits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known fold: f + X - fold has f's value there, and is another state."""

    def late(fold: int, _: int, honest: list[np.ndarray]) -> list[np.ndarray]:
        return [honest[0], plus(honest[1], -fold, 1)]

    hashed = CommitVerifyingKey.seed
    with monkeypatch.context() as patch:
        patch.setattr(argument, "check_links", lambda *_: None)
        patch.setattr(CommitVerifyingKey, "seed", lambda key, x, d, _=(): hashed(key, x, d))
        forged = craft(late, [1, 2])
        argument.verify(forged, known_keys().verifying)
    refuse_natively(forged, "last public signals")
    with monkeypatch.context() as patch:
        patch.setattr(argument, "check_links", lambda *_: None)
        with pytest.raises(VerificationError, match="equation"):
            argument.verify(craft(late, [1, 2]), known_keys().verifying)


def test_signals_that_name_another_commitment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state's hash holds the signal: unchecked, the next proof may bring another state."""
    with monkeypatch.context() as patch:
        patch.setattr(argument, "check_links", lambda *_: None)
        forged = craft(coefficients(circuit()), [1, 2])
        argument.verify(forged, known_keys().verifying)
    refuse(forged, "last public signals")
    names = [link_value(p) for p in link_of(proof()).commitments]
    refuse(craft(coefficients(circuit()), names[::-1]), "last public signals")


def test_a_batching_scalar_that_the_prover_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With v known before the commitments, changes of two states cancel."""
    v = 7

    def cancelling(_: int = 0) -> list[np.ndarray]:
        old, new = coefficients(circuit())
        return [plus(old, v, 5 * v), plus(new, R - 1, R - 5)]

    with monkeypatch.context() as patch:
        patch.setattr(argument, "batching_hash", lambda *_: v.to_bytes(32, "big"))
        forged = craft(cancelling())
        argument.verify(forged, known_keys().verifying)
    refuse_natively(forged)


def test_evaluations_that_the_batching_omits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With v hashed before y: what the openings lack, y_1 and y_2 could share out."""
    hashed = batching_hash
    with monkeypatch.context() as patch:
        patch.setattr(argument, "batching_hash", lambda seed, _: hashed(seed, ()))
        argument.verify(craft(coefficients(circuit())), known_keys().verifying)
        free = free_circuit(patch)
        keys = setup.setup(free, STATEMENT, folder() / "free", scalars=fixed(*TOXIC))
        forged = craft(other_state(coefficients(free)), of=free, keys=keys)
        argument.verify(forged, keys.verifying)


def test_a_joining_scalar_that_leaves_c_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """K may be wrong by a multiple h of Z, which H in C makes up for once u is known."""
    key = known_keys()

    def forge() -> CommitProof:
        honest = craft(other_state(coefficients(circuit())))
        link, x = link_of(honest), values(honest)
        tau, fold = TOXIC[0], key.verifying.public_wires(x, honest.d, link.commitments)[1]
        seed = key.verifying.seed(x, honest.d, link.commitments)
        v = int.from_bytes(batching_hash(seed, link.evaluations), "big") % R
        whole = joined(other_state(coefficients(circuit())), v)
        claimed = (link.evaluations[0] + v * link.evaluations[1]) % R
        size = 1 << domain_log(circuit())
        z_tau, z_fold = (pow(point, size, R) - 1 for point in (tau, fold))
        h = (value_at(whole, fold) - claimed) * pow(z_fold, -1, R) % R
        rest = value_at(whole, tau) - claimed - h * z_tau
        opening = g1_multiply(G1_GENERATOR, rest * pow(tau - fold, -1, R))
        batching = batching_hash(seed, link.evaluations)
        u = argument.joining_scalar(batching, honest.a, honest.b, honest.c, opening)
        shift = g1_multiply(G1_GENERATOR, u * h * z_tau * pow(TOXIC[4], -1, R))
        changed = replace(link, opening=opening)
        return replace(honest, c=add(honest.c, negative(shift)), link=changed)

    with monkeypatch.context() as patch:
        without = lambda h, a, b, c, pi: joining_scalar(h, a, b, None, pi)  # noqa: E731
        patch.setattr(argument, "joining_scalar", without)
        forged = forge()
        argument.verify(forged, key.verifying)
    refuse(forged)
    refuse_natively(forge())


def free_circuit(patch: pytest.MonkeyPatch) -> Any:
    """The circuit with evaluations that no row defines."""
    proof()  # so that the real circuit is made by now

    def finish(self: Links, total: Any, wire: Any) -> None:
        source = (Combination(total.rows),)
        self._builder.new_step("free", lambda x: x, source, 1, is_field=True, into=wire)

    patch.setattr(Links, "_finish", finish)
    for module in ("zkai.circuit.builder", "zkai.proof.commit.setup"):
        patch.setattr(f"{module}.lint_rounds", lambda _: None)
    return support.circuit.__wrapped__()


def test_an_evaluation_that_no_row_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free public wire of round 2 is chosen to fit any commitment."""
    with monkeypatch.context() as patch:
        free = free_circuit(patch)
        keys = setup.setup(free, STATEMENT, folder() / "free", scalars=fixed(*TOXIC))
        forged = craft(other_state(coefficients(free)), of=free, keys=keys)
        argument.verify(forged, keys.verifying)
    with pytest.raises(InvalidInput, match="no definition"):
        lint_rounds(free)
    with pytest.raises(InvalidInput, match="no definition"):
        setup.setup(free, STATEMENT, folder() / "never")


def test_coefficients_of_round_two() -> None:
    """Every coefficient moved to round 2 is refused, and so is one that depends on a challenge."""
    used = np.unique(np.concatenate([p.coefficients.rows.wires for p in circuit().links]))
    assert len(used) == 14
    for wire in used:
        moved = circuit().rounds.copy()
        moved[wire] = 2
        with pytest.raises(InvalidInput, match="round 2"):
            lint_rounds(replace(circuit(), rounds=moved))
    builder = Builder("late", commit=True, links=1)
    builder.public_field("link")
    with pytest.raises(InvalidInput, match="depends on a challenge"):
        links(builder).bind(
            "link", [builder.challenge("alpha").reshape(1)], builder.private_field("b")
        )


def test_linking_is_declared() -> None:
    with pytest.raises(InvalidInput, match="commitment round"):
        Builder("plain", links=1)
    builder = Builder("few", commit=True, links=1)
    builder.public_field("link")
    w, b = builder.private_int("w", (2,)), builder.private_field("b", 2)
    links(builder)
    with pytest.raises(InvalidInput, match="0 polynomials"):
        builder.build()
    links(builder).bind("link", [w], b)
    with pytest.raises(InvalidInput, match="made for 1"):
        links(builder).bind("link", [w], b)
    with pytest.raises(InvalidInput, match="last signals"):
        lint_rounds(replace(circuit(), links=circuit().links[::-1]))
    with pytest.raises(InvalidInput, match="last signals"):
        lint_rounds(replace(circuit(), links=circuit().links[:1]))


def test_parts_of_another_proof() -> None:
    other = support.prove()
    link, found = link_of(proof()), link_of(other)
    assert link.commitments == found.commitments  # the same states
    assert link.evaluations != found.evaluations
    assert link.opening != found.opening
    refuse(replace(proof(), link=found))
    refuse_natively(replace(proof(), link=replace(link, opening=found.opening)))
    refuse_natively(replace(proof(), link=replace(link, evaluations=found.evaluations)))
    refuse_natively(replace(proof(), d=other.d))
    shifted = g1_multiply(G1_GENERATOR, 3)
    for i in range(2):
        points = list(link.commitments)
        points[i] = add(points[i], shifted)
        refuse_natively(
            replace(proof(), link=replace(link, commitments=tuple(points))), "last public signals"
        )
        named = dict(proof().public) | {("old_link", "new_link")[i]: (link_value(points[i]),)}
        refuse_natively(
            replace(proof(), public=named, link=replace(link, commitments=tuple(points)))
        )


def test_old_and_new_exchanged() -> None:
    link, public = link_of(proof()), proof().public
    swapped = Link(link.commitments[::-1], link.evaluations[::-1], link.opening)
    refuse(replace(proof(), link=swapped), "last public signals")
    named = dict(public) | {"old_link": public["new_link"], "new_link": public["old_link"]}
    refuse_natively(replace(proof(), public=named, link=swapped))
    refuse_natively(craft(coefficients(circuit())[::-1]))


def test_shifted_and_higher_polynomials() -> None:
    """X f has another value; a polynomial of higher degree is another polynomial."""
    old, new = coefficients(circuit())
    zero = to_limbs([0])
    # The key ends at the states' degree; the .ptau does not.
    tau = TOXIC[0]
    for coefs in (np.concatenate([zero, new[:-1]]), plus(new, *[0] * 6, 1)):
        refuse_natively(craft([old, coefs]))
    link = link_of(proof())
    high = add(link.commitments[1], g1_multiply(G1_GENERATOR, pow(tau, 20, R)))
    named = dict(proof().public) | {"new_link": (link_value(high),)}
    refuse_natively(
        replace(proof(), public=named, link=replace(link, commitments=(link.commitments[0], high)))
    )
    with pytest.raises(InvalidInput, match="the key has 7 powers"):
        known_keys().proving.commit(np.concatenate([new, zero]))


def changed(point: Any, change: Callable[[int], int]) -> Any:
    return point[0], change(point[1])


def test_points_and_values_that_are_none() -> None:
    link = link_of(proof())
    cases = {
        "is the point at infinity": lambda p: None,
        "a coordinate is not below": lambda p: changed(p, lambda y: y + BASE_MODULUS),
        "is not on its curve": lambda p: changed(p, lambda y: (y + 1) % BASE_MODULUS),
    }
    for reason, change in cases.items():
        refuse_natively(
            replace(proof(), link=replace(link, opening=change(link.opening))), f"opening.*{reason}"
        )
        points = (link.commitments[0], change(link.commitments[1]))
        named = dict(proof().public) | {"new_link": (link_value(points[1]),)}
        bad = replace(proof(), public=named, link=replace(link, commitments=points))
        refuse(bad, rf"commitments\[1\].*{reason}")
    for value in (link.evaluations[0] + R, R):
        bad_link = replace(link, evaluations=(value, link.evaluations[1]))
        refuse_natively(replace(proof(), link=bad_link), r"evaluations\[0\] is not below")
    plus_one = replace(link, evaluations=(link.evaluations[0], (link.evaluations[1] + 1) % R))
    refuse_natively(replace(proof(), link=plus_one))
    short = Link(link.commitments[:1], link.evaluations[:1], link.opening)
    refuse_natively(replace(proof(), link=short), "links 1 states, not 2")


def test_another_tau() -> None:
    """A key's digest holds tau; with a tau that the prover knows any state opens."""
    good = known_keys().verifying
    forged_key = replace(good, tau=g2_multiply(G2_GENERATOR, 77))
    assert forged_key.digest != good.digest
    refuse(proof(), "another key", forged_key)
    refuse(replace(proof(), vk_digest=forged_key.digest), key=forged_key)
    for tau in (None, G2_GENERATOR, good.delta1, good.delta2):
        with pytest.raises(InvalidInput, match="tau"):
            replace(good, tau=tau).check()
    for verifier in VERIFIERS:
        bad = replace(good, tau=good.delta2)
        with pytest.raises(InvalidInput, match="tau"):
            argument.verify(replace(proof(), vk_digest=bad.digest), bad, verifier)


def test_keys_of_different_tau_do_not_follow_each_other() -> None:
    other = setup.setup(circuit(), STATEMENT, folder() / "other_tau")
    names = [link_value(p) for p in link_of(proof()).commitments]
    with pytest.raises(InvalidInput, match="one tau"):
        argument.prove(circuit(), other.proving, circuit().begin(support.inputs(names)), STATEMENT)
    source = setup.kept_tau(folder() / "tau")
    first = setup.setup(circuit(), STATEMENT, folder() / "kept", scalars=source)
    second = setup.setup(
        circuit(), STATEMENT, folder() / "kept2", scalars=setup.kept_tau(folder() / "tau")
    )
    assert first.verifying.tau == second.verifying.tau != other.verifying.tau
    assert first.verifying.delta1 != second.verifying.delta1
    one, two = (support.prove(keys) for keys in (first, second))
    assert link_of(one).commitments == link_of(two).commitments
    argument.verify(two, second.verifying)


def test_a_key_without_its_link() -> None:
    """The same key as if it linked nothing, or took the evaluations for challenges."""
    good = known_keys().verifying
    blind = replace(good, links=(), tau=None)
    with pytest.raises(InvalidInput, match="disagree"):
        blind.check()
    stripped = replace(blind, ic=good.ic[:-2])
    taken = replace(blind, challenges=(*good.challenges, "old", "new"))
    for key in (stripped, taken):
        key.check()
        assert key.digest != good.digest
        bare = replace(proof(), link=None, vk_digest=key.digest)
        refuse(bare, key=key)
        refuse(replace(proof(), vk_digest=key.digest), "opens commitments", key)
    refuse(replace(proof(), link=None), "opens commitments")
    with pytest.raises(InvalidInput, match="last signals"):
        replace(good, links=("new_link", "old_link")).check()
    with pytest.raises(InvalidInput, match="links nothing"):
        replace(stripped, tau=good.tau).check()


def test_blinders_are_fresh_for_each_state() -> None:
    """Used twice, the difference of two commitments is that of the states: a guess shows."""
    keys, one, two = known_keys(), np.array([1, 2]), np.array([1, 3])
    key_powers = keys.proving.file.g1(12)

    def difference(first: list[int], second: list[int]) -> Any:
        a, b = (
            commit(key_powers, to_limbs([*w.tolist(), *list(bl)[:4]]))
            for w, bl in ((one, first), (two, second))
        )
        return add(b, negative(a))

    guess = g1_multiply(G1_GENERATOR, TOXIC[0])  # [tau^1], a public point
    assert difference([5, 6, 7, 8], [5, 6, 7, 8]) == guess
    assert difference(blinders(9, one), blinders(9, two)) != guess
    assert blinders(9, one) == blinders(9, one)
    found = [blinders(salt, w) for salt in (0, 9) for w in (one, two)]
    assert len({tuple(b) for b in found}) == 4
    assert all(len(set(b)) == BLINDERS and max(b) < R for b in found)
    state = from_limbs(state_coefficients(np.array([[1, -2]]), 9))
    assert state == [1, R - 2, *blinders(9, np.array([1, -2]))]


def test_a_proving_key_whose_powers_are_not_of_its_tau(tmp_path: Path) -> None:
    """Blinders on powers that are nothing hide nothing: the prover must not return such a proof."""
    source = known_keys().proving
    data = bytearray(Path(source.path).read_bytes())
    section = source.file.file.view(12)
    start = bytes(data).index(bytes(section))
    cases = {
        "generator": (0, 64, bytes(section[64:128])),
        "tau differs": (64, 128, bytes(section[128:192])),
        "does not verify": (5 * 64, 7 * 64, bytes(128)),
    }
    for reason, (begin, end, new) in cases.items():
        broken = bytearray(data)
        broken[start + begin : start + end] = new
        path = tmp_path / "broken.zkck"
        path.write_bytes(broken)
        key = argument.CommitProvingKey(path)
        names = [link_value(key.commit(p)) for p in coefficients(circuit())]
        with pytest.raises(InvalidInput, match=reason):
            argument.prove(circuit(), key, circuit().begin(support.inputs(names)), STATEMENT)


# Forms -----------------------------------------------------------------------------------------


def test_json_forms(tmp_path: Path) -> None:
    keys = known_keys()
    proof().write(tmp_path / "proof.json")
    assert CommitProof.from_path(tmp_path / "proof.json") == proof()
    assert CommitKeys.from_path(folder() / "linked").verifying == keys.verifying
    for value, where in (
        (proof().to_json(), CommitProof),
        (keys.verifying.to_json(), CommitVerifyingKey),
    ):
        text = json.loads(json.dumps(value))
        assert where.from_json(text).to_json() == value
        with pytest.raises(InvalidInput, match="unknown field"):
            where.from_json(text | {"other": 1})
    form = proof().to_json()
    for name in ("commitments", "evaluations", "opening"):
        less = {k: v for k, v in form["link"].items() if k != name}
        with pytest.raises(InvalidInput, match=f"missing field {name}"):
            CommitProof.from_json(form | {"link": less})
    for bad in ({"commitments": []}, {"evaluations": ["1"] * 9}, {"opening": ["1"]}, {"x": 1}):
        with pytest.raises(InvalidInput, match="link"):
            CommitProof.from_json(form | {"link": form["link"] | bad})
    key_form = keys.verifying.to_json()
    for change in ({"links": []}, {"links": ["old_link"]}, {"links": "new_link"}, {"tau": None}):
        with pytest.raises(InvalidInput):
            CommitVerifyingKey.from_json(key_form | change)
    with pytest.raises(InvalidInput, match="unknown field 'tau'"):
        CommitVerifyingKey.from_json({k: v for k, v in key_form.items() if k != "links"})


def test_the_quotient_of_a_polynomial() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 511, 512, 513, 1100):
        polynomial = to_limbs([int(x) * R // 2**62 for x in rng.integers(0, 2**62, n)])
        point, at = 987_654_321, 123_456_789
        whole, made = (value_at(p, at) for p in (polynomial, quotient(polynomial, point)))
        assert (whole - value_at(polynomial, point) - (at - point) * made) % R == 0


def test_the_partition_of_a_linked_circuit() -> None:
    first, second = partition(circuit())
    assert min(first) == min(*second, *first) == circuit().n_public + 1 == 6
    assert known_keys().proving.file.header.sizes.n_powers == 7
