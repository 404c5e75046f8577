"""Both databases of a ledger: who may write, what survives, what is refused, what is never said."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench._postgres import Cluster
from tests.databases import Places
from tests.services import postgres_cluster
from zkai.errors import InvalidInput, ToolError
from zkai.ledger.log import Log
from zkai.ledger.postgres import Postgres, is_url, masked, parse_url
from zkai.ledger.statusmap import StatusMap, path_of
from zkai.ledger.store import Store, open_database

WRITERS, EACH = 3, 12


@pytest.fixture
def store(places: Places) -> Iterator[Store]:
    made = Store(places("ledger"), create=True)
    yield made
    made.close()


def extend(store: Store, *entries: bytes, **names: bytes) -> None:
    with store.transaction():
        Log(store, "o").extend(entries, [names] if names else ())


# ------------------------------------------------------------------------- opening


def test_files_open_only_as_ledgers(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as one" * 9)
    with pytest.raises(InvalidInput, match="not a ledger"):
        Store(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(InvalidInput, match="not a ledger"):
        Store(tmp_path / "empty.db")


def test_schemas_open_only_as_ledgers(postgres: Cluster, tmp_path: Path) -> None:
    places = Places(tmp_path, postgres)
    with pytest.raises(InvalidInput, match="no ledger is there"):
        Store(places("none"))
    Store(places("other"), create=True).close()
    places.tamper("other", "DROP TABLE meta", "CREATE TABLE meta (colour TEXT)")
    with pytest.raises(InvalidInput, match="not a ledger"):
        Store(places("other"))


def test_a_ledger_is_made_as_a_whole_or_not_at_all(postgres: Cluster, tmp_path: Path) -> None:
    where = Places(tmp_path, postgres).url("halfway")
    database = open_database(where, create=True)
    with pytest.raises(ToolError, match="nowhere"):
        database.create(["CREATE TABLE meta (a TEXT)"], ("INSERT INTO nowhere VALUES (?)", (1,)))
    database.close()
    Store(where, create=True).close()


def test_a_ledger_is_made_once_and_has_a_version(store: Store, places: Places) -> None:
    with pytest.raises(InvalidInput, match="exists"):
        Store(places("ledger"), create=True)
    store.put_meta("version", b"1")
    with pytest.raises(InvalidInput, match="another version"):
        Store(places("ledger"))


def test_schemas_are_ledgers_of_their_own(places: Places) -> None:
    stores = [Store(places(name), create=True) for name in ("a", "b")]
    extend(stores[0], b"x")
    assert [store.size() for store in stores] == [1, 0]
    for store in stores:
        store.close()


# ------------------------------------------------------------------------- writing


def test_a_second_writer_waits_and_gives_up(store: Store, places: Places) -> None:
    other = Store(places("ledger"))
    wait = "PRAGMA busy_timeout = 10" if places.cluster is None else "SET lock_timeout = '10ms'"
    other._db.rows(wait)
    with store.transaction():
        with pytest.raises(ToolError, match="locked by another process"):
            extend(other, b"x")
        assert other.size() == 0  # who reads does not wait
    extend(other, b"x")
    assert (store.size(), other.size()) == (1, 1)
    other.close()


def test_a_transaction_holds_no_other(store: Store) -> None:
    with pytest.raises(ToolError, match="holds no other"), store.transaction():
        extend(store, b"x")
    assert store.size() == 0


def test_a_caught_failure_still_undoes_everything(store: Store) -> None:
    """After a failure some databases would commit the rest, others answer COMMIT with an undo."""
    extend(store, b"x")
    failed = pytest.raises(ToolError, match="a statement of the transaction failed")
    with failed, store.transaction():
        store.add_record(bytes(32), 1)
        for words in ("UNIQUE|duplicate", "has failed before"):
            with pytest.raises(ToolError, match=words):
                store.add_record(bytes(32), 1)
    assert store.index_of(bytes(32)) is None
    extend(store, b"y")
    assert store.size() == 2


def _append(where: Path | str, number: int) -> None:
    store = Store(where)
    for i in range(EACH):
        extend(store, b"%d %d" % (number, i), **{f"n{number}": b"%d" % i})
    store.close()


def _check_interleaved(store: Store) -> None:
    """All entries are there, each writer's in order, with whole tiles and a whole map."""
    entries = list(store.entries(0, WRITERS * EACH))
    assert len(entries) == store.size() == WRITERS * EACH
    for number in range(WRITERS):
        ours = [entry for entry in entries if entry.startswith(b"%d " % number)]
        assert ours == [b"%d %d" % (number, i) for i in range(EACH)]
    log = Log(store, "o")
    for number in range(WRITERS):
        name, last = f"n{number}", b"%d" % (EACH - 1)
        StatusMap(store.map_node).prove(log._map_link, name).verify(log.map_root, name, last)
        assert store.map_value(name, store.size()) == last


