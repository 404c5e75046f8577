"""Keys that say of their circuit what it is not: what provers and verifiers refuse to read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit import halo2_step_support as training
from tests.unit.halo2_support import keys, onnx_bytes, points, scratch, statement
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.keys import VERIFYING_FILE, Halo2Keys, Halo2ProvingKey, Halo2VerifyingKey
from zkai.halo2.proof import prove
from zkai.halo2.settings import Settings
from zkai.model.onnx_file import load_onnx


def dressed(made: Halo2Keys, folder: Path, **description: Any) -> Path:
    """Return a folder of keys whose description is another, with the digests that go with it."""
    target = folder / "keys"
    shutil.copytree(made.proving.folder, target)
    said = {**made.verifying.description, **description}
    replace(made.verifying, description=said).write(target / VERIFYING_FILE)
    return target


def with_settings(key: Halo2VerifyingKey, **arguments: Any) -> Halo2VerifyingKey:
    content = json.loads(key.settings.text)
    content["run_args"] |= arguments
    return replace(key, settings=Settings(json.dumps(content, sort_keys=True)))


def test_a_key_that_would_show_a_hidden_input_is_refused_by_the_prover() -> None:
    """The key calls the input committed, as the statement does; its circuit makes it public."""
    mine = statement(input="committed")
    folder = dressed(keys(), scratch(), **mine.describe())
    with pytest.raises(InvalidInput, match="the settings show input public"):
        prove(mine, Halo2ProvingKey(folder / "proving.ezkl"), {"input": points()[0]})


def test_a_key_whose_circuit_is_another_models_proves_nothing() -> None:
    """The prover's circuit is made of the prover's model, not of a file beside the key."""
    mine = statement(seed=0)
    folder = dressed(keys(seed=1), scratch(), **mine.describe())
    with pytest.raises((ToolError, VerificationError)):
        prove(mine, Halo2ProvingKey(folder / "proving.ezkl"), {"input": points()[0]})


def test_hidden_weights_are_those_of_the_provers_model() -> None:
    """Keys with weights that are not constant are for all of them, and prove none of their own."""
    mine, made = statement(seed=1, weights="committed"), keys(weights="committed")
    found = prove(mine, made.proving, {"input": points()[0]})
    wanted = mine.model.run({"input": points()[0]})["output"]
    np.testing.assert_allclose(found.decoded(made.verifying)["output"], wanted, atol=0.05)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"statement": "training_step/1"}, "no statement of format halo2"),
        ({"statement": "onnx_step/1"}, "other names or labels"),
        ({"names": {"output": "context"}}, "has no names"),
        ({"labels": []}, "has no labels"),
        ({"visibility": ["hashed", "public", "fixed"]}, "the settings show input public"),
        ({"weights": "hidden"}, "the settings show input public"),
        ({"outputs": [["output", [1, 3]]]}, "shapes"),
        ({"inputs": [["input", [1 << 24] * 3]]}, "shapes"),
        ({"config": {"scale": 8, "columns": 2, "check_ranges": True}}, "scale"),
        ({"config": {"scale": 7, "columns": 2, "check_ranges": False}}, "check_ranges"),
        ({"config": []}, "scale"),
    ],
)
def test_a_description_that_differs_from_the_settings_is_refused(said: Any, reason: str) -> None:
    key = keys().verifying
    whole = replace(key, description={**key.description, **said})
    with pytest.raises(InvalidInput, match=reason):
        whole.check()


def test_hidden_numbers_without_a_range_are_refused() -> None:
    key = keys(input="committed").verifying
    free = with_settings(key, ignore_range_check_inputs_outputs=True)
    said = {**key.description, "config": {**key.description["config"], "check_ranges": False}}
    with pytest.raises(InvalidInput, match="without a range"):
        replace(free, description=said).check()


def test_a_commitment_in_several_columns_is_refused() -> None:
    """The second column's point would be read as the next tensor's."""
    key = keys(input="polycommit").verifying
    content = json.loads(key.settings.text)
    content["module_sizes"]["polycommit"] = [(1 << key.settings.k) - 5]
    with pytest.raises(InvalidInput, match="several columns"):
        replace(key, settings=Settings(json.dumps(content))).check()


def test_a_training_steps_key_without_its_labels_is_none() -> None:
    key = training.keys().verifying
    bare = {name: value for name, value in key.description.items() if name != "labels"}
    with pytest.raises(InvalidInput, match="other names or labels"):
        replace(key, description=bare).check()


def test_shapes_of_settings_are_bounded() -> None:
    content = json.loads(keys().verifying.settings.text)
    for shape in ([2] * 17, [1 << 41], ["2"]):
        with pytest.raises(InvalidInput, match="not settings of EZKL"):
            _ = Settings(json.dumps({**content, "model_instance_shapes": [shape]})).content


def test_a_constant_that_is_kept_in_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnx's reference would read it from the current folder, and outputs would show it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(16))
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "c")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret"
    made = helper.make_node("Constant", [], ["c"], value=tensor)
    added = helper.make_node("Add", ["input", "c"], ["output"])
    branch = helper.make_graph([made], "b", [], [])
    inner = helper.make_node("If", ["input"], ["c"], then_branch=branch, else_branch=branch)
    for nodes in ([made, added], [inner, added]):
        with pytest.raises(InvalidInput, match="'c' is kept in another file"):
            load_onnx(onnx_bytes(nodes, [], {"input": (1, 4)}, {"output": (1, 4)}))


def test_a_loop_is_refused_before_anything_runs_it() -> None:
    """It could run for ever in this process, where onnx's reference computes outputs' shapes."""
    body = helper.make_graph([], "b", [], [])
    loop = helper.make_node("Loop", ["n", "", "input"], ["output"], body=body)
    branch = helper.make_graph([loop], "b", [], [])
    inner = helper.make_node("If", ["n"], ["output"], then_branch=branch, else_branch=branch)
    weights = [numpy_helper.from_array(np.array(10**12, np.int64), "n")]
    for node in (loop, inner):
        with pytest.raises(InvalidInput, match="the operator Loop"):
            load_onnx(onnx_bytes([node], weights, {"input": (1, 4)}, {"output": (1, 4)}))
