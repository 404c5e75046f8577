"""`zkai demo`: the whole way on real data, from private samples to accepted proofs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai.commands.console import Console
from zkai.commands.options import Commands, add_command

_HELP = """
Three users fine-tune private heads on handwritten digits. Every step is proven
and verified, here and on an embedded EVM; then forgeries are tried, and each
must be refused. Needs no network, GPU, server or Node.
"""


def add_commands(commands: Commands) -> None:
    """Add `demo`."""
    demo = add_command(commands, "demo", run_demo, "run the whole way on real data", _HELP)
    demo.add_argument(
        "-o",
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("build/demo"),
        help="where summary.json, report.html and the proofs go (default: build/demo)",
    )


def run_demo(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Run the demo."""
    from zkai import demo

    with console.progress() as progress:
        summary: Mapping[str, Any] = demo.run(options.out, progress)
    console.say(f"{options.out}/report.html and {options.out}/summary.json are written")
    return summary
