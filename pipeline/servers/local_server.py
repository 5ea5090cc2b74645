"""A server that Tocsin runs for itself, in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]
import structlog

from pipeline.errors import ServerStartFailed
from pipeline.runtime.datafolder import secret_file

log = structlog.get_logger()

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
#: The log of a server is begun anew at its start when it is longer.
LOG_BYTES = 10 * 2**20


class LocalServer:
    """Starts one server on a folder, or finds the one that runs there, whoever started it.

    Any number of processes may use it at once. It outlives a process that dies without `stop`, and the next
    `start` finds it. `stop` ends it only when this object started it, or found it when nobody used it, and no
    other process uses it now. It listens on a loopback port and asks for a password that only the owner of the
    folder can read.
    """

    #: Name of the server's process, and of the server in messages; each kind sets them.
    program = ""
    title = ""
    setting = ""
    #: Signals that end it, the kindest first.
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        #: The working directory of the server: what it is recognised by.
        self.work = self.folder / "data"
        self._users_fd = -1
        self._process: psutil.Process | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._mutex = threading.RLock()
        self.password = ""
        self.port = 0
        self.started = False

    @property
    def url(self) -> str:
        """Where it listens, with the password."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what must lie in the folder before the server starts."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts the server on `port`, in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes our password and a request now."""
        raise NotImplementedError

    def identity(self) -> tuple[int, int] | None:
        """The user and group ids that it runs as; None: our own."""
        return None

    def start(self) -> str:
        """Find or start it and wait until it answers; the URL. Raises ServerStartFailed, ConfigurationError."""
        with self._mutex:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.password = secret_file(self.folder / "password")
            with self._starting():
                orphan = self._users_fd < 0 and self._join()
                try:
                    if not self._adopt(orphan):
                        self._launch()
                except BaseException:
                    self._let_go()
                    raise
            return self.url

    def ensure_running(self) -> str:
        """Start it again when it has died; the URL, which may be another one. For a supervisor."""
        with self._mutex:
            if self._users_fd >= 0 and self._alive():
                return self.url
            log.warning("server_died", server=self.program)
            return self.start()

    def stop(self) -> None:
        """End it if it is ours and nobody else uses it. Stopping twice does nothing."""
        with self._mutex:
            if self._users_fd < 0:
                return
            with self._starting():
                if self._is_alone() and self.started and self._alive():
                    self._end()
                self._let_go()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its URL, for as long as it is needed."""
        url = self.start()
        try:
            yield url
        finally:
            self.stop()

    @property
    def pid(self) -> int:
        """The process id of the server, 0 when it was never started."""
        return self._process.pid if self._process is not None else 0

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One process at a time starts or stops it."""
        fd = os.open(self.folder / "start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _join(self) -> bool:
        """Count as a user from now on; whether there is no other."""
        self._users_fd = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        alone = self._is_alone()
        fcntl.flock(self._users_fd, fcntl.LOCK_SH)
        return alone

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._users_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def _let_go(self) -> None:
        """Use it no more; when it lives on, it is nobody's child."""
        if self._child is not None:
            self._child.returncode = self._child.poll() or 0
        os.close(self._users_fd)
        self._users_fd, self._process, self._child, self.started = -1, None, None, False

    def _alive(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._process is not None and _lives(self._process)

    def _processes(self) -> list[psutil.Process]:
        """The processes of the server on this folder, by their working directory: a pid file may lie."""
        found = []
        work = os.path.realpath(self.work)
        for process in psutil.process_iter():
            try:
                if process.name() == self.program and process.cwd() == work and _lives(process):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _adopt(self, orphan: bool) -> bool:
        """Use the server that runs on this folder already, once it answers; an orphan is ours from then on.

        Raises ServerStartFailed when it does not answer.
        """
        try:
            port = int((self.folder / "port").read_text())
        except (OSError, ValueError):
            port = 0
        for process in self._processes():
            if _listens(process, port):
                self.started = orphan or (self.started and process == self._process)
                self._process, self.port = process, port
                if self._wait_until_answering():
                    log.info("server_found", server=self.program, pid=process.pid)
                    return True
                if self._alive():
                    raise ServerStartFailed(
                        f"{self.title} runs on {self.folder} (process {process.pid}) and does not answer: "
                        f"{self._last_words()}; stop that process, or set {self.setting}"
                    )
        self._clear()
        return False

    def _clear(self) -> None:
        """End what is left of a server that died: two on one folder would destroy it."""
        while processes := self._processes():
            _, alive = psutil.wait_procs(processes, timeout=2)
            for process in alive:
                log.warning("server_remains_killed", server=self.program, pid=process.pid)
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=2)

    def _launch(self) -> None:
        for attempt in range(3):
            self.prepare()
            self.port = self._choose_port(fresh=attempt > 0)
            (self.folder / "port").write_text(str(self.port))
            self._spawn()
            if self._wait_until_answering():
                self.started = True
                log.info("server_started", server=self.program, pid=self.pid, port=self.port)
                return
            if self._alive():
                self._end()
                break
        raise ServerStartFailed(
            f"{self.title} did not start: {self._last_words()}; see {self._log_path}, or set {self.setting} to a "
            "server of your own"
        )

    def _choose_port(self, *, fresh: bool) -> int:
        """The port of last time when it is free, so that a restart keeps the URL."""
        try:
            last = 0 if fresh else int((self.folder / "port").read_text())
        except (OSError, ValueError):
            last = 0
        for port in (last, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return int(probe.getsockname()[1])
                except OSError:
                    continue
        raise ServerStartFailed(f"no loopback port is free for {self.title}; set {self.setting}")

    def _spawn(self) -> None:
        user, group = self.identity() or (None, None)
        long = self._log_path.exists() and self._log_path.stat().st_size > LOG_BYTES
        with self._log_path.open("wb" if long else "ab") as output:
            try:
                if self._child is not None:  # it is dead, but its last threads may not be
                    self._child.wait(STOP_TIMEOUT_S)
                self._child = subprocess.Popen(
                    self.command(),
                    cwd=self.work,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Nothing of our environment: it holds tokens. No signal of our terminal either.
                    env=server_environment(),
                    start_new_session=True,
                    umask=0o077,
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                )
                self._process = psutil.Process(self._child.pid)
            except (OSError, subprocess.SubprocessError, psutil.Error) as error:
                raise ServerStartFailed(f"{self.title} did not start: {error}; set {self.setting}") from error

    def _wait_until_answering(self) -> bool:
        """False when it died, or did not answer in time."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._alive() and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        assert self._process is not None
        for number in self.stop_signals:
            try:
                self._process.send_signal(number)
                if self._child is not None:
                    self._child.wait(STOP_TIMEOUT_S)
                else:
                    self._process.wait(STOP_TIMEOUT_S)
                return
            except (psutil.NoSuchProcess, ProcessLookupError):
                return
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                log.warning("server_does_not_stop", server=self.program, pid=self.pid, signal=int(number))

    @property
    def _log_path(self) -> Path:
        return self.folder / "server.log"

    def _last_words(self) -> str:
        try:
            lines = self._log_path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return lines[-1].strip() if lines else "it said nothing"


def server_environment() -> dict[str, str]:
    """The environment that a server gets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether this is the server itself; its parts, which may outlive it, listen to nobody."""
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)
