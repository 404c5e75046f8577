"""SQLite as a ledger's database: one file, in WAL mode, synced at the end of each transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from zkai.errors import InvalidInput, ToolError
from zkai.ledger.database import LOCK_SECONDS, Database, Row


class Sqlite(Database):
    """A file. One process at a time writes; others read what is committed."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open a file, or with `create` make a new one.

        Raises InvalidInput if it exists with `create`, or is no database without.
        """
        super().__init__(str(path))
        if create == path.exists():
            word = "exists already" if create else "no such file"
            raise InvalidInput(f"{path}: {word}")
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=LOCK_SECONDS, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"{path}: not a ledger ({error})") from error

    def create(self, schema: Sequence[str], first: tuple[str, Row]) -> None:
        """Create the tables and run a first statement, all of it or nothing."""
        with self.transaction():
            for table in schema:
                self.rows(table)
            self.rows(*first)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise ToolError(f"{self.name}: locked by another process ({error})") from error

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise ToolError(f"{self.name}: {error}; append again") from error

    def _rollback(self) -> None:
        if self._db.in_transaction:  # some errors end it by themselves
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _rows(self, sql: str, values: Row) -> list[Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise ToolError(f"{self.name}: {error}") from error

    def _run_many(self, sql: str, rows: Iterable[Row]) -> None:
        try:
            self._db.executemany(sql, rows)
        except sqlite3.Error as error:
            raise ToolError(f"{self.name}: {error}") from error
