"""From a user's values to a statement's exact integers, with fresh salts where none are given.

Real tensors are quantised at the statement's scales. A name with the suffix `_integers` takes
exact integers instead: `x_integers`, `weights_integers`, `update_integers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zkai.beacon import beacon_values
from zkai.certificate import evaluation_values
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import (
    PublicValues,
    Statement,
)
from zkai.circuit.statements.batch_order import order_values
from zkai.circuit.statements.commitments import PUBLIC_SALT, model_id, new_salt
from zkai.circuit.statements.context import Context
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.fork_terms import TERMS, ForkTerms
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.hashed_input import blinders_name
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.linked import KZG, POSEIDON, LinkedState
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encrypted import encrypted_values, sent_query
from zkai.errors import InvalidInput
from zkai.model.fixed_point import check_width
from zkai.model.head_floats import initial_state
from zkai.model.head_state import HeadState
from zkai.model.heads import Head, LoraHead, SoftmaxHead
from zkai.model.training import learning_rate
from zkai.opening import Opening, UserState, count_openings
from zkai.reader import Reader, as_array, read_beacon, read_dataset, read_terms

ZERO = bytes(32)

Linker = Callable[[LinkedState], int]
"""The link of a state's polynomial."""

LINKING = (TrainingStep, Genesis, ApplyAggregate, Inference, Evaluation, EncryptedUpdate)
"""The statements that can link their states."""

MIN_SECRET = 1 << 128
"""Random secrets are above this but for one in 2**125."""


