"""Bound sessions through the commands: clients prove what they trained, holders are processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai import pipeline
from zkai.errors import InvalidInput
from zkai.federated.board import Board
from zkai.federated.client import ClientParty
from zkai.federated.inputs import input_bytes
from zkai.federated.parties import read_party_key
from zkai.federated.rules import InputRule
from zkai.federated.schemes import load_scheme
from zkai.opening import read_state
from zkai.proof.formats import Keys, Proof
from zkai.sent_files import SentFiles

HEAD = "[head]\nfeatures = 3\nclasses = 3\ninput_width = 5\nrate_shift = 6\nrate_bits = 4\n"
FORMAT = 'format = "groth16-commit"\n'
STATEMENTS = {
    "genesis": HEAD,
    "training_step": f"batch = 2\n{HEAD}",
    "encrypted_update": f"update_bits = 16\nmax_weight = 4\n{HEAD}\n[encryption]\nvalue_bits = 26\n"
    "values_per_coefficient = 2\n",
}
HONEST = ("ada", "bob")
CHEATS = ("ciphertext", "proof", "step", "state", "user", "session", "norm", "weight")
CLIENTS, HOLDERS = (*HONEST, *CHEATS), 3
NORM = 0.5


def train(run: Any, name: str, labels: list[int], steps: int = 1, weight: float = 0.0) -> int:
    """Prove a genesis and steps of a fork, and return whose it is."""
    start = {"weights": np.full((3, 3), weight).tolist(), "bias": [0, 0, 0]}
    Path("in.json").write_text(json.dumps(start))
    proven = run(f"prove genesis.toml --keys genesis --input in.json -o {name}-0.json")
    rows = {"x": [[0.5, 0.25, 0.875], [0.75, -0.5, 0.0]], "labels": labels}
    Path("in.json").write_text(json.dumps({**rows, "learning_rate": 0.25}))
    for i in range(steps):
        run(
            f"prove training_step.toml --keys training_step --input in.json --state"
            f" {name}-{i}.opening.json -o {name}-{i + 1}.json"
        )
    return int(proven["public"]["user"])


def training(name: str, steps: int = 1) -> str:
    """What a client's command takes of a fork."""
    history = " ".join(f"--history {name}-{i}.json" for i in range(steps + 1))
    return (
        f"--inputs rule --keys encrypted_update --old-state {name}-0.opening.json"
        f" --state {name}-{steps}.opening.json {history}"
    )


def begin(run: Any) -> dict[str, Any]:
    """Make keys, forks, parties, the rule and the session."""
    for name, text in STATEMENTS.items():
        Path(f"{name}.toml").write_text(f'statement = "{name}"\n{FORMAT}{text}')
        run(f"setup {name}.toml -o {name}")
    users = {"ada": train(run, "ada", [0, 1]), "bob": train(run, "bob", [2, 1])}
    eve = train(run, "eve", [1, 1], steps=2)
    users |= dict.fromkeys(CHEATS, eve)
    Path("parties").mkdir()
    roles = [("aggregator", "agg")] + [("client", name) for name in CLIENTS]
    for role, name in roles + [("holder", f"h{j}") for j in range(HOLDERS)]:
        made = run(f"he keygen {name} --role {role} --name {name} --rounds 1")
        Path(f"parties/{name}.json").write_bytes(Path(made["public"]).read_bytes())
    named = " ".join(f"--user {name}={user}" for name, user in users.items())
    rule = (
        f"he rule {{}} --statement encrypted_update.toml --key {{}}/verifying.json --norm {NORM}"
        f" --history-key genesis/verifying.json --history-key training_step/verifying.json {named}"
    )
    wrong = run(rule.format("none", "genesis"), status=2)
    assert "not encrypted_update" in wrong["message"]
    homeless = run(rule.format("none", "encrypted_update") + " --follow", status=2)
    assert "--follow needs --base" in homeless["message"]
    run(rule.format("rule", "encrypted_update") + " --base ada-0.json --follow")
    opened: dict[str, Any] = run(
        "he open agg --board board --parties parties --threshold 2 --inputs rule --percent 20"
    )
    return opened


