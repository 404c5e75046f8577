"""Writes docs/reference/cli.md from the commands' own help.

python docs/reference/write_cli.py            writes the page
python docs/reference/write_cli.py --check    fails if the page differs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from zkai.cli import parser

PAGE = Path(__file__).resolve().parent / "cli.md"
HEAD = """\
# Command line

Each command's `--help`, word for word. Written by `make reference`; a test compares it.

"""


def commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all parsers below it, in the order of their declaration."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands(child)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for command in commands(parser()):
        parts.append(f"## {command.prog}\n\n```text\n{command.format_help().strip()}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare, write nothing")
    text = page()
    if not options.parse_args().check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE} differs from the commands' help; run `make reference`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
