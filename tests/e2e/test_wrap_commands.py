"""`zkai wrap`, and `zkai chain` on Halo2: a model is cut, proven, checked, signed, put on chain."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from bench._anvil import running_anvil
from tests.e2e.conftest import Shell
from zkai import statement_file
from zkai.halo2 import evm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import halo2_support
import wrap_support

KEYS = "--body-key bk/verifying.json --head-key hk/verifying.json"
HEAD = "--head parts/head.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all stories of this file happen: each command's files serve the next ones."""
    halo2_support.require_ezkl()
    found = tmp_path_factory.mktemp("wrap")
    (found / "model.onnx").write_bytes(halo2_support.mlp())
    np.savez(found / "samples.npz", input=halo2_support.points())
    for index in range(2):
        values = {"input": halo2_support.points()[index].tolist()}
        (found / f"in{index}.json").write_text(json.dumps(values))
    return found


@pytest.fixture
def desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A shell in a folder with a cut model, its keys and one decision."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZKAI_PASSPHRASE", "for tests")
    shell = Shell(folder, capsys)
    if not (folder / "decision").is_dir():
        command = f"wrap cut model.onnx --at {wrap_support.AT} --calibration samples.npz"
        answer = shell(f"{command} --scale 7 -o parts")
        assert answer["head_constraints"] > 11 * 216
        with (folder / "parts" / "body.toml").open("a") as file:
            file.write("decomposition = [64, 3]\n")
        shell("setup parts/body.toml -o bk")
        shell("setup parts/head.toml -o hk")
        made = prove(shell, 0, "decision")
        assert made["outputs"]["output"] == [0.0]
    return shell


def prove(shell: Shell, index: int, out: str) -> dict[str, object]:
    parts = "wrap prove parts/body.toml parts/head.toml --body-keys bk --head-keys hk"
    return shell(f"{parts} --input in{index}.json -o {out}")


def test_a_decision_is_verified(desk: Shell) -> None:
    assert sorted(os.listdir("decision")) == ["body.json", "head.json"]
    answer = desk(f"wrap verify decision {KEYS} {HEAD}")
    assert answer["verified"]
    assert answer["grade"] == "proven (development key)"
    said = desk.text(f"wrap verify decision {KEYS}")
    assert "its key's maker's word" in said
    desk("verify decision/head.json --key hk/verifying.json")
    desk("verify decision/body.json --key bk/verifying.json")


def test_the_statements_are_those_of_the_library(desk: Shell) -> None:
    head = statement_file.load("parts/head.toml")
    assert head.build().digest == wrap_support.model().head.build().digest


def test_a_mixed_decision_is_refused(desk: Shell) -> None:
    os.makedirs("mixed")
    prove(desk, 1, "other")
    for name, source in (("body.json", "decision"), ("head.json", "other")):
        Path("mixed", name).write_bytes(Path(source, name).read_bytes())
    answer = desk(f"wrap verify mixed {KEYS} {HEAD}", status=1)
    assert "another activation" in answer["message"]
    text = Path("parts/head.toml").read_text()
    Path("parts/other.toml").write_text(
        text.replace("input_scale_bits = 7", "input_scale_bits = 6")
    )
    answer = desk(f"wrap verify decision {KEYS} --head parts/other.toml", status=1)
    assert "7 fraction bits, the head reads 6" in answer["message"]


def test_unusable_arguments_are_named(desk: Shell) -> None:
    swapped = "--body-key hk/verifying.json --head-key bk/verifying.json"
    assert "--body-key is of format halo2" in desk(f"wrap verify decision {swapped}", 2)["message"]
    parts = "--body-keys bk --head-keys hk --input in0.json -o x"
    answer = desk(f"wrap prove parts/head.toml parts/head.toml {parts}", status=2)
    assert "format halo2" in answer["message"]
    answer = desk("wrap cut model.onnx --at nothing --calibration samples.npz -o x", status=2)
    assert "no node makes" in answer["message"]
    assert not Path("x").exists()


def test_a_receipt_is_signed_and_checked(desk: Shell) -> None:
    desk("receipt keygen -o issuer.json")
    desk("receipt trust issuer.json -o trust.json")
    desk(f"wrap sign decision {KEYS} {HEAD} --signer issuer.json -o d.receipt")
    answer = desk(f"wrap check d.receipt decision {KEYS} {HEAD} --trust trust.json")
    assert answer["verified"]
    head = "--proof decision/head.json --key hk/verifying.json"
    assert desk(f"receipt verify d.receipt --trust trust.json {head}")["grade"].startswith("proven")
    os.makedirs("swapped")
    Path("swapped/head.json").write_bytes(Path("decision/head.json").read_bytes())
    text = Path("decision/body.json").read_text()
    Path("swapped/body.json").write_text(text + "\n")
    answer = desk(f"wrap check d.receipt swapped {KEYS} {HEAD} --trust trust.json", status=1)
    assert "a different body" in answer["message"]


@pytest.mark.node
def test_the_body_goes_on_a_chain(desk: Shell, repo: Path) -> None:
    answer = desk(f"chain verify decision/body.json --key bk/verifying.json --packages {repo}")
    assert answer["verified"]
    assert answer["gas"] > 400_000
    assert desk("chain verify decision/head.json --key hk/verifying.json")["gas"] < 240_000
    made = desk(f"chain deploy --key bk/verifying.json --packages {repo}")
    assert made["contract"] == evm.GENERATED
    assert made["vka_digest"] == "0x" + "00" * 32


def test_its_contract_is_written_with_a_warning(desk: Shell) -> None:
    said = desk.text("chain render --key bk/verifying.json -o body.sol")
    assert "nobody may call it" in said
    assert "contract Halo2Verifier {" in Path("body.sol").read_text()
    desk("chain render --key bk/verifying.json -o body.sol --form reusable")
    assert evm.sha256(Path("body.sol").read_bytes()).hex() == evm.REUSABLE_SHA256


def test_chain_commands_refuse_what_does_not_fit(desk: Shell) -> None:
    command = "chain verify decision/head.json --key bk/verifying.json"
    assert "different formats" in desk(command, status=1)["message"]
    command = "chain verify decision/body.json --key hk/verifying.json"
    assert "different formats" in desk(command, status=1)["message"]
    command = "chain deploy --key hk/verifying.json --form reusable"
    assert "--form: is for keys of format halo2" in desk(command, status=2)["message"]
    command = "chain render --key bk/verifying.json -o x.sol --name Mine"
    assert "EZKL names its contracts itself" in desk(command, status=2)["message"]
    answer = desk("chain deploy --key bk/verifying.json", status=3)
    assert "npm install solc" in answer["message"]


@pytest.mark.node
def test_the_body_goes_on_a_node(desk: Shell, repo: Path) -> None:
    with running_anvil() as node:
        Path("chain.key").write_text(node.secret)
        Path("chain.key").chmod(0o600)
        there = f"--rpc {node.url} --key-file chain.key --packages {repo} --form reusable"
        made = desk(f"chain deploy --key bk/verifying.json {there}")
        assert made["contract"] == evm.REUSABLE
        command = f"chain verify decision/body.json --key bk/verifying.json {there}"
        sent = desk(f"{command} --contract {made['address']} --send")
        assert sent["gas"] > 400_000
