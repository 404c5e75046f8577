"""`zkai dataset`, and what `prove` and `verify` take of its files: from rows to a certificate."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai.cli import main

HEAD = """
[head]
features = 3
classes = 2
weight_width = 10
weight_scale_bits = 8
input_width = 5
logit_scale_bits = 3
error_scale_bits = 3
rate_shift = 6
rate_bits = 6
"""
DATASET = "\n[dataset]\ndepth = 2\nrows_per_leaf = 2\n"
FORM = 'format = "groth16-commit"\n'
STATEMENTS = {
    "genesis": f'statement = "genesis"\n{FORM}{HEAD}',
    "step": f'statement = "training_step"\n{FORM}batch = 4\nlearning_rate = 2.0\n{HEAD}{DATASET}',
    "skip": f'statement = "skip_step"\n{FORM}{HEAD}',
    "evaluation": f'statement = "evaluation"\n{FORM}samples = 8\n{HEAD}{DATASET}',
}
USER, OWNER = (1 << 200) + 1, 4242


def run(capsys: pytest.CaptureFixture[str], *words: Any, status: int = 0) -> Any:
    """Run a command with --json and return what it says, or the error's text."""
    assert main([*map(str, words), "--json"]) == status
    out = capsys.readouterr()
    return json.loads(out.out) if status == 0 else out.out + out.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset")
    for name, text in STATEMENTS.items():
        (path / f"{name}.toml").write_text(text)
        assert main(["setup", str(path / f"{name}.toml"), "-o", str(path / name), "--json"]) == 0
    rng = np.random.default_rng(1)
    for name in ("rows", "others"):
        x = rng.integers(-15, 16, (8, 3))
        np.savez(path / f"{name}.npz", x=x / 16, labels=(x[:, 0] > 0).astype(np.int64))
    rounds = [
        {"round": i, "randomness": hashlib.sha256(bytes([i])).hexdigest()} for i in range(1, 20)
    ]
    beacon = {"format": "zkai.beacon/1", "name": "test", "key": "00", "genesis_time": 1000}
    (path / "beacon.json").write_text(json.dumps(beacon | {"period": 10, "rounds": rounds}))
    start = {"weights_integers": np.zeros((4, 2), int).tolist(), "secret": str(USER)}
    (path / "start.json").write_text(json.dumps(start))
    (path / "nothing.json").write_text("{}")
    return path


def prove(capsys: Any, folder: Path, name: str, out: str, *words: Any, given: str = "") -> Any:
    return run(
        capsys, "prove", folder / f"{name}.toml", "--keys", folder / name,
        "--input", folder / (given or "nothing.json"), "-o", folder / f"{out}.json", *words,
    )  # fmt: skip