class Cheat:
    """A client of its own making: it commits to whatever it likes."""

    def __init__(self, name: str) -> None:
        self.name, self.board = name, Board(Path("board"))
        self.session, self.rule = self.board.session(), InputRule.from_path(Path("rule"))
        head = self.rule.statement.head
        self.states = [read_state(f"eve-{i}.opening.json", head) for i in range(3)]
        self.history = [Proof.from_path(f"eve-{i}.json") for i in range(3)]
        self.keys = Keys.from_path("encrypted_update")
        self.old, self.new = self.states[0], self.states[2]

    def proof(self, sent: Any, opening: Any, **changes: Any) -> Any:
        given = {"old_state": self.old, "new_state": self.new, "norm_bound": self.rule.norm_bound}
        given |= {"weight": 1, "sent": sent, "opening": opening}
        return pipeline.prove(self.rule.statement, self.keys.proving, given | changes)

    def other(self, weight: int, session: bytes | None = None) -> tuple[Any, Any]:
        """Another ciphertext than the one that is sent."""
        scheme: Any = load_scheme(self.session)
        scheme = scheme if session is None else replace(scheme, session=session)
        made = scheme.start(1, np.append(self.update * weight, weight))
        return scheme.sent(1, made.ciphertext, made.check(bytes(32)), bytes(32)), made.opening()

    @property
    def update(self) -> Any:
        return np.asarray(self.new.values.weights - self.old.values.weights, np.int64).ravel()

    def body(self, sent: Any, opening: Any) -> bytes:
        if self.name in ("ciphertext", "session"):
            sent, opening = self.other(1, bytes(32) if self.name == "session" else None)
        if self.name == "weight":
            sent, opening = self.other(2)
            return input_bytes(self.proof(sent, opening, weight=2), self.history)
        if self.name == "norm":
            bound = self.rule.norm_bound + 1
            return input_bytes(self.proof(sent, opening, norm_bound=bound), self.history)
        proof = self.proof(sent, opening)
        if self.name == "proof":
            proof = replace(proof, a=proof.c, c=proof.a)
        if self.name == "user":
            return input_bytes(proof, [Proof.from_path(f"bob-{i}.json") for i in range(2)])
        return input_bytes(proof, self.history)

    def commit(self) -> None:
        if self.name == "step":
            self.new = self.states[1]
        if self.name == "state":
            self.old = self.states[1]
        client = ClientParty(Path(self.name), read_party_key(Path(self.name), "secret"))
        shape = self.session.tensors[0].shape
        update = self.update + (self.name == "ciphertext")
        place = (self.session, load_scheme(self.session), self.board, 1)
        client.encrypt(*place, {"weights": update.reshape(shape)}, prove=self.body)


REASONS = {
    "ciphertext": "the proof is about another ciphertext",
    "proof": "",
    "step": "the update's new_state is not the history's last state",
    "state": "the update's old_state is not the history's base",
    "user": "the update's old_state is not the history's base",
    "session": "the proof is about another ciphertext",
    "norm": "the proof allows a norm of",
    "weight": "the proof is about another ciphertext",
}


def test_clients_prove_by_commands_and_cheats_are_left_out_by_name(run: Any) -> None:
    opened = begin(run)
    trusted = f"--board board --session {opened['session']}"
    refused_before_anything_is_encrypted(run, trusted)
    sent = run(f"he encrypt ada {trusted} {training('ada')} --weight 3 --keep kept")
    assert sent["ciphertext_bytes"] > 0
    again = run(f"he encrypt ada {trusted} {training('ada')} --weight 2", status=2)
    assert "another update or weight" in again["message"]
    run(f"he encrypt bob {trusted} {training('bob')} --weight 4")
    proofs_about_what_was_kept(run)
    for name in CHEATS:
        Cheat(name).commit()
    serve = [sys.executable, "-m", "zkai.cli", "he", "serve", "--board", "board", "--json"]
    processes = [
        subprocess.Popen(
            [*serve, f"h{j}", "--inputs", "rule", "--follow", "300"], stdout=subprocess.PIPE
        )
        for j in range(HOLDERS)
    ]
    try:
        for _ in range(90):
            status = run("he aggregate agg --board board --inputs rule --follow 1")
            if status["phase"] == "reveal":
                break
        for name in CLIENTS:
            assert run(f"he reveal {name} --board board")["bytes"] > 0
        follow = "--board board --inputs rule --follow 240"
        assert run(f"he aggregate agg {follow}")["phase"] == "opened"
        for process in processes:
            assert json.loads(process.communicate(timeout=240)[0])["over"]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    the_set_names_the_cheats()
    statement = run("he decrypt --board board --inputs rule -o sum.npz --mean mean.npz")
    assert (statement["clients"], statement["bound"]) == (2, True)
    head = InputRule.from_path(Path("rule")).statement.head
    weights = {
        name: [read_state(f"{name}-{i}.opening.json", head).values.weights for i in range(2)]
        for name in HONEST
    }
    total = 3 * np.subtract(*weights["ada"][::-1]) + 4 * np.subtract(*weights["bob"][::-1])
    found = np.load("sum.npz")
    assert np.array_equal(found["weights"], total)
    assert found["samples"] == 7
    assert np.array_equal(np.load("mean.npz")["weights"], total / 7)
    run("he decrypt --board board --inputs rule -o sum.npz --apply apply.json")
    step = json.loads(Path("apply.json").read_text())["update_integers"]
    assert step == np.floor(total / 7 + 0.5).astype(int).tolist()
    told = run("he decrypt --board board -o sum.npz --apply apply.json", status=2)
    assert "--apply needs --inputs" in told["message"]
    run(f"he verify sum.npz {trusted} --inputs rule")
    blind = run(f"he verify sum.npz {trusted}", status=2)
    assert "give the rule of its inputs" in blind["message"]


