"""A PostgreSQL server of one's own for as long as a block runs: a folder and a socket, no port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server here: Debian's, or that on PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parent.parent.name),
    )
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return None if on_path is None else Path(on_path).resolve().parent


class Cluster:
    """A PostgreSQL server of its own: a folder of data and a socket, no port."""

    USER = "zkai"

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        self._user: int | None = None
        self._group: int | None = None
        if os.geteuid() == 0:  # the server refuses to run as root
            accounts = {account.pw_name: account for account in pwd.getpwall()}
            account = accounts.get("postgres", accounts["nobody"])
            self._user, self._group = account.pw_uid, account.pw_gid
            os.chown(folder, self._user, self._group)
        folder.chmod(0o755)
        self._run(
            "initdb", "--pgdata", "data", "--username", self.USER, "--auth", "trust",
            "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, user=self._user, group=self._group,
            extra_groups=None if self._user is None else [],
            capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = f"-k {self.folder} -c listen_addresses= -c max_connections=20"
        settings += " -c shared_buffers=16MB -c unix_socket_permissions=0777"
        self._run("pg_ctl", "start", "-D", "data", "-w", "-s", "-l", "log", "-o", settings)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "immediate" is its crash, after which it recovers from its log."""
        self._run("pg_ctl", "stop", "-D", "data", "-w", "-s", "-m", mode)

    @property
    def running(self) -> bool:
        """Whether the server has been started."""
        return (self.folder / "data/postmaster.pid").exists()

    @property
    def url(self) -> str:
        """The URL of its one database."""
        return f"postgresql://{self.USER}@/postgres?host={self.folder}"


@contextmanager
def running_postgres(binaries: Path, parent: Path | None = None) -> Iterator[Cluster]:
    """Start a server with a new folder below `parent` and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="zkai-pg-", dir=parent) as folder:
        cluster = Cluster(binaries, Path(folder))
        cluster.start()
        try:
            yield cluster
        finally:
            if cluster.running:
                cluster.stop("immediate")
