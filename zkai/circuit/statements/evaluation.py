"""evaluation/1: whether a later state of a fork answers more of a stranger's questions correctly.

Specified in circuits/evaluation/README.md. Answers are zkai.model.training.predict's, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any, ClassVar

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.compare import is_at_least
from zkai.circuit.gadgets.correct import correct_rows
from zkai.circuit.gadgets.draw import draw_gadget
from zkai.circuit.gadgets.freivalds import PAIR_BITS, products
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
from zkai.circuit.statements.batch_order import elements
from zkai.circuit.statements.dataset import DatasetShape, check_shape, leaves_gadget
from zkai.circuit.statements.evaluation_set import PARTS, check_part, set_commitment, set_gadget
from zkai.circuit.statements.fork_terms import ROUND_BITS
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    hold_state,
)
from zkai.circuit.statements.network import forward, network_of
from zkai.circuit.tensor import Field, Tensor, concat, concat_fields
from zkai.encoding import from_limbs
from zkai.errors import InvalidInput
from zkai.model.fixed_point import LOG2_E_NUMERATOR
from zkai.model.head_state import HeadState
from zkai.model.heads import Head, SoftmaxHead
from zkai.model.training import predict

VERSION = "evaluation/1"
MAX_SAMPLES = 1 << 16

SIDES = ("old", "new")
LINKS = ("old_link", "new_link")
GIVEN_PARTS = ("root", "size", "owner")
FIELD_INPUTS = ("model", "fork", "context", "secret", "old_salt", "new_salt", "beacon")


@dataclass(frozen=True)
class Evaluation:
    """Prove whether a fork's new state is right on `margin` samples more than an old one.

    The samples are drawn by a beacon's round from an evaluation set that somebody else has
    committed to. One bit is public, and nothing else about answers.

    With weights_commitment "kzg" both states are linked polynomials (linked.py).

    Raises InvalidInput for sizes out of range, or samples that leaves do not divide.
    """

    head: Head
    samples: int
    dataset: DatasetShape
    format: Format = PLAIN
    weights_commitment: WeightsCommitment = POSEIDON
    version: ClassVar[str] = VERSION
    salts: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        linked.check_weights_commitment(VERSION, self.weights_commitment, self.format)
        check_head(VERSION, self.head)
        integer(VERSION, "samples", self.samples, 1, MAX_SAMPLES)
        check_shape(VERSION, self.dataset)
        self.dataset.leaves(f"{VERSION}: samples", self.samples)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.samples, self.dataset, self.format, self.links)

    @property
    def links(self) -> tuple[str, ...]:
        """The signals that name linked states."""
        return LINKS if self.weights_commitment == KZG else ()

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {
            "statement": VERSION,
            "head": self.head.describe(),
            "samples": self.samples,
            "dataset": asdict(self.dataset),
        }
        description |= linked.describe_weights(self.weights_commitment)
        return description | describe_format(self.format)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: old_weights and new_weights, with momentum old_velocity and new_velocity, and
        frozen where the head has such weights; old_step and step; the samples' x (samples,
        features), labels, leaf_salts and paths; the set's root, size and owner; margin and
        beacon_round; and the field elements beacon, model, fork, context, secret, old_salt,
        new_salt. With linked states also old_link and new_link, the links of `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        inputs = self._given(values, self.links)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in self.links}
        for name, state in self.linked_states(values).items():
            inputs[linked.blinders_name(name)] = state.blinders
        return inputs

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return both states where they are linked; `values` may lack the links."""
        if not self.links:
            return {}
        salts = [self._given(values)[f"{side}_salt"] for side in SIDES]
        states = zip(self.states(values).values(), salts, strict=True)
        return {n: LinkedState.of(*state) for n, state in zip(LINKS, states, strict=True)}

    def _given(self, values: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
        """Return the circuit's inputs but links and blinders."""
        head, shape = self.head, self.dataset
        numbers = ("old_step", "step", "margin", "beacon_round")
        lists = {"leaf_salts": shape.leaves(VERSION, self.samples)}
        lists["paths"] = lists["leaf_salts"] * shape.path_length
        limits = self._limits()
        known = [*required, *limits, *numbers, *lists, *GIVEN_PARTS, *FIELD_INPUTS]
        check_names(VERSION, values, known, self.links)
        inputs: dict[str, Any] = {
            name: int_tensor(VERSION, name, values[name], *limit) for name, limit in limits.items()
        }
        for side in SIDES if head.has_velocity and not self.links else ():
            velocity = inputs[f"{side}_velocity"]
            inputs[f"{side}_velocity"] = from_limbs(pack(velocity, commitments.VELOCITY_BITS))
        last = (1 << STEP_BITS) - 1
        inputs["step"] = integer(VERSION, "step", values["step"], 1, last)
        inputs["old_step"] = integer(VERSION, "old_step", values["old_step"], 0, inputs["step"] - 1)
        inputs["margin"] = integer(VERSION, "margin", values["margin"], 0, self.samples)
        top = (1 << ROUND_BITS + 1) - 1
        inputs["beacon_round"] = integer(VERSION, "beacon_round", values["beacon_round"], 0, top)
        parts = {name: check_part(VERSION, name, values[name]) for name in GIVEN_PARTS}
        size = parts.pop("size")
        if shape.leaves(f"{VERSION}: size", size) > 1 << shape.depth:
            raise InvalidInput(f"{VERSION}: size: more rows than a tree of depth {shape.depth}")
        inputs |= parts | {"leaves": size // shape.rows_per_leaf}
        inputs |= {n: elements(VERSION, n, values[n], length) for n, length in lists.items()}
        return inputs | {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}

    def _limits(self) -> dict[str, tuple[tuple[int, ...], int, int]]:
        head = self.head
        weights = (head.shape, *signed_bound(head.weight_width))
        limits = {f"{side}_weights": weights for side in SIDES}
        if head.has_velocity:
            velocity = (head.shape, *signed_bound(commitments.VELOCITY_BITS))
            limits |= {f"{side}_velocity": velocity for side in SIDES}
        if head.frozen_size:
            limits["frozen"] = ((head.frozen_size,), *signed_bound(head.weight_width))
        limits["x"] = ((self.samples, head.features), *signed_bound(head.input_width))
        limits["labels"] = ((self.samples,), 0, head.classes - 1)
        return limits

    def states(self, values: Mapping[str, Any]) -> dict[str, HeadState]:
        """Return the old and the new state."""
        self._given(values)

        def tensor(name: str) -> Any:
            return None if name not in values else np.asarray(values[name], np.int64)

        return {
            side: HeadState(tensor(f"{side}_weights"), tensor(f"{side}_velocity"), tensor("frozen"))
            for side in SIDES
        }

    def correct(self, values: Mapping[str, Any]) -> dict[str, int]:
        """Return how many samples the old and the new state answer correctly."""
        given = self.assign(values)
        return {
            side: int((predict(self.head, state, given["x"]) == given["labels"]).sum())
            for side, state in self.states(values).items()
        }

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given, counts = self.assign(values), self.correct(values)
        user = commitments.user_commitment(given["secret"])
        names = {"model": given["model"], "fork": given["fork"], "user": user}
        steps = {"old": given["old_step"], "new": given["step"]}
        parts = {name: values[name] for name in GIVEN_PARTS}
        schema = self.dataset.schema(self.head).digest
        signals: PublicValues = {
            f"{side}_state": linked.bound_commitment(
                self.head, given, names, state, side, steps[side]
            )
            for side, state in self.states(values).items()
        }
        return signals | {
            "evaluation_set": set_commitment(parts | {"schema": schema}),
            "beacon": given["beacon"],
            "beacon_round": given["beacon_round"],
            "improved": int(counts["new"] >= counts["old"] + given["margin"]),
            "margin": given["margin"],
            "user": user,
            "model": given["model"],
            "fork": given["fork"],
            "old_step": given["old_step"],
            "step": given["step"],
            "context": given["context"],
            **{name: given[name] for name in self.links},
        }


@lru_cache(maxsize=4)
def _build(
    head: Head,
    samples: int,
    shape: DatasetShape,
    proof_format: Format,
    links: tuple[str, ...],
) -> Circuit:
    builder = Builder(VERSION, commit=proof_format == COMMIT, links=len(links))
    states = {side: builder.public_field(f"{side}_state") for side in SIDES}
    set_signal, beacon = builder.public_field("evaluation_set"), builder.public_field("beacon")
    round_number, improved = builder.public_int("beacon_round"), builder.public_int("improved")
    margin, user_signal = builder.public_int("margin"), builder.public_field("user")
    model, fork = builder.public_field("model"), builder.public_field("fork")
    steps = {"old": builder.public_int("old_step"), "new": builder.public_int("step")}
    context, link_signals = builder.public_field("context"), declare_links(builder, links)
    bind_context(builder, context)

    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("numbers"):
        last = (1 << STEP_BITS) - 1
        steps = {side: check_range(builder, step, 0, last) for side, step in steps.items()}
        later = steps["new"] - steps["old"]
        check_range(builder, Tensor((), later.rows, None), 1, 1 << STEP_BITS, rule="later step")
        margin = check_range(builder, margin, 0, (1 << samples.bit_length()) - 1)
    weights, frozen = _bind_states(
        builder, head, states, link_signals, steps, {"model": model, "fork": fork, "user": user}
    )
    with builder.at("samples"):
        x = builder.private_int("x", (samples, head.features))
        x = check_signed(builder, x, head.input_width, "x")
        labels = builder.private_int("labels", (samples,))
        # A label beyond the classes is no class's: a row that nobody gets right.
        labels = check_range(builder, labels, 0, (1 << (head.classes - 1).bit_length()) - 1)
        _bind_samples(builder, head, shape, set_signal, (beacon, round_number), x, labels)
    scaled = _scaled_sums(builder, head, weights, x, frozen)
    counts = {}
    for side in SIDES:
        with builder.at(f"{side} answers"):
            shift, sa = head.logit_shift, head.logit_scale_bits
            name = f"logits of the {side} state"
            counts[side] = correct_rows(builder, scaled[side], labels, shift, sa, name).sum(0)
    with builder.at("improved"):
        better = is_at_least(builder, counts["new"], counts["old"] + margin)
        builder.bind_public(improved, better.reshape())
    return builder.build()


def _carried(builder: Builder, name: str, n: int) -> list[Field]:
    return [builder.private_field(name, n)] if n else []


def _bind_states(
    builder: Builder,
    head: Head,
    signals: Mapping[str, Field],
    links: Mapping[str, Field],
    steps: Mapping[str, Tensor],
    names: Mapping[str, Field],
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Open both states; return their weights, and the frozen ones that they share."""
    frozen, digest = None, None
    if head.frozen_size:
        with builder.at("frozen weights"):
            frozen = builder.private_int("frozen", (head.frozen_size,))
            frozen = check_signed(builder, frozen, head.weight_width, "frozen")
            digest = commitments.frozen_gadget(builder, head, frozen)
    n = packed_length(prod(head.shape), commitments.VELOCITY_BITS) if head.has_velocity else 0
    found = {}
    for side in SIDES:
        with builder.at(f"{side} state"):
            weights = builder.private_int(f"{side}_weights", head.shape)
            weights = check_signed(builder, weights, head.weight_width, f"{side}_weights")
            # Whatever velocity the state holds: it has no part in answers.
            velocity = None
            if n and links:
                velocity = builder.private_int(f"{side}_velocity", head.shape)
            carried = partial(_carried, builder, f"{side}_velocity", n)
            state = weights, velocity, digest
            hold_state(
                builder, head, side, signals[side], links, state, steps[side], names, carried
            )
            found[side] = weights
    return found, frozen


def _bind_samples(
    builder: Builder,
    head: Head,
    shape: DatasetShape,
    signal: Field,
    drawn_by: tuple[Field, Tensor],
    x: Tensor,
    labels: Tensor,
) -> None:
    """Prove that the samples are those that the beacon's round draws from the committed set."""
    with builder.at("set"):
        parts = {n: builder.private_field(n) for n in PARTS if n in ("root", "owner")}
        leaves = check_range(builder, builder.private_int("leaves"), 1, 1 << shape.depth)
        parts["size"] = builder.to_field(leaves * shape.rows_per_leaf)
        parts["schema"] = builder.constant_field([shape.schema(head).digest])
        commitment = set_gadget(builder, parts)
        builder.bind_public(signal, commitment)
    with builder.at("order"):
        beacon, round_number = drawn_by
        seed = concat_fields([beacon, builder.to_field(round_number), commitment])
        count = x.shape[0] // shape.rows_per_leaf
        bits = draw_gadget(builder, seed, count, leaves, shape.depth)
    with builder.at("membership"):
        leaves_gadget(builder, shape, head, x, labels, parts["root"], bits)


def _scaled_sums(
    builder: Builder,
    head: Head,
    weights: Mapping[str, Tensor],
    x: Tensor,
    frozen: Tensor | None,
) -> dict[str, Tensor]:
    """Return 369 acc (samples, classes) of the last layer for both states.

    With a commitment round, softmax regression multiplies x by both states' weights at once, two
    rows of x as one; `correct_rows` proves the bound that this needs, of 369 x w and the biases.
    """
    # What is left of that bound without the biases must stay below 2^58.
    largest_bias = LOG2_E_NUMERATOR << (head.input_scale_bits + head.weight_width - 1)
    pairs = min(x.shape[0] - 1, x.shape[1]) > 1 and largest_bias < 1 << (PAIR_BITS - 3)
    if builder.commit and isinstance(head, SoftmaxHead) and pairs:
        both = concat([weights[side][:-1] for side in SIDES], axis=1)
        with builder.at("logits"):
            sums = products(builder).paired(x, both, LOG2_E_NUMERATOR)
        parts = {"old": sums[:, : head.classes], "new": sums[:, head.classes :]}
        one = 1 << head.input_scale_bits
        found = {}
        for side, part in parts.items():
            bias = Tensor((1, head.classes), weights[side][-1].rows, None)
            found[side] = (part + bias * one) * LOG2_E_NUMERATOR
        return found
    found = {}
    for side in SIDES:
        with builder.at(f"{side} network"):
            network = network_of(builder, head, weights[side], frozen)
            found[side] = forward(network, x).scaled
    return found
