"""How the commands' options are declared: one help style, the same on every Python version."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from zkai.commands.console import Console
from zkai.ledger.postgres import is_url

Run: TypeAlias = Callable[[argparse.Namespace, Console], Mapping[str, Any]]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

HELP_WIDTH = 79


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width, so that the copy in the documentation can be compared."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=HELP_WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # argparse of Python 3.13 writes "-o, --out FILE", older ones repeat FILE.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {metavar}"


def add_command(
    commands: Commands, name: str, run: Run, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the --json option that all of them have."""
    description = summary[0].upper() + summary[1:] + "." + ("\n\n" + text.strip() if text else "")
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output"
    )
    parser.set_defaults(run=run)
    return parser


def ledger_place(text: str) -> Path | str:
    """Return where a ledger is: a file's path, or a PostgreSQL URL as it was given."""
    return text if is_url(text) else Path(text)
