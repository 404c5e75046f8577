"""Proves one training step: from a user's values to the vectors that the circuit commits to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from zkai.circuit.statements.base import STEP_BITS, check_names, field_element
from zkai.circuit.statements.commitments import new_salt as new_secret
from zkai.circuit.statements.context import Context
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import SRS_FILE, Halo2ProvingKey
from zkai.halo2.labels import hash_commitment, point_commitment, state_id, tag_limbs
from zkai.halo2.process import Limits
from zkai.halo2.proof import Halo2Proof, prove_opened
from zkai.halo2.settings import HASHED
from zkai.halo2.srs import commitment_points
from zkai.halo2.step_layout import BATCH, LIMB_BITS, NEW_SALT, NEW_STATE, STATE, TAG
from zkai.halo2.step_state import StepOpening, StepState
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.fixed_point import IntArray
from zkai.model.head_graph import head_tensors
from zkai.model.heads import Head
from zkai.proof.scalars import Progress

MIN_SECRET = 1 << 128
"""Random secrets are above this but for one in 2**125."""

_SALTS = ("old_salt", "new_salt", "batch_salt")
_OPTIONAL = ("state", "weights", "bias", "base", "fork", "secret", *_SALTS)

ContextOf = Callable[[str, int, int, bytes], int]
"""From (statement, fork, step, vk_digest) to a destination's context."""


def nowhere(statement: str, fork: int, step: int, vk_digest: bytes) -> int:
    """Return the context of a proof for nowhere in particular."""
    return Context(statement, 0, bytes(32), fork, step, bytes(32), vk_digest).signal()


@dataclass(frozen=True)
class OpenedStepProof(Halo2Proof):
    """A step's proof fresh from `prove_step`, with what its maker needs to go on.

    The opening never enters the proof's JSON, its repr or comparisons.
    """

    opening: StepOpening = field(repr=False, compare=False)


