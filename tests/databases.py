"""Both databases of ledgers, for tests that must pass on either."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

from bench._postgres import Cluster

DATABASES = ("sqlite", "postgres")


class Places:
    """Where a test's ledgers lie: files of a folder, or schemas of a server."""

    def __init__(self, folder: Path, cluster: Cluster | None = None) -> None:
        self.folder, self.cluster = folder, cluster
        self._prefix = f"t{secrets.token_hex(6)}"

    def __call__(self, name: str) -> Path | str:
        """Return where a ledger of this name goes."""
        return self.folder / f"{name}.db" if self.cluster is None else self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of a ledger of this name."""
        assert self.cluster is not None
        return f"{self.cluster.url}&schema={self._schema(name)}"

    def _schema(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def tamper(self, name: str, *statements: str) -> None:
        """Change a ledger's rows behind its back; SQL with SQLite's types."""
        if self.cluster is None:
            other = sqlite3.connect(self.folder / f"{name}.db")
            for sql in statements:
                other.execute(sql)
            other.commit()
            other.close()
            return
        import psycopg

        with psycopg.connect(self.cluster.url, autocommit=True) as connection:
            connection.execute(f'SET search_path TO "{self._schema(name)}"')  # type: ignore[arg-type]
            for sql in statements:
                connection.execute(sql.replace("zeroblob(32)", r"'\x" + "00" * 32 + "'"))  # type: ignore[arg-type]
