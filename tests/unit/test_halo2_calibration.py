"""How models become Halo2 circuits: settings that are searched and pinned, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import zkai
from tests.unit.halo2_support import SMALL, keys, mlp, onnx_bytes, points, require_ezkl, statement
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.calibration import COMPILED, WITNESS, calibrate, check_scales, witness
from zkai.halo2.estimate import check_memory, estimate_settings
from zkai.halo2.process import Fault, Worker
from zkai.halo2.settings import PRIVATE, PUBLIC, Halo2Config, Settings, Visibility
from zkai.halo2.setup import calibration_of, setup
from zkai.halo2.statement import Halo2Inference, decode, encode, signals_of
from zkai.model.onnx_file import load_onnx


def test_the_search_finds_a_small_circuit_at_the_scale_asked_for() -> None:
    require_ezkl()
    given = Halo2Inference(mlp(), points(), {"input": "public"}, Halo2Config(scale=11))
    found = calibration_of(given)
    settings = found.settings
    assert settings.k <= 9  # EZKL's default base takes 2^15 rows
    assert settings.input_scales == settings.output_scales == (11,)
    assert settings.content["run_args"]["scale_rebase_multiplier"] == 1
    assert found.report["samples"] == 2
    assert found.report["outputs"]["output"]["max_abs_error"] < 4 / 2**11
    assert calibration_of(given).settings == settings


def test_estimates_are_near_what_was_made() -> None:
    made = keys()
    settings = made.verifying.settings
    signals = signals_of(made.verifying.description, settings)
    found = estimate_settings(settings, "onnx_inference/1", signals)
    size = made.proving.path.stat().st_size
    assert abs(found.proving_key_bytes - size) < 0.05 * size
    assert (found.k, found.constraints, found.public_inputs) == (settings.k, settings.rows, 6)
    assert found.srs_bytes == (made.proving.folder / "kzg.srs").stat().st_size
    assert "proving key" in str(found)
    assert json.loads(json.dumps(found.to_json()))["format"] == "halo2"


def test_what_would_not_fit_into_memory_is_refused_before_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = keys().verifying.settings
    with pytest.raises(InvalidInput, match=r"needs about .* of memory, .* may be used"):
        check_memory(settings, 1 << 20)
    large = json.loads(settings.text)
    large["run_args"]["logrows"] = 24
    with pytest.raises(InvalidInput, match=r"2\^24 rows"):
        check_memory(Settings(json.dumps(large)))
    monkeypatch.setattr("zkai.halo2.estimate.default_memory", lambda: 1 << 20)
    with pytest.raises(InvalidInput, match="of memory"):
        zkai.estimate(statement())


def test_too_many_rows_are_refused_by_their_number() -> None:
    require_ezkl()
    small = Halo2Config(scale=7, max_k=6)
    with pytest.raises(InvalidInput, match=r"rows, so 2\^[0-9]+, and max_k is 6"):
        calibration_of(Halo2Inference(mlp(sizes=(16, 16, 4)), points(width=16), {}, small))


def test_an_operator_that_EZKL_does_not_know_is_named() -> None:
    require_ezkl()
    node = helper.make_node("Det", ["input"], ["output"])
    model = onnx_bytes([node], [], {"input": (2, 2)}, {"output": ()})
    samples = np.random.default_rng(0).normal(size=(4, 2, 2))
    with pytest.raises(InvalidInput, match="the operator Det"):
        calibration_of(Halo2Inference(model, samples, {"input": "public"}, SMALL))


def doubling(visibility: Visibility, config: Halo2Config, folder: Path) -> bool:
    """Return whether 2^-8 mod r passes for the input of y = 2 x, whose product then is 1."""
    weight = numpy_helper.from_array(np.array([2.0], np.float32), "w")
    node = helper.make_node("Mul", ["input", "w"], ["output"])
    model = load_onnx(onnx_bytes([node], [weight], {"input": (1, 2)}, {"output": (1, 2)}))
    samples = {"input": points(4, 2)}
    with Worker(folder) as worker:
        calibrate(worker, model, samples, visibility, config)
        made = witness(worker, model, {"input": np.zeros((1, 2))})
        worker.call("mock", witness=WITNESS, model=COMPILED)
        forged = pow(1 << (config.scale + 1), -1, FIELD_MODULUS)
        made["inputs"][0][0] = forged.to_bytes(32, "little").hex()
        (folder / WITNESS).write_text(json.dumps(made))
        try:
            worker.call("mock", witness=WITNESS, model=COMPILED)
        except (Fault, ToolError):
            return False
        return True


def test_a_hidden_number_is_held_to_its_range(tmp_path: Path) -> None:
    """Without range checks a field element far outside of every range proves as an input."""
    require_ezkl()
    seen = Visibility(PRIVATE, PUBLIC)
    for name, checks in (("on", True), ("off", False)):
        (tmp_path / name).mkdir()
        config = replace(SMALL, check_ranges=checks)
        assert doubling(seen, config, tmp_path / name) is not checks
    with pytest.raises(InvalidInput, match="check_ranges may be False only if"):
        replace(statement(), config=replace(SMALL, check_ranges=False), visibility={})


def test_steps_chain_only_at_equal_scales() -> None:
    settings = keys().verifying.settings
    check_scales(settings, SMALL, True)
    content = json.loads(settings.text)
    content["model_output_scales"] = [14]
    other = Settings(json.dumps(content))
    check_scales(other, SMALL, False)
    with pytest.raises(InvalidInput, match="chain only at equal scales"):
        check_scales(other, SMALL, True)
    with pytest.raises(InvalidInput, match="changed the scale"):
        check_scales(settings, replace(SMALL, scale=8), False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing input"),
        ({"input": points()[0], "more": 1}, "unknown more"),
        ({"input": points()[0][0]}, r"must have shape \(1, 4\)"),
        ({"input": np.full((1, 4), np.nan)}, "holds NaN"),
        ({"input": [["a"] * 4]}, "holds no numbers"),
        ({"input_integers": points()[0]}, "must hold integers"),
        ([1], "expected a mapping"),
        ({"input": np.full((1, 4), 1e6)}, "leaves the ranges"),
    ],
)
def test_values_that_the_model_cannot_take_are_named(values: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        zkai.prove(statement(), keys().proving, values)


def test_integers_are_taken_exactly() -> None:
    found = statement().feeds({"input_integers": [[1, -2, 3, 64]]})
    np.testing.assert_array_equal(found["input"], np.array([[1, -2, 3, 64]]) / 128)
    (signal, _) = keys().verifying.signals
    elements = encode(signal, found["input"])
    assert elements == (1, FIELD_MODULUS - 2, 3, 64)
    np.testing.assert_array_equal(decode(signal, elements), found["input"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"calibration": None}, "calibration: give samples"),
        ({"calibration": points()[:, 0]}, r"must have the shape \(samples, 1, 4\)"),
        ({"calibration": {"x": points()}}, "expected samples of input"),
        ({"calibration": [[1], [1, 2]]}, "calibration: holds no"),
        ({"calibration": np.full((3, 1, 4), np.inf)}, "holds NaN or an infinity"),
        ({"visibility": {"input": "argmax"}}, "visibility: input: expected"),
        ({"visibility": {"logits": "public"}}, "one choice each"),
        ({"visibility": {"weights": "public"}}, "visibility: weights: expected"),
        ({"config": 3}, "expected a Halo2Config"),
        ({"model": b"no"}, "not an ONNX file"),
        ({"model": 3}, "format halo2 takes an ONNX file"),
    ],
)
def test_statements_refuse_what_they_cannot_use(changed: Any, message: str) -> None:
    given = {"model": mlp(), "calibration": points(), "visibility": {}, "config": SMALL}
    with pytest.raises(InvalidInput, match=message):
        Halo2Inference(**{**given, **changed})


def test_one_sample_is_too_few() -> None:
    require_ezkl()
    with pytest.raises(InvalidInput, match="at least 2 samples"):
        calibration_of(replace(statement(), calibration=points(1)))


def test_a_shape_that_the_file_leaves_open_is_that_of_the_samples() -> None:
    model = load_onnx(mlp())
    open_shape = onnx_bytes(
        [helper.make_node("Relu", ["input"], ["output"])], [], {"input": ("n", 4)},
        {"output": ("n", 4)},
    )  # fmt: skip
    assert Halo2Inference(open_shape, points(), {}, SMALL).model.inputs["input"] == (1, 4)
    assert model.inputs["input"] == (1, 4)
    with pytest.raises(InvalidInput, match="leaves axis 0"):
        zkai.load(open_shape, backend="halo2")


def test_the_public_names_choose_the_backend() -> None:
    found: Any = zkai.Inference(
        mlp(), backend="halo2", calibration=points(), visibility={"input": "public"},
        config=zkai.Halo2Config(scale=7, decomposition=(64, 3)),
    )  # fmt: skip
    assert isinstance(found, zkai.Halo2Inference)
    assert found.describe() == statement().describe()
    proof = zkai.prove(found, keys().proving, {"input": points()[1]})
    zkai.verify(proof, keys().verifying)
    zkai.verify(proof, keys().proving.folder / "verifying.json")
    with pytest.raises(InvalidInput, match="backend: expected"):
        zkai.Inference(mlp(), backend="stark")
    with pytest.raises(InvalidInput, match="takes no head"):
        zkai.Inference(mlp(), backend="halo2", head=None)
    with pytest.raises(VerificationError, match="for no chain"):
        zkai.verify(proof, keys().verifying, destination=zkai.Destination(1))
    with pytest.raises(InvalidInput, match="has none"):
        zkai.prove(found, keys().proving, {"input": points()[1]}, destination=zkai.Destination(1))


def test_a_held_out_sample_that_does_not_satisfy_the_circuit_stops_setup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_ezkl()
    call = Worker.call

    def failing(self: Worker, function: str, **given: Any) -> Any:
        if function == "mock":
            raise Fault("mock", "RuntimeError", "The constraint system is not satisfied")
        return call(self, function, **given)

    monkeypatch.setattr(Worker, "call", failing)
    with pytest.raises(VerificationError, match="held-out sample 0 does not satisfy"):
        setup(statement(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_only_halo2_proves(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    require_ezkl()

    class Wave(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.sin(x)

    x = torch.linspace(-1, 1, 4).reshape(1, 4)
    with pytest.raises(InvalidInput, match="Sin"):
        zkai.export(Wave().eval(), x)
    model = zkai.export(Wave().eval(), x, path=tmp_path / "m.onnx", backend="halo2")
    assert model.operators == ("Sin",)
    assert load_onnx(tmp_path / "m.onnx") == model
    given = Halo2Inference(model, points(), {"input": "public"}, SMALL)
    (error,) = calibration_of(given).report["outputs"].values()
    assert error["max_abs_error"] < 0.05


def test_an_export_is_held_against_torch_and_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from zkai.model.onnx_file import OnnxModel

    run = OnnxModel.run
    monkeypatch.setattr(
        OnnxModel, "run", lambda self, feeds: {n: v + 0.01 for n, v in run(self, feeds).items()}
    )
    with pytest.raises(InvalidInput, match="differs from torch's"):
        zkai.export(torch.nn.Linear(4, 2).eval(), torch.ones(1, 4), backend="halo2")
