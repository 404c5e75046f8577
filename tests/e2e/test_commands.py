"""The command line tells its stories: a user trains, parties hold a ceremony, a chain accepts."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench._anvil import running_anvil
from tests.e2e.conftest import HEAD, Shell, World, batch, write_json
from zkai import cli
from zkai.model.training import SoftmaxHead
from zkai.opening import read_state
from zkai.pipeline import verify_chain
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.phase1 import beacon_keys
from zkai.proof.powers import write_development_ptau, write_powers


def test_a_user_starts_a_fork_and_trains(shell: Shell) -> None:
    first = shell("prove genesis.toml --keys genesis-keys --input base.json -o g.json")
    assert first["opening"] == "g.opening.json"
    assert stat.S_IMODE(os.stat("g.opening.json").st_mode) == 0o600
    shell("verify g.json --key genesis-keys/verifying.json")
    state = "g.opening.json"
    for number in (1, 2):
        write_json(shell.folder / "batch.json", batch(number))
        command = "prove step.toml --keys step-keys --input batch.json"
        shell(f"{command} --state {state} -o p{number}.json --opening s{number}.json")
        state = f"s{number}.json"
    proofs = [Proof.from_path(name) for name in ("g.json", "p1.json", "p2.json")]
    keys = [VerifyingKey.from_path(f"{name}-keys/verifying.json") for name in ("genesis", "step")]
    verify_chain(proofs, {key.statement: key for key in keys})
    assert read_state("s2.json", HEAD).commitment == proofs[2].public["new_state"][0]
    names = set(os.listdir())
    assert {"g.json", "g.opening.json", "p1.json", "s1.json", "p2.json", "s2.json"} <= names
    assert not [name for name in names if name.startswith(".")]


def test_a_state_may_stand_in_the_input_file(shell: Shell, world: World) -> None:
    state = world.genesis.opening.to_json()["state"]
    write_json(shell.folder / "batch.json", {**batch(1), "state": state})
    answer = shell("prove step.toml --keys step-keys --input batch.json -o p.json")
    assert int(answer["public"]["old_state"]) == world.genesis.public["new_state"][0]
    world.genesis.opening.write("s.json")
    command = "prove step.toml --keys step-keys --input batch.json -o q.json --state s.json"
    assert "IN.json has one" in shell(command, status=2)["message"]


HEAD_TOML = "[head]\nfeatures = 2\nclasses = 2\ninput_width = 10\n"


@pytest.fixture
def personal(shell: Shell) -> Shell:
    """A shell whose step and inference share a head that follows the model."""
    step = 'statement = "training_step"\nbatch = 4\nlearning_rate = 0.125\n\n' + HEAD_TOML
    (shell.folder / "step.toml").write_text(step)
    text = (shell.folder / "inference.toml").read_text()
    text = text.replace('weights = "constant"', '"head.weight" = "state"\n"head.bias" = "state"')
    (shell.folder / "inference.toml").write_text(f"{text}\n{HEAD_TOML}attach = true\n")
    rng = np.random.default_rng(4)
    x, labels = rng.normal(size=(4, 2)), np.array([0, 1, 0, 1])
    write_json(shell.folder / "batch.json", {"weights": np.eye(2), "x": x, "labels": labels})
    shell("setup step.toml -o own-step")
    shell("prove step.toml --keys own-step --input batch.json -o p.json")
    return shell


@pytest.mark.parametrize(("shown", "output"), [("public", "probabilities"), ("argmax", "logits")])
def test_a_trained_head_answers(personal: Shell, shown: str, output: str) -> None:
    """The head that a step left behind the model, as the step's commitment has it."""
    text = Path("inference.toml").read_text().replace('output = "public"', f'output = "{shown}"')
    Path("inference.toml").write_text(text)
    personal("setup inference.toml -o own")
    command = "prove inference.toml --keys own --input input.json -o q.json"
    answer = personal(f"{command} --state p.opening.json")
    personal("verify q.json --key own/verifying.json")
    trained = Proof.from_path("p.json").public
    for name, signal in (("state", "new_state"), ("user", "user"), ("model", "model")):
        assert int(answer["public"][name]) == trained[signal][0]
    assert answer["public"]["step"] == "1"
    state = read_state("p.opening.json", SoftmaxHead(2, 2, input_width=10))
    weights = state.values.weights / 2**16
    features = backbone(np.array(json.loads(Path("input.json").read_text())["x"]))
    logits = features @ weights[:-1] + weights[-1]
    found = np.array(answer["outputs"][output])
    if shown == "argmax":
        assert found == logits.argmax()
    else:
        wanted = np.exp(logits) / np.exp(logits).sum()
        assert np.abs(found - wanted).max() < 0.03


def backbone(x: Any) -> Any:
    """The conftest's model, in real numbers."""
    return np.maximum(
        x @ np.array([[0.5, -1.25], [0.75, 0.5], [-0.25, 1.0]]) + np.array([0.125, -0.5]), 0
    )


