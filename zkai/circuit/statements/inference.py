"""inference/1: y = f(x) for an integer model.

Specified in circuits/inference/README.md; its arithmetic is zkai.model.quantize.forward's, bit by
bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import maximum
from zkai.circuit.gadgets.packing import pack, packed_length
from zkai.circuit.gadgets.range import check_range, check_signed, signed_bound
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments, linked
from zkai.circuit.statements.base import (
    COMMIT,
    PLAIN,
    STEP_BITS,
    Format,
    PublicValues,
    bind_context,
    check_format,
    check_head,
    check_names,
    describe_format,
    field_element,
    int_tensor,
    integer,
)
from zkai.circuit.statements.bound_head import BoundHead, find_head
from zkai.circuit.statements.hashed_input import (
    HASHED,
    blinders_name,
    check_blinders,
    hashed_gadget,
    hashed_signal,
    read_blinders,
)
from zkai.circuit.statements.integer_graph import constrain_graph
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    held_elements,
)
from zkai.circuit.statements.visibility import resolve, signal_name
from zkai.circuit.tensor import Field, Ints, Tensor, as_tensor
from zkai.encoding import FIELD_MODULUS, from_limbs, hex32, keccak256
from zkai.errors import InvalidInput
from zkai.model import quantize
from zkai.model.head_state import HeadState
from zkai.model.heads import Head
from zkai.model.quant_graph import QuantGraph

VERSION = "inference/1"

WEIGHTS = "weights"
"""The signal that commits to all committed parameters, in the graph's order."""

LINKS = ("state_link",)

STATE_SIGNALS = ("state", "user", "model", "fork", "step")


