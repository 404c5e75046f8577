"""How the tests of this folder try to cheat: forged hints, forged wires, forged inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from perturbation import Perturber, by_one_and_at_random

from zkai.circuit.builder import CHALLENGES, Builder
from zkai.circuit.gadgets.range import OVERFLOW
from zkai.circuit.r1cs import Circuit, Witness
from zkai.circuit.tensor import Tensor
from zkai.encoding import FIELD_MODULUS, from_limbs, keccak256, to_limbs
from zkai.errors import VerificationError


def challenges_of(witness: Witness) -> list[int]:
    """Challenges that hash the whole of round 1, as a commitment's do."""
    seed = keccak256(np.ascontiguousarray(witness).tobytes())
    words = [keccak256(seed + j.to_bytes(32, "big")) for j in range(len(CHALLENGES))]
    return [int.from_bytes(word, "big") % FIELD_MODULUS for word in words]


def values(circuit: Circuit, witness: Witness, tensor: Tensor) -> np.ndarray:
    """The integers that a witness of small numbers gives a tensor."""
    whole = [v - FIELD_MODULUS if v > FIELD_MODULUS // 2 else v for v in from_limbs(witness)]
    small = np.array([v if abs(v) < 1 << 62 else 0 for v in whole], np.int64)
    return tensor.evaluate(small)


def forger(circuit: Circuit) -> Circuit:
    """The circuit with a solver that never complains: what a cheating prover would run."""
    kept = [s for s in circuit.steps if s.label.rsplit("/", 1)[-1].split("#")[0] != OVERFLOW]
    return replace(circuit, steps=tuple(kept))


def assert_refused(
    circuit: Circuit, inputs: Mapping[str, Any], tamper: Mapping[str, Callable[[Any], Any]]
) -> str:
    """Solve on from forged hints, check that a constraint refuses it, and return the message."""
    witness = forger(circuit).solve(inputs, tamper, challenges_of)
    with pytest.raises(VerificationError) as caught:
        circuit.check(witness)
    return str(caught.value)


def hinted_labels(circuit: Circuit) -> list[str]:
    """The labels of all steps that fill wires."""
    return [step.label for step in circuit.steps if len(step.wires)]


def assert_every_hint_forced(
    circuit: Circuit,
    inputs: Mapping[str, Any],
    free: Iterable[str] = (),
    seed: int = 0,
    within: str = "",
) -> None:
    """Forge each hint, one element by +1 and all at random, with all that follows recomputed.

    `within` leaves out the hints whose label does not start with it.
    """
    rng = np.random.default_rng(seed)
    skip = tuple(free)
    for step in circuit.steps:
        if (
            not len(step.wires)
            or not step.label.startswith(within)
            or (skip and step.label.endswith(skip))
        ):
            continue
        place = int(rng.integers(len(step.wires)))

        def add_one(out: Any, place: int = place, field: bool = step.is_field) -> Any:
            return _plus_one(out, place, field)

        def at_random(out: Any, field: bool = step.is_field) -> Any:
            return _random_like(out, rng, field)

        for forge in (add_one, at_random):
            assert_refused(circuit, inputs, {step.label: forge})


def _plus_one(out: Any, place: int, field: bool) -> Any:
    if field:
        ints = from_limbs(out)
        ints[place] = (ints[place] + 1) % FIELD_MODULUS
        return to_limbs(ints)
    flat = np.array(out, np.int64).ravel()
    flat[place] += 1
    return flat


def _random_like(out: Any, rng: np.random.Generator, field: bool) -> Any:
    if field:
        words = [int.from_bytes(rng.bytes(32), "little") % FIELD_MODULUS for _ in range(len(out))]
        return to_limbs(words)
    return np.ravel(out) + rng.integers(1, 1 << 20, np.size(out))


def assert_every_wire_forced(circuit: Circuit, witness: Witness, inputs: bool = True) -> None:
    """Change wires one at a time: a row must break each time. `inputs` False leaves inputs out."""
    known = range(2, 2 + len(circuit.challenges))  # the verifier computes these itself
    wires = [w for w in range(1, circuit.n_wires) if w not in known]
    _assert_forced(circuit, witness, wires, inputs, follow=False)


def assert_every_committed_wire_forced(
    circuit: Circuit, witness: Witness, inputs: bool = True
) -> None:
    """Change wires of round 1 one at a time, with an honest round 2 from then on."""
    wires = np.flatnonzero(circuit.rounds == 1)[1:].tolist()
    _assert_forced(circuit, witness, wires, inputs, follow=True)


def _assert_forced(
    circuit: Circuit, witness: Witness, wires: list[int], inputs: bool, follow: bool
) -> None:
    given = {w for slot in circuit.inputs.values() for w in slot.wires.tolist()}
    tried, changes = by_one_and_at_random(
        np.array([w for w in wires if inputs or w not in given], np.int64)
    )
    found = Perturber(circuit, witness).accepted(tried, changes, follow)
    assert tried[found].tolist() == []


def assert_wire_refused(circuit: Circuit, witness: Witness, changes: Mapping[int, int]) -> None:
    """Overwrite wires with field elements and check that a row breaks."""
    changed = witness.copy()
    for wire, value in changes.items():
        changed[wire] = to_limbs([value % FIELD_MODULUS])[0]
    with pytest.raises(VerificationError):
        circuit.check(changed)


def gadget_circuit(
    build: Callable[..., Tensor | tuple[Tensor, ...]],
    bounds: Mapping[str, tuple[tuple[int, ...], int, int]],
    commit: bool = False,
) -> tuple[Circuit, tuple[Tensor, ...]]:
    """A circuit around one gadget; inputs get their bounds assumed, to test the gadget alone."""
    builder = Builder("gadget", commit)
    inputs = {
        name: builder.with_bound(builder.private_int(name, shape), low, high)
        for name, (shape, low, high) in bounds.items()
    }
    made = build(builder, **inputs)
    return builder.build(), made if isinstance(made, tuple) else (made,)
