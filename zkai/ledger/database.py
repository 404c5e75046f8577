"""What a ledger's store asks of a database: rows, and transactions that are durable or undone.

SQL is the same for all of them: `?` stands for a value, and the schema's types are SQLite's.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from zkai.errors import ToolError

Row = Sequence[Any]
LOCK_SECONDS = 30
"""How long a writer waits for another."""


class Database(ABC):
    """One connection, used by one thread at a time; other threads wait."""

    name: str
    """What messages call it: a file, or a URL without its password."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._turn = threading.RLock()
        self._within = False
        self._failed = False

    @abstractmethod
    def _begin(self) -> None:
        """Begin a transaction as the only writer. Raises ToolError if that is not to be had."""

    @abstractmethod
    def _commit(self) -> None:
        """Make the transaction durable. Raises ToolError if it is not, or nobody knows."""

    @abstractmethod
    def _rollback(self) -> None:
        """Undo the transaction; never raises."""

    @abstractmethod
    def _rows(self, sql: str, values: Row) -> list[Row]:
        """Run a statement and return its rows. Raises ToolError if the database fails."""

    @abstractmethod
    def _run_many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run a statement for each row. Raises ToolError if the database fails."""

    @abstractmethod
    def create(self, schema: Sequence[str], first: tuple[str, Row]) -> None:
        """Create the tables and run a first statement, all of it or nothing."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def rows(self, sql: str, values: Row = ()) -> list[Row]:
        """Return what a statement finds. Raises ToolError if the database fails."""
        with self._statement():
            return self._rows(sql, values)

    def run(self, sql: str, rows: Iterable[Row]) -> None:
        """Run a statement for each row. Raises ToolError if the database fails."""
        with self._statement():
            self._run_many(sql, rows)

    @contextmanager
    def _statement(self) -> Iterator[None]:
        """Take one's turn. After a failure a transaction can only be undone.

        Some databases end a transaction by themselves when a statement fails; what came after
        would then be durable on its own.
        """
        with self._turn:
            if self._failed:
                raise ToolError(f"{self.name}: the transaction has failed before")
            try:
                yield
            except BaseException:
                self._failed = self._within
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the right to write; on leaving, everything is durable, or with an error undone.

        Raises ToolError if another writer does not end, or if a statement within it failed, even
        one whose error was caught.
        """
        with self._turn:
            if self._within:
                raise ToolError(f"{self.name}: a transaction holds no other")
            self._begin()
            self._within = True
            try:
                yield
                if self._failed:
                    raise ToolError(f"{self.name}: a statement of the transaction failed")
                self._commit()
            except BaseException:
                self._rollback()
                raise
            finally:
                self._within = self._failed = False