_HEXADECIMAL = re.compile(r"0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Destination:
    """Where and for whom a proof counts; the default is nowhere in particular.

    `ledger` and `recipient` are 32 bytes, or 0x and hexadecimal digits: 40 of an address, which is
    padded on the left, or 64 of a ledger's id.

    Raises InvalidInput, naming the part, for anything else.
    """

    chain_id: int = 0
    ledger: bytes | str = ZERO
    recipient: bytes | str = ZERO

    def __post_init__(self) -> None:
        for name in ("ledger", "recipient"):
            object.__setattr__(self, name, _word(name, getattr(self, name)))

    def context(self, statement: str, fork: int, step: int, vk_digest: bytes) -> int:
        """Return the public signal `context` of a proof for this destination."""
        ledger, recipient = _word("ledger", self.ledger), _word("recipient", self.recipient)
        context = Context(statement, self.chain_id, ledger, fork, step, recipient, vk_digest)
        return context.signal()


def _word(name: str, value: object) -> bytes:
    if isinstance(value, str) and _HEXADECIMAL.fullmatch(value):
        return bytes.fromhex(value[2:]).rjust(32, b"\0")
    if isinstance(value, bytes) and len(value) == 32:
        return value
    raise InvalidInput(
        f"{name}: expected 32 bytes, or 0x and 40 (an address) or 64 hexadecimal digits"
    )


@dataclass(frozen=True, repr=False)
class Assignment:
    """A statement's integer values, what its public signals must be, and how to open them."""

    values: Mapping[str, Any]
    public: PublicValues
    opening: Opening


def complete(
    statement: Statement,
    values: Mapping[str, Any],
    destination: Destination,
    vk_digest: bytes,
    link: Linker | None = None,
) -> Assignment:
    """Return everything that a proof of `statement` on the user's `values` needs.

    Salts, and the secret of a new user, come from the operating system unless they are given.
    `link` names the commitments to linked states under the proving key's powers of tau.

    Raises InvalidInput, naming the value, for anything missing, unknown, of another shape or type,
    NaN or infinite, or out of range.
    """
    reader = Reader(statement.version, values)
    state: UserState | None
    if isinstance(statement, TrainingStep):
        state, exact = _training_step(statement, reader)
    elif isinstance(statement, SkipStep):
        state, exact = _skip_step(statement, reader)
    elif isinstance(statement, Genesis):
        state, exact = _genesis(statement, reader)
    elif isinstance(statement, ApplyAggregate):
        state, exact = _apply_aggregate(statement, reader)
    elif isinstance(statement, Inference):
        state, exact = _inference(statement, reader)
    elif isinstance(statement, Evaluation):
        state, exact = evaluation_values(statement, reader)
    elif isinstance(statement, Query):
        state, exact = None, _query(statement, reader)
    elif isinstance(statement, EncryptedUpdate):
        state, exact = encrypted_values(statement, reader)
    else:
        raise InvalidInput(f"{type(statement).__name__}: not a statement that can be proven")
    reader.finish()
    fork, step = (0, 0) if state is None else (state.fork, state.step)
    exact["context"] = destination.context(statement.version, fork, step, vk_digest)
    exact |= _links(statement, exact, state, link, reader.has("state"))
    public = statement.public_values(exact)
    if isinstance(statement, Inference):
        return Assignment(exact, public, _tensor_opening(statement, exact, public))
    if isinstance(statement, Evaluation | EncryptedUpdate):
        return Assignment(exact, public, Opening(statement.version, {}, {}))
    if isinstance(statement, Query):
        return Assignment(exact, public, _query_opening(exact, public))
    assert state is not None
    return Assignment(exact, public, _state_opening(statement, exact, public, state))


_OTHER_KIND = "commitment is of the kind {!r}, the statement's weights_commitment {!r}"


def _links(
    statement: Statement,
    exact: Mapping[str, Any],
    state: UserState | None,
    link: Linker | None,
    given: bool,
) -> dict[str, int]:
    """Return the links of a statement's linked states; `given` says that `state` was no new one.

    Raises InvalidInput for a state whose commitment is of the other kind than the statement's, that
    was made under another tau than the key's, or that was opened too often.
    """
    states = statement.linked_states(exact) if isinstance(statement, LINKING) else {}
    known = None if state is None else state.link
    carried = isinstance(statement, SkipStep) and statement.linked
    if known is not None and not states and not carried:
        raise InvalidInput(f"{statement.version}: state: its {_OTHER_KIND.format(KZG, POSEIDON)}")
    if given and known is None and states:
        raise InvalidInput(f"{statement.version}: state: its {_OTHER_KIND.format(POSEIDON, KZG)}")
    if states and link is None:
        raise InvalidInput(f"{statement.version}: linked states need the proving key")
    found = {} if link is None else {name: link(linked) for name, linked in states.items()}
    own = {Inference.version: "state_link"}
    own |= {kind.version: "new_link" for kind in (Evaluation, EncryptedUpdate)}
    name = own.get(statement.version, "old_link")
    if known is not None and found.get(name, known) != known:
        raise InvalidInput(
            f"{statement.version}: state: its link is not that of its values: this key has another"
            " tau (all keys of a history must come from one .ptau), or the state was changed"
        )
    # Nothing hides a public base model, so its openings cost nothing.
    hidden = [found[name] for name, linked in states.items() if linked.salt != PUBLIC_SALT]
    count_openings(statement.version, hidden)
    return found


def _training_step(statement: TrainingStep, reader: Reader) -> tuple[UserState, dict[str, Any]]:
    head, rows = statement.head, statement.steps * statement.batch
    state = _old_state(head, reader)
    if reader.has("learning_rate"):
        rate = reader.take("learning_rate", "a number")
        given = {"learning_rate": learning_rate(head, rate, statement.batch)}
    else:
        given = {}
    if statement.dataset is not None:
        return _ordered_step(statement, reader, state, given)
    exact = _state_values(state) | given
    exact["x"] = reader.tensor("x", head.input_scale_bits, (rows, head.features))
    check_width(exact["x"], head.input_width, "x")
    exact["labels"] = as_array(
        f"{reader.where}: labels", reader.take("labels", f"integers, shape ({rows},)")
    )
    for name in ("new_salt", "batch_salt"):
        exact[name] = reader.element(name, new_salt)
    return state, exact


def _ordered_step(
    statement: TrainingStep, reader: Reader, state: UserState, given: dict[str, Any]
) -> tuple[UserState, dict[str, Any]]:
    """Return a step's values on the rows that its fork's beacon draws from the dataset."""
    terms, state = _terms(reader, state)
    dataset, beacon = read_dataset(reader), read_beacon(reader)
    values = beacon_values(beacon, terms, state.step, statement.steps)
    exact = _state_values(state) | given
    exact |= order_values(dataset, terms, values, state.step, statement.batch)
    del exact["fork"]
    exact["new_salt"] = reader.element("new_salt", new_salt)
    return state, exact


def _skip_step(statement: SkipStep, reader: Reader) -> tuple[UserState, dict[str, Any]]:
    terms, state = _terms(reader, _old_state(statement.head, reader))
    exact = _state_values(state) | {name: getattr(terms, name) for name in TERMS}
    del exact["fork"]
    if not statement.linked:
        exact["new_salt"] = reader.element("new_salt", new_salt)
        return state, exact
    if state.link is None:
        kinds = _OTHER_KIND.format(POSEIDON, KZG)
        raise InvalidInput(f"{reader.where}: state: its {kinds}")
    for name in ("weights", "velocity"):
        exact.pop(name, None)
    # The polynomial's blinders follow from the salt: both stay.
    return state, exact | {"link": state.link, "new_salt": state.salt}


def _terms(reader: Reader, state: UserState) -> tuple[ForkTerms, UserState]:
    """Return the fork's terms, and the state in their fork.

    Raises InvalidInput for a state of another fork.
    """
    terms = read_terms(reader)
    if not (reader.has("state") or reader.has("fork")):
        return terms, replace(state, fork=terms.fork)
    if state.fork != terms.fork:
        raise InvalidInput(f"{reader.where}: terms: not those of the state's fork")
    return terms, state


def _apply_aggregate(statement: ApplyAggregate, reader: Reader) -> tuple[UserState, dict[str, Any]]:
    head = statement.head
    state = _old_state(head, reader)
    exact = _state_values(state)
    exact["update"] = reader.tensor("update", head.weight_scale_bits, head.shape)
    exact["new_salt"] = reader.element("new_salt", new_salt)
    return state, exact


def _genesis(statement: Genesis, reader: Reader) -> tuple[UserState, dict[str, Any]]:
    head = statement.head
    weights = _weights(head, reader)
    salt = reader.element("model_salt", lambda: PUBLIC_SALT)
    exact: dict[str, Any] = {
        "weights": weights.weights,
        "model_salt": salt,
        "fork": _new_fork(reader),
        "secret": _secret(reader),
        "new_salt": reader.element("new_salt", new_salt),
    }
    if weights.frozen is not None:
        exact["frozen"] = weights.frozen
    # Its model is known with the public signals only.
    state = UserState(
        head, weights, 0, exact["fork"], 0, secret=exact["secret"], salt=exact["new_salt"]
    )
    return state, exact


def _new_fork(reader: Reader) -> int:
    """Return a new fork's number: that of its terms, or one that is given."""
    if not reader.has("terms"):
        return reader.element("fork", lambda: 0)
    fork = read_terms(reader).fork
    if reader.element("fork", lambda: fork) != fork:
        raise InvalidInput(f"{reader.where}: fork: another than the terms'")
    return fork


def _weights(head: Head, reader: Reader) -> HeadState:
    """Return base weights with zero velocity, from real numbers or integers.

    Real weights: of a SoftmaxHead (features, classes) and a bias; of other heads lists of pairs,
    as `initial_state` takes them, with `base` for frozen weights.
    """
    frozen = None
    if reader.has("weights_integers"):
        integers = reader.tensor("weights", head.weight_scale_bits, head.shape)
        check_width(integers, head.weight_width, "weights_integers")
        if head.frozen_size:
            frozen = reader.tensor("base", head.weight_scale_bits, (head.frozen_size,))
            check_width(frozen, head.weight_width, "base_integers")
        return HeadState(integers, np.zeros_like(integers) if head.has_velocity else None, frozen)
    weights = reader.take("weights", _layout(head))
    if not isinstance(head, SoftmaxHead):
        base = None
        if head.frozen_size:
            base = reader.take("base", "a list of (weight, bias) pairs, the frozen layers")
        return initial_state(head, weights, base=base)
    bias = None
    if reader.has("bias"):
        bias = as_array(f"{reader.where}: bias", reader.take("bias", "real numbers"))
    return initial_state(head, as_array(f"{reader.where}: weights", weights), bias)


def _layout(head: Head) -> str:
    """Return what real weights of a head look like."""
    if isinstance(head, SoftmaxHead):
        return f"real numbers, shape {(head.features, head.classes)}"
    if isinstance(head, LoraHead):
        return "a list of (A, B) pairs, one for each adapted layer"
    return "a list of (weight, bias) pairs, one for each layer, as torch's Linear keeps them"


def _secret(reader: Reader) -> int:
    """Return the user's secret, drawn at random unless it is given.

    Raises InvalidInput for one so small that it cannot have been drawn at random: the user's
    public name is its unsalted hash, which anyone can compare with guesses.
    """
    secret = reader.element("secret", new_salt)
    if secret < MIN_SECRET:
        raise InvalidInput(
            f"{reader.where}: secret: below 2**128, so it can be guessed from the user's public"
            " name; draw one at random (secrets.randbits(253)), or leave it out"
        )
    return secret


def _old_state(head: Head, reader: Reader) -> UserState:
    """Return the state that a step starts from: a given one, or a new fork's from weights."""
    if reader.has("state"):
        value = reader.take("state", "a state")
        if not isinstance(value, UserState):
            value = UserState.from_json(value, head, f"{reader.where}: state")
        if value.head != head:
            raise InvalidInput(f"{reader.where}: state: of another head than the statement's")
        return value
    if not (reader.has("weights") or reader.has("weights_integers")):
        raise InvalidInput(
            f"{reader.where}: missing state (of an earlier proof's opening), or weights"
            f" ({_layout(head)}) to start a fork from"
        )
    weights = _weights(head, reader)
    model = reader.element("model", lambda: model_id(head, weights.weights, frozen=weights.frozen))
    return UserState(
        head,
        weights,
        model,
        fork=reader.element("fork", lambda: 0),
        step=0,
        secret=_secret(reader),
        salt=reader.element("old_salt", new_salt),
    )


def _state_values(state: UserState) -> dict[str, Any]:
    values: dict[str, Any] = {
        "weights": state.values.weights,
        "model": state.model,
        "fork": state.fork,
        "step": state.step,
        "secret": state.secret,
        "old_salt": state.salt,
    }
    if state.values.velocity is not None:
        values["velocity"] = state.values.velocity
    if state.values.frozen is not None:
        values["frozen"] = state.values.frozen
    return values


def _inference(statement: Inference, reader: Reader) -> tuple[UserState | None, dict[str, Any]]:
    graph, state = statement.graph, None
    exact: dict[str, Any] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        signal = "input" if len(graph.inputs) == 1 else f"input.{name}"
        given = signal if reader.has(signal) or reader.has(f"{signal}_integers") else name
        if not (reader.has(given) or reader.has(f"{given}_integers")):
            given = signal
        exact[signal] = reader.tensor(given, tensor.scale_bits, tensor.shape)
        check_width(exact[signal], tensor.width, given)
    if statement.head is not None:
        state = _old_state(statement.head, reader)
        values = _state_values(state)
        exact["state_salt"] = values.pop("old_salt")
        del values["secret"]
        exact |= {**values, "user": state.user}
    for name in statement.salts:
        if name != "state_salt":
            exact[name] = reader.element(name, new_salt)
    for signal in statement.blinded:
        name = blinders_name(signal)
        exact[name] = reader.take(name, f"{statement.blinders} field elements")
    return state, exact


def _query(statement: Query, reader: Reader) -> dict[str, Any]:
    x = reader.tensor("input", statement.scale_bits, statement.shape)
    check_width(x, statement.width, "input")
    return {
        "input": x,
        "norm_bound": reader.element("norm_bound", lambda: statement.largest_norm),
        "input_salt": reader.element("input_salt", new_salt),
        **({} if statement.encryption is None else sent_query(statement, reader)),
    }


def _query_opening(exact: Mapping[str, Any], public: PublicValues) -> Opening:
    """Return what opens a query's commitment."""
    commitment = public["input"]
    assert isinstance(commitment, int)
    return Opening(Query.version, {"input": commitment}, {"input_salt": exact["input_salt"]})


def _tensor_opening(
    statement: Inference, exact: Mapping[str, Any], public: PublicValues
) -> Opening:
    """Return what opens an inference's committed tensors."""
    salts = {name: exact[name] for name in statement.salts}
    names = [name.removesuffix("_salt") for name in statement.salts]
    shown = {name: value for name in names if isinstance(value := public[name], int)}
    return Opening(statement.version, shown, salts)


def _state_opening(
    statement: TrainingStep | SkipStep | Genesis | ApplyAggregate,
    exact: Mapping[str, Any],
    public: PublicValues,
    old: UserState,
) -> Opening:
    """Return what opens the proof's commitments, the new state included."""
    steps = {TrainingStep: getattr(statement, "steps", 0), ApplyAggregate: 1, SkipStep: 1}
    skipped = isinstance(statement, SkipStep)
    model = exact["model"] if "model" in exact else public["model"]
    assert isinstance(model, int)
    new = replace(
        old,
        values=old.values if isinstance(statement, SkipStep) else statement.new_state(exact),
        step=old.step + steps.get(type(statement), 0),
        salt=exact["new_salt"],
        model=model,
        link=old.link if skipped else exact.get("new_link"),
    )
    salts = {name: exact[name] for name in _SALTS if name in exact}
    shown = {n: value for n in _COMMITMENTS if isinstance(value := public.get(n), int)}
    return Opening(
        statement.version, {n: v for n, v in shown.items() if isinstance(v, int)}, salts, new
    )


_SALTS = ("model_salt", "old_salt", "new_salt", "batch_salt")
_COMMITMENTS = ("model", "user", "old_state", "new_state", "batch")
