"""The rules' vectors (circuits/vectors), replayed through constraints: accepted and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_wire_forced,
    challenges_of,
    forger,
    gadget_circuit,
    values,
)

from zkai.circuit.gadgets import clipping
from zkai.circuit.gadgets.division import divide, divide_by_constants
from zkai.circuit.gadgets.range import check_signed, signed_width
from zkai.circuit.gadgets.relu import relu
from zkai.circuit.gadgets.rescale import rescale
from zkai.circuit.gadgets.softmax import exponential, logits, softmax
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model import quant_graph as q
from zkai.model.clipping import LayerBounds, NormPlan
from zkai.model.heads import HEADS
from zkai.model.training import SoftmaxHead

FOLDER = Path(__file__).parents[2] / "circuits" / "vectors"

OPERATORS: dict[str, type[Any]] = {
    "matmul": q.MatMul,
    "conv": q.Conv,
    "add": q.Add,
    "mul": q.Mul,
    "scale": q.Scale,
    "relu": q.Relu,
    "average_pool": q.AveragePool,
    "sigmoid": q.Sigmoid,
    "softmax_node": q.Softmax,
    "reshape": q.Reshape,
    "transpose": q.Transpose,
}
ELSEWHERE = {
    "to_fixed",  # floats never enter a circuit
    "log2",
    "cross_entropy_sum",  # for reports only
    "squared_error_sum",
    "error_and_gradient",  # inside sgd_step
}


def load(*operations: str) -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        for i, vector in enumerate(json.loads(path.read_text())["vectors"]):
            if vector["operation"] in operations:
                found.append(pytest.param(vector, id=f"{path.stem}-{i}-{vector['operation']}"))
    assert found
    return found


def array(value: Any) -> np.ndarray:
    return np.array(value, np.int64)


def test_every_operation_is_replayed_or_named():
    every = {
        vector["operation"]
        for path in FOLDER.glob("*.json")
        for vector in json.loads(path.read_text())["vectors"]
    }
    here = {"rescale", "divide", "relu_mask", "check_logits", "softmax", "check_width"}
    here |= {"sgd_step", "apply_update", "clip"}
    assert every <= set(OPERATORS) | here | ELSEWHERE


def run(build: Any, inputs: dict[str, np.ndarray], low: int, high: int, valid: bool) -> Any:
    """Run a gadget; an invalid vector must fail honestly and by constraint. Return its outputs."""
    bounds = {name: (value.shape, low, high) for name, value in inputs.items()}
    circuit, made = gadget_circuit(build, bounds)
    if not valid:
        with pytest.raises(InvalidInput, match="tensor"):
            circuit.solve(inputs)
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve(inputs))
        return None
    witness = circuit.solve(inputs)
    circuit.check(witness)
    for tensor in made:
        result = values(circuit, witness, tensor)
        assert tensor.bound is not None
        assert tensor.bound[0] <= result.min()
        assert result.max() <= tensor.bound[1]
    return [values(circuit, witness, tensor) for tensor in made]


@pytest.mark.parametrize("commit", [False, True], ids=["plain", "commit"])
@pytest.mark.parametrize("vector", load("clip"))
def test_clip(vector, commit):
    fields = ("activation", "delta", "one", "scale_bits")
    layers = vector["layers"]
    plan = NormPlan(tuple(LayerBounds(*(layer[f] for f in fields)) for layer in layers))
    assert plan.scale_bits == vector["norm_scale_bits"]
    given = {f"{p}{i}": array(x[p]) for i, x in enumerate(layers) for p in ("inputs", "errors")}

    def build(builder, **tensors):
        parts = [(tensors[f"inputs{i}"], tensors[f"errors{i}"]) for i in range(len(layers))]
        norms = clipping.squared_norms(builder, plan, parts)
        return norms, clipping.clip_factors(builder, norms, vector["threshold"])

    bounds = {n: (v.shape, int(v.min()), int(v.max())) for n, v in given.items()}
    circuit, made = gadget_circuit(build, bounds, commit)
    witness = circuit.solve(given, challenge=challenges_of)
    circuit.check(witness)
    for tensor, name in zip(made, ("norms", "factors"), strict=True):
        assert (values(circuit, witness, tensor) == array(vector[name])).all()


@pytest.mark.parametrize("vector", load("rescale"))
def test_rescale(vector):
    a, k = array(vector["a"]), vector["k"]

    def build(builder, a):
        return rescale(builder, a, k, 60, "out")

    bound = int(np.abs(a).max())
    (out,) = run(build, {"a": a}, -bound, bound, True)
    assert (out == array(vector["out"])).all()


@pytest.mark.parametrize("vector", load("divide"))
def test_divide(vector):
    a, b = array(vector["a"]), vector["b"]
    bound = int(np.abs(a).max())

    def constant(builder, a):
        return divide_by_constants(builder, a, b, "out")

    if not vector["valid"]:
        with pytest.raises(InvalidInput, match="divisor must be at least 1"):
            run(constant, {"a": a}, -bound, bound, True)
        return
    (out,) = run(constant, {"a": a}, -bound, bound, True)
    assert (out == array(vector["out"])).all()
    circuit, (made,) = gadget_circuit(
        lambda builder, a, b: divide(builder, a, b, "out"),
        {"a": (a.shape, -bound, bound), "b": (a.shape, 1, b)},
    )
    witness = circuit.solve({"a": a, "b": np.full_like(a, b)})
    circuit.check(witness)
    assert (values(circuit, witness, made) == array(vector["out"])).all()


@pytest.mark.parametrize("vector", load("relu_mask"))
def test_relu_mask(vector):
    x = array(vector["x"])
    (mask,) = run(lambda builder, x: relu(builder, x).mask, {"x": x}, -(1 << 31), 1 << 31, True)
    assert (mask == array(vector["out"])).all()


@pytest.mark.parametrize("vector", load("check_width"))
def test_check_width(vector):
    v, width = array(vector["values"]), vector["width"]
    run(
        lambda builder, v: check_signed(builder, v, width, "v"),
        {"v": v},
        -(1 << 61),
        1 << 61,
        vector["valid"],
    )


@pytest.mark.parametrize("vector", load("check_logits"))
def test_check_logits(vector):
    u = array(vector["u"])

    def build(builder, u):
        return logits(builder, u, 0, vector["width"] - 8, "u").values

    out = run(build, {"u": u}, -(1 << 20), 1 << 20, vector["valid"])
    if vector["valid"]:
        assert (out[0] == u).all()


@pytest.mark.parametrize("vector", load("softmax"))
def test_softmax(vector):
    u, sa, se = array(vector["u"]), vector["logit_scale_bits"], vector["error_scale_bits"]

    def build(builder, u):
        parts = logits(builder, u, 0, sa, "u")
        terms = exponential(builder, parts.distance, parts.distance_bits, sa, se)
        return softmax(builder, parts, sa, se), terms

    out = run(build, {"u": u}, -(1 << 20), 1 << 20, vector["valid"])
    if vector["valid"]:
        assert (out[0] == array(vector["p"])).all()
        assert (out[1] == array(vector["e"])).all()


def node_statement(vector: dict[str, Any], parameters: str) -> tuple[Inference, dict[str, Any]]:
    """The inference of one operator, its second and third operands being parameters."""
    kind = OPERATORS[vector["operation"]]
    names = [n for n in ("x", "u", "a", "w", "b", "c") if isinstance(vector.get(n), list)]
    arguments = {name: array(vector[name]) for name in names}
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vector.items()
        if name in kind.__dataclass_fields__
    }
    if "acc_width" in kind.__dataclass_fields__:
        options["acc_width"] = 40
    inputs = names[:1]
    tensors = {
        name: q.QuantTensor(
            name,
            v.shape,
            0,
            signed_width((int(v.min()), int(v.max()))),
            "input" if name in inputs else "parameter",
            True,
        )
        for name, v in arguments.items()
    }
    scale = options.get("error_scale_bits", 0)
    if "logit_scale_bits" in options:
        x = tensors[names[0]]
        tensors[names[0]] = q.QuantTensor(x.name, x.shape, 8, 40, "input", True)
    shape = array(vector["out"]).shape if vector["valid"] else arguments[names[0]].shape
    out = q.QuantTensor("out", shape, scale, vector["width"], "output", True)
    graph = q.QuantGraph(
        "vector",
        tuple(inputs),
        ("out",),
        {**tensors, "out": out},
        (q.QuantNode("node", "node", kind(**options), tuple(names), "out", ""),),
        {name: v for name, v in arguments.items() if name not in inputs},
    )
    statement = Inference(graph, {"input": "public", "weights": parameters})
    given: dict[str, Any] = {"context": 1, **dict.fromkeys(statement.salts, 7)}
    given["input"] = arguments[names[0]]
    return statement, given


@pytest.mark.parametrize("parameters", ["constant", "committed"])
@pytest.mark.parametrize("vector", load(*OPERATORS))
def test_operator(vector, parameters):
    statement, given = node_statement(vector, parameters)
    circuit = statement.build()
    inputs = statement.assign(given)
    if not vector["valid"]:
        with pytest.raises(InvalidInput, match=r"'(out|u|x)'"):
            circuit.solve(inputs)
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve(inputs))
        return
    witness = circuit.solve(inputs)
    circuit.check(witness)
    signals = from_limbs(circuit.public_values(witness))
    expected = statement.public_values(given)
    assert [s.name for s in circuit.public] == list(expected)
    flat = [x for v in expected.values() for x in (v if isinstance(v, list) else [v])]
    assert signals == flat
    wanted = [int(v) % FIELD_MODULUS for v in array(vector["out"]).ravel()]
    assert expected["output"] == (wanted if len(wanted) > 1 else wanted[0])


@pytest.mark.parametrize("vector", load("sgd_step"))
def test_sgd_step(vector):
    options = {k: v for k, v in vector["head"].items() if k != "name"}
    head, x = HEADS[vector["head"]["name"]](**options), array(vector["x"])
    statement = TrainingStep(head, batch=len(x))
    circuit = statement.build()
    given = {
        "weights": array(vector["weights"]),
        "x": x,
        "labels": array(vector["labels"]),
        "learning_rate": vector["learning_rate"],
        "step": 0,
        "model": 1,
        "fork": 2,
        "context": 3,
        "secret": 4,
        "old_salt": 5,
        "new_salt": 6,
        "batch_salt": 7,
    }
    given |= {name: array(vector[name]) for name in ("velocity", "frozen") if name in vector}
    if not vector["valid"]:
        with pytest.raises(InvalidInput, match=vector["names"].strip("'")):
            circuit.solve(statement.assign(given))
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve(given))
        return
    state = statement.new_state(given)
    assert (state.weights == array(vector["new_weights"])).all()
    if state.velocity is not None:
        assert (state.velocity == array(vector["new_velocity"])).all()
    witness = circuit.solve(statement.assign(given))
    circuit.check(witness)
    if isinstance(head, SoftmaxHead):
        assert_every_wire_forced(circuit, witness)
    signals = from_limbs(circuit.public_values(witness))
    assert signals == list(statement.public_values(given).values())
    circuit = replace(statement, format=COMMIT).build()
    witness = circuit.solve(statement.assign(given), challenge=challenges_of)
    circuit.check(witness)
    assert from_limbs(circuit.signal_values(witness)) == signals


@pytest.mark.parametrize("vector", load("apply_update"))
def test_apply_update(vector):
    options = {k: v for k, v in vector["head"].items() if k != "name"}
    head = SoftmaxHead(**options)
    statement = ApplyAggregate(head)
    circuit = statement.build()
    given = {"weights": array(vector["weights"]), "update": array(vector["update"])}
    given |= {"step": 0, "model": 1, "fork": 2, "context": 3, "secret": 4}
    given |= {"old_salt": 5, "new_salt": 6}
    if head.momentum:
        given["velocity"] = np.zeros(head.shape, np.int64)
    if not vector["valid"]:
        with pytest.raises(InvalidInput, match=vector["names"].strip("'")):
            circuit.solve(statement.assign(given))
        given["delta"] = given.pop("update")
        with pytest.raises(VerificationError):
            circuit.check(forger(circuit).solve(given))
        return
    witness = circuit.solve(statement.assign(given))
    assert_every_wire_forced(circuit, witness)
    state = statement.new_state(given)
    assert (state.weights == array(vector["new_weights"])).all()
