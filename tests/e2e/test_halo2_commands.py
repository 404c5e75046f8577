"""Format halo2 on the command line: from export to verify, and what the commands refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.halo2_support import mlp, points, require_ezkl
from zkai import cli
from zkai.halo2 import process

_STATEMENT = """
statement = "inference"
format = "halo2"
model = "model.onnx"
calibration = "samples.npz"
[visibility]
input = "public"
[halo2]
scale = 7
decomposition = [64, 3]
"""


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its samples, a statement, keys and a proof."""
    require_ezkl()
    folder = tmp_path_factory.mktemp("halo2")
    (folder / "model.onnx").write_bytes(mlp())
    np.savez(folder / "samples.npz", input=points())
    (folder / "s.toml").write_text(_STATEMENT)
    (folder / "in.json").write_text(json.dumps({"input": points()[0].tolist()}))
    assert run("setup", folder / "s.toml", "-o", folder / "keys", "--json") == 0
    out = ("--input", folder / "in.json", "-o", folder / "proof.json", "--json")
    assert run("prove", folder / "s.toml", "--keys", folder / "keys", *out) == 0
    return folder


def test_the_way_from_a_statement_to_a_verified_proof(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = world / "keys" / "verifying.json"
    assert run("estimate", world / "s.toml", "--json") == 0
    estimate = json.loads(capsys.readouterr().out)
    found = json.loads(key.read_text())
    assert estimate["k"] == json.loads(found["settings"])["run_args"]["logrows"]
    pk = (world / "keys" / "proving.ezkl").stat().st_size
    assert 0.9 * pk < estimate["proving_key_bytes"] < 1.1 * pk
    assert estimate["quantization"]["outputs"]["output"]["max_abs_error"] < 0.05
    assert run("verify", world / "proof.json", "--key", key, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verified"]
    assert said["grade"] == "proven (development key)"
    assert said["decoded"]["input"] == points()[0].tolist()


def test_an_edited_proof_ends_with_status_1(world: Path, tmp_path: Path) -> None:
    whole = json.loads((world / "proof.json").read_text())
    whole["public"]["output"][0] = "5"
    (tmp_path / "edited.json").write_text(json.dumps(whole))
    assert run("verify", tmp_path / "edited.json", "--key", world / "keys" / "verifying.json") == 1


def test_production_refuses_the_development_key(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = world / "keys" / "verifying.json"
    assert run("verify", world / "proof.json", "--key", key, "--production") == 1
    assert "development key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--verifier", "py-ecc"), "has one, EZKL's"),
        (("--history", "x.json"), "--history: format halo2"),
    ],
)
def test_options_of_other_formats_are_refused(
    world: Path, capsys: pytest.CaptureFixture[str], extra: Any, message: str
) -> None:
    key = world / "keys" / "verifying.json"
    assert run("verify", world / "proof.json", "--key", key, *extra) == 2
    assert message in capsys.readouterr().err


def test_an_inference_is_for_no_destination(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = world / "keys" / "verifying.json"
    assert run("verify", world / "proof.json", "--key", key, "--chain-id", "1") == 1
    assert "for no chain, ledger or recipient" in capsys.readouterr().err


def test_a_missing_extra_is_one_line_and_status_3(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; sys.modules['ezkl'] = None; from zkai.halo2 import worker; worker.main()"
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", code))
    assert run("setup", world / "s.toml", "-o", tmp_path / "keys") == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].endswith("pip install 'zkai[ezkl]'")
    assert not (tmp_path / "keys").exists()


def test_a_statement_file_names_what_is_wrong_with_it(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (world / "s.toml").read_text().replace('"model.onnx"', f'"{world}/model.onnx"')
    text = text.replace('"samples.npz"', f'"{world}/samples.npz"')
    for old, new, message in (
        ('"public"', '"argmax"', "visibility: input: expected public, committed"),
        ("scale = 7", "scale = 99", "scale: expected an integer in 1..30"),
        ("[64, 3]", "[64]", "decomposition: expected [base, legs]"),
        ('"inference"', '"genesis"', 'format "halo2" is for "inference"'),
    ):
        (tmp_path / "s.toml").write_text(text.replace(old, new))
        assert run("estimate", tmp_path / "s.toml") == 2
        assert message in capsys.readouterr().err


def test_a_model_in_slices_goes_through_the_same_commands(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.onnx", "samples.npz"):
        (tmp_path / name).write_bytes((world / name).read_bytes())
    statement, keys, proof = (tmp_path / n for n in ("s.toml", "keys", "proof.json"))
    statement.write_text(_STATEMENT.replace("[visibility]", "slices = 2\n[visibility]"))
    given = ("--keys", keys, "--input", world / "in.json", "-o", proof)
    assert run("estimate", statement, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["slices"]) == 2
    assert run("setup", statement, "-o", keys, "--json") == 0
    assert run("prove", statement, *given, "--jobs", 2, "--json") == 0
    capsys.readouterr()
    key = keys / "verifying.json"
    assert run("verify", proof, "--key", key, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["decoded"]["input"] == points()[0].tolist()
    whole = json.loads(proof.read_text())
    middle = whole["slices"][0]["public"]["output"]
    whole["slices"][0]["public"]["output"] = str(int(middle) + 1)
    proof.write_text(json.dumps(whole))
    assert run("verify", proof, "--key", key) == 1
    assert "slices 0 and 1 show different values" in capsys.readouterr().err
    # Proofs and keys of one circuit and of slices are not taken for each other.
    assert run("verify", world / "proof.json", "--key", key) == 2
    assert "zkai.halo2/1" in capsys.readouterr().err
    assert run("verify", world / "proof.json", "--key", key, "--ledger", "0x" + "01" * 20) == 2
    assert run("prove", world / "s.toml", "--keys", world / "keys", *given[2:], "--jobs", 2) == 2
    assert "--jobs: for models in slices" in capsys.readouterr().err
    statement.write_text(
        _STATEMENT.replace("[visibility]", 'slices = 2\ncuts = ["sum0"]\n[visibility]')
    )
    assert run("estimate", statement) == 2
    assert "give slices or cuts" in capsys.readouterr().err
