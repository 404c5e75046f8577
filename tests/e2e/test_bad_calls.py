"""Bad input of every kind, for every public function: a table.

Each row says which exception must follow and what its message must name. Whatever happens, no file
appears or changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from tests.e2e.conftest import (
    HEAD,
    WEIGHTS,
    World,
    assert_names,
    batch,
    linear_model,
    samples,
    tree,
)
from zkai.encoding import FIELD_MODULUS
from zkai.model.quant_graph import QuantGraph, QuantNode, QuantTensor, Relu

Work = Callable[[World, Path], object]


def inference(**changed: Any) -> Any:
    graph = changed.pop("graph", None) or zkai.load(linear_model())
    return zkai.Inference(graph, **{"calibration": samples(), **changed})


def prove(values: Any, name: str = "inference") -> Work:
    return lambda w, d: zkai.prove(w.statements[name], w.keys[name].proving, values)


def step(**changed: Any) -> Work:
    return prove({**WEIGHTS, **batch(1), **changed}, "step")


def spoilt(name: str, source: str, keep: int) -> Callable[[World, Path], Path]:
    """A truncated copy of one of the world's files."""

    def make(world: World, folder: Path) -> Path:
        target = folder / name
        target.write_bytes((world.folder / source).read_bytes()[:keep])
        return target

    return make


class BytesPath:
    """A path object whose path is bytes."""

    def __fspath__(self) -> bytes:
        return b"model.onnx"


def scalar_graph() -> Any:
    """An integer graph whose one output is a single number."""
    tensors = {
        "x": QuantTensor("x", (), 4, 8, "input", True),
        "y": QuantTensor("y", (), 4, 8, "output", False),
    }
    node = QuantNode("relu", "relu", Relu(), ("x",), "y", (5,))
    return QuantGraph("scalar", ("x",), ("y",), tensors, (node,), {})


BAD, NO = zkai.InvalidInput, zkai.VerificationError
nan = np.full((1, 3), np.nan)

