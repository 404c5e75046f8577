"""Scheme `ckks` through the commands: a key's ceremony, a session under it, a resharing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai.federated.board import Board
from zkai.federated.key_ceremony import read_ceremony
from zkai.federated.key_member import KeyMember
from zkai.federated.key_organiser import CONCLUDED, Organiser
from zkai.federated.parties import read_party_key
from zkai.receipt.signer import PublicKey

pytest.importorskip("tenseal.sealapi")

CLIENTS, OLD, NEW = ("ada", "bob"), ("h0", "h1", "h2", "h3"), ("n0", "n1", "n2")
CHEAT, KILLED = "h3", "h1"
REPO = Path(__file__).resolve().parents[2]


def make_parties(run: Any, folder: str, parties: Sequence[tuple[str, str]]) -> None:
    Path(folder).mkdir()
    for role, name in parties:
        if not Path(name).exists():
            run(f"he keygen {name} --role {role} --name {name} --rounds 1")
        public = Path(f"{name}/public.json").read_bytes()
        Path(f"{folder}/{name}.json").write_bytes(public)


def begun(words: str, module: str = "zkai.cli") -> subprocess.Popen[bytes]:
    """A command as a process of its own."""
    command = [sys.executable, "-m", module, *words.split(), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


@contextmanager
def following(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[dict[str, Any]]]:
    """Wait for processes at the end; their answers are there then."""
    answers: list[dict[str, Any]] = []
    try:
        yield answers
        answers += [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def kill_after(process: subprocess.Popen[bytes], path: Path) -> None:
    """Kill a process once it has written a file."""
    until = time.monotonic() + 300
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert path.exists()


def encrypt_updates(run: Any, board: str) -> None:
    for i, name in enumerate(CLIENTS):
        source = np.random.default_rng(i)
        np.savez(f"{name}.npz", w=source.integers(-50, 51, (10, 7)), b=source.integers(-50, 51, 10))
        run(f"he encrypt {name} {name}.npz --board {board}")


def check_sum(run: Any, board: str) -> dict[str, Any]:
    """Open the sum of what the clients encrypted last, and check it."""
    statement: dict[str, Any] = run(f"he decrypt --board {board} -o {board}.npz")
    found, updates = np.load(f"{board}.npz"), [np.load(f"{name}.npz") for name in CLIENTS]
    for name in ("w", "b"):
        assert np.array_equal(found[name], sum(update[name] for update in updates))
    run(f"he verify {board}.npz --board {board}")
    return statement


def sum_by_processes(run: Any, board: str) -> None:
    """A round whose holders are processes."""
    with following([begun(f"he serve {name} --board {board} --follow 300") for name in NEW]):
        encrypt_updates(run, board)
        for _ in range(90):
            status = run(f"he aggregate agg2 --board {board} --follow 2")
            if status["phase"] == "reveal":
                break
        assert status["phase"] == "reveal", status
        for name in CLIENTS:
            run(f"he reveal {name} --board {board}")
        done = run(f"he aggregate agg2 --board {board} --follow 240")
        assert done["phase"] == "opened"


def ceremony_in_turns(run: Any, agreed: str) -> dict[str, list[str]]:
    """A resharing whose parties' commands run one after the other: what each did."""
    done: dict[str, list[str]] = {name: [] for name in ("h0", "h2", *NEW)}
    phase = ""
    while phase != "concluded":
        status = run("he ceremony advance agg2 --board keys2")
        phase = status["phase"]
        for name in done if phase == "concluded" else status["waiting"]:
            done[name] += run(f"he ceremony step {name} {agreed}")["done"]
    return done


def documented() -> list[str]:
    """The commands of the documentation's example."""
    text = (REPO / "docs" / "aggregation.md").read_text(encoding="utf-8")
    block = text.split("### The key\n")[1].split("```sh\n")[1].split("```")[0]
    lines = [line.split("#")[0].strip().removesuffix(" &") for line in block.splitlines()]
    return [line.removeprefix("zkai ") for line in lines]


def ceremony_by_processes(steps: Sequence[str], advance: str) -> list[dict[str, Any]]:
    """Run a ceremony in which a dealer cheats, and a holder is killed and begun again."""
    commands = dict(zip(OLD, steps, strict=True))
    key = json.loads(Path(f"{KILLED}/public.json").read_text())["key"]
    committed = f"keys/round-1/1-commit/{PublicKey.from_jwk(key, KILLED).keyid}"
    killed, processes = begun(commands[KILLED]), [begun(advance)]
    processes += [begun(commands[name]) for name in OLD if name not in (CHEAT, KILLED)]
    processes.append(begun(commands[CHEAT], "tests.e2e.cheating_dealer"))
    with following(processes) as answers:
        kill_after(killed, Path(committed))
        processes.append(begun(commands[KILLED]))
    return answers


