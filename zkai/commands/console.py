"""What a command prints: results on standard output, progress and remarks on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from zkai.proof.scalars import Progress as ProgressCallback


class Console:
    """Where a command writes.

    With `as_json`, standard output receives one JSON object at the end and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._out = RichConsole(file=sys.stdout, highlight=False, soft_wrap=True)
        self._err = RichConsole(file=sys.stderr, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line for people: on standard output, or with --json on standard error."""
        (self._err if self.as_json else self._out).print(escape(text))

    def note(self, text: str) -> None:
        """Print a remark on standard error."""
        self._err.print(escape(text))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table for people; the first column is left-aligned, the others right."""
        table = Table(title=escape(title), title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(escape(column), justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        (self._err if self.as_json else self._out).print(table)

    def emit(self, result: Mapping[str, Any]) -> None:
        """Print the one JSON object of a --json run; does nothing without --json."""
        if self.as_json:
            sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
            sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[ProgressCallback]:
        """Yield a progress callback that draws one bar a work; silent unless on a terminal."""
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self._err,
            disable=not self._err.is_terminal,
        )
        tasks: dict[str, TaskID] = {}

        def update(stage: str, fraction: float) -> None:
            # "prove: H" at 0.5 is half of "prove", at its part H.
            work = stage.partition(":")[0]
            if work not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=1.0)
                tasks[work] = bars.add_task(stage, total=1.0)
            bars.update(tasks[work], description=stage, completed=min(max(fraction, 0.0), 1.0))

        with bars:
            yield update
