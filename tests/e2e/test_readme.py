"""The README's examples run as they stand, in order, in one fresh folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE_NAME = re.compile(r"# ([\w.]+\.\w+)\n")
# "console" blocks are for a fresh machine (CI runs those), "text" blocks are pictures or output.
SHOWN = {"console", "text", "solidity", "json"}


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


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one block as the reader would."""
    command = (
        [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    )
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "default",
    }
    return subprocess.run(
        [*command, block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def replay(document: Path, folder: Path) -> int:
    """Write or run every block of `document`; return how many ran."""
    ran = 0
    for block in blocks(document.read_text()):
        if block.language in SHOWN:
            continue
        assert block.language in {"python", "sh", "toml"}, f"line {block.line}: {block.language}"
        if block.file_name:
            (folder / block.file_name).write_text(block.text)
            continue
        result = run(block, folder)
        assert result.returncode == 0, (
            f"{document.name}, line {block.line}:\n{result.stdout}\n{result.stderr}"
        )
        ran += 1
    return ran


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_examples_run(name: str, repo: Path, tmp_path: Path) -> None:
    assert replay(repo / name, tmp_path) > 0


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