def test_a_ceremony_a_session_and_a_resharing_by_processes(run: Any) -> None:
    clients = [("client", name) for name in CLIENTS]
    make_parties(run, "parties", [("aggregator", "agg"), *clients, *(("holder", h) for h in OLD)])
    np.savez("like.npz", w=np.zeros((10, 7), int), b=np.zeros(10, int))
    lines = documented()
    opened = run(lines[0])
    assert (opened["holders"], opened["quorum"], opened["once"]) == (4, 3, False)
    status, *answers, again = ceremony_by_processes(lines[1:5], lines[5])
    named = {CHEAT: "dealt shares that are not of one small value"}
    assert (status["phase"], status["refused"]) == ("concluded", named)
    assert [answer["done"][-1] for answer in (*answers, again)] == [
        "share kept", "share kept", "left out", "share kept",
    ]  # fmt: skip
    key, begin = run(lines[6]), lines[7].replace(" --key keys", "")
    assert (key["holders"], key["excluded"]) == (["h0", "h1", "h2"], named)
    assert Path("joint.seal").stat().st_size > 300_000
    wrong = run(f"he ceremony verify --board keys --ceremony {'00' * 32}", status=1)
    assert "another ceremony" in wrong["message"]
    assert "--key" in run(begin, status=2)["message"]
    assert "key" not in run(lines[7])["parameters"]

    make_parties(run, "parties2", [("aggregator", "agg2"), *clients, *(("holder", n) for n in NEW)])
    dealers = "--board keys2 --parties parties2 --from keys --threshold 2 --dealers"
    assert "expected 2" in run(f"he ceremony reshare agg2 {dealers} h0", status=2)["message"]
    for stranger in ("n0", CHEAT):
        refused = run(f"he ceremony reshare agg2 {dealers} h0,{stranger}", status=2)
        assert f"'{stranger}' holds no share" in refused["message"]
    resharing = run(f"he ceremony reshare agg2 {dealers} h0,h2")
    agreed = f"--board keys2 --ceremony {resharing['ceremony']}"
    done = ceremony_in_turns(run, agreed)
    assert all("old share deleted" in done[name] for name in ("h0", "h2"))
    assert all("share kept" in done[name] for name in NEW)
    assert run(f"he ceremony step h1 {agreed}")["done"] == ["old share deleted"]
    assert run(f"he ceremony verify {agreed}")["key"] == key["key"]
    late = run("he serve h0 --board board", status=1)
    assert "handed on to another committee" in late["message"]
    begin = begin.replace("agg --board board", "agg2 --board board2")
    begin = f"{begin.replace('parties parties', 'parties parties2')} --key"
    other = run(f"{begin.replace('threshold 2', 'threshold 3')} keys2", status=2)
    assert "session would have" in other["message"]
    assert "session would have" in run(f"{begin} keys", status=2)["message"]
    run(f"{begin} keys2")
    sum_by_processes(run, "board2")
    assert check_sum(run, "board2")["scheme"] == "ckks"


def test_noise_takes_a_key_for_one_round_which_is_never_handed_on(run: Any) -> None:
    """The ceremony runs in this process, from the folders that the commands use."""
    pytest.importorskip("dp_accounting")
    holders = OLD[:3]
    clients = [("client", name) for name in CLIENTS]
    parties = [("aggregator", "agg"), *clients, *(("holder", h) for h in holders)]
    make_parties(run, "parties", parties)
    np.savez("like.npz", w=np.zeros((10, 7), int), b=np.zeros(10, int))
    for board, options in (("keys", "--once"), ("lasting", "")):
        run(f"he ceremony open agg --board {board} --parties parties --threshold 2 {options}")
        conclude(Path(board), holders)
    assert run("he ceremony verify --board keys")["once"] is True
    begin = "he open agg --parties parties --like like.npz --threshold 2 --bound 50 --scheme ckks"
    refused = run(f"{begin} --board other --key lasting --norm 600", status=2)
    assert "noise takes a key for one round" in refused["message"]
    opened = run(f"{begin} --board board --key keys --norm 600 --honest 2")
    assert opened["parameters"]["once"] is True
    assert json.loads(Path("board/session.json").read_text())["privacy"]["honest"] == 2
    encrypt_updates(run, "board")
    spent = run("he budget ada")
    assert (spent["epsilon"], spent["releases"]) == (1.0, 1)
    late = run("he encrypt ada bob.npz --board board --round 2", status=2)
    assert "rounds 1 to 1" in late["message"]
    reshare = "he ceremony reshare agg --board keys2 --parties parties --from keys --dealers h0,h2"
    refused = run(f"{reshare} --threshold 2", status=2)
    assert "for one round, and is not handed on" in refused["message"]


def conclude(root: Path, holders: Sequence[str]) -> None:
    """Run a ceremony to its end."""
    board = Board(root)
    terms = read_ceremony(board)
    members = [KeyMember(terms, read_party_key(Path(h), "secret"), Path(h)) for h in holders]
    organiser = Organiser.open(terms, read_party_key(Path("agg"), "secret"), Path("agg"), board)
    while organiser.advance().phase != CONCLUDED:
        for member in members:
            member.step(board)
    organiser.close()
    assert all(member.step(board) == ["share kept"] for member in members)