def test_a_head_needs_its_state(personal: Shell, world: World) -> None:
    personal("setup inference.toml -o own")
    command = "prove inference.toml --keys own --input input.json -o q.json"
    assert "missing state" in personal(command, status=2)["message"]
    world.genesis.opening.write("other.json")
    message = personal(f"{command} --state other.json", status=2)["message"]
    assert "of another head than the statement's" in message
    assert not Path("q.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("attach = true", "", "expected attach = true"),
        ("attach = true", "attach = 1", "expected attach = true"),
        ("features = 2", "features = 5", r"'y' has shape (1, 2)"),
        ("input_width = 10", "input_width = 3", "the head takes 3"),
        ('"head.bias" = "state"', '"head.bias" = "public"', "visibility 'state' takes exactly"),
    ],
)
def test_a_head_that_does_not_fit_is_named(
    personal: Shell, old: str, new: str, message: str
) -> None:
    text = Path("inference.toml").read_text()
    assert old in text
    Path("inference.toml").write_text(text.replace(old, new))
    found = personal("estimate inference.toml", status=2)["message"]
    assert message in found
    assert "inference.toml" in found


def test_a_head_and_state_come_together(shell: Shell) -> None:
    text = Path("inference.toml").read_text().replace('"constant"', '"state"')
    Path("inference.toml").write_text(text)
    assert "come together" in shell("estimate inference.toml", status=2)["message"]


