"""What decides a dispute in the end: one operator, one proof, or one step replayed.

An integer operator's output must be equal bit for bit, a float32 one's within its derived bound
(zkai.compute.operators). Both parties may be right where floats are rounded differently; both may
be wrong. A proof is right if it verifies under the terms' key, is of the disputed step, leads from
the agreed commitment to the party's own, and took the rows that the fork's beacon draws. A replay
is right for whoever claimed the root that it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zkai.beacon import Beacon, verify_order
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.training_step import TrainingStep
from zkai.compute.dispute import Game, Verdict
from zkai.compute.operators import Array
from zkai.compute.program import Program, array_from, tensor_of
from zkai.compute.terms import ROLES, ProvenSteps
from zkai.encoding import load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.tensor import Source
from zkai.proof import formats
from zkai.proof.formats import Proof, VerifyingKey

MAX_INPUT_BYTES = 1 << 32

Replay = Callable[[int, bytes], bytes]
"""From a step's number and the root of the state before it to the root of the state after it."""


@dataclass(frozen=True)
class ProofRules:
    """What a proof of a disputed step is checked with."""

    key: VerifyingKey
    fork: ForkTerms
    beacon: Beacon


@dataclass(frozen=True)
class Evidence:
    """What decides beyond the record: the operator's inputs, by name; what checks the parties'
    proofs, which the record holds; or a replay.
    """

    tensors: Mapping[str, Source] = field(default_factory=dict, repr=False)
    rules: ProofRules | None = field(default=None, repr=False)
    replay: Replay | None = field(default=None, repr=False)


def decide(game: Game, evidence: Evidence | None = None) -> Verdict:
    """Return how a dispute ends.

    Raises VerificationError if it is not over, or the evidence is not what the record speaks of;
    InvalidInput if evidence is missing.
    """
    if game.verdict is not None:
        return game.verdict
    if not game.settling:
        raise VerificationError(f"the dispute is not over: the {game.due}'s move is due")
    given = evidence or Evidence()
    if isinstance(game.terms.subject, Program):
        return _by_operator(game, given)
    if isinstance(game.terms.subject, ProvenSteps):
        return _by_proof(game, game.terms.subject, given)
    return _by_replay(game, given)


def verify_verdict(game: Game, evidence: Evidence | None, verdict: Verdict) -> None:
    """Return None if a dispute ends in `verdict`. Raises VerificationError otherwise."""
    if decide(game, evidence) != verdict:
        raise VerificationError("the dispute's record leads to another verdict")


def _verdict(game: Game, wrong: Mapping[str, str]) -> Verdict:
    losers = tuple(role for role in ROLES if role in wrong)
    reasons = "; ".join(f"{role}: {wrong[role]}" for role in losers)
    return Verdict(losers, reasons or "both are right within the rules", game.place)


# One operator ------------------------------------------------------------------------------------


def _by_operator(game: Game, evidence: Evidence) -> Verdict:
    operator, shown = game.operator, game.shown
    table = {tensor.name: tensor for tensor in shown[ROLES[0]].table.tensors}
    if not set(operator.inputs) <= table.keys():
        return _verdict(game, dict.fromkeys(ROLES, "the agreed state lacks the operator's inputs"))
    inputs = {}
    for name in operator.inputs:
        if name not in evidence.tensors:
            raise InvalidInput(f"evidence: tensor {name!r} is missing")
        inputs[name] = array = array_of(evidence.tensors[name])
        if tensor_of(name, array) != table[name]:
            raise VerificationError(f"evidence: tensor {name!r} is not the agreed one")
    try:
        right = tensor_of(operator.output, operator.run(inputs))
    except InvalidInput as error:
        return _verdict(game, dict.fromkeys(ROLES, str(error)))
    wrong = {}
    for role in ROLES:
        value = shown[role].value
        if shown[role].output != right and (value is None or not operator.admits(inputs, value)):
            wrong[role] = f"{operator.kind} does not give its {operator.output}"
    return _verdict(game, wrong)


def array_of(source: Source) -> Array:
    """Return a tensor's values. Raises InvalidInput for types that numpy lacks, or 4 GiB."""
    if source.head.total > MAX_INPUT_BYTES:
        raise InvalidInput(f"{source.where}: larger than {MAX_INPUT_BYTES} bytes")
    return array_from(source.head, bytes(source.read(0, source.head.total)))


# One proof, one replay ---------------------------------------------------------------------------


def _by_proof(game: Game, subject: ProvenSteps, evidence: Evidence) -> Verdict:
    if evidence.rules is None:
        raise InvalidInput("evidence: a verifying key, the fork's terms and its beacon are missing")
    if evidence.rules.key.digest != subject.vk_digest:
        raise VerificationError("evidence: not the verifying key that the terms name")
    if evidence.rules.fork.fork != int.from_bytes(subject.fork, "big"):
        raise VerificationError("evidence: not the fork that the terms name")
    wrong = {}
    for role in ROLES:
        shown = game.proofs[role]
        if shown is None:
            wrong[role] = "has no proof"
            continue
        try:
            _check_proof(game, role, subject, shown, evidence.rules)
        except (InvalidInput, VerificationError) as error:
            wrong[role] = str(error)
    return _verdict(game, wrong)


def _check_proof(
    game: Game, role: str, subject: ProvenSteps, data: bytes, rules: ProofRules
) -> None:
    proof = Proof.from_json(load_json(data, "proof"), "proof")
    if proof.statement != TrainingStep.version:
        raise VerificationError(f"proves {proof.statement}, not {TrainingStep.version}")
    step, level = game.place[0], game.level
    expected = {
        "old_state": level.agreed,
        "new_state": level.own[role],
        "fork": subject.fork,
        "step": (subject.first_step + step).to_bytes(32, "big"),
    }
    for name, value in expected.items():
        if proof.public.get(name) != (int.from_bytes(value, "big"),):
            raise VerificationError(f"the proof's {name} is not that of the disputed step")
    formats.verify(proof, rules.key)
    verify_order(proof, rules.fork, rules.beacon)


def _by_replay(game: Game, evidence: Evidence) -> Verdict:
    if evidence.replay is None:
        raise InvalidInput("evidence: a replay of the disputed step is missing")
    root = evidence.replay(game.place[0], game.level.agreed)
    wrong = {
        role: "the replayed step ends in another state"
        for role in ROLES
        if game.level.own[role] != root
    }
    return _verdict(game, wrong)
