"""EZKL's process: what it may use and reach, and what becomes of panics, crashes and cancels."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.halo2_support import mlp, require_ezkl
from zkai.errors import ToolError
from zkai.halo2 import process
from zkai.halo2.confine import refuse_network
from zkai.halo2.process import Fault, Limits, Worker, operator_of

ONE = "01" + "00" * 31


@pytest.fixture(autouse=True)
def _needs_ezkl() -> None:
    require_ezkl()


def acting(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `code`, with the request at hand, in the place of EZKL."""
    program = (
        "import os, sys, types; from zkai.halo2 import worker\n"
        "ezkl = sys.modules['ezkl'] = types.ModuleType('ezkl')\n"
        f"def act(**given):\n {code}\n"
        "ezkl.mock = act\nworker.main()"
    )
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", program))


def test_a_panic_becomes_an_error_with_what_it_says(tmp_path: Path) -> None:
    """EZKL's PanicException is no Exception, and would go through every `except Exception`."""
    with Worker(tmp_path) as worker:
        assert len(worker.call("poseidon_hash", message=[ONE])) == 1
        with pytest.raises(Fault, match=r"poseidon_hash.*Invalid string length") as caught:
            worker.call("poseidon_hash", message=["zz"])
        assert caught.value.kind == "PanicException"
        assert len(worker.call("poseidon_hash", message=[ONE])) == 1


def test_what_downloads_or_talks_to_a_chain_may_not_be_called(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        for function in ("get_srs", "deploy_evm", "verify_evm", "register_vka", "__import__"):
            with pytest.raises(Fault, match="may not be called"):
                worker.call(function)


def test_a_killed_process_is_an_error_and_leaves_nothing_waiting(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        worker.call("poseidon_hash", message=[ONE])
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(ToolError, match=r"EZKL's process ended \(status -9\)"):
            worker.call("poseidon_hash", message=[ONE])


def test_a_crash_names_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acting("import ctypes; ctypes.string_at(0)", monkeypatch)
    with Worker(tmp_path) as worker, pytest.raises(ToolError, match="in mock"):
        worker.call("mock")


def test_a_call_that_takes_too_long_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting("import time; time.sleep(60)", monkeypatch)
    start = time.monotonic()
    with Worker(tmp_path, Limits(seconds=1.0)) as worker:
        with pytest.raises(ToolError, match=r"took longer than 1\.0 s"):
            worker.call("mock")
        assert worker._process.poll() is not None
    assert time.monotonic() - start < 30


def test_memory_beyond_the_limit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting("return len(bytearray(1 << 30))", monkeypatch)
    small = Limits(memory_bytes=512 << 20)
    with Worker(tmp_path, small) as worker, pytest.raises(ToolError, match="more memory"):
        worker.call("mock")


def test_a_file_larger_than_the_memory_limit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting("open('big', 'wb').truncate(1 << 30)", monkeypatch)
    small = Limits(memory_bytes=512 << 20)
    with Worker(tmp_path, small) as worker, pytest.raises(ToolError, match="File too large"):
        worker.call("mock")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, RuntimeError])
def test_progress_cancels_a_call_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    acting("import time; time.sleep(60)", monkeypatch)
    seen: list[tuple[str, float]] = []

    def stop(stage: str, fraction: float) -> None:
        seen.append((stage, fraction))
        raise error("stop")

    with Worker(tmp_path, progress=stop) as worker, pytest.raises(error, match="stop"):
        worker.call("mock", stage="prove")
    assert worker._process.poll() is not None
    assert seen[0][0] == "prove"
    assert 0 <= seen[0][1] < 1


def test_the_network_is_refused_and_the_machine_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import socket\n found = []\n"
        " for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):\n"
        "  try: socket.socket(family).close(); found.append(True)\n"
        "  except OSError: found.append(False)\n return found"
    )
    acting(code, monkeypatch)
    if sys.platform != "linux":
        pytest.skip("sockets are refused by a filter that Linux has")
    with Worker(tmp_path) as worker:
        assert worker.call("mock") == [False, False, True]
    assert callable(refuse_network)


def test_home_temporary_and_working_folders_are_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    code = "return [os.getcwd(), os.environ['HOME'], os.environ['TMPDIR'], sorted(os.environ)]"
    acting(code, monkeypatch)
    with Worker(tmp_path) as worker:
        here, home, temporary, names = worker.call("mock")
    assert (Path(here), Path(home).parent, Path(temporary)) == (tmp_path,) * 3
    assert "SECRET_TOKEN" not in names


def test_EZKL_writes_and_looks_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lookup tables are cached under its home: a cache that others can fill is no help."""
    home, folder = tmp_path / "elsewhere", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (folder / "m.onnx").write_bytes(mlp())
    with Worker(folder) as worker:
        worker.call("gen_settings", model="m.onnx", output="s.json", py_run_args={"logrows": 10})
        worker.call("compile_circuit", model="m.onnx", compiled_circuit="m", settings_path="s.json")
        with pytest.raises(Fault, match=r"failed to load srs from none\.srs"):
            worker.call("setup", model="m", vk_path="v", pk_path="p", srs_path="none.srs")
    assert list(home.iterdir()) == []
    assert (folder / "m").is_file()


def test_what_EZKL_prints_stays_out_of_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    acting("print('{\"ok\": true}'); os.write(1, b'noise'); os.write(2, b'noise')", monkeypatch)
    with Worker(tmp_path) as worker:
        assert worker.call("mock") is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answer", ["7", '{"ok": 1}', "{", '{"ok": true}', ""])
def test_an_answer_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    code = f"import sys; sys.stdin.readline(); print({answer!r})"
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", code))
    with Worker(tmp_path) as worker, pytest.raises(ToolError, match="EZKL's process"):
        worker.call("mock")


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ('[tract] Translating node #1 "n0" Unimplemented(Det) ToTypedTranslator', "Det"),
        ("unsupported op: Loop", "Loop"),
        ('[graph] [tract] Failed analyse for node #2 "h" MatMulInference', "MatMul"),
        ("a node is missing required params: stride", None),
        ("the constraint system is not satisfied", None),
    ],
)
def test_an_operator_is_named_where_EZKL_names_it(text: str, operator: Any) -> None:
    assert operator_of(text) == operator