def test_json_may_stand_before_the_command(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "verify proof.json --key inference-keys/verifying.json"
    assert cli.main(["--json", *command.split()]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    assert cli.main(["--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "invalid_input"


def test_a_chosen_learning_rate_is_the_public_one(shell: Shell) -> None:
    values = {**batch(1), "weights": np.zeros((3, 2)), "learning_rate": 0.125}
    write_json(shell.folder / "batch.json", values)
    answer = shell("prove step.toml --keys step-keys --input batch.json -o p.json")
    assert int(answer["public"]["learning_rate"]) == 0.125 / 4 * 2**HEAD.rate_shift


def test_a_proof_says_what_came_out(shell: Shell) -> None:
    answer = shell("prove inference.toml --keys inference-keys --input input.json -o p.json")
    assert np.shape(answer["outputs"]["y"]) == (1, 2)
    text = shell.text("verify p.json --key inference-keys/verifying.json")
    assert "inference/1 verified, proven (development key)" in text
    signed = [round(v * 2**12) for v in np.ravel(answer["outputs"]["y"])]
    assert all(word in text for word in ("input", "output", "context"))
    assert len(signed) == 2


def test_a_destination_goes_into_the_proof(shell: Shell) -> None:
    where = "--chain-id 7 --ledger 0x" + "ab" * 20
    shell(f"prove inference.toml --keys inference-keys --input input.json -o p.json {where}")
    verify = "verify p.json --key inference-keys/verifying.json"
    shell(f"{verify} {where}")
    shell(verify)
    shell(f"{verify} {where} --recipient 0x{'01' * 32}", status=1)
    shell(f"{verify} --chain-id 7", status=1)


def test_an_estimate_is_printed(shell: Shell) -> None:
    answer = shell("estimate inference.toml")
    assert answer["statement"] == "inference/1"
    assert answer["quantization"]["samples"] == 20
    text = shell.text("estimate step.toml")
    assert "constraints" in text
    assert "weights" in text


def test_an_unsupported_model_is_named_by_node(shell: Shell) -> None:
    import onnx

    model = onnx.load("model.onnx")
    model.graph.node[1].op_type = "Erf"
    onnx.save(model, "model.onnx")
    message = shell("estimate inference.toml", status=2)["message"]
    assert "Erf" in message
    assert "relu" in message


def test_a_contract_is_rendered_and_asked(shell: Shell, world: World) -> None:
    key = "--key inference-keys/verifying.json"
    rendered = shell(f"chain render {key} -o V.sol --name MyVerifier")
    source = Path("V.sol").read_text()
    assert "contract MyVerifier" in source
    assert rendered["vk_digest"] in source
    deployed = shell(f"chain deploy {key}")
    assert deployed["embedded"] is True
    assert deployed["key_status"] == "development"
    assert shell(f"chain verify proof.json {key}")["gas"] < 250_000
    forged = replace(world.inference, c=world.steps[0].c)
    forged.write("proof.json")
    message = shell(f"chain verify proof.json {key}", status=1)["message"]
    assert "Groth16" in message


POWER = 10


def tiny(shell: Shell) -> None:
    """Write a genesis small enough for powers of 2**POWER: preparing them takes a while."""
    text = (shell.folder / "genesis.toml").read_text()
    (shell.folder / "tiny.toml").write_text(text.replace("features = 3", "features = 2"))
    write_json(shell.folder / "tiny.json", {"weights": [[0.5, -0.5], [0.25, 1.0]]})


def ceremony(shell: Shell, contributor: str) -> str:
    """Hold a ceremony on powers with a first phase by `contributor`; return verify's command."""
    tiny(shell)
    if contributor:
        write_powers("p.ptau", POWER, contributor, beacon_keys(os.urandom(32)))
    else:
        write_development_ptau("p.ptau", POWER)
    shell("setup --ceremony prepare --ptau p.ptau -o q.ptau")
    shell("setup tiny.toml --ceremony init --ptau q.ptau -o 0.zkey")
    told = [
        shell("setup --ceremony contribute --zkey 0.zkey -o 1.zkey --name Ada"),
        shell("setup --ceremony beacon --zkey 1.zkey -o 2.zkey --beacon 0x1234"),
    ]
    assert len({t["contribution"] for t in told}) == 2
    return "setup tiny.toml --ceremony verify --ptau q.ptau --zkey"


def test_parties_hold_a_ceremony(shell: Shell) -> None:
    verify = ceremony(shell, "Eve")
    keys = shell(f"{verify} 2.zkey -o keys")
    assert keys["key_status"] == "ceremony"
    assert [c["name"] for c in keys["contributions"]] == ["Ada", ""]
    assert (keys["phase1"]["power"], keys["phase1"]["contributions"]) == (POWER, 1)
    again = shell(f"{verify} keys/proving.zkey")
    assert again["keys"] is None
    assert [again[k] for k in ("vk_digest", "phase1")] == [keys["vk_digest"], keys["phase1"]]
    shell("prove tiny.toml --keys keys --input tiny.json -o g.json")
    check = "verify g.json --key keys/verifying.json --production"
    answer = shell(f"{check} --vk-digest 0x{'00' * 32} --vk-digest {keys['vk_digest']}")
    assert answer["grade"] == "proven (ceremony key)"
    assert "--ceremony verify" in shell(check, status=2)["message"]
    shell(f"{check} --vk-digest 0x{'00' * 32}", status=1)
    document = json.loads(Path("keys/verifying.json").read_text())
    write_json(shell.folder / "bare.json", {**document, "ceremony": None})
    assert "records none" in shell("verify g.json --key bare.json", status=2)["message"]
    assert shell("chain deploy --key keys/verifying.json")["key_status"] == "ceremony"
    shell("setup tiny.toml --zkey 2.zkey -o imported")
    imported = VerifyingKey.from_path("imported/verifying.json")
    assert imported.key_status == "development"
    shell("verify g.json --key imported/verifying.json", status=1)
    for wrong in ("0.zkey", "inference-keys/proving.zkey"):
        found = cli.main([*verify.split(), wrong, "-o", "other"])
        assert found in (1, 2)
    assert not Path("other").exists()


def test_a_first_phase_that_nobody_contributed_to_never_counts(shell: Shell) -> None:
    message = shell(f"{ceremony(shell, '')} 2.zkey -o keys", status=1)["message"]
    assert "contribution" in message
    assert not Path("keys").exists()


def test_keys_come_from_given_powers(shell: Shell) -> None:
    tiny(shell)
    write_development_ptau("p.ptau", POWER)
    made = shell("setup tiny.toml --ptau p.ptau -o keys")
    assert made["key_status"] == "development"
    assert sorted(os.listdir("keys")) == ["proving.zkey", "verifying.json"]
    shell("prove tiny.toml --keys keys --input tiny.json -o g.json")
    shell("verify g.json --key keys/verifying.json")
    shell("verify g.json --key keys/verifying.json --production", status=1)
    write_development_ptau("small.ptau", 4)
    assert "larger .ptau" in shell("setup tiny.toml --ptau small.ptau -o k", status=2)["message"]


@pytest.mark.node
@pytest.mark.usefixtures("node_modules")
def test_a_chain_behind_a_url_accepts(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "--key inference-keys/verifying.json"
    with running_anvil() as node:
        Path("signer").touch(mode=0o600)
        Path("signer").write_text(node.secret)
        deployed = shell(f"chain deploy {key} --rpc {node.url} --key-file signer")
        assert deployed["chain_id"] == node.chain_id
        assert deployed["embedded"] is False
        verify = f"chain verify proof.json {key} --rpc {node.url}"
        asked = shell(f"{verify} --contract {deployed['address']}")
        monkeypatch.setenv("ZKAI_CHAIN_KEY", node.secret)
        sent = shell(f"{verify} --contract {deployed['address']} --send")
        assert 0 < sent["gas"] <= asked["gas"]
        shell(f"{verify} --contract {deployed['address']} --chain-id 1", status=2)
        shell(f"{verify} --contract 0x{'11' * 20}", status=1)
        other = shell(f"chain deploy --key step-keys/verifying.json --rpc {node.url}")
        message = shell(f"{verify} --contract {other['address']}", status=1)["message"]
        assert "not the shipped verifier with this key" in message
        monkeypatch.setenv("ZKAI_CHAIN_KEY", "0x" + "0" * 63 + "2")
        message = shell(f"chain deploy {key} --rpc {node.url}", status=3)["message"]
        assert "0000000000000002" not in message
