"""encrypted_update/1: a ciphertext holds exactly the update from one state of a fork to another.

Specified in circuits/encrypted_update/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any, ClassVar

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.norm import sum_of_squares
from zkai.circuit.gadgets.packing import pack, packed_length
from zkai.circuit.gadgets.range import check_range, check_signed, signed_bound
from zkai.circuit.polynomial import checked_elements
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments, linked
from zkai.circuit.statements.base import (
    COMMIT,
    STEP_BITS,
    Format,
    PublicValues,
    bind_context,
    check_head,
    check_names,
    describe_format,
    field_element,
    int_tensor,
    integer,
)
from zkai.circuit.statements.ciphertext_witness import paired, witness
from zkai.circuit.statements.encrypted import (
    CARRIES,
    CIPHERTEXT,
    HIGH,
    KEY,
    LOW,
    RANDOMNESS,
    TERNARY_COLUMNS,
    ciphertext,
    public_polynomials,
)
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.linked import (
    KZG,
    POSEIDON,
    LinkedState,
    WeightsCommitment,
    declare_links,
    hold_state,
)
from zkai.circuit.tensor import Field, Ints, Tensor, concat
from zkai.encoding import from_limbs
from zkai.errors import InvalidInput
from zkai.model.head_state import HeadState
from zkai.model.heads import Head

VERSION = "encrypted_update/1"

SIDES = ("old", "new")
LINKS = ("old_link", "new_link")
FIELD_INPUTS = (
    "ciphertext", "seed", "model", "fork", "context", "secret", "old_salt", "new_salt",
)  # fmt: skip
MAX_NORM = (1 << 30) - 1
NUMBERS = ("old_step", "step", "norm_bound")
KNOWN = ("secret_key", "errors", "c", "a")


@dataclass(frozen=True)
class EncryptedUpdate:
    """Prove that a ciphertext encrypts the new state's weights less the old state's.

    And that each value of the update fits update_bits signed bits, no more than its place in a
    coefficient, and that their squares add up to norm_bound^2 at most: norm_bound is a signal. A
    verifier needs the ciphertext and the round's seed: `zkai.verify_encrypted_update`.

    With max_weight above 1 the ciphertext holds w u, and w behind it, for a private weight w of 1
    to max_weight; norm_bound is u's all the same. A sum of such ciphertexts opens to a weighted
    average's numerator and denominator.

    With weights_commitment "kzg" both states are linked polynomials (linked.py).

    Raises InvalidInput, naming the option, for what is out of range or no parameters.
    """

    head: Head
    encryption: Encryption
    update_bits: int = 16
    weights_commitment: WeightsCommitment = POSEIDON
    max_weight: int = 1
    version: ClassVar[str] = VERSION
    format: ClassVar[Format] = COMMIT

    def __post_init__(self) -> None:
        linked.check_weights_commitment(VERSION, self.weights_commitment, COMMIT)
        check_head(VERSION, self.head)
        if not isinstance(self.encryption, Encryption):
            raise InvalidInput(f"{VERSION}: encryption: expected an Encryption")
        most = min(self.encryption.value_bits, self.head.weight_width + 1)
        integer(VERSION, "update_bits", self.update_bits, 2, most)
        room = 1 << (self.encryption.value_bits - self.update_bits)
        integer(VERSION, "max_weight", self.max_weight, 1, room)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.head, self.encryption, self.update_bits, self.links, self.max_weight)

    @property
    def links(self) -> tuple[str, ...]:
        """The signals that name linked states."""
        return LINKS if self.weights_commitment == KZG else ()

    @property
    def weighted(self) -> bool:
        """Whether the update is multiplied by a weight, which is one more value."""
        return self.max_weight > 1

    @property
    def n_values(self) -> int:
        """The number of encrypted values."""
        return prod(self.head.shape) + self.weighted

    @property
    def encryption_digest(self) -> int:
        """The signal `encryption`."""
        return self.encryption.digest(self.n_values, self.update_bits, self.max_weight)

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description = {
            "statement": VERSION,
            "head": self.head.describe(),
            "encryption": self.encryption.describe(),
            "update_bits": self.update_bits,
        }
        description |= {"max_weight": self.max_weight} if self.weighted else {}
        return (
            description | linked.describe_weights(self.weights_commitment) | describe_format(COMMIT)
        )

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs, the public polynomials included.

        `values`: old_weights and new_weights, with momentum old_velocity and new_velocity, and
        frozen where the head has such weights; old_step, step and norm_bound; secret_key (N,) and
        errors (P, N) for P polynomials of degree N; c and a, P N field elements each: the
        ciphertext's coefficients and the round's, centred, modulo r; and the field elements
        ciphertext and seed, their digests, model, fork, context, secret, old_salt, new_salt. With
        max_weight above 1 also weight. With linked states also old_link and new_link, the links of
        `linked_states`.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range, for a longer update, and for another's ciphertext.
        """
        inputs = self._given(values, required_links=True)
        inputs |= {name: field_element(VERSION, name, values[name]) for name in self.links}
        for name, state in self.linked_states(values).items():
            inputs[linked.blinders_name(name)] = state.blinders
        return inputs | ciphertext_inputs(self.encryption, self.encrypted(values), values, VERSION)

    def polynomials(self, c: Any, a: Any) -> dict[str, Any]:
        """Return the public polynomials' coefficients, as `paired_polynomials` does."""
        return paired_polynomials(self.encryption, self.n_values, c, a)

    def linked_states(self, values: Mapping[str, Any]) -> dict[str, LinkedState]:
        """Return both states where they are linked; `values` may lack the links."""
        if not self.links:
            return {}
        states = self.states(values)
        salts = [field_element(VERSION, f"{s}_salt", values[f"{s}_salt"]) for s in SIDES]
        pairs = zip(states.values(), salts, strict=True)
        return {n: LinkedState.of(*state) for n, state in zip(LINKS, pairs, strict=True)}

    def states(self, values: Mapping[str, Any]) -> dict[str, HeadState]:
        """Return the old and the new state."""
        tensors = self._tensors(values)
        return {
            side: HeadState(
                tensors[f"{side}_weights"], tensors.get(f"{side}_velocity"), tensors.get("frozen")
            )
            for side in SIDES
        }

    def _tensors(self, values: Mapping[str, Any], required_links: bool = False) -> dict[str, Ints]:
        head = self.head
        weights = (head.shape, *signed_bound(head.weight_width))
        limits = {f"{side}_weights": weights for side in SIDES}
        if head.has_velocity:
            velocity = (head.shape, *signed_bound(commitments.VELOCITY_BITS))
            limits |= {f"{side}_velocity": velocity for side in SIDES}
        if head.frozen_size:
            limits["frozen"] = ((head.frozen_size,), *signed_bound(head.weight_width))
        required = [*limits, *NUMBERS, *KNOWN, *FIELD_INPUTS]
        required += ["weight"] if self.weighted else []
        required += self.links if required_links else ()
        check_names(VERSION, values, required, self.links)
        return {n: int_tensor(VERSION, n, values[n], *limit) for n, limit in limits.items()}

    def _given(self, values: Mapping[str, Any], required_links: bool = False) -> dict[str, Any]:
        """Return the circuit's inputs but links, blinders and what is of the ciphertext."""
        tensors = self._tensors(values, required_links)
        inputs: dict[str, Any] = dict(tensors)
        for side in SIDES if self.head.has_velocity and not self.links else ():
            packed = pack(tensors[f"{side}_velocity"], commitments.VELOCITY_BITS)
            inputs[f"{side}_velocity"] = from_limbs(packed)
        if self.head.frozen_size:
            inputs["frozen"] = commitments.frozen_digest(self.head, tensors["frozen"])
        last = (1 << STEP_BITS) - 1
        inputs["step"] = integer(VERSION, "step", values["step"], 1, last)
        inputs["old_step"] = integer(VERSION, "old_step", values["old_step"], 0, inputs["step"] - 1)
        low, high = signed_bound(self.update_bits)
        update = self.update(values)
        if int(update.min()) < low or int(update.max()) > high:
            raise InvalidInput(f"{VERSION}: the update has a value outside [{low}, {high}]")
        bound = integer(VERSION, "norm_bound", values["norm_bound"], 0, MAX_NORM)
        if self.norm_squared(values) > bound * bound:
            raise InvalidInput(f"{VERSION}: the update is longer than norm_bound {bound}")
        inputs["norm_bound"] = bound
        if self.weighted:
            inputs["weight"] = self._weight(values)
        return inputs | {name: field_element(VERSION, name, values[name]) for name in FIELD_INPUTS}

    def update(self, values: Mapping[str, Any]) -> Ints:
        """Return the new weights less the old ones, flat."""
        parts = [np.asarray(values[f"{side}_weights"], np.int64).ravel() for side in SIDES]
        return parts[1] - parts[0]

    def _weight(self, values: Mapping[str, Any]) -> int:
        return integer(VERSION, "weight", values["weight"], 1, self.max_weight)

    def encrypted(self, values: Mapping[str, Any]) -> Ints:
        """Return what the ciphertext holds: the update, or the weighted one and its weight."""
        if not self.weighted:
            return self.update(values)
        weight = self._weight(values)
        return np.append(self.update(values) * weight, weight)

    def norm_squared(self, values: Mapping[str, Any]) -> int:
        """Return the sum of the update's squares."""
        return int(np.square(self.update(values)).sum())

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self._given(values, required_links=True)
        given |= {name: field_element(VERSION, name, values[name]) for name in self.links}
        user = commitments.user_commitment(given["secret"])
        names = {"model": given["model"], "fork": given["fork"], "user": user}
        steps = {"old": given["old_step"], "new": given["step"]}
        signals: PublicValues = {
            f"{side}_state": linked.bound_commitment(
                self.head, given, names, state, side, steps[side]
            )
            for side, state in self.states(values).items()
        }
        return signals | {
            "encryption": self.encryption_digest,
            "ciphertext": given["ciphertext"],
            "seed": given["seed"],
            "norm_bound": given["norm_bound"],
            "user": user,
            "model": given["model"],
            "fork": given["fork"],
            "old_step": given["old_step"],
            "step": given["step"],
            "context": given["context"],
            **{name: given[name] for name in self.links},
        }