FUNCTION_ROWS: list[tuple[str, Work, type[Exception], str]] = [
    ("load missing", lambda w, d: zkai.load(d / "m"), BAD, r"m: cannot be read"),
    ("load empty", lambda w, d: zkai.load(b""), BAD, r"not an ONNX file"),
    ("load cut", lambda w, d: zkai.load(linear_model()[:80]), BAD, r"not an ONNX file"),
    ("load folder", lambda w, d: zkai.load(d), BAD, r"cannot be read \(Is a directory"),
    (
        "export type",
        lambda w, d: zkai.export(3, nan),
        BAD,
        r"a torch\.nn\.Module, got int",
    ),
    ("graph type", lambda w, d: inference(graph="model"), BAD, r"expected a Graph"),
    ("no samples", lambda w, d: inference(calibration=None), BAD, r"calibration: give samples"),
    ("samples nan", lambda w, d: inference(calibration=nan), BAD, r"'x': holds NaN"),
    ("samples shape", lambda w, d: inference(calibration=[[1.0]]), BAD, r"'x': expected shape"),
    (
        "samples type",
        lambda w, d: inference(calibration=[["a"] * 3]),
        BAD,
        r"expected real numbers",
    ),
    ("samples name", lambda w, d: inference(calibration={"q": nan}), BAD, r"expected the inputs"),
    ("see typo", lambda w, d: inference(visibility={"inptu": "public"}), BAD, r"inptu"),
    ("see wrong", lambda w, d: inference(visibility={"input": "secret"}), BAD, r"secret"),
    ("see type", lambda w, d: inference(visibility={"input": 3}), BAD, r"input|visibility"),
    ("head", lambda w, d: zkai.SoftmaxHead(3, 1), BAD, r"classes must be 2 to 256"),
    ("head type", lambda w, d: zkai.SoftmaxHead("3", 2), BAD, r"features must be an integer"),
    ("batch", lambda w, d: zkai.TrainingStep(HEAD, batch=0), BAD, r"batch"),
    ("batch type", lambda w, d: zkai.TrainingStep(HEAD, batch=2.5), BAD, r"batch"),
    ("steps", lambda w, d: zkai.TrainingStep(HEAD, batch=2, steps=999), BAD, r"steps"),
    ("loss", lambda w, d: zkai.TrainingStep(HEAD, batch=2, loss="mse"), BAD, r"loss must be"),
    (
        "rate",
        lambda w, d: zkai.TrainingStep(HEAD, batch=2, learning_rate=0.1),
        BAD,
        r"learning rate 0\.1 .*nearest",
    ),
    (
        "rate nan",
        lambda w, d: zkai.TrainingStep(HEAD, batch=2, learning_rate=float("nan")),
        BAD,
        r"finite",
    ),
    ("prove no mapping", prove([1, 2]), BAD, r"expected a mapping of names to values"),
    ("prove missing", prove({}), BAD, r"missing input"),
    ("prove unknown", prove({"input": samples()[:1], "z": 1}), BAD, r"unknown z"),
    ("prove nan", prove({"input": nan}), BAD, r"tensor 'input': holds NaN"),
    ("prove type", prove({"input": [["a", "b", "c"]]}), BAD, r"'input': expected real numbers"),
    ("prove none", prove({"input": None}), BAD, r"'input': expected real numbers"),
    ("prove ragged", prove({"input": [[1], [1, 2]]}), BAD, r"input: expected lists of numbers"),
    ("prove shape", prove({"input": samples()}), BAD, r"input: expected shape \(1, 3\)"),
    ("prove wide", prove({"input": [[1e9, 0, 0]]}), BAD, r"'input': a value does not fit"),
    ("prove floats", prove({"input_integers": samples()[:1]}), BAD, r"must hold integers"),
    ("prove twice", prove({"input": 1, "input_integers": 1}), BAD, r"not both"),
    ("salt type", prove({"input": samples()[:1], "input_salt": 1.5}), BAD, r"input_salt"),
    (
        "salt range",
        prove({"input": samples()[:1], "input_salt": FIELD_MODULUS}),
        BAD,
        r"input_salt",
    ),
    ("step label", step(labels=[0, 1, 2, 0]), BAD, r"'labels' has a value outside \[0, 1\]"),
    ("step label type", step(labels=[0.5, 1, 1, 0]), BAD, r"'labels' must hold integers"),
    ("step label shape", step(labels=[0, 1]), BAD, r"'labels' must have shape \(4,\)"),
    ("step x", step(x=[[1.0, 2.0, 3.0]]), BAD, r"x: expected shape \(4, 3\), got \(1, 3\)"),
    ("step overflow", step(x=np.full((4, 3), 99.0)), BAD, r"'x': a value does not fit"),
    ("step rate", step(learning_rate=0.3), BAD, r"learning rate 0\.3"),
    ("step state", step(state={"weights": 3}), BAD, r"state"),
    ("step weights", step(weights=np.full((3, 2), 1e3)), BAD, r"weights"),
    (
        "prove key",
        lambda w, d: zkai.prove(w.statements["step"], w.keys["genesis"].proving, {}),
        BAD,
        r"a key of genesis/1 for another circuit",
    ),
    (
        "prove key missing",
        lambda w, d: zkai.prove(w.statements["step"], d / "k.zkey", {}),
        BAD,
        r"k\.zkey: cannot be read",
    ),
    (
        "prove key cut",
        lambda w, d: zkai.prove(
            w.statements["step"], spoilt("k.zkey", "step/proving.zkey", 70000)(w, d), {}
        ),
        BAD,
        r"k\.zkey.*are left in the file",
    ),
    (
        "setup read-only",
        lambda w, d: zkai.setup(w.statements["genesis"], w.folder / "model.onnx" / "keys"),
        BAD,
        r"model\.onnx/keys: cannot be made",
    ),
    ("setup full", lambda w, d: zkai.setup(w.statements["genesis"], w.folder), BAD, r"holds files"),
    ("setup type", lambda w, d: zkai.setup("genesis"), BAD, r"expected a statement, got str"),
    ("estimate type", lambda w, d: zkai.estimate(None), BAD, r"expected a statement, got NoneType"),
    ("prove statement", lambda w, d: zkai.prove(3, w.keys["step"].proving, {}), BAD, r"got int"),
    ("verify no proof", lambda w, d: zkai.verify({}, w.keys["step"].verifying), BAD, r"got dict"),
    (
        "verify key missing",
        lambda w, d: zkai.verify(w.inference, d / "v.json"),
        BAD,
        r"v\.json: cannot be read",
    ),
    (
        "verify key cut",
        lambda w, d: zkai.verify(
            w.inference, spoilt("v.json", "inference/verifying.json", 500)(w, d)
        ),
        BAD,
        r"v\.json: not valid JSON",
    ),
    (
        "verify key wrong",
        lambda w, d: zkai.verify(w.inference, w.keys["step"].verifying),
        NO,
        r"another statement",
    ),
    (
        "verify verifier",
        lambda w, d: zkai.verify(w.inference, w.keys["inference"].verifying, verifier="mine"),
        BAD,
        r"unknown verifier 'mine'",
    ),
    (
        "verify range",
        lambda w, d: zkai.verify(
            replace(
                w.inference,
                public={
                    **w.inference.public,
                    "context": (w.inference.public["context"][0] + FIELD_MODULUS,),
                },
            ),
            w.keys["inference"].verifying,
        ),
        NO,
        r"context\[0\] is not below the scalar field modulus",
    ),
    ("verify_chain empty", lambda w, d: zkai.verify_chain([], {}), NO, r"history is empty"),
    ("proof missing", lambda w, d: zkai.Proof.from_path(d / "p"), BAD, r"p: cannot be read"),
    ("keys missing", lambda w, d: zkai.Keys.from_path(d), BAD, r"proving\.zkey: cannot be read"),
    (
        "proof read-only",
        lambda w, d: w.inference.write(w.folder / "model.onnx" / "p.json"),
        BAD,
        r"p\.json: cannot be written",
    ),
    (
        "opening read-only",
        lambda w, d: w.inference.opening.write(w.folder / "model.onnx" / "o.json"),
        BAD,
        r"o\.json: cannot be written",
    ),
    (
        "destination",
        lambda w, d: zkai.prove(
            w.statements["inference"],
            w.keys["inference"].proving,
            {"input": samples()[:1]},
            destination=zkai.Destination(ledger=b"short"),
        ),
        BAD,
        r"ledger: expected 32 bytes",
    ),
    # Wrong types, at each public entry: never another exception, never a closed descriptor.
    ("type load", lambda w, d: zkai.load(3), BAD, r"model: expected a path, got int"),
    ("type load null", lambda w, d: zkai.load("a\0b"), BAD, r"model: a path holds no null"),
    (
        "type load bytes",
        lambda w, d: zkai.load(BytesPath()),
        BAD,
        r"a path, got BytesPath",
    ),
    ("type shapes", lambda w, d: zkai.load(linear_model(), 3), BAD, r"input_shapes: .* got int"),
    (
        "type shape",
        lambda w, d: zkai.load(linear_model(), {"x": 3}),
        BAD,
        r"input_shapes: 'x': expected a tuple of integers, got 3",
    ),
    ("type see", lambda w, d: inference(visibility=["x"]), BAD, r"visibility: .* got list"),
    ("type config", lambda w, d: inference(config="fine"), BAD, r"config: .* got str"),
    (
        "type inference head",
        lambda w, d: inference(head="x"),
        BAD,
        r"head: expected a SoftmaxHead, .*got str",
    ),
    (
        "see scalar",
        lambda w, d: zkai.Inference(scalar_graph(), visibility={"output": "argmax"}),
        BAD,
        r"y cannot be 'argmax': it is a single number",
    ),
    ("type step", lambda w, d: zkai.TrainingStep("x", batch=2), BAD, r"a SoftmaxHead, .*got str"),
    ("type scales", lambda w, d: zkai.QuantConfig(scale_bits=[1]), BAD, r"scale_bits: .* got list"),
    ("type loss", lambda w, d: zkai.TrainingStep(HEAD, batch=2, loss=nan), BAD, r"loss must be"),
    ("type choice", lambda w, d: inference(visibility={"input": nan}), BAD, r"input cannot be"),
    ("type outputs", lambda w, d: w.statements["inference"].read_outputs(3), BAD, r"output: exp"),
    (
        "other outputs",
        lambda w, d: w.statements["inference"].read_outputs(w.genesis.public),
        BAD,
        r"output: expected the public values of a proof of this statement",
    ),
    (
        "type verifier",
        lambda w, d: zkai.verify(w.genesis, w.keys["genesis"].verifying, verifier=nan),
        BAD,
        r"verifier: expected a str, got ndarray",
    ),
    (
        "type production",
        lambda w, d: zkai.verify(w.genesis, w.keys["genesis"].verifying, production=nan),
        BAD,
        r"production: expected a bool, got ndarray",
    ),
    ("step huge rate", step(learning_rate=10**400), BAD, r"learning rate 1000"),
    ("type genesis", lambda w, d: zkai.Genesis("x"), BAD, r"a SoftmaxHead, .*got str"),
    ("type apply", lambda w, d: zkai.ApplyAggregate(None), BAD, r"a SoftmaxHead, .*got NoneType"),
    (
        "type folder",
        lambda w, d: zkai.setup(w.statements["genesis"], 5),
        BAD,
        r"folder: .* got int",
    ),
    (
        "type ptau",
        lambda w, d: zkai.setup(w.statements["genesis"], d / "k", ptau=5),
        BAD,
        r"ptau: expected a path, got int",
    ),
    (
        "type setup progress",
        lambda w, d: zkai.setup(w.statements["genesis"], d / "k", progress=5),
        BAD,
        r"progress: expected a callable, got int",
    ),
    (
        "type estimate progress",
        lambda w, d: zkai.estimate(w.statements["genesis"], progress=5),
        BAD,
        r"progress: expected a callable, got int",
    ),
    (
        "type prove key",
        lambda w, d: zkai.prove(w.statements["genesis"], 123, {}),
        BAD,
        r"proving key: expected a path, got int",
    ),
    (
        "type prove destination",
        lambda w, d: zkai.prove(
            w.statements["genesis"], w.keys["genesis"].proving, WEIGHTS, destination="x"
        ),
        BAD,
        r"destination: expected a Destination, got str",
    ),
    ("type verify key", lambda w, d: zkai.verify(w.inference, 123), BAD, r"verifying key: .* int"),
    (
        "type verify destination",
        lambda w, d: zkai.verify(w.inference, w.keys["inference"].verifying, destination="x"),
        BAD,
        r"destination: expected a Destination, got str",
    ),
    ("type chain", lambda w, d: zkai.verify_chain(None, {}), BAD, r"proofs: .* got NoneType"),
    ("type chain proof", lambda w, d: zkai.verify_chain([1], {}), BAD, r"proof 0: .* got int"),
    (
        "type chain updates",
        lambda w, d: zkai.verify_chain([], {}, updates=7),
        BAD,
        r"updates: .* got int",
    ),
    (
        "type chain keys",
        lambda w, d: zkai.verify_chain([w.genesis], "keys"),
        BAD,
        r"keys: expected a mapping of versions to keys, or a list, got str",
    ),
    (
        "type chain key listed",
        lambda w, d: zkai.verify_chain([w.genesis], [w.keys["genesis"].verifying, 1]),
        BAD,
        r"key 1: expected a VerifyingKey, got int",
    ),
    (
        "type chain key",
        lambda w, d: zkai.verify_chain([w.genesis], {"genesis/1": 3}),
        BAD,
        r"verifying key: expected a path, got int",
    ),
    (
        "chain inference",
        lambda w, d: zkai.verify_chain(
            [w.genesis, w.inference], {k.verifying.statement: k.verifying for k in w.keys.values()}
        ),
        NO,
        r"proof 1 \(inference/1\): a history consists of genesis/1, training_step/1",
    ),
    ("type proof file", lambda w, d: zkai.Proof.from_path(3), BAD, r"expected a path, got int"),
    ("type proof write", lambda w, d: w.inference.write(3), BAD, r"expected a path, got int"),
    ("type key file", lambda w, d: zkai.VerifyingKey.from_path(3), BAD, r"a path, got int"),
    ("type keys", lambda w, d: zkai.Keys.from_path(3), BAD, r"expected a path, got int"),
    ("type proving key", lambda w, d: zkai.ProvingKey(3), BAD, r"expected a path, got int"),
    ("type opening", lambda w, d: w.inference.opening.write(3), BAD, r"expected a path, got int"),
    (
        "secret",
        lambda w, d: zkai.prove(
            w.statements["genesis"], w.keys["genesis"].proving, {**WEIGHTS, "secret": 2**128 - 1}
        ),
        BAD,
        r"secret: below 2\*\*128",
    ),
    ("step secret", step(secret="12345"), BAD, r"secret: below 2\*\*128"),
    ("destination type", lambda w, d: zkai.Destination(ledger=5), BAD, r"ledger: expected 32"),
]


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [row[1:] for row in FUNCTION_ROWS],
    ids=[row[0] for row in FUNCTION_ROWS],
)
def test_functions(
    world: World, tmp_path: Path, work: Work, error: type[Exception], message: str
) -> None:
    before = tree(world.folder)
    with pytest.raises(error) as caught:
        work(world, tmp_path)
    assert type(caught.value) is error
    assert_names(message, str(caught.value))
    assert tree(world.folder) == before


def test_an_integer_is_no_file_descriptor(world: World) -> None:
    """`open` takes an integer for a descriptor and closes it: the caller's file would be gone."""
    with open(world.folder / "model.onnx", "rb") as file:
        for work in (zkai.load, zkai.Proof.from_path, zkai.VerifyingKey.from_path, zkai.ProvingKey):
            with pytest.raises(zkai.InvalidInput):
                work(file.fileno())
        assert file.read(1)


def test_a_secret_of_full_size_is_taken(world: World) -> None:
    values = {**WEIGHTS, "secret": 2**128}
    proof = zkai.prove(world.statements["genesis"], world.keys["genesis"].proving, values)
    assert proof.opening.state is not None
    assert proof.opening.state.secret == 2**128
