"""Inputs bound by EZKL's hash: the gadget, the statement, and who tries to cheat with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import poseidon_reference as reference
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    assert_wire_refused,
    challenges_of,
    forger,
    hinted_labels,
)

from zkai.assignment import Destination, complete
from zkai.calibrated import Inference
from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.halo2_hash import (
    CAPACITY,
    halo2_hash,
    halo2_hash_gadget,
    halo2_hash_integers,
    n_rows,
)
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import inference
from zkai.circuit.tensor import Field
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model.calibrate import QuantConfig
from zkai.model.quantize import forward
from zkai.sizing import _counted

R = FIELD_MODULUS
FORMATS = ("groth16", "groth16-commit")


def elements(n: int) -> list[int]:
    return [0, R - 1, 1, *(pow(3, 99 * i + 7, R) for i in range(n))][:n]


# The gadget -----------------------------------------------------------------------------------


def hash_circuit(n: int) -> tuple[Circuit, Field]:
    builder = Builder("hash")
    xs = builder.private_field("xs", n)
    with builder.at("commitment"):
        digest = halo2_hash_gadget(builder, xs)
    return builder.build(), digest


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_the_gadget_equals_its_twin_and_every_wire_is_forced(n: int) -> None:
    circuit, digest = hash_circuit(n)
    witness = circuit.solve({"xs": elements(n)})
    circuit.check(witness)
    assert from_limbs(witness[digest.wires]) == [halo2_hash(elements(n))]
    assert circuit.n_constraints == n_rows(n)
    assert_every_wire_forced(circuit, witness)
    assert_wire_refused(circuit, witness, {int(digest.wires[0]): halo2_hash([5] * n)})


def test_a_wrong_sbox_output_breaks_its_own_row_alone() -> None:
    """All later wires of all blocks follow the forged output: only x4 * x = y can tell."""
    n, circuit = 3, hash_circuit(3)[0]
    for block, forged in ((0, 0), (0, 1), (1, 9), (1, 40), (2, 65), (2, 71)):
        state, trace = [0, CAPACITY], list[int]()
        for i, element in enumerate(elements(n)):
            state, sboxes = reference.permute(
                [(state[0] + element) % R, state[1]], 8, 56,
                lambda j, y, bad=forged if i == block else -1: (y + (j == bad)) % R,
            )  # fmt: skip
            successors = [*(x for x, _ in sboxes[2:]), *state]
            for (x, _), successor in zip(sboxes, successors, strict=True):
                trace += [x * x % R, pow(x, 4, R), successor]
        message = assert_refused(
            circuit,
            {"xs": elements(n)},
            {"commitment/halo2 hash": lambda _, v=trace: to_limbs(v)},
        )
        assert f"constraint {216 * block + 3 * forged + 2} of" in message


def test_nothing_has_no_hash() -> None:
    builder = Builder("empty")
    with pytest.raises(InvalidInput, match="at least one"):
        halo2_hash_gadget(builder, Field(np.zeros(0, np.int64)))


# The statement --------------------------------------------------------------------------------


def head() -> real.Graph:
    rng = np.random.default_rng(8)
    shapes = {"a": (1, 5), "w": (5, 3), "b": (3,), "y": (1, 3)}
    nodes = (real.Node("dense", "dense", real.MatMul(), ("a", "w", "b"), "y"),)
    values = {"w": rng.normal(0, 1, (5, 3)), "b": rng.normal(0, 1, 3)}
    return real.Graph("head", ("a",), ("y",), shapes, nodes, values)


SAMPLES = np.random.default_rng(9).normal(0, 1, (20, 1, 5))
X = np.round(SAMPLES[0] * 8192).astype(np.int64)


def statement(format: Any = "groth16", blinders: int = 0, **visibility: str) -> Inference:
    seen = {"input": "hashed", "output": "argmax"} | visibility
    return Inference(head(), calibration=SAMPLES, visibility=seen, format=format, blinders=blinders)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("blinders", [0, 2])
def test_the_signal_is_ezkls_hash(format: Any, blinders: int) -> None:
    made = statement(format, blinders)
    values: dict[str, Any] = {"input": X, "context": 5}
    hidden = elements(blinders + 1)[1:]
    if blinders:
        values["input_blinders"] = hidden
    circuit, inputs = made.build(), made.assign(values)
    witness = circuit.solve(inputs, challenge=challenges_of)
    circuit.check(witness)
    if format == "groth16":
        assert_every_wire_forced(circuit, witness)
    assert_every_hint_forced(circuit, inputs)
    public = made.public_values(values)
    assert public["input"] == halo2_hash_integers(X, hidden)
    flat = [x for v in public.values() for x in (v if isinstance(v, list) else [v])]
    assert from_limbs(witness[circuit.signal_wires]) == flat
    scores = forward(made.graph, {"a": X})["y"][0]
    assert public["output"] == int(scores.argmax())


def test_its_scale_is_ezkls_unless_another_is_given() -> None:
    assert statement().graph.tensors["a"].scale_bits == 13
    given = Inference(
        head(), calibration=SAMPLES, visibility={"input": "hashed"},
        config=QuantConfig(scale_bits={"a": 10}),
    )  # fmt: skip
    assert given.graph.tensors["a"].scale_bits == 10
    by_name = Inference(head(), calibration=SAMPLES, visibility={"a": "hashed"})
    assert by_name.graph.tensors["a"].scale_bits == 13


def test_it_costs_216_rows_an_element() -> None:
    seen = {"input": "public", "output": "argmax"}
    config = QuantConfig(scale_bits={"a": 13})
    public = Inference(head(), calibration=SAMPLES, visibility=seen, config=config)
    plain = statement().build()
    assert plain.n_constraints - public.build().n_constraints == n_rows(5) + 1
    assert _counted(statement()).constraints - _counted(public).constraints == n_rows(5)
    assert statement(blinders=3).build().n_constraints == plain.n_constraints + n_rows(3)


@pytest.mark.parametrize("format", FORMATS)
def test_another_activation_under_the_same_commitment_is_refused(format: Any) -> None:
    made = statement(format)
    circuit, inputs = made.build(), made.assign({"input": X, "context": 5})
    other = X.copy()
    other[0, 2] += 1
    commitment = to_limbs([halo2_hash_integers(X)])[0]
    assert circuit.public[0].name == "input"
    forged = {"input_values": other}
    honest = forger(circuit).solve({**inputs, **forged}, challenge=challenges_of)
    circuit.check(honest)
    label = next(x for x in hinted_labels(circuit) if x.endswith("halo2 hash"))

    def claimed(trace: Any) -> Any:
        """The other activation's trace that ends in the shown commitment."""
        changed = trace.copy()
        changed[-4] = commitment
        return changed

    message = assert_refused(circuit, {**inputs, **forged}, {label: claimed})
    assert "halo2" in message or "poseidon" in message
    shown = forger(circuit).solve({**inputs, **forged}, {label: claimed}, challenges_of)
    assert from_limbs(shown[circuit.signal_wires])[0] == halo2_hash_integers(X)


