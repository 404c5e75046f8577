"""The command line's frame: exit statuses, --json, help, clean endings. Commands are in e2e."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zkai import cli
from zkai.commands import models
from zkai.commands.files import check_target, read_input
from zkai.errors import InvalidInput, ToolError, VerificationError


def run(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, dict[str, Any] | None]:
    """Run a command; return its status, standard error, and standard output's object."""
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    if "--json" in arguments:
        assert out.count("\n") == 1
        return status, err, json.loads(out)
    return status, err, None


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (VerificationError("no"), 1, "verification_failed"),
        (InvalidInput("no"), 2, "invalid_input"),
        (ToolError("no"), 3, "tool_missing"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "invalid_input"),
        (PermissionError(13, "Permission denied", "/x"), 2, "invalid_input"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_each_error_has_its_exit_status(
    error: BaseException,
    status: int,
    kind: str,
    as_json: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(models, "run_estimate", fail)
    found, err, answer = run(["estimate", "s.toml", *(["--json"] if as_json else [])], capsys)
    assert found == status
    assert err.startswith("zkai: ")
    if as_json:
        assert answer is not None
        assert (answer["ok"], answer["error"], answer["exit_status"]) == (False, kind, status)


def test_a_bug_is_not_a_failed_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(models, "run_estimate", fail)
    assert cli.main(["estimate", "s.toml", "--json"]) == 70
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == "bug"
    assert "Traceback" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["prove"],
        ["verify", "p.json"],
        ["verify", "p.json", "--key", "k", "--verifier", "guess"],
        ["chain"],
        ["chain", "verify", "p.json", "--key", "k", "--chain-id", "one"],
        ["setup", "--ceremony", "dance"],
        ["demo", "--no-such-option"],
    ],
)
def test_a_wrong_command_line_is_unusable_input(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, capsys)[0] == 2
    status, err, answer = run([*arguments, "--json"], capsys)
    assert status == 2
    assert answer is not None
    assert answer["message"] in err.replace("zkai: ", "", 1)


@pytest.mark.parametrize("start", ["-o", "-h", "-S", "--", "A-"])
def test_key_ids_are_no_options(start: str, capsys: pytest.CaptureFixture[str]) -> None:
    keyid = start + "x" * 41
    assert cli.main(["receipt", "revoke", "none.json", keyid, "--reason", "stolen"]) == 2
    assert capsys.readouterr().err.startswith("zkai: none.json: cannot be read")
    options = ["--to", keyid, "--signer", "a", "--opener", "b"]
    assert cli.main(["vault", "revoke", "none", "0x00", *options]) == 2
    assert "usage" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "export", "setup", "prove", "chain", "chain verify"])
