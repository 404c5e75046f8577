"""The README's examples run as they stand, in order, in one fresh folder.

They see only the packages that the README's installation brings: the others that are installed for
the tests cannot be imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE_NAME = re.compile(r"# ([\w.]+\.\w+)\n")
# "console" blocks are for a fresh machine (CI runs those), "text" blocks are pictures or output.
SHOWN = {"console", "text", "solidity", "json"}


# Python runs a sitecustomize module on its path before anything else. Packages import
# others and also look for them, so what is absent must simply not be found.
HOOK = """\
import sys


class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return None
        return self._finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def documented(repo: Path) -> set[str]:
    """The distributions that `make build`, and what the README says beside it, install."""
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    extra = re.search(r"-e '\.\[([\w-]+)\]'", (repo / "Makefile").read_text())
    also = re.search(r"`pip install -c constraints\.txt ([^`]+)`", (repo / "README.md").read_text())
    assert extra
    assert also
    waiting = [*project["dependencies"], *extras[extra[1]], *also[1].split()]
    found: set[str] = set()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonicalize_name(wanted.name)
        if name == "zkai":
            waiting += [line for chosen in wanted.extras for line in extras[chosen]]
        elif name not in found:
            found.add(name)
            for line in metadata.requires(name) or ():
                marker = Requirement(line).marker
                if marker is None or any(
                    marker.evaluate({"extra": e}) for e in ("", *wanted.extras)
                ):
                    waiting.append(line)
    return found


def hide_others(repo: Path, folder: Path) -> None:
    """Write a hook into `folder` that hides every installed module that is not documented."""
    kept = {*documented(repo), "zkai"}
    absent = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not kept & {canonicalize_name(owner) for owner in owners}
    }
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"ABSENT = {sorted(absent)!r}\n{HOOK}")


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is where its fence stands in the document."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        """The file that the block shows, by its first line."""
        match = FILE_NAME.match(self.text)
        return match[1] if match else None


def blocks(document: str) -> list[Block]:
    """Every fenced block of a Markdown text."""
    return [
        Block(m[1], m[2], document.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(document)
    ]


def run(block: Block, folder: Path, hook: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one block as the reader would."""
    command = (
        [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    )
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "default",
        **({} if hook is None else {"PYTHONPATH": str(hook)}),
    }
    return subprocess.run(
        [*command, block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def replay(document: Path, folder: Path, hook: Path | None = None) -> int:
    """Write or run every block of `document`; return how many ran."""
    ran = 0
    for block in blocks(document.read_text()):
        if block.language in SHOWN:
            continue
        assert block.language in {"python", "sh", "toml"}, f"line {block.line}: {block.language}"
        if block.file_name:
            (folder / block.file_name).write_text(block.text)
            continue
        result = run(block, folder, hook)
        assert result.returncode == 0, (
            f"{document.name}, line {block.line}:\n{result.stdout}\n{result.stderr}"
        )
        ran += 1
    return ran


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_examples_run(name: str, repo: Path, tmp_path: Path) -> None:
    hook, folder = tmp_path / "hook", tmp_path / "work"
    hide_others(repo, hook)
    folder.mkdir()
    assert replay(repo / name, folder, hook) > 0


def test_packages_that_nobody_told_to_install_are_hidden(repo: Path, tmp_path: Path) -> None:
    hide_others(repo, tmp_path / "hook")
    for module, code in (("py_ecc", 0), ("eth_account", 0), ("hypothesis", 1), ("ruff", 1)):
        block = Block("python", f"import {module}", 1)
        done = run(block, tmp_path, tmp_path / "hook")
        assert done.returncode == code, done.stderr


def test_a_failing_example_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text("```python\nimport zkai\nzkai.no_such_verb()\n```\n")
    with pytest.raises(AssertionError, match=r"doc\.md, line 1:(.|\n)*no_such_verb"):
        replay(document, tmp_path)


def test_commands_for_a_fresh_machine_exist(repo: Path) -> None:
    """The blocks that are only shown name make targets that exist."""
    shown = "\n".join(
        b.text for b in blocks((repo / "README.md").read_text()) if b.language == "console"
    )
    targets = set(re.findall(r"^make (\w+)", shown, re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=repo, capture_output=True, check=False)
        assert done.returncode == 0, target