def test_a_value_congruent_mod_r_or_out_of_range_is_refused() -> None:
    """x + r is the same element, so only the integer in the width opens the commitment."""
    made = statement()
    width = made.graph.tensors["a"].width
    limit = 1 << (width - 1)
    for bad in (limit, -limit - 1):
        values = X.copy()
        values[0, 0] = bad
        with pytest.raises(InvalidInput, match="outside"):
            made.assign({"input": values, "context": 5})
        inputs = made.assign({"input": X, "context": 5})
        assert_refused(made.build(), {**inputs, "input_values": values}, {})
    edge = X.copy()
    edge[0, 0] = -limit
    wide = halo2_hash_integers(edge)
    assert made.public_values({"input": edge, "context": 5})["input"] == wide


def test_blinders_are_bound_and_never_shown() -> None:
    made = statement(blinders=2)
    first = made.public_values({"input": X, "context": 5, "input_blinders": [1, 2]})
    second = made.public_values({"input": X, "context": 5, "input_blinders": [1, 3]})
    assert first["input"] != second["input"]
    for bad in ([1], [1, R], [1, -1], "12", None, [1, "2"]):
        with pytest.raises(InvalidInput, match="input_blinders"):
            made.assign({"input": X, "context": 5, "input_blinders": bad})
    with pytest.raises(InvalidInput, match="missing input_blinders"):
        made.assign({"input": X, "context": 5})
    with pytest.raises(InvalidInput, match="unknown input_blinders"):
        statement().assign({"input": X, "context": 5, "input_blinders": [1]})


@pytest.mark.parametrize("blinders", [-1, 65, 1.0, True])
def test_bad_numbers_of_blinders_are_refused(blinders: Any) -> None:
    with pytest.raises(InvalidInput, match="blinders"):
        statement(blinders=blinders)


def test_blinders_need_a_hashed_input() -> None:
    with pytest.raises(InvalidInput, match="hashed"):
        statement(blinders=1, input="public")
    for name in ("output", "weights"):
        with pytest.raises(InvalidInput, match="cannot be 'hashed'"):
            statement(**{name: "hashed"})


def test_blinders_are_part_of_the_description() -> None:
    descriptions = [statement(blinders=n).describe() for n in (0, 1, 2)]
    assert [d.get("blinders") for d in descriptions] == [None, 1, 2]
    assert len({statement(blinders=n).build().digest for n in (0, 1, 2)}) == 3


def test_users_give_real_numbers_or_exact_integers() -> None:
    made = statement(blinders=1)
    values = {"input_integers": X, "input_blinders": [9]}
    done = complete(made, values, Destination(), bytes(32))
    assert done.public["input"] == halo2_hash_integers(X, [9])
    assert done.opening.salts == {}
    real_values = {"input": X / 8192, "input_blinders": [9]}
    assert complete(made, real_values, Destination(), bytes(32)).public == done.public
    with pytest.raises(InvalidInput, match="missing input_blinders"):
        complete(made, {"input": X / 8192}, Destination(), bytes(32))


def test_an_integer_model_takes_it_too() -> None:
    made = inference.Inference(statement().graph, {"input": "hashed"})
    assert made.salts == ()
    assert made.public_values({"input": X, "context": 0})["input"] == halo2_hash_integers(X)
