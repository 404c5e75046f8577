"""Processes that compute for strangers: limits, frames, sockets, Concrete ML's worker."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from zkai import child
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.he import concrete, model_file, transport, worker
from zkai.he.concrete import ConcreteClient, ConcreteServer
from zkai.he.transport import Remote
from zkai.he.worker import DONE, REFUSED, UNUSABLE, read_frame, refusal, write_frame


def test_frames_are_read_back_and_bad_ones_refused() -> None:
    stream = io.BytesIO()
    write_frame(stream, DONE, b"abc")
    data = stream.getvalue()
    assert read_frame(io.BytesIO(data)) == (DONE, b"abc")
    assert read_frame(io.BytesIO()) is None
    with pytest.raises(InvalidInput, match="cut short"):
        read_frame(io.BytesIO(data[:5]))
    with pytest.raises(InvalidInput, match="cut short"):
        read_frame(io.BytesIO(data[:-1]))
    with pytest.raises(InvalidInput, match="more than 2"):
        read_frame(io.BytesIO(data), 2)


def test_complaints_cannot_move_the_terminal() -> None:
    error = refusal(REFUSED, b"no\x1b[2J" + b"x" * 5000)
    assert isinstance(error, VerificationError)
    assert "\x1b" not in str(error)
    assert len(str(error)) <= 1000
    assert isinstance(refusal(UNUSABLE, b""), InvalidInput)
    assert isinstance(refusal(77, b""), ToolError)


def test_a_worker_is_limited_before_it_reads() -> None:
    code = (
        "import resource\n"
        "from zkai.he.limits import limit_this_process\n"
        "limit_this_process(1 << 30)\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == (1 << 30, 1 << 30)\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "try: bytearray(1 << 31)\n"
        "except MemoryError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


def test_an_answer_that_takes_too_long_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = "import sys, time; sys.stdin.buffer.read(9); time.sleep(60)"
    real = subprocess.Popen

    def start(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", sleeper], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(child.subprocess, "Popen", start)
    with pytest.raises(ToolError, match="took longer"):
        worker.Worker("finetune", timeout_s=0.2)


def test_a_server_survives_clients_that_break_off() -> None:
    ports: list[int] = []
    there = threading.Event()

    def listening(port: int) -> None:
        ports.append(port)
        there.set()

    thread = threading.Thread(
        target=transport.serve, args=("finetune", b"", 0, 2, listening), daemon=True
    )
    thread.start()
    assert there.wait(30)
    with Remote(f"127.0.0.1:{ports[0]}") as first:
        first._stream.write(b"\0\xff\xff")
        first._stream.flush()
    with (
        Remote(f"127.0.0.1:{ports[0]}") as second,
        pytest.raises(InvalidInput, match="not one of zkai's"),
    ):
        second.answer(b"hello")
    thread.join(30)
    assert not thread.is_alive()


def saved(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def test_model_files_are_read_strictly() -> None:
    good = saved(weight0=np.eye(2), weight1=np.eye(2), bias0=np.ones(2), norm=1.5)
    assert len(model_file.matrices(good)) == 2
    assert model_file.model(good).card.hidden == 2
    for bad, what in (
        (b"", "not an .npz"),
        (good[:-30], "not an .npz"),
        (saved(weight0=np.eye(2)), "no array norm"),
        (saved(weight1=np.eye(2), norm=1), "no array weight0"),
        (saved(weight0=np.array(["a"]), norm=1), "something else than numbers"),
        (saved(weight0=np.array([None]), norm=1), "something else than numbers"),
        (saved(weight0=np.asfortranarray(np.ones((2, 3))), norm=1), "another size"),
        (saved(weight0=np.eye(2), norm=np.ones(2)), "one number"),
    ):
        with pytest.raises(InvalidInput, match=what):
            model_file.model(bad)


def environment(folder: Path, answers: str) -> Path:
    """What looks like Concrete ML's environment, with another program for an interpreter."""
    python = concrete.python_of(folder)
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{answers}\n")
    python.chmod(0o755)
    (folder / concrete.MARK).write_text("{}")
    return folder


def test_concrete_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="zkai he concrete --install"):
        ConcreteClient(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="holds files already"):
        concrete.install(tmp_path)
    assert concrete.requirements()[0].startswith("torch==")
    assert all("==" in line for line in concrete.requirements())


def test_concrete_s_worker_tells_what_went_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x"
    failing = environment(tmp_path / "a", """read line; echo '{"ok": false, "error": "no"}'""")
    with ConcreteServer(failing) as server, pytest.raises(ToolError, match="no"):
        server.run(path, path, path, path)
    with (
        ConcreteServer(environment(tmp_path / "b", "exit 3")) as server,
        pytest.raises(ToolError, match="ended"),
    ):
        server.run(path, path, path, path)
    slow = environment(tmp_path / "c", "exec sleep 60")
    with ConcreteServer(slow, 0.2) as server, pytest.raises(ToolError, match="took longer"):
        server.run(path, path, path, path)
    assert os.environ.get("PATH")
