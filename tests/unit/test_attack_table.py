"""The decision's table of attacks names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("decision", "least"),
    [
        ("0007-commitment-round.md", 20),
        ("0008-kzg-link.md", 10),
        ("0016-encrypted-update.md", 20),
        ("0025-rules-and-residuals.md", 8),
    ],
)
def test_every_attack_has_its_tests(decision: str, least: int) -> None:
    text = (ROOT / "docs" / "decisions" / decision).read_text()
    section = re.split(r"\n##", text.split("### Attacks")[1])[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= least
    for row in rows:
        named = re.findall(r"`([a-z0-9_/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            module = ast.parse((ROOT / "tests" / file).read_text())
            found = [n.name for n in ast.walk(module) if isinstance(n, ast.FunctionDef)]
            assert name in found, f"{file} has no {name}"
