"""An HTTP server on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from pipeline.errors import TocsinError
from pipeline.settings import Settings


@contextmanager
def listening(app: FastAPI, settings: Settings, *, finish_s: float) -> Iterator[str]:
    """Serve `app` on the configured address; its URL once it answers.

    At the end of the block no more requests are taken, and those under way get `finish_s`. Raises TocsinError when it
    cannot listen.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=max(1, int(finish_s - 1)),
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="push", daemon=True)
    thread.start()
    try:
        yield server.wait_until_listening(thread)
    finally:
        server.should_exit = True
        thread.join(finish_s)


class _Server(uvicorn.Server):
    """A uvicorn server on a thread that is not the main one: signals stay with the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def wait_until_listening(self, thread: threading.Thread) -> str:
        """Its URL. Raises TocsinError when it could not listen."""
        while not self.started:
            if not thread.is_alive():
                raise TocsinError(
                    f"cannot listen on {self.config.host}:{self.config.port}; is the port taken? set TOCSIN_PORT"
                )
            time.sleep(0.01)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
