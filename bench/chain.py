"""The chain circuit x_{i+1} = x_i^2 + 5: full-size field values, one public result."""

from __future__ import annotations

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs

STEP = 5


def chain_circuit(n_constraints: int) -> Circuit:
    """Return the chain with exactly `n_constraints` rows; public: "result", private: "start"."""
    builder = Builder("chain")
    result = builder.public_field("result")
    start = builder.private_field("start")
    middle = builder.field_hint(
        "chain", lambda x: chain_values(x, n_constraints), [start], n_constraints - 1
    )
    wires = np.concatenate([start.wires, middle.wires, result.wires])
    n = n_constraints
    one, minus_step = builder.coef_ids([1, -STEP])
    single = np.arange(n + 1)
    square = (single, wires[:-1], np.full(n, one, np.uint32))
    right_wires = np.stack([np.zeros(n, np.int64), wires[1:]], axis=1).ravel()
    right_coefs = np.tile(np.array([minus_step, one], np.uint32), n)
    builder.rows("square", square, square, (2 * single, right_wires, right_coefs))
    return builder.build()


def chain_values(start: Limbs, n: int) -> Limbs:
    """Return x_1 .. x_{n-1}."""
    value, values = from_limbs(start)[0], []
    for _ in range(n - 1):
        value = (value * value + STEP) % FIELD_MODULUS
        values.append(value)
    return to_limbs(values)


def chain_inputs(start: int, n: int) -> dict[str, int]:
    """Return the circuit's inputs for a start value."""
    value = start
    for _ in range(n):
        value = (value * value + STEP) % FIELD_MODULUS
    return {"start": start, "result": value}
