"""`zkai he compute|finetune|lora|card|query`: client and server as two processes, over a socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai.cli import main
from zkai.he.head_task import HeadTask, train_in_clear

pytest.importorskip("tenseal")

PROGRAM = Path(sys.executable).parent / "zkai"


@contextmanager
def served(role: str, *options: str) -> Iterator[str]:
    """A server's address; it ends after one session."""
    command = [PROGRAM, "he", "compute", role, "--sessions", "1", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().removeprefix("listening on ").strip()
            assert server.wait(60) == 0
        finally:
            server.kill()


def zkai(*words: object, status: int = 0) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [str(PROGRAM), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def data(folder: Path, features: int) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, features))
    y = (x @ rng.normal(size=(features, 3))).argmax(1)
    path = folder / "data.npz"
    np.savez(path, x=x[:30], labels=y[:30], x_test=x[30:], labels_test=y[30:])
    return path


def test_a_head_is_trained_as_in_clear(tmp_path: Path) -> None:
    path, out = data(tmp_path, 6), tmp_path / "head.npz"
    with served("finetune") as address:
        said = zkai(
            "he", "finetune", path, "--server", address, "--classes", 3, "--batch", 16,
            "--epochs", 2, "--momentum", 0.5, "--compare", "-o", out,
        )  # fmt: skip
    assert said["steps"] == 4
    assert out.stat().st_mode & 0o777 == 0o600
    with np.load(path) as arrays, np.load(out) as head:
        x = arrays["x"]
        norm = float(np.sqrt((x**2).sum(1).max() + 1))
        task = HeadTask(6, 3, 16, 0.1, norm, 0.5)
        clear = train_in_clear(task, x, arrays["labels"], 2)
        np.testing.assert_allclose(np.vstack([head["weights"], head["bias"]]), clear, atol=1e-5)
    assert said["accuracy"] == pytest.approx(said["accuracy_polynomial"], abs=0.005)
    assert {"accuracy_sigmoid", "accuracy_softmax", "polynomial_max_error"} <= set(said)


def test_an_adapter_is_trained_around_layers_that_a_server_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = tmp_path / "base.npz"
    np.savez(base, weight0=rng.normal(size=(8, 6)) / 3, weight1=rng.normal(size=(3, 8)) / 3)
    path, out = data(tmp_path, 6), tmp_path / "adapter.npz"
    with served("hybrid", "--model", str(base)) as address:
        said = zkai(
            "he", "lora", path, "--server", address, "--layers", "6:8:3", "--rank", 2,
            "--epochs", 4, "--rate", 0.5, "-o", out,
        )  # fmt: skip
    assert said["losses"][-1] < said["losses"][0]
    with np.load(out) as adapter:
        assert adapter["down0"].shape == (2, 6)
        assert adapter["up1"].shape == (3, 2)


def test_a_query_is_answered(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    weights, bias = rng.normal(size=(4, 5)), rng.normal(size=4)
    np.savez(tmp_path / "model.npz", weight0=weights, bias0=bias, norm=3.0)
    card, asked = tmp_path / "card.json", tmp_path / "in.json"
    zkai("he", "card", tmp_path / "model.npz", "-o", card)
    row = [1.0, -0.5, 0.25, 0.0, 1.0]
    asked.write_text(json.dumps({"input": row}))
    with served("query", "--model", str(tmp_path / "model.npz")) as address:
        said = zkai("he", "query", asked, "--card", card, "--server", address)
    np.testing.assert_allclose(said["answers"], [weights @ row + bias], atol=1e-2)


def test_unusable_files_and_servers_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = data(tmp_path, 6), tmp_path / "out.npz"
    for words, what in (
        (("lora", path, "--layers", "5:3", "--server", "here", "-o", out), "--layers 5:3"),
        (("compute", "hybrid"), "--model"),
        (("card", path, "-o", out), "norm"),
    ):
        assert main(["he", *map(str, words)]) == 2
        assert what in capsys.readouterr().err
    # In a process of its own, which it limits before it looks at the labels.
    said = zkai("he", "finetune", path, "--server", "here", "-o", out, status=2)
    assert "labels" in said["message"]
    said = zkai(
        "he", "lora", path, "--layers", "6:3", "--server", "127.0.0.1:9", "-o", out, status=3
    )
    assert "no server answers" in said["message"]
