"""Scheme `ckks` through the commands: a key's ceremony, a session under it, a resharing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.test_he_commands import run  # noqa: F401 - the fixture

pytest.importorskip("tenseal.sealapi")

CLIENTS, OLD, NEW = ("ada", "bob"), ("h0", "h1", "h2"), ("n0", "n1", "n2")


def make_parties(run: Any, folder: str, parties: Sequence[tuple[str, str]]) -> None:  # noqa: F811
    Path(folder).mkdir()
    for role, name in parties:
        if not Path(name).exists():
            run(f"he keygen {name} --role {role} --name {name} --rounds 1")
        public = Path(f"{name}/public.json").read_bytes()
        Path(f"{folder}/{name}.json").write_bytes(public)


@contextmanager
def following(commands: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Run commands as processes of their own; their answers are there at the end."""
    words = [sys.executable, "-m", "zkai.cli", "he"]
    processes = [
        subprocess.Popen(
            [*words, *command.split(), "--follow", "300", "--json"], stdout=subprocess.PIPE
        )
        for command in commands
    ]
    answers: list[dict[str, Any]] = []
    try:
        yield answers
        answers += [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def encrypt_updates(run: Any, board: str, number: int) -> None:  # noqa: F811
    for i, name in enumerate(CLIENTS):
        source = np.random.default_rng(10 * number + i)
        np.savez(f"{name}.npz", w=source.integers(-50, 51, (10, 7)), b=source.integers(-50, 51, 10))
        run(f"he encrypt {name} {name}.npz --board {board}")


def check_sum(run: Any, board: str) -> dict[str, Any]:  # noqa: F811
    """Open the sum of what the clients encrypted last, and check it."""
    statement: dict[str, Any] = run(f"he decrypt --board {board} -o {board}.npz")
    found, updates = np.load(f"{board}.npz"), [np.load(f"{name}.npz") for name in CLIENTS]
    for name in ("w", "b"):
        assert np.array_equal(found[name], sum(update[name] for update in updates))
    run(f"he verify {board}.npz --board {board}")
    return statement


def sum_by_processes(run: Any, board: str) -> None:  # noqa: F811
    """A round whose holders are processes."""
    with following([f"serve {name} --board {board}" for name in OLD]):
        encrypt_updates(run, board, 1)
        for _ in range(90):
            status = run(f"he aggregate agg --board {board} --follow 2")
            if status["phase"] == "reveal":
                break
        assert status["phase"] == "reveal", status
        for name in CLIENTS:
            run(f"he reveal {name} --board {board}")
        done = run(f"he aggregate agg --board {board} --follow 240")
        assert done["phase"] == "opened"


def sum_in_turns(run: Any, board: str) -> None:  # noqa: F811
    """A round whose holders' commands run one after the other."""
    encrypt_updates(run, board, 2)
    phase = ""
    while phase != "opened":
        phase = run(f"he aggregate agg2 --board {board}")["phase"]
        for name in CLIENTS if phase == "reveal" else ():
            run(f"he reveal {name} --board {board}")
        for name in NEW if phase not in ("reveal", "opened") else ():
            run(f"he serve {name} --board {board}")


def ceremony_in_turns(run: Any, agreed: str) -> dict[str, list[str]]:  # noqa: F811
    """A resharing whose parties' commands run one after the other: what each did."""
    done: dict[str, list[str]] = {name: [] for name in ("h0", "h2", *NEW)}
    phase = ""
    while phase != "concluded":
        status = run("he ceremony advance agg2 --board keys2")
        phase = status["phase"]
        for name in done if phase == "concluded" else status["waiting"]:
            done[name] += run(f"he ceremony step {name} {agreed}")["done"]
    return done


def documented(repo: Path) -> list[str]:
    """The commands of the documentation's example."""
    text = (repo / "docs" / "aggregation.md").read_text(encoding="utf-8")
    block = text.split("### The key\n")[1].split("```sh\n")[1].split("```")[0]
    return [line.split("#")[0].strip().removeprefix("zkai ") for line in block.splitlines()]


def test_a_ceremony_a_session_and_a_resharing_by_processes(run: Any, repo: Path) -> None:  # noqa: F811
    clients = [("client", name) for name in CLIENTS]
    make_parties(run, "parties", [("aggregator", "agg"), *clients, *(("holder", h) for h in OLD)])
    np.savez("like.npz", w=np.zeros((10, 7), int), b=np.zeros(10, int))
    lines = documented(repo)
    begun = run(lines[0])
    assert (begun["holders"], begun["quorum"], begun["once"]) == (3, 3, False)
    with following([line[3:-2] for line in lines if line.endswith("&")]) as answers:
        assert run(lines[4]) | {"ok": True} == {
            "ok": True, "phase": "concluded", "waiting": [], "refused": {},
        }  # fmt: skip
    assert all(answer["over"] and "share kept" in answer["done"] for answer in answers)
    key, begin = run(lines[5]), lines[6].replace(" --key keys", "")
    assert "--key" in run(begin, status=2)["message"]
    opened = run(lines[6])
    assert (key["holders"], key["excluded"]) == (list(OLD), {})
    assert Path("joint.seal").stat().st_size > 300_000
    wrong = run(f"he ceremony verify --board keys --ceremony {'00' * 32}", status=1)
    assert "another ceremony" in wrong["message"]
    assert "key" not in opened["parameters"]
    private = run(f"{lines[6].replace('--board board', '--board other')} --norm 600", status=2)
    assert "a key for one round" in private["message"]
    sum_by_processes(run, "board")
    assert check_sum(run, "board")["scheme"] == "ckks"

    make_parties(run, "parties2", [("aggregator", "agg2"), *clients, *(("holder", n) for n in NEW)])
    dealers = "--board keys2 --parties parties2 --from keys --threshold 2 --dealers"
    assert "expected 2" in run(f"he ceremony reshare agg2 {dealers} h0", status=2)["message"]
    assert "'n0'" in run(f"he ceremony reshare agg2 {dealers} h0,n0", status=2)["message"]
    begun = run(f"he ceremony reshare agg2 {dealers} h0,h2")
    agreed = f"--board keys2 --ceremony {begun['ceremony']}"
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
    strangers = run(f"{begin} keys", status=1)
    assert "of other holders than the session's" in strangers["message"]
    run(f"{begin} keys2")
    sum_in_turns(run, "board2")
    check_sum(run, "board2")