@dataclass(frozen=True, eq=False)
class Inference:
    """Prove the outputs of an integer model for one input.

    `visibility` maps tensors to who sees them. Names are tensors' names, or "input", "output" and
    "weights" for all of a kind; a tensor's own name wins.

    - inputs: committed (the default), public, or hashed: by the hash of a Halo2 proof's tensor,
      with `blinders` elements after it (hashed_input.py);
    - outputs: public (the default), committed, or argmax: only the index of the largest entry
      along the last axis is public, the lowest on a tie;
    - parameters: constant (the default: part of the circuit), committed (one commitment over all
      of them), public, or state: the weight and bias of the linear layer that is `head`, opened
      from a training state's commitment.

    With weights_commitment "kzg" that state is a linked polynomial (linked.py).

    Raises InvalidInput for an unknown name or choice, or a graph that does not hold the head.
    """

    graph: QuantGraph
    visibility: Mapping[str, str] = field(default_factory=dict)
    head: Head | None = None
    format: Format = PLAIN
    weights_commitment: WeightsCommitment = POSEIDON
    blinders: int = 0
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        linked.check_weights_commitment(VERSION, self.weights_commitment, self.format)
        if self.weights_commitment == KZG and self.head is None:
            raise InvalidInput(f"{VERSION}: weights_commitment {KZG!r} is of a head's state")
        if self.head is not None:
            check_head(VERSION, self.head)
        chosen = resolve(self.graph, self.visibility)
        object.__setattr__(self, "visibility", MappingProxyType(chosen))
        check_blinders(VERSION, self.blinders, chosen)
        if bool(self.parameters("state")) != (self.head is not None):
            raise InvalidInput(f"{VERSION}: a head and visibility 'state' come together")
        _ = self.bound_head

    @property
    def links(self) -> tuple[str, ...]:
        """The signal that names the linked state."""
        return LINKS if self.weights_commitment == KZG else ()

    def parameters(self, choice: str) -> list[str]:
        """Return the names of the parameters of one visibility, in the graph's order."""
        return [name for name in self.graph.parameters if self.visibility[name] == choice]

    @cached_property
    def bound_head(self) -> BoundHead | None:
        """The parameters that come from a training state."""
        if self.head is None:
            return None
        return find_head(self.graph, self.head, self.parameters("state"))

    @property
    def salts(self) -> tuple[str, ...]:
        """The names of the salts that `assign` needs, in the order of their commitments."""
        names = [
            f"{signal_name(self.graph, name)}_salt"
            for name in (*self.graph.inputs, *self.graph.outputs)
            if self.visibility[name] == "committed"
        ]
        names += ["weights_salt"] if self.parameters("committed") else []
        return (*names, "state_salt") if self.head else tuple(names)

    @property
    def blinded(self) -> tuple[str, ...]:
        """The signals of inputs whose hash takes blinders."""
        hashed = [name for name in self.graph.inputs if self.visibility[name] == HASHED]
        return tuple(signal_name(self.graph, name) for name in hashed if self.blinders)

    def input_name(self, name: str) -> str:
        """Return the circuit's input for a graph's input: its signal, or private values."""
        signal = signal_name(self.graph, name)
        return signal if self.visibility[name] == "public" else f"{signal}_values"

    @cached_property
    def _circuit(self) -> Circuit:
        return _build(self)

    def build(self) -> Circuit:
        """Return the statement's circuit, built once."""
        return self._circuit

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON; constants by their digest."""
        constants = b"".join(
            self.graph.values[name].astype("<i8").tobytes() for name in self.parameters("constant")
        )
        description: dict[str, Any] = {
            "statement": VERSION,
            "graph": self.graph.describe(),
            "visibility": [[name, choice] for name, choice in self.visibility.items()],
            "constants": hex32(keccak256(constants)),
            "head": None if self.head is None else self.head.describe(),
        }
        description |= linked.describe_weights(self.weights_commitment)
        description |= {"blinders": self.blinders} if self.blinders else {}
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: each graph input's integers under its signal's name ("input" if there is one);
        the field elements context and `salts`; `<signal>_blinders` of each of `blinded`, a list of
        field elements. With a head also its state: user, model, fork,
        step, velocity where it has momentum, and weights (features + 1, classes), by default the
        graph's; where the state is linked, state_link, the link of `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        graph = self.graph
        state = [] if self.head is None else ["user", "model", "fork", "step", *self.links]
        if self.head is not None and self.head.momentum:
            state.append("velocity")
        signals = {name: signal_name(graph, name) for name in graph.inputs}
        hidden = [blinders_name(signal) for signal in self.blinded]
        required = [*signals.values(), *self.salts, *hidden, "context", *state]
        check_names(VERSION, values, required, [] if self.head is None else ["weights"])
        result: dict[str, Any] = {}
        for name, signal in signals.items():
            tensor = graph.tensors[name]
            limits = signed_bound(tensor.width)
            array = int_tensor(VERSION, signal, values[signal], tensor.shape, *limits)
            result[self.input_name(name)] = array
        for name in self.parameters("committed"):
            result[f"parameter.{name}"] = graph.values[name]
        for name in self.parameters("public"):
            result[signal_name(graph, name)] = graph.values[name]
        for name in (*self.salts, "context"):
            result[name] = field_element(VERSION, name, values[name])
        for signal in self.blinded:
            name = blinders_name(signal)
            result[name] = read_blinders(VERSION, signal, values[name], self.blinders)
        result |= self._assign_state(values)
        for name, polynomial in self.linked_states(values).items():
            result[linked.blinders_name(name)] = polynomial.blinders
        return result

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return the state where it is linked; `values` may lack the link."""
        if not self.links:
            return {}
        salt = field_element(VERSION, "state_salt", values["state_salt"])
        return {LINKS[0]: LinkedState.of(self._state(values), salt)}

    def _assign_state(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if self.head is None:
            return {}
        state = self._state(values)
        result: dict[str, Any] = {"head_weights": state.weights}
        if state.velocity is not None:
            packed = from_limbs(pack(state.velocity, commitments.VELOCITY_BITS))
            result["head_velocity"] = state.velocity if self.links else packed
        result["step"] = integer(VERSION, "step", values["step"], 0, (1 << STEP_BITS) - 1)
        names = ("user", "model", "fork", *self.links)
        return result | {name: field_element(VERSION, name, values[name]) for name in names}

    def _state(self, values: Mapping[str, Any]) -> HeadState:
        head, bound = self.head, self.bound_head
        assert head is not None
        assert bound is not None
        given = values.get("weights", bound.weights(self.graph.values))
        limits = signed_bound(head.weight_width)
        weights = int_tensor(VERSION, "weights", given, head.shape, *limits)
        if not head.has_velocity:
            return HeadState(weights)
        limits = signed_bound(commitments.VELOCITY_BITS)
        velocity = int_tensor(VERSION, "velocity", values["velocity"], head.shape, *limits)
        return HeadState(weights, velocity)

    def outputs(self, values: Mapping[str, Any]) -> dict[str, Ints]:
        """Return the graph's outputs by the integer reference, by tensor name.

        Raises InvalidInput as `assign` does, and naming the tensor if a value overflows.
        """
        given, graph = self.assign(values), self.graph
        if self.bound_head is not None:
            head = self.bound_head.parameters(given["head_weights"])
            graph = replace(graph, values={**graph.values, **head})
        inputs = {name: given[self.input_name(name)] for name in graph.inputs}
        tensors = quantize.forward(graph, inputs)
        return {name: tensors[name][0] for name in graph.outputs}

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given, graph = self.assign(values), self.graph
        tensors = {name: given[self.input_name(name)] for name in graph.inputs}
        tensors |= self.outputs(values)
        result: PublicValues = {}
        for name, tensor in tensors.items():
            signal, width = signal_name(graph, name), graph.tensors[name].width
            if self.visibility[name] == "committed":
                salt = given[f"{signal}_salt"]
                result[signal] = commitments.tensor_commitment([(tensor, width)], salt)
            elif self.visibility[name] == HASHED:
                result[signal] = hashed_signal(tensor, given.get(blinders_name(signal), ()))
            else:
                shown = tensor.argmax(-1) if self.visibility[name] == "argmax" else tensor
                result[signal] = _elements(shown)
        if committed := self.parameters("committed"):
            pairs = [(graph.values[n], graph.tensors[n].width) for n in committed]
            result[WEIGHTS] = commitments.tensor_commitment(pairs, given["weights_salt"])
        for name in self.parameters("public"):
            result[signal_name(graph, name)] = _elements(graph.values[name])
        if self.head is not None:
            names = {n: given[n] for n in ("user", "model", "fork")}
            state, step = self._state(values), given["step"]
            commitment = linked.bound_commitment(self.head, given, names, state, "state", step)
            result |= {"state": commitment, **names, "step": step}
        links = {name: given[name] for name in self.links}
        return {**result, "context": given["context"], **links}


def _elements(values: Ints) -> int | list[int]:
    elements = [int(v) % FIELD_MODULUS for v in values.ravel()]
    return elements[0] if len(elements) == 1 else elements


# The circuit ----------------------------------------------------------------------------------


def _build(statement: Inference) -> Circuit:
    links = len(statement.links)
    builder = Builder(VERSION, commit=statement.format == COMMIT, links=links)
    graph = statement.graph
    public = _declare_public(builder, statement)
    bind_context(builder, public["context"])
    tensors: dict[str, Tensor] = {}
    for name in graph.inputs:
        with builder.at(name):
            tensors[name] = _input(builder, statement, name, public[signal_name(graph, name)])
    tensors |= _parameters(builder, statement, public)
    if statement.head is not None:
        tensors |= _open_state(builder, statement, statement.head, public)
    for name, tensor in constrain_graph(builder, graph, tensors).items():
        with builder.at(f"{name} (output)"):
            _output(builder, statement, name, tensor, public[signal_name(graph, name)])
    return builder.build()


def _declare_public(builder: Builder, statement: Inference) -> dict[str, Any]:
    graph = statement.graph
    public: dict[str, Any] = {}
    for name in (*graph.inputs, *graph.outputs):
        signal, shape = signal_name(graph, name), graph.tensors[name].shape
        if statement.visibility[name] in ("committed", HASHED):
            public[signal] = builder.public_field(signal)
        else:
            shown = shape[:-1] if statement.visibility[name] == "argmax" else shape
            public[signal] = builder.public_int(signal, shown)
    if statement.parameters("committed"):
        public[WEIGHTS] = builder.public_field(WEIGHTS)
    for name in statement.parameters("public"):
        signal = signal_name(graph, name)
        public[signal] = builder.public_int(signal, graph.tensors[name].shape)
    if statement.head is not None:
        public |= {name: builder.public_field(name) for name in STATE_SIGNALS[:-1]}
        public["step"] = builder.public_int("step")
    public["context"] = builder.public_field("context")
    return public | declare_links(builder, statement.links)


def _input(builder: Builder, statement: Inference, name: str, signal: Any) -> Tensor:
    tensor = statement.graph.tensors[name]
    if (choice := statement.visibility[name]) == "public":
        return check_signed(builder, signal, tensor.width, name)
    values = builder.private_int(statement.input_name(name), tensor.shape)
    values = check_signed(builder, values, tensor.width, name)
    shown = signal_name(statement.graph, name)
    if choice == HASHED:
        builder.bind_public(signal, hashed_gadget(builder, values, shown, statement.blinders))
        return values
    salt = builder.private_field(f"{shown}_salt")
    builder.bind_public(signal, commitments.tensor_gadget(builder, [(values, tensor.width)], salt))
    return values


def _parameters(
    builder: Builder, statement: Inference, public: Mapping[str, Any]
) -> dict[str, Tensor]:
    graph = statement.graph
    tensors = {name: as_tensor(graph.values[name]) for name in statement.parameters("constant")}
    for name in statement.parameters("public"):
        with builder.at(name):
            signal = public[signal_name(graph, name)]
            tensors[name] = check_signed(builder, signal, graph.tensors[name].width, name)
    committed = statement.parameters("committed")
    for name in committed:
        with builder.at(name):
            tensor = graph.tensors[name]
            values = builder.private_int(f"parameter.{name}", tensor.shape)
            tensors[name] = check_signed(builder, values, tensor.width, name)
    if committed:
        with builder.at("weights"):
            pairs = [(tensors[name], graph.tensors[name].width) for name in committed]
            salt = builder.private_field("weights_salt")
            commitment = commitments.tensor_gadget(builder, pairs, salt)
            builder.bind_public(public[WEIGHTS], commitment)
    return tensors


def _carried_velocity(builder: Builder, head: Head) -> list[Field]:
    if not head.has_velocity:
        return []
    n = packed_length(prod(head.shape), commitments.VELOCITY_BITS)
    return [builder.private_field("head_velocity", n)]


def _open_state(
    builder: Builder, statement: Inference, head: Head, public: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the head's weight and bias, opened from the state's commitment."""
    bound = statement.bound_head
    assert bound is not None
    with builder.at("state"):
        weights = builder.private_int("head_weights", head.shape)
        weights = check_signed(builder, weights, head.weight_width, "weights")
        velocity = None
        if head.has_velocity and statement.links:
            velocity = builder.private_int("head_velocity", head.shape)
        links = {name: public[name] for name in statement.links}
        state = weights, velocity, None
        held, label = held_elements(
            builder, head, "state", links, state, lambda: _carried_velocity(builder, head)
        )
        step = check_range(builder, public["step"], 0, (1 << STEP_BITS) - 1)
        names = {name: public[name] for name in ("model", "fork", "user")}
        commitments.bind_state(
            builder,
            head,
            public["state"],
            held,
            step=step,
            salt="state_salt",
            label=label,
            **names,
        )
    return bound.tensors(weights)


def _output(builder: Builder, statement: Inference, name: str, tensor: Tensor, signal: Any) -> None:
    choice, width = statement.visibility[name], statement.graph.tensors[name].width
    if choice == "committed":
        salt = builder.private_field(f"{signal_name(statement.graph, name)}_salt")
        value: Tensor | Field = commitments.tensor_gadget(builder, [(tensor, width)], salt)
    elif choice == "argmax":
        value = maximum(builder, tensor).index
    else:
        value = tensor
    builder.bind_public(signal, value)