def test_processes_that_write_at_once_take_turns(store: Store, places: Places) -> None:
    start = multiprocessing.get_context("spawn")
    writers = [start.Process(target=_append, args=(places("ledger"), n)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    _check_interleaved(store)


@pytest.mark.parametrize("shared", [False, True])
def test_threads_that_write_at_once_take_turns(store: Store, places: Places, shared: bool) -> None:
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            if not shared:
                _append(places("ledger"), number)
                return
            for i in range(EACH):
                extend(store, b"%d %d" % (number, i), **{f"n{number}": b"%d" % i})
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test fails with it
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    _check_interleaved(store)


def test_a_writer_without_the_lock_cannot_fork_the_log(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions on one state: the second one's index is taken."""
    where = Places(tmp_path, postgres).url("ledger")
    store, other = Store(where, create=True), Store(where)
    extend(store, b"x")
    monkeypatch.setattr(Postgres, "_begin", lambda self: self._rows("BEGIN", ()))
    taken = pytest.raises(ToolError, match="duplicate key")
    with taken, other.transaction():
        first = other.size()
        extend(store, b"y")
        other.add_entries([(first, bytes(32), b"z")])
    assert list(store.entries(0, 3)) == [b"x", b"y"]
    store.close()
    other.close()


def test_old_maps_stay_readable(store: Store) -> None:
    """Every root's proofs verify after hundreds of changes, from an empty cache."""
    log, roots = Log(store, "o"), []
    for i in range(40):
        extend(store, b"%d" % i, **{f"n{i % 7}": b"%d" % i, f"m{i}": b"x"})
        roots.append((log._map_link, i))
    store._nodes.clear()
    shared = StatusMap(store.map_node)
    for link, i in roots:
        shared.prove(link, f"n{i % 7}").verify(link[:32], f"n{i % 7}", b"%d" % i)
        shared.prove(link, f"m{i + 1}").verify(link[:32], f"m{i + 1}", None)
    assert len({path_of(f"n{i}") for i in range(7)}) == 7


def test_a_lost_node_of_the_map_is_named(store: Store, places: Places) -> None:
    extend(store, b"x", a=b"1")
    places.tamper("ledger", "DELETE FROM map_node")
    store._nodes.clear()
    with pytest.raises(InvalidInput, match="a node of the map is missing"):
        StatusMap(store.map_node).prove(Log(store, "o")._map_link, "a")


# ---------------------------------------------------------------------- durability


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "l.db", create=True)
    assert store._db.rows("PRAGMA synchronous") == [(2,)]
    assert store._db.rows("PRAGMA journal_mode") == [("wal",)]
    store.close()


def test_postgres_flushes_every_commit(postgres: Cluster, tmp_path: Path) -> None:
    """Whatever the server's default: off is never taken over, and what is stronger stays."""
    import psycopg

    where = Places(tmp_path, postgres).url("durable")
    Store(where, create=True).close()
    for default, used in (("off", "on"), ("remote_apply", "remote_apply")):
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute(f"ALTER ROLE zkai SET synchronous_commit = '{default}'")  # type: ignore[arg-type]
        store = Store(where)
        assert store._db.rows("SHOW synchronous_commit")[0][0] == used
        store.close()
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("ALTER ROLE zkai RESET synchronous_commit")


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that a test may crash."""
    with postgres_cluster() as cluster:
        yield cluster


def test_a_server_s_crash_loses_nothing_acknowledged(own_cluster: Cluster, tmp_path: Path) -> None:
    """Within a transaction, between two, and with a setting that no ledger may run under."""
    where = Places(tmp_path, own_cluster).url("ledger")
    store = Store(where, create=True)
    extend(store, b"x", a=b"1")
    lost = pytest.raises(ToolError, match="schema=")
    with lost, store.transaction():
        Log(store, "o").extend([b"y"], [{"a": b"2"}])
        own_cluster.stop("immediate")
        own_cluster.start()
    assert store.size() == 1  # the connection is a new one
    extend(store, b"z", a=b"3")
    own_cluster.stop("immediate")
    with pytest.raises(ToolError, match="connection"):
        store.size()
    own_cluster.start()
    extend(store, b"w")
    assert list(store.entries(0, 9)) == [b"x", b"z", b"w"]
    assert store.map_value("a", 3) == b"3"
    store._db.rows("ALTER SYSTEM SET fsync = off")
    store._db.rows("SELECT pg_reload_conf()")
    store.close()
    own_cluster.stop()
    own_cluster.start()
    with pytest.raises(InvalidInput, match="fsync = off"):
        Store(where)


@pytest.mark.parametrize("moment", ["statement", "commit"])
def test_a_connection_cut_in_a_transaction_acknowledges_nothing(
    postgres: Cluster, tmp_path: Path, moment: str
) -> None:
    """The statements that follow must not run on a new connection, each a commit of its own."""
    where = Places(tmp_path, postgres).url("ledger")
    store, other = Store(where, create=True), Store(f"{where}_other", create=True)
    cut = "SELECT pg_terminate_backend(?, 10000)"
    (pid,) = store._db.rows("SELECT pg_backend_pid()")[0]
    lost = pytest.raises(ToolError, match="schema=")
    with lost, store.transaction():
        Log(store, "o").extend([b"y"])
        other._db.rows(cut, (pid,))
        if moment == "statement":
            for words in ("schema=", "has failed before"):
                with pytest.raises(ToolError, match=words):
                    store.put_meta("late", b"1")
            store._db._failed = False  # the second line of defence
            with pytest.raises(ToolError, match="the connection was lost"):
                store.put_meta("late", b"1")
    assert store.size() == 0
    assert store.meta("late") is None
    extend(store, b"z")
    assert list(store.entries(0, 2)) == [b"z"]
    store.close()
    other.close()


# --------------------------------------------------------------------------- URLs


def test_urls_are_told_from_paths() -> None:
    for url in ("postgresql://h/db", "postgres://h/db", "postgresql+psycopg://h/db"):
        assert is_url(url)
    for path in ("l.db", "/a/postgresql/l.db", Path("l.db"), "sqlite://x", "mysql://h/db"):
        assert not is_url(path)
    url, schema = parse_url("postgresql://u:p@h:1/db?schema=mine&sslmode=require")
    assert (schema, dict(url.query)) == ("mine", {"sslmode": "require"})
    for schema in ("A", "a b", 'a"', "a;b", "1a", "a" * 64, "a&schema=b"):
        with pytest.raises(InvalidInput, match="schema"):
            parse_url(f"postgresql://h/db?schema={schema}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@nowhere.invalid:1/db",
        "postgresql://u:hunter2@h:port/db",
        "postgresql://u@/db?password=hunter2&host=/nowhere",
        "postgresql://u:hunter2@/db?host=/nowhere&no_such_option=1",
        "postgresql://u:hunter2@/db?host=/nowhere&schema=A",
        "postgresql://u:hunter2@h:99999999/db",
    ],
)
def test_no_message_holds_a_password(url: str) -> None:
    with pytest.raises((ToolError, InvalidInput)) as caught:
        Store(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


def test_a_store_s_name_holds_no_password(postgres: Cluster, tmp_path: Path) -> None:
    where = Places(tmp_path, postgres).url("named").replace("zkai@", "zkai:hunter2@")
    store = Store(where, create=True)
    for text in (store.name, repr(store), repr(store._db), masked(where)):
        assert "hunter2" not in text
    assert str(postgres.folder) in store.name
    store.close()


def test_passwords_come_from_the_environment_or_a_file(
    own_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    rules = own_cluster.folder / "data/pg_hba.conf"
    rules.write_text(f"local all secured scram-sha-256\n{rules.read_text()}")
    with psycopg.connect(own_cluster.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE secured LOGIN PASSWORD 'hunter2'")
        admin.execute("GRANT CREATE ON DATABASE postgres TO secured")
        admin.execute("SELECT pg_reload_conf()")
    url = own_cluster.url.replace("zkai@", "secured@")
    with pytest.raises(ToolError, match="password"):
        Store(url)
    with pytest.raises(ToolError, match="password authentication failed") as caught:
        Store(url.replace("secured@", "secured:hunter3@"))
    assert "hunter3" not in str(caught.value)
    Store(url.replace("secured@", "secured:hunter2@"), create=True).close()
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    Store(url).close()
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "pgpass"
    passwords.write_text("*:*:*:secured:hunter2\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    Store(url).close()


def test_sqlite_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = sys.modules['psycopg'] = None\n"
        "from zkai.ledger.store import Store, open_database\n"
        f"Store({str(tmp_path / 'l.db')!r}, create=True).close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)  # type: ignore[arg-type]
    with pytest.raises(ToolError, match=r"pip install 'zkai\[postgres\]'"):
        Store("postgresql://h/db")


def test_a_file_changed_under_us_is_reported(tmp_path: Path) -> None:
    store: Any = Store(tmp_path / "l.db", create=True)
    other = sqlite3.connect(tmp_path / "l.db")
    other.execute("DROP TABLE entry")
    other.commit()
    other.close()
    with pytest.raises(ToolError, match="no such table"):
        store.size()
    store.close()