def test_help_is_printed_in_a_fixed_width(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit, match="0"):
            cli.main([*command.split(), "--help"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert max(map(len, texts[0].splitlines())) <= 80


def test_version_is_the_package_s(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"zkai {project['version']}\n"


def test_terminating_unwinds(tmp_path: Path) -> None:
    """SIGTERM in the middle of a setup leaves nothing behind and no traceback."""
    (tmp_path / "s.toml").write_text(
        'statement = "training_step"\nbatch = 2\n[head]\nfeatures = 2\nclasses = 2\n'
    )
    program = (
        "import os, signal, sys\n"
        "from zkai import cli\n"
        "from zkai.proof import setup\n"
        "def stop(*_):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
        "setup.write_coefs = stop\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    arguments = ["setup", str(tmp_path / "s.toml"), "-o", str(tmp_path / "keys")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m zkai.cli --help | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.stdout.startswith("usage: zkai")
    assert done.stderr == ""


def test_the_public_names_load_lazily() -> None:
    program = (
        "import sys, zkai\n"
        "heavy = {'torch', 'onnx', 'pyrevm', 'web3', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in zkai.__all__:\n"
        "    assert getattr(zkai, name) is not None\n"
        "assert not {'torch', 'pyrevm', 'web3', 'sklearn'} & set(sys.modules)\n"
        "assert dir(zkai) == sorted(zkai.__all__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import zkai

    with pytest.raises(AttributeError, match="no attribute 'prvoe'"):
        _ = zkai.prvoe  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"in\.json: not valid JSON"),
        (b"[1, 2]", r"in\.json: expected a JSON object of named values"),
        (b'{"x": NaN}', r"in\.json: holds NaN; give finite numbers"),
        (b'{"x": -Infinity}', r"in\.json: holds -Infinity"),
        (b'{"x": [1e999]}', r"in\.json: x: a number is out of the range of a float"),
        (b'{"x": 1, "x": 2}', r"in\.json: a JSON object repeats a key"),
        (b'{"x": [[1], [1, 2]]}', r"in\.json: x: expected lists of numbers of equal lengths"),
        (b'{"x": [1, "a"]}', r"in\.json: x: expected nested lists of numbers only"),
        (b'{"x": [1, null]}', r"in\.json: x: expected nested lists of numbers only"),
        (b'{"x": [99999999999999999999999]}', r"in\.json: x: expected nested lists of numbers"),
        (b'{"x": ' + b"[" * 10 + b"1" + b"]" * 10 + b"}", r"in\.json: x: more than 8 dimensions"),
        (b"[" * 100000, r"in\.json: not valid JSON"),
        (b"\xff{}", r"in\.json: not valid JSON"),
    ],
)
def test_input_files_are_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_input(path)


def test_input_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text('{"x": [[1, 2.5]], "labels": [1], "salt": "12", "state": {"weights": [[3]]}}')
    values = read_input(path)
    assert values["x"].tolist() == [[1.0, 2.5]]
    assert values["labels"].dtype.kind == "i"
    assert values["salt"] == "12"
    assert values["state"]["weights"].shape == (1, 1)


def test_targets_are_checked_before_the_work(tmp_path: Path) -> None:
    check_target(tmp_path / "new")
    with pytest.raises(InvalidInput, match="is a folder"):
        check_target(tmp_path)
    with pytest.raises(InvalidInput, match=r"missing is not a folder"):
        check_target(tmp_path / "missing" / "p.json")
    (tmp_path / "file").touch()
    check_target(tmp_path / "file")
    with pytest.raises(InvalidInput, match=r"file is not a folder"):
        check_target(tmp_path / "file" / "p.json")
    with pytest.raises(InvalidInput, match="may hold the only copy"):
        check_target(tmp_path / "file", new=True)


MODEL = """
class Layer:
    example_input = 7
    def state_dict(self): return {}
    def __call__(self): raise RuntimeError
    def eval(self): return self
layer = Layer()
def pair(): return Layer(), 9
def broken(): return 1 // 0
number = 3
"""


def test_a_module_is_found_by_file_and_name(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(MODEL)
    for name, example in (("layer", 7), ("Layer", 7), ("pair", 7)):
        module, found = models._user_module(f"{path}:{name}")
        assert type(module).__name__ == "Layer"
        assert found == example


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("m.py", r"m\.py: expected FILE\.py:NAME"),
        ("m.py:", r"expected FILE\.py:NAME"),
        ("m.py:not a name", r"expected FILE\.py:NAME"),
        ("none.py:x", r"none\.py: no such file"),
        ("m.py:missing", r"m\.py: has no variable, class or function called missing"),
        ("m.py:broken", r"m\.py: broken\(\) failed: line 9: ZeroDivisionError"),
        ("m.py:number", r"m\.py: number is a int, not a torch module"),
        ("bad.py:x", r"bad\.py: could not be run: .*SyntaxError"),
        ("exit.py:x", r"exit\.py: could not be run: line 2: SystemExit: 4"),
        ("text.txt:x", r"text\.txt: expected a Python file"),
    ],
)
def test_a_module_that_cannot_be_had_is_named(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(MODEL)
    (tmp_path / "bad.py").write_text("def (")
    (tmp_path / "exit.py").write_text("import sys\nsys.exit(4)\n")
    (tmp_path / "text.txt").touch()
    with pytest.raises(InvalidInput, match=message):
        models._user_module(source)
