"""docs/reference/cli.md holds every command's help, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SECTION = re.compile(r"^## (zkai[ \w-]*)\n\n```text\n(.*?)\n```$", re.M | re.S)


def test_page_is_what_the_commands_say(repo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "docs/reference/write_cli.py", "--check"],
        cwd=repo, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["zkai", "zkai prove", "zkai chain verify"])
def test_real_command_prints_its_section(command: str, repo: Path) -> None:
    sections = dict(SECTION.findall((repo / "docs/reference/cli.md").read_text()))
    program = Path(sys.executable).parent / "zkai"
    done = subprocess.run(
        [program, *command.split()[1:], "--help"],
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.strip() == sections[command]
