"""Forgeries that need nothing but published proofs and keys, checked in Python."""

from __future__ import annotations

from dataclasses import replace

from zkai.circuit.statements.genesis import Genesis
from zkai.demo.forgeries import EQUATION, Cheat, Forgery
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, canonical_json, load_json
from zkai.pipeline import setup, verify
from zkai.proof.formats import Proof
from zkai.proof.keys import CEREMONY
from zkai.proof.keys import Proof as PlainProof


def on_proofs(cheat: Cheat) -> list[Forgery]:
    """Return forgeries of a single proof."""
    return [*_claims(cheat), *_points(cheat), *_commitments(cheat), *_keys(cheat)]


def _claims(cheat: Cheat) -> list[Forgery]:
    """Return true proofs that are said to prove something else."""
    step, check, inference = cheat.step, cheat.check, cheat.inference
    claimed = (inference.public["output"][0] + 1) % cheat.stage.setting.head.classes
    elsewhere = replace(cheat.stage.destination, chain_id=1)
    aliased = cheat.altered(step, new_state=step.public["new_state"][0] + FIELD_MODULUS)

    def claim(name: str, **signals: int) -> Forgery:
        forged = cheat.altered(step, **signals)
        return Forgery(name, lambda: check(forged), EQUATION, cheat.honest)

    return [
        claim("claim another new state", new_state=step.public["old_state"][0]),
        claim("claim another beacon round", beacon_round=step.public["beacon_round"][0] + 1),
        Forgery(
            "claim another prediction",
            lambda: check(cheat.altered(inference, output=claimed)),
            EQUATION,
            lambda: check(inference),
        ),
        Forgery("pass x + r for a public x", lambda: check(aliased), "modulus", cheat.honest),
        Forgery(
            "carry the proof to another chain",
            lambda: verify(step, cheat.keys[step.statement], destination=elsewhere),
            "another chain",
            cheat.honest,
        ),
    ]


def _points(cheat: Cheat) -> list[Forgery]:
    """Return proofs whose points are no proof's."""
    step = cheat.step
    assert step.a is not None
    moved = replace(step, a=(step.a[0], (step.a[1] + 1) % BASE_MODULUS))
    infinite = replace(step, c=None)
    return [
        Forgery(
            "move a proof point off its curve",
            lambda: cheat.check(moved),
            "curve",
            cheat.honest,
        ),
        Forgery(
            "replace a proof point by infinity",
            lambda: cheat.check(infinite),
            "infinity",
            cheat.honest,
        ),
    ]


def _commitments(cheat: Cheat) -> list[Forgery]:
    """Return proofs whose commitment is not the one that their challenges were hashed from."""
    step, check = cheat.step, cheat.check
    other = replace(step, d=cheat.training_step(2).d)
    swapped = replace(step, c=step.d, d=step.c)
    plain = PlainProof(
        step.statement, step.circuit_digest, step.vk_digest, step.key_status, step.public,
        step.a, step.b, step.c,
    )  # fmt: skip
    return [
        Forgery("borrow another proof's commitment", lambda: check(other), EQUATION, cheat.honest),
        Forgery(
            "swap the commitment with a proof point",
            lambda: check(swapped),
            EQUATION,
            cheat.honest,
        ),
        Forgery(
            "leave the commitment out",
            lambda: check(plain),
            "the proof has the format",
            cheat.honest,
        ),
        Forgery(
            "commit to nothing", lambda: check(replace(step, d=None)), "infinity", cheat.honest
        ),
    ]


def _keys(cheat: Cheat) -> list[Forgery]:
    """Return proofs under keys that are not what they seem, or of a format that nobody reads."""
    step = cheat.step
    relabelled = replace(cheat.keys[step.statement], key_status=CEREMONY)
    ceremony_s = replace(step, key_status=CEREMONY, vk_digest=relabelled.digest)
    return [
        Forgery("verify under a swapped key", lambda: _swapped_key(cheat), EQUATION, cheat.honest),
        Forgery(
            "use a development key in production",
            lambda: cheat.check(step, production=True),
            "development key",
            cheat.honest,
        ),
        Forgery(
            "relabel a development key as a ceremony's",
            lambda: verify(ceremony_s, relabelled),
            "ceremony",
            cheat.honest,
        ),
        Forgery(
            "ask for a weaker proof format",
            lambda: _reparsed(cheat, step, format="zkai.groth16-commit/0"),
            "format",
            lambda: _reparsed(cheat, step),
        ),
    ]


def _swapped_key(cheat: Cheat) -> None:
    """Make another key for the same circuit and pretend that the proof was made under it."""
    other = setup(cheat.stage.statements[Genesis.version]).verifying
    verify(replace(cheat.first.proofs[0], vk_digest=other.digest), other)


def _reparsed(cheat: Cheat, proof: Proof, **changes: str) -> None:
    value = load_json(canonical_json(proof.to_json() | changes), "proof.json")
    cheat.check(Proof.from_json(value, "proof.json"))
