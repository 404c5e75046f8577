"""How the tests of this folder try to cheat: forged hints, forged wires, forged inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.range import OVERFLOW
from zkai.circuit.r1cs import Circuit, Witness
from zkai.circuit.tensor import Tensor
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import VerificationError


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
    witness = forger(circuit).solve(inputs, tamper)
    with pytest.raises(VerificationError) as caught:
        circuit.check(witness)
    return str(caught.value)


def hinted_labels(circuit: Circuit) -> list[str]:
    """The labels of all steps that fill wires."""
    return [step.label for step in circuit.steps if len(step.wires)]


def assert_every_hint_forced(
    circuit: Circuit, inputs: Mapping[str, Any], free: Iterable[str] = (), seed: int = 0
) -> None:
    """Forge each hint, one element by +1 and all at random, with all that follows recomputed."""
    rng = np.random.default_rng(seed)
    skip = tuple(free)
    for step in circuit.steps:
        if not len(step.wires) or (skip and step.label.endswith(skip)):
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


def refuses(circuit: Circuit, witness: Witness) -> bool:
    """Whether some row does not hold."""
    try:
        circuit.check(witness)
    except VerificationError:
        return True
    return False


def assert_every_wire_forced(
    circuit: Circuit,
    witness: Witness,
    wires: Iterable[int] | None = None,
    seed: int = 0,
) -> None:
    """Change wires one at a time, by +1 and to a random element: a row must break each time."""
    rng = np.random.default_rng(seed)
    for wire in range(1, circuit.n_wires) if wires is None else wires:
        value = from_limbs(witness[wire : wire + 1])[0]
        for forged in (value + 1, int.from_bytes(rng.bytes(31), "little")):
            changed = witness.copy()
            changed[wire] = to_limbs([forged % FIELD_MODULUS])[0]
            assert refuses(circuit, changed), f"wire {wire} is free"


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
) -> tuple[Circuit, tuple[Tensor, ...]]:
    """A circuit around one gadget; inputs get their bounds assumed, to test the gadget alone."""
    builder = Builder("gadget")
    inputs = {
        name: builder.with_bound(builder.private_int(name, shape), low, high)
        for name, (shape, low, high) in bounds.items()
    }
    made = build(builder, **inputs)
    return builder.build(), made if isinstance(made, tuple) else (made,)
