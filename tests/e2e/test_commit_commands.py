"""The command line with a commitment round: training, a ceremony over two deltas, contracts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench._anvil import running_anvil
from tests.e2e.conftest import HEAD, Shell, World, batch, tree, write_json
from zkai import cli
from zkai.opening import read_state
from zkai.pipeline import verify_chain
from zkai.proof.commit.keys import CommitProof, CommitVerifyingKey
from zkai.proof.formats import Proof, VerifyingKey
from zkai.proof.phase1 import beacon_keys
from zkai.proof.powers import write_development_ptau, write_powers

FORMAT, KEYS = "zkai.groth16-commit/1", "--key inference-keys/verifying.json"


def test_a_user_trains(commit_shell: Shell) -> None:
    shell = commit_shell
    shell("prove genesis.toml --keys genesis-keys --input base.json -o g.json")
    first = shell("verify g.json --key genesis-keys/verifying.json")
    assert first["format"] == FORMAT
    command = "prove step.toml --keys step-keys --input batch.json --state g.opening.json -o p.json"
    proven = shell(command)
    assert proven["format"] == FORMAT
    shell("verify p.json --key step-keys/verifying.json")
    shell("verify p.json --key step-keys/verifying.json --verifier py-ecc")
    proofs = [Proof.from_path(name) for name in ("g.json", "p.json")]
    keys = [VerifyingKey.from_path(f"{name}-keys/verifying.json") for name in ("genesis", "step")]
    verify_chain(proofs, keys)
    state = read_state("p.opening.json", HEAD)
    assert state.commitment == int(proven["public"]["new_state"])
    forged = json.loads(Path("p.json").read_text())
    forged["public"]["new_state"] = str(int(forged["public"]["new_state"]) + 1)
    Path("p.json").write_text(json.dumps(forged))
    for verifier in ("native", "py-ecc"):
        answer = shell(f"verify p.json --key step-keys/verifying.json --verifier {verifier}", 1)
        assert "equation" in answer["message"]


def test_keys_are_made(commit_shell: Shell) -> None:
    made = commit_shell("setup genesis.toml -o made")
    assert sorted(os.listdir("made")) == ["proving.zkck", "verifying.json"]
    assert (made["format"], made["key_status"]) == (FORMAT, "development")
    assert made["proving_key"] == "made/proving.zkck"
    assert made["proving_key_bytes"] == Path("made/proving.zkck").stat().st_size
    commit_shell("prove genesis.toml --keys made --input base.json -o g.json")
    commit_shell("verify g.json --key made/verifying.json")
    commit_shell("verify g.json --key genesis-keys/verifying.json", status=1)


def test_a_sum_of_both_worlds(commit_shell: Shell, world: World) -> None:
    """Plain keys, proofs and statements beside those with a commitment round, each way round."""
    shell = commit_shell
    Path("plain-keys").symlink_to(world.folder / "inference")
    world.inference.write("plain.json")
    plain = "--key plain-keys/verifying.json"
    shell(f"verify plain.json {plain}")
    shell(f"verify proof.json {KEYS}")
    for command in ("verify", "chain verify"):
        for proof, key in (("proof.json", plain), ("plain.json", KEYS)):
            message = shell(f"{command} {proof} {key}", status=1)["message"]
            assert "the proof has the format zkai.groth16" in message
    before = tree(Path())
    message = shell(
        "prove inference.toml --keys plain-keys --input input.json -o q.json", status=2
    )["message"]
    assert "for another circuit" in message
    text = Path("inference.toml").read_text().replace("groth16-commit", "groth16")
    Path("plain.toml").write_text(text)
    shell("prove plain.toml --keys plain-keys --input input.json -o r.json")
    message = shell(
        "prove plain.toml --keys inference-keys --input input.json -o q.json", status=2
    )["message"]
    assert "for another circuit" in message
    assert set(tree(Path())) - set(before) == {"plain.toml", "r.json", "r.opening.json"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("zkai.groth16-commit/2", "format 'zkai.groth16-commit/2', expected"),
        ("zkai.groth16/1", "unknown field 'd'"),
        (None, "format None"),
        (7, "format 7"),
    ],
)
def test_another_format_in_a_proof_is_unusable(
    commit_shell: Shell, value: object, message: str
) -> None:
    document = json.loads(Path("proof.json").read_text())
    Path("proof.json").write_text(json.dumps({**document, "format": value}))
    for command in ("verify", "chain verify"):
        assert message in commit_shell(f"{command} proof.json {KEYS}", status=2)["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "zkai.groth16-vk/1"}, "missing field delta, gamma"),
        ({"format": "zkai.groth16-commit-vk/9"}, "format 'zkai.groth16-commit-vk/9'"),
        ({"challenges": ["alpha", "fold"]}, "challenges"),
        ({"challenges": ["fold"]}, "disagree"),
        ({"delta1": [["1", "2"], ["3", "4"]]}, "delta1"),
        ({"key_status": "ceremony"}, "not the digest"),
    ],
)
def test_a_changed_key_is_unusable(
    commit_shell: Shell, change: dict[str, Any], message: str
) -> None:
    document = json.loads(Path("inference-keys/verifying.json").read_text())
    Path("k.json").write_text(json.dumps(document))
    commit_shell("verify proof.json --key k.json")
    Path("k.json").write_text(json.dumps({**document, **change}))
    for command in ("verify proof.json", "chain deploy", "chain render -o V.sol"):
        assert message in commit_shell(f"{command} --key k.json", status=2)["message"]
    assert not Path("V.sol").exists()


def test_a_folder_with_keys_of_both_formats_is_unusable(commit_shell: Shell, world: World) -> None:
    Path("both").mkdir()
    for folder, name in ((world.folder, "proving.zkey"), (Path(), "proving.zkck")):
        source = folder / ("genesis" if folder != Path() else "genesis-keys") / name
        Path("both", name).symlink_to(source.resolve())
    command = "prove genesis.toml --keys both --input base.json -o g.json"
    assert "keys of two formats" in commit_shell(command, status=2)["message"]


# Contracts --------------------------------------------------------------------------------------


def test_a_contract_is_rendered_and_asked(commit_shell: Shell, commit_world: World) -> None:
    rendered = commit_shell(f"chain render {KEYS} -o V.sol")
    assert rendered["contract"] == "Groth16CommitVerifier"
    source = Path("V.sol").read_text()
    assert "contract Groth16CommitVerifier is Groth16CommitBase" in source
    assert rendered["vk_digest"] in source
    commit_shell(f"chain render {KEYS} -o V.sol --name Mine")
    assert "contract Mine is" in Path("V.sol").read_text()
    deployed = commit_shell(f"chain deploy {KEYS}")
    assert (deployed["format"], deployed["key_status"]) == (FORMAT, "development")
    answer = commit_shell(f"chain verify proof.json {KEYS}")
    assert answer["verified"] is True
    assert answer["gas"] < 300_000
    proof, other = commit_world.inference, commit_world.genesis
    assert isinstance(other, CommitProof)
    replace(proof, d=other.d).write("proof.json")  # type: ignore[call-arg]
    message = commit_shell(f"chain verify proof.json {KEYS}", status=1)["message"]
    assert "Groth16CommitVerifier__InvalidProof" in message
    replace(proof, d=None).write("proof.json")  # type: ignore[call-arg]
    message = commit_shell(f"chain verify proof.json {KEYS}", status=1)["message"]
    assert "PointAtInfinity" in message


@pytest.mark.node
@pytest.mark.usefixtures("node_modules")
def test_a_chain_behind_a_url_accepts(
    commit_shell: Shell, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = commit_shell
    Path("plain-keys").symlink_to(world.folder / "inference")
    with running_anvil() as node:
        monkeypatch.setenv("ZKAI_CHAIN_KEY", node.secret)
        address = shell(f"chain deploy {KEYS} --rpc {node.url}")["address"]
        verify = f"chain verify proof.json {KEYS} --rpc {node.url} --contract"
        asked, sent = shell(f"{verify} {address}"), shell(f"{verify} {address} --send")
        assert 0 < sent["gas"] <= asked["gas"]
        plain = shell(f"chain deploy --key plain-keys/verifying.json --rpc {node.url}")["address"]
        message = shell(f"{verify} {plain}", status=1)["message"]
        assert "not the shipped verifier with this key" in message


# Ceremonies -------------------------------------------------------------------------------------

POWER = 10
START = "tiny.toml --ptau q.ptau"


def write_tiny(shell: Shell) -> None:
    """Write a genesis small enough for powers of 2**POWER."""
    text = (shell.folder / "genesis.toml").read_text()
    (shell.folder / "tiny.toml").write_text(text.replace("features = 3", "features = 2"))
    write_json(shell.folder / "tiny.json", {"weights": [[0.5, -0.5], [0.25, 1.0]]})


def hold_ceremony(shell: Shell) -> list[dict[str, Any]]:
    """Hold a ceremony over both deltas and return what its contributors were told."""
    write_tiny(shell)
    write_powers("p.ptau", POWER, "Eve", beacon_keys(os.urandom(32)))
    shell("setup --ceremony prepare --ptau p.ptau -o q.ptau")
    shell(f"setup {START} --ceremony init -o 0.zkck")
    return [
        shell(f"setup {START} --ceremony contribute --zkey 0.zkck -o 1.zkck --name Ada-Lovelace"),
        shell(f"setup {START} --ceremony beacon --zkey 1.zkck -o 2.zkck --beacon 0x1234"),
    ]


def test_parties_hold_a_ceremony_over_both_deltas(commit_shell: Shell, world: World) -> None:
    shell = commit_shell
    told = hold_ceremony(shell)
    verify = f"setup {START} --ceremony verify --zkey"
    keys = shell(f"{verify} 2.zkck -o keys")
    assert keys["key_status"] == "ceremony"
    assert [(c["name"], c["delta"]) for c in keys["contributions"]] == [
        ("Ada-Lovelace", "delta1"),
        ("Ada-Lovelace", "delta2"),
        ("", "delta1"),
        ("", "delta2"),
    ]
    digests = [c["digest"] for c in keys["contributions"]]
    assert digests == told[0]["contributions"] + told[1]["contributions"]
    assert len(set(digests)) == 4
    assert (keys["phase1"]["power"], keys["phase1"]["contributions"]) == (POWER, 1)
    shown = shell.text(f"{verify} 2.zkck")
    assert all(digest in shown for digest in digests)
    again = shell(f"{verify} keys/proving.zkck")
    assert [again[k] for k in ("vk_digest", "phase1")] == [keys["vk_digest"], keys["phase1"]]
    shell("prove tiny.toml --keys keys --input tiny.json -o g.json")
    check = "verify g.json --key keys/verifying.json --production"
    trusted = f"--vk-digest {keys['vk_digest']}"
    assert shell(f"{check} {trusted}")["grade"] == "proven (ceremony key)"
    assert shell(f"{check} {trusted} --verifier py-ecc")["verifier"] == "py-ecc"
    assert "--ceremony verify" in shell(check, status=2)["message"]
    shell(f"{check} --vk-digest 0x{'00' * 32}", status=1)
    own = shell("setup tiny.toml -o own")
    shell("prove tiny.toml --keys own --input tiny.json -o o.json")
    mine = f"verify o.json --key own/verifying.json --production --vk-digest {own['vk_digest']}"
    assert "development key" in shell(mine, status=1)["message"]
    assert shell("chain deploy --key keys/verifying.json")["key_status"] == "ceremony"
    assert shell("chain verify g.json --key keys/verifying.json")["verified"] is True
    document = json.loads(Path("keys/verifying.json").read_text())
    write_json(shell.folder / "bare.json", {**document, "ceremony": None})
    assert "records none" in shell("verify g.json --key bare.json", status=2)["message"]
    message = shell("setup tiny.toml --zkey 2.zkck -o imported", status=2)["message"]
    assert "cannot be imported" in message
    for wrong in (
        "0.zkck",
        "genesis-keys/proving.zkck",
        str(world.folder / "genesis/proving.zkey"),
    ):
        assert cli.main([*verify.split(), wrong, "-o", "other"]) in (1, 2)
    assert not Path("other").exists()
    refused_contributions(shell)


def refused_contributions(shell: Shell) -> None:
    """What a contributor cannot be made to work on: an unknown start, or a key that was changed."""
    contribute = "--ceremony contribute --zkey 1.zkck -o x.zkck --name Bob"
    for given, message in (
        ("", "give the statement and the .ptau too"),
        ("tiny.toml", "needs --ptau too"),
        ("--ptau q.ptau", "needs a STATEMENT.toml too"),
    ):
        assert message in shell(f"setup {given} {contribute}", status=2)["message"]
    wider = Path("tiny.toml").read_text().replace("features = 2", "features = 1")
    Path("other.toml").write_text(wider)
    message = shell(f"setup other.toml --ptau q.ptau {contribute}", status=1)["message"]
    assert "not those of" in message
    data = bytearray(Path("1.zkck").read_bytes())
    mark = data.rindex(b"Ada-Lovelace")  # long enough never to stand in random points
    Path("y.zkck").write_bytes(data[:mark] + b"Eve" + data[mark + 3 :])
    changed = f"setup {START} --ceremony contribute --zkey y.zkck -o x.zkck --name Bob"
    assert cli.main([*changed.split(), "--json"]) == 1
    assert not Path("x.zkck").exists()


def test_a_plain_ceremony_takes_no_start(commit_shell: Shell) -> None:
    """A plain key is contributed to without looking at its circuit, and the command says so."""
    shell = commit_shell
    write_tiny(shell)
    Path("plain.toml").write_text(
        Path("tiny.toml").read_text().replace("groth16-commit", "groth16")
    )
    write_development_ptau("p.ptau", POWER)
    shell("setup --ceremony prepare --ptau p.ptau -o q.ptau")
    shell("setup plain.toml --ptau q.ptau --ceremony init -o 0.zkey")
    command = "--ceremony contribute --zkey 0.zkey -o 1.zkey --name Ada"
    message = shell(f"setup plain.toml --ptau q.ptau {command}", status=2)["message"]
    assert "leave the statement and the .ptau out" in message
    assert shell(f"setup {command}")["contributions"]
    for statement, key, message in (
        ("tiny.toml", "1.zkey", "not a key with a commitment round"),
        ("plain.toml", "genesis-keys/proving.zkck", "not a key without a commitment round"),
        ("tiny.toml", "nothing.zkck", "not a key with a commitment round"),
    ):
        verify = f"setup {statement} --ptau q.ptau --ceremony verify --zkey {key} -o k"
        assert message in shell(verify, status=2)["message"]
    assert not Path("k").exists()


def test_keys_come_from_given_powers(commit_shell: Shell) -> None:
    write_tiny(commit_shell)
    write_development_ptau("p.ptau", POWER)
    made = commit_shell("setup tiny.toml --ptau p.ptau -o keys")
    assert (made["key_status"], made["format"]) == ("development", FORMAT)
    commit_shell("prove tiny.toml --keys keys --input tiny.json -o g.json")
    commit_shell("verify g.json --key keys/verifying.json")
    commit_shell("verify g.json --key keys/verifying.json --production", status=1)
    assert isinstance(VerifyingKey.from_path("keys/verifying.json"), CommitVerifyingKey)
    write_development_ptau("small.ptau", 4)
    message = commit_shell("setup tiny.toml --ptau small.ptau -o k", status=2)["message"]
    assert "larger .ptau" in message


def test_a_batch_that_does_not_fit_is_named(commit_shell: Shell) -> None:
    values = batch(1)
    write_json(commit_shell.folder / "batch.json", {**values, "labels": values["labels"] + 5})
    commit_shell("prove genesis.toml --keys genesis-keys --input base.json -o g.json")
    command = "prove step.toml --keys step-keys --input batch.json --state g.opening.json -o p.json"
    assert "labels" in commit_shell(command, status=2)["message"]
    assert not Path("p.json").exists()


def test_linked_weights_go_the_same_way(commit_shell: Shell) -> None:
    """A statement whose weights are committed to by polynomials: keys, proof, both verifiers."""
    shell = commit_shell
    text = Path("genesis.toml").read_text()
    Path("linked.toml").write_text(f'weights_commitment = "kzg"\n{text}')
    shell("setup linked.toml -o linked")
    shell("prove linked.toml --keys linked --input base.json -o l.json")
    key = "--key linked/verifying.json"
    for command in (f"verify l.json {key}", f"chain verify l.json {key}"):
        assert shell(command)["verified"] is True
    rendered = shell(f"chain render {key} -o V.sol")["contract"]
    assert f"contract {rendered} is" in Path("V.sol").read_text()
    document = json.loads(Path("l.json").read_text())
    other = json.loads(Path("proof.json").read_text())["proof"]["a"]
    changed = [
        {**document, "public": {**document["public"], "new_link": "1"}},
        {**document, "link": {**document["link"], "opening": other}},
        {name: value for name, value in document.items() if name != "link"},
    ]
    for forged in changed:
        Path("f.json").write_text(json.dumps(forged))
        for command in (f"verify f.json {key}", f"chain verify f.json {key}"):
            assert cli.main([*command.split(), "--json"]) in (1, 2)
            assert json.loads(shell.output())["ok"] is False
    shell("verify l.json --key genesis-keys/verifying.json", status=1)
