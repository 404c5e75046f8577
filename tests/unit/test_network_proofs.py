"""Real proofs of networks' training: from a file and float layers to a verified history."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from zkai.assignment import Destination, complete
from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.training_step import TrainingStep
from zkai.commands.files import read_input
from zkai.encoding import canonical_json
from zkai.errors import InvalidInput, VerificationError
from zkai.model import training
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.opening import UserState, read_state
from zkai.statement_file import parse

SMALL = (
    "input_width = 5\nlogit_scale_bits = 3\nerror_scale_bits = 3\nweight_scale_bits = 8\n"
    "weight_width = 10\nrate_shift = 6\nrate_bits = 3\nhidden_scale_bits = 3\nhidden_width = 8\n"
    "error_width = 8\n"
)
HEADS = {
    "mlp": '[head]\nkind = "mlp"\nsizes = [3, 2, 3]\n' + SMALL,
    "lora": '[head]\nkind = "lora"\nsizes = [3, 2, 3]\nrank = 2\nadapted = [1]\n' + SMALL,
}


def statements(kind: str, form: str) -> dict[str, Any]:
    """The statements of a history, from files."""
    rest = {"training_step": "batch = 2\nlearning_rate = 0.21875\n"}
    texts = {
        name: f'statement = "{name}"\nformat = "{form}"\nmomentum = 0.5\n{rest.get(name, "")}'
        for name in ("genesis", "training_step", "apply_aggregate")
    }
    return {n: parse((t + HEADS[kind]).encode(), Path("s.toml")) for n, t in texts.items()}


def start(kind: str) -> dict[str, Any]:
    """Real weights as a JSON input file has them."""
    rng = np.random.default_rng(2)
    layers = [
        [(rng.normal(size=(2, 3)) / 2).tolist(), [0.5, -0.25]],
        [(rng.normal(size=(3, 2)) / 2).tolist(), [0.0, 0.25, -0.25]],
    ]
    factors = [[(rng.normal(size=(2, 3)) / 4).tolist(), np.full((2, 2), 0.5).tolist()]]
    return {"weights": layers} if kind == "mlp" else {"weights": factors, "base": layers}


@pytest.mark.parametrize("form", ["groth16", "groth16-commit"])
@pytest.mark.parametrize("kind", ["mlp", "lora"])
def test_a_history_of_a_network(kind: str, form: str, tmp_path: Path) -> None:
    made = statements(kind, form)
    keys = {n: zkai.setup(s, tmp_path / n) for n, s in made.items()}
    rng = np.random.default_rng(3)
    batches = [
        {"x": rng.uniform(-0.9, 0.9, (2, 3)).tolist(), "labels": rng.integers(0, 3, 2).tolist()}
        for _ in range(2)
    ]
    names = ["genesis", "training_step", "apply_aggregate", "training_step"]
    head = made["genesis"].head
    (tmp_path / "in.json").write_text(json.dumps(start(kind)))
    inputs = [
        read_input(tmp_path / "in.json"),
        batches[0],
        {"update": np.full(head.shape, 2**-6)},
        batches[1],
    ]
    proofs: list[Any] = []
    for name, values in zip(names, inputs, strict=True):
        if proofs:
            # As the next session reads it: from the opening file.
            path = tmp_path / f"{len(proofs)}.json"
            proofs[-1].opening.write(path)
            values = values | {"state": read_state(path, head)}
        proofs.append(zkai.prove(made[name], keys[name].proving, values))
    by_version = {k.verifying.statement: k.verifying for k in keys.values()}
    zkai.verify_chain(proofs, by_version)
    for proof, name in zip(proofs, names, strict=True):
        zkai.verify(proof, keys[name].verifying)
    with pytest.raises(VerificationError, match="a gap"):
        zkai.verify_chain([proofs[0], proofs[2]], by_version)
    signal = proofs[1].public["new_state"]
    forged = replace(proofs[1], public={**proofs[1].public, "new_state": (signal[0] + 1,)})
    with pytest.raises(VerificationError):
        zkai.verify(forged, keys["training_step"].verifying)
    old, new = (p.opening.state for p in proofs[:2])
    x = np.floor(np.array(batches[0]["x"]) * 16 + 0.5).astype(np.int64)
    expected = training.sgd_step(head, old.values, x, np.array(batches[0]["labels"]), 7)
    assert np.array_equal(new.values.weights, expected.weights)
    assert not np.array_equal(new.values.weights, old.values.weights)


def test_states_go_through_json() -> None:
    head = LoraHead((3, 2, 3), 2, momentum=128)
    rng = np.random.default_rng(0)
    state = training.HeadState(
        rng.integers(-99, 99, head.shape),
        rng.integers(-99, 99, head.shape),
        rng.integers(-99, 99, head.frozen_size),
    )
    user = UserState(head, state, model=1, fork=2, step=3, secret=4, salt=5)
    value = json.loads(json.dumps(user.to_json()))
    again = UserState.from_json(value, head, "state")
    assert again.commitment == user.commitment
    changed = json.loads(json.dumps(value))
    changed["frozen"][0] += 1
    assert UserState.from_json(changed, head, "state").commitment != user.commitment
    for bad in ({**value, "frozen": value["frozen"][1:]}, {**value, "frozen": None}):
        with pytest.raises(InvalidInput, match="frozen"):
            UserState.from_json(bad, head, "state")
    del value["frozen"]
    with pytest.raises(InvalidInput, match="missing frozen"):
        UserState.from_json(value, head, "state")


def test_descriptions_name_the_head_again() -> None:
    mlp, lora = MlpHead((6, 5, 3)), LoraHead((6, 5, 3), 2)
    heads: list[Head] = [mlp, lora, replace(mlp, momentum=3), replace(lora, decay=5)]
    heads.append(SoftmaxHead(4, 3, decay=7))
    texts = set()
    for head in heads:
        statement = TrainingStep(head, 4)
        text = canonical_json(statement.describe())
        assert from_description(json.loads(text)) == statement
        texts.add(text)
    assert len(texts) == len(heads)
    assert "decay" not in SoftmaxHead(4, 3).describe()


def test_files_give_every_number_of_a_head() -> None:
    text = 'statement = "training_step"\nbatch = 32\nmomentum = 0.5\nweight_decay = 0.0009765625\n'
    statement: Any = parse((text + HEADS["lora"]).encode(), Path("s.toml"))
    assert statement.head.adapted == (1,)
    assert statement.head.decay == 2048
    assert statement.head == replace(statement.head, sizes=(3, 2, 3), rank=2, momentum=128)
    softmax: Any = parse(
        (text + '[head]\nkind = "softmax"\nfeatures = 3\nclasses = 2\n').encode(), Path("s.toml")
    )
    assert softmax.head == SoftmaxHead(3, 2, momentum=128, decay=2048)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "mlp"', 'kind = "cnn"', "kind: expected"),
        ("sizes = [3, 2, 3]", "", "missing sizes"),
        ("sizes = [3, 2, 3]", "sizes = [3, 2.5, 3]", "sizes: expected a list of integers"),
        ("sizes = [3, 2, 3]", "sizes = 3", "sizes: expected a list of integers"),
        ("sizes = [3, 2, 3]", "sizes = [3, 2, 1]", "the last size"),
        ("sizes = [3, 2, 3]", "sizes = [3, 2, 3]\nrank = 2", "unknown key rank"),
        ("sizes = [3, 2, 3]", "sizes = [3, 2, 3]\nfeatures = 2", "unknown key features"),
        ("hidden_width = 8", "hidden_width = 80", "hidden_width must be 2 to 32"),
        ("[head]", "weight_decay = 0.3\n[head]", "weight decay 0.3 is no multiple"),
        ("[head]", "weight_decay = 0.5\n[head]\ndecay = 3", "not both"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(old: str, new: str, message: str) -> None:
    text = 'statement = "training_step"\nbatch = 2\n' + HEADS["mlp"]
    assert old in text
    with pytest.raises(InvalidInput, match=message):
        parse(text.replace(old, new).encode(), Path("s.toml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [[[[1.0]], [1.0]]]}, "weights: expected a list of 2 pairs"),
        ({"weights": 3}, "weights: expected a list of 2 pairs"),
        ({"weights_integers": [1, 2]}, "weights_integers"),
        ({"bias": [0.0]}, "unknown bias"),
        ({"base": []}, "unknown base"),
    ],
)
def test_unusable_layers_are_named(change: dict[str, Any], message: str) -> None:
    statement = statements("mlp", "groth16")["genesis"]
    with pytest.raises(InvalidInput, match=message):
        complete(statement, start("mlp") | change, Destination(), bytes(32))


def test_layers_of_one_shape_stay_pairs(tmp_path: Path) -> None:
    """Where a weight and its bias, or A and B, have one shape, numpy would make one array."""
    head = LoraHead((2, 2, 2), 2)
    square = [[1.0, 0.5], [0.0, -1.0]]
    values = {"weights": [[square, square]], "base": [[square, [0.0, 1.0]], [square, None]]}
    (tmp_path / "in.json").write_text(json.dumps(values))
    read = read_input(tmp_path / "in.json")
    state = training.initial_state(head, read["weights"], base=read["base"])
    for weights in (values["weights"], np.array(values["weights"])):
        again = training.initial_state(head, weights, base=values["base"])  # type: ignore[arg-type]
        assert np.array_equal(again.weights, state.weights)
        assert np.array_equal(again.frozen, state.frozen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[[[1.0], [2.0, 3.0]], [1.0]]], r"weights\[0\]\[0\]: expected lists of numbers of equal"),
        ([[[["a"]], [1.0]]], r"weights\[0\]\[0\]: expected nested lists of numbers only"),
        ([[1.0], [2.0, 3.0]], "weights: expected lists of numbers of equal lengths"),
    ],
)
def test_ragged_layers_are_named(value: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"weights": value}))
    with pytest.raises(InvalidInput, match=message):
        read_input(tmp_path / "in.json")
