"""A fork's training steps, one after the other: what each proof must share with the one before."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.labels import LABELS, state_id
from zkai.halo2.process import Limits
from zkai.halo2.proof import Halo2Proof, verify
from zkai.halo2.step_proof import ContextOf
from zkai.proof.scalars import Progress, no_progress

SAME = ("user", "model", "fork")


@dataclass
class StepHistory:
    """The steps of one fork so far, each verified by the caller under one key.

    The circuit knows commitments only. Who trains, which fork it is and how its steps are numbered
    are labels that each proof is bound to; here they are held together.
    """

    last: Halo2Proof | None = None

    def add(self, proof: Halo2Proof) -> None:
        """Take the next step.

        Raises VerificationError, saying why, if it does not follow from the last: another key,
        user, model or fork, a step number that is not the next, or an old state that is not the
        last new one. The first must be step 0, from the state that `model` names.
        """
        if missing := [n for n in (*LABELS, "old_state", "new_state") if n not in proof.public]:
            raise VerificationError(f"it is no training step: it has no {missing[0]}")
        last, (step,) = self.last, proof.public["step"]
        if last is None:
            if step:
                raise VerificationError(f"it is step {step}; a history starts with step 0")
            if proof.public["model"] != (state_id(proof.public["old_state"]),):
                raise VerificationError("its old_state is not the one that its model names")
        else:
            self._check_link(last, proof)
        self.last = proof

    @staticmethod
    def _check_link(last: Halo2Proof, proof: Halo2Proof) -> None:
        if (proof.circuit_digest, proof.vk_digest) != (last.circuit_digest, last.vk_digest):
            raise VerificationError("it is under another key than the proof before")
        for name in SAME:
            if proof.public[name] != last.public[name]:
                raise VerificationError(f"{name} is not that of the proof before")
        (before,), (step,) = last.public["step"], proof.public["step"]
        if step != before + 1:
            raise VerificationError(f"it is step {step}, after step {before}")
        if proof.public["old_state"] != last.public["new_state"]:
            raise VerificationError("old_state is not the new_state of the proof before: a gap")


def verify_steps(
    proofs: Iterable[Halo2Proof],
    key: Halo2VerifyingKey,
    *,
    model: int | None = None,
    context_of: ContextOf | None = None,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> None:
    """Return None if the proofs are one fork's steps under `key`, from step 0 on, without a gap.

    `model` is the name that the fork must start from, as `initial_model` computes it of public
    weights; without it the first state is whatever its maker chose. With `context_of`, that of a
    destination, each proof must be for it.

    Raises VerificationError naming the proof's place and what is wrong; InvalidInput for what is
    no proof.
    """
    report, history, steps = progress or no_progress, StepHistory(), list(proofs)
    if not steps:
        raise VerificationError("the history is empty")
    for place, proof in enumerate(steps):
        if not isinstance(proof, Halo2Proof):
            raise InvalidInput(f"proof {place}: expected a Halo2Proof, got {type(proof).__name__}")
        report("verify the history", place / len(steps))
        try:
            verify(
                proof,
                key,
                production=production,
                trusted_digests=trusted_digests,
                limits=limits,
            )
            if context_of is not None:
                check_context(proof, context_of)
            history.add(proof)
        except VerificationError as error:
            raise VerificationError(f"proof {place} ({proof.statement}): {error}") from error
    if model is not None and steps[0].public["model"] != (model,):
        raise VerificationError("the history starts from another model than the given one")
    report("verify the history", 1.0)


def check_context(proof: Halo2Proof, context_of: ContextOf) -> None:
    """Return None if a proof's context is that of a destination. Raises VerificationError."""
    fork, step = (proof.public.get(name, (0,))[0] for name in ("fork", "step"))
    wanted = context_of(proof.statement, fork, step, proof.vk_digest)
    if proof.public.get("context") != (wanted,):
        raise VerificationError(
            "the proof's context is for another chain, ledger or recipient than expected"
        )
