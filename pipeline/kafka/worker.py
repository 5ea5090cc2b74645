"""A worker's surroundings: what every `tocsin run NAME` is given, and the port on which it answers.

A worker is a function `run(context)` in a module of this package. It returns when `context.stop` is set and what
was under way is finished and committed; it raises TocsinError where it cannot go on, and is then started again by
whoever supervises it. A dependency that is away is waited for, and told to `context.health`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pipeline.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from pipeline.kafka.health import Health
from pipeline.kafka.metrics import WorkerMetrics
from pipeline.kafka.names import Names
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a worker is given."""

    settings: Settings
    file: StreamFile
    health: Health
    stop: threading.Event = field(default_factory=threading.Event)
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)

    @property
    def names(self) -> Names:
        return Names.of(self.settings)


def patiently(context: Context, dependency: str, call: Callable[[], object]) -> bool:
    """Call until the dependency answers; False when the worker was told to stop before."""
    while not context.stop.is_set():
        try:
            call()
        except (BrokerUnavailable, StoreUnavailable) as error:
            context.health.trouble(dependency, str(error))
            context.stop.wait(1.0)
        else:
            context.health.ok(dependency)
            return True
    return False


@contextmanager
def observed(context: Context) -> Iterator[int]:
    """Answer /healthz, /readyz and /metrics on `metrics_port` until the block ends; the port, 0 when none is set.

    Raises ConfigurationError when the port is taken.
    """
    wanted = context.settings.metrics_port
    if not wanted:
        yield 0
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                for dependency, state in context.health.states().items():
                    context.metrics.dependency_up.labels(dependency).set(state == "ok")
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(context.metrics.registry))
            elif path == "/healthz":
                self._answer(200, "application/json", b'{"status":"ok"}')
            elif path == "/readyz":
                states = context.health.states()
                ready = bool(states) and all(state == "ok" for state in states.values())
                body = {"status": "ok" if ready else "unavailable", "states": states}
                self._answer(200 if ready else 503, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"/metrics, /healthz or /readyz\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer((context.settings.host, wanted), Handler)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {context.settings.host}:{wanted}: {error.strerror}; set TOCSIN_METRICS_PORT"
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
