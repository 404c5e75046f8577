"""The certificate of improvement: an evaluation's values, and what its verifier must check.

An evaluation proof says that one state answers more samples correctly than another. It certifies an
improvement only if nobody could choose the samples: the set is another's, the state was logged
before the samples existed, and the round is the first one after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zkai.beacon import BeaconFile, beacon_element
from zkai.circuit.statements.evaluation import SIDES, VERSION, Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.errors import InvalidInput, VerificationError
from zkai.opening import UserState
from zkai.proof.keys import Proof
from zkai.reader import Reader, read_beacon, read_two_states


def evaluation_values(statement: Evaluation, reader: Reader) -> tuple[UserState, dict[str, Any]]:
    """Return the new state and the values of an evaluation but its context.

    Takes old_state and new_state, evaluation_set, samples, beacon, round and margin.

    Raises InvalidInput, naming the value, for anything missing or malformed, and for states that
    are not of one fork.
    """
    new, exact = read_two_states(reader, statement)
    chosen = _set(reader)
    if chosen.schema != statement.dataset.schema(statement.head).digest:
        raise InvalidInput(
            f"{reader.where}: evaluation_set: of another schema than the statement's"
        )
    beacon, number = read_beacon(reader), reader.take("round", "a beacon's round")
    exact |= {"root": chosen.root, "size": chosen.size, "owner": chosen.owner}
    exact |= {"margin": reader.take("margin", "an integer"), "beacon_round": number}
    exact["beacon"] = beacon_element(beacon.id, number, beacon.value(number))
    return new, exact | _samples(reader).values()


def _set(reader: Reader) -> EvaluationSet:
    value = reader.take("evaluation_set", "what its owner has committed to")
    if isinstance(value, EvaluationSet):
        return value
    return EvaluationSet.from_json(value, f"{reader.where}: evaluation_set")


def _samples(reader: Reader) -> Samples:
    value = reader.take("samples", "the drawn rows, from the set's owner")
    if isinstance(value, Samples):
        return value
    return Samples.from_json(value, f"{reader.where}: samples")


def verify_improvement(
    proof: Proof,
    evaluation_set: EvaluationSet,
    beacon: BeaconFile,
    *,
    history: Iterable[Proof],
    logged_at: int,
    margin: int = 0,
) -> None:
    """Return None if an evaluation, which the caller has verified, certifies an improvement.

    `history` has the fork's proofs as far as the new state, which `verify_chain` has accepted: an
    evaluation opens any state that has the fork's number, reached by training or not. `logged_at`
    is when the log, the chain or a timestamp authority saw the new state's proof, in seconds since
    1970; the set's commitment was public before the training, which only the caller can know. The
    samples are those of the first round after that time, the set's owner is not the user, and the
    new state is right on `margin` samples more than the old one, or a larger number.

    Raises VerificationError, saying why, otherwise.
    """
    if proof.statement != VERSION:
        raise VerificationError(f"a certificate of improvement is a proof of {VERSION}")
    public = {name: values[0] for name, values in proof.public.items()}
    reached = [p.public["new_state"][0] for p in history if "new_state" in p.public]
    for side in SIDES:
        if public[f"{side}_state"] not in reached:
            raise VerificationError(f"the {side} state is not one of the history's")
    if public["evaluation_set"] != evaluation_set.commitment:
        raise VerificationError("the proof is about another evaluation set")
    if public["user"] == evaluation_set.owner:
        raise VerificationError("the evaluation set is the user's own")
    number, wanted = public["beacon_round"], beacon.first_after(logged_at)
    if number != wanted:
        raise VerificationError(
            f"the samples are of round {number}; the first after the state was logged is {wanted}"
        )
    if public["beacon"] != beacon_element(beacon.id, number, beacon.value(number)):
        raise VerificationError(f"the beacon's value of round {number} is another")
    if public["improved"] != 1:
        raise VerificationError(f"not improved by {public['margin']} samples")
    if public["margin"] < margin:
        raise VerificationError(f"the margin is {public['margin']}, below {margin}")
