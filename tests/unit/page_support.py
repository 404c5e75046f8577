"""The page's code in one Node process: requests and answers of tests/web/batch.mjs."""

from __future__ import annotations

import atexit
import base64
import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BATCH = Path(__file__).resolve().parent.parent / "web" / "batch.mjs"
Files = Mapping[str, bytes | list[bytes]]


@functools.cache
def _node() -> subprocess.Popen[str]:
    command = ["node", "--no-warnings", str(BATCH)]
    node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(node.communicate)  # closes its input, at which it ends
    return node


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request; anything but a verdict fails the test."""
    node = _node()
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(json.dumps(request) + "\n")
    node.stdin.flush()
    answer: dict[str, Any] = json.loads(node.stdout.readline())
    assert "bug" not in answer, answer["bug"]
    return answer


def b64(data: bytes) -> str:
    """Return bytes as a request holds them."""
    return base64.b64encode(data).decode()


def page_verify(files: Files, now: int, **options: Any) -> dict[str, Any]:
    """Return what the page finds of these files, and keep them for `page_flip`."""
    sent = {n: [b64(x) for x in v] if isinstance(v, list) else b64(v) for n, v in files.items()}
    return ask({"case": {"files": sent, "options": {"now": now, **options}}})


def page_flip(file: str, at: int, mask: int = 1) -> dict[str, Any]:
    """Return what it finds of the same files with one byte of one of them changed."""
    return ask({"flip": {"file": file, "at": at, "mask": mask}})


def page_call(name: str, *args: Any) -> dict[str, Any]:
    """Return whether one function of the page accepts; bytes go as base64."""
    return ask({"call": name, "args": [b64(a) if isinstance(a, bytes) else a for a in args]})