def prove_step(
    statement: Halo2TrainingStep,
    key: Halo2ProvingKey,
    values: Mapping[str, Any],
    *,
    context_of: ContextOf = nowhere,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> OpenedStepProof:
    """Return a proof of one step on private `values`, verified before it is returned.

    `values`: x (batch, ...) and labels (batch,); the old `state`, of the last proof's opening or
    its JSON, or to start a fork weights, bias and base (of a head, in the forms that `prove` takes
    for our own circuits), or weights by name (of a graph, whose own stand in). Optional fork and
    secret of a new fork, and salts: an old_salt of 0 lets everybody compute a public model's
    commitment. A new fork's `model` is the commitment to its first state.

    Raises InvalidInput, naming the value, for anything missing, unknown, of another shape, or out
    of range, and a key of another circuit; VerificationError if the proof does not hold.
    """
    where, layout = statement.version, statement.layout
    check_names(where, values, ("x", "labels"), _OPTIONAL)
    salts = {name: _salt(statement, values, name) for name in _SALTS}
    commit = _committer(statement, key)
    state = _old_state(statement, values, salts["old_salt"], commit)
    old = commit(state.vector)
    digest = key.verifying.digest
    labels = {
        "user": state.user,
        "model": state.model,
        "fork": state.fork,
        "step": state.step,
        "context": context_of(where, state.fork, state.step, digest),
    }
    vectors = {
        STATE: state.vector,
        BATCH: layout.pack_batch(values["x"], values["labels"], salts["batch_salt"]),
        NEW_SALT: salts["new_salt"],
        TAG: tag_limbs({name: (value,) for name, value in labels.items()}),
    }
    proof, tensors = prove_opened(
        statement, key, vectors, labels=labels, limits=limits, progress=progress
    )
    after = tensors[NEW_STATE]
    for name, wanted in (("old_state", old), ("new_state", commit(after))):
        if proof.public[name] != wanted:
            raise VerificationError(f"EZKL's commitment to the {name} is not ours; this is a bug")
    (length,) = layout.inputs[STATE]
    layout.check_vector(NEW_STATE, after, length)
    kept = {name: salt for name, salt in salts.items() if name != "old_salt"}
    shown = {name: proof.public[name] for name in ("old_state", "new_state", "batch")}
    opening = StepOpening(where, shown, kept, replace(state, vector=after, step=state.step + 1))
    known = {f.name: getattr(proof, f.name) for f in fields(proof)}
    return OpenedStepProof(**known, opening=opening)


Commit = Callable[[IntArray], tuple[int, ...]]


def _committer(statement: Halo2TrainingStep, key: Halo2ProvingKey) -> Commit:
    """Return what commits to a vector as the circuit of a key does."""
    if statement.commitments == HASHED:
        return hash_commitment
    longest = max(length for (length,) in statement.layout.inputs.values())
    points = commitment_points(key.folder / SRS_FILE, longest)
    return lambda vector: point_commitment(vector, points)


def initial_model(
    statement: Halo2TrainingStep, key: Halo2ProvingKey, values: Mapping[str, Any]
) -> int:
    """Return the `model` of forks that start from weights with a salt of 0: a public model's name.

    `values` holds weights as `prove_step` takes them.

    Raises InvalidInput as `prove_step` does.
    """
    check_names(statement.version, values, (), ("weights", "bias", "base"))
    salt = np.zeros(statement.layout.salt_limbs, np.int64)
    vector = statement.layout.pack_state(_tensors(statement, values), salt)
    return state_id(_committer(statement, key)(vector))


def _salt(statement: Halo2TrainingStep, values: Mapping[str, Any], name: str) -> IntArray:
    """Return a salt's limbs: those of a given integer, least significant first, or fresh ones."""
    layout = statement.layout
    if name not in values:
        return layout.salt()
    value, bits = values[name], LIMB_BITS * layout.salt_limbs
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise InvalidInput(f"{statement.version}: {name}: expected an integer below 2**{bits}")
    mask = (1 << LIMB_BITS) - 1
    limbs = [value >> (LIMB_BITS * i) & mask for i in range(layout.salt_limbs)]
    return np.array(limbs, np.int64)


def _old_state(
    statement: Halo2TrainingStep, values: Mapping[str, Any], salt: IntArray, commit: Commit
) -> StepState:
    """Return the state that a step starts from: a given one, or a new fork's."""
    where, layout = statement.version, statement.layout
    if "state" in values:
        others = ("weights", "bias", "base", "fork", "secret", "old_salt")
        if both := [name for name in others if name in values]:
            raise InvalidInput(f"{where}: {both[0]}: the state has one already")
        given = values["state"]
        if not isinstance(given, StepState):
            given = StepState.from_json(given, layout, f"{where}: state")
        if given.layout != layout or given.step >= (1 << STEP_BITS) - 1:
            raise InvalidInput(f"{where}: state: of another model than the statement's")
        return given
    secret = field_element(where, "secret", values.get("secret", _drawn_secret()))
    if secret < MIN_SECRET:
        raise InvalidInput(
            f"{where}: secret: below 2**128, so it can be guessed from the user's public name"
        )
    vector = layout.pack_state(_tensors(statement, values), salt)
    fork = field_element(where, "fork", values.get("fork", 0))
    return StepState(layout, vector, state_id(commit(vector)), fork, 0, secret)


def _drawn_secret() -> int:
    return new_secret()


def _tensors(statement: Halo2TrainingStep, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a first state's tensors: the weights given, velocities of zeros."""
    source, layout = statement.source, statement.layout
    if isinstance(source, Head):
        if "weights" not in values:
            raise InvalidInput(f"{statement.version}: missing weights, or a state")
        given = head_tensors(source, values["weights"], values.get("bias"), values.get("base"))
    else:
        own = {name: source.values[name] for name, _ in layout.weights}
        listed = values.get("weights", {})
        if not isinstance(listed, Mapping) or set(listed) - set(own):
            raise InvalidInput(f"{statement.version}: weights: expected {', '.join(own)} by name")
        given = {**own, **listed}
    return {name: given.get(name, np.zeros(shape)) for name, shape in layout.tensors}