def refused_before_anything_is_encrypted(run: Any, trusted: str) -> None:
    """What an honest client would be left out for, it is told before."""
    missing = run(f"he encrypt ada {trusted} --inputs rule", status=2)
    assert "give --keys, --old-state, --state" in missing["message"]
    np.savez("ada.npz", weights=np.zeros((4, 3), int))
    named = run(f"he encrypt ada ada.npz {trusted} {training('ada')}", status=2)
    assert "name no UPDATE" in named["message"]
    other = run(f"he encrypt ada {trusted} {training('bob')}", status=1)
    assert "another user than the rule has for it" in other["message"]
    mixed = training("ada").replace("--state ada-1.opening", "--state ada-0.opening")
    assert "not the last state" in run(f"he encrypt ada {trusted} {mixed}", status=1)["message"]
    short = training("ada").replace(" --history ada-1.json", "")
    assert "nothing was trained" in run(f"he encrypt ada {trusted} {short}", status=1)["message"]
    keys = training("ada").replace("--keys encrypted_update", "--keys genesis")
    assert "other keys than" in run(f"he encrypt ada {trusted} {keys}", status=2)["message"]
    heavy = run(f"he encrypt ada {trusted} {training('ada')} --weight 5", status=2)
    assert "weight 5: expected 1 to 4" in heavy["message"]
    assert not list(Path("board/round-1").glob("commitments/*"))


def proofs_about_what_was_kept(run: Any) -> None:
    """`zkai prove` and `zkai verify` of an encrypted update, with the files of --keep."""
    assert Path("kept/secrets.json").stat().st_mode & 0o077 == 0
    bound = InputRule.from_path(Path("rule")).norm_bound
    Path("in.json").write_text(json.dumps({"norm_bound": bound, "weight": 3}))
    prove = (
        "prove encrypted_update.toml --keys encrypted_update --input in.json --sent kept"
        " --old-state ada-0.opening.json --state ada-1.opening.json -o later.json"
    )
    assert run(prove)["public"]["norm_bound"] == str(bound)
    verify = "verify later.json --key encrypted_update/verifying.json"
    assert "public polynomials" in run(verify, status=1)["message"]
    given = f"{verify} --sent kept/sent.json --statement encrypted_update.toml --norm-bound"
    assert run(f"{given} {bound}")["verified"] is True
    assert "norm of" in run(f"{given} {bound - 1}", status=1)["message"]
    assert "--sent needs" in run(f"{verify} --sent kept/sent.json", status=2)["message"]
    Path("in.json").write_text(json.dumps({"norm_bound": bound, "weight": 2}))
    wrong = run(prove.replace("later", "wrong"), status=2)
    assert "does not encrypt" in wrong["message"]
    mixed = json.loads(Path("kept/secrets.json").read_text()) | {"sent": "0x" + "00" * 32}
    Path("kept/secrets.json").write_text(json.dumps(mixed))
    with pytest.raises(InvalidInput, match="secrets of another ciphertext"):
        SentFiles.read(Path("kept"))


def the_set_names_the_cheats() -> None:
    body = json.loads(Path("board/round-1/set.body").read_text())
    names = {client.keyid: client.name for client in Board(Path("board")).session().clients}
    found = {names[entry["client"]]: entry["reason"] for entry in body["excluded"]}
    assert set(found) == set(CHEATS)
    for name, reason in REASONS.items():
        assert f"{name} proved another update, or none" in found[name]
        assert reason in found[name], found[name]