def paired_polynomials(encryption: Encryption, n_values: int, c: Any, a: Any) -> dict[str, Any]:
    """Return the public polynomials' coefficients, from the ciphertext's and the round's.

    Raises InvalidInput for another number of coefficients than so many values take.
    """
    size = encryption.polynomials(n_values) * encryption.degree
    return {
        name: paired(encryption, checked_elements(f"{VERSION}: {name}", size, value))
        for name, value in ((CIPHERTEXT, c), (RANDOMNESS, a))
    }


def ciphertext_inputs(
    encryption: Encryption, encrypted: Ints, values: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return a circuit's inputs about a ciphertext, from secret_key, errors, c and a.

    Raises InvalidInput, naming the value and `where`, for other shapes and another's ciphertext.
    """
    count, bound = encryption.polynomials(len(encrypted)), encryption.error_bound
    secret = int_tensor(where, "secret_key", values["secret_key"], (encryption.degree,), -1, 1)
    shape = (count, encryption.degree)
    errors = int_tensor(where, "errors", values["errors"], shape, -bound, bound)
    size = count * encryption.degree
    c, a = (checked_elements(f"{where}: {n}", size, values[n]) for n in ("c", "a"))
    low, high, carries = witness(encryption, encrypted, secret, errors, c, a, where)
    found: dict[str, Any] = {KEY: secret.reshape(-1, TERNARY_COLUMNS)}
    found |= {LOW: low, HIGH: high, CARRIES: carries}
    return found | paired_polynomials(encryption, len(encrypted), c, a)


@lru_cache(maxsize=4)
def _build(
    head: Head, encryption: Encryption, update_bits: int, links: tuple[str, ...], max_weight: int
) -> Circuit:
    n_values = prod(head.shape) + (max_weight > 1)
    polynomials = public_polynomials(encryption, n_values)
    builder = Builder(VERSION, commit=True, links=len(links), polynomials=polynomials)
    signals = {f"{side}_state": builder.public_field(f"{side}_state") for side in SIDES}
    signals |= {name: builder.public_field(name) for name in ("encryption", "ciphertext", "seed")}
    norm_bound, user_signal = builder.public_int("norm_bound"), builder.public_field("user")
    model, fork = builder.public_field("model"), builder.public_field("fork")
    steps = {"old": builder.public_int("old_step"), "new": builder.public_int("step")}
    context, link_signals = builder.public_field("context"), declare_links(builder, links)
    for signal in (context, signals["ciphertext"], signals["seed"]):
        bind_context(builder, signal)
    with builder.at("encryption"):
        constant = builder.constant_field([encryption.digest(n_values, update_bits, max_weight)])
        builder.bind_public(signals["encryption"], constant)
    user = commitments.user_gadget(builder, builder.private_field("secret"))
    builder.bind_public(user_signal, user)
    with builder.at("numbers"):
        last = (1 << STEP_BITS) - 1
        steps = {side: check_range(builder, step, 0, last) for side, step in steps.items()}
        later = steps["new"] - steps["old"]
        check_range(builder, Tensor((), later.rows, None), 1, 1 << STEP_BITS, rule="later step")
    names = {"model": model, "fork": fork, "user": user}
    weights = _states(builder, head, signals, link_signals, steps, names)
    update = weights["new"] - weights["old"]
    with builder.at("update"):
        # Weights of linked states are read without a look at their range.
        unproven = Tensor(update.shape, update.rows, None)
        update = check_signed(builder, unproven, update_bits, "the update")
        bound = check_range(builder, norm_bound, 0, MAX_NORM, "norm_bound")
        squared = builder.multiply(bound, bound, "norm")
        left = squared - sum_of_squares(builder, update)
        check_range(builder, Tensor((), left.rows, None), 0, MAX_NORM * MAX_NORM, rule="norm bound")
    values = update.reshape(update.size)
    if max_weight > 1:
        with builder.at("weight"):
            weight = check_range(builder, builder.private_int("weight"), 1, max_weight)
            weighted = builder.multiply(values, weight.broadcast_to(values.shape), "weighted")
            values = concat([weighted, weight.reshape(1)])
    with builder.at("ciphertext"):
        ciphertext(builder, encryption).bind(values)
    return builder.build()


def _states(
    builder: Builder,
    head: Head,
    signals: Mapping[str, Field],
    link_signals: Mapping[str, Field],
    steps: Mapping[str, Tensor],
    names: Mapping[str, Field],
) -> dict[str, Tensor]:
    """Open both states; return their weights. Frozen weights are the same, by their digest."""
    frozen = builder.private_field("frozen") if head.frozen_size else None
    found = {}
    for side in SIDES:
        with builder.at(f"{side} state"):
            weights = builder.private_int(f"{side}_weights", head.shape)
            velocity, carried = None, list[Field]()
            # Whatever velocity the state holds: it is no part of the update.
            if link_signals:
                if head.has_velocity:
                    velocity = builder.private_int(f"{side}_velocity", head.shape)
            else:
                weights = check_signed(builder, weights, head.weight_width, f"{side}_weights")
                if head.has_velocity:
                    n = packed_length(weights.size, commitments.VELOCITY_BITS)
                    carried.append(builder.private_field(f"{side}_velocity", n))
            state, signal = (weights, velocity, frozen), signals[f"{side}_state"]
            step, kept = steps[side], partial(list[Field], carried)
            hold_state(builder, head, side, signal, link_signals, state, step, names, kept)
            found[side] = weights
    return found
