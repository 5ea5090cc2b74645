"""The servers that Tocsin runs for itself: found, shared, started again, stopped by who started them."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import psycopg2  # type: ignore[import-untyped, unused-ignore]
import pytest
import redis

from pipeline.errors import ServerStartFailed
from pipeline.servers import local_server, postgres
from pipeline.servers.local_server import LocalServer
from pipeline.servers.postgres import LocalPostgres, local_postgres
from pipeline.servers.system_user import NAME, let_pass, system_user
from pipeline.servers.valkey import LocalValkey, local_valkey

KINDS: list[type[LocalServer]] = [LocalPostgres, LocalValkey]
both = pytest.mark.parametrize("kind", KINDS, ids=["postgres", "valkey"])


@pytest.fixture(scope="module")
def folders() -> Iterator[dict[type[LocalServer], Path]]:
    """A folder for each kind, used by all tests here: a cluster is made once.

    Not in pytest's folder: each run of pytest closes that one again to other users, also while we run.
    """
    with tempfile.TemporaryDirectory() as name:
        yield {kind: Path(name) / kind.program for kind in KINDS}


@pytest.fixture
def make(folders: dict[type[LocalServer], Path]) -> Iterator[Callable[[type[LocalServer]], LocalServer]]:
    """Makes servers on the common folder; whatever runs there afterwards is ended."""
    yield lambda kind: kind(folders[kind])
    for kind in KINDS:
        server = kind(folders[kind])
        for process in server._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        server._clear()


def query(url: str, sql: str) -> Any:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


@both
def test_it_starts_stops_and_starts_again_at_the_same_url(make: Any, kind: type[LocalServer]) -> None:
    server = make(kind)
    url = server.start()
    pid = server.pid
    server.stop()
    assert not psutil.pid_exists(pid)
    assert server._processes() == []
    with server.running() as again:
        assert again == url
        assert server.pid != pid
    server.stop()


@both
def test_a_second_user_finds_it_and_never_stops_it(make: Any, kind: type[LocalServer]) -> None:
    owner, other = make(kind), make(kind)
    url = owner.start()
    with other.running() as found:
        assert (found, other.pid) == (url, owner.pid)
    assert owner.answers()
    owner.stop()
    assert owner._processes() == []


@both
def test_who_started_it_leaves_it_running_while_another_uses_it(make: Any, kind: type[LocalServer]) -> None:
    owner, other = make(kind), make(kind)
    owner.start()
    other.start()
    owner.stop()
    assert other.answers()
    other.stop()


START = """
import signal, sys, structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
from pathlib import Path
from pipeline.servers.postgres import LocalPostgres
from pipeline.servers.valkey import LocalValkey
server = {"LocalPostgres": LocalPostgres, "LocalValkey": LocalValkey}[sys.argv[1]](Path(sys.argv[2]))
server.start()
print(server.pid, flush=True)
signal.pause()
"""


@both
def test_it_outlives_a_killed_process_and_is_found_again(make: Any, kind: type[LocalServer]) -> None:
    server = make(kind)
    with subprocess.Popen(
        [sys.executable, "-c", START, kind.__name__, str(server.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as up:
        assert up.stdout is not None
        line = up.stdout.readline()
        up.kill()
    pid = int(line)
    server.start()
    assert server.pid == pid
    assert server.answers()
    with make(kind).running():
        pass
    assert server.answers()
    server.stop()  # whoever finds an orphan owns it: nobody else would ever end it
    assert server._processes() == []


@both
def test_a_supervisor_starts_it_again_at_the_same_url(make: Any, kind: type[LocalServer]) -> None:
    server = make(kind)
    url = server.start()
    assert server.ensure_running() == url
    kill(server.pid)
    assert server.ensure_running() == url
    assert server.answers()
    server.stop()
    assert server._processes() == []


@both
def test_its_secrets_are_for_its_owner_only(make: Any, kind: type[LocalServer], monkeypatch: Any) -> None:
    monkeypatch.setenv("TOCSIN_PUSH_TOKEN", "very secret")
    server = make(kind)
    with server.running():
        assert server.folder.stat().st_mode & 0o77 == 0
        assert (server.folder / "password").stat().st_mode & 0o77 == 0
        process = psutil.Process(server.pid)
        assert not any(server.password in argument for argument in process.cmdline())
        assert not any(name.startswith("TOCSIN") for name in process.environ())
        assert {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        assert server.password not in (server.folder / "server.log").read_text()


@both
def test_a_taken_port_is_replaced(make: Any, kind: type[LocalServer]) -> None:
    import socket

    server = make(kind)
    server.start()
    port = server.port
    server.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with server.running():
            assert server.port != port


@both
def test_one_that_hangs_is_an_error_and_not_a_second_server(
    make: Any, kind: type[LocalServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, second = make(kind), make(kind)
    server.start()
    monkeypatch.setattr(local_server, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(kind, "answers", lambda self: False)
    with pytest.raises(ServerStartFailed, match=f"process {server.pid}"):
        second.start()
    assert psutil.pid_exists(server.pid)
    server.stop()


def test_postgres_asks_for_the_password(make: Any) -> None:
    server = make(LocalPostgres)
    with server.running() as url:
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            psycopg2.connect(url.replace(server.password, "wrong"))
        assert query(url, "select current_setting('server_version')::text") == [("18.6",)]


def test_postgres_is_durable_and_small(make: Any) -> None:
    with make(LocalPostgres).running() as url:
        for name, value in {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "jit": "off"}.items():
            assert query(url, f"show {name}") == [(value,)]


def test_committed_rows_survive_the_death_of_every_process(make: Any) -> None:
    server = make(LocalPostgres)
    url = server.start()
    query(url, "drop table if exists kept; create table kept (n int)")
    query(url, "insert into kept select generate_series(1, 1000)")
    main = psutil.Process(server.pid)
    for process in [main, *main.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until(lambda: not server._alive())
    assert (server.work / "postmaster.pid").exists()
    fresh = make(LocalPostgres)
    with fresh.running() as url:
        assert query(url, "select count(*) from kept") == [(1000,)]
    server.stop()


def test_a_pid_file_that_names_a_foreign_process_does_not_stop_postgres(make: Any) -> None:
    server = make(LocalPostgres)
    server.start()
    pid_file = server.work / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    kill(server.pid)
    user = server.identity()
    with subprocess.Popen(["sleep", "60"], user=user[0] if user else None) as foreign:
        pid_file.write_text("".join([f"{foreign.pid}\n", *lines[1:]]))
        assert server.ensure_running()
        assert foreign.poll() is None
        foreign.kill()
    server.stop()


def test_parts_of_a_dead_postgres_are_gone_before_the_next_one_starts(make: Any) -> None:
    server = make(LocalPostgres)
    url = server.start()
    busy = psycopg2.connect(url)
    worker = psutil.Process(busy.info.backend_pid)
    worker.send_signal(signal.SIGSTOP)  # it cannot see that its server died
    kill(server.pid)
    server.ensure_running()
    assert not psutil.pid_exists(worker.pid)
    assert server.answers()
    busy.close()
    server.stop()


def test_no_payload_reaches_the_log_of_postgres(make: Any) -> None:
    server = make(LocalPostgres)
    with server.running() as url:
        query(url, "create table if not exists once (name text primary key)")
        for _ in range(2):
            try:
                query(url, "insert into once values ('patient Smith')")
            except psycopg2.Error:
                failed = True
        assert failed
    log = (server.folder / "server.log").read_text()
    assert "duplicate key" in log
    assert "Smith" not in log


def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    server = LocalPostgres(tmp_path / "postgres")
    server.work.mkdir(parents=True)
    (server.work / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerStartFailed, match="Postgres 17"):
        server.start()


def test_a_half_made_cluster_is_made_anew(folders: dict[type[LocalServer], Path]) -> None:
    folder = folders[LocalPostgres].with_name("half")
    (folder / "data.new" / "base").mkdir(parents=True)
    with local_postgres(folder) as url:
        assert query(url, "select 1") == [(1,)]
    assert not (folder / "data.new").exists()


def test_a_server_that_cannot_start_says_why(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make(LocalPostgres)
    monkeypatch.setitem(postgres.SETTINGS, "no_such_setting", "1")
    with pytest.raises(ServerStartFailed, match=r"no_such_setting.*server\.log.*TOCSIN_DATABASE_URL"):
        server.start()


def test_valkey_asks_for_the_password_keeps_nothing_and_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    with local_valkey(folder) as url:
        client = redis.Redis.from_url(url)
        client.set("a", "1")
        assert client.config_get("maxmemory*")["maxmemory"] == str(256 * 2**20)
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        client.close()
        stranger = redis.Redis.from_url("redis://" + url.split("@")[1])
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()
    with local_valkey(folder) as url:
        client = redis.Redis.from_url(url)
        assert client.get("a") is None
        client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
def test_root_lets_the_user_of_postgres_pass_and_nobody_else(folders: dict[type[LocalServer], Path]) -> None:
    outer = folders[LocalPostgres].parent
    folder = outer / "closed" / "inner"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    (outer / "closed" / "secret").write_text("x")
    (outer / "closed" / "secret").chmod(0o600)
    (outer / "closed").chmod(0o700)
    user = system_user()
    for _ in range(2):
        let_pass(user, folder / "file")

    def can(command: str, path: Path, name: str) -> bool:
        entry = pwd.getpwnam(name)
        done = subprocess.run(
            [command, path], user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], capture_output=True
        )
        return done.returncode == 0

    assert can("cat", folder / "file", NAME)
    assert not can("ls", outer / "closed", NAME)
    assert not can("cat", outer / "closed" / "secret", NAME)
    assert not can("cat", folder / "file", "nobody")
