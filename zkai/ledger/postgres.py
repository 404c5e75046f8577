"""PostgreSQL as a ledger's database, through SQLAlchemy (the extra `postgres`).

    postgresql://user@host:5432/database?schema=zkai

A ledger is a schema, `zkai` unless the URL names another; what else stands behind the question mark
goes to libpq (sslmode, host for a socket's folder). The password may stand in the URL, better in
PGPASSWORD or ~/.pgpass: what this module prints never holds it.

A writer locks the table `meta` until its transaction ends, so that writers take turns, also those
that do not know of the lock. A commit is acknowledged when the server has flushed it to its own
disk at least (synchronous_commit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from zkai.errors import InvalidInput, ToolError
from zkai.ledger.database import LOCK_SECONDS, Database, Row

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

DEFAULT_SCHEMA = "zkai"
IDLE_MINUTES = 5
"""How long a writer may say nothing within a transaction before the server ends it."""
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LOCK_NOT_AVAILABLE = "55P03"


def is_url(where: object) -> bool:
    """Return whether a ledger's place is a PostgreSQL server's."""
    return isinstance(where, str) and where.partition("://")[0] in _SCHEMES


def parse_url(text: str) -> tuple[URL, str]:
    """Return where to connect, and the ledger's schema.

    Raises ToolError without SQLAlchemy and psycopg, InvalidInput for a URL that is none.
    """
    try:
        import psycopg  # noqa: F401 - the driver, which SQLAlchemy loads by name
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise ToolError(
            "SQLAlchemy and psycopg are not installed; pip install 'zkai[postgres]'"
        ) from error
    try:
        url = make_url(text).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # from None: the cause could quote the URL, and with it a password
        raise InvalidInput(
            "the ledger's URL: expected postgresql://user@host:port/database"
        ) from None
    schema = url.query.get("schema", DEFAULT_SCHEMA)
    if not isinstance(schema, str) or not _SCHEMA_NAME.fullmatch(schema):
        raise InvalidInput(f"the ledger's URL: schema {schema!r}: expected {_SCHEMA_NAME.pattern}")
    return url.difference_update_query(["schema"]), schema


def masked(text: str) -> str:
    """Return a URL as messages show it: nothing but scheme, host, database and schema."""
    url, schema = parse_url(text)
    host = url.host or url.query.get("host", "")
    port = "" if url.port is None else f":{url.port}"
    return f"postgresql://{host}{port}/{url.database or ''}?schema={schema}"


class Postgres(Database):
    """A schema of a database. It connects anew after a lost connection, between transactions."""

    def __init__(self, text: str, *, create: bool) -> None:
        """Connect to a ledger's schema, or with `create` to where a new one goes.

        Raises InvalidInput if it exists with `create`, does not exist without, or loses what it
        acknowledges (fsync = off); ToolError if the server is not to be had.
        """
        super().__init__(masked(text))
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        url, self._schema = parse_url(text)
        self._secrets = [p for p in (url.password, url.query.get("password")) if isinstance(p, str)]
        self._engine = create_engine(
            url, isolation_level="AUTOCOMMIT", poolclass=NullPool, hide_parameters=True
        )
        self._live: Connection | None = None
        try:
            self._check(create)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Postgres({self.name!r})"

    def _check(self, create: bool) -> None:
        if self.rows("SHOW fsync")[0][0] != "on":
            raise InvalidInput(f"{self.name}: with fsync = off the server may lose entries")
        sql = "SELECT count(*) FROM pg_tables WHERE schemaname = ? AND tablename = 'meta'"
        if create == bool(self.rows(sql, (self._schema,))[0][0]):
            word = "exists already" if create else "no ledger is there"
            raise InvalidInput(f"{self.name}: {word}")

    def _connect(self) -> Connection:
        """Return the connection; a lost one is replaced, but never within a transaction."""
        from sqlalchemy.exc import DBAPIError

        live = self._live
        if live is not None and not live.invalidated and not live.closed:
            return live
        if self._within:
            raise ToolError(f"{self.name}: the connection was lost")
        self._drop()
        try:
            self._live = live = self._engine.connect()
            live.exec_driver_sql(f'SET search_path TO "{self._schema}"')
            live.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            idle = f"SET idle_in_transaction_session_timeout = '{IDLE_MINUTES}min'"
            live.exec_driver_sql(idle)
            if live.exec_driver_sql("SHOW synchronous_commit").scalar() == "off":
                live.exec_driver_sql("SET synchronous_commit = on")
        except DBAPIError as error:
            self._drop()
            raise self._fault(error) from None
        except (TypeError, ValueError) as error:  # an option of the URL that the driver refuses
            self._drop()
            raise InvalidInput(f"{self.name}: {self._hide(str(error))}") from None
        return live

    def _drop(self) -> None:
        """Close the connection, whatever state it is in; the server undoes what is open."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(Exception):
                live.invalidate()
            with suppress(Exception):
                live.close()

    def _hide(self, text: str) -> str:
        line = " ".join(text.split())
        for secret in filter(None, self._secrets):
            line = line.replace(secret, "***")
        return line

    def _fault(self, error: Any) -> ToolError:
        """Return what to raise for an error of the driver's, without SQL and values."""
        origin = getattr(error, "orig", None) or error
        if getattr(origin, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            return ToolError(f"{self.name}: locked by another process")
        return ToolError(f"{self.name}: {self._hide(str(origin))}")

    def create(self, schema: Sequence[str], first: tuple[str, Row]) -> None:
        """Create the schema with its tables and run a first statement, all of it or nothing."""
        from sqlalchemy.exc import DBAPIError

        live = self._connect()
        try:
            live.exec_driver_sql("BEGIN")
            sql = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
            if live.exec_driver_sql(sql, (self._schema,)).first() is None:
                live.exec_driver_sql(f'CREATE SCHEMA "{self._schema}"')
            for table in schema:
                live.exec_driver_sql(_types(table))
            live.exec_driver_sql(_placeholders(first[0]), tuple(first[1]))
            live.exec_driver_sql("COMMIT")
        except DBAPIError as error:
            self._drop()
            raise self._fault(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        self._engine.dispose()

    def _begin(self) -> None:
        try:
            self._rows("BEGIN", ())
            # Before the first snapshot. EXCLUSIVE lets readers be; nobody else writes here.
            self._rows("LOCK TABLE meta IN EXCLUSIVE MODE", ())
        except BaseException:
            self._rollback()
            raise

    def _commit(self) -> None:
        """Commit, unless the transaction has failed: the server would undo it and not complain."""
        from psycopg.pq import TransactionStatus
        from sqlalchemy.exc import DBAPIError

        live = self._connect()
        driver: Any = live.connection.driver_connection
        if driver.info.transaction_status != TransactionStatus.INTRANS:
            raise ToolError(f"{self.name}: the server undid the transaction")
        try:
            live.exec_driver_sql("COMMIT")
        except DBAPIError as error:
            raise ToolError(f"{self._fault(error)}; append again") from None

    def _rollback(self) -> None:
        """Undo; a connection that cannot is dropped, and the server undoes what was open."""
        try:
            assert self._live is not None
            self._live.exec_driver_sql("ROLLBACK")
        except BaseException:  # noqa: BLE001 - whatever it is, the connection is of no more use
            self._drop()

    def _rows(self, sql: str, values: Row) -> list[Row]:
        from sqlalchemy.exc import DBAPIError

        again = not self._within  # one that was lost since the last statement is replaced
        while True:
            try:
                found = self._connect().exec_driver_sql(_placeholders(sql), tuple(values))
                return list(found.fetchall()) if found.returns_rows else []
            except DBAPIError as error:
                if not (again and error.connection_invalidated):
                    raise self._fault(error) from None
                again = False

    def _run_many(self, sql: str, rows: Iterable[Row]) -> None:
        from sqlalchemy.exc import DBAPIError

        listed = [tuple(row) for row in rows]
        if not listed:
            return
        try:
            self._connect().exec_driver_sql(_placeholders(sql), listed)
        except DBAPIError as error:
            raise self._fault(error) from None


_TYPES: Mapping[str, str] = {"BLOB": "BYTEA", "INTEGER": "BIGINT", "WITHOUT ROWID": ""}


def _types(table: str) -> str:
    """Return a table of SQLite's with PostgreSQL's types."""
    for theirs, ours in _TYPES.items():
        table = table.replace(theirs, ours)
    return table


@lru_cache
def _placeholders(sql: str) -> str:
    return sql.replace("?", "%s")
