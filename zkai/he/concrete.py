"""Queries with Concrete ML: quantised models on TFHE, in an environment and processes of their own.

Concrete ML is under BSD-3-Clause-Clear: commercial use needs a patent licence from Zama. Nothing of
it is part of zkai or installed with it; `install` makes an environment from concrete.txt when
somebody asks for it. Client and server are separate workers with separate folders: the client's
holds client.zip and its secret key, the server's holds server.zip.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from zkai.child import Child
from zkai.errors import InvalidInput, ToolError

LICENCE = (
    "Concrete ML is under BSD-3-Clause-Clear: free for research and prototypes; commercial use"
    " needs a patent licence from Zama"
)
RECIPE = Path(__file__).with_name("concrete.txt")
WORKER = Path(__file__).with_name("concrete_worker.py")
MARK = "zkai-concrete.json"
BITS = (2, 12)
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR")


def requirements() -> list[str]:
    """Return the recipe's pinned packages; torch is the first."""
    lines = RECIPE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def install(folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Make the environment: a virtual one, 2.3 GB, from the package index alone.

    Raises InvalidInput if the folder holds something else, ToolError if a step fails.
    """
    if folder.exists() and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        raise InvalidInput(f"{folder}: holds files already; name a new folder, or empty it")
    if sys.version_info[:2] != (3, 11):
        raise ToolError("Concrete ML's pinned packages are for Python 3.11")
    say(LICENCE)
    torch, *others = requirements()
    numpy = next(line for line in others if line.startswith("numpy=="))
    pip = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    for text, command in (
        (f"a virtual environment in {folder}", [sys.executable, "-m", "venv", str(folder)]),
        ("torch", [*pip, torch, numpy]),
        (f"{len(others)} packages", [*pip, "--no-deps", *others]),
    ):
        say(f"installing {text}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolError(f"{text}: {done.stderr.strip()[-500:]}")
    (folder / MARK).write_text(json.dumps({"recipe": requirements()}) + "\n", encoding="utf-8")


def python_of(folder: Path) -> Path:
    """Return the environment's interpreter."""
    return folder.absolute() / "bin" / "python"


class ConcreteWorker(Child):
    """One role's process in Concrete ML's environment; use it as a context manager.

    Raises ToolError if the environment was not made by `install`.
    """

    def __init__(self, environment: Path, timeout_s: float = 300) -> None:
        if not (environment / MARK).is_file():
            raise ToolError(
                f"{environment}: not an environment of Concrete ML; make one with"
                f" `zkai he concrete --install {environment}`"
            )
        # Isolated: neither the working folder nor this package is on the worker's path.
        command = [str(python_of(environment)), "-I", "-W", "ignore", str(WORKER)]
        super().__init__("Concrete ML's process", command, _KEPT, timeout_s)

    def _ask(self, operation: str, **given: Any) -> dict[str, Any]:
        def exchange(asked: IO[bytes], answers: IO[bytes]) -> Any:
            asked.write(json.dumps({"op": operation, **given}).encode() + b"\n")
            asked.flush()
            return json.loads(answers.readline(1 << 16))

        found = self.ask(exchange)
        if not isinstance(found, dict) or found.get("ok") is not True:
            raise ToolError(f"Concrete ML: {str(found)[:500]}")
        return found


class ConcreteServer(ConcreteWorker):
    """The model's owner and whoever runs it."""

    def make(self, data: Path, folder: Path, client: Path, bits: int = 8) -> float:
        """Train on x and labels of an .npz; give the client its part; return the accuracy."""
        if not BITS[0] <= bits <= BITS[1]:
            raise InvalidInput(f"bits: expected {BITS[0]} to {BITS[1]}")
        found = self._ask("make", data=str(data), folder=str(folder), bits=bits)
        client.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "client.zip", client / "client.zip")
        return float(found["accuracy"])

    def run(self, folder: Path, query: Path, keys: Path, answer: Path) -> None:
        """Compute on a ciphertext with evaluation keys."""
        paths = {"query": str(query), "keys": str(keys), "answer": str(answer)}
        self._ask("run", folder=str(folder), **paths)


class ConcreteClient(ConcreteWorker):
    """The holder of the query and of the secret key, which stays in its folder."""

    def keys(self, folder: Path, keys: Path) -> None:
        """Make a secret key in the folder and write the evaluation keys for the server."""
        folder.chmod(0o700)
        self._ask("keys", folder=str(folder), keys=str(keys))

    def encrypt(self, folder: Path, row: Path, query: Path) -> None:
        """Encrypt the row of an .npy file."""
        self._ask("encrypt", folder=str(folder), row=str(row), query=str(query))

    def decrypt(self, folder: Path, answer: Path, out: Path) -> None:
        """Write the class probabilities in an answer to an .npy file."""
        self._ask("decrypt", folder=str(folder), answer=str(answer), out=str(out))
