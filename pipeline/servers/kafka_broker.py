"""A broker of Apache Kafka that Tocsin runs for its tests and benches. In production Kafka is somebody's own."""

from __future__ import annotations

import base64
import fcntl
import os
import random
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from pipeline.errors import ConfigurationError, ServerStartFailed
from pipeline.servers.local_server import server_environment

log = structlog.get_logger()

JAVA_VERSION = 17
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
_DYING_S = 5.0

_REPOSITORY = Path(__file__).resolve().parents[2]
_HOW_TO_GET_ONE = (
    "set KAFKA_BOOTSTRAP to the host:port of a broker, or KAFKA_HOME to a folder whose libs/ holds the jars of Apache "
    f"Kafka 4 (unpack https://kafka.apache.org/downloads; it needs Java {JAVA_VERSION})"
)
# Below the ports that the system gives to outgoing connections: a client that knocks at a dead broker must
# never be given that very port, and so meet itself.
_PORTS = range(10_000, 32_000)

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # A topic that nobody made is an error, here as in production.
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A killed broker comes back when its controller has noticed that it was gone: by default after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The default takes a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
}


@dataclass(frozen=True, slots=True)
class KafkaHome:
    """The folder of an unpacked Apache Kafka."""

    path: Path

    @property
    def libs(self) -> Path:
        """The folder of its jars."""
        return self.path / "libs"

    @classmethod
    def find(cls) -> KafkaHome:
        """What KAFKA_HOME names, else ../shared/kafka beside the checkout.

        Raises ConfigurationError when KAFKA_HOME names something else, ServerStartFailed when there is none.
        """
        named = os.environ.get("KAFKA_HOME")
        if named:
            home = cls(Path(named))
            if not home._holds_jars():
                raise ConfigurationError(f"KAFKA_HOME is {named}, where no libs/kafka_*.jar is; {_HOW_TO_GET_ONE}")
            return home
        home = cls(_REPOSITORY.parent / "shared" / "kafka")
        if not home._holds_jars():
            raise ServerStartFailed(f"there is no Kafka here; {_HOW_TO_GET_ONE}")
        return home

    def _holds_jars(self) -> bool:
        return any(self.libs.glob("kafka_*.jar"))


def java() -> str:
    """The Java that runs a broker: that of JAVA_HOME, else the one on the path. Raises ServerStartFailed."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    wanted = f"Kafka needs Java {JAVA_VERSION} or newer; install it, or set JAVA_HOME to its folder"
    if program is None:
        raise ServerStartFailed(f"there is no Java on the path: {wanted}")
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerStartFailed(f"{program} does not run ({error}): {wanted}") from None
    said = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if said is None or int(said[1]) < JAVA_VERSION:
        raise ServerStartFailed(f"{program} is Java {said[1] if said else 'of no version that it tells'}: {wanted}")
    return program


class LocalBroker:
    """One broker, its own controller, on a folder and two loopback ports of its own.

    What it has confirmed survives `kill` and is there after the next `start`, under the same address. It dies with
    the process that started it, however that ends. For one thread at a time.
    """

    def __init__(self, folder: Path, libs: Path, *, properties: Mapping[str, str] | None = None) -> None:
        """`properties` are the broker's, beside and above those that it needs."""
        self.folder = folder.absolute()
        self._libs = libs.absolute()
        self._more = dict(properties or {})
        self._ports = (0, 0)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it, host:port. From the first start on it stays the same."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Its process id, 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> str:
        """Start it and wait until groups and transactions work; the address. Raises ServerStartFailed."""
        if self._process is not None and self._process.poll() is None:
            return self.bootstrap
        self._reap()
        program = java()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._ports[0]:
            self._ports = self._ports_of_last_time() or (free_port(), free_port())
        self._write_properties()
        self._format(program)
        self._spawn(program)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerStartFailed(
                    f"Kafka did not start: {_last_words(self._log.read_text(errors='replace'))}; see {self._log}"
                )
            time.sleep(0.05)
        log.info("server_started", server="kafka", pid=self.pid, address=self.bootstrap)
        return self.bootstrap

    def kill(self) -> None:
        """End it as a loss of power would (SIGKILL); what it has confirmed is on its disk."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def stop(self) -> None:
        """Have it finish and end. Stopping twice does nothing."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                _wait_unreaped(self._process, STOP_TIMEOUT_S)
        self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self.folder / "kafka-data"

    def _ports_of_last_time(self) -> tuple[int, int] | None:
        if not self._config.exists():
            return None
        found = re.search(r"^listeners=\S+?:(\d+),\S+?:(\d+)$", self._config.read_text(), re.MULTILINE)
        return (int(found[1]), int(found[2])) if found else None

    def _write_properties(self) -> None:
        broker, controller = (f"127.0.0.1:{port}" for port in self._ports)
        own = {
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self._data),
        }
        lines = [f"{name}={value}\n" for name, value in (_PROPERTIES | self._more | own).items()]
        self._config.write_text("".join(lines))

    def _format(self, program: str) -> None:
        """Make its storage, once."""
        if (self._data / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # no leading '-'
        format = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config)]
        done = subprocess.run(
            [program, "-Xmx128m", "-cp", f"{self._libs}/*", *format],
            cwd=self.folder,
            env=server_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = _last_words(done.stdout + done.stderr)
            raise ServerStartFailed(f"Kafka's storage could not be made in {self._data}: {said}")

    def _spawn(self, program: str) -> None:
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{self._libs}/*"]
        with self._log.open("ab") as output, self._lock.open("ab") as lock:
            self._take(lock.fileno())
            self._process = subprocess.Popen(
                [program, *options, "kafka.Kafka", str(self._config)],
                cwd=self.folder,
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock.fileno()],  # so that the lock is held until the broker is gone, whoever goes first
            )
        # Our end of the guard's standard input closes when this process ends, in whatever way. Unlike the system's
        # own death signal this does not depend on the thread that started the broker.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -9 {self._process.pid} 2>/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _take(self, lock: int) -> None:
        """Make sure that no broker runs on the folder; one that is dying is waited for. Raises ServerStartFailed."""
        deadline = time.monotonic() + _DYING_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerStartFailed(
                        f"another broker runs on {self.folder}: stop it, or take another folder"
                    ) from None
                time.sleep(0.02)

    def _reap(self) -> None:
        """Take leave of a broker that is dead, or dies now; its guard first, while the process id is still its."""
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait()
        if self._process is not None:
            self._process.wait()
        self._guard = self._process = None

    def _answers(self) -> bool:
        """Whether groups and transactions work now, asked for in the way that workers do."""
        try:
            socket.create_connection(("127.0.0.1", self._ports[0]), 1).close()
        except OSError:
            return False
        quiet = {"bootstrap.servers": self.bootstrap, "log_level": 0}
        try:
            consumer = Consumer(quiet | {"group.id": "tocsin-looks-whether-it-answers"})
            try:
                consumer.committed([TopicPartition("none", 0)], timeout=2)
            finally:
                consumer.close()
            Producer(quiet | {"transactional.id": "tocsin-looks-whether-it-answers"}).init_transactions(2)
        except KafkaException:
            return False
        return True


def _last_words(output: str) -> str:
    """The last line that is none of a stack trace."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith(("at ", "... "))), "it said nothing")


def _wait_unreaped(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait until a child has ended, and leave its process id taken. Raises subprocess.TimeoutExpired."""
    deadline = time.monotonic() + timeout_s
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(process.args, timeout_s)
        time.sleep(0.02)


def free_port() -> int:
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise ServerStartFailed("no loopback port is free for Kafka; end something that listens, and start again")
