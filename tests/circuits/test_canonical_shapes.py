"""circuits/<statement>: frozen shapes hold, and their vectors are accepted and refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from circuit_forgery import assert_every_wire_forced, forger

from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.registry import STATEMENTS, from_description
from zkai.encoding import FIELD_MODULUS, canonical_json, from_limbs, hex32, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import SoftmaxHead

ROOT = Path(__file__).parents[2]
CIRCUITS = ROOT / "circuits"
NAMES = (
    "training_step", "skip_step", "genesis", "apply_aggregate", "encrypted_update", "inference",
    "evaluation", "query",
)  # fmt: skip
FORMATS = {"zkai.shapes/1", "zkai.statement-vectors/1"}


def _canonical_shapes():
    path = ROOT / "tests" / "vectors" / "canonical_shapes.py"
    spec = importlib.util.spec_from_file_location("canonical_shapes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("canonical_shapes", module)
    spec.loader.exec_module(module)
    return module.SHAPES


SHAPES = _canonical_shapes()


def frozen(name):
    content = json.loads((CIRCUITS / name / "shapes.json").read_text())
    assert content["format"] in FORMATS
    assert content["statement"] == f"{name}/1"
    return content["shapes"]


ALL = [pytest.param(n, s, id=f"{n}: {s['name']}") for n in NAMES for s in frozen(n)]


@pytest.mark.parametrize(("name", "shape"), ALL)
def test_frozen_shapes(name, shape):
    statement = SHAPES[name][shape["name"]]()
    circuit = statement.build()
    now = (circuit.n_signals, circuit.n_constraints, circuit.n_wires, hex32(circuit.digest))
    assert now == tuple(shape[k] for k in ("public_signals", "constraints", "wires", "digest"))
    description = statement.describe()
    assert canonical_json(description) == canonical_json(shape["description"])
    assert isinstance(statement, Statement)
    assert STATEMENTS[description["statement"]] is type(statement)
    if name == "inference":
        with pytest.raises(InvalidInput, match="make it from its graph"):
            from_description(description)
    else:
        assert from_description(description) == statement


def test_a_step_of_64x10_on_32_rows_fits_its_domain():
    """2**17 rows hold the step, its public signals and the constant."""
    shapes = {s["name"]: s["constraints"] for s in frozen("training_step")}
    for name in ("64x10, batch 32, digits", "64x10, batch 32"):
        assert shapes[name] + 10 <= 1 << 17
    assert shapes["64x10, batch 32, digits"] <= 110_800


def vector_files():
    return sorted(p for name in NAMES for p in (CIRCUITS / name / "vectors").glob("*.json"))


def value_of(value):
    """A scalar is a decimal string, a tensor a list of integers; elements are a list of strings."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [int(v) for v in value]
    return np.array(value, np.int64) if isinstance(value, list) else int(value)


def numbers(values):
    return {name: value_of(value) for name, value in values.items()}


def load_vectors():
    found = []
    for path in vector_files():
        content = json.loads(path.read_text())
        assert content["format"] == "zkai.statement-vectors/1"
        name = content["statement"].split("/")[0]
        for vector in content["vectors"]:
            case = (name, content["shape"], content["vectors"][0], vector)
            found.append(pytest.param(*case, id=f"{name}: {content['shape']}: {vector['name']}"))
    return found


@pytest.mark.parametrize(("name", "shape", "honest", "vector"), load_vectors())
def test_statement_vectors(name, shape, honest, vector):
    statement = SHAPES[name][shape]()
    circuit, values = statement.build(), numbers(honest["values"])

    def challenge(_):
        return [int(honest["challenges"][name]) for name in circuit.challenges]

    if vector["valid"]:
        witness = circuit.solve(statement.assign(values), challenge=challenge)
        assert_every_wire_forced(circuit, witness)
        if circuit.challenges:
            folded, *found = from_limbs(circuit.public_values(witness))
            found = found[: len(circuit.challenges)]
            assert found == challenge(None)
            assert folded == int(vector["folded"])
            fold = int(vector["challenges"]["fold"])
            signals = enumerate(from_limbs(circuit.signal_values(witness)), 1)
            assert (
                folded == sum(x * pow(fold, i, FIELD_MODULUS) for i, x in signals) % FIELD_MODULUS
            )
        public = {
            k: [int(x) for x in v] if isinstance(v, list) else int(v)
            for k, v in vector["public"].items()
        }
        assert statement.public_values(values) == public
        flat = [x for v in public.values() for x in (v if isinstance(v, list) else [v])]
        assert from_limbs(circuit.signal_values(witness)) == flat
        return
    if "values" in vector:
        with pytest.raises(InvalidInput) as refused:
            circuit.solve(statement.assign(values | numbers(vector["values"])), challenge=challenge)
        assert str(refused.value) == vector["refused"]
        return
    inputs, tamper = statement.assign(values), {}
    inputs |= numbers(vector.get("inputs", {}))
    if "hint" in vector:
        hint = vector["hint"]

        def forge(out):
            forged = np.ravel(out).copy()
            forged[hint["index"]] += hint["add"]
            return forged

        tamper = {hint["step"]: forge}
    partial = forger(circuit).begin(inputs, tamper)
    if "signal" in vector:
        index = [s.name for s in circuit.public].index(vector["signal"]["name"])
        place = circuit.signal_wires[sum(s.size for s in circuit.public[:index])]
        partial.witness[place] = to_limbs([int(vector["signal"]["value"])])[0]
    witness = circuit.finish(partial, challenge(None))
    with pytest.raises(VerificationError) as caught:
        circuit.check(witness)
    assert vector["refused"] in str(caught.value)


def test_each_statement_has_its_folder():
    for version in STATEMENTS:
        folder = CIRCUITS / version.split("/")[0]
        text = (folder / "README.md").read_text()
        assert version in text
        assert list((folder / "vectors").glob("*.json"))
        statement = next(iter(SHAPES[folder.name].values()))()
        for signal in statement.build().public:
            assert f"`{signal.name}`" in text, f"{folder.name} does not document {signal.name}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statement": "training_step/2"}, "unknown statement"),
        ({"batch": 0}, "batch must be in"),
        ({"batch": "4"}, "batch must be an integer"),
        ({"loss": "mse"}, "loss must be 'softmax'"),
        ({"extra": 1}, "unknown extra"),
        ({"head": {"name": "zkai.softmax-head/1"}}, "missing features"),
        ({"head": None}, "expected a mapping"),
    ],
)
def test_unusable_descriptions(change, message):
    description = SHAPES["training_step"]["5x3, batch 4"]().describe()
    with pytest.raises(InvalidInput, match=message):
        from_description({**description, **change})
    with pytest.raises(InvalidInput, match="unknown kind"):
        from_description({**description, "head": {**description["head"], "name": "other"}})


def test_equal_choices_make_equal_circuits_and_others_do_not():
    head = SoftmaxHead(5, 3)
    statement = STATEMENTS["genesis/1"]
    assert statement(head).build().digest == statement(SoftmaxHead(5, 3)).build().digest
    # The learning rate's width is no part of genesis, but of the architecture it commits to.
    other = statement(replace(head, rate_bits=5)).build()
    assert statement(head).build().digest != other.digest
