"""The repository keeps what its documents promise about itself."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path


def requirement_names(requirements: list[str]) -> set[str]:
    """Distribution names of requirement strings, without zkai itself."""
    names = {re.split(r"[\s<>=!~\[;]", r, maxsplit=1)[0].lower() for r in requirements}
    return names - {"zkai"}


def listed(text: str) -> set[str]:
    """First cells of the tables in a Markdown text."""
    cells = {m.group(1).strip().lower() for m in re.finditer(r"^\| ([^|]+)\|", text, re.M)}
    return cells - {"package"}


def test_every_direct_dependency_is_explained(repo: Path) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text())
    names = requirement_names(project["build-system"]["requires"])
    names |= requirement_names(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        names |= requirement_names(extra)
    package = json.loads((repo / "package.json").read_text())
    for key in ("dependencies", "devDependencies", "optionalDependencies"):
        names |= {n.lower() for n in package.get(key, {})}
    assert listed((repo / "docs/dependencies.md").read_text()) == names | {"cmake", "ninja"}


def test_every_direct_dependency_is_pinned(repo: Path) -> None:
    pins = dict(
        line.split("==")
        for line in (repo / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    project = tomllib.loads((repo / "pyproject.toml").read_text())
    wanted = requirement_names(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted |= requirement_names(extra)
    assert wanted <= pinned
    assert pins["torch"] == "2.13.0"


def test_lock_files_name_no_host(repo: Path) -> None:
    lock = json.loads((repo / "package-lock.json").read_text())
    assert not any("resolved" in package for package in lock["packages"].values())
    assert "://" not in (repo / "constraints.txt").read_text()


def documents(repo: Path) -> list[Path]:
    """Every Markdown file of ours."""
    folders = ("docs", "circuits", "contracts", "tests", "bench", "native")
    return [*repo.glob("*.md"), *(f for d in folders for f in (repo / d).rglob("*.md"))]


def test_links_in_documents_lead_somewhere(repo: Path) -> None:
    broken = []
    for source in documents(repo):
        for target in re.findall(r"\]\(([^)#\s]+)", source.read_text()):
            if "://" not in target and not (source.parent / target).exists():
                broken.append(f"{source.relative_to(repo)}: {target}")
    assert not broken
