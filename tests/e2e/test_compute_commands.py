"""`zkai compute`: a trainer and a checker by command."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit import compute_support
from tests.unit.compute_support import record_run, trusted
from zkai.cli import main
from zkai.encoding import write_atomic

VALUE = "0x" + "ab" * 32
RECORD = "run/records/0000000000000003.json"
PROGRAM = f"{compute_support.__file__}:PROGRAM"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    record_run(folder / "run")
    trusted().write(folder / "trust.json")
    return folder


def run(capsys: pytest.CaptureFixture[str], words: str, status: int = 0) -> dict[str, Any]:
    found = main([*words.split(), "--json"])
    output = capsys.readouterr()
    assert found == status, output.err
    result: dict[str, Any] = json.loads(output.out)
    return result


def test_a_step_is_sampled_and_replayed(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    signed = f"--record {RECORD} --task run/task.json --trust trust.json"
    run(capsys, f"compute challenge {RECORD} --group gradients --value {VALUE} -o c.json")
    answered = run(capsys, "compute answer run c.json -o a")
    assert answered["step"] == 3
    assert not (desk / "a").stat().st_mode & 0o077
    found = run(capsys, f"compute check a --challenge c.json {signed} --own run")
    assert (found["grade"], found["compared"], found["samples"]) == ("sampled", True, 1)
    assert 0 < found["detection"]["0.5"] <= 1
    # Activations, drawn by a beacon's round after the record was seen.
    rounds = [{"round": 3, "randomness": "cd" * 32}]
    beacon = {"format": "zkai.beacon/1", "name": "b", "key": "ab", "genesis_time": 2_000_000_000,
              "period": 3, "rounds": rounds}  # fmt: skip
    write_atomic("beacon.json", json.dumps(beacon).encode())
    asked = "--kind activations --tensor 3 --percent 5 --beacon beacon.json --round 3 -o v.json"
    run(capsys, f"compute challenge {RECORD} {asked}")
    run(capsys, "compute answer run v.json -o b")
    when = "--beacon beacon.json --logged-at"
    found = run(capsys, f"compute check b --challenge v.json {signed} {when} 1990000000")
    assert found["beacon_checked"]
    words = f"compute check b --challenge v.json {signed} {when} 2000000006"
    assert "was public at" in run(capsys, words, status=1)["message"]
    # A replay, with the steps to the record after.
    for step, name in ((3, "r3"), (6, "r6")):
        record = f"run/records/{step:016d}.json"
        run(capsys, f"compute challenge {record} --kind replay -o {name}.json")
        run(capsys, f"compute answer run {name}.json -o {name}")
    assert run(capsys, f"compute check r3 --challenge r3.json {signed}")["kind"] == "replay"
    later = "--next r6 --next-record run/records/0000000000000006.json"
    found = run(capsys, f"compute replay r3 {signed} --program {PROGRAM} {later}")
    assert (found["mode"], found["next"]) == ("bitwise", 6)
    # The chain that the record stands in: whole, and with a link missing.
    run(capsys, f"compute check a --challenge c.json {signed} --records run")
    shutil.copytree("run/records", "part/records")
    shutil.copy("run/task.json", "part/task.json")
    os.unlink("part/records/0000000000000000.json")
    words = f"compute check a --challenge c.json {signed} --records part"
    assert "does not start from" in run(capsys, words, status=1)["message"]
    # The answer to one challenge is none to another; tensors of one step are not another's.
    message = run(capsys, f"compute check a --challenge v.json {signed}", status=1)["message"]
    assert "activations" in message
    words = f"compute replay r6 {signed} --program {PROGRAM}"
    assert "not those committed to" in run(capsys, words, status=1)["message"]
    Path("other.py").write_bytes(Path(compute_support.__file__).read_bytes() + b"\n")
    words = f"compute replay r3 {signed} --program other.py:PROGRAM"
    assert "not the program" in run(capsys, words, status=1)["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"challenge {RECORD} -o x", "--group"),
        (f"challenge {RECORD} --group deltas -o x", "drawn by --beacon"),
        (f"challenge {RECORD} --group deltas --value 0x12 -o x", "--value"),
        (f"challenge {RECORD} --group deltas --value {VALUE} --percent 0 -o x", "--percent"),
        (f"challenge {RECORD} --group deltas --value {VALUE} --round 1 -o x", "--beacon with"),
        (f"challenge {RECORD} --kind replay --percent 1 -o x", "asks for everything"),
        (f"challenge {RECORD} --kind activations --group deltas --value {VALUE} -o x", "--group"),
        ("challenge trust.json --kind replay -o x", "trust.json"),
        ("answer . trust.json -o x", "trust.json"),
        ("answer . full.json -o x", "task.json"),
        (f"replay x --record {RECORD} --task run/task.json --trust trust.json --program p.py"
         " --next y", "belong together"),
        (f"replay x --record {RECORD} --task run/task.json --trust trust.json --program p.py",
         "FILE.py:NAME"),
        (f"check x --challenge full.json --record {RECORD} --task trust.json --trust trust.json",
         "trust.json"),
    ],
)  # fmt: skip
def test_unusable_input_is_named(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(desk)
    run(capsys, f"compute challenge {RECORD} --kind replay -o full.json")
    assert message in run(capsys, f"compute {words}", status=2)["message"]
