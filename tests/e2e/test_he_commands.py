"""`zkai he`: a round through the commands, each party with its own folder, holders as processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CLIENTS, HOLDERS, THRESHOLD = ("ada", "bob", "cyd", "dan"), 5, 3


def begin(run: Any, holders: int, threshold: int, options: str = "") -> dict[str, Any]:
    """Make everybody's keys and updates, and open a session."""
    Path("parties").mkdir()
    roles = [("aggregator", "agg")] + [("client", name) for name in CLIENTS]
    roles += [("holder", f"h{j}") for j in range(holders)]
    for role, name in roles:
        made = run(f"he keygen {name} --role {role} --name {name} --rounds 2")
        Path(made["public"]).rename(f"parties/{name}.json")
        Path(f"{name}/public.json").write_bytes(Path(f"parties/{name}.json").read_bytes())
    for i, name in enumerate(CLIENTS):
        source = np.random.default_rng(i)
        np.savez(f"{name}.npz", w=source.integers(-50, 51, (10, 7)), b=source.integers(-50, 51, 10))
    opened: dict[str, Any] = run(
        f"he open agg --board board --parties parties --like ada.npz --threshold {threshold}"
        f" --bound 50 {options}"
    )
    return opened


def test_a_round_of_four_clients_and_five_holders(run: Any) -> None:
    opened = begin(run, HOLDERS, THRESHOLD, "--max-weight 9")
    assert (opened["clients"], opened["quorum"], opened["least"]) == (4, 4, 4)
    serve = [sys.executable, "-m", "zkai.cli", "he", "serve", "--board", "board", "--json"]
    processes = [
        subprocess.Popen([*serve, f"h{j}", "--follow", "300"], stdout=subprocess.PIPE)
        for j in range(HOLDERS)
    ]
    try:
        other = run(f"he encrypt ada ada.npz --board board --session {'00' * 32}", status=1)
        assert "another session" in other["message"]
        trusted = f"--board board --session {opened['session']}"
        for weight, name in enumerate(CLIENTS, start=1):
            run(f"he encrypt {name} {name}.npz {trusted} --weight {weight}")
        waiting = run("he aggregate agg --board board")
        assert waiting["phase"] == "closed (signatures)"
        assert run("he reveal ada --board board", status=1)["error"] == "verification_failed"
        for _ in range(90):
            status = run("he aggregate agg --board board --follow 1")
            if status["phase"] == "reveal":
                break
        assert status["phase"] == "reveal", status
        for name in CLIENTS:
            assert run(f"he reveal {name} --board board")["bytes"] > 0
        assert run("he aggregate agg --board board --follow 240")["phase"] == "opened"
        done = [json.loads(process.communicate(timeout=240)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(answer["over"] for answer in done)
    assert all("partials" in answer["done"] for answer in done)
    statement = run("he decrypt --board board -o sum.npz")
    assert (statement["clients"], statement["checked"], statement["apart"]) == (4, True, [])
    found, updates = np.load("sum.npz"), [np.load(f"{name}.npz") for name in CLIENTS]
    for name in ("w", "b"):
        expected = sum(weight * update[name] for weight, update in enumerate(updates, start=1))
        assert np.array_equal(found[name], expected)
    assert found["samples"] == 10
    trusted = f"--board board --session {opened['session']}"
    assert run(f"he verify sum.npz {trusted} --checked")["checked"]
    Path(f"board/round-1/partials/{statement['agreed'][0]}").rename("part")
    assert len(run("he decrypt --board board -o less.npz")["agreed"]) == HOLDERS - 1
    assert not run(f"he verify less.npz {trusted}")["checked"]
    refused = run(f"he verify less.npz {trusted} --checked", status=1)
    assert "the parts of 4 key holders agree, 5 must" in refused["message"]
    Path("part").rename(f"board/round-1/partials/{statement['agreed'][0]}")
    wrong = run(f"he verify sum.npz --board board --session {'00' * 32}", status=1)
    assert "another session" in wrong["message"]
    values = dict(found)
    Path("wrong.json").write_bytes(Path("sum.json").read_bytes())
    b, w = values["b"], values["w"]
    for changed, reason in (
        ({"b": b + 1}, "not the opened sum"),
        ({"b": b + 0.25 * np.sign(b)}, "expected int64"),
        ({"b": b.astype(np.uint64)}, "expected int64"),
        ({"w": w.reshape(7, 10)}, "expected int64, \\(10, 7\\)"),
        ({"c": b}, "not the session's tensors"),
    ):
        np.savez("wrong.npz", **{**values, **changed})
        wrong = run("he verify wrong.npz --board board", status=1)
        assert re.search(reason, wrong["message"])
    for folder in (*CLIENTS, "agg", *(f"h{j}" for j in range(HOLDERS))):
        for path in Path(folder).rglob("*"):
            if (
                path.is_file()
                and path.name not in ("public.json", "lock")
                and "db" not in path.name
            ):
                open_to_others = path.stat().st_mode & 0o077
                assert not open_to_others or path.parent.name == "proposals", path


def test_holders_step_by_step_an_abort_and_errors_that_help(run: Any) -> None:
    begin(run, 3, 2, "--percent 50")
    for name in CLIENTS[:3]:
        run(f"he encrypt {name} {name}.npz --board board")
    again = run("he encrypt ada bob.npz --board board", status=2)
    assert "there is one a round" in again["message"]
    assert run("he aggregate agg --board board")["waiting"] == ["dan"]
    assert run("he aggregate agg --board board --proceed")["phase"] == "closed (signatures)"
    for j in range(3):
        assert run(f"he cosign h{j} --board board")["done"] == ["closed-signed"]
        assert run(f"he cosign h{j} --board board")["done"] == []
    refused = run("he partial h0 --board board", status=1)
    assert "'active' is not decided yet" in refused["message"]
    late = run("he decrypt --board board -o sum.npz", status=1)
    assert "'active' is not decided yet" in late["message"]
    assert run("he aggregate agg --board board --abort enough")["phase"] == "abort"
    assert run("he cosign h0 --board board")["done"] == ["abort"]
    refused = run("he partial h0 --board board", status=1)
    assert "was aborted" in refused["message"]
    refused = run("he encrypt ada ada.npz --board board --round 2", status=2)
    assert "Train on, and send a new one" in refused["message"]
    assert "rounds 1 to 2" in run("he encrypt ada ada.npz --board board --round 3", 2)["message"]
    np.savez("float.npz", w=np.zeros((10, 7)), b=np.zeros(10))
    assert "quantise it" in run("he encrypt dan float.npz --board board", 2)["message"]
    np.savez("large.npz", w=np.full((10, 7), 51), b=np.zeros(10, int))
    assert "at most 50" in run("he encrypt dan large.npz --board board", 2)["message"]
    np.savez("shape.npz", w=np.zeros((7, 10), int), b=np.zeros(10, int))
    assert "has the shape" in run("he encrypt dan shape.npz --board board", 2)["message"]
    np.savez("names.npz", w=np.zeros((10, 7), int))
    assert "'b' is missing" in run("he encrypt dan names.npz --board board", 2)["message"]
    assert (
        "none of the session's clients" in run("he encrypt h0 dan.npz --board board", 2)["message"]
    )
    assert "not a key holder's folder" in run("he cosign dan --board board", 2)["message"]
    assert (
        "holds a session"
        in run(
            "he open agg --board board --parties parties --like ada.npz --threshold 2 --bound 9", 2
        )["message"]
    )
    overflow = run(
        "he open agg --board other --parties parties --like ada.npz --threshold 2"
        f" --bound {2**58}", 2,
    )  # fmt: skip
    assert "take a smaller bound" in overflow["message"]
    assert "holds a party's keys" in run("he keygen ada --role client --name ada", 2)["message"]


def test_privacy_is_priced_before_and_budgeted_after(run: Any) -> None:
    pytest.importorskip("dp_accounting")
    plan = run("he preflight --clients 1000 --parameters 1000000 --rounds 100")
    assert plan["noise_to_signal"] == pytest.approx(37.3, abs=0.1)
    assert "drowns" in plan["advice"]
    assert run("he preflight --clients 0 --parameters 1 --rounds 1", status=2)["error"]
    opened = begin(run, 3, 2, "--norm 400 --honest 3 --sums 1")
    assert opened["values"] == 80
    session = json.loads(Path("board/session.json").read_text())
    assert (session["privacy"]["norm"], session["privacy"]["honest"]) == (160_000, 3)
    assert run("he budget ada")["spent_epsilon"] == 0
    run("he encrypt ada ada.npz --board board")
    spent = run("he budget ada")
    assert (spent["epsilon"], spent["releases"]) == (1.0, 1)
    assert 0.99 < spent["spent_epsilon"] <= 1.0
    assert run("he budget ada --epsilon 2")["epsilon"] == 2.0
    np.savez("loud.npz", w=np.full((10, 7), 50), b=np.full(10, 50))
    refused = run("he encrypt bob loud.npz --board board", status=2)
    assert "squared norm is 200000" in refused["message"]


def test_real_updates_are_rounded_and_what_is_not_sent_waits(run: Any) -> None:
    refused = "he open agg --board board --parties parties --threshold 2 --like ada.npz --bound 9"
    begin(run, 3, 2, "--compress 0.5 --keep 20 --max-weight 3")
    assert (
        "--keep goes with"
        in run(refused.replace("--board board", "--board none") + " --keep 2", 2)["message"]
    )
    session = json.loads(Path("board/session.json").read_text())
    assert session["compression"] == {"bound": "0.5", "keep": 20}
    updates = []
    for i, name in enumerate(CLIENTS):
        source = np.random.default_rng(i)
        updates.append({"w": source.uniform(-0.4, 0.4, (10, 7)), "b": source.uniform(-1, 1, 10)})
        np.savez(f"{name}.npz", **updates[-1])
        run(f"he encrypt {name} {name}.npz --board board --weight {1 + i % 3}")
    for _ in range(9):
        status = run("he aggregate agg --board board")
        if status["phase"] == "opened":
            break
        for name in CLIENTS if status["phase"] == "reveal" else ():
            run(f"he reveal {name} --board board")
        for j in range(3):
            run(f"he serve h{j} --board board")
    assert status["phase"] == "opened"
    run("he decrypt --board board -o sum.npz --mean mean.npz")
    found, means = np.load("sum.npz"), np.load("mean.npz")
    assert found["coordinates"].tolist() == list(range(20))
    weights = [1, 2, 3, 1]
    expected = sum(w * u["w"].ravel() for w, u in zip(weights, updates, strict=True)) / 7
    assert np.abs(means["w"].ravel()[:20] - expected[:20]).max() < 0.5 / 50
    assert not means["b"].any()
    run("he verify sum.npz --board board")
    np.savez("wrong.npz", **{**found, "coordinates": found["coordinates"] + 1})
    Path("wrong.json").write_bytes(Path("sum.json").read_bytes())
    wrong = run("he verify wrong.npz --board board", status=1)
    assert "the coordinates are not those" in wrong["message"]