def test_from_rows_to_a_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, statement in (("rows", "step"), ("others", "evaluation")):
        said = run(
            capsys, "dataset", "commit", folder / f"{name}.npz",
            "--statement", folder / f"{statement}.toml", "-o", folder / f"{name}.json",
        )  # fmt: skip
        assert said["size"] == 8
        assert (folder / f"{name}.json").stat().st_mode & 0o777 == 0o600
    beacon = ("--beacon", folder / "beacon.json")
    terms = run(
        capsys, "dataset", "terms", folder / "rows.json", *beacon, "--first-round", 5,
        "--max-skips", 1, "-o", folder / "terms.json",
    )  # fmt: skip
    assert terms["first_round_time"] == 1040
    first = prove(
        capsys, folder, "genesis", "p0", "--terms", folder / "terms.json", given="start.json"
    )
    assert first["public"]["fork"] == terms["fork"]
    fork = ("--terms", folder / "terms.json")
    data = (*fork, *beacon, "--dataset", folder / "rows.json")
    prove(capsys, folder, "step", "p1", "--state", folder / "p0.opening.json", *data)
    prove(capsys, folder, "skip", "p2", "--state", folder / "p1.opening.json", *fork)
    prove(capsys, folder, "step", "p3", "--state", folder / "p2.opening.json", *data)

    key = ("--key", folder / "step" / "verifying.json")
    run(capsys, "verify", folder / "p3.json", *key, *fork, *beacon)
    genesis = ("verify", folder / "p0.json", "--key", folder / "genesis" / "verifying.json")
    run(capsys, *genesis, *fork, *beacon, "--logged-at", 1039)
    late = run(capsys, *genesis, *fork, *beacon, "--logged-at", 1040, status=1)
    assert "could choose among terms" in late
    assert main(["verify", str(folder / "p3.json"), *map(str, key)]) == 0
    assert "see --terms, --set and --beacon" in capsys.readouterr().out

    run(
        capsys, "dataset", "set", folder / "others.json", "--owner", OWNER,
        "-o", folder / "set.json",
    )  # fmt: skip
    evaluation = ("--statement", folder / "evaluation.toml", *beacon, "--round", 9)
    run(
        capsys, "dataset", "samples", folder / "others.json", "--set", folder / "set.json",
        *evaluation, "-o", folder / "samples.json",
    )  # fmt: skip
    (folder / "asked.json").write_text(json.dumps({"margin": 0, "round": 9}))
    made = prove(
        capsys, folder, "evaluation", "certificate", "--old-state", folder / "p0.opening.json",
        "--state", folder / "p3.opening.json", "--set", folder / "set.json",
        "--samples", folder / "samples.json", *beacon, given="asked.json",
    )  # fmt: skip
    assert made["opening"] is None
    certificate = ("verify", folder / "certificate.json")
    certificate += ("--key", folder / "evaluation" / "verifying.json", *beacon)
    certificate += ("--set", folder / "set.json")
    assert "--history" in run(capsys, *certificate, "--logged-at", 1079, status=2)
    for number in range(4):
        certificate += ("--history", folder / f"p{number}.json")
    improved = made["public"]["improved"] == "1"
    status = 0 if improved else 1
    run(capsys, *certificate, "--logged-at", 1079, status=status)
    assert "is 10" in run(capsys, *certificate, "--logged-at", 1080, status=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset", "commit", "rows.npz", "--statement", "genesis.toml", "-o", "n.json"],
         "has no [dataset]"),
        (["dataset", "commit", "beacon.json", "--statement", "step.toml", "-o", "n.json"],
         "not an .npz file"),
        (["dataset", "terms", "beacon.json", "--beacon", "beacon.json", "--first-round", "1",
          "-o", "n.json"], "missing"),
        (["dataset", "set", "beacon.json", "--owner", "x", "-o", "n.json"], "missing"),
        (["dataset"], "required"),
    ],
)  # fmt: skip
def test_unusable_files(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    assert message in run(capsys, *words, status=2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("depth = 2\nrows = 8", "give rows or depth"),
        ("rows_per_leaf = 2", "give rows or depth"),
        ("rows = 9\nrows_per_leaf = 2", "8 or 10 would do"),
        ("depth = 40", "depth must be in"),
        ("depth = 2\nsize = 4", "unknown key size"),
    ],
)
def test_unusable_tables(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, message: str
) -> None:
    path = tmp_path / "step.toml"
    path.write_text(STATEMENTS["step"].replace("depth = 2\nrows_per_leaf = 2", table))
    assert message in run(capsys, "estimate", path, status=2)


def test_rows_in_a_statement_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "step.toml"
    table = STATEMENTS["step"].replace("depth = 2", "rows = 8")
    path.write_text(table)
    said = run(capsys, "estimate", path)
    (tmp_path / "same.toml").write_text(STATEMENTS["step"])
    assert said["constraints"] == run(capsys, "estimate", tmp_path / "same.toml")["constraints"]


def test_options_that_do_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = ("prove", folder / "step.toml", "--keys", folder / "step", "-o", folder / "n.json")
    (folder / "twice.json").write_text(json.dumps({"terms": {}}))
    (folder / "given.json").write_text(json.dumps({"nonce": "1"}))
    nothing = ("--input", folder / "nothing.json")
    old = run(capsys, *step, *nothing, "--old-state", folder / "x.json", status=2)
    assert "takes one state only" in old
    missing = run(capsys, *step, *nothing, "--terms", folder / "x.json", status=2)
    assert "x.json: cannot be read" in missing
    proof = folder / "p3.json"
    if proof.exists():
        key = ("--key", folder / "step" / "verifying.json")
        for words, message in (
            (("--beacon", folder / "beacon.json"), "go with --terms or --set"),
            (("--terms", folder / "terms.json"), "need --beacon"),
            (("--set", folder / "set.json", "--beacon", folder / "beacon.json"), "--logged-at"),
        ):
            assert message in run(capsys, "verify", proof, *key, *words, status=2)
