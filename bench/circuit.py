"""Building a circuit of a million constraints and filling its witness: half hashes, half a layer.

The layer is what a proof of a quantised model is made of: range-checked inputs and weights, a
matrix product, a rescale and a ReLU, with the inputs and weights packed and committed to. The rest
is one Poseidon hash of width 17 over as many field elements as bring the total to the target.
"""

from __future__ import annotations

import json

import numpy as np

from bench import harness
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.matmul import matmul
from zkai.circuit.gadgets.packing import pack_gadget
from zkai.circuit.gadgets.poseidon import MAX_RATE, hash_elements_gadget, n_rows
from zkai.circuit.gadgets.range import check_signed
from zkai.circuit.gadgets.relu import relu
from zkai.circuit.gadgets.rescale import rescale
from zkai.circuit.r1cs import Circuit

TARGET = 1_000_000
QUICK_TARGET = 250_000
FEATURES, UNITS = 64, 64
INPUT_BITS, WEIGHT_BITS, OUTPUT_BITS, SHIFT = 8, 20, 16, 16


def layer(builder: Builder, batch: int) -> None:
    """Add the committed, quantised layer y = relu(R(x w))."""
    x = builder.private_int("x", (batch, FEATURES))
    w = builder.private_int("w", (FEATURES, UNITS))
    with builder.at("layer"):
        x = check_signed(builder, x, INPUT_BITS, "x")
        w = check_signed(builder, w, WEIGHT_BITS, "w")
        relu(builder, rescale(builder, matmul(builder, x, w), SHIFT, OUTPUT_BITS, "y"))
    for name, tensor, bits in (("x", x, INPUT_BITS), ("w", w, WEIGHT_BITS)):
        with builder.at(f"commitment of {name}"):
            packed = pack_gadget(builder, tensor, bits)
            hash_elements_gadget(builder, f"bench/{name}/1", packed)


def circuit_of(target: int) -> tuple[Circuit, int, int]:
    """Return a circuit of about `target` constraints, its batch and its number of hashed elements.

    About half of the constraints are the layer's.
    """
    builder = Builder("bench")
    batch = max(1, round(72 * target / TARGET))
    layer(builder, batch)
    permutations = (target - builder.n_constraints) // n_rows(MAX_RATE)
    elements = builder.private_field("elements", permutations * MAX_RATE)
    with builder.at("hash"):
        hash_elements_gadget(builder, "bench/elements/1", elements)
    return builder.build(), batch, len(elements)


def measure(target: int) -> dict[str, float | int]:
    """Build, solve and check once, in a fresh process."""
    with harness.Stopwatch() as build:
        circuit, batch, n_elements = circuit_of(target)
    rng = np.random.default_rng(1)
    inputs = {
        "x": rng.integers(-128, 128, (batch, FEATURES)),
        "w": rng.integers(-(1 << 15), 1 << 15, (FEATURES, UNITS)),
        "elements": [pow(3, i + 1000, 1 << 250) for i in range(n_elements)],
    }
    with harness.Stopwatch() as solve:
        witness = circuit.solve(inputs)
    with harness.Stopwatch() as check:
        circuit.check(witness)
    hashed = sum(n for origin, n in circuit.counts().items() if origin.endswith(": poseidon"))
    return {
        "constraints": circuit.n_constraints,
        "constraints_poseidon": hashed,
        "wires": circuit.n_wires,
        "build_s": build.wall_s,
        "witness_s": solve.wall_s,
        "check_s": check.wall_s,
        "peak_rss_bytes": harness.peak_rss_bytes(),
    }


def main() -> None:
    """Measure in processes of their own and print the medians."""
    parser = harness.arguments("circuit", "A circuit of a million constraints, hashes included.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", type=int, help="measure this many constraints once, as JSON")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker)))
        return
    target = QUICK_TARGET if options.quick else TARGET
    run = lambda: harness.run_worker("bench.circuit", "--worker", str(target))  # noqa: E731
    figures = harness.alternate({"ours": run}, options.repeats)["ours"]
    parameters = {"constraints": target, "features": FEATURES, "units": UNITS, "poseidon_t": 17}
    harness.show(harness.report("circuit", parameters, figures, {}, {}), options.json)


if __name__ == "__main__":
    main()
