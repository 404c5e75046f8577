"""A small world that the stories share: a head, a model, their statements, keys and proofs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from zkai import cli, pipeline
from zkai.calibrated import Inference
from zkai.circuit.statements.base import COMMIT, PLAIN, Format, Statement
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.export import load
from zkai.model.graph import Graph
from zkai.model.training import SoftmaxHead
from zkai.pipeline import OpenedProof
from zkai.proof.proving_keys import Keys
from zkai.receipt import keyfile

HEAD = SoftmaxHead(features=3, classes=2)
BATCH = 4
RATE = 2.0**-4

STEP_TOML = """\
statement = "training_step"
format = "groth16"
batch = 4
learning_rate = 0.0625

[head]
features = 3
classes = 2
"""
GENESIS_TOML = 'statement = "genesis"\n\n[head]\nfeatures = 3\nclasses = 2\n'
AGGREGATE_TOML = GENESIS_TOML.replace("genesis", "apply_aggregate")
INFERENCE_TOML = """\
statement = "inference"
format = "groth16"
model = "model.onnx"
calibration = "samples.npz"

[visibility]
input = "committed"
output = "public"
weights = "constant"
"""


def linear_model() -> bytes:
    """An ONNX file of a linear layer and a ReLU on three features."""
    weights = np.array([[0.5, -1.25], [0.75, 0.5], [-0.25, 1.0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"], name="linear"),
            helper.make_node("Relu", ["z"], ["y"], name="relu"),
        ],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([0.125, -0.5], np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return data


def mlp_graph(features: int, hidden: int, classes: int) -> Graph:
    """A graph of two linear layers with a ReLU between them."""
    rng = np.random.default_rng(3)
    shapes = {"u": (features, hidden), "v": (hidden, classes)}
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "u"], ["a"]),
            helper.make_node("Relu", ["a"], ["h"]),
            helper.make_node("MatMul", ["h", "v"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, classes])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return load(model.SerializeToString())


def samples() -> Any:
    """Calibration samples of the linear model."""
    return np.random.default_rng(7).normal(size=(20, 3))


def batch(seed: int) -> dict[str, Any]:
    """A labelled batch for the head."""
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(BATCH, 3)), "labels": rng.integers(0, 2, BATCH)}


WEIGHTS = {"weights": np.array([[0.1, -0.2], [0.3, 0.0], [-0.4, 0.5]])}


@dataclass(frozen=True)
class World:
    """Statements with keys, and a fork's history: a genesis and two steps."""

    folder: Path
    statements: Mapping[str, Statement]
    keys: Mapping[str, Keys]
    genesis: OpenedProof
    steps: tuple[OpenedProof, OpenedProof]
    inference: OpenedProof


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The shared world; tests copy what they change."""
    return make_world(tmp_path_factory.mktemp("world"), PLAIN)


@pytest.fixture(scope="session")
def commit_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same world in the format with a commitment round."""
    return make_world(tmp_path_factory.mktemp("commit"), COMMIT)


def make_world(folder: Path, proof_format: Format) -> World:
    """A world whose proofs are of one format."""
    (folder / "model.onnx").write_bytes(linear_model())
    np.savez(folder / "samples.npz", x=samples())
    statements: dict[str, Statement] = {
        "genesis": Genesis(HEAD, format=proof_format),
        "step": TrainingStep(HEAD, batch=BATCH, learning_rate=RATE, format=proof_format),
        "inference": Inference(
            load(folder / "model.onnx"),
            calibration=samples(),
            visibility={"input": "committed", "output": "public", "weights": "constant"},
            format=proof_format,
        ),
    }
    keys = {
        name: pipeline.setup(statement, folder / name) for name, statement in statements.items()
    }
    genesis = pipeline.prove(statements["genesis"], keys["genesis"].proving, WEIGHTS)
    first = pipeline.prove(
        statements["step"], keys["step"].proving, {"state": genesis.opening.state, **batch(1)}
    )
    second = pipeline.prove(
        statements["step"], keys["step"].proving, {"state": first.opening.state, **batch(2)}
    )
    inference = pipeline.prove(
        statements["inference"], keys["inference"].proving, {"input": samples()[0:1]}
    )
    return World(folder, statements, keys, genesis, (first, second), inference)


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Path:
    """A folder with statement files, inputs, keys and a proof, for the command line."""
    return make_desk(world, tmp_path)


@pytest.fixture
def commit_desk(commit_world: World, tmp_path: Path) -> Path:
    """The same in the format with a commitment round."""
    for path in make_desk(commit_world, tmp_path).glob("*.toml"):
        text = path.read_text().replace('format = "groth16"\n', "")
        path.write_text(f'format = "groth16-commit"\n{text}')
    return tmp_path


def make_desk(world: World, tmp_path: Path) -> Path:
    """Fill a folder with what the commands need and with a world's keys and proof."""
    (tmp_path / "genesis.toml").write_text(GENESIS_TOML)
    (tmp_path / "step.toml").write_text(STEP_TOML)
    (tmp_path / "aggregate.toml").write_text(AGGREGATE_TOML)
    (tmp_path / "inference.toml").write_text(INFERENCE_TOML)
    (tmp_path / "model.onnx").write_bytes(linear_model())
    np.savez(tmp_path / "samples.npz", x=samples())
    write_json(tmp_path / "input.json", {"x": samples()[0:1]})
    write_json(tmp_path / "base.json", WEIGHTS)
    write_json(tmp_path / "batch.json", batch(1))
    for name in ("genesis", "step", "inference"):
        (tmp_path / f"{name}-keys").symlink_to(world.folder / name)
    world.inference.write(tmp_path / "proof.json")
    return tmp_path


class Shell:
    """Runs commands in a folder and returns what --json prints."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, command: str, status: int = 0) -> dict[str, Any]:
        found = cli.main([*command.split(), "--json"])
        out, err = self._capsys.readouterr()
        assert found == status, err
        answer: dict[str, Any] = json.loads(out)
        assert answer["ok"] is (status == 0)
        return answer

    def output(self) -> str:
        """Return what was printed on standard output since the last look."""
        return self._capsys.readouterr().out

    def text(self, command: str) -> str:
        """Run without --json and return standard output."""
        assert cli.main(command.split()) == 0
        return self._capsys.readouterr().out


@pytest.fixture
def shell(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(desk)
    return Shell(desk, capsys)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write arrays and numbers as an input file."""
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()}
    path.write_text(json.dumps(plain))


def tree(desk: Path) -> dict[str, str]:
    """Every file below the desk, with a digest of its content."""
    found = {}
    for path in sorted(desk.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(desk))] = hashlib.sha256(content).hexdigest()
    return found


def assert_names(pattern: str, message: str) -> None:
    """Hold a message against the pattern of what it must name."""
    assert re.search(pattern, message, re.S), f"{message!r} does not say {pattern!r}"


@pytest.fixture
def commit_shell(
    commit_desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A shell in the folder whose keys and proof have a commitment round."""
    monkeypatch.chdir(commit_desk)
    return Shell(commit_desk, capsys)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and return what --json prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZKAI_PASSPHRASE", "secret")
    monkeypatch.setattr(keyfile, "LOG2_N", 14)

    def run(command: str, status: int = 0) -> dict[str, Any]:
        found = cli.main([*command.split(), "--json"])
        out, err = capsys.readouterr()
        assert found == status, err
        assert "Traceback" not in err
        answer: dict[str, Any] = json.loads(out)
        return answer

    return run
